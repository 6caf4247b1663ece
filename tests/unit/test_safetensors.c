/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/common/hostile.h"
#include "tests/common/tiny_model.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A safetensors file: the header's length, its text, `size` bytes of data. */
static GByteArray *file_of(const char *header, gsize size)
{
    GByteArray *bytes = g_byte_array_new();
    guint64 length = GUINT64_TO_LE((guint64) strlen(header));
    g_byte_array_append(bytes, (const guint8 *) &length, 8);
    g_byte_array_append(bytes, (const guint8 *) header, (guint) strlen(header));
    for (gsize i = 0; i < size; i++)
        g_byte_array_append(bytes, (const guint8[]){(guint8) i}, 1);
    return bytes;
}

static GError *open_text(const char *header, gsize size)
{
    GByteArray *bytes = file_of(header, size);
    GError *error = lf_hostile_open(".safetensors", bytes->data, bytes->len);
    g_byte_array_unref(bytes);
    return error;
}

static const float floats[6] = {1, -2, 3.5f, 0, 1e-30f, 65504};
static const int64_t whole[2] = {-1, INT64_MAX};
static const uint8_t small[5] = {1, 2, 3, 4, 5};

/* Types of all sizes, out of order, with a name that needs escaping, a scalar and an empty one. */
static const LfFileTensor written[] = {
    {"odd", LF_U8, 1, {5}, small, 5, NULL},
    {"b.weight", LF_F32, 2, {2, 3}, floats, 24, NULL},
    {"with \"quotes\" \\ and\ttab ü", LF_F32, 1, {1}, floats + 2, 4, NULL},
    {"scalar", LF_F32, 0, {0}, floats + 1, 4, NULL},
    {"empty", LF_BF16, 3, {4, 0, 2}, floats, 0, NULL},
    {"ids", LF_I64, 2, {2, 1}, whole, 16, NULL},
};

static void test_round_trip(void)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "out.safetensors", NULL);
    g_assert_true(lf_safetensors_write(path, written, G_N_ELEMENTS(written), &error));
    g_assert_no_error(error);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lf_tensor_file_format(file), ==, "safetensors");
    g_assert_cmpstr(lf_tensor_file_path(file), ==, path);
    g_assert_cmpuint(lf_tensor_file_count(file), ==, G_N_ELEMENTS(written));
    for (gsize i = 0; i < G_N_ELEMENTS(written); i++) {
        const LfFileTensor *t = lf_tensor_file_find(file, written[i].name);
        g_assert_nonnull(t);
        g_assert_cmpint(t->type, ==, written[i].type);
        g_assert_cmpint(t->n_dims, ==, written[i].n_dims);
        g_assert_cmpmem(t->shape, sizeof t->shape, written[i].shape, sizeof t->shape);
        g_assert_cmpmem(t->data, t->size, written[i].data, written[i].size);
        g_assert_cmpuint((uintptr_t) t->data % lf_type_size(t->type), ==, 0);
    }
    for (size_t i = 1; i < lf_tensor_file_count(file); i++)
        g_assert_cmpstr(lf_tensor_file_nth(file, i - 1)->name, <,
                        lf_tensor_file_nth(file, i)->name);
    g_assert_null(lf_tensor_file_find(file, "od"));
    lf_tensor_file_unref(lf_tensor_file_ref(file));
    lf_tensor_file_unref(file);
    lf_tiny_model_remove(dir);
}

static void test_write_fails(void)
{
    g_autoptr(GError) place = NULL, size = NULL;
    LfFileTensor wrong = {"wrong", LF_F32, 1, {3}, floats, 8, NULL};
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "out.safetensors", NULL);
    g_autofree char *below = g_build_filename(path, "a.safetensors", NULL);
    g_assert_true(g_file_set_contents(path, "a regular file", -1, NULL));
    g_assert_false(lf_safetensors_write(below, written, 1, &place));
    g_assert_error(place, LF_ERROR, LF_ERROR_WRITE);
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_false(lf_safetensors_write(path, &wrong, 1, &size));
    g_assert_error(size, LF_ERROR, LF_ERROR_SHAPE);
    g_assert_cmpint(g_rmdir(dir), ==, 0); /* nothing was left in it */
    g_free(dir);
}

