/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frames: taken from the generator's queue, at their time if the stream is live, written into a
 * buffer, timestamped, and announced to downstream and to the application. All of this runs on the
 * streaming thread.
 */
#include "messages.h"
#include "gstlightforcingsrc-private.h"

#define GST_CAT_DEFAULT gst_light_forcing_debug

/* Sinks wait one frame for a live frame (the reported latency). A frame that is late by less than
 * half of that is still shown in time. */
#define LATE_FRAMES 0.5

/* A stream that repeats frames catches up with the clock after a delay of up to this. After a
 * longer one, such as a suspended machine, it is shifted. */
#define REPEAT_LIMIT GST_SECOND

/* A longer underrun is reported in parts of this length. */
#define UNDERRUN_LIMIT   (5 * GST_SECOND)
#define WARNING_INTERVAL (5 * G_TIME_SPAN_SECOND)

/* The settings that create() uses, copied under the object lock. */
typedef struct {
    gboolean live, repeat; /* repeat: live, with on-underrun=repeat */
    gint on_underrun;
    gint keyframe_requests;
    guint messages;
    gboolean send_prompt_tags;
    GstClockTime timestamp_offset;
    GstVideoInfo info;
} Playback;

static Playback copy_settings(GstLightForcingSrc *self)
{
    GST_OBJECT_LOCK(self);
    const GstLightForcingSettings *s = &self->settings;
    Playback playback = {.live = s->is_live,
                         .repeat =
                             s->is_live && s->on_underrun == GST_LIGHT_FORCING_UNDERRUN_REPEAT,
                         .on_underrun = s->on_underrun,
                         .keyframe_requests = s->keyframe_requests,
                         .messages = s->messages,
                         .send_prompt_tags = s->send_prompt_tags,
                         .timestamp_offset = (GstClockTime) s->timestamp_offset,
                         .info = self->info};
    GST_OBJECT_UNLOCK(self);
    return playback;
}

void gst_light_forcing_src_reset_playback(GstLightForcingSrc *self)
{
    GST_OBJECT_LOCK(self);
    gboolean live = self->settings.is_live;
    GstLightForcingVideo native = self->native;
    self->position = (GstClockTime) self->settings.timestamp_offset;
    self->n_played = 0;
    self->negotiated = FALSE;
    self->stats = (GstLightForcingStats){.qos_proportion = 1};
    GST_OBJECT_UNLOCK(self);
    gst_light_forcing_pacer_reset(&self->pacer, native.fps_n, native.fps_d,
                                  live ? GST_CLOCK_TIME_NONE : 0);
    self->underrun = (GstLightForcingUnderrunState){0};
    g_clear_pointer(&self->current_prompt, gst_light_forcing_prompt_unref);
    g_clear_pointer(&self->last_chunk, lf_chunk_unref);
}

/* ---- underruns ------------------------------------------------------------------------------- */

/* Reports the underrun, if there is one: a frame is in time again, or UNDERRUN_LIMIT is reached. */
static void end_underrun(GstLightForcingSrc *self)
{
    GstLightForcingUnderrunState *underrun = &self->underrun;
    if (underrun->n_frames == 0)
        return;
    GST_OBJECT_LOCK(self);
    double rate = gst_light_forcing_stats_rate(&self->stats);
    GST_OBJECT_UNLOCK(self);
    GST_INFO_OBJECT(self,
                    "underrun at %" GST_TIME_FORMAT ": %u frames, %" GST_TIME_FORMAT
                    " lost, %.1f fps generated",
                    GST_TIME_ARGS(underrun->due), underrun->n_frames, GST_TIME_ARGS(underrun->lost),
                    rate);
    gst_light_forcing_post_qos(GST_BASE_SRC(self), underrun->due, underrun->lost,
                               self->pacer.n_frames, underrun->n_frames);
    gint64 now = g_get_monotonic_time();
    if (!underrun->last_warning || now - underrun->last_warning > WARNING_INTERVAL) {
        gst_light_forcing_post_underrun(GST_ELEMENT(self), underrun->lost, underrun->n_frames, rate,
                                        (double) self->pacer.fps_n / self->pacer.fps_d);
        underrun->last_warning = now;
    }
    underrun->n_frames = 0;
    underrun->lost = 0;
}

