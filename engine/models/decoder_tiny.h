/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * TAEHV's decoder (engine specification, section 8), any widths: latents to pixels, streaming.
 * Frame-by-frame state is one input frame of each memory block, at that block's own rate.
 */
#ifndef LF_MODELS_DECODER_TINY_H
#define LF_MODELS_DECODER_TINY_H

#include "engine/files/model_config.h"
#include "engine/files/weights.h"
#include "engine/geometry.h"

typedef struct LfDecoderTiny LfDecoderTiny; /* weights; immutable, any thread */

LfDecoderTiny *lf_decoder_tiny_new(LfBackend *be, const LfDecoderConfig *config,
                                   LfWeightSource *source, GError **error);
void lf_decoder_tiny_free(LfDecoderTiny *decoder);
size_t lf_decoder_tiny_memory(const LfDecoderTiny *decoder);

/* A stream's memory: the nine blocks' last input frames. */
typedef struct {
    LfTensor past[9]; /* P [h, w, C] at the block's resolution */
} LfDecoderState;

LfDecoderState lf_decoder_state(const LfDecoderTiny *decoder, const LfGeometry *geometry,
                                LfArena *arena);
void lf_decoder_state_reset(LfBackend *be, LfDecoderState *state);

/* rgb U8 [4·n, H, W, 3] = decoder(latents F32 [n, C, h, w]); an F32 rgb gets the colours as they
 * are before they are limited to 0…1 and made bytes. All 4·n frames are written; dropping the first
 * three of a stream is the caller's. Advances the state, at the very end: when `cancelled` (or
 * NULL; read before every layer) was set, it returns false and the state is as before. */
bool lf_decoder_tiny_forward(const LfDecoderTiny *decoder, LfBackend *be, LfArena *scratch,
                             LfTensor rgb, LfTensor latents, LfDecoderState *state,
                             const int *cancelled);

#endif
