/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The engine on a GPU beside the engine on the CPU: the same numbers to rounding, recorded work
 * that equals called work, memory that stays as it is. Skipped where there is no GPU. Operations
 * one by one are tests/checkops's.
 */
#include "both.h"

#include "engine/session.h"

#include <gmodule.h>
#include <math.h>

/* ---- one forward ----------------------------------------------------------------------------- */

typedef struct {
    const char *preset; /* random weights, or NULL: the demo model */
    LfPrecision precision;
    int width, height;
    double most; /* rel-L2 */
    double cosine;
    gboolean recached; /* under another text, after a recache */
    int chunk;         /* latent frames; 0: the model's */
} Forward;

static void test_forward(gconstpointer data)
{
    const Forward *f = data;
    if (!both_have_device(f->precision))
        return;
    Both both = both_open(f->preset, f->precision);
    for (int sparse = 0; sparse < 2; sparse++) {
        GArray *cpu = both_velocity(both.cpu, f->width, f->height, f->chunk, sparse, f->recached);
        GArray *device =
            both_velocity(both.device, f->width, f->height, f->chunk, sparse, f->recached);
        Likeness like = both_compare(cpu, device);
        g_test_message("%s, %s: rel-L2 %.4f, cosine %.6f", lf_model_device(both.device),
                       sparse ? "sparse" : "dense", like.relative, like.cosine);
        /* Rounding may change which blocks are selected: the error is then larger than rounding. */
        g_assert_cmpfloat(like.relative, <=, sparse ? 2 * f->most : f->most);
        g_assert_cmpfloat(like.cosine, >=, sparse ? 2 * f->cosine - 1 : f->cosine);
        g_array_unref(cpu);
        g_array_unref(device);
    }
    both_close(&both);
}

/* ---- pictures -------------------------------------------------------------------------------- */

static const char prompt[] = "a big red heart bouncing on a green meadow";

static double psnr(const GByteArray *a, const GByteArray *b)
{
    double sum = 0;
    g_assert_cmpuint(a->len, ==, b->len);
    for (guint i = 0; i < a->len; i++)
        sum += ((double) a->data[i] - b->data[i]) * ((double) a->data[i] - b->data[i]);
    return 10 * log10(255.0 * 255.0 * a->len / (sum + 1e-9));
}

