/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Options that a session refuses, and reading and keeping chunks.
 */
#include "engine/session.h"
#include "stream.h"

#include <string.h>

static void test_bad_options(void)
{
    const struct {
        LfSessionOptions options;
        LfError code;
        const char *word;
    } bad[] = {
        {{.width = 100}, LF_ERROR_CONFIG, "width 100"},
        {{.height = 24}, LF_ERROR_CONFIG, "height 24"},
        {{.width = -16}, LF_ERROR_CONFIG, "width"},
        {{.width = 1 << 20}, LF_ERROR_CONFIG, "8192"},
        {{.height = G_MAXINT - 15}, LF_ERROR_CONFIG, "8192"},
        {{.attention = 3}, LF_ERROR_CONFIG, "attention 3"},
        {{.attention = -1}, LF_ERROR_CONFIG, "attention -1"},
        {{.transition = 3}, LF_ERROR_CONFIG, "transition 3"},
        {{.transition = -1}, LF_ERROR_CONFIG, "transition -1"},
        {{.sparsity = 1}, LF_ERROR_CONFIG, "sparsity 1"},
        {{.sparsity = -0.1}, LF_ERROR_CONFIG, "sparsity -0.1"},
        {{.sparsity = 0.0 / 0.0}, LF_ERROR_CONFIG, "sparsity"},
        {{.window = -2}, LF_ERROR_CONFIG, "window -2"},
        {{.sink = -2}, LF_ERROR_CONFIG, "sink -2"},
        {{.window = 2}, LF_ERROR_CONFIG, "window"},
        {{.window = 9, .sink = 7}, LF_ERROR_CONFIG, "sink"},
        {{.sink = G_MAXINT}, LF_ERROR_CONFIG, "sink"},
        {{.keep_frames = -2}, LF_ERROR_CONFIG, "keep_frames -2"},
        {{.keep_frames = 1}, LF_ERROR_CONFIG, "the 2 frames"},
        {{.query_block = -1}, LF_ERROR_CONFIG, "query_block -1"},
        {{.key_block = 4097}, LF_ERROR_CONFIG, "key_block 4097: choose 1 to 4096"},
        {{.chunk = -1}, LF_ERROR_CONFIG, "chunk -1"},
        {{.chunk = 65}, LF_ERROR_CONFIG, "chunk 65: choose 1 to 64"},
        {{.chunk = 9}, LF_ERROR_CONFIG, "a chunk of 9 and a sink of 1: set at least 10"},
        {{.steps = {-1}}, LF_ERROR_CONFIG, "steps: expected 1 to 16"},
        {{.steps = {17}}, LF_ERROR_CONFIG, "steps: expected"},
        {{.steps = {2, {500, 500}}}, LF_ERROR_CONFIG, "steps: expected"},
        {{.first_steps = {1, {1000.5}}}, LF_ERROR_CONFIG, "first_steps: expected"},
        {{.first_steps = {2, {1000, 0.0 / 0.0}}}, LF_ERROR_CONFIG, "first_steps: expected"},
        {{.shift = -1}, LF_ERROR_CONFIG, "shift -1"},
        {{.shift = 0.001}, LF_ERROR_CONFIG, "shift 0.001: choose a number from 0.01 to 100"},
        {{.shift = 101}, LF_ERROR_CONFIG, "shift 101"},
        {{.shift = 0.0 / 0.0}, LF_ERROR_CONFIG, "shift"},
        {{.tile_rows = 3, .tile_cols = 2}, LF_ERROR_CONFIG, "3x2 tokens do not divide"},
        {{.tile_rows = 2, .tile_cols = 8}, LF_ERROR_CONFIG, "frames of 4x4: choose divisors"},
        {{.tile_rows = 2}, LF_ERROR_CONFIG, "tiles of 2x0 tokens: choose rows and columns"},
        {{.tile_rows = -1, .tile_cols = 2}, LF_ERROR_CONFIG, "tiles of -1x2"},
        {{.tile_rows = -2, .tile_cols = -2}, LF_ERROR_CONFIG, "tiles of -2x-2"},
        {{.window = G_MAXINT}, LF_ERROR_CONFIG, "choose 1 to 1048576"},
        {{.width = 8192, .height = 8192, .window = 1 << 20}, LF_ERROR_MEMORY, "memory"},
        {{.width = 8192, .height = 8192, .window = 8192}, LF_ERROR_MEMORY, "1.237 TB"},
    };
    LfModel *model = stream_model(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;
        g_assert_null(lf_session_new(model, &bad[i].options, &error));
        stream_assert_error(&error, bad[i].code, bad[i].word);
    }
    lf_model_unref(model);
}

