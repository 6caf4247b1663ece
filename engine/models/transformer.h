/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The causal Wan 2.1 transformer (docs/engine.md), of any size. It is weights only: sessions have
 * the state. Thread-safety: immutable.
 */
#ifndef LF_MODELS_TRANSFORMER_H
#define LF_MODELS_TRANSFORMER_H

#include "engine/files/model_config.h"
#include "engine/files/weights.h"
#include "engine/share.h"
#include "past.h"
#include "scheme.h"

typedef struct LfTransformer LfTransformer;

/* The backend and the source outlive the transformer: weights may be used in place. */
LfTransformer *lf_transformer_new(LfBackend *be, const LfTransformerConfig *config,
                                  LfWeightSource *source, GError **error);
void lf_transformer_free(LfTransformer *transformer); /* NULL is fine */
size_t lf_transformer_memory(const LfTransformer *transformer);
const LfTransformerConfig *lf_transformer_config(const LfTransformer *transformer);

/* The cross-attention keys and values of every layer, computed once per prompt. All padding rows
 * are equal, so one stands for all, with ln(their number) added to its logit. */
typedef struct {
    LfTensor k, v;    /* [layers, text_len, D], activations; `rows` of them are valid */
    LfTensor v_amax;  /* F32 [layers]: the largest |v|; LF_NONE unless outputs are in FP8 */
    int rows;         /* tokens, and one row for the padding if there is any */
    float last_logit; /* ln(padding rows), 0 when there is none */
} LfTextState;

LfTextState lf_text_state(const LfTransformer *transformer, LfArena *arena);
/* `context` [rows ≤ text_len, text_dim], an activation: the encoder's output without padding. */
void lf_transformer_text(const LfTransformer *transformer, LfBackend *be, LfArena *scratch,
                         LfTextState *state, LfTensor context);

/* The modulation of every layer at one timestep, computed once per session. */
typedef struct {
    LfTensor blocks; /* F32 [layers, 6, D]: shift, scale, gate of the attention, then of the FFN */
    LfTensor head;   /* F32 [2, D]: shift, scale */
    LfTensor v_amax; /* F32 [layers]: no |v| in the window is larger; LF_NONE unless outputs of
                         attention are in FP8 */
} LfModulation;

LfModulation lf_modulation(const LfTransformer *transformer, LfArena *arena);
void lf_transformer_modulate(const LfTransformer *transformer, LfBackend *be, LfArena *scratch,
                             LfModulation *modulation, double timestep);
/* Fills the v_amax of all n modulations with an upper bound of |v| under any of them. Waits for the
 * backend, once per session. */
void lf_transformer_bound_values(const LfTransformer *transformer, LfBackend *be,
                                 LfModulation *modulations, int n);

/* What the passes of one stream read and write. */
typedef struct {
    LfBackend *be;
    LfArena *scratch;
    const LfModulation *modulation; /* of the pass's timestep */
    const LfTextState *text;
    LfKvCache *cache;
    LfScheme *scheme;     /* planned for the chunk */
    int rank, n_ranks;    /* this pass's share of rows and heads (engine/share.h); 0 of 0: all */
    const int *cancelled; /* read before every layer; NULL: never set */
} LfPass;

/* velocity [c, C, h, w] = transformer(x [c, C, h, w]) on the chunk that the cache has begun. Writes
 * the keys and values of that chunk. With LF_NONE for velocity the pass ends at the last layer's
 * keys and values. False when the pass was cancelled; the outputs are then undefined. */
bool lf_transformer_forward(const LfTransformer *transformer, const LfPass *pass, LfTensor velocity,
                            LfTensor x);

/* Recomputes the keys and values of past frames (LongLive's recache), between
 * lf_kv_cache_begin_past and lf_kv_cache_commit_past: one clean pass under the pass's text over the
 * frames that the cache has begun again. Their latents are in `past`. Every frame attends densely
 * to the whole window. Of the old keys and values only a sink that cannot be recomputed remains.
 * Each layer runs chunk by chunk, so that scratch holds only two rows of D for each token of all
 * frames. False when the pass was cancelled: the keys are invalid until it has run to its end. */
bool lf_transformer_recache(const LfTransformer *transformer, const LfPass *pass,
                            const LfPast *past);

#endif
