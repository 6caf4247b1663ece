/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One table says what model.json may hold: section, key, kind, range, default.
 */
#include "model_config.h"

#include "engine/geometry.h"
#include "engine/steps.h"
#include "family.h"
#include "json.h"
#include "map.h"
#include "model_fields.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { MAX_CONFIG_SIZE = 1 << 20, MAX_LORAS = 64 };

#define AT(field) offsetof(LfModelConfig, field)

const Field lf_model_fields[] = {
    {"transformer", "file", TEXT, AT(files.transformer), 0, 0, 0},
    {"transformer", "dim", WHOLE, AT(transformer.dim), 1, 1 << 16, 0},
    {"transformer", "heads", WHOLE, AT(transformer.heads), 1, 1024, 0},
    {"transformer", "ffn", WHOLE, AT(transformer.ffn), 1, 1 << 20, 0},
    {"transformer", "layers", WHOLE, AT(transformer.layers), 1, 1024, 0},
    {"transformer", "freq_dim", WHOLE, AT(transformer.freq_dim), 2, 1 << 16, 0},
    {"transformer", "text_dim", WHOLE, AT(transformer.text_dim), 1, 1 << 16, 0},
    {"transformer", "text_len", WHOLE, AT(transformer.text_len), 1, 1 << 16, 512},
    {"transformer", "channels", WHOLE, AT(transformer.channels), 1, 1024, 0},
    {"transformer", "lora", LORAS, AT(loras), 0, 0, 0},
    {"transformer", "copy", TEXT, AT(copy), 0, 0, 0},
    {"transformer", "family", FAMILY, AT(family), 0, 0, 0},
    {"text_encoder", "file", TEXT, AT(files.text_encoder), 0, 0, 0},
    {"text_encoder", "vocab", WHOLE, AT(text_encoder.vocab), 4, 1 << 24, 0},
    {"text_encoder", "dim", WHOLE, AT(text_encoder.dim), 1, 1 << 16, 0},
    {"text_encoder", "attention_dim", WHOLE, AT(text_encoder.attention_dim), 1, 1 << 16, 0},
    {"text_encoder", "heads", WHOLE, AT(text_encoder.heads), 1, 1024, 0},
    {"text_encoder", "ffn", WHOLE, AT(text_encoder.ffn), 1, 1 << 20, 0},
    {"text_encoder", "layers", WHOLE, AT(text_encoder.layers), 1, 1024, 0},
    {"text_encoder", "buckets", WHOLE, AT(text_encoder.buckets), 4, 1 << 16, 0},
    {"text_encoder", "max_distance", WHOLE, AT(text_encoder.max_distance), 2, 1 << 20, 128},
    {"tokenizer", "file", TEXT, AT(files.tokenizer), 0, 0, 0},
    {"decoder", "type", WORD, AT(decoder.type), 0, 0, 0},
    {"decoder", "file", TEXT, AT(files.decoder), 0, 0, 0},
    {"decoder", "latents", WORD, AT(decoder.latents), 0, 0, 0},
    {"video", "width", WHOLE, AT(video.width), LF_SIZE_STEP, LF_MAX_SIZE, 832},
    {"video", "height", WHOLE, AT(video.height), LF_SIZE_STEP, LF_MAX_SIZE, 480},
    {"video", "fps", RATE, AT(video.fps_n), 0, 0, 0},
    {"video", "chunk", WHOLE, AT(video.chunk), 1, LF_MAX_CHUNK, 3},
    {"schedule", "steps", STEPS, AT(schedule.steps), 0, 0, 0},
    {"schedule", "first_steps", STEPS, AT(schedule.first_steps), 0, 0, 0},
    {"schedule", "shift", REAL, AT(schedule.shift), LF_MIN_SHIFT, LF_MAX_SHIFT, 5},
    {"schedule", "warp", FLAG, AT(schedule.warp), 0, 0, 1},
    {"cache", "window", WHOLE, AT(cache.window), 0, LF_MAX_WINDOW, 21},
    {"cache", "sink", WHOLE, AT(cache.sink), 0, LF_MAX_WINDOW, 0},
    {"cache", "positions", POSITIONS, AT(cache.relative), 0, 0, 0},
    {"sparse", "target", REAL, AT(sparse.target), 0, LF_MAX_SPARSITY, 0.88},
    {"sparse", "base", REAL, AT(sparse.base), 0, LF_MAX_SPARSITY, 0.98},
    {"sparse", "query_block", WHOLE, AT(sparse.query_block), 1, LF_MAX_BLOCK, 64},
    {"sparse", "key_block", WHOLE, AT(sparse.key_block), 1, LF_MAX_BLOCK, 64},
    {"sparse", "keep_frames", WHOLE, AT(sparse.keep_frames), 1, LF_MAX_WINDOW, 6},
    {"sparse", "keep_sink", WHOLE, AT(sparse.keep_sink), 0, LF_MAX_WINDOW, 1},
    {"sparse", "keep_near", WHOLE, AT(sparse.keep_near), 0, LF_MAX_WINDOW, 2},
    {"sparse", "horizon", WHOLE, AT(sparse.horizon), 1, LF_MAX_WINDOW, 63},
    {"sparse", "token_order", ORDER, AT(sparse.tile_rows), 0, 0, 0},
    {NULL, NULL, TEXT, 0, 0, 0, 0}};

