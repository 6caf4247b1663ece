/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"
#include "checkops.h"

#include "kernels/weight.h"

#include <math.h>
#include <string.h>

#define MARGIN 4096

typedef struct {
    LfBackend base;
    LfOps ops;
    LfBackend *device;
    char key[32]; /* level and precision */
} Mirror;

typedef struct {
    LfWeight base;
    LfWeight *real;
} MirrorWeight;

/* ---- one call -------------------------------------------------------------------------------- */

/* A host tensor and its copy on the device: margin, data, scales of F8_E4M3, margin. */
typedef struct {
    LfTensor host, device;
    uint8_t *block;                                    /* on the device */
    uint8_t *before;                                   /* the block as it was sent */
    size_t data, data_size, scales, scales_size, size; /* offsets in the block, bytes */
    bool written;
} Copy;

typedef struct {
    LfBackend *device;
    Copy copies[12];
    int n_copies;
    bool recording;
} Call;

/* Some calls are captured into a graph, as the engine's are. */
static Call begin(LfBackend *be)
{
    Call c = {.device = ((Mirror *) be)->device};
    c.recording = c.device->capture_begin && random_size(3) == 1;
    return c;
}

uint8_t float_to_e4m3(float x)
{
    int exponent;
    float size = fminf(fabsf(x), 448.0f);
    frexpf(size, &exponent);
    exponent = size > 0.0f ? MAX(exponent - 1, -6) : -6;
    long steps = lrintf(ldexpf(size, 3 - exponent)); /* of the last place */
    uint8_t bits = isnan(x) ? 0x7f : (uint8_t) ((exponent + 7) * 8 + steps - 8);
    return signbit(x) ? bits | 0x80 : bits;
}

float round_to_e4m3(float x)
{
    uint8_t bits = float_to_e4m3(x);
    float rounded;
    lf_to_float(&rounded, &bits, LF_F8_E4M3, 1);
    return rounded;
}

static void expect_held(LfTensor host, const void *held, LfType type)
{
    int64_t n = lf_tensor_count(host);
    g_autofree float *wide = g_new(float, n);
    widen(wide, held, type, n);
    for (int64_t i = 0; i < n; i++)
        if (wide[i] != lf_f32(host)[i] && !(isnan(wide[i]) && isnan(lf_f32(host)[i])))
            g_error("the test gives %.9g, which %s does not hold: see hold()",
                    (double) lf_f32(host)[i], lf_type_name(type));
}

/* Converts the host's numbers to the device's type. */
static void convert(Copy *c)
{
    uint8_t *to = c->before + c->data;
    int64_t n = lf_tensor_count(c->host);
    if (c->host.type == c->device.type) {
        memcpy(to, c->host.data, c->data_size);
    } else if (c->device.type == LF_F8_E4M3) {
        memcpy(c->before + c->scales, c->host.scales, c->scales_size);
#pragma omp parallel for if (n > 10000)
        for (int64_t i = 0; i < n; i++)
            to[i] = float_to_e4m3(lf_f32(c->host)[i] / c->host.scales[i / c->host.shape[1]]);
    } else {
        narrow(to, c->device.type, lf_f32(c->host), n);
        expect_held(c->host, to, c->device.type);
    }
}

static void convert_back(const Copy *c, const uint8_t *after)
{
    int64_t n = lf_tensor_count(c->host);
    if (c->host.type == c->device.type)
        memcpy(c->host.data, after + c->data, c->data_size);
    else
        widen(lf_f32(c->host), after + c->data, c->device.type, n);
    if (c->device.type != LF_F8_E4M3)
        return;
    memcpy(c->host.scales, after + c->scales, c->scales_size);
    for (int64_t i = 0; i < n; i++)
        lf_f32(c->host)[i] *= c->host.scales[i / c->host.shape[1]];
}

static size_t padded(size_t size)
{
    return (size + 15) / 16 * 16;
}

static void send(Call *call, Copy *c)
{
    LfBackend *device = call->device;
    c->data_size = lf_tensor_size(c->device);
    c->scales_size =
        c->device.type == LF_F8_E4M3 ? 2 * (size_t) c->device.shape[0] * sizeof(float) : 0;
    c->data = MARGIN + 16 * (size_t) (random_size(16) - 1);
    c->scales = c->data + padded(c->data_size);
    c->size = c->scales + padded(c->scales_size) + MARGIN;
    c->before = g_malloc(c->size);
    memset(c->before, 0xff, c->size); /* NaN of every type: a test fails that reads it */
    convert(c);
    c->block = device->alloc(device, c->size);
    g_assert_nonnull(c->block);
    device->upload(device, c->block, c->before, c->size);
    c->device.data = c->block + c->data;
    c->device.scales = c->scales_size ? (float *) (c->block + c->scales) : NULL;
}

