/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * LoRA files in every dialect, against weights that the test merges in double precision.
 */
#include "stream.h"

#include "engine/files/layouts/layouts.h"
#include "engine/files/lora.h"
#include "engine/files/weights.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

enum { RANK = 3, DIM = LF_TINY_DIM, FFN = 96 };

/* ---- files ----------------------------------------------------------------------------------- */

typedef struct {
    GArray *tensors; /* LfFileTensor; names and data of `memory` */
    GPtrArray *memory;
} Written;

static Written written_new(void)
{
    return (Written){g_array_new(FALSE, FALSE, sizeof(LfFileTensor)),
                     g_ptr_array_new_with_free_func(g_free)};
}

/* Random numbers around 0; returns them. */
static float *add(Written *w, const char *name, int64_t rows, int64_t columns)
{
    LfFileTensor t = {.name = g_strdup(name), .type = LF_F32, .n_dims = columns ? 2 : rows ? 1 : 0};
    int64_t count = MAX(rows, 1) * MAX(columns, 1);
    float *values = g_new(float, count);
    t.shape[0] = rows;
    t.shape[1] = columns;
    for (int64_t i = 0; i < count; i++)
        values[i] = (float) g_test_rand_double_range(-1, 1);
    t.data = values;
    t.size = (size_t) count * sizeof *values;
    g_ptr_array_add(w->memory, (gpointer) t.name);
    g_ptr_array_add(w->memory, values);
    g_array_append_val(w->tensors, t);
    return values;
}

static LfTensorFile *open_written(Written *w, const char *path)
{
    g_autoptr(GError) error = NULL;
    lf_safetensors_write(path, (const LfFileTensor *) (void *) w->tensors->data, w->tensors->len,
                         &error);
    g_assert_no_error(error);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    return file;
}

static void written_clear(Written *w)
{
    g_array_unref(w->tensors);
    g_ptr_array_unref(w->memory);
}

typedef struct {
    char *dir, *path; /* of the LoRA */
    LfTensorFile *base;
    LfWeightSource *plain, *source; /* without and with LoRAs */
} Fixture;

static Fixture fixture_new(void)
{
    g_autoptr(GError) error = NULL;
    Fixture f = {.dir = lf_tiny_model_make(NULL, &(LfTinyModel){.seed = g_test_rand_int()})};
    g_autofree char *base = g_build_filename(f.dir, "transformer.safetensors", NULL);
    f.path = g_build_filename(f.dir, "lora.safetensors", NULL);
    f.base = lf_tensor_file_open(base, &error);
    g_assert_no_error(error);
    f.plain = lf_weight_source_file(f.base, NULL, NULL);
    f.source = lf_weight_source_file(f.base, NULL, NULL);
    return f;
}

static void fixture_clear(Fixture *f)
{
    lf_weight_source_free(f->plain);
    lf_weight_source_free(f->source);
    lf_tensor_file_unref(f->base);
    lf_tiny_model_remove(f->dir);
    g_free(f->path);
}

static void apply(Fixture *f, Written *w, double strength)
{
    g_autoptr(GError) error = NULL;
    LfTensorFile *file = open_written(w, f->path);
    char *notice;
    g_assert_true(lf_weight_source_add_lora(f->source, file, strength, &notice, &error));
    g_assert_no_error(error);
    g_assert_null(notice);
    lf_tensor_file_unref(file);
}

static float *read_all(LfWeightSource *source, const char *name, LfBindKind kind, int64_t rows,
                       int64_t columns)
{
    g_autoptr(GError) error = NULL;
    const LfBinding binding = {.name = name, .kind = kind, .shape = {rows, columns}};
    float *values = lf_weights_read(source, "", &binding, &error);
    g_assert_no_error(error);
    return values;
}

/* values [rows, columns] += scale · up [rows, RANK] · down [RANK, columns] */
static void merge(float *values, double scale, const float *up, const float *down, int64_t rows,
                  int64_t columns)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            double sum = 0;
            for (int k = 0; k < RANK; k++)
                sum += (double) up[r * RANK + k] * down[k * columns + c];
            values[r * columns + c] = (float) (values[r * columns + c] + scale * sum);
        }
}

static void assert_close(const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        g_assert_cmpfloat_with_epsilon(a[i], b[i], 2e-6);
}

