/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Streams of chunks: the same frames for the same seed and prompts, prompts that change between
 * chunks, windows and sizes of all kinds, no allocation after the first chunk.
 */
#include "stream.h"

#include "engine/session.h"
#include "kernels/cpu/cpu.h"

#include <malloc.h>
#include <math.h>
#include <string.h>

static const char *const prompt = "a red ball bounces on green grass";

static void test_info(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 3}, prompt);
    uint64_t frames = 0;
    double sparsity = 0;
    for (uint64_t i = 0; i < 5; i++) {
        LfChunk *chunk = stream_next(s);
        const LfChunkInfo *info = lf_chunk_info(chunk);
        g_assert_cmpuint(info->index, ==, i);
        g_assert_cmpuint(info->first_frame, ==, frames);
        g_assert_cmpint(info->n_frames, ==, i == 0 ? 9 : 12);
        g_assert_cmpint(info->n_latent_frames, ==, LF_TINY_CHUNK);
        g_assert_cmpint(info->width, ==, LF_TINY_WIDTH);
        g_assert_cmpint(info->height, ==, LF_TINY_WIDTH);
        g_assert_cmpuint(info->prompt_id, ==, 1);
        g_assert_true(i == 0 ? info->sparsity == 0 : info->sparsity > sparsity);
        g_assert_true((info->encode_time > 0) == (i == 0));
        g_assert_cmpint(info->denoise_time, >, 0);
        g_assert_cmpint(info->clean_time, >, 0);
        g_assert_true(lf_chunk_wait(chunk, NULL));
        g_assert_cmpint(info->decode_time, >, 0);
        frames += (uint64_t) info->n_frames;
        sparsity = info->sparsity;
        lf_chunk_unref(chunk);
    }
    lf_session_free(s);
    lf_model_unref(model);
}

/* Two sessions, and one after a restart, have the same frames; another seed has others. */
static void test_seed(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *a = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    LfSession *b = stream_session(model, &(LfSessionOptions){.seed = 8}, prompt);
    g_autoptr(GByteArray) first = stream_run(a, 4), other = stream_run(b, 4);
    g_assert_false(stream_same(first, other));
    lf_session_restart(b, 7);
    g_autoptr(GByteArray) again = stream_run(b, 4);
    stream_assert_same(first, again);
    lf_session_restart(a, 8);
    g_autoptr(GByteArray) third = stream_run(a, 4);
    stream_assert_same(other, third);
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(model);
}

/* A prompt shows from the next chunk on, and never before. */
static void test_prompt_changes(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *a = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    LfSession *b = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    g_autoptr(GByteArray) a1 = stream_run(a, 2), b1 = stream_run(b, 2);
    stream_assert_same(a1, b1);
    g_assert_true(lf_session_set_prompt(b, "thrown away before it was seen", NULL));
    g_assert_true(lf_session_set_prompt(b, "a blue star on yellow sand", NULL));
    LfChunk *chunk = stream_next(b);
    g_assert_cmpuint(lf_chunk_info(chunk)->prompt_id, ==, 3);
    g_assert_cmpint(lf_chunk_info(chunk)->encode_time, >, 0);
    g_autoptr(GByteArray) b2 = stream_pictures(chunk), a2 = stream_run(a, 1);
    g_assert_false(stream_same(a2, b2));
    lf_chunk_unref(chunk);
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(model);
}

static void test_prompt_errors(void)
{
    GError *error = NULL;
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, "");
    g_assert_null(lf_session_next(s, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "lf_session_set_prompt");
    g_assert_false(lf_session_set_prompt(s, "caf\xe9 \xff", &error));
    stream_assert_error(&error, LF_ERROR_TEXT, "UTF-8");
    g_autofree char *huge = g_strnfill((64 << 10) + 1, 'x');
    g_assert_false(lf_session_set_prompt(s, huge, &error));
    stream_assert_error(&error, LF_ERROR_TEXT, "64 KiB");
    g_assert_null(lf_session_next(s, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "lf_session_set_prompt");

    huge[64 << 10] = 0; /* the longest there may be, and many times what the model takes */
    g_assert_true(lf_session_set_prompt(s, huge, &error));
    lf_chunk_unref(stream_next(s));
    g_assert_true(lf_session_set_prompt(s, "", &error));
    LfChunk *chunk = stream_next(s);
    g_assert_cmpuint(lf_chunk_info(chunk)->prompt_id, ==, 2);
    lf_chunk_unref(chunk);
    lf_session_free(s);
    lf_model_unref(model);
}

static GByteArray *latents_of(LfChunk *chunk)
{
    int channels, height, width;
    const float *x = lf_chunk_latents(chunk, &channels, &height, &width);
    int count = lf_chunk_info(chunk)->n_latent_frames * channels * height * width;
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *) x, (guint) count * sizeof *x);
    lf_chunk_unref(chunk);
    return bytes;
}

