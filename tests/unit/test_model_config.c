/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/files/model_config.h"
#include "engine/models/decoder.h"
#include "tests/common/tiny_model.h"

#include <stddef.h>
#include <string.h>

/* Reads `text` as the model.json of a fresh directory. */
static LfModelConfig *read_text(const char *text, gssize size, GError **error)
{
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "model.json", NULL);
    g_assert_true(g_file_set_contents(path, text, size, NULL));
    LfModelConfig *config = lf_model_config_read(dir, error);
    lf_tiny_model_remove(dir);
    return config;
}

static void test_defaults(void)
{
    GError *error = NULL;
    LfModelConfig *c = read_text("{}", -1, &error);
    g_assert_no_error(error);
    g_assert_null(c->files.transformer);
    g_assert_cmpint(c->transformer.dim, ==, 0);
    g_assert_cmpint(c->transformer.text_len, ==, 512);
    g_assert_cmpint(c->video.width, ==, 832);
    g_assert_cmpint(c->video.height, ==, 480);
    g_assert_cmpint(c->video.fps_n, ==, 16);
    g_assert_cmpint(c->video.fps_d, ==, 1);
    g_assert_cmpint(c->video.chunk, ==, 3);
    g_assert_cmpint(c->schedule.steps.n, ==, 4);
    g_assert_cmpfloat(c->schedule.steps.at[3], ==, 250);
    g_assert_cmpint(c->schedule.first_steps.n, ==, 0);
    g_assert_cmpfloat(c->schedule.shift, ==, 5.0);
    g_assert_true(c->schedule.warp);
    g_assert_cmpint(c->cache.window, ==, 21);
    g_assert_false(c->cache.relative);
    g_assert_cmpint(c->cache.sink, ==, 0);
    g_assert_cmpint(c->text_encoder.buckets, ==, 0);
    g_assert_cmpint(c->text_encoder.max_distance, ==, 128);
    g_assert_false(c->sparse.given);
    g_assert_cmpfloat(c->sparse.target, ==, 0.88);
    g_assert_cmpfloat(c->sparse.base, ==, 0.98);
    g_assert_cmpint(c->sparse.query_block, ==, 64);
    g_assert_cmpint(c->sparse.key_block, ==, 64);
    g_assert_cmpint(c->sparse.keep_frames, ==, 6);
    g_assert_cmpint(c->sparse.keep_sink, ==, 1);
    g_assert_cmpint(c->sparse.keep_near, ==, 2);
    g_assert_cmpint(c->sparse.horizon, ==, 63);
    g_assert_cmpint(c->sparse.tile_rows, ==, 0);
    lf_model_config_free(c);
}

