/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ways in which checkpoints are published, crossed with each other: dictionaries and prefixes,
 * wrappers inside of names, naming schemes, containers, types and layouts of scales. The numbers of a
 * small model are drawn so that every type has them exactly: ±(4 … 7)/4 · 2^e, with e from −4 to 4.
 * Whatever a file is like, the bound numbers are these, bit for bit; of quantised matrices, those of
 * their blocks.
 */
#include "names.h"

#include "engine/files/recognise.h"
#include "engine/files/weights.h"
#include "tests/common/gguf_file.h"
#include "tests/common/tiny_model.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

/* ---- numbers --------------------------------------------------------------------------------- */

typedef struct {
    bool negative;
    int quarters; /* 0 … 3 */
    int exponent;
} Number;

static Number draw(void)
{
    return (Number){g_test_rand_bit(), g_test_rand_int_range(0, 4), g_test_rand_int_range(-4, 5)};
}

static float value_of(Number n)
{
    float value = ldexpf(1 + 0.25f * (float) n.quarters, n.exponent);
    return n.negative ? -value : value;
}

/* The number times 2^−shift. A mantissa of `mantissa` bits, a biased exponent above it. */
static unsigned bits_of(Number n, int shift, int mantissa, int bias, int sign)
{
    return (unsigned) n.quarters << (mantissa - 2) |
           (unsigned) (n.exponent - shift + bias) << mantissa | (unsigned) n.negative << sign;
}

static void write_number(uint8_t *out, LfType type, Number n, int shift)
{
    float value = ldexpf(value_of(n), -shift);
    double wide = value;
    uint16_t half;
    switch (type) {
    case LF_F64:
        memcpy(out, &wide, sizeof wide);
        break;
    case LF_BF16:
    case LF_F16:
        half = (uint16_t) (type == LF_BF16 ? bits_of(n, shift, 7, 127, 15)
                                           : bits_of(n, shift, 10, 15, 15));
        memcpy(out, &half, sizeof half);
        break;
    case LF_F8_E4M3:
        *out = (uint8_t) bits_of(n, shift, 3, 7, 7);
        break;
    case LF_F8_E5M2:
        *out = (uint8_t) bits_of(n, shift, 2, 15, 7);
        break;
    default:
        memcpy(out, &value, sizeof value);
    }
}

/* ---- the model ------------------------------------------------------------------------------- */

typedef struct {
    char *name; /* canonical */
    int n_dims;
    int64_t shape[LF_FILE_MAX_DIMS];
    int64_t count;
    Number *numbers;
    float *decoded; /* in place of them, in a file where the tensor is quantised; else NULL */
} Original;

static void original_clear(gpointer data)
{
    Original *o = data;
    g_free(o->name);
    g_free(o->numbers);
    g_free(o->decoded);
}

/* The tensors of a file of the small model, with numbers of their own. */
static GArray *originals_of(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    LfTensorFile *file = lf_tensor_file_open(path, NULL);
    GArray *originals = g_array_new(FALSE, TRUE, sizeof(Original));
    g_array_set_clear_func(originals, original_clear);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        Original o = {.name = g_strdup(t->name), .n_dims = t->n_dims, .count = 1};
        memcpy(o.shape, t->shape, sizeof o.shape);
        for (int d = 0; d < t->n_dims; d++)
            o.count *= t->shape[d];
        o.numbers = g_new(Number, o.count);
        for (int64_t n = 0; n < o.count; n++)
            o.numbers[n] = draw();
        g_array_append_val(originals, o);
    }
    lf_tensor_file_unref(file);
    return originals;
}

/* ---- files ----------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    LfFileKind kind;
    char *(*rename)(const char *wan);
    bool flat_patches; /* patch embedding [dim, 16] */
    bool turned;       /* position biases [heads, buckets] */
    const char *extra; /* tensors that are ignored, between blanks, behind the prefix */
} Scheme;

