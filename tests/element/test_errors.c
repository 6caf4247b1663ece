/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Failures: each has an error or warning of its own on the bus, before GStreamer's general error,
 * and none of them hangs.
 */
#include "source.h"

#include "gst/enums.h"
#include "tests/common/tiny_model.h"

#include <dlfcn.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- failures to order ----------------------------------------------------------------------- */

#define VISIBLE __attribute__((visibility("default")))

static gint refuse_threads, refuse_memory; /* atomic */

/* Replaces GLib's function, for the plugin, too. */
VISIBLE GThread *g_thread_try_new(const char *name, GThreadFunc run, gpointer data, GError **error)
{
    GThread *(*real)(const char *, GThreadFunc, gpointer, GError **) =
        (GThread * (*) (const char *, GThreadFunc, gpointer, GError **) )
            dlsym(RTLD_NEXT, "g_thread_try_new");
    if (g_strcmp0(name, "lightforcing") != 0 || !g_atomic_int_get(&refuse_threads))
        return real(name, run, data, error);
    g_set_error(error, G_THREAD_ERROR, G_THREAD_ERROR_AGAIN, "no thread is left");
    return NULL;
}

/* Replaces the C library's, from which the CPU backend allocates. GLib's slices do so, too, in small
 * pieces, and end the process when they get none. */
VISIBLE int posix_memalign(void **memory, size_t alignment, size_t size)
{
    int (*real)(void **, size_t, size_t) =
        (int (*)(void **, size_t, size_t)) dlsym(RTLD_NEXT, "posix_memalign");
    gboolean refuse = g_atomic_int_get(&refuse_memory) && size >= 1 << 16;
    return refuse ? ENOMEM : real(memory, alignment, size);
}

/* Fails in the state change to READY. */
static void expect_not_ready(Source *source, GQuark domain, gint code, const char *part)
{
    g_assert_cmpint(gst_element_set_state(source->element, GST_STATE_READY), ==,
                    GST_STATE_CHANGE_FAILURE);
    source_expect(source, GST_MESSAGE_ERROR, domain, code, part);
    source_free(source);
}

/* Fails while the model loads or the first chunk is generated: first the error, then the end of the
 * progress, then GStreamer's own error. */
static void expect_not_playing(Source *source, GQuark domain, gint code, const char *part)
{
    const GstMessageType types = GST_MESSAGE_ERROR | GST_MESSAGE_PROGRESS;
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    GstMessage *message = source_message(source, types);
    while (message && GST_MESSAGE_TYPE(message) == GST_MESSAGE_PROGRESS) {
        GstProgressType type;
        gst_message_parse_progress(message, &type, NULL, NULL);
        g_assert_true(type == GST_PROGRESS_TYPE_START || type == GST_PROGRESS_TYPE_CONTINUE);
        gst_message_unref(message);
        message = source_message(source, types);
    }
    source_check(message, GST_MESSAGE_ERROR, domain, code, part);
    GstProgressType type;
    g_autofree char *text = NULL;
    message = source_message(source, GST_MESSAGE_PROGRESS);
    gst_message_parse_progress(message, &type, NULL, &text);
    g_assert_cmpint((gint) type, ==, GST_PROGRESS_TYPE_ERROR);
    g_assert_nonnull(strstr(text, part)); /* the cause, too */
    gst_message_unref(message);
    source_expect(source, GST_MESSAGE_ERROR, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "Internal data stream error");
    source_free(source);
}

/* ---- models ---------------------------------------------------------------------------------- */

static void test_no_model(void)
{
    char *saved = g_strdup(demo_model());
    g_unsetenv("LIGHTFORCING_MODEL");
    Source *source = source_new("model-location", "", NULL);
    if (gst_element_set_state(source->element, GST_STATE_READY) == GST_STATE_CHANGE_FAILURE)
        source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                      "model-location");
    else
        g_test_skip("a model is installed here");
    source_free(source);
    g_setenv("LIGHTFORCING_MODEL", saved, TRUE);
    g_free(saved);
}

static void test_absent_path(void)
{
    expect_not_ready(source_new("model-location", "/no/such/model", NULL), GST_RESOURCE_ERROR,
                     GST_RESOURCE_ERROR_NOT_FOUND, "/no/such/model");
}

/* Models for a single test, which damages their files. */
static char *file_of(const char *model, const char *name)
{
    return g_build_filename(model, name, NULL);
}

