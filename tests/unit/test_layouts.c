/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A small random model, written under the names of each layout: weights and frames are the same,
 * bit for bit.
 */
#include "names.h"
#include "stream.h"

#include "engine/files/layouts/layouts.h"
#include "engine/files/weights.h"

#include <glib/gstdio.h>
#include <string.h>

/* ---- files under other names ----------------------------------------------------------------- */

typedef struct {
    GArray *tensors; /* LfFileTensor; names owned, data another file's or of `memory` */
    GPtrArray *memory;
} Written;

static Written written_new(void)
{
    return (Written){g_array_new(FALSE, FALSE, sizeof(LfFileTensor)),
                     g_ptr_array_new_with_free_func(g_free)};
}

static void add(Written *w, char *name, const LfFileTensor *tensor)
{
    LfFileTensor t = *tensor;
    t.name = name;
    g_ptr_array_add(w->memory, name);
    g_array_append_val(w->tensors, t);
}

static void write_to(Written *w, const char *path)
{
    g_autoptr(GError) error = NULL;
    lf_safetensors_write(path, (const LfFileTensor *) (void *) w->tensors->data, w->tensors->len,
                         &error);
    g_assert_no_error(error);
    g_array_unref(w->tensors);
    g_ptr_array_unref(w->memory);
}

/* q, k and v of self attention, k and v of cross attention as one tensor each. */
static bool is_fused(const char *wan)
{
    return strstr(wan, "self_attn.q.") || strstr(wan, "self_attn.k.") ||
           strstr(wan, "self_attn.v.") || strstr(wan, "cross_attn.k.") ||
           strstr(wan, "cross_attn.v.");
}

static void add_stacked(Written *w, const LfTensorFile *file, char *name, const char *format,
                        const char *const *parts, int n, int layer, const char *end)
{
    LfFileTensor stacked = {0};
    GByteArray *bytes = g_byte_array_new();
    for (int i = 0; i < n; i++) {
        g_autofree char *module = g_strdup_printf(format, layer, parts[i]);
        g_autofree char *full = g_strconcat(module, end, NULL);
        const LfFileTensor *t = lf_tensor_file_find(file, full);
        g_assert_nonnull(t);
        stacked = *t;
        g_byte_array_append(bytes, t->data, (guint) t->size);
    }
    stacked.shape[0] *= n;
    stacked.size = bytes->len;
    stacked.data = g_byte_array_free(bytes, FALSE);
    g_ptr_array_add(w->memory, (gpointer) stacked.data);
    add(w, name, &stacked);
}

static void add_fused(Written *w, const LfTensorFile *file, const char *prefix)
{
    static const char *const qkv[] = {"q", "k", "v"}, *const ends[] = {".weight", ".bias"};
    for (int layer = 0; layer < LF_TINY_LAYERS; layer++)
        for (gsize e = 0; e < G_N_ELEMENTS(ends); e++) {
            char *self = g_strdup_printf("%sblocks.%d.attn1.to_qkv%s", prefix, layer, ends[e]);
            char *cross = g_strdup_printf("%sblocks.%d.attn2.to_kv%s", prefix, layer, ends[e]);
            add_stacked(w, file, self, "blocks.%d.self_attn.%s", qkv, 3, layer, ends[e]);
            add_stacked(w, file, cross, "blocks.%d.cross_attn.%s", qkv + 1, 2, layer, ends[e]);
        }
}

/* Writes `file` under diffusers' names, with `prefix` in front and `wrapper` before the last part
 * of each, and a tensor that belongs to nothing. */
