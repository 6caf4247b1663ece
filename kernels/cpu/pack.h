/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How the CPU lays out the weights of convolutions; between linear.c, which makes all weights, and
 * conv.c, which reads these.
 */
#ifndef LF_KERNELS_CPU_PACK_H
#define LF_KERNELS_CPU_PACK_H

#include "cpu.h"

/* Whether a 3×3 convolution is read in its narrow order (see below). */
bool lf_cpu_conv_narrow(int64_t n_out, LfCpuIsa isa);

/* Bytes of a convolution's weights as this isa reads them. */
size_t lf_cpu_conv_size(LfWeightKind kind, int64_t n_out, int64_t n_in, LfCpuIsa isa);

/* src [out, in, 3, 3] into that order: one filter of 3×3 for LF_WEIGHT_CONV3X3; for
 * LF_WEIGHT_CONV_UP2 the four of 2×2, [row parity, column parity], that make an upsampled 3×3 one.
 * Plain C: [filters, rows, columns, in, out]. Others: [filters, groups of channels, rows, columns,
 * in, channels of the group], zeros beyond the last channel. Narrow, where few channels would leave
 * most lanes idle: a filter of one column with 3·out channels, [column of the 3×3 one, out]. */
void lf_cpu_pack_conv(float *dst, const float *src, LfWeightKind kind, int64_t n_out, int64_t n_in,
                      LfCpuIsa isa);

#endif
