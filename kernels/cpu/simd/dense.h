/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inner loops of products, convolutions, norms and pointwise operations with a version for each
 * instruction set. As in simd.h each does the work of one thread.
 */
#ifndef LF_KERNELS_CPU_DENSE_H
#define LF_KERNELS_CPU_DENSE_H

#include "kernels/ops.h"

/* ---- products -------------------------------------------------------------------------------- */

/* The epilogue of a product: out = act(product + bias), or out += gate ⊙ (product + bias) with
 * `accumulate`; bias and gate may be NULL. */
typedef struct {
    const float *bias, *gate;
    LfActivation activation; /* not with `accumulate` */
    bool accumulate;
} LfEpilogue;

/* Columns [first, first + n) of one row, which start at `out` and `product`; these may be one. */
typedef void LfEpilogueRow(float *out, const float *product, int64_t first, int64_t n,
                           const LfEpilogue *epilogue);

/* dst [n_in, n_rows] = src [n_rows, n_in] (BF16, unaligned) transposed, as float. */
typedef void LfTransposeBf16(float *dst, const uint16_t *src, int64_t n_rows, int64_t n_in);

LfEpilogueRow lf_epilogue_row_avx2, lf_epilogue_row_avx512;
LfTransposeBf16 lf_transpose_bf16_avx2, lf_transpose_bf16_avx512;

/* ---- convolutions ----
 *
 * The channels of neighbouring pixels are adjacent in memory, so the inputs of one row of a filter
 * are one contiguous run, and a pixel's sum is over as many runs as the filter has rows. Weights
 * are [inputs of all runs, channels] for each group of output channels that the kernel holds in
 * registers. */

/* `n_pixels` pixels of one row, all output channels: act(Σ runs + bias + residual). */
typedef struct {
    const float *runs[9]; /* of the first pixel; the next pixel's begin `step` later */
    int n_runs;
    int64_t length, step; /* inputs of one run */
    int n_pixels, n_out;
    const float *weights;
    const float *bias, *residual; /* or NULL; residual has the layout of out and may be out */
    float *out;
    int64_t out_step; /* floats from one pixel to the next */
    bool relu;
} LfConvRow;

#define LF_CONV_BEYOND 16 /* pixels that may be read after the last one */

typedef struct {
    void (*row)(const LfConvRow *row);
    /* out = act(Σ of three contributions to each pixel + bias + residual). `columns` [n_pixels + 2,
     * 3, n_out] are the results of a convolution with a filter of one column: the contributions of
     * each pixel to the outputs right of it, at it and left of it. For n_out ≤ 8. */
    void (*sum_columns)(const LfConvRow *row, const float *columns);
    /* dst [n_pixels, n_a + n_b] = a [n_pixels, n_a] and b [n_pixels, n_b] */
    void (*side_by_side)(float *dst, const float *a, int64_t n_a, const float *b, int64_t n_b,
                         int64_t n_pixels);
} LfConvolve;

extern const LfConvolve lf_convolve_avx2, lf_convolve_avx512;

/* Registers of output channels in the next group, of `left` that remain. */
static inline int lf_conv_group(int lanes, int64_t left)
{
    if (lanes == 16 && left % 3 == 0)
        return 3;
    return left >= 2 ? 2 : 1;
}

/* ---- norms ----------------------------------------------------------------------------------- */

/* out = (x − mean)/√(mean((x − mean)²) + eps) ⊙ (one + a) + b; without `centre` the mean is 0. */
typedef struct {
    const float *a, *b; /* b may be NULL */
    float one, eps;
    bool centre;
} LfNorm;

typedef void LfNormRow(float *out, const float *x, int64_t n, const LfNorm *norm);
LfNormRow lf_norm_row_avx2, lf_norm_row_avx512;

/* out = act(x / max(‖x‖, 1e-12)·√n ⊙ weight) for each of n_pixels rows of n numbers. */
typedef void LfPixelNorm(float *out, const float *x, int64_t n_pixels, int64_t n,
                         const float *weight, bool silu);
LfPixelNorm lf_pixel_norm_avx2, lf_pixel_norm_avx512;

/* ---- pointwise ------------------------------------------------------------------------------- */

/* gate = gelu_tanh(gate)·up */
typedef void LfGeluGate(float *gate, const float *up, int64_t n);
LfGeluGate lf_gelu_gate_avx2, lf_gelu_gate_avx512;

/* out [n_pixels, n_channels] = x ⊙ scale + shift, the channels of x `stride` apart; with
 * `tanh_clamp` then 3·tanh(·/3). scale and shift [n_channels] or NULL. */
typedef struct {
    const float *scale, *shift;
    int64_t stride, n_channels, n_pixels;
    bool tanh_clamp;
} LfTakePixels;

typedef void LfTakeLatents(float *out, const float *x, const LfTakePixels *pixels);
LfTakeLatents lf_take_pixels_avx2, lf_take_pixels_avx512;

/* out = trunc(255·clamp(x, 0, 1)) */
typedef void LfBytes(uint8_t *out, const float *x, int64_t n);
LfBytes lf_bytes_avx2, lf_bytes_avx512;

/* ---- pixels ---------------------------------------------------------------------------------- */

/* Luma weights in units of 1/`one`. */
typedef struct {
    int32_t red, green, blue, one;
} LfLuma;

typedef struct {
    /* dst [width] from rgb [width, 3]. */
    void (*luma)(const LfLuma *m, uint8_t *dst, const uint8_t *rgb, int width);
    /* width/2 samples of U and of V, `step` bytes apart, from two lines of pixels. A sample sits on
     * the left one of its pixels and weighs that line's ¼, ½, ¼; the left edge repeats. */
    void (*chroma)(const LfLuma *m, uint8_t *u, uint8_t *v, int step, const uint8_t *top,
                   const uint8_t *bottom, int width);
} LfYuvLines;

extern const LfYuvLines lf_yuv_lines_avx2, lf_yuv_lines_avx512;

#endif
