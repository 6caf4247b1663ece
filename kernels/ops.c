/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The functions in front of the table, which check types and shapes for all backends. A wrong shape
 * is a bug of the engine, never a user's mistake: g_critical reports it (and ends a test, and any
 * program under G_DEBUG=fatal-criticals), and the operation does not run.
 */
#include "ops.h"
#include "weight.h"

#include <string.h>

/* "F32 [3, 16, 20]" for each tensor. */
static char *shapes_text(int n_tensors, const LfTensor *tensors)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < n_tensors; i++) {
        g_string_append_printf(text, "%s%s [", i ? ", " : "", lf_type_name(tensors[i].type));
        for (int d = 0; d < tensors[i].n_dims; d++)
            g_string_append_printf(text, "%s%" G_GINT64_FORMAT, d ? ", " : "", tensors[i].shape[d]);
        g_string_append_c(text, ']');
    }
    return g_string_free(text, FALSE);
}

static void report_mistake(const char *operation, const char *rule, int n_tensors,
                           const LfTensor *tensors)
{
    char *shapes = shapes_text(n_tensors, tensors);
    g_critical("%s: %s does not hold for %s", operation, rule, shapes);
    g_free(shapes);
}

static bool has_shape(LfTensor t, LfType type, int n_dims, const int64_t *shape)
{
    return t.type == type && n_dims > 0 && t.n_dims == n_dims &&
           memcmp(t.shape, shape, (size_t) n_dims * sizeof *shape) == 0;
}

