/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Attention among the pixels of a frame, with one head of all channels: the middle of Wan's VAE.
 *
 * On the tensor cores (mma.sync) a block has 64 queries, 16 for each warp, and 128 of the output
 * channels, so that their sums fit in registers: the scores are computed again for every 128
 * channels. Keys come in tiles of 32. It is a small part of the decoder: 120 GFLOP for a frame of
 * 60×104 pixels and 384 channels. The plain version has a block for each query.
 */
#include "mma.cuh"
#include "versions.h"

namespace {

struct FrameAttention {
    __half *out;     /* [frames, n, c] */
    const __half *x; /* [frames, n, 3·c] */
    int frames, n, c;
    float scale; /* of scores, as powers of two */
};

enum {
    WARPS = 4,
    THREADS = WARPS * 32,
    QUERIES = WARPS * 16,
    KEYS = 32,
    OUTS = 128,          /* channels of a block */
    V_STRIDE = OUTS + 8, /* the rows of a column lie in different banks */
    MOST_CHANNELS = 448  /* whose tiles fit in the shared memory of every card */
};

/* ---- on the tensor cores --------------------------------------------------------------------- */

/* `width` channels, from `channel` on, of rows first … first + n_rows − 1; zeros beyond the rows
 * and the channels that there are. */
__device__ inline void fetch(__half *to, int stride, int width, const FrameAttention &a,
                             const __half *rows, int channel, int exist, int first, int n_rows)
{
    for (int i = threadIdx.x; i < n_rows * (width / 8); i += THREADS) {
        int row = i / (width / 8), at = i % (width / 8) * 8;
        uint4 eight = make_uint4(0, 0, 0, 0);
        if (first + row < a.n && at < exist)
            eight = *(const uint4 *) (rows + (int64_t) (first + row) * 3 * a.c + channel + at);
        *(uint4 *) (to + row * stride + at) = eight;
    }
}

/* s [8 keys each] = q·kᵀ of the warp's 16 queries and the tile's keys. */
__device__ inline void score(float s[KEYS / 8][4], uint32_t q, uint32_t k, int stride, int c)
{
    int lane = threadIdx.x % 32;
    uint32_t from = q + (lane % 16 * stride + lane / 16 * 8) * 2;
    uint32_t key = k + ((lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8) * 2;
    for (int step = 0; step < c / 16; step++) {
        uint32_t a[4];
        load_matrices(a, from + step * 32);
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            uint32_t b[4];
            load_matrices(b, key + j * 16 * stride * 2 + step * 32);
            multiply_f16(s[2 * j], a, b[0], b[1]);
            multiply_f16(s[2 * j + 1], a, b[2], b[3]);
        }
    }
}

__device__ inline float over_four_lanes(float x, bool largest)
{
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2) {
        float other = __shfl_xor_sync(0xffffffffu, x, lanes);
        x = largest ? fmaxf(x, other) : x + other;
    }
    return x;
}

/* Online softmax: scores to weights, and earlier sums are rescaled. Rows lane/4 (0) and
 * lane/4 + 8 (1). `left`: keys of the tile that there are. */
__device__ inline void soften(float s[KEYS / 8][4], float o[OUTS / 8][4], float *largest,
                              float *total, float scale, int left)
{
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[j][i] = 8 * j + threadIdx.x % 4 * 2 + i % 2 < left ? s[j][i] * scale : -INFINITY;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float before = largest[row];
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            largest[row] = fmaxf(largest[row], fmaxf(s[j][2 * row], s[j][2 * row + 1]));
        largest[row] = over_four_lanes(largest[row], true);
        float fade = exp2_fast(before - largest[row]);
        total[row] *= fade;
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int i = 2 * row; i < 2 * row + 2; i++) {
                s[j][i] = exp2_fast(s[j][i] - largest[row]);
                total[row] += s[j][i];
            }
#pragma unroll
        for (int c = 0; c < OUTS / 8; c++)
            o[c][2 * row] *= fade, o[c][2 * row + 1] *= fade;
    }
}

