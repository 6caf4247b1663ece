/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Opening models: locations, descriptions, errors.
 */
#include "stream.h"

#include "engine/files/tensor_file.h"
#include "engine/model.h"
#include "tests/common/folder.h"

#include <glib/gstdio.h>
#include <string.h>

typedef struct {
    int calls, stop_at; /* the call that says no; 0: none */
    double done;
    GString *parts; /* as they came, each once */
} Progress;

static gboolean on_progress(const char *part, double done, gpointer data)
{
    Progress *p = data;
    g_assert_cmpfloat(done, >=, p->done);
    g_assert_cmpfloat(done, <=, 1);
    p->done = done;
    p->calls++;
    if (!g_str_has_suffix(p->parts->str, part))
        g_string_append_printf(p->parts, "; %s", part);
    return p->calls != p->stop_at;
}

/* Progress rises with every tensor; a load that is stopped at any of them leaks nothing. */
static void test_progress(void)
{
    g_autoptr(GError) error = NULL;
    Progress p = {.parts = g_string_new(NULL)};
    LfModelOptions options = {.progress = on_progress, .progress_data = &p};
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModel *model = lf_model_open(dir, &options, &error);
    g_assert_no_error(error);
    lf_model_unref(model);
    g_assert_cmpfloat(p.done, ==, 1);
    g_assert_cmpstr(p.parts->str, ==, "; text encoder; transformer; decoder");
    int calls = p.calls;
    g_assert_cmpint(calls, >, 50);
    for (int stop = 1; stop <= calls; stop += stop < calls - 3 ? 7 : 1) {
        p = (Progress){.stop_at = stop, .parts = g_string_truncate(p.parts, 0)};
        g_assert_null(lf_model_open(dir, &options, &error));
        stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
        g_assert_cmpint(p.calls, ==, stop);
    }
    g_string_free(p.parts, TRUE);
    lf_tiny_model_remove(dir);
}

static void assert_tiny(const LfModelInfo *info)
{
    g_assert_cmpint(info->width, ==, LF_TINY_WIDTH);
    g_assert_cmpint(info->height, ==, LF_TINY_WIDTH);
    g_assert_cmpint(info->fps_n, ==, 16 * info->fps_d);
    g_assert_cmpint(info->chunk, ==, LF_TINY_CHUNK);
    g_assert_cmpint(info->window, ==, LF_TINY_WINDOW);
    g_assert_cmpint(info->sink, ==, LF_TINY_SINK);
    g_assert_true(info->sparse && info->can_encode && info->can_decode);
    g_assert_cmpfloat(info->sparsity, ==, 0.5);
}

/* Every number of a model.json that differs from its default. */
static void test_info_of_json(void)
{
    static const char json[] =
        "{\"transformer\": {\"file\": \"t\"},"
        " \"video\": {\"width\": 64, \"height\": 48, \"fps\": \"30000/1001\", \"chunk\": 2},"
        " \"schedule\": {\"steps\": [900, 10], \"first_steps\": [800, 20, 5], \"shift\": 3.5,"
        " \"warp\": false}, \"cache\": {\"window\": 8, \"sink\": 2},"
        " \"sparse\": {\"target\": 0.25}}";
    g_autoptr(GError) error = NULL;
    LfModelInfo info;
    char *root = folder_new();
    folder_text(root, "t", "any");
    folder_text(root, "model.json", json);
    g_assert_true(lf_model_probe(root, NULL, &info, &error));
    g_assert_no_error(error);
    g_autofree char *steps = lf_steps_text(&info.steps);
    g_autofree char *first_steps = lf_steps_text(&info.first_steps);
    g_assert_cmpint(info.width, ==, 64);
    g_assert_cmpint(info.height, ==, 48);
    g_assert_cmpint(info.fps_n, ==, 30000);
    g_assert_cmpint(info.fps_d, ==, 1001);
    g_assert_cmpint(info.chunk, ==, 2);
    g_assert_cmpstr(steps, ==, "900,10");
    g_assert_cmpstr(first_steps, ==, "800,20,5");
    g_assert_cmpfloat(info.shift, ==, 3.5);
    g_assert_false(info.warp);
    g_assert_cmpint(info.window, ==, 8);
    g_assert_cmpint(info.sink, ==, 2);
    g_assert_true(info.sparse);
    g_assert_cmpfloat(info.sparsity, ==, 0.25);
    g_assert_false(info.can_encode || info.can_decode);
    folder_remove(root);
}

