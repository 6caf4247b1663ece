/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tiny_model.h"

#include "engine/files/random_weights.h"
#include "engine/files/tensor_file.h"

#include <glib/gstdio.h>
#include <string.h>

enum {
    FFN = 96,
    FREQ_DIM = 32,
    VOCAB = 434, /* of the demo model's tokenizer */
    TEXT_LAYERS = 1,
    TEXT_HEADS = 2,
    TEXT_FFN = 48,
    BUCKETS = 32
};

static const int widths[4] = {16, 12, 8, 8};

typedef struct {
    uint64_t seed;
    GArray *tensors; /* LfFileTensor, its name and data owned */
} Weights;

#define add(weights, name, ...) add_tensor(weights, name, (const int64_t[6]){__VA_ARGS__})

static void add_tensor(Weights *weights, const char *name, const int64_t *shape)
{
    LfFileTensor t = {.name = g_strdup(name), .type = LF_BF16};
    int64_t count = 1;
    for (; shape[t.n_dims]; t.n_dims++)
        count *= t.shape[t.n_dims] = shape[t.n_dims];
    t.size = (size_t) count * sizeof(uint16_t);
    uint16_t *data = g_malloc(t.size);
    lf_random_weights(data, count, weights->seed, name, t.n_dims, count / t.shape[0]);
    t.data = data;
    g_array_append_val(weights->tensors, t);
}

/* "prefix.weight" [out, in] and "prefix.bias" [out]. */
static void add_linear(Weights *weights, const char *prefix, int out, int in)
{
    g_autofree char *weight = g_strconcat(prefix, ".weight", NULL);
    g_autofree char *bias = g_strconcat(prefix, ".bias", NULL);
    add(weights, weight, out, in);
    add(weights, bias, out);
}

static void add_conv(Weights *weights, const char *prefix, int out, int in, gboolean bias)
{
    g_autofree char *weight = g_strconcat(prefix, ".weight", NULL);
    g_autofree char *name = g_strconcat(prefix, ".bias", NULL);
    add(weights, weight, out, in, 3, 3);
    if (bias)
        add(weights, name, out);
}

static void add_attention(Weights *weights, const char *prefix)
{
    static const char *const products[] = {"q", "k", "v", "o"};
    for (gsize i = 0; i < G_N_ELEMENTS(products); i++) {
        g_autofree char *name = g_strconcat(prefix, products[i], NULL);
        add_linear(weights, name, LF_TINY_DIM, LF_TINY_DIM);
    }
    g_autofree char *norm_q = g_strconcat(prefix, "norm_q.weight", NULL);
    g_autofree char *norm_k = g_strconcat(prefix, "norm_k.weight", NULL);
    add(weights, norm_q, LF_TINY_DIM);
    add(weights, norm_k, LF_TINY_DIM);
}

static void add_transformer_block(Weights *weights, int layer)
{
    g_autofree char *modulation = g_strdup_printf("blocks.%d.modulation", layer);
    g_autofree char *self_attn = g_strdup_printf("blocks.%d.self_attn.", layer);
    g_autofree char *norm3_weight = g_strdup_printf("blocks.%d.norm3.weight", layer);
    g_autofree char *norm3_bias = g_strdup_printf("blocks.%d.norm3.bias", layer);
    g_autofree char *cross_attn = g_strdup_printf("blocks.%d.cross_attn.", layer);
    g_autofree char *ffn_0 = g_strdup_printf("blocks.%d.ffn.0", layer);
    g_autofree char *ffn_2 = g_strdup_printf("blocks.%d.ffn.2", layer);
    add(weights, modulation, 1, 6, LF_TINY_DIM);
    add_attention(weights, self_attn);
    add(weights, norm3_weight, LF_TINY_DIM);
    add(weights, norm3_bias, LF_TINY_DIM);
    add_attention(weights, cross_attn);
    add_linear(weights, ffn_0, FFN, LF_TINY_DIM);
    add_linear(weights, ffn_2, LF_TINY_DIM, FFN);
}

