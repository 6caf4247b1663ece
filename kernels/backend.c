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

static bool is_quantised(const LfBackend *be, LfWeightKind kind)
{
    return kind == LF_WEIGHT_LINEAR_FP8 && be->precision == LF_PRECISION_FP8;
}

/* Bytes of a device of these types. In F32, as on the CPU, what can be read in place is no memory,
 * unless its parts were put together, which a plan does not do: they have no data then. */
static size_t plan_weight_memory(const LfBackend *be, LfWeightKind kind, LfTensor source)
{
    size_t count = (size_t) lf_tensor_count(source), out = (size_t) source.shape[0];
    size_t element = lf_type_size(source.type);
    bool device = be->activation_type != LF_F32;
    if (kind == LF_WEIGHT_CONV_UP2)
        return 16 * out * (size_t) source.shape[1] * lf_type_size(be->decoder_type);
    if (kind == LF_WEIGHT_CONV3X3 || kind == LF_WEIGHT_CONV3D)
        return count * lf_type_size(be->decoder_type);
    if (is_quantised(be, kind))
        return count + out * sizeof(float);
    if (kind == LF_WEIGHT_EMBEDDING)
        return device ? count * (element == 2 ? 2 : 4) : 0;
    if (!device && source.type == LF_BF16)
        return source.data ? 0 : count * element;
    return count * lf_type_size(be->activation_type);
}

/* A weight with a shape only, and the memory that a device would need for it. */
static LfWeight *plan_weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    LfWeight *weight = g_new0(LfWeight, 1);
    lf_weight_describe(weight, kind, source);
    weight->input = is_quantised(be, kind) ? LF_F8_E4M3 : be->activation_type;
    weight->memory = plan_weight_memory(be, kind, source);
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
    static LfBackend fp8 = PLAN(LF_BF16, LF_F16, LF_PRECISION_FP8);
    if (!like || like->activation_type != LF_BF16)
        return &f32;
    return like->precision == LF_PRECISION_FP8 ? &fp8 : &bf16;
}

bool lf_backend_is_plan(const LfBackend *be)
{
    return be->ops == &plan_ops;
}
