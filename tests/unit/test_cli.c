/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The program `lightforcing`, run as its users do: what it prints, writes and refuses.
 */
#include "engine/files/tensor_file.h"
#include "engine/lightforcing.h"
#include "tests/common/folder.h"
#include "tests/common/tiny_model.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <math.h>
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

/* Asserts the exit status and a word of the output (of stderr for errors); frees the output. */
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
    expect(run("-h", NULL), 0, "Exit status");
    expect(run("dance", NULL), 2, "no command \"dance\"");
    expect(run("generate", NULL), 2, "gst-launch-1.0 lightforcingsrc");
    expect(run("info", "--help", NULL), 0, "DIR|FILE");
    expect(run("bench", "--help", NULL), 0, "--random");
    expect(run("replay", "--help", NULL), 0, "context");
    const char *const commands[] = {"info", "bench", "convert", "families", "replay", "decode"};
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        expect(run(commands[i], "-h", NULL), 0, "Examples:\n  lightforcing ");
        expect(run(commands[i], "-h", NULL), 0, "Exit status: 0 ");
        expect(run(commands[i], "--frobnicate", NULL), 2, "frobnicate");
        expect(run(commands[i], "a", "b", NULL), 2, "unexpected argument");
    }
    expect(run("info", NULL), 2, "name a model");
    expect(run("replay", NULL), 2, "--input");
    expect(run("decode", "-i", "a", "-o", "b", NULL), 2, "--decoder");
}

static void test_version(void)
{
    Output output = run("--version", NULL);
    g_autofree char *expected = g_strdup_printf("lightforcing %s\n", LF_TEST_VERSION);
    g_assert_cmpint(output.status, ==, 0);
    g_assert_cmpstr(output.out, ==, expected);
    g_free(output.out);
    g_free(output.err);
}

