/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A model whose parts are on the plan backend, and a worker on it, have the sizes of real ones.
 */
#include "memory_plan.h"

#include "session.h"

#include <math.h>

static const char *const names[LF_N_NEEDS] = {"transformer", "text encoder", "decoder", "KV cache",
                                              "state",       "scratch",      "frames"};

/* "11.4 GB" */
static char *size_text(uint64_t size)
{
    return size >= 1000000000 ? g_strdup_printf("%.1f GB", 1e-9 * (double) size)
                              : g_strdup_printf("%.1f MB", 1e-6 * (double) size);
}

static uint64_t sum_of(const LfMemoryPlan *plan)
{
    uint64_t sum = 0;
    for (int i = 0; i < LF_N_NEEDS; i++)
        sum += plan->bytes[i];
    return sum;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Of the passes of the longest prompt. */
static size_t text_scratch(const LfModel *m, LfBackend *be)
{
    LfArena plan = lf_arena_plan();
    int n = lf_model_text_len(m);
    LfTensor ids = lf_arena_tensor(&plan, LF_I32, n);
    LfTensor rows = lf_arena_tensor(&plan, be->activation_type, n, lf_model_text_dim(m));
    lf_text_encoder_forward(m->text_encoder, be, &plan, rows, ids, NULL);
    return plan.peak;
}

/* The weights of a text encoder that stay on the model's device. */
static size_t text_weights(const LfModel *m)
{
    bool beside = m->text_device == LF_TEXT_ENCODER_CPU && m->backend->asynchronous;
    bool streamed = m->text_device == LF_TEXT_ENCODER_STREAM;
    return m->text_encoder && !beside && !streamed ? lf_text_encoder_memory(m->text_encoder) : 0;
}

static size_t text_size(const LfModel *m)
{
    LfBackend *be = lf_backend_plan(m->backend);
    if (!m->text_encoder || (m->text_device == LF_TEXT_ENCODER_CPU && m->backend->asynchronous))
        return 0;
    size_t streamed =
        m->text_device == LF_TEXT_ENCODER_STREAM
            ? lf_text_encoder_streamed_memory(&m->config->text_encoder, be->activation_type)
            : 0;
    return text_weights(m) + streamed + text_scratch(m, be);
}

static void add_weights(const LfModel *m, LfMemoryPlan *plan)
{
    plan->bytes[LF_NEEDS_TRANSFORMER] = lf_transformer_memory(m->transformer);
    plan->bytes[LF_NEEDS_TEXT_ENCODER] = text_size(m);
    plan->bytes[LF_NEEDS_DECODER] = m->decoder ? m->decoder->class->memory(m->decoder) : 0;
}

static bool add_session(const LfModel *m, const LfWorkerConfig *config, LfMemoryPlan *plan,
                        GError **error)
{
    LfWorker w = {0};
    LfScratchSize scratch;
    const LfGeometry *g = &config->geometry;
    bool done = lf_worker_open_plan(&w, m, config, error) && lf_worker_measure(&w, &scratch, error);
    if (done) {
        LfWorkerConfig first = *config; /* an unbounded window begins with one chunk */
        first.window = config->window > 0 ? config->window : g->chunk + config->sink;
        LfWorker sized = {.model = m, .config = first};
        LfKvCacheConfig of_cache = lf_worker_cache_config(&sized);
        LfKvCache *cache = lf_kv_cache_new(w.be, &of_cache, error);
        done = cache != NULL;
        plan->bytes[LF_NEEDS_CACHE] = done ? lf_kv_cache_memory(cache) : 0;
        plan->bytes[LF_NEEDS_STATE] = w.state.peak + w.past.memory.peak;
        plan->bytes[LF_NEEDS_SCRATCH] = scratch.own + scratch.decoder;
        plan->bytes[LF_NEEDS_FRAMES] = config->has_pixels
                                           ? 2 * 3 * (uint64_t) lf_decoded_frames(g) *
                                                 (uint64_t) g->width * (uint64_t) g->height
                                           : 0;
        lf_kv_cache_free(cache);
    }
    lf_worker_close(&w, true);
    return done;
}

/* With `config` NULL the weights alone. */
static bool plan_all(const LfModel *m, const LfWorkerConfig *config, LfMemoryPlan *plan,
                     GError **error)
{
    LfBackend *be = m->backend;
    size_t unused, total;
    *plan = (LfMemoryPlan){.precision = be->precision, .text_encoder_device = m->text_device};
    g_strlcpy(plan->device, be->description, sizeof plan->device);
    if (be->memory && be->memory(be, &unused, &total)) {
        plan->unused = unused;
        plan->total = total;
    }
    add_weights(m, plan);
    if (config) {
        plan->width = config->geometry.width;
        plan->height = config->geometry.height;
        plan->window = config->window;
        plan->chunk = config->geometry.chunk;
        if (!config->has_text) /* nothing is encoded */
            plan->bytes[LF_NEEDS_TEXT_ENCODER] = text_weights(m);
        if (!add_session(m, config, plan, error))
            return false;
    }
    plan->needed = sum_of(plan);
    return true;
}

/* ---- the table ------------------------------------------------------------------------------- */

char *lf_memory_plan_text(const LfMemoryPlan *plan)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "memory of %s, precision %s", plan->device,
                           lf_precision_name(plan->precision));
    if (plan->text_encoder_device != LF_TEXT_ENCODER_AUTO)
        g_string_append_printf(text, ", text encoder: %s",
                               lf_text_encoder_device_name(plan->text_encoder_device));
    if (plan->width > 0) {
        g_autofree char *window =
            plan->window > 0 ? g_strdup_printf("%d", plan->window) : g_strdup("unbounded");
        g_string_append_printf(text, "; %d×%d, window %s, chunk %d", plan->width, plan->height,
                               window, plan->chunk);
    }
    for (int i = 0; i < LF_N_NEEDS; i++) {
        g_autofree char *size = size_text(plan->bytes[i]);
        g_string_append_printf(text, "\n  %-13s %10s", names[i], size);
    }
    g_autofree char *needed = size_text(plan->needed), *unused = size_text(plan->unused);
    g_autofree char *total = size_text(plan->total);
    g_string_append_printf(text, "\n  %-13s %10s", "in all", needed);
    if (plan->total > 0)
        g_string_append_printf(text, "\n  %-13s %10s of %s", "free", unused, total);
    return g_string_free(text, FALSE);
}

