/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Keys and values of past frames, for every layer: a ring of frames with a fixed sink.
 *
 * A frame's slot never changes while it is in the window; eviction hands the slots of the oldest
 * frames that are no sink to the next chunk, so nothing is ever moved. Frame f < sink has slot f,
 * any other has slot sink + (f − sink) mod (window − sink).
 *
 * Keys are kept rotated with the frame's number in the stream. RoPE depends on differences of
 * positions alone, so for frames that follow each other this equals numbering the window from 0
 * (positions "relative"), and no key has to be rotated again when the window moves. Only the sink
 * is not followed directly by the window's next frame: in relative mode its keys, and their means,
 * are turned once a chunk from a copy of what was written first, to the numbers just below the
 * window's. In absolute mode they keep their own.
 *
 * The order of a frame's tokens (geometry.h) is in the rotation of the chunk and in the table that
 * goes with it; the frames themselves know nothing of it.
 *
 * Thread-safety: one session's.
 */
#ifndef LF_MODELS_KV_CACHE_H
#define LF_MODELS_KV_CACHE_H

#include "engine/geometry.h"
#include "kernels/arena.h"
#include "kernels/ops.h"

typedef struct {
    LfGeometry geometry;
    int layers, heads, head_dim;
    int window;    /* latent frames, the chunk included; 0: unbounded, the cache grows */
    int sink;      /* latent frames */
    bool relative; /* see above */
    int key_block; /* tokens */
} LfKvCacheConfig;

typedef struct LfKvCache LfKvCache;

/* LF_ERROR_CONFIG when window < chunk + sink, or a number is out of its range. LF_ERROR_MEMORY
 * names the bytes. The backend outlives the cache. On lf_backend_plan() the cache has no memory and
 * any chunk may be begun: for finding out how much scratch a forward takes. */
LfKvCache *lf_kv_cache_new(LfBackend *be, const LfKvCacheConfig *config, GError **error);
void lf_kv_cache_free(LfKvCache *cache); /* NULL is fine */
const LfKvCacheConfig *lf_kv_cache_config(const LfKvCache *cache);
size_t lf_kv_cache_memory(const LfKvCache *cache); /* bytes */

/* Forgets every frame. An unbounded cache keeps the room that it has. */
void lf_kv_cache_reset(LfKvCache *cache);

/* Makes room for chunk `index` (0, 1, 2 …: the next one, or the current one again, which changes
 * nothing): evicts, numbers the slots, turns the sink. A chunk that was committed may be begun
 * again until the next one is. An unbounded cache may grow here, by doubling; when there is no
 * memory (LF_ERROR_MEMORY) the cache is as before. */
bool lf_kv_cache_begin(LfKvCache *cache, uint64_t index, GError **error);

/* The window of the chunk begun, as the operations read it. */
LfWindow lf_kv_cache_window(const LfKvCache *cache, int layer);
int lf_kv_cache_frames(const LfKvCache *cache); /* of the window, the chunk included */
int lf_kv_cache_past(const LfKvCache *cache);   /* of these, before the chunk */

/* The rotation of the chunk begun. */
const LfRope *lf_kv_cache_rope(const LfKvCache *cache);

/* The tokens of the patches of a frame, for lf_patchify and its way back; LF_NONE in raster
 * order. */
LfTensor lf_kv_cache_order(const LfKvCache *cache);

/* After the clean pass: the chunk becomes past. */
void lf_kv_cache_commit(LfKvCache *cache);

/* ---- the past anew, for a new text ----------------------------------------------------------- */

/* In place of beginning chunk `index`, which is the next one or was begun (what it wrote is then
 * lost) and is to be begun afterwards: the window is that which the chunk before left, and the
 * frames of it that are to be written again get their numbers. These are all, or, once frames have
 * left the window, all but the sink, whose keys stay those that it was made with. False and
 * LF_ERROR_CONFIG when there is no past. */
bool lf_kv_cache_begin_past(LfKvCache *cache, uint64_t index, GError **error);
int lf_kv_cache_renewed(const LfKvCache *cache); /* how many frames those are */

/* Those of one chunk that follow each other in the window. */
typedef struct {
    uint64_t chunk;
    int skipped;      /* of the chunk's frames: they have left the window, or are the sink's */
    int first, count; /* position in the window, and how many */
} LfKvPart;

/* The part that begins with the renewed frame `first`, from 0. */
LfKvPart lf_kv_cache_part(const LfKvCache *cache, int first);
/* The window with this part as its tail, for writing it; and the part's rotation. */
LfWindow lf_kv_cache_part_window(const LfKvCache *cache, int layer, const LfKvPart *part);
LfRope lf_kv_cache_part_rope(const LfKvCache *cache, const LfKvPart *part);

/* All of them are written. */
void lf_kv_cache_commit_past(LfKvCache *cache);

#endif
