/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "prompt_cache.h"

#include "files/tensor_file.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

/* A smaller encoder is faster than a disk, and its texts are not kept in the user's folder. */
#define SMALL_ENCODER ((size_t) 256 << 20)
/* Bytes of all files by default: 60 prompts of 512 tokens of umT5-xxl, hundreds of usual ones. */
#define LIMIT ((uint64_t) 256 << 20)
/* No text is larger: 512 tokens of umT5-xxl in F32 are 8 MB. */
#define LARGEST_FILE ((goffset) 64 << 20)
/* More files of a folder are not looked at. */
#define MOST_FILES 65536
/* A temporary file of this age, in seconds, was left by a program that ended. */
#define ABANDONED 3600

#define SUFFIX ".safetensors"
#define HEX    (2 * LF_IDENTITY_SIZE)
#define FORMAT "lightforcing prompt 1" /* another one finds no older files */
#define SAMPLE 64

/* ---- hashes ---------------------------------------------------------------------------------- */

static void finish(GChecksum *sum, uint8_t digest[LF_IDENTITY_SIZE])
{
    gsize size = LF_IDENTITY_SIZE;
    g_checksum_get_digest(sum, digest, &size);
    g_checksum_free(sum);
}

static void add(GChecksum *sum, const void *data, size_t size)
{
    g_checksum_update(sum, data, (gssize) size);
}

/* Names, types and shapes of all tensors, and some bytes from the middle of each: two files with equal
 * headers are seldom the same encoder. */
static void add_tensors(GChecksum *sum, const LfTensorFile *file)
{
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        size_t sample = MIN(t->size, SAMPLE);
        add(sum, t->name, strlen(t->name) + 1);
        add(sum, &t->type, sizeof t->type);
        add(sum, t->shape, sizeof t->shape);
        add(sum, (const uint8_t *) t->data + (t->size - sample) / 2, sample);
    }
}

/* The file, and what else decides the numbers: the configuration, and the precision and kind of the
 * device. */
void lf_prompt_cache_identify(LfModel *m, const LfTensorFile *file)
{
    const LfTextEncoderConfig *c = &m->config->text_encoder;
    const int numbers[] = {c->vocab,   c->dim,          c->attention_dim,
                           c->heads,   c->ffn,          c->layers,
                           c->buckets, c->max_distance, m->backend->activation_type};
    const char *device = m->text_device == LF_TEXT_ENCODER_CPU ? "cpu" : m->backend->name;
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    GStatBuf status = {0};
    g_stat(lf_tensor_file_path(file), &status);
    const gint64 stamps[] = {status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
    add(sum, FORMAT, sizeof FORMAT);
    add(sum, device, strlen(device) + 1);
    add(sum, numbers, sizeof numbers);
    add(sum, stamps, sizeof stamps);
    add_tensors(sum, file);
    finish(sum, m->text_identity);
}

static void digest_of(const LfPromptCache *c, const int32_t *ids, int n, LfTensor rows,
                      uint8_t digest[LF_IDENTITY_SIZE])
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    add(sum, c->model->text_identity, LF_IDENTITY_SIZE);
    add(sum, &n, sizeof n);
    add(sum, ids, (size_t) n * sizeof *ids);
    if (lf_is_set(rows))
        add(sum, rows.data, lf_tensor_size(rows));
    finish(sum, digest);
}

char *lf_prompt_cache_path(const LfPromptCache *c, const int32_t *ids, int n)
{
    uint8_t digest[LF_IDENTITY_SIZE];
    GString *name = g_string_new(NULL);
    digest_of(c, ids, n, LF_NONE, digest);
    for (int i = 0; i < LF_IDENTITY_SIZE; i++)
        g_string_append_printf(name, "%02x", digest[i]);
    g_string_append(name, SUFFIX);
    char *path = g_build_filename(c->folder, name->str, NULL);
    g_string_free(name, TRUE);
    return path;
}

/* ---- the folder ------------------------------------------------------------------------------ */

LfPromptCache *lf_prompt_cache_new(const char *folder, const LfModel *model, const LfLog *log)
{
    if (!model->text_encoder || (folder ? !*folder : model->text_size < SMALL_ENCODER))
        return NULL;
    LfPromptCache *c = g_new0(LfPromptCache, 1);
    *c = (LfPromptCache){.model = model, .log = *log, .limit = LIMIT};
    c->folder = folder ? g_strdup(folder)
                       : g_build_filename(g_get_user_cache_dir(), "lightforcing", "prompts", NULL);
    return c;
}

