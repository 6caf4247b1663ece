/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model.h"

/* ---- where models are ---------------------------------------------------------------------- */

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

/* ---- the numbers alone --------------------------------------------------------------------- */

static void fill_info(const LfModelConfig *c, LfModelInfo *info)
{
    *info = (LfModelInfo){.width = c->video.width,
                          .height = c->video.height,
                          .fps_n = c->video.fps_n,
                          .fps_d = c->video.fps_d,
                          .chunk = c->video.chunk,
                          .window = c->cache.window,
                          .sink = c->cache.sink,
                          .sparse = c->sparse.given,
                          .sparsity = c->sparse.target,
                          .can_encode = c->text_encoder.file && c->tokenizer_file,
                          .can_decode = c->decoder.file != NULL};
}

static gboolean check_exists(const LfModelConfig *config, const char *part, const char *file,
                             GError **error)
{
    if (!file)
        return TRUE;
    g_autofree char *path = lf_model_config_path(config, file);
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return TRUE;
    g_set_error(error, LF_ERROR, LF_ERROR_NOT_FOUND,
                "%s: no such file, which model.json names as the %s: put it there or correct the "
                "name",
                path, part);
    return FALSE;
}

gboolean lf_model_probe(const char *location, LfModelInfo *info, GError **error)
{
    LfModelConfig *config = lf_model_config_read(location, error);
    if (!config)
        return FALSE;
    fill_info(config, info);
    gboolean complete = check_exists(config, "transformer", config->transformer.file, error) &&
                        check_exists(config, "text encoder", config->text_encoder.file, error) &&
                        check_exists(config, "tokenizer", config->tokenizer_file, error) &&
                        check_exists(config, "decoder", config->decoder.file, error);
    lf_model_config_free(config);
    return complete;
}

/* ---- loading ------------------------------------------------------------------------------- */

typedef enum { TEXT_ENCODER, TRANSFORMER, DECODER, N_PARTS } Part;

static const char *const part_names[N_PARTS] = {"text encoder", "transformer", "decoder"};

typedef struct {
    LfModel *model;
    const LfModelOptions *options;
    LfTensorFile *files[N_PARTS];     /* NULL: not there, or random */
    LfWeightSource *sources[N_PARTS]; /* NULL: not there; the model's */
    Part part;                        /* at work */
    double done, total;               /* bytes */
} Loading;

static gboolean report(Loading *l, double share, GError **error)
{
    LfProgress progress = l->options->progress;
    if (!progress || progress(part_names[l->part], share, l->options->progress_data))
        return TRUE;
    g_set_error(error, LF_ERROR, LF_ERROR_CANCELLED, "loading %s was cancelled", l->model->name);
    return FALSE;
}

/* After every tensor: a large part takes minutes. */
static gboolean report_tensor(size_t size, gpointer loading, GError **error)
{
    Loading *l = loading;
    l->done += (double) size;
    return report(l, l->total > 0 ? MIN(l->done / l->total, 1) : 0, error);
}

/* Numbers that model.json gives for its own file say nothing of a file named in its place. */
static void forget_encoder_numbers(LfTextEncoderConfig *e)
{
    *e = (LfTextEncoderConfig){.buckets = e->buckets, .max_distance = e->max_distance};
}

static void replace_file(char **file, const LfModelConfig *from, const char *name)
{
    char *path = name ? lf_model_config_path(from, name) : NULL;
    g_free(*file);
    *file = path;
}

static gboolean replace_text_encoder(LfModelConfig *config, const char *location, GError **error)
{
    LfTextEncoderConfig *e = &config->text_encoder;
    if (!g_file_test(location, G_FILE_TEST_IS_DIR)) {
        g_free(e->file);
        forget_encoder_numbers(e);
        e->file = g_canonicalize_filename(location, NULL);
        return TRUE;
    }
    LfModelConfig *other = lf_model_config_read(location, error);
    if (!other)
        return FALSE;
    char *file = e->file;
    *e = other->text_encoder;
    e->file = file;
    replace_file(&e->file, other, other->text_encoder.file);
    replace_file(&config->tokenizer_file, other, other->tokenizer_file);
    lf_model_config_free(other);
    return TRUE;
}

static gboolean replace_decoder(LfModelConfig *config, const char *location, GError **error)
{
    LfDecoderConfig *d = &config->decoder;
    if (!g_file_test(location, G_FILE_TEST_IS_DIR)) {
        g_free(d->file);
        *d = (LfDecoderConfig){.file = g_canonicalize_filename(location, NULL)};
        return TRUE;
    }
    LfModelConfig *other = lf_model_config_read(location, error);
    if (!other)
        return FALSE;
    char *file = d->file;
    *d = other->decoder;
    d->file = file;
    replace_file(&d->file, other, other->decoder.file);
    lf_model_config_free(other);
    return TRUE;
}

static LfWeightSource *add_source(LfModel *m, LfWeightSource *source)
{
    g_ptr_array_add(m->sources, source);
    return source;
}

