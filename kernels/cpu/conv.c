/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions of the decoder, channels last.
 */
#include "cpu.h"
#include "pack.h"
#include "simd/dense.h"

#include <string.h>

/* ---- weights ---- */

/* One 3×3 filter as the four 2×2 filters of its upsampled form. With X the upsampled picture,
 * X[2y + p + k − 1] is x[y − 1 + p + tap], so row tap 0 of parity 0 is w₀ and tap 1 is w₁ + w₂;
 * of parity 1 they are w₀ + w₁ and w₂; columns alike. */
static void up2_filter(float taps[16], const float *w)
{
    memset(taps, 0, 16 * sizeof *taps);
    for (int parity_y = 0; parity_y < 2; parity_y++)
        for (int parity_x = 0; parity_x < 2; parity_x++)
            for (int k = 0; k < 9; k++) {
                int tap_y = (parity_y + k / 3 + 1) / 2 - parity_y;
                int tap_x = (parity_x + k % 3 + 1) / 2 - parity_x;
                taps[8 * parity_y + 4 * parity_x + 2 * tap_y + tap_x] += w[k];
            }
}

static int lanes_of(LfCpuLevel level)
{
    return level == LF_CPU_AVX512 ? 16 : level == LF_CPU_AVX2 ? 8 : 1;
}

static int n_taps_of(LfWeightKind kind)
{
    return kind == LF_WEIGHT_CONV_UP2 ? 16 : 9;
}

static int64_t padded(int64_t n_out, LfCpuLevel level)
{
    return (n_out + lanes_of(level) - 1) / lanes_of(level) * lanes_of(level);
}

size_t lf_cpu_conv_size(LfWeightKind kind, int64_t n_out, int64_t n_in, LfCpuLevel level)
{
    return (size_t) (n_taps_of(kind) * n_in * padded(n_out, level)) * sizeof(float);
}

/* Where the channels of the group that holds `out` begin, and how many they are. */
static int64_t group_of(int64_t out, int64_t n_out, int lanes, int64_t *width)
{
    int64_t first = 0, n_vec = (n_out + lanes - 1) / lanes;
    for (;;) {
        int group = lf_conv_group(lanes, n_vec);
        if (out < first + group * lanes || lanes == 1) {
            *width = lanes == 1 ? n_out : group * lanes;
            return first;
        }
        first += group * lanes;
        n_vec -= group;
    }
}

/* All inputs of one output channel, `width` apart; another filter begins `filter_size` later. */
static void pack_channel(float *dst, const float *src, LfWeightKind kind, int64_t n_in,
                         int64_t filter_size, int64_t width)
{
    int n_taps = n_taps_of(kind), per_filter = kind == LF_WEIGHT_CONV_UP2 ? 4 : 9;
    for (int64_t i = 0; i < n_in; i++) {
        float taps[16];
        if (kind == LF_WEIGHT_CONV_UP2)
            up2_filter(taps, src + 9 * i);
        else
            memcpy(taps, src + 9 * i, 9 * sizeof *taps);
        for (int tap = 0; tap < n_taps; tap++)
            dst[tap / per_filter * filter_size + (tap % per_filter * n_in + i) * width] = taps[tap];
    }
}

void lf_cpu_pack_conv(float *dst, const float *src, LfWeightKind kind, int64_t n_out, int64_t n_in,
                      LfCpuLevel level)
{
    int64_t inputs = (kind == LF_WEIGHT_CONV_UP2 ? 4 : 9) * n_in;
    memset(dst, 0, lf_cpu_conv_size(kind, n_out, n_in, level));
    for (int64_t out = 0; out < n_out; out++) {
        int64_t width, first = group_of(out, n_out, lanes_of(level), &width);
        pack_channel(dst + first * inputs + out - first, src + 9 * out * n_in, kind, n_in,
                     inputs * padded(n_out, level), width);
    }
}

/* ---- plain C ---- */

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
            begin_sums(sums, lf_f32(bias), lf_given(residual) ? lf_f32(residual) + pixel : NULL,
                       n_out);
            add_filter(sums, lf_tensor_at(x, frame), filter, weight->in * n_out, 3, y, column - 1,
                       n_out);
            if (lf_given(past))
                add_filter(sums, lf_tensor_at(past, frame), filter + n_x * n_out,
                           weight->in * n_out, 3, y, column - 1, n_out);
            if (relu)
                rectify(sums, n_out);
        }
}