static void rewrite(const char *model, const char *name, const void *bytes, gssize size)
{
    char *path = file_of(model, name);
    g_assert_true(g_file_set_contents(path, bytes, size, NULL));
    g_free(path);
}

static char *contents(const char *model, const char *name, gsize *size)
{
    char *path = file_of(model, name), *bytes;
    g_assert_true(g_file_get_contents(path, &bytes, size, NULL));
    g_free(path);
    return bytes;
}

static void test_not_json(void)
{
    char *model = lf_tiny_model_make(NULL, NULL);
    rewrite(model, "model.json", "{ \"transformer\": ", -1);
    expect_not_ready(source_new("model-location", model, NULL), GST_STREAM_ERROR,
                     GST_STREAM_ERROR_FORMAT, "model.json");
    lf_tiny_model_remove(model);
}

static void test_missing_part(void)
{
    char *model = lf_tiny_model_make(NULL, &(LfTinyModel){.without = "decoder"});
    expect_not_ready(source_new("model-location", model, NULL), GST_STREAM_ERROR,
                     GST_STREAM_ERROR_WRONG_TYPE, "decoder-location");
    /* decoder-location can name another file. */
    char *decoder = file_of(tiny_model(), "decoder.safetensors");
    Source *source = source_play(NULL, "model-location", model, "decoder-location", decoder, NULL);
    source_skip(source, 10);
    source_free(source);
    g_free(decoder);
    lf_tiny_model_remove(model);
}

/* A model that cannot encode prompts, and one whose text encoder is another file. */
static void test_missing_text_encoder(void)
{
    char *model = lf_tiny_model_make(NULL, &(LfTinyModel){.without = "text_encoder"});
    expect_not_ready(source_new("model-location", model, NULL), GST_STREAM_ERROR,
                     GST_STREAM_ERROR_WRONG_TYPE, "text-encoder-location");
    char *encoder = file_of(tiny_model(), "text_encoder.safetensors");
    Source *source =
        source_play(NULL, "model-location", model, "text-encoder-location", encoder, NULL);
    source_skip(source, 1);
    source_free(source);
    g_free(encoder);
    lf_tiny_model_remove(model);
}

/* What is no list of LoRAs, and a list with a file that is not there. */
static void test_loras(void)
{
    expect_not_ready(source_new("lora", "a.safetensors:101", NULL), GST_RESOURCE_ERROR,
                     GST_RESOURCE_ERROR_SETTINGS, "lora: \"a.safetensors:101\"");
    expect_not_playing(source_new("lora", "/no/such/style.safetensors:0.5", NULL),
                       GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
                       "/no/such/style.safetensors: ");
}

static void test_missing_file(void)
{
    char *model = lf_tiny_model_make(NULL, NULL);
    char *path = file_of(model, "transformer.safetensors");
    g_unlink(path);
    expect_not_ready(source_new("model-location", model, NULL), GST_RESOURCE_ERROR,
                     GST_RESOURCE_ERROR_NOT_FOUND, "transformer.safetensors");
    g_free(path);
    lf_tiny_model_remove(model);
}

static void test_truncated(void)
{
    gsize size;
    char *model = lf_tiny_model_make(NULL, NULL);
    char *bytes = contents(model, "transformer.safetensors", &size);
    rewrite(model, "transformer.safetensors", bytes, (gssize) size / 2);
    expect_not_playing(source_new("model-location", model, NULL), GST_STREAM_ERROR,
                       GST_STREAM_ERROR_FORMAT, "transformer.safetensors");
    g_free(bytes);
    lf_tiny_model_remove(model);
}

static void test_missing_tensor(void)
{
    gsize size;
    char *model = lf_tiny_model_make(NULL, NULL);
    char *bytes = contents(model, "transformer.safetensors", &size);
    char *name = memmem(bytes, size, "blocks.1.ffn.0.weight", 21);
    g_assert_nonnull(name);
    memcpy(name, "blocks.1.ffn.x", 14);
    rewrite(model, "transformer.safetensors", bytes, (gssize) size);
    expect_not_playing(source_new("model-location", model, NULL), GST_STREAM_ERROR,
                       GST_STREAM_ERROR_WRONG_TYPE, "blocks.1.ffn.0.weight");
    g_free(bytes);
    lf_tiny_model_remove(model);
}