static void add_transformer(Weights *weights)
{
    add(weights, "patch_embedding.weight", LF_TINY_DIM, LF_TINY_CHANNELS, 1, 2, 2);
    add(weights, "patch_embedding.bias", LF_TINY_DIM);
    add_linear(weights, "text_embedding.0", LF_TINY_DIM, LF_TINY_TEXT_DIM);
    add_linear(weights, "text_embedding.2", LF_TINY_DIM, LF_TINY_DIM);
    add_linear(weights, "time_embedding.0", LF_TINY_DIM, FREQ_DIM);
    add_linear(weights, "time_embedding.2", LF_TINY_DIM, LF_TINY_DIM);
    add_linear(weights, "time_projection.1", 6 * LF_TINY_DIM, LF_TINY_DIM);
    for (int layer = 0; layer < LF_TINY_LAYERS; layer++)
        add_transformer_block(weights, layer);
    add_linear(weights, "head.head", 4 * LF_TINY_CHANNELS, LF_TINY_DIM);
    add(weights, "head.modulation", 1, 2, LF_TINY_DIM);
}

static void add_text_encoder(Weights *weights)
{
    static const struct {
        const char *name;
        int out, in;
    } matrices[] = {
        {"attn.q", LF_TINY_TEXT_DIM, LF_TINY_TEXT_DIM},
        {"attn.k", LF_TINY_TEXT_DIM, LF_TINY_TEXT_DIM},
        {"attn.v", LF_TINY_TEXT_DIM, LF_TINY_TEXT_DIM},
        {"attn.o", LF_TINY_TEXT_DIM, LF_TINY_TEXT_DIM},
        {"pos_embedding.embedding", BUCKETS, TEXT_HEADS},
        {"ffn.gate.0", TEXT_FFN, LF_TINY_TEXT_DIM},
        {"ffn.fc1", TEXT_FFN, LF_TINY_TEXT_DIM},
        {"ffn.fc2", LF_TINY_TEXT_DIM, TEXT_FFN},
    };
    add(weights, "token_embedding.weight", VOCAB, LF_TINY_TEXT_DIM);
    for (int layer = 0; layer < TEXT_LAYERS; layer++) {
        for (gsize i = 0; i < G_N_ELEMENTS(matrices); i++) {
            g_autofree char *name = g_strdup_printf("blocks.%d.%s.weight", layer, matrices[i].name);
            add(weights, name, matrices[i].out, matrices[i].in);
        }
        g_autofree char *norm1 = g_strdup_printf("blocks.%d.norm1.weight", layer);
        g_autofree char *norm2 = g_strdup_printf("blocks.%d.norm2.weight", layer);
        add(weights, norm1, LF_TINY_TEXT_DIM);
        add(weights, norm2, LF_TINY_TEXT_DIM);
    }
    add(weights, "norm.weight", LF_TINY_TEXT_DIM);
}

/* The indices of TAEHV's sequence: each stage is three memory blocks, a step in time and a
 * convolution to the next stage's width. */
static void add_decoder_stage(Weights *weights, int first, int growth, int width, int next)
{
    for (int block = first; block < first + 3; block++) {
        for (int conv = 0; conv < 6; conv += 2) {
            g_autofree char *name = g_strdup_printf("decoder.%d.conv.%d", block, conv);
            add_conv(weights, name, width, conv == 0 ? 2 * width : width, TRUE);
        }
    }
    g_autofree char *grow = g_strdup_printf("decoder.%d.conv.weight", first + 4);
    g_autofree char *to_next = g_strdup_printf("decoder.%d", first + 5);
    add(weights, grow, growth * width, width, 1, 1);
    add_conv(weights, to_next, next, width, FALSE);
}

static void add_decoder(Weights *weights)
{
    add_conv(weights, "decoder.1", widths[0], LF_TINY_CHANNELS, TRUE);
    add_decoder_stage(weights, 3, 1, widths[0], widths[1]);
    add_decoder_stage(weights, 9, 2, widths[1], widths[2]);
    add_decoder_stage(weights, 15, 2, widths[2], widths[3]);
    add_conv(weights, "decoder.22", 3, widths[3], TRUE);
    /* Medium grey, so that pixels vary to both sides of it. */
    const LfFileTensor *last =
        &g_array_index(weights->tensors, LfFileTensor, weights->tensors->len - 1);
    for (int i = 0; i < 3; i++)
        ((uint16_t *) last->data)[i] = lf_float_to_bf16(0.5f);
}

static void write_weights(const char *dir, const char *part, uint64_t seed,
                          void (*add_all)(Weights *weights))
{
    GError *error = NULL;
    g_autofree char *file = g_strconcat(part, ".safetensors", NULL);
    g_autofree char *path = g_build_filename(dir, file, NULL);
    Weights weights = {seed, g_array_new(FALSE, FALSE, sizeof(LfFileTensor))};
    add_all(&weights);
    const LfFileTensor *tensors = (const LfFileTensor *) (void *) weights.tensors->data;
    lf_safetensors_write(path, tensors, weights.tensors->len, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < weights.tensors->len; i++) {
        g_free((char *) tensors[i].name);
        g_free((void *) tensors[i].data);
    }
    g_array_unref(weights.tensors);
}

