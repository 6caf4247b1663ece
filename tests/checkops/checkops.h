/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tests of every operation for every instruction set of the CPU and every feature level of a CUDA
 * device, in the manner of dav1d's checkasm. A version is tested where its function differs from
 * that of the level below, against a double-precision reference in the test, with poisoned outputs
 * and guarded margins. The benchmarks compare with the peak of the machine. Tests use host memory
 * and F32 only; device.h runs them on a device.
 *
 * Each file beside main.c defines a list of CheckOp, which main.c names.
 */
#ifndef LF_TESTS_CHECKOPS_H
#define LF_TESTS_CHECKOPS_H

#include "kernels/ops.h"

#include <glib.h>

typedef struct {
    const char *name;             /* of the operation, without lf_ */
    size_t entry;                 /* offset of its pointer in LfOps */
    void (*check)(LfBackend *be); /* fails by g_assert */
    void (*bench)(LfBackend *be); /* on the CPU, uses BENCH; NULL: nothing to time */
    bool by_shape; /* on a device one function chooses among kernels of several levels */
    bool fp8;      /* works on F8_E4M3 as well, where the backend's precision is FP8 */
} CheckOp;

#define CHECK_OP(op, ...)                                                                          \
    {                                                                                              \
        .name = #op, .entry = offsetof(LfOps, op), .check = check_##op, .bench = bench_##op,       \
        __VA_ARGS__                                                                                \
    }

extern const CheckOp linear_ops[], norm_ops[], rope_ops[], select_ops[], attention_ops[],
    text_ops[], frame_attention_ops[], conv_ops[], pointwise_ops[], noise_ops[],
    pixels_ops[]; /* each ends with a nameless one */

/* ---- sizes and numbers, from the seed that the test program prints (--seed sets it) ---------- */

int64_t random_size(int64_t most); /* 1 … most */
int64_t random_odd(int64_t most);  /* the odd ones of these */
double random_normal(void);        /* mean 0, variance 1 */
double random_uniform(double low, double high);

/* ---- tensors with canaries on both sides, at any alignment that their type allows ----
 * All live until settle(). */

LfTensor input_tensor(LfType type, const int64_t *shape);  /* F32, BF16: normal numbers; F8_E4M3:
                                                              of deviation 100 */
LfTensor output_tensor(LfType type, const int64_t *shape); /* poisoned: NaN, or all bits set */
#define input(type, ...)  input_tensor((type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})
#define output(type, ...) output_tensor((type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})

/* n doubles, zeroed, that live until settle(). */
double *reference(int64_t n);
/* The tensor (of a floating-point type) in double precision; lives until settle(). */
double *as_double(LfTensor t);

/* rel-L2(out, want) ≤ tolerance and no NaN; the figures go into the test's log. */
void expect_close(LfTensor out, const double *want, double tolerance);
/* The same for outputs that may cancel to almost 0: errors are relative to an output's
 * size, but to at least `typical`. */
void expect_near(LfTensor out, const double *want, double tolerance, double typical);
void expect_equal(LfTensor out, const void *want);

/* For rows of F8_E4M3: each number is `want` rounded with its row's factor, but for an `error`
 * before rounding; and each row's norm is at most the one in `scales`, before or after rounding. */
void expect_quantised(LfTensor out, const double *want, double error);
/* The same if the operation's error before rounding is `share` of `want`, in the mean. */
void expect_quantised_share(LfTensor out, const double *want, double share);

/* After the operation: canaries and inputs are untouched; frees everything. */
void settle(LfBackend *be);
/* The caller changes this input itself (an operation in place). */
void let_change(LfTensor t);

/* ---- on a device ----
 * Nothing of this changes anything on the CPU. */

/* The types of the tested backend's activations and pictures; whether its precision is FP8. */
LfType activation_of(LfBackend *be);
LfType picture_of(LfBackend *be);
bool is_fp8(LfBackend *be);

/* A device holds the tensor in `type`. An input's numbers are rounded to it, again whenever the
 * test changes them. Returns the tensor. */
LfTensor hold(LfTensor t, LfType type);
/* A device holds t [rows, width] in F8_E4M3 with a factor for each row; an input's numbers are
 * rounded to it. Returns t with `scales`, see lf_arena_rows. */
LfTensor hold_rows(LfTensor t);
/* The type that hold() has set; without one sets and returns `usual`. */
LfType held_as(LfTensor t, LfType usual);
/* F32 [1]: an upper bound of all finite numbers of t, not always a tight one. */
LfTensor amax_over(LfTensor t);
/* The tolerance, or the rounding error of the type in which a device holds the tensor, if that is
 * larger. */
double allowed(LfTensor t, double tolerance);
/* lf_from_float and lf_to_float on all cores, for types that these take. */
void narrow(void *dst, LfType type, const float *src, int64_t n);
void widen(float *dst, const void *src, LfType type, int64_t n);
/* Rounds to nearest even; saturates at ±448. */
uint8_t float_to_e4m3(float x);
float round_to_e4m3(float x);

/* Inputs of F32 that a device holds in the type of activations, of pictures. */
#define activations(be, ...) hold(input(LF_F32, __VA_ARGS__), activation_of(be))
#define pictures(be, ...)    hold(input(LF_F32, __VA_ARGS__), picture_of(be))

/* ---- time ------------------------------------------------------------------------------------ */

typedef struct {
    LfBackend *be;
    const char *what;
    double flops, bytes;
    int n_calls;
    double begin, last, best;
} Bench;

/* Repeats a statement until its time is known, then prints the best time (other programs only add
 * to it), the rate and its share of the machine's peak: GFLOP/s when flops > 0, otherwise GB/s.
 * BENCH (be, "480x256x768", 2.0 * 480 * 256 * 768, 0) lf_linear(…); */
#define BENCH(be, what, flops, bytes)                                                              \
    for (Bench bench_ = bench_begin((be), (what), (flops), (bytes)); bench_continues(&bench_);)

Bench bench_begin(LfBackend *be, const char *what, double flops, double bytes);
bool bench_continues(Bench *bench);
double bench_time(void); /* seconds; of the BENCH that ended last */

/* Times all operations whose name begins with `name` on CUDA device 0; the program's exit
 * status. */
int bench_device(const char *name);

/* Bytes per second, read and written, of `n_threads` threads that copy memory; measured now. */
double peak_bytes(int n_threads);

#endif
