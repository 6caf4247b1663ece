/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * State changes, at all times and many of them; several elements; threads that interfere.
 */
#include "source.h"

#include <string.h>

/* What NULL may take at any time, in seconds. */
#define QUICK 0.5

static void assert_null_is_quick(Source *source)
{
    GTimer *timer = g_timer_new();
    source_set_state(source, GST_STATE_NULL);
    double seconds = g_timer_elapsed(timer, NULL);
    g_test_message("NULL after %.3f s", seconds);
    g_assert_cmpfloat(seconds, <, QUICK);
    g_timer_destroy(timer);
}

static Source *source_of_demo(void)
{
    Source *source = source_new("model-location", demo_model(), NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    return source;
}

/* ---- up and down ----------------------------------------------------------------------------- */

static void test_sequences(void)
{
    static const GstState states[] = {
        GST_STATE_READY, GST_STATE_NULL,   GST_STATE_PAUSED,  GST_STATE_READY,   GST_STATE_PAUSED,
        GST_STATE_NULL,  GST_STATE_PAUSED, GST_STATE_READY,   GST_STATE_PLAYING, GST_STATE_PAUSED,
        GST_STATE_READY, GST_STATE_PAUSED, GST_STATE_PLAYING, GST_STATE_NULL};
    Source *source = source_new(NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    for (guint i = 0; i < G_N_ELEMENTS(states); i++)
        source_set_state(source, states[i]);
    source_free(source);
}

/* Starting does not wait for the model, and neither does stopping. */
static void test_progress(void)
{
    Source *source = source_of_demo();
    GTimer *timer = g_timer_new();
    gst_element_set_state(source->element, GST_STATE_PAUSED);
    g_assert_cmpfloat(g_timer_elapsed(timer, NULL), <, QUICK);
    g_timer_destroy(timer);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    source_expect_progress(source, GST_PROGRESS_TYPE_CONTINUE);
    assert_null_is_quick(source);
    source_expect_progress(source, GST_PROGRESS_TYPE_CANCELED);
    source_set_state(source, GST_STATE_PLAYING);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    source_expect_progress(source, GST_PROGRESS_TYPE_COMPLETE);
    source_free(source);
}

static void test_null_at_any_time(void)
{
    Source *source = source_of_demo();
    for (int i = 0; i < 10; i++) {
        source_set_state(source, GST_STATE_PLAYING);
        g_usleep((gulong) g_test_rand_int_range(0, 700) * 1000);
        assert_null_is_quick(source);
    }
    source_free(source);
}

static guint64 load_time(Source *source)
{
    GstStructure *stats = NULL;
    guint64 time = 0;
    g_object_get(source->element, "stats", &stats, NULL);
    g_assert_true(gst_structure_get_uint64(stats, "load-time", &time));
    gst_structure_free(stats);
    return time;
}

/* READY keeps the weights: they need not be loaded again. */
static void test_ready_keeps_weights(void)
{
    Source *source = source_of_demo();
    source_set_state(source, GST_STATE_PLAYING);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    source_expect_progress(source, GST_PROGRESS_TYPE_COMPLETE);
    guint64 first = load_time(source);
    source_set_state(source, GST_STATE_READY);
    source_set_state(source, GST_STATE_PLAYING);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    source_expect_progress(source, GST_PROGRESS_TYPE_COMPLETE);
    g_test_message("loaded in %.1f ms, then in %.3f ms", (double) first / GST_MSECOND,
                   (double) load_time(source) / GST_MSECOND);
    g_assert_cmpuint(load_time(source), <, first / 2);
    source_free(source);
}

/* The location can be changed in READY, and is taken at the next start. */
static void test_change_model_in_ready(void)
{
    Source *source = source_new(NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    source_set_state(source, GST_STATE_PAUSED);
    source_set_state(source, GST_STATE_READY);
    g_object_set(source->element, "model-location", "/no/such/model", NULL);
    g_assert_cmpint(gst_element_set_state(source->element, GST_STATE_PAUSED), ==,
                    GST_STATE_CHANGE_FAILURE);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
                  "/no/such/model");
    source_set_state(source, GST_STATE_READY);
    g_object_set(source->element, "model-location", tiny_model(), NULL);
    source_set_state(source, GST_STATE_PLAYING);
    source_free(source);
}

/* ---- storms ---------------------------------------------------------------------------------- */

static void test_state_storm(void)
{
    Source *source = source_new(NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    for (int i = 0; i < 150; i++) {
        GstState state = (GstState) g_test_rand_int_range(GST_STATE_NULL, GST_STATE_PLAYING + 1);
        g_assert_cmpint(gst_element_set_state(source->element, state), !=,
                        GST_STATE_CHANGE_FAILURE);
        if (i % 8 == 0)
            g_usleep((gulong) g_test_rand_int_range(0, 8000));
    }
    source_free(source);
}

static void test_prompt_storm(void)
{
    GValue a = G_VALUE_INIT, b = G_VALUE_INIT;
    g_value_init(&a, G_TYPE_STRING);
    g_value_init(&b, G_TYPE_STRING);
    g_value_set_string(&a, "a red ball");
    g_value_set_string(&b, "a blue star on a white background");
    Source *source = source_new(NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    source_set_state(source, GST_STATE_PLAYING);
    GstHarnessThread *threads[] = {
        gst_harness_stress_property_start_full(source->harness, "prompt", &a, 100),
        gst_harness_stress_property_start_full(source->harness, "prompt", &b, 100)};
    for (int i = 0; i < 20; i++) {
        g_usleep(20 * 1000);
        g_signal_emit_by_name(source->element, "restart", (gint64) i);
        if (i % 4 == 3)
            source_set_state(source, i % 8 == 3 ? GST_STATE_READY : GST_STATE_PLAYING);
    }
    gst_harness_stress_thread_stop(threads[0]);
    gst_harness_stress_thread_stop(threads[1]);
    g_value_unset(&a);
    g_value_unset(&b);
    source_free(source);
}

/* ---- the stream's end ------------------------------------------------------------------------ */

static void expect_eos(Source *source)
{
    GstEvent *event;
    gboolean eos = FALSE;
    while (!eos && (event = gst_harness_pull_event(source->harness))) {
        eos = GST_EVENT_TYPE(event) == GST_EVENT_EOS;
        gst_event_unref(event);
    }
    g_assert_true(eos);
}

/* EOS from the application ends the stream at once, also while the first chunk is not there. */
static void test_eos_at_any_time(void)
{
    for (int i = 0; i < 4; i++) {
        Source *source = source_of_demo();
        source_set_state(source, GST_STATE_PLAYING);
        g_usleep((gulong) g_test_rand_int_range(0, 400) * 1000);
        GTimer *timer = g_timer_new();
        g_assert_true(gst_element_send_event(source->element, gst_event_new_eos()));
        expect_eos(source);
        g_assert_cmpfloat(g_timer_elapsed(timer, NULL), <, QUICK);
        g_timer_destroy(timer);
        source_free(source);
    }
}

/* ---- several --------------------------------------------------------------------------------- */

static gpointer pull_thirty(gpointer data)
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA1);
    for (int i = 0; i < 30; i++) {
        GBytes *bytes = source_pull_bytes(data);
        g_checksum_update(sum, g_bytes_get_data(bytes, NULL), (gssize) g_bytes_get_size(bytes));
        g_bytes_unref(bytes);
    }
    char *text = g_strdup(g_checksum_get_string(sum));
    g_checksum_free(sum);
    return text;
}

/* Streams of one model do not disturb each other, whatever else happens to the model's users. */
static void test_two(void)
{
    Source *a = source_play(NULL, "seed", (gint64) 3, NULL);
    Source *b = source_play(NULL, "seed", (gint64) 3, NULL);
    Source *other = source_play(NULL, "seed", (gint64) 4, "prompt", "a star", NULL);
    GThread *thread_a = g_thread_new("a", pull_thirty, a);
    GThread *thread_b = g_thread_new("b", pull_thirty, b);
    GThread *thread_other = g_thread_new("other", pull_thirty, other);
    for (int i = 0; i < 5; i++) {
        Source *passing = source_new(NULL);
        gst_harness_set_drop_buffers(passing->harness, TRUE);
        source_set_state(passing, GST_STATE_PLAYING);
        source_free(passing);
    }
    char *sum_a = g_thread_join(thread_a), *sum_b = g_thread_join(thread_b);
    char *sum_other = g_thread_join(thread_other);
    g_assert_cmpstr(sum_a, ==, sum_b);
    g_assert_cmpstr(sum_a, !=, sum_other);
    g_free(sum_a);
    g_free(sum_b);
    g_free(sum_other);
    source_free(a);
    source_free(b);
    source_free(other);
}

/* One of two that wait for the same model is stopped, whichever loads it; the other gets it. */
static void test_two_load_one_stops(void)
{
    for (int i = 0; i < 2; i++) {
        Source *pair[] = {source_of_demo(), source_of_demo()};
        source_set_state(pair[0], GST_STATE_PLAYING);
        source_set_state(pair[1], GST_STATE_PLAYING);
        assert_null_is_quick(pair[i]);
        source_expect_progress(pair[!i], GST_PROGRESS_TYPE_START);
        source_expect_progress(pair[!i], GST_PROGRESS_TYPE_COMPLETE);
        source_free(pair[0]);
        source_free(pair[1]);
    }
}

/* ---- relinking ------------------------------------------------------------------------------- */

typedef struct {
    GstElement *pipeline, *source, *from, *to;
    GMutex lock;
    GCond changed;
    gboolean moved;
    guint n_after;
} Relink;

static GstPadProbeReturn relink(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    Relink *r = data;
    gst_element_unlink(r->source, r->from);
    g_assert_true(gst_element_link(r->source, r->to));
    g_mutex_lock(&r->lock);
    r->moved = TRUE;
    g_mutex_unlock(&r->lock);
    return GST_PAD_PROBE_REMOVE;
}

static void count_frame(GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer data)
{
    Relink *r = data;
    g_mutex_lock(&r->lock);
    r->n_after += r->moved;
    g_cond_signal(&r->changed);
    g_mutex_unlock(&r->lock);
}

static GstElement *add(Relink *r, const char *factory)
{
    GstElement *element = gst_element_factory_make(factory, NULL);
    gst_bin_add(GST_BIN(r->pipeline), element);
    return element;
}

static void test_relink(void)
{
    Relink r = {.pipeline = gst_pipeline_new(NULL)};
    g_mutex_init(&r.lock);
    g_cond_init(&r.changed);
    r.source = add(&r, "lightforcingsrc");
    r.from = add(&r, "fakesink");
    r.to = add(&r, "fakesink");
    g_object_set(r.source, "model-location", tiny_model(), "prompt", "a ball", NULL);
    g_object_set(r.from, "async", FALSE, NULL);
    g_object_set(r.to, "async", FALSE, "signal-handoffs", TRUE, NULL);
    g_signal_connect(r.to, "handoff", G_CALLBACK(count_frame), &r);
    g_assert_true(gst_element_link(r.source, r.from));
    gst_element_set_state(r.pipeline, GST_STATE_PLAYING);

    GstPad *pad = gst_element_get_static_pad(r.source, "src");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BLOCK_DOWNSTREAM, relink, &r, NULL);
    g_mutex_lock(&r.lock);
    gint64 end = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
    while (r.n_after < 20 && g_cond_wait_until(&r.changed, &r.lock, end)) {
    }
    g_assert_cmpuint(r.n_after, >=, 20);
    g_mutex_unlock(&r.lock);
    gst_element_set_state(r.pipeline, GST_STATE_NULL);
    gst_object_unref(pad);
    gst_object_unref(r.pipeline);
    g_mutex_clear(&r.lock);
    g_cond_clear(&r.changed);
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/states/sequences", test_sequences);
    g_test_add_func("/states/progress", test_progress);
    g_test_add_func("/states/null-at-any-time", test_null_at_any_time);
    g_test_add_func("/states/ready-keeps-weights", test_ready_keeps_weights);
    g_test_add_func("/states/change-model-in-ready", test_change_model_in_ready);
    g_test_add_func("/states/state-storm", test_state_storm);
    g_test_add_func("/states/prompt-storm", test_prompt_storm);
    g_test_add_func("/states/eos-at-any-time", test_eos_at_any_time);
    g_test_add_func("/states/two", test_two);
    g_test_add_func("/states/two-load-one-stops", test_two_load_one_stops);
    g_test_add_func("/states/relink", test_relink);
    return tests_run();
}
