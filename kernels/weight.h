/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What every backend's weight begins with. For backends and ops.c only.
 */
#ifndef LF_KERNELS_WEIGHT_H
#define LF_KERNELS_WEIGHT_H

#include "ops.h"

struct LfWeight {
    LfWeightKind kind;
    int64_t out, in; /* rows and columns; of a convolution, channels */
    size_t memory;   /* bytes that it owns */
    LfType input;    /* of a linear: what x has to be */
    float norm;      /* of an E4M3 linear: no row's Euclidean norm, factor included, is larger */
};

/* Both kinds of linear. */
static inline bool lf_weight_is_linear(LfWeightKind kind)
{
    return kind == LF_WEIGHT_LINEAR || kind == LF_WEIGHT_LINEAR_FP8;
}

#endif
