/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The result of a benchmark: bench.c measures, bench_report.c prints.
 */
#ifndef LF_CLI_BENCH_H
#define LF_CLI_BENCH_H

#include "engine/lightforcing.h"

/* Milliseconds. Medians over the chunks in steady state, but for `encode`. `chunk` is less than
 * the sum of the others on a GPU, where the decoder runs concurrently with the next chunk. */
typedef struct {
    double encode;                 /* of the prompt, once */
    double denoise, clean, decode; /* of a chunk */
    double read;  /* all frames of a chunk: conversion to I420 and transfer to host memory */
    double chunk; /* from one chunk to the next */
} BenchTimes;

typedef struct {
    const char *attention; /* "dense", "sparse" */
    double sparsity;       /* of the last chunk */
    BenchTimes times;
    double open_ms;     /* opening a session on a loaded model */
    double first_ms;    /* the first chunk, encoding of the prompt included */
    double clip_ms;     /* from the start to the last frame */
    double reaction_ms; /* from setting a prompt to having its first frame in host memory, when no
                           chunk is under way; median */
    double fps_steady, fps_clip;             /* pixel frames a second; the clip is all chunks */
    double gflop_transformer, gflop_decoder; /* of a chunk in steady state */
    double gflops;                           /* a second, in steady state */
    LfMemory memory;
} BenchResult;

typedef struct {
    const LfModel *model;
    LfModelInfo info; /* the model's, with the options' chunk and steps */
    int width, height;
    int window, sink; /* latent frames; window 0: unlimited */
    int n_threads;
    int n_chunks, first_steady; /* chunks in all, and the first of the steady state */
    double peak_gflops;         /* of the device, measured */
    double peak_rss_mb;         /* of the process */
    int n_results;
    BenchResult results[2];
} Bench;

void bench_print(const Bench *bench);
void bench_print_json(const Bench *bench);

#endif
