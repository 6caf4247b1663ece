/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A source that is not live: frames, their timestamps, and the events and messages with them.
 */
#include "source.h"

#include "tests/common/tiny_model.h"

#include <gst/controller/gstdirectcontrolbinding.h>
#include <gst/controller/gstinterpolationcontrolsource.h>
#include <string.h>

/* ---- times ----------------------------------------------------------------------------------- */

static void assert_stamps(GstBuffer *buffer, guint64 frame, gboolean discont)
{
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, gst_util_uint64_scale(frame, GST_SECOND, 16));
    g_assert_false(GST_BUFFER_DTS_IS_VALID(buffer));
    g_assert_cmpuint(GST_BUFFER_DURATION(buffer), ==, FRAME_DURATION);
    g_assert_cmpuint(GST_BUFFER_OFFSET(buffer), ==, frame);
    g_assert_cmpuint(GST_BUFFER_OFFSET_END(buffer), ==, frame + 1);
    g_assert_cmpint(GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT), ==, discont);
}

static void test_timestamps(void)
{
    Source *source = source_play(NULL, NULL);
    for (guint64 frame = 0; frame < 50; frame++) {
        GstBuffer *buffer = source_pull(source);
        assert_stamps(buffer, frame, frame == 0);
        gst_buffer_unref(buffer);
    }
    source_free(source);
}

/* With chunks of one latent frame the first chunk is one picture, which waits for no other one when the
 * stream is not live. */
static void test_single_picture(void)
{
    Source *source = source_new("chunk-size", 1, NULL);
    source_hold(source, 1);
    gst_harness_play(source->harness);
    GstBuffer *buffer = source_pull(source);
    assert_stamps(buffer, 0, TRUE);
    gst_buffer_unref(buffer);
    source_wait_held(source);
    source_release(source);
    source_skip(source, 8);
    source_free(source);
}

/* No frame comes twice. */
static void test_every_frame(void)
{
    Source *source = source_play(NULL, NULL);
    GBytes *last = source_pull_bytes(source);
    for (guint frame = 1; frame < FIRST_CHUNK + 24; frame++) {
        GBytes *bytes = source_pull_bytes(source);
        g_assert_false(g_bytes_equal(bytes, last));
        g_bytes_unref(last);
        last = bytes;
    }
    g_bytes_unref(last);
    source_free(source);
}

static char *replace_text(const char *text, const char *old, const char *new)
{
    char **parts = g_strsplit(text, old, -1);
    g_assert_cmpuint(g_strv_length(parts), ==, 2);
    char *result = g_strjoinv(new, parts);
    g_strfreev(parts);
    return result;
}

/* A tiny model with 30000/1001 frames per second. */
static char *ntsc_model(void)
{
    char *model = lf_tiny_model_make(NULL, NULL), *text = NULL;
    char *path = g_build_filename(model, "model.json", NULL);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    char *changed = replace_text(text, "\"fps\": 16", "\"fps\": \"30000/1001\"");
    g_assert_true(g_file_set_contents(path, changed, -1, NULL));
    g_free(changed);
    g_free(text);
    g_free(path);
    return model;
}

/* With a frame duration that is not a whole number of nanoseconds, errors do not add up. */
static void test_timestamps_ntsc(void)
{
    char *model = ntsc_model();
    Source *source = source_play(NULL, "model-location", model, NULL);
    for (guint64 frame = 0; frame < 100; frame++) {
        GstBuffer *buffer = source_pull(source);
        GstClockTime begin = gst_util_uint64_scale(frame, 1001 * GST_SECOND, 30000);
        GstClockTime end = gst_util_uint64_scale(frame + 1, 1001 * GST_SECOND, 30000);
        g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, begin);
        g_assert_cmpuint(GST_BUFFER_PTS(buffer) + GST_BUFFER_DURATION(buffer), ==, end);
        gst_buffer_unref(buffer);
    }
    source_free(source);
    lf_tiny_model_remove(model);
}

static void test_timestamp_offset(void)
{
    Source *source = source_play(NULL, "timestamp-offset", (gint64) GST_SECOND, NULL);
    GstBuffer *buffer = source_pull(source);
    g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, GST_SECOND);
    gst_buffer_unref(buffer);
    source_free(source);
}

static void test_num_buffers(void)
{
    Source *source = source_play(NULL, "num-buffers", 14, NULL);
    source_skip(source, 14);
    GstEvent *event;
    gboolean eos = FALSE;
    while (!eos && (event = gst_harness_pull_event(source->harness))) {
        eos = GST_EVENT_TYPE(event) == GST_EVENT_EOS;
        gst_event_unref(event);
    }
    g_assert_true(eos);
    g_assert_cmpuint(gst_harness_buffers_received(source->harness), ==, 14);
    source_free(source);
}

/* ---- queries --------------------------------------------------------------------------------- */

static void test_duration(void)
{
    gint64 duration;
    Source *source = source_play(NULL, "num-buffers", 40, NULL);
    source_skip(source, 1);
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    g_assert_true(gst_pad_query_duration(pad, GST_FORMAT_TIME, &duration));
    g_assert_cmpint(duration, ==, 40 * FRAME_DURATION);
    g_assert_true(gst_pad_query_duration(pad, GST_FORMAT_DEFAULT, &duration));
    g_assert_cmpint(duration, ==, 40);
    g_assert_true(gst_pad_query_duration(pad, GST_FORMAT_BYTES, &duration));
    g_assert_cmpint(duration, ==, 40 * 64 * 64 * 3 / 2); /* I420 */
    gst_object_unref(pad);
    source_free(source);

    source = source_play(NULL, NULL);
    source_skip(source, 1);
    pad = gst_element_get_static_pad(source->element, "src");
    g_assert_false(gst_pad_query_duration(pad, GST_FORMAT_TIME, &duration) && duration >= 0);
    gst_object_unref(pad);
    source_free(source);
}

