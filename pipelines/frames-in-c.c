/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pulls RGB frames from an appsink and changes the prompt:
 *
 *     frames-in-c DIRECTORY PROMPT [PROMPT...]
 *
 * Pulls 32 frames for each prompt, prints the mean colour of every frame, and writes the last frame
 * of each prompt into the directory: prompt-1.ppm, prompt-2.ppm, …
 */
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>
#include <locale.h>
#include <stdio.h>

#define FRAMES_PER_PROMPT 32

static void print_mean(const GstVideoFrame *frame, guint64 index)
{
    guint64 sum[3] = {0};
    gint width = GST_VIDEO_FRAME_WIDTH(frame), height = GST_VIDEO_FRAME_HEIGHT(frame);
    for (gint y = 0; y < height; y++) {
        const guint8 *row = (const guint8 *) GST_VIDEO_FRAME_PLANE_DATA(frame, 0) +
                            y * GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0); /* rows may be padded */
        for (gint x = 0; x < 3 * width; x++)
            sum[x % 3] += row[x];
    }
    guint64 n = (guint64) width * (guint64) height;
    g_print("frame %" G_GUINT64_FORMAT ": red %3" G_GUINT64_FORMAT ", green %3" G_GUINT64_FORMAT
            ", blue %3" G_GUINT64_FORMAT "\n",
            index, sum[0] / n, sum[1] / n, sum[2] / n);
}

static gboolean write_ppm(const GstVideoFrame *frame, const char *directory, int number)
{
    char *name = g_strdup_printf("%s/prompt-%d.ppm", directory, number);
    FILE *file = fopen(name, "wb");
    gint width = GST_VIDEO_FRAME_WIDTH(frame), height = GST_VIDEO_FRAME_HEIGHT(frame);
    gboolean written = file && fprintf(file, "P6\n%d %d\n255\n", width, height) > 0;
    for (gint y = 0; written && y < height; y++)
        written = fwrite((const guint8 *) GST_VIDEO_FRAME_PLANE_DATA(frame, 0) +
                             y * GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0),
                         3, (size_t) width, file) == (size_t) width;
    if (file && fclose(file) != 0)
        written = FALSE;
    if (!written)
        g_printerr("cannot write %s\n", name);
    g_free(name);
    return written;
}

/* Pulls one frame. `last`: it is the last frame of prompt `number`. */
static gboolean pull_frame(GstAppSink *sink, const char *directory, int number, gboolean last)
{
    GstSample *sample = gst_app_sink_pull_sample(sink);
    if (!sample) /* EOS or error; see bus */
        return FALSE;
    GstVideoInfo info;
    GstVideoFrame frame;
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    gboolean done = gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) &&
                    gst_video_frame_map(&frame, &info, buffer, GST_MAP_READ);
    if (done) {
        print_mean(&frame, GST_BUFFER_OFFSET(buffer));
        done = !last || write_ppm(&frame, directory, number);
        gst_video_frame_unmap(&frame);
    }
    gst_sample_unref(sample);
    return done;
}

static gboolean pull_frames(GstElement *source, GstAppSink *sink, char **argv, int argc)
{
    for (int number = 1; number < argc - 1; number++) {
        g_object_set(source, "prompt", argv[number + 1], NULL); /* from the next chunk on */
        for (int i = 1; i <= FRAMES_PER_PROMPT; i++)
            if (!pull_frame(sink, argv[1], number, i == FRAMES_PER_PROMPT))
                return FALSE;
    }
    return TRUE;
}

static void print_error(GstElement *pipeline)
{
    GstBus *bus = gst_element_get_bus(pipeline);
    GstMessage *message = gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR);
    if (message) {
        GError *error = NULL;
        char *debug = NULL;
        gst_message_parse_error(message, &error, &debug);
        g_printerr("%s\n%s\n", error->message, debug);
        g_error_free(error);
        g_free(debug);
        gst_message_unref(message);
    }
    gst_object_unref(bus);
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    setlocale(LC_ALL, "");
    gst_init(&argc, &argv);
    if (argc < 3) {
        g_printerr("Usage: frames-in-c DIRECTORY PROMPT [PROMPT...]\n");
        return 1;
    }
    GstElement *pipeline =
        gst_parse_launch_full("lightforcingsrc name=source ! video/x-raw,format=RGB ! "
                              "appsink name=sink sync=false max-buffers=4",
                              NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
    if (!pipeline) {
        g_printerr("%s\n", error->message);
        g_error_free(error);
        return 1;
    }
    GstElement *source = gst_bin_get_by_name(GST_BIN(pipeline), "source");
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    g_object_set(source, "prompt", argv[2], NULL);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    gboolean done = pull_frames(source, GST_APP_SINK(sink), argv, argc);
    if (!done)
        print_error(pipeline);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(source);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
    return !done;
}
