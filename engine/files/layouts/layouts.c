/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layouts.h"

#include <string.h>

#define LF_LAYOUT_ADDRESS(NAME) &lf_layout_##NAME,
const LfLayout *const lf_layouts[] = {LF_LAYOUTS(LF_LAYOUT_ADDRESS) NULL};

static const char *const wrappers[] = {"_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                       "_orig_mod."};

/* Bytes of the wrapper that `name` begins with, or 0. */
static gsize wrapper_at(const char *name)
{
    for (gsize i = 0; *name == '_' && i < G_N_ELEMENTS(wrappers); i++)
        if (g_str_has_prefix(name, wrappers[i]))
            return strlen(wrappers[i]);
    return 0;
}

char *lf_layout_unwrap(const char *name)
{
    char *bare = g_malloc(strlen(name) + 1), *end = bare;
    while (*name) {
        gsize wrapper = wrapper_at(name);
        if (wrapper)
            name += wrapper;
        else
            *end++ = *name++;
    }
    *end = '\0';
    return bare;
}

int lf_layout_prefix(const LfLayout *layout, const char *name, int n_dims)
{
    gsize length = strlen(name);
    for (int i = 0; i < LF_LAYOUT_MAX_SIGNS && layout->signs[i].name; i++) {
        gsize sign = strlen(layout->signs[i].name);
        if (sign > length || strcmp(name + length - sign, layout->signs[i].name) != 0 ||
            (layout->signs[i].n_dims && layout->signs[i].n_dims != n_dims))
            continue;
        if (sign == length || name[length - sign - 1] == '.')
            return (int) (length - sign);
    }
    return -1;
}

/* The end of the beginning of `name` that matches `pattern`, or NULL. The runs that '*' stands for
 * are written to `runs`, which may be NULL, each with a '\0' behind it. */
static const char *match(const char *name, const char *pattern, GString *runs)
{
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            gsize length = strcspn(name, ".");
            if (length == 0)
                return NULL;
            if (runs)
                g_string_append_c(g_string_append_len(runs, name, (gssize) length), '\0');
            name += length;
        } else if (*name++ != *pattern) {
            return NULL;
        }
    }
    return *name == '.' || *name == '\0' ? name : NULL;
}

bool lf_layout_matches(const char *name, const char *pattern)
{
    return match(name, pattern, NULL) != NULL;
}

char *lf_layout_rename(const char *name, const char *from, const char *to)
{
    g_autoptr(GString) runs = g_string_new(NULL);
    const char *rest = match(name, from, runs);
    if (!rest)
        return NULL;
    const char *run = runs->str;
    GString *renamed = g_string_new(NULL);
    for (; *to; to++) {
        if (*to == '*') {
            g_string_append(renamed, run);
            run += strlen(run) + 1;
        } else {
            g_string_append_c(renamed, *to);
        }
    }
    return g_string_free(g_string_append(renamed, rest), FALSE);
}

/* Patterns of beginnings. A '*' at the end of a component stands for the rest of it. */
static const char *const ignored[] = {
    "freqs",             /* angles of RoPE */
    "scaled_fp8",        /* a mark of files whose matrices are FP8 */
    "spiece_model",      /* the tokenizer's file, inside of the text encoder's */
    "accum_*",           /* counters of rCM */
    "_cls_pred_branch*", /* heads of adversarial training */
    "_register_tokens*",
    "_gan_ca_blocks*",
    "cls_pred_branch*",
    "register_tokens*",
    "gan_ca_blocks*",
    "optimizer*",
    "lr_scheduler*",
    "step",
    "global_step",
    "epoch",
};

static const char *const ignored_endings[] = {
    "_extra_state", ".num_batches_tracked", ".comfy_quant", /* checked by quantised.c */
    ".input_scale", ".scale_input", /* for products in FP8 with fixed scales of activations */
};

/* A second set of weights, which some samplers use for the clean pass. */
static const char second_set[] = "memory_";

bool lf_layout_is_second_set(const char *name)
{
    for (const char *at = name; at; at = strchr(at, '.'), at += at != NULL)
        if (g_str_has_prefix(at, second_set))
            return true;
    return false;
}

bool lf_layout_ignores(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(ignored_endings); i++)
        if (g_str_has_suffix(name, ignored_endings[i]))
            return true;
    for (gsize i = 0; i < G_N_ELEMENTS(ignored); i++) {
        gsize length = strcspn(ignored[i], "*");
        if (strncmp(name, ignored[i], length) == 0 &&
            (ignored[i][length] || name[length] == '.' || name[length] == '\0'))
            return true;
    }
    return lf_layout_is_second_set(name);
}
