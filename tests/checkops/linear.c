/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"
#include "device.h"

#include <math.h>
#include <stdio.h>

#define TOLERANCE 1e-6

static double gelu_tanh(double x)
{
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / G_PI) * (x + 0.044715 * x * x * x)));
}

static double activated(double x, LfActivation activation)
{
    if (activation == LF_ACT_GELU_TANH)
        return gelu_tanh(x);
    return activation == LF_ACT_SILU ? x / (1.0 + exp(-x)) : x;
}

/* x·Wᵀ + bias [N, O]; the weight's rows with their scales. */
static double *product(LfTensor x, LfTensor weight, LfTensor bias)
{
    int64_t n_rows = x.shape[0], n_in = x.shape[1], n_out = weight.shape[0];
    double *a = as_double(x), *w = as_double(weight), *out = reference(n_rows * n_out);
#pragma omp parallel for if (n_rows * n_out * n_in > 100000)
    for (int64_t n = 0; n < n_rows; n++)
        for (int64_t o = 0; o < n_out; o++) {
            double sum = 0.0, scale = weight.scales ? weight.scales[o] : 1.0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n_in; i++)
                sum += a[n * n_in + i] * w[o * n_in + i];
            out[n * n_out + o] = scale * sum + (lf_is_set(bias) ? lf_f32(bias)[o] : 0.0);
        }
    return out;
}

/* Rows in E4M3 with a scale each, so that numbers are about 1. A device may hold code · scale in
 * BF16, which is exact for a power of two. */
static LfTensor input_codes(LfBackend *be, LfWeightKind kind, int64_t n_out, int64_t n_in)
{
    bool held = !device_of(be) || (is_fp8(be) && kind == LF_WEIGHT_LINEAR_FP8);
    LfTensor codes = input(LF_F8_E4M3, n_out, n_in), scales = input(LF_F32, n_out);
    for (int64_t row = 0; row < n_out; row++)
        lf_f32(scales)[row] =
            held ? (float) random_uniform(0.005, 0.02) : ldexpf(1.0f, -5 - (int) random_size(3));
    let_change(scales);
    codes.scales = lf_f32(scales);
    return codes;
}

static LfWeight *new_weight_of(LfBackend *be, LfWeightKind kind, LfTensor source)
{
    GError *error = NULL;
    LfWeight *weight = lf_weight_new(be, kind, source, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lf_weight_out(weight), ==, source.shape[0]);
    g_assert_cmpint(lf_weight_in(weight), ==, source.shape[1]);
    return weight;
}

static LfWeightKind kind_for(LfBackend *be)
{
    return is_fp8(be) ? LF_WEIGHT_LINEAR_FP8 : LF_WEIGHT_LINEAR;
}

static LfWeight *new_weight(LfBackend *be, LfTensor source)
{
    return new_weight_of(be, kind_for(be), source);
}

/* ---- operands ----
 *
 * On a device in FP8 a weight of F32 and what it multiplies are rounded to F8_E4M3 before the
 * reference is computed; with a weight of BF16 the reference has what stood there before, and the
 * tolerance is that of rounding both. A weight of F8_E4M3 is held as it is. */

typedef struct {
    LfTensor source, x, bias;
    double *product;
    double tolerance;
} Operands;

/* Hopper's tensor cores add products of E4M3 with about 14 bits. Compared with float64 on an H100,
 * the error of cuBLASLt's fast products is 0.7e-3, 1.3e-3 and 2.1e-3 of their norm over 1536, 4096
 * and 8960 channels: 2.2e-5·√channels. */
static double tolerance_of_sums(int64_t n_in)
{
    return fmax(1e-3, 5e-5 * sqrt((double) n_in));
}

/* The largest error of a single sum, in units of a typical sum. The error grows with the sum; of
 * 260,000 of these sums over 8960 channels the worst error was 3e-2. */
static double worst_of_sums(int64_t n_in)
{
    return fmax(2e-3, 4e-4 * sqrt((double) n_in));
}

/* The error of rounding both operands to E4M3 is 3.7e-2 in the mean; more for few numbers. */
static double tolerance_of_rounding(int64_t n, int64_t n_in, int64_t n_out)
{
    return 5e-2 * (1.0 + 4.0 / sqrt((double) (n_in * MIN(n, n_out))));
}

