/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Caps negotiation, and that every format has the same picture.
 */
#include "source.h"

#include <gst/base/gstbasesrc.h>
#include <gst/video/gstvideopool.h>
#include <stdlib.h>
#include <string.h>

/* ---- negotiation ----------------------------------------------------------------------------- */

static GstCaps *caps_of(Source *source)
{
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    GstCaps *caps = gst_pad_get_current_caps(pad);
    g_assert_nonnull(caps);
    gst_object_unref(pad);
    return caps;
}

static void assert_caps(Source *source, const char *wanted)
{
    GstCaps *caps = caps_of(source), *expected = gst_caps_from_string(wanted);
    char *text = gst_caps_to_string(caps);
    g_test_message("%s", text);
    g_assert_true(gst_caps_is_strictly_equal(caps, expected));
    g_free(text);
    gst_caps_unref(caps);
    gst_caps_unref(expected);
}

#define COMMON                                                                                     \
    "framerate=(fraction)16/1,pixel-aspect-ratio=(fraction)1/1,"                                   \
    "interlace-mode=(string)progressive"

static void test_default(void)
{
    Source *source = source_play(NULL, NULL);
    guint blocksize = 0;
    source_skip(source, 1);
    assert_caps(source, "video/x-raw,format=(string)I420,width=(int)64,height=(int)64," COMMON
                        ",colorimetry=(string)bt601,chroma-site=(string)mpeg2");
    g_object_get(source->element, "blocksize", &blocksize, NULL);
    g_assert_cmpuint(blocksize, ==, 64 * 64 * 3 / 2);
    source_free(source);
}

/* When nothing else is asked for, the size is the model's, width and height; when no model is named, it
 * is that of the environment. */
static void test_model_size(void)
{
    Source *source = source_play("video/x-raw,format=RGB", "model-location", NULL, NULL);
    source_skip(source, 1);
    assert_caps(source, "video/x-raw,format=(string)RGB,width=(int)256,height=(int)160," COMMON);
    source_free(source);
}

static void test_other_size(void)
{
    Source *source = source_play("video/x-raw,format=RGB,width=[90,100],height=32", NULL);
    GstBuffer *buffer = source_pull(source);
    assert_caps(source, "video/x-raw,format=(string)RGB,width=(int)96,height=(int)32," COMMON);
    g_assert_cmpuint(gst_buffer_get_size(buffer), ==, 96 * 32 * 3);
    g_assert_null(gst_buffer_get_video_meta(buffer)); /* nobody downstream knows it */
    gst_buffer_unref(buffer);
    source_free(source);
}

/* Holds a query for caps on the streaming thread. */
typedef struct {
    GThread *not_this;
    GstPad *until_flushing; /* or NULL: until `open` is set */
    gint reached, open;     /* atomic */
} Held;

static GstPadProbeReturn hold_caps(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    Held *held = data;
    if (GST_QUERY_TYPE(GST_PAD_PROBE_INFO_QUERY(info)) != GST_QUERY_CAPS ||
        g_thread_self() == held->not_this)
        return GST_PAD_PROBE_OK;
    g_atomic_int_set(&held->reached, TRUE);
    while (held->until_flushing ? !GST_PAD_IS_FLUSHING(held->until_flushing)
                                : !g_atomic_int_get(&held->open))
        g_usleep(1000);
    return GST_PAD_PROBE_OK;
}

static GstBusSyncReply open_when_loaded(GstBus *bus, GstMessage *message, gpointer data)
{
    Held *held = data;
    g_autofree char *text = NULL;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_PROGRESS)
        gst_message_parse_progress(message, NULL, NULL, &text);
    if (g_strcmp0(text, "Warming up") == 0)
        g_atomic_int_set(&held->reached, TRUE);
    return GST_BUS_PASS;
}

/* A model may be loaded before the size is known: nothing is generated until then. */
static void test_late_size(void)
{
    Held held = {.not_this = g_thread_self()}, loaded = {0};
    Source *source = source_new(NULL);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, open_when_loaded, &loaded, NULL);
    gst_harness_set_sink_caps_str(source->harness, "video/x-raw,format=RGB,width=96,height=32");
    gst_pad_add_probe(source->harness->sinkpad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, hold_caps,
                      &held, NULL);
    gst_harness_set_blocking_push_mode(source->harness);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    while (!g_atomic_int_get(&held.reached) || !g_atomic_int_get(&loaded.reached))
        g_usleep(1000);
    g_usleep(50 * 1000); /* for a generator that would go on */
    g_assert_cmpuint(source_stat(source, "chunks"), ==, 0);
    g_atomic_int_set(&held.open, TRUE);
    GstBuffer *buffer = source_pull(source);
    g_assert_cmpuint(gst_buffer_get_size(buffer), ==, 96 * 32 * 3);
    gst_buffer_unref(buffer);
    source_free(source);
}

