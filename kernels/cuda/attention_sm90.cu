/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Attention on Hopper: out = softmax(q·kᵀ·scale)·v, dense, or sparse by a table of 64-key blocks.
 *
 * A tile is 128 (or 64) queries of a head. One thread block a multiprocessor stays for the whole
 * launch. Its producer warp brings queries, and keys and values in steps of KEYS rows, through the
 * bulk copy engine into rings in shared memory; each of its consumer warpgroups keeps 64 rows of the
 * output in registers. Step j's scores q·k(j)ᵀ and step j − 1's p·v(j − 1) are issued together, and
 * the softmax of step j runs beside the latter and beside the other warpgroup's products.
 *
 * Work: as many whole rounds of tiles as there are; the steps of the tiles that would fill a last
 * round in part are shared out evenly, in pieces whose partial sums a second kernel puts together.
 * Tiles of a head are neighbours and walk the keys in step, so that the cache serves them.
 *
 * Bound: 4·queries·keys·d FLOP a head on the tensor cores when dense; when sparse also the second
 * level cache, which gives every tile its own 4·keys·d bytes.
 */
#include "device.cuh"

#include <math.h>

namespace
{

enum {
    WARPGROUP = 128,
    SLAB = 64,  /* channels that lie together in shared memory: rows of 128 bytes, swizzled */
    BLOCK = 64, /* keys of a block of the table */
    SHARED_SIZE = 226 << 10,
    MAX_STAGES = 4
};

/* What one kernel is made for. */
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
    static constexpr int QUERY_SIZE = ROWS * HEAD_DIM * 2;
    static constexpr int STEP_SIZE = KEYS * HEAD_DIM * 2;
    static constexpr int FIT = (SHARED_SIZE / RESIDENT - 2048 - QUERY_SIZE) / (2 * STEP_SIZE);
    static constexpr int STAGES = FIT < MAX_STAGES ? FIT : MAX_STAGES;
    /* Where things lie in shared memory, from a multiple of 1024 on. */
    static constexpr int KEY_STAGES = QUERY_SIZE, VALUE_STAGES = KEY_STAGES + STAGES * STEP_SIZE,
                         CONTROL = VALUE_STAGES + STAGES * STEP_SIZE;
    static_assert(STAGES >= 2 && KEYS % BOX == 0 && KEYS % 16 == 0 && KEYS <= 192, "");
};

/* Behind the rings. */
struct Control {
    uint64_t query_full, query_empty;
    uint64_t key_full[MAX_STAGES], key_empty[MAX_STAGES];
    uint64_t value_full[MAX_STAGES], value_empty[MAX_STAGES];
    uint32_t valid[MAX_STAGES]; /* byte i: keys in use of 64·i … 64·i + 63 of the step; HAS_LAST */
};
constexpr uint32_t HAS_LAST = 1u << 31; /* the very last key is in this step */

struct Plan {
    bf16 *out;
    int64_t out_row;
    float *partial;       /* [part, ROWS, d]: sums of values, not yet divided */
    float2 *partial_norm; /* [part, ROWS]: largest score·scale, sum of weights */
    const int32_t *slots, *table;
    int tiles_per_head, tiles_per_frame, frame_queries, query_block;
    int frame_keys, boxes_per_frame, n_boxes; /* n_boxes: of a tile */
    int steps;                                /* of a tile */
    int n_whole, n_split; /* tiles [0, n_whole) are done whole, n_split more in pieces */
    int pieces, piece_units, piece_rest; /* the first piece_rest pieces have a unit more */
    float scale;      /* with log2 e */
    float last_logit; /* before scaling */
};

/* ---- work ---- */

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
    int part;           /* where the partial sums go; −1: the tile is whole */
};

/* What one thread block does, in order: its piece first, since others build on it. */
class Work
{
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
    return {tile / plan.tiles_per_head,
            index / plan.tiles_per_frame * plan.frame_queries + first,
            min(plan.query_block, plan.frame_queries - first)};
}

