/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The tensors of a GGUF file. Each is listed with its name, its number of dimensions (U32), the
 * dimensions (U64 each, the fastest one first), its type (U32) and where it begins in the data (U64),
 * a multiple of the alignment. The data begin behind the list, at a multiple of the alignment.
 */
#include "gguf.h"

#include "gguf_blocks.h"
#include "tensor_list.h"

#include <string.h>

enum { MAX_TENSORS = 1 << 16, MAX_TEXT = 4096, ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 20 };

#define OTHER_TYPE "use the same model in Q8_0, in one of Q2_K to Q6_K, or in F16 or BF16"

/* By the format's numbers. Types that were given up again have none. */
static const char *const types[] = {
    "F32",     "F16",   "Q4_0",   "Q4_1",  NULL,    NULL,     "Q5_0", "Q5_1",    "Q8_0",
    "Q8_1",    "Q2_K",  "Q3_K",   "Q4_K",  "Q5_K",  "Q6_K",   "Q8_K", "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",   "I16",     "I32",
    "I64",     "F64",   "IQ1_M",  "BF16",  NULL,    NULL,     NULL,   "TQ1_0",   "TQ2_0",
    NULL,      NULL,    NULL,     "MXFP4", "NVFP4",
};

typedef struct {
    LfFileTensor tensor;
    uint64_t offset; /* in the data */
} Entry;

typedef struct {
    LfGguf gguf;
    uint64_t alignment;
    GArray *entries;
    GStringChunk *names;
} Reading;

static bool fail(const Reading *in, const char *name, GError **error, const char *what)
{
    return lf_fail(error, LF_ERROR_FORMAT, "%s: %s: %s", in->gguf.path, name, what);
}

/* ---- the list -------------------------------------------------------------------------------- */

static bool set_type(const Reading *in, LfFileTensor *t, uint32_t id, GError **error)
{
    const char *name = id < G_N_ELEMENTS(types) ? types[id] : NULL;
    if (!name)
        return lf_fail(error, LF_ERROR_UNSUPPORTED, "%s: %s: unknown type %u: " OTHER_TYPE,
                       in->gguf.path, t->name, id);
    t->coding = lf_gguf_coding(name);
    if (t->coding) {
        t->type = LF_U8;
        return true;
    }
    for (int type = 0; type < LF_N_TYPES; type++)
        if (strcmp(lf_type_name((LfType) type), name) == 0) {
            t->type = (LfType) type;
            return true;
        }
    return lf_fail(error, LF_ERROR_UNSUPPORTED, "%s: %s: its type %s is not supported: " OTHER_TYPE,
                   in->gguf.path, t->name, name);
}

static bool set_size(const Reading *in, LfFileTensor *t, GError **error)
{
    size_t bytes;
    if (!lf_shape_size(LF_F64, t->n_dims, t->shape, &bytes) || bytes == 0)
        return fail(in, t->name, error, "invalid shape: the file is damaged; download it again");
    size_t count = bytes / lf_type_size(LF_F64);
    if (!t->coding) {
        t->size = count * lf_type_size(t->type);
        return true;
    }
    int64_t row = t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1;
    if (row % t->coding->block != 0)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: %s: rows of %" G_GINT64_FORMAT
                       " numbers are no whole blocks of %s (%d)",
                       in->gguf.path, t->name, row, t->coding->name, t->coding->block);
    t->size = count / (size_t) t->coding->block * t->coding->size;
    return true;
}

static bool read_shape(Reading *in, LfFileTensor *t, GError **error)
{
    uint32_t n_dims;
    uint64_t dimension;
    if (!lf_gguf_take_u32(&in->gguf, &n_dims, error))
        return false;
    if (n_dims > LF_FILE_MAX_DIMS)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: %s: %u dimensions: the file is damaged; download it again",
                       in->gguf.path, t->name, n_dims);
    t->n_dims = (int) n_dims;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        if (!lf_gguf_take_u64(&in->gguf, &dimension, error))
            return false;
        t->shape[i] = (int64_t) MIN(dimension, G_MAXINT64);
    }
    return true;
}

static bool read_entry(Reading *in, GError **error)
{
    Entry entry = {0};
    LfFileTensor *t = &entry.tensor;
    uint32_t type;
    g_autofree char *name = lf_gguf_take_name(&in->gguf, error);
    t->name = name ? g_string_chunk_insert(in->names, name) : NULL;
    if (!name || !read_shape(in, t, error) || !lf_gguf_take_u32(&in->gguf, &type, error) ||
        !lf_gguf_take_u64(&in->gguf, &entry.offset, error) || !set_type(in, t, type, error) ||
        !set_size(in, t, error))
        return false;
    if (entry.offset % in->alignment != 0)
        return fail(in, t->name, error, "its data is not aligned: the file is damaged");
    g_array_append_val(in->entries, entry);
    return true;
}