static void test_directory_for_file(void)
{
    char *model = lf_tiny_model_make(NULL, NULL);
    char *path = file_of(model, "model.json");
    g_unlink(path);
    g_assert_cmpint(g_mkdir(path, 0755), ==, 0);
    expect_not_ready(source_new("model-location", model, NULL), GST_RESOURCE_ERROR,
                     GST_RESOURCE_ERROR_OPEN_READ, "model.json");
    g_rmdir(path);
    g_free(path);
    lf_tiny_model_remove(model);
}

/* Permissions do not bind root: become nobody, in a process of its own. */
static void unreadable_as_nobody(void)
{
    char *model = lf_tiny_model_make(NULL, NULL);
    char *path = file_of(model, "transformer.safetensors");
    g_assert_cmpint(g_chmod(model, 0755), ==, 0);
    g_assert_cmpint(g_chmod(path, 0000), ==, 0);
    gst_object_unref(gst_object_ref_sink(gst_element_factory_make("lightforcingsrc", NULL)));
    if (geteuid() == 0) /* nobody may not read the build folder: the plugin was loaded above */
        g_assert_cmpint(seteuid(65534), ==, 0);
    expect_not_playing(source_new("model-location", model, NULL), GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_OPEN_READ, "transformer.safetensors");
    if (getuid() == 0)
        g_assert_cmpint(seteuid(0), ==, 0);
    g_free(path);
    lf_tiny_model_remove(model);
}

static void test_unreadable(void)
{
    if (g_test_subprocess()) {
        unreadable_as_nobody();
        return;
    }
    g_test_trap_subprocess(NULL, 0,
                           G_TEST_SUBPROCESS_INHERIT_STDOUT | G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed();
}

static void test_impossible_settings(void)
{
    expect_not_playing(source_new("attention-window", 1, NULL), GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_SETTINGS, "window");
    expect_not_playing(source_new("chunk-size", 9, NULL), GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_SETTINGS, "a chunk of 9");
    expect_not_playing(source_new("shift", 0.001, NULL), GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_SETTINGS, "shift 0.001");
}

/* What is no list of steps fails in the state change, and can be corrected. */
static void test_no_steps(gconstpointer property)
{
    Source *source = source_new(property, "500,1000", NULL);
    g_assert_cmpint(gst_element_set_state(source->element, GST_STATE_PAUSED), ==,
                    GST_STATE_CHANGE_FAILURE);
    g_autofree char *text =
        g_strdup_printf("%s=\"500,1000\": expected 1 to 16 numbers", (const char *) property);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, text);
    gst_element_set_state(source->element, GST_STATE_READY);
    g_object_set(source->element, property, "1000,500", NULL);
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, 1);
    source_free(source);
}

/* There is no GPU, or none with that number. */
static void test_no_device(void)
{
    expect_not_playing(
        source_new("backend", GST_LIGHT_FORCING_BACKEND_CUDA, "cuda-device-id", 1023, NULL),
        GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_INIT, "CUDA");
}

static void test_impossible_precision(void)
{
    expect_not_playing(source_new("backend", GST_LIGHT_FORCING_BACKEND_CPU, "precision",
                                  GST_LIGHT_FORCING_PRECISION_FP8, NULL),
                       GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS, "fp32");
}

/* A machine without a usable GPU, or a precision that GPUs do not have. */
static void test_fallback(void)
{
    GError *warning = NULL;
    Source *source = source_new("precision", GST_LIGHT_FORCING_PRECISION_FP32, NULL);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    source_set_state(source, GST_STATE_PLAYING);
    GstMessage *message =
        gst_bus_timed_pop_filtered(source->bus, 60 * GST_SECOND, GST_MESSAGE_WARNING);
    g_assert_nonnull(message);
    gst_message_parse_warning(message, &warning, NULL);
    g_assert_error(warning, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_INIT);
    g_assert_nonnull(strstr(warning->message, "fp32"));
    g_assert_nonnull(strstr(warning->message, "Running on the CPU"));
    g_error_free(warning);
    gst_message_unref(message);
    source_free(source);

    source = source_play(NULL, "backend", GST_LIGHT_FORCING_BACKEND_CPU, NULL);
    source_skip(source, 10);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_WARNING));
    source_free(source);
}

