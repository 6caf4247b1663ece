/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"

#include <math.h>
#include <string.h>

#define TOLERANCE 5e-7

/* ---- text ------------------------------------------------------------------------------------ */

static void position_bias_case(LfBackend *be, int64_t heads, int64_t n, int64_t n_buckets)
{
    LfTensor table = input(LF_F32, n_buckets, heads), buckets = input(LF_I32, 2 * n - 1);
    LfTensor out = output(LF_F32, heads, n, n);
    double *want = reference(heads * n * n);
    let_change(buckets);
    for (int64_t i = 0; i < 2 * n - 1; i++)
        lf_i32(buckets)[i] = (int32_t) random_size(n_buckets) - 1;
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                int64_t bucket = lf_i32(buckets)[j - i + n - 1];
                want[(h * n + i) * n + j] = (double) lf_f32(table)[bucket * heads + h];
            }
    lf_position_bias(be, out, table, buckets);
    expect_close(out, want, 0.0);
    settle(be);
}

static void check_position_bias(LfBackend *be)
{
    for (int i = 0; i < 6; i++)
        position_bias_case(be, random_odd(9), random_odd(33), random_odd(40));
    position_bias_case(be, 3, 48, 32);
    position_bias_case(be, 3, 1, 32);
}

static void bench_position_bias(LfBackend *be)
{
    LfTensor table = input(LF_F32, 32, 64), buckets = input(LF_I32, 1023);
    LfTensor out = output(LF_F32, 64, 512, 512);
    let_change(buckets);
    for (int i = 0; i < 1023; i++)
        lf_i32(buckets)[i] = i % 32;
    BENCH(be, "umT5 64x512x512", 0, (double) lf_tensor_size(out))
    lf_position_bias(be, out, table, buckets);
    settle(be);
}

static void embedding_case(LfBackend *be, LfType type, int64_t n_rows, int64_t width, int64_t n_ids)
{
    LfTensor source = input(type, n_rows, width), ids = input(LF_I32, n_ids);
    LfTensor out = output(LF_F32, n_ids, width);
    if (type == LF_F32)
        hold(source, activation_of(be));
    GError *error = NULL;
    LfWeight *table = lf_weight_new(be, LF_WEIGHT_EMBEDDING, source, &error);
    g_assert_no_error(error);
    let_change(ids);
    double *from = as_double(source), *want = reference(n_ids * width);
    for (int64_t i = 0; i < n_ids; i++) {
        int64_t id = random_size(n_rows + 2) - 2; /* −1 … n_rows: both ends do not exist */
        lf_i32(ids)[i] = (int32_t) id;
        if (id >= 0 && id < n_rows)
            memcpy(want + i * width, from + id * width, (size_t) width * sizeof *want);
    }
    lf_embedding(be, out, table, ids);
    expect_close(out, want, 0.0);
    lf_weight_free(be, table);
    settle(be);
}

static void check_embedding(LfBackend *be)
{
    for (int i = 0; i < 6; i++)
        embedding_case(be, i % 2 ? LF_BF16 : LF_F32, random_odd(50), random_odd(99),
                       random_odd(20));
    embedding_case(be, LF_BF16, 4096, 192, 40);
}

#define bench_embedding NULL

static double gelu_tanh(double x)
{
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / G_PI) * (x + 0.044715 * x * x * x)));
}

static void gelu_gate_case(LfBackend *be, int64_t n, int64_t width, double scale)
{
    LfTensor gate = input(LF_F32, n, width), up = activations(be, n, width);
    let_change(gate);
    for (int64_t i = 0; i < n * width; i++)
        lf_f32(gate)[i] *= (float) scale;
    hold(gate, activation_of(be));
    double *want = as_double(gate);
    for (int64_t i = 0; i < n * width; i++)
        want[i] = gelu_tanh(want[i]) * lf_f32(up)[i];
    lf_gelu_gate(be, gate, up);
    expect_near(gate, want, TOLERANCE, 0.5 * scale);
    settle(be);
}

static void check_gelu_gate(LfBackend *be)
{
    for (int i = 0; i < 8; i++)
        gelu_gate_case(be, random_odd(9), random_odd(99), 1.0);
    gelu_gate_case(be, 33, 1024, 4.0);
    gelu_gate_case(be, 33, 1024, 0.01);
    gelu_gate_case(be, 3, 1024, 1000.0);
}

static void bench_gelu_gate(LfBackend *be)
{
    LfTensor gate = input(LF_F32, 512, 10240), up = input(LF_F32, 512, 10240);
    let_change(gate);
    BENCH(be, "umT5 512x10240", 0, 3.0 * (double) lf_tensor_size(gate))
    lf_gelu_gate(be, gate, up);
    settle(be);
}

/* ---- latents --------------------------------------------------------------------------------- */

/* Rounds x, which is F32, to numbers that the type of activations can hold. */
static void round_input(LfBackend *be, LfTensor x)
{
    hold(x, activation_of(be));
    hold(x, LF_F32);
}

