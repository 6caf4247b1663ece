/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

/* ---- the table ------------------------------------------------------------------------------- */

/* OPTIONAL: a string that is not set when it is empty. */
typedef enum { STRING, OPTIONAL, BOOLEAN, INT, UINT, INT64, DOUBLE, ENUM, FLAGS } Kind;

typedef struct {
    const char *name, *nick, *blurb;
    Kind kind;
    gsize offset; /* of the field in the settings */
    GParamFlags flags;
    gint64 min, max, initial; /* of integers, booleans, enums and flags */
    double real_min, real_max, real_initial;
    GType (*type)(void); /* of enums and flags */
} Property;

#define FIELD(name) .offset = G_STRUCT_OFFSET(GstLightForcingSettings, name)

/* In which states a change counts. */
#define ALWAYS  .flags = GST_PARAM_MUTABLE_PLAYING
#define STOPPED .flags = GST_PARAM_MUTABLE_READY

/* Lists of numbers are strings: a GstValueArray would need code of its own in every language and
 * quotes in every shell, and nothing reads or controls a single number of a list. */

static const Property properties[] = {
    /**
     * GstLightForcingSrc:prompt:
     *
     * Text prompt. A new text takes effect with the next chunk that is generated, in a live stream
     * with the first one that begins after the text was encoded; setting the same
     * text again changes nothing. The empty text is a prompt, too. Text that is not UTF-8 or longer
     * than 64 KiB is refused with a warning, and the stream goes on with the prompt before. A text
     * with more tokens than the model takes is cut, with a warning. It is an error when no prompt
     * is set as the first chunk is generated.
     *
     * Since: 0.1
     */
    {"prompt", "Prompt", "Text prompt. Changes take effect with the next generated chunk", STRING,
     FIELD(prompt), ALWAYS},

    /**
     * GstLightForcingSrc:prompt-location:
     *
     * Path of a UTF-8 text file, which is read into #GstLightForcingSrc:prompt once, when this
     * property is set. For long prompts, and for prompts with backslashes, which gst-launch-1.0
     * removes.
     *
     * Since: 0.1
     */
    {"prompt-location", "Prompt location",
     "Path of a UTF-8 text file; read once, when the property is set, into prompt", OPTIONAL,
     FIELD(prompt_location), ALWAYS},

    /**
     * GstLightForcingSrc:prompt-transition:
     *
     * How the KV cache is treated when the prompt changes. `continue` keeps it: only the cross
     * attention changes, and the old scene turns into the new one within one to two chunks.
     * `recache`, for models that were trained with it, recomputes the cache of the frames in the
     * window under the new prompt, so that the old prompt has no influence any more; the first
     * chunk takes longer by one pass over these frames. `cut` clears the cache and starts a new
     * scene: its first chunk has three frames fewer, as the stream's first chunk has, and its first
     * frame is marked as discontinuous and requests a keyframe
     * (#GstLightForcingSrc:keyframe-requests). Timestamps have no gaps in any of the three.
     *
     * Read when the first chunk of a new prompt begins: set it before the prompt.
     *
     * Since: 0.1
     */
    {"prompt-transition", "Prompt transition",
     "How the KV cache is treated when the prompt changes", ENUM, FIELD(prompt_transition), ALWAYS,
     .type = gst_light_forcing_transition_get_type,
     .initial = GST_LIGHT_FORCING_TRANSITION_CONTINUE},

    /**
     * GstLightForcingSrc:prompt-cache:
     *
     * Keep encoded prompts in `lightforcing/prompts` in the user's cache directory
     * (`$XDG_CACHE_HOME`), so that a known prompt needs no text encoder. At most 256 MB are kept; the
     * prompts of text encoders below 256 MB, which are encoded faster, are not.
     *
     * Since: 0.1
     */
    {"prompt-cache", "Prompt cache", "Keep encoded prompts in the user's cache directory", BOOLEAN,
     FIELD(prompt_cache), STOPPED, .initial = TRUE},

    /**
     * GstLightForcingSrc:seed:
     *
     * Random seed: the same seed, prompts and settings give the same frames. -1 chooses one at
     * random; #GstLightForcingSrc:stats has the seed in use. Read at stream start and on
     * #GstLightForcingSrc::restart.
     *
     * Since: 0.1
     */
    {"seed", "Seed", "Random seed, read at stream start and on restart (-1 = random)", INT64,
     FIELD(seed), ALWAYS, .min = -1, .max = G_MAXINT64, .initial = -1},

    /**
     * GstLightForcingSrc:model-location:
     *
     * The model: a directory with a model.json, or the model.json itself; a directory of a published
     * layout (Wan-AI, diffusers, ComfyUI, a repository in the Hugging Face cache); or one checkpoint,
     * whose text encoder, tokenizer and decoder are looked for around it. When it is not set, the
     * model is looked for at `$LIGHTFORCING_MODEL` and in the data directories of the user, the
     * system and the installation.
     *
     * Since: 0.1
     */
    {"model-location", "Model location",
     "Directory or checkpoint of the model (unset = $LIGHTFORCING_MODEL, or the installed model)",
     OPTIONAL, FIELD(model_location),
     .flags = GST_PARAM_MUTABLE_READY | GST_PARAM_DOC_SHOW_DEFAULT},

    /**
     * GstLightForcingSrc:text-encoder-location:
     *
     * A file or directory to take the text encoder from, in place of the model's own.
     *
     * Since: 0.1
     */
    {"text-encoder-location", "Text encoder location",
     "File or directory of the text encoder (unset = the model's own)", OPTIONAL,
     FIELD(text_encoder_location), STOPPED},

    /**
     * GstLightForcingSrc:tokenizer-location:
     *
     * A tokenizer to use in place of the model's own, or the directory that it is in.
     *
     * Since: 0.1
     */
    {"tokenizer-location", "Tokenizer location",
     "File or directory of the tokenizer (unset = the model's own)", OPTIONAL,
     FIELD(tokenizer_location), STOPPED},

    /**
     * GstLightForcingSrc:decoder-location:
     *
     * A file or directory to take the decoder from, in place of the model's own.
     *
     * Since: 0.1
     */
    {"decoder-location", "Decoder location",
     "File or directory of the decoder (unset = the model's own)", OPTIONAL,
     FIELD(decoder_location), STOPPED},

    /**
     * GstLightForcingSrc:model-family:
     *
     * The family of checkpoints whose sampling defaults are used, such as `causal-forcing-framewise`
     * or `longlive`, in place of the one that the checkpoint's path tells. `lightforcing families`
     * lists them.
     *
     * Since: 0.1
     */
    {"model-family", "Model family",
     "Family of checkpoints whose sampling defaults are used (unset = the path's)", OPTIONAL,
     FIELD(model_family), STOPPED},

    /**
     * GstLightForcingSrc:model-copy:
     *
     * Which copy of the transformer is read from a checkpoint that holds several: `generator_ema`,
     * the average of the weights, `generator`, or the name of another dictionary in the file.
     *
     * Since: 0.1
     */
    {"model-copy", "Model copy",
     "Copy of the transformer to read from a checkpoint (unset = the family's, or the average)",
     OPTIONAL, FIELD(model_copy), STOPPED},

    /**
     * GstLightForcingSrc:lora:
     *
     * LoRA files that are added to the transformer as it is loaded, separated by commas, each with
     * its strength after a colon: `style.safetensors:0.8,motion.safetensors`. The strength is 1
     * where it is absent. A backslash makes a comma, a colon or a backslash part of a name.
     *
     * Since: 0.1
     */
    {"lora", "LoRA", "LoRA files to add: FILE[:STRENGTH],FILE[:STRENGTH]...", OPTIONAL, FIELD(lora),
     STOPPED},

    /**
     * GstLightForcingSrc:backend:
     *
     * Compute backend. `auto` takes the first usable NVIDIA GPU and otherwise the CPU, with a
     * warning that says why no GPU is used. It also takes the CPU when
     * #GstLightForcingSrc:precision is fp32, which GPUs do not support. A backend that is named and
     * cannot be used is an error.
     *
     * Since: 0.1
     */
    {"backend", "Backend", "Compute backend", ENUM, FIELD(backend), STOPPED,
     .type = gst_light_forcing_backend_get_type, .initial = GST_LIGHT_FORCING_BACKEND_AUTO},

    /**
     * GstLightForcingSrc:cuda-device-id:
     *
     * CUDA device to use, by CUDA's own numbering, with #GstLightForcingSrc:backend `cuda` and
     * `auto`. -1 takes the first usable one.
     *
     * Since: 0.1
     */
    {"cuda-device-id", "CUDA device ID", "CUDA device to use (-1 = auto)", INT,
     FIELD(cuda_device_id), STOPPED, .min = -1, .max = 1023, .initial = -1},

    /**
     * GstLightForcingSrc:precision:
     *
     * Compute precision of the transformer. A precision that the backend does not support is an
     * error.
     *
     * Since: 0.1
     */
    {"precision", "Precision", "Compute precision of the transformer", ENUM, FIELD(precision),
     STOPPED, .type = gst_light_forcing_precision_get_type,
     .initial = GST_LIGHT_FORCING_PRECISION_AUTO},

    /**
     * GstLightForcingSrc:text-encoder-device:
     *
     * Where the text encoder has its weights, and computes. On a GPU `device` keeps them in its
     * memory (11.4 GB for Wan's umT5); `stream` takes them from the file through the GPU, layer by
     * layer for each prompt, which takes longer and leaves nothing there; `cpu` leaves the GPU
     * alone. `auto` is the first of these three for which the GPU has memory;
     * #GstLightForcingSrc:stats has what it became. On the CPU it is always `cpu`.
     *
     * Since: 0.1
     */
    {"text-encoder-device", "Text encoder device",
     "Where the text encoder has its weights, and computes", ENUM, FIELD(text_encoder_device),
     STOPPED, .type = gst_light_forcing_text_encoder_device_get_type,
     .initial = GST_LIGHT_FORCING_TEXT_ENCODER_AUTO},

    /**
     * GstLightForcingSrc:attention:
     *
     * Self-attention mode. `sparse` is an error with a model that is not configured for it.
     *
     * Since: 0.1
     */
    {"attention", "Attention", "Self-attention mode", ENUM, FIELD(attention), ALWAYS,
     .type = gst_light_forcing_attention_get_type, .initial = GST_LIGHT_FORCING_ATTENTION_AUTO},

    /**
     * GstLightForcingSrc:sparsity:
     *
     * Target fraction of KV blocks that sparse attention skips once the stream is under way. A
     * higher fraction is faster. 0 is dense attention; values below 0 select the model's default.
     * Can be controlled with a #GstController, which is asked once per chunk.
     *
     * Since: 0.1
     */
    {"sparsity", "Sparsity",
     "Target fraction of KV blocks skipped by sparse attention (-1 = model default, 0 = dense)",
     DOUBLE, FIELD(sparsity), .flags = GST_PARAM_MUTABLE_PLAYING | GST_PARAM_CONTROLLABLE,
     .real_min = -1, .real_max = LF_MAX_SPARSITY, .real_initial = -1},

    /**
     * GstLightForcingSrc:sparsity-growth:
     *
     * Chunk-Aware Growth: early chunks, whose errors all later chunks inherit, have a lower
     * sparsity. Without it every chunk but the first, which is dense, has the target sparsity.
     *
     * Since: 0.1
     */
    {"sparsity-growth", "Sparsity growth", "Chunk-Aware Growth: lower sparsity for early chunks",
     BOOLEAN, FIELD(sparsity_growth), STOPPED, .initial = TRUE},

    /**
     * GstLightForcingSrc:attention-window:
     *
     * Attention window in latent frames (4 video frames each), the chunk itself included. -1 is the
     * model's default. 0 is unlimited: memory grows for as long as the stream lasts.
     *
     * Since: 0.1
     */
    {"attention-window", "Attention window",
     "Attention window in latent frames, 4 video frames each (-1 = model default, 0 = unlimited, "
     "memory grows)",
     INT, FIELD(attention_window), STOPPED, .min = -1, .max = LF_MAX_WINDOW, .initial = -1},

    /**
     * GstLightForcingSrc:attention-sink:
     *
     * Attention-sink size: the first latent frames of the stream, which never leave the window. -1
     * is the model's default, 0 is no sink.
     *
     * Since: 0.1
     */
    {"attention-sink", "Attention sink",
     "Attention-sink size in latent frames (-1 = model default, 0 = none)", INT,
     FIELD(attention_sink), STOPPED, .min = -1, .max = LF_MAX_WINDOW, .initial = -1},

    /**
     * GstLightForcingSrc:chunk-size:
     *
     * Latent frames (4 video frames each) that are generated together. 0 is the model's size.
     * Smaller chunks react sooner and cost more for each frame; a model generates well only in the
     * sizes that it was trained with.
     *
     * Since: 0.1
     */
    {"chunk-size", "Chunk size",
     "Latent frames of a chunk, 4 video frames each (0 = model default)", INT, FIELD(chunk_size),
     STOPPED, .min = 0, .max = LF_MAX_CHUNK, .initial = 0},

    /**
     * GstLightForcingSrc:steps:
     *
     * Denoising steps of a chunk: 1 to 16 timesteps in (0, 1000], falling, with commas between
     * them, such as `1000,750,500,250`. They are shifted as the model's own are
     * (#GstLightForcingSrc:shift). Unset or empty is the model's list. Fewer steps are faster; a
     * model generates well only with the steps that it was trained with. A text that is no such
     * list is an error when the stream starts.
     *
     * Since: 0.1
     */
    {"steps", "Steps", "Denoising steps, such as 1000,750,500,250 (unset = model default)",
     OPTIONAL, FIELD(steps), STOPPED},

    /**
     * GstLightForcingSrc:first-steps:
     *
     * Denoising steps of the first chunk of every scene, in the form of #GstLightForcingSrc:steps.
     * Unset or empty is the model's list for that chunk, or the other chunks' if it has none.
     *
     * Since: 0.1
     */
    {"first-steps", "First steps",
     "Denoising steps of a scene's first chunk (unset = model default, or the same as steps)",
     OPTIONAL, FIELD(first_steps), STOPPED},

    /**
     * GstLightForcingSrc:shift:
     *
     * Shift of the denoising steps: a step t becomes 1000·s·u / (1 + (s − 1)·u), u = t/1000. 0 is
     * the model's shift. Below 0.01 it is an error, as it is with a model whose steps are not
     * shifted.
     *
     * Since: 0.1
     */
    {"shift", "Shift", "Shift of the denoising steps (0 = model default)", DOUBLE, FIELD(shift),
     STOPPED, .real_min = 0, .real_max = LF_MAX_SHIFT, .real_initial = 0},

    /**
     * GstLightForcingSrc:is-live:
     *
     * Whether frames leave at their time by the pipeline's clock, or as soon as they are asked for.
     * A live stream goes on with the prompt before while the text encoder is at work on a new one; in
     * another one the next chunk waits for it, so that the same calls give the same frames.
     *
     * Since: 0.1
     */
    {"is-live", "Is live", "Whether to act as a live source", BOOLEAN, FIELD(is_live), STOPPED,
     .initial = FALSE},

    /**
     * GstLightForcingSrc:on-underrun:
     *
     * Behaviour in live mode when a frame is not ready in time.
     *
     * Since: 0.1
     */
    {"on-underrun", "On underrun", "Behaviour in live mode when a frame is not ready in time", ENUM,
     FIELD(on_underrun), ALWAYS, .type = gst_light_forcing_underrun_get_type,
     .initial = GST_LIGHT_FORCING_UNDERRUN_SHIFT},

    /**
     * GstLightForcingSrc:prefetch:
     *
     * Number of generated chunks to queue behind the chunk that is being played. More of them
     * outlast longer delays of the generator, but each delays a new prompt by one chunk (0.75 s
     * with 12 frames at 16 frames per second, 0.25 s with 4).
     *
     * Since: 0.1
     */
    {"prefetch", "Prefetch",
     "Number of generated chunks to queue; each delays new prompts by its duration", UINT,
     FIELD(prefetch), ALWAYS, .min = 1, .max = 16, .initial = 1},

    /**
     * GstLightForcingSrc:timestamp-offset:
     *
     * An offset added to all timestamps, in nanoseconds.
     *
     * Since: 0.1
     */
    {"timestamp-offset", "Timestamp offset", "An offset added to all timestamps (in ns)", INT64,
     FIELD(timestamp_offset), ALWAYS, .min = 0, .max = G_MAXINT64, .initial = 0},

    /**
     * GstLightForcingSrc:keyframe-requests:
     *
     * When to send a force-key-unit event downstream, which asks encoders for a keyframe.
     *
     * Since: 0.1
     */
    {"keyframe-requests", "Keyframe requests", "When to send a force-key-unit event downstream",
     ENUM, FIELD(keyframe_requests), ALWAYS, .type = gst_light_forcing_keyframes_get_type,
     .initial = GST_LIGHT_FORCING_KEYFRAMES_CUT},

    /**
     * GstLightForcingSrc:messages:
     *
     * Which element messages to post on the bus. `lightforcing-prompt` is posted as the first frame
     * of a prompt leaves the element, with the fields prompt, prompt-id, chunk, frame, timestamp,
     * stream-time, running-time, duration, latency (since the prompt was set), seed, transition, a
     * #GstLightForcingTransition (`cut` for the stream's first prompt, too), tokens, tokens-cut
     * and tokens-unknown.
     * `lightforcing-chunk` is posted for each generated chunk, with the fields chunk, frames,
     * generate-time, decode-time, queue-level and sparsity.
     *
     * Since: 0.1
     */
    {"messages", "Messages", "Which element messages to post on the bus", FLAGS, FIELD(messages),
     ALWAYS, .type = gst_light_forcing_messages_get_type,
     .initial = GST_LIGHT_FORCING_MESSAGES_PROMPT},

    /**
     * GstLightForcingSrc:send-prompt-tags:
     *
     * Send each prompt as a GST_TAG_DESCRIPTION tag event, which muxers store in the file or send.
     *
     * Since: 0.1
     */
    {"send-prompt-tags", "Send prompt tags", "Send each prompt as a GST_TAG_DESCRIPTION tag event",
     BOOLEAN, FIELD(send_prompt_tags), ALWAYS, .initial = FALSE},
};

