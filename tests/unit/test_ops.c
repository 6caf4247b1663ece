/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The functions in front of the table of operations refuse every argument that breaks the contract
 * of ops.h, and no other. A row of the table below is a call that is right. Each of its tensors is
 * then changed on its own: another type, one entry more or less in each dimension, a dimension more
 * or less, and none at all.
 */
#include "kernels/ops.h"
#include "kernels/weight.h"

#include <string.h>

enum {
    FRAMES = 2, /* of a chunk */
    SLOTS = 4,
    HEADS = 2,
    TOKENS = 6,
    HEAD = 8,
    WIDTH = HEADS * HEAD,
    ROWS = FRAMES * TOKENS,
    KEY_BLOCK = 4,
    QUERY_BLOCK = 5,
    N_BLOCKS = 2, /* of either, in a frame */
    BUDGET = 6,   /* all candidates, with one past frame */
    MAX_ARGS = 12
};

/* The types of ops.h, in letters: A, P, R; F F32, I I32, U U8; X is A or F32, Q is P or F32. */
typedef struct {
    char type;
    int64_t shape[LF_MAX_DIMS];
    const char
        *allowed; /* "?" may be none, "*" any shape, "n+" or "n-": dimension n may change so */
} Arg;

/* A tensor for each argument, in the order of the case. */
typedef void (*Call)(LfBackend *be, const LfTensor *t);

typedef struct {
    const char *name;
    Call call;
    Arg args[MAX_ARGS];
} Case;

/* ---- the calls ------------------------------------------------------------------------------- */

static LfWeight *weight(LfWeightKind kind, int64_t out, int64_t in)
{
    static LfWeight weight;
    weight = (LfWeight){.kind = kind, .out = out, .in = in, .times = 1, .side = 3};
    return &weight;
}

static LfWindow window_of(LfTensor k, LfTensor v, LfTensor k_pool, LfTensor slots, LfTensor v_amax)
{
    return (LfWindow){.k = k,
                      .v = v,
                      .k_pool = k_pool,
                      .slots = slots,
                      .v_amax = v_amax,
                      .chunk = FRAMES,
                      .key_block = KEY_BLOCK};
}

static void call_linear(LfBackend *be, const LfTensor *t)
{
    lf_linear(be, t[0], t[1], weight(LF_WEIGHT_LINEAR, 7, 5), t[2], LF_ACT_SILU);
}

static void call_linear_fp8(LfBackend *be, const LfTensor *t)
{
    lf_linear(be, t[0], t[1], weight(LF_WEIGHT_LINEAR_FP8, 7, 5), t[2], LF_ACT_SILU);
}

static void call_linear_residual(LfBackend *be, const LfTensor *t)
{
    lf_linear_residual(be, t[0], t[1], weight(LF_WEIGHT_LINEAR, 7, 5), t[2], t[3]);
}

static void call_layer_norm_modulate(LfBackend *be, const LfTensor *t)
{
    lf_layer_norm_modulate(be, t[0], t[1], t[2], t[3], 1e-6f);
}

static void call_layer_norm(LfBackend *be, const LfTensor *t)
{
    lf_layer_norm(be, t[0], t[1], t[2], t[3], 1e-6f);
}

static void call_rms_norm(LfBackend *be, const LfTensor *t)
{
    lf_rms_norm(be, t[0], t[1], t[2], 1e-6f);
}

static void call_qkv_norm_rope(LfBackend *be, const LfTensor *t)
{
    LfWindow window = window_of(t[2], t[3], t[4], t[5], LF_NONE);
    LfRope rope = {t[9], t[10], t[11]};
    lf_qkv_norm_rope(be, t[0], t[1], &window, t[6], t[7], t[8], &rope, QUERY_BLOCK, 1e-6f);
}

static void call_rope_shift(LfBackend *be, const LfTensor *t)
{
    lf_rope_shift(be, t[0], t[1], t[2]);
}