/* ---- what would make it fit ------------------------------------------------------------------ */

typedef struct {
    char *setting;
    uint64_t saved;
} Cure;

typedef struct {
    const LfModel *model;
    const LfWorkerConfig *config; /* NULL: no session is known */
    const LfMemoryPlan *plan;
    uint64_t excess; /* bytes that are missing */
    int n;
    Cure cures[4];
} Advice;

/* What saves next to nothing is no cure. */
static void suggest(Advice *a, char *setting, uint64_t saved)
{
    if (saved > 0 && saved >= a->excess / 20)
        a->cures[a->n++] = (Cure){setting, saved};
    else
        g_free(setting);
}

/* Whether the model's device has FP8. */
static bool has_fp8(const LfModel *m)
{
    LfBackend *be = lf_backend_open(m->backend_name, m->n_threads, LF_PRECISION_FP8, NULL, NULL);
    bool has = be && be->asynchronous;
    lf_backend_close(be);
    return has;
}

static void suggest_precision(Advice *a)
{
    static const LfBackend like = {.activation_type = LF_BF16, .precision = LF_PRECISION_FP8};
    if (a->model->backend->precision != LF_PRECISION_BF16 || !has_fp8(a->model))
        return;
    LfWeightSource *shapes = lf_weight_source_random(0);
    LfTransformer *t =
        lf_transformer_new(lf_backend_plan(&like), &a->model->config->transformer, shapes, NULL);
    uint64_t now = a->plan->bytes[LF_NEEDS_TRANSFORMER];
    uint64_t then = t ? lf_transformer_memory(t) : now;
    suggest(a, g_strdup("precision=fp8"), now > then ? now - then : 0);
    lf_transformer_free(t);
    lf_weight_source_free(shapes);
}

