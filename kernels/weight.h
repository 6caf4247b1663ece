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
    int times, side; /* of LF_WEIGHT_CONV3D: taps in time; in height and in width */
    size_t memory;   /* bytes that it has beside its source */
    bool placed;     /* they are an arena's, see LfBackend.place */
    LfType input;    /* of a linear weight: the type of its x */
    float norm;      /* of a linear weight in E4M3: see lf_weight_norm */
};

/* Sets what a weight of this source is, whatever its backend. */
static inline void lf_weight_describe(LfWeight *weight, LfWeightKind kind, LfTensor source)
{
    weight->kind = kind;
    weight->out = source.shape[0];
    weight->in = source.shape[1];
    weight->times = kind == LF_WEIGHT_CONV3D ? (int) source.shape[2] : 0;
    weight->side = kind == LF_WEIGHT_CONV3D ? (int) source.shape[3] : 0;
}

/* Whether the kind is one of the linear weights. */
static inline bool lf_weight_is_linear(LfWeightKind kind)
{
    return kind == LF_WEIGHT_LINEAR || kind == LF_WEIGHT_LINEAR_FP8;
}

#endif
