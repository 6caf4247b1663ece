/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Matrix products on Hopper's tensor cores with a fused epilogue:
 *   out = act(x [N, I] · W [O, I]ᵀ ⊙ scales + bias)      BF16, or E4M3 rows with their scales
 *   out += gate ⊙ (x · Wᵀ ⊙ scales + bias)               BF16
 * x and W are both BF16 or both E4M3. Bound: 2·N·I·O FLOP.
 *
 * A persistent block computes tiles of 128 rows × COLUMNS columns. A producer warp fills a ring of
 * stages (128 bytes of each row of x and W) by bulk copies (TMA), and two consumer warpgroups
 * multiply them, 64 rows each, with sums in registers. The ring fills for the next tile while the
 * consumers run the epilogue of the last. Results pass through sheets of shared memory, and TMA
 * stores write them while the next tile is multiplied. Blocks form clusters of two: a pair has two
 * tiles below each other, each block fetches half of their piece of W, by multicast to both.
 *
 * E4M3 results: the scale of a row must be known before its last sum is. By Cauchy and Schwarz no
 * value exceeds ‖x_m‖·max‖W_n‖ + max|bias|, and |gelu(v)|, |silu(v)| ≤ |v|. That is several times
 * too much, which costs a floating-point type nothing but range.
 *
 * docs/performance.md compares the times with cuBLASLt's. The epilogue is not fully hidden: without
 * it the E4M3 product of 8960←1536 took 91 µs instead of 109. Letting the second warpgroup run some
 * stages behind the first gained nothing.
 */
#include "e4m3.cuh"
#include "hopper.cuh"
#include "mma.cuh"

