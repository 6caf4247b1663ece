/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Making a session: options are checked, everything that it will need is allocated, and what does
 * not depend on prompt or chunk is computed.
 */
#include "session.h"

static gboolean fail(GError **error, LfError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
static gboolean fail(GError **error, LfError code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, LF_ERROR, code, message);
    return FALSE;
}

static gboolean check_size(const char *name, int size, GError **error)
{
    if (size >= LF_SIZE_STEP && size <= LF_MAX_SIZE && size % LF_SIZE_STEP == 0)
        return TRUE;
    return fail(error, LF_ERROR_CONFIG, "%s %d: choose a multiple of %d, %d to %d", name, size,
                LF_SIZE_STEP, LF_SIZE_STEP, LF_MAX_SIZE);
}

static gboolean check_block(const char *name, int block, GError **error)
{
    if (block >= 0 && block <= LF_MAX_BLOCK)
        return TRUE;
    return fail(error, LF_ERROR_CONFIG, "%s %d: choose 1 to %d tokens, or 0 for the model's", name,
                block, LF_MAX_BLOCK);
}

static gboolean check_options(const LfModel *m, const LfSessionOptions *o, GError **error)
{
    int fixed = m->config->sparse.keep_sink + m->config->sparse.keep_near;
    if (o->attention < LF_ATTENTION_AUTO || o->attention > LF_ATTENTION_SPARSE)
        return fail(error, LF_ERROR_CONFIG, "attention %d: there are auto, dense and sparse",
                    o->attention);
    if (o->transition < LF_TRANSITION_CONTINUE || o->transition > LF_TRANSITION_CUT)
        return fail(error, LF_ERROR_CONFIG, "transition %d: there are continue, recache and cut",
                    o->transition);
    if (!(o->sparsity >= 0 && o->sparsity <= LF_MAX_SPARSITY))
        return fail(error, LF_ERROR_CONFIG, "sparsity %g: choose a share from 0 to %g", o->sparsity,
                    LF_MAX_SPARSITY);
    if (o->window < -1 || o->sink < -1)
        return fail(error, LF_ERROR_CONFIG,
                    "window %d, sink %d: choose a number of latent frames, 0 for the model's, -1 "
                    "for none",
                    o->window, o->sink);
    if (o->keep_frames < -1 || (o->keep_frames > 0 && o->keep_frames < fixed))
        return fail(error, LF_ERROR_CONFIG,
                    "keep_frames %d: choose at least the %d frames that are always kept, 0 for the "
                    "model's number, -1 for all",
                    o->keep_frames, fixed);
    if (!check_block("query_block", o->query_block, error) ||
        !check_block("key_block", o->key_block, error))
        return FALSE;
    if (!o->no_decoder && !m->info.can_decode)
        return fail(error, LF_ERROR_UNSUPPORTED,
                    "model %s has no decoder: name a file with one, or ask for latents alone",
                    m->name);
    if (!o->no_text && !m->info.can_encode)
        return fail(error, LF_ERROR_UNSUPPORTED,
                    "model %s has no text encoder and tokenizer: name a file with one, or give the "
                    "text as numbers",
                    m->name);
    return TRUE;
}

/* 0 is the model's, −1 is none. */
static int chosen(int option, int of_model)
{
    return option > 0 ? option : option == 0 ? of_model : 0;
}

/* Both 0 for the model's order, both −1 for none. */
static gboolean take_tiles(LfGeometry *g, const LfSessionOptions *o, const LfModelConfig *c,
                           GError **error)
{
    int rows = o->tile_rows, cols = o->tile_cols;
    if (!(rows > 0 && cols > 0) && !(rows == cols && (rows == 0 || rows == -1)))
        return fail(
            error, LF_ERROR_CONFIG,
            "tiles of %dx%d tokens: choose rows and columns, 0 and 0 for the model's order, "
            "-1 and -1 for none",
            rows, cols);
    g->tile_rows = chosen(rows, c->sparse.tile_rows);
    g->tile_cols = chosen(cols, c->sparse.tile_cols);
    if (lf_tiles_fit(g))
        return TRUE;
    return fail(error, LF_ERROR_CONFIG,
                "tiles of %dx%d tokens do not divide frames of %dx%d: choose divisors of these, "
                "another size, or -1 and -1 for no tiles",
                g->tile_rows, g->tile_cols, g->rows, g->cols);
}

