/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"
#include "device.h"

#include <math.h>
#include <string.h>

#define TOLERANCE 1.5e-6 /* sums of up to 2,304 products, one after the other */

/* sums [f, h, w, O] += conv3×3(x [f, h, w, I]) with channels [first, first + I) of the weight
 * [O, all, 3, 3], straight from the definition. */
static void add_conv(double *sums, const double *x, const int64_t *shape, LfTensor weight,
                     int64_t first)
{
    int64_t h = shape[1], w = shape[2], n_in = shape[3], n_out = weight.shape[0];
    double *taps = reference(9 * n_out * n_in); /* [9, O, I] */
    for (int64_t i = 0; i < 9 * n_out * n_in; i++)
        taps[i] =
            (double) lf_f32(weight)[(i / n_in % n_out * weight.shape[1] + first + i % n_in) * 9 +
                                    i / (n_in * n_out)];
#pragma omp parallel for if (shape[0] * h * w * n_in * n_out > 20000)
    for (int64_t pixel = 0; pixel < shape[0] * h * w; pixel++)
        for (int k = 0; k < 9; k++) {
            int64_t row = pixel / w % h + k / 3 - 1, column = pixel % w + k % 3 - 1;
            if (row < 0 || row >= h || column < 0 || column >= w)
                continue;
            const double *from = x + (pixel + (k / 3 - 1) * w + k % 3 - 1) * n_in;
            const double *tap = taps + k * n_out * n_in;
            for (int64_t o = 0; o < n_out; o++, tap += n_in) {
                double sum = 0.0;
#pragma omp simd reduction(+ : sum)
                for (int64_t i = 0; i < n_in; i++)
                    sum += from[i] * tap[i];
                sums[pixel * n_out + o] += sum;
            }
        }
}

static void rectify(double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = fmax(values[i], 0.0);
}

static LfWeight *new_weight(LfBackend *be, LfWeightKind kind, LfTensor source)
{
    GError *error = NULL;
    LfWeight *weight = lf_weight_new(be, kind, source, &error);
    g_assert_no_error(error);
    return weight;
}

typedef struct {
    int64_t frames, h, w, n_x, n_past, n_out;
    bool residual, in_place, relu, bias;
    bool wide; /* a device's output is F32 */
} Shape;

/* A device adds in another order, and its inputs have 11 bits. */
static double tolerance_of(LfBackend *be)
{
    return device_of(be) ? 1e-5 : TOLERANCE;
}

static void conv_case(LfBackend *be, Shape s)
{
    LfType type = s.wide ? LF_F32 : picture_of(be);
    LfTensor x = pictures(be, s.frames, s.h, s.w, s.n_x);
    LfTensor past = s.n_past ? pictures(be, s.frames, s.h, s.w, s.n_past) : LF_NONE;
    LfTensor source = pictures(be, s.n_out, s.n_x + s.n_past, 3, 3);
    LfTensor bias = s.bias ? input(LF_F32, s.n_out) : LF_NONE, residual = LF_NONE;
    if (s.residual)
        residual = hold(input(LF_F32, s.frames, s.h, s.w, s.n_out), type);
    LfTensor out = s.in_place ? residual : output(LF_F32, s.frames, s.h, s.w, s.n_out);
    LfWeight *weight = new_weight(be, LF_WEIGHT_CONV3X3, source);
    double *want = s.residual ? as_double(residual) : reference(lf_tensor_count(out));
    for (int64_t i = 0; i < lf_tensor_count(out) && s.bias; i++)
        want[i] += lf_f32(bias)[i % s.n_out];
    add_conv(want, as_double(x), x.shape, source, 0);
    if (s.n_past)
        add_conv(want, as_double(past), past.shape, source, s.n_x);
    if (s.relu)
        rectify(want, lf_tensor_count(out));
    let_change(out);
    held_as(out, type);
    lf_conv3x3(be, out, x, past, weight, bias, residual, s.relu);
    expect_near(out, want, tolerance_of(be), sqrt(9.0 * (double) (s.n_x + s.n_past)));
    lf_weight_free(be, weight);
    settle(be);
}

