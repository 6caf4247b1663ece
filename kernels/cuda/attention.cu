/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * out [n, heads·d] = softmax(q·kᵀ·scale)·v: self attention over the window, dense or over the
 * blocks of a table, and cross attention. Bound by the tensor cores: 4·n·keys·heads·d FLOP.
 *
 * Three versions: attention_sm90.cu; in this file one for every chip from sm_80 on, with mma.sync
 * on tiles of 64 keys, and a plain one for any number of channels and any blocks.
 *
 * In the mma.sync version a thread block has 4 warps and 64 or 128 queries, whose sums stay in
 * registers. Keys are a list of runs: each frame (dense) or each block of the table (sparse) is
 * one. Runs are cut into groups of 16 keys; the last group of a run may be partial. Any four groups
 * are a tile, so small blocks, and frames that are no multiple of a block, cost next to nothing
 * extra. Tiles of k and v pass through a ring of buffers in shared memory, filled by cp.async.
 */
#include "divide.h"
#include "e4m3.cuh"
#include "mma.cuh"
#include "versions.h"

#include <math.h>

namespace {

constexpr float LOG2_E = 1.4426950408889634f;
/* Less than any score. Unlike −∞ it can be subtracted from itself. */
constexpr float LOWEST = -1e30f;

/* ---- the queries of one thread block --------------------------------------------------------- */

/* A call, and how its queries are divided into tiles. */
struct Job {
    LfCudaAttention a;
    int tiles_of_block;           /* tiles of queries in a block of the table's; dense: 0 */
    int query_blocks, key_blocks; /* of a frame; sparse only */
    int n_runs;                   /* of keys, for each query */
    int run_groups;               /* groups of 16 keys in a run */
    LfDivisor by_run_groups;
};

/* Rows [first, first + n) of the queries, and their row of the table. */
struct Queries {
    int first, n;
    const int32_t *table;
};

__device__ inline Queries queries_of(const Job &job, int tile, int rows, int head)
{
    const LfCudaAttention &a = job.a;
    if (!a.table)
        return {tile * rows, min(rows, a.n_queries - tile * rows), nullptr};
    int block = tile / job.tiles_of_block;
    int frame = block / job.query_blocks, in_frame = block % job.query_blocks * a.query_block;
    int end = min(in_frame + a.query_block, a.frame_queries);
    in_frame += tile % job.tiles_of_block * rows;
    int64_t row = (int64_t) head * (a.n_queries / a.frame_queries) * job.query_blocks + block;
    return {frame * a.frame_queries + in_frame, min(rows, end - in_frame),
            a.table + row * a.budget};
}

/* A run of keys: its slot, and its first row in the slot. */
struct Run {
    int slot, first;
};

__device__ inline Run run_of(const Job &job, const int32_t *table, int index)
{
    int frame = index, block = 0;
    if (table) {
        int number = table[index];
        frame = number / job.key_blocks;
        block = number % job.key_blocks;
    }
    return {job.a.slots ? job.a.slots[frame] : frame, block * job.a.key_block};
}

/* ---- plain: a warp a query, 32 keys at a time ------------------------------------------------ */

enum { PLAIN_WARPS = 4 };

struct Softmax {
    float largest, total;
};

/* The score of the lane's key; −∞ if the lane has none. */
__device__ inline float plain_score(const LfCudaAttention &a, const float *q, const bf16 *k,
                                    bool has)
{
    if (!has)
        return -INFINITY;
    float sum = 0.0f;
    for (int c = 0; c < a.head_dim; c++)
        sum += q[c] * to_float(k[c]);
    return sum * a.scale;
}

/* sums [d] = fade·sums + Σ of the warp's weights × its n values. */
__device__ inline void plain_add(const LfCudaAttention &a, float *sums, float fade, float weight,
                                 const bf16 *v, int n)
{
    for (int first = 0; first < a.head_dim; first += 32) {
        int c = first + threadIdx.x % 32;
        float sum = c < a.head_dim ? sums[c] * fade : 0.0f;
        for (int key = 0; key < n; key++) {
            float w = __shfl_sync(0xffffffffu, weight, key);
            if (c < a.head_dim)
                sum += w * to_float(v[key * a.k_row + c]);
        }
        if (c < a.head_dim)
            sums[c] = sum;
    }
}

__global__ void __launch_bounds__(32 * PLAIN_WARPS) plain_kernel(const Job job)
{
    extern __shared__ float plain_memory[];
    const LfCudaAttention &a = job.a;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.y, d = a.head_dim;
    int run_keys = a.table ? a.key_block : a.frame_keys;
    Queries queries = queries_of(job, blockIdx.x, blockDim.x / 32, head);
    if (warp >= queries.n)
        return;
    int64_t query = queries.first + warp;
    float *q = plain_memory + 2 * d * warp, *sums = q + d;
    for (int c = lane; c < d; c += 32) {
        q[c] = to_float(a.q[query * a.q_row + head * a.q_head + c]);
        sums[c] = 0.0f;
    }
    __syncwarp();
    Softmax s = {-INFINITY, 0.0f};
    for (int i = 0; i < job.n_runs; i++) {
        Run run = run_of(job, queries.table, i);
        int n = min(run_keys, a.frame_keys - run.first);
        int64_t begin = run.slot * a.k_frame + head * a.k_head + run.first * a.k_row;
        for (int key = 0; key < n; key += 32) {
            int64_t at = begin + key * a.k_row;
            bool last = i == job.n_runs - 1 && key + lane == n - 1;
            float score = plain_score(a, q, a.k + at + lane * a.k_row, key + lane < n);
            score += last ? a.last_logit : 0.0f;
            float largest = fmaxf(s.largest, warp_max(score));
            float fade = __expf(s.largest - largest), weight = __expf(score - largest);
            s = {largest, s.total * fade + warp_sum(weight)};
            plain_add(a, sums, fade, weight, a.v + at, min(32, n - key));
            __syncwarp(); /* the next loads of q reach, unused, into the sums behind it */
        }
    }
    float factor = 1.0f / (a.out ? s.total : s.total * e4m3_scale_of(a.amax));
    int64_t to = query * a.out_row + head * d;
    for (int c = lane; c < d; c += 32)
        if (a.out)
            a.out[to + c] = from_float<bf16>(sums[c] * factor);
        else
            a.fp8_out[to + c] = from_float<fp8>(sums[c] * factor);
    if (!a.out && head == 0 && lane == 0)
        write_e4m3_scale(a.scales, query, a.n_queries, a.amax, a.heads * d);
}

/* ---- tensor cores: instructions -------------------------------------------------------------- */

/* Copies 16 bytes to shared memory asynchronously; writes zeros if there is nothing to copy. */
__device__ inline void copy_16(unsigned to, const bf16 *from, bool has)
{
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(has ? 16 : 0)
                 : "memory");
}

