/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The pacer on a test clock: when frames are due, how late they are, and waits; and the caps and
 * pictures, without an element.
 */
#include "gst/caps.h"
#include "gst/pacer.h"

#include <gst/check/gsttestclock.h>

#define BASE (7 * GST_SECOND) /* of the element, on the clock */

static const struct {
    gint n, d;
} rates[] = {{16, 1}, {30000, 1001}, {24, 1}, {7, 3}, {240, 1}, {1, 1}};

static GstElement *element_new(GstClock **clock)
{
    GstElement *element = gst_object_ref_sink(gst_element_factory_make("fakesrc", NULL));
    *clock = gst_test_clock_new_with_start_time(BASE);
    gst_element_set_clock(element, *clock);
    gst_element_set_base_time(element, BASE);
    return element;
}

static void element_free(GstElement *element, GstClock *clock)
{
    gst_element_set_state(element, GST_STATE_NULL);
    gst_object_unref(element);
    gst_object_unref(clock);
}

/* Also after many hours, times are those of the frame's number; durations fill the gaps between
 * them. */
static void test_times(void)
{
    static const guint64 starts[] = {0, 1, 100, G_GUINT64_CONSTANT(100000000000)};
    GstLightForcingPacer pacer = {0};
    gst_light_forcing_pacer_init(&pacer);
    g_assert_cmpint(pacer.fps_n, ==, 16);
    g_assert_cmpint(pacer.fps_d, ==, 1);
    g_assert_cmpuint(gst_light_forcing_pacer_due(&pacer), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS(rates); i++)
        for (guint s = 0; s < G_N_ELEMENTS(starts); s++) {
            const guint64 d = (guint64) rates[i].d * GST_SECOND, n = (guint64) rates[i].n;
            gst_light_forcing_pacer_reset(&pacer, rates[i].n, rates[i].d, 55);
            g_assert_cmpuint(pacer.n_frames, ==, 0);
            pacer.n_frames = starts[s];
            for (guint64 frame = starts[s]; frame < starts[s] + 50; frame++) {
                GstClockTime begin = gst_util_uint64_scale(frame, d, n);
                GstClockTime end = gst_util_uint64_scale(frame + 1, d, n);
                g_assert_cmpuint(gst_light_forcing_pacer_time_of(&pacer, frame), ==, begin);
                g_assert_cmpuint(gst_light_forcing_pacer_due(&pacer), ==, 55 + begin);
                g_assert_cmpuint(gst_light_forcing_pacer_duration(&pacer), ==, end - begin);
                gst_light_forcing_pacer_advance(&pacer);
            }
        }
    gst_light_forcing_pacer_clear(&pacer);
}

/* A live stream begins at the running time of its first frame; later frames are late by what the
 * clock has gone beyond their time, less what the stream was shifted by. */
static void test_lateness(void)
{
    GstClock *clock;
    GstElement *element = element_new(&clock);
    GstLightForcingPacer pacer = {0};
    gst_light_forcing_pacer_init(&pacer);
    gst_light_forcing_pacer_reset(&pacer, 10, 1, GST_CLOCK_TIME_NONE);
    g_assert_cmpuint(gst_light_forcing_pacer_due(&pacer), ==, 0);
    gst_test_clock_set_time(GST_TEST_CLOCK(clock), BASE + 300);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 0);
    g_assert_cmpuint(gst_light_forcing_pacer_due(&pacer), ==, 300);
    gst_test_clock_set_time(GST_TEST_CLOCK(clock), BASE + 301);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 1);
    g_assert_cmpuint(gst_light_forcing_pacer_due(&pacer), ==, 300);
    gst_light_forcing_pacer_advance(&pacer);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 0);
    gst_test_clock_set_time(GST_TEST_CLOCK(clock), BASE + 100 * GST_MSECOND + 340);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 40);
    gst_light_forcing_pacer_shift(&pacer, 30);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 10);
    gst_light_forcing_pacer_shift(&pacer, 10);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 0);
    g_assert_cmpuint(gst_light_forcing_pacer_due(&pacer), ==, 100 * GST_MSECOND + 340);
    /* A reset forgets all of that. */
    gst_light_forcing_pacer_reset(&pacer, 10, 1, GST_CLOCK_TIME_NONE);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 0);
    g_assert_cmpuint(gst_light_forcing_pacer_due(&pacer), ==, 100 * GST_MSECOND + 340);
    /* Without a clock nothing is late, and the stream has not begun. */
    gst_element_set_clock(element, NULL);
    gst_light_forcing_pacer_reset(&pacer, 10, 1, GST_CLOCK_TIME_NONE);
    g_assert_cmpuint(gst_light_forcing_pacer_lateness(&pacer, element), ==, 0);
    g_assert_false(GST_CLOCK_TIME_IS_VALID(pacer.origin));
    g_assert_true(gst_light_forcing_pacer_wait(&pacer, element));
    gst_light_forcing_pacer_clear(&pacer);
    element_free(element, clock);
}