namespace {

enum {
    ROWS = 128,        /* of a tile */
    STAGE_ROW = 128,   /* bytes of a row in a stage: the width of the swizzle */
    THREADS = 3 * 128, /* the fetching warp's group, then two that multiply */
    BAND = 16,         /* tiles below each other that are worked on together: their x stays in L2 */
    STAGES = 4,        /* of the ring */
    /* A step is STAGE_ROW bytes of the inner dimension. multiply_all makes FIRST_STEPS of a tile
     * before it writes the tile's columns to shared memory, and two more among the loads of a
     * residual; with fewer than LEAST_STEPS it would wait for stages that nobody fills. */
    FIRST_STEPS = STAGES + 2,
    LEAST_STEPS = FIRST_STEPS + 2
};

/* The epilogue. */
typedef enum { STORE_BF16, STORE_FP8, ADD_BF16 } Ending;

typedef struct {
    void *out;
    const float *row_scales, *row_norms; /* of x, E4M3 only */
    const float *column_scales;          /* the same of the weight */
    const float *bias, *gate;            /* or NULL */
    float *out_scales;                   /* [2, rows] of STORE_FP8 */
    float weight_norm;
    LfActivation activation;
    int n_rows, n_in, n_out;
    int tiles_down, tiles_across;
} Job;

__host__ __device__ constexpr int stage_size(int columns)
{
    return (ROWS + columns) * STAGE_ROW;
}

/* A sheet: results of 16 rows, 128 bytes each, which a bulk copy writes to global memory. */
enum { SHEET = 16 * 128 };

/* Sheets of each warp: as many as the ring leaves room for. */
__host__ __device__ constexpr int sheets_for(int columns)
{
    return columns > 224 ? 2 : 3;
}

/* Shared memory behind the ring. */
template <int COLUMNS> struct Around {
    uint8_t sheets[8][sheets_for(COLUMNS)][SHEET]; /* of each warp that multiplies */
    float2 column[COLUMNS]; /* factor and addend of each column of the tile */
    float largest[8];       /* of the bias, of each warp that multiplies */
    uint64_t full[STAGES], empty[STAGES];
};

/* ---- the machine's instructions -------------------------------------------------------------- */

__device__ uint32_t cluster_rank()
{
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ void cluster_meet()
{
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

/* Arrives at the same barrier of block `rank` of the cluster. */
__device__ void barrier_arrive_at(uint32_t barrier, uint32_t rank)
{
    asm volatile("{\n\t.reg .b32 there;\n\t"
                 "mapa.shared::cluster.u32 there, %0, %1;\n\t"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n\t}" ::"r"(barrier),
                 "r"(rank)
                 : "memory");
}

__device__ void group_meet(int group)
{
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

/* As copy_box, into the shared memory of both blocks of the pair. */
__device__ void fetch_for_both(uint32_t dst, const CUtensorMap *map, int column, int row,
                               uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(dst),
                 "l"(map), "r"(column), "r"(row), "r"(barrier), "h"((uint16_t) 3)
                 : "memory");
}

/* ---- which tile comes when ------------------------------------------------------------------- */

typedef struct {
    int row, column; /* of this block's tile */
    bool shared; /* the pair has tiles below each other: their piece of the weight is the same */
} Tile;

/* Pairs of tiles below each other in bands of BAND tiles, column after column; then, where a single
 * row of tiles is left, pairs of neighbours of that (the last may have a tile beyond the edge). */
__device__ Tile tile_at(const Job &job, int index, int rank)
{
    int pairs_down = job.tiles_down / 2, in_band = BAND / 2 * job.tiles_across;
    int first = index / in_band * (BAND / 2), within = index % in_band;
    int height = min(BAND / 2, pairs_down - first);
    Tile tile;
    tile.shared = index < pairs_down * job.tiles_across;
    if (tile.shared) {
        tile.row = 2 * (first + within % height) + rank;
        tile.column = within / height;
    } else {
        tile.row = 2 * pairs_down;
        tile.column = 2 * (index - pairs_down * job.tiles_across) + rank;
    }
    return tile;
}

__host__ __device__ int pairs_of(const Job &job)
{
    return job.tiles_down / 2 * job.tiles_across +
           job.tiles_down % 2 * ((job.tiles_across + 1) / 2);
}

/* ---- fetching -------------------------------------------------------------------------------- */

template <int ELEMENT, int COLUMNS>
__device__ void fetch_all(const CUtensorMap *x_map, const CUtensorMap *weight_map, const Job &job,
                          uint32_t ring, uint32_t full, uint32_t empty)
{
    constexpr int STEP = STAGE_ROW / ELEMENT, HALF = COLUMNS / 2;
    int rank = cluster_rank(), n_pairs = pairs_of(job);
    Ring<STAGES> place = {0, 1}; /* the ring is empty: phase 1 is the one before the first */
    for (int index = blockIdx.x / 2; index < n_pairs; index += gridDim.x / 2) {
        Tile tile = tile_at(job, index, rank);
        int row = tile.row * ROWS, column = tile.column * COLUMNS;
        for (int at = 0; at < job.n_in; at += STEP, place.advance()) {
            uint32_t x = ring + place.slot * stage_size(COLUMNS);
            uint32_t weight = x + ROWS * STAGE_ROW, ready = full + 8 * place.slot;
            barrier_wait(empty + 8 * place.slot, place.phase);
            barrier_expect(ready, stage_size(COLUMNS));
            copy_box(x, x_map, ready, at, row);
            if (tile.shared) {
                fetch_for_both(weight + rank * HALF * STAGE_ROW, weight_map, at,
                               column + rank * HALF, ready);
            } else {
                copy_box(weight, weight_map, ready, at, column);
                copy_box(weight + HALF * STAGE_ROW, weight_map, ready, at, column + HALF);
            }
        }
    }
}

/* ---- multiplying ----------------------------------------------------------------------------- */

/* The ring, as the consumers use it. */
template <int COLUMNS> struct Stages {
    uint32_t memory, full, empty;
    Ring<STAGES> place;

    /* Both blocks of the pair fetch into the stage before this one, so both are signalled that it
     * is free. */
    __device__ void give_back()
    {
        int before = place.slot == 0 ? STAGES - 1 : place.slot - 1;
        if (threadIdx.x % 32 < 2)
            barrier_arrive_at(empty + 8 * before, threadIdx.x % 32);
    }
};

/* The sums over stages [first, end) of a tile. A stage is given back when its products have ended,
 * one stage later. */
template <int ELEMENT, int COLUMNS>
__device__ __forceinline__ static void multiply_stages(float (&sums)[COLUMNS / 2], int first,
                                                       int end, Stages<COLUMNS> &ring, int group)
{
#pragma unroll 1
    for (int k = first; k < end; k++) {
        uint32_t base = ring.memory + ring.place.slot * stage_size(COLUMNS);
        uint64_t a = matrix_descriptor(base + group * 64 * STAGE_ROW);
        uint64_t b = matrix_descriptor(base + ROWS * STAGE_ROW);
        barrier_wait(ring.full + 8 * ring.place.slot, ring.place.phase);
        products_begin();
#pragma unroll
        for (int i = 0; i < STAGE_ROW / 32; i++) /* descriptors count 16 bytes */
            wgmma<std::conditional_t<ELEMENT == 1, fp8, bf16>>(sums, a + 2 * i, b + 2 * i, k | i);
        products_commit();
        products_wait<1>();
        if (k > 0)
            ring.give_back();
        ring.place.advance();
    }
}

/* ---- epilogue -------------------------------------------------------------------------------- */

/* gelu with the special function unit's tanh, which is right to 2⁻¹¹. */
__device__ float gelu_fast(float x)
{
    float half = 0.5f * x, t;
    float z = x * (0.7978845608f + 0.0356774081f * x * x);
    asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(z));
    return half + half * t;
}

/* E4M3 of v·by. */
__device__ uint16_t fp8_of(float2 v, float by)
{
    uint16_t codes;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %2, %1;" : "=h"(codes) : "f"(v.x * by), "f"(v.y * by));
    return codes;
}

/* E4M3 of gelu(v)·by in halves: v² may be infinite, whose tanh is 1; v·by / 2 is at most 224. */
__device__ uint16_t fp8_gelu_of(float2 v, float by)
{
    __half2 x = __floats2half2_rn(v.x, v.y);
    __half2 half = __floats2half2_rn(v.x * (0.5f * by), v.y * (0.5f * by));
    __half2 z = __hmul2(x, __hfma2(__hmul2(x, x), __float2half2_rn(0.0356774081f),
                                   __float2half2_rn(0.7978845608f)));
    uint32_t t;
    asm("tanh.approx.f16x2 %0, %1;" : "=r"(t) : "r"(*(uint32_t *) &z));
    __half2 result = __hfma2(half, *(__half2 *) &t, half);
    uint16_t codes;
    asm("cvt.rn.satfinite.e4m3x2.f16x2 %0, %1;" : "=h"(codes) : "r"(*(uint32_t *) &result));
    return codes;
}

/* Four times eight rows of 16 bytes, as the tensor cores spread them over a warp's registers: in
 * each, lane 4i + q has word q of row i. */
__device__ void matrices_store(uint32_t at, const uint32_t (&w)[4])
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at),
                 "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3])
                 : "memory");
}