/* `format` is a literal. */
#define refuse(error, format, ...)                                                                 \
    lf_fail(error, LF_ERROR_CONFIG, "model.json: " format, ##__VA_ARGS__)

static void *place(LfModelConfig *config, const Field *field)
{
    return (char *) config + field->offset;
}

LfModelConfig *lf_model_config_new(void)
{
    LfModelConfig *config = g_new0(LfModelConfig, 1);
    for (const Field *field = lf_model_fields; field->key; field++) {
        if (field->kind == WHOLE)
            *(int *) place(config, field) = (int) field->normal;
        else if (field->kind == REAL)
            *(double *) place(config, field) = field->normal;
        else if (field->kind == FLAG)
            *(bool *) place(config, field) = field->normal != 0;
    }
    config->video.fps_n = 16;
    config->video.fps_d = 1;
    config->schedule.steps = (LfSteps){4, {1000, 750, 500, 250}};
    return config;
}

void lf_model_config_free(LfModelConfig *config)
{
    if (!config)
        return;
    for (int i = 0; i < config->n_loras; i++)
        g_free(config->loras[i].file);
    g_free(config->loras);
    g_free(config->copy);
    g_free(config->files.transformer);
    g_free(config->files.text_encoder);
    g_free(config->files.tokenizer);
    g_free(config->files.decoder);
    g_free(config->problems.text_encoder);
    g_free(config->problems.decoder);
    g_free(config->directory);
    g_free(config);
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool is_number(JsonNode *node, bool whole)
{
    if (!JSON_NODE_HOLDS_VALUE(node))
        return false;
    GType type = json_node_get_value_type(node);
    return type == G_TYPE_INT64 || (!whole && type == G_TYPE_DOUBLE);
}

static const char *text_of(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

static bool read_number(const Field *field, JsonNode *node, void *to, GError **error)
{
    bool whole = field->kind == WHOLE;
    if (!is_number(node, whole))
        return refuse(error, "%s.%s: expected a %s", field->section, field->key,
                      whole ? "whole number" : "number");
    double value = json_node_get_double(node);
    if (!(value >= field->least && value <= field->most))
        return refuse(error, "%s.%s: %g is not in %g … %g", field->section, field->key, value,
                      field->least, field->most);
    if (whole)
        *(int *) to = (int) value;
    else
        *(double *) to = value;
    return true;
}

static bool read_text(const Field *field, JsonNode *node, char **to, GError **error)
{
    const char *text = text_of(node);
    if (!text || !*text)
        return refuse(error, "%s.%s: expected a non-empty string", field->section, field->key);
    g_free(*to);
    *to = g_strdup(text);
    return true;
}

/* A short name, of at most 15 bytes. Whether the name is known is not checked here. */
static bool read_word(const Field *field, JsonNode *node, char to[16], GError **error)
{
    const char *text = text_of(node);
    if (!text || !*text || strlen(text) > 15)
        return refuse(error, "%s.%s: expected a name of at most 15 bytes", field->section,
                      field->key);
    g_strlcpy(to, text, 16);
    return true;
}

static bool read_choice(const Field *field, JsonNode *node, const char *const *choices, bool *to,
                        GError **error)
{
    const char *text = text_of(node);
    for (int i = 0; text && choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            if (to)
                *to = i;
            return true;
        }
    }
    g_autofree char *known = g_strjoinv("\" or \"", (char **) choices);
    return refuse(error, "%s.%s: expected \"%s\"", field->section, field->key, known);
}

static bool read_flag(const Field *field, JsonNode *node, bool *to, GError **error)
{
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return refuse(error, "%s.%s: expected true or false", field->section, field->key);
    *to = json_node_get_boolean(node);
    return true;
}

static bool read_steps(const Field *field, JsonNode *node, LfSteps *to, GError **error)
{
    JsonArray *array = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint n = array ? json_array_get_length(array) : 0;
    LfSteps steps = {0};
    if (n <= LF_MAX_STEPS) /* else the empty list is refused */
        for (; steps.n < (int) n; steps.n++) {
            JsonNode *step = json_array_get_element(array, (guint) steps.n);
            steps.at[steps.n] = is_number(step, false) ? json_node_get_double(step) : 0;
        }
    if (!lf_steps_check(&steps, error)) {
        g_prefix_error(error, "model.json: %s.%s: ", field->section, field->key);
        return false;
    }
    *to = steps;
    return true;
}

/* 16, 23.976 or "24000/1001". */
static bool read_rate(LfModelConfig *config, JsonNode *node, GError **error)
{
    const char *text = text_of(node);
    gint64 n = 0, d = 1;
    if (text) {
        char *end;
        n = g_ascii_strtoll(text, &end, 10);
        d = *end == '/' ? g_ascii_strtoll(end + 1, &end, 10) : 0;
        if (*end)
            d = 0;
    } else if (is_number(node, false)) {
        double rate = json_node_get_double(node);
        d = rate == floor(rate) ? 1 : 1000;
        n = rate > 0 && rate <= 1000 ? llround(rate * (double) d) : 0;
    }
    if (n < 1 || d < 1 || n > 1000000 || d > 1000000 || n > 1000 * d)
        return refuse(error, "video.fps: expected a number up to 1000, or \"n/d\"");
    config->video.fps_n = (int) n;
    config->video.fps_d = (int) d;
    return true;
}

/* "raster", or the rows and columns of a tile in tokens, "4x8". */
static bool read_order(LfModelConfig *config, JsonNode *node, GError **error)
{
    const char *text = text_of(node);
    gint64 rows = 0, cols = 0;
    char *end = NULL;
    if (text && strcmp(text, "raster") != 0) {
        rows = g_ascii_strtoll(text, &end, 10);
        cols = *end == 'x' ? g_ascii_strtoll(end + 1, &end, 10) : 0;
    }
    if (!text ||
        (end && (*end || rows < 1 || cols < 1 || rows > LF_MAX_SIZE || cols > LF_MAX_SIZE)))
        return refuse(error,
                      "sparse.token_order: expected \"raster\", or the rows and columns of a "
                      "tile in tokens, such as \"4x8\"");
    config->sparse.tile_rows = (int) rows;
    config->sparse.tile_cols = (int) cols;
    return true;
}

/* [{"file": "style.safetensors", "strength": 0.8}]; the strength is 1 where it is absent. */
static bool read_loras(LfModelConfig *config, JsonNode *node, GError **error)
{
    static const Field file = {"transformer.lora", "file", TEXT, 0, 0, 0, 0};
    static const Field strength = {"transformer.lora", "strength", REAL, 0, -100, 100, 1};
    JsonArray *array = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint n = array ? json_array_get_length(array) : 0;
    if (!array || n > MAX_LORAS || config->loras)
        return refuse(error,
                      "transformer.lora: expected a list of at most %d objects with "
                      "\"file\" and \"strength\"",
                      MAX_LORAS);
    config->loras = g_new0(struct LfLoraFile, n);
    for (config->n_loras = 0; config->n_loras < (int) n;) {
        struct LfLoraFile *lora = &config->loras[config->n_loras];
        JsonNode *item = json_array_get_element(array, (guint) config->n_loras++);
        JsonObjectIter iter;
        const char *key;
        JsonNode *value;
        lora->strength = strength.normal;
        if (!JSON_NODE_HOLDS_OBJECT(item))
            return refuse(error, "transformer.lora: expected a list of objects");
        json_object_iter_init(&iter, json_node_get_object(item));
        while (json_object_iter_next(&iter, &key, &value)) {
            if (strcmp(key, file.key) == 0 ? !read_text(&file, value, &lora->file, error)
                : strcmp(key, strength.key) == 0
                    ? !read_number(&strength, value, &lora->strength, error)
                    : !refuse(error, "transformer.lora: unknown key \"%s\"", key))
                return false;
        }
        if (!lora->file)
            return refuse(error, "transformer.lora: \"file\" is missing");
    }
    return true;
}

static bool read_field(LfModelConfig *config, const Field *field, JsonNode *node, GError **error)
{
    static const char *const positions[] = {"absolute", "relative", NULL};
    switch (field->kind) {
    case TEXT:
        return read_text(field, node, place(config, field), error);
    case FLAG:
        return read_flag(field, node, place(config, field), error);
    case STEPS:
        return read_steps(field, node, place(config, field), error);
    case RATE:
        return read_rate(config, node, error);
    case POSITIONS:
        return read_choice(field, node, positions, place(config, field), error);
    case ORDER:
        return read_order(config, node, error);
    case LORAS:
        return read_loras(config, node, error);
    case FAMILY: /* was read first */
        return true;
    case WORD:
        return read_word(field, node, place(config, field), error);
    default:
        return read_number(field, node, place(config, field), error);
    }
}

/* ---- sections -------------------------------------------------------------------------------- */

static bool is_section(const char *section)
{
    for (const Field *field = lf_model_fields; field->key; field++)
        if (strcmp(field->section, section) == 0)
            return true;
    return false;
}

static const Field *field_of(const char *section, const char *key)
{
    for (const Field *field = lf_model_fields; field->key; field++)
        if (strcmp(field->section, section) == 0 && strcmp(field->key, key) == 0)
            return field;
    return NULL;
}

static bool read_section(LfModelConfig *config, const char *section, JsonNode *node, GError **error)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;
    if (!is_section(section))
        return refuse(error, "unknown section \"%s\"", section);
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "%s: expected an object", section);
    json_object_iter_init(&iter, json_node_get_object(node));
    while (json_object_iter_next(&iter, &key, &value)) {
        const Field *field = field_of(section, key);
        if (!field)
            return refuse(error, "%s: unknown key \"%s\"", section, key);
        if (!read_field(config, field, value, error))
            return false;
    }
    /* A section that has the key "file" describes that file. */
    if (field_of(section, "file") && !json_object_has_member(json_node_get_object(node), "file"))
        return refuse(error, "%s.file: missing", section);
    config->sparse.given |= strcmp(section, "sparse") == 0;
    return true;
}