static void any_conv(LfBackend *be, int64_t frames, int64_t h, int64_t w, int64_t n_x,
                     int64_t n_past, int64_t n_out)
{
    Shape s = {.frames = frames, .h = h, .w = w, .n_x = n_x, .n_past = n_past, .n_out = n_out};
    s.residual = random_size(2) == 1;
    s.in_place = s.residual && random_size(2) == 1;
    s.relu = random_size(2) == 1;
    s.bias = random_size(3) > 1;
    s.wide = random_size(3) == 1;
    conv_case(be, s);
}

static void check_conv3x3(LfBackend *be)
{
    static const int64_t real[][3] = {{16, 0, 64},  {64, 64, 64}, {48, 48, 48}, {16, 16, 16},
                                      {16, 0, 3},   {64, 0, 48},  {128, 0, 64}, {24, 24, 24},
                                      {256, 0, 32}, {3, 0, 16}};
    any_conv(be, 1, 1, 1, 1, 0, 1);
    for (int i = 0; i < 10; i++)
        any_conv(be, random_odd(3), random_odd(9), random_odd(35), random_odd(35),
                 i % 2 ? 0 : random_odd(35), random_odd(35));
    for (int i = 0; i < 6; i++)
        any_conv(be, random_size(3), random_size(20), random_size(70), random_size(40),
                 random_size(20), random_size(70));
    for (size_t i = 0; i < G_N_ELEMENTS(real); i++)
        any_conv(be, 2, 10, 16 * random_size(4), real[i][0], real[i][1], real[i][2]);
    if (!device_of(be))
        return;
    any_conv(be, 1, 33, 96, 256, 256, 256);
    any_conv(be, 3, 64, 96, 64, 0, 64);
    any_conv(be, 2, 30, 104, 128, 128, 128);
    any_conv(be, 1, 120, 208, 64, 64, 64);
    any_conv(be, 1, 96, 832, 64, 0, 3);
}

/* ---- with upsampling ------------------------------------------------------------------------- */

static double *upsampled(LfTensor x)
{
    int64_t h = x.shape[1], w = x.shape[2], n = x.shape[3];
    double *big = reference(4 * lf_tensor_count(x));
    for (int64_t i = 0; i < 4 * lf_tensor_count(x); i++) {
        int64_t channel = i % n, column = i / n % (2 * w), row = i / n / (2 * w) % (2 * h);
        int64_t frame = i / n / (4 * w * h);
        big[i] = lf_f32(x)[((frame * h + row / 2) * w + column / 2) * n + channel];
    }
    return big;
}

static void up2_case(LfBackend *be, int64_t frames, int64_t h, int64_t w, int64_t n_in,
                     int64_t n_out)
{
    bool relu = random_size(2) == 1;
    LfTensor x = pictures(be, frames, h, w, n_in), source = pictures(be, n_out, n_in, 3, 3);
    LfTensor out = output(LF_F32, frames, 2 * h, 2 * w, n_out);
    LfTensor bias = random_size(2) == 1 ? input(LF_F32, n_out) : LF_NONE;
    LfWeight *weight = new_weight(be, LF_WEIGHT_CONV_UP2, source);
    double *want = reference(lf_tensor_count(out));
    for (int64_t i = 0; i < lf_tensor_count(out) && lf_is_set(bias); i++)
        want[i] = lf_f32(bias)[i % n_out];
    add_conv(want, upsampled(x), (const int64_t[]){frames, 2 * h, 2 * w, n_in}, source, 0);
    if (relu)
        rectify(want, lf_tensor_count(out));
    lf_conv3x3_up2(be, out, x, weight, bias, relu);
    expect_near(out, want, tolerance_of(be), sqrt(9.0 * (double) n_in));
    lf_weight_free(be, weight);
    settle(be);
}