/* ---- dialects -------------------------------------------------------------------------------- */

typedef struct {
    const char *prefix, *down, *up;
    bool diffusers, flat, alpha;
} Dialect;

static const Dialect dialects[] = {
    {"", ".lora_A.weight", ".lora_B.weight", false, false, false},
    {"base_model.model.", ".lora_A.weight", ".lora_B.weight", false, false, false},
    {"generator_lora.base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight", false,
     false, false},
    {"any.trainer.at.all.", ".lora_A.weight", ".lora_B.weight", false, false, false},
    {"state_dict._orig_mod.model.", ".lora_A.weight", ".lora_B.weight", true, false, false},
    {"module.lora_unet_", ".lora_down.weight", ".lora_up.weight", false, true, true},
    {"pipe.dit.", ".lora_A.default.weight", ".lora_B.default.weight", false, false, false},
    {"diffusion_model.", ".lora_down.weight", ".lora_up.weight", false, false, true},
    {"diffusion_model.", ".lora_A.weight", ".lora_B.weight", false, false, true},
    {"transformer.", ".lora_A.weight", ".lora_B.weight", true, false, false},
    {"transformer.", ".lora.down.weight", ".lora.up.weight", true, false, false},
    {"pipe.transformer.", "_lora.down.weight", "_lora.up.weight", true, false, false},
    {"lora_unet_", ".lora_down.weight", ".lora_up.weight", false, true, true},
    {"lora_unet__", ".lora_down.weight", ".lora_up.weight", false, true, true},
    {"lycoris_", ".lora_down.weight", ".lora_up.weight", true, true, true},
};

static const struct {
    const char *wan, *diffusers;
    int64_t rows, columns;
} modules[] = {
    {"blocks.0.self_attn.q", "blocks.0.attn1.to_q", DIM, DIM},
    {"blocks.1.cross_attn.o", "blocks.1.attn2.to_out.0", DIM, DIM},
    {"blocks.1.ffn.0", "blocks.1.ffn.net.0.proj", FFN, DIM},
    {"blocks.0.ffn.2", "blocks.0.ffn.net.2", DIM, FFN},
    {"time_projection.1", "condition_embedder.time_proj", 6 * DIM, DIM},
};

static void test_dialect(gconstpointer data)
{
    const Dialect *d = data;
    Fixture f = fixture_new();
    Written w = written_new();
    float *merged[G_N_ELEMENTS(modules)];
    double strength = g_test_rand_double_range(-2, 2);
    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++) {
        int64_t rows = modules[i].rows, columns = modules[i].columns;
        char *module = g_strdup(d->diffusers ? modules[i].diffusers : modules[i].wan);
        if (d->flat)
            g_strdelimit(module, ".", '_');
        g_autofree char *down = g_strconcat(d->prefix, module, d->down, NULL);
        g_autofree char *up = g_strconcat(d->prefix, module, d->up, NULL);
        g_autofree char *alpha = g_strconcat(d->prefix, module, ".alpha", NULL);
        g_autofree char *weight = g_strconcat(modules[i].wan, ".weight", NULL);
        double scale = 1;
        merged[i] = read_all(f.plain, weight, LF_BIND_LINEAR, rows, columns);
        const float *b = add(&w, up, rows, RANK), *a = add(&w, down, RANK, columns);
        if (d->alpha)
            scale = (double) *add(&w, alpha, 0, 0) / RANK;
        merge(merged[i], strength * scale, b, a, rows, columns);
        g_free(module);
    }
    apply(&f, &w, strength);
    g_assert_cmpint(lf_weight_source_lora_count(f.source), ==, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++) {
        int64_t rows = modules[i].rows, columns = modules[i].columns;
        g_autofree char *weight = g_strconcat(modules[i].wan, ".weight", NULL);
        g_autofree float *own = read_all(f.source, weight, LF_BIND_LINEAR, rows, columns);
        assert_close(own, merged[i], rows * columns);
        g_free(merged[i]);
    }
    g_autofree float *other =
        read_all(f.source, "blocks.0.self_attn.k.weight", LF_BIND_LINEAR, DIM, DIM);
    g_autofree float *plain =
        read_all(f.plain, "blocks.0.self_attn.k.weight", LF_BIND_LINEAR, DIM, DIM);
    g_assert_cmpmem(other, DIM * DIM * sizeof *other, plain, DIM * DIM * sizeof *plain);
    written_clear(&w);
    fixture_clear(&f);
}

