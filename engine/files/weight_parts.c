/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "weight_parts.h"

#include "lora.h"
#include "random_weights.h"

#include <string.h>

void lf_weight_parts_clear(LfWeightParts *parts)
{
    for (int i = 0; i < parts->n_parts; i++)
        g_free(parts->parts[i].name);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Whether the file's shape is the expected one, as this kind of binding reads it. */
static bool fits(const LfWeightParts *parts, const LfFileTensor *t, const int64_t *shape)
{
    int first = 0, last = t->n_dims, n = parts->n_dims;
    if (parts->binding->kind == LF_BIND_LINEAR || parts->binding->kind == LF_BIND_LINEAR_FP8) {
        int64_t columns = 1;
        for (int i = 1; i < t->n_dims; i++)
            columns *= t->shape[i];
        return t->n_dims >= 2 && t->shape[0] == shape[0] && columns == shape[1];
    }
    while (parts->binding->kind == LF_BIND_VECTOR && t->n_dims - first > n && t->shape[first] == 1)
        first++;
    while (parts->binding->kind == LF_BIND_VECTOR && last - first > n && t->shape[last - 1] == 1)
        last--;
    while (parts->binding->kind == LF_BIND_CONV3D && n > last && shape[n - 1] == 1)
        n--;
    return last - first == n && memcmp(t->shape + first, shape, n * sizeof *shape) == 0;
}

static bool check(const LfWeightParts *parts, const LfWeightPart *part, GError **error)
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
static bool check_other_scales(LfWeightSource *source, const LfWeightPart *part, const char *known,
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
static bool find_scale(LfWeightSource *source, LfWeightPart *part, GError **error)
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

static bool find_part(LfWeightSource *source, LfWeightParts *parts, LfWeightPart *part,
                      GError **error)
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

bool lf_weight_parts_find(LfWeightSource *source, const char *prefix, const LfBinding *binding,
                          LfWeightParts *parts, GError **error)
{
    g_auto(GStrv) names = g_strsplit(binding->name, "|", LF_WEIGHT_PARTS);
    int n = (int) g_strv_length(names);
    *parts = (LfWeightParts){.binding = binding, .columns = 1};
    while (parts->n_dims < (int) G_N_ELEMENTS(binding->shape) && binding->shape[parts->n_dims])
        parts->n_dims++;
    g_return_val_if_fail(parts->n_dims > 0 && binding->shape[0] % n == 0, false);
    parts->rows = binding->shape[0] / n;
    for (int i = 1; i < parts->n_dims; i++)
        parts->columns *= binding->shape[i];
    for (parts->n_parts = 0; parts->n_parts < n;) {
        LfWeightPart *part = &parts->parts[parts->n_parts++];
        part->name = g_strconcat(prefix, names[parts->n_parts - 1], NULL);
        if (!find_part(source, parts, part, error))
            return false;
    }
    return true;
}

/* ---- gathering ------------------------------------------------------------------------------- */

bool lf_weight_parts_keep_codes(const LfWeightParts *parts, LfPrecision precision)
{
    bool keeps = precision == LF_PRECISION_FP8 && parts->binding->kind == LF_BIND_LINEAR_FP8;
    for (int i = 0; keeps && i < parts->n_parts; i++) {
        const LfWeightPart *part = &parts->parts[i];
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
static bool is_plain(const LfWeightPart *part, LfType type)
{
    return !part->tensor->coding && part->tensor->type == type;
}

LfType lf_weight_parts_type(const LfWeightParts *parts)
{
    const LfFileTensor *first = parts->parts[0].tensor;
    LfType type = !first || is_reduced(first) ? LF_BF16 : first->type;
    for (int i = 0; i < parts->n_parts; i++) {
        const LfWeightPart *part = &parts->parts[i];
        if (part->updates || (i > 0 && first && !is_reduced(first) && !is_plain(part, type)))
            return LF_F32;
    }
    return type;
}

LfType lf_weight_parts_float_type(const LfWeightParts *parts)
{
    const LfFileTensor *first = parts->parts[0].tensor;
    return first && first->coding ? LF_F32 : lf_weight_parts_type(parts);
}

/* The number that row `r` of the part is multiplied by: FP8 rows may have scales of their own. */
static float scale_of(const LfWeightParts *parts, const LfWeightPart *part, int64_t r)
{
    float scale = 1.0f;
    bool one = part->scale && lf_file_tensor_count(part->scale) == 1;
    if (part->scale)
        lf_file_tensor_read(part->scale, one ? 0 : parts->binding->first + r, 1, &scale);
    return scale;
}

static void convert_row(const LfWeightParts *parts, const LfWeightPart *part, int64_t r,
                        LfType type, float *values, uint8_t *out)
{
    float scale = scale_of(parts, part, r);
    lf_file_tensor_read(part->tensor, part->first + r * parts->columns, parts->columns, values);
    for (int64_t i = 0; i < parts->columns; i++)
        values[i] *= scale;
    lf_from_float(out, type, values, parts->columns);
}

/* On all cores: files of FP8 or of coded numbers have billions of numbers. */
static void convert(const LfWeightParts *parts, const LfWeightPart *part, LfType type, uint8_t *out)
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
static const uint8_t *data_of(const LfWeightPart *part)
{
    return (const uint8_t *) part->tensor->data +
           (size_t) part->first * lf_type_size(part->tensor->type);
}

/* As float, with what LoRAs add. */
static void merge(const LfWeightParts *parts, const LfWeightPart *part, uint8_t *out)
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

void lf_weight_parts_gather(LfWeightSource *source, const LfWeightParts *parts, LfType type,
                            uint8_t *out)
{
    int64_t count = parts->rows * parts->columns;
    size_t size = (size_t) count * lf_type_size(type);
    for (int i = 0; i < parts->n_parts; i++, out += size) {
        const LfWeightPart *part = &parts->parts[i];
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

const void *lf_weight_parts_in_place(const LfWeightParts *parts, LfType type)
{
    const LfWeightPart *first = &parts->parts[0];
    const uint8_t *data = first->tensor ? data_of(first) : NULL, *next = data;
    size_t size = (size_t) (parts->rows * parts->columns) * lf_type_size(type);
    bool fits = (uintptr_t) data % lf_type_size(type) == 0;
    for (int i = 0; fits && i < parts->n_parts; i++, next += size) {
        const LfWeightPart *part = &parts->parts[i];
        fits = part->tensor && !part->updates && is_plain(part, type) && data_of(part) == next;
    }
    return fits ? data : NULL;
}

float *lf_weight_parts_scales(const LfWeightParts *parts)
{
    float *scales = g_new(float, (size_t) (parts->rows * parts->n_parts)), *next = scales;
    for (int i = 0; i < parts->n_parts; i++)
        for (int64_t r = 0; r < parts->rows; r++)
            *next++ = scale_of(parts, &parts->parts[i], r);
    return scales;
}
