/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A binding is filled in three steps: its tensors are found and checked, their numbers are gathered
 * in one piece of memory unless they are one already, and the backend makes a weight or vector of
 * them.
 */
#include "lora.h"
#include "random_weights.h"
#include "weight_source.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 8 };

/* One of the names of a binding, and the rows of it that the binding has. */
typedef struct {
    char *name;
    const LfFileTensor *tensor; /* NULL: random */
    const LfFileTensor *scale;  /* of an FP8 tensor's rows, or NULL */
    const GArray *updates;      /* of LoRAs, or NULL */
    int64_t first;              /* of the tensor's numbers: the binding's first one */
} Part;

typedef struct {
    const LfBinding *binding;
    int n_dims;
    int64_t rows, columns; /* of each part in the binding: its first dimension, and the others */
    int n_parts;
    Part parts[MAX_PARTS];
} Parts;

static void parts_clear(Parts *parts)
{
    for (int i = 0; i < parts->n_parts; i++)
        g_free(parts->parts[i].name);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Whether the file's shape is the expected one, as this kind of binding reads it. */
static bool fits(const Parts *parts, const LfFileTensor *t, const int64_t *shape)
{
    int first = 0, n = parts->n_dims;
    if (parts->binding->kind == LF_BIND_LINEAR || parts->binding->kind == LF_BIND_LINEAR_FP8) {
        int64_t columns = 1;
        for (int i = 1; i < t->n_dims; i++)
            columns *= t->shape[i];
        return t->n_dims >= 2 && t->shape[0] == shape[0] && columns == shape[1];
    }
    while (parts->binding->kind == LF_BIND_VECTOR && t->n_dims - first > n && t->shape[first] == 1)
        first++;
    return t->n_dims - first == n && memcmp(t->shape + first, shape, n * sizeof *shape) == 0;
}

static bool check(const Parts *parts, const Part *part, GError **error)
{
    const LfBinding *binding = parts->binding;
    int64_t shape[G_N_ELEMENTS(binding->shape)];
    memcpy(shape, binding->shape, sizeof shape);
    shape[0] = binding->rows ? binding->rows : parts->rows;
    if (!fits(parts, part->tensor, shape)) {
        g_autofree char *wanted = lf_shape_text(parts->n_dims, shape);
        g_autofree char *found = lf_shape_text(part->tensor->n_dims, part->tensor->shape);
        return lf_fail(error, LF_ERROR_SHAPE, "%s: %s expected, file has %s", part->name, wanted,
                       found);
    }
    if (!lf_file_tensor_is_real(part->tensor))
        return lf_fail(error, LF_ERROR_SHAPE, "%s: floating-point tensor expected, file has %s",
                       part->name, lf_file_tensor_type_name(part->tensor));
    return true;
}

static bool is_fp8(const LfFileTensor *t)
{
    return t->type == LF_F8_E4M3 || t->type == LF_F8_E5M2;
}

/* Without its scale an FP8 weight is wrong by orders of magnitude, so that any scale under an
 * unknown name, also beside a known one, is an error. Scales of the input are of no concern here. */
static bool check_other_scales(LfWeightSource *source, const Part *part, const char *known,
                               const char *stem, GError **error)
{
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, source->names);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const char *name = key;
        if (g_str_has_prefix(name, stem) && strstr(name + strlen(stem), "scale") &&
            !strstr(name + strlen(stem), "input") && g_strcmp0(name, known) != 0)
            return lf_fail(error, LF_ERROR_SHAPE,
                           "%s is FP8, and its scale %s is not understood: expected %s_scale or "
                           "%sscale_weight alone, for each row or for all",
                           part->name, name, part->name, stem);
    }
    return true;
}

/* One number for all rows, in any number of dimensions, or one for each: [out] or [out, 1 …]. */
static bool fits_rows(const LfFileTensor *scale, int64_t rows)
{
    int64_t n = lf_file_tensor_count(scale);
    return n == 1 || (n == rows && scale->n_dims > 0 && scale->shape[0] == rows);
}

