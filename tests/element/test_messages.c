/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every message: its type, its code, its text and each of its fields, from values that all differ.
 */
#include "gst/messages.h"

#include <string.h>

/* In place of the engine's. */
struct LfChunk {
    LfChunkInfo info;
};

const LfChunkInfo *lf_chunk_info(const LfChunk *chunk)
{
    return &chunk->info;
}

typedef struct {
    GstElement *element; /* a source of the base class */
    GstBus *bus;
} Poster;

static void poster_init(Poster *poster)
{
    poster->element = gst_object_ref_sink(gst_element_factory_make("fakesrc", "poster"));
    poster->bus = gst_bus_new();
    gst_element_set_bus(poster->element, poster->bus);
}

static void poster_clear(Poster *poster)
{
    g_assert_false(gst_bus_have_pending(poster->bus));
    gst_element_set_bus(poster->element, NULL);
    gst_object_unref(poster->element);
    gst_object_unref(poster->bus);
}

static GstMessage *posted(const Poster *poster, GstMessageType type)
{
    GstMessage *message = gst_bus_pop(poster->bus);
    g_assert_nonnull(message);
    g_assert_cmpint((gint) GST_MESSAGE_TYPE(message), ==, (gint) type);
    g_assert_true(GST_MESSAGE_SRC(message) == GST_OBJECT(poster->element));
    return message;
}

/* The next message is an error, a warning or an info with this code, text and debug text. Takes the
 * details out, if they are asked for. */
static void expect(const Poster *poster, GstMessageType type, GQuark domain, gint code,
                   const char *text, const char *debug_end, GstStructure **details)
{
    GError *error = NULL;
    char *debug = NULL;
    const GstStructure *found = NULL;
    GstMessage *message = posted(poster, type);
    if (type == GST_MESSAGE_ERROR)
        gst_message_parse_error(message, &error, &debug);
    else if (type == GST_MESSAGE_WARNING)
        gst_message_parse_warning(message, &error, &debug);
    else
        gst_message_parse_info(message, &error, &debug);
    g_assert_error(error, domain, code);
    g_assert_cmpstr(error->message, ==, text);
    if (!g_str_has_suffix(debug, debug_end))
        g_assert_cmpstr(debug, ==, debug_end);
    if (details) {
        gst_message_parse_warning_details(message, &found);
        *details = gst_structure_copy(found);
    }
    g_error_free(error);
    g_free(debug);
    gst_message_unref(message);
}

static void assert_structure(const GstStructure *structure, const char *wanted)
{
    g_autofree char *text = gst_structure_to_string(structure);
    GstStructure *expected = gst_structure_from_string(wanted, NULL);
    g_assert_nonnull(expected);
    if (!gst_structure_is_equal(structure, expected))
        g_assert_cmpstr(text, ==, wanted);
    gst_structure_free(expected);
}

/* ---- errors and warnings --------------------------------------------------------------------- */

static const struct {
    gint code;
    GQuark (*domain)(void);
    gint loading_code;
    const char *loading;
    GQuark (*later_domain)(void);
    gint later_code;
    const char *later;
} problems[] = {
#define LIBRARY(CODE)  gst_library_error_quark, GST_LIBRARY_ERROR_##CODE
#define RESOURCE(CODE) gst_resource_error_quark, GST_RESOURCE_ERROR_##CODE
#define STREAM(CODE)   gst_stream_error_quark, GST_STREAM_ERROR_##CODE
#define OTHERWISE      LIBRARY(FAILED), "Cannot generate video: "
    {LF_ERROR_NOT_FOUND, RESOURCE(NOT_FOUND), "Cannot load model: ", OTHERWISE},
    {LF_ERROR_READ, RESOURCE(OPEN_READ), "Cannot load model: ", OTHERWISE},
    {LF_ERROR_WRITE, LIBRARY(FAILED), "Cannot load model: ", OTHERWISE},
    {LF_ERROR_FORMAT, STREAM(FORMAT), "Invalid model: ", OTHERWISE},
    {LF_ERROR_SHAPE, STREAM(WRONG_TYPE), "Model tensor mismatch: ", OTHERWISE},
    {LF_ERROR_CONFIG, STREAM(FORMAT), "Invalid model: ", RESOURCE(SETTINGS),
     "Cannot generate video with these settings: "},
    {LF_ERROR_UNSUPPORTED, LIBRARY(SETTINGS), "Cannot load model: ", LIBRARY(SETTINGS),
     "Cannot generate video with these settings: "},
    {LF_ERROR_MEMORY, RESOURCE(NO_SPACE_LEFT), "Not enough memory for the model: ",
     RESOURCE(NO_SPACE_LEFT), "Not enough memory to generate video: "},
    {LF_ERROR_DEVICE, LIBRARY(INIT), "Cannot open compute device: ", OTHERWISE},
    {LF_ERROR_TEXT, LIBRARY(FAILED), "Cannot load model: ", RESOURCE(SETTINGS), ""},
    {LF_ERROR_CANCELLED, LIBRARY(FAILED), "Cannot load model: ", OTHERWISE},
};

