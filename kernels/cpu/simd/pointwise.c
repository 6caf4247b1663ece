/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Operations on each number by itself.
 */
#include "activate.h"
#include "dense.h"

void LF_SIMD(lf_gelu_gate)(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) {
        int width = width_at(i, n);
        Vec value = vec_gelu_tanh(vec_load_n(gate + i, width)) * vec_load_n(up + i, width);
        vec_store_n(gate + i, value, width);
    }
}

/* 3·tanh(x/3). The quotient of sums would lose the digits of small numbers; there the series
 * z − z³/3 + 2z⁵/15 − 17z⁷/315 + 62z⁹/2835 stands in. */
INLINE Vec tanh_clamped(Vec x)
{
    Vec zero = vec_set1(0), one = vec_set1(1), z = x * vec_set1(1.0f / 3.0f), zz = z * z;
    Vec size = vec_max(z, zero - z);
    Vec e = vec_exp2(size * vec_set1(-2.88539008f));
    Vec large = (one - e) / (one + e);
    large = vec_select_negative(x, zero - large, large);
    Vec small = vec_fma(zz, vec_set1(62.0f / 2835.0f), vec_set1(-17.0f / 315.0f));
    small = vec_fma(zz, small, vec_set1(2.0f / 15.0f));
    small = vec_fma(zz, small, vec_set1(-1.0f / 3.0f));
    small = vec_fma(zz * small, z, z);
    return vec_set1(3) * vec_select_negative(size - vec_set1(0.3f), small, large);
}

INLINE Vec taken(const LfTakePixels *t, const float *x, int64_t channel, int width)
{
    Vec value = vec_load_n(x + channel * t->stride, width);
    if (t->scale)
        value = vec_fma(value, vec_set1(t->scale[channel]), vec_set1(t->shift[channel]));
    return t->tanh_clamp ? tanh_clamped(value) : value;
}

/* A block of pixels × channels is transposed in registers. */
void LF_SIMD(lf_take_pixels)(float *out, const float *x, const LfTakePixels *t)
{
    for (int64_t p = 0; p < t->n_pixels; p += LANES)
        for (int64_t c = 0; c < t->n_channels; c += LANES) {
            Vec block[LANES];
            int pixels = width_at(p, t->n_pixels), channels = width_at(c, t->n_channels);
            for (int i = 0; i < LANES; i++)
                block[i] = i < channels ? taken(t, x + p, c + i, pixels) : vec_set1(0);
            vec_transpose(block);
            for (int i = 0; i < pixels; i++)
                vec_store_n(out + (p + i) * t->n_channels + c, block[i], channels);
        }
}

void LF_SIMD(lf_bytes)(uint8_t *restrict out, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float value = x[i] > 0.0f ? x[i] : 0.0f; /* NaN becomes 0 */
        out[i] = (uint8_t) (int) (255.0f * (value < 1.0f ? value : 1.0f));
    }
}