/* Counts a frame that is late, or repeated because its successor is. */
static void count_late_frame(GstLightForcingSrc *self, gboolean repeated)
{
    GstLightForcingUnderrunState *underrun = &self->underrun;
    GstClockTime due = gst_light_forcing_pacer_due(&self->pacer);
    if (due > underrun->due + UNDERRUN_LIMIT)
        end_underrun(self);
    gboolean begins = underrun->n_frames++ == 0;
    if (begins) {
        underrun->due = due;
        GST_DEBUG_OBJECT(self, "underrun begins at %" GST_TIME_FORMAT, GST_TIME_ARGS(due));
    }
    GST_OBJECT_LOCK(self);
    self->stats.n_underruns += begins;
    self->stats.n_repeated += repeated;
    GST_OBJECT_UNLOCK(self);
}

static void shift(GstLightForcingSrc *self, GstClockTime by)
{
    GST_DEBUG_OBJECT(self, "timestamps shifted by %" GST_TIME_FORMAT, GST_TIME_ARGS(by));
    gst_light_forcing_pacer_shift(&self->pacer, by);
    GST_OBJECT_LOCK(self);
    self->stats.shifted_time += by;
    GST_OBJECT_UNLOCK(self);
}

/* ---- the next frame, at its time ------------------------------------------------------------- */

typedef struct {
    GstLightForcingFrame frame;
    gboolean repeated; /* the frame before once more */
    gboolean discont;
} NextFrame;

static GstFlowReturn peek(GstLightForcingSrc *self, gboolean wait, NextFrame *next,
                          gboolean *is_empty)
{
    GstLightForcingQueueState state =
        gst_light_forcing_generator_peek(self->generator, wait, &next->frame);
    *is_empty = state == GST_LIGHT_FORCING_QUEUE_EMPTY;
    switch (state) {
    case GST_LIGHT_FORCING_QUEUE_FLUSHING:
        return GST_FLOW_FLUSHING;
    case GST_LIGHT_FORCING_QUEUE_FAILED:
        return GST_FLOW_ERROR;
    default:
        return GST_FLOW_OK;
    }
}

/* How late the next frame is. Asked only while playing: in PAUSED the clock runs on, and running
 * time does not. */
static GstFlowReturn measure_lateness(GstLightForcingSrc *self, GstClockTime *lateness)
{
    GstFlowReturn flow = gst_base_src_wait_playing(GST_BASE_SRC(self));
    if (flow == GST_FLOW_OK)
        *lateness = gst_light_forcing_pacer_lateness(&self->pacer, GST_ELEMENT(self));
    return flow;
}

static void handle_late_frame(GstLightForcingSrc *self, const Playback *playback,
                              GstClockTime lateness, NextFrame *next)
{
    count_late_frame(self, FALSE);
    next->discont = playback->on_underrun == GST_LIGHT_FORCING_UNDERRUN_SHIFT;
    if (next->discont) {
        shift(self, lateness);
        self->underrun.lost += lateness;
    } else { /* includes the lateness of the frames before */
        self->underrun.lost = MAX(self->underrun.lost, lateness);
    }
}

/* Waits for the frame, then for its time. */
static GstFlowReturn wait_for_frame(GstLightForcingSrc *self, const Playback *playback,
                                    NextFrame *next)
{
    gboolean is_empty;
    GstClockTime lateness;
    GstFlowReturn flow = peek(self, TRUE, next, &is_empty);
    if (flow != GST_FLOW_OK || !playback->live)
        return flow;
    flow = measure_lateness(self, &lateness);
    if (flow != GST_FLOW_OK)
        return flow;
    if (lateness > LATE_FRAMES * (double) gst_light_forcing_pacer_duration(&self->pacer))
        handle_late_frame(self, playback, lateness, next);
    else
        end_underrun(self);
    return gst_light_forcing_pacer_wait(&self->pacer, GST_ELEMENT(self)) ? GST_FLOW_OK
                                                                         : GST_FLOW_FLUSHING;
}

