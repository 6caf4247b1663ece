/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "generator.h"

typedef struct {
    LfChunk *chunk;
    GstLightForcingPrompt *prompt;
    guint64 seed;
    gboolean cut;
} Finished;

struct GstLightForcingGenerator {
    GThread *thread;
    GstLightForcingModel *model;
    GstLightForcingGeneratorCallbacks callbacks;
    gpointer data;

    /* The worker's own. */
    LfSessionOptions options;
    GstLightForcingPrompt *prompt; /* what the session was given last and took */
    guint64 n_frames;              /* generated since the start */
    gboolean cut;
    LfChunk *decoding; /* the last chunk, if its decoder was still at work */

    GMutex lock; /* of what follows */
    GCond changed;
    LfSession *session;
    GQueue queue; /* of Finished */
    int next;     /* frame of the chunk in front */
    GstLightForcingPrompt *new_prompt;
    guint64 new_seed;
    guint prefetch;
    gboolean restarting, sized, flushing, stopping, has_failed;
};

/* ---- prompts, frames, finished chunks -------------------------------------------------------- */

GstLightForcingPrompt *gst_light_forcing_prompt_new(const char *text)
{
    GstLightForcingPrompt *prompt = g_atomic_rc_box_new(GstLightForcingPrompt);
    prompt->text = g_strdup(text);
    prompt->set_time = g_get_monotonic_time();
    return prompt;
}

GstLightForcingPrompt *gst_light_forcing_prompt_ref(GstLightForcingPrompt *prompt)
{
    return g_atomic_rc_box_acquire(prompt);
}

static void clear_prompt(gpointer data)
{
    GstLightForcingPrompt *prompt = data;
    g_free(prompt->text);
}

void gst_light_forcing_prompt_unref(GstLightForcingPrompt *prompt)
{
    if (prompt)
        g_atomic_rc_box_release_full(prompt, clear_prompt);
}

void gst_light_forcing_frame_clear(GstLightForcingFrame *frame)
{
    g_clear_pointer(&frame->chunk, lf_chunk_unref);
    g_clear_pointer(&frame->prompt, gst_light_forcing_prompt_unref);
}

static void finished_free(gpointer data)
{
    Finished *finished = data;
    lf_chunk_unref(finished->chunk);
    gst_light_forcing_prompt_unref(finished->prompt);
    g_free(finished);
}

/* ---- the worker ------------------------------------------------------------------------------ */

static gboolean report_loading(const char *part, double done, gpointer data)
{
    GstLightForcingGenerator *g = data;
    g_mutex_lock(&g->lock);
    gboolean stopping = g->stopping;
    g_mutex_unlock(&g->lock);
    if (!stopping)
        g->callbacks.loading(part, done, g->data);
    return !stopping;
}

static LfModel *load(GstLightForcingGenerator *g, GError **error)
{
    gint64 start = g_get_monotonic_time();
    LfModel *model = gst_light_forcing_model_load(g->model, report_loading, g, error);
    if (model)
        g->callbacks.loaded(model, g_get_monotonic_time() - start, g->data);
    return model;
}

/* Caps are negotiated while the model loads, or after. */
static gboolean wait_for_size(GstLightForcingGenerator *g)
{
    g_mutex_lock(&g->lock);
    while (!g->sized && !g->stopping)
        g_cond_wait(&g->changed, &g->lock);
    gboolean go_on = !g->stopping;
    g_mutex_unlock(&g->lock);
    return go_on;
}

static gboolean open_session(GstLightForcingGenerator *g, LfModel *model, GError **error)
{
    LfSession *session = lf_session_new(model, &g->options, error);
    g_mutex_lock(&g->lock);
    g->session = session;
    if (session && g->stopping)
        lf_session_cancel(session);
    g_mutex_unlock(&g->lock);
    return session != NULL;
}

/* A chunk is being played once its first frame has left. */
static gboolean has_room(const GstLightForcingGenerator *g)
{
    guint playing = g->next > 0 ? 1 : 0;
    return g->queue.length < g->prefetch + playing;
}

static gboolean wait_for_room(GstLightForcingGenerator *g)
{
    g_mutex_lock(&g->lock);
    while (!has_room(g) && !g->stopping)
        g_cond_wait(&g->changed, &g->lock);
    gboolean go_on = !g->stopping;
    g_mutex_unlock(&g->lock);
    return go_on;
}