/* The first and the last value of each range, alone. */
static void test_limits(void)
{
    static const LfSessionOptions good[] = {
        {.width = 16},
        {.width = 8192},
        {.height = 16},
        {.height = 8192},
        {.attention = LF_ATTENTION_SPARSE},
        {.text_encoding = LF_TEXT_BESIDE},
        {.transition = LF_TRANSITION_CUT},
        {.sparsity = LF_MAX_SPARSITY},
        {.window = -1},
        {.window = LF_MAX_WINDOW},
        {.sink = -1},
        {.sink = LF_MAX_WINDOW},
        {.keep_frames = -1},
        {.keep_frames = 2},
        {.query_block = 1},
        {.query_block = 4096},
        {.key_block = 1},
        {.key_block = 4096},
        {.chunk = 1},
        {.chunk = 64},
        {.steps = {1, {1000}}},
        {.first_steps = {1, {0.001}}},
        {.shift = 0.01},
        {.shift = 100},
        {.tile_rows = -1, .tile_cols = -1},
        {.tile_rows = 1, .tile_cols = 4},
    };
    static const struct {
        LfSessionOptions options;
        const char *word;
    } bad[] = {
        {{.width = 8208}, "width 8208: choose a multiple of 16, 16 to 8192"},
        {{.height = 8208}, "height 8208"},
        {{.text_encoding = 2}, "text_encoding 2: there are wait and beside"},
        {{.text_encoding = -1}, "text_encoding -1"},
        {{.sparsity = 0.9991}, "sparsity 0.9991: choose a share from 0 to 0.999"},
        {{.window = LF_MAX_WINDOW + 1}, "window 1048577, sink 0"},
        {{.sink = LF_MAX_WINDOW + 1}, "window 0, sink 1048577"},
        {{.query_block = 4097}, "query_block 4097"},
        {{.key_block = -1}, "key_block -1"},
        {{.tile_cols = 2}, "tiles of 0x2"},
        {{.tile_rows = -1}, "tiles of -1x0"},
        {{.tile_cols = -1}, "tiles of 0x-1"},
        {{.tile_rows = 2, .tile_cols = -1}, "tiles of 2x-1"},
    };
    LfModel *model = stream_model_on(NULL, "cpu");
    LfWorkerConfig config;
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        lf_session_config(model, &good[i], &config, &error);
        g_assert_no_error(error);
    }
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;
        g_assert_false(lf_session_config(model, &bad[i].options, &config, &error));
        stream_assert_error(&error, LF_ERROR_CONFIG, bad[i].word);
    }
    lf_model_unref(model);
}

static void assert_schedule(const LfSchedule *schedule, double shift, const LfSteps *steps)
{
    g_assert_cmpint(schedule->n, ==, steps->n);
    for (int i = 0; i < steps->n; i++) {
        double s = steps->at[i] / 1000, sigma = shift * s / (1 + (shift - 1) * s);
        g_assert_cmpfloat_with_epsilon(schedule->steps[i].sigma, sigma, 1e-6);
        g_assert_cmpfloat_with_epsilon(schedule->steps[i].timestep, 1000 * sigma, 1e-3);
    }
}

