/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What other threads request of a session. The next chunk reads the requests when it begins.
 */
#include "session.h"

uint64_t lf_session_set_prompt(LfSession *s, const char *prompt, GError **error)
{
    int capacity = lf_model_text_len(s->model);
    if (!s->worker.config.has_text) {
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "this session takes text embeddings: create it without no_text");
        return 0;
    }
    g_autofree int32_t *ids = g_new(int32_t, capacity);
    int n = lf_model_tokenize(s->model, prompt, ids, capacity, error);
    if (n < 0)
        return 0;
    uint64_t id = lf_prompts_set(&s->prompts, ids, n, error);
    if (id != 0)
        lf_log(&s->worker.log, LF_LOG_DEBUG, "prompt %" G_GUINT64_FORMAT ", %d tokens: \"%s\"", id,
               n, prompt);
    return id;
}

GError *lf_session_prompt_failure(LfSession *s, uint64_t *prompt_id)
{
    return lf_prompts_failure(&s->prompts, prompt_id);
}

gboolean lf_session_set_context(LfSession *s, const float *context, int rows, int text_dim,
                                GError **error)
{
    const LfModel *m = s->model;
    if (text_dim != lf_model_text_dim(m) || rows < 0 || rows > lf_model_text_len(m)) {
        g_set_error(error, LF_ERROR, LF_ERROR_SHAPE, "context is [%d, %d], expected [0 … %d, %d]",
                    rows, text_dim, lf_model_text_len(m), lf_model_text_dim(m));
        return FALSE;
    }
    LfText *text = lf_text_new(s->worker.be->activation_type, rows, text_dim);
    if (!text)
        return lf_fail(error, LF_ERROR_MEMORY, "out of memory: no room for a context of %d rows",
                       rows);
    if (rows > 0)
        lf_from_float(text->rows.data, text->rows.type, context, lf_tensor_count(text->rows));
    lf_prompts_set_text(&s->prompts, text);
    lf_text_unref(text);
    return TRUE;
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
    LfWorker *w = &s->worker;
    if (noise && !w->host_noise)
        w->host_noise = g_malloc(lf_tensor_size(w->x));
    w->noise_source = noise;
    w->noise_data = data;
}

void lf_session_cancel(LfSession *s)
{
    g_atomic_int_set(&s->worker.cancelled, 1);
    lf_prompts_wake(&s->prompts);
}

void lf_session_resume(LfSession *s)
{
    g_atomic_int_set(&s->worker.cancelled, 0);
}

/* Clears a latched failure of the decoder's backend, which fails all its unfinished chunks. */
void lf_session_restart(LfSession *s, uint64_t seed)
{
    s->worker.decoder_be->sync(s->worker.decoder_be, NULL);
    lf_log(&s->worker.log, LF_LOG_DEBUG, "restart with seed %" G_GUINT64_FORMAT, seed);
    lf_stream_restart(&s->stream, seed);
}
