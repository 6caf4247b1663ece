/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model.h"

#include "encoder.h"
#include "model_parts.h"

/* ---- where models are ------------------------------------------------------------------------ */

static char *demo_below(const char *data_dir)
{
    char *path = g_build_filename(data_dir, "lightforcing", "models", "demo", NULL);
    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        g_clear_pointer(&path, g_free);
    return path;
}

char *lf_model_default_location(void)
{
    const char *named = g_getenv("LIGHTFORCING_MODEL");
    if (named && *named)
        return g_strdup(named);
    char *path = demo_below(g_get_user_data_dir());
    for (const char *const *dir = g_get_system_data_dirs(); !path && *dir; dir++)
        path = demo_below(*dir);
    if (path)
        return path;
    path = g_build_filename(LF_DATA_DIR, "models", "demo", NULL);
    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        g_clear_pointer(&path, g_free);
    return path;
}

/* ---- model.json alone ------------------------------------------------------------------------ */

void lf_model_fill_info(const LfModelConfig *c, LfModelInfo *info)
{
    *info = (LfModelInfo){.width = c->video.width,
                          .height = c->video.height,
                          .fps_n = c->video.fps_n,
                          .fps_d = c->video.fps_d,
                          .chunk = c->video.chunk,
                          .steps = c->schedule.steps,
                          .first_steps = c->schedule.first_steps,
                          .warp = c->schedule.warp,
                          .shift = c->schedule.shift,
                          .window = c->cache.window,
                          .sink = c->cache.sink,
                          .sparse = c->sparse.given,
                          .sparsity = c->sparse.target,
                          .can_encode = c->files.text_encoder && c->files.tokenizer,
                          .can_decode = c->files.decoder != NULL};
}

static gboolean check_exists(const LfModelConfig *config, const char *part, const char *file,
                             GError **error)
{
    if (!file)
        return true;
    g_autofree char *path = lf_model_config_path(config, file);
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return true;
    return lf_fail(
        error, LF_ERROR_NOT_FOUND,
        "%s: no such file, which model.json names as the %s: put it there or correct the "
        "name",
        path, part);
}

gboolean lf_model_probe(const char *location, const LfModelOptions *options, LfModelInfo *info,
                        GError **error)
{
    LfModelConfig *config = lf_model_parts(location, options, error);
    if (!config)
        return false;
    lf_model_fill_info(config, info);
    gboolean complete =
        (!config->files.decoder || lf_decoder_class(config->decoder.type, NULL, error)) &&
        check_exists(config, "transformer", config->files.transformer, error) &&
        check_exists(config, "text encoder", config->files.text_encoder, error) &&
        check_exists(config, "tokenizer", config->files.tokenizer, error) &&
        check_exists(config, "decoder", config->files.decoder, error);
    for (int i = 0; i < config->n_loras && complete; i++)
        complete = check_exists(config, "LoRA", config->loras[i].file, error);
    lf_model_config_free(config);
    return complete;
}

char *lf_model_missing(const char *location, const LfModelOptions *options)
{
    LfModelConfig *config = lf_model_parts(location, options, NULL);
    char *missing = config ? lf_model_parts_missing(config) : NULL;
    lf_model_config_free(config);
    return missing;
}

/* ---- sharing and asking ---------------------------------------------------------------------- */

LfModel *lf_model_ref(LfModel *model)
{
    g_atomic_ref_count_inc(&model->refs);
    return model;
}

void lf_model_unref(LfModel *m)
{
    if (!m || !g_atomic_ref_count_dec(&m->refs))
        return;
    lf_text_encoder_free(m->text_encoder);
    lf_backend_close(m->text_backend);
    lf_transformer_free(m->transformer);
    lf_decoder_free(m->decoder);
    lf_tokenizer_free(m->tokenizer);
    lf_backend_close(m->backend);
    g_ptr_array_unref(m->sources);
    lf_model_config_free(m->config);
    g_free(m->name);
    g_free(m->description);
    g_free(m->backend_name);
    g_free(m);
}

const LfModelInfo *lf_model_info(const LfModel *model)
{
    return &model->info;
}

const char *lf_model_name(const LfModel *model)
{
    return model->name;
}

const char *lf_model_description(const LfModel *model)
{
    return model->description;
}

const char *lf_model_device(const LfModel *model)
{
    return model->backend->description;
}

const char *lf_model_fallback(const LfModel *model)
{
    return *model->backend->fallback ? model->backend->fallback : NULL;
}

