/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Norms over the last dimension: y = (x − mean) / sqrt(variance + eps) ⊙ (one + a [D]) + b [D], where
 * the RMS norm has neither mean nor b. x BF16 [N, D]; y BF16, or F8_E4M3 with each row's factor
 * max|y|/448 and Euclidean norm, so that quantising costs no pass of its own.
 *
 * Bound by bytes: a warp holds a row in registers, which is read once and written once, 16 bytes a
 * lane. Wide rows and odd ones take the plain version: a block for each row, which it reads anew for
 * each sum, from the first-level cache.
 */
#include "device.cuh"

#include <type_traits>

namespace {

struct Norm {
    const bf16 *x;
    void *out;
    float *scales; /* [2, rows] of an F8_E4M3 output */
    const float *a, *b; /* b: NULL for none */
    int64_t n_rows;
    int width;
    float one, eps;
    bool centre;
};

/* What a quantised row is to be multiplied by; never 0, so that a row of zeros stays one. */
__device__ inline float row_scale(float largest) { return fmaxf(largest / 448.0f, 1e-8f); }

/* ---- a row in registers ---- */

enum { WARPS = 4 };

template <int PACKS> struct Row {
    float at[PACKS][8]; /* pack p of a lane: columns 8·(32·p + lane) and the next seven */
};

__device__ inline void load_eight(float *to, const float *from)
{
    const float4 *at = reinterpret_cast<const float4 *>(from);
    float4 low = __ldg(at), high = __ldg(at + 1);
    to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
    to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}

template <int PACKS>
__device__ inline void load_row(Row<PACKS> &row, const bf16 *x, int width, int lane)
{
    Pack<bf16, 8> packs[PACKS];
#pragma unroll
    for (int p = 0; p < PACKS; p++)
        if (8 * (32 * p + lane) < width)
            packs[p] = *reinterpret_cast<const Pack<bf16, 8> *>(x + 8 * (32 * p + lane));
#pragma unroll
    for (int p = 0; p < PACKS; p++)
#pragma unroll
        for (int i = 0; i < 8; i++)
            row.at[p][i] = 8 * (32 * p + lane) < width ? to_float(packs[p].at[i]) : 0.0f;
}

/* Two passes for the variance: the difference of large sums would cost digits where the mean is
 * large. */
template <int PACKS>
__device__ inline void normalise(Row<PACKS> &row, const Norm &n, int lane)
{
    float mean = 0.0f, squares = 0.0f;
    if (n.centre) {
#pragma unroll
        for (int p = 0; p < PACKS; p++)
#pragma unroll
            for (int i = 0; i < 8; i++)
                mean += row.at[p][i];
        mean = warp_sum(mean) / (float) n.width;
    }
#pragma unroll
    for (int p = 0; p < PACKS; p++)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            row.at[p][i] -= 8 * (32 * p + lane) < n.width ? mean : 0.0f;
            squares += row.at[p][i] * row.at[p][i];
        }
    float factor = 1.0f / sqrtf(warp_sum(squares) / (float) n.width + n.eps);
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int column = 8 * (32 * p + lane);
        float a[8] = {}, b[8] = {};
        if (column < n.width)
            load_eight(a, n.a + column);
        if (n.b && column < n.width)
            load_eight(b, n.b + column);
#pragma unroll
        for (int i = 0; i < 8; i++)
            row.at[p][i] = row.at[p][i] * factor * (n.one + a[i]) + b[i];
    }
}

/* The factor of the row; writes it and the row's norm. */
template <int PACKS>
__device__ inline float note_scale(const Row<PACKS> &row, const Norm &n, int64_t index, int lane)
{
    float largest = 0.0f, squares = 0.0f;
#pragma unroll
    for (int p = 0; p < PACKS; p++)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            largest = fmaxf(largest, fabsf(row.at[p][i]));
            squares += row.at[p][i] * row.at[p][i];
        }
    float scale = row_scale(warp_max(largest)), norm = sqrtf(warp_sum(squares));
    if (lane == 0) {
        n.scales[index] = scale;
        n.scales[n.n_rows + index] = norm;
    }
    return scale;
}

template <typename Out, int PACKS>
__global__ void __launch_bounds__(32 * WARPS) norm_rows(const Norm n)
{
    int lane = threadIdx.x % 32;
    int64_t index = (int64_t) blockIdx.x * WARPS + threadIdx.x / 32;
    if (index >= n.n_rows)
        return;
    Row<PACKS> row;
    load_row(row, n.x + index * n.width, n.width, lane);
    normalise(row, n, lane);
    float inverse = 1.0f;
    if (std::is_same<Out, fp8>::value)
        inverse = 1.0f / note_scale(row, n, index, lane);
    Out *out = (Out *) n.out + index * n.width;
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int column = 8 * (32 * p + lane);
        Pack<Out, 8> pack;
#pragma unroll
        for (int i = 0; i < 8; i++)
            pack.at[i] = from_float<Out>(row.at[p][i] * inverse);
        if (column < n.width)
            *reinterpret_cast<Pack<Out, 8> *>(out + column) = pack;
    }
}

