/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Self attention over the window. A task is one head and some queries of one query block, with a
 * list of the keys that they attend to. Dense attention lists every frame.
 */
#include "attend.h"
#include "window.h"

#include <math.h>

/* ---- plain ----------------------------------------------------------------------------------- */

static size_t attend_scratch_c(const LfAttend *a)
{
    return (size_t) a->total * sizeof(float);
}

/* Scores of one query, and the largest of them. */
static float score_keys(const LfAttend *a, const float *q, const float *bias, float *scores)
{
    float largest = -INFINITY;
    for (int i = 0, n = 0; i < a->n_keys; i++)
        for (int j = 0; j < a->keys[i].n; j++, n++) {
            const float *k = a->keys[i].k + j * a->key_stride;
            float sum = 0;
            for (int c = 0; c < a->head_dim; c++)
                sum += q[c] * k[c];
            scores[n] = sum * a->scale + (bias ? bias[n] : 0);
            if (i == a->n_keys - 1 && j == a->keys[i].n - 1)
                scores[n] += a->last_logit;
            largest = fmaxf(largest, scores[n]);
        }
    return largest;
}

static void sum_values(const LfAttend *a, float *out, const float *scores, float largest)
{
    float total = 0;
    for (int c = 0; c < a->head_dim; c++)
        out[c] = 0;
    for (int i = 0, n = 0; i < a->n_keys; i++)
        for (int j = 0; j < a->keys[i].n; j++, n++) {
            const float *v = a->keys[i].v + j * a->key_stride;
            float weight = expf(scores[n] - largest);
            total += weight;
            for (int c = 0; c < a->head_dim; c++)
                out[c] += weight * v[c];
        }
    for (int c = 0; c < a->head_dim; c++)
        out[c] /= total;
}

static void attend_c(const LfAttend *a, void *scratch)
{
    for (int i = 0; i < a->n_queries; i++) {
        const float *bias = a->bias ? a->bias + i * a->bias_stride : NULL;
        float largest = score_keys(a, a->q + i * a->q_stride, bias, scratch);
        sum_values(a, a->out + i * a->out_stride, scratch, largest);
    }
}

const LfAttendKernel lf_attend_c = {16, attend_scratch_c, attend_c};

/* ---- the operation --------------------------------------------------------------------------- */

static void list_frames(LfKeys *keys, const LfWindow *window, int head)
{
    for (int f = 0; f < lf_window_frames(window); f++)
        keys[f] = (LfKeys){lf_window_rows(window, window->k, f, head),
                           lf_window_rows(window, window->v, f, head), lf_window_tokens(window)};
}

static void list_blocks(LfKeys *keys, const LfWindow *window, int head, const int32_t *blocks,
                        int n)
{
    int size = window->key_block, tokens = lf_window_tokens(window);
    int per_frame = lf_blocks(tokens, size);
    for (int i = 0; i < n; i++) {
        int frame = blocks[i] / per_frame, block = blocks[i] % per_frame;
        int64_t offset = (int64_t) block * size * window->k.shape[3];
        keys[i] = (LfKeys){lf_window_rows(window, window->k, frame, head) + offset,
                           lf_window_rows(window, window->v, frame, head) + offset,
                           lf_block_tokens(tokens, size, block)};
    }
}

typedef struct {
    LfTensor out, q, table; /* table: LF_NONE for dense */
    const LfWindow *window;
    int query_block; /* rows of a task; of a frame when sparse, of the chunk when dense */
    int per_frame;   /* query blocks of a frame, sparse only */
} Job;

/* Rows [*first, *first + count) of the chunk are task `index` of a head. */
static int task_rows(const Job *job, int index, int *first)
{
    if (!lf_is_set(job->table)) {
        *first = index * job->query_block;
        return lf_block_tokens((int) job->q.shape[1], job->query_block, index);
    }
    int tokens = lf_window_tokens(job->window), block = index % job->per_frame;
    *first = index / job->per_frame * tokens + block * job->query_block;
    return lf_block_tokens(tokens, job->query_block, block);
}

static void attend_task(const Job *job, LfBackend *be, const LfAttendKernel *kernel, int head,
                        int index)
{
    int64_t n = job->q.shape[1], d = job->q.shape[2], width = job->out.shape[1];
    int first, count = task_rows(job, index, &first);
    bool sparse = lf_is_set(job->table);
    int n_keys = sparse ? (int) job->table.shape[2] : lf_window_frames(job->window);
    LfAttend a = {
        .q = lf_f32(job->q) + (head * n + first) * d,
        .out = lf_f32(job->out) + first * width + head * d,
        .q_stride = d,
        .out_stride = width,
        .key_stride = d,
        .n_queries = count,
        .head_dim = (int) d,
        .n_keys = n_keys,
        .total = n_keys * (sparse ? job->window->key_block : lf_window_tokens(job->window)),
        .scale = 1 / sqrtf((float) d),
    };
    size_t list = lf_cpu_aligned((size_t) n_keys * sizeof(LfKeys));
    uint8_t *scratch = lf_cpu_scratch(be, lf_cpu_thread(), list + kernel->scratch(&a));
    if (!scratch)
        return;
    LfKeys *keys = (LfKeys *) scratch;
    if (sparse)
        list_blocks(keys, job->window, head,
                    lf_i32(job->table) + (head * job->table.shape[1] + index) * n_keys, n_keys);
    else
        list_frames(keys, job->window, head);
    a.keys = keys;
    kernel->run(&a, scratch + list);
}

static void attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window,
                      LfTensor table, int query_block, const LfAttendKernel *kernel)
{
    Job job = {.out = out, .q = q, .table = table, .window = window, .query_block = kernel->group};
    int heads = (int) q.shape[0], tasks = lf_blocks((int) q.shape[1], kernel->group);
    if (lf_is_set(table)) {
        job.query_block = query_block;
        job.per_frame = lf_blocks(lf_window_tokens(window), query_block);
        tasks = window->chunk * job.per_frame;
    }
#pragma omp parallel for num_threads(be->n_threads) schedule(dynamic)
    for (int i = 0; i < heads * tasks; i++)
        attend_task(&job, be, kernel, i / tasks, i % tasks);
}

#define ATTENTION(isa)                                                                             \
    static void attention_##isa(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window,   \
                                LfTensor table, int query_block)                                   \
    {                                                                                              \
        attention(be, out, q, window, table, query_block, &lf_attend_##isa);                       \
    }

ATTENTION(c)
LF_ON_X86(ATTENTION(avx2) ATTENTION(avx512))

void lf_cpu_attention_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->attention, attention, isa);
}