static void test_values(void)
{
    GError *error = NULL;
    LfModelConfig *c =
        read_text("{\"transformer\": {\"file\": \"a.pt\", \"dim\": 48, \"heads\": 2, \"copy\": "
                  "\"generator\"},"
                  " \"decoder\": {\"file\": \"/b.pth\", \"type\": \"tiny\"},"
                  " \"video\": {\"fps\": \"24000/1001\", \"chunk\": 2},"
                  " \"schedule\": {\"steps\": [1000, 1], \"shift\": 3, \"warp\": false,"
                  " \"first_steps\": [999.37539038101187, 937.5, 0.25]},"
                  " \"cache\": {\"window\": 0, \"sink\": 3, "
                  "\"positions\": \"relative\"},"
                  " \"sparse\": {\"token_order\": \"2x13\"}}",
                  -1, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(c->copy, ==, "generator");
    g_assert_cmpint(c->video.fps_n, ==, 24000);
    g_assert_cmpint(c->video.fps_d, ==, 1001);
    g_assert_cmpint(c->schedule.steps.n, ==, 2);
    g_assert_cmpfloat(c->schedule.shift, ==, 3.0);
    g_assert_false(c->schedule.warp);
    g_assert_cmpint(c->schedule.first_steps.n, ==, 3);
    g_assert_cmpfloat(c->schedule.first_steps.at[0], ==, 999.37539038101187);
    g_assert_cmpfloat(c->schedule.first_steps.at[2], ==, 0.25);
    g_assert_true(c->cache.relative);
    g_assert_true(c->sparse.given);
    g_assert_cmpint(c->sparse.tile_rows, ==, 2);
    g_assert_cmpint(c->sparse.tile_cols, ==, 13);
    g_autofree char *inside = lf_model_config_path(c, c->files.transformer);
    g_autofree char *outside = lf_model_config_path(c, c->files.decoder);
    g_assert_true(g_str_has_prefix(inside, c->directory));
    g_assert_cmpstr(outside, ==, "/b.pth");
    lf_model_config_free(c);
    c = read_text("{\"video\": {\"fps\": 23.976}}", -1, &error);
    g_assert_no_error(error);
    g_assert_cmpint(c->video.fps_n, ==, 23976);
    g_assert_cmpint(c->video.fps_d, ==, 1000);
    lf_model_config_free(c);
}

/* Texts that are refused, each with a word of its message. */
static const struct {
    const char *text, *named;
} refused[] = {
    {"{\"transfromer\": {}}", "transfromer"},
    {"{\"video\": {\"widht\": 64}}", "widht"},
    {"{\"video\": 5}", "video"},
    {"{\"video\": {\"width\": \"64\"}}", "video.width"},
    {"{\"video\": {\"width\": 64.5}}", "video.width"},
    {"{\"video\": {\"width\": null}}", "video.width"},
    {"{\"video\": {\"width\": 100}}", "100"},
    {"{\"video\": {\"width\": -64}}", "-64"},
    {"{\"video\": {\"width\": 99999999999999999999999}}", "video.width"},
    {"{\"video\": {\"fps\": 0}}", "video.fps"},
    {"{\"video\": {\"fps\": \"16\"}}", "video.fps"},
    {"{\"video\": {\"fps\": \"16/0\"}}", "video.fps"},
    {"{\"video\": {\"fps\": \"16/1x\"}}", "video.fps"},
    {"{\"video\": {\"fps\": 1e300}}", "video.fps"},
    {"{\"video\": {\"chunk\": 0}}", "video.chunk"},
    {"{\"schedule\": {\"steps\": []}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": [500, 500]}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": [1001]}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": [1000, 0]}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": [17,16,15,14,13,12,11,10,9,8,7,6,5,4,3,2,1]}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": 1000}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": [1000, \"500\"]}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": [1000.5]}}", "schedule.steps"},
    {"{\"schedule\": {\"steps\": [1e999]}}", "schedule.steps"},
    {"{\"schedule\": {\"first_steps\": []}}", "schedule.first_steps"},
    {"{\"schedule\": {\"first_steps\": [250, 500]}}", "schedule.first_steps"},
    {"{\"schedule\": {\"warp\": 1}}", "schedule.warp"},
    {"{\"schedule\": {\"warp\": \"true\"}}", "schedule.warp"},
    {"{\"schedule\": {\"shift\": 0}}", "schedule.shift"},
    {"{\"video\": {\"chunk\": 65}}", "video.chunk"},
    {"{\"cache\": {\"window\": 3, \"sink\": 1}}", "cache.window"},
    {"{\"cache\": {\"positions\": \"both\"}}", "cache.positions"},
    {"{\"sparse\": {\"target\": 1}}", "sparse.target"},
    {"{\"sparse\": {\"keep_frames\": 2, \"keep_sink\": 1, \"keep_near\": 2}}", "keep_frames 2"},
    {"{\"sparse\": {\"token_order\": 5}}", "sparse.token_order"},
    {"{\"sparse\": {\"token_order\": \"\"}}", "sparse.token_order"},
    {"{\"sparse\": {\"token_order\": \"columns\"}}", "sparse.token_order"},
    {"{\"sparse\": {\"token_order\": \"8\"}}", "sparse.token_order"},
    {"{\"sparse\": {\"token_order\": \"0x4\"}}", "sparse.token_order"},
    {"{\"sparse\": {\"token_order\": \"2x-4\"}}", "sparse.token_order"},
    {"{\"sparse\": {\"token_order\": \"2x4x\"}}", "sparse.token_order"},
    {"{\"sparse\": {\"token_order\": \"4294967298x2\"}}", "sparse.token_order: expected"},
    {"{\"sparse\": {\"token_order\": \"2x4294967298\"}}", "sparse.token_order: expected"},
    {"{\"video\": {\"height\": 100}}", "832×100 is no multiple of 16"},
    {"{\"video\": {\"fps\": 1000.5}}", "video.fps"},
    {"{\"video\": {\"fps\": -1}}", "video.fps"},
    {"{\"video\": {\"fps\": \"1001/1\"}}", "video.fps"},
    {"{\"video\": {\"fps\": \"1000001/1001\"}}", "video.fps"},
    {"{\"video\": {\"fps\": \"1/1000001\"}}", "video.fps"},
    {"{\"video\": {\"fps\": \"-16/-1\"}}", "video.fps"},
    {"{\"decoder\": {\"file\": \"a\", \"type\": \"abcdefghijklmnop\"}}", "at most 15 bytes"},
    {"{\"decoder\": {\"file\": \"a\", \"type\": \"\"}}", "decoder.type"},
    {"{\"decoder\": {\"type\": \"tiny\"}}", "decoder.file: missing"},
    {"{\"text_encoder\": {\"dim\": 4}}", "text_encoder.file: missing"},
    {"{\"transformer\": {\"file\": \"a\", \"family\": 5}}", "(no text)"},
    {"{\"transformer\": {\"file\": \"a\", \"family\": \"none-such\"}}", "none-such"},
    {"{\"transformer\": {\"file\": \"a\", \"lora\": [{\"file\": \"\"}]}}", "transformer.lora.file"},
    {"{\"sparse\": {\"token_order\": \"8x8\"}}", "tiles of 8x8 tokens do not divide"},
    {"{\"transformer\": {\"dim\": 256}}", "transformer.file"},
    {"{\"transformer\": {\"file\": \"\"}}", "transformer.file"},
    {"{\"transformer\": {\"file\": \"a\", \"dim\": 256, \"heads\": 3}}", "3 heads"},
    {"{\"transformer\": {\"file\": \"a\", \"dim\": 30, \"heads\": 2}}", "head size of 15"},
    {"{\"transformer\": {\"file\": \"a\", \"dim\": 8, \"heads\": 2}}", "head size of 4"},
    {"{\"transformer\": {\"file\": \"a\", \"freq_dim\": 33}}", "freq_dim"},
    {"{\"text_encoder\": {\"file\": \"a\", \"attention_dim\": 64, \"heads\": 3}}", "3 heads"},
    {"{\"text_encoder\": {\"file\": \"a\", \"buckets\": 30}}", "buckets"},
    {"{\"text_encoder\": {\"file\": \"a\", \"buckets\": 32, \"max_distance\": 8}}", "max_distance"},
    {"{\"transformer\": {\"file\": \"a\", \"text_dim\": 64},"
     " \"text_encoder\": {\"file\": \"b\", \"dim\": 32}}",
     "text_dim 64"},
    {"{\"decoder\": {\"type\": 1, \"file\": \"a\"}}", "decoder.type"},
    {"{\"tokenizer\": {}}", "tokenizer.file"},
    {"{\"transformer\": {\"file\": \"a\", \"lora\": \"b\"}}", "transformer.lora"},
    {"{\"transformer\": {\"file\": \"a\", \"lora\": [\"b\"]}}", "transformer.lora"},
    {"{\"transformer\": {\"file\": \"a\", \"lora\": [{\"strength\": 1}]}}", "\"file\" is missing"},
    {"{\"transformer\": {\"file\": \"a\", \"lora\": [{\"file\": \"b\", \"scale\": 1}]}}",
     "\"scale\""},
    {"{\"transformer\": {\"file\": \"a\", \"lora\": [{\"file\": \"b\", \"strength\": 101}]}}",
     "transformer.lora.strength"},
};

