/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Norms over the last dimension. Bound by bytes: each row is read once from memory and twice more
 * from the first-level cache.
 */
#include "cpu.h"

#include <math.h>

/* mean and 1/√(variance + eps) of a row. Two passes: the difference of large sums of squares
 * would cost digits where the mean is large. */
static void moments(const float *x, int64_t n, float eps, float *mean, float *scale)
{
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    double centre = sum / (double) n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - centre) * (x[i] - centre);
    *mean = (float) centre;
    *scale = (float) (1.0 / sqrt(squares / (double) n + eps));
}

/* out = LN(x) ⊙ (one + a) + b for every row. */
static void plain_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor a, LfTensor b, float one,
                       float eps)
{
    int64_t n = x.shape[1];
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t row = 0; row < x.shape[0]; row++) {
        const float *from = lf_f32(x) + row * n;
        float *to = lf_f32(out) + row * n;
        float mean, scale;
        moments(from, n, eps, &mean, &scale);
        for (int64_t i = 0; i < n; i++)
            to[i] = (from[i] - mean) * scale * (one + lf_f32(a)[i]) + lf_f32(b)[i];
    }
}

static void plain_layer_norm_modulate(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale,
                                      LfTensor shift, float eps)
{
    plain_norm(be, out, x, scale, shift, 1.0f, eps);
}

static void plain_layer_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight,
                             LfTensor bias, float eps)
{
    plain_norm(be, out, x, weight, bias, 0.0f, eps);
}

static void plain_rms_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, float eps)
{
    int64_t n = x.shape[1];
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t row = 0; row < x.shape[0]; row++) {
        const float *from = lf_f32(x) + row * n;
        float *to = lf_f32(out) + row * n;
        double squares = 0.0;
        for (int64_t i = 0; i < n; i++)
            squares += (double) from[i] * from[i];
        float scale = (float) (1.0 / sqrt(squares / (double) n + eps));
        for (int64_t i = 0; i < n; i++)
            to[i] = from[i] * scale * lf_f32(weight)[i];
    }
}

void lf_cpu_norm_init(LfOps *ops, LfCpuLevel level)
{
    ops->layer_norm_modulate = plain_layer_norm_modulate;
    ops->layer_norm = plain_layer_norm;
    ops->rms_norm = plain_rms_norm;
}