static void call_select_blocks(LfBackend *be, const LfTensor *t)
{
    LfWindow window = window_of(t[2], t[3], t[4], t[5], LF_NONE);
    const LfSelection selection = {.keep_frames = 1, .keep_near = 1};
    lf_select_blocks(be, t[0], t[1], &window, &selection);
}

static void call_attention(LfBackend *be, const LfTensor *t)
{
    LfWindow window = window_of(t[2], t[3], LF_NONE, t[4], t[5]);
    lf_attention(be, t[0], t[1], &window, t[6], QUERY_BLOCK);
}

static void call_cross_attention(LfBackend *be, const LfTensor *t)
{
    lf_cross_attention(be, t[0], t[1], t[2], t[3], t[4], HEADS, 0);
}

static void call_amax(LfBackend *be, const LfTensor *t)
{
    lf_amax(be, t[0], t[1]);
}

static void call_text_attention(LfBackend *be, const LfTensor *t)
{
    lf_text_attention(be, t[0], t[1], t[2], t[3], t[4]);
}

static void call_position_bias(LfBackend *be, const LfTensor *t)
{
    lf_position_bias(be, t[0], t[1], t[2]);
}

static void call_embedding(LfBackend *be, const LfTensor *t)
{
    lf_embedding(be, t[0], weight(LF_WEIGHT_EMBEDDING, 7, 5), t[1]);
}

static void call_gelu_gate(LfBackend *be, const LfTensor *t)
{
    lf_gelu_gate(be, t[0], t[1]);
}

static void call_patchify(LfBackend *be, const LfTensor *t)
{
    lf_patchify(be, t[0], t[1], t[2]);
}

static void call_unpatchify(LfBackend *be, const LfTensor *t)
{
    lf_unpatchify(be, t[0], t[1], t[2]);
}

static void call_denoise(LfBackend *be, const LfTensor *t)
{
    lf_denoise(be, t[0], t[1], t[2], 0.5f);
}

static void call_renoise(LfBackend *be, const LfTensor *t)
{
    lf_renoise(be, t[0], t[1], t[2], 0.5f);
}

static void call_noise(LfBackend *be, const LfTensor *t)
{
    lf_noise(be, t[0], 1, 2, 3);
}

static void call_take_latents(LfBackend *be, const LfTensor *t)
{
    lf_take_latents(be, t[0], t[1], LF_NONE, LF_NONE, true);
}

static void call_take_scaled(LfBackend *be, const LfTensor *t)
{
    lf_take_latents(be, t[0], t[1], t[2], t[3], false);
}

static LfWeight *weight_3d(int times)
{
    LfWeight *w = weight(LF_WEIGHT_CONV3D, 7, 5);
    w->times = times;
    return w;
}

static void call_conv3d(LfBackend *be, const LfTensor *t)
{
    lf_conv3d(be, t[0], t[1], t[2], weight_3d(3), t[3], t[4]);
}

static void call_conv3d_alone(LfBackend *be, const LfTensor *t)
{
    lf_conv3d(be, t[0], t[1], LF_NONE, weight_3d(1), LF_NONE, LF_NONE);
}

static void call_frame_attention(LfBackend *be, const LfTensor *t)
{
    lf_frame_attention(be, t[0], t[1]);
}

static void call_pixel_norm(LfBackend *be, const LfTensor *t)
{
    lf_pixel_norm(be, t[0], t[1], t[2], true);
}

static void call_conv3x3(LfBackend *be, const LfTensor *t)
{
    lf_conv3x3(be, t[0], t[1], t[2], weight(LF_WEIGHT_CONV3X3, 7, 8), t[3], t[4], true);
}

static void call_conv3x3_alone(LfBackend *be, const LfTensor *t)
{
    lf_conv3x3(be, t[0], t[1], LF_NONE, weight(LF_WEIGHT_CONV3X3, 7, 5), LF_NONE, LF_NONE, false);
}

