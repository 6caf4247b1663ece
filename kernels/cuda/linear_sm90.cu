/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Products on Hopper's tensor cores, with all that surrounds them:
 *   out = act(x [N, I] · W [O, I]ᵀ ⊙ scales + bias)      BF16, or E4M3 rows with their scales
 *   out += gate ⊙ (x · Wᵀ ⊙ scales + bias)               BF16
 * x and W are both BF16 or both E4M3. Bound: 2·N·I·O FLOP.
 *
 * A block works on tiles of 128 rows × COLUMNS columns, one after another: a warp lets the bulk copy
 * engine fill a ring of stages (128 bytes of each row of x and W), and two groups of four warps
 * multiply them, each 64 rows, sums in registers. The second group starts some stages behind the first
 * and neither waits for the other, so that one multiplies while the other writes its results. Blocks
 * come in pairs where that fits: a pair has two tiles below each other, each block fetches half of
 * their piece of W, and the copy engine writes it to both.
 *
 * E4M3 results: the scale of a row must be known before its last sum is. By Cauchy and Schwarz no value
 * exceeds ‖x_m‖·max‖W_n‖ + max|bias|, and |gelu(v)|, |silu(v)| ≤ |v|. That is several times too
 * much, which costs a floating-point type nothing but range.
 */
#include "device.cuh"

#include <initializer_list>

enum {
    ROWS = 128,          /* of a tile */
    STAGE_ROW = 128,     /* bytes of a row in a stage: the width of the swizzle */
    THREADS = 3 * 128,   /* the fetching warp's group, then two that multiply */
    BAND = 16            /* tiles below each other that are worked on together: their x stays in L2 */
};

/* What the sums become. */
typedef enum { STORE_BF16, STORE_LOW, ADD_BF16 } Ending;

typedef struct {
    void *out;
    const float *row_scales, *row_norms; /* of x, E4M3 only */
    const float *column_scales;          /* the same of the weight */
    const float *bias, *gate;            /* or NULL */
    float *out_scales;                   /* [2, rows] of STORE_LOW */
    float weight_norm;
    LfActivation activation;
    int n_rows, n_in, n_out;
    int tiles_down, tiles_across; /* down: of pairs where blocks come in pairs */
} Job;

__host__ __device__ static constexpr int stages_for(int columns)
{
    return columns > 224 ? 4 : 5;
}

__host__ __device__ static constexpr int stage_size(int columns)
{
    return (ROWS + columns) * STAGE_ROW;
}

/* What a block keeps behind the ring. */
template <int COLUMNS> struct Around {
    float2 column[COLUMNS]; /* factor and addend of each column of the tile */
    float largest[8];       /* of the bias, of each warp that multiplies */
    uint64_t full[stages_for(COLUMNS)], empty[stages_for(COLUMNS)];
};

/* ---- the machine's instructions ---- */

__device__ static uint32_t shared_address(const void *pointer)
{
    return (uint32_t) __cvta_generic_to_shared(pointer);
}

