/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The worker behind a stream: a thread that loads the model, then generates chunks into a short
 * queue, and waits when enough of them are finished ahead of the one being played. Knows nothing of
 * GStreamer; the element hears of it through callbacks.
 */
#ifndef GST_LIGHT_FORCING_GENERATOR_H
#define GST_LIGHT_FORCING_GENERATOR_H

#include "model_cache.h"

G_BEGIN_DECLS

typedef struct GstLightForcingGenerator GstLightForcingGenerator;

/* A prompt as it was set. Counted by g_rc_box, atomically: …_prompt_ref and _unref. */
typedef struct {
    char *text;
    gint64 set_time; /* monotonic, µs */
} GstLightForcingPrompt;

GstLightForcingPrompt *gst_light_forcing_prompt_new(const char *text);
GstLightForcingPrompt *gst_light_forcing_prompt_ref(GstLightForcingPrompt *prompt);
void gst_light_forcing_prompt_unref(GstLightForcingPrompt *prompt);

/* A frame at the front of the queue. Its chunk and prompt belong to whoever asked for it. */
typedef struct {
    LfChunk *chunk;
    int index; /* of the frame in the chunk */
    GstLightForcingPrompt *prompt;
    guint64 seed; /* of the noise */
    gboolean cut; /* the first frame of a scene other than the stream's first */
} GstLightForcingFrame;

void gst_light_forcing_frame_clear(GstLightForcingFrame *frame);

typedef enum {
    GST_LIGHT_FORCING_TAKE_OK,
    GST_LIGHT_FORCING_TAKE_EMPTY, /* nothing is ready, and waiting was not asked for */
    GST_LIGHT_FORCING_TAKE_FLUSHING,
    GST_LIGHT_FORCING_TAKE_FAILED /* the worker gave up; `failed` was called before */
} GstLightForcingTake;

/* All are called on the worker's thread, without a lock. */
typedef struct {
    /* Which part is being loaded (an interned string), and the share of it all that is done,
     * 0…1. */
    void (*loading)(const char *part, double done, gpointer data);
    void (*loaded)(LfModel *model, gint64 load_time_us, gpointer data);
    /* The first chunk is in the queue. */
    void (*ready)(gpointer data);
    /* A chunk begins: what it shall be generated with, of the options that can change. `frame`
     * counts from the stream's start. */
    void (*prepare)(guint64 frame, LfSessionOptions *options, gpointer data);
    /* A chunk was generated; with it, so many are in the queue. */
    void (*made)(const LfChunkInfo *info, guint level, gpointer data);
    /* How long the decoder took, of a chunk whose decode time was not known to `made`. */
    void (*decoded)(const LfChunkInfo *info, gpointer data);
    /* A prompt was refused; the stream goes on with the one before. */
    void (*refused)(const GError *error, gpointer data);
    /* The worker gives up. `loading`: it was still loading the model. */
    void (*failed)(const GError *error, gboolean loading, gpointer data);
} GstLightForcingGeneratorCallbacks;

/* Starts the worker. `session` is copied; its size is not read. The model must stay claimed, and
 * `data` valid, until gst_light_forcing_generator_free. */
GstLightForcingGenerator *gst_light_forcing_generator_new(
    GstLightForcingModel *model, const LfSessionOptions *session,
    const GstLightForcingGeneratorCallbacks *callbacks, gpointer data);

/* Stops the worker (on the CPU within one layer of its work, on a GPU within a chunk), and frees
 * all. NULL is fine. */
void gst_light_forcing_generator_free(GstLightForcingGenerator *generator);

/* What follows may be called from any thread. */

/* The size of the frames, in pixels. Nothing is generated before it is known; it is fixed then. */
void gst_light_forcing_generator_set_size(GstLightForcingGenerator *generator, int width,
                                          int height);

/* From the next chunk on. */
void gst_light_forcing_generator_set_prompt(GstLightForcingGenerator *generator,
                                            GstLightForcingPrompt *prompt);

/* A new scene from the next chunk on. */
void gst_light_forcing_generator_restart(GstLightForcingGenerator *generator, guint64 seed);

/* Finished chunks that are kept ahead of the one being played. */
void gst_light_forcing_generator_set_prefetch(GstLightForcingGenerator *generator, guint chunks);

guint gst_light_forcing_generator_level(GstLightForcingGenerator *generator);

/* The next frame, which stays in the queue until it is dropped from there: a wait for the clock in
 * between can be broken off and costs no frame. */
GstLightForcingTake gst_light_forcing_generator_peek(GstLightForcingGenerator *generator,
                                                     gboolean wait, GstLightForcingFrame *frame);
void gst_light_forcing_generator_drop(GstLightForcingGenerator *generator);

/* While flushing, nobody waits for frames. The worker and the queue are left alone. */
void gst_light_forcing_generator_set_flushing(GstLightForcingGenerator *generator,
                                              gboolean flushing);

G_END_DECLS

#endif
