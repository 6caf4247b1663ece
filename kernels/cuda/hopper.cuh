/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hopper's own instructions: barriers in shared memory, the bulk copy engine, groups of wgmma.
 * Addresses of shared memory are 32-bit.
 */
#ifndef LF_KERNELS_CUDA_HOPPER_CUH
#define LF_KERNELS_CUDA_HOPPER_CUH

#include "device.cuh"

/* ---- barriers: a phase ends with its last arrival and its last byte -------------------------- */

static __device__ inline void barrier_init(uint32_t barrier, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals)
                 : "memory");
}

/* After the last barrier_init, before other threads or the copy engine see the barriers. */
static __device__ inline void barriers_ready()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ inline void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* Arrives, and makes the phase wait for so many bytes. */
static __device__ inline void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

/* Until the phase is over. */
static __device__ inline void barrier_wait(uint32_t barrier, uint32_t phase)
{
    asm volatile("{\n.reg .pred done;\n"
                 "again:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}" ::"r"(barrier),
                 "r"(phase)
                 : "memory");
}

/* ---- the copy engine: boxes of a tensor map, whose corner is given fastest dimension first ---- */

static __device__ inline void prefetch_map(const CUtensorMap *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* To shared memory; outside the tensor there are zeros. */
static __device__ inline void copy_box(uint32_t to, const CUtensorMap *map, uint32_t barrier, int a,
                                       int b)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(a), "r"(b)
                 : "memory");
}

static __device__ inline void copy_box(uint32_t to, const CUtensorMap *map, uint32_t barrier, int a,
                                       int b, int c)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(a), "r"(b), "r"(c)
                 : "memory");
}

static __device__ inline void copy_box(uint32_t to, const CUtensorMap *map, uint32_t barrier, int a,
                                       int b, int c, int d)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(a), "r"(b), "r"(c), "r"(d)
                 : "memory");
}

static __device__ inline void copy_bytes(uint32_t to, const void *from, uint32_t bytes,
                                         uint32_t barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}

/* From shared memory, clipped at the tensor's edges. */
static __device__ inline void write_box(const CUtensorMap *map, uint32_t from, int a, int b)
{
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group"
                 " [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(from), "r"(a), "r"(b)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

static __device__ inline void write_box(const CUtensorMap *map, uint32_t from, int a, int b, int c,
                                        int d)
{
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group"
                 " [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
                 "r"(from), "r"(a), "r"(b), "r"(c), "r"(d)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Until all but the last `PENDING` boxes of this thread have been read from shared memory; until
 * all are where they belong. */
template <int PENDING> static __device__ inline void await_reads()
{
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(PENDING) : "memory");
}

static __device__ inline void await_writes()
{
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/* ---- wgmma: products in groups, of which each ends as a whole -------------------------------- */

static __device__ inline void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ inline void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until all but the last `PENDING` groups have ended. */
template <int PENDING> static __device__ inline void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/* ---- rings ----------------------------------------------------------------------------------- */

/* The next slot of a ring, and which time around it is. */
template <int SLOTS> struct Ring {
    int slot = 0;
    uint32_t phase = 0;

    __device__ void advance()
    {
        if (++slot == SLOTS) {
            slot = 0;
            phase ^= 1;
        }
    }
};

#endif