/* ---- tensor cores: rows in shared memory ----------------------------------------------------- */

enum { WARPS = 4, GROUP = 16, KEYS = WARPS * GROUP, LISTED = 64, MOST_PARTS = 8 };

/* Rows of D channels; the 16-byte pieces of a row are permuted, so that eight rows' pieces of one
 * column lie in different banks. */
template <int D> __device__ inline unsigned place(int row, int piece)
{
    return (unsigned) (row * D * 2 + ((piece ^ (row & 7)) << 4));
}

/* 16 rows on their way to shared memory by one warp, 16 bytes a lane at a time, so that the copies
 * can be spread over other work. From row `n_valid` on, and from channel d on, zeros. */
template <int D> struct Copies {
    static constexpr int pieces = D / 8, at_once = 32 / pieces, n = 16 / at_once;
    unsigned to;
    const bf16 *from;
    int64_t stride;
    int n_valid;

    __device__ Copies(unsigned where, const bf16 *rows, int64_t row_stride, int n_rows, int d)
    {
        int lane = threadIdx.x % 32, piece = lane % pieces, row = lane / pieces;
        to = where + place<D>(row, piece);
        from = rows + row * row_stride + piece * 8;
        stride = at_once * row_stride;
        n_valid = piece * 8 < d ? n_rows - row : 0;
    }

    /* A step changes the row or the piece. In the permuted address that is an XOR and an offset, as
     * in all loops over a tile. */
    __device__ void start(int i)
    {
        copy_16((to ^ ((i * at_once & 7) << 4)) + i * at_once * D * 2, from, i * at_once < n_valid);
        from += stride;
    }

    __device__ void start_all()
    {
#pragma unroll
        for (int i = 0; i < n; i++)
            start(i);
    }
};

/* ---- tensor cores: one tile ------------------------------------------------------------------ */

/* Where a run's first row lies in the cache, in units of 16 bytes, and how many keys follow it in
 * the frame. */
struct ListedRun {
    uint32_t begin;
    int n_keys;
};

