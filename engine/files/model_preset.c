/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The configurations of known models, for random weights.
 */
#include "model_config.h"

#include <string.h>

/* models/demo/model.json */
static const LfModelConfig demo = {
    .transformer = {256, 4, 768, 8, 256, 192, 48, 16},
    .text_encoder = {257, 192, 192, 3, 384, 3, 32, 128},
    .decoder = {"tiny", {64, 64, 32, 16}, 16, "normalised"},
    .video = {256, 160, 16, 1, 3},
    .schedule = {{4, {1000, 750, 500, 250}}, {0}, 5.0, true},
    .cache = {12, 1, true},
    .sparse = {true, 0.85, 0.95, 32, 32, 3, 1, 1, 63, 0, 0},
};

/* Wan 2.1 1.3B as Self-Forcing uses it, with the sparsity that Light Forcing publishes for it, and
 * blocks of 64 keys for 128 queries: with 64 queries every block of keys would be read twice as
 * often. */
static const LfModelConfig wan = {
    .transformer = {1536, 12, 8960, 30, 256, 4096, 512, 16},
    .text_encoder = {256384, 4096, 4096, 64, 10240, 24, 32, 128},
    .decoder = {"tiny", {256, 128, 64, 64}, 16, "normalised"},
    .video = {832, 480, 16, 1, 3},
    .schedule = {{4, {1000, 750, 500, 250}}, {0}, 5.0, true},
    .cache = {21, 0, false},
    .sparse = {true, 0.88, 0.98, 128, 64, 6, 1, 2, 63, 0, 0},
};

static const LfDecoderConfig vae = {"wan", {384, 384, 384, 192, 96}, 16, ""};
static const LfDecoderConfig light_vae = {"wan", {96, 96, 96, 48, 24}, 16, ""};

static const struct {
    const char *name;
    const LfModelConfig *config;
    const LfDecoderConfig *decoder; /* in place of the configuration's; or NULL */
} presets[] = {
    {"demo", &demo, NULL},
    {"wan-1.3b", &wan, NULL},
    {"wan-1.3b-vae", &wan, &vae},
    {"wan-1.3b-lightvae", &wan, &light_vae},
};

LfModelConfig *lf_model_config_preset(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(presets); i++)
        if (strcmp(name, presets[i].name) == 0) {
            LfModelConfig *config = g_memdup2(presets[i].config, sizeof *config);
            config->decoder = presets[i].decoder ? *presets[i].decoder : config->decoder;
            return config;
        }
    return NULL;
}

char *lf_model_config_presets(void)
{
    GString *list = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(presets); i++)
        g_string_append_printf(list, "%s\"%s\"", i > 0 ? ", " : "", presets[i].name);
    return g_string_free(list, FALSE);
}