__device__ inline uint32_t pack_f16(float first, float second)
{
    __half2 both = __floats2half2_rn(first, second);
    return *(uint32_t *) &both;
}

/* o += p·v */
__device__ inline void add_values(float o[OUTS / 8][4], const float p[KEYS / 8][4], uint32_t v)
{
    int lane = threadIdx.x % 32;
    uint32_t from = v + (lane % 16 * V_STRIDE + lane / 16 * 8) * 2;
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
        const float *left = p[2 * j], *right = p[2 * j + 1];
        uint32_t a[4] = {pack_f16(left[0], left[1]), pack_f16(left[2], left[3]),
                         pack_f16(right[0], right[1]), pack_f16(right[2], right[3])};
#pragma unroll
        for (int c = 0; c < OUTS / 16; c++) {
            uint32_t b[4];
            load_transposed(b, from + (j * 16 * V_STRIDE + c * 16) * 2);
            multiply_f16(o[2 * c], a, b[0], b[1]);
            multiply_f16(o[2 * c + 1], a, b[2], b[3]);
        }
    }
}

__global__ void __launch_bounds__(THREADS) frame_attention_mma(const FrameAttention a)
{
    extern __shared__ uint4 memory[];
    int stride = a.c + 8, first = blockIdx.y * OUTS, width = min((int) OUTS, a.c - first);
    __half *q = (__half *) memory, *k = q + QUERIES * stride, *v = k + KEYS * stride;
    const __half *rows = a.x + (int64_t) blockIdx.z * a.n * 3 * a.c;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    fetch(q, stride, a.c, a, rows, 0, a.c, blockIdx.x * QUERIES, QUERIES);
    float o[OUTS / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {};
    for (int tile = 0; tile < a.n; tile += KEYS) {
        __syncthreads(); /* all are done with the tile before */
        fetch(k, stride, a.c, a, rows, a.c, a.c, tile, KEYS);
        fetch(v, V_STRIDE, OUTS, a, rows, 2 * a.c + first, width, tile, KEYS);
        __syncthreads();
        float s[KEYS / 8][4] = {};
        score(s, shared_address(q + warp * 16 * stride), shared_address(k), stride, a.c);
        soften(s, o, largest, total, a.scale, a.n - tile);
        add_values(o, s, shared_address(v));
    }
    __half *out = a.out + (int64_t) blockIdx.z * a.n * a.c + first + lane % 4 * 2;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        int query = blockIdx.x * QUERIES + warp * 16 + lane / 4 + row * 8;
        float inverse = 1.0f / over_four_lanes(total[row], false);
#pragma unroll
        for (int c = 0; c < OUTS / 8; c++)
            if (query < a.n && 8 * c < width)
                *(uint32_t *) (out + (int64_t) query * a.c + 8 * c) =
                    pack_f16(o[c][2 * row] * inverse, o[c][2 * row + 1] * inverse);
    }
}

const char *mma_refuses(const LfCuda *cuda, const FrameAttention *a)
{
    if (a->c % 16 || a->c > MOST_CHANNELS)
        return "channels are no multiple of 16, or more than 448";
    return lf_cuda_is_aligned(a->x) && lf_cuda_is_aligned(a->out)
               ? NULL
               : "rows are not aligned to 16 bytes";
}

const char *run_mma(LfCuda *cuda, const FrameAttention *a)
{
    size_t size = sizeof(__half) * (size_t) ((QUERIES + KEYS) * (a->c + 8) + KEYS * V_STRIDE);
    dim3 blocks(blocks_for(a->n, QUERIES), blocks_for(a->c, OUTS), (unsigned) a->frames);
    cudaError_t allowed = cudaFuncSetAttribute(
        frame_attention_mma, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) size);
    if (lf_cuda_check(cuda, allowed, "frame_attention"))
        frame_attention_mma<<<blocks, THREADS, size, cuda->stream>>>(*a);
    return NULL;
}