/* "x.weight_scale" or "x.scale_weight". */
static bool find_scale(LfWeightSource *source, Part *part, GError **error)
{
    g_autofree char *stem = g_strndup(part->name, strlen(part->name) - strlen("weight"));
    g_autofree char *behind = g_strconcat(part->name, "_scale", NULL);
    g_autofree char *before = g_strconcat(stem, "scale_weight", NULL);
    const char *name = lf_weight_source_has(source, behind)   ? behind
                       : lf_weight_source_has(source, before) ? before
                                                              : NULL;
    if (!check_other_scales(source, part, name, stem, error))
        return false;
    if (!name)
        return true;
    part->scale = lf_weight_source_find(source, name, error);
    if (part->scale->type > LF_F64 || !fits_rows(part->scale, part->tensor->shape[0])) {
        g_autofree char *shape = lf_shape_text(part->scale->n_dims, part->scale->shape);
        return lf_fail(error, LF_ERROR_SHAPE,
                       "%s: floating-point [%" G_GINT64_FORMAT
                       ", 1] or [1] expected, file has %s %s",
                       name, part->tensor->shape[0], lf_file_tensor_type_name(part->scale), shape);
    }
    return true;
}

static bool find_part(LfWeightSource *source, Parts *parts, Part *part, GError **error)
{
    if (!source->file)
        return true;
    part->tensor = lf_weight_source_find(source, part->name, error);
    if (!part->tensor || !check(parts, part, error))
        return false;
    part->first = parts->binding->first * parts->columns;
    part->updates = lf_lora_updates(source, part->name);
    if (is_fp8(part->tensor) && g_str_has_suffix(part->name, ".weight"))
        return find_scale(source, part, error);
    return true;
}

static bool find_parts(LfWeightSource *source, const char *prefix, const LfBinding *binding,
                       Parts *parts, GError **error)
{
    g_auto(GStrv) names = g_strsplit(binding->name, "|", MAX_PARTS);
    int n = (int) g_strv_length(names);
    *parts = (Parts){.binding = binding, .columns = 1};
    while (parts->n_dims < (int) G_N_ELEMENTS(binding->shape) && binding->shape[parts->n_dims])
        parts->n_dims++;
    g_return_val_if_fail(parts->n_dims > 0 && binding->shape[0] % n == 0, false);
    parts->rows = binding->shape[0] / n;
    for (int i = 1; i < parts->n_dims; i++)
        parts->columns *= binding->shape[i];
    for (parts->n_parts = 0; parts->n_parts < n;) {
        Part *part = &parts->parts[parts->n_parts++];
        part->name = g_strconcat(prefix, names[parts->n_parts - 1], NULL);
        if (!find_part(source, parts, part, error))
            return false;
    }
    return true;
}

/* ---- gathering ------------------------------------------------------------------------------- */

/* Whether a device holds the parts as the file does: rows in E4M3, each with a scale. */
static bool keeps_codes(const LfBackend *be, const Parts *parts)
{
    bool keeps = be->precision == LF_PRECISION_FP8 && parts->binding->kind == LF_BIND_LINEAR_FP8;
    for (int i = 0; keeps && i < parts->n_parts; i++) {
        const Part *part = &parts->parts[i];
        keeps = part->tensor && part->tensor->type == LF_F8_E4M3 && !part->updates;
    }
    return keeps;
}

/* Whether its numbers are FP8 or coded: no weight is kept so. */
static bool is_reduced(const LfFileTensor *t)
{
    return t->coding || is_fp8(t);
}

/* Whether the part's bytes in the file are numbers of `type` as they are. */
static bool is_plain(const Part *part, LfType type)
{
    return !part->tensor->coding && part->tensor->type == type;
}

/* The type of the parts' numbers once they are gathered: F32 where a LoRA adds to one. */
static LfType common_type(const Parts *parts)
{
    const LfFileTensor *first = parts->parts[0].tensor;
    LfType type = !first || is_reduced(first) ? LF_BF16 : first->type;
    for (int i = 0; i < parts->n_parts; i++) {
        const Part *part = &parts->parts[i];
        if (part->updates || (i > 0 && first && !is_reduced(first) && !is_plain(part, type)))
            return LF_F32;
    }
    return type;
}

