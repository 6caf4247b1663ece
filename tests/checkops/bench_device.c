/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time of the operations on a device, in the shapes of Wan 1.3B and TAEHV at 512×768, compared with
 * the peak of the device: that of copies, and of matrix products of 8192².
 *
 * Calls on several sets of random tensors, together larger than the L2 cache, are captured into a
 * graph and replayed; the result is the median over the replays.
 */
#include "device.h"
#include "checkops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    POOL = (1 << 20) -
           3, /* random numbers, repeated; odd, so that no rows of a usual width are equal */
    MOST_SETS = 8,
    REPLAYS = 25,
    ROTATE = 160 << 20 /* bytes of all sets */
};

/* The tensors of one call. */
typedef struct {
    LfTensor out, x, y, z, a, b;
    LfTensor past;
    LfWindow window;
    LfRope rope;
    LfSelection selection;
    LfWeight *weight;
} Set;

typedef struct Machine Machine;
typedef struct Shape Shape;
typedef void Make(Machine *m, const Shape *s, Set *set);
typedef void Call(LfBackend *be, const Shape *s, const Set *set);

struct Shape {
    const char *operation, *what;
    Make *make;
    Call *call;
    int64_t size[6];
    LfActivation activation;
    bool fp8;   /* inputs in FP8 */
    bool grows; /* the output is F8_E4M3 */
    double flops, bytes;
};

struct Machine {
    LfBackend *be; /* the one at work: bf16 or fp8 */
    LfBackend *bf16, *fp8;
    LfEvent *from, *to;
    void *pool[LF_N_TYPES];
    GPtrArray *memory; /* of all sets of a shape */
    size_t used;
    double peak_bytes, peak_flops, peak_fp8;
};

/* ---- tensors --------------------------------------------------------------------------------- */

static void *take(Machine *m, size_t size)
{
    void *memory = m->be->alloc(m->be, size);
    if (!memory)
        g_error("no %zu bytes on the device", size);
    g_ptr_array_add(m->memory, memory);
    m->used += size;
    return memory;
}

/* POOL of them, normal; as F8_E4M3 a hundred times as large. */
static uint8_t *random_numbers(LfType type)
{
    g_autofree float *numbers = g_new(float, POOL);
    uint8_t *narrow = g_malloc(POOL * lf_type_size(type));
    for (int i = 0; i < POOL; i++)
        numbers[i] = (float) random_normal();
    for (int i = 0; i < POOL && type == LF_F8_E4M3; i++)
        narrow[i] = float_to_e4m3(100.0f * numbers[i]);
    if (type != LF_F8_E4M3)
        lf_from_float(narrow, type, numbers, POOL);
    return narrow;
}

static void fill(Machine *m, LfTensor t)
{
    size_t size = lf_tensor_size(t), pool = POOL * lf_type_size(t.type);
    if (!m->pool[t.type]) {
        g_autofree uint8_t *numbers = random_numbers(t.type);
        m->pool[t.type] = m->be->alloc(m->be, pool);
        m->be->upload(m->be, m->pool[t.type], numbers, pool);
        m->be->sync(m->be, NULL);
    }
    for (size_t at = 0; at < size; at += pool)
        m->be->copy(m->be, (uint8_t *) t.data + at, m->pool[t.type], MIN(pool, size - at));
}

static LfTensor random_tensor(Machine *m, LfType type, const int64_t *shape)
{
    LfTensor t = lf_tensor_view(NULL, type, shape);
    t.data = take(m, lf_tensor_size(t));
    if (type <= LF_F8_E5M2)
        fill(m, t);
    return t;
}
#define tensor(m, type, ...)                                                                       \
    random_tensor((m), (type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})

static LfTensor rows(Machine *m, bool fp8, int64_t n, int64_t width)
{
    LfTensor t = tensor(m, fp8 ? LF_F8_E4M3 : LF_BF16, n, width);
    if (!fp8)
        return t;
    LfTensor scales = tensor(m, LF_F32, 2, n);
    g_autofree float *values = g_new(float, 2 * n);
    for (int64_t i = 0; i < n; i++) {
        values[i] = 0.01f;
        values[n + i] = sqrtf((float) width);
    }
    m->be->upload(m->be, scales.data, values, lf_tensor_size(scales));
    t.scales = lf_f32(scales);
    return t;
}

static LfTensor integers(Machine *m, LfTensor t, const int32_t *values)
{
    m->be->upload(m->be, t.data, values, lf_tensor_size(t));
    return t;
}

static LfWeight *weight(Machine *m, LfWeightKind kind, LfTensor source)
{
    size_t size = lf_tensor_size(source), pool = POOL * lf_type_size(source.type);
    g_autofree uint8_t *data = g_malloc(size);
    g_autofree uint8_t *numbers = random_numbers(source.type);
    GError *error = NULL;
    for (size_t at = 0; at < size; at += pool)
        memcpy(data + at, numbers, MIN(pool, size - at));
    source.data = data;
    LfWeight *made = lf_weight_new(m->be, kind, source, &error);
    g_assert_no_error(error);
    m->used += lf_weight_memory(made);
    return made;
}

