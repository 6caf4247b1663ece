/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Chunk-Aware Growth: the published check values, and the definition of β: the plan costs what a
 * uniform target would.
 */
#include "engine/growth.h"

#include <glib.h>
#include <math.h>

static const struct {
    LfGrowth growth;
    double beta;
    int n;
    double sparsity[11];
    double last; /* of the planned chunks */
} published[] = {
    {{0.88, 0.98, 3, 21, 21}, 0.374795, 7, {0, .8270, .8551, .8718, .8832, .8917, .8982}, .8982},
    {{0.80, 0.90, 3, 21, 21}, 0.374795, 7, {0, .7470, .7751, .7918, .8032, .8117, .8182}, .8182},
    {{0.85, 0.95, 3, 12, 63},
     0.527932,
     11,
     {0, .7345, .7740, .7976, .8137, .8256, .8348, .8422, .8484, .8536, .8581},
     .8835},
    {{0.88, 0.98, 1, 21, 21}, 0.352498, 7, {0, .7307, .7765, .8038, .8224, .8361, .8468}, .9031},
    {{0.85, 0.95, 1, 12, 63}, 0.511737, 7, {0, .5881, .6545, .6941, .7211, .7411, .7566}, .8855},
};

static void assert_near(double a, double b, double tolerance)
{
    g_assert_cmpfloat_with_epsilon(a, b, tolerance);
}

static void test_published(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(published); i++) {
        const LfGrowth *g = &published[i].growth;
        assert_near(lf_growth_beta(g), published[i].beta, 5e-7);
        for (int chunk = 0; chunk < published[i].n; chunk++)
            assert_near(lf_growth_sparsity(g, (uint64_t) chunk), published[i].sparsity[chunk],
                        5.1e-5);
        uint64_t planned = (uint64_t) (g->horizon / g->chunk);
        assert_near(lf_growth_sparsity(g, planned - 1), published[i].last, 5.1e-5);
        assert_near(lf_growth_sparsity(g, planned), published[i].last, 5.1e-5);
        assert_near(lf_growth_sparsity(g, UINT64_MAX - 1), published[i].last, 5.1e-5);
    }
}

static LfGrowth random_growth(void)
{
    double base = g_test_rand_double_range(0.9, 0.999);
    int chunk = g_test_rand_int_range(1, 6);
    return (LfGrowth){.target = base - g_test_rand_double_range(0.01, 0.1),
                      .base = base,
                      .chunk = chunk,
                      .window = g_test_rand_bit() ? chunk * g_test_rand_int_range(1, 9) : 0,
                      .horizon = chunk * g_test_rand_int_range(4, 60)};
}

/* Σ (1 − s_i)·L_i = (1 − target)·Σ L_i over chunks 2 … N, if no s_i was clamped. */
static void test_cost(void)
{
    int compared = 0;
    for (int i = 0; i < 500; i++) {
        LfGrowth g = random_growth();
        double cost = 0, uniform = 0, least = 1;
        for (int chunk = 1; chunk < g.horizon / g.chunk; chunk++) {
            double attended = (chunk + 1) * g.chunk;
            if (g.window > 0)
                attended = MIN(attended, g.window);
            double s = lf_growth_sparsity(&g, (uint64_t) chunk);
            g_assert_true(s >= 0 && s < 1);
            cost += (1 - s) * attended;
            uniform += (1 - g.target) * attended;
            least = MIN(least, s);
        }
        if (least > 0) {
            assert_near(cost, uniform, 1e-9 * uniform);
            compared++;
        }
    }
    g_assert_cmpint(compared, >, 250);
}

static void test_grows(void)
{
    for (int i = 0; i < 500; i++) {
        LfGrowth g = random_growth();
        g_assert_cmpfloat(lf_growth_sparsity(&g, 0), ==, 0);
        for (uint64_t chunk = 1; chunk < 80; chunk++)
            g_assert_cmpfloat(lf_growth_sparsity(&g, chunk), <=, lf_growth_sparsity(&g, chunk + 1));
    }
}

static void test_one_chunk_is_dense(void)
{
    LfGrowth g = {.target = 0.88, .base = 0.98, .chunk = 3, .window = 21, .horizon = 3};
    g_assert_cmpfloat(lf_growth_beta(&g), ==, 0);
    for (uint64_t chunk = 0; chunk < 5; chunk++)
        g_assert_cmpfloat(lf_growth_sparsity(&g, chunk), ==, 0);
}

static void test_clamped(void)
{
    LfGrowth low = {.target = 0.05, .base = 0.9, .chunk = 3, .window = 0, .horizon = 63};
    g_assert_cmpfloat(lf_growth_sparsity(&low, 1), ==, 0);
    LfGrowth high = {.target = 0.99, .base = 0.5, .chunk = 3, .window = 0, .horizon = 63};
    g_assert_cmpfloat(lf_growth_sparsity(&high, 1), <, 1);
}

static void test_budget(void)
{
    g_assert_cmpint(lf_block_budget(0, 60, 60), ==, 60);
    g_assert_cmpint(lf_block_budget(0, 60, 30), ==, 30);      /* no more than there are */
    g_assert_cmpint(lf_block_budget(0.88, 504, 400), ==, 60); /* truncated: 60.48 */
    g_assert_cmpint(lf_block_budget(0.999, 60, 30), ==, 1);   /* never none */
    g_assert_cmpint(lf_block_budget(nextafter(1, 0), 60, 30), ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/growth/published", test_published);
    g_test_add_func("/growth/cost", test_cost);
    g_test_add_func("/growth/grows", test_grows);
    g_test_add_func("/growth/one-chunk-is-dense", test_one_chunk_is_dense);
    g_test_add_func("/growth/clamped", test_clamped);
    g_test_add_func("/growth/budget", test_budget);
    return g_test_run();
}
