/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The values of a pickle. What a global is that torch_globals.c does not list is never asked: it
 * stays a name, and so does whatever a call of it would make.
 */
#include "torch.h"

#include <string.h>

enum { MAX_KEY = 64 };

void lf_torch_init(LfTorch *torch, LfTensorFile *file, size_t size)
{
    *torch = (LfTorch){.file = file, .copy_limit = size};
    torch->objects = g_ptr_array_new_with_free_func(g_free);
}

void lf_torch_clear(LfTorch *torch)
{
    g_ptr_array_unref(torch->objects);
    g_free(torch->left_out);
}

LfTorchBytes *lf_torch_bytes_new(LfTorch *torch)
{
    LfTorchBytes *bytes = g_new0(LfTorchBytes, 1);
    g_ptr_array_add(torch->objects, bytes);
    return bytes;
}

/* ---- objects --------------------------------------------------------------------------------- */

static LfPickleValue *object_value(LfPickle *pickle, const LfTorchObject *object)
{
    LfPickleValue *value = lf_pickle_value(pickle, LF_PICKLE_OBJECT);
    if (value)
        value->object = object;
    return value;
}

static LfPickleValue *new_object(LfPickle *pickle, const LfTorchObject *object)
{
    LfTorch *torch = lf_pickle_data(pickle);
    LfTorchObject *copy = g_memdup2(object, sizeof *object);
    g_ptr_array_add(torch->objects, copy);
    return object_value(pickle, copy);
}

/* The object that `value` is, when it has this role. */
static const LfTorchObject *object_of(const LfPickleValue *value, LfTorchRole role)
{
    const LfTorchObject *object = value->kind == LF_PICKLE_OBJECT ? value->object : NULL;
    return object && object->role == role ? object : NULL;
}

/* A text that lives as long as the file. */
static const char *keep(LfPickle *pickle, char *text)
{
    LfTorch *torch = lf_pickle_data(pickle);
    g_ptr_array_add(torch->objects, text);
    return text;
}

static LfPickleValue *find_global(LfPickle *pickle, const char *module, const char *name)
{
    const LfTorchObject *object = lf_torch_global(module, name);
    if (object)
        return object_value(pickle, object);
    const LfTorchObject unknown = {.role = LF_TORCH_UNKNOWN,
                                   .what = keep(pickle, g_strconcat(module, ".", name, NULL))};
    return new_object(pickle, &unknown);
}

static LfPickleValue *unreadable(LfPickle *pickle, const char *what)
{
    return new_object(pickle, &(LfTorchObject){.role = LF_TORCH_TENSOR, .what = what});
}

/* ---- storages -------------------------------------------------------------------------------- */

static LfPickleValue *no_storage(LfPickle *pickle)
{
    return lf_pickle_fail(pickle, "corrupt PyTorch file: a persistent id that names no storage");
}

/* ('storage', type, key, place, elements, …). ('module', class, …) stands for the class. */
static LfPickleValue *find_storage(LfPickle *pickle, const LfPickleValue *id)
{
    LfTorch *torch = lf_pickle_data(pickle);
    guint n = id->kind == LF_PICKLE_TUPLE ? lf_pickle_count(id) : 0;
    if (n >= 2 && lf_pickle_is_text(lf_pickle_item(id, 0), "module"))
        return (LfPickleValue *) lf_pickle_item(id, 1);
    if (n < 5 || !lf_pickle_is_text(lf_pickle_item(id, 0), "storage"))
        return no_storage(pickle);
    const LfPickleValue *class = lf_pickle_item(id, 1), *key = lf_pickle_item(id, 2);
    const LfPickleValue *count = lf_pickle_item(id, 4);
    const LfTorchObject *type = object_of(class, LF_TORCH_STORAGE_TYPE);
    const LfTorchObject *other = object_of(class, LF_TORCH_UNKNOWN);
    if ((!type && !other) || key->kind != LF_PICKLE_TEXT || count->kind != LF_PICKLE_INT ||
        key->length > MAX_KEY || !g_utf8_validate_len(key->text, key->length, NULL))
        return no_storage(pickle);
    LfTorchObject storage = {.role = LF_TORCH_STORAGE};
    if (type) {
        storage.type = type->type;
        storage.element = type->element ? type->element : lf_type_size(type->type);
        storage.what = type->what;
    } else {
        storage.what = keep(pickle, g_strdup_printf("a tensor of %s, which is not known: save it "
                                                    "in another type",
                                                    other->what));
    }
    if (count->number < 0 ||
        __builtin_mul_overflow(storage.element, (size_t) count->number, &storage.size))
        return lf_pickle_fail(pickle, "corrupt PyTorch file: a storage of an impossible size");
    g_autofree char *name = g_strndup(key->text, key->length);
    return torch->find(torch, pickle, name, id, &storage) ? new_object(pickle, &storage) : NULL;
}

