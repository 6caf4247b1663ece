/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions of the decoder, channels last.
 *
 * oneDNN's are not used, because these are as fast (ms, one core, AVX-512; these and oneDNN 2.6):
 * 3×20×32 of 64+64→64 channels 1.24 and 1.22, 6×80×128 of 16+16→16 3.10 and 3.11, 16→16 with
 * residual 1.49 and 1.69, 12×160×256 of 16→3 6.6 and 12.4. They read `past` in place, so that
 * nothing is concatenated, and do nearest×2 and 3×3 at once, with 2.25 times fewer multiplications.
 */
#include "cpu.h"
#include "pack.h"
#include "simd/dense.h"

#include <string.h>

/* ---- plain C --------------------------------------------------------------------------------- */

/* One pixel's sums [out] += x [in] · w [in, out]. */
static void add_tap(float *sums, const float *x, const float *w, int64_t n_in, int64_t n_out)
{
    for (int64_t i = 0; i < n_in; i++)
        for (int64_t o = 0; o < n_out; o++)
            sums[o] += x[i] * w[i * n_out + o];
}

/* Adds to `sums` a filter of size×size taps whose first tap lies on (y, x) of one frame
 * [h, w, in]; taps outside read zeros. Taps are `tap_stride` floats apart. */
static void add_filter(float *sums, LfTensor frame, const float *filter, int64_t tap_stride,
                       int size, int64_t y, int64_t x, int64_t n_out)
{
    int64_t h = frame.shape[0], w = frame.shape[1], n_in = frame.shape[2];
    for (int k = 0; k < size * size; k++) {
        int64_t row = y + k / size, column = x + k % size;
        if (row >= 0 && row < h && column >= 0 && column < w)
            add_tap(sums, lf_f32(frame) + (row * w + column) * n_in, filter + k * tap_stride, n_in,
                    n_out);
    }
}

static void rectify(float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = values[i] > 0.0f ? values[i] : 0.0f;
}

/* The sums before any tap: bias and residual of one pixel. `residual` may be `sums` itself. */
static void begin_sums(float *sums, const float *bias, const float *residual, int64_t n)
{
    for (int64_t o = 0; o < n; o++)
        sums[o] = (bias ? bias[o] : 0.0f) + (residual ? residual[o] : 0.0f);
}

static void conv3x3_c(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,
                      const LfWeight *weight, LfTensor bias, LfTensor residual, bool relu)
{
    int64_t h = x.shape[1], w = x.shape[2], n_out = weight->out, n_x = x.shape[3];
    const float *filter = ((const LfCpuWeight *) weight)->data;
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t line = 0; line < x.shape[0] * h; line++)
        for (int64_t column = 0; column < w; column++) {
            int64_t frame = line / h, y = line % h - 1, pixel = (line * w + column) * n_out;
            float *sums = lf_f32(out) + pixel;
            begin_sums(sums, lf_f32(bias), lf_is_set(residual) ? lf_f32(residual) + pixel : NULL,
                       n_out);
            add_filter(sums, lf_tensor_at(x, frame), filter, weight->in * n_out, 3, y, column - 1,
                       n_out);
            if (lf_is_set(past))
                add_filter(sums, lf_tensor_at(past, frame), filter + n_x * n_out,
                           weight->in * n_out, 3, y, column - 1, n_out);
            if (relu)
                rectify(sums, n_out);
        }
}

static void conv3x3_up2_c(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                          LfTensor bias, bool relu)
{
    int64_t h = out.shape[1], w = out.shape[2], n_in = weight->in, n_out = weight->out;
    const float *filters = ((const LfCpuWeight *) weight)->data;
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t line = 0; line < x.shape[0] * h; line++)
        for (int64_t column = 0; column < w; column++) {
            int64_t row = line % h, parity = row % 2 * 2 + column % 2;
            float *sums = lf_f32(out) + (line * w + column) * n_out;
            begin_sums(sums, lf_f32(bias), NULL, n_out);
            add_filter(sums, lf_tensor_at(x, line / h), filters + parity * 4 * n_in * n_out,
                       n_in * n_out, 2, row / 2 - 1 + row % 2, column / 2 - 1 + column % 2, n_out);
            if (relu)
                rectify(sums, n_out);
        }
}