/* What a session computes with: the model's numbers, all different, or else the options'. */
static void test_numbers(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model_on(NULL, "cpu");
    LfModelConfig *c = model->config;
    LfWorkerConfig w;
    const LfSteps steps = {2, {900, 300}}, first = {3, {1000, 500, 100}}, other = {1, {700}};
    c->video.width = 96;
    c->video.height = 64;
    c->video.chunk = 2;
    c->cache.window = 14;
    c->cache.sink = 4;
    c->cache.relative = true;
    c->schedule.steps = steps;
    c->schedule.first_steps = first;
    c->schedule.shift = 3;
    c->sparse.given = true;
    c->sparse.target = 0.4;
    c->sparse.base = 0.6;
    c->sparse.query_block = 6;
    c->sparse.key_block = 5;
    c->sparse.keep_frames = 9;
    c->sparse.keep_sink = 1;
    c->sparse.keep_near = 3;
    c->sparse.horizon = 17;
    c->sparse.tile_rows = 4;
    c->sparse.tile_cols = 2;
    g_assert_true(lf_session_config(model, &(LfSessionOptions){0}, &w, &error));
    g_assert_no_error(error);
    g_assert_cmpint(w.geometry.width, ==, 96);
    g_assert_cmpint(w.geometry.height, ==, 64);
    g_assert_cmpint(w.geometry.chunk, ==, 2);
    g_assert_cmpint(w.geometry.tile_rows, ==, 4);
    g_assert_cmpint(w.geometry.tile_cols, ==, 2);
    g_assert_cmpint(w.window, ==, 14);
    g_assert_cmpint(w.sink, ==, 4);
    g_assert_true(w.relative && w.has_text && w.has_pixels && !w.scheme.one_map);
    g_assert_cmpint(w.key_block, ==, 5);
    g_assert_cmpint(w.scheme.query_block, ==, 6);
    g_assert_cmpint(w.scheme.selection.keep_frames, ==, 9);
    g_assert_cmpint(w.scheme.selection.keep_sink, ==, 1);
    g_assert_cmpint(w.scheme.selection.keep_near, ==, 3);
    assert_schedule(&w.schedule, 3, &steps);
    assert_schedule(&w.first, 3, &first);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 8}, "");
    const LfStreamConfig *stream = &s->stream.config;
    g_assert_cmpuint(s->stream.seed, ==, 8);
    g_assert_cmpint(stream->geometry.width, ==, 96);
    g_assert_cmpint(stream->window, ==, 14);
    g_assert_true(stream->sparse && !stream->uniform);
    g_assert_cmpfloat(stream->target, ==, 0.4);
    g_assert_cmpfloat(stream->base, ==, 0.6);
    g_assert_cmpint(stream->horizon, ==, 17);
    lf_session_free(s);

    const LfSessionOptions options = {.width = 32,
                                      .height = 48,
                                      .chunk = 3,
                                      .window = 10,
                                      .sink = 2,
                                      .query_block = 3,
                                      .key_block = 2,
                                      .keep_frames = 7,
                                      .steps = other,
                                      .shift = 6,
                                      .tile_rows = 3,
                                      .tile_cols = 1,
                                      .one_map = TRUE,
                                      .no_text = TRUE,
                                      .no_decoder = TRUE};
    c->cache.relative = false;
    g_assert_true(lf_session_config(model, &options, &w, &error));
    g_assert_no_error(error);
    g_assert_cmpint(w.geometry.width, ==, 32);
    g_assert_cmpint(w.geometry.height, ==, 48);
    g_assert_cmpint(w.geometry.chunk, ==, 3);
    g_assert_cmpint(w.geometry.tile_rows, ==, 3);
    g_assert_cmpint(w.geometry.tile_cols, ==, 1);
    g_assert_cmpint(w.window, ==, 10);
    g_assert_cmpint(w.sink, ==, 2);
    g_assert_true(!w.relative && !w.has_text && !w.has_pixels && w.scheme.one_map);
    g_assert_cmpint(w.key_block, ==, 2);
    g_assert_cmpint(w.scheme.query_block, ==, 3);
    g_assert_cmpint(w.scheme.selection.keep_frames, ==, 7);
    assert_schedule(&w.schedule, 6, &other);
    assert_schedule(&w.first, 6, &first);
    lf_model_unref(model);
}

