/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The index of a sharded set, {"weight_map": {tensor: file}}: of safetensors or of PyTorch's files,
 * which are beside it.
 */
#include "foreign.h"
#include "json_scan.h"
#include "tensor_list.h"

#include <glib/gstdio.h>
#include <string.h>

/* Bytes of the index, and of all that has to be read to know the tensors of its shards. */
enum { MAX_INDEX = 8 << 20, MAX_SHARDS = 1000, MAX_HEADS = 200000000 };

/* A tensor, and where the index says that it is. */
typedef struct {
    const char *name, *shard;
    bool found;
} Entry;

typedef struct {
    LfTensorFile *file;
    GArray *entries;  /* of Entry, sorted by name */
    GTree *shards;    /* names of the shards, themselves as values */
    GArray *statuses; /* GStatBuf of the shards that are open */
    gsize heads;
} Reading;

static int by_text(gconstpointer a, gconstpointer b, gpointer unused)
{
    (void) unused;
    return strcmp(a, b);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Entry *) a)->name, ((const Entry *) b)->name);
}

/* ---- the index ------------------------------------------------------------------------------- */

/* A shard is in the index's folder: a name that leads elsewhere is refused. */
static bool add_entry(Reading *in, const char *name, const char *shard, GError **error)
{
    if (!shard || !*shard || strpbrk(shard, "/\\") || *shard == '.')
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: weight_map: %s: \"%s\" is not the name of a file in the same folder",
                       in->file->path, name, shard ? shard : "(none)");
    const char *known = g_tree_lookup(in->shards, shard);
    if (!known && g_tree_nnodes(in->shards) == MAX_SHARDS)
        return lf_fail(error, LF_ERROR_FORMAT, "%s: more than %d shards", in->file->path,
                       MAX_SHARDS);
    if (!known) {
        known = g_string_chunk_insert(in->file->names, shard);
        g_tree_insert(in->shards, (gpointer) known, (gpointer) known);
    }
    const Entry entry = {g_string_chunk_insert(in->file->names, name), known, false};
    g_array_append_val(in->entries, entry);
    return true;
}

static bool take_map(Reading *in, LfJsonScan *scan, GError **error)
{
    lf_json_enter(scan, '{');
    while (lf_json_next(scan)) {
        g_autofree char *name = g_strdup(scan->key->str);
        bool text = lf_json_peek(scan) == '"';
        if (!(text ? lf_json_take_string(scan) : lf_json_skip(scan)))
            return true; /* the caller tells the fault */
        if (!add_entry(in, name, text ? scan->string->str : NULL, error))
            return false;
    }
    return true;
}

static bool refuse_other_json(const Reading *in, const char *text, gsize size, GError **error)
{
    g_autofree char *what = lf_foreign_json(text, size);
    return lf_fail(error, LF_ERROR_FORMAT, "%s: %s", in->file->path,
                   what ? what : "not the index of a sharded model: no weight_map");
}

static bool read_index(Reading *in, const char *text, gsize size, GError **error)
{
    LfJsonScan scan;
    bool mapped = false, good = true;
    lf_json_scan_init(&scan, text, size);
    lf_json_enter(&scan, '{');
    while (good && lf_json_next(&scan))
        if (lf_json_has_key(&scan, "weight_map") && !mapped && lf_json_peek(&scan) == '{') {
            mapped = true;
            good = take_map(in, &scan, error);
        } else {
            lf_json_skip(&scan);
        }
    if (good && !lf_json_end(&scan))
        good =
            lf_fail(error, LF_ERROR_FORMAT, "%s is not valid JSON: %s", in->file->path, scan.fault);
    lf_json_scan_clear(&scan);
    return good && (mapped || refuse_other_json(in, text, size, error));
}

static bool sort_entries(Reading *in, GError **error)
{
    g_array_sort(in->entries, by_name);
    for (guint i = 1; i < in->entries->len; i++) {
        const Entry *entry = &g_array_index(in->entries, Entry, i);
        if (strcmp(entry[-1].name, entry->name) == 0)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: weight_map: two tensors named %s",
                           in->file->path, entry->name);
    }
    return true;
}