typedef struct {
    GstLightForcingPacer pacer;
    GstElement *element;
    gint n_done; /* atomic */
    gboolean result;
} Wait;

static gpointer wait_in_thread(gpointer data)
{
    Wait *wait = data;
    wait->result = gst_light_forcing_pacer_wait(&wait->pacer, wait->element);
    g_atomic_int_inc(&wait->n_done);
    return NULL;
}

/* A wait is for the frame's time on the clock, and ends then or when it is interrupted. While
 * flushing there is none. */
static void test_waits(void)
{
    GstClock *clock;
    GstClockID id = NULL;
    Wait wait = {.element = element_new(&clock)};
    GstTestClock *test_clock = GST_TEST_CLOCK(clock);
    gst_light_forcing_pacer_init(&wait.pacer);
    gst_light_forcing_pacer_reset(&wait.pacer, 10, 1, 300);
    for (int interrupted = 0; interrupted <= 1; interrupted++) {
        gst_light_forcing_pacer_advance(&wait.pacer);
        GstClockTime due = BASE + (guint) (interrupted + 1) * 100 * GST_MSECOND + 300;
        GThread *thread = g_thread_new("wait", wait_in_thread, &wait);
        gst_test_clock_wait_for_next_pending_id(test_clock, &id);
        g_assert_cmpuint(gst_clock_id_get_time(id), ==, due);
        gst_clock_id_unref(id);
        g_assert_cmpint(g_atomic_int_get(&wait.n_done), ==, interrupted);
        if (interrupted) {
            gst_light_forcing_pacer_set_flushing(&wait.pacer, TRUE);
        } else {
            gst_test_clock_set_time(test_clock, due);
            gst_clock_id_unref(gst_test_clock_process_next_clock_id(test_clock));
        }
        g_thread_join(thread);
        g_assert_cmpint(wait.result, ==, !interrupted);
        g_assert_null(wait.pacer.wait);
    }
    g_assert_false(gst_light_forcing_pacer_wait(&wait.pacer, wait.element)); /* at once */
    gst_light_forcing_pacer_set_flushing(&wait.pacer, FALSE);
    gst_test_clock_set_time(test_clock, BASE + GST_SECOND); /* due long ago: at once, too */
    GThread *thread = g_thread_new("wait", wait_in_thread, &wait);
    while (g_atomic_int_get(&wait.n_done) < 3) { /* a wait that is over may be one still */
        if ((id = gst_test_clock_process_next_clock_id(test_clock)))
            gst_clock_id_unref(id);
        g_thread_yield();
    }
    g_thread_join(thread);
    g_assert_true(wait.result);
    gst_light_forcing_pacer_clear(&wait.pacer);
    g_assert_cmpint(GST_OBJECT_REFCOUNT_VALUE(clock), ==, 2); /* ours and the element's */
    element_free(wait.element, clock);
}

/* ---- caps ------------------------------------------------------------------------------------ */

static void assert_caps(GstCaps *caps, const char *wanted)
{
    g_autofree char *text = gst_caps_to_string(caps);
    GstCaps *expected = gst_caps_from_string(wanted);
    if (!gst_caps_is_strictly_equal(caps, expected))
        g_assert_cmpstr(text, ==, wanted);
    gst_caps_unref(caps);
    gst_caps_unref(expected);
}

/* Only what is known is set, in every structure, and the template stays as it was. */
static void test_restrict(void)
{
    static const char *const text =
        "video/x-raw,format=I420,width=[1,99],height=[1,99],framerate=[1/1,240/1];"
        "video/x-raw,format=RGB,width=[1,99],height=[1,99],framerate=[1/1,240/1]";
    GstCaps *template = gst_caps_from_string(text), *copy = gst_caps_copy(template);
    assert_caps(gst_light_forcing_caps_restrict(template, &(GstLightForcingVideo){0}), text);
    assert_caps(gst_light_forcing_caps_restrict(
                    template, &(GstLightForcingVideo){.fps_n = 30000, .fps_d = 1001}),
                "video/x-raw,format=I420,width=[1,99],height=[1,99],framerate=30000/1001;"
                "video/x-raw,format=RGB,width=[1,99],height=[1,99],framerate=30000/1001");
    assert_caps(gst_light_forcing_caps_restrict(template,
                                                &(GstLightForcingVideo){.width = 48, .height = 32}),
                "video/x-raw,format=I420,width=48,height=32,framerate=[1/1,240/1];"
                "video/x-raw,format=RGB,width=48,height=32,framerate=[1/1,240/1]");
    g_assert_true(gst_caps_is_strictly_equal(template, copy));
    gst_caps_unref(template);
    gst_caps_unref(copy);
}

