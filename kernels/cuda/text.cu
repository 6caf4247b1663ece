/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Operations that only the text encoder uses. They run once per prompt, on some tens of tokens.
 *
 * Attention: out [L, E] = softmax(q·kᵀ + bias [heads, L, L])·v. Any head: a block for 16 queries of
 * a head, a warp for four of them; for scores a lane has a key, for the values it has channels.
 * Heads of 64 channels, umT5's: tensor cores. Bound by the bytes of the bias, and at a prompt's
 * length by the launch; the products are small beside the linears'. Position bias and the gate are
 * bound by bytes.
 */
#include "mma.cuh"
#include "versions.h"
#include "weights.h"

namespace {

/* ---- attention, any head --------------------------------------------------------------------- */

enum { WARPS = 4, EACH = 4, QUERIES = WARPS * EACH, KEYS = 32, MOST_CHANNELS = 256 };

struct TextAttention {
    bf16 *out;
    const bf16 *q, *k, *v;
    const float *bias;
    int n, width, d; /* L, E, channels of a head */
};

/* Rows [first, first + n_rows) of one head, zeros from row n on. */
__device__ inline void fetch(bf16 *to, int stride, const bf16 *from, const TextAttention &a,
                             int first, int n_rows)
{
    for (int i = threadIdx.x; i < n_rows * a.d; i += 32 * WARPS) {
        int row = i / a.d, channel = i % a.d;
        to[row * stride + channel] = first + row < a.n
                                         ? from[(int64_t) (first + row) * a.width + channel]
                                         : from_float<bf16>(0.0f);
    }
}

/* A lane's scores: of each query with key `lane` of the tile, −∞ where there is none. */
__device__ inline void score(float *s, const TextAttention &a, const bf16 *q, const bf16 *k,
                             const float *bias, int query, int key)
{
    for (int i = 0; i < EACH; i++)
        s[i] = 0.0f;
    for (int c = 0; c < a.d; c++) {
        float value = to_float(k[c]);
#pragma unroll
        for (int i = 0; i < EACH; i++)
            s[i] += to_float(q[i * a.d + c]) * value;
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (key >= a.n)
            s[i] = -INFINITY;
        else if (query + i < a.n)
            s[i] += bias[(int64_t) (query + i) * a.n + key];
}

template <int CHANNELS>
__global__ void __launch_bounds__(32 * WARPS) text_attention_kernel(const TextAttention a)
{
    extern __shared__ bf16 memory[];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y;
    int k_stride = a.d + 2; /* the rows of a column lie in different banks */
    bf16 *q = memory, *k = q + QUERIES * a.d, *v = k + KEYS * k_stride;
    int first = blockIdx.x * QUERIES, query = first + warp * EACH;
    const float *bias = a.bias + (int64_t) head * a.n * a.n;
    fetch(q, a.d, a.q + head * a.d, a, first, QUERIES);
    float largest[EACH], total[EACH], sums[EACH][CHANNELS] = {};
#pragma unroll
    for (int i = 0; i < EACH; i++)
        largest[i] = -INFINITY, total[i] = 0.0f;
    for (int tile = 0; tile < a.n; tile += KEYS) {
        __syncthreads(); /* all are done with the tile before */
        fetch(k, k_stride, a.k + head * a.d, a, tile, KEYS);
        fetch(v, a.d, a.v + head * a.d, a, tile, KEYS);
        __syncthreads();
        float s[EACH];
        score(s, a, q + warp * EACH * a.d, k + lane * k_stride, bias, query, tile + lane);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            float before = largest[i];
            largest[i] = fmaxf(before, warp_max(s[i]));
            float fade = __expf(before - largest[i]);
            s[i] = __expf(s[i] - largest[i]);
            total[i] = total[i] * fade + s[i];
#pragma unroll
            for (int c = 0; c < CHANNELS; c++)
                sums[i][c] *= fade;
        }
        for (int key = 0; key < KEYS; key++) {
            float weight[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++)
                weight[i] = __shfl_sync(0xffffffffu, s[i], key);
#pragma unroll
            for (int c = 0; c < CHANNELS; c++) {
                float value = 32 * c + lane < a.d ? to_float(v[key * a.d + 32 * c + lane]) : 0.0f;
#pragma unroll
                for (int i = 0; i < EACH; i++)
                    sums[i][c] += weight[i] * value;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        float all = warp_sum(total[i]);
#pragma unroll
        for (int c = 0; c < CHANNELS; c++)
            if (query + i < a.n && 32 * c + lane < a.d)
                a.out[(int64_t) (query + i) * a.width + head * a.d + 32 * c + lane] =
                    from_float<bf16>(sums[i][c] / all);
    }
}

/* ---- attention on the tensor cores, heads of 64 channels ----
 *
 * A warp has 16 queries, a block 64 of a head; keys come in tiles of 64. Of a matrix's fragment
 * lane 4·g + t has rows g and g + 8, columns 2·t and 2·t + 1 of each eight. */

enum { DIM = 64, TILE = 64, STRIDE = DIM + 8 /* rows of a column lie in different banks */ };

/* Channels [0, DIM) of rows first … first + TILE − 1 of a head, zeros from row n on. */
__device__ inline void fetch_tile(bf16 *to, const bf16 *from, const TextAttention &a, int first)
{
    for (int i = threadIdx.x; i < TILE * DIM / 8; i += 32 * WARPS) {
        int row = i / (DIM / 8), channel = i % (DIM / 8) * 8;
        uint4 eight = make_uint4(0, 0, 0, 0);
        if (first + row < a.n)
            eight = *reinterpret_cast<const uint4 *>(from + (int64_t) (first + row) * a.width +
                                                     channel);
        *reinterpret_cast<uint4 *>(to + row * STRIDE + channel) = eight;
    }
}

__device__ inline uint32_t word_at(const bf16 *at)
{
    return *reinterpret_cast<const uint32_t *>(at);
}

/* s [8 keys each] = q·kᵀ of the warp's 16 queries and the tile's 64 keys. */
__device__ inline void score_tile(float s[TILE / 8][4], const uint32_t q[DIM / 16][4],
                                  const bf16 *k)
{
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < TILE / 8; j++) {
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0.0f;
#pragma unroll
        for (int c = 0; c < DIM / 16; c++) {
            const bf16 *at = k + (8 * j + g) * STRIDE + 16 * c + 2 * t;
            uint32_t b[2] = {word_at(at), word_at(at + 8)};
            multiply_bf16(s[j], q[c], b[0], b[1]);
        }
    }
}

/* Adds the bias; −∞ for keys that there are not. `query` is the lane's first one. */
__device__ inline void add_bias(float s[TILE / 8][4], const TextAttention &a, const float *bias,
                                int query, int key)
{
#pragma unroll
    for (int j = 0; j < TILE / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = query + i / 2 * 8, column = key + 8 * j + i % 2;
            if (column >= a.n)
                s[j][i] = -INFINITY;
            else if (row < a.n)
                s[j][i] += __ldg(bias + (int64_t) row * a.n + column);
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

/* Online softmax: scores to weights, and earlier sums are rescaled. Rows g (0) and g + 8 (1). */
__device__ inline void soften(float s[TILE / 8][4], float o[DIM / 8][4], float *largest,
                              float *total)
{
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float before = largest[row];
#pragma unroll
        for (int j = 0; j < TILE / 8; j++)
            largest[row] = fmaxf(largest[row], fmaxf(s[j][2 * row], s[j][2 * row + 1]));
        largest[row] = over_four_lanes(largest[row], true);
        float fade = __expf(before - largest[row]);
        total[row] *= fade;
#pragma unroll
        for (int j = 0; j < TILE / 8; j++)
#pragma unroll
            for (int i = 2 * row; i < 2 * row + 2; i++) {
                s[j][i] = __expf(s[j][i] - largest[row]);
                total[row] += s[j][i];
            }
#pragma unroll
        for (int c = 0; c < DIM / 8; c++)
            o[c][2 * row] *= fade, o[c][2 * row + 1] *= fade;
    }
}

/* o += p·v */
__device__ inline void add_values(float o[DIM / 8][4], const float p[TILE / 8][4], const bf16 *v)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < TILE / 16; j++) {
        const float *left = p[2 * j], *right = p[2 * j + 1];
        uint32_t a[4] = {pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]),
                         pack_bf16(right[0], right[1]), pack_bf16(right[2], right[3])};
#pragma unroll
        for (int c = 0; c < DIM / 8; c++) {
            uint32_t b[2];
            uint32_t at =
                (uint32_t) __cvta_generic_to_shared(v + (16 * j + lane % 16) * STRIDE + 8 * c);
            asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                         : "=r"(b[0]), "=r"(b[1])
                         : "r"(at));
            multiply_bf16(o[c], a, b[0], b[1]);
        }
    }
}

