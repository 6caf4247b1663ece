/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Live streams: frames leave on the clock, which a test clock turns by hand.
 */
#include "source.h"

#include <gst/app/gstappsink.h>
#include <gst/check/gsttestclock.h>

#define START (3 * GST_SECOND) /* of the stream, on the clock */

static Source *live_new(const char *model, const char *on_underrun)
{
    Source *source = source_new("is-live", TRUE, "model-location", model, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "on-underrun", on_underrun);
    gst_harness_use_testclock(source->harness);
    gst_harness_set_time(source->harness, START);
    g_assert_cmpint(gst_element_set_state(source->element, GST_STATE_PAUSED), ==,
                    GST_STATE_CHANGE_NO_PREROLL);
    source_set_state(source, GST_STATE_PLAYING);
    return source;
}

static GstBuffer *next_frame(Source *source)
{
    g_assert_true(gst_harness_crank_single_clock_wait(source->harness));
    return source_pull(source);
}

/* The next frame has this time; whether it is marked as discontinuous. */
static gboolean next_at(Source *source, GstClockTime time)
{
    GstBuffer *buffer = next_frame(source);
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, time);
    gboolean discont = GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT);
    gst_buffer_unref(buffer);
    return discont;
}

static GstStructure *stats_of(Source *source)
{
    GstStructure *stats = NULL;
    g_object_get(source->element, "stats", &stats, NULL);
    return stats;
}

static guint64 count_in_stats(Source *source, const char *field)
{
    GstStructure *stats = stats_of(source);
    guint64 value = G_MAXUINT64;
    g_assert_true(gst_structure_get_uint64(stats, field, &value));
    gst_structure_free(stats);
    return value;
}

/* ---- in time --------------------------------------------------------------------------------- */

static void test_paced(void)
{
    Source *source = live_new(tiny_model(), "shift");
    for (guint i = 0; i < 40; i++)
        g_assert_cmpint(next_at(source, START + i * FRAME_DURATION), ==, i == 0);
    g_assert_cmpuint(gst_clock_get_time(GST_ELEMENT_CLOCK(source->element)), ==,
                     START + 39 * FRAME_DURATION);
    g_assert_cmpuint(count_in_stats(source, "underruns"), ==, 0);
    source_free(source);
}

static void test_latency(void)
{
    gboolean live;
    GstClockTime min, max;
    Source *source = live_new(tiny_model(), "shift");
    next_at(source, START);
    GstQuery *query = gst_query_new_latency();
    g_assert_true(gst_element_query(source->element, query));
    gst_query_parse_latency(query, &live, &min, &max);
    g_assert_true(live);
    g_assert_cmpuint(min, ==, FRAME_DURATION);
    g_assert_cmpuint(max, ==, GST_CLOCK_TIME_NONE);
    gst_query_unref(query);
    source_free(source);
}

/* A wait for the clock, which never comes, ends with the state. */
static void test_stop_while_waiting(void)
{
    Source *source = live_new(tiny_model(), "shift");
    next_at(source, START);
    GTimer *timer = g_timer_new();
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    source_set_state(source, GST_STATE_NULL);
    g_assert_cmpfloat(g_timer_elapsed(timer, NULL), <, 0.5);
    g_timer_destroy(timer);
    source_free(source);
}

/* Nothing more is made ahead than asked for while nothing plays. */
static void test_prefetch(void)
{
    Source *source = source_new("is-live", TRUE, "prefetch", 3, NULL);
    gst_element_set_state(source->element, GST_STATE_PAUSED);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    source_expect_progress(source, GST_PROGRESS_TYPE_COMPLETE);
    for (int i = 0; i < 100 && count_in_stats(source, "chunks") < 3; i++)
        g_usleep(50 * 1000);
    g_usleep(100 * 1000);
    g_assert_cmpuint(count_in_stats(source, "chunks"), ==, 3);
    source_free(source);
}

/* ---- too late -------------------------------------------------------------------------------- */

/* Five frames in time, then the clock jumps by a second. The frame that waited is pushed with its
 * time. Returns the time that the next one would have had. */
static GstClockTime fall_behind(Source *source)
{
    for (guint i = 0; i < 5; i++)
        next_at(source, START + i * FRAME_DURATION);
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    gst_harness_set_time(source->harness, START + 5 * FRAME_DURATION + GST_SECOND);
    g_assert_false(next_at(source, START + 5 * FRAME_DURATION));
    return START + 6 * FRAME_DURATION;
}

