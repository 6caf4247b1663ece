/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hopper's own instructions: barriers in shared memory, the bulk copy engine, groups of wgmma.
 * Addresses of shared memory are 32-bit.
 */
#ifndef LF_KERNELS_CUDA_HOPPER_CUH
#define LF_KERNELS_CUDA_HOPPER_CUH

#include "device.cuh"

#include <type_traits>

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

/* Waits until the phase is over. */
static __device__ inline void barrier_wait(uint32_t barrier, uint32_t phase)
{
    asm volatile("{\n.reg .pred done;\n"
                 "again:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}" ::"r"(barrier),
                 "r"(phase)
                 : "memory");
}

/* ---- bulk copies: boxes of a tensor map; coordinates of the corner, fastest dimension first -- */

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

/* Waits until all but the last `PENDING` boxes of this thread have been read from shared memory.
 * The second function waits until all boxes are written to global memory. */
template <int PENDING> static __device__ inline void await_reads()
{
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(PENDING) : "memory");
}

static __device__ inline void await_writes()
{
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/* ---- wgmma: products are issued and waited for in groups ------------------------------------- */

static __device__ inline void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ inline void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Waits until all but the last `PENDING` groups have ended. */
template <int PENDING> static __device__ inline void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/* ---- wgmma: d [64, N] (+)= a·bᵀ over 32 bytes of each row (16 or 32 numbers) -----------------
 *
 * Descriptors address the matrices in shared memory. Their rows are 128 swizzled bytes; eight rows
 * are a group. A thread has N/2 numbers of d. */

/* `apart`: bytes from one group of rows to the next. */
static __device__ inline uint64_t matrix_descriptor(uint32_t address, uint32_t apart = 1024)
{
    return (uint64_t) (address >> 4 & 0x3fff) | (uint64_t) 1 << 16 | (uint64_t) (apart >> 4) << 32 |
           (uint64_t) 1 << 62;
}

/* The lower half of a descriptor whose upper half is LF_UPPER_HALF, which saves registers; `slab`
 * is the distance to the next 64 channels, for matrices whose rows are the inner dimension. */
static __device__ inline uint32_t lower_descriptor(uint32_t address, uint32_t slab)
{
    return address >> 4 | slab >> 4 << 16;
}
#define LF_UPPER_HALF "0x40000040" /* swizzle of 128 bytes; 1024 bytes from group to group */

/* The names of d's registers in an instruction, and the registers. */
#define LF_NAMES_32                                                                                \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LF_NAMES_64                                                                                \
    LF_NAMES_32                                                                                    \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"             \
    ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LF_NAMES_80                                                                                \
    LF_NAMES_64                                                                                    \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define LF_NAMES_88                                                                                \
    LF_NAMES_80                                                                                    \
    ", %80, %81, %82, %83, %84, %85, %86, %87"
#define LF_NAMES_96                                                                                \
    LF_NAMES_88                                                                                    \
    ", %88, %89, %90, %91, %92, %93, %94, %95"
#define LF_NAMES_112                                                                               \
    LF_NAMES_96                                                                                    \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define LF_NAMES_128                                                                               \
    LF_NAMES_112                                                                                   \
    ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
    "%127"
#define LF_EIGHT(i)                                                                                \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),    \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define LF_SUMS_32  LF_EIGHT(0), LF_EIGHT(8), LF_EIGHT(16), LF_EIGHT(24)
#define LF_SUMS_64  LF_SUMS_32, LF_EIGHT(32), LF_EIGHT(40), LF_EIGHT(48), LF_EIGHT(56)
#define LF_SUMS_80  LF_SUMS_64, LF_EIGHT(64), LF_EIGHT(72)
#define LF_SUMS_88  LF_SUMS_80, LF_EIGHT(80)
#define LF_SUMS_96  LF_SUMS_88, LF_EIGHT(88)
#define LF_SUMS_112 LF_SUMS_96, LF_EIGHT(96), LF_EIGHT(104)
#define LF_SUMS_128 LF_SUMS_112, LF_EIGHT(112), LF_EIGHT(120)

/* Both operands in shared memory. A, B, ADD: the places of the operands after d's REGISTERS. */
#define LF_WGMMA(SHAPE, REGISTERS, A, B, ADD, TAIL)                                                \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #ADD ", 0;\n"                            \
                 "wgmma.mma_async.sync.aligned." SHAPE " {" LF_NAMES_##REGISTERS                   \
                 "}, %" #A ", %" #B ", add, 1, 1" TAIL ";\n}"                                      \
                 : LF_SUMS_##REGISTERS                                                             \
                 : "l"(a), "l"(b), "r"(add))

