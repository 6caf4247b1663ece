/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hierarchical selection (light-forcing specification, HSA, steps 2 and 3), for each head and query
 * block: scores of all key blocks, the past frames that stay, of their blocks and the tail's the best.
 * Bound by the latency of reading the means of a head's keys and of the search.
 *
 * A score is one chain of fused multiply-adds over the channels, a frame's the sum of its blocks' in
 * their order: the CPU does both in the same way, so that the tables agree where two blocks all but tie.
 * Scores become integers of the same order. The bound that the wanted number of them reaches is found
 * bit by bit, from the highest; most queries are settled after some ten bits.
 *
 * A thread block has QUERIES of one head; a thread has one key block and all these queries, a warp then
 * has a query. The plain version has one query, any number of channels, and its scores in memory.
 */
#include "device.cuh"

namespace {

struct Job {
    int32_t *table;     /* [heads, n_queries, budget] */
    const float *q, *k; /* [heads, n_queries, d], [slots, heads, blocks, d] */
    const int32_t *slots;
    uint32_t *scores; /* plain: [gridDim.x, frames·(blocks + 1)] */
    int heads, n_queries, d;
    int frames, blocks, budget;     /* frames of the window, key blocks of a frame */
    int first_free, n_free, n_keep; /* the past frames that compete, and how many of them stay */
};

/* ---- the best ---------------------------------------------------------------------------------- */

/* Integers that compare as the floats do; 0 is left free: it stands for what may not be chosen. The two
 * zeros are equal. */
__device__ inline uint32_t order_of(float x)
{
    uint32_t bits = __float_as_uint(x + 0.0f);
    uint32_t order = bits >> 31 ? ~bits : bits | 0x80000000u;
    return order ? order : 1;
}

/* By one warp: of keys [n], those above `bound` and the first `n_equal` of those equal to it are the
 * n_keep best. */
struct Best {
    uint32_t bound;
    int n_equal;
};

__device__ inline int count_reaching(const uint32_t *keys, int n, uint32_t bound)
{
    int count = 0;
#pragma unroll 8
    for (int i = threadIdx.x % 32; i < n; i += 32)
        count += keys[i] >= bound;
    return __reduce_add_sync(0xffffffffu, count);
}

__device__ inline Best find_best(const uint32_t *keys, int n, int n_keep)
{
    uint32_t bound = 0;
    int reached = n;
    for (int bit = 31; bit >= 0 && reached != n_keep; bit--) {
        uint32_t trial = bound | 1u << bit;
        int count = count_reaching(keys, n, trial);
        if (count >= n_keep) {
            bound = trial;
            reached = count;
        }
    }
    int above = bound == ~0u ? 0 : count_reaching(keys, n, bound + 1);
    return {bound, n_keep - above};
}

/* By one warp: the key blocks of one query, from its scores [frames·blocks] and with room for the
 * frames [frames]. */
__device__ inline void select(const Job &job, uint32_t *scores, uint32_t *frames, int32_t *row)
{
    int lane = threadIdx.x % 32, n = job.frames * job.blocks;
    for (int f = lane; f < job.n_free; f += 32) {
        const uint32_t *s = scores + (job.first_free + f) * job.blocks;
        float sum = 0.0f;
        for (int b = 0; b < job.blocks; b++)
            sum += __uint_as_float(s[b]);
        frames[f] = order_of(sum);
    }
    __syncwarp();
    for (int i = lane; i < n; i += 32)
        scores[i] = order_of(__uint_as_float(scores[i]));
    __syncwarp();
    if (job.n_free) {
        Best best = find_best(frames, job.n_free, job.n_keep);
        for (int first = 0; first < job.n_free; first += 32) {
            int f = first + lane;
            uint32_t key = f < job.n_free ? frames[f] : 0;
            bool equal = key == best.bound;
            unsigned equals = __ballot_sync(0xffffffffu, equal);
            bool stays = key > best.bound || (equal && __popc(equals & ((1u << lane) - 1)) < best.n_equal);
            best.n_equal -= min(best.n_equal, __popc(equals));
            for (unsigned drop = __ballot_sync(0xffffffffu, !stays && f < job.n_free); drop;
                 drop &= drop - 1) {
                uint32_t *s = scores + (job.first_free + first + __ffs(drop) - 1) * job.blocks;
                for (int b = lane; b < job.blocks; b += 32)
                    s[b] = 0;
            }
        }
        __syncwarp();
    }
    Best best = find_best(scores, n, job.budget);
    for (int first = 0; first < n; first += 32) {
        uint32_t key = first + lane < n ? scores[first + lane] : 0;
        bool equal = key == best.bound && first + lane < n;
        unsigned before = (1u << lane) - 1, equals = __ballot_sync(0xffffffffu, equal);
        bool chosen = key > best.bound || (equal && __popc(equals & before) < best.n_equal);
        best.n_equal -= min(best.n_equal, __popc(equals));
        unsigned all = __ballot_sync(0xffffffffu, chosen);
        if (chosen)
            row[__popc(all & before)] = first + lane;
        row += __popc(all);
    }
}

/* ---- plain ------------------------------------------------------------------------------------- */

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
        select(job, scores, scores + n, job.table + query * job.budget);
}

