/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/common/gguf_file.h"
#include "tests/common/hostile.h"

#include <glib/gstdio.h>
#include <string.h>

/* The format's numbers of types of tensors. */
enum { T_F32 = 0, T_F16 = 1, T_Q4_0 = 2, T_Q8_0 = 8, T_Q4_K = 12, T_I32 = 26, T_BF16 = 30 };

#define SHAPE(...) ((const int64_t[]){__VA_ARGS__})

static LfTensorFile *open_file(const GgufFile *file, GError **error)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("lightforcing-XXXXXX.gguf", &path, NULL);
    g_assert_true(g_close(fd, NULL));
    gguf_file_save(file, path);
    LfTensorFile *opened = lf_tensor_file_open(path, error);
    g_unlink(path);
    return opened;
}

static guint8 *random_bytes(gsize n)
{
    guint8 *bytes = g_malloc(n);
    for (gsize i = 0; i < n; i++)
        bytes[i] = (guint8) g_test_rand_int_range(0, 256);
    return bytes;
}

/* ---- good files ------------------------------------------------------------------------------ */

/* A value of every type, arrays in arrays, and texts that are of use. */
static void add_values(GgufFile *file)
{
    static const guint8 bytes[64] = {1, 2, 3};
    static const guint8 sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    GByteArray *texts = g_byte_array_new(), *nested = g_byte_array_new();
    for (uint32_t type = 0; type < G_N_ELEMENTS(sizes); type++) {
        g_autofree char *one = g_strdup_printf("one.%u", type);
        g_autofree char *some = g_strdup_printf("some.%u", type);
        if (!sizes[type])
            continue;
        gguf_file_value(file, one, type, bytes, sizes[type]);
        gguf_file_array(file, some, type, 5, bytes, 5 * (gsize) sizes[type]);
    }
    gguf_file_text(file, "general.architecture", "wan");
    gguf_file_text(file, "empty", "");
    gguf_put_text(texts, "a", 1);
    gguf_put_text(texts, "", 0);
    gguf_file_array(file, "texts", GGUF_TEXT, 2, texts->data, texts->len);
    gguf_file_array(file, "nothing", GGUF_I64, 0, NULL, 0);
    for (int i = 0; i < 2; i++) {
        gguf_put_u32(nested, GGUF_TEXT);
        gguf_put_u64(nested, 2);
        g_byte_array_append(nested, texts->data, texts->len);
    }
    gguf_file_array(file, "nested", GGUF_ARRAY, 2, nested->data, nested->len);
    g_byte_array_unref(texts);
    g_byte_array_unref(nested);
}

typedef struct {
    const char *name;
    uint32_t type;
    const char *type_name;
    int n_dims;
    int64_t shape[LF_FILE_MAX_DIMS];
    gsize size;
} Row;

static const Row rows[] = {
    {"scalar", T_F32, "F32", 0, {0}, 4},        {"patch", T_F32, "F32", 5, {5, 3, 1, 2, 2}, 240},
    {"half", T_F16, "F16", 2, {3, 7}, 42},      {"bias", T_BF16, "BF16", 1, {11}, 22},
    {"ids", T_I32, "I32", 3, {1, 1, 9}, 36},    {"q8", T_Q8_0, "Q8_0", 2, {3, 64}, 204},
    {"k", T_Q4_K, "Q4_K", 3, {2, 1, 512}, 576},
};

static GgufFile *good_file(uint32_t version, gsize alignment, guint8 *data[G_N_ELEMENTS(rows)])
{
    GgufFile *file = gguf_file_new();
    file->version = version;
    file->alignment = alignment;
    add_values(file);
    if (alignment != 32)
        gguf_file_u32(file, "general.alignment", (uint32_t) alignment);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        data[i] = random_bytes(rows[i].size);
        gguf_file_tensor(file, rows[i].name, rows[i].type, rows[i].n_dims, rows[i].shape, data[i],
                         rows[i].size);
    }
    return file;
}

