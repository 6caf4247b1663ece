/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Shares of ranks: each row and each head belongs to one rank, and no rank has many more than
 * another.
 */
#include "engine/share.h"

#include <glib.h>

static void test_one_rank(void)
{
    for (int size = 0; size < 2; size++) {
        LfShare all = lf_share(0, size, 4608, 12);
        g_assert_cmpint(all.size, ==, 1);
        g_assert_cmpint(all.first_row, ==, 0);
        g_assert_cmpint(all.n_rows, ==, 4608);
        g_assert_cmpint(all.first_head, ==, 0);
        g_assert_cmpint(all.n_heads, ==, 12);
    }
}

static void test_covers(void)
{
    for (int round = 0; round < 200; round++) {
        int size = g_test_rand_int_range(2, 9), rows = g_test_rand_int_range(size, 1 << 20);
        int heads = g_test_rand_int_range(size, 64), row = 0, head = 0;
        for (int rank = 0; rank < size; rank++) {
            LfShare share = lf_share(rank, size, rows, heads);
            g_assert_cmpint(share.rank, ==, rank);
            g_assert_cmpint(share.first_row, ==, row);
            g_assert_cmpint(share.first_head, ==, head);
            g_assert_cmpint(ABS(share.n_rows - rows / size), <=, 1);
            g_assert_cmpint(ABS(share.n_heads - heads / size), <=, 1);
            row += share.n_rows;
            head += share.n_heads;
        }
        g_assert_cmpint(row, ==, rows);
        g_assert_cmpint(head, ==, heads);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/share/one-rank", test_one_rank);
    g_test_add_func("/share/covers", test_covers);
    return g_test_run();
}
