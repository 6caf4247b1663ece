/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scheme.h"

#include <string.h>

#define ROW(word) &lf_scheme_##word,
static const LfSchemeClass *const classes[] = {LF_SCHEMES(ROW)};
#undef ROW

LfScheme *lf_scheme_new(const LfSchemeConfig *config)
{
    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++)
        if (strcmp(classes[i]->name, config->name) == 0)
            return classes[i]->create(config);
    return NULL;
}

void lf_scheme_free(LfScheme *scheme)
{
    if (scheme)
        scheme->class->destroy(scheme);
}

/* ---- dense ----------------------------------------------------------------------------------- */

static void dense_plan(LfScheme *scheme, const LfKvCache *cache, double sparsity)
{
}

static void dense_begin_steps(LfScheme *scheme, const LfKvCache *cache, LfArena *scratch)
{
}

static void dense_begin_pass(LfScheme *scheme, int step)
{
}

static LfTensor dense_query_means(const LfScheme *scheme, const LfKvCache *cache, LfArena *scratch)
{
    return LF_NONE;
}

static LfTensor dense_select(const LfScheme *scheme, const LfKvCache *cache, LfBackend *be,
                             LfArena *scratch, int layer, LfTensor query_means,
                             const LfWindow *window)
{
    return LF_NONE;
}

static uint64_t dense_graph_key(const LfScheme *scheme)
{
    return 0;
}

/* lf_dense makes it on the stack, so it has no create and no destroy. */
const LfSchemeClass lf_scheme_dense = {
    .name = "dense",
    .plan = dense_plan,
    .begin_steps = dense_begin_steps,
    .begin_pass = dense_begin_pass,
    .query_means = dense_query_means,
    .select = dense_select,
    .graph_key = dense_graph_key,
};