static void call_conv3x3_up2(LfBackend *be, const LfTensor *t)
{
    lf_conv3x3_up2(be, t[0], t[1], weight(LF_WEIGHT_CONV_UP2, 7, 5), t[2], true);
}

static void call_rgb8(LfBackend *be, const LfTensor *t)
{
    lf_rgb8(be, t[0], t[1]);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define AS(TYPE, ...)                                                                              \
    {                                                                                              \
        .type = (#TYPE)[0], .shape = { __VA_ARGS__ }                                               \
    }
#define SO(TYPE, ALLOWED, ...)                                                                     \
    {                                                                                              \
        .type = (#TYPE)[0], .shape = {__VA_ARGS__}, .allowed = ALLOWED                             \
    }

#define CACHE       AS(A, SLOTS, HEADS, TOKENS, HEAD), AS(A, SLOTS, HEADS, TOKENS, HEAD)
#define POOL        AS(F, SLOTS, HEADS, N_BLOCKS, HEAD)
#define FRAME_SLOTS SO(I, "0-", SLOTS)

static const Case cases[] = {
    {"lf_linear", call_linear, {AS(R, 3, 7), AS(R, 3, 5), SO(F, "?", 7)}},
    {"lf_linear", call_linear_fp8, {AS(R, 3, 7), AS(R, 3, 5), SO(F, "?", 7)}},
    {"lf_linear_residual",
     call_linear_residual,
     {AS(X, 3, 7), AS(R, 3, 5), SO(F, "?", 7), SO(F, "?", 7)}},
    {"lf_layer_norm_modulate",
     call_layer_norm_modulate,
     {AS(R, 3, 5), AS(A, 3, 5), AS(F, 5), AS(F, 5)}},
    {"lf_layer_norm", call_layer_norm, {AS(R, 3, 5), AS(A, 3, 5), AS(F, 5), AS(F, 5)}},
    {"lf_rms_norm", call_rms_norm, {AS(A, 3, 5), AS(A, 3, 5), AS(F, 5)}},
    {"lf_qkv_norm_rope",
     call_qkv_norm_rope,
     {AS(A, HEADS, ROWS, HEAD), SO(F, "?", HEADS, FRAMES *N_BLOCKS, HEAD), CACHE, POOL, FRAME_SLOTS,
      AS(A, ROWS, 3 * WIDTH), AS(F, WIDTH), AS(F, WIDTH), AS(F, FRAMES, 1, 2), AS(F, 2, 1, 2),
      AS(F, 3, 2, 2)}},
    {"lf_qkv_norm_rope", /* each token has a row of its own */
     call_qkv_norm_rope,
     {AS(A, HEADS, ROWS, HEAD), SO(F, "?", HEADS, FRAMES *N_BLOCKS, HEAD), CACHE, POOL, FRAME_SLOTS,
      AS(A, ROWS, 3 * WIDTH), AS(F, WIDTH), AS(F, WIDTH), AS(F, FRAMES, 1, 2),
      AS(F, TOKENS, 3, 2)}},
    {"lf_rope_shift", call_rope_shift, {AS(A, 2, 3, 8), AS(A, 2, 3, 8), SO(F, "0-", 4, 2)}},
    {"lf_rope_shift", call_rope_shift, {AS(F, 2, 3, 8), AS(F, 2, 3, 8), SO(F, "0-", 4, 2)}},
    {"lf_select_blocks",
     call_select_blocks,
     {SO(I, "2-", HEADS, FRAMES *N_BLOCKS, BUDGET), AS(F, HEADS, FRAMES *N_BLOCKS, HEAD), CACHE,
      POOL, FRAME_SLOTS}},
    {"lf_attention",
     call_attention,
     {AS(R, ROWS, WIDTH), AS(A, HEADS, ROWS, HEAD), CACHE, FRAME_SLOTS, SO(F, "?", 1),
      SO(I, "?2+2-", HEADS, FRAMES *N_BLOCKS, 3)}},
    {"lf_attention", /* without v_amax the output cannot be E4M3 */
     call_attention,
     {AS(A, ROWS, WIDTH), AS(A, HEADS, ROWS, HEAD), CACHE, FRAME_SLOTS}},
    {"lf_cross_attention",
     call_cross_attention,
     {AS(R, 3, 8), AS(A, 3, 8), AS(A, 5, 8), AS(A, 5, 8), SO(F, "?", 1)}},
    {"lf_cross_attention",
     call_cross_attention,
     {AS(A, 3, 8), AS(A, 3, 8), AS(A, 5, 8), AS(A, 5, 8)}},
    {"lf_amax", call_amax, {AS(F, 1), SO(A, "*", 3, 5, 7)}},
    {"lf_text_attention",
     call_text_attention,
     {AS(A, 5, 9), AS(A, 5, 9), AS(A, 5, 9), AS(A, 5, 9), AS(F, 3, 5, 5)}},
    {"lf_position_bias", call_position_bias, {AS(F, 3, 5, 5), SO(F, "0+0-", 8, 3), AS(I, 9)}},
    {"lf_embedding", call_embedding, {AS(A, 3, 5), AS(I, 3)}},
    {"lf_gelu_gate", call_gelu_gate, {AS(A, 3, 5), AS(A, 3, 5)}},
    {"lf_patchify", call_patchify, {AS(A, 12, 12), AS(F, 2, 3, 4, 6), SO(I, "?", 6)}},
    {"lf_unpatchify", call_unpatchify, {AS(F, 2, 3, 4, 6), AS(A, 12, 12), SO(I, "?", 6)}},
    {"lf_denoise", call_denoise, {AS(F, 3, 5), AS(F, 3, 5), AS(F, 3, 5)}},
    {"lf_renoise", call_renoise, {AS(F, 3, 5), AS(F, 3, 5), AS(F, 3, 5)}},
    {"lf_noise", call_noise, {SO(F, "*", 3, 5)}},
    {"lf_take_latents", call_take_latents, {AS(P, 2, 4, 6, 3), AS(F, 2, 3, 4, 6)}},
    {"lf_take_latents",
     call_take_scaled,
     {AS(P, 2, 4, 6, 3), AS(F, 2, 3, 4, 6), AS(F, 3), AS(F, 3)}},
    {"lf_conv3x3",
     call_conv3x3,
     {AS(P, 2, 4, 6, 7), AS(P, 2, 4, 6, 5), AS(P, 2, 4, 6, 3), SO(F, "?", 7),
      SO(P, "?", 2, 4, 6, 7)}},
    {"lf_conv3x3", call_conv3x3_alone, {AS(Q, 2, 4, 6, 7), AS(P, 2, 4, 6, 5)}},
    {"lf_conv3x3_up2", call_conv3x3_up2, {AS(P, 2, 8, 12, 7), AS(P, 2, 4, 6, 5), SO(F, "?", 7)}},
    {"lf_conv3d",
     call_conv3d,
     {AS(P, 3, 4, 6, 7), AS(P, 3, 4, 6, 5), AS(P, 2, 4, 6, 5), SO(F, "?", 7),
      SO(P, "?", 3, 4, 6, 7)}},
    {"lf_conv3d", call_conv3d_alone, {AS(Q, 2, 4, 6, 7), AS(P, 2, 4, 6, 5)}},
    {"lf_pixel_norm", call_pixel_norm, {AS(P, 2, 4, 6, 5), AS(P, 2, 4, 6, 5), AS(F, 5)}},
    {"lf_frame_attention", call_frame_attention, {AS(P, 2, 6, 5), AS(P, 2, 6, 15)}},
    {"lf_rgb8", call_rgb8, {AS(U, 2, 4, 6, 3), AS(P, 2, 4, 6, 3)}},
};

/* ---- changing one tensor --------------------------------------------------------------------- */

static LfType type_of(const LfBackend *be, char letter)
{
    if (strchr("ARX", letter))
        return be->activation_type;
    if (strchr("PQ", letter))
        return be->decoder_type;
    return letter == 'F' ? LF_F32 : letter == 'I' ? LF_I32 : LF_U8;
}

static bool takes_type(const LfBackend *be, char letter, LfType type)
{
    return type == type_of(be, letter) || (strchr("XQ", letter) && type == LF_F32) ||
           (letter == 'R' && type == LF_F8_E4M3);
}

static bool allows(const Arg *arg, const char *change)
{
    return arg->allowed && strstr(arg->allowed, change);
}

static bool allows_size(const Arg *arg, int dimension, char sign)
{
    const char change[] = {(char) ('0' + dimension), sign, 0};
    return allows(arg, "*") || allows(arg, change);
}

/* The call with argument `index` replaced runs without a word, or is refused by name. */
static void check(LfBackend *be, const Case *c, const LfTensor *args, int index, LfTensor changed,
                  bool right)
{
    LfTensor given[MAX_ARGS];
    memcpy(given, args, sizeof given);
    given[index] = changed;
    if (!right) {
        g_autofree char *pattern = g_strconcat(c->name, ": *", NULL);
        g_test_message("%s, argument %d as %s of %d dimensions [%d, %d, %d, %d]", c->name, index,
                       lf_type_name(changed.type), changed.n_dims, (int) changed.shape[0],
                       (int) changed.shape[1], (int) changed.shape[2], (int) changed.shape[3]);
        g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, pattern);
    }
    c->call(be, given);
    g_test_assert_expected_messages();
}

static void check_shapes(LfBackend *be, const Case *c, const LfTensor *args, int index)
{
    const Arg *arg = &c->args[index];
    for (int d = 0; d < args[index].n_dims; d++) {
        LfTensor t = args[index];
        t.shape[d]++;
        check(be, c, args, index, t, allows_size(arg, d, '+'));
        t.shape[d] -= 2;
        if (t.shape[d] > 0)
            check(be, c, args, index, t, allows_size(arg, d, '-'));
    }
    LfTensor more = args[index], less = args[index];
    more.shape[more.n_dims++] = 1;
    check(be, c, args, index, more, allows(arg, "*"));
    less.shape[--less.n_dims] = 0;
    if (less.n_dims > 0)
        check(be, c, args, index, less, allows(arg, "*"));
}

static void check_argument(LfBackend *be, const Case *c, const LfTensor *args, int index)
{
    const Arg *arg = &c->args[index];
    for (LfType type = 0; type < LF_N_TYPES; type++) {
        LfTensor t = args[index];
        t.type = type;
        check(be, c, args, index, t, takes_type(be, arg->type, type));
    }
    check_shapes(be, c, args, index);
    check(be, c, args, index, LF_NONE, allows(arg, "?"));
}

static void test_arguments(gconstpointer data)
{
    const LfBackend like = {.activation_type = GPOINTER_TO_INT(data)};
    LfBackend *be = lf_backend_plan(&like);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfTensor args[MAX_ARGS] = {0};
        int n = 0;
        for (; n < MAX_ARGS && cases[i].args[n].type; n++) {
            int64_t shape[LF_MAX_DIMS + 1] = {0};
            memcpy(shape, cases[i].args[n].shape, sizeof cases[i].args[n].shape);
            args[n] = lf_tensor_view(NULL, type_of(be, cases[i].args[n].type), shape);
        }
        for (int index = 0; index < n; index++)
            check_argument(be, &cases[i], args, index);
    }
}

/* ---- what is no tensor ----------------------------------------------------------------------- */

static void expect(const char *pattern)
{
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, pattern);
}

