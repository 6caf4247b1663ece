/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Attention among the pixels of a frame, with one head. A row holds q, k and v, so the rows of each
 * are three widths apart.
 */
#include "attend.h"
#include "window.h"

#include <math.h>

static void frame_attention(LfBackend *be, LfTensor out, LfTensor x, const LfAttendKernel *kernel)
{
    int n = (int) x.shape[1], c = (int) out.shape[2], groups = lf_blocks(n, kernel->group);
#pragma omp parallel for num_threads(be->n_threads) schedule(dynamic)
    for (int task = 0; task < (int) x.shape[0] * groups; task++) {
        int64_t frame = task / groups, first = (int64_t) task % groups * kernel->group;
        const float *rows = lf_f32(x) + frame * n * 3 * c;
        LfKeys keys = {rows + c, rows + 2 * c, n};
        LfAttend a = {.q = rows + first * 3 * c,
                      .out = lf_f32(out) + (frame * n + first) * c,
                      .keys = &keys,
                      .q_stride = 3 * c,
                      .out_stride = c,
                      .key_stride = 3 * c,
                      .n_queries = lf_block_tokens(n, kernel->group, task % groups),
                      .head_dim = c,
                      .n_keys = 1,
                      .total = n,
                      .scale = 1 / sqrtf((float) c)};
        void *scratch = lf_cpu_scratch(be, lf_cpu_thread(), kernel->scratch(&a));
        if (scratch)
            kernel->run(&a, scratch);
    }
}

#define FRAMES(isa)                                                                                \
    static void frame_attention_##isa(LfBackend *be, LfTensor out, LfTensor x)                     \
    {                                                                                              \
        frame_attention(be, out, x, &lf_attend_##isa);                                             \
    }

FRAMES(c)
LF_ON_X86(FRAMES(avx2) FRAMES(avx512))

void lf_cpu_frame_attention_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->frame_attention, frame_attention, isa);
}
