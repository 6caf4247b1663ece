/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the element says on the bus. None of these may be called with the object lock held: a
 * handler may ask for the element's properties.
 */
#ifndef GST_LIGHT_FORCING_MESSAGES_H
#define GST_LIGHT_FORCING_MESSAGES_H

#include "enums.h"
#include "generator.h"

#include <gst/base/gstbasesrc.h>

G_BEGIN_DECLS

/* An error or a warning of the engine. `loading`: it came while a model was looked at or loaded. */
void gst_light_forcing_post_problem(GstElement *element, GstMessageType type, const GError *error,
                                    gboolean loading);

/* Progress of "open". `percent` below 0: none. */
void gst_light_forcing_post_progress(GstElement *element, GstProgressType type, const char *text,
                                     gint percent);

/* The first frame of a prompt leaves. Returns what it took since the prompt was set. */
GstClockTime gst_light_forcing_post_prompt(GstBaseSrc *src, const GstLightForcingFrame *frame,
                                           const GstBuffer *buffer, gboolean post);

void gst_light_forcing_post_chunk(GstElement *element, const LfChunkInfo *info, guint level);

/* `lost`: how much later than it should have the stream goes on, or how long it stood still. */
void gst_light_forcing_post_qos(GstBaseSrc *src, GstClockTime due, GstClockTime lost,
                                guint64 n_frames, guint64 n_missed);
/* Rates: frames that can be generated, and those that are played, in a second. */
void gst_light_forcing_post_underrun(GstElement *element, GstClockTime lost, guint n_frames,
                                     double rate, double wanted_rate);

G_END_DECLS

#endif