/* A negotiation that the end of the stream interrupts is no failure that downstream could cure. */
static void test_interrupted(void)
{
    GstMessage *message;
    Source *source = source_new(NULL);
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    Held held = {.not_this = g_thread_self(), .until_flushing = pad};
    gst_pad_add_probe(source->harness->sinkpad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, hold_caps,
                      &held, NULL);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    while (!g_atomic_int_get(&held.reached))
        g_usleep(1000);
    gst_element_set_state(source->element, GST_STATE_NULL);
    while ((message = gst_bus_pop_filtered(source->bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR))) {
        source_check(message, GST_MESSAGE_WARNING, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_INIT, "");
    }
    gst_object_unref(pad);
    source_free(source);
}

static void assert_colorimetry(const char *wanted_caps, const char *colorimetry)
{
    Source *source = source_play(wanted_caps, NULL);
    source_skip(source, 1);
    GstCaps *caps = caps_of(source);
    g_assert_cmpstr(gst_structure_get_string(gst_caps_get_structure(caps, 0), "colorimetry"), ==,
                    colorimetry);
    gst_caps_unref(caps);
    source_free(source);
}

/* Standard definition, up to 576 lines, is BT.601. */
static void test_colorimetry(void)
{
    assert_colorimetry("video/x-raw,format=NV12,width=16,height=576", "bt601");
    assert_colorimetry("video/x-raw,format=NV12,width=16,height=592", "bt709");
}

/* In NULL the caps are the template's; in READY they have the model's frame rate. */
static void test_query(void)
{
    Source *source = source_new(NULL);
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    GstCaps *caps = gst_pad_query_caps(pad, NULL), *template = gst_pad_get_pad_template_caps(pad);
    g_assert_true(gst_caps_is_equal(caps, template));
    gst_caps_unref(caps);
    source_set_state(source, GST_STATE_READY);
    caps = gst_pad_query_caps(pad, NULL);
    g_assert_true(gst_caps_is_subset(caps, template));
    for (guint i = 0; i < gst_caps_get_size(caps); i++) {
        gint n, d;
        const GstStructure *structure = gst_caps_get_structure(caps, i);
        g_assert_true(gst_structure_get_fraction(structure, "framerate", &n, &d));
        g_assert_cmpint(n, ==, 16 * d);
    }
    gst_caps_unref(caps);
    gst_caps_unref(template);
    gst_object_unref(pad);
    source_free(source);
}

/* Of several formats the one that downstream names first is taken. */
static void test_filter(void)
{
    static const char *const orders[] = {"RGB, NV12, BGRx", "NV12, BGRx, RGB", "BGRx, RGB, NV12"};
    Source *source = source_new(NULL);
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    for (gsize i = 0; i < G_N_ELEMENTS(orders); i++) {
        g_auto(GStrv) formats = g_strsplit(orders[i], ", ", -1);
        g_autofree char *text =
            g_strdup_printf("video/x-raw,format=%s; video/x-raw,format=%s; video/x-raw,format=%s",
                            formats[0], formats[1], formats[2]);
        GstCaps *filter = gst_caps_from_string(text), *caps = gst_pad_query_caps(pad, filter);
        g_assert_cmpuint(gst_caps_get_size(caps), ==, 3);
        for (guint k = 0; k < 3; k++)
            g_assert_cmpstr(gst_structure_get_string(gst_caps_get_structure(caps, k), "format"), ==,
                            formats[k]);
        gst_caps_unref(filter);
        gst_caps_unref(caps);
    }
    gst_object_unref(pad);
    source_free(source);
}

static void refuse(const char *wanted)
{
    Source *source = source_new(NULL);
    gst_harness_set_sink_caps_str(source->harness, wanted);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    source_expect(source, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
                  "width and height must be multiples of 16, the frame rate must be 16/1.");
    source_expect(source, GST_MESSAGE_ERROR, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "Internal data stream error");
    source_free(source);
}