__device__ static uint32_t cluster_rank()
{
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ static uint32_t cluster_size()
{
    uint32_t size;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
}

__device__ static void cluster_meet()
{
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

__device__ static void barrier_init(uint32_t barrier, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

__device__ static void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

/* Arrives at the same barrier of block `rank` of the cluster. */
__device__ static void barrier_arrive(uint32_t barrier, uint32_t rank)
{
    asm volatile("{\n\t.reg .b32 there;\n\t"
                 "mapa.shared::cluster.u32 there, %0, %1;\n\t"
                 "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n\t}" ::"r"(barrier),
                 "r"(rank)
                 : "memory");
}

__device__ static void barrier_wait(uint32_t barrier, uint32_t phase)
{
    asm volatile("{\n\t.reg .pred done;\n"
                 "again:\n\t"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n\t"
                 "@!done bra again;\n\t}" ::"r"(barrier),
                 "r"(phase)
                 : "memory");
}

__device__ static void group_meet(int group)
{
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

/* A box of a matrix into shared memory; of all blocks in `blocks`, where there are several. */
__device__ static void fetch(uint32_t dst, const CUtensorMap *map, int column, int row,
                             uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%2, %3}], [%4];" ::"r"(dst),
                 "l"(map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
}

__device__ static void fetch_for_both(uint32_t dst, const CUtensorMap *map, int column, int row,
                                      uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(dst),
                 "l"(map), "r"(column), "r"(row), "r"(barrier), "h"((uint16_t) 3)
                 : "memory");
}

/* How the tensor cores find rows of 128 swizzled bytes, eight of which make 1024. */
__device__ static uint64_t descriptor(uint32_t address)
{
    return (uint64_t) (address >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

__device__ static void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ static void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until no more than PENDING committed groups are unfinished. */
template <int PENDING> __device__ static void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/* The sums' names in the instruction, and the registers that they are. */
#define NAMES_112                                                                                  \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "                                 \
    "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "                       \
    "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "                       \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "                       \
    "%56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, "                       \
    "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, "                       \
    "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "                       \
    "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define NAMES_128                                                                                  \
    NAMES_112 ", "                                                                                 \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, "         \
    "%126, %127"
#define FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SIXTEEN(i) FOUR(i), FOUR(i + 4), FOUR(i + 8), FOUR(i + 12)
#define SUMS_112                                                                                   \
    SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48), SIXTEEN(64), SIXTEEN(80), SIXTEEN(96)
#define SUMS_128 SUMS_112, SIXTEEN(112)

#define MULTIPLY(SHAPE, NAMES, SUMS, A, B, ADD, TAIL)                                              \
    asm volatile("{\n\t.reg .pred add;\n\tsetp.ne.b32 add, %" #ADD ", 0;\n\t"                      \
                 "wgmma.mma_async.sync.aligned." SHAPE " {" NAMES "}, %" #A ", %" #B               \
                 ", add, 1, 1" TAIL ";\n\t}"                                                       \
                 : SUMS                                                                            \
                 : "l"(a), "l"(b), "r"(add))

/* d [64, COLUMNS] (= or +=) a·bᵀ over 32 bytes of each row. */
template <typename T> __device__ static void multiply(float (&d)[128], uint64_t a, uint64_t b, int add)
{
    if constexpr (sizeof(T) == 2)
        MULTIPLY("m64n256k16.f32.bf16.bf16", NAMES_128, SUMS_128, 128, 129, 130, ", 0, 0");
    else
        MULTIPLY("m64n256k32.f32.e4m3.e4m3", NAMES_128, SUMS_128, 128, 129, 130, "");
}

template <typename T> __device__ static void multiply(float (&d)[112], uint64_t a, uint64_t b, int add)
{
    if constexpr (sizeof(T) == 2)
        MULTIPLY("m64n224k16.f32.bf16.bf16", NAMES_112, SUMS_112, 112, 113, 114, ", 0, 0");
    else
        MULTIPLY("m64n224k32.f32.e4m3.e4m3", NAMES_112, SUMS_112, 112, 113, 114, "");
}

/* ---- which tile comes when ---- */

typedef struct {
    int down, across;
} Tile;

/* In bands of BAND tiles, column after column. */
__device__ static Tile tile_at(const Job &job, int index, int size)
{
    int band = BAND / size, in_band = band * job.tiles_across;
    int first = index / in_band * band, within = index % in_band;
    int height = min(band, job.tiles_down - first);
    Tile tile = {first + within % height, within / height};
    return tile;
}

/* A place in the ring, and how often it has come round (one bit). */
template <int STAGES> struct Place {
    int stage;
    uint32_t phase;
    __device__ void next()
    {
        if (++stage == STAGES) {
            stage = 0;
            phase ^= 1;
        }
    }
};

/* ---- fetching ---- */

template <int ELEMENT, int COLUMNS>
__device__ static void fetch_all(const CUtensorMap *x_map, const CUtensorMap *weight_map,
                                 const Job &job, uint32_t ring, uint32_t full, uint32_t empty)
{
    constexpr int STAGES = stages_for(COLUMNS), STEP = STAGE_ROW / ELEMENT;
    int size = cluster_size(), rank = cluster_rank();
    int n_tiles = job.tiles_down * job.tiles_across, part = COLUMNS / size;
    Place<STAGES> place = {0, 1}; /* the ring is empty: phase 1 is the one before the first */
    for (int index = blockIdx.x / size; index < n_tiles; index += gridDim.x / size) {
        Tile tile = tile_at(job, index, size);
        int row = (tile.down * size + rank) * ROWS, column = tile.across * COLUMNS + rank * part;
        for (int at = 0; at < job.n_in; at += STEP, place.next()) {
            uint32_t x = ring + place.stage * stage_size(COLUMNS);
            uint32_t weight = x + ROWS * STAGE_ROW, ready = full + 8 * place.stage;
            barrier_wait(empty + 8 * place.stage, place.phase);
            barrier_expect(ready, stage_size(COLUMNS));
            fetch(x, x_map, at, row, ready);
            if (size == 1)
                fetch(weight, weight_map, at, column, ready);
            else
                fetch_for_both(weight + rank * part * STAGE_ROW, weight_map, at, column, ready);
        }
    }
}

/* ---- multiplying ---- */

/* The sums over stages [first, end) of a tile. A stage is given back when its products have ended, one
 * stage later. */
template <int ELEMENT, int COLUMNS>
__device__ __forceinline__ static void multiply_stages(float (&sums)[COLUMNS / 2], int first, int end,
                                                       Place<stages_for(COLUMNS)> &place,
                                                       uint32_t ring, uint32_t full, uint32_t empty,
                                                       int group, uint32_t size)
{
    constexpr int STAGES = stages_for(COLUMNS);
    for (int k = first; k < end; k++) {
        uint32_t base = ring + place.stage * stage_size(COLUMNS);
        uint64_t a = descriptor(base + group * 64 * STAGE_ROW);
        uint64_t b = descriptor(base + ROWS * STAGE_ROW);
        barrier_wait(full + 8 * place.stage, place.phase);
        products_begin();
#pragma unroll
        for (int i = 0; i < STAGE_ROW / 32; i++) /* descriptors count 16 bytes */
            multiply<Pack<uint8_t, ELEMENT>>(sums, a + 2 * i, b + 2 * i, k | i);
        products_commit();
        products_wait<1>();
        int before = place.stage == 0 ? STAGES - 1 : place.stage - 1;
        if (k > 0 && threadIdx.x % 32 < size)
            barrier_arrive(empty + 8 * before, threadIdx.x % 32);
        place.next();
    }
}

/* ---- what the sums become ---- */

/* gelu with the tensor cores' companion of tanh, which is right to 2⁻¹¹. */
__device__ static float gelu_fast(float x)
{
    float half = 0.5f * x, t;
    float z = x * (0.7978845608f + 0.0356774081f * x * x);
    asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(z));
    return half + half * t;
}

__device__ static float activated(float x, LfActivation activation)
{
    if (activation == LF_ACT_GELU_TANH)
        return gelu_fast(x);
    return activation == LF_ACT_SILU ? silu(x) : x;
}

/* Four words of each of four neighbouring lanes, transposed: lane q gets word q of them all. */
__device__ static void transpose_quad(uint32_t (&w)[4])
{
    bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
    uint32_t keep0 = high ? w[2] : w[0], keep1 = high ? w[3] : w[1];
    uint32_t far0 = __shfl_xor_sync(0xffffffffu, high ? w[0] : w[2], 2);
    uint32_t far1 = __shfl_xor_sync(0xffffffffu, high ? w[1] : w[3], 2);
    uint32_t own = odd ? keep1 : keep0, far = odd ? far1 : far0;
    uint32_t next = __shfl_xor_sync(0xffffffffu, odd ? keep0 : keep1, 1);
    uint32_t far_next = __shfl_xor_sync(0xffffffffu, odd ? far0 : far1, 1);
    uint32_t a = odd ? next : own, b = odd ? own : next;
    uint32_t c = odd ? far_next : far, d = odd ? far : far_next;
    w[0] = high ? c : a;
    w[1] = high ? d : b;
    w[2] = high ? a : c;
    w[3] = high ? b : d;
}

__device__ static uint32_t pack_bf16(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(uint32_t *) &pair;
}

__device__ static uint32_t pack_low(float a, float b, float c, float d)
{
    uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
    uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
    return low | high << 16;
}

/* One thread's part of a tile: rows `row` and row + 8, of every eight columns two. */
typedef struct {
    int row, column;     /* of the tile's upper left, its warp's and quad's row included */
    float scale[2];      /* of x's rows */
    float low_factor[2]; /* 1 / the scales of the result's rows */
} Part;

/* Two values side by side: sums i and i + 1 of the thread, in column `at` of the tile. */
template <int ELEMENT>
__device__ static float2 valued(const Job &job, const Part &part, const float2 *columns, float s0,
                                float s1, int half, int at)
{
    float4 around = *(const float4 *) (columns + at); /* factor, addend; factor, addend */
    if (ELEMENT == 1) {
        s0 *= part.scale[half];
        s1 *= part.scale[half];
    }
    return make_float2(activated(s0 * around.x + around.y, job.activation),
                       activated(s1 * around.z + around.w, job.activation));
}

/* Where lane q of a quad stands: 16 bytes of row `half`, or NULL beyond the edges. */
template <typename T>
__device__ static uint4 *place_of(const Job &job, const Part &part, int half, int at)
{
    int row = part.row + 8 * half, column = part.column + at;
    bool inside = row < job.n_rows && column < job.n_out;
    return inside ? (uint4 *) ((T *) job.out + (int64_t) row * job.n_out + column) : NULL;
}

template <int COLUMNS>
__device__ __forceinline__ static void load_residual(uint4 (&x)[COLUMNS / 16], const Job &job,
                                                     const Part &part)
{
#pragma unroll
    for (int i = 0; i < COLUMNS / 16; i++) {
        const uint4 *at = place_of<bf16>(job, part, i % 2, i / 2 * 32 + threadIdx.x % 4 * 8);
        x[i] = at ? *at : make_uint4(0, 0, 0, 0);
    }
}

template <int ELEMENT, int COLUMNS, bool ADD>
__device__ __forceinline__ static void store_bf16(const float (&sums)[COLUMNS / 2],
                                                  const uint4 (&x)[ADD ? COLUMNS / 16 : 1],
                                                  const Job &job, const Part &part,
                                                  const float2 *columns)
{
    int q = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < COLUMNS / 16; i++) {
        int half = i % 2, at = i / 2 * 32;
        uint32_t words[4], old[4] = {};
        if (ADD) {
            old[0] = x[ADD ? i : 0].x, old[1] = x[ADD ? i : 0].y;
            old[2] = x[ADD ? i : 0].z, old[3] = x[ADD ? i : 0].w;
            transpose_quad(old);
        }
#pragma unroll
        for (int b = 0; b < 4; b++) {
            int sum = (i / 2 * 4 + b) * 4 + half * 2;
            float2 v = valued<ELEMENT>(job, part, columns, sums[sum], sums[sum + 1], half,
                                       at + 8 * b + 2 * q);
            if (ADD) {
                v.x += __uint_as_float(old[b] << 16);
                v.y += __uint_as_float(old[b] & 0xffff0000u);
            }
            words[b] = pack_bf16(v.x, v.y);
        }
        transpose_quad(words);
        uint4 *to = place_of<bf16>(job, part, half, at + 8 * q);
        if (to)
            *to = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

template <int ELEMENT, int COLUMNS>
__device__ __forceinline__ static void store_low(const float (&sums)[COLUMNS / 2], const Job &job,
                                                 const Part &part, const float2 *columns)
{
    int q = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < COLUMNS / 32; i++) {
        int half = i % 2, at = i / 2 * 64;
        float by = part.low_factor[half];
        uint32_t w[4];
#pragma unroll
        for (int b = 0; b < 4; b++) { /* two times eight columns */
            int sum = (i / 2 * 8 + 2 * b) * 4 + half * 2, column = at + 16 * b + 2 * q;
            float2 u = valued<ELEMENT>(job, part, columns, sums[sum], sums[sum + 1], half, column);
            float2 v = valued<ELEMENT>(job, part, columns, sums[sum + 4], sums[sum + 5], half,
                                       column + 8);
            w[b] = pack_low(u.x * by, u.y * by, v.x * by, v.y * by);
        }
        transpose_quad(w);
        uint4 *to = place_of<fp8>(job, part, half, at + 16 * q);
        if (to)
            *to = make_uint4(__byte_perm(w[0], w[1], 0x5410), __byte_perm(w[2], w[3], 0x5410),
                             __byte_perm(w[0], w[1], 0x7632), __byte_perm(w[2], w[3], 0x7632));
    }
}

/* Factor and addend of the tile's columns. Both groups write the same. */
template <int COLUMNS>
__device__ static void load_columns(float2 *columns, const Job &job, int first)
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
__device__ static float largest_bias(const Job &job, float *of_warp, int group)
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

/* The scales of x's rows, and those of the result's, which the first column of tiles tells. */
template <Ending ENDING> __device__ static void load_rows(Part &part, const Job &job, float bias)
{
    for (int half = 0; half < 2; half++) {
        int row = part.row + 8 * half;
        bool inside = row < job.n_rows;
        part.scale[half] = inside ? job.row_scales[row] : 0.0f;
        if (ENDING != STORE_LOW)
            continue;
        float bound = inside ? job.row_norms[row] * job.weight_norm + bias : 0.0f;
        part.low_factor[half] = bound > 0.0f ? 448.0f / bound : 1.0f;
        if (inside && part.column == 0 && threadIdx.x % 4 == 0) {
            job.out_scales[row] = bound > 0.0f ? bound / 448.0f : 1.0f;
            job.out_scales[job.n_rows + row] = bound * sqrtf((float) job.n_out);
        }
    }
}

template <int ELEMENT, int COLUMNS, Ending ENDING>
__device__ static void multiply_all(const Job &job, uint32_t ring, uint32_t full, uint32_t empty,
                                    Around<COLUMNS> *around, int group)
{
    constexpr int STAGES = stages_for(COLUMNS), STEP = STAGE_ROW / ELEMENT;
    constexpr bool ADD = ENDING == ADD_BF16;
    int size = cluster_size(), rank = cluster_rank();
    int n_tiles = job.tiles_down * job.tiles_across, n_steps = (job.n_in + STEP - 1) / STEP;
    int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + group * 64;
    Place<STAGES> place = {0, 0};
    float bias = ENDING == STORE_LOW ? largest_bias(job, around->largest, group) : 0.0f;
    if (group == 1) /* from now on behind */
        barrier_wait(full + 8 * 2, 0);
    for (int index = blockIdx.x / size; index < n_tiles; index += gridDim.x / size) {
        Tile tile = tile_at(job, index, size);
        float sums[COLUMNS / 2];
        uint4 x[ADD ? COLUMNS / 16 : 1];
        Part part;
        part.row = (tile.down * size + rank) * ROWS + row;
        part.column = tile.across * COLUMNS;
        /* Once stage STAGES + 1 of a tile is here, the other group has given back one of its, and no
         * longer reads the columns of the tile before. */
        multiply_stages<ELEMENT, COLUMNS>(sums, 0, STAGES + 2, place, ring, full, empty, group, size);
        load_columns<COLUMNS>(around->column, job, part.column);
        if constexpr (ELEMENT == 1)
            load_rows<ENDING>(part, job, bias);
        if constexpr (ADD)
            load_residual<COLUMNS>(x, job, part);
        multiply_stages<ELEMENT, COLUMNS>(sums, STAGES + 2, n_steps, place, ring, full, empty, group,
                                          size);
        products_wait<0>();
        int before = place.stage == 0 ? STAGES - 1 : place.stage - 1;
        if (threadIdx.x % 32 < size)
            barrier_arrive(empty + 8 * before, threadIdx.x % 32);
        group_meet(group); /* the columns are written */
        if constexpr (ENDING == STORE_LOW)
            store_low<ELEMENT, COLUMNS>(sums, job, part, around->column);
        else
            store_bf16<ELEMENT, COLUMNS, ADD>(sums, x, job, part, around->column);
    }
}

template <int ELEMENT, int COLUMNS, Ending ENDING>
static __global__ void __launch_bounds__(THREADS, 1)
    product(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap weight_map,
            const __grid_constant__ Job job)
{
    constexpr int STAGES = stages_for(COLUMNS);
    extern __shared__ __align__(1024) uint8_t memory[];
    Around<COLUMNS> *around = (Around<COLUMNS> *) (memory + STAGES * stage_size(COLUMNS));
    uint32_t ring = shared_address(memory);
    uint32_t full = shared_address(around->full), empty = shared_address(around->empty);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, 8 * cluster_size()); /* the warps that multiply */
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    cluster_meet();
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0)
            fetch_all<ELEMENT, COLUMNS>(&x_map, &weight_map, job, ring, full, empty);
        __syncwarp();
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        multiply_all<ELEMENT, COLUMNS, ENDING>(job, ring, full, empty, around,
                                               threadIdx.x / 128 - 1);
    }
    cluster_meet(); /* nobody leaves whom others still write to */
}