/* Before the size is negotiated there is no number of bytes, before there is a model no time. */
static void test_early_queries(void)
{
    gint64 result;
    Source *source = source_new("is-live", TRUE, "num-buffers", 40, NULL);
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    for (GstState state = GST_STATE_NULL; state <= GST_STATE_READY; state++) {
        gboolean ready = state == GST_STATE_READY;
        GstQuery *latency = gst_query_new_latency();
        source_set_state(source, state);
        gboolean known = gst_pad_query_duration(pad, GST_FORMAT_TIME, &result) && result >= 0;
        g_assert_cmpint(known, ==, ready);
        if (ready)
            g_assert_cmpint(result, ==, 40 * FRAME_DURATION);
        known = gst_pad_query_duration(pad, GST_FORMAT_DEFAULT, &result) && result >= 0;
        g_assert_cmpint(known, ==, ready);
        known = gst_pad_query_duration(pad, GST_FORMAT_BYTES, &result) && result >= 0;
        g_assert_false(known);
        g_assert_false(
            gst_pad_query_convert(pad, GST_FORMAT_DEFAULT, 16, GST_FORMAT_TIME, &result));
        g_assert_cmpint(gst_pad_query(pad, latency), ==, ready);
        gst_query_unref(latency);
    }
    gst_object_unref(pad);
    source_free(source);
}

static void test_convert(void)
{
    gint64 result;
    Source *source = source_play("video/x-raw,format=RGBx", NULL);
    source_skip(source, 1);
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    g_assert_true(gst_pad_query_convert(pad, GST_FORMAT_DEFAULT, 16, GST_FORMAT_TIME, &result));
    g_assert_cmpint(result, ==, GST_SECOND);
    g_assert_true(
        gst_pad_query_convert(pad, GST_FORMAT_TIME, GST_SECOND, GST_FORMAT_BYTES, &result));
    g_assert_cmpint(result, ==, 16 * 64 * 64 * 4);
    gst_object_unref(pad);
    source_free(source);
}

/* There is no way back, nor forward. */
static void test_no_seek(void)
{
    gboolean seekable = TRUE;
    Source *source = source_play(NULL, "num-buffers", 40, NULL);
    source_skip(source, 1);
    GstQuery *query = gst_query_new_seeking(GST_FORMAT_TIME);
    g_assert_true(gst_element_query(source->element, query));
    gst_query_parse_seeking(query, NULL, &seekable, NULL, NULL);
    g_assert_false(seekable);
    gst_query_unref(query);
    source_free(source);
}

static void test_latency_not_live(void)
{
    gboolean live;
    GstClockTime min, max;
    Source *source = source_play(NULL, NULL);
    source_skip(source, 1);
    GstQuery *query = gst_query_new_latency();
    g_assert_true(gst_element_query(source->element, query));
    gst_query_parse_latency(query, &live, &min, &max);
    g_assert_false(live);
    g_assert_cmpuint(min, ==, 0);
    g_assert_cmpuint(max, ==, GST_CLOCK_TIME_NONE);
    gst_query_unref(query);
    source_free(source);
}

/* ---- seeds ----------------------------------------------------------------------------------- */

/* A hash of the next frames. */
static char *digest(Source *source, guint n_frames)
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA1);
    while (n_frames--) {
        GBytes *bytes = source_pull_bytes(source);
        g_checksum_update(sum, g_bytes_get_data(bytes, NULL), (gssize) g_bytes_get_size(bytes));
        g_bytes_unref(bytes);
    }
    char *text = g_strdup(g_checksum_get_string(sum));
    g_checksum_free(sum);
    return text;
}

static char *digest_of(gint64 seed, const char *prompt)
{
    Source *source = source_play(NULL, "seed", seed, "prompt", prompt, NULL);
    char *text = digest(source, 33);
    source_free(source);
    return text;
}

static void test_seed(void)
{
    char *a = digest_of(5, "a ball"), *b = digest_of(5, "a ball");
    char *other_seed = digest_of(6, "a ball"), *other_prompt = digest_of(5, "a star");
    g_assert_cmpstr(a, ==, b);
    g_assert_cmpstr(a, !=, other_seed);
    g_assert_cmpstr(a, !=, other_prompt);
    g_free(a);
    g_free(b);
    g_free(other_seed);
    g_free(other_prompt);
}

static gint64 seed_in_stats(Source *source)
{
    GstStructure *stats = NULL;
    gint64 seed = -1;
    g_object_get(source->element, "stats", &stats, NULL);
    g_assert_true(gst_structure_get_int64(stats, "seed", &seed));
    gst_structure_free(stats);
    return seed;
}

/* The statistics have the random seed, and that seed gives the same frames again. */
static void test_random_seed(void)
{
    Source *source = source_play(NULL, "seed", (gint64) -1, "prompt", "a ball", NULL);
    char *random = digest(source, 33);
    gint64 seed = seed_in_stats(source);
    source_free(source);
    char *named = digest_of(seed, "a ball");
    g_assert_cmpint(seed, >=, 0);
    g_assert_cmpstr(random, ==, named);
    g_free(random);
    g_free(named);
}

/* The seed is known before the first frame; it is another one for every stream. */
static void test_seed_at_start(void)
{
    gint64 seeds[3];
    Source *source = source_new("is-live", TRUE, NULL);
    for (int i = 0; i < 3; i++) {
        gst_element_set_state(source->element, GST_STATE_PAUSED);
        seeds[i] = seed_in_stats(source);
        gst_element_set_state(source->element, GST_STATE_READY);
        g_object_set(source->element, "seed", (gint64) -1, NULL);
    }
    source_free(source);
    g_assert_cmpint(seeds[0], ==, 1);
    g_assert_cmpint(seeds[1], >=, 0);
    g_assert_cmpint(seeds[2], >=, 0);
    g_assert_cmpint(seeds[1], !=, seeds[2]);
}

static GBytes *first_picture(Source *source)
{
    source_set_state(source, GST_STATE_PLAYING);
    GBytes *picture = source_pull_bytes(source);
    source_set_state(source, GST_STATE_READY);
    return picture;
}

/* A model is another one when a part of it comes from elsewhere: for two elements at a time, and for
 * one element after READY. */