static void write_diffusers(const LfTensorFile *file, const char *path, const char *prefix,
                            const char *wrapper, bool fused)
{
    Written w = written_new();
    const LfFileTensor *decoy = lf_tensor_file_nth(file, 0);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        if (fused && is_fused(t->name))
            continue;
        g_autofree char *theirs = names_diffusers(t->name);
        char *last = strrchr(theirs, '.');
        g_autofree char *end = g_strdup(last ? last + 1 : theirs);
        theirs[last ? last + 1 - theirs : 0] = '\0';
        add(&w, g_strconcat(prefix, theirs, wrapper, end, NULL), t);
    }
    if (fused)
        add_fused(&w, file, prefix);
    add(&w, g_strconcat(prefix, "blocks.0.norm3.weight", NULL), decoy);
    write_to(&w, path);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void assert_same_weights(const LfTensorFile *wan, LfWeightSource *source)
{
    for (size_t i = 0; i < lf_tensor_file_count(wan); i++) {
        g_autoptr(GError) error = NULL;
        const LfFileTensor *a = lf_tensor_file_nth(wan, i);
        const LfFileTensor *b = lf_weight_source_find(source, a->name, &error);
        g_assert_no_error(error);
        g_assert_cmpint(a->type, ==, b->type);
        g_assert_cmpmem(a->shape, (gsize) a->n_dims * sizeof *a->shape, b->shape,
                        (gsize) b->n_dims * sizeof *b->shape);
        g_assert_cmpmem(a->data, a->size, b->data, b->size);
    }
}

static LfTensorFile *open_file(const char *dir, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(dir, name, NULL);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    return file;
}

static void test_diffusers(void)
{
    static const struct {
        const char *prefix, *wrapper;
        bool fused;
    } cases[] = {
        {"", "", false},
        {"", "", true},
        {"transformer.", "", false},
        {"model.diffusion_model.", "", true},
        {"generator_ema.model.", "_fsdp_wrapped_module.", false},
        {"_orig_mod.", "_checkpoint_wrapped_module.", false},
    };
    char *dir = lf_tiny_model_make(NULL, &(LfTinyModel){.seed = g_test_rand_int()});
    LfTensorFile *wan = open_file(dir, "transformer.safetensors");
    LfWeightSource *native = lf_weight_source_file(wan, NULL, NULL);
    g_assert_cmpstr(lf_weight_source_layout(native), ==, "Wan");
    assert_same_weights(wan, native);
    lf_weight_source_free(native);
    g_autofree char *path = g_build_filename(dir, "other.safetensors", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        write_diffusers(wan, path, cases[i].prefix, cases[i].wrapper, cases[i].fused);
        LfTensorFile *other = open_file(dir, "other.safetensors");
        LfWeightSource *source = lf_weight_source_file(other, NULL, NULL);
        g_assert_cmpstr(lf_weight_source_layout(source), ==, "diffusers");
        assert_same_weights(wan, source);
        g_assert_false(lf_weight_source_has(source, "blocks.0.norm2.weight"));
        g_assert_false(lf_weight_source_has(source, "blocks.0.attn1.to_q.weight"));
        lf_weight_source_free(source);
        lf_tensor_file_unref(other);
    }
    lf_tensor_file_unref(wan);
    lf_tiny_model_remove(dir);
}

/* A model that is opened from such a file: the dimensions come from the shapes, in every layout. */
static void test_stream(void)
{
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "transformer.safetensors", NULL);
    GByteArray *pictures[3];
    LfTensorFile *wan = open_file(dir, "transformer.safetensors");
    for (gsize i = 0; i < G_N_ELEMENTS(pictures); i++) {
        if (i > 0)
            write_diffusers(wan, path, "", "", i == 2);
        LfModel *model = lf_model_open(dir, NULL, &error);
        g_assert_no_error(error);
        LfSession *s = stream_session(model, NULL, "a red star");
        pictures[i] = stream_run(s, 2);
        lf_session_free(s);
        lf_model_unref(model);
    }
    for (gsize i = 1; i < G_N_ELEMENTS(pictures); i++)
        stream_assert_same(pictures[0], pictures[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(pictures); i++)
        g_byte_array_unref(pictures[i]);
    lf_tensor_file_unref(wan);
    lf_tiny_model_remove(dir);
}

static void find_problem(const LfFinding *finding, gpointer problem)
{
    if (finding->problem && !*(char **) problem)
        *(char **) problem = g_strdup(finding->problem);
}

static gboolean count_progress(const char *part, double share, gpointer n_calls)
{
    (*(int *) n_calls)++;
    return TRUE;
}