static void check_conv3x3_up2(LfBackend *be)
{
    up2_case(be, 1, 1, 1, 1, 1);
    for (int i = 0; i < 10; i++)
        up2_case(be, random_odd(3), random_odd(9), random_odd(35), random_odd(35), random_odd(35));
    for (int i = 0; i < 6; i++)
        up2_case(be, random_size(3), random_size(20), random_size(40), random_size(70),
                 random_size(70));
    up2_case(be, 2, 8, 32, 64, 48);
    up2_case(be, 2, 8, 64, 48, 16);
    up2_case(be, 2, 8, 64, 16, 16);
    up2_case(be, 1, 5, 13, 256, 64);
    if (!device_of(be))
        return;
    up2_case(be, 1, 32, 48, 256, 128);
    up2_case(be, 2, 60, 104, 128, 64);
    up2_case(be, 1, 120, 208, 64, 64);
}

/* ---- over time ------------------------------------------------------------------------------- */

typedef struct {
    int64_t frames, h, w, n_in, n_out;
    int times, side;
} Shape3d;

/* sums += one frame [h, w, I] under the taps of one time of the weight [O, I, t, k, k], straight from
 * the definition. */
static void add_frame(double *sums, const float *x, const Shape3d *s, const float *weight, int time)
{
    int64_t area = s->side * s->side;
#pragma omp parallel for if (s->h * s->w * s->n_in * s->n_out > 2000)
    for (int64_t pixel = 0; pixel < s->h * s->w; pixel++)
        for (int64_t tap = 0; tap < area; tap++) {
            int64_t row = pixel / s->w + tap / s->side - s->side / 2;
            int64_t column = pixel % s->w + tap % s->side - s->side / 2;
            if (row < 0 || row >= s->h || column < 0 || column >= s->w)
                continue;
            const float *from = x + (row * s->w + column) * s->n_in;
            for (int64_t o = 0; o < s->n_out; o++)
                for (int64_t i = 0; i < s->n_in; i++)
                    sums[pixel * s->n_out + o] +=
                        (double) from[i] *
                        (double) weight[((o * s->n_in + i) * s->times + time) * area + tap];
        }
}

static void conv3d_case(LfBackend *be, Shape3d s)
{
    bool biased = random_size(3) > 1, added = random_size(2) == 1, wide = random_size(3) == 1;
    LfType type = wide ? LF_F32 : picture_of(be);
    LfTensor x = pictures(be, s.frames, s.h, s.w, s.n_in), past = LF_NONE, residual = LF_NONE;
    LfTensor source = pictures(be, s.n_out, s.n_in, s.times, s.side, s.side);
    LfTensor bias = biased ? input(LF_F32, s.n_out) : LF_NONE;
    if (s.times > 1)
        past = pictures(be, s.times - 1, s.h, s.w, s.n_in);
    if (added)
        residual = hold(input(LF_F32, s.frames, s.h, s.w, s.n_out), type);
    bool in_place = added && random_size(2) == 1;
    LfTensor out = in_place ? residual : output(LF_F32, s.frames, s.h, s.w, s.n_out);
    LfWeight *weight = new_weight(be, LF_WEIGHT_CONV3D, source);
    double *want = added ? as_double(residual) : reference(lf_tensor_count(out));
    int64_t picture = s.h * s.w * s.n_out, frame = s.h * s.w * s.n_in;
    for (int64_t i = 0; i < lf_tensor_count(out) && biased; i++)
        want[i] += lf_f32(bias)[i % s.n_out];
    for (int64_t f = 0; f < s.frames; f++)
        for (int time = 0; time < s.times; time++) {
            int64_t from = f - s.times + 1 + time;
            add_frame(want + f * picture,
                      from < 0 ? lf_f32(past) + (s.times - 1 + from) * frame
                               : lf_f32(x) + from * frame,
                      &s, lf_f32(source), time);
        }
    let_change(out);
    held_as(out, type);
    lf_conv3d(be, out, x, past, weight, bias, residual);
    double terms = (double) (s.n_in * s.times * s.side * s.side);
    expect_near(out, want, terms > 3000 ? 2 * tolerance_of(be) : tolerance_of(be), sqrt(terms));
    lf_weight_free(be, weight);
    settle(be);
}

