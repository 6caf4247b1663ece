/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "messages.h"

/* ---- errors and warnings --------------------------------------------------------------------- */

typedef struct {
    GQuark domain;
    gint code;
    const char *what; /* has happened; the cause follows */
} Problem;

static Problem describe_session_error(LfError code)
{
    switch (code) {
    case LF_ERROR_CONFIG:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                         "Cannot generate video with these settings"};
    case LF_ERROR_UNSUPPORTED:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
                         "Cannot generate video with these settings"};
    case LF_ERROR_MEMORY:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
                         "Not enough memory to generate video"};
    default:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED, "Cannot generate video"};
    }
}

static Problem describe_model_error(LfError code)
{
    switch (code) {
    case LF_ERROR_NOT_FOUND:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND, "Cannot load model"};
    case LF_ERROR_READ:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ, "Cannot load model"};
    case LF_ERROR_FORMAT:
    case LF_ERROR_CONFIG:
        return (Problem){GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT, "Invalid model"};
    case LF_ERROR_SHAPE:
        return (Problem){GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE, "Model tensor mismatch"};
    case LF_ERROR_UNSUPPORTED:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS, "Cannot load model"};
    case LF_ERROR_MEMORY:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
                         "Not enough memory for the model"};
    case LF_ERROR_DEVICE:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_INIT, "Cannot open compute device"};
    default:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED, "Cannot load model"};
    }
}

/* Applications show the text and log the debug string: both have the cause. */
void gst_light_forcing_post_problem(GstElement *element, GstMessageType type, const GError *error,
                                    gboolean loading)
{
    LfError code = error->domain == LF_ERROR ? (LfError) error->code : LF_ERROR_CANCELLED;
    Problem problem = loading ? describe_model_error(code) : describe_session_error(code);
    char *text;
    if (!loading && code == LF_ERROR_TEXT) {
        problem = (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, NULL};
        text =
            type == GST_MESSAGE_WARNING
                ? g_strdup_printf("New prompt refused, the previous one stays: %s", error->message)
                : g_strdup(error->message);
    } else {
        text = g_strdup_printf("%s: %s", problem.what, error->message);
    }
    gst_element_message_full(element, type, problem.domain, problem.code, text,
                             g_strdup(error->message), __FILE__, GST_FUNCTION, __LINE__);
}

void gst_light_forcing_post_prompt_failure(GstElement *element, const GError *error)
{
    GST_ELEMENT_WARNING(element, LIBRARY, FAILED,
                        ("New prompt not encoded, the previous one stays: %s", error->message),
                        (NULL));
}

void gst_light_forcing_post_fallback(GstElement *element, const char *device, const char *reason)
{
    GST_ELEMENT_WARNING(element, LIBRARY, INIT, ("Running on the CPU, no usable GPU: %s", reason),
                        ("the device is %s; with backend=cpu there is no such warning", device));
}

void gst_light_forcing_post_untrained(GstElement *element)
{
    GST_ELEMENT_WARNING(
        element, STREAM, WRONG_TYPE,
        ("Sparse attention with a model that was not trained for it: pictures get "
         "worse, the longer the stream. Set attention=auto or dense."),
        ("the model has no section \"sparse\", and its family is not a sparse one"));
}

/* A cut loses the end of the prompt, so it is a warning; that a word is unknown may be of no matter.
 */
void gst_light_forcing_post_tokens(GstElement *element, const GstLightForcingPrompt *prompt)
{
    LfPromptTokens tokens = prompt->tokens;
    if (tokens.n_cut > 0)
        GST_ELEMENT_WARNING(element, RESOURCE, SETTINGS,
                            ("%d of %d tokens of the prompt were cut off: the model takes %d.",
                             tokens.n_cut, tokens.n_tokens, tokens.n_tokens - tokens.n_cut),
                            ("the numbers of all tokens include the end mark"));
    if (tokens.n_unknown > 0)
        GST_ELEMENT_INFO(element, RESOURCE, SETTINGS,
                         ("%d of %d tokens of the prompt are of words or characters that the "
                          "model's tokenizer does not know: the picture does not follow them.",
                          tokens.n_unknown, tokens.n_tokens - tokens.n_cut),
                         ("unknown characters side by side are one token"));
}

/* ---- progress -------------------------------------------------------------------------------- */

void gst_light_forcing_post_progress(GstElement *element, GstProgressType type, const char *text,
                                     gint percent)
{
    GstMessage *message = gst_message_new_progress(GST_OBJECT(element), type, "open", text);
    if (percent >= 0)
        gst_structure_set(gst_message_writable_structure(message), "percent", G_TYPE_INT, percent,
                          NULL);
    gst_element_post_message(element, message);
}