static LfTensor none_of(LfType type, const int64_t *shape)
{
    return lf_tensor_view(NULL, type, shape);
}
#define T(type, ...) none_of(LF_##type, (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})

/* An operation takes weights of its own kind only. */
static void test_kinds(void)
{
    LfBackend *be = lf_backend_plan(NULL);
    LfTensor rows = T(F32, 3, 5), picture = T(F32, 2, 4, 6, 5), big = T(F32, 2, 8, 12, 5);
    for (LfWeightKind kind = LF_WEIGHT_LINEAR; kind <= LF_WEIGHT_EMBEDDING; kind++) {
        const LfWeight *w = weight(kind, 5, 5);
        bool linear = kind == LF_WEIGHT_LINEAR || kind == LF_WEIGHT_LINEAR_FP8;
        if (!linear)
            expect("lf_linear: *");
        lf_linear(be, rows, rows, w, LF_NONE, LF_ACT_NONE);
        if (!linear)
            expect("lf_linear_residual: *");
        lf_linear_residual(be, rows, rows, w, LF_NONE, LF_NONE);
        if (kind != LF_WEIGHT_EMBEDDING)
            expect("lf_embedding: *");
        lf_embedding(be, rows, w, T(I32, 3));
        if (kind != LF_WEIGHT_CONV3X3)
            expect("lf_conv3x3: *");
        lf_conv3x3(be, picture, picture, LF_NONE, w, LF_NONE, LF_NONE, false);
        if (kind != LF_WEIGHT_CONV_UP2)
            expect("lf_conv3x3_up2: *");
        lf_conv3x3_up2(be, big, picture, w, LF_NONE, false);
        if (kind != LF_WEIGHT_CONV3D)
            expect("lf_conv3d: *");
        lf_conv3d(be, picture, picture, LF_NONE, w, LF_NONE, LF_NONE);
        g_test_assert_expected_messages();
    }
}

