/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-lightforcingsrc
 * @title: lightforcingsrc
 *
 * Generates video from a text prompt in real time using an autoregressive video-diffusion model.
 * The prompt can be changed while the video plays. The frame rate is the model's.
 *
 * The model is loaded after the state change to PAUSED has returned; PROGRESS messages with the
 * code `open` tell how far that is, the last of them once the first frames are ready.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 lightforcingsrc prompt="a red ball bouncing on green grass" ! videoconvert !
 * autovideosink
 * ]| Plays a prompt.
 * |[
 * gst-launch-1.0 -e lightforcingsrc prompt="a blue star spinning at night" num-buffers=160 !
 * x264enc ! h264parse ! mp4mux ! filesink location=star.mp4
 * ]| Records ten seconds.
 * |[
 * gst-launch-1.0 lightforcingsrc is-live=true on-underrun=repeat prompt="a pink heart in the ocean"
 * ! queue ! x264enc tune=zerolatency key-int-max=32 ! h264parse ! flvmux streamable=true !
 * rtmp2sink location=rtmp://localhost/live/heart
 * ]| Broadcasts at a constant frame rate, also where frames are generated too slowly.
 * |[
 * gst-launch-1.0 lightforcingsrc seed=7 prompt="a yellow ring at dawn" num-buffers=9 !
 * video/x-raw,format=RGB ! pngenc ! multifilesink location=ring-%02d.png
 * ]| Writes single frames; the same seed gives the same ones.
 *
 * Since: 0.1
 */
#include "messages.h"
#include "gstlightforcingsrc-private.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

#define GST_CAT_DEFAULT gst_light_forcing_debug

/* One byte more than the longest prompt that the engine takes: it refuses longer ones. */
#define PROMPT_FILE_SIZE (64 * 1024 + 1)

enum { SIGNAL_RESTART, N_SIGNALS };
static guint signals[N_SIGNALS];

