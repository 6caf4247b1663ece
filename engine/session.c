/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The chunk loop. A chunk starts as noise, becomes a picture of the prompt in a few steps, passes
 * through the transformer once more so that what the cache remembers of it is clean, and is
 * decoded. Whatever stops it half-way leaves the stream where the chunk began: the cache
 * takes the chunk in, and the decoder its memory, only when all is done.
 */
#include "session.h"

#include "cancel.h"

#include <string.h>

/* ---- stages ---------------------------------------------------------------------------------- */

/* Every stage ends here: waits for the backend, notes the time, says why the stage was left. */
static gboolean finish(LfSession *s, bool done, gint64 start, int64_t *time, GError **error)
{
    gboolean well = s->be->sync(s->be, error);
    *time += 1000 * (g_get_monotonic_time() - start);
    if (well && !done)
        g_set_error(error, LF_ERROR, LF_ERROR_CANCELLED, "the chunk was cancelled");
    return well && done;
}

static void read_wishes(LfSession *s)
{
    int32_t *ids = s->now.ids;
    g_mutex_lock(&s->lock);
    memcpy(ids, s->wishes.ids, (size_t) s->wishes.n_ids * sizeof *ids);
    s->now = s->wishes;
    g_mutex_unlock(&s->lock);
    s->now.ids = ids;
}

static gboolean begin(LfSession *s, LfChunk *chunk, GError **error)
{
    const LfGeometry *g = &s->geometry;
    if (lf_is_cancelled(&s->cancelled))
        return finish(s, false, g_get_monotonic_time(), &chunk->info.encode_time, error);
    read_wishes(s);
    if (s->now.prompt_id == 0) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "no prompt: call lf_session_set_prompt before the first chunk");
        return FALSE;
    }
    if (!lf_kv_cache_begin(s->cache, s->index, error))
        return FALSE;
    chunk->info = (LfChunkInfo){.index = s->index,
                                .first_frame = lf_frames_before_chunk(g->chunk, s->index),
                                .n_frames = lf_chunk_frames(g->chunk, s->index),
                                .n_latent_frames = g->chunk,
                                .width = g->width,
                                .height = g->height,
                                .prompt_id = s->now.prompt_id,
                                .sparsity = lf_session_sparsity(s, &s->now, s->index)};
    s->attend = lf_session_attend(s, s->cache, chunk->info.sparsity);
    return s->window > 0 || lf_session_reserve(s, s->cache, error);
}

LfTensor lf_session_context(const LfSession *s)
{
    return s->n_context > 0 ? lf_tensor_slice(s->context, 0, s->n_context) : LF_NONE;
}

/* Prompt → the keys and values that every layer's cross attention reads. */
static gboolean encode(LfSession *s, LfChunk *chunk, GError **error)
{
    gint64 start = g_get_monotonic_time();
    bool done = true;
    if (s->encoded == s->now.prompt_id)
        return TRUE;
    s->encoded = 0;
    if (s->now.n_ids > 0) {
        LfTensor ids = lf_tensor_slice(s->ids, 0, s->now.n_ids);
        s->n_context = s->now.n_ids;
        s->be->upload(s->be, ids.data, s->now.ids, lf_tensor_size(ids));
        done = lf_text_encoder_forward(s->model->text_encoder, s->be, &s->scratch,
                                       lf_session_context(s), ids, &s->cancelled);
    }
    if (done)
        lf_transformer_text(s->model->transformer, s->be, &s->scratch, &s->text,
                            lf_session_context(s));
    if (!finish(s, done, start, &chunk->info.encode_time, error))
        return FALSE;
    s->encoded = s->now.prompt_id;
    return TRUE;
}

/* out = the noise of (chunk, step): step 0 the first, the others those of re-noising. */
static void draw(LfSession *s, LfTensor out, int step)
{
    if (!s->noise_source) {
        lf_noise(s->be, out, s->seed, (uint32_t) s->index, (uint32_t) step);
        return;
    }
    s->noise_source(s->host_noise, lf_tensor_count(out), s->index, step, s->noise_data);
    s->be->upload(s->be, out.data, s->host_noise, lf_tensor_size(out));
}

