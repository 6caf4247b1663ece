/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Products of keys and queries with the queries as lanes, for attention and selection.
 */
#ifndef LF_KERNELS_CPU_SCORES_H
#define LF_KERNELS_CPU_SCORES_H

#include "vec.h"

#if LANES == 16
#define MAX_VECS 4 /* vectors of queries at once: what fits in registers */
#else
#define MAX_VECS 2
#endif

/* columns [width ≤ LANES, LANES] = factor·rows [n, width]ᵀ; lanes from n on are 0. */
INLINE void load_columns(Vec columns[LANES], const float *rows, int64_t stride, int n, int width,
                         Vec factor)
{
    for (int i = 0; i < LANES; i++) {
        columns[i] = vec_set1(0);
        if (i < n)
            columns[i] = vec_load_n(rows + i * stride, width) * factor;
    }
    vec_transpose(columns);
}

/* qt [d, n_vec·LANES] = scale·q [n, d]ᵀ; lanes from n on are 0. */
INLINE void load_queries(float *qt, const float *q, int64_t stride, int n, int d, int n_vec,
                         float scale)
{
    Vec columns[LANES];
    for (int v = 0; v < n_vec; v++)
        for (int c = 0; c < d; c += LANES) {
            int width = d - c < LANES ? d - c : LANES;
            load_columns(columns, q + v * LANES * stride + c, stride, n - v * LANES, width,
                         vec_set1(scale));
            for (int i = 0; i < width; i++)
                vec_store(qt + ((c + i) * n_vec + v) * LANES, columns[i]);
        }
}

/* Rows of keys, n of them, `stride` floats apart. What will be read after them is fetched while
 * they are multiplied: the next ones into the first cache, their values into the second. On the
 * 1.3B model's windows that saves a sixth of the time. */
typedef struct {
    const float *k, *next, *v; /* next, v: [n, d]; NULL where there is nothing to fetch */
    int64_t stride;
    int n, d;
} KeyRows;

INLINE void fetch_ahead(const KeyRows *keys, const float *next, int row, int c, const int rows)
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        if (next)
            __builtin_prefetch(next + r * keys->stride + c, 0, 3);
        if (keys->v)
            __builtin_prefetch(keys->v + (row + r) * keys->stride + c, 0, 2);
    }
}

/* Channels of one key that are multiplied one after the other, so that their loads are from one
 * cache line: loads from different lines of one set slow each other down. */
#if LANES == 16
#define CHANNELS(n_vec) ((n_vec) <= 2 ? 4 : 2)
#else
#define CHANNELS(n_vec) ((n_vec) == 1 ? 4 : 1)
#endif

INLINE void score_channels(Vec s[8][MAX_VECS], const float *qt, const float *k, int64_t stride,
                           const int channels, const int rows, const int n_vec)
{
    Vec x[4][MAX_VECS];
#pragma GCC unroll 4
    for (int c = 0; c < channels; c++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            x[c][v] = vec_load(qt + (c * n_vec + v) * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < channels; c++) {
            Vec y = vec_set1(k[r * stride + c]);
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++)
                s[r][v] = vec_fma(y, x[c][v], s[r][v]);
        }
}

/* scores [rows, n_vec·LANES] = `rows` keys from `row` on · qt [d, n_vec·LANES]. */
INLINE void score_rows(float *scores, const float *qt, const KeyRows *keys, int row, const int rows,
                       const int n_vec)
{
    const float *k = keys->k + row * keys->stride;
    const float *next = row + rows < keys->n ? k + rows * keys->stride : keys->next;
    int c = 0, width = n_vec * LANES;
    Vec s[8][MAX_VECS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            s[r][v] = vec_set1(0);
    for (; c + CHANNELS(n_vec) <= keys->d; c += CHANNELS(n_vec)) {
        if (c % 16 == 0)
            fetch_ahead(keys, next, row, c, rows);
        score_channels(s, qt + c * width, k + c, keys->stride, CHANNELS(n_vec), rows, n_vec);
    }
    for (; c < keys->d; c++)
        score_channels(s, qt + c * width, k + c, keys->stride, 1, rows, n_vec);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            vec_store(scores + (r * n_vec + v) * LANES, s[r][v]);
}

/* scores [n, n_vec·LANES], `rows` keys at a time while there are as many. */
INLINE void score_keys(float *scores, const float *qt, const KeyRows *keys, const int rows,
                       const int n_vec)
{
    int j = 0, width = n_vec * LANES;
    for (; j + rows <= keys->n; j += rows)
        score_rows(scores + j * width, qt, keys, j, rows, n_vec);
    if (rows > 4 && j + 4 <= keys->n) {
        score_rows(scores + j * width, qt, keys, j, 4, n_vec);
        j += 4;
    }
    for (; j < keys->n; j++)
        score_rows(scores + j * width, qt, keys, j, 1, n_vec);
}

#endif
