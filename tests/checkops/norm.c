/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"

#include <math.h>
#include <string.h>

#define TOLERANCE 1e-6
#define EPS       1e-6f

/* LN(x) ⊙ (one + a) + b */
static double *layer_norm(LfTensor x, LfTensor a, LfTensor b, double one)
{
    int64_t n = x.shape[0], width = x.shape[1];
    double *out = as_double(x);
    for (int64_t row = 0; row < n; row++) {
        double *r = out + row * width, mean = 0.0, variance = 0.0;
        for (int64_t i = 0; i < width; i++)
            mean += r[i] / (double) width;
        for (int64_t i = 0; i < width; i++)
            variance += (r[i] - mean) * (r[i] - mean) / (double) width;
        for (int64_t i = 0; i < width; i++)
            r[i] =
                (r[i] - mean) / sqrt(variance + (double) EPS) * (one + lf_f32(a)[i]) + lf_f32(b)[i];
    }
    return out;
}

/* Rows with a mean far from 0, for which a variance in one pass would lose its digits. In some the
 * variance is about eps, so that an eps at the wrong place in the formula is noticed. */
static LfTensor rows(LfBackend *be, int64_t n, int64_t width)
{
    LfTensor x = input(LF_F32, n, width);
    let_change(x);
    float mean = (float) random_uniform(-20.0, 20.0);
    for (int64_t row = 0; row < n; row++) {
        float scale = random_size(2) == 1 ? 1.0f : sqrtf(EPS);
        for (int64_t i = 0; i < width; i++)
            lf_f32(x)[row * width + i] = scale * (lf_f32(x)[row * width + i] + mean);
    }
    return hold(x, activation_of(be));
}

/* The factor is the smallest without overflow, the norm is that of the row before rounding. */
static void expect_scales(LfTensor out, const double *want)
{
    int64_t n = out.shape[0], width = out.shape[1];
    for (int64_t row = 0; row < n; row++, want += width) {
        double largest = 0.0, squares = 0.0;
        for (int64_t i = 0; i < width; i++) {
            largest = fmax(largest, fabs(want[i]));
            squares += want[i] * want[i];
        }
        double factor = (double) out.scales[row], norm = (double) out.scales[n + row];
        g_assert_cmpfloat(fabs(factor - fmax(largest / 448.0, 1e-8)), <=, 1e-4 * factor + 1e-8);
        g_assert_cmpfloat(fabs(norm - sqrt(squares)), <=, 1e-4 * norm + 1e-7);
    }
}

static void layer_norm_case(LfBackend *be, int64_t n, int64_t width, bool modulate)
{
    LfTensor x = rows(be, n, width), out = output(LF_F32, n, width);
    LfTensor a = input(LF_F32, width), b = input(LF_F32, width);
    if (is_fp8(be))
        out = hold_rows(out);
    double *want = layer_norm(x, a, b, modulate ? 1.0 : 0.0);
    if (modulate)
        lf_layer_norm_modulate(be, out, x, a, b, EPS);
    else
        lf_layer_norm(be, out, x, a, b, EPS);
    /* x has an error of half a unit in the last place of its mean. */
    expect_close(out, want, width > 1 ? 2.0 * TOLERANCE : 1e-5);
    if (is_fp8(be)) {
        expect_quantised(out, want, 1e-4);
        expect_scales(out, want);
    }
    settle(be);
}

/* A row of zeros with a bias of 0 gives zeros. */
static void zero_case(LfBackend *be, int64_t n, int64_t width)
{
    LfTensor x = input(LF_F32, n, width), out = output(LF_F32, n, width);
    LfTensor a = input(LF_F32, width), b = input(LF_F32, width);
    let_change(b);
    memset(b.data, 0, lf_tensor_size(b));
    let_change(x);
    memset(x.data, 0, (size_t) width * sizeof(float));
    hold(x, activation_of(be));
    if (is_fp8(be))
        out = hold_rows(out);
    lf_layer_norm(be, out, x, a, b, EPS);
    for (int64_t i = 0; i < width; i++)
        g_assert_cmpfloat(lf_f32(out)[i], ==, 0.0f);
    settle(be);
}

static void rms_norm_case(LfBackend *be, int64_t n, int64_t width, bool in_place)
{
    LfTensor x = rows(be, n, width), out = in_place ? x : output(LF_F32, n, width);
    LfTensor weight = input(LF_F32, width);
    double *want = as_double(x);
    for (int64_t row = 0; row < n; row++) {
        double *r = want + row * width, mean = 0.0;
        for (int64_t i = 0; i < width; i++)
            mean += r[i] * r[i] / (double) width;
        for (int64_t i = 0; i < width; i++)
            r[i] = r[i] / sqrt(mean + (double) EPS) * lf_f32(weight)[i];
    }
    lf_rms_norm(be, out, x, weight, EPS);
    expect_close(out, want, TOLERANCE);
    settle(be);
}