/* Each file that model.json names has to be there, and the decoder of a known type. */
static void test_probe_missing(void)
{
    static const char format[] =
        "{\"transformer\": {\"file\": \"t\", \"lora\": [{\"file\": \"k\"}, {\"file\": \"l\"}]},"
        " \"text_encoder\": {\"file\": \"e\"}, \"tokenizer\": {\"file\": \"s\"},"
        " \"decoder\": {\"file\": \"d\", \"type\": \"%s\"}}";
    static const char *const files[][2] = {{"t", "transformer"}, {"e", "text encoder"},
                                           {"s", "tokenizer"},   {"d", "decoder"},
                                           {"k", "LoRA"},        {"l", "LoRA"}};
    g_autoptr(GError) error = NULL;
    g_autofree char *tiny = g_strdup_printf(format, "tiny"), *other = g_strdup_printf(format, "x");
    LfModelInfo info;
    char *root = folder_new();
    folder_text(root, "model.json", tiny);
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
        folder_text(root, files[i][0], "any");
    g_assert_true(lf_model_probe(root, NULL, &info, &error));
    g_assert_no_error(error);
    g_assert_true(info.can_encode && info.can_decode && !info.sparse);
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(root, files[i][0], NULL);
        g_autofree char *word = g_strdup_printf(
            "%s: no such file, which model.json names as the %s", path, files[i][1]);
        g_assert_cmpint(g_remove(path), ==, 0);
        g_assert_false(lf_model_probe(root, NULL, &info, &error));
        stream_assert_error(&error, LF_ERROR_NOT_FOUND, word);
        folder_text(root, files[i][0], "any");
    }
    folder_text(root, "model.json", other);
    g_assert_false(lf_model_probe(root, NULL, &info, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "\"x\"");
    folder_remove(root);
}

/* A text encoder without its tokenizer takes no prompts, nor a tokenizer without its encoder. */
static void test_can_encode(void)
{
    static const char *const parts[] = {"text_encoder", "tokenizer", "decoder"};
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text =
            g_strdup_printf("{\"transformer\": {\"file\": \"t\"}, \"%s\": {\"file\": \"f\"%s}}",
                            parts[i], i == 2 ? ", \"type\": \"tiny\"" : "");
        LfModelInfo info;
        char *root = folder_new();
        folder_text(root, "t", "any");
        folder_text(root, "f", "any");
        folder_text(root, "model.json", text);
        g_assert_true(lf_model_probe(root, NULL, &info, &error));
        g_assert_no_error(error);
        g_assert_false(info.can_encode);
        g_assert_true(info.can_decode == (i == 2));
        folder_remove(root);
    }
}