/* A warp's sheet: 16 rows of 8 units of 16 bytes, swizzled as the copy engine has it, so that
 * neither the tensor cores' order of results nor that of memory meets a bank twice. */
__device__ uint32_t unit_of(uint32_t sheet, int row, int unit)
{
    return sheet + row * 128 + ((unit ^ row % 8) << 4);
}

__device__ uint4 unit_load(uint32_t at)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(at)
                 : "memory");
    return v;
}

__device__ void unit_store(uint32_t at, uint4 v)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}

/* One warp's part of a tile: 16 rows. */
typedef struct {
    int row, column;     /* of its upper left */
    float scale[2];      /* of x's rows lane / 4 and lane / 4 + 8 */
    float fp8_factor[2]; /* 1 / the scales of these rows of the result */
    uint32_t sheets;     /* the warp's */
} Part;

/* Sheet `i`, after its previous contents have been written. */
template <int COLUMNS> __device__ static uint32_t free_sheet(const Part &part, int i)
{
    if (threadIdx.x % 32 == 0)
        await_reads<sheets_for(COLUMNS) - 1>();
    __syncwarp();
    return part.sheets + i % sheets_for(COLUMNS) * SHEET;
}

/* Writes the sheet to the tile's columns from `at` on. */
__device__ void send_sheet(const CUtensorMap *out_map, const Part &part, int at, uint32_t sheet)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        write_box(out_map, sheet, part.column + at, part.row);
}

