/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Attention on Hopper: out = softmax(q·kᵀ·scale)·v, dense, or sparse by a table of 64-key blocks.
 *
 * A tile is 128 (or 64) queries of a head. Thread blocks are persistent, one (or two) per
 * multiprocessor. The producer warp copies queries, and keys and values in steps of KEYS rows, into
 * rings in shared memory by bulk copies (TMA). Each consumer warpgroup keeps 64 rows of the output
 * in registers. The products q·k(j)ᵀ of step j and p·v(j − 1) of step j − 1 are issued together,
 * and the softmax of step j overlaps with the latter and with the products of the other warpgroup.
 *
 * Scheduling: full waves of tiles run as they are. The steps of the remaining tiles, which would
 * fill only a part of a wave, are divided evenly into pieces, and a second kernel joins the partial
 * sums of the pieces. Tiles of a head run next to each other and read the same keys at the same
 * time, so that the L2 cache serves them.
 *
 * Bound: 4·queries·keys·d FLOP per head on the tensor cores when dense; when sparse also the L2
 * cache, from which every tile reads its own 4·keys·d bytes.
 */
#include "e4m3.cuh"
#include "hopper.cuh"

#include <math.h>

namespace {

enum {
    WARPGROUP = 128,
    SLAB = 64,  /* channels that lie together in shared memory: rows of 128 bytes, swizzled */
    BLOCK = 64, /* keys of a block of the table */
    SHARED_SIZE = 226 << 10,
    MAX_STAGES = 4
};

/* The parameters of one kernel. */
template <int HEAD_DIM_, int KEYS_, int GROUPS_, bool SPARSE_> struct Shape {
    static constexpr int HEAD_DIM = HEAD_DIM_;
    static constexpr int KEYS = KEYS_;     /* of a step */
    static constexpr int GROUPS = GROUPS_; /* consumer warpgroups */
    static constexpr bool SPARSE = SPARSE_;
    static constexpr int ROWS = 64 * GROUPS;
    static constexpr int THREADS = WARPGROUP * (GROUPS + 1);
    static constexpr int RESIDENT = GROUPS == 1 ? 2 : 1; /* thread blocks of a multiprocessor */
    static constexpr int CONSUMER_REGISTERS = GROUPS == 1 ? 208 : 240;
    static constexpr int PRODUCER_REGISTERS = GROUPS == 1 ? 40 : 24;
    static constexpr int SLABS = HEAD_DIM / SLAB;
    static constexpr int BOX = SPARSE ? BLOCK : KEYS; /* rows that one copy brings */
    static constexpr int BOXES = KEYS / BOX;
    static constexpr int BATCH = 32 / BOXES; /* steps that are looked up at once */
    static constexpr int QUERY_SIZE = ROWS * HEAD_DIM * 2;
    static constexpr int STEP_SIZE = KEYS * HEAD_DIM * 2;
    static constexpr int FIT = (SHARED_SIZE / RESIDENT - 2048 - QUERY_SIZE) / (2 * STEP_SIZE);
    static constexpr int STAGES = FIT < MAX_STAGES ? FIT : MAX_STAGES;
    /* Offsets in shared memory, from a multiple of 1024 on. */
    static constexpr int KEY_STAGES = QUERY_SIZE, VALUE_STAGES = KEY_STAGES + STAGES * STEP_SIZE,
                         CONTROL = VALUE_STAGES + STAGES * STEP_SIZE;
    static_assert(STAGES >= 2 && KEYS % BOX == 0 && KEYS % 16 == 0 && KEYS <= 192, "");
};

/* Rows that one copy brings, of one frame. */
struct Box {
    int row;
    uint32_t slot, n_valid; /* rows that are there */
};

/* Shared memory behind the rings. */
struct Control {
    uint64_t query_full[2], query_empty[2]; /* of each warpgroup */
    uint64_t key_full[MAX_STAGES], key_empty[MAX_STAGES];
    uint64_t value_full[MAX_STAGES], value_empty[MAX_STAGES];
    uint64_t boxes_full[2], boxes_empty[2];
    Box boxes[2][32];
    uint32_t valid[MAX_STAGES]; /* byte i: keys in use of 64·i … 64·i + 63 of the step; HAS_LAST */
};
constexpr uint32_t HAS_LAST = 1u << 31; /* this step has the very last key */

struct Plan {
    bf16 *out;    /* or NULL: */
    fp8 *fp8_out; /* E4M3, with the scale of `amax` */
    float *scales;
    const float *amax;
    int64_t out_row, n_rows;
    float *partial;       /* [part, ROWS, d]: sums of values, not yet divided */
    float2 *partial_norm; /* [part, ROWS]: reference·scale, sum of weights */
    const int32_t *slots, *table;
    int tiles_per_head, tiles_per_frame, frame_queries, query_block;
    int frame_keys, boxes_per_frame, n_boxes; /* n_boxes: of a tile */
    int steps;                                /* of a tile */
    int n_whole, n_split;                /* tiles [0, n_whole) are not split, n_split more are */
    int pieces, piece_units, piece_rest; /* the first piece_rest pieces have a unit more */
    float scale;                         /* with log2 e */
    float last_logit;                    /* before scaling */
};

/* ---- work ------------------------------------------------------------------------------------ */

/* The first of the n_split·steps units of split work that piece `piece` holds. No piece is longer
 * than a tile, so it reaches into two at most. */
__device__ inline int piece_start(const Plan &plan, int piece)
{
    return piece * plan.piece_units + min(piece, plan.piece_rest);
}

/* The piece that holds `unit`. */
__device__ inline int piece_at(const Plan &plan, int unit)
{
    int longer = plan.piece_rest * (plan.piece_units + 1);
    return unit < longer ? unit / (plan.piece_units + 1)
                         : plan.piece_rest + (unit - longer) / plan.piece_units;
}

struct Item {
    int tile, first, n; /* steps [first, first + n) */
    int part;           /* index of the partial sums; −1: the item is a complete tile */
};

/* The items of one thread block, in order: its piece first, since the join waits for all pieces. */
class Work {
  public:
    __device__ explicit Work(const Plan &plan)
        : plan(plan), unit(0), end(0), part(2 * blockIdx.x), tile(blockIdx.x)
    {
        if (plan.n_split && (int) blockIdx.x < plan.pieces) {
            unit = piece_start(plan, blockIdx.x);
            end = piece_start(plan, blockIdx.x + 1);
        }
    }

