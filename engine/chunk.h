/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Finished frames and the pool that their memory comes from. The pool lives until its session and
 * all chunks are gone, and with it the backend whose memory that is.
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
    gint waited;      /* atomic: for decode_end, so that info's decode_time is there */
    LfTensor rgb;     /* U8 [4·c, H, W, 3], backend memory; LF_NONE in a stream without decoder */
    LfTensor latents; /* F32 [c, C, h, w], host memory; LF_NONE where they are not kept */
};

/* `pixels`, `latents`: chunks have room for them. The pool keeps the model and owns the backend. */
LfChunkPool *lf_chunk_pool_new(LfModel *model, LfBackend *be, const LfGeometry *geometry,
                               bool pixels, bool latents);
void lf_chunk_pool_unref(LfChunkPool *pool); /* the session's reference; NULL is fine */

/* A free chunk, or a new one; its contents are undefined. On the thread of the backend. */
LfChunk *lf_chunk_pool_take(LfChunkPool *pool, GError **error);

#endif
