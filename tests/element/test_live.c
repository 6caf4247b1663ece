/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Live streams: frames leave at their time, by a test clock that the tests advance.
 */
#include "source.h"

#include <gst/app/gstappsink.h>
#include <gst/check/gsttestclock.h>
#include <gst/controller/gstdirectcontrolbinding.h>
#include <gst/controller/gstinterpolationcontrolsource.h>

#include <time.h>

#define START (3 * GST_SECOND) /* of the stream, on the clock */

/* ---- real time to order ---------------------------------------------------------------------- */

static gint64 told;       /* atomic; the monotonic time that the element is told; 0: the real one */
static GThread *told_not; /* this thread has the real one, unless … */
static gint told_to_all;  /* atomic: … this is set */

/* Replaces GLib's function, for the plugin, too. */
__attribute__((visibility("default"))) gint64 g_get_monotonic_time(void)
{
    gint64 time = __atomic_load_n(&told, __ATOMIC_SEQ_CST);
    struct timespec real;
    if (time && (g_atomic_int_get(&told_to_all) || g_thread_self() != told_not))
        return time;
    clock_gettime(CLOCK_MONOTONIC, &real);
    return real.tv_sec * G_TIME_SPAN_SECOND + real.tv_nsec / 1000;
}

static void tell_time(gint64 time)
{
    told_not = g_thread_self();
    __atomic_store_n(&told, time, __ATOMIC_SEQ_CST);
}

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

/* ---- in time --------------------------------------------------------------------------------- */

static void test_paced(void)
{
    Source *source = live_new(tiny_model(), "shift");
    for (guint i = 0; i < 40; i++)
        g_assert_cmpint(next_at(source, START + i * FRAME_DURATION), ==, i == 0);
    g_assert_cmpuint(gst_clock_get_time(GST_ELEMENT_CLOCK(source->element)), ==,
                     START + 39 * FRAME_DURATION);
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 0);
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
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    source_set_state(source, GST_STATE_NULL); /* would not return */
    source_free(source);
}

static void wait_for_chunks(Source *source, guint64 n)
{
    while (source_stat(source, "chunks") < n)
        g_usleep(1000);
}

/* So many chunks are generated while nothing plays, and one more as soon as the first of them does,
 * which is then no prefetched chunk any more. */
static void test_prefetch(void)
{
    Source *source = source_new("is-live", TRUE, "prefetch", 2, "messages", 2 /* chunk */, NULL);
    gst_harness_use_testclock(source->harness);
    gst_element_set_state(source->element, GST_STATE_PAUSED);
    wait_for_chunks(source, 2);
    g_object_set(source->element, "prefetch", 3, NULL);
    wait_for_chunks(source, 3);
    g_usleep(100 * 1000); /* for a generator that would go on */
    g_assert_cmpuint(source_stat(source, "chunks"), ==, 3);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    gst_buffer_unref(next_frame(source));
    wait_for_chunks(source, 4);
    for (int i = 0; i < 50; i++)
        gst_buffer_unref(next_frame(source));
    g_assert_cmpuint(source->max_level, ==, 4);
    source_free(source);
}

/* With chunks of one latent frame the first chunk is one picture. The second one is generated at
 * once, and the stream begins when it is there: else its second frame would be late. */
static void test_frame_wise(void)
{
    Source *source = source_new("is-live", TRUE, "chunk-size", 1, NULL);
    source_hold(source, 1);
    gst_harness_use_testclock(source->harness);
    gst_harness_set_time(source->harness, START);
    gst_element_set_state(source->element, GST_STATE_PAUSED);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    source_wait_held(source);
    g_usleep(100 * 1000); /* for a stream that would begin */
    g_assert_cmpuint(source_stat(source, "frames"), ==, 0);
    gst_harness_set_time(source->harness, START + GST_SECOND); /* the second chunk takes long */
    source_release(source);
    for (guint i = 0; i < 40; i++)
        g_assert_cmpint(next_at(source, START + GST_SECOND + i * FRAME_DURATION), ==, i == 0);
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 0);
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, 0);
    source_free(source);
}

typedef struct {
    GstElement *element;
    guint n;       /* chunks that were reported */
    gint released; /* atomic */
} Scenes;

