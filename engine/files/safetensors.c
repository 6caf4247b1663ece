/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * safetensors: the header's length n (u64, little-endian), n bytes of JSON, then the data. Each
 * entry names a type, a shape and the bytes [begin, end) of its data.
 */
#include "json.h"
#include "tensor_list.h"

#include <string.h>

enum { MAX_HEADER = 8 << 20, MAX_SHARDS = 1000 }; /* 1000 tensors take about 100 KiB of header */

typedef struct {
    const char *path; /* of this file, not of an index that named it */
    const char *data;
    gsize size; /* bytes of data */
} Reading;

static bool fail(const Reading *in, const char *name, GError **error, const char *what)
{
    return lf_fail(error, LF_ERROR_FORMAT, "%s: %s: %s", in->path, name, what);
}

/* The integers of a JSON array; returns how many, or −1 when it is not an array of integers. */
static int numbers(JsonObject *entry, const char *key, int64_t *values, int capacity)
{
    JsonNode *node = json_object_get_member(entry, key);
    if (!node || !JSON_NODE_HOLDS_ARRAY(node))
        return -1;
    JsonArray *array = json_node_get_array(node);
    int n = (int) MIN(json_array_get_length(array), (guint) capacity + 1);
    for (int i = 0; i < n && n <= capacity; i++) {
        JsonNode *element = json_array_get_element(array, (guint) i);
        if (!JSON_NODE_HOLDS_VALUE(element) || json_node_get_value_type(element) != G_TYPE_INT64 ||
            (values[i] = json_node_get_int(element)) < 0)
            return -1;
    }
    return n <= capacity ? n : -1;
}

static bool type_of(JsonObject *entry, LfType *type, const char **name)
{
    JsonNode *node = json_object_get_member(entry, "dtype");
    *name = node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
    for (int i = 0; *name && i < LF_N_TYPES; i++) {
        if (strcmp(*name, lf_type_name((LfType) i)) == 0) {
            *type = (LfType) i;
            return true;
        }
    }
    return false;
}

static bool read_entry(const Reading *in, const char *name, JsonNode *node, LfFileTensor *t,
                       GError **error)
{
    const char *type;
    int64_t range[2];
    *t = (LfFileTensor){.name = name};
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return fail(in, name, error, "its entry is not an object");
    JsonObject *entry = json_node_get_object(node);
    if (!type_of(entry, &t->type, &type))
        return lf_fail(error, type ? LF_ERROR_UNSUPPORTED : LF_ERROR_FORMAT,
                       "%s: %s: unknown type %s", in->path, name, type ? type : "(none)");
    t->n_dims = numbers(entry, "shape", t->shape, LF_FILE_MAX_DIMS);
    if (t->n_dims < 0 || !lf_shape_size(t->type, t->n_dims, t->shape, &t->size))
        return fail(in, name, error, "missing or invalid shape");
    if (numbers(entry, "data_offsets", range, 2) != 2 || range[0] > range[1])
        return fail(in, name, error, "missing or invalid data_offsets");
    if ((guint64) range[1] > in->size)
        return fail(in, name, error, "its data is beyond the end of the file");
    if ((guint64) (range[1] - range[0]) != t->size)
        return fail(in, name, error, "its data_offsets and its shape differ in size");
    t->data = in->data + range[0];
    return true;
}

static int by_data(const void *a, const void *b)
{
    const LfFileTensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size);
}

static bool check_overlap(const Reading *in, GArray *tensors, GError **error)
{
    g_array_sort(tensors, by_data);
    for (guint i = 1; i < tensors->len; i++) {
        const LfFileTensor *t = &g_array_index(tensors, LfFileTensor, i);
        if ((const char *) t[-1].data + t[-1].size > (const char *) t->data)
            return fail(in, t->name, error, "its data overlaps another tensor's");
    }
    return true;
}

/* The texts of "__metadata__"; whatever else is there is of no use. */
static void read_metadata(LfTensorFile *file, JsonObject *header)
{
    JsonNode *node = json_object_get_member(header, "__metadata__");
    if (!node || !JSON_NODE_HOLDS_OBJECT(node))
        return;
    JsonObjectIter iter;
    const char *key;
    json_object_iter_init(&iter, json_node_get_object(node));
    while (json_object_iter_next(&iter, &key, &node))
        if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
            lf_tensor_file_add_metadata(file, key, json_node_get_string(node));
}

/* Every tensor of one safetensors file, checked; the names belong to `header`. */
static bool read_tensors(Reading *in, GMappedFile *map, JsonNode **header, GArray *tensors,
                         GError **error)
{
    const char *bytes = g_mapped_file_get_contents(map);
    gsize size = g_mapped_file_get_length(map);
    guint64 n = 0;
    if (size >= 8)
        memcpy(&n, bytes, 8);
    n = GUINT64_FROM_LE(n);
    if (size >= 8 && n <= size - 8 && n > MAX_HEADER)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "%s: a header of %.1f MB, more than %d MiB: leave its metadata out",
                       in->path, 1e-6 * (double) n, MAX_HEADER >> 20);
    if (size < 8 || n > size - 8)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: a header of %" G_GUINT64_FORMAT " bytes in a file of %" G_GSIZE_FORMAT
                       ": the file is cut off or not safetensors",
                       in->path, n, size);
    in->data = bytes + 8 + n;
    in->size = size - 8 - n;
    g_autofree char *what = g_strdup_printf("%s: the header", in->path);
    *header = lf_json_parse(bytes + 8, n, what, error);
    if (!*header)
        return false;
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;
    json_object_iter_init(&iter, json_node_get_object(*header));
    while (json_object_iter_next(&iter, &name, &node)) {
        LfFileTensor t;
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!read_entry(in, name, node, &t, error))
            return false;
        g_array_append_val(tensors, t);
    }
    return check_overlap(in, tensors, error);
}