static LfWeight *linear_weight(Machine *m, bool fp8, int64_t n_out, int64_t n_in)
{
    return weight(m, fp8 ? LF_WEIGHT_LINEAR_FP8 : LF_WEIGHT_LINEAR,
                  lf_tensor(NULL, LF_BF16, n_out, n_in));
}

/* ---- time ------------------------------------------------------------------------------------ */

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
    return (x > y) - (x < y);
}

static LfGraph *capture_sets(Machine *m, const Shape *s, const Set *sets, int n_sets)
{
    for (int i = 0; i < n_sets; i++) /* the first call may allocate: not while capturing */
        s->call(m->be, s, &sets[i]);
    m->be->sync(m->be, NULL);
    if (!m->be->capture_begin)
        return NULL;
    m->be->capture_begin(m->be);
    for (int i = 0; i < n_sets; i++)
        s->call(m->be, s, &sets[i]);
    return m->be->capture_end(m->be);
}

static void run_sets(Machine *m, const Shape *s, const Set *sets, int n_sets, LfGraph *graph)
{
    if (graph)
        m->be->graph_launch(m->be, graph);
    for (int i = 0; i < n_sets && !graph; i++)
        s->call(m->be, s, &sets[i]);
}

/* Seconds of one call: the median, and the least in *best. */
static double time_of(Machine *m, const Shape *s, const Set *sets, int n_sets, double *best)
{
    GError *error = NULL;
    int64_t times[REPLAYS];
    LfGraph *graph = capture_sets(m, s, sets, n_sets);
    for (int i = -2; i < REPLAYS; i++) {
        m->be->event_record(m->be, m->from);
        run_sets(m, s, sets, n_sets, graph);
        m->be->event_record(m->be, m->to);
        m->be->event_sync(m->be, m->to, NULL);
        if (i >= 0)
            times[i] = m->be->event_elapsed(m->be, m->from, m->to);
    }
    m->be->sync(m->be, &error);
    g_assert_no_error(error);
    if (graph)
        m->be->graph_free(m->be, graph);
    qsort(times, REPLAYS, sizeof *times, by_size);
    *best = 1e-9 * (double) times[0] / n_sets;
    return 1e-9 * (double) times[REPLAYS / 2] / n_sets;
}

static void print_time(const Machine *m, const Shape *s, double time)
{
    double rate = (s->flops > 0.0 ? s->flops : s->bytes) / time;
    double peak = s->flops <= 0.0 ? m->peak_bytes : s->fp8 ? m->peak_fp8 : m->peak_flops;
    printf("  %-52s %9.4f ms %8.1f %s %4.0f %%\n", s->what, time * 1e3,
           rate / (s->flops > 0.0 ? 1e12 : 1e9), s->flops > 0.0 ? "TFLOP/s" : "GB/s   ",
           peak > 0.0 ? 100.0 * rate / peak : 100.0);
    fflush(stdout);
}

/* Seconds: the median; the least in *best. */
static double time_shape(Machine *m, const Shape *s, double *best)
{
    Set sets[MOST_SETS] = {0};
    int n_sets = 0;
    m->be = s->fp8 || s->grows ? m->fp8 : m->bf16;
    m->used = 0;
    do {
        s->make(m, s, &sets[n_sets++]);
    } while (n_sets < MOST_SETS && m->used < ROTATE);
    double time = time_of(m, s, sets, n_sets, best);
    for (int i = 0; i < n_sets; i++)
        lf_weight_free(m->be, sets[i].weight);
    for (guint i = 0; i < m->memory->len; i++)
        m->be->free(m->be, m->memory->pdata[i]);
    g_ptr_array_set_size(m->memory, 0);
    return time;
}

/* ---- products: rows, in, out ----------------------------------------------------------------- */

static void make_linear(Machine *m, const Shape *s, Set *set)
{
    int64_t n = s->size[0], n_in = s->size[1], n_out = s->size[2];
    set->x = rows(m, s->fp8, n, n_in);
    set->out = rows(m, s->grows, n, n_out);
    set->a = tensor(m, LF_F32, n_out);
    set->weight = linear_weight(m, s->fp8, n_out, n_in);
}

static void call_linear(LfBackend *be, const Shape *s, const Set *t)
{
    lf_linear(be, t->out, t->x, t->weight, t->a, s->activation);
}

static void call_residual(LfBackend *be, const Shape *s, const Set *t)
{
    lf_linear_residual(be, t->out, t->x, t->weight, t->a, t->a);
}

/* ---- norms: rows, width ---------------------------------------------------------------------- */

