/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/files/name_hash.h"

#include <string.h>

/* Words of two pairs of letters that g_str_hash cannot tell apart. */
static char *colliding(int i, int n_pairs)
{
    GString *name = g_string_new(NULL);
    for (int bit = 0; bit < n_pairs; bit++)
        g_string_append(name, i >> bit & 1 ? "az" : "bY");
    return g_string_free(name, FALSE);
}

/* Of 4096 names hardly any two may have one hash of 32 bits: 0.002 pairs are expected. */
static void test_spread(void)
{
    enum { PAIRS = 12, N = 1 << PAIRS };
    g_autoptr(GHashTable) hashes = g_hash_table_new(NULL, NULL);
    g_autofree char *first = colliding(0, PAIRS);
    for (int i = 0; i < N; i++) {
        g_autofree char *name = colliding(i, PAIRS);
        g_assert_cmpuint(g_str_hash(name), ==, g_str_hash(first));
        g_hash_table_add(hashes, GUINT_TO_POINTER(lf_name_hash(name)));
    }
    g_assert_cmpuint(g_hash_table_size(hashes), >, N - 4);
}

/* Every length, and every byte of it, counts. */
static void test_bytes(void)
{
    char name[40] = "";
    for (gsize length = 0; length + 1 < sizeof name; length++) {
        guint hash = lf_name_hash(name);
        g_autofree char *copy = g_strdup(name);
        g_assert_cmpuint(lf_name_hash(copy), ==, hash);
        for (gsize i = 0; i < length; i++) {
            name[i] ^= (char) 0x80;
            g_assert_cmpuint(lf_name_hash(name), !=, hash);
            name[i] ^= (char) 0x80;
        }
        name[length] = (char) g_test_rand_int_range(1, 128);
        g_assert_cmpuint(lf_name_hash(name), !=, hash);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/name-hash/spread", test_spread);
    g_test_add_func("/name-hash/bytes", test_bytes);
    return g_test_run();
}
