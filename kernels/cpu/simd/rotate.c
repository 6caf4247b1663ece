/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Norm and rotation of one row, in two passes; the second pass reads the row from the L1 cache.
 */
#include "simd.h"
#include "vec.h"

#include <math.h>

static float sum_of_squares(const float *x, int n)
{
    Vec sum[4] = {{0}, {0}, {0}, {0}};
    int i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++) {
            Vec v = vec_load(x + i + j * LANES);
            sum[j] = vec_fma(v, v, sum[j]);
        }
    for (; i < n; i += LANES) {
        Vec v = vec_load_n(x + i, n - i < LANES ? n - i : LANES);
        sum[0] = vec_fma(v, v, sum[0]);
    }
    return vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* Channels (a, b) of a pair become (a·cos − b·sin, b·cos + a·sin). */
INLINE Vec rotate(Vec x, Vec angles)
{
    return vec_fma_sub_add(x, vec_even(angles), vec_swap_pairs(x) * vec_odd(angles));
}

void LF_SIMD(lf_rotate_row)(const LfRotate *r, float *out, int64_t head_stride, float *sums,
                            const float *x, const float *angles)
{
    int d = r->head_dim, width = r->heads * d;
    float mean = sum_of_squares(x, width) / (float) width;
    Vec factor = vec_set1(1 / sqrtf(mean + r->eps));
    const float *w = r->weight;
    for (int h = 0; h < r->heads; h++, x += d, w += d, sums += d, out += head_stride) {
        int i = 0;
        for (; i + LANES <= d; i += LANES) {
            Vec y = vec_load(x + i) * factor * vec_load(w + i);
            y = rotate(y, vec_load(angles + i));
            vec_store(out + i, y);
            vec_store(sums + i, vec_load(sums + i) + y);
        }
        if (i < d) {
            int n = d - i;
            Vec y = vec_load_n(x + i, n) * factor * vec_load_n(w + i, n);
            y = rotate(y, vec_load_n(angles + i, n));
            vec_store_n(out + i, y, n);
            vec_store_n(sums + i, vec_load_n(sums + i, n) + y, n);
        }
    }
}
