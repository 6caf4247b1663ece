/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From the names of a file to canonical ones, in three steps. What training frameworks put inside
 * of names is removed. Then the names of one copy of one part are taken, without their prefix
 * (recognise.h). Then the table of the copy's layout is applied.
 */
#include "weight_source.h"

#include "layouts/layouts.h"
#include "name_hash.h"
#include "recognise.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY_ALIGNMENT = 64 };

/* Tensors of one copy of the model by their names in the layout. Of two that end up under one name,
 * the one with fewer wrappers is meant. */
static GHashTable *names_of(LfTensorFile *file, const LfRecognised *recognised)
{
    GHashTable *names = g_hash_table_new_full(lf_name_hash, g_str_equal, g_free, NULL);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *tensor = lf_tensor_file_nth(file, i);
        g_autofree char *full = lf_layout_unwrap(tensor->name);
        const char *name = lf_recognised_name(recognised, full);
        if (!name || lf_layout_ignores(name))
            continue;
        const LfFileTensor *other = g_hash_table_lookup(names, name);
        if (!other || strlen(tensor->name) < strlen(other->name))
            g_hash_table_replace(names, g_strdup(name), (gpointer) tensor);
    }
    return names;
}

LfFileTensor lf_file_tensor_share(const LfFileTensor *tensor, int share, int n_shares)
{
    LfFileTensor part = *tensor;
    size_t blocks = tensor->coding ? tensor->size / tensor->coding->size : 0;
    if (n_shares > 1 && part.n_dims > 0 && part.shape[0] > 1 && part.shape[0] % n_shares == 0 &&
        blocks % (size_t) n_shares == 0) {
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
    static const LfLayoutName none = {0};
    bool listed = false;
    for (const LfLayoutName *row = source->layout ? source->layout->names : &none; row->theirs;
         row++) {
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
    source->names = g_hash_table_new_full(lf_name_hash, g_str_equal, g_free, g_free);
    source->updates =
        g_hash_table_new_full(lf_name_hash, g_str_equal, g_free, (GDestroyNotify) g_array_unref);
    source->loras = g_ptr_array_new_with_free_func((GDestroyNotify) lf_tensor_file_unref);
    source->kept = g_ptr_array_new_with_free_func(free);
    return source;
}

/* ---- tensors in other shapes ----------------------------------------------------------------- */

/* A patch embedding that is a linear layer, or whose dimensions a container folded into four, in
 * the same order: [dim, channels, 1, 2, 2]. */
static void unfold_patches(LfWeightSource *source)
{
    enum { PATCH = 4 };
    LfNamedTensor *named = g_hash_table_lookup(source->names, "patch_embedding.weight");
    const LfNamedTensor *bias = g_hash_table_lookup(source->names, "patch_embedding.bias");
    if (!named || named->tensor.n_dims == 5 || named->tensor.n_dims < 2)
        return;
    LfFileTensor *t = &named->tensor;
    int64_t dim = bias && bias->tensor.n_dims == 1 ? bias->tensor.shape[0] : t->shape[0];
    int64_t count = lf_file_tensor_count(t);
    if (dim < 1 || count < 1 || count % dim != 0 || count / dim % PATCH != 0)
        return;
    const int64_t shape[] = {dim, count / dim / PATCH, 1, 2, 2};
    t->n_dims = G_N_ELEMENTS(shape);
    memcpy(t->shape, shape, sizeof shape);
}

/* The table of position biases [buckets, heads], where a file has it the other way round. UmT5 has
 * 32 buckets. Whatever its type is, the turned one is F32. */
static bool turn_biases(LfWeightSource *source, const char *name, LfFileTensor *t, GError **error)
{
    enum { BUCKETS = 32 };
    if (t->n_dims != 2 || t->shape[0] == BUCKETS || t->shape[1] != BUCKETS || t->size == 0 ||
        !lf_file_tensor_is_real(t))
        return true;
    int64_t heads = t->shape[0], count = lf_file_tensor_count(t);
    size_t size = (size_t) count * sizeof(float);
    g_autofree float *values = g_try_new(float, count);
    if (!values)
        return lf_fail(error, LF_ERROR_MEMORY, "out of memory: could not read %s", name);
    float *turned = lf_weight_memory_new(name, size, error);
    if (!turned)
        return false;
    lf_file_tensor_read(t, 0, count, values);
    for (int64_t head = 0; head < heads; head++)
        for (int64_t bucket = 0; bucket < BUCKETS; bucket++)
            turned[bucket * heads + head] = values[head * BUCKETS + bucket];
    lf_weight_source_keep(source, turned, size);
    *t = (LfFileTensor){.name = t->name,
                        .type = LF_F32,
                        .n_dims = 2,
                        .shape = {BUCKETS, heads},
                        .data = turned,
                        .size = size};
    return true;
}

static bool turn_all_biases(LfWeightSource *source, GError **error)
{
    GHashTableIter iter;
    gpointer name, named;
    bool turned = true;
    g_hash_table_iter_init(&iter, source->names);
    while (turned && g_hash_table_iter_next(&iter, &name, &named))
        if (g_str_has_suffix(name, ".pos_embedding.embedding.weight"))
            turned = turn_biases(source, name, &((LfNamedTensor *) named)->tensor, error);
    return turned;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A file of which nothing is known is refused where a part is asked for. */
static bool check_part(const LfTensorFile *file, const LfRecognised *r, LfFileKind kind,
                       GError **error)
{
    const char *path = lf_tensor_file_path(file);
    if (r->problem && (kind != LF_FILE_UNKNOWN || r->kind != LF_FILE_UNKNOWN))
        return lf_fail(error, LF_ERROR_UNSUPPORTED, "%s: %s", path, r->problem);
    if (kind == LF_FILE_UNKNOWN || kind == r->kind)
        return true;
    if (r->kind == LF_FILE_LORA)
        return lf_fail(error, LF_ERROR_SHAPE,
                       "%s: it is a LoRA, no %s: add it to the model that it was made for", path,
                       lf_file_kind_name(kind));
    return lf_fail(error, LF_ERROR_SHAPE, "%s: it is a %s, no %s", path, lf_file_kind_name(r->kind),
                   lf_file_kind_name(kind));
}

static void log_copy(const LfLog *log, const LfTensorFile *file, const LfRecognised *r)
{
    if (r->notice)
        lf_log(log, LF_LOG_WARNING, "%s: %s", lf_tensor_file_path(file), r->notice);
    if (g_strv_length(r->copies) < 2)
        return;
    g_autofree char *copies = g_strjoinv("\", \"", r->copies);
    lf_log(log, LF_LOG_INFO, "%s: copy \"%s\" of the %s is read, of \"%s\"",
           lf_tensor_file_path(file), r->copy, lf_file_kind_name(r->kind), copies);
}

LfWeightSource *lf_weight_source_file(LfTensorFile *file, const LfSourceOptions *options,
                                      GError **error)
{
    static const LfSourceOptions any;
    options = options ? options : &any;
    g_autoptr(LfRecognised) recognised = lf_recognise(file, options->kind, options->copy);
    if (!check_part(file, recognised, options->kind, error))
        return NULL;
    log_copy(options->log, file, recognised);
    LfWeightSource *source = source_new();
    g_autoptr(GHashTable) names = names_of(file, recognised);
    source->file = lf_tensor_file_ref(file);
    source->kind = recognised->kind;
    source->layout = recognised->layout;
    source->copy = g_strdup(recognised->copy);
    source->notice = g_strdup(recognised->notice);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *tensor = lf_tensor_file_nth(file, i);
        g_autofree char *full = lf_layout_unwrap(tensor->name);
        const char *name = lf_recognised_name(recognised, full);
        if (name && g_hash_table_lookup(names, name) == tensor)
            add_tensor(source, name, tensor);
    }
    if (source->kind == LF_FILE_TRANSFORMER)
        unfold_patches(source);
    if (source->layout == &lf_layout_umt5_gguf && !turn_all_biases(source, error))
        g_clear_pointer(&source, lf_weight_source_free);
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
    g_free(source->copy);
    g_free(source->notice);
    g_free(source);
}

int lf_weight_source_lora_count(const LfWeightSource *source)
{
    return (int) source->loras->len;
}

const char *lf_weight_source_layout(const LfWeightSource *source)
{
    return source->layout ? source->layout->name : source->file ? "unknown" : "random";
}

const char *lf_weight_source_copy(const LfWeightSource *source)
{
    return source->copy ? source->copy : "";
}

const char *lf_weight_source_notice(const LfWeightSource *source)
{
    return source->notice;
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

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

bool lf_weight_source_check_unused(const LfWeightSource *source, GError **error)
{
    enum { NAMED = 3, LONGEST = 80 };
    g_autoptr(GPtrArray) unused = g_ptr_array_new();
    g_autoptr(GString) names = g_string_new(NULL);
    GHashTableIter iter;
    gpointer name, named;
    g_hash_table_iter_init(&iter, source->names);
    while (g_hash_table_iter_next(&iter, &name, &named))
        if (!((const LfNamedTensor *) named)->used)
            g_ptr_array_add(unused, name);
    if (unused->len == 0)
        return true;
    g_ptr_array_sort(unused, by_text);
    for (guint i = 0; i < MIN(unused->len, NAMED); i++)
        g_string_append_printf(names, "%s%.*s", i ? ", " : "", LONGEST,
                               (const char *) unused->pdata[i]);
    return lf_fail(error, LF_ERROR_SHAPE,
                   "%s: %u of its tensors (%s%s) have no place in the %s: it is another model, or "
                   "has layers that are not supported",
                   lf_tensor_file_path(source->file), unused->len, names->str,
                   unused->len > NAMED ? ", …" : "", lf_file_kind_name(source->kind));
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

size_t lf_weight_source_count(const LfWeightSource *source)
{
    size_t count = 0;
    GHashTableIter iter;
    gpointer named;
    g_hash_table_iter_init(&iter, source->names);
    while (g_hash_table_iter_next(&iter, NULL, &named))
        count += (size_t) lf_file_tensor_count(&((const LfNamedTensor *) named)->tensor);
    return count;
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
