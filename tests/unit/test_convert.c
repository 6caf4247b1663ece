/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A converted model makes the frames of the original, byte for byte, and is written as a whole or not
 * at all.
 */
#include "names.h"
#include "stream.h"

#include "engine/files/tensor_file.h"
#include "kernels/backend.h"
#include "tests/common/gguf_file.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- a transformer's file in other types, under other names ---------------------------------- */

typedef struct {
    GArray *tensors; /* LfFileTensor; names and data are of `memory` */
    GPtrArray *memory;
} Written;

static void *keep(Written *w, void *memory)
{
    g_ptr_array_add(w->memory, memory);
    return memory;
}

static void add(Written *w, const char *name, LfType type, const LfFileTensor *shape, void *data)
{
    LfFileTensor t = *shape;
    int64_t count = 1;
    for (int i = 0; i < t.n_dims; i++)
        count *= t.shape[i];
    t.name = keep(w, g_strdup(name));
    t.type = type;
    t.size = (size_t) count * lf_type_size(type);
    t.data = keep(w, data);
    g_array_append_val(w->tensors, t);
}

/* Numbers that BF16 does not hold. */
static float *floats_of(const LfFileTensor *t)
{
    int64_t count = lf_file_tensor_count(t);
    float *values = g_new(float, count);
    lf_file_tensor_read(t, 0, count, values);
    for (int64_t i = 0; i < count; i++)
        values[i] *= 1.01f;
    return values;
}

static void add_as(Written *w, const char *name, LfType type, const LfFileTensor *t)
{
    float *values = floats_of(t);
    int64_t count = lf_file_tensor_count(t);
    void *data = g_malloc((size_t) count * lf_type_size(type));
    g_assert_true(lf_from_float(data, type, values, count));
    add(w, name, type, t, data);
    g_free(values);
}

/* Codes with a scale for each row, or one for all. */
static void add_codes(Written *w, const LfFileTensor *t, bool by_row)
{
    int64_t rows = t->shape[0], columns = t->shape[1];
    g_autofree float *values = floats_of(t);
    uint8_t *codes = g_malloc((size_t) (rows * columns));
    float *scales = g_new(float, rows);
    if (by_row)
        for (int64_t r = 0; r < rows; r++)
            lf_quantise_row(codes + r * columns, &scales[r], values + r * columns, columns);
    else
        lf_quantise_row(codes, scales, values, rows * columns);
    g_autofree char *scale = g_strconcat(t->name, "_scale", NULL);
    const LfFileTensor shape = {.n_dims = 1, .shape = {by_row ? rows : 1}};
    add(w, t->name, LF_F8_E4M3, t, codes);
    add(w, scale, LF_F32, &shape, scales);
}

static bool is_matrix_of_block(const LfFileTensor *t)
{
    return g_str_has_prefix(t->name, "blocks.") && g_str_has_suffix(t->name, ".weight") &&
           t->n_dims == 2;
}

typedef enum { AS_BF16, AS_F32, AS_F16, MIXED, DIFFUSERS, FP8, FP8_AND_BF16, GGUF, N_FORMS } Form;

static void add_in(Written *w, Form form, const LfFileTensor *t)
{
    static const LfType types[] = {LF_F32, LF_BF16, LF_F16};
    bool other = form == FP8_AND_BF16 && strstr(t->name, "attn.k.");
    if (form >= FP8 && is_matrix_of_block(t) && !other) {
        add_codes(w, t, g_test_rand_bit());
        return;
    }
    g_autofree char *name = form == DIFFUSERS ? names_diffusers(t->name) : g_strdup(t->name);
    add_as(w, name,
           form == MIXED    ? types[g_test_rand_int_range(0, 3)]
           : form == AS_F32 ? LF_F32
           : form == AS_F16 ? LF_F16
                            : LF_BF16,
           t);
}

