/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

typedef struct {
    const Setting *settings;
    int n_settings;
    Stream **streams;
    Footage *reference, *footage;
    Score *scores;
    RunTold told;
    gpointer data;
} Run;

static void judge(Run *run, int i, const Script *script)
{
    Score *score = &run->scores[i];
    const Footage *footage = i == 0 ? run->reference : run->footage;
    const Scene *wanted = &script->scenes[script->change > 0];
    Verdict v = script->change > 0 ? score_change(score, footage, wanted)
                                   : score_stream(score, footage, wanted);
    if (i > 0 && script->change == 0 && !run->settings[0].drawn && !run->settings[i].drawn)
        score_agreement(score, footage, run->reference);
    if (run->told)
        run->told(&run->settings[i], script, wanted, &v, run->data);
}

static gboolean run_script(Run *run, const Script *script, GError **error)
{
    for (int i = 0; i < run->n_settings; i++) {
        if (!stream_run(run->streams[i], script, i == 0 ? run->reference : run->footage,
                        &run->scores[i], error))
            return FALSE;
        judge(run, i, script);
    }
    return TRUE;
}

/* First the single objects, then the pairs, then the changes: of these, the first k are the same
 * for every plan with at least k. */
static gboolean run_scripts(Run *run, const Plan *plan, GError **error)
{
    int n = plan->n_prompts + plan->n_pairs + plan->n_changes;
    gboolean well = TRUE;
    SceneDealer *dealers[3];
    for (guint k = 0; k < 3; k++)
        dealers[k] = scene_dealer_new(3 * plan->seed + k);
    for (int i = 0; well && i < n; i++) {
        int kind = i < plan->n_prompts ? 0 : i < plan->n_prompts + plan->n_pairs ? 1 : 2;
        Script s = {.n_chunks = kind == 2 ? CHANGE_CHUNKS : plan->n_chunks,
                    .change = kind == 2 ? CHANGE_CHUNKS / 2 : 0,
                    .seed = plan->seed * 1000 + (guint32) i};
        s.scenes[0] = scene_deal(dealers[kind], kind == 1 ? 2 : 1);
        s.scenes[1] = kind == 2 ? scene_changed(dealers[2], &s.scenes[0]) : s.scenes[0];
        for (int k = 0; k < 2; k++)
            s.captions[k] = scene_caption(dealers[kind], &s.scenes[k]);
        well = run_script(run, &s, error);
        g_free(s.captions[0]);
        g_free(s.captions[1]);
    }
    for (int k = 0; k < 3; k++)
        scene_dealer_free(dealers[k]);
    return well;
}

gboolean run_plan(LfModel *model, const Setting *settings, int n_settings, const Plan *plan,
                  Score *scores, RunTold told, gpointer data, GError **error)
{
    Run run = {.settings = settings,
               .n_settings = n_settings,
               .scores = scores,
               .told = told,
               .data = data};
    gboolean well = TRUE;
    run.streams = g_new0(Stream *, n_settings);
    run.reference = footage_new();
    run.footage = footage_new();
    for (int i = 0; well && i < n_settings; i++) {
        scores[i] = (Score){.n_streams = 0};
        run.streams[i] = stream_new(model, &settings[i], error);
        well = run.streams[i] != NULL;
    }
    well = well && run_scripts(&run, plan, error);
    for (int i = 0; i < n_settings; i++)
        stream_free(run.streams[i]);
    g_free(run.streams);
    footage_free(run.reference);
    footage_free(run.footage);
    return well;
}