/* `t` on the device, in the type that the test has set by hold(), else in `usual`. */
static LfTensor bring(Call *call, LfTensor t, LfType usual, bool written)
{
    if (!lf_is_set(t))
        return LF_NONE;
    for (int i = 0; i < call->n_copies; i++)
        if (call->copies[i].host.data == t.data) {
            call->copies[i].written |= written;
            return call->copies[i].device;
        }
    g_assert_cmpint(call->n_copies, <, G_N_ELEMENTS(call->copies));
    Copy *c = &call->copies[call->n_copies++];
    *c = (Copy){.host = t, .device = t, .written = written};
    c->device.type = t.scales ? LF_F8_E4M3 : t.type != LF_F32 ? t.type : held_as(t, usual);
    send(call, c);
    return c->device;
}

static LfTensor in(Call *call, LfTensor t, LfType usual)
{
    return bring(call, t, usual, false);
}

/* Outputs are sent, too: their poison, or the numbers that are changed in place. */
static LfTensor out(Call *call, LfTensor t, LfType usual)
{
    return bring(call, t, usual, true);
}

/* Just before the operation. */
static void ready(Call *call)
{
    g_assert_true(call->device->sync(call->device, NULL));
    if (call->recording)
        call->device->capture_begin(call->device);
}

static void expect_same(const Copy *c, const uint8_t *after, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (c->before[i] != after[i])
            g_error("byte %zd of %s [%d, …] of %zu bytes was changed", (ssize_t) (i - c->data),
                    lf_type_name(c->device.type), (int) c->device.shape[0], c->data_size);
}

static void receive(Call *call, Copy *c)
{
    LfBackend *device = call->device;
    g_autofree uint8_t *after = g_malloc(c->size);
    device->download(device, after, c->block, c->size);
    expect_same(c, after, 0, c->data);
    expect_same(c, after, c->written ? c->data + c->data_size : c->data, c->scales);
    expect_same(c, after, c->written ? c->scales + c->scales_size : c->scales, c->size);
    if (c->written)
        convert_back(c, after);
    device->free(device, c->block);
    g_free(c->before);
}

static void finish(Call *call)
{
    LfBackend *device = call->device;
    GError *error = NULL;
    LfGraph *graph = NULL;
    if (call->recording) {
        graph = device->capture_end(device);
        if (graph)
            device->graph_launch(device, graph);
    }
    device->sync(device, &error);
    g_assert_no_error(error);
    if (call->recording)
        device->graph_free(device, graph);
    for (int i = 0; i < call->n_copies; i++)
        receive(call, &call->copies[i]);
}

/* ---- weights --------------------------------------------------------------------------------- */

static const LfWeight *real(const LfWeight *weight)
{
    return ((const MirrorWeight *) weight)->real;
}

static LfWeight *weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    LfWeight *made = lf_weight_new(device_of(be), kind, source, error);
    if (!made)
        return NULL;
    MirrorWeight *w = g_new0(MirrorWeight, 1);
    w->base = *made;
    w->base.input = LF_F32;
    w->real = made;
    return &w->base;
}

static void weight_free(LfBackend *be, LfWeight *weight)
{
    lf_weight_free(device_of(be), ((MirrorWeight *) weight)->real);
    g_free(weight);
}

/* ---- operations: A, P and F32 as ops.h has them ---------------------------------------------- */

#define A (call.device->activation_type)
#define P (call.device->decoder_type)

static void linear(LfBackend *be, LfTensor y, LfTensor x, const LfWeight *weight, LfTensor bias,
                   LfActivation activation)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, A), dx = in(&call, x, A), db = in(&call, bias, LF_F32);
    ready(&call);
    lf_linear(call.device, dy, dx, real(weight), db, activation);
    finish(&call);
}

static void linear_residual(LfBackend *be, LfTensor x, LfTensor y, const LfWeight *weight,
                            LfTensor bias, LfTensor gate)
{
    Call call = begin(be);
    LfTensor dx = out(&call, x, A), dy = in(&call, y, A), db = in(&call, bias, LF_F32);
    LfTensor dg = in(&call, gate, LF_F32);
    ready(&call);
    lf_linear_residual(call.device, dx, dy, real(weight), db, dg);
    finish(&call);
}

typedef void Norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor a, LfTensor b, float eps);