/* Opens the file of a part, if the model has that part. */
static gboolean open_part(Loading *l, Part part, const char *file, GError **error)
{
    if (!file)
        return TRUE;
    g_autofree char *path = lf_model_config_path(l->model->config, file);
    LfTensorFile *opened = l->files[part] = lf_tensor_file_open(path, error);
    if (!opened)
        return FALSE;
    l->sources[part] = add_source(l->model, lf_weight_source_file(opened));
    return TRUE;
}

static gboolean open_files(Loading *l, GError **error)
{
    LfModelConfig *c = l->model->config;
    return open_part(l, TEXT_ENCODER, c->text_encoder.file, error) &&
           open_part(l, TRANSFORMER, c->transformer.file, error) &&
           open_part(l, DECODER, c->decoder.file, error);
}

/* What model.json leaves out stands in the tensors' shapes; then the parts have to fit. */
static gboolean complete(Loading *l, GError **error)
{
    LfModelConfig *c = l->model->config;
    LfTensorFile *encoder = l->files[TEXT_ENCODER], *decoder = l->files[DECODER];
    return lf_transformer_config_complete(&c->transformer, l->files[TRANSFORMER], error) &&
           (!encoder || lf_text_encoder_config_complete(&c->text_encoder, encoder, error)) &&
           (!decoder || lf_decoder_config_complete(&c->decoder, decoder, error)) &&
           lf_model_config_check(c, error);
}

static gboolean load_tokenizer(LfModel *m, GError **error)
{
    if (!m->info.can_encode)
        return TRUE;
    g_autofree char *path = lf_model_config_path(m->config, m->config->tokenizer_file);
    m->tokenizer = lf_tokenizer_open(path, error);
    if (!m->tokenizer)
        return FALSE;
    int pieces = lf_tokenizer_size(m->tokenizer), vocab = m->config->text_encoder.vocab;
    if (pieces <= vocab)
        return TRUE;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "%s has %d pieces, the text encoder knows %d: they are of different models", path,
                pieces, vocab);
    return FALSE;
}

static gboolean load_part(Loading *l, GError **error)
{
    LfModel *m = l->model;
    LfWeightSource *source = l->sources[l->part];
    switch (l->part) {
    case TEXT_ENCODER:
        m->text_encoder = lf_text_encoder_new(m->backend, &m->config->text_encoder, source, error);
        return m->text_encoder != NULL;
    case TRANSFORMER:
        m->transformer = lf_transformer_new(m->backend, &m->config->transformer, source, error);
        return m->transformer != NULL;
    default:
        m->decoder = lf_decoder_tiny_new(m->backend, &m->config->decoder, source, error);
        return m->decoder != NULL;
    }
}

/* A file may hold more than its part needs, so each part starts at what those before it weigh. */
static gboolean load_parts(Loading *l, GError **error)
{
    double before = 0;
    gboolean done = TRUE;
    for (Part part = 0; part < N_PARTS; part++)
        l->total += l->sources[part] ? (double) lf_weight_source_size(l->sources[part]) : 0;
    for (Part part = 0; part < N_PARTS && done; part++) {
        LfWeightSource *source = l->sources[part];
        if (!source)
            continue;
        l->part = part;
        l->done = before;
        lf_weight_source_set_progress(source, report_tensor, l);
        done = report_tensor(0, l, error) && load_part(l, error);
        lf_weight_source_set_progress(source, NULL, NULL);
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
    if (m->decoder)
        g_string_append_printf(s, "; tiny decoder, %d/%d/%d/%d channels", c->decoder.widths[0],
                               c->decoder.widths[1], c->decoder.widths[2], c->decoder.widths[3]);
    m->description = g_string_free(s, FALSE);
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
    m->backend = lf_model_backend(m, error);
    if (m->backend)
        return m;
    lf_model_unref(m);
    return NULL;
}

static gboolean load_files(Loading *l, GError **error)
{
    LfModel *m = l->model;
    const LfModelOptions *o = l->options;
    if (o->text_encoder_location &&
        !replace_text_encoder(m->config, o->text_encoder_location, error))
        return FALSE;
    if (o->decoder_location && !replace_decoder(m->config, o->decoder_location, error))
        return FALSE;
    if (!m->config->transformer.file) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "%s: model.json has no \"transformer\": it needs one with a \"file\"", m->name);
        return FALSE;
    }
    fill_info(m->config, &m->info);
    return open_files(l, error) && complete(l, error) && load_tokenizer(m, error) &&
           load_parts(l, error);
}

static const LfModelOptions defaults;

/* Of the directory, also for "." and for the path of a model.json. */
static char *name_of(const LfModelConfig *config)
{
    g_autofree char *path = g_canonicalize_filename(config->directory, NULL);
    return g_path_get_basename(path);
}

LfModel *lf_model_open(const char *location, const LfModelOptions *options, GError **error)
{
    LfModelConfig *config = lf_model_config_read(location, error);
    if (!config)
        return NULL;
    g_autofree char *name = name_of(config);
    options = options ? options : &defaults;
    Loading l = {.model = model_new(name, config, options, error), .options = options};
    if (!l.model)
        return NULL;
    gboolean loaded = load_files(&l, error);
    for (Part part = 0; part < N_PARTS; part++)
        lf_tensor_file_unref(l.files[part]);
    if (loaded)
        describe(l.model);
    else
        g_clear_pointer(&l.model, lf_model_unref);
    return l.model;
}