/* ---- the shards ------------------------------------------------------------------------------ */

/* One file under many names would be read as often. */
static bool check_path(Reading *in, const char *shard, const char *path, GError **error)
{
    GStatBuf status;
    if (g_stat(path, &status) != 0)
        return lf_fail(error, LF_ERROR_NOT_FOUND,
                       "%s: its shard %s is missing: download it into the same folder",
                       in->file->path, shard);
    for (guint i = 0; i < in->statuses->len; i++) {
        const GStatBuf *other = &g_array_index(in->statuses, GStatBuf, i);
        if (other->st_dev == status.st_dev && other->st_ino == status.st_ino)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: its shard %s is the same file as another",
                           in->file->path, shard);
    }
    g_array_append_val(in->statuses, status);
    return true;
}

/* Tensors that the index has elsewhere, or not at all, are left out. */
static void add_tensors(Reading *in, const LfTensorFile *part, const char *shard)
{
    for (guint i = 0; i < part->tensors->len; i++) {
        const LfFileTensor *t = &g_array_index(part->tensors, LfFileTensor, i);
        const Entry wanted = {.name = t->name};
        Entry *entry =
            bsearch(&wanted, in->entries->data, in->entries->len, sizeof wanted, by_name);
        const char *what = lf_tensor_file_unreadable(part, t->name);
        if (!entry || entry->shard != shard)
            continue;
        entry->found = true;
        if (what)
            lf_tensor_file_add_unreadable(in->file, t->name, what);
        else
            lf_tensor_file_add(in->file, t);
    }
}

static gboolean add_metadata(gpointer key, gpointer text, gpointer file)
{
    lf_tensor_file_add_metadata(file, key, text);
    return FALSE;
}

static bool add_shard(Reading *in, const char *shard, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(in->file->path);
    g_autofree char *path = g_build_filename(folder, shard, NULL);
    LfTensorFile *part =
        check_path(in, shard, path, error) ? lf_tensor_file_open_shard(path, error) : NULL;
    if (!part)
        return false;
    g_ptr_array_add(in->file->shards, part);
    in->file->format = part->format;
    in->heads += part->head_size;
    if (in->heads > MAX_HEADS)
        return lf_fail(error, LF_ERROR_FORMAT, "%s: the headers of its shards have more than %d MB",
                       in->file->path, MAX_HEADS / 1000000);
    add_tensors(in, part, shard);
    g_tree_foreach(part->metadata, add_metadata, in->file);
    return true;
}

static bool add_shards(Reading *in, GError **error)
{
    for (GTreeNode *node = g_tree_node_first(in->shards); node; node = g_tree_node_next(node))
        if (!add_shard(in, g_tree_node_key(node), error))
            return false;
    for (guint i = 0; i < in->entries->len; i++) {
        const Entry *entry = &g_array_index(in->entries, Entry, i);
        if (!entry->found)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: %s: not in %s as the index says",
                           in->file->path, entry->name, entry->shard);
    }
    return true;
}

bool lf_sharded_read(LfTensorFile *file, GMappedFile *map, GError **error)
{
    gsize size = g_mapped_file_get_length(map);
    Reading in = {.file = file};
    file->format = "safetensors";
    if (size > MAX_INDEX)
        return lf_fail(error, LF_ERROR_FORMAT, "%s: JSON of %.1f MB is no index of a sharded model",
                       file->path, 1e-6 * (double) size);
    in.entries = g_array_new(false, false, sizeof(Entry));
    in.shards = g_tree_new_full(by_text, NULL, NULL, NULL);
    in.statuses = g_array_new(false, false, sizeof(GStatBuf));
    bool read = read_index(&in, g_mapped_file_get_contents(map), size, error) &&
                sort_entries(&in, error) && add_shards(&in, error);
    g_array_unref(in.statuses);
    g_tree_unref(in.shards);
    g_array_unref(in.entries);
    return read;
}
