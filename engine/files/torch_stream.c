/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What torch.save wrote before PyTorch 1.6, and still does with
 * _use_new_zipfile_serialization=False: five pickles one behind the other (a magic number, the
 * version, facts about the machine, the object, the keys of its storages), then each storage in the
 * order of the keys: its number of elements as an int64, then their bytes, at any alignment.
 */
#include "torch.h"

#include <string.h>

enum { VERSION = 1001, COUNT_SIZE = 8 };

/* A storage, as the object's pickle tells it. */
typedef struct {
    LfTorchBytes *bytes;
    size_t element; /* bytes; 0: of a type that is not known */
    size_t wanted;  /* bytes, by the largest tensor in it */
    bool found;
} Stored;

typedef struct {
    const LfTensorFile *file;
    const uint8_t *bytes;
    size_t size, at;
    size_t head_size; /* of the pickles */
    GTree *storages;  /* key → Stored * */
} Stream;

static bool fail(const Stream *in, GError **error, const char *what)
{
    return lf_fail(error, LF_ERROR_FORMAT, "%s: corrupt PyTorch file: %s", in->file->path, what);
}

/* ---- the pickles ----------------------------------------------------------------------------- */

static LfPickleValue *no_global(LfPickle *pickle, const char *module, const char *name)
{
    return lf_pickle_fail(pickle, "corrupt PyTorch file: %s.%s in its head", module, name);
}

static LfPickleValue *no_persistent(LfPickle *pickle, const LfPickleValue *id)
{
    (void) id;
    return lf_pickle_fail(pickle, "corrupt PyTorch file: a storage in its head");
}

static LfPickleValue *no_call(LfPickle *pickle, const LfPickleValue *callable,
                              const LfPickleValue *arguments)
{
    (void) callable;
    (void) arguments;
    return lf_pickle_fail(pickle, "corrupt PyTorch file: a call in its head");
}

/* The next pickle, of plain values; or of the object, with `torch`. */
static LfPickle *take_pickle(Stream *in, LfTorch *torch, GError **error)
{
    static const LfPickleHooks plain = {no_global, no_persistent, no_call, NULL};
    const uint8_t *bytes = in->bytes + in->at;
    size_t size = in->size - in->at;
    LfPickle *pickle = torch ? lf_torch_unpickle(torch, bytes, size, error)
                             : lf_pickle_read(bytes, size, &plain, error);
    if (pickle) {
        in->at += lf_pickle_size(pickle);
        in->head_size += lf_pickle_size(pickle);
    } else {
        g_prefix_error(error, "%s: ", in->file->path);
    }
    return pickle;
}

static bool check_version(const Stream *in, const LfPickleValue *version, GError **error)
{
    if (version->kind == LF_PICKLE_INT && version->number == VERSION)
        return true;
    return lf_fail(error, LF_ERROR_UNSUPPORTED,
                   "%s: a version of PyTorch's format that is not known: load the file and save it "
                   "again with torch.save",
                   in->file->path);
}

static bool check_byte_order(const Stream *in, const LfPickleValue *facts, GError **error)
{
    for (guint i = 0; facts->kind == LF_PICKLE_DICT && i < lf_pickle_count(facts); i += 2) {
        const LfPickleValue *value = lf_pickle_item(facts, i + 1);
        if (lf_pickle_is_text(lf_pickle_item(facts, i), "little_endian") &&
            value->kind == LF_PICKLE_INT && value->number == 0)
            return lf_fail(
                error, LF_ERROR_UNSUPPORTED,
                "%s: its numbers are big-endian; save it again on a little-endian machine",
                in->file->path);
    }
    return true;
}

/* The magic number has been looked at. */
static bool skip_head(Stream *in, GError **error)
{
    bool (*const checks[])(const Stream *, const LfPickleValue *, GError **) = {NULL, check_version,
                                                                                check_byte_order};
    bool good = true;
    for (gsize i = 0; i < G_N_ELEMENTS(checks) && good; i++) {
        LfPickle *pickle = take_pickle(in, NULL, error);
        good = pickle && (!checks[i] || checks[i](in, lf_pickle_root(pickle), error));
        lf_pickle_free(pickle);
    }
    return good;
}

/* ---- storages -------------------------------------------------------------------------------- */

/* A view of another storage: (its own key, first element, elements) is the last part of the id. */
static bool read_view(const LfPickleValue *id, LfTorchObject *storage)
{
    const LfPickleValue *view = lf_pickle_count(id) > 5 ? lf_pickle_item(id, 5) : NULL;
    size_t start, size, end;
    if (!view || view->kind == LF_PICKLE_NONE)
        return true;
    if (view->kind != LF_PICKLE_TUPLE || lf_pickle_count(view) < 3)
        return false;
    const LfPickleValue *first = lf_pickle_item(view, 1), *count = lf_pickle_item(view, 2);
    if (first->kind != LF_PICKLE_INT || count->kind != LF_PICKLE_INT || first->number < 0 ||
        count->number < 0 ||
        __builtin_mul_overflow((size_t) first->number, storage->element, &start) ||
        __builtin_mul_overflow((size_t) count->number, storage->element, &size) ||
        __builtin_add_overflow(start, size, &end) || end > storage->size)
        return false;
    storage->start = start;
    storage->size = size;
    return true;
}

