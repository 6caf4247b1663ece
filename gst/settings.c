/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

#define DEFAULT_SEED              (-1)
#define DEFAULT_BACKEND           GST_LIGHT_FORCING_BACKEND_AUTO
#define DEFAULT_CUDA_DEVICE_ID    0
#define DEFAULT_PRECISION         GST_LIGHT_FORCING_PRECISION_AUTO
#define DEFAULT_ATTENTION         GST_LIGHT_FORCING_ATTENTION_AUTO
#define DEFAULT_SPARSITY          (-1.0)
#define DEFAULT_SPARSITY_GROWTH   TRUE
#define DEFAULT_WINDOW_FRAMES     0
#define DEFAULT_SINK_FRAMES       (-1)
#define DEFAULT_PROMPT_TRANSITION GST_LIGHT_FORCING_TRANSITION_CONTINUE
#define DEFAULT_FORCE_KEY_UNIT    GST_LIGHT_FORCING_KEY_UNIT_CUT
#define DEFAULT_IS_LIVE           FALSE
#define DEFAULT_ON_UNDERRUN       GST_LIGHT_FORCING_UNDERRUN_SHIFT
#define DEFAULT_PREFETCH          1
#define DEFAULT_TIMESTAMP_OFFSET  0
#define DEFAULT_POST_MESSAGES     GST_LIGHT_FORCING_MESSAGES_PROMPT
#define DEFAULT_TAG_PROMPT        FALSE

#define MAX_SPARSITY 0.99
#define MAX_PREFETCH 16

#define ALWAYS  (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING)
#define STOPPED (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY)

/* ---- descriptions ---------------------------------------------------------------------------- */

