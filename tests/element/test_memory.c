/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Short streams with all kinds of objects, for valgrind and the leaks tracer.
 */
#include "source.h"

#include <gst/check/gsttestclock.h>

static void test_unused(void)
{
    source_free(source_new("prompt-location", "/no/such/prompt", NULL));
}

static void test_failing(void)
{
    Source *source = source_new("model-location", "/no/such/model", NULL);
    gst_element_set_state(source->element, GST_STATE_READY);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND, "");
    source_free(source);

    source = source_new("prompt", "\xff", NULL);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "");
    source_free(source);
}

/* Ends while a chunk is being generated. */
static void test_playing(void)
{
    Source *source = source_play("video/x-raw,format=NV12", "send-prompt-tags", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "messages", "prompt+chunk");
    source_skip(source, 2);
    g_object_set(source->element, "prompt", "a blue star", NULL);
    g_object_set(source->element, "prompt", "a green star", NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "prompt-transition", "recache");
    source_skip(source, FIRST_CHUNK);
    g_object_set(source->element, "prompt", "a white star", NULL);
    source_skip(source, FIRST_CHUNK);
    g_signal_emit_by_name(source->element, "restart", (gint64) 2);
    gboolean restarted = FALSE;
    while (!restarted) {
        GstBuffer *buffer = source_pull(source);
        restarted = GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT);
        gst_buffer_unref(buffer);
    }
    source_skip(source, FIRST_CHUNK); /* the new scene's first chunk, and a frame of the next */
    gst_message_unref(source_prompt_message(source));
    source_free(source);
}

/* Repeats a frame while the generator is held, then goes on. */
static void test_live(void)
{
    Source *source = source_new("is-live", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "on-underrun", "repeat");
    source_hold(source, 1);
    gst_harness_use_testclock(source->harness);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    for (int i = 0; i < FIRST_CHUNK + 5; i++) {
        g_assert_true(gst_harness_crank_single_clock_wait(source->harness));
        source_skip(source, 1);
    }
    g_assert_cmpuint(source_stat(source, "repeated"), ==, 5);
    source_release(source);
    while (source_stat(source, "chunks") < 4) {
        g_assert_true(gst_harness_crank_single_clock_wait(source->harness));
        source_skip(source, 1);
    }
    source_free(source);
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/memory/unused", test_unused);
    g_test_add_func("/memory/failing", test_failing);
    g_test_add_func("/memory/playing", test_playing);
    g_test_add_func("/memory/live", test_live);
    return tests_run();
}
