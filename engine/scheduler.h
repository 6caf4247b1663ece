/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Flow matching on a grid of 1000 steps: s_i = 1 − i/1000, σ_i = shift·s_i / (1 + (shift − 1)·s_i),
 * t = 1000·σ; a listed step d stands at i = 1000 − d (the warped list of Self-Forcing).
 */
#ifndef LF_ENGINE_SCHEDULER_H
#define LF_ENGINE_SCHEDULER_H

typedef struct {
    float sigma;    /* x_t = (1 − σ)·x0 + σ·ε */
    float timestep; /* the transformer's input, 1000·σ */
} LfStep;

/* Step d of the list, 1 … 1000; computed in float, like the published tables. */
LfStep lf_step(int d, double shift);

#endif
