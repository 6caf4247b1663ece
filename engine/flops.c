/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flops.h"

#include "geometry.h"

static void count(LfBackend *be, double multiply_adds)
{
    ((LfFlopCounter *) be)->flops += 2 * multiply_adds;
}

static double elements(LfTensor t)
{
    return (double) lf_tensor_count(t);
}

static void count_linear(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                         LfTensor bias, LfActivation activation)
{
    count(be, elements(out) * (double) lf_weight_in(weight));
}

static void count_linear_residual(LfBackend *be, LfTensor x, LfTensor y, const LfWeight *weight,
                                  LfTensor bias, LfTensor gate)
{
    count(be, elements(x) * (double) lf_weight_in(weight));
}

/* Two products for each query of q [H, N, d] and each key: q·k and p·v. */
static void count_attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window,
                            LfTensor table, int query_block)
{
    double frames = (double) window->slots.shape[0], tokens = (double) window->k.shape[2];
    double blocks = (double) window->k_pool.shape[2];
    double keys = lf_is_set(table) ? (double) table.shape[2] * tokens / blocks : frames * tokens;
    count(be, 2 * elements(q) * keys);
}

/* The mean of every query block, [H, c·nq, d], times the means of all key blocks of the window. */
static void count_select(LfBackend *be, LfTensor table, LfTensor q_pool, const LfWindow *window,
                         const LfSelection *selection)
{
    count(be, elements(q_pool) * (double) (window->slots.shape[0] * window->k_pool.shape[2]));
}

static void count_cross_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                                  LfTensor v_amax, int heads, float last_logit)
{
    count(be, 2 * elements(q) * (double) k.shape[0]);
}

static void count_text_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                                 LfTensor bias)
{
    count(be, 2 * elements(q) * (double) k.shape[0]);
}

static void count_conv3x3(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,
                          const LfWeight *weight, LfTensor bias, LfTensor residual, bool relu)
{
    count(be, 9 * elements(out) * (double) lf_weight_in(weight));
}

static void count_conv3x3_up2(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                              LfTensor bias, bool relu)
{
    count(be, 4 * elements(out) * (double) lf_weight_in(weight));
}

static void count_conv3d(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,
                         const LfWeight *weight, LfTensor bias, LfTensor residual)
{
    count(be, elements(out) * (double) (lf_weight_in(weight) * lf_weight_taps(weight)));
}

static void count_frame_attention(LfBackend *be, LfTensor out, LfTensor x)
{
    count(be, 2 * elements(out) * (double) x.shape[1]);
}

LfBackend *lf_flop_counter_init(LfFlopCounter *counter, const LfBackend *like)
{
    const LfBackend *plan = lf_backend_plan(like);
    *counter = (LfFlopCounter){.base = *plan, .ops = *plan->ops};
    counter->base.ops = &counter->ops;
    counter->ops.linear = count_linear;
    counter->ops.linear_residual = count_linear_residual;
    counter->ops.attention = count_attention;
    counter->ops.select_blocks = count_select;
    counter->ops.cross_attention = count_cross_attention;
    counter->ops.text_attention = count_text_attention;
    counter->ops.conv3x3 = count_conv3x3;
    counter->ops.conv3x3_up2 = count_conv3x3_up2;
    counter->ops.conv3d = count_conv3d;
    counter->ops.frame_attention = count_frame_attention;
    return &counter->base;
}
