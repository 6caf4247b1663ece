/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * PyTorch's zip format: <root>/data.pkl is the pickle, and the bytes of a storage are in
 * <root>/data/<key>.
 */
#include "foreign.h"
#include "torch.h"
#include "zip.h"

#include <string.h>

typedef struct {
    const LfTensorFile *file;
    LfZip *zip;
    char *root; /* with its '/' */
} Archive;

static bool find_storage(LfTorch *torch, LfPickle *pickle, const char *key, const LfPickleValue *id,
                         LfTorchObject *storage)
{
    const Archive *in = torch->container;
    (void) id;
    g_autofree char *name = g_strconcat(in->root, "data/", key, NULL);
    const LfZipEntry *entry = lf_zip_find(in->zip, name);
    if (!entry || storage->size > entry->size) {
        lf_pickle_fail(pickle, "storage %s is missing or too short", name);
        return false;
    }
    LfTorchBytes *bytes = lf_torch_bytes_new(torch);
    *bytes = (LfTorchBytes){entry->data, entry->size};
    storage->bytes = bytes;
    return true;
}

/* The entry <root>/data.pkl; <root> is the archive's name when it was written. */
static const LfZipEntry *find_pickle(Archive *in)
{
    for (size_t i = 0; i < lf_zip_count(in->zip); i++) {
        const LfZipEntry *entry = lf_zip_nth(in->zip, i);
        const char *slash = strchr(entry->name, '/');
        if (slash && strcmp(slash, "/data.pkl") == 0) {
            in->root = g_strndup(entry->name, (gsize) (slash + 1 - entry->name));
            return entry;
        }
    }
    return NULL;
}

/* Other programs write zip archives, too. */
static bool check_contents(const Archive *in, const LfZipEntry *pickle, GError **error)
{
    size_t n = lf_zip_count(in->zip);
    for (size_t i = 0; i < n; i++) {
        const char *what = lf_foreign_zip(lf_zip_nth(in->zip, i)->name);
        if (what)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: %s", in->file->path, what);
    }
    if (!pickle)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: a zip archive without data.pkl (its first file is %s), not written by "
                       "torch.save: unpack it, and give the file that was in it",
                       in->file->path, n > 0 ? lf_zip_nth(in->zip, 0)->name : "none");
    for (size_t i = 0; i < n; i++) {
        const char *problem = lf_zip_nth(in->zip, i)->problem;
        if (problem)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: %s", in->file->path, problem);
    }
    return true;
}

static bool check_byte_order(const Archive *in, GError **error)
{
    g_autofree char *name = g_strconcat(in->root, "byteorder", NULL);
    const LfZipEntry *entry = lf_zip_find(in->zip, name);
    if (!entry || (entry->size == 6 && memcmp(entry->data, "little", 6) == 0))
        return true;
    return lf_fail(error, LF_ERROR_UNSUPPORTED,
                   "%s: its numbers are big-endian; save it again on a little-endian machine",
                   in->file->path);
}

static bool read_pickle(Archive *in, LfTensorFile *file, const LfZipEntry *entry, size_t size,
                        GError **error)
{
    LfTorch torch;
    lf_torch_init(&torch, file, size);
    torch.find = find_storage;
    torch.container = in;
    file->head_size = entry->size;
    LfPickle *pickle = lf_torch_unpickle(&torch, entry->data, entry->size, error);
    if (!pickle)
        g_prefix_error(error, "%s: ", file->path);
    bool read = pickle && lf_torch_add_tensors(&torch, pickle, error);
    lf_pickle_free(pickle);
    lf_torch_clear(&torch);
    return read;
}

bool lf_pytorch_read(LfTensorFile *file, GMappedFile *map, GError **error)
{
    size_t size = g_mapped_file_get_length(map);
    Archive in = {.file = file};
    file->format = "PyTorch";
    in.zip = lf_zip_open(g_mapped_file_get_contents(map), size, error);
    if (!in.zip) {
        g_prefix_error(error, "%s: ", file->path);
        return false;
    }
    const LfZipEntry *entry = find_pickle(&in);
    bool read = check_contents(&in, entry, error) && check_byte_order(&in, error) &&
                read_pickle(&in, file, entry, size, error);
    lf_zip_free(in.zip);
    g_free(in.root);
    return read;
}