static void conv3x3_up2_c(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                          bool relu)
{
    int64_t h = out.shape[1], w = out.shape[2], n_in = weight->in, n_out = weight->out;
    const float *filters = ((const LfCpuWeight *) weight)->data;
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t line = 0; line < x.shape[0] * h; line++)
        for (int64_t column = 0; column < w; column++) {
            int64_t row = line % h, parity = row % 2 * 2 + column % 2;
            float *sums = lf_f32(out) + (line * w + column) * n_out;
            begin_sums(sums, NULL, NULL, n_out);
            add_filter(sums, lf_tensor_at(x, line / h), filters + parity * 4 * n_in * n_out,
                       n_in * n_out, 2, row / 2 - 1 + row % 2, column / 2 - 1 + column % 2, n_out);
            if (relu)
                rectify(sums, n_out);
        }
}

/* ---- by rows ----
 *
 * A thread takes a strip of rows at a time and copies its inputs, x and past side by side in each
 * pixel, into scratch with a margin of zeros, so that no loop asks where the picture ends. */

#define STRIP 8 /* rows: two more are copied */

typedef struct {
    LfBackend *be;
    LfConvolveRow *convolve_row;
    LfTensor out, x, past;
    LfConvRow row;       /* what all rows have in common */
    int64_t parity_size; /* floats of one of four filters; 0: there is one filter, of 3×3 */
} Convolution;

static void copy_pixels(float *dst, const float *x, int64_t n_x, const float *past, int64_t n_past,
                        int64_t n_pixels)
{
    if (n_past == 0) {
        memcpy(dst, x, (size_t) (n_pixels * n_x) * sizeof *dst);
        return;
    }
    for (int64_t p = 0; p < n_pixels; p++, dst += n_x + n_past) {
        memcpy(dst, x + p * n_x, (size_t) n_x * sizeof *dst);
        memcpy(dst + n_x, past + p * n_past, (size_t) n_past * sizeof *dst);
    }
}

/* Row y of a frame with its margins; zeros outside. */
static void copy_row(const Convolution *c, float *dst, int64_t frame, int64_t y)
{
    int64_t h = c->x.shape[1], w = c->x.shape[2], n_x = c->x.shape[3], n_past = c->past.shape[3];
    int64_t first = (frame * h + y) * w, step = n_x + n_past;
    if (y < 0 || y >= h) {
        memset(dst, 0, (size_t) ((w + 2) * step) * sizeof *dst);
        return;
    }
    memset(dst, 0, (size_t) step * sizeof *dst);
    copy_pixels(dst + step, lf_f32(c->x) + first * n_x, n_x, lf_f32(c->past) + first * n_past,
                n_past, w);
    memset(dst + (w + 1) * step, 0, (size_t) step * sizeof *dst);
}

/* Up to STRIP rows from row y on, all of one frame. */
static void copy_strip(const Convolution *c, float *copies, int64_t y, int64_t n_rows)
{
    int64_t h = c->x.shape[1], size = (c->x.shape[2] + 2) * c->row.step;
    for (int64_t r = 0; r < n_rows + 2; r++)
        copy_row(c, copies + r * size, y / h, y % h + r - 1);
    memset(copies + (n_rows + 2) * size, 0,
           (size_t) (LF_CONV_BEYOND * c->row.step) * sizeof *copies);
}

/* One row of out from the copies of its three rows; `y` counts all rows of all frames. */
static void row_3x3(const Convolution *c, const float *top, int64_t y)
{
    LfConvRow row = c->row;
    int64_t w = c->x.shape[2], at = y * w * row.n_out;
    for (int r = 0; r < 3; r++)
        row.runs[r] = top + r * (w + 2) * row.step;
    row.out += at;
    row.residual = row.residual ? row.residual + at : NULL;
    c->convolve_row(&row);
}

