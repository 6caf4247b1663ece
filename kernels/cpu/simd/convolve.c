/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolution of a row of pixels: a tile of pixels × output channels stays in registers while all
 * inputs pass. Each input is broadcast to the lanes of the tile's channels. Bound by multiply-adds:
 * a tile of P pixels and V registers makes P·V of them from P + V loads.
 */
#include "dense.h"
#include "vec.h"

#include <math.h>

#define MAX_PIXELS 16
#define MAX_VECS   3

/* Adds one run to the tile; returns the weights that follow. Pixels are addressed from every
 * fourth one, or their pointers would not fit in registers. */
INLINE const float *add_run(Vec sums[MAX_PIXELS][MAX_VECS], const float *x, int64_t length,
                            int64_t step, const float *w, const int n_pixels, const int n_vec)
{
    const float *quad[MAX_PIXELS / 4 + 1];
#pragma GCC unroll 4
    for (int q = 0; q < (n_pixels + 3) / 4; q++)
        quad[q] = x + 4 * q * step;
    for (int64_t i = 0; i < length; i++, w += n_vec * LANES) {
        Vec filter[MAX_VECS];
#pragma GCC unroll 3
        for (int v = 0; v < n_vec; v++)
            filter[v] = vec_load(w + v * LANES);
#pragma GCC unroll 16
        for (int p = 0; p < n_pixels; p++) {
            Vec input = vec_set1(quad[p / 4][p % 4 * step + i]);
#pragma GCC unroll 3
            for (int v = 0; v < n_vec; v++)
                sums[p][v] = vec_fma(input, filter[v], sums[p][v]);
        }
    }
    return w;
}

/* The first `valid` pixels and `width` channels of a tile go out. Constant loops, or the tile would
 * be written to memory first. */
INLINE void finish_tile(Vec sums[MAX_PIXELS][MAX_VECS], const LfConvRow *row, int64_t first,
                        int valid, int channel, const int n_pixels, const int n_vec)
{
#pragma GCC unroll 3
    for (int v = 0; v < n_vec; v++, channel += LANES) {
        int width = row->n_out - channel < LANES ? row->n_out - channel : LANES;
        Vec bias = row->bias ? vec_load_n(row->bias + channel, width) : vec_set1(0);
        Vec least = vec_set1(row->relu ? 0 : -INFINITY);
#pragma GCC unroll 16
        for (int p = 0; p < n_pixels; p++) {
            if (p >= valid)
                break;
            int64_t at = (first + p) * row->out_step + channel;
            Vec value = sums[p][v] + bias;
            if (row->residual)
                value += vec_load_n(row->residual + at, width);
            vec_store_n(row->out + at, vec_max(value, least), width);
        }
    }
}

INLINE void tile(const LfConvRow *row, int64_t first, int channel, const float *w,
                 const int n_pixels, const int n_vec)
{
    Vec sums[MAX_PIXELS][MAX_VECS];
#pragma GCC unroll 16
    for (int p = 0; p < n_pixels; p++)
#pragma GCC unroll 3
        for (int v = 0; v < n_vec; v++)
            sums[p][v] = vec_set1(0);
    for (int p = 0; row->residual && p < n_pixels; p++)
        __builtin_prefetch(row->residual + (first + p) * row->out_step + channel);
    for (int r = 0; r < row->n_runs; r++)
        w = add_run(sums, row->runs[r] + first * row->step, row->length, row->step, w, n_pixels,
                    n_vec);
    int left = row->n_pixels - (int) first;
    finish_tile(sums, row, first, left < n_pixels ? left : n_pixels, channel, n_pixels, n_vec);
}

/* All pixels of one group of channels, in tiles of `most` pixels; the last tile may be smaller. */
INLINE void group(const LfConvRow *row, int channel, const float *w, const int most,
                  const int middle, const int least, const int n_vec)
{
    int x = 0;
    for (; row->n_pixels - x > middle; x += most)
        tile(row, x, channel, w, most, n_vec);
    if (row->n_pixels - x > least)
        tile(row, x, channel, w, middle, n_vec);
    else if (row->n_pixels - x > 0)
        tile(row, x, channel, w, least, n_vec);
}

static void convolve_row(const LfConvRow *row)
{
    const float *w = row->weights;
    int64_t inputs = row->n_runs * row->length;
    for (int channel = 0, n_vec; channel < row->n_out; channel += n_vec * LANES) {
        n_vec = lf_conv_group(LANES, (row->n_out - channel + LANES - 1) / LANES);
        if (LANES == 16 && n_vec == 3)
            group(row, channel, w, 8, 8, 4, 3);
        else if (n_vec == 2)
            group(row, channel, w, LANES == 16 ? 12 : 6, LANES == 16 ? 8 : 4, LANES == 16 ? 4 : 2,
                  2);
        else
            group(row, channel, w, LANES == 16 ? 16 : 8, 8, 4, 1);
        w += inputs * n_vec * LANES;
    }
}

/* An output's contributions are in `columns` at its left neighbour, itself and its right one. */
static void sum_columns(const LfConvRow *row, const float *columns)
{
    int n = row->n_out;
    Vec bias = row->bias ? vec_load_n(row->bias, n) : vec_set1(0);
    Vec least = vec_set1(row->relu ? 0 : -INFINITY);
    for (int64_t p = 0; p < row->n_pixels; p++, columns += 3 * n) {
        Vec sum = vec_load_n(columns, n) + vec_load_n(columns + 4 * n, n);
        sum += vec_load_n(columns + 8 * n, n) + bias;
        if (row->residual)
            sum += vec_load_n(row->residual + p * n, n);
        vec_store_n(row->out + p * n, vec_max(sum, least), n);
    }
}

static void side_by_side(float *dst, const float *a, int64_t n_a, const float *b, int64_t n_b,
                         int64_t n_pixels)
{
    for (int64_t p = 0; p < n_pixels; p++, a += n_a, b += n_b, dst += n_a + n_b) {
        for (int64_t i = 0; i < n_a; i += LANES)
            vec_store_n(dst + i, vec_load_n(a + i, width_at(i, n_a)), width_at(i, n_a));
        for (int64_t i = 0; i < n_b; i += LANES)
            vec_store_n(dst + n_a + i, vec_load_n(b + i, width_at(i, n_b)), width_at(i, n_b));
    }
}

const LfConvolve LF_SIMD(lf_convolve) = {convolve_row, sum_columns, side_by_side};
