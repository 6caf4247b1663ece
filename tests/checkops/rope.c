/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"
#include "window.h"

#include <math.h>
#include <string.h>

#define EPS 1e-6f

/* ---- lf_qkv_norm_rope ------------------------------------------------------------------------ */

/* Any (cos, sin). The d/2 pairs are split among time, row and column, or, if tokens are in no
 * raster order, between time and token. */
static LfRope random_rope(const Geometry *g, bool ordered)
{
    int pairs = g->head_dim / 2;
    int n_row = (int) random_size(pairs - 2), n_col = (int) random_size(pairs - n_row - 1);
    if (!ordered)
        return (LfRope){
            .time = input(LF_F32, g->chunk, pairs - n_row - n_col, 2),
            .row = input(LF_F32, tokens_of(g), n_row + n_col, 2),
        };
    return (LfRope){
        .time = input(LF_F32, g->chunk, pairs - n_row - n_col, 2),
        .row = input(LF_F32, g->rows, n_row, 2),
        .col = input(LF_F32, g->cols, n_col, 2),
    };
}

static const float *angle_of(const LfRope *rope, const Geometry *g, int frame, int token, int pair)
{
    int64_t n_time = rope->time.shape[1], n_row = rope->row.shape[1], n_col = rope->col.shape[1];
    int row = lf_is_set(rope->col) ? token / g->cols : token, col = token % g->cols;
    if (pair < n_time)
        return lf_f32(rope->time) + (frame * n_time + pair) * 2;
    if (pair < n_time + n_row)
        return lf_f32(rope->row) + (row * n_row + pair - n_time) * 2;
    return lf_f32(rope->col) + (col * n_col + pair - n_time - n_row) * 2;
}

/* y [D] = rope(rms(x) ⊙ weight) of token `n` of the chunk. */
static void norm_rope_row(const Geometry *g, double *y, const float *x, const float *weight,
                          const LfRope *rope, int n)
{
    int width = g->heads * g->head_dim, token = n % tokens_of(g);
    double squares = 0.0;
    for (int i = 0; i < width; i++)
        squares += (double) x[i] * x[i];
    double factor = 1.0 / sqrt(squares / width + (double) EPS);
    for (int i = 0; i < width; i += 2) {
        double a = x[i] * factor * weight[i], b = x[i + 1] * factor * weight[i + 1];
        const float *angles = angle_of(rope, g, n / tokens_of(g), token, i % g->head_dim / 2);
        y[i] = a * angles[0] - b * angles[1];
        y[i + 1] = a * angles[1] + b * angles[0];
    }
}

/* Means over the blocks of every frame: [chunk·blocks, D] of y [chunk·T, D]. */
static double *means_of(const Geometry *g, const double *y, int block)
{
    int width = g->heads * g->head_dim, tokens = tokens_of(g), n = blocks_of(g, block);
    double *mean = reference((int64_t) g->chunk * n * width);
    for (int row = 0; row < rows_of(g); row++) {
        int index = row % tokens / block, left = tokens - index * block;
        double *m = mean + (int64_t) (row / tokens * n + index) * width;
        for (int i = 0; i < width; i++)
            m[i] += y[(int64_t) row * width + i] / MIN(left, block);
    }
    return mean;
}

/* y [chunk·n, D] as [H, chunk·n, d]. */
static double *heads_apart(const Geometry *g, const double *y, int n)
{
    int d = g->head_dim, width = g->heads * d, rows = g->chunk * n;
    double *out = reference((int64_t) rows * width);
    for (int h = 0; h < g->heads; h++)
        for (int row = 0; row < rows; row++)
            memcpy(out + ((int64_t) h * rows + row) * d, y + (int64_t) row * width + h * d,
                   (size_t) d * sizeof *out);
    return out;
}

/* The chunk's slots of a cache, [chunk, H, n, d], must equal y [chunk·n, D] but for the tolerance.
 * All other slots must be unchanged. */
