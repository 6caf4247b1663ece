/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * "GGUF", the version (U32), the numbers of tensors and of metadata (U64 each), then the metadata: a
 * key, a type (U32), a value. A text is its length (U64) and its bytes; an array is the type of its
 * elements (U32), their number (U64) and the elements.
 */
#include "gguf.h"

#include <string.h>

enum {
    MAX_HEADER = 64 << 20, /* a vocabulary of 256k tokens takes 7 MB */
    MAX_NAME = 1024,
    MAX_VALUES = 1 << 16,
    MAX_NESTING = 4
};

/* Bytes of a value; 0: not always the same. */
static const uint8_t sizes[LF_GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static int by_text(gconstpointer a, gconstpointer b, gpointer unused)
{
    (void) unused;
    return strcmp(a, b);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

const uint8_t *lf_gguf_take(LfGguf *g, uint64_t size, GError **error)
{
    const uint8_t *bytes = g->file.data + g->position;
    if (size > g->file.size - g->position) {
        lf_fail(error, LF_ERROR_FORMAT,
                "%s: the file is cut off: its %" G_GSIZE_FORMAT
                " bytes end within its header; download it again",
                g->path, g->file.size);
        return NULL;
    }
    if (size > MAX_HEADER - g->position) {
        lf_fail(error, LF_ERROR_UNSUPPORTED,
                "%s: a header of more than %d MiB, which is no model's", g->path, MAX_HEADER >> 20);
        return NULL;
    }
    g->position += size;
    return bytes;
}

/* A number of `size` bytes. */
static uint64_t number_at(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t) bytes[i] << 8 * i;
    return value;
}

bool lf_gguf_take_u32(LfGguf *g, uint32_t *value, GError **error)
{
    const uint8_t *bytes = lf_gguf_take(g, 4, error);
    *value = bytes ? (uint32_t) number_at(bytes, 4) : 0;
    return bytes != NULL;
}

bool lf_gguf_take_u64(LfGguf *g, uint64_t *value, GError **error)
{
    const uint8_t *bytes = lf_gguf_take(g, 8, error);
    *value = bytes ? number_at(bytes, 8) : 0;
    return bytes != NULL;
}

static bool is_printable(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((guchar) text[i] < ' ' || text[i] == 0x7f)
            return false;
    return g_utf8_validate(text, (gssize) size, NULL);
}

char *lf_gguf_take_name(LfGguf *g, GError **error)
{
    uint64_t size;
    const uint8_t *bytes = NULL;
    if (lf_gguf_take_u64(g, &size, error))
        bytes = lf_gguf_take(g, size, error);
    if (!bytes)
        return NULL;
    if (size == 0 || size > MAX_NAME || !is_printable((const char *) bytes, size)) {
        lf_fail(error, LF_ERROR_FORMAT,
                "%s: a name in its header is no text: the file is damaged; download it again",
                g->path);
        return NULL;
    }
    return g_strndup((const char *) bytes, size);
}

/* ---- metadata -------------------------------------------------------------------------------- */

static bool refuse_type(const LfGguf *g, const char *key, uint32_t type, GError **error)
{
    return lf_fail(error, LF_ERROR_FORMAT,
                   "%s: metadata %s: %u is no type: the file is damaged; download it again",
                   g->path, key, type);
}

/* Goes on behind `count` values of a type. The time it takes is that of reading them: each has at
 * least a byte. */
static bool skip(LfGguf *g, const char *key, uint32_t type, uint64_t count, int depth,
                 GError **error)
{
    if (type >= LF_GGUF_N_TYPES)
        return refuse_type(g, key, type, error);
    if (sizes[type])
        return lf_gguf_take(g, count > G_MAXUINT64 / 8 ? G_MAXUINT64 : count * sizes[type],
                            error) != NULL;
    if (type == LF_GGUF_ARRAY && depth == 0)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "%s: metadata %s: arrays in more than %d levels", g->path, key, MAX_NESTING);
    for (bool skipped = true; count > 0; count--) {
        uint32_t inner;
        uint64_t size;
        if (type == LF_GGUF_TEXT)
            skipped = lf_gguf_take_u64(g, &size, error) && lf_gguf_take(g, size, error);
        else
            skipped = lf_gguf_take_u32(g, &inner, error) && lf_gguf_take_u64(g, &size, error) &&
                      skip(g, key, inner, size, depth - 1, error);
        if (!skipped)
            return false;
    }
    return true;
}

static bool read_value(LfGguf *g, const char *key, LfGgufValue *value, GError **error)
{
    uint32_t type;
    value->count = 1;
    if (!lf_gguf_take_u32(g, &type, error))
        return false;
    value->is_array = type == LF_GGUF_ARRAY;
    if (value->is_array &&
        (!lf_gguf_take_u32(g, &type, error) || !lf_gguf_take_u64(g, &value->count, error)))
        return false;
    size_t start = g->position;
    value->type = (LfGgufType) type;
    if (!skip(g, key, type, value->count, MAX_NESTING - 1, error))
        return false;
    value->content = (LfSpan){g->file.data + start, g->position - start};
    return true;
}