/* Layers that the engine would leave out are errors for a stream, before any weight is read, and for
 * an inspection. */
static void test_left_over(void)
{
    static const char *const cases[][2] = {
        {"blocks.0.extra.weight", "1 of its tensors (blocks.0.extra.weight) have no place"},
        {"blocks.2.norm3.bias", "1 of its tensors (blocks.2.norm3.bias) have no place"},
        {"blocks.0.self_attn.q.lora_A.weight", "an unmerged LoRA"},
        {"blocks.0.cross_attn.k_img.weight", "image-to-video"},
        {"vace_blocks.0.norm3.weight", "VACE"},
    };
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "transformer.safetensors", NULL);
    LfTensorFile *wan = open_file(dir, "transformer.safetensors");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *problem = NULL;
        Written w = written_new();
        for (size_t k = 0; k < lf_tensor_file_count(wan); k++)
            add(&w, g_strdup(lf_tensor_file_nth(wan, k)->name), lf_tensor_file_nth(wan, k));
        add(&w, g_strdup(cases[i][0]), lf_tensor_file_nth(wan, 0));
        write_to(&w, path);
        int n_calls = 0;
        const LfModelOptions options = {.progress = count_progress, .progress_data = &n_calls};
        g_assert_null(lf_model_open(dir, &options, &error));
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, cases[i][1]));
        g_assert_cmpint(n_calls, ==, 0);
        g_assert_true(lf_inspect_model(dir, find_problem, &problem, NULL));
        g_assert_nonnull(strstr(problem, cases[i][1]));
    }
    lf_tensor_file_unref(wan);
    lf_tiny_model_remove(dir);
}

static void find_transformer(const LfFinding *finding, gpointer description)
{
    if (g_str_equal(finding->subject, "transformer"))
        *(char **) description = g_strdup(finding->description);
}

static void keep_line(LfLogLevel level, const char *message, gpointer lines)
{
    g_string_append_printf(lines, "%d %s\n", level, message);
}

/* Of a whole average and the model itself the options choose. */
static void test_chosen_copy(void)
{
    static const char *const copies[] = {NULL, "generator_ema", "generator", "mine"};
    static const char *const read[] = {"generator_ema", "generator_ema", "generator", "mine"};
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "transformer.safetensors", NULL);
    LfTensorFile *wan = open_file(dir, "transformer.safetensors");
    Written w = written_new();
    for (size_t i = 0; i < lf_tensor_file_count(wan); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(wan, i);
        add(&w, g_strconcat("generator.", t->name, NULL), t);
        add(&w, g_strconcat("generator_ema.", t->name, NULL), t);
        add(&w, g_strconcat("mine.", t->name, NULL), t);
    }
    write_to(&w, path);
    for (gsize i = 0; i < G_N_ELEMENTS(copies); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) lines = g_string_new(NULL);
        g_autofree char *line = g_strdup_printf("copy \"%s\" of the transformer is read", read[i]);
        const LfModelOptions options = {.copy = copies[i], .log = {keep_line, lines, LF_LOG_INFO}};
        LfModel *model = lf_model_open(dir, &options, &error);
        g_assert_no_error(error);
        g_assert_nonnull(strstr(lines->str, line));
        lf_model_unref(model);
    }
    g_autoptr(GError) error = NULL;
    g_assert_null(lf_model_open(dir, &(LfModelOptions){.copy = "yours"}, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "no copy \"yours\""));
    lf_tensor_file_unref(wan);
    lf_tiny_model_remove(dir);
}

