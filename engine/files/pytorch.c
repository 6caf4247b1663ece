/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * PyTorch's zip format: <root>/data.pkl is a pickle of nested dictionaries. Their tensors are views
 * (offset, shape, strides) of storages, and the bytes of a storage are in <root>/data/<key>. Names
 * of nested dictionaries are joined with '.'; values that are not tensors are left out.
 */
#include "pickle.h"
#include "tensor_list.h"
#include "zip.h"

#include <string.h>

enum { MAX_DEPTH = 16, MAX_NAME = 512, MAX_VISITS = 200000 };

/* What a global, or the result of calling it, is used for. */
typedef enum {
    NOTHING, /* harmless and without use: torch.device */
    DICTIONARY,
    SIZE,
    TYPE,
    STORAGE_TYPE,
    UNTYPED_STORAGE_TYPE,
    REBUILD,   /* (storage, offset, shape, strides, …) */
    REBUILD_3, /* (untyped storage, offset, shape, strides, requires_grad, hooks, type, …) */
    PARAMETER, /* (tensor, …) */
    STORAGE,
    TENSOR
} Role;

typedef struct {
    Role role;
    LfType type;
    const uint8_t *data;
    size_t size; /* bytes of a storage */
    int n_dims;
    int64_t shape[LF_FILE_MAX_DIMS], stride[LF_FILE_MAX_DIMS]; /* of a tensor, in elements */
} Object;

/* All globals that a pickle may name. */
static const struct {
    const char *module, *name;
    Object object;
} globals[] = {
    {"collections", "OrderedDict", {.role = DICTIONARY}},
    {"torch", "Size", {.role = SIZE}},
    {"torch", "device", {.role = NOTHING}},
    {"torch._utils", "_rebuild_tensor", {.role = REBUILD}},
    {"torch._utils", "_rebuild_tensor_v2", {.role = REBUILD}},
    {"torch._utils", "_rebuild_tensor_v3", {.role = REBUILD_3}},
    {"torch._utils", "_rebuild_parameter", {.role = PARAMETER}},
    {"torch._utils", "_rebuild_parameter_with_state", {.role = PARAMETER}},
    {"torch", "FloatStorage", {.role = STORAGE_TYPE, .type = LF_F32}},
    {"torch", "HalfStorage", {.role = STORAGE_TYPE, .type = LF_F16}},
    {"torch", "BFloat16Storage", {.role = STORAGE_TYPE, .type = LF_BF16}},
    {"torch", "DoubleStorage", {.role = STORAGE_TYPE, .type = LF_F64}},
    {"torch", "LongStorage", {.role = STORAGE_TYPE, .type = LF_I64}},
    {"torch", "IntStorage", {.role = STORAGE_TYPE, .type = LF_I32}},
    {"torch", "ShortStorage", {.role = STORAGE_TYPE, .type = LF_I16}},
    {"torch", "CharStorage", {.role = STORAGE_TYPE, .type = LF_I8}},
    {"torch", "ByteStorage", {.role = STORAGE_TYPE, .type = LF_U8}},
    {"torch", "BoolStorage", {.role = STORAGE_TYPE, .type = LF_BOOL}},
    {"torch.storage", "UntypedStorage", {.role = UNTYPED_STORAGE_TYPE, .type = LF_U8}},
    {"torch", "float32", {.role = TYPE, .type = LF_F32}},
    {"torch", "float16", {.role = TYPE, .type = LF_F16}},
    {"torch", "bfloat16", {.role = TYPE, .type = LF_BF16}},
    {"torch", "float64", {.role = TYPE, .type = LF_F64}},
    {"torch", "float8_e4m3fn", {.role = TYPE, .type = LF_F8_E4M3}},
    {"torch", "float8_e5m2", {.role = TYPE, .type = LF_F8_E5M2}},
    {"torch", "int64", {.role = TYPE, .type = LF_I64}},
    {"torch", "int32", {.role = TYPE, .type = LF_I32}},
    {"torch", "int16", {.role = TYPE, .type = LF_I16}},
    {"torch", "int8", {.role = TYPE, .type = LF_I8}},
    {"torch", "uint8", {.role = TYPE, .type = LF_U8}},
    {"torch", "bool", {.role = TYPE, .type = LF_BOOL}},
};

typedef struct {
    LfTensorFile *file;
    LfZip *zip;
    char *root; /* with its '/' */
    GPtrArray *objects;
    size_t copied, copy_limit; /* bytes of tensors that were made contiguous */
    guint visits;
} Reading;

