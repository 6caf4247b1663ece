/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hierarchical selection (docs/light-forcing.md), for each head and query block: scores all key
 * blocks, keeps the best past frames, and of the blocks of these and of the chunk the best. Bound
 * by the latency of reading the means of a head's keys, and of the search.
 *
 * A score is one chain of fused multiply-adds over the channels, a frame's the sum of its blocks'
 * in their order: the CPU does both in the same way, so that the tables agree where two blocks all
 * but tie. Scores become integers of the same order. The bound that the wanted number of them
 * reaches is found bit by bit, from the highest; most queries are settled after some ten bits.
 *
 * A thread block has QUERIES of one head; a thread has some key blocks and all these queries, a
 * warp then has a query. The plain version has one query, any number of channels, and its scores in
 * memory.
 */
#include "divide.h"
#include "mma.cuh"
#include "versions.h"

namespace {

struct Job {
    int32_t *table;     /* [heads, n_queries, budget] */
    const float *q, *k; /* [heads, n_queries, d], [slots, heads, blocks, d] */
    const int32_t *slots;
    uint32_t *scores; /* plain: [gridDim.x, frames·(blocks + 1)] */
    int heads, n_queries, d;
    int frames, blocks, budget; /* frames of the window, key blocks of a frame */
    LfDivisor by_blocks;
    int first_free, n_free, n_keep; /* the past frames that compete, and how many of them stay */
};

/* ---- the best -------------------------------------------------------------------------------- */

/* Maps floats to integers of the same order. +0 and −0 are equal. 0 is not used: it marks blocks
 * that may not be chosen. */
__device__ inline uint32_t order_of(float x)
{
    uint32_t bits = __float_as_uint(x + 0.0f);
    uint32_t order = bits >> 31 ? ~bits : bits | 0x80000000u;
    return order ? order : 1;
}

/* The keys of one query, as a warp has them: lane l has numbers l, 32 + l, … */
template <int EACH> struct InRegisters {
    uint32_t key[EACH];

    __device__ int count_from(uint32_t bound) const
    {
        int count = 0;
#pragma unroll
        for (int i = 0; i < EACH; i++)
            count += key[i] >= bound;
        return __reduce_add_sync(0xffffffffu, count);
    }

    template <typename Visit> __device__ void visit(Visit visit) const
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            visit(32 * i, key[i]);
    }
};

struct InMemory {
    const uint32_t *key;
    int n;

    __device__ int count_from(uint32_t bound) const
    {
        int count = 0;
#pragma unroll 8
        for (int i = threadIdx.x % 32; i < n; i += 32)
            count += key[i] >= bound;
        return __reduce_add_sync(0xffffffffu, count);
    }

    template <typename Visit> __device__ void visit(Visit visit) const
    {
        for (int first = 0, lane = threadIdx.x % 32; first < n; first += 32)
            visit(first, first + lane < n ? key[first + lane] : 0);
    }
};

/* Of n keys, those above `bound` and the first `n_equal` of those equal to it are the n_keep best.
 * Calls stays(first number, of all lanes' keys from there on the ones that stay), in order. */
template <typename Keys, typename Stays>
__device__ inline void keep_best(const Keys &keys, int n, int n_keep, Stays stays)
{
    uint32_t bound = 0;
    int reached = n;
    for (int bit = 31; bit >= 0 && reached != n_keep; bit--) {
        uint32_t trial = bound | 1u << bit;
        int count = keys.count_from(trial);
        if (count >= n_keep) {
            bound = trial;
            reached = count;
        }
    }
    int n_equal = n_keep - (bound == ~0u ? 0 : keys.count_from(bound + 1));
    keys.visit([&](int first, uint32_t key) {
        unsigned equals = __ballot_sync(0xffffffffu, key == bound);
        int before = __popc(equals & ((1u << threadIdx.x % 32) - 1));
        stays(first, __ballot_sync(0xffffffffu, key > bound || (key == bound && before < n_equal)));
        n_equal -= min(n_equal, __popc(equals));
    });
}

/* ---- one query, by one warp ------------------------------------------------------------------ */

/* frames [n_free]: does it stay? From scores [frames·blocks]. */
__device__ inline void select_frames(const Job &job, const uint32_t *scores, uint32_t *frames)
{
    int lane = threadIdx.x % 32;
    auto order = [&](int f) {
        const uint32_t *s = scores + (job.first_free + f) * job.blocks;
        float sum = 0.0f;
#pragma unroll 8
        for (int b = 0; b < job.blocks; b++)
            sum += __uint_as_float(s[b]);
        return order_of(sum);
    };
    auto note = [&](int first, unsigned stay) {
        if (first + lane < job.n_free)
            frames[first + lane] = stay >> lane & 1;
    };
    if (job.n_free <= 32) {
        InRegisters<1> keys = {{lane < job.n_free ? order(lane) : 0}};
        keep_best(keys, job.n_free, job.n_keep, note);
    } else {
        for (int f = lane; f < job.n_free; f += 32)
            frames[f] = order(f);
        __syncwarp();
        keep_best(InMemory{frames, job.n_free}, job.n_free, job.n_keep, note);
    }
    __syncwarp();
}