/* The first chunk is always dense; the later chunks are as requested. */
static void test_dense_and_sparse(void)
{
    LfModel *model = stream_model(NULL);
    LfSessionOptions dense = {.seed = 5, .attention = LF_ATTENTION_DENSE};
    LfSessionOptions sparse = {
        .seed = 5, .attention = LF_ATTENTION_SPARSE, .sparsity = 1e-9, .uniform = TRUE};
    LfSession *a = stream_session(model, &dense, prompt);
    LfSession *b = stream_session(model, &sparse, prompt);
    g_autoptr(GByteArray) a1 = latents_of(stream_next(a)), b1 = latents_of(stream_next(b));
    stream_assert_same(a1, b1);
    g_autoptr(GByteArray) a2 = latents_of(stream_next(a)), b2 = latents_of(stream_next(b));
    g_assert_false(stream_same(a2, b2));
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(model);
}

/* keep_frames changes nothing until the window has more past frames than that. */
static void test_keep_frames(void)
{
    LfModel *model = stream_model(NULL);
    const int keep[] = {0, 3 /* the model's */, -1};
    GByteArray *chunks[G_N_ELEMENTS(keep)][3];
    for (guint i = 0; i < G_N_ELEMENTS(keep); i++) {
        LfSessionOptions o = {.seed = 5, .sparsity = 0.5, .uniform = TRUE, .keep_frames = keep[i]};
        LfSession *s = stream_session(model, &o, prompt);
        for (int k = 0; k < 3; k++)
            chunks[i][k] = latents_of(stream_next(s));
        lf_session_free(s);
    }
    for (int k = 0; k < 3; k++) {
        stream_assert_same(chunks[0][k], chunks[1][k]);
        g_assert_cmpint(stream_same(chunks[0][k], chunks[2][k]), ==, k < 2);
        for (guint i = 0; i < G_N_ELEMENTS(keep); i++)
            g_byte_array_unref(chunks[i][k]);
    }
    lf_model_unref(model);
}

/* The blocks that attention was called with, of the tiny model's frames of 16 tokens. */
static struct {
    LfOps ops;
    const LfOps *own;
    int query_block, key_block, query_blocks, key_blocks;
} seen;

static void seeing_attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window,
                             LfTensor table, int query_block)
{
    seen.query_block = query_block;
    seen.key_block = window->key_block;
    seen.query_blocks = (int) table.shape[1];
    seen.key_blocks = (int) window->k_pool.shape[2];
    seen.own->attention(be, out, q, window, table, query_block);
}

/* The model's blocks are of 8 tokens; those of 5 are partial at the end of a frame. */
static void test_block_sizes(void)
{
    static const struct {
        int query, key, is_query, is_key;
    } cases[] = {{0, 0, 8, 8}, {8, 8, 8, 8}, {0, 4, 8, 4}, {16, 0, 16, 8}, {5, 3, 5, 3}};
    LfModel *model = stream_model(NULL);
    GByteArray *chunks[G_N_ELEMENTS(cases)];
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfSessionOptions o = {.seed = 5,
                              .sparsity = 0.5,
                              .uniform = TRUE,
                              .query_block = cases[i].query,
                              .key_block = cases[i].key};
        LfSession *s = stream_session(model, &o, prompt);
        lf_chunk_unref(stream_next(s));
        seen.own = s->worker.be->ops;
        seen.ops = *s->worker.be->ops;
        seen.ops.attention = seeing_attention;
        s->worker.be->ops = &seen.ops;
        chunks[i] = latents_of(stream_next(s));
        s->worker.be->ops = seen.own;
        g_assert_cmpint(seen.query_block, ==, cases[i].is_query);
        g_assert_cmpint(seen.key_block, ==, cases[i].is_key);
        g_assert_cmpint(seen.query_blocks, ==, LF_TINY_CHUNK * ((15 / cases[i].is_query) + 1));
        g_assert_cmpint(seen.key_blocks, ==, 15 / cases[i].is_key + 1);
        g_assert_cmpint(((LfLightForcing *) s->worker.scheme)->budget, ==,
                        LF_TINY_CHUNK * seen.key_blocks);
        g_assert_cmpint(stream_same(chunks[0], chunks[i]), ==, i < 2);
        lf_session_free(s);
    }
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        g_byte_array_unref(chunks[i]);
    lf_model_unref(model);
}

/* ---- one map for all steps ------------------------------------------------------------------- */

enum { PASSES = LF_TINY_STEPS + 1 };

/* The tables that attention was called with in the current chunk. */
static struct {
    LfOps ops;
    const LfOps *own;
    int selections, attentions;
    GBytes *tables[PASSES * LF_TINY_LAYERS]; /* in the order of the calls */
} maps;

static void counting_select(LfBackend *be, LfTensor table, LfTensor q_pool, const LfWindow *window,
                            const LfSelection *selection)
{
    maps.selections++;
    maps.own->select_blocks(be, table, q_pool, window, selection);
}

static void keeping_attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window,
                              LfTensor table, int query_block)
{
    g_assert_cmpint(maps.attentions, <, (int) G_N_ELEMENTS(maps.tables));
    g_assert_true(be->sync(be, NULL)); /* the selection may not have run yet */
    maps.tables[maps.attentions++] = g_bytes_new(table.data, lf_tensor_size(table));
    maps.own->attention(be, out, q, window, table, query_block);
}

