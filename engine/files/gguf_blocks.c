/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Blocks of 32 numbers have a scale d (F16), and a minimum m where the name ends with "_1":
 *
 *     Q4_0   d, 16 bytes                     (q − 8) · d
 *     Q4_1   d, m, 16 bytes                  q · d + m
 *     Q5_0   d, 32 fifth bits, 16 bytes      (q − 16) · d
 *     Q5_1   d, m, 32 fifth bits, 16 bytes   q · d + m
 *     Q8_0   d, 32 signed bytes              q · d
 *
 * The low halves of the 16 bytes are numbers 0 … 15, the high halves are numbers 16 … 31.
 *
 * Blocks of 256 numbers ("K") have groups of 16 or 32, each with a small integer s by which d is
 * multiplied, and some with another one, t, for the minimum e:
 *
 *     Q2_K   s and t of 4 bits · 16, 64 bytes, d, e              q · (s · d) − t · e
 *     Q3_K   32 bytes of third bits, 64 bytes, s of 6 bits · 16, d   (q − 4) · ((s − 32) · d)
 *     Q4_K   d, e, s and t of 6 bits · 8, 128 bytes              q · (s · d) − t · e
 *     Q5_K   the same, with 32 bytes of fifth bits before the 128
 *     Q6_K   128 bytes, 64 bytes of two high bits, s of 8 bits · 16, d   (q − 32) · (s · d)
 *
 * Every product is exact in float: 11 bits of d, at most 8 of s and 6 of q, where 8 and 6 meet only
 * in Q6_K, whose signed factors have one bit less each in size. So there is one rounding at most.
 */
#include "gguf_blocks.h"

#include <string.h>

enum { SMALL = 32, LARGE = 256 };