static void apply_restart(GstLightForcingGenerator *g)
{
    g_mutex_lock(&g->lock);
    gboolean restart = g->restarting;
    if (restart)
        g->options.seed = g->new_seed;
    g->restarting = FALSE;
    g_mutex_unlock(&g->lock);
    if (!restart)
        return;
    lf_session_restart(g->session, g->options.seed);
    g->cut = g->n_frames > 0;
}

/* A refused prompt stops nothing but a stream that had none before. */
static gboolean apply_prompt(GstLightForcingGenerator *g, GError **error)
{
    g_mutex_lock(&g->lock);
    GstLightForcingPrompt *prompt = g_steal_pointer(&g->new_prompt);
    g_mutex_unlock(&g->lock);
    if (!prompt && !g->prompt)
        g_set_error(error, LF_ERROR, LF_ERROR_TEXT,
                    "no prompt was set before the first chunk; set the property prompt");
    if (!prompt)
        return g->prompt != NULL;
    GError *refusal = NULL;
    if (lf_session_set_prompt(g->session, prompt->text, &refusal)) {
        gst_light_forcing_prompt_unref(g->prompt);
        g->prompt = prompt;
        return TRUE;
    }
    gst_light_forcing_prompt_unref(prompt);
    if (!g->prompt) {
        g_propagate_error(error, refusal);
        return FALSE;
    }
    g->callbacks.refused(refusal, g->data);
    g_error_free(refusal);
    return TRUE;
}

static void apply_settings(GstLightForcingGenerator *g)
{
    LfSessionOptions options = g->options;
    g->callbacks.prepare(g->n_frames, &options, g->data);
    lf_session_set_attention(g->session, options.attention, options.sparsity);
    lf_session_set_transition(g->session, options.transition);
}

static guint count_queue(GstLightForcingGenerator *g)
{
    g_mutex_lock(&g->lock);
    guint level = g->queue.length;
    g_mutex_unlock(&g->lock);
    return level;
}

static void append(GstLightForcingGenerator *g, LfChunk *chunk)
{
    const LfChunkInfo *info = lf_chunk_info(chunk);
    Finished *finished = g_new(Finished, 1);
    *finished = (Finished){.chunk = chunk,
                           .prompt = gst_light_forcing_prompt_ref(g->prompt),
                           .seed = g->options.seed,
                           .cut = g->cut || info->transition == LF_TRANSITION_CUT};
    gboolean first = g->n_frames == 0;
    g->cut = FALSE;
    g->n_frames += (guint64) info->n_frames;
    g->callbacks.made(info, count_queue(g) + 1, g->data); /* before it can be played */

    g_mutex_lock(&g->lock);
    g_queue_push_tail(&g->queue, finished);
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
    if (first)
        g->callbacks.ready(g->data);
}

/* On a GPU a chunk's decoder works beside the next chunk: by then it is known how long it took. */
static gboolean follow_decoding(GstLightForcingGenerator *g, LfChunk *chunk, GError **error)
{
    LfChunk *before = g->decoding;
    g->decoding = lf_chunk_info(chunk)->decode_time ? NULL : lf_chunk_ref(chunk);
    gboolean done = !before || lf_chunk_wait(before, error);
    if (before && done)
        g->callbacks.decoded(lf_chunk_info(before), g->data);
    lf_chunk_unref(before);
    return done;
}

static gboolean generate(GstLightForcingGenerator *g, GError **error)
{
    if (!wait_for_room(g))
        return FALSE;
    apply_restart(g);
    if (!apply_prompt(g, error))
        return FALSE;
    apply_settings(g);
    LfChunk *chunk = lf_session_next(g->session, error);
    if (!chunk || !follow_decoding(g, chunk, error)) {
        lf_chunk_unref(chunk);
        return FALSE;
    }
    append(g, chunk);
    return TRUE;
}

static void give_up(GstLightForcingGenerator *g, const GError *error, gboolean loading)
{
    if (!g_error_matches(error, LF_ERROR, LF_ERROR_CANCELLED))
        g->callbacks.failed(error, loading, g->data);
    g_mutex_lock(&g->lock);
    g->has_failed = TRUE;
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
}

static gpointer run(gpointer data)
{
    GstLightForcingGenerator *g = data;
    GError *error = NULL;
    LfModel *model = load(g, &error);
    gboolean loading = !model;
    if (model && wait_for_size(g) && open_session(g, model, &error))
        while (generate(g, &error)) {
        }
    if (error) {
        give_up(g, error, loading);
        g_error_free(error);
    }
    return NULL;
}

/* ---- from outside ---------------------------------------------------------------------------- */

