/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the operations on attention share.
 */
#ifndef LF_KERNELS_CPU_ATTEND_H
#define LF_KERNELS_CPU_ATTEND_H

#include "cpu.h"
#include "simd/simd.h"

/* Parts of one thread's scratch lie at multiples of this. */
static inline size_t lf_cpu_aligned(size_t size)
{
    return (size + 63) & ~(size_t) 63;
}

#endif
