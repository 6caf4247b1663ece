/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Sessions on a device that fails, has no memory, captures nothing, or is slow: every frame that
 * can be read equals the CPU's, and every wrong frame is an error.
 */
#include "tests/unit/stream.h"

#include <stdlib.h>
#include <string.h>

static const char *const prompt = "a red ball bounces on green grass";
static const char *const next_prompt = "a blue star on yellow sand";

enum { CHUNKS = 6 };

/* From the third chunk on all have the same window and budget: captures begin early. */
static const LfSessionOptions options = {
    .keep_latents = TRUE, .seed = 7, .window = 6, .uniform = TRUE};

/* Sets the switches of backends that are opened later. `slow`: microseconds. */
static void set_switches(const char *fail, gboolean poison, int slow)
{
    g_autofree char *text = g_strdup_printf("%d", slow);
    setenv("LF_STANDIN_FAIL", fail, 1);
    setenv("LF_STANDIN_POISON", poison ? "1" : "0", 1);
    setenv("LF_STANDIN_SLOW", text, 1);
}

static void clear_switches(void)
{
    unsetenv("LF_STANDIN_FAIL");
    unsetenv("LF_STANDIN_POISON");
    unsetenv("LF_STANDIN_SLOW");
    unsetenv("LF_STANDIN_QUEUE");
    unsetenv("LF_STANDIN_OPEN");
}

/* The pictures of each of the first chunks, made on the CPU. */
static GPtrArray *reference(void)
{
    GPtrArray *chunks = g_ptr_array_new_with_free_func((GDestroyNotify) g_byte_array_unref);
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSession *s = stream_session(model, &options, prompt);
    for (int i = 0; i < CHUNKS; i++)
        g_ptr_array_add(chunks, stream_run(s, 1));
    lf_session_free(s);
    lf_model_unref(model);
    return chunks;
}

/* All pictures of a chunk; NULL and an error when one cannot be read. */
static GByteArray *try_pictures(const LfChunk *chunk, GError **error)
{
    const LfChunkInfo *info = lf_chunk_info(chunk);
    guint size = 3u * (guint) info->width * (guint) info->height;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_byte_array_set_size(bytes, size * (guint) info->n_frames);
    for (int i = 0; i < info->n_frames; i++) {
        LfPicture picture = {.format = LF_PIXELS_RGB,
                             .width = info->width,
                             .height = info->height,
                             .planes = {bytes->data + size * (guint) i},
                             .strides = {3 * info->width}};
        if (!lf_chunk_read(chunk, i, &picture, error))
            return NULL;
    }
    return g_steal_pointer(&bytes);
}

static void assert_reference(LfSession *s, const GPtrArray *wanted)
{
    for (int i = 0; i < CHUNKS; i++) {
        g_autoptr(GByteArray) pictures = stream_run(s, 1);
        stream_assert_same(wanted->pdata[i], pictures);
    }
}

/* ---- without failures ------------------------------------------------------------------------ */

/* Frames equal the CPU's, with the decoder one chunk behind, in all transitions, and with
 * graphs. */
static void test_frames(void)
{
    LfModel *cpu = stream_model_on(NULL, "cpu"), *device = stream_model(NULL);
    set_switches("", TRUE, 20);
    LfSession *a = stream_session(cpu, &options, prompt);
    LfSession *b = stream_session(device, &options, prompt);
    LfChunk *behind = NULL;
    g_autoptr(GByteArray) wanted = NULL;
    for (int i = 0; i < 20; i++) {
        if (i % 5 == 4) {
            LfTransition transition = i / 5 % 3;
            lf_session_set_transition(a, transition);
            lf_session_set_transition(b, transition);
            g_assert_true(lf_session_set_prompt(a, i % 2 ? prompt : next_prompt, NULL));
            g_assert_true(lf_session_set_prompt(b, i % 2 ? prompt : next_prompt, NULL));
        }
        LfChunk *chunk = stream_next(b);
        if (behind) {
            g_autoptr(GByteArray) pictures = stream_pictures(behind);
            stream_assert_same(wanted, pictures);
            g_byte_array_unref(wanted);
            lf_chunk_unref(behind);
        }
        wanted = stream_run(a, 1);
        behind = chunk;
    }
    lf_chunk_unref(behind);
    clear_switches();
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(cpu);
    lf_model_unref(device);
}

