/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Angles of the rotary position embedding: pair p of n is rotated by position·10000^(−p/n). The
 * angles are computed in double.
 */
#ifndef LF_MODELS_POSITIONS_H
#define LF_MODELS_POSITIONS_H

#include <stdint.h>

/* How many pairs of a head of `head_dim` channels encode time, row and column. */
typedef struct {
    int time, row, col;
} LfPairs;

LfPairs lf_position_pairs(int head_dim);

/* table [count, pairs, 2] = (cos, sin) of the angles of positions first … first + count − 1. */
void lf_position_table(float *table, int pairs, uint64_t first, int count);

#endif