/* ---- hooks of the pickle's machine ----------------------------------------------------------- */

static LfPickleValue *object_value(LfPickle *pickle, const Object *object)
{
    LfPickleValue *value = lf_pickle_value(pickle, LF_PICKLE_OBJECT);
    if (value)
        value->object = object;
    return value;
}

static LfPickleValue *new_object(LfPickle *pickle, const Object *object)
{
    Reading *in = lf_pickle_data(pickle);
    Object *copy = g_memdup2(object, sizeof *object);
    g_ptr_array_add(in->objects, copy);
    return object_value(pickle, copy);
}

/* The object that `value` is, when it has this role. */
static const Object *object_of(const LfPickleValue *value, Role role)
{
    const Object *object = value->kind == LF_PICKLE_OBJECT ? value->object : NULL;
    return object && object->role == role ? object : NULL;
}

static LfPickleValue *find_global(LfPickle *pickle, const char *module, const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(globals); i++)
        if (strcmp(globals[i].module, module) == 0 && strcmp(globals[i].name, name) == 0)
            return object_value(pickle, &globals[i].object);
    return lf_pickle_fail(pickle,
                          "refusing to unpickle %s.%s (only plain tensors are allowed); save the "
                          "state_dict alone, or as safetensors",
                          module, name);
}

/* ('storage', type, key, place, elements) */
static LfPickleValue *find_storage(LfPickle *pickle, const LfPickleValue *id)
{
    Reading *in = lf_pickle_data(pickle);
    if (id->kind != LF_PICKLE_TUPLE || lf_pickle_count(id) < 5 ||
        !lf_pickle_is_text(lf_pickle_item(id, 0), "storage"))
        return lf_pickle_fail(pickle,
                              "corrupt PyTorch file: a persistent id that names no storage");
    const Object *type = object_of(lf_pickle_item(id, 1), STORAGE_TYPE);
    if (!type)
        type = object_of(lf_pickle_item(id, 1), UNTYPED_STORAGE_TYPE);
    const LfPickleValue *key = lf_pickle_item(id, 2), *count = lf_pickle_item(id, 4);
    if (!type || key->kind != LF_PICKLE_TEXT || count->kind != LF_PICKLE_INT || key->length > 64 ||
        !g_utf8_validate_len(key->text, key->length, NULL))
        return lf_pickle_fail(pickle,
                              "corrupt PyTorch file: a persistent id that names no storage");
    g_autofree char *name = g_strdup_printf("%sdata/%.*s", in->root, (int) key->length, key->text);
    const LfZipEntry *entry = lf_zip_find(in->zip, name);
    size_t size;
    if (!entry || !lf_shape_size(type->type, 1, &count->number, &size) || size > entry->size)
        return lf_pickle_fail(pickle, "storage %s is missing or too short", name);
    return new_object(
        pickle, &(Object){.role = STORAGE, .type = type->type, .data = entry->data, .size = size});
}

/* The integers of a tuple; returns how many, or −1 when it is not a tuple of integers. */
static int numbers(const LfPickleValue *tuple, int64_t *values)
{
    if (tuple->kind != LF_PICKLE_TUPLE || lf_pickle_count(tuple) > LF_FILE_MAX_DIMS)
        return -1;
    for (guint i = 0; i < lf_pickle_count(tuple); i++) {
        if (lf_pickle_item(tuple, i)->kind != LF_PICKLE_INT)
            return -1;
        values[i] = lf_pickle_item(tuple, i)->number;
    }
    return (int) lf_pickle_count(tuple);
}

/* Whether every element, from `offset` on, is within the storage's `count` elements. */
static bool lies_inside(const Object *tensor, int64_t offset, int64_t count)
{
    int64_t last = offset, reach;
    size_t size;
    if (offset < 0 || !lf_shape_size(tensor->type, tensor->n_dims, tensor->shape, &size))
        return false;
    for (int i = 0; i < tensor->n_dims; i++)
        if (tensor->stride[i] < 0 ||
            (size > 0 && (__builtin_mul_overflow(tensor->shape[i] - 1, tensor->stride[i], &reach) ||
                          __builtin_add_overflow(last, reach, &last))))
            return false;
    return size == 0 ? offset <= count : last < count;
}