static void norm(LfBackend *be, LfTensor y, LfTensor x, LfTensor a, LfTensor b, float eps,
                 Norm *operation)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, A), dx = in(&call, x, A);
    LfTensor da = in(&call, a, LF_F32), db = in(&call, b, LF_F32);
    ready(&call);
    operation(call.device, dy, dx, da, db, eps);
    finish(&call);
}

static void layer_norm_modulate(LfBackend *be, LfTensor y, LfTensor x, LfTensor scale,
                                LfTensor shift, float eps)
{
    norm(be, y, x, scale, shift, eps, lf_layer_norm_modulate);
}

static void layer_norm(LfBackend *be, LfTensor y, LfTensor x, LfTensor weight, LfTensor bias,
                       float eps)
{
    norm(be, y, x, weight, bias, eps, lf_layer_norm);
}

static void rms_norm(LfBackend *be, LfTensor y, LfTensor x, LfTensor weight, float eps)
{
    Call call = begin(be);
    LfTensor dx = in(&call, x, A), dy = out(&call, y, A), dw = in(&call, weight, LF_F32);
    ready(&call);
    lf_rms_norm(call.device, dy, dx, dw, eps);
    finish(&call);
}

static LfWindow window_in(Call *c, const LfWindow *w, bool written)
{
    LfType a = c->device->activation_type;
    return (LfWindow){
        .k = bring(c, w->k, a, written),
        .v = bring(c, w->v, a, written),
        .k_pool = bring(c, w->k_pool, LF_F32, written),
        .slots = in(c, w->slots, LF_I32),
        .chunk = w->chunk,
        .key_block = w->key_block,
        .v_amax = in(c, w->v_amax, LF_F32),
    };
}

static void qkv_norm_rope(LfBackend *be, LfTensor q, LfTensor q_pool, const LfWindow *window,
                          LfTensor qkv, LfTensor q_weight, LfTensor k_weight, const LfRope *rope,
                          int query_block, float eps)
{
    Call call = begin(be);
    LfTensor dq = out(&call, q, A), dp = out(&call, q_pool, LF_F32), dx = in(&call, qkv, A);
    LfTensor dqw = in(&call, q_weight, LF_F32), dkw = in(&call, k_weight, LF_F32);
    LfWindow dw = window_in(&call, window, true);
    LfRope dr = {in(&call, rope->time, LF_F32), in(&call, rope->row, LF_F32),
                 in(&call, rope->col, LF_F32)};
    ready(&call);
    lf_qkv_norm_rope(call.device, dq, dp, &dw, dx, dqw, dkw, &dr, query_block, eps);
    finish(&call);
}

static void rope_shift(LfBackend *be, LfTensor y, LfTensor x, LfTensor turn)
{
    Call call = begin(be);
    LfTensor dx = in(&call, x, A), dy = out(&call, y, dx.type), dt = in(&call, turn, LF_F32);
    ready(&call);
    lf_rope_shift(call.device, dy, dx, dt);
    finish(&call);
}

static void select_blocks(LfBackend *be, LfTensor table, LfTensor q_pool, const LfWindow *window,
                          const LfSelection *selection)
{
    Call call = begin(be);
    LfTensor dt = out(&call, table, LF_I32), dq = in(&call, q_pool, LF_F32);
    LfWindow dw = window_in(&call, window, false);
    ready(&call);
    lf_select_blocks(call.device, dt, dq, &dw, selection);
    finish(&call);
}

static void attention(LfBackend *be, LfTensor y, LfTensor q, const LfWindow *window, LfTensor table,
                      int query_block)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, A), dq = in(&call, q, A), dt = in(&call, table, LF_I32);
    LfWindow dw = window_in(&call, window, false);
    ready(&call);
    lf_attention(call.device, dy, dq, &dw, dt, query_block);
    finish(&call);
}

static void cross_attention(LfBackend *be, LfTensor y, LfTensor q, LfTensor k, LfTensor v,
                            LfTensor v_amax, int heads, float last_logit)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, A), dq = in(&call, q, A);
    LfTensor dk = in(&call, k, A), dv = in(&call, v, A), dp = in(&call, v_amax, LF_F32);
    ready(&call);
    lf_cross_attention(call.device, dy, dq, dk, dv, dp, heads, last_logit);
    finish(&call);
}

static void amax(LfBackend *be, LfTensor y, LfTensor x)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, LF_F32), dx = in(&call, x, A);
    ready(&call);
    lf_amax(call.device, dy, dx);
    finish(&call);
}

static void text_attention(LfBackend *be, LfTensor y, LfTensor q, LfTensor k, LfTensor v,
                           LfTensor bias)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, A), dq = in(&call, q, A);
    LfTensor dk = in(&call, k, A), dv = in(&call, v, A), db = in(&call, bias, LF_F32);
    ready(&call);
    lf_text_attention(call.device, dy, dq, dk, dv, db);
    finish(&call);
}

