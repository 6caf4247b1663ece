/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Published names in files of all kinds of trainers. A checkpoint holds up to three copies of the
 * model, "generator_ema", "generator" and "critic": the first there is wins. Sharded training
 * leaves "_fsdp_wrapped_module." inside of the names, and wrapping modules leave "model." and
 * "diffusion_model." in front.
 */
#include "weight_source.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY_ALIGNMENT = 64 };

static const char *const containers[] = {"generator_ema.", "generator.", "critic."};

/* The container to read, or "" when the file is no checkpoint of several models. */
static const char *container_of(LfTensorFile *file)
{
    gboolean found[G_N_ELEMENTS(containers)] = {FALSE};
    for (size_t i = 0; i < lf_tensor_file_count(file); i++)
        for (gsize c = 0; c < G_N_ELEMENTS(containers); c++)
            found[c] |= g_str_has_prefix(lf_tensor_file_nth(file, i)->name, containers[c]);
    return found[0] ? containers[0] : found[1] ? containers[1] : "";
}

static const char *skip(const char *name, const char *prefix)
{
    return g_str_has_prefix(name, prefix) ? name + strlen(prefix) : name;
}

/* The published name behind that of the file, or NULL for another container's. Transfer full. */
static char *published_name(const char *name, const char *container)
{
    if (!g_str_has_prefix(name, container))
        return NULL;
    g_auto(GStrv) pieces = g_strsplit(name + strlen(container), "_fsdp_wrapped_module.", -1);
    g_autofree char *joined = g_strjoinv("", pieces);
    const char *bare = skip(skip(joined, "model."), "diffusion_model.");
    return g_strdup(skip(bare, "model."));
}

/* Of two tensors that end up under one name, the one with fewer prefixes is meant. */
static void add_name(GHashTable *names, char *name, const LfFileTensor *tensor)
{
    const LfFileTensor *other = g_hash_table_lookup(names, name);
    if (!other || strlen(tensor->name) < strlen(other->name))
        g_hash_table_replace(names, name, (gpointer) tensor);
    else
        g_free(name);
}

static LfWeightSource *source_new(void)
{
    LfWeightSource *source = g_new0(LfWeightSource, 1);
    source->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    source->kept = g_ptr_array_new_with_free_func(free);
    return source;
}

LfWeightSource *lf_weight_source_file(LfTensorFile *file)
{
    LfWeightSource *source = source_new();
    const char *container = container_of(file);
    source->file = lf_tensor_file_ref(file);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *tensor = lf_tensor_file_nth(file, i);
        char *name = published_name(tensor->name, container);
        if (name)
            add_name(source->names, name, tensor);
    }
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
    g_hash_table_unref(source->names);
    lf_tensor_file_unref(source->file);
    g_free(source);
}

const LfFileTensor *lf_weight_source_find(LfWeightSource *source, const char *name, GError **error)
{
    const LfFileTensor *tensor = g_hash_table_lookup(source->names, name);
    if (!tensor && source->file)
        g_set_error(error, LF_ERROR, LF_ERROR_SHAPE, "%s: missing in %s", name,
                    lf_tensor_file_path(source->file));
    else if (!tensor)
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "%s: a random tensor has no shape of its own", name);
    return tensor;
}

gboolean lf_weight_source_has(LfWeightSource *source, const char *name)
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
    gpointer tensor;
    g_hash_table_iter_init(&iter, source->names);
    while (g_hash_table_iter_next(&iter, NULL, &tensor))
        size += ((const LfFileTensor *) tensor)->size;
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
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY, "no %.1f MB of memory for %s",
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