/* Returns from the calling operation unless `rule` holds; the tensors are for the message. */
#define REQUIRE(rule, ...)                                                                         \
    do {                                                                                           \
        if (G_UNLIKELY(!(rule))) {                                                                 \
            const LfTensor given_[] = {__VA_ARGS__};                                               \
            report_mistake(__func__, #rule, G_N_ELEMENTS(given_), given_);                         \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* The plan backend and the FLOP counter have no functions; a call on them only checks its
 * arguments. For any other backend a missing function is a bug. */
static bool only_checks(const LfBackend *be, const char *operation)
{
    bool plan = g_str_equal(be->name, "plan");
    if (!plan)
        g_critical("%s: the backend %s has no such operation", operation, be->name);
    return plan;
}

#define RUN(operation, ...)                                                                        \
    do {                                                                                           \
        if (be->ops->operation)                                                                    \
            be->ops->operation(be, __VA_ARGS__);                                                   \
        else                                                                                       \
            only_checks(be, __func__);                                                             \
    } while (0)

#define SHAPE_OF(t, type, ...)                                                                     \
    has_shape((t), (type), sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                     \
              (const int64_t[]){__VA_ARGS__})
/* Shapes of the transformer's activations (A) and of the decoder's (P). */
#define A_SHAPE(t, ...) SHAPE_OF(t, be->activation_type, __VA_ARGS__)
#define P_SHAPE(t, ...) SHAPE_OF(t, be->decoder_type, __VA_ARGS__)
#define SHAPE(t, type, ...)                                                                        \
    has_shape((t), LF_##type, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                  \
              (const int64_t[]){__VA_ARGS__})
#define SHAPE_OR_NONE(t, type, ...) (!lf_is_set(t) || SHAPE(t, type, __VA_ARGS__))
#define SAME(a, b)                  has_shape((a), (b).type, (b).n_dims, (b).shape)

/* Rows for a linear layer: of the backend's type, or FP8 with scales. A plan has no memory for the
 * scales either. */
static bool rows_hold(const LfBackend *be, LfTensor t, int64_t rows, int64_t width)
{
    return A_SHAPE(t, rows, width) || ((t.scales || !t.data) && SHAPE(t, F8_E4M3, rows, width));
}

static bool linear_reads(const LfBackend *be, const LfWeight *weight, LfTensor x)
{
    return lf_weight_is_linear(weight->kind) &&
           (x.type == weight->input || lf_backend_is_plan(be)) &&
           rows_hold(be, x, x.shape[0], weight->in);
}

static bool is_float(LfTensor t)
{
    return t.type == LF_F32 || t.type == LF_BF16 || t.type == LF_F16;
}

static int64_t blocks(int64_t tokens, int64_t block)
{
    return (tokens + block - 1) / block;
}

const char *lf_ops_missing(const LfOps *ops)
{
#define MISSING(name)                                                                              \
    if (!ops->name)                                                                                \
        return #name;
    LF_OPERATIONS(MISSING)
#undef MISSING
    return NULL;
}

/* ---- memory ---------------------------------------------------------------------------------- */

void lf_copy(LfBackend *be, LfTensor dst, LfTensor src)
{
    REQUIRE(SAME(dst, src) && !dst.scales && !src.scales, dst, src);
    be->copy(be, dst.data, src.data, lf_tensor_size(dst));
}

void lf_clear(LfBackend *be, LfTensor t)
{
    REQUIRE(lf_is_set(t) && !t.scales, t);
    be->clear(be, t.data, lf_tensor_size(t));
}

void lf_upload(LfBackend *be, LfTensor dst, const void *host)
{
    REQUIRE(lf_is_set(dst) && !dst.scales, dst);
    be->upload(be, dst.data, host, lf_tensor_size(dst));
}

void lf_download(LfBackend *be, void *host, LfTensor src)
{
    REQUIRE(lf_is_set(src) && !src.scales, src);
    be->download(be, host, src.data, lf_tensor_size(src));
}

void lf_upload_floats(LfBackend *be, LfTensor dst, const float *values)
{
    REQUIRE(is_float(dst), dst);
    if (dst.type == LF_F32 || lf_backend_is_plan(be)) {
        lf_upload(be, dst, values);
        return;
    }
    g_autofree void *converted = g_malloc(lf_tensor_size(dst));
    lf_from_float(converted, dst.type, values, lf_tensor_count(dst));
    lf_upload(be, dst, converted);
}

void lf_download_floats(LfBackend *be, float *values, LfTensor src)
{
    REQUIRE(is_float(src), src);
    if (src.type == LF_F32) {
        lf_download(be, values, src);
        return;
    }
    g_autofree void *narrow = g_malloc(lf_tensor_size(src));
    lf_download(be, narrow, src);
    lf_to_float(values, narrow, src.type, lf_tensor_count(src));
}

/* ---- weights --------------------------------------------------------------------------------- */

static bool is_filter(int64_t taps)
{
    return taps == 1 || taps == 3;
}

static bool weight_shape(LfWeightKind kind, LfTensor t)
{
    if (lf_weight_is_linear(kind) || kind == LF_WEIGHT_EMBEDDING)
        return t.n_dims == 2;
    if (kind == LF_WEIGHT_CONV3D)
        return t.n_dims == 5 && is_filter(t.shape[2]) && is_filter(t.shape[3]) &&
               t.shape[4] == t.shape[3];
    return t.n_dims == 4 && t.shape[2] == 3 && t.shape[3] == 3;
}

LfWeight *lf_weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    bool floating = source.type <= LF_F8_E5M2;
    bool scaled = source.scales != NULL;
    bool takes_scales = source.type == LF_F8_E4M3 && lf_weight_is_linear(kind);
    if (floating && weight_shape(kind, source) && (!scaled || takes_scales))
        return be->ops->weight_new(be, kind, source, error);
    char *shape = shapes_text(1, &source);
    lf_fail(error, LF_ERROR_SHAPE, "a weight of kind %d cannot be made from %s", kind, shape);
    g_free(shape);
    return NULL;
}

void lf_weight_free(LfBackend *be, LfWeight *weight)
{
    if (weight)
        be->ops->weight_free(be, weight);
}

int64_t lf_weight_out(const LfWeight *weight)
{
    return weight->out;
}

int64_t lf_weight_in(const LfWeight *weight)
{
    return weight->in;
}

int lf_weight_taps(const LfWeight *weight)
{
    return weight->times * weight->side * weight->side;
}

size_t lf_weight_memory(const LfWeight *weight)
{
    return weight->memory;
}

LfType lf_weight_input(const LfWeight *weight)
{
    return weight->input;
}

float lf_weight_norm(const LfWeight *weight)
{
    return weight->norm;
}

/* ---- linear ---------------------------------------------------------------------------------- */

void lf_linear(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight, LfTensor bias,
               LfActivation activation)
{
    REQUIRE(linear_reads(be, weight, x), out, x);
    REQUIRE(rows_hold(be, out, x.shape[0], weight->out), out, x);
    REQUIRE(SHAPE_OR_NONE(bias, F32, weight->out), bias, out);
    RUN(linear, out, x, weight, bias, activation);
}

void lf_linear_residual(LfBackend *be, LfTensor x, LfTensor y, const LfWeight *weight,
                        LfTensor bias, LfTensor gate)
{
    REQUIRE(linear_reads(be, weight, y), x, y);
    REQUIRE(A_SHAPE(x, y.shape[0], weight->out) || SHAPE(x, F32, y.shape[0], weight->out), x, y);
    REQUIRE(SHAPE_OR_NONE(bias, F32, weight->out), bias, x);
    REQUIRE(SHAPE_OR_NONE(gate, F32, weight->out), gate, x);
    RUN(linear_residual, x, y, weight, bias, gate);
}

/* ---- norms ----------------------------------------------------------------------------------- */

void lf_layer_norm_modulate(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, LfTensor shift,
                            float eps)
{
    REQUIRE(A_SHAPE(x, x.shape[0], x.shape[1]), x);
    REQUIRE(rows_hold(be, out, x.shape[0], x.shape[1]), out, x);
    REQUIRE(SHAPE(scale, F32, x.shape[1]) && SAME(shift, scale), scale, shift, x);
    RUN(layer_norm_modulate, out, x, scale, shift, eps);
}

void lf_layer_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, LfTensor bias,
                   float eps)
{
    REQUIRE(A_SHAPE(x, x.shape[0], x.shape[1]), x);
    REQUIRE(rows_hold(be, out, x.shape[0], x.shape[1]), out, x);
    REQUIRE(SHAPE(weight, F32, x.shape[1]) && SAME(bias, weight), weight, bias, x);
    RUN(layer_norm, out, x, weight, bias, eps);
}

void lf_rms_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, float eps)
{
    REQUIRE(A_SHAPE(x, x.shape[0], x.shape[1]) && SAME(out, x), out, x);
    REQUIRE(SHAPE(weight, F32, x.shape[1]), weight, x);
    RUN(rms_norm, out, x, weight, eps);
}