static bool find_storage(LfTorch *torch, LfPickle *pickle, const char *key, const LfPickleValue *id,
                         LfTorchObject *storage)
{
    Stream *in = torch->container;
    Stored *stored = g_tree_lookup(in->storages, key);
    if (!stored) {
        stored = g_new0(Stored, 1);
        stored->bytes = lf_torch_bytes_new(torch);
        stored->element = storage->element;
        g_tree_insert(in->storages, g_strdup(key), stored);
    }
    stored->wanted = MAX(stored->wanted, storage->size);
    storage->bytes = stored->bytes;
    if (!read_view(id, storage)) {
        lf_pickle_fail(pickle, "corrupt PyTorch file: a view that is outside of its storage");
        return false;
    }
    return true;
}

static bool take_storage(Stream *in, const char *key, GError **error)
{
    Stored *stored = g_tree_lookup(in->storages, key);
    guint64 count;
    if (!stored || stored->found)
        return fail(in, error, "a storage that no tensor has");
    if (stored->element == 0)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "%s: it has tensors of a type that is not known, and others behind them: "
                       "save it again with torch.save of PyTorch 1.6 or later",
                       in->file->path);
    if (in->size - in->at < COUNT_SIZE)
        return fail(in, error, "it ends too early");
    memcpy(&count, in->bytes + in->at, COUNT_SIZE);
    count = GUINT64_FROM_LE(count);
    in->at += COUNT_SIZE;
    if (count > (in->size - in->at) / stored->element)
        return fail(in, error, "it ends too early");
    *stored->bytes = (LfTorchBytes){in->bytes + in->at, (size_t) count * stored->element};
    if (stored->bytes->size < stored->wanted)
        return fail(in, error, "a tensor is larger than its storage");
    in->at += stored->bytes->size;
    stored->found = true;
    return true;
}

static gboolean is_missing(gpointer key, gpointer stored, gpointer missing)
{
    *(const char **) missing = ((const Stored *) stored)->found ? NULL : key;
    return *(const char **) missing != NULL;
}

static bool take_storages(Stream *in, const LfPickleValue *keys, GError **error)
{
    const char *missing = NULL;
    if (keys->kind != LF_PICKLE_LIST)
        return fail(in, error, "it has no list of storages");
    for (guint i = 0; i < lf_pickle_count(keys); i++) {
        const LfPickleValue *key = lf_pickle_item(keys, i);
        if (key->kind != LF_PICKLE_TEXT)
            return fail(in, error, "a storage without a name");
        g_autofree char *name = g_strndup(key->text, key->length);
        if (!take_storage(in, name, error))
            return false;
    }
    g_tree_foreach(in->storages, is_missing, &missing);
    return !missing ||
           lf_fail(error, LF_ERROR_FORMAT, "%s: corrupt PyTorch file: storage %s is missing",
                   in->file->path, missing);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool read_object(Stream *in, LfTorch *torch, GError **error)
{
    LfPickle *object = take_pickle(in, torch, error);
    LfPickle *keys = object ? take_pickle(in, NULL, error) : NULL;
    bool read = keys && take_storages(in, lf_pickle_root(keys), error) &&
                lf_torch_add_tensors(torch, object, error);
    lf_pickle_free(keys);
    lf_pickle_free(object);
    return read;
}

static int by_text(gconstpointer a, gconstpointer b, gpointer unused)
{
    (void) unused;
    return strcmp(a, b);
}

bool lf_torch_stream_read(LfTensorFile *file, GMappedFile *map, GError **error)
{
    Stream in = {.file = file,
                 .bytes = (const uint8_t *) g_mapped_file_get_contents(map),
                 .size = g_mapped_file_get_length(map)};
    LfTorch torch;
    file->format = "PyTorch";
    in.storages = g_tree_new_full(by_text, NULL, g_free, g_free);
    lf_torch_init(&torch, file, in.size);
    torch.find = find_storage;
    torch.container = &in;
    bool read = skip_head(&in, error) && read_object(&in, &torch, error);
    file->head_size = in.head_size;
    lf_torch_clear(&torch);
    g_tree_unref(in.storages);
    return read;
}

/* A pickle of the number 0x1950a86a20f9469cfc6c; from protocol 4 on, in a frame. */
bool lf_torch_stream_begins(const char *bytes, gsize size)
{
    enum { PROTOCOL = 2, FRAME = 9 };
    static const char number[] = "\x8a\nl\xfc\x9c"
                                 "F\xf9 j\xa8P\x19.";
    gsize at = PROTOCOL;
    if (size < PROTOCOL + FRAME + sizeof number || bytes[0] != '\x80')
        return false;
    if (bytes[at] == '\x95')
        at += FRAME;
    return memcmp(bytes + at, number, sizeof number - 1) == 0;
}
