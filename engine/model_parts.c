/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model_parts.h"

#include "files/family.h"
#include "files/locate.h"
#include "files/published.h"

#include <string.h>

#define BIT(part) (1U << LF_PART_##part)

/* ---- the model ------------------------------------------------------------------------------- */

/* The model.json that says what is at `location`, or its folder: that file itself, the one in that
 * folder, or the one beside a checkpoint that it names as its transformer. NULL when there is none.
 * Transfer full. */
static char *configuration_of(const char *location)
{
    if (g_str_has_suffix(location, ".json") && !g_str_has_suffix(location, ".index.json"))
        return g_strdup(location);
    bool folder = g_file_test(location, G_FILE_TEST_IS_DIR);
    g_autofree char *directory = folder ? g_strdup(location) : g_path_get_dirname(location);
    char *json = g_build_filename(directory, "model.json", NULL);
    bool fits = g_file_test(json, G_FILE_TEST_EXISTS);
    if (fits && !folder) {
        g_autofree char *name = g_path_get_basename(location);
        LfModelConfig *config = lf_model_config_read(json, NULL);
        fits = config && g_strcmp0(config->files.transformer, name) == 0;
        lf_model_config_free(config);
    }
    if (fits && !folder)
        return json;
    g_free(json);
    return fits ? g_strdup(location) : NULL;
}

static void take(char **file, char **found)
{
    if (*found) {
        g_free(*file);
        *file = g_steal_pointer(found);
    }
}

static void take_all(LfModelConfig *config, LfLocated *located)
{
    take(&config->files.transformer, &located->files[LF_PART_TRANSFORMER]);
    take(&config->files.text_encoder, &located->files[LF_PART_TEXT_ENCODER]);
    take(&config->files.tokenizer, &located->files[LF_PART_TOKENIZER]);
    take(&config->files.decoder, &located->files[LF_PART_DECODER]);
    take(&config->problems.text_encoder, &located->problems[LF_PART_TEXT_ENCODER]);
    take(&config->problems.decoder, &located->problems[LF_PART_DECODER]);
}

/* A model without a model.json. What the options name is not looked for, so that several text
 * encoders in a folder are no error when one of them was chosen. */
static LfModelConfig *locate(const char *location, const LfModelOptions *options, GError **error)
{
    LfLocated located = {0};
    unsigned wanted = BIT(TRANSFORMER) | BIT(TEXT_ENCODER) | BIT(TOKENIZER) | BIT(DECODER);
    if (options->text_encoder_location)
        wanted &= ~BIT(TEXT_ENCODER);
    if (options->tokenizer_location)
        wanted &= ~BIT(TOKENIZER);
    if (options->decoder_location)
        wanted &= ~BIT(DECODER);
    LfModelConfig *config = NULL;
    if (lf_locate(location, wanted, &located, error)) {
        config = lf_model_config_new();
        config->directory = g_file_test(location, G_FILE_TEST_IS_DIR)
                                ? g_strdup(location)
                                : g_path_get_dirname(location);
        take_all(config, &located);
        const LfFamily *family = lf_family_of_path(config->files.transformer);
        if (family)
            lf_family_apply(family, config);
    }
    lf_located_clear(&located);
    return config;
}

/* What the options name counts more than model.json and the path. */
static bool choose_sampling(LfModelConfig *config, const LfModelOptions *options, GError **error)
{
    const LfFamily *family = options->family ? lf_family_named(options->family) : NULL;
    if (options->family && !family)
        return lf_family_refuse(options->family, error);
    if (family)
        lf_family_apply(family, config);
    if (options->copy) {
        g_free(config->copy);
        config->copy = g_strdup(options->copy);
    }
    return true;
}

/* ---- parts of other models ------------------------------------------------------------------- */

/* The configuration that a part is taken from: that of a model directory, or an otherwise empty one
 * with the files that are found there. A file is taken as it is: the loader says what is wrong with
 * it. */
static LfModelConfig *other_model(const LfModelConfig *own, const char *location, unsigned wanted,
                                  GError **error)
{
    g_autofree char *json = configuration_of(location);
    if (json)
        return lf_model_config_read(json, error);
    LfLocated located = {0};
    LfModelConfig *other = NULL;
    bool folder = g_file_test(location, G_FILE_TEST_IS_DIR);
    if (!folder && wanted & BIT(TEXT_ENCODER))
        located.files[LF_PART_TEXT_ENCODER] = g_canonicalize_filename(location, NULL);
    else if (!folder)
        located.files[LF_PART_DECODER] = g_canonicalize_filename(location, NULL);
    if (lf_locate(location, wanted, &located, error)) {
        other = g_new0(LfModelConfig, 1);
        other->text_encoder.buckets = own->text_encoder.buckets;
        other->text_encoder.max_distance = own->text_encoder.max_distance;
        take_all(other, &located);
    }
    lf_located_clear(&located);
    return other;
}

static bool replace_file(char **file, const LfModelConfig *other, const char *name)
{
    if (name) {
        g_free(*file);
        *file = lf_model_config_path(other, name);
    }
    return name != NULL;
}

