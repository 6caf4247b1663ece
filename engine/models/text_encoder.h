/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * umT5's encoder (docs/engine.md). It is weights only: the caller passes backend and scratch.
 *
 * A resident encoder has its weights on a backend. A streamed one leaves them in its file, from where
 * each layer goes to a device when its turn comes; its token embeddings are looked up on the CPU.
 * Thread-safety: immutable, but for the source of a streamed one, which has a lock.
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

/* As lf_text_encoder_new, without reading the weights of the layers; their names and shapes are
 * checked. The source outlives the encoder, and is the encoder's alone. */
LfTextEncoder *lf_text_encoder_new_streamed(const LfTextEncoderConfig *config,
                                            LfWeightSource *source, GError **error);
bool lf_text_encoder_is_streamed(const LfTextEncoder *encoder);
void lf_text_encoder_free(LfTextEncoder *encoder);
size_t lf_text_encoder_memory(const LfTextEncoder *encoder);

/* out [n, dim], an activation, = encoder(ids I32 [n]), n ≥ 1, without padding. An id outside of the
 * vocabulary is embedded as zeros. ids and out are backend memory. `cancelled`, or NULL, is read
 * before every layer; false when it was set, and out is then undefined. A planning arena and the
 * plan backend tell how much scratch a call needs; with these alone it may be called for a streamed
 * encoder, too. */
bool lf_text_encoder_forward(const LfTextEncoder *encoder, LfBackend *be, LfArena *scratch,
                             LfTensor out, LfTensor ids, const int *cancelled);

/* The same of a streamed encoder, with `n` ids on the host. The layers travel on `copier`, another
 * backend of the same device, or `be`. Allocates what lf_text_encoder_streamed_memory tells and frees
 * it again. False and an error, LF_ERROR_CANCELLED when *cancelled is set. */
bool lf_text_encoder_stream(const LfTextEncoder *encoder, LfBackend *be, LfBackend *copier,
                            LfArena *scratch, LfTensor out, const int32_t *ids,
                            const int *cancelled, GError **error);

/* Bytes of a device for two layers of any encoder of this configuration. */
size_t lf_text_encoder_streamed_memory(const LfTextEncoderConfig *config, LfType type);

/* The bucket of a key r tokens after the query (before it when r < 0). */
int lf_position_bucket(int r, int n_buckets, int max_distance);

#endif