/* The family comes first, because every other key overrides it: the one that is named, or the one of
 * the transformer's path. */
static bool read_family(LfModelConfig *config, JsonObject *root, GError **error)
{
    JsonNode *section = json_object_get_member(root, "transformer");
    if (!section || !JSON_NODE_HOLDS_OBJECT(section))
        return true;
    JsonObject *transformer = json_node_get_object(section);
    JsonNode *name = json_object_get_member(transformer, "family");
    JsonNode *file = json_object_get_member(transformer, "file");
    const LfFamily *family = NULL;
    if (name) {
        const char *text = text_of(name);
        family = text ? lf_family_named(text) : NULL;
        if (!family)
            return lf_family_refuse(text ? text : "(no text)", error);
    } else if (file && text_of(file)) {
        g_autofree char *path = lf_model_config_path(config, text_of(file));
        family = lf_family_of_path(path);
    }
    if (family)
        lf_family_apply(family, config);
    return true;
}

/* ---- contradictions -------------------------------------------------------------------------- */

/* RoPE rotates a head's channels in pairs: d/6 pairs (rounded down) by the row, as many by the
 * column, the rest by the time, and each needs one. */
static bool check_transformer(const LfTransformerConfig *t, GError **error)
{
    if (t->dim && t->heads) {
        int head_dim = t->dim / t->heads;
        if (t->dim % t->heads != 0)
            return refuse(error, "transformer: %d heads do not divide dim %d", t->heads, t->dim);
        if (head_dim % 2 != 0 || head_dim < 6)
            return refuse(error,
                          "transformer: dim %d / %d heads gives a head size of %d; an even "
                          "number of at least 6 is expected",
                          t->dim, t->heads, head_dim);
    }
    if (t->freq_dim % 2 != 0)
        return refuse(error, "transformer.freq_dim: %d is not even", t->freq_dim);
    return true;
}