/* Restarts with the fourth chunk, and holds the worker as it reports the fifth. */
static GstBusSyncReply restart_then_hold(GstBus *bus, GstMessage *message, gpointer data)
{
    Scenes *scenes = data;
    if (!gst_message_has_name(message, "lightforcing-chunk"))
        return GST_BUS_PASS;
    scenes->n++;
    if (scenes->n == 3)
        g_signal_emit_by_name(scenes->element, "restart", (gint64) 2);
    while (scenes->n == 5 && !g_atomic_int_get(&scenes->released))
        g_usleep(1000);
    return GST_BUS_PASS;
}

/* Only a stream waits with its first picture: that of a later scene, which is one frame, too, leaves at
 * its time while the chunk behind it is generated. */
static void test_frame_wise_restart(void)
{
    Source *source = source_new("is-live", TRUE, "chunk-size", 1, "messages", 2 /* chunk */, NULL);
    Scenes scenes = {.element = source->element};
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, restart_then_hold, &scenes, NULL);
    gst_harness_use_testclock(source->harness);
    gst_harness_set_time(source->harness, START);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    for (guint i = 0; i < 1 + 4 + 4 + 1; i++)
        g_assert_cmpint(next_at(source, START + i * FRAME_DURATION), ==, i == 0 || i == 9);
    g_atomic_int_set(&scenes.released, TRUE);
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

/* The next QoS message is about `n_late` late frames from `due` on, which have cost `lost`: the
 * frames from n_frames on are in time again. */
static void expect_qos(Source *source, GstClockTime due, GstClockTime lost, guint64 n_frames,
                       guint64 n_late)
{
    guint64 running_time, duration, processed, dropped;
    GstFormat format;
    GstMessage *qos = source_message(source, GST_MESSAGE_QOS);
    g_assert_nonnull(qos);
    gst_message_parse_qos(qos, NULL, &running_time, NULL, NULL, &duration);
    g_assert_cmpuint(running_time, ==, due);
    g_assert_cmpuint(duration, ==, lost);
    gst_message_parse_qos_stats(qos, &format, &processed, &dropped);
    g_assert_cmpint((gint) format, ==, GST_FORMAT_BUFFERS);
    g_assert_cmpuint(processed, ==, n_frames);
    g_assert_cmpuint(dropped, ==, n_late);
    gst_message_unref(qos);
}

/* The next warning is of an underrun, and has its numbers. */
static void expect_underrun(Source *source, guint n_late, GstClockTime lost)
{
    const GstStructure *details = NULL;
    guint frames = 0;
    guint64 time = 0;
    double rate = 0, needed = 0;
    GstMessage *message = source_message(source, GST_MESSAGE_WARNING);
    g_assert_nonnull(message);
    gst_message_parse_warning_details(message, &details);
    g_assert_nonnull(details);
    g_assert_true(gst_structure_get(details, "frames", G_TYPE_UINT, &frames, "lost-time",
                                    G_TYPE_UINT64, &time, "fps-potential", G_TYPE_DOUBLE, &rate,
                                    "fps-needed", G_TYPE_DOUBLE, &needed, NULL));
    g_assert_cmpuint(frames, ==, n_late);
    g_assert_cmpuint(time, ==, lost);
    g_assert_cmpfloat(rate, >, 0);
    g_assert_cmpfloat(needed, ==, 16);
    gst_message_unref(message);
}

static void test_shift(void)
{
    Source *source = live_new(tiny_model(), "shift");
    GstClockTime due = fall_behind(source);
    GstClockTime now = START + 5 * FRAME_DURATION + GST_SECOND;
    g_assert_true(next_at(source, now)); /* at once, marked */
    g_assert_false(next_at(source, now + FRAME_DURATION));
    g_assert_false(next_at(source, now + 2 * FRAME_DURATION));
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 1);
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, now - due);
    expect_qos(source, due, now - due, 7, 1);
    expect_underrun(source, 1, now - due);
    source_free(source);
}

typedef struct {
    GstHarness *harness;
    guint64 frame;
    GstClockTime to;
} Jump;

/* The clock goes on to `to` as the frame `frame` leaves. */
static GstPadProbeReturn jump(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    const Jump *j = data;
    if (GST_BUFFER_OFFSET(GST_PAD_PROBE_INFO_BUFFER(info)) == j->frame)
        gst_harness_set_time(j->harness, j->to);
    return GST_PAD_PROBE_OK;
}

