/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Quantised blocks. The test draws the small integers that a block holds, puts their bits where a
 * number's place in the block says, and computes the numbers in double.
 */
#include "engine/files/gguf_blocks.h"

#include <math.h>
#include <string.h>

/* ---- what is put in blocks ------------------------------------------------------------------- */

static void put_bits(guint8 *bytes, int shift, int n, int value)
{
    g_assert_cmpint(value, >=, 0);
    g_assert_cmpint(value, <, 1 << n);
    *bytes = (guint8) (*bytes | value << shift);
}

/* A finite half: of any size, or none. */
static double put_half(guint8 *bytes)
{
    int exponent = g_test_rand_int_range(0, 31), mantissa = g_test_rand_int_range(0, 1024);
    int bits = exponent << 10 | mantissa;
    double value = ldexp(mantissa + (exponent ? 1024 : 0), (exponent ? exponent : 1) - 25);
    bool negative = g_test_rand_bit();
    if (negative)
        bits |= 0x8000;
    bytes[0] = (guint8) bits;
    bytes[1] = (guint8) (bits >> 8);
    return negative ? -value : value;
}

static int draw(int bits)
{
    return g_test_rand_int_range(0, 1 << bits);
}

/* ---- 32 numbers ------------------------------------------------------------------------------ */

static void small(guint8 *block, double *numbers, int bits, bool with_minimum)
{
    guint8 *at = block;
    double d = put_half(at), m = with_minimum ? put_half(at + 2) : 0;
    at += with_minimum ? 4 : 2;
    guint8 *fifths = bits == 5 ? at : NULL;
    at += bits == 5 ? 4 : 0;
    for (int i = 0; i < 32; i++) {
        int q = draw(bits);
        put_bits(&at[i % 16], i / 16 * 4, 4, q % 16);
        if (fifths)
            put_bits(&fifths[i / 8], i % 8, 1, q / 16);
        numbers[i] = with_minimum ? q * d + m : (q - (1 << (bits - 1))) * d;
    }
}

static void make_q4_0(guint8 *block, double *numbers)
{
    small(block, numbers, 4, false);
}

static void make_q4_1(guint8 *block, double *numbers)
{
    small(block, numbers, 4, true);
}

static void make_q5_0(guint8 *block, double *numbers)
{
    small(block, numbers, 5, false);
}

static void make_q5_1(guint8 *block, double *numbers)
{
    small(block, numbers, 5, true);
}

static void make_q8_0(guint8 *block, double *numbers)
{
    double d = put_half(block);
    for (int i = 0; i < 32; i++) {
        int q = draw(8) - 128;
        block[2 + i] = (guint8) q;
        numbers[i] = q * d;
    }
}

/* ---- 256 numbers ----------------------------------------------------------------------------- */

/* Number i has two bits in byte i / 128 · 32 + i % 32, at 2 · (i / 32 % 4). */
static void put_pair(guint8 *bytes, int i, int value)
{
    put_bits(&bytes[i / 128 * 32 + i % 32], i / 32 % 4 * 2, 2, value);
}

static void make_q2_k(guint8 *block, double *numbers)
{
    double d = put_half(block + 80), e = put_half(block + 82);
    for (int group = 0; group < 16; group++) {
        int s = draw(4), t = draw(4);
        put_bits(&block[group], 0, 4, s);
        put_bits(&block[group], 4, 4, t);
        for (int i = 16 * group; i < 16 * group + 16; i++) {
            int q = draw(2);
            put_pair(block + 16, i, q);
            numbers[i] = d * s * q - e * t;
        }
    }
}

static void make_q3_k(guint8 *block, double *numbers)
{
    guint8 *scales = block + 96;
    double d = put_half(block + 108);
    for (int group = 0; group < 16; group++) {
        int s = draw(6);
        put_bits(&scales[group % 8], group < 8 ? 0 : 4, 4, s % 16);
        put_bits(&scales[8 + group % 4], group / 4 * 2, 2, s / 16);
        for (int i = 16 * group; i < 16 * group + 16; i++) {
            int q = draw(3);
            put_pair(block + 32, i, q % 4);
            put_bits(&block[i % 32], i / 32, 1, q / 4);
            numbers[i] = d * (s - 32) * (q - 4);
        }
    }
}

