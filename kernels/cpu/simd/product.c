/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Around a matrix product: conversion of weights from BF16, and the epilogue.
 */
#include "dense.h"
#include "activate.h"

#include <string.h>

/* ---- after ----------------------------------------------------------------------------------- */

INLINE Vec epilogue(Vec product, Vec old, Vec bias, Vec gate, LfActivation activation,
                    bool accumulate)
{
    Vec value = product + bias;
    if (accumulate)
        return vec_fma(gate, value, old);
    if (activation == LF_ACT_GELU_TANH)
        return vec_gelu_tanh(value);
    return activation == LF_ACT_SILU ? vec_silu(value) : value;
}

INLINE void epilogue_row(float *out, const float *product, int64_t first, int64_t n,
                         const LfEpilogue *f, LfActivation activation, bool accumulate)
{
    for (int64_t i = 0; i < n; i += LANES) {
        int width = width_at(i, n);
        Vec bias = f->bias ? vec_load_n(f->bias + first + i, width) : vec_set1(0);
        Vec gate = f->gate ? vec_load_n(f->gate + first + i, width) : vec_set1(1);
        Vec old = accumulate ? vec_load_n(out + i, width) : vec_set1(0);
        Vec value = vec_load_n(product + i, width);
        vec_store_n(out + i, epilogue(value, old, bias, gate, activation, accumulate), width);
    }
}

/* One loop for each case, so that none asks within. */
void LF_SIMD(lf_epilogue_row)(float *out, const float *product, int64_t first, int64_t n,
                              const LfEpilogue *f)
{
    if (f->accumulate)
        epilogue_row(out, product, first, n, f, LF_ACT_NONE, true);
    else if (f->activation == LF_ACT_GELU_TANH)
        epilogue_row(out, product, first, n, f, LF_ACT_GELU_TANH, false);
    else if (f->activation == LF_ACT_SILU)
        epilogue_row(out, product, first, n, f, LF_ACT_SILU, false);
    else
        epilogue_row(out, product, first, n, f, LF_ACT_NONE, false);
}

/* ---- before ---------------------------------------------------------------------------------- */

INLINE float wide(const uint16_t *bf16)
{
    uint16_t half;
    memcpy(&half, bf16, sizeof half); /* a file's tensors may start at odd addresses */
    uint32_t bits = (uint32_t) half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE void transpose_block(float *dst, const uint16_t *src, int64_t n_rows, int64_t n_in)
{
    Vec block[LANES];
    for (int r = 0; r < LANES; r++)
        block[r] = vec_load_bf16(src + r * n_in);
    vec_transpose(block);
    for (int i = 0; i < LANES; i++)
        vec_store(dst + i * n_rows, block[i]);
}

void LF_SIMD(lf_transpose_bf16)(float *dst, const uint16_t *src, int64_t n_rows, int64_t n_in)
{
    int64_t whole_rows = n_rows / LANES * LANES, whole_in = n_in / LANES * LANES;
    for (int64_t i = 0; i < whole_in; i += LANES)
        for (int64_t r = 0; r < whole_rows; r += LANES)
            transpose_block(dst + i * n_rows + r, src + r * n_in + i, n_rows, n_in);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = r < whole_rows ? whole_in : 0; i < n_in; i++)
            dst[i * n_rows + r] = wide(src + r * n_in + i);
}
