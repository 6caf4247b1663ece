/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * umT5's encoder (docs/engine.md). It is weights only: the caller passes backend and scratch.
 * Thread-safety: immutable.
 */
#ifndef LF_MODELS_TEXT_ENCODER_H
#define LF_MODELS_TEXT_ENCODER_H

#include "engine/files/model_config.h"
#include "engine/files/weights.h"

typedef struct LfTextEncoder LfTextEncoder;

/* With 0 layers the output is the normed embedding. bf16 matrices are used in place, so the source
 * has to outlive the encoder. */
LfTextEncoder *lf_text_encoder_new(LfBackend *be, const LfTextEncoderConfig *config,
                                   LfWeightSource *source, GError **error);
void lf_text_encoder_free(LfTextEncoder *encoder);
size_t lf_text_encoder_memory(const LfTextEncoder *encoder);

/* out [n, dim], an activation, = encoder(ids I32 [n]), n ≥ 1, without padding. An id outside of the
 * vocabulary is embedded as zeros. ids and out are backend memory. `cancelled`, or NULL, is read
 * before every layer; false when it was set, and out is then undefined. A planning arena and the
 * plan backend tell how much scratch a call needs. */
bool lf_text_encoder_forward(const LfTextEncoder *encoder, LfBackend *be, LfArena *scratch,
                             LfTensor out, LfTensor ids, const int *cancelled);

/* The bucket of a key r tokens after the query (before it when r < 0). */
int lf_position_bucket(int r, int n_buckets, int max_distance);

#endif
