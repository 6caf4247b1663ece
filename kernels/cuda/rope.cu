/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From the product qkv [N, 3·D] to what attention reads: RMS norm over all D channels, rotation of
 * interleaved pairs, heads apart, k and v into the cache, means over blocks; and keys rotated to
 * another frame number. Bound by memory: every value is read once and written once.
 *
 * A block of threads takes one block of tokens of q or of k, so that its mean stays inside, or some
 * rows of v; a warp takes a token at a time. The plain version takes any width, a pair at a time.
 */
#include "mma.cuh"
#include "versions.h"

namespace {

/* The weight and the outputs of q or of k. */
struct Part {
    const float *weight;           /* [D] */
    bf16 *rows;                    /* head 0, frame 0 of the chunk, or slot 0 */
    float *means;                  /* the same; or NULL */
    int64_t rows_head, rows_frame; /* strides: of a head, of a frame or slot */
    int64_t means_head, means_frame;
    int block, n_blocks; /* tokens; in a frame */
};

struct Job {
    Part part[2]; /* q, k */
    const bf16 *qkv;
    bf16 *v;                 /* slot 0 */
    const float2 *angles[3]; /* time, row, column: [index, pairs] of (cos, sin) */
    int n_pairs[3];
    const int32_t *slots; /* of the chunk's frames */
    int heads, head_dim, frames, tokens, columns;
    float eps;
};

/* Tokens [first, first + n) of a frame: their rows of qkv, and the destinations of the tokens and
 * of their mean, for head 0. */
struct Block {
    int frame, first, n;
    const bf16 *from;
    bf16 *rows;
    float *mean;
};

/* Block `index` of part 0 or 1. */
__device__ inline Block block_of(const Job &job, int part, int index)
{
    const Part &p = job.part[part];
    int width = job.heads * job.head_dim;
    Block b;
    b.frame = index / p.n_blocks;
    int in_frame = index % p.n_blocks;
    b.first = in_frame * p.block;
    b.n = min(p.block, job.tokens - b.first);
    b.from = job.qkv + ((int64_t) b.frame * job.tokens + b.first) * 3 * width + part * width;
    int64_t at = part ? job.slots[b.frame] : b.frame;
    b.rows = p.rows + at * p.rows_frame + (int64_t) b.first * job.head_dim;
    b.mean = p.means ? p.means + at * p.means_frame + (int64_t) in_frame * job.head_dim : nullptr;
    return b;
}

/* (cos, sin) of one pair of a head; `index` is the token's frame, row and column. */
__device__ inline float2 turn_of(const Job &job, int pair, const int (&index)[3])
{
    int part = 0;
    while (pair >= job.n_pairs[part])
        pair -= job.n_pairs[part++];
    return job.angles[part][(int64_t) index[part] * job.n_pairs[part] + pair];
}

__device__ inline float2 rotated(float a, float b, float2 angle)
{
    return make_float2(a * angle.x - b * angle.y, a * angle.y + b * angle.x);
}

/* ---- plain ----------------------------------------------------------------------------------- */

enum { PLAIN_THREADS = 128 };

/* The same in every thread. */
__device__ float sum_of_squares(const bf16 *x, int width)
{
    __shared__ float sums[PLAIN_THREADS / 32];
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += PLAIN_THREADS)
        sum += to_float(x[i]) * to_float(x[i]);
    sum = warp_sum(sum);
    __syncthreads(); /* all have read the one before */
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int i = 0; i < PLAIN_THREADS / 32; i++)
        sum += sums[i];
    return sum;
}

/* A thread always has the same channels, so it can add up their means in memory. */
__device__ void plain_rotate(const Job &job, int part, const Block &b)
{
    const Part &p = job.part[part];
    int d = job.head_dim, width = job.heads * d;
    for (int t = 0; t < b.n; t++) {
        const bf16 *x = b.from + (int64_t) t * 3 * width;
        float factor = rsqrtf(sum_of_squares(x, width) / width + job.eps);
        int token = b.first + t, index[3] = {b.frame, token / job.columns, token % job.columns};
        for (int i = 2 * threadIdx.x; i < width; i += 2 * PLAIN_THREADS) {
            int head = i / d, c = i % d;
            float2 y =
                rotated(to_float(x[i]) * factor * p.weight[i],
                        to_float(x[i + 1]) * factor * p.weight[i + 1], turn_of(job, c / 2, index));
            bf16 *out = b.rows + head * p.rows_head + (int64_t) t * d + c;
            out[0] = from_float<bf16>(y.x);
            out[1] = from_float<bf16>(y.y);
            if (!b.mean)
                continue;
            float *mean = b.mean + head * p.means_head + c;
            float last = t == b.n - 1 ? (float) b.n : 1.0f;
            mean[0] = ((t ? mean[0] : 0.0f) + y.x) / last;
            mean[1] = ((t ? mean[1] : 0.0f) + y.y) / last;
        }
    }
}

