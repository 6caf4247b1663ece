/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hierarchical Sparse Attention of Light Forcing (arXiv 2602.04789): every block of queries first
 * keeps the past frames that suit it best, then the best key blocks of these frames and of its own
 * chunk. See docs/light-forcing.md; the selection itself is lf_select_blocks in kernels/ops.h.
 */
#include "scheme.h"

#include "engine/growth.h"

static const LfLightForcing *of(const LfScheme *scheme)
{
    return (const LfLightForcing *) scheme;
}

LfLightForcing lf_light_forcing(const LfSchemeConfig *config)
{
    return (LfLightForcing){
        .base = {.class = &lf_scheme_light_forcing, .query_block = config->query_block},
        .selection = config->selection,
        .one_map = config->one_map};
}

static LfScheme *create(const LfSchemeConfig *config)
{
    LfLightForcing *s = g_new(LfLightForcing, 1);
    *s = lf_light_forcing(config);
    return &s->base;
}

static void destroy(LfScheme *scheme)
{
    g_free(scheme);
}

/* The budget counts every key block of the window, also those of frames that are not kept. */
static void plan(LfScheme *scheme, const LfKvCache *cache, double sparsity)
{
    LfLightForcing *s = (LfLightForcing *) scheme;
    const LfKvCacheConfig *c = lf_kv_cache_config(cache);
    int blocks = lf_frame_blocks(c->geometry.frame_tokens, c->key_block);
    int kept = MIN(lf_kv_cache_past(cache), s->selection.keep_frames) + c->geometry.chunk;
    int budget = lf_block_budget(sparsity, lf_kv_cache_frames(cache) * blocks, kept * blocks);
    s->budget = sparsity > 0 ? budget : 0;
    s->map = LF_NONE;
}

/* c·nq */
static int query_blocks(const LfScheme *scheme, const LfKvCache *cache)
{
    const LfGeometry *g = &lf_kv_cache_config(cache)->geometry;
    return g->chunk * lf_frame_blocks(g->frame_tokens, scheme->query_block);
}

static void begin_steps(LfScheme *scheme, const LfKvCache *cache, LfArena *scratch)
{
    LfLightForcing *s = (LfLightForcing *) scheme;
    const LfKvCacheConfig *c = lf_kv_cache_config(cache);
    if (s->one_map && s->budget > 0)
        s->map = lf_arena_tensor(scratch, LF_I32, c->layers, c->heads, query_blocks(scheme, cache),
                                 s->budget);
}

/* The clean pass always selects for itself. A map that was selected from noisy latents would affect
 * the keys and values that all later chunks read, to save one selection of five. */
static void begin_pass(LfScheme *scheme, int step)
{
    LfLightForcing *s = (LfLightForcing *) scheme;
    s->step = step;
    if (step == LF_CLEAN_PASS)
        s->map = LF_NONE;
}

/* The map has this layer's table already. */
static bool is_mapped(const LfLightForcing *s)
{
    return lf_is_set(s->map) && s->step > 0;
}

static LfTensor query_means(const LfScheme *scheme, const LfKvCache *cache, LfArena *scratch)
{
    const LfKvCacheConfig *c = lf_kv_cache_config(cache);
    if (of(scheme)->budget == 0 || is_mapped(of(scheme)))
        return LF_NONE;
    return lf_arena_tensor(scratch, LF_F32, c->heads, query_blocks(scheme, cache), c->head_dim);
}

static LfTensor select_blocks(const LfScheme *scheme, const LfKvCache *cache, LfBackend *be,
                              LfArena *scratch, int layer, LfTensor means, const LfWindow *window)
{
    const LfLightForcing *s = of(scheme);
    if (s->budget == 0)
        return LF_NONE;
    LfTensor table = lf_is_set(s->map)
                         ? lf_tensor_at(s->map, layer)
                         : lf_arena_tensor(scratch, LF_I32, lf_kv_cache_config(cache)->heads,
                                           query_blocks(scheme, cache), s->budget);
    if (!is_mapped(s))
        lf_select_blocks(be, table, means, window, &s->selection);
    return table;
}

static uint64_t graph_key(const LfScheme *scheme)
{
    return (uint64_t) of(scheme)->budget;
}

const LfSchemeClass lf_scheme_light_forcing = {
    .name = "light-forcing",
    .create = create,
    .destroy = destroy,
    .plan = plan,
    .begin_steps = begin_steps,
    .begin_pass = begin_pass,
    .query_means = query_means,
    .select = select_blocks,
    .graph_key = graph_key,
};
