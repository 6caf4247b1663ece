/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Activations of one register. With tanh(u) = 2·σ(2u) − 1, ½·x·(1 + tanh u) is x·σ(2u): no
 * difference of near numbers, so the error stays relative (below 3e-7) also where gelu is tiny.
 */
#ifndef LF_KERNELS_CPU_ACTIVATE_H
#define LF_KERNELS_CPU_ACTIVATE_H

#include "vec.h"

/* x·σ(z) = x/(1 + e) or x·e/(1 + e) with e = exp(−|z|) ≤ 1. */
INLINE Vec vec_times_sigmoid(Vec x, Vec z)
{
    Vec zero = vec_set1(0), one = vec_set1(1);
    Vec size = vec_max(z, zero - z);
    Vec e = vec_exp2(size * vec_set1(-1.44269504f));
    return x * vec_select_negative(z, e, one) / (e + one);
}

INLINE Vec vec_silu(Vec x)
{
    return vec_times_sigmoid(x, x);
}

INLINE Vec vec_gelu_tanh(Vec x)
{
    Vec slope = vec_fma(vec_set1(0.0713548163f), x * x, vec_set1(1.5957691216f));
    return vec_times_sigmoid(x, x * slope);
}

#endif