__global__ void __launch_bounds__(32 * WARPS) text_attention_mma(const TextAttention a)
{
    __shared__ __align__(16) bf16 k[TILE * STRIDE], v[TILE * STRIDE];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y;
    int g = lane / 4, t = lane % 4, query = blockIdx.x * TILE + warp * 16 + g;
    const float *bias = a.bias + (int64_t) head * a.n * a.n;
    uint32_t q[DIM / 16][4];
    fetch_tile(k, a.q + head * DIM, a, blockIdx.x * TILE); /* first the queries */
    __syncthreads();
#pragma unroll
    for (int c = 0; c < DIM / 16; c++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            q[c][i] =
                word_at(k + (warp * 16 + g + i % 2 * 8) * STRIDE + 16 * c + i / 2 * 8 + 2 * t);
    float o[DIM / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {};
    for (int tile = 0; tile < a.n; tile += TILE) {
        __syncthreads(); /* all have finished with the previous tile */
        fetch_tile(k, a.k + head * DIM, a, tile);
        fetch_tile(v, a.v + head * DIM, a, tile);
        __syncthreads();
        float s[TILE / 8][4];
        score_tile(s, q, k);
        add_bias(s, a, bias, query, tile + 2 * t);
        soften(s, o, largest, total);
        add_values(o, s, v);
    }
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float inverse = 1.0f / over_four_lanes(total[row], false);
        bf16 *out = a.out + (int64_t) (query + 8 * row) * a.width + head * DIM + 2 * t;
#pragma unroll
        for (int c = 0; c < DIM / 8; c++)
            if (query + 8 * row < a.n)
                *reinterpret_cast<uint32_t *>(out + 8 * c) =
                    pack_bf16(o[c][2 * row] * inverse, o[c][2 * row + 1] * inverse);
    }
}

const char *mma_refuses(const LfCuda *cuda, const TextAttention *a)
{
    uintptr_t addresses =
        (uintptr_t) a->q | (uintptr_t) a->k | (uintptr_t) a->v | (uintptr_t) a->out;
    if (a->d != DIM)
        return "heads do not have 64 channels";
    return addresses % 16 == 0 ? NULL : "rows are not aligned to 16 bytes";
}

const char *run_mma(LfCuda *cuda, const TextAttention *a)
{
    dim3 tiles(blocks_for(a->n, TILE), (unsigned) (a->width / a->d));
    text_attention_mma<<<tiles, 32 * WARPS, 0, cuda->stream>>>(*a);
    return NULL;
}

const char *run_plain(LfCuda *cuda, const TextAttention *a)
{
    dim3 blocks(blocks_for(a->n, QUERIES), (unsigned) (a->width / a->d));
    size_t memory = sizeof(bf16) * (size_t) (QUERIES * a->d + KEYS * (a->d + 2) + KEYS * a->d);
    if (a->d > MOST_CHANNELS)
        lf_cuda_fail(cuda, "text_attention", "heads of more than 256 channels are not supported");
    else if (a->d <= 64)
        text_attention_kernel<2><<<blocks, 32 * WARPS, memory, cuda->stream>>>(*a);
    else
        text_attention_kernel<MOST_CHANNELS / 32><<<blocks, 32 * WARPS, memory, cuda->stream>>>(*a);
    return NULL;
}

const LfCudaVersion<TextAttention> versions[] = {
    {"mma", LF_CUDA_MMA, mma_refuses, run_mma},
    {"plain", 0, NULL, run_plain},
};

void describe(char *text, size_t size, const TextAttention *a)
{
    g_snprintf(text, size, "%d tokens, %d heads of %d channels", a->n, a->width / a->d, a->d);
}

void text_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v, LfTensor bias)
{
    LfCuda *cuda = lf_cuda(be);
    int heads = (int) bias.shape[0], n = (int) q.shape[0], width = (int) q.shape[1];
    TextAttention a = {(bf16 *) out.data,
                       (const bf16 *) q.data,
                       (const bf16 *) k.data,
                       (const bf16 *) v.data,
                       lf_f32(bias),
                       n,
                       width,
                       width / heads};
    lf_cuda_run(cuda, "text_attention", versions, describe, &a);
    lf_cuda_launched(cuda, "text_attention");
}