/* ---- several queries a block -------------------------------------------------------------------- */

/* Means of keys come in tiles of ROWS rows and PIECE channels; the rows in shared memory are 16 bytes
 * longer, so that eight threads' rows lie in different banks. */
enum { QUERIES = 4, ROWS = 512, PIECE = 32, STRIDE = PIECE + 4, EACH = PIECE / 4 };

struct Tile {
    float k[ROWS][STRIDE];
};

__device__ inline void copy_16(const float *to, const float *from)
{
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(
                     (unsigned) __cvta_generic_to_shared(to)),
                 "l"(from)
                 : "memory");
}

/* A thread copies every 64th row's part: where its rows begin, for the key blocks from `first` on. */
__device__ inline void rows_of(const Job &job, const float *(&rows)[EACH], int head, int first)
{
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int key = first + i * (ROWS / EACH) + threadIdx.x / (PIECE / 4);
        rows[i] = nullptr;
        if (key < job.frames * job.blocks) {
            int frame = key / job.blocks;
            int64_t slot = job.slots[frame], block = key - frame * job.blocks;
            rows[i] = job.k + ((slot * job.heads + head) * job.blocks + block) * job.d +
                      threadIdx.x % (PIECE / 4) * 4;
        }
    }
}

__device__ inline void fetch(Tile &tile, const float *const (&rows)[EACH], int channel, int d)
{
    int piece = threadIdx.x % (PIECE / 4) * 4;
    if (channel + piece < d)
#pragma unroll
        for (int i = 0; i < EACH; i++)
            if (rows[i])
                copy_16(&tile.k[i * (ROWS / EACH) + threadIdx.x / (PIECE / 4)][piece],
                        rows[i] + channel);
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* sums [QUERIES] += the thread's key · q, `n` channels from `channel` on. */
__device__ inline void add_products(float (&sums)[QUERIES], const float *k, const float *q, int d, int n)
{
#pragma unroll 4
    for (int c = 0; c < n; c += 4) {
        float4 x = *(const float4 *) (k + c);
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            float4 y = *(const float4 *) (q + i * d + c);
            sums[i] = fmaf(y.x, x.x, sums[i]);
            sums[i] = fmaf(y.y, x.y, sums[i]);
            sums[i] = fmaf(y.z, x.z, sums[i]);
            sums[i] = fmaf(y.w, x.w, sums[i]);
        }
    }
}

/* Bytes of shared memory: two tiles, queries, scores and frames. */
size_t shared_size(const Job *job)
{
    size_t each = (size_t) job->d + (size_t) job->frames * (job->blocks + 1);
    return 2 * sizeof(Tile) + QUERIES * each * sizeof(float);
}

