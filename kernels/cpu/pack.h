/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How the CPU lays out the weights of convolutions; between linear.c, which makes all weights, and
 * conv.c, which reads these.
 */
#ifndef LF_KERNELS_CPU_PACK_H
#define LF_KERNELS_CPU_PACK_H

#include "kernels/ops.h"

/* dst [taps, in, out] from src [out, in, 3, 3]. LF_WEIGHT_CONV3X3: 9 taps, rows first.
 * LF_WEIGHT_CONV_UP2: 16 taps, [row parity, column parity, row, column] of the four 2×2
 * convolutions that make an upsampled 3×3 one. */
void lf_cpu_pack_conv(float *dst, const float *src, int64_t n_out, int64_t n_in, LfWeightKind kind);

#endif
