/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/models/text_encoder.h"

/* Distances at which the buckets 8 … 15 of 16 begin; before them each distance has its own. */
static const int begins[] = {8, 12, 16, 23, 32, 46, 64, 91, 1000};

static void test_thresholds(void)
{
    for (int i = 0; i < 8; i++)
        for (int r = begins[i]; r < begins[i + 1]; r++) {
            g_assert_cmpint(lf_position_bucket(-r, 32, 128), ==, 8 + i);
            g_assert_cmpint(lf_position_bucket(r, 32, 128), ==, 24 + i);
        }
    g_assert_cmpint(lf_position_bucket(0, 32, 128), ==, 0);
    for (int r = 1; r < 8; r++) {
        g_assert_cmpint(lf_position_bucket(-r, 32, 128), ==, r);
        g_assert_cmpint(lf_position_bucket(r, 32, 128), ==, 16 + r);
    }
}

/* Any number of buckets: both halves rise with the distance, step by step, to their last. */
static void test_other_sizes(void)
{
    for (int i = 0; i < 50; i++) {
        int n = 4 * g_test_rand_int_range(1, 20), far = g_test_rand_int_range(4 * n, 2000);
        int last = 0;
        for (int r = 1; r <= far + 100; r++) {
            int bucket = lf_position_bucket(-r, n, far);
            g_assert_cmpint(bucket, >=, last);
            g_assert_cmpint(bucket, <=, last + 1);
            g_assert_cmpint(lf_position_bucket(r, n, far), ==, n / 2 + bucket);
            last = bucket;
        }
        g_assert_cmpint(last, ==, n / 2 - 1);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/position_bucket/thresholds", test_thresholds);
    g_test_add_func("/position_bucket/other-sizes", test_other_sizes);
    return g_test_run();
}
