/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The KV cache: keys and values of past frames for every layer, a ring of frames with a fixed
 * attention sink.
 *
 * A frame keeps its slot while it is in the window. Eviction gives the slots of the oldest frames
 * after the sink to the next chunk, so nothing is ever moved. Frame f < sink has slot f, any other
 * frame has slot sink + (f − sink) mod (window − sink).
 *
 * Keys are stored rotated by the frame's number in the stream. RoPE depends on differences of
 * positions alone, so for consecutive frames this equals numbering the window from 0 (positions
 * "relative"), and no key is rotated again when the window moves. Only between the sink and the
 * rest of the window are frames missing. In relative mode the keys of the sink, and their means,
 * are therefore rotated once per chunk to the numbers just below the window's, from a copy of the
 * original keys. In absolute mode they keep their own numbers.
 *
 * The order of a frame's tokens (geometry.h) is in the chunk's RoPE angles and in the order table;
 * the frames do not depend on it.
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
 * any chunk may be begun, to find the scratch that a forward pass takes. */
LfKvCache *lf_kv_cache_new(LfBackend *be, const LfKvCacheConfig *config, GError **error);
void lf_kv_cache_free(LfKvCache *cache); /* NULL is fine */
const LfKvCacheConfig *lf_kv_cache_config(const LfKvCache *cache);
size_t lf_kv_cache_memory(const LfKvCache *cache); /* bytes */

/* Empties the cache. An unbounded cache keeps its memory. */
void lf_kv_cache_reset(LfKvCache *cache);

/* Makes room for chunk `index`, from 0: evicts frames, numbers the slots, rotates the sink. `index`
 * is the next chunk or the current one. The current chunk may be begun again, even when it was
 * committed, until the next one is begun. An unbounded cache may grow here, by doubling; without
 * memory for that (LF_ERROR_MEMORY) the cache stays as it was. */
bool lf_kv_cache_begin(LfKvCache *cache, uint64_t index, GError **error);

/* The window of the chunk begun, as the operations read it. */
LfWindow lf_kv_cache_window(const LfKvCache *cache, int layer);
int lf_kv_cache_frames(const LfKvCache *cache); /* frames in the window, chunk included */
int lf_kv_cache_past(const LfKvCache *cache);   /* frames in the window before the chunk */

/* RoPE angles of the chunk begun. */
const LfRope *lf_kv_cache_rope(const LfKvCache *cache);

/* The token of each patch of a frame, for lf_patchify and lf_unpatchify; LF_NONE in raster
 * order. */
LfTensor lf_kv_cache_order(const LfKvCache *cache);

/* After the clean pass: the chunk becomes part of the past. */
void lf_kv_cache_commit(LfKvCache *cache);

/* ---- recache: the keys and values of the past under a new text ------------------------------- */

/* Call it before lf_kv_cache_begin(index). Rewinds to chunk index − 1; what was written for `index`
 * is lost. All frames of that window have to be recomputed, but not the sink once frames have left
 * the window: its keys depend on those frames. LF_ERROR_CONFIG when there are no past frames. */
bool lf_kv_cache_begin_past(LfKvCache *cache, uint64_t index, GError **error);
int lf_kv_cache_recomputed(const LfKvCache *cache); /* number of frames to recompute */

/* Consecutive frames of the window that belong to one chunk. */
typedef struct {
    uint64_t chunk;
    int skipped;      /* frames of the chunk before them: evicted, or in the sink */
    int first, count; /* position in the window, number of frames */
} LfKvRun;

/* The run that begins with recomputed frame `first`, from 0. */
LfKvRun lf_kv_cache_run(const LfKvCache *cache, int first);
/* The window with this run as its tail, for writing the run; and the run's RoPE angles. */
LfWindow lf_kv_cache_run_window(const LfKvCache *cache, int layer, const LfKvRun *run);
LfRope lf_kv_cache_run_rope(const LfKvCache *cache, const LfKvRun *run);

/* After all runs are written. */
void lf_kv_cache_commit_past(LfKvCache *cache);

#endif
