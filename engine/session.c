/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The chunk loop: the stream plans a chunk, the worker runs it, both commit it.
 *
 * A chunk starts as noise and is denoised in a few steps. Another pass of the transformer over the
 * finished latents, the clean pass at t = 0, writes clean keys and values to the cache. Then the
 * latents are decoded. A chunk that fails or is cancelled leaves the stream where the chunk began:
 * the cache and the decoder's state advance only when the chunk is complete.
 *
 * A new prompt may recompute the keys and values of past frames, or begin a new scene with an empty
 * cache. Cache, growth and decoder count chunks from the first one of the scene, the noise counts
 * them from the first one of the stream. A transition cannot be undone once it has begun: a
 * cancelled chunk keeps it for the next attempt.
 *
 * On a device all work of a chunk is queued without waiting for any of it. One sync ends the chunk.
 * The decoder runs concurrently with the next chunk; lf_chunk_read waits for it.
 */
#include "session.h"

#include "cancel.h"
#include "flops.h"

/* ---- the phases of a chunk: queued on the worker's backends, false when cancelled ------------ */

static void record(LfWorker *w, LfChunkEvent event)
{
    w->be->event_record(w->be, w->events[event]);
}

/* Text embeddings → the keys and values that the cross attention of every layer reads. */
static void read_text(LfWorker *w, uint64_t prompt_id, const LfText *text)
{
    LfTensor context = LF_NONE;
    if (lf_is_set(text->rows)) {
        context = lf_tensor_slice(w->context, 0, text->rows.shape[0]);
        lf_upload(w->be, context, text->rows.data);
    }
    lf_transformer_text(w->model->transformer, w->be, &w->scratch, &w->text, context);
    w->encoded = prompt_id;
}

static LfPass pass_with(LfWorker *w, const LfModulation *modulation)
{
    return (LfPass){.be = w->be,
                    .scratch = &w->scratch,
                    .modulation = modulation,
                    .text = &w->text,
                    .cache = w->cache,
                    .scheme = w->scheme,
                    .rank = w->config.rank,
                    .n_ranks = w->config.n_ranks,
                    .cancelled = &w->cancelled};
}

static LfPass clean_pass(LfWorker *w)
{
    return pass_with(w, &w->modulations[0]);
}

/* Recomputes the keys and values of past frames under the current text. The cache has past frames
 * and memory for them, so neither begin can fail. */
static bool recache(LfWorker *w, uint64_t scene_index)
{
    LfPass pass = clean_pass(w);
    if (!lf_kv_cache_begin_past(w->cache, scene_index, NULL) ||
        !lf_transformer_recache(w->model->transformer, &pass, &w->past))
        return false;
    lf_kv_cache_commit_past(w->cache);
    return lf_kv_cache_begin(w->cache, scene_index, NULL);
}

/* out = the noise of a chunk for `step`: the initial noise for 0, else the re-noising draw. */
static void draw(LfWorker *w, LfTensor out, const LfChunkPlan *plan, int step)
{
    if (!w->noise_source) {
        lf_noise(w->be, out, plan->seed, (uint32_t) plan->index, (uint32_t) step);
        return;
    }
    w->noise_source(w->host_noise, lf_tensor_count(out), plan->index, step, w->noise_data);
    lf_upload(w->be, out, w->host_noise);
}

/* All noise is drawn before the steps, because a graph of the steps cannot have the chunk's index
 * as an argument. */
static void draw_noise(LfWorker *w, const LfChunkPlan *plan)
{
    const LfSchedule *schedule = lf_worker_schedule(w);
    draw(w, w->x, plan, 0);
    if (schedule->start < 1) /* x − (1 − start)·x */
        lf_denoise(w->be, w->x, w->x, w->x, 1 - schedule->start);
    for (int step = 1; step < schedule->n; step++)
        draw(w, lf_tensor_at(w->noise, step), plan, step);
}

/* The denoising steps. Each one estimates x0 = x − σ·v(x); all but the last add noise again:
 * x = (1 − σ')·x0 + σ'·noise. They leave keys and values of the noisy chunk in the cache. */
static bool denoise(gpointer worker)
{
    LfWorker *w = worker;
    const LfSchedule *schedule = lf_worker_schedule(w);
    const LfStep *steps = schedule->steps;
    size_t mark = w->scratch.used;
    bool done = true;
    w->scheme->class->begin_steps(w->scheme, w->cache, &w->scratch);
    for (int step = 0; step < schedule->n; step++) {
        LfPass pass = pass_with(w, lf_worker_modulation(w, step));
        w->scheme->class->begin_pass(w->scheme, step);
        done = lf_transformer_forward(w->model->transformer, &pass, w->velocity, w->x);
        if (!done)
            break;
        lf_denoise(w->be, w->x, w->x, w->velocity, steps[step].sigma);
        if (step + 1 < schedule->n)
            lf_renoise(w->be, w->x, w->x, lf_tensor_at(w->noise, step + 1), steps[step + 1].sigma);
    }
    lf_arena_release(&w->scratch, mark);
    return done;
}