static gboolean take_options(LfSession *s, const LfSessionOptions *o, GError **error)
{
    const LfModelConfig *c = s->model->config;
    int width = chosen(o->width, c->video.width), height = chosen(o->height, c->video.height);
    if (!check_options(s->model, o, error) || !check_size("width", width, error) ||
        !check_size("height", height, error))
        return FALSE;
    s->geometry = lf_geometry(width, height, c->video.chunk);
    if (!take_tiles(&s->geometry, o, c, error))
        return FALSE;
    s->window = chosen(o->window, c->cache.window);
    s->sink = chosen(o->sink, c->cache.sink);
    s->keep_frames = o->keep_frames < 0    ? G_MAXINT
                     : o->keep_frames == 0 ? c->sparse.keep_frames
                                           : o->keep_frames;
    s->query_block = chosen(o->query_block, c->sparse.query_block);
    s->key_block = chosen(o->key_block, c->sparse.key_block);
    s->one_map = o->one_map;
    s->uniform = o->uniform;
    s->has_text = !o->no_text;
    s->has_pixels = !o->no_decoder;
    s->seed = o->seed;
    s->request.attention = o->attention;
    s->request.sparsity = o->sparsity;
    s->request.transition = o->transition;
    s->n_steps = c->schedule.n_steps;
    for (int i = 0; i < s->n_steps; i++)
        s->steps[i] = lf_step(c->schedule.steps[i], c->schedule.shift);
    return TRUE;
}

LfKvCacheConfig lf_session_cache_config(const LfSession *s)
{
    const LfModelConfig *c = s->model->config;
    return (LfKvCacheConfig){.geometry = s->geometry,
                             .layers = c->transformer.layers,
                             .heads = c->transformer.heads,
                             .head_dim = c->transformer.dim / c->transformer.heads,
                             .window = s->window,
                             .sink = s->sink,
                             .relative = c->cache.relative,
                             .key_block = s->key_block};
}

static LfTensor take_latents(const LfSession *s, LfArena *arena)
{
    const LfGeometry *g = &s->geometry;
    return lf_arena_tensor(arena, LF_F32, g->chunk, s->model->config->transformer.channels,
                           g->latent_height, g->latent_width);
}

/* Of every step; the first one's is drawn where it is wanted. */
static LfTensor take_noise(const LfSession *s, LfArena *arena)
{
    const int64_t *x = s->x.shape;
    return lf_arena_tensor(arena, LF_F32, s->n_steps, x[0], x[1], x[2], x[3]);
}

/* Everything that lasts from chunk to chunk but for the cache. */
static void take_state(LfSession *s, LfArena *arena)
{
    const LfTransformer *t = s->model->transformer;
    int text_len = lf_model_text_len(s->model);
    s->x = take_latents(s, arena);
    s->velocity = take_latents(s, arena);
    s->noise = take_noise(s, arena);
    s->clean = take_latents(s, arena);
    s->ids = lf_arena_tensor(arena, LF_I32, text_len);
    s->context =
        lf_arena_tensor(arena, s->be->activation_type, text_len, lf_model_text_dim(s->model));
    s->text = lf_text_state(t, arena);
    for (int i = 0; i <= s->n_steps; i++)
        s->modulations[i] = lf_modulation(t, arena);
    if (s->has_pixels)
        s->decoder = lf_decoder_state(s->model->decoder, &s->geometry, arena);
}

static LfEvent *take_event(LfBackend *be, GError **error)
{
    LfEvent *event = be->event_new(be);
    if (!event)
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY, "no memory for an event on %s",
                    be->description);
    return event;
}

/* The pool takes over the decoder's backend, which finished chunks read pictures through. */
static gboolean open_backends(LfSession *s, GError **error)
{
    s->be = lf_model_backend(s->model, error);
    if (!s->be)
        return FALSE;
    s->decoding = s->be->asynchronous ? lf_model_backend(s->model, error) : s->be;
    if (!s->decoding)
        return FALSE;
    s->decode_scratch = s->decoding == s->be ? &s->scratch : &s->own_decode_scratch;
    s->pool = lf_chunk_pool_new(s->model, s->decoding, &s->geometry, s->has_pixels);
    for (int i = 0; i < LF_N_CHUNK_EVENTS; i++)
        if (!(s->events[i] = take_event(s->be, error)))
            return FALSE;
    s->decoded = take_event(s->decoding, error);
    return s->decoded != NULL;
}

