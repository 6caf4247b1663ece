/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "source.h"

#include "tests/common/tiny_model.h"

#include <stdarg.h>
#include <string.h>

#define TIMEOUT (60 * GST_SECOND) /* machines may be busy */

static char *tiny;

void tests_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    gst_init(argc, argv);
    tiny = lf_tiny_model_make(NULL, NULL);
}

/* A loaded model has its files mapped. */
static gboolean is_model_alive(void)
{
    char *maps = NULL;
    g_assert_true(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    gboolean alive = strstr(maps, ".safetensors") != NULL;
    g_free(maps);
    return alive;
}

int tests_run(void)
{
    int result = g_test_run();
    if (result == 0 && is_model_alive()) {
        g_printerr("a model is still in memory: a chunk, a session or a claim was leaked\n");
        result = 1;
    }
    lf_tiny_model_remove(tiny);
    gst_deinit(); /* the leaks tracer reports here */
    return result;
}

const char *tiny_model(void)
{
    return tiny;
}

const char *demo_model(void)
{
    return g_getenv("LIGHTFORCING_MODEL");
}

static void watch_chunk(Source *source, const GstStructure *structure)
{
    guint64 chunk = 0;
    guint level = 0;
    g_assert_true(gst_structure_get(structure, "chunk", G_TYPE_UINT64, &chunk, "queue-level",
                                    G_TYPE_UINT, &level, NULL));
    g_mutex_lock(&source->lock);
    source->max_level = MAX(source->max_level, level);
    while (chunk >= source->held_chunk) {
        source->held = TRUE;
        g_cond_broadcast(&source->changed);
        g_cond_wait(&source->changed, &source->lock);
    }
    source->held = FALSE;
    g_mutex_unlock(&source->lock);
}

/* Runs in the thread that posts, which is the worker for messages of chunks. */
static GstBusSyncReply watch(GstBus *bus, GstMessage *message, gpointer source)
{
    if (gst_message_has_name(message, "lightforcing-chunk"))
        watch_chunk(source, gst_message_get_structure(message));
    return GST_BUS_PASS;
}

static Source *source_new_valist(const char *first_property, va_list properties)
{
    Source *source = g_new0(Source, 1);
    source->element = gst_element_factory_make("lightforcingsrc", NULL);
    g_assert_nonnull(source->element);
    gst_object_ref_sink(source->element);
    g_object_set(source->element, "model-location", tiny, "prompt", "a red ball", "seed",
                 (gint64) 1, NULL);
    g_object_set_valist(G_OBJECT(source->element), first_property, properties);
    g_mutex_init(&source->lock);
    g_cond_init(&source->changed);
    source->held_chunk = G_MAXUINT64;
    source->bus = gst_bus_new();
    gst_bus_set_sync_handler(source->bus, watch, source, NULL);
    gst_element_set_bus(source->element, source->bus);
    source->harness = gst_harness_new_with_element(source->element, NULL, "src");
    return source;
}

Source *source_new(const char *first_property, ...)
{
    va_list properties;
    va_start(properties, first_property);
    Source *source = source_new_valist(first_property, properties);
    va_end(properties);
    return source;
}

Source *source_play(const char *caps, const char *first_property, ...)
{
    va_list properties;
    va_start(properties, first_property);
    Source *source = source_new_valist(first_property, properties);
    va_end(properties);
    if (caps)
        gst_harness_set_sink_caps_str(source->harness, caps);
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PLAYING);
    return source;
}

void source_free(Source *source)
{
    source_release(source);
    gst_harness_teardown(source->harness); /* to NULL; before that it lets blocked pushes go */
    gst_element_set_bus(source->element, NULL);
    gst_object_unref(source->element);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_object_unref(source->bus);
    g_mutex_clear(&source->lock);
    g_cond_clear(&source->changed);
    g_free(source);
}

void source_hold(Source *source, guint64 chunk)
{
    guint messages;
    g_object_get(source->element, "messages", &messages, NULL);
    g_object_set(source->element, "messages", messages | 2 /* chunk */, NULL);
    g_mutex_lock(&source->lock);
    source->held_chunk = chunk;
    source->held = FALSE;
    g_cond_broadcast(&source->changed);
    g_mutex_unlock(&source->lock);
}