static void install_prompt(GObjectClass *klass)
{
    /**
     * GstLightForcingSrc:prompt:
     *
     * What the video shows. A new text takes effect with the next chunk that is generated; setting
     * the same text again is no change. The empty text is a prompt too. Text that is no UTF-8 or
     * longer than 64 KiB is refused with a warning, and the stream goes on as before. No prompt at
     * all is an error when the first chunk is generated.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_PROMPT,
        g_param_spec_string("prompt", "Prompt", "What the video shows", NULL, ALWAYS));

    /**
     * GstLightForcingSrc:prompt-file:
     *
     * A file to read #GstLightForcingSrc:prompt from, at the moment this property is set. For long
     * prompts, and for those with backslashes, which gst-launch-1.0 eats.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_PROMPT_FILE,
        g_param_spec_string("prompt-file", "Prompt file",
                            "File to read the prompt from, when this is set", NULL, ALWAYS));

    /**
     * GstLightForcingSrc:prompt-transition:
     *
     * What becomes of the past when a new prompt takes effect. With `continue` only what the text
     * says changes, and the old scene turns into the new one within one to two chunks. With
     * `recache`, for models that were trained with it, what is remembered of the frames before is
     * first made anew under the new prompt: the picture goes on without what the old prompt had to
     * say about it. The first chunk takes longer then, by a pass over all frames of the window.
     * With `cut` the past is forgotten: a new scene begins, whose first chunk has three frames
     * fewer, as the stream's first has, and whose first frame is marked as discontinuous, with a
     * key frame asked for (#GstLightForcingSrc:force-key-unit). Timestamps have no gaps with any of
     * them.
     *
     * Read when a chunk begins that has a new prompt: set it before the prompt that it is for.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_PROMPT_TRANSITION,
        g_param_spec_enum("prompt-transition", "Prompt transition",
                          "What becomes of the past when a new prompt takes effect",
                          GST_TYPE_LIGHT_FORCING_TRANSITION, DEFAULT_PROMPT_TRANSITION, ALWAYS));

    /**
     * GstLightForcingSrc:seed:
     *
     * Of the noise that the video is made from: the same seed, prompts and settings give the same
     * frames. -1 takes a random one; #GstLightForcingSrc:stats has the one that was taken. Read
     * when the stream starts and at #GstLightForcingSrc::restart.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_SEED,
                                    g_param_spec_int64("seed", "Seed",
                                                       "Seed of the noise (-1 = random)", -1,
                                                       G_MAXINT64, DEFAULT_SEED, ALWAYS));
}

static void install_model(GObjectClass *klass)
{
    /**
     * GstLightForcingSrc:model-location:
     *
     * A directory with a model.json, or that file. Without it, `$LIGHTFORCING_MODEL` and the data
     * directories of user, system and installation are looked at.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_MODEL_LOCATION,
        g_param_spec_string("model-location", "Model location",
                            "Directory of the model (unset = $LIGHTFORCING_MODEL, or installed)",
                            NULL, STOPPED | GST_PARAM_DOC_SHOW_DEFAULT));

    /**
     * GstLightForcingSrc:text-encoder-location:
     *
     * A file or directory to take the text encoder from, in place of the model's own.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_TEXT_ENCODER_LOCATION,
        g_param_spec_string("text-encoder-location", "Text encoder location",
                            "Text encoder to use (unset = the model's own)", NULL, STOPPED));

    /**
     * GstLightForcingSrc:decoder-location:
     *
     * A file or directory to take the decoder from, in place of the model's own.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_DECODER_LOCATION,
                                    g_param_spec_string("decoder-location", "Decoder location",
                                                        "Decoder to use (unset = the model's own)",
                                                        NULL, STOPPED));

    /**
     * GstLightForcingSrc:backend:
     *
     * What computes. `auto` is the first NVIDIA GPU where that can be used, else the processor. One
     * that is named and not there is an error.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_BACKEND,
                                    g_param_spec_enum("backend", "Backend", "What computes",
                                                      GST_TYPE_LIGHT_FORCING_BACKEND,
                                                      DEFAULT_BACKEND, STOPPED));

    /**
     * GstLightForcingSrc:cuda-device-id:
     *
     * Which GPU, as CUDA numbers them. Only with #GstLightForcingSrc:backend cuda.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_CUDA_DEVICE_ID,
                                    g_param_spec_int("cuda-device-id", "CUDA device ID",
                                                     "Which GPU (with backend=cuda)", 0, 1023,
                                                     DEFAULT_CUDA_DEVICE_ID, STOPPED));

    /**
     * GstLightForcingSrc:precision:
     *
     * What the products of the transformer's blocks are computed in. One that the backend does not
     * have is an error.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_PRECISION,
        g_param_spec_enum("precision", "Precision",
                          "What the transformer's products are computed in",
                          GST_TYPE_LIGHT_FORCING_PRECISION, DEFAULT_PRECISION, STOPPED));
}

static void install_attention(GObjectClass *klass)
{
    /**
     * GstLightForcingSrc:attention:
     *
     * Which blocks of the past the transformer looks at. `sparse` with a model that has no numbers
     * for it is an error.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_ATTENTION,
        g_param_spec_enum("attention", "Attention", "Which blocks of the past are looked at",
                          GST_TYPE_LIGHT_FORCING_ATTENTION, DEFAULT_ATTENTION, ALWAYS));

    /**
     * GstLightForcingSrc:sparsity:
     *
     * The share of key blocks that sparse attention skips in the long run. More is faster. 0 skips
     * none; what is below 0 is the model's own number. Can be controlled with a #GstController,
     * which is asked once a chunk.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_SPARSITY,
        g_param_spec_double("sparsity", "Sparsity",
                            "Share of key blocks to skip (-1 = the model's own)", -1.0,
                            MAX_SPARSITY, DEFAULT_SPARSITY, ALWAYS | GST_PARAM_CONTROLLABLE));

    /**
     * GstLightForcingSrc:sparsity-growth:
     *
     * Early chunks, whose errors all later ones inherit, skip less. Without it every chunk but the
     * first skips the same share.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_SPARSITY_GROWTH,
                                    g_param_spec_boolean("sparsity-growth", "Sparsity growth",
                                                         "Early chunks skip less",
                                                         DEFAULT_SPARSITY_GROWTH, STOPPED));

    /**
     * GstLightForcingSrc:window-frames:
     *
     * Latent frames (of four frames each) that a chunk looks at, itself included. -1: all there
     * were, which grows for as long as the stream lasts; 0: the model's own number.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_WINDOW_FRAMES,
        g_param_spec_int("window-frames", "Window frames",
                         "Latent frames that are looked at (0 = the model's own, -1 = all)", -1,
                         G_MAXINT, DEFAULT_WINDOW_FRAMES, STOPPED));

    /**
     * GstLightForcingSrc:sink-frames:
     *
     * First latent frames of the stream that are always looked at. -1: the model's own number.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_SINK_FRAMES,
        g_param_spec_int("sink-frames", "Sink frames",
                         "First latent frames that are always looked at (-1 = the model's own)", -1,
                         G_MAXINT, DEFAULT_SINK_FRAMES, STOPPED));
}

static void install_timing(GObjectClass *klass)
{
    /**
     * GstLightForcingSrc:is-live:
     *
     * Frames leave when the pipeline's clock says, not as soon as they are asked for.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_IS_LIVE,
                                    g_param_spec_boolean("is-live", "Is live",
                                                         "Whether to act as a live source",
                                                         DEFAULT_IS_LIVE, STOPPED));

    /**
     * GstLightForcingSrc:on-underrun:
     *
     * What a live stream does when the next frame is not ready in time.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_ON_UNDERRUN,
        g_param_spec_enum("on-underrun", "On underrun",
                          "What a live stream does when the next frame is late",
                          GST_TYPE_LIGHT_FORCING_UNDERRUN, DEFAULT_ON_UNDERRUN, ALWAYS));

    /**
     * GstLightForcingSrc:prefetch:
     *
     * Finished chunks that are kept ahead of the one being played. More of them outlast longer
     * delays; a new prompt is seen that much later.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_PREFETCH,
                                    g_param_spec_uint("prefetch", "Prefetch",
                                                      "Finished chunks to keep ahead", 1,
                                                      MAX_PREFETCH, DEFAULT_PREFETCH, ALWAYS));

    /**
     * GstLightForcingSrc:timestamp-offset:
     *
     * Added to all timestamps, in nanoseconds.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_TIMESTAMP_OFFSET,
                                    g_param_spec_int64("timestamp-offset", "Timestamp offset",
                                                       "Added to all timestamps (in ns)", 0,
                                                       G_MAXINT64, DEFAULT_TIMESTAMP_OFFSET,
                                                       ALWAYS));
}

static void install_reports(GObjectClass *klass)
{
    /**
     * GstLightForcingSrc:force-key-unit:
     *
     * When encoders downstream are asked for a key frame.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_FORCE_KEY_UNIT,
                                    g_param_spec_enum("force-key-unit", "Force key unit",
                                                      "When encoders are asked for a key frame",
                                                      GST_TYPE_LIGHT_FORCING_KEY_UNIT,
                                                      DEFAULT_FORCE_KEY_UNIT, ALWAYS));

    /**
     * GstLightForcingSrc:post-messages:
     *
     * Element messages to post. `lightforcing-prompt` comes as the first frame of a prompt leaves,
     * with prompt, prompt-id, chunk, frame, timestamp, stream-time, running-time, duration, latency
     * (since the prompt was set), seed and transition, a #GstLightForcingTransition (`cut` for the
     * stream's first prompt, too); `lightforcing-chunk` with each generated chunk, with
     * chunk, frames, generate-time, decode-time, queue-level and sparsity.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_POST_MESSAGES,
        g_param_spec_flags("post-messages", "Post messages", "Element messages to post",
                           GST_TYPE_LIGHT_FORCING_MESSAGES, DEFAULT_POST_MESSAGES, ALWAYS));

    /**
     * GstLightForcingSrc:tag-prompt:
     *
     * Writes each prompt into the stream as a description tag, which muxers store or send.
     *
     * Since: 0.1
     */
    g_object_class_install_property(klass, GST_LIGHT_FORCING_PROP_TAG_PROMPT,
                                    g_param_spec_boolean("tag-prompt", "Tag prompt",
                                                         "Send prompts as description tags",
                                                         DEFAULT_TAG_PROMPT, ALWAYS));

    /**
     * GstLightForcingSrc:stats:
     *
     * What happened since the stream's start: frames, chunks, chunk-frames, generate-time-avg,
     * generate-time-max, decode-time-avg, text-encode-time, fps-potential (frames that are
     * generated in a second), queue-level, underruns, repeated, shifted-time, prompts,
     * prompt-latency-last, prompt-latency-max, seed, model, device-name, sparsity-effective,
     * load-time and qos-proportion. Times are in nanoseconds.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_STATS,
        g_param_spec_boxed("stats", "Statistics", "What happened since the stream's start",
                           GST_TYPE_STRUCTURE,
                           G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | GST_PARAM_DOC_SHOW_DEFAULT));
}

void gst_light_forcing_settings_install(GObjectClass *klass)
{
    install_prompt(klass);
    install_model(klass);
    install_attention(klass);
    install_timing(klass);
    install_reports(klass);
}

/* ---- values ---------------------------------------------------------------------------------- */

void gst_light_forcing_settings_init(GstLightForcingSettings *s)
{
    *s = (GstLightForcingSettings){.seed = DEFAULT_SEED,
                                   .backend = DEFAULT_BACKEND,
                                   .cuda_device_id = DEFAULT_CUDA_DEVICE_ID,
                                   .precision = DEFAULT_PRECISION,
                                   .attention = DEFAULT_ATTENTION,
                                   .sparsity = DEFAULT_SPARSITY,
                                   .sparsity_growth = DEFAULT_SPARSITY_GROWTH,
                                   .window_frames = DEFAULT_WINDOW_FRAMES,
                                   .sink_frames = DEFAULT_SINK_FRAMES,
                                   .prompt_transition = DEFAULT_PROMPT_TRANSITION,
                                   .force_key_unit = DEFAULT_FORCE_KEY_UNIT,
                                   .is_live = DEFAULT_IS_LIVE,
                                   .on_underrun = DEFAULT_ON_UNDERRUN,
                                   .prefetch = DEFAULT_PREFETCH,
                                   .timestamp_offset = DEFAULT_TIMESTAMP_OFFSET,
                                   .post_messages = DEFAULT_POST_MESSAGES,
                                   .tag_prompt = DEFAULT_TAG_PROMPT};
}

void gst_light_forcing_settings_clear(GstLightForcingSettings *s)
{
    g_clear_pointer(&s->prompt, g_free);
    g_clear_pointer(&s->prompt_file, g_free);
    g_clear_pointer(&s->model_location, g_free);
    g_clear_pointer(&s->text_encoder_location, g_free);
    g_clear_pointer(&s->decoder_location, g_free);
}

/* An empty path means the same as none. */
static void set_path(char **path, const GValue *value)
{
    const char *text = g_value_get_string(value);
    g_free(*path);
    *path = text && *text ? g_strdup(text) : NULL;
}

gboolean gst_light_forcing_settings_set(GstLightForcingSettings *s, guint id, const GValue *value)
{
    switch ((GstLightForcingProp) id) {
    case GST_LIGHT_FORCING_PROP_PROMPT:
        g_free(s->prompt);
        s->prompt = g_value_dup_string(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PROMPT_FILE:
        set_path(&s->prompt_file, value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SEED:
        s->seed = g_value_get_int64(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_MODEL_LOCATION:
        set_path(&s->model_location, value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_TEXT_ENCODER_LOCATION:
        set_path(&s->text_encoder_location, value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_DECODER_LOCATION:
        set_path(&s->decoder_location, value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_BACKEND:
        s->backend = (GstLightForcingBackend) g_value_get_enum(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_CUDA_DEVICE_ID:
        s->cuda_device_id = g_value_get_int(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PRECISION:
        s->precision = (GstLightForcingPrecision) g_value_get_enum(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_ATTENTION:
        s->attention = (GstLightForcingAttention) g_value_get_enum(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SPARSITY:
        s->sparsity = g_value_get_double(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SPARSITY_GROWTH:
        s->sparsity_growth = g_value_get_boolean(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_WINDOW_FRAMES:
        s->window_frames = g_value_get_int(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SINK_FRAMES:
        s->sink_frames = g_value_get_int(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PROMPT_TRANSITION:
        s->prompt_transition = (GstLightForcingTransition) g_value_get_enum(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_FORCE_KEY_UNIT:
        s->force_key_unit = (GstLightForcingKeyUnit) g_value_get_enum(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_IS_LIVE:
        s->is_live = g_value_get_boolean(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_ON_UNDERRUN:
        s->on_underrun = (GstLightForcingUnderrun) g_value_get_enum(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PREFETCH:
        s->prefetch = g_value_get_uint(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_TIMESTAMP_OFFSET:
        s->timestamp_offset = g_value_get_int64(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_POST_MESSAGES:
        s->post_messages = (GstLightForcingMessages) g_value_get_flags(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_TAG_PROMPT:
        s->tag_prompt = g_value_get_boolean(value);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_STATS:
        break;
    }
    return FALSE;
}

gboolean gst_light_forcing_settings_get(const GstLightForcingSettings *s, guint id, GValue *value)
{
    switch ((GstLightForcingProp) id) {
    case GST_LIGHT_FORCING_PROP_PROMPT:
        g_value_set_string(value, s->prompt);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PROMPT_FILE:
        g_value_set_string(value, s->prompt_file);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SEED:
        g_value_set_int64(value, s->seed);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_MODEL_LOCATION:
        g_value_set_string(value, s->model_location);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_TEXT_ENCODER_LOCATION:
        g_value_set_string(value, s->text_encoder_location);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_DECODER_LOCATION:
        g_value_set_string(value, s->decoder_location);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_BACKEND:
        g_value_set_enum(value, (gint) s->backend);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_CUDA_DEVICE_ID:
        g_value_set_int(value, s->cuda_device_id);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PRECISION:
        g_value_set_enum(value, (gint) s->precision);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_ATTENTION:
        g_value_set_enum(value, (gint) s->attention);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SPARSITY:
        g_value_set_double(value, s->sparsity);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SPARSITY_GROWTH:
        g_value_set_boolean(value, s->sparsity_growth);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_WINDOW_FRAMES:
        g_value_set_int(value, s->window_frames);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_SINK_FRAMES:
        g_value_set_int(value, s->sink_frames);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PROMPT_TRANSITION:
        g_value_set_enum(value, (gint) s->prompt_transition);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_FORCE_KEY_UNIT:
        g_value_set_enum(value, (gint) s->force_key_unit);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_IS_LIVE:
        g_value_set_boolean(value, s->is_live);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_ON_UNDERRUN:
        g_value_set_enum(value, (gint) s->on_underrun);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_PREFETCH:
        g_value_set_uint(value, s->prefetch);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_TIMESTAMP_OFFSET:
        g_value_set_int64(value, s->timestamp_offset);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_POST_MESSAGES:
        g_value_set_flags(value, s->post_messages);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_TAG_PROMPT:
        g_value_set_boolean(value, s->tag_prompt);
        return TRUE;
    case GST_LIGHT_FORCING_PROP_STATS:
        break;
    }
    return FALSE;
}

/* ---- in the engine's terms ------------------------------------------------------------------- */

/* Lives as long as the program. */
static const char *backend_name(const GstLightForcingSettings *s)
{
    g_autofree char *cuda = g_strdup_printf("cuda:%d", s->cuda_device_id);
    switch (s->backend) {
    case GST_LIGHT_FORCING_BACKEND_CPU:
        return "cpu";
    case GST_LIGHT_FORCING_BACKEND_CUDA:
        return g_intern_string(cuda);
    default:
        return "auto";
    }
}

LfModelOptions gst_light_forcing_settings_model(const GstLightForcingSettings *s)
{
    static const LfPrecision precisions[] = {LF_PRECISION_AUTO, LF_PRECISION_FP32,
                                             LF_PRECISION_BF16, LF_PRECISION_FP8};
    return (LfModelOptions){.backend = backend_name(s),
                            .precision = precisions[s->precision],
                            .text_encoder_location = s->text_encoder_location,
                            .decoder_location = s->decoder_location};
}

static LfAttention attention_of(const GstLightForcingSettings *s)
{
    return s->attention == GST_LIGHT_FORCING_ATTENTION_SPARSE  ? LF_ATTENTION_SPARSE
           : s->attention == GST_LIGHT_FORCING_ATTENTION_DENSE ? LF_ATTENTION_DENSE
                                                               : LF_ATTENTION_AUTO;
}

void gst_light_forcing_settings_chunk(const GstLightForcingSettings *s, LfSessionOptions *options)
{
    static const LfTransition transitions[] = {LF_TRANSITION_CONTINUE, LF_TRANSITION_RECACHE,
                                               LF_TRANSITION_CUT};
    options->transition = transitions[s->prompt_transition];
    options->sparsity = MAX(s->sparsity, 0); /* the engine's 0 is the model's own number … */
    options->attention = attention_of(s);
    if (s->sparsity == 0) /* … and to skip nothing is to be dense */
        options->attention = LF_ATTENTION_DENSE;
}

LfSessionOptions gst_light_forcing_settings_session(const GstLightForcingSettings *s, guint64 seed)
{
    LfSessionOptions options = {.seed = seed,
                                .uniform = !s->sparsity_growth,
                                .window = s->window_frames,
                                .sink = s->sink_frames < 0    ? 0
                                        : s->sink_frames == 0 ? -1
                                                              : s->sink_frames};
    gst_light_forcing_settings_chunk(s, &options);
    return options;
}
