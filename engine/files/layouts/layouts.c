/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layouts.h"

#include <string.h>

#define LF_LAYOUT_ADDRESS(NAME) &lf_layout_##NAME,
const LfLayout *const lf_layouts[] = {LF_LAYOUTS(LF_LAYOUT_ADDRESS) NULL};

static const char *const wrappers[] = {"_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                       "_orig_mod."};

static const char *const prefixes[] = {"model.",    "diffusion_model.", "module.",
                                       "net.",      "transformer.",     "state_dict.",
                                       "pipe.dit.", "base_model.",      "generator_lora."};

char *lf_layout_unwrap(const char *name)
{
    GString *bare = g_string_new(name);
    for (gsize i = 0; i < G_N_ELEMENTS(wrappers); i++)
        g_string_replace(bare, wrappers[i], "", 0);
    gsize skipped = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes);) {
        if (g_str_has_prefix(bare->str + skipped, prefixes[i])) {
            skipped += strlen(prefixes[i]);
            i = 0;
        } else {
            i++;
        }
    }
    g_string_erase(bare, 0, (gssize) skipped);
    return g_string_free(bare, FALSE);
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