LfPrecision lf_model_precision(const LfModel *model)
{
    return model->backend->precision;
}

gboolean lf_model_is_asynchronous(const LfModel *model)
{
    return model->backend->asynchronous;
}

int lf_model_text_dim(const LfModel *model)
{
    return model->config->transformer.text_dim;
}

int lf_model_text_len(const LfModel *model)
{
    return model->config->transformer.text_len;
}

int lf_model_channels(const LfModel *model)
{
    return model->config->transformer.channels;
}

LfLatentFormat lf_model_format(const LfModel *model)
{
    return model->decoder ? model->decoder->class->format : LF_WAN21_FORMAT;
}

int lf_model_latent_scale(const LfModel *model)
{
    return lf_model_format(model).pixels;
}

LfBackend *lf_model_backend(const LfModel *model, GError **error)
{
    /* Why "auto" is the CPU is logged once, for the model's own backend. */
    LfBackend *be = lf_backend_open(model->backend_name, model->n_threads, model->precision,
                                    model->backend ? NULL : &model->log, error);
    if (be)
        be->log = model->log;
    return be;
}

LfBackend *lf_model_text_backend(const LfModel *model, GError **error)
{
    if (!model->text_backend)
        return lf_model_backend(model, error);
    return lf_backend_open_cpu(model->n_threads, error);
}

LfTextEncoderDevice lf_model_text_encoder_device(const LfModel *model)
{
    return model->text_device;
}

size_t lf_model_memory(const LfModel *m)
{
    size_t kept = 0;
    for (guint i = 0; i < m->sources->len; i++)
        kept += lf_weight_source_memory(m->sources->pdata[i]);
    return kept + lf_transformer_memory(m->transformer) +
           (m->text_encoder ? lf_text_encoder_memory(m->text_encoder) : 0) +
           (m->decoder ? m->decoder->class->memory(m->decoder) : 0);
}

/* ---- text ------------------------------------------------------------------------------------ */

static int tokenize(const LfModel *m, const char *prompt, int32_t *ids, int capacity,
                    LfTokenCount *count, GError **error)
{
    if (!m->tokenizer) {
        lf_fail(error, LF_ERROR_UNSUPPORTED,
                "model %s has no text encoder and tokenizer: it takes no prompts", m->name);
        return -1;
    }
    g_autofree char *clean = lf_prompt_clean(prompt, error);
    return clean ? lf_tokenizer_encode(m->tokenizer, clean, ids, capacity, count, error) : -1;
}

int lf_model_tokenize(const LfModel *m, const char *prompt, int32_t *ids, int capacity,
                      GError **error)
{
    return tokenize(m, prompt, ids, capacity, NULL, error);
}

gboolean lf_model_count_tokens(const LfModel *m, const char *prompt, LfPromptTokens *tokens,
                               GError **error)
{
    int capacity = lf_model_text_len(m);
    g_autofree int32_t *ids = g_new(int32_t, capacity);
    LfTokenCount count;
    *tokens = (LfPromptTokens){0};
    int n = tokenize(m, prompt, ids, capacity, &count, error);
    if (n < 0)
        return false;
    *tokens = (LfPromptTokens){count.total, count.total - n, count.unknown};
    return true;
}

static gboolean check_ids(const LfModel *m, const int32_t *ids, int n, GError **error)
{
    if (!m->text_encoder)
        return lf_fail(error, LF_ERROR_UNSUPPORTED, "model %s has no text encoder", m->name);
    if (n < 1 || n > lf_model_text_len(m))
        return lf_fail(error, LF_ERROR_CONFIG, "%d token ids: model %s takes 1 to %d", n, m->name,
                       lf_model_text_len(m));
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->config->text_encoder.vocab)
            return lf_fail(error, LF_ERROR_CONFIG,
                           "token id %d at position %d out of range 0…%d of model %s", ids[i], i,
                           m->config->text_encoder.vocab - 1, m->name);
    return true;
}

gboolean lf_model_encode(LfModel *m, const int32_t *ids, int n, float *out, GError **error)
{
    if (!check_ids(m, ids, n, error))
        return false;
    LfEncoder encoder = lf_encoder(m, &m->log);
    LfText *text = lf_encoder_run(&encoder, ids, n, false, NULL, error);
    lf_encoder_clear(&encoder);
    if (!text)
        return false;
    lf_to_float(out, text->rows.data, text->rows.type, lf_tensor_count(text->rows));
    lf_text_unref(text);
    return true;
}
