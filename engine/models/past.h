/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The clean latents of the current chunk and of the chunks that the window reaches back to. A
 * recache computes keys and values from them, and the decoder reads them.
 *
 * Thread-safety: one session's.
 */
#ifndef LF_MODELS_PAST_H
#define LF_MODELS_PAST_H

#include "engine/geometry.h"
#include "kernels/arena.h"

typedef struct {
    LfBackend *be;
    LfArena memory;
    LfTensor latents; /* F32 [chunks, c, C, h, w]: a ring */
} LfPast;

/* Allocates memory for the chunks that a window of latent frames can reach into, and for one more:
 * a chunk that is kept and then cancelled must not overwrite what its next attempt needs. Window 0:
 * unbounded, see lf_past_reserve. LF_ERROR_MEMORY names the bytes. The backend outlives it. */
bool lf_past_init(LfPast *past, LfBackend *be, const LfGeometry *geometry, int channels, int window,
                  GError **error);
void lf_past_clear(LfPast *past); /* all-zero is fine */

/* Grows to `chunks`, by doubling, for an unbounded window. On LF_ERROR_MEMORY nothing changes. */
bool lf_past_reserve(LfPast *past, uint64_t chunks, GError **error);

/* Keeps x F32 [c, C, h, w] as chunk `index`, in place of the oldest. */
void lf_past_keep(LfPast *past, uint64_t index, LfTensor x);
/* [c, C, h, w], as kept. */
LfTensor lf_past_chunk(const LfPast *past, uint64_t index);

#endif