/* How a warp's lanes share `BYTES` of 16 rows, 64 or 128: pass by pass, 16 bytes each. */
template <int BYTES> struct Share {
    static constexpr int UNITS = BYTES / 16, PASSES = 16 * UNITS / 32;
    __device__ static int row(int pass)
    {
        return pass * (32 / UNITS) + threadIdx.x % 32 / UNITS;
    }
    __device__ static int unit()
    {
        return threadIdx.x % UNITS;
    }
};

/* The lane's 16 bytes of a pass, `at` columns into the tile, or NULL beyond the edges. */
template <int WIDTH> __device__ uint4 *place_of(const Job &job, const Part &part, int at, int pass)
{
    typedef Share<2 * WIDTH> Lanes;
    int row = part.row + Lanes::row(pass), column = part.column + at + Lanes::unit() * 8;
    bool inside = row < job.n_rows && column < job.n_out;
    return inside ? (uint4 *) ((bf16 *) job.out + (int64_t) row * job.n_out + column) : NULL;
}

/* sum·scale·factor + addend of two adjacent columns. */
template <int ELEMENT> __device__ float2 valued(float s0, float s1, float scale, float4 around)
{
    if (ELEMENT == 1) {
        s0 *= scale;
        s1 *= scale;
    }
    return make_float2(s0 * around.x + around.y, s1 * around.z + around.w);
}

/* Factors and addends of this lane's columns of N times eight, from column `at` of the tile. */
template <int N> __device__ void load_around(float4 (&around)[N], const float2 *columns, int at)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        around[i] = *(const float4 *) (columns + at + 8 * i + threadIdx.x % 4 * 2);
}

/* Columns [AT, AT + WIDTH) of the result, WIDTH 64 or 32; x: what they are added to. */
template <int ELEMENT, int COLUMNS, int AT, int WIDTH, bool GELU, bool ADD>
__device__ __forceinline__ static void store_bf16(const float (&sums)[COLUMNS / 2], const uint4 *x,
                                                  const CUtensorMap *out_map, const Job &job,
                                                  const Part &part, const float2 *columns)
{
    typedef Share<2 * WIDTH> Lanes;
    float4 around[WIDTH / 8];
    load_around(around, columns, AT);
    uint32_t sheet = free_sheet<COLUMNS>(part, AT / 64);
    uint32_t mine = unit_of(sheet, threadIdx.x % 16, threadIdx.x % 32 / 16);
    if (ADD) {
#pragma unroll
        for (int i = 0; i < Lanes::PASSES; i++)
            unit_store(unit_of(sheet, Lanes::row(i), Lanes::unit()), x[i]);
        __syncwarp();
    }
#pragma unroll
    for (int pair = 0; pair < WIDTH / 16; pair++) {
        uint32_t w[4];
        if (ADD)
            load_matrices(w, mine ^ pair << 5);
#pragma unroll
        for (int i = 0; i < 4;
             i++) { /* eight columns, then eight; of each, upper rows, then lower */
            int block = 2 * pair + i / 2, sum = AT / 2 + 4 * block + i % 2 * 2;
            float2 v = valued<ELEMENT>(sums[sum], sums[sum + 1], part.scale[i % 2], around[block]);
            if (GELU)
                v = make_float2(gelu_fast(v.x), gelu_fast(v.y));
            if (ADD) {
                v.x += __uint_as_float(w[i] << 16);
                v.y += __uint_as_float(w[i] & 0xffff0000u);
            }
            w[i] = pack_bf16(v.x, v.y);
        }
        matrices_store(mine ^ pair << 5, w);
    }
    if (WIDTH == 64) {
        send_sheet(out_map, part, AT, sheet);
        return;
    }
    __syncwarp(); /* half a sheet: a box would be too wide */
#pragma unroll
    for (int i = 0; i < Lanes::PASSES; i++) {
        uint4 v = unit_load(unit_of(sheet, Lanes::row(i), Lanes::unit()));
        uint4 *to = place_of<WIDTH>(job, part, AT, i);
        if (to)
            *to = v;
    }
    __syncwarp();
}

