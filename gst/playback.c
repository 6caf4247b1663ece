/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frame after frame: taken from the worker's queue, at its time if the stream is live, written into
 * a buffer, stamped and announced.
 */
#include "messages.h"
#include "gstlightforcingsrc-private.h"

#define GST_CAT_DEFAULT gst_light_forcing_src_debug

/* Sinks wait one frame for a live frame (the reported latency). What is late by less than half of
 * that is still shown in time. */
#define LATE_FRAMES 0.5

/* A stream that repeats frames catches up with the clock, but not with a suspended machine. */
#define REPEAT_LIMIT GST_SECOND

#define EPISODE_LIMIT    (5 * GST_SECOND)
#define WARNING_INTERVAL (5 * G_TIME_SPAN_SECOND)

/* What create() needs to know of the settings, copied under the lock. */
typedef struct {
    gboolean live;
    gint on_underrun;
    gint keyframe_requests;
    guint messages;
    gboolean send_prompt_tags;
    GstClockTime timestamp_offset;
    GstVideoInfo info;
} Playback;

static Playback snapshot(GstLightForcingSrc *self)
{
    GST_OBJECT_LOCK(self);
    const GstLightForcingSettings *s = &self->settings;
    Playback playback = {.live = s->is_live,
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
    self->n_shown = 0;
    self->negotiated = FALSE;
    self->stats = (GstLightForcingStats){.qos_proportion = 1};
    GST_OBJECT_UNLOCK(self);
    gst_light_forcing_pacer_reset(&self->pacer, native.fps_n, native.fps_d,
                                  live ? GST_CLOCK_TIME_NONE : 0);
    self->episode = (GstLightForcingEpisode){0};
    g_clear_pointer(&self->shown_prompt, gst_light_forcing_prompt_unref);
    g_clear_pointer(&self->shown_chunk, lf_chunk_unref);
}

/* ---- underruns ------------------------------------------------------------------------------- */

/* Frames are in time again, or have been late for long enough to say so. */
static void end_episode(GstLightForcingSrc *self)
{
    GstLightForcingEpisode *episode = &self->episode;
    if (episode->n_frames == 0)
        return;
    GST_OBJECT_LOCK(self);
    double rate = gst_light_forcing_stats_rate(&self->stats);
    GST_OBJECT_UNLOCK(self);
    gst_light_forcing_post_qos(GST_BASE_SRC(self), episode->due, episode->lost,
                               self->pacer.n_frames, episode->n_frames);
    gint64 now = g_get_monotonic_time();
    if (!episode->last_warning || now - episode->last_warning > WARNING_INTERVAL) {
        gst_light_forcing_post_underrun(GST_ELEMENT(self), episode->lost, episode->n_frames, rate,
                                        (double) self->pacer.fps_n / self->pacer.fps_d);
        episode->last_warning = now;
    }
    episode->n_frames = 0;
    episode->lost = 0;
}

static void note_late(GstLightForcingSrc *self, gboolean repeated)
{
    GstLightForcingEpisode *episode = &self->episode;
    GstClockTime due = gst_light_forcing_pacer_due(&self->pacer);
    if (due > episode->due + EPISODE_LIMIT)
        end_episode(self);
    gboolean begins = episode->n_frames++ == 0;
    if (begins)
        episode->due = due;
    GST_OBJECT_LOCK(self);
    self->stats.n_underruns += begins;
    self->stats.n_repeated += repeated;
    GST_OBJECT_UNLOCK(self);
}

static void shift(GstLightForcingSrc *self, GstClockTime by)
{
    gst_light_forcing_pacer_shift(&self->pacer, by);
    GST_OBJECT_LOCK(self);
    self->stats.shifted_time += by;
    GST_OBJECT_UNLOCK(self);
}

/* ---- the next frame, at its time ------------------------------------------------------------- */

typedef struct {
    GstLightForcingFrame frame;
    gboolean repeated; /* it is the last one again */
    gboolean discont;
} Taken;

static GstFlowReturn flow_of(GstLightForcingTake take)
{
    return take == GST_LIGHT_FORCING_TAKE_OK         ? GST_FLOW_OK
           : take == GST_LIGHT_FORCING_TAKE_FLUSHING ? GST_FLOW_FLUSHING
                                                     : GST_FLOW_ERROR;
}

static gboolean repeats(const Playback *playback)
{
    return playback->live && playback->on_underrun == GST_LIGHT_FORCING_UNDERRUN_REPEAT;
}

static gboolean is_late(const GstLightForcingSrc *self, GstClockTime lateness)
{
    return lateness > LATE_FRAMES * (double) gst_light_forcing_pacer_duration(&self->pacer);
}

/* How late the next frame is. The clock runs on in PAUSED, running time does not: it can be asked
 * for only while playing. */
static GstFlowReturn measure_lateness(GstLightForcingSrc *self, GstClockTime *lateness)
{
    GstFlowReturn flow = gst_base_src_wait_playing(GST_BASE_SRC(self));
    if (flow == GST_FLOW_OK)
        *lateness = gst_light_forcing_pacer_lateness(&self->pacer, GST_ELEMENT(self));
    return flow;
}

static void handle_late(GstLightForcingSrc *self, const Playback *playback, GstClockTime lateness,
                        Taken *taken)
{
    note_late(self, FALSE);
    taken->discont = playback->on_underrun == GST_LIGHT_FORCING_UNDERRUN_SHIFT;
    if (taken->discont) {
        shift(self, lateness);
        self->episode.lost += lateness;
    } else { /* what the frame before was late by is in it */
        self->episode.lost = MAX(self->episode.lost, lateness);
    }
}

/* Waits for the frame, then for its time. */
static GstFlowReturn take_in_order(GstLightForcingSrc *self, const Playback *playback, Taken *taken)
{
    GstLightForcingTake take =
        gst_light_forcing_generator_peek(self->generator, TRUE, &taken->frame);
    if (take != GST_LIGHT_FORCING_TAKE_OK || !playback->live)
        return flow_of(take);
    GstClockTime lateness;
    GstFlowReturn flow = measure_lateness(self, &lateness);
    if (flow != GST_FLOW_OK)
        return flow;
    if (is_late(self, lateness))
        handle_late(self, playback, lateness, taken);
    else
        end_episode(self);
    return gst_light_forcing_pacer_wait(&self->pacer, GST_ELEMENT(self)) ? GST_FLOW_OK
                                                                         : GST_FLOW_FLUSHING;
}

/* Waits for the time, then takes the frame that is there, or the last one again. */
static GstFlowReturn take_or_repeat(GstLightForcingSrc *self, Taken *taken)
{
    GstClockTime lateness;
    GstFlowReturn flow = measure_lateness(self, &lateness);
    if (flow != GST_FLOW_OK)
        return flow;
    taken->discont = lateness > REPEAT_LIMIT;
    if (taken->discont)
        shift(self, lateness);
    if (!gst_light_forcing_pacer_wait(&self->pacer, GST_ELEMENT(self)))
        return GST_FLOW_FLUSHING;
    GstLightForcingTake take =
        gst_light_forcing_generator_peek(self->generator, FALSE, &taken->frame);
    if (take != GST_LIGHT_FORCING_TAKE_EMPTY) {
        end_episode(self);
        return flow_of(take);
    }
    note_late(self, TRUE);
    self->episode.lost += gst_light_forcing_pacer_duration(&self->pacer);
    taken->frame.chunk = lf_chunk_ref(self->shown_chunk);
    taken->frame.index = self->shown_index;
    taken->repeated = TRUE;
    return GST_FLOW_OK;
}

static GstFlowReturn take_frame(GstLightForcingSrc *self, const Playback *playback, Taken *taken)
{
    GstFlowReturn flow = repeats(playback) && self->shown_chunk
                             ? take_or_repeat(self, taken)
                             : take_in_order(self, playback, taken);
    taken->discont |= self->pacer.n_frames == 0 || taken->frame.cut;
    return flow;
}

/* ---- into a buffer --------------------------------------------------------------------------- */

static gboolean write_picture(GstLightForcingSrc *self, const Playback *playback,
                              const GstLightForcingFrame *frame, GstBuffer *buffer)
{
    GstVideoFrame mapped;
    if (!gst_video_frame_map(&mapped, &playback->info, buffer, GST_MAP_WRITE)) {
        GST_ELEMENT_ERROR(self, RESOURCE, WRITE, ("A video buffer cannot be written to."),
                          ("gst_video_frame_map failed"));
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
                                 const GstLightForcingFrame *frame, GstBuffer **buffer)
{
    GstBaseSrc *base = GST_BASE_SRC(self);
    GstFlowReturn flow = GST_BASE_SRC_GET_CLASS(self)->alloc(
        base, 0, (guint) GST_VIDEO_INFO_SIZE(&playback->info), buffer);
    if (flow != GST_FLOW_OK)
        return flow;
    if (write_picture(self, playback, frame, *buffer))
        return GST_FLOW_OK;
    gst_clear_buffer(buffer);
    return GST_FLOW_ERROR;
}

static void stamp(GstLightForcingSrc *self, const Playback *playback, const Taken *taken,
                  GstBuffer *buffer)
{
    GST_BUFFER_PTS(buffer) = gst_light_forcing_pacer_due(&self->pacer) + playback->timestamp_offset;
    GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_NONE;
    GST_BUFFER_DURATION(buffer) = gst_light_forcing_pacer_duration(&self->pacer);
    GST_BUFFER_OFFSET(buffer) = self->pacer.n_frames;
    GST_BUFFER_OFFSET_END(buffer) = self->pacer.n_frames + 1;
    if (taken->discont)
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
}

/* ---- what goes with it ----------------------------------------------------------------------- */

/* GstBaseSrc keeps such events until right before the next buffer, after the segment; pushed from
 * here they would come too early. Not by gst_element_send_event, which takes the state lock. */
static void send_with_frame(GstLightForcingSrc *self, GstEvent *event)
{
    GST_ELEMENT_GET_CLASS(self)->send_event(GST_ELEMENT(self), event);
}

static void send_key_unit_request(GstLightForcingSrc *self)
{
    send_with_frame(self,
                    gst_video_event_new_downstream_force_key_unit(
                        GST_CLOCK_TIME_NONE, GST_CLOCK_TIME_NONE, GST_CLOCK_TIME_NONE, TRUE, 0));
}

static void send_tag(GstLightForcingSrc *self, const char *prompt)
{
    if (!*prompt) /* tags cannot be empty */
        return;
    GstTagList *tags = gst_tag_list_new(GST_TAG_DESCRIPTION, prompt, NULL);
    gst_tag_list_set_scope(tags, GST_TAG_SCOPE_GLOBAL);
    send_with_frame(self, gst_event_new_tag(tags));
}

static void announce(GstLightForcingSrc *self, const Playback *playback,
                     const GstLightForcingFrame *frame, const GstBuffer *buffer)
{
    gboolean is_new = frame->prompt != self->shown_prompt;
    gboolean changed = is_new && self->shown_prompt;
    if ((frame->cut && playback->keyframe_requests != GST_LIGHT_FORCING_KEYFRAMES_NONE) ||
        (changed && playback->keyframe_requests == GST_LIGHT_FORCING_KEYFRAMES_PROMPT))
        send_key_unit_request(self);
    if (!is_new)
        return;
    gst_light_forcing_prompt_unref(self->shown_prompt);
    self->shown_prompt = gst_light_forcing_prompt_ref(frame->prompt);
    if (playback->send_prompt_tags)
        send_tag(self, frame->prompt->text);
    GstClockTime latency = gst_light_forcing_post_prompt(
        GST_BASE_SRC(self), frame, buffer,
        (playback->messages & GST_LIGHT_FORCING_MESSAGES_PROMPT) != 0);
    GST_OBJECT_LOCK(self);
    gst_light_forcing_stats_add_prompt(&self->stats, changed ? latency : 0);
    GST_OBJECT_UNLOCK(self);
}

/* ---- create ---------------------------------------------------------------------------------- */

/* The frame leaves: only now is it taken out of the queue. */
static void advance(GstLightForcingSrc *self, const Playback *playback, const Taken *taken,
                    const GstBuffer *buffer)
{
    gst_light_forcing_pacer_advance(&self->pacer);
    GST_OBJECT_LOCK(self);
    self->stats.n_frames++;
    self->position = GST_BUFFER_PTS(buffer) + GST_BUFFER_DURATION(buffer);
    if (!taken->repeated) {
        self->n_shown++;
        self->stats.seed = (gint64) taken->frame.seed;
    }
    GST_OBJECT_UNLOCK(self);
    if (taken->repeated)
        return;
    gst_light_forcing_generator_drop(self->generator);
    g_clear_pointer(&self->shown_chunk, lf_chunk_unref);
    if (repeats(playback)) {
        self->shown_chunk = lf_chunk_ref(taken->frame.chunk);
        self->shown_index = taken->frame.index;
    }
}

GstFlowReturn gst_light_forcing_src_create(GstPushSrc *push, GstBuffer **buffer)
{
    GstLightForcingSrc *self = GST_LIGHT_FORCING_SRC(push);
    Playback playback = snapshot(self);
    Taken taken = {0};
    GstFlowReturn flow = take_frame(self, &playback, &taken);
    if (flow == GST_FLOW_OK)
        flow = make_buffer(self, &playback, &taken.frame, buffer);
    if (flow == GST_FLOW_OK) {
        stamp(self, &playback, &taken, *buffer);
        if (!taken.repeated)
            announce(self, &playback, &taken.frame, *buffer);
        advance(self, &playback, &taken, *buffer);
    }
    gst_light_forcing_frame_clear(&taken.frame);
    return flow;
}
