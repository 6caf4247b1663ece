/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of the element, for the files that it is made of: gstlightforcingsrc.c (what it is and
 * how it starts and stops), playback.c (frame after frame out of the pad) and reports.c (what the
 * worker tells).
 *
 * Locks: the object lock stands above the generator's and the pacer's own, and is never held while
 * a message is posted or the worker is waited for.
 */
#ifndef GST_LIGHT_FORCING_SRC_PRIVATE_H
#define GST_LIGHT_FORCING_SRC_PRIVATE_H

#include "caps.h"
#include "generator.h"
#include "gstlightforcingsrc.h"
#include "pacer.h"
#include "settings.h"
#include "stats.h"

G_BEGIN_DECLS

GST_DEBUG_CATEGORY_EXTERN(gst_light_forcing_src_debug);

/* A time in which a live stream ran dry. The streaming thread's own. */
typedef struct {
    guint n_frames; /* late or repeated; 0: there is no such time now */
    GstClockTime due, lost;
    gint64 last_warning; /* monotonic, µs; 0: none yet */
} GstLightForcingEpisode;

struct _GstLightForcingSrc {
    GstPushSrc parent;

    /* From NULL→READY to READY→NULL; only state changes touch it. */
    GstLightForcingModel *model;

    /* Under the object lock. */
    GstLightForcingSettings settings;
    GstLightForcingPrompt *prompt; /* of settings.prompt */
    GError *prompt_file_error;     /* why there is no prompt */
    GstLightForcingVideo native;   /* the model's; all 0 while none is known */
    GstVideoInfo info;             /* negotiated; its size is fixed from start to stop */
    gboolean negotiated;
    GstLightForcingGenerator *generator; /* from start to stop */
    GstLightForcingStats stats;
    GstClockTime position; /* timestamp of the next frame … */
    guint64 n_shown;       /* … and how many generated ones left before it */

    /* The worker's own. */
    const char *part; /* that was reported last; an interned string */
    gint percent;
    gboolean opening; /* atomic: PROGRESS was started and not ended */

    /* The streaming thread's own; the pacer locks what others need. */
    GstLightForcingPacer pacer;
    GstLightForcingEpisode episode;
    GstLightForcingPrompt *shown_prompt;
    LfChunk *shown_chunk; /* to repeat its frame `shown_index`, if that is asked for */
    gint shown_index;
};

/* Sets the stream's own state to that before the first frame. */
void gst_light_forcing_src_reset_playback(GstLightForcingSrc *self);
GstFlowReturn gst_light_forcing_src_create(GstPushSrc *push, GstBuffer **buffer);

extern const GstLightForcingGeneratorCallbacks gst_light_forcing_src_reports;

G_END_DECLS

#endif