/* ---- self attention -------------------------------------------------------------------------- */

/* k and v are [S, H, T, d]; the window has at least the frames of the chunk, and at most S. */
static bool window_holds(const LfBackend *be, const LfWindow *w)
{
    const int64_t *s = w->k.shape;
    return A_SHAPE(w->k, s[0], s[1], s[2], s[3]) && SAME(w->v, w->k) &&
           SHAPE(w->slots, I32, w->slots.shape[0]) && w->chunk >= 1 &&
           w->chunk <= w->slots.shape[0] && w->slots.shape[0] <= s[0];
}

static bool pools_hold(const LfWindow *w)
{
    const int64_t *s = w->k.shape;
    return w->key_block >= 1 && SHAPE(w->k_pool, F32, s[0], s[1], blocks(s[2], w->key_block), s[3]);
}

static bool rope_holds(const LfRope *rope, int64_t chunk, int64_t tokens, int64_t head)
{
    const int64_t *time = rope->time.shape, *row = rope->row.shape, *col = rope->col.shape;
    return SHAPE(rope->time, F32, chunk, time[1], 2) && SHAPE(rope->row, F32, row[0], row[1], 2) &&
           SHAPE_OR_NONE(rope->col, F32, col[0], col[1], 2) && row[0] * MAX(col[0], 1) == tokens &&
           2 * (time[1] + row[1] + col[1]) == head;
}

void lf_qkv_norm_rope(LfBackend *be, LfTensor q, LfTensor q_pool, const LfWindow *window,
                      LfTensor qkv, LfTensor q_weight, LfTensor k_weight, const LfRope *rope,
                      int query_block, float eps)
{
    REQUIRE(window_holds(be, window) && pools_hold(window), window->k, window->v, window->k_pool,
            window->slots);
    int64_t heads = window->k.shape[1], tokens = window->k.shape[2], head = window->k.shape[3];
    int64_t chunk = window->chunk;
    REQUIRE(A_SHAPE(qkv, chunk * tokens, 3 * heads * head), qkv, window->k);
    REQUIRE(A_SHAPE(q, heads, chunk * tokens, head), q, window->k);
    REQUIRE(SHAPE(q_weight, F32, heads * head) && SAME(k_weight, q_weight), q_weight, k_weight);
    REQUIRE(rope_holds(rope, chunk, tokens, head), rope->time, rope->row, rope->col, window->k);
    REQUIRE(query_block >= 1 || !lf_is_set(q_pool), q_pool);
    REQUIRE(SHAPE_OR_NONE(q_pool, F32, heads, chunk * blocks(tokens, query_block), head), q_pool,
            q);
    RUN(qkv_norm_rope, q, q_pool, window, qkv, q_weight, k_weight, rope, query_block, eps);
}

