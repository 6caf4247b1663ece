/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "messages.h"

/* ---- errors and warnings --------------------------------------------------------------------- */

typedef struct {
    GQuark domain;
    gint code;
    const char *text;
} Problem;

static Problem problem_of_session(LfError code, gboolean goes_on)
{
    switch (code) {
    case LF_ERROR_TEXT:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                         goes_on ? "The new prompt cannot be taken; the one before stays."
                                 : "There is no prompt that the model can take."};
    case LF_ERROR_CONFIG:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                         "The model cannot generate video with these settings."};
    case LF_ERROR_UNSUPPORTED:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
                         "The model cannot generate video with these settings."};
    case LF_ERROR_MEMORY:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
                         "There is not enough memory to generate video."};
    default:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED, "Generating video failed."};
    }
}

static Problem problem_of_model(LfError code)
{
    switch (code) {
    case LF_ERROR_NOT_FOUND:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
                         "The model was not found."};
    case LF_ERROR_READ:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ,
                         "The model cannot be read."};
    case LF_ERROR_FORMAT:
    case LF_ERROR_CONFIG:
        return (Problem){GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
                         "The model's files are not what they should be."};
    case LF_ERROR_SHAPE:
        return (Problem){GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
                         "The model's weights do not fit together."};
    case LF_ERROR_UNSUPPORTED:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
                         "The model cannot be used here."};
    case LF_ERROR_MEMORY:
        return (Problem){GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
                         "There is not enough memory for the model."};
    case LF_ERROR_DEVICE:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_INIT,
                         "The device to run the model on cannot be used."};
    default:
        return (Problem){GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED,
                         "The model cannot be loaded."};
    }
}

void gst_light_forcing_post_problem(GstElement *element, GstMessageType type, const GError *error,
                                    gboolean loading)
{
    LfError code = error->domain == LF_ERROR ? (LfError) error->code : LF_ERROR_CANCELLED;
    Problem problem =
        loading ? problem_of_model(code) : problem_of_session(code, type == GST_MESSAGE_WARNING);
    gst_element_message_full(element, type, problem.domain, problem.code, g_strdup(problem.text),
                             g_strdup(error->message), __FILE__, GST_FUNCTION, __LINE__);
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

/* ---- what leaves, what is generated ---------------------------------------------------------- */

/* The engine tells of none in a stream's first chunk, and begins a new stream at a restart. */
static GstLightForcingTransition transition_of(const LfChunkInfo *chunk)
{
    if (chunk->index == 0 || chunk->transition == LF_TRANSITION_CUT)
        return GST_LIGHT_FORCING_TRANSITION_CUT;
    return chunk->transition == LF_TRANSITION_RECACHE ? GST_LIGHT_FORCING_TRANSITION_RECACHE
                                                      : GST_LIGHT_FORCING_TRANSITION_CONTINUE;
}

GstClockTime gst_light_forcing_post_prompt(GstBaseSrc *src, const GstLightForcingFrame *frame,
                                           const GstBuffer *buffer, gboolean post)
{
    const LfChunkInfo *chunk = lf_chunk_info(frame->chunk);
    GstClockTime latency =
        (GstClockTime) (g_get_monotonic_time() - frame->prompt->set_time) * GST_USECOND;
    if (!post)
        return latency;
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
        transition_of(chunk), NULL);
    gst_element_post_message(GST_ELEMENT(src), gst_message_new_element(GST_OBJECT(src), structure));
    return latency;
}

void gst_light_forcing_post_chunk(GstElement *element, const LfChunkInfo *info, guint level)
{
    GstStructure *structure = gst_structure_new(
        "lightforcing-chunk", "chunk", G_TYPE_UINT64, info->index, "frames", G_TYPE_INT,
        info->n_frames, "generate-time", G_TYPE_UINT64,
        (guint64) (info->encode_time + info->recache_time + info->denoise_time + info->clean_time),
        "decode-time", G_TYPE_UINT64, (guint64) info->decode_time, "queue-level", G_TYPE_UINT,
        level, "sparsity", G_TYPE_DOUBLE, info->sparsity, NULL);
    gst_element_post_message(element, gst_message_new_element(GST_OBJECT(element), structure));
}

/* ---- underruns ------------------------------------------------------------------------------- */

void gst_light_forcing_post_qos(GstBaseSrc *src, GstClockTime due, GstClockTime lost,
                                guint64 n_frames, guint64 n_missed)
{
    guint64 stream_time = gst_segment_to_stream_time(&src->segment, GST_FORMAT_TIME, due);
    GstMessage *message = gst_message_new_qos(GST_OBJECT(src), TRUE, due, stream_time, due, lost);
    gst_message_set_qos_stats(message, GST_FORMAT_BUFFERS, n_frames, n_missed);
    gst_element_post_message(GST_ELEMENT(src), message);
}

void gst_light_forcing_post_underrun(GstElement *element, GstClockTime lost, guint n_frames,
                                     double rate, double wanted_rate)
{
    const char *cure = rate < wanted_rate
                           ? "A smaller size, more sparsity or is-live=false would help"
                           : "On average they are fast enough: a larger prefetch would help";
    GST_ELEMENT_WARNING_WITH_DETAILS(element, STREAM, FAILED,
                                     ("Frames of the video came too late."),
                                     ("late frames: %u, by %" GST_TIME_FORMAT
                                      " in all; %.1f a second can be generated, %.1f are "
                                      "played. %s.",
                                      n_frames, GST_TIME_ARGS(lost), rate, wanted_rate, cure),
                                     ("frames", G_TYPE_UINT, n_frames, "lost-time", G_TYPE_UINT64,
                                      lost, "fps-potential", G_TYPE_DOUBLE, rate, NULL));
}
