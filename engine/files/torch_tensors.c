/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From the dictionaries of a pickle to the list of tensors.
 */
#include "torch.h"

#include <string.h>

enum { MAX_DEPTH = 16, MAX_NAME = 512, MAX_VISITS = 200000 };

static bool is_contiguous(const LfTorchObject *tensor)
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
static void gather(const LfTorchObject *tensor, uint8_t *out, size_t size)
{
    const uint8_t *data = tensor->bytes->data + tensor->start;
    size_t element = lf_type_size(tensor->type);
    int64_t index[LF_FILE_MAX_DIMS] = {0}, place = 0;
    for (uint8_t *end = out + size; out < end; out += element) {
        memcpy(out, data + (size_t) place * element, element);
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
static bool make_contiguous(LfTorch *in, const LfTorchObject *object, LfFileTensor *t,
                            GError **error)
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

static bool add_tensor(LfTorch *in, const char *name, const LfTorchObject *object, GError **error)
{
    LfFileTensor t = {.name = name, .type = object->type, .n_dims = object->n_dims};
    if (object->what) {
        lf_tensor_file_add_unreadable(in->file, name, object->what);
        return true;
    }
    memcpy(t.shape, object->shape, sizeof t.shape);
    lf_shape_size(t.type, t.n_dims, t.shape, &t.size);
    t.data = object->bytes->data + object->start;
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

/* Whether a dictionary, or an object of a class derived from one. */
static bool is_dictionary(const LfPickleValue *value)
{
    return value->kind == LF_PICKLE_DICT || (value->kind == LF_PICKLE_OBJECT && value->items);
}

static const LfTorchObject *object_of(const LfPickleValue *value)
{
    return value->kind == LF_PICKLE_OBJECT ? value->object : NULL;
}

static void note_left_out(LfTorch *in, const char *name, const LfTorchObject *object)
{
    if (!in->left_out)
        in->left_out = g_strdup_printf("%s is an object of %s", name, object->what);
}

/* A dictionary may occur in many places, also in itself: depth and number of visits are limited. */
static bool flatten(LfTorch *in, const LfPickleValue *dict, GString *name, int depth,
                    GError **error)
{
    gsize length = name->len;
    for (guint i = 0; i < lf_pickle_count(dict); i += 2, g_string_truncate(name, length)) {
        const LfPickleValue *value = lf_pickle_item(dict, i + 1);
        const LfTorchObject *object = object_of(value);
        if (depth >= MAX_DEPTH || ++in->visits > MAX_VISITS)
            return lf_fail(error, LF_ERROR_FORMAT, "%s: its dictionaries nest too deeply",
                           in->file->path);
        if (!append_key(name, lf_pickle_item(dict, i)))
            continue;
        if (object && object->role == LF_TORCH_TENSOR) {
            if (!add_tensor(in, name->str, object, error))
                return false;
        } else if (is_dictionary(value)) {
            if (!flatten(in, value, name, depth + 1, error))
                return false;
        } else if (object && object->role == LF_TORCH_UNKNOWN) {
            note_left_out(in, name->str, object);
        }
    }
    return true;
}

#define CURE "save the state dictionary (state_dict()) alone, or safetensors"

bool lf_torch_add_tensors(LfTorch *in, const LfPickle *pickle, GError **error)
{
    const LfPickleValue *root = lf_pickle_root(pickle);
    const LfTorchObject *object = object_of(root);
    g_autoptr(GString) name = g_string_new(NULL);
    if (!is_dictionary(root) && object && object->role == LF_TORCH_UNKNOWN)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: it holds an object of %s, which is not read: " CURE, in->file->path,
                       object->what);
    if (!is_dictionary(root))
        return lf_fail(error, LF_ERROR_FORMAT, "%s: it has no dictionary of tensors",
                       in->file->path);
    if (!flatten(in, root, name, 0, error))
        return false;
    return in->file->tensors->len > 0 || !in->left_out ||
           lf_fail(error, LF_ERROR_FORMAT, "%s: it has no tensors: %s, which is not read: " CURE,
                   in->file->path, in->left_out);
}