/* The stream's second chunk, which is sparse. `tables` are the caller's. */
static void map_chunk(LfModel *model, gboolean one_map, GBytes **tables)
{
    LfSessionOptions o = {
        .seed = 5, .sparsity = 0.5, .uniform = TRUE, .key_block = 4, .one_map = one_map};
    LfSession *s = stream_session(model, &o, prompt);
    lf_chunk_unref(stream_next(s));
    maps.own = s->worker.be->ops;
    maps.ops = *s->worker.be->ops;
    maps.ops.select_blocks = counting_select;
    maps.ops.attention = keeping_attention;
    maps.selections = maps.attentions = 0;
    s->worker.be->ops = &maps.ops;
    lf_chunk_unref(stream_next(s));
    s->worker.be->ops = maps.own;
    memcpy(tables, maps.tables, sizeof maps.tables);
    lf_session_free(s);
}

/* With a map, the first step has the tables that it has without one; the later steps reuse them and
 * select nothing; the clean pass selects for itself, and its last layer has no attention. */
static void test_one_map(void)
{
    enum { L = LF_TINY_LAYERS, STEPS = LF_TINY_STEPS, CLEAN = STEPS * L };
    LfModel *model = stream_model(NULL);
    GBytes *own[PASSES * L], *one[PASSES * L];
    map_chunk(model, FALSE, own);
    g_assert_cmpint(maps.selections, ==, PASSES * L - 1);
    g_assert_cmpint(maps.attentions, ==, PASSES * L - 1);
    map_chunk(model, TRUE, one);
    g_assert_cmpint(maps.selections, ==, L + L - 1);
    g_assert_cmpint(maps.attentions, ==, PASSES * L - 1);
    for (int layer = 0; layer < L; layer++) {
        g_assert_true(g_bytes_equal(own[layer], one[layer]));
        for (int step = 1; step < STEPS; step++) {
            g_assert_true(g_bytes_equal(one[layer], one[step * L + layer]));
            g_assert_false(g_bytes_equal(own[layer], own[step * L + layer]));
        }
    }
    g_assert_false(g_bytes_equal(one[0], one[CLEAN]));
    for (int i = 0; i < PASSES * L - 1; i++) {
        g_bytes_unref(own[i]);
        g_bytes_unref(one[i]);
    }
    lf_model_unref(model);
}

/* ---- token order ----------------------------------------------------------------------------- */

static double latent_error(const GByteArray *a, const GByteArray *b)
{
    const float *x = (const float *) (const void *) a->data;
    const float *y = (const float *) (const void *) b->data;
    double error = 0, size = 0;
    g_assert_cmpuint(a->len, ==, b->len);
    for (guint i = 0; i < a->len / sizeof *x; i++) {
        error += (x[i] - y[i]) * (x[i] - y[i]);
        size += x[i] * x[i];
    }
    return sqrt(error / size);
}

/* The latents of the next n chunks. */
static GByteArray *latents_run(LfModel *model, const LfSessionOptions *options, int n)
{
    LfSession *s = stream_session(model, options, prompt);
    GByteArray *all = g_byte_array_new();
    for (int i = 0; i < n; i++) {
        GByteArray *chunk = latents_of(stream_next(s));
        g_byte_array_append(all, chunk->data, chunk->len);
        g_byte_array_unref(chunk);
    }
    lf_session_free(s);
    return all;
}

/* Dense attention does not depend on the order of tokens, but for rounding; sparse attention does,
 * unless the blocks hold the same tokens: two tiles of 2×2 side by side are two rows of four. The
 * window rolls after three chunks, and the sink is rotated. */
static void test_tiles(void)
{
    enum { CHUNKS = 5 };
    LfModel *model = stream_model(NULL);
    const LfSessionOptions dense = {.seed = 5, .attention = LF_ATTENTION_DENSE};
    const LfSessionOptions sparse = {.seed = 5, .sparsity = 0.5};
    const int sizes[][2] = {{2, 2}, {2, 1}, {1, 2}, {4, 4}, {4, 1}, {4, 2}};
    g_autoptr(GByteArray) dense_rows = latents_run(model, &dense, CHUNKS);
    g_autoptr(GByteArray) sparse_rows = latents_run(model, &sparse, CHUNKS);
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        LfSessionOptions d = dense, s = sparse;
        d.tile_rows = s.tile_rows = sizes[i][0];
        d.tile_cols = s.tile_cols = sizes[i][1];
        gboolean same_blocks = sizes[i][0] <= 2 || sizes[i][1] == 4;
        g_autoptr(GByteArray) dense_tiles = latents_run(model, &d, CHUNKS);
        g_autoptr(GByteArray) sparse_tiles = latents_run(model, &s, CHUNKS);
        double dense_error = latent_error(dense_rows, dense_tiles);
        double sparse_error = latent_error(sparse_rows, sparse_tiles);
        g_test_message("tiles of %dx%d: %.1e dense, %.1e sparse", sizes[i][0], sizes[i][1],
                       dense_error, sparse_error);
        g_assert_cmpfloat(dense_error, <, 1e-5);
        g_assert_true(same_blocks ? sparse_error < 1e-5 : sparse_error > 1e-3);
    }
    lf_model_unref(model);
}

