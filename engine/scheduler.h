/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Flow matching: at flow time σ a latent is x = (1 − σ)·x0 + σ·ε, and the transformer's input is the
 * timestep t = 1000·σ. Published lists of steps come in two kinds. A warped list (Self-Forcing)
 * stands on a grid of 1000 steps, s_i = 1 − i/1000, σ_i = shift·s_i / (1 + (shift − 1)·s_i), where
 * step d is at i = 1000 − d. Another list (CausVid, rCM) holds the timesteps themselves.
 */
#ifndef LF_ENGINE_SCHEDULER_H
#define LF_ENGINE_SCHEDULER_H

#include "lightforcing.h"

#include <stdbool.h>

typedef struct {
    float sigma;     /* x_t = (1 − σ)·x0 + σ·ε */
    double timestep; /* the transformer's input, 1000·σ */
} LfStep;

/* Step d of a warped list, 0 < d ≤ 1000; computed in float, like the published tables. */
LfStep lf_warped_step(double d, double shift);

/* The steps of a chunk. */
typedef struct {
    LfStep steps[LF_MAX_STEPS];
    int n;
    /* What the first step gets is this times noise. A warped list begins with plain noise, whatever
     * its first σ is; another list with σ·ε, that is x_t with nothing known of x0, as rCM does. */
    float start;
} LfSchedule;

/* Of a valid list; warped, or as it is. */
LfSchedule lf_schedule(const LfSteps *steps, bool warp, double shift);

#endif