static void check_conv3d(LfBackend *be)
{
    static const int64_t real[][2] = {{16, 24}, {24, 24}, {48, 24}, {24, 3},  {16, 96},
                                      {96, 96}, {96, 3},  {48, 96}, {64, 64}, {192, 40}};
    static const int taps[][2] = {{3, 3}, {3, 1}, {1, 1}, {1, 3}};
    for (int i = 0; i < 4; i++)
        conv3d_case(be, (Shape3d){1, 1, 1, 1, 1, taps[i][0], taps[i][1]});
    for (int i = 0; i < 16; i++)
        conv3d_case(be, (Shape3d){random_size(4), random_odd(11), random_odd(35), random_odd(35),
                                  random_odd(35), taps[i % 4][0], taps[i % 4][1]});
    for (int i = 0; i < 8; i++)
        conv3d_case(be, (Shape3d){random_size(5), random_size(20), random_size(40), random_size(20),
                                  random_size(40), taps[i % 3][0], taps[i % 3][1]});
    for (size_t i = 0; i < G_N_ELEMENTS(real); i++)
        for (int j = 0; j < 3; j++)
            conv3d_case(be, (Shape3d){random_size(3), random_size(10), 8 * random_size(3),
                                      real[i][0], real[i][1], taps[j][0], taps[j][1]});
    if (!device_of(be))
        return;
    conv3d_case(be, (Shape3d){3, 30, 52, 384, 384, 3, 3});
    conv3d_case(be, (Shape3d){2, 60, 52, 384, 384, 3, 1});
    conv3d_case(be, (Shape3d){4, 64, 96, 96, 96, 3, 3});
    conv3d_case(be, (Shape3d){4, 60, 104, 96, 3, 3, 3});
}

/* ---- benchmarks: the demo's decoder on one chunk, then TAEHV at 480×832 ---------------------- */

static double conv_flops(Shape s)
{
    return 18.0 * (double) (s.frames * s.h * s.w * (s.n_x + s.n_past) * s.n_out);
}

static void bench_conv(LfBackend *be, Shape s)
{
    LfTensor x = input(LF_F32, s.frames, s.h, s.w, s.n_x);
    LfTensor past = s.n_past ? input(LF_F32, s.frames, s.h, s.w, s.n_past) : LF_NONE;
    LfTensor source = input(LF_F32, s.n_out, s.n_x + s.n_past, 3, 3), bias = input(LF_F32, s.n_out);
    LfTensor out = output(LF_F32, s.frames, s.h, s.w, s.n_out);
    LfWeight *weight = new_weight(be, LF_WEIGHT_CONV3X3, source);
    char what[96];
    g_snprintf(what, sizeof what, "%dx%dx%d %d+%d->%d%s", (int) s.frames, (int) s.h, (int) s.w,
               (int) s.n_x, (int) s.n_past, (int) s.n_out, s.residual ? " +residual" : "");
    if (s.residual)
        memset(out.data, 0, lf_tensor_size(out));
    BENCH(be, what, conv_flops(s), 0)
    lf_conv3x3(be, out, x, past, weight, bias, s.residual ? out : LF_NONE, true);
    lf_weight_free(be, weight);
    settle(be);
}

