/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The program `lightforcing`, run as its users do: what it prints, writes and refuses.
 */
#include "engine/files/tensor_file.h"
#include "engine/lightforcing.h"
#include "tests/common/tiny_model.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <string.h>

static char *model_dir, *scratch_dir;

typedef struct {
    int status;
    char *out, *err;
} Output;

static Output run(const char *first, ...) G_GNUC_NULL_TERMINATED;
static Output run(const char *first, ...)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    Output output = {0};
    va_list arguments;
    g_ptr_array_add(argv, (char *) g_getenv("LIGHTFORCING_PROGRAM"));
    va_start(arguments, first);
    for (const char *a = first; a; a = va_arg(arguments, const char *))
        g_ptr_array_add(argv, (char *) a);
    va_end(arguments);
    g_ptr_array_add(argv, NULL);
    g_spawn_sync(NULL, (char **) argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, &output.out,
                 &output.err, &output.status, &error);
    g_assert_no_error(error);
    g_assert_true(WIFEXITED(output.status));
    output.status = WEXITSTATUS(output.status);
    return output;
}

/* The status, and a word of what was said (errors on stderr); frees the output. */
static void expect(Output output, int status, const char *word)
{
    const char *said = status == 0 ? output.out : output.err;
    if (output.status != status || !strstr(said, word))
        g_error("status %d wanted with \"%s\", got %d with:\n%s%s", status, word, output.status,
                output.out, output.err);
    g_free(output.out);
    g_free(output.err);
}

static char *scratch_file(const char *name)
{
    return g_build_filename(scratch_dir, name, NULL);
}

/* ---- help and wrong arguments ---------------------------------------------------------------- */

static void test_usage(void)
{
    expect(run(NULL, NULL), 2, "Usage");
    expect(run("--help", NULL), 0, "replay");
    expect(run("--version", NULL), 0, "lightforcing 0.");
    expect(run("dance", NULL), 2, "no command \"dance\"");
    expect(run("info", "--help", NULL), 0, "DIR|FILE");
    expect(run("bench", "--help", NULL), 0, "--random");
    expect(run("replay", "--help", NULL), 0, "context");
    expect(run("info", NULL), 2, "name a model");
    expect(run("info", "a", "b", NULL), 2, "\"b\"");
    expect(run("bench", "--frobnicate", NULL), 2, "frobnicate");
    expect(run("bench", "--attention", "loose", NULL), 2, "loose");
    expect(run("bench", "--precision", "fp7", NULL), 2, "fp7");
    expect(run("bench", "--chunks", "-3", NULL), 2, "-3");
    expect(run("bench", "--threads", "-1", NULL), 2, "--threads -1");
    expect(run("bench", "--random", "demo", "--model", model_dir, NULL), 2, "--random");
    expect(run("bench", "--random", "huge", NULL), 1, "\"huge\"");
    expect(run("bench", "--model", model_dir, "--width", "17", NULL), 1, "width 17");
    expect(run("bench", "--model", model_dir, "--backend", "abacus", NULL), 1, "abacus");
    expect(run("replay", NULL), 2, "--input");
    expect(run("replay", "-i", "a", "-o", "b", "--precision", "int2", NULL), 2, "int2");
    expect(run("replay", "-i", "a", "-o", "b", "--attention", "loose", NULL), 2, "loose");
}

/* ---- info ------------------------------------------------------------------------------------ */

static void test_info(void)
{
    g_autofree char *transformer = g_build_filename(model_dir, "transformer.safetensors", NULL);
    expect(run("info", model_dir, NULL), 0, "2 layers of 48, 2 heads of 24");
    expect(run("info", model_dir, NULL), 0, "missing       nothing");
    expect(run("info", "--tensors", model_dir, NULL), 0, "blocks.1.cross_attn.norm_k.weight");
    expect(run("info", transformer, NULL), 0, "blocks.1.cross_attn.norm_k.weight");
    expect(run("info", transformer, NULL), 0, "as a model's transformer");
    expect(run("info", "/nowhere", NULL), 1, "/nowhere");
}

