/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"
#include "device.h"

#include <math.h>

/* out [n, c] of one frame x [n, 3·c] */
static void attend(double *out, const float *x, int64_t n, int64_t c)
{
#pragma omp parallel for if (n * n * c > 100000)
    for (int64_t i = 0; i < n; i++) {
        double largest = -INFINITY, total = 0.0, *scores = g_new(double, n);
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < c; k++)
                sum += (double) x[i * 3 * c + k] * (double) x[j * 3 * c + c + k];
            scores[j] = sum / sqrt((double) c);
            largest = fmax(largest, scores[j]);
        }
        for (int64_t j = 0; j < n; j++)
            total += scores[j] = exp(scores[j] - largest);
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < c; k++)
                out[i * c + k] += scores[j] / total * (double) x[j * 3 * c + 2 * c + k];
        g_free(scores);
    }
}

static void frame_case(LfBackend *be, int64_t frames, int64_t n, int64_t c)
{
    LfTensor x = pictures(be, frames, n, 3 * c), out = output(LF_F32, frames, n, c);
    double *want = reference(frames * n * c);
    held_as(out, picture_of(be));
    for (int64_t f = 0; f < frames; f++)
        attend(want + f * n * c, lf_f32(x) + f * n * 3 * c, n, c);
    lf_frame_attention(be, out, x);
    expect_close(out, want, device_of(be) ? 2e-3 : 2e-6);
    settle(be);
}

static void check_frame_attention(LfBackend *be)
{
    static const int64_t widths[] = {16, 24, 32, 96, 112, 128, 144, 384};
    frame_case(be, 1, 1, 1);
    for (int i = 0; i < 8; i++)
        frame_case(be, random_odd(3), random_odd(99), random_odd(99));
    for (size_t i = 0; i < G_N_ELEMENTS(widths); i++)
        frame_case(be, random_size(3), random_size(200), widths[i]);
    if (device_of(be))
        frame_case(be, 2, 60 * 26, 384);
}

static void bench_frame_attention(LfBackend *be)
{
    LfTensor x = input(LF_F32, 1, 60 * 104, 3 * 96), out = output(LF_F32, 1, 60 * 104, 96);
    BENCH(be, "60x104 96", 4.0 * 60 * 104 * 60 * 104 * 96, 0)
    lf_frame_attention(be, out, x);
    settle(be);
}

const CheckOp frame_attention_ops[] = {CHECK_OP(frame_attention, .by_shape = true), {0}};
