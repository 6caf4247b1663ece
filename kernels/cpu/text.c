/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Attention on text. A row holds all heads, so the rows of one head are a whole row apart.
 */
#include "attend.h"
#include "window.h"

#include <math.h>

/* `shape` holds what heads and queries have in common; its pointers, and those of `k` and `v`
 * [rows, width], are those of head 0 and query 0. */
static void attend_heads(LfBackend *be, const LfAttend *shape, LfTensor k, LfTensor v, int heads,
                         const LfAttendKernel *kernel)
{
    int n = shape->n_queries, groups = lf_blocks(n, kernel->group), d = shape->head_dim;
#pragma omp parallel for num_threads(be->n_threads) schedule(dynamic)
    for (int task = 0; task < heads * groups; task++) {
        int head = task / groups, first = task % groups * kernel->group;
        LfKeys keys = {lf_f32(k) + head * d, lf_f32(v) + head * d, (int) k.shape[0]};
        LfAttend a = *shape;
        a.q += first * a.q_stride + head * d;
        a.out += first * a.out_stride + head * d;
        a.n_queries = lf_block_tokens(n, kernel->group, task % groups);
        a.keys = &keys;
        a.total = keys.n;
        if (a.bias)
            a.bias += ((int64_t) head * n + first) * a.bias_stride;
        void *scratch = lf_cpu_scratch(be, lf_cpu_thread(), kernel->scratch(&a));
        if (scratch)
            kernel->run(&a, scratch);
    }
}

static LfAttend shape_of(LfTensor out, LfTensor q, int heads)
{
    int64_t width = q.shape[1];
    return (LfAttend){
        .q = lf_f32(q),
        .out = lf_f32(out),
        .q_stride = width,
        .out_stride = width,
        .key_stride = width,
        .n_queries = (int) q.shape[0],
        .head_dim = (int) (width / heads),
        .n_keys = 1,
        .scale = 1,
    };
}

static void cross_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                            int heads, float last_logit, const LfAttendKernel *kernel)
{
    LfAttend shape = shape_of(out, q, heads);
    shape.scale = 1 / sqrtf((float) shape.head_dim);
    shape.last_logit = last_logit;
    attend_heads(be, &shape, k, v, heads, kernel);
}

static void text_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                           LfTensor bias, const LfAttendKernel *kernel)
{
    int heads = (int) bias.shape[0];
    LfAttend shape = shape_of(out, q, heads);
    shape.bias = lf_f32(bias);
    shape.bias_stride = bias.shape[2];
    attend_heads(be, &shape, k, v, heads, kernel);
}

#define TEXT(isa)                                                                                  \
    static void cross_attention_##isa(LfBackend *be, LfTensor out, LfTensor q, LfTensor k,         \
                                      LfTensor v, LfTensor v_amax, int heads, float last_logit)    \
    {                                                                                              \
        cross_attention(be, out, q, k, v, heads, last_logit, &lf_attend_##isa);                    \
    }                                                                                              \
    static void text_attention_##isa(LfBackend *be, LfTensor out, LfTensor q, LfTensor k,          \
                                     LfTensor v, LfTensor bias)                                    \
    {                                                                                              \
        text_attention(be, out, q, k, v, bias, &lf_attend_##isa);                                  \
    }

TEXT(c)
LF_ON_X86(TEXT(avx2) TEXT(avx512))

void lf_cpu_text_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->cross_attention, cross_attention, isa);
    LF_SET_VERSIONS(ops->text_attention, text_attention, isa);
}