G_DEFINE_TYPE(GstLightForcingSrc, gst_light_forcing_src, GST_TYPE_PUSH_SRC)
GST_ELEMENT_REGISTER_DEFINE(lightforcingsrc, "lightforcingsrc", GST_RANK_NONE,
                            GST_TYPE_LIGHT_FORCING_SRC)

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE(
    "src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS(GST_LIGHT_FORCING_CAPS));

/* ---- properties ------------------------------------------------------------------------------ */

static char *read_prompt(const char *path, GError **error)
{
    FILE *file = g_fopen(path, "rb");
    if (!file) {
        g_set_error(error, LF_ERROR, LF_ERROR_TEXT, "Cannot read prompt: %s: %s", path,
                    g_strerror(errno));
        return NULL;
    }
    char *text = g_malloc0(PROMPT_FILE_SIZE + 1);
    size_t size = fread(text, 1, PROMPT_FILE_SIZE, file);
    const char *problem = ferror(file)           ? g_strerror(errno)
                          : strlen(text) != size ? "not a text file (contains NUL bytes)"
                                                 : NULL;
    fclose(file);
    if (!problem)
        return g_strchomp(text);
    g_set_error(error, LF_ERROR, LF_ERROR_TEXT, "Cannot read prompt: %s: %s", path, problem);
    g_free(text);
    return NULL;
}

gboolean gst_light_forcing_src_submit_prompt(GstLightForcingSrc *self, GError **error)
{
    return !self->prompt || !self->generator ||
           gst_light_forcing_generator_set_prompt(self->generator, self->prompt, error);
}

/* Takes settings.prompt over. The same text again is no new prompt, unless it could not be encoded. */
static void update_prompt(GstLightForcingSrc *self)
{
    GError *refusal = NULL;
    GstLightForcingPrompt *prompt = NULL;
    GST_OBJECT_LOCK(self);
    const char *text = self->settings.prompt;
    if (!text) {
        g_clear_pointer(&self->prompt, gst_light_forcing_prompt_unref);
    } else if (!self->prompt || self->prompt_failed || strcmp(self->prompt->text, text) != 0) {
        self->prompt_failed = FALSE;
        GST_DEBUG_OBJECT(self, "prompt set: \"%s\"", text);
        gst_light_forcing_prompt_unref(self->prompt);
        self->prompt = gst_light_forcing_prompt_new(text);
        g_clear_error(&self->prompt_location_error);
        gst_light_forcing_src_submit_prompt(self, &refusal);
        prompt = gst_light_forcing_prompt_ref(self->prompt);
    }
    GST_OBJECT_UNLOCK(self);
    if (refusal)
        gst_light_forcing_post_problem(GST_ELEMENT(self), GST_MESSAGE_WARNING, refusal, FALSE);
    else if (prompt)
        gst_light_forcing_post_tokens(GST_ELEMENT(self), prompt);
    g_clear_error(&refusal);
    gst_light_forcing_prompt_unref(prompt);
}

static void load_prompt(GstLightForcingSrc *self, const char *path)
{
    GError *error = NULL;
    char *text = read_prompt(path, &error);
    GST_OBJECT_LOCK(self);
    if (text) {
        g_free(self->settings.prompt);
        self->settings.prompt = text;
    } else {
        g_clear_error(&self->prompt_location_error);
        self->prompt_location_error = g_error_copy(error);
    }
    GST_OBJECT_UNLOCK(self);
    if (text) {
        update_prompt(self);
    } else {
        GST_ELEMENT_WARNING(self, RESOURCE, OPEN_READ, ("%s", error->message), (NULL));
        g_error_free(error);
    }
}

/* Under the object lock. Passes on the settings that the generator can change while it runs. */
static void update_generator(GstLightForcingSrc *self)
{
    LfSessionOptions options = {0};
    if (!self->generator)
        return;
    gst_light_forcing_settings_chunk(&self->settings, &options);
    gst_light_forcing_generator_set_options(self->generator, &options);
    gst_light_forcing_generator_set_prefetch(self->generator, self->settings.prefetch);
}

/* NULL for the empty text, with which a location is not set. */
static const char *text_of(const GValue *value)
{
    const char *text = g_value_get_string(value);
    return text && *text ? text : NULL;
}

static void gst_light_forcing_src_set_property(GObject *object, guint id, const GValue *value,
                                               GParamSpec *pspec)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(object);
    GST_OBJECT_LOCK(self);
    gconstpointer field = gst_light_forcing_settings_set(&self->settings, id, value);
    update_generator(self);
    GST_OBJECT_UNLOCK(self);

    if (!field)
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
    else if (field == &self->settings.prompt)
        update_prompt(self);
    else if (field == &self->settings.is_live)
        gst_base_src_set_live(GST_BASE_SRC(self), g_value_get_boolean(value));
    else if (field == &self->settings.prompt_location && text_of(value))
        load_prompt(self, text_of(value));
}

static void gst_light_forcing_src_get_property(GObject *object, guint id, GValue *value,
                                               GParamSpec *pspec)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(object);
    GST_OBJECT_LOCK(self);
    gboolean known = gst_light_forcing_settings_get(&self->settings, id, value);
    if (id == GST_LIGHT_FORCING_PROP_STATS) {
        guint level = self->generator ? gst_light_forcing_generator_level(self->generator) : 0;
        g_value_take_boxed(value, gst_light_forcing_stats_to_structure(&self->stats, level));
        known = TRUE;
    }
    GST_OBJECT_UNLOCK(self);
    if (!known)
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
}

/* ---- restart --------------------------------------------------------------------------------- */

/* 63 bits, so that the property `seed` can have the value. */
static guint64 seed_or_random(gint64 seed)
{
    if (seed >= 0)
        return (guint64) seed;
    return ((guint64) g_random_int() << 31) ^ g_random_int();
}

static void gst_light_forcing_src_restart(GstLightForcingSrc *self, gint64 seed)
{
    GST_OBJECT_LOCK(self);
    guint64 new_seed = seed_or_random(seed >= 0 ? seed : self->settings.seed);
    GST_INFO_OBJECT(self, "restart with seed %" G_GUINT64_FORMAT, new_seed);
    if (self->generator)
        gst_light_forcing_generator_restart(self->generator, new_seed);
    GST_OBJECT_UNLOCK(self);
}

