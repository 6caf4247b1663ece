/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"
#include "window.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the reference --------------------------------------------------------------------------- */

/* out [d] = softmax(q·kᵀ/√d)·v over the keys of the blocks in `row`, or over the window for
 * NULL. */
static void reference_row(const Geometry *g, const LfWindow *window, int head, const float *q,
                          const int32_t *row, int budget, double *out)
{
    int d = g->head_dim, tokens = tokens_of(g), per_frame = blocks_of(g, g->key_block);
    int n_blocks = row ? budget : key_blocks_of(g), n = 0;
    double *scores = g_new(double, (gsize) frames_of(g) * tokens), largest = -INFINITY, total = 0.0;
    const float **values = g_new(const float *, (gsize) frames_of(g) * tokens);
    for (int i = 0; i < n_blocks; i++) {
        int block = row ? row[i] : i, first = block % per_frame * g->key_block;
        for (int t = first; t < MIN(first + g->key_block, tokens); t++, n++) {
            const float *k = cache_row(window, window->k, block / per_frame, head, t);
            double sum = 0.0;
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < d; c++)
                sum += (double) q[c] * k[c];
            scores[n] = sum / sqrt(d);
            largest = fmax(largest, scores[n]);
            values[n] = cache_row(window, window->v, block / per_frame, head, t);
        }
    }
    memset(out, 0, (size_t) d * sizeof *out);
    for (int i = 0; i < n; i++)
        total += scores[i] = exp(scores[i] - largest);
    for (int i = 0; i < n; i++)
        for (int c = 0; c < d; c++)
            out[c] += scores[i] / total * values[i][c];
    g_free(scores);
    g_free(values);
}