static void test_good(void)
{
    static const gsize alignments[] = {32, 1, 8, 256};
    for (gsize round = 0; round < 2 * G_N_ELEMENTS(alignments); round++) {
        g_autoptr(GError) error = NULL;
        guint8 *data[G_N_ELEMENTS(rows)];
        GgufFile *made = good_file(2 + round % 2, alignments[round / 2], data);
        LfTensorFile *file = open_file(made, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(lf_tensor_file_format(file), ==, "GGUF");
        g_assert_cmpint(lf_tensor_file_count(file), ==, G_N_ELEMENTS(rows));
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
            const LfFileTensor *t = lf_tensor_file_find(file, rows[i].name);
            g_assert_cmpstr(lf_file_tensor_type_name(t), ==, rows[i].type_name);
            g_assert_cmpint(t->n_dims, ==, rows[i].n_dims);
            g_assert_cmpmem(t->shape, sizeof t->shape, rows[i].shape, sizeof rows[i].shape);
            g_assert_cmpmem(t->data, t->size, data[i], rows[i].size);
            g_free(data[i]);
        }
        g_assert_cmpstr(lf_tensor_file_metadata(file, "general.architecture"), ==, "wan");
        g_assert_cmpstr(lf_tensor_file_metadata(file, "empty"), ==, "");
        g_assert_null(lf_tensor_file_metadata(file, "texts"));
        g_autofree char *types = lf_tensor_file_types(file);
        g_assert_cmpstr(types, ==, "BF16 1, F16 1, F32 2, I32 1, Q4_K 1, Q8_0 1");
        lf_tensor_file_unref(file);
        gguf_file_free(made);
    }
}

static void test_no_tensors(void)
{
    g_autoptr(GError) error = NULL;
    GgufFile *made = gguf_file_new();
    LfTensorFile *file = open_file(made, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lf_tensor_file_count(file), ==, 0);
    lf_tensor_file_unref(file);
    gguf_file_free(made);
}

/* A file that another program wrote: see data/README.md. Beside each coded tensor there is another
 * one with the numbers, as that program decodes them. */
static void test_written(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(LF_TEST_DATA, "blocks.gguf", NULL);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    int n_coded = 0;
    g_assert_no_error(error);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        g_autofree char *name = g_strconcat(t->name, ".numbers", NULL);
        const LfFileTensor *wanted = lf_tensor_file_find(file, name);
        int64_t count = lf_file_tensor_count(t);
        g_autofree float *values = g_new(float, count);
        if (!wanted)
            continue;
        g_assert_cmpstr(lf_file_tensor_type_name(t), ==, t->name);
        g_assert_cmpmem(t->shape, sizeof t->shape, wanted->shape, sizeof wanted->shape);
        lf_file_tensor_read(t, 0, count, values);
        for (int64_t k = 0; k < count; k++)
            g_assert_cmpfloat(values[k], ==, ((const float *) wanted->data)[k]);
        n_coded++;
    }
    g_assert_cmpint(n_coded, ==, 12);
    g_assert_cmpstr(lf_tensor_file_metadata(file, "general.architecture"), ==, "wan");
    lf_tensor_file_unref(file);
}

/* ---- shapes of before the conversion --------------------------------------------------------- */

static void add_shape(GgufFile *file, const char *name, int n, const int32_t *shape)
{
    g_autofree char *key = g_strconcat("comfy.gguf.orig_shape.", name, NULL);
    gguf_file_array(file, key, GGUF_I32, (uint64_t) n, shape, (gsize) n * 4);
}