/* Waits for the time, then takes the next frame if it is ready, else the last one once more. */
static GstFlowReturn wait_for_time(GstLightForcingSrc *self, NextFrame *next)
{
    gboolean is_empty;
    GstClockTime lateness;
    GstFlowReturn flow = measure_lateness(self, &lateness);
    if (flow != GST_FLOW_OK)
        return flow;
    next->discont = lateness > REPEAT_LIMIT;
    if (next->discont)
        shift(self, lateness);
    if (!gst_light_forcing_pacer_wait(&self->pacer, GST_ELEMENT(self)))
        return GST_FLOW_FLUSHING;
    flow = peek(self, FALSE, next, &is_empty);
    if (!is_empty) {
        end_underrun(self);
        return flow;
    }
    count_late_frame(self, TRUE);
    self->underrun.lost += gst_light_forcing_pacer_duration(&self->pacer);
    next->frame.chunk = lf_chunk_ref(self->last_chunk);
    next->frame.index = self->last_index;
    next->repeated = TRUE;
    return GST_FLOW_OK;
}

/* ---- the buffer ------------------------------------------------------------------------------ */

static gboolean write_picture(GstLightForcingSrc *self, const Playback *playback,
                              const GstLightForcingFrame *frame, GstBuffer *buffer)
{
    GstVideoFrame mapped;
    if (!gst_video_frame_map(&mapped, &playback->info, buffer, GST_MAP_WRITE)) {
        GST_ELEMENT_ERROR(self, RESOURCE, WRITE,
                          ("Could not map output buffer for writing (downstream allocator?)"),
                          ("gst_video_frame_map failed, buffer %" GST_PTR_FORMAT, buffer));
        return FALSE;
    }
    LfPicture picture;
    GError *error = NULL;
    gst_light_forcing_picture_from_frame(&picture, &mapped);
    gboolean done = lf_chunk_read(frame->chunk, frame->index, &picture, &error);
    gst_video_frame_unmap(&mapped);
    if (!done) {
        gst_light_forcing_post_problem(GST_ELEMENT(self), GST_MESSAGE_ERROR, error, FALSE);
        g_error_free(error);
    }
    return done;
}

static GstFlowReturn make_buffer(GstLightForcingSrc *self, const Playback *playback,
                                 const NextFrame *next, GstBuffer **buffer)
{
    GstBaseSrc *base = GST_BASE_SRC(self);
    GstFlowReturn flow = GST_BASE_SRC_GET_CLASS(self)->alloc(
        base, 0, (guint) GST_VIDEO_INFO_SIZE(&playback->info), buffer);
    if (flow != GST_FLOW_OK)
        return flow;
    if (!write_picture(self, playback, &next->frame, *buffer)) {
        gst_clear_buffer(buffer);
        return GST_FLOW_ERROR;
    }
    GST_BUFFER_PTS(*buffer) =
        gst_light_forcing_pacer_due(&self->pacer) + playback->timestamp_offset;
    GST_BUFFER_DTS(*buffer) = GST_CLOCK_TIME_NONE;
    GST_BUFFER_DURATION(*buffer) = gst_light_forcing_pacer_duration(&self->pacer);
    GST_BUFFER_OFFSET(*buffer) = self->pacer.n_frames;
    GST_BUFFER_OFFSET_END(*buffer) = self->pacer.n_frames + 1;
    if (next->discont)
        GST_BUFFER_FLAG_SET(*buffer, GST_BUFFER_FLAG_DISCONT);
    return GST_FLOW_OK;
}

/* ---- events and messages with the frame ------------------------------------------------------ */

/* GstBaseSrc queues these events until right before the next buffer, after the segment event;
 * pushed from here they would come too early. gst_element_send_event would take the state lock. */
static void send_with_frame(GstLightForcingSrc *self, GstEvent *event)
{
    GST_ELEMENT_GET_CLASS(self)->send_event(GST_ELEMENT(self), event);
}

/* The first frame of a prompt. `first`: of the stream's first prompt, which waited for the
 * model. */
