/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The few-step lists of published models (docs/engine.md), the formula of the whole grid, lists that
 * are not shifted, and lists as text.
 */
#include "engine/scheduler.h"
#include "engine/steps.h"

#include <locale.h>
#include <math.h>

static const LfSteps listed = {4, {1000, 750, 500, 250}};

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
    for (unsigned i = 0; i < G_N_ELEMENTS(published); i++) {
        LfSchedule schedule = lf_schedule(&listed, true, published[i].shift);
        g_assert_cmpint(schedule.n, ==, 4);
        for (int k = 0; k < 4; k++) {
            LfStep step = schedule.steps[k];
            g_assert_cmpfloat_with_epsilon(step.sigma, published[i].sigma[k], 6e-8);
            g_assert_cmpfloat_with_epsilon(step.timestep, published[i].timestep[k], 6.2e-5);
        }
    }
}

/* The published float tables, bit for bit. */
static void test_exact(void)
{
    LfStep third = lf_warped_step(500, 5);
    g_assert_cmpfloat(third.sigma, ==, 0.8333333135f);
    g_assert_cmpfloat(third.timestep, ==, 833.3333129883f);
    LfStep first = lf_warped_step(1000, 5);
    g_assert_true(first.sigma == 1 && first.timestep == 1000);
    g_assert_cmpfloat(lf_schedule(&listed, true, 5).start, ==, 1);
    g_assert_cmpfloat(lf_schedule(&(LfSteps){2, {750, 250}}, true, 5).start, ==, 1);
}

static void test_grid(void)
{
    LfStep before = {1.1f, 1100};
    for (int d = 1000; d >= 1; d--) {
        LfStep step = lf_warped_step(d, 5);
        double s = d / 1000.0, sigma = 5 * s / (1 + 4 * s);
        g_assert_cmpfloat_with_epsilon(step.sigma, sigma, 2e-7);
        g_assert_cmpfloat_with_epsilon(step.timestep, 1000 * sigma, 2e-4);
        g_assert_true(step.sigma < before.sigma && step.timestep < before.timestep);
        before = step;
    }
    g_assert_cmpfloat_with_epsilon(before.sigma, 0.0049801, 5e-8); /* the grid's last point */
}

/* Steps between those of the grid are shifted by the same formula. */
static void test_between(void)
{
    for (int i = 0; i < 1000; i++) {
        double d = g_test_rand_double_range(1e-3, 1000), shift = g_test_rand_double_range(0.1, 12);
        double sigma = shift * (d / 1000) / (1 + (shift - 1) * (d / 1000));
        LfStep step = lf_warped_step(d, shift);
        g_assert_cmpfloat(fabs(step.sigma - sigma), <=, 1e-6 * sigma);
        g_assert_cmpfloat(fabs(step.timestep - 1000 * sigma), <=, 1e-3 * sigma);
    }
}

/* rCM's grid of four steps, in flow time. The transformer's input is 1000 times that, in double;
 * apart from the first step the grid is the shifted list of Self-Forcing. */
static void test_rcm(void)
{
    static const double flow[] = {1600.0 / 1601, 15.0 / 16, 5.0 / 6, 5.0 / 8};
    LfSteps steps;
    g_assert_true(lf_steps_parse("999.3753903810119,937.5,833.3333333333334,625", &steps, NULL));
    LfSchedule schedule = lf_schedule(&steps, false, 5);
    g_assert_cmpint(schedule.n, ==, 4);
    g_assert_cmpfloat(fabs(schedule.start - flow[0]), <=, 3e-8);
    for (int i = 0; i < 4; i++) {
        g_assert_cmpfloat(fabs(schedule.steps[i].timestep - 1000 * flow[i]), <=, 2e-13 * 1000);
        g_assert_cmpfloat(fabs(schedule.steps[i].sigma - flow[i]), <=, 3e-8);
        LfStep warped = lf_warped_step(listed.at[i], 5);
        if (i > 0)
            g_assert_cmpfloat(fabs(warped.timestep - schedule.steps[i].timestep), <=, 1e-4);
    }
}

/* CausVid's list. */
static void test_as_given(void)
{
    const LfSteps steps = {3, {1000, 757, 522}};
    LfSchedule schedule = lf_schedule(&steps, false, 8);
    g_assert_cmpfloat(schedule.start, ==, 1);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpfloat(schedule.steps[i].timestep, ==, steps.at[i]);
        g_assert_cmpfloat(schedule.steps[i].sigma, ==, (float) (steps.at[i] / 1000));
    }
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_text(void)
{
    static const struct {
        const char *text, *again;
        int n;
        double last;
    } lists[] = {{NULL, "", 0, 0},
                 {"", "", 0, 0},
                 {" \t", "", 0, 0},
                 {"1000", "1000", 1, 1000},
                 {" 1000 , 937.5,\n500 ", "1000,937.5,500", 3, 500},
                 {"833.33333333333337,1e2,0.125", "833.333,100,0.125", 3, 0.125},
                 {"16,15,14,13,12,11,10,9,8,7,6,5,4,3,2,1",
                  "16,15,14,13,12,11,10,9,8,7,6,5,4,3,2,1", 16, 1}};
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_autoptr(GError) error = NULL;
        LfSteps steps = {7, {1}};
        g_assert_true(lf_steps_parse(lists[i].text, &steps, &error));
        g_assert_no_error(error);
        g_assert_cmpint(steps.n, ==, lists[i].n);
        g_autofree char *again = lf_steps_text(&steps);
        g_assert_cmpstr(again, ==, lists[i].again);
        if (steps.n > 0)
            g_assert_cmpfloat(steps.at[steps.n - 1], ==, lists[i].last);
    }
}

static void test_no_list(void)
{
    static const char *const texts[] = {
        "a",         ",",          "1000,",
        ",1000",     "1000,,500",  "1000;500",
        "1000 500",  "500,1000",   "5,5",
        "0",         "-1",         "1000.0001",
        "nan",       "inf",        "1000,nan",
        "1e999",     "1000,0",     "500,1e-999",
        "1000,500x", "<1000,500>", "17,16,15,14,13,12,11,10,9,8,7,6,5,4,3,2,1",
        "\xff"};
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        LfSteps steps = {1, {77}};
        g_test_message("%s", texts[i]);
        g_assert_false(lf_steps_parse(texts[i], &steps, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
        g_assert_true(steps.n == 1 && steps.at[0] == 77); /* unchanged */
    }
}

static void test_equal(void)
{
    LfSteps a = listed, b = listed;
    g_assert_true(lf_steps_equal(&a, &b));
    b.at[2] += 1e-9;
    g_assert_false(lf_steps_equal(&a, &b));
    b = listed;
    b.n = 3;
    g_assert_false(lf_steps_equal(&a, &b));
    a.n = 3;
    a.at[3] = 1; /* beyond the list */
    g_assert_true(lf_steps_equal(&a, &b));
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/scheduler/published", test_published);
    g_test_add_func("/scheduler/exact", test_exact);
    g_test_add_func("/scheduler/grid", test_grid);
    g_test_add_func("/scheduler/between", test_between);
    g_test_add_func("/scheduler/rcm", test_rcm);
    g_test_add_func("/scheduler/as-given", test_as_given);
    g_test_add_func("/steps/text", test_text);
    g_test_add_func("/steps/no-list", test_no_list);
    g_test_add_func("/steps/equal", test_equal);
    return g_test_run();
}
