/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The transitions: when the prompt changes the KV cache is kept, recomputed or cleared.
 */
#include "stream.h"

#include "engine/session.h"

#include <malloc.h>
#include <math.h>
#include <string.h>

static const char *const prompt = "a red ball bounces on green grass";
static const char *const next_prompt = "a blue star on yellow sand";

static const LfTransition transitions[] = {LF_TRANSITION_CONTINUE, LF_TRANSITION_RECACHE,
                                           LF_TRANSITION_CUT};

static void change(LfSession *s, LfTransition transition, const char *text)
{
    g_autoptr(GError) error = NULL;
    lf_session_set_transition(s, transition);
    lf_session_set_prompt(s, text, &error);
    g_assert_no_error(error);
}

static GByteArray *latents_of(const LfChunk *chunk)
{
    int channels, height, width;
    const float *x = lf_chunk_latents(chunk, &channels, &height, &width);
    int count = lf_chunk_info(chunk)->n_latent_frames * channels * height * width;
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *) x, (guint) count * sizeof *x);
    return bytes;
}

static GByteArray *next_latents(LfSession *s)
{
    LfChunk *chunk = stream_next(s);
    GByteArray *bytes = latents_of(chunk);
    lf_chunk_unref(chunk);
    return bytes;
}

/* ---- what is told of a chunk ----------------------------------------------------------------- */

/* Chunks and sinks that are tried: the tiny model's, those of frame-wise models, and LongLive's. */
typedef struct {
    int chunk, sink;
} Frames;

static const Frames usual = {LF_TINY_CHUNK, LF_TINY_SINK}, frame_wise = {1, LF_TINY_SINK},
                    frame_wise_sink = {1, 3}, long_live = {3, 3};

/* Only the first chunk of a prompt reports its transition; the stream's first chunk reports
 * none. */
static void test_info(gconstpointer data)
{
    const Frames *f = data;
    LfModel *model = stream_model(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(transitions); i++) {
        LfTransition transition = transitions[i];
        LfSessionOptions options = {.seed = 3, .transition = transition, .chunk = f->chunk};
        LfSession *s = stream_session(model, &options, prompt);
        uint64_t frames = 0;
        for (int k = 0; k < 6; k++) {
            gboolean changed = k == 3, cut = changed && transition == LF_TRANSITION_CUT;
            if (changed)
                g_assert_true(lf_session_set_prompt(s, next_prompt, NULL));
            LfChunk *chunk = stream_next(s);
            const LfChunkInfo *info = lf_chunk_info(chunk);
            g_assert_cmpint(info->transition, ==, changed ? transition : LF_TRANSITION_CONTINUE);
            g_assert_cmpuint(info->index, ==, (guint) k);
            g_assert_cmpuint(info->first_frame, ==, frames);
            g_assert_cmpint(info->n_frames, ==, 4 * f->chunk - (k == 0 || cut ? 3 : 0));
            g_assert_true((info->sparsity == 0) == (k == 0 || cut));
            g_assert_true((info->recache_time > 0) ==
                          (changed && transition == LF_TRANSITION_RECACHE));
            frames += (uint64_t) info->n_frames;
            lf_chunk_unref(chunk);
        }
        lf_session_free(s);
    }
    lf_model_unref(model);
}

/* Only a new prompt begins a transition. */
static void test_same_prompt(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *a = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    LfSession *b = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    lf_session_set_transition(b, LF_TRANSITION_CUT);
    for (int i = 0; i < 4; i++) {
        g_autoptr(GByteArray) x = stream_run(a, 1), y = stream_run(b, 1);
        stream_assert_same(x, y);
        lf_session_set_transition(b, LF_TRANSITION_RECACHE);
    }
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(model);
}

/* ---- the past -------------------------------------------------------------------------------- */

/* Keys, or values, of frame `frame` of the window in all layers. */
static GByteArray *kept(const LfSession *s, int frame, gboolean values)
{
    GByteArray *bytes = g_byte_array_new();
    g_assert_true(s->worker.be->sync(s->worker.be, NULL));
    for (int layer = 0; layer < LF_TINY_LAYERS; layer++) {
        LfWindow w = lf_kv_cache_window(s->worker.cache, layer);
        LfTensor t = lf_tensor_at(values ? w.v : w.k, lf_i32(w.slots)[frame]);
        g_byte_array_append(bytes, t.data, (guint) lf_tensor_size(t));
    }
    return bytes;
}

static gboolean same_values(const LfSession *a, int frame_a, const LfSession *b, int frame_b)
{
    g_autoptr(GByteArray) x = kept(a, frame_a, TRUE), y = kept(b, frame_b, TRUE);
    return stream_same(x, y);
}