static void make_norm(Machine *m, const Shape *s, Set *set)
{
    set->x = rows(m, false, s->size[0], s->size[1]);
    set->out = rows(m, s->grows, s->size[0], s->size[1]);
    set->a = tensor(m, LF_F32, s->size[1]);
    set->b = tensor(m, LF_F32, s->size[1]);
}

static void call_modulate(LfBackend *be, const Shape *s, const Set *t)
{
    lf_layer_norm_modulate(be, t->out, t->x, t->a, t->b, 1e-6f);
}

static void call_layer_norm(LfBackend *be, const Shape *s, const Set *t)
{
    lf_layer_norm(be, t->out, t->x, t->a, t->b, 1e-6f);
}

static void call_rms_norm(LfBackend *be, const Shape *s, const Set *t)
{
    lf_rms_norm(be, t->out, t->x, t->a, 1e-6f);
}

/* ---- self attention: rows and columns of a frame, past frames, budget ------------------------ */

enum { HEADS = 12, HEAD_DIM = 128, CHUNK = 3, QUERY_BLOCK = 128, KEY_BLOCK = 64 };

static int64_t blocks(int64_t tokens, int64_t block)
{
    return (tokens + block - 1) / block;
}

static LfWindow random_frames(Machine *m, const Shape *s)
{
    int32_t slots[64];
    int64_t tokens = s->size[0] * s->size[1], frames = s->size[2] + CHUNK;
    for (int i = 0; i < frames; i++)
        slots[i] = (int32_t) ((i * 5 + 2) % frames); /* 5 divides no window */
    return (LfWindow){
        .k = tensor(m, LF_BF16, frames, HEADS, tokens, HEAD_DIM),
        .v = tensor(m, LF_BF16, frames, HEADS, tokens, HEAD_DIM),
        .k_pool = tensor(m, LF_F32, frames, HEADS, blocks(tokens, KEY_BLOCK), HEAD_DIM),
        .slots = integers(m, tensor(m, LF_I32, frames), slots),
        .chunk = CHUNK,
        .key_block = KEY_BLOCK,
    };
}

/* `budget` of n blocks, ascending, for each row. */
static LfTensor random_blocks(Machine *m, int64_t n_rows, int64_t n, int64_t budget)
{
    g_autofree int32_t *table = g_new(int32_t, n_rows * budget);
    for (int64_t row = 0; row < n_rows; row++)
        for (int64_t i = 0, taken = 0; i < n && taken < budget; i++)
            if (random_size(n - i) <= budget - taken)
                table[row * budget + taken++] = (int32_t) i;
    return integers(m, tensor(m, LF_I32, HEADS, n_rows / HEADS, budget), table);
}

static void make_attention(Machine *m, const Shape *s, Set *set)
{
    int64_t tokens = s->size[0] * s->size[1], frames = s->size[2] + CHUNK;
    set->window = random_frames(m, s);
    set->x = tensor(m, LF_BF16, HEADS, CHUNK * tokens, HEAD_DIM);
    set->out = rows(m, s->grows, CHUNK * tokens, HEADS * HEAD_DIM);
    set->window.v_amax = tensor(m, LF_F32, 1);
    if (s->size[3])
        set->y = random_blocks(m, HEADS * CHUNK * blocks(tokens, QUERY_BLOCK),
                               frames * blocks(tokens, KEY_BLOCK), s->size[3]);
}

static void call_attention(LfBackend *be, const Shape *s, const Set *t)
{
    lf_attention(be, t->out, t->x, &t->window, t->y, QUERY_BLOCK);
}

static void make_select(Machine *m, const Shape *s, Set *set)
{
    int64_t queries = CHUNK * blocks(s->size[0] * s->size[1], QUERY_BLOCK);
    set->window = random_frames(m, s);
    set->x = tensor(m, LF_F32, HEADS, queries, HEAD_DIM);
    set->out = tensor(m, LF_I32, HEADS, queries, s->size[3]);
    set->selection = s->size[2] > 9 ? (LfSelection){6, 1, 2} : (LfSelection){3, 1, 1};
}

static void call_select(LfBackend *be, const Shape *s, const Set *t)
{
    lf_select_blocks(be, t->out, t->x, &t->window, &t->selection);
}

static void make_qkv(Machine *m, const Shape *s, Set *set)
{
    int64_t tokens = s->size[0] * s->size[1], width = HEADS * HEAD_DIM;
    set->window = random_frames(m, s);
    set->x = tensor(m, LF_BF16, CHUNK * tokens, 3 * width);
    set->out = tensor(m, LF_BF16, HEADS, CHUNK * tokens, HEAD_DIM);
    set->y = tensor(m, LF_F32, HEADS, CHUNK * blocks(tokens, QUERY_BLOCK), HEAD_DIM);
    set->a = tensor(m, LF_F32, width);
    set->rope = (LfRope){
        .time = tensor(m, LF_F32, CHUNK, 22, 2),
        .row = tensor(m, LF_F32, s->size[0], 21, 2),
        .col = tensor(m, LF_F32, s->size[1], 21, 2),
    };
}

