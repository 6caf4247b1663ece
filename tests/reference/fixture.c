/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

/* ---- numbers --------------------------------------------------------------------------------- */

static uint64_t fnv1a(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t) *name) * 0x100000001b3u;
    return hash;
}

static uint64_t split_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The sum of four 16-bit uniforms, centred: normal enough, and exact in every language. */
static double nearly_normal(uint64_t z)
{
    double sum = (double) ((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48));
    return (sum - 131070.0) * (sqrt(3.0) / 65536.0);
}

float *ref_numbers(const char *name, int64_t count, double scale, double mean)
{
    float *out = g_new(float, count);
    uint64_t state = fnv1a(name);
    for (int64_t i = 0; i < count; i++)
        out[i] = (float) (mean + scale * nearly_normal(split_mix(state += 0x9e3779b97f4a7c15u)));
    return out;
}

static int64_t count_of(int n_dims, const int64_t *shape)
{
    int64_t count = 1;
    for (int i = 0; i < n_dims; i++)
        count *= shape[i];
    return count;
}

float *ref_weight(const char *name, int n_dims, const int64_t *shape, gboolean silent)
{
    int64_t count = count_of(n_dims, shape);
    if (silent)
        return g_new0(float, count);
    if (g_str_has_suffix(name, "modulation"))
        return ref_numbers(name, count, 0.5, 0);
    if (strstr(name, "norm_q") || strstr(name, "norm_k"))
        return ref_numbers(name, count, 0.25, 1.25);
    if (strstr(name, "norm") && g_str_has_suffix(name, "weight"))
        return ref_numbers(name, count, 0.25, 1);
    if (g_str_has_suffix(name, "gamma"))
        return ref_numbers(name, count, 0.25, 1);
    if (g_str_has_suffix(name, "bias"))
        return ref_numbers(name, count, 0.125, g_str_equal(name, "decoder.22.bias") ? 0.5 : 0);
    double gain = g_str_equal(name, "decoder.22.weight") ? 0.25 : 1;
    return ref_numbers(name, count, gain / sqrt((double) (count / shape[0])), 0);
}

/* ---- files of weights ------------------------------------------------------------------------ */

typedef struct {
    GArray *tensors; /* as of ref_tensors_new */
    char **silent;
} Weights;

static void tensor_clear(gpointer data)
{
    LfFileTensor *t = data;
    g_free((char *) t->name);
    g_free((void *) t->data);
}

GArray *ref_tensors_new(void)
{
    GArray *tensors = g_array_new(FALSE, FALSE, sizeof(LfFileTensor));
    g_array_set_clear_func(tensors, tensor_clear);
    return tensors;
}

static gboolean is_silent(const Weights *weights, const char *name)
{
    for (char **part = weights->silent; part && *part; part++)
        if (strstr(name, *part))
            return TRUE;
    return FALSE;
}

/* Dimensions end at the first 0. Takes the name. */
static void add(Weights *weights, char *name, const int64_t *shape)
{
    LfFileTensor t = {.name = name, .type = LF_F32};
    for (; shape[t.n_dims]; t.n_dims++)
        t.shape[t.n_dims] = shape[t.n_dims];
    t.data = ref_weight(name, t.n_dims, shape, is_silent(weights, name));
    t.size = (size_t) count_of(t.n_dims, shape) * sizeof(float);
    g_array_append_val(weights->tensors, t);
}

#define ADD(weights, name, ...) add((weights), (name), (const int64_t[]){__VA_ARGS__, 0})

static void add_linear(Weights *weights, const char *name, int64_t out, int64_t in)
{
    ADD(weights, g_strdup_printf("%s.weight", name), out, in);
    ADD(weights, g_strdup_printf("%s.bias", name), out);
}

static void add_attention(Weights *weights, const char *prefix)
{
    static const char *const linears[] = {"q", "k", "v", "o"};
    for (size_t i = 0; i < G_N_ELEMENTS(linears); i++) {
        char *name = g_strdup_printf("%s.%s", prefix, linears[i]);
        add_linear(weights, name, REF_DIM, REF_DIM);
        g_free(name);
    }
    ADD(weights, g_strdup_printf("%s.norm_q.weight", prefix), REF_DIM);
    ADD(weights, g_strdup_printf("%s.norm_k.weight", prefix), REF_DIM);
}

static void add_block(Weights *weights, int layer)
{
    char *names[] = {g_strdup_printf("blocks.%d.self_attn", layer),
                     g_strdup_printf("blocks.%d.cross_attn", layer),
                     g_strdup_printf("blocks.%d.ffn.0", layer),
                     g_strdup_printf("blocks.%d.ffn.2", layer)};
    ADD(weights, g_strdup_printf("blocks.%d.modulation", layer), 1, 6, REF_DIM);
    add_attention(weights, names[0]);
    add_attention(weights, names[1]);
    add_linear(weights, names[2], REF_FFN, REF_DIM);
    add_linear(weights, names[3], REF_DIM, REF_FFN);
    ADD(weights, g_strdup_printf("blocks.%d.norm3.weight", layer), REF_DIM);
    ADD(weights, g_strdup_printf("blocks.%d.norm3.bias", layer), REF_DIM);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        g_free(names[i]);
}