static LfSessionOptions options_of(const Frames *f)
{
    return (LfSessionOptions){.seed = 7, .chunk = f->chunk, .sink = f->sink};
}

/* Two streams are equal until the prompt of one changes; then the values of past frames are
 * compared. Until a frame has left the window the sink is recomputed like the rest, afterwards it
 * is kept. */
static void test_past(gconstpointer data)
{
    const Frames *frames = data;
    LfModel *model = stream_model(NULL);
    LfSessionOptions o = options_of(frames);
    int full = LF_TINY_WINDOW / frames->chunk;
    for (int before = full - 1; before <= full + 2; before++) /* chunks */
        for (guint i = 0; i < G_N_ELEMENTS(transitions); i++) {
            LfSession *a = stream_session(model, &o, prompt);
            LfSession *b = stream_session(model, &o, prompt);
            for (int k = 0; k < before; k++) {
                lf_chunk_unref(stream_next(a));
                lf_chunk_unref(stream_next(b));
            }
            change(b, transitions[i], next_prompt);
            lf_chunk_unref(stream_next(a));
            lf_chunk_unref(stream_next(b));
            int past = lf_kv_cache_past(a->worker.cache);
            g_assert_cmpint(lf_kv_cache_past(b->worker.cache), ==,
                            transitions[i] == LF_TRANSITION_CUT ? 0 : past);
            for (int f = 0; transitions[i] != LF_TRANSITION_CUT && f < past; f++) {
                gboolean sink = f < frames->sink && before > full;
                g_assert_true(same_values(a, f, b, f) ==
                              (sink || transitions[i] == LF_TRANSITION_CONTINUE));
            }
            lf_session_free(a);
            lf_session_free(b);
        }
    lf_model_unref(model);
}

/* Recomputes the past frames of a's next chunk by hand, from these latents and under b's text. */
static void recache_by_hand(LfSession *a, GByteArray *const *latents, LfSession *b)
{
    g_autoptr(GError) error = NULL;
    LfPast past;
    LfWorker *w = &a->worker;
    uint64_t index = a->stream.index;
    lf_past_init(&past, w->be, &w->config.geometry, LF_TINY_CHANNELS, LF_TINY_WINDOW, &error);
    g_assert_no_error(error);
    for (uint64_t i = 0; i < index; i++) {
        LfTensor x = w->x;
        x.data = latents[i]->data;
        lf_past_keep(&past, i, x);
    }
    lf_kv_cache_begin_past(w->cache, index, &error);
    g_assert_no_error(error);
    LfPass pass = {.be = w->be,
                   .scratch = &w->scratch,
                   .modulation = &w->modulations[0],
                   .text = &b->worker.text,
                   .cache = w->cache};
    g_assert_true(lf_transformer_recache(a->model->transformer, &pass, &past));
    lf_kv_cache_commit_past(w->cache);
    lf_kv_cache_begin(w->cache, index, &error);
    g_assert_no_error(error);
    g_assert_true(w->be->sync(w->be, NULL));
    lf_past_clear(&past);
}

/* A session's recache computes keys and values from its chunks' latents, under the new prompt, at
 * t = 0. (test_transformer compares such keys and values with a reference in double.) */
static void test_recache(gconstpointer data)
{
    enum { MOST = 13 };
    const Frames *frames = data;
    LfModel *model = stream_model(NULL);
    LfSessionOptions o = options_of(frames);
    int step = frames->chunk > 1 ? 1 : 3, most = frames->chunk > 1 ? 7 : MOST;
    for (int before = 1; before <= most; before += step) {
        LfSession *a = stream_session(model, &o, prompt);
        LfSession *b = stream_session(model, &o, prompt);
        GByteArray *latents[MOST];
        for (int k = 0; k < before; k++) {
            latents[k] = next_latents(a);
            lf_chunk_unref(stream_next(b));
        }
        change(b, LF_TRANSITION_RECACHE, next_prompt);
        lf_chunk_unref(stream_next(b));
        recache_by_hand(a, latents, b);
        for (int f = 0; f < lf_kv_cache_past(b->worker.cache); f++)
            for (int values = 0; values < 2; values++) {
                g_autoptr(GByteArray) x = kept(a, f, values), y = kept(b, f, values);
                stream_assert_same(x, y);
            }
        for (int k = 0; k < before; k++)
            g_byte_array_unref(latents[k]);
        lf_session_free(a);
        lf_session_free(b);
    }
    lf_model_unref(model);
}