static float half_at(const uint8_t *in)
{
    return lf_f16_to_float((uint16_t) (in[0] | in[1] << 8));
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

/* Number i of 32 in 16 bytes, and the fifth bit of it. */
static void take_nibbles(float *out, const uint8_t *in, uint32_t fifths, int zero, float d, float m)
{
    for (int i = 0; i < SMALL / 2; i++) {
        int low = (in[i] & 15) | (int) (fifths >> i & 1) << 4;
        int high = in[i] >> 4 | (int) (fifths >> (i + SMALL / 2) & 1) << 4;
        out[i] = (float) (low - zero) * d + m;
        out[i + SMALL / 2] = (float) (high - zero) * d + m;
    }
}

static uint32_t word_at(const uint8_t *in)
{
    return in[0] | (uint32_t) in[1] << 8 | (uint32_t) in[2] << 16 | (uint32_t) in[3] << 24;
}

static void q4_0(float *out, const uint8_t *in)
{
    take_nibbles(out, in + 2, 0, 8, half_at(in), 0);
}

static void q4_1(float *out, const uint8_t *in)
{
    take_nibbles(out, in + 4, 0, 0, half_at(in), half_at(in + 2));
}

static void q5_0(float *out, const uint8_t *in)
{
    take_nibbles(out, in + 6, word_at(in + 2), 16, half_at(in), 0);
}

static void q5_1(float *out, const uint8_t *in)
{
    take_nibbles(out, in + 8, word_at(in + 4), 0, half_at(in), half_at(in + 2));
}

static void q8_0(float *out, const uint8_t *in)
{
    float d = half_at(in);
    for (int i = 0; i < SMALL; i++)
        out[i] = (float) (int8_t) in[2 + i] * d;
}

/* ---- blocks of 256 --------------------------------------------------------------------------- */

/* Two bits of each byte: four rows of 32 numbers in 32 bytes, twice. */
static void q2_k(float *out, const uint8_t *in)
{
    const uint8_t *scales = in, *bytes = in + 16;
    float d = half_at(in + 80), e = half_at(in + 82);
    for (int group = 0; group < 16; group++) {
        const uint8_t *of = bytes + group / 8 * 32 + group % 2 * 16;
        int shift = group % 8 / 2 * 2;
        float scale = d * (float) (scales[group] & 15), minimum = e * (float) (scales[group] >> 4);
        for (int i = 0; i < 16; i++)
            *out++ = (float) (of[i] >> shift & 3) * scale - minimum;
    }
}

/* Of six bits: four in the halves of 8 bytes, two in 4 bytes behind them. */
static int q3_k_scale(const uint8_t *packed, int group)
{
    int low = packed[group % 8] >> group / 8 * 4 & 15;
    int high = packed[8 + group % 4] >> group / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

/* A third bit that is not set is −4. */
static void q3_k(float *out, const uint8_t *in)
{
    const uint8_t *thirds = in, *bytes = in + 32, *scales = in + 96;
    float d = half_at(in + 108);
    for (int group = 0; group < 16; group++) {
        const uint8_t *of = bytes + group / 8 * 32 + group % 2 * 16;
        const uint8_t *third = thirds + group % 2 * 16;
        int shift = group % 8 / 2 * 2;
        float scale = d * (float) q3_k_scale(scales, group);
        for (int i = 0; i < 16; i++) {
            int q = (of[i] >> shift & 3) | (third[i] >> group / 2 & 1) << 2;
            *out++ = (float) (q - 4) * scale;
        }
    }
}

/* Of six bits: those of groups 0 … 3 are whole, those of groups 4 … 7 have their two high bits where
 * the others end. */
static void q4_k_scales(const uint8_t *packed, int group, int *scale, int *minimum)
{
    int i = group % 4;
    if (group < 4) {
        *scale = packed[i] & 63;
        *minimum = packed[4 + i] & 63;
    } else {
        *scale = (packed[8 + i] & 15) | packed[i] >> 6 << 4;
        *minimum = packed[8 + i] >> 4 | packed[4 + i] >> 6 << 4;
    }
}

/* Groups of 32, two in the halves of 32 bytes. `fifths` NULL: there are none. */
static void take_groups(float *out, const uint8_t *in, const uint8_t *fifths, const uint8_t *bytes)
{
    float d = half_at(in), e = half_at(in + 2);
    for (int group = 0; group < 8; group++) {
        const uint8_t *of = bytes + group / 2 * 32;
        int s, t, shift = group % 2 * 4;
        q4_k_scales(in + 4, group, &s, &t);
        float scale = d * (float) s, minimum = e * (float) t;
        for (int i = 0; i < 32; i++) {
            int q = of[i] >> shift & 15;
            if (fifths)
                q |= (fifths[i] >> group & 1) << 4;
            *out++ = (float) q * scale - minimum;
        }
    }
}

static void q4_k(float *out, const uint8_t *in)
{
    take_groups(out, in, NULL, in + 16);
}

static void q5_k(float *out, const uint8_t *in)
{
    take_groups(out, in, in + 16, in + 48);
}

/* Rows of 32 numbers: in each half of the block the first two rows are the low halves of 64 bytes,
 * the last two the high ones, and the bits above come from the same 32 bytes for all four. */
static void q6_k(float *out, const uint8_t *in)
{
    const int8_t *scales = (const int8_t *) in + 192;
    float d = half_at(in + 208);
    for (int row = 0; row < 8; row++) {
        const uint8_t *low = in + row / 4 * 64 + row % 2 * 32, *high = in + 128 + row / 4 * 32;
        int shift = row % 4 / 2 * 4;
        for (int i = 0; i < 32; i++) {
            int q = (low[i] >> shift & 15) | (high[i] >> row % 4 * 2 & 3) << 4;
            *out++ = (float) (q - 32) * (d * (float) scales[2 * row + i / 16]);
        }
    }
}

/* ---- all ------------------------------------------------------------------------------------- */

/* Name, function, numbers and bytes of a block. */
#define CODINGS(ROW)                                                                               \
    ROW(Q4_0, q4_0, SMALL, 18)                                                                     \
    ROW(Q4_1, q4_1, SMALL, 20)                                                                     \
    ROW(Q5_0, q5_0, SMALL, 22)                                                                     \
    ROW(Q5_1, q5_1, SMALL, 24)                                                                     \
    ROW(Q8_0, q8_0, SMALL, 34)                                                                     \
    ROW(Q2_K, q2_k, LARGE, 84)                                                                     \
    ROW(Q3_K, q3_k, LARGE, 110)                                                                    \
    ROW(Q4_K, q4_k, LARGE, 144)                                                                    \
    ROW(Q5_K, q5_k, LARGE, 176)                                                                    \
    ROW(Q6_K, q6_k, LARGE, 210)

#define DECODER(NAME, FUNCTION, NUMBERS, BYTES)                                                    \
    static void decode_##FUNCTION(float *out, const void *in, size_t n_blocks)                     \
    {                                                                                              \
        const uint8_t *block = in;                                                                 \
        for (; n_blocks > 0; n_blocks--, out += NUMBERS, block += BYTES)                           \
            FUNCTION(out, block);                                                                  \
    }
CODINGS(DECODER)
#undef DECODER

const LfCoding *lf_gguf_coding(const char *name)
{
#define CODING(NAME, FUNCTION, NUMBERS, BYTES) {#NAME, NUMBERS, BYTES, decode_##FUNCTION},
    static const LfCoding codings[] = {CODINGS(CODING)};
#undef CODING
    for (size_t i = 0; i < G_N_ELEMENTS(codings); i++)
        if (strcmp(codings[i].name, name) == 0)
            return &codings[i];
    return NULL;
}