/* Columns [AT, AT + 128) as E4M3: pairs of bytes into their places. */
template <int COLUMNS, int AT, bool GELU>
__device__ __forceinline__ static void store_fp8(const float (&sums)[COLUMNS / 2],
                                                 const CUtensorMap *out_map, const Part &part,
                                                 const float2 *columns)
{
    uint32_t sheet = free_sheet<COLUMNS>(part, AT / 128);
    uint32_t mine = unit_of(sheet, threadIdx.x % 32 / 4, 0) + threadIdx.x % 4 * 2;
#pragma unroll
    for (int four = 0; four < 4; four++) {
        float4 around[4];
        load_around(around, columns, AT + 32 * four);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int block = 4 * four + i / 2, half = i % 2, sum = AT / 2 + 4 * block + 2 * half;
            float2 v = valued<1>(sums[sum], sums[sum + 1], part.scale[half], around[i / 2]);
            uint16_t codes =
                GELU ? fp8_gelu_of(v, part.fp8_factor[half]) : fp8_of(v, part.fp8_factor[half]);
            uint32_t at = (mine ^ block / 2 << 4) + block % 2 * 8 + half * 1024;
            asm volatile("st.shared.u16 [%0], %1;" ::"r"(at), "h"(codes));
        }
    }
    send_sheet(out_map, part, AT, sheet);
}

/* A tile's results of one warp. */
template <int ELEMENT, int COLUMNS, Ending ENDING, bool GELU>
__device__ __forceinline__ static void store(
    const float (&sums)[COLUMNS / 2], const uint4 (&x)[ENDING == ADD_BF16 ? COLUMNS / 16 : 1],
    const CUtensorMap *map, const Job &job, const Part &part, const float2 *columns)
{
    constexpr bool ADD = ENDING == ADD_BF16;
    if constexpr (ENDING == STORE_FP8) {
        store_fp8<COLUMNS, 0, GELU>(sums, map, part, columns);
        store_fp8<COLUMNS, 128, GELU>(sums, map, part, columns);
    } else {
        store_bf16<ELEMENT, COLUMNS, 0, 64, GELU, ADD>(sums, x, map, job, part, columns);
        store_bf16<ELEMENT, COLUMNS, 64, 64, GELU, ADD>(sums, x + 4 * ADD, map, job, part, columns);
        store_bf16<ELEMENT, COLUMNS, 128, 64, GELU, ADD>(sums, x + 8 * ADD, map, job, part,
                                                         columns);
        store_bf16<ELEMENT, COLUMNS, 192, COLUMNS - 192, GELU, ADD>(sums, x + 12 * ADD, map, job,
                                                                    part, columns);
    }
}

/* Loads the residual for columns [AT, AT + WIDTH) of the result. */
template <int AT, int WIDTH>
__device__ __forceinline__ static void load_residual(uint4 *x, const Job &job, const Part &part)
{
#pragma unroll
    for (int i = 0; i < WIDTH / 16; i++) {
        const uint4 *at = place_of<WIDTH>(job, part, AT, i);
        x[i] = at ? *at : make_uint4(0, 0, 0, 0);
    }
}

/* Factor and addend of the tile's columns. Both groups write the same. */
template <int COLUMNS> __device__ void load_columns(float2 *columns, const Job &job, int first)
{
    for (int i = threadIdx.x % 128; i < COLUMNS; i += 128) {
        int column = first + i;
        bool inside = column < job.n_out;
        float factor = inside && job.gate ? job.gate[column] : 1.0f;
        float addend = inside && job.bias ? factor * job.bias[column] : 0.0f;
        if (inside && job.column_scales)
            factor *= job.column_scales[column];
        columns[i] = make_float2(factor, addend);
    }
}

/* The largest magnitude of the bias, known to a group's threads. */
__device__ float largest_bias(const Job &job, float *of_warp, int group)
{
    float largest = 0.0f;
    if (job.bias)
        for (int i = threadIdx.x % 128; i < job.n_out; i += 128)
            largest = fmaxf(largest, fabsf(job.bias[i]));
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0)
        of_warp[group * 4 + threadIdx.x / 32 % 4] = largest;
    group_meet(group);
    const float *mine = of_warp + group * 4;
    return fmaxf(fmaxf(mine[0], mine[1]), fmaxf(mine[2], mine[3]));
}