static void test_no_thread(void)
{
    Source *source = source_new(NULL);
    g_atomic_int_set(&refuse_threads, TRUE);
    g_assert_cmpint(gst_element_set_state(source->element, GST_STATE_PAUSED), ==,
                    GST_STATE_CHANGE_FAILURE);
    g_atomic_int_set(&refuse_threads, FALSE);
    GstMessage *message = source_message(source, GST_MESSAGE_ERROR | GST_MESSAGE_PROGRESS);
    g_assert_cmpint((gint) GST_MESSAGE_TYPE(message), ==, GST_MESSAGE_PROGRESS); /* START */
    gst_message_unref(message);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED,
                  "no thread is left");
    source_expect_progress(source, GST_PROGRESS_TYPE_ERROR);
    source_set_state(source, GST_STATE_READY);
    gst_harness_set_drop_buffers(source->harness, TRUE);
    source_set_state(source, GST_STATE_PLAYING); /* and now it works */
    source_free(source);
}

/* ---- while it plays -------------------------------------------------------------------------- */

static GstBusSyncReply refuse_after_second_chunk(GstBus *bus, GstMessage *message, gpointer data)
{
    guint64 chunk = 0;
    if (gst_message_has_name(message, "lightforcing-chunk")) {
        gst_structure_get_uint64(gst_message_get_structure(message), "chunk", &chunk);
        g_atomic_int_set(&refuse_memory, chunk == 1);
    }
    return GST_BUS_PASS;
}

/* There is no memory for the third chunk. The two before it are played to their end; a stream that
 * repeats frames repeats none after it. */
static void test_failing_later(gconstpointer live)
{
    Source *source = source_new("messages", 2 /* chunk */, "prefetch", 3, "is-live", live != NULL,
                                "on-underrun", GST_LIGHT_FORCING_UNDERRUN_REPEAT, NULL);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, refuse_after_second_chunk, NULL, NULL);
    gst_harness_use_testclock(source->harness);
    gst_harness_set_blocking_push_mode(source->harness);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
                  "memory for another chunk");
    g_atomic_int_set(&refuse_memory, FALSE);
    g_usleep(100 * 1000); /* the worker ends after it has posted the error */
    for (guint i = 0; i <= FIRST_CHUNK + 12; i++) {
        if (live)
            g_assert_true(gst_harness_crank_single_clock_wait(source->harness));
        if (i < FIRST_CHUNK + 12)
            source_skip(source, 1);
    }
    source_expect(source, GST_MESSAGE_ERROR, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "Internal data stream error"); /* GstBaseSrc's */
    g_assert_cmpuint(gst_harness_buffers_received(source->harness), ==, FIRST_CHUNK + 12);
    g_assert_cmpuint(source_stat(source, "repeated"), ==, 0);
    source_free(source);
}

static GstBusSyncReply refuse_after_first_chunk(GstBus *bus, GstMessage *message, gpointer data)
{
    if (gst_message_has_name(message, "lightforcing-chunk"))
        g_atomic_int_set(&refuse_memory, TRUE);
    return GST_BUS_PASS;
}

/* A live stream whose first chunk is one picture waits with it for the second chunk. When that one
 * fails, the picture still leaves. The model was loaded and the stream had begun: its progress has
 * been completed, and does not end once more. */
static void test_failing_second(void)
{
    gboolean completed = FALSE;
    GstMessage *message;
    Source *source = source_new("messages", 2 /* chunk */, "chunk-size", 1, "is-live", TRUE,
                                "backend", GST_LIGHT_FORCING_BACKEND_CPU, NULL);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, refuse_after_first_chunk, NULL, NULL);
    gst_harness_use_testclock(source->harness);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    g_assert_true(gst_harness_crank_single_clock_wait(source->harness));
    source_skip(source, 1);
    g_atomic_int_set(&refuse_memory, FALSE);
    gboolean ended = FALSE;
    while (!ended) {
        GstProgressType type = GST_PROGRESS_TYPE_CONTINUE;
        GError *error = NULL;
        message = source_message(source, GST_MESSAGE_ERROR | GST_MESSAGE_PROGRESS);
        g_assert_nonnull(message);
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_PROGRESS)
            gst_message_parse_progress(message, &type, NULL, NULL);
        else
            gst_message_parse_error(message, &error, NULL);
        completed |= type == GST_PROGRESS_TYPE_COMPLETE;
        g_assert_cmpint((gint) type, !=, GST_PROGRESS_TYPE_ERROR);
        ended = g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED);
        g_clear_error(&error);
        gst_message_unref(message);
    }
    g_assert_true(completed);
    g_assert_cmpuint(gst_harness_buffers_received(source->harness), ==, 1);
    source_free(source);
}

