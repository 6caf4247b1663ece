/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pacer.h"

void gst_light_forcing_pacer_init(GstLightForcingPacer *pacer)
{
    g_mutex_init(&pacer->lock);
    gst_light_forcing_pacer_reset(pacer, 16, 1, 0);
}

void gst_light_forcing_pacer_clear(GstLightForcingPacer *pacer)
{
    g_mutex_clear(&pacer->lock);
}

void gst_light_forcing_pacer_reset(GstLightForcingPacer *pacer, gint fps_n, gint fps_d,
                                   GstClockTime origin)
{
    pacer->fps_n = fps_n;
    pacer->fps_d = fps_d;
    pacer->origin = origin;
    pacer->n_frames = 0;
}

GstClockTime gst_light_forcing_pacer_time_of(const GstLightForcingPacer *pacer, guint64 frame)
{
    return gst_util_uint64_scale(frame, (guint64) pacer->fps_d * GST_SECOND,
                                 (guint64) pacer->fps_n);
}

GstClockTime gst_light_forcing_pacer_due(const GstLightForcingPacer *pacer)
{
    GstClockTime origin = GST_CLOCK_TIME_IS_VALID(pacer->origin) ? pacer->origin : 0;
    return origin + gst_light_forcing_pacer_time_of(pacer, pacer->n_frames);
}

GstClockTime gst_light_forcing_pacer_duration(const GstLightForcingPacer *pacer)
{
    return gst_light_forcing_pacer_time_of(pacer, pacer->n_frames + 1) -
           gst_light_forcing_pacer_time_of(pacer, pacer->n_frames);
}

void gst_light_forcing_pacer_advance(GstLightForcingPacer *pacer)
{
    pacer->n_frames++;
}

GstClockTime gst_light_forcing_pacer_lateness(GstLightForcingPacer *pacer, GstElement *element)
{
    GstClockTime now = gst_element_get_current_running_time(element);
    if (!GST_CLOCK_TIME_IS_VALID(now))
        return 0;
    if (!GST_CLOCK_TIME_IS_VALID(pacer->origin))
        pacer->origin = now;
    GstClockTime due = gst_light_forcing_pacer_due(pacer);
    return now > due ? now - due : 0;
}

void gst_light_forcing_pacer_shift(GstLightForcingPacer *pacer, GstClockTime by)
{
    pacer->origin += by;
}

/* NULL when there is no clock, or while flushing. */
static GstClockID begin_wait(GstLightForcingPacer *pacer, GstElement *element)
{
    GstClock *clock = gst_element_get_clock(element);
    if (!clock)
        return NULL;
    GstClockTime time = gst_element_get_base_time(element) + gst_light_forcing_pacer_due(pacer);
    g_mutex_lock(&pacer->lock);
    if (!pacer->flushing)
        pacer->wait = gst_clock_new_single_shot_id(clock, time);
    GstClockID wait = pacer->wait;
    g_mutex_unlock(&pacer->lock);
    gst_object_unref(clock);
    return wait;
}

gboolean gst_light_forcing_pacer_wait(GstLightForcingPacer *pacer, GstElement *element)
{
    GstClockID wait = begin_wait(pacer, element);
    if (wait)
        gst_clock_id_wait(wait, NULL);
    g_mutex_lock(&pacer->lock);
    pacer->wait = NULL;
    gboolean flushing = pacer->flushing;
    g_mutex_unlock(&pacer->lock);
    if (wait)
        gst_clock_id_unref(wait);
    return !flushing;
}

void gst_light_forcing_pacer_set_flushing(GstLightForcingPacer *pacer, gboolean flushing)
{
    g_mutex_lock(&pacer->lock);
    pacer->flushing = flushing;
    if (flushing && pacer->wait)
        gst_clock_id_unschedule(pacer->wait);
    g_mutex_unlock(&pacer->lock);
}