/* ---- barriers and copies, by addresses in shared memory ---- */

__device__ inline uint32_t shared_address(const void *p)
{
    return (uint32_t) __cvta_generic_to_shared(p);
}

__device__ inline void barrier_init(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

__device__ inline void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

__device__ inline void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
                 "r"(bytes)
                 : "memory");
}

__device__ inline void barrier_wait(uint32_t barrier, uint32_t phase)
{
    uint32_t done;
    do {
        asm volatile("{\n"
                     ".reg .pred done;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, done;\n"
                     "}\n"
                     : "=r"(done)
                     : "r"(barrier), "r"(phase)
                     : "memory");
    } while (!done);
}

/* The place of step `count` of all steps of a thread block. Whoever reads waits for the phase of
 * that place; whoever fills it for the phase before, which a fresh barrier counts as over. */
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

    __device__ uint32_t query_full() const
    {
        return base + S::CONTROL + offsetof(Control, query_full);
    }
    __device__ uint32_t query_empty() const
    {
        return base + S::CONTROL + offsetof(Control, query_empty);
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

__device__ inline void copy_rows(uint32_t to, const CUtensorMap *map, uint32_t barrier,
                                 int channel, int row, int head)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(channel), "r"(row), "r"(head)
                 : "memory");
}

__device__ inline void copy_rows(uint32_t to, const CUtensorMap *map, uint32_t barrier,
                                 int channel, int row, int head, int slot)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(channel), "r"(row), "r"(head),
                 "r"(slot)
                 : "memory");
}

/* Towards the second level cache only. */
__device__ inline void prefetch_rows(const CUtensorMap *map, int channel, int row, int head,
                                     int slot)
{
    asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global.tile [%0, {%1, %2, %3, %4}];" ::"l"(
                     map),
                 "r"(channel), "r"(row), "r"(head), "r"(slot)
                 : "memory");
}

/* ---- products ---- */

/* The lower half of what tells wgmma of a tile in shared memory, which lies there in rows of 128
 * swizzled bytes, groups of 8 rows one behind the other; `slab` is the distance to the next 64 channels
 * where rows are what is summed over. The upper half is the same for all. */
__device__ inline uint32_t descriptor(uint32_t address, uint32_t slab)
{
    return address >> 4 | slab >> 4 << 16;
}
#define UPPER "0x40000040" /* swizzle of 128 bytes; 1024 bytes from group to group */

__device__ inline void products_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* All but the last n groups are done. */
template <int n> __device__ inline void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}

/* Values that products write: no use of them may move above this. */
template <int n> __device__ __forceinline__ void pin(float (&x)[n])
{
#pragma unroll
    for (int i = 0; i < n; i++)
        asm volatile("" : "+f"(x[i])::"memory");
}

#define R10(tens)                                                                                  \
    "%" #tens "0,%" #tens "1,%" #tens "2,%" #tens "3,%" #tens "4,%" #tens "5,%" #tens "6,%" #tens  \
    "7,%" #tens "8,%" #tens "9"
#define R32 R10() "," R10(1) "," R10(2) ",%30,%31"
#define R60 R10() "," R10(1) "," R10(2) "," R10(3) "," R10(4) "," R10(5)
#define R64 R60 ",%60,%61,%62,%63"
#define R80 R60 "," R10(6) "," R10(7)
#define R88 R80 ",%80,%81,%82,%83,%84,%85,%86,%87"
#define R96 R80 "," R10(8) ",%90,%91,%92,%93,%94,%95"
#define F8(i)                                                                                      \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),    \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define F32 F8(0), F8(8), F8(16), F8(24)
#define F64 F32, F8(32), F8(40), F8(48), F8(56)
#define F80 F64, F8(64), F8(72)
#define F88 F80, F8(80)
#define F96 F88, F8(88)