static void write_weights(Weights *weights, const char *path)
{
    GError *error = NULL;
    const LfFileTensor *tensors = (const LfFileTensor *) (void *) weights->tensors->data;
    lf_safetensors_write(path, tensors, weights->tensors->len, &error);
    g_assert_no_error(error);
    g_array_unref(weights->tensors);
}

GArray *ref_transformer(int layers, const char *silent)
{
    Weights weights = {ref_tensors_new(), silent ? g_strsplit(silent, "|", -1) : NULL};
    ADD(&weights, g_strdup("patch_embedding.weight"), REF_DIM, REF_CHANNELS, 1, 2, 2);
    ADD(&weights, g_strdup("patch_embedding.bias"), REF_DIM);
    add_linear(&weights, "text_embedding.0", REF_DIM, REF_TEXT_DIM);
    add_linear(&weights, "text_embedding.2", REF_DIM, REF_DIM);
    add_linear(&weights, "time_embedding.0", REF_DIM, REF_FREQ_DIM);
    add_linear(&weights, "time_embedding.2", REF_DIM, REF_DIM);
    add_linear(&weights, "time_projection.1", 6 * REF_DIM, REF_DIM);
    for (int layer = 0; layer < layers; layer++)
        add_block(&weights, layer);
    add_linear(&weights, "head.head", 4 * REF_CHANNELS, REF_DIM);
    ADD(&weights, g_strdup("head.modulation"), 1, 2, REF_DIM);
    g_strfreev(weights.silent);
    return weights.tensors;
}

void ref_write_transformer(const char *path, int layers, const char *silent)
{
    write_weights(&(Weights){.tensors = ref_transformer(layers, silent)}, path);
}

static void add_conv(Weights *weights, int index, int64_t out, int64_t in, gboolean bias)
{
    ADD(weights, g_strdup_printf("decoder.%d.weight", index), out, in, 3, 3);
    if (bias)
        ADD(weights, g_strdup_printf("decoder.%d.bias", index), out);
}

static void add_memory_block(Weights *weights, int index, int64_t width)
{
    for (int i = 0; i <= 4; i += 2) {
        int64_t in = i == 0 ? 2 * width : width;
        ADD(weights, g_strdup_printf("decoder.%d.conv.%d.weight", index, i), width, in, 3, 3);
        ADD(weights, g_strdup_printf("decoder.%d.conv.%d.bias", index, i), width);
    }
}

void ref_write_decoder(const char *path, const int widths[4])
{
    Weights weights = {ref_tensors_new(), NULL};
    add_conv(&weights, 1, widths[0], REF_CHANNELS, TRUE);
    for (int stage = 0; stage < 3; stage++) {
        int first = 3 + 6 * stage, times = stage == 0 ? 1 : 2;
        int64_t width = widths[stage];
        for (int block = 0; block < 3; block++)
            add_memory_block(&weights, first + block, width);
        ADD(&weights, g_strdup_printf("decoder.%d.conv.weight", first + 4), times * width, width, 1,
            1);
        add_conv(&weights, first + 5, widths[stage + 1], width, FALSE);
    }
    add_conv(&weights, 22, 3, widths[3], TRUE);
    write_weights(&weights, path);
}

/* A convolution of the VAE: t taps in time, k in height and width; 0 of either: not there. */
static void add_vae_conv(Weights *weights, const char *module, int64_t out, int64_t in, int t,
                         int k)
{
    char *name = g_strconcat(module, ".weight", NULL);
    if (t)
        ADD(weights, name, out, in, t, k, k);
    else
        ADD(weights, name, out, in, k, k);
    ADD(weights, g_strconcat(module, ".bias", NULL), out);
}

static void add_residual(Weights *weights, const char *module, int64_t in, int64_t out)
{
    char *convs[] = {g_strconcat(module, ".residual.2", NULL),
                     g_strconcat(module, ".residual.6", NULL),
                     g_strconcat(module, ".shortcut", NULL)};
    ADD(weights, g_strconcat(module, ".residual.0.gamma", NULL), in, 1, 1, 1);
    add_vae_conv(weights, convs[0], out, in, 3, 3);
    ADD(weights, g_strconcat(module, ".residual.3.gamma", NULL), out, 1, 1, 1);
    add_vae_conv(weights, convs[1], out, out, 3, 3);
    if (in != out)
        add_vae_conv(weights, convs[2], out, in, 1, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(convs); i++)
        g_free(convs[i]);
}

static void add_resample(Weights *weights, const char *module, int64_t in, gboolean time)
{
    char *conv = g_strconcat(module, ".resample.1", NULL);
    add_vae_conv(weights, conv, in / 2, in, 0, 3);
    if (time) {
        ADD(weights, g_strconcat(module, ".time_conv.weight", NULL), 2 * in, in, 3, 1, 1);
        ADD(weights, g_strconcat(module, ".time_conv.bias", NULL), 2 * in);
    }
    g_free(conv);
}