/* Plain differences, of weights, biases and modulation, also of norms under diffusers' names; those
 * of zeros for a norm without weights are left out. */
static void test_differences(void)
{
    Fixture f = fixture_new();
    Written w = written_new();
    const float *weight = add(&w, "diffusion_model.blocks.0.ffn.0.diff", FFN, DIM);
    const float *bias = add(&w, "diffusion_model.blocks.0.ffn.0.diff_b", FFN, 0);
    const float *norm = add(&w, "diffusion_model.blocks.1.norm2.diff", DIM, 0);
    const float *modulation = add(&w, "diffusion_model.blocks.1.diff_m", 6, DIM);
    memset(add(&w, "diffusion_model.blocks.1.norm1.diff", DIM, 0), 0, DIM * sizeof(float));
    g_autofree float *matrix = read_all(f.plain, "blocks.0.ffn.0.weight", LF_BIND_LINEAR, FFN, DIM);
    g_autofree float *vector = read_all(f.plain, "blocks.0.ffn.0.bias", LF_BIND_VECTOR, FFN, 0);
    g_autofree float *norm3 = read_all(f.plain, "blocks.1.norm3.weight", LF_BIND_VECTOR, DIM, 0);
    g_autofree float *m = read_all(f.plain, "blocks.1.modulation", LF_BIND_VECTOR, 6, DIM);
    apply(&f, &w, 0.5);
    for (int i = 0; i < FFN * DIM; i++)
        matrix[i] += 0.5f * weight[i];
    for (int i = 0; i < FFN; i++)
        vector[i] += 0.5f * bias[i];
    for (int i = 0; i < DIM; i++)
        norm3[i] += 0.5f * norm[i];
    for (int i = 0; i < 6 * DIM; i++)
        m[i] += 0.5f * modulation[i];
    g_autofree float *own = read_all(f.source, "blocks.0.ffn.0.weight", LF_BIND_LINEAR, FFN, DIM);
    g_autofree float *own_bias = read_all(f.source, "blocks.0.ffn.0.bias", LF_BIND_VECTOR, FFN, 0);
    g_autofree float *own_norm =
        read_all(f.source, "blocks.1.norm3.weight", LF_BIND_VECTOR, DIM, 0);
    g_autofree float *own_m = read_all(f.source, "blocks.1.modulation", LF_BIND_VECTOR, 6, DIM);
    assert_close(own, matrix, FFN * DIM);
    assert_close(own_bias, vector, FFN);
    assert_close(own_norm, norm3, DIM);
    assert_close(own_m, m, 6 * DIM);
    written_clear(&w);
    fixture_clear(&f);
}

/* Two files on the same weight, the rows of a binding's part, and one product for q, k and v. */
static void test_several(void)
{
    g_autoptr(GError) error = NULL;
    Fixture f = fixture_new();
    Written one = written_new(), two = written_new();
    const float *down = add(&one, "blocks.0.attn1.to_qkv.lora_A.weight", RANK, DIM);
    const float *up = add(&one, "blocks.0.attn1.to_qkv.lora_B.weight", 3 * DIM, RANK);
    const float *down_v = add(&two, "blocks.0.self_attn.v.lora_A.weight", RANK, DIM);
    const float *up_v = add(&two, "blocks.0.self_attn.v.lora_B.weight", DIM, RANK);
    static const char name[] = "blocks.0.self_attn.q.weight|blocks.0.self_attn.k.weight|"
                               "blocks.0.self_attn.v.weight";
    g_autofree float *merged = read_all(f.plain, name, LF_BIND_LINEAR, 3 * DIM, DIM);
    merge(merged, 0.75, up, down, 3 * DIM, DIM);
    merge(merged + 2 * DIM * DIM, -1, up_v, down_v, DIM, DIM);
    apply(&f, &one, 0.75);
    apply(&f, &two, -1);
    g_autofree float *own = read_all(f.source, name, LF_BIND_LINEAR, 3 * DIM, DIM);
    assert_close(own, merged, 3 * DIM * DIM);

    const LfBinding rows = {.name = "blocks.0.self_attn.v.weight",
                            .kind = LF_BIND_LINEAR,
                            .shape = {5, DIM},
                            .first = 7,
                            .rows = DIM};
    g_autofree float *some = lf_weights_read(f.source, "", &rows, &error);
    g_assert_no_error(error);
    assert_close(some, merged + (2 * DIM + 7) * DIM, 5 * DIM);
    written_clear(&one);
    written_clear(&two);
    fixture_clear(&f);
}

