/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "generator.h"

typedef struct {
    LfChunk *chunk;
    GstLightForcingPrompt *prompt;
    guint64 seed;
    gboolean cut;
} FinishedChunk;

/* A prompt that the session has, under the number by which its chunks name it. */
typedef struct {
    guint64 id;
    GstLightForcingPrompt *prompt;
} SessionPrompt;

struct GstLightForcingGenerator {
    GThread *thread;
    GstLightForcingModel *claim;
    GstLightForcingGeneratorCallbacks callbacks;
    gpointer data;

    /* Worker thread only, but for the size (below). */
    LfSessionOptions options;
    guint64 n_frames;  /* generated since the start */
    gboolean cut;      /* the next chunk begins a new scene after a restart */
    LfChunk *decoding; /* the chunk before, while its decoder is still at work */

    GMutex lock; /* guards all that follows */
    GCond changed;
    LfModel *model;     /* set once, by the worker */
    LfSession *session; /* set once, by the worker; the worker reads it without the lock */
    GQueue chunks;      /* of FinishedChunk; the one in front is being played */
    int next_frame;     /* in the chunk in front */
    GQueue prompts;     /* of SessionPrompt: of the last generated chunk, and all later ones */
    guint64 new_seed;   /* of the restart that was asked for */
    guint prefetch;
    gboolean restarting, flushing, stopping, has_failed;
    gboolean holding; /* the first frame may have to wait, see is_held */
    gboolean sized;   /* options.width and options.height are set, and do not change any more */
};

/* ---- prompts, frames, finished chunks -------------------------------------------------------- */

GstLightForcingPrompt *gst_light_forcing_prompt_new(const char *text)
{
    GstLightForcingPrompt *prompt = g_new0(GstLightForcingPrompt, 1);
    prompt->refs = 1;
    prompt->text = g_strdup(text);
    prompt->set_time = g_get_monotonic_time();
    return prompt;
}

GstLightForcingPrompt *gst_light_forcing_prompt_ref(GstLightForcingPrompt *prompt)
{
    g_atomic_int_inc(&prompt->refs);
    return prompt;
}

void gst_light_forcing_prompt_unref(GstLightForcingPrompt *prompt)
{
    if (!prompt || !g_atomic_int_dec_and_test(&prompt->refs))
        return;
    g_free(prompt->text);
    g_free(prompt);
}

static void session_prompt_free(gpointer data)
{
    SessionPrompt *entry = data;
    gst_light_forcing_prompt_unref(entry->prompt);
    g_free(entry);
}

void gst_light_forcing_frame_clear(GstLightForcingFrame *frame)
{
    g_clear_pointer(&frame->chunk, lf_chunk_unref);
    g_clear_pointer(&frame->prompt, gst_light_forcing_prompt_unref);
}

static void finished_chunk_free(gpointer data)
{
    FinishedChunk *finished = data;
    lf_chunk_unref(finished->chunk);
    gst_light_forcing_prompt_unref(finished->prompt);
    g_free(finished);
}

/* ---- the worker thread ----------------------------------------------------------------------- */

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
    g_mutex_lock(&g->lock); /* caps may be negotiated at the same time */
    LfSessionOptions planned = g->options;
    g_mutex_unlock(&g->lock);
    LfModel *model = gst_light_forcing_model_load(g->claim, &planned, report_loading, g, error);
    if (model)
        g->callbacks.loaded(model, g_get_monotonic_time() - start, g->data);
    return model;
}

/* Caps are negotiated while the model loads, or later. */
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
    if (!session)
        return FALSE;
    g_mutex_lock(&g->lock);
    g->model = model;
    g->session = session;
    g_mutex_unlock(&g->lock);
    return g->callbacks.opened(g->data, error);
}

/* The first chunk of a scene, with chunks of one latent frame: a single picture. */
static gboolean is_single(const FinishedChunk *finished)
{
    return finished && lf_chunk_info(finished->chunk)->n_frames == 1;
}

/* Once its first frame has left, the chunk in front is being played and no prefetched chunk. A
 * chunk of one frame is over as it begins, long before the next one can be generated: there is room
 * for one more behind it. */
