/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "positions.h"

#include <math.h>

LfPairs lf_position_pairs(int head_dim)
{
    int pairs = head_dim / 2, side = pairs / 3;
    return (LfPairs){.time = pairs - 2 * side, .row = side, .col = side};
}

/* cos and sin reduce any double exactly. The only error is the rounding of the angle: 1e-16 of it,
 * which is 1e-7 after a thousand million frames. */
void lf_position_table(float *table, int pairs, uint64_t first, int count)
{
    for (int i = 0; i < count; i++)
        for (int p = 0; p < pairs; p++) {
            double angle = (double) (first + (uint64_t) i) * pow(10000, -(double) p / pairs);
            *table++ = (float) cos(angle);
            *table++ = (float) sin(angle);
        }
}
