/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Families of published checkpoints: which one a path is of, and what follows from it.
 */
#include "engine/files/family.h"

#include <string.h>

/* Where the files are after a download by hand, by the hub's client, and as others repack them. */
static void test_paths(void)
{
    static const struct {
        const char *path, *family;
    } rows[] = {
        {"self_forcing_dmd.pt", "self-forcing"},
        {"/x/checkpoints/Self_Forcing_SID_v2.PT", "self-forcing"},
        {"/x/self_forcing_gan.pt", "self-forcing"},
        {"/x/self_forcing_10s.pt", "self-forcing-10s"},
        {"/x/self_forcing_fp8.safetensors", "self-forcing"},
        {"/x/short_video_gen.pt", "light-forcing"},
        {"/x/long_video_gen.pt", "light-forcing-long"},
        {"/x/chunkwise/causal_forcing.pt", "causal-forcing"},
        {"/x/framewise/causal_forcing.pt", "causal-forcing-framewise"},
        {"/x/causal_forcing-framewise.safetensors", "causal-forcing-framewise"},
        {"/x/chunkwise/longvideo.pt", "causal-forcing-long"},
        {"/x/causal-forcing++/framewise-2step.pt", "causal-forcing-2step"},
        {"/x/framewise-1step.pt", "causal-forcing-1step"},
        {"/x/one_forcing.pt", "one-forcing"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c3-3_step4.pt", "causal-rcm"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c3-3.pt", "causal-rcm"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c3-3_step2.pt", "causal-rcm-2step"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c3-3_step2_noisy_ctx.pt",
         "causal-rcm-noisy-context"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c3-3_step1.pt", "causal-rcm-1step"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c1-1.pt", "causal-rcm-framewise"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c1-1_step4.pt", "causal-rcm-framewise"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c1-1_step2.pt", "causal-rcm-2step-framewise"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c1-1_step2_noisy_ctx.pt",
         "causal-rcm-noisy-context-framewise"},
        {"/x/Causal_rCM_Wan2.1_T2V_1.3B_480p_x_c1-1_step1.pt", "causal-rcm-1step-framewise"},
        {"/hub/models--Efficient-Large-Model--LongLive-1.3B/snapshots/0a/models/longlive_base.pt",
         "longlive"},
        {"/x/rewardforcing.pt", "reward-forcing"},
        {"/x/rolling_forcing_dmd.pt", "rolling-forcing"},
        {"/x/Self_Gradient_Forcing_Plus/framewise/model.pt",
         "self-gradient-forcing-plus-framewise"},
        {"/x/Self_Gradient_Forcing_Plus/model.pt", "self-gradient-forcing-plus"},
        {"/x/framewise/ar/model.pt", "self-gradient-forcing-framewise"},
        {"/x/chunkwise/ar/model.pt", "self-gradient-forcing"},
        {"/x/autoregressive_checkpoint/model.pt", "causvid"},
        {"/x/wan_causal_dmd_v2v/model.pt", "streamdiffusion-v2"},
        {"/x/LiveWan/step002250_noema.pt", "livewan"},
        {"/x/model.pt", NULL},
        {"/x/transformer.safetensors", NULL},
        {"/self_forcing_dmd.pt/model.pt", NULL}, /* the end of the path counts */
        {"/x/my-causal_forcing.pt", NULL},       /* and the beginning of a component */
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const LfFamily *family = lf_family_of_path(rows[i].path);
        g_assert_cmpstr(family ? family->name : NULL, ==, rows[i].family);
    }
}

/* The hub's cache has a link of the published name; somebody's own link may have any. */
static void test_links(void)
{
    g_autofree char *dir = g_dir_make_tmp("lf-family-XXXXXX", NULL);
    g_autofree char *blob = g_build_filename(dir, "rolling_forcing_dmd.pt", NULL);
    g_autofree char *named = g_build_filename(dir, "longlive_base.pt", NULL);
    g_autofree char *mine = g_build_filename(dir, "mine.pt", NULL);
    g_assert_true(symlink(blob, named) == 0 && symlink(blob, mine) == 0);
    g_assert_cmpstr(lf_family_of_path(named)->name, ==, "longlive");
    g_assert_cmpstr(lf_family_of_path(mine)->name, ==, "rolling-forcing");
    g_assert_true(unlink(named) == 0 && unlink(mine) == 0 && rmdir(dir) == 0);
}

/* Every row can be applied, and makes a configuration without contradictions. */
static void test_rows(void)
{
    for (const LfFamily *f = lf_families; f->name; f++) {
        LfModelConfig *config = lf_model_config_new();
        g_autoptr(GError) error = NULL;
        config->video.chunk = config->cache.window = config->cache.sink = 77;
        config->schedule.shift = 77;
        lf_family_apply(f, config);
        g_assert_true(lf_family_named(f->name) == f && config->family == f);
        g_assert_true(f->title && f->repository && f->file && f->licence);
        g_assert_true(lf_model_config_check(config, &error));
        g_assert_no_error(error);
        g_assert_cmpint(config->video.chunk, ==, f->chunk);
        g_assert_cmpint(config->cache.window, ==, f->window);
        g_assert_cmpint(config->cache.sink, ==, f->sink);
        g_assert_cmpfloat(config->schedule.shift, ==, f->shift);
        g_assert_true(config->sparse.given == f->sparse);
        g_assert_cmpstr(config->copy, ==, f->copy);
        lf_model_config_free(config);
    }
}