/* Q8_0: blocks of 32 numbers, a scale in F16 and as many signed bytes. */
static void add_blocks(GgufFile *gguf, const LfFileTensor *t)
{
    enum { BLOCK = 32, SIZE = 2 + BLOCK };
    gsize n_blocks = (gsize) lf_file_tensor_count(t) / BLOCK, size = n_blocks * SIZE;
    g_autofree uint8_t *bytes = g_malloc(size);
    for (gsize i = 0; i < size; i++)
        bytes[i] = (uint8_t) g_test_rand_int_range(0, 256);
    for (gsize i = 0; i < n_blocks; i++) {
        uint16_t scale = lf_float_to_f16((float) g_test_rand_double_range(1e-4, 2e-3));
        memcpy(bytes + i * SIZE, &scale, sizeof scale);
    }
    gguf_file_tensor(gguf, t->name, 8, t->n_dims, t->shape, bytes, size);
}

/* Matrices whose rows are whole blocks are quantised. */
static void write_gguf(const LfTensorFile *file, const char *path)
{
    GgufFile *gguf = gguf_file_new();
    gguf_file_text(gguf, "general.architecture", "wan");
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        g_autofree float *values = floats_of(t);
        if (is_matrix_of_block(t) && t->shape[1] % 32 == 0)
            add_blocks(gguf, t);
        else
            gguf_file_tensor(gguf, t->name, 0, t->n_dims, t->shape, values,
                             (gsize) lf_file_tensor_count(t) * sizeof *values);
    }
    gguf_file_save(gguf, path);
    gguf_file_free(gguf);
}

/* Writes dir/transformer.safetensors again in this form, which its bytes tell, not its name. */
static void rewrite(const char *dir, Form form)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(dir, "transformer.safetensors", NULL);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    if (form == GGUF) {
        g_remove(path); /* its map stays */
        write_gguf(file, path);
        lf_tensor_file_unref(file);
        return;
    }
    Written w = {g_array_new(FALSE, FALSE, sizeof(LfFileTensor)),
                 g_ptr_array_new_with_free_func(g_free)};
    for (size_t i = 0; i < lf_tensor_file_count(file); i++)
        add_in(&w, form, lf_tensor_file_nth(file, i));
    lf_safetensors_write(path, (const LfFileTensor *) (void *) w.tensors->data, w.tensors->len,
                         &error);
    g_assert_no_error(error);
    g_array_unref(w.tensors);
    g_ptr_array_unref(w.memory);
    lf_tensor_file_unref(file);
}

/* A LoRA of k in self attention, whose neighbours have none, and of a norm. */
static char *write_lora(const char *dir)
{
    g_autoptr(GError) error = NULL;
    char *path = g_build_filename(dir, "lora.safetensors", NULL);
    float values[3][2 * LF_TINY_DIM];
    for (gsize i = 0; i < 3; i++)
        for (gsize k = 0; k < 2 * LF_TINY_DIM; k++)
            values[i][k] = (float) g_test_rand_double_range(-0.1, 0.1);
    const LfFileTensor tensors[] = {
        {"blocks.1.self_attn.k.lora_A.weight",
         LF_F32,
         2,
         {2, LF_TINY_DIM},
         values[0],
         sizeof values[0],
         NULL},
        {"blocks.1.self_attn.k.lora_B.weight",
         LF_F32,
         2,
         {LF_TINY_DIM, 2},
         values[1],
         sizeof values[1],
         NULL},
        {"blocks.0.norm3.diff", LF_F32, 1, {LF_TINY_DIM}, values[2], sizeof values[2] / 2, NULL}};
    lf_safetensors_write(path, tensors, G_N_ELEMENTS(tensors), &error);
    g_assert_no_error(error);
    return path;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static GByteArray *frames_of(const char *location, const LfModelOptions *options)
{
    GError *error = NULL;
    LfModel *model = lf_model_open(location, options, &error);
    g_assert_no_error(error);
    LfSession *s = stream_session(model, NULL, "a red star");
    GByteArray *frames = stream_run(s, 2);
    lf_session_free(s);
    lf_model_unref(model);
    return frames;
}

static void convert(const char *location, const char *folder, gboolean replace,
                    const LfModelOptions *options)
{
    GError *error = NULL;
    lf_model_convert(location, folder, replace, options, &error);
    g_assert_no_error(error);
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    g_autofree char *path_a = g_build_filename(a, name, NULL);
    g_autofree char *path_b = g_build_filename(b, name, NULL);
    g_autofree char *bytes_a = NULL, *bytes_b = NULL;
    gsize size_a, size_b;
    g_assert_true(g_file_get_contents(path_a, &bytes_a, &size_a, NULL));
    g_assert_true(g_file_get_contents(path_b, &bytes_b, &size_b, NULL));
    g_assert_cmpmem(bytes_a, size_a, bytes_b, size_b);
}

/* Nothing but these is in the parent of the models. */
static void assert_alone(const char *parent, const char *const *names)
{
    g_autoptr(GDir) folder = g_dir_open(parent, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(folder)))
        if (!g_strv_contains(names, name))
            g_error("%s was left behind in %s", name, parent);
}