/* What other threads request in passing is brought into its range; a context is not. */
static void test_requests(void)
{
    g_autoptr(GError) error = NULL;
    float row[LF_TINY_TEXT_DIM] = {0};
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSession *s = stream_session(model, NULL, "a ring");
    lf_session_set_transition(s, 9);
    g_assert_cmpint(s->request.transition, ==, LF_TRANSITION_CUT);
    lf_session_set_transition(s, LF_TRANSITION_RECACHE);
    g_assert_cmpint(s->request.transition, ==, LF_TRANSITION_RECACHE);
    lf_session_set_attention(s, LF_ATTENTION_SPARSE, 2);
    g_assert_cmpint(s->request.attention, ==, LF_ATTENTION_SPARSE);
    g_assert_cmpfloat(s->request.sparsity, ==, LF_MAX_SPARSITY);
    g_assert_false(lf_session_set_context(s, row, -1, LF_TINY_TEXT_DIM, &error));
    stream_assert_error(&error, LF_ERROR_SHAPE, "context is [-1, 32], expected [0 … 24, 32]");
    g_assert_true(lf_session_set_context(s, row, 1, LF_TINY_TEXT_DIM, &error));
    g_assert_no_error(error);
    lf_session_free(s);
    lf_model_unref(model);
}

/* A shift has no meaning for steps that are used as they are. */
static void test_shift_without_warp(void)
{
    GError *error = NULL;
    LfModel *model =
        stream_model(&(LfTinyModel){.schedule = "{\"steps\": [1000, 522.5], \"warp\": false}"});
    const LfModelInfo *info = lf_model_info(model);
    g_assert_false(info->warp);
    g_assert_cmpint(info->steps.n, ==, 2);
    g_assert_cmpfloat(info->steps.at[1], ==, 522.5);
    g_assert_null(lf_session_new(model, &(LfSessionOptions){.shift = 5}, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "schedule.warp is false");
    lf_session_free(stream_session(model, NULL, ""));
    lf_model_unref(model);
}

/* A session works without the parts that its model lacks, if the options leave them out. */
static void test_missing_parts(void)
{
    const struct {
        const char *part, *word;
        LfSessionOptions without;
    } cases[] = {{"decoder", "decoder", {.no_decoder = TRUE}},
                 {"text_encoder", "text encoder", {.no_text = TRUE}},
                 {"tokenizer", "tokenizer", {.no_text = TRUE}}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        LfModel *model = stream_model(&(LfTinyModel){.without = cases[i].part});
        g_assert_null(lf_session_new(model, NULL, &error));
        stream_assert_error(&error, LF_ERROR_UNSUPPORTED, cases[i].word);
        LfSession *s = stream_session(model, &cases[i].without, "");
        if (cases[i].without.no_text)
            g_assert_true(lf_session_set_context(s, NULL, 0, LF_TINY_TEXT_DIM, NULL));
        else
            g_assert_true(lf_session_set_prompt(s, "a red star", NULL));
        LfChunk *chunk = stream_next(s);
        int channels, height, width;
        g_assert_nonnull(lf_chunk_latents(chunk, &channels, &height, &width));
        g_assert_cmpint(channels, ==, LF_TINY_CHANNELS);
        g_assert_cmpint(height, ==, LF_TINY_WIDTH / 8);
        g_assert_cmpint(width, ==, LF_TINY_WIDTH / 8);
        lf_chunk_unref(chunk);
        lf_session_free(s);
        lf_model_unref(model);
    }
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void test_read_errors(void)
{
    GError *error = NULL;
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, "a ring");
    LfChunk *chunk = stream_next(s);
    g_autofree uint8_t *memory = g_malloc0(4 * LF_TINY_WIDTH * LF_TINY_WIDTH);
    LfPicture picture = {.width = LF_TINY_WIDTH,
                         .height = LF_TINY_WIDTH,
                         .planes = {memory},
                         .strides = {3 * LF_TINY_WIDTH}};
    g_assert_true(lf_chunk_read(chunk, 8, &picture, &error));
    g_assert_false(lf_chunk_read(chunk, 9, &picture, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "frame 9");
    g_assert_false(lf_chunk_read(chunk, -1, &picture, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "frame -1");
    picture.width = 32;
    g_assert_false(lf_chunk_read(chunk, 0, &picture, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "32×64");
    picture.width = LF_TINY_WIDTH;
    picture.strides[0]--;
    g_assert_false(lf_chunk_read(chunk, 0, &picture, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "plane 0");
    picture.strides[0] = LF_TINY_WIDTH;
    picture.format = LF_PIXELS_NV12;
    g_assert_false(lf_chunk_read(chunk, 0, &picture, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "plane 1");
    picture.format = 17;
    g_assert_false(lf_chunk_read(chunk, 0, &picture, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "format 17");
    picture.format = LF_PIXELS_RGB;
    picture.memory = 9;
    g_assert_false(lf_chunk_read(chunk, 0, &picture, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "memory 9");
    lf_chunk_unref(chunk);
    lf_session_free(s);
    lf_model_unref(model);
}

/* Of each plane of each format: lines of one byte too few are refused, and the shortest are not
 * written beyond. */
static void test_strides(void)
{
    enum { W = LF_TINY_WIDTH, END = 16 };
    static const struct {
        LfPixelFormat format;
        int lines[3]; /* bytes of a line of each plane */
    } formats[] = {{LF_PIXELS_RGB, {3 * W}},
                   {LF_PIXELS_BGR, {3 * W}},
                   {LF_PIXELS_RGBX, {4 * W}},
                   {LF_PIXELS_BGRX, {4 * W}},
                   {LF_PIXELS_I420, {W, W / 2, W / 2}},
                   {LF_PIXELS_NV12, {W, W}}};
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, "a ring");
    LfChunk *chunk = stream_next(s);
    for (guint i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autoptr(GError) error = NULL;
        uint8_t *planes[3] = {0};
        LfPicture picture = {.format = formats[i].format, .width = W, .height = W};
        for (int p = 0; p < 3; p++) {
            int size = formats[i].lines[p] * (p == 0 ? W : W / 2);
            planes[p] = g_malloc((gsize) size + END);
            memset(planes[p] + size, 0x5a, END);
            picture.planes[p] = formats[i].lines[p] > 0 ? planes[p] : NULL;
            picture.strides[p] = formats[i].lines[p];
        }
        g_assert_true(lf_chunk_read(chunk, 0, &picture, &error));
        for (int p = 0; p < 3; p++) {
            int size = formats[i].lines[p] * (p == 0 ? W : W / 2);
            for (int k = 0; k < END; k++)
                g_assert_cmpint(planes[p][size + k], ==, 0x5a);
            if (formats[i].lines[p] == 0)
                continue;
            g_autofree char *word = g_strdup_printf("plane %d", p);
            picture.strides[p]--;
            g_assert_false(lf_chunk_read(chunk, 0, &picture, &error));
            stream_assert_error(&error, LF_ERROR_CONFIG, word);
            picture.strides[p]++;
        }
        for (int p = 0; p < 3; p++)
            g_free(planes[p]);
    }
    lf_chunk_unref(chunk);
    lf_session_free(s);
    lf_model_unref(model);
}

/* A chunk can still be read when session and model are freed. */
static void test_outlives(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 2}, "a ring");
    LfChunk *first = stream_next(s), *second = stream_next(s);
    g_autoptr(GByteArray) before = stream_pictures(second);
    lf_chunk_ref(first);
    lf_chunk_unref(first);
    lf_session_free(s);
    lf_model_unref(model);
    lf_chunk_unref(first);
    g_autoptr(GByteArray) after = stream_pictures(second);
    stream_assert_same(before, after);
    lf_chunk_unref(second);
}

/* A chunk with a reference does not change while others are generated; a released one is reused. */
static void test_pool(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 2}, "a ring");
    LfChunk *first = stream_next(s), *second = stream_next(s);
    g_autoptr(GByteArray) before = stream_pictures(first);
    lf_chunk_unref(second);
    LfChunk *third = stream_next(s);
    g_assert_true(third == second);
    g_assert_cmpuint(lf_chunk_info(third)->index, ==, 2);
    g_autoptr(GByteArray) after = stream_pictures(first);
    stream_assert_same(before, after);
    lf_chunk_unref(first);
    lf_chunk_unref(third);
    lf_session_free(s);
    lf_session_free(NULL);
    lf_chunk_unref(NULL);
    lf_model_unref(model);
}

static void *no_memory(LfBackend *be, size_t size)
{
    return NULL;
}

/* Without memory for another chunk the error tells how much one takes, latents included; the chunks
 * that there are go on being used. */
static void test_no_memory(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 2}, "a ring");
    LfChunk *only = stream_next(s);
    void *(*alloc)(LfBackend *, size_t) = s->worker.be->alloc;
    s->worker.be->alloc = no_memory;
    g_assert_null(lf_session_next(s, &error)); /* 3072 bytes of latents, 147456 of pictures */
    stream_assert_error(&error, LF_ERROR_MEMORY, "no 0.2 MB of memory for another chunk");
    lf_chunk_unref(only);
    LfChunk *again = stream_next(s);
    g_assert_true(again == only);
    g_assert_cmpuint(lf_chunk_info(again)->index, ==, 1);
    s->worker.be->alloc = alloc;
    lf_chunk_unref(stream_next(s));
    lf_chunk_unref(again);
    lf_session_free(s);
    lf_model_unref(model);
}

/* A picture in the device's own memory, with lines longer than need be, is the host's. */
static void test_device_memory(void)
{
    enum { W = LF_TINY_WIDTH, LINE = 4 * W + 32, SIZE = 3 * LINE * W };
    static const LfPixelFormat formats[] = {LF_PIXELS_RGB,  LF_PIXELS_BGR,  LF_PIXELS_RGBX,
                                            LF_PIXELS_BGRX, LF_PIXELS_I420, LF_PIXELS_NV12};
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, "a ring");
    LfChunk *chunk = stream_next(s);
    LfBackend *be = s->worker.be;
    LfTensor memory = lf_tensor(be->alloc(be, SIZE), LF_U8, SIZE);
    g_autofree uint8_t *zeros = g_malloc0(SIZE), *host = g_malloc(SIZE), *device = g_malloc(SIZE);
    for (guint i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autoptr(GError) error = NULL;
        LfPicture picture = {.format = formats[i], .width = W, .height = W};
        uint8_t *blocks[] = {host, memory.data};
        memset(host, 0, SIZE);
        lf_upload(be, memory, zeros);
        g_assert_true(be->sync(be, NULL));
        for (int kind = 0; kind < 2; kind++) {
            picture.memory = kind == 0 ? LF_MEMORY_HOST : LF_MEMORY_DEVICE;
            for (int plane = 0; plane < 3; plane++) {
                picture.planes[plane] = blocks[kind] + plane * LINE * W;
                picture.strides[plane] = LINE;
            }
            g_assert_true(lf_chunk_read(chunk, 3, &picture, &error));
            g_assert_no_error(error);
        }
        lf_download(be, device, memory);
        g_assert_true(be->sync(be, NULL));
        g_assert_cmpmem(device, SIZE, host, SIZE);
    }
    be->free(be, memory.data);
    lf_chunk_unref(chunk);
    lf_session_free(s);
    lf_model_unref(model);
}