/* Two rows of out: each parity of row and column has a filter of its own. */
static void row_up2(const Convolution *c, const float *top, int64_t y)
{
    int64_t w = c->x.shape[2];
    for (int parity = 0; parity < 4; parity++) {
        LfConvRow row = c->row;
        int py = parity / 2, px = parity % 2;
        for (int r = 0; r < 2; r++)
            row.runs[r] = top + (r + py) * (w + 2) * row.step + px * row.step;
        row.weights += parity * c->parity_size;
        row.out += ((2 * y + py) * 2 * w + px) * row.n_out;
        c->convolve_row(&row);
    }
}

/* Rows [y, end) of x, counted through all frames. */
static void convolve_rows(const Convolution *c, int64_t y, int64_t end, int thread)
{
    int64_t h = c->x.shape[1], size = (c->x.shape[2] + 2) * c->row.step;
    float *copies = lf_cpu_scratch(c->be, thread,
                                   (size_t) ((STRIP + 2) * size + LF_CONV_BEYOND * c->row.step) *
                                       sizeof(float));
    if (!copies)
        return;
    while (y < end) {
        int64_t n_rows = MIN(MIN(STRIP, end - y), h - y % h);
        copy_strip(c, copies, y, n_rows);
        for (int64_t r = 0; r < n_rows; r++, y++)
            (c->parity_size ? row_up2 : row_3x3)(c, copies + r * size, y);
    }
}

static void convolve(const Convolution *c)
{
    int64_t n_rows = c->x.shape[0] * c->x.shape[1];
    int64_t n_parts = MIN(n_rows, 4 * c->be->n_threads);
#pragma omp parallel for num_threads(c->be->n_threads) schedule(dynamic)
    for (int64_t part = 0; part < n_parts; part++)
        convolve_rows(c, n_rows * part / n_parts, n_rows * (part + 1) / n_parts, lf_cpu_thread());
}

static void conv3x3_simd(LfBackend *be, LfConvolveRow *convolve_row, LfTensor out, LfTensor x,
                         LfTensor past, const LfWeight *weight, LfTensor bias, LfTensor residual,
                         bool relu)
{
    LfConvRow row = {.n_runs = 3,
                     .length = 3 * weight->in,
                     .step = weight->in,
                     .n_pixels = (int) x.shape[2],
                     .n_out = (int) weight->out,
                     .weights = ((const LfCpuWeight *) weight)->data,
                     .bias = lf_f32(bias),
                     .residual = lf_f32(residual),
                     .out = lf_f32(out),
                     .out_step = weight->out,
                     .relu = relu};
    convolve(&(Convolution){be, convolve_row, out, x, past, row, 0});
}

static void conv3x3_up2_simd(LfBackend *be, LfConvolveRow *convolve_row, LfTensor out, LfTensor x,
                             const LfWeight *weight, bool relu)
{
    LfConvRow row = {.n_runs = 2,
                     .length = 2 * weight->in,
                     .step = weight->in,
                     .n_pixels = (int) x.shape[2],
                     .n_out = (int) weight->out,
                     .weights = ((const LfCpuWeight *) weight)->data,
                     .out = lf_f32(out),
                     .out_step = 2 * weight->out,
                     .relu = relu};
    int64_t parity_size = (int64_t) (weight->memory / sizeof(float) / 4);
    convolve(&(Convolution){be, convolve_row, out, x, LF_NONE, row, parity_size});
}

/* ---- the table ---- */

#define OPERATIONS(level)                                                                          \
    static void conv3x3_##level(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,            \
                                const LfWeight *weight, LfTensor bias, LfTensor residual,          \
                                bool relu)                                                         \
    {                                                                                              \
        conv3x3_simd(be, lf_convolve_row_##level, out, x, past, weight, bias, residual, relu);     \
    }                                                                                              \
    static void conv3x3_up2_##level(LfBackend *be, LfTensor out, LfTensor x,                       \
                                    const LfWeight *weight, bool relu)                             \
    {                                                                                              \
        conv3x3_up2_simd(be, lf_convolve_row_##level, out, x, weight, relu);                       \
    }

LF_ON_X86(OPERATIONS(avx2) OPERATIONS(avx512))

void lf_cpu_conv_init(LfOps *ops, LfCpuLevel level)
{
    LF_SET_LEVELS(ops->conv3x3, conv3x3, level);
    LF_SET_LEVELS(ops->conv3x3_up2, conv3x3_up2, level);
}
