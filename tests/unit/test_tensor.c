/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tensors of every type and of odd sizes, the arena that holds them, and the log.
 */
#include "kernels/arena.h"
#include "kernels/log.h"
#include "kernels/ops.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const struct {
    LfType type;
    const char *name;
    size_t size;
} types[] = {
    {LF_F32, "F32", 4}, {LF_BF16, "BF16", 2},       {LF_F16, "F16", 2},
    {LF_F64, "F64", 8}, {LF_F8_E4M3, "F8_E4M3", 1}, {LF_F8_E5M2, "F8_E5M2", 1},
    {LF_I64, "I64", 8}, {LF_I32, "I32", 4},         {LF_I16, "I16", 2},
    {LF_I8, "I8", 1},   {LF_U8, "U8", 1},           {LF_BOOL, "BOOL", 1},
};

static void expect(const char *pattern)
{
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, pattern);
}

static void assert_shape(LfTensor t, int n_dims, const int64_t *shape)
{
    g_assert_cmpint(t.n_dims, ==, n_dims);
    for (int d = 0; d < LF_MAX_DIMS; d++)
        g_assert_cmpint(t.shape[d], ==, d < n_dims ? shape[d] : 0);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void test_types(void)
{
    g_assert_cmpint(G_N_ELEMENTS(types), ==, LF_N_TYPES);
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_assert_cmpstr(lf_type_name(types[i].type), ==, types[i].name);
        g_assert_cmpuint(lf_type_size(types[i].type), ==, types[i].size);
    }
}

static void test_views(void)
{
    static const int64_t shape[LF_MAX_DIMS + 1] = {2, 3, 5, 7, 11};
    float data[4];
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        int64_t cut[LF_MAX_DIMS + 1], n = 1;
        memcpy(cut, shape, sizeof cut);
        for (int n_dims = 1; n_dims <= LF_MAX_DIMS; n_dims++) {
            n *= shape[n_dims - 1];
            cut[n_dims] = 0;
            LfTensor t = lf_tensor_view(data, types[i].type, cut);
            g_assert_true(t.data == data && !t.scales && t.type == types[i].type);
            assert_shape(t, n_dims, shape);
            g_assert_cmpint(lf_tensor_count(t), ==, n);
            g_assert_cmpuint(lf_tensor_size(t), ==, (size_t) n * types[i].size);
            g_assert_true(lf_is_set(t));
            memcpy(cut, shape, sizeof cut);
        }
    }
    g_assert_false(lf_is_set(LF_NONE));
    g_assert_cmpint(lf_tensor_count(LF_NONE), ==, 0);
    g_assert_cmpuint(lf_tensor_size(LF_NONE), ==, 0);
    /* More entries than 32 bits count. */
    LfTensor large = lf_tensor(NULL, LF_F64, 70001, 80021);
    g_assert_cmpint(lf_tensor_count(large), ==, INT64_C(70001) * 80021);
    g_assert_cmpuint(lf_tensor_size(large), ==, (size_t) 8 * 70001 * 80021);
}

/* Every part of [5, 3, 2], of every type, with and without data. */
static void test_parts(void)
{
    enum { N = 5, ROW = 3 * 2 };
    uint8_t data[N * ROW * 8];
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        for (int first = 0; first < N; first++)
            for (int count = 1; first + count <= N; count++) {
                LfTensor t = lf_tensor(data, types[i].type, N, 3, 2);
                LfTensor slice = lf_tensor_slice(t, first, count), entry = lf_tensor_at(t, first);
                uint8_t *place = data + (size_t) (first * ROW) * types[i].size;
                g_assert_true(slice.data == place && entry.data == place);
                g_assert_true(slice.type == types[i].type && entry.type == types[i].type);
                assert_shape(slice, 3, (const int64_t[]){count, 3, 2});
                assert_shape(entry, 2, (const int64_t[]){3, 2});
                t.data = NULL;
                g_assert_null(lf_tensor_slice(t, first, count).data);
                g_assert_null(lf_tensor_at(t, first).data);
            }
}