static void test_other_decoder(void)
{
    char *other = lf_tiny_model_make(NULL, &(LfTinyModel){.seed = 5});
    g_autofree char *decoder = g_build_filename(other, "decoder.safetensors", NULL);
    Source *playing = source_play(NULL, NULL);
    g_autoptr(GBytes) usual = source_pull_bytes(playing);
    Source *source = source_new("num-buffers", 1, "decoder-location", decoder, NULL);
    g_autoptr(GBytes) changed = first_picture(source);
    g_object_set(source->element, "decoder-location", NULL, NULL);
    g_autoptr(GBytes) again = first_picture(source);
    g_object_set(source->element, "decoder-location", decoder, NULL);
    g_autoptr(GBytes) changed_again = first_picture(source);
    source_free(source);
    source_free(playing);
    g_assert_false(g_bytes_equal(usual, changed));
    g_assert_true(g_bytes_equal(usual, again));
    g_assert_true(g_bytes_equal(changed, changed_again));
    lf_tiny_model_remove(other);
}

static void test_ready_forgets(void)
{
    Source *source = source_new("num-buffers", 21, NULL);
    source_set_state(source, GST_STATE_PLAYING);
    char *first = digest(source, 21);
    source_set_state(source, GST_STATE_READY);
    source_set_state(source, GST_STATE_PLAYING);
    char *second = digest(source, 20);
    GstBuffer *last = source_pull(source);
    assert_stamps(last, 20, FALSE);
    gst_buffer_unref(last);
    source_free(source);

    source = source_play(NULL, NULL);
    char *third = digest(source, 20);
    g_assert_cmpstr(second, ==, third);
    g_assert_cmpstr(first, !=, third); /* one frame more */
    g_free(first);
    g_free(second);
    g_free(third);
    source_free(source);
}

/* ---- prompts and scenes ---------------------------------------------------------------------- */

static void test_prompt_messages(void)
{
    Source *source = source_play(NULL, NULL);
    source_skip(source, 1);
    GstMessage *message = source_prompt_message(source);
    const GstStructure *s = gst_message_get_structure(message);
    guint64 id, chunk, frame, timestamp, stream_time, running_time, duration, latency;
    gint64 seed;
    g_assert_true(gst_structure_has_field(s, "transition"));
    g_assert_true(gst_structure_get(
        s, "prompt-id", G_TYPE_UINT64, &id, "chunk", G_TYPE_UINT64, &chunk, "frame", G_TYPE_UINT64,
        &frame, "timestamp", G_TYPE_UINT64, &timestamp, "stream-time", G_TYPE_UINT64, &stream_time,
        "running-time", G_TYPE_UINT64, &running_time, "duration", G_TYPE_UINT64, &duration,
        "latency", G_TYPE_UINT64, &latency, "seed", G_TYPE_INT64, &seed, NULL));
    g_assert_cmpstr(gst_structure_get_string(s, "prompt"), ==, "a red ball");
    g_assert_cmpuint(id, ==, 1);
    g_assert_cmpuint(chunk, ==, 0);
    g_assert_cmpuint(frame, ==, 0);
    g_assert_cmpuint(timestamp, ==, 0);
    g_assert_cmpuint(duration, ==, FRAME_DURATION);
    g_assert_cmpint(seed, ==, 1);
    gst_message_unref(message);
    source_free(source);
}

/* A new prompt is shown from the first frame of a chunk on. One chunk may be queued and one be
 * generated before. */
static void test_prompt_change(void)
{
    Source *source = source_play(NULL, NULL);
    source_skip(source, 4);
    g_object_set(source->element, "prompt", "a red ball", NULL); /* no change */
    g_object_set(source->element, "prompt", "a blue star", NULL);
    gst_message_unref(source_prompt_message(source));
    source_skip(source, 50);
    GstMessage *message = source_prompt_message(source);
    const GstStructure *s = gst_message_get_structure(message);
    guint64 frame = 0, id = 0;
    g_assert_cmpstr(gst_structure_get_string(s, "prompt"), ==, "a blue star");
    gst_structure_get_uint64(s, "frame", &frame);
    gst_structure_get_uint64(s, "prompt-id", &id);
    g_assert_cmpuint(id, ==, 2);
    g_assert_true(frame == FIRST_CHUNK || frame == FIRST_CHUNK + 12);
    gst_message_unref(message);
    source_free(source);
}

/* Of several prompts that are set while a chunk is generated the last one shows, from the next chunk
 * on. */
static void test_prompts_in_a_row(void)
{
    static const char *const prompts[] = {"a red ball", "a blue star"};
    Source *source = source_new(NULL);
    source_hold(source, 1);
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PLAYING);
    source_wait_held(source);
    g_object_set(source->element, "prompt", "a green ring", NULL);
    g_object_set(source->element, "prompt", prompts[1], NULL);
    source_release(source);
    source_skip(source, FIRST_CHUNK + 12 + 2);
    for (guint64 i = 0; i < 2; i++) {
        GstMessage *message = source_prompt_message(source);
        const GstStructure *s = gst_message_get_structure(message);
        guint64 frame = 0, id = 0, chunk = 0;
        g_assert_true(gst_structure_get(s, "frame", G_TYPE_UINT64, &frame, "prompt-id",
                                        G_TYPE_UINT64, &id, "chunk", G_TYPE_UINT64, &chunk, NULL));
        g_assert_cmpstr(gst_structure_get_string(s, "prompt"), ==, prompts[i]);
        g_assert_cmpuint(frame, ==, i * (FIRST_CHUNK + 12));
        g_assert_cmpuint(id, ==, 1 + 2 * i);
        g_assert_cmpuint(chunk, ==, 2 * i);
        gst_message_unref(message);
    }
    g_assert_cmpuint(source_stat(source, "prompts"), ==, 2);
    source_free(source);
}

