/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Backends: opening, the plan, calls with wrong arguments, numbers of narrow types, latched
 * failures, and weights that several backends read at once.
 */
#include "kernels/arena.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

static LfBackend *open_cpu(int n_threads)
{
    GError *error = NULL;
    LfBackend *be = lf_backend_open("cpu", n_threads, LF_PRECISION_AUTO, NULL, &error);
    g_assert_no_error(error);
    return be;
}

static void fill(float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = (float) g_test_rand_double_range(-1.0, 1.0);
}

static void test_names(void)
{
    static const char *const unknown[] = {
        "abacus",    "cuda:",     "cuda:x", "cuda:1x", "cuda:-1", "cuda: 1", "cuda1",
        "cuda:1025", "auto:1025", "auto:",  "cpu:0",   "CPU",     "cp",      ""};
    GError *error = NULL;
    LfBackend *be = open_cpu(3);
    g_assert_cmpint(be->n_threads, ==, 3);
    g_assert_nonnull(strstr(be->description, "3 threads"));
    lf_backend_close(be);
    for (gsize i = 0; i < G_N_ELEMENTS(unknown); i++) {
        g_autofree char *start = g_strdup_printf("no backend \"%s\"", unknown[i]);
        g_assert_null(lf_backend_open(unknown[i], 0, LF_PRECISION_AUTO, NULL, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
        g_assert_true(g_str_has_prefix(error->message, start));
        g_clear_error(&error);
    }
    g_assert_null(lf_backend_open("cuda:1024", 0, LF_PRECISION_AUTO, NULL, &error));
    g_assert_true(g_error_matches(error, LF_ERROR, LF_ERROR_DEVICE) ||
                  g_error_matches(error, LF_ERROR, LF_ERROR_UNSUPPORTED));
    g_assert_null(strstr(error->message, "no backend"));
    g_clear_error(&error);
    g_assert_null(lf_backend_open("cpu", 0, LF_PRECISION_FP8, NULL, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    lf_backend_close(NULL);
}

/* LIGHTFORCING_CPU limits the instruction set and never extends it. */
static void test_level(void)
{
    GError *error = NULL;
    char *before = g_strdup(g_getenv("LIGHTFORCING_CPU"));
    g_setenv("LIGHTFORCING_CPU", "c", TRUE);
    LfBackend *be = open_cpu(1);
    g_assert_cmpint(((LfCpu *) be)->isa, ==, LF_CPU_C);
    lf_backend_close(be);
    g_setenv("LIGHTFORCING_CPU", "abacus", TRUE);
    g_assert_null(lf_backend_open("auto", 0, LF_PRECISION_AUTO, NULL, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_clear_error(&error);
    if (before)
        g_setenv("LIGHTFORCING_CPU", before, TRUE);
    else
        g_unsetenv("LIGHTFORCING_CPU");
    g_free(before);
}

/* A plan's tensors have shapes and no data; calls on them touch nothing and add up memory. */
static void test_plan(void)
{
    LfBackend *plan = lf_backend_plan(NULL);
    LfArena arena = lf_arena_plan();
    LfWeight *weight = lf_weight_new(plan, LF_WEIGHT_LINEAR, lf_tensor(NULL, LF_BF16, 7, 5), NULL);
    g_assert_cmpint(lf_weight_out(weight), ==, 7);
    g_assert_cmpint(lf_weight_in(weight), ==, 5);
    g_assert_cmpint(lf_weight_memory(weight), ==, 7 * 5 * 2);
    LfTensor x = lf_arena_tensor(&arena, LF_F32, 3, 5), out = lf_arena_tensor(&arena, LF_F32, 3, 7);
    lf_linear(plan, out, x, weight, LF_NONE, LF_ACT_NONE);
    g_assert_null(out.data);
    g_assert_cmpint(arena.peak, ==, 2 * LF_ARENA_ALIGNMENT);
    g_assert_true(plan->sync(plan, NULL));
    lf_weight_free(plan, weight);
    lf_backend_close(plan);
}

/* A wrong shape is reported with the operation and the shapes, and nothing is written. */
static void test_mistakes(void)
{
    LfBackend *be = open_cpu(1);
    float values[15], out[15] = {0};
    fill(values, 15);
    LfTensor x = lf_tensor(values, LF_F32, 3, 5), wrong = lf_tensor(out, LF_F32, 5, 3);
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, "lf_rms_norm: *F32 [5, 3], F32 [3, 5]");
    lf_rms_norm(be, wrong, x, lf_tensor(values, LF_F32, 5), 1e-6f);
    g_test_assert_expected_messages();
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, "lf_denoise: *");
    lf_denoise(be, lf_tensor(out, LF_I32, 3, 5), x, x, 0.5f);
    g_test_assert_expected_messages();
    for (int i = 0; i < 15; i++)
        g_assert_cmpfloat(out[i], ==, 0.0f);
    lf_backend_close(be);
}

static float float_of(uint32_t bits, LfType type)
{
    uint16_t half = (uint16_t) bits;
    uint8_t byte = (uint8_t) bits;
    float value;
    g_assert_true(lf_to_float(&value, lf_type_size(type) == 1 ? (void *) &byte : &half, type, 1));
    return value;
}

/* A finite number of a sign, `exponent` and `mantissa` bits by its definition. */
static double small_value(uint32_t bits, int exponent, int mantissa)
{
    int e = (int) (bits >> mantissa) & ((1 << exponent) - 1), bias = (1 << (exponent - 1)) - 1;
    double m = (double) (bits & ((1u << mantissa) - 1)), one = (double) (1u << mantissa);
    double size = e ? ldexp(one + m, e - bias - mantissa) : ldexp(m, 1 - bias - mantissa);
    return bits >> (exponent + mantissa) & 1 ? -size : size;
}

/* The largest number, the smallest, infinity and NaN of every small type; E4M3 has no infinity. */
static void test_small_floats(void)
{
    static const struct {
        LfType type;
        uint32_t bits;
        float value;
    } known[] = {
        {LF_F8_E4M3, 0x7e, 448},       {LF_F8_E4M3, 0x81, -0x1p-9f}, {LF_F8_E4M3, 0x7f, NAN},
        {LF_F8_E4M3, 0xff, NAN},       {LF_F8_E5M2, 0x7b, 57344},    {LF_F8_E5M2, 0x81, -0x1p-16f},
        {LF_F8_E5M2, 0xfc, -INFINITY}, {LF_F8_E5M2, 0x7d, NAN},      {LF_F16, 0x7bff, 65504},
        {LF_F16, 0x8001, -0x1p-24f},   {LF_F16, 0xfc00, -INFINITY},  {LF_F16, 0x7c01, NAN},
        {LF_BF16, 0x7f80, INFINITY},   {LF_BF16, 0xff81, NAN},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        float value = float_of(known[i].bits, known[i].type);
        g_assert_true(isnan(known[i].value) ? isnan(value) : value == known[i].value);
    }
    for (uint32_t bits = 0; bits < 1 << 16; bits++) { /* there and back */
        float bf16 = float_of(bits, LF_BF16), f16 = float_of(bits, LF_F16);
        g_assert_true(isnan(bf16) ? isnan(float_of(lf_float_to_bf16(bf16), LF_BF16))
                                  : lf_float_to_bf16(bf16) == bits);
        g_assert_true(isnan(f16) ? isnan(float_of(lf_float_to_f16(f16), LF_F16))
                                 : lf_float_to_f16(f16) == bits);
        g_assert_true(!isfinite(f16) || f16 == small_value(bits, 5, 10));
    }
    for (uint32_t bits = 0; bits < 256; bits++) {
        float e4m3 = float_of(bits, LF_F8_E4M3), e5m2 = float_of(bits, LF_F8_E5M2);
        g_assert_true(isnan(e4m3) ? (bits & 0x7f) == 0x7f : e4m3 == small_value(bits, 4, 3));
        g_assert_true(isfinite(e5m2) ? e5m2 == small_value(bits, 5, 2) : (bits & 0x7c) == 0x7c);
    }
}

/* NaN is NaN in a narrow type, also one whose bits are all in the half that is dropped. */
static void test_narrow_nan(void)
{
    const uint32_t payloads[] = {0x7f800001, 0xff80ffff, 0x7fc00000, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < G_N_ELEMENTS(payloads); i++) {
        float value;
        memcpy(&value, &payloads[i], sizeof value);
        g_assert_true(isnan(float_of(lf_float_to_bf16(value), LF_BF16)));
        g_assert_true(isnan(float_of(lf_float_to_f16(value), LF_F16)));
    }
}

static void expect_critical(const char *pattern)
{
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, pattern);
}

/* A window names frames that the cache has, and at least those of the chunk. */
static void test_wrong_windows(void)
{
    enum { SLOTS = 4, HEADS = 2, TOKENS = 6, HEAD = 8, CHUNK = 2 };
    static const struct {
        int frames, chunk;
    } wrong[] = {{SLOTS + 1, CHUNK}, {CHUNK - 1, CHUNK}, {SLOTS, 0}};
    LfBackend *be = lf_backend_plan(NULL);
    LfTensor cache = lf_tensor(NULL, LF_F32, SLOTS, HEADS, TOKENS, HEAD);
    LfTensor q = lf_tensor(NULL, LF_F32, HEADS, CHUNK * TOKENS, HEAD);
    LfTensor out = lf_tensor(NULL, LF_F32, CHUNK * TOKENS, HEADS * HEAD);
    LfWindow window = {
        .k = cache, .v = cache, .slots = lf_tensor(NULL, LF_I32, SLOTS), .chunk = CHUNK};
    lf_attention(be, out, q, &window, LF_NONE, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        window.slots = lf_tensor(NULL, LF_I32, wrong[i].frames);
        window.chunk = wrong[i].chunk;
        expect_critical("lf_attention: window_holds*");
        lf_attention(be, out, q, &window, LF_NONE, 0);
        g_test_assert_expected_messages();
    }
}

/* Copies, clears and transfers of tensors write the tensor and nothing next to it; invalid ones are
 * refused and write nothing. */
static void test_memory(void)
{
    LfBackend *be = open_cpu(1);
    float from[12], to[12] = {0}, zeros[12] = {0};
    fill(from, 12);
    LfTensor x = lf_tensor(from, LF_F32, 4, 3), out = lf_tensor(to, LF_F32, 4, 3);
    LfTensor e4m3 = {.data = to, .type = LF_F8_E4M3, .n_dims = 2, .shape = {4, 3}, .scales = from};

    expect_critical("lf_copy: *F32 [4, 3], F32 [2, 3]");
    lf_copy(be, out, lf_tensor_slice(x, 0, 2));
    expect_critical("lf_copy: *F32 [4, 3], I32 [4, 3]");
    lf_copy(be, out, lf_tensor(from, LF_I32, 4, 3));
    expect_critical("lf_copy: *");
    lf_copy(be, e4m3, e4m3);
    expect_critical("lf_clear: *");
    lf_clear(be, LF_NONE);
    expect_critical("lf_upload: *");
    lf_upload(be, e4m3, from);
    expect_critical("lf_download: *");
    lf_download(be, to, LF_NONE);
    expect_critical("lf_upload_floats: *I32 [4, 3]");
    lf_upload_floats(be, lf_tensor(to, LF_I32, 4, 3), from);
    g_test_assert_expected_messages();
    g_assert_cmpmem(to, sizeof to, zeros, sizeof zeros);

    lf_copy(be, lf_tensor_slice(out, 1, 2), lf_tensor_slice(x, 0, 2));
    g_assert_cmpmem(to + 3, 6 * sizeof *to, from, 6 * sizeof *to);
    g_assert_cmpfloat(to[2], ==, 0);
    g_assert_cmpfloat(to[9], ==, 0);
    lf_clear(be, lf_tensor_at(out, 1));
    g_assert_cmpmem(to + 3, 3 * sizeof *to, zeros, 3 * sizeof *to);
    g_assert_cmpmem(to + 6, 3 * sizeof *to, from + 3, 3 * sizeof *to);
    lf_upload(be, lf_tensor_at(out, 3), from);
    g_assert_cmpmem(to + 9, 3 * sizeof *to, from, 3 * sizeof *to);
    lf_download(be, to, lf_tensor_at(x, 2));
    g_assert_cmpmem(to, 3 * sizeof *to, from + 6, 3 * sizeof *to);
    lf_copy(lf_backend_plan(NULL), lf_tensor(NULL, LF_F32, 2), lf_tensor(NULL, LF_F32, 2));
    lf_backend_close(be);
}

/* The scales of E4M3 rows belong to all rows together, so a slice would pair rows with the scales
 * of others: it is refused. Numbers of that type without scales, as in files, are like any
 * other. */
static void test_scaled_rows(void)
{
    LfBackend *be = open_cpu(1);
    LfArena arena;
    g_assert_true(lf_arena_init(&arena, be, 4096, NULL));
    LfTensor rows = lf_arena_rows(&arena, LF_F8_E4M3, 4, 6), plain = rows;
    expect_critical("*scales*");
    g_assert_false(lf_is_set(lf_tensor_slice(rows, 1, 2)));
    expect_critical("*scales*");
    g_assert_false(lf_is_set(lf_tensor_at(rows, 1)));
    expect_critical("*scales*");
    g_assert_false(lf_is_set(lf_tensor_reshape(rows, 2, 12)));
    g_test_assert_expected_messages();
    plain.scales = NULL;
    g_assert_true(lf_tensor_slice(plain, 1, 2).data == (uint8_t *) rows.data + 6);
    g_assert_cmpint(lf_tensor_reshape(plain, 2, 12).shape[1], ==, 12);
    lf_arena_clear(&arena);
    lf_backend_close(be);
}

/* No memory: the message names the backend, the size and what to do. */
static void test_no_memory(void)
{
    GError *error = NULL;
    LfBackend *be = open_cpu(1);
    LfArena arena;
    g_assert_false(lf_arena_init(&arena, be, (size_t) 1 << 60, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_MEMORY);
    g_assert_nonnull(strstr(error->message, be->description));
    g_assert_nonnull(strstr(error->message, "1152921504606.8 MB"));
    g_assert_nonnull(strstr(error->message, "reduce width, height or attention window"));
    g_clear_error(&error);
    lf_arena_clear(&arena);
    lf_backend_close(be);
}

/* A backend without a function for an operation says so; lf_ops_missing names the operation. */
static void test_missing(void)
{
    LfBackend *be = open_cpu(1);
    LfOps ops = *be->ops;
    const LfOps *own = be->ops;
    float values[4] = {0};
    LfTensor x = lf_tensor(values, LF_F32, 4);
    g_assert_cmpstr(lf_ops_missing(own), ==, NULL);
    ops.renoise = NULL;
    g_assert_cmpstr(lf_ops_missing(&ops), ==, "renoise");
    be->ops = &ops;
    expect_critical("lf_renoise: the backend cpu *");
    lf_renoise(be, x, x, x, 0.5f);
    g_test_assert_expected_messages();
    be->ops = own;
    lf_backend_close(be);
}

/* lf_fail sets the error, if `error` is not NULL, and returns false. */
static void test_fail(void)
{
    GError *error = NULL;
    g_assert_false(lf_fail(NULL, LF_ERROR_TEXT, "nobody asks"));
    g_assert_false(lf_fail(&error, LF_ERROR_CONFIG, "%d blocks of %s", 3, "rows"));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_cmpstr(error->message, ==, "3 blocks of rows");
    g_clear_error(&error);
}

static void test_wrong_weights(void)
{
    static const struct {
        LfWeightKind kind;
        LfTensor source;
    } cases[] = {
        {LF_WEIGHT_LINEAR, {.type = LF_F32, .n_dims = 3, .shape = {2, 3, 4}}},
        {LF_WEIGHT_LINEAR, {.type = LF_I32, .n_dims = 2, .shape = {2, 3}}},
        {LF_WEIGHT_CONV3X3, {.type = LF_F32, .n_dims = 4, .shape = {2, 3, 1, 1}}},
        {LF_WEIGHT_CONV_UP2, {.type = LF_F32, .n_dims = 2, .shape = {2, 3}}},
        {LF_WEIGHT_EMBEDDING, {.type = LF_F32, .n_dims = 1, .shape = {2}}},
    };
    LfBackend *be = open_cpu(1);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        g_assert_null(lf_weight_new(be, cases[i].kind, cases[i].source, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
        g_clear_error(&error);
    }
    lf_weight_free(be, NULL);
    lf_backend_close(be);
}

/* An operation without scratch memory fails the next sync, and only that one. */
static void test_latch(void)
{
    GError *error = NULL;
    LfBackend *be = open_cpu(2);
    g_assert_true(be->sync(be, &error));
    g_assert_null(lf_cpu_scratch(be, 1, (size_t) 1 << 60));
    g_assert_false(be->sync(be, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_MEMORY);
    g_clear_error(&error);
    g_assert_nonnull(lf_cpu_scratch(be, 1, 100));
    g_assert_true(be->sync(be, &error));
    g_assert_no_error(error);
    lf_backend_close(be);
}

/* ---- one weight, several threads, each with a backend ---------------------------------------- */

enum { ROWS = 70, IN = 130, OUT = 190, N_STREAMS = 3 };

typedef struct {
    const LfWeight *linear, *conv;
    LfTensor x, frames;
    float out[ROWS * OUT], picture[ROWS * OUT];
} Stream;

static gpointer run_stream(gpointer data)
{
    Stream *s = data;
    LfBackend *be = open_cpu(2);
    for (int round = 0; round < 20; round++) {
        lf_linear(be, lf_tensor(s->out, LF_F32, ROWS, OUT), s->x, s->linear, LF_NONE,
                  LF_ACT_GELU_TANH);
        lf_conv3x3(be, lf_tensor(s->picture, LF_F32, 1, 7, 10, OUT), s->frames, LF_NONE, s->conv,
                   LF_NONE, LF_NONE, true);
    }
    g_assert_true(be->sync(be, NULL));
    lf_backend_close(be);
    return NULL;
}

static void test_shared_weights(void)
{
    LfBackend *be = open_cpu(1);
    float *source = g_new(float, OUT *IN * 9), *x = g_new(float, ROWS *IN);
    fill(source, OUT * IN * 9);
    fill(x, ROWS * IN);
    LfWeight *linear =
        lf_weight_new(be, LF_WEIGHT_LINEAR, lf_tensor(source, LF_F32, OUT, IN), NULL);
    LfWeight *conv =
        lf_weight_new(be, LF_WEIGHT_CONV3X3, lf_tensor(source, LF_F32, OUT, IN, 3, 3), NULL);
    Stream *streams = g_new0(Stream, N_STREAMS);
    GThread *threads[N_STREAMS];
    for (int i = 0; i < N_STREAMS; i++) {
        streams[i].linear = linear;
        streams[i].conv = conv;
        streams[i].x = lf_tensor(x, LF_F32, ROWS, IN);
        streams[i].frames = lf_tensor(x, LF_F32, 1, 7, 10, IN);
        threads[i] = g_thread_new("stream", run_stream, &streams[i]);
    }
    for (int i = 0; i < N_STREAMS; i++)
        g_thread_join(threads[i]);
    for (int i = 1; i < N_STREAMS; i++) {
        g_assert_cmpmem(streams[i].out, sizeof streams[i].out, streams[0].out,
                        sizeof streams[0].out);
        g_assert_cmpmem(streams[i].picture, sizeof streams[i].picture, streams[0].picture,
                        sizeof streams[0].picture);
    }
    g_assert_cmpfloat(streams[0].out[0], !=, 0.0f);
    lf_weight_free(be, linear);
    lf_weight_free(be, conv);
    lf_backend_close(be);
    g_free(streams);
    g_free(source);
    g_free(x);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/backend/names", test_names);
    g_test_add_func("/backend/level", test_level);
    g_test_add_func("/backend/plan", test_plan);
    g_test_add_func("/backend/mistakes", test_mistakes);
    g_test_add_func("/backend/wrong-windows", test_wrong_windows);
    g_test_add_func("/backend/small-floats", test_small_floats);
    g_test_add_func("/backend/narrow-nan", test_narrow_nan);
    g_test_add_func("/backend/memory", test_memory);
    g_test_add_func("/backend/scaled-rows", test_scaled_rows);
    g_test_add_func("/backend/no-memory", test_no_memory);
    g_test_add_func("/backend/missing", test_missing);
    g_test_add_func("/backend/fail", test_fail);
    g_test_add_func("/backend/wrong-weights", test_wrong_weights);
    g_test_add_func("/backend/latch", test_latch);
    g_test_add_func("/backend/shared-weights", test_shared_weights);
    return g_test_run();
}