static void test_problems(void)
{
    Poster poster;
    poster_init(&poster);
    for (guint i = 0; i < G_N_ELEMENTS(problems); i++) {
        GError *error = g_error_new(LF_ERROR, problems[i].code, "it is the %s", "cause");
        g_autofree char *loading = g_strconcat(problems[i].loading, "it is the cause", NULL);
        g_autofree char *later = g_strconcat(problems[i].later, "it is the cause", NULL);
        gst_light_forcing_post_problem(poster.element, GST_MESSAGE_ERROR, error, TRUE);
        expect(&poster, GST_MESSAGE_ERROR, problems[i].domain(), problems[i].loading_code, loading,
               "it is the cause", NULL);
        gst_light_forcing_post_problem(poster.element, GST_MESSAGE_ERROR, error, FALSE);
        expect(&poster, GST_MESSAGE_ERROR, problems[i].later_domain(), problems[i].later_code,
               later, "it is the cause", NULL);
        g_error_free(error);
    }
    GError *text = g_error_new(LF_ERROR, LF_ERROR_TEXT, "too long");
    gst_light_forcing_post_problem(poster.element, GST_MESSAGE_WARNING, text, FALSE);
    expect(&poster, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
           "New prompt refused, the previous one stays: too long", "too long", NULL);
    g_error_free(text);
    /* A code of another domain means something else. */
    GError *other = g_error_new(G_FILE_ERROR, (gint) LF_ERROR_MEMORY, "no thread");
    gst_light_forcing_post_problem(poster.element, GST_MESSAGE_ERROR, other, TRUE);
    expect(&poster, GST_MESSAGE_ERROR, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED,
           "Cannot load model: no thread", "no thread", NULL);
    g_error_free(other);
    poster_clear(&poster);
}

static void test_fallback(void)
{
    Poster poster;
    poster_init(&poster);
    gst_light_forcing_post_fallback(poster.element, "a processor", "no driver");
    expect(&poster, GST_MESSAGE_WARNING, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_INIT,
           "Running on the CPU, no usable GPU: no driver",
           "the device is a processor; with backend=cpu there is no such warning", NULL);
    poster_clear(&poster);
}

static void test_prompt_failure(void)
{
    Poster poster;
    poster_init(&poster);
    GError *error = g_error_new(LF_ERROR, LF_ERROR_DEVICE, "it is the %s", "cause");
    gst_light_forcing_post_prompt_failure(poster.element, error);
    expect(&poster, GST_MESSAGE_WARNING, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED,
           "New prompt not encoded, the previous one stays: it is the cause", "", NULL);
    g_error_free(error);
    poster_clear(&poster);
}

static void test_untrained(void)
{
    Poster poster;
    poster_init(&poster);
    gst_light_forcing_post_untrained(poster.element);
    expect(&poster, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
           "Sparse attention with a model that was not trained for it: pictures get worse, the "
           "longer the stream. Set attention=auto or dense.",
           "the model has no section \"sparse\", and its family is not a sparse one", NULL);
    poster_clear(&poster);
}

static void test_tokens(void)
{
    static const struct {
        LfPromptTokens tokens;
        const char *cut, *unknown;
    } cases[] = {
        {{.n_tokens = 70}, NULL, NULL},
        {{.n_tokens = 70, .n_cut = 6},
         "6 of 70 tokens of the prompt were cut off: the model takes 64.",
         NULL},
        {{.n_tokens = 70, .n_unknown = 2},
         NULL,
         "2 of 70 tokens of the prompt are of words or characters that the model's tokenizer does "
         "not know: the picture does not follow them."},
        {{.n_tokens = 70, .n_cut = 1, .n_unknown = 1},
         "1 of 70 tokens of the prompt were cut off: the model takes 69.",
         "1 of 69 tokens of the prompt are of words or characters that the model's tokenizer does "
         "not know: the picture does not follow them."},
    };
    Poster poster;
    poster_init(&poster);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const GstLightForcingPrompt prompt = {.tokens = cases[i].tokens};
        gst_light_forcing_post_tokens(poster.element, &prompt);
        if (cases[i].cut)
            expect(&poster, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                   cases[i].cut, "the numbers of all tokens include the end mark", NULL);
        if (cases[i].unknown)
            expect(&poster, GST_MESSAGE_INFO, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                   cases[i].unknown, "unknown characters side by side are one token", NULL);
        g_assert_false(gst_bus_have_pending(poster.bus));
    }
    poster_clear(&poster);
}