/* ---- memory of others ------------------------------------------------------------------------ */

typedef struct {
    GstAllocator parent;
} Sealed;

typedef struct {
    GstAllocatorClass parent;
} SealedClass;

static GType sealed_get_type(void);
G_DEFINE_TYPE(Sealed, sealed, GST_TYPE_ALLOCATOR)

static GstMemory *sealed_alloc(GstAllocator *allocator, gsize size, GstAllocationParams *params)
{
    GstMemory *memory = g_new0(GstMemory, 1);
    gst_memory_init(memory, GST_MEMORY_FLAG_NO_SHARE, allocator, NULL, size, 0, 0, size);
    return memory;
}

static void sealed_free(GstAllocator *allocator, GstMemory *memory)
{
    g_free(memory);
}

static gpointer sealed_map(GstMemory *memory, gsize size, GstMapFlags flags)
{
    return NULL;
}

static void sealed_class_init(SealedClass *class)
{
    GST_ALLOCATOR_CLASS(class)->alloc = sealed_alloc;
    GST_ALLOCATOR_CLASS(class)->free = sealed_free;
}

static void sealed_init(Sealed *sealed)
{
    GST_ALLOCATOR(sealed)->mem_type = "sealed";
    GST_ALLOCATOR(sealed)->mem_map = sealed_map;
    GST_OBJECT_FLAG_SET(sealed, GST_ALLOCATOR_FLAG_CUSTOM_ALLOC);
}

/* Buffers of downstream that cannot be written end the stream, and say whose fault it is. */
static void test_unwritable_memory(void)
{
    GstAllocator *allocator = gst_object_ref_sink(g_object_new(sealed_get_type(), NULL));
    Source *source = source_new(NULL);
    gst_harness_set_propose_allocator(source->harness, allocator, NULL);
    gst_element_set_state(source->element, GST_STATE_PLAYING);
    source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_WRITE,
                  "downstream allocator");
    source_expect(source, GST_MESSAGE_ERROR, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
                  "Internal data stream error");
    g_assert_cmpuint(source_stat(source, "frames"), ==, 0);
    source_free(source);
}

/* ---- prompts --------------------------------------------------------------------------------- */

static char *huge_text(void)
{
    char *text = g_malloc(70 * 1024 + 1);
    memset(text, 'a', 70 * 1024);
    text[70 * 1024] = 0;
    return text;
}

static void test_no_prompt(void)
{
    expect_not_playing(source_new("prompt", NULL, NULL), GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_SETTINGS, "Set the property prompt");
}

static void test_bad_first_prompt(void)
{
    char *huge = huge_text();
    expect_not_playing(source_new("prompt", "red \xff ball", NULL), GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_SETTINGS, "UTF-8");
    expect_not_playing(source_new("prompt", huge, NULL), GST_RESOURCE_ERROR,
                       GST_RESOURCE_ERROR_SETTINGS, "");
    g_free(huge);
}

static void test_empty_prompt(void)
{
    Source *source = source_play(NULL, "prompt", "", "send-prompt-tags", TRUE, NULL);
    source_skip(source, 30);
    GstMessage *message = source_prompt_message(source);
    g_assert_cmpstr(gst_structure_get_string(gst_message_get_structure(message), "prompt"), ==, "");
    gst_message_unref(message);
    GstEvent *event;
    while ((event = gst_harness_try_pull_event(source->harness))) { /* a tag cannot be empty */
        g_assert_cmpint((gint) GST_EVENT_TYPE(event), !=, GST_EVENT_TAG);
        gst_event_unref(event);
    }
    source_free(source);
}

/* A bad prompt is refused, the stream goes on with the old one, and takes the next good one. */
static void go_on_after(const char *bad)
{
    Source *source = source_play(NULL, NULL);
    source_skip(source, 3);
    gst_message_unref(source_prompt_message(source));
    g_object_set(source->element, "prompt", bad, NULL);
    source_skip(source, 40);
    source_expect(source, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                  "prompt");
    g_object_set(source->element, "prompt", "a blue star", NULL);
    source_skip(source, 40);
    GstMessage *message = source_prompt_message(source);
    g_assert_cmpstr(gst_structure_get_string(gst_message_get_structure(message), "prompt"), ==,
                    "a blue star");
    gst_message_unref(message);
    source_free(source);
}

