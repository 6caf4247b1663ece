/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The peak of the machine, which benchmarks compare with. It is measured at the call.
 */
#ifndef LF_KERNELS_CPU_PEAK_H
#define LF_KERNELS_CPU_PEAK_H

/* FLOP/s of multiply-adds in registers, of `n_threads` threads together. Takes about 0.1 s. */
double lf_cpu_peak_flops(int n_threads);

#endif