/* ---- launching ---- */

typedef struct {
    int columns, pair; /* of a tile; 2 where blocks come in pairs */
} Plan;

/* Blocks' rounds × columns, which the time goes by. A pair's traffic is less. */
static double cost_of(const LfCudaProduct *p, int n_multiprocessors, Plan plan)
{
    int64_t down = (p->x.shape[0] + ROWS * plan.pair - 1) / (ROWS * plan.pair);
    int64_t tiles = down * ((p->n_out + plan.columns - 1) / plan.columns);
    int at_once = n_multiprocessors / plan.pair;
    return (double) ((tiles + at_once - 1) / at_once * plan.columns) * (plan.pair == 2 ? 1.0 : 1.04);
}

static Plan plan_for(const LfCudaProduct *p, int n_multiprocessors, Ending ending)
{
    static const Plan plans[] = {{256, 2}, {256, 1}, {224, 2}, {224, 1}};
    Plan best = {};
    double least = 0;
    for (const Plan plan : plans) {
        if ((ending == ADD_BF16 && plan.columns == 256) ||
            (ending == STORE_LOW && plan.columns != 256))
            continue;
        double cost = cost_of(p, n_multiprocessors, plan);
        if (!best.columns || cost < least) {
            best = plan;
            least = cost;
        }
    }
    return best;
}

