/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The text encoder, layer after layer: encoders of 0, 1 and 2 layers of the same file.
 */
#include "fixture.h"

#include "engine/models/text_encoder.h"

static const LfTextEncoderConfig small = {
    .vocab = 64,
    .dim = 48,
    .attention_dim = 48,
    .heads = 3,
    .ffn = 80,
    .layers = 2,
    .buckets = 32,
    .max_distance = 128,
};

/* ---- the model ------------------------------------------------------------------------------- */

static void add(GArray *tensors, char *name, int64_t rows, int64_t columns)
{
    LfFileTensor t = {.name = name, .type = LF_F32, .n_dims = columns ? 2 : 1};
    t.shape[0] = rows;
    t.shape[1] = columns;
    t.data = ref_weight(name, t.n_dims, t.shape, FALSE);
    t.size = (size_t) (rows * MAX(columns, 1)) * sizeof(float);
    g_array_append_val(tensors, t);
}

static void add_layer(GArray *tensors, const LfTextEncoderConfig *c, int layer)
{
    const struct {
        const char *name;
        int rows, columns;
    } table[] = {
        {"norm1", c->dim, 0},
        {"attn.q", c->attention_dim, c->dim},
        {"attn.k", c->attention_dim, c->dim},
        {"attn.v", c->attention_dim, c->dim},
        {"attn.o", c->dim, c->attention_dim},
        {"pos_embedding.embedding", c->buckets, c->heads},
        {"norm2", c->dim, 0},
        {"ffn.gate.0", c->ffn, c->dim},
        {"ffn.fc1", c->ffn, c->dim},
        {"ffn.fc2", c->dim, c->ffn},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
        add(tensors, g_strdup_printf("blocks.%d.%s.weight", layer, table[i].name), table[i].rows,
            table[i].columns);
}

static void write_model(const LfTextEncoderConfig *c, const char *path)
{
    GError *error = NULL;
    GArray *tensors = g_array_new(FALSE, FALSE, sizeof(LfFileTensor));
    add(tensors, g_strdup("token_embedding.weight"), c->vocab, c->dim);
    for (int i = 0; i < c->layers; i++)
        add_layer(tensors, c, i);
    add(tensors, g_strdup("norm.weight"), c->dim, 0);
    const LfFileTensor *all = (const LfFileTensor *) (void *) tensors->data;
    lf_safetensors_write(path, all, tensors->len, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < tensors->len; i++) {
        g_free((char *) all[i].name);
        g_free((void *) all[i].data);
    }
    g_array_unref(tensors);
}

/* ---- the comparison -------------------------------------------------------------------------- */

typedef struct {
    LfBackend *be;
    LfWeightSource *source;
    LfTensorFile *recorded;
} Test;

static float *encode(const Test *test, const LfTextEncoderConfig *c, int n)
{
    GError *error = NULL;
    LfArena scratch;
    int32_t *ids = g_new(int32_t, n);
    float *values = g_new(float, (gsize) (n * c->dim));
    LfTextEncoder *encoder = lf_text_encoder_new(test->be, c, test->source, &error);
    g_assert_no_error(error);
    for (int i = 0; i < n; i++)
        ids[i] = (7 * i * i + 3 * i + n) % 63 + 1;
    lf_arena_init(&scratch, test->be, 4 << 20, &error);
    g_assert_no_error(error);
    lf_text_encoder_forward(encoder, test->be, &scratch, lf_tensor(values, LF_F32, n, c->dim),
                            lf_tensor(ids, LF_I32, n), NULL);
    test->be->sync(test->be, &error);
    g_assert_no_error(error);
    lf_arena_clear(&scratch);
    lf_text_encoder_free(encoder);
    g_free(ids);
    return values;
}

static void compare(const Test *test, int n, int layers)
{
    LfTextEncoderConfig c = small;
    c.layers = layers;
    g_autofree char *name = g_strdup_printf("text.%d.layers.%d", n, layers);
    g_autofree float *ours = encode(test, &c, n);
    int64_t count = (int64_t) n * c.dim;
    ref_compare(name, ours, ref_f32(test->recorded, name, count), count, 1e-5);
}

static void test_small(void)
{
    static const int lengths[] = {1, 2, 48, 110};
    GError *error = NULL;
    char *directory = ref_directory();
    g_autofree char *path = g_build_filename(directory, "text_encoder.safetensors", NULL);
    write_model(&small, path);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    Test test = {lf_backend_open_cpu(0, &error), lf_weight_source_file(file, NULL, NULL),
                 ref_open("text")};
    g_assert_no_error(error);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++)
        for (int layers = 0; layers <= small.layers; layers++)
            compare(&test, lengths[i], layers);
    lf_tensor_file_unref(test.recorded);
    lf_weight_source_free(test.source);
    lf_backend_close(test.be);
    lf_tensor_file_unref(file);
    ref_remove(directory);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reference/text/small", test_small);
    return g_test_run();
}