static void call_qkv(LfBackend *be, const Shape *s, const Set *t)
{
    lf_qkv_norm_rope(be, t->out, t->y, &t->window, t->x, t->a, t->a, &t->rope, QUERY_BLOCK, 1e-6f);
}

static void make_shift(Machine *m, const Shape *s, Set *set)
{
    set->x = tensor(m, LF_BF16, HEADS, s->size[0], HEAD_DIM);
    set->out = tensor(m, LF_BF16, HEADS, s->size[0], HEAD_DIM);
    set->a = tensor(m, LF_F32, 22, 2);
}

static void call_shift(LfBackend *be, const Shape *s, const Set *t)
{
    lf_rope_shift(be, t->out, t->x, t->a);
}

/* ---- text: queries, keys, heads, head dimension ---------------------------------------------- */

static void make_cross(Machine *m, const Shape *s, Set *set)
{
    int64_t width = s->size[2] * s->size[3];
    set->x = tensor(m, LF_BF16, s->size[0], width);
    set->out = rows(m, s->grows, s->size[0], width);
    set->b = tensor(m, LF_F32, 1);
    set->y = tensor(m, LF_BF16, s->size[1], width);
    set->z = tensor(m, LF_BF16, s->size[1], width);
    set->a = tensor(m, LF_F32, s->size[2], s->size[1], s->size[1]);
}

static void call_cross(LfBackend *be, const Shape *s, const Set *t)
{
    lf_cross_attention(be, t->out, t->x, t->y, t->z, t->b, (int) s->size[2], 3.0f);
}

static void call_text(LfBackend *be, const Shape *s, const Set *t)
{
    lf_text_attention(be, t->out, t->x, t->y, t->z, t->a);
}

static void make_bias(Machine *m, const Shape *s, Set *set)
{
    g_autofree int32_t *buckets = g_new(int32_t, 2 * s->size[0]);
    for (int i = 0; i < 2 * s->size[0]; i++)
        buckets[i] = i % 32;
    set->out = tensor(m, LF_F32, s->size[1], s->size[0], s->size[0]);
    set->x = tensor(m, LF_F32, 32, s->size[1]);
    set->y = integers(m, tensor(m, LF_I32, 2 * s->size[0] - 1), buckets);
}

static void call_bias(LfBackend *be, const Shape *s, const Set *t)
{
    lf_position_bias(be, t->out, t->x, t->y);
}

static void call_gate(LfBackend *be, const Shape *s, const Set *t)
{
    lf_gelu_gate(be, t->out, t->x);
}

/* ---- latents: frames, channels, height, width ------------------------------------------------ */

static void make_latents(Machine *m, const Shape *s, Set *set)
{
    int64_t f = s->size[0], c = s->size[1], h = s->size[2], w = s->size[3];
    set->x = tensor(m, LF_F32, f, c, h, w);
    set->z = tensor(m, LF_F32, f, c, h, w);
    set->out = tensor(m, LF_F32, f, c, h, w);
    set->y = tensor(m, LF_BF16, f * h * w / 4, 4 * c);
    set->past = tensor(m, LF_F16, f, h, w, c);
}

static void call_patchify(LfBackend *be, const Shape *s, const Set *t)
{
    lf_patchify(be, t->y, t->x, LF_NONE);
}

static void call_unpatchify(LfBackend *be, const Shape *s, const Set *t)
{
    lf_unpatchify(be, t->out, t->y, LF_NONE);
}

static void call_renoise(LfBackend *be, const Shape *s, const Set *t)
{
    lf_renoise(be, t->out, t->x, t->z, 0.5f);
}

static void call_noise(LfBackend *be, const Shape *s, const Set *t)
{
    lf_noise(be, t->out, 1, 2, 3);
}

static void call_take_latents(LfBackend *be, const Shape *s, const Set *t)
{
    lf_take_latents(be, t->past, t->x, LF_NONE, LF_NONE, true);
}

/* ---- the decoder: frames, height, width, channels in, of the past, out ----------------------- */

static void make_conv(Machine *m, const Shape *s, Set *set)
{
    int64_t f = s->size[0], h = s->size[1], w = s->size[2], n = s->size[3], n_past = s->size[4];
    set->x = tensor(m, LF_F16, f, h, w, n);
    set->past = n_past ? tensor(m, LF_F16, f, h, w, n_past) : LF_NONE;
    set->out = tensor(m, LF_F16, f, h, w, s->size[5]);
    set->z = tensor(m, LF_F16, f, h, w, s->size[5]);
    set->a = tensor(m, LF_F32, s->size[5]);
    set->weight =
        weight(m, LF_WEIGHT_CONV3X3, lf_tensor(NULL, LF_F32, s->size[5], n + n_past, 3, 3));
}

static void call_conv(LfBackend *be, const Shape *s, const Set *t)
{
    lf_conv3x3(be, t->out, t->x, t->past, t->weight, t->a, LF_NONE, true);
}

