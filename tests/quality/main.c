/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * quality: generates video for prompts that the demo model was not trained on, and measures how
 * well the frames follow them. See README.md.
 */
#include "report.h"

#include <locale.h>
#include <stdio.h>

static struct {
    char *model, *backend, *json;
    char **settings;
    int prompts, pairs, changes, chunks, seed, threads, jobs;
    gboolean wrong;
} asked = {.prompts = 12, .pairs = 3, .changes = 3, .chunks = 8, .seed = 1, .jobs = 1};

static const GOptionEntry entries[] = {
    {"model", 'm', 0, G_OPTION_ARG_FILENAME, &asked.model, "Directory of the model", "DIR"},
    {"backend", 'b', 0, G_OPTION_ARG_STRING, &asked.backend, "auto, cpu (default), cuda or cuda:1",
     "NAME"},
    {"prompts", 'p', 0, G_OPTION_ARG_INT, &asked.prompts, "Prompts of one object (12)", "N"},
    {"pairs", 0, 0, G_OPTION_ARG_INT, &asked.pairs, "Prompts of two objects (3)", "N"},
    {"changes", 0, 0, G_OPTION_ARG_INT, &asked.changes, "Prompts that change half-way (3)", "N"},
    {"chunks", 'n', 0, G_OPTION_ARG_INT, &asked.chunks, "Chunks of a stream (8), at least 4", "N"},
    {"seed", 's', 0, G_OPTION_ARG_INT, &asked.seed, "Seed of prompts and noise (1)", "N"},
    {"jobs", 'j', 0, G_OPTION_ARG_INT, &asked.jobs, "Streams at the same time (1)", "N"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &asked.threads,
     "CPU threads of a stream (all cores; one with --jobs)", "N"},
    {"json", 0, 0, G_OPTION_ARG_FILENAME, &asked.json, "Write the figures to a file too", "FILE"},
    {"wrong", 'w', 0, G_OPTION_ARG_NONE, &asked.wrong, "Tell of every stream that is wrong", NULL},
    {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &asked.settings, NULL, "[SETTING…]"},
    {NULL}};

static const char summary[] =
    "Scores the demo model by the pixels of its streams.\n\n"
    "A setting is one column: words joined by \"+\", of drawn, dense, sparse, uniform, all-frames, "
    "keep=N,\nwindow=N, block=N, query-block=N, key-block=N, tile=HxW, one-map, recache, cut and a "
    "target\nsparsity, as in sparse+uniform+0.9. \"drawn\" is the world's own renderer in place of "
    "the model: the\nmost that can be reached. The default is: dense sparse sparse+uniform.";

static LfModel *open_model(GError **error)
{
    g_autofree char *found = asked.model ? g_strdup(asked.model) : lf_model_default_location();
    int n_threads = asked.threads > 0 || asked.jobs == 1 ? asked.threads : 1;
    if (found)
        return lf_model_open(found,
                             &(LfModelOptions){.backend = asked.backend ? asked.backend : "cpu",
                                               .n_threads = n_threads},
                             error);
    g_set_error(error, LF_ERROR, LF_ERROR_NOT_FOUND,
                "no model: name one with --model, or in LIGHTFORCING_MODEL");
    return NULL;
}

static gboolean tell(const Report *report, GError **error)
{
    g_autofree char *json = report_json(report);
    report_print(report);
    return !asked.json || g_file_set_contents(asked.json, json, -1, error);
}

static gboolean measure(const Setting *settings, int n_settings, GError **error)
{
    gboolean needs_model = FALSE, well;
    g_autofree Score *scores = g_new0(Score, n_settings);
    g_autofree char *name = NULL;
    Report report = {.plan = {asked.prompts, asked.pairs, asked.changes, asked.chunks,
                              (guint32) asked.seed, asked.jobs},
                     .settings = settings,
                     .scores = scores,
                     .n_settings = n_settings};
    LfModel *model = NULL;
    for (int i = 0; i < n_settings; i++)
        needs_model |= !settings[i].drawn;
    if (needs_model && !(model = open_model(error)))
        return FALSE;
    if (model)
        report.model = name = g_strdup_printf("%s: %s; %s", lf_model_name(model),
                                              lf_model_description(model), lf_model_device(model));
    well = run_plan(model, settings, n_settings, &report.plan, scores,
                    asked.wrong ? report_wrong : NULL, NULL, error) &&
           tell(&report, error);
    if (model)
        lf_model_unref(model);
    return well;
}

static gboolean measure_all(char **names, GError **error)
{
    int n = (int) g_strv_length(names), n_parsed = 0;
    g_autofree Setting *settings = g_new0(Setting, n);
    gboolean well = TRUE;
    while (well && n_parsed < n) {
        well = setting_parse(names[n_parsed], &settings[n_parsed], error);
        n_parsed++;
    }
    well = well && measure(settings, n, error);
    for (int i = 0; i < n_parsed; i++)
        setting_clear(&settings[i]);
    return well;
}

static gboolean parse(int *argc, char ***argv, GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return FALSE;
    if (asked.chunks >= MIN_CHUNKS && asked.prompts >= 0 && asked.pairs >= 0 &&
        asked.changes >= 0 && asked.threads >= 0 && asked.jobs > 0)
        return TRUE;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "no count may be negative, and a stream needs %d "
                "chunks",
                MIN_CHUNKS);
    return FALSE;
}

int main(int argc, char **argv)
{
    static char *defaults[] = {"dense", "sparse", "sparse+uniform", NULL};
    g_autoptr(GError) error = NULL;
    setlocale(LC_ALL, "");
    if (parse(&argc, &argv, &error) &&
        measure_all(asked.settings ? asked.settings : defaults, &error))
        return 0;
    fprintf(stderr, "quality: %s\n", error->message);
    return 1;
}