/* `precision`: with which both are opened; AUTO: the backend's own. The stand-in computes in F32,
 * whichever precision it tells. */
static void assert_conversion(const char *backend, Form form, bool with_lora, LfPrecision precision)
{
    char *root = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *model = g_build_filename(root, "model", NULL);
    g_autofree char *once = g_build_filename(root, "once", NULL);
    g_autofree char *twice = g_build_filename(root, "twice", NULL);
    g_free(lf_tiny_model_make(model, &(LfTinyModel){.seed = g_test_rand_int()}));
    rewrite(model, form);
    g_autofree char *lora_file = with_lora ? write_lora(root) : NULL;
    const LfLora lora = {lora_file, 0.7};
    const LfModelOptions plain = {.backend = backend, .precision = precision};
    LfModelOptions options = plain, writing;
    options.loras = &lora;
    options.n_loras = with_lora;
    writing = options;
    writing.precision = precision == LF_PRECISION_AUTO ? LF_PRECISION_FP32 : precision;
    convert(model, once, FALSE, &writing);
    writing.n_loras = 0;
    convert(once, twice, FALSE, &writing);
    g_autoptr(GByteArray) original = frames_of(model, &options);
    g_autoptr(GByteArray) converted = frames_of(once, &plain);
    stream_assert_same(original, converted);
    static const char *const files[] = {"transformer.safetensors", "text_encoder.safetensors",
                                        "decoder.safetensors", "spiece.model", "model.json"};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
        assert_same_file(once, twice, files[i]);
    assert_alone(root, (const char *const[]){"model", "once", "twice", "lora.safetensors", NULL});
    if (lora_file)
        g_remove(lora_file);
    lf_tiny_model_remove(g_strdup(model));
    lf_tiny_model_remove(g_strdup(once));
    lf_tiny_model_remove(g_strdup(twice));
    lf_tiny_model_remove(root);
}

static void test_frames(void)
{
    for (Form form = 0; form < N_FORMS; form++) {
        g_test_message("form %d", form);
        assert_conversion(stream_backend(), form, false, LF_PRECISION_AUTO);
    }
}

static void test_lora(void)
{
    static const Form forms[] = {AS_BF16, MIXED, DIFFUSERS, FP8, GGUF};
    for (gsize i = 0; i < G_N_ELEMENTS(forms); i++)
        assert_conversion(stream_backend(), forms[i], true, LF_PRECISION_AUTO);
}

/* Codes and scales of a file in FP8, in precision fp8. */
static void test_fp8_frames(void)
{
    if (g_str_equal(stream_backend(), "cpu")) {
        g_test_skip("the CPU has no precision fp8");
        return;
    }
    setenv("LF_STANDIN_FP8", "1", 1);
    assert_conversion(stream_backend(), FP8, false, LF_PRECISION_FP8);
    unsetenv("LF_STANDIN_FP8");
}

/* Every form in the precisions of a GPU, where there is one: what was rounded for it is what it would
 * have rounded itself. */