/* The model's order of tokens, and a session's own. */
static void test_model_tiles(void)
{
    LfModel *rows = stream_model(NULL), *tiles = stream_model(&(LfTinyModel){.token_order = "4x2"});
    LfSessionOptions usual = {.seed = 5}, tiled = {.seed = 5, .tile_rows = 4, .tile_cols = 2};
    LfSessionOptions none = {.seed = 5, .tile_rows = -1, .tile_cols = -1};
    g_autoptr(GByteArray) by_option = latents_run(rows, &tiled, 3);
    g_autoptr(GByteArray) by_model = latents_run(tiles, &usual, 3);
    stream_assert_same(by_option, by_model);
    g_autoptr(GByteArray) of_rows = latents_run(rows, &usual, 3);
    g_autoptr(GByteArray) of_none = latents_run(tiles, &none, 3);
    stream_assert_same(of_rows, of_none);
    g_assert_false(stream_same(of_rows, by_model));
    lf_model_unref(rows);
    lf_model_unref(tiles);
}

/* Set while the stream runs: the planned sparsity follows, and the base of the growth with it. */
static void test_set_attention(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, prompt);
    const struct {
        LfAttention attention;
        double sparsity, least, most;
    } asked[] = {{LF_ATTENTION_AUTO, 0, 0, 0},        {LF_ATTENTION_AUTO, 0, 0.01, 0.7},
                 {LF_ATTENTION_DENSE, 0.9, 0, 0},     {LF_ATTENTION_SPARSE, 0.8, 0.7, 1.0},
                 {LF_ATTENTION_SPARSE, 7, 0.99, 1.0}, {LF_ATTENTION_SPARSE, -1, 0.01, 0.7}};
    for (guint i = 0; i < G_N_ELEMENTS(asked); i++) {
        lf_session_set_attention(s, asked[i].attention, asked[i].sparsity);
        LfChunk *chunk = stream_next(s);
        double sparsity = lf_chunk_info(chunk)->sparsity;
        g_assert_cmpfloat(sparsity, >=, asked[i].least);
        g_assert_cmpfloat(sparsity, <=, asked[i].most);
        g_assert_cmpint(((LfLightForcing *) s->worker.scheme)->budget > 0, ==, sparsity > 0);
        lf_chunk_unref(chunk);
    }
    lf_session_free(s);
    lf_model_unref(model);
}

/* The frames are not all of one colour. */
static void assert_alive(LfChunk *chunk)
{
    g_autoptr(GByteArray) bytes = latents_of(chunk);
    const float *x = (const float *) (const void *) bytes->data;
    guint n = bytes->len / sizeof *x;
    double sum = 0, squares = 0;
    for (guint i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    g_assert_true(isfinite(squares));
    g_assert_cmpfloat(squares - sum * sum / n, >, 0.01 * n);
}

/* Sizes whose frames are no multiple of a block, windows that roll at once, never, or within a
 * chunk; the decoder has seen the sizes once. */
static void test_geometries(void)
{
    LfModel *models[] = {stream_model(NULL), stream_model(&(LfTinyModel){.absolute = TRUE}),
                         stream_model(&(LfTinyModel){.window = -1})};
    const LfSessionOptions options[] = {
        {.width = 16, .height = 16},
        {.width = 96, .height = 48},
        {.width = 112, .height = 80},
        {.no_decoder = TRUE, .window = 4},
        {.no_decoder = TRUE, .window = 5},
        {.no_decoder = TRUE, .window = 7, .sink = -1},
        {.no_decoder = TRUE, .window = 12, .sink = 5},
        {.no_decoder = TRUE, .window = -1},
        {.no_decoder = TRUE, .window = -1, .sink = -1},
        {.no_decoder = TRUE, .window = 5, .attention = LF_ATTENTION_DENSE},
        {.no_decoder = TRUE, .window = 12, .keep_frames = -1},
        {.no_decoder = TRUE, .window = -1, .keep_frames = -1},
        {.no_decoder = TRUE, .uniform = TRUE, .sparsity = 0.875},
        {.no_decoder = TRUE, .window = 3, .sink = -1},
        {.no_decoder = TRUE, .one_map = TRUE, .key_block = 3},
        {.no_decoder = TRUE, .one_map = TRUE, .window = -1}};
    for (guint i = 0; i < G_N_ELEMENTS(options); i++)
        for (guint m = 0; m < G_N_ELEMENTS(models); m++) {
            LfSessionOptions o = options[i];
            o.no_decoder |= m > 0;
            LfSession *s = stream_session(models[m], &o, prompt);
            for (int k = 0; k < (o.no_decoder ? 6 : 2); k++)
                assert_alive(stream_next(s));
            lf_session_free(s);
        }
    for (guint m = 0; m < G_N_ELEMENTS(models); m++)
        lf_model_unref(models[m]);
}

static gpointer run_three(gpointer session)
{
    return stream_run(session, 3);
}

/* Two streams of one model in two threads have the frames that they have one after the other. */
static void test_threads(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *a = stream_session(model, &(LfSessionOptions){.seed = 1}, prompt);
    LfSession *b = stream_session(model, &(LfSessionOptions){.seed = 2}, "a yellow heart");
    g_autoptr(GByteArray) a1 = stream_run(a, 3), b1 = stream_run(b, 3);
    lf_session_restart(a, 1);
    lf_session_restart(b, 2);
    GThread *thread = g_thread_new("second stream", run_three, b);
    g_autoptr(GByteArray) a2 = stream_run(a, 3), b2 = g_thread_join(thread);
    stream_assert_same(a1, a2);
    stream_assert_same(b1, b2);
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(model);
}

/* The order of sums, and so every frame, does not depend on the number of threads. */
static void test_thread_counts(void)
{
    g_autoptr(GByteArray) wanted = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        LfModelOptions options = {.backend = stream_backend(), .n_threads = n_threads};
        LfModel *model = lf_model_open(dir, &options, NULL);
        LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 6}, prompt);
        g_autoptr(GByteArray) pictures = stream_run(s, 3);
        if (wanted)
            stream_assert_same(wanted, pictures);
        else
            wanted = g_byte_array_ref(pictures);
        lf_session_free(s);
        lf_model_unref(model);
    }
    lf_tiny_model_remove(dir);
}