/* Status 2 and the option's name, before any model is opened. */
static void test_wrong_options(void)
{
    const char *const bench[][4] = {
        {"--attention", "loose", "--attention loose: use auto, dense, sparse or both"},
        {"--precision", "fp7", "--precision fp7: use auto, fp32, bf16 or fp8"},
        {"--text-encoder-device", "gpu",
         "--text-encoder-device gpu: use auto, device, stream or cpu"},
        {"--chunks", "-3", "--chunks -3"},
        {"--chunks", "100001", "--chunks 100001"},
        {"--threads", "-1", "--threads -1"},
        {"--threads", "1025", "--threads 1025"},
        {"--sparsity", "1", "--sparsity 1"},
        {"--sparsity", "-0.5", "--sparsity -0.5"},
        {"--sparsity", "nan", "--sparsity nan"},
        {"--window", "-2", "--window -2"},
        {"--sink", "-2", "--sink -2"},
        {"--chunk", "-1", "--chunk -1"},
        {"--chunk", "65", "--chunk 65: use 0 (model default) or 1 to 64"},
        {"--shift", "-1", "--shift -1"},
        {"--shift", "nan", "--shift nan: use 0 (model default) or 0.01 to 100"},
        {"--steps", "500,1000", "--steps 500,1000: expected 1 to 16 numbers"},
        {"--first-steps", "x", "--first-steps x: expected"},
        {"--width", "0", "--width 0"},
        {"--width", "-16", "--width -16"},
        {"--height", "0", "--height 0"},
        {"--random", "demo", "--model and --random cannot be combined"},
        {"-n", "two", "two"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(bench); i++)
        expect(run("bench", "-m", "/nowhere", bench[i][0], bench[i][1], NULL), 2, bench[i][2]);
    const char *const replay[][3] = {
        {"--attention", "both", "--attention both: use auto, dense or sparse"},
        {"--precision", "int2", "--precision int2"},
        {"--sink", "-5", "--sink -5"},
        {"-p", "fp32", "-p"}, /* the prompt of bench; here it would have no use */
    };
    for (guint i = 0; i < G_N_ELEMENTS(replay); i++)
        expect(run("replay", "-i", "a", "-o", "b", replay[i][0], replay[i][1], NULL), 2,
               replay[i][2]);
    expect(run("replay", "-i", "a", NULL), 2, "--output");
    expect(run("info", "-t", model_dir, NULL), 2, "-t");
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

/* ---- info ------------------------------------------------------------------------------------ */

static void test_info(void)
{
    g_autofree char *transformer = g_build_filename(model_dir, "transformer.safetensors", NULL);
    expect(run("info", model_dir, NULL), 0, "2 layers of 48, 2 heads of 24");
    expect(run("info", model_dir, NULL), 0, "missing       nothing");
    expect(run("info", "--tensors", model_dir, NULL), 0, "blocks.1.cross_attn.norm_k.weight");
    expect(run("info", "-l", model_dir, NULL), 0, "blocks.1.cross_attn.norm_k.weight");
    Output output = run("info", model_dir, NULL);
    g_assert_null(strstr(output.out, "blocks.1.cross_attn.norm_k.weight"));
    g_free(output.out);
    g_free(output.err);
    expect(run("info", transformer, NULL), 0, "blocks.1.cross_attn.norm_k.weight");
    expect(run("info", transformer, NULL), 0, "as a model's transformer");
    expect(run("info", transformer, NULL), 0, "As model-location:");
    expect(run("info", "/nowhere", NULL), 1, "/nowhere");
}

/* Status 1, and both words on stdout; frees the output. */
static void expect_missing(Output output, const char *word, const char *other)
{
    g_assert_cmpint(output.status, ==, 1);
    if (!strstr(output.out, word) || !strstr(output.out, other))
        g_error("expected \"%s\" and \"%s\" in:\n%s", word, other, output.out);
    g_free(output.out);
    g_free(output.err);
}

/* Every number of the model that ships stands in its own place. */
static void test_info_lines(void)
{
    static const char *const lines[] = {
        "family        none that the path tells: the defaults are Self-Forcing's",
        "transformer   transformer.safetensors: safetensors, 231 tensors, 8.064 M parameters, "
        "16.1 MB (BF16)",
        "              causal Wan, 8 layers of 256, 4 heads of 64, ffn 768, text of 48 × 192, "
        "latents of 16 channels, layout Wan",
        "text encoder  text_encoder.safetensors: safetensors, 32 tensors, 1.157 M parameters, "
        "2.3 MB (BF16)",
        "              umT5, 3 layers of 192, 3 heads, ffn 384, vocabulary of 257",
        "tokenizer     spiece.model: SentencePiece, 257 pieces",
        "decoder       decoder.safetensors: safetensors, 64 tensors, 1.081 M parameters, 2.2 MB "
        "(BF16)",
        "              tiny decoder (TAEHV), 64/64/32/16 channels, latents of 16 channels",
        "video         256×160, 16/1 frames a second, chunks of 3 latent frames",
        "schedule      steps 1000,750,500,250, shift 5",
        "cache         window 12, sink 1, positions relative",
        "sparse        target 0.85, base 0.95, blocks of 32 queries and 32 keys, 3 frames kept "
        "(first 1, last 1), horizon 63",
        "missing       nothing",
    };
    Output output = run("info", g_getenv("LIGHTFORCING_MODEL"), NULL);
    g_autofree char *text = g_strconcat("\n", output.out, NULL);
    g_assert_cmpint(output.status, ==, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *line = g_strdup_printf("\n%s\n", lines[i]);
        if (!strstr(text, line))
            g_error("expected \"%s\" as a line of:%s", lines[i], text);
    }
    g_free(output.out);
    g_free(output.err);
}

/* A file with tensors that cannot be read, some of which would be needed. */
static void test_info_unreadable(void)
{
    g_autofree char *unreadable = g_build_filename(LF_TEST_DATA, "unreadable.pt", NULL);
    expect_missing(run("info", unreadable, NULL), "not readable: a sparse tensor",
                   "complex cannot be read");
}

/* A file of which nothing is known but its tensors. */
static void test_info_gguf(void)
{
    g_autofree char *path = g_build_filename(LF_TEST_DATA, "blocks.gguf", NULL);
    expect_missing(run("info", path, NULL), "blocks.gguf: GGUF, 24 tensors",
                   "(BF16 1, F16 1, F32 12, Q2_K 1, Q3_K 1, Q4_0 1");
    expect_missing(run("info", path, NULL), "  Q6_K ", " Q6_K    [2, 256]");
}

/* A tensor and a part are missing: both are named. */
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
    expect_missing(run("info", dir, NULL), "decoder.13.conv.weight: missing",
                   "text encoder: none found");
    lf_tiny_model_remove(dir);
}

/* A checkpoint without a model.json: its family, what is found around it, and what is not. */
static void test_info_checkpoint(void)
{
    g_autofree char *demo = g_canonicalize_filename(g_getenv("LIGHTFORCING_MODEL"), NULL);
    g_autofree char *transformer = g_build_filename(demo, "transformer.safetensors", NULL);
    g_autofree char *decoder = g_build_filename(demo, "decoder.safetensors", NULL);
    char *root = folder_new();
    folder_link(root, "framewise/causal_forcing.pt", transformer);
    folder_link(root, "vae_approx/taew2_1.pth", decoder);
    g_autofree char *checkpoint = g_build_filename(root, "framewise/causal_forcing.pt", NULL);
    expect_missing(run("info", checkpoint, NULL), "Causal Forcing, frame-wise",
                   "text encoder: none found. Published: models_t5_umt5-xxl-enc-bf16.pth");
    expect_missing(run("info", checkpoint, NULL), "chunks of 1 latent frames", "taew2_1.pth");
    expect_missing(run("info", root, NULL), "zhuhz22/Causal-Forcing", "tokenizer: none found");
    folder_remove(root);
}

/* The checks of info are the loader's. */
static void test_info_tokenizer(void)
{
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *demo = g_build_filename(g_getenv("LIGHTFORCING_MODEL"), NULL);
    g_autofree char *encoder = g_build_filename(demo, "text_encoder.safetensors", NULL);
    g_autofree char *mine = g_build_filename(dir, "text_encoder.safetensors", NULL);
    g_autofree char *bytes = NULL;
    gsize size;
    g_assert_true(g_file_get_contents(encoder, &bytes, &size, NULL));
    g_assert_true(g_file_set_contents(mine, bytes, (gssize) size, NULL));
    LfModel *model = lf_model_open(dir, NULL, NULL);
    g_assert_null(model);
    expect_missing(run("info", dir, NULL), "tokenizer", "text_dim");
    lf_tiny_model_remove(dir);
}

static void test_families(void)
{
    expect(run("families", NULL), 0, "causal-forcing-framewise: Causal Forcing, frame-wise");
    expect(run("families", NULL), 0, "taew2_1.safetensors");
    expect(run("families", "longlive", NULL), 0, "window 12, sink 3");
    expect(run("families", "causvid", NULL), 0, "not shifted, window unlimited");
    expect(run("families", "causal-forcing-2step", NULL), 0,
           "chunks of 1, steps 1000,500 (first chunk 1000,750,500,250), shift 5");
    expect(run("families", "no-such", NULL), 1, "no-such");
    expect(run("families", "a", "b", NULL), 2, "\"b\"");
}

/* A LoRA that model.json names: listed when it fits, a problem when it does not. */
static void test_info_lora(void)
{
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *json = g_build_filename(dir, "model.json", NULL);
    g_autofree char *path = g_build_filename(dir, "lora.safetensors", NULL);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(json, &text, NULL, &error));
    g_autoptr(GString) with_lora = g_string_new(text);
    const char *own = "\"file\": \"transformer.safetensors\"";
    g_assert_cmpint(g_string_replace(with_lora, own,
                                     "\"file\": \"transformer.safetensors\", "
                                     "\"lora\": [{\"file\": \"lora.safetensors\", "
                                     "\"strength\": 0.75}]",
                                     0),
                    ==, 1);
    g_assert_true(g_file_set_contents(json, with_lora->str, -1, &error));
    expect_missing(run("info", dir, NULL), "LoRA: ", "lora.safetensors");

    const float zeros[2 * LF_TINY_DIM] = {0};
    const int64_t down[] = {2, LF_TINY_DIM}, up[] = {LF_TINY_DIM, 2};
    LfFileTensor lora[] = {tensor("blocks.0.self_attn.q.lora_A.weight", LF_F32, zeros, 2, down),
                           tensor("blocks.0.self_attn.q.lora_B.weight", LF_F32, zeros, 2, up)};
    g_assert_true(lf_safetensors_write(path, lora, 2, &error));
    expect(run("info", dir, NULL), 0, "added to the transformer with strength 0.75");
    lora[0].name = "blocks.7.self_attn.q.lora_A.weight";
    lora[1].name = "blocks.7.self_attn.q.lora_B.weight";
    g_assert_true(lf_safetensors_write(path, lora, 2, &error));
    expect_missing(run("info", dir, NULL), "LoRA: ", "blocks.7");
    lf_tiny_model_remove(dir);
}