static void call_conv_residual(LfBackend *be, const Shape *s, const Set *t)
{
    lf_conv3x3(be, t->out, t->x, t->past, t->weight, t->a, t->z, true);
}

static void make_up2(Machine *m, const Shape *s, Set *set)
{
    int64_t f = s->size[0], h = s->size[1], w = s->size[2];
    set->x = tensor(m, LF_F16, f, h, w, s->size[3]);
    set->out = tensor(m, LF_F16, f, 2 * h, 2 * w, s->size[5]);
    set->weight =
        weight(m, LF_WEIGHT_CONV_UP2, lf_tensor(NULL, LF_F32, s->size[5], s->size[3], 3, 3));
}

static void call_up2(LfBackend *be, const Shape *s, const Set *t)
{
    lf_conv3x3_up2(be, t->out, t->x, t->weight, LF_NONE, true);
}

/* Frames, height, width, channels in and out, side of the filter. */
static void make_conv3d(Machine *m, const Shape *s, Set *set)
{
    int64_t f = s->size[0], h = s->size[1], w = s->size[2], n_in = s->size[3], n_out = s->size[4];
    set->x = tensor(m, LF_F16, f, h, w, n_in);
    set->past = tensor(m, LF_F16, 2, h, w, n_in);
    set->out = tensor(m, LF_F16, f, h, w, n_out);
    set->a = tensor(m, LF_F32, n_out);
    set->weight = weight(m, LF_WEIGHT_CONV3D,
                         lf_tensor(NULL, LF_F32, n_out, n_in, 3, s->size[5], s->size[5]));
}

static void call_conv3d(LfBackend *be, const Shape *s, const Set *t)
{
    lf_conv3d(be, t->out, t->x, t->past, t->weight, t->a, LF_NONE);
}

/* Frames, pixels, channels. */
static void make_frames(Machine *m, const Shape *s, Set *set)
{
    set->x = tensor(m, LF_F16, s->size[0], s->size[1], 3 * s->size[2]);
    set->out = tensor(m, LF_F16, s->size[0], s->size[1], s->size[2]);
}

static void call_frames(LfBackend *be, const Shape *s, const Set *t)
{
    lf_frame_attention(be, t->out, t->x);
}

/* Frames, height, width, channels. */
static void make_pixel_norm(Machine *m, const Shape *s, Set *set)
{
    set->x = tensor(m, LF_F16, s->size[0], s->size[1], s->size[2], s->size[3]);
    set->out = tensor(m, LF_F16, s->size[0], s->size[1], s->size[2], s->size[3]);
    set->a = tensor(m, LF_F32, s->size[3]);
}

static void call_pixel_norm(LfBackend *be, const Shape *s, const Set *t)
{
    lf_pixel_norm(be, t->out, t->x, t->a, true);
}

static void make_rgb(Machine *m, const Shape *s, Set *set)
{
    set->x = tensor(m, LF_F16, s->size[0], s->size[1], s->size[2], 3);
    set->out = tensor(m, LF_U8, s->size[0], s->size[1], s->size[2], 3);
}

static void call_rgb(LfBackend *be, const Shape *s, const Set *t)
{
    lf_rgb8(be, t->out, t->x);
}

/* ---- all of them ----------------------------------------------------------------------------- */

#define LINEAR(what, n, in, out, ...)                                                              \
    {                                                                                              \
        "linear", what, make_linear, call_linear, {n, in, out}, .flops = 2.0 * (n) * (in) * (out), \
                                                                __VA_ARGS__                        \
    }
#define RESIDUAL(what, n, in, out, ...)                                                            \
    {                                                                                              \
        "linear_residual", what, make_linear, call_residual, {n, in, out},                         \
            .flops = 2.0 * (n) * (in) * (out), __VA_ARGS__                                         \
    }
#define NORM(operation, what, call, n, width, out_size, ...)                                       \
    {                                                                                              \
        operation, what, make_norm, call, {n, width}, .bytes = (2.0 + (out_size)) * (n) * (width), \
                                                      __VA_ARGS__                                  \
    }
#define DENSE(what, h, w, past)                                                                    \
    {                                                                                              \
        "attention", what, make_attention, call_attention, {h, w, past},                           \
            .flops = 4.0 * CHUNK * ((past) + CHUNK) * (h) * (w) * (h) * (w) *HEADS * HEAD_DIM      \
    }
#define SPARSE(what, h, w, past, budget, ...)                                                      \
    {                                                                                              \
        "attention", what, make_attention, call_attention, {h, w, past, budget},                   \
            .flops = 4.0 * CHUNK * (h) * (w) * (budget) *KEY_BLOCK * HEADS * HEAD_DIM, __VA_ARGS__ \
    }
