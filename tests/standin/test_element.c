/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The element on a device that fails: it posts an error, and every frame that it has pushed equals
 * the CPU's. If the device cannot be used it plays on the CPU, or fails with the reason.
 */
#include "gst/enums.h"
#include "tests/element/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = FIRST_CHUNK + 12 * 4 };

static void clear_switches(void)
{
    unsetenv("LF_STANDIN_FAIL");
    unsetenv("LF_STANDIN_POISON");
    unsetenv("LF_STANDIN_OPEN");
}

static GPtrArray *reference(void)
{
    GPtrArray *frames = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    Source *source = source_play(NULL, "backend", GST_LIGHT_FORCING_BACKEND_CPU, NULL);
    for (int i = 0; i < FRAMES; i++)
        g_ptr_array_add(frames, source_pull_bytes(source));
    source_free(source);
    return frames;
}

static gboolean is_frame(GstBuffer *buffer, GBytes *wanted)
{
    GstMapInfo map;
    g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
    gboolean same = map.size == g_bytes_get_size(wanted) &&
                    memcmp(map.data, g_bytes_get_data(wanted, NULL), map.size) == 0;
    gst_buffer_unmap(buffer, &map);
    return same;
}

/* Plays until the error comes. */
static void expect_failure(const char *fail, const GPtrArray *wanted)
{
    setenv("LF_STANDIN_FAIL", fail, 1);
    setenv("LF_STANDIN_POISON", "1", 1);
    Source *source =
        source_new("backend", GST_LIGHT_FORCING_BACKEND_CUDA, "num-buffers", FRAMES, NULL);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    GstMessage *message = source_message(source, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
    source_check(message, GST_MESSAGE_ERROR, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED,
                 "stand-in");
    gst_element_set_state(source->element, GST_STATE_NULL);
    guint n = 0;
    for (GstBuffer *buffer; (buffer = gst_harness_try_pull(source->harness)); n++) {
        g_assert_cmpuint(n, <, wanted->len);
        g_assert_true(is_frame(buffer, wanted->pdata[n]));
        gst_buffer_unref(buffer);
    }
    g_test_message("%s: %u frames", fail, n);
    g_assert_cmpuint(n, <, FRAMES);
    clear_switches();
    source_free(source);
}

typedef struct {
    const char *operation;
    int most; /* calls of it that there are before FRAMES are made, at least */
} Failing;

static void test_failure(gconstpointer data)
{
    const Failing *failing = data;
    g_autoptr(GPtrArray) wanted = reference();
    for (int round = 0; round < 4; round++) {
        g_autofree char *fail = g_strdup_printf("%s:%d", failing->operation,
                                                g_test_rand_int_range(1, failing->most + 1));
        expect_failure(fail, wanted);
    }
}

/* The warning that a prompt was not encoded; a slow machine may warn of frames in between. */
static void expect_prompt_failure(Source *source)
{
    gboolean of_frames = TRUE;
    while (of_frames) {
        g_autoptr(GError) warning = NULL;
        GstMessage *message = source_message(source, GST_MESSAGE_ERROR | GST_MESSAGE_WARNING);
        g_assert_nonnull(message);
        g_assert_cmpint((gint) GST_MESSAGE_TYPE(message), ==, (gint) GST_MESSAGE_WARNING);
        gst_message_parse_warning(message, &warning, NULL);
        of_frames = warning->domain == GST_STREAM_ERROR;
        if (of_frames)
            gst_message_unref(message);
        else
            source_check(message, GST_MESSAGE_WARNING, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED,
                         "embedding");
    }
}

/* In a live stream a prompt whose encoding fails is a warning: the stream goes on with the prompt
 * before, and the same prompt, set again, shows. In another stream it is an error. */
static void test_prompt_fails(gconstpointer live)
{
    setenv("LF_STANDIN_FAIL", "embedding:2", 1);
    Source *source = source_new("backend", GST_LIGHT_FORCING_BACKEND_CUDA, "is-live",
                                GPOINTER_TO_INT(live), "on-underrun", 0, NULL);
    gst_harness_use_systemclock(source->harness);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    gst_message_unref(source_prompt_message(source));
    g_object_set(source->element, "prompt", "a blue star on yellow sand", NULL);
    if (GPOINTER_TO_INT(live)) {
        expect_prompt_failure(source);
        g_object_set(source->element, "prompt", "a blue star on yellow sand", NULL);
        GstMessage *message = source_prompt_message(source);
        g_assert_cmpstr(gst_structure_get_string(gst_message_get_structure(message), "prompt"), ==,
                        "a blue star on yellow sand");
        gst_message_unref(message);
        /* Now that it is encoded, the same text is no new prompt. */
        g_object_set(source->element, "prompt", "a blue star on yellow sand", NULL);
        g_object_set(source->element, "prompt", "a green ring", NULL);
        guint64 id = 0;
        message = source_prompt_message(source);
        gst_structure_get_uint64(gst_message_get_structure(message), "prompt-id", &id);
        g_assert_cmpuint(id, ==, 4);
        gst_message_unref(message);
    } else {
        source_expect(source, GST_MESSAGE_ERROR, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED,
                      "embedding");
    }
    gst_element_set_state(source->element, GST_STATE_NULL);
    clear_switches();
    source_free(source);
}

typedef struct {
    GMutex lock;
    guint n;
    double ms; /* of all of them */
} Decoded;

static void add_decoded(GstDebugCategory *category, GstDebugLevel level, const char *file,
                        const char *function, gint line, GObject *object, GstDebugMessage *message,
                        gpointer data)
{
    Decoded *decoded = data;
    guint chunk;
    double ms;
    if (g_strcmp0(gst_debug_category_get_name(category), "lightforcingsrc") != 0 ||
        sscanf(gst_debug_message_get(message), "chunk %u: decoded in %lf ms", &chunk, &ms) != 2)
        return;
    g_mutex_lock(&decoded->lock);
    g_assert_cmpuint(chunk, ==, decoded->n++);
    decoded->ms += ms;
    g_mutex_unlock(&decoded->lock);
}

/* The time of each chunk's decoder is known once the next chunk is there, and all of them count. */
static void test_decode_times(void)
{
    Decoded decoded = {0};
    g_mutex_init(&decoded.lock);
    gst_debug_add_log_function(add_decoded, &decoded, NULL);
    gst_debug_set_threshold_for_name("lightforcingsrc", GST_LEVEL_DEBUG);
    setenv("LF_STANDIN_SLOW", "rgb8:2000", 1);
    Source *source = source_new("backend", GST_LIGHT_FORCING_BACKEND_CUDA, NULL);
    source_hold(source, 6);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    source_wait_held(source);
    unsetenv("LF_STANDIN_SLOW");
    double sum = (double) source_stat(source, "decode-time-avg") / GST_MSECOND *
                 (double) source_stat(source, "chunks");
    gst_debug_remove_log_function(add_decoded);
    gst_debug_unset_threshold_for_name("lightforcingsrc");
    g_test_message("%u chunks, %.1f ms", decoded.n, decoded.ms);
    g_assert_cmpuint(source_stat(source, "chunks"), ==, 7);
    g_assert_cmpuint(decoded.n, ==, 6);
    g_assert_cmpfloat(decoded.ms, >, 6 * 2);
    g_assert_cmpfloat_with_epsilon(sum, decoded.ms, 1);
    source_free(source);
    g_mutex_clear(&decoded.lock);
}

/* The memory of the stream that is to come is planned before the model is loaded. */
static void test_planned(void)
{
    setenv("LF_STANDIN_MEMORY", "500", 1);
    Source *source =
        source_new("backend", GST_LIGHT_FORCING_BACKEND_CUDA, "attention-window", 100000, NULL);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
                  "Not enough memory for the model: ");
    unsetenv("LF_STANDIN_MEMORY");
    source_free(source);
}

