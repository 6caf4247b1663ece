/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A weight on a CUDA device. linear.cu creates, converts and frees weights; conv.cu packs those of
 * convolutions.
 */
#ifndef LF_KERNELS_CUDA_WEIGHTS_H
#define LF_KERNELS_CUDA_WEIGHTS_H

#include "machine.h"
extern "C" {
#include "kernels/arena.h"
}

typedef struct {
    LfWeight base;
    LfType type;   /* of data */
    void *data;    /* device memory (lf_cuda_alloc), given back by weight_free unless `placed` */
    float *scales; /* the same, F32 [out]: the factors of an E4M3 linear's rows; else NULL */
} LfCudaWeight;

/* conv.cu: LF_WEIGHT_CONV3X3 and LF_WEIGHT_CONV_UP2, allocated with g_new0; `data` alone is
 * owned. */
LfWeight *lf_cuda_conv_weight_new(LfCuda *cuda, LfWeightKind kind, LfTensor source, GError **error);

#endif