static void test_messages(void)
{
    Source *source = source_play(NULL, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "messages", "chunk");
    source_skip(source, 60);
    GstMessage *message = source_message(source, GST_MESSAGE_ELEMENT);
    g_assert_nonnull(message);
    while (gst_message_has_name(message, "lightforcing-prompt")) {
        gst_message_unref(message);
        message = source_message(source, GST_MESSAGE_ELEMENT);
    }
    g_assert_true(gst_message_has_name(message, "lightforcing-chunk"));
    const GstStructure *s = gst_message_get_structure(message);
    gint frames = 0;
    guint64 generate = 0;
    g_assert_true(gst_structure_get(s, "frames", G_TYPE_INT, &frames, "generate-time",
                                    G_TYPE_UINT64, &generate, NULL));
    g_assert_true(frames == 9 || frames == 12);
    g_assert_cmpuint(generate, >, 0);
    gst_message_unref(message);
    source_free(source);
}

/* Exactly the messages that the flags ask for. */
static void test_message_flags(void)
{
    for (guint flags = 0; flags < 4; flags++) {
        guint n_prompts = 0, n_chunks = 0;
        GstMessage *message;
        Source *source = source_play(NULL, "messages", flags, NULL);
        source_skip(source, 30);
        while ((message = gst_bus_pop_filtered(source->bus, GST_MESSAGE_ELEMENT))) {
            n_prompts += gst_message_has_name(message, "lightforcing-prompt");
            n_chunks += gst_message_has_name(message, "lightforcing-chunk");
            gst_message_unref(message);
        }
        g_assert_cmpuint(n_prompts, ==, flags & 1);
        g_assert_cmpint(n_chunks >= 3, ==, (flags & 2) != 0);
        g_assert_cmpint(n_chunks > 0, ==, (flags & 2) != 0);
        source_free(source);
    }
}

/* Events and buffers in the order in which they leave the pad. */
typedef struct {
    GMutex lock;
    GString *order; /* S segment, T tag, K key unit, . frame, D frame with DISCONT */
    guint64 pts;    /* that is expected next */
} Order;

static char event_letter(GstEvent *event)
{
    if (GST_EVENT_TYPE(event) == GST_EVENT_SEGMENT)
        return 'S';
    if (GST_EVENT_TYPE(event) == GST_EVENT_TAG)
        return 'T';
    return gst_video_event_is_force_key_unit(event) ? 'K' : 0;
}

static GstPadProbeReturn note(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    Order *order = data;
    char letter;
    g_mutex_lock(&order->lock);
    if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
        GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER(info);
        g_assert_cmpuint(GST_BUFFER_PTS(buffer), ==, order->pts);
        order->pts += FRAME_DURATION;
        letter = GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT) ? 'D' : '.';
    } else {
        letter = event_letter(GST_PAD_PROBE_INFO_EVENT(info));
    }
    if (letter)
        g_string_append_c(order->order, letter);
    g_mutex_unlock(&order->lock);
    return GST_PAD_PROBE_OK;
}

static void order_watch(Order *order, Source *source)
{
    g_mutex_init(&order->lock);
    order->order = g_string_new(NULL);
    order->pts = 0;
    GstPad *pad = gst_element_get_static_pad(source->element, "src");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, note,
                      order, NULL);
    gst_object_unref(pad);
    gst_harness_set_blocking_push_mode(source->harness);
}

static void order_clear(Order *order)
{
    g_string_free(order->order, TRUE);
    g_mutex_clear(&order->lock);
}

/* The next event of this kind that has left the element. */
static GstEvent *next_event(Source *source, char letter)
{
    GstEvent *event = gst_harness_try_pull_event(source->harness);
    while (event && event_letter(event) != letter) {
        gst_event_unref(event);
        event = gst_harness_try_pull_event(source->harness);
    }
    g_assert_nonnull(event);
    return event;
}

/* The tag is the prompt and about the whole stream; the request is for the frame that follows, with
 * all headers. */
static void test_events(void)
{
    static const char *const prompts[] = {"a red ball", "a blue star"};
    Source *source = source_play(NULL, "send-prompt-tags", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "prompt-transition", "cut");
    source_skip(source, 1);
    g_object_set(source->element, "prompt", prompts[1], NULL);
    source_skip(source, 40);
    GstEvent *tags[2];
    tags[0] = next_event(source, 'T');
    GstEvent *request = next_event(source, 'K');
    tags[1] = next_event(source, 'T');
    for (guint i = 0; i < 2; i++) {
        GstTagList *list;
        char *text = NULL;
        gst_event_parse_tag(tags[i], &list);
        g_assert_cmpint((gint) gst_tag_list_get_scope(list), ==, GST_TAG_SCOPE_GLOBAL);
        g_assert_cmpint(gst_tag_list_n_tags(list), ==, 1);
        g_assert_true(gst_tag_list_get_string(list, GST_TAG_DESCRIPTION, &text));
        g_assert_cmpstr(text, ==, prompts[i]);
        g_free(text);
        gst_event_unref(tags[i]);
    }
    GstClockTime timestamp, stream_time, running_time;
    gboolean all_headers;
    guint count;
    g_assert_true(gst_video_event_parse_downstream_force_key_unit(
        request, &timestamp, &stream_time, &running_time, &all_headers, &count));
    g_assert_false(GST_CLOCK_TIME_IS_VALID(timestamp));
    g_assert_false(GST_CLOCK_TIME_IS_VALID(stream_time));
    g_assert_false(GST_CLOCK_TIME_IS_VALID(running_time));
    g_assert_true(all_headers);
    g_assert_cmpuint(count, ==, 0);
    gst_event_unref(request);
    source_free(source);
}

static void test_tags_and_keyframes(gconstpointer requests)
{
    Order order;
    Source *source = source_new("send-prompt-tags", TRUE, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "keyframe-requests", requests);
    order_watch(&order, source);
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, 2);
    g_object_set(source->element, "prompt", "a blue star", NULL);
    source_skip(source, 40);
    source_free(source);
    g_test_message("%s", order.order->str);
    const char *wanted = strcmp(requests, "prompt") == 0 ? "^STD\\.+KT\\.+$" : "^STD\\.+T\\.+$";
    g_assert_true(g_regex_match_simple(wanted, order.order->str, 0, 0));
    order_clear(&order);
}