static void expect_in_cache(const Geometry *g, const LfWindow *window, LfTensor cache,
                            const float *before, const double *y, int n, double tolerance)
{
    int d = g->head_dim, width = g->heads * d;
    double error = 0.0, norm = 0.0;
    for (int f = 0; f < g->chunk; f++)
        for (int h = 0; h < g->heads; h++)
            for (int row = 0; row < n; row++) {
                float *got = cache_row(window, cache, g->past + f, h, row);
                const double *want = y + (int64_t) (f * n + row) * width + h * d;
                for (int i = 0; i < d; i++) {
                    error += (got[i] - want[i]) * (got[i] - want[i]);
                    norm += want[i] * want[i];
                }
                memcpy(got, before + (got - lf_f32(cache)), (size_t) d * sizeof *got);
            }
    g_assert_true(sqrt(error) <= allowed(cache, tolerance) * sqrt(norm));
    expect_equal(cache, before);
}

/* The rows of q, k or v: part 0, 1 or 2, normed and rotated but for v. */
static double *part_of(const Geometry *g, LfTensor qkv, int part, LfTensor weight,
                       const LfRope *rope)
{
    int width = g->heads * g->head_dim;
    double *y = reference((int64_t) rows_of(g) * width);
    for (int n = 0; n < rows_of(g); n++) {
        const float *x = lf_f32(qkv) + (int64_t) n * 3 * width + part * width;
        if (part < 2)
            norm_rope_row(g, y + (int64_t) n * width, x, lf_f32(weight), rope, n);
        for (int i = 0; part == 2 && i < width; i++)
            y[(int64_t) n * width + i] = x[i];
    }
    return y;
}

static void qkv_case(LfBackend *be, const Geometry *g, bool pool, bool ordered)
{
    int width = g->heads * g->head_dim;
    LfWindow w = random_window(be, g);
    LfTensor qkv = activations(be, rows_of(g), 3 * width), q_weight = input(LF_F32, width);
    LfTensor k_weight = input(LF_F32, width);
    LfTensor q = output(LF_F32, g->heads, rows_of(g), g->head_dim);
    LfTensor q_pool = output(LF_F32, g->heads, query_blocks_of(g), g->head_dim);
    LfRope rope = random_rope(g, ordered);
    float *k_before = g_memdup2(w.k.data, lf_tensor_size(w.k));
    float *v_before = g_memdup2(w.v.data, lf_tensor_size(w.v));
    float *pool_before = g_memdup2(w.k_pool.data, lf_tensor_size(w.k_pool));

    lf_qkv_norm_rope(be, q, pool ? q_pool : LF_NONE, &w, qkv, q_weight, k_weight, &rope,
                     pool ? g->query_block : 0, EPS);
    double *y = part_of(g, qkv, 0, q_weight, &rope), *mean = means_of(g, y, g->query_block);
    expect_close(q, heads_apart(g, y, tokens_of(g)), 1e-6);
    if (pool)
        expect_close(q_pool, heads_apart(g, mean, blocks_of(g, g->query_block)), 2e-6);
    y = part_of(g, qkv, 1, k_weight, &rope);
    mean = means_of(g, y, g->key_block);
    expect_in_cache(g, &w, w.k, k_before, y, tokens_of(g), 1e-6);
    expect_in_cache(g, &w, w.k_pool, pool_before, mean, blocks_of(g, g->key_block), 2e-6);
    y = part_of(g, qkv, 2, LF_NONE, &rope);
    expect_in_cache(g, &w, w.v, v_before, y, tokens_of(g), 0.0);
    settle(be);
    g_free(k_before);
    g_free(v_before);
    g_free(pool_before);
}