typedef void Case(LfBackend *be, int64_t n, int64_t width, bool flag);

static void all_cases(LfBackend *be, Case *one, bool flag)
{
    one(be, 1, 1, flag);
    for (int i = 0; i < 8; i++)
        one(be, random_odd(9), random_odd(99), flag);
    for (int i = 0; i < 4; i++)
        one(be, random_size(70), random_size(2000), flag);
    one(be, 480, 256, flag);
    one(be, 47, 1536, flag);
    one(be, 9, 4096, flag);
    one(be, 5, 5000, flag);
}

static void check_layer_norm_modulate(LfBackend *be)
{
    all_cases(be, layer_norm_case, true);
}

static void check_layer_norm(LfBackend *be)
{
    all_cases(be, layer_norm_case, false);
    zero_case(be, 2, 33);
    zero_case(be, 3, 1536);
}

static void check_rms_norm(LfBackend *be)
{
    all_cases(be, rms_norm_case, true);
    all_cases(be, rms_norm_case, false);
}

/* ---- over the channels of pixels ------------------------------------------------------------- */

/* Some pixels are 0, some so small that their squares are no floats. */
static LfTensor pixels(int64_t n_pixels, int64_t width, LfType type)
{
    LfTensor x = input(LF_F32, n_pixels, width);
    let_change(x);
    for (int64_t p = 0; p < n_pixels; p++) {
        int64_t kind = random_size(8);
        float factor = kind == 1 ? 0.0f : kind == 2 ? 1e-3f : kind == 3 ? 30.0f : 1.0f;
        for (int64_t i = 0; i < width; i++)
            lf_f32(x)[p * width + i] *= factor;
    }
    return hold(x, type);
}

static void pixel_norm_case(LfBackend *be, int64_t n_pixels, int64_t width, bool in_place)
{
    bool silu = random_size(2) == 1;
    LfTensor x = pixels(n_pixels, width, picture_of(be)), weight = input(LF_F32, width);
    LfTensor out = in_place ? x : hold(output(LF_F32, n_pixels, width), picture_of(be));
    double *want = as_double(x);
    for (int64_t p = 0; p < n_pixels; p++) {
        double *r = want + p * width, squares = 0.0;
        for (int64_t i = 0; i < width; i++)
            squares += r[i] * r[i];
        for (int64_t i = 0; i < width; i++) {
            double y = r[i] / fmax(sqrt(squares), 1e-12) * sqrt((double) width);
            y *= (double) lf_f32(weight)[i];
            r[i] = silu ? y / (1.0 + exp(-y)) : y;
        }
    }
    lf_pixel_norm(be, out, x, weight, silu);
    expect_close(out, want, allowed(out, TOLERANCE));
    settle(be);
}

static void check_pixel_norm(LfBackend *be)
{
    all_cases(be, pixel_norm_case, true);
    all_cases(be, pixel_norm_case, false);
    for (int i = 0; i < 3; i++) {
        pixel_norm_case(be, 77 + i, 24 << i, false);
        pixel_norm_case(be, 770 + i, 384, i == 1);
    }
}

static void bench_pixel_norm(LfBackend *be)
{
    static const int64_t widths[] = {24, 96, 384};
    for (size_t i = 0; i < G_N_ELEMENTS(widths); i++) {
        LfTensor x = input(LF_F32, 100000, widths[i]), out = output(LF_F32, 100000, widths[i]);
        LfTensor weight = input(LF_F32, widths[i]);
        char what[32];
        g_snprintf(what, sizeof what, "100000x%d silu", (int) widths[i]);
        BENCH(be, what, 0, 8.0 * 100000.0 * (double) widths[i])
        lf_pixel_norm(be, out, x, weight, true);
        settle(be);
    }
}

static void bench_norm(LfBackend *be, int64_t n, int64_t width, bool rms, const char *what)
{
    LfTensor x = input(LF_F32, n, width), out = output(LF_F32, n, width);
    LfTensor a = input(LF_F32, width);
    BENCH(be, what, 0, 8.0 * (double) (n * width))
    {
        if (rms)
            lf_rms_norm(be, out, x, a, EPS);
        else
            lf_layer_norm_modulate(be, out, x, a, a, EPS);
    }
    settle(be);
}

static void bench_layer_norm_modulate(LfBackend *be)
{
    bench_norm(be, 480, 256, false, "demo 480x256");
    bench_norm(be, 4608, 1536, false, "1.3B 4608x1536");
}

#define bench_layer_norm NULL

static void bench_rms_norm(LfBackend *be)
{
    bench_norm(be, 480, 256, true, "demo 480x256");
    bench_norm(be, 4608, 1536, true, "1.3B 4608x1536");
}

const CheckOp norm_ops[] = {CHECK_OP(layer_norm_modulate, .fp8 = true),
                            CHECK_OP(layer_norm, .fp8 = true),
                            CHECK_OP(rms_norm),
                            CHECK_OP(pixel_norm),
                            {0}};