/* ---- any row ---- */

enum { THREADS = 256 };

/* The sum, or the largest, over the block, for all its threads. */
template <bool LARGEST> __device__ float over_block(float x)
{
    __shared__ float parts[THREADS / 32];
    x = LARGEST ? warp_max(x) : warp_sum(x);
    __syncthreads(); /* the call before this one has been read */
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = x;
    __syncthreads();
    float all = parts[0];
    for (int i = 1; i < THREADS / 32; i++)
        all = LARGEST ? fmaxf(all, parts[i]) : all + parts[i];
    return all;
}

__device__ inline float normed(const Norm &n, const bf16 *x, int i, float mean, float factor)
{
    return (to_float(x[i]) - mean) * factor * (n.one + n.a[i]) + (n.b ? n.b[i] : 0.0f);
}

template <typename Out> __global__ void __launch_bounds__(THREADS) norm_rows_plain(const Norm n)
{
    int64_t index = blockIdx.x;
    const bf16 *x = n.x + index * n.width;
    Out *out = (Out *) n.out + index * n.width;
    float mean = 0.0f, squares = 0.0f, scale = 1.0f;
    for (int i = threadIdx.x; i < n.width && n.centre; i += THREADS)
        mean += to_float(x[i]);
    mean = over_block<false>(mean) / (float) n.width;
    for (int i = threadIdx.x; i < n.width; i += THREADS) {
        float difference = to_float(x[i]) - mean;
        squares += difference * difference;
    }
    float factor = 1.0f / sqrtf(over_block<false>(squares) / (float) n.width + n.eps);
    if (std::is_same<Out, fp8>::value) {
        float largest = 0.0f, length = 0.0f;
        for (int i = threadIdx.x; i < n.width; i += THREADS) {
            float y = normed(n, x, i, mean, factor);
            largest = fmaxf(largest, fabsf(y));
            length += y * y;
        }
        scale = row_scale(over_block<true>(largest));
        length = sqrtf(over_block<false>(length));
        if (threadIdx.x == 0) {
            n.scales[index] = scale;
            n.scales[n.n_rows + index] = length;
        }
    }
    for (int i = threadIdx.x; i < n.width; i += THREADS)
        out[i] = from_float<Out>(normed(n, x, i, mean, factor) / scale);
}

/* ---- launching ---- */

bool aligned(const void *memory)
{
    return (uintptr_t) memory % 16 == 0;
}

template <typename Out> void launch(LfCuda *cuda, const Norm &n)
{
    unsigned blocks = blocks_for(n.n_rows, WARPS);
    bool whole = n.width % 8 == 0 && n.width <= 4096 && aligned(n.x) && aligned(n.out) &&
                 aligned(n.a) && aligned(n.b);
    if (!whole)
        norm_rows_plain<Out><<<(unsigned) n.n_rows, THREADS, 0, cuda->stream>>>(n);
    else if (n.width <= 256)
        norm_rows<Out, 1><<<blocks, 32 * WARPS, 0, cuda->stream>>>(n);
    else if (n.width <= 1536)
        norm_rows<Out, 6><<<blocks, 32 * WARPS, 0, cuda->stream>>>(n);
    else
        norm_rows<Out, 16><<<blocks, 32 * WARPS, 0, cuda->stream>>>(n);
}

void run(LfCuda *cuda, LfTensor out, LfTensor x, Norm n, const char *operation)
{
    n.x = (const bf16 *) x.data;
    n.out = out.data;
    n.scales = out.scales;
    n.n_rows = x.shape[0];
    n.width = (int) x.shape[1];
    if (out.type == LF_F8_E4M3)
        launch<fp8>(cuda, n);
    else
        launch<bf16>(cuda, n);
    lf_cuda_launched(cuda, operation);
}

void layer_norm_modulate(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, LfTensor shift,
                         float eps)
{
    LfCuda *cuda = lf_cuda(be);
    Norm n = {};
    n.a = lf_f32(scale), n.b = lf_f32(shift), n.one = 1.0f, n.eps = eps, n.centre = true;
    run(cuda, out, x, n, "layer_norm_modulate");
}

void layer_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, LfTensor bias, float eps)
{
    LfCuda *cuda = lf_cuda(be);
    Norm n = {};
    n.a = lf_f32(weight), n.b = lf_f32(bias), n.eps = eps, n.centre = true;
    run(cuda, out, x, n, "layer_norm");
}

void rms_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, float eps)
{
    LfCuda *cuda = lf_cuda(be);
    Norm n = {};
    n.a = lf_f32(weight), n.eps = eps;
    run(cuda, out, x, n, "rms_norm");
}

} // namespace

void lf_cuda_norm_init(LfCuda *cuda)
{
    cuda->ops.layer_norm_modulate = layer_norm_modulate;
    cuda->ops.layer_norm = layer_norm;
    cuda->ops.rms_norm = rms_norm;
}
