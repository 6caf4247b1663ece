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

GST_DEBUG_CATEGORY(gst_light_forcing_src_debug);
#define GST_CAT_DEFAULT gst_light_forcing_src_debug

/* A little more than the engine takes, so that it refuses what is too long. */
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
        g_set_error(error, LF_ERROR, LF_ERROR_TEXT, "%s: %s", path, g_strerror(errno));
        return NULL;
    }
    char *text = g_malloc0(PROMPT_FILE_SIZE + 1);
    size_t size = fread(text, 1, PROMPT_FILE_SIZE, file);
    gboolean is_text = !ferror(file) && strlen(text) == size;
    fclose(file);
    if (is_text)
        return g_strchomp(text);
    g_set_error(error, LF_ERROR, LF_ERROR_TEXT, "%s: not a file with a text", path);
    g_free(text);
    return NULL;
}

/* Under the object lock. */
static void take_prompt(GstLightForcingSrc *self)
{
    const char *text = self->settings.prompt;
    if (self->prompt && g_strcmp0(self->prompt->text, text) == 0)
        return;
    g_clear_pointer(&self->prompt, gst_light_forcing_prompt_unref);
    if (!text)
        return;
    self->prompt = gst_light_forcing_prompt_new(text);
    g_clear_error(&self->prompt_file_error);
    if (self->generator)
        gst_light_forcing_generator_set_prompt(self->generator, self->prompt);
}

static void load_prompt_file(GstLightForcingSrc *self, const char *path)
{
    GError *error = NULL;
    char *text = read_prompt(path, &error);
    GST_OBJECT_LOCK(self);
    if (text) {
        g_free(self->settings.prompt);
        self->settings.prompt = text;
        take_prompt(self);
    } else {
        g_clear_error(&self->prompt_file_error);
        self->prompt_file_error = g_error_copy(error);
    }
    GST_OBJECT_UNLOCK(self);
    if (text)
        return;
    GST_ELEMENT_WARNING(self, RESOURCE, OPEN_READ, ("The prompt file cannot be read."),
                        ("%s", error->message));
    g_error_free(error);
}

static void gst_light_forcing_src_set_property(GObject *object, guint id, const GValue *value,
                                               GParamSpec *pspec)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(object);
    GST_OBJECT_LOCK(self);
    gconstpointer field = gst_light_forcing_settings_set(&self->settings, id, value);
    if (field == &self->settings.prompt)
        take_prompt(self);
    if (field == &self->settings.prefetch && self->generator)
        gst_light_forcing_generator_set_prefetch(self->generator, self->settings.prefetch);
    GST_OBJECT_UNLOCK(self);

    if (!field)
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
    else if (field == &self->settings.is_live)
        gst_base_src_set_live(GST_BASE_SRC(self), g_value_get_boolean(value));
    else if (field == &self->settings.prompt_location && g_value_get_string(value))
        load_prompt_file(self, g_value_get_string(value));
}

/* Under the object lock. */
static GstStructure *make_stats(GstLightForcingSrc *self)
{
    guint level = self->generator ? gst_light_forcing_generator_level(self->generator) : 0;
    return gst_light_forcing_stats_to_structure(&self->stats, level);
}

static void gst_light_forcing_src_get_property(GObject *object, guint id, GValue *value,
                                               GParamSpec *pspec)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(object);
    GST_OBJECT_LOCK(self);
    gboolean known = gst_light_forcing_settings_get(&self->settings, id, value);
    if (id == GST_LIGHT_FORCING_PROP_STATS) {
        g_value_take_boxed(value, make_stats(self));
        known = TRUE;
    }
    GST_OBJECT_UNLOCK(self);
    if (!known)
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
}

/* ---- restart --------------------------------------------------------------------------------- */

/* 63 bits, so that the property can name it. */
static guint64 seed_or_random(gint64 seed)
{
    if (seed >= 0)
        return (guint64) seed;
    return ((guint64) g_random_int() << 31) ^ g_random_int();
}

static void gst_light_forcing_src_restart(GstLightForcingSrc *self, gint64 seed)
{
    GST_OBJECT_LOCK(self);
    guint64 taken = seed_or_random(seed >= 0 ? seed : self->settings.seed);
    if (self->generator)
        gst_light_forcing_generator_restart(self->generator, taken);
    GST_OBJECT_UNLOCK(self);
}

/* ---- NULL to READY and back: which model ----------------------------------------------------- */

static void post_no_model(GstLightForcingSrc *self)
{
    GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("No model was found."),
                      ("the property model-location is not set, and there is no model at "
                       "$LIGHTFORCING_MODEL or in the data directories"));
}