/* Each of 0 … n − 1 once, in any order. */
static LfTensor random_order(int64_t n)
{
    LfTensor order = input(LF_I32, n);
    let_change(order);
    for (int64_t i = 0; i < n; i++) {
        int64_t other = random_size(i + 1) - 1;
        lf_i32(order)[i] = lf_i32(order)[other];
        lf_i32(order)[other] = (int32_t) i;
    }
    return order;
}

/* Both directions, from the definition; `first`: channels slowest in a row. */
static void patch_case(LfBackend *be, int64_t frames, int64_t channels, int64_t h, int64_t w,
                       bool first, bool ordered)
{
    LfTensor order = ordered ? random_order(h * w) : LF_NONE;
    LfTensor picture = first ? input(LF_F32, frames, channels, 2 * h, 2 * w)
                             : output(LF_F32, frames, channels, 2 * h, 2 * w);
    LfTensor rows = first ? output(LF_F32, frames * h * w, channels * 4)
                          : input(LF_F32, frames * h * w, channels * 4);
    if (first)
        round_input(be, picture);
    else
        hold(rows, activation_of(be));
    double *want = reference(lf_tensor_count(picture)), *from = as_double(first ? picture : rows);
    for (int64_t f = 0; f < frames; f++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < 2 * h; y++)
                for (int64_t x = 0; x < 2 * w; x++) {
                    int64_t patch = y / 2 * w + x / 2, part = 2 * (y % 2) + x % 2;
                    int64_t row = f * h * w + (ordered ? lf_i32(order)[patch] : patch);
                    int64_t pixel = ((f * channels + c) * 2 * h + y) * 2 * w + x;
                    if (first)
                        want[row * channels * 4 + c * 4 + part] = from[pixel];
                    else
                        want[pixel] = from[row * channels * 4 + part * channels + c];
                }
    if (first)
        lf_patchify(be, rows, picture, order);
    else
        lf_unpatchify(be, picture, rows, order);
    expect_close(first ? rows : picture, want, 0.0);
    settle(be);
}

static void patch_cases(LfBackend *be, bool first)
{
    for (int i = 0; i < 12; i++)
        patch_case(be, random_odd(3), random_odd(17), random_odd(9), random_odd(9), first, i % 2);
    patch_case(be, 3, 16, 10, 16, first, false);
    patch_case(be, 3, 16, 10, 16, first, true);
}

static void check_patchify(LfBackend *be)
{
    patch_cases(be, true);
}

static void check_unpatchify(LfBackend *be)
{
    patch_cases(be, false);
}

static void bench_patchify(LfBackend *be)
{
    LfTensor x = input(LF_F32, 3, 16, 60, 104), out = output(LF_F32, 3 * 30 * 52, 64);
    BENCH(be, "480x832 patchify", 0, 2.0 * (double) lf_tensor_size(x))
    lf_patchify(be, out, x, LF_NONE);
    settle(be);
}

static void bench_unpatchify(LfBackend *be)
{
    LfTensor out = output(LF_F32, 3, 16, 60, 104), x = input(LF_F32, 3 * 30 * 52, 64);
    BENCH(be, "480x832 unpatchify", 0, 2.0 * (double) lf_tensor_size(x))
    lf_unpatchify(be, out, x, LF_NONE);
    settle(be);
}

/* out = a·x + b·y; `place`: 0 apart, 1 out is x, 2 out is y. */
static void mix_case(LfBackend *be, int64_t n, int place, bool renoise)
{
    LfTensor x = input(LF_F32, n), y = input(LF_F32, n);
    LfTensor out = place == 0 ? output(LF_F32, n) : place == 1 ? x : y;
    float sigma = (float) random_uniform(0.0, 1.0);
    double *a = as_double(x), *b = as_double(y);
    for (int64_t i = 0; i < n; i++)
        a[i] = renoise ? (1.0 - (double) sigma) * a[i] + (double) sigma * b[i]
                       : a[i] - (double) sigma * b[i];
    let_change(out);
    if (renoise)
        lf_renoise(be, out, x, y, sigma);
    else
        lf_denoise(be, out, x, y, sigma);
    expect_near(out, a, TOLERANCE, 0.5);
    settle(be);
}

static void mix_cases(LfBackend *be, bool renoise)
{
    for (int i = 0; i < 9; i++)
        mix_case(be, i < 6 ? random_odd(99) : random_size(5000), i % 3, renoise);
}

static void check_denoise(LfBackend *be)
{
    mix_cases(be, false);
}

static void check_renoise(LfBackend *be)
{
    mix_cases(be, true);
}

#define bench_denoise NULL

static void bench_renoise(LfBackend *be)
{
    LfTensor x = input(LF_F32, 3, 16, 60, 104), out = output(LF_F32, 3, 16, 60, 104);
    BENCH(be, "480x832 renoise", 0, 3.0 * (double) lf_tensor_size(x))
    lf_renoise(be, out, x, x, 0.5f);
    settle(be);
}

