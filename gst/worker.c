/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The callbacks of the generator. All functions run on the worker thread.
 */
#include "messages.h"
#include "gstlightforcingsrc-private.h"

#define GST_CAT_DEFAULT gst_light_forcing_debug

/* The first chunk is the rest. */
#define LOADING_PERCENT 90
#define PERCENT_STEP    20

static void on_loading(const char *part, double done, gpointer data)
{
    GstLightForcingSrc *self = data;
    gint percent = (gint) (CLAMP(done, 0, 1) * LOADING_PERCENT);
    if (part == self->loading_part && percent < self->loading_percent + PERCENT_STEP)
        return;
    self->loading_part = part;
    self->loading_percent = percent;
    char *text = g_strdup_printf("Loading %s, %d %%", part, percent);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_CONTINUE, text, percent);
    g_free(text);
}

static void on_loaded(LfModel *model, gint64 load_time_us, gpointer data)
{
    GstLightForcingSrc *self = data;
    const char *fallback = lf_model_fallback(model);
    GST_INFO_OBJECT(self, "loaded %s (%s) in %" G_GINT64_FORMAT " ms", lf_model_name(model),
                    lf_model_description(model), load_time_us / 1000);
    GST_INFO_OBJECT(self, "running on %s, text encoder: %s", lf_model_device(model),
                    lf_text_encoder_device_name(lf_model_text_encoder_device(model)));
    GST_OBJECT_LOCK(self);
    self->stats.load_time = (GstClockTime) load_time_us * GST_USECOND;
    g_strlcpy(self->stats.model, lf_model_name(model), sizeof self->stats.model);
    self->stats.text_encoder_device =
        lf_text_encoder_device_name(lf_model_text_encoder_device(model));
    g_strlcpy(self->stats.device, lf_model_device(model), sizeof self->stats.device);
    GST_OBJECT_UNLOCK(self);
    self->warn_of_sparsity = !lf_model_info(model)->sparse;
    if (fallback)
        gst_light_forcing_post_fallback(GST_ELEMENT(self), lf_model_device(model), fallback);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_CONTINUE, "Warming up",
                                    LOADING_PERCENT);
}

static gboolean on_opened(gpointer data, GError **error)
{
    GstLightForcingSrc *self = data;
    GstLightForcingPrompt *prompt = NULL;
    gboolean taken = TRUE;
    GST_OBJECT_LOCK(self);
    if (self->generator) { /* else stop() is waiting for the worker */
        LfSessionOptions options = {0};
        gst_light_forcing_settings_chunk(&self->settings, &options);
        gst_light_forcing_generator_set_options(self->generator, &options);
        taken = gst_light_forcing_src_submit_prompt(self, error);
        prompt = self->prompt ? gst_light_forcing_prompt_ref(self->prompt) : NULL;
    }
    GST_OBJECT_UNLOCK(self);
    if (prompt && taken)
        gst_light_forcing_post_tokens(GST_ELEMENT(self), prompt);
    gst_light_forcing_prompt_unref(prompt);
    return taken;
}

static void on_ready(gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_OBJECT_LOCK(self);
    char *text = g_strdup_printf("Ready on %s", self->stats.device);
    GST_OBJECT_UNLOCK(self);
    g_atomic_int_set(&self->opening, FALSE);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_COMPLETE, text, -1);
    g_free(text);
}

/* Controlled properties have their value at the time of the chunk's first frame. Setting them
 * passes them on to the session. */
static void on_prepare(guint64 frame, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_OBJECT_LOCK(self);
    guint64 ahead = frame - self->n_played;
    GstClockTime time =
        self->position + gst_util_uint64_scale(ahead, (guint64) self->native.fps_d * GST_SECOND,
                                               (guint64) self->native.fps_n);
    GST_OBJECT_UNLOCK(self);
    gst_object_sync_values(GST_OBJECT(self), time);
}

static double milliseconds(int64_t time)
{
    return (double) time / GST_MSECOND;
}

static void on_generated(const LfChunkInfo *info, guint level, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_DEBUG_OBJECT(
        self,
        "chunk %" G_GUINT64_FORMAT ": %d frames of prompt %" G_GUINT64_FORMAT
        ", transition %s, sparsity %.3f; encode %.1f ms, text %.1f ms, recache %.1f ms, denoise "
        "%.1f ms, clean %.1f ms, decode %.1f ms; %u chunks queued",
        info->index, info->n_frames, info->prompt_id, lf_transition_name(info->transition),
        info->sparsity, milliseconds(info->encode_time), milliseconds(info->text_time),
        milliseconds(info->recache_time), milliseconds(info->denoise_time),
        milliseconds(info->clean_time), milliseconds(info->decode_time), level);
    GST_OBJECT_LOCK(self);
    gst_light_forcing_stats_add_chunk(&self->stats, info);
    gboolean post = (self->settings.messages & GST_LIGHT_FORCING_MESSAGES_CHUNK) != 0;
    GST_OBJECT_UNLOCK(self);
    if (post)
        gst_light_forcing_post_chunk(GST_ELEMENT(self), info, level);
    if (self->warn_of_sparsity && info->sparsity > 0) {
        gst_light_forcing_post_untrained(GST_ELEMENT(self));
        self->warn_of_sparsity = FALSE;
    }
}

static void on_decoded(const LfChunkInfo *info, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_DEBUG_OBJECT(self, "chunk %" G_GUINT64_FORMAT ": decoded in %.1f ms", info->index,
                     milliseconds(info->decode_time));
    GST_OBJECT_LOCK(self);
    self->stats.decode_time += info->decode_time;
    GST_OBJECT_UNLOCK(self);
}

static void on_prompt_failed(const GError *error, gpointer data)
{
    GstLightForcingSrc *self = data;
    GST_OBJECT_LOCK(self);
    self->prompt_failed = TRUE;
    GST_OBJECT_UNLOCK(self);
    gst_light_forcing_post_prompt_failure(GST_ELEMENT(self), error);
}

static void on_failed(const GError *error, gboolean loading, gpointer data)
{
    GstLightForcingSrc *self = data;
    /* Without a prompt, the better explanation is that its file could not be read. */
    GST_OBJECT_LOCK(self);
    gboolean no_prompt = g_error_matches(error, LF_ERROR, LF_ERROR_TEXT) && !self->prompt;
    GError *cause = g_error_copy(
        no_prompt && self->prompt_location_error ? self->prompt_location_error : error);
    GST_OBJECT_UNLOCK(self);
    gst_light_forcing_post_problem(data, GST_MESSAGE_ERROR, cause, loading);
    if (g_atomic_int_compare_and_exchange(&self->opening, TRUE, FALSE))
        gst_light_forcing_post_progress(data, GST_PROGRESS_TYPE_ERROR, cause->message, -1);
    g_error_free(cause);
}

const GstLightForcingGeneratorCallbacks gst_light_forcing_src_callbacks = {
    .loading = on_loading,
    .loaded = on_loaded,
    .opened = on_opened,
    .ready = on_ready,
    .prepare = on_prepare,
    .generated = on_generated,
    .decoded = on_decoded,
    .prompt_failed = on_prompt_failed,
    .failed = on_failed};