/* The number that row `r` of the part is multiplied by: FP8 rows may have scales of their own. */
static float scale_of(const Parts *parts, const Part *part, int64_t r)
{
    float scale = 1.0f;
    bool one = part->scale && lf_file_tensor_count(part->scale) == 1;
    if (part->scale)
        lf_file_tensor_read(part->scale, one ? 0 : parts->binding->first + r, 1, &scale);
    return scale;
}

static void convert_row(const Parts *parts, const Part *part, int64_t r, LfType type, float *values,
                        uint8_t *out)
{
    float scale = scale_of(parts, part, r);
    lf_file_tensor_read(part->tensor, part->first + r * parts->columns, parts->columns, values);
    for (int64_t i = 0; i < parts->columns; i++)
        values[i] *= scale;
    lf_from_float(out, type, values, parts->columns);
}

/* On all cores: files of FP8 or of coded numbers have billions of numbers. */
static void convert(const Parts *parts, const Part *part, LfType type, uint8_t *out)
{
    size_t row = (size_t) parts->columns * lf_type_size(type);
#pragma omp parallel if (parts->rows * parts->columns > 1 << 16)
    {
        g_autofree float *values = g_new(float, parts->columns);
#pragma omp for
        for (int64_t r = 0; r < parts->rows; r++)
            convert_row(parts, part, r, type, values, out + (size_t) r * row);
    }
}

/* Where the numbers of a part without coding begin. */
static const uint8_t *data_of(const Part *part)
{
    return (const uint8_t *) part->tensor->data +
           (size_t) part->first * lf_type_size(part->tensor->type);
}

/* As float, with what LoRAs add. */
static void merge(const Parts *parts, const Part *part, uint8_t *out)
{
    convert(parts, part, LF_F32, out);
    lf_lora_apply(part->updates, (float *) (void *) out, parts->binding->first, parts->rows,
                  parts->columns);
}

/* As memcpy, on all cores: a single one reads a mapped file too slowly. */
static void copy(uint8_t *out, const uint8_t *data, size_t size)
{
    enum { PIECE = 1 << 20 };
#pragma omp parallel for if (size > PIECE)
    for (size_t at = 0; at < size; at += PIECE)
        memcpy(out + at, data + at, MIN(PIECE, size - at));
}

/* The numbers of all parts as `type`, one after the other; of E4M3 without their scales. */
static void gather(LfWeightSource *source, const Parts *parts, LfType type, uint8_t *out)
{
    int64_t count = parts->rows * parts->columns;
    size_t size = (size_t) count * lf_type_size(type);
    for (int i = 0; i < parts->n_parts; i++, out += size) {
        const Part *part = &parts->parts[i];
        if (part->updates)
            merge(parts, part, out);
        else if (!part->tensor)
            lf_random_weights((uint16_t *) (void *) out, count, source->seed, part->name,
                              parts->n_dims, parts->columns);
        else if (is_plain(part, type))
            copy(out, data_of(part), size);
        else
            convert(parts, part, type, out);
    }
}

/* Whether the numbers can be used where they are: of `type`, as the file has them, each part behind
 * the one before it, each element at an address that it can be read at. */
static bool in_place(const Parts *parts, LfType type)
{
    const Part *first = &parts->parts[0];
    const uint8_t *data = first->tensor ? data_of(first) : NULL;
    size_t size = (size_t) (parts->rows * parts->columns) * lf_type_size(type);
    bool fits = (uintptr_t) data % lf_type_size(type) == 0;
    for (int i = 0; fits && i < parts->n_parts; i++, data += size) {
        const Part *part = &parts->parts[i];
        fits = part->tensor && !part->updates && is_plain(part, type) && data_of(part) == data;
    }
    return fits;
}

/* The scales of all rows, one after the other. */
static float *row_scales(const Parts *parts)
{
    float *scales = g_new(float, (size_t) (parts->rows * parts->n_parts)), *next = scales;
    for (int i = 0; i < parts->n_parts; i++)
        for (int64_t r = 0; r < parts->rows; r++)
            *next++ = scale_of(parts, &parts->parts[i], r);
    return scales;
}