static LfPickleValue *rebuild(LfPickle *pickle, Role role, const LfPickleValue *arguments)
{
    guint n = lf_pickle_count(arguments);
    const Object *storage = n >= 4 ? object_of(lf_pickle_item(arguments, 0), STORAGE) : NULL;
    const Object *type = storage;
    if (role == REBUILD_3)
        type = n >= 7 ? object_of(lf_pickle_item(arguments, 6), TYPE) : NULL;
    if (!storage || !type || lf_pickle_item(arguments, 1)->kind != LF_PICKLE_INT)
        return lf_pickle_fail(pickle, "a tensor without a storage");
    Object tensor = {.role = TENSOR, .type = type->type};
    int64_t offset = lf_pickle_item(arguments, 1)->number;
    tensor.n_dims = numbers(lf_pickle_item(arguments, 2), tensor.shape);
    if (tensor.n_dims < 0 || numbers(lf_pickle_item(arguments, 3), tensor.stride) != tensor.n_dims)
        return lf_pickle_fail(pickle, "a tensor with a missing shape, or with too many dimensions");
    for (int i = 0; i < tensor.n_dims; i++)
        if (tensor.shape[i] == 1) /* its stride is never used, and may be any number */
            tensor.stride[i] = 0;
    size_t element = lf_type_size(type->type);
    if (!lies_inside(&tensor, offset, (int64_t) (storage->size / element)))
        return lf_pickle_fail(pickle, "corrupt PyTorch file: a tensor is larger than its storage");
    tensor.data = storage->data + (size_t) offset * element;
    return new_object(pickle, &tensor);
}

static LfPickleValue *call(LfPickle *pickle, const LfPickleValue *callable,
                           const LfPickleValue *arguments)
{
    const Object *object = callable->object;
    guint n = lf_pickle_count(arguments);
    switch (object->role) {
    case NOTHING:
    case SIZE:
        return lf_pickle_value(pickle, LF_PICKLE_OTHER);
    case DICTIONARY:
        if (n == 0)
            return lf_pickle_value(pickle, LF_PICKLE_DICT);
        break;
    case REBUILD:
    case REBUILD_3:
        return rebuild(pickle, object->role, arguments);
    case PARAMETER:
        if (n > 0 && object_of(lf_pickle_item(arguments, 0), TENSOR))
            return object_value(pickle, lf_pickle_item(arguments, 0)->object);
        break;
    default:
        break;
    }
    return lf_pickle_fail(pickle, "corrupt PyTorch file: a call with wrong arguments");
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool is_contiguous(const Object *tensor)
{
    int64_t step = 1;
    for (int i = tensor->n_dims - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != step)
            return false;
        step *= tensor->shape[i];
    }
    return true;
}

/* Every element in the order of a contiguous tensor: the last index runs fastest. */
static void gather(const Object *tensor, uint8_t *out, size_t size)
{
    size_t element = lf_type_size(tensor->type);
    int64_t index[LF_FILE_MAX_DIMS] = {0}, place = 0;
    for (uint8_t *end = out + size; out < end; out += element) {
        memcpy(out, tensor->data + (size_t) place * element, element);
        for (int i = tensor->n_dims - 1; i >= 0; i--) {
            place += tensor->stride[i];
            if (++index[i] < tensor->shape[i])
                break;
            place -= tensor->stride[i] * tensor->shape[i];
            index[i] = 0;
        }
    }
}

/* Strides may repeat elements, so a short file could ask for any amount of memory: copies are
 * limited to the file's own size. */
static bool make_contiguous(Reading *in, const Object *object, LfFileTensor *t, GError **error)
{
    uint8_t *copy = NULL;
    if (t->size <= in->copy_limit - in->copied)
        copy = g_try_malloc(t->size);
    if (!copy)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "%s: %s is not contiguous and too large to copy; save it with .contiguous()",
                       in->file->path, t->name);
    in->copied += t->size;
    gather(object, copy, t->size);
    g_ptr_array_add(in->file->copies, copy);
    t->data = copy;
    return true;
}

static bool add_tensor(Reading *in, const char *name, const Object *object, GError **error)
{
    LfFileTensor t = {.name = name, .type = object->type, .n_dims = object->n_dims};
    memcpy(t.shape, object->shape, sizeof t.shape);
    lf_shape_size(t.type, t.n_dims, t.shape, &t.size);
    t.data = object->data;
    if (t.size > 0 && !is_contiguous(object) && !make_contiguous(in, object, &t, error))
        return false;
    lf_tensor_file_add(in->file, &t);
    return true;
}

