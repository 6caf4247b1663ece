/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The chunk loop. A chunk starts as noise, becomes a picture of the prompt in a few steps, passes
 * through the transformer once more so that what the cache remembers of it is clean, and is
 * decoded. Whatever stops it half-way leaves the stream where the chunk began: the cache
 * takes the chunk in, and the decoder its memory, only when all is done.
 *
 * A new prompt may change what is remembered: the past is made anew under it, or forgotten, which
 * begins a new scene. The cache, the growth and the decoder count chunks from the scene's first,
 * the noise from the stream's. Either cannot be taken back once begun: a chunk that is left keeps
 * its transition for the next attempt.
 *
 * On a GPU all of a chunk is called without waiting for any of it. One wait ends the chunk, for its
 * latents; its pictures are waited for by who reads them, while the next chunk is on its way.
 */
#include "session.h"

#include "cancel.h"

#include <string.h>

/* ---- stages ---------------------------------------------------------------------------------- */

/* Waits for the backend, and says why the chunk was left. Work that was called and is not wanted
 * any more has to end first: the next attempt uses the same memory. */
static gboolean finish(LfSession *s, bool done, GError **error)
{
    gboolean well = s->be->sync(s->be, error);
    if (!well) /* which of the calls failed is not known: it may have been the prompt's */
        s->encoded = 0;
    if (well && !done)
        g_set_error(error, LF_ERROR, LF_ERROR_CANCELLED, "the chunk was cancelled");
    return well && done;
}

static void note(LfSession *s, LfChunkEvent moment)
{
    s->be->event_record(s->be, s->events[moment]);
}

static void read_request(LfSession *s)
{
    int32_t *ids = s->now.ids;
    g_mutex_lock(&s->lock);
    memcpy(ids, s->request.ids, (size_t) s->request.n_ids * sizeof *ids);
    s->now = s->request;
    g_mutex_unlock(&s->lock);
    s->now.ids = ids;
}

/* Chunks of the scene before the one at work. */
static uint64_t scene_index(const LfSession *s)
{
    return s->index - s->scene;
}

/* Of what was begun before and what is asked for now, what changes more. Without a past there is
 * nothing to change. */
static void begin_transition(LfSession *s)
{
    if (scene_index(s) == 0)
        return;
    if (s->shown != s->now.prompt_id)
        s->transition = MAX(s->transition, s->now.transition);
    if (s->transition == LF_TRANSITION_CUT) {
        lf_kv_cache_reset(s->cache);
        s->scene = s->index;
    }
}

/* Makes room in the cache, and for what follows where a window without bound has not done so from
 * the start. */
static gboolean begin_window(LfSession *s, GError **error)
{
    uint64_t index = scene_index(s);
    if (!lf_kv_cache_begin(s->cache, index, error))
        return FALSE;
    if (s->window > 0)
        return TRUE;
    return lf_past_reserve(&s->past, index + 1, error) && lf_session_reserve(s, s->cache, error) &&
           (s->transition != LF_TRANSITION_RECACHE ||
            lf_session_reserve_recache(s, s->cache, index, error));
}

static gboolean begin(LfSession *s, LfChunk *chunk, GError **error)
{
    const LfGeometry *g = &s->geometry;
    if (lf_is_cancelled(&s->cancelled))
        return finish(s, false, error);
    read_request(s);
    if (s->now.prompt_id == 0) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "no prompt: call lf_session_set_prompt before the first chunk");
        return FALSE;
    }
    begin_transition(s);
    if (!begin_window(s, error))
        return FALSE;
    chunk->info = (LfChunkInfo){.index = s->index,
                                .first_frame = s->n_frames,
                                .n_frames = lf_chunk_frames(g->chunk, scene_index(s)),
                                .n_latent_frames = g->chunk,
                                .width = g->width,
                                .height = g->height,
                                .prompt_id = s->now.prompt_id,
                                .transition = s->transition,
                                .sparsity = lf_session_sparsity(s, &s->now, scene_index(s))};
    s->attend = lf_session_attend(s, s->cache, chunk->info.sparsity);
    return TRUE;
}

LfTensor lf_session_context(const LfSession *s)
{
    return s->n_context > 0 ? lf_tensor_slice(s->context, 0, s->n_context) : LF_NONE;
}