/* Which copy is read, and why, is in the log and in what an inspection tells. */
static void test_copy(void)
{
    g_autofree char *description = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) lines = g_string_new(NULL);
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "transformer.safetensors", NULL);
    LfTensorFile *wan = open_file(dir, "transformer.safetensors");
    Written w = written_new();
    for (size_t i = 0; i < lf_tensor_file_count(wan); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(wan, i);
        add(&w, g_strconcat("generator.model.", t->name, NULL), t);
        if (i > 0)
            add(&w, g_strconcat("generator_ema.model.", t->name, NULL), t);
    }
    write_to(&w, path);
    g_assert_true(lf_inspect_model(dir, find_transformer, &description, NULL));
    g_test_message("%s", description);
    g_assert_nonnull(strstr(description, ", copy generator;"));
    g_assert_nonnull(strstr(description, "generator_ema lacks 1 of"));
    const LfModelOptions options = {.log = {keep_line, lines, LF_LOG_INFO}};
    LfModel *model = lf_model_open(dir, &options, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(lines->str, "generator_ema lacks 1 of"));
    g_assert_nonnull(strstr(lines->str, "copy \"generator\" of the transformer is read"));
    lf_model_unref(model);
    lf_tensor_file_unref(wan);
    lf_tiny_model_remove(dir);
}

static void keep_finding(const LfFinding *finding, gpointer text)
{
    g_string_append_printf(text, "%s: %s: %s\n", finding->subject, finding->description,
                           finding->problem);
}

/* A single file is a part, a LoRA, or told to be nothing that is known. */
static void test_lone_files(void)
{
    static const char *const cases[][3] = {
        {"x.lora_A.weight", "x.lora_B.weight", "LoRA: matrices that are added"},
        {"x.weight", "y.weight", "part: (null): it is no part of a Wan 2.1 model"},
        {"head.modulation", "img_emb.x", "transformer: (null): "},
    };
    g_autofree char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "a.safetensors", NULL);
    const float number = 1;
    const LfFileTensor t = {
        .type = LF_F32, .n_dims = 1, .shape = {1}, .data = &number, .size = sizeof number};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        Written w = written_new();
        add(&w, g_strdup(cases[i][0]), &t);
        add(&w, g_strdup(cases[i][1]), &t);
        write_to(&w, path);
        g_assert_true(lf_inspect_file(path, keep_finding, text, NULL));
        g_test_message("%s", text->str);
        g_assert_true(g_str_has_prefix(text->str, cases[i][2]));
        g_assert_cmpint(strcspn(text->str, "\n"), ==, (int) text->len - 1);
    }
    g_remove(path);
    g_rmdir(dir);
}