/* d (+)= a·bᵀ, both in shared memory, 16 channels of 64 rows of a and n of b. */
#define PRODUCT_OF_SHARED(n, regs, a_, b_, add_)                                                   \
    __device__ __forceinline__ void multiply(float (&d)[regs], uint32_t a, uint32_t b, int add)    \
    {                                                                                              \
        asm volatile("{\n.reg .pred add;\n.reg .b64 a, b;\n"                                       \
                     "mov.b64 a, {" a_ ", " UPPER "};\nmov.b64 b, {" b_ ", " UPPER "};\n"          \
                     "setp.ne.b32 add, " add_ ", 0;\n"                                             \
                     "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" R##regs          \
                     "}, a, b, add, 1, 1, 0, 0;\n}\n"                                              \
                     : F##regs                                                                     \
                     : "r"(a), "r"(b), "r"(add));                                                  \
    }

PRODUCT_OF_SHARED(64, 32, "%32", "%33", "%34")
PRODUCT_OF_SHARED(128, 64, "%64", "%65", "%66")
PRODUCT_OF_SHARED(160, 80, "%80", "%81", "%82")
PRODUCT_OF_SHARED(176, 88, "%88", "%89", "%90")
PRODUCT_OF_SHARED(192, 96, "%96", "%97", "%98")

/* d += a·b, a in registers, 16 rows of n channels of b in shared memory. */
#define PRODUCT_OF_REGISTERS(n, regs, a0_, a1_, a2_, a3_, b_)                                      \
    __device__ __forceinline__ void multiply(float (&d)[regs], uint32_t a0, uint32_t a1,           \
                                             uint32_t a2, uint32_t a3, uint32_t b)                 \
    {                                                                                              \
        asm volatile("{\n.reg .b64 b;\nmov.b64 b, {" b_ ", " UPPER "};\n"                          \
                     "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" R##regs "}, {"   \
                     a0_ "," a1_ "," a2_ "," a3_ "}, b, 1, 1, 1, 1;\n}\n"                          \
                     : F##regs                                                                     \
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b));                                \
    }

PRODUCT_OF_REGISTERS(64, 32, "%32", "%33", "%34", "%35", "%36")
PRODUCT_OF_REGISTERS(128, 64, "%64", "%65", "%66", "%67", "%68")

/* scores = q·kᵀ */
template <class S>
__device__ __forceinline__ void multiply_keys(float (&scores)[S::KEYS / 2], uint32_t q, uint32_t k)
{
#pragma unroll
    for (int slab = 0; slab < S::SLABS; slab++)
#pragma unroll
        for (int i = 0; i < SLAB / 16; i++)
            multiply(scores, q + slab * (S::ROWS * 128 >> 4) + 2 * i,
                     k + slab * (S::KEYS * 128 >> 4) + 2 * i, slab + i > 0);
}

/* sums += p·v */
template <class S>
__device__ __forceinline__ void multiply_values(float (&sums)[S::HEAD_DIM / 2],
                                                const uint32_t (&p)[S::KEYS / 4], uint32_t v)
{
#pragma unroll
    for (int i = 0; i < S::KEYS / 16; i++)
        multiply(sums, p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3], v + i * (2048 >> 4));
}

/* ---- softmax ---- */

__device__ inline float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Of a thread's two rows. Sums are its own columns' until the end. */
struct Norm {
    float largest[2], sum[2];
};

/* Scores of keys that are not there become −∞; the last key of all gets its logit. */
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

/* Scores to weights; `shrink` is what sums of earlier steps have to be multiplied with. */
template <int n>
__device__ __forceinline__ void weigh(float (&s)[n], Norm &norm, float (&shrink)[2], float scale)
{
    float largest[2][2];
#pragma unroll
    for (int row = 0; row < 2; row++)
        largest[row][0] = largest[row][1] = norm.largest[row];
#pragma unroll
    for (int i = 0; i < n; i++)
        largest[i / 2 % 2][i % 2] = fmaxf(largest[i / 2 % 2][i % 2], s[i]);
    float offset[2], sum[2][2];
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float most = fmaxf(largest[row][0], largest[row][1]);
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
        shrink[row] = exp2_fast((norm.largest[row] - most) * scale);
        norm.largest[row] = most;
        offset[row] = most * scale;
        sum[row][0] = norm.sum[row] * shrink[row];
        sum[row][1] = 0;
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
        s[i] = exp2_fast(fmaf(s[i], scale, -offset[i / 2 % 2]));
        sum[i / 2 % 2][i % 2] += s[i];
    }