static const Scheme schemes[] = {
    {"Wan", LF_FILE_TRANSFORMER, names_same, false, false, "freqs blocks.0.ffn.0._extra_state"},
    {"rCM", LF_FILE_TRANSFORMER, names_same, true, false, "accum_video accum_loss"},
    {"diffusers", LF_FILE_TRANSFORMER, names_diffusers, false, false, "blocks.0.norm1.weight"},
    {"Wan", LF_FILE_TEXT_ENCODER, names_same, false, false, ""},
    {"Hugging Face", LF_FILE_TEXT_ENCODER, names_hugging_face, false, false,
     "encoder.embed_tokens.weight spiece_model decoder.block.0.x lm_head.weight"},
    {"llama.cpp", LF_FILE_TEXT_ENCODER, names_llama_cpp, false, false, "dec.blk.0.x output.weight"},
    {"llama.cpp", LF_FILE_TEXT_ENCODER, names_llama_cpp, false, true, ""},
    {"TAEHV", LF_FILE_DECODER, names_same, false, false, "encoder.0.weight encoder.2.bias"},
};

typedef enum { NO_SCALE, SCALAR, ONE, ROWS, ROWS_1 } ScaleShape;

typedef struct {
    LfType type; /* of matrices */
    bool mixed;  /* of each tensor another one */
    const char *scale;
    ScaleShape shape;
    const char *extra; /* beside each scaled matrix: a tensor's name */
    const char *record;
    bool gguf;
    bool blocks; /* matrices are quantised where their rows are whole blocks */
} Storage;

static const Storage storages[] = {
    {.type = LF_F32},
    {.type = LF_BF16},
    {.type = LF_F16},
    {.type = LF_F64},
    {.type = LF_F32, .mixed = true},
    {.type = LF_F8_E4M3},
    {.type = LF_F8_E5M2},
    {.type = LF_F8_E4M3, .scale = "scale_weight", .shape = SCALAR, .extra = "scale_input"},
    {.type = LF_F8_E4M3, .scale = "scale_weight", .shape = ONE},
    {.type = LF_F8_E4M3, .scale = "weight_scale", .shape = SCALAR, .extra = "input_scale"},
    {.type = LF_F8_E4M3, .scale = "weight_scale", .shape = ROWS},
    {.type = LF_F8_E4M3, .scale = "weight_scale", .shape = ROWS_1},
    {.type = LF_F8_E4M3, .scale = "scale_weight", .shape = ROWS_1},
    {.type = LF_F8_E5M2, .scale = "weight_scale", .shape = ROWS_1},
    {.type = LF_F8_E4M3,
     .scale = "weight_scale",
     .shape = SCALAR,
     .record = "{\"format\": \"float8_e4m3fn\", \"full_precision_matrix_mult\": true}"},
    {.type = LF_F8_E5M2,
     .scale = "weight_scale",
     .shape = ONE,
     .record = "{\"format\": \"float8_e5m2\"}"},
    {.type = LF_F32, .gguf = true},
    {.type = LF_BF16, .gguf = true},
    {.type = LF_F16, .gguf = true},
    {.type = LF_F32, .gguf = true, .mixed = true},
    {.type = LF_F32, .gguf = true, .mixed = true, .blocks = true},
    {.type = LF_F16, .gguf = true, .blocks = true},
};

/* The types of GGUF files. */
static const struct {
    const char *name;
    uint32_t id;
} gguf_types[] = {{"F32", 0},  {"F16", 1},  {"BF16", 30}, {"F64", 28}, {"U8", 24},
                  {"Q4_0", 2}, {"Q4_1", 3}, {"Q5_0", 6},  {"Q5_1", 7}, {"Q8_0", 8}};

static uint32_t gguf_type(const char *name)
{
    gsize i = 0;
    while (strcmp(gguf_types[i].name, name) != 0)
        g_assert_cmpint(++i, <, G_N_ELEMENTS(gguf_types));
    return gguf_types[i].id;
}

