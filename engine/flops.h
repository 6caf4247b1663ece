/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backend that computes nothing and counts the FLOPs of its operations, two for a multiply-add.
 * Matrix products, attention, block selection and convolutions count as the kernels compute them
 * (an upsampling convolution as four of 2×2). Norms and pointwise operations do not count.
 */
#ifndef LF_ENGINE_FLOPS_H
#define LF_ENGINE_FLOPS_H

#include "kernels/ops.h"

typedef struct {
    LfBackend base;
    LfOps ops;
    double flops;
} LfFlopCounter;

/* Starts at 0, with the types of `like`. Returns the backend, which is part of `counter`: it need
 * not be closed. */
LfBackend *lf_flop_counter_init(LfFlopCounter *counter, const LfBackend *like);

#endif
