/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Loading a model: files are opened and checked against each other before any weight is prepared.
 */
#include "model.h"

#include "files/weights.h"
#include "memory_plan.h"
#include "model_files.h"
#include "model_parts.h"
#include "prompt_cache.h"
#include "text_device.h"

typedef struct {
    LfModel *model;
    const LfModelOptions *options;
    LfModelFiles files;
    LfModelFile part;   /* being loaded */
    double done, total; /* bytes */
} Loading;

static bool report(Loading *l, double share, GError **error)
{
    LfProgress progress = l->options->progress;
    if (!progress || progress(lf_model_file_name(l->part), share, l->options->progress_data))
        return true;
    return lf_fail(error, LF_ERROR_CANCELLED, "loading %s was cancelled", l->model->name);
}

/* After every tensor: a large part takes minutes. */
static bool report_tensor(size_t size, gpointer loading, GError **error)
{
    Loading *l = loading;
    l->done += (double) size;
    return report(l, l->total > 0 ? MIN(l->done / l->total, 1) : 0, error);
}

static bool load_tokenizer(LfModel *m, GError **error)
{
    if (!m->info.can_encode)
        return true;
    m->tokenizer = lf_model_parts_tokenizer(m->config, error);
    return m->tokenizer != NULL;
}

/* Needs a backend of its own if it is the CPU beside a device. */
static bool load_text_encoder(LfModel *m, LfWeightSource *source, GError **error)
{
    const LfTextEncoderConfig *config = &m->config->text_encoder;
    if (m->text_device == LF_TEXT_ENCODER_STREAM) {
        m->text_encoder = lf_text_encoder_new_streamed(config, source, error);
        return m->text_encoder != NULL;
    }
    if (m->text_device == LF_TEXT_ENCODER_CPU && m->backend->asynchronous &&
        !(m->text_backend = lf_backend_open_cpu(m->n_threads, error)))
        return false;
    m->text_encoder =
        lf_text_encoder_new(m->text_backend ? m->text_backend : m->backend, config, source, error);
    return m->text_encoder != NULL;
}

static bool load_part(Loading *l, GError **error)
{
    LfModel *m = l->model;
    LfWeightSource *source = l->files.sources[l->part];
    const LfDecoderClass *class;
    switch (l->part) {
    case LF_MODEL_TEXT_ENCODER:
        return load_text_encoder(m, source, error);
    case LF_MODEL_TRANSFORMER:
        m->transformer = lf_transformer_new(m->backend, &m->config->transformer, source, error);
        return m->transformer != NULL;
    default:
        class = lf_decoder_class(m->config->decoder.type, source, error);
        m->decoder = class ? class->create(m->backend, &m->config->decoder, source, error) : NULL;
        return m->decoder != NULL;
    }
}

/* Everything is checked before any weight is read, which takes minutes. */
static bool check_parts(Loading *l, GError **error)
{
    if (!lf_model_files_check(&l->files, l->model->config, error))
        return false;
    if (l->files.sources[LF_MODEL_TEXT_ENCODER])
        l->model->text_device = lf_text_device_choose(l->model, l->options->text_encoder_device,
                                                      l->files.sources[LF_MODEL_TRANSFORMER],
                                                      l->files.sources[LF_MODEL_DECODER]);
    return true;
}

/* A planned session may need more memory than the model's own size, by which the place of the text
 * encoder was chosen: then it takes the next one that needs less. */
static bool check_memory(Loading *l, GError **error)
{
    LfWeightSource *const *sources = l->files.sources;
    bool automatic = sources[LF_MODEL_TEXT_ENCODER] && l->model->backend->asynchronous &&
                     l->options->text_encoder_device == LF_TEXT_ENCODER_AUTO;
    for (;;) {
        GError *problem = NULL;
        if (lf_memory_check_model(l->model, sources[LF_MODEL_TRANSFORMER],
                                  sources[LF_MODEL_TEXT_ENCODER], sources[LF_MODEL_DECODER],
                                  l->options->planned, &problem))
            return true;
        if (!automatic || l->model->text_device == LF_TEXT_ENCODER_CPU) {
            g_propagate_error(error, problem);
            return false;
        }
        l->model->text_device++; /* DEVICE, STREAM, CPU */
        lf_log(&l->model->log, LF_LOG_INFO, "text encoder: %s, because of the stream's memory: %s",
               lf_text_encoder_device_name(l->model->text_device), problem->message);
        g_error_free(problem);
    }
}