/* What stands in front of the copy that is read, and other copies in the file. */
static const struct {
    const char *prefix, *copy, *others;
} dictionaries[] = {
    {"", NULL, ""},
    {"model.", NULL, ""},
    {"module.", NULL, ""},
    {"model.diffusion_model.", NULL, ""},
    {"ema_model.", NULL, "model."},
    {"net.", NULL, "net_teacher. optimizer.state."},
    {"state_dict.", NULL, ""},
    {"student.", NULL, "critic. teacher.model."},
    {"ema.", NULL, "student."},
    {"generator.model.", NULL, "critic.model."},
    {"generator_ema.model.", NULL, "generator.model. critic.model."},
    {"generator.model.", "generator", "generator_ema.model. critic.model."},
    {"generator_ema.", "generator_ema", "generator. critic."},
    {"what.ever.it.is.", NULL, ""},
    {"second.", "second", "first. third."},
};

static const char *const wrappers[] = {"", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                       "_orig_mod.", "_orig_mod._fsdp_wrapped_module."};

typedef struct {
    GArray *tensors; /* LfFileTensor; names and data of `memory` */
    GPtrArray *memory;
} Written;

static void *kept(Written *w, void *memory)
{
    g_ptr_array_add(w->memory, memory);
    return memory;
}

static void add(Written *w, const char *name, LfType type, int n_dims, const int64_t *shape,
                void *data)
{
    LfFileTensor t = {.name = kept(w, g_strdup(name)), .type = type, .n_dims = n_dims};
    t.size = lf_type_size(type);
    for (int d = 0; d < n_dims; d++) {
        t.shape[d] = shape[d];
        t.size *= (size_t) shape[d];
    }
    t.data = kept(w, data);
    g_array_append_val(w->tensors, t);
}

static void add_number(Written *w, const char *name)
{
    float *number = g_new(float, 1);
    *number = 7;
    add(w, name, LF_F32, 1, (const int64_t[]){1}, number);
}

/* The scales of a matrix: 2^shifts[row], in a type of their own. */
static void add_scales(Written *w, const Storage *s, const char *stem, int64_t rows,
                       const int *shifts)
{
    static const LfType types[] = {LF_F32, LF_BF16, LF_F32};
    int64_t n = s->shape >= ROWS ? rows : 1;
    LfType type = types[g_test_rand_int_range(0, G_N_ELEMENTS(types))];
    uint8_t *data = g_malloc((gsize) n * lf_type_size(type));
    g_autofree char *name = g_strconcat(stem, s->scale, NULL);
    for (int64_t i = 0; i < n; i++)
        write_number(data + (gsize) i * lf_type_size(type), type, (Number){.exponent = shifts[i]},
                     0);
    add(w, name, type,
        s->shape == SCALAR   ? 0
        : s->shape == ROWS_1 ? 2
                             : 1,
        (const int64_t[]){n, 1}, data);
    if (s->extra) {
        g_autofree char *extra = g_strconcat(stem, s->extra, NULL);
        add_number(w, extra);
    }
    if (s->record) {
        g_autofree char *record = g_strconcat(stem, "comfy_quant", NULL);
        add(w, record, LF_U8, 1, (const int64_t[]){(int64_t) strlen(s->record)},
            g_strdup(s->record));
    }
}

static bool is_quantised(const Original *o)
{
    return o->n_dims == 2 && g_str_has_prefix(o->name, "blocks.") &&
           g_str_has_suffix(o->name, ".weight") && !strstr(o->name, "pos_embedding");
}

static LfType type_for(const Storage *s, const Original *o)
{
    static const LfType types[] = {LF_F32, LF_BF16, LF_F16, LF_F64};
    bool fp8 = s->type == LF_F8_E4M3 || s->type == LF_F8_E5M2;
    if (s->mixed || (fp8 && !is_quantised(o)))
        return types[g_test_rand_int_range(0, G_N_ELEMENTS(types))];
    return s->type;
}