static gpointer change_prompts(gpointer session)
{
    const char *const prompts[] = {"a star", "a green ring spins", "", "a heart on the blue sea"};
    for (int i = 0; i < 200; i++) {
        g_assert_true(lf_session_set_prompt(session, prompts[i % 4], NULL));
        lf_session_set_attention(session, i % 3, i % 7 / 10.0);
        lf_session_set_transition(session, i % 5 % 3);
        g_usleep(200);
    }
    return NULL;
}

static void test_changes_from_another_thread(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, prompt);
    GThread *thread = g_thread_new("prompts", change_prompts, s);
    uint64_t id = 0;
    for (int i = 0; i < 8; i++) {
        LfChunk *chunk = stream_next(s);
        g_assert_cmpuint(lf_chunk_info(chunk)->prompt_id, >=, id);
        id = lf_chunk_info(chunk)->prompt_id;
        lf_chunk_unref(chunk);
    }
    g_thread_join(thread);
    lf_session_free(s);
    lf_model_unref(model);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* After the first chunk, and with the same number of chunks alive, nothing grows. The heap is
 * looked at once the window is full and the growth done, so that a device has captured its
 * graphs. */
static void test_no_allocation(gconstpointer one_map)
{
    LfModel *model = stream_model(NULL);
    LfSessionOptions o = {.one_map = GPOINTER_TO_INT(one_map)};
    LfSession *s = stream_session(model, &o, prompt);
    gint *n_allocations = stream_count_allocations(s);
    stream_drop(s, 1);
    g_assert_cmpint(*n_allocations, ==, 1); /* the chunk's own pictures */
    stream_drop(s, 11);
    size_t before = mallinfo2().uordblks;
    stream_drop(s, 12);
    size_t after = mallinfo2().uordblks;
    g_assert_cmpint(*n_allocations, ==, 1);
    g_assert_cmpuint(after, <=, before + stream_heap_noise(s));
    g_test_message("%zd bytes more on the heap after 12 chunks", (ssize_t) (after - before));
    lf_session_free(s);
    lf_model_unref(model);
}

static void test_memory_and_flops(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, prompt);
    LfMemory memory = lf_session_memory(s);
    g_assert_cmpuint(memory.weights, >, 0);
    g_assert_cmpuint(memory.state, >, 0);
    g_assert_cmpuint(memory.scratch, >, 0);
    LfFlops sparse = lf_session_flops(s);
    lf_session_set_attention(s, LF_ATTENTION_DENSE, 0);
    LfFlops dense = lf_session_flops(s);
    g_assert_cmpfloat(sparse.transformer, >, 0);
    g_assert_cmpfloat(sparse.transformer, <, dense.transformer);
    g_assert_cmpfloat(sparse.decoder, ==, dense.decoder);
    lf_session_free(s);
    lf_model_unref(model);
}

/* Dense attention over a full window, counted by hand: five matrices of D×D and two of D×F per
 * layer and token, patch and head, text, window. The clean pass ends with the last layer's keys. */
static void test_flops_by_hand(void)
{
    enum { N = 3 * 160, D = 256, F = 768, C = 64, LAYERS = 8, KEYS = 12 * 160, TEXT = 48 };
    g_autoptr(GError) error = NULL;
    LfModelOptions backend = {.backend = stream_backend()};
    LfModel *model = lf_model_new_random("demo", 1, &backend, &error);
    g_assert_no_error(error);
    LfSessionOptions options = {.no_text = TRUE, .attention = LF_ATTENTION_DENSE};
    LfSession *s = lf_session_new(model, &options, &error);
    g_assert_no_error(error);
    double qkv = 3.0 * N * D * D, rest = (1.0 + 2) * N * D * D + 2.0 * N * D * F;
    double attention = 2.0 * N * D * (KEYS + TEXT);
    double layers = 5 * LAYERS * qkv + (5 * LAYERS - 1) * (rest + attention);
    double wanted = 2 * (layers + 5.0 * N * C * D + 4.0 * N * C * D);
    double counted = lf_session_flops(s).transformer;
    g_assert_cmpfloat(fabs(counted - wanted), <=, 1e-9 * wanted);
    lf_session_free(s);
    lf_model_unref(model);
}

/* A chunk's text is counted as long as it is, the longest one before there is any. The encoder's
 * scratch counts from its first prompt on. */
