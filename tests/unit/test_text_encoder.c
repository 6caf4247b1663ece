/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The text encoder against a reference in double, written from the formulas, row by row. Its
 * buckets come from the published thresholds.
 */
#include "engine/models/text_encoder.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

enum { VOCAB = 19, DIM = 26, HEADS = 3, HEAD = 7, A = HEADS * HEAD, FFN = 35, LAYERS = 4 };

static const LfTextEncoderConfig config = {
    .vocab = VOCAB,
    .dim = DIM,
    .attention_dim = A,
    .heads = HEADS,
    .ffn = FFN,
    .layers = LAYERS,
    .buckets = 32,
    .max_distance = 128,
};

/* ---- a file of random weights ---------------------------------------------------------------- */

typedef struct {
    GArray *tensors; /* LfFileTensor */
    LfTensorFile *file;
    LfWeightSource *source;
} Weights;

static void add(Weights *w, LfType type, const char *name, int64_t rows, int64_t columns,
                double mean, double size)
{
    int64_t n = rows * MAX(columns, 1);
    LfFileTensor t = {.name = g_strdup(name), .type = type, .n_dims = columns ? 2 : 1};
    t.shape[0] = rows;
    t.shape[1] = columns;
    t.size = (size_t) n * lf_type_size(type);
    void *data = g_malloc(t.size);
    for (int64_t i = 0; i < n; i++) {
        float value = (float) (mean + size * g_test_rand_double_range(-1, 1));
        if (type == LF_F32)
            ((float *) data)[i] = value;
        else
            ((uint16_t *) data)[i] = lf_float_to_bf16(value);
    }
    t.data = data;
    g_array_append_val(w->tensors, t);
}

static void add_layer(Weights *w, LfType type, int layer)
{
    static const struct {
        const char *name;
        int rows, columns;
        double mean, size;
    } table[] = {
        {"norm1.weight", DIM, 0, 1, 0.5},     {"attn.q.weight", A, DIM, 0, 0.3},
        {"attn.k.weight", A, DIM, 0, 0.3},    {"attn.v.weight", A, DIM, 0, 0.3},
        {"attn.o.weight", DIM, A, 0, 0.3},    {"pos_embedding.embedding.weight", 32, HEADS, 0, 2},
        {"norm2.weight", DIM, 0, 1, 0.5},     {"ffn.gate.0.weight", FFN, DIM, 0, 0.4},
        {"ffn.fc1.weight", FFN, DIM, 0, 0.4}, {"ffn.fc2.weight", DIM, FFN, 0, 0.3},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *name = g_strdup_printf("blocks.%d.%s", layer, table[i].name);
        add(w, type, name, table[i].rows, table[i].columns, table[i].mean, table[i].size);
    }
}

static void open_weights(Weights *w)
{
    GError *error = NULL;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("encoder-XXXXXX.safetensors", &path, &error);
    g_assert_no_error(error);
    g_close(fd, NULL);
    lf_safetensors_write(path, (LfFileTensor *) (void *) w->tensors->data, w->tensors->len, &error);
    g_assert_no_error(error);
    w->file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_unlink(path);
    w->source = lf_weight_source_file(w->file, NULL, NULL);
}

/* `without`: a tensor that is left out, or NULL. */
static Weights weights_new(LfType type, const char *without)
{
    Weights w = {.tensors = g_array_new(FALSE, FALSE, sizeof(LfFileTensor))};
    add(&w, type, "token_embedding.weight", VOCAB, DIM, 0, 1);
    for (int i = 0; i < LAYERS; i++)
        add_layer(&w, type, i);
    add(&w, type, "norm.weight", DIM, 0, 1, 0.5);
    for (guint i = 0; without && i < w.tensors->len; i++) {
        LfFileTensor t = g_array_index(w.tensors, LfFileTensor, i);
        if (strcmp(t.name, without) != 0)
            continue;
        g_array_remove_index(w.tensors, i--);
        g_free((char *) t.name);
        g_free((void *) t.data);
    }
    open_weights(&w);
    return w;
}