/* Two late frames in a row are one underrun, which has cost what both were late. */
static void test_shift_twice(void)
{
    Source *source = live_new(tiny_model(), "shift");
    const GstClockTime due = START + 6 * FRAME_DURATION;
    const GstClockTime now = START + 5 * FRAME_DURATION + GST_SECOND;
    const GstClockTime then = now + FRAME_DURATION + GST_SECOND / 4;
    Jump j = {.harness = source->harness, .frame = 6, .to = then};
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, jump, &j, NULL);
    gst_object_unref(pad);
    g_assert_cmpuint(fall_behind(source), ==, due);
    g_assert_true(next_at(source, now));
    g_assert_true(next_at(source, then));
    g_assert_false(next_at(source, then + FRAME_DURATION));
    g_assert_false(next_at(source, then + 2 * FRAME_DURATION));
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 1);
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, now - due + GST_SECOND / 4);
    expect_qos(source, due, now - due + GST_SECOND / 4, 8, 2);
    source_expect(source, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED, "2 late");
    source_free(source);
}

/* However many frames are late in a row, that is one underrun; what it has cost is the largest
 * lateness, as the timestamps stay. */
static void test_none(void)
{
    Source *source = live_new(tiny_model(), "none");
    GstClockTime due = fall_behind(source);
    for (guint i = 0; i < 30; i++)
        g_assert_false(next_at(source, due + i * FRAME_DURATION));
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, 0);
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 1);
    expect_qos(source, due, GST_SECOND - FRAME_DURATION, 21, 15);
    source_expect(source, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "15 late");

    due += 30 * FRAME_DURATION;
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    gst_harness_set_time(source->harness, due + GST_SECOND / 2);
    for (guint i = 0; i < 20; i++)
        g_assert_false(next_at(source, due + i * FRAME_DURATION));
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 2);
    expect_qos(source, due + FRAME_DURATION, GST_SECOND / 2 - FRAME_DURATION, 44, 7);
    source_free(source);
}

/* The next frame is number `frame`. The clock goes on until the one after it is late by `by`, and
 * that far the frames from then on are in time again or late without a shift. */
static void delay(Source *source, guint64 *frame, GstClockTime by)
{
    GstClockTime due = START + *frame * FRAME_DURATION;
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    gst_harness_set_time(source->harness, due + FRAME_DURATION + by);
    for (GstClockTime end = due + FRAME_DURATION + by; due <= end; due += FRAME_DURATION)
        g_assert_false(next_at(source, START + (*frame)++ * FRAME_DURATION));
}

/* Takes all messages from the bus; how many of them are about underruns. */
static void count_underruns(Source *source, guint *n_qos, guint *n_warnings)
{
    GstMessage *message;
    *n_qos = *n_warnings = 0;
    while ((message = gst_bus_pop(source->bus))) {
        GError *warning = NULL;
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_WARNING)
            gst_message_parse_warning(message, &warning, NULL);
        *n_qos += GST_MESSAGE_TYPE(message) == GST_MESSAGE_QOS;
        *n_warnings += g_error_matches(warning, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED);
        g_clear_error(&warning);
        gst_message_unref(message);
    }
}

/* A frame is late from half of its duration on. */
static void test_half_a_frame(void)
{
    guint64 frame = 5;
    Source *source = live_new(tiny_model(), "none");
    for (guint i = 0; i < 5; i++)
        next_at(source, START + i * FRAME_DURATION);
    delay(source, &frame, FRAME_DURATION / 2);
    delay(source, &frame, 0);
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 0);
    delay(source, &frame, FRAME_DURATION / 2 + 1);
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 1);
    source_free(source);
}

/* A long underrun is reported in parts of five seconds, each with the lateness of its own frames. */
static void test_long_underrun(void)
{
    guint64 frame = 5;
    Source *source = live_new(tiny_model(), "none");
    for (guint i = 0; i < 5; i++)
        next_at(source, START + i * FRAME_DURATION);
    delay(source, &frame,
          191 * FRAME_DURATION); /* frame 6 is late by 191 frames, the next by 190 … */
    delay(source, &frame, 0);
    GstClockTime due = START + 6 * FRAME_DURATION;
    expect_qos(source, due, 191 * FRAME_DURATION, 6 + 81, 81);
    expect_qos(source, due + 81 * FRAME_DURATION, 110 * FRAME_DURATION, 6 + 162, 81);
    expect_qos(source, due + 162 * FRAME_DURATION, 29 * FRAME_DURATION, 6 + 191, 29);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_QOS));
    source_free(source);
}

