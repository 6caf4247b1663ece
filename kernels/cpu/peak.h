/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the machine could do at most, measured now: the yardstick of benchmarks.
 */
#ifndef LF_KERNELS_CPU_PEAK_H
#define LF_KERNELS_CPU_PEAK_H

/* FLOP/s of multiply-adds in registers, of `n_threads` threads together. Takes a tenth of a second
 * or so. */
double lf_cpu_peak_flops(int n_threads);

#endif
