/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/files/random_weights.h"
#include "engine/files/weights.h"
#include "tests/common/tiny_model.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* ---- a file of tensors whose numbers tell where they are ------------------------------------- */

typedef struct {
    char *dir;
    LfTensorFile *file;
    LfWeightSource *source;
    LfBackend *be;
    LfArena arena;
} Fixture;

/* Numbers first, first + 1, … as F32, or as BF16 or F16, in which small whole ones are exact. */
static LfFileTensor counting(const char *name, LfType type, int first, const int64_t *shape)
{
    LfFileTensor t = {.name = name, .type = type};
    int64_t count = 1;
    for (; shape[t.n_dims]; t.n_dims++)
        count *= t.shape[t.n_dims] = shape[t.n_dims];
    t.size = (size_t) count * lf_type_size(type);
    uint8_t *data = g_malloc0(t.size);
    for (int64_t i = 0; i < count; i++) {
        float value = (float) (first + i);
        uint16_t half = type == LF_BF16 ? lf_float_to_bf16(value) : lf_float_to_f16(value);
        if (lf_type_size(type) == sizeof half)
            memcpy(data + i * 2, &half, sizeof half);
        else
            memcpy(data + i * 4, &value, sizeof value);
    }
    t.data = data;
    return t;
}

#define SHAPE(...) ((const int64_t[LF_FILE_MAX_DIMS + 1]){__VA_ARGS__})

static void open_tensors(Fixture *f, LfFileTensor *tensors, size_t n)
{
    GError *error = NULL;
    f->dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(f->dir, "weights.safetensors", NULL);
    lf_safetensors_write(path, tensors, n, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < n; i++)
        g_free((void *) tensors[i].data);
    f->file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    f->source = lf_weight_source_file(f->file, NULL, NULL);
    f->be = lf_backend_open_cpu(1, &error);
    g_assert_no_error(error);
    g_assert_true(lf_arena_init(&f->arena, f->be, 1 << 20, &error));
}

static void close_tensors(Fixture *f)
{
    lf_arena_clear(&f->arena);
    lf_weight_source_free(f->source);
    lf_tensor_file_unref(f->file);
    lf_backend_close(f->be);
    lf_tiny_model_remove(f->dir);
}

/* Entry (row, column) of a bound matrix: the product with a unit vector. */
static float entry(Fixture *f, const LfWeight *weight, int64_t row, int64_t column)
{
    size_t mark = f->arena.used;
    LfTensor x = lf_arena_tensor(&f->arena, LF_F32, 1, lf_weight_in(weight));
    LfTensor y = lf_arena_tensor(&f->arena, LF_F32, 1, lf_weight_out(weight));
    memset(x.data, 0, lf_tensor_size(x));
    lf_f32(x)[column] = 1.0f;
    lf_linear(f->be, y, x, weight, LF_NONE, LF_ACT_NONE);
    float value = lf_f32(y)[row];
    lf_arena_release(&f->arena, mark);
    return value;
}

static void assert_counts(Fixture *f, const LfWeight *weight, int64_t first_row, int first)
{
    for (int64_t column = 0; column < lf_weight_in(weight); column++)
        g_assert_cmpfloat(entry(f, weight, first_row, column), ==, (float) (first + column));
}

/* ---- binding --------------------------------------------------------------------------------- */

typedef struct {
    LfWeight *linear, *stacked, *mixed, *turned, *rows, *patch, *conv, *up, *table;
    LfTensor vector, leading, biases;
} Object;

static const LfBinding bindings[] = {
    {"linear.weight", offsetof(Object, linear), LF_BIND_LINEAR, {4, 6}, 0, 0},
    {"q.weight|k.weight", offsetof(Object, stacked), LF_BIND_LINEAR, {4, 6}, 0, 0},
    {"q.weight|half.weight", offsetof(Object, mixed), LF_BIND_LINEAR, {4, 6}, 0, 0},
    {"half.weight|q.weight", offsetof(Object, turned), LF_BIND_LINEAR, {4, 6}, 0, 0},
    {"linear.weight", offsetof(Object, rows), LF_BIND_LINEAR, {2, 6}, 1, 4},
    {"patch.weight", offsetof(Object, patch), LF_BIND_LINEAR, {2, 12}, 0, 0},
    {"conv.weight", offsetof(Object, conv), LF_BIND_CONV3X3, {2, 3, 3, 3}, 0, 0},
    {"conv.weight", offsetof(Object, up), LF_BIND_CONV_UP2, {2, 3, 3, 3}, 0, 0},
    {"linear.weight", offsetof(Object, table), LF_BIND_EMBEDDING, {4, 6}, 0, 0},
    {"vector", offsetof(Object, vector), LF_BIND_VECTOR, {5}, 0, 0},
    {"leading", offsetof(Object, leading), LF_BIND_VECTOR, {2, 3}, 0, 0},
    {"vector|half_vector", offsetof(Object, biases), LF_BIND_VECTOR, {10}, 0, 0},
};

