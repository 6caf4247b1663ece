/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk.h"

#include <stdlib.h>

struct LfChunkPool {
    gatomicrefcount refs; /* one of the session, and one of each chunk that is not in the list */
    LfModel *model;
    LfBackend *be;
    LfGeometry geometry;
    int channels;
    bool pixels, latents;
    GMutex lock;
    LfChunk *free; /* guarded by lock */
};

LfChunkPool *lf_chunk_pool_new(LfModel *model, LfBackend *be, const LfGeometry *geometry,
                               bool pixels, bool latents)
{
    LfChunkPool *pool = g_new0(LfChunkPool, 1);
    g_atomic_ref_count_init(&pool->refs);
    g_mutex_init(&pool->lock);
    pool->model = lf_model_ref(model);
    pool->be = be;
    pool->geometry = *geometry;
    pool->channels = model->config->transformer.channels;
    pool->pixels = pixels;
    pool->latents = latents;
    return pool;
}

static void chunk_free(LfChunkPool *pool, LfChunk *chunk)
{
    if (chunk->rgb.data)
        pool->be->free(pool->be, chunk->rgb.data);
    pool->be->event_free(pool->be, chunk->decode_begin);
    pool->be->event_free(pool->be, chunk->decode_end);
    free(chunk->latents.data);
    g_free(chunk);
}

/* The last reference may be a chunk's, on any thread. Nobody uses the backend any more by then. */
void lf_chunk_pool_unref(LfChunkPool *pool)
{
    if (!pool || !g_atomic_ref_count_dec(&pool->refs))
        return;
    while (pool->free) {
        LfChunk *chunk = pool->free;
        pool->free = chunk->next;
        chunk_free(pool, chunk);
    }
    lf_backend_close(pool->be);
    lf_model_unref(pool->model);
    g_mutex_clear(&pool->lock);
    g_free(pool);
}

static LfChunk *chunk_new(LfChunkPool *pool, GError **error)
{
    const LfGeometry *g = &pool->geometry;
    LfChunk *chunk = g_new0(LfChunk, 1);
    size_t size = 0;
    if (pool->latents) {
        chunk->latents =
            lf_tensor(NULL, LF_F32, g->chunk, pool->channels, g->latent_height, g->latent_width);
        size = lf_tensor_size(chunk->latents);
        chunk->latents.data = malloc(size);
    }
    if (pool->pixels) {
        chunk->rgb = lf_tensor(NULL, LF_U8, lf_decoded_frames(g), g->height, g->width, 3);
        size += lf_tensor_size(chunk->rgb);
        chunk->rgb.data = pool->be->alloc(pool->be, lf_tensor_size(chunk->rgb));
    }
    chunk->decode_begin = pool->be->event_new(pool->be);
    chunk->decode_end = pool->be->event_new(pool->be);
    if ((!pool->latents || chunk->latents.data) && (!pool->pixels || chunk->rgb.data) &&
        chunk->decode_begin && chunk->decode_end)
        return chunk;
    g_set_error(error, LF_ERROR, LF_ERROR_MEMORY,
                "out of memory: no %.1f MB of memory for another chunk; release chunks sooner",
                (double) size / 1e6);
    chunk_free(pool, chunk);
    return NULL;
}

LfChunk *lf_chunk_pool_take(LfChunkPool *pool, GError **error)
{
    g_mutex_lock(&pool->lock);
    LfChunk *chunk = pool->free;
    if (chunk)
        pool->free = chunk->next;
    g_mutex_unlock(&pool->lock);
    if (!chunk && !(chunk = chunk_new(pool, error)))
        return NULL;
    g_atomic_ref_count_init(&chunk->refs);
    g_atomic_ref_count_inc(&pool->refs);
    chunk->pool = pool;
    g_atomic_int_set(&chunk->waited, 0);
    return chunk;
}

LfChunk *lf_chunk_ref(LfChunk *chunk)
{
    g_atomic_ref_count_inc(&chunk->refs);
    return chunk;
}

