/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The division of kernels/cuda/divide.h is exact, at the edges of quotients and anywhere.
 */
#include "kernels/cuda/divide.h"

#include <glib.h>

static void expect_exact(uint32_t n, uint32_t divisor)
{
    if (lf_divide(n, lf_divisor(divisor)) != n / divisor)
        g_error("%u / %u is %u, not %u", n, divisor, n / divisor,
                lf_divide(n, lf_divisor(divisor)));
}

/* Numbers of any length in bits. */
static uint32_t draw(void)
{
    return (uint32_t) g_test_rand_int() >> g_test_rand_int_range(0, 32);
}

static void test_edges(void)
{
    static const uint32_t divisors[] = {1, 2, 3, 7, 8222, 65535, 65536, 0x7fffffff, UINT32_MAX};
    for (gsize i = 0; i < G_N_ELEMENTS(divisors); i++) {
        expect_exact(0, divisors[i]);
        expect_exact(divisors[i] - 1, divisors[i]);
        expect_exact(divisors[i], divisors[i]);
        expect_exact(UINT32_MAX - 1, divisors[i]);
        expect_exact(UINT32_MAX, divisors[i]);
    }
    /* Attention's group 64·r − 1 of runs of r = 8222 groups was taken for one of the next run. */
    expect_exact(64 * 8222 - 1, 8222);
}

static void test_random(void)
{
    for (int i = 0; i < 1000000; i++) {
        uint32_t divisor = draw();
        if (divisor == 0)
            divisor = 1;
        uint32_t multiple = draw() / divisor * divisor;
        expect_exact(draw(), divisor);
        expect_exact(multiple, divisor);
        expect_exact(multiple - 1, divisor);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/divide/edges", test_edges);
    g_test_add_func("/divide/random", test_random);
    return g_test_run();
}
