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

/* Opens *be unless it is open. One thread of the CPU, or what the model has the encoder on. */
static bool open_backend(LfEncoder *e, LfBackend **be, bool gentle, GError **error)
{
    if (*be)
        return true;
    *be = gentle ? lf_backend_open_cpu(1, error) : lf_model_text_backend(e->model, error);
    if (*be)
        (*be)->log = e->log;
    return *be != NULL;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Scratch for n ids and their embeddings, which it begins with. */
static bool allocate(LfEncoder *e, LfBackend *be, int n, GError **error)
{
    LfArena plan = lf_arena_plan();
    LfTensor ids = lf_arena_tensor(&plan, LF_I32, n);
    LfTensor rows = lf_arena_tensor(&plan, be->activation_type, n, lf_model_text_dim(e->model));
    lf_text_encoder_forward(e->model->text_encoder, lf_backend_plan(be), &plan, rows, ids, NULL);
    lf_arena_clear(&e->scratch);
    return lf_arena_init(&e->scratch, be, plan.peak, error);
}

/* The embeddings in the type of the transformer's activations. */
static void read_rows(LfBackend *be, LfTensor out, LfTensor rows)
{
    if (out.type == rows.type) {
        lf_download(be, out.data, rows);
        return;
    }
    g_autofree float *values = g_new(float, lf_tensor_count(rows));
    lf_download_floats(be, values, rows);
    lf_from_float(out.data, out.type, values, lf_tensor_count(rows));
}

/* ---- resident: backend and scratch are kept -------------------------------------------------- */

static bool encode(LfEncoder *e, LfBackend *be, const int32_t *ids, LfTensor out,
                   const int *cancelled, GError **error)
{
    lf_arena_release(&e->scratch, 0);
    LfTensor tokens = lf_arena_tensor(&e->scratch, LF_I32, out.shape[0]);
    LfTensor rows = lf_arena_tensor(&e->scratch, be->activation_type, out.shape[0], out.shape[1]);
    lf_upload(be, tokens, ids);
    bool done =
        lf_text_encoder_forward(e->model->text_encoder, be, &e->scratch, rows, tokens, cancelled);
    if (done)
        read_rows(be, out, rows);
    if (!be->sync(be, error))
        return false;
    return done || lf_fail(error, LF_ERROR_CANCELLED, "the encoding of the prompt was cancelled");
}

/* The scratch is for the longest prompt, so that none fails later in a stream. */
static bool run_resident(LfEncoder *e, const int32_t *ids, LfTensor out, bool beside,
                         const int *cancelled, GError **error)
{
    bool gentle = beside && !e->model->backend->asynchronous;
    LfBackend **be = gentle ? &e->gentle : &e->be;
    return open_backend(e, be, gentle, error) &&
           (e->scratch.backend == *be || allocate(e, *be, lf_model_text_len(e->model), error)) &&
           encode(e, *be, ids, out, cancelled, error);
}

/* ---- streamed: nothing stays on the device --------------------------------------------------- */

static bool stream(LfEncoder *e, LfBackend *copier, const int32_t *ids, LfTensor out,
                   const int *cancelled, GError **error)
{
    if (!allocate(e, e->be, (int) out.shape[0], error))
        return false;
    LfTensor rows =
        lf_arena_tensor(&e->scratch, e->be->activation_type, out.shape[0], out.shape[1]);
    bool done = lf_text_encoder_stream(e->model->text_encoder, e->be, copier, &e->scratch, rows,
                                       ids, cancelled, error);
    if (done)
        read_rows(e->be, out, rows);
    return done && e->be->sync(e->be, error);
}

static bool run_streamed(LfEncoder *e, const int32_t *ids, LfTensor out, const int *cancelled,
                         GError **error)
{
    LfBackend *copier = NULL;
    bool done = open_backend(e, &e->be, false, error) && open_backend(e, &copier, false, error) &&
                stream(e, copier, ids, out, cancelled, error);
    lf_encoder_clear(e);
    lf_backend_close(copier);
    return done;
}

/* ---- a prompt -------------------------------------------------------------------------------- */

LfText *lf_encoder_run(LfEncoder *e, const int32_t *ids, int n, bool beside, const int *cancelled,
                       GError **error)
{
    gint64 start = g_get_monotonic_time();
    LfText *text = lf_text_new(e->model->backend->activation_type, n, lf_model_text_dim(e->model));
    if (!text) {
        lf_fail(error, LF_ERROR_MEMORY, "out of memory: no room for the embeddings of %d tokens",
                n);
        return NULL;
    }
    bool done = lf_text_encoder_is_streamed(e->model->text_encoder)
                    ? run_streamed(e, ids, text->rows, cancelled, error)
                    : run_resident(e, ids, text->rows, beside, cancelled, error);
    if (done)
        text->time = MAX(1, 1000 * (g_get_monotonic_time() - start));
    else
        g_clear_pointer(&text, lf_text_unref);
    if (!done)
        g_prefix_error(error, "text encoder: ");
    return text;
}