    __device__ bool next(Item *item)
    {
        if (unit < end) {
            int first = unit % plan.steps, n = min(plan.steps - first, end - unit);
            *item = {plan.n_whole + unit / plan.steps, first, n, n == plan.steps ? -1 : part++};
            unit += n;
            return true;
        }
        if (tile >= plan.n_whole)
            return false;
        *item = {tile, 0, plan.steps, -1};
        tile += gridDim.x;
        return true;
    }

  private:
    const Plan &plan;
    int unit, end, part, tile;
};

struct Rows {
    int head, first, n;
};

__device__ inline Rows tile_rows(const Plan &plan, int tile)
{
    int index = tile % plan.tiles_per_head, block = index % plan.tiles_per_frame;
    int first = block * plan.query_block;
    return {tile / plan.tiles_per_head, index / plan.tiles_per_frame * plan.frame_queries + first,
            min(plan.query_block, plan.frame_queries - first)};
}

/* Tells the compiler that a word is the same in all lanes of a warp. */
__device__ inline uint32_t uniform(uint32_t x)
{
    return __shfl_sync(0xffffffffu, x, 0);
}

/* ---- where things are, by addresses in shared memory ----------------------------------------- */

/* The ring slot of step `count`, counted over all items of a thread block. A consumer waits for the
 * slot's phase, the producer for the phase before, which counts as over on a new barrier. */
template <class S> __device__ inline uint32_t stage_of(uint32_t count)
{
    return count % S::STAGES;
}

template <class S> __device__ inline uint32_t phase_of(uint32_t count)
{
    return count / S::STAGES & 1;
}

template <class S> struct Barriers {
    uint32_t base; /* of shared memory */

    __device__ uint32_t query_full(int group) const
    {
        return base + S::CONTROL + offsetof(Control, query_full) + 8 * group;
    }
    __device__ uint32_t query_empty(int group) const
    {
        return base + S::CONTROL + offsetof(Control, query_empty) + 8 * group;
    }
    __device__ uint32_t key_full(uint32_t stage) const
    {
        return base + S::CONTROL + offsetof(Control, key_full) + 8 * stage;
    }
    __device__ uint32_t key_empty(uint32_t stage) const
    {
        return base + S::CONTROL + offsetof(Control, key_empty) + 8 * stage;
    }
    __device__ uint32_t value_full(uint32_t stage) const
    {
        return base + S::CONTROL + offsetof(Control, value_full) + 8 * stage;
    }
    __device__ uint32_t value_empty(uint32_t stage) const
    {
        return base + S::CONTROL + offsetof(Control, value_empty) + 8 * stage;
    }
    __device__ uint32_t boxes_full(uint32_t half) const
    {
        return base + S::CONTROL + offsetof(Control, boxes_full) + 8 * half;
    }
    __device__ uint32_t boxes_empty(uint32_t half) const
    {
        return base + S::CONTROL + offsetof(Control, boxes_empty) + 8 * half;
    }
    __device__ uint32_t box(uint32_t half, int index) const
    {
        return base + S::CONTROL + offsetof(Control, boxes) +
               (half * 32 + index) * (uint32_t) sizeof(Box);
    }
    __device__ uint32_t valid(uint32_t stage) const
    {
        return base + S::CONTROL + offsetof(Control, valid) + 4 * stage;
    }
};

__device__ inline void store_word(uint32_t to, uint32_t x)
{
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(x) : "memory");
}

__device__ inline uint32_t load_word(uint32_t from)
{
    uint32_t x;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(from) : "memory");
    return x;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Registers that wgmma writes: the compiler moves no use of them above this. */
template <int n> __device__ __forceinline__ void pin(float (&x)[n])
{
#pragma unroll
    for (int i = 0; i < n; i++)
        asm volatile("" : "+f"(x[i])::"memory");
}

/* scores = q·kᵀ */
template <class S>
__device__ __forceinline__ void multiply_keys(float (&scores)[S::KEYS / 2], uint32_t q, uint32_t k)
{
#pragma unroll
    for (int slab = 0; slab < S::SLABS; slab++)
#pragma unroll
        for (int i = 0; i < SLAB / 16; i++)
            wgmma_lower(scores, q + slab * (S::ROWS * 128 >> 4) + 2 * i,
                        k + slab * (S::KEYS * 128 >> 4) + 2 * i, slab + i > 0);
}

/* sums += p·v for parts [first, end) of 16 keys */
template <class S, int first, int end>
__device__ __forceinline__ void multiply_values(float (&sums)[S::HEAD_DIM / 2],
                                                const uint32_t (&p)[S::KEYS / 4], uint32_t v)
{
#pragma unroll
    for (int i = first; i < end; i++)
        wgmma_lower(sums, p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3], v + i * (2048 >> 4));
    products_commit();
}

/* ---- softmax --------------------------------------------------------------------------------- */

