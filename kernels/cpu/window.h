/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Addresses in a window. For the operations on self attention only.
 */
#ifndef LF_KERNELS_CPU_WINDOW_H
#define LF_KERNELS_CPU_WINDOW_H

#include "kernels/ops.h"

static inline int lf_window_frames(const LfWindow *window)
{
    return (int) window->slots.shape[0];
}

static inline int lf_window_past(const LfWindow *window)
{
    return lf_window_frames(window) - window->chunk;
}

/* Tokens of a frame. */
static inline int lf_window_tokens(const LfWindow *window)
{
    return (int) window->k.shape[2];
}

/* Key blocks of a frame. */
static inline int lf_window_blocks(const LfWindow *window)
{
    return (int) window->k_pool.shape[2];
}

/* The rows of one frame of the window and one head in `cache` [S, H, rows, d]: [rows, d]. */
static inline float *lf_window_rows(const LfWindow *window, LfTensor cache, int frame, int head)
{
    int64_t slot = lf_i32(window->slots)[frame];
    return lf_f32(cache) + (slot * cache.shape[1] + head) * cache.shape[2] * cache.shape[3];
}

/* Blocks of `block` tokens in a frame; the last may be partial. */
static inline int lf_blocks(int tokens, int block)
{
    return (tokens + block - 1) / block;
}

/* Tokens of block number `index`. */
static inline int lf_block_tokens(int tokens, int block, int index)
{
    int left = tokens - index * block;
    return left < block ? left : block;
}

#endif