static void check_qkv_norm_rope(LfBackend *be)
{
    for (int i = 0; i < 30; i++) {
        Geometry g = random_geometry();
        qkv_case(be, &g, i % 3 != 0, i % 4 != 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(demo_geometries); i++) {
        qkv_case(be, &demo_geometries[i], true, true);
        qkv_case(be, &demo_geometries[i], true, false);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(real_geometries); i++)
        qkv_case(be, &real_geometries[i], true, true);
    if (device_of(be)) {
        qkv_case(be, &device_geometries[1], true, true);
        for (int ordered = 0; ordered < 2; ordered++) {
            qkv_case(be, &(Geometry){12, 128, 32, 48, 1, 1, 128, 64}, true, ordered);
            qkv_case(be, &(Geometry){12, 128, 30, 52, 0, 2, 128, 64}, true, ordered);
        }
    }
}

static void bench_qkv(LfBackend *be, const Geometry *g, const char *what)
{
    int width = g->heads * g->head_dim;
    LfWindow w = random_window(be, g);
    LfTensor qkv = input(LF_F32, rows_of(g), 3 * width), weight = input(LF_F32, width);
    LfTensor q = output(LF_F32, g->heads, rows_of(g), g->head_dim);
    LfTensor q_pool = output(LF_F32, g->heads, query_blocks_of(g), g->head_dim);
    LfRope rope = random_rope(g, true);
    BENCH(be, what, 0, 24.0 * rows_of(g) * width)
    {
        lf_qkv_norm_rope(be, q, q_pool, &w, qkv, weight, weight, &rope, g->query_block, EPS);
    }
    settle(be);
}

static void bench_qkv_norm_rope(LfBackend *be)
{
    bench_qkv(be, &demo_geometries[0], "demo 480x3x256, blocks 32");
    bench_qkv(be, &(Geometry){12, 128, 32, 48, 0, 3, 64, 64}, "1.3B 4608x3x1536, blocks 64");
}

/* ---- lf_rope_shift --------------------------------------------------------------------------- */

static void shift_case(LfBackend *be, int heads, int n, int d, bool in_place)
{
    LfTensor x = input(LF_F32, heads, n, d), angles = input(LF_F32, random_size(d / 2), 2);
    hold(x, random_size(3) == 1 ? LF_F32 : activation_of(be)); /* means, keys */
    LfTensor out = in_place ? x : output(LF_F32, heads, n, d);
    if (in_place)
        let_change(x);
    double *want = as_double(x);
    for (int64_t row = 0; row < heads * n; row++)
        for (int64_t p = 0; p < angles.shape[0]; p++) {
            double *y = want + row * d + 2 * p, a = y[0], b = y[1];
            double cosine = lf_f32(angles)[2 * p], sine = lf_f32(angles)[2 * p + 1];
            y[0] = a * cosine - b * sine;
            y[1] = a * sine + b * cosine;
        }
    lf_rope_shift(be, out, x, angles);
    expect_close(out, want, 1e-6);
    settle(be);
}

static void check_rope_shift(LfBackend *be)
{
    for (int i = 0; i < 20; i++)
        shift_case(be, (int) random_size(4), (int) random_size(50), 2 * (int) random_size(40),
                   i % 2);
    shift_case(be, 12, 300, 128, true);
    shift_case(be, 12, 300, 128, false);
}

static void bench_shift(LfBackend *be, int heads, int n, int d, const char *what)
{
    LfTensor x = input(LF_F32, heads, n, d), out = output(LF_F32, heads, n, d);
    LfTensor angles = input(LF_F32, d / 6, 2);
    BENCH(be, what, 0, 8.0 * heads * n * d)
    {
        lf_rope_shift(be, out, x, angles);
    }
    settle(be);
}

static void bench_rope_shift(LfBackend *be)
{
    bench_shift(be, 4, 160, 64, "demo 4x160x64");
    bench_shift(be, 12, 1536, 128, "1.3B 12x1536x128");
}

const CheckOp rope_ops[] = {
    CHECK_OP(qkv_norm_rope, .by_shape = true), CHECK_OP(rope_shift, .by_shape = true), {0}};