#define SELECT(what, h, w, past, budget)                                                           \
    {                                                                                              \
        "select_blocks", what, make_select, call_select, {h, w, past, budget},                     \
            .bytes = 4.0 * HEADS * HEAD_DIM * (h) * (w) *                                          \
                     (((past) + CHUNK) / (double) KEY_BLOCK + CHUNK / (double) QUERY_BLOCK)        \
    }
#define QKV(what, h, w)                                                                            \
    {                                                                                              \
        "qkv_norm_rope", what, make_qkv, call_qkv, {h, w, 3},                                      \
            .bytes = 12.0 * CHUNK * (h) * (w) *HEADS * HEAD_DIM                                    \
    }
#define CROSS(operation, what, call, n, l, heads, d, ...)                                          \
    {                                                                                              \
        operation, what, make_cross, call, {n, l, heads, d},                                       \
            .flops = 4.0 * (n) * (l) * (heads) * (d), __VA_ARGS__                                  \
    }
#define LATENTS(operation, what, call, each)                                                       \
    {                                                                                              \
        operation, what, make_latents, call, {3, 16, 64, 96}, .bytes = (each) *3.0 * 16 * 64 * 96  \
    }
#define CONV(what, call, f, h, w, in, past, out)                                                   \
    {                                                                                              \
        "conv3x3", what, make_conv, call, {f, h, w, in, past, out},                                \
            .flops = 18.0 * (f) * (h) * (w) * ((in) + (past)) * (out)                              \
    }
#define UP2(what, f, h, w, in, out)                                                                \
    {                                                                                              \
        "conv3x3_up2", what, make_up2, call_up2, {f, h, w, in, 0, out},                            \
            .flops = 32.0 * (f) * (h) * (w) * (in) * (out)                                         \
    }

#define CONV3D(f, h, w, in, out, side)                                                             \
    {                                                                                              \
        "conv3d", #f "x" #h "x" #w " " #in "->" #out ", 3x" #side "x" #side, make_conv3d,          \
            call_conv3d, {f, h, w, in, out, side},                                                 \
            .flops = 6.0 * (side) * (side) * (f) * (h) * (w) * (in) * (out)                        \
    }
#define FRAMES(what, f, n, c)                                                                      \
    {                                                                                              \
        "frame_attention", what, make_frames, call_frames, {f, n, c},                              \
            .flops = 4.0 * (f) * (n) * (n) * (c)                                                   \
    }
#define PIXEL_NORM(f, h, w, n)                                                                     \
    {                                                                                              \
        "pixel_norm", #f "x" #h "x" #w " " #n, make_pixel_norm, call_pixel_norm, {f, h, w, n},     \
            .bytes = 4.0 * (f) * (h) * (w) * (n)                                                   \
    }