/* Rows [n, n_in] of x or the weight, in boxes of a stage's width and `box_rows` rows. */
static bool map_rows(LfCuda *cuda, CUtensorMap *map, LfType type, const void *data, int64_t rows,
                     int64_t n_in, int box_rows)
{
    uint64_t size = lf_type_size(type), shape[] = {(uint64_t) n_in, (uint64_t) rows};
    uint64_t strides[] = {(uint64_t) n_in * size};
    uint32_t box[] = {(uint32_t) (STAGE_ROW / size), (uint32_t) box_rows};
    return lf_cuda_tensor_map(
        cuda, map, type == LF_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8,
        (void *) data, 2, shape, strides, box);
}

template <int ELEMENT, int COLUMNS, Ending ENDING>
static void launch(LfCuda *cuda, const CUtensorMap &x, const CUtensorMap &weight, const Job &job,
                   int pair)
{
    size_t size = stages_for(COLUMNS) * stage_size(COLUMNS) + sizeof(Around<COLUMNS>);
    int n_tiles = job.tiles_down * job.tiles_across, at_once = cuda->n_multiprocessors / pair;
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = (unsigned) pair;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned) (MIN(n_tiles, at_once) * pair));
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = size;
    config.stream = cuda->stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    auto kernel = product<ELEMENT, COLUMNS, ENDING>;
    if (lf_cuda_check(cuda,
                      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           (int) size),
                      "linear"))
        lf_cuda_check(cuda, cudaLaunchKernelEx(&config, kernel, x, weight, job), "linear");
}