static gboolean is_whole(GstLightForcingSrc *self, const LfModelInfo *info,
                         const LfModelOptions *options, const char *location)
{
    gboolean encodes = info->can_encode || options->text_encoder_location;
    gboolean decodes = info->can_decode || options->decoder_location;
    if (encodes && decodes)
        return TRUE;
    GST_ELEMENT_ERROR(self, STREAM, WRONG_TYPE, ("The model has not all parts that are needed."),
                      ("%s has no %s; the property %s can name one", location,
                       encodes ? "decoder" : "text encoder with a tokenizer",
                       encodes ? "decoder-location" : "text-encoder-location"));
    return FALSE;
}

static gboolean claim_model(GstLightForcingSrc *self, const char *location,
                            const LfModelOptions *options)
{
    if (self->model && gst_light_forcing_model_is(self->model, location, options))
        return TRUE;
    LfModelInfo info;
    GError *error = NULL;
    if (!lf_model_probe(location, &info, &error)) {
        gst_light_forcing_post_problem(GST_ELEMENT(self), GST_MESSAGE_ERROR, error, TRUE);
        g_error_free(error);
        return FALSE;
    }
    if (!is_whole(self, &info, options, location))
        return FALSE;
    gst_light_forcing_model_release(self->model);
    self->model = gst_light_forcing_model_claim(location, options);
    GST_OBJECT_LOCK(self);
    self->native = (GstLightForcingVideo){info.width, info.height, info.fps_n, info.fps_d};
    GST_OBJECT_UNLOCK(self);
    GST_INFO_OBJECT(self, "%s makes %dx%d at %d/%d", location, info.width, info.height, info.fps_n,
                    info.fps_d);
    return TRUE;
}

/* Also before each start: the locations may be changed in READY. */
static gboolean open_model(GstLightForcingSrc *self)
{
    GST_OBJECT_LOCK(self);
    char *location = g_strdup(self->settings.model_location);
    LfModelOptions options = gst_light_forcing_settings_model(&self->settings);
    char *text_encoder = g_strdup(options.text_encoder_location);
    char *decoder = g_strdup(options.decoder_location);
    options.text_encoder_location = text_encoder;
    options.decoder_location = decoder;
    GST_OBJECT_UNLOCK(self);

    if (!location)
        location = lf_model_default_location();
    gboolean open = FALSE;
    if (location)
        open = claim_model(self, location, &options);
    else
        post_no_model(self);
    g_free(location);
    g_free(text_encoder);
    g_free(decoder);
    return open;
}

static void close_model(GstLightForcingSrc *self)
{
    g_clear_pointer(&self->model, gst_light_forcing_model_release);
    GST_OBJECT_LOCK(self);
    self->native = (GstLightForcingVideo){0};
    GST_OBJECT_UNLOCK(self);
}

static GstStateChangeReturn gst_light_forcing_src_change_state(GstElement *element,
                                                               GstStateChange transition)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(element);
    if (transition == GST_STATE_CHANGE_NULL_TO_READY && !open_model(self))
        return GST_STATE_CHANGE_FAILURE;
    GstStateChangeReturn result =
        GST_ELEMENT_CLASS(gst_light_forcing_src_parent_class)->change_state(element, transition);
    if (transition == GST_STATE_CHANGE_READY_TO_NULL)
        close_model(self);
    return result;
}

/* ---- READY to PAUSED and back: the stream ---------------------------------------------------- */

static GstLightForcingGenerator *new_generator(GstLightForcingSrc *self)
{
    GST_OBJECT_LOCK(self);
    guint64 seed = seed_or_random(self->settings.seed);
    LfSessionOptions options = gst_light_forcing_settings_session(&self->settings, seed);
    self->stats.seed = (gint64) seed;
    GST_OBJECT_UNLOCK(self);
    return gst_light_forcing_generator_new(self->model, &options, &gst_light_forcing_src_reports,
                                           self);
}

/* Loading a model takes long: a worker does it, and this state change is over at once. */
static gboolean gst_light_forcing_src_start(GstBaseSrc *base)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    if (!open_model(self))
        return FALSE;
    gst_light_forcing_src_reset_playback(self);
    self->part = NULL;
    g_atomic_int_set(&self->opening, TRUE);
    gst_light_forcing_post_progress(GST_ELEMENT(self), GST_PROGRESS_TYPE_START, "Loading model",
                                    -1);
    GstLightForcingGenerator *generator = new_generator(self);
    GST_OBJECT_LOCK(self);
    self->generator = generator;
    gst_light_forcing_generator_set_prefetch(generator, self->settings.prefetch);
    if (self->prompt) /* in time: nothing is generated before caps are negotiated */
        gst_light_forcing_generator_set_prompt(generator, self->prompt);
    GST_OBJECT_UNLOCK(self);
    return TRUE;
}

static gboolean gst_light_forcing_src_stop(GstBaseSrc *base)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
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

/* Ends create()'s waits, for a frame or for the clock. Also called for EOS and, from 1.24 on, for
 * PAUSED: what is generated and being generated stays. */
