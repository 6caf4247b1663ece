/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "peak.h"

#include <glib.h>
#include <stdint.h>

/* Ten independent chains of multiply-adds: more than the latency of 4 cycles × 2 units needs. */
#define FMA_LOOP(width)                                                                            \
    typedef float Vector##width __attribute__((vector_size(width * 4)));                           \
    Vector##width sums[10], a = {0}, b = {0};                                                      \
    for (int c = 0; c < 10; c++)                                                                   \
        sums[c] = a + 2.0f + (float) c; /* the compiler would merge equal or constant ones */      \
    for (int i = 0; i < width; i++) {                                                              \
        a[i] = 0.999f;                                                                             \
        b[i] = 0.001f;                                                                             \
    }                                                                                              \
    for (int64_t n = 0; n < n_rounds; n++) {                                                       \
        _Pragma("GCC unroll 10") for (int c = 0; c < 10; c++) sums[c] = sums[c] * a + b;           \
    }                                                                                              \
    float total = 0.0f;                                                                            \
    for (int c = 0; c < 10; c++)                                                                   \
        total += sums[c][c % width];                                                               \
    *sink = total;                                                                                 \
    return 20.0 * width * (double) n_rounds;

#if defined __x86_64__
__attribute__((target("avx512f"), optimize("O3"))) static double fma_avx512(int64_t n_rounds,
                                                                            float *sink)
{
    FMA_LOOP(16)
}

__attribute__((target("avx2,fma"), optimize("O3"))) static double fma_avx2(int64_t n_rounds,
                                                                           float *sink)
{
    FMA_LOOP(8)
}
#endif

__attribute__((optimize("O3"))) static double fma_plain(int64_t n_rounds, float *sink)
{
    FMA_LOOP(4)
}

static double fma_rounds(int64_t n_rounds, float *sink)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return fma_avx512(n_rounds, sink);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return fma_avx2(n_rounds, sink);
#endif
    return fma_plain(n_rounds, sink);
}

/* Loop iterations of one measurement: at two multiply-adds a cycle 7.5 million cycles, 2 to 3 ms.
 * That is long beside the time in which a thread wakes up, and short enough that other programs
 * leave at least one of the MEASUREMENTS undisturbed. */
#define ITERATIONS   1500000
#define MEASUREMENTS 40

double lf_cpu_peak_flops(int n_threads)
{
    double best = 0.0;
    for (int i = 0; i < MEASUREMENTS; i++) {
        double flops = 0.0;
        gint64 begin = g_get_monotonic_time();
#pragma omp parallel num_threads(n_threads) reduction(+ : flops)
        {
            float sink;
            flops += fma_rounds(ITERATIONS, &sink);
            __asm__ volatile("" ::"m"(sink));
        }
        best = MAX(best, 1e6 * flops / (double) MAX(g_get_monotonic_time() - begin, 1));
    }
    return best;
}