static void suggest_text_device(Advice *a)
{
    const LfModel *m = a->model;
    LfModel other = *m;
    if (!m->text_encoder || !m->backend->asynchronous || m->text_device == LF_TEXT_ENCODER_CPU)
        return;
    other.text_device = LF_TEXT_ENCODER_STREAM;
    uint64_t now = a->plan->bytes[LF_NEEDS_TEXT_ENCODER], streamed = text_size(&other);
    if (m->text_device == LF_TEXT_ENCODER_DEVICE && now >= streamed && now - streamed >= a->excess)
        suggest(a, g_strdup("text-encoder-device=stream"), now - streamed);
    else
        suggest(a, g_strdup("text-encoder-device=cpu"), now);
}

static uint64_t saved_by(const Advice *a, const LfWorkerConfig *config)
{
    LfMemoryPlan plan;
    bool known = plan_all(a->model, config, &plan, NULL);
    return known && plan.needed < a->plan->needed ? a->plan->needed - plan.needed : 0;
}

/* The largest window that fits, or the smallest that there is. */
static void suggest_window(Advice *a)
{
    LfWorkerConfig config = *a->config;
    int chunk = config.geometry.chunk, least = chunk + config.sink;
    double cache = (double) a->plan->bytes[LF_NEEDS_CACHE];
    double share = 1 - (double) a->excess / cache;
    if (config.window <= least || cache <= 0)
        return;
    int fitting = share > 0 ? (int) ((double) config.window * share) / chunk * chunk : 0;
    config.window = CLAMP(fitting, least, config.window - 1);
    suggest(a, g_strdup_printf("attention-window=%d", config.window), saved_by(a, &config));
}

/* The largest size of the same shape that fits, or the smallest one that is of use. */
static void suggest_size(Advice *a)
{
    enum { LEAST = 128 };
    LfWorkerConfig config = *a->config;
    const LfGeometry *g = &a->config->geometry;
    double sized = 0, share;
    for (int i = LF_NEEDS_CACHE; i < LF_N_NEEDS; i++)
        sized += (double) a->plan->bytes[i];
    share = sized > 0 ? 1 - (double) a->excess / sized : 0;
    for (double side = share > 0 ? sqrt(share) : 0.5; side > 0.1; side -= 1.0 / 32) {
        int width = (int) (g->width * side) / LF_SIZE_STEP * LF_SIZE_STEP;
        int height = (int) (g->height * side) / LF_SIZE_STEP * LF_SIZE_STEP;
        config.geometry = lf_geometry_of(g->format, width, height, g->chunk);
        config.geometry.tile_rows = g->tile_rows;
        config.geometry.tile_cols = g->tile_cols;
        if (MIN(width, height) < LEAST)
            return;
        if (lf_tiles_fit(&config.geometry)) {
            suggest(a, g_strdup_printf("%d×%d", width, height), saved_by(a, &config));
            return;
        }
    }
}

/* What is enough first, then what saves most. */
static int by_use(const void *left, const void *right, gpointer advice)
{
    const Cure *x = left, *y = right;
    uint64_t excess = ((const Advice *) advice)->excess;
    int enough = (y->saved >= excess) - (x->saved >= excess);
    return enough ? enough : (y->saved > x->saved) - (y->saved < x->saved);
}

/* "Set text-encoder-device=stream, which saves 10.6 GB (enough), or …" Transfer full. */
static char *advice_text(Advice *a)
{
    enum { MOST = 3 };
    GString *text = g_string_new(NULL);
    suggest_precision(a);
    suggest_text_device(a);
    if (a->config) {
        suggest_window(a);
        suggest_size(a);
    }
    g_qsort_with_data(a->cures, a->n, sizeof *a->cures, by_use, a);
    for (int i = 0; i < MIN(a->n, MOST); i++) {
        g_autofree char *saved = size_text(a->cures[i].saved);
        g_string_append_printf(text, "%s%s saves %s%s", i ? "; " : "", a->cures[i].setting, saved,
                               a->cures[i].saved >= a->excess ? " (enough)" : "");
    }
    for (int i = 0; i < a->n; i++)
        g_free(a->cures[i].setting);
    if (text->len == 0)
        g_string_append(text, "use a smaller model, or a device with more memory");
    return g_string_free(text, FALSE);
}

