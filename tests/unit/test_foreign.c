/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Files that are something else, given as weights or as a tokenizer: the error says what they are.
 */
#include "engine/files/tensor_file.h"
#include "engine/files/tokenizer_file.h"
#include "tests/common/tiny_model.h"

#include <string.h>

typedef struct {
    const char *bytes;
    gsize size;
    gsize at; /* of the bytes; zeros are elsewhere. G_MAXSIZE: at the end */
    const char *told;
} Foreign;

#define BYTES(text) text, sizeof(text) - 1

static const Foreign files[] = {
    {BYTES(""), 0, "empty"},
    {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4548313\n"), 0,
     "git lfs pull"},
    {BYTES("<!DOCTYPE html><html>"), 0, "web page"},
    {BYTES("\n\n  <html></html>"), 0, "web page"},
    {BYTES("\xef\xbb\xbf<html></html>"), 0, "web page"},
    {BYTES("Entry not found"), 0, "(\"Entry not found\"): download"},
    {BYTES("Invalid username or password.\n"), 0, "(\"Invalid username or password.\")"},
    {BYTES("\x1f\x8b\x08\0\0\0"), 0, "gzip"},
    {BYTES("BZh91AY&SY"), 0, "bzip2"},
    {BYTES("\xfd"
           "7zXZ\0\0"),
     0, "xz"},
    {BYTES("\x28\xb5\x2f\xfd\x24"), 0, "zstd"},
    {BYTES("\x04\x22\x4d\x18\x40"), 0, "lz4"},
    {BYTES("7z\xbc\xaf\x27\x1c\0\4"), 0, "7z"},
    {BYTES("Rar!\x1a\x07\1\0"), 0, "rar"},
    {BYTES("\x89HDF\r\n\x1a\n\0"), 0, "HDF5"},
    {BYTES("\x08\x07\x12\x07pytorch\x1a\x03"
           "1.8"),
     0, "ONNX"},
    {BYTES("\x08\x01\x12\x10\x0a\x02"), 0, "SavedModel"},
    {BYTES("TFL3"), 4, "TensorFlow Lite"},
    {BYTES("model_checkpoint_path: \"model.ckpt-7\"\n"), 0, "checkpoint of TensorFlow"},
    {BYTES("\x57\xfb\x80\x8b\x24\x75\x47\xdb"), G_MAXSIZE, "checkpoint of TensorFlow"},
    {BYTES("\x93NUMPY\1\0v\0{'descr'"), 0, "NumPy"},
    {BYTES("tjgg\3\0\0\0"), 0, "before GGUF"},
    {BYTES("ustar\x00"
           "00"),
     257, "tar xf"},
    {BYTES("ustar  \0"), 257, "tar xf"},
    {BYTES("\x80\2}q\0."), 0, "torch.save did not write"},
    {BYTES("\x80\4\x95\5\0\0\0\0\0\0\0}\x94."), 0, "torch.save did not write"},
    {BYTES("\x89PNG\r\n\x1a\n"), 0, "picture"},
    {BYTES("\0"), 0, "download was not finished"},
    {BYTES("\xfe\xca\x01\x07"), 0, "nothing that is known: give "},
};

static GByteArray *file_of(const Foreign *foreign)
{
    enum { SIZE = 600 };
    GByteArray *bytes = g_byte_array_new();
    bool text = g_ascii_isprint(*foreign->bytes) || g_ascii_isspace(*foreign->bytes) ||
                *foreign->bytes == '\xef';
    gsize at = foreign->at == G_MAXSIZE ? SIZE - foreign->size : foreign->at;
    g_byte_array_set_size(bytes, at || (!text && foreign->size) ? SIZE : (guint) foreign->size);
    if (bytes->len == 0)
        return bytes;
    memset(bytes->data, 0, bytes->len);
    if (foreign->at == G_MAXSIZE)
        for (gsize i = 0; i < at; i++)
            bytes->data[i] = (guint8) (255 - i % 100);
    else if (at)
        memcpy(bytes->data, "file\0", 5);
    memcpy(bytes->data + at, foreign->bytes, foreign->size);
    return bytes;
}

static void check(const char *path, const GError *error, const char *told)
{
    g_test_message("%s", error ? error->message : "taken");
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, told));
    g_assert_true(g_str_has_prefix(error->message, path));
}

static void test_files(gconstpointer as_tokenizer)
{
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "file", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        const char *format;
        g_autoptr(GError) error = NULL;
        g_autoptr(GByteArray) bytes = file_of(&files[i]);
        g_assert_true(
            g_file_set_contents(path, (const char *) bytes->data, (gssize) bytes->len, NULL));
        if (as_tokenizer)
            g_assert_null(lf_tokenizer_file_read(path, &format, &error));
        else
            g_assert_null(lf_tensor_file_open(path, &error));
        check(path, error, files[i].told);
    }
    lf_tiny_model_remove(dir);
}

static const struct {
    const char *text, *told;
} json[] = {
    {"{\"error\": \"Repository not found\"}", "server's message (\"Repository not found\")"},
    {"{\"error\": {\"code\": 404}}", "server's message, not"},
    {" {\"detail\": \"\\u00e9\"}", "server's message (\"é\")"},
    {"{\"_class_name\": \"WanTransformer3DModel\", \"dim\": 1536}", "configuration"},
    {"{\"a\": [1, {}], \"architectures\": [\"UMT5EncoderModel\"]}", "configuration"},
    {"{\"version\": \"1.0\", \"added_tokens\": []}", "it is a tokenizer"},
    {"{\"last_node_id\": 4, \"nodes\": []}", "workflow"},
    {"{\"a\": 5}", "no weight_map"},
    {"{\"error\": ", "not valid JSON"},
};

static void test_json(void)
{
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "file", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(json); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(g_file_set_contents(path, json[i].text, -1, NULL));
        g_assert_null(lf_tensor_file_open(path, &error));
        check(path, error, json[i].told);
    }
    lf_tiny_model_remove(dir);
}

/* Written by Python's zipfile, tarfile and torch.jit, see data/README.md. */
static void test_archives(void)
{
    static const struct {
        const char *name, *told;
    } archives[] = {
        {"files.zip", "its first file is a/notes.txt"},
        {"program.pt", "TorchScript"},
        {"arrays.npz", "NumPy"},
        {"oldest.pt", "before 0.2"},
        {"files.tar", "tar xf"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(archives); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = g_build_filename(LF_TEST_DATA, archives[i].name, NULL);
        g_assert_null(lf_tensor_file_open(path, &error));
        check(path, error, archives[i].told);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/foreign/weights", GINT_TO_POINTER(FALSE), test_files);
    g_test_add_data_func("/foreign/tokenizer", GINT_TO_POINTER(TRUE), test_files);
    g_test_add_func("/foreign/json", test_json);
    g_test_add_func("/foreign/archives", test_archives);
    return g_test_run();
}