LfModel *lf_model_new_random(const char *preset, uint64_t seed, const LfModelOptions *options,
                             GError **error)
{
    LfModelConfig *config = lf_model_config_preset(preset);
    if (!config) {
        g_set_error(error, LF_ERROR, LF_ERROR_NOT_FOUND,
                    "no preset \"%s\": there are \"demo\" and \"wan-1.3b\"", preset);
        return NULL;
    }
    options = options ? options : &defaults;
    Loading l = {.model = model_new(preset, config, options, error), .options = options};
    if (!l.model)
        return NULL;
    LfWeightSource *source = add_source(l.model, lf_weight_source_random(seed));
    l.sources[TRANSFORMER] = l.sources[DECODER] = source;
    gboolean loaded = load_parts(&l, error);
    if (!loaded) {
        lf_model_unref(l.model);
        return NULL;
    }
    fill_info(config, &l.model->info);
    l.model->info.can_encode = FALSE;
    l.model->info.can_decode = TRUE;
    describe(l.model);
    return l.model;
}

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
    lf_transformer_free(m->transformer);
    lf_decoder_tiny_free(m->decoder);
    lf_tokenizer_free(m->tokenizer);
    lf_backend_close(m->backend);
    g_ptr_array_unref(m->sources);
    lf_model_config_free(m->config);
    g_free(m->name);
    g_free(m->description);
    g_free(m->backend_name);
    g_free(m);
}

/* ---- asking ---------------------------------------------------------------------------------- */

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

int lf_model_text_dim(const LfModel *model)
{
    return model->config->transformer.text_dim;
}

int lf_model_text_len(const LfModel *model)
{
    return model->config->transformer.text_len;
}

LfBackend *lf_model_backend(const LfModel *model, GError **error)
{
    return lf_backend_open(model->backend_name, model->n_threads, error);
}

size_t lf_model_memory(const LfModel *m)
{
    size_t kept = 0;
    for (guint i = 0; i < m->sources->len; i++)
        kept += lf_weight_source_memory(m->sources->pdata[i]);
    return kept + lf_transformer_memory(m->transformer) +
           (m->text_encoder ? lf_text_encoder_memory(m->text_encoder) : 0) +
           (m->decoder ? lf_decoder_tiny_memory(m->decoder) : 0);
}

/* ---- text ------------------------------------------------------------------------------------ */

int lf_model_tokenize(const LfModel *m, const char *prompt, int32_t *ids, int capacity,
                      GError **error)
{
    if (!m->tokenizer) {
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "model %s has no text encoder and tokenizer: it takes no prompts", m->name);
        return -1;
    }
    g_autofree char *clean = lf_prompt_clean(prompt, error);
    return clean ? lf_tokenizer_encode(m->tokenizer, clean, ids, capacity, error) : -1;
}

static gboolean check_ids(const LfModel *m, const int32_t *ids, int n, GError **error)
{
    if (!m->text_encoder) {
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED, "model %s has no text encoder", m->name);
        return FALSE;
    }
    if (n < 1 || n > lf_model_text_len(m)) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG, "%d token ids: model %s takes 1 to %d", n,
                    m->name, lf_model_text_len(m));
        return FALSE;
    }
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->config->text_encoder.vocab) {
            g_set_error(error, LF_ERROR, LF_ERROR_CONFIG, "token id %d at %d: model %s has 0 to %d",
                        ids[i], i, m->name, m->config->text_encoder.vocab - 1);
            return FALSE;
        }
    return TRUE;
}

/* The encoder on `be`, with all the memory that it takes for this once. */
static gboolean encode_on(const LfModel *m, LfBackend *be, const int32_t *ids, int n, float *out,
                          GError **error)
{
    LfArena plan = lf_arena_plan(), arena = {0};
    int dim = lf_model_text_dim(m);
    LfTensor tokens = lf_arena_tensor(&plan, LF_I32, n),
             text = lf_arena_tensor(&plan, LF_F32, n, dim);
    lf_text_encoder_forward(m->text_encoder, lf_backend_plan(), &plan, text, tokens, NULL);
    if (!lf_arena_init(&arena, be, plan.peak, error))
        return FALSE;
    tokens = lf_arena_tensor(&arena, LF_I32, n);
    text = lf_arena_tensor(&arena, LF_F32, n, dim);
    be->upload(be, tokens.data, ids, lf_tensor_size(tokens));
    lf_text_encoder_forward(m->text_encoder, be, &arena, text, tokens, NULL);
    be->download(be, out, text.data, lf_tensor_size(text));
    gboolean done = be->sync(be, error);
    lf_arena_clear(&arena);
    return done;
}

gboolean lf_model_encode(LfModel *m, const int32_t *ids, int n, float *out, GError **error)
{
    if (!check_ids(m, ids, n, error))
        return FALSE;
    LfBackend *be = lf_model_backend(m, error);
    if (!be)
        return FALSE;
    gboolean done = encode_on(m, be, ids, n, out, error);
    lf_backend_close(be);
    return done;
}
