/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Lines of Y'CbCr: plain loops over blocks, which the compiler vectorises.
 */
#include "dense.h"
#include "vec.h"

#define BLOCK 64

/* n/unit rounded down, exactly, for 0 ≤ n < 2³¹ and a quotient below 256: the product in float is
 * off by at most one, which the sign and size of the remainder show. */
INLINE int32_t quotient(int32_t n, int32_t unit, float inverse)
{
    int32_t q = (int32_t) ((float) n * inverse), rest = n - q * unit;
    return q + (rest >= unit) - (rest < 0);
}

INLINE void luma_block(const LfLuma *m, uint8_t *dst, const uint8_t *rgb, int n)
{
    int32_t red = 219 * m->red, green = 219 * m->green, blue = 219 * m->blue, unit = 255 * m->one;
    int32_t half = unit / 2;
    float inverse = 1.0f / (float) unit;
    for (int x = 0; x < n; x++) {
        int32_t y = red * rgb[3 * x] + green * rgb[3 * x + 1] + blue * rgb[3 * x + 2];
        dst[x] = (uint8_t) (16 + quotient(y + half, unit, inverse));
    }
}

static void luma_line(const LfLuma *m, uint8_t *dst, const uint8_t *rgb, int width)
{
    int x = 0;
    for (; x + BLOCK <= width; x += BLOCK)
        luma_block(m, dst + x, rgb + 3 * x, BLOCK);
    luma_block(m, dst + x, rgb + 3 * x, width - x);
}

/* Sums of two lines' pixels. */
INLINE void add_lines(uint16_t *sums, const uint8_t *top, const uint8_t *bottom, int n)
{
    for (int i = 0; i < n; i++)
        sums[i] = (uint16_t) (top[i] + bottom[i]);
}

/* `sums` begins with the pixel left of the first sample's. */
INLINE void chroma_block(const LfLuma *m, uint8_t *u, uint8_t *v, const uint16_t *sums, int n)
{
    int32_t one = m->one, unit_u = 255 * (one - m->blue), unit_v = 255 * (one - m->red);
    int32_t zero_u = 128 * unit_u + unit_u / 2, zero_v = 128 * unit_v + unit_v / 2;
    float inverse_u = 1.0f / (float) unit_u, inverse_v = 1.0f / (float) unit_v;
    for (int x = 0; x < n; x++) {
        const uint16_t *s = sums + 6 * x;
        int32_t r = s[0] + 2 * s[3] + s[6], g = s[1] + 2 * s[4] + s[7];
        int32_t b = s[2] + 2 * s[5] + s[8];
        int32_t y = m->red * r + m->green * g + m->blue * b;
        u[x] = (uint8_t) quotient(zero_u + 14 * (one * b - y), unit_u, inverse_u);
        v[x] = (uint8_t) quotient(zero_v + 14 * (one * r - y), unit_v, inverse_v);
    }
}

static void chroma_line(const LfLuma *m, uint8_t *u, uint8_t *v, int step, const uint8_t *top,
                        const uint8_t *bottom, int width)
{
    enum { SAMPLES = BLOCK / 2 };
    for (int x = 0; x < width / 2; x += SAMPLES) {
        uint16_t sums[3 * BLOCK + 3] = {0};
        uint8_t block_u[SAMPLES], block_v[SAMPLES];
        int n = width / 2 - x < SAMPLES ? width / 2 - x : SAMPLES, left = x > 0 ? 3 : 0;
        add_lines(sums + 3 - left, top + 6 * x - left, bottom + 6 * x - left, 6 * n + left);
        for (int c = 0; c < 3 && x == 0; c++)
            sums[c] = sums[3 + c]; /* the edge repeats */
        chroma_block(m, block_u, block_v, sums, SAMPLES);
        for (int i = 0; i < n; i++) {
            u[(x + i) * step] = block_u[i];
            v[(x + i) * step] = block_v[i];
        }
    }
}

const LfYuvLines LF_SIMD(lf_yuv_lines) = {luma_line, chroma_line};
