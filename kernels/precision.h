/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the products of a transformer's blocks are computed in.
 */
#ifndef LF_KERNELS_PRECISION_H
#define LF_KERNELS_PRECISION_H

typedef enum {
    LF_PRECISION_AUTO, /* FP32 on the CPU, BF16 on a GPU */
    LF_PRECISION_FP32,
    LF_PRECISION_BF16,
    LF_PRECISION_FP8 /* e4m3; weights by output channel, activations by token */
} LfPrecision;

#endif