/* ---- tensors --------------------------------------------------------------------------------- */

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
static bool lies_inside(const LfTorchObject *tensor, int64_t offset, int64_t count)
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

/* The type of a tensor's elements; one that is not known makes `what` of the tensor. */
static bool find_type(LfPickle *pickle, LfTorchRole role, const LfPickleValue *arguments,
                      const LfTorchObject *storage, LfTorchObject *tensor)
{
    tensor->type = storage->type;
    tensor->what = storage->what;
    if (role != LF_TORCH_REBUILD_3)
        return true;
    const LfPickleValue *value =
        lf_pickle_count(arguments) >= 7 ? lf_pickle_item(arguments, 6) : NULL;
    const LfTorchObject *type = value ? object_of(value, LF_TORCH_TYPE) : NULL;
    const LfTorchObject *other = value ? object_of(value, LF_TORCH_UNKNOWN) : NULL;
    if (type)
        tensor->type = type->type;
    else if (other)
        tensor->what = keep(pickle, g_strdup_printf("a tensor of %s, which is not supported: save "
                                                    "it in another type",
                                                    other->what));
    return type || other;
}

static LfPickleValue *rebuild(LfPickle *pickle, LfTorchRole role, const LfPickleValue *arguments)
{
    guint n = lf_pickle_count(arguments);
    const LfTorchObject *storage =
        n >= 4 ? object_of(lf_pickle_item(arguments, 0), LF_TORCH_STORAGE) : NULL;
    LfTorchObject tensor = {.role = LF_TORCH_TENSOR};
    if (!storage || !find_type(pickle, role, arguments, storage, &tensor) ||
        lf_pickle_item(arguments, 1)->kind != LF_PICKLE_INT)
        return lf_pickle_fail(pickle, "a tensor without a storage");
    if (tensor.what)
        return unreadable(pickle, tensor.what);
    int64_t offset = lf_pickle_item(arguments, 1)->number;
    tensor.n_dims = numbers(lf_pickle_item(arguments, 2), tensor.shape);
    if (tensor.n_dims < 0 || numbers(lf_pickle_item(arguments, 3), tensor.stride) != tensor.n_dims)
        return lf_pickle_fail(pickle, "a tensor with a missing shape, or with too many dimensions");
    for (int i = 0; i < tensor.n_dims; i++)
        if (tensor.shape[i] == 1) /* its stride is never used, and may be any number */
            tensor.stride[i] = 0;
    size_t element = lf_type_size(tensor.type);
    if (!lies_inside(&tensor, offset, (int64_t) (storage->size / element)))
        return lf_pickle_fail(pickle, "corrupt PyTorch file: a tensor is larger than its storage");
    tensor.bytes = storage->bytes;
    tensor.start = storage->start + (size_t) offset * element;
    return new_object(pickle, &tensor);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Whether a storage or a tensor is among the first arguments: what is made of them is a tensor. */
static bool has_tensor(const LfPickleValue *arguments, int depth)
{
    enum { LOOKED_AT = 8 };
    for (guint i = 0; i < MIN(lf_pickle_count(arguments), (guint) LOOKED_AT); i++) {
        const LfPickleValue *value = lf_pickle_item(arguments, i);
        if (object_of(value, LF_TORCH_STORAGE) || object_of(value, LF_TORCH_TENSOR) ||
            (depth > 0 && value->kind == LF_PICKLE_TUPLE && has_tensor(value, depth - 1)))
            return true;
    }
    return false;
}

static LfPickleValue *call_unknown(LfPickle *pickle, const LfTorchObject *unknown,
                                   const LfPickleValue *arguments)
{
    const char *problem = lf_torch_problem_of_class(unknown->what);
    if (problem)
        return unreadable(pickle, problem);
    if (!has_tensor(arguments, 1))
        return object_value(pickle, unknown);
    return unreadable(pickle, keep(pickle, g_strdup_printf("made by %s, which is not known: save "
                                                           "plain tensors, or safetensors",
                                                           unknown->what)));
}

static LfPickleValue *call_plain(LfPickle *pickle, const LfTorchObject *object,
                                 const LfPickleValue *arguments)
{
    switch (object->role) {
    case LF_TORCH_DICTIONARY:
        return lf_pickle_value(pickle,
                               lf_pickle_count(arguments) ? LF_PICKLE_OTHER : LF_PICKLE_DICT);
    case LF_TORCH_REBUILD:
    case LF_TORCH_REBUILD_3:
        return rebuild(pickle, object->role, arguments);
    case LF_TORCH_MAKER:
        return unreadable(pickle, object->what);
    case LF_TORCH_UNKNOWN:
        return call_unknown(pickle, object, arguments);
    default:
        return lf_pickle_value(pickle, LF_PICKLE_OTHER);
    }
}

/* A tensor of a class derived from Tensor is what the function makes of the arguments, unless the
 * class gives it another meaning. */
static LfPickleValue *call_subclass(LfPickle *pickle, const LfPickleValue *arguments)
{
    guint n = lf_pickle_count(arguments);
    const LfPickleValue *function = n >= 3 ? lf_pickle_item(arguments, 0) : NULL;
    const LfTorchObject *class =
        n >= 3 ? object_of(lf_pickle_item(arguments, 1), LF_TORCH_UNKNOWN) : NULL;
    const char *problem = class ? lf_torch_problem_of_class(class->what) : NULL;
    if (problem)
        return unreadable(pickle, problem);
    if (!function || function->kind != LF_PICKLE_OBJECT ||
        lf_pickle_item(arguments, 2)->kind != LF_PICKLE_TUPLE)
        return lf_pickle_fail(pickle, "corrupt PyTorch file: a tensor without a function");
    return call_plain(pickle, function->object, lf_pickle_item(arguments, 2));
}

static LfPickleValue *call(LfPickle *pickle, const LfPickleValue *callable,
                           const LfPickleValue *arguments)
{
    const LfTorchObject *object = callable->object;
    if (object->role == LF_TORCH_SUBCLASS)
        return call_subclass(pickle, arguments);
    if (object->role != LF_TORCH_PARAMETER)
        return call_plain(pickle, object, arguments);
    const LfPickleValue *tensor = lf_pickle_count(arguments) ? lf_pickle_item(arguments, 0) : NULL;
    if (!tensor || tensor->kind != LF_PICKLE_OBJECT)
        return lf_pickle_fail(pickle, "corrupt PyTorch file: a parameter without a tensor");
    return object_value(pickle, tensor->object);
}

LfPickle *lf_torch_unpickle(LfTorch *torch, const void *bytes, size_t size, GError **error)
{
    torch->hooks = (LfPickleHooks){find_global, find_storage, call, torch};
    return lf_pickle_read(bytes, size, &torch->hooks, error);
}