__device__ void plain_copy(const Job &job, int frame, int token)
{
    int d = job.head_dim, width = job.heads * d;
    const bf16 *x = job.qkv + (((int64_t) frame * job.tokens + token) * 3 + 2) * width;
    bf16 *v = job.v + job.slots[frame] * job.part[1].rows_frame + (int64_t) token * d;
    for (int i = threadIdx.x; i < width; i += PLAIN_THREADS)
        v[i / d * job.part[1].rows_head + i % d] = x[i];
}

__global__ void __launch_bounds__(PLAIN_THREADS) plain_kernel(const Job job)
{
    int index = blockIdx.x, n_q = job.frames * job.part[0].n_blocks;
    int n_k = job.frames * job.part[1].n_blocks;
    if (index < n_q)
        plain_rotate(job, 0, block_of(job, 0, index));
    else if (index < n_q + n_k)
        plain_rotate(job, 1, block_of(job, 1, index - n_q));
    else
        plain_copy(job, (index - n_q - n_k) / job.tokens, (index - n_q - n_k) % job.tokens);
}

/* ---- eight channels a thread ----------------------------------------------------------------- */

/* D = SPLIT·EACH·256: SPLIT warps share a row. A lane has channels 256·i + 8·lane … + 7 of its
 * warp's part, i < EACH: the same four pairs of all its heads. Rows come up to DEPTH − 1 ahead into
 * shared memory, where every lane reads only what it has copied itself. Blocks of q are the fewest
 * and the longest. They have more rows in flight than v (V_AHEAD per warp), which gives them a
 * larger share of the memory bandwidth. */
enum { WARPS = 16, V_ROWS = 32, V_AHEAD = 2 };

template <int EACH> struct Row {
    uint4 piece[EACH];
};

template <int EACH> __device__ inline Row<EACH> read_row(const bf16 *x)
{
    Row<EACH> row;
#pragma unroll
    for (int i = 0; i < EACH; i++)
        row.piece[i] = __ldcs((const uint4 *) (x + 256 * i + 8 * (threadIdx.x % 32)));
    return row;
}

__device__ inline float2 both(unsigned bits)
{
    return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
}

template <int EACH> __device__ inline float squares(const Row<EACH> &row)
{
    float2 sum = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const unsigned bits[4] = {row.piece[i].x, row.piece[i].y, row.piece[i].z, row.piece[i].w};
#pragma unroll
        for (int p = 0; p < 4; p++) {
            float2 x = both(bits[p]);
            sum.x += x.x * x.x;
            sum.y += x.y * x.y;
        }
    }
    return warp_sum(sum.x + sum.y);
}

/* Sum over the warps that share a row. `odd` alternates, so that nobody overwrites what others
 * still read. */
template <int SPLIT> __device__ inline float sum_of_parts(float sum, bool odd)
{
    if (SPLIT == 1)
        return sum;
    __shared__ float sums[2][WARPS];
    int warp = threadIdx.x / 32, team = warp / SPLIT;
    if (threadIdx.x % 32 == 0)
        sums[odd][warp] = sum;
    asm volatile("bar.sync %0, %1;" ::"r"(1 + team), "n"(32 * SPLIT) : "memory");
    sum = 0.0f;
    for (int i = 0; i < SPLIT; i++)
        sum += sums[odd][team * SPLIT + i];
    return sum;
}

/* For a lane's four pairs of a head: where their angles (cos, sin) lie, and whether the token's
 * frame, row or column chooses one of them. */
struct Angles {
    const float2 *at[4];
    int stride[4], kind[4];
};

__device__ inline Angles angles_of(const Job &job)
{
    Angles t;
#pragma unroll
    for (int p = 0; p < 4; p++) {
        int pair = threadIdx.x % 32 * 8 % job.head_dim / 2 + p, part = 0;
        while (pair >= job.n_pairs[part])
            pair -= job.n_pairs[part++];
        t.at[p] = job.angles[part] + pair;
        t.stride[p] = job.n_pairs[part];
        t.kind[p] = part;
    }
    return t;
}