GstLightForcingGenerator *gst_light_forcing_generator_new(
    GstLightForcingModel *model, const LfSessionOptions *session,
    const GstLightForcingGeneratorCallbacks *callbacks, gpointer data)
{
    GstLightForcingGenerator *g = g_new0(GstLightForcingGenerator, 1);
    g->model = model;
    g->options = *session;
    g->callbacks = *callbacks;
    g->data = data;
    g->prefetch = 1;
    g_mutex_init(&g->lock);
    g_cond_init(&g->changed);
    g_queue_init(&g->queue);
    g->thread = g_thread_new("lightforcing", run, g);
    return g;
}

void gst_light_forcing_generator_free(GstLightForcingGenerator *g)
{
    if (!g)
        return;
    g_mutex_lock(&g->lock);
    g->stopping = TRUE;
    if (g->session)
        lf_session_cancel(g->session);
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
    g_thread_join(g->thread);

    g_queue_clear_full(&g->queue, finished_free);
    lf_chunk_unref(g->decoding);
    lf_session_free(g->session);
    gst_light_forcing_prompt_unref(g->prompt);
    gst_light_forcing_prompt_unref(g->new_prompt);
    g_mutex_clear(&g->lock);
    g_cond_clear(&g->changed);
    g_free(g);
}

void gst_light_forcing_generator_set_size(GstLightForcingGenerator *g, int width, int height)
{
    g_mutex_lock(&g->lock);
    if (!g->sized) {
        g->options.width = width;
        g->options.height = height;
        g->sized = TRUE;
        g_cond_broadcast(&g->changed);
    }
    g_mutex_unlock(&g->lock);
}

void gst_light_forcing_generator_set_prompt(GstLightForcingGenerator *g,
                                            GstLightForcingPrompt *prompt)
{
    g_mutex_lock(&g->lock);
    gst_light_forcing_prompt_unref(g->new_prompt);
    g->new_prompt = gst_light_forcing_prompt_ref(prompt);
    g_mutex_unlock(&g->lock);
}

void gst_light_forcing_generator_restart(GstLightForcingGenerator *g, guint64 seed)
{
    g_mutex_lock(&g->lock);
    g->restarting = TRUE;
    g->new_seed = seed;
    g_mutex_unlock(&g->lock);
}

void gst_light_forcing_generator_set_prefetch(GstLightForcingGenerator *g, guint chunks)
{
    g_mutex_lock(&g->lock);
    g->prefetch = chunks;
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
}

guint gst_light_forcing_generator_level(GstLightForcingGenerator *g)
{
    return count_queue(g);
}

/* Under the lock. What is in the queue is shown even if no more will come. */
static GstLightForcingTake availability(const GstLightForcingGenerator *g)
{
    if (g->flushing)
        return GST_LIGHT_FORCING_TAKE_FLUSHING;
    if (g->queue.length)
        return GST_LIGHT_FORCING_TAKE_OK;
    return g->has_failed ? GST_LIGHT_FORCING_TAKE_FAILED : GST_LIGHT_FORCING_TAKE_EMPTY;
}

GstLightForcingTake gst_light_forcing_generator_peek(GstLightForcingGenerator *g, gboolean wait,
                                                     GstLightForcingFrame *frame)
{
    g_mutex_lock(&g->lock);
    GstLightForcingTake take;
    while ((take = availability(g)) == GST_LIGHT_FORCING_TAKE_EMPTY && wait)
        g_cond_wait(&g->changed, &g->lock);
    if (take == GST_LIGHT_FORCING_TAKE_OK) {
        const Finished *front = g_queue_peek_head(&g->queue);
        *frame = (GstLightForcingFrame){.chunk = lf_chunk_ref(front->chunk),
                                        .index = g->next,
                                        .prompt = gst_light_forcing_prompt_ref(front->prompt),
                                        .seed = front->seed,
                                        .cut = front->cut && g->next == 0};
    }
    g_mutex_unlock(&g->lock);
    return take;
}

void gst_light_forcing_generator_drop(GstLightForcingGenerator *g)
{
    Finished *played = NULL;
    g_mutex_lock(&g->lock);
    const Finished *front = g_queue_peek_head(&g->queue);
    if (front && ++g->next == lf_chunk_info(front->chunk)->n_frames) {
        played = g_queue_pop_head(&g->queue);
        g->next = 0;
    }
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
    if (played)
        finished_free(played);
}

void gst_light_forcing_generator_set_flushing(GstLightForcingGenerator *g, gboolean flushing)
{
    g_mutex_lock(&g->lock);
    g->flushing = flushing;
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
}