static void launch_one(LfCuda *cuda, const CUtensorMap &x, const CUtensorMap &w, const Job &job,
                       Plan plan, bool low, Ending ending)
{
    if (ending == STORE_LOW)
        launch<1, 256, STORE_LOW>(cuda, x, w, job, plan.pair);
    else if (ending == ADD_BF16)
        low ? launch<1, 224, ADD_BF16>(cuda, x, w, job, plan.pair)
            : launch<2, 224, ADD_BF16>(cuda, x, w, job, plan.pair);
    else if (plan.columns == 256)
        low ? launch<1, 256, STORE_BF16>(cuda, x, w, job, plan.pair)
            : launch<2, 256, STORE_BF16>(cuda, x, w, job, plan.pair);
    else
        low ? launch<1, 224, STORE_BF16>(cuda, x, w, job, plan.pair)
            : launch<2, 224, STORE_BF16>(cuda, x, w, job, plan.pair);
}

static bool aligned(const void *pointer)
{
    return (uintptr_t) pointer % 16 == 0;
}

/* Rows that the copy engine can address, results in whole 16 bytes, and enough steps to fill the ring
 * once and a bit (multiply_all counts on it). */
static bool serves(const LfCudaProduct *p)
{
    bool low = p->x.type == LF_F8_E4M3, low_out = p->out.type == LF_F8_E4M3;
    int64_t element = low ? 1 : 2, n_rows = p->x.shape[0];
    return (p->out.type == LF_BF16 || (low && low_out && !p->residual)) &&
           p->n_in * element % 16 == 0 && p->n_out % (low_out ? 16 : 8) == 0 && aligned(p->x.data) &&
           aligned(p->weight) && aligned(p->out.data) && p->n_in * element >= 8 * STAGE_ROW &&
           MAX(n_rows, MAX(p->n_in, p->n_out)) < 1 << 24;
}