/* ---- plain ----------------------------------------------------------------------------------- */

/* Over the block, for all its threads. */
template <bool LARGEST> __device__ float over_block(float x, float *parts)
{
    x = LARGEST ? warp_max(x) : warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = x;
    __syncthreads();
    float all = parts[0];
    for (int i = 1; i < WARPS; i++)
        all = LARGEST ? fmaxf(all, parts[i]) : all + parts[i];
    return all;
}

/* A thread has one of THREADS keys at a time for the scores, and channels for the values. */
__global__ void __launch_bounds__(THREADS) frame_attention_plain(const FrameAttention a)
{
    extern __shared__ float floats[];
    __shared__ float parts[WARPS], weights[THREADS];
    float *q = floats, *sums = floats + a.c, largest = -INFINITY, total = 0.0f;
    const __half *rows = a.x + (int64_t) blockIdx.y * a.n * 3 * a.c;
    for (int c = threadIdx.x; c < a.c; c += THREADS) {
        q[c] = to_float(rows[(int64_t) blockIdx.x * 3 * a.c + c]) * a.scale;
        sums[c] = 0.0f;
    }
    for (int tile = 0; tile < a.n; tile += THREADS) {
        int key = tile + threadIdx.x;
        float s = key < a.n ? 0.0f : -INFINITY, before = largest;
        const __half *k = rows + (int64_t) key * 3 * a.c + a.c;
        __syncthreads();
        for (int c = 0; c < a.c && key < a.n; c++)
            s += q[c] * to_float(k[c]);
        largest = fmaxf(before, over_block<true>(s, parts));
        float weight = exp2f(s - largest), fade = exp2f(before - largest);
        total = total * fade + over_block<false>(weight, parts);
        weights[threadIdx.x] = weight;
        __syncthreads();
        for (int c = threadIdx.x; c < a.c; c += THREADS) {
            float sum = sums[c] * fade;
            for (int i = 0; i < min((int) THREADS, a.n - tile); i++)
                sum += weights[i] * to_float(rows[(int64_t) (tile + i) * 3 * a.c + 2 * a.c + c]);
            sums[c] = sum;
        }
    }
    for (int c = threadIdx.x; c < a.c; c += THREADS)
        a.out[((int64_t) blockIdx.y * a.n + blockIdx.x) * a.c + c] =
            from_float<__half>(sums[c] / total);
}

const char *run_plain(LfCuda *cuda, const FrameAttention *a)
{
    enum { MOST = 6144 }; /* the floats of a block fit in the shared memory of every card */
    if (a->c > MOST)
        lf_cuda_fail(cuda, "frame_attention", "more than 6144 channels are not supported");
    else
        frame_attention_plain<<<dim3((unsigned) a->n, (unsigned) a->frames), THREADS,
                                2 * sizeof(float) * (size_t) a->c, cuda->stream>>>(*a);
    return NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */

const LfCudaVersion<FrameAttention> versions[] = {
    {"mma", LF_CUDA_MMA, mma_refuses, run_mma},
    {"plain", 0, NULL, run_plain},
};

void describe(char *text, size_t size, const FrameAttention *a)
{
    g_snprintf(text, size, "%d frames of %d pixels, %d channels", a->frames, a->n, a->c);
}

void frame_attention(LfBackend *be, LfTensor out, LfTensor x)
{
    LfCuda *cuda = lf_cuda(be);
    FrameAttention a = {(__half *) out.data, (const __half *) x.data, (int) x.shape[0],
                        (int) x.shape[1], (int) out.shape[2]};
    a.scale = 1.4426950409f / sqrtf((float) a.c);
    lf_cuda_run(cuda, "frame_attention", versions, describe, &a);
    lf_cuda_launched(cuda, "frame_attention");
}

} // namespace

void lf_cuda_frame_attention_init(LfCuda *cuda)
{
    cuda->ops.frame_attention = frame_attention;
}