/* For a thread's two rows: the reference, a score whose weight is 1, and the sum of weights, until
 * the end over the thread's own columns only. */
struct Norm {
    float reference[2], sum[2];
};

/* Masks keys beyond the end with −∞ and adds last_logit to the score of the very last key. */
template <int n>
__device__ __forceinline__ void mask_scores(float (&s)[n], uint32_t valid, float last_logit)
{
    int column = 2 * (threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < n; i++) {
        int in_block = i / 4 % 8 * 8 + i % 2, n_valid = valid >> (i / 32 * 8) & 127;
        bool last = valid & HAS_LAST && !(valid >> (i / 32 * 8 + 8) & 127);
        if (last && column + in_block == n_valid - 1)
            s[i] += last_logit;
        if (column + in_block >= n_valid)
            s[i] = -INFINITY;
    }
}

/* 2^x for x ≤ 8 by multiply-adds, to 8e-5. The FMA units are idle while the exponential unit is the
 * bottleneck. */
__device__ inline float exp2_multiplied(float x)
{
    const float to_integer = 12582912.0f; /* 1.5·2²³: leaves the integer in the lower bits */
    x = fmaxf(x, -125.0f);
    float shifted = x + to_integer, f = x - (shifted - to_integer);
    float y = fmaf(f, 0.0551716685f, 0.242611125f);
    y = fmaf(f, y, 0.693260968f);
    y = fmaf(f, y, 0.999928057f);
    return __int_as_float(__float_as_int(y) + (__float_as_int(shifted) << 23));
}

constexpr int MULTIPLIED = 4; /* one in so many */

/* Updates the reference for the scores of a step. It follows the largest score only when that would
 * have a weight above 2^8, so in most steps the sums need no rescaling; the result is the same.
 * `shrink`: the factor for sums of earlier steps. Returns whether any of the warp's rows needs
 * it. */
template <int n>
__device__ __forceinline__ bool refer(const float (&s)[n], Norm &norm, float (&shrink)[2],
                                      float scale)
{
    float largest[2][2];
#pragma unroll
    for (int row = 0; row < 2; row++)
        largest[row][0] = largest[row][1] = norm.reference[row];
#pragma unroll
    for (int i = 0; i < n; i++)
        largest[i / 2 % 2][i % 2] = fmaxf(largest[i / 2 % 2][i % 2], s[i]);
    bool shrinks = false;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float most = fmaxf(largest[row][0], largest[row][1]);
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
        float rise = (most - norm.reference[row]) * scale;
        shrink[row] = 1;
        if (rise > 8) {
            shrink[row] = exp2_fast(-rise);
            norm.reference[row] = most;
            shrinks = true;
        }
        norm.sum[row] *= shrink[row];
    }
    return __any_sync(0xffffffffu, shrinks);
}

/* Scores of 16 keys to weights. */
template <int n>
__device__ __forceinline__ void weigh(float (&s)[n], int first, Norm &norm, float scale)
{
    first *= 8;
#pragma unroll
    for (int i = first; i < first + 8; i++) {
        float x = fmaf(s[i], scale, -norm.reference[i / 2 % 2] * scale);
        s[i] = i / 4 % MULTIPLIED == 0 ? exp2_multiplied(x) : exp2_fast(x);
    }
#pragma unroll
    for (int row = 0; row < 2; row++) {
        int i = first + 2 * row;
        norm.sum[row] += (s[i] + s[i + 1]) + (s[i + 4] + s[i + 5]);
    }
}

template <int n> __device__ __forceinline__ void pack_weights(uint32_t (&p)[n], float (&s)[2 * n])
{
#pragma unroll
    for (int i = 0; i < n; i++)
        p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
}

template <int n> __device__ __forceinline__ void shrink_sums(float (&sums)[n], float (&shrink)[2])
{
#pragma unroll
    for (int i = 0; i < n; i++)
        sums[i] *= shrink[i / 2 % 2];
}

/* ---- results --------------------------------------------------------------------------------- */

/* Four lanes hold two columns each of the same row, of four groups of eight columns: afterwards
 * each holds one group whole. */
__device__ __forceinline__ void gather_columns(uint32_t (&x)[4])
{
    bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? x[i] : x[i + 1], 1);
        (odd ? x[i] : x[i + 1]) = other;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t other = __shfl_xor_sync(0xffffffffu, high ? x[i] : x[i + 2], 2);
        (high ? x[i] : x[i + 2]) = other;
    }
}

/* Row of a tile that a consumer thread holds first; the other one is 8 further. */
__device__ inline int thread_row(int group)
{
    return group * 64 + threadIdx.x % WARPGROUP / 32 * 16 + threadIdx.x % 32 / 4;
}

/* Eight numbers that four lanes hold in twos, as pairs of T, to where they belong. */
__device__ __forceinline__ void put_eight(bf16 *to, const float (&x)[8], bool there)
{
    uint32_t pairs[4] = {pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]),
                         pack_bf16(x[6], x[7])};
    gather_columns(pairs);
    if (there)
        *(uint4 *) to = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

__device__ __forceinline__ void put_eight(fp8 *to, const float (&x)[8], bool there)
{
    uint32_t pairs[4] = {pack_e4m3(x[0], x[1]), pack_e4m3(x[2], x[3]), pack_e4m3(x[4], x[5]),
                         pack_e4m3(x[6], x[7])};
    gather_columns(pairs);
    if (there)
        *(uint2 *) to = make_uint2(pairs[0] | pairs[1] << 16, pairs[2] | pairs[3] << 16);
}

