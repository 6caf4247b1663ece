/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Chunk-Aware Growth: how sparse each chunk may be (Light Forcing, arXiv 2602.04789).
 *
 *     s_1 = 0;  s_i = s_base − α_i·β,  α_i = 1/√f_i,  f_i = i·c,  L_i = min(f_i, w)
 *     β = (Σ(1 − s_target)·L_i − Σ(1 − s_base)·L_i) / Σ α_i·L_i,   i = 2 … N/c
 *
 * β is chosen so that the N frames together cost what a uniform s_target would.
 */
#ifndef LF_ENGINE_GROWTH_H
#define LF_ENGINE_GROWTH_H

#include <stdint.h>

typedef struct {
    double target, base; /* shares of skipped key blocks, 0 ≤ target, base < 1 */
    int chunk;           /* c, latent frames */
    int window;          /* w, latent frames; 0: unbounded */
    int horizon;         /* N, latent frames planned for; beyond it the last value holds */
} LfGrowth;

double lf_growth_beta(const LfGrowth *growth); /* 0 when only one chunk is planned */

/* Sparsity of chunk `index`, from 0; in [0, 1). */
double lf_growth_sparsity(const LfGrowth *growth, uint64_t index);

/* Key blocks that each query block keeps: clamp(int((1 − s)·window_blocks), 1, candidates). */
int lf_block_budget(double sparsity, int window_blocks, int candidates);

#endif
