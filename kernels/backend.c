/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The plan: a backend without memory and without operations, for shapes and sizes.
 */
#include "backend.h"
#include "ops.h"
#include "weight.h"

void lf_backend_close(LfBackend *be)
{
    if (be)
        be->close(be);
}

static void *plan_alloc(LfBackend *be, size_t size)
{
    return NULL;
}

static void plan_free(LfBackend *be, void *memory)
{
}

static void plan_move(LfBackend *be, void *dst, const void *src, size_t size)
{
}

static bool plan_sync(LfBackend *be, GError **error)
{
    return true;
}

static void plan_close(LfBackend *be)
{
}

/* A weight with a shape only. */
static LfWeight *plan_weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    LfWeight *weight = g_new0(LfWeight, 1);
    weight->kind = kind;
    weight->out = source.shape[0];
    weight->in = source.shape[1];
    weight->input = be->activation_type;
    return weight;
}

static void plan_weight_free(LfBackend *be, LfWeight *weight)
{
    g_free(weight);
}

static void plan_clear(LfBackend *be, void *dst, size_t size)
{
}

static LfEvent *plan_event_new(LfBackend *be)
{
    return NULL;
}

static void plan_event(LfBackend *be, LfEvent *event)
{
}

static bool plan_event_sync(LfBackend *be, LfEvent *event, GError **error)
{
    return true;
}

static int64_t plan_event_elapsed(LfBackend *be, LfEvent *from, LfEvent *to)
{
    return 0;
}

/* Without operations: lf_linear and its like check their arguments and return. */
static const LfOps plan_ops = {.weight_new = plan_weight_new, .weight_free = plan_weight_free};

#define PLAN(ACTIVATION, PICTURE, PRECISION)                                                       \
    {                                                                                              \
        .ops = &plan_ops, .name = "plan", .description = "no machine: shapes only",                \
        .n_threads = 1, .precision = PRECISION, .activation_type = ACTIVATION,                     \
        .decoder_type = PICTURE, .alloc = plan_alloc, .free = plan_free, .upload = plan_move,      \
        .download = plan_move, .copy = plan_move, .clear = plan_clear, .sync = plan_sync,          \
        .event_new = plan_event_new, .event_free = plan_event, .event_record = plan_event,         \
        .event_sync = plan_event_sync, .wait_event = plan_event,                                   \
        .event_elapsed = plan_event_elapsed, .close = plan_close                                   \
    }

LfBackend *lf_backend_plan(const LfBackend *like)
{
    static LfBackend f32 = PLAN(LF_F32, LF_F32, LF_PRECISION_FP32);
    static LfBackend bf16 = PLAN(LF_BF16, LF_F16, LF_PRECISION_BF16);
    return like && like->activation_type == LF_BF16 ? &bf16 : &f32;
}

bool lf_backend_is_plan(const LfBackend *be)
{
    return be->ops == &plan_ops;
}
