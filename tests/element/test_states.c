/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * State changes at any time, several elements, threads that interfere, the debug log.
 */
#include "source.h"

#include "gst/enums.h"

#include <dlfcn.h>
#include <string.h>

/* ---- who waits for a worker ------------------------------------------------------------------ */

static GThread *stopper; /* atomic; a thread that stops an element */
static gint stopping; /* atomic: that thread waits for the worker, which knows that it is to end */

/* Replaces GLib's function, for the plugin, too. */
__attribute__((visibility("default"))) gpointer g_thread_join(GThread *thread)
{
    gpointer (*real)(GThread *) = (gpointer(*)(GThread *)) dlsym(RTLD_NEXT, "g_thread_join");
    if (g_atomic_pointer_get(&stopper) == g_thread_self())
        g_atomic_int_set(&stopping, TRUE);
    return real(thread);
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

/* Holds the worker that loads the model in its first progress message. */
typedef struct {
    GMutex lock;
    GCond changed;
    gint from; /* percent; messages before that pass */
    gboolean open, reached;
    char *text; /* of the message that is held */
} Gate;

static GstBusSyncReply wait_at_gate(GstBus *bus, GstMessage *message, gpointer data)
{
    Gate *gate = data;
    GstProgressType type = GST_PROGRESS_TYPE_START;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_PROGRESS)
        gst_message_parse_progress(message, &type, NULL, NULL);
    gint percent = 0;
    if (type != GST_PROGRESS_TYPE_CONTINUE ||
        !gst_structure_get_int(gst_message_get_structure(message), "percent", &percent) ||
        percent < gate->from)
        return GST_BUS_PASS;
    g_mutex_lock(&gate->lock);
    if (!gate->text)
        gst_message_parse_progress(message, NULL, NULL, &gate->text);
    gate->reached = TRUE;
    g_cond_broadcast(&gate->changed);
    while (!gate->open)
        g_cond_wait(&gate->changed, &gate->lock);
    g_mutex_unlock(&gate->lock);
    return GST_BUS_PASS;
}

static GstState target_of(Source *source)
{
    GST_OBJECT_LOCK(source->element);
    GstState target = GST_STATE_TARGET(source->element);
    GST_OBJECT_UNLOCK(source->element);
    return target;
}

static gpointer set_null(gpointer source)
{
    source_set_state(source, GST_STATE_NULL);
    return NULL;
}

static void gate_init(Gate *gate, Source *source)
{
    g_mutex_init(&gate->lock);
    g_cond_init(&gate->changed);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, wait_at_gate, gate, NULL);
}

static void gate_wait(Gate *gate)
{
    g_mutex_lock(&gate->lock);
    while (!gate->reached)
        g_cond_wait(&gate->changed, &gate->lock);
    g_mutex_unlock(&gate->lock);
}

static void gate_open(Gate *gate)
{
    g_mutex_lock(&gate->lock);
    gate->open = TRUE;
    g_cond_broadcast(&gate->changed);
    g_mutex_unlock(&gate->lock);
}

static void gate_clear(Gate *gate, Source *source)
{
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    g_mutex_clear(&gate->lock);
    g_cond_clear(&gate->changed);
    g_free(gate->text);
}

/* Starting does not wait for the model: it returns while the loading is held. Stopping does not
 * either: the rest of the model is not loaded. */
static void test_progress(void)
{
    Gate gate = {0};
    Source *source = source_of_demo();
    gate_init(&gate, source);
    gst_element_set_state(source->element, GST_STATE_PAUSED);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    gate_wait(&gate);

    GThread *thread = g_thread_new("stop", set_null, source);
    while (target_of(source) != GST_STATE_NULL)
        g_usleep(1000);
    gate_open(&gate);
    g_thread_join(thread);
    source_expect_progress(source, GST_PROGRESS_TYPE_CONTINUE);
    source_expect_progress(source, GST_PROGRESS_TYPE_CANCELED);
    gate_clear(&gate, source);

    source_set_state(source, GST_STATE_PLAYING);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    source_expect_progress(source, GST_PROGRESS_TYPE_COMPLETE);
    source_free(source);
}