/* ---- lf_amax --------------------------------------------------------------------------------- */

static void amax_case(LfBackend *be, int64_t n, int64_t width)
{
    LfTensor x = activations(be, n, width), out = output(LF_F32, 1);
    float largest = 0.0f;
    for (int64_t i = 0; i < n * width; i++)
        largest = fmaxf(largest, fabsf(lf_f32(x)[i]));
    lf_amax(be, out, x);
    expect_equal(out, &largest);
    settle(be);
}

static void check_amax(LfBackend *be)
{
    amax_case(be, 1, 1);
    for (int i = 0; i < 8; i++)
        amax_case(be, random_odd(33), random_odd(333));
    amax_case(be, 512, 1536);
}

#define bench_amax NULL

/* ---- decoder --------------------------------------------------------------------------------- */

static void latents_case(LfBackend *be, int64_t frames, int64_t channels, int64_t h, int64_t w)
{
    bool scaled = random_size(2) == 1, tanh_clamp = random_size(2) == 1;
    LfTensor x = input(LF_F32, frames, channels, h, w),
             out = hold(output(LF_F32, frames, h, w, channels), picture_of(be));
    LfTensor scale = scaled ? input(LF_F32, channels) : LF_NONE;
    LfTensor shift = scaled ? input(LF_F32, channels) : LF_NONE;
    double *from = as_double(x), *want = reference(lf_tensor_count(x));
    for (int64_t i = 0; i < lf_tensor_count(x); i++) {
        int64_t pixel = i % (h * w), channel = i / (h * w) % channels, f = i / (h * w * channels);
        double value = from[i];
        if (scaled)
            value = value * (double) lf_f32(scale)[channel] + (double) lf_f32(shift)[channel];
        want[(f * h * w + pixel) * channels + channel] =
            tanh_clamp ? 3.0 * tanh(value / 3.0) : value;
    }
    lf_take_latents(be, out, x, scale, shift, tanh_clamp);
    expect_near(out, want, allowed(out, TOLERANCE), scaled ? 1.0 : 0.0);
    settle(be);
}

static void check_take_latents(LfBackend *be)
{
    for (int i = 0; i < 12; i++)
        latents_case(be, random_odd(3), random_odd(17), random_odd(9), random_odd(9));
    for (int i = 0; i < 4; i++)
        latents_case(be, 3, 16, 20, 32);
}

static void bench_take_latents(LfBackend *be)
{
    LfTensor x = input(LF_F32, 3, 16, 60, 104), out = output(LF_F32, 3, 60, 104, 16);
    BENCH(be, "480x832 tanh", 0, 2.0 * (double) lf_tensor_size(x))
    lf_take_latents(be, out, x, LF_NONE, LF_NONE, true);
    settle(be);
}

static void rgb8_case(LfBackend *be, int64_t frames, int64_t h, int64_t w)
{
    LfTensor x = input(LF_F32, frames, h, w, 3), out = output(LF_U8, frames, h, w, 3);
    uint8_t *want = g_malloc(lf_tensor_size(out));
    static const float special[] = {0.0f, -0.0f, 1.0f, 255.0f / 256.0f, INFINITY, -INFINITY, 0.5f};
    let_change(x);
    for (int64_t i = 0; i < lf_tensor_count(x); i++) {
        float *value = lf_f32(x) + i;
        if (random_size(20) == 1)
            *value = special[random_size(G_N_ELEMENTS(special)) - 1];
    }
    hold(x, picture_of(be));
    for (int64_t i = 0; i < lf_tensor_count(x); i++)
        want[i] = (uint8_t) (255.0f * fminf(fmaxf(lf_f32(x)[i], 0.0f), 1.0f));
    lf_rgb8(be, out, x);
    expect_equal(out, want);
    g_free(want);
    settle(be);
}

static void check_rgb8(LfBackend *be)
{
    for (int i = 0; i < 8; i++)
        rgb8_case(be, random_odd(3), random_odd(33), random_odd(33));
    rgb8_case(be, 2, 160, 256);
}

static void bench_rgb8(LfBackend *be)
{
    LfTensor x = input(LF_F32, 12, 160, 256, 3), out = output(LF_U8, 12, 160, 256, 3);
    BENCH(be, "demo 12x160x256", 0, 5.0 * (double) lf_tensor_count(x))
    lf_rgb8(be, out, x);
    settle(be);
}

const CheckOp pointwise_ops[] = {CHECK_OP(position_bias),
                                 CHECK_OP(embedding),
                                 CHECK_OP(gelu_gate),
                                 CHECK_OP(patchify),
                                 CHECK_OP(unpatchify),
                                 CHECK_OP(denoise),
                                 CHECK_OP(renoise),
                                 CHECK_OP(take_latents),
                                 CHECK_OP(rgb8),
                                 CHECK_OP(amax),
                                 {0}};
