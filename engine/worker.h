/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The computing half of a session: backends, memory, caches and events. The plan of a chunk
 * (LfChunkPlan) comes from the stream; session.c has the order of the work.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LF_ENGINE_WORKER_H
#define LF_ENGINE_WORKER_H

#include "model.h"
#include "scheduler.h"
#include "session_graph.h"

/* Events of a chunk on the transformer's backend. */
typedef enum {
    LF_STARTED,
    LF_TEXT_READ,
    LF_RECACHED,
    LF_DENOISED,
    LF_CLEANED,
    LF_KEPT, /* the clean latents are in `past`, where the decoder reads them */
    LF_N_CHUNK_EVENTS
} LfChunkEvent;

/* The constants of a session. */
typedef struct {
    LfGeometry geometry;
    int window, sink; /* latent frames; window 0: unbounded */
    bool relative;    /* positions, see kv_cache.h */
    int key_block;    /* tokens */
    LfSchemeConfig scheme;
    LfSchedule schedule;
    LfSchedule first; /* of the first chunk of a scene; n 0: `schedule` */
    bool has_text, has_pixels;
    int rank, n_ranks; /* its share of rows and heads, see share.h; 0 of 0: everything */
} LfWorkerConfig;

typedef struct {
    const LfModel *model;
    LfWorkerConfig config;
    LfLog log;

    LfBackend *be;         /* the transformer's */
    LfBackend *decoder_be; /* on a device another backend, to run concurrently; else `be` */
    LfArena state, scratch;
    LfArena own_decoder_scratch; /* when the decoder has a backend of its own */
    LfArena *decoder_scratch;    /* that, or `scratch` */

    LfKvCache *cache;
    LfScheme *scheme;
    LfPast past;
    LfTensor x, velocity; /* F32 [c, C, h, w] */
    LfTensor noise;       /* F32 [steps, c, C, h, w], of each step of the longer schedule */
    LfTensor context;     /* activation [text_len, text_dim] */
    LfTextState text;     /* keys and values of prompt `encoded` */
    uint64_t encoded;     /* prompt id; 0: `text` is undefined */
    bool first; /* the chunk at work begins a scene: it has config.first, if there is one */
    /* Of the clean pass, then of each step of config.schedule, then of config.first. */
    LfModulation modulations[1 + 2 * LF_MAX_STEPS];
    LfDecoderState decoder;

    LfGraphs graphs;
    LfEvent *events[LF_N_CHUNK_EVENTS];
    LfEvent *decoded; /* the last chunk, on `decoder_be` */

    LfNoise noise_source; /* NULL: the generator of kernels/ops.h */
    gpointer noise_data;
    float *host_noise; /* what noise_source writes; NULL without one */

    int cancelled; /* atomic: set by any thread */
} LfWorker;

/* The schedule of the chunk at work, and the modulations of its steps. */
static inline const LfSchedule *lf_worker_schedule(const LfWorker *w)
{
    return w->first && w->config.first.n > 0 ? &w->config.first : &w->config.schedule;
}

static inline const LfModulation *lf_worker_modulation(const LfWorker *w, int step)
{
    bool first = lf_worker_schedule(w) == &w->config.first;
    return &w->modulations[1 + (first ? w->config.schedule.n : 0) + step];
}

/* ---- worker_open.c --------------------------------------------------------------------------- */

/* Opens the backends and allocates everything but the scratch, which lf_worker_enlarge allocates.
 * After a failure the caller calls lf_worker_close. `worker` is all-zero before. */
bool lf_worker_open(LfWorker *worker, const LfModel *model, const LfWorkerConfig *config,
                    const LfLog *log, GError **error);

/* The same without a device: everything is on the plan backend of the model's, and its sizes are those
 * that lf_worker_open would allocate. The weights of the model may be the plan's, too. */
bool lf_worker_open_plan(LfWorker *worker, const LfModel *model, const LfWorkerConfig *config,
                         GError **error);

/* Computes what depends neither on a prompt nor on a chunk. Needs scratch. */
bool lf_worker_prepare(LfWorker *worker, GError **error);

/* Waits for queued work and frees everything but decoder_be. That belongs to the pool of chunks,
 * whose frames are read through it; `close_decoder` closes it when there is no pool. */
void lf_worker_close(LfWorker *worker, bool close_decoder);

LfMemory lf_worker_memory(const LfWorker *worker);

/* ---- worker_plan.c --------------------------------------------------------------------------- */

/* The configuration of the worker's cache. */
LfKvCacheConfig lf_worker_cache_config(const LfWorker *worker);

/* A copy of `worker` on `be`, the plan backend or a FLOP counter, whose calls compute nothing. Its
 * arenas are plans, its cache has begun chunk `scene_index` of a scene, and its text is the longest
 * that the model takes. False and an error when such a cache cannot exist. */
bool lf_worker_shadow(LfWorker *shadow, const LfWorker *worker, LfBackend *be, uint64_t scene_index,
                      GError **error);
void lf_worker_shadow_clear(LfWorker *shadow);

/* Bytes of scratch; `decoder` where the decoder has a backend of its own. */
typedef struct {
    size_t own, decoder;
} LfScratchSize;

/* Enlarges the worker's scratch to these sizes. */
bool lf_worker_enlarge(LfWorker *worker, const LfScratchSize *size, GError **error);

#endif