/* Prompt → the keys and values that every layer's cross attention reads. */
static gboolean encode(LfSession *s, GError **error)
{
    bool done = true;
    s->encoded = 0;
    if (s->now.n_ids > 0) {
        LfTensor ids = lf_tensor_slice(s->ids, 0, s->now.n_ids);
        s->n_context = s->now.n_ids;
        lf_upload(s->be, ids, s->now.ids);
        done = lf_text_encoder_forward(s->model->text_encoder, s->be, &s->scratch,
                                       lf_session_context(s), ids, &s->cancelled);
    }
    if (done)
        lf_transformer_text(s->model->transformer, s->be, &s->scratch, &s->text,
                            lf_session_context(s));
    if (!done)
        return finish(s, done, error);
    s->encoded = s->now.prompt_id;
    return TRUE;
}

/* The past anew under the text at hand: the cache goes back to before the chunk, and to the chunk
 * again. There is a past, and room: neither fails. */
static bool recache(LfSession *s)
{
    uint64_t index = scene_index(s);
    bool done =
        lf_kv_cache_begin_past(s->cache, index, NULL) &&
        lf_transformer_recache(s->model->transformer, s->be, &s->scratch, &s->past,
                               &s->modulations[s->n_steps], &s->text, s->cache, &s->cancelled);
    if (!done)
        return false;
    lf_kv_cache_commit_past(s->cache);
    return lf_kv_cache_begin(s->cache, index, NULL);
}

/* out = the noise of (chunk, step): step 0 the first, the others those of re-noising. */
static void draw(LfSession *s, LfTensor out, int step)
{
    if (!s->noise_source) {
        lf_noise(s->be, out, s->seed, (uint32_t) s->index, (uint32_t) step);
        return;
    }
    s->noise_source(s->host_noise, lf_tensor_count(out), s->index, step, s->noise_data);
    lf_upload(s->be, out, s->host_noise);
}

/* All noise first: what follows is the same work in every chunk. */
static void draw_all(LfSession *s)
{
    draw(s, s->x, 0);
    for (int step = 1; step < s->n_steps; step++)
        draw(s, lf_tensor_at(s->noise, step), step);
}

/* The decoder, which follows the transformer and, where it has a backend of its own, is not waited
 * for. The latents are copied for it once it has done with those of the chunk before. */
static bool decode(LfSession *s, LfChunk *chunk)
{
    LfBackend *be = s->decoding;
    if (!lf_is_set(chunk->rgb))
        return true;
    if (be != s->be)
        s->be->wait_event(s->be, s->decoded);
    lf_copy(s->be, s->clean, s->x);
    note(s, LF_COPIED);
    be->wait_event(be, s->events[LF_COPIED]);
    be->event_record(be, chunk->decode_begin);
    if (scene_index(s) == 0)
        lf_decoder_state_reset(be, &s->decoder);
    bool done = lf_decoder_tiny_forward(s->model->decoder, be, s->decode_scratch, chunk->rgb,
                                        s->clean, &s->decoder, &s->cancelled);
    be->event_record(be, chunk->decode_end);
    be->event_record(be, s->decoded);
    return done;
}

/* Waits for all but the decoder. */
static gboolean fetch(LfSession *s, LfChunk *chunk, bool encoded, bool done, GError **error)
{
    if (!finish(s, done, error))
        return FALSE;
    gint64 start = g_get_monotonic_time();
    lf_download(s->be, chunk->latents.data, s->x);
    gboolean well = s->be->sync(s->be, error);
    LfChunkInfo *info = &chunk->info;
    LfEvent **at = s->events;
    info->transfer_time = 1000 * (g_get_monotonic_time() - start);
    if (encoded)
        info->encode_time = s->be->event_elapsed(s->be, at[LF_STARTED], at[LF_ENCODED]);
    if (s->transition == LF_TRANSITION_RECACHE)
        info->recache_time = s->be->event_elapsed(s->be, at[LF_ENCODED], at[LF_RECACHED]);
    info->denoise_time = s->be->event_elapsed(s->be, at[LF_RECACHED], at[LF_DENOISED]);
    info->clean_time = s->be->event_elapsed(s->be, at[LF_DENOISED], at[LF_CLEANED]);
    return well;
}