/* ---- prompts and chunks ---------------------------------------------------------------------- */

/* The first chunk of a stream, and the first after a restart, begin a scene, too; the engine does
 * not call that a transition. */
static GstLightForcingTransition transition_of(const LfChunkInfo *chunk)
{
    if (chunk->index == 0 || chunk->transition == LF_TRANSITION_CUT)
        return GST_LIGHT_FORCING_TRANSITION_CUT;
    return chunk->transition == LF_TRANSITION_RECACHE ? GST_LIGHT_FORCING_TRANSITION_RECACHE
                                                      : GST_LIGHT_FORCING_TRANSITION_CONTINUE;
}

void gst_light_forcing_post_prompt(GstBaseSrc *src, const GstLightForcingFrame *frame,
                                   const GstBuffer *buffer, GstClockTime latency)
{
    const LfChunkInfo *chunk = lf_chunk_info(frame->chunk);
    const LfPromptTokens *tokens = &frame->prompt->tokens;
    GstClockTime pts = GST_BUFFER_PTS(buffer);
    guint64 stream_time = gst_segment_to_stream_time(&src->segment, GST_FORMAT_TIME, pts);
    guint64 running_time = gst_segment_to_running_time(&src->segment, GST_FORMAT_TIME, pts);
    GstStructure *structure = gst_structure_new(
        "lightforcing-prompt", "prompt", G_TYPE_STRING, frame->prompt->text, "prompt-id",
        G_TYPE_UINT64, chunk->prompt_id, "chunk", G_TYPE_UINT64, chunk->index, "frame",
        G_TYPE_UINT64, GST_BUFFER_OFFSET(buffer), "timestamp", G_TYPE_UINT64, pts, "stream-time",
        G_TYPE_UINT64, stream_time, "running-time", G_TYPE_UINT64, running_time, "duration",
        G_TYPE_UINT64, GST_BUFFER_DURATION(buffer), "latency", G_TYPE_UINT64, latency, "seed",
        G_TYPE_INT64, (gint64) frame->seed, "transition", GST_TYPE_LIGHT_FORCING_TRANSITION,
        transition_of(chunk), "tokens", G_TYPE_INT, tokens->n_tokens, "tokens-cut", G_TYPE_INT,
        tokens->n_cut, "tokens-unknown", G_TYPE_INT, tokens->n_unknown, NULL);
    gst_element_post_message(GST_ELEMENT(src), gst_message_new_element(GST_OBJECT(src), structure));
}

void gst_light_forcing_post_chunk(GstElement *element, const LfChunkInfo *info, guint level)
{
    GstStructure *structure = gst_structure_new(
        "lightforcing-chunk", "chunk", G_TYPE_UINT64, info->index, "frames", G_TYPE_INT,
        info->n_frames, "generate-time", G_TYPE_UINT64,
        (guint64) (info->text_time + info->recache_time + info->denoise_time + info->clean_time),
        "decode-time", G_TYPE_UINT64, (guint64) info->decode_time, "queue-level", G_TYPE_UINT,
        level, "sparsity", G_TYPE_DOUBLE, info->sparsity, NULL);
    gst_element_post_message(element, gst_message_new_element(GST_OBJECT(element), structure));
}

/* ---- underruns ------------------------------------------------------------------------------- */

void gst_light_forcing_post_qos(GstBaseSrc *src, GstClockTime due, GstClockTime lost,
                                guint64 n_frames, guint64 n_late)
{
    guint64 stream_time = gst_segment_to_stream_time(&src->segment, GST_FORMAT_TIME, due);
    GstMessage *message = gst_message_new_qos(GST_OBJECT(src), TRUE, due, stream_time, due, lost);
    gst_message_set_qos_stats(message, GST_FORMAT_BUFFERS, n_frames, n_late);
    gst_element_post_message(GST_ELEMENT(src), message);
}

void gst_light_forcing_post_underrun(GstElement *element, GstClockTime lost, guint n_late,
                                     double rate, double needed_rate)
{
    const char *cure = rate < needed_rate ? "Reduce the size, raise sparsity or use is-live=false"
                                          : "The average is fast enough: a larger prefetch helps";
    GST_ELEMENT_WARNING_WITH_DETAILS(
        element, STREAM, FAILED,
        ("Frames not ready in time: %u late, %.1f fps generated, %.1f needed. %s.", n_late, rate,
         needed_rate, cure),
        ("lost time: %" GST_TIME_FORMAT, GST_TIME_ARGS(lost)),
        ("frames", G_TYPE_UINT, n_late, "lost-time", G_TYPE_UINT64, lost, "fps-potential",
         G_TYPE_DOUBLE, rate, "fps-needed", G_TYPE_DOUBLE, needed_rate, NULL));
}
