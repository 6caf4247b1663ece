/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

typedef struct {
    const Setting *settings;
    int n_settings;
    Script *scripts;
    int n_scripts, next; /* next: of the first that nobody has begun; atomic */
    RunTold told;
    gpointer data;
    GMutex telling;
} Run;

/* One of several that take the scripts in turn, each through all settings. */
typedef struct {
    Run *run;
    Stream **streams; /* of the settings */
    Score *scores;
    Footage *reference, *footage;
    GError *error;
    GThread *thread;
} Worker;

static void judge(Worker *w, int i, const Script *script)
{
    Run *run = w->run;
    Score *score = &w->scores[i];
    const Footage *footage = i == 0 ? w->reference : w->footage;
    const Scene *wanted = &script->scenes[script->change > 0];
    Verdict v = script->change > 0 ? score_change(score, footage, wanted)
                                   : score_stream(score, footage, wanted);
    if (i > 0 && script->change == 0 && !run->settings[0].drawn && !run->settings[i].drawn)
        score_agreement(score, footage, w->reference);
    if (!run->told)
        return;
    g_mutex_lock(&run->telling);
    run->told(&run->settings[i], script, wanted, &v, run->data);
    g_mutex_unlock(&run->telling);
}

static gboolean run_script(Worker *w, const Script *script)
{
    for (int i = 0; i < w->run->n_settings; i++) {
        if (!stream_run(w->streams[i], script, i == 0 ? w->reference : w->footage, &w->scores[i],
                        &w->error))
            return FALSE;
        judge(w, i, script);
    }
    return TRUE;
}

static gpointer work(gpointer data)
{
    Worker *w = data;
    Run *run = w->run;
    int i = 0;
    while (!w->error && (i = g_atomic_int_add(&run->next, 1)) < run->n_scripts)
        run_script(w, &run->scripts[i]);
    if (w->error)
        g_atomic_int_set(&run->next, run->n_scripts);
    return NULL;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

/* First the single objects, then the pairs, then the changes: of these, the first k are the same
 * for every plan with at least k. */
static Script *scripts_new(const Plan *plan, int n)
{
    Script *scripts = g_new0(Script, n);
    SceneDealer *dealers[3];
    for (guint k = 0; k < 3; k++)
        dealers[k] = scene_dealer_new(3 * plan->seed + k);
    for (int i = 0; i < n; i++) {
        int kind = i < plan->n_prompts ? 0 : i < plan->n_prompts + plan->n_pairs ? 1 : 2;
        Script *s = &scripts[i];
        *s = (Script){.n_chunks = kind == 2 ? CHANGE_CHUNKS : plan->n_chunks,
                      .change = kind == 2 ? CHANGE_CHUNKS / 2 : 0,
                      .seed = plan->seed * 1000 + (guint32) i};
        s->scenes[0] = scene_deal(dealers[kind], kind == 1 ? 2 : 1);
        s->scenes[1] = kind == 2 ? scene_changed(dealers[2], &s->scenes[0]) : s->scenes[0];
        for (int k = 0; k < 2; k++)
            s->captions[k] = scene_caption(dealers[kind], &s->scenes[k]);
    }
    for (int k = 0; k < 3; k++)
        scene_dealer_free(dealers[k]);
    return scripts;
}

static void scripts_free(Script *scripts, int n)
{
    for (int i = 0; i < 2 * n; i++)
        g_free(scripts[i / 2].captions[i % 2]);
    g_free(scripts);
}

/* ---- workers --------------------------------------------------------------------------------- */

static gboolean worker_init(Worker *w, Run *run, LfModel *model, GError **error)
{
    gboolean well = TRUE;
    *w = (Worker){.run = run, .reference = footage_new(), .footage = footage_new()};
    w->streams = g_new0(Stream *, run->n_settings);
    w->scores = g_new0(Score, run->n_settings);
    for (int i = 0; well && i < run->n_settings; i++) {
        w->streams[i] = stream_new(model, &run->settings[i], error);
        well = w->streams[i] != NULL;
    }
    return well;
}

static void worker_clear(Worker *w)
{
    for (int i = 0; i < w->run->n_settings; i++)
        stream_free(w->streams[i]);
    g_free(w->streams);
    g_free(w->scores);
    footage_free(w->reference);
    footage_free(w->footage);
    g_clear_error(&w->error);
}

static gboolean work_all(Worker *workers, int n, Score *scores, GError **error)
{
    gboolean well = TRUE;
    for (int i = 1; i < n; i++)
        workers[i].thread = g_thread_new("quality", work, &workers[i]);
    work(&workers[0]);
    for (int i = 1; i < n; i++)
        g_thread_join(workers[i].thread);
    for (int i = 0; i < n; i++) {
        if (workers[i].error && well) {
            g_propagate_error(error, g_steal_pointer(&workers[i].error));
            well = FALSE;
        }
        for (int k = 0; k < workers[i].run->n_settings; k++)
            score_add(&scores[k], &workers[i].scores[k]);
    }
    return well;
}

gboolean run_plan(LfModel *model, const Setting *settings, int n_settings, const Plan *plan,
                  Score *scores, RunTold told, gpointer data, GError **error)
{
    int n = plan->n_prompts + plan->n_pairs + plan->n_changes, n_workers = 0;
    int wanted = CLAMP(plan->n_jobs, 1, MAX(n, 1));
    Run run = {.settings = settings,
               .n_settings = n_settings,
               .scripts = scripts_new(plan, n),
               .n_scripts = n,
               .told = told,
               .data = data};
    g_autofree Worker *workers = g_new0(Worker, wanted);
    gboolean well = TRUE;
    g_mutex_init(&run.telling);
    for (int i = 0; i < n_settings; i++)
        scores[i] = (Score){.n_streams = 0};
    while (well && n_workers < wanted)
        well = worker_init(&workers[n_workers++], &run, model, error);
    well = well && work_all(workers, n_workers, scores, error);
    for (int i = 0; i < n_workers; i++)
        worker_clear(&workers[i]);
    g_mutex_clear(&run.telling);
    scripts_free(run.scripts, n);
    return well;
}
