/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inner loops with a version for each instruction set. The operation's file cuts the work for the
 * threads, once for all versions; these functions do the work of one thread.
 */
#ifndef LF_KERNELS_CPU_SIMD_H
#define LF_KERNELS_CPU_SIMD_H

#include <stddef.h>
#include <stdint.h>

/* One token's queries or keys: y [heads, d] = rope(x / sqrt(mean(x²) + eps) ⊙ weight), head h at
 * out + h·head_stride; sums [heads·d] += y. angles [d/2, 2]: (cos, sin) of each pair. */
typedef struct {
    const float *weight;
    int heads, head_dim;
    float eps;
} LfRotate;

typedef void LfRotateRow(const LfRotate *rotate, float *out, int64_t head_stride, float *sums,
                         const float *x, const float *angles);

LfRotateRow lf_rotate_row_avx2, lf_rotate_row_avx512;

/* Which key blocks one head's queries keep, see lf_select_blocks. */
typedef struct {
    const float *q;                 /* [n_queries, d] */
    const float *const *k;          /* of each frame, oldest first: [blocks, d] */
    int n_queries, head_dim;        /* n_queries ≤ the kernel's `group` */
    int frames, blocks;             /* blocks: of one frame */
    int first_free, n_free, n_keep; /* the n_free past frames from first_free on compete to be one
                                       of n_keep; other frames are always candidates */
    int budget;
    int32_t *table; /* [n_queries, budget] */
} LfSelect;

typedef struct {
    int group;                           /* queries of one call */
    size_t (*scratch)(const LfSelect *); /* bytes that `run` needs */
    void (*run)(const LfSelect *, void *scratch);
} LfSelectKernel;

extern const LfSelectKernel lf_select_avx2, lf_select_avx512;

/* Keys that follow each other in memory, with their values. */
typedef struct {
    const float *k, *v;
    int n;
} LfKeys;

/* Exact attention of some queries of one head: out = softmax(scale·q·kᵀ + bias)·v. Strides count
 * floats from row to row. */
typedef struct {
    const float *q; /* [n_queries, d] */
    float *out;     /* [n_queries, d] */
    const LfKeys *keys;
    const float *bias; /* [n_queries, keys] or NULL */
    int64_t q_stride, out_stride, key_stride, bias_stride;
    int n_queries, head_dim, n_keys; /* n_keys: entries of `keys` */
    int total;                       /* keys in all; more where last_logit is 0 */
    float scale;
    float last_logit; /* added to the last key's */
} LfAttend;

typedef struct {
    int group;                           /* queries of one call that run best; any number may */
    size_t (*scratch)(const LfAttend *); /* bytes that `run` needs */
    void (*run)(const LfAttend *, void *scratch);
} LfAttendKernel;

extern const LfAttendKernel lf_attend_c, lf_attend_avx2, lf_attend_avx512;

#endif
