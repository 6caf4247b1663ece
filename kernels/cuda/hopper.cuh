/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hopper's bulk copy engine and its barriers in shared memory, for the convolutions. Addresses of
 * shared memory are 32-bit.
 */
#ifndef LF_KERNELS_CUDA_HOPPER_CUH
#define LF_KERNELS_CUDA_HOPPER_CUH

#include "device.cuh"

static __device__ inline uint32_t shared_address(const void *p)
{
    return (uint32_t) __cvta_generic_to_shared(p);
}

static __device__ inline void barrier_init(uint32_t barrier, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

static __device__ inline void expect_bytes(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

static __device__ inline void arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

static __device__ inline void await(uint32_t barrier, uint32_t phase)
{
    asm volatile("{\n.reg .pred done;\n"
                 "again:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}" ::"r"(barrier),
                 "r"(phase)
                 : "memory");
}

/* A box of pixels with margins: 64 channels from `channel`, its corner at (y, x). */
static __device__ inline void copy_box(uint32_t to, const CUtensorMap *map, uint32_t barrier,
                                       int channel, int x, int y, int frame)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(channel), "r"(x), "r"(y), "r"(frame)
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

static __device__ inline void write_box(const CUtensorMap *map, uint32_t from, int channel, int x,
                                        int y, int frame)
{
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group"
                 " [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
                 "r"(from), "r"(channel), "r"(x), "r"(y), "r"(frame)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Until all but the last `PENDING` boxes of this thread have been read from shared memory. */
template <int PENDING> static __device__ inline void await_writes()
{
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(PENDING) : "memory");
}

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

/* A map of [f, h, w, n] in F16 for boxes of 64 channels. `step` 2: of every second pixel of every
 * second line of a picture twice as large. */
static inline bool lf_conv_map(LfCuda *cuda, CUtensorMap *map, const void *data, int n, int frames,
                               int h, int w, int step, int box_columns, int box_rows)
{
    uint64_t pixel = (uint64_t) n * sizeof(__half), line = pixel * w * step;
    const uint64_t shape[] = {(uint64_t) n, (uint64_t) w, (uint64_t) h, (uint64_t) frames};
    const uint64_t strides[] = {pixel * step, line * step, line * step * h};
    const uint32_t box[] = {64, (uint32_t) box_columns, (uint32_t) box_rows, 1};
    return lf_cuda_tensor_map(cuda, map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, (void *) data, 4, shape,
                              strides, box);
}

#endif