/* ---- binding --------------------------------------------------------------------------------- */

static LfWeightKind weight_kind(LfBindKind kind)
{
    switch (kind) {
    case LF_BIND_CONV3X3:
        return LF_WEIGHT_CONV3X3;
    case LF_BIND_CONV_UP2:
        return LF_WEIGHT_CONV_UP2;
    case LF_BIND_EMBEDDING:
        return LF_WEIGHT_EMBEDDING;
    case LF_BIND_LINEAR_FP8:
        return LF_WEIGHT_LINEAR_FP8;
    default:
        return LF_WEIGHT_LINEAR;
    }
}

static LfTensor tensor_of(const Parts *parts, LfType type, void *data)
{
    LfTensor t = {.data = data, .type = type, .n_dims = parts->n_dims};
    memcpy(t.shape, parts->binding->shape, parts->n_dims * sizeof *t.shape);
    return t;
}

static bool bind_weight(LfBackend *be, LfWeightSource *source, const Parts *parts, LfWeight **field,
                        GError **error)
{
    bool codes = keeps_codes(be, parts);
    g_autofree float *scales = codes ? row_scales(parts) : NULL;
    LfTensor tensor = tensor_of(parts, codes ? LF_F8_E4M3 : common_type(parts), NULL);
    LfWeightKind kind = weight_kind(parts->binding->kind);
    void *memory = NULL;
    tensor.scales = scales;
    if (in_place(parts, tensor.type)) {
        tensor.data = (void *) data_of(&parts->parts[0]);
    } else if (!lf_backend_is_plan(be)) {
        memory = lf_weight_memory_new(parts->parts[0].name, lf_tensor_size(tensor), error);
        if (!memory)
            return false;
        tensor.data = memory;
        gather(source, parts, tensor.type, memory);
    }
    *field = lf_weight_new(be, kind, tensor, error);
    if (memory && *field && lf_weight_memory(*field) == 0)
        lf_weight_source_keep(source, memory, lf_tensor_size(tensor));
    else
        free(memory);
    return *field != NULL;
}

/* The numbers of all parts as float, one after the other. Free with g_free. */
static float *read_floats(LfWeightSource *source, const Parts *parts, GError **error)
{
    const LfFileTensor *first = parts->parts[0].tensor;
    LfType type = first && first->coding ? LF_F32 : common_type(parts);
    LfTensor tensor = tensor_of(parts, type, NULL);
    int64_t count = lf_tensor_count(tensor);
    g_autofree uint8_t *gathered = g_try_malloc(lf_tensor_size(tensor));
    float *values = g_try_new(float, count);
    if (!gathered || !values) {
        lf_fail(error, LF_ERROR_MEMORY, "out of memory: could not allocate %.1f MB for %s",
                8e-6 * (double) count, parts->parts[0].name);
        g_free(values);
        return NULL;
    }
    gather(source, parts, tensor.type, gathered);
    lf_to_float(values, gathered, tensor.type, count);
    return values;
}

static bool bind_vector(LfBackend *be, LfWeightSource *source, const Parts *parts, LfArena *arena,
                        LfTensor *field, GError **error)
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

static bool report(const LfWeightSource *source, const Parts *parts, GError **error)
{
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
        Parts parts;
        bound = find_parts(source, prefix, &bindings[i], &parts, error) &&
                (bindings[i].kind == LF_BIND_VECTOR
                     ? bind_vector(be, source, &parts, arena, field, error)
                     : bind_weight(be, source, &parts, field, error)) &&
                report(source, &parts, error);
        parts_clear(&parts);
    }
    return bound;
}

float *lf_weights_read(LfWeightSource *source, const char *prefix, const LfBinding *binding,
                       GError **error)
{
    Parts parts;
    float *values = NULL;
    if (find_parts(source, prefix, binding, &parts, error))
        values = read_floats(source, &parts, error);
    if (values && !report(source, &parts, error))
        g_clear_pointer(&values, g_free);
    parts_clear(&parts);
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