static bool refuse_absent(const char *location, const char *part, const char *problem,
                          GError **error)
{
    return lf_fail(error, LF_ERROR_CONFIG, "%s: the model there has no %s%s%s", location, part,
                   problem ? ": " : "", problem ? problem : "");
}

/* The numbers of model.json describe the model's own text encoder. They do not hold for another
 * one. The model's own tokenizer does, unless the other one brings its own. */
static bool replace_text_encoder(LfModelConfig *config, const char *location, GError **error)
{
    LfModelConfig *other = other_model(config, location, BIT(TEXT_ENCODER) | BIT(TOKENIZER), error);
    if (!other)
        return false;
    config->text_encoder = other->text_encoder;
    replace_file(&config->files.tokenizer, other, other->files.tokenizer);
    bool replaced = replace_file(&config->files.text_encoder, other, other->files.text_encoder);
    if (!replaced)
        refuse_absent(location, "text encoder", other->problems.text_encoder, error);
    lf_model_config_free(other);
    return replaced;
}

static bool replace_decoder(LfModelConfig *config, const char *location, GError **error)
{
    LfModelConfig *other = other_model(config, location, BIT(DECODER), error);
    if (!other)
        return false;
    config->decoder = other->decoder;
    bool replaced = replace_file(&config->files.decoder, other, other->files.decoder);
    if (!replaced)
        refuse_absent(location, "decoder", other->problems.decoder, error);
    lf_model_config_free(other);
    return replaced;
}

/* A folder holds the tokenizer's file, or the path is that file. */
static bool replace_tokenizer(LfModelConfig *config, const char *location, GError **error)
{
    LfLocated located = {0};
    bool found = true;
    if (!g_file_test(location, G_FILE_TEST_IS_DIR))
        located.files[LF_PART_TOKENIZER] = g_canonicalize_filename(location, NULL);
    else
        found = lf_locate(location, BIT(TOKENIZER), &located, error);
    if (found && !located.files[LF_PART_TOKENIZER])
        found = refuse_absent(location, "tokenizer", NULL, error);
    if (found)
        take(&config->files.tokenizer, &located.files[LF_PART_TOKENIZER]);
    lf_located_clear(&located);
    return found;
}

LfModelConfig *lf_model_parts(const char *location, const LfModelOptions *options, GError **error)
{
    static const LfModelOptions none;
    options = options ? options : &none;
    g_autofree char *json = configuration_of(location);
    LfModelConfig *config =
        json ? lf_model_config_read(json, error) : locate(location, options, error);
    if (config && choose_sampling(config, options, error) &&
        (!options->text_encoder_location ||
         replace_text_encoder(config, options->text_encoder_location, error)) &&
        (!options->tokenizer_location ||
         replace_tokenizer(config, options->tokenizer_location, error)) &&
        (!options->decoder_location || replace_decoder(config, options->decoder_location, error)))
        return config;
    lf_model_config_free(config);
    return NULL;
}

/* ---- what is missing ------------------------------------------------------------------------- */

static const char *file_of(const LfModelConfig *c, LfPart part)
{
    switch (part) {
    case LF_PART_TRANSFORMER:
        return c->files.transformer;
    case LF_PART_TEXT_ENCODER:
        return c->files.text_encoder;
    case LF_PART_TOKENIZER:
        return c->files.tokenizer;
    default:
        return c->files.decoder;
    }
}

char *lf_model_part_missing(const LfModelConfig *config, LfPart part)
{
    const char *problem = part == LF_PART_TEXT_ENCODER ? config->problems.text_encoder
                          : part == LF_PART_DECODER    ? config->problems.decoder
                                                       : NULL;
    if (file_of(config, part))
        return NULL;
    g_autofree char *sources = lf_published_sources(part);
    return g_strdup_printf("none found%s%s. Published: %s. Put it beside the model, or set %s",
                           problem ? " that can be used: " : "", problem ? problem : "", sources,
                           lf_part_option(part));
}

char *lf_model_parts_missing(const LfModelConfig *config)
{
    GString *text = g_string_new(NULL);
    for (LfPart part = LF_PART_TEXT_ENCODER; part < LF_N_PARTS; part++) {
        g_autofree char *missing = lf_model_part_missing(config, part);
        if (missing)
            g_string_append_printf(text, "%s%s: %s", text->len ? "; " : "", lf_part_name(part),
                                   missing);
    }
    return g_string_free(text, text->len == 0);
}

LfTokenizer *lf_model_parts_tokenizer(const LfModelConfig *config, GError **error)
{
    g_autofree char *path = lf_model_config_path(config, config->files.tokenizer);
    LfTokenizer *tokenizer = lf_tokenizer_open(path, error);
    int vocab = config->text_encoder.vocab;
    if (!tokenizer || vocab == 0 || lf_tokenizer_size(tokenizer) <= vocab)
        return tokenizer;
    lf_fail(error, LF_ERROR_CONFIG,
            "%s has %d pieces, the text encoder knows %d: they are of different models", path,
            lf_tokenizer_size(tokenizer), vocab);
    lf_tokenizer_free(tokenizer);
    return NULL;
}