static void test_odd_caps(void)
{
    refuse("video/x-raw,width=850");
    refuse("video/x-raw,height=63");
    refuse("video/x-raw,framerate=30/1");
    refuse("video/x-raw,format=GRAY8");
    refuse("video/x-raw,pixel-aspect-ratio=2/1");
    refuse("video/x-raw,format=I420,colorimetry=bt2020");
    refuse("audio/x-raw");
}

/* The debug text has downstream's caps, and ours. */
static void test_odd_caps_debug(void)
{
    char *debug = NULL;
    Source *source = source_new(NULL);
    gst_harness_set_sink_caps_str(source->harness, "audio/x-raw");
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    GstMessage *message = source_message(source, GST_MESSAGE_WARNING);
    gst_message_parse_warning(message, NULL, &debug);
    g_assert_nonnull(strstr(debug, "downstream takes audio/x-raw; possible are video/x-raw, "));
    g_free(debug);
    gst_message_unref(message);
    source_free(source);
}

/* Downstream asks for another size in the middle of a stream. */
static void test_size_stays(void)
{
    Source *source = source_new(NULL);
    gst_harness_set_sink_caps_str(source->harness, "video/x-raw,format=RGB,width=80,height=48");
    gst_harness_set_drop_buffers(source->harness, TRUE);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    gst_message_unref(source_prompt_message(source));
    gst_harness_set_sink_caps_str(source->harness, "video/x-raw,format=RGB,width=96,height=48");
    gst_harness_push_upstream_event(source->harness, gst_event_new_reconfigure());
    source_expect(source, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT,
                  "the size stays 80x48 while the stream lasts, the frame rate must be 16/1.");
    source_expect(source, GST_MESSAGE_ERROR, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "Internal data stream error");
    source_free(source);
}

static void play_size(Source *source, int width, int height)
{
    g_autofree char *wanted =
        g_strdup_printf("video/x-raw,format=RGB,width=%d,height=%d", width, height);
    gst_harness_set_sink_caps_str(source->harness, wanted);
    source_set_state(source, GST_STATE_PLAYING);
    GstBuffer *buffer = source_pull(source);
    g_assert_cmpuint(gst_buffer_get_size(buffer), ==, (guint) (width * height * 3));
    gst_buffer_unref(buffer);
}

/* Each stream has its own size: from READY on another one is possible. NULL forgets the model. */
static void test_next_size(void)
{
    Source *source = source_new("num-buffers", 1, NULL);
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    source_set_state(source, GST_STATE_READY);
    GstCaps *ready = gst_pad_query_caps(pad, NULL), *template = gst_pad_get_pad_template_caps(pad);
    play_size(source, 80, 48);
    source_set_state(source, GST_STATE_READY);
    GstCaps *caps = gst_pad_query_caps(pad, NULL);
    g_assert_true(gst_caps_is_equal(caps, ready));
    gst_caps_unref(caps);
    play_size(source, 32, 96);
    source_set_state(source, GST_STATE_NULL);
    caps = gst_pad_query_caps(pad, NULL);
    g_assert_true(gst_caps_is_equal(caps, template));
    gst_caps_unref(caps);
    gst_caps_unref(ready);
    gst_caps_unref(template);
    gst_object_unref(pad);
    source_free(source);
}

/* The format may change between frames, the size may not. */
static void test_renegotiation(void)
{
    Source *source = source_play("video/x-raw,format=RGB,width=80,height=48", NULL);
    source_skip(source, 5);
    gst_harness_set_sink_caps_str(source->harness, "video/x-raw,format=NV12");
    gst_harness_push_upstream_event(source->harness, gst_event_new_reconfigure());
    GstBuffer *buffer = source_pull(source);
    guint64 last = 4;
    while (gst_buffer_get_size(buffer) == 80 * 48 * 3) {
        last = GST_BUFFER_OFFSET(buffer);
        g_assert_cmpuint(last, <, 20);
        gst_buffer_unref(buffer);
        buffer = source_pull(source);
    }
    g_assert_cmpuint(gst_buffer_get_size(buffer), ==, 80 * 48 * 3 / 2);
    g_assert_cmpuint(GST_BUFFER_OFFSET(buffer), ==, last + 1);
    gst_buffer_unref(buffer);
    assert_caps(source, "video/x-raw,format=(string)NV12,width=(int)80,height=(int)48," COMMON
                        ",colorimetry=(string)bt601,chroma-site=(string)mpeg2");
    source_free(source);
}

