/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows in E4M3: a number is code · scale, and the scale is one for each row. scales F32 [2, rows]:
 * the scales, and bounds of the rows' Euclidean norms.
 */
#ifndef LF_KERNELS_CUDA_E4M3_CUH
#define LF_KERNELS_CUDA_E4M3_CUH

#include "device.cuh"

constexpr float E4M3_LARGEST = 448.0f;
/* A scale is never 0, so that a row of zeros stays one. */
constexpr float E4M3_LEAST_SCALE = 1e-8f;

/* The scale of a row whose largest magnitude is at most `amax`. */
__device__ inline float e4m3_scale(float amax)
{
    return fmaxf(amax / E4M3_LARGEST, E4M3_LEAST_SCALE);
}

/* Two codes, the first in the lower byte. */
__device__ inline uint32_t pack_e4m3(float first, float second)
{
    return __nv_cvt_float2_to_fp8x2(make_float2(first, second), __NV_SATFINITE, __NV_E4M3);
}

/* ---- attention's output: means of values, so all rows have the scale of the values' amax ----- */

/* The same scale, by a multiplication. */
__device__ inline float e4m3_scale_of(const float *amax)
{
    return fmaxf(*amax * (1.0f / E4M3_LARGEST), E4M3_LEAST_SCALE);
}

/* The scale and the bound of the norm of row `row` of n, which has `width` numbers. */
__device__ inline void write_e4m3_scale(float *scales, int64_t row, int64_t n, const float *amax,
                                        int width)
{
    scales[row] = e4m3_scale_of(amax);
    scales[n + row] = *amax * sqrtf((float) width);
}

#endif