static gboolean has_room(GstLightForcingGenerator *g)
{
    guint n_playing = g->next_frame > 0 ? 1 : 0;
    guint n_single = is_single(g_queue_peek_tail(&g->chunks)) ? 1 : 0;
    return g->chunks.length < g->prefetch + n_playing + n_single;
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

static gboolean has_prompt(GstLightForcingGenerator *g, GError **error)
{
    g_mutex_lock(&g->lock);
    gboolean found = g->prompts.length > 0;
    g_mutex_unlock(&g->lock);
    if (!found)
        g_set_error(error, LF_ERROR, LF_ERROR_TEXT,
                    "No prompt set. Set the property prompt or prompt-location.");
    return found;
}

/* Under the lock. Prompts before the chunk's will not be seen any more. */
static GstLightForcingPrompt *find_prompt(GstLightForcingGenerator *g, guint64 id)
{
    SessionPrompt *first = g_queue_peek_head(&g->prompts);
    while (first->id < id && g->prompts.length > 1) {
        session_prompt_free(g_queue_pop_head(&g->prompts));
        first = g_queue_peek_head(&g->prompts);
    }
    return first->prompt;
}

static void append(GstLightForcingGenerator *g, LfChunk *chunk)
{
    const LfChunkInfo *info = lf_chunk_info(chunk);
    FinishedChunk *finished = g_new(FinishedChunk, 1);
    *finished = (FinishedChunk){.chunk = chunk,
                                .seed = g->options.seed,
                                .cut = g->cut || info->transition == LF_TRANSITION_CUT};
    gboolean first = g->n_frames == 0;
    g->cut = FALSE;
    g->n_frames += (guint64) info->n_frames;
    /* Before the chunk can be played. */
    g->callbacks.generated(info, gst_light_forcing_generator_level(g) + 1, g->data);

    g_mutex_lock(&g->lock);
    finished->prompt = gst_light_forcing_prompt_ref(find_prompt(g, info->prompt_id));
    g_queue_push_tail(&g->chunks, finished);
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
    if (first)
        g->callbacks.ready(g->data);
}

/* On a GPU the decoder of a chunk runs concurrently with the next chunk; its time is known after
 * that chunk. */
static gboolean wait_for_decoder(GstLightForcingGenerator *g, LfChunk *chunk, GError **error)
{
    LfChunk *before = g->decoding;
    g->decoding = lf_chunk_info(chunk)->decode_time ? NULL : lf_chunk_ref(chunk);
    gboolean done = !before || lf_chunk_wait(before, error);
    if (before && done)
        g->callbacks.decoded(lf_chunk_info(before), g->data);
    lf_chunk_unref(before);
    return done;
}

static void tell_prompt_failure(GstLightForcingGenerator *g)
{
    uint64_t id;
    g_autoptr(GError) failure = lf_session_prompt_failure(g->session, &id);
    if (failure)
        g->callbacks.prompt_failed(failure, g->data);
}

static gboolean generate(GstLightForcingGenerator *g, GError **error)
{
    if (!wait_for_room(g))
        return FALSE;
    apply_restart(g);
    g->callbacks.prepare(g->n_frames, g->data);
    if (!has_prompt(g, error))
        return FALSE;
    LfChunk *chunk = lf_session_next(g->session, error);
    if (!chunk || !wait_for_decoder(g, chunk, error)) {
        lf_chunk_unref(chunk);
        return FALSE;
    }
    append(g, chunk);
    tell_prompt_failure(g);
    return TRUE;
}

static gpointer run(gpointer data)
{
    GstLightForcingGenerator *g = data;
    GError *error = NULL;
    LfModel *model = load(g, &error);
    if (model && wait_for_size(g) && open_session(g, model, &error))
        while (generate(g, &error)) {
        }
    if (error) {
        if (!g_error_matches(error, LF_ERROR, LF_ERROR_CANCELLED))
            g->callbacks.failed(error, !model, g->data);
        g_mutex_lock(&g->lock);
        g->has_failed = TRUE;
        g_cond_broadcast(&g->changed);
        g_mutex_unlock(&g->lock);
        g_error_free(error);
    }
    return NULL;
}

/* ---- start and stop -------------------------------------------------------------------------- */

GstLightForcingGenerator *gst_light_forcing_generator_new(
    GstLightForcingModel *claim, const LfSessionOptions *session, gboolean live,
    const GstLightForcingGeneratorCallbacks *callbacks, gpointer data, GError **error)
{
    GstLightForcingGenerator *g = g_new0(GstLightForcingGenerator, 1);
    g->claim = claim;
    g->options = *session;
    g->callbacks = *callbacks;
    g->data = data;
    g->prefetch = 1;
    g->holding = live;
    g_mutex_init(&g->lock);
    g_cond_init(&g->changed);
    g_queue_init(&g->chunks);
    g_queue_init(&g->prompts);
    g->thread = g_thread_try_new("lightforcing", run, g, error);
    if (g->thread)
        return g;
    gst_light_forcing_generator_free(g);
    return NULL;
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
    if (g->thread)
        g_thread_join(g->thread);

    g_queue_clear_full(&g->chunks, finished_chunk_free);
    g_queue_clear_full(&g->prompts, session_prompt_free);
    lf_chunk_unref(g->decoding);
    lf_session_free(g->session);
    g_mutex_clear(&g->lock);
    g_cond_clear(&g->changed);
    g_free(g);
}

/* ---- requests to the session ----------------------------------------------------------------- */

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

gboolean gst_light_forcing_generator_set_prompt(GstLightForcingGenerator *g,
                                                GstLightForcingPrompt *prompt, GError **error)
{
    gboolean taken = TRUE;
    g_mutex_lock(&g->lock);
    const SessionPrompt *last = g_queue_peek_tail(&g->prompts);
    if (g->session && (!last || last->prompt != prompt)) {
        guint64 id = lf_session_set_prompt(g->session, prompt->text, error);
        taken = id != 0;
        if (taken) {
            SessionPrompt *entry = g_new(SessionPrompt, 1);
            *entry = (SessionPrompt){id, gst_light_forcing_prompt_ref(prompt)};
            g_queue_push_tail(&g->prompts, entry);
            lf_model_count_tokens(g->model, prompt->text, &prompt->tokens, NULL);
        }
    }
    g_mutex_unlock(&g->lock);
    return taken;
}

void gst_light_forcing_generator_set_options(GstLightForcingGenerator *g,
                                             const LfSessionOptions *options)
{
    g_mutex_lock(&g->lock);
    if (g->session) {
        lf_session_set_attention(g->session, options->attention, options->sparsity);
        lf_session_set_transition(g->session, options->transition);
    }
    g_mutex_unlock(&g->lock);
}

void gst_light_forcing_generator_restart(GstLightForcingGenerator *g, guint64 seed)
{
    g_mutex_lock(&g->lock);
    g->restarting = TRUE;
    g->new_seed = seed;
    g_mutex_unlock(&g->lock);
}

/* ---- the queue ------------------------------------------------------------------------------- */

void gst_light_forcing_generator_set_prefetch(GstLightForcingGenerator *g, guint chunks)
{
    g_mutex_lock(&g->lock);
    g->prefetch = chunks;
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
}

guint gst_light_forcing_generator_level(GstLightForcingGenerator *g)
{
    g_mutex_lock(&g->lock);
    guint level = g->chunks.length;
    g_mutex_unlock(&g->lock);
    return level;
}

/* Under the lock. With the first frame of a live stream time begins to run: if it were all there is,
 * the second one would be late. */
static gboolean is_held(GstLightForcingGenerator *g)
{
    return g->holding && !g->has_failed && g->chunks.length == 1 &&
           is_single(g_queue_peek_head(&g->chunks));
}

/* Under the lock. After a failure, what is in the queue is still played. */
static GstLightForcingQueueState queue_state(GstLightForcingGenerator *g)
{
    if (g->flushing)
        return GST_LIGHT_FORCING_QUEUE_FLUSHING;
    if (g->chunks.length && !is_held(g))
        return GST_LIGHT_FORCING_QUEUE_READY;
    return g->has_failed ? GST_LIGHT_FORCING_QUEUE_FAILED : GST_LIGHT_FORCING_QUEUE_EMPTY;
}

GstLightForcingQueueState gst_light_forcing_generator_peek(GstLightForcingGenerator *g,
                                                           gboolean wait,
                                                           GstLightForcingFrame *frame)
{
    g_mutex_lock(&g->lock);
    GstLightForcingQueueState state;
    while ((state = queue_state(g)) == GST_LIGHT_FORCING_QUEUE_EMPTY && wait)
        g_cond_wait(&g->changed, &g->lock);
    if (state == GST_LIGHT_FORCING_QUEUE_READY) {
        const FinishedChunk *front = g_queue_peek_head(&g->chunks);
        *frame = (GstLightForcingFrame){.chunk = lf_chunk_ref(front->chunk),
                                        .index = g->next_frame,
                                        .prompt = gst_light_forcing_prompt_ref(front->prompt),
                                        .seed = front->seed,
                                        .cut = front->cut && g->next_frame == 0};
    }
    g_mutex_unlock(&g->lock);
    return state;
}

void gst_light_forcing_generator_drop(GstLightForcingGenerator *g)
{
    FinishedChunk *played = NULL;
    g_mutex_lock(&g->lock);
    const FinishedChunk *front = g_queue_peek_head(&g->chunks);
    g->holding = FALSE;
    if (front && ++g->next_frame == lf_chunk_info(front->chunk)->n_frames) {
        played = g_queue_pop_head(&g->chunks);
        g->next_frame = 0;
    }
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
    if (played)
        finished_chunk_free(played);
}

void gst_light_forcing_generator_set_flushing(GstLightForcingGenerator *g, gboolean flushing)
{
    g_mutex_lock(&g->lock);
    g->flushing = flushing;
    g_cond_broadcast(&g->changed);
    g_mutex_unlock(&g->lock);
}
