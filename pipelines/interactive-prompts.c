/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Plays a prompt. Every line that is typed while it plays is the next prompt:
 *
 *     interactive-prompts "a red ball bouncing on a green meadow"
 *     interactive-prompts --output "x264enc ! mp4mux ! filesink location=out.mp4" "a blue star"
 *
 * `/restart` starts a new scene, `/quit` or the end of the input ends the video.
 */
#include <gst/gst.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    GstElement *pipeline, *source;
    GMainLoop *loop;
    gboolean failed;
} App;

/* EOS lets the muxer complete its file. */
static void end_video(App *app)
{
    gst_element_send_event(app->pipeline, gst_event_new_eos());
}

static void handle_line(App *app, const char *line)
{
    if (strcmp(line, "/quit") == 0)
        end_video(app);
    else if (strcmp(line, "/restart") == 0)
        g_signal_emit_by_name(app->source, "restart", (gint64) -1);
    else if (*line)
        g_object_set(app->source, "prompt", line, NULL);
}

static gboolean read_line(GIOChannel *input, GIOCondition condition, gpointer data)
{
    App *app = data;
    char *line = NULL;
    GIOStatus status = g_io_channel_read_line(input, &line, NULL, NULL, NULL);
    if (status == G_IO_STATUS_NORMAL)
        handle_line(app, g_strstrip(line));
    else if (status != G_IO_STATUS_AGAIN)
        end_video(app);
    g_free(line);
    return status == G_IO_STATUS_NORMAL || status == G_IO_STATUS_AGAIN;
}

/* An error ends the program, a warning does not. */
static void print_error(App *app, GstMessage *message)
{
    GError *error = NULL;
    char *debug = NULL;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        gst_message_parse_error(message, &error, &debug);
        app->failed = TRUE;
        g_main_loop_quit(app->loop);
    } else {
        gst_message_parse_warning(message, &error, &debug);
    }
    g_printerr("%s\n%s\n", error->message, debug ? debug : "");
    g_error_free(error);
    g_free(debug);
}

/* Prints how far the model is loaded, and starts playback when the first frames are ready: a
 * broadcast that started earlier would have no picture. */
static void print_progress(App *app, GstMessage *message)
{
    GstProgressType type;
    char *text = NULL;
    gst_message_parse_progress(message, &type, NULL, &text);
    g_print("%s\n", text);
    if (type == GST_PROGRESS_TYPE_COMPLETE)
        gst_element_set_state(app->pipeline, GST_STATE_PLAYING);
    g_free(text);
}

static void print_prompt(GstMessage *message)
{
    const GstStructure *s = gst_message_get_structure(message);
    guint64 running_time = 0, latency = 0;
    if (!gst_structure_has_name(s, "lightforcing-prompt"))
        return;
    gst_structure_get(s, "running-time", G_TYPE_UINT64, &running_time, "latency", G_TYPE_UINT64,
                      &latency, NULL);
    g_print("%.2f s: \"%s\", %.2f s after it was set\n", (double) running_time / GST_SECOND,
            gst_structure_get_string(s, "prompt"), (double) latency / GST_SECOND);
}

static gboolean on_bus_message(GstBus *bus, GstMessage *message, gpointer data)
{
    App *app = data;
    switch (GST_MESSAGE_TYPE(message)) {
    case GST_MESSAGE_ERROR:
    case GST_MESSAGE_WARNING:
        print_error(app, message);
        break;
    case GST_MESSAGE_PROGRESS:
        print_progress(app, message);
        break;
    case GST_MESSAGE_ELEMENT:
        print_prompt(message);
        break;
    case GST_MESSAGE_EOS:
        g_main_loop_quit(app->loop);
        break;
    default:
        break;
    }
    return G_SOURCE_CONTINUE;
}

static gboolean build(App *app, const char *options, const char *output, const char *prompt)
{
    GError *error = NULL;
    char *launch = g_strdup_printf("lightforcingsrc name=source is-live=true %s ! queue ! %s",
                                   options, output);
    app->pipeline = gst_parse_launch_full(launch, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
    g_free(launch);
    if (error) {
        g_printerr("%s\n", error->message);
        g_error_free(error);
        return FALSE;
    }
    app->source = gst_bin_get_by_name(GST_BIN(app->pipeline), "source");
    /* Set as a property, not in the launch string, to avoid quoting problems. */
    g_object_set(app->source, "prompt", prompt, NULL);
    return TRUE;
}

static void print_stats(App *app)
{
    GstStructure *stats = NULL;
    guint64 frames = 0, underruns = 0;
    double rate = 0;
    g_object_get(app->source, "stats", &stats, NULL);
    gst_structure_get(stats, "frames", G_TYPE_UINT64, &frames, "fps-potential", G_TYPE_DOUBLE,
                      &rate, "underruns", G_TYPE_UINT64, &underruns, NULL);
    g_print("%" G_GUINT64_FORMAT " frames, %" G_GUINT64_FORMAT
            " underruns; %s generates up to %.0f frames a second\n",
            frames, underruns, gst_structure_get_string(stats, "device-name"), rate);
    gst_structure_free(stats);
}

static void play(App *app)
{
    app->loop = g_main_loop_new(NULL, FALSE);
    GstBus *bus = gst_element_get_bus(app->pipeline);
    GIOChannel *input = g_io_channel_unix_new(fileno(stdin));
    guint bus_watch = gst_bus_add_watch(bus, on_bus_message, app);
    guint input_watch = g_io_add_watch(input, G_IO_IN | G_IO_HUP | G_IO_ERR, read_line, app);
    gst_element_set_state(app->pipeline, GST_STATE_PAUSED);
    g_main_loop_run(app->loop);
    print_stats(app);
    gst_element_set_state(app->pipeline, GST_STATE_NULL);
    if (g_main_context_find_source_by_id(NULL, input_watch))
        g_source_remove(input_watch);
    g_source_remove(bus_watch);
    g_io_channel_unref(input);
    gst_object_unref(bus);
    g_main_loop_unref(app->loop);
}

int main(int argc, char **argv)
{
    App app = {0};
    char *output = NULL, *options = NULL;
    GError *error = NULL;
    setlocale(LC_ALL, "");
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_STRING, &output,
         "What receives the video (default: videoconvert ! autovideosink)", "PIPELINE"},
        {"source", 's', 0, G_OPTION_ARG_STRING, &options,
         "Properties of lightforcingsrc, such as \"seed=7 prompt-transition=cut\"", "PROPERTIES"},
        {NULL, 0, 0, 0, NULL, NULL, NULL}};
    GOptionContext *context =
        g_option_context_new("PROMPT - play a prompt; type further prompts to change it");
    g_option_context_set_description(context, "While the video plays, each line of the standard "
                                              "input is one of:\n"
                                              "  TEXT      the next prompt\n"
                                              "  /restart  start a new scene with the same prompt\n"
                                              "  /quit     end the video; so does Ctrl-D\n");
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_group(context, gst_init_get_option_group());
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc != 2) {
        g_printerr("%s\n", error ? error->message
                                 : "Usage: interactive-prompts [OPTION…] PROMPT (see --help)");
        g_clear_error(&error);
        app.failed = TRUE;
    } else if (build(&app, options ? options : "", output ? output : "videoconvert ! autovideosink",
                     argv[1])) {
        play(&app);
    } else {
        app.failed = TRUE;
    }
    g_option_context_free(context);
    g_clear_object(&app.source);
    g_clear_object(&app.pipeline);
    g_free(output);
    g_free(options);
    return app.failed;
}