static void weights_clear(Weights *w)
{
    for (guint i = 0; i < w->tensors->len; i++) {
        LfFileTensor *t = &g_array_index(w->tensors, LfFileTensor, i);
        g_free((char *) t->name);
        g_free((void *) t->data);
    }
    g_array_unref(w->tensors);
    lf_weight_source_free(w->source);
    lf_tensor_file_unref(w->file);
}

/* ---- the second encoder ---------------------------------------------------------------------- */

/* A tensor in double; transfer full. */
static double *numbers(const Weights *w, int layer, const char *name)
{
    g_autofree char *full =
        layer < 0 ? g_strdup(name) : g_strdup_printf("blocks.%d.%s", layer, name);
    const LfFileTensor *t = lf_tensor_file_find(w->file, full);
    g_assert_nonnull(t);
    int64_t n = t->shape[0] * (t->n_dims > 1 ? t->shape[1] : 1);
    g_autofree float *values = g_new(float, n);
    double *out = g_new(double, n);
    g_assert_true(lf_to_float(values, t->data, t->type, n));
    for (int64_t i = 0; i < n; i++)
        out[i] = values[i];
    return out;
}

static double *product(const Weights *w, int layer, const char *name, const double *x, int n,
                       int in, int out)
{
    g_autofree double *matrix = numbers(w, layer, name);
    double *y = g_new0(double, (gsize) (n * out));
    for (int i = 0; i < n; i++)
        for (int o = 0; o < out; o++)
            for (int k = 0; k < in; k++)
                y[i * out + o] += matrix[o * in + k] * x[i * in + k];
    return y;
}

static double *normed(const Weights *w, int layer, const char *name, const double *x, int n)
{
    g_autofree double *weight = numbers(w, layer, name);
    double *y = g_new(double, DIM *n);
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < DIM; k++)
            sum += x[i * DIM + k] * x[i * DIM + k];
        for (int k = 0; k < DIM; k++)
            y[i * DIM + k] = x[i * DIM + k] / sqrt(sum / DIM + 1e-6) * weight[k];
    }
    return y;
}

static int bucket_of(int r)
{
    static const int begins[] = {8, 12, 16, 23, 32, 46, 64, 91};
    int bucket = MIN(abs(r), 7);
    for (int i = 0; i < 8; i++)
        if (abs(r) >= begins[i])
            bucket = 8 + i;
    return bucket + (r > 0 ? 16 : 0);
}

static void attend_row(const double *q, const double *k, const double *v, const double *table,
                       int i, int h, int n, double *out)
{
    double sum = 0;
    memset(out, 0, HEAD * sizeof *out);
    for (int j = 0; j < n; j++) {
        double logit = table[bucket_of(j - i) * HEADS + h];
        for (int c = 0; c < HEAD; c++)
            logit += q[i * A + h * HEAD + c] * k[j * A + h * HEAD + c];
        sum += exp(logit);
        for (int c = 0; c < HEAD; c++)
            out[c] += exp(logit) * v[j * A + h * HEAD + c];
    }
    for (int c = 0; c < HEAD; c++)
        out[c] /= sum;
}

static void add_to(double *x, double *y, int count)
{
    for (int i = 0; i < count; i++)
        x[i] += y[i];
    g_free(y);
}

static void layer_of_reference(const Weights *w, int layer, double *x, int n)
{
    g_autofree double *a = normed(w, layer, "norm1.weight", x, n);
    g_autofree double *q = product(w, layer, "attn.q.weight", a, n, DIM, A);
    g_autofree double *k = product(w, layer, "attn.k.weight", a, n, DIM, A);
    g_autofree double *v = product(w, layer, "attn.v.weight", a, n, DIM, A);
    g_autofree double *table = numbers(w, layer, "pos_embedding.embedding.weight");
    g_autofree double *y = g_new(double, A *n);
    for (int i = 0; i < n; i++)
        for (int h = 0; h < HEADS; h++)
            attend_row(q, k, v, table, i, h, n, y + i * A + h * HEAD);
    add_to(x, product(w, layer, "attn.o.weight", y, n, A, DIM), n * DIM);

    g_autofree double *b = normed(w, layer, "norm2.weight", x, n);
    g_autofree double *gate = product(w, layer, "ffn.gate.0.weight", b, n, DIM, FFN);
    g_autofree double *up = product(w, layer, "ffn.fc1.weight", b, n, DIM, FFN);
    for (int i = 0; i < n * FFN; i++) {
        double z = gate[i];
        gate[i] = 0.5 * z * (1 + tanh(sqrt(2 / G_PI) * (z + 0.044715 * z * z * z))) * up[i];
    }
    add_to(x, product(w, layer, "ffn.fc2.weight", gate, n, FFN, DIM), n * DIM);
}

