/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Shared by the operations on attention.
 */
#ifndef LF_KERNELS_CPU_ATTEND_H
#define LF_KERNELS_CPU_ATTEND_H

#include "cpu.h"
#include "simd/simd.h"

/* Rounds up to a multiple of 64: the alignment of arrays in a thread's scratch. */
static inline size_t lf_cpu_aligned(size_t size)
{
    return (size + 63) & ~(size_t) 63;
}

#endif