static bool check_text_encoder(const LfTextEncoderConfig *t, GError **error)
{
    if (t->attention_dim && t->heads && t->attention_dim % t->heads != 0)
        return refuse(error, "text_encoder: %d heads do not divide attention_dim %d", t->heads,
                      t->attention_dim);
    /* Half of the buckets for each direction, and half of those for single distances. */
    if (t->buckets % 4 != 0)
        return refuse(error, "text_encoder.buckets: %d is no multiple of 4", t->buckets);
    if (t->buckets && t->max_distance <= t->buckets / 4)
        return refuse(error, "text_encoder.max_distance: %d is too small for %d buckets",
                      t->max_distance, t->buckets);
    return true;
}

static bool check_stream(const LfModelConfig *c, GError **error)
{
    if (c->video.width % LF_SIZE_STEP != 0 || c->video.height % LF_SIZE_STEP != 0)
        return refuse(error, "video: %d×%d is no multiple of %d", c->video.width, c->video.height,
                      LF_SIZE_STEP);
    LfGeometry g = lf_geometry(c->video.width, c->video.height, c->video.chunk);
    g.tile_rows = c->sparse.tile_rows;
    g.tile_cols = c->sparse.tile_cols;
    if (!lf_tiles_fit(&g))
        return refuse(error,
                      "sparse.token_order: tiles of %dx%d tokens do not divide frames of %dx%d: "
                      "choose divisors of these, or \"raster\"",
                      g.tile_rows, g.tile_cols, g.rows, g.cols);
    if (c->cache.window && c->cache.window < c->video.chunk + c->cache.sink)
        return refuse(error, "cache.window: %d frames do not hold a chunk of %d and a sink of %d",
                      c->cache.window, c->video.chunk, c->cache.sink);
    if (c->sparse.keep_sink + c->sparse.keep_near > c->sparse.keep_frames)
        return refuse(error, "sparse: keep_sink %d + keep_near %d exceed keep_frames %d",
                      c->sparse.keep_sink, c->sparse.keep_near, c->sparse.keep_frames);
    return true;
}

