/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/files/weight_source.h"

#include <string.h>

/* A coding of the test's own: 7 numbers are 9 bytes, one by which each is multiplied, one that is
 * added to it, and 7 of their own. */
static void decode(float *out, const void *in, size_t n_blocks)
{
    const guint8 *bytes = in;
    for (; n_blocks > 0; n_blocks--, bytes += 9)
        for (int i = 0; i < 7; i++)
            *out++ = (float) (bytes[0] * bytes[2 + i] + bytes[1]);
}

static const LfCoding coding = {"SEVENS", 7, 9, decode};

static guint8 *random_bytes(gsize n)
{
    guint8 *bytes = g_malloc(n);
    for (gsize i = 0; i < n; i++)
        bytes[i] = (guint8) g_test_rand_int_range(0, 256);
    return bytes;
}

static void assert_range(const LfFileTensor *t, const float *whole, int64_t first, int64_t count)
{
    enum { GUARD = 12345 };
    g_autofree float *part = g_new(float, count + 1);
    part[count] = GUARD;
    lf_file_tensor_read(t, first, count, part);
    g_assert_cmpmem(part, (gsize) count * 4, whole + first, (gsize) count * 4);
    g_assert_cmpfloat(part[count], ==, GUARD);
}

static void test_coded(void)
{
    const int rows = g_test_rand_int_range(2, 9), blocks = g_test_rand_int_range(1, 5);
    const int64_t count = (int64_t) rows * blocks * 7;
    g_autofree guint8 *bytes = random_bytes((gsize) (rows * blocks * 9));
    g_autofree float *whole = g_new(float, count);
    LfFileTensor t = {.name = "t",
                      .type = LF_U8,
                      .n_dims = 2,
                      .shape = {rows, blocks * 7},
                      .data = bytes,
                      .size = (size_t) (rows * blocks * 9),
                      .coding = &coding};
    decode(whole, bytes, (size_t) (rows * blocks));
    g_assert_cmpint(lf_file_tensor_count(&t), ==, count);
    g_assert_cmpstr(lf_file_tensor_type_name(&t), ==, "SEVENS");
    g_assert_true(lf_file_tensor_is_real(&t));
    for (int64_t first = 0; first <= count; first++)
        for (int64_t end = first; end <= count; end++)
            assert_range(&t, whole, first, end - first);
}

static void test_plain(void)
{
    static const LfType types[] = {LF_F32, LF_BF16, LF_F16, LF_F64, LF_F8_E4M3, LF_F8_E5M2};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        enum { N = 13 };
        float whole[N];
        guint8 bytes[N * 8 + 1];
        for (gsize b = 0; b < sizeof bytes; b++)
            bytes[b] = (guint8) g_test_rand_int_range(0, 60); /* no NaN in any of the types */
        LfFileTensor t = {.name = "t", .type = types[i], .n_dims = 1, .shape = {N}};
        t.data = bytes + 1;
        t.size = N * lf_type_size(types[i]);
        lf_to_float(whole, t.data, types[i], N);
        g_assert_cmpint(lf_file_tensor_count(&t), ==, N);
        g_assert_cmpstr(lf_file_tensor_type_name(&t), ==, lf_type_name(types[i]));
        for (int first = 0; first <= N; first++)
            assert_range(&t, whole, first, N - first);
    }
    const LfFileTensor whole_numbers = {.name = "t", .type = LF_U8};
    g_assert_false(lf_file_tensor_is_real(&whole_numbers));
}

/* Shares of a coded tensor are whole blocks, or it is not divided. */
static void test_shares(void)
{
    guint8 bytes[9 * 6] = {0};
    LfFileTensor rows = {"t", LF_U8, 2, {6, 7}, bytes, sizeof bytes, &coding};
    LfFileTensor vector = {"t", LF_U8, 1, {21}, bytes, 9 * 3, &coding};
    LfFileTensor odd = {"t", LF_U8, 1, {14}, bytes, 9 * 2, &coding};
    LfFileTensor part = lf_file_tensor_share(&rows, 2, 3);
    g_assert_cmpint(part.shape[0], ==, 2);
    g_assert_true((const guint8 *) part.data == bytes + 9 * 4);
    g_assert_cmpint(lf_file_tensor_count(&part), ==, 14);
    part = lf_file_tensor_share(&vector, 1, 3);
    g_assert_cmpint(part.shape[0], ==, 7);
    g_assert_true((const guint8 *) part.data == bytes + 9);
    part = lf_file_tensor_share(&odd, 1, 7);
    g_assert_cmpint(part.shape[0], ==, 14);
    g_assert_true(part.data == bytes);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tensor-numbers/coded", test_coded);
    g_test_add_func("/tensor-numbers/plain", test_plain);
    g_test_add_func("/tensor-numbers/shares", test_shares);
    return g_test_run();
}