void lf_prompt_cache_free(LfPromptCache *c)
{
    if (c)
        g_free(c->folder);
    g_free(c);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The tensor, if it has exactly this type and shape. */
static const void *find(const LfTensorFile *file, const char *name, LfType type, int64_t rows,
                        int64_t columns)
{
    const LfFileTensor *t = lf_tensor_file_find(file, name);
    bool fits = t && t->type == type && t->n_dims == (columns ? 2 : 1) && t->shape[0] == rows &&
                (!columns || t->shape[1] == columns);
    return fits ? t->data : NULL;
}

/* The text in an open file, if it is of this encoder and these ids, and whole. */
static LfText *read_text(const LfPromptCache *c, const LfTensorFile *file, const int32_t *ids,
                         int n)
{
    uint8_t digest[LF_IDENTITY_SIZE];
    int dim = lf_model_text_dim(c->model);
    LfType type = c->model->backend->activation_type;
    const void *stored_ids = find(file, "ids", LF_I32, n, 0);
    const void *stored_digest = find(file, "digest", LF_U8, LF_IDENTITY_SIZE, 0);
    const void *rows = find(file, "rows", type, n, dim);
    if (!stored_ids || !stored_digest || !rows ||
        memcmp(stored_ids, ids, (size_t) n * sizeof *ids) != 0)
        return NULL;
    LfText *text = lf_text_new(type, n, dim);
    if (!text)
        return NULL;
    memcpy(text->rows.data, rows, lf_tensor_size(text->rows));
    digest_of(c, ids, n, text->rows, digest);
    if (memcmp(digest, stored_digest, sizeof digest) != 0)
        g_clear_pointer(&text, lf_text_unref);
    return text;
}

/* Marks the file as used now, for the order in which files are deleted. */
static void touch(const char *path)
{
    if (utimensat(AT_FDCWD, path, NULL, 0) != 0)
        return; /* a folder that others own, or that is read-only */
}

LfText *lf_prompt_cache_load(const LfPromptCache *c, const int32_t *ids, int n)
{
    if (!c)
        return NULL;
    g_autoptr(GError) problem = NULL;
    g_autofree char *path = lf_prompt_cache_path(c, ids, n);
    gint64 start = g_get_monotonic_time();
    GStatBuf status;
    if (g_stat(path, &status) != 0)
        return NULL;
    LfTensorFile *file =
        status.st_size <= LARGEST_FILE ? lf_tensor_file_open(path, &problem) : NULL;
    LfText *text = file ? read_text(c, file, ids, n) : NULL;
    lf_tensor_file_unref(file);
    if (text) {
        touch(path);
        text->time = MAX(1, 1000 * (g_get_monotonic_time() - start));
    } else {
        lf_log(&c->log, LF_LOG_DEBUG, "prompt cache: %s is of no use: %s", path,
               problem ? problem->message : "it holds something else");
    }
    return text;
}

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct {
    char *path;
    uint64_t size;
    gint64 used; /* ns */
} Entry;

static void entry_clear(gpointer entry)
{
    g_free(((Entry *) entry)->path);
}

static gint by_use(gconstpointer a, gconstpointer b)
{
    gint64 x = ((const Entry *) a)->used, y = ((const Entry *) b)->used;
    return (x > y) - (x < y);
}

/* The end of a name that this file has written, behind the hash; NULL for any other name. */
static const char *end_of_name(const char *name)
{
    size_t n = strspn(name, "0123456789abcdef");
    return n == HEX && g_str_has_prefix(name + HEX, SUFFIX) ? name + HEX + strlen(SUFFIX) : NULL;
}

/* Deletes a temporary file that nobody will rename any more. */
static void delete_abandoned(const char *path, const GStatBuf *status)
{
    if (status->st_mtim.tv_sec < g_get_real_time() / G_USEC_PER_SEC - ABANDONED)
        g_unlink(path);
}

static GArray *list(const LfPromptCache *c)
{
    GArray *entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    g_array_set_clear_func(entries, entry_clear);
    g_autoptr(GDir) dir = g_dir_open(c->folder, 0, NULL);
    const char *name;
    while (dir && entries->len < MOST_FILES && (name = g_dir_read_name(dir))) {
        const char *end = end_of_name(name);
        g_autofree char *path = g_build_filename(c->folder, name, NULL);
        GStatBuf status;
        if (!end || g_lstat(path, &status) != 0 || !S_ISREG(status.st_mode))
            continue;
        Entry entry = {.size = (uint64_t) status.st_size,
                       .used =
                           status.st_mtim.tv_sec * INT64_C(1000000000) + status.st_mtim.tv_nsec};
        if (*end) {
            delete_abandoned(path, &status);
        } else {
            entry.path = g_steal_pointer(&path);
            g_array_append_val(entries, entry);
        }
    }
    return entries;
}

/* Deletes files, the one first that was not used for the longest time. */
static void trim(const LfPromptCache *c)
{
    g_autoptr(GArray) entries = list(c);
    uint64_t size = 0;
    for (guint i = 0; i < entries->len; i++)
        size += g_array_index(entries, Entry, i).size;
    if (size <= c->limit)
        return;
    g_array_sort(entries, by_use);
    for (guint i = 0; i < entries->len && size > c->limit; i++) {
        const Entry *entry = &g_array_index(entries, Entry, i);
        if (g_unlink(entry->path) == 0)
            size -= entry->size;
    }
}

void lf_prompt_cache_store(const LfPromptCache *c, const int32_t *ids, int n, const LfText *text)
{
    if (!c)
        return;
    g_autoptr(GError) problem = NULL;
    uint8_t digest[LF_IDENTITY_SIZE];
    digest_of(c, ids, n, text->rows, digest);
    const LfFileTensor tensors[] = {
        {"rows",
         text->rows.type,
         2,
         {n, text->rows.shape[1]},
         text->rows.data,
         lf_tensor_size(text->rows),
         NULL},
        {"ids", LF_I32, 1, {n}, ids, (size_t) n * sizeof *ids, NULL},
        {"digest", LF_U8, 1, {LF_IDENTITY_SIZE}, digest, sizeof digest, NULL},
    };
    g_autofree char *path = lf_prompt_cache_path(c, ids, n);
    g_mkdir_with_parents(c->folder, 0700);
    if (lf_safetensors_write(path, tensors, G_N_ELEMENTS(tensors), &problem))
        trim(c);
    else
        lf_log(&c->log, LF_LOG_DEBUG, "prompt cache: %s", problem->message);
}
