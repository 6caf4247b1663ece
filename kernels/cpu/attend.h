/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the operations on attention share.
 */
#ifndef LF_KERNELS_CPU_ATTEND_H
#define LF_KERNELS_CPU_ATTEND_H

#include "cpu.h"
#include "simd/simd.h"

/* The kernels of the levels above plain C; a machine without them never reaches those levels. */
#if defined __x86_64__
#define LF_SIMD_KERNELS(name)   &name##_avx2, &name##_avx512
#define LF_SIMD_FUNCTIONS(name) name##_avx2, name##_avx512
#else
#define LF_SIMD_KERNELS(name)   NULL, NULL
#define LF_SIMD_FUNCTIONS(name) NULL, NULL
#endif

/* The attention kernel of this backend's level. */
const LfAttendKernel *lf_attend_kernel(const LfBackend *be);

/* Parts of one thread's scratch lie at multiples of this. */
static inline size_t lf_cpu_aligned(size_t size)
{
    return (size + 63) & ~(size_t) 63;
}

#endif