/* ---- NULL to READY and back: the model ------------------------------------------------------- */

/* Checks that the model at `location` can generate video, and claims it. */
static gboolean claim_model(GstLightForcingSrc *self, const char *location,
                            const LfModelOptions *options)
{
    LfModelInfo info;
    GError *error = NULL;
    if (self->claim && gst_light_forcing_model_is(self->claim, location, options))
        return TRUE;
    if (!lf_model_probe(location, options, &info, &error)) {
        gst_light_forcing_post_problem(GST_ELEMENT(self), GST_MESSAGE_ERROR, error, TRUE);
        g_error_free(error);
        return FALSE;
    }
    if (!info.can_encode || !info.can_decode) {
        char *missing = lf_model_missing(location, options);
        GST_ELEMENT_ERROR(self, STREAM, WRONG_TYPE, ("Model %s: %s", location, missing), (NULL));
        g_free(missing);
        return FALSE;
    }
    gst_light_forcing_model_release(self->claim);
    self->claim = gst_light_forcing_model_claim(location, options);
    GST_OBJECT_LOCK(self);
    self->native = (GstLightForcingVideo){info.width, info.height, info.fps_n, info.fps_d};
    GST_OBJECT_UNLOCK(self);
    GST_INFO_OBJECT(self,
                    "model %s, %dx%d at %d/%d fps, chunks of %d latent frames, backend %s, "
                    "precision %s",
                    location, info.width, info.height, info.fps_n, info.fps_d, info.chunk,
                    options->backend, lf_precision_name(options->precision));
    return TRUE;
}

/* Called by start(), too: the locations may be changed in READY. */
static gboolean open_model(GstLightForcingSrc *self)
{
    LfModelOptions settings, options;
    GError *error = NULL;
    gboolean open = FALSE;
    GST_OBJECT_LOCK(self);
    char *location = g_strdup(self->settings.model_location);
    settings = gst_light_forcing_settings_model(&self->settings);
    lf_model_options_copy(&options, &settings);
    char *lora = g_strdup(self->settings.lora);
    GST_OBJECT_UNLOCK(self);
    options.log = gst_light_forcing_log();

    if (!location)
        location = lf_model_default_location();
    if (lora && !lf_model_options_add_loras(&options, lora, &error))
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("lora: %s", error->message), (NULL));
    else if (location)
        open = claim_model(self, location, &options);
    else
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS,
                          ("No model found: set model-location or $LIGHTFORCING_MODEL."),
                          ("there is no model in the data directories either"));
    g_clear_error(&error);
    g_free(lora);
    g_free(location);
    lf_model_options_clear(&options);
    return open;
}

static void close_model(GstLightForcingSrc *self)
{
    g_clear_pointer(&self->claim, gst_light_forcing_model_release);
    GST_OBJECT_LOCK(self);
    self->native = (GstLightForcingVideo){0};
    GST_OBJECT_UNLOCK(self);
}

static GstStateChangeReturn gst_light_forcing_src_change_state(GstElement *element,
                                                               GstStateChange transition)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(element);
    GST_DEBUG_OBJECT(self, "%s", gst_state_change_get_name(transition));
    if (transition == GST_STATE_CHANGE_NULL_TO_READY && !open_model(self))
        return GST_STATE_CHANGE_FAILURE;
    if (transition == GST_STATE_CHANGE_PLAYING_TO_PAUSED)
        g_atomic_pointer_set(&self->pausing_thread, g_thread_self());
    GstStateChangeReturn result =
        GST_ELEMENT_CLASS(gst_light_forcing_src_parent_class)->change_state(element, transition);
    if (transition == GST_STATE_CHANGE_PLAYING_TO_PAUSED)
        g_atomic_pointer_set(&self->pausing_thread, NULL);
    if (transition == GST_STATE_CHANGE_READY_TO_NULL)
        close_model(self);
    return result;
}

/* ---- READY to PAUSED and back: the stream ---------------------------------------------------- */