static void test_refused(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(read_text(refused[i].text, -1, &error));
        g_test_message("%s → %s", refused[i].text, error->message);
        g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
        g_assert_nonnull(strstr(error->message, refused[i].named));
    }
}

/* Every number of model.json: its section and key, its range, where it arrives, and what else has to
 * be said, in the section and outside, so that the ends of the range contradict nothing. */
#define FIELD(member) offsetof(LfModelConfig, member)
static const struct {
    const char *section, *key;
    bool real;
    double least, most;
    gsize at;
    const char *also, *outside;
} ranges[] = {
    {"transformer", "dim", false, 1, 65536, FIELD(transformer.dim), "", ""},
    {"transformer", "heads", false, 1, 1024, FIELD(transformer.heads), "", ""},
    {"transformer", "ffn", false, 1, 1048576, FIELD(transformer.ffn), "", ""},
    {"transformer", "layers", false, 1, 1024, FIELD(transformer.layers), "", ""},
    {"transformer", "freq_dim", false, 2, 65536, FIELD(transformer.freq_dim), "", ""},
    {"transformer", "text_dim", false, 1, 65536, FIELD(transformer.text_dim), "", ""},
    {"transformer", "text_len", false, 1, 65536, FIELD(transformer.text_len), "", ""},
    {"transformer", "channels", false, 1, 1024, FIELD(transformer.channels), "", ""},
    {"text_encoder", "vocab", false, 4, 16777216, FIELD(text_encoder.vocab), "", ""},
    {"text_encoder", "dim", false, 1, 65536, FIELD(text_encoder.dim), "", ""},
    {"text_encoder", "attention_dim", false, 1, 65536, FIELD(text_encoder.attention_dim), "", ""},
    {"text_encoder", "heads", false, 1, 1024, FIELD(text_encoder.heads), "", ""},
    {"text_encoder", "ffn", false, 1, 1048576, FIELD(text_encoder.ffn), "", ""},
    {"text_encoder", "layers", false, 1, 1024, FIELD(text_encoder.layers), "", ""},
    {"text_encoder", "buckets", false, 4, 65536, FIELD(text_encoder.buckets),
     ", \"max_distance\": 16385", ""},
    {"text_encoder", "max_distance", false, 2, 1048576, FIELD(text_encoder.max_distance), "", ""},
    {"video", "width", false, 16, 8192, FIELD(video.width), "", ""},
    {"video", "height", false, 16, 8192, FIELD(video.height), "", ""},
    {"video", "chunk", false, 1, 64, FIELD(video.chunk), "", ", \"cache\": {\"window\": 0}"},
    {"schedule", "shift", true, 0.01, 100, FIELD(schedule.shift), "", ""},
    {"cache", "window", false, 0, 1048576, FIELD(cache.window), "", ""},
    {"cache", "sink", false, 0, 1048576, FIELD(cache.sink), ", \"window\": 0", ""},
    {"sparse", "target", true, 0, 0.999, FIELD(sparse.target), "", ""},
    {"sparse", "base", true, 0, 0.999, FIELD(sparse.base), "", ""},
    {"sparse", "query_block", false, 1, 4096, FIELD(sparse.query_block), "", ""},
    {"sparse", "key_block", false, 1, 4096, FIELD(sparse.key_block), "", ""},
    {"sparse", "keep_frames", false, 1, 1048576, FIELD(sparse.keep_frames),
     ", \"keep_sink\": 0, \"keep_near\": 1", ""},
    {"sparse", "keep_sink", false, 0, 1048576, FIELD(sparse.keep_sink),
     ", \"keep_frames\": 1048576, \"keep_near\": 0", ""},
    {"sparse", "keep_near", false, 0, 1048576, FIELD(sparse.keep_near),
     ", \"keep_frames\": 1048576, \"keep_sink\": 0", ""},
    {"sparse", "horizon", false, 1, 1048576, FIELD(sparse.horizon), "", ""},
};

