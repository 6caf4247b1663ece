/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Creating a session: options are checked and become the stream's and the worker's configuration.
 * Everything that a session needs is allocated here.
 */
#include "session.h"

#include "memory_plan.h"
#include "steps.h"

static bool check_size(const char *name, int size, GError **error)
{
    if (size >= LF_SIZE_STEP && size <= LF_MAX_SIZE && size % LF_SIZE_STEP == 0)
        return true;
    return lf_fail(error, LF_ERROR_CONFIG, "%s %d: choose a multiple of %d, %d to %d", name, size,
                   LF_SIZE_STEP, LF_SIZE_STEP, LF_MAX_SIZE);
}

static bool check_block(const char *name, int block, GError **error)
{
    if (block >= 0 && block <= LF_MAX_BLOCK)
        return true;
    return lf_fail(error, LF_ERROR_CONFIG, "%s %d: choose 1 to %d tokens, or 0 for the model's",
                   name, block, LF_MAX_BLOCK);
}

static bool check_steps(const char *name, const LfSteps *steps, GError **error)
{
    if (steps->n == 0 || lf_steps_check(steps, error))
        return true;
    g_prefix_error(error, "%s: ", name);
    return false;
}

static bool check_sampling(const LfModel *m, const LfSessionOptions *o, GError **error)
{
    if (o->chunk < 0 || o->chunk > LF_MAX_CHUNK)
        return lf_fail(error, LF_ERROR_CONFIG,
                       "chunk %d: choose 1 to %d latent frames, or 0 for the model's", o->chunk,
                       LF_MAX_CHUNK);
    if (!check_steps("steps", &o->steps, error) ||
        !check_steps("first_steps", &o->first_steps, error))
        return false;
    if (o->shift != 0 && !(o->shift >= LF_MIN_SHIFT && o->shift <= LF_MAX_SHIFT))
        return lf_fail(error, LF_ERROR_CONFIG,
                       "shift %g: choose a number from %g to %g, or 0 for the model's", o->shift,
                       LF_MIN_SHIFT, LF_MAX_SHIFT);
    if (o->shift != 0 && !m->config->schedule.warp)
        return lf_fail(error, LF_ERROR_CONFIG,
                       "shift %g: model %s takes its steps as they are (schedule.warp is false): "
                       "set other steps in place of a shift",
                       o->shift, m->name);
    return true;
}

static bool check_options(const LfModel *m, const LfSessionOptions *o, GError **error)
{
    int fixed = m->config->sparse.keep_sink + m->config->sparse.keep_near;
    if (o->attention < LF_ATTENTION_AUTO || o->attention > LF_ATTENTION_SPARSE)
        return lf_fail(error, LF_ERROR_CONFIG, "attention %d: there are auto, dense and sparse",
                       o->attention);
    if (o->text_encoding < LF_TEXT_WAIT || o->text_encoding > LF_TEXT_BESIDE)
        return lf_fail(error, LF_ERROR_CONFIG, "text_encoding %d: there are wait and beside",
                       o->text_encoding);
    if (o->transition < LF_TRANSITION_CONTINUE || o->transition > LF_TRANSITION_CUT)
        return lf_fail(error, LF_ERROR_CONFIG, "transition %d: there are continue, recache and cut",
                       o->transition);
    if (!(o->sparsity >= 0 && o->sparsity <= LF_MAX_SPARSITY))
        return lf_fail(error, LF_ERROR_CONFIG, "sparsity %g: choose a share from 0 to %g",
                       o->sparsity, LF_MAX_SPARSITY);
    if (o->window < -1 || o->window > LF_MAX_WINDOW || o->sink < -1 || o->sink > LF_MAX_WINDOW)
        return lf_fail(
            error, LF_ERROR_CONFIG,
            "window %d, sink %d: choose 1 to %d latent frames, 0 for the model's, -1 for none",
            o->window, o->sink, LF_MAX_WINDOW);
    if (o->keep_frames < -1 || (o->keep_frames > 0 && o->keep_frames < fixed))
        return lf_fail(
            error, LF_ERROR_CONFIG,
            "keep_frames %d: choose at least the %d frames that are always kept, 0 for the "
            "model's number, -1 for all",
            o->keep_frames, fixed);
    if (!check_block("query_block", o->query_block, error) ||
        !check_block("key_block", o->key_block, error) || !check_sampling(m, o, error))
        return false;
    if (!o->no_decoder && !m->info.can_decode)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "model %s has no decoder: name a file with one, or set no_decoder", m->name);
    if (!o->no_text && !m->info.can_encode)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "model %s has no text encoder and tokenizer: name a file with one, or set "
                       "no_text",
                       m->name);
    return true;
}

/* 0: the model's value; −1: none. */
static int chosen(int option, int of_model)
{
    return option > 0 ? option : option == 0 ? of_model : 0;
}