/* Returns at once: a worker thread loads the model, which takes long. */
static gboolean gst_light_forcing_src_start(GstBaseSrc *base)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    GError *error = NULL;
    if (!open_model(self))
        return FALSE;
    GST_DEBUG_OBJECT(self, "start");
    gst_light_forcing_src_reset_playback(self);
    self->loading_part = NULL;
    GST_OBJECT_LOCK(self);
    guint64 seed = seed_or_random(self->settings.seed);
    LfSessionOptions options;
    gboolean valid = gst_light_forcing_settings_session(&self->settings, seed, &options, &error);
    gboolean live = self->settings.is_live;
    self->stats.seed = (gint64) seed;
    GST_OBJECT_UNLOCK(self);
    if (!valid) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("%s", error->message), (NULL));
        g_error_free(error);
        return FALSE;
    }

    g_atomic_int_set(&self->opening, TRUE);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_START, "Loading model",
                                    -1);
    GstLightForcingGenerator *generator = gst_light_forcing_generator_new(
        self->claim, &options, live, &gst_light_forcing_src_callbacks, self, &error);
    if (!generator) {
        GST_ELEMENT_ERROR(self, RESOURCE, FAILED, ("Cannot start a thread: %s", error->message),
                          (NULL));
        g_atomic_int_set(&self->opening, FALSE);
        gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_ERROR, error->message,
                                        -1);
        g_error_free(error);
        return FALSE;
    }
    GST_OBJECT_LOCK(self);
    self->generator = generator;
    gst_light_forcing_generator_set_prefetch(generator, self->settings.prefetch);
    GST_OBJECT_UNLOCK(self);
    return TRUE;
}

static gboolean gst_light_forcing_src_stop(GstBaseSrc *base)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    GST_DEBUG_OBJECT(self, "stop");
    GST_OBJECT_LOCK(self);
    GstLightForcingGenerator *generator = g_steal_pointer(&self->generator);
    GST_OBJECT_UNLOCK(self);
    gst_light_forcing_generator_free(generator);
    if (g_atomic_int_compare_and_exchange(&self->opening, TRUE, FALSE))
        gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_CANCELED,
                                        "Loading model was cancelled", -1);
    gst_light_forcing_src_reset_playback(self);
    return TRUE;
}

/* Interrupts create(), which waits for a frame or for the clock. Called not only to stop but also
 * for EOS: generated chunks stay, and the chunk at work goes on. */
static void set_flushing(GstLightForcingSrc *self, gboolean flushing)
{
    GST_DEBUG_OBJECT(self, flushing ? "unlock" : "unlock stop");
    gst_light_forcing_pacer_set_flushing(&self->pacer, flushing);
    GST_OBJECT_LOCK(self);
    if (self->generator)
        gst_light_forcing_generator_set_flushing(self->generator, flushing);
    GST_OBJECT_UNLOCK(self);
}

/* From GStreamer 1.24 on, a live source is unlocked for PAUSED, too. create() need not return then: its
 * waits hold no lock, and GstBaseSrc keeps the frame that comes out of them until the pipeline plays
 * again. If create() returned, the streaming thread would pause itself, and if the pipeline played
 * again before it got there, nothing would start it any more. */
static gboolean gst_light_forcing_src_unlock(GstBaseSrc *base)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    if (g_atomic_pointer_get(&self->pausing_thread) != g_thread_self())
        set_flushing(self, TRUE);
    return TRUE;
}

static gboolean gst_light_forcing_src_unlock_stop(GstBaseSrc *base)
{
    set_flushing(GST_LIGHT_FORCING_SRC(base), FALSE);
    return TRUE;
}

/* ---- caps and memory ------------------------------------------------------------------------- */

/* The size is fixed from start to stop: the KV cache is made for it. */
static GstCaps *gst_light_forcing_src_get_caps(GstBaseSrc *base, GstCaps *filter)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    GstLightForcingVideo video = {0};
    GST_OBJECT_LOCK(self);
    video.fps_n = self->native.fps_n;
    video.fps_d = self->native.fps_d;
    if (self->negotiated) {
        video.width = GST_VIDEO_INFO_WIDTH(&self->info);
        video.height = GST_VIDEO_INFO_HEIGHT(&self->info);
    }
    GST_OBJECT_UNLOCK(self);
    GstCaps *template = gst_pad_get_pad_template_caps(GST_BASE_SRC_PAD(base));
    GstCaps *caps = gst_light_forcing_caps_restrict(template, &video);
    gst_caps_unref(template);
    if (!filter)
        return caps;
    GstCaps *both = gst_caps_intersect_full(filter, caps, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref(caps);
    return both;
}

