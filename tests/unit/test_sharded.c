/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/files/recognise.h"
#include "tests/common/folder.h"
#include "tests/common/tiny_model.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static const float floats[6] = {1, -2, 3.5f, 0, 1e-30f, 65504};
static const uint8_t small[5] = {1, 2, 3, 4, 5};

static const LfFileTensor written[] = {
    {.name = "odd", .type = LF_U8, .n_dims = 1, .shape = {5}, .data = small, .size = 5},
    {.name = "b.weight", .type = LF_F32, .n_dims = 2, .shape = {2, 3}, .data = floats, .size = 24},
    {.name = "scalar", .type = LF_F32, .data = floats + 1, .size = 4},
    {.name = "more", .type = LF_F32, .n_dims = 1, .shape = {1}, .data = floats, .size = 4},
};

/* Of the name of another one. */
static const LfFileTensor odd = {
    .name = "odd", .type = LF_U8, .n_dims = 1, .shape = {2}, .data = small, .size = 2};

static void copy(const char *dir, const char *from, const char *to)
{
    g_autofree char *source = g_build_filename(LF_TEST_DATA, from, NULL);
    g_autofree char *target = g_build_filename(dir, to, NULL);
    g_autofree char *bytes = NULL;
    gsize size;
    g_assert_true(g_file_get_contents(source, &bytes, &size, NULL));
    g_assert_true(g_file_set_contents(target, bytes, (gssize) size, NULL));
}

/* Shards of every kind and an index in a fresh directory; `index` is the index's text. */
static GError *open_sharded(const char *index, LfTensorFile **file)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *one = g_build_filename(dir, "one.safetensors", NULL);
    g_autofree char *two = g_build_filename(dir, "two.safetensors", NULL);
    g_autofree char *again = g_build_filename(dir, "again.safetensors", NULL);
    g_autofree char *link = g_build_filename(dir, "link.safetensors", NULL);
    g_autofree char *path = g_build_filename(dir, "all.index.json", NULL);
    g_assert_true(lf_safetensors_write(one, written, 2, NULL));
    g_assert_true(lf_safetensors_write(two, written + 2, 2, NULL));
    const LfFileTensor both[] = {written[2], odd};
    g_assert_true(lf_safetensors_write(again, both, G_N_ELEMENTS(both), NULL));
    g_assert_cmpint(symlink(one, link), ==, 0);
    copy(dir, "views.pt", "zip.bin");
    copy(dir, "checkpoint_stream.pt", "stream.bin");
    copy(dir, "unreadable.pt", "unreadable.bin");
    copy(dir, "list.pt", "list.bin");
    g_assert_true(g_file_set_contents(path, index, -1, NULL));
    LfTensorFile *opened = lf_tensor_file_open(path, &error);
    lf_tiny_model_remove(dir);
    if (file)
        *file = opened;
    else
        lf_tensor_file_unref(opened);
    return error;
}

static void test_sharded(void)
{
    LfTensorFile *file;
    GError *error = open_sharded(" {\"metadata\": {\"total_size\": 33}, \"weight_map\": {"
                                 "\"odd\": \"one.safetensors\", \"b.weight\": \"one.safetensors\","
                                 "\"scalar\": \"two.safetensors\"}}",
                                 &file);
    g_assert_no_error(error);
    g_assert_cmpstr(lf_tensor_file_format(file), ==, "safetensors");
    g_assert_cmpuint(lf_tensor_file_count(file), ==, 3);
    const LfFileTensor *t = lf_tensor_file_find(file, "b.weight");
    g_assert_cmpmem(t->data, t->size, floats, 24);
    t = lf_tensor_file_find(file, "scalar");
    g_assert_cmpmem(t->data, t->size, floats + 1, 4);
    lf_tensor_file_unref(file);
}

/* Shards that torch.save wrote, in either format: their own bytes tell. */
static void test_sharded_pytorch(void)
{
    static const float transposed[] = {0, 6, 12, 18, 1, 7,  13, 19, 2, 8,  14, 20,
                                       3, 9, 15, 21, 4, 10, 16, 22, 5, 11, 17, 23};
    static const float generator[] = {10, 11};
    LfTensorFile *file;
    GError *error = open_sharded(
        "{\"weight_map\": {\"transposed\": \"zip.bin\", \"generator.model.a.weight\": "
        "\"stream.bin\", \"sparse\": \"unreadable.bin\", \"odd\": \"one.safetensors\"}}",
        &file);
    g_assert_no_error(error);
    g_assert_cmpuint(lf_tensor_file_count(file), ==, 4);
    const LfFileTensor *t = lf_tensor_file_find(file, "transposed");
    g_assert_cmpmem(t->data, t->size, transposed, sizeof transposed);
    t = lf_tensor_file_find(file, "generator.model.a.weight");
    g_assert_cmpmem(t->data, t->size, generator, sizeof generator);
    g_assert_nonnull(strstr(lf_tensor_file_unreadable(file, "sparse"), "to_dense"));
    g_assert_null(lf_tensor_file_unreadable(file, "odd"));
    lf_tensor_file_unref(file);
}