/* ---- bench ----------------------------------------------------------------------------------- */

/* The JSON of a run that has to succeed. */
#define bench_json(...) read_json(run("bench", "--json", __VA_ARGS__, NULL))
static JsonObject *read_json(Output output)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonParser) parser = json_parser_new();
    g_test_message("%s", output.err);
    g_assert_cmpint(output.status, ==, 0);
    g_assert_true(json_parser_load_from_data(parser, output.out, -1, &error));
    g_assert_no_error(error);
    g_free(output.out);
    g_free(output.err);
    return json_object_ref(json_node_get_object(json_parser_get_root(parser)));
}

static JsonObject *nth_result(JsonObject *bench, guint i)
{
    return json_array_get_object_element(json_object_get_array_member(bench, "results"), i);
}

static gint64 number(JsonObject *bench, const char *name)
{
    return json_object_get_int_member(bench, name);
}

/* Asserts that the bench made one run for each of these words; the last may be NULL. */
static void assert_runs(JsonObject *bench, const char *first, const char *second)
{
    guint n = json_array_get_length(json_object_get_array_member(bench, "results"));
    g_assert_cmpuint(n, ==, second ? 2 : 1);
    for (guint i = 0; i < n; i++)
        g_assert_cmpstr(json_object_get_string_member(nth_result(bench, i), "attention"), ==,
                        i ? second : first);
}

