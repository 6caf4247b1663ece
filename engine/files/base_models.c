/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base_models.h"

#include <glib/gstdio.h>
#include <string.h>

/* Either one tells: files are renamed, and repositories write their headers differently. */
static const struct {
    const char *name;
    gint64 size; /* 0: not known */
} files[] = {
    {"wan2.1_t2v_1.3B_bf16.safetensors", 2838104528}, {"wan2.1_t2v_1.3B_fp16.safetensors", 0},
    {"Wan2_1-T2V-1_3B_bf16.safetensors", 0},          {"Wan2_1-T2V-1_3B_fp32.safetensors", 0},
    {"Wan2_1-T2V-1_3B_fp8_e4m3fn.safetensors", 0},    {"diffusion_pytorch_model.safetensors", 0},
};

const char lf_base_model_notice[] =
    "it seems to be Wan 2.1 itself, which is not causal: the pictures will be noise; use a causal "
    "checkpoint, such as Self-Forcing's, for the transformer";

/* "wan2.1-t2v-1.3b-Q4_K_M.gguf": such files are made of Wan 2.1 itself by many, under its name and
 * that of the type. */
static bool is_base_gguf(const char *name)
{
    return g_regex_match_simple("^wan[-_.]?2[._]1[-_]t2v[-_]1[._]3b([-_.](q[0-9](_[0-9k])?(_[sml])?"
                                "|f16|bf16|f32|fp16))?\\.gguf$",
                                name, G_REGEX_CASELESS, 0);
}

bool lf_is_base_model(const char *path)
{
    GStatBuf status;
    gint64 size = g_stat(path, &status) == 0 ? (gint64) status.st_size : 0;
    g_autofree char *name = g_path_get_basename(path);
    if (is_base_gguf(name))
        return true;
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
        if (strcmp(name, files[i].name) == 0 || (files[i].size && size == files[i].size))
            return true;
    return false;
}