static void set_flushing(GstLightForcingSrc *self, gboolean flushing)
{
    gst_light_forcing_pacer_set_flushing(&self->pacer, flushing);
    GST_OBJECT_LOCK(self);
    if (self->generator)
        gst_light_forcing_generator_set_flushing(self->generator, flushing);
    GST_OBJECT_UNLOCK(self);
}

static gboolean gst_light_forcing_src_unlock(GstBaseSrc *base)
{
    set_flushing(GST_LIGHT_FORCING_SRC(base), TRUE);
    return TRUE;
}

static gboolean gst_light_forcing_src_unlock_stop(GstBaseSrc *base)
{
    set_flushing(GST_LIGHT_FORCING_SRC(base), FALSE);
    return TRUE;
}

/* ---- caps and memory ------------------------------------------------------------------------- */

/* The size is fixed while a stream lasts: the model's memory of it is made for that. */
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

/* "Not negotiated" alone does not say what could be. */
static gboolean gst_light_forcing_src_negotiate(GstBaseSrc *base)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    if (GST_BASE_SRC_CLASS(gst_light_forcing_src_parent_class)->negotiate(base))
        return TRUE;
    if (GST_PAD_IS_FLUSHING(GST_BASE_SRC_PAD(base)))
        return FALSE;
    GstCaps *caps = gst_light_forcing_src_get_caps(base, NULL);
    GST_ELEMENT_WARNING(self, STREAM, FORMAT,
                        ("The kind of video that is asked for cannot be generated."),
                        ("sizes in pixels are multiples of 16 and fixed while a stream lasts, the "
                         "frame rate is the model's; possible are %" GST_PTR_FORMAT,
                         caps));
    gst_caps_unref(caps);
    return FALSE;
}

static gboolean gst_light_forcing_src_set_caps(GstBaseSrc *base, GstCaps *caps)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(base);
    GstVideoInfo info;
    if (!gst_video_info_from_caps(&info, caps))
        return FALSE;
    GST_DEBUG_OBJECT(self, "caps %" GST_PTR_FORMAT, caps);
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

/* Downstream's pool if it has one, else one of our own that a video frame fits into. */
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
    gst_buffer_pool_set_config(pool, config); /* if it objects, the base class finds a way */

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

/* A live frame leaves at its timestamp, so one frame has to be waited for. The generator waits if
 * nobody takes its frames: there is no maximum. */
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

/* The model cannot skip frames; what sinks report is for people to read. */
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
    gst_light_forcing_model_release(self->model);
    gst_light_forcing_settings_clear(&self->settings);
    gst_light_forcing_prompt_unref(self->prompt);
    g_clear_error(&self->prompt_file_error);
    gst_light_forcing_pacer_clear(&self->pacer);
    G_OBJECT_CLASS(gst_light_forcing_src_parent_class)->finalize(object);
}

static void install_signals(GstLightForcingSrcClass *klass)
{
    /**
     * GstLightForcingSrc::restart:
     * @self: the element
     * @seed: of the new scene's noise; -1: as #GstLightForcingSrc:seed says
     *
     * Begins a new scene, from the next chunk that is generated. Timestamps go on; its first frame
     * is marked as discontinuous, and encoders may be asked for a key frame
     * (#GstLightForcingSrc:keyframe-requests).
     *
     * Since: 0.1
     */
    signals[SIGNAL_RESTART] = g_signal_new_class_handler(
        "restart", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
        G_CALLBACK(gst_light_forcing_src_restart), NULL, NULL, NULL, G_TYPE_NONE, 1, G_TYPE_INT64);
}

static void describe(GstElementClass *element_class)
{
    gst_element_class_set_static_metadata(
        element_class, "Light Forcing video generator", "Source/Video",
        "Generates video from a text prompt in real time using an autoregressive video-diffusion "
        "model",
        "The lightforcingsrc authors");
    gst_element_class_add_static_pad_template(element_class, &src_template);
}

static void gst_light_forcing_src_class_init(GstLightForcingSrcClass *klass)
{
    GObjectClass *gobject_class = G_OBJECT_CLASS(klass);
    GstElementClass *element_class = GST_ELEMENT_CLASS(klass);
    GstBaseSrcClass *base_class = GST_BASE_SRC_CLASS(klass);

    GST_DEBUG_CATEGORY_INIT(gst_light_forcing_src_debug, "lightforcingsrc", 0,
                            "Light Forcing video generator");

    gobject_class->set_property = gst_light_forcing_src_set_property;
    gobject_class->get_property = gst_light_forcing_src_get_property;
    gobject_class->finalize = gst_light_forcing_src_finalize;
    gst_light_forcing_settings_install(gobject_class);
    install_signals(klass);

    describe(element_class);
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
    gst_base_src_set_live(GST_BASE_SRC(self), self->settings.is_live);
}
