/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time of an operation, and what the machine could do at most.
 */
#include "checkops.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double now(void)
{
    return (double) g_get_monotonic_time() * 1e-6;
}

/* ---- the machine's peaks ---- */

/* Ten independent chains of multiply-add hide the latency of four on two units. */
#define FMA_LOOP(width)                                                                            \
    typedef float Vector##width __attribute__((vector_size(width * 4)));                           \
    Vector##width sums[10] = {{0}}, a = {0}, b = {0};                                              \
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

double peak_flops(int n_threads)
{
    double best = 0.0;
    for (int round = 0; round < 1000; round++) {
        double flops = 0.0, begin = now();
#pragma omp parallel num_threads(n_threads) reduction(+ : flops)
        {
            float sink;
            flops += fma_rounds(50000, &sink);
            __asm__ volatile("" ::"m"(sink));
        }
        best = MAX(best, flops / (now() - begin));
    }
    return best;
}

double peak_bytes(int n_threads)
{
    size_t size = 64 << 20;
    uint8_t *from = malloc(size), *to = malloc(size);
    g_assert_true(from && to);
    memset(from, 1, size);
    memset(to, 2, size);
    double best = 0.0;
    for (int round = 0; round < 20; round++) {
        double begin = now();
#pragma omp parallel num_threads(n_threads)
        {
            size_t part = size / (size_t) n_threads;
            memcpy(to + part * (size_t) omp_get_thread_num(),
                   from + part * (size_t) omp_get_thread_num(), part);
        }
        best = MAX(best, 2.0 * (double) size / (now() - begin));
    }
    free(from);
    free(to);
    return best;
}

/* ---- one operation ---- */

static double peak_of(Bench *b)
{
    static double flops, bytes;
    if (b->flops > 0.0)
        return flops > 0.0 ? flops : (flops = peak_flops(b->be->n_threads));
    return bytes > 0.0 ? bytes : (bytes = peak_bytes(b->be->n_threads));
}

Bench bench_begin(LfBackend *be, const char *what, double flops, double bytes)
{
    Bench b = {.be = be, .what = what, .flops = flops, .bytes = bytes, .best = 1e9};
    b.begin = b.last = now();
    return b;
}

static void print_result(Bench *b)
{
    double rate = (b->flops > 0.0 ? b->flops : b->bytes) / b->best;
    printf("  %-44s %9.3f ms %8.1f %s %5.0f %%\n", b->what, b->best * 1e3, rate / 1e9,
           b->flops > 0.0 ? "GFLOP/s" : "GB/s   ", 100.0 * rate / peak_of(b));
    fflush(stdout);
}

bool bench_continues(Bench *b)
{
    enum { WARM_UP = 2, FEWEST = 8 };
    double time = now();
    if (b->n_calls++ > WARM_UP)
        b->best = MIN(b->best, time - b->last);
    bool more = b->n_calls < FEWEST || time - b->begin < 0.3;
    if (!more)
        print_result(b);
    b->last = now();
    return more;
}