static void test_unwrap(void)
{
    static const char *const cases[][2] = {
        {"x.weight", "x.weight"},
        {"model.x.weight", "model.x.weight"},
        {"net._fsdp_wrapped_module.x._fsdp_wrapped_module.weight", "net.x.weight"},
        {"_orig_mod._orig_mod.x.weight", "x.weight"},
        {"x._checkpoint_wrapped_module._orig_mod.weight", "x.weight"},
        {"x_orig_mod.weight", "xweight"},
        {"_fsdp_wrapped_modules.x", "_fsdp_wrapped_modules.x"},
        {"_orig_mod.", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *bare = lf_layout_unwrap(cases[i][0]);
        g_assert_cmpstr(bare, ==, cases[i][1]);
    }
}

static void test_rename(void)
{
    static const char *const cases[][4] = {
        {"blocks.12.norm2.weight", "blocks.*.norm2", "blocks.*.norm3", "blocks.12.norm3.weight"},
        {"blocks.12.norm2", "blocks.*.norm2", "b.*", "b.12"},
        {"blocks.12.norm21.weight", "blocks.*.norm2", "blocks.*.norm3", NULL},
        {"blocks.norm2.weight", "blocks.*.norm2", "blocks.*.norm3", NULL},
        {"my.blocks.1.norm2.weight", "blocks.*.norm2", "blocks.*.norm3", NULL},
        {"a.1.b.2.c", "a.*.b.*", "*.a.*.b", "1.a.2.b.c"},
        {"blocks", "blocks.*", "x", NULL},
        {"blocks.", "blocks.*", "x", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *renamed = lf_layout_rename(cases[i][0], cases[i][1], cases[i][2]);
        g_assert_cmpstr(renamed, ==, cases[i][3]);
        g_assert_true(lf_layout_matches(cases[i][0], cases[i][1]) == (renamed != NULL));
    }
}

/* Of two tensors that end up under one name, the one with fewer wrappers is read. */
static void test_shorter_name(void)
{
    static const float numbers[] = {1, 2};
    static const char *const names[][2] = {
        {"x.weight", "_orig_mod.x.weight"},
        {"x.weight", "x._fsdp_wrapped_module.weight"},
        {"_orig_mod.x.weight", "_fsdp_wrapped_module.x.weight"},
    };
    g_autofree char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "a.safetensors", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        Written w = written_new();
        for (int k = 0; k < 2; k++)
            add(&w, g_strdup(names[i][k]),
                &(LfFileTensor){.type = LF_F32,
                                .n_dims = 1,
                                .shape = {1},
                                .data = &numbers[k],
                                .size = sizeof numbers[k]});
        write_to(&w, path);
        LfTensorFile *file = open_file(dir, "a.safetensors");
        LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
        const LfFileTensor *t = lf_weight_source_find(source, "x.weight", NULL);
        g_assert_nonnull(t);
        g_assert_cmpfloat(*(const float *) t->data, ==, 1);
        lf_weight_source_free(source);
        lf_tensor_file_unref(file);
    }
    g_remove(path);
    g_rmdir(dir);
}

/* The decoder half of Wan's VAE under diffusers' names: one number for each tensor. */
static void test_vae(void)
{
    static const char *const names[] = {
        "conv2.weight",
        "decoder.conv1.weight",
        "decoder.middle.0.residual.0.gamma",
        "decoder.middle.0.residual.6.bias",
        "decoder.middle.1.norm.gamma",
        "decoder.middle.1.to_qkv.weight",
        "decoder.middle.1.proj.bias",
        "decoder.middle.2.residual.3.gamma",
        "decoder.upsamples.0.residual.2.weight",
        "decoder.upsamples.3.time_conv.weight",
        "decoder.upsamples.3.resample.1.weight",
        "decoder.upsamples.4.shortcut.weight",
        "decoder.upsamples.6.residual.6.weight",
        "decoder.upsamples.7.time_conv.bias",
        "decoder.upsamples.11.resample.1.bias",
        "decoder.upsamples.14.residual.0.gamma",
        "decoder.head.0.gamma",
        "decoder.head.2.weight",
    };
    float numbers[G_N_ELEMENTS(names)];
    LfFileTensor t = {.type = LF_F32, .n_dims = 1, .shape = {1}, .size = sizeof *numbers};
    const LfSourceOptions options = {.kind = LF_FILE_DECODER};
    g_autofree char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "a.safetensors", NULL);
    Written w = written_new();
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        numbers[i] = (float) i;
        t.data = &numbers[i];
        add(&w, names_diffusers_vae(names[i]), &t);
    }
    add(&w, g_strdup("encoder.conv_in.weight"), &t);
    add(&w, g_strdup("quant_conv.weight"), &t);
    write_to(&w, path);
    LfTensorFile *file = open_file(dir, "a.safetensors");
    LfWeightSource *source = lf_weight_source_file(file, &options, NULL);
    g_assert_cmpstr(lf_weight_source_layout(source), ==, "diffusers VAE");
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        const LfFileTensor *found = lf_weight_source_find(source, names[i], NULL);
        g_assert_nonnull(found);
        g_assert_cmpfloat(*(const float *) found->data, ==, (float) i);
    }
    g_assert_true(lf_weight_source_check_unused(source, NULL));
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
    g_remove(path);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/layouts/diffusers", test_diffusers);
    g_test_add_func("/layouts/left-over", test_left_over);
    g_test_add_func("/layouts/copy", test_copy);
    g_test_add_func("/layouts/lone-files", test_lone_files);
    g_test_add_func("/layouts/chosen-copy", test_chosen_copy);
    g_test_add_func("/layouts/vae", test_vae);
    g_test_add_func("/layouts/stream", test_stream);
    g_test_add_func("/layouts/unwrap", test_unwrap);
    g_test_add_func("/layouts/rename", test_rename);
    g_test_add_func("/layouts/shorter-name", test_shorter_name);
    return g_test_run();
}