/* Whether the tiles fill the chip. BF16 products that leave much of it idle are cuBLASLt's, which
 * splits sums; of E4M3 it knows less. */
static bool fills(const LfCudaProduct *p, int n_multiprocessors, Plan plan)
{
    double rounds = cost_of(p, n_multiprocessors, plan) / plan.columns;
    double tiles = (double) p->x.shape[0] / ROWS * (double) p->n_out / plan.columns;
    return p->x.type == LF_F8_E4M3 || tiles > 0.6 * rounds * n_multiprocessors;
}

bool lf_cuda_product_sm90(LfCuda *cuda, const LfCudaProduct *p)
{
    if (!serves(p))
        return false;
    bool low = p->x.type == LF_F8_E4M3;
    int64_t n_rows = p->x.shape[0];
    Ending ending = p->residual ? ADD_BF16 : p->out.type == LF_BF16 ? STORE_BF16 : STORE_LOW;
    Plan plan = plan_for(p, cuda->n_multiprocessors, ending);
    if (!fills(p, cuda->n_multiprocessors, plan))
        return false;
    CUtensorMap x, weight;
    if (!map_rows(cuda, &x, p->x.type, p->x.data, n_rows, p->n_in, ROWS) ||
        !map_rows(cuda, &weight, p->x.type, p->weight, p->n_out, p->n_in, plan.columns / plan.pair))
        return true; /* latched */
    Job job = {};
    job.out = p->out.data;
    job.row_scales = low ? p->x.scales : NULL;
    job.row_norms = low ? p->x.scales + n_rows : NULL;
    job.column_scales = low ? p->weight_scales : NULL;
    job.bias = p->bias;
    job.gate = p->gate;
    job.out_scales = p->out.scales;
    job.weight_norm = p->weight_norm;
    job.activation = p->activation;
    job.n_rows = (int) n_rows;
    job.n_in = (int) p->n_in;
    job.n_out = (int) p->n_out;
    job.tiles_down = (int) ((n_rows + ROWS * plan.pair - 1) / (ROWS * plan.pair));
    job.tiles_across = (int) ((p->n_out + plan.columns - 1) / plan.columns);
    launch_one(cuda, x, weight, job, plan, low, ending);
    return true;
}