static void test_accepted(void)
{
    g_assert_no_error(open_text("{}", 0));
    g_assert_no_error(open_text("{}      ", 16));
    g_assert_no_error(open_text("{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\","
                                "\"shape\":[1],\"data_offsets\":[0,4]}}",
                                4));
    g_assert_no_error(open_text("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[2,3]},"
                                "\"b\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[1,1]}}",
                                3));
}

#define ENTRY(type, shape, offsets)                                                                \
    "{\"the.name\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

/* Each in a file of 16 bytes of data; the message names the tensor. */
static const char *const lies[] = {
    ENTRY("F32", "[5]", "[0,20]"),
    ENTRY("F32", "[4]", "[4,20]"),
    ENTRY("F32", "[4]", "[0,12]"),
    ENTRY("F32", "[1]", "[8,4]"),
    ENTRY("F32", "[1]", "[-4,0]"),
    ENTRY("F32", "[1]", "[9223372036854775804,9223372036854775807]"),
    ENTRY("F32", "[1]", "[18446744073709551612,18446744073709551615]"),
    ENTRY("F32", "[1]", "[0,4,8]"),
    ENTRY("F32", "[1]", "[0]"),
    ENTRY("F32", "[1]", "4"),
    ENTRY("F32", "[1.0]", "[0,4]"),
    ENTRY("F32", "[\"1\"]", "[0,4]"),
    ENTRY("F32", "[-1,-1]", "[0,4]"),
    ENTRY("F32", "1", "[0,4]"),
    ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"),
    ENTRY("F32", "[4294967296,4294967296]", "[0,0]"),
    ENTRY("F32", "[4611686018427387905]", "[0,4]"),
    ENTRY("F64", "[9223372036854775807,9223372036854775807,4]", "[0,4]"),
    ENTRY("F32", "[2305843009213693952]", "[0,0]"),
    ENTRY("F31", "[1]", "[0,4]"),
    ENTRY("", "[1]", "[0,4]"),
    "{\"the.name\":{\"shape\":[1],\"data_offsets\":[0,4]}}",
    "{\"the.name\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}",
    "{\"the.name\":{\"dtype\":\"F32\",\"shape\":[1]}}",
    "{\"the.name\":[0,4]}",
    "{\"the.name\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]},"
    "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[1,10]},"
    "\"the.name\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]}}",
};

static void test_lies(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(lies); i++) {
        g_autoptr(GError) error = open_text(lies[i], 16);
        if (!error)
            g_error("taken for good: %s", lies[i]);
        g_test_message("%s", error->message);
        g_assert_true(error->domain == LF_ERROR);
        g_assert_nonnull(strstr(error->message, "the.name"));
    }
}

/* Lengths of the header that exceed the file or the limit. */
static void test_header_length(void)
{
    static const guint64 lengths[] = {
        0, 1, 3, 1 << 20, 1ull << 32, 1ull << 63, G_MAXUINT64 - 7, G_MAXUINT64};
    for (gsize i = 0; i < G_N_ELEMENTS(lengths); i++) {
        GByteArray *bytes = file_of(lies[0], 20);
        guint64 length = GUINT64_TO_LE(lengths[i]);
        memcpy(bytes->data, &length, 8);
        g_autoptr(GError) error = lf_hostile_open("", bytes->data, bytes->len);
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_byte_array_unref(bytes);
    }
}

static void test_nesting(void)
{
    g_autofree char *brackets = g_strnfill(1000000, '[');
    g_autofree char *header = g_strconcat("{\"a\":{\"x\":", brackets, NULL);
    g_autoptr(GError) error = open_text(header, 0);
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "nests"));
}

/* Workflows are kept in metadata, so that headers are as large as the format allows. Of a text that is
 * larger than any we ask for nothing is kept. */
