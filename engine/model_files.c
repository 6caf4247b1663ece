/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model_files.h"

#include "models/decoder.h"
#include "part_check.h"

static const char *const names[LF_N_MODEL_FILES] = {"text encoder", "transformer", "decoder"};
static const LfFileKind kinds[LF_N_MODEL_FILES] = {LF_FILE_TEXT_ENCODER, LF_FILE_TRANSFORMER,
                                                   LF_FILE_DECODER};

typedef struct {
    LfModelFiles *to;
    LfModelConfig *config;
    const LfModelOptions *options;
} Opening;

const char *lf_model_file_name(LfModelFile file)
{
    return names[file];
}

/* Opens the file of a part, if the model has that part. */
static bool open_part(Opening *o, LfModelFile part, const char *file, GError **error)
{
    const LfLog *log = &o->options->log;
    if (!file)
        return true;
    g_autofree char *path = lf_model_config_path(o->config, file);
    LfTensorFile *opened = o->to->files[part] = lf_tensor_file_open(path, error);
    if (!opened)
        return false;
    const LfSourceOptions options = {.kind = kinds[part],
                                     .copy = part == LF_MODEL_TRANSFORMER ? o->config->copy : NULL,
                                     .log = log};
    LfWeightSource *source = o->to->sources[part] = lf_weight_source_file(opened, &options, error);
    if (!source)
        return false;
    g_autofree char *types = lf_tensor_file_types(opened);
    lf_log(log, LF_LOG_DEBUG, "%s: %s: %s, layout %s, %zu tensors (%s)", names[part], path,
           lf_tensor_file_format(opened), lf_weight_source_layout(source),
           lf_tensor_file_count(opened), types);
    return true;
}

static bool add_lora(Opening *o, const char *path, double strength, GError **error)
{
    const LfLog *log = &o->options->log;
    LfWeightSource *source = o->to->sources[LF_MODEL_TRANSFORMER];
    LfTensorFile *file = lf_tensor_file_open(path, error);
    g_autofree char *notice = NULL;
    bool added = file && lf_weight_source_add_lora(source, file, strength, &notice, error);
    if (notice)
        lf_log(log, LF_LOG_WARNING, "LoRA %s: %s", path, notice);
    if (added)
        lf_log(log, LF_LOG_INFO, "LoRA %s: %zu tensors, strength %g", path,
               lf_tensor_file_count(file), strength);
    lf_tensor_file_unref(file);
    return added;
}

/* Those of model.json, then those of the options. */
static bool add_loras(Opening *o, GError **error)
{
    const LfModelConfig *c = o->config;
    bool added = true;
    for (int i = 0; i < c->n_loras && added; i++) {
        g_autofree char *path = lf_model_config_path(c, c->loras[i].file);
        added = add_lora(o, path, c->loras[i].strength, error);
    }
    for (int i = 0; i < o->options->n_loras && added; i++)
        added = add_lora(o, o->options->loras[i].file, o->options->loras[i].strength, error);
    return added;
}

static bool open_all(Opening *o, GError **error)
{
    LfModelConfig *c = o->config;
    return open_part(o, LF_MODEL_TEXT_ENCODER, c->files.text_encoder, error) &&
           open_part(o, LF_MODEL_TRANSFORMER, c->files.transformer, error) &&
           open_part(o, LF_MODEL_DECODER, c->files.decoder, error) && add_loras(o, error);
}

static bool complete_decoder(LfDecoderConfig *config, LfWeightSource *source, GError **error)
{
    const LfDecoderClass *class = lf_decoder_class(config->type, source, error);
    return class && class->complete(config, source, error);
}

/* Dimensions that model.json leaves out come from the tensors' shapes; then all parts must fit. */
static bool complete(LfModelConfig *c, LfWeightSource *const *sources, GError **error)
{
    LfWeightSource *encoder = sources[LF_MODEL_TEXT_ENCODER];
    LfWeightSource *decoder = sources[LF_MODEL_DECODER];
    return lf_transformer_config_complete(&c->transformer, sources[LF_MODEL_TRANSFORMER], error) &&
           (!encoder || lf_text_encoder_config_complete(&c->text_encoder, encoder, error)) &&
           (!decoder || complete_decoder(&c->decoder, decoder, error)) &&
           lf_model_config_check(c, error);
}

bool lf_model_files_open(LfModelFiles *files, LfModelConfig *config, const LfModelOptions *options,
                         GError **error)
{
    Opening o = {files, config, options};
    return open_all(&o, error) && complete(config, files->sources, error);
}

bool lf_model_files_check(LfModelFiles *files, const LfModelConfig *config, GError **error)
{
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES; part++)
        if (files->files[part] && !lf_part_check(kinds[part], config, files->sources[part], error))
            return false;
    return true;
}

void lf_model_files_clear(LfModelFiles *files)
{
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES; part++)
        lf_tensor_file_unref(files->files[part]);
    *files = (LfModelFiles){{NULL}, {NULL}};
}