#pragma unroll
    for (int row = 0; row < 2; row++)
        norm.sum[row] = sum[row][0] + sum[row][1];
}

__device__ inline uint32_t pack(float low, float high)
{
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *(uint32_t *) &both;
}

template <int n> __device__ __forceinline__ void pack_weights(uint32_t (&p)[n], float (&s)[2 * n])
{
#pragma unroll
    for (int i = 0; i < n; i++)
        p[i] = pack(s[2 * i], s[2 * i + 1]);
}

template <int n> __device__ __forceinline__ void shrink_sums(float (&sums)[n], float (&shrink)[2])
{
#pragma unroll
    for (int i = 0; i < n; i++)
        sums[i] *= shrink[i / 2 % 2];
}

/* ---- results ---- */

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

template <class S>
__device__ __forceinline__ void write_rows(const Plan &plan, const float (&sums)[S::HEAD_DIM / 2],
                                           const Norm &norm, const Rows &rows, int group)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = thread_row(group) + 8 * half;
        float share = 1 / norm.sum[half];
        bf16 *to = plan.out + (rows.first + row) * plan.out_row + rows.head * S::HEAD_DIM +
                   threadIdx.x % 4 * 8;
#pragma unroll
        for (int i = 0; i < S::HEAD_DIM / 32; i++) {
            uint32_t x[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                x[j] = pack(sums[16 * i + 4 * j + 2 * half] * share,
                            sums[16 * i + 4 * j + 2 * half + 1] * share);
            gather_columns(x);
            if (row < rows.n)
                *(uint4 *) (to + 32 * i) = make_uint4(x[0], x[1], x[2], x[3]);
        }
    }
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
            plan.partial_norm[row] =
                make_float2(norm.largest[half] * plan.scale, norm.sum[half]);
    }
}

/* ---- the producer ---- */

/* Rows of one copy. */
struct Box {
    int row, slot, n_valid;
};

/* Box `index` of a tile whose row of the table is `list`. A box that is not there lies below the
 * frame: the copy engine fills it with zeros and reads nothing. */
template <class S> __device__ inline Box find_box(const Plan &plan, const int32_t *list, int index)
{
    if (index >= plan.n_boxes)
        return {plan.frame_keys, 0, 0};
    int block = S::SPARSE ? __ldg(list + index) : index;
    int frame = block / plan.boxes_per_frame, row = block % plan.boxes_per_frame * S::BOX;
    return {row, plan.slots ? __ldg(plan.slots + frame) : frame,
            min(S::BOX, plan.frame_keys - row)};
}

/* The boxes of one step, out of the lanes from `lane` on. */
template <class S> struct Step {
    int row[S::BOXES], slot[S::BOXES];
    uint32_t valid;

    __device__ void take(const Box &box, int lane)
    {
        valid = 0;
#pragma unroll
        for (int i = 0; i < S::BOXES; i++) {
            row[i] = __shfl_sync(0xffffffffu, box.row, lane + i);
            slot[i] = __shfl_sync(0xffffffffu, box.slot, lane + i);
            int n = __shfl_sync(0xffffffffu, box.n_valid, lane + i);
#pragma unroll
            for (int j = 0; j < S::BOX; j += 64)
                valid |= (uint32_t) max(0, min(64, n - j)) << (i * S::BOX + j) / 8;
        }
    }
};