/* Differences of a tensor that the weights have in three parts: each part takes its share of rows.
 * With strength 0 nothing is added. */
static void test_shared_difference(void)
{
    static const char *const names[] = {"blocks.0.self_attn.q.bias", "blocks.0.self_attn.k.bias",
                                        "blocks.0.self_attn.v.bias"};
    Fixture f = fixture_new();
    Written w = written_new(), none = written_new();
    float *wanted[3];
    const float *bias = add(&w, "blocks.0.attn1.to_qkv.diff_b", 3 * DIM, 0);
    add(&none, "blocks.0.self_attn.q.diff_b", DIM, 0);
    for (int part = 0; part < 3; part++) {
        wanted[part] = read_all(f.plain, names[part], LF_BIND_VECTOR, DIM, 0);
        for (int i = 0; i < DIM; i++)
            wanted[part][i] += 2 * bias[part * DIM + i];
    }
    apply(&f, &none, 0);
    g_assert_null(lf_lora_updates(f.source, names[0]));
    apply(&f, &w, 2);
    g_assert_cmpuint(lf_lora_updates(f.source, names[0])->len, ==, 1);
    for (int part = 0; part < 3; part++) {
        g_autofree float *got = read_all(f.source, names[part], LF_BIND_VECTOR, DIM, 0);
        assert_close(got, wanted[part], DIM);
        g_free(wanted[part]);
    }
    written_clear(&w);
    written_clear(&none);
    fixture_clear(&f);
}

/* An alpha is one number; anything else under its name is none. */
static void test_alpha(void)
{
    static const char name[] = "blocks.0.self_attn.q.weight";
    for (int count = 1; count <= 2; count++) {
        Fixture f = fixture_new();
        Written w = written_new();
        g_autofree float *wanted = read_all(f.plain, name, LF_BIND_LINEAR, DIM, DIM);
        const float *down = add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
        const float *up = add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK);
        const float *alpha = add(&w, "blocks.0.self_attn.q.alpha", count, 0);
        merge(wanted, count == 1 ? (double) *alpha / RANK : 1, up, down, DIM, DIM);
        apply(&f, &w, 1);
        g_autofree float *got = read_all(f.source, name, LF_BIND_LINEAR, DIM, DIM);
        assert_close(got, wanted, DIM * DIM);
        written_clear(&w);
        fixture_clear(&f);
    }
}

/* ---- of image-to-video models ---------------------------------------------------------------- */