__global__ void __launch_bounds__(ROWS) fast_kernel(const Job job)
{
    extern __shared__ __align__(16) char memory[];
    Tile *tiles = (Tile *) memory;
    float *q = (float *) (tiles + 2);
    int n = job.frames * job.blocks, head = blockIdx.y, first = blockIdx.x * QUERIES;
    uint32_t *scores = (uint32_t *) (q + QUERIES * job.d), *frames = scores + QUERIES * n;
    int n_queries = min(QUERIES, job.n_queries - first);
    int64_t query = (int64_t) head * job.n_queries + first;
    for (int i = threadIdx.x; i < QUERIES * job.d; i += ROWS)
        q[i] = i < n_queries * job.d ? job.q[query * job.d + i] : 0.0f;

    for (int tile = 0; tile < n; tile += ROWS) {
        const float *rows[EACH];
        rows_of(job, rows, head, tile);
        float sums[QUERIES] = {};
        fetch(tiles[0], rows, 0, job.d);
        for (int channel = 0, odd = 0; channel < job.d; channel += PIECE, odd ^= 1) {
            fetch(tiles[odd ^ 1], rows, channel + PIECE, job.d);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
            __syncthreads();
            add_products(sums, tiles[odd].k[threadIdx.x], q + channel, job.d,
                         min(PIECE, job.d - channel));
            __syncthreads(); /* all are done with the tile */
        }
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        if (tile + threadIdx.x < n)
            for (int i = 0; i < QUERIES; i++)
                scores[i * n + tile + threadIdx.x] = __float_as_uint(sums[i]);
    }
    __syncthreads();
    int warp = threadIdx.x / 32;
    if (warp < n_queries)
        select(job, scores + warp * n, frames + warp * job.frames,
               job.table + (query + warp) * job.budget);
}

/* ---- the operation ------------------------------------------------------------------------------ */

bool launch_fast(LfCuda *cuda, const Job *job)
{
    int most = 0;
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda->device);
    size_t memory = shared_size(job);
    if (cuda->level < LF_CUDA_SM80 || memory > (size_t) most || job->d % 4 ||
        (uintptr_t) job->k % 16)
        return false;
    dim3 blocks(blocks_for(job->n_queries, QUERIES), (unsigned) job->heads);
    if (lf_cuda_check(cuda,
                      cudaFuncSetAttribute(fast_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           (int) memory),
                      "select_blocks"))
        fast_kernel<<<blocks, ROWS, memory, cuda->stream>>>(*job);
    return true;
}

/* As many queries at a time as the workspace has room for. */
void launch_plain(LfCuda *cuda, Job job)
{
    int64_t n = (int64_t) job.heads * job.n_queries;
    size_t each = sizeof(uint32_t) * (size_t) job.frames * (size_t) (job.blocks + 1);
    int64_t at_once = (int64_t) (LF_CUDA_WORKSPACE / each);
    job.scores = (uint32_t *) cuda->workspace;
    if (at_once == 0)
        lf_cuda_fail(cuda, "select_blocks", "a window of so many blocks is not supported");
    for (int64_t first = 0; first < n && at_once > 0; first += at_once)
        plain_kernel<<<(unsigned) MIN(at_once, n - first), PLAIN_THREADS, 0, cuda->stream>>>(job,
                                                                                             first);
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
    int past = job.frames - window->chunk, always = selection->keep_sink + selection->keep_near;
    if (past > selection->keep_frames) {
        job.first_free = selection->keep_sink;
        job.n_free = past - always;
        job.n_keep = selection->keep_frames - always;
    }
    if (!launch_fast(cuda, &job))
        launch_plain(cuda, job);
    lf_cuda_launched(cuda, "select_blocks");
}

} // namespace

void lf_cuda_select_init(LfCuda *cuda)
{
    cuda->ops.select_blocks = select_blocks;
}