void lf_rope_shift(LfBackend *be, LfTensor out, LfTensor x, LfTensor angles)
{
    REQUIRE(x.type == be->activation_type || x.type == LF_F32, x);
    REQUIRE(SHAPE_OF(x, x.type, x.shape[0], x.shape[1], x.shape[2]) && SAME(out, x), out, x);
    REQUIRE(SHAPE(angles, F32, angles.shape[0], 2) && 2 * angles.shape[0] <= x.shape[2], angles, x);
    RUN(rope_shift, out, x, angles);
}

void lf_select_blocks(LfBackend *be, LfTensor table, LfTensor q_pool, const LfWindow *window,
                      const LfSelection *selection)
{
    REQUIRE(window_holds(be, window) && pools_hold(window), window->k, window->v, window->k_pool,
            window->slots);
    int64_t heads = window->k.shape[1], n_queries = q_pool.shape[1];
    int64_t past = window->slots.shape[0] - window->chunk;
    int64_t candidates =
        window->k_pool.shape[2] * (window->chunk + MIN(past, selection->keep_frames));
    REQUIRE(SHAPE(q_pool, F32, heads, n_queries, window->k.shape[3]), q_pool, window->k);
    REQUIRE(n_queries % window->chunk == 0, q_pool);
    REQUIRE(SHAPE(table, I32, heads, n_queries, table.shape[2]), table, q_pool);
    REQUIRE(table.shape[2] <= candidates, table, window->k_pool);
    REQUIRE(selection->keep_sink >= 0 && selection->keep_near >= 0 &&
                selection->keep_sink + selection->keep_near <= selection->keep_frames,
            table);
    RUN(select_blocks, table, q_pool, window, selection);
}

/* Whether `out` can be the output of attention. Rows of F8_E4M3 need v_amax for their scale. */
static bool attended(LfBackend *be, LfTensor out, int64_t rows, int64_t width, LfTensor v_amax)
{
    return rows_hold(be, out, rows, width) && SHAPE_OR_NONE(v_amax, F32, 1) &&
           (out.type != LF_F8_E4M3 || lf_is_set(v_amax));
}

void lf_attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window, LfTensor table,
                  int query_block)
{
    REQUIRE(window_holds(be, window), window->k, window->v, window->slots);
    int64_t heads = window->k.shape[1], tokens = window->k.shape[2], head = window->k.shape[3];
    int64_t chunk = window->chunk;
    REQUIRE(A_SHAPE(q, heads, chunk * tokens, head), q, window->k);
    REQUIRE(attended(be, out, chunk * tokens, heads * head, window->v_amax), out, q,
            window->v_amax);
    REQUIRE(!lf_is_set(table) || (query_block >= 1 && window->key_block >= 1), table);
    REQUIRE(SHAPE_OR_NONE(table, I32, heads, chunk * blocks(tokens, query_block), table.shape[2]),
            table, q);
    RUN(attention, out, q, window, table, query_block);
}

/* ---- text ------------------------------------------------------------------------------------ */

void lf_cross_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                        LfTensor v_amax, int heads, float last_logit)
{
    REQUIRE(A_SHAPE(q, q.shape[0], q.shape[1]), q);
    REQUIRE(attended(be, out, q.shape[0], q.shape[1], v_amax), out, q, v_amax);
    REQUIRE(A_SHAPE(k, k.shape[0], q.shape[1]) && SAME(v, k), k, v, q);
    REQUIRE(heads >= 1 && q.shape[1] % heads == 0, q);
    RUN(cross_attention, out, q, k, v, v_amax, heads, last_logit);
}

void lf_amax(LfBackend *be, LfTensor out, LfTensor x)
{
    REQUIRE(SHAPE(out, F32, 1) && x.type == be->activation_type && lf_is_set(x), out, x);
    RUN(amax, out, x);
}

