/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reference picks the best blocks one after the other. With small integers as inputs every
 * score is exact, there are many ties, and the tables must be identical. With other inputs they
 * must be identical unless the scores of the last block kept and the first one dropped differ by
 * less than rounding.
 */
#include "device.h"
#include "window.h"

#include <math.h>
#include <string.h>

typedef struct {
    Geometry g;
    LfWindow window;
    LfTensor q_pool, table;
    LfSelection selection;
} Case;

/* ---- the reference --------------------------------------------------------------------------- */

static double score(const Case *c, int head, int query, int block)
{
    const Geometry *g = &c->g;
    int per_frame = blocks_of(g, g->key_block);
    const float *q =
        lf_f32(c->q_pool) + ((int64_t) head * query_blocks_of(g) + query) * g->head_dim;
    const float *k =
        cache_row(&c->window, c->window.k_pool, block / per_frame, head, block % per_frame);
    double sum = 0.0;
    for (int i = 0; i < g->head_dim; i++)
        sum += (double) q[i] * k[i];
    return sum;
}

/* Marks the n_keep best of those that may be kept; of equal ones the first. Returns by how much the
 * last one kept is better than the best one dropped. */
static double mark_best(bool *kept, const bool *may, const double *scores, int n, int n_keep)
{
    double last = INFINITY;
    memset(kept, 0, (size_t) n * sizeof *kept);
    for (int round = 0; round <= n_keep; round++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (may[i] && !kept[i] && (best < 0 || scores[i] > scores[best]))
                best = i;
        if (best < 0 || round == n_keep)
            return best < 0 ? INFINITY : last - scores[best];
        kept[best] = true;
        last = scores[best];
    }
    return INFINITY;
}

/* Marks the frames that stay candidates; returns the margin. */
static double mark_frames(const Case *c, bool *stays, const double *scores)
{
    const Geometry *g = &c->g;
    const LfSelection *s = &c->selection;
    int frames = frames_of(g), per_frame = blocks_of(g, g->key_block);
    double *means = g_new0(double, frames), margin = INFINITY;
    bool *may = g_new0(bool, frames);
    for (int f = 0; f < frames; f++) {
        for (int b = 0; b < per_frame; b++)
            means[f] += scores[f * per_frame + b];
        means[f] /= per_frame; /* last, so that equal sums stay equal */
        may[f] = f >= s->keep_sink && f < g->past - s->keep_near;
        stays[f] = true;
    }
    if (g->past > s->keep_frames) {
        bool *kept = g_new0(bool, frames);
        margin = mark_best(kept, may, means, frames, s->keep_frames - s->keep_sink - s->keep_near);
        for (int f = 0; f < frames; f++)
            stays[f] = kept[f] || !may[f];
        g_free(kept);
    }
    g_free(may);
    g_free(means);
    return margin;
}