static void position_bias(LfBackend *be, LfTensor y, LfTensor table, LfTensor buckets)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, LF_F32), dt = in(&call, table, LF_F32);
    LfTensor db = in(&call, buckets, LF_I32);
    ready(&call);
    lf_position_bias(call.device, dy, dt, db);
    finish(&call);
}

static void embedding(LfBackend *be, LfTensor y, const LfWeight *table, LfTensor ids)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, A), di = in(&call, ids, LF_I32);
    ready(&call);
    lf_embedding(call.device, dy, real(table), di);
    finish(&call);
}

typedef void Two(LfBackend *be, LfTensor out, LfTensor x);

static void two(LfBackend *be, LfTensor y, LfType y_type, LfTensor x, LfType x_type, Two *operation)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, y_type), dx = in(&call, x, x_type);
    ready(&call);
    operation(call.device, dy, dx);
    finish(&call);
}

static void gelu_gate(LfBackend *be, LfTensor gate, LfTensor up)
{
    LfType a = device_of(be)->activation_type;
    two(be, gate, a, up, a, lf_gelu_gate);
}

static void patchify(LfBackend *be, LfTensor y, LfTensor x, LfTensor order)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, A), dx = in(&call, x, LF_F32), dorder = in(&call, order, LF_I32);
    ready(&call);
    lf_patchify(call.device, dy, dx, dorder);
    finish(&call);
}

static void unpatchify(LfBackend *be, LfTensor y, LfTensor x, LfTensor order)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, LF_F32), dx = in(&call, x, A), dorder = in(&call, order, LF_I32);
    ready(&call);
    lf_unpatchify(call.device, dy, dx, dorder);
    finish(&call);
}

static void take_latents(LfBackend *be, LfTensor y, LfTensor x, LfTensor scale, LfTensor shift,
                         bool tanh_clamp)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, P), dx = in(&call, x, LF_F32);
    LfTensor da = in(&call, scale, LF_F32), db = in(&call, shift, LF_F32);
    ready(&call);
    lf_take_latents(call.device, dy, dx, da, db, tanh_clamp);
    finish(&call);
}

static void rgb8(LfBackend *be, LfTensor y, LfTensor x)
{
    two(be, y, LF_U8, x, device_of(be)->decoder_type, lf_rgb8);
}

typedef void Mix(LfBackend *be, LfTensor out, LfTensor x, LfTensor y, float sigma);

static void mix(LfBackend *be, LfTensor y, LfTensor a, LfTensor b, float sigma, Mix *operation)
{
    Call call = begin(be);
    LfTensor da = in(&call, a, LF_F32), db = in(&call, b, LF_F32), dy = out(&call, y, LF_F32);
    ready(&call);
    operation(call.device, dy, da, db, sigma);
    finish(&call);
}

static void denoise(LfBackend *be, LfTensor y, LfTensor x, LfTensor v, float sigma)
{
    mix(be, y, x, v, sigma, lf_denoise);
}

static void renoise(LfBackend *be, LfTensor y, LfTensor x0, LfTensor noise, float sigma)
{
    mix(be, y, x0, noise, sigma, lf_renoise);
}

static void noise(LfBackend *be, LfTensor y, uint64_t seed, uint32_t chunk, uint32_t step)
{
    Call call = begin(be);
    LfTensor dy = out(&call, y, LF_F32);
    ready(&call);
    lf_noise(call.device, dy, seed, chunk, step);
    finish(&call);
}

static void conv3x3(LfBackend *be, LfTensor y, LfTensor x, LfTensor past, const LfWeight *weight,
                    LfTensor bias, LfTensor residual, bool relu)
{
    Call call = begin(be);
    LfTensor dx = in(&call, x, P), dp = in(&call, past, P), db = in(&call, bias, LF_F32);
    LfTensor dy = out(&call, y, P), dr = in(&call, residual, dy.type);
    ready(&call);
    lf_conv3x3(call.device, dy, dx, dp, real(weight), db, dr, relu);
    finish(&call);
}

static void conv3x3_up2(LfBackend *be, LfTensor y, LfTensor x, const LfWeight *weight,
                        LfTensor bias, bool relu)
{
    Call call = begin(be);
    LfTensor dx = in(&call, x, P), dy = out(&call, y, P), db = in(&call, bias, LF_F32);
    ready(&call);
    lf_conv3x3_up2(call.device, dy, dx, real(weight), db, relu);
    finish(&call);
}