/* A keyframe is requested for the new scene, unless that is turned off. */
static void test_restart(gconstpointer requests)
{
    Order order;
    Source *source = source_new(NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "keyframe-requests", requests);
    order_watch(&order, source);
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, FIRST_CHUNK);
    g_signal_emit_by_name(source->element, "restart", (gint64) 1);
    source_skip(source, 40);
    source_free(source);
    g_test_message("%s", order.order->str);
    const char *wanted = strcmp(requests, "none") == 0 ? "^SD\\.{8}(\\.{12}){0,2}D\\.+$"
                                                       : "^SD\\.{8}(\\.{12}){0,2}KD\\.+$";
    g_assert_true(g_regex_match_simple(wanted, order.order->str, 0, 0));
    order_clear(&order);
}

typedef struct {
    GstElement *element;
    GMutex lock;
    GCond changed;
    gboolean started, restarted;
} Restart;

/* Restarts in the worker's first message, once the state change has returned. */
static GstBusSyncReply restart_while_loading(GstBus *bus, GstMessage *message, gpointer data)
{
    Restart *restart = data;
    GstProgressType type = GST_PROGRESS_TYPE_START;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_PROGRESS)
        gst_message_parse_progress(message, &type, NULL, NULL);
    if (type != GST_PROGRESS_TYPE_CONTINUE || restart->restarted)
        return GST_BUS_PASS;
    g_mutex_lock(&restart->lock);
    while (!restart->started)
        g_cond_wait(&restart->changed, &restart->lock);
    g_mutex_unlock(&restart->lock);
    restart->restarted = TRUE;
    g_signal_emit_by_name(restart->element, "restart", (gint64) 42);
    return GST_BUS_PASS;
}

/* A restart before the first chunk changes its seed, and is no new scene. */
static void test_early_restart(void)
{
    Order order;
    Restart restart = {0};
    Source *source = source_new(NULL);
    restart.element = source->element;
    g_mutex_init(&restart.lock);
    g_cond_init(&restart.changed);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, restart_while_loading, &restart, NULL);
    order_watch(&order, source);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    g_mutex_lock(&restart.lock);
    restart.started = TRUE;
    g_cond_broadcast(&restart.changed);
    g_mutex_unlock(&restart.lock);
    source_skip(source, FIRST_CHUNK + 12);
    GstStructure *stats = NULL;
    gint64 seed = -1;
    g_object_get(source->element, "stats", &stats, NULL);
    g_assert_true(gst_structure_get_int64(stats, "seed", &seed));
    g_assert_cmpint(seed, ==, 42);
    gst_structure_free(stats);
    source_free(source);
    g_test_message("%s", order.order->str);
    g_assert_true(g_regex_match_simple("^SD\\.{20,}$", order.order->str, 0, 0));
    order_clear(&order);
    g_mutex_clear(&restart.lock);
    g_cond_clear(&restart.changed);
}

/* The message is about this prompt and this transition. Takes the message. */
static void check_transition(GstMessage *message, const char *prompt, const char *wanted)
{
    const GstStructure *s = gst_message_get_structure(message);
    g_assert_cmpstr(gst_structure_get_string(s, "prompt"), ==, prompt);
    char *transition = gst_value_serialize(gst_structure_get_value(s, "transition"));
    g_assert_cmpstr(transition, ==, wanted);
    g_free(transition);
    gst_message_unref(message);
}

/* Timestamps have no gaps at a change of the prompt, and only a cut is marked as discontinuous,
 * with a keyframe request. The property is set between the second and the third prompt: only the
 * third has that transition. */
static void test_transition(gconstpointer data)
{
    const char *name = data;
    gboolean cut = strcmp(name, "cut") == 0;
    Order order;
    Source *source = source_new(NULL);
    order_watch(&order, source);
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, 2);
    g_object_set(source->element, "prompt", "a blue star", NULL);
    source_skip(source, 40);
    check_transition(source_prompt_message(source), "a red ball", "cut");
    check_transition(source_prompt_message(source), "a blue star", "continue");
    gst_util_set_object_arg(G_OBJECT(source->element), "prompt-transition", name);
    source_skip(source, 40);
    g_object_set(source->element, "prompt", "a green ring", NULL);
    source_skip(source, 60);
    check_transition(source_prompt_message(source), "a green ring", name);
    source_free(source);
    g_test_message("%s", order.order->str);
    const char *wanted = cut ? "^SD\\.{80,}KD\\.{20,}$" : "^SD\\.{100,}$";
    g_assert_true(g_regex_match_simple(wanted, order.order->str, 0, 0));
    const char *first = strchr(order.order->str, 'K');
    if (first) /* the first chunk of a stream, then whole ones */
        g_assert_cmpint((first - order.order->str - 1 - FIRST_CHUNK) % 12, ==, 0);
    order_clear(&order);
}

/* A new scene's first chunk has as many frames as a stream's. */
static void test_cut_chunk(void)
{
    Source *source = source_play(NULL, "messages", 2 /* chunk */, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "prompt-transition", "cut");
    source_skip(source, FIRST_CHUNK);
    g_object_set(source->element, "prompt", "a blue star", NULL);
    source_skip(source, 60);
    int n_short = 0;
    for (guint64 i = 0; i < 5; i++) {
        GstMessage *message = source_message(source, GST_MESSAGE_ELEMENT);
        const GstStructure *s = gst_message_get_structure(message);
        guint64 chunk = 0;
        gint frames = 0;
        double sparsity = -1;
        g_assert_true(gst_structure_get(s, "chunk", G_TYPE_UINT64, &chunk, "frames", G_TYPE_INT,
                                        &frames, "sparsity", G_TYPE_DOUBLE, &sparsity, NULL));
        g_assert_cmpuint(chunk, ==, i);
        g_assert_true(frames == FIRST_CHUNK || frames == 12);
        g_assert_true((frames == FIRST_CHUNK) == (sparsity == 0));
        n_short += frames == FIRST_CHUNK;
        gst_message_unref(message);
    }
    g_assert_cmpint(n_short, ==, 2);
    source_free(source);
}