/* A tensor short, and a part short: told by name. */
static void test_info_missing(void)
{
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, &(LfTinyModel){.without = "text_encoder"});
    g_autofree char *path = g_build_filename(dir, "decoder.safetensors", NULL);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    size_t n = lf_tensor_file_count(file), kept = 0;
    g_autofree LfFileTensor *tensors = g_new(LfFileTensor, n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(lf_tensor_file_nth(file, i)->name, "decoder.13.conv.weight"))
            tensors[kept++] = *lf_tensor_file_nth(file, i);
    g_assert_cmpuint(kept, ==, n - 1);
    g_assert_true(lf_safetensors_write(path, tensors, kept, &error));
    lf_tensor_file_unref(file);
    Output output = run("info", dir, NULL);
    g_assert_cmpint(output.status, ==, 1);
    g_assert_nonnull(strstr(output.out, "decoder.13.conv.weight: missing"));
    g_assert_nonnull(strstr(output.out, "text encoder: model.json names none"));
    g_free(output.out);
    g_free(output.err);
    lf_tiny_model_remove(dir);
}

/* ---- bench ----------------------------------------------------------------------------------- */

static void test_bench_json(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonParser) parser = json_parser_new();
    Output output = run("bench", "--model", model_dir, "--chunks", "4", "--window", "7",
                        "--attention", "both", "--json", NULL);
    g_assert_cmpint(output.status, ==, 0);
    g_assert_true(json_parser_load_from_data(parser, output.out, -1, &error));
    g_assert_no_error(error);
    JsonObject *root = json_node_get_object(json_parser_get_root(parser));
    g_assert_cmpint(json_object_get_int_member(root, "window"), ==, 7);
    g_assert_cmpint(json_object_get_int_member(root, "steps"), ==, LF_TINY_STEPS);
    g_assert_cmpint(json_object_get_int_member(root, "first_steady_chunk"), ==, 3);
    g_assert_cmpstr(json_object_get_string_member(root, "precision"), ==, "fp32");
    g_assert_cmpfloat(json_object_get_double_member(root, "peak_gflops"), >, 0);
    g_assert_cmpfloat(json_object_get_double_member(root, "peak_rss_mb"), >, 1);
    JsonArray *results = json_object_get_array_member(root, "results");
    g_assert_cmpuint(json_array_get_length(results), ==, 2);
    for (guint i = 0; i < 2; i++) {
        JsonObject *r = json_array_get_object_element(results, i);
        JsonObject *ms = json_object_get_object_member(r, "ms");
        const char *attention = json_object_get_string_member(r, "attention");
        g_assert_cmpstr(attention, ==, i ? "sparse" : "dense");
        g_assert_true((json_object_get_double_member(r, "sparsity") > 0) == (i == 1));
        double sum = 0;
        const char *const stages[] = {"denoise", "clean", "decode", "transfer"};
        for (guint k = 0; k < G_N_ELEMENTS(stages); k++)
            sum += json_object_get_double_member(ms, stages[k]);
        /* One chunk is in steady state here, so that medians add up, to what the stages leave. */
        g_assert_cmpfloat(sum, <=, json_object_get_double_member(ms, "chunk") + 0.001);
        g_assert_cmpfloat(json_object_get_double_member(ms, "encode"), >, 0);
    }
    g_free(output.out);
    g_free(output.err);
    expect(run("bench", "--model", model_dir, "-n", "1", "-a", "dense", NULL), 0, "GFLOP/s");
    expect(run("bench", "--random", "demo", "-n", "1", "-a", "sparse", "--width", "64", "--height",
               "48", "-t", "1", NULL),
           0, "64×48");
}

/* ---- replay ---------------------------------------------------------------------------------- */

enum { CHUNKS = 3, LATENTS = LF_TINY_WIDTH / 8, IDS = 5 };

static float *random_numbers(gsize n)
{
    float *numbers = g_new(float, n);
    for (gsize i = 0; i < n; i++)
        numbers[i] = (float) g_test_rand_double_range(-2, 2);
    return numbers;
}

