/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions of the decoder, channels last.
 */
#include "cpu.h"
#include "pack.h"

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

void lf_cpu_pack_conv(float *dst, const float *src, int64_t n_out, int64_t n_in, LfWeightKind kind)
{
    int n_taps = kind == LF_WEIGHT_CONV_UP2 ? 16 : 9;
    for (int64_t o = 0; o < n_out; o++)
        for (int64_t i = 0; i < n_in; i++) {
            const float *filter = src + 9 * (o * n_in + i);
            float taps[16];
            if (kind == LF_WEIGHT_CONV_UP2)
                up2_filter(taps, filter);
            else
                memcpy(taps, filter, 9 * sizeof *taps);
            for (int tap = 0; tap < n_taps; tap++)
                dst[(tap * n_in + i) * n_out + o] = taps[tap];
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

static void plain_conv3x3(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,
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

static void plain_conv3x3_up2(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
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

void lf_cpu_conv_init(LfOps *ops, LfCpuLevel level)
{
    ops->conv3x3 = plain_conv3x3;
    ops->conv3x3_up2 = plain_conv3x3_up2;
}