static void count_lines(LfLogLevel level, const char *message, gpointer data)
{
    if (strstr(message, "chunk 0") || strstr(message, "prompt 1"))
        ++*(int *) data;
}

/* Prompts and chunks are logged to the session's log; without one, to the model's. */
static void test_log(void)
{
    int of_model = 0, of_session = 0;
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModelOptions options = {.backend = stream_backend(),
                              .log = {count_lines, &of_model, LF_LOG_TRACE}};
    LfModel *model = lf_model_open(dir, &options, NULL);
    g_assert_nonnull(model);
    lf_tiny_model_remove(dir);
    for (int own = 0; own < 2; own++) {
        LfSessionOptions o = {0};
        if (own)
            o.log = (LfLog){count_lines, &of_session, LF_LOG_TRACE};
        LfSession *s = stream_session(model, &o, "a ring");
        lf_chunk_unref(stream_next(s));
        lf_session_free(s);
        g_assert_cmpint(of_model, ==, 3); /* set, encoded, shown */
        g_assert_cmpint(of_session, ==, own ? 3 : 0);
    }
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/session/bad-options", test_bad_options);
    g_test_add_func("/session/limits", test_limits);
    g_test_add_func("/session/numbers", test_numbers);
    g_test_add_func("/session/requests", test_requests);
    g_test_add_func("/session/shift-without-warp", test_shift_without_warp);
    g_test_add_func("/session/missing-parts", test_missing_parts);
    g_test_add_func("/chunk/read-errors", test_read_errors);
    g_test_add_func("/chunk/strides", test_strides);
    g_test_add_func("/chunk/outlives", test_outlives);
    g_test_add_func("/chunk/pool", test_pool);
    g_test_add_func("/chunk/no-memory", test_no_memory);
    g_test_add_func("/session-options/device-memory", test_device_memory);
    g_test_add_func("/session-options/log", test_log);
    return g_test_run();
}