/* A file may hold more than its part needs, so the progress of each part starts at the total size
 * of the files before it. Each part ends with a sync, because sessions read the weights on other
 * streams. */
static bool load_parts(Loading *l, GError **error)
{
    double before = 0;
    bool done = true;
    if (!check_parts(l, error) || !check_memory(l, error))
        return false;
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES; part++)
        l->total +=
            l->files.sources[part] ? (double) lf_weight_source_size(l->files.sources[part]) : 0;
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES && done; part++) {
        LfWeightSource *source = l->files.sources[part];
        if (!source)
            continue;
        l->part = part;
        l->done = before;
        lf_weight_source_set_progress(source, report_tensor, l);
        int64_t start = g_get_monotonic_time();
        done = report_tensor(0, l, error) && load_part(l, error) &&
               l->model->backend->sync(l->model->backend, error);
        lf_weight_source_set_progress(source, NULL, NULL);
        lf_log(&l->model->log, LF_LOG_DEBUG, "%s: %s in %.2f s, %.1f MB in its file",
               lf_model_file_name(part), done ? "loaded" : "given up",
               1e-6 * (double) (g_get_monotonic_time() - start),
               1e-6 * (double) lf_weight_source_size(source));
        before += (double) lf_weight_source_size(source);
    }
    return done && report(l, 1, error);
}

static void describe(LfModel *m)
{
    const LfModelConfig *c = m->config;
    GString *s = g_string_new(NULL);
    g_string_printf(s, "causal Wan transformer, %d layers of %d, %d heads", c->transformer.layers,
                    c->transformer.dim, c->transformer.heads);
    if (m->text_encoder)
        g_string_append_printf(s, "; umT5, %d layers of %d", c->text_encoder.layers,
                               c->text_encoder.dim);
    if (m->decoder) {
        g_autofree char *widths = m->decoder->class->describe(&c->decoder);
        g_string_append_printf(s, "; %s, %s", m->decoder->class->title, widths);
    }
    for (guint i = 0; i < m->sources->len; i++)
        if (lf_weight_source_lora_count(m->sources->pdata[i]) > 0)
            g_string_append_printf(s, "; %d LoRA",
                                   lf_weight_source_lora_count(m->sources->pdata[i]));
    m->description = g_string_free(s, FALSE);
    lf_log(&m->log, LF_LOG_INFO, "model %s: %s; %.1f MB of weights on %s", m->name, m->description,
           1e-6 * (double) lf_model_memory(m), m->backend->name);
}

static LfModel *model_new(const char *name, LfModelConfig *config, const LfModelOptions *options,
                          GError **error)
{
    LfModel *m = g_new0(LfModel, 1);
    g_atomic_ref_count_init(&m->refs);
    m->config = config;
    m->name = g_strdup(name);
    m->sources = g_ptr_array_new_with_free_func((GDestroyNotify) lf_weight_source_free);
    m->backend_name = g_strdup(options->backend ? options->backend : "auto");
    m->n_threads = options->n_threads;
    m->precision = options->precision;
    m->log = options->log;
    m->backend = lf_model_backend(m, error);
    if (m->backend) {
        lf_log(&m->log, LF_LOG_INFO, "model %s: backend \"%s\" is %s, precision %s%s%s", name,
               m->backend_name, m->backend->description, lf_precision_name(m->backend->precision),
               *m->backend->fallback ? "; no GPU: " : "", m->backend->fallback);
        return m;
    }
    lf_model_unref(m);
    return NULL;
}

