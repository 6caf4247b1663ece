/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the operations on attention share: a table entry for each level of the CPU.
 */
#ifndef LF_KERNELS_CPU_ATTEND_H
#define LF_KERNELS_CPU_ATTEND_H

#include "cpu.h"
#include "simd/simd.h"

/* entry = function_c, _avx2 or _avx512. Code between LF_ON_X86's parentheses is for x86 only. */
#if defined __x86_64__
#define LF_ON_X86(...) __VA_ARGS__
#define LF_SET_LEVELS(entry, function, level)                                                      \
    ((entry) = (level) >= LF_CPU_AVX512 ? function##_avx512                                        \
               : (level) >= LF_CPU_AVX2 ? function##_avx2                                          \
                                        : function##_c)
#else
#define LF_ON_X86(...)
#define LF_SET_LEVELS(entry, function, level) ((entry) = function##_c)
#endif

/* Parts of one thread's scratch lie at multiples of this. */
static inline size_t lf_cpu_aligned(size_t size)
{
    return (size + 63) & ~(size_t) 63;
}

#endif