static void test_of_prompt(void)
{
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSession *s = stream_session(model, NULL, "");
    LfFlops longest = lf_session_flops(s);
    size_t scratch = lf_session_memory(s).scratch;
    g_assert_true(lf_session_set_prompt(s, "a star", NULL));
    stream_drop(s, 1);
    LfFlops own = lf_session_flops(s);
    g_assert_cmpfloat(own.transformer, <, longest.transformer);
    g_assert_cmpfloat(own.decoder, ==, longest.decoder);
    g_assert_cmpuint(lf_session_memory(s).scratch, ==, scratch + s->prompts.memory);
    g_assert_cmpuint(s->prompts.memory, >, 0);
    lf_session_free(s);
    lf_model_unref(model);
}

/* ---- times ----------------------------------------------------------------------------------- */

static const LfWorker *timed;

static int number_of(const LfEvent *event)
{
    for (int i = 0; i < LF_N_CHUNK_EVENTS; i++)
        if (timed->events[i] == event)
            return i;
    return 9;
}

/* From event 2 to event 3 it takes 23 ms. */
static int64_t tell_events(LfBackend *be, LfEvent *from, LfEvent *to)
{
    return 1000000 * (10 * number_of(from) + number_of(to));
}

static void keep_chunk(LfLogLevel level, const char *message, gpointer line)
{
    if (g_str_has_prefix(message, "chunk "))
        g_string_assign(line, message);
}

/* Each time is that between the events of its phase, in the information and in the log. */
static void test_times(void)
{
    g_autoptr(GString) line = g_string_new(NULL);
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSessionOptions o = {.log = {keep_chunk, line, LF_LOG_TRACE}};
    LfSession *s = stream_session(model, &o, prompt);
    timed = &s->worker;
    s->worker.be->event_elapsed = tell_events;
    lf_session_set_transition(s, LF_TRANSITION_RECACHE);
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            g_assert_true(lf_session_set_prompt(s, "a blue star", NULL));
        LfChunk *chunk = stream_next(s);
        const LfChunkInfo *info = lf_chunk_info(chunk);
        g_assert_true((info->text_time >= 1000000) == (i != 1)); /* and the wait before it */
        g_assert_true((info->text_time == 0) == (i == 1));
        g_assert_cmpint(info->recache_time, ==, i == 2 ? 12000000 : 0);
        g_assert_cmpint(info->denoise_time, ==, 23000000);
        g_assert_cmpint(info->clean_time, ==, 34000000);
        g_assert_cmpint(info->decode_time, ==, 99000000);
        const char *const tells[] = {"chunk 0: frames 0+9, prompt 1, continue, sparsity 0.000;",
                                     "chunk 1: frames 9+12, prompt 1, continue, sparsity 0.",
                                     "chunk 2: frames 21+12, prompt 2, recache, sparsity 0."};
        g_assert_true(g_str_has_prefix(line->str, tells[i]));
        g_assert_true(
            g_str_has_suffix(line->str, i == 2 ? ", recache 12.0, denoise 23.0, clean pass 34.0"
                                               : ", recache 0.0, denoise 23.0, clean pass 34.0"));
        lf_chunk_unref(chunk);
    }
    lf_session_free(s);
    lf_model_unref(model);
}

/* ---- numbers in ------------------------------------------------------------------------------ */

/* The numbers of the engine's generator, as a replacement for it. */
static void same_noise(float *out, int64_t count, uint64_t chunk, int step, gpointer data)
{
    LfBackend *be = data;
    lf_noise(be, lf_tensor(out, LF_F32, count), 42, (uint32_t) chunk, (uint32_t) step);
}

/* Of each chunk its steps, in order; a chunk whose memory is only planned draws none. */
static void expected_noise(float *out, int64_t count, uint64_t chunk, int step, gpointer data)
{
    int *calls = data;
    g_assert_cmpuint(chunk, ==, *calls / LF_TINY_STEPS);
    g_assert_cmpint(step, ==, *calls % LF_TINY_STEPS);
    g_assert_cmpint(count, ==, LF_TINY_CHUNK * LF_TINY_CHANNELS * 8 * 8);
    memset(out, 0, (size_t) count * sizeof *out);
    ++*calls;
}

static void test_noise_calls(void)
{
    LfModel *model = stream_model(NULL);
    for (int window = -1; window <= 0; window++) {
        int calls = 0;
        LfSession *s = stream_session(model, &(LfSessionOptions){.window = window}, prompt);
        lf_session_set_noise(s, expected_noise, &calls);
        stream_drop(s, 4);
        g_assert_cmpint(calls, ==, 4 * LF_TINY_STEPS);
        lf_session_free(s);
    }
    lf_model_unref(model);
}

static void other_noise(float *out, int64_t count, uint64_t chunk, int step, gpointer data)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (float) sin((double) i + (double) chunk * 7 + step);
}