/* Every underrun has a message for programs; the warning comes once in five seconds of real time. */
static void test_warnings(void)
{
    const gint64 start = 1000 * G_TIME_SPAN_SECOND;
    static const struct {
        gint64 after; /* µs */
        guint n_warnings;
    } underruns[] = {{0, 1},
                     {1, 0},
                     {5 * G_TIME_SPAN_SECOND, 0},
                     {5 * G_TIME_SPAN_SECOND + 1, 1},
                     {6 * G_TIME_SPAN_SECOND, 0},
                     {10 * G_TIME_SPAN_SECOND + 2, 1}};
    guint64 frame = 2;
    guint n_qos, n_warnings;
    Source *source = live_new(tiny_model(), "none");
    next_at(source, START);
    next_at(source, START + FRAME_DURATION);
    for (guint i = 0; i < G_N_ELEMENTS(underruns); i++) {
        tell_time(start + underruns[i].after);
        delay(source, &frame, 3 * FRAME_DURATION);
        delay(source, &frame, 0);
        count_underruns(source, &n_qos, &n_warnings);
        g_assert_cmpuint(n_qos, ==, 1);
        g_assert_cmpuint(n_warnings, ==, underruns[i].n_warnings);
    }
    tell_time(0);
    source_free(source);
}

/* A live stream that repeats frames, whose worker is held as soon as the first chunk is there. */
static Source *repeating_new(void)
{
    Source *source = source_new("is-live", TRUE, "prefetch", 2, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "on-underrun", "repeat");
    gst_harness_use_testclock(source->harness);
    gst_harness_set_time(source->harness, START);
    source_hold(source, 1);
    return source;
}

/* The next frame is number `n`, in time. It shows the picture of the one before if it repeats it.
 * `last` is replaced by its picture. */
static void expect_frame(Source *source, guint64 n, gboolean repeated, GBytes **last)
{
    GstMapInfo map;
    GstBuffer *buffer = next_frame(source);
    g_assert_cmpuint(GST_BUFFER_OFFSET(buffer), ==, n);
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, START + n * FRAME_DURATION);
    g_assert_cmpint(GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT), ==, n == 0);
    g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
    GBytes *picture = g_bytes_new(map.data, map.size);
    gst_buffer_unmap(buffer, &map);
    gst_buffer_unref(buffer);
    if (repeated)
        g_assert_true(g_bytes_equal(picture, *last));
    g_clear_pointer(last, g_bytes_unref);
    *last = picture;
}

/* Frames are repeated, in time, while the generator is held; each time is one underrun. */
static void test_repeat(void)
{
    Source *source = repeating_new();
    GBytes *last = NULL;
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    guint64 n = 0, n_generated = 0;
    for (guint64 underrun = 1; underrun <= 2; underrun++) {
        n_generated += underrun == 1 ? FIRST_CHUNK : 12;
        for (; n < n_generated + underrun * 20; n++)
            expect_frame(source, n, n >= n_generated + (underrun - 1) * 20, &last);
        g_assert_cmpuint(source_stat(source, "repeated"), ==, underrun * 20);
        g_assert_cmpuint(source_stat(source, "underruns"), ==, underrun);
        source_hold(source, underrun + 1); /* one chunk more, and the next is held */
        source_wait_held(source);
    }
    g_bytes_unref(last);
    expect_qos(source, START + FIRST_CHUNK * FRAME_DURATION, 20 * FRAME_DURATION, FIRST_CHUNK + 20,
               20);
    source_expect(source, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "20 late");
    source_free(source);
}

/* What happens when a frame is late can be changed while the stream plays. */
static void test_change_to_repeat(void)
{
    Source *source = repeating_new();
    gst_util_set_object_arg(G_OBJECT(source->element), "on-underrun", "shift");
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    for (guint i = 0; i < FIRST_CHUNK + 5; i++) {
        if (i == 3)
            gst_util_set_object_arg(G_OBJECT(source->element), "on-underrun", "repeat");
        next_at(source, START + i * FRAME_DURATION);
    }
    g_assert_cmpuint(source_stat(source, "repeated"), ==, 5);
    source_free(source);
}