/* One pass of the transformer over the chunk; writes its keys and values too. */
static bool forward(LfSession *s, LfTensor velocity, int step)
{
    return lf_transformer_forward(s->model->transformer, s->be, &s->scratch, velocity, s->x,
                                  &s->modulations[step], &s->text, s->cache, &s->attend,
                                  &s->cancelled);
}

/* x = noise; at each step x0 = x − σ·v(x), then, but for the last, x = (1 − σ')·x0 + σ'·noise. */
static gboolean denoise(LfSession *s, LfChunk *chunk, GError **error)
{
    gint64 start = g_get_monotonic_time();
    bool done = true;
    draw(s, s->x, 0);
    for (int step = 0; step < s->n_steps && (done = forward(s, s->velocity, step)); step++) {
        lf_denoise(s->be, s->x, s->x, s->velocity, s->steps[step].sigma);
        if (step + 1 < s->n_steps) {
            draw(s, s->noise, step + 1);
            lf_renoise(s->be, s->x, s->x, s->noise, s->steps[step + 1].sigma);
        }
    }
    return finish(s, done, start, &chunk->info.denoise_time, error);
}

/* Until here the cache holds keys and values of the noisy chunk. */
static gboolean clean(LfSession *s, LfChunk *chunk, GError **error)
{
    gint64 start = g_get_monotonic_time();
    bool done = forward(s, LF_NONE, s->n_steps);
    return finish(s, done, start, &chunk->info.clean_time, error);
}

static gboolean fetch_latents(LfSession *s, LfChunk *chunk, GError **error)
{
    gint64 start = g_get_monotonic_time();
    s->be->download(s->be, chunk->latents.data, s->x.data, lf_tensor_size(s->x));
    return finish(s, true, start, &chunk->info.transfer_time, error);
}

static gboolean decode(LfSession *s, LfChunk *chunk, GError **error)
{
    gint64 start = g_get_monotonic_time();
    if (!lf_given(chunk->rgb))
        return TRUE;
    if (s->index == 0)
        lf_decoder_state_reset(s->be, &s->decoder);
    bool done = lf_decoder_tiny_forward(s->model->decoder, s->be, &s->scratch, chunk->rgb, s->x,
                                        &s->decoder, &s->cancelled);
    return finish(s, done, start, &chunk->info.decode_time, error);
}

LfChunk *lf_session_next(LfSession *s, GError **error)
{
    LfChunk *chunk = lf_chunk_pool_take(s->pool, error);
    if (!chunk)
        return NULL;
    if (begin(s, chunk, error) && encode(s, chunk, error) && denoise(s, chunk, error) &&
        clean(s, chunk, error) && fetch_latents(s, chunk, error) && decode(s, chunk, error)) {
        lf_kv_cache_commit(s->cache);
        s->index++;
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
    memcpy(s->wishes.ids, ids, (size_t) n * sizeof *ids);
    s->wishes.n_ids = n;
    s->wishes.prompt_id++;
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
        s->be->upload(s->be, s->context.data, context,
                      (size_t) rows * (size_t) text_dim * sizeof *context);
    s->n_context = rows;
    g_mutex_lock(&s->lock);
    s->wishes.n_ids = 0;
    s->wishes.prompt_id++;
    g_mutex_unlock(&s->lock);
    return s->be->sync(s->be, error);
}

void lf_session_set_attention(LfSession *s, LfAttention attention, double sparsity)
{
    g_mutex_lock(&s->lock);
    s->wishes.attention = attention;
    s->wishes.sparsity = CLAMP(sparsity, 0, LF_MAX_SPARSITY);
    g_mutex_unlock(&s->lock);
}

void lf_session_set_noise(LfSession *s, LfNoise noise, gpointer data)
{
    if (noise && !s->host_noise)
        s->host_noise = g_malloc(lf_tensor_size(s->noise));
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

/* The decoder forgets with its first chunk. */
void lf_session_restart(LfSession *s, uint64_t seed)
{
    lf_kv_cache_reset(s->cache);
    s->seed = seed;
    s->index = 0;
}