static void test_noise(void)
{
    LfModel *model = stream_model(NULL);
    LfBackend *be = lf_backend_open_cpu(1, NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 42}, prompt);
    g_autoptr(GByteArray) wanted = stream_run(s, 3);
    lf_session_restart(s, 1);
    lf_session_set_noise(s, same_noise, be);
    g_autoptr(GByteArray) same = stream_run(s, 3);
    stream_assert_same(wanted, same);
    lf_session_restart(s, 42);
    lf_session_set_noise(s, other_noise, NULL);
    g_autoptr(GByteArray) other = stream_run(s, 3);
    g_assert_false(stream_same(wanted, other));
    lf_session_restart(s, 42);
    lf_session_set_noise(s, NULL, NULL);
    g_autoptr(GByteArray) back = stream_run(s, 3);
    stream_assert_same(wanted, back);
    lf_session_free(s);
    lf_backend_close(be);
    lf_model_unref(model);
}

/* A prompt by hand: its tokens are encoded, and the embeddings are set as the context. */
static void test_context(void)
{
    GError *error = NULL;
    int32_t ids[LF_TINY_TEXT_LEN];
    float text[LF_TINY_TEXT_LEN * LF_TINY_TEXT_DIM];
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, NULL, prompt);
    LfSession *numbers = stream_session(model, &(LfSessionOptions){.no_text = TRUE}, "");
    int n = lf_model_tokenize(model, prompt, ids, LF_TINY_TEXT_LEN, &error);
    g_assert_cmpint(n, >, 1);
    g_assert_true(lf_model_encode(model, ids, n, text, &error));
    g_assert_true(lf_session_set_context(numbers, text, n, LF_TINY_TEXT_DIM, &error));
    g_autoptr(GByteArray) wanted = stream_run(s, 2), same = stream_run(numbers, 2);
    stream_assert_same(wanted, same);
    /* It replaces a prompt, too, whose tokens are then no more encoded. */
    LfSession *either = stream_session(model, NULL, "another prompt");
    g_assert_true(lf_session_set_context(either, text, n, LF_TINY_TEXT_DIM, &error));
    g_autoptr(GByteArray) replaced = stream_run(either, 2);
    stream_assert_same(wanted, replaced);
    lf_session_free(either);
    g_assert_true(lf_session_set_context(numbers, NULL, 0, LF_TINY_TEXT_DIM, &error));
    g_autoptr(GByteArray) empty = stream_run(numbers, 1);

    g_assert_false(lf_session_set_context(numbers, text, n, LF_TINY_TEXT_DIM + 1, &error));
    stream_assert_error(&error, LF_ERROR_SHAPE, "33]");
    g_assert_false(
        lf_session_set_context(numbers, text, LF_TINY_TEXT_LEN + 1, LF_TINY_TEXT_DIM, &error));
    stream_assert_error(&error, LF_ERROR_SHAPE, "[25");
    g_assert_false(lf_session_set_prompt(numbers, prompt, &error));
    stream_assert_error(&error, LF_ERROR_UNSUPPORTED, "embeddings");
    ids[0] = 434;
    g_assert_false(lf_model_encode(model, ids, n, text, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "434");
    g_assert_false(lf_model_encode(model, ids, 0, text, &error));
    stream_assert_error(&error, LF_ERROR_CONFIG, "1 to 24");
    lf_session_free(s);
    lf_session_free(numbers);
    lf_model_unref(model);
}

static void test_token_counts(void)
{
    g_autoptr(GError) error = NULL;
    LfPromptTokens tokens;
    LfModel *model = stream_model(NULL);
    g_assert_true(lf_model_count_tokens(model, "日本 ball 日", &tokens, &error));
    g_assert_cmpint(tokens.n_tokens, ==, 6);
    g_assert_cmpint(tokens.n_cut, ==, 0);
    g_assert_cmpint(tokens.n_unknown, ==, 2);
    for (int n = 0; n < 2 * LF_TINY_TEXT_LEN; n++) {
        g_autoptr(GString) text = g_string_new("");
        for (int i = 0; i < n; i++)
            g_string_append(text, " ball");
        g_string_append(text, "日"); /* unknown, and the first to be cut */
        g_assert_true(lf_model_count_tokens(model, text->str, &tokens, &error));
        int wanted = n > 0 ? n + 2 : 3; /* alone, it has a space before it */
        g_assert_cmpint(tokens.n_tokens, ==, wanted);
        g_assert_cmpint(tokens.n_cut, ==, MAX(wanted - LF_TINY_TEXT_LEN, 0));
        g_assert_cmpint(tokens.n_unknown, ==, wanted <= LF_TINY_TEXT_LEN ? 1 : 0);
    }
    g_assert_false(lf_model_count_tokens(model, "\377", &tokens, &error));
    stream_assert_error(&error, LF_ERROR_TEXT, "UTF-8");
    g_assert_cmpint(tokens.n_tokens + tokens.n_cut + tokens.n_unknown, ==, 0);
    lf_model_unref(model);
}

/* ---- the demo model -------------------------------------------------------------------------- */

/* The share of a chunk's pixels in which one channel is far above the two others. */
static double share(const GByteArray *pictures, int channel)
{
    guint n = 0;
    for (guint i = 0; i + 2 < pictures->len; i += 3) {
        const guint8 *p = pictures->data + i;
        n += p[channel] > 60 + MAX(p[(channel + 1) % 3], p[(channel + 2) % 3]);
    }
    return 3.0 * n / pictures->len;
}