static void test_original_shape(void)
{
    static const struct {
        int n;
        int32_t shape[9];
        bool fits;
    } cases[] = {
        {3, {2, 3, 4}, true},
        {1, {24}, true},
        {5, {1, 2, 1, 4, 3}, true},
        {2, {5, 5}, false},
        {2, {-4, -6}, false},
        {3, {0, 3, 4}, false},
        {4, {65536, 65536, 65536, 65536}, false},
        {0, {0}, false},
        {9, {1, 1, 1, 1, 1, 1, 1, 1, 24}, false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree guint8 *data = random_bytes(96);
        GgufFile *made = gguf_file_new();
        gguf_file_tensor(made, "x.weight", T_F32, 2, SHAPE(6, 4), data, 96);
        add_shape(made, "x.weight", cases[i].n, cases[i].shape);
        add_shape(made, "y.weight", 1, cases[i].shape);
        LfTensorFile *file = open_file(made, &error);
        gguf_file_free(made);
        if (!cases[i].fits) {
            g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
            g_assert_nonnull(strstr(error->message, "comfy.gguf.orig_shape.x.weight"));
            continue;
        }
        g_assert_no_error(error);
        const LfFileTensor *t = lf_tensor_file_nth(file, 0);
        g_assert_cmpint(t->n_dims, ==, cases[i].n);
        for (int d = 0; d < t->n_dims; d++)
            g_assert_cmpint(t->shape[d], ==, cases[i].shape[d]);
        g_assert_cmpmem(t->data, t->size, data, 96);
        lf_tensor_file_unref(file);
    }
}

/* ---- files that are refused ------------------------------------------------------------------ */

static void refuse(GgufFile *file, LfError code, const char *word, const char *other)
{
    GByteArray *bytes = gguf_file_bytes(file);
    g_autoptr(GError) error = lf_hostile_open(".gguf", bytes->data, bytes->len);
    g_byte_array_unref(bytes);
    gguf_file_free(file);
    g_assert_error(error, LF_ERROR, (gint) code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, ".gguf: "));
    g_assert_nonnull(strstr(error->message, word));
    g_assert_nonnull(strstr(error->message, other));
}

static GgufFile *versioned(uint32_t version)
{
    GgufFile *file = gguf_file_new();
    file->version = version;
    return file;
}

static void test_versions(void)
{
    refuse(versioned(1), LF_ERROR_UNSUPPORTED, "version 1", "convert the model again");
    refuse(versioned(4), LF_ERROR_UNSUPPORTED, "version 4", "safetensors");
    refuse(versioned(0x03000000), LF_ERROR_UNSUPPORTED, "big-endian", "gguf_convert_endian");
    GgufFile *split = gguf_file_new();
    gguf_file_value(split, "split.no", GGUF_U16, "\1\0", 2);
    gguf_file_value(split, "split.count", GGUF_U16, "\3\0", 2);
    refuse(split, LF_ERROR_UNSUPPORTED, "part 2", "-00001-of-00003.gguf");
}

/* One tensor, of `size` zero bytes. */
static GgufFile *tensor(const char *name, uint32_t type, int n_dims, const int64_t *shape,
                        gsize size)
{
    g_autofree guint8 *data = g_malloc0(size);
    GgufFile *file = gguf_file_new();
    gguf_file_tensor(file, name, type, n_dims, shape, data, size);
    return file;
}