/* A stream that ended in an underrun leaves nothing to the next one: neither the underrun nor the frame
 * that was repeated. The next one begins with its own first frame, at the time that it is then. */
static void test_second_stream(void)
{
    GstMessage *message;
    Source *source = repeating_new();
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    for (guint i = 0; i < FIRST_CHUNK + 3; i++)
        next_at(source, START + i * FRAME_DURATION);
    g_assert_cmpuint(source_stat(source, "repeated"), ==, 3);
    source_release(source);
    source_set_state(source, GST_STATE_READY);
    while ((message = gst_bus_pop(source->bus)))
        gst_message_unref(message);
    const GstClockTime now = START + 60 * GST_SECOND;
    gst_harness_set_time(source->harness, now);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    for (guint i = 0; i < 5; i++) {
        GstBuffer *buffer = next_frame(source);
        g_assert_cmpuint(GST_BUFFER_OFFSET(buffer), ==, i);
        g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, now + i * FRAME_DURATION);
        g_assert_cmpint(GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT), ==, i == 0);
        gst_buffer_unref(buffer);
    }
    g_assert_cmpuint(source_stat(source, "repeated"), ==, 0);
    g_assert_cmpuint(source_stat(source, "underruns"), ==, 0);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_QOS));
    source_free(source);
}

/* A chunk has the value of the time at which its first frame is due by then: repeated frames have
 * moved it. The curve has its step exactly there, and one a frame later. */
static void test_repeat_controlled(void)
{
    enum { REPEATED = 20, NEXT_CHUNK = 12 };
    const guint due = FIRST_CHUNK + REPEATED + NEXT_CHUNK;
    Source *source = repeating_new();
    GstControlSource *values = gst_interpolation_control_source_new();
    GstTimedValueControlSource *curve = GST_TIMED_VALUE_CONTROL_SOURCE(values);
    double sparsity;
    g_object_set(values, "mode", GST_INTERPOLATION_MODE_NONE, NULL);
    gst_timed_value_control_source_set(curve, 0, .3);
    gst_timed_value_control_source_set(curve, START + due * FRAME_DURATION, .6);
    gst_timed_value_control_source_set(curve, START + (due + 1) * FRAME_DURATION, .8);
    gst_object_add_control_binding(
        GST_OBJECT(source->element),
        gst_direct_control_binding_new_absolute(GST_OBJECT(source->element), "sparsity", values));
    gst_object_unref(values);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    for (guint i = 0; i < FIRST_CHUNK + REPEATED; i++)
        gst_buffer_unref(next_frame(source));
    source_hold(source, 2); /* the chunk that was held is next, the one after it is generated */
    source_wait_held(source);
    g_object_get(source->element, "sparsity", &sparsity, NULL);
    g_assert_cmpfloat(sparsity, ==, .6);
    source_free(source);
}

/* Repeated frames catch up with the clock after a short delay; a long one shifts the timestamps. */
static void test_repeat_long_delay(void)
{
    Source *source = live_new(tiny_model(), "repeat");
    for (guint i = 0; i < 5; i++)
        next_at(source, START + i * FRAME_DURATION);
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    gst_harness_set_time(source->harness, START + 5 * FRAME_DURATION + GST_SECOND / 2);
    for (guint i = 5; i < 20; i++)
        g_assert_false(next_at(source, START + i * FRAME_DURATION));
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, 0);

    GstClockTime now = START + 20 * FRAME_DURATION + 3 * GST_SECOND;
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    gst_harness_set_time(source->harness, now);
    g_assert_false(next_at(source, START + 20 * FRAME_DURATION)); /* waited already */
    g_assert_true(next_at(source, now));
    g_assert_false(next_at(source, now + FRAME_DURATION));
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, 3 * GST_SECOND - FRAME_DURATION);
    source_free(source);
}

