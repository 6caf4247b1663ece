/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Writes a safetensors file, tensors with the largest elements first, so that all are aligned.
 */
#include "tensor_list.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void append_string(GString *json, const char *text)
{
    g_string_append_c(json, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            g_string_append_c(json, '\\');
        if ((guchar) *text < 0x20)
            g_string_append_printf(json, "\\u%04x", (guint) *text);
        else
            g_string_append_c(json, *text);
    }
    g_string_append_c(json, '"');
}

static void append_entry(GString *json, const LfFileTensor *t, guint64 begin)
{
    g_string_append_c(json, json->len > 1 ? ',' : ' ');
    append_string(json, t->name);
    g_string_append_printf(json, ":{\"dtype\":\"%s\",\"shape\":[", lf_type_name(t->type));
    for (int i = 0; i < t->n_dims; i++)
        g_string_append_printf(json, "%s%" G_GINT64_FORMAT, i ? "," : "", t->shape[i]);
    g_string_append_printf(json,
                           "],\"data_offsets\":[%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]}",
                           begin, begin + t->size);
}

static const LfFileTensor **in_file_order(const LfFileTensor *tensors, size_t n_tensors)
{
    const LfFileTensor **order = g_new(const LfFileTensor *, n_tensors + 1);
    size_t n = 0;
    for (size_t element = 8; element > 0; element /= 2)
        for (size_t i = 0; i < n_tensors; i++)
            if (lf_type_size(tensors[i].type) == element)
                order[n++] = &tensors[i];
    return order;
}

static GString *header_of(const LfFileTensor **tensors, size_t n_tensors)
{
    GString *json = g_string_new("{");
    guint64 offset = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        append_entry(json, tensors[i], offset);
        offset += tensors[i]->size;
    }
    g_string_append_c(json, '}');
    while (json->len % 8 != 0)
        g_string_append_c(json, ' ');
    return json;
}

typedef struct {
    const LfFileTensor *tensors, **order;
    size_t n_tensors;
    const LfTensorWriter *writer;
} Writing;

/* False, and an error unless it is that of the system. */
static bool write_tensor(FILE *stream, const Writing *w, const LfFileTensor *t, GError **error)
{
    enum { PIECE = 4 << 20 };
    if (t->size == 0) /* may have no bytes */
        return true;
    const uint8_t *bytes = w->writer->bytes((size_t) (t - w->tensors), w->writer->data, error);
    bool written = bytes != NULL;
    for (size_t at = 0; written && at < t->size; at += PIECE) {
        size_t size = MIN(PIECE, t->size - at);
        written = fwrite(bytes + at, 1, size, stream) == size &&
                  (!w->writer->written || w->writer->written(size, w->writer->data, error));
    }
    return written;
}

static bool write_all(FILE *stream, const Writing *w, GError **error)
{
    g_autoptr(GString) header = header_of(w->order, w->n_tensors);
    guint64 length = GUINT64_TO_LE((guint64) header->len);
    bool written = fwrite(&length, 8, 1, stream) == 1 &&
                   fwrite(header->str, 1, header->len, stream) == header->len;
    for (size_t i = 0; written && i < w->n_tensors; i++)
        written = write_tensor(stream, w, w->order[i], error);
    return written;
}

/* Flushed to the disk before it gets its name, so that a crash never leaves half a file. */
static bool write_as(const char *temporary, int fd, const char *path, const Writing *w,
                     GError **error)
{
    FILE *stream = fdopen(fd, "wb");
    if (!stream) {
        close(fd);
        return false;
    }
    bool written = write_all(stream, w, error) && fflush(stream) == 0 && fsync(fd) == 0;
    int code = errno;
    if (fclose(stream) != 0 && written)
        return false;
    errno = code;
    return written && g_rename(temporary, path) == 0;
}

bool lf_safetensors_write_from(const char *path, const LfFileTensor *tensors, size_t n_tensors,
                               const LfTensorWriter *writer, GError **error)
{
    GError *stopped = NULL;
    for (size_t i = 0; i < n_tensors; i++) {
        size_t size;
        if (!lf_shape_size(tensors[i].type, tensors[i].n_dims, tensors[i].shape, &size) ||
            size != tensors[i].size) {
            return lf_fail(error, LF_ERROR_SHAPE, "%s: its shape and its size differ",
                           tensors[i].name);
        }
    }
    g_autofree const LfFileTensor **order = in_file_order(tensors, n_tensors);
    const Writing w = {tensors, order, n_tensors, writer};
    g_autofree char *temporary = g_strconcat(path, ".XXXXXX", NULL);
    int fd = g_mkstemp_full(temporary, O_WRONLY | O_CLOEXEC, 0666);
    if (fd >= 0 && write_as(temporary, fd, path, &w, &stopped))
        return true;
    int code = errno;
    if (fd >= 0)
        g_unlink(temporary);
    if (stopped) {
        g_propagate_error(error, stopped);
        return false;
    }
    return lf_fail(error, LF_ERROR_WRITE, "cannot write %s: %s", path, g_strerror(code));
}

static const void *bytes_of(size_t index, gpointer tensors, GError **error)
{
    return ((const LfFileTensor *) tensors)[index].data;
}

bool lf_safetensors_write(const char *path, const LfFileTensor *tensors, size_t n_tensors,
                          GError **error)
{
    const LfTensorWriter writer = {.bytes = bytes_of, .data = (gpointer) tensors};
    return lf_safetensors_write_from(path, tensors, n_tensors, &writer, error);
}