/* Opens and checks all files; no weight is loaded. */
static bool prepare(Loading *l, GError **error)
{
    LfModel *m = l->model;
    lf_log(&m->log, LF_LOG_INFO, "model %s: opening %s", m->name, m->config->directory);
    if (!m->config->files.transformer)
        return lf_fail(error, LF_ERROR_CONFIG,
                       "%s: model.json has no \"transformer\": it needs one with a \"file\"",
                       m->name);
    lf_model_fill_info(m->config, &m->info);
    bool opened = lf_model_files_open(&l->files, m->config, l->options, error);
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES; part++)
        if (l->files.sources[part])
            g_ptr_array_add(m->sources, l->files.sources[part]);
    return opened && load_tokenizer(m, error);
}

static const LfModelOptions defaults;

/* The name of a checkpoint, or else of the model's directory, also when its path is "." or that of a
 * model.json. */
static char *name_of(const char *location, const LfModelConfig *config)
{
    bool checkpoint =
        !g_str_has_suffix(location, ".json") && !g_file_test(location, G_FILE_TEST_IS_DIR);
    g_autofree char *path =
        g_canonicalize_filename(checkpoint ? location : config->directory, NULL);
    return g_path_get_basename(path);
}

LfModel *lf_model_open(const char *location, const LfModelOptions *options, GError **error)
{
    options = options ? options : &defaults;
    LfModelConfig *config = lf_model_parts(location, options, error);
    if (!config)
        return NULL;
    g_autofree char *name = name_of(location, config);
    Loading l = {.model = model_new(name, config, options, error), .options = options};
    if (!l.model)
        return NULL;
    bool loaded = prepare(&l, error) && load_parts(&l, error);
    if (loaded && l.files.files[LF_MODEL_TEXT_ENCODER]) {
        l.model->text_size = lf_weight_source_size(l.files.sources[LF_MODEL_TEXT_ENCODER]);
        lf_prompt_cache_identify(l.model, l.files.files[LF_MODEL_TEXT_ENCODER]);
    }
    lf_model_files_clear(&l.files);
    if (loaded)
        describe(l.model);
    else
        g_clear_pointer(&l.model, lf_model_unref);
    return l.model;
}

gboolean lf_memory_plan(const char *location, const LfModelOptions *options,
                        const LfSessionOptions *session, LfMemoryPlan *plan, GError **error)
{
    static const LfSessionOptions plain;
    options = options ? options : &defaults;
    LfModelConfig *config = lf_model_parts(location, options, error);
    if (!config)
        return FALSE;
    g_autofree char *name = name_of(location, config);
    Loading l = {.model = model_new(name, config, options, error), .options = options};
    if (!l.model)
        return FALSE;
    bool planned = prepare(&l, error) && check_parts(&l, error) &&
                   lf_memory_plan_model(l.model, l.files.sources[LF_MODEL_TRANSFORMER],
                                        l.files.sources[LF_MODEL_TEXT_ENCODER],
                                        l.files.sources[LF_MODEL_DECODER],
                                        session ? session : &plain, plan, error);
    lf_model_files_clear(&l.files);
    lf_model_unref(l.model);
    return planned;
}

LfModel *lf_model_new_random(const char *preset, uint64_t seed, const LfModelOptions *options,
                             GError **error)
{
    LfModelConfig *config = lf_model_config_preset(preset);
    if (!config) {
        g_autofree char *presets = lf_model_config_presets();
        lf_fail(error, LF_ERROR_NOT_FOUND, "no preset \"%s\": there are %s", preset, presets);
        return NULL;
    }
    options = options ? options : &defaults;
    if (options->n_loras > 0) {
        lf_fail(error, LF_ERROR_UNSUPPORTED, "random weights take no LoRA");
        lf_model_config_free(config);
        return NULL;
    }
    Loading l = {.model = model_new(preset, config, options, error), .options = options};
    if (!l.model)
        return NULL;
    LfWeightSource *source = lf_weight_source_random(seed);
    g_ptr_array_add(l.model->sources, source);
    l.files.sources[LF_MODEL_TRANSFORMER] = l.files.sources[LF_MODEL_DECODER] = source;
    lf_model_fill_info(config, &l.model->info);
    l.model->info.can_decode = true;
    bool loaded = load_parts(&l, error);
    if (!loaded) {
        lf_model_unref(l.model);
        return NULL;
    }
    describe(l.model);
    return l.model;
}