/* The longest delay with which a stream that repeats frames catches up. */
static void test_repeat_limit(void)
{
    guint64 frame = 5;
    Source *source = live_new(tiny_model(), "repeat");
    for (guint i = 0; i < 5; i++)
        next_at(source, START + i * FRAME_DURATION);
    delay(source, &frame, GST_SECOND);
    delay(source, &frame, 0);
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, 0);
    GstClockTime due = START + frame * FRAME_DURATION;
    g_assert_true(gst_harness_wait_for_clock_id_waits(source->harness, 1, 10));
    gst_harness_set_time(source->harness, due + FRAME_DURATION + GST_SECOND + 1);
    g_assert_false(next_at(source, due));
    g_assert_true(next_at(source, due + FRAME_DURATION + GST_SECOND + 1));
    g_assert_cmpuint(source_stat(source, "shifted-time"), ==, GST_SECOND + 1);
    source_free(source);
}

/* ---- times that were measured ---------------------------------------------------------------- */

/* Loading takes three seconds more from its first message on. */
static GstBusSyncReply take_time(GstBus *bus, GstMessage *message, gpointer data)
{
    gint *n_taken = data;
    GstProgressType type = GST_PROGRESS_TYPE_START;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_PROGRESS)
        gst_message_parse_progress(message, &type, NULL, NULL);
    if (type == GST_PROGRESS_TYPE_CONTINUE && (*n_taken)++ == 0)
        __atomic_add_fetch(&told, 3 * G_TIME_SPAN_SECOND, __ATOMIC_SEQ_CST);
    return GST_BUS_PASS;
}

static void test_load_time(void)
{
    gint n_taken = 0;
    Source *source = source_new("is-live", TRUE, NULL);
    gst_harness_use_testclock(source->harness);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, take_time, &n_taken, NULL);
    tell_time(1000 * G_TIME_SPAN_SECOND);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    gst_buffer_unref(next_frame(source));
    g_assert_cmpuint(source_stat(source, "load-time"), ==, 3 * GST_SECOND);
    source_free(source);
    tell_time(0);
}

/* From setting a prompt until its first frame leaves; the first prompt's is none in the statistics. */
static void test_latencies(void)
{
    static const guint ms[] = {2500, 1500, 2750};
    static const guint max[] = {2500, 2500, 2750};
    const gint64 start = 1000 * G_TIME_SPAN_SECOND;
    Source *source = live_new(tiny_model(), "shift");
    gst_buffer_unref(next_frame(source));
    gst_message_unref(source_prompt_message(source));
    for (guint i = 0; i < G_N_ELEMENTS(ms); i++) {
        g_autofree char *text = g_strdup_printf("star %u", i);
        guint64 latency = 0;
        tell_time(start);
        g_atomic_int_set(&told_to_all, TRUE);
        g_object_set(source->element, "prompt", text, NULL);
        g_atomic_int_set(&told_to_all, FALSE);
        tell_time(start + ms[i] * G_TIME_SPAN_MILLISECOND);
        while (source_stat(source, "prompts") < 2 + i)
            gst_buffer_unref(next_frame(source));
        tell_time(0);
        g_assert_cmpuint(source_stat(source, "prompt-latency-last"), ==, ms[i] * GST_MSECOND);
        g_assert_cmpuint(source_stat(source, "prompt-latency-max"), ==, max[i] * GST_MSECOND);
        GstMessage *message = source_prompt_message(source);
        gst_structure_get_uint64(gst_message_get_structure(message), "latency", &latency);
        g_assert_cmpuint(latency, ==, ms[i] * GST_MSECOND);
        gst_message_unref(message);
    }
    source_free(source);
}

/* ---- pauses ---------------------------------------------------------------------------------- */

/* Turns the clock to the next frame's time, and checks the frame. Returns its timestamp. */
static GstClockTime next_sample(GstTestClock *clock, GstElement *sink, guint64 frame)
{
    GstSample *sample = NULL;
    while (!sample) { /* a frame may have been on its way */
        GstClockID id = NULL;
        sample = gst_app_sink_try_pull_sample(GST_APP_SINK(sink), 10 * GST_MSECOND);
        if (!sample && gst_test_clock_peek_next_pending_id(clock, &id)) {
            gst_test_clock_set_time(
                clock, MAX(gst_clock_id_get_time(id), gst_clock_get_time(GST_CLOCK(clock))));
            gst_test_clock_process_next_clock_id(clock);
            gst_clock_id_unref(id);
        }
    }
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    GstClockTime pts = GST_BUFFER_PTS(buffer);
    g_assert_cmpuint(GST_BUFFER_OFFSET(buffer), ==, frame);
    gst_sample_unref(sample);
    return pts;
}

