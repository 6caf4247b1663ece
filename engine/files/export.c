/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "export.h"

#include "name_hash.h"
#include "weight_parts.h"

#include <stdlib.h>
#include <string.h>

typedef enum {
    NUMBERS,      /* in `type`, rounded as a device rounds them */
    CODES,        /* of E4M3, as the file has them */
    CODED,        /* E4M3, made of the numbers */
    CODES_SCALES, /* of the rows of codes that the file has: its own, or the one, for each row */
    CODED_SCALES  /* of the rows that are made */
} Content;

/* A tensor of the new file. */
typedef struct {
    LfWeightParts parts; /* one: the whole tensor */
    LfBinding binding;   /* of `parts` */
    LfFileTensor tensor; /* what is written; its name is owned */
    LfType gathered;     /* the type before it is rounded */
    Content content;
} Entry;

struct LfExport {
    LfWeightSource *source;
    LfPrecision precision;
    GPtrArray *entries;
    GHashTable *names; /* of tensors that were noted */
    void *memory;      /* of the tensor that is being written */
    bool (*written)(size_t size, gpointer data, GError **error);
    gpointer data;
};

/* ---- noting ---------------------------------------------------------------------------------- */

static void entry_free(gpointer data)
{
    Entry *e = data;
    lf_weight_parts_clear(&e->parts);
    g_free((char *) e->tensor.name);
    g_free(e);
}

/* The whole tensor of a part, whichever rows the binding has of it. */
static Entry *entry_new(const LfWeightParts *parts, int index, Content content)
{
    Entry *e = g_new0(Entry, 1);
    const LfWeightPart *part = &parts->parts[index];
    e->content = content;
    e->binding = *parts->binding;
    e->binding.shape[0] = part->tensor->shape[0];
    if (parts->binding->rows == 0)
        e->binding.shape[0] = parts->rows;
    e->binding.first = e->binding.rows = 0;
    e->parts = *parts;
    e->parts.binding = &e->binding;
    e->parts.rows = e->binding.shape[0];
    e->parts.n_parts = 1;
    e->parts.parts[0] = *part;
    e->parts.parts[0].first = 0;
    e->parts.parts[0].name = g_strdup(part->name);
    return e;
}

/* The file's shape in another type. */
static void add_numbers(LfExport *x, const LfWeightParts *parts, int index, Content content,
                        LfType gathered, LfType type)
{
    Entry *e = entry_new(parts, index, content);
    e->gathered = gathered;
    e->tensor = *parts->parts[index].tensor;
    e->tensor.name = g_strdup(parts->parts[index].name);
    e->tensor.type = type;
    e->tensor.coding = NULL;
    e->tensor.size = (size_t) (e->parts.rows * e->parts.columns) * lf_type_size(type);
    g_ptr_array_add(x->entries, e);
}

static void add_scales(LfExport *x, const LfWeightParts *parts, int index, Content content,
                       LfType gathered)
{
    Entry *e = entry_new(parts, index, content);
    e->gathered = gathered;
    e->tensor = (LfFileTensor){.name = g_strconcat(parts->parts[index].name, "_scale", NULL),
                               .type = LF_F32,
                               .n_dims = 2,
                               .shape = {e->parts.rows, 1},
                               .size = (size_t) e->parts.rows * sizeof(float)};
    g_ptr_array_add(x->entries, e);
}

/* The type in which a device of the precision holds numbers that were gathered in `type`. The CPU
 * uses BF16 where it is, and converts the others to F32, without loss. */
static LfType held_type(const LfExport *x, LfBindKind kind, LfType type)
{
    bool linear = kind == LF_BIND_LINEAR || kind == LF_BIND_LINEAR_FP8;
    return linear && x->precision != LF_PRECISION_FP32 ? LF_BF16 : type;
}

static void note(const LfWeightParts *parts, bool floats, gpointer export)
{
    LfExport *x = export;
    LfBindKind kind = parts->binding->kind;
    LfType type = floats ? lf_weight_parts_float_type(parts) : lf_weight_parts_type(parts);
    bool quantised = !floats && kind == LF_BIND_LINEAR_FP8 && x->precision == LF_PRECISION_FP8;
    bool codes = quantised && lf_weight_parts_keep_codes(parts, x->precision);
    for (int i = 0; i < parts->n_parts; i++) {
        const LfWeightPart *part = &parts->parts[i];
        if (!part->tensor || !g_hash_table_add(x->names, g_strdup(part->name)))
            continue;
        if (quantised) {
            add_numbers(x, parts, i, codes ? CODES : CODED, type, LF_F8_E4M3);
            add_scales(x, parts, i, codes ? CODES_SCALES : CODED_SCALES, type);
        } else {
            add_numbers(x, parts, i, NUMBERS, type, floats ? type : held_type(x, kind, type));
        }
    }
}