/* Blocks have tokens, heads divide the width, and each chunk's frame has as many query blocks. */
static void test_numbers(void)
{
    LfBackend *be = lf_backend_plan(NULL);
    LfTensor rows = T(F32, 3, 8), q = T(F32, HEADS, ROWS, HEAD), out = T(F32, ROWS, WIDTH);
    LfTensor cache = T(F32, SLOTS, HEADS, TOKENS, HEAD);
    LfTensor table = T(I32, HEADS, ROWS, 2);
    LfWindow window =
        window_of(cache, cache, T(F32, SLOTS, HEADS, N_BLOCKS, HEAD), T(I32, SLOTS), LF_NONE);
    for (int heads = 0; heads <= 8; heads++) {
        if (heads == 0 || 8 % heads != 0)
            expect("lf_cross_attention: heads*");
        lf_cross_attention(be, rows, rows, rows, rows, LF_NONE, heads, 0);
        g_test_assert_expected_messages();
    }

    lf_attention(be, out, q, &window, table, 1);
    lf_attention(be, out, q, &window, LF_NONE, 0);
    expect("lf_attention: *");
    lf_attention(be, out, q, &window, table, 0);
    window.key_block = 0;
    expect("lf_attention: *");
    lf_attention(be, out, q, &window, table, 1);
    lf_attention(be, out, q, &window, LF_NONE, 0);

    LfRope rope = {T(F32, FRAMES, 1, 2), T(F32, 2, 1, 2), T(F32, 3, 2, 2)};
    LfTensor qkv = T(F32, ROWS, 3 * WIDTH), norm = T(F32, WIDTH);
    LfTensor pool = T(F32, HEADS, ROWS, HEAD);
    expect("lf_qkv_norm_rope: *pools_hold*");
    lf_qkv_norm_rope(be, q, pool, &window, qkv, norm, norm, &rope, 1, 1e-6f);
    window.key_block = KEY_BLOCK;
    lf_qkv_norm_rope(be, q, pool, &window, qkv, norm, norm, &rope, 1, 1e-6f);
    lf_qkv_norm_rope(be, q, LF_NONE, &window, qkv, norm, norm, &rope, 0, 1e-6f);
    expect("lf_qkv_norm_rope: query_block*");
    lf_qkv_norm_rope(be, q, pool, &window, qkv, norm, norm, &rope, 0, 1e-6f);
    g_test_assert_expected_messages();
}