static LfModelConfig *read_range(gsize i, double value, GError **error)
{
    static const char *const with_files[] = {"transformer", "text_encoder", NULL};
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    const char *file = g_strv_contains(with_files, ranges[i].section) ? "\"file\": \"a\", " : "";
    g_ascii_dtostr(number, sizeof number, value);
    g_autofree char *text =
        g_strdup_printf("{\"%s\": {%s\"%s\": %s%s}%s}", ranges[i].section, file, ranges[i].key,
                        number, ranges[i].also, ranges[i].outside);
    return read_text(text, -1, error);
}

/* The ends of each range are taken, and each number is its own field's; a little outside is refused. */
static void test_ranges(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(ranges); i++) {
        double least = ranges[i].least, most = ranges[i].most, step = ranges[i].real ? 1e-4 : 1;
        const double inside[] = {least, most}, outside[] = {least - step, most + step};
        g_autofree char *name = g_strdup_printf("%s.%s: ", ranges[i].section, ranges[i].key);
        for (int end = 0; end < 2; end++) {
            g_autoptr(GError) error = NULL;
            LfModelConfig *c = read_range(i, inside[end], &error);
            g_assert_no_error(error);
            const char *at = (const char *) c + ranges[i].at;
            double got = ranges[i].real ? *(const double *) (gconstpointer) at
                                        : *(const int *) (gconstpointer) at;
            g_assert_cmpfloat(got, ==, inside[end]);
            lf_model_config_free(c);
            g_assert_null(read_range(i, outside[end], &error));
            g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
            g_assert_nonnull(strstr(error->message, name));
            g_assert_nonnull(strstr(error->message, "is not in"));
        }
    }
}