/* The shape in the file, and where number `n` of it is in the original. */
static int file_shape(const Scheme *scheme, const Original *o, int64_t *shape)
{
    memcpy(shape, o->shape, sizeof o->shape);
    if (scheme->flat_patches && strcmp(o->name, "patch_embedding.weight") == 0) {
        shape[1] = o->count / shape[0];
        return 2;
    }
    if (scheme->turned && strstr(o->name, "pos_embedding")) {
        shape[0] = o->shape[1];
        shape[1] = o->shape[0];
    }
    return o->n_dims;
}

static int64_t place_of(const Scheme *scheme, const Original *o, int64_t n)
{
    if (!scheme->turned || !strstr(o->name, "pos_embedding"))
        return n;
    return n % o->shape[0] * o->shape[1] + n / o->shape[0];
}

/* In GGUF files dimensions of 1 may be missing in front, and those above the fourth folded. */
static int gguf_shape(const Original *o, int n_dims, int64_t *shape)
{
    if (n_dims == 5 && g_test_rand_bit()) {
        shape[0] *= shape[1];
        memmove(shape + 1, shape + 2, 3 * sizeof *shape);
        n_dims = 4;
    }
    if (g_str_has_suffix(o->name, "modulation") && g_test_rand_bit()) {
        n_dims--;
        memmove(shape, shape + 1, (gsize) n_dims * sizeof *shape);
    }
    return n_dims;
}

/* Random blocks, and their numbers as those of the original. */
static bool add_blocks(Written *w, const Scheme *scheme, Original *o, const char *full,
                       const int64_t *shape)
{
    enum { N_PLAIN = 5, BLOCK = 32 };
    if ((!is_quantised(o) && !scheme->turned) || o->n_dims != 2 || shape[1] % BLOCK != 0)
        return false;
    const char *name = gguf_types[g_test_rand_int_range(N_PLAIN, G_N_ELEMENTS(gguf_types))].name;
    LfFileTensor t = {.name = kept(w, g_strdup(full)), .type = LF_U8, .n_dims = 2};
    t.coding = lf_gguf_coding(name);
    t.size = (size_t) o->count / BLOCK * t.coding->size;
    t.data = kept(w, gguf_random_blocks(t.coding, (gsize) o->count / BLOCK));
    memcpy(t.shape, shape, 2 * sizeof *shape);
    g_array_append_val(w->tensors, t);
    g_autofree float *values = g_new(float, o->count);
    t.coding->decode(values, t.data, (size_t) o->count / BLOCK);
    o->decoded = g_new(float, o->count);
    for (int64_t n = 0; n < o->count; n++)
        o->decoded[place_of(scheme, o, n)] = values[n];
    return true;
}

/* One tensor as the scheme and the storage have it. */
static void add_original(Written *w, const Scheme *scheme, const Storage *s, Original *o,
                         const char *full)
{
    int64_t shape[LF_FILE_MAX_DIMS], rows = o->shape[0];
    int n_dims = file_shape(scheme, o, shape);
    LfType type = type_for(s, o);
    bool scaled = s->scale && is_quantised(o);
    g_autofree int *shifts = g_new0(int, rows);
    g_clear_pointer(&o->decoded, g_free);
    if (s->blocks && add_blocks(w, scheme, o, full, shape))
        return;
    if (s->gguf)
        n_dims = gguf_shape(o, n_dims, shape);
    uint8_t *data = g_malloc((gsize) o->count * lf_type_size(type));
    for (int64_t r = 0; scaled && r < rows; r++)
        shifts[r] = r > 0 && s->shape < ROWS ? shifts[0] : g_test_rand_int_range(-2, 3);
    for (int64_t n = 0; n < o->count; n++) {
        int64_t at = place_of(scheme, o, n);
        write_number(data + (gsize) n * lf_type_size(type), type, o->numbers[at],
                     shifts[at / (o->count / rows)]);
    }
    add(w, full, type, n_dims, shape, data);
    if (scaled) {
        g_autofree char *stem = g_strndup(full, strlen(full) - strlen("weight"));
        add_scales(w, s, stem, rows, shifts);
    }
}