/* The same tensors under the prefix that a trainer may put before them. */
static void open_prefixed(Fixture *f, const char *prefix)
{
    LfFileTensor tensors[] = {
        counting("m.linear.weight", LF_BF16, 0, SHAPE(4, 6)),
        counting("m.q.weight", LF_BF16, 100, SHAPE(2, 6)),
        counting("m.k.weight", LF_BF16, 50, SHAPE(2, 6)),
        counting("m.half.weight", LF_F16, 301, SHAPE(2, 6)), /* not exact in BF16 */
        counting("m.patch.weight", LF_F32, 0, SHAPE(2, 3, 1, 2, 2)),
        counting("m.conv.weight", LF_BF16, 0, SHAPE(2, 3, 3, 3)),
        counting("m.vector", LF_BF16, 7, SHAPE(5)),
        counting("m.half_vector", LF_F16, 3, SHAPE(5)),
        counting("m.leading", LF_F32, 1, SHAPE(1, 2, 3)),
        counting("head.modulation", LF_F32, 1, SHAPE(1, 2, 3)), /* tells the prefix */
    };
    for (gsize i = 0; i < G_N_ELEMENTS(tensors); i++)
        tensors[i].name = g_strconcat(prefix, tensors[i].name, NULL);
    open_tensors(f, tensors, G_N_ELEMENTS(tensors));
    for (gsize i = 0; i < G_N_ELEMENTS(tensors); i++)
        g_free((char *) tensors[i].name);
}

