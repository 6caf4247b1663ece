/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The layout of the CPU's convolution weights. linear.c, which creates all weights, writes it;
 * conv.c reads it.
 */
#ifndef LF_KERNELS_CPU_PACK_H
#define LF_KERNELS_CPU_PACK_H

#include "cpu.h"

/* Whether a 3×3 convolution has the narrow layout (see below). */
bool lf_cpu_conv_narrow(int64_t n_out, LfCpuIsa isa);

/* Bytes of a convolution's weight in the layout for `isa`. */
size_t lf_cpu_conv_size(const LfWeight *weight, LfCpuIsa isa);

/* Writes src [out, in, 3, 3] in that layout. LF_WEIGHT_CONV3X3 is one filter of 3×3;
 * LF_WEIGHT_CONV_UP2 is four filters of 2×2, [row parity, column parity], see conv_up2.h.
 * LF_WEIGHT_CONV3D, src [out, in, t, k, k], is one filter of t·k rows and k columns.
 * Plain C: [filters, rows, columns, in, out]. AVX2 and AVX-512: [filters, groups of channels, rows,
 * columns, in, channels of the group], zeros beyond the last channel. Narrow, where few channels
 * would leave most lanes idle: a filter of one column with 3·out channels, [column of the 3×3
 * filter, out]. */
void lf_cpu_pack_conv(float *dst, const float *src, const LfWeight *weight, LfCpuIsa isa);

#endif