void lf_chunk_unref(LfChunk *chunk)
{
    if (!chunk || !g_atomic_ref_count_dec(&chunk->refs))
        return;
    LfChunkPool *pool = chunk->pool;
    g_mutex_lock(&pool->lock);
    chunk->next = pool->free;
    pool->free = chunk;
    g_mutex_unlock(&pool->lock);
    lf_chunk_pool_unref(pool);
}

/* Caches decode_time; logically const. */
gboolean lf_chunk_wait(const LfChunk *chunk, GError **error)
{
    LfBackend *be = chunk->pool->be;
    LfChunk *waited = (LfChunk *) chunk;
    if (!lf_is_set(chunk->rgb) || g_atomic_int_get(&chunk->waited))
        return TRUE;
    if (!be->event_sync(be, chunk->decode_end, error))
        return FALSE;
    g_mutex_lock(&chunk->pool->lock); /* any number of threads may wait: one of them writes */
    if (!chunk->waited) {
        waited->info.decode_time = be->event_elapsed(be, chunk->decode_begin, chunk->decode_end);
        g_atomic_int_set(&waited->waited, 1);
    }
    g_mutex_unlock(&chunk->pool->lock);
    return TRUE;
}

const LfChunkInfo *lf_chunk_info(const LfChunk *chunk)
{
    return &chunk->info;
}

const float *lf_chunk_latents(const LfChunk *chunk, int *n_channels, int *height, int *width)
{
    *n_channels = (int) chunk->latents.shape[1];
    *height = (int) chunk->latents.shape[2];
    *width = (int) chunk->latents.shape[3];
    return chunk->latents.data;
}

/* ---- pixels ---------------------------------------------------------------------------------- */

/* Bytes of a line of each plane; 0 where the format has no such plane. False: no such format. */
static bool line_sizes(const LfPicture *p, int sizes[3])
{
    int half = (p->width + 1) / 2;
    sizes[0] = p->width;
    sizes[1] = sizes[2] = 0;
    switch (p->format) {
    case LF_PIXELS_RGB:
    case LF_PIXELS_BGR:
        sizes[0] *= 3;
        break;
    case LF_PIXELS_RGBX:
    case LF_PIXELS_BGRX:
        sizes[0] *= 4;
        break;
    case LF_PIXELS_I420:
        sizes[1] = sizes[2] = half;
        break;
    case LF_PIXELS_NV12:
        sizes[1] = 2 * half;
        break;
    default:
        return false;
    }
    return true;
}

static bool check_picture(const LfChunkInfo *info, const LfPicture *p, GError **error)
{
    int sizes[3];
    if (p->width != info->width || p->height != info->height)
        return lf_fail(error, LF_ERROR_CONFIG,
                       "a picture of %d×%d for frames of %d×%d: frames are not scaled", p->width,
                       p->height, info->width, info->height);
    if (p->memory != LF_MEMORY_HOST && p->memory != LF_MEMORY_DEVICE)
        return lf_fail(error, LF_ERROR_CONFIG, "picture memory %d: use host or device", p->memory);
    if (!line_sizes(p, sizes))
        return lf_fail(error, LF_ERROR_CONFIG, "unknown pixel format %d", p->format);
    for (int i = 0; i < 3; i++)
        if (sizes[i] > 0 && (!p->planes[i] || p->strides[i] < sizes[i]))
            return lf_fail(error, LF_ERROR_CONFIG,
                           "plane %d of the picture needs memory and lines of %d bytes, it has %d",
                           i, sizes[i], p->planes[i] ? p->strides[i] : 0);
    return true;
}

gboolean lf_chunk_read(const LfChunk *chunk, int index, const LfPicture *picture, GError **error)
{
    const LfChunkInfo *info = &chunk->info;
    if (index < 0 || index >= info->n_frames || !lf_is_set(chunk->rgb)) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG, "frame %d: the chunk has %d decoded frames",
                    index, lf_is_set(chunk->rgb) ? info->n_frames : 0);
        return FALSE;
    }
    if (!check_picture(info, picture, error) || !lf_chunk_wait(chunk, error))
        return FALSE;
    int trimmed = (int) chunk->rgb.shape[0] - info->n_frames;
    return lf_pixels(chunk->pool->be, picture, lf_tensor_at(chunk->rgb, trimmed + index), error);
}
