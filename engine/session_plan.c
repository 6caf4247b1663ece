/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is known of a chunk before it is made: how it attends, and what it takes. The latter is
 * found out by running its calls on a machine that does nothing: memory by an arena that only adds
 * up, work by operations that only count.
 */
#include "session.h"

#include "flops.h"

/* ---- attention ------------------------------------------------------------------------------- */

/* The model's growth, with both its shares moved so that the target is the one asked for. */
double lf_session_sparsity(const LfSession *s, const LfRequest *request, uint64_t index)
{
    const LfModelConfig *c = s->model->config;
    gboolean sparse = request->attention == LF_ATTENTION_SPARSE ||
                      (request->attention == LF_ATTENTION_AUTO && c->sparse.given);
    if (!sparse || index == 0)
        return 0;
    double target = request->sparsity > 0 ? request->sparsity : c->sparse.target;
    LfGrowth growth = {.target = target,
                       .base =
                           CLAMP(c->sparse.base + target - c->sparse.target, 0, LF_MAX_SPARSITY),
                       .chunk = s->geometry.chunk,
                       .window = s->window,
                       .horizon = c->sparse.horizon};
    return s->uniform ? target : lf_growth_sparsity(&growth, index);
}

/* The budget counts every key block of the window, also those of frames that are not kept. */
LfAttend lf_session_attend(const LfSession *s, const LfKvCache *cache, double sparsity)
{
    const LfModelConfig *c = s->model->config;
    int blocks = lf_frame_blocks(s->geometry.frame_tokens, s->key_block);
    int kept = MIN(lf_kv_cache_past(cache), s->keep_frames) + s->geometry.chunk;
    int budget = lf_block_budget(sparsity, lf_kv_cache_frames(cache) * blocks, kept * blocks);
    return (LfAttend){.budget = sparsity > 0 ? budget : 0,
                      .query_block = s->query_block,
                      .selection = {.keep_frames = s->keep_frames,
                                    .keep_sink = c->sparse.keep_sink,
                                    .keep_near = c->sparse.keep_near}};
}

LfTensor lf_session_map(const LfSession *s, LfArena *arena, const LfAttend *attend)
{
    const LfTransformerConfig *c = &s->model->config->transformer;
    int blocks = lf_frame_blocks(s->geometry.frame_tokens, attend->query_block);
    if (!s->one_map || attend->budget == 0)
        return LF_NONE;
    return lf_arena_tensor(arena, LF_I32, c->layers, c->heads, s->geometry.chunk * blocks,
                           attend->budget);
}

/* ---- memory and work ------------------------------------------------------------------------- */

LfKvCache *lf_session_planned_cache(const LfSession *s, uint64_t index, GError **error)
{
    LfKvCacheConfig config = lf_session_cache_config(s);
    LfKvCache *cache = lf_kv_cache_new(lf_backend_plan(s->be), &config, error);
    for (uint64_t i = 0; cache && i <= index; i++) {
        if (!lf_kv_cache_begin(cache, i, error))
            g_clear_pointer(&cache, lf_kv_cache_free);
        else if (i < index)
            lf_kv_cache_commit(cache);
    }
    return cache;
}

/* The longest text there can be. */
static LfTextState longest_text(const LfSession *s)
{
    LfTextState text = s->text;
    text.rows = lf_model_text_len(s->model);
    return text;
}

/* The steps and the clean pass, as session_graph.c calls them. */
static void run_passes(const LfSession *s, LfBackend *be, LfArena *arena, LfKvCache *cache,
                       const LfTextState *text, const LfAttend *attend)
{
    const LfTransformer *t = s->model->transformer;
    LfAttend steps = *attend;
    size_t mark = arena->used;
    steps.map = lf_session_map(s, arena, attend);
    for (int i = 0; i < s->n_steps; i++, steps.mapped = lf_is_set(steps.map))
        lf_transformer_forward(t, be, arena, s->velocity, s->x, &s->modulations[i], text, cache,
                               &steps, NULL);
    lf_arena_release(arena, mark);
    lf_transformer_forward(t, be, arena, LF_NONE, s->x, &s->modulations[s->n_steps], text, cache,
                           attend, NULL);
}