static void test_wrong_parts(void)
{
    static const int wrong[][2] = {{-1, 2}, {0, 0}, {0, -1}, {0, 4}, {3, 1}, {1, 3}};
    float data[6] = {0};
    LfTensor t = lf_tensor(data, LF_F32, 3, 2);
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        expect("*first >= 0 && count > 0*");
        assert_shape(lf_tensor_slice(t, wrong[i][0], wrong[i][1]), 0, NULL);
    }
    for (int index = -1; index <= 3; index += 4) {
        expect("*first >= 0 && count > 0*");
        assert_shape(lf_tensor_at(t, index), 0, NULL);
    }
    expect("*n_dims > 1*");
    assert_shape(lf_tensor_at(lf_tensor_at(t, 1), 0), 0, NULL);
    expect("*lf_tensor_count*");
    assert_shape(lf_tensor_reshape(t, 7), 0, NULL);
    expect("*lf_tensor_count*");
    assert_shape(lf_tensor_reshape(t, 5), 0, NULL);
    g_test_assert_expected_messages();
    LfTensor view = lf_tensor_reshape(lf_tensor(data, LF_F16, 3, 2), 1, 2, 1, 3);
    assert_shape(view, 4, (const int64_t[]){1, 2, 1, 3});
    g_assert_true(view.data == data && view.type == LF_F16);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* The mean of two neighbours goes to the even one, a little more or less to the nearer one. */
static void test_rounding(void)
{
    for (int i = 0; i < 2000; i++) {
        uint16_t low = (uint16_t) g_test_rand_int_range(0, 0x7bff);
        uint16_t even = low & 1 ? (uint16_t) (low + 1) : low, sign = i & 1 ? 0x8000 : 0;
        float s = sign ? -1 : 1;
        double a = lf_f16_to_float(low), b = lf_f16_to_float(low + 1), half = (a + b) / 2;
        g_assert_cmpuint(lf_float_to_f16(s * (float) half), ==, sign | even);
        g_assert_cmpuint(lf_float_to_f16(s * nextafterf((float) half, 0)), ==, sign | low);
        g_assert_cmpuint(lf_float_to_f16(s * nextafterf((float) half, INFINITY)), ==,
                         sign | (low + 1));
        a = lf_bf16_to_float(low + 1); /* a normal number: the mean is exact */
        b = lf_bf16_to_float(low + 2);
        if (low < 0x80)
            continue;
        even = low & 1 ? (uint16_t) (low + 1) : (uint16_t) (low + 2);
        half = (a + b) / 2;
        g_assert_cmpuint(lf_float_to_bf16(s * (float) half), ==, sign | even);
        g_assert_cmpuint(lf_float_to_bf16(s * nextafterf((float) half, 0)), ==, sign | (low + 1));
        g_assert_cmpuint(lf_float_to_bf16(s * nextafterf((float) half, INFINITY)), ==,
                         sign | (low + 2));
    }
    g_assert_cmpuint(lf_float_to_f16(65519.996f), ==, 0x7bff);
    g_assert_cmpuint(lf_float_to_f16(65520), ==, 0x7c00);
    g_assert_cmpuint(lf_float_to_f16(-1e30f), ==, 0xfc00);
    g_assert_cmpuint(lf_float_to_f16(-0x1p-26f), ==, 0x8000);
    g_assert_cmpuint(lf_float_to_bf16(FLT_MAX), ==, 0x7f80);
    g_assert_cmpuint(lf_float_to_bf16(-INFINITY), ==, 0xff80);
}

/* Arrays of every type, at an odd address. Integers are refused, and nothing is written. */
static void test_to_float(void)
{
    static const struct {
        LfType type;
        uint8_t bytes[3 * 8];
    } arrays[] = {
        {LF_F32, {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0x80, 0x3e}},
        {LF_BF16, {0x80, 0x3f, 0, 0xc0, 0x80, 0x3e}},
        {LF_F16, {0, 0x3c, 0, 0xc0, 0, 0x34}},
        {LF_F64,
         {0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0xd0, 0x3f}},
        {LF_F8_E4M3, {0x38, 0xc0, 0x28}},
        {LF_F8_E5M2, {0x3c, 0xc0, 0x34}},
    };
    static const float wanted[] = {1, -2, 0.25f};
    for (gsize i = 0; i < G_N_ELEMENTS(arrays); i++) {
        uint8_t bytes[1 + sizeof arrays[i].bytes];
        float values[4] = {9, 9, 9, 9};
        memcpy(bytes + 1, arrays[i].bytes, sizeof arrays[i].bytes);
        g_assert_true(lf_to_float(values, bytes + 1, arrays[i].type, 3));
        g_assert_cmpmem(values, sizeof wanted, wanted, sizeof wanted);
        g_assert_cmpfloat(values[3], ==, 9);
    }
    for (LfType type = LF_I64; type < LF_N_TYPES; type++) {
        uint8_t bytes[8] = {0};
        float value = 9;
        g_assert_false(lf_to_float(&value, bytes, type, 1));
        g_assert_false(lf_to_float(&value, bytes, type, 0));
        g_assert_cmpfloat(value, ==, 9);
    }
}