static Operands random_operands(LfBackend *be, LfType type, int64_t n, int64_t n_in, int64_t n_out)
{
    Operands o = {.x = input(LF_F32, n, n_in)};
    bool fp8 = is_fp8(be), rounded = fp8 && type != LF_BF16;
    o.source =
        type == LF_F8_E4M3 ? input_codes(be, kind_for(be), n_out, n_in) : input(type, n_out, n_in);
    o.bias = random_size(3) > 1 ? input(LF_F32, n_out) : LF_NONE;
    if (type == LF_F32) {
        o.source = fp8 ? hold_rows(o.source) : hold(o.source, activation_of(be));
        o.source.scales = NULL;
    }
    o.x = rounded ? hold_rows(o.x) : fp8 ? o.x : hold(o.x, activation_of(be));
    o.product = product(o.x, o.source, o.bias);
    if (fp8 && !rounded)
        o.x = hold_rows(o.x);
    o.tolerance = rounded         ? tolerance_of_sums(n_in)
                  : fp8           ? tolerance_of_rounding(n, n_in, n_out)
                  : device_of(be) ? 1e-5
                                  : TOLERANCE;
    return o;
}

static void linear_case(LfBackend *be, LfType type, int64_t n, int64_t n_in, int64_t n_out)
{
    Operands o = random_operands(be, type, n, n_in, n_out);
    LfTensor out = output(LF_F32, n, n_out);
    LfActivation activation = (LfActivation) random_size(3) - 1;
    LfWeight *weight = new_weight(be, o.source);
    bool fp8 = is_fp8(be) && type != LF_BF16 && random_size(2) == 1;
    if (fp8)
        out = hold_rows(out);
    for (int64_t i = 0; i < n * n_out; i++)
        o.product[i] = activated(o.product[i], activation);
    lf_linear(be, out, o.x, weight, o.bias, activation);
    expect_near(out, o.product, o.tolerance, sqrt((double) n_in));
    if (fp8)
        expect_quantised(out, o.product, worst_of_sums(n_in) * sqrt((double) n_in));
    lf_weight_free(be, weight);
    settle(be);
}

static void residual_case(LfBackend *be, LfType type, int64_t n, int64_t n_in, int64_t n_out)
{
    Operands o = random_operands(be, type, n, n_in, n_out);
    LfTensor x = input(LF_F32, n, n_out);
    LfTensor gate = random_size(3) > 1 ? input(LF_F32, n_out) : LF_NONE;
    LfWeight *weight = new_weight(be, o.source);
    double largest = 1.0;
    hold(x, random_size(2) == 1 ? LF_F32 : activation_of(be));
    for (int64_t i = 0; i < n * n_out; i++) {
        double by = lf_is_set(gate) ? (double) lf_f32(gate)[i % n_out] : 1.0;
        o.product[i] = (double) lf_f32(x)[i] + by * o.product[i];
        largest = fmax(largest, fabs(by));
    }
    let_change(x);
    lf_linear_residual(be, x, o.x, weight, o.bias, gate);
    expect_near(x, o.product, o.tolerance, largest * sqrt((double) n_in));
    lf_weight_free(be, weight);
    settle(be);
}

typedef void Case(LfBackend *be, LfType type, int64_t n, int64_t n_in, int64_t n_out);

/* Small odd sizes, then any, then those of the models (fewer rows), all weight types of files. */
static void all_cases(LfBackend *be, Case *one)
{
    static const LfType types[] = {LF_F32, LF_BF16, LF_F8_E4M3};
    for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
        one(be, types[t], 1, 1, 1);
        for (int i = 0; i < 6; i++)
            one(be, types[t], random_odd(9), random_odd(67), random_odd(67));
        for (int i = 0; i < 4; i++)
            one(be, types[t], random_size(600), random_size(300), random_size(300));
        one(be, types[t], 480, 256, 768);
        one(be, types[t], 480, 768, 256);
        one(be, types[t], 1, 256, 1536);
        one(be, types[t], 7, 1536, 2053);
        one(be, types[t], 33, 8960, 130);
        one(be, types[t], 9, 40, 1); /* a vector; the last tile has one column */
        one(be, types[t], 9, 40, 385);
    }
    if (!device_of(be))
        return;
    one(be, LF_F32, 1560, 256, 768);
    one(be, LF_F32, 200, 1536, 4608);
    one(be, LF_F32, 129, 8960, 1536);
    one(be, LF_BF16, 256, 1536, 8960);
    one(be, LF_F8_E4M3, 129, 8960, 1536);
}