LfExport *lf_export_new(LfWeightSource *source, LfPrecision precision)
{
    LfExport *x = g_new0(LfExport, 1);
    x->source = source;
    x->precision = precision;
    x->entries = g_ptr_array_new_with_free_func(entry_free);
    x->names = g_hash_table_new_full(lf_name_hash, g_str_equal, g_free, NULL);
    source->observer = note;
    source->observer_data = x;
    return x;
}

void lf_export_free(LfExport *x)
{
    if (!x)
        return;
    x->source->observer = NULL;
    g_hash_table_unref(x->names);
    g_ptr_array_unref(x->entries);
    free(x->memory);
    g_free(x);
}

uint64_t lf_export_size(const LfExport *x)
{
    uint64_t size = 0;
    for (guint i = 0; i < x->entries->len; i++)
        size += ((const Entry *) x->entries->pdata[i])->tensor.size;
    return size;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Memory for `size` bytes in place of what was written before. */
static void *renew(LfExport *x, const Entry *e, size_t size, GError **error)
{
    free(x->memory);
    return x->memory = lf_weight_memory_new(e->tensor.name, size, error);
}

/* Rows, which are of e->gathered at `values`, to codes and scales; one of both may be NULL. */
static void quantise(const Entry *e, const uint8_t *values, uint8_t *codes, float *scales)
{
    int64_t columns = e->parts.columns;
    size_t row = (size_t) columns * lf_type_size(e->gathered);
#pragma omp parallel
    {
        g_autofree float *numbers = g_new(float, columns);
#pragma omp for
        for (int64_t r = 0; r < e->parts.rows; r++) {
            float scale;
            lf_to_float(numbers, values + (size_t) r * row, e->gathered, columns);
            lf_quantise_row(codes ? codes + r * columns : NULL, &scale, numbers, columns);
            if (scales)
                scales[r] = scale;
        }
    }
}

static void round_to(const Entry *e, const uint8_t *values, uint8_t *out)
{
    int64_t columns = e->parts.columns;
    size_t from = (size_t) columns * lf_type_size(e->gathered);
    size_t to = (size_t) columns * lf_type_size(e->tensor.type);
#pragma omp parallel
    {
        g_autofree float *numbers = g_new(float, columns);
#pragma omp for
        for (int64_t r = 0; r < e->parts.rows; r++) {
            lf_to_float(numbers, values + (size_t) r * from, e->gathered, columns);
            lf_from_float(out + (size_t) r * to, e->tensor.type, numbers, columns);
        }
    }
}

/* Of a file that has codes and scales: these scales, or one for each row. */
static const void *file_scales(LfExport *x, const Entry *e, GError **error)
{
    float *out = renew(x, e, e->tensor.size, error);
    g_autofree float *scales = out ? lf_weight_parts_scales(&e->parts) : NULL;
    if (out)
        memcpy(out, scales, e->tensor.size);
    return out;
}

/* What is written in another form than it is gathered in. */
static const void *converted(LfExport *x, const Entry *e, const uint8_t *values, GError **error)
{
    uint8_t *out = lf_weight_memory_new(e->tensor.name, e->tensor.size, error);
    if (!out)
        return NULL;
    if (e->content == CODED)
        quantise(e, values, out, NULL);
    else if (e->content == CODED_SCALES)
        quantise(e, values, NULL, (float *) (void *) out);
    else
        round_to(e, values, out);
    free(x->memory);
    return x->memory = out;
}

static const void *bytes_of(size_t index, gpointer export, GError **error)
{
    LfExport *x = export;
    const Entry *e = x->entries->pdata[index];
    bool as_is = e->content == CODES || (e->content == NUMBERS && e->tensor.type == e->gathered);
    LfType type = e->content == CODES ? LF_F8_E4M3 : e->gathered;
    if (e->content == CODES_SCALES)
        return file_scales(x, e, error);
    const void *values = lf_weight_parts_in_place(&e->parts, type);
    if (!values) {
        size_t count = (size_t) (e->parts.rows * e->parts.columns);
        void *gathered = renew(x, e, count * lf_type_size(type), error);
        if (!gathered)
            return NULL;
        lf_weight_parts_gather(x->source, &e->parts, type, gathered);
        values = gathered;
    }
    return as_is ? values : converted(x, e, values, error);
}

static bool on_written(size_t size, gpointer export, GError **error)
{
    LfExport *x = export;
    return !x->written || x->written(size, x->data, error);
}

bool lf_export_write(LfExport *x, const char *path,
                     bool (*written)(size_t size, gpointer data, GError **error), gpointer data,
                     GError **error)
{
    const LfTensorWriter writer = {bytes_of, on_written, x};
    g_autofree LfFileTensor *tensors = g_new0(LfFileTensor, x->entries->len + 1);
    for (guint i = 0; i < x->entries->len; i++)
        tensors[i] = ((const Entry *) x->entries->pdata[i])->tensor;
    x->written = written;
    x->data = data;
    return lf_safetensors_write_from(path, tensors, x->entries->len, &writer, error);
}