/* The table's row of one query; returns the smaller margin of the two selections. */
static double reference_row(const Case *c, int head, int query, int32_t *row)
{
    int n = key_blocks_of(&c->g), per_frame = blocks_of(&c->g, c->g.key_block);
    double *scores = g_new(double, n);
    bool *stays = g_new0(bool, frames_of(&c->g)), *may = g_new0(bool, n), *kept = g_new0(bool, n);
    for (int i = 0; i < n; i++)
        scores[i] = score(c, head, query, i);
    double margin = mark_frames(c, stays, scores);
    for (int i = 0; i < n; i++)
        may[i] = stays[i / per_frame];
    margin = fmin(margin, mark_best(kept, may, scores, n, (int) c->table.shape[2]));
    for (int i = 0; i < n; i++)
        if (kept[i])
            *row++ = i;
    g_free(scores);
    g_free(stays);
    g_free(may);
    g_free(kept);
    return margin;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static int candidates_of(const Geometry *g, const LfSelection *s)
{
    return (MIN(g->past, s->keep_frames) + g->chunk) * blocks_of(g, g->key_block);
}

static LfSelection random_selection(const Geometry *g)
{
    LfSelection s = {.keep_frames = (int) random_size(g->past + 2) - 1};
    s.keep_sink = (int) random_size(s.keep_frames + 1) - 1;
    s.keep_near = (int) random_size(s.keep_frames - s.keep_sink + 1) - 1;
    return s;
}

/* budget 0: any. */
static Case new_case(LfBackend *be, const Geometry *g, const LfSelection *selection, int budget)
{
    int candidates = candidates_of(g, selection);
    if (!budget)
        budget = (int) random_size(candidates);
    Case c = {.g = *g, .window = random_window(be, g), .selection = *selection};
    c.q_pool = input(LF_F32, g->heads, query_blocks_of(g), g->head_dim);
    c.table = output(LF_I32, g->heads, query_blocks_of(g), MIN(budget, candidates));
    return c;
}

/* Integers from −size to size, in every finite place. */
static void make_coarse(LfTensor t, int size)
{
    let_change(t);
    for (int64_t i = 0; i < lf_tensor_count(t); i++)
        if (!isnan(lf_f32(t)[i]))
            lf_f32(t)[i] = (float) (random_size(2 * size + 1) - 1 - size);
}

static void make_grid(Case *c, int size)
{
    make_coarse(c->q_pool, size);
    make_coarse(c->window.k_pool, size);
}

static int32_t *reference_table(const Case *c, double *margins)
{
    int n = query_blocks_of(&c->g), budget = (int) c->table.shape[2];
    int32_t *want = g_new(int32_t, lf_tensor_count(c->table));
    for (int i = 0; i < c->g.heads * n; i++)
        margins[i] = reference_row(c, i / n, i % n, want + (int64_t) i * budget);
    return want;
}

static void run_exact(LfBackend *be, Case *c)
{
    double *margins = g_new(double, c->g.heads *query_blocks_of(&c->g));
    int32_t *want = reference_table(c, margins);
    lf_select_blocks(be, c->table, c->q_pool, &c->window, &c->selection);
    expect_equal(c->table, want);
    g_free(want);
    g_free(margins);
}

static void expect_valid(const Case *c, const int32_t *row)
{
    int per_frame = blocks_of(&c->g, c->g.key_block), past = 0, last_frame = -1;
    for (int i = 0; i < c->table.shape[2]; i++) {
        g_assert_cmpint(row[i], >, i ? row[i - 1] : -1);
        g_assert_cmpint(row[i], <, key_blocks_of(&c->g));
        int frame = row[i] / per_frame;
        past += frame < c->g.past && frame != last_frame;
        last_frame = frame;
    }
    g_assert_cmpint(past, <=, c->selection.keep_frames);
}

static void run_real(LfBackend *be, Case *c)
{
    int n = c->g.heads * query_blocks_of(&c->g), budget = (int) c->table.shape[2], close = 0;
    double *margins = g_new(double, n);
    int32_t *want = reference_table(c, margins);
    lf_select_blocks(be, c->table, c->q_pool, &c->window, &c->selection);
    for (int i = 0; i < n; i++) {
        const int32_t *row = lf_i32(c->table) + (int64_t) i * budget;
        expect_valid(c, row);
        bool certain = margins[i] > 1e-6 * c->g.head_dim;
        close += !certain;
        if (certain)
            g_assert_cmpmem(row, (size_t) budget * 4, want + (int64_t) i * budget,
                            (size_t) budget * 4);
    }
    g_test_message("%d of %d queries too close to call", close, n);
    g_assert_cmpint(close, <=, 3 + n / 20);
    g_free(want);
    g_free(margins);
}

static void one_case(LfBackend *be, const Geometry *g, const LfSelection *selection, int budget)
{
    Case c = new_case(be, g, selection, budget);
    run_real(be, &c);
    make_grid(&c, 1 + (int) random_size(3));
    run_exact(be, &c);
    settle(be);
}

/* A device keeps the blocks that the CPU keeps, unless rounding decides. */
static void same_as_cpu_case(LfBackend *be, const Geometry *g, const LfSelection *selection,
                             int budget)
{
    Case c = new_case(be, g, selection, budget);
    int n = g->heads * query_blocks_of(g), different = 0;
    size_t row = (size_t) c.table.shape[2] * sizeof(int32_t);
    LfTensor other = output(LF_I32, g->heads, query_blocks_of(g), c.table.shape[2]);
    g_autofree double *margins = g_new(double, n);
    g_autofree int32_t *unused = reference_table(&c, margins);
    LfBackend *cpu = lf_backend_open_cpu(0, NULL);
    lf_select_blocks(be, c.table, c.q_pool, &c.window, &c.selection);
    lf_select_blocks(cpu, other, c.q_pool, &c.window, &c.selection);
    lf_backend_close(cpu);
    for (int i = 0; i < n; i++)
        if (memcmp((char *) c.table.data + (size_t) i * row, (char *) other.data + (size_t) i * row,
                   row)) {
            different++;
            g_assert_cmpfloat(margins[i], <=, 1e-6 * g->head_dim);
        }
    g_test_message("%d of %d tables are not the CPU's", different, n);
    g_assert_cmpint(different, <=, 1 + n / 100);
    settle(be);
}

/* The published windows and budgets, with the real number of blocks in a frame. */
static void published_cases(LfBackend *be)
{
    static const LfSelection short_video = {6, 1, 2}, long_video = {3, 1, 1};
    for (size_t i = 0; i < G_N_ELEMENTS(real_geometries); i++) {
        Geometry g = real_geometries[i];
        g.chunk = 3;
        g.past = 18;
        g.head_dim = 8;
        one_case(be, &g, &short_video, (int) (0.1018 * key_blocks_of(&g)));
        g.past = 9;
        one_case(be, &g, &long_video, (int) (0.1165 * key_blocks_of(&g)));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(demo_geometries); i++) {
        const Geometry *g = &demo_geometries[i];
        one_case(be, g, &long_video, (int) (0.1165 * key_blocks_of(g)));
        one_case(be, g, &long_video, 0);
    }
}

static void device_cases(LfBackend *be)
{
    Geometry wan = {12, 128, 32, 48, 18, 3, 128, 64}, odd = {12, 128, 30, 52, 9, 3, 128, 64};
    same_as_cpu_case(be, &wan, &(LfSelection){6, 1, 2}, 51);
    same_as_cpu_case(be, &odd, &(LfSelection){3, 1, 1}, 35);
    one_case(be, &wan, &(LfSelection){6, 1, 2}, 51);
    one_case(be, &odd, &(LfSelection){3, 1, 1}, 35);
}

static void bounds_case(LfBackend *be, int budget)
{
    Geometry g = random_geometry();
    LfSelection all = {g.past, 0, 0}, some = random_selection(&g);
    one_case(be, &g, &all, budget);
    one_case(be, &g, &some, budget);
}

static void scale_by(LfTensor t, float scale)
{
    let_change(t);
    for (int64_t i = 0; i < lf_tensor_count(t); i++)
        lf_f32(t)[i] *= scale;
}

/* With a query of zeros every score is 0: the first blocks of the first frames are kept. The same
 * when all products underflow to zeros of both signs. */
static void tie_case(LfBackend *be)
{
    Geometry g = random_geometry();
    LfSelection selection = random_selection(&g);
    Case c = new_case(be, &g, &selection, 0), zero = c;
    zero.q_pool = input(LF_F32, g.heads, query_blocks_of(&g), g.head_dim);
    scale_by(zero.q_pool, 0.0f);
    run_exact(be, &zero);
    int32_t *want = g_memdup2(c.table.data, lf_tensor_size(c.table));
    scale_by(c.q_pool, 1e-30f);
    scale_by(c.window.k_pool, 1e-30f);
    lf_select_blocks(be, c.table, c.q_pool, &c.window, &selection);
    expect_equal(c.table, want);
    g_free(want);
    settle(be);
}

/* The same constant added to every score changes nothing: channel 0 of all queries is 1. */
static void constant_case(LfBackend *be)
{
    Geometry g = random_geometry();
    LfSelection selection = random_selection(&g);
    Case c = new_case(be, &g, &selection, 0);
    make_grid(&c, 2);
    for (int64_t i = 0; i < lf_tensor_count(c.q_pool); i += g.head_dim)
        lf_f32(c.q_pool)[i] = 1.0f;
    lf_select_blocks(be, c.table, c.q_pool, &c.window, &selection);
    int32_t *before = g_memdup2(c.table.data, lf_tensor_size(c.table));
    float constant = (float) (random_size(2001) - 1001);
    for (int64_t i = 0; i < lf_tensor_count(c.window.k_pool); i += g.head_dim)
        lf_f32(c.window.k_pool)[i] += constant;
    lf_select_blocks(be, c.table, c.q_pool, &c.window, &selection);
    expect_equal(c.table, before);
    g_free(before);
    settle(be);
}

static void check_select_blocks(LfBackend *be)
{
    for (int i = 0; i < 40; i++) {
        Geometry g = random_geometry();
        LfSelection selection = random_selection(&g);
        one_case(be, &g, &selection, 0);
    }
    for (int i = 0; i < 10; i++) {
        bounds_case(be, 1);
        bounds_case(be, INT_MAX);
        tie_case(be);
        constant_case(be);
    }
    published_cases(be);
    if (device_of(be))
        device_cases(be);
}

static void bench_select(LfBackend *be, const Geometry *g, const LfSelection *selection,
                         double sparsity, const char *what)
{
    Case c = new_case(be, g, selection, (int) ((1.0 - sparsity) * key_blocks_of(g)));
    double scores = (double) g->heads * query_blocks_of(g) * key_blocks_of(g);
    BENCH(be, what, 2.0 * scores * g->head_dim, 0)
    {
        lf_select_blocks(be, c.table, c.q_pool, &c.window, selection);
    }
    settle(be);
}

static void bench_select_blocks(LfBackend *be)
{
    Geometry wan = {12, 128, 32, 48, 18, 3, 64, 64};
    bench_select(be, &demo_geometries[0], &(LfSelection){3, 1, 1}, 0.8835, "demo, 6 of 60 blocks");
    bench_select(be, &demo_geometries[1], &(LfSelection){3, 1, 1}, 0.8835, "demo, blocks of 16");
    bench_select(be, &wan, &(LfSelection){6, 1, 2}, 0.8982, "1.3B, 51 of 504 blocks");
}

const CheckOp select_ops[] = {CHECK_OP(select_blocks, .by_shape = true), {0}};
