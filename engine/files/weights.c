/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A binding is filled in three steps: its tensors are found and checked, their numbers are gathered
 * in one piece of memory unless they are one already, and the backend makes a weight or vector of
 * them.
 */
#include "weights.h"

#include "weight_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- binding --------------------------------------------------------------------------------- */

static LfWeightKind weight_kind(LfBindKind kind)
{
    switch (kind) {
    case LF_BIND_CONV3X3:
        return LF_WEIGHT_CONV3X3;
    case LF_BIND_CONV_UP2:
        return LF_WEIGHT_CONV_UP2;
    case LF_BIND_CONV3D:
        return LF_WEIGHT_CONV3D;
    case LF_BIND_EMBEDDING:
        return LF_WEIGHT_EMBEDDING;
    case LF_BIND_LINEAR_FP8:
        return LF_WEIGHT_LINEAR_FP8;
    default:
        return LF_WEIGHT_LINEAR;
    }
}

static LfTensor tensor_of(const LfWeightParts *parts, LfType type, void *data)
{
    LfTensor t = {.data = data, .type = type, .n_dims = parts->n_dims};
    memcpy(t.shape, parts->binding->shape, parts->n_dims * sizeof *t.shape);
    return t;
}

static bool bind_weight(LfBackend *be, LfWeightSource *source, const LfWeightParts *parts,
                        LfWeight **field, GError **error)
{
    bool codes = lf_weight_parts_keep_codes(parts, be->precision);
    g_autofree float *scales = codes ? lf_weight_parts_scales(parts) : NULL;
    LfTensor tensor = tensor_of(parts, codes ? LF_F8_E4M3 : lf_weight_parts_type(parts), NULL);
    LfWeightKind kind = weight_kind(parts->binding->kind);
    void *memory = NULL;
    tensor.scales = scales;
    tensor.data = (void *) lf_weight_parts_in_place(parts, tensor.type);
    if (!tensor.data && !lf_backend_is_plan(be)) {
        memory = lf_weight_memory_new(parts->parts[0].name, lf_tensor_size(tensor), error);
        if (!memory)
            return false;
        tensor.data = memory;
        lf_weight_parts_gather(source, parts, tensor.type, memory);
    }
    *field = lf_weight_new(be, kind, tensor, error);
    if (memory && *field && lf_weight_memory(*field) == 0)
        lf_weight_source_keep(source, memory, lf_tensor_size(tensor));
    else
        free(memory);
    return *field != NULL;
}

/* The numbers of all parts as float, one after the other. Free with g_free. */
static float *read_floats(LfWeightSource *source, const LfWeightParts *parts, GError **error)
{
    LfTensor tensor = tensor_of(parts, lf_weight_parts_float_type(parts), NULL);
    int64_t count = lf_tensor_count(tensor);
    g_autofree uint8_t *gathered = g_try_malloc(lf_tensor_size(tensor));
    float *values = g_try_new(float, count);
    if (!gathered || !values) {
        lf_fail(error, LF_ERROR_MEMORY, "out of memory: could not allocate %.1f MB for %s",
                8e-6 * (double) count, parts->parts[0].name);
        g_free(values);
        return NULL;
    }
    lf_weight_parts_gather(source, parts, tensor.type, gathered);
    lf_to_float(values, gathered, tensor.type, count);
    return values;
}

static bool bind_vector(LfBackend *be, LfWeightSource *source, const LfWeightParts *parts,
                        LfArena *arena, LfTensor *field, GError **error)
{
    int64_t shape[LF_MAX_DIMS + 1] = {0};
    memcpy(shape, parts->binding->shape, sizeof parts->binding->shape);
    *field = lf_arena_alloc(arena, LF_F32, shape);
    if (!field->data) /* a plan */
        return true;
    g_autofree float *values = read_floats(source, parts, error);
    if (values)
        lf_upload(be, *field, values);
    return values != NULL;
}

/* Tells who wants to know that the parts were bound, as floats or not. */
static bool report(const LfWeightSource *source, const LfWeightParts *parts, bool floats,
                   GError **error)
{
    if (source->observer)
        source->observer(parts, floats, source->observer_data);
    size_t size = 0;
    for (int i = 0; i < parts->n_parts; i++) {
        const LfFileTensor *tensor = parts->parts[i].tensor;
        size_t count = (size_t) (parts->rows * parts->columns);
        size += tensor && tensor->coding
                    ? count / (size_t) tensor->coding->block * tensor->coding->size
                    : count * lf_type_size(tensor ? tensor->type : LF_BF16);
    }
    return !source->progress || source->progress(size, source->progress_data, error);
}

bool lf_weights_bind(LfBackend *be, LfWeightSource *source, const char *prefix,
                     const LfBinding *bindings, size_t n_bindings, LfArena *arena, void *object,
                     GError **error)
{
    bool bound = true;
    for (size_t i = 0; bound && i < n_bindings; i++) {
        void *field = (char *) object + bindings[i].offset;
        LfWeightParts parts;
        bound = lf_weight_parts_find(source, prefix, &bindings[i], &parts, error) &&
                (bindings[i].kind == LF_BIND_VECTOR
                     ? bind_vector(be, source, &parts, arena, field, error)
                     : bind_weight(be, source, &parts, field, error)) &&
                report(source, &parts, bindings[i].kind == LF_BIND_VECTOR, error);
        lf_weight_parts_clear(&parts);
    }
    return bound;
}

float *lf_weights_read(LfWeightSource *source, const char *prefix, const LfBinding *binding,
                       GError **error)
{
    LfWeightParts parts;
    float *values = NULL;
    if (lf_weight_parts_find(source, prefix, binding, &parts, error))
        values = read_floats(source, &parts, error);
    if (values && !report(source, &parts, true, error))
        g_clear_pointer(&values, g_free);
    lf_weight_parts_clear(&parts);
    return values;
}

void lf_weights_unbind(LfBackend *be, const LfBinding *bindings, size_t n_bindings, void *object)
{
    for (size_t i = 0; i < n_bindings; i++) {
        void *field = (char *) object + bindings[i].offset;
        if (bindings[i].kind == LF_BIND_VECTOR) {
            *(LfTensor *) field = LF_NONE;
        } else {
            lf_weight_free(be, *(LfWeight **) field);
            *(LfWeight **) field = NULL;
        }
    }
}

size_t lf_weights_memory(const LfBinding *bindings, size_t n_bindings, const void *object)
{
    size_t memory = 0;
    for (size_t i = 0; i < n_bindings; i++) {
        const void *field = (const char *) object + bindings[i].offset;
        if (bindings[i].kind != LF_BIND_VECTOR && *(LfWeight *const *) field)
            memory += lf_weight_memory(*(LfWeight *const *) field);
    }
    return memory;
}

size_t lf_weights_vector_size(const LfBinding *bindings, size_t n_bindings)
{
    LfArena plan = lf_arena_plan();
    for (size_t i = 0; i < n_bindings; i++) {
        int64_t shape[LF_MAX_DIMS + 1] = {0};
        memcpy(shape, bindings[i].shape, sizeof bindings[i].shape);
        if (bindings[i].kind == LF_BIND_VECTOR)
            lf_arena_alloc(&plan, LF_F32, shape);
    }
    return plan.used;
}