/* One pass at t = 0 over the finished latents, for its keys and values alone. */
static bool clean(gpointer worker)
{
    LfWorker *w = worker;
    LfPass pass = clean_pass(w);
    w->scheme->class->begin_pass(w->scheme, LF_CLEAN_PASS);
    return lf_transformer_forward(w->model->transformer, &pass, LF_NONE, w->x);
}

/* Copies the latents to w->past: a recache needs them later, and the decoder reads them while x
 * already holds the next chunk. The decoder may still read the chunk that they overwrite. */
static void keep_latents(LfWorker *w, uint64_t scene_index)
{
    if (w->decoder_be != w->be)
        w->be->wait_event(w->be, w->decoded);
    lf_past_keep(&w->past, scene_index, w->x);
    record(w, LF_KEPT);
}

/* Queues the decoder, on its own backend if it has one, and waits for nothing. */
static bool decode(LfWorker *w, uint64_t scene_index, const LfChunk *chunk)
{
    const LfDecoder *decoder = w->model->decoder;
    LfBackend *be = w->decoder_be;
    if (!w->config.has_pixels)
        return true;
    be->wait_event(be, w->events[LF_KEPT]);
    be->event_record(be, chunk->decode_begin);
    if (scene_index == 0)
        lf_decoder_state_reset(be, &w->decoder);
    bool done =
        decoder->class->forward(decoder, be, w->decoder_scratch, chunk->rgb,
                                lf_past_chunk(&w->past, scene_index), &w->decoder, &w->cancelled);
    be->event_record(be, chunk->decode_end);
    be->event_record(be, w->decoded);
    return done;
}

/* ---- a chunk on the worker ------------------------------------------------------------------- */

/* Replays the passes from graphs if the chunk before had the same key. */
static bool run_passes(LfWorker *w, const LfChunkPlan *plan, const float *given)
{
    LfGraphKey key = {.frames = lf_kv_cache_frames(w->cache),
                      .text_rows = w->text.rows,
                      .last_logit = w->text.last_logit,
                      .first = lf_worker_schedule(w) == &w->config.first,
                      .scheme = w->scheme->class->graph_key(w->scheme)};
    lf_graphs_begin(&w->graphs, &key);
    bool done = true;
    if (given) {
        lf_upload(w->be, w->x, given);
    } else {
        draw_noise(w, plan);
        done = lf_graphs_run(&w->graphs, 0, denoise, w, &w->cancelled);
    }
    record(w, LF_DENOISED);
    done = done && lf_graphs_run(&w->graphs, 1, clean, w, &w->cancelled);
    record(w, LF_CLEANED);
    return done;
}

/* Queues all work of a chunk. `given`: latents in place of denoised ones, or NULL. */
static bool run(LfWorker *w, const LfChunkPlan *plan, const LfText *text, const LfChunk *chunk,
                const float *given)
{
    record(w, LF_STARTED);
    w->first = plan->scene_index == 0;
    if (w->encoded != plan->prompt_id)
        read_text(w, plan->prompt_id, text);
    record(w, LF_TEXT_READ);
    if (plan->transition == LF_TRANSITION_RECACHE && !recache(w, plan->scene_index))
        return false;
    record(w, LF_RECACHED);
    w->scheme->class->plan(w->scheme, w->cache, plan->sparsity);
    if (!run_passes(w, plan, given))
        return false;
    keep_latents(w, plan->scene_index);
    return decode(w, plan->scene_index, chunk);
}

/* Waits for all queued work but the decoder's (the next attempt reuses its memory), then reports
 * failure or cancellation. */
static bool finish(LfWorker *w, bool done, GError **error)
{
    bool synced = w->be->sync(w->be, error);
    if (!synced) /* the operation that failed is not known: it may have read the text */
        w->encoded = 0;
    if (synced && !done)
        g_set_error(error, LF_ERROR, LF_ERROR_CANCELLED, "the chunk was cancelled");
    return synced && done;
}

/* ---- memory and work, by running the same calls on a shadow of the worker -------------------- */