template <int D, int M, int RING> struct Shared {
    alignas(128) bf16 q[WARPS * M * 16 * D];
    alignas(128) bf16 ring[RING][KEYS * D];
    ListedRun runs[LISTED + 1]; /* the last, and those that are none, have no keys */
    /* Keys of each group, of the tiles that are in the ring. */
    alignas(4) uint8_t n_valid[4][WARPS];
    int drawn;
};

/* A warp's M·16 queries: sums of values, the scores that they are relative to, sums of weights. */
template <int D, int M> struct State {
    float sums[M][D / 8][4];
    float largest[M][2], total[M][2];
    static constexpr int floats = M * (D / 8 * 4 + 4);
};

/* One warp's part of tile `tile` of the listed runs, if it comes before tile `end`: of k (then it
 * notes how many keys there are) or of v. */
template <int D, int M, int RING>
__device__ inline Copies<D> copies_of(Shared<D, M, RING> &shared, const Job &job, const bf16 *cache,
                                      int tile, int end, int buffer, bool note)
{
    int warp = threadIdx.x / 32, group = tile * WARPS + warp;
    int run = (int) lf_divide((uint32_t) group, job.by_run_groups);
    int first = (group - run * job.run_groups) * GROUP;
    ListedRun r = shared.runs[tile < end ? run : LISTED];
    int n = max(0, min(GROUP, r.n_keys - first));
    if (note && threadIdx.x % 32 == 0)
        shared.n_valid[tile % 4][warp] = (uint8_t) n;
    return Copies<D>(shared_address(shared.ring[buffer]) + warp * GROUP * D * 2,
                     cache + (int64_t) r.begin * 8 + first * job.a.k_row, job.a.k_row, n,
                     job.a.head_dim);
}

/* s [M·16, KEYS] = q·kᵀ. The copies start meanwhile. */
template <int D, int M>
__device__ inline void scores(float (&s)[M][KEYS / 8][4], unsigned q, unsigned k, Copies<D> copies)
{
    int lane = threadIdx.x % 32;
    q += place<D>(lane % 16, lane / 16);
    k += place<D>(lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (int c = 0; c < D / 16; c++) {
        unsigned qs[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            load_matrices(qs[m], (q ^ (c << 5)) + m * 16 * D * 2);
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            unsigned ks[4];
            load_matrices(ks, (k ^ (c << 5)) + n * 16 * D * 2);
#pragma unroll
            for (int m = 0; m < M; m++) {
                multiply_bf16(s[m][2 * n], qs[m], ks[0], ks[1], c == 0);
                multiply_bf16(s[m][2 * n + 1], qs[m], ks[2], ks[3], c == 0);
            }
        }
        copies.start(c);
    }
    copies_commit();
}

/* Masks keys beyond the end of a run. */
template <int M> __device__ inline void mask(float (&s)[M][KEYS / 8][4], unsigned n_valid)
{
    int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
        int valid = (int) (n_valid >> (n / 2 * 8) & 255) - n % 2 * 8 - column;
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (i % 2 >= valid)
                    s[m][n][i] = -INFINITY;
    }
}

/* Adds last_logit to the score of one key of the tile. */
template <int M> __device__ inline void raise(float (&s)[M][KEYS / 8][4], int key, float by)
{
    int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (n * 8 + column + i % 2 == key)
                    s[m][n][i] += by;
}

/* Weights and sums are relative to a reference score. It follows the largest score only when that
 * has grown by more than 2⁸ in weight: the quotient is the same, and sums are rarely rescaled. */
template <int D, int M>
__device__ inline void follow_largest(State<D, M> &state, const float (&s)[M][KEYS / 8][4],
                                      float scale)
{
    float largest[M][2];
    bool grows = false;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float x = s[m][0][2 * half];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
                x = fmaxf(x, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
            x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
            x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
            largest[m][half] = x;
            grows |= (x - state.largest[m][half]) * scale > 8.0f;
        }
    if (!__any_sync(0xffffffffu, grows))
        return;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float before = state.largest[m][half], now = fmaxf(before, largest[m][half]);
            float fade = exp2_fast((before - now) * scale);
            state.largest[m][half] = now;
            state.total[m][half] *= fade;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                state.sums[m][n][2 * half] *= fade;
                state.sums[m][n][2 * half + 1] *= fade;
            }
        }
}

