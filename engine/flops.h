/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backend that computes nothing and counts what it would have: 1 multiply-add = 2. Products,
 * attention, selection and convolutions count as they are computed here (a doubling convolution
 * as four of 2×2); norms and pointwise work do not.
 */
#ifndef LF_ENGINE_FLOPS_H
#define LF_ENGINE_FLOPS_H

#include "kernels/ops.h"

typedef struct {
    LfBackend base;
    LfOps ops;
    double flops;
} LfFlopCounter;

/* From 0, with the types of `like`. The backend is `counter` itself: nothing to close. */
LfBackend *lf_flop_counter_init(LfFlopCounter *counter, const LfBackend *like);

#endif
