/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The causal Wan 2.1 transformer (docs/engine.md), any size. Weights only: states belong to
 * sessions. Thread-safety: immutable.
 */
#ifndef LF_MODELS_TRANSFORMER_H
#define LF_MODELS_TRANSFORMER_H

#include "engine/files/model_config.h"
#include "engine/files/weights.h"
#include "engine/share.h"
#include "past.h"
#include "scheme.h"

typedef struct LfTransformer LfTransformer;

/* The backend and the source outlive the transformer: weights may be used where they lie. */
LfTransformer *lf_transformer_new(LfBackend *be, const LfTransformerConfig *config,
                                  LfWeightSource *source, GError **error);
void lf_transformer_free(LfTransformer *transformer); /* NULL is fine */
size_t lf_transformer_memory(const LfTransformer *transformer);
const LfTransformerConfig *lf_transformer_config(const LfTransformer *transformer);

/* A prompt, as every layer's cross attention reads it: computed once a prompt. Rows that are
 * padding are all equal, so one stands for them all, with a logit of ln(their number). */
typedef struct {
    LfTensor k, v;    /* [layers, text_len, D], activations; `rows` of them are valid */
    LfTensor v_amax;  /* F32 [layers]: the largest |v|; LF_NONE unless outputs are in FP8 */
    int rows;         /* real rows, and one for the padding unless there is none */
    float last_logit; /* ln(padding rows), 0 when there is none */
} LfTextState;

LfTextState lf_text_state(const LfTransformer *transformer, LfArena *arena);
/* `context` [rows ≤ text_len, text_dim], an activation: the encoder's output without padding. */
void lf_transformer_text(const LfTransformer *transformer, LfBackend *be, LfArena *scratch,
                         LfTextState *state, LfTensor context);

/* The modulation of every layer at one timestep: computed once a session. */
typedef struct {
    LfTensor blocks; /* F32 [layers, 6, D]: shift, scale, gate of the attention, then of the FFN */
    LfTensor head;   /* F32 [2, D]: shift, scale */
    LfTensor v_amax; /* F32 [layers]: no |v| in the window is larger; LF_NONE unless outputs of
                         attention are in FP8 */
} LfModulation;

LfModulation lf_modulation(const LfTransformer *transformer, LfArena *arena);
void lf_transformer_modulate(const LfTransformer *transformer, LfBackend *be, LfArena *scratch,
                             LfModulation *modulation, float timestep);
/* Fills the v_amax of all n modulations, under which the window's values are made, with what none
 * of these can exceed. Waits for the backend, once a session. */
void lf_transformer_bound_values(const LfTransformer *transformer, LfBackend *be,
                                 LfModulation *modulations, int n);

/* What the passes of one stream read and write. */
typedef struct {
    LfBackend *be;
    LfArena *scratch;
    const LfModulation *modulation; /* of the pass's timestep */
    const LfTextState *text;
    LfKvCache *cache;
    LfScheme *scheme;     /* planned for the chunk at hand */
    int rank, n_ranks;    /* this pass's share of rows and heads (engine/share.h); 0 of 0: all */
    const int *cancelled; /* read before every layer; NULL: never set */
} LfPass;

/* velocity [c, C, h, w] = transformer(x [c, C, h, w]) on the chunk that the cache has begun; writes
 * the keys and values of that chunk. velocity may be LF_NONE: then only the cache is wanted, and
 * what serves the output alone is not computed. False when the pass was cancelled; the outputs are
 * then undefined. */
bool lf_transformer_forward(const LfTransformer *transformer, const LfPass *pass, LfTensor velocity,
                            LfTensor x);

/* Recomputes the keys and values of past frames (LongLive's recache), between
 * lf_kv_cache_begin_past and lf_kv_cache_commit_past: one clean pass under the pass's text over the
 * frames that the cache has begun again, whose latents are in `past`. Every frame attends to the
 * whole window, densely, so nothing of the old keys remains but the sink's. Each layer runs chunk
 * by chunk: scratch holds only two rows of D for each token of all frames. False when it was
 * cancelled: the keys are then of no use until this has run to its end. */
bool lf_transformer_recache(const LfTransformer *transformer, const LfPass *pass,
                            const LfPast *past);

#endif
