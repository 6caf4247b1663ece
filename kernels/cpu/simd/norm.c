/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Norms of rows. The sums run in several registers at once, for speed and because the rounding
 * errors of short sums are small.
 */
#include "activate.h"
#include "dense.h"
#include "vec.h"

#include <math.h>

#define CHAINS 4

/* Σ (x − shift) and Σ (x − shift)², the second only if asked for. */
INLINE void sums(const float *x, int64_t n, float shift, float *sum, float *squares)
{
    Vec s[CHAINS], q[CHAINS], m = vec_set1(shift);
    for (int c = 0; c < CHAINS; c++)
        s[c] = q[c] = vec_set1(0);
    int64_t i = 0;
    for (; i + CHAINS * LANES <= n; i += CHAINS * LANES)
#pragma GCC unroll 4
        for (int c = 0; c < CHAINS; c++) {
            Vec d = vec_load(x + i + c * LANES) - m;
            s[c] += d;
            q[c] = vec_fma(d, d, q[c]);
        }
    for (; i < n; i += LANES) {
        int width = width_at(i, n);
        Vec d = vec_keep(vec_load_n(x + i, width) - m, width);
        s[0] += d;
        q[0] = vec_fma(d, d, q[0]);
    }
    *sum = vec_sum((s[0] + s[1]) + (s[2] + s[3]));
    *squares = vec_sum((q[0] + q[1]) + (q[2] + q[3]));
}

/* out = ((x − shift) − rest)·scale ⊙ (one + a) + b. */
INLINE void apply(float *out, const float *x, int64_t n, const LfNorm *norm, float shift,
                  float rest, float scale)
{
    Vec m = vec_set1(shift), r = vec_set1(rest), s = vec_set1(scale), one = vec_set1(norm->one);
    for (int64_t i = 0; i < n; i += LANES) {
        int width = width_at(i, n);
        Vec factor = one + vec_load_n(norm->a + i, width);
        Vec offset = norm->b ? vec_load_n(norm->b + i, width) : vec_set1(0);
        Vec value = (vec_load_n(x + i, width) - m - r) * s;
        vec_store_n(out + i, vec_fma(value, factor, offset), width);
    }
}

/* A float does not hold a large mean well enough: `shift` is its rounded value, `rest` what the
 * differences from that still average to. */
void LF_SIMD(lf_norm_row)(float *out, const float *x, int64_t n, const LfNorm *norm)
{
    float shift = 0, rest = 0, sum, squares;
    if (norm->centre) {
        sums(x, n, 0, &sum, &squares);
        shift = sum / (float) n;
    }
    sums(x, n, shift, &sum, &squares);
    if (norm->centre)
        rest = sum / (float) n;
    float mean_square = squares / (float) n - rest * rest;
    apply(out, x, n, norm, shift, rest, 1.0f / sqrtf(mean_square + norm->eps));
}

INLINE void pixel_norm(float *out, const float *x, int64_t n, const float *weight, bool silu)
{
    float sum, squares;
    sums(x, n, 0, &sum, &squares);
    float length = sqrtf(squares), root = sqrtf((float) n);
    Vec factor = vec_set1(root / (length > 1e-12f ? length : 1e-12f));
    for (int64_t i = 0; i < n; i += LANES) {
        int width = width_at(i, n);
        Vec value = vec_load_n(x + i, width) * factor * vec_load_n(weight + i, width);
        vec_store_n(out + i, silu ? vec_silu(value) : value, width);
    }
}

void LF_SIMD(lf_pixel_norm)(float *out, const float *x, int64_t n_pixels, int64_t n,
                            const float *weight, bool silu)
{
    for (int64_t p = 0; p < n_pixels; p++, out += n, x += n)
        pixel_norm(out, x, n, weight, silu);
}