/* ---- what GObject sees of it ----------------------------------------------------------------- */

static GParamSpec *make_spec(const Property *p)
{
    GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | p->flags;
    switch (p->kind) {
    case STRING:
    case OPTIONAL:
        return g_param_spec_string(p->name, p->nick, p->blurb, NULL, flags);
    case BOOLEAN:
        return g_param_spec_boolean(p->name, p->nick, p->blurb, (gboolean) p->initial, flags);
    case INT:
        return g_param_spec_int(p->name, p->nick, p->blurb, (gint) p->min, (gint) p->max,
                                (gint) p->initial, flags);
    case UINT:
        return g_param_spec_uint(p->name, p->nick, p->blurb, (guint) p->min, (guint) p->max,
                                 (guint) p->initial, flags);
    case INT64:
        return g_param_spec_int64(p->name, p->nick, p->blurb, p->min, p->max, p->initial, flags);
    case DOUBLE:
        return g_param_spec_double(p->name, p->nick, p->blurb, p->real_min, p->real_max,
                                   p->real_initial, flags);
    case ENUM:
        return g_param_spec_enum(p->name, p->nick, p->blurb, p->type(), (gint) p->initial, flags);
    default:
        return g_param_spec_flags(p->name, p->nick, p->blurb, p->type(), (guint) p->initial, flags);
    }
}