/* ---- progress -------------------------------------------------------------------------------- */

static void test_progress(void)
{
    static const gint percents[] = {-1, 0, 1, 90, 100};
    Poster poster;
    poster_init(&poster);
    for (guint i = 0; i < G_N_ELEMENTS(percents); i++) {
        GstProgressType type;
        char *code = NULL, *text = NULL;
        gint percent = -1;
        gst_light_forcing_post_progress(poster.element, GST_PROGRESS_TYPE_CONTINUE, "Half way",
                                        percents[i]);
        GstMessage *message = posted(&poster, GST_MESSAGE_PROGRESS);
        gst_message_parse_progress(message, &type, &code, &text);
        g_assert_cmpint((gint) type, ==, GST_PROGRESS_TYPE_CONTINUE);
        g_assert_cmpstr(code, ==, "open");
        g_assert_cmpstr(text, ==, "Half way");
        const GstStructure *s = gst_message_get_structure(message);
        g_assert_true(gst_structure_get_int(s, "percent", &percent));
        g_assert_cmpint(percent, ==, MAX(percents[i], 0)); /* GStreamer's own: 0 */
        g_free(code);
        g_free(text);
        gst_message_unref(message);
    }
    poster_clear(&poster);
}

/* ---- prompts and chunks ---------------------------------------------------------------------- */

/* A segment in which timestamp, stream time and running time differ. */
static void set_segment(const Poster *poster)
{
    GstSegment *segment = &GST_BASE_SRC(poster->element)->segment;
    gst_segment_init(segment, GST_FORMAT_TIME);
    segment->start = 1000;
    segment->time = 300;
    segment->base = 20;
}

static void test_prompt(void)
{
    static const struct {
        guint64 index;
        LfTransition transition;
        const char *name;
    } cases[] = {{0, LF_TRANSITION_CONTINUE, "cut"},
                 {0, LF_TRANSITION_RECACHE, "cut"},
                 {5, LF_TRANSITION_CONTINUE, "continue"},
                 {1, LF_TRANSITION_RECACHE, "recache"},
                 {5, LF_TRANSITION_CUT, "cut"}};
    Poster poster;
    poster_init(&poster);
    set_segment(&poster);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfChunk chunk = {
            {.index = cases[i].index, .prompt_id = 7, .transition = cases[i].transition}};
        GstLightForcingPrompt prompt = {.text = "a ball",
                                        .tokens = {.n_tokens = 11, .n_cut = 4, .n_unknown = 2}};
        const GstLightForcingFrame frame = {.chunk = &chunk, .prompt = &prompt, .seed = 13};
        GstBuffer *buffer = gst_buffer_new();
        GST_BUFFER_PTS(buffer) = 1500;
        GST_BUFFER_DURATION(buffer) = 62;
        GST_BUFFER_OFFSET(buffer) = 17;
        GST_BUFFER_OFFSET_END(buffer) = 18;
        gst_light_forcing_post_prompt(GST_BASE_SRC(poster.element), &frame, buffer, 999);
        gst_buffer_unref(buffer);
        GstMessage *message = posted(&poster, GST_MESSAGE_ELEMENT);
        g_autofree char *wanted = g_strdup_printf(
            "lightforcing-prompt, prompt=(string)\"a ball\", prompt-id=(guint64)7, "
            "chunk=(guint64)%u, frame=(guint64)17, timestamp=(guint64)1500, "
            "stream-time=(guint64)800, running-time=(guint64)520, duration=(guint64)62, "
            "latency=(guint64)999, seed=(gint64)13, transition=(GstLightForcingTransition)%s, "
            "tokens=(int)11, tokens-cut=(int)4, tokens-unknown=(int)2",
            (guint) cases[i].index, cases[i].name);
        assert_structure(gst_message_get_structure(message), wanted);
        gst_message_unref(message);
    }
    poster_clear(&poster);
}