/* Eight scales and eight minima of six bits in twelve bytes. */
static void put_six(guint8 *bytes, int group, int s, int t)
{
    if (group < 4) {
        put_bits(&bytes[group], 0, 6, s);
        put_bits(&bytes[4 + group], 0, 6, t);
    } else {
        put_bits(&bytes[4 + group], 0, 4, s % 16);
        put_bits(&bytes[4 + group], 4, 4, t % 16);
        put_bits(&bytes[group - 4], 6, 2, s / 16);
        put_bits(&bytes[group], 6, 2, t / 16);
    }
}

static void groups_of_32(guint8 *block, double *numbers, guint8 *fifths, guint8 *halves)
{
    double d = put_half(block), e = put_half(block + 2);
    for (int group = 0; group < 8; group++) {
        int s = draw(6), t = draw(6);
        put_six(block + 4, group, s, t);
        for (int i = 32 * group; i < 32 * group + 32; i++) {
            int q = draw(fifths ? 5 : 4);
            put_bits(&halves[i / 64 * 32 + i % 32], i / 32 % 2 * 4, 4, q % 16);
            if (fifths)
                put_bits(&fifths[i % 32], group, 1, q / 16);
            numbers[i] = d * s * q - e * t;
        }
    }
}

static void make_q4_k(guint8 *block, double *numbers)
{
    groups_of_32(block, numbers, NULL, block + 16);
}

static void make_q5_k(guint8 *block, double *numbers)
{
    groups_of_32(block, numbers, block + 16, block + 48);
}

static void make_q6_k(guint8 *block, double *numbers)
{
    double d = put_half(block + 208);
    for (int group = 0; group < 16; group++) {
        int s = draw(8) - 128;
        block[192 + group] = (guint8) s;
        for (int i = 16 * group; i < 16 * group + 16; i++) {
            int q = draw(6);
            put_bits(&block[i / 128 * 64 + i % 64], i / 64 % 2 * 4, 4, q % 16);
            put_pair(block + 128, i, q / 16);
            numbers[i] = d * s * (q - 32);
        }
    }
}

static const struct {
    const char *name;
    int block;
    gsize size;
    void (*make)(guint8 *block, double *numbers);
} codings[] = {
    {"Q4_0", 32, 18, make_q4_0},   {"Q4_1", 32, 20, make_q4_1},   {"Q5_0", 32, 22, make_q5_0},
    {"Q5_1", 32, 24, make_q5_1},   {"Q8_0", 32, 34, make_q8_0},   {"Q2_K", 256, 84, make_q2_k},
    {"Q3_K", 256, 110, make_q3_k}, {"Q4_K", 256, 144, make_q4_k}, {"Q5_K", 256, 176, make_q5_k},
    {"Q6_K", 256, 210, make_q6_k},
};

/* Blocks at an odd address, several in one call. */
static void test_blocks(void)
{
    enum { MAX_BLOCKS = 5 };
    for (int round = 0; round < 200; round++)
        for (gsize i = 0; i < G_N_ELEMENTS(codings); i++) {
            const LfCoding *coding = lf_gguf_coding(codings[i].name);
            guint8 bytes[1 + MAX_BLOCKS * 210] = {0};
            double numbers[MAX_BLOCKS * 256];
            float decoded[MAX_BLOCKS * 256 + 1];
            int n = g_test_rand_int_range(0, MAX_BLOCKS + 1), count = n * codings[i].block;
            g_assert_cmpstr(coding->name, ==, codings[i].name);
            g_assert_cmpint(coding->block, ==, codings[i].block);
            g_assert_cmpint(coding->size, ==, codings[i].size);
            for (int b = 0; b < n; b++)
                codings[i].make(bytes + 1 + (gsize) b * coding->size, numbers + b * coding->block);
            decoded[count] = 12345;
            coding->decode(decoded, bytes + 1, (size_t) n);
            for (int k = 0; k < count; k++)
                if (decoded[k] != (float) numbers[k])
                    g_error("%s: number %d is %.9g, not %.9g", coding->name, k, decoded[k],
                            numbers[k]);
            g_assert_cmpfloat(decoded[count], ==, 12345);
        }
}

static void test_unknown(void)
{
    static const char *const names[] = {"F32", "F16", "Q8_1", "Q8_K", "IQ4_XS", "q4_0", ""};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        g_assert_null(lf_gguf_coding(names[i]));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gguf-blocks/blocks", test_blocks);
    g_test_add_func("/gguf-blocks/unknown", test_unknown);
    return g_test_run();
}