/* Before the pool lets go of the decoder's. Work that nobody waited for may be under way. */
static void close_backends(LfSession *s)
{
    if (!s->be)
        return;
    for (int i = 0; i < LF_N_CHUNK_EVENTS; i++)
        s->be->event_free(s->be, s->events[i]);
    if (s->decoding)
        s->decoding->event_free(s->decoding, s->decoded);
    if (s->be != s->decoding)
        lf_backend_close(s->be);
    if (!s->pool)
        lf_backend_close(s->decoding);
    lf_chunk_pool_unref(s->pool);
}

static gboolean allocate(LfSession *s, GError **error)
{
    LfArena plan = lf_arena_plan();
    LfKvCacheConfig config = lf_session_cache_config(s);
    int text_len = lf_model_text_len(s->model);
    s->request.ids = g_new0(int32_t, text_len);
    s->now.ids = g_new0(int32_t, text_len);
    if (!open_backends(s, error))
        return FALSE;
    s->cache = lf_kv_cache_new(s->be, &config, error);
    int channels = s->model->config->transformer.channels;
    if (!s->cache || !lf_past_init(&s->past, s->be, &s->geometry, channels, s->window, error))
        return FALSE;
    take_state(s, &plan);
    if (!lf_arena_init(&s->state, s->be, plan.peak, error))
        return FALSE;
    take_state(s, &s->state);
    return TRUE;
}

/* Most frames are made anew when the window has only just no room for another chunk, or, where the
 * chunks do not fill it, later, without the sink. */
static gboolean reserve_recache(LfSession *s, LfKvCache *cache, GError **error)
{
    uint64_t whole = (uint64_t) (s->window / s->geometry.chunk);
    return lf_session_reserve_recache(s, cache, whole, error) &&
           lf_session_reserve_recache(s, cache, whole + 1, error);
}

/* As many chunks as fill the window, so that no later one needs more; without a bound every chunk
 * reserves for itself. */
static gboolean reserve(LfSession *s, GError **error)
{
    int chunk = s->geometry.chunk;
    uint64_t index = s->window > 0 ? (uint64_t) ((s->window + chunk - 1) / chunk) : 0;
    LfKvCache *cache = lf_session_planned_cache(s, index, error);
    gboolean done = cache && lf_session_reserve(s, cache, error) &&
                    (s->window == 0 || reserve_recache(s, cache, error));
    lf_kv_cache_free(cache);
    return done;
}

/* The last one is the clean pass's: its timestep is 0. */
static gboolean modulate(LfSession *s, GError **error)
{
    for (int i = 0; i <= s->n_steps; i++)
        lf_transformer_modulate(s->model->transformer, s->be, &s->scratch, &s->modulations[i],
                                s->steps[i].timestep);
    lf_transformer_bound_values(s->model->transformer, s->be, s->modulations, s->n_steps + 1);
    return s->be->sync(s->be, error);
}

static const LfSessionOptions defaults;

LfSession *lf_session_new(LfModel *model, const LfSessionOptions *options, GError **error)
{
    LfSession *s = g_new0(LfSession, 1);
    g_mutex_init(&s->lock);
    s->model = lf_model_ref(model);
    if (take_options(s, options ? options : &defaults, error) && allocate(s, error) &&
        reserve(s, error) && modulate(s, error))
        return s;
    lf_session_free(s);
    return NULL;
}

/* The decoder may still be at work on the last chunk. */
static void settle(LfSession *s)
{
    if (s->be)
        s->be->sync(s->be, NULL);
    if (s->decoding && s->decoding != s->be)
        s->decoding->sync(s->decoding, NULL);
}

void lf_session_free(LfSession *s)
{
    if (!s)
        return;
    settle(s);
    lf_session_forget_graphs(s);
    lf_kv_cache_free(s->cache);
    lf_past_clear(&s->past);
    lf_arena_clear(&s->state);
    lf_arena_clear(&s->scratch);
    lf_arena_clear(&s->own_decode_scratch);
    close_backends(s);
    lf_model_unref(s->model);
    g_mutex_clear(&s->lock);
    g_free(s->request.ids);
    g_free(s->now.ids);
    g_free(s->host_noise);
    g_free(s);
}