static void test_tensors(void)
{
    static const struct {
        uint32_t type;
        const char *name;
    } types[] = {{9, "Q8_1"},     {15, "Q8_K"},
                 {16, "IQ2_XXS"}, {20, "IQ4_NL"},
                 {23, "IQ4_XS"},  {29, "IQ1_M"},
                 {34, "TQ1_0"},   {35, "TQ2_0"},
                 {39, "MXFP4"},   {40, "NVFP4"},
                 {4, "type 4"},   {31, "type 31"},
                 {99, "type 99"}, {0xffffffff, "type 4294967295"}};
    const int64_t many = G_GINT64_CONSTANT(1) << 40;
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autofree char *word =
            g_strconcat(types[i].name, types[i].name[0] == 't' ? "" : " is", NULL);
        refuse(tensor("b.weight", types[i].type, 2, SHAPE(2, 256), 4096), LF_ERROR_UNSUPPORTED,
               word, "b.weight");
    }
    refuse(tensor("b.weight", T_Q4_K, 2, SHAPE(8, 128), 4096), LF_ERROR_FORMAT, "b.weight",
           "whole blocks of Q4_K");
    refuse(tensor("b.weight", T_Q8_0, 0, SHAPE(0), 4096), LF_ERROR_FORMAT, "b.weight", "blocks");
    refuse(tensor("b.weight", T_F32, 2, SHAPE(8, 0), 64), LF_ERROR_FORMAT, "b.weight", "shape");
    refuse(tensor("b.weight", T_F32, 1, SHAPE(-1), 64), LF_ERROR_FORMAT, "b.weight", "shape");
    refuse(tensor("b.weight", T_F32, 2, SHAPE(many, many), 64), LF_ERROR_FORMAT, "b.weight",
           "shape");
    refuse(tensor("b.weight", T_Q8_0, 1, SHAPE(many), 64), LF_ERROR_FORMAT, "b.weight", "cut off");
    refuse(tensor("b.weight", T_F32, 2, SHAPE(4, 5), 79), LF_ERROR_FORMAT, "b.weight", "cut off");
    refuse(tensor("b.weight", T_F32, 9, SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 1), 4), LF_ERROR_FORMAT,
           "b.weight", "9 dimensions");
    refuse(tensor("", T_F32, 1, SHAPE(1), 4), LF_ERROR_FORMAT, "name", "no text");
    refuse(tensor("a\033[1m", T_F32, 1, SHAPE(1), 4), LF_ERROR_FORMAT, "name", "no text");
    refuse(tensor("a\xff", T_F32, 1, SHAPE(1), 4), LF_ERROR_FORMAT, "name", "no text");
    g_autofree char *longest = g_strnfill(1025, 'a');
    refuse(tensor(longest, T_F32, 1, SHAPE(1), 4), LF_ERROR_FORMAT, "name", "no text");
}

/* Two tensors: the offset of the second one is changed, or its name. */
static GgufFile *two(const char *name, int64_t offset)
{
    GgufFile *file = tensor("a.weight", T_F32, 1, SHAPE(16), 64);
    const float numbers[16] = {0};
    gguf_file_tensor(file, name, T_F32, 1, SHAPE(16), numbers, sizeof numbers);
    g_byte_array_set_size(file->tensors, file->tensors->len - 8);
    gguf_put_u64(file->tensors, (uint64_t) offset);
    return file;
}

static void test_places(void)
{
    refuse(two("a.weight", 64), LF_ERROR_FORMAT, "two tensors named", "a.weight");
    refuse(two("b.weight", 32), LF_ERROR_FORMAT, "overlaps", "b.weight");
    refuse(two("b.weight", 0), LF_ERROR_FORMAT, "overlaps", ".weight");
    refuse(two("b.weight", 68), LF_ERROR_FORMAT, "aligned", "b.weight");
    refuse(two("b.weight", 96), LF_ERROR_FORMAT, "cut off", "b.weight");
    refuse(two("b.weight", -32), LF_ERROR_FORMAT, "cut off", "b.weight");
}

static GgufFile *array(uint32_t type, uint64_t count, gsize size)
{
    g_autofree guint8 *zeros = g_malloc0(size);
    GgufFile *file = gguf_file_new();
    gguf_file_array(file, "k", type, count, zeros, size);
    return file;
}

static GgufFile *aligned(uint32_t alignment)
{
    GgufFile *file = gguf_file_new();
    gguf_file_u32(file, "general.alignment", alignment);
    return file;
}