static void test_bad_prompts(void)
{
    char *huge = huge_text();
    go_on_after("red \xff ball");
    go_on_after(huge);
    g_free(huge);
}

/* Words that are one token or more each. */
static char *words(int n)
{
    GString *text = g_string_new("a");
    while (--n > 0)
        g_string_append(text, " star");
    return g_string_free(text, FALSE);
}

/* A prompt of more tokens than the model takes is shown, and said to be cut: when it is set, or,
 * for the first one, as the stream begins. */
static void test_cut_prompt(void)
{
    char *long_text = words(40), *short_text = words(5);
    Source *source = source_new("prompt", long_text, NULL);
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PLAYING);
    source_expect(source, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                  "the model takes 24");
    source_skip(source, 3);
    GstMessage *message = source_prompt_message(source);
    const GstStructure *s = gst_message_get_structure(message);
    int n_tokens, n_cut, n_unknown;
    g_assert_true(gst_structure_get(s, "tokens", G_TYPE_INT, &n_tokens, "tokens-cut", G_TYPE_INT,
                                    &n_cut, "tokens-unknown", G_TYPE_INT, &n_unknown, NULL));
    g_assert_cmpint(n_tokens, >=, 41);
    g_assert_cmpint(n_cut, ==, n_tokens - 24);
    g_assert_cmpint(n_unknown, ==, 0);
    gst_message_unref(message);
    g_object_set(source->element, "prompt", short_text, NULL);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_WARNING));
    g_object_set(source->element, "prompt", "a red ball", "prompt", long_text, NULL);
    source_expect(source, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                  "the model takes 24");
    source_free(source);
    g_free(long_text);
    g_free(short_text);

    /* As many tokens as the model takes: no warning. */
    GstMessage *warning = NULL;
    source = source_play(NULL, NULL);
    source_skip(source, 1);
    gst_bus_set_flushing(source->bus, TRUE);
    gst_bus_set_flushing(source->bus, FALSE);
    for (int n = 1; n < 40 && !warning; n++) {
        char *text = words(n);
        g_object_set(source->element, "prompt", text, NULL);
        warning = gst_bus_pop_filtered(source->bus, GST_MESSAGE_WARNING);
        g_free(text);
    }
    source_check(warning, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                 "1 of 25 tokens");
    source_free(source);
}

/* The next info message is about unknown words. */
static void expect_unknown(Source *source, const char *part)
{
    GError *error = NULL;
    GstMessage *message = source_message(source, GST_MESSAGE_INFO);
    g_assert_nonnull(message);
    gst_message_parse_info(message, &error, NULL);
    g_assert_error(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS);
    g_assert_nonnull(strstr(error->message, part));
    g_error_free(error);
    gst_message_unref(message);
}

/* Told once for each prompt that has some: when it is set, or as the stream begins. */
static void test_unknown_words(void)
{
    int n_tokens, n_cut, n_unknown;
    Source *source = source_new("prompt", "日本 ball 日", NULL);
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PLAYING);
    expect_unknown(source, "2 of 6 tokens");
    source_skip(source, 10);
    GstMessage *message = source_prompt_message(source);
    const GstStructure *s = gst_message_get_structure(message);
    g_assert_true(gst_structure_get(s, "tokens", G_TYPE_INT, &n_tokens, "tokens-cut", G_TYPE_INT,
                                    &n_cut, "tokens-unknown", G_TYPE_INT, &n_unknown, NULL));
    g_assert_cmpint(n_tokens, ==, 6);
    g_assert_cmpint(n_cut, ==, 0);
    g_assert_cmpint(n_unknown, ==, 2);
    gst_message_unref(message);
    g_object_set(source->element, "prompt", "a red ball", NULL);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_INFO));
    g_object_set(source->element, "prompt", "日", NULL);
    expect_unknown(source, "1 of 3 tokens");
    g_object_set(source->element, "prompt", "日", NULL);
    source_skip(source, 30);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_INFO));
    source_free(source);
}