/* ---- position bias: out[h, i, j] = table[buckets[j − i + L − 1], h] -------------------------- */

enum { THREADS = 256 };

__global__ void __launch_bounds__(THREADS)
    position_bias_kernel(float *out, const float *table, const int32_t *buckets, int n)
{
    int key = blockIdx.x * THREADS + threadIdx.x, query = blockIdx.y, head = blockIdx.z;
    if (key < n)
        out[((int64_t) head * n + query) * n + key] =
            table[buckets[key - query + n - 1] * (int64_t) gridDim.z + head];
}

void position_bias(LfBackend *be, LfTensor out, LfTensor table, LfTensor buckets)
{
    LfCuda *cuda = lf_cuda(be);
    int heads = (int) out.shape[0], n = (int) out.shape[1];
    dim3 blocks(blocks_for(n, THREADS), (unsigned) n, (unsigned) heads);
    position_bias_kernel<<<blocks, THREADS, 0, cuda->stream>>>(lf_f32(out), lf_f32(table),
                                                               lf_i32(buckets), n);
    lf_cuda_launched(cuda, "position_bias");
}

/* ---- embedding ------------------------------------------------------------------------------- */

/* A block for each id. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    embedding_kernel(bf16 *out, const T *table, const int32_t *ids, int64_t n_rows, int64_t width)
{
    int64_t id = ids[blockIdx.x];
    bool there = id >= 0 && id < n_rows;
    for (int64_t i = threadIdx.x; i < width; i += THREADS)
        out[blockIdx.x * width + i] =
            from_float<bf16>(there ? to_float(table[id * width + i]) : 0.0f);
}

template <typename T>
void gather(LfCuda *cuda, LfTensor out, const LfCudaWeight *table, LfTensor ids)
{
    embedding_kernel<<<(unsigned) ids.shape[0], THREADS, 0, cuda->stream>>>(
        (bf16 *) out.data, (const T *) table->data, lf_i32(ids), table->base.out, table->base.in);
    lf_cuda_launched(cuda, "embedding");
}

void embedding(LfBackend *be, LfTensor out, const LfWeight *weight, LfTensor ids)
{
    LfCuda *cuda = lf_cuda(be);
    const LfCudaWeight *table = (const LfCudaWeight *) weight;
    if (table->type == LF_F32)
        gather<float>(cuda, out, table, ids);
    else if (table->type == LF_BF16)
        gather<bf16>(cuda, out, table, ids);
    else if (table->type == LF_F16)
        gather<__half>(cuda, out, table, ids);
    else
        lf_cuda_fail(cuda, "embedding", "a table of this type was not converted when it was made");
}

/* ---- the gate: gelu_tanh(gate) ⊙ up, eight numbers a thread where they lie so ---------------- */