void gst_light_forcing_settings_install(GObjectClass *klass)
{
    for (guint i = 0; i < G_N_ELEMENTS(properties); i++) {
        g_object_class_install_property(klass, i + 1, make_spec(&properties[i]));
        if (properties[i].type)
            gst_type_mark_as_plugin_api(properties[i].type(), 0);
    }

    /**
     * GstLightForcingSrc:stats:
     *
     * Statistics since stream start: frames, chunks, chunk-frames, generate-time-avg,
     * generate-time-max, decode-time-avg, text-encode-time, fps-potential (frames per second that
     * can be generated), queue-level, underruns, repeated, shifted-time, prompts,
     * prompt-latency-last, prompt-latency-max, seed, model, device-name, text-encoder-device
     * (`device`, `stream` or `cpu`), sparsity-effective, load-time and qos-proportion. Times are in nanoseconds.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        klass, GST_LIGHT_FORCING_PROP_STATS,
        g_param_spec_boxed("stats", "Statistics", "Statistics since stream start (times in ns)",
                           GST_TYPE_STRUCTURE,
                           G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | GST_PARAM_DOC_SHOW_DEFAULT));
}

/* ---- values ---------------------------------------------------------------------------------- */

static const Property *property_of(guint id)
{
    return id >= 1 && id <= G_N_ELEMENTS(properties) ? &properties[id - 1] : NULL;
}

void gst_light_forcing_settings_init(GstLightForcingSettings *s)
{
    *s = (GstLightForcingSettings){0};
    for (guint i = 0; i < G_N_ELEMENTS(properties); i++) {
        const Property *p = &properties[i];
        gpointer field = G_STRUCT_MEMBER_P(s, p->offset);
        if (p->kind == INT64)
            *(gint64 *) field = p->initial;
        else if (p->kind == DOUBLE)
            *(gdouble *) field = p->real_initial;
        else if (p->kind != STRING && p->kind != OPTIONAL)
            *(gint *) field = (gint) p->initial;
    }
}

void gst_light_forcing_settings_clear(GstLightForcingSettings *s)
{
    for (guint i = 0; i < G_N_ELEMENTS(properties); i++)
        if (properties[i].kind == STRING || properties[i].kind == OPTIONAL)
            g_clear_pointer(&G_STRUCT_MEMBER(char *, s, properties[i].offset), g_free);
}

static void set_string(char **field, const char *text, gboolean optional)
{
    g_free(*field);
    *field = text && (*text || !optional) ? g_strdup(text) : NULL;
}

gconstpointer gst_light_forcing_settings_set(GstLightForcingSettings *s, guint id,
                                             const GValue *value)
{
    const Property *p = property_of(id);
    if (!p)
        return NULL;
    gpointer field = G_STRUCT_MEMBER_P(s, p->offset);
    switch (p->kind) {
    case STRING:
    case OPTIONAL:
        set_string(field, g_value_get_string(value), p->kind == OPTIONAL);
        break;
    case BOOLEAN:
        *(gboolean *) field = g_value_get_boolean(value);
        break;
    case INT:
        *(gint *) field = g_value_get_int(value);
        break;
    case UINT:
        *(guint *) field = g_value_get_uint(value);
        break;
    case INT64:
        *(gint64 *) field = g_value_get_int64(value);
        break;
    case DOUBLE:
        *(gdouble *) field = g_value_get_double(value);
        break;
    case ENUM:
        *(gint *) field = g_value_get_enum(value);
        break;
    case FLAGS:
        *(guint *) field = g_value_get_flags(value);
        break;
    }
    return field;
}

gboolean gst_light_forcing_settings_get(const GstLightForcingSettings *s, guint id, GValue *value)
{
    const Property *p = property_of(id);
    if (!p)
        return FALSE;
    gconstpointer field = (const char *) s + p->offset;
    switch (p->kind) {
    case STRING:
    case OPTIONAL:
        g_value_set_string(value, *(char *const *) field);
        break;
    case BOOLEAN:
        g_value_set_boolean(value, *(const gboolean *) field);
        break;
    case INT:
        g_value_set_int(value, *(const gint *) field);
        break;
    case UINT:
        g_value_set_uint(value, *(const guint *) field);
        break;
    case INT64:
        g_value_set_int64(value, *(const gint64 *) field);
        break;
    case DOUBLE:
        g_value_set_double(value, *(const gdouble *) field);
        break;
    case ENUM:
        g_value_set_enum(value, *(const gint *) field);
        break;
    case FLAGS:
        g_value_set_flags(value, *(const guint *) field);
        break;
    }
    return TRUE;
}

/* ---- for the engine -------------------------------------------------------------------------- */

/* Lives as long as the program. */
static const char *backend_name(const GstLightForcingSettings *s)
{
    if (s->backend == GST_LIGHT_FORCING_BACKEND_CPU)
        return "cpu";
    const char *name = s->backend == GST_LIGHT_FORCING_BACKEND_CUDA ? "cuda" : "auto";
    if (s->cuda_device_id < 0)
        return name;
    g_autofree char *numbered = g_strdup_printf("%s:%d", name, s->cuda_device_id);
    return g_intern_string(numbered);
}

LfModelOptions gst_light_forcing_settings_model(const GstLightForcingSettings *s)
{
    static const LfPrecision precisions[] = {LF_PRECISION_AUTO, LF_PRECISION_FP32,
                                             LF_PRECISION_BF16, LF_PRECISION_FP8};
    static const LfTextEncoderDevice devices[] = {LF_TEXT_ENCODER_AUTO, LF_TEXT_ENCODER_DEVICE,
                                                  LF_TEXT_ENCODER_STREAM, LF_TEXT_ENCODER_CPU};
    return (LfModelOptions){.backend = backend_name(s),
                            .precision = precisions[s->precision],
                            .text_encoder_device = devices[s->text_encoder_device],
                            .text_encoder_location = s->text_encoder_location,
                            .tokenizer_location = s->tokenizer_location,
                            .decoder_location = s->decoder_location,
                            .family = s->model_family,
                            .copy = s->model_copy};
}

void gst_light_forcing_settings_chunk(const GstLightForcingSettings *s, LfSessionOptions *options)
{
    static const LfAttention attentions[] = {LF_ATTENTION_AUTO, LF_ATTENTION_DENSE,
                                             LF_ATTENTION_SPARSE};
    static const LfTransition transitions[] = {LF_TRANSITION_CONTINUE, LF_TRANSITION_RECACHE,
                                               LF_TRANSITION_CUT};
    options->transition = transitions[s->prompt_transition];
    /* The engine's sparsity 0 is the model's default; here it is dense attention. */
    options->sparsity = MAX(s->sparsity, 0);
    options->attention = s->sparsity == 0 ? LF_ATTENTION_DENSE : attentions[s->attention];
}

/* The engine's 0 is the model's default, and its -1 is unlimited (window) or none (sink). */
static int latent_frames(gint setting)
{
    return setting < 0 ? 0 : setting == 0 ? -1 : setting;
}

static gboolean parse_steps(const char *name, const char *text, LfSteps *steps, GError **error)
{
    if (lf_steps_parse(text, steps, error))
        return TRUE;
    g_prefix_error(error, "%s=\"%s\": ", name, text);
    return FALSE;
}

gboolean gst_light_forcing_settings_session(const GstLightForcingSettings *s, guint64 seed,
                                            LfSessionOptions *options, GError **error)
{
    *options = (LfSessionOptions){.seed = seed,
                                  .uniform = !s->sparsity_growth,
                                  .window = latent_frames(s->attention_window),
                                  .sink = latent_frames(s->attention_sink),
                                  .chunk = s->chunk_size,
                                  .shift = s->shift,
                                  .text_encoding = s->is_live ? LF_TEXT_BESIDE : LF_TEXT_WAIT,
                                  .prompt_cache = s->prompt_cache ? NULL : ""};
    gst_light_forcing_settings_chunk(s, options);
    return parse_steps("steps", s->steps, &options->steps, error) &&
           parse_steps("first-steps", s->first_steps, &options->first_steps, error);
}