static void test_selections(void)
{
    static const struct {
        LfSelection selection;
        int queries; /* of the chunk */
        bool right;
    } selections[] = {
        {{1, 0, 0}, 4, true},  {{1, 1, 0}, 4, true},   {{1, 0, 1}, 4, true},
        {{1, 1, 1}, 4, false}, {{2, 1, 1}, 4, true},   {{2, 2, 1}, 4, false},
        {{2, 1, 2}, 4, false}, {{1, -1, 1}, 4, false}, {{1, 1, -1}, 4, false},
        {{1, 0, 0}, 5, false}, {{1, 0, 0}, 2, true},   {{9, 4, 4}, 4, true},
    };
    LfBackend *be = lf_backend_plan(NULL);
    LfTensor cache = T(F32, SLOTS, HEADS, TOKENS, HEAD);
    LfWindow window =
        window_of(cache, cache, T(F32, SLOTS, HEADS, N_BLOCKS, HEAD), T(I32, SLOTS), LF_NONE);
    for (gsize i = 0; i < G_N_ELEMENTS(selections); i++) {
        int queries = selections[i].queries;
        if (!selections[i].right)
            expect("lf_select_blocks: *");
        lf_select_blocks(be, T(I32, HEADS, queries, BUDGET), T(F32, HEADS, queries, HEAD), &window,
                         &selections[i].selection);
        g_test_assert_expected_messages();
    }
    const LfSelection all = {.keep_frames = 9}; /* no more candidates than there are past frames */
    LfTensor q_pool = T(F32, HEADS, 4, HEAD);
    lf_select_blocks(be, T(I32, HEADS, 4, SLOTS * N_BLOCKS), q_pool, &window, &all);
    expect("lf_select_blocks: *");
    lf_select_blocks(be, T(I32, HEADS, 4, SLOTS * N_BLOCKS + 1), q_pool, &window, &all);
    g_test_assert_expected_messages();
}