/* p = weights of 16 keys, from their scores. */
template <int D, int M>
__device__ inline void weigh(unsigned (&p)[M][4], State<D, M> &state,
                             const float (&s)[M][KEYS / 8][4], int group, float scale)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float *pair = &s[m][2 * group + i / 2][i % 2 * 2];
            float origin = state.largest[m][i % 2] * scale;
            float x = exp2_fast(pair[0] * scale - origin), y = exp2_fast(pair[1] * scale - origin);
            state.total[m][i % 2] += x + y;
            p[m][i] = pack_bf16(x, y);
        }
}

/* sums += weights [M·16, KEYS] · v. The weights of 16 keys are made while the tensor cores are at
 * those before. The copies start meanwhile. */
template <int D, int M>
__device__ inline void add_values(State<D, M> &state, const float (&s)[M][KEYS / 8][4], unsigned v,
                                  float scale, Copies<D> copies)
{
    v += place<D>(threadIdx.x % 16, threadIdx.x % 32 / 16);
    unsigned p[2][M][4];
    weigh<D, M>(p[0], state, s, 0, scale);
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
        if (j + 1 < KEYS / 16)
            weigh<D, M>(p[(j + 1) % 2], state, s, j + 1, scale);
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            unsigned vs[4];
            load_transposed(vs, (v ^ (n << 5)) + j * 16 * D * 2);
#pragma unroll
            for (int m = 0; m < M; m++) {
                multiply_bf16(state.sums[m][2 * n], p[j % 2][m], vs[0], vs[1], false);
                multiply_bf16(state.sums[m][2 * n + 1], p[j % 2][m], vs[2], vs[3], false);
            }
            if (n % 4 == 3)
                copies.start(j * (D / 64) + n / 4);
        }
    }
    copies_commit();
}

/* Eight gathered numbers of a row, as T. */
template <int D, typename T> struct Gathered {
    typedef Pack<T, 8> Piece;
    static __device__ Piece *at(char *rows, int row, int piece)
    {
        return (Piece *) (rows + place<D>(row, piece) / (2 / sizeof(T)));
    }
};

__device__ inline void put_pair(bf16 *to, float first, float second)
{
    *(unsigned *) to = pack_bf16(first, second);
}

__device__ inline void put_pair(fp8 *to, float first, float second)
{
    *(uint16_t *) to = (uint16_t) pack_e4m3(first, second);
}

/* Writes the warp's rows · by to `to`, through the shared memory of its queries. */
template <typename T, int D, int M>
__device__ inline void write_rows(const State<D, M> &state, bf16 *stage, T *to, float by,
                                  const Job &job, const Queries &queries, int head)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, d = job.a.head_dim;
    char *rows = (char *) stage;
    __syncwarp(); /* all have read their queries */
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float total = state.total[m][half];
            total += __shfl_xor_sync(0xffffffffu, total, 1);
            total += __shfl_xor_sync(0xffffffffu, total, 2);
            float factor = by / total;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                put_pair(
                    Gathered<D, T>::at(rows, m * 16 + half * 8 + lane / 4, n)->at + lane % 4 * 2,
                    state.sums[m][n][2 * half] * factor, state.sums[m][n][2 * half + 1] * factor);
        }
    __syncwarp();
    constexpr int pieces = D / 8, at_once = 32 / pieces;
    int piece = lane % pieces, first = warp * M * 16;
    to += (int64_t) (queries.first + first) * job.a.out_row + head * d;
#pragma unroll 4
    for (int row = lane / pieces; row < M * 16; row += at_once)
        if (first + row < queries.n && piece * 8 < d)
            *(Pack<T, 8> *) (to + row * job.a.out_row + piece * 8) =
                *Gathered<D, T>::at(rows, row, piece);
}

/* Writes the scales of the thread block's rows; only one head's block does. */
__device__ inline void write_scales(const LfCudaAttention &a, const Queries &queries)
{
    for (int row = threadIdx.x; row < queries.n; row += 32 * WARPS)
        write_e4m3_scale(a.scales, queries.first + row, a.n_queries, a.amax, a.heads * a.head_dim);
}

template <int D, int M> __device__ inline void clear(State<D, M> &state)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            state.largest[m][half] = LOWEST;
            state.total[m][half] = 0.0f;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                state.sums[m][n][2 * half] = state.sums[m][n][2 * half + 1] = 0.0f;
        }
}

__device__ inline ListedRun listed_run(const Job &job, Run run)
{
    int64_t begin = run.slot * job.a.k_frame + run.first * job.a.k_row;
    return {(uint32_t) (begin / 8), job.a.frame_keys - run.first};
}

