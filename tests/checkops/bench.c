/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time of an operation, and the peak of the machine.
 */
#include "checkops.h"

#include "kernels/cpu/peak.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A single thread is timed by its CPU time, which is right on a busy machine, too. */
static double now(int n_threads)
{
    struct timespec time;
    clock_gettime(n_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

/* ---- the machine's peaks --------------------------------------------------------------------- */

double peak_bytes(int n_threads)
{
    size_t size = 64 << 20;
    uint8_t *from = malloc(size), *to = malloc(size);
    g_assert_true(from && to);
    memset(from, 1, size);
    memset(to, 2, size);
    double best = 0.0;
    for (int round = 0; round < 20; round++) {
        double begin = now(n_threads);
#pragma omp parallel num_threads(n_threads)
        {
            size_t part = size / (size_t) n_threads;
            memcpy(to + part * (size_t) omp_get_thread_num(),
                   from + part * (size_t) omp_get_thread_num(), part);
        }
        best = MAX(best, 2.0 * (double) size / (now(n_threads) - begin));
    }
    free(from);
    free(to);
    return best;
}

/* ---- one operation --------------------------------------------------------------------------- */

static double peak_of(Bench *b)
{
    static double flops, bytes;
    if (b->flops > 0.0)
        return flops > 0.0 ? flops : (flops = lf_cpu_peak_flops(b->be->n_threads));
    return bytes > 0.0 ? bytes : (bytes = peak_bytes(b->be->n_threads));
}

Bench bench_begin(LfBackend *be, const char *what, double flops, double bytes)
{
    Bench b = {.be = be, .what = what, .flops = flops, .bytes = bytes, .best = 1e9};
    b.begin = b.last = now(be->n_threads);
    return b;
}

static double best_time;

double bench_time(void)
{
    return best_time;
}

static void print_result(Bench *b)
{
    best_time = b->best;
    double rate = (b->flops > 0.0 ? b->flops : b->bytes) / b->best;
    printf("  %-44s %9.3f ms %8.1f %s %5.0f %%\n", b->what, b->best * 1e3, rate / 1e9,
           b->flops > 0.0 ? "GFLOP/s" : "GB/s   ", 100.0 * rate / peak_of(b));
    fflush(stdout);
}

bool bench_continues(Bench *b)
{
    enum { WARM_UP = 2, FEWEST = 8 };
    double time = now(b->be->n_threads);
    if (b->n_calls++ > WARM_UP)
        b->best = MIN(b->best, time - b->last);
    bool more = b->n_calls < FEWEST || time - b->begin < 0.3;
    if (!more)
        print_result(b);
    b->last = now(b->be->n_threads);
    return more;
}