/* The scales of x's rows, and those of the result's rows, which the first column of tiles
 * writes. */
template <Ending ENDING> __device__ static void load_rows(Part &part, const Job &job, float bias)
{
    for (int half = 0; half < 2; half++) {
        int row = part.row + threadIdx.x % 32 / 4 + 8 * half;
        bool inside = row < job.n_rows;
        part.scale[half] = inside ? job.row_scales[row] : 0.0f;
        if (ENDING != STORE_FP8)
            continue;
        float bound = inside ? job.row_norms[row] * job.weight_norm + bias : 0.0f;
        part.fp8_factor[half] = fminf(E4M3_LARGEST / bound, 1.0f / E4M3_LEAST_SCALE);
        if (inside && part.column == 0 && threadIdx.x % 4 == 0) {
            job.out_scales[row] = e4m3_scale(bound);
            job.out_scales[job.n_rows + row] = bound * sqrtf((float) job.n_out);
        }
    }
}

template <int ELEMENT, int COLUMNS, Ending ENDING>
__device__ void multiply_all(const CUtensorMap *out_map, const Job &job, Stages<COLUMNS> ring,
                             Around<COLUMNS> *around, int group)
{
    constexpr int STEP = STAGE_ROW / ELEMENT;
    constexpr bool ADD = ENDING == ADD_BF16;
    int rank = cluster_rank(), n_pairs = pairs_of(job), n_steps = (job.n_in + STEP - 1) / STEP;
    int warp = threadIdx.x / 32 - 4;
    float bias = ENDING == STORE_FP8 ? largest_bias(job, around->largest, group) : 0.0f;
    for (int index = blockIdx.x / 2; index < n_pairs; index += gridDim.x / 2) {
        Tile tile = tile_at(job, index, rank);
        float sums[COLUMNS / 2];
        uint4 x[ADD ? COLUMNS / 16 : 1];
        Part part;
        part.row = tile.row * ROWS + warp * 16;
        part.column = tile.column * COLUMNS;
        part.sheets = shared_address(around->sheets[warp]);
        /* The columns of the tile before may be overwritten when the other group no longer reads
         * them. Stage STAGES + 1 of this tile lies in the slot that stage 1 had; the slot was
         * released when both groups had multiplied stage 1, so both have left the tile before. */
        int k = FIRST_STEPS;
        multiply_stages<ELEMENT, COLUMNS>(sums, 0, k, ring, group);
        load_columns<COLUMNS>(around->column, job, part.column);
        if constexpr (ELEMENT == 1)
            load_rows<ENDING>(part, job, bias);
        if constexpr (ADD) { /* little by little: all blocks are here at once */
            load_residual<0, 64>(x, job, part);
            multiply_stages<ELEMENT, COLUMNS>(sums, k, k + 1, ring, group);
            load_residual<64, 64>(x + 4, job, part);
            multiply_stages<ELEMENT, COLUMNS>(sums, k + 1, k + 2, ring, group);
            load_residual<128, 64>(x + 8, job, part);
            k = min(k + 4, n_steps);
            multiply_stages<ELEMENT, COLUMNS>(sums, LEAST_STEPS, k, ring, group);
            load_residual<192, COLUMNS - 192>(x + 12, job, part);
        }
        multiply_stages<ELEMENT, COLUMNS>(sums, k, n_steps, ring, group);
        products_wait<0>();
        ring.give_back();
        group_meet(group); /* the columns are written */
        if (ENDING != ADD_BF16 && job.activation == LF_ACT_GELU_TANH)
            store<ELEMENT, COLUMNS, ENDING, true>(sums, x, out_map, job, part, around->column);
        else
            store<ELEMENT, COLUMNS, ENDING, false>(sums, x, out_map, job, part, around->column);
    }
    if (threadIdx.x % 32 == 0)
        await_writes();
}