static void test_gpu(void)
{
    static const LfPrecision precisions[] = {LF_PRECISION_BF16, LF_PRECISION_FP8};
    g_autoptr(GError) error = NULL;
    LfBackend *be = lf_backend_open("cuda", 1, LF_PRECISION_FP8, NULL, &error);
    if (!be) {
        g_test_skip(error->message);
        return;
    }
    lf_backend_close(be);
    for (gsize i = 0; i < G_N_ELEMENTS(precisions); i++)
        for (Form form = 0; form < N_FORMS; form++)
            for (int lora = 0; lora < 2; lora++)
                assert_conversion("cuda", form, lora, precisions[i]);
}

static void assert_same_info(const LfModelInfo *a, const LfModelInfo *b)
{
    g_autofree char *steps_a = lf_steps_text(&a->steps), *steps_b = lf_steps_text(&b->steps);
    g_autofree char *first_a = lf_steps_text(&a->first_steps);
    g_autofree char *first_b = lf_steps_text(&b->first_steps);
    g_assert_cmpint(a->width, ==, b->width);
    g_assert_cmpint(a->height, ==, b->height);
    g_assert_cmpint(a->fps_n, ==, b->fps_n);
    g_assert_cmpint(a->fps_d, ==, b->fps_d);
    g_assert_cmpint(a->chunk, ==, b->chunk);
    g_assert_cmpstr(steps_a, ==, steps_b);
    g_assert_cmpstr(first_a, ==, first_b);
    g_assert_cmpint(a->warp, ==, b->warp);
    g_assert_cmpfloat(a->shift, ==, b->shift);
    g_assert_cmpint(a->window, ==, b->window);
    g_assert_cmpint(a->sink, ==, b->sink);
    g_assert_cmpint(a->sparse, ==, b->sparse);
    g_assert_cmpfloat(a->sparsity, ==, b->sparsity);
    g_assert_cmpint(a->can_encode, ==, b->can_encode);
    g_assert_cmpint(a->can_decode, ==, b->can_decode);
}