static void test_large_header(void)
{
    GError *error = NULL;
    g_autofree char *path = NULL;
    g_autofree char *text = g_strnfill(9 << 20, 'x');
    g_autofree char *header =
        g_strconcat("{\"__metadata__\":{\"workflow\":\"", text,
                    "\",\"format\":\"pt\",\"list\":[1,{\"a\":null}]},"
                    "\"a\":{\"more\":[{}],\"dtype\":\"U8\",\"data_offsets\":[0,3],\"shape\":[3]}}",
                    NULL);
    GByteArray *bytes = file_of(header, 3);
    int fd = g_file_open_tmp("lightforcing-XXXXXX", &path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(write(fd, bytes->data, bytes->len), ==, (gssize) bytes->len);
    close(fd);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lf_tensor_file_metadata(file, "format"), ==, "pt");
    g_assert_null(lf_tensor_file_metadata(file, "workflow"));
    g_assert_null(lf_tensor_file_metadata(file, "list"));
    g_assert_cmpuint(lf_tensor_file_find(file, "a")->size, ==, 3);
    lf_tensor_file_unref(file);
    g_byte_array_unref(bytes);
    g_unlink(path);
}

static void test_header_limit(void)
{
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;
    guint64 length = GUINT64_TO_LE(100000001ull);
    int fd = g_file_open_tmp("lightforcing-XXXXXX", &path, NULL);
    g_assert_cmpint(write(fd, &length, 8), ==, 8);
    g_assert_cmpint(write(fd, "{", 1), ==, 1);
    g_assert_cmpint(ftruncate(fd, 100000020), ==, 0);
    close(fd);
    g_assert_null(lf_tensor_file_open(path, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "100 MB"));
    g_unlink(path);
}

/* Each text takes more memory than it has characters: only so many are kept. */
static void test_many_texts(void)
{
    GError *error = NULL;
    g_autofree char *path = NULL;
    GString *header = g_string_new("{\"__metadata__\":{");
    for (int i = 0; i < 200000; i++)
        g_string_append_printf(header, "%s\"%d\":\"\"", i ? "," : "", i);
    g_string_append(header, "}}");
    GByteArray *bytes = file_of(header->str, 0);
    int fd = g_file_open_tmp("lightforcing-XXXXXX", &path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(write(fd, bytes->data, bytes->len), ==, (gssize) bytes->len);
    close(fd);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_assert_nonnull(lf_tensor_file_metadata(file, "1000"));
    g_assert_null(lf_tensor_file_metadata(file, "199999"));
    lf_tensor_file_unref(file);
    g_byte_array_unref(bytes);
    g_string_free(header, TRUE);
    g_unlink(path);
}

/* Many names, of which a hash table would make one long list; and more than any model has. */
static void test_many_tensors(void)
{
    GString *header = g_string_new("{");
    for (int i = 0; i < 200001; i++) {
        g_string_append_printf(header, "%s\"", i ? "," : "");
        for (int bit = 0; bit < 18; bit++)
            g_string_append(header, i >> bit & 1 ? "az" : "bY");
        g_string_append(header, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
        if (i == 49999) {
            g_autofree char *some = g_strconcat(header->str, "}", NULL);
            g_assert_no_error(open_text(some, 0));
        }
    }
    g_string_append_c(header, '}');
    g_autoptr(GError) error = open_text(header->str, 0);
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "more than 200000 tensors"));
    g_string_free(header, TRUE);
}

static void test_repeated_names(void)
{
    static const char entry[] = "{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    g_autofree char *twice = g_strdup_printf("{\"a\":%s,\"b\":%s,\"a\":%s}", entry, entry, entry);
    g_autofree char *nul = g_strdup_printf("{\"a\\u0000b\":%s}", entry);
    g_autoptr(GError) error = open_text(twice, 0), zero = open_text(nul, 0);
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "two tensors named a"));
    g_assert_error(zero, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(zero->message, "character 0"));
}

/* Escapes that are no characters would become names that are no UTF-8. */
static void test_escapes(void)
{
    static const char *const bad[] = {"\\ud83d",  "\\ud83d\\u0041", "\\udc00",
                                      "\\ud83dx", "\\u12g4",        "\\300"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *header = g_strdup_printf("{\"%s\":{}}", bad[i]);
        g_autoptr(GError) error = open_text(header, 0);
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_assert_nonnull(strstr(error->message, "escape"));
    }
    g_autoptr(GError) error = open_text("{\"\\ud83d\\ude00\":{}}", 0);
    g_assert_null(strstr(error->message, "escape"));
}

