/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Norms over the last dimension. Bound by bytes: each row is read once from memory and twice more
 * from the L1 cache.
 */
#include "cpu.h"
#include "simd/dense.h"

#include <math.h>

/* Two passes for the variance: the difference of large sums would cost digits where the mean is
 * large. */
static void lf_norm_row_c(float *out, const float *x, int64_t n, const LfNorm *norm)
{
    double mean = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n && norm->centre; i++)
        mean += x[i] / (double) n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    double scale = 1.0 / sqrt(squares / (double) n + (double) norm->eps);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float) ((x[i] - mean) * scale) * (norm->one + norm->a[i]) +
                 (norm->b ? norm->b[i] : 0.0f);
}

static void norm_rows(LfBackend *be, LfNormRow *norm_row, LfTensor out, LfTensor x, LfNorm norm)
{
    int64_t n = x.shape[1];
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t row = 0; row < x.shape[0]; row++)
        norm_row(lf_f32(out) + row * n, lf_f32(x) + row * n, n, &norm);
}

/* Pixels that a thread norms at a time. */
#define PIXELS 64

static void lf_pixel_norm_c(float *out, const float *x, int64_t n_pixels, int64_t n,
                            const float *weight, bool silu)
{
    for (int64_t p = 0; p < n_pixels; p++, out += n, x += n) {
        double squares = 0.0;
        for (int64_t i = 0; i < n; i++)
            squares += (double) x[i] * (double) x[i];
        double factor = sqrt((double) n) / fmax(sqrt(squares), 1e-12);
        for (int64_t i = 0; i < n; i++) {
            float value = (float) (x[i] * factor) * weight[i];
            out[i] = silu ? value / (1.0f + expf(-value)) : value;
        }
    }
}

static void pixel_norm(LfBackend *be, LfPixelNorm *kernel, LfTensor out, LfTensor x,
                       LfTensor weight, bool silu)
{
    int64_t n = weight.shape[0], n_pixels = lf_tensor_count(x) / n;
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t p = 0; p < n_pixels; p += PIXELS)
        kernel(lf_f32(out) + p * n, lf_f32(x) + p * n, MIN(PIXELS, n_pixels - p), n, lf_f32(weight),
               silu);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define OPERATIONS(isa)                                                                            \
    static void layer_norm_modulate_##isa(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, \
                                          LfTensor shift, float eps)                               \
    {                                                                                              \
        LfNorm norm = {lf_f32(scale), lf_f32(shift), 1.0f, eps, true};                             \
        norm_rows(be, lf_norm_row_##isa, out, x, norm);                                            \
    }                                                                                              \
    static void layer_norm_##isa(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight,         \
                                 LfTensor bias, float eps)                                         \
    {                                                                                              \
        LfNorm norm = {lf_f32(weight), lf_f32(bias), 0.0f, eps, true};                             \
        norm_rows(be, lf_norm_row_##isa, out, x, norm);                                            \
    }                                                                                              \
    static void rms_norm_##isa(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight,           \
                               float eps)                                                          \
    {                                                                                              \
        LfNorm norm = {lf_f32(weight), NULL, 0.0f, eps, false};                                    \
        norm_rows(be, lf_norm_row_##isa, out, x, norm);                                            \
    }                                                                                              \
    static void pixel_norm_##isa(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight,         \
                                 bool silu)                                                        \
    {                                                                                              \
        pixel_norm(be, lf_pixel_norm_##isa, out, x, weight, silu);                                 \
    }

OPERATIONS(c)
LF_ON_X86(OPERATIONS(avx2) OPERATIONS(avx512))

void lf_cpu_norm_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->layer_norm_modulate, layer_norm_modulate, isa);
    LF_SET_VERSIONS(ops->layer_norm, layer_norm, isa);
    LF_SET_VERSIONS(ops->rms_norm, rms_norm, isa);
    LF_SET_VERSIONS(ops->pixel_norm, pixel_norm, isa);
}