/* Tiles [begin, end) of the keys, as many runs at a time as the list holds. */
template <int D, int M, int RING>
__device__ inline void attend(State<D, M> &state, Shared<D, M, RING> &shared, const Job &job,
                              const Queries &queries, int head, unsigned q, int begin, int end)
{
    const LfCudaAttention &a = job.a;
    const bf16 *k = a.k + head * a.k_head, *v = a.v + head * a.k_head;
    float scale = a.scale * LOG2_E;
    int tiles_listed = LISTED * job.run_groups / WARPS;
    for (int part = begin / tiles_listed; part * tiles_listed < end; part++) {
        int first = part * LISTED, n_listed = min(LISTED, job.n_runs - first);
        int from = max(0, begin - part * tiles_listed);
        int to = min(tiles_listed, end - part * tiles_listed);
        __syncthreads(); /* all have finished with the previous list */
        if (threadIdx.x <= LISTED)
            shared.runs[threadIdx.x] =
                threadIdx.x < n_listed
                    ? listed_run(job, run_of(job, queries.table, first + threadIdx.x))
                    : ListedRun{0, 0};
        __syncthreads();

        /* Step 2t is k of tile t, step 2t + 1 its v. */
        auto copies_for = [&](int step, int buffer) {
            return copies_of(shared, job, step % 2 ? v : k, step / 2, to, buffer, step % 2 == 0);
        };
        for (int step = 0; step < RING - 1; step++) {
            copies_for(2 * from + step, step).start_all();
            copies_commit();
        }
        int buffer = 0, behind = RING - 1; /* this step's, the one before's */
        auto begin_step = [&](int step) {
            copies_wait<RING - 2>();
            __syncthreads();
            Copies<D> copies = copies_for(step + RING - 1, behind);
            behind = buffer;
            buffer = buffer == RING - 1 ? 0 : buffer + 1;
            return copies;
        };
        for (int tile = from; tile < to; tile++) {
            float s[M][KEYS / 8][4];
            Copies<D> copies = begin_step(2 * tile);
            scores<D, M>(s, q, shared_address(shared.ring[behind]), copies);
            unsigned n_valid = *(const unsigned *) shared.n_valid[tile % 4];
            if (n_valid != 0x10101010u)
                mask<M>(s, n_valid);
            if (a.last_logit != 0.0f && first + LISTED >= job.n_runs) {
                int last =
                    (n_listed - 1) * job.run_groups * GROUP + shared.runs[n_listed - 1].n_keys - 1;
                raise<M>(s, last - tile * KEYS, a.last_logit / a.scale);
            }
            copies = begin_step(2 * tile + 1);
            follow_largest<D, M>(state, s, scale);
            add_values<D, M>(state, s, shared_address(shared.ring[behind]), scale, copies);
        }
        copies_wait<0>();
    }
}

/* ---- tensor cores: the last ones in parts ---------------------------------------------------- */

/* Thread blocks that run at once are a wave. Where the tiles of queries are no multiple of that,
 * those beyond the last full wave are cut into parts of their keys, so that all multiprocessors end
 * at about the same time. All parts of a tile but the last leave their sums in the workspace; the
 * last adds them, in order. Numbers are drawn, so that who waits, waits for those that began
 * before. */
struct Parts {
    float *sums;       /* [tiles in parts, n − 1, floats of a State, threads] */
    unsigned *written; /* [tiles in parts, n − 1]: are they there? */
    unsigned *drawn;   /* the next number */
    int n;             /* parts of a tile; 1: none is cut */
    int whole;         /* tiles before the first in parts */
    int key_tiles, tiles_of_head;
};

/* All floats of a state, in a fixed order. */
template <int D, int M, typename Visit>
__device__ inline void visit_state(State<D, M> &state, Visit visit)
{
    int i = 0;
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            visit(state.largest[m][half], i++, m, half, 0);
            visit(state.total[m][half], i++, m, half, 1);
        }
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                visit(state.sums[m][n][c], i++, m, c / 2, 1);
    }
}

/* Leaves a part's sums at `index`. */
template <int D, int M>
__device__ inline void publish(State<D, M> &state, const Parts &parts, int index)
{
    float *to = parts.sums + (int64_t) index * State<D, M>::floats * blockDim.x + threadIdx.x;
    visit_state<D, M>(state,
                      [&](float &x, int i, int, int, int) { __stcg(to + i * blockDim.x, x); });
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(parts.written + index) : "memory");
}

