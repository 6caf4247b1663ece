/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * When frames are due, in running time, and the wait for it on the pipeline's clock.
 *
 * GstBaseSrc could wait by itself, but fixes its offset to the clock with the first buffer and
 * pushes everything late from then on once a generator fell behind; here a late stream is shifted.
 */
#ifndef GST_LIGHT_FORCING_PACER_H
#define GST_LIGHT_FORCING_PACER_H

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct {
    gint fps_n, fps_d;
    GstClockTime origin; /* running time of frame 0; none until the clock was asked */
    guint64 n_frames;    /* since then */

    GMutex lock; /* of what follows */
    GstClockID wait;
    gboolean flushing;
} GstLightForcingPacer;

void gst_light_forcing_pacer_init(GstLightForcingPacer *pacer);
void gst_light_forcing_pacer_clear(GstLightForcingPacer *pacer);

/* A new stream. `origin`: 0, or GST_CLOCK_TIME_NONE for a live one, which begins now. */
void gst_light_forcing_pacer_reset(GstLightForcingPacer *pacer, gint fps_n, gint fps_d,
                                   GstClockTime origin);

/* The time from the origin to frame `frame`: of counts, so nothing accumulates. */
GstClockTime gst_light_forcing_pacer_time_of(const GstLightForcingPacer *pacer, guint64 frame);

/* When the next frame is due, and how long it lasts. */
GstClockTime gst_light_forcing_pacer_due(const GstLightForcingPacer *pacer);
GstClockTime gst_light_forcing_pacer_duration(const GstLightForcingPacer *pacer);
void gst_light_forcing_pacer_advance(GstLightForcingPacer *pacer);

/* How late the next frame is already; 0 when it is not, or without a clock. Sets the origin of a
 * live stream at its first frame. */
GstClockTime gst_light_forcing_pacer_lateness(GstLightForcingPacer *pacer, GstElement *element);
void gst_light_forcing_pacer_shift(GstLightForcingPacer *pacer, GstClockTime by);

/* Until the next frame is due. FALSE when that was broken off, by set_flushing. */
gboolean gst_light_forcing_pacer_wait(GstLightForcingPacer *pacer, GstElement *element);

/* Thread-safety: any thread. */
void gst_light_forcing_pacer_set_flushing(GstLightForcingPacer *pacer, gboolean flushing);

G_END_DECLS

#endif
