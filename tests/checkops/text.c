/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"
#include "device.h"

#include <math.h>
#include <string.h>

/* out [n, D] = softmax(scale·q·kᵀ + bias [heads, n, l] or last_logit on the last key)·v */
static double *attend(LfTensor q, LfTensor k, LfTensor v, int heads, double scale, LfTensor bias,
                      double last_logit)
{
    int64_t n = q.shape[0], l = k.shape[0], width = q.shape[1], d = width / heads;
    double *out = reference(n * width);
#pragma omp parallel for collapse(2) if (n * l * width > 100000)
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < n; i++) {
            double largest = -INFINITY, total = 0.0, *o = out + i * width + h * d;
            double *scores = g_new(double, l);
            for (int64_t j = 0; j < l; j++) {
                double sum = 0.0;
                for (int64_t c = 0; c < d; c++)
                    sum += (double) lf_f32(q)[i * width + h * d + c] *
                           lf_f32(k)[j * width + h * d + c];
                scores[j] = scale * sum + (j == l - 1 ? last_logit : 0.0);
                if (lf_is_set(bias))
                    scores[j] += lf_f32(bias)[(h * n + i) * l + j];
                largest = fmax(largest, scores[j]);
            }
            for (int64_t j = 0; j < l; j++)
                total += scores[j] = exp(scores[j] - largest);
            for (int64_t j = 0; j < l; j++)
                for (int64_t c = 0; c < d; c++)
                    o[c] += scores[j] / total * lf_f32(v)[j * width + h * d + c];
            g_free(scores);
        }
    return out;
}

/* ---- lf_cross_attention ---------------------------------------------------------------------- */

static void cross_case(LfBackend *be, int n, int l, int heads, int d, float last_logit)
{
    LfTensor q = activations(be, n, heads * d), k = activations(be, l, heads * d);
    LfTensor v = activations(be, l, heads * d), out = output(LF_F32, n, heads * d);
    double *want = attend(q, k, v, heads, 1.0 / sqrt(d), LF_NONE, (double) last_logit);
    bool fp8 = is_fp8(be) && random_size(3) > 1;
    LfTensor v_amax = fp8 ? amax_over(v) : LF_NONE;
    if (fp8)
        out = hold_rows(out);
    lf_cross_attention(be, out, q, k, v, v_amax, heads, last_logit);
    expect_close(out, want, 1e-6);
    if (fp8)
        expect_quantised_share(out, want, 0.05);
    settle(be);
}

/* A last row with ln m counts as m equal rows. */
static void padding_case(LfBackend *be, int n, int real, int padding, int heads, int d)
{
    int width = heads * d;
    LfTensor q = activations(be, n, width), out = output(LF_F32, n, width);
    LfTensor k = activations(be, real + padding, width);
    LfTensor v = activations(be, real + padding, width);
    let_change(k);
    let_change(v);
    for (int i = real + 1; i < real + padding; i++) {
        size_t row = (size_t) width * sizeof(float);
        memcpy(lf_f32(k) + i * width, lf_f32(k) + real * width, row);
        memcpy(lf_f32(v) + i * width, lf_f32(v) + real * width, row);
    }
    double *want = attend(q, k, v, heads, 1.0 / sqrt(d), LF_NONE, 0.0);
    lf_cross_attention(be, out, q, lf_tensor_slice(k, 0, real + 1), lf_tensor_slice(v, 0, real + 1),
                       LF_NONE, heads, logf((float) padding));
    expect_close(out, want, 1e-6);
    settle(be);
}

static void check_cross_attention(LfBackend *be)
{
    static const int head_dims[] = {1, 3, 8, 20, 64, 128};
    cross_case(be, 1, 1, 1, 1, 0.0f);
    for (int i = 0; i < 30; i++)
        cross_case(be, (int) random_size(100), (int) random_size(70), (int) random_size(4),
                   head_dims[random_size(G_N_ELEMENTS(head_dims)) - 1],
                   (float) random_uniform(-3.0, 7.0));
    for (int i = 0; i < 5; i++)
        padding_case(be, (int) random_size(60), (int) random_size(20), (int) random_size(490), 3,
                     24);
    cross_case(be, 480, 20, 4, 64, logf(29.0f));
    cross_case(be, 300, 513, 2, 128, 0.0f);
    cross_case(be, 20, 300, 2, 64, 5.0f);
    if (device_of(be)) {
        cross_case(be, 1536, 40, 2, 128, logf(473.0f));
        cross_case(be, 1560, 512, 1, 128, 0.0f);
    }
}

static void bench_cross(LfBackend *be, int n, int l, int heads, int d, const char *what)
{
    LfTensor q = input(LF_F32, n, heads * d), k = input(LF_F32, l, heads * d);
    LfTensor v = input(LF_F32, l, heads * d), out = output(LF_F32, n, heads * d);
    BENCH(be, what, 4.0 * n * l * heads * d, 0)
    {
        lf_cross_attention(be, out, q, k, v, LF_NONE, heads, 3.0f);
    }
    settle(be);
}

static void bench_cross_attention(LfBackend *be)
{
    bench_cross(be, 480, 16, 4, 64, "demo 480x16");
    bench_cross(be, 480, 48, 4, 64, "demo 480x48");
    bench_cross(be, 4608, 512, 12, 128, "1.3B 4608x512");
}

/* ---- lf_text_attention ----------------------------------------------------------------------- */

static void text_case(LfBackend *be, int l, int heads, int d)
{
    LfTensor q = activations(be, l, heads * d), k = activations(be, l, heads * d);
    LfTensor v = activations(be, l, heads * d), out = output(LF_F32, l, heads * d);
    LfTensor bias = input(LF_F32, heads, l, l);
    double *want = attend(q, k, v, heads, 1.0, bias, 0.0);
    lf_text_attention(be, out, q, k, v, bias);
    expect_close(out, want, 2e-6); /* scores are not scaled, thus larger */
    settle(be);
}

static void check_text_attention(LfBackend *be)
{
    static const int head_dims[] = {1, 5, 16, 64};
    text_case(be, 1, 1, 1);
    for (int i = 0; i < 30; i++)
        text_case(be, (int) random_size(80), (int) random_size(4),
                  head_dims[random_size(G_N_ELEMENTS(head_dims)) - 1]);
    text_case(be, 300, 3, 64);
}

static void bench_text(LfBackend *be, int l, int heads, int d, const char *what)
{
    LfTensor q = input(LF_F32, l, heads * d), k = input(LF_F32, l, heads * d);
    LfTensor v = input(LF_F32, l, heads * d), out = output(LF_F32, l, heads * d);
    LfTensor bias = input(LF_F32, heads, l, l);
    BENCH(be, what, 4.0 * l * l * heads * d, 0)
    {
        lf_text_attention(be, out, q, k, v, bias);
    }
    settle(be);
}

static void bench_text_attention(LfBackend *be)
{
    bench_text(be, 16, 3, 64, "demo 16x16");
    bench_text(be, 512, 64, 64, "umT5-xxl 512x512");
}

const CheckOp text_ops[] = {CHECK_OP(cross_attention, .by_shape = true, .fp8 = true),
                            CHECK_OP(text_attention, .by_shape = true),
                            {0}};