void lf_text_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                       LfTensor bias)
{
    REQUIRE(A_SHAPE(q, q.shape[0], q.shape[1]) && SAME(k, q) && SAME(v, q) && SAME(out, q), out, q,
            k, v);
    REQUIRE(SHAPE(bias, F32, bias.shape[0], q.shape[0], q.shape[0]), bias, q);
    REQUIRE(q.shape[1] % bias.shape[0] == 0, q, bias);
    RUN(text_attention, out, q, k, v, bias);
}

void lf_position_bias(LfBackend *be, LfTensor out, LfTensor table, LfTensor buckets)
{
    int64_t n = out.shape[1];
    REQUIRE(SHAPE(table, F32, table.shape[0], table.shape[1]), table);
    REQUIRE(SHAPE(out, F32, table.shape[1], n, n), out, table);
    REQUIRE(SHAPE(buckets, I32, 2 * n - 1), buckets, out);
    RUN(position_bias, out, table, buckets);
}

void lf_embedding(LfBackend *be, LfTensor out, const LfWeight *table, LfTensor ids)
{
    REQUIRE(table->kind == LF_WEIGHT_EMBEDDING, out, ids);
    REQUIRE(SHAPE(ids, I32, ids.shape[0]), ids);
    REQUIRE(A_SHAPE(out, ids.shape[0], table->in), out, ids);
    RUN(embedding, out, table, ids);
}

void lf_gelu_gate(LfBackend *be, LfTensor gate, LfTensor up)
{
    REQUIRE(A_SHAPE(gate, gate.shape[0], gate.shape[1]) && SAME(up, gate), gate, up);
    RUN(gelu_gate, gate, up);
}

/* ---- latents --------------------------------------------------------------------------------- */

/* x is [frames, channels, h, w] with even h and w; rows are its patches, [N, 4·channels]. */
static bool patches_hold(const LfBackend *be, LfTensor rows, LfTensor x, LfTensor order)
{
    const int64_t *s = x.shape, tokens = (s[2] / 2) * (s[3] / 2);
    return SHAPE(x, F32, s[0], s[1], s[2], s[3]) && s[2] % 2 == 0 && s[3] % 2 == 0 &&
           A_SHAPE(rows, s[0] * tokens, 4 * s[1]) && SHAPE_OR_NONE(order, I32, tokens);
}

void lf_patchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
    REQUIRE(patches_hold(be, out, x, order), out, x, order);
    RUN(patchify, out, x, order);
}

void lf_unpatchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
    REQUIRE(patches_hold(be, x, out, order), out, x, order);
    RUN(unpatchify, out, x, order);
}

void lf_denoise(LfBackend *be, LfTensor out, LfTensor x, LfTensor v, float sigma)
{
    REQUIRE(x.type == LF_F32 && SAME(out, x) && SAME(v, x), out, x, v);
    RUN(denoise, out, x, v, sigma);
}

void lf_renoise(LfBackend *be, LfTensor out, LfTensor x0, LfTensor noise, float sigma)
{
    REQUIRE(x0.type == LF_F32 && SAME(out, x0) && SAME(noise, x0), out, x0, noise);
    RUN(renoise, out, x0, noise, sigma);
}

void lf_noise(LfBackend *be, LfTensor out, uint64_t seed, uint32_t chunk, uint32_t step)
{
    REQUIRE(out.type == LF_F32 && lf_is_set(out), out);
    RUN(noise, out, seed, chunk, step);
}

/* ---- decoder --------------------------------------------------------------------------------- */

void lf_take_latents(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, LfTensor shift,
                     bool tanh_clamp)
{
    const int64_t *s = x.shape;
    REQUIRE(SHAPE(x, F32, s[0], s[1], s[2], s[3]), x);
    REQUIRE(P_SHAPE(out, s[0], s[2], s[3], s[1]), out, x);
    REQUIRE(SHAPE_OR_NONE(scale, F32, s[1]), scale, x);
    REQUIRE(lf_is_set(scale) ? SAME(shift, scale) : !lf_is_set(shift), scale, shift);
    RUN(take_latents, out, x, scale, shift, tanh_clamp);
}