static gboolean generate(LfSession *s, LfChunk *chunk, GError **error)
{
    bool encoded = s->encoded != s->now.prompt_id;
    note(s, LF_STARTED);
    if (encoded && !encode(s, error))
        return FALSE;
    note(s, LF_ENCODED);
    bool done = s->transition != LF_TRANSITION_RECACHE || recache(s);
    note(s, LF_RECACHED);
    draw_all(s);
    done = done && lf_session_denoise(s);
    note(s, LF_DENOISED);
    done = done && lf_session_clean(s);
    note(s, LF_CLEANED);
    done = done && decode(s, chunk);
    return fetch(s, chunk, encoded, done, error);
}

/* The chunk is done: it becomes past. */
static void commit(LfSession *s, const LfChunk *chunk)
{
    lf_kv_cache_commit(s->cache);
    lf_past_keep(&s->past, scene_index(s), s->x);
    s->transition = LF_TRANSITION_CONTINUE;
    s->shown = s->now.prompt_id;
    s->n_frames += (uint64_t) chunk->info.n_frames;
    s->index++;
}

LfChunk *lf_session_next(LfSession *s, GError **error)
{
    LfChunk *chunk = lf_chunk_pool_take(s->pool, error);
    if (!chunk)
        return NULL;
    if (begin(s, chunk, error) && generate(s, chunk, error) &&
        (s->decoding->asynchronous || lf_chunk_wait(chunk, error))) {
        commit(s, chunk);
        return chunk;
    }
    lf_chunk_unref(chunk);
    return NULL;
}

/* ---- from outside ---------------------------------------------------------------------------- */

gboolean lf_session_set_prompt(LfSession *s, const char *prompt, GError **error)
{
    int capacity = lf_model_text_len(s->model);
    if (!s->has_text) {
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "this session takes its text as numbers: make one without no_text");
        return FALSE;
    }
    g_autofree int32_t *ids = g_new(int32_t, capacity);
    int n = lf_model_tokenize(s->model, prompt, ids, capacity, error);
    if (n < 0)
        return FALSE;
    g_mutex_lock(&s->lock);
    memcpy(s->request.ids, ids, (size_t) n * sizeof *ids);
    s->request.n_ids = n;
    s->request.prompt_id++;
    g_mutex_unlock(&s->lock);
    return TRUE;
}

gboolean lf_session_set_context(LfSession *s, const float *context, int rows, int text_dim,
                                GError **error)
{
    const LfModel *m = s->model;
    if (text_dim != lf_model_text_dim(m) || rows < 0 || rows > lf_model_text_len(m)) {
        g_set_error(error, LF_ERROR, LF_ERROR_SHAPE, "context: [0 … %d, %d] wanted, [%d, %d] given",
                    lf_model_text_len(m), lf_model_text_dim(m), rows, text_dim);
        return FALSE;
    }
    if (rows > 0)
        lf_upload_floats(s->be, lf_tensor_slice(s->context, 0, rows), context);
    s->n_context = rows;
    g_mutex_lock(&s->lock);
    s->request.n_ids = 0;
    s->request.prompt_id++;
    g_mutex_unlock(&s->lock);
    return s->be->sync(s->be, error);
}

void lf_session_set_attention(LfSession *s, LfAttention attention, double sparsity)
{
    g_mutex_lock(&s->lock);
    s->request.attention = attention;
    s->request.sparsity = CLAMP(sparsity, 0, LF_MAX_SPARSITY);
    g_mutex_unlock(&s->lock);
}

void lf_session_set_transition(LfSession *s, LfTransition transition)
{
    g_mutex_lock(&s->lock);
    s->request.transition = CLAMP(transition, LF_TRANSITION_CONTINUE, LF_TRANSITION_CUT);
    g_mutex_unlock(&s->lock);
}

void lf_session_set_noise(LfSession *s, LfNoise noise, gpointer data)
{
    if (noise && !s->host_noise)
        s->host_noise = g_malloc(lf_tensor_size(s->x));
    s->noise_source = noise;
    s->noise_data = data;
}

void lf_session_cancel(LfSession *s)
{
    g_atomic_int_set(&s->cancelled, 1);
}

void lf_session_resume(LfSession *s)
{
    g_atomic_int_set(&s->cancelled, 0);
}

/* The decoder forgets with its first chunk. Its failure, which failed the chunks that it had not
 * finished, ends here. */
void lf_session_restart(LfSession *s, uint64_t seed)
{
    s->decoding->sync(s->decoding, NULL);
    lf_kv_cache_reset(s->cache);
    s->transition = LF_TRANSITION_CONTINUE;
    s->seed = seed;
    s->index = s->scene = s->n_frames = 0;
}
