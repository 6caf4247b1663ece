/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of a session: session_open.c makes it, session.c runs it, session_plan.c looks ahead.
 */
#ifndef LF_ENGINE_SESSION_H
#define LF_ENGINE_SESSION_H

#include "chunk.h"
#include "growth.h"
#include "scheduler.h"

/* What other threads may ask for at any time. Read once, at the start of a chunk. */
typedef struct {
    uint64_t prompt_id; /* counts what was asked for; 0: nothing yet */
    int n_ids;          /* tokens in `ids`; 0: the text is what lf_session_set_context gave */
    int32_t *ids;       /* [text_len] */
    LfAttention attention;
    double sparsity; /* 0: the model's */
    LfTransition transition;
} LfRequest;

/* A chunk's moments on `be`. */
typedef enum {
    LF_STARTED,
    LF_ENCODED,
    LF_RECACHED,
    LF_DENOISED,
    LF_CLEANED,
    LF_COPIED, /* latents are where the decoder reads them */
    LF_N_CHUNK_EVENTS
} LfChunkEvent;

/* What has to be the same for recorded work to be another chunk's, too. */
typedef struct {
    int frames, budget, text_rows;
    float last_logit;
} LfGraphKey;

typedef struct {
    LfGraphKey key; /* of the graphs, or, where there are none, of the last chunk */
    LfGraph *denoise, *clean;
} LfSessionGraphs;

/* Below 1, where no block would be left. */

struct LfSession {
    LfModel *model;
    LfChunkPool *pool; /* owns the backend */
    LfBackend *be;
    LfBackend
        *decoding; /* the decoder's: on a GPU one of its own, beside the next chunk; else `be` */
    LfGeometry geometry;
    int window, sink; /* latent frames; window 0: unbounded */
    int keep_frames;  /* past latent frames whose blocks stay candidates */
    gboolean uniform; /* no Chunk-Aware Growth */
    gboolean has_text, has_pixels;
    int query_block, key_block; /* tokens */
    gboolean one_map;           /* of all denoising steps of a chunk */

    LfStep steps[LF_MAX_STEPS];
    int n_steps;
    LfNoise noise_source; /* NULL: the generator */
    gpointer noise_data;
    float *host_noise; /* what noise_source writes; NULL as long as there is none */

    uint64_t seed;
    uint64_t index;    /* of the next chunk */
    uint64_t n_frames; /* pixel frames before it */
    uint64_t scene;    /* the first chunk that the cache knows of: the stream's, or that of a cut */
    uint64_t shown;    /* prompt_id of the chunk before */
    LfTransition transition; /* of the chunk at work */
    uint64_t encoded;        /* prompt_id of `text`; 0: it is of no use */
    int n_context;           /* rows of `context` */
    LfAttend attend;         /* of the chunk at work */

    LfArena state, scratch;
    LfArena own_decode_scratch; /* where `decoding` is a backend of its own */
    LfArena *decode_scratch;    /* that, or `scratch` */
    LfKvCache *cache;
    LfPast past;
    LfTensor x, velocity;  /* F32 [c, C, h, w] */
    LfTensor noise;        /* F32 [n_steps, c, C, h, w] */
    LfTensor clean;        /* x, for the decoder, while x is the next chunk's */
    LfTensor ids, context; /* I32 [text_len], activation [text_len, text_dim] */
    LfTextState text;      /* of the prompt that is shown */
    LfModulation modulations[LF_MAX_STEPS + 1]; /* of each step, and of the clean pass */
    LfDecoderState decoder;
    LfSessionGraphs graphs;
    LfEvent *events[LF_N_CHUNK_EVENTS];
    LfEvent *decoded; /* the last chunk, on `decoding` */

    int cancelled; /* atomic */
    GMutex lock;
    LfRequest request; /* guarded by lock */
    LfRequest now;     /* those of the chunk at work */
};

/* session_plan.c: the planned share of skipped key blocks of chunk `index` of a scene; how the
 * chunk that `cache` has begun attends at such a share. */
double lf_session_sparsity(const LfSession *session, const LfRequest *request, uint64_t index);
LfAttend lf_session_attend(const LfSession *session, const LfKvCache *cache, double sparsity);

/* Room in `arena` for what the steps of a chunk that attends so take from its first: LfAttend.map.
 * LF_NONE where every step selects for itself. */
LfTensor lf_session_map(const LfSession *session, LfArena *arena, const LfAttend *attend);

/* Makes the scratch large enough for the chunk that `cache` has begun, however it
 * attends. */
gboolean lf_session_reserve(LfSession *session, LfKvCache *cache, GError **error);

/* The same for making the past of chunk `index` anew, which `cache` has begun then. */
gboolean lf_session_reserve_recache(LfSession *session, LfKvCache *cache, uint64_t index,
                                    GError **error);

/* session_graph.c: the chunk's passes, called one by one or, where the last chunk's were the same,
 * recorded and replayed. False when cancelled. */
bool lf_session_denoise(LfSession *session);
bool lf_session_clean(LfSession *session);
void lf_session_forget_graphs(LfSession *session);

/* A cache without memory that has begun chunk `index`; NULL when there can be none. */
LfKvCache *lf_session_planned_cache(const LfSession *session, uint64_t index, GError **error);
LfKvCacheConfig lf_session_cache_config(const LfSession *session);

/* The encoder's rows of the text at hand; LF_NONE where there are none. */
LfTensor lf_session_context(const LfSession *session);

#endif