static void assert_bound(Fixture *f)
{
    GError *error = NULL;
    Object o = {0};
    g_assert_true(lf_weights_bind(f->be, f->source, "m.", bindings, G_N_ELEMENTS(bindings),
                                  &f->arena, &o, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(f->arena.used, ==, lf_weights_vector_size(bindings, G_N_ELEMENTS(bindings)));
    assert_counts(f, o.linear, 3, 18);
    assert_counts(f, o.stacked, 1, 106);
    assert_counts(f, o.stacked, 2, 50);
    assert_counts(f, o.mixed, 0, 100);
    assert_counts(f, o.mixed, 3, 307);
    assert_counts(f, o.turned, 1, 307);
    assert_counts(f, o.turned, 2, 100);
    assert_counts(f, o.rows, 0, 6);
    assert_counts(f, o.rows, 1, 12);
    assert_counts(f, o.patch, 1, 12);
    g_assert_cmpint(lf_weight_in(o.conv), ==, 3);
    g_assert_cmpint(lf_weight_out(o.table), ==, 4);
    for (int i = 0; i < 5; i++) {
        g_assert_cmpfloat(lf_f32(o.vector)[i], ==, (float) (7 + i));
        g_assert_cmpfloat(lf_f32(o.biases)[i], ==, (float) (7 + i));
        g_assert_cmpfloat(lf_f32(o.biases)[5 + i], ==, (float) (3 + i));
    }
    g_assert_cmpint(o.leading.n_dims, ==, 2);
    g_assert_cmpfloat(lf_f32(o.leading)[5], ==, 6.0f);
    g_assert_cmpuint(lf_weights_memory(bindings, G_N_ELEMENTS(bindings), &o), >, 0);
    lf_weights_unbind(f->be, bindings, G_N_ELEMENTS(bindings), &o);
    g_assert_null(o.conv);
    lf_weights_unbind(f->be, bindings, G_N_ELEMENTS(bindings), &o);
}

static void test_bind(void)
{
    static const char *const prefixes[] = {
        "",
        "model.",
        "generator.",
        "generator_ema.model.",
        "model.diffusion_model.",
        "_fsdp_wrapped_module.",
        "generator.model._fsdp_wrapped_module.",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        Fixture f;
        open_prefixed(&f, prefixes[i]);
        assert_bound(&f);
        close_tensors(&f);
    }
}

/* Numbers alone, by the same tables. */
static void test_read(void)
{
    static const struct {
        LfBinding binding;
        int count, begin, last;
    } cases[] = {
        {{"linear.weight", 0, LF_BIND_LINEAR, {2, 6}, 1, 4}, 12, 6, 17},
        {{"q.weight|half.weight", 0, LF_BIND_LINEAR, {4, 6}, 0, 0}, 24, 100, 312},
        {{"conv.weight", 0, LF_BIND_CONV3X3, {2, 3, 3, 3}, 0, 0}, 54, 0, 53},
        {{"leading", 0, LF_BIND_VECTOR, {2, 3}, 0, 0}, 6, 1, 6},
    };
    GError *error = NULL;
    Fixture f;
    open_prefixed(&f, "model.");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        float *values = lf_weights_read(f.source, "m.", &cases[i].binding, &error);
        g_assert_no_error(error);
        g_assert_cmpfloat(values[0], ==, (float) cases[i].begin);
        g_assert_cmpfloat(values[cases[i].count - 1], ==, (float) cases[i].last);
        g_free(values);
    }
    LfBinding absent = {"absent.weight", 0, LF_BIND_LINEAR, {4, 6}, 0, 0};
    g_assert_null(lf_weights_read(f.source, "m.", &absent, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
    g_error_free(error);
    close_tensors(&f);
}

static void assert_refused(Fixture *f, const LfBinding *binding, const char *message)
{
    g_autoptr(GError) error = NULL;
    Object o = {0};
    g_assert_false(lf_weights_bind(f->be, f->source, "m.", binding, 1, &f->arena, &o, &error));
    g_test_message("%s", error->message);
    g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, message));
    lf_weights_unbind(f->be, binding, 1, &o);
}

static void test_refused(void)
{
    static const LfBinding refused[] = {
        {"linear.weight", 0, LF_BIND_LINEAR, {4, 7}, 0, 0},
        {"absent.weight", 0, LF_BIND_LINEAR, {4, 6}, 0, 0},
        {"q.weight|absent.weight", 0, LF_BIND_LINEAR, {4, 6}, 0, 0},
        {"q.weight|linear.weight", 0, LF_BIND_LINEAR, {4, 6}, 0, 0},
        {"linear.weight", 0, LF_BIND_LINEAR, {2, 6}, 0, 5},
        {"vector", 0, LF_BIND_LINEAR, {5, 1}, 0, 0},
        {"conv.weight", 0, LF_BIND_CONV3X3, {2, 27, 1, 1}, 0, 0},
        {"linear.weight", offsetof(Object, vector), LF_BIND_VECTOR, {24}, 0, 0},
        {"whole.weight", 0, LF_BIND_LINEAR, {2, 3}, 0, 0},
    };
    static const char *const messages[] = {
        "m.linear.weight: [4, 7] expected, file has [4, 6]",
        "m.absent.weight: missing in",
        "m.absent.weight: missing in",
        "m.linear.weight: [2, 6] expected, file has [4, 6]",
        "m.linear.weight: [5, 6] expected, file has [4, 6]",
        "m.vector: [5, 1] expected, file has [5]",
        "m.conv.weight: [2, 27, 1, 1] expected, file has [2, 3, 3, 3]",
        "m.linear.weight: [24] expected, file has [4, 6]",
        "m.whole.weight: floating-point tensor expected, file has I32",
    };
    Fixture f;
    LfFileTensor tensors[] = {
        counting("m.linear.weight", LF_BF16, 0, SHAPE(4, 6)),
        counting("m.q.weight", LF_BF16, 100, SHAPE(2, 6)),
        counting("m.conv.weight", LF_BF16, 0, SHAPE(2, 3, 3, 3)),
        counting("m.vector", LF_BF16, 7, SHAPE(5)),
        counting("m.whole.weight", LF_I32, 0, SHAPE(2, 3)),
    };
    open_tensors(&f, tensors, G_N_ELEMENTS(tensors));
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++)
        assert_refused(&f, &refused[i], messages[i]);
    close_tensors(&f);
}

