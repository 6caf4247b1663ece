/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Weights of every kind, and products with linear weights.
 */
#include "cpu.h"
#include "pack.h"
#include "simd/dense.h"

#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <string.h>

/* ---- weights ----
 *
 * A linear weight of BF16 is used in place and converted to float panel by panel. This costs a
 * product of 480 rows 2 % of its time, and saves a copy of twice the size. Other types are
 * converted to float at load: [out, in] for plain C, and [in, out], in which sgemm is faster, for
 * AVX2 and AVX-512. */

/* `count` rows of a linear weight [out, in], from row `first`, as float. */
static void rows_to_float(float *dst, const LfCpuWeight *w, int64_t first, int64_t count)
{
    size_t row = (size_t) w->base.in * lf_type_size(w->type);
    lf_to_float(dst, (const uint8_t *) w->data + (size_t) first * row, w->type, count * w->base.in);
}

/* Rows [first, first + count) of a source, with their scales. */
static void source_to_float(float *dst, LfTensor source, int64_t first, int64_t count)
{
    int64_t n_in = source.shape[1];
    const uint8_t *data = source.data;
    lf_to_float(dst, data + (size_t) (first * n_in) * lf_type_size(source.type), source.type,
                count * n_in);
    for (int64_t row = 0; source.scales && row < count; row++)
        for (int64_t in = 0; in < n_in; in++)
            dst[row * n_in + in] *= source.scales[first + row];
}

#define STRIP 32 /* rows: a column of the strip fills two cache lines of dst */

/* Rows [first, first + n_rows) of the source, at most STRIP, into columns of dst [in, out]. */
static void transpose_strip(float *dst, float *strip, LfTensor source, int64_t first,
                            int64_t n_rows)
{
    int64_t n_out = source.shape[0], n_in = source.shape[1];
    source_to_float(strip, source, first, n_rows);
    for (int64_t in = 0; in < n_in; in++)
        for (int64_t row = 0; row < n_rows; row++)
            dst[in * n_out + first + row] = strip[row * n_in + in];
}

static void transpose(LfBackend *be, float *dst, LfTensor source)
{
    int64_t n_out = source.shape[0], n_in = source.shape[1];
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t first = 0; first < n_out; first += STRIP) {
        size_t size = (size_t) (STRIP * n_in) * sizeof(float);
        float *strip = lf_cpu_scratch(be, lf_cpu_thread(), size);
        if (strip)
            transpose_strip(dst, strip, source, first, MIN(STRIP, n_out - first));
    }
}

static void pack_conv(LfBackend *be, float *dst, const LfWeight *weight, LfTensor source)
{
    int64_t n = lf_tensor_count(source);
    float *plain = lf_cpu_scratch(be, 0, (size_t) n * sizeof(float));
    if (!plain)
        return;
    lf_to_float(plain, source.data, source.type, n);
    lf_cpu_pack_conv(dst, plain, weight, ((LfCpu *) be)->isa);
}

static size_t packed_size(LfBackend *be, const LfWeight *weight, LfTensor source)
{
    if (lf_weight_is_linear(weight->kind))
        return (size_t) lf_tensor_count(source) * sizeof(float);
    return lf_cpu_conv_size(weight, ((LfCpu *) be)->isa);
}

/* The source as float, in the order of its kind. */
static void pack(LfBackend *be, float *dst, const LfWeight *weight, LfTensor source)
{
    if (!lf_weight_is_linear(weight->kind))
        pack_conv(be, dst, weight, source);
    else if (((LfCpu *) be)->isa == LF_CPU_C)
        source_to_float(dst, source, 0, source.shape[0]);
    else
        transpose(be, dst, source);
}

static bool stays_in_place(LfWeightKind kind, LfType type)
{
    return kind == LF_WEIGHT_EMBEDDING || (lf_weight_is_linear(kind) && type == LF_BF16);
}

static void weight_free(LfBackend *be, LfWeight *weight)
{
    LfCpuWeight *w = (LfCpuWeight *) weight;
    if (w->base.memory)
        be->free(be, w->data);
    g_free(w);
}

static LfWeight *weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    LfCpuWeight *w = g_new0(LfCpuWeight, 1);
    lf_weight_describe(&w->base, kind, source);
    w->base.input = LF_F32;
    if (stays_in_place(kind, source.type)) {
        w->type = source.type;
        w->data = source.data;
        return &w->base;
    }
    w->type = LF_F32;
    w->base.memory = packed_size(be, &w->base, source);
    w->data = be->alloc(be, w->base.memory);
    if (w->data)
        pack(be, w->data, &w->base, source);
    if (w->data && be->sync(be, error))
        return &w->base;
    if (!w->data)
        lf_fail(
            error, LF_ERROR_MEMORY,
            "out of memory on %s: could not allocate %.1f MB for a weight; close other programs "
            "or use a smaller model",
            be->description, (double) w->base.memory / 1e6);
    weight_free(be, &w->base);
    return NULL;
}