static void test_shift(void)
{
    Source *source = live_new(tiny_model(), "shift");
    GstClockTime due = fall_behind(source);
    GstClockTime now = START + 5 * FRAME_DURATION + GST_SECOND;
    g_assert_true(next_at(source, now)); /* at once, marked */
    g_assert_false(next_at(source, now + FRAME_DURATION));
    g_assert_false(next_at(source, now + 2 * FRAME_DURATION));
    g_assert_cmpuint(count_in_stats(source, "underruns"), ==, 1);
    g_assert_cmpuint(count_in_stats(source, "shifted-time"), ==, now - due);

    GstMessage *qos = source_message(source, GST_MESSAGE_QOS);
    guint64 running_time, duration;
    gst_message_parse_qos(qos, NULL, &running_time, NULL, NULL, &duration);
    g_assert_cmpuint(running_time, ==, due);
    g_assert_cmpuint(duration, ==, now - due);
    gst_message_unref(qos);
    source_expect(source, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "late frames: 1");
    source_free(source);
}

static void test_none(void)
{
    Source *source = live_new(tiny_model(), "none");
    GstClockTime due = fall_behind(source);
    for (guint i = 0; i < 30; i++)
        g_assert_false(next_at(source, due + i * FRAME_DURATION));
    g_assert_cmpuint(count_in_stats(source, "shifted-time"), ==, 0);
    source_free(source);
}

/* The demo model needs longer for a chunk than it takes to turn the clock by nine frames: the last
 * frame is repeated, in time, until there is a new one. */
static void test_repeat(void)
{
    Source *source = live_new(demo_model(), "repeat");
    guint i;
    for (i = 0; i < FIRST_CHUNK; i++)
        next_at(source, START + i * FRAME_DURATION);
    while (count_in_stats(source, "chunks") < 2 && i < 10000) {
        g_assert_false(next_at(source, START + i * FRAME_DURATION));
        g_usleep(1000);
        i++;
    }
    g_assert_cmpuint(count_in_stats(source, "repeated"), >, 0);
    GstBuffer *buffer = next_frame(source);
    g_assert_cmpuint(GST_BUFFER_OFFSET(buffer), ==, i);
    gst_buffer_unref(buffer);
    source_free(source);
}

/* ---- pauses ---------------------------------------------------------------------------------- */

typedef struct {
    guint64 next_frame;
    GstClockTime next_pts, lost;
} Continuity;

static void check_sample(GstElement *sink, Continuity *c)
{
    GstSample *sample = gst_app_sink_try_pull_sample(GST_APP_SINK(sink), 0);
    if (!sample)
        return;
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    g_assert_cmpuint(GST_BUFFER_OFFSET(buffer), ==, c->next_frame);
    if (c->next_frame > 0) {
        g_assert_cmpuint(GST_BUFFER_PTS(buffer), >=, c->next_pts);
        c->lost += GST_BUFFER_PTS(buffer) - c->next_pts;
    }
    c->next_frame++;
    c->next_pts = GST_BUFFER_PTS(buffer) + GST_BUFFER_DURATION(buffer);
    gst_sample_unref(sample);
}

static void check_for(GstElement *sink, Continuity *c, gint64 time)
{
    for (gint64 end = g_get_monotonic_time() + time; g_get_monotonic_time() < end;) {
        check_sample(sink, c);
        g_usleep(5000);
    }
}

/* No frame is lost by a pause, and timestamps do not count it. */
static void test_pauses(void)
{
    Continuity c = {0};
    GstElement *pipeline = gst_pipeline_new(NULL);
    GstElement *source = gst_element_factory_make("lightforcingsrc", NULL);
    GstElement *sink = gst_element_factory_make("appsink", NULL);
    g_object_set(source, "model-location", tiny_model(), "prompt", "a ball", "is-live", TRUE, NULL);
    g_object_set(sink, "sync", FALSE, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, sink, NULL);
    g_assert_true(gst_element_link(source, sink));
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    for (int i = 0; i < 1000 && c.next_frame == 0; i++)
        check_for(sink, &c, 10 * G_TIME_SPAN_MILLISECOND);
    for (int i = 0; i < 5; i++) {
        check_for(sink, &c, g_test_rand_int_range(100, 200) * G_TIME_SPAN_MILLISECOND);
        gst_element_set_state(pipeline, GST_STATE_PAUSED);
        check_for(sink, &c, 250 * G_TIME_SPAN_MILLISECOND);
        gst_element_set_state(pipeline, GST_STATE_PLAYING);
    }
    g_test_message("%" G_GUINT64_FORMAT " frames, shifted by %.3f s", c.next_frame,
                   (double) c.lost / GST_SECOND);
    g_assert_cmpuint(c.next_frame, >=, 5);
    g_assert_cmpuint(c.lost, <, GST_SECOND); /* they paused for 1.25 s */
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/live/paced", test_paced);
    g_test_add_func("/live/latency", test_latency);
    g_test_add_func("/live/stop-while-waiting", test_stop_while_waiting);
    g_test_add_func("/live/prefetch", test_prefetch);
    g_test_add_func("/live/shift", test_shift);
    g_test_add_func("/live/none", test_none);
    g_test_add_func("/live/repeat", test_repeat);
    g_test_add_func("/live/pauses", test_pauses);
    return tests_run();
}
