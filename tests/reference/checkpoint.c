/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint.h"

#include <string.h>

/* ---- bytes ----------------------------------------------------------------------------------- */

static void put(GByteArray *to, const void *bytes, gsize size)
{
    g_byte_array_append(to, bytes, (guint) size);
}

static void put_text(GByteArray *to, const char *text)
{
    put(to, text, strlen(text));
}

static void put_number(GByteArray *to, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        put(to, &(uint8_t){i < 8 ? (uint8_t) (value >> 8 * i) : 0}, 1);
}

/* ---- the pickle, protocol 2 ------------------------------------------------------------------ */

static void put_string(GByteArray *pickle, const char *text)
{
    put_text(pickle, "X");
    put_number(pickle, strlen(text), 4);
    put_text(pickle, text);
}

static void put_int(GByteArray *pickle, int64_t value)
{
    put_text(pickle, "J");
    put_number(pickle, (uint64_t) value, 4);
}

static void put_shape(GByteArray *pickle, const LfFileTensor *t)
{
    put_text(pickle, "(");
    for (int i = 0; i < t->n_dims; i++)
        put_int(pickle, t->shape[i]);
    put_text(pickle, "t");
}

static void put_strides(GByteArray *pickle, const LfFileTensor *t)
{
    put_text(pickle, "(");
    for (int i = 0; i < t->n_dims; i++) {
        int64_t stride = 1;
        for (int k = i + 1; k < t->n_dims; k++)
            stride *= t->shape[k];
        put_int(pickle, stride);
    }
    put_text(pickle, "t");
}

static int64_t count_of(const LfFileTensor *t)
{
    return (int64_t) (t->size / sizeof(float));
}

/* The tensor whose elements are the storage `index`. */
static void put_tensor(GByteArray *pickle, const LfFileTensor *t, guint index, LfType type)
{
    g_autofree char *storage = g_strdup_printf("%u", index);
    put_text(pickle, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_string(pickle, "storage");
    put_text(pickle, type == LF_BF16 ? "ctorch\nBFloat16Storage\n" : "ctorch\nFloatStorage\n");
    put_string(pickle, storage);
    put_string(pickle, "cpu");
    put_int(pickle, count_of(t));
    put_text(pickle, "tQ");
    put_int(pickle, 0);
    put_shape(pickle, t);
    put_strides(pickle, t);
    put_text(pickle, "\x89" /* no gradient */ "ccollections\nOrderedDict\n)RtR");
}

static GByteArray *pickle_new(const char *key, const char *prefix, const GArray *tensors,
                              LfType type)
{
    GByteArray *pickle = g_byte_array_new();
    put_text(pickle, "\x80\x02}(");
    if (key) {
        put_string(pickle, key);
        put_text(pickle, "}(");
    }
    for (guint i = 0; i < tensors->len; i++) {
        const LfFileTensor *t = &g_array_index(tensors, LfFileTensor, i);
        g_autofree char *name = g_strconcat(prefix, t->name, NULL);
        put_string(pickle, name);
        put_tensor(pickle, t, i, type);
    }
    put_text(pickle, key ? "uu." : "u.");
    return pickle;
}

/* ---- the archive ----------------------------------------------------------------------------- */

typedef struct {
    GByteArray *bytes, *directory;
    int n_entries;
} Archive;

static uint32_t crc32_of(const uint8_t *bytes, gsize size)
{
    uint32_t crc = 0xffffffff;
    for (gsize i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* What both records of an entry have: versions and flags, method, time, checksum and sizes. */
static void put_record(GByteArray *to, const char *name, const void *data, gsize size)
{
    put_number(to, 0, 2);
    put_number(to, 0, 2);
    put_number(to, 0, 4);
    put_number(to, crc32_of(data, size), 4);
    put_number(to, size, 4);
    put_number(to, size, 4);
    put_number(to, strlen(name), 2);
}

static void add_entry(Archive *archive, const char *entry, const void *data, gsize size)
{
    enum { LOCAL = 30, FIELD = 4, ALIGNMENT = 64 };
    g_autofree char *name = g_strconcat("checkpoint/", entry, NULL);
    gsize offset = archive->bytes->len;
    gsize padding = (offset + LOCAL + FIELD + strlen(name)) % ALIGNMENT;
    padding = (ALIGNMENT - padding) % ALIGNMENT;
    put_text(archive->bytes, "PK\3\4");
    put_number(archive->bytes, 0, 2);
    put_record(archive->bytes, name, data, size);
    put_number(archive->bytes, FIELD + padding, 2);
    put_text(archive->bytes, name);
    put_text(archive->bytes, "FB");
    put_number(archive->bytes, padding, 2);
    for (gsize i = 0; i < padding; i++)
        put_text(archive->bytes, "Z");
    put(archive->bytes, data, size);

    put_text(archive->directory, "PK\1\2");
    put_number(archive->directory, 0, 4);
    put_record(archive->directory, name, data, size);
    put_number(archive->directory, 0, 12); /* no field, no comment, one disk, no attributes */
    put_number(archive->directory, offset, 4);
    put_text(archive->directory, name);
    archive->n_entries++;
}

static void finish(Archive *archive)
{
    gsize offset = archive->bytes->len;
    put(archive->bytes, archive->directory->data, archive->directory->len);
    put_text(archive->bytes, "PK\5\6");
    put_number(archive->bytes, 0, 4);
    put_number(archive->bytes, (uint64_t) archive->n_entries, 2);
    put_number(archive->bytes, (uint64_t) archive->n_entries, 2);
    put_number(archive->bytes, archive->directory->len, 4);
    put_number(archive->bytes, offset, 4);
    put_number(archive->bytes, 0, 2);
}

static void add_storage(Archive *archive, const LfFileTensor *t, guint index, LfType type)
{
    int64_t count = count_of(t);
    gsize size = (gsize) count * lf_type_size(type);
    g_autofree char *entry = g_strdup_printf("data/%u", index);
    g_autofree void *data = g_malloc(size);
    g_assert_true(lf_from_float(data, type, t->data, count));
    add_entry(archive, entry, data, size);
}

void ref_write_checkpoint(const char *path, const char *key, const char *prefix,
                          const GArray *tensors, LfType type)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) bytes = g_byte_array_new(), directory = g_byte_array_new();
    g_autoptr(GByteArray) pickle = pickle_new(key, prefix, tensors, type);
    Archive archive = {bytes, directory, 0};
    add_entry(&archive, "data.pkl", pickle->data, pickle->len);
    for (guint i = 0; i < tensors->len; i++)
        add_storage(&archive, &g_array_index(tensors, LfFileTensor, i), i, type);
    add_entry(&archive, "version", "3\n", 2);
    finish(&archive);
    g_file_set_contents(path, (const char *) bytes->data, bytes->len, &error);
    g_assert_no_error(error);
}