template <int ELEMENT, int COLUMNS, Ending ENDING>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(THREADS, 1)
    product(const __grid_constant__ CUtensorMap x_map,
            const __grid_constant__ CUtensorMap weight_map,
            const __grid_constant__ CUtensorMap out_map, const __grid_constant__ Job job)
{
    extern __shared__ __align__(1024) uint8_t memory[];
    Around<COLUMNS> *around = (Around<COLUMNS> *) (memory + STAGES * stage_size(COLUMNS));
    Stages<COLUMNS> ring = {shared_address(memory),
                            shared_address(around->full),
                            shared_address(around->empty),
                            {0, 0}};
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(ring.full + 8 * i, 1);
            barrier_init(ring.empty + 8 * i, 16); /* the warps of both blocks that multiply */
        }
        barriers_ready();
    }
    __syncthreads();
    cluster_meet();
    wait_for_earlier();
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0)
            fetch_all<ELEMENT, COLUMNS>(&x_map, &weight_map, job, ring.memory, ring.full,
                                        ring.empty);
        __syncwarp();
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        multiply_all<ELEMENT, COLUMNS, ENDING>(&out_map, job, ring, around, threadIdx.x / 128 - 1);
    }
    cluster_meet(); /* the other block may still write to this one's shared memory */
}

/* ---- launching ------------------------------------------------------------------------------- */

Job job_of(const LfCudaProduct *p, int columns)
{
    bool is_fp8 = p->x.type == LF_F8_E4M3;
    int64_t n_rows = p->x.shape[0];
    Job job = {};
    job.out = p->out.data;
    job.row_scales = is_fp8 ? p->x.scales : NULL;
    job.row_norms = is_fp8 ? p->x.scales + n_rows : NULL;
    job.column_scales = is_fp8 ? p->weight_scales : NULL;
    job.bias = p->bias;
    job.gate = p->gate;
    job.out_scales = p->out.scales;
    job.weight_norm = p->weight_norm;
    job.activation = p->activation;
    job.n_rows = (int) n_rows;
    job.n_in = (int) p->n_in;
    job.n_out = (int) p->n_out;
    job.tiles_down = (int) ((n_rows + ROWS - 1) / ROWS);
    job.tiles_across = (int) ((p->n_out + columns - 1) / columns);
    return job;
}

/* Rounds of all blocks × columns of a tile: the time is proportional to it. */
int64_t cost_of(const LfCudaProduct *p, int n_multiprocessors, int columns)
{
    int at_once = n_multiprocessors / 2;
    return (int64_t) (pairs_of(job_of(p, columns)) + at_once - 1) / at_once * columns;
}

int columns_for(const LfCudaProduct *p, int n_multiprocessors, Ending ending)
{
    if (ending == ADD_BF16)
        return 224;
    if (ending == STORE_FP8)
        return 256;
    bool wide = cost_of(p, n_multiprocessors, 256) <= cost_of(p, n_multiprocessors, 224);
    return wide ? 256 : 224;
}

/* Of x, the weight and the result. */
typedef struct {
    CUtensorMap x, weight, out;
} Maps;

/* A matrix [rows, width] in boxes of 128 bytes of `box_rows` rows. */
bool map_rows(LfCuda *cuda, CUtensorMap *map, LfType type, const void *data, int64_t rows,
              int64_t width, int box_rows)
{
    uint64_t size = lf_type_size(type), shape[] = {(uint64_t) width, (uint64_t) rows};
    uint64_t strides[] = {(uint64_t) width * size};
    uint32_t box[] = {(uint32_t) (128 / size), (uint32_t) box_rows};
    return lf_cuda_tensor_map(cuda, map,
                              type == LF_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                              : CU_TENSOR_MAP_DATA_TYPE_UINT8,
                              (void *) data, 2, shape, strides, box);
}

bool map_all(LfCuda *cuda, Maps *maps, const LfCudaProduct *p, int columns)
{
    LfType type = p->x.type;
    int64_t n_rows = p->x.shape[0];
    return map_rows(cuda, &maps->x, type, p->x.data, n_rows, p->n_in, ROWS) &&
           map_rows(cuda, &maps->weight, type, p->weight, p->n_out, p->n_in, columns / 2) &&
           map_rows(cuda, &maps->out, p->out.type, p->out.data, n_rows, p->n_out, 16);
}

