/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tokenizer_file.h"
#include "foreign.h"
#include "gguf.h"
#include "map.h"
#include "protobuf.h"
#include "vocabulary.h"

#include <string.h>

/* Published ones have 5 MB and 17 MB. */
enum { MAX_MODEL = 16 << 20, MAX_JSON = 64 << 20 };

typedef struct {
    const char *path;
    const char *bytes;
    gsize size;
} File;

/* ---- kinds ----------------------------------------------------------------------------------- */

static bool begins(const File *file, const char *text)
{
    return file->size >= strlen(text) && memcmp(file->bytes, text, strlen(text)) == 0;
}

/* That is no space. */
static char first_character(const File *file)
{
    gsize i = begins(file, "\xef\xbb\xbf") ? 3 : 0;
    while (i < file->size && g_ascii_isspace(file->bytes[i]))
        i++;
    return i < file->size ? file->bytes[i] : 0;
}

/* A header's length, far below 2^32, and the header. */
static bool is_safetensors(const File *file)
{
    return file->size > 8 && file->bytes[8] == '{' && memcmp(file->bytes + 4, "\0\0\0", 4) == 0;
}

/* A protocol buffer whose first field is a piece, or one of the specifications. A text can begin
 * with the same line feed. */
static bool is_model(const File *file)
{
    LfSpan rest = {(const uint8_t *) file->bytes, file->size};
    LfWireField field, inner;
    if (!lf_wire_take(&rest, &field) || field.type != LF_WIRE_BYTES || field.number > 5)
        return false;
    while (field.number == 1 && field.content.size > 0)
        if (!lf_wire_take(&field.content, &inner) || inner.number > 3)
            return false;
    return true;
}

static GBytes *refuse(const File *file, GError **error)
{
    g_autofree char *what = lf_foreign_file(file->bytes, file->size, LF_WANTED_TOKENIZER);
    lf_fail(error, LF_ERROR_FORMAT, "%s: %s", file->path,
            what ? what : "it is nothing that is known: give " LF_WANTED_TOKENIZER);
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool check_size(const File *file, gsize size, gsize limit, GError **error)
{
    return size <= limit || lf_fail(error, LF_ERROR_FORMAT,
                                    "%s: %" G_GSIZE_FORMAT
                                    " bytes are no tokenizer, at most %" G_GSIZE_FORMAT " are read",
                                    file->path, size, limit);
}

static GBytes *read_tensor(const File *file, GError **error)
{
    GBytes *model = NULL;
    LfTensorFile *tensors = lf_tensor_file_open(file->path, error);
    if (!tensors)
        return NULL;
    const LfFileTensor *tensor = lf_tensor_file_find(tensors, "spiece_model");
    if (!tensor)
        lf_fail(error, LF_ERROR_FORMAT,
                "%s has no tokenizer inside (a tensor spiece_model): take a spiece.model or a "
                "tokenizer.json",
                file->path);
    else if (tensor->type != LF_U8 || tensor->size == 0)
        lf_fail(error, LF_ERROR_FORMAT, "%s: spiece_model: bytes (U8) are expected", file->path);
    else if (check_size(file, tensor->size, MAX_MODEL, error))
        model = g_bytes_new(tensor->data, tensor->size);
    lf_tensor_file_unref(tensors);
    return model;
}

static GBytes *read_json(const File *file, GError **error)
{
    LfVocabulary vocabulary;
    GByteArray *model = NULL;
    if (!check_size(file, file->size, MAX_JSON, error))
        return NULL;
    lf_vocabulary_init(&vocabulary);
    gsize mark = begins(file, "\xef\xbb\xbf") ? 3 : 0;
    if (lf_tokenizer_json_read(file->path, file->bytes + mark, file->size - mark, &vocabulary,
                               error))
        model = lf_vocabulary_serialize(&vocabulary, file->path, error);
    lf_vocabulary_clear(&vocabulary);
    return model ? g_byte_array_free_to_bytes(model) : NULL;
}

static GBytes *read_gguf(const File *file, GError **error)
{
    LfGguf gguf;
    LfVocabulary vocabulary;
    LfGgufVocabulary lists = {0};
    GByteArray *model = NULL;
    lf_vocabulary_init(&vocabulary);
    if (lf_gguf_open(&gguf, file->path, (LfSpan){(const uint8_t *) file->bytes, file->size},
                     error)) {
        lf_gguf_vocabulary(&gguf, &lists);
        if (lf_tokenizer_gguf_read(file->path, &lists, &vocabulary, error))
            model = lf_vocabulary_serialize(&vocabulary, file->path, error);
    }
    g_free((char *) lists.model);
    g_free((LfSpan *) lists.tokens);
    lf_gguf_clear(&gguf);
    lf_vocabulary_clear(&vocabulary);
    return model ? g_byte_array_free_to_bytes(model) : NULL;
}

bool lf_tokenizer_is_inside(const LfTensorFile *tensors)
{
    const LfFileTensor *model = lf_tensor_file_find(tensors, "spiece_model");
    const char *kind = lf_tensor_file_metadata(tensors, "tokenizer.ggml.model");
    if (g_str_has_suffix(lf_tensor_file_path(tensors), ".json"))
        return false;
    return (model && model->type == LF_U8 && model->size > 0) || g_strcmp0(kind, "t5") == 0;
}

GBytes *lf_tokenizer_file_read(const char *path, const char **format, GError **error)
{
    g_autoptr(GMappedFile) map = lf_map_file(path, error);
    if (!map)
        return NULL;
    File file = {path, g_mapped_file_get_contents(map), g_mapped_file_get_length(map)};
    if (begins(&file, "PK\3\4") || is_safetensors(&file)) {
        *format = "SentencePiece, inside a file of tensors";
        return read_tensor(&file, error);
    }
    if (begins(&file, "GGUF")) {
        *format = "GGUF's list of pieces";
        return read_gguf(&file, error);
    }
    if (is_model(&file)) {
        *format = "SentencePiece";
        return check_size(&file, file.size, MAX_MODEL, error) ? g_mapped_file_get_bytes(map) : NULL;
    }
    if (first_character(&file) == '{') {
        *format = "tokenizer.json";
        return read_json(&file, error);
    }
    return refuse(&file, error);
}