template <class S>
__device__ inline void copy_step(uint32_t to, const CUtensorMap *map, uint32_t barrier,
                                 const Step<S> &step, int head)
{
    barrier_expect(barrier, S::STEP_SIZE);
#pragma unroll
    for (int i = 0; i < S::BOXES; i++)
#pragma unroll
        for (int slab = 0; slab < S::SLABS; slab++)
            copy_rows(to + (slab * S::KEYS + i * S::BOX) * 128, map, barrier, slab * SLAB,
                      step.row[i], head, step.slot[i]);
}

/* The warp that feeds the others. Order of copies: k(0), q, then k(j) with v(j − 1). */
template <class S>
__device__ void produce(const Plan &plan, const CUtensorMap *q_map, const CUtensorMap *k_map,
                        const CUtensorMap *v_map, uint32_t base)
{
    constexpr int BATCH = 32 / S::BOXES; /* steps whose boxes the lanes hold */
    constexpr int AHEAD = 2;
    const Barriers<S> barriers = {base};
    int lane = threadIdx.x % 32;
    uint32_t count = 0, query_phase = 1; /* count: steps before this tile */
    Work work(plan);
    for (Item item; work.next(&item); count += item.n) {
        Rows rows = tile_rows(plan, item.tile);
        const int32_t *list =
            S::SPARSE ? plan.table + (int64_t) item.tile * plan.n_boxes : nullptr;
        Box box, following = find_box<S>(plan, list, item.first * S::BOXES + lane);
        Step<S> step, before;
        for (int i = 0; i <= item.n; i++) {
            before = step;
            if (i < item.n) {
                uint32_t stage = stage_of<S>(count + i);
                if (i % BATCH == 0)
                    box = following;
                step.take(box, i % BATCH * S::BOXES);
                barrier_wait(barriers.key_empty(stage), phase_of<S>(count + i) ^ 1);
                if (lane == 0) {
                    bool last = plan.last_logit != 0 && item.first + i == plan.steps - 1;
                    store_word(barriers.valid(stage), step.valid | (last ? HAS_LAST : 0));
                    copy_step(base + S::KEY_STAGES + stage * S::STEP_SIZE, k_map,
                              barriers.key_full(stage), step, rows.head);
                }
                if (i % BATCH == 0)
                    following =
                        find_box<S>(plan, list, (item.first + i + BATCH) * S::BOXES + lane);
            }
            if (false && i + AHEAD < item.n) {
                const Box &later = i % BATCH + AHEAD < BATCH ? box : following;
                if (lane / S::BOXES == (i + AHEAD) % BATCH && later.n_valid)
                    for (int slab = 0; slab < S::SLABS; slab++) {
                        prefetch_rows(k_map, slab * SLAB, later.row, rows.head, later.slot);
                        prefetch_rows(v_map, slab * SLAB, later.row, rows.head, later.slot);
                    }
            }
            if (i == 0) {
                barrier_wait(barriers.query_empty(), query_phase);
                if (lane == 0) {
                    barrier_expect(barriers.query_full(), S::QUERY_SIZE);
                    for (int slab = 0; slab < S::SLABS; slab++)
                        copy_rows(base + slab * S::ROWS * 128, q_map, barriers.query_full(),
                                  slab * SLAB, rows.first, rows.head);
                }
                query_phase ^= 1;
                continue;
            }
            uint32_t stage = stage_of<S>(count + i - 1);
            barrier_wait(barriers.value_empty(stage), phase_of<S>(count + i - 1) ^ 1);
            if (lane == 0)
                copy_step(base + S::VALUE_STAGES + stage * S::STEP_SIZE, v_map,
                          barriers.value_full(stage), before, rows.head);
        }
    }
}

/* ---- the consumers ---- */

/* The warpgroups issue their products in turns, so that one's softmax falls into the other's. */
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

/* A word on which a warp's lanes agree, made known to the compiler as such. */
__device__ inline uint32_t uniform(uint32_t x)
{
    return __shfl_sync(0xffffffffu, x, 0);
}

/* What a consumer thread keeps. */
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
    return uniform(descriptor(c.barriers.base + c.group * 64 * 128, 16));
}