/* The rows, times `by`, to those of `out`. */
template <class S, typename T>
__device__ __forceinline__ void write_rows(T *out, float by, const Plan &plan,
                                           const float (&sums)[S::HEAD_DIM / 2], const Norm &norm,
                                           const Rows &rows, int group)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = thread_row(group) + 8 * half;
        float share = by / norm.sum[half];
        T *to =
            out + (rows.first + row) * plan.out_row + rows.head * S::HEAD_DIM + threadIdx.x % 4 * 8;
#pragma unroll
        for (int i = 0; i < S::HEAD_DIM / 32; i++) {
            float x[8];
#pragma unroll
            for (int j = 0; j < 8; j++)
                x[j] = sums[16 * i + j / 2 * 4 + 2 * half + j % 2] * share;
            put_eight(to + 32 * i, x, row < rows.n);
        }
    }
}

template <class S>
__device__ __forceinline__ void write_result(const Plan &plan, const float (&sums)[S::HEAD_DIM / 2],
                                             const Norm &norm, const Rows &rows, int group)
{
    if (plan.out)
        write_rows<S>(plan.out, 1.0f, plan, sums, norm, rows, group);
    else
        write_rows<S>(plan.fp8_out, 1.0f / e4m3_scale_of(plan.amax), plan, sums, norm, rows, group);
}

template <class S>
__device__ __forceinline__ void write_part(const Plan &plan, const float (&sums)[S::HEAD_DIM / 2],
                                           const Norm &norm, int part, int group)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int64_t row = (int64_t) part * S::ROWS + thread_row(group) + 8 * half;
        float *to = plan.partial + row * S::HEAD_DIM + threadIdx.x % 4 * 2;
#pragma unroll
        for (int i = 0; i < S::HEAD_DIM / 8; i++)
            *(float2 *) (to + 8 * i) =
                make_float2(sums[4 * i + 2 * half], sums[4 * i + 2 * half + 1]);
        if (threadIdx.x % 4 == 0)
            plan.partial_norm[row] = make_float2(norm.reference[half] * plan.scale, norm.sum[half]);
    }
}

/* ---- the producers --------------------------------------------------------------------------- */

/* Box `index` of a tile whose row of the table is `list`. A box that is not there lies below the
 * frame: the copy engine fills it with zeros and reads nothing. */
template <class S> __device__ inline Box find_box(const Plan &plan, const int32_t *list, int index)
{
    if (index >= plan.n_boxes)
        return {plan.frame_keys, 0, 0};
    int block = S::SPARSE ? __ldg(list + index) : index;
    int frame = block / plan.boxes_per_frame, row = block % plan.boxes_per_frame * S::BOX;
    return {row, (uint32_t) (plan.slots ? __ldg(plan.slots + frame) : frame),
            (uint32_t) min(S::BOX, plan.frame_keys - row)};
}

/* A warp that looks up the addresses of keys, well ahead of the warp that copies: a batch of boxes
 * fills half of the list. */
template <class S> __device__ void look_up(const Plan &plan, const Barriers<S> &barriers)
{
    int lane = threadIdx.x % 32;
    uint32_t batch = 0;
    Work work(plan);
    for (Item item; work.next(&item);) {
        const int32_t *list = S::SPARSE ? plan.table + (int64_t) item.tile * plan.n_boxes : nullptr;
        for (int i = 0; i < item.n; i += S::BATCH, batch++) {
            Box box = find_box<S>(plan, list, (item.first + i) * S::BOXES + lane);
            barrier_wait(barriers.boxes_empty(batch % 2), batch / 2 & 1 ^ 1);
            uint32_t to = barriers.box(batch % 2, lane);
            store_word(to, box.row);
            store_word(to + 4, box.slot);
            store_word(to + 8, box.n_valid);
            barrier_arrive(barriers.boxes_full(batch % 2));
        }
    }
}

/* A thread that copies queries, for each warpgroup as soon as it has read the previous ones. */
template <class S>
__device__ void copy_queries(const Plan &plan, const CUtensorMap *map, const Barriers<S> &barriers)
{
    uint32_t phase = 1;
    Work work(plan);
    for (Item item; work.next(&item); phase ^= 1) {
        Rows rows = tile_rows(plan, item.tile);
        for (int group = 0; group < S::GROUPS; group++) {
            uint32_t full = barriers.query_full(group);
            barrier_wait(barriers.query_empty(group), phase);
            barrier_expect(full, S::QUERY_SIZE / S::GROUPS);
            for (int slab = 0; slab < S::SLABS; slab++)
                copy_box(barriers.base + (slab * S::ROWS + group * 64) * 128, map, full,
                         slab * SLAB, rows.first + group * 64, rows.head);
        }
    }
}

template <class S>
__device__ inline void copy_step(uint32_t to, const CUtensorMap *map, uint32_t barrier,
                                 uint32_t box, int head)
{
    barrier_expect(barrier, S::STEP_SIZE);
    for (int i = 0; i < S::BOXES; i++, box += sizeof(Box))
        for (int slab = 0; slab < S::SLABS; slab++)
            copy_box(to + (slab * S::KEYS + i * S::BOX) * 128, map, barrier, slab * SLAB,
                     load_word(box), head, load_word(box + 4));
}

/* The word `valid` of a step whose boxes begin at `box`. */
template <class S> __device__ inline uint32_t valid_keys(uint32_t box)
{
    uint32_t valid = 0;
    for (int i = 0; i < S::BOXES; i++) {
        int n = load_word(box + i * sizeof(Box) + 8);
        for (int j = 0; j < S::BOX; j += 64)
            valid |= (uint32_t) max(0, min(64, n - j)) << (i * S::BOX + j) / 8;
    }
    return valid;
}

