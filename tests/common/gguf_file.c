/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gguf_file.h"

#include "engine/files/protobuf.h"

#include <string.h>

GgufFile *gguf_file_new(void)
{
    GgufFile *file = g_new0(GgufFile, 1);
    file->version = 3;
    file->alignment = 32;
    file->values = g_byte_array_new();
    file->tensors = g_byte_array_new();
    file->data = g_byte_array_new();
    return file;
}

void gguf_put_u32(GByteArray *bytes, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    g_byte_array_append(bytes, (const guint8 *) &value, sizeof value);
}

void gguf_put_u64(GByteArray *bytes, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    g_byte_array_append(bytes, (const guint8 *) &value, sizeof value);
}

void gguf_put_text(GByteArray *bytes, const void *text, gsize size)
{
    gguf_put_u64(bytes, size);
    g_byte_array_append(bytes, text, (guint) size);
}

void gguf_file_value(GgufFile *file, const char *key, uint32_t type, const void *bytes, gsize size)
{
    gguf_put_text(file->values, key, strlen(key));
    gguf_put_u32(file->values, type);
    g_byte_array_append(file->values, bytes, (guint) size);
    file->n_values++;
}

void gguf_file_u32(GgufFile *file, const char *key, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    gguf_file_value(file, key, GGUF_U32, &value, sizeof value);
}

void gguf_file_text(GgufFile *file, const char *key, const char *text)
{
    gguf_file_value(file, key, GGUF_TEXT, NULL, 0);
    gguf_put_text(file->values, text, strlen(text));
}

void gguf_file_array(GgufFile *file, const char *key, uint32_t type, uint64_t count,
                     const void *bytes, gsize size)
{
    gguf_file_value(file, key, GGUF_ARRAY, NULL, 0);
    gguf_put_u32(file->values, type);
    gguf_put_u64(file->values, count);
    g_byte_array_append(file->values, bytes, (guint) size);
}

static void pad(GByteArray *bytes, gsize size, gsize alignment)
{
    static const guint8 zero = 0;
    for (; size % alignment != 0; size++)
        g_byte_array_append(bytes, &zero, 1);
}

void gguf_file_tensor(GgufFile *file, const char *name, uint32_t type, int n_dims,
                      const int64_t *shape, const void *data, gsize size)
{
    pad(file->data, file->data->len, file->alignment);
    gguf_put_text(file->tensors, name, strlen(name));
    gguf_put_u32(file->tensors, (uint32_t) n_dims);
    for (int i = n_dims - 1; i >= 0; i--)
        gguf_put_u64(file->tensors, (uint64_t) shape[i]);
    gguf_put_u32(file->tensors, type);
    gguf_put_u64(file->tensors, file->data->len);
    g_byte_array_append(file->data, data, (guint) size);
    file->n_tensors++;
}

/* From 2⁻¹² to 2⁻⁹, of either sign. */
static void put_scale(guint8 *half)
{
    half[1] = (guint8) (g_test_rand_bit() << 7 | g_test_rand_int_range(3, 6) << 2 | (half[1] & 3));
}

guint8 *gguf_random_blocks(const LfCoding *coding, gsize n_blocks)
{
    static const struct {
        const char *name;
        int scales[2]; /* where they are in a block */
    } rows[] = {{"Q4_0", {0, 0}}, {"Q4_1", {0, 2}},    {"Q5_0", {0, 0}},     {"Q5_1", {0, 2}},
                {"Q8_0", {0, 0}}, {"Q2_K", {80, 82}},  {"Q3_K", {108, 108}}, {"Q4_K", {0, 2}},
                {"Q5_K", {0, 2}}, {"Q6_K", {208, 208}}};
    gsize size = n_blocks * coding->size, row = 0;
    guint8 *blocks = g_malloc(size);
    while (strcmp(rows[row].name, coding->name) != 0)
        g_assert_cmpint(++row, <, G_N_ELEMENTS(rows));
    for (gsize i = 0; i < size; i++)
        blocks[i] = (guint8) g_test_rand_int_range(0, 256);
    for (gsize i = 0; i < n_blocks; i++)
        for (int k = 0; k < 2; k++)
            put_scale(blocks + i * coding->size + rows[row].scales[k]);
    return blocks;
}

typedef struct {
    GByteArray *tokens, *scores, *types;
    uint64_t n;
    LfSpan charsmap;
} Pieces;

/* Text, score and type; the last two as the bytes behind their tags. */
static void take_piece(Pieces *pieces, LfSpan message)
{
    LfWireField field;
    guint32 type = 1, none = 0;
    LfSpan text = {NULL, 0};
    const guint8 *score = (const guint8 *) &none;
    while (lf_wire_take(&message, &field)) {
        if (field.number == 1)
            text = field.content;
        else if (field.number == 2)
            score = field.whole.data + field.whole.size - 4;
        else if (field.number == 3)
            type = field.whole.data[field.whole.size - 1];
    }
    gguf_put_text(pieces->tokens, text.data, text.size);
    g_byte_array_append(pieces->scores, score, 4);
    gguf_put_u32(pieces->types, type);
    pieces->n++;
}

static LfSpan charsmap_of(LfSpan normalizer)
{
    LfWireField field;
    while (lf_wire_take(&normalizer, &field))
        if (field.number == 2)
            return field.content;
    return (LfSpan){NULL, 0};
}

void gguf_file_tokenizer(GgufFile *file, const void *model, gsize size)
{
    LfSpan rest = {model, size};
    LfWireField field;
    Pieces p = {g_byte_array_new(), g_byte_array_new(), g_byte_array_new(), 0, {NULL, 0}};
    while (lf_wire_take(&rest, &field)) {
        if (field.number == 1)
            take_piece(&p, field.content);
        else if (field.number == 3)
            p.charsmap = charsmap_of(field.content);
    }
    gguf_file_text(file, "tokenizer.ggml.model", "t5");
    gguf_file_array(file, "tokenizer.ggml.tokens", GGUF_TEXT, p.n, p.tokens->data, p.tokens->len);
    gguf_file_array(file, "tokenizer.ggml.scores", GGUF_F32, p.n, p.scores->data, p.scores->len);
    gguf_file_array(file, "tokenizer.ggml.token_type", GGUF_I32, p.n, p.types->data, p.types->len);
    if (p.charsmap.size > 0)
        gguf_file_array(file, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, p.charsmap.size,
                        p.charsmap.data, p.charsmap.size);
    g_byte_array_unref(p.tokens);
    g_byte_array_unref(p.scores);
    g_byte_array_unref(p.types);
}

GByteArray *gguf_file_bytes(const GgufFile *file)
{
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *) "GGUF", 4);
    gguf_put_u32(bytes, file->version);
    gguf_put_u64(bytes, file->n_tensors);
    gguf_put_u64(bytes, file->n_values);
    g_byte_array_append(bytes, file->values->data, file->values->len);
    g_byte_array_append(bytes, file->tensors->data, file->tensors->len);
    if (file->data->len > 0)
        pad(bytes, bytes->len, file->alignment);
    g_byte_array_append(bytes, file->data->data, file->data->len);
    return bytes;
}

void gguf_file_save(const GgufFile *file, const char *path)
{
    GError *error = NULL;
    g_autoptr(GByteArray) bytes = gguf_file_bytes(file);
    g_file_set_contents(path, (const char *) bytes->data, bytes->len, &error);
    g_assert_no_error(error);
}

void gguf_file_free(GgufFile *file)
{
    g_byte_array_unref(file->values);
    g_byte_array_unref(file->tensors);
    g_byte_array_unref(file->data);
    g_free(file);
}