/* FP8 with a scale for each row, and with one for all: 1.5 is 0x3c in E4M3. */
static void test_fp8(void)
{
    static const LfBinding binding = {"w.weight|v.weight", 0, LF_BIND_LINEAR, {4, 3}, 0, 0};
    GError *error = NULL;
    Fixture f;
    LfFileTensor tensors[] = {
        {"w.weight", LF_F8_E4M3, 2, {2, 3}, memset(g_malloc(6), 0x3c, 6), 6, NULL},
        counting("w.weight_scale", LF_F32, 2, SHAPE(2, 1)),
        {"v.weight", LF_F8_E4M3, 2, {2, 3}, memset(g_malloc(6), 0x3c, 6), 6, NULL},
        counting("v.scale_weight", LF_F32, 5, SHAPE(1)),
    };
    open_tensors(&f, tensors, G_N_ELEMENTS(tensors));
    Object o = {0};
    g_assert_true(lf_weights_bind(f.be, f.source, "", &binding, 1, &f.arena, &o, &error));
    g_assert_no_error(error);
    g_assert_cmpfloat(entry(&f, o.linear, 0, 2), ==, 3.0f);
    g_assert_cmpfloat(entry(&f, o.linear, 1, 0), ==, 4.5f);
    g_assert_cmpfloat(entry(&f, o.linear, 2, 1), ==, 7.5f);
    g_assert_cmpfloat(entry(&f, o.linear, 3, 1), ==, 7.5f);
    lf_weights_unbind(f.be, &binding, 1, &o);
    close_tensors(&f);
}

/* A random byte that is a number: ±448 is the largest, 0x7f and 0xff are none. */
static uint8_t random_code(void)
{
    uint8_t code = (uint8_t) g_test_rand_int_range(0, 256);
    return (code & 0x7f) == 0x7f ? 0 : code;
}

/* Parts in E4M3, with scales that no power of two makes round; the parts are neighbours in the file
 * or not. */
typedef struct {
    uint8_t codes[2][5 * 3];
    float row_scales[5], scale;
} Codes;

static void open_codes(Fixture *f, Codes *c, bool neighbours)
{
    for (int i = 0; i < 15; i++) {
        c->codes[0][i] = random_code();
        c->codes[1][i] = random_code();
    }
    for (int i = 0; i < 5; i++)
        c->row_scales[i] = (float) g_test_rand_double_range(1e-4, 3e-3);
    c->scale = (float) g_test_rand_double_range(1e-4, 3e-3);
    LfFileTensor tensors[] = {
        {"w.weight", LF_F8_E4M3, 2, {5, 3}, g_memdup2(c->codes[0], 15), 15, NULL},
        {"between", LF_F8_E4M3, 1, {1}, g_memdup2("", 1), 1, NULL},
        {"v.weight", LF_F8_E4M3, 2, {5, 3}, g_memdup2(c->codes[1], 15), 15, NULL},
        {"w.weight_scale", LF_F32, 2, {5, 1}, g_memdup2(c->row_scales, 20), 20, NULL},
        {"v.weight_scale", LF_F32, 1, {1}, g_memdup2(&c->scale, 4), 4, NULL},
    };
    if (neighbours) {
        LfFileTensor between = tensors[1];
        tensors[1] = tensors[2];
        tensors[2] = between;
    }
    open_tensors(f, tensors, G_N_ELEMENTS(tensors));
}

static float code_value(uint8_t code)
{
    float value;
    lf_to_float(&value, &code, LF_F8_E4M3, 1);
    return value;
}

/* A backend of precision FP8 gets the file's own codes and scales: each number is exact. */
static void test_fp8_codes(void)
{
    static const LfBinding binding = {"w.weight|v.weight", 0, LF_BIND_LINEAR_FP8, {10, 3}, 0, 0};
    for (int neighbours = 0; neighbours < 2; neighbours++) {
        GError *error = NULL;
        Fixture f;
        Codes c;
        Object o = {0};
        open_codes(&f, &c, neighbours);
        f.be->precision = LF_PRECISION_FP8;
        g_assert_true(lf_weights_bind(f.be, f.source, "", &binding, 1, &f.arena, &o, &error));
        g_assert_no_error(error);
        for (int row = 0; row < 10; row++)
            for (int column = 0; column < 3; column++) {
                float scale = row < 5 ? c.row_scales[row] : c.scale;
                float want = code_value(c.codes[row / 5][row % 5 * 3 + column]) * scale;
                g_assert_cmpfloat(entry(&f, o.linear, row, column), ==, want);
            }
        lf_weights_unbind(f.be, &binding, 1, &o);
        close_tensors(&f);
    }
}