/* ---- plain C --------------------------------------------------------------------------------- */

static float activated(float x, LfActivation activation)
{
    if (activation == LF_ACT_GELU_TANH)
        return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    return activation == LF_ACT_SILU ? x / (1.0f + expf(-x)) : x;
}

static void apply_epilogue(float *out, float product, int64_t column, const LfEpilogue *f)
{
    float value = activated(product + (f->bias ? f->bias[column] : 0.0f), f->activation);
    if (f->accumulate)
        *out += f->gate ? f->gate[column] * value : value;
    else
        *out = value;
}

/* Eight partial sums: a compiler can keep them in a vector, and rounding errors stay small. */
static float dot(const float *a, const float *b, int64_t n)
{
    float sums[8] = {0}, sum = 0.0f;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (int lane = 0; lane < 8; lane++)
        sum += sums[lane];
    return sum;
}

/* Columns [first, first + PLAIN_PANEL) of out, or fewer at the end. */
#define PLAIN_PANEL 16
static void plain_panel(LfBackend *be, LfTensor out, LfTensor x, const LfCpuWeight *w,
                        int64_t first, int thread, const LfEpilogue *f)
{
    int64_t n_in = w->base.in, n_out = w->base.out, count = MIN(PLAIN_PANEL, n_out - first);
    float *panel = lf_cpu_scratch(be, thread, PLAIN_PANEL * (size_t) n_in * sizeof(float));
    if (!panel)
        return;
    rows_to_float(panel, w, first, count);
    for (int64_t n = 0; n < x.shape[0]; n++)
        for (int64_t o = 0; o < count; o++)
            apply_epilogue(lf_f32(out) + n * n_out + first + o,
                           dot(lf_f32(x) + n * n_in, panel + o * n_in, n_in), first + o, f);
}

static void product_c(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                      const LfEpilogue *f)
{
    const LfCpuWeight *w = (const LfCpuWeight *) weight;
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t first = 0; first < w->base.out; first += PLAIN_PANEL)
        plain_panel(be, out, x, w, first, lf_cpu_thread(), f);
}

/* ---- with oneDNN's sgemm ----
 *
 * The output is cut into tiles, so that the epilogue of a tile runs while the tile is in the L2
 * cache. The tiles are numbered down each column of tiles, and each thread gets a range of them.
 * The order of sgemm's sums depends on the shape of a product (AVX2), so the tiles are the same for
 * any number of threads. oneDNN chooses its own instruction set (ONEDNN_MAX_CPU_ISA).
 */

/* 256 × 384 floats are 0.4 MB, less than half of an L2 cache of 1 MB (Zen 4 and 5). With tiles of
 * 512 × 384, products with an activation ran at 193 GFLOP/s beside 224 without (480×256×768 on one
 * Zen 5 core of 245 GFLOP/s). */
#define TILE_ROWS    256
#define TILE_COLUMNS 384
/* Weights that a thread converts from BF16 at a time: 4 MB, a core's share of a large L3 cache. */
#define PANEL_FLOATS (1 << 20)

typedef struct {
    LfEpilogueRow *epilogue_row;
    LfTransposeBf16 *transpose_bf16;
} Kernels;

typedef struct {
    const Kernels *kernels;
    const LfEpilogue *epilogue;
    const LfCpuWeight *weight;
    LfBackend *be;
    const float *x;
    float *out;
    int64_t n_rows;
    int64_t down, across; /* tiles */
    int64_t width;        /* columns of a tile, but for the last ones */
} Product;

typedef struct {
    int64_t first, end;
} Range;

/* Range number `range` of n things cut into n_ranges. */
static Range range_of(int64_t n, int64_t range, int64_t n_ranges)
{
    return (Range){n * range / n_ranges, n * (range + 1) / n_ranges};
}

/* At most half of the columns, so that small products, too, have tiles for two threads. */
static int64_t tile_width(const LfCpuWeight *w)
{
    int64_t width = CLAMP((w->base.out / 2 + 63) / 64 * 64, 64, TILE_COLUMNS);
    if (w->type == LF_BF16)
        width = MIN(width, MAX(PANEL_FLOATS / w->base.in / 64 * 64, 64));
    return width;
}

/* sgemm hands products with a vector to a gemv that multiplies what stands in the output by zero,
 * which keeps a NaN. */
static void clear_rows(float *product, int64_t n_rows, int64_t n, int64_t stride)
{
    for (int64_t row = 0; row < n_rows; row++, product += stride)
        memset(product, 0, (size_t) n * sizeof *product);
}

/* The weights of a column of tiles: [in, columns], rows `stride` apart. */
typedef struct {
    Range columns;
    const float *data;
    int64_t stride;
} Panel;