static GstCaps *gst_light_forcing_src_fixate(GstBaseSrc *base, GstCaps *caps)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    GST_OBJECT_LOCK(self);
    GstLightForcingVideo native = self->native;
    GST_OBJECT_UNLOCK(self);
    return gst_light_forcing_caps_fixate(caps, &native);
}

/* Says what the caps must be: the error "not negotiated" that follows does not. */
static gboolean gst_light_forcing_src_negotiate(GstBaseSrc *base)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    if (GST_BASE_SRC_CLASS(gst_light_forcing_src_parent_class)->negotiate(base))
        return TRUE;
    if (GST_PAD_IS_FLUSHING(GST_BASE_SRC_PAD(base)))
        return FALSE;
    GstCaps *caps = gst_light_forcing_src_get_caps(base, NULL);
    GstCaps *wanted = gst_pad_peer_query_caps(GST_BASE_SRC_PAD(base), NULL);
    GST_OBJECT_LOCK(self);
    GstLightForcingVideo native = self->native;
    char *size = self->negotiated ? g_strdup_printf("the size stays %dx%d while the stream lasts",
                                                    GST_VIDEO_INFO_WIDTH(&self->info),
                                                    GST_VIDEO_INFO_HEIGHT(&self->info))
                                  : g_strdup("width and height must be multiples of 16");
    GST_OBJECT_UNLOCK(self);
    GST_ELEMENT_WARNING(
        self, STREAM, FORMAT,
        ("Unsupported output caps: %s, the frame rate must be %d/%d. Use "
         "videoconvert, videoscale or videorate downstream.",
         size, native.fps_n, native.fps_d),
        ("downstream takes %" GST_PTR_FORMAT "; possible are %" GST_PTR_FORMAT, wanted, caps));
    g_free(size);
    gst_caps_unref(wanted);
    gst_caps_unref(caps);
    return FALSE;
}

static gboolean gst_light_forcing_src_set_caps(GstBaseSrc *base, GstCaps *caps)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    GstVideoInfo info;
    if (!gst_video_info_from_caps(&info, caps))
        return FALSE;
    GST_INFO_OBJECT(self, "caps %" GST_PTR_FORMAT, caps);
    gst_base_src_set_blocksize(base, (guint) GST_VIDEO_INFO_SIZE(&info));
    GST_OBJECT_LOCK(self);
    self->info = info;
    self->negotiated = TRUE;
    if (self->generator)
        gst_light_forcing_generator_set_size(self->generator, GST_VIDEO_INFO_WIDTH(&info),
                                             GST_VIDEO_INFO_HEIGHT(&info));
    GST_OBJECT_UNLOCK(self);
    return TRUE;
}

/* Configures downstream's pool if it offers one, else a new pool, for buffers of at least one video
 * frame. */
static void propose_pool(GstQuery *query, GstCaps *caps, const GstVideoInfo *info)
{
    GstBufferPool *pool = NULL;
    guint size = 0, min = 0, max = 0;
    gboolean offered = gst_query_get_n_allocation_pools(query) > 0;
    if (offered)
        gst_query_parse_nth_allocation_pool(query, 0, &pool, &size, &min, &max);
    if (!pool)
        pool = gst_video_buffer_pool_new();
    size = MAX(size, (guint) GST_VIDEO_INFO_SIZE(info));

    GstStructure *config = gst_buffer_pool_get_config(pool);
    gst_buffer_pool_config_set_params(config, caps, size, min, max);
    if (gst_query_find_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL))
        gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    gst_buffer_pool_set_config(pool, config); /* the base class handles a pool that refuses */

    if (offered)
        gst_query_set_nth_allocation_pool(query, 0, pool, size, min, max);
    else
        gst_query_add_allocation_pool(query, pool, size, min, max);
    gst_object_unref(pool);
}