static bool read_list(Reading *in, GError **error)
{
    in->alignment = (uint64_t) lf_gguf_integer(&in->gguf, "general.alignment", ALIGNMENT);
    if (in->alignment < 1 || in->alignment > MAX_ALIGNMENT ||
        (in->alignment & (in->alignment - 1)) != 0)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: metadata general.alignment is no power of two up to %d", in->gguf.path,
                       MAX_ALIGNMENT);
    if (in->gguf.n_tensors > MAX_TENSORS)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: %" G_GUINT64_FORMAT " tensors: the file is damaged, or not GGUF",
                       in->gguf.path, in->gguf.n_tensors);
    for (uint64_t i = 0; i < in->gguf.n_tensors; i++)
        if (!read_entry(in, error))
            return false;
    return true;
}

/* ---- the data -------------------------------------------------------------------------------- */

/* A converter may keep the shape of a tensor that the format could not list:
 * "comfy.gguf.orig_shape." and its name, the slowest dimension first. */
static bool restore_shape(const Reading *in, LfFileTensor *t, GError **error)
{
    g_autofree char *key = g_strconcat("comfy.gguf.orig_shape.", t->name, NULL);
    const LfGgufValue *shape = lf_gguf_array(&in->gguf, key, LF_GGUF_I32);
    size_t bytes, now;
    if (!shape)
        return true;
    lf_shape_size(LF_F64, t->n_dims, t->shape, &bytes);
    bool fits = shape->count <= LF_FILE_MAX_DIMS;
    t->n_dims = fits ? (int) shape->count : 0;
    for (int i = 0; i < t->n_dims; i++)
        t->shape[i] = lf_gguf_array_integer(shape, (size_t) i);
    if (!fits || !lf_shape_size(LF_F64, t->n_dims, t->shape, &now) || now != bytes)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: metadata %s is no shape of as many numbers as the tensor has",
                       in->gguf.path, key);
    return true;
}

/* Adds the tensors, with where their data are. */
static bool place(const Reading *in, GArray *tensors, GError **error)
{
    const LfSpan *file = &in->gguf.file;
    size_t start = (in->gguf.position + in->alignment - 1) & ~(size_t) (in->alignment - 1);
    size_t size = start < file->size ? file->size - start : 0;
    for (guint i = 0; i < in->entries->len; i++) {
        Entry *entry = &g_array_index(in->entries, Entry, i);
        LfFileTensor *t = &entry->tensor;
        if (entry->offset > size || t->size > size - entry->offset)
            return fail(in, t->name, error,
                        "its data is beyond the end of the file: the file is cut off; download it "
                        "again");
        t->data = file->data + start + entry->offset;
        if (!restore_shape(in, t, error))
            return false;
        g_array_append_val(tensors, *t);
    }
    return lf_tensors_check_overlap(in->gguf.path, tensors, error);
}

/* ---- the file -------------------------------------------------------------------------------- */

/* Texts of a line; whatever else there is, is of no use as a text. */
static gboolean add_text(gpointer key, gpointer value, gpointer file)
{
    const LfGgufValue *v = value;
    if (v->is_array || v->type != LF_GGUF_TEXT || v->content.size - 8 > MAX_TEXT)
        return false;
    g_autofree char *text = g_strndup((const char *) v->content.data + 8, v->content.size - 8);
    if (g_utf8_validate(text, -1, NULL))
        lf_tensor_file_add_metadata(file, key, text);
    return false;
}

bool lf_gguf_read(LfTensorFile *file, GMappedFile *map, GError **error)
{
    LfSpan bytes = {(const uint8_t *) g_mapped_file_get_contents(map),
                    g_mapped_file_get_length(map)};
    Reading in = {.entries = g_array_new(false, false, sizeof(Entry)),
                  .names = g_string_chunk_new(4096)};
    g_autoptr(GArray) tensors = g_array_new(false, false, sizeof(LfFileTensor));
    bool read = lf_gguf_open(&in.gguf, file->path, bytes, error) && read_list(&in, error) &&
                place(&in, tensors, error);
    file->format = "GGUF";
    file->head_size = in.gguf.position;
    for (guint i = 0; read && i < tensors->len; i++)
        lf_tensor_file_add(file, &g_array_index(tensors, LfFileTensor, i));
    if (read)
        g_tree_foreach(in.gguf.values, add_text, file);
    lf_gguf_clear(&in.gguf);
    g_array_unref(in.entries);
    g_string_chunk_free(in.names);
    return read;
}