static void test_from_float(void)
{
    static const float values[] = {1, -2, 0.25f};
    for (LfType type = 0; type < LF_N_TYPES; type++) {
        bool right = type == LF_F32 || type == LF_BF16 || type == LF_F16;
        uint8_t bytes[32], untouched[32];
        float back[3];
        memset(bytes, 0x55, sizeof bytes);
        memset(untouched, 0x55, sizeof untouched);
        gsize n = right ? 3 * lf_type_size(type) : 0;
        g_assert_cmpint(lf_from_float(bytes, type, values, 3), ==, right);
        g_assert_cmpmem(bytes + n, sizeof bytes - n, untouched, sizeof bytes - n);
        if (!right)
            continue;
        g_assert_true(lf_to_float(back, bytes, type, 3));
        g_assert_cmpmem(back, sizeof back, values, sizeof values);
    }
}

/* Floats to a backend's memory in each type, and back. */
static void test_floats_of_backend(void)
{
    static const LfType narrow[] = {LF_F32, LF_BF16, LF_F16};
    LfBackend *be = lf_backend_open("cpu", 1, LF_PRECISION_AUTO, NULL, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(narrow); i++) {
        float values[15], back[16], next;
        uint8_t memory[16 * 4], rounded[16 * 4];
        for (int n = 0; n < 15; n++)
            values[n] = (float) g_test_rand_double_range(-9, 9);
        memset(memory, 0x55, sizeof memory);
        memset(rounded, 0x55, sizeof rounded);
        lf_from_float(rounded, narrow[i], values, 15);
        LfTensor t = lf_tensor(memory, narrow[i], 3, 5);
        lf_upload_floats(be, t, values);
        g_assert_cmpmem(memory, sizeof memory, rounded, sizeof rounded);
        next = back[15] = 7;
        lf_download_floats(be, back, t);
        lf_to_float(values, rounded, narrow[i], 15);
        g_assert_cmpmem(back, sizeof values, values, sizeof values);
        g_assert_cmpfloat(back[15], ==, next);
    }
    float value = 9;
    uint8_t byte = 0;
    expect("lf_download_floats: *U8 [1]");
    lf_download_floats(be, &value, lf_tensor(&byte, LF_U8, 1));
    g_test_assert_expected_messages();
    g_assert_cmpfloat(value, ==, 9);
    lf_backend_close(be);
}

/* ---- the arena ------------------------------------------------------------------------------- */

static size_t aligned(size_t size)
{
    return (size + LF_ARENA_ALIGNMENT - 1) / LF_ARENA_ALIGNMENT * LF_ARENA_ALIGNMENT;
}