/* Appends ".key" to the name; false for keys that cannot be part of one. */
static bool append_key(GString *name, const LfPickleValue *key)
{
    bool text = key->kind == LF_PICKLE_TEXT && key->length <= MAX_NAME &&
                g_utf8_validate_len(key->text, key->length, NULL);
    if (!text && key->kind != LF_PICKLE_INT)
        return false;
    if (name->len > 0)
        g_string_append_c(name, '.');
    if (text)
        g_string_append_len(name, key->text, (gssize) key->length);
    else
        g_string_append_printf(name, "%" G_GINT64_FORMAT, key->number);
    return name->len <= MAX_NAME;
}

/* A dictionary may occur in many places, also in itself: depth and number of visits are limited. */
static bool flatten(Reading *in, const LfPickleValue *dict, GString *name, int depth,
                    GError **error)
{
    gsize length = name->len;
    for (guint i = 0; i < lf_pickle_count(dict); i += 2, g_string_truncate(name, length)) {
        const LfPickleValue *value = lf_pickle_item(dict, i + 1);
        const Object *tensor = object_of(value, TENSOR);
        if (depth >= MAX_DEPTH || ++in->visits > MAX_VISITS)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: its dictionaries nest too deeply",
                           in->file->path);
        if (!append_key(name, lf_pickle_item(dict, i)))
            continue;
        if (tensor && !add_tensor(in, name->str, tensor, error))
            return false;
        if (value->kind == LF_PICKLE_DICT && !flatten(in, value, name, depth + 1, error))
            return false;
    }
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The entry <root>/data.pkl; <root> is the archive's name when it was written. */
static const LfZipEntry *find_pickle(Reading *in, GError **error)
{
    for (size_t i = 0; i < lf_zip_count(in->zip); i++) {
        const LfZipEntry *entry = lf_zip_nth(in->zip, i);
        const char *slash = strchr(entry->name, '/');
        if (slash && strcmp(slash, "/data.pkl") == 0) {
            in->root = g_strndup(entry->name, (gsize) (slash + 1 - entry->name));
            return entry;
        }
    }
    lf_fail(error, LF_ERROR_FORMAT, "%s: a zip archive without data.pkl: not written by torch.save",
            in->file->path);
    return NULL;
}

static bool check_byte_order(const Reading *in, GError **error)
{
    g_autofree char *name = g_strconcat(in->root, "byteorder", NULL);
    const LfZipEntry *entry = lf_zip_find(in->zip, name);
    if (!entry || (entry->size == 6 && memcmp(entry->data, "little", 6) == 0))
        return true;
    return lf_fail(error, LF_ERROR_UNSUPPORTED,
                   "%s: its numbers are big-endian; save it again on a little-endian machine",
                   in->file->path);
}

static bool read_pickle(Reading *in, const LfZipEntry *entry, GError **error)
{
    const LfPickleHooks hooks = {find_global, find_storage, call, in};
    LfPickle *pickle = lf_pickle_read(entry->data, entry->size, &hooks, error);
    bool read = false;
    if (!pickle) {
        g_prefix_error(error, "%s: ", in->file->path);
        return false;
    }
    g_autoptr(GString) name = g_string_new(NULL);
    if (lf_pickle_root(pickle)->kind == LF_PICKLE_DICT)
        read = flatten(in, lf_pickle_root(pickle), name, 0, error);
    else
        lf_fail(error, LF_ERROR_FORMAT, "%s: it has no dictionary of tensors", in->file->path);
    lf_pickle_free(pickle);
    return read;
}

bool lf_pytorch_read(LfTensorFile *file, GMappedFile *map, GError **error)
{
    size_t size = g_mapped_file_get_length(map);
    Reading in = {.file = file, .copy_limit = size};
    file->format = "PyTorch";
    in.zip = lf_zip_open(g_mapped_file_get_contents(map), size, error);
    if (!in.zip) {
        g_prefix_error(error, "%s: ", file->path);
        return false;
    }
    in.objects = g_ptr_array_new_with_free_func(g_free);
    const LfZipEntry *entry = find_pickle(&in, error);
    bool read = entry && check_byte_order(&in, error) && read_pickle(&in, entry, error);
    g_ptr_array_unref(in.objects);
    lf_zip_free(in.zip);
    g_free(in.root);
    return read;
}
