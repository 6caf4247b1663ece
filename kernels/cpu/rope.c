/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From the product q, k, v to the inputs of attention: norm, rotation, transposition to heads and
 * block means in one pass over each row. Bound by bytes: every value is read and written once.
 */
#include "attend.h"
#include "window.h"

#include <math.h>
#include <string.h>

/* ---- one row, plain -------------------------------------------------------------------------- */

static float rms_factor(const float *x, int n, float eps)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double) x[i] * x[i];
    return (float) (1 / sqrt(sum / n + eps));
}

static void lf_rotate_row_c(const LfRotate *rotate, float *out, int64_t head_stride, float *sums,
                            const float *x, const float *angles)
{
    int d = rotate->head_dim;
    float factor = rms_factor(x, rotate->heads * d, rotate->eps);
    for (int h = 0; h < rotate->heads; h++) {
        const float *xh = x + h * d, *w = rotate->weight + h * d;
        float *y = out + h * head_stride;
        for (int i = 0; i < d; i += 2) {
            float a = xh[i] * factor * w[i], b = xh[i + 1] * factor * w[i + 1];
            y[i] = a * angles[i] - b * angles[i + 1];
            y[i + 1] = a * angles[i + 1] + b * angles[i];
            sums[h * d + i] += y[i];
            sums[h * d + i + 1] += y[i + 1];
        }
    }
}

/* ---- one block of one frame ------------------------------------------------------------------ */

typedef struct {
    LfRotate rotate;
    LfRotateRow *row;
    const LfRope *rope;
    const float *x; /* the block's first row in qkv, at its q, k or v */
    int64_t stride; /* of a row of qkv */
    int frame, first, n_tokens;
} Block;

/* The destination of a block: its rows and its mean for head 0, and the strides between heads. */
typedef struct {
    float *rows, *mean; /* mean may be NULL */
    int64_t rows_stride, mean_stride;
} Place;

/* The angles of every pair at one token: those of its frame, its row and, if any, its column. */
static void gather_angles(float *angles, const LfRope *rope, int frame, int token)
{
    int n_tables = lf_is_set(rope->col) ? 3 : 2;
    int cols = n_tables == 3 ? (int) rope->col.shape[0] : 1;
    const LfTensor table[3] = {rope->time, rope->row, rope->col};
    const int index[3] = {frame, token / cols, token % cols};
    for (int i = 0; i < n_tables; i++) {
        int64_t n = 2 * table[i].shape[1];
        memcpy(angles, lf_f32(table[i]) + index[i] * n, (size_t) n * sizeof *angles);
        angles += n;
    }
}

static void write_mean(const Block *block, const Place *place, const float *sums)
{
    int d = block->rotate.head_dim;
    for (int h = 0; h < block->rotate.heads; h++)
        for (int i = 0; i < d; i++)
            place->mean[h * place->mean_stride + i] = sums[h * d + i] / (float) block->n_tokens;
}

static void rotate_block(const Block *block, const Place *place, float *sums, float *angles)
{
    int d = block->rotate.head_dim;
    memset(sums, 0, (size_t) block->rotate.heads * d * sizeof *sums);
    for (int t = 0; t < block->n_tokens; t++) {
        gather_angles(angles, block->rope, block->frame, block->first + t);
        block->row(&block->rotate, place->rows + t * d, place->rows_stride, sums,
                   block->x + t * block->stride, angles);
    }
    if (place->mean)
        write_mean(block, place, sums);
}

static void copy_block(const Block *block, const Place *place)
{
    int d = block->rotate.head_dim;
    for (int t = 0; t < block->n_tokens; t++)
        for (int h = 0; h < block->rotate.heads; h++)
            memcpy(place->rows + h * place->rows_stride + t * d,
                   block->x + t * block->stride + h * d, (size_t) d * sizeof(float));
}

/* ---- the operation --------------------------------------------------------------------------- */

typedef struct {
    LfTensor q, q_pool;
    const LfWindow *window;
    const float *qkv, *q_weight, *k_weight;
    Block shape; /* what all blocks have in common */
    int query_block;
} Job;

enum { Q, K, V }; /* the thirds of a row of qkv */

/* Block `index` of `size` tokens, counted over the chunk, of q, k or v. */
static Block block_of(const Job *job, int third, int size, int index)
{
    int tokens = lf_window_tokens(job->window), n = lf_blocks(tokens, size);
    Block block = job->shape;
    block.frame = index / n;
    block.first = index % n * size;
    block.n_tokens = lf_block_tokens(tokens, size, index % n);
    block.rotate.weight = third == Q ? job->q_weight : job->k_weight;
    int64_t width = block.stride / 3, row = (int64_t) block.frame * tokens + block.first;
    block.x = job->qkv + row * block.stride + third * width;
    return block;
}