/* The order of block i, 0 when its frame does not stay. */
__device__ inline uint32_t key_of(const Job &job, const uint32_t *scores, const uint32_t *frames,
                                  int i)
{
    int frame = (int) lf_divide((uint32_t) i, job.by_blocks);
    unsigned f = (unsigned) (frame - job.first_free);
    return f < (unsigned) job.n_free && !frames[f] ? 0 : order_of(__uint_as_float(scores[i]));
}

/* From scores [frames·blocks], with room for the frames [frames], to the table's row. */
template <int EACH>
__device__ inline void select(const Job &job, uint32_t *scores, uint32_t *frames, int32_t *row)
{
    int lane = threadIdx.x % 32, n = job.frames * job.blocks;
    if (job.n_free)
        select_frames(job, scores, frames);
    auto write = [&](int first, unsigned stay) {
        if (stay >> lane & 1)
            row[__popc(stay & ((1u << lane) - 1))] = first + lane;
        row += __popc(stay);
    };
    if constexpr (EACH > 0) {
        InRegisters<EACH> keys;
#pragma unroll
        for (int i = 0; i < EACH; i++)
            keys.key[i] = 32 * i + lane < n ? key_of(job, scores, frames, 32 * i + lane) : 0;
        keep_best(keys, n, job.budget, write);
    } else {
        for (int i = lane; i < n; i += 32)
            scores[i] = key_of(job, scores, frames, i);
        __syncwarp();
        keep_best(InMemory{scores, n}, n, job.budget, write);
    }
}

/* ---- plain ----------------------------------------------------------------------------------- */

enum { PLAIN_THREADS = 128 };

/* Queries [first, first + gridDim.x), counted over all heads. */
__global__ void __launch_bounds__(PLAIN_THREADS) plain_kernel(const Job job, int64_t first)
{
    int64_t query = first + blockIdx.x;
    int n = job.frames * job.blocks, head = (int) (query / job.n_queries);
    uint32_t *scores = job.scores + (int64_t) blockIdx.x * (n + job.frames);
    const float *q = job.q + query * job.d;
    for (int i = threadIdx.x; i < n; i += PLAIN_THREADS) {
        int64_t slot = job.slots[i / job.blocks];
        const float *k = job.k + ((slot * job.heads + head) * job.blocks + i % job.blocks) * job.d;
        float sum = 0.0f;
        for (int c = 0; c < job.d; c++)
            sum = fmaf(q[c], k[c], sum);
        scores[i] = __float_as_uint(sum);
    }
    __syncthreads();
    if (threadIdx.x < 32)
        select<0>(job, scores, scores + n, job.table + query * job.budget);
}

/* ---- several queries a block ----------------------------------------------------------------- */

/* Means of keys are copied in tiles of `rows` key blocks and PIECE channels, up to DEPTH − 1 ahead.
 * The rows in shared memory are padded by 16 bytes, so that the rows of eight threads are in
 * different banks. A tile of 576 holds the usual 21 frames of 24 or 25 blocks. */
enum { QUERIES = 4, THREADS = 288, PIECE = 16, LANES = PIECE / 4 /* threads that copy a row */ };

template <int KEYS_EACH> struct Tile {
    static constexpr int rows = THREADS * KEYS_EACH, copies = rows * LANES / THREADS;
    float k[rows][PIECE + 4];
};

/* Shared memory behind the tiles. */
struct Shared {
    float *q;                  /* [QUERIES, d] */
    uint32_t *scores, *frames; /* [QUERIES, frames·blocks], [QUERIES, frames] */
    int32_t *slots;            /* [frames] */
};

size_t shared_size(const Job *job)
{
    size_t each = (size_t) job->d + (size_t) job->frames * (job->blocks + 1);
    return (QUERIES * each + job->frames) * sizeof(float);
}

__device__ inline Shared share(const Job &job, void *memory)
{
    Shared s;
    s.q = (float *) memory;
    s.scores = (uint32_t *) (s.q + QUERIES * job.d);
    s.frames = s.scores + QUERIES * job.frames * job.blocks;
    s.slots = (int32_t *) (s.frames + QUERIES * job.frames);
    return s;
}