/* Weight, rotation, rounding. The numbers are also added to the sums, before rounding. The angles
 * include the factor of the norm. */
template <int EACH>
__device__ inline void rotate_row(const Row<EACH> &row, const float *weight,
                                  const float2 (&angle)[4], bf16 *out, int64_t stride,
                                  float (&sums)[EACH][8])
{
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const unsigned bits[4] = {row.piece[i].x, row.piece[i].y, row.piece[i].z, row.piece[i].w};
        unsigned y[4];
        Pack<float, 4> w[2];
        w[0] = *(const Pack<float, 4> *) (weight + 256 * i);
        w[1] = *(const Pack<float, 4> *) (weight + 256 * i + 4);
#pragma unroll
        for (int p = 0; p < 4; p++) {
            float2 x = both(bits[p]);
            float2 r =
                rotated(x.x * w[p / 2].at[p % 2 * 2], x.y * w[p / 2].at[p % 2 * 2 + 1], angle[p]);
            sums[i][2 * p] += r.x;
            sums[i][2 * p + 1] += r.y;
            y[p] = pack_bf16(r.x, r.y);
        }
        *(uint4 *) (out + i * stride) = make_uint4(y[0], y[1], y[2], y[3]);
    }
}

template <int EACH, int SPLIT, int DEPTH> struct Shared {
    union {
        uint4 rows[DEPTH][WARPS][EACH][32];
        float sums[WARPS][256]; /* at the end */
    };
    float weights[256 * EACH * SPLIT];
};

/* Sums of all warps, in their order, over n: the mean. */
template <int EACH, int SPLIT>
__device__ inline void write_mean(const Job &job, const Part &part, const Block &b,
                                  float (&all)[WARPS][256], const float (&sums)[EACH][8])
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    __syncthreads(); /* all have read their rows */
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        float4 *to = (float4 *) &all[warp][8 * lane];
        to[0] = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        to[1] = make_float4(sums[i][4], sums[i][5], sums[i][6], sums[i][7]);
        __syncthreads();
        for (int s = threadIdx.x / 256; s < SPLIT; s += WARPS / 8) {
            float sum = 0.0f;
            for (int w = s; w < WARPS; w += SPLIT)
                sum += all[w][threadIdx.x % 256];
            int channel = 256 * (s * EACH + i) + threadIdx.x % 256;
            b.mean[channel / job.head_dim * part.means_head + channel % job.head_dim] =
                sum / (float) b.n;
        }
        __syncthreads();
    }
}

/* A warp's part of a row on its way to shared memory; one group of copies, also where there is no
 * row. */
template <int EACH> __device__ inline void fetch_row(uint4 (&to)[EACH][32], const bf16 *x, bool has)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (has)
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                             (unsigned) __cvta_generic_to_shared(&to[i][lane])),
                         "l"(x + 256 * i + 8 * lane)
                         : "memory");
    copies_commit();
}

template <int EACH, int SPLIT, int DEPTH>
__device__ inline void rotate_block(const Job &job, Shared<EACH, SPLIT, DEPTH> &shared, int which,
                                    int index)
{
    constexpr int width = 256 * EACH * SPLIT, teams = WARPS / SPLIT;
    const Part &part = job.part[which];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, t = warp / SPLIT, d = job.head_dim;
    int begin = 256 * EACH * (warp % SPLIT), mine = begin + 8 * lane;
    for (int i = threadIdx.x; i < width; i += 32 * WARPS)
        shared.weights[i] = part.weight[i]; /* weights, which no kernel writes */
    Angles angles = angles_of(job);
    wait_for_earlier();
    Block b = block_of(job, which, index);
    const bf16 *from = b.from + begin + (int64_t) t * 3 * width;
    for (int i = 0; i < DEPTH - 1; i++, from += teams * 3 * width)
        fetch_row<EACH>(shared.rows[i][warp], from, t + i * teams < b.n);
    bf16 *out = b.rows + mine / d * part.rows_head + mine % d + (int64_t) t * d;
    int64_t stride = 256 / d * part.rows_head;
    float sums[EACH][8];
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int c = 0; c < 8; c++)
            sums[i][c] = 0.0f;
    int y = (b.first + t) / job.columns, x = b.first + t - y * job.columns;
    int now = 0, ahead = DEPTH - 1; /* places of this row and of the one that is fetched */
    __syncthreads();
    for (int stage = 0; t < b.n; t += teams, stage++) {
        fetch_row<EACH>(shared.rows[ahead][warp], from, t + (DEPTH - 1) * teams < b.n);
        from += teams * 3 * width;
        float2 angle[4];
#pragma unroll
        for (int p = 0; p < 4; p++) {
            int chosen = angles.kind[p] == 0 ? b.frame : angles.kind[p] == 1 ? y : x;
            angle[p] = __ldg(angles.at[p] + chosen * angles.stride[p]);
        }
        for (x += teams; x >= job.columns; x -= job.columns)
            y++;
        copies_wait<DEPTH - 1>();
        Row<EACH> row;
#pragma unroll
        for (int i = 0; i < EACH; i++)
            row.piece[i] = shared.rows[now][warp][i][lane];
        ahead = now;
        now = now == DEPTH - 1 ? 0 : now + 1;
        float squared = sum_of_parts<SPLIT>(squares(row), stage % 2);
        float factor = rsqrtf(squared * (1.0f / width) + job.eps);
#pragma unroll
        for (int p = 0; p < 4; p++)
            angle[p] = make_float2(angle[p].x * factor, angle[p].y * factor);
        rotate_row<EACH>(row, shared.weights + mine, angle, out, stride, sums);
        out += teams * d;
    }
    if (b.mean)
        write_mean<EACH, SPLIT>(job, part, b, shared.sums, sums);
}