/* prefix + wrapper + name, and the wrapper again before the last part. */
static char *full_name(const char *prefix, const char *wrapper, const char *name)
{
    const char *last = strrchr(name, '.');
    int length = last && *wrapper ? (int) (last + 1 - name) : 0;
    return g_strdup_printf("%s%s%.*s%s%s", prefix, *wrapper ? wrapper : "", length, name,
                           length ? wrapper : "", name + length);
}

static void add_list(Written *w, const char *prefix, const char *list)
{
    g_auto(GStrv) words = g_strsplit(list, " ", -1);
    for (char **word = words; *word; word++) {
        g_autofree char *name = g_strconcat(prefix, *word, NULL);
        if (**word)
            add_number(w, name);
    }
}

/* The same names under another prefix, with other numbers. */
static void add_others(Written *w, const Scheme *scheme, const GArray *originals,
                       const char *prefixes)
{
    g_auto(GStrv) list = g_strsplit(prefixes, " ", -1);
    for (char **prefix = list; *prefix; prefix++)
        for (guint i = 0; **prefix && i < originals->len; i++) {
            g_autofree char *name = scheme->rename(g_array_index(originals, Original, i).name);
            g_autofree char *full = g_strconcat(*prefix, name, NULL);
            add_number(w, full);
        }
}

static void save_gguf(const char *path, const GArray *tensors)
{
    GgufFile *file = gguf_file_new();
    for (guint i = 0; i < tensors->len; i++) {
        const LfFileTensor *t = &g_array_index(tensors, LfFileTensor, i);
        gguf_file_tensor(file, t->name, gguf_type(lf_file_tensor_type_name(t)), t->n_dims, t->shape,
                         t->data, t->size);
    }
    gguf_file_save(file, path);
    gguf_file_free(file);
}