template <class S> __device__ inline uint32_t key_descriptor(const Consumer<S> &c, uint32_t stage)
{
    return uniform(descriptor(c.barriers.base + S::KEY_STAGES + stage * S::STEP_SIZE, 16));
}

template <class S> __device__ inline uint32_t value_descriptor(const Consumer<S> &c, uint32_t stage)
{
    return uniform(
        descriptor(c.barriers.base + S::VALUE_STAGES + stage * S::STEP_SIZE, S::KEYS * 128));
}

/* The scores are there: their keys make room, and they become weights. */
template <class S>
__device__ __forceinline__ void take_scores(Consumer<S> &c, float (&shrink)[2], bool last)
{
    constexpr uint32_t ALL_VALID = S::KEYS == 192   ? 0x404040
                                   : S::KEYS == 176 ? 0x304040
                                   : S::KEYS == 160 ? 0x204040
                                   : S::KEYS == 128 ? 0x4040
                                                    : 0x40;
    uint32_t stage = stage_of<S>(c.count++);
    pin(c.scores);
    uint32_t valid = uniform(load_word(c.barriers.valid(stage)));
    release(c.barriers.key_empty(stage));
    if (last)
        release(c.barriers.query_empty());
    if (valid != ALL_VALID)
        mask_scores(c.scores, valid, c.plan.last_logit);
    weigh(c.scores, c.norm, shrink, c.plan.scale);
}

/* A store that never happens, since sums of weights are not negative. It keeps the softmax, which ptxas
 * would move, before the next wait. */
__device__ inline void hold(float sum, uint32_t word)
{
    asm volatile("{\n.reg .pred never;\nsetp.lt.f32 never, %0, 0f00000000;\n"
                 "@never st.shared.u32 [%1], %1;\n}" ::"f"(sum),
                 "r"(word)
                 : "memory");
}

/* All steps of a tile's item. */
template <class S>
__device__ __forceinline__ void attend_steps(Consumer<S> &c, int n_steps, uint32_t query_phase)
{
    float shrink[2];
    c.norm = {{-INFINITY, -INFINITY}, {0, 0}};
#pragma unroll
    for (int i = 0; i < S::HEAD_DIM / 2; i++)
        c.sums[i] = 0;
    uint32_t stage = stage_of<S>(c.count), q = query_descriptor(c), k = key_descriptor(c, stage);
    barrier_wait(c.barriers.query_full(), query_phase);
    barrier_wait(c.barriers.key_full(stage), phase_of<S>(c.count));
    products_fence();
    multiply_keys<S>(c.scores, q, k);
    products_commit();
    products_wait<0>();
    take_scores(c, shrink, n_steps == 1);
    pack_weights(c.weights, c.scores);
    for (int i = 1; i < n_steps; i++) {
        uint32_t value_stage = stage_of<S>(c.count - 1);
        stage = stage_of<S>(c.count);
        q = query_descriptor(c);
        k = key_descriptor(c, stage);
        uint32_t v = value_descriptor(c, value_stage);
        barrier_wait(c.barriers.key_full(stage), phase_of<S>(c.count));
        barrier_wait(c.barriers.value_full(value_stage), phase_of<S>(c.count - 1));
        turn_wait<S>(c.group);
        products_fence();
        multiply_keys<S>(c.scores, q, k);
        products_commit();
        multiply_values<S>(c.sums, c.weights, v);
        products_commit();
        turn_pass<S>(c.group);
        products_wait<1>();
        take_scores(c, shrink, i == n_steps - 1);
        hold(c.norm.sum[0] + c.norm.sum[1], c.barriers.valid(stage));
        products_wait<0>();
        pin(c.sums);
        release(c.barriers.value_empty(value_stage));
        shrink_sums(c.sums, shrink);
        pin(c.scores);
        pack_weights(c.weights, c.scores);
    }
    stage = stage_of<S>(c.count - 1);
    uint32_t v = value_descriptor(c, stage);
    barrier_wait(c.barriers.value_full(stage), phase_of<S>(c.count - 1));
    products_fence();
    multiply_values<S>(c.sums, c.weights, v);
    products_commit();
    products_wait<0>();
    pin(c.sums);
    release(c.barriers.value_empty(stage));
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
        if (item.part < 0)
            write_rows<S>(plan, c.sums, c.norm, tile_rows(plan, item.tile), group);
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
    extern __shared__ uint8_t shared[];
    uint32_t base = (shared_address(shared) + 1023) & ~1023u;
    if (threadIdx.x == 0) {
        constexpr int CONSUMERS = 4 * S::GROUPS; /* warps */
        const Barriers<S> barriers = {base};
        barrier_init(barriers.query_full(), 1);
        barrier_init(barriers.query_empty(), CONSUMERS);
        for (int i = 0; i < S::STAGES; i++) {
            barrier_init(barriers.key_full(i), 1);
            barrier_init(barriers.key_empty(i), CONSUMERS);
            barrier_init(barriers.value_full(i), 1);
            barrier_init(barriers.value_empty(i), CONSUMERS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    asm volatile("griddepcontrol.launch_dependents;"); /* join_parts may stand by */
    int group = uniform(threadIdx.x / WARPGROUP);
    if (group == S::GROUPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(S::PRODUCER_REGISTERS));
        if (threadIdx.x % WARPGROUP < 32)
            produce<S>(plan, &q_map, &k_map, &v_map, base);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::CONSUMER_REGISTERS));
        consume<S>(plan, base, group);
    }
}