static void test_bench_json(void)
{
    g_autoptr(JsonObject) root =
        bench_json("--model", model_dir, "--chunks", "4", "--window", "7", "--attention", "both");
    g_assert_cmpint(number(root, "window"), ==, 7);
    g_assert_cmpint(number(root, "steps"), ==, LF_TINY_STEPS);
    g_assert_cmpint(number(root, "chunk"), ==, LF_TINY_CHUNK);
    g_assert_cmpint(number(root, "chunks"), ==, 4);
    g_assert_cmpint(number(root, "first_steady_chunk"), ==, 3);
    g_assert_cmpstr(json_object_get_string_member(root, "precision"), ==, "fp32");
    g_assert_cmpfloat(json_object_get_double_member(root, "peak_gflops"), >, 0);
    g_assert_cmpfloat(json_object_get_double_member(root, "peak_rss_mb"), >, 1);
    assert_runs(root, "dense", "sparse");
    for (guint i = 0; i < 2; i++) {
        JsonObject *result = nth_result(root, i);
        JsonObject *ms = json_object_get_object_member(result, "ms");
        g_assert_true((json_object_get_double_member(result, "sparsity") > 0) == (i == 1));
        double sum = 0;
        const char *const stages[] = {"denoise", "clean", "decode"};
        for (guint k = 0; k < G_N_ELEMENTS(stages); k++)
            sum += json_object_get_double_member(ms, stages[k]);
        /* One chunk is in steady state here, so that medians add up, to what the stages leave. */
        g_assert_cmpfloat(sum, <=, json_object_get_double_member(ms, "chunk") + 0.001);
        g_assert_cmpfloat(json_object_get_double_member(ms, "encode"), >, 0);
        g_assert_cmpfloat(json_object_get_double_member(ms, "read"), >, 0);
        /* At least a chunk's passes, which a new prompt waits for. */
        g_assert_cmpfloat(json_object_get_double_member(ms, "reaction"), >, 0);
    }
}

static void test_bench_sampling(void)
{
    g_autoptr(JsonObject) plain = bench_json("-m", model_dir, "-n", "2");
    g_assert_cmpstr(json_object_get_string_member(plain, "timesteps"), ==, "1000,500");
    g_assert_cmpstr(json_object_get_string_member(plain, "first_timesteps"), ==, "1000,500");
    g_assert_cmpfloat(json_object_get_double_member(plain, "shift"), ==, 5);
    g_autoptr(JsonObject) own =
        bench_json("-m", model_dir, "-n", "2", "--chunk", "1", "--steps", "900.5", "--first-steps",
                   "1000,900.5,10", "--shift", "2");
    g_assert_cmpint(number(own, "chunk"), ==, 1);
    g_assert_cmpint(number(own, "steps"), ==, 1);
    g_assert_cmpstr(json_object_get_string_member(own, "timesteps"), ==, "900.5");
    g_assert_cmpstr(json_object_get_string_member(own, "first_timesteps"), ==, "1000,900.5,10");
    g_assert_cmpfloat(json_object_get_double_member(own, "shift"), ==, 2);
    /* A chunk is a third as long and has two passes, not three. */
    double chunk = json_object_get_double_member(
        json_object_get_object_member(nth_result(plain, 0), "gflop_a_chunk"), "transformer");
    double short_chunk = json_object_get_double_member(
        json_object_get_object_member(nth_result(own, 0), "gflop_a_chunk"), "transformer");
    g_assert_cmpfloat(short_chunk, <, chunk / 4);
}

