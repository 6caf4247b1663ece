/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the worker tells, on its thread.
 */
#include "messages.h"
#include "gstlightforcingsrc-private.h"

#define GST_CAT_DEFAULT gst_light_forcing_src_debug

/* The rest is the first chunk. */
#define LOADING_PERCENT 90
#define PERCENT_STEP    20

static void loading(const char *part, double done, gpointer data)
{
    GstLightForcingSrc *self = data;
    gint percent = (gint) (CLAMP(done, 0, 1) * LOADING_PERCENT);
    if (part == self->part && percent < self->percent + PERCENT_STEP)
        return;
    self->part = part;
    self->percent = percent;
    char *text = g_strdup_printf("Loading %s, %d %%", part, percent);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_CONTINUE, text, percent);
    g_free(text);
}

static void loaded(LfModel *model, gint64 load_time_us, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_INFO_OBJECT(self, "loaded %s (%s) on %s in %" G_GINT64_FORMAT " ms", lf_model_name(model),
                    lf_model_description(model), lf_model_device(model), load_time_us / 1000);
    GST_OBJECT_LOCK(self);
    self->stats.load_time = (GstClockTime) load_time_us * GST_USECOND;
    g_strlcpy(self->stats.model, lf_model_name(model), sizeof self->stats.model);
    g_strlcpy(self->stats.device, lf_model_device(model), sizeof self->stats.device);
    GST_OBJECT_UNLOCK(self);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_CONTINUE, "Warming up",
                                    LOADING_PERCENT);
}

static void ready(gpointer data)
{
    GstLightForcingSrc *self = data;
    g_atomic_int_set(&self->opening, FALSE);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_COMPLETE,
                                    "The first frames are ready", -1);
}

/* Controlled values are those of the chunk's first frame. */
static void prepare(guint64 frame, LfSessionOptions *options, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_OBJECT_LOCK(self);
    guint64 ahead = frame - self->n_shown;
    GstClockTime time =
        self->position + gst_util_uint64_scale(ahead, (guint64) self->native.fps_d * GST_SECOND,
                                               (guint64) self->native.fps_n);
    GST_OBJECT_UNLOCK(self);
    gst_object_sync_values(GST_OBJECT(self), time);
    GST_OBJECT_LOCK(self);
    gst_light_forcing_settings_chunk(&self->settings, options);
    GST_OBJECT_UNLOCK(self);
}

static void made(const LfChunkInfo *info, guint level, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_DEBUG_OBJECT(
        self, "chunk %" G_GUINT64_FORMAT ": %d frames, %.1f ms, sparsity %.3f", info->index,
        info->n_frames,
        (double) (info->recache_time + info->denoise_time + info->clean_time + info->decode_time) /
            1e6,
        info->sparsity);
    GST_OBJECT_LOCK(self);
    gst_light_forcing_stats_add_chunk(&self->stats, info);
    gboolean post = (self->settings.messages & GST_LIGHT_FORCING_MESSAGES_CHUNK) != 0;
    GST_OBJECT_UNLOCK(self);
    if (post)
        gst_light_forcing_post_chunk(GST_ELEMENT(self), info, level);
}

static void decoded(const LfChunkInfo *info, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_OBJECT_LOCK(self);
    self->stats.decode_time += info->decode_time;
    GST_OBJECT_UNLOCK(self);
}

static void refused(const GError *error, gpointer data)
{
    gst_light_forcing_post_problem(data, GST_MESSAGE_WARNING, error, FALSE);
}

/* Without a prompt, that its file could not be read is the better explanation. */
static GError *better_error(GstLightForcingSrc *self, const GError *error)
{
    GST_OBJECT_LOCK(self);
    gboolean no_prompt = g_error_matches(error, LF_ERROR, LF_ERROR_TEXT) && !self->prompt;
    GError *copy =
        g_error_copy(no_prompt && self->prompt_file_error ? self->prompt_file_error : error);
    GST_OBJECT_UNLOCK(self);
    return copy;
}

static void failed(const GError *error, gboolean in_loading, gpointer data)
{
    GstLightForcingSrc *self = data;
    GError *cause = better_error(self, error);
    gst_light_forcing_post_problem(data, GST_MESSAGE_ERROR, cause, in_loading);
    if (g_atomic_int_compare_and_exchange(&self->opening, TRUE, FALSE))
        gst_light_forcing_post_progress(data, GST_PROGRESS_TYPE_ERROR, cause->message, -1);
    g_error_free(cause);
}

const GstLightForcingGeneratorCallbacks gst_light_forcing_src_reports = {.loading = loading,
                                                                         .loaded = loaded,
                                                                         .ready = ready,
                                                                         .prepare = prepare,
                                                                         .made = made,
                                                                         .decoded = decoded,
                                                                         .refused = refused,
                                                                         .failed = failed};