/* Frame `frame` of x, or for a negative one a frame of those before it. */
static LfTensor frame_of(LfTensor x, LfTensor earlier, int64_t frame)
{
    return frame < 0 ? lf_tensor_at(earlier, earlier.shape[0] + frame) : lf_tensor_at(x, frame);
}

static void conv3d_c(LfBackend *be, LfTensor out, LfTensor x, LfTensor past, const LfWeight *weight,
                     LfTensor bias, LfTensor residual)
{
    int64_t h = x.shape[1], w = x.shape[2], n_out = weight->out, tap = weight->in * n_out;
    int side = weight->side, times = weight->times;
    const float *filters = ((const LfCpuWeight *) weight)->data;
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t line = 0; line < x.shape[0] * h; line++)
        for (int64_t column = 0; column < w; column++) {
            int64_t frame = line / h - times + 1, pixel = (line * w + column) * n_out;
            float *sums = lf_f32(out) + pixel;
            begin_sums(sums, lf_f32(bias), lf_is_set(residual) ? lf_f32(residual) + pixel : NULL,
                       n_out);
            for (int s = 0; s < times; s++)
                add_filter(sums, frame_of(x, past, frame + s), filters + s * side * side * tap, tap,
                           side, line % h - side / 2, column - side / 2, n_out);
        }
}

/* ---- by rows ----
 *
 * A thread works on one strip of rows at a time. It copies the strip's inputs into scratch with a
 * margin of zeros, so that no loop has to check borders: x and past side by side in each pixel, or
 * of a convolution over time the strip of each of its frames. */

#define STRIP 8 /* rows: two more are copied */

typedef struct Convolution Convolution;

/* Computes the outputs of row `y` of x (rows are counted through all frames) from the copies of the
 * row above it, the row and the row below it; those of the next frame are `later` floats on. */
typedef void RowFunction(const Convolution *c, const float *above, int64_t later, int64_t y,
                         float *spare);

struct Convolution {
    LfBackend *be;
    const LfConvolve *kernel;
    RowFunction *outputs;
    LfTensor out, x;
    LfTensor past;       /* beside x */
    LfTensor earlier;    /* the times − 1 frames before x */
    int times;           /* taps in time */
    LfConvRow row;       /* what all rows have in common */
    int64_t parity_size; /* floats of one of the four filters of conv3x3_up2 */
};

/* Row y of a frame with its margins; zeros outside. */
static void copy_row(const Convolution *c, float *dst, int64_t frame, int64_t y)
{
    int64_t h = c->x.shape[1], w = c->x.shape[2], n_x = c->x.shape[3], n_past = c->past.shape[3];
    int64_t first = y * w, step = n_x + n_past;
    if (y < 0 || y >= h) {
        memset(dst, 0, (size_t) ((w + 2) * step) * sizeof *dst);
        return;
    }
    memset(dst, 0, (size_t) step * sizeof *dst);
    if (n_past)
        c->kernel->side_by_side(dst + step, lf_f32(c->x) + (frame * h * w + first) * n_x, n_x,
                                lf_f32(c->past) + (frame * h * w + first) * n_past, n_past, w);
    else
        memcpy(dst + step, lf_f32(frame_of(c->x, c->earlier, frame)) + first * n_x,
               (size_t) (w * n_x) * sizeof *dst);
    memset(dst + (w + 1) * step, 0, (size_t) step * sizeof *dst);
}

/* Copies rows y … y + n_rows − 1, all of one frame, and the rows above and below; those of the
 * frames before it come first. */
static void copy_strip(const Convolution *c, float *copies, int64_t y, int64_t n_rows)
{
    int64_t h = c->x.shape[1], size = (c->x.shape[2] + 2) * c->row.step;
    for (int64_t s = 0; s < c->times; s++)
        for (int64_t r = 0; r < n_rows + 2; r++, copies += size)
            copy_row(c, copies, y / h - c->times + 1 + s, y % h + r - 1);
    memset(copies, 0, (size_t) (LF_CONV_BEYOND * c->row.step) * sizeof *copies);
}

