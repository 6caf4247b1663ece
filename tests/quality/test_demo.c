/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The demo model follows its prompt: a short run of what the program quality measures at length,
 * with bounds that leave room for rounding on other machines.
 */
#include "run.h"

static void tell(const Setting *setting, const Script *script, const Scene *wanted,
                 const Verdict *v, gpointer nothing)
{
    if (!v->late_marks.all)
        g_test_message("not all right at the end: seed %u, \"%s\"", script->seed,
                       script->captions[script->change > 0]);
}

static void assert_shares(const char *name, const Tally *tally)
{
    static const double least[N_MARKS] = {[COUNT_RIGHT] = .85,
                                          [COLOUR_RIGHT] = .85,
                                          [BACKGROUND_RIGHT] = .85,
                                          [SHAPE_RIGHT] = .6,
                                          [MOTION_RIGHT] = .6};
    for (int i = 0; i < N_MARKS; i++) {
        g_test_message("%s: %s %.2f", name, score_mark_names[i], score_share(tally, i));
        g_assert_cmpfloat(score_share(tally, i), >=, least[i]);
    }
}

static void test_demo(void)
{
    static const Plan plan = {
        .n_prompts = 8, .n_pairs = 1, .n_changes = 1, .n_chunks = 4, .seed = 2};
    GError *error = NULL;
    Setting sparse;
    Score score;
    LfModel *model = lf_model_open(g_getenv("LIGHTFORCING_MODEL"), NULL, &error);
    g_assert_no_error(error);
    g_assert_true(setting_parse("sparse", &sparse, &error));
    run_plan(model, &sparse, 1, &plan, &score, tell, NULL, &error);
    g_assert_no_error(error);
    assert_shares("early", &score.early);
    assert_shares("late", &score.late);
    g_assert_true(score.pairs.right[BACKGROUND_RIGHT] && score.changes.right[BACKGROUND_RIGHT]);
    g_assert_cmpint(score.n_frozen, ==, 0);
    g_assert_cmpfloat(score.drift / score.n_streams, <, 4);
    g_assert_cmpfloat(score.sharp_late / score.n_streams, >, .6);
    g_assert_cmpfloat(score_seam_ratio(&score, FALSE), <, 2);
    g_test_message("sharpness %.2f, drift %.1f, seams %.2f", score.sharp_late / score.n_streams,
                   score.drift / score.n_streams, score_seam_ratio(&score, FALSE));
    setting_clear(&sparse);
    lf_model_unref(model);
}

static void test_settings(void)
{
    static const char *const bad[] = {
        "",          "thick",   "sparse+1.5", "window=0",   "dense+",      "0.5x",
        "window=6x", "block",   "block=",     "block=-4",   "key-block=0", "query-block=a",
        "tile=2",    "tile=x8", "tile=2x",    "tile=2x8x8", "tile=0x8"};
    Setting s;
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;
        g_assert_false(setting_parse(bad[i], &s, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
        g_error_free(error);
        setting_clear(&s);
    }
    g_assert_true(setting_parse("sparse+uniform+all-frames+0.9+window=6", &s, NULL));
    g_assert_cmpint(s.options.attention, ==, LF_ATTENTION_SPARSE);
    g_assert_true(s.options.uniform && s.options.keep_frames == -1 && s.options.window == 6);
    g_assert_cmpfloat_with_epsilon(s.options.sparsity, .9, 1e-9);
    g_assert_cmpint(s.options.transition, ==, LF_TRANSITION_CONTINUE);
    setting_clear(&s);
    g_assert_true(setting_parse("sparse+recache", &s, NULL));
    g_assert_cmpint(s.options.transition, ==, LF_TRANSITION_RECACHE);
    setting_clear(&s);
    g_assert_true(setting_parse("cut+dense", &s, NULL));
    g_assert_cmpint(s.options.transition, ==, LF_TRANSITION_CUT);
    setting_clear(&s);
    g_assert_true(setting_parse("sparse+block=16", &s, NULL));
    g_assert_true(s.options.query_block == 16 && s.options.key_block == 16);
    setting_clear(&s);
    g_assert_true(setting_parse("sparse+query-block=40+key-block=80+tile=5x8+one-map", &s, NULL));
    g_assert_true(s.options.query_block == 40 && s.options.key_block == 80 && s.options.one_map);
    g_assert_true(s.options.tile_rows == 5 && s.options.tile_cols == 8);
    setting_clear(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/quality/settings", test_settings);
    g_test_add_func("/quality/demo", test_demo);
    return g_test_run();
}