static void expect_loading(Source *source, const char *wanted)
{
    g_autofree char *text = NULL;
    GstProgressType type;
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    GstMessage *message = source_message(source, GST_MESSAGE_PROGRESS);
    gst_message_parse_progress(message, &type, NULL, &text);
    g_assert_cmpint((gint) type, ==, GST_PROGRESS_TYPE_CONTINUE);
    g_assert_cmpstr(text, ==, wanted);
    gst_message_unref(message);
}

static gpointer set_ready(gpointer source)
{
    g_atomic_pointer_set(&stopper, g_thread_self());
    source_set_state(source, GST_STATE_READY);
    g_atomic_pointer_set(&stopper, NULL);
    return NULL;
}

static int count_loading(Source *source);

/* A stop while the model loads ends that, and tells of nothing more than that it was cancelled; the next
 * start loads it all, and tells of that from its beginning on. */
static void test_cancelled_load(void)
{
    GstProgressType type;
    Gate gate = {0};
    Source *source = source_of_demo();
    gate_init(&gate, source);
    gst_element_set_state(source->element, GST_STATE_PAUSED);
    gate_wait(&gate);
    g_autofree char *first = g_strdup(gate.text);
    GThread *thread = g_thread_new("stop", set_ready, source);
    while (!g_atomic_int_get(&stopping))
        g_usleep(1000);
    gate_open(&gate);
    g_thread_join(thread);
    g_atomic_int_set(&stopping, FALSE);
    gate_clear(&gate, source);
    expect_loading(source, first);
    GstMessage *message = source_message(source, GST_MESSAGE_PROGRESS | GST_MESSAGE_ERROR);
    g_assert_cmpint((gint) GST_MESSAGE_TYPE(message), ==, GST_MESSAGE_PROGRESS);
    gst_message_parse_progress(message, &type, NULL, NULL);
    g_assert_cmpint((gint) type, ==, GST_PROGRESS_TYPE_CANCELED);
    gst_message_unref(message);
    source_set_state(source, GST_STATE_PLAYING);
    expect_loading(source, first);
    g_assert_cmpint(count_loading(source), >=, 2);
    source_free(source);
}

/* An element that waits for another one's load tells how far that is, and can be stopped. */
static void test_wait_for_load(void)
{
    Gate gate = {.from = 1};
    Source *source = source_of_demo(), *other = source_of_demo();
    gate_init(&gate, source);
    gst_element_set_state(source->element, GST_STATE_PAUSED);
    gate_wait(&gate);
    g_assert_true(g_str_has_prefix(gate.text, "Loading "));
    for (int i = 0; i < 2; i++) {
        gst_element_set_state(other->element, GST_STATE_PAUSED);
        expect_loading(other, gate.text);
        if (i > 0)
            break;
        source_set_state(other, GST_STATE_NULL); /* would not return */
        source_expect_progress(other, GST_PROGRESS_TYPE_CANCELED);
        g_assert_null(gst_bus_pop_filtered(other->bus, GST_MESSAGE_ERROR));
    }
    gate_open(&gate);
    source_expect_progress(source, GST_PROGRESS_TYPE_START);
    source_expect_progress(source, GST_PROGRESS_TYPE_COMPLETE);
    source_expect_progress(other, GST_PROGRESS_TYPE_COMPLETE);
    source_set_state(source, GST_STATE_NULL);
    gate_clear(&gate, source);
    source_free(source);
    source_free(other);
}

/* "Loading PART, N %", the percentage as in the field; a new part, or a fifth more of the work. */
static void check_loading(const char *text, gint percent, char **part, gint *before)
{
    GMatchInfo *match;
    g_autoptr(GRegex) regex = g_regex_new("^Loading (.+), (\\d+) %$", 0, 0, NULL);
    g_assert_true(g_regex_match(regex, text, 0, &match));
    g_autofree char *number = g_match_info_fetch(match, 2);
    char *now = g_match_info_fetch(match, 1);
    g_match_info_free(match);
    g_assert_cmpint((gint) g_ascii_strtoll(number, NULL, 10), ==, percent);
    g_assert_true(g_strcmp0(now, *part) != 0 || percent >= *before + 20);
    g_free(*part);
    *part = now;
    *before = percent;
}