/* A thread that copies keys and values. Order: k(0), then k(j) with v(j − 1). */
template <class S>
__device__ void copy_keys(const Plan &plan, const CUtensorMap *k_map, const CUtensorMap *v_map,
                          const Barriers<S> &barriers)
{
    uint32_t count = 0, batch = 0; /* before this item */
    Work work(plan);
    for (Item item; work.next(&item); count += item.n, batch += (item.n - 1) / S::BATCH + 1) {
        int head = item.tile / plan.tiles_per_head;
        for (int i = 0; i <= item.n; i++) {
            if (i < item.n) {
                uint32_t stage = stage_of<S>(count + i), at = batch + i / S::BATCH;
                uint32_t box = barriers.box(at % 2, i % S::BATCH * S::BOXES);
                if (i % S::BATCH == 0)
                    barrier_wait(barriers.boxes_full(at % 2), at / 2 & 1);
                bool last = plan.last_logit != 0 && item.first + i == plan.steps - 1;
                uint32_t valid = valid_keys<S>(box) | (last ? HAS_LAST : 0);
                barrier_wait(barriers.key_empty(stage), phase_of<S>(count + i) ^ 1);
                store_word(barriers.valid(stage), valid);
                copy_step<S>(barriers.base + S::KEY_STAGES + stage * S::STEP_SIZE, k_map,
                             barriers.key_full(stage), box, head);
            }
            if (i > 0) {
                uint32_t stage = stage_of<S>(count + i - 1), at = batch + (i - 1) / S::BATCH;
                barrier_wait(barriers.value_empty(stage), phase_of<S>(count + i - 1) ^ 1);
                copy_step<S>(barriers.base + S::VALUE_STAGES + stage * S::STEP_SIZE, v_map,
                             barriers.value_full(stage),
                             barriers.box(at % 2, (i - 1) % S::BATCH * S::BOXES), head);
                if (i % S::BATCH == 0 || i == item.n)
                    barrier_arrive(barriers.boxes_empty(at % 2));
            }
        }
    }
}

/* A warp that writes the scales of rows in E4M3, which are known from the start; once for all
 * heads. */
__device__ inline void write_scales(const Plan &plan)
{
    Work work(plan);
    for (Item item; work.next(&item);) {
        Rows rows = tile_rows(plan, item.tile);
        for (int row = threadIdx.x % 32; rows.head == 0 && row < rows.n; row += 32)
            write_e4m3_scale(plan.scales, rows.first + row, plan.n_rows, plan.amax,
                             (int) plan.out_row);
    }
}

template <class S>
__device__ void produce(const Plan &plan, const CUtensorMap *q_map, const CUtensorMap *k_map,
                        const CUtensorMap *v_map, uint32_t base)
{
    const Barriers<S> barriers = {base};
    int warp = uniform(threadIdx.x % WARPGROUP / 32), lane = threadIdx.x % 32;
    if (warp == 0 && lane == 0)
        copy_keys(plan, k_map, v_map, barriers);
    else if (warp == 1)
        look_up(plan, barriers);
    else if (warp == 2 && lane == 0)
        copy_queries(plan, q_map, barriers);
    else if (warp == 3 && !plan.out)
        write_scales(plan);
}

/* ---- the consumers --------------------------------------------------------------------------- */

/* The warpgroups issue their products in turns, so that the softmax of one overlaps with the
 * products of the other (ping-pong). */
template <class S> __device__ inline void turn_wait(int group)
{
    if (S::GROUPS == 2)
        asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(2 * WARPGROUP) : "memory");
}

template <class S> __device__ inline void turn_pass(int group)
{
    if (S::GROUPS == 2)
        asm volatile("bar.arrive %0, %1;" ::"r"(2 - group), "n"(2 * WARPGROUP) : "memory");
}

__device__ inline void release(uint32_t barrier)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        barrier_arrive(barrier);
}

/* The state of a consumer thread. */
template <class S> struct Consumer {
    const Plan &plan;
    Barriers<S> barriers;
    int group;
    uint32_t count; /* steps whose scores were taken */
    float scores[S::KEYS / 2], sums[S::HEAD_DIM / 2];
    uint32_t weights[S::KEYS / 4];
    Norm norm;
};

template <class S> __device__ inline uint32_t query_descriptor(const Consumer<S> &c)
{
    return uniform(lower_descriptor(c.barriers.base + c.group * 64 * 128, 16));
}

template <class S> __device__ inline uint32_t key_descriptor(const Consumer<S> &c, uint32_t stage)
{
    return uniform(lower_descriptor(c.barriers.base + S::KEY_STAGES + stage * S::STEP_SIZE, 16));
}

template <class S> __device__ inline uint32_t value_descriptor(const Consumer<S> &c, uint32_t stage)
{
    return uniform(
        lower_descriptor(c.barriers.base + S::VALUE_STAGES + stage * S::STEP_SIZE, S::KEYS * 128));
}

/* The scores are complete: releases their keys. Returns whether the sums need rescaling. */
template <class S>
__device__ __forceinline__ bool take_scores(Consumer<S> &c, float (&shrink)[2], bool last)
{
    constexpr uint32_t ALL_VALID = S::KEYS == 192   ? 0x404040
                                   : S::KEYS == 176 ? 0x304040
                                   : S::KEYS == 160 ? 0x204040
                                                    : 0x40;
    uint32_t stage = stage_of<S>(c.count++);
    pin(c.scores);
    uint32_t valid = 0;
    if (threadIdx.x % 32 == 0) /* who gives the stage back has read it */
        valid = load_word(c.barriers.valid(stage));
    valid = uniform(valid);
    release(c.barriers.key_empty(stage));
    if (last)
        release(c.barriers.query_empty(c.group));
    if (valid != ALL_VALID)
        mask_scores(c.scores, valid, c.plan.last_logit);
    return refer(c.scores, c.norm, shrink, c.plan.scale);
}

