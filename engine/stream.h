/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The planning half of a session: which chunk comes next, in which scene, under which prompt and
 * how sparse. It has no backend and no device memory.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LF_ENGINE_STREAM_H
#define LF_ENGINE_STREAM_H

#include "geometry.h"
#include "lightforcing.h"

/* What other threads may request at any time. A chunk reads it once, when it begins. */
typedef struct {
    uint64_t prompt_id; /* counts prompts, see prompts.h */
    LfAttention attention;
    double sparsity; /* target; 0: the model's */
    LfTransition transition;
} LfRequest;

/* The constants of a stream. */
typedef struct {
    LfGeometry geometry;
    int window;          /* latent frames; 0: unbounded */
    bool sparse;         /* what LF_ATTENTION_AUTO means */
    double target, base; /* the model's shares of skipped key blocks, see growth.h */
    int horizon;         /* latent frames that growth plans for */
    bool uniform;        /* no growth: every chunk but the first of a scene skips the target */
} LfStreamConfig;

typedef struct {
    LfStreamConfig config;
    uint64_t seed;
    uint64_t index;     /* of the next chunk */
    uint64_t n_frames;  /* pixel frames before it */
    uint64_t scene;     /* index of the first chunk of its scene: of the stream, or of a cut */
    uint64_t prompt_id; /* of the chunk before it */
    /* The transition that an attempt at the next chunk has begun; CONTINUE: none. It survives a
     * cancelled attempt, which may have recomputed a part of the cache. */
    LfTransition transition;
} LfStream;

/* One chunk, before it is generated. */
typedef struct {
    uint64_t seed;
    uint64_t index;
    uint64_t scene_index; /* chunks of its scene before it; 0: it begins a scene */
    uint64_t first_frame;
    int n_frames; /* pixel frames */
    uint64_t prompt_id;
    LfTransition transition;
    double sparsity; /* share of the window's key blocks to skip; 0: dense */
} LfChunkPlan;

/* Plans the next chunk. Begins the requested transition if the prompt is a new one. */
LfChunkPlan lf_stream_plan(LfStream *stream, const LfRequest *request);

/* The chunk was generated: advances the stream to the one after it. */
void lf_stream_commit(LfStream *stream, const LfChunkPlan *plan);

/* Back to the first frame. */
void lf_stream_restart(LfStream *stream, uint64_t seed);

/* The share of key blocks that chunk `scene_index` of a scene skips under this request. */
double lf_stream_sparsity(const LfStream *stream, const LfRequest *request, uint64_t scene_index);

/* The first chunk of a scene in steady state: the window is full and the growth is done. An
 * unbounded window is never full; then it is the next chunk. */
uint64_t lf_stream_steady_index(const LfStream *stream);

#endif
