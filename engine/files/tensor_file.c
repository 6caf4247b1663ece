/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "foreign.h"
#include "map.h"
#include "tensor_list.h"

#include <string.h>

static int by_text(gconstpointer a, gconstpointer b, gpointer unused)
{
    (void) unused;
    return strcmp(a, b);
}

static LfTensorFile *file_new(const char *path)
{
    LfTensorFile *file = g_new0(LfTensorFile, 1);
    g_atomic_ref_count_init(&file->refs);
    file->path = g_strdup(path);
    file->maps = g_ptr_array_new_with_free_func((GDestroyNotify) g_mapped_file_unref);
    file->shards = g_ptr_array_new_with_free_func((GDestroyNotify) lf_tensor_file_unref);
    file->copies = g_ptr_array_new_with_free_func(g_free);
    file->names = g_string_chunk_new(4096);
    file->tensors = g_array_new(false, false, sizeof(LfFileTensor));
    file->unreadable = g_tree_new_full(by_text, NULL, NULL, NULL);
    file->metadata = g_tree_new_full(by_text, NULL, g_free, g_free);
    return file;
}

LfTensorFile *lf_tensor_file_ref(LfTensorFile *file)
{
    g_atomic_ref_count_inc(&file->refs);
    return file;
}

void lf_tensor_file_unref(LfTensorFile *file)
{
    if (!file || !g_atomic_ref_count_dec(&file->refs))
        return;
    g_tree_unref(file->metadata);
    g_tree_unref(file->unreadable);
    g_array_unref(file->tensors);
    g_string_chunk_free(file->names);
    g_ptr_array_unref(file->copies);
    g_ptr_array_unref(file->shards);
    g_ptr_array_unref(file->maps);
    g_free(file->path);
    g_free(file);
}

GMappedFile *lf_tensor_file_map(LfTensorFile *file, const char *path, GError **error)
{
    GMappedFile *map = lf_map_file(path, error);
    if (map)
        g_ptr_array_add(file->maps, map);
    return map;
}

void lf_tensor_file_add(LfTensorFile *file, const LfFileTensor *tensor)
{
    LfFileTensor copy = *tensor;
    copy.name = g_string_chunk_insert(file->names, tensor->name);
    g_array_append_val(file->tensors, copy);
}

void lf_tensor_file_add_unreadable(LfTensorFile *file, const char *name, const char *what)
{
    const LfFileTensor t = {.name = name, .type = LF_U8, .n_dims = 1, .data = ""};
    lf_tensor_file_add(file, &t);
    name = g_array_index(file->tensors, LfFileTensor, file->tensors->len - 1).name;
    g_tree_insert(file->unreadable, (gpointer) name,
                  g_string_chunk_insert_const(file->names, what));
}

void lf_tensor_file_add_metadata(LfTensorFile *file, const char *key, const char *text)
{
    if (!g_tree_lookup(file->metadata, key))
        g_tree_insert(file->metadata, g_strdup(key), g_strdup(text));
}

bool lf_shape_size(LfType type, int n_dims, const int64_t *shape, size_t *size)
{
    *size = lf_type_size(type);
    bool fits = n_dims >= 0 && n_dims <= LF_FILE_MAX_DIMS;
    for (int i = 0; fits && i < n_dims; i++)
        fits = shape[i] >= 0 && !__builtin_mul_overflow(*size, (size_t) shape[i], size);
    return fits && *size <= INT64_MAX;
}

static int by_data(const void *a, const void *b)
{
    const LfFileTensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size);
}

bool lf_tensors_check_overlap(const char *path, GArray *tensors, GError **error)
{
    g_array_sort(tensors, by_data);
    for (guint i = 1; i < tensors->len; i++) {
        const LfFileTensor *t = &g_array_index(tensors, LfFileTensor, i);
        if ((const char *) t[-1].data + t[-1].size > (const char *) t->data)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: %s: its data overlaps another tensor's",
                           path, t->name);
    }
    return true;
}

typedef bool (*Reader)(LfTensorFile *file, GMappedFile *map, GError **error);

/* A safetensors file begins with a length far below 2^32, so it has zero bytes where JSON has
 * text. */