/* Tensors of all sizes lie one behind the other, at aligned places; a plan counts as many bytes. */
static void test_arena(void)
{
    LfBackend *be = lf_backend_open("cpu", 1, LF_PRECISION_AUTO, NULL, NULL);
    LfArena arena, plan;
    g_assert_true(lf_arena_init(&arena, be, 1 << 20, NULL));
    g_assert_true(lf_arena_init(&plan, lf_backend_plan(NULL), 5, NULL));
    g_assert_true(arena.backend == be && arena.base && arena.size == 1 << 20);
    g_assert_true(!plan.backend && !plan.base && plan.size == SIZE_MAX);
    size_t used = 0;
    for (int n = 1; n < 300; n++) {
        LfType type = types[g_test_rand_int_range(0, LF_N_TYPES)].type;
        LfTensor t = lf_arena_tensor(&arena, type, n, 3), p = lf_arena_tensor(&plan, type, n, 3);
        g_assert_true(t.data == arena.base + used && !p.data);
        g_assert_true(t.type == type && p.type == type);
        assert_shape(t, 2, (const int64_t[]){n, 3});
        assert_shape(p, 2, (const int64_t[]){n, 3});
        used += aligned((size_t) n * 3 * lf_type_size(type));
        g_assert_cmpuint(arena.used, ==, used);
        g_assert_cmpuint(plan.used, ==, used);
    }
    lf_arena_release(&arena, 512);
    g_assert_cmpuint(arena.used, ==, 512);
    g_assert_cmpuint(arena.peak, ==, used);
    g_assert_true(lf_arena_tensor(&arena, LF_U8, 1).data == arena.base + 512);
    g_assert_cmpuint(arena.peak, ==, used);
    g_assert_cmpuint(plan.peak, ==, used);
    lf_arena_clear(&arena);
    lf_arena_clear(&plan);
    g_assert_true(!arena.base && !arena.size && !arena.used && !arena.peak && !plan.size);
    lf_backend_close(be);
}

/* The last byte can be used, one more cannot; what did not fit takes nothing away. */
static void test_full_arena(void)
{
    LfBackend *be = lf_backend_open("cpu", 1, LF_PRECISION_AUTO, NULL, NULL);
    LfArena arena;
    g_assert_true(lf_arena_init(&arena, be, 3 * LF_ARENA_ALIGNMENT, NULL));
    g_assert_nonnull(lf_arena_tensor(&arena, LF_U8, LF_ARENA_ALIGNMENT + 1).data);
    expect("arena of 768 bytes: 512 more asked for after 512");
    LfTensor none = lf_arena_tensor(&arena, LF_F32, LF_ARENA_ALIGNMENT / 4 + 1);
    g_test_assert_expected_messages();
    g_assert_null(none.data);
    g_assert_cmpuint(arena.used, ==, 2 * LF_ARENA_ALIGNMENT);
    g_assert_cmpuint(arena.peak, ==, 2 * LF_ARENA_ALIGNMENT);
    g_assert_nonnull(lf_arena_tensor(&arena, LF_F32, LF_ARENA_ALIGNMENT / 4).data);
    g_assert_cmpuint(arena.used, ==, arena.size);
    lf_arena_clear(&arena);
    g_assert_true(lf_arena_init(&arena, be, 0, NULL)); /* holds nothing, and is no failure */
    g_assert_nonnull(arena.base);
    lf_arena_clear(&arena);
    lf_backend_close(be);
}

