/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"

static LfEvent *new_event(LfBackend *be, GError **error)
{
    LfEvent *event = be->event_new(be);
    if (!event)
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY,
                    "out of memory on %s: no event could be created", be->description);
    return event;
}

static LfBackend *open_backend(const LfWorker *w, GError **error)
{
    LfBackend *be = lf_model_backend(w->model, error);
    if (be && w->log.write)
        be->log = w->log;
    return be;
}

static bool open_backends(LfWorker *w, GError **error)
{
    w->be = open_backend(w, error);
    if (!w->be)
        return false;
    w->decoder_be = w->be->asynchronous ? open_backend(w, error) : w->be;
    if (!w->decoder_be)
        return false;
    w->decoder_scratch = w->decoder_be == w->be ? &w->scratch : &w->own_decoder_scratch;
    for (int i = 0; i < LF_N_CHUNK_EVENTS; i++)
        if (!(w->events[i] = new_event(w->be, error)))
            return false;
    w->decoded = new_event(w->decoder_be, error);
    return w->decoded != NULL;
}

static LfTensor alloc_latents(const LfWorker *w, LfArena *arena)
{
    const LfGeometry *g = &w->config.geometry;
    return lf_arena_tensor(arena, LF_F32, g->chunk, w->model->config->transformer.channels,
                           g->latent_height, g->latent_width);
}

/* All state that outlives a chunk, except the cache and the kept latents. */
static void alloc_state(LfWorker *w, LfArena *arena)
{
    const LfTransformer *t = w->model->transformer;
    const LfWorkerConfig *c = &w->config;
    int text_len = lf_model_text_len(w->model);
    w->x = alloc_latents(w, arena);
    w->velocity = alloc_latents(w, arena);
    w->noise = lf_arena_tensor(arena, LF_F32, MAX(c->schedule.n, c->first.n), w->x.shape[0],
                               w->x.shape[1], w->x.shape[2], w->x.shape[3]);
    w->context =
        lf_arena_tensor(arena, w->be->activation_type, text_len, lf_model_text_dim(w->model));
    w->text = lf_text_state(t, arena);
    for (int i = 0; i < 1 + c->schedule.n + c->first.n; i++)
        w->modulations[i] = lf_modulation(t, arena);
    if (c->has_pixels)
        w->decoder = w->model->decoder->class->state(w->model->decoder, &c->geometry, arena);
}

/* Everything but the scratch, on w->be. */
static bool allocate(LfWorker *w, GError **error)
{
    const LfWorkerConfig *c = &w->config;
    LfArena plan = lf_arena_plan();
    LfKvCacheConfig cache = lf_worker_cache_config(w);
    w->cache = lf_kv_cache_new(w->be, &cache, error);
    if (!w->cache || !lf_past_init(&w->past, w->be, &c->geometry,
                                   w->model->config->transformer.channels, c->window, error))
        return false;
    alloc_state(w, &plan);
    if (!lf_arena_init(&w->state, w->be, plan.peak, error))
        return false;
    alloc_state(w, &w->state);
    return true;
}

static void begin(LfWorker *w, const LfModel *model, const LfWorkerConfig *config)
{
    w->model = model;
    w->config = *config;
    w->log = model->log;
    w->scheme = lf_scheme_new(&config->scheme);
}

bool lf_worker_open(LfWorker *w, const LfModel *model, const LfWorkerConfig *config,
                    const LfLog *log, GError **error)
{
    begin(w, model, config);
    if (log->write)
        w->log = *log;
    if (!open_backends(w, error))
        return false;
    w->graphs = (LfGraphs){.be = w->be};
    return allocate(w, error);
}

bool lf_worker_open_plan(LfWorker *w, const LfModel *model, const LfWorkerConfig *config,
                         GError **error)
{
    begin(w, model, config);
    w->be = w->decoder_be = lf_backend_plan(model->backend);
    w->scratch = w->own_decoder_scratch = lf_arena_plan();
    w->decoder_scratch = model->backend->asynchronous ? &w->own_decoder_scratch : &w->scratch;
    w->graphs = (LfGraphs){.be = w->be};
    return allocate(w, error);
}

static void modulate(LfWorker *w, LfModulation *modulations, const LfSchedule *schedule)
{
    for (int i = 0; i < schedule->n; i++)
        lf_transformer_modulate(w->model->transformer, w->be, &w->scratch, &modulations[i],
                                schedule->steps[i].timestep);
}

bool lf_worker_prepare(LfWorker *w, GError **error)
{
    static const LfSchedule clean = {.steps = {{.timestep = 0}}, .n = 1};
    const LfWorkerConfig *c = &w->config;
    modulate(w, w->modulations, &clean);
    modulate(w, w->modulations + 1, &c->schedule);
    modulate(w, w->modulations + 1 + c->schedule.n, &c->first);
    lf_transformer_bound_values(w->model->transformer, w->be, w->modulations,
                                1 + c->schedule.n + c->first.n);
    return w->be->sync(w->be, error);
}

void lf_worker_close(LfWorker *w, bool close_decoder)
{
    if (w->be)
        w->be->sync(w->be, NULL);
    if (w->decoder_be && w->decoder_be != w->be) /* may still decode the last chunk */
        w->decoder_be->sync(w->decoder_be, NULL);
    lf_graphs_clear(&w->graphs);
    lf_kv_cache_free(w->cache);
    lf_scheme_free(w->scheme);
    lf_past_clear(&w->past);
    lf_arena_clear(&w->state);
    lf_arena_clear(&w->scratch);
    lf_arena_clear(&w->own_decoder_scratch);
    for (int i = 0; w->be && i < LF_N_CHUNK_EVENTS; i++)
        w->be->event_free(w->be, w->events[i]);
    if (w->decoder_be)
        w->decoder_be->event_free(w->decoder_be, w->decoded);
    if (w->be != w->decoder_be)
        lf_backend_close(w->be);
    if (close_decoder)
        lf_backend_close(w->decoder_be);
    g_free(w->host_noise);
}

LfMemory lf_worker_memory(const LfWorker *w)
{
    return (LfMemory){.weights = lf_model_memory(w->model),
                      .state = w->state.size + lf_kv_cache_memory(w->cache) + w->past.memory.size,
                      .scratch = w->scratch.size + w->own_decoder_scratch.size};
}