static void assert_chunk(Source *source, guint64 index, gint n_frames)
{
    GstMessage *message = source_message(source, GST_MESSAGE_ELEMENT);
    const GstStructure *s = gst_message_get_structure(message);
    guint64 chunk = 0;
    gint frames = 0;
    g_assert_true(
        gst_structure_get(s, "chunk", G_TYPE_UINT64, &chunk, "frames", G_TYPE_INT, &frames, NULL));
    g_assert_cmpuint(chunk, ==, index);
    g_assert_cmpint(frames, ==, n_frames);
    gst_message_unref(message);
}

static void wait_for_chunks(Source *source, guint64 n)
{
    while (source_stat(source, "chunks") < n)
        g_usleep(1000);
    g_usleep(50 * 1000); /* for a generator that would go on */
    g_assert_cmpuint(source_stat(source, "chunks"), ==, n);
}

/* A model with chunks of one latent frame: the first chunk of a scene is one picture, behind which
 * one chunk more is queued. */
static void test_frame_wise(void)
{
    char *model = lf_tiny_model_make(NULL, &(LfTinyModel){.chunk = 1});
    Source *source = source_play(NULL, "model-location", model, "messages", 2 /* chunk */, NULL);
    gst_util_set_object_arg(G_OBJECT(source->element), "prompt-transition", "cut");
    wait_for_chunks(source, 2);
    source_skip(source, 2); /* of a harness that has the frame after it, too */
    wait_for_chunks(source, 3);
    g_object_set(source->element, "prompt", "a blue star", NULL);
    source_skip(source, 4);
    wait_for_chunks(source, 5); /* the third chunk plays; the scene's first and second are queued */
    guint64 n_frames = source_stat(source, "frames");
    source_skip(source, 7);
    for (guint64 i = 0; i < 5; i++)
        assert_chunk(source, i, i == 0 || i == 3 ? 1 : 4);
    g_assert_cmpuint(source_stat(source, "frames"), >=, n_frames + 6);
    source_free(source);
    lf_tiny_model_remove(model);
}

static GBytes *tenth_frame(const char *property, const char *value)
{
    Source *source = source_new(NULL);
    gst_harness_set_blocking_push_mode(source->harness);
    if (property)
        gst_util_set_object_arg(G_OBJECT(source->element), property, value);
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, 9); /* the first of the second chunk, unless chunks are shorter */
    GBytes *bytes = source_pull_bytes(source);
    source_free(source);
    return bytes;
}

/* What the properties of the sampling do reaches the engine, and the model's own values change
 * nothing. */
static void test_sampling(void)
{
    static const struct {
        const char *property, *value;
        gboolean same;
    } cases[] = {{"steps", "", TRUE},           {"steps", "1000,500", TRUE},
                 {"steps", "1000", FALSE},      {"first-steps", "1000, 500", TRUE},
                 {"first-steps", "999", FALSE}, {"shift", "5", TRUE},
                 {"shift", "4.5", FALSE},       {"chunk-size", "3", TRUE},
                 {"chunk-size", "2", FALSE}};
    g_autoptr(GBytes) usual = tenth_frame(NULL, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GBytes) bytes = tenth_frame(cases[i].property, cases[i].value);
        g_test_message("%s=%s", cases[i].property, cases[i].value);
        g_assert_cmpint(g_bytes_equal(usual, bytes), ==, cases[i].same);
    }
}

/* A restart with another seed gives other pictures; the statistics tell the seed of the last frame
 * that was pushed. */
static void test_restart_seed(gconstpointer seed)
{
    gboolean restarted = FALSE;
    Source *source = source_play("video/x-raw,format=RGB", NULL);
    GBytes *first = source_pull_bytes(source), *bytes = NULL;
    g_assert_cmpint(seed_in_stats(source), ==, 1);
    g_signal_emit_by_name(source->element, "restart", (gint64) GPOINTER_TO_INT(seed));
    while (!restarted) {
        GstMapInfo map;
        GstBuffer *buffer = source_pull(source);
        restarted = GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT);
        g_clear_pointer(&bytes, g_bytes_unref);
        g_assert_true(gst_buffer_map(buffer, &map, GST_MAP_READ));
        bytes = g_bytes_new(map.data, map.size);
        gst_buffer_unmap(buffer, &map);
        gst_buffer_unref(buffer);
    }
    g_assert_cmpint(seed_in_stats(source), ==, GPOINTER_TO_INT(seed));
    g_assert_false(g_bytes_equal(first, bytes));
    g_bytes_unref(first);
    g_bytes_unref(bytes);
    source_free(source);
}

/* The scene after a restart with the first one's seed is the first one. */
static void test_restart_repeats(gconstpointer seed)
{
    Source *source = source_play(NULL, NULL);
    GBytes *first[FIRST_CHUNK];
    for (int i = 0; i < FIRST_CHUNK; i++)
        first[i] = source_pull_bytes(source);
    g_signal_emit_by_name(source->element, "restart", (gint64) GPOINTER_TO_INT(seed));

    GBytes *bytes = source_pull_bytes(source);
    int n_others = 0;
    while (!g_bytes_equal(bytes, first[0]) && n_others++ < 24) {
        g_bytes_unref(bytes);
        bytes = source_pull_bytes(source);
    }
    g_assert_true(n_others == 0 || n_others == 12 || n_others == 24);
    for (int i = 0; i < FIRST_CHUNK; i++) {
        g_assert_true(g_bytes_equal(bytes, first[i]));
        g_bytes_unref(first[i]);
        g_bytes_unref(bytes);
        bytes = source_pull_bytes(source);
    }
    g_bytes_unref(bytes);
    source_free(source);
}

/* ---- stats, control -------------------------------------------------------------------------- */

/* The planned sparsity of this chunk, from its message. */
static double chunk_sparsity(Source *source, guint64 wanted)
{
    double sparsity = -1;
    guint64 chunk = G_MAXUINT64;
    while (chunk != wanted) {
        GstMessage *message = source_message(source, GST_MESSAGE_ELEMENT);
        g_assert_nonnull(message);
        const GstStructure *s = gst_message_get_structure(message);
        if (gst_message_has_name(message, "lightforcing-chunk"))
            g_assert_true(gst_structure_get(s, "chunk", G_TYPE_UINT64, &chunk, "sparsity",
                                            G_TYPE_DOUBLE, &sparsity, NULL));
        gst_message_unref(message);
    }
    return sparsity;
}