/* Rows [first, first + V_ROWS) of the chunk. */
template <int EACH, int SPLIT> __device__ inline void copy_rows(const Job &job, int first)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, d = job.head_dim;
    int begin = 256 * EACH * (warp % SPLIT), mine = begin + 8 * lane;
    bf16 *to = job.v + mine / d * job.part[1].rows_head + mine % d;
    int64_t stride = 256 / d * job.part[1].rows_head, width = 256 * EACH * SPLIT;
    int end = min(first + V_ROWS, job.frames * job.tokens);
    wait_for_earlier();
#pragma unroll V_AHEAD
    for (int n = first + warp / SPLIT; n < end; n += WARPS / SPLIT) {
        int frame = n / job.tokens, token = n - frame * job.tokens;
        Row<EACH> row = read_row<EACH>(job.qkv + (3 * (int64_t) n + 2) * width + begin);
        bf16 *out = to + job.slots[frame] * job.part[1].rows_frame + (int64_t) token * d;
#pragma unroll
        for (int i = 0; i < EACH; i++)
            *(uint4 *) (out + i * stride) = row.piece[i];
    }
}

template <int EACH, int SPLIT, int DEPTH>
__global__ void __launch_bounds__(32 * WARPS, 1) fast_kernel(const Job job)
{
    extern __shared__ __align__(16) char memory[];
    using Memory = Shared<EACH, SPLIT, DEPTH>;
    Memory &shared = *reinterpret_cast<Memory *>(memory);
    let_next_begin();
    int index = blockIdx.x, n_q = job.frames * job.part[0].n_blocks;
    int n = n_q + job.frames * job.part[1].n_blocks;
    if (index < n)
        rotate_block<EACH, SPLIT, DEPTH>(job, shared, index >= n_q,
                                         index < n_q ? index : index - n_q);
    else
        copy_rows<EACH, SPLIT>(job, (index - n) * V_ROWS);
}

/* ---- the operation --------------------------------------------------------------------------- */

const char *fast_refuses(const LfCuda *cuda, const Job *job)
{
    int width = job->heads * job->head_dim;
    if (job->head_dim % 8 || 256 % job->head_dim)
        return "the channels of a head do not divide 256, or are no multiple of 8";
    if (width != 256 && width != 1536 && width != 5120)
        return "rows have neither 256 nor 1536 nor 5120 channels";
    if (!lf_cuda_is_aligned(job->qkv) || !lf_cuda_is_aligned(job->v) ||
        !lf_cuda_is_aligned(job->part[0].rows) || !lf_cuda_is_aligned(job->part[1].rows))
        return "rows are not aligned to 16 bytes";
    return NULL;
}

/* False where the chip has less shared memory than that. */
template <int EACH, int SPLIT, int DEPTH>
bool launch_fast(LfCuda *cuda, const Job &job, unsigned n_blocks)
{
    constexpr int size = (int) sizeof(Shared<EACH, SPLIT, DEPTH>);
    int most = 0;
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda->device);
    if (size > most)
        return false;
    auto kernel = fast_kernel<EACH, SPLIT, DEPTH>;
    if (lf_cuda_check(
            cuda, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, size),
            "qkv_norm_rope"))
        launch_early(cuda, kernel, n_blocks, 32 * WARPS, size, job);
    return true;
}