/* Values of model.json that a shape does not tell, and parts that are missing. */
static void test_settings(void)
{
    static const LfTinyModel models[] = {
        {.window = -1, .absolute = TRUE, .chunk = 2},
        {.token_order = "2x2",
         .schedule = "{\"steps\": [1000, 937.5, 300.125], \"warp\": false, "
                     "\"first_steps\": [900, 100]}"},
        {.without = "sparse"},
        {.without = "text_encoder"},
        {.without = "decoder"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(models); i++) {
        g_autoptr(GError) error = NULL;
        char *dir = lf_tiny_model_make(NULL, &models[i]);
        char *out = g_strconcat(dir, "-converted", NULL);
        LfModelInfo a, b;
        convert(dir, out, FALSE, &(LfModelOptions){.backend = stream_backend()});
        g_assert_true(lf_model_probe(dir, NULL, &a, &error));
        g_assert_true(lf_model_probe(out, NULL, &b, &error));
        assert_same_info(&a, &b);
        lf_tiny_model_remove(out);
        lf_tiny_model_remove(dir);
    }
}

/* The family of a path goes along; its copy of the transformer is the only one then. */
static void test_family(void)
{
    g_autoptr(GError) error = NULL;
    LfModelInfo a, b;
    const LfModelOptions options = {.family = "causal-forcing-framewise", .backend = "cpu"};
    char *dir = lf_tiny_model_make(NULL, &(LfTinyModel){.chunk = 1, .without = "sparse"});
    char *out = g_strconcat(dir, "-converted", NULL);
    convert(dir, out, FALSE, &options);
    g_assert_true(lf_model_probe(dir, &options, &a, &error));
    g_assert_true(lf_model_probe(out, NULL, &b, &error));
    assert_same_info(&a, &b);
    lf_tiny_model_remove(out);
    lf_tiny_model_remove(dir);
}

/* ---- types of a device ----------------------------------------------------------------------- */

static LfTensorFile *open_file(const char *dir, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(dir, name, NULL);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    return file;
}

static const LfFileTensor *find(const LfTensorFile *file, const char *name)
{
    const LfFileTensor *t = lf_tensor_file_find(file, name);
    g_assert_nonnull(t);
    return t;
}

/* Row by row as the device would have quantised the numbers of the original. */
static void assert_quantised(const LfTensorFile *original, const LfTensorFile *file,
                             const char *name)
{
    const LfFileTensor *t = find(original, name), *codes = find(file, name);
    g_autofree char *scale = g_strconcat(name, "_scale", NULL);
    const LfFileTensor *scales = find(file, scale);
    int64_t rows = t->shape[0], columns = t->shape[1];
    g_autofree float *values = g_new(float, columns);
    g_autofree uint8_t *row = g_malloc((gsize) columns);
    g_assert_cmpint(codes->type, ==, LF_F8_E4M3);
    g_assert_cmpint(scales->type, ==, LF_F32);
    for (int64_t r = 0; r < rows; r++) {
        float by, held;
        lf_file_tensor_read(t, r * columns, columns, values);
        lf_quantise_row(row, &by, values, columns);
        lf_file_tensor_read(scales, r, 1, &held);
        g_assert_cmpfloat(held, ==, by);
        g_assert_cmpmem((const uint8_t *) codes->data + r * columns, (gsize) columns, row,
                        (gsize) columns);
    }
}

/* In precision fp8 the matrices of blocks are E4M3, q, k and v side by side; the other matrices are
 * BF16; what else there is stays. */
static void test_fp8(void)
{
    static const char *const stacked[] = {"q", "k", "v"};
    char *dir = lf_tiny_model_make(NULL, NULL);
    char *out = g_strconcat(dir, "-converted", NULL);
    rewrite(dir, AS_F32);
    convert(dir, out, FALSE, &(LfModelOptions){.precision = LF_PRECISION_FP8});
    LfTensorFile *original = open_file(dir, "transformer.safetensors");
    LfTensorFile *file = open_file(out, "transformer.safetensors");
    const uint8_t *next = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(stacked); i++) {
        g_autofree char *name = g_strdup_printf("blocks.1.self_attn.%s.weight", stacked[i]);
        assert_quantised(original, file, name);
        g_assert_true(!next || find(file, name)->data == next);
        next = (const uint8_t *) find(file, name)->data + find(file, name)->size;
    }
    assert_quantised(original, file, "blocks.0.ffn.2.weight");
    g_assert_cmpint(find(file, "head.head.weight")->type, ==, LF_BF16);
    g_assert_cmpint(find(file, "patch_embedding.weight")->n_dims, ==, 5);
    g_assert_cmpint(find(file, "blocks.0.norm3.weight")->type, ==, LF_F32);
    g_assert_cmpint(find(file, "blocks.0.modulation")->type, ==, LF_F32);
    lf_tensor_file_unref(file);
    lf_tensor_file_unref(original);
    lf_tiny_model_remove(out);
    lf_tiny_model_remove(dir);
}