/* Progress grows; its last message says what computes, and comes once. */
static void test_ready_on_device(void)
{
    GstProgressType type = GST_PROGRESS_TYPE_START;
    gint percent = 0, before = 0, last = 0;
    guint n_starts = 0;
    char *text = NULL, *part = NULL;
    GstStructure *stats;
    Source *source = source_new(NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    source_set_state(source, GST_STATE_PLAYING);
    while (type != GST_PROGRESS_TYPE_COMPLETE) {
        GstMessage *message = source_message(source, GST_MESSAGE_PROGRESS);
        g_autofree char *previous = text;
        gst_message_parse_progress(message, &type, NULL, &text);
        if (type == GST_PROGRESS_TYPE_CONTINUE) {
            g_assert_true(
                gst_structure_get_int(gst_message_get_structure(message), "percent", &percent));
            g_assert_cmpint(percent, >=, before);
            before = percent;
            if (strcmp(text, "Warming up") != 0)
                check_loading(text, percent, &part, &last);
        } else if (type == GST_PROGRESS_TYPE_COMPLETE) {
            g_assert_cmpstr(previous, ==, "Warming up");
        } else {
            g_assert_cmpstr(text, ==, "Loading model");
            n_starts++;
        }
        gst_message_unref(message);
    }
    g_assert_cmpuint(n_starts, ==, 1);
    g_free(part);
    while (source_stat(source, "chunks") < 4)
        g_usleep(1000);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_PROGRESS));
    g_assert_cmpint(percent, ==, 90); /* the first chunk is the rest */
    g_object_get(source->element, "stats", &stats, NULL);
    g_assert_true(g_str_has_prefix(text, "Ready on "));
    g_assert_cmpstr(text + strlen("Ready on "), ==, gst_structure_get_string(stats, "device-name"));
    gst_structure_free(stats);
    g_free(text);
    source_set_state(source, GST_STATE_READY); /* nothing was left to be cancelled */
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_PROGRESS));
    source_free(source);
}

static void test_null_at_any_time(void)
{
    Source *source = source_of_demo();
    for (int i = 0; i < 10; i++) {
        source_set_state(source, GST_STATE_PLAYING);
        g_usleep((gulong) g_test_rand_int_range(0, 700) * 1000);
        source_set_state(source, GST_STATE_NULL);
    }
    source_free(source);
}

static void wait_until_loaded(Source *source)
{
    gboolean loaded = FALSE;
    while (!loaded) {
        char *text;
        GstMessage *message = source_message(source, GST_MESSAGE_PROGRESS);
        gst_message_parse_progress(message, NULL, NULL, &text);
        loaded = g_str_equal(text, "Warming up");
        g_free(text);
        gst_message_unref(message);
    }
}

/* NULL cancels the running chunk, which takes seconds at this size: it is never reported. */
static void test_large_chunk(void)
{
    Source *source = source_new("model-location", demo_model(), "backend",
                                GST_LIGHT_FORCING_BACKEND_CPU, "messages", 2 /* chunk */, NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    gst_harness_set_sink_caps_str(source->harness, "video/x-raw,width=832,height=832");
    for (int i = 0; i < 3; i++) {
        source_set_state(source, GST_STATE_PLAYING);
        wait_until_loaded(source);
        g_usleep((gulong) g_test_rand_int_range(0, 50) * 1000);
        source_set_state(source, GST_STATE_NULL);
        g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_ELEMENT));
    }
    source_free(source);
}

/* Starts the source, waits for the first frames, and returns how many messages of progress name a
 * part of the model. */
static int count_loading(Source *source)
{
    GstProgressType type = GST_PROGRESS_TYPE_START;
    int n = 0;
    source_set_state(source, GST_STATE_PLAYING);
    while (type != GST_PROGRESS_TYPE_COMPLETE) {
        char *text;
        GstMessage *message = source_message(source, GST_MESSAGE_PROGRESS);
        gst_message_parse_progress(message, &type, NULL, &text);
        n += type == GST_PROGRESS_TYPE_CONTINUE && g_str_has_prefix(text, "Loading ");
        g_free(text);
        gst_message_unref(message);
    }
    return n;
}