/* Raises `size` to the scratch of chunk `scene_index` of a scene, dense and sparse. */
static bool measure(const LfWorker *w, uint64_t scene_index, LfTransition transition,
                    LfScratchSize *size, GError **error)
{
    const LfGeometry *g = &w->config.geometry;
    LfWorker shadow;
    LfBackend *nothing = lf_backend_plan(w->be);
    if (!lf_worker_shadow(&shadow, w, nothing, scene_index, error))
        return false;
    LfText text = {.rows = w->context};
    LfChunk chunk = {.rgb = lf_tensor(NULL, LF_U8, lf_decoded_frames(g), g->height, g->width, 3)};
    LfChunkPlan plan = {.scene_index = scene_index, .transition = transition};
    lf_transformer_modulate(w->model->transformer, nothing, &shadow.scratch, shadow.modulations, 0);
    for (int sparse = 0; sparse < 2; sparse++) {
        plan.sparsity = sparse ? G_MINDOUBLE : 0; /* the largest table of blocks there can be */
        plan.prompt_id = (uint64_t) sparse + 1;
        run(&shadow, &plan, &text, &chunk, NULL);
    }
    size->own = MAX(size->own, shadow.scratch.peak);
    size->decoder = MAX(size->decoder, shadow.own_decoder_scratch.peak);
    lf_worker_shadow_clear(&shadow);
    return true;
}

/* A chunk with a full window needs the most scratch. A recache recomputes the most frames at the
 * last chunk before frames leave the window. If the window is no multiple of the chunk, one chunk
 * later may recompute more, although the sink is then left out. With an unbounded window every
 * chunk reserves for itself. */
bool lf_worker_measure(const LfWorker *w, LfScratchSize *size, GError **error)
{
    uint64_t chunk = (uint64_t) w->config.geometry.chunk, window = (uint64_t) w->config.window;
    *size = (LfScratchSize){0};
    if (window == 0)
        return measure(w, 0, LF_TRANSITION_CONTINUE, size, error);
    return measure(w, (window + chunk - 1) / chunk, LF_TRANSITION_CONTINUE, size, error) &&
           measure(w, window / chunk, LF_TRANSITION_RECACHE, size, error) &&
           measure(w, window / chunk + 1, LF_TRANSITION_RECACHE, size, error);
}

bool lf_session_reserve(LfSession *s, GError **error)
{
    LfScratchSize size;
    return lf_worker_measure(&s->worker, &size, error) &&
           lf_worker_enlarge(&s->worker, &size, error);
}

LfMemory lf_session_memory(const LfSession *s)
{
    LfMemory memory = lf_worker_memory(&s->worker);
    memory.scratch += lf_prompts_memory(&((LfSession *) s)->prompts);
    return memory;
}

LfFlops lf_session_flops(LfSession *s)
{
    LfFlops flops = {0};
    LfFlopCounter counter;
    LfWorker shadow, *w = &s->worker;
    const LfGeometry *g = &w->config.geometry;
    uint64_t index = lf_stream_steady_index(&s->stream);
    if (!lf_worker_shadow(&shadow, w, lf_flop_counter_init(&counter, w->be), index, NULL))
        return flops;
    LfChunk chunk = {.rgb = lf_tensor(NULL, LF_U8, lf_decoded_frames(g), g->height, g->width, 3)};
    g_mutex_lock(&s->lock);
    double sparsity = lf_stream_sparsity(&s->stream, &s->request, index);
    g_mutex_unlock(&s->lock);
    if (w->encoded)
        shadow.text.rows = w->text.rows;
    shadow.first = index == 0;
    w->scheme->class->plan(w->scheme, shadow.cache, sparsity);
    denoise(&shadow);
    clean(&shadow);
    flops.transformer = counter.flops;
    decode(&shadow, index, &chunk);
    flops.decoder = counter.flops - flops.transformer;
    lf_worker_shadow_clear(&shadow);
    return flops;
}

/* ---- plan, run, commit ----------------------------------------------------------------------- */

/* The text of the chunk that begins, for which it may have to wait, and then all other requests: who
 * sets a transition before a prompt, gets it with that prompt. Transfer full. */
static LfText *read_request(LfSession *s, LfRequest *request, GError **error)
{
    uint64_t prompt_id;
    LfText *text = lf_prompts_take(&s->prompts, &s->worker.cancelled, &prompt_id, error);
    g_mutex_lock(&s->lock);
    *request = s->request;
    g_mutex_unlock(&s->lock);
    if (text)
        request->prompt_id = prompt_id;
    return text;
}

/* Makes room for the chunk in the cache. An unbounded window grows here, and with it the kept
 * latents and the scratch. */