static void test_demo(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *location = lf_model_default_location();
    LfModel *model =
        lf_model_open(location, &(LfModelOptions){.backend = stream_backend()}, &error);
    g_assert_no_error(error);
    g_test_message("%s: %s on %s", lf_model_name(model), lf_model_description(model),
                   lf_model_device(model));
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 1},
                                  "a large red circle on a plain white background");
    g_autoptr(GByteArray) red = stream_run(s, 1);
    lf_session_set_prompt(s, "a large blue square on a plain white background", &error);
    g_assert_no_error(error);
    lf_session_restart(s, 1);
    g_autoptr(GByteArray) blue = stream_run(s, 1);
    g_assert_cmpfloat(share(red, 0), >, 0.02);
    g_assert_cmpfloat(share(red, 0), >, 4 * share(red, 2));
    g_assert_cmpfloat(share(blue, 2), >, 4 * share(blue, 0));
    lf_session_free(s);
    lf_model_unref(model);
}

/* A failure of the backend is reported at the end of the chunk. After a restart the prompt is
 * encoded again, too, because it is not known which operation failed. */
static void test_failed_chunk(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSession *failing = stream_session(model, NULL, "a prompt");
    LfSession *sound = stream_session(model, NULL, "a prompt");
    g_byte_array_unref(stream_run(failing, 1));
    lf_cpu_lacks(failing->worker.be, 12000000);
    g_assert_null(lf_session_next(failing, &error));
    stream_assert_error(&error, LF_ERROR_MEMORY, "12.0 MB");
    g_assert_cmpuint(failing->worker.encoded, ==, 0);
    lf_session_restart(failing, 0);
    GByteArray *a = stream_run(failing, 3), *b = stream_run(sound, 3);
    stream_assert_same(a, b);
    g_byte_array_unref(a);
    g_byte_array_unref(b);
    lf_session_free(failing);
    lf_session_free(sound);
    lf_model_unref(model);
}

static bool refuse_pixels(LfBackend *be, const LfPicture *picture, LfTensor rgb, GError **error)
{
    g_set_error(error, LF_ERROR, LF_ERROR_DEVICE, "pixels: refused");
    return false;
}

/* lf_chunk_read fails when the backend could not convert the picture. */
static void test_failed_picture(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model(NULL);
    LfSession *session = stream_session(model, NULL, "a prompt");
    LfChunk *chunk = stream_next(session);
    const LfChunkInfo *info = lf_chunk_info(chunk);
    g_autofree uint8_t *memory = g_malloc(3 * (size_t) info->width * (size_t) info->height);
    LfPicture picture = {.format = LF_PIXELS_RGB,
                         .width = info->width,
                         .height = info->height,
                         .planes = {memory},
                         .strides = {3 * info->width}};
    LfBackend *be = session->worker.decoder_be;
    const LfOps *sound = be->ops;
    LfOps refusing = *sound;
    refusing.pixels = refuse_pixels;
    be->ops = &refusing;
    g_assert_false(lf_chunk_read(chunk, 0, &picture, &error));
    stream_assert_error(&error, LF_ERROR_DEVICE, "refused");
    be->ops = sound;
    g_assert_true(lf_chunk_read(chunk, 0, &picture, &error));
    g_assert_no_error(error);
    lf_chunk_unref(chunk);
    lf_session_free(session);
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/session/failed-chunk", test_failed_chunk);
    g_test_add_func("/session/failed-picture", test_failed_picture);
    g_test_add_func("/session/info", test_info);
    g_test_add_func("/session/seed", test_seed);
    g_test_add_func("/session/prompt-changes", test_prompt_changes);
    g_test_add_func("/session/prompt-errors", test_prompt_errors);
    g_test_add_func("/session/dense-and-sparse", test_dense_and_sparse);
    g_test_add_func("/session/keep-frames", test_keep_frames);
    g_test_add_func("/session/block-sizes", test_block_sizes);
    g_test_add_func("/session/one-map", test_one_map);
    g_test_add_func("/session/tiles", test_tiles);
    g_test_add_func("/session/tiles/model", test_model_tiles);
    g_test_add_func("/session/set-attention", test_set_attention);
    g_test_add_func("/session/geometries", test_geometries);
    g_test_add_func("/session/threads", test_threads);
    g_test_add_func("/session/thread-counts", test_thread_counts);
    g_test_add_func("/session/changes-from-another-thread", test_changes_from_another_thread);
    g_test_add_data_func("/session/no-allocation", GINT_TO_POINTER(FALSE), test_no_allocation);
    g_test_add_data_func("/session/no-allocation/one-map", GINT_TO_POINTER(TRUE),
                         test_no_allocation);
    g_test_add_func("/session/memory-and-flops", test_memory_and_flops);
    g_test_add_func("/session/flops-by-hand", test_flops_by_hand);
    g_test_add_func("/session/of-prompt", test_of_prompt);
    g_test_add_func("/session/times", test_times);
    g_test_add_func("/session/noise", test_noise);
    g_test_add_func("/session/noise/calls", test_noise_calls);
    g_test_add_func("/session/context", test_context);
    g_test_add_func("/session/token-counts", test_token_counts);
    g_test_add_func("/session/demo", test_demo);
    return g_test_run();
}
