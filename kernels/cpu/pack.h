/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How the CPU lays out the weights of convolutions; between linear.c, which makes all weights, and
 * conv.c, which reads these.
 */
#ifndef LF_KERNELS_CPU_PACK_H
#define LF_KERNELS_CPU_PACK_H

#include "cpu.h"

/* Bytes of a convolution's weights as this level reads them. */
size_t lf_cpu_conv_size(LfWeightKind kind, int64_t n_out, int64_t n_in, LfCpuLevel level);

/* src [out, in, 3, 3] into that order. Taps: 9, rows first, for LF_WEIGHT_CONV3X3; for
 * LF_WEIGHT_CONV_UP2 16, [row parity, column parity, row, column] of the four 2×2 convolutions that
 * make an upsampled 3×3 one. Plain C: [taps, in, out]. Others: for each filter (one, or one for
 * each parity) and group of output channels [rows, columns, in, channels], zeros beyond the last
 * one. */
void lf_cpu_pack_conv(float *dst, const float *src, LfWeightKind kind, int64_t n_out, int64_t n_in,
                      LfCpuLevel level);

#endif