/* The first chunk: no past frames could differ. */
static void test_first_chunk(void)
{
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    Both both = both_open(NULL, LF_PRECISION_AUTO);
    LfSession *cpu = stream_session(both.cpu, &(LfSessionOptions){.seed = 5}, prompt);
    LfSession *device = stream_session(both.device, &(LfSessionOptions){.seed = 5}, prompt);
    GByteArray *a = stream_run(cpu, 1), *b = stream_run(device, 1);
    g_test_message("first chunk: %.1f dB", psnr(a, b));
    g_assert_cmpfloat(psnr(a, b), >=, 35);
    g_byte_array_unref(a);
    g_byte_array_unref(b);
    lf_session_free(cpu);
    lf_session_free(device);
    both_close(&both);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

static const LfTransition transitions[] = {LF_TRANSITION_CONTINUE, LF_TRANSITION_RECACHE,
                                           LF_TRANSITION_CUT};
static const char *const transition_names[] = {"continue", "recache", "cut"};
static const char next_prompt[] = "a blue star at night";

static void change(LfSession *session, LfTransition transition, const char *text)
{
    g_autoptr(GError) error = NULL;
    lf_session_set_transition(session, transition);
    lf_session_set_prompt(session, text, &error);
    g_assert_no_error(error);
}

typedef struct {
    LfTransition transition;
    LfSessionOptions options;
} Replay;

/* One stream replays graphs once its window is full, the other one drops its graphs. New prompts
 * change the work, except the last, which has as many tokens as the one before. For that one,
 * unless it begins a scene, the graphs are replayed on other data. */
static void test_replay(gconstpointer data)
{
    const Replay *replay = data;
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    LfModel *model = both_model(NULL, "cuda", LF_PRECISION_AUTO);
    LfSession *replaying = stream_session(model, &replay->options, prompt);
    LfSession *calling = stream_session(model, &replay->options, prompt);
    int replayed = 0;
    for (int i = 0; i < 18; i++) {
        if (i == 6 || i == 12) {
            change(replaying, replay->transition, i == 6 ? next_prompt : prompt);
            change(calling, replay->transition, i == 6 ? next_prompt : prompt);
        }
        if (i == 15) {
            change(replaying, replay->transition, "a big blue heart bouncing on a green meadow");
            change(calling, replay->transition, "a big blue heart bouncing on a green meadow");
        }
        lf_graphs_clear(&calling->worker.graphs);
        GByteArray *a = stream_run(replaying, 1), *b = stream_run(calling, 1);
        replayed += replaying->worker.graphs.graphs[0] != NULL;
        stream_assert_same(a, b);
        g_byte_array_unref(a);
        g_byte_array_unref(b);
    }
    g_assert_cmpint(replayed, >=, 9);
    lf_session_free(replaying);
    lf_session_free(calling);
    lf_model_unref(model);
}

static void run_chunks(LfSession *session, int n)
{
    for (int i = 0; i < n; i++)
        g_byte_array_unref(stream_run(session, 1));
}

/* The first chunk of a new prompt is nearly equal on GPU and CPU, like the chunks before it, and
 * differs more from the chunk that another transition would give. */
static void test_transition(gconstpointer data)
{
    const LfTransition *transition = data;
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    Both both = both_open(NULL, LF_PRECISION_AUTO);
    LfSessionOptions options = {.seed = 5, .attention = LF_ATTENTION_DENSE};
    LfSession *cpu = stream_session(both.cpu, &options, prompt);
    g_byte_array_unref(stream_run(cpu, 1));
    change(cpu, *transition, next_prompt);
    GByteArray *wanted = stream_run(cpu, 1);
    double likeness[G_N_ELEMENTS(transitions)];
    for (guint i = 0; i < G_N_ELEMENTS(transitions); i++) {
        LfSession *device = stream_session(both.device, &options, prompt);
        g_byte_array_unref(stream_run(device, 1));
        change(device, transitions[i], next_prompt);
        GByteArray *got = stream_run(device, 1);
        likeness[i] = got->len == wanted->len ? psnr(wanted, got) : 0;
        g_test_message("%s here, %s there: %.1f dB", transition_names[*transition],
                       transition_names[i], likeness[i]);
        g_byte_array_unref(got);
        lf_session_free(device);
    }
    for (guint i = 0; i < G_N_ELEMENTS(transitions); i++)
        g_assert_cmpfloat(likeness[*transition], >=,
                          transitions[i] == *transition ? 25 : likeness[i]);
    g_byte_array_unref(wanted);
    lf_session_free(cpu);
    both_close(&both);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

typedef struct {
    LfSession *session;
    gulong delay; /* µs */
} Canceller;

static gpointer cancel_later(gpointer data)
{
    const Canceller *c = data;
    g_usleep(c->delay);
    lf_session_cancel(c->session);
    return NULL;
}

/* The next chunk, after any number of attempts that another thread cancels at a random time within
 * the time of one and a half chunks. */
static LfChunk *next_despite_cancels(LfSession *session, gint64 chunk_time, int *n_cancelled)
{
    for (;;) {
        g_autoptr(GError) error = NULL;
        Canceller canceller = {session,
                               (gulong) g_test_rand_int_range(0, (gint32) (chunk_time * 3 / 2))};
        GThread *thread = g_thread_new("cancel", cancel_later, &canceller);
        LfChunk *chunk = lf_session_next(session, &error);
        g_thread_join(thread);
        lf_session_resume(session);
        if (chunk)
            return chunk;
        stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
        ++*n_cancelled;
    }
}

static void assert_next(LfSession *sound, LfChunk *chunk)
{
    GByteArray *a = stream_pictures(chunk), *b = stream_run(sound, 1);
    stream_assert_same(a, b);
    g_byte_array_unref(a);
    g_byte_array_unref(b);
    lf_chunk_unref(chunk);
}

/* Chunks that another thread cancels at random times, over and over, come in the end with the same
 * pictures. The window is full after a few chunks, and from then on work is captured and replayed,
 * as in test_replay. A chunk is read only when the next one is there: its decoder runs beside the
 * attempts that are cancelled. */
static void test_cancel(void)
{
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    LfModel *model = both_model(NULL, "cuda", LF_PRECISION_AUTO);
    LfSessionOptions options = {.seed = 7, .window = 6, .uniform = TRUE};
    LfSession *cancelled = stream_session(model, &options, prompt);
    LfSession *sound = stream_session(model, &options, prompt);
    LfSession *timed = stream_session(model, &options, prompt);
    run_chunks(timed, 6);
    gint64 start = g_get_monotonic_time();
    run_chunks(timed, 6);
    gint64 chunk_time = MAX((g_get_monotonic_time() - start) / 6, 10);
    int n_cancelled = 0;
    LfChunk *before = next_despite_cancels(cancelled, chunk_time, &n_cancelled);
    for (int i = 0; i < 40; i++) {
        if (i == 20)
            change(cancelled, LF_TRANSITION_RECACHE, next_prompt);
        LfChunk *chunk = next_despite_cancels(cancelled, chunk_time, &n_cancelled);
        assert_next(sound, before);
        if (i == 20)
            change(sound, LF_TRANSITION_RECACHE, next_prompt);
        before = chunk;
    }
    assert_next(sound, before);
    g_test_message("%d attempts cancelled", n_cancelled);
    g_assert_cmpint(n_cancelled, >=, 10);
    lf_session_free(cancelled);
    lf_session_free(sound);
    lf_session_free(timed);
    lf_model_unref(model);
}

/* ---- streams at the same time ---------------------------------------------------------------- */

enum { STREAMS = 6, STREAM_CHUNKS = 14 };

typedef struct {
    LfModel *model;
    LfSessionOptions options;
    GByteArray *frames;
} OneOfMany;

static gpointer run_one(gpointer data)
{
    OneOfMany *one = data;
    LfSession *session = stream_session(one->model, &one->options, prompt);
    one->frames = stream_run(session, STREAM_CHUNKS);
    lf_session_free(session);
    return NULL;
}

/* ---- the driver's own functions -------------------------------------------------------------- */

static gpointer driver_function(const char *name)
{
    static GModule *driver;
    gpointer function = NULL;
    if (!driver)
        driver = g_module_open("libcuda.so.1", G_MODULE_BIND_LAZY);
    g_assert_true(driver && g_module_symbol(driver, name, &function));
    return function;
}

/* Of one model, in threads of their own, with windows of different lengths: what each shows is what
 * it shows alone. */
static void test_many_streams(void)
{
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    LfModel *model = both_model(NULL, "cuda", LF_PRECISION_AUTO);
    OneOfMany streams[STREAMS];
    GThread *threads[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = (OneOfMany){model, {.seed = (guint64) i, .window = 6 + 3 * (i % 3)}, NULL};
        threads[i] = g_thread_new("stream", run_one, &streams[i]);
    }
    for (int i = 0; i < STREAMS; i++)
        g_thread_join(threads[i]);
    for (int i = 0; i < STREAMS; i++) {
        OneOfMany alone = streams[i];
        run_one(&alone);
        stream_assert_same(streams[i].frames, alone.frames);
        g_byte_array_unref(streams[i].frames);
        g_byte_array_unref(alone.frames);
    }
    lf_model_unref(model);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Free bytes of the device, by the driver. */
static gsize free_memory(void)
{
    int (*ask)(gsize *, gsize *) = driver_function("cuMemGetInfo_v2");
    gsize unused = 0, total = 0;
    g_assert_cmpint(ask(&unused, &total), ==, 0);
    return unused;
}

static void test_memory(void)
{
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    LfModel *model = both_model(NULL, "cuda", LF_PRECISION_AUTO);
    LfSession *session = stream_session(model, &(LfSessionOptions){.seed = 1}, prompt);
    run_chunks(session, 24); /* the window is full, the growth done */
    gsize before = free_memory();
    run_chunks(session, 200);
    g_assert_cmpuint(free_memory(), ==, before);
    for (int i = 0; i < 20; i++) {
        lf_session_restart(session, (guint64) i);
        run_chunks(session, 6);
        change(session, transitions[i % 3], i % 2 ? prompt : next_prompt);
        run_chunks(session, 3);
    }
    g_assert_cmpuint(free_memory(), ==, before);
    lf_session_free(session);

    /* Sessions come and go. What the driver keeps for itself it keeps once. */
    for (int i = 0; i < 20; i++) {
        session = stream_session(model, &(LfSessionOptions){.seed = 2}, prompt);
        run_chunks(session, 3);
        lf_session_free(session);
        before = i == 1 ? free_memory() : before;
    }
    g_assert_cmpuint(free_memory(), ==, before);
    lf_model_unref(model);
}

/* ---- values ---------------------------------------------------------------------------------- */

static double largest_of(LfBackend *be, LfTensor t)
{
    int64_t n = lf_tensor_count(t);
    g_autofree float *numbers = g_new(float, n);
    double largest = 0;
    lf_download_floats(be, numbers, t);
    for (int64_t i = 0; i < n; i++) {
        g_assert_true(isfinite(numbers[i]));
        largest = fmax(largest, fabs((double) numbers[i]));
    }
    return largest;
}

/* What the scale of attention's FP8 output rests on: no value of a window that is full, nor of the
 * text, exceeds its layer's bound. */
static void test_value_bounds(void)
{
    if (!both_have_device(LF_PRECISION_FP8))
        return;
    LfModel *model = both_model(NULL, "cuda", LF_PRECISION_FP8);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 8, .window = 6}, prompt);
    int layers = lf_transformer_config(model->transformer)->layers;
    g_autofree float *bounds = g_new(float, layers);
    g_autofree float *text_bounds = g_new(float, layers);
    run_chunks(s, 4);
    lf_download_floats(s->worker.be, bounds, s->worker.modulations[0].v_amax);
    lf_download_floats(s->worker.be, text_bounds, s->worker.text.v_amax);
    for (int i = 0; i < layers; i++) {
        double largest = largest_of(s->worker.be, lf_kv_cache_window(s->worker.cache, i).v);
        double text = largest_of(s->worker.be, lf_tensor_slice(lf_tensor_at(s->worker.text.v, i), 0,
                                                               s->worker.text.rows));
        g_test_message("layer %d: values up to %.3g of %.3g, text's %.3g of %.3g", i, largest,
                       (double) bounds[i], text, (double) text_bounds[i]);
        g_assert_cmpfloat(largest, >, 0);
        g_assert_cmpfloat(largest, <=, bounds[i]);
        g_assert_cmpfloat(text, >, 0);
        g_assert_cmpfloat(text, <=, text_bounds[i]);
    }
    lf_session_free(s);
    lf_model_unref(model);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void test_errors(void)
{
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    g_autoptr(GError) error = NULL;
    g_assert_null(lf_backend_open("cuda:1000", 0, LF_PRECISION_AUTO, NULL, &error));
    stream_assert_error(&error, LF_ERROR_DEVICE, "1000");
    g_assert_null(lf_backend_open("cuda", 0, LF_PRECISION_FP32, NULL, &error));
    stream_assert_error(&error, LF_ERROR_UNSUPPORTED, "fp32");
    LfModel *model = both_model(NULL, "cuda", LF_PRECISION_AUTO);
    /* Every latent frame has its keys and values: this many fit on no GPU. */
    g_assert_null(lf_session_new(model, &(LfSessionOptions){.window = LF_MAX_WINDOW}, &error));
    stream_assert_error(&error, LF_ERROR_MEMORY, "window");
    LfSession *session = stream_session(model, NULL, prompt); /* and life goes on */
    run_chunks(session, 2);
    lf_session_free(session);
    lf_model_unref(model);
}

/* Layer by layer from the file the text encoder has the numbers that it has when it is resident. The
 * device tells its memory, which other programs may take and give back meanwhile. */
static void test_streamed_text(void)
{
    g_autoptr(GError) error = NULL;
    if (!both_have_device(LF_PRECISION_AUTO))
        return;
    g_autofree char *demo = lf_model_default_location();
    int32_t ids[40];
    for (gsize i = 0; i < G_N_ELEMENTS(ids); i++)
        ids[i] = g_test_rand_int_range(0, 257); /* the demo's vocabulary */
    LfModel *models[2];
    GByteArray *texts[2];
    for (int i = 0; i < 2; i++) {
        size_t unused = 0, total = 0;
        const LfModelOptions options = {.backend = "cuda",
                                        .text_encoder_device = i == 0 ? LF_TEXT_ENCODER_DEVICE
                                                                      : LF_TEXT_ENCODER_STREAM};
        models[i] = lf_model_open(demo, &options, &error);
        g_assert_no_error(error);
        texts[i] = g_byte_array_new();
        g_byte_array_set_size(texts[i], (guint) (sizeof(float) * G_N_ELEMENTS(ids)) *
                                            (guint) lf_model_text_dim(models[i]));
        LfBackend *be = models[i]->backend;
        float *out = (float *) (gpointer) texts[i]->data;
        g_assert_true(lf_model_encode(models[i], ids, G_N_ELEMENTS(ids), out, &error));
        g_assert_no_error(error);
        g_assert_true(be->memory(be, &unused, &total));
        g_assert_cmpuint(unused, >, 0);
        g_assert_cmpuint(unused, <, total);
    }
    stream_assert_same(texts[0], texts[1]);
    for (int i = 0; i < 2; i++) {
        g_byte_array_unref(texts[i]);
        lf_model_unref(models[i]);
    }
}

int main(int argc, char **argv)
{
    static const Forward forwards[] = {
        {NULL, LF_PRECISION_BF16, 256, 160, 3e-2, 0.9995, FALSE, 0},
        {NULL, LF_PRECISION_FP8, 256, 160, 1e-1, 0.995, FALSE, 0},
        {"wan-1.3b", LF_PRECISION_BF16, 160, 128, 3e-2, 0.9995, FALSE, 0},
        {"wan-1.3b", LF_PRECISION_FP8, 160, 128, 1e-1, 0.995, FALSE, 0},
        {NULL, LF_PRECISION_BF16, 256, 160, 3e-2, 0.9995, TRUE, 0},
        {"wan-1.3b", LF_PRECISION_BF16, 160, 128, 3e-2, 0.9995, TRUE, 0},
        {NULL, LF_PRECISION_BF16, 256, 160, 3e-2, 0.9995, FALSE, 1},
        {"wan-1.3b", LF_PRECISION_BF16, 160, 128, 3e-2, 0.9995, TRUE, 1},
        {"wan-1.3b", LF_PRECISION_FP8, 160, 128, 1e-1, 0.995, FALSE, 1},
    };
    static const char *const names[] = {"demo-bf16",
                                        "demo-fp8",
                                        "wan-bf16",
                                        "wan-fp8",
                                        "demo-recache",
                                        "wan-recache",
                                        "demo-frame-wise-bf16",
                                        "wan-frame-wise-recache",
                                        "wan-frame-wise-fp8"};
    /* The last one: the first chunk of a scene differs from the others in its steps alone. */
    static const Replay replays[] = {
        {LF_TRANSITION_CONTINUE, {.seed = 6, .window = 6, .uniform = TRUE}},
        {LF_TRANSITION_RECACHE, {.seed = 6, .window = 6, .uniform = TRUE}},
        {LF_TRANSITION_CUT, {.seed = 6, .window = 6, .uniform = TRUE}},
        {LF_TRANSITION_RECACHE, {.seed = 6, .chunk = 1, .window = 4, .uniform = TRUE}},
        {LF_TRANSITION_CUT,
         {.seed = 6,
          .chunk = 1,
          .window = 1,
          .sink = -1,
          .attention = LF_ATTENTION_DENSE,
          .steps = {2, {1000, 500}},
          .first_steps = {4, {1000, 750, 500, 250}}}}};
    static const char *const replay_names[] = {"continue", "recache", "cut", "frame-wise-recache",
                                               "frame-wise-cut"};
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(forwards); i++) {
        g_autofree char *path = g_strconcat("/device/forward/", names[i], NULL);
        g_test_add_data_func(path, &forwards[i], test_forward);
    }
    g_test_add_func("/device/first-chunk", test_first_chunk);
    for (gsize i = 0; i < G_N_ELEMENTS(transitions); i++) {
        g_autofree char *alike = g_strconcat("/device/transition/", transition_names[i], NULL);
        g_test_add_data_func(alike, &transitions[i], test_transition);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(replays); i++) {
        g_autofree char *path = g_strconcat("/device/replay/", replay_names[i], NULL);
        g_test_add_data_func(path, &replays[i], test_replay);
    }
    g_test_add_func("/device/cancel", test_cancel);
    g_test_add_func("/device/many-streams", test_many_streams);
    g_test_add_func("/device/memory", test_memory);
    g_test_add_func("/device/value-bounds", test_value_bounds);
    g_test_add_func("/device/errors", test_errors);
    g_test_add_func("/device/streamed-text", test_streamed_text);
    return g_test_run();
}