/* What such a LoRA has for the picture is left out, and said; the rest is added as it stands. */
static void test_of_picture(void)
{
    static const char *const of_picture[][3] = {
        {"diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight",
         "diffusion_model.blocks.0.cross_attn.k_img.lora_B.weight",
         "diffusion_model.blocks.0.cross_attn.norm_k_img.diff"},
        {"transformer.blocks.1.attn2.add_v_proj.lora_A.weight",
         "transformer.blocks.1.attn2.add_v_proj.lora_B.weight",
         "transformer.condition_embedder.image_embedder.norm1.diff_b"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(of_picture); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *notice = NULL;
        Fixture f = fixture_new();
        Written w = written_new();
        add(&w, of_picture[i][0], RANK, DIM);
        add(&w, of_picture[i][1], DIM, RANK);
        add(&w, of_picture[i][2], DIM, 0);
        const float *down = add(&w, "blocks.1.self_attn.q.lora_A.weight", RANK, DIM);
        const float *up = add(&w, "blocks.1.self_attn.q.lora_B.weight", DIM, RANK);
        LfTensorFile *file = open_written(&w, f.path);
        g_assert_true(lf_weight_source_add_lora(f.source, file, 0.5, &notice, &error));
        g_assert_no_error(error);
        g_assert_nonnull(strstr(notice, "2 of its 3 modules are for the picture"));
        const char *q = "blocks.1.self_attn.q.weight";
        g_autofree float *wanted = read_all(f.plain, q, LF_BIND_LINEAR, DIM, DIM);
        g_autofree float *got = read_all(f.source, q, LF_BIND_LINEAR, DIM, DIM);
        merge(wanted, 0.5, up, down, DIM, DIM);
        assert_close(got, wanted, DIM * DIM);
        lf_tensor_file_unref(file);
        written_clear(&w);
        fixture_clear(&f);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void assert_refused(Written *w, LfError code, const char *word)
{
    g_autoptr(GError) error = NULL;
    Fixture f = fixture_new();
    LfTensorFile *file = open_written(w, f.path);
    char *notice;
    g_assert_false(lf_weight_source_add_lora(f.source, file, 1, &notice, &error));
    g_assert_null(notice);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "lora.safetensors"));
    stream_assert_error(&error, code, word);
    lf_tensor_file_unref(file);
    written_clear(w);
    fixture_clear(&f);
}

static void test_refused(void)
{
    Written w = written_new();
    add(&w, "blocks.0.cross_attn.v_img.lora_A.weight", RANK, DIM);
    add(&w, "blocks.0.cross_attn.v_img.lora_B.weight", DIM, RANK);
    assert_refused(&w, LF_ERROR_SHAPE, "use one made for text-to-video");

    w = written_new();
    add(&w, "model.head.modulation", 1, 5);
    assert_refused(&w, LF_ERROR_FORMAT, "it is a transformer, no LoRA");

    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, 5120);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", 5120, RANK);
    assert_refused(&w, LF_ERROR_SHAPE,
                   "made for another model: its update of blocks.0.self_attn.q.weight is [5120, "
                   "5120], the model's is [48, 48]");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK);
    add(&w, "blocks.7.self_attn.q.lora_A.weight", RANK, DIM);
    add(&w, "blocks.7.self_attn.q.lora_B.weight", DIM, RANK);
    assert_refused(&w, LF_ERROR_SHAPE, "1 of its 2 modules (blocks.7.self_attn.q)");
    w = written_new();
    add(&w, "lora_unet_blocks_7_self_attn_q.lora_down.weight", RANK, DIM);
    add(&w, "lora_unet_blocks_7_self_attn_q.lora_up.weight", DIM, RANK);
    assert_refused(&w, LF_ERROR_SHAPE, "lora_unet_blocks_7_self_attn_q");
    w = written_new(); /* a flat name says nothing about which rows are whose */
    add(&w, "lora_unet_blocks_0_attn1_to_qkv.lora_down.weight", RANK, DIM);
    add(&w, "lora_unet_blocks_0_attn1_to_qkv.lora_up.weight", 3 * DIM, RANK);
    assert_refused(&w, LF_ERROR_SHAPE, "1 of its 1 modules (lora_unet_blocks_0_attn1_to_qkv)");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
    assert_refused(&w, LF_ERROR_FORMAT, "no up (B)");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK + 1);
    assert_refused(&w, LF_ERROR_SHAPE, "no rank in common");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK);
    add(&w, "blocks.0.self_attn.q.dora_scale", DIM, 0);
    assert_refused(&w, LF_ERROR_UNSUPPORTED, "dora_scale");
    w = written_new();
    add(&w, "blocks.0.self_attn.k.weight", DIM, DIM);
    assert_refused(&w, LF_ERROR_FORMAT, "blocks.0.self_attn.k.weight");
}

/* Endings of other kinds of adapters: a file that has one beside sound matrices is refused. */
static void test_other_adapters(void)
{
    static const char *const others[] = {
        "dora_scale", "lora_mid.weight", "reshape_weight", "w_norm",    "b_norm",
        "hada_w1_a",  "hada_w1_b",       "hada_w2_a",      "hada_w2_b", "lokr_w1",
        "lokr_w1_a",  "lokr_w1_b",       "lokr_w2",        "lokr_w2_a", "lokr_w2_b"};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autofree char *name = g_strconcat("blocks.0.self_attn.q.", others[i], NULL);
        Written w = written_new();
        g_assert_true(lf_lora_is_name(name));
        add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
        add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK);
        add(&w, name, DIM, 0);
        assert_refused(&w, LF_ERROR_UNSUPPORTED, name);
    }
    g_assert_false(lf_lora_is_name("blocks.0.self_attn.q.weight"));
}