/* ---- pieces together ---- */

/* A warp a row of the split tiles: the parts' sums, each shrunk to the largest score of all. */
template <class S> __global__ void join_parts(const __grid_constant__ Plan plan)
{
    constexpr int COLUMNS = S::HEAD_DIM / 32;
    typedef Pack<float, COLUMNS> Columns;
    asm volatile("griddepcontrol.wait;" ::: "memory");
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
    Pack<bf16, COLUMNS> out;
    for (int j = 0; j < COLUMNS; j++)
        out.at[j] = from_float<bf16>(sums[j] / total);
    ((Pack<bf16, COLUMNS> *) (plan.out + (rows.first + row) * plan.out_row +
                              rows.head * S::HEAD_DIM))[lane] = out;
}

/* ---- launching ---- */

int round_up(int n, int d)
{
    return (n + d - 1) / d;
}

/* How tiles are shared out. A piece costs about two steps beside its own: its sums are written, read
 * and joined. Returns the number of thread blocks. */
template <class S> int share_out(Plan *plan, int tiles, int places)
{
    constexpr int OVERHEAD = 3;
    constexpr int64_t PART = S::ROWS * (S::HEAD_DIM * sizeof(float) + sizeof(float2));
    int rest = tiles % places, units = rest * plan->steps, pieces = units < places ? units : places;
    plan->n_whole = tiles;
    plan->n_split = plan->pieces = 0;
    if (!rest || round_up(units, pieces) + OVERHEAD >= plan->steps ||
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
    uint32_t q_box[] = {SLAB, S::ROWS, 1};
    uint64_t k_shape[] = {d, (uint64_t) a->frame_keys, heads, n_slots};
    uint64_t k_strides[] = {(uint64_t) a->k_row * 2, (uint64_t) a->k_head * 2,
                            (uint64_t) a->k_frame * 2};
    if (n_slots == 1) /* never followed, yet the driver wants one */
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
    plan.out_row = a->out_row;
    plan.slots = a->slots;
    plan.table = a->table;
    plan.frame_queries = S::SPARSE ? a->frame_queries : a->n_queries;
    plan.query_block = S::SPARSE ? a->query_block : S::ROWS;
    plan.tiles_per_frame = round_up(plan.frame_queries, plan.query_block);
    plan.tiles_per_head = a->n_queries / plan.frame_queries * plan.tiles_per_frame;
    plan.frame_keys = a->frame_keys;
    plan.boxes_per_frame = round_up(a->frame_keys, S::BOX);
    plan.n_boxes = S::SPARSE ? a->budget : a->n_frames * plan.boxes_per_frame;
    plan.steps = round_up(plan.n_boxes, S::BOXES);
    plan.scale = a->scale * log2_e;
    plan.last_logit = a->last_logit / a->scale;
    *n_blocks = share_out<S>(&plan, a->heads * plan.tiles_per_head,
                             cuda->n_multiprocessors * S::RESIDENT);
    plan.partial = (float *) cuda->workspace;
    plan.partial_norm = (float2 *) (plan.partial + (int64_t) 2 * plan.pieces * S::ROWS * S::HEAD_DIM);
    return plan;
}

/* Its blocks come as those of attend go, and wait for the last. */
template <class S> void launch_join(LfCuda *cuda, const Plan &plan)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = plan.n_split * S::ROWS / 8;
    config.blockDim = 256;
    config.stream = cuda->stream;
    config.attrs = &early;
    config.numAttrs = 1;
    lf_cuda_check(cuda, cudaLaunchKernelEx(&config, join_parts<S>, plan), "attention_sm90");
}