void source_release(Source *source)
{
    g_mutex_lock(&source->lock);
    source->held_chunk = G_MAXUINT64;
    g_cond_broadcast(&source->changed);
    g_mutex_unlock(&source->lock);
}

void source_wait_held(Source *source)
{
    g_mutex_lock(&source->lock);
    while (!source->held)
        g_cond_wait(&source->changed, &source->lock);
    g_mutex_unlock(&source->lock);
}

guint64 source_stat(Source *source, const char *field)
{
    GstStructure *stats = NULL;
    guint64 value = G_MAXUINT64;
    g_object_get(source->element, "stats", &stats, NULL);
    g_assert_true(gst_structure_get_uint64(stats, field, &value));
    gst_structure_free(stats);
    return value;
}

void source_set_state(Source *source, GstState state)
{
    GstStateChangeReturn result = gst_element_set_state(source->element, state);
    g_assert_cmpint(result, !=, GST_STATE_CHANGE_FAILURE);
    result = gst_element_get_state(source->element, NULL, NULL, TIMEOUT);
    g_assert_cmpint(result, !=, GST_STATE_CHANGE_FAILURE);
    g_assert_cmpint(result, !=, GST_STATE_CHANGE_ASYNC);
}

GstBuffer *source_pull(Source *source)
{
    GstBuffer *buffer = gst_harness_pull(source->harness);
    g_assert_nonnull(buffer);
    return buffer;
}

void source_skip(Source *source, guint n_frames)
{
    while (n_frames--)
        gst_buffer_unref(source_pull(source));
}

GBytes *source_pull_bytes(Source *source)
{
    GstMapInfo map;
    GstBuffer *buffer = source_pull(source);
    g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
    GBytes *bytes = g_bytes_new(map.data, map.size);
    gst_buffer_unmap(buffer, &map);
    gst_buffer_unref(buffer);
    return bytes;
}

GstMessage *source_message(Source *source, GstMessageType types)
{
    for (;;) {
        GstMessage *message = gst_bus_timed_pop_filtered(source->bus, TIMEOUT, types);
        GError *warning = NULL;
        if (!message || GST_MESSAGE_TYPE(message) != GST_MESSAGE_WARNING)
            return message;
        gst_message_parse_warning(message, &warning, NULL);
        gboolean fallback = g_error_matches(warning, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_INIT);
        g_error_free(warning);
        if (!fallback)
            return message;
        gst_message_unref(message);
    }
}

void source_check(GstMessage *message, GstMessageType type, GQuark domain, gint code,
                  const char *part)
{
    GError *error = NULL;
    char *debug = NULL;
    g_assert_nonnull(message);
    g_assert_cmpint((gint) GST_MESSAGE_TYPE(message), ==, (gint) type);
    if (type == GST_MESSAGE_ERROR)
        gst_message_parse_error(message, &error, &debug);
    else
        gst_message_parse_warning(message, &error, &debug);
    g_test_message("%s / %s", error->message, debug);
    g_assert_error(error, domain, code);
    g_assert_nonnull(strstr(error->message, part));
    g_error_free(error);
    g_free(debug);
    gst_message_unref(message);
}

void source_expect(Source *source, GstMessageType type, GQuark domain, gint code, const char *part)
{
    source_check(source_message(source, GST_MESSAGE_ERROR | GST_MESSAGE_WARNING), type, domain,
                 code, part);
}

void source_expect_progress(Source *source, GstProgressType wanted)
{
    GstProgressType type = GST_PROGRESS_TYPE_CONTINUE;
    while (type == GST_PROGRESS_TYPE_CONTINUE) {
        GstMessage *message = source_message(source, GST_MESSAGE_PROGRESS);
        char *code = NULL;
        g_assert_nonnull(message);
        gst_message_parse_progress(message, &type, &code, NULL);
        g_assert_cmpstr(code, ==, "open");
        g_free(code);
        gst_message_unref(message);
        if (wanted == GST_PROGRESS_TYPE_CONTINUE)
            break;
    }
    g_assert_cmpint((gint) type, ==, (gint) wanted);
}

GstMessage *source_prompt_message(Source *source)
{
    for (;;) {
        GstMessage *message = source_message(source, GST_MESSAGE_ELEMENT);
        g_assert_nonnull(message);
        if (gst_message_has_name(message, "lightforcing-prompt"))
            return message;
        gst_message_unref(message);
    }
}
