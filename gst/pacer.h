/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The pacer: when frames are due, in running time, and the wait for that time on the pipeline's
 * clock.
 *
 * GstBaseSrc could wait by itself. But it fixes its offset to the clock with the first buffer: once
 * the generator has fallen behind, all later buffers would be late. The pacer can be shifted.
 *
 * Thread-safety: one thread, but for gst_light_forcing_pacer_set_flushing.
 */
#ifndef GST_LIGHT_FORCING_PACER_H
#define GST_LIGHT_FORCING_PACER_H

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct {
    gint fps_n, fps_d;
    GstClockTime origin; /* running time of frame 0; none before a live stream's first frame */
    guint64 n_frames;    /* number of the next frame */

    GMutex lock;     /* guards what follows */
    GstClockID wait; /* under way; NULL: none */
    gboolean flushing;
} GstLightForcingPacer;

void gst_light_forcing_pacer_init(GstLightForcingPacer *pacer);
void gst_light_forcing_pacer_clear(GstLightForcingPacer *pacer);

/* Starts a new stream. `origin`: 0, or GST_CLOCK_TIME_NONE for a live stream, which begins at the
 * running time of its first frame. */
void gst_light_forcing_pacer_reset(GstLightForcingPacer *pacer, gint fps_n, gint fps_d,
                                   GstClockTime origin);

/* The time from the origin to frame `frame`, computed from the count, so that rounding does not add
 * up. */
GstClockTime gst_light_forcing_pacer_time_of(const GstLightForcingPacer *pacer, guint64 frame);

/* Running time and duration of the next frame. */
GstClockTime gst_light_forcing_pacer_due(const GstLightForcingPacer *pacer);
GstClockTime gst_light_forcing_pacer_duration(const GstLightForcingPacer *pacer);
void gst_light_forcing_pacer_advance(GstLightForcingPacer *pacer);

/* How late the next frame is; 0 when it is not late, or when there is no clock. Sets the origin of
 * a live stream at its first frame. */
GstClockTime gst_light_forcing_pacer_lateness(GstLightForcingPacer *pacer, GstElement *element);
void gst_light_forcing_pacer_shift(GstLightForcingPacer *pacer, GstClockTime by);

/* Waits until the next frame is due. FALSE when set_flushing has interrupted that. */
gboolean gst_light_forcing_pacer_wait(GstLightForcingPacer *pacer, GstElement *element);

/* Thread-safety: any thread. */
void gst_light_forcing_pacer_set_flushing(GstLightForcingPacer *pacer, gboolean flushing);

G_END_DECLS

#endif