/* Said once, and neither of a model that was trained for it nor of dense attention. */
static void test_untrained(void)
{
    char *dense = lf_tiny_model_make(NULL, &(LfTinyModel){.without = "sparse"});
    const char *const models[] = {dense, tiny_model(), dense};
    for (gsize i = 0; i < G_N_ELEMENTS(models); i++) {
        Source *source = source_play(NULL, "model-location", models[i], "attention", i == 2 ? 0 : 2,
                                     "backend", 1, NULL);
        source_skip(source, 40);
        if (i == 0)
            source_expect(source, GST_MESSAGE_WARNING, GST_STREAM_ERROR,
                          GST_STREAM_ERROR_WRONG_TYPE, "attention=auto");
        g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_WARNING));
        source_free(source);
    }
    lf_tiny_model_remove(dense);
}

static void test_prompt_location(void)
{
    char *path = g_build_filename(tiny_model(), "prompt.txt", NULL), *prompt;
    g_assert_true(g_file_set_contents(path, " a \\green\\\n\"ring\" \n\n", -1, NULL));
    Source *source = source_new("prompt-location", path, NULL);
    g_object_get(source->element, "prompt", &prompt, NULL);
    g_assert_cmpstr(prompt, ==, " a \\green\\\n\"ring\""); /* without the end of its last line */
    g_free(prompt);
    g_object_set(source->element, "prompt", "later", NULL); /* what is set last counts */
    g_object_get(source->element, "prompt", &prompt, NULL);
    g_assert_cmpstr(prompt, ==, "later");
    g_free(prompt);

    for (gsize size = 64 * 1024 - 1; size <= 64 * 1024 + 2;
         size++) { /* one byte is kept to refuse */
        g_autofree char *text = g_strnfill(size, 'a');
        g_assert_true(g_file_set_contents(path, text, (gssize) size, NULL));
        g_object_set(source->element, "prompt-location", path, NULL);
        g_object_get(source->element, "prompt", &prompt, NULL);
        g_assert_cmpuint(strlen(prompt), ==, MIN(size, 64 * 1024 + 1));
        g_free(prompt);
    }
    g_object_set(source->element, "prompt", "later", NULL);

    g_assert_true(g_file_set_contents(path, "a\0b", 3, NULL));
    g_object_set(source->element, "prompt-location", path, NULL);
    source_expect(source, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ,
                  "prompt.txt");
    g_object_set(source->element, "prompt-location", tiny_model(), NULL); /* a directory */
    source_expect(source, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ,
                  tiny_model());
    g_object_set(source->element, "prompt-location", "", "prompt-location", NULL, NULL);
    g_assert_null(gst_bus_pop_filtered(source->bus, GST_MESSAGE_WARNING)); /* no file: no reading */
    g_object_get(source->element, "prompt", &prompt, NULL);
    g_assert_cmpstr(prompt, ==, "later");
    g_free(prompt);
    source_free(source);
    g_unlink(path);
    g_free(path);
}

/* With gst-launch nobody sees the warning, because the element has no bus when the property is set:
 * the error repeats the reason. */
static void test_prompt_location_missing(void)
{
    expect_not_playing(source_new("prompt", NULL, "prompt-location", "/no/such/prompt", NULL),
                       GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "/no/such/prompt");
    expect_not_playing(source_new("prompt", NULL, "prompt-location", "/no/such/prompt",
                                  "prompt-location", "/none/either", NULL),
                       GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "/none/either");
}

/* Where something else is the reason, the file is not named. */
static void test_prompt_location_other_reason(void)
{
    gsize size;
    char *model = lf_tiny_model_make(NULL, NULL);
    char *bytes = contents(model, "transformer.safetensors", &size);
    rewrite(model, "transformer.safetensors", bytes, (gssize) size / 2);
    expect_not_playing(source_new("model-location", model, "prompt", NULL, "prompt-location",
                                  "/no/such/prompt", NULL),
                       GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT, "transformer.safetensors");
    g_free(bytes);
    lf_tiny_model_remove(model);
    expect_not_playing(
        source_new("prompt", "red \xff ball", "prompt-location", "/no/such/prompt", NULL),
        GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "UTF-8");
    expect_not_playing(source_new("prompt", NULL, "prompt-location", "/no/such/prompt", "prompt",
                                  "a ball", "prompt", NULL, NULL),
                       GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "Set the property prompt");
}

/* ---- what handlers may do -------------------------------------------------------------------- */