static void test_chunk(void)
{
    const LfChunkInfo info = {.index = 3,
                              .n_frames = 12,
                              .encode_time = 600000,
                              .text_time = 1,
                              .recache_time = 20,
                              .denoise_time = 300,
                              .clean_time = 4000,
                              .decode_time = 50000,
                              .sparsity = 0.75};
    Poster poster;
    poster_init(&poster);
    gst_light_forcing_post_chunk(poster.element, &info, 2);
    GstMessage *message = posted(&poster, GST_MESSAGE_ELEMENT);
    assert_structure(gst_message_get_structure(message),
                     "lightforcing-chunk, chunk=(guint64)3, frames=(int)12, "
                     "generate-time=(guint64)4321, decode-time=(guint64)50000, "
                     "queue-level=(uint)2, sparsity=(double)0.75");
    gst_message_unref(message);
    poster_clear(&poster);
}

/* ---- underruns ------------------------------------------------------------------------------- */

static void test_qos(void)
{
    gboolean live;
    guint64 running_time, stream_time, timestamp, duration, processed, dropped;
    GstFormat format;
    Poster poster;
    poster_init(&poster);
    set_segment(&poster);
    gst_light_forcing_post_qos(GST_BASE_SRC(poster.element), 1500, 70, 21, 5);
    GstMessage *message = posted(&poster, GST_MESSAGE_QOS);
    gst_message_parse_qos(message, &live, &running_time, &stream_time, &timestamp, &duration);
    g_assert_true(live);
    g_assert_cmpuint(running_time, ==, 1500);
    g_assert_cmpuint(stream_time, ==, 800);
    g_assert_cmpuint(timestamp, ==, 1500);
    g_assert_cmpuint(duration, ==, 70);
    gst_message_parse_qos_stats(message, &format, &processed, &dropped);
    g_assert_cmpint((gint) format, ==, GST_FORMAT_BUFFERS);
    g_assert_cmpuint(processed, ==, 21);
    g_assert_cmpuint(dropped, ==, 5);
    gst_message_unref(message);
    poster_clear(&poster);
}

/* The cure depends on whether frames are generated fast enough on average. */
static void test_underrun(void)
{
    static const struct {
        double rate;
        const char *text;
    } cases[] = {{15.9, "Frames not ready in time: 3 late, 15.9 fps generated, 16.0 needed. Reduce "
                        "the size, raise sparsity or use is-live=false."},
                 {16, "Frames not ready in time: 3 late, 16.0 fps generated, 16.0 needed. The "
                      "average is fast enough: a larger prefetch helps."},
                 {17, "Frames not ready in time: 3 late, 17.0 fps generated, 16.0 needed. The "
                      "average is fast enough: a larger prefetch helps."}};
    Poster poster;
    poster_init(&poster);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        GstStructure *details = NULL;
        guint frames = 0;
        guint64 lost = 0;
        double rate = 0, needed = 0;
        gst_light_forcing_post_underrun(poster.element, 1500 * GST_MSECOND, 3, cases[i].rate, 16);
        expect(&poster, GST_MESSAGE_WARNING, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
               cases[i].text, "lost time: 0:00:01.500000000", &details);
        g_assert_true(gst_structure_get(details, "frames", G_TYPE_UINT, &frames, "lost-time",
                                        G_TYPE_UINT64, &lost, "fps-potential", G_TYPE_DOUBLE, &rate,
                                        "fps-needed", G_TYPE_DOUBLE, &needed, NULL));
        g_assert_cmpuint(frames, ==, 3);
        g_assert_cmpuint(lost, ==, 1500 * GST_MSECOND);
        g_assert_cmpfloat(rate, ==, cases[i].rate);
        g_assert_cmpfloat(needed, ==, 16);
        gst_structure_free(details);
    }
    poster_clear(&poster);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    gst_init(&argc, &argv);
    g_type_ensure(GST_TYPE_LIGHT_FORCING_TRANSITION);
    g_test_add_func("/messages/problems", test_problems);
    g_test_add_func("/messages/fallback", test_fallback);
    g_test_add_func("/messages/prompt-failure", test_prompt_failure);
    g_test_add_func("/messages/untrained", test_untrained);
    g_test_add_func("/messages/tokens", test_tokens);
    g_test_add_func("/messages/progress", test_progress);
    g_test_add_func("/messages/prompt", test_prompt);
    g_test_add_func("/messages/chunk", test_chunk);
    g_test_add_func("/messages/qos", test_qos);
    g_test_add_func("/messages/underrun", test_underrun);
    return g_test_run();
}