template <int N>
__global__ void __launch_bounds__(THREADS) gelu_gate_kernel(bf16 *gate, const bf16 *up, int64_t n)
{
    int64_t i = (int64_t) blockIdx.x * THREADS + threadIdx.x;
    if (i >= n)
        return;
    Pack<bf16, N> g = reinterpret_cast<const Pack<bf16, N> *>(gate)[i];
    Pack<bf16, N> u = reinterpret_cast<const Pack<bf16, N> *>(up)[i];
#pragma unroll
    for (int j = 0; j < N; j++)
        g.at[j] = from_float<bf16>(gelu_tanh(to_float(g.at[j])) * to_float(u.at[j]));
    reinterpret_cast<Pack<bf16, N> *>(gate)[i] = g;
}

void gelu_gate(LfBackend *be, LfTensor gate, LfTensor up)
{
    LfCuda *cuda = lf_cuda(be);
    int64_t n = lf_tensor_count(gate);
    bf16 *g = (bf16 *) gate.data;
    const bf16 *u = (const bf16 *) up.data;
    if (n % 8 == 0 && ((uintptr_t) g | (uintptr_t) u) % 16 == 0)
        gelu_gate_kernel<8><<<blocks_for(n / 8, THREADS), THREADS, 0, cuda->stream>>>(g, u, n / 8);
    else
        gelu_gate_kernel<1><<<blocks_for(n, THREADS), THREADS, 0, cuda->stream>>>(g, u, n);
    lf_cuda_launched(cuda, "gelu_gate");
}

} // namespace

void lf_cuda_text_init(LfCuda *cuda)
{
    cuda->ops.text_attention = text_attention;
    cuda->ops.position_bias = position_bias;
    cuda->ops.embedding = embedding;
    cuda->ops.gelu_gate = gelu_gate;
}