template <class S> bool launch(LfCuda *cuda, const LfCudaAttention *a)
{
    CUtensorMap maps[3];
    int n_blocks;
    Plan plan = make_plan<S>(cuda, a, &n_blocks);
    constexpr size_t shared = 1024 + S::CONTROL + sizeof(Control);
    if (!make_maps<S>(cuda, a, maps) ||
        !lf_cuda_check(cuda,
                       cudaFuncSetAttribute(attend<S>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            (int) shared),
                       "attention_sm90"))
        return true;
    attend<S><<<n_blocks, S::THREADS, shared, cuda->stream>>>(maps[0], maps[1], maps[2], plan);
    if (plan.n_split)
        launch_join<S>(cuda, plan);
    lf_cuda_launched(cuda, "attention_sm90");
    return true;
}

bool aligned(const LfCudaAttention *a)
{
    int64_t strides = a->q_row | a->q_head | a->k_row | a->k_head | a->out_row;
    if (a->n_frames > 1 || a->slots)
        strides |= a->k_frame;
    uintptr_t pointers =
        (uintptr_t) a->q | (uintptr_t) a->k | (uintptr_t) a->v | (uintptr_t) a->out;
    return strides % 8 == 0 && pointers % 16 == 0;
}

/* Keys of a step that waste the fewest at the end of a frame; the longer step where they tie. */
bool longer_steps(int frame_keys)
{
    return round_up(frame_keys, 192) * 192 <= round_up(frame_keys, 176) * 176;
}

bool launch_dense(LfCuda *cuda, const LfCudaAttention *a)
{
    if (a->head_dim == 64)
        return launch<Shape<64, 160, 2, false>>(cuda, a);
    return longer_steps(a->frame_keys) ? launch<Shape<128, 192, 2, false>>(cuda, a)
                                       : launch<Shape<128, 176, 2, false>>(cuda, a);
}

bool launch_sparse(LfCuda *cuda, const LfCudaAttention *a)
{
    if (a->head_dim == 64)
        return launch<Shape<64, 192, 2, true>>(cuda, a);
    return a->query_block == 64 ? launch<Shape<128, 64, 1, true>>(cuda, a)
                                : launch<Shape<128, 192, 2, true>>(cuda, a);
}

} // namespace

bool lf_cuda_attention_sm90(LfCuda *cuda, const LfCudaAttention *a)
{
    bool sparse = a->table != NULL;
    if ((a->head_dim != 64 && a->head_dim != 128) || !(a->scale > 0) || !aligned(a) ||
        a->n_queries < 1 || a->n_frames < 1 || a->frame_keys < 1)
        return false;
    if (sparse && (a->key_block != BLOCK || (a->query_block != 64 && a->query_block != 128) ||
                   a->budget < 1 || a->n_queries % a->frame_queries || a->last_logit != 0))
        return false;
    return sparse ? launch_sparse(cuda, a) : launch_dense(cuda, a);
}