/* Adds the sums at `index`. */
template <int D, int M>
__device__ inline void join(State<D, M> &state, const Parts &parts, int index, float scale)
{
    if (threadIdx.x == 0) {
        unsigned written;
        do
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                         : "=r"(written)
                         : "l"(parts.written + index)
                         : "memory");
        while (!written);
    }
    __syncthreads();
    const float *from =
        parts.sums + (int64_t) index * State<D, M>::floats * blockDim.x + threadIdx.x;
    float mine[M][2], theirs[M][2];
    visit_state<D, M>(state, [&](float &x, int i, int m, int half, int what) {
        float y = __ldcg(from + i * blockDim.x);
        if (what == 0) {
            float now = fmaxf(x, y);
            mine[m][half] = exp2_fast((x - now) * scale);
            theirs[m][half] = exp2_fast((y - now) * scale);
            x = now;
        } else {
            x = x * mine[m][half] + y * theirs[m][half];
        }
    });
}

/* ---- tensor cores: the kernel ---------------------------------------------------------------- */

template <int D, int M, int RING>
__global__ void __launch_bounds__(32 * WARPS, M == 1 ? 3 : 2)
    mma_kernel(const Job job, const Parts parts)
{
    extern __shared__ __align__(128) char mma_memory[];
    Shared<D, M, RING> &shared = *reinterpret_cast<Shared<D, M, RING> *>(mma_memory);
    const LfCudaAttention &a = job.a;
    int tile = blockIdx.x, part = 0, n_parts = 1;
    if (parts.n > 1) {
        if (threadIdx.x == 0)
            shared.drawn = (int) atomicAdd(parts.drawn, 1u);
        __syncthreads();
        tile = shared.drawn;
        if (tile >= parts.whole) {
            n_parts = parts.n;
            part = (tile - parts.whole) % n_parts;
            tile = parts.whole + (tile - parts.whole) / n_parts;
        }
    }
    int head = tile / parts.tiles_of_head, first = threadIdx.x / 32 * M * 16;
    Queries queries = queries_of(job, tile - head * parts.tiles_of_head, WARPS * M * 16, head);
    if (queries.n <= 0)
        return;

    bf16 *q = shared.q + first * D;
    for (int m = 0; m < M; m++)
        Copies<D>(shared_address(q) + m * 16 * D * 2,
                  a.q + (int64_t) (queries.first + first + m * 16) * a.q_row + head * a.q_head,
                  a.q_row, queries.n - first - m * 16, a.head_dim)
            .start_all();
    State<D, M> state;
    clear<D, M>(state);
    attend<D, M, RING>(state, shared, job, queries, head, shared_address(q),
                       parts.key_tiles * part / n_parts, parts.key_tiles * (part + 1) / n_parts);

    int index = (tile - parts.whole) * (n_parts - 1);
    if (part < n_parts - 1) {
        publish<D, M>(state, parts, index + part);
        return;
    }
    for (int i = 0; i < n_parts - 1; i++)
        join<D, M>(state, parts, index + i, a.scale * LOG2_E);
    if (a.out) {
        write_rows(state, q, a.out, 1.0f, job, queries, head);
    } else {
        write_rows(state, q, a.fp8_out, 1.0f / e4m3_scale_of(a.amax), job, queries, head);
        if (head == 0)
            write_scales(a, queries);
    }
}

/* ---- launching ------------------------------------------------------------------------------- */

int divide_up(int n, int by)
{
    return (n + by - 1) / by;
}

/* Tiles of `rows` queries in all. */
int cut_queries(Job *job, int rows)
{
    const LfCudaAttention &a = job->a;
    if (!a.table)
        return divide_up(a.n_queries, rows);
    job->tiles_of_block =
        divide_up(a.query_block < a.frame_queries ? a.query_block : a.frame_queries, rows);
    return a.n_queries / a.frame_queries * job->query_blocks * job->tiles_of_block;
}

Job new_job(const LfCudaAttention *a)
{
    Job job = {};
    job.a = *a;
    job.n_runs = a->table ? a->budget : a->n_frames;
    job.run_groups = divide_up(a->table ? a->key_block : a->frame_keys, GROUP);
    job.by_run_groups = lf_divisor((uint32_t) job.run_groups);
    if (a->table) {
        job.query_blocks = divide_up(a->frame_queries, a->query_block);
        job.key_blocks = divide_up(a->frame_keys, a->key_block);
    }
    return job;
}

