/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every operation at every level of the CPU, in the manner of dav1d's checkasm: a level is tested
 * where its function differs from the level's before, against a double-precision reference that
 * stands in the test, with poisoned outputs and guarded margins; and timed against the machine.
 *
 * A stem's file defines a list of CheckOp and names it in main.c.
 */
#ifndef LF_TESTS_CHECKOPS_H
#define LF_TESTS_CHECKOPS_H

#include "kernels/ops.h"

#include <glib.h>

typedef struct {
    const char *name;             /* of the operation, without lf_ */
    size_t entry;                 /* where its pointer stands in LfOps */
    void (*check)(LfBackend *be); /* fails by g_assert */
    void (*bench)(LfBackend *be); /* uses BENCH; NULL: nothing to time */
} CheckOp;

#define CHECK_OP(op)                                                                               \
    {                                                                                              \
#op, offsetof(LfOps, op), check_##op, bench_##op                                           \
    }

extern const CheckOp linear_ops[], norm_ops[], rope_ops[], select_ops[], attention_ops[],
    text_ops[], conv_ops[], pointwise_ops[], noise_ops[],
    pixels_ops[]; /* each ends with a nameless one */

/* ---- sizes and numbers, from the seed that the test program prints (--seed sets it) ---- */

int64_t random_size(int64_t most); /* 1 … most */
int64_t random_odd(int64_t most);  /* the odd ones of these */
double random_normal(void);        /* mean 0, variance 1 */
double random_uniform(double low, double high);

/* ---- tensors with canaries on both sides, at any alignment that their type allows ----
 * All live until settle(). */

LfTensor input_tensor(LfType type, const int64_t *shape);  /* F32, BF16: normal numbers */
LfTensor output_tensor(LfType type, const int64_t *shape); /* poisoned: NaN, or all bits set */
#define input(type, ...)  input_tensor((type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})
#define output(type, ...) output_tensor((type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})

/* n doubles, zeroed, that live until settle(). */
double *reference(int64_t n);
/* The tensor (of a floating-point type) in double precision; lives until settle(). */
double *as_double(LfTensor t);

/* rel-L2(out, want) ≤ tolerance and no NaN; the figures go into the test's log. */
void expect_close(LfTensor out, const double *want, double tolerance);
/* The same where few outputs may cancel to next to nothing: errors are relative to outputs of at
 * least the size `typical`. */
void expect_near(LfTensor out, const double *want, double tolerance, double typical);
void expect_equal(LfTensor out, const void *want);

/* After the operation: canaries and inputs are untouched; frees everything. */
void settle(LfBackend *be);
/* The caller changes this input itself (an operation in place). */
void let_change(LfTensor t);

/* ---- time ---- */

typedef struct {
    LfBackend *be;
    const char *what;
    double flops, bytes;
    int n_calls;
    double begin, last, best;
} Bench;

/* Repeats a statement until its time is known, then prints the best time (what others do on the
 * machine only ever adds), the rate and its share of the machine's peak: GFLOP/s when flops > 0,
 * otherwise GB/s. BENCH (be, "480x256x768", 2.0 * 480 * 256 * 768, 0) lf_linear(…); */
#define BENCH(be, what, flops, bytes)                                                              \
    for (Bench bench_ = bench_begin((be), (what), (flops), (bytes)); bench_continues(&bench_);)

Bench bench_begin(LfBackend *be, const char *what, double flops, double bytes);
bool bench_continues(Bench *bench);
double bench_time(void); /* seconds; of the BENCH that ended last */

/* Bytes read and written a second by `n_threads` threads that copy memory, measured now. */
double peak_bytes(int n_threads);

#endif