/* Where the rows begin that a thread copies from, for the key blocks from `first` on; NULL past the
 * last. */
template <int COPIES>
__device__ inline void rows_of(const Job &job, const float *(&rows)[COPIES], const int32_t *slots,
                               int head, int first)
{
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        int key = first + i * (THREADS / LANES) + threadIdx.x / LANES;
        rows[i] = nullptr;
        if (key < job.frames * job.blocks) {
            int frame = (int) lf_divide((uint32_t) key, job.by_blocks);
            int64_t row =
                ((int64_t) slots[frame] * job.heads + head) * job.blocks + key - frame * job.blocks;
            rows[i] = job.k + row * job.d + threadIdx.x % LANES * 4;
        }
    }
}

template <int KEYS_EACH>
__device__ inline void fetch(Tile<KEYS_EACH> &tile,
                             const float *const (&rows)[Tile<KEYS_EACH>::copies], int channel,
                             int d)
{
    int piece = threadIdx.x % LANES * 4;
    if (channel + piece < d)
#pragma unroll
        for (int i = 0; i < Tile<KEYS_EACH>::copies; i++)
            if (rows[i])
                asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(
                                 (unsigned) __cvta_generic_to_shared(
                                     &tile.k[i * (THREADS / LANES) + threadIdx.x / LANES][piece])),
                             "l"(rows[i] + channel)
                             : "memory");
    copies_commit();
}

/* sums += the thread's keys · q, `n` channels. */
template <int KEYS_EACH>
__device__ inline void add_products(float (&sums)[KEYS_EACH][QUERIES], const Tile<KEYS_EACH> &tile,
                                    const float *q, int d, int n)
{
#pragma unroll
    for (int c = 0; c < PIECE; c += 4) {
        if (c >= n)
            break;
        float4 x[KEYS_EACH];
#pragma unroll
        for (int k = 0; k < KEYS_EACH; k++)
            x[k] = *(const float4 *) &tile.k[k * THREADS + threadIdx.x][c];
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            float4 y = *(const float4 *) (q + i * d + c);
#pragma unroll
            for (int k = 0; k < KEYS_EACH; k++) {
                sums[k][i] = fmaf(y.x, x[k].x, sums[k][i]);
                sums[k][i] = fmaf(y.y, x[k].y, sums[k][i]);
                sums[k][i] = fmaf(y.z, x[k].z, sums[k][i]);
                sums[k][i] = fmaf(y.w, x[k].w, sums[k][i]);
            }
        }
    }
}

/* Scores of the key blocks from `first` on. */
template <int KEYS_EACH, int DEPTH>
__device__ inline void score(const Job &job, Tile<KEYS_EACH> *tiles, const Shared &shared, int head,
                             int first)
{
    const float *rows[Tile<KEYS_EACH>::copies];
    rows_of(job, rows, shared.slots, head, first);
    for (int i = 0; i < DEPTH - 1; i++)
        fetch(tiles[i], rows, i * PIECE, job.d);
    float sums[KEYS_EACH][QUERIES] = {};
    for (int channel = 0, i = 0; channel < job.d; channel += PIECE, i++) {
        copies_wait<DEPTH - 2>();
        __syncthreads(); /* and all are done with the tile before */
        fetch(tiles[(i + DEPTH - 1) % DEPTH], rows, channel + (DEPTH - 1) * PIECE, job.d);
        add_products<KEYS_EACH>(sums, tiles[i % DEPTH], shared.q + channel, job.d, job.d - channel);
    }
    int n = job.frames * job.blocks;
#pragma unroll
    for (int k = 0; k < KEYS_EACH; k++)
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
            if (first + k * THREADS + threadIdx.x < n)
                shared.scores[i * n + first + k * THREADS + threadIdx.x] =
                    __float_as_uint(sums[k][i]);
    __syncthreads();
}

template <int KEYS_EACH, int DEPTH>
__global__ void __launch_bounds__(THREADS, 1) fast_kernel(const Job job)
{
    extern __shared__ __align__(16) char memory[];
    let_next_begin();
    wait_for_earlier();
    Tile<KEYS_EACH> *tiles = (Tile<KEYS_EACH> *) memory;
    Shared shared = share(job, tiles + DEPTH);
    int n = job.frames * job.blocks, head = blockIdx.y, first = blockIdx.x * QUERIES;
    int n_queries = min(QUERIES, job.n_queries - first), warp = threadIdx.x / 32;
    int64_t query = (int64_t) head * job.n_queries + first;
    for (int i = threadIdx.x; i < job.frames; i += THREADS)
        shared.slots[i] = job.slots[i];
    for (int i = threadIdx.x; i < QUERIES * job.d; i += THREADS)
        shared.q[i] = i < n_queries * job.d ? job.q[query * job.d + i] : 0.0f;
    __syncthreads();
    for (int tile = 0; tile < n; tile += Tile<KEYS_EACH>::rows)
        score<KEYS_EACH, DEPTH>(job, tiles, shared, head, tile);
    if (warp >= n_queries)
        return;
    uint32_t *scores = shared.scores + warp * n, *frames = shared.frames + warp * job.frames;
    int32_t *row = job.table + (query + warp) * job.budget;
    if (n <= 18 * 32)
        select<18>(job, scores, frames, row);
    else if (n <= 32 * 32)
        select<32>(job, scores, frames, row);
    else
        select<0>(job, scores, frames, row);
}