void lf_conv3x3(LfBackend *be, LfTensor out, LfTensor x, LfTensor past, const LfWeight *weight,
                LfTensor bias, LfTensor residual, bool relu)
{
    const int64_t *s = x.shape;
    REQUIRE(weight->kind == LF_WEIGHT_CONV3X3, out, x);
    REQUIRE(P_SHAPE(x, s[0], s[1], s[2], s[3]), x);
    REQUIRE(!lf_is_set(past) || P_SHAPE(past, s[0], s[1], s[2], past.shape[3]), past, x);
    REQUIRE(s[3] + past.shape[3] == weight->in, x, past);
    REQUIRE(out.type == be->decoder_type || out.type == LF_F32, out);
    REQUIRE(SHAPE_OF(out, out.type, s[0], s[1], s[2], weight->out), out, x);
    REQUIRE(SHAPE_OR_NONE(bias, F32, weight->out), bias, out);
    REQUIRE(!lf_is_set(residual) || SAME(residual, out), residual, out);
    RUN(conv3x3, out, x, past, weight, bias, residual, relu);
}

void lf_conv3x3_up2(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight, LfTensor bias,
                    bool relu)
{
    const int64_t *s = x.shape;
    REQUIRE(weight->kind == LF_WEIGHT_CONV_UP2, out, x);
    REQUIRE(P_SHAPE(x, s[0], s[1], s[2], weight->in), x);
    REQUIRE(P_SHAPE(out, s[0], 2 * s[1], 2 * s[2], weight->out), out, x);
    REQUIRE(SHAPE_OR_NONE(bias, F32, weight->out), bias, out);
    RUN(conv3x3_up2, out, x, weight, bias, relu);
}

void lf_conv3d(LfBackend *be, LfTensor out, LfTensor x, LfTensor past, const LfWeight *weight,
               LfTensor bias, LfTensor residual)
{
    const int64_t *s = x.shape;
    REQUIRE(weight->kind == LF_WEIGHT_CONV3D, out, x);
    REQUIRE(P_SHAPE(x, s[0], s[1], s[2], weight->in), x);
    REQUIRE(weight->times == 1 ? !lf_is_set(past)
                               : P_SHAPE(past, weight->times - 1, s[1], s[2], s[3]),
            past, x);
    REQUIRE(out.type == be->decoder_type || out.type == LF_F32, out);
    REQUIRE(SHAPE_OF(out, out.type, s[0], s[1], s[2], weight->out), out, x);
    REQUIRE(SHAPE_OR_NONE(bias, F32, weight->out), bias, out);
    REQUIRE(!lf_is_set(residual) || SAME(residual, out), residual, out);
    RUN(conv3d, out, x, past, weight, bias, residual);
}

void lf_pixel_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, bool silu)
{
    REQUIRE(lf_is_set(x) && x.type == be->decoder_type && SAME(out, x), out, x);
    REQUIRE(SHAPE(weight, F32, x.shape[x.n_dims - 1]), weight, x);
    RUN(pixel_norm, out, x, weight, silu);
}

void lf_frame_attention(LfBackend *be, LfTensor out, LfTensor x)
{
    const int64_t *s = out.shape;
    REQUIRE(P_SHAPE(out, s[0], s[1], s[2]), out);
    REQUIRE(P_SHAPE(x, s[0], s[1], 3 * s[2]), x, out);
    RUN(frame_attention, out, x);
}

void lf_rgb8(LfBackend *be, LfTensor out, LfTensor x)
{
    const int64_t *s = x.shape;
    REQUIRE(P_SHAPE(x, s[0], s[1], s[2], 3), x);
    REQUIRE(SHAPE(out, U8, s[0], s[1], s[2], 3), out, x);
    RUN(rgb8, out, x);
}

bool lf_pixels(LfBackend *be, const LfPicture *picture, LfTensor rgb, GError **error)
{
    if (G_UNLIKELY(!SHAPE(rgb, U8, picture->height, picture->width, 3))) {
        report_mistake(__func__, "U8 [height, width, 3]", 1, &rgb);
        return lf_fail(error, LF_ERROR_SHAPE, "a frame of %d×%d for a picture of %d×%d",
                       (int) rgb.shape[1], (int) rgb.shape[0], picture->width, picture->height);
    }
    if (be->ops->pixels)
        return be->ops->pixels(be, picture, rgb, error);
    return only_checks(be, __func__) ||
           lf_fail(error, LF_ERROR_UNSUPPORTED, "%s cannot convert pixels", be->name);
}