static void test_fixate(void)
{
    static const struct {
        const char *caps, *fixed;
    } cases[] = {
        {"video/x-raw,width=[16,4096,16],height=[16,4096,16],framerate=[1/1,240/1]",
         "video/x-raw,width=832,height=480,framerate=16/1"},
        {"video/x-raw,width=[16,512,16],height=[512,4096,16],framerate=[20/1,30/1];audio/x-raw",
         "video/x-raw,width=512,height=512,framerate=20/1"},
        {"video/x-raw,width=64,height=[16,576,16],framerate=16/1,colorimetry={bt601,bt709}",
         "video/x-raw,width=64,height=480,framerate=16/1,colorimetry=bt601"},
        {"video/x-raw,width=64,height=576,framerate=16/1,colorimetry={bt709,bt601}",
         "video/x-raw,width=64,height=576,framerate=16/1,colorimetry=bt601"},
        {"video/x-raw,width=64,height=577,framerate=16/1,colorimetry={bt601,bt709}",
         "video/x-raw,width=64,height=577,framerate=16/1,colorimetry=bt709"},
        {"video/x-raw,width=64,height=577,framerate=16/1,colorimetry=bt601",
         "video/x-raw,width=64,height=577,framerate=16/1,colorimetry=bt601"},
    };
    const GstLightForcingVideo video = {832, 480, 16, 1};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_caps(gst_light_forcing_caps_fixate(gst_caps_from_string(cases[i].caps), &video),
                    cases[i].fixed);
}

/* Every format and both matrices: planes and strides are the mapped frame's. */
static void test_pictures(void)
{
    static const struct {
        GstVideoFormat format;
        LfPixelFormat pixels;
    } formats[] = {{GST_VIDEO_FORMAT_I420, LF_PIXELS_I420}, {GST_VIDEO_FORMAT_NV12, LF_PIXELS_NV12},
                   {GST_VIDEO_FORMAT_RGBA, LF_PIXELS_RGBX}, {GST_VIDEO_FORMAT_RGBx, LF_PIXELS_RGBX},
                   {GST_VIDEO_FORMAT_BGRA, LF_PIXELS_BGRX}, {GST_VIDEO_FORMAT_BGRx, LF_PIXELS_BGRX},
                   {GST_VIDEO_FORMAT_BGR, LF_PIXELS_BGR},   {GST_VIDEO_FORMAT_RGB, LF_PIXELS_RGB}};
    for (guint i = 0; i < 2 * G_N_ELEMENTS(formats); i++) {
        GstVideoInfo info;
        GstVideoFrame frame;
        LfPicture picture;
        gboolean bt709 = i >= G_N_ELEMENTS(formats);
        gst_video_info_set_format(&info, formats[i % G_N_ELEMENTS(formats)].format, 48, 32);
        gst_video_colorimetry_from_string(&info.colorimetry, bt709 ? "bt709" : "bt601");
        GstBuffer *buffer = gst_buffer_new_allocate(NULL, info.size, NULL);
        g_assert_true(gst_video_frame_map(&frame, &info, buffer, GST_MAP_WRITE));
        gst_light_forcing_picture_from_frame(&picture, &frame);
        g_assert_cmpint((gint) picture.format, ==, formats[i % G_N_ELEMENTS(formats)].pixels);
        g_assert_cmpint((gint) picture.matrix, ==, bt709 ? LF_MATRIX_BT709 : LF_MATRIX_BT601);
        g_assert_cmpint((gint) picture.memory, ==, LF_MEMORY_HOST);
        g_assert_cmpint(picture.width, ==, 48);
        g_assert_cmpint(picture.height, ==, 32);
        for (guint p = 0; p < 3; p++) {
            gboolean present = p < GST_VIDEO_INFO_N_PLANES(&info);
            g_assert_true(picture.planes[p] ==
                          (present ? GST_VIDEO_FRAME_PLANE_DATA(&frame, p) : NULL));
            g_assert_cmpint(picture.strides[p], ==,
                            present ? GST_VIDEO_FRAME_PLANE_STRIDE(&frame, p) : 0);
        }
        gst_video_frame_unmap(&frame);
        gst_buffer_unref(buffer);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    gst_init(&argc, &argv);
    g_test_add_func("/pacer/times", test_times);
    g_test_add_func("/pacer/lateness", test_lateness);
    g_test_add_func("/pacer/waits", test_waits);
    g_test_add_func("/caps/restrict", test_restrict);
    g_test_add_func("/caps/fixate", test_fixate);
    g_test_add_func("/caps/pictures", test_pictures);
    return g_test_run();
}