/* A store that never runs, because sums of weights are not negative. It keeps ptxas from moving the
 * softmax behind the next wait. */
__device__ inline void hold(float sum, uint32_t word)
{
    asm volatile("{\n.reg .pred never;\nsetp.lt.f32 never, %0, 0f00000000;\n"
                 "@never st.shared.u32 [%1], %1;\n}" ::"f"(sum),
                 "r"(word)
                 : "memory");
}

/* Returns 0, with a data dependency on `weight`: keeps ptxas from issuing a product before its
 * weights exist. */
__device__ inline uint32_t after(float weight)
{
    return __float_as_uint(weight) >> 31;
}

/* All steps of an item; the last products are still in flight when it returns. A warp stalls while
 * the queue of wgmma, which holds a few, is full. So products with values are issued in between
 * computing the weights of the next step. */
template <class S>
__device__ __forceinline__ void attend_steps(Consumer<S> &c, int n_steps, uint32_t query_phase)
{
    constexpr int PARTS = S::KEYS / 16, SOON = PARTS / 2, LATER = PARTS * 3 / 4;
    float shrink[2];
    c.norm = {{-INFINITY, -INFINITY}, {0, 0}};
#pragma unroll
    for (int i = 0; i < S::HEAD_DIM / 2; i++)
        c.sums[i] = 0;
    uint32_t stage = stage_of<S>(c.count), q = query_descriptor(c), k = key_descriptor(c, stage);
    barrier_wait(c.barriers.query_full(c.group), query_phase);
    barrier_wait(c.barriers.key_full(stage), phase_of<S>(c.count));
    products_begin();
    multiply_keys<S>(c.scores, q, k);
    products_commit();
    products_wait<0>();
    take_scores(c, shrink, n_steps == 1);
#pragma unroll
    for (int i = 0; i < PARTS; i++)
        weigh(c.scores, i, c.norm, c.plan.scale);
    pack_weights(c.weights, c.scores);
    for (int step = 1; step < n_steps; step++) {
        uint32_t value_stage = stage_of<S>(c.count - 1);
        stage = stage_of<S>(c.count);
        q = query_descriptor(c);
        k = key_descriptor(c, stage);
        uint32_t v = value_descriptor(c, value_stage);
        barrier_wait(c.barriers.key_full(stage), phase_of<S>(c.count));
        barrier_wait(c.barriers.value_full(value_stage), phase_of<S>(c.count - 1));
        turn_wait<S>(c.group);
        products_begin();
        multiply_keys<S>(c.scores, q, k);
        products_commit();
        multiply_values<S, 0, SOON>(c.sums, c.weights, v);
        turn_pass<S>(c.group);
        products_wait<1>();
        bool shrinks = take_scores(c, shrink, step == n_steps - 1);
        products_begin();
        multiply_values<S, SOON, LATER>(c.sums, c.weights, v + after(shrink[0]));
#pragma unroll
        for (int i = 0; i < PARTS; i++) {
            weigh(c.scores, i, c.norm, c.plan.scale);
            if (i == PARTS / 3) {
                products_begin();
                multiply_values<S, LATER, PARTS>(c.sums, c.weights, v + after(c.scores[8 * i + 7]));
            }
        }
        hold(c.norm.sum[0] + c.norm.sum[1], c.barriers.valid(stage));
        products_wait<0>();
        pin(c.sums);
        release(c.barriers.value_empty(value_stage));
        if (shrinks)
            shrink_sums(c.sums, shrink);
        pin(c.scores);
        pack_weights(c.weights, c.scores);
    }
    stage = stage_of<S>(c.count - 1);
    uint32_t v = value_descriptor(c, stage);
    barrier_wait(c.barriers.value_full(stage), phase_of<S>(c.count - 1));
    products_begin();
    multiply_values<S, 0, PARTS>(c.sums, c.weights, v);
}

template <class S> __device__ void consume(const Plan &plan, uint32_t base, int group)
{
    Consumer<S> c = {plan, {base}, group, 0};
    uint32_t query_phase = 0;
    Work work(plan);
    if (group == 1)
        turn_pass<S>(group);
    for (Item item; work.next(&item); query_phase ^= 1) {
        attend_steps(c, item.n, query_phase);
#pragma unroll
        for (int row = 0; row < 2; row++) {
            c.norm.sum[row] += __shfl_xor_sync(0xffffffffu, c.norm.sum[row], 1);
            c.norm.sum[row] += __shfl_xor_sync(0xffffffffu, c.norm.sum[row], 2);
        }
        Rows rows = tile_rows(plan, item.tile);
        products_wait<0>();
        pin(c.sums);
        release(c.barriers.value_empty(stage_of<S>(c.count - 1)));
        if (item.part < 0)
            write_result<S>(plan, c.sums, c.norm, rows, group);
        else
            write_part<S>(plan, c.sums, c.norm, item.part, group);
    }
    if (group == 0)
        turn_wait<S>(group);
}

