/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The messages that the element posts on the bus. None of these functions may be called with the
 * object lock held: a handler may read the element's properties.
 */
#ifndef GST_LIGHT_FORCING_MESSAGES_H
#define GST_LIGHT_FORCING_MESSAGES_H

#include "enums.h"
#include "generator.h"

#include <gst/base/gstbasesrc.h>

G_BEGIN_DECLS

/* An error or warning of the engine, with its cause in the text. `loading`: it came while a model
 * was probed or loaded. A warning is about a prompt that was refused. */
void gst_light_forcing_post_problem(GstElement *element, GstMessageType type, const GError *error,
                                    gboolean loading);

/* The warning that the newest prompt could not be encoded, and that the stream goes on without it. */
void gst_light_forcing_post_prompt_failure(GstElement *element, const GError *error);

/* The warning that the CPU computes, and why. */
void gst_light_forcing_post_fallback(GstElement *element, const char *device, const char *reason);

/* The warning that a model computes sparse attention without having been trained with it. */
void gst_light_forcing_post_untrained(GstElement *element);

/* The warning that a prompt has more tokens than the model takes, and the notice (an info message)
 * that it has unknown ones; nothing if it has not. Once per prompt. */
void gst_light_forcing_post_tokens(GstElement *element, const GstLightForcingPrompt *prompt);

/* Progress of "open". `percent` below 0: that of GStreamer's own messages, 0. */
void gst_light_forcing_post_progress(GstElement *element, GstProgressType type, const char *text,
                                     gint percent);

/* `lightforcing-prompt`: `frame`, the first frame of a prompt, leaves in `buffer`. `latency`: since
 * the prompt was set. */
void gst_light_forcing_post_prompt(GstBaseSrc *src, const GstLightForcingFrame *frame,
                                   const GstBuffer *buffer, GstClockTime latency);

/* `lightforcing-chunk`: a chunk was generated; `level` chunks are in the queue with it. */
void gst_light_forcing_post_chunk(GstElement *element, const LfChunkInfo *info, guint level);

/* The QoS message of an underrun. `due`: running time of the first late frame. `lost`: by how much
 * the stream was shifted, the time that repeated frames have filled, or the largest lateness. */
void gst_light_forcing_post_qos(GstBaseSrc *src, GstClockTime due, GstClockTime lost,
                                guint64 n_frames, guint64 n_late);
/* The warning of an underrun. Rates: frames per second that can be generated, and that are
 * played. */
void gst_light_forcing_post_underrun(GstElement *element, GstClockTime lost, guint n_late,
                                     double rate, double needed_rate);

G_END_DECLS

#endif