/* An unbounded window, whose memory moves as it grows, equals one that is large enough. */
static void test_unbounded(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *a = stream_session(model, &(LfSessionOptions){.seed = 7, .window = 40}, prompt);
    LfSession *b = stream_session(model, &(LfSessionOptions){.seed = 7, .window = -1}, prompt);
    for (int i = 0; i < 9; i++) {
        if (i == 3 || i == 7) {
            change(a, LF_TRANSITION_RECACHE, i == 3 ? next_prompt : prompt);
            change(b, LF_TRANSITION_RECACHE, i == 3 ? next_prompt : prompt);
        }
        g_autoptr(GByteArray) x = stream_run(a, 1), y = stream_run(b, 1);
        stream_assert_same(x, y);
    }
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(model);
}

/* ---- a cut ----------------------------------------------------------------------------------- */

/* `data`: the chunk that counts as the first. */
static void noise(float *out, int64_t count, uint64_t chunk, int step, gpointer data)
{
    int from = GPOINTER_TO_INT(data);
    for (int64_t i = 0; i < count; i++)
        out[i] = (float) sin((double) i * 1.7 + (double) (chunk + (uint64_t) from) * 7 + step);
}

/* After a cut the stream equals a new stream with the same noise: its frames, their number, and the
 * sparsity. `before`: chunks before the cut. A second cut follows three chunks later. */
static void check_cut(LfModel *model, const LfSessionOptions *options, int before)
{
    LfSession *s = stream_session(model, options, prompt);
    lf_session_set_noise(s, noise, GINT_TO_POINTER(0));
    g_byte_array_unref(stream_run(s, before));
    for (int scene = 0; scene < 2; scene++) {
        const char *text = scene ? prompt : next_prompt;
        LfSession *fresh = stream_session(model, options, text);
        lf_session_set_noise(fresh, noise, GINT_TO_POINTER(before + 5 * scene));
        change(s, LF_TRANSITION_CUT, text);
        for (int k = 0; k < 5; k++) {
            LfChunk *a = stream_next(s), *b = stream_next(fresh);
            g_autoptr(GByteArray) x = stream_pictures(a), y = stream_pictures(b);
            stream_assert_same(x, y);
            g_assert_cmpfloat(lf_chunk_info(a)->sparsity, ==, lf_chunk_info(b)->sparsity);
            lf_chunk_unref(a);
            lf_chunk_unref(b);
        }
        lf_session_free(fresh);
    }
    lf_session_free(s);
}

static void test_cut(void)
{
    LfModel *model = stream_model(NULL);
    for (int before = 1; before <= 5; before += 2) {
        check_cut(model, NULL, before);
        check_cut(model, &(LfSessionOptions){.window = -1}, before);
        check_cut(model, &(LfSessionOptions){.window = 7, .sink = 2}, before);
        check_cut(model, &(LfSessionOptions){.window = 4, .chunk = 1}, before);
        check_cut(model,
                  &(LfSessionOptions){.chunk = 1,
                                      .window = 2,
                                      .steps = {1, {1000}},
                                      .first_steps = {3, {1000, 700, 300}}},
                  before);
    }
    lf_model_unref(model);
}

/* A cut does not restart the noise: the same prompt does not show the same scene twice. */
static void test_cut_noise(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    g_autoptr(GByteArray) first = stream_run(s, 1);
    change(s, LF_TRANSITION_CUT, prompt);
    g_autoptr(GByteArray) second = stream_run(s, 1);
    g_assert_cmpuint(first->len, ==, second->len);
    g_assert_false(stream_same(first, second));
    lf_session_free(s);
    lf_model_unref(model);
}

/* A recache after a cut reaches back to the cut; a restart forgets the cut. */
static void test_after_a_cut(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, prompt);
    LfSession *fresh = stream_session(model, NULL, next_prompt);
    lf_session_set_noise(s, noise, GINT_TO_POINTER(0));
    lf_session_set_noise(fresh, noise, GINT_TO_POINTER(4));
    g_byte_array_unref(stream_run(s, 4));
    change(s, LF_TRANSITION_CUT, next_prompt);
    for (int i = 0; i < 6; i++) {
        if (i == 2) {
            change(s, LF_TRANSITION_RECACHE, prompt);
            change(fresh, LF_TRANSITION_RECACHE, prompt);
        }
        g_autoptr(GByteArray) x = stream_run(s, 1), y = stream_run(fresh, 1);
        stream_assert_same(x, y);
    }
    lf_session_restart(s, 0);
    lf_session_restart(fresh, 0);
    lf_session_set_noise(fresh, noise, GINT_TO_POINTER(0));
    LfChunk *a = stream_next(s), *b = stream_next(fresh);
    g_assert_cmpuint(lf_chunk_info(a)->first_frame, ==, 0);
    g_assert_cmpint(lf_chunk_info(a)->transition, ==, LF_TRANSITION_CONTINUE);
    g_autoptr(GByteArray) x = stream_pictures(a), y = stream_pictures(b);
    stream_assert_same(x, y);
    lf_chunk_unref(a);
    lf_chunk_unref(b);
    lf_session_free(s);
    lf_session_free(fresh);
    lf_model_unref(model);
}