/* The rows of a filter of 3×3, or of three of them over time. */
static void set_runs(const Convolution *c, LfConvRow *row, const float *above, int64_t later)
{
    for (int s = 0; s < c->times; s++)
        for (int r = 0; r < 3; r++)
            row->runs[3 * s + r] = above + s * later + r * (c->x.shape[2] + 2) * row->step;
}

/* One row of out. */
static void convolve_row(const Convolution *c, LfConvRow *row, int64_t y)
{
    int64_t at = y * c->x.shape[2] * row->n_out;
    row->out += at;
    row->residual = row->residual ? row->residual + at : NULL;
    c->kernel->row(row);
}

static void row_3x3(const Convolution *c, const float *above, int64_t later, int64_t y,
                    float *spare)
{
    LfConvRow row = c->row;
    set_runs(c, &row, above, later);
    convolve_row(c, &row, y);
}

/* Each pixel by itself, over time. */
static void row_1x1(const Convolution *c, const float *above, int64_t later, int64_t y,
                    float *spare)
{
    LfConvRow row = c->row;
    for (int s = 0; s < c->times; s++)
        row.runs[s] = above + s * later + (c->x.shape[2] + 3) * row.step;
    convolve_row(c, &row, y);
}

/* For few output channels. First computes, for each pixel and those of the margins, its
 * contributions to the outputs right of it, at it and left of it, into `spare`. An output is then
 * the sum of three contributions. */
static void row_narrow(const Convolution *c, const float *above, int64_t later, int64_t y,
                       float *spare)
{
    int64_t at = y * c->x.shape[2] * c->row.n_out;
    LfConvRow row = c->row;
    set_runs(c, &row, above, later);
    row.length = row.step;
    row.n_pixels += 2;
    row.n_out *= 3;
    row.out = spare;
    row.out_step = row.n_out;
    row.bias = row.residual = NULL;
    row.relu = false;
    c->kernel->row(&row);
    LfConvRow sums = c->row;
    sums.out += at;
    sums.residual = sums.residual ? sums.residual + at : NULL;
    c->kernel->sum_columns(&sums, spare);
}

/* Computes two rows of out: each parity of row and column has its own filter. */
static void row_up2(const Convolution *c, const float *above, int64_t later, int64_t y,
                    float *spare)
{
    int64_t w = c->x.shape[2];
    for (int parity = 0; parity < 4; parity++) {
        LfConvRow row = c->row;
        int py = parity / 2, px = parity % 2;
        for (int r = 0; r < 2; r++)
            row.runs[r] = above + (r + py) * (w + 2) * row.step + px * row.step;
        row.weights += parity * c->parity_size;
        row.out += ((2 * y + py) * 2 * w + px) * row.n_out;
        c->kernel->row(&row);
    }
}

/* Computes the outputs of rows [y, end) of x. */
static void convolve_rows(const Convolution *c, int64_t y, int64_t end, int thread)
{
    int64_t h = c->x.shape[1], w = c->x.shape[2], size = (w + 2) * c->row.step;
    int64_t n_copies = c->times * (STRIP + 2) * size + LF_CONV_BEYOND * c->row.step;
    int64_t n_spare = c->outputs == row_narrow ? (w + 2) * 3 * c->row.n_out : 0;
    float *copies = lf_cpu_scratch(c->be, thread, (size_t) (n_copies + n_spare) * sizeof(float));
    if (!copies)
        return;
    while (y < end) {
        int64_t n_rows = MIN(MIN(STRIP, end - y), h - y % h);
        int64_t later = (n_rows + 2) * size;
        copy_strip(c, copies, y, n_rows);
        for (int64_t r = 0; r < n_rows; r++, y++)
            c->outputs(c, copies + r * size, later, y, copies + n_copies);
    }
}

static void convolve(const Convolution *c)
{
    int64_t n_rows = c->x.shape[0] * c->x.shape[1];
    int64_t n_ranges = MIN(n_rows, 4 * c->be->n_threads);
#pragma omp parallel for num_threads(c->be->n_threads) schedule(dynamic)
    for (int64_t range = 0; range < n_ranges; range++)
        convolve_rows(c, n_rows * range / n_ranges, n_rows * (range + 1) / n_ranges,
                      lf_cpu_thread());
}