static double *reference_attention(const Geometry *g, const LfWindow *window, LfTensor q,
                                   LfTensor table)
{
    int d = g->head_dim, n = rows_of(g), budget = (int) table.shape[2];
    double *out = reference((int64_t) n * g->heads * d);
#pragma omp parallel for collapse(2) if (n * d > 5000)
    for (int h = 0; h < g->heads; h++)
        for (int i = 0; i < n; i++) {
            int64_t block = (int64_t) h * query_blocks_of(g) + query_block_of(g, i);
            const int32_t *row = lf_is_set(table) ? lf_i32(table) + block * budget : NULL;
            reference_row(g, window, h, lf_f32(q) + ((int64_t) h * n + i) * d, row, budget,
                          out + ((int64_t) i * g->heads + h) * d);
        }
    return out;
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* `budget` blocks of the window for each query block, at random, ascending. */
static LfTensor random_table(const Geometry *g, int budget)
{
    LfTensor table = input(LF_I32, g->heads, query_blocks_of(g), budget);
    int n = key_blocks_of(g);
    let_change(table);
    for (int row = 0; row < g->heads * query_blocks_of(g); row++)
        for (int i = 0, taken = 0; i < n && taken < budget; i++)
            if (random_size(n - i) <= budget - taken)
                lf_i32(table)[row * budget + taken++] = i;
    return table;
}

/* Keys and values that no query block of a head keeps become NaN: they must not be read. */
static void poison_unselected(const Geometry *g, const LfWindow *window, LfTensor table)
{
    int per_frame = blocks_of(g, g->key_block);
    int64_t per_head = query_blocks_of(g) * table.shape[2];
    for (int h = 0; h < g->heads; h++)
        for (int block = 0; block < key_blocks_of(g); block++) {
            bool kept = false;
            for (int64_t i = 0; i < per_head; i++)
                kept |= lf_i32(table)[h * per_head + i] == block;
            int first = block % per_frame * g->key_block;
            for (int t = first; !kept && t < MIN(first + g->key_block, tokens_of(g)); t++)
                for (int c = 0; c < g->head_dim; c++) {
                    cache_row(window, window->k, block / per_frame, h, t)[c] = NAN;
                    cache_row(window, window->v, block / per_frame, h, t)[c] = NAN;
                }
        }
}

/* budget 0: dense. The larger the `scale` of queries, the fewer keys have nearly all the weight. */
static void attention_case(LfBackend *be, const Geometry *g, int budget, float scale)
{
    LfWindow w = random_window(be, g);
    LfTensor q = activations(be, g->heads, rows_of(g), g->head_dim);
    LfTensor out = output(LF_F32, rows_of(g), g->heads * g->head_dim), table = LF_NONE;
    let_change(q);
    for (int64_t i = 0; i < lf_tensor_count(q); i++)
        lf_f32(q)[i] *= scale;
    hold(q, activation_of(be));
    if (budget) {
        table = random_table(g, budget);
        poison_unselected(g, &w, table);
    }
    double *want = reference_attention(g, &w, q, table);
    bool fp8 = is_fp8(be) && random_size(3) > 1;
    if (fp8) {
        w.v_amax = amax_over(w.v);
        out = hold_rows(out);
    }
    lf_attention(be, out, q, &w, table, budget ? g->query_block : 0);
    /* A score's error grows with the score; that of the sum with the keys, while the sum itself,
     * a mean of random values, shrinks. */
    double keys = budget ? budget * g->key_block : frames_of(g) * tokens_of(g);
    expect_close(out, want, (1e-6 + 1e-9 * keys) * fmax(1.0, (double) scale));
    if (fp8)
        expect_quantised_share(out, want, 0.05);
    settle(be);
}

/* With a table of all blocks the result is that of dense attention, but for rounding. */
static void whole_table_case(LfBackend *be, const Geometry *g)
{
    LfWindow w = random_window(be, g);
    LfTensor q = activations(be, g->heads, rows_of(g), g->head_dim);
    LfTensor dense = output(LF_F32, rows_of(g), g->heads * g->head_dim);
    LfTensor sparse = output(LF_F32, rows_of(g), g->heads * g->head_dim);
    LfTensor q_pool = input(LF_F32, g->heads, query_blocks_of(g), g->head_dim);
    LfTensor table = output(LF_I32, g->heads, query_blocks_of(g), key_blocks_of(g));
    LfSelection all = {g->past + 1, 0, 0};
    lf_select_blocks(be, table, q_pool, &w, &all);
    lf_attention(be, dense, q, &w, LF_NONE, 0);
    lf_attention(be, sparse, q, &w, table, g->query_block);
    expect_close(sparse, as_double(dense), 2e-6);
    settle(be);
}

static void device_cases(LfBackend *be, const Geometry *g)
{
    Geometry two_to_one = *g, small = *g;
    two_to_one.query_block = 64;
    small.head_dim = 64;
    attention_case(be, g, 0, 1.0f);
    attention_case(be, g, 1, 1.0f);
    attention_case(be, g, 8, 1.0f);
    attention_case(be, g, 17, 30.0f);
    attention_case(be, &two_to_one, 9, 1.0f);
    attention_case(be, &small, 9, 1.0f);
    whole_table_case(be, g);
}

static void check_attention(LfBackend *be)
{
    for (int i = 0; i < 30; i++) {
        Geometry g = random_geometry();
        int n = key_blocks_of(&g);
        attention_case(be, &g, 0, i % 5 ? 1.0f : 30.0f);
        attention_case(be, &g,
                       i % 4 == 0   ? 1
                       : i % 4 == 1 ? n
                                    : (int) random_size(n),
                       i % 5 ? 1.0f : 30.0f);
        whole_table_case(be, &g);
    }
    Geometry g = demo_geometries[random_size(2) - 1];
    g.heads = 1;
    attention_case(be, &g, 0, 1.0f);
    attention_case(be, &g, (int) (0.1165 * key_blocks_of(&g)), 1.0f);
    g = real_geometries[random_size(4) - 1];
    attention_case(be, &g, 0, 1.0f);
    for (size_t i = 0; i < G_N_ELEMENTS(real_geometries); i++)
        attention_case(be, &real_geometries[i], 5, 1.0f);
    for (size_t i = 0; device_of(be) && i < G_N_ELEMENTS(device_geometries); i++)
        device_cases(be, &device_geometries[i]);
}

/* ---- benchmark ------------------------------------------------------------------------------- */

/* Pairs of query and key in the table, of all heads. */
static double pairs_of(const Geometry *g, LfTensor table)
{
    int per_frame = blocks_of(g, g->key_block), budget = (int) table.shape[2];
    double pairs = 0.0;
    for (int n = 0; n < rows_of(g); n++)
        for (int h = 0; h < g->heads; h++) {
            int64_t row = (int64_t) h * query_blocks_of(g) + query_block_of(g, n);
            for (int i = 0; i < budget; i++) {
                int first = lf_i32(table)[row * budget + i] % per_frame * g->key_block;
                pairs += MIN(g->key_block, tokens_of(g) - first);
            }
        }
    return pairs;
}

static void bench_window(LfBackend *be, const Geometry *g, double sparsity, const char *what)
{
    LfWindow w = random_window(be, g);
    LfTensor q = input(LF_F32, g->heads, rows_of(g), g->head_dim);
    LfTensor out = output(LF_F32, rows_of(g), g->heads * g->head_dim);
    LfTensor table = random_table(g, (int) ((1.0 - sparsity) * key_blocks_of(g)));
    double pairs = (double) g->heads * rows_of(g) * frames_of(g) * tokens_of(g);
    char *name = g_strdup_printf("%s, dense", what);
    BENCH(be, name, 4.0 * pairs * g->head_dim, 0)
    {
        lf_attention(be, out, q, &w, LF_NONE, 0);
    }
    g_free(name);
    double dense = bench_time(), kept = pairs_of(g, table);
    name = g_strdup_printf("%s, %d of %d blocks", what, (int) table.shape[2], key_blocks_of(g));
    BENCH(be, name, 4.0 * kept * g->head_dim, 0)
    {
        lf_attention(be, out, q, &w, table, g->query_block);
    }
    printf("    %.2f times as fast as dense, with %.2f times fewer products\n",
           dense / bench_time(), pairs / kept);
    g_free(name);
    settle(be);
}

static void bench_attention(LfBackend *be)
{
    bench_window(be, &demo_geometries[0], 0.8835, "demo 480x1920, blocks 32");
    bench_window(be, &demo_geometries[1], 0.8835, "demo 480x1920, blocks 16");
    /* One head of 12: all have the same cost. */
    bench_window(be, &(Geometry){1, 128, 32, 48, 18, 3, 64, 64}, 0.8982, "1.3B 4608x32256 a head");
    bench_window(be, &(Geometry){1, 128, 30, 52, 18, 3, 128, 128}, 0.8182,
                 "1.3B 4680x32760 a head");
}

const CheckOp attention_ops[] = {CHECK_OP(attention, .by_shape = true, .fp8 = true), {0}};