void ref_write_wan_vae(const char *path, const int widths[5])
{
    Weights weights = {ref_tensors_new(), NULL};
    int64_t in = widths[0];
    add_vae_conv(&weights, "conv2", REF_CHANNELS, REF_CHANNELS, 1, 1);
    add_vae_conv(&weights, "decoder.conv1", in, REF_CHANNELS, 3, 3);
    add_residual(&weights, "decoder.middle.0", in, in);
    ADD(&weights, g_strdup("decoder.middle.1.norm.gamma"), in, 1, 1);
    add_vae_conv(&weights, "decoder.middle.1.to_qkv", 3 * in, in, 0, 1);
    add_vae_conv(&weights, "decoder.middle.1.proj", in, in, 0, 1);
    add_residual(&weights, "decoder.middle.2", in, in);
    for (int place = 0; place < 15; place++) {
        char *module = g_strdup_printf("decoder.upsamples.%d", place);
        int64_t out = widths[place / 4 + 1];
        if (place % 4 == 3)
            add_resample(&weights, module, in, place < 8);
        else
            add_residual(&weights, module, in, out);
        in = place % 4 == 3 ? in / 2 : out;
        g_free(module);
    }
    ADD(&weights, g_strdup("decoder.head.0.gamma"), in, 1, 1, 1);
    add_vae_conv(&weights, "decoder.head.2", 3, in, 3, 3);
    write_weights(&weights, path);
}

char *ref_directory(void)
{
    GError *error = NULL;
    char *directory = g_dir_make_tmp("lightforcing-reference-XXXXXX", &error);
    g_assert_no_error(error);
    return directory;
}

void ref_remove(char *directory)
{
    GDir *dir = g_dir_open(directory, 0, NULL);
    g_assert_nonnull(dir);
    for (const char *name; (name = g_dir_read_name(dir));) {
        char *path = g_build_filename(directory, name, NULL);
        g_unlink(path);
        g_free(path);
    }
    g_dir_close(dir);
    g_rmdir(directory);
    g_free(directory);
}

/* ---- results --------------------------------------------------------------------------------- */

LfTensorFile *ref_open(const char *name)
{
    GError *error = NULL;
    char *file = g_strconcat(name, ".safetensors", NULL);
    char *path = g_test_build_filename(G_TEST_DIST, "data", file, NULL);
    LfTensorFile *opened = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_free(path);
    g_free(file);
    return opened;
}

const float *ref_f32(LfTensorFile *file, const char *name, int64_t count)
{
    const LfFileTensor *t = lf_tensor_file_find(file, name);
    if (!t)
        g_error("%s: no tensor %s", lf_tensor_file_path(file), name);
    g_assert_cmpint(t->type, ==, LF_F32);
    g_assert_cmpuint(t->size, ==, (size_t) count * sizeof(float));
    return t->data;
}

double ref_distance(const float *a, const float *b, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double) a[i] - b[i];
        difference += d * d;
        norm += (double) b[i] * b[i];
    }
    double distance = sqrt(difference / norm);
    return isfinite(distance) ? distance : INFINITY;
}

void ref_compare(const char *what, const float *ours, const float *theirs, int64_t count,
                 double bound)
{
    double distance = ref_distance(ours, theirs, count);
    g_test_message("%s: rel-L2 %.2e (at most %.0e)", what, distance, bound);
    if (distance > bound) {
        g_test_message("%s: off by more than that", what);
        g_test_fail();
    }
}

/* ---- running the loop ------------------------------------------------------------------------ */

RefNoise ref_noise(const char *name, int chunks, int64_t chunk_size)
{
    float *values = ref_numbers(name, chunks * REF_STEPS * chunk_size, 1, 0);
    return (RefNoise){.values = values, .chunk_size = chunk_size, .chunks = chunks};
}

void ref_give_noise(float *out, int64_t count, uint64_t chunk, int step, gpointer data)
{
    const RefNoise *noise = data;
    g_assert_cmpint(count, ==, noise->chunk_size);
    g_assert_cmpuint(chunk, <, noise->chunks);
    g_assert_cmpint(step, <, REF_STEPS);
    int64_t first = ((int64_t) chunk * REF_STEPS + step) * count;
    memcpy(out, noise->values + first, (size_t) count * sizeof(float));
}

void ref_replay(const char *model, const char *input, const char *output, gboolean sparse,
                gboolean decode)
{
    GError *error = NULL;
    const char *command = g_getenv("LF_COMMAND"), *attention = sparse ? "sparse" : "dense";
    const char *argv[] = {
        command,       "replay",   "--model",     model,       "--input",
        input,         "--output", output,        "--backend", "cpu",
        "--precision", "fp32",     "--attention", attention,   decode ? "--decode" : NULL,
        NULL};
    int status = 0;
    char *text = NULL;
    g_assert_nonnull(command);
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, &text, &status,
                 &error);
    g_assert_no_error(error);
    if (status)
        g_error("replay: %s", text);
    g_free(text);
}