/* Every word by which a module is the picture's: a file of one such module is of no use. */
static void test_words_of_picture(void)
{
    static const char *const words[] = {"blocks.0.cross_attn.k_img",
                                        "blocks.0.cross_attn.v_img",
                                        "img_emb.proj.1",
                                        "blocks.0.attn2.add_k_proj",
                                        "blocks.0.attn2.add_v_proj",
                                        "condition_embedder.image_embedder.ff.net.2"};
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        Written w = written_new();
        g_autofree char *down = g_strconcat(words[i], ".lora_A.weight", NULL);
        g_autofree char *up = g_strconcat(words[i], ".lora_B.weight", NULL);
        add(&w, down, RANK, DIM);
        add(&w, up, DIM, RANK);
        assert_refused(&w, LF_ERROR_SHAPE, "use one made for text-to-video");
    }
}

/* Of many modules that the model lacks the first three are named. */
static void test_unmatched(void)
{
    static const char *const lists[] = {"1 of its 1 modules (blocks.10.ffn.0):",
                                        "2 of its 2 modules (blocks.10.ffn.0, blocks.11.ffn.0):",
                                        "3 of its 3 modules (blocks.10.ffn.0, blocks.11.ffn.0, "
                                        "blocks.12.ffn.0):",
                                        "4 of its 4 modules (blocks.10.ffn.0, blocks.11.ffn.0, "
                                        "blocks.12.ffn.0, …):",
                                        "5 of its 5 modules (blocks.10.ffn.0, blocks.11.ffn.0, "
                                        "blocks.12.ffn.0, …):"};
    for (int n = 1; n <= (int) G_N_ELEMENTS(lists); n++) {
        Written w = written_new();
        for (int i = 0; i < n; i++) {
            g_autofree char *name = g_strdup_printf("blocks.%d.ffn.0.diff", 10 + i);
            add(&w, name, FFN, DIM);
        }
        assert_refused(&w, LF_ERROR_SHAPE, lists[n - 1]);
    }
}

static void test_refused_more(void)
{
    g_autoptr(GError) error = NULL;
    Written w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK);
    assert_refused(&w, LF_ERROR_FORMAT, "blocks.0.self_attn.q has no down (A) matrix");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM + 1, RANK);
    assert_refused(&w, LF_ERROR_SHAPE, "is [49, 48], the model's is [48, 48]");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM - 1);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK);
    assert_refused(&w, LF_ERROR_SHAPE, "is [48, 47], the model's is [48, 48]");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.diff_b", DIM + 1, 0);
    assert_refused(&w, LF_ERROR_SHAPE, "self_attn.q.bias is [49, 1], the model's is [48]");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", 1, DIM);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, 0);
    assert_refused(&w, LF_ERROR_SHAPE, "no rank in common");
    w = written_new();
    add(&w, "blocks.0.self_attn.q.lora_A.weight", RANK, DIM);
    add(&w, "blocks.0.self_attn.q.lora_B.weight", DIM, RANK);
    g_array_index(w.tensors, LfFileTensor, 1).type = LF_I32;
    assert_refused(&w, LF_ERROR_UNSUPPORTED, "lora_B.weight (I32) is not understood");

    Fixture f = fixture_new();
    char *notice;
    LfWeightSource *random = lf_weight_source_random(1);
    g_assert_false(lf_weight_source_add_lora(random, f.base, 1, &notice, &error));
    stream_assert_error(&error, LF_ERROR_UNSUPPORTED, "random weights take no LoRA");
    lf_weight_source_free(random);
    fixture_clear(&f);
}

/* ---- in a model ------------------------------------------------------------------------------ */

