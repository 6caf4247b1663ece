/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The memory and the FLOPs of a chunk are found by making its calls on a backend that computes
 * nothing: arenas only add up sizes, operations only count FLOPs.
 */
#include "worker.h"

LfKvCacheConfig lf_worker_cache_config(const LfWorker *w)
{
    const LfTransformerConfig *t = &w->model->config->transformer;
    LfShare share = lf_share(w->config.rank, w->config.n_ranks, 0, t->heads);
    return (LfKvCacheConfig){.geometry = w->config.geometry,
                             .layers = t->layers,
                             .heads = share.n_heads,
                             .head_dim = t->dim / t->heads,
                             .window = w->config.window,
                             .sink = w->config.sink,
                             .relative = w->config.relative,
                             .key_block = w->config.key_block};
}

bool lf_worker_shadow(LfWorker *shadow, const LfWorker *w, LfBackend *be, uint64_t scene_index,
                      GError **error)
{
    LfKvCacheConfig config = lf_worker_cache_config(w);
    *shadow = *w;
    shadow->be = shadow->decoder_be = be;
    shadow->cache = lf_kv_cache_new(lf_backend_plan(be), &config, error);
    if (!shadow->cache || !lf_kv_cache_begin(shadow->cache, scene_index, error)) {
        lf_kv_cache_free(shadow->cache);
        return false;
    }
    shadow->past.be = be;
    shadow->decoder.begun = true;
    shadow->graphs = (LfGraphs){.be = be};
    shadow->scratch = shadow->own_decoder_scratch = lf_arena_plan();
    shadow->decoder_scratch =
        w->decoder_scratch == &w->scratch ? &shadow->scratch : &shadow->own_decoder_scratch;
    shadow->text.rows = lf_model_text_len(w->model);
    shadow->noise_source = NULL;
    shadow->cancelled = 0;
    return true;
}

void lf_worker_shadow_clear(LfWorker *shadow)
{
    lf_kv_cache_free(shadow->cache);
}

static bool enlarge(LfArena *arena, LfBackend *be, size_t size, GError **error)
{
    if (size <= arena->size)
        return true;
    lf_arena_clear(arena);
    return lf_arena_init(arena, be, size, error);
}

bool lf_worker_enlarge(LfWorker *w, const LfScratchSize *size, GError **error)
{
    if (size->own > w->scratch.size) /* graphs hold addresses of the old scratch */
        lf_graphs_clear(&w->graphs);
    return enlarge(&w->scratch, w->be, size->own, error) &&
           (w->decoder_be == w->be ||
            enlarge(&w->own_decoder_scratch, w->decoder_be, size->decoder, error));
}
