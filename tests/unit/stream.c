/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream.h"

#include "engine/session.h"

#include <string.h>

const char *stream_backend(void)
{
    const char *chosen = g_getenv("LF_TEST_BACKEND");
    return chosen ? chosen : "cpu";
}

LfModel *stream_model_on(const LfTinyModel *options, const char *backend)
{
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, options);
    LfModel *model = lf_model_open(dir, &(LfModelOptions){.backend = backend}, &error);
    g_assert_no_error(error);
    lf_tiny_model_remove(dir);
    return model;
}

LfModel *stream_model(const LfTinyModel *options)
{
    return stream_model_on(options, stream_backend());
}

LfSession *stream_session(LfModel *model, const LfSessionOptions *options, const char *prompt)
{
    g_autoptr(GError) error = NULL;
    LfSessionOptions all = options ? *options : (LfSessionOptions){0};
    all.keep_latents = TRUE;
    LfSession *session = lf_session_new(model, &all, &error);
    g_assert_no_error(error);
    if (*prompt)
        lf_session_set_prompt(session, prompt, &error);
    g_assert_no_error(error);
    return session;
}

LfChunk *stream_next(LfSession *session)
{
    g_autoptr(GError) error = NULL;
    LfChunk *chunk = lf_session_next(session, &error);
    g_assert_no_error(error);
    g_assert_nonnull(chunk);
    return chunk;
}

void stream_drop(LfSession *session, int n_chunks)
{
    for (int i = 0; i < n_chunks; i++) {
        LfChunk *chunk = stream_next(session);
        g_assert_true(lf_chunk_wait(chunk, NULL));
        lf_chunk_unref(chunk);
    }
}

GByteArray *stream_pictures(const LfChunk *chunk)
{
    g_autoptr(GError) error = NULL;
    const LfChunkInfo *info = lf_chunk_info(chunk);
    guint frame = 3u * (guint) info->width * (guint) info->height;
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_set_size(bytes, frame * (guint) info->n_frames);
    for (int i = 0; i < info->n_frames; i++) {
        LfPicture picture = {.format = LF_PIXELS_RGB,
                             .width = info->width,
                             .height = info->height,
                             .planes = {bytes->data + frame * (guint) i},
                             .strides = {3 * info->width}};
        lf_chunk_read(chunk, i, &picture, &error);
        g_assert_no_error(error);
    }
    return bytes;
}

GByteArray *stream_run(LfSession *session, int n_chunks)
{
    GByteArray *all = g_byte_array_new();
    for (int i = 0; i < n_chunks; i++) {
        LfChunk *chunk = stream_next(session);
        GByteArray *bytes = stream_pictures(chunk);
        g_byte_array_append(all, bytes->data, bytes->len);
        g_byte_array_unref(bytes);
        lf_chunk_unref(chunk);
    }
    return all;
}

gboolean stream_same(const GByteArray *a, const GByteArray *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

void stream_assert_same(const GByteArray *a, const GByteArray *b)
{
    guint different = 0;
    g_assert_cmpuint(a->len, ==, b->len);
    for (guint i = 0; i < a->len; i++)
        different += a->data[i] != b->data[i];
    g_assert_cmpuint(different, ==, 0);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void *(*backend_alloc)(LfBackend *be, size_t size);
static gint n_allocations;

static void *counting_alloc(LfBackend *be, size_t size)
{
    n_allocations++;
    return backend_alloc(be, size);
}

gint *stream_count_allocations(LfSession *session)
{
    backend_alloc = session->worker.be->alloc;
    session->worker.be->alloc = session->worker.decoder_be->alloc = counting_alloc;
    n_allocations = 0;
    return &n_allocations;
}

gsize stream_heap_noise(const LfSession *session)
{
    return session->worker.be->asynchronous ? 32768 : 4096;
}

void stream_assert_error(GError **error, LfError code, const char *word)
{
    g_assert_error(*error, LF_ERROR, (int) code);
    if (!strstr((*error)->message, word))
        g_error("\"%s\" does not tell of \"%s\"", (*error)->message, word);
    g_clear_error(error);
}