/* Reads every property, in the thread that posts. */
static GstBusSyncReply ask_everything(GstBus *bus, GstMessage *message, gpointer element)
{
    guint n;
    GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(element), &n);
    for (guint i = 0; i < n; i++) {
        GValue value = G_VALUE_INIT;
        g_value_init(&value, specs[i]->value_type);
        g_object_get_property(element, specs[i]->name, &value);
        g_value_unset(&value);
    }
    g_free(specs);
    return GST_BUS_PASS;
}

static void test_handlers_ask(void)
{
    Source *source = source_new("messages", 3, NULL);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, ask_everything, source->element, NULL);
    gst_harness_set_blocking_push_mode(source->harness);
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, 30);
    g_object_set(source->element, "prompt", "\xff", NULL);
    source_skip(source, 40);
    source_expect(source, GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                  "prompt");
    source_free(source);

    source = source_new("prompt", NULL, NULL);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, ask_everything, source->element, NULL);
    expect_not_playing(source, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "prompt");
    source = source_new("model-location", "/no/such/model", NULL);
    gst_bus_set_sync_handler(source->bus, NULL, NULL, NULL);
    gst_bus_set_sync_handler(source->bus, ask_everything, source->element, NULL);
    expect_not_ready(source, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND, "model");
}

static void test_failing_again(void)
{
    Source *source = source_new("prompt", NULL, NULL);
    for (int i = 0; i < 30; i++) {
        gst_element_set_state(source->element, GST_STATE_PLAYING);
        source_expect(source, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                      "prompt");
        source_set_state(source, i % 2 ? GST_STATE_NULL : GST_STATE_READY);
        gst_bus_set_flushing(source->bus, TRUE);
        gst_bus_set_flushing(source->bus, FALSE);
    }
    g_object_set(source->element, "prompt", "a ball", NULL);
    source_set_state(source, GST_STATE_PLAYING);
    source_skip(source, 1); /* and then it works */
    source_free(source);
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/errors/no-model", test_no_model);
    g_test_add_func("/errors/absent-path", test_absent_path);
    g_test_add_func("/errors/not-json", test_not_json);
    g_test_add_func("/errors/missing-part", test_missing_part);
    g_test_add_func("/errors/missing-text-encoder", test_missing_text_encoder);
    g_test_add_func("/errors/loras", test_loras);
    g_test_add_func("/errors/missing-file", test_missing_file);
    g_test_add_func("/errors/truncated", test_truncated);
    g_test_add_func("/errors/missing-tensor", test_missing_tensor);
    g_test_add_func("/errors/directory-for-file", test_directory_for_file);
    g_test_add_func("/errors/unreadable", test_unreadable);
    g_test_add_func("/errors/impossible-settings", test_impossible_settings);
    g_test_add_data_func("/errors/no-steps/steps", "steps", test_no_steps);
    g_test_add_data_func("/errors/no-steps/first-steps", "first-steps", test_no_steps);
    g_test_add_func("/errors/no-device", test_no_device);
    g_test_add_func("/errors/impossible-precision", test_impossible_precision);
    g_test_add_func("/errors/fallback", test_fallback);
    g_test_add_func("/errors/untrained", test_untrained);
    g_test_add_func("/errors/no-thread", test_no_thread);
    g_test_add_data_func("/errors/failing-later", NULL, test_failing_later);
    g_test_add_data_func("/errors/failing-later/live", "live", test_failing_later);
    g_test_add_func("/errors/failing-second", test_failing_second);
    g_test_add_func("/errors/unwritable-memory", test_unwritable_memory);
    g_test_add_func("/errors/no-prompt", test_no_prompt);
    g_test_add_func("/errors/bad-first-prompt", test_bad_first_prompt);
    g_test_add_func("/errors/empty-prompt", test_empty_prompt);
    g_test_add_func("/errors/bad-prompts", test_bad_prompts);
    g_test_add_func("/errors/cut-prompt", test_cut_prompt);
    g_test_add_func("/errors/unknown-words", test_unknown_words);
    g_test_add_func("/errors/prompt-location", test_prompt_location);
    g_test_add_func("/errors/prompt-location-missing", test_prompt_location_missing);
    g_test_add_func("/errors/prompt-location-other-reason", test_prompt_location_other_reason);
    g_test_add_func("/errors/handlers-ask", test_handlers_ask);
    g_test_add_func("/errors/failing-again", test_failing_again);
    return tests_run();
}