/* Named in model.json and in the options alike; the same pictures as from a merged file. */
static void test_model(void)
{
    g_autoptr(GError) error = NULL;
    Fixture f = fixture_new();
    Written w = written_new(), merged = written_new();
    const float *down = add(&w, "blocks.1.ffn.0.lora_A.weight", RANK, DIM);
    const float *up = add(&w, "blocks.1.ffn.0.lora_B.weight", FFN, RANK);
    lf_tensor_file_unref(open_written(&w, f.path));
    for (size_t i = 0; i < lf_tensor_file_count(f.base); i++) {
        LfFileTensor t = *lf_tensor_file_nth(f.base, i);
        if (strcmp(t.name, "blocks.1.ffn.0.weight") == 0) {
            float *values = read_all(f.plain, t.name, LF_BIND_LINEAR, FFN, DIM);
            merge(values, 0.5, up, down, FFN, DIM);
            g_ptr_array_add(merged.memory, values);
            t.type = LF_F32;
            t.data = values;
            t.size = FFN * DIM * sizeof *values;
        }
        g_array_append_val(merged.tensors, t);
    }
    g_autofree char *config = g_build_filename(f.dir, "model.json", NULL);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(config, &text, NULL, NULL));
    g_autofree char *own = g_build_filename(f.dir, "transformer.safetensors", NULL);
    g_autofree char *other = g_build_filename(f.dir, "merged.safetensors", NULL);
    lf_tensor_file_unref(open_written(&merged, other));
    const LfLora lora = {f.path, 0.5};
    const char *const changes[][2] = {
        {"", ""},
        {"transformer.safetensors", "merged.safetensors"},
        {"", ""},
        {"\"heads\"", "\"lora\": [{\"file\": \"lora.safetensors\", \"strength\": 0.5}], \"heads\""},
        {"\"heads\"", "\"lora\": [{\"file\": \"lora.safetensors\"}], \"heads\""},
    };
    GByteArray *pictures[G_N_ELEMENTS(changes)];
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++) {
        GString *changed = g_string_new(text);
        if (*changes[i][0])
            g_string_replace(changed, changes[i][0], changes[i][1], 1);
        g_assert_true(g_file_set_contents(config, changed->str, -1, NULL));
        g_string_free(changed, TRUE);
        LfModelOptions options = {.loras = &lora, .n_loras = i == 2};
        LfModel *model = lf_model_open(f.dir, &options, &error);
        g_assert_no_error(error);
        g_assert_true((strstr(lf_model_description(model), "LoRA") != NULL) == (i >= 2));
        LfSession *s = stream_session(model, NULL, "a red star");
        pictures[i] = stream_run(s, 1);
        lf_session_free(s);
        lf_model_unref(model);
    }
    g_assert_false(stream_same(pictures[0], pictures[1]));
    g_assert_false(stream_same(pictures[0], pictures[4]));
    g_assert_false(stream_same(pictures[1], pictures[4]));
    stream_assert_same(pictures[2], pictures[3]);
    double difference = 0;
    for (guint i = 0; i < pictures[1]->len; i++)
        difference = MAX(difference, abs(pictures[1]->data[i] - pictures[2]->data[i]));
    g_assert_cmpfloat(difference, <=, 2);
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++)
        g_byte_array_unref(pictures[i]);

    LfModelInfo info;
    g_assert_true(lf_model_probe(f.dir, NULL, &info, &error));
    g_remove(f.path);
    g_assert_false(lf_model_probe(f.dir, NULL, &info, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "lora.safetensors");
    g_assert_null(lf_model_open(f.dir, NULL, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "lora.safetensors");
    g_assert_null(
        lf_model_new_random("demo", 1, &(LfModelOptions){.loras = &lora, .n_loras = 1}, &error));
    stream_assert_error(&error, LF_ERROR_UNSUPPORTED, "LoRA");
    written_clear(&w);
    written_clear(&merged);
    fixture_clear(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(dialects); i++) {
        g_autofree char *path =
            g_strdup_printf("/lora/dialect/%s*%s", dialects[i].prefix, dialects[i].down + 1);
        g_test_add_data_func(path, &dialects[i], test_dialect);
    }
    g_test_add_func("/lora/differences", test_differences);
    g_test_add_func("/lora/alpha", test_alpha);
    g_test_add_func("/lora/several", test_several);
    g_test_add_func("/lora/of-picture", test_of_picture);
    g_test_add_func("/lora/refused", test_refused);
    g_test_add_func("/lora/refused/more", test_refused_more);
    g_test_add_func("/lora/refused/unmatched", test_unmatched);
    g_test_add_func("/lora/refused/other-adapters", test_other_adapters);
    g_test_add_func("/lora/refused/words-of-picture", test_words_of_picture);
    g_test_add_func("/lora/differences/shared", test_shared_difference);
    g_test_add_func("/lora/model", test_model);
    return g_test_run();
}
