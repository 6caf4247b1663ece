/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a benchmark has found: bench.c measures, bench_report.c tells.
 */
#ifndef LF_CLI_BENCH_H
#define LF_CLI_BENCH_H

#include "engine/model.h"

/* Milliseconds of a chunk, medians over the chunks in steady state; encode is that of the prompt,
 * read the conversion of a chunk's pictures to I420 in host memory. On a GPU chunk is less than the
 * sum: the decoder works beside the next chunk.
 */
typedef struct {
    double encode, denoise, clean, decode, transfer, read, chunk;
} BenchTimes;

typedef struct {
    const char *attention; /* "dense", "sparse" */
    double sparsity;       /* of the last chunk */
    BenchTimes times;
    double open_ms;                          /* a stream on an open model */
    double first_ms;                         /* the first chunk, its prompt's encoding included */
    double clip_ms;                          /* from the first noise to the last pixel */
    double fps_steady, fps_clip;             /* pixel frames a second; the clip is all chunks */
    double gflop_transformer, gflop_decoder; /* of a chunk in steady state */
    double gflops;                           /* a second, in steady state */
    LfMemory memory;
} BenchResult;

typedef struct {
    const LfModel *model;
    int width, height, window, sink; /* latent frames; window 0: unbounded */
    int n_threads;
    int n_chunks, first_steady; /* chunks made, and the first that counts as steady state */
    double peak_gflops;         /* of the machine, measured */
    double peak_rss_mb;         /* of the process */
    int n_results;
    BenchResult results[2];
} Bench;

/* GFLOP/s of a large product on a backend that is not the CPU. 0: it failed. */
double bench_peak_gflops(LfBackend *be);

void bench_print(const Bench *bench);
void bench_print_json(const Bench *bench);

#endif
