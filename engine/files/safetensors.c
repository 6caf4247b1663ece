/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * safetensors: the header's length n (u64, little-endian), n bytes of JSON, then the data. Each
 * entry names a type, a shape and the bytes [begin, end) of its data. Headers may be large, because
 * whole workflows are kept in their metadata.
 */
#include "json_scan.h"
#include "tensor_list.h"

#include <string.h>

/* The format's own limit in bytes, and ours: the largest model has some thousand tensors. Metadata
 * beyond its limit is left out. */
enum { MAX_HEADER = 100000000, MAX_TENSORS = 200000, MAX_TEXT = 8 << 20, MAX_TEXTS = 16 << 20 };

enum { OF_TEXT = 128 }; /* bytes that each text takes besides its own */

typedef struct {
    LfTensorFile *file;
    LfJsonScan scan;
    const char *data;
    gsize size;  /* bytes of data */
    gsize texts; /* bytes of metadata */
} Reading;

static bool fail(const Reading *in, const char *name, GError **error, const char *what)
{
    return lf_fail(error, LF_ERROR_FORMAT, "%s: %s: %s", in->file->path, name, what);
}

/* ---- entries --------------------------------------------------------------------------------- */

/* What an entry says; −1 of a count: nothing that can be used. */
typedef struct {
    char *type;
    int n_dims, n_offsets;
    int64_t shape[LF_FILE_MAX_DIMS], offsets[2];
} Entry;

/* The whole numbers of a list; returns how many, or −1 for more than `capacity` of them. */
static int take_numbers(LfJsonScan *scan, int64_t *values, int capacity)
{
    int n = 0;
    if (!lf_json_enter(scan, '['))
        return -1;
    for (; lf_json_next(scan); n = MIN(n + 1, capacity + 1)) {
        int64_t other;
        lf_json_take_int64(scan, n < capacity ? &values[n] : &other);
    }
    return n <= capacity ? n : -1;
}

static void take_member(LfJsonScan *scan, Entry *entry)
{
    if (lf_json_has_key(scan, "shape")) {
        entry->n_dims = take_numbers(scan, entry->shape, LF_FILE_MAX_DIMS);
    } else if (lf_json_has_key(scan, "data_offsets")) {
        entry->n_offsets = take_numbers(scan, entry->offsets, 2);
    } else if (lf_json_has_key(scan, "dtype") && lf_json_peek(scan) == '"') {
        lf_json_take_string(scan);
        g_free(entry->type);
        entry->type = g_strndup(scan->string->str, 64);
    } else {
        lf_json_skip(scan);
    }
}

static bool find_type(const char *name, LfType *type)
{
    for (int i = 0; name && i < LF_N_TYPES; i++) {
        if (strcmp(name, lf_type_name((LfType) i)) == 0) {
            *type = (LfType) i;
            return true;
        }
    }
    return false;
}

static bool add_entry(const Reading *in, const char *name, const Entry *entry, GError **error)
{
    LfFileTensor t = {.name = name, .n_dims = entry->n_dims};
    const int64_t *range = entry->offsets;
    if (in->scan.fault)
        return fail(in, name, error, in->scan.fault);
    memcpy(t.shape, entry->shape, sizeof t.shape);
    if (!find_type(entry->type, &t.type))
        return lf_fail(error, entry->type ? LF_ERROR_UNSUPPORTED : LF_ERROR_FORMAT,
                       "%s: %s: unknown type %s", in->file->path, name,
                       entry->type ? entry->type : "(none)");
    if (t.n_dims < 0 || !lf_shape_size(t.type, t.n_dims, t.shape, &t.size))
        return fail(in, name, error, "missing or invalid shape");
    if (entry->n_offsets != 2 || range[0] > range[1])
        return fail(in, name, error, "missing or invalid data_offsets");
    if ((guint64) range[1] > in->size)
        return fail(in, name, error, "its data is beyond the end of the file");
    if ((guint64) (range[1] - range[0]) != t.size)
        return fail(in, name, error, "its data_offsets and its shape differ in size");
    t.data = in->data + range[0];
    lf_tensor_file_add(in->file, &t);
    return true;
}

static bool take_tensor(Reading *in, const char *name, GError **error)
{
    Entry entry = {.n_dims = -1, .n_offsets = -1};
    if (in->file->tensors->len == MAX_TENSORS)
        return lf_fail(error, LF_ERROR_FORMAT, "%s: more than %d tensors", in->file->path,
                       MAX_TENSORS);
    if (lf_json_peek(&in->scan) != '{')
        return fail(in, name, error, "its entry is not an object");
    lf_json_enter(&in->scan, '{');
    while (lf_json_next(&in->scan))
        take_member(&in->scan, &entry);
    bool added = add_entry(in, name, &entry, error);
    g_free(entry.type);
    return added;
}

/* ---- header ---------------------------------------------------------------------------------- */

/* The texts of "__metadata__"; whatever else is there is of no use. */
static void take_metadata(Reading *in)
{
    if (lf_json_peek(&in->scan) != '{') {
        lf_json_skip(&in->scan);
        return;
    }
    lf_json_enter(&in->scan, '{');
    while (lf_json_next(&in->scan)) {
        if (lf_json_peek(&in->scan) != '"' || memchr(in->scan.key->str, 0, in->scan.key->len)) {
            lf_json_skip(&in->scan);
            continue;
        }
        g_autofree char *key = g_strdup(in->scan.key->str);
        if (!lf_json_take_string(&in->scan))
            return;
        gsize size = strlen(key) + in->scan.string->len + OF_TEXT;
        if (size > MAX_TEXT || size > MAX_TEXTS - in->texts)
            continue;
        in->texts += size;
        lf_tensor_file_add_metadata(in->file, key, in->scan.string->str);
    }
}

static bool take_header(Reading *in, GError **error)
{
    LfJsonScan *scan = &in->scan;
    if (lf_json_enter(scan, '{'))
        while (lf_json_next(scan)) {
            g_autofree char *name = g_strdup(scan->key->str);
            if (strlen(name) != scan->key->len)
                return fail(in, "the header", error, "a name with a character 0");
            if (strcmp(name, "__metadata__") == 0)
                take_metadata(in);
            else if (!take_tensor(in, name, error))
                return false;
        }
    return lf_json_end(scan) ||
           lf_fail(error, LF_ERROR_FORMAT, "%s: the header is not valid JSON: %s", in->file->path,
                   scan->fault);
}

bool lf_safetensors_read(LfTensorFile *file, GMappedFile *map, GError **error)
{
    const char *bytes = g_mapped_file_get_contents(map);
    gsize size = g_mapped_file_get_length(map);
    Reading in = {.file = file};
    guint64 n = 0;
    file->format = "safetensors";
    if (size >= 8)
        memcpy(&n, bytes, 8);
    n = GUINT64_FROM_LE(n);
    if (size < 8 || n > size - 8)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: a header of %" G_GUINT64_FORMAT " bytes in a file of %" G_GSIZE_FORMAT
                       ": the file is cut off or not safetensors",
                       file->path, n, size);
    if (n > MAX_HEADER)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: a header of %.1f MB, more than the format's 100 MB: leave its metadata "
                       "out",
                       file->path, 1e-6 * (double) n);
    file->head_size = n;
    in.data = bytes + 8 + n;
    in.size = size - 8 - n;
    lf_json_scan_init(&in.scan, bytes + 8, n);
    bool read =
        take_header(&in, error) && lf_tensors_check_overlap(file->path, file->tensors, error);
    lf_json_scan_clear(&in.scan);
    return read;
}