static LfFileTensor tensor(const char *name, LfType type, const void *data, int n_dims,
                           const int64_t *shape)
{
    LfFileTensor t = {.name = name, .type = type, .n_dims = n_dims, .data = data};
    t.size = lf_type_size(type);
    for (int i = 0; i < n_dims; i++)
        t.size *= (size_t) (t.shape[i] = shape[i]);
    return t;
}

static const int64_t noise_shape[] = {CHUNKS,           LF_TINY_STEPS, LF_TINY_CHUNK,
                                      LF_TINY_CHANNELS, LATENTS,       LATENTS};

static gsize noise_count(void)
{
    gsize n = 1;
    for (guint i = 0; i < G_N_ELEMENTS(noise_shape); i++)
        n *= (gsize) noise_shape[i];
    return n;
}

static const LfFileTensor *check_shape(const LfTensorFile *file, const char *name, LfType type,
                                       const char *wanted)
{
    const LfFileTensor *t = lf_tensor_file_find(file, name);
    g_assert_nonnull(t);
    g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
    g_assert_cmpstr(shape, ==, wanted);
    g_assert_cmpint(t->type, ==, type);
    return t;
}

static LfTensorFile *replayed(const char *input, const char *output, const char *more)
{
    g_autoptr(GError) error = NULL;
    expect(run("replay", "--model", model_dir, "--input", input, "--output", output, more, NULL), 0,
           "");
    LfTensorFile *file = lf_tensor_file_open(output, &error);
    g_assert_no_error(error);
    return file;
}

static void assert_same(const LfTensorFile *a, const LfTensorFile *b, const char *name)
{
    const LfFileTensor *x = lf_tensor_file_find(a, name);
    const LfFileTensor *y = lf_tensor_file_find(b, name);
    g_assert_cmpmem(x->data, x->size, y->data, y->size);
}

/* Through the text encoder and around it: the same latents. */
static void test_replay(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *in = scratch_file("in.safetensors"), *out = scratch_file("out.safetensors");
    g_autofree char *in2 = scratch_file("in2.safetensors"),
                    *out2 = scratch_file("out2.safetensors");
    g_autofree float *noise = random_numbers(noise_count());
    const int64_t ids[IDS] = {17, 4, 100, 33, 1}, n_ids = IDS;
    LfFileTensor input[] = {tensor("ids", LF_I64, ids, 1, &n_ids),
                            tensor("noise", LF_F32, noise, 6, noise_shape)};
    g_assert_true(lf_safetensors_write(in, input, 2, &error));
    LfTensorFile *a = replayed(in, out, "--decode");
    g_assert_cmpuint(lf_tensor_file_count(a), ==, 4);
    check_shape(a, "latents", LF_F32, "[9, 4, 8, 8]");
    check_shape(a, "frames", LF_U8, "[33, 64, 64, 3]");
    const LfFileTensor *sparsity = check_shape(a, "sparsity", LF_F32, "[3]");
    g_assert_true(((const float *) sparsity->data)[0] == 0);
    g_assert_true(((const float *) sparsity->data)[2] > 0);
    const LfFileTensor *text = check_shape(a, "text", LF_F32, "[5, 32]");

    input[0] = tensor("context", LF_F32, text->data, 2, text->shape);
    g_assert_true(lf_safetensors_write(in2, input, 2, &error));
    LfTensorFile *b = replayed(in2, out2, NULL);
    g_assert_cmpuint(lf_tensor_file_count(b), ==, 2);
    assert_same(a, b, "latents");
    assert_same(a, b, "sparsity");
    lf_tensor_file_unref(b);
    b = replayed(in2, out2, "--attention=dense");
    check_shape(b, "sparsity", LF_F32, "[3]");
    g_assert_true(((const float *) lf_tensor_file_find(b, "sparsity")->data)[2] == 0);
    lf_tensor_file_unref(b);
    lf_tensor_file_unref(a);
    g_remove(in);
    g_remove(in2);
    g_remove(out);
    g_remove(out2);
}

