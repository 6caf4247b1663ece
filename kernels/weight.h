/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The first member of every backend's weight. For backends and ops.c only.
 */
#ifndef LF_KERNELS_WEIGHT_H
#define LF_KERNELS_WEIGHT_H

#include "ops.h"

struct LfWeight {
    LfWeightKind kind;
    int64_t out, in; /* rows and columns; of a convolution, channels */
    size_t memory;   /* bytes that it has beside its source */
    bool placed;     /* they are an arena's, see LfBackend.place */
    LfType input;    /* of a linear weight: the type of its x */
    float norm;      /* of a linear weight in E4M3: see lf_weight_norm */
};

/* Whether the kind is one of the linear weights. */
static inline bool lf_weight_is_linear(LfWeightKind kind)
{
    return kind == LF_WEIGHT_LINEAR || kind == LF_WEIGHT_LINEAR_FP8;
}

#endif