static bool looks_like_json(const char *bytes, gsize size)
{
    gsize start = 0;
    while (start < size && g_ascii_isspace(bytes[start]))
        start++;
    return start < size && bytes[start] == '{' && !memchr(bytes, 0, MIN(size, 8));
}

static Reader reader_of(const char *bytes, gsize size)
{
    if (size >= 4 && memcmp(bytes, "GGUF", 4) == 0)
        return lf_gguf_read;
    if (size >= 4 && memcmp(bytes, "PK\3\4", 4) == 0)
        return lf_pytorch_read;
    if (lf_torch_stream_begins(bytes, size))
        return lf_torch_stream_read;
    if (looks_like_json(bytes, size))
        return lf_sharded_read;
    if (size > 8 && bytes[8] == '{')
        return lf_safetensors_read;
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const LfFileTensor *) a)->name, ((const LfFileTensor *) b)->name);
}

static bool sort(LfTensorFile *file, GError **error)
{
    g_array_sort(file->tensors, by_name);
    for (guint i = 1; i < file->tensors->len; i++) {
        const LfFileTensor *t = &g_array_index(file->tensors, LfFileTensor, i);
        if (strcmp(t[-1].name, t->name) == 0)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: two tensors named %s", file->path, t->name);
    }
    return true;
}

static bool refuse(const LfTensorFile *file, const char *bytes, gsize size, GError **error)
{
    g_autofree char *what = lf_foreign_file(bytes, size, LF_WANTED_WEIGHTS);
    return lf_fail(error, LF_ERROR_FORMAT, "%s: %s", file->path,
                   what ? what : "it is nothing that is known: give " LF_WANTED_WEIGHTS);
}

static LfTensorFile *open_file(const char *path, bool shard, GError **error)
{
    LfTensorFile *file = file_new(path);
    GMappedFile *map = lf_tensor_file_map(file, path, error);
    const char *bytes = map ? g_mapped_file_get_contents(map) : NULL;
    gsize size = map ? g_mapped_file_get_length(map) : 0;
    Reader read = map ? reader_of(bytes, size) : NULL;
    bool good = map != NULL;
    if (good && shard && read == lf_sharded_read)
        good =
            lf_fail(error, LF_ERROR_FORMAT, "%s: JSON where a shard's weights are expected", path);
    else if (good && !read)
        good = refuse(file, bytes, size, error);
    if (good && read(file, map, error) && sort(file, error))
        return file;
    lf_tensor_file_unref(file);
    return NULL;
}

LfTensorFile *lf_tensor_file_open(const char *path, GError **error)
{
    return open_file(path, false, error);
}

LfTensorFile *lf_tensor_file_open_shard(const char *path, GError **error)
{
    return open_file(path, true, error);
}

const char *lf_tensor_file_path(const LfTensorFile *file)
{
    return file->path;
}

const char *lf_tensor_file_format(const LfTensorFile *file)
{
    return file->format;
}

size_t lf_tensor_file_count(const LfTensorFile *file)
{
    return file->tensors->len;
}

const LfFileTensor *lf_tensor_file_nth(const LfTensorFile *file, size_t index)
{
    g_return_val_if_fail(index < file->tensors->len, NULL);
    return &g_array_index(file->tensors, LfFileTensor, index);
}

const LfFileTensor *lf_tensor_file_find(const LfTensorFile *file, const char *name)
{
    LfFileTensor wanted = {.name = name};
    return bsearch(&wanted, file->tensors->data, file->tensors->len, sizeof wanted, by_name);
}

const char *lf_tensor_file_unreadable(const LfTensorFile *file, const char *name)
{
    return g_tree_lookup(file->unreadable, name);
}

const char *lf_tensor_file_metadata(const LfTensorFile *file, const char *key)
{
    return g_tree_lookup(file->metadata, key);
}

char *lf_shape_text(int n_dims, const int64_t *shape)
{
    GString *text = g_string_new("[");
    for (int i = 0; i < n_dims; i++)
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT, i ? ", " : "", shape[i]);
    return g_string_free(g_string_append_c(text, ']'), false);
}