template <class S>
__global__ void __launch_bounds__(S::THREADS, S::RESIDENT)
    attend(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
           const __grid_constant__ CUtensorMap v_map, const __grid_constant__ Plan plan)
{
    let_next_begin();
    extern __shared__ uint8_t shared[];
    uint32_t base = (shared_address(shared) + 1023) & ~1023u;
    if (threadIdx.x == 0) {
        constexpr int CONSUMERS = 4 * S::GROUPS; /* warps */
        const Barriers<S> barriers = {base};
        for (int i = 0; i < S::GROUPS; i++) {
            barrier_init(barriers.query_full(i), 1);
            barrier_init(barriers.query_empty(i), 4);
        }
        for (int i = 0; i < S::STAGES; i++) {
            barrier_init(barriers.key_full(i), 1);
            barrier_init(barriers.key_empty(i), CONSUMERS);
            barrier_init(barriers.value_full(i), 1);
            barrier_init(barriers.value_empty(i), CONSUMERS);
        }
        for (int i = 0; i < 2; i++) {
            barrier_init(barriers.boxes_full(i), 32);
            barrier_init(barriers.boxes_empty(i), 1);
        }
        barriers_ready();
    }
    if (threadIdx.x == WARPGROUP) {
        prefetch_map(&q_map);
        prefetch_map(&k_map);
        prefetch_map(&v_map);
    }
    __syncthreads();
    wait_for_earlier();
    int group = uniform(threadIdx.x / WARPGROUP);
    if (group == S::GROUPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(S::PRODUCER_REGISTERS));
        produce<S>(plan, &q_map, &k_map, &v_map, base);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::CONSUMER_REGISTERS));
        consume<S>(plan, base, group);
    }
}

/* ---- pieces together ------------------------------------------------------------------------- */

/* A lane's columns of a row, times `by`. */
template <typename T, int COLUMNS>
__device__ inline void put_columns(T *row, const float (&sums)[COLUMNS], float by)
{
    Pack<T, COLUMNS> out;
    for (int j = 0; j < COLUMNS; j++)
        out.at[j] = from_float<T>(sums[j] * by);
    ((Pack<T, COLUMNS> *) row)[threadIdx.x % 32] = out;
}

/* One warp per row of the split tiles: adds the partial sums, each rescaled to the largest
 * reference. */
template <class S> __global__ void join_parts(const __grid_constant__ Plan plan)
{
    constexpr int COLUMNS = S::HEAD_DIM / 32;
    typedef Pack<float, COLUMNS> Columns;
    let_next_begin();
    wait_for_earlier();
    int index = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int split = index / S::ROWS, row = index % S::ROWS, lane = threadIdx.x % 32;
    int start = split * plan.steps, first = piece_at(plan, start);
    int n = piece_at(plan, start + plan.steps - 1) - first + 1;
    Rows rows = tile_rows(plan, plan.n_whole + split);
    if (row >= rows.n || n == 1)
        return;
    auto part_row = [&](int i) {
        int64_t part = 2 * (first + i) + (piece_start(plan, first + i) < start);
        return part * S::ROWS + row;
    };
    float largest = -INFINITY, total = 0, sums[COLUMNS] = {};
    for (int i = lane; i < n; i += 32)
        largest = fmaxf(largest, plan.partial_norm[part_row(i)].x);
    largest = warp_max(largest);
#pragma unroll 4
    for (int i = 0; i < n; i++) {
        float2 norm = plan.partial_norm[part_row(i)];
        Columns x = ((const Columns *) (plan.partial + part_row(i) * S::HEAD_DIM))[lane];
        float weight = exp2_fast(norm.x - largest);
        for (int j = 0; j < COLUMNS; j++)
            sums[j] += x.at[j] * weight;
        total += norm.y * weight;
    }
    int64_t to = (rows.first + row) * plan.out_row + rows.head * S::HEAD_DIM;
    if (plan.out)
        put_columns(plan.out + to, sums, 1.0f / total);
    else
        put_columns(plan.fp8_out + to, sums, 1.0f / (total * e4m3_scale_of(plan.amax)));
}

/* ---- launching ------------------------------------------------------------------------------- */

int divide_up(int n, int d)
{
    return (n + d - 1) / d;
}

/* Divides the tiles among thread blocks. A piece costs about two steps more than its own: its sums
 * are written, read and joined. Returns the number of thread blocks. */
template <class S> int share_out(Plan *plan, int tiles, int places)
{
    constexpr int OVERHEAD = 3;
    constexpr int64_t PART = S::ROWS * (S::HEAD_DIM * sizeof(float) + sizeof(float2));
    int rest = tiles % places, units = rest * plan->steps, pieces = units < places ? units : places;
    plan->n_whole = tiles;
    plan->n_split = plan->pieces = 0;
    if (!rest || divide_up(units, pieces) + OVERHEAD >= plan->steps ||
        2 * pieces * PART > LF_CUDA_WORKSPACE)
        return tiles < places ? tiles : places;
    plan->n_whole = tiles - rest;
    plan->n_split = rest;
    plan->pieces = pieces;
    plan->piece_units = units / pieces;
    plan->piece_rest = units % pieces;
    return plan->n_whole ? places : pieces;
}

template <class S> bool make_maps(LfCuda *cuda, const LfCudaAttention *a, CUtensorMap (&maps)[3])
{
    uint64_t d = a->head_dim, heads = a->heads, n_slots = a->slots ? a->n_slots : a->n_frames;
    uint64_t q_shape[] = {d, (uint64_t) a->n_queries, heads};
    uint64_t q_strides[] = {(uint64_t) a->q_row * 2, (uint64_t) a->q_head * 2};
    uint32_t q_box[] = {SLAB, 64, 1};
    uint64_t k_shape[] = {d, (uint64_t) a->frame_keys, heads, n_slots};
    uint64_t k_strides[] = {(uint64_t) a->k_row * 2, (uint64_t) a->k_head * 2,
                            (uint64_t) a->k_frame * 2};
    if (n_slots == 1) /* never used, but the driver requires one */
        k_strides[2] = k_strides[0] * a->frame_keys;
    uint32_t k_box[] = {SLAB, S::BOX, 1, 1};
    CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    return lf_cuda_tensor_map(cuda, &maps[0], type, (void *) a->q, 3, q_shape, q_strides, q_box) &&
           lf_cuda_tensor_map(cuda, &maps[1], type, (void *) a->k, 4, k_shape, k_strides, k_box) &&
           lf_cuda_tensor_map(cuda, &maps[2], type, (void *) a->v, 4, k_shape, k_strides, k_box);
}