static void run_queries(const Job *job, int index, float *sums, float *angles)
{
    Block block = block_of(job, Q, job->query_block, index);
    int64_t d = block.rotate.head_dim, n = job->q.shape[1];
    int64_t row = (int64_t) block.frame * lf_window_tokens(job->window) + block.first;
    Place place = {.rows = lf_f32(job->q) + row * d, .rows_stride = n * d};
    if (lf_is_set(job->q_pool)) {
        place.mean = lf_f32(job->q_pool) + index * d;
        place.mean_stride = job->q_pool.shape[1] * d;
    }
    rotate_block(&block, &place, sums, angles);
}

static void run_keys(const Job *job, int index, float *sums, float *angles)
{
    const LfWindow *window = job->window;
    int size = window->key_block;
    Block block = block_of(job, K, size, index);
    int64_t d = block.rotate.head_dim, frame = lf_window_past(window) + block.frame;
    Place place = {
        .rows = lf_window_rows(window, window->k, (int) frame, 0) + block.first * d,
        .mean = lf_window_rows(window, window->k_pool, (int) frame, 0) + block.first / size * d,
        .rows_stride = window->k.shape[2] * d,
        .mean_stride = window->k_pool.shape[2] * d,
    };
    rotate_block(&block, &place, sums, angles);

    block = block_of(job, V, size, index);
    place.rows = lf_window_rows(window, window->v, (int) frame, 0) + block.first * d;
    copy_block(&block, &place);
}

static void qkv_norm_rope(LfBackend *be, LfTensor q, LfTensor q_pool, const LfWindow *window,
                          LfTensor qkv, LfTensor q_weight, LfTensor k_weight, const LfRope *rope,
                          int query_block, float eps, LfRotateRow *rotate_row)
{
    int heads = (int) q.shape[0], d = (int) q.shape[2], tokens = lf_window_tokens(window);
    if (!lf_is_set(q_pool))
        query_block = window->key_block; /* without means it decides the size of tasks only */
    Job job = {
        .q = q,
        .q_pool = q_pool,
        .window = window,
        .qkv = lf_f32(qkv),
        .q_weight = lf_f32(q_weight),
        .k_weight = lf_f32(k_weight),
        .shape = {.rotate = {.heads = heads, .head_dim = d, .eps = eps},
                  .row = rotate_row,
                  .rope = rope,
                  .stride = qkv.shape[1]},
        .query_block = query_block,
    };
    int n_query = window->chunk * lf_blocks(tokens, query_block);
    int n_key = window->chunk * lf_blocks(tokens, window->key_block);
    size_t width = (size_t) heads * d;

#pragma omp parallel for num_threads(be->n_threads) schedule(dynamic)
    for (int i = 0; i < n_query + n_key; i++) {
        float *sums = lf_cpu_scratch(be, lf_cpu_thread(), (width + d) * sizeof(float));
        if (sums && i < n_query)
            run_queries(&job, i, sums, sums + width);
        else if (sums)
            run_keys(&job, i - n_query, sums, sums + width);
    }
}

#define QKV_NORM_ROPE(isa)                                                                         \
    static void qkv_norm_rope_##isa(                                                               \
        LfBackend *be, LfTensor q, LfTensor q_pool, const LfWindow *window, LfTensor qkv,          \
        LfTensor q_weight, LfTensor k_weight, const LfRope *rope, int query_block, float eps)      \
    {                                                                                              \
        qkv_norm_rope(be, q, q_pool, window, qkv, q_weight, k_weight, rope, query_block, eps,      \
                      lf_rotate_row_##isa);                                                        \
    }

QKV_NORM_ROPE(c)
LF_ON_X86(QKV_NORM_ROPE(avx2) QKV_NORM_ROPE(avx512))

/* ---- keys to another frame number ------------------------------------------------------------ */

static void rope_shift(LfBackend *be, LfTensor out, LfTensor x, LfTensor angles)
{
    int64_t rows = x.shape[0] * x.shape[1], d = x.shape[2], n_rotated = 2 * angles.shape[0];
    const float *t = lf_f32(angles);
#pragma omp parallel for num_threads(be->n_threads) if (rows * d > 1 << 14)
    for (int64_t r = 0; r < rows; r++) {
        const float *from = lf_f32(x) + r * d;
        float *to = lf_f32(out) + r * d;
        for (int64_t i = 0; i < n_rotated; i += 2) {
            float a = from[i], b = from[i + 1];
            to[i] = a * t[i] - b * t[i + 1];
            to[i + 1] = a * t[i + 1] + b * t[i];
        }
        if (to != from)
            memcpy(to + n_rotated, from + n_rotated, (size_t) (d - n_rotated) * sizeof *to);
    }
}

void lf_cpu_rope_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->qkv_norm_rope, qkv_norm_rope, isa);
    ops->rope_shift = rope_shift;
}