/* ---- all kinds of windows -------------------------------------------------------------------- */

static void assert_alive(const GByteArray *latents)
{
    const float *x = (const float *) (const void *) latents->data;
    double squares = 0;
    for (guint i = 0; i < latents->len / sizeof *x; i++)
        squares += x[i] * x[i];
    g_assert_true(isfinite(squares));
    g_assert_cmpfloat(squares, >, 0);
}

/* Each chunk has a new prompt, and each transition follows each. The reserved scratch is enough: an
 * allocation beyond an arena's size would end the test. */
static void test_geometries(void)
{
    LfModel *models[] = {stream_model(NULL), stream_model(&(LfTinyModel){.absolute = TRUE})};
    const LfSessionOptions options[] = {{.width = 16, .height = 16},
                                        {.width = 96, .height = 48},
                                        {.window = 4},
                                        {.window = 5},
                                        {.window = 8, .sink = 3},
                                        {.window = 7, .sink = -1},
                                        {.window = 12, .sink = 5},
                                        {.window = -1},
                                        {.window = -1, .sink = -1},
                                        {.window = 3, .sink = -1},
                                        {.keep_frames = -1},
                                        {.uniform = TRUE},
                                        {.chunk = 1},
                                        {.chunk = 1, .window = 2, .one_map = TRUE},
                                        {.chunk = 1, .window = 1, .sink = -1},
                                        {.chunk = 1, .window = -1, .first_steps = {1, {900}}},
                                        {.chunk = 2, .window = 7, .sink = 4},
                                        {.chunk = 5, .sink = 3},
                                        {.window = 6, .attention = LF_ATTENTION_DENSE}};
    const int order[] = {1, 0, 1, 1, 2, 1, 1, 2, 0, 2, 2, 1, 1, 1, 1};
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        for (guint m = 0; m < G_N_ELEMENTS(models); m++) {
            LfSessionOptions o = options[i];
            o.no_decoder = TRUE;
            LfSession *s = stream_session(models[m], &o, prompt);
            for (guint k = 0; k < G_N_ELEMENTS(order); k++) {
                change(s, transitions[order[k]], k % 2 ? prompt : next_prompt);
                g_autoptr(GByteArray) latents = next_latents(s);
                assert_alive(latents);
            }
            lf_session_free(s);
        }
    for (guint m = 0; m < G_N_ELEMENTS(models); m++)
        lf_model_unref(models[m]);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void change_all(LfSession *s, int n_chunks)
{
    for (int i = 0; i < n_chunks; i++) {
        if (i % 5 == 4)
            change(s, transitions[i / 5 % 3], i / 5 % 2 ? prompt : next_prompt);
        stream_drop(s, 1);
    }
}

/* The heap is compared after the same prompts a second time, because texts allocate and free. */
static void test_no_allocation(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, prompt);
    gint *n_allocations = stream_count_allocations(s);
    stream_drop(s, 1); /* the first prompt has the encoder's memory allocated */
    LfMemory memory = lf_session_memory(s);
    g_assert_cmpint(*n_allocations, ==, 1); /* the chunk's own pictures */
    change_all(s, 30);
    size_t before = mallinfo2().uordblks;
    change_all(s, 30);
    size_t after = mallinfo2().uordblks;
    g_assert_cmpint(*n_allocations, ==, 1);
    g_assert_cmpuint(after, <=, before + stream_heap_noise(s));
    g_assert_cmpuint(lf_session_memory(s).scratch, ==, memory.scratch);
    g_assert_cmpuint(lf_session_memory(s).state, ==, memory.state);
    lf_session_free(s);
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/transition/info", &usual, test_info);
    g_test_add_data_func("/transition/info/frame-wise", &frame_wise, test_info);
    g_test_add_func("/transition/same-prompt", test_same_prompt);
    g_test_add_data_func("/transition/past", &usual, test_past);
    g_test_add_data_func("/transition/past/frame-wise", &frame_wise_sink, test_past);
    g_test_add_data_func("/transition/past/long-live", &long_live, test_past);
    g_test_add_data_func("/transition/recache", &usual, test_recache);
    g_test_add_data_func("/transition/recache/frame-wise", &frame_wise_sink, test_recache);
    g_test_add_data_func("/transition/recache/long-live", &long_live, test_recache);
    g_test_add_func("/transition/unbounded", test_unbounded);
    g_test_add_func("/transition/cut", test_cut);
    g_test_add_func("/transition/cut/noise", test_cut_noise);
    g_test_add_func("/transition/cut/after", test_after_a_cut);
    g_test_add_func("/transition/geometries", test_geometries);
    g_test_add_func("/transition/no-allocation", test_no_allocation);
    return g_test_run();
}