template <class S> Plan make_plan(LfCuda *cuda, const LfCudaAttention *a, int *n_blocks)
{
    const float log2_e = 1.4426950408889634f;
    Plan plan = {};
    plan.out = a->out;
    plan.fp8_out = a->fp8_out;
    plan.scales = a->scales;
    plan.amax = a->amax;
    plan.out_row = a->out_row;
    plan.n_rows = a->n_queries;
    plan.slots = a->slots;
    plan.table = a->table;
    plan.frame_queries = S::SPARSE ? a->frame_queries : a->n_queries;
    plan.query_block = S::SPARSE ? a->query_block : S::ROWS;
    plan.tiles_per_frame = divide_up(plan.frame_queries, plan.query_block);
    plan.tiles_per_head = a->n_queries / plan.frame_queries * plan.tiles_per_frame;
    plan.frame_keys = a->frame_keys;
    plan.boxes_per_frame = divide_up(a->frame_keys, S::BOX);
    plan.n_boxes = S::SPARSE ? a->budget : a->n_frames * plan.boxes_per_frame;
    plan.steps = divide_up(plan.n_boxes, S::BOXES);
    plan.scale = a->scale * log2_e;
    plan.last_logit = a->last_logit / a->scale;
    *n_blocks =
        share_out<S>(&plan, a->heads * plan.tiles_per_head, cuda->n_multiprocessors * S::RESIDENT);
    plan.partial = (float *) cuda->workspace;
    plan.partial_norm =
        (float2 *) (plan.partial + (int64_t) 2 * plan.pieces * S::ROWS * S::HEAD_DIM);
    return plan;
}

template <class S> const char *launch(LfCuda *cuda, const LfCudaAttention *a)
{
    CUtensorMap maps[3];
    int n_blocks;
    Plan plan = make_plan<S>(cuda, a, &n_blocks);
    constexpr size_t shared = 1024 + S::CONTROL + sizeof(Control);
    if (!make_maps<S>(cuda, a, maps))
        return "the driver refuses a tensor map";
    if (!lf_cuda_check(cuda,
                       cudaFuncSetAttribute(attend<S>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            (int) shared),
                       "attention_sm90"))
        return NULL; /* the failure is latched */
    launch_early(cuda, attend<S>, n_blocks, S::THREADS, shared, maps[0], maps[1], maps[2], plan);
    if (plan.n_split)
        launch_early(cuda, join_parts<S>, plan.n_split * S::ROWS / 8, 256, 0, plan);
    lf_cuda_launched(cuda, "attention_sm90");
    return NULL;
}

bool aligned(const LfCudaAttention *a)
{
    int64_t strides = a->q_row | a->q_head | a->k_row | a->k_head | a->out_row;
    if (a->n_frames > 1 || a->slots)
        strides |= a->k_frame;
    uintptr_t pointers = (uintptr_t) a->q | (uintptr_t) a->k | (uintptr_t) a->v |
                         (uintptr_t) a->out | (uintptr_t) a->fp8_out;
    return strides % 8 == 0 && pointers % 16 == 0;
}

/* Keys of a step that waste the fewest at the end of a frame; the longer step where they tie. */
bool longer_steps(int frame_keys)
{
    return divide_up(frame_keys, 192) * 192 <= divide_up(frame_keys, 176) * 176;
}

const char *launch_dense(LfCuda *cuda, const LfCudaAttention *a)
{
    if (a->head_dim == 64)
        return launch<Shape<64, 160, 2, false>>(cuda, a);
    return longer_steps(a->frame_keys) ? launch<Shape<128, 192, 2, false>>(cuda, a)
                                       : launch<Shape<128, 176, 2, false>>(cuda, a);
}

const char *launch_sparse(LfCuda *cuda, const LfCudaAttention *a)
{
    if (a->head_dim == 64)
        return launch<Shape<64, 192, 2, true>>(cuda, a);
    return a->query_block == 64 ? launch<Shape<128, 64, 1, true>>(cuda, a)
                                : launch<Shape<128, 192, 2, true>>(cuda, a);
}

} // namespace

const char *lf_cuda_attention_sm90_refuses(const LfCuda *cuda, const LfCudaAttention *a)
{
    if (a->head_dim != 64 && a->head_dim != 128)
        return "heads have neither 64 nor 128 channels";
    if (!(a->scale > 0) || !aligned(a))
        return "rows are not aligned to 16 bytes";
    if (a->n_queries < 1 || a->n_frames < 1 || a->frame_keys < 1)
        return "there are no queries or no keys";
    if (!a->table)
        return NULL;
    if (a->key_block != BLOCK)
        return "key blocks are not of 64 keys";
    if (a->query_block != 64 && a->query_block != 128)
        return "query blocks are neither of 64 nor of 128 queries";
    if (a->budget < 1 || a->n_queries % a->frame_queries || a->last_logit != 0)
        return "the table is empty, or queries are not of whole frames";
    return NULL;
}

const char *lf_cuda_attention_sm90(LfCuda *cuda, const LfCudaAttention *a)
{
    return a->table ? launch_sparse(cuda, a) : launch_dense(cuda, a);
}