static const Shape shapes[] = {
    LINEAR("q, k, v 4608x1536x4608", 4608, 1536, 4608),
    LINEAR("cross q 4608x1536x1536", 4608, 1536, 1536),
    LINEAR("ffn up 4608x1536x8960 gelu", 4608, 1536, 8960, .activation = LF_ACT_GELU_TANH),
    LINEAR("q, k, v 4608x1536x4608, fp8", 4608, 1536, 4608, .fp8 = true),
    LINEAR("cross q 4608x1536x1536, fp8", 4608, 1536, 1536, .fp8 = true),
    LINEAR("ffn up 4608x1536x8960 gelu, fp8 to fp8", 4608, 1536, 8960,
           .activation = LF_ACT_GELU_TANH, .fp8 = true, .grows = true),
    RESIDUAL("out 4608x1536x1536 bias gate", 4608, 1536, 1536),
    RESIDUAL("ffn down 4608x8960x1536 bias gate", 4608, 8960, 1536),
    RESIDUAL("out 4608x1536x1536 bias gate, fp8", 4608, 1536, 1536, .fp8 = true),
    RESIDUAL("ffn down 4608x8960x1536 bias gate, fp8", 4608, 8960, 1536, .fp8 = true),
    NORM("layer_norm_modulate", "4608x1536", call_modulate, 4608, 1536, 2.0),
    NORM("layer_norm_modulate", "4608x1536 to fp8", call_modulate, 4608, 1536, 1.0, .fp8 = true,
         .grows = true),
    NORM("layer_norm", "4608x1536", call_layer_norm, 4608, 1536, 2.0),
    NORM("layer_norm", "4608x1536 to fp8", call_layer_norm, 4608, 1536, 1.0, .fp8 = true,
         .grows = true),
    NORM("rms_norm", "4608x1536", call_rms_norm, 4608, 1536, 2.0),
    NORM("rms_norm", "umT5 512x4096", call_rms_norm, 512, 4096, 2.0),
    QKV("4608x3x1536, blocks 128 and 64", 32, 48),
    QKV("480x832, 4680x3x1536", 30, 52),
    {"rope_shift", "12x1536x128", make_shift, call_shift, {1536}, .bytes = 4.0 * 12 * 1536 * 128},
    SELECT("51 of 504 blocks", 32, 48, 18, 51),
    SELECT("43 of 288 blocks", 32, 48, 9, 43),
    SELECT("480x832, 53 of 525 blocks", 30, 52, 18, 53),
    DENSE("dense 4608x32256", 32, 48, 18),
    DENSE("dense 4608x18432", 32, 48, 9),
    DENSE("dense 4608x4608", 32, 48, 0),
    SPARSE("4608x32256, 51 of 504 blocks", 32, 48, 18, 51),
    SPARSE("4608x32256, 51 of 504 blocks, to fp8", 32, 48, 18, 51, .grows = true),
    SPARSE("4608x18432, 43 of 288 blocks", 32, 48, 9, 43),
    SPARSE("480x832: 4680x32760, 53 of 525 blocks", 30, 52, 18, 53),
    CROSS("cross_attention", "4608x48", call_cross, 4608, 48, 12, 128),
    CROSS("cross_attention", "4608x512", call_cross, 4608, 512, 12, 128),
    CROSS("cross_attention", "4608x512, to fp8", call_cross, 4608, 512, 12, 128, .grows = true),
    CROSS("text_attention", "umT5 48x48", call_text, 48, 48, 64, 64),
    CROSS("text_attention", "umT5 512x512", call_text, 512, 512, 64, 64),
    {"position_bias",
     "umT5 64x512x512",
     make_bias,
     call_bias,
     {512, 64},
     .bytes = 4.0 * 64 * 512 * 512},
    NORM("gelu_gate", "umT5 512x10240", call_gate, 512, 10240, 4.0),
    CONV("3x64x96 16->256", call_conv, 3, 64, 96, 16, 0, 256),
    CONV("3x64x96 256+256->256", call_conv, 3, 64, 96, 256, 256, 256),
    CONV("3x64x96 256->256 residual", call_conv_residual, 3, 64, 96, 256, 0, 256),
    CONV("3x128x192 128+128->128", call_conv, 3, 128, 192, 128, 128, 128),
    CONV("3x128x192 128->128 residual", call_conv_residual, 3, 128, 192, 128, 0, 128),
    CONV("6x256x384 64+64->64", call_conv, 6, 256, 384, 64, 64, 64),
    CONV("6x256x384 64->64 residual", call_conv_residual, 6, 256, 384, 64, 0, 64),
    CONV("1x512x768 64->3", call_conv, 1, 512, 768, 64, 0, 3),
    UP2("3x64x96 256->128 (FLOP of 2x2 form)", 3, 64, 96, 256, 128),
    UP2("3x128x192 128->64 (FLOP of 2x2 form)", 3, 128, 192, 128, 64),
    UP2("1x256x384 64->64 (FLOP of 2x2 form)", 1, 256, 384, 64, 64),
    CONV3D(3, 64, 96, 384, 384, 3),
    CONV3D(3, 64, 96, 384, 384, 1),
    CONV3D(6, 128, 192, 384, 384, 3),
    CONV3D(4, 256, 384, 192, 192, 3),
    CONV3D(4, 512, 768, 96, 96, 3),
    CONV3D(4, 512, 768, 96, 3, 3),
    CONV3D(3, 64, 96, 96, 96, 3),
    CONV3D(4, 256, 384, 48, 48, 3),
    CONV3D(4, 512, 768, 24, 24, 3),
    CONV3D(4, 512, 768, 24, 3, 3),
    FRAMES("3x64x96 384", 3, 64 * 96, 384),
    FRAMES("3x64x96 96", 3, 64 * 96, 96),
    PIXEL_NORM(3, 64, 96, 384),
    PIXEL_NORM(4, 512, 768, 96),
    PIXEL_NORM(4, 512, 768, 24),
    LATENTS("patchify", "3x16x64x96", call_patchify, 6.0),
    LATENTS("unpatchify", "3x16x64x96", call_unpatchify, 6.0),
    LATENTS("renoise", "3x16x64x96", call_renoise, 12.0),
    LATENTS("noise", "3x16x64x96", call_noise, 4.0),
    LATENTS("take_latents", "3x16x64x96", call_take_latents, 6.0),
    {"rgb8", "1x512x768", make_rgb, call_rgb, {1, 512, 768}, .bytes = 9.0 * 512 * 768},
};

/* ---- pictures: into the host's memory, by the host's clock ----------------------------------- */