/* Stacked parts that the file has side by side are used there; others are copied. */
static void test_neighbours(void)
{
    static const LfBinding stacked = {"q.weight|k.weight", 0, LF_BIND_LINEAR, {4, 6}, 0, 0};
    static const LfBinding turned = {"k.weight|q.weight", 0, LF_BIND_LINEAR, {4, 6}, 0, 0};
    static const LfBinding *const cases[] = {&stacked, &turned};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        Fixture f;
        Object o = {0};
        LfFileTensor tensors[] = {counting("q.weight", LF_BF16, 0, SHAPE(2, 6)),
                                  counting("k.weight", LF_BF16, 12, SHAPE(2, 6))};
        open_tensors(&f, tensors, G_N_ELEMENTS(tensors));
        g_assert_true(lf_weights_bind(f.be, f.source, "", cases[i], 1, &f.arena, &o, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(lf_weight_source_memory(f.source), ==, i == 0 ? 0 : 48);
        assert_counts(&f, o.linear, 3, i == 0 ? 18 : 6);
        lf_weights_unbind(f.be, cases[i], 1, &o);
        close_tensors(&f);
    }
}

/* Row scales are those of the rows that are bound: 1.5 · 2 in row 0, 1.5 · 3 in row 1 … */
static void test_fp8_rows(void)
{
    static const LfBinding binding = {"w.weight", 0, LF_BIND_LINEAR, {2, 3}, 3, 6};
    GError *error = NULL;
    Fixture f;
    LfFileTensor tensors[] = {
        {"w.weight", LF_F8_E4M3, 2, {6, 3}, memset(g_malloc(18), 0x3c, 18), 18, NULL},
        counting("w.weight_scale", LF_F32, 2, SHAPE(6, 1)),
    };
    open_tensors(&f, tensors, G_N_ELEMENTS(tensors));
    Object o = {0};
    g_assert_true(lf_weights_bind(f.be, f.source, "", &binding, 1, &f.arena, &o, &error));
    g_assert_no_error(error);
    g_assert_cmpfloat(entry(&f, o.linear, 0, 2), ==, 7.5f);
    g_assert_cmpfloat(entry(&f, o.linear, 1, 0), ==, 9.0f);
    lf_weights_unbind(f.be, &binding, 1, &o);
    close_tensors(&f);
}

/* An FP8 weight whose scale has a name that is not known would be used without it. */
static void test_fp8_unknown_scale(void)
{
    static const char *const names[] = {"m.w.weight_scale_inv", "m.w.scale",
                                        "m.w.weight_quant_scale", "m.w.weight.scale"};
    static const LfBinding binding = {"w.weight", 0, LF_BIND_LINEAR, {2, 3}, 0, 0};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        Fixture f;
        LfFileTensor tensors[] = {
            {"m.w.weight", LF_F8_E4M3, 2, {2, 3}, memset(g_malloc(6), 0x3c, 6), 6, NULL},
            counting("m.w.input_scale", LF_F32, 2, SHAPE(1)),
            counting(names[i], LF_F32, 2, SHAPE(1)),
        };
        open_tensors(&f, tensors, G_N_ELEMENTS(tensors));
        assert_refused(&f, &binding, names[i]);
        close_tensors(&f);
    }
}