/* What the authors publish: latent frames of a chunk, steps, steps of the first chunk, shift (0: not
 * shifted), window and sink, sparse attention, which copy of the weights. */
static void test_published(void)
{
    static const struct {
        const char *name;
        int chunk;
        const char *steps, *first_steps;
        double shift;
        int window, sink;
        bool sparse;
        const char *copy;
    } rows[] = {
        {"self-forcing-10s", 3, "1000,750,500,250", "", 5, 21, 0, false, NULL},
        {"self-forcing", 3, "1000,750,500,250", "", 5, 21, 0, false, NULL},
        {"light-forcing", 3, "1000,750,500,250", "", 5, 21, 0, true, NULL},
        {"light-forcing-long", 3, "1000,750,500,250", "", 5, 12, 1, true, NULL},
        {"causal-forcing-2step", 1, "1000,500", "1000,750,500,250", 5, 21, 0, false, NULL},
        {"causal-forcing-1step", 1, "1000", "1000,750,500,250", 5, 21, 0, false, NULL},
        {"causal-forcing-framewise", 1, "1000,750,500,250", "", 5, 21, 0, false, NULL},
        {"causal-forcing-long", 3, "1000,750,500,250", "", 5, 21, 0, false, NULL},
        {"causal-forcing", 3, "1000,750,500,250", "", 5, 21, 0, false, "generator"},
        {"one-forcing", 3, "1000", "1000,750,500,250", 5, 21, 0, false, "generator"},
        {"causal-rcm-noisy-context-framewise", 1, "999.375,625", "999.375,937.5,833.333,625", 0, 21,
         0, false, NULL},
        {"causal-rcm-2step-framewise", 1, "999.375,833.333", "999.375,937.5,833.333,625", 0, 21, 0,
         false, NULL},
        {"causal-rcm-1step-framewise", 1, "999.375", "999.375,937.5,833.333,625", 0, 21, 0, false,
         NULL},
        {"causal-rcm-framewise", 1, "999.375,937.5,833.333,625", "", 0, 21, 0, false, NULL},
        {"causal-rcm-noisy-context", 3, "999.375,625", "999.375,937.5,833.333,625", 0, 21, 0, false,
         NULL},
        {"causal-rcm-2step", 3, "999.375,833.333", "999.375,937.5,833.333,625", 0, 21, 0, false,
         NULL},
        {"causal-rcm-1step", 3, "999.375", "999.375,937.5,833.333,625", 0, 21, 0, false, NULL},
        {"causal-rcm", 3, "999.375,937.5,833.333,625", "", 0, 21, 0, false, NULL},
        {"longlive", 3, "1000,750,500,250", "", 5, 12, 3, false, "generator"},
        {"memflow", 3, "1000,750,500,250", "", 5, 12, 3, false, "generator"},
        {"reward-forcing", 3, "1000,750,500,250", "", 5, 9, 3, false, NULL},
        {"rolling-forcing", 3, "1000,800,600,400,200", "", 5, 27, 0, false, NULL},
        {"self-gradient-forcing-plus-framewise", 1, "1000,750,500,250", "", 5, 21, 4, false, NULL},
        {"self-gradient-forcing-plus", 3, "1000,750,500,250", "", 5, 12, 3, false, NULL},
        {"self-gradient-forcing-framewise", 1, "1000,750,500,250", "", 5, 21, 0, false, NULL},
        {"self-gradient-forcing", 3, "1000,750,500,250", "", 5, 21, 0, false, NULL},
        {"infinite-forcing", 3, "1000,750,500,250", "", 5, 21, 0, false, NULL},
        {"causvid", 3, "1000,757,522", "", 0, 0, 0, false, "generator"},
        {"streamdiffusion-v2", 3, "1000,750,500,250", "", 0, 6, 3, false, "generator"},
        {"livewan", 3, "1000,500", "", 1, 6, 0, false, NULL},
    };
    const LfFamily *f = lf_families;
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++, f++) {
        g_autofree char *steps = lf_steps_text(&f->steps);
        g_autofree char *first_steps = lf_steps_text(&f->first_steps);
        g_assert_cmpstr(f->name, ==, rows[i].name);
        g_assert_cmpint(f->chunk, ==, rows[i].chunk);
        g_assert_cmpstr(steps, ==, rows[i].steps);
        g_assert_cmpstr(first_steps, ==, rows[i].first_steps);
        g_assert_cmpfloat(f->no_warp ? 0 : f->shift, ==, rows[i].shift);
        g_assert_cmpint(f->window, ==, rows[i].window);
        g_assert_cmpint(f->sink, ==, rows[i].sink);
        g_assert_true(f->sparse == rows[i].sparse);
        g_assert_cmpstr(f->copy, ==, rows[i].copy);
    }
    g_assert_null(f->name);
}

static void test_unknown(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(lf_family_named("no-such"));
    g_assert_false(lf_family_refuse("no-such", &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_nonnull(strstr(error->message, "no-such"));
    g_assert_nonnull(strstr(error->message, "causal-forcing-framewise"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/family/paths", test_paths);
    g_test_add_func("/family/links", test_links);
    g_test_add_func("/family/rows", test_rows);
    g_test_add_func("/family/published", test_published);
    g_test_add_func("/family/unknown", test_unknown);
    return g_test_run();
}