const char *run_plain(LfCuda *cuda, const LfCudaAttention *a)
{
    Job job = new_job(a);
    size_t memory = 2 * sizeof(float) * (size_t) job.a.head_dim;
    int warps = PLAIN_WARPS * memory <= 48 << 10 ? PLAIN_WARPS : 1;
    if (memory > 48 << 10) {
        lf_cuda_fail(cuda, "attention", "heads of more than 6144 channels are not supported");
        return NULL;
    }
    int tiles = cut_queries(&job, warps);
    plain_kernel<<<dim3(tiles, job.a.heads), 32 * warps, memory * warps, cuda->stream>>>(job);
    return NULL;
}

/* How many parts the tiles beyond the last full wave are best cut into: 1 … MOST_PARTS. A part
 * costs about as much as 3 tiles of keys beside its own, and to join it to the others as much as
 * 0.7 (estimates); a cut has to gain 5 %. */
int count_parts(int tiles, int key_tiles, int wave, size_t sums)
{
    double best = INFINITY;
    int choice = 1;
    for (int n = 1; n <= MOST_PARTS && n <= key_tiles; n++) {
        double time = divide_up(tiles * n, wave) * (divide_up(key_tiles, n) + 3) + 0.7 * (n - 1);
        bool fits =
            (sums + sizeof(unsigned)) * (n - 1) * tiles + sizeof(unsigned) <= LF_CUDA_WORKSPACE;
        if (fits && time < 0.95 * best) {
            best = time;
            choice = n;
        }
    }
    return choice;
}

template <int D, int M, int RING> void launch_mma(LfCuda *cuda, Job job)
{
    constexpr int memory = (int) sizeof(Shared<D, M, RING>), threads = 32 * WARPS;
    constexpr size_t sums = sizeof(float) * State<D, M>::floats * threads;
    int wave = 0;
    if (!lf_cuda_check(cuda,
                       cudaFuncSetAttribute(mma_kernel<D, M, RING>,
                                            cudaFuncAttributeMaxDynamicSharedMemorySize, memory),
                       "attention") ||
        !lf_cuda_check(cuda,
                       cudaOccupancyMaxActiveBlocksPerMultiprocessor(&wave, mma_kernel<D, M, RING>,
                                                                     threads, memory),
                       "attention"))
        return;
    wave *= cuda->n_multiprocessors;
    Parts parts = {};
    parts.tiles_of_head = cut_queries(&job, WARPS * M * 16);
    parts.key_tiles = divide_up(job.n_runs * job.run_groups, WARPS);
    int tiles = parts.tiles_of_head * job.a.heads, rest = tiles % wave;
    parts.whole = tiles - rest;
    parts.n = rest ? count_parts(rest, parts.key_tiles, wave, sums) : 1;
    if (parts.n > 1) {
        int n = rest * (parts.n - 1);
        parts.sums = (float *) cuda->workspace;
        parts.written = (unsigned *) ((char *) cuda->workspace + sums * n);
        parts.drawn = parts.written + n;
        lf_cuda_check(cuda,
                      cudaMemsetAsync(parts.written, 0, sizeof(unsigned) * (n + 1), cuda->stream),
                      "attention");
    }
    mma_kernel<D, M, RING>
        <<<parts.whole + rest * parts.n, threads, memory, cuda->stream>>>(job, parts);
}

const char *mma_refuses(const LfCuda *cuda, const LfCudaAttention *a)
{
    int64_t strides = a->q_row | a->q_head | a->k_row | a->k_head | a->k_frame | a->out_row;
    if (a->head_dim % 8 || a->head_dim > 128)
        return "heads have more than 128 channels, or no multiple of 8";
    if (strides % 8 || !lf_cuda_is_aligned(a->q) || !lf_cuda_is_aligned(a->k) ||
        !lf_cuda_is_aligned(a->v) || !lf_cuda_is_aligned(a->out) || !lf_cuda_is_aligned(a->fp8_out))
        return "rows are not aligned to 16 bytes";
    if (a->table && a->key_block % GROUP)
        return "key blocks are no multiple of 16 keys";
    if (a->k_frame * a->n_slots / 8 > UINT32_MAX || (int64_t) LISTED * a->frame_keys >= 1 << 30)
        return "the window is too large";
    return NULL;
}

/* 128 queries a thread block read shared memory half as often, but two such have to fit on a
 * multiprocessor. */