static void announce_prompt(GstLightForcingSrc *self, const Playback *playback,
                            const GstLightForcingFrame *frame, const GstBuffer *buffer,
                            gboolean first)
{
    const char *text = frame->prompt->text;
    GstClockTime latency =
        (GstClockTime) (g_get_monotonic_time() - frame->prompt->set_time) * GST_USECOND;
    GST_INFO_OBJECT(self,
                    "prompt shown from %" GST_TIME_FORMAT " on, %" GST_TIME_FORMAT
                    " after it was set: \"%s\"",
                    GST_TIME_ARGS(GST_BUFFER_PTS(buffer)), GST_TIME_ARGS(latency), text);
    if (playback->send_prompt_tags && *text) { /* tags cannot be empty */
        GstTagList *tags = gst_tag_list_new(GST_TAG_DESCRIPTION, text, NULL);
        gst_tag_list_set_scope(tags, GST_TAG_SCOPE_GLOBAL);
        send_with_frame(self, gst_event_new_tag(tags));
    }
    if (playback->messages & GST_LIGHT_FORCING_MESSAGES_PROMPT)
        gst_light_forcing_post_prompt(GST_BASE_SRC(self), frame, buffer, latency);
    GST_OBJECT_LOCK(self);
    gst_light_forcing_stats_add_prompt(&self->stats, first ? 0 : latency);
    GST_OBJECT_UNLOCK(self);
}

static void announce(GstLightForcingSrc *self, const Playback *playback,
                     const GstLightForcingFrame *frame, const GstBuffer *buffer)
{
    gboolean is_new = frame->prompt != self->current_prompt, first = !self->current_prompt;
    if (frame->cut)
        GST_INFO_OBJECT(self, "new scene from %" GST_TIME_FORMAT " on",
                        GST_TIME_ARGS(GST_BUFFER_PTS(buffer)));
    if ((frame->cut && playback->keyframe_requests != GST_LIGHT_FORCING_KEYFRAMES_NONE) ||
        (is_new && !first && playback->keyframe_requests == GST_LIGHT_FORCING_KEYFRAMES_PROMPT)) {
        GST_DEBUG_OBJECT(self, "requesting a keyframe");
        send_with_frame(
            self, gst_video_event_new_downstream_force_key_unit(
                      GST_CLOCK_TIME_NONE, GST_CLOCK_TIME_NONE, GST_CLOCK_TIME_NONE, TRUE, 0));
    }
    if (!is_new)
        return;
    gst_light_forcing_prompt_unref(self->current_prompt);
    self->current_prompt = gst_light_forcing_prompt_ref(frame->prompt);
    announce_prompt(self, playback, frame, buffer, first);
}

/* ---- create ---------------------------------------------------------------------------------- */

/* The frame leaves: only now is it dropped from the queue. */
static void advance(GstLightForcingSrc *self, const Playback *playback, const NextFrame *next,
                    const GstBuffer *buffer)
{
    gst_light_forcing_pacer_advance(&self->pacer);
    GST_OBJECT_LOCK(self);
    self->stats.n_frames++;
    self->position = GST_BUFFER_PTS(buffer) + GST_BUFFER_DURATION(buffer);
    if (!next->repeated) {
        self->n_played++;
        self->stats.seed = (gint64) next->frame.seed;
    }
    GST_OBJECT_UNLOCK(self);
    if (next->repeated)
        return;
    gst_light_forcing_generator_drop(self->generator);
    g_clear_pointer(&self->last_chunk, lf_chunk_unref);
    if (playback->repeat) {
        self->last_chunk = lf_chunk_ref(next->frame.chunk);
        self->last_index = next->frame.index;
    }
}

GstFlowReturn gst_light_forcing_src_create(GstPushSrc *push, GstBuffer **buffer)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(push);
    Playback playback = copy_settings(self);
    NextFrame next = {0};
    GstFlowReturn flow = playback.repeat && self->last_chunk
                             ? wait_for_time(self, &next)
                             : wait_for_frame(self, &playback, &next);
    next.discont |= self->pacer.n_frames == 0 || next.frame.cut;
    if (flow == GST_FLOW_OK)
        flow = make_buffer(self, &playback, &next, buffer);
    if (flow == GST_FLOW_OK) {
        if (!next.repeated)
            announce(self, &playback, &next.frame, *buffer);
        advance(self, &playback, &next, *buffer);
        GST_LOG_OBJECT(self, "frame %" G_GUINT64_FORMAT "%s: %" GST_PTR_FORMAT,
                       self->pacer.n_frames - 1, next.repeated ? " (repeated)" : "", *buffer);
    }
    gst_light_forcing_frame_clear(&next.frame);
    return flow;
}