/* -1 is the model's number, 0 unlimited, none and dense. */
static void test_bench_sentinels(void)
{
    g_autoptr(JsonObject) plain = bench_json("-m", model_dir, "-n", "2");
    g_autoptr(JsonObject) own = bench_json("-m", model_dir, "-n", "2", "--window", "-1", "--sink",
                                           "-1", "-s", "-1", "--width", "-1", "--height", "-1");
    JsonObject *const same[] = {plain, own};
    for (guint i = 0; i < G_N_ELEMENTS(same); i++) {
        g_assert_cmpint(number(same[i], "window"), ==, LF_TINY_WINDOW);
        g_assert_cmpint(number(same[i], "sink"), ==, LF_TINY_SINK);
        g_assert_cmpint(number(same[i], "width"), ==, LF_TINY_WIDTH);
        g_assert_cmpint(number(same[i], "height"), ==, LF_TINY_WIDTH);
        assert_runs(same[i], "dense", "sparse");
    }
    g_autoptr(JsonObject) zero =
        bench_json("-m", model_dir, "-n", "2", "-w", "0", "--sink", "0", "-s", "0");
    g_assert_cmpint(number(zero, "window"), ==, 0);
    g_assert_cmpint(number(zero, "sink"), ==, 0);
    assert_runs(zero, "dense", NULL);
    g_assert_cmpfloat(json_object_get_double_member(nth_result(zero, 0), "sparsity"), ==, 0);
    g_autoptr(JsonObject) dense = bench_json("-m", model_dir, "-n", "2", "-a", "sparse", "-s", "0");
    assert_runs(dense, "dense", NULL);
}

static void test_bench_options(void)
{
    g_autoptr(JsonObject) sparse = bench_json("-m", model_dir, "-n", "3", "-a", "auto", "-s", "0.5",
                                              "-u", "-t", "1", "--width", "96", "--height", "80");
    assert_runs(sparse, "sparse", NULL);
    g_assert_cmpint(number(sparse, "threads"), ==, 1);
    g_assert_cmpint(number(sparse, "width"), ==, 96);
    g_assert_cmpint(number(sparse, "height"), ==, 80);
    double sparsity = json_object_get_double_member(nth_result(sparse, 0), "sparsity");
    g_assert_cmpfloat(fabs(sparsity - 0.5), <, 1e-6); /* at once, for it does not grow */
    expect(run("bench", "--model", model_dir, "-n", "1", "-a", "dense", NULL), 0, "GFLOP/s");
    expect(run("bench", "-m", model_dir, "-n", "1", "--precision", "fp32", NULL), 0, "no GPU   ");
    expect(run("bench", "--random", "demo", "-n", "1", "-a", "sparse", "--width", "64", "--height",
               "48", "-t", "1", NULL),
           0, "64×48");
}

/* What the engine logs, on stderr, and nothing there without the option. */
static void test_bench_verbose(void)
{
    Output quiet = run("bench", "-m", model_dir, "-n", "1", "-a", "dense", NULL);
    Output verbose = run("bench", "-m", model_dir, "-n", "1", "-a", "dense", "-v", NULL);
    g_assert_cmpint(verbose.status, ==, 0);
    g_assert_cmpstr(quiet.err, ==, "");
    g_assert_nonnull(strstr(verbose.err, "transformer"));
    g_free(quiet.out);
    g_free(quiet.err);
    g_free(verbose.out);
    g_free(verbose.err);
}

static void test_bench_errors(void)
{
    g_autofree char *endless = g_strnfill(70000, 'a');
    expect(run("bench", "--random", "huge", NULL), 1, "\"huge\"");
    expect(run("bench", "--model", "/nowhere", NULL), 1, "/nowhere");
    expect(run("bench", "--model", model_dir, "--width", "17", NULL), 1, "width 17");
    expect(run("bench", "--model", model_dir, "--backend", "abacus", NULL), 1, "abacus");
    expect(run("bench", "-m", model_dir, "-b", "cpu", "--precision", "bf16", NULL), 1, "precision");
    expect(run("bench", "-m", model_dir, "-n", "1", "-p", endless, NULL), 1, "lightforcing bench");
}