/* No frame is lost by a pause, and running time does not count it: the clock goes on by ten seconds
 * in each pause, the timestamps by none of that. */
static void test_pauses(void)
{
    GstElement *pipeline = gst_pipeline_new(NULL);
    GstElement *source = gst_element_factory_make("lightforcingsrc", NULL);
    GstElement *sink = gst_element_factory_make("appsink", NULL);
    GstClock *clock = gst_test_clock_new_with_start_time(START);
    guint64 frame = 0;
    GstClockTime last = 0;
    g_object_set(source, "model-location", tiny_model(), "prompt", "a ball", "is-live", TRUE, NULL);
    g_object_set(sink, "sync", FALSE, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, sink, NULL);
    g_assert_true(gst_element_link(source, sink));
    gst_pipeline_use_clock(GST_PIPELINE(pipeline), clock);
    for (int i = 0; i < 5; i++) {
        gst_element_set_state(pipeline, GST_STATE_PLAYING);
        for (int n = g_test_rand_int_range(3, 20); n > 0; n--)
            last = next_sample(GST_TEST_CLOCK(clock), sink, frame++);
        gst_element_set_state(pipeline, GST_STATE_PAUSED);
        gst_test_clock_advance_time(GST_TEST_CLOCK(clock), 10 * GST_SECOND);
    }
    g_test_message("%" G_GUINT64_FORMAT " frames, the last at %" GST_TIME_FORMAT, frame,
                   GST_TIME_ARGS(last));
    g_assert_cmpuint(last, <, frame * FRAME_DURATION + 10 * GST_SECOND);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
    gst_object_unref(clock);
}

/* The streaming thread may still be on its way out of a wait that a pause has ended when the pipeline
 * plays again. It must not stop then. */
static void test_quick_pauses(void)
{
    GstElement *pipeline = gst_pipeline_new(NULL);
    GstElement *source = gst_element_factory_make("lightforcingsrc", NULL);
    GstElement *sink = gst_element_factory_make("appsink", NULL);
    GstClock *clock = gst_test_clock_new_with_start_time(START);
    g_object_set(source, "model-location", tiny_model(), "prompt", "a ball", "is-live", TRUE, NULL);
    g_object_set(sink, "sync", FALSE, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, sink, NULL);
    g_assert_true(gst_element_link(source, sink));
    gst_pipeline_use_clock(GST_PIPELINE(pipeline), clock);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    for (guint64 frame = 0; frame < 30; frame++) {
        next_sample(GST_TEST_CLOCK(clock), sink, frame);
        for (int n = g_test_rand_int_range(0, 20); n > 0; n--) {
            gst_element_set_state(pipeline, GST_STATE_PAUSED);
            gst_element_set_state(pipeline, GST_STATE_PLAYING);
        }
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
    gst_object_unref(clock);
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/live/paced", test_paced);
    g_test_add_func("/live/latency", test_latency);
    g_test_add_func("/live/stop-while-waiting", test_stop_while_waiting);
    g_test_add_func("/live/prefetch", test_prefetch);
    g_test_add_func("/live/frame-wise", test_frame_wise);
    g_test_add_func("/live/frame-wise-restart", test_frame_wise_restart);
    g_test_add_func("/live/shift", test_shift);
    g_test_add_func("/live/shift-twice", test_shift_twice);
    g_test_add_func("/live/none", test_none);
    g_test_add_func("/live/half-a-frame", test_half_a_frame);
    g_test_add_func("/live/long-underrun", test_long_underrun);
    g_test_add_func("/live/warnings", test_warnings);
    g_test_add_func("/live/repeat-limit", test_repeat_limit);
    g_test_add_func("/live/load-time", test_load_time);
    g_test_add_func("/live/latencies", test_latencies);
    g_test_add_func("/live/repeat", test_repeat);
    g_test_add_func("/live/change-to-repeat", test_change_to_repeat);
    g_test_add_func("/live/second-stream", test_second_stream);
    g_test_add_func("/live/repeat-controlled", test_repeat_controlled);
    g_test_add_func("/live/repeat-long-delay", test_repeat_long_delay);
    g_test_add_func("/live/pauses", test_pauses);
    g_test_add_func("/live/quick-pauses", test_quick_pauses);
    return tests_run();
}