static bool read_entry(LfGguf *g, GError **error)
{
    LfGgufValue value;
    g_autofree char *key = lf_gguf_take_name(g, error);
    if (!key || !read_value(g, key, &value, error))
        return false;
    if (g_tree_lookup(g->values, key))
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: metadata %s is there twice: the file is damaged", g->path, key);
    g_tree_insert(g->values, g_steal_pointer(&key), g_memdup2(&value, sizeof value));
    return true;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* The version's two high bytes are 0, but in the other byte order. */
static bool check_version(const LfGguf *g, uint32_t version, GError **error)
{
    enum { OLDEST = 2, NEWEST = 3 };
    if (version >= OLDEST && version <= NEWEST)
        return true;
    if ((version & 0xffff) == 0)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "%s: a GGUF file in big-endian order: convert it with llama.cpp's "
                       "gguf_convert_endian.py, or download one in little-endian order",
                       g->path);
    return lf_fail(error, LF_ERROR_UNSUPPORTED,
                   "%s: GGUF version %u; versions 2 and 3 are supported: %s", g->path, version,
                   version < OLDEST ? "convert the model again with today's tools"
                                    : "use a file in an older version, or safetensors");
}

static bool check_split(const LfGguf *g, GError **error)
{
    int64_t parts = lf_gguf_integer(g, "split.count", 0);
    return parts <= 1 || lf_fail(error, LF_ERROR_UNSUPPORTED,
                                 "%s: part %" G_GINT64_FORMAT
                                 " of a GGUF file that was split into %" G_GINT64_FORMAT
                                 " (…-00001-of-%05" G_GINT64_FORMAT
                                 ".gguf): join them with llama.cpp's llama-gguf-split --merge",
                                 g->path, lf_gguf_integer(g, "split.no", 0) + 1, parts, parts);
}

bool lf_gguf_open(LfGguf *g, const char *path, LfSpan file, GError **error)
{
    uint32_t version;
    uint64_t n_values;
    *g = (LfGguf){.path = path, .file = file};
    g->values = g_tree_new_full(by_text, NULL, g_free, g_free);
    if (!lf_gguf_take(g, 4, error) || !lf_gguf_take_u32(g, &version, error) ||
        !check_version(g, version, error) || !lf_gguf_take_u64(g, &g->n_tensors, error) ||
        !lf_gguf_take_u64(g, &n_values, error))
        return false;
    if (n_values > MAX_VALUES)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: %" G_GUINT64_FORMAT " entries of metadata: the file is damaged, or not "
                       "GGUF",
                       path, n_values);
    for (; n_values > 0; n_values--)
        if (!read_entry(g, error))
            return false;
    return check_split(g, error);
}

void lf_gguf_clear(LfGguf *g)
{
    g_clear_pointer(&g->values, g_tree_unref);
}

/* ---- values ---------------------------------------------------------------------------------- */

static const LfGgufValue *single(const LfGguf *g, const char *key)
{
    const LfGgufValue *value = g_tree_lookup(g->values, key);
    return value && !value->is_array ? value : NULL;
}

bool lf_gguf_text(const LfGguf *g, const char *key, LfSpan *text)
{
    const LfGgufValue *value = single(g, key);
    if (!value || value->type != LF_GGUF_TEXT)
        return false;
    *text = (LfSpan){value->content.data + 8, value->content.size - 8};
    return true;
}

int64_t lf_gguf_integer(const LfGguf *g, const char *key, int64_t absent)
{
    const LfGgufValue *value = single(g, key);
    uint64_t bits =
        value && sizes[value->type] ? number_at(value->content.data, sizes[value->type]) : 0;
    switch (value ? value->type : LF_GGUF_TEXT) {
    case LF_GGUF_U8:
    case LF_GGUF_U16:
    case LF_GGUF_U32:
    case LF_GGUF_I64:
        return (int64_t) bits;
    case LF_GGUF_I8:
        return (int8_t) bits;
    case LF_GGUF_I16:
        return (int16_t) bits;
    case LF_GGUF_I32:
        return (int32_t) bits;
    case LF_GGUF_U64:
        return bits <= G_MAXINT64 ? (int64_t) bits : absent;
    default:
        return absent;
    }
}

bool lf_gguf_flag(const LfGguf *g, const char *key, bool absent)
{
    const LfGgufValue *value = single(g, key);
    return value && value->type == LF_GGUF_BOOL ? value->content.data[0] != 0 : absent;
}

const LfGgufValue *lf_gguf_array(const LfGguf *g, const char *key, LfGgufType type)
{
    const LfGgufValue *value = g_tree_lookup(g->values, key);
    return value && value->is_array && value->type == type ? value : NULL;
}

int64_t lf_gguf_array_integer(const LfGgufValue *array, size_t index)
{
    size_t size = sizes[array->type];
    g_return_val_if_fail(index < array->count && (size == 4 || size == 8), -1);
    uint64_t bits = number_at(array->content.data + index * size, size);
    int64_t value = array->type == LF_GGUF_I32 ? (int32_t) bits : (int64_t) bits;
    return MAX(value, -1);
}