/* READY keeps the weights: they are not loaded again. NULL does not. */
static void test_ready_keeps_weights(void)
{
    Source *source = source_new(NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    g_assert_cmpint(count_loading(source), >=, 3);
    source_set_state(source, GST_STATE_READY);
    g_assert_cmpint(count_loading(source), ==, 0);
    source_set_state(source, GST_STATE_NULL);
    g_assert_cmpint(count_loading(source), >=, 3);
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
        g_assert_true(gst_element_send_event(source->element, gst_event_new_eos()));
        expect_eos(source);
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
        source_set_state(pair[i], GST_STATE_NULL);
        source_expect_progress(pair[!i], GST_PROGRESS_TYPE_START);
        source_expect_progress(pair[!i], GST_PROGRESS_TYPE_COMPLETE);
        source_free(pair[0]);
        source_free(pair[1]);
    }
}

/* ---- the debug log --------------------------------------------------------------------------- */

static GMutex log_lock;

static void keep_line(GstDebugCategory *category, GstDebugLevel level, const char *file,
                      const char *function, gint line, GObject *object, GstDebugMessage *message,
                      gpointer data)
{
    g_mutex_lock(&log_lock);
    if (g_str_equal(gst_debug_category_get_name(category), "lightforcingsrc"))
        g_string_append_printf(data, "%c: %s\n", *gst_debug_level_get_name(level),
                               gst_debug_message_get(message));
    g_mutex_unlock(&log_lock);
}

/* A stream's life can be read in the log. */
static void test_log(void)
{
    static const char *const wanted[] = {
        "I: model /",       "D: start\n",   "I: loaded ",
        "I: running on ",   "I: caps ",     "D: prompt set: \"a blue star\"\n",
        "D: chunk 0: ",     "D: chunk 1: ", "I: prompt shown from 0:00:00.0",
        "I: restart with ", "D: stop\n",    "D: unlock\n",
        ": opening /" /* of the engine */};
    GString *log = g_string_new(NULL);
    gst_debug_add_log_function(keep_line, log, NULL);
    gst_debug_set_threshold_for_name("lightforcingsrc", GST_LEVEL_DEBUG);
    Source *source = source_play(NULL, NULL);
    source_skip(source, 1);
    g_object_set(source->element, "prompt", "a blue star", NULL);
    g_signal_emit_by_name(source->element, "restart", (gint64) 1);
    source_skip(source, 20);
    source_free(source);
    gst_debug_remove_log_function(keep_line);
    gst_debug_unset_threshold_for_name("lightforcingsrc");
    g_test_message("%s", log->str);
    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++) {
        g_test_message("wanted: %s", wanted[i]);
        g_assert_nonnull(strstr(log->str, wanted[i]));
    }
    g_string_free(log, TRUE);
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
    g_test_add_func("/states/cancelled-load", test_cancelled_load);
    g_test_add_func("/states/wait-for-load", test_wait_for_load);
    g_test_add_func("/states/ready-on-device", test_ready_on_device);
    g_test_add_func("/states/null-at-any-time", test_null_at_any_time);
    g_test_add_func("/states/large-chunk", test_large_chunk);
    g_test_add_func("/states/ready-keeps-weights", test_ready_keeps_weights);
    g_test_add_func("/states/change-model-in-ready", test_change_model_in_ready);
    g_test_add_func("/states/state-storm", test_state_storm);
    g_test_add_func("/states/prompt-storm", test_prompt_storm);
    g_test_add_func("/states/eos-at-any-time", test_eos_at_any_time);
    g_test_add_func("/states/two", test_two);
    g_test_add_func("/states/two-load-one-stops", test_two_load_one_stops);
    g_test_add_func("/states/log", test_log);
    g_test_add_func("/states/relink", test_relink);
    return tests_run();
}
