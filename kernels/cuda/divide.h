/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Division by a number that a kernel is launched with: one multiplication and one correction, exact
 * for every 32-bit number. Compiles on the host, for its test.
 */
#ifndef LF_KERNELS_CUDA_DIVIDE_H
#define LF_KERNELS_CUDA_DIVIDE_H

#include <stdint.h>

#ifdef __CUDACC__
#define LF_HOST_AND_DEVICE __host__ __device__
#else
#define LF_HOST_AND_DEVICE
#endif

typedef struct {
    uint32_t divisor, reciprocal; /* reciprocal: (2³² − 1) / divisor, rounded down */
} LfDivisor;

static inline LfDivisor lf_divisor(uint32_t divisor)
{
    LfDivisor d = {divisor, UINT32_MAX / divisor};
    return d;
}

/* n / divisor. The reciprocal is at most one less than 2³² / divisor, and n is less than 2³²: so
 * the quotient is at most one too small, which the remainder shows. */
static inline LF_HOST_AND_DEVICE uint32_t lf_divide(uint32_t n, LfDivisor d)
{
    uint32_t quotient = (uint32_t) ((uint64_t) n * d.reciprocal >> 32);
    return quotient + (n - quotient * d.divisor >= d.divisor);
}

#endif