template <int ELEMENT, int COLUMNS, Ending ENDING>
void launch(LfCuda *cuda, const Maps &maps, const Job &job)
{
    size_t size = STAGES * stage_size(COLUMNS) + sizeof(Around<COLUMNS>);
    auto kernel = product<ELEMENT, COLUMNS, ENDING>;
    unsigned n_blocks = 2 * MIN(pairs_of(job), cuda->n_multiprocessors / 2);
    if (lf_cuda_check(
            cuda,
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) size),
            "linear"))
        launch_early(cuda, kernel, n_blocks, THREADS, size, maps.x, maps.weight, maps.out, job);
}

void launch_one(LfCuda *cuda, const Maps &maps, const Job &job, int columns, bool is_fp8,
                Ending ending)
{
    if (ending == STORE_FP8)
        launch<1, 256, STORE_FP8>(cuda, maps, job);
    else if (ending == ADD_BF16)
        is_fp8 ? launch<1, 224, ADD_BF16>(cuda, maps, job)
               : launch<2, 224, ADD_BF16>(cuda, maps, job);
    else if (columns == 256)
        is_fp8 ? launch<1, 256, STORE_BF16>(cuda, maps, job)
               : launch<2, 256, STORE_BF16>(cuda, maps, job);
    else
        is_fp8 ? launch<1, 224, STORE_BF16>(cuda, maps, job)
               : launch<2, 224, STORE_BF16>(cuda, maps, job);
}

/* Rows that the copy engine can address, results in whole 16 bytes, and enough steps to fill the
 * ring once and a bit (multiply_all counts on it). */
const char *misfit(const LfCudaProduct *p)
{
    bool is_fp8 = p->x.type == LF_F8_E4M3, fp8_out = p->out.type == LF_F8_E4M3;
    int64_t element = is_fp8 ? 1 : 2, n_rows = p->x.shape[0];
    if (p->activation == LF_ACT_SILU ||
        (p->out.type != LF_BF16 && !(is_fp8 && fp8_out && !p->residual)))
        return "this activation or type of result is not fused";
    if (p->n_in * element % 16 || p->n_out % (fp8_out ? 16 : 8) || !lf_cuda_is_aligned(p->x.data) ||
        !lf_cuda_is_aligned(p->weight) || !lf_cuda_is_aligned(p->out.data))
        return "rows are not aligned to 16 bytes";
    if (p->n_in * element < LEAST_STEPS * STAGE_ROW)
        return "the inner dimension is less than 1024 bytes";
    if (MAX(n_rows, MAX(p->n_in, p->n_out)) >= 1 << 24)
        return "the matrices are too large";
    return NULL;
}

/* Whether the tiles fill the chip to 60 %. Smaller products in BF16 go to cuBLASLt, which splits
 * sums over the inner dimension (split-K). E4M3 products always run here. */
bool fills(const LfCudaProduct *p, int n_multiprocessors, int columns)
{
    double used = (double) p->x.shape[0] / ROWS * (double) p->n_out;
    double taken = (double) cost_of(p, n_multiprocessors, columns) * n_multiprocessors;
    return p->x.type == LF_F8_E4M3 || used > 0.6 * taken;
}

Ending ending_of(const LfCudaProduct *p)
{
    return p->residual ? ADD_BF16 : p->out.type == LF_BF16 ? STORE_BF16 : STORE_FP8;
}

} // namespace

const char *lf_cuda_product_sm90_refuses(const LfCuda *cuda, const LfCudaProduct *p)
{
    const char *reason = misfit(p);
    if (reason)
        return reason;
    int columns = columns_for(p, cuda->n_multiprocessors, ending_of(p));
    return fills(p, cuda->n_multiprocessors, columns) ? NULL : "few tiles: cuBLASLt splits sums";
}

const char *lf_cuda_product_sm90(LfCuda *cuda, const LfCudaProduct *p)
{
    Ending ending = ending_of(p);
    int columns = columns_for(p, cuda->n_multiprocessors, ending);
    Maps maps;
    if (!map_all(cuda, &maps, p, columns))
        return "the driver refuses a tensor map";
    launch_one(cuda, maps, job_of(p, columns), columns, p->x.type == LF_F8_E4M3, ending);
    return NULL; /* a failure is latched */
}