/* The default backend, auto: the frames equal the CPU's, whichever device is used. */
static void check_auto(const char *state)
{
    g_autoptr(GPtrArray) wanted = reference();
    if (state)
        setenv("LF_STANDIN_OPEN", state, 1);
    Source *source = source_play(NULL, NULL);
    for (int i = 0; i < FRAMES; i++) {
        GstBuffer *buffer = source_pull(source);
        g_assert_true(is_frame(buffer, wanted->pdata[i]));
        gst_buffer_unref(buffer);
    }
    clear_switches();
    source_free(source);
}

static void test_frames(void)
{
    check_auto(NULL);
}

/* The statistics tell where the text encoder computes; the frames are the same. */
static void test_text_encoder_device(gconstpointer name)
{
    g_autoptr(GPtrArray) wanted = reference();
    Source *source = source_new("backend", GST_LIGHT_FORCING_BACKEND_CUDA, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "text-encoder-device", name);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    for (guint i = 0; i < FIRST_CHUNK; i++) {
        GstBuffer *buffer = source_pull(source);
        g_assert_true(is_frame(buffer, wanted->pdata[i]));
        gst_buffer_unref(buffer);
    }
    g_autoptr(GstStructure) stats = NULL;
    g_object_get(source->element, "stats", &stats, NULL);
    g_assert_cmpstr(gst_structure_get_string(stats, "text-encoder-device"), ==, name);
    source_free(source);
}

static void test_unsupported(void)
{
    check_auto("unsupported");
}

static void test_old_driver(void)
{
    check_auto("old-driver");
}

int main(int argc, char **argv)
{
    static const Failing failing[] = {{"take_latents", 5}, {"conv3x3", 60},   {"rgb8", 60},
                                      {"pixels", FRAMES},  {"attention", 20}, {"noise", 8}};
    clear_switches();
    tests_init(&argc, &argv);
    g_test_add_func("/element/standin/frames", test_frames);
    for (guint i = 0; i < G_N_ELEMENTS(failing); i++) {
        g_autofree char *path = g_strconcat("/element/standin/fails/", failing[i].operation, NULL);
        g_test_add_data_func(path, &failing[i], test_failure);
    }
    g_test_add_data_func("/element/standin/prompt-fails", GINT_TO_POINTER(FALSE),
                         test_prompt_fails);
    g_test_add_data_func("/element/standin/prompt-fails/live", GINT_TO_POINTER(TRUE),
                         test_prompt_fails);
    for (int i = 0; i < 3; i++) {
        static const char *const devices[] = {"device", "stream", "cpu"};
        g_autofree char *path = g_strconcat("/element/standin/text-encoder/", devices[i], NULL);
        g_test_add_data_func(path, devices[i], test_text_encoder_device);
    }
    g_test_add_func("/element/standin/decode-times", test_decode_times);
    g_test_add_func("/element/standin/planned", test_planned);
    g_test_add_func("/element/standin/unsupported", test_unsupported);
    g_test_add_func("/element/standin/old-driver", test_old_driver);
    return tests_run();
}