/* Ids are checked before anything is encoded: how many, and that each is in the vocabulary. */
static void test_ids(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model(NULL);
    int32_t ids[LF_TINY_TEXT_LEN + 1] = {0};
    g_autofree float *out = g_new(float, (LF_TINY_TEXT_LEN + 1) * LF_TINY_TEXT_DIM);
    ids[3] = 433;
    g_assert_true(lf_model_encode(model, ids, LF_TINY_TEXT_LEN, out, &error));
    g_assert_no_error(error);
    g_assert_false(lf_model_encode(model, ids, LF_TINY_TEXT_LEN + 1, out, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "25 token ids: model");
    ids[3] = 434;
    g_assert_false(lf_model_encode(model, ids, 4, out, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "token id 434 at position 3 out of range 0…433");
    ids[3] = -1;
    g_assert_false(lf_model_encode(model, ids, 4, out, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "token id -1 at position 3");
    g_assert_true(lf_model_encode(model, ids, 3, out, &error));
    lf_model_unref(model);
    model = stream_model(&(LfTinyModel){.without = "text_encoder"});
    g_assert_false(lf_model_encode(model, ids, 3, out, &error));
    stream_assert_error(&error, LF_ERROR_UNSUPPORTED, "has no text encoder");
    lf_model_unref(model);
}

/* The memory of a model is that of its parts. */
static void test_memory(void)
{
    LfModel *model = stream_model_on(NULL, "cpu");
    size_t decoder = model->decoder->class->memory(model->decoder), sources = 0;
    for (guint i = 0; i < model->sources->len; i++)
        sources += lf_weight_source_memory(model->sources->pdata[i]);
    g_assert_cmpuint(decoder, >, 0);
    g_assert_cmpuint(lf_text_encoder_memory(model->text_encoder), >, 0);
    g_assert_cmpuint(lf_model_memory(model), ==,
                     lf_transformer_memory(model->transformer) +
                         lf_text_encoder_memory(model->text_encoder) + decoder + sources);
    lf_model_unref(model);
}

/* A model is called like its folder or its checkpoint, however the location is written. */
static void test_names(void)
{
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *before = g_get_current_dir(), *name = g_path_get_basename(dir);
    g_autofree char *slash = g_strconcat(dir, "/", NULL);
    g_autofree char *checkpoint = g_build_filename(dir, "transformer.safetensors", NULL);
    const char *const locations[] = {dir, slash, ".", "model.json", "./", checkpoint};
    g_assert_cmpint(g_chdir(dir), ==, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(locations); i++) {
        g_autoptr(GError) error = NULL;
        LfModel *model = lf_model_open(locations[i], &(LfModelOptions){.backend = "cpu"}, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(lf_model_name(model), ==,
                        locations[i] == checkpoint ? "transformer.safetensors" : name);
        lf_model_unref(model);
    }
    g_assert_cmpint(g_chdir(before), ==, 0);
    lf_tiny_model_remove(dir);
}

static void test_probe_and_info(void)
{
    g_autoptr(GError) error = NULL;
    LfModelInfo info;
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *json = g_build_filename(dir, "model.json", NULL);
    g_assert_true(lf_model_probe(dir, NULL, &info, &error));
    assert_tiny(&info);
    LfModel *model = lf_model_open(json, NULL, &error);
    g_assert_no_error(error);
    assert_tiny(lf_model_info(model));
    g_autofree char *name = g_path_get_basename(dir);
    g_assert_cmpstr(lf_model_name(model), ==, name);
    g_assert_nonnull(strstr(lf_model_description(model), "2 layers of 48"));
    g_assert_nonnull(strstr(lf_model_device(model), "thread"));
    g_assert_cmpint(lf_model_text_dim(model), ==, LF_TINY_TEXT_DIM);
    g_assert_cmpint(lf_model_text_len(model), ==, LF_TINY_TEXT_LEN);
    g_assert_true(lf_model_ref(model) == model);
    lf_model_unref(model);
    lf_model_unref(model);
    lf_model_unref(NULL);

    g_autofree char *transformer = g_build_filename(dir, "transformer.safetensors", NULL);
    g_assert_cmpint(g_remove(transformer), ==, 0);
    g_assert_false(lf_model_probe(dir, NULL, &info, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "transformer.safetensors");
    g_assert_null(lf_model_open(dir, NULL, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "transformer.safetensors");
    lf_tiny_model_remove(dir);
}

/* Only "auto" has a reason why the CPU was opened. */
static void test_fallback(void)
{
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModel *model = lf_model_open(dir, &(LfModelOptions){.precision = LF_PRECISION_FP32}, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(lf_model_fallback(model), "fp32"));
    lf_model_unref(model);
    model = lf_model_open(dir, &(LfModelOptions){.backend = "cpu"}, &error);
    g_assert_no_error(error);
    g_assert_null(lf_model_fallback(model));
    lf_model_unref(model);
    model = lf_model_open(dir, &(LfModelOptions){.backend = "auto"}, &error);
    g_assert_no_error(error);
    g_assert_true(!lf_model_fallback(model) == !strstr(lf_model_device(model), "thread"));
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

static void test_errors(void)
{
    g_autoptr(GError) error = NULL;
    LfModelInfo info;
    g_assert_false(lf_model_probe("/nowhere/at/all", NULL, &info, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "/nowhere/at/all");
    g_assert_null(lf_model_open("/nowhere/at/all", NULL, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "/nowhere/at/all");
    g_assert_null(lf_model_new_random("wan-99b", 1, NULL, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "wan-99b");
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_assert_null(lf_model_open(dir, &(LfModelOptions){.backend = "abacus"}, &error));
    stream_assert_error(&error, LF_ERROR_UNSUPPORTED, "abacus");
    lf_tiny_model_remove(dir);
    dir = lf_tiny_model_make(NULL, &(LfTinyModel){.without = "transformer"});
    g_assert_null(lf_model_open(dir, NULL, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "transformer");
    lf_tiny_model_remove(dir);
}

static void on_log(LfLogLevel level, const char *message, gpointer data)
{
    g_assert_cmpint(level, >, LF_LOG_NONE);
    g_assert_null(strchr(message, '\n'));
    g_string_append_printf(data, "%d %s\n", level, message);
}

/* The log has what a bug report needs: location, device, and the kind of each file. */
static void test_log(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) lines = g_string_new(NULL);
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModelOptions options = {.backend = "cpu", .log = {on_log, lines, LF_LOG_DEBUG}};
    LfModel *model = lf_model_open(dir, &options, &error);
    g_assert_no_error(error);
    const char *const expected[] = {dir,
                                    "backend \"cpu\" is",
                                    "precision fp32",
                                    "transformer.safetensors: safetensors, layout Wan, ",
                                    "(BF16)",
                                    "decoder: loaded in",
                                    lf_model_description(model),
                                    "MB of weights on cpu"};
    for (gsize i = 0; i < G_N_ELEMENTS(expected); i++)
        if (!strstr(lines->str, expected[i]))
            g_error("no \"%s\" in:\n%s", expected[i], lines->str);
    g_assert_null(strstr(lines->str, "not used"));
    lf_model_unref(model);

    g_string_truncate(lines, 0);
    options.log.level = LF_LOG_INFO;
    model = lf_model_open(dir, &options, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(lines->str, dir));
    g_assert_null(strstr(lines->str, "layout"));
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

/* The model.json of `dir` names `part`'s file by another name, one that no search would find. */
static void hide_file(const char *dir, const char *part, const char *name)
{
    g_autofree char *json = g_build_filename(dir, "model.json", NULL), *text = NULL;
    g_autofree char *usual = g_strconcat(part, ".safetensors", NULL);
    g_autofree char *from = g_build_filename(dir, usual, NULL);
    g_autofree char *to = g_build_filename(dir, name, NULL);
    g_assert_true(g_file_get_contents(json, &text, NULL, NULL));
    g_autoptr(GString) edited = g_string_new(text);
    g_assert_cmpuint(g_string_replace(edited, usual, name, 0), ==, 1);
    g_assert_true(g_file_set_contents(json, edited->str, -1, NULL));
    g_assert_cmpint(g_rename(from, to), ==, 0);
}

/* Parts of another model, as a directory or a file; they have to fit. What the other model's
 * model.json says of them holds. */
static void test_other_parts(void)
{
    g_autoptr(GError) error = NULL;
    char *own = lf_tiny_model_make(NULL, NULL);
    char *other = lf_tiny_model_make(NULL, &(LfTinyModel){.seed = 5});
    g_autofree char *decoder = g_build_filename(other, "decoder.safetensors", NULL);
    g_autofree char *demo = lf_model_default_location();
    const LfModelOptions options[] = {
        {0},
        {.text_encoder_location = other},
        {.decoder_location = other},
        {.decoder_location = decoder},
    };
    GByteArray *pictures[G_N_ELEMENTS(options)];
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        LfModel *model = lf_model_open(own, &options[i], &error);
        g_assert_no_error(error);
        LfSession *s = stream_session(model, NULL, "a red star");
        pictures[i] = stream_run(s, 1);
        lf_session_free(s);
        lf_model_unref(model);
    }
    g_assert_false(stream_same(pictures[0], pictures[1]));
    g_assert_false(stream_same(pictures[0], pictures[2]));
    stream_assert_same(pictures[2], pictures[3]);
    hide_file(other, "text_encoder", "an-encoder");
    hide_file(other, "decoder", "a-decoder");
    for (guint i = 1; i <= 2; i++) {
        LfModel *model = lf_model_open(own, &options[i], &error);
        g_assert_no_error(error);
        LfSession *s = stream_session(model, NULL, "a red star");
        g_autoptr(GByteArray) hidden = stream_run(s, 1);
        stream_assert_same(pictures[i], hidden);
        lf_session_free(s);
        lf_model_unref(model);
    }
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        g_byte_array_unref(pictures[i]);

    g_assert_null(lf_model_open(own, &(LfModelOptions){.text_encoder_location = demo}, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "text_dim");
    g_assert_null(lf_model_open(own, &(LfModelOptions){.decoder_location = demo}, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "channels");
    g_assert_null(lf_model_open(own, &(LfModelOptions){.decoder_location = "/no/file"}, &error));
    stream_assert_error(&error, LF_ERROR_NOT_FOUND, "/no/file");
    lf_tiny_model_remove(other);
    other = lf_tiny_model_make(NULL, &(LfTinyModel){.without = "decoder"});
    g_assert_null(lf_model_open(own, &(LfModelOptions){.decoder_location = other}, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "has no decoder");
    lf_tiny_model_remove(own);
    lf_tiny_model_remove(other);
}

static void keep_finding(const LfFinding *f, gpointer text)
{
    g_string_append_printf(text, "%s: %s%s%s\n", f->subject, f->description ? f->description : "",
                           f->problem ? " | " : "", f->problem ? f->problem : "");
}

static void assert_findings(const char *dir, const char *json, const char *wanted)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new(NULL), named = g_string_new(wanted);
    folder_text(dir, "model.json", json);
    g_assert_true(lf_inspect_model(dir, keep_finding, text, &error));
    g_assert_no_error(error);
    g_string_replace(named, "DIR", dir, 0);
    g_assert_cmpstr(text->str, ==, named->str);
}

/* Every part and every number that an inspection tells, each number different. */
static void test_inspect(void)
{
    static const float zeros[3 * LF_TINY_DIM];
    static const LfFileTensor lora[] = {{"blocks.1.self_attn.k.lora_A.weight",
                                         LF_F32,
                                         2,
                                         {3, LF_TINY_DIM},
                                         zeros,
                                         sizeof zeros,
                                         NULL},
                                        {"blocks.1.self_attn.k.lora_B.weight",
                                         LF_F32,
                                         2,
                                         {LF_TINY_DIM, 3},
                                         zeros,
                                         sizeof zeros,
                                         NULL}};
    static const char parts[] = "\"text_encoder\": {\"file\": \"text_encoder.safetensors\"},"
                                "\"tokenizer\": {\"file\": \"spiece.model\"},"
                                "\"decoder\": {\"file\": \"decoder.safetensors\"}";
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "l.safetensors", NULL);
    g_autofree char *tokenizer = g_build_filename(dir, "spiece.model", NULL);
    g_autofree char *full = g_strdup_printf(
        "{\"transformer\": {\"file\": \"transformer.safetensors\", \"heads\": 2, \"text_len\": 21,"
        "  \"lora\": [{\"file\": \"l.safetensors\", \"strength\": -0.5}, {\"file\": \"none\"}]}, "
        "%s,"
        " \"video\": {\"width\": 64, \"height\": 48, \"fps\": \"30000/1001\", \"chunk\": 2},"
        " \"schedule\": {\"steps\": [900, 10], \"first_steps\": [800, 20, 5], \"shift\": 3.5},"
        " \"cache\": {\"window\": 8, \"sink\": 4, \"positions\": \"relative\"},"
        " \"sparse\": {\"target\": 0.25, \"base\": 0.5, \"query_block\": 6, \"key_block\": 7,"
        "  \"keep_frames\": 9, \"keep_sink\": 1, \"keep_near\": 5, \"horizon\": 33,"
        "  \"token_order\": \"3x4\"}}",
        parts);
    g_autofree char *plain =
        g_strdup_printf("{\"transformer\": {\"file\": \"transformer.safetensors\"},"
                        " \"schedule\": {\"warp\": false}, \"cache\": {\"window\": 0}, %s}",
                        parts);
    g_assert_true(lf_safetensors_write(path, lora, 2, NULL));
    g_assert_true(g_file_test(tokenizer, G_FILE_TEST_EXISTS));
    assert_findings(dir, full,
                    "model: DIR\n"
                    "family: none that the path tells: the defaults are Self-Forcing's\n"
                    "transformer: causal Wan, 2 layers of 48, 2 heads of 24, ffn 96, text of 21 × "
                    "32, latents of 4 "
                    "channels, layout Wan\n"
                    "LoRA: added to the transformer with strength -0.5\n"
                    "LoRA:  | DIR/none: No such file or directory\n"
                    "text encoder: umT5, 1 layers of 32, 2 heads, ffn 48, vocabulary of 434\n"
                    "tokenizer: spiece.model: SentencePiece, 257 pieces\n"
                    "decoder: tiny decoder (TAEHV), 16/12/8/8 channels, latents of 4 channels\n"
                    "video: 64×48, 30000/1001 frames a second, chunks of 2 latent frames\n"
                    "schedule: steps 900,10; first chunk 800,20,5, shift 3.5\n"
                    "cache: window 8, sink 4, positions relative\n"
                    "tokens: in tiles of 3x4\n"
                    "sparse: target 0.25, base 0.5, blocks of 6 queries and 7 keys, 9 frames kept "
                    "(first 1, last 5), "
                    "horizon 33\n");
    assert_findings(
        dir, plain,
        "model: DIR\n"
        "family: none that the path tells: the defaults are Self-Forcing's\n"
        "transformer:  | transformer.heads: missing in model.json; no tensor's shape has "
        "it, and dim 48 is no multiple of 128\n"
        "text encoder: umT5, 1 layers of 32, 2 heads, ffn 48, vocabulary of 434\n"
        "tokenizer: spiece.model: SentencePiece, 257 pieces\n"
        "decoder: tiny decoder (TAEHV), 16/12/8/8 channels, latents of 4 channels\n"
        "video: 832×480, 16/1 frames a second, chunks of 3 latent frames\n"
        "schedule: steps 1000,750,500,250, as they are (no warp)\n"
        "cache: window 0 (unlimited), sink 0, positions absolute\n"
        "sparse: none: attention is dense unless asked for\n");
    lf_tiny_model_remove(dir);
}

static void test_default_location(void)
{
    g_autofree char *before = g_strdup(g_getenv("LIGHTFORCING_MODEL"));
    g_setenv("LIGHTFORCING_MODEL", "/some/where", TRUE);
    g_autofree char *named = lf_model_default_location();
    g_assert_cmpstr(named, ==, "/some/where");
    g_setenv("LIGHTFORCING_MODEL", "", TRUE); /* as if it were not set */
    g_autofree char *last = g_build_filename(*g_get_system_data_dirs(), "last", NULL);
    g_autofree char *shared = g_build_filename(last, "lightforcing", "models", "demo", NULL);
    g_assert_cmpint(g_mkdir_with_parents(shared, 0700), ==, 0);
    g_autofree char *of_system = lf_model_default_location();
    g_assert_cmpstr(of_system, ==, shared);
    g_autofree char *below =
        g_build_filename(g_get_user_data_dir(), "lightforcing", "models", "demo", NULL);
    g_assert_cmpint(g_mkdir_with_parents(below, 0700), ==, 0);
    g_autofree char *found = lf_model_default_location();
    g_assert_cmpstr(found, ==, below);
    g_unsetenv("LIGHTFORCING_MODEL");
    g_autofree char *again = lf_model_default_location();
    g_assert_cmpstr(again, ==, below);
    folder_remove(g_steal_pointer(&last));
    if (before)
        g_setenv("LIGHTFORCING_MODEL", before, TRUE);
}

/* A whole stream without any file. */
static void test_random(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = lf_model_new_random("demo", 3, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lf_model_name(model), ==, "demo");
    g_assert_false(lf_model_info(model)->can_encode);
    g_assert_true(lf_model_info(model)->can_decode);
    g_assert_cmpint(lf_model_tokenize(model, "a star", NULL, 0, &error), ==, -1);
    stream_assert_error(&error, LF_ERROR_UNSUPPORTED, "demo");
    LfSessionOptions options = {.width = 64, .height = 48, .no_text = TRUE};
    LfSession *s = stream_session(model, &options, "");
    lf_session_set_context(s, NULL, 0, lf_model_text_dim(model), &error);
    g_assert_no_error(error);
    g_autoptr(GByteArray) pictures = stream_run(s, 2);
    g_assert_cmpuint(pictures->len, ==, 21 * 3 * 64 * 48);
    lf_session_free(s);
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    /* Before GLib reads it: the user's data directory is this test's own. */
    g_autofree char *home = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *system = g_strdup_printf("%s/system:%s/system/last", home, home);
    g_setenv("XDG_DATA_HOME", home, TRUE);
    g_setenv("XDG_DATA_DIRS", system, TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/progress", test_progress);
    g_test_add_func("/model/probe-and-info", test_probe_and_info);
    g_test_add_func("/model/probe-missing", test_probe_missing);
    g_test_add_func("/model/can-encode", test_can_encode);
    g_test_add_func("/model/ids", test_ids);
    g_test_add_func("/model/memory", test_memory);
    g_test_add_func("/model/names", test_names);
    g_test_add_func("/model/info-of-json", test_info_of_json);
    g_test_add_func("/model/fallback", test_fallback);
    g_test_add_func("/model/errors", test_errors);
    g_test_add_func("/model/log", test_log);
    g_test_add_func("/model/other-parts", test_other_parts);
    g_test_add_func("/model/inspect", test_inspect);
    g_test_add_func("/model/default-location", test_default_location);
    g_test_add_func("/model/random", test_random);
    int status = g_test_run();
    const char *const made[] = {"lightforcing/models/demo", "lightforcing/models", "lightforcing",
                                "system", ""};
    for (guint i = 0; i < G_N_ELEMENTS(made); i++) {
        g_autofree char *dir = g_build_filename(home, made[i], NULL);
        g_rmdir(dir);
    }
    return status;
}