static bool begin_window(LfWorker *w, const LfChunkPlan *plan, GError **error)
{
    uint64_t index = plan->scene_index;
    if (index == 0)
        lf_kv_cache_reset(w->cache);
    if (!lf_kv_cache_begin(w->cache, index, error))
        return false;
    if (w->config.window > 0)
        return true;
    /* The past moves as it grows, and the decoder may still read it for the chunk before. */
    if (w->decoder_be != w->be && index >= (uint64_t) w->past.latents.shape[0])
        w->be->wait_event(w->be, w->decoded);
    LfScratchSize size = {0};
    return lf_past_reserve(&w->past, index + 1, error) &&
           measure(w, index, plan->transition, &size, error) && lf_worker_enlarge(w, &size, error);
}

/* What has to be told of a chunk's text, if the chunk before had another. */
typedef struct {
    bool is_new;
    int64_t encoded, waited; /* ns: by the encoder, by the chunk */
} TextTimes;

static LfChunkInfo describe(const LfWorker *w, const LfChunkPlan *plan, const TextTimes *text)
{
    const LfGeometry *g = &w->config.geometry;
    LfBackend *be = w->be;
    LfEvent *const *at = w->events;
    return (LfChunkInfo){
        .index = plan->index,
        .first_frame = plan->first_frame,
        .n_frames = plan->n_frames,
        .n_latent_frames = g->chunk,
        .width = g->width,
        .height = g->height,
        .prompt_id = plan->prompt_id,
        .transition = plan->transition,
        .sparsity = plan->sparsity,
        .encode_time = text->is_new ? text->encoded : 0,
        .text_time = text->is_new
                         ? text->waited + be->event_elapsed(be, at[LF_STARTED], at[LF_TEXT_READ])
                         : 0,
        .recache_time = plan->transition == LF_TRANSITION_RECACHE
                            ? be->event_elapsed(be, at[LF_TEXT_READ], at[LF_RECACHED])
                            : 0,
        .denoise_time = be->event_elapsed(be, at[LF_RECACHED], at[LF_DENOISED]),
        .clean_time = be->event_elapsed(be, at[LF_DENOISED], at[LF_CLEANED]),
    };
}

static void log_chunk(const LfLog *log, const LfChunkInfo *i)
{
    lf_log(log, LF_LOG_TRACE,
           "chunk %" G_GUINT64_FORMAT ": frames %" G_GUINT64_FORMAT "+%d, prompt %" G_GUINT64_FORMAT
           ", %s, sparsity %.3f; encode %.1f ms, text %.1f, recache %.1f, denoise %.1f, clean pass "
           "%.1f",
           i->index, i->first_frame, i->n_frames, i->prompt_id, lf_transition_name(i->transition),
           i->sparsity, 1e-6 * (double) i->encode_time, 1e-6 * (double) i->text_time,
           1e-6 * (double) i->recache_time, 1e-6 * (double) i->denoise_time,
           1e-6 * (double) i->clean_time);
}

static void commit(LfSession *s, const LfChunkPlan *plan)
{
    lf_kv_cache_commit(s->worker.cache);
    lf_stream_commit(&s->stream, plan);
}

static bool generate(LfSession *s, const LfRequest *request, const LfText *text, int64_t waited,
                     LfChunk *chunk, const float *given, GError **error)
{
    LfWorker *w = &s->worker;
    LfChunkPlan plan = lf_stream_plan(&s->stream, request);
    if (!begin_window(w, &plan, error))
        return false;
    TextTimes times = {w->encoded != plan.prompt_id, text->time, waited};
    bool done = run(w, &plan, text, chunk, given);
    if (done && lf_is_set(chunk->latents))
        lf_download(w->be, chunk->latents.data, w->x);
    if (!finish(w, done, error))
        return false;
    chunk->info = describe(w, &plan, &times);
    if (!w->decoder_be->asynchronous && !lf_chunk_wait(chunk, error))
        return false;
    log_chunk(&w->log, &chunk->info);
    commit(s, &plan);
    return true;
}

static LfChunk *next_chunk(LfSession *s, const float *given, GError **error)
{
    LfRequest request;
    gint64 start = g_get_monotonic_time();
    LfText *text = read_request(s, &request, error);
    int64_t waited = 1000 * (g_get_monotonic_time() - start);
    LfChunk *chunk = text ? lf_chunk_pool_take(s->pool, error) : NULL;
    if (chunk && !generate(s, &request, text, waited, chunk, given, error))
        g_clear_pointer(&chunk, lf_chunk_unref);
    lf_text_unref(text);
    return chunk;
}

LfChunk *lf_session_next(LfSession *s, GError **error)
{
    return next_chunk(s, NULL, error);
}

LfChunk *lf_session_next_given(LfSession *s, const float *latents, GError **error)
{
    return next_chunk(s, latents, error);
}
