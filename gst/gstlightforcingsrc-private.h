/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of the element, for the files that implement it: gstlightforcingsrc.c (properties,
 * states, caps, queries), playback.c (frames: GstPushSrcClass.create) and worker.c (callbacks of
 * the generator).
 *
 * Threads:
 *  - Application threads set properties, emit `restart` and change states, several at once. They
 *    touch what is under the object lock, and call the generator's functions for any thread.
 *    State changes are serialised by GStreamer (the state lock); start, stop and `claim` belong to
 *    them.
 *  - The streaming thread runs create(), from the start of the source pad's task to its stop. It
 *    owns the pacer, but for its lock, and the fields of playback. It does not run during start()
 *    and stop(), which may therefore reset these fields.
 *  - The worker thread belongs to the generator, and lives from start() to stop(), which joins it.
 *    It loads the model, calls lf_session_next, and calls the callbacks of worker.c. It owns the
 *    fields of loading.
 *  - unlock() and unlock_stop() are called by any thread. They set the flushing flags of pacer and
 *    generator, which these guard with their own locks; a pause does not.
 *  - The engine may run threads of its own; they call nothing here but the log.
 *
 * Lock order: state lock, object lock, then the generator's lock or the pacer's lock (never both),
 * then the engine's locks. The lock of the model cache is taken with at most the state lock held.
 * No message is posted, no event sent, no generator callback called and no thread joined while the
 * object lock or a lock below it is held.
 */
#ifndef GST_LIGHT_FORCING_SRC_PRIVATE_H
#define GST_LIGHT_FORCING_SRC_PRIVATE_H

#include "caps.h"
#include "generator.h"
#include "gstlightforcingsrc.h"
#include "log.h"
#include "pacer.h"
#include "settings.h"
#include "stats.h"

G_BEGIN_DECLS

/* An underrun of a live stream: from the first frame that is late or repeated until one is in
 * time. */
typedef struct {
    guint n_frames;      /* late or repeated; 0: there is no underrun now */
    GstClockTime due;    /* running time of the first of them */
    GstClockTime lost;   /* shifted time, repeated time, or the largest lateness */
    gint64 last_warning; /* monotonic, µs; 0: none yet */
} GstLightForcingUnderrunState;

struct _GstLightForcingSrc {
    GstPushSrc parent;

    /* State changes only; from NULL→READY to READY→NULL. */
    GstLightForcingModel *claim;

    GThread *pausing_thread; /* atomic: in the change from PLAYING to PAUSED; else NULL */

    /* Under the object lock. */
    GstLightForcingSettings settings;
    GstLightForcingPrompt *prompt; /* of settings.prompt */
    gboolean prompt_failed;        /* the text encoder failed: the same text is a new prompt */
    GError *prompt_location_error; /* why prompt-location has set no prompt */
    GstLightForcingVideo native;   /* the model's size and rate; all 0 while no model is known */
    GstVideoInfo info;             /* negotiated; the size is fixed from start to stop */
    gboolean negotiated;
    GstLightForcingGenerator *generator; /* from start to stop */
    GstLightForcingStats stats;
    GstClockTime position; /* timestamp of the next frame */
    guint64 n_played;      /* generated frames before the next one, without repeated ones */

    gboolean warn_of_sparsity; /* worker thread only: the model never saw sparse attention */

    /* Loading: worker thread only, but for the atomic `opening`. */
    const char *loading_part; /* in the last progress message; an interned string */
    gint loading_percent;
    gboolean opening; /* atomic: PROGRESS START was posted, and its end was not */

    /* Playback: streaming thread only. */
    GstLightForcingPacer pacer;
    GstLightForcingUnderrunState underrun;
    GstLightForcingPrompt *current_prompt; /* of the last frame */
    LfChunk *last_chunk; /* with on-underrun=repeat: the chunk of the last frame … */
    gint last_index;     /* … and the frame's index in it */
};

/* Sets the fields of playback, and the statistics, to those before the first frame. */
void gst_light_forcing_src_reset_playback(GstLightForcingSrc *self);
GstFlowReturn gst_light_forcing_src_create(GstPushSrc *push, GstBuffer **buffer);

/* Gives the prompt in the settings to the generator. Under the object lock. FALSE and an error when
 * it is refused. */
gboolean gst_light_forcing_src_submit_prompt(GstLightForcingSrc *self, GError **error);

extern const GstLightForcingGeneratorCallbacks gst_light_forcing_src_callbacks;

G_END_DECLS

#endif