static void bench_conv3x3(LfBackend *be)
{
    static const Shape shapes[] = {
        {.frames = 3, .h = 20, .w = 32, .n_x = 16, .n_out = 64},
        {.frames = 3, .h = 20, .w = 32, .n_x = 64, .n_past = 64, .n_out = 64},
        {.frames = 3, .h = 20, .w = 32, .n_x = 64, .n_out = 64, .residual = true},
        {.frames = 3, .h = 40, .w = 64, .n_x = 48, .n_past = 48, .n_out = 48},
        {.frames = 3, .h = 40, .w = 64, .n_x = 48, .n_out = 48, .residual = true},
        {.frames = 6, .h = 80, .w = 128, .n_x = 16, .n_past = 16, .n_out = 16},
        {.frames = 6, .h = 80, .w = 128, .n_x = 16, .n_out = 16, .residual = true},
        {.frames = 12, .h = 160, .w = 256, .n_x = 16, .n_out = 3},
        {.frames = 3, .h = 60, .w = 104, .n_x = 256, .n_out = 256},
        {.frames = 6, .h = 240, .w = 416, .n_x = 64, .n_past = 64, .n_out = 64},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        bench_conv(be, shapes[i]);
}

/* FLOPs are counted as for the 3×3 form, so a share of the peak may exceed 1. */
static void bench_up2(LfBackend *be, int64_t frames, int64_t h, int64_t w, int64_t n_in,
                      int64_t n_out)
{
    LfTensor x = input(LF_F32, frames, h, w, n_in), source = input(LF_F32, n_out, n_in, 3, 3);
    LfTensor out = output(LF_F32, frames, 2 * h, 2 * w, n_out);
    LfWeight *weight = new_weight(be, LF_WEIGHT_CONV_UP2, source);
    char what[96];
    g_snprintf(what, sizeof what, "%dx%dx%d %d->%d (FLOP of 2x2 form)", (int) frames, (int) h,
               (int) w, (int) n_in, (int) n_out);
    BENCH(be, what, 32.0 * (double) (frames * h * w * n_in * n_out), 0)
    lf_conv3x3_up2(be, out, x, weight, LF_NONE, true);
    lf_weight_free(be, weight);
    settle(be);
}

static void bench_conv3x3_up2(LfBackend *be)
{
    bench_up2(be, 3, 20, 32, 64, 48);
    bench_up2(be, 6, 40, 64, 48, 16);
    bench_up2(be, 12, 80, 128, 16, 16);
    bench_up2(be, 12, 240, 416, 64, 64);
}

/* LightVAE, in part at half its size. */
static void bench_conv3d(LfBackend *be)
{
    static const Shape3d shapes[] = {
        {3, 60, 104, 96, 96, 3, 3},  {3, 60, 104, 96, 96, 3, 1}, {4, 240, 416, 48, 48, 3, 3},
        {4, 240, 416, 24, 24, 3, 3}, {4, 240, 416, 24, 3, 3, 3}, {1, 60, 104, 384, 384, 3, 3},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        Shape3d s = shapes[i];
        LfTensor x = input(LF_F32, s.frames, s.h, s.w, s.n_in), bias = input(LF_F32, s.n_out);
        LfTensor past = input(LF_F32, s.times - 1, s.h, s.w, s.n_in);
        LfTensor source = input(LF_F32, s.n_out, s.n_in, s.times, s.side, s.side);
        LfTensor out = output(LF_F32, s.frames, s.h, s.w, s.n_out);
        LfWeight *weight = new_weight(be, LF_WEIGHT_CONV3D, source);
        char what[96];
        g_snprintf(what, sizeof what, "%dx%dx%d %d->%d, %dx%dx%d", (int) s.frames, (int) s.h,
                   (int) s.w, (int) s.n_in, (int) s.n_out, s.times, s.side, s.side);
        double products = (double) (s.frames * s.h * s.w * s.n_in * s.n_out);
        BENCH(be, what, 2.0 * s.times * s.side * s.side * products, 0)
        lf_conv3d(be, out, x, past, weight, bias, LF_NONE);
        lf_weight_free(be, weight);
        settle(be);
    }
}

const CheckOp conv_ops[] = {CHECK_OP(conv3x3, .by_shape = true),
                            CHECK_OP(conv3x3_up2, .by_shape = true),
                            CHECK_OP(conv3d, .by_shape = true),
                            {0}};
