/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The precision of the matrix products in a transformer's blocks.
 */
#ifndef LF_KERNELS_PRECISION_H
#define LF_KERNELS_PRECISION_H

typedef enum {
    LF_PRECISION_AUTO, /* FP32 on the CPU, BF16 on a GPU */
    LF_PRECISION_FP32,
    LF_PRECISION_BF16,
    LF_PRECISION_FP8 /* E4M3, scaled by output channel (weights) and token (activations) */
} LfPrecision;

#endif
