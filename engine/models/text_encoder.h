/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * umT5's encoder (engine specification, section 2.3). Weights only; every call brings its own
 * backend and scratch. Thread-safety: immutable.
 */
#ifndef LF_MODELS_TEXT_ENCODER_H
#define LF_MODELS_TEXT_ENCODER_H

#include "engine/files/model_config.h"
#include "engine/files/weights.h"

typedef struct LfTextEncoder LfTextEncoder;

/* 0 layers are the embedding alone, normed. bf16 matrices are used where the source has them, so it
 * has to outlive the encoder. */
LfTextEncoder *lf_text_encoder_new(LfBackend *be, const LfTextEncoderConfig *config,
                                   LfWeightSource *source, GError **error);
void lf_text_encoder_free(LfTextEncoder *encoder);
size_t lf_text_encoder_memory(const LfTextEncoder *encoder);

/* out [n, dim], an activation, = encoder(ids I32 [n]), no padding among them, n ≥ 1; an id outside
 * of the vocabulary is a row of zeros. `scratch` gives the activations; a planning arena and the
 * plan backend tell how much. ids and out are backend memory. `cancelled`, or NULL, is read before
 * every layer; false when it was set, out is then undefined. */
bool lf_text_encoder_forward(const LfTextEncoder *encoder, LfBackend *be, LfArena *scratch,
                             LfTensor out, LfTensor ids, const int *cancelled);

/* The bucket of a key r tokens after the query (before it when r < 0). */
int lf_position_bucket(int r, int n_buckets, int max_distance);

#endif
