/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Instructions of sm_80 and later: asynchronous copies to shared memory (cp.async), ldmatrix, and
 * mma.sync. Addresses of shared memory are 32-bit.
 */
#ifndef LF_KERNELS_CUDA_MMA_CUH
#define LF_KERNELS_CUDA_MMA_CUH

#include "device.cuh"

/* ---- copies, in groups that end in their order ----------------------------------------------- */

static __device__ inline void copies_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until all but the last `PENDING` groups of this thread's copies have arrived. */
template <int PENDING> static __device__ inline void copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* ---- four 8×8 matrices of 16 bits, whose rows are at the addresses that lanes 8i … 8i + 7 give.
 * In each, lane 4r + c gets numbers 2c and 2c + 1 of row r. ---- */

static __device__ inline void load_matrices(uint32_t (&m)[4], uint32_t from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(from)
                 : "memory");
}

static __device__ inline void load_transposed(uint32_t (&m)[4], uint32_t from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(from)
                 : "memory");
}

/* ---- products: sums [16, 8] += a [16, 16] · b [16, 8] ---------------------------------------- */

/* The first of a sum overwrites. */
static __device__ inline void multiply_bf16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                            uint32_t b1, bool first = false)
{
    if (first) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
            "{%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
            : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
        return;
    }
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ inline void multiply_f16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                           uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