/* A second scale beside a known one, and scales of other shapes than one for each row or for all. */
static void test_fp8_refused_scales(void)
{
    static const LfBinding binding = {"w.weight", 0, LF_BIND_LINEAR, {2, 3}, 0, 0};
    const struct {
        LfFileTensor scales[2];
        const char *message;
    } cases[] = {
        {{counting("m.w.weight_scale", LF_F32, 2, SHAPE(1)),
          counting("m.w.weight_scale_2", LF_F32, 2, SHAPE(1))},
         "m.w.weight is FP8, and its scale m.w.weight_scale_2"},
        {{counting("m.w.weight_scale", LF_F32, 2, SHAPE(2, 1)),
          counting("m.w.scale_weight", LF_F32, 2, SHAPE(1))},
         "its scale m.w.scale_weight"},
        {{counting("m.w.weight_scale", LF_F32, 2, SHAPE(1, 2)),
          counting("m.w.bias", LF_F32, 2, SHAPE(2))},
         "file has F32 [1, 2]"},
        {{counting("m.w.weight_scale", LF_F32, 2, SHAPE(2, 3)),
          counting("m.w.bias", LF_F32, 2, SHAPE(2))},
         "file has F32 [2, 3]"},
        {{counting("m.w.scale_weight", LF_I32, 2, SHAPE(2)),
          counting("m.w.bias", LF_F32, 2, SHAPE(2))},
         "file has I32 [2]"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fixture f;
        LfFileTensor tensors[] = {
            {"m.w.weight", LF_F8_E4M3, 2, {2, 3}, memset(g_malloc(6), 0x3c, 6), 6, NULL},
            cases[i].scales[0],
            cases[i].scales[1],
        };
        open_tensors(&f, tensors, G_N_ELEMENTS(tensors));
        assert_refused(&f, &binding, cases[i].message);
        close_tensors(&f);
    }
}

static void assert_unused(Fixture *f, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(lf_weight_source_check_unused(f->source, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, message));
}

/* Tensors that nothing was bound from are counted and named, except those of no use. */
static void test_unused(void)
{
    static const LfBinding binding = {"b.weight", 0, LF_BIND_LINEAR, {2, 3}, 0, 0};
    GError *error = NULL;
    Fixture f;
    LfFileTensor tensors[] = {
        counting("c.weight", LF_F32, 0, SHAPE(2, 3)),
        counting("b.weight", LF_F32, 0, SHAPE(2, 3)),
        counting("a.weight", LF_F32, 0, SHAPE(2, 3)),
        counting("scaled_fp8", LF_F32, 0, SHAPE(1)),
    };
    open_tensors(&f, tensors, G_N_ELEMENTS(tensors));
    Object o = {0};
    assert_unused(&f, "3 of its tensors (a.weight, b.weight, c.weight)");
    g_assert_true(lf_weights_bind(f.be, f.source, "", &binding, 1, &f.arena, &o, &error));
    g_assert_no_error(error);
    assert_unused(&f, "2 of its tensors (a.weight, c.weight)");
    lf_weights_unbind(f.be, &binding, 1, &o);
    close_tensors(&f);
}

/* Data at an odd address in the file is moved to an even one before it is used. */
static void test_unaligned(void)
{
    static const LfBinding binding = {"a", 0, LF_BIND_LINEAR, {2, 2}, 0, 0};
    static const char header[] = "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,2],"
                                 "\"data_offsets\":[1,9]}} ";
    GError *error = NULL;
    Fixture f;
    LfFileTensor other = counting("other", LF_F32, 0, SHAPE(1));
    LfFileTensor numbers = counting("a", LF_BF16, 1, SHAPE(2, 2));
    open_tensors(&f, &other, 1);
    g_autofree char *path = g_build_filename(f.dir, "odd.safetensors", NULL);
    guint64 length = GUINT64_TO_LE(sizeof header - 1);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *) &length, 8);
    g_byte_array_append(bytes, (const guint8 *) header, sizeof header - 1);
    if (bytes->len % 2)
        g_error("the header has to end at an even place");
    g_byte_array_append(bytes, (const guint8 *) "", 1);
    g_byte_array_append(bytes, numbers.data, 8);
    g_free((void *) numbers.data);
    g_assert_true(g_file_set_contents(path, (const char *) bytes->data, bytes->len, NULL));
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
    lf_tensor_file_unref(file);
    Object o = {0};
    g_assert_true(lf_weights_bind(f.be, source, "", &binding, 1, &f.arena, &o, &error));
    assert_counts(&f, o.linear, 1, 3);
    lf_weights_unbind(f.be, &binding, 1, &o);
    lf_weight_source_free(source);
    close_tensors(&f);
}

/* ---- random weights -------------------------------------------------------------------------- */

static void moments(const uint16_t *values, int64_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double value = lf_bf16_to_float(values[i]);
        sum += value;
        squares += value * value;
    }
    *mean = sum / (double) n;
    *deviation = sqrt(squares / (double) n);
}