/* Texts that are at the border of a contradiction or a list, and taken. */
static void test_taken(void)
{
    static const char *const taken[] = {
        "{\"transformer\": {\"file\": \"a\", \"dim\": 12, \"heads\": 2}}",
        "{\"transformer\": {\"file\": \"a\", \"text_dim\": 32},"
        " \"text_encoder\": {\"file\": \"b\", \"dim\": 32}}",
        "{\"text_encoder\": {\"file\": \"a\", \"buckets\": 32, \"max_distance\": 9}}",
        "{\"text_encoder\": {\"file\": \"a\", \"attention_dim\": 64, \"heads\": 4}}",
        "{\"cache\": {\"window\": 4, \"sink\": 1}}",
        "{\"cache\": {\"positions\": \"absolute\"}}",
        "{\"sparse\": {\"keep_frames\": 3, \"keep_sink\": 1, \"keep_near\": 2}}",
        "{\"sparse\": {\"token_order\": \"raster\"}}",
        "{\"sparse\": {\"token_order\": \"30x52\"}}",
        "{\"schedule\": {\"steps\": [1000, 16,15,14,13,12,11,10,9,8,7,6,5,4,3,2]}}",
        "{\"video\": {\"fps\": 1000}}",
        "{\"video\": {\"fps\": \"1000000/1000000\"}}",
        "{\"video\": {\"fps\": \"1/1000000\"}}",
        "{\"video\": {\"fps\": 0.001}}",
        "{\"decoder\": {\"file\": \"a\", \"type\": \"abcdefghijklmno\"}}",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(taken); i++) {
        g_autoptr(GError) error = NULL;
        LfModelConfig *c = read_text(taken[i], -1, &error);
        g_assert_no_error(error);
        lf_model_config_free(c);
    }
}