bool has_room_for_128(const LfCuda *cuda)
{
    int memory = 0;
    cudaDeviceGetAttribute(&memory, cudaDevAttrMaxSharedMemoryPerMultiprocessor, cuda->device);
    return memory >= 160 << 10;
}

const char *run_mma(LfCuda *cuda, const LfCudaAttention *a)
{
    Job job = new_job(a);
    bool small = a->table && a->query_block <= 64;
    if (a->head_dim <= 64)
        small ? launch_mma<64, 1, 3>(cuda, job) : launch_mma<64, 2, 3>(cuda, job);
    else if (small || !has_room_for_128(cuda))
        launch_mma<128, 1, 2>(cuda, job);
    else
        launch_mma<128, 2, 3>(cuda, job);
    return NULL;
}

const LfCudaVersion<LfCudaAttention> versions[] = {
    {"wgmma", LF_CUDA_BULK_COPY | LF_CUDA_WGMMA, lf_cuda_attention_sm90_refuses,
     lf_cuda_attention_sm90},
    {"mma", LF_CUDA_MMA | LF_CUDA_ASYNC_COPY, mma_refuses, run_mma},
    {"plain", 0, NULL, run_plain},
};

void describe(char *text, size_t size, const LfCudaAttention *a)
{
    int n = g_snprintf(text, size, "%d queries, %d keys, %d heads of %d channels", a->n_queries,
                       a->n_frames * a->frame_keys, a->heads, a->head_dim);
    if (a->table)
        g_snprintf(text + n, size - (size_t) n, ", sparse, blocks of %d queries and %d keys",
                   a->query_block, a->key_block);
}

/* ---- the operations -------------------------------------------------------------------------- */

/* Where results go, and in which type. */
void set_out(LfCudaAttention *a, LfTensor out, LfTensor v_amax)
{
    a->out_row = out.shape[1];
    if (out.type == LF_F8_E4M3) {
        a->fp8_out = (fp8 *) out.data;
        a->scales = out.scales;
        a->amax = lf_f32(v_amax);
    } else {
        a->out = (bf16 *) out.data;
    }
}

void attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window, LfTensor table,
               int query_block)
{
    LfCuda *cuda = lf_cuda(be);
    const int64_t *cache = window->k.shape; /* [S, H, T, d] */
    LfCudaAttention a = {};
    a.q = (const bf16 *) q.data;
    a.k = (const bf16 *) window->k.data;
    a.v = (const bf16 *) window->v.data;
    set_out(&a, out, window->v_amax);
    a.heads = (int) cache[1];
    a.head_dim = (int) cache[3];
    a.n_queries = (int) q.shape[1];
    a.frame_queries = a.frame_keys = (int) cache[2];
    a.n_frames = (int) window->slots.shape[0];
    a.n_slots = (int) cache[0];
    a.q_row = a.k_row = cache[3];
    a.q_head = q.shape[1] * cache[3];
    a.k_head = cache[2] * cache[3];
    a.k_frame = cache[1] * a.k_head;
    a.slots = lf_i32(window->slots);
    if (lf_is_set(table)) {
        a.table = lf_i32(table);
        a.budget = (int) table.shape[2];
        a.query_block = query_block;
        a.key_block = window->key_block;
    }
    a.scale = 1.0f / sqrtf((float) a.head_dim);
    lf_cuda_run(cuda, "attention", versions, describe, &a);
    lf_cuda_launched(cuda, "attention");
}

void cross_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                     LfTensor v_amax, int heads, float last_logit)
{
    LfCuda *cuda = lf_cuda(be);
    int64_t width = q.shape[1];
    LfCudaAttention a = {};
    a.q = (const bf16 *) q.data;
    a.k = (const bf16 *) k.data;
    a.v = (const bf16 *) v.data;
    set_out(&a, out, v_amax);
    a.heads = heads;
    a.head_dim = (int) width / heads;
    a.n_queries = a.frame_queries = (int) q.shape[0];
    a.n_frames = a.n_slots = 1;
    a.frame_keys = (int) k.shape[0];
    a.q_row = a.k_row = width;
    a.q_head = a.k_head = a.head_dim;
    a.scale = 1.0f / sqrtf((float) a.head_dim);
    a.last_logit = last_logit;
    lf_cuda_run(cuda, "cross_attention", versions, describe, &a);
    lf_cuda_launched(cuda, "cross_attention");
}

} // namespace

void lf_cuda_attention_init(LfCuda *cuda)
{
    cuda->ops.attention = attention;
    cuda->ops.cross_attention = cross_attention;
}
