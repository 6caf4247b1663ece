/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Device-side functions that several files share.
 */
#ifndef LF_KERNELS_CUDA_DEVICE_CUH
#define LF_KERNELS_CUDA_DEVICE_CUH

#include "machine.h"

/* ---- numbers in memory ↔ float --------------------------------------------------------------- */

__device__ inline float to_float(float x)
{
    return x;
}
__device__ inline float to_float(bf16 x)
{
    return __bfloat162float(x);
}
__device__ inline float to_float(__half x)
{
    return __half2float(x);
}

template <typename T> __device__ inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x)
{
    return x;
}
template <> __device__ inline bf16 from_float<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}
template <> __device__ inline __half from_float<__half>(float x)
{
    return __float2half_rn(x);
}
template <> __device__ inline fp8 from_float<fp8>(float x)
{
    return fp8(x);
} /* saturates */

/* N adjacent numbers of type T, which are read and written with one instruction. */
template <typename T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

/* ---- shared memory, as instructions name it -------------------------------------------------- */

__device__ inline uint32_t shared_address(const void *p)
{
    return (uint32_t) __cvta_generic_to_shared(p);
}

/* ---- sums over threads ----------------------------------------------------------------------- */

__device__ inline float warp_sum(float x)
{
    for (int lanes = 16; lanes; lanes /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lanes);
    return x;
}

__device__ inline float warp_max(float x)
{
    for (int lanes = 16; lanes; lanes /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
    return x;
}

/* Two numbers in a word, the first in the lower half, as in memory. */
__device__ inline uint32_t pack_bf16(float first, float second)
{
    __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
    return *(uint32_t *) &both;
}

/* ---- functions ------------------------------------------------------------------------------- */

/* tanh form, as the models were trained with it. */
__device__ inline float gelu_tanh(float x)
{
    float z = 0.7978845608028654f * (x + 0.044715f * x * x * x);
    return x / (1.0f + __expf(-2.0f * z)); /* ½x(1 + tanh z) */
}

/* 2^x by the special function unit; 0 where the result would be denormal. */
__device__ inline float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ inline float silu(float x)
{
    return x / (1.0f + __expf(-x));
}

/* ---- launching ------------------------------------------------------------------------------- */

static inline unsigned blocks_for(int64_t n, int per_block)
{
    return (unsigned) ((n + per_block - 1) / per_block);
}

/* In a kernel that was launched early: waits until every kernel launched before has ended. Before
 * this call the kernel touches no memory that another kernel reads or writes. */
__device__ inline void wait_for_earlier()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Allows the next kernel, if it is launched early, to begin as soon as multiprocessors are free.
 * The next kernel waits for this one's end by itself, so this call is best made at the start. */
__device__ inline void let_next_begin()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* Programmatic dependent launch, where the chip has it: the kernel begins while the one before it
 * ends, and calls wait_for_earlier before it touches memory. The cost of the launch, and what the
 * kernel does before its first load, overlap with the end of the one before. */
template <typename... Formal, typename... Actual>
static void launch_early(LfCuda *cuda, void (*kernel)(Formal...), dim3 grid, dim3 block,
                         size_t shared_size, Actual... actual)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_size;
    config.stream = cuda->stream;
    config.attrs = &early;
    config.numAttrs = cuda->features & LF_CUDA_EARLY_LAUNCH ? 1 : 0;
    lf_cuda_check(cuda, cudaLaunchKernelEx(&config, kernel, static_cast<Formal>(actual)...),
                  "launch");
}

#endif