/* A small file, and the number of bytes before its data. */
static GByteArray *good_file(gsize *head)
{
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "out.safetensors", NULL);
    char *bytes;
    gsize size;
    g_assert_true(lf_safetensors_write(path, written, G_N_ELEMENTS(written), NULL));
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    lf_tiny_model_remove(dir);
    *head = size - 53;
    return g_byte_array_new_take((guint8 *) bytes, size);
}

static void test_truncated(void)
{
    gsize head;
    GByteArray *file = good_file(&head);
    lf_hostile_truncate(".safetensors", file->data, file->len);
    g_byte_array_unref(file);
}

static void test_damaged(void)
{
    gsize head;
    GByteArray *file = good_file(&head);
    lf_hostile_flip(".safetensors", file->data, file->len, head, file->len, 5000);
    g_byte_array_unref(file);
}

/* ---- places ---------------------------------------------------------------------------------- */

static void test_places(void)
{
    g_autoptr(GError) missing = NULL, folder = NULL, denied = NULL, pipe = NULL;
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "a.safetensors", NULL);
    g_autofree char *fifo = g_build_filename(dir, "fifo", NULL);
    g_assert_null(lf_tensor_file_open("/nonexistent/a.safetensors", &missing));
    g_assert_error(missing, LF_ERROR, LF_ERROR_NOT_FOUND);
    g_assert_null(lf_tensor_file_open(dir, &folder));
    g_assert_error(folder, LF_ERROR, LF_ERROR_READ);
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_assert_null(lf_tensor_file_open(fifo, &pipe));
    g_assert_error(pipe, LF_ERROR, LF_ERROR_READ);
    if (geteuid() != 0) { /* who may read everything */
        g_assert_true(lf_safetensors_write(path, written, 1, NULL));
        g_assert_cmpint(g_chmod(path, 0), ==, 0);
        g_assert_null(lf_tensor_file_open(path, &denied));
        g_assert_error(denied, LF_ERROR, LF_ERROR_READ);
    }
    lf_tiny_model_remove(dir);
}

/* The numbers begin at a multiple of eight bytes, so that they can be read where they are mapped. */
static void test_aligned(void)
{
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    for (int length = 1; length <= 16; length++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *name = g_strnfill((gsize) length, 'n'), *bytes = NULL;
        g_autofree char *path = g_build_filename(dir, "a.safetensors", NULL);
        const double value = g_test_rand_double();
        const LfFileTensor tensor = {
            .name = name, .type = LF_F64, .data = &value, .size = sizeof value};
        guint64 header;
        gsize size;
        g_assert_true(lf_safetensors_write(path, &tensor, 1, &error));
        g_assert_no_error(error);
        g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
        memcpy(&header, bytes, sizeof header);
        header = GUINT64_FROM_LE(header);
        g_assert_cmpuint(header % 8, ==, 0);
        g_assert_cmpuint(size, ==, sizeof header + header + sizeof value);
        g_assert_cmpmem(bytes + sizeof header + header, sizeof value, &value, sizeof value);
        g_remove(path);
    }
    lf_tiny_model_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/safetensors/round-trip", test_round_trip);
    g_test_add_func("/safetensors/aligned", test_aligned);
    g_test_add_func("/safetensors/write-fails", test_write_fails);
    g_test_add_func("/safetensors/accepted", test_accepted);
    g_test_add_func("/safetensors/lies", test_lies);
    g_test_add_func("/safetensors/header-length", test_header_length);
    g_test_add_func("/safetensors/nesting", test_nesting);
    g_test_add_func("/safetensors/large-header", test_large_header);
    g_test_add_func("/safetensors/header-limit", test_header_limit);
    g_test_add_func("/safetensors/many-texts", test_many_texts);
    g_test_add_func("/safetensors/many-tensors", test_many_tensors);
    g_test_add_func("/safetensors/repeated-names", test_repeated_names);
    g_test_add_func("/safetensors/escapes", test_escapes);
    g_test_add_func("/safetensors/truncated", test_truncated);
    g_test_add_func("/safetensors/damaged", test_damaged);
    g_test_add_func("/safetensors/places", test_places);
    return g_test_run();
}