/* ---- pictures -------------------------------------------------------------------------------- */

#define WIDTH  64
#define HEIGHT 64

typedef struct {
    guint8 rgb[HEIGHT][WIDTH][3];
} Picture;

/* The picture of RGB pixels at (x, y), whatever order and width the format has. */
static void read_packed(const GstVideoFrame *frame, Picture *picture)
{
    gint step = GST_VIDEO_FRAME_COMP_PSTRIDE(frame, 0);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) {
                const guint8 *row = (const guint8 *) GST_VIDEO_FRAME_COMP_DATA(frame, c) +
                                    y * GST_VIDEO_FRAME_COMP_STRIDE(frame, c);
                picture->rgb[y][x][c] = row[x * step];
            }
}

static void assert_opaque(const GstVideoFrame *frame)
{
    if (!GST_VIDEO_FORMAT_INFO_HAS_ALPHA(frame->info.finfo))
        return;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            g_assert_cmpuint(((const guint8 *) GST_VIDEO_FRAME_COMP_DATA(
                                 frame, 3))[y * GST_VIDEO_FRAME_COMP_STRIDE(frame, 3) + 4 * x],
                             ==, 255);
}

/* A frame in the middle of the second chunk. */
static GstBuffer *some_frame(Source *source)
{
    source_skip(source, 13);
    return source_pull(source);
}

static void get_picture(const char *format, Picture *picture)
{
    char *caps = g_strdup_printf("video/x-raw,format=%s", format);
    Source *source = source_play(caps, NULL);
    GstBuffer *buffer = some_frame(source);
    GstVideoInfo info;
    GstVideoFrame frame;
    GstCaps *current = caps_of(source);
    g_assert_true(gst_video_info_from_caps(&info, current));
    g_assert_true(gst_video_frame_map(&frame, &info, buffer, GST_MAP_READ));
    read_packed(&frame, picture);
    assert_opaque(&frame);
    gst_video_frame_unmap(&frame);
    gst_caps_unref(current);
    gst_buffer_unref(buffer);
    source_free(source);
    g_free(caps);
}

static void test_packed(void)
{
    static const char *const formats[] = {"BGR", "RGBx", "BGRx", "RGBA", "BGRA"};
    Picture *rgb = g_new(Picture, 1), *other = g_new(Picture, 1);
    get_picture("RGB", rgb);
    for (guint i = 0; i < G_N_ELEMENTS(formats); i++) {
        memset(other, 0, sizeof *other);
        get_picture(formats[i], other);
        g_assert_cmpmem(rgb, sizeof *rgb, other, sizeof *other);
    }
    g_free(rgb);
    g_free(other);
}

/* Y'CbCr by the definition, from four pixels for the chroma. MPEG-2 siting puts the chroma sample
 * on the left column, so there is some freedom in how neighbours weigh; the bounds hold for all
 * sensible ways: between the extremes of the pixels that could count. */
typedef struct {
    double kr, kb;
} Matrix;

static double luma(const Matrix *m, const guint8 *p)
{
    return (m->kr * p[0] + (1 - m->kr - m->kb) * p[1] + m->kb * p[2]) / 255;
}

static double chroma(const Matrix *m, const guint8 *p, int c)
{
    double own = p[c == 1 ? 2 : 0] / 255.0;
    return 128 + 224 * (own - luma(m, p)) / (2 * (1 - (c == 1 ? m->kb : m->kr)));
}

static void assert_luma(const GstVideoFrame *frame, const Matrix *m, const Picture *rgb)
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const guint8 *row = (const guint8 *) GST_VIDEO_FRAME_COMP_DATA(frame, 0) +
                                y * GST_VIDEO_FRAME_COMP_STRIDE(frame, 0);
            double wanted = 16 + 219 * luma(m, rgb->rgb[y][x]);
            g_assert_cmpfloat(ABS(row[x] - wanted), <=, 1.5);
        }
}