/* A list of LoRAs of the longest length; a strength that is not given is 1. */
static void test_loras(void)
{
    for (int n = 63; n <= 65; n++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) text = g_string_new("{\"transformer\": {\"file\": \"a\", \"lora\": [");
        for (int i = 0; i < n; i++)
            g_string_append_printf(text, "%s{\"file\": \"l%d\"%s}", i ? ", " : "", i,
                                   i == 1 ? ", \"strength\": -0.5" : "");
        g_string_append(text, "]}}");
        LfModelConfig *c = read_text(text->str, -1, &error);
        g_assert_true((c != NULL) == (n <= 64));
        if (!c) {
            g_assert_nonnull(
                strstr(error->message, "transformer.lora: expected a list of at most 64"));
            continue;
        }
        g_assert_cmpint(c->n_loras, ==, n);
        for (int i = 0; i < n; i++) {
            g_autofree char *file = g_strdup_printf("l%d", i);
            g_assert_cmpstr(c->loras[i].file, ==, file);
            g_assert_cmpfloat(c->loras[i].strength, ==, i == 1 ? -0.5 : 1);
        }
        lf_model_config_free(c);
    }
}

/* What the files tell is checked against each other, too. */
static void test_contradictions(void)
{
    g_autoptr(GError) error = NULL;
    LfModelConfig *c = lf_model_config_new();
    c->transformer.channels = c->decoder.channels = 5;
    c->transformer.text_dim = c->text_encoder.dim = 7;
    g_assert_true(lf_model_config_check(c, &error));
    c->decoder.channels = 4;
    g_assert_false(lf_model_config_check(c, &error));
    g_assert_nonnull(strstr(error->message, "latents of 5 channels, the decoder takes 4"));
    g_clear_error(&error);
    c->decoder.channels = 0;
    c->text_encoder.dim = 6;
    g_assert_false(lf_model_config_check(c, &error));
    g_assert_nonnull(strstr(error->message, "transformer.text_dim 7, but text_encoder.dim 6"));
    c->text_encoder.dim = 0;
    g_clear_error(&error);
    g_assert_true(lf_model_config_check(c, &error));
    g_assert_no_error(error);
    lf_model_config_free(c);
}