/* T: bf16, __half or fp8. */
#define LF_WGMMA_OF(N, REGISTERS, A, B, ADD)                                                       \
    template <typename T>                                                                          \
    static __device__ __forceinline__ void wgmma(float(&d)[REGISTERS], uint64_t a, uint64_t b,     \
                                                 int add)                                          \
    {                                                                                              \
        if constexpr (sizeof(T) == 1)                                                              \
            LF_WGMMA("m64n" #N "k32.f32.e4m3.e4m3", REGISTERS, A, B, ADD, "");                     \
        else if constexpr (std::is_same<T, bf16>::value)                                           \
            LF_WGMMA("m64n" #N "k16.f32.bf16.bf16", REGISTERS, A, B, ADD, ", 0, 0");               \
        else                                                                                       \
            LF_WGMMA("m64n" #N "k16.f32.f16.f16", REGISTERS, A, B, ADD, ", 0, 0");                 \
    }

LF_WGMMA_OF(128, 64, 64, 65, 66)
LF_WGMMA_OF(160, 80, 80, 81, 82)
LF_WGMMA_OF(192, 96, 96, 97, 98)
LF_WGMMA_OF(224, 112, 112, 113, 114)
LF_WGMMA_OF(256, 128, 128, 129, 130)

/* BF16, by lower halves of descriptors. */
#define LF_WGMMA_LOWER_OF(N, REGISTERS, A, B, ADD)                                                 \
    static __device__ __forceinline__ void wgmma_lower(float(&d)[REGISTERS], uint32_t a,           \
                                                       uint32_t b, int add)                        \
    {                                                                                              \
        asm volatile("{\n.reg .pred add;\n.reg .b64 a, b;\n"                                       \
                     "mov.b64 a, {%" #A ", " LF_UPPER_HALF "};\n"                                  \
                     "mov.b64 b, {%" #B ", " LF_UPPER_HALF "};\n"                                  \
                     "setp.ne.b32 add, %" #ADD ", 0;\n"                                            \
                     "wgmma.mma_async.sync.aligned.m64n" #N                                        \
                     "k16.f32.bf16.bf16 {" LF_NAMES_##REGISTERS "}, a, b, add, 1, 1, 0, 0;\n}\n"   \
                     : LF_SUMS_##REGISTERS                                                         \
                     : "r"(a), "r"(b), "r"(add));                                                  \
    }

LF_WGMMA_LOWER_OF(64, 32, 32, 33, 34)
LF_WGMMA_LOWER_OF(160, 80, 80, 81, 82)
LF_WGMMA_LOWER_OF(176, 88, 88, 89, 90)
LF_WGMMA_LOWER_OF(192, 96, 96, 97, 98)

/* BF16, d [64, N] += a·b: a in registers, 16 rows of N numbers of b in shared memory. */
#define LF_WGMMA_REGISTERS_OF(N, REGISTERS, A0, A1, A2, A3, B)                                     \
    static __device__ __forceinline__ void wgmma_lower(                                            \
        float(&d)[REGISTERS], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b)      \
    {                                                                                              \
        asm volatile("{\n.reg .b64 b;\nmov.b64 b, {%" #B ", " LF_UPPER_HALF "};\n"                 \
                     "wgmma.mma_async.sync.aligned.m64n" #N                                        \
                     "k16.f32.bf16.bf16 {" LF_NAMES_##REGISTERS "}, {%" #A0 ", %" #A1 ", %" #A2    \
                                                                ", %" #A3 "}, b, 1, 1, 1, 1;\n}\n" \
                     : LF_SUMS_##REGISTERS                                                         \
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b));                                \
    }

LF_WGMMA_REGISTERS_OF(64, 32, 32, 33, 34, 35, 36)
LF_WGMMA_REGISTERS_OF(128, 64, 64, 65, 66, 67, 68)

/* ---- rings ----------------------------------------------------------------------------------- */

/* The next slot of a ring, and the parity of the round, which is the phase of its barriers. */
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