/* Blocks of q and k. */
unsigned count_blocks(const Job *job)
{
    return (unsigned) (job->frames * (job->part[0].n_blocks + job->part[1].n_blocks));
}

const char *run_fast(LfCuda *cuda, const Job *job)
{
    int width = job->heads * job->head_dim;
    unsigned all = count_blocks(job) + blocks_for(job->frames * job->tokens, V_ROWS);
    bool done = false;
    if (width == 256)
        done = launch_fast<1, 1, 3>(cuda, *job, all);
    else if (width == 1536)
        done = launch_fast<3, 2, 6>(cuda, *job, all) || launch_fast<3, 2, 3>(cuda, *job, all);
    else
        done = launch_fast<5, 4, 3>(cuda, *job, all);
    return done ? NULL : "the chip has too little shared memory";
}

const char *run_plain(LfCuda *cuda, const Job *job)
{
    unsigned all = count_blocks(job) + (unsigned) (job->frames * job->tokens);
    plain_kernel<<<all, PLAIN_THREADS, 0, cuda->stream>>>(*job);
    return NULL;
}

const LfCudaVersion<Job> versions[] = {
    {"fast", LF_CUDA_WIDE | LF_CUDA_ASYNC_COPY, fast_refuses, run_fast},
    {"plain", 0, NULL, run_plain},
};

void describe(char *text, size_t size, const Job *job)
{
    g_snprintf(text, size, "%d frames of %d tokens, %d heads of %d channels", job->frames,
               job->tokens, job->heads, job->head_dim);
}

void qkv_norm_rope(LfBackend *be, LfTensor q, LfTensor q_pool, const LfWindow *window, LfTensor qkv,
                   LfTensor q_weight, LfTensor k_weight, const LfRope *rope, int query_block,
                   float eps)
{
    LfCuda *cuda = lf_cuda(be);
    const int64_t *cache = window->k.shape; /* [S, H, T, d] */
    int64_t heads = cache[1], tokens = cache[2], d = cache[3];
    if (!lf_is_set(q_pool))
        query_block = 64; /* only how the work is cut */
    int query_blocks = (int) blocks_for(tokens, query_block),
        key_blocks = (int) window->k_pool.shape[2];
    int64_t q_means = (int64_t) window->chunk * query_blocks * d;
    Job job = {};
    job.part[0] = {lf_f32(q_weight),
                   (bf16 *) q.data,
                   lf_f32(q_pool),
                   q.shape[1] * d,
                   tokens * d,
                   q_means,
                   (int64_t) query_blocks * d,
                   query_block,
                   query_blocks};
    job.part[1] = {
        lf_f32(k_weight),   (bf16 *) window->k.data, lf_f32(window->k_pool), tokens * d,
        heads * tokens * d, key_blocks * d,          heads * key_blocks * d, window->key_block,
        key_blocks};
    job.qkv = (const bf16 *) qkv.data;
    job.v = (bf16 *) window->v.data;
    const LfTensor angles[3] = {rope->time, rope->row, rope->col};
    for (int i = 0; i < 3; i++) {
        job.angles[i] = (const float2 *) angles[i].data;
        job.n_pairs[i] = (int) angles[i].shape[1];
    }
    job.slots = lf_i32(window->slots) + window->slots.shape[0] - window->chunk;
    job.heads = (int) heads;
    job.head_dim = (int) d;
    job.frames = window->chunk;
    job.tokens = (int) tokens;
    job.columns = lf_is_set(rope->col) ? (int) rope->col.shape[0] : 1;
    job.eps = eps;
    lf_cuda_run(cuda, "qkv_norm_rope", versions, describe, &job);
    lf_cuda_launched(cuda, "qkv_norm_rope");
}

/* ---- keys to another frame number ------------------------------------------------------------ */

enum { SHIFT_THREADS = 256 };

/* Channels [first, first + N) of row r for each thread; `touched` of a row's d channels change or
 * have to be copied. N is even, or d less than N. */
template <typename T, int N>
__global__ void __launch_bounds__(SHIFT_THREADS)
    shift_kernel(T *out, const T *x, const float2 *angle, int n_time, int64_t rows, int d,
                 int touched)
{
    int per_row = (touched + N - 1) / N;
    int64_t index = (int64_t) blockIdx.x * SHIFT_THREADS + threadIdx.x;
    if (index >= rows * per_row)
        return;
    int first = (int) (index % per_row) * N;
    int64_t at = index / per_row * d + first;
    Pack<T, N> y = *(const Pack<T, N> *) (x + at);
#pragma unroll
    for (int i = 0; i < N; i += 2)
        if ((first + i) / 2 < n_time) {
            float2 r = rotated(to_float(y.at[i]), to_float(y.at[i + 1]), angle[(first + i) / 2]);
            y.at[i] = from_float<T>(r.x);
            y.at[i + 1] = from_float<T>(r.y);
        }
    *(Pack<T, N> *) (out + at) = y;
}