static void conv3d(LfBackend *be, LfTensor y, LfTensor x, LfTensor past, const LfWeight *weight,
                   LfTensor bias, LfTensor residual)
{
    Call call = begin(be);
    LfTensor dx = in(&call, x, P), dp = in(&call, past, P), db = in(&call, bias, LF_F32);
    LfTensor dy = out(&call, y, P), dr = in(&call, residual, dy.type);
    ready(&call);
    lf_conv3d(call.device, dy, dx, dp, real(weight), db, dr);
    finish(&call);
}

static void frame_attention(LfBackend *be, LfTensor y, LfTensor x)
{
    LfType p = device_of(be)->decoder_type;
    two(be, y, p, x, p, lf_frame_attention);
}

static void pixel_norm(LfBackend *be, LfTensor y, LfTensor x, LfTensor weight, bool silu)
{
    Call call = begin(be);
    LfTensor dx = in(&call, x, P), dy = out(&call, y, P), dw = in(&call, weight, LF_F32);
    ready(&call);
    lf_pixel_norm(call.device, dy, dx, dw, silu);
    finish(&call);
}

/* Returns when the picture is in the host's memory: it cannot be captured. */
static bool pixels(LfBackend *be, const LfPicture *picture, LfTensor rgb, GError **error)
{
    Call call = begin(be);
    call.recording = false;
    LfTensor dx = in(&call, rgb, LF_U8);
    ready(&call);
    bool done = lf_pixels(call.device, picture, dx, error);
    finish(&call);
    return done;
}

static const LfOps mirror_ops = {
    .weight_new = weight_new,
    .weight_free = weight_free,
    .linear = linear,
    .linear_residual = linear_residual,
    .layer_norm_modulate = layer_norm_modulate,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .qkv_norm_rope = qkv_norm_rope,
    .rope_shift = rope_shift,
    .select_blocks = select_blocks,
    .attention = attention,
    .cross_attention = cross_attention,
    .amax = amax,
    .text_attention = text_attention,
    .position_bias = position_bias,
    .embedding = embedding,
    .gelu_gate = gelu_gate,
    .patchify = patchify,
    .unpatchify = unpatchify,
    .denoise = denoise,
    .renoise = renoise,
    .noise = noise,
    .take_latents = take_latents,
    .conv3x3 = conv3x3,
    .conv3x3_up2 = conv3x3_up2,
    .conv3d = conv3d,
    .pixel_norm = pixel_norm,
    .frame_attention = frame_attention,
    .rgb8 = rgb8,
    .pixels = pixels,
};

/* ---- open and close -------------------------------------------------------------------------- */

static Mirror *mirrors[8];

static bool mirror_sync(LfBackend *be, GError **error)
{
    LfBackend *device = device_of(be);
    return device->sync(device, error);
}

static Mirror *new_mirror(LfBackend *device)
{
    Mirror *m = g_new0(Mirror, 1);
    m->device = device;
    m->base = (LfBackend){
        .ops = &m->ops,
        .name = "mirror",
        .n_threads = 1,
        .precision = device->precision,
        .activation_type = LF_F32,
        .decoder_type = LF_F32,
        .sync = mirror_sync,
    };
    g_strlcpy(m->base.description, device->description, sizeof m->base.description);
    m->ops = mirror_ops;
    return m;
}

LfBackend *mirror_open(const char *level, LfPrecision precision, GError **error)
{
    char key[sizeof mirrors[0]->key];
    size_t i = 0;
    g_snprintf(key, sizeof key, "%s %d", level, precision);
    for (; i < G_N_ELEMENTS(mirrors) && mirrors[i]; i++)
        if (g_str_equal(mirrors[i]->key, key))
            return &mirrors[i]->base;
    g_assert_cmpint(i, <, G_N_ELEMENTS(mirrors));
    g_setenv("LIGHTFORCING_CUDA", level, TRUE);
    LfBackend *device = lf_backend_open("cuda", 0, precision, NULL, error);
    if (!device)
        return NULL;
    mirrors[i] = new_mirror(device);
    g_strlcpy(mirrors[i]->key, key, sizeof key);
    return &mirrors[i]->base;
}

LfBackend *device_of(LfBackend *be)
{
    for (size_t i = 0; i < G_N_ELEMENTS(mirrors); i++)
        if (mirrors[i] && be == &mirrors[i]->base)
            return mirrors[i]->device;
    return NULL;
}

void mirrors_close(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(mirrors) && mirrors[i]; i++) {
        lf_backend_close(mirrors[i]->device);
        g_clear_pointer(&mirrors[i], g_free);
    }
}