static void test_random_numbers(void)
{
    enum { N = 300001 };
    g_autofree uint16_t *a = g_new(uint16_t, N), *b = g_new(uint16_t, N);
    uint64_t seed = (uint64_t) g_test_rand_int();
    double mean, deviation;
    lf_random_weights(a, N, seed, "blocks.1.ffn.0.weight", 2, 64);
    moments(a, N, &mean, &deviation);
    g_assert_cmpfloat_with_epsilon(mean, 0, 5 * 0.125 / sqrt(N));
    g_assert_cmpfloat_with_epsilon(deviation, 0.125, 0.125 * 0.01);
    lf_random_weights(b, N, seed, "blocks.1.ffn.0.weight", 2, 64);
    g_assert_cmpmem(a, 2 * N, b, 2 * N);
    lf_random_weights(b, 1001, seed, "blocks.1.ffn.0.weight", 2, 64);
    g_assert_cmpmem(a, 2 * 1000, b, 2 * 1000);
    lf_random_weights(b, N, seed + 1, "blocks.1.ffn.0.weight", 2, 64);
    g_assert_true(memcmp(a, b, 2 * N) != 0);
    lf_random_weights(b, N, seed, "blocks.2.ffn.0.weight", 2, 64);
    g_assert_true(memcmp(a, b, 2 * N) != 0);
    lf_random_weights(b, N, seed, "blocks.2.ffn.0.bias", 1, 64);
    moments(b, N, &mean, &deviation);
    g_assert_cmpfloat_with_epsilon(deviation, 0.02, 0.001);
    lf_random_weights(b, 100, seed, "blocks.2.norm3.weight", 1, 64);
    moments(b, 100, &mean, &deviation);
    g_assert_cmpfloat(mean, ==, 1.0);
}

/* Every binding succeeds; a weight that the backend copies leaves nothing behind in the source. */
static void test_random_bind(void)
{
    GError *error = NULL;
    Object a = {0}, b = {0};
    Fixture f;
    LfFileTensor other = counting("other", LF_F32, 0, SHAPE(1));
    open_tensors(&f, &other, 1);
    lf_weight_source_free(f.source);
    f.source = lf_weight_source_random(3);
    g_assert_true(lf_weight_source_has(f.source, "anything"));
    g_assert_null(lf_weight_source_find(f.source, "anything", &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    Object *objects[] = {&a, &b};
    for (int i = 0; i < 2; i++)
        g_assert_true(lf_weights_bind(f.be, f.source, "m.", bindings, G_N_ELEMENTS(bindings),
                                      &f.arena, objects[i], &error));
    g_assert_cmpfloat(entry(&f, a.linear, 2, 3), ==, entry(&f, b.linear, 2, 3));
    g_assert_cmpfloat(entry(&f, a.stacked, 0, 3), ==, entry(&f, a.mixed, 0, 3));
    g_assert_cmpfloat(entry(&f, a.linear, 2, 3), !=, entry(&f, a.stacked, 2, 3));
    for (int i = 0; i < 2; i++)
        lf_weights_unbind(f.be, bindings, G_N_ELEMENTS(bindings), objects[i]);
    size_t once = 2 * (24 + 24 + 24 + 12 + 24 + 54 + 54 + 24);
    g_assert_cmpuint(lf_weight_source_memory(f.source), <=, 2 * once);
    close_tensors(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/weights/bind", test_bind);
    g_test_add_func("/weights/read", test_read);
    g_test_add_func("/weights/refused", test_refused);
    g_test_add_func("/weights/fp8", test_fp8);
    g_test_add_func("/weights/fp8-codes", test_fp8_codes);
    g_test_add_func("/weights/neighbours", test_neighbours);
    g_test_add_func("/weights/fp8-rows", test_fp8_rows);
    g_test_add_func("/weights/fp8-unknown-scale", test_fp8_unknown_scale);
    g_test_add_func("/weights/fp8-refused-scales", test_fp8_refused_scales);
    g_test_add_func("/weights/unused", test_unused);
    g_test_add_func("/weights/unaligned", test_unaligned);
    g_test_add_func("/weights/random-numbers", test_random_numbers);
    g_test_add_func("/weights/random-bind", test_random_bind);
    return g_test_run();
}