/* Options that are set while the model loads count from the first chunk on, those that are set
 * later from the next one on. The first chunk of a scene is dense in any case. */
static void test_options(void)
{
    Source *source = source_new(NULL);
    source_hold(source, 1);
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PAUSED);
    gst_util_set_object_arg(G_OBJECT(source->element), "attention", "dense");
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, 1);
    source_wait_held(source);
    gst_util_set_object_arg(G_OBJECT(source->element), "attention", "sparse");
    source_release(source);
    source_skip(source, FIRST_CHUNK);
    g_assert_cmpfloat(chunk_sparsity(source, 1), ==, 0);
    g_assert_cmpfloat(chunk_sparsity(source, 2), >, 0);
    source_free(source);
}

static double qos_proportion(Source *source)
{
    double proportion = 0;
    GstStructure *stats = NULL;
    g_object_get(source->element, "stats", &stats, NULL);
    g_assert_true(gst_structure_get_double(stats, "qos-proportion", &proportion));
    gst_structure_free(stats);
    return proportion;
}

/* What a sink reports of its quality is in the statistics; 1 before it does. */
static void test_qos(void)
{
    Source *source = source_new(NULL);
    g_assert_cmpfloat(qos_proportion(source), ==, 1);
    gst_harness_play(source->harness);
    source_skip(source, 1);
    g_assert_cmpfloat(qos_proportion(source), ==, 1);
    gst_harness_push_upstream_event(source->harness,
                                    gst_event_new_qos(GST_QOS_TYPE_UNDERFLOW, 1.5, 0, 0));
    g_assert_cmpfloat(qos_proportion(source), ==, 1.5);
    source_free(source);
}

/* The first prompt waits for the model: it has no latency. */
static void test_prompt_latency(void)
{
    Source *source = source_play(NULL, NULL);
    source_skip(source, 1);
    g_object_set(source->element, "prompt", "a blue star", NULL);
    g_assert_cmpuint(source_stat(source, "prompt-latency-max"), ==, 0);
    while (source_stat(source, "prompts") < 2)
        source_skip(source, 1);
    g_assert_cmpuint(source_stat(source, "prompt-latency-last"), >, 0);
    g_assert_cmpuint(source_stat(source, "prompt-latency-max"), ==,
                     source_stat(source, "prompt-latency-last"));
    source_free(source);
}

static void test_stats(void)
{
    Source *source = source_play(NULL, NULL);
    source_skip(source, 40);
    GstStructure *stats = NULL;
    g_object_get(source->element, "stats", &stats, NULL);
    guint64 frames = 0, chunks = 0, prompts = 0, load = 0;
    double rate = 0;
    g_assert_true(gst_structure_get(stats, "frames", G_TYPE_UINT64, &frames, "chunks",
                                    G_TYPE_UINT64, &chunks, "prompts", G_TYPE_UINT64, &prompts,
                                    "load-time", G_TYPE_UINT64, &load, "fps-potential",
                                    G_TYPE_DOUBLE, &rate, NULL));
    static const char *const times[] = {"generate-time-avg", "generate-time-max", "decode-time-avg",
                                        "text-encode-time"};
    for (guint i = 0; i < G_N_ELEMENTS(times); i++) {
        guint64 time = 0;
        g_assert_true(gst_structure_get_uint64(stats, times[i], &time));
        g_test_message("%s %" G_GUINT64_FORMAT, times[i], time);
        g_assert_cmpuint(time, >, 0);
    }
    gint chunk_frames = 0;
    guint level = 0;
    g_assert_true(gst_structure_get(stats, "chunk-frames", G_TYPE_INT, &chunk_frames, "queue-level",
                                    G_TYPE_UINT, &level, NULL));
    g_assert_cmpint(chunk_frames, ==, 12);
    g_assert_cmpuint(level, >=, 1);
    g_assert_cmpuint(level, <=, 2);
    g_assert_cmpuint(frames, >=, 40);
    g_assert_cmpuint(chunks, >=, 4);
    g_assert_cmpuint(prompts, ==, 1);
    g_assert_cmpfloat(rate, >, 0);
    char *name = g_path_get_basename(tiny_model());
    g_assert_cmpstr(gst_structure_get_string(stats, "model"), ==, name);
    g_free(name);
    gst_structure_free(stats);
    source_free(source);
}

#define N_CONTROLLED 4

typedef struct {
    GstElement *element;
    double sparsity[N_CONTROLLED]; /* the property's value as each chunk is reported */
    gint n;                        /* atomic */
} Controlled;

static GstBusSyncReply read_sparsity(GstBus *bus, GstMessage *message, gpointer data)
{
    Controlled *c = data;
    if (gst_message_has_name(message, "lightforcing-chunk") && c->n < N_CONTROLLED) {
        g_object_get(c->element, "sparsity", &c->sparsity[c->n], NULL);
        g_atomic_int_inc(&c->n);
    }
    return GST_BUS_PASS;
}

/* A chunk has the value of the time of its first frame: steps in the curve lie exactly there, and
 * one frame before and after. */
static void test_controlled_sparsity(gconstpointer data)
{
    const GstClockTime offset = (GstClockTime) GPOINTER_TO_INT(data) * GST_SECOND;
    static const struct {
        guint frame;
        double value;
    } steps[] = {{0, .25}, {9, .5}, {20, .6}, {21, .75}, {22, .3}, {32, .35}, {33, .8}};
    Source *source =
        source_new("messages", 2 /* chunk */, "timestamp-offset", (gint64) offset, NULL);
    Controlled controlled = {.element = source->element};
    GstControlSource *values = gst_interpolation_control_source_new();
    g_object_set(values, "mode", GST_INTERPOLATION_MODE_NONE, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++)
        gst_timed_value_control_source_set(GST_TIMED_VALUE_CONTROL_SOURCE(values),
                                           offset + steps[i].frame * FRAME_DURATION,
                                           steps[i].value);
    gst_object_add_control_binding(
        GST_OBJECT(source->element),
        gst_direct_control_binding_new_absolute(GST_OBJECT(source->element), "sparsity", values));
    gst_object_unref(values);

    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, read_sparsity, &controlled, NULL);
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PLAYING);
    while (g_atomic_int_get(&controlled.n) < N_CONTROLLED)
        source_skip(source, 1);
    source_free(source);
    g_assert_cmpfloat(controlled.sparsity[0], ==, .25);
    g_assert_cmpfloat(controlled.sparsity[1], ==, .5);
    g_assert_cmpfloat(controlled.sparsity[2], ==, .75);
    g_assert_cmpfloat(controlled.sparsity[3], ==, .8);
}