/* Codes and scales of a file are those of the new one; a LoRA makes new ones. */
static void test_fp8_file(void)
{
    char *dir = lf_tiny_model_make(NULL, NULL);
    char *out = g_strconcat(dir, "-converted", NULL);
    rewrite(dir, FP8);
    g_autofree char *lora_file = write_lora(dir);
    const LfLora lora = {lora_file, 1};
    convert(dir, out, FALSE,
            &(LfModelOptions){.precision = LF_PRECISION_FP8, .loras = &lora, .n_loras = 1});
    LfTensorFile *original = open_file(dir, "transformer.safetensors");
    LfTensorFile *file = open_file(out, "transformer.safetensors");
    const LfFileTensor *a = find(original, "blocks.0.ffn.0.weight");
    const LfFileTensor *b = find(file, "blocks.0.ffn.0.weight");
    const LfFileTensor *one = find(original, "blocks.0.ffn.0.weight_scale");
    const LfFileTensor *each = find(file, "blocks.0.ffn.0.weight_scale");
    g_assert_cmpmem(a->data, a->size, b->data, b->size);
    for (int64_t r = 0; r < b->shape[0]; r++) {
        float was, is;
        lf_file_tensor_read(one, lf_file_tensor_count(one) == 1 ? 0 : r, 1, &was);
        lf_file_tensor_read(each, r, 1, &is);
        g_assert_cmpfloat(was, ==, is);
    }
    a = find(original, "blocks.1.self_attn.k.weight");
    b = find(file, "blocks.1.self_attn.k.weight");
    g_assert_cmpint(b->type, ==, LF_F8_E4M3);
    g_assert_true(memcmp(a->data, b->data, a->size) != 0);
    lf_tensor_file_unref(file);
    lf_tensor_file_unref(original);
    lf_tiny_model_remove(out);
    lf_tiny_model_remove(dir);
}

/* Matrices of F32 and F16 become BF16 as a GPU rounds them. A text encoder that stays on the CPU
 * keeps its types. */