bool lf_model_config_check(const LfModelConfig *config, GError **error)
{
    const LfTransformerConfig *t = &config->transformer;
    if (!check_transformer(t, error) || !check_text_encoder(&config->text_encoder, error) ||
        !check_stream(config, error))
        return false;
    if (t->text_dim && config->text_encoder.dim && t->text_dim != config->text_encoder.dim)
        return refuse(error, "transformer.text_dim %d, but text_encoder.dim %d", t->text_dim,
                      config->text_encoder.dim);
    if (t->channels && config->decoder.channels && t->channels != config->decoder.channels)
        return refuse(error, "the transformer makes latents of %d channels, the decoder takes %d",
                      t->channels, config->decoder.channels);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static JsonNode *load(const char *path, GError **error)
{
    g_autoptr(GMappedFile) map = lf_map_file(path, error);
    if (!map)
        return NULL;
    if (g_mapped_file_get_length(map) > MAX_CONFIG_SIZE) {
        lf_fail(error, LF_ERROR_FORMAT, "%s: longer than 1 MiB", path);
        return NULL;
    }
    return lf_json_parse(g_mapped_file_get_contents(map), g_mapped_file_get_length(map), path,
                         error);
}

LfModelConfig *lf_model_config_read(const char *location, GError **error)
{
    bool folder = g_file_test(location, G_FILE_TEST_IS_DIR);
    g_autofree char *path =
        folder ? g_build_filename(location, "model.json", NULL) : g_strdup(location);
    g_autoptr(JsonNode) root = load(path, error);
    if (!root)
        return NULL;
    LfModelConfig *config = lf_model_config_new();
    config->directory = g_path_get_dirname(path);
    JsonObjectIter iter;
    const char *section;
    JsonNode *node;
    if (!read_family(config, json_node_get_object(root), error))
        goto fail;
    json_object_iter_init(&iter, json_node_get_object(root));
    while (json_object_iter_next(&iter, &section, &node))
        if (!read_section(config, section, node, error))
            goto fail;
    if (!lf_model_config_check(config, error))
        goto fail;
    return config;
fail:
    lf_model_config_free(config);
    g_prefix_error(error, "%s: ", location);
    return NULL;
}

char *lf_model_config_path(const LfModelConfig *config, const char *file)
{
    if (g_path_is_absolute(file) || !config->directory)
        return g_strdup(file);
    return g_build_filename(config->directory, file, NULL);
}