/* Arrays in arrays, as many as levels. */
static GgufFile *nested(int levels)
{
    GgufFile *file = gguf_file_new();
    GByteArray *bytes = g_byte_array_new();
    for (int i = 2; i < levels; i++) {
        gguf_put_u32(bytes, GGUF_ARRAY);
        gguf_put_u64(bytes, 1);
    }
    gguf_put_u32(bytes, GGUF_U8);
    gguf_put_u64(bytes, 0);
    gguf_file_array(file, "k", GGUF_ARRAY, 1, bytes->data, bytes->len);
    g_byte_array_unref(bytes);
    return file;
}

static void test_metadata(void)
{
    refuse(array(GGUF_F64, G_MAXUINT64, 8), LF_ERROR_FORMAT, "cut off", "header");
    refuse(array(GGUF_F64, (G_GUINT64_CONSTANT(1) << 61) + 1, 8), LF_ERROR_FORMAT, "cut off",
           "header");
    refuse(array(GGUF_TEXT, G_MAXUINT64, 800), LF_ERROR_FORMAT, "cut off", "header");
    refuse(array(GGUF_ARRAY, G_MAXUINT64, 1200), LF_ERROR_FORMAT, "cut off", "header");
    refuse(array(13, 1, 8), LF_ERROR_FORMAT, "metadata k", "13 is no type");
    refuse(nested(5), LF_ERROR_UNSUPPORTED, "metadata k", "4 levels");
    refuse(array(GGUF_U8, 65 << 20, 65 << 20), LF_ERROR_UNSUPPORTED, "64 MiB", "header");
    refuse(aligned(0), LF_ERROR_FORMAT, "general.alignment", "power of two");
    refuse(aligned(24), LF_ERROR_FORMAT, "general.alignment", "power of two");
    refuse(aligned(1 << 21), LF_ERROR_FORMAT, "general.alignment", "power of two");

    GgufFile *four = nested(4);
    GError *error = NULL;
    lf_tensor_file_unref(open_file(four, &error));
    g_assert_no_error(error);
    gguf_file_free(four);

    GgufFile *file = gguf_file_new();
    gguf_file_value(file, "k", 13, "", 1);
    refuse(file, LF_ERROR_FORMAT, "metadata k", "13 is no type");
    file = gguf_file_new();
    gguf_file_text(file, "k", "a");
    gguf_file_u32(file, "k", 1);
    refuse(file, LF_ERROR_FORMAT, "metadata k", "twice");
    file = gguf_file_new();
    gguf_file_text(file, "k\n", "a");
    refuse(file, LF_ERROR_FORMAT, "name", "no text");
    file = gguf_file_new();
    file->n_values = G_MAXUINT64;
    refuse(file, LF_ERROR_FORMAT, "18446744073709551615 entries", "damaged");
    file = gguf_file_new();
    file->n_tensors = 1 << 17;
    refuse(file, LF_ERROR_FORMAT, "131072 tensors", "damaged");
}

static void test_hostile(void)
{
    guint8 *data[G_N_ELEMENTS(rows)];
    GgufFile *made = good_file(3, 32, data);
    g_autoptr(GByteArray) bytes = gguf_file_bytes(made);
    gsize head = bytes->len - made->data->len;
    lf_hostile_truncate(".gguf", bytes->data, bytes->len);
    lf_hostile_flip(".gguf", bytes->data, bytes->len, head, bytes->len, 3000);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        g_free(data[i]);
    gguf_file_free(made);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gguf/good", test_good);
    g_test_add_func("/gguf/no-tensors", test_no_tensors);
    g_test_add_func("/gguf/written", test_written);
    g_test_add_func("/gguf/original-shape", test_original_shape);
    g_test_add_func("/gguf/versions", test_versions);
    g_test_add_func("/gguf/tensors", test_tensors);
    g_test_add_func("/gguf/places", test_places);
    g_test_add_func("/gguf/metadata", test_metadata);
    g_test_add_func("/gguf/hostile", test_hostile);
    return g_test_run();
}