static void test_bf16(void)
{
    char *dir = lf_tiny_model_make(NULL, NULL);
    char *out = g_strconcat(dir, "-converted", NULL);
    rewrite(dir, AS_F32);
    convert(dir, out, FALSE, &(LfModelOptions){.precision = LF_PRECISION_BF16});
    LfTensorFile *original = open_file(dir, "transformer.safetensors");
    LfTensorFile *file = open_file(out, "transformer.safetensors");
    const LfFileTensor *a = find(original, "blocks.0.cross_attn.v.weight");
    const LfFileTensor *b = find(file, "blocks.0.cross_attn.v.weight");
    g_assert_cmpint(b->type, ==, LF_BF16);
    for (int64_t i = 0; i < lf_file_tensor_count(a); i++) {
        float was;
        uint16_t is;
        lf_file_tensor_read(a, i, 1, &was);
        memcpy(&is, (const uint8_t *) b->data + 2 * i, 2);
        g_assert_cmpint(is, ==, lf_float_to_bf16(was));
    }
    lf_tensor_file_unref(file);
    lf_tensor_file_unref(original);
    lf_tiny_model_remove(out);
    lf_tiny_model_remove(dir);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static void assert_refused(const char *dir, const char *out, gboolean replace,
                           const LfModelOptions *options, LfError code, const char *word)
{
    GError *error = NULL;
    g_assert_false(lf_model_convert(dir, out, replace, options, &error));
    stream_assert_error(&error, code, word);
}

static void test_folder(void)
{
    const LfModelOptions fp32 = {.precision = LF_PRECISION_FP32};
    char *root = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *model = g_build_filename(root, "model", NULL);
    g_autofree char *out = g_build_filename(root, "out", NULL);
    g_autofree char *slash = g_strconcat(out, "/", NULL);
    g_autofree char *link = g_build_filename(root, "link", NULL);
    g_autofree char *deep = g_build_filename(root, "nowhere", "out", NULL);
    g_autofree char *stranger = g_build_filename(out, "notes.txt", NULL);
    g_autofree char *config = g_build_filename(out, "model.json", NULL);
    g_free(lf_tiny_model_make(model, NULL));
    assert_refused(model, deep, TRUE, &fp32, LF_ERROR_WRITE, "nowhere");
    assert_refused(model, "", TRUE, &fp32, LF_ERROR_WRITE, "name a folder");
    assert_refused(model, "/", TRUE, &fp32, LF_ERROR_WRITE, "is not replaced");
    assert_refused("/nowhere", out, FALSE, &fp32, LF_ERROR_NOT_FOUND, "/nowhere");
    convert(model, slash, FALSE, &fp32);
    assert_refused(model, out, FALSE, &fp32, LF_ERROR_WRITE, "exists");
    convert(model, out, TRUE, &fp32);
    convert(out, out, TRUE, &fp32); /* of itself */
    g_assert_true(g_file_set_contents(stranger, "mine", -1, NULL));
    assert_refused(model, out, TRUE, &fp32, LF_ERROR_WRITE, "notes.txt");
    g_assert_true(g_file_test(stranger, G_FILE_TEST_EXISTS));
    g_remove(stranger);
    g_remove(config);
    assert_refused(model, out, TRUE, &fp32, LF_ERROR_WRITE, "no model.json");
    g_assert_cmpint(symlink("out", link), ==, 0);
    assert_refused(model, link, TRUE, &fp32, LF_ERROR_WRITE, "no folder");
    assert_alone(root, (const char *const[]){"model", "out", "link", NULL});
    g_remove(link);
    lf_tiny_model_remove(g_strdup(out));
    lf_tiny_model_remove(g_strdup(model));
    lf_tiny_model_remove(root);
}

static gboolean stop_after(const char *part, double done, gpointer calls)
{
    return (*(int *) calls)-- > 0;
}

/* Whenever it is cancelled, and when the disk is full, nothing is left, and what was there stays. */
static void test_interrupted(void)
{
    char *root = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *model = g_build_filename(root, "model", NULL);
    g_autofree char *out = g_build_filename(root, "out", NULL);
    g_free(lf_tiny_model_make(model, NULL));
    for (int calls = 0; calls < 120; calls += g_test_rand_int_range(1, 40)) {
        int left = calls;
        const LfModelOptions options = {
            .precision = LF_PRECISION_BF16, .progress = stop_after, .progress_data = &left};
        assert_refused(model, out, FALSE, &options, LF_ERROR_CANCELLED, "cancelled");
        assert_alone(root, (const char *const[]){"model", NULL});
    }
    const LfModelOptions plain = {.precision = LF_PRECISION_BF16};
    convert(model, out, FALSE, &plain);
    const struct rlimit small = {4096, RLIM_INFINITY};
    struct rlimit before;
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
    GError *error = NULL;
    gboolean done = lf_model_convert(model, out, TRUE, &plain, &error);
    setrlimit(RLIMIT_FSIZE, &before);
    g_assert_false(done);
    stream_assert_error(&error, LF_ERROR_WRITE, "cannot write");
    assert_alone(root, (const char *const[]){"model", "out", NULL});
    g_byte_array_unref(frames_of(out, &(LfModelOptions){.backend = stream_backend()}));
    lf_tiny_model_remove(g_strdup(out));
    lf_tiny_model_remove(g_strdup(model));
    lf_tiny_model_remove(root);
}

static gboolean check_share(const char *part, double done, gpointer last)
{
    g_assert_cmpfloat(done, >=, *(double *) last);
    g_assert_cmpfloat(done, <=, 1);
    *(double *) last = done;
    return TRUE;
}

static void test_progress(void)
{
    double last = 0;
    char *dir = lf_tiny_model_make(NULL, NULL);
    char *out = g_strconcat(dir, "-converted", NULL);
    convert(dir, out, FALSE,
            &(LfModelOptions){
                .precision = LF_PRECISION_FP8, .progress = check_share, .progress_data = &last});
    g_assert_cmpfloat(last, ==, 1);
    lf_tiny_model_remove(out);
    lf_tiny_model_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/convert/frames", test_frames);
    g_test_add_func("/convert/lora", test_lora);
    g_test_add_func("/convert/fp8-frames", test_fp8_frames);
    g_test_add_func("/convert/gpu", test_gpu);
    g_test_add_func("/convert/settings", test_settings);
    g_test_add_func("/convert/family", test_family);
    g_test_add_func("/convert/fp8", test_fp8);
    g_test_add_func("/convert/fp8-file", test_fp8_file);
    g_test_add_func("/convert/bf16", test_bf16);
    g_test_add_func("/convert/folder", test_folder);
    g_test_add_func("/convert/interrupted", test_interrupted);
    g_test_add_func("/convert/progress", test_progress);
    return g_test_run();
}