/* Input that cannot be: each said by the tensor's name, and nothing written. */
static void test_replay_errors(void)
{
    g_autofree char *in = scratch_file("bad.safetensors"), *out = scratch_file("never");
    g_autofree float *noise = random_numbers(noise_count());
    g_autofree float *context = random_numbers(64 * 64);
    const int64_t ids[2] = {1, 1 << 20}, negative[1] = {-1}, counts[] = {2, 1, 64};
    const int64_t narrow[] = {4, 31}, tall[] = {LF_TINY_TEXT_LEN + 1, LF_TINY_TEXT_DIM};
    const int64_t good[] = {4, LF_TINY_TEXT_DIM};
    int64_t steps[6], chunks[6], odd[6];
    memcpy(steps, noise_shape, sizeof steps);
    memcpy(chunks, noise_shape, sizeof chunks);
    memcpy(odd, noise_shape, sizeof odd);
    steps[1] = 1;
    chunks[2] = 1;
    odd[4] = 7;
    LfFileTensor whole = tensor("noise", LF_F32, noise, 6, noise_shape);
    LfFileTensor text = tensor("context", LF_F32, context, 2, good);
    const struct {
        LfFileTensor tensors[3];
        size_t n;
        const char *word;
    } bad[] = {
        {{whole}, 1, "neither"},
        {{text}, 1, "noise: missing"},
        {{whole, text, tensor("ids", LF_I64, ids, 1, counts)}, 3, "both"},
        {{whole, text, tensor("extra", LF_F32, context, 2, good)}, 3, "extra"},
        {{tensor("noise", LF_F32, noise, 6, steps), text}, 2, "noise: [chunks, 2, 3, 4, h, w]"},
        {{tensor("noise", LF_F32, noise, 6, chunks), text}, 2, "noise: [chunks, 2, 3, 4, h, w]"},
        {{tensor("noise", LF_F32, noise, 5, noise_shape), text}, 2, "noise: F32 of 6"},
        {{tensor("noise", LF_I32, noise, 6, noise_shape), text}, 2, "noise: F32 of 6"},
        {{tensor("noise", LF_F32, noise, 6, odd), text}, 2, "height 56"},
        {{whole, tensor("context", LF_F32, context, 2, narrow)}, 2, "context"},
        {{whole, tensor("context", LF_F32, context, 2, tall)}, 2, "context"},
        {{whole, tensor("context", LF_F32, context, 1, counts)}, 2, "context"},
        {{whole, tensor("ids", LF_I64, ids, 1, counts)}, 2, "1048576"},
        {{whole, tensor("ids", LF_I64, negative, 1, counts + 1)}, 2, "-1"},
        {{whole, tensor("ids", LF_I64, context, 1, counts + 2)}, 2, "1 to 24"},
        {{whole, tensor("ids", LF_F32, context, 1, counts)}, 2, "ids: I64"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_true(lf_safetensors_write(in, bad[i].tensors, bad[i].n, NULL));
        expect(run("replay", "-m", model_dir, "-i", in, "-o", out, NULL), 1, bad[i].word);
        g_assert_false(g_file_test(out, G_FILE_TEST_EXISTS));
    }
    expect(run("replay", "-m", model_dir, "-i", "/nowhere", "-o", out, NULL), 1, "/nowhere");
    const LfFileTensor fine[] = {whole, text};
    g_assert_true(lf_safetensors_write(in, fine, 2, NULL));
    expect(run("replay", "-m", model_dir, "-i", in, "-o", "/nowhere/out", NULL), 1, "/nowhere");
    expect(run("replay", "-m", "/nowhere", "-i", in, "-o", out, NULL), 1, "/nowhere");
    g_remove(in);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    model_dir = lf_tiny_model_make(NULL, NULL);
    scratch_dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_test_add_func("/cli/usage", test_usage);
    g_test_add_func("/cli/info", test_info);
    g_test_add_func("/cli/info-missing", test_info_missing);
    g_test_add_func("/cli/bench-json", test_bench_json);
    g_test_add_func("/cli/replay", test_replay);
    g_test_add_func("/cli/replay-errors", test_replay_errors);
    int status = g_test_run();
    lf_tiny_model_remove(model_dir);
    g_rmdir(scratch_dir);
    g_free(scratch_dir);
    return status;
}