static void copy_tokenizer(const char *dir)
{
    GError *error = NULL;
    g_autofree char *path = g_build_filename(dir, "spiece.model", NULL);
    g_autofree char *bytes = NULL;
    gsize size;
    g_file_get_contents(LF_TEST_TOKENIZER, &bytes, &size, &error);
    g_assert_no_error(error);
    g_file_set_contents(path, bytes, (gssize) size, &error);
    g_assert_no_error(error);
}

/* Only what no shape tells, as a trainer who knows model.json would write it. */
static char *config_text(const LfTinyModel *options)
{
    int window = options->window > 0 ? options->window : options->window < 0 ? 0 : LF_TINY_WINDOW;
    g_autofree char *transformer =
        g_strdup_printf("{\"file\": \"transformer.safetensors\", \"heads\": %d, \"text_len\": %d}",
                        LF_TINY_HEADS, LF_TINY_TEXT_LEN);
    g_autofree char *video = g_strdup_printf(
        "{\"width\": %d, \"height\": %d, \"fps\": 16, \"chunk\": %d}", LF_TINY_WIDTH, LF_TINY_WIDTH,
        options->chunk > 0 ? options->chunk : LF_TINY_CHUNK);
    g_autofree char *cache = g_strdup_printf(
        "{\"window\": %d, \"sink\": %d, \"positions\": \"%s\"}", window,
        options->absolute ? 0 : LF_TINY_SINK, options->absolute ? "absolute" : "relative");
    g_autofree char *sparse =
        g_strdup_printf("{\"target\": 0.5, \"base\": 0.7, \"query_block\": 8, \"key_block\": 8, "
                        "\"keep_frames\": 3, \"keep_sink\": 1, \"keep_near\": 1, \"horizon\": 21, "
                        "\"token_order\": \"%s\"}",
                        options->token_order ? options->token_order : "raster");
    const struct {
        const char *part, *value;
    } parts[] = {
        {"transformer", transformer},
        {"text_encoder", "{\"file\": \"text_encoder.safetensors\"}"},
        {"tokenizer", "{\"file\": \"spiece.model\"}"},
        {"decoder", "{\"type\": \"tiny\", \"file\": \"decoder.safetensors\"}"},
        {"video", video},
        {"schedule",
         options->schedule ? options->schedule : "{\"steps\": [1000, 500], \"shift\": 5.0}"},
        {"cache", cache},
        {"sparse", sparse},
    };
    GString *text = g_string_new("{");
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++)
        if (g_strcmp0(parts[i].part, options->without) != 0)
            g_string_append_printf(text, "%s\n  \"%s\": %s", text->len > 1 ? "," : "",
                                   parts[i].part, parts[i].value);
    g_string_append(text, "\n}\n");
    return g_string_free(text, FALSE);
}

static gboolean has(const LfTinyModel *options, const char *part)
{
    return g_strcmp0(options->without, part) != 0;
}

char *lf_tiny_model_make(const char *dir, const LfTinyModel *options)
{
    static const LfTinyModel defaults;
    GError *error = NULL;
    char *made = dir ? g_strdup(dir) : g_dir_make_tmp("lightforcing-XXXXXX", &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_mkdir_with_parents(made, 0777), ==, 0);
    if (!options)
        options = &defaults;
    if (has(options, "transformer"))
        write_weights(made, "transformer", options->seed, add_transformer);
    if (has(options, "text_encoder"))
        write_weights(made, "text_encoder", options->seed, add_text_encoder);
    if (has(options, "decoder"))
        write_weights(made, "decoder", options->seed, add_decoder);
    if (has(options, "tokenizer"))
        copy_tokenizer(made);
    g_autofree char *config = g_build_filename(made, "model.json", NULL);
    g_autofree char *text = config_text(options);
    g_file_set_contents(config, text, -1, &error);
    g_assert_no_error(error);
    return made;
}

void lf_tiny_model_remove(char *dir)
{
    g_autoptr(GDir) files = g_dir_open(dir, 0, NULL);
    const char *name;
    while (files && (name = g_dir_read_name(files))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_remove(path);
    }
    g_rmdir(dir);
    g_free(dir);
}
