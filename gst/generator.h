/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The generator behind a stream: a worker thread that loads the model, then generates chunks into a
 * short queue. It waits when enough finished chunks are queued behind the one being played.
 *
 * It knows the engine and nothing of GStreamer; the element hears of events through callbacks.
 */
#ifndef GST_LIGHT_FORCING_GENERATOR_H
#define GST_LIGHT_FORCING_GENERATOR_H

#include "model_cache.h"

G_BEGIN_DECLS

typedef struct GstLightForcingGenerator GstLightForcingGenerator;

/* A prompt as the application has set it. Reference-counted, atomically. */
typedef struct {
    gint refs; /* atomic */
    char *text;
    gint64 set_time; /* monotonic, µs */
    /* Set by gst_light_forcing_generator_set_prompt; all 0 before. */
    LfPromptTokens tokens;
} GstLightForcingPrompt;

GstLightForcingPrompt *gst_light_forcing_prompt_new(const char *text);
GstLightForcingPrompt *gst_light_forcing_prompt_ref(GstLightForcingPrompt *prompt);
void gst_light_forcing_prompt_unref(GstLightForcingPrompt *prompt); /* NULL is fine */

/* The frame at the front of the queue. Chunk and prompt are references of the caller. */
typedef struct {
    LfChunk *chunk;
    int index; /* of the frame in the chunk */
    GstLightForcingPrompt *prompt;
    guint64 seed;
    gboolean cut; /* first frame of a new scene, other than the stream's first frame */
} GstLightForcingFrame;

void gst_light_forcing_frame_clear(GstLightForcingFrame *frame);

typedef enum {
    GST_LIGHT_FORCING_QUEUE_READY, /* there is a frame */
    GST_LIGHT_FORCING_QUEUE_EMPTY,
    GST_LIGHT_FORCING_QUEUE_FLUSHING,
    GST_LIGHT_FORCING_QUEUE_FAILED /* empty, and the worker has stopped; `failed` was called */
} GstLightForcingQueueState;

/* All are called on the worker thread, without a lock held. */
typedef struct {
    /* `part` (an interned string) is being loaded; `done` is the share of all the work, 0…1. */
    void (*loading)(const char *part, double done, gpointer data);
    void (*loaded)(LfModel *model, gint64 load_time_us, gpointer data);
    /* The session exists. The callee sets the prompt and the options that it wants it to have; what
     * is set later reaches the session directly. FALSE and an error end the stream. */
    gboolean (*opened)(gpointer data, GError **error);
    /* The first chunk is in the queue. */
    void (*ready)(gpointer data);
    /* A chunk begins, with the frame `frame` of the stream: the time to set what follows it. */
    void (*prepare)(guint64 frame, gpointer data);
    /* A chunk was generated; the queue has `level` chunks with it. */
    void (*generated)(const LfChunkInfo *info, guint level, gpointer data);
    /* The decode time of an earlier chunk is known. Called only for chunks whose decode time was
     * not known to `generated`, as on a GPU, where the decoder runs concurrently with the next
     * chunk. */
    void (*decoded)(const LfChunkInfo *info, gpointer data);
    /* The newest prompt could not be encoded; the stream goes on with the one before. */
    void (*prompt_failed)(const GError *error, gpointer data);
    /* The worker stops after an error. `loading`: the model was not loaded yet. */
    void (*failed)(const GError *error, gboolean loading, gpointer data);
} GstLightForcingGeneratorCallbacks;

/* Starts the worker thread. `session` is copied; its size is not read. `live`: a first chunk of one
 * frame is not READY before the second chunk is in the queue. The model must stay claimed,
 * and `data` valid, until gst_light_forcing_generator_free. NULL and an error when no thread can be
 * created. */
GstLightForcingGenerator *gst_light_forcing_generator_new(
    GstLightForcingModel *model, const LfSessionOptions *session, gboolean live,
    const GstLightForcingGeneratorCallbacks *callbacks, gpointer data, GError **error);

/* Stops the worker (on the CPU within one layer of the transformer, on a GPU within a chunk), and
 * frees everything. NULL is fine. Not from a callback. */
void gst_light_forcing_generator_free(GstLightForcingGenerator *generator);

/* ---- callable from any thread ---------------------------------------------------------------- */

/* The size of the frames, in pixels. Nothing is generated before it is known; it is then fixed. */
void gst_light_forcing_generator_set_size(GstLightForcingGenerator *generator, int width,
                                          int height);

/* Sets the prompt of the next chunk, or of the first one that begins when it is encoded
 * (LfTextEncoding). The session reads it at once: FALSE and an error when the text
 * is refused, the prompt before then stays. Does nothing, successfully, before there is a session,
 * and for the prompt that was set last. */
gboolean gst_light_forcing_generator_set_prompt(GstLightForcingGenerator *generator,
                                                GstLightForcingPrompt *prompt, GError **error);

/* Sets attention, sparsity and transition of the next chunk. Does nothing before there is a
 * session. */
void gst_light_forcing_generator_set_options(GstLightForcingGenerator *generator,
                                             const LfSessionOptions *options);

/* The next chunk begins a new scene. */
void gst_light_forcing_generator_restart(GstLightForcingGenerator *generator, guint64 seed);

/* How many finished chunks to queue behind the one being played. */
void gst_light_forcing_generator_set_prefetch(GstLightForcingGenerator *generator, guint chunks);

/* Chunks in the queue, with the one being played. */
guint gst_light_forcing_generator_level(GstLightForcingGenerator *generator);

/* The frame at the front of the queue; waits for one if `wait` is set. The frame stays in the queue
 * until it is dropped, so that a wait for the clock in between can be interrupted without losing
 * it. */
GstLightForcingQueueState gst_light_forcing_generator_peek(GstLightForcingGenerator *generator,
                                                           gboolean wait,
                                                           GstLightForcingFrame *frame);
void gst_light_forcing_generator_drop(GstLightForcingGenerator *generator);

/* While flushing, peek returns QUEUE_FLUSHING without waiting. The worker goes on, and the queue
 * stays. */
void gst_light_forcing_generator_set_flushing(GstLightForcingGenerator *generator,
                                              gboolean flushing);

G_END_DECLS

#endif