static void conv3x3_simd(LfBackend *be, const LfConvolve *kernel, LfTensor out, LfTensor x,
                         LfTensor past, const LfWeight *weight, LfTensor bias, LfTensor residual,
                         bool relu)
{
    bool narrow = lf_cpu_conv_narrow(weight->out, ((LfCpu *) be)->isa);
    convolve(&(Convolution){
        .be = be,
        .kernel = kernel,
        .outputs = narrow ? row_narrow : row_3x3,
        .out = out,
        .x = x,
        .past = past,
        .times = 1,
        .row = {.n_runs = 3,
                .length = 3 * weight->in,
                .step = weight->in,
                .n_pixels = (int) x.shape[2],
                .n_out = (int) weight->out,
                .weights = ((const LfCpuWeight *) weight)->data,
                .bias = lf_f32(bias),
                .residual = lf_f32(residual),
                .out = lf_f32(out),
                .out_step = weight->out,
                .relu = relu},
    });
}

static void conv3d_simd(LfBackend *be, const LfConvolve *kernel, LfTensor out, LfTensor x,
                        LfTensor past, const LfWeight *weight, LfTensor bias, LfTensor residual)
{
    bool narrow = weight->side == 3 && lf_cpu_conv_narrow(weight->out, ((LfCpu *) be)->isa);
    convolve(&(Convolution){
        .be = be,
        .kernel = kernel,
        .outputs = narrow              ? row_narrow
                   : weight->side == 3 ? row_3x3
                                       : row_1x1,
        .out = out,
        .x = x,
        .earlier = past,
        .times = weight->times,
        .row = {.n_runs = weight->times * weight->side,
                .length = weight->side * weight->in,
                .step = weight->in,
                .n_pixels = (int) x.shape[2],
                .n_out = (int) weight->out,
                .weights = ((const LfCpuWeight *) weight)->data,
                .bias = lf_f32(bias),
                .residual = lf_f32(residual),
                .out = lf_f32(out),
                .out_step = weight->out},
    });
}

static void conv3x3_up2_simd(LfBackend *be, const LfConvolve *kernel, LfTensor out, LfTensor x,
                             const LfWeight *weight, LfTensor bias, bool relu)
{
    convolve(&(Convolution){
        .be = be,
        .kernel = kernel,
        .outputs = row_up2,
        .out = out,
        .x = x,
        .times = 1,
        .row = {.n_runs = 2,
                .length = 2 * weight->in,
                .step = weight->in,
                .n_pixels = (int) x.shape[2],
                .n_out = (int) weight->out,
                .weights = ((const LfCpuWeight *) weight)->data,
                .bias = lf_f32(bias),
                .out = lf_f32(out),
                .out_step = 2 * weight->out,
                .relu = relu},
        .parity_size = (int64_t) (weight->memory / sizeof(float) / 4),
    });
}

/* ---- the table ------------------------------------------------------------------------------- */

#define OPERATIONS(isa)                                                                            \
    static void conv3x3_##isa(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,              \
                              const LfWeight *weight, LfTensor bias, LfTensor residual, bool relu) \
    {                                                                                              \
        conv3x3_simd(be, &lf_convolve_##isa, out, x, past, weight, bias, residual, relu);          \
    }                                                                                              \
    static void conv3x3_up2_##isa(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight, \
                                  LfTensor bias, bool relu)                                        \
    {                                                                                              \
        conv3x3_up2_simd(be, &lf_convolve_##isa, out, x, weight, bias, relu);                      \
    }                                                                                              \
    static void conv3d_##isa(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,               \
                             const LfWeight *weight, LfTensor bias, LfTensor residual)             \
    {                                                                                              \
        conv3d_simd(be, &lf_convolve_##isa, out, x, past, weight, bias, residual);                 \
    }

LF_ON_X86(OPERATIONS(avx2) OPERATIONS(avx512))

void lf_cpu_conv_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->conv3x3, conv3x3, isa);
    LF_SET_VERSIONS(ops->conv3x3_up2, conv3x3_up2, isa);
    LF_SET_VERSIONS(ops->conv3d, conv3d, isa);
}