/* After READY all begins anew: frames, times of controlled values, messages, statistics. */
static void test_second_stream(void)
{
    static const double wanted[] = {.25, .5, .75};
    Source *source = source_new("num-buffers", FIRST_CHUNK + 24, "messages", 3, NULL);
    Controlled controlled = {.element = source->element};
    GstControlSource *values = gst_interpolation_control_source_new();
    g_object_set(values, "mode", GST_INTERPOLATION_MODE_NONE, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++)
        gst_timed_value_control_source_set(GST_TIMED_VALUE_CONTROL_SOURCE(values),
                                           (i ? FIRST_CHUNK + 12 * (i - 1) : 0) * FRAME_DURATION,
                                           wanted[i]);
    gst_object_add_control_binding(
        GST_OBJECT(source->element),
        gst_direct_control_binding_new_absolute(GST_OBJECT(source->element), "sparsity", values));
    gst_object_unref(values);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, read_sparsity, &controlled, NULL);
    for (int run = 0; run < 2; run++) {
        g_atomic_int_set(&controlled.n, 0);
        source_set_state(source, GST_STATE_PLAYING);
        for (guint i = 0; i < FIRST_CHUNK + 24; i++) {
            GstBuffer *buffer = source_pull(source);
            assert_stamps(buffer, i, i == 0);
            gst_buffer_unref(buffer);
        }
        for (guint i = 0; i < G_N_ELEMENTS(wanted); i++)
            g_assert_cmpfloat(controlled.sparsity[i], ==, wanted[i]);
        check_transition(source_prompt_message(source), "a red ball", "cut");
        g_assert_cmpuint(source_stat(source, "frames"), ==, FIRST_CHUNK + 24);
        g_assert_cmpuint(source_stat(source, "prompts"), ==, 1);
        source_set_state(source, GST_STATE_READY);
    }
    source_free(source);
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/frames/timestamps", test_timestamps);
    g_test_add_func("/frames/timestamps-ntsc", test_timestamps_ntsc);
    g_test_add_func("/frames/single-picture", test_single_picture);
    g_test_add_func("/frames/timestamp-offset", test_timestamp_offset);
    g_test_add_func("/frames/num-buffers", test_num_buffers);
    g_test_add_func("/frames/every-frame", test_every_frame);
    g_test_add_func("/frames/no-seek", test_no_seek);
    g_test_add_func("/frames/duration", test_duration);
    g_test_add_func("/frames/early-queries", test_early_queries);
    g_test_add_func("/frames/convert", test_convert);
    g_test_add_func("/frames/latency-not-live", test_latency_not_live);
    g_test_add_func("/frames/seed", test_seed);
    g_test_add_func("/frames/random-seed", test_random_seed);
    g_test_add_func("/frames/seed-at-start", test_seed_at_start);
    g_test_add_func("/frames/other-decoder", test_other_decoder);
    g_test_add_func("/frames/ready-forgets", test_ready_forgets);
    g_test_add_func("/frames/second-stream", test_second_stream);
    g_test_add_func("/frames/prompt-messages", test_prompt_messages);
    g_test_add_func("/frames/prompt-change", test_prompt_change);
    g_test_add_func("/frames/prompts-in-a-row", test_prompts_in_a_row);
    g_test_add_func("/frames/messages", test_messages);
    g_test_add_func("/frames/message-flags", test_message_flags);
    g_test_add_func("/frames/events", test_events);
    g_test_add_func("/frames/early-restart", test_early_restart);
    g_test_add_data_func("/frames/tags-and-keyframes", "prompt", test_tags_and_keyframes);
    g_test_add_data_func("/frames/tags-and-keyframes/cut", "cut", test_tags_and_keyframes);
    g_test_add_data_func("/frames/tags-and-keyframes/none", "none", test_tags_and_keyframes);
    g_test_add_data_func("/frames/transition/continue", "continue", test_transition);
    g_test_add_data_func("/frames/transition/recache", "recache", test_transition);
    g_test_add_data_func("/frames/transition/cut", "cut", test_transition);
    g_test_add_func("/frames/transition/cut-chunk", test_cut_chunk);
    g_test_add_func("/frames/frame-wise", test_frame_wise);
    g_test_add_func("/frames/sampling", test_sampling);
    g_test_add_data_func("/frames/restart/none", "none", test_restart);
    g_test_add_data_func("/frames/restart/cut", "cut", test_restart);
    g_test_add_data_func("/frames/restart/prompt", "prompt", test_restart);
    g_test_add_data_func("/frames/restart-seed/42", GINT_TO_POINTER(42), test_restart_seed);
    g_test_add_data_func("/frames/restart-seed/0", GINT_TO_POINTER(0), test_restart_seed);
    g_test_add_data_func("/frames/restart-repeats/seed", GINT_TO_POINTER(1), test_restart_repeats);
    g_test_add_data_func("/frames/restart-repeats/property", GINT_TO_POINTER(-1),
                         test_restart_repeats);
    g_test_add_func("/frames/options", test_options);
    g_test_add_func("/frames/qos", test_qos);
    g_test_add_func("/frames/prompt-latency", test_prompt_latency);
    g_test_add_func("/frames/stats", test_stats);
    g_test_add_data_func("/frames/controlled-sparsity", GINT_TO_POINTER(0),
                         test_controlled_sparsity);
    g_test_add_data_func("/frames/controlled-sparsity/offset", GINT_TO_POINTER(100),
                         test_controlled_sparsity);
    return tests_run();
}