/* With a window of one chunk, dense attention and the same text, the first chunk of a scene differs
 * from the others in its steps alone: it is not replayed from their graph, nor they from its. */
static void test_first_steps(void)
{
    const LfSessionOptions o = {.seed = 7,
                                .chunk = 1,
                                .window = 1,
                                .sink = -1,
                                .attention = LF_ATTENTION_DENSE,
                                .first_steps = {4, {1000, 750, 500, 250}},
                                .steps = {2, {1000, 500}}};
    LfModel *cpu = stream_model_on(NULL, "cpu"), *device = stream_model(NULL);
    set_switches("", TRUE, 20);
    LfSession *a = stream_session(cpu, &o, prompt), *b = stream_session(device, &o, prompt);
    lf_session_set_transition(a, LF_TRANSITION_CUT);
    lf_session_set_transition(b, LF_TRANSITION_CUT);
    for (int i = 0; i < 20; i++) {
        if (i == 4 || i == 8 || i == 9 || i == 10) { /* a scene of four chunks, and two of one */
            g_assert_true(lf_session_set_prompt(a, prompt, NULL));
            g_assert_true(lf_session_set_prompt(b, prompt, NULL));
        }
        if (i == 14 || i == 15 || i == 17) {
            lf_session_restart(a, 8);
            lf_session_restart(b, 8);
        }
        g_autoptr(GByteArray) wanted = stream_run(a, 1), pictures = stream_run(b, 1);
        stream_assert_same(wanted, pictures);
    }
    clear_switches();
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(cpu);
    lf_model_unref(device);
}

/* Nobody reads a picture until all chunks are made, and the decoder takes longer than all else: the
 * latents of a chunk stay where they are until it is decoded, in a window, and in memory that grows
 * without one. */
static void test_decoder_behind(gconstpointer window)
{
    LfSessionOptions o = options;
    o.window = GPOINTER_TO_INT(window);
    LfModel *cpu = stream_model_on(NULL, "cpu"), *device = stream_model(NULL);
    setenv("LF_STANDIN_SLOW", "take_latents:200000", 1); /* a chunk's decoder begins with it */
    LfSession *a = stream_session(cpu, &o, prompt), *b = stream_session(device, &o, prompt);
    LfChunk *chunks[CHUNKS];
    clear_switches();
    for (int i = 0; i < CHUNKS; i++)
        chunks[i] = stream_next(b);
    for (int i = 0; i < CHUNKS; i++) {
        g_autoptr(GByteArray) wanted = stream_run(a, 1), pictures = stream_pictures(chunks[i]);
        stream_assert_same(wanted, pictures);
        lf_chunk_unref(chunks[i]);
    }
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(cpu);
    lf_model_unref(device);
}

/* Graphs are used in these tests: a failure of the first launch is noticed. */
static void test_graphs_are_used(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model(NULL);
    set_switches("graph_launch:1", TRUE, 0);
    LfSession *s = stream_session(model, &options, prompt);
    g_byte_array_unref(stream_run(s, 2));
    g_assert_null(lf_session_next(s, &error));
    stream_assert_error(&error, LF_ERROR_DEVICE, "graph_launch");
    clear_switches();
    lf_session_free(s);
    lf_model_unref(model);
}

/* Other threads may invalidate a capture but not the stream. One capture is invalidated, or all;
 * then no graph is ever launched. */