static double *reference(const Weights *w, int layers, const int32_t *ids, int n)
{
    g_autofree double *table = numbers(w, -1, "token_embedding.weight");
    g_autofree double *x = g_new(double, DIM *n);
    for (int i = 0; i < n; i++)
        memcpy(x + i * DIM, table + ids[i] * DIM, DIM * sizeof *x);
    for (int i = 0; i < layers; i++)
        layer_of_reference(w, i, x, n);
    return normed(w, -1, "norm.weight", x, n);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Runs with exactly the scratch that the plan counted. */
static void forward(const LfTextEncoder *encoder, LfBackend *be, LfTensor out, LfTensor ids)
{
    GError *error = NULL;
    LfArena plan = lf_arena_plan(), scratch;
    LfTensor no_ids = ids, no_out = out;
    no_ids.data = no_out.data = NULL;
    lf_text_encoder_forward(encoder, lf_backend_plan(NULL), &plan, no_out, no_ids, NULL);
    g_assert_cmpuint(plan.used, ==, 0);
    lf_arena_init(&scratch, be, plan.peak, &error);
    g_assert_no_error(error);
    lf_text_encoder_forward(encoder, be, &scratch, out, ids, NULL);
    be->sync(be, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(scratch.peak, ==, plan.peak);
    lf_arena_clear(&scratch);
}

/* Layer by layer from the file: the same numbers, bit for bit, with as much scratch. */
static void stream(const Weights *w, const LfTextEncoderConfig *c, LfBackend *be,
                   const int32_t *ids, LfTensor wanted)
{
    GError *error = NULL;
    LfArena plan = lf_arena_plan(), scratch;
    LfTensor no_ids = lf_tensor(NULL, LF_I32, wanted.shape[0]), out = wanted;
    out.data = NULL;
    LfTextEncoder *encoder = lf_text_encoder_new_streamed(c, w->source, &error);
    g_assert_no_error(error);
    g_assert_true(lf_text_encoder_is_streamed(encoder));
    lf_text_encoder_forward(encoder, lf_backend_plan(NULL), &plan, out, no_ids, NULL);
    lf_arena_init(&scratch, be, plan.peak, &error);
    LfBackend *other = lf_backend_open_cpu(1, &error);
    g_assert_no_error(error);
    g_autofree float *values = g_malloc(lf_tensor_size(wanted));
    out.data = values;
    for (int same = 0; same < 2; same++) {
        memset(values, 0xff, lf_tensor_size(wanted));
        g_assert_true(lf_text_encoder_stream(encoder, be, same ? be : other, &scratch, out, ids,
                                             NULL, &error));
        g_assert_cmpmem(values, lf_tensor_size(wanted), wanted.data, lf_tensor_size(wanted));
    }
    g_assert_cmpuint(scratch.peak, ==, plan.peak);
    int cancelled = 1;
    if (c->layers > 0) {
        g_assert_false(
            lf_text_encoder_stream(encoder, be, other, &scratch, out, ids, &cancelled, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_CANCELLED);
        g_error_free(error);
    }
    lf_arena_clear(&scratch);
    lf_backend_close(other);
    lf_text_encoder_free(encoder);
}

static void compare(const Weights *w, LfBackend *be, int layers, int n)
{
    GError *error = NULL;
    LfTextEncoderConfig c = config;
    int32_t ids[200];
    float out[200 * DIM];
    double off = 0, size = 0;
    c.layers = layers;
    LfTextEncoder *encoder = lf_text_encoder_new(be, &c, w->source, &error);
    g_assert_no_error(error);
    for (int i = 0; i < n; i++)
        ids[i] = g_test_rand_int_range(0, VOCAB);
    forward(encoder, be, lf_tensor(out, LF_F32, n, DIM), lf_tensor(ids, LF_I32, n));
    g_autofree double *want = reference(w, layers, ids, n);
    for (int i = 0; i < n * DIM; i++) {
        off += (out[i] - want[i]) * (out[i] - want[i]);
        size += want[i] * want[i];
    }
    g_test_message("%d layers, %d tokens: rel-L2 %.2g", layers, n, sqrt(off / size));
    g_assert_cmpfloat(sqrt(off / size), <, 2e-6);
    stream(w, &c, be, ids, lf_tensor(out, LF_F32, n, DIM));
    lf_text_encoder_free(encoder);
}

static LfBackend *open_backend(void)
{
    GError *error = NULL;
    LfBackend *be = lf_backend_open_cpu(g_test_rand_int_range(1, 4), &error);
    g_assert_no_error(error);
    return be;
}

static void test_against_reference(void)
{
    static const int lengths[] = {1, 2, 7, 48, 150};
    LfBackend *be = open_backend();
    for (int bf16 = 0; bf16 < 2; bf16++) {
        Weights w = weights_new(bf16 ? LF_BF16 : LF_F32, NULL);
        for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++)
            for (int layers = 0; layers <= LAYERS; layers++)
                compare(&w, be, layers, lengths[i]);
        weights_clear(&w);
    }
    lf_backend_close(be);
}

/* Only norms and position tables of a bf16 file are copied. */
static void test_in_place(void)
{
    GError *error = NULL;
    LfBackend *be = open_backend();
    Weights w = weights_new(LF_BF16, NULL);
    LfTextEncoder *encoder = lf_text_encoder_new(be, &config, w.source, &error);
    g_assert_no_error(error);
    size_t own = lf_text_encoder_memory(encoder), most = LF_ARENA_ALIGNMENT;
    for (int i = 0; i < LAYERS; i++)
        most += 3 * LF_ARENA_ALIGNMENT + 32 * HEADS * sizeof(float);
    g_assert_cmpuint(own, <=, most);
    lf_text_encoder_free(encoder);
    weights_clear(&w);
    lf_backend_close(be);
}

static void assert_refused(const Weights *w, const LfTextEncoderConfig *c, LfError code,
                           const char *told)
{
    GError *error = NULL;
    LfBackend *be = open_backend();
    g_assert_null(lf_text_encoder_new(be, c, w->source, &error));
    g_assert_error(error, LF_ERROR, (int) code);
    g_assert_nonnull(strstr(error->message, told));
    g_clear_error(&error);
    g_assert_null(lf_text_encoder_new_streamed(c, w->source, &error));
    g_assert_error(error, LF_ERROR, (int) code);
    g_assert_nonnull(strstr(error->message, told));
    g_error_free(error);
    lf_backend_close(be);
}

static void test_refused(void)
{
    Weights whole = weights_new(LF_F32, NULL), part = weights_new(LF_F32, "blocks.1.attn.v.weight");
    LfTextEncoderConfig c = config;
    assert_refused(&part, &c, LF_ERROR_SHAPE, "blocks.1.attn.v.weight");
    c.ffn = FFN + 1;
    assert_refused(&whole, &c, LF_ERROR_SHAPE, "blocks.0.ffn.gate.0.weight: [36, 26]");
    c = config;
    c.layers = LAYERS + 1;
    assert_refused(&whole, &c, LF_ERROR_SHAPE, "blocks.4.");
    c = config;
    c.heads = 2;
    assert_refused(&whole, &c, LF_ERROR_CONFIG, "attention_dim 21 is not divisible by heads 2");
    weights_clear(&whole);
    weights_clear(&part);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/text_encoder/against-reference", test_against_reference);
    g_test_add_func("/text_encoder/in-place", test_in_place);
    g_test_add_func("/text_encoder/refused", test_refused);
    return g_test_run();
}