/* Operands in the device's activation type, the result in F8_E4M3: a product that is not in FP8
 * before products that are, like the text's embedding before the k and v of cross attention. */
static void into_fp8_case(LfBackend *be, LfType type, int64_t n, int64_t n_in, int64_t n_out)
{
    LfTensor source = type == LF_F8_E4M3 ? input_codes(be, LF_WEIGHT_LINEAR, n_out, n_in)
                                         : input(type, n_out, n_in);
    if (type == LF_F32)
        hold(source, activation_of(be));
    LfTensor x = activations(be, n, n_in), out = hold_rows(output(LF_F32, n, n_out));
    LfTensor bias = random_size(2) == 1 ? input(LF_F32, n_out) : LF_NONE;
    LfWeight *weight = new_weight_of(be, LF_WEIGHT_LINEAR, source);
    double *want = product(x, source, bias);
    lf_linear(be, out, x, weight, bias, LF_ACT_NONE);
    expect_quantised(out, want, 1e-4 * sqrt((double) n_in));
    lf_weight_free(be, weight);
    settle(be);
}

static void check_linear(LfBackend *be)
{
    all_cases(be, linear_case);
    if (is_fp8(be))
        all_cases(be, into_fp8_case);
}

static void check_linear_residual(LfBackend *be)
{
    all_cases(be, residual_case);
}

/* ---- benchmarks: the demo model, then Wan 1.3B ----------------------------------------------- */

static const struct {
    int64_t n, n_in, n_out;
    LfActivation activation;
    const char *name;
} shapes[] =
    {
        {480, 256, 768, LF_ACT_NONE, "demo qkv"},
        {480, 256, 768, LF_ACT_GELU_TANH, "demo ffn up"},
        {4608, 1536, 4608, LF_ACT_NONE, "1.3B qkv"},
        {4608, 1536, 8960, LF_ACT_GELU_TANH, "1.3B ffn up"},
        {16, 1536, 8960, LF_ACT_GELU_TANH, "16 rows"},
},
  residual_shapes[] = {
      {480, 256, 256, LF_ACT_NONE, "demo out"},
      {480, 768, 256, LF_ACT_NONE, "demo ffn down"},
      {4608, 1536, 1536, LF_ACT_NONE, "1.3B out"},
      {4608, 8960, 1536, LF_ACT_NONE, "1.3B ffn down"},
};

static void bench_one(LfBackend *be, LfType type, int64_t n, int64_t n_in, int64_t n_out,
                      const char *name, LfActivation activation, bool residual)
{
    LfTensor source = input(type, n_out, n_in), x = input(LF_F32, n, n_in);
    LfTensor out = input(LF_F32, n, n_out), row = input(LF_F32, n_out);
    LfWeight *weight = new_weight(be, source);
    char what[96];
    g_snprintf(what, sizeof what, "%s %s %dx%dx%d%s", name, lf_type_name(type), (int) n, (int) n_in,
               (int) n_out, activation ? " gelu" : "");
    let_change(out);
    BENCH(be, what, 2.0 * (double) (n * n_in * n_out), 0)
    {
        if (residual)
            lf_linear_residual(be, out, x, weight, row, row);
        else
            lf_linear(be, out, x, weight, row, activation);
    }
    lf_weight_free(be, weight);
    settle(be);
}

static void bench_linear(LfBackend *be)
{
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        for (LfType type = LF_F32; type <= LF_BF16; type++)
            bench_one(be, type, shapes[i].n, shapes[i].n_in, shapes[i].n_out, shapes[i].name,
                      shapes[i].activation, false);
}

static void bench_linear_residual(LfBackend *be)
{
    for (size_t i = 0; i < G_N_ELEMENTS(residual_shapes); i++)
        for (LfType type = LF_F32; type <= LF_BF16; type++)
            bench_one(be, type, residual_shapes[i].n, residual_shapes[i].n_in,
                      residual_shapes[i].n_out, residual_shapes[i].name, LF_ACT_NONE, true);
}

const CheckOp linear_ops[] = {CHECK_OP(linear, .by_shape = true, .fp8 = true),
                              CHECK_OP(linear_residual, .by_shape = true, .fp8 = true),
                              {0}};
