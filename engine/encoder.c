/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "encoder.h"

LfEncoder lf_encoder(const LfModel *model, const LfLog *log)
{
    return (LfEncoder){.model = model, .log = *log};
}

void lf_encoder_clear(LfEncoder *e)
{
    lf_arena_clear(&e->scratch);
    lf_backend_close(e->be);
    lf_backend_close(e->gentle);
    e->be = e->gentle = NULL;
}

/* ---- backends -------------------------------------------------------------------------------- */

static LfBackend *opened(LfEncoder *e, LfBackend **be, int n_threads, GError **error)
{
    if (*be)
        return *be;
    *be = n_threads > 0 ? lf_backend_open_cpu(n_threads, error) : lf_model_backend(e->model, error);
    if (*be)
        (*be)->log = e->log;
    return *be;
}

static LfBackend *backend_for(LfEncoder *e, bool beside, GError **error)
{
    bool gentle = beside && !e->model->backend->asynchronous;
    return opened(e, gentle ? &e->gentle : &e->be, gentle ? 1 : 0, error);
}

/* ---- a prompt -------------------------------------------------------------------------------- */

/* Makes the scratch large enough for the longest prompt, so that none fails later in a stream. */
static bool reserve(LfEncoder *e, LfBackend *be, GError **error)
{
    int n = lf_model_text_len(e->model);
    LfArena plan = lf_arena_plan();
    if (e->scratch.backend == be)
        return true;
    LfTensor ids = lf_arena_tensor(&plan, LF_I32, n);
    LfTensor rows = lf_arena_tensor(&plan, be->activation_type, n, lf_model_text_dim(e->model));
    lf_text_encoder_forward(e->model->text_encoder, lf_backend_plan(be), &plan, rows, ids, NULL);
    lf_arena_clear(&e->scratch);
    return lf_arena_init(&e->scratch, be, plan.peak, error);
}

static bool cancelled_error(GError **error)
{
    return lf_fail(error, LF_ERROR_CANCELLED, "the encoding of the prompt was cancelled");
}

static bool encode(LfEncoder *e, LfBackend *be, const int32_t *ids, int n, LfTensor out,
                   const int *cancelled, GError **error)
{
    lf_arena_release(&e->scratch, 0);
    LfTensor tokens = lf_arena_tensor(&e->scratch, LF_I32, n);
    LfTensor rows = lf_arena_tensor(&e->scratch, be->activation_type, n, out.shape[1]);
    lf_upload(be, tokens, ids);
    bool done =
        lf_text_encoder_forward(e->model->text_encoder, be, &e->scratch, rows, tokens, cancelled);
    if (done)
        lf_download(be, out.data, rows);
    return be->sync(be, error) && (done || cancelled_error(error));
}

LfText *lf_encoder_run(LfEncoder *e, const int32_t *ids, int n, bool beside, const int *cancelled,
                       GError **error)
{
    gint64 start = g_get_monotonic_time();
    LfBackend *be = backend_for(e, beside, error);
    if (!be || !reserve(e, be, error))
        return NULL;
    LfText *text = lf_text_new(be->activation_type, n, lf_model_text_dim(e->model));
    if (!text) {
        lf_fail(error, LF_ERROR_MEMORY, "out of memory: no room for the embeddings of %d tokens",
                n);
        return NULL;
    }
    if (encode(e, be, ids, n, text->rows, cancelled, error))
        text->time = MAX(1, 1000 * (g_get_monotonic_time() - start));
    else
        g_clear_pointer(&text, lf_text_unref);
    return text;
}
