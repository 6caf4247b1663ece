/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What all backends share, and the one that does nothing.
 */
#include "backend.h"
#include "ops.h"
#include "weight.h"

void lf_backend_close(LfBackend *be)
{
    if (be)
        be->close(be);
}

void lf_upload_floats(LfBackend *be, LfTensor dst, const float *values)
{
    if (dst.type == LF_F32 || lf_backend_is_plan(be)) {
        be->upload(be, dst.data, values, lf_tensor_size(dst));
        return;
    }
    g_autofree void *converted = g_malloc(lf_tensor_size(dst));
    lf_from_float(converted, dst.type, values, lf_tensor_count(dst));
    be->upload(be, dst.data, converted, lf_tensor_size(dst));
}

void lf_download_floats(LfBackend *be, float *values, LfTensor src)
{
    if (src.type == LF_F32) {
        be->download(be, values, src.data, lf_tensor_size(src));
        return;
    }
    g_autofree void *narrow = g_malloc(lf_tensor_size(src));
    be->download(be, narrow, src.data, lf_tensor_size(src));
    lf_to_float(values, narrow, src.type, lf_tensor_count(src));
}

/* ---- the plan: every operation is a prototype's worth of nothing ----------------------------- */

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

static void plan_linear(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                        LfTensor bias, LfActivation activation)
{
}

static void plan_linear_residual(LfBackend *be, LfTensor x, LfTensor y, const LfWeight *weight,
                                 LfTensor bias, LfTensor gate)
{
}

static void plan_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor a, LfTensor b, float eps)
{
}

static void plan_rms_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, float eps)
{
}

static void plan_qkv_norm_rope(LfBackend *be, LfTensor q, LfTensor q_pool, const LfWindow *window,
                               LfTensor qkv, LfTensor q_weight, LfTensor k_weight,
                               const LfRope *rope, int query_block, float eps)
{
}

static void plan_rope_shift(LfBackend *be, LfTensor out, LfTensor x, LfTensor turn)
{
}

static void plan_select_blocks(LfBackend *be, LfTensor table, LfTensor q_pool,
                               const LfWindow *window, const LfSelection *selection)
{
}

static void plan_attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window,
                           LfTensor table, int query_block)
{
}

static void plan_cross_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                                 LfTensor v_amax, int heads, float last_logit)
{
}

static void plan_text_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                                LfTensor bias)
{
}

static void plan_position_bias(LfBackend *be, LfTensor out, LfTensor table, LfTensor buckets)
{
}

static void plan_embedding(LfBackend *be, LfTensor out, const LfWeight *table, LfTensor ids)
{
}

static void plan_two(LfBackend *be, LfTensor out, LfTensor x)
{
}

static void plan_patches(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
}

static void plan_mix(LfBackend *be, LfTensor out, LfTensor x, LfTensor y, float sigma)
{
}

static void plan_noise(LfBackend *be, LfTensor out, uint64_t seed, uint32_t chunk, uint32_t step)
{
}

static void plan_conv3x3(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,
                         const LfWeight *weight, LfTensor bias, LfTensor residual, bool relu)
{
}

static void plan_conv3x3_up2(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                             bool relu)
{
}

static bool plan_pixels(LfBackend *be, const LfPicture *picture, LfTensor rgb, GError **error)
{
    return true;
}

static const LfOps plan_ops = {
    .weight_new = plan_weight_new,
    .weight_free = plan_weight_free,
    .linear = plan_linear,
    .linear_residual = plan_linear_residual,
    .layer_norm_modulate = plan_norm,
    .layer_norm = plan_norm,
    .rms_norm = plan_rms_norm,
    .qkv_norm_rope = plan_qkv_norm_rope,
    .rope_shift = plan_rope_shift,
    .select_blocks = plan_select_blocks,
    .attention = plan_attention,
    .cross_attention = plan_cross_attention,
    .amax = plan_two,
    .text_attention = plan_text_attention,
    .position_bias = plan_position_bias,
    .embedding = plan_embedding,
    .gelu_gate = plan_two,
    .patchify = plan_patches,
    .unpatchify = plan_patches,
    .denoise = plan_mix,
    .renoise = plan_mix,
    .noise = plan_noise,
    .tanh_clamp = plan_two,
    .conv3x3 = plan_conv3x3,
    .conv3x3_up2 = plan_conv3x3_up2,
    .rgb8 = plan_two,
    .pixels = plan_pixels,
};

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
