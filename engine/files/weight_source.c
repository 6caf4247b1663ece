/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From the names of a file to canonical ones, in three steps. A checkpoint may hold up to three
 * copies of the model, "generator_ema", "generator" and "critic": of these the first that is there
 * is read. Then what training frameworks put around names is removed. Then the layout is
 * recognised, and its table applied.
 */
#include "layouts/layouts.h"
#include "weight_source.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY_ALIGNMENT = 64 };

static const char *const containers[] = {"generator_ema.", "generator.", "critic."};

/* The container to read, or "" when the file is no checkpoint of several models. */
static const char *container_of(LfTensorFile *file)
{
    bool found[G_N_ELEMENTS(containers)] = {false};
    for (size_t i = 0; i < lf_tensor_file_count(file); i++)
        for (gsize c = 0; c < G_N_ELEMENTS(containers); c++)
            found[c] |= g_str_has_prefix(lf_tensor_file_nth(file, i)->name, containers[c]);
    return found[0] ? containers[0] : found[1] ? containers[1] : "";
}

/* Tensors of one copy of the model by their names without prefixes. Of two that end up under one
 * name, the one with fewer prefixes is meant. */
static GHashTable *unwrapped_names(LfTensorFile *file)
{
    GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const char *container = container_of(file);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *tensor = lf_tensor_file_nth(file, i);
        if (!g_str_has_prefix(tensor->name, container))
            continue;
        char *name = lf_layout_unwrap(tensor->name + strlen(container));
        const LfFileTensor *other = g_hash_table_lookup(names, name);
        if (!other || strlen(tensor->name) < strlen(other->name))
            g_hash_table_replace(names, name, (gpointer) tensor);
        else
            g_free(name);
    }
    return names;
}

static const LfLayout *layout_of(GHashTable *names)
{
    const LfLayout *const *layout = lf_layouts;
    while ((*layout)->sign && !g_hash_table_contains(names, (*layout)->sign))
        layout++;
    return *layout;
}

LfFileTensor lf_file_tensor_share(const LfFileTensor *tensor, int share, int n_shares)
{
    LfFileTensor part = *tensor;
    if (n_shares > 1 && part.n_dims > 0 && part.shape[0] > 1 && part.shape[0] % n_shares == 0) {
        part.shape[0] /= n_shares;
        part.size /= (size_t) n_shares;
        part.data = (const uint8_t *) part.data + (size_t) share * part.size;
    }
    return part;
}

static void add_name(LfWeightSource *source, char *name, LfFileTensor tensor)
{
    LfNamedTensor named = {tensor, false};
    g_hash_table_replace(source->names, name, g_memdup2(&named, sizeof named));
}

/* Adds a tensor under every canonical name that the layout has for it. */
static void add_tensor(LfWeightSource *source, const char *name, const LfFileTensor *tensor)
{
    bool listed = false;
    for (const LfLayoutName *row = source->layout->names; row->theirs; row++) {
        if (!lf_layout_matches(name, row->theirs))
            continue;
        listed = true;
        if (!row->ours)
            continue;
        add_name(source, lf_layout_rename(name, row->theirs, row->ours),
                 lf_file_tensor_share(tensor, row->share, row->n_shares));
    }
    if (!listed)
        add_name(source, g_strdup(name), *tensor);
}

static LfWeightSource *source_new(void)
{
    LfWeightSource *source = g_new0(LfWeightSource, 1);
    source->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    source->updates =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) g_array_unref);
    source->loras = g_ptr_array_new_with_free_func((GDestroyNotify) lf_tensor_file_unref);
    source->kept = g_ptr_array_new_with_free_func(free);
    return source;
}

LfWeightSource *lf_weight_source_file(LfTensorFile *file)
{
    LfWeightSource *source = source_new();
    g_autoptr(GHashTable) names = unwrapped_names(file);
    GHashTableIter iter;
    gpointer name, tensor;
    source->file = lf_tensor_file_ref(file);
    source->layout = layout_of(names);
    g_hash_table_iter_init(&iter, names);
    while (g_hash_table_iter_next(&iter, &name, &tensor))
        add_tensor(source, name, tensor);
    return source;
}

LfWeightSource *lf_weight_source_random(uint64_t seed)
{
    LfWeightSource *source = source_new();
    source->seed = seed;
    return source;
}

void lf_weight_source_free(LfWeightSource *source)
{
    if (!source)
        return;
    g_ptr_array_unref(source->kept);
    g_hash_table_unref(source->updates);
    g_ptr_array_unref(source->loras);
    g_hash_table_unref(source->names);
    lf_tensor_file_unref(source->file);
    g_free(source);
}

int lf_weight_source_lora_count(const LfWeightSource *source)
{
    return (int) source->loras->len;
}

const char *lf_weight_source_layout(const LfWeightSource *source)
{
    return source->layout ? source->layout->name : "random";
}

const LfFileTensor *lf_weight_source_find(LfWeightSource *source, const char *name, GError **error)
{
    LfNamedTensor *named = g_hash_table_lookup(source->names, name);
    if (named) {
        named->used = true;
        return &named->tensor;
    }
    if (source->file)
        lf_fail(error, LF_ERROR_SHAPE, "%s: missing in %s", name,
                lf_tensor_file_path(source->file));
    else
        lf_fail(error, LF_ERROR_UNSUPPORTED, "%s: a random tensor has no shape of its own", name);
    return NULL;
}

int lf_weight_source_unused(const LfWeightSource *source, const char **first)
{
    int n = 0;
    GHashTableIter iter;
    gpointer name, named;
    *first = NULL;
    g_hash_table_iter_init(&iter, source->names);
    while (g_hash_table_iter_next(&iter, &name, &named)) {
        if (((const LfNamedTensor *) named)->used)
            continue;
        n++;
        if (!*first || strcmp(name, *first) < 0)
            *first = name;
    }
    return n;
}

bool lf_weight_source_has(LfWeightSource *source, const char *name)
{
    return !source->file || g_hash_table_contains(source->names, name);
}

void lf_weight_source_set_progress(LfWeightSource *source, LfWeightProgress progress, gpointer data)
{
    source->progress = progress;
    source->progress_data = data;
}

size_t lf_weight_source_size(const LfWeightSource *source)
{
    size_t size = 0;
    GHashTableIter iter;
    gpointer named;
    g_hash_table_iter_init(&iter, source->names);
    while (g_hash_table_iter_next(&iter, NULL, &named))
        size += ((const LfNamedTensor *) named)->tensor.size;
    return size;
}

size_t lf_weight_source_memory(const LfWeightSource *source)
{
    return source->kept_size;
}

void *lf_weight_memory_new(const char *name, size_t size, GError **error)
{
    void *memory = NULL;
    if (posix_memalign(&memory, MEMORY_ALIGNMENT, MAX(size, 1)) != 0) {
        lf_fail(error, LF_ERROR_MEMORY, "out of memory: could not allocate %.1f MB for %s",
                (double) size / 1e6, name);
        return NULL;
    }
    return memory;
}

void lf_weight_source_keep(LfWeightSource *source, void *memory, size_t size)
{
    g_ptr_array_add(source->kept, memory);
    source->kept_size += size;
}