static void test_spoilt_captures(void)
{
    g_autoptr(GPtrArray) wanted = reference();
    g_autoptr(GString) all = g_string_new("graph_launch:1");
    LfModel *model = stream_model(NULL);
    for (int n = 1; n <= 2 * CHUNKS; n++)
        g_string_append_printf(all, ",capture:%d", n);
    const char *const spoilt[] = {"capture:1", "capture:2", "capture:3", "capture:1,capture:2",
                                  all->str};
    for (guint i = 0; i < G_N_ELEMENTS(spoilt); i++) {
        set_switches(spoilt[i], TRUE, 0);
        LfSession *s = stream_session(model, &options, prompt);
        assert_reference(s, wanted);
        lf_session_free(s);
    }
    clear_switches();
    lf_model_unref(model);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* Reads the oldest chunk: its frames are right, or there is an error. Returns whether there is. */
static gboolean read_oldest(GQueue *made, const GPtrArray *wanted)
{
    g_autoptr(GError) error = NULL;
    LfChunk *chunk = g_queue_pop_head(made);
    g_autoptr(GByteArray) pictures = try_pictures(chunk, &error);
    if (pictures)
        stream_assert_same(wanted->pdata[lf_chunk_info(chunk)->index], pictures);
    else
        g_assert_error(error, LF_ERROR, LF_ERROR_DEVICE);
    lf_chunk_unref(chunk);
    return error != NULL;
}

/* Generates the first chunks of a stream, and reads each `lag` chunks later. Returns whether there
 * was an error. */
static gboolean run_failing(LfSession *s, int lag, const GPtrArray *wanted)
{
    g_autoptr(GError) error = NULL;
    GQueue made = G_QUEUE_INIT;
    gboolean told = FALSE;
    for (int i = 0; i < CHUNKS && !told; i++) {
        LfChunk *chunk = lf_session_next(s, &error);
        if (chunk)
            g_queue_push_tail(&made, chunk);
        else
            g_assert_error(error, LF_ERROR, LF_ERROR_DEVICE);
        told = !chunk || ((int) made.length > lag && read_oldest(&made, wanted));
    }
    while (!g_queue_is_empty(&made))
        told |= read_oldest(&made, wanted);
    return told;
}

typedef struct {
    const char *operation;
    int most; /* calls of it that there are in CHUNKS chunks, at least */
} Failing;

/* A random call of the operation fails; after a restart the stream is right from its first
 * chunk. */
static void test_failure(gconstpointer data)
{
    const Failing *failing = data;
    g_autoptr(GPtrArray) wanted = reference();
    LfModel *model = stream_model(NULL);
    for (int round = 0; round < 3; round++) {
        g_autoptr(GError) error = NULL;
        int n = g_test_rand_int_range(1, failing->most + 1), lag = g_test_rand_int_range(0, 3);
        g_autofree char *fail = g_strdup_printf("%s:%d", failing->operation, n);
        set_switches(fail, g_test_rand_int_range(0, 4) > 0, 30 * g_test_rand_int_range(0, 2));
        g_test_message("%s, read %d chunks later", fail, lag);
        LfSession *s = lf_session_new(model, &options, &error);
        if (!s) { /* what does not depend on the prompt is computed there */
            stream_assert_error(&error, LF_ERROR_DEVICE, "stand-in");
            continue;
        }
        g_assert_true(lf_session_set_prompt(s, prompt, NULL));
        g_assert_true(run_failing(s, lag, wanted));
        lf_session_restart(s, options.seed);
        run_failing(s, lag, wanted); /* here the n-th call of the other backend may fail */
        lf_session_restart(s, options.seed);
        assert_reference(s, wanted);
        lf_session_free(s);
    }
    clear_switches();
    lf_model_unref(model);
}

/* A picture that could not be written is an error, and can be read again. */
static void test_failing_pixels(void)
{
    g_autoptr(GPtrArray) wanted = reference();
    LfModel *model = stream_model(NULL);
    set_switches("pixels:1,pixels:15", TRUE, 0);
    LfSession *s = stream_session(model, &options, prompt);
    for (int i = 0; i < CHUNKS; i++) {
        g_autoptr(GError) error = NULL;
        LfChunk *chunk = stream_next(s);
        GByteArray *pictures = try_pictures(chunk, &error);
        g_assert_true((pictures == NULL) == (i < 2));
        if (!pictures) {
            stream_assert_error(&error, LF_ERROR_DEVICE, "pixels");
            pictures = stream_pictures(chunk);
        }
        stream_assert_same(wanted->pdata[i], pictures);
        g_byte_array_unref(pictures);
        lf_chunk_unref(chunk);
    }
    clear_switches();
    lf_session_free(s);
    lf_model_unref(model);
}

/* Each allocation fails in turn. */
static void test_no_memory(gconstpointer call)
{
    g_autoptr(GPtrArray) wanted = reference();
    LfModel *model = stream_model(NULL);
    gboolean failed = TRUE;
    int n;
    for (n = 1; failed && n < 100; n++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *fail = g_strdup_printf("%s:%d", (const char *) call, n);
        set_switches(fail, TRUE, 0);
        LfSession *s = lf_session_new(model, &options, &error);
        if ((failed = !s)) {
            stream_assert_error(&error, LF_ERROR_MEMORY, "memory");
            continue;
        }
        g_assert_true(lf_session_set_prompt(s, prompt, NULL));
        LfChunk *chunk = lf_session_next(s, &error);
        if ((failed = !chunk))
            stream_assert_error(&error, LF_ERROR_MEMORY, "memory");
        lf_chunk_unref(chunk);
        lf_session_restart(s, options.seed);
        assert_reference(s, wanted);
        lf_session_free(s);
    }
    g_test_message("%d calls of %s", n - 2, (const char *) call);
    g_assert_cmpint(n, >, 3);
    g_assert_false(failed);
    clear_switches();
    lf_model_unref(model);
}

/* ---- a device that cannot be opened ---------------------------------------------------------- */

/* "cuda" fails with the reason, and "auto" opens the CPU. */
static void expect_not_opened(const char *state, LfError code, const char *word)
{
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModel *device = stream_model(NULL);
    setenv("LF_STANDIN_OPEN", state, 1);
    g_assert_null(lf_model_open(dir, &(LfModelOptions){.backend = "cuda"}, &error));
    stream_assert_error(&error, code, word);
    g_assert_null(lf_session_new(device, NULL, &error)); /* lost since the model was opened */
    stream_assert_error(&error, code, word);
    LfModel *model = lf_model_open(dir, &(LfModelOptions){.backend = "auto"}, &error);
    g_assert_no_error(error);
    g_assert_null(strstr(lf_model_device(model), "stand-in"));
    LfSession *s = stream_session(model, &options, prompt);
    g_autoptr(GPtrArray) wanted = reference();
    assert_reference(s, wanted);
    clear_switches();
    lf_session_free(s);
    lf_model_unref(model);
    lf_model_unref(device);
    lf_tiny_model_remove(dir);
}

static void test_old_driver(void)
{
    expect_not_opened("old-driver", LF_ERROR_DEVICE, "driver 580 or newer");
}

static void test_unsupported(void)
{
    expect_not_opened("unsupported", LF_ERROR_UNSUPPORTED, "compute capability");
}

/* "auto" opens the device if it can be opened. */
static void test_auto(void)
{
    LfModel *model = stream_model_on(NULL, "auto");
    g_assert_cmpstr(lf_model_device(model), ==, "stand-in for a device");
    lf_model_unref(model);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

static gpointer cancel_soon(gpointer session)
{
    g_usleep((gulong) g_random_int_range(0, 40000));
    lf_session_cancel(session);
    return NULL;
}

/* Cancelling from another thread at any time, with graphs and with the decoder behind: the frames
 * are the same. */
static void test_cancel(void)
{
    enum { ALL = 24 };
    LfModel *cpu = stream_model_on(NULL, "cpu"), *model = stream_model(NULL);
    set_switches("", TRUE, 10);
    setenv("LF_STANDIN_QUEUE", "8", 1); /* else the calls have ended before anybody can cancel */
    LfSession *sound = stream_session(cpu, &options, prompt);
    LfSession *s = stream_session(model, &options, prompt);
    int n_cancelled = 0;
    for (int i = 0; i < ALL; i++) {
        if (i % 6 == 5) {
            LfTransition transition = g_test_rand_int_range(0, 3);
            lf_session_set_transition(sound, transition);
            lf_session_set_transition(s, transition);
            g_assert_true(lf_session_set_prompt(sound, i % 4 == 1 ? prompt : next_prompt, NULL));
            g_assert_true(lf_session_set_prompt(s, i % 4 == 1 ? prompt : next_prompt, NULL));
        }
        LfChunk *chunk = NULL;
        for (int tries = 0; !chunk; tries++) {
            g_autoptr(GError) error = NULL;
            GThread *thread = tries < 5 ? g_thread_new("canceller", cancel_soon, s) : NULL;
            chunk = lf_session_next(s, &error);
            if (thread)
                g_thread_join(thread);
            lf_session_resume(s);
            if (!chunk)
                stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
            n_cancelled += !chunk;
        }
        g_autoptr(GByteArray) wanted = stream_run(sound, 1);
        if (i % 3 < 2) { /* or its decoder goes on beside the next chunk */
            g_autoptr(GByteArray) pictures = stream_pictures(chunk);
            stream_assert_same(wanted, pictures);
        }
        lf_chunk_unref(chunk);
    }
    g_test_message("%d of %d chunks were cancelled", n_cancelled, n_cancelled + ALL);
    g_assert_cmpint(n_cancelled, >, 0);
    clear_switches();
    lf_session_free(sound);
    lf_session_free(s);
    lf_model_unref(cpu);
    lf_model_unref(model);
}

/* In the middle of captures, which are begun again. The stand-in ends the process when what was
 * captured by then is not freed. */
static void test_cancelled_captures(void)
{
    g_autoptr(GPtrArray) wanted = reference();
    LfModel *model = stream_model(NULL);
    setenv("LF_STANDIN_SLOW", "capture:1000", 1);
    LfSession *s = stream_session(model, &options, prompt);
    clear_switches();
    for (int i = 0; i < CHUNKS; i++) {
        LfChunk *chunk = NULL;
        for (int tries = 0; !chunk; tries++) {
            g_autoptr(GError) error = NULL;
            GThread *thread = tries < 5 ? g_thread_new("canceller", cancel_soon, s) : NULL;
            chunk = lf_session_next(s, &error);
            if (thread)
                g_thread_join(thread);
            lf_session_resume(s);
            if (!chunk)
                stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
        }
        g_autoptr(GByteArray) pictures = stream_pictures(chunk);
        stream_assert_same(wanted->pdata[i], pictures);
        lf_chunk_unref(chunk);
    }
    lf_session_free(s);
    lf_model_unref(model);
}

/* ---- loading --------------------------------------------------------------------------------- */

static gboolean note_part(const char *part, double done, gpointer last)
{
    *(const char **) last = part;
    return done <= 1;
}

/* Any upload of weights that fails ends the loading, the decoder's included, which are the last and
 * which other backends read. */
static void test_failing_load(void)
{
    char *dir = lf_tiny_model_make(NULL, NULL);
    gboolean decoder = FALSE;
    LfModel *model = NULL;
    for (int n = 1; !model && n < 1000; n++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *fail = g_strdup_printf("upload:%d", n);
        const char *part = "";
        LfModelOptions load = {
            .backend = "cuda", .progress = note_part, .progress_data = (gpointer) &part};
        set_switches(fail, TRUE, 0);
        model = lf_model_open(dir, &load, &error);
        if (!model)
            g_assert_error(error, LF_ERROR, LF_ERROR_DEVICE);
        decoder |= !model && g_str_equal(part, "decoder");
    }
    clear_switches();
    g_assert_nonnull(model);
    g_assert_true(decoder);
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

int main(int argc, char **argv)
{
    static const Failing failing[] = {
        {"take_latents", CHUNKS}, {"conv3x3", 30}, {"conv3x3_up2", CHUNKS},
        {"rgb8", CHUNKS},         {"linear", 100}, {"qkv_norm_rope", 20},
        {"attention", 20},        {"noise", 10},   {"unpatchify", 10},
        {"download", 4},          {"copy", 20},    {"upload", 10},
        {"graph_launch", 4},      {"any", 500}};
    g_test_init(&argc, &argv, NULL);
    clear_switches();
    g_test_add_func("/standin/frames", test_frames);
    g_test_add_func("/standin/first-steps", test_first_steps);
    g_test_add_data_func("/standin/decoder-behind/window", GINT_TO_POINTER(6), test_decoder_behind);
    g_test_add_data_func("/standin/decoder-behind/unbounded", GINT_TO_POINTER(-1),
                         test_decoder_behind);
    g_test_add_func("/standin/graphs-are-used", test_graphs_are_used);
    g_test_add_func("/standin/spoilt-captures", test_spoilt_captures);
    for (guint i = 0; i < G_N_ELEMENTS(failing); i++) {
        g_autofree char *path = g_strconcat("/standin/fails/", failing[i].operation, NULL);
        g_test_add_data_func(path, &failing[i], test_failure);
    }
    g_test_add_func("/standin/fails/pixels", test_failing_pixels);
    g_test_add_data_func("/standin/no-memory/alloc", "alloc", test_no_memory);
    g_test_add_data_func("/standin/no-memory/event", "event_new", test_no_memory);
    g_test_add_func("/standin/fails/load", test_failing_load);
    g_test_add_func("/standin/open/auto", test_auto);
    g_test_add_func("/standin/open/old-driver", test_old_driver);
    g_test_add_func("/standin/open/unsupported", test_unsupported);
    g_test_add_func("/standin/cancel", test_cancel);
    g_test_add_func("/standin/cancelled-captures", test_cancelled_captures);
    return g_test_run();
}