/* A backend with memory takes rows in E4M3 with their scales only, and in the weight's type. */
static void test_rows(void)
{
    LfBackend *be = lf_backend_open("cpu", 1, LF_PRECISION_AUTO, NULL, NULL);
    float numbers[15] = {0}, out[15];
    LfTensor x = lf_tensor(numbers, LF_F32, 3, 5), same = lf_tensor(out, LF_F32, 3, 5);
    LfTensor e4m3 = lf_tensor(numbers, LF_F8_E4M3, 3, 5);
    LfWeight *w = weight(LF_WEIGHT_LINEAR, 5, 5);
    w->input = LF_F8_E4M3;
    expect("lf_linear: *F32 [3, 5], F32 [3, 5]");
    lf_linear(be, same, x, w, LF_NONE, LF_ACT_NONE);
    expect("lf_linear: *F32 [3, 5], F8_E4M3 [3, 5]");
    lf_linear(be, same, e4m3, w, LF_NONE, LF_ACT_NONE);
    expect("lf_rms_norm: *F8_E4M3 [3, 5], F32 [3, 5]");
    lf_rms_norm(be, e4m3, x, lf_tensor(numbers, LF_F32, 5), 1e-6f);
    g_test_assert_expected_messages();
    lf_backend_close(be);
}

static void test_pixels(void)
{
    LfBackend *be = lf_backend_plan(NULL);
    const LfPicture picture = {.width = 6, .height = 4};
    const LfTensor wrong[] = {T(U8, 4, 7, 3),  T(U8, 5, 6, 3), T(U8, 4, 6, 4),
                              T(F32, 4, 6, 3), T(U8, 6, 4, 3), T(U8, 1, 4, 6, 3)};
    GError *error = NULL;
    g_assert_true(lf_pixels(be, &picture, T(U8, 4, 6, 3), &error));
    g_assert_no_error(error);
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        expect("lf_pixels: *");
        g_assert_false(lf_pixels(be, &picture, wrong[i], &error));
        g_test_assert_expected_messages();
        g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
        if (i == 0)
            g_assert_cmpstr(error->message, ==, "a frame of 7×4 for a picture of 6×4");
        g_clear_error(&error);
    }
}