static Panel panel_of(const Product *p, int64_t column, float *scratch)
{
    const LfCpuWeight *w = p->weight;
    int64_t first = column * p->width, end = MIN(first + p->width, w->base.out);
    if (w->type != LF_BF16)
        return (Panel){{first, end}, (const float *) w->data + first, w->base.out};
    p->kernels->transpose_bf16(scratch, (const uint16_t *) w->data + first * w->base.in,
                               end - first, w->base.in);
    return (Panel){{first, end}, scratch, end - first};
}

/* One tile of out = epilogue(x [rows, in] · panel [in, columns]). `spare` has room for a tile. */
static void multiply_tile(const Product *p, Range rows, const Panel *panel, float *spare)
{
    int64_t n_in = p->weight->base.in, n_out = p->weight->base.out;
    int64_t first = panel->columns.first, width = panel->columns.end - first;
    float *out = p->out + rows.first * n_out + first;
    float *product = p->epilogue->accumulate ? spare : out;
    int64_t stride = p->epilogue->accumulate ? width : n_out;
    if (rows.end - rows.first == 1 || width == 1)
        clear_rows(product, rows.end - rows.first, width, stride);
    if (dnnl_sgemm('N', 'N', rows.end - rows.first, width, n_in, 1.0f, p->x + rows.first * n_in,
                   n_in, panel->data, panel->stride, 0.0f, product, stride) != dnnl_success)
        lf_cpu_lacks(p->be, (size_t) (width * n_in) * sizeof(float));
    for (int64_t row = rows.first; row < rows.end; row++, out += n_out, product += stride)
        p->kernels->epilogue_row(out, product, first, width, p->epilogue);
}

static void multiply_tiles(const Product *p, Range tiles, int thread)
{
    int64_t panel_size = p->weight->type == LF_BF16 ? p->width * p->weight->base.in : 0;
    int64_t spare_size = p->epilogue->accumulate ? TILE_ROWS * p->width : 0;
    size_t size = (size_t) (panel_size + spare_size) * sizeof(float);
    float *scratch = lf_cpu_scratch(p->be, thread, size);
    if (size > 0 && !scratch)
        return;
    Panel panel = {.data = NULL};
    for (int64_t tile = tiles.first; tile < tiles.end; tile++) {
        if (tile == tiles.first || tile % p->down == 0)
            panel = panel_of(p, tile / p->down, scratch);
        multiply_tile(p, range_of(p->n_rows, tile % p->down, p->down), &panel,
                      scratch + panel_size);
    }
}

static void product_simd(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                         const LfEpilogue *epilogue, const Kernels *kernels)
{
    Product p = {.be = be,
                 .kernels = kernels,
                 .epilogue = epilogue,
                 .weight = (const LfCpuWeight *) weight,
                 .x = lf_f32(x),
                 .out = lf_f32(out),
                 .n_rows = x.shape[0]};
    p.width = tile_width(p.weight);
    p.across = (weight->out + p.width - 1) / p.width;
    p.down = (p.n_rows + TILE_ROWS - 1) / TILE_ROWS;
    int64_t n_ranges = MIN(p.across * p.down, be->n_threads);
#pragma omp parallel num_threads(be->n_threads)
    {
        /* OpenMP does not count a region of one thread as parallel, so sgemm would start a team of
         * threads of its own in it, one for each core. This limit ends with the region. */
        omp_set_num_threads(1);
#pragma omp for
        for (int64_t range = 0; range < n_ranges; range++)
            multiply_tiles(&p, range_of(p.across * p.down, range, n_ranges), lf_cpu_thread());
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

#define PRODUCT(isa)                                                                               \
    static void product_##isa(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,     \
                              const LfEpilogue *epilogue)                                          \
    {                                                                                              \
        static const Kernels kernels = {lf_epilogue_row_##isa, lf_transpose_bf16_##isa};           \
        product_simd(be, out, x, weight, epilogue, &kernels);                                      \
    }

#define OPERATIONS(isa)                                                                            \
    static void linear_##isa(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,      \
                             LfTensor bias, LfActivation activation)                               \
    {                                                                                              \
        product_##isa(be, out, x, weight,                                                          \
                      &(LfEpilogue){.bias = lf_f32(bias), .activation = activation});              \
    }                                                                                              \
    static void linear_residual_##isa(LfBackend *be, LfTensor x, LfTensor y,                       \
                                      const LfWeight *weight, LfTensor bias, LfTensor gate)        \
    {                                                                                              \
        product_##isa(                                                                             \
            be, x, y, weight,                                                                      \
            &(LfEpilogue){.bias = lf_f32(bias), .gate = lf_f32(gate), .accumulate = true});        \
    }

OPERATIONS(c)
LF_ON_X86(PRODUCT(avx2) OPERATIONS(avx2) PRODUCT(avx512) OPERATIONS(avx512))

void lf_cpu_linear_init(LfOps *ops, LfCpuIsa isa)
{
    ops->weight_new = weight_new;
    ops->weight_free = weight_free;
    LF_SET_VERSIONS(ops->linear, linear, isa);
    LF_SET_VERSIONS(ops->linear_residual, linear_residual, isa);
}