static void assert_chroma(const GstVideoFrame *frame, const Matrix *m, const Picture *rgb, int c)
{
    gint step = GST_VIDEO_FRAME_COMP_PSTRIDE(frame, c);
    for (int y = 0; y < HEIGHT / 2; y++)
        for (int x = 0; x < WIDTH / 2; x++) {
            double low = 255, high = 0;
            for (int v = 2 * y; v <= 2 * y + 1; v++)
                for (int u = MAX(2 * x - 1, 0); u <= 2 * x + 1; u++) {
                    double value = chroma(m, rgb->rgb[v][u], c);
                    low = MIN(low, value);
                    high = MAX(high, value);
                }
            const guint8 *row = (const guint8 *) GST_VIDEO_FRAME_COMP_DATA(frame, c) +
                                y * GST_VIDEO_FRAME_COMP_STRIDE(frame, c);
            g_assert_cmpfloat(row[x * step], >=, low - 1.5);
            g_assert_cmpfloat(row[x * step], <=, high + 1.5);
        }
}

static void check_planar(const char *format, const char *colorimetry, const Matrix *m,
                         const Picture *rgb)
{
    char *caps = g_strdup_printf("video/x-raw,format=%s,colorimetry=%s", format, colorimetry);
    Source *source = source_play(caps, NULL);
    GstBuffer *buffer = some_frame(source);
    GstVideoInfo info;
    GstVideoFrame frame;
    GstCaps *current = caps_of(source);
    g_assert_true(gst_video_info_from_caps(&info, current));
    g_assert_true(gst_video_frame_map(&frame, &info, buffer, GST_MAP_READ));
    assert_luma(&frame, m, rgb);
    assert_chroma(&frame, m, rgb, 1);
    assert_chroma(&frame, m, rgb, 2);
    gst_video_frame_unmap(&frame);
    gst_caps_unref(current);
    gst_buffer_unref(buffer);
    source_free(source);
    g_free(caps);
}

static void test_planar(void)
{
    const Matrix bt601 = {0.299, 0.114}, bt709 = {0.2126, 0.0722};
    Picture *rgb = g_new(Picture, 1);
    get_picture("RGB", rgb);
    check_planar("I420", "bt601", &bt601, rgb);
    check_planar("I420", "bt709", &bt709, rgb);
    check_planar("NV12", "bt601", &bt601, rgb);
    check_planar("NV12", "bt709", &bt709, rgb);
    g_free(rgb);
}

/* ---- downstream's memory --------------------------------------------------------------------- */

#define PADDING 24

static GstBufferPool *padded_pool(GstCaps *caps)
{
    GstVideoAlignment alignment;
    gst_video_alignment_reset(&alignment);
    alignment.padding_left = alignment.padding_right = PADDING;
    alignment.padding_top = alignment.padding_bottom = 2;
    GstVideoInfo info;
    gst_video_info_from_caps(&info, caps);
    gst_video_info_align(&info, &alignment);
    GstBufferPool *pool = gst_video_buffer_pool_new();
    GstStructure *config = gst_buffer_pool_get_config(pool);
    gst_buffer_pool_config_set_params(config, caps, (guint) info.size, 2, 0);
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
    gst_buffer_pool_config_set_video_alignment(config, &alignment);
    g_assert_true(gst_buffer_pool_set_config(pool, config));
    return pool;
}

/* Answers the allocation query as a sink with such a pool would. */
static GstPadProbeReturn offer_pool(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    GstQuery *query = GST_PAD_PROBE_INFO_QUERY(info);
    if (GST_QUERY_TYPE(query) != GST_QUERY_ALLOCATION)
        return GST_PAD_PROBE_OK;
    GstCaps *caps;
    gst_query_parse_allocation(query, &caps, NULL);
    GstBufferPool *pool = padded_pool(caps);
    GstStructure *config = gst_buffer_pool_get_config(pool);
    guint size;
    gst_buffer_pool_config_get_params(config, NULL, &size, NULL, NULL);
    gst_structure_free(config);
    gst_query_add_allocation_pool(query, pool, size, 2, 0);
    gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL);
    gst_object_unref(pool);
    return GST_PAD_PROBE_HANDLED;
}

static GstBuffer *padded_frame(Source *source)
{
    gst_pad_add_probe(source->harness->sinkpad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, offer_pool,
                      NULL, NULL);
    gst_harness_set_sink_caps_str(source->harness, "video/x-raw,format=RGB");
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PLAYING);
    return some_frame(source);
}