/* `there`: bytes of the plan that are allocated already. */
static bool check(const LfModel *m, const LfWorkerConfig *config, const LfMemoryPlan *plan,
                  uint64_t there, GError **error)
{
    uint64_t needed = plan->needed - there;
    if (plan->total == 0 || needed <= plan->unused)
        return true;
    Advice advice = {m, config, plan, needed - plan->unused, 0, {{0}}};
    g_autofree char *cures = advice_text(&advice), *more = size_text(needed);
    g_autofree char *unused = size_text(plan->unused), *all = size_text(plan->needed);
    g_autofree char *which = NULL;
    GString *parts = g_string_new(NULL);
    for (int i = 0; i < LF_N_NEEDS; i++) {
        g_autofree char *size = size_text(plan->bytes[i]);
        if (plan->bytes[i] > 0)
            g_string_append_printf(parts, "%s%s %s", parts->len ? ", " : "", names[i], size);
    }
    which = g_string_free(parts, FALSE);
    return lf_fail(error, LF_ERROR_MEMORY,
                   "not enough memory on %s: %s %s needed, of %s in all (%s), and %s are free. %s",
                   plan->device, more, there > 0 ? "more are" : "are", all, which, unused, cures);
}

/* ---- before anything is allocated ------------------------------------------------------------ */

static void log_plan(const LfLog *log, LfLogLevel level, const LfMemoryPlan *plan)
{
    g_autofree char *text = lf_memory_plan_text(plan);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        lf_log(log, level, "%s", *line);
}

bool lf_memory_check_session(const LfModel *m, const LfWorkerConfig *config, const LfLog *log,
                             GError **error)
{
    LfMemoryPlan plan;
    if (!plan_all(m, config, &plan, error))
        return false;
    log_plan(log->write ? log : &m->log, LF_LOG_INFO, &plan);
    return check(m, config, &plan,
                 plan.bytes[LF_NEEDS_TRANSFORMER] + plan.bytes[LF_NEEDS_DECODER] + text_weights(m),
                 error);
}

/* `m` with parts on the plan backend; free them with clear_parts. */
static bool plan_parts(LfModel *m, LfWeightSource *transformer, LfWeightSource *text_encoder,
                       LfWeightSource *decoder, GError **error)
{
    LfBackend *be = lf_backend_plan(m->backend);
    const LfModelConfig *c = m->config;
    m->transformer = lf_transformer_new(be, &c->transformer, transformer, error);
    if (m->transformer && text_encoder)
        m->text_encoder = lf_text_encoder_new(be, &c->text_encoder, text_encoder, error);
    if (!m->transformer || (text_encoder && !m->text_encoder))
        return false;
    const LfDecoderClass *class =
        decoder ? lf_decoder_class(c->decoder.type, decoder, error) : NULL;
    m->decoder = class ? class->create(be, &c->decoder, decoder, error) : NULL;
    return !decoder || m->decoder;
}

static void clear_parts(LfModel *m)
{
    lf_transformer_free(m->transformer);
    lf_text_encoder_free(m->text_encoder);
    lf_decoder_free(m->decoder);
}

bool lf_memory_plan_model(const LfModel *model, LfWeightSource *transformer,
                          LfWeightSource *text_encoder, LfWeightSource *decoder,
                          const LfSessionOptions *session, LfMemoryPlan *plan, GError **error)
{
    LfModel m = *model;
    LfWorkerConfig config;
    bool planned = plan_parts(&m, transformer, text_encoder, decoder, error) &&
                   lf_session_config(&m, session, &config, error) &&
                   plan_all(&m, &config, plan, error);
    clear_parts(&m);
    return planned;
}

bool lf_memory_check_model(const LfModel *model, LfWeightSource *transformer,
                           LfWeightSource *text_encoder, LfWeightSource *decoder,
                           const LfSessionOptions *planned, GError **error)
{
    LfModel m = *model;
    LfMemoryPlan plan;
    LfWorkerConfig config;
    bool fits = plan_parts(&m, transformer, text_encoder, decoder, error);
    if (fits) {
        /* What is wrong with the session is told when it is opened. */
        bool known = planned && lf_session_config(&m, planned, &config, NULL) &&
                     plan_all(&m, &config, &plan, NULL);
        fits = known || plan_all(&m, NULL, &plan, error);
        if (fits)
            log_plan(&m.log, LF_LOG_DEBUG, &plan);
        fits = fits && check(&m, known ? &config : NULL, &plan, 0, error);
    }
    clear_parts(&m);
    return fits;
}