/* Adds the tensors of one file; with `weight_map`, only those that it lists for `shard`. */
static bool read_file(LfTensorFile *file, const char *path, GMappedFile *map,
                      JsonObject *weight_map, const char *shard, GError **error)
{
    g_autoptr(JsonNode) header = NULL;
    g_autoptr(GArray) tensors = g_array_new(false, false, sizeof(LfFileTensor));
    Reading in = {.path = path};
    if (!read_tensors(&in, map, &header, tensors, error))
        return false;
    read_metadata(file, json_node_get_object(header));
    for (guint i = 0; i < tensors->len; i++) {
        const LfFileTensor *t = &g_array_index(tensors, LfFileTensor, i);
        const char *home =
            weight_map ? json_object_get_string_member_with_default(weight_map, t->name, NULL)
                       : shard;
        if (g_strcmp0(home, shard) == 0)
            lf_tensor_file_add(file, t);
    }
    return true;
}

bool lf_safetensors_read(LfTensorFile *file, GMappedFile *map, GError **error)
{
    file->format = "safetensors";
    return read_file(file, file->path, map, NULL, NULL, error);
}

/* The names of the shards. They are in the index's folder: a name that leads elsewhere is refused.
 * */
static bool list_shards(LfTensorFile *file, JsonObject *weight_map, GHashTable *shards,
                        GError **error)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;
    json_object_iter_init(&iter, weight_map);
    while (json_object_iter_next(&iter, &name, &node)) {
        const char *shard = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
        if (!shard || !*shard || strpbrk(shard, "/\\") || *shard == '.')
            return lf_fail(
                error, LF_ERROR_FORMAT,
                "%s: weight_map: %s: \"%s\" is not the name of a file in the same folder",
                file->path, name, shard ? shard : "(none)");
        g_hash_table_add(shards, (gpointer) shard);
    }
    if (g_hash_table_size(shards) > MAX_SHARDS)
        return lf_fail(error, LF_ERROR_FORMAT, "%s: more than %d shards", file->path, MAX_SHARDS);
    return true;
}

static bool check_complete(LfTensorFile *file, JsonObject *weight_map, GError **error)
{
    g_autoptr(GHashTable) found = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < file->tensors->len; i++)
        g_hash_table_add(found, (gpointer) g_array_index(file->tensors, LfFileTensor, i).name);
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;
    json_object_iter_init(&iter, weight_map);
    while (json_object_iter_next(&iter, &name, &node)) {
        if (!g_hash_table_contains(found, name))
            return lf_fail(error, LF_ERROR_FORMAT, "%s: %s: not in %s as the index says",
                           file->path, name, json_node_get_string(node));
    }
    return true;
}

bool lf_safetensors_read_index(LfTensorFile *file, GMappedFile *map, GError **error)
{
    gsize size = g_mapped_file_get_length(map);
    g_autoptr(JsonNode) root = NULL;
    g_autoptr(GHashTable) shards = g_hash_table_new(g_str_hash, g_str_equal);
    g_autofree char *folder = g_path_get_dirname(file->path);
    file->format = "safetensors";
    if (size > MAX_HEADER)
        return lf_fail(error, LF_ERROR_FORMAT, "%s: too long for an index", file->path);
    root = lf_json_parse(g_mapped_file_get_contents(map), size, file->path, error);
    if (!root)
        return false;
    JsonNode *node = json_object_get_member(json_node_get_object(root), "weight_map");
    if (!node || !JSON_NODE_HOLDS_OBJECT(node))
        return lf_fail(error, LF_ERROR_FORMAT, "%s: not a safetensors index: no weight_map",
                       file->path);
    JsonObject *weight_map = json_node_get_object(node);
    if (!list_shards(file, weight_map, shards, error))
        return false;
    GHashTableIter iter;
    gpointer shard;
    g_hash_table_iter_init(&iter, shards);
    while (g_hash_table_iter_next(&iter, &shard, NULL)) {
        g_autofree char *path = g_build_filename(folder, shard, NULL);
        GMappedFile *part = lf_tensor_file_map(file, path, error);
        if (part && g_mapped_file_get_length(part) >= 4 &&
            memcmp(g_mapped_file_get_contents(part), "PK\3\4", 4) == 0)
            return lf_fail(
                error, LF_ERROR_UNSUPPORTED,
                "%s: a shard in PyTorch's format; only safetensors shards are read: save "
                "them as such, or as one file",
                path);
        if (!part || !read_file(file, path, part, weight_map, shard, error))
            return false;
    }
    return check_complete(file, weight_map, error);
}