/* ---- the operation --------------------------------------------------------------------------- */

/* False where the chip has less shared memory than that. The kernel's limit is the chip's own,
 * never what this call needs: other threads launch the same kernel with other sizes, and graphs
 * that were captured with theirs are replayed. */
template <int KEYS_EACH, int DEPTH> bool launch_fast(LfCuda *cuda, const Job &job)
{
    size_t size = DEPTH * sizeof(Tile<KEYS_EACH>) + shared_size(&job);
    int most = 0;
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda->device);
    if (size > (size_t) most)
        return false;
    dim3 blocks(blocks_for(job.n_queries, QUERIES), (unsigned) job.heads);
    auto kernel = fast_kernel<KEYS_EACH, DEPTH>;
    if (lf_cuda_check(
            cuda, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most),
            "select_blocks"))
        launch_early(cuda, kernel, blocks, THREADS, size, job);
    return true;
}

const char *fast_refuses(const LfCuda *cuda, const Job *job)
{
    bool aligned = job->d % 4 == 0 && (uintptr_t) job->k % 16 == 0;
    return aligned ? NULL : "means are not aligned to 16 bytes";
}

const char *run_fast(LfCuda *cuda, const Job *job)
{
    bool done = launch_fast<2, 4>(cuda, *job) || launch_fast<1, 3>(cuda, *job);
    return done ? NULL : "the chip has too little shared memory for a window of so many blocks";
}

/* Runs as many queries at a time as fit the workspace. */
const char *run_plain(LfCuda *cuda, const Job *call)
{
    Job job = *call;
    int64_t n = (int64_t) job.heads * job.n_queries;
    size_t each = sizeof(uint32_t) * (size_t) job.frames * (size_t) (job.blocks + 1);
    int64_t at_once = (int64_t) (LF_CUDA_WORKSPACE / each);
    job.scores = (uint32_t *) cuda->workspace;
    if (at_once == 0)
        lf_cuda_fail(cuda, "select_blocks", "a window of so many blocks is not supported");
    for (int64_t first = 0; first < n && at_once > 0; first += at_once)
        plain_kernel<<<(unsigned) MIN(at_once, n - first), PLAIN_THREADS, 0, cuda->stream>>>(job,
                                                                                             first);
    return NULL;
}

const LfCudaVersion<Job> versions[] = {
    {"fast", LF_CUDA_WIDE | LF_CUDA_ASYNC_COPY, fast_refuses, run_fast},
    {"plain", 0, NULL, run_plain},
};

void describe(char *text, size_t size, const Job *job)
{
    g_snprintf(text, size, "%d query blocks, %d frames of %d key blocks, %d heads", job->n_queries,
               job->frames, job->blocks, job->heads);
}

void select_blocks(LfBackend *be, LfTensor table, LfTensor q_pool, const LfWindow *window,
                   const LfSelection *selection)
{
    LfCuda *cuda = lf_cuda(be);
    Job job = {};
    job.table = lf_i32(table);
    job.q = lf_f32(q_pool);
    job.k = lf_f32(window->k_pool);
    job.slots = lf_i32(window->slots);
    job.heads = (int) q_pool.shape[0];
    job.n_queries = (int) q_pool.shape[1];
    job.d = (int) q_pool.shape[2];
    job.frames = (int) window->slots.shape[0];
    job.blocks = (int) window->k_pool.shape[2];
    job.budget = (int) table.shape[2];
    job.by_blocks = lf_divisor((uint32_t) job.blocks);
    int past = job.frames - window->chunk, always = selection->keep_sink + selection->keep_near;
    if (past > selection->keep_frames) {
        job.first_free = selection->keep_sink;
        job.n_free = past - always;
        job.n_keep = selection->keep_frames - always;
    }
    lf_cuda_run(cuda, "select_blocks", versions, describe, &job);
    lf_cuda_launched(cuda, "select_blocks");
}

} // namespace

void lf_cuda_select_init(LfCuda *cuda)
{
    cuda->ops.select_blocks = select_blocks;
}