/* ---- weights --------------------------------------------------------------------------------- */

static void test_weight_fields(void)
{
    const LfWeight w = {.out = 3, .in = 5, .memory = 7, .input = LF_F16, .norm = 1.5f};
    g_assert_cmpint(lf_weight_out(&w), ==, 3);
    g_assert_cmpint(lf_weight_in(&w), ==, 5);
    g_assert_cmpuint(lf_weight_memory(&w), ==, 7);
    g_assert_cmpint((int) lf_weight_input(&w), ==, LF_F16);
    g_assert_cmpfloat(lf_weight_norm(&w), ==, 1.5f);
}

/* Every kind in every type and in shapes of every rank: made when it is right, else refused with
 * the shape in the message. */
static void test_weight_sources(void)
{
    static const int64_t shapes[][LF_MAX_DIMS + 1] = {{6},
                                                      {6, 5},
                                                      {6, 5, 3},
                                                      {6, 5, 3, 3},
                                                      {6, 5, 1, 3},
                                                      {6, 5, 3, 1},
                                                      {6, 5, 3, 3, 1},
                                                      {6, 5, 3, 3, 3},
                                                      {6, 5, 3, 1, 1},
                                                      {6, 5, 1, 3, 3},
                                                      {6, 5, 1, 1, 1},
                                                      {6, 5, 2, 3, 3},
                                                      {6, 5, 3, 2, 2}};
    LfBackend *be = lf_backend_plan(NULL);
    for (LfWeightKind kind = LF_WEIGHT_LINEAR; kind <= LF_WEIGHT_EMBEDDING; kind++)
        for (LfType type = 0; type < LF_N_TYPES; type++)
            for (gsize i = 0; i < G_N_ELEMENTS(shapes); i++) {
                bool conv = kind == LF_WEIGHT_CONV3X3 || kind == LF_WEIGHT_CONV_UP2;
                bool shaped = kind == LF_WEIGHT_CONV3D ? i >= 7 && i <= 10 : i == (conv ? 3 : 1);
                bool right = type <= LF_F8_E5M2 && shaped;
                g_autoptr(GError) error = NULL;
                LfWeight *w = lf_weight_new(be, kind, none_of(type, shapes[i]), &error);
                g_assert_cmpint(w != NULL, ==, right);
                if (right) {
                    g_assert_cmpint(lf_weight_out(w), ==, 6);
                    g_assert_cmpint(lf_weight_in(w), ==, 5);
                    g_assert_cmpint((int) lf_weight_input(w), ==, be->activation_type);
                    g_assert_cmpint((int) w->kind, ==, (int) kind);
                    if (kind == LF_WEIGHT_CONV3D)
                        g_assert_cmpint(lf_weight_taps(w), ==,
                                        (int) (shapes[i][2] * shapes[i][3] * shapes[i][4]));
                    lf_weight_free(be, w);
                    continue;
                }
                g_autofree char *start = g_strdup_printf("%s [6", lf_type_name(type));
                g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
                g_assert_nonnull(strstr(error->message, start));
            }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/ops/arguments-f32", GINT_TO_POINTER(LF_F32), test_arguments);
    g_test_add_data_func("/ops/arguments-bf16", GINT_TO_POINTER(LF_BF16), test_arguments);
    g_test_add_func("/ops/kinds", test_kinds);
    g_test_add_func("/ops/numbers", test_numbers);
    g_test_add_func("/ops/selections", test_selections);
    g_test_add_func("/ops/rows", test_rows);
    g_test_add_func("/ops/pixels", test_pixels);
    g_test_add_func("/ops/weight-fields", test_weight_fields);
    g_test_add_func("/ops/weight-sources", test_weight_sources);
    return g_test_run();
}