static gboolean gst_light_forcing_src_decide_allocation(GstBaseSrc *base, GstQuery *query)
{
    GstCaps *caps = NULL;
    GstVideoInfo info;
    gst_query_parse_allocation(query, &caps, NULL);
    if (!caps || !gst_video_info_from_caps(&info, caps))
        return FALSE;
    propose_pool(query, caps, &info);
    return GST_BASE_SRC_CLASS(gst_light_forcing_src_parent_class)->decide_allocation(base, query);
}

/* ---- queries and events ---------------------------------------------------------------------- */

static gboolean answer_duration(GstLightForcingSrc *self, GstQuery *query)
{
    GstFormat format;
    gint64 frames = GST_BASE_SRC(self)->num_buffers;
    gst_query_parse_duration(query, &format, NULL);
    GST_OBJECT_LOCK(self);
    GstLightForcingVideo native = self->native;
    gint64 size = self->negotiated ? (gint64) GST_VIDEO_INFO_SIZE(&self->info) : 0;
    GST_OBJECT_UNLOCK(self);
    if (frames < 0 || !native.fps_n)
        return FALSE;
    if (format == GST_FORMAT_TIME)
        gst_query_set_duration(
            query, format, gst_util_uint64_scale(frames, native.fps_d * GST_SECOND, native.fps_n));
    else if (format == GST_FORMAT_DEFAULT)
        gst_query_set_duration(query, format, frames);
    else if (format == GST_FORMAT_BYTES && size)
        gst_query_set_duration(query, format, frames * size);
    else
        return FALSE;
    return TRUE;
}

static gboolean answer_convert(GstLightForcingSrc *self, GstQuery *query)
{
    GstFormat from, to;
    gint64 value, result;
    gst_query_parse_convert(query, &from, &value, &to, NULL);
    GST_OBJECT_LOCK(self);
    GstVideoInfo info = self->info;
    gboolean negotiated = self->negotiated;
    GST_OBJECT_UNLOCK(self);
    if (!negotiated || !gst_video_info_convert(&info, from, value, to, &result))
        return FALSE;
    gst_query_set_convert(query, from, value, to, result);
    return TRUE;
}

/* A live frame leaves at its timestamp: the latency is one frame. There is no maximum, because the
 * generator waits while nobody takes its frames. */
static gboolean answer_latency(GstLightForcingSrc *self, GstQuery *query)
{
    GST_OBJECT_LOCK(self);
    GstLightForcingVideo native = self->native;
    GST_OBJECT_UNLOCK(self);
    gboolean live = gst_base_src_is_live(GST_BASE_SRC(self));
    if (live && !native.fps_n)
        return FALSE;
    GstClockTime frame = live ? gst_util_uint64_scale(GST_SECOND, native.fps_d, native.fps_n) : 0;
    gst_query_set_latency(query, live, frame, GST_CLOCK_TIME_NONE);
    return TRUE;
}

static gboolean gst_light_forcing_src_query(GstBaseSrc *base, GstQuery *query)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    if (GST_QUERY_TYPE(query) == GST_QUERY_LATENCY)
        return answer_latency(self, query);
    if (GST_QUERY_TYPE(query) == GST_QUERY_CONVERT && answer_convert(self, query))
        return TRUE;
    if (GST_QUERY_TYPE(query) == GST_QUERY_DURATION && answer_duration(self, query))
        return TRUE;
    return GST_BASE_SRC_CLASS(gst_light_forcing_src_parent_class)->query(base, query);
}

/* The model cannot skip frames: QoS events only go into the statistics. */
static gboolean gst_light_forcing_src_event(GstBaseSrc *base, GstEvent *event)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    if (GST_EVENT_TYPE(event) == GST_EVENT_QOS) {
        gdouble proportion;
        gst_event_parse_qos(event, NULL, &proportion, NULL, NULL);
        GST_OBJECT_LOCK(self);
        self->stats.qos_proportion = proportion;
        GST_OBJECT_UNLOCK(self);
    }
    return GST_BASE_SRC_CLASS(gst_light_forcing_src_parent_class)->event(base, event);
}