static void assert_no_json(const char *text, gssize size)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(read_text(text, size, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
}

static void test_no_json(void)
{
    assert_no_json("", 0);
    assert_no_json("[]", -1);
    assert_no_json("{", -1);
    assert_no_json("}", -1);
    assert_no_json("{\"video\": {\"width\": 64}", -1);
    assert_no_json("{\"video\xff\": {}}", -1);
    assert_no_json("{}\0{}", 5);
    assert_no_json("{\"unterminated", -1);
    /* A comment may hide a quotation mark, and behind that any number of brackets. */
    assert_no_json("{/* \" */ \"video\": {}}", -1);
    assert_no_json("{'video': {}}", -1);
}

/* json-glib alone would use up the stack on each of these. */
static void test_nesting(void)
{
    const gsize depth = 500000;
    g_autofree char *arrays = g_strnfill(depth, '[');
    GString *objects = g_string_new(NULL);
    for (gsize i = 0; i < depth / 6; i++)
        g_string_append(objects, "{\"a\":");
    g_autofree char *hidden = g_strconcat("{\"a\\\"\":", arrays, NULL);
    assert_no_json(arrays, -1);
    assert_no_json(objects->str, -1);
    assert_no_json(hidden, -1);
    g_string_free(objects, TRUE);
}

static void test_places(void)
{
    g_autoptr(GError) missing = NULL, empty = NULL, large = NULL;
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_assert_null(lf_model_config_read("/nonexistent/model", &missing));
    g_assert_error(missing, LF_ERROR, LF_ERROR_NOT_FOUND);
    g_assert_null(lf_model_config_read(dir, &empty));
    g_assert_error(empty, LF_ERROR, LF_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(empty->message, "model.json"));
    lf_tiny_model_remove(dir);
    g_autofree char *spaces = g_strnfill((1 << 20) + 1, ' ');
    g_assert_null(read_text(spaces, -1, &large));
    g_assert_error(large, LF_ERROR, LF_ERROR_FORMAT);
}

static LfWeightSource *open_part(const LfModelConfig *config, const char *file)
{
    GError *error = NULL;
    g_autofree char *path = lf_model_config_path(config, file);
    LfTensorFile *part = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    LfWeightSource *source = lf_weight_source_file(part, NULL, &error);
    g_assert_no_error(error);
    lf_tensor_file_unref(part);
    return source;
}

static void complete_decoder(LfDecoderConfig *config, LfWeightSource *source)
{
    GError *error = NULL;
    const LfDecoderClass *class = lf_decoder_class("", source, &error); /* by its tensors */
    g_assert_no_error(error);
    g_assert_true(class == lf_decoder_class("tiny", NULL, &error));
    g_assert_true(class->complete(config, source, &error));
    g_assert_no_error(error);
}

/* An unknown type, and a file of no known decoder, are errors that name the known types. */
static void test_decoder_class(void)
{
    g_autoptr(GError) error = NULL, unknown = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "transformer.safetensors", NULL);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
    g_assert_null(lf_decoder_class("", source, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, "\"tiny\""));
    g_assert_null(lf_decoder_class("other", source, &unknown));
    g_assert_error(unknown, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_nonnull(strstr(unknown->message, "\"other\"; known are \"tiny\", \"wan\""));
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
    lf_tiny_model_remove(dir);
}

/* The demo model and its preset have the same numbers. */
static void test_demo(void)
{
    GError *error = NULL;
    g_autofree char *dir = g_path_get_dirname(LF_TEST_TOKENIZER);
    LfModelConfig *file = lf_model_config_read(dir, &error);
    g_assert_no_error(error);
    LfModelConfig *preset = lf_model_config_preset("demo");
    LfWeightSource *decoder = open_part(file, file->files.decoder);
    complete_decoder(&file->decoder, decoder);
    lf_weight_source_free(decoder);
    char **names[] = {&file->files.transformer, &file->files.text_encoder, &file->files.decoder,
                      &file->files.tokenizer, &file->directory};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        g_clear_pointer(names[i], g_free);
    g_assert_cmpmem(file, sizeof *file, preset, sizeof *preset);
    lf_model_config_free(file);
    lf_model_config_free(preset);
    static const char *const wan[] = {"wan-1.3b", "wan-1.3b-vae", "wan-1.3b-lightvae"};
    for (gsize i = 0; i < G_N_ELEMENTS(wan); i++) {
        preset = lf_model_config_preset(wan[i]);
        g_assert_true(lf_model_config_check(preset, &error));
        g_assert_cmpstr(preset->decoder.type, ==, i ? "wan" : "tiny");
        g_assert_cmpint(preset->decoder.widths[4], ==, i == 0 ? 0 : i == 1 ? 96 : 24);
        lf_model_config_free(preset);
    }
    g_autofree char *names_of_all = lf_model_config_presets();
    g_assert_nonnull(strstr(names_of_all, "\"demo\", \"wan-1.3b\""));
    g_assert_null(lf_model_config_preset("wan-14b"));
}

static void test_complete(void)
{
    GError *error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModelConfig *c = lf_model_config_read(dir, &error);
    g_assert_no_error(error);
    LfWeightSource *transformer = open_part(c, c->files.transformer);
    LfWeightSource *text = open_part(c, c->files.text_encoder);
    LfWeightSource *decoder = open_part(c, c->files.decoder);
    g_assert_true(lf_transformer_config_complete(&c->transformer, transformer, &error));
    g_assert_true(lf_text_encoder_config_complete(&c->text_encoder, text, &error));
    complete_decoder(&c->decoder, decoder);
    g_assert_true(lf_model_config_check(c, &error));
    g_assert_no_error(error);
    g_assert_cmpint(c->transformer.dim, ==, LF_TINY_DIM);
    g_assert_cmpint(c->transformer.ffn, ==, 96);
    g_assert_cmpint(c->transformer.layers, ==, LF_TINY_LAYERS);
    g_assert_cmpint(c->transformer.freq_dim, ==, 32);
    g_assert_cmpint(c->transformer.text_dim, ==, LF_TINY_TEXT_DIM);
    g_assert_cmpint(c->transformer.channels, ==, LF_TINY_CHANNELS);
    g_assert_cmpint(c->text_encoder.vocab, ==, 434);
    g_assert_cmpint(c->text_encoder.heads, ==, 2);
    g_assert_cmpint(c->text_encoder.buckets, ==, 32);
    g_assert_cmpint(c->text_encoder.max_distance, ==, 128);
    g_assert_cmpint(c->decoder.channels, ==, LF_TINY_CHANNELS);
    g_assert_cmpint(c->decoder.widths[1], ==, 12);

    /* A number that a shape contradicts, a part in place of another, heads that nothing tells. */
    g_autoptr(GError) number = NULL, part = NULL, heads = NULL, layers = NULL;
    LfTransformerConfig wrong = {.dim = 64, .heads = 2};
    g_assert_false(lf_transformer_config_complete(&wrong, transformer, &number));
    g_assert_error(number, LF_ERROR, LF_ERROR_SHAPE);
    g_assert_nonnull(strstr(number->message, "transformer.dim is 64"));
    g_assert_nonnull(strstr(number->message, "[48, 4, 1, 2, 2]"));
    wrong = (LfTransformerConfig){0};
    g_assert_false(lf_transformer_config_complete(&wrong, decoder, &part));
    g_assert_nonnull(strstr(part->message, "patch_embedding.weight: missing in"));
    wrong = (LfTransformerConfig){0};
    g_assert_false(lf_transformer_config_complete(&wrong, transformer, &heads));
    g_assert_nonnull(strstr(heads->message, "transformer.heads"));
    wrong = (LfTransformerConfig){.heads = 2, .layers = 3};
    g_assert_false(lf_transformer_config_complete(&wrong, transformer, &layers));
    g_assert_nonnull(strstr(layers->message, "transformer.layers is 3, but the file has"));
    lf_weight_source_free(transformer);
    lf_weight_source_free(text);
    lf_weight_source_free(decoder);
    lf_model_config_free(c);
    lf_tiny_model_remove(dir);
}

/* An empty tensor takes no bytes, so its other dimensions can be any number. */
static void test_empty_shapes(void)
{
    static const LfFileTensor claims = {
        .name = "patch_embedding.weight", .n_dims = 5, .shape = {INT32_MAX, 16, 1, 0, 2}};
    g_autoptr(GError) error = NULL;
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "claims.safetensors", NULL);
    g_assert_true(lf_safetensors_write(path, &claims, 1, NULL));
    LfTensorFile *file = lf_tensor_file_open(path, NULL);
    LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
    LfTransformerConfig config = {.heads = 1};
    g_assert_false(lf_transformer_config_complete(&config, source, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, "[2147483647, 16, 1, 0, 2]"));
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
    lf_tiny_model_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model-config/defaults", test_defaults);
    g_test_add_func("/model-config/values", test_values);
    g_test_add_func("/model-config/refused", test_refused);
    g_test_add_func("/model-config/ranges", test_ranges);
    g_test_add_func("/model-config/taken", test_taken);
    g_test_add_func("/model-config/loras", test_loras);
    g_test_add_func("/model-config/contradictions", test_contradictions);
    g_test_add_func("/model-config/no-json", test_no_json);
    g_test_add_func("/model-config/nesting", test_nesting);
    g_test_add_func("/model-config/places", test_places);
    g_test_add_func("/model-config/decoder-class", test_decoder_class);
    g_test_add_func("/model-config/demo", test_demo);
    g_test_add_func("/model-config/complete", test_complete);
    g_test_add_func("/model-config/empty-shapes", test_empty_shapes);
    return g_test_run();
}