static void bench_pixels(Machine *m)
{
    static const struct {
        LfPixelFormat format;
        const char *what;
        int size; /* bytes of two pixels */
    } formats[] = {{LF_PIXELS_RGB, "512x768 RGB", 6},
                   {LF_PIXELS_BGRX, "512x768 BGRx", 8},
                   {LF_PIXELS_I420, "512x768 I420", 3},
                   {LF_PIXELS_NV12, "512x768 NV12", 3}};
    LfTensor rgb = tensor(m, LF_U8, 512, 768, 3);
    m->be->clear(m->be, rgb.data, lf_tensor_size(rgb));
    m->be->sync(m->be, NULL);
    g_autofree uint8_t *planes = g_malloc0(4 * 512 * 768);
    printf("pixels\n");
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        bool planar = formats[i].format == LF_PIXELS_I420 || formats[i].format == LF_PIXELS_NV12;
        int line = planar ? 768 : 768 * formats[i].size / 2;
        int chroma = formats[i].format == LF_PIXELS_I420 ? 384 : 768;
        LfPicture p = {.format = formats[i].format,
                       .matrix = LF_MATRIX_BT709,
                       .width = 768,
                       .height = 512,
                       .planes = {planes, planes + 512 * 768, planes + 512 * 768 + 256 * 384},
                       .strides = {line, chroma, chroma}};
        int64_t times[REPLAYS];
        for (int round = -2; round < REPLAYS; round++) {
            int64_t begin = g_get_monotonic_time();
            lf_pixels(m->be, &p, rgb, NULL);
            if (round >= 0)
                times[round] = g_get_monotonic_time() - begin;
        }
        qsort(times, REPLAYS, sizeof *times, by_size);
        double time = 1e-6 * (double) times[REPLAYS / 2], bytes = 256.0 * 768 * formats[i].size;
        printf("  %-52s %9.4f ms %8.1f GB/s to the host\n", formats[i].what, 1e3 * time,
               bytes / time / 1e9);
    }
    m->be->free(m->be, rgb.data);
    g_ptr_array_set_size(m->memory, 0);
}

/* ---- the device's peaks ---------------------------------------------------------------------- */

static void make_copy(Machine *m, const Shape *s, Set *set)
{
    set->x = tensor(m, LF_BF16, s->size[0]);
    set->out = tensor(m, LF_BF16, s->size[0]);
}

static void call_copy(LfBackend *be, const Shape *s, const Set *t)
{
    be->copy(be, t->out.data, t->x.data, lf_tensor_size(t->x));
}

static void measure_peaks(Machine *m, bool products)
{
    Shape copy = {"copy", "copy", make_copy, call_copy, {256 << 20}, .bytes = 4.0 * (256 << 20)};
    Shape product = LINEAR("linear 8192x8192x8192", 8192, 8192, 8192), fp8 = product;
    double best;
    time_shape(m, &copy, &best);
    m->peak_bytes = copy.bytes / best;
    printf("peaks: %.0f GB/s (copy, read and written)", m->peak_bytes / 1e9);
    if (products) {
        time_shape(m, &product, &best);
        m->peak_flops = product.flops / best;
        printf(", %.0f TFLOP/s in bf16", m->peak_flops / 1e12);
    }
    fp8.fp8 = true;
    if (products && m->fp8) {
        time_shape(m, &fp8, &best);
        m->peak_fp8 = fp8.flops / best;
        printf(", %.0f in fp8", m->peak_fp8 / 1e12);
    }
    printf(" (linear of 8192x8192x8192)\n");
}

static LfBackend *open_device(LfPrecision precision)
{
    GError *error = NULL;
    LfBackend *be = lf_backend_open("cuda", 0, precision, NULL, &error);
    if (!be)
        printf("%s\n", error->message);
    g_clear_error(&error);
    return be;
}

static bool wanted(const Machine *m, const Shape *s, const char *name)
{
    return g_str_has_prefix(s->operation, name) && (!s->fp8 || m->fp8);
}

static void bench_shapes(Machine *m, const char *name)
{
    const char *before = "";
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        double best;
        if (!wanted(m, &shapes[i], name))
            continue;
        if (!g_str_equal(before, shapes[i].operation))
            printf("%s\n", shapes[i].operation);
        before = shapes[i].operation;
        print_time(m, &shapes[i], time_shape(m, &shapes[i], &best));
    }
    m->be = m->bf16;
    if (g_str_has_prefix("pixels", name))
        bench_pixels(m);
}

int bench_device(const char *name)
{
    Machine m = {.bf16 = open_device(LF_PRECISION_BF16), .memory = g_ptr_array_new()};
    if (!m.bf16)
        return 1;
    m.fp8 = open_device(LF_PRECISION_FP8);
    m.from = m.bf16->event_new(m.bf16);
    m.to = m.bf16->event_new(m.bf16);
    printf("%s; ", m.bf16->description);
    bool products = false;
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        products |= wanted(&m, &shapes[i], name) && shapes[i].flops > 0.0;
    measure_peaks(&m, products);
    bench_shapes(&m, name);
    for (int type = 0; type < LF_N_TYPES; type++)
        if (m.pool[type])
            m.bf16->free(m.bf16, m.pool[type]);
    m.bf16->event_free(m.bf16, m.from);
    m.bf16->event_free(m.bf16, m.to);
    lf_backend_close(m.fp8);
    lf_backend_close(m.bf16);
    g_ptr_array_unref(m.memory);
    return 0;
}