/* ---- type ------------------------------------------------------------------------------------ */

static void gst_light_forcing_src_finalize(GObject *object)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(object);
    gst_light_forcing_model_release(self->claim);
    gst_light_forcing_settings_clear(&self->settings);
    gst_light_forcing_prompt_unref(self->prompt);
    g_clear_error(&self->prompt_location_error);
    gst_light_forcing_pacer_clear(&self->pacer);
    G_OBJECT_CLASS(gst_light_forcing_src_parent_class)->finalize(object);
}

static void install_signals(GstLightForcingSrcClass *klass)
{
    /**
     * GstLightForcingSrc::restart:
     * @self: the element
     * @seed: random seed of the new scene (-1 = that of #GstLightForcingSrc:seed)
     *
     * Starts a new scene with the next generated chunk. Timestamps go on. The first frame of the
     * scene is marked as discontinuous, and a keyframe is requested for it unless
     * #GstLightForcingSrc:keyframe-requests is `none`.
     *
     * Since: 0.1
     */
    signals[SIGNAL_RESTART] = g_signal_new_class_handler(
        "restart", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
        G_CALLBACK(gst_light_forcing_src_restart), NULL, NULL, NULL, G_TYPE_NONE, 1, G_TYPE_INT64);
}

static void gst_light_forcing_src_class_init(GstLightForcingSrcClass *klass)
{
    GObjectClass *gobject_class = G_OBJECT_CLASS(klass);
    GstElementClass *element_class = GST_ELEMENT_CLASS(klass);
    GstBaseSrcClass *base_class = GST_BASE_SRC_CLASS(klass);

    gst_light_forcing_log_init();

    gobject_class->set_property = gst_light_forcing_src_set_property;
    gobject_class->get_property = gst_light_forcing_src_get_property;
    gobject_class->finalize = gst_light_forcing_src_finalize;
    gst_light_forcing_settings_install(gobject_class);
    install_signals(klass);

    gst_element_class_set_static_metadata(
        element_class, "Light Forcing video generator", "Source/Video",
        "Generates video from a text prompt in real time using an autoregressive video-diffusion "
        "model",
        "The lightforcingsrc authors");
    gst_element_class_add_static_pad_template(element_class, &src_template);
    element_class->change_state = GST_DEBUG_FUNCPTR(gst_light_forcing_src_change_state);

    base_class->start = GST_DEBUG_FUNCPTR(gst_light_forcing_src_start);
    base_class->stop = GST_DEBUG_FUNCPTR(gst_light_forcing_src_stop);
    base_class->unlock = GST_DEBUG_FUNCPTR(gst_light_forcing_src_unlock);
    base_class->unlock_stop = GST_DEBUG_FUNCPTR(gst_light_forcing_src_unlock_stop);
    base_class->get_caps = GST_DEBUG_FUNCPTR(gst_light_forcing_src_get_caps);
    base_class->fixate = GST_DEBUG_FUNCPTR(gst_light_forcing_src_fixate);
    base_class->negotiate = GST_DEBUG_FUNCPTR(gst_light_forcing_src_negotiate);
    base_class->set_caps = GST_DEBUG_FUNCPTR(gst_light_forcing_src_set_caps);
    base_class->decide_allocation = GST_DEBUG_FUNCPTR(gst_light_forcing_src_decide_allocation);
    base_class->query = GST_DEBUG_FUNCPTR(gst_light_forcing_src_query);
    base_class->event = GST_DEBUG_FUNCPTR(gst_light_forcing_src_event);
    GST_PUSH_SRC_CLASS(klass)->create = GST_DEBUG_FUNCPTR(gst_light_forcing_src_create);
}

static void gst_light_forcing_src_init(GstLightForcingSrc *self)
{
    gst_light_forcing_settings_init(&self->settings);
    gst_light_forcing_pacer_init(&self->pacer);
    self->stats.qos_proportion = 1;
    gst_base_src_set_format(GST_BASE_SRC(self), GST_FORMAT_TIME);
}
