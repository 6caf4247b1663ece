/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One vector register of floats. The sources in this folder are compiled once for AVX2 and FMA and
 * once for AVX-512; LF_SIMD appends the instruction set's name to the symbols that they export.
 */
#ifndef LF_KERNELS_CPU_VEC_H
#define LF_KERNELS_CPU_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

#if defined __AVX512F__
#define LANES         16
#define LF_SIMD(name) name##_avx512
typedef __m512 Vec;
typedef int32_t Ints __attribute__((vector_size(64))); /* with C's operators */

INLINE Vec vec_set1(float x)
{
    return _mm512_set1_ps(x);
}

INLINE Vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

INLINE void vec_store(float *p, Vec x)
{
    _mm512_storeu_ps(p, x);
}

INLINE __mmask16 vec_first(int n)
{
    return (__mmask16) ((1u << n) - 1);
}

/* The first n ≤ LANES values; the other lanes are 0, and their memory is not read. */
INLINE Vec vec_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vec_first(n), p);
}

INLINE void vec_store_n(float *p, Vec x, int n)
{
    _mm512_mask_storeu_ps(p, vec_first(n), x);
}

INLINE Vec vec_fma(Vec a, Vec b, Vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* a·b − c in even places, a·b + c in odd ones. */
INLINE Vec vec_fma_sub_add(Vec a, Vec b, Vec c)
{
    return _mm512_fmaddsub_ps(a, b, c);
}

INLINE Vec vec_even(Vec x)
{
    return _mm512_moveldup_ps(x);
}

INLINE Vec vec_odd(Vec x)
{
    return _mm512_movehdup_ps(x);
}

INLINE Vec vec_swap_pairs(Vec x)
{
    return _mm512_permute_ps(x, 0xb1);
}

INLINE Vec vec_max(Vec a, Vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE float vec_sum(Vec x)
{
    return _mm512_reduce_add_ps(x);
}

/* The first n lanes, zeros behind. */
INLINE Vec vec_keep(Vec x, int n)
{
    return _mm512_maskz_mov_ps(vec_first(n), x);
}

/* `a` where x is negative, b elsewhere. */
INLINE Vec vec_select_negative(Vec x, Vec a, Vec b)
{
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x)), b, a);
}

/* LANES numbers from bf16. */
INLINE Vec vec_load_bf16(const void *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* Bit i: lane i of a comparison's result. */
INLINE unsigned ints_mask(Ints x)
{
    return _mm512_movepi32_mask((__m512i) x);
}

/* t − floor(t) and y·2^floor(t). */
INLINE Vec vec_fraction(Vec t)
{
    return _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

INLINE Vec vec_scale(Vec y, Vec t)
{
    return _mm512_scalef_ps(y, t);
}

/* rows[j][i] = rows[i][j]. After two rounds, word w of a register's quarter q is
 * row 4·i + w, column 4·q + j, for register 4·i + j; then the quarters change places. */
INLINE void vec_transpose(Vec r[LANES])
{
    Vec t[LANES];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for (int j = 0; j < 4; j++) {
        Vec even_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);
        Vec even_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        Vec odd_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
        Vec odd_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
        r[j] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        r[4 + j] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        r[8 + j] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
        r[12 + j] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
}

#else
#define LANES         8
#define LF_SIMD(name) name##_avx2
typedef __m256 Vec;
typedef int32_t Ints __attribute__((vector_size(32)));

INLINE Vec vec_set1(float x)
{
    return _mm256_set1_ps(x);
}

INLINE Vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

INLINE void vec_store(float *p, Vec x)
{
    _mm256_storeu_ps(p, x);
}

INLINE __m256i vec_first(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE Vec vec_load_n(const float *p, int n)
{
    return n >= LANES ? vec_load(p) : _mm256_maskload_ps(p, vec_first(n));
}

/* n ≥ 0. Not by a masked store: on a Zen 3 convolutions to few channels took up to twice the
 * time. */
INLINE void vec_store_n(float *p, Vec x, int n)
{
    if (n >= LANES) {
        vec_store(p, x);
        return;
    }
    __m128 rest = _mm256_castps256_ps128(x);
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(x, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *) p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, rest);
}

INLINE Vec vec_fma(Vec a, Vec b, Vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE Vec vec_fma_sub_add(Vec a, Vec b, Vec c)
{
    return _mm256_fmaddsub_ps(a, b, c);
}

INLINE Vec vec_even(Vec x)
{
    return _mm256_moveldup_ps(x);
}

INLINE Vec vec_odd(Vec x)
{
    return _mm256_movehdup_ps(x);
}

INLINE Vec vec_swap_pairs(Vec x)
{
    return _mm256_permute_ps(x, 0xb1);
}

INLINE Vec vec_max(Vec a, Vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE float vec_sum(Vec x)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

INLINE Vec vec_keep(Vec x, int n)
{
    return _mm256_and_ps(x, _mm256_castsi256_ps(vec_first(n)));
}

INLINE Vec vec_select_negative(Vec x, Vec a, Vec b)
{
    return _mm256_blendv_ps(b, a, x);
}

INLINE Vec vec_load_bf16(const void *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

INLINE unsigned ints_mask(Ints x)
{
    return (unsigned) _mm256_movemask_ps((__m256) x);
}

INLINE Vec vec_fraction(Vec t)
{
    return t - _mm256_floor_ps(t);
}

/* Below 2^−126 nothing is left. */
INLINE Vec vec_scale(Vec y, Vec t)
{
    Vec low = _mm256_set1_ps(-126);
    __m256i n = _mm256_cvtps_epi32(_mm256_floor_ps(_mm256_max_ps(t, low)));
    n = _mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(y * _mm256_castsi256_ps(n), _mm256_cmp_ps(t, low, _CMP_GE_OQ));
}

INLINE void vec_transpose(Vec r[LANES])
{
    Vec t[LANES];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int j = 0; j < 2; j++) {
            __m256d a = _mm256_castps_pd(t[i + j]), b = _mm256_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    }
    for (int j = 0; j < 4; j++) {
        Vec low = _mm256_permute2f128_ps(r[j], r[4 + j], 0x20);
        r[4 + j] = _mm256_permute2f128_ps(r[j], r[4 + j], 0x31);
        r[j] = low;
    }
}

#endif

/* How many of n numbers, from the i-th on, fill a register. */
INLINE int width_at(int64_t i, int64_t n)
{
    return n - i < LANES ? (int) (n - i) : LANES;
}

/* 2^t for t ≤ 0 (any t whose result is a normal number): the minimax polynomial of degree 5 on the
 * fraction, relative error 7.5e-8 before rounding, 1.5e-7 after. */
INLINE Vec vec_exp2(Vec t)
{
    Vec f = vec_fraction(t);
    Vec y = vec_fma(vec_set1(0.0018775767f), f, vec_set1(0.0089893397f));
    y = vec_fma(y, f, vec_set1(0.0558263175f));
    y = vec_fma(y, f, vec_set1(0.2401536107f));
    y = vec_fma(y, f, vec_set1(0.6931530833f));
    y = vec_fma(y, f, vec_set1(0.9999999404f));
    return vec_scale(y, t);
}

#endif