/* One pair a thread, or the single channel at the end of an odd row. */
template <typename T>
__global__ void __launch_bounds__(SHIFT_THREADS)
    plain_shift_kernel(T *out, const T *x, const float2 *angle, int n_time, int64_t rows, int d)
{
    int per_row = (d + 1) / 2;
    int64_t index = (int64_t) blockIdx.x * SHIFT_THREADS + threadIdx.x;
    if (index >= rows * per_row)
        return;
    int pair = (int) (index % per_row);
    int64_t at = index / per_row * d + 2 * pair;
    if (pair < n_time) {
        float2 y = rotated(to_float(x[at]), to_float(x[at + 1]), angle[pair]);
        out[at] = from_float<T>(y.x);
        out[at + 1] = from_float<T>(y.y);
    } else {
        T a = x[at], b = 2 * pair + 1 < d ? x[at + 1] : a;
        out[at] = a;
        if (2 * pair + 1 < d)
            out[at + 1] = b;
    }
}

struct Shift {
    LfTensor out, x;
    const float2 *angles;
    int n_time, d;
    int64_t rows;
};

const char *wide_shift_refuses(const LfCuda *cuda, const Shift *s)
{
    bool wide = s->d * lf_type_size(s->x.type) % 16 == 0;
    return wide && lf_cuda_is_aligned(s->x.data) && lf_cuda_is_aligned(s->out.data)
               ? NULL
               : "rows are not aligned to 16 bytes";
}

template <typename T> void shift_wide(LfCuda *cuda, const Shift *s)
{
    constexpr int each = 16 / sizeof(T);
    int touched = s->out.data == s->x.data ? 2 * s->n_time : s->d;
    int64_t threads = s->rows * ((touched + each - 1) / each);
    if (threads)
        shift_kernel<T, each>
            <<<blocks_for(threads, SHIFT_THREADS), SHIFT_THREADS, 0, cuda->stream>>>(
                (T *) s->out.data, (const T *) s->x.data, s->angles, s->n_time, s->rows, s->d,
                touched);
}

const char *run_wide_shift(LfCuda *cuda, const Shift *s)
{
    s->x.type == LF_F32 ? shift_wide<float>(cuda, s) : shift_wide<bf16>(cuda, s);
    return NULL;
}

template <typename T> void shift_plain(LfCuda *cuda, const Shift *s)
{
    unsigned blocks = blocks_for(s->rows * ((s->d + 1) / 2), SHIFT_THREADS);
    plain_shift_kernel<T><<<blocks, SHIFT_THREADS, 0, cuda->stream>>>(
        (T *) s->out.data, (const T *) s->x.data, s->angles, s->n_time, s->rows, s->d);
}

const char *run_plain_shift(LfCuda *cuda, const Shift *s)
{
    s->x.type == LF_F32 ? shift_plain<float>(cuda, s) : shift_plain<bf16>(cuda, s);
    return NULL;
}

const LfCudaVersion<Shift> shift_versions[] = {
    {"wide", LF_CUDA_WIDE, wide_shift_refuses, run_wide_shift},
    {"plain", 0, NULL, run_plain_shift},
};

void describe_shift(char *text, size_t size, const Shift *s)
{
    g_snprintf(text, size, "%d rows of %d channels, %s", (int) s->rows, s->d,
               lf_type_name(s->x.type));
}

void rope_shift(LfBackend *be, LfTensor out, LfTensor x, LfTensor angle)
{
    LfCuda *cuda = lf_cuda(be);
    Shift s = {out,
               x,
               (const float2 *) angle.data,
               (int) angle.shape[0],
               (int) x.shape[2],
               x.shape[0] * x.shape[1]};
    lf_cuda_run(cuda, "rope_shift", shift_versions, describe_shift, &s);
    lf_cuda_launched(cuda, "rope_shift");
}

} // namespace

void lf_cuda_rope_init(LfCuda *cuda)
{
    cuda->ops.qkv_norm_rope = qkv_norm_rope;
    cuda->ops.rope_shift = rope_shift;
}