/* Tiles 0×0: the model's; −1×−1: none. */
static bool set_tiles(LfGeometry *g, const LfSessionOptions *o, const LfModelConfig *c,
                      GError **error)
{
    int rows = o->tile_rows, cols = o->tile_cols;
    if (!(rows > 0 && cols > 0) && !(rows == cols && (rows == 0 || rows == -1)))
        return lf_fail(
            error, LF_ERROR_CONFIG,
            "tiles of %dx%d tokens: choose rows and columns, 0 and 0 for the model's order, "
            "-1 and -1 for none",
            rows, cols);
    g->tile_rows = chosen(rows, c->sparse.tile_rows);
    g->tile_cols = chosen(cols, c->sparse.tile_cols);
    if (lf_tiles_fit(g))
        return true;
    return lf_fail(error, LF_ERROR_CONFIG,
                   "tiles of %dx%d tokens do not divide frames of %dx%d: choose divisors of these, "
                   "another size, or -1 and -1 for no tiles",
                   g->tile_rows, g->tile_cols, g->rows, g->cols);
}

static void set_schedules(LfWorkerConfig *w, const LfModelConfig *c, const LfSessionOptions *o)
{
    const LfSteps *steps = o->steps.n > 0 ? &o->steps : &c->schedule.steps;
    const LfSteps *first = o->first_steps.n > 0 ? &o->first_steps : &c->schedule.first_steps;
    double shift = o->shift > 0 ? o->shift : c->schedule.shift;
    w->schedule = lf_schedule(steps, c->schedule.warp, shift);
    if (first->n > 0 && !lf_steps_equal(first, steps))
        w->first = lf_schedule(first, c->schedule.warp, shift);
}

static LfWorkerConfig worker_config(const LfModelConfig *c, const LfSessionOptions *o,
                                    const LfGeometry *geometry)
{
    LfWorkerConfig w = {
        .geometry = *geometry,
        .window = chosen(o->window, c->cache.window),
        .sink = chosen(o->sink, c->cache.sink),
        .relative = c->cache.relative,
        .key_block = chosen(o->key_block, c->sparse.key_block),
        .scheme = {.name = lf_scheme_light_forcing.name,
                   .query_block = chosen(o->query_block, c->sparse.query_block),
                   .selection = {.keep_frames = o->keep_frames < 0    ? G_MAXINT
                                                : o->keep_frames == 0 ? c->sparse.keep_frames
                                                                      : o->keep_frames,
                                 .keep_sink = c->sparse.keep_sink,
                                 .keep_near = c->sparse.keep_near},
                   .one_map = o->one_map},
        .has_text = !o->no_text,
        .has_pixels = !o->no_decoder};
    set_schedules(&w, c, o);
    return w;
}

static LfStreamConfig stream_config(const LfModelConfig *c, const LfSessionOptions *o,
                                    const LfWorkerConfig *w)
{
    return (LfStreamConfig){.geometry = w->geometry,
                            .window = w->window,
                            .sparse = c->sparse.given,
                            .target = c->sparse.target,
                            .base = c->sparse.base,
                            .horizon = c->sparse.horizon,
                            .uniform = o->uniform};
}

bool lf_session_config(const LfModel *m, const LfSessionOptions *o, LfWorkerConfig *config,
                       GError **error)
{
    const LfModelConfig *c = m->config;
    int width = chosen(o->width, c->video.width), height = chosen(o->height, c->video.height);
    if (!check_options(m, o, error) || !check_size("width", width, error) ||
        !check_size("height", height, error))
        return false;
    LfGeometry geometry =
        lf_geometry_of(lf_model_format(m), width, height, chosen(o->chunk, c->video.chunk));
    if (!set_tiles(&geometry, o, c, error))
        return false;
    *config = worker_config(c, o, &geometry);
    return true;
}

static bool open_halves(LfSession *s, const LfSessionOptions *o, GError **error)
{
    LfWorkerConfig worker;
    if (!lf_session_config(s->model, o, &worker, error) ||
        !lf_memory_check_session(s->model, &worker, &o->log, error))
        return false;
    s->stream = (LfStream){.config = stream_config(s->model->config, o, &worker), .seed = o->seed};
    s->request = (LfRequest){
        .attention = o->attention, .sparsity = o->sparsity, .transition = o->transition};
    if (!lf_worker_open(&s->worker, s->model, &worker, &o->log, error))
        return false;
    s->pool = lf_chunk_pool_new(s->model, s->worker.decoder_be, &worker.geometry, worker.has_pixels,
                                o->keep_latents);
    return true;
}

static const LfSessionOptions defaults;

LfSession *lf_session_new(LfModel *model, const LfSessionOptions *options, GError **error)
{
    LfSession *s = g_new0(LfSession, 1);
    g_mutex_init(&s->lock);
    s->model = lf_model_ref(model);
    options = options ? options : &defaults;
    lf_prompts_init(&s->prompts, model, options->text_encoding, options->prompt_cache,
                    options->log.write ? &options->log : &model->log);
    if (open_halves(s, options, error) && lf_session_reserve(s, error) &&
        lf_worker_prepare(&s->worker, error))
        return s;
    lf_session_free(s);
    return NULL;
}

void lf_session_free(LfSession *s)
{
    if (!s)
        return;
    lf_prompts_clear(&s->prompts);
    lf_worker_close(&s->worker, !s->pool);
    lf_chunk_pool_unref(s->pool);
    lf_model_unref(s->model);
    g_mutex_clear(&s->lock);
    g_free(s);
}