static void run_decoder(const LfSession *s, LfBackend *be, LfArena *arena)
{
    const LfGeometry *g = &s->geometry;
    LfDecoderState state = s->decoder;
    LfTensor rgb = lf_tensor(NULL, LF_U8, LF_FRAMES_PER_LATENT * g->chunk, g->height, g->width, 3);
    if (s->has_pixels)
        lf_decoder_tiny_forward(s->model->decoder, be, arena, rgb, s->x, &state, NULL);
}

/* Text and time, which do not depend on the window. */
static void run_conditions(LfSession *s, LfBackend *be, LfArena *arena)
{
    LfTextState text = s->text;
    lf_transformer_modulate(s->model->transformer, be, arena, &s->modulations[0], 0);
    lf_transformer_text(s->model->transformer, be, arena, &text, s->context);
    if (s->has_text)
        lf_text_encoder_forward(s->model->text_encoder, be, arena, s->context, s->ids, NULL);
}

static gboolean enlarge(LfArena *arena, LfBackend *be, size_t size, GError **error)
{
    if (size <= arena->size)
        return TRUE;
    lf_arena_clear(arena);
    return lf_arena_init(arena, be, size, error);
}

gboolean lf_session_reserve(LfSession *s, LfKvCache *cache, GError **error)
{
    LfArena plan = lf_arena_plan(), decoder = lf_arena_plan();
    LfBackend *nothing = lf_backend_plan(s->be);
    gboolean shared = s->decode_scratch == &s->scratch;
    LfTextState text = longest_text(s);
    LfAttend dense = lf_session_attend(s, cache, 0);
    LfAttend most = lf_session_attend(s, cache, G_MINDOUBLE);
    run_conditions(s, nothing, &plan);
    run_passes(s, nothing, &plan, cache, &text, &dense);
    run_passes(s, nothing, &plan, cache, &text, &most);
    run_decoder(s, nothing, shared ? &plan : &decoder);
    return enlarge(&s->scratch, s->be, plan.peak, error) &&
           (shared || enlarge(s->decode_scratch, s->decoding, decoder.peak, error));
}

gboolean lf_session_reserve_recache(LfSession *s, LfKvCache *cache, uint64_t index, GError **error)
{
    LfArena plan = lf_arena_plan();
    LfTextState text = longest_text(s);
    if (!lf_kv_cache_begin_past(cache, index, error))
        return FALSE;
    lf_transformer_recache(s->model->transformer, lf_backend_plan(s->be), &plan, &s->past,
                           &s->modulations[s->n_steps], &text, cache, NULL);
    return lf_kv_cache_begin(cache, index, error) && enlarge(&s->scratch, s->be, plan.peak, error);
}

LfMemory lf_session_memory(const LfSession *s)
{
    return (LfMemory){.weights = lf_model_memory(s->model),
                      .state = s->state.size + lf_kv_cache_memory(s->cache) + s->past.memory.size,
                      .scratch = s->scratch.size + s->own_decode_scratch.size};
}

/* The chunk from which on nothing changes any more: its window is full and the growth is done. An
 * unbounded window never is; there it is the next one. */
static uint64_t steady_index(const LfSession *s)
{
    int frames = MAX(s->window, s->model->config->sparse.horizon);
    return s->window > 0 ? (uint64_t) (frames / s->geometry.chunk + 1) : s->index - s->scene;
}

LfFlops lf_session_flops(LfSession *s)
{
    LfFlops flops = {0};
    LfFlopCounter counter;
    LfArena plan = lf_arena_plan();
    uint64_t index = steady_index(s);
    LfTextState text = longest_text(s);
    LfKvCache *cache = lf_session_planned_cache(s, index, NULL);
    if (!cache)
        return flops;
    g_mutex_lock(&s->lock);
    double sparsity = lf_session_sparsity(s, &s->request, index);
    g_mutex_unlock(&s->lock);
    LfAttend attend = lf_session_attend(s, cache, sparsity);
    text.rows = s->encoded ? s->text.rows : text.rows;
    run_passes(s, lf_flop_counter_init(&counter, s->be), &plan, cache, &text, &attend);
    flops.transformer = counter.flops;
    run_decoder(s, lf_flop_counter_init(&counter, s->be), &plan);
    flops.decoder = counter.flops;
    lf_kv_cache_free(cache);
    return flops;
}
