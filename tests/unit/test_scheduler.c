/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The few-step lists of published models (docs/engine.md), and the formula of the whole grid.
 */
#include "engine/scheduler.h"

#include <glib.h>
#include <math.h>

static const int listed[] = {1000, 750, 500, 250};

static const struct {
    double shift;
    double sigma[4], timestep[4];
} published[] = {
    {5, {1, 0.9375, 0.8333333135, 0.625}, {1000, 937.5, 833.3333129883, 625}},
    {8, {1, 0.96, 0.8888888889, 0.7272727273}, {1000, 960, 888.8888889, 727.2727273}},
    {1, {1, 0.75, 0.5, 0.25}, {1000, 750, 500, 250}},
};

static void test_published(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(published); i++)
        for (int k = 0; k < 4; k++) {
            LfStep step = lf_step(listed[k], published[i].shift);
            g_assert_cmpfloat_with_epsilon(step.sigma, published[i].sigma[k], 6e-8);
            g_assert_cmpfloat_with_epsilon(step.timestep, published[i].timestep[k], 6.2e-5);
        }
}

/* The published float tables, bit for bit. */
static void test_exact(void)
{
    LfStep third = lf_step(500, 5);
    g_assert_cmpfloat(third.sigma, ==, 0.8333333135f);
    g_assert_cmpfloat(third.timestep, ==, 833.3333129883f);
    LfStep first = lf_step(1000, 5);
    g_assert_true(first.sigma == 1 && first.timestep == 1000);
}

static void test_grid(void)
{
    LfStep before = {1.1f, 1100};
    for (int d = 1000; d >= 1; d--) {
        LfStep step = lf_step(d, 5);
        double s = d / 1000.0, sigma = 5 * s / (1 + 4 * s);
        g_assert_cmpfloat_with_epsilon(step.sigma, sigma, 2e-7);
        g_assert_cmpfloat_with_epsilon(step.timestep, 1000 * sigma, 2e-4);
        g_assert_true(step.sigma < before.sigma && step.timestep < before.timestep);
        before = step;
    }
    g_assert_cmpfloat_with_epsilon(before.sigma, 0.0049801, 5e-8); /* the grid's last point */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/scheduler/published", test_published);
    g_test_add_func("/scheduler/exact", test_exact);
    g_test_add_func("/scheduler/grid", test_grid);
    return g_test_run();
}
