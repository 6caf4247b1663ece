/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Products of keys and queries with the queries as lanes: what attention and selection share.
 */
#ifndef LF_KERNELS_CPU_SCORES_H
#define LF_KERNELS_CPU_SCORES_H

#include "vec.h"

#if LANES == 16
#define MAX_VECS 4 /* vectors of queries at once: what fits in registers */
#else
#define MAX_VECS 2
#endif

/* qt [d, n_vec·LANES] = scale·q [n, d]ᵀ; lanes from n on are 0. */
INLINE void load_queries(float *qt, const float *q, int64_t stride, int n, int d, int n_vec,
                         float scale)
{
    Vec factor = vec_set1(scale), block[LANES];
    for (int v = 0; v < n_vec; v++) {
        for (int c = 0; c < d; c += LANES) {
            int width = d - c < LANES ? d - c : LANES;
            for (int i = 0; i < LANES; i++) {
                int row = v * LANES + i;
                block[i] = vec_set1(0);
                if (row < n)
                    block[i] = vec_load_n(q + row * stride + c, width) * factor;
            }
            vec_transpose(block);
            for (int i = 0; i < width; i++)
                vec_store(qt + ((c + i) * n_vec + v) * LANES, block[i]);
        }
    }
}

/* scores [rows, n_vec·LANES] = k [rows, d] · qt [d, n_vec·LANES]. */
INLINE void score_rows(float *scores, const float *qt, const float *k, int64_t stride, int d,
                       const int rows, const int n_vec)
{
    Vec s[8][MAX_VECS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            s[r][v] = vec_set1(0);
    for (int c = 0; c < d; c++, qt += n_vec * LANES) {
        Vec x[MAX_VECS];
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            x[v] = vec_load(qt + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            Vec y = vec_set1(k[r * stride + c]);
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++)
                s[r][v] = vec_fma(y, x[v], s[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            vec_store(scores + (r * n_vec + v) * LANES, s[r][v]);
}

/* The same for any number of keys, `rows` at a time while there are as many. */
INLINE void score_keys(float *scores, const float *qt, const float *k, int64_t stride, int d, int n,
                       const int rows, const int n_vec)
{
    int j = 0, width = n_vec * LANES;
    for (; j + rows <= n; j += rows)
        score_rows(scores + j * width, qt, k + j * stride, stride, d, rows, n_vec);
    if (rows > 4 && j + 4 <= n) {
        score_rows(scores + j * width, qt, k + j * stride, stride, d, 4, n_vec);
        j += 4;
    }
    for (; j < n; j++)
        score_rows(scores + j * width, qt, k + j * stride, stride, d, 1, n_vec);
}

#endif