/* Rows have scales in E4M3 only: two numbers for each row. */
static void test_arena_rows(void)
{
    LfBackend *be = lf_backend_open("cpu", 1, LF_PRECISION_AUTO, NULL, NULL);
    LfArena arena;
    g_assert_true(lf_arena_init(&arena, be, 1 << 16, NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        bool scaled = types[i].type == LF_F8_E4M3;
        LfTensor t = lf_arena_rows(&arena, types[i].type, 67, 5);
        size_t size = aligned(67 * 5 * types[i].size);
        g_assert_true(t.type == types[i].type && t.data == arena.base);
        assert_shape(t, 2, (const int64_t[]){67, 5});
        g_assert_true(t.scales == (scaled ? (void *) (arena.base + size) : NULL));
        g_assert_cmpuint(arena.used, ==, size + (scaled ? aligned(2 * 67 * sizeof(float)) : 0));
        lf_arena_release(&arena, 0);
    }
    lf_arena_clear(&arena);
    lf_backend_close(be);
}

/* ---- rows in E4M3 ---------------------------------------------------------------------------- */

static float code_value(unsigned code)
{
    uint8_t byte = (uint8_t) code;
    float value;
    g_assert_true(lf_to_float(&value, &byte, LF_F8_E4M3, 1));
    return value;
}

/* The nearest code of 0 … 448 by search; of two the even one. */
static unsigned nearest(float size)
{
    unsigned best = 0;
    for (unsigned code = 1; code < 0x7f; code++) {
        double now = fabs((double) size - (double) code_value(code));
        double before = fabs((double) size - (double) code_value(best));
        if (now < before || (now == before && code % 2 == 0))
            best = code;
    }
    return best;
}

static void assert_row(const float *row, int64_t n)
{
    float scale, largest = 0;
    g_autofree uint8_t *codes = g_malloc((gsize) n);
    lf_quantise_row(codes, &scale, row, n);
    for (int64_t i = 0; i < n; i++)
        largest = MAX(largest, fabsf(row[i]));
    g_assert_cmpfloat(scale, ==, MAX(largest / 448.0f, 1e-8f));
    for (int64_t i = 0; i < n; i++) {
        unsigned sign = signbit(row[i]) ? 0x80 : 0;
        g_assert_cmpint(codes[i], ==, (int) (sign | nearest(fabsf(row[i] / scale))));
    }
    float alone;
    lf_quantise_row(NULL, &alone, row, n);
    g_assert_cmpfloat(alone, ==, scale);
}

/* Random rows; and, with a scale of 1, every code, the middles between two, and what is beside
 * them. */
static void test_quantise(void)
{
    float row[512] = {448.0f};
    for (int round = 0; round < 20; round++) {
        for (gsize i = 0; i < G_N_ELEMENTS(row); i++)
            row[i] = (float) (g_test_rand_double_range(-1, 1) *
                              pow(10, g_test_rand_double_range(-8, 2)));
        assert_row(row, g_test_rand_int_range(1, G_N_ELEMENTS(row)));
    }
    int n = 0;
    row[n++] = 448.0f;
    for (unsigned code = 0; code < 0x7e; code++) {
        float middle = (code_value(code) + code_value(code + 1)) / 2;
        row[n++] = -code_value(code);
        row[n++] = middle;
        row[n++] = nextafterf(middle, 0);
        row[n++] = -nextafterf(middle, 1000);
    }
    assert_row(row, n);
    const float zeros[3] = {0};
    assert_row(zeros, 3);
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* The plan has the types of the backend that it is like; no function of it does anything. */
static void test_plan(void)
{
    const LfBackend f32 = {.activation_type = LF_F32}, bf16 = {.activation_type = LF_BF16};
    const LfBackend *plans[] = {lf_backend_plan(NULL), lf_backend_plan(&f32),
                                lf_backend_plan(&bf16)};
    static const LfType activation[] = {LF_F32, LF_F32, LF_BF16},
                        decoder[] = {LF_F32, LF_F32, LF_F16};
    static const LfPrecision precision[] = {LF_PRECISION_FP32, LF_PRECISION_FP32,
                                            LF_PRECISION_BF16};
    for (gsize i = 0; i < G_N_ELEMENTS(plans); i++) {
        LfBackend *be = (LfBackend *) plans[i];
        g_assert_true(lf_backend_is_plan(be));
        g_assert_cmpint((int) be->activation_type, ==, activation[i]);
        g_assert_cmpint((int) be->decoder_type, ==, decoder[i]);
        g_assert_cmpint((int) be->precision, ==, (int) precision[i]);
        g_assert_cmpint(be->n_threads, ==, 1);
        g_assert_cmpstr(be->name, ==, "plan");
        g_assert_null(be->alloc(be, 100));
        g_assert_null(be->event_new(be));
        g_assert_true(be->event_sync(be, NULL, NULL));
        g_assert_cmpint(be->event_elapsed(be, NULL, NULL), ==, 0);
        be->event_record(be, NULL);
        be->wait_event(be, NULL);
        be->event_free(be, NULL);
        g_assert_true(be->sync(be, NULL));
        be->free(be, NULL);
        lf_backend_close(be);
    }
    const LfBackend fp8 = {.activation_type = LF_BF16, .precision = LF_PRECISION_FP8};
    g_assert_cmpint((int) lf_backend_plan(&fp8)->precision, ==, (int) LF_PRECISION_FP8);
    LfBackend *cpu = lf_backend_open("cpu", 1, LF_PRECISION_AUTO, NULL, NULL);
    g_assert_false(lf_backend_is_plan(cpu));
    g_assert_true(lf_backend_plan(cpu) == plans[0]);
    lf_backend_close(cpu);
}

/* A plan's weights tell the memory that they would have. */
static void test_plan_weights(void)
{
    static const LfBackend bf16 = {.activation_type = LF_BF16, .precision = LF_PRECISION_BF16},
                           fp8 = {.activation_type = LF_BF16, .precision = LF_PRECISION_FP8};
    static const struct {
        const LfBackend *like;
        LfWeightKind kind;
        LfType type;
        size_t size;
        LfType input;
    } cases[] = {
        {NULL, LF_WEIGHT_LINEAR, LF_F32, 4 * 21, LF_F32},
        {NULL, LF_WEIGHT_LINEAR, LF_BF16, 2 * 21, LF_F32}, /* put together: it has no data */
        {NULL, LF_WEIGHT_EMBEDDING, LF_F32, 0, LF_F32},
        {&bf16, LF_WEIGHT_LINEAR_FP8, LF_F32, 2 * 21, LF_BF16},
        {&bf16, LF_WEIGHT_EMBEDDING, LF_F32, 4 * 21, LF_BF16},
        {&bf16, LF_WEIGHT_EMBEDDING, LF_F16, 2 * 21, LF_BF16},
        {&fp8, LF_WEIGHT_LINEAR, LF_F8_E4M3, 2 * 21, LF_BF16},
        {&fp8, LF_WEIGHT_LINEAR_FP8, LF_BF16, 21 + 7 * 4, LF_F8_E4M3},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfBackend *be = lf_backend_plan(cases[i].like);
        LfTensor source = lf_tensor(NULL, cases[i].type, 7, 3);
        LfWeight *weight = lf_weight_new(be, cases[i].kind, source, NULL);
        g_assert_cmpuint(lf_weight_memory(weight), ==, cases[i].size);
        g_assert_cmpint((int) lf_weight_input(weight), ==, (int) cases[i].input);
        lf_weight_free(be, weight);
    }
}

/* ---- the log --------------------------------------------------------------------------------- */

typedef struct {
    LfLogLevel level;
    char *message;
    int n;
} Line;

static void keep_line(LfLogLevel level, const char *message, gpointer data)
{
    Line *line = data;
    g_free(line->message);
    line->message = g_strdup(message);
    line->level = level;
    line->n++;
}

/* Lines of the log's level and of all below are written, those above are not. */
static void test_log(void)
{
    Line line = {0};
    for (LfLogLevel level = LF_LOG_NONE; level <= LF_LOG_TRACE; level++)
        for (LfLogLevel of = LF_LOG_ERROR; of <= LF_LOG_TRACE; of++) {
            const LfLog log = {.write = keep_line, .data = &line, .level = level};
            int before = line.n;
            lf_log(&log, of, "%d %s of %.1f", (int) of, "lines", 0.5);
            g_assert_cmpint(line.n, ==, before + (of <= level));
            if (of > level)
                continue;
            g_autofree char *wanted = g_strdup_printf("%d lines of 0.5", (int) of);
            g_assert_cmpstr(line.message, ==, wanted);
            g_assert_cmpint((int) line.level, ==, (int) of);
        }
    lf_log(NULL, LF_LOG_ERROR, "nobody reads this");
    lf_log(&(const LfLog){.level = LF_LOG_TRACE}, LF_LOG_ERROR, "nor this");
    g_free(line.message);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tensor/types", test_types);
    g_test_add_func("/tensor/views", test_views);
    g_test_add_func("/tensor/parts", test_parts);
    g_test_add_func("/tensor/wrong-parts", test_wrong_parts);
    g_test_add_func("/tensor/rounding", test_rounding);
    g_test_add_func("/tensor/to-float", test_to_float);
    g_test_add_func("/tensor/from-float", test_from_float);
    g_test_add_func("/tensor/floats-of-backend", test_floats_of_backend);
    g_test_add_func("/tensor/arena", test_arena);
    g_test_add_func("/tensor/full-arena", test_full_arena);
    g_test_add_func("/tensor/arena-rows", test_arena_rows);
    g_test_add_func("/tensor/quantise", test_quantise);
    g_test_add_func("/tensor/plan", test_plan);
    g_test_add_func("/tensor/plan-weights", test_plan_weights);
    g_test_add_func("/tensor/log", test_log);
    return g_test_run();
}