static void test_padding(void)
{
    Picture *rgb = g_new(Picture, 1), *padded = g_new(Picture, 1);
    get_picture("RGB", rgb);
    Source *source = source_new(NULL);
    GstBuffer *buffer = padded_frame(source);
    GstVideoMeta *meta = gst_buffer_get_video_meta(buffer);
    g_assert_nonnull(meta);
    g_assert_cmpint(meta->stride[0], >=, 3 * (WIDTH + 2 * PADDING));
    g_assert_cmpuint(meta->offset[0], >, 0);

    GstVideoInfo info;
    GstVideoFrame frame;
    GstCaps *caps = caps_of(source);
    g_assert_true(gst_video_info_from_caps(&info, caps));
    g_assert_true(gst_video_frame_map(&frame, &info, buffer, GST_MAP_READ));
    read_packed(&frame, padded);
    gst_video_frame_unmap(&frame);
    g_assert_cmpmem(rgb, sizeof *rgb, padded, sizeof *padded);
    gst_caps_unref(caps);
    gst_buffer_unref(buffer);
    source_free(source);
    g_free(rgb);
    g_free(padded);
}

/* What downstream says of its memory: a pool of buffers that are too small, or a number of buffers
 * without a pool, and that it takes strides. */
typedef struct {
    GstBufferPool *pool;
    gboolean strides;
} Offer;

static GstPadProbeReturn make_offer(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    const Offer *offer = data;
    GstQuery *query = GST_PAD_PROBE_INFO_QUERY(info);
    if (GST_QUERY_TYPE(query) != GST_QUERY_ALLOCATION)
        return GST_PAD_PROBE_OK;
    gst_query_add_allocation_pool(query, offer->pool, 16, 3, 0);
    if (offer->strides)
        gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL);
    return GST_PAD_PROBE_HANDLED;
}

/* Buffers have room for a frame in any case, the pool is downstream's if there is one, and its least
 * number of buffers counts. Strides are described to who understands that, and to nobody else. */
static void test_offers(void)
{
    for (int i = 0; i < 3; i++) {
        Offer offer = {.pool = i == 0 ? gst_buffer_pool_new() : NULL, .strides = i == 2};
        guint size = 0, min = 0;
        Source *source = source_new(NULL);
        gst_pad_add_probe(source->harness->sinkpad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, make_offer,
                          &offer, NULL);
        gst_harness_set_sink_caps_str(source->harness, "video/x-raw,format=RGB");
        gst_harness_set_blocking_push_mode(source->harness);
        source_set_state(source, GST_STATE_PLAYING);
        GstBuffer *buffer = source_pull(source);
        g_assert_cmpuint(gst_buffer_get_size(buffer), ==, WIDTH * HEIGHT * 3);
        g_assert_cmpint(gst_buffer_get_video_meta(buffer) != NULL, ==, offer.strides);
        gst_buffer_unref(buffer);

        GstBufferPool *pool = gst_base_src_get_buffer_pool(GST_BASE_SRC(source->element));
        GstStructure *config = gst_buffer_pool_get_config(pool);
        gst_buffer_pool_config_get_params(config, NULL, &size, &min, NULL);
        g_assert_true(i > 0 || pool == offer.pool);
        g_assert_cmpuint(size, >=, WIDTH * HEIGHT * 3);
        g_assert_cmpuint(min, ==, 3);
        gst_structure_free(config);
        gst_object_unref(pool);
        source_free(source);
        gst_clear_object(&offer.pool);
    }
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/caps/default", test_default);
    g_test_add_func("/caps/model-size", test_model_size);
    g_test_add_func("/caps/late-size", test_late_size);
    g_test_add_func("/caps/interrupted", test_interrupted);
    g_test_add_func("/caps/other-size", test_other_size);
    g_test_add_func("/caps/colorimetry", test_colorimetry);
    g_test_add_func("/caps/query", test_query);
    g_test_add_func("/caps/filter", test_filter);
    g_test_add_func("/caps/odd", test_odd_caps);
    g_test_add_func("/caps/odd-debug", test_odd_caps_debug);
    g_test_add_func("/caps/size-stays", test_size_stays);
    g_test_add_func("/caps/next-size", test_next_size);
    g_test_add_func("/caps/renegotiation", test_renegotiation);
    g_test_add_func("/caps/packed", test_packed);
    g_test_add_func("/caps/planar", test_planar);
    g_test_add_func("/caps/padding", test_padding);
    g_test_add_func("/caps/offers", test_offers);
    return tests_run();
}
