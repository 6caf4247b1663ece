/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Finished frames, and the pool that owns their memory. The pool and its backend live until the
 * session and all chunks are freed.
 */
#ifndef LF_ENGINE_CHUNK_H
#define LF_ENGINE_CHUNK_H

#include "model.h"

typedef struct LfChunkPool LfChunkPool;

struct LfChunk {
    gatomicrefcount refs;
    LfChunkPool *pool;
    LfChunk *next; /* in the pool's list of free ones */
    LfChunkInfo info;
    LfEvent *decode_begin, *decode_end;
    gint waited;      /* atomic: decode_end has completed and info.decode_time is set */
    LfTensor rgb;     /* U8 [4·c, H, W, 3], backend memory; LF_NONE in a stream without decoder */
    LfTensor latents; /* F32 [c, C, h, w], host memory; LF_NONE where they are not kept */
};

/* `pixels`, `latents`: what chunks have memory for. The pool keeps the model alive and owns the
 * backend. */
LfChunkPool *lf_chunk_pool_new(LfModel *model, LfBackend *be, const LfGeometry *geometry,
                               bool pixels, bool latents);
void lf_chunk_pool_unref(LfChunkPool *pool); /* the session's reference; NULL is fine */

/* A free chunk, or a new one; its contents are undefined. On the thread of the backend. */
LfChunk *lf_chunk_pool_take(LfChunkPool *pool, GError **error);

#endif