/* ---- replay ---------------------------------------------------------------------------------- */

enum { CHUNKS = 5, LATENTS = LF_TINY_WIDTH / 8, IDS = 5 };

static float *random_numbers(gsize n)
{
    float *numbers = g_new(float, n);
    for (gsize i = 0; i < n; i++)
        numbers[i] = (float) g_test_rand_double_range(-2, 2);
    return numbers;
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

/* What replay writes for the input, with at most three further arguments. */
#define replayed(input, output, ...) replay(input, output, (const char *[4]){__VA_ARGS__})
static LfTensorFile *replay(const char *input, const char *output, const char *const *more)
{
    g_autoptr(GError) error = NULL;
    expect(run("replay", "--model", model_dir, "--input", input, "--output", output, more[0],
               more[0] ? more[1] : NULL, more[0] && more[1] ? more[2] : NULL, NULL),
           0, "");
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
    check_shape(a, "latents", LF_F32, "[15, 4, 8, 8]");
    check_shape(a, "frames", LF_U8, "[57, 64, 64, 3]");
    const LfFileTensor *sparsity = check_shape(a, "sparsity", LF_F32, "[5]");
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
    lf_tensor_file_unref(a);
    g_remove(in);
    g_remove(in2);
    g_remove(out);
    g_remove(out2);
}

/* The first chunk whose latents differ; CHUNKS when none does. */
static int first_difference(const LfTensorFile *a, const LfTensorFile *b)
{
    const LfFileTensor *x = lf_tensor_file_find(a, "latents");
    const LfFileTensor *y = lf_tensor_file_find(b, "latents");
    size_t chunk = x->size / CHUNKS;
    g_assert_cmpuint(x->size, ==, y->size);
    for (int i = 0; i < CHUNKS; i++)
        if (memcmp((const char *) x->data + (size_t) i * chunk,
                   (const char *) y->data + (size_t) i * chunk, chunk) != 0)
            return i;
    return CHUNKS;
}

static float sparsity_of(const LfTensorFile *file, int chunk)
{
    float sparsity;
    memcpy(&sparsity, (const char *) lf_tensor_file_find(file, "sparsity")->data + 4 * chunk, 4);
    return sparsity;
}

/* What the common options become in the engine. The window of the tiny model is three chunks: a
 * longer one, or another sink, shows from the fourth chunk on. */
static void test_replay_options(void)
{
    enum { EVICTS = LF_TINY_WINDOW / LF_TINY_CHUNK };
    g_autoptr(GError) error = NULL;
    g_autofree char *in = scratch_file("in.safetensors"), *out = scratch_file("out.safetensors");
    g_autofree char *other_out = scratch_file("other.safetensors");
    g_autofree float *noise = random_numbers(noise_count());
    g_autofree float *context = random_numbers(6 * LF_TINY_TEXT_DIM);
    const int64_t shape[] = {6, LF_TINY_TEXT_DIM};
    const LfFileTensor input[] = {tensor("context", LF_F32, context, 2, shape),
                                  tensor("noise", LF_F32, noise, 6, noise_shape)};
    g_assert_true(lf_safetensors_write(in, input, 2, &error));

    const struct {
        const char *a[3], *b[3]; /* the options of two runs */
        int differs;             /* the first chunk that differs */
    } cases[] = {
        {{NULL}, {"--window=-1", "--sink=-1", "--sparsity=-1"}, CHUNKS},
        {{NULL}, {"--window=9", "--sink=1", "--attention=auto"}, CHUNKS},
        {{NULL}, {"--threads=1", "--backend=cpu", "--precision=fp32"}, CHUNKS},
        {{NULL}, {"--attention=sparse"}, CHUNKS},
        {{NULL}, {"--attention=dense"}, 1}, /* the first chunk is always dense */
        {{NULL}, {"--uniform"}, 1},
        {{"--attention=dense"}, {"--sparsity=0"}, CHUNKS},
        {{"--attention=dense"}, {"--sparsity=0", "--attention=sparse"}, CHUNKS},
        {{"--attention=dense"}, {"--attention=dense", "--window=0"}, EVICTS},
        {{"--attention=dense"}, {"--attention=dense", "--sink=0"}, EVICTS},
        {{NULL}, {"--chunk=3", "--steps=1000,500", "--shift=5"}, CHUNKS},
        {{NULL}, {"--steps=1000,500.5"}, 0},
        {{NULL}, {"--shift=4"}, 0},
        {{NULL}, {"--first-steps=1000,499"}, 0},
        {{"--first-steps=1000,499"}, {"--first-steps=1000,499", "--steps=1000"}, 1},
        {{"--attention=dense", "--window=0"}, {"--attention=dense", "--window=15"}, CHUNKS},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfTensorFile *a = replay(in, out, cases[i].a), *b = replay(in, other_out, cases[i].b);
        g_test_message("case %u", i);
        g_assert_cmpint(first_difference(a, b), ==, cases[i].differs);
        lf_tensor_file_unref(a);
        lf_tensor_file_unref(b);
    }
    LfTensorFile *grown = replayed(in, out, NULL);
    g_assert_cmpfloat(sparsity_of(grown, 1), <, sparsity_of(grown, CHUNKS - 1));
    lf_tensor_file_unref(grown);
    LfTensorFile *uniform = replayed(in, out, "--uniform", "--sparsity=0.5");
    g_assert_cmpfloat(sparsity_of(uniform, 0), ==, 0);
    for (int i = 1; i < CHUNKS; i++)
        g_assert_cmpfloat(sparsity_of(uniform, i), ==, 0.5f);
    lf_tensor_file_unref(uniform);
    LfTensorFile *dense = replayed(in, out, "--attention=dense");
    g_assert_cmpfloat(sparsity_of(dense, CHUNKS - 1), ==, 0);
    lf_tensor_file_unref(dense);
    g_remove(in);
    g_remove(out);
    g_remove(other_out);
}

/* Invalid input: each error names the tensor, and nothing is written. */
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

/* ---- decode ---------------------------------------------------------------------------------- */

static LfTensorFile *decoded(const char *decoder, const char *in, const char *out,
                             const char *chunk)
{
    g_autoptr(GError) error = NULL;
    expect(run("decode", "--decoder", decoder, "-i", in, "-o", out, "--chunk", chunk, NULL), 0, "");
    LfTensorFile *file = lf_tensor_file_open(out, &error);
    g_assert_no_error(error);
    return file;
}

/* Each colour lies in the byte that the stream made of it, but for rounding on the border of two. */
static void assert_colours(const LfFileTensor *bytes, const LfFileTensor *colours)
{
    int64_t n = bytes->shape[0], h = bytes->shape[1], w = bytes->shape[2];
    const int64_t shape[] = {n, 3, h, w};
    g_assert_cmpint(colours->n_dims, ==, 4);
    g_assert_cmpmem(colours->shape, sizeof shape, shape, sizeof shape);
    for (int64_t i = 0; i < n * h * w * 3; i++) {
        int64_t frame = i / (3 * h * w), pixel = i / 3 % (h * w), c = i % 3;
        float colour;
        memcpy(&colour, (const uint8_t *) colours->data + 4 * ((frame * 3 + c) * h * w + pixel),
               sizeof colour);
        g_assert_true(colour >= -1 && colour <= 1);
        double difference = 127.5 * ((double) colour + 1) - ((const uint8_t *) bytes->data)[i];
        g_assert_cmpfloat(difference, >=, -0.01);
        g_assert_cmpfloat(difference, <=, 1.01);
    }
}

/* The latents of a stream give its frames, whatever the chunk, by file and by folder. */
static void test_decode(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *in = scratch_file("noise.safetensors"), *latents = scratch_file("latents");
    g_autofree char *out = scratch_file("decoded.safetensors");
    g_autofree char *decoder = g_build_filename(model_dir, "decoder.safetensors", NULL);
    g_autofree float *noise = random_numbers(noise_count());
    g_autofree float *context = random_numbers(6 * LF_TINY_TEXT_DIM);
    const int64_t shape[] = {6, LF_TINY_TEXT_DIM};
    const LfFileTensor input[] = {tensor("context", LF_F32, context, 2, shape),
                                  tensor("noise", LF_F32, noise, 6, noise_shape)};
    g_assert_true(lf_safetensors_write(in, input, 2, &error));
    LfTensorFile *stream = replayed(in, latents, "--decode");
    const char *const chunks[] = {"1", "2", "3", "64"};
    for (guint i = 0; i < G_N_ELEMENTS(chunks); i++) {
        LfTensorFile *file = decoded(i % 2 ? model_dir : decoder, latents, out, chunks[i]);
        assert_colours(lf_tensor_file_find(stream, "frames"), lf_tensor_file_find(file, "frames"));
        lf_tensor_file_unref(file);
    }
    lf_tensor_file_unref(stream);
    g_remove(in);
    g_remove(latents);
    g_remove(out);
}

static void test_decode_errors(void)
{
    g_autofree char *in = scratch_file("bad.safetensors"), *out = scratch_file("never");
    g_autofree char *decoder = g_build_filename(model_dir, "decoder.safetensors", NULL);
    g_autofree char *transformer = g_build_filename(model_dir, "transformer.safetensors", NULL);
    g_autofree float *numbers = random_numbers(2 * LF_TINY_CHANNELS * 6);
    const int64_t good[] = {2, LF_TINY_CHANNELS, 2, 3}, more[] = {1, 2 * LF_TINY_CHANNELS, 2, 3};
    const int64_t flat[] = {2 * LF_TINY_CHANNELS, 2, 3};
    const struct {
        LfFileTensor tensor;
        const char *decoder, *word;
    } bad[] = {
        {tensor("noise", LF_F32, numbers, 4, good), decoder, "latents: missing"},
        {tensor("latents", LF_I32, numbers, 4, good), decoder, "latents: F32"},
        {tensor("latents", LF_F32, numbers, 3, flat), decoder, "latents: F32 [n, channels, h, w]"},
        {tensor("latents", LF_F32, numbers, 4, more), decoder, "channels expected by the decoder"},
        {tensor("latents", LF_F32, numbers, 4, good), transformer, "decoder"},
        {tensor("latents", LF_F32, numbers, 4, good), scratch_dir, "no decoder in this folder"},
        {tensor("latents", LF_F32, numbers, 4, good), "/nowhere", "/nowhere"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_true(lf_safetensors_write(in, &bad[i].tensor, 1, NULL));
        expect(run("decode", "--decoder", bad[i].decoder, "-i", in, "-o", out, NULL), 1,
               bad[i].word);
        g_assert_false(g_file_test(out, G_FILE_TEST_EXISTS));
    }
    expect(run("decode", "--decoder", decoder, "-i", in, "-o", "/nowhere/out", NULL), 1,
           "/nowhere");
    expect(run("decode", "--decoder", decoder, "-i", in, "-o", out, "--chunk", "65", NULL), 2,
           "--chunk 65");
    g_remove(in);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    model_dir = lf_tiny_model_make(NULL, NULL);
    scratch_dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_test_add_func("/cli/usage", test_usage);
    g_test_add_func("/cli/version", test_version);
    g_test_add_func("/cli/wrong-options", test_wrong_options);
    g_test_add_func("/cli/info", test_info);
    g_test_add_func("/cli/info-lines", test_info_lines);
    g_test_add_func("/cli/info-unreadable", test_info_unreadable);
    g_test_add_func("/cli/info-gguf", test_info_gguf);
    g_test_add_func("/cli/info-missing", test_info_missing);
    g_test_add_func("/cli/info-checkpoint", test_info_checkpoint);
    g_test_add_func("/cli/info-tokenizer", test_info_tokenizer);
    g_test_add_func("/cli/info-lora", test_info_lora);
    g_test_add_func("/cli/families", test_families);
    g_test_add_func("/cli/bench-json", test_bench_json);
    g_test_add_func("/cli/bench-sampling", test_bench_sampling);
    g_test_add_func("/cli/bench-sentinels", test_bench_sentinels);
    g_test_add_func("/cli/bench-options", test_bench_options);
    g_test_add_func("/cli/bench-verbose", test_bench_verbose);
    g_test_add_func("/cli/bench-errors", test_bench_errors);
    g_test_add_func("/cli/replay", test_replay);
    g_test_add_func("/cli/replay-options", test_replay_options);
    g_test_add_func("/cli/replay-errors", test_replay_errors);
    g_test_add_func("/cli/decode", test_decode);
    g_test_add_func("/cli/decode-errors", test_decode_errors);
    int status = g_test_run();
    lf_tiny_model_remove(model_dir);
    g_rmdir(scratch_dir);
    g_free(scratch_dir);
    return status;
}