static LfTensorFile *write_file(const char *path, const GArray *originals, const Scheme *scheme,
                                const Storage *storage, int dictionary, const char *wrapper)
{
    g_autoptr(GError) error = NULL;
    const char *prefix = dictionaries[dictionary].prefix;
    Written w = {g_array_new(FALSE, FALSE, sizeof(LfFileTensor)),
                 g_ptr_array_new_with_free_func(g_free)};
    for (guint i = 0; i < originals->len; i++) {
        Original *o = &g_array_index(originals, Original, i);
        g_autofree char *name = scheme->rename(o->name);
        g_autofree char *full = full_name(prefix, wrapper, name);
        add_original(&w, scheme, storage, o, full);
    }
    add_others(&w, scheme, originals, dictionaries[dictionary].others);
    add_list(&w, prefix, scheme->extra);
    if (storage->scale)
        add_list(&w, prefix, "scaled_fp8");
    if (storage->gguf)
        save_gguf(path, w.tensors);
    else
        lf_safetensors_write(path, (const LfFileTensor *) (void *) w.tensors->data, w.tensors->len,
                             &error);
    g_assert_no_error(error);
    g_array_unref(w.tensors);
    g_ptr_array_unref(w.memory);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    return file;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void assert_number_for_number(LfWeightSource *source, const Original *o)
{
    g_autoptr(GError) error = NULL;
    const LfFileTensor *t = lf_weight_source_find(source, o->name, &error);
    g_assert_no_error(error);
    int missing = o->shape[0] == 1 ? o->n_dims - t->n_dims : 0;
    g_assert_cmpint(missing, <=, 1);
    g_assert_cmpmem(t->shape, (gsize) t->n_dims * sizeof *t->shape, o->shape + missing,
                    (gsize) (o->n_dims - missing) * sizeof *o->shape);
    const int64_t rows = o->shape[missing];
    const LfBinding binding = {.name = o->name,
                               .kind = o->n_dims > 1 ? LF_BIND_LINEAR : LF_BIND_VECTOR,
                               .shape = {rows, o->n_dims > 1 ? o->count / rows : 0}};
    g_autofree float *values = lf_weights_read(source, "", &binding, &error);
    g_assert_no_error(error);
    for (int64_t n = 0; n < o->count; n++)
        if (values[n] != (o->decoded ? o->decoded[n] : value_of(o->numbers[n])))
            g_error("%s: number %d is %g, not %g", o->name, (int) n, values[n],
                    o->decoded ? o->decoded[n] : value_of(o->numbers[n]));
}

static void check(const GArray *originals, const Scheme *scheme, const Storage *storage,
                  int dictionary, const char *wrapper, const char *path)
{
    g_autoptr(GError) error = NULL;
    LfTensorFile *file = write_file(path, originals, scheme, storage, dictionary, wrapper);
    const LfSourceOptions options = {.kind = scheme->kind, .copy = dictionaries[dictionary].copy};
    g_test_message("%s of %s, prefix \"%s\", wrapper \"%s\", %s%s, scale %s in shape %d",
                   scheme->name, lf_file_kind_name(scheme->kind), dictionaries[dictionary].prefix,
                   wrapper, lf_type_name(storage->type), storage->gguf ? " in GGUF" : "",
                   storage->scale, storage->shape);
    LfWeightSource *source = lf_weight_source_file(file, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lf_weight_source_layout(source), ==, scheme->name);
    for (guint i = 0; i < originals->len; i++)
        assert_number_for_number(source, &g_array_index(originals, Original, i));
    lf_weight_source_check_unused(source, &error);
    g_assert_no_error(error);
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
}

static const char *a_wrapper(void)
{
    return wrappers[g_test_rand_int_range(0, G_N_ELEMENTS(wrappers))];
}

/* Every scheme in every storage, and every prefix with every wrapper; what is not crossed is drawn. */
static void test_matrix(gconstpointer part)
{
    static const struct {
        LfFileKind kind;
        const char *file;
    } files[] = {{LF_FILE_TRANSFORMER, "transformer.safetensors"},
                 {LF_FILE_TEXT_ENCODER, "text_encoder.safetensors"},
                 {LF_FILE_DECODER, "decoder.safetensors"}};
    int index = GPOINTER_TO_INT(part);
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "published.safetensors", NULL);
    GArray *originals = originals_of(dir, files[index].file);
    g_autoptr(GPtrArray) own = g_ptr_array_new();
    for (gsize i = 0; i < G_N_ELEMENTS(schemes); i++)
        if (schemes[i].kind == files[index].kind)
            g_ptr_array_add(own, (gpointer) &schemes[i]);
    for (guint i = 0; i < own->len; i++)
        for (gsize s = 0; s < G_N_ELEMENTS(storages); s++)
            check(originals, own->pdata[i], &storages[s],
                  g_test_rand_int_range(0, G_N_ELEMENTS(dictionaries)), a_wrapper(), path);
    for (gsize d = 0; d < G_N_ELEMENTS(dictionaries); d++)
        for (gsize w = 0; w < G_N_ELEMENTS(wrappers); w++)
            check(originals, own->pdata[g_test_rand_int_range(0, (int) own->len)],
                  &storages[g_test_rand_int_range(0, G_N_ELEMENTS(storages))], (int) d, wrappers[w],
                  path);
    g_array_unref(originals);
    lf_tiny_model_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/matrix/transformer", GINT_TO_POINTER(0), test_matrix);
    g_test_add_data_func("/matrix/text-encoder", GINT_TO_POINTER(1), test_matrix);
    g_test_add_data_func("/matrix/decoder", GINT_TO_POINTER(2), test_matrix);
    return g_test_run();
}