/* A tensor that two shards have is taken from the one that the index says. */
static void test_twice(void)
{
    static const struct {
        const char *index;
        gsize size;
    } of[] = {
        {"{\"weight_map\": {\"odd\": \"one.safetensors\", \"scalar\": \"again.safetensors\"}}",
         sizeof small},
        {"{\"weight_map\": {\"b.weight\": \"one.safetensors\", \"odd\": \"again.safetensors\"}}",
         2}};
    for (gsize i = 0; i < G_N_ELEMENTS(of); i++) {
        LfTensorFile *file;
        GError *error = open_sharded(of[i].index, &file);
        g_assert_no_error(error);
        g_assert_cmpuint(lf_tensor_file_count(file), ==, 2);
        g_assert_cmpuint(lf_tensor_file_find(file, "odd")->size, ==, of[i].size);
        lf_tensor_file_unref(file);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *index;
        LfError code;
        const char *named;
    } refused[] = {
        {"{}", LF_ERROR_FORMAT, "weight_map"},
        {"{\"weight_map\": [1]}", LF_ERROR_FORMAT, "weight_map"},
        {"{\"weight_map\": {\"a\": 5}}", LF_ERROR_FORMAT, "a:"},
        {"{\"weight_map\": {\"a\": \"../one.safetensors\"}}", LF_ERROR_FORMAT, "../one"},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", LF_ERROR_FORMAT, "/etc/passwd"},
        {"{\"weight_map\": {\"a\": \"..\"}}", LF_ERROR_FORMAT, ".."},
        {"{\"weight_map\": {\"a\": \"\"}}", LF_ERROR_FORMAT, "a:"},
        {"{\"weight_map\": {\"a\": \"three.safetensors\"}}", LF_ERROR_NOT_FOUND,
         "shard three.safetensors is missing"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\"}}", LF_ERROR_FORMAT, "a: not in one"},
        {"{\"weight_map\": {\"odd\": \"two.safetensors\"}}", LF_ERROR_FORMAT, "odd: not in two"},
        {"{\"weight_map\": {\"odd\": \"all.index.json\"}}", LF_ERROR_FORMAT,
         "all.index.json: JSON"},
        {"{\"weight_map\": {\"odd\": \"list.bin\"}}", LF_ERROR_FORMAT, "list.bin: it has no dict"},
        {"{\"weight_map\": {\"odd\": \"one.safetensors\", \"odd\": \"two.safetensors\"}}",
         LF_ERROR_FORMAT, "two tensors named odd"},
        {"{\"weight_map\": {\"odd\": \"one.safetensors\", \"b.weight\": \"link.safetensors\"}}",
         LF_ERROR_FORMAT, "same file"},
        {"{\"weight_map\": {\"odd\": \"one.safetensors\"}", LF_ERROR_FORMAT, "not valid JSON"},
        {"{\"weight_map\": {\"odd\" 5}}", LF_ERROR_FORMAT, "not valid JSON"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = open_sharded(refused[i].index, NULL);
        g_test_message("%s -> %s", refused[i].index, error ? error->message : "taken");
        g_assert_error(error, LF_ERROR, (int) refused[i].code);
        g_assert_nonnull(strstr(error->message, refused[i].named));
    }
}

static void test_too_many(void)
{
    GString *index = g_string_new("{\"weight_map\": {");
    for (int i = 0; i <= 1000; i++)
        g_string_append_printf(index, "%s\"%d\": \"%d.bin\"", i ? "," : "", i, i);
    g_string_append(index, "}}");
    g_autoptr(GError) error = open_sharded(index->str, NULL);
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "more than 1000 shards"));
    g_string_free(index, TRUE);
    g_autofree char *spaces = g_strnfill((8 << 20) + 1, ' ');
    spaces[0] = '{';
    g_autoptr(GError) large = open_sharded(spaces, NULL);
    g_assert_error(large, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(large->message, "no index"));
}

/* A shard alone is no model, whatever is in it; the only one of its set is. */
static void test_alone(void)
{
    static const struct {
        const char *name, *told;
    } names[] = {
        {"model-00001-of-00002.safetensors", "one of 2 shards"},
        {"pytorch_model-00002-of-00003.bin", "pytorch_model.bin.index.json"},
        {"model-00001-of-00001.safetensors", NULL},
        {"model-1-of-2.safetensors", NULL},
    };
    const LfFileTensor t = {
        .name = "head.modulation", .n_dims = 1, .shape = {6}, .data = floats, .size = 24};
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        GError *error = NULL;
        g_autofree char *path = g_build_filename(dir, names[i].name, NULL);
        g_assert_true(lf_safetensors_write(path, &t, 1, NULL));
        LfTensorFile *file = lf_tensor_file_open(path, &error);
        g_assert_no_error(error);
        g_autoptr(LfRecognised) r = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
        g_assert_true((r->problem != NULL) == (names[i].told != NULL));
        g_assert_true(!r->problem || strstr(r->problem, names[i].told));
        lf_tensor_file_unref(file);
    }
    lf_tiny_model_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sharded/safetensors", test_sharded);
    g_test_add_func("/sharded/pytorch", test_sharded_pytorch);
    g_test_add_func("/sharded/twice", test_twice);
    g_test_add_func("/sharded/refused", test_refused);
    g_test_add_func("/sharded/too-many", test_too_many);
    g_test_add_func("/sharded/alone", test_alone);
    return g_test_run();
}
