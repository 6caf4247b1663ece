/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ring of frames against a plain reference: a list that is rolled by copying, and, for relative
 * positions, keys that are rotated in double for every chunk.
 */
#include "engine/models/kv_cache.h"
#include "engine/models/positions.h"

#include <math.h>
#include <string.h>

static LfBackend *be;

static LfKvCache *open_cache(const LfKvCacheConfig *config)
{
    GError *error = NULL;
    LfKvCache *cache = lf_kv_cache_new(be, config, &error);
    g_assert_no_error(error);
    return cache;
}

static void begin(LfKvCache *cache, uint64_t index)
{
    GError *error = NULL;
    g_assert_true(lf_kv_cache_begin(cache, index, &error));
    g_assert_no_error(error);
}

/* ---- the naive list: append the chunk, drop the oldest that are no sink ---------------------- */

static void roll(GArray *frames, uint64_t index, const LfKvCacheConfig *c)
{
    for (int i = 0; i < c->geometry.chunk; i++) {
        int frame = (int) index * c->geometry.chunk + i;
        g_array_append_val(frames, frame);
    }
    while (c->window > 0 && (int) frames->len > c->window)
        g_array_remove_index(frames, (guint) c->sink);
}

/* ---- bookkeeping: every frame is marked with its number -------------------------------------- */

static void fill(LfTensor t, float value)
{
    for (int64_t i = 0; i < lf_tensor_count(t); i++)
        lf_f32(t)[i] = value;
}

static void assert_filled(LfTensor t, float value)
{
    for (int64_t i = 0; i < lf_tensor_count(t); i++)
        g_assert_cmpfloat(lf_f32(t)[i], ==, value);
}

static float mark(int frame, int layer)
{
    return (float) (frame * 16 + layer);
}

static void write_chunk(const LfKvCache *cache, const GArray *frames, float offset)
{
    for (int layer = 0; layer < lf_kv_cache_config(cache)->layers; layer++) {
        LfWindow w = lf_kv_cache_window(cache, layer);
        for (int64_t i = w.slots.shape[0] - w.chunk; i < w.slots.shape[0]; i++) {
            float value = mark(g_array_index(frames, int, i), layer) + offset;
            int64_t slot = lf_i32(w.slots)[i];
            fill(lf_tensor_at(w.k, slot), value);
            fill(lf_tensor_at(w.v, slot), value + 0.25f);
            fill(lf_tensor_at(w.k_pool, slot), value + 0.5f);
        }
    }
}

static void assert_frames(const LfKvCache *cache, const GArray *frames, int64_t first, int64_t end)
{
    for (int layer = 0; layer < lf_kv_cache_config(cache)->layers; layer++) {
        LfWindow w = lf_kv_cache_window(cache, layer);
        g_assert_cmpint(w.slots.shape[0], ==, frames->len);
        for (int64_t i = first; i < end; i++) {
            float value = mark(g_array_index(frames, int, i), layer);
            int64_t slot = lf_i32(w.slots)[i];
            assert_filled(lf_tensor_at(w.k, slot), value);
            assert_filled(lf_tensor_at(w.v, slot), value + 0.25f);
            assert_filled(lf_tensor_at(w.k_pool, slot), value + 0.5f);
        }
    }
}

static void assert_slots(const LfKvCache *cache)
{
    LfWindow w = lf_kv_cache_window(cache, 0);
    uint64_t used[4] = {0}; /* bits */
    for (int64_t i = 0; i < w.slots.shape[0]; i++) {
        int slot = lf_i32(w.slots)[i];
        g_assert_true(slot >= 0 && slot < w.k.shape[0] && slot < 256);
        g_assert_false(used[slot / 64] >> slot % 64 & 1);
        used[slot / 64] |= 1ull << slot % 64;
    }
}

static void run_chunks(LfKvCache *cache, int n_chunks)
{
    const LfKvCacheConfig *c = lf_kv_cache_config(cache);
    GArray *frames = g_array_new(FALSE, FALSE, sizeof(int));
    for (int index = 0; index < n_chunks; index++) {
        begin(cache, (uint64_t) index);
        roll(frames, (uint64_t) index, c);
        int past = lf_kv_cache_past(cache);
        g_assert_cmpint(lf_kv_cache_frames(cache), ==, frames->len);
        g_assert_cmpint(past, ==, (int) frames->len - c->geometry.chunk);
        assert_slots(cache);
        assert_frames(cache, frames, 0, past);
        if (g_test_rand_int_range(0, 3) == 0) { /* cancelled, before or after the clean pass */
            write_chunk(cache, frames, 4096);
            if (g_test_rand_bit())
                lf_kv_cache_commit(cache);
            begin(cache, (uint64_t) index);
            assert_frames(cache, frames, 0, past);
        }
        write_chunk(cache, frames, 0);
        assert_frames(cache, frames, 0, frames->len);
        lf_kv_cache_commit(cache);
    }
    g_array_unref(frames);
}

static void test_rolls(void)
{
    for (int chunk = 1; chunk <= 4; chunk++)
        for (int sink = 0; sink <= 5; sink++)
            for (int window = chunk + sink; window <= chunk + sink + 9; window++) {
                LfKvCacheConfig config = {.geometry = lf_geometry(32, 16, chunk),
                                          .layers = 2,
                                          .heads = 1,
                                          .head_dim = 6,
                                          .window = window,
                                          .sink = sink,
                                          .key_block = 1};
                LfKvCache *cache = open_cache(&config);
                size_t memory = lf_kv_cache_memory(cache);
                run_chunks(cache, 30);
                lf_kv_cache_reset(cache);
                run_chunks(cache, 5);
                g_assert_cmpuint(lf_kv_cache_memory(cache), ==, memory);
                lf_kv_cache_free(cache);
            }
}

static const LfKvCacheConfig unbounded = {
    .layers = 3, .heads = 2, .head_dim = 8, .sink = 2, .relative = true, .key_block = 2};

static void test_grows(void)
{
    LfKvCacheConfig config = unbounded;
    config.geometry = lf_geometry(48, 16, 3);
    LfKvCache *cache = open_cache(&config);
    size_t first = lf_kv_cache_memory(cache);
    run_chunks(cache, 40);
    size_t grown = lf_kv_cache_memory(cache);
    g_assert_cmpuint(grown, >, 39 * first);
    g_assert_cmpuint(grown, <, 2 * 41 * first);
    lf_kv_cache_reset(cache);
    run_chunks(cache, 40);
    g_assert_cmpuint(lf_kv_cache_memory(cache), ==, grown);
    lf_kv_cache_free(cache);
}

/* ---- no memory ------------------------------------------------------------------------------- */

static void *(*full_alloc)(LfBackend *, size_t);
static int allocations_left;

static void *limited_alloc(LfBackend *backend, size_t size)
{
    return allocations_left-- > 0 ? full_alloc(backend, size) : NULL;
}

/* Growth fails at each of its allocations in turn: the frames are kept, and it can be retried. */
static void test_growth_without_memory(void)
{
    LfKvCacheConfig config = unbounded;
    config.geometry = lf_geometry(48, 16, 3);
    for (int left = 0; left < config.layers + 1; left++) {
        LfKvCache *cache = open_cache(&config);
        GArray *frames = g_array_new(FALSE, FALSE, sizeof(int));
        GError *error = NULL;
        begin(cache, 0);
        roll(frames, 0, &config);
        write_chunk(cache, frames, 0);
        lf_kv_cache_commit(cache);
        full_alloc = be->alloc;
        be->alloc = limited_alloc;
        allocations_left = left;
        g_assert_false(lf_kv_cache_begin(cache, 1, &error));
        be->alloc = full_alloc;
        g_assert_error(error, LF_ERROR, LF_ERROR_MEMORY);
        g_assert_nonnull(strstr(error->message, "unbounded"));
        g_assert_nonnull(strstr(error->message, "MB"));
        g_clear_error(&error);
        assert_frames(cache, frames, 0, 3);
        begin(cache, 1);
        roll(frames, 1, &config);
        assert_frames(cache, frames, 0, 3);
        lf_kv_cache_free(cache);
        g_array_unref(frames);
    }
}

static void test_new_without_memory(void)
{
    LfKvCacheConfig config = {.geometry = lf_geometry(32, 16, 3),
                              .layers = 2,
                              .heads = 1,
                              .head_dim = 6,
                              .window = 9,
                              .sink = 1,
                              .relative = true,
                              .key_block = 1};
    full_alloc = be->alloc;
    for (int left = 0; left < 4; left++) {
        GError *error = NULL;
        be->alloc = limited_alloc;
        allocations_left = left;
        g_assert_null(lf_kv_cache_new(be, &config, &error));
        be->alloc = full_alloc;
        g_assert_error(error, LF_ERROR, LF_ERROR_MEMORY);
        g_clear_error(&error);
    }
    config.layers = 1; /* sizes that would wrap */
    config.heads = 1 << 30;
    config.window = G_MAXINT;
    config.head_dim = 1 << 20;
    GError *error = NULL;
    g_assert_null(lf_kv_cache_new(be, &config, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_MEMORY);
    g_clear_error(&error);
}

/* ---- positions ------------------------------------------------------------------------------- */

/* The reference: x [d] rotated to the position of token (row, col) of frame number `time`. */
static void rotate(double *out, const double *x, int d, double time, double row, double col)
{
    int pairs = d / 2, side = pairs / 3, n_time = pairs - 2 * side;
    for (int p = 0; p < pairs; p++) {
        int first = p < n_time ? 0 : p < n_time + side ? n_time : n_time + side;
        double position = p < n_time ? time : p < n_time + side ? row : col;
        double angle = position * pow(10000, -(double) (p - first) / (first ? side : n_time));
        out[2 * p] = x[2 * p] * cos(angle) - x[2 * p + 1] * sin(angle);
        out[2 * p + 1] = x[2 * p] * sin(angle) + x[2 * p + 1] * cos(angle);
    }
}

/* As the operation rotates: by the cache's tables. */
static void rotate_by_tables(float *out, const double *x, int d, const LfRope *rope, int frame,
                             int row, int col)
{
    const float *tables[3] = {lf_f32(lf_tensor_at(rope->time, frame)),
                              lf_f32(lf_tensor_at(rope->row, row)),
                              lf_f32(lf_tensor_at(rope->col, col))};
    int64_t pairs[3] = {rope->time.shape[1], rope->row.shape[1], rope->col.shape[1]};
    g_assert_cmpint(2 * (pairs[0] + pairs[1] + pairs[2]), ==, d);
    for (int part = 0; part < 3; part++)
        for (int64_t p = 0; p < pairs[part]; p++, x += 2, out += 2) {
            float c = tables[part][2 * p], s = tables[part][2 * p + 1];
            out[0] = (float) (x[0] * c - x[1] * s);
            out[1] = (float) (x[0] * s + x[1] * c);
        }
}

/* Raw keys of every frame, [frame][layer][head][token][d]; queries use them as well. */
typedef struct {
    const LfKvCacheConfig *config;
    double *values;
} Raw;

static double *raw_at(const Raw *raw, int frame, int layer, int head, int token)
{
    const LfKvCacheConfig *c = raw->config;
    int64_t i = ((int64_t) frame * c->layers + layer) * c->heads + head;
    return raw->values + (i * c->geometry.frame_tokens + token) * c->head_dim;
}

static Raw draw_raw(const LfKvCacheConfig *c, int n_frames)
{
    int64_t n = (int64_t) n_frames * c->layers * c->heads * c->geometry.frame_tokens * c->head_dim;
    Raw raw = {c, g_new(double, n)};
    for (int64_t i = 0; i < n; i++)
        raw.values[i] = g_test_rand_double_range(-1, 1);
    return raw;
}

/* Keys of the chunk and their means, rotated as lf_qkv_norm_rope would. */
static void write_keys(const LfKvCache *cache, const Raw *raw, uint64_t index, int layer)
{
    const LfKvCacheConfig *c = raw->config;
    const LfGeometry *g = &c->geometry;
    LfWindow w = lf_kv_cache_window(cache, layer);
    for (int f = 0; f < g->chunk; f++)
        for (int h = 0; h < c->heads; h++) {
            int64_t slot = lf_i32(w.slots)[lf_kv_cache_past(cache) + f];
            LfTensor k = lf_tensor_at(lf_tensor_at(w.k, slot), h);
            LfTensor pool = lf_tensor_at(lf_tensor_at(w.k_pool, slot), h);
            fill(pool, 0);
            for (int t = 0; t < g->frame_tokens; t++) {
                float *key = lf_f32(lf_tensor_at(k, t));
                int block = t / c->key_block, first = block * c->key_block;
                int tokens = MIN(c->key_block, g->frame_tokens - first);
                rotate_by_tables(key, raw_at(raw, (int) index * g->chunk + f, layer, h, t),
                                 c->head_dim, lf_kv_cache_rope(cache), f, t / g->cols, t % g->cols);
                for (int i = 0; i < c->head_dim; i++)
                    lf_f32(lf_tensor_at(pool, block))[i] += key[i] / (float) tokens;
            }
        }
}

static double dot(const double *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Every query of the chunk with every key and every mean of the window, as the cache has them and
 * as the plain numbering of the window (or of the stream) gives them. The queries are the
 * chunk's raw keys. */
static void assert_products(const LfKvCache *cache, const Raw *raw, const GArray *frames, int layer)
{
    const LfKvCacheConfig *c = raw->config;
    const LfGeometry *g = &c->geometry;
    LfWindow w = lf_kv_cache_window(cache, layer);
    int d = c->head_dim, past = lf_kv_cache_past(cache), h = g_test_rand_int_range(0, c->heads);
    int q_token = g_test_rand_int_range(0, g->frame_tokens);
    double *q = g_new(double, d), *k = g_new(double, d), *wide = g_new(double, d);
    float *turned = g_new(float, d);
    for (int f = 0; f < g->chunk; f++) {
        int q_frame = g_array_index(frames, int, past + f);
        const double *q_raw = raw_at(raw, q_frame, layer, h, q_token);
        int q_row = q_token / g->cols, q_col = q_token % g->cols;
        rotate(q, q_raw, d, c->relative ? past + f : q_frame, q_row, q_col);
        rotate_by_tables(turned, q_raw, d, lf_kv_cache_rope(cache), f, q_row, q_col);
        for (int i = 0; i < d; i++)
            wide[i] = turned[i];
        for (int n = 0; n < (int) frames->len; n++) {
            int k_frame = g_array_index(frames, int, n);
            int64_t slot = lf_i32(w.slots)[n];
            LfTensor keys = lf_tensor_at(lf_tensor_at(w.k, slot), h);
            LfTensor pools = lf_tensor_at(lf_tensor_at(w.k_pool, slot), h);
            double mean = 0; /* of the products of a block */
            for (int t = 0; t < g->frame_tokens; t++) {
                rotate(k, raw_at(raw, k_frame, layer, h, t), d, c->relative ? n : k_frame,
                       t / g->cols, t % g->cols);
                double product = 0;
                for (int i = 0; i < d; i++)
                    product += q[i] * k[i];
                g_assert_cmpfloat_with_epsilon(dot(wide, lf_f32(lf_tensor_at(keys, t)), d), product,
                                               2e-6 * d);
                int first = t / c->key_block * c->key_block;
                int tokens = MIN(c->key_block, g->frame_tokens - first);
                mean = (t == first ? 0 : mean) + product / tokens;
                if (t == first + tokens - 1)
                    g_assert_cmpfloat_with_epsilon(
                        dot(wide, lf_f32(lf_tensor_at(pools, t / c->key_block)), d), mean,
                        2e-6 * d);
            }
        }
    }
    g_free(turned);
    g_free(wide);
    g_free(k);
    g_free(q);
}

static void run_positions(const LfKvCacheConfig *config, int n_chunks)
{
    LfKvCache *cache = open_cache(config);
    Raw raw = draw_raw(config, n_chunks * config->geometry.chunk);
    Raw wrong = draw_raw(config, n_chunks * config->geometry.chunk);
    GArray *frames = g_array_new(FALSE, FALSE, sizeof(int));
    for (int index = 0; index < n_chunks; index++) {
        begin(cache, (uint64_t) index);
        roll(frames, (uint64_t) index, config);
        if (g_test_rand_bit()) { /* generated twice: nothing of the first may stay */
            for (int layer = 0; layer < config->layers; layer++)
                write_keys(cache, &wrong, (uint64_t) index, layer);
            if (g_test_rand_bit())
                lf_kv_cache_commit(cache);
            begin(cache, (uint64_t) index);
        }
        for (int layer = 0; layer < config->layers; layer++) {
            write_keys(cache, &raw, (uint64_t) index, layer);
            assert_products(cache, &raw, frames, layer);
        }
        lf_kv_cache_commit(cache);
    }
    g_array_unref(frames);
    g_free(wrong.values);
    g_free(raw.values);
    lf_kv_cache_free(cache);
}

static void test_positions(gconstpointer relative)
{
    for (int i = 0; i < 12; i++) {
        int chunk = g_test_rand_int_range(1, 4), sink = i % 4;
        LfKvCacheConfig config = {
            .geometry = lf_geometry(16 * g_test_rand_int_range(1, 4),
                                    16 * g_test_rand_int_range(1, 4), chunk),
            .layers = 2,
            .heads = g_test_rand_int_range(1, 3),
            .head_dim = 2 * g_test_rand_int_range(3, 17),
            .window = chunk + sink + g_test_rand_int_range(0, 8),
            .sink = sink,
            .relative = relative != NULL,
            .key_block = g_test_rand_int_range(1, 6),
        };
        run_positions(&config, 12);
        config.window = 0;
        run_positions(&config, 4);
    }
}

/* The demo's numbers: the ring of 11 is no multiple of the chunk of 3. */
static void test_positions_of_demo(void)
{
    LfKvCacheConfig config = {.geometry = lf_geometry(64, 32, 3),
                              .layers = 1,
                              .heads = 2,
                              .head_dim = 64,
                              .window = 12,
                              .sink = 1,
                              .relative = true,
                              .key_block = 3};
    run_positions(&config, 20);
}

static void test_table(void)
{
    const uint64_t firsts[] = {0, 5, 1023, 1000003, 1000000007, 1ull << 40};
    for (unsigned i = 0; i < G_N_ELEMENTS(firsts); i++) {
        int pairs = g_test_rand_int_range(1, 40);
        float table[3][80];
        float *values = table[0];
        lf_position_table(values, pairs, firsts[i], 2);
        double tolerance = 1e-7 + (double) firsts[i] * 3e-16;
        for (int n = 0; n < 2 * pairs; n++) {
            long double turn = powl(10000, -(long double) (n % pairs) / pairs);
            long double angle = (long double) (firsts[i] + (uint64_t) (n / pairs)) * turn;
            g_assert_cmpfloat_with_epsilon(values[2 * n], (double) cosl(angle), tolerance);
            g_assert_cmpfloat_with_epsilon(values[2 * n + 1], (double) sinl(angle), tolerance);
        }
    }
    g_assert_cmpint(lf_position_pairs(128).time, ==, 22);
    g_assert_cmpint(lf_position_pairs(128).row, ==, 21);
    g_assert_cmpint(lf_position_pairs(64).time, ==, 12);
    g_assert_cmpint(lf_position_pairs(64).col, ==, 10);
}

/* A hundred thousand chunks of one frame. A sink that is rotated by a large angle is still exact,
 * because each rotation starts from the original keys. Absolute positions go on beyond 1024, where
 * the tables of public implementations end. */
static void test_long_stream(gconstpointer relative)
{
    LfKvCacheConfig config = {.geometry = lf_geometry(16, 16, 1),
                              .layers = 1,
                              .heads = 1,
                              .head_dim = 32,
                              .window = 4,
                              .sink = 1,
                              .relative = relative != NULL,
                              .key_block = 1};
    enum { CHUNKS = 100000 };
    LfKvCache *cache = open_cache(&config);
    Raw raw = draw_raw(&config, CHUNKS);
    GArray *frames = g_array_new(FALSE, FALSE, sizeof(int));
    for (int index = 0; index < CHUNKS; index++) {
        begin(cache, (uint64_t) index);
        roll(frames, (uint64_t) index, &config);
        write_keys(cache, &raw, (uint64_t) index, 0);
        if (index % 9973 == 0 || (index >= 1020 && index <= 1100) || index == CHUNKS - 1)
            assert_products(cache, &raw, frames, 0);
        lf_kv_cache_commit(cache);
    }
    g_array_unref(frames);
    g_free(raw.values);
    lf_kv_cache_free(cache);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

static void assert_refused(LfKvCacheConfig config, const char *word)
{
    GError *error = NULL;
    g_assert_null(lf_kv_cache_new(be, &config, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_nonnull(strstr(error->message, word));
    g_clear_error(&error);
}

static void test_refused(void)
{
    LfKvCacheConfig config = {.geometry = lf_geometry(32, 16, 3),
                              .layers = 2,
                              .heads = 1,
                              .head_dim = 6,
                              .window = 4,
                              .sink = 2,
                              .key_block = 1};
    assert_refused(config, "at least 5");
    config.window = -1;
    assert_refused(config, "window is -1");
    config.window = 5;
    config.sink = -1;
    assert_refused(config, "sink is -1");
    config.sink = 2;
    config.head_dim = 7;
    assert_refused(config, "head size is 7");
    config.head_dim = 6;
    LfKvCache *cache = open_cache(&config);
    GError *error = NULL;
    g_assert_false(lf_kv_cache_begin(cache, 1, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_nonnull(strstr(error->message, "chunk 1 of the cache"));
    g_assert_nonnull(strstr(error->message, "at chunk 0"));
    g_clear_error(&error);
    begin(cache, 0);
    g_assert_false(lf_kv_cache_begin(cache, 1, &error)); /* not committed */
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_clear_error(&error);
    for (uint64_t index = 0; index < 3; index++) { /* no past, not committed, not there */
        g_assert_false(lf_kv_cache_begin_past(cache, index, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
        g_clear_error(&error);
    }
    lf_kv_cache_free(cache);
}

/* ---- recache --------------------------------------------------------------------------------- */

/* The runs follow each other, each within one chunk, from the first recomputed frame to the last
 * one before chunk `index`. */
static void check_runs(const LfKvCache *cache, uint64_t index, int recomputed)
{
    int chunk = lf_kv_cache_config(cache)->geometry.chunk, frames = lf_kv_cache_frames(cache);
    uint64_t frame = index * (uint64_t) chunk - (uint64_t) recomputed;
    g_assert_cmpint(lf_kv_cache_recomputed(cache), ==, recomputed);
    for (int first = 0; first < recomputed;) {
        LfKvRun run = lf_kv_cache_run(cache, first);
        LfWindow window = lf_kv_cache_run_window(cache, 0, &run);
        LfRope rope = lf_kv_cache_run_rope(cache, &run);
        g_assert_cmpuint(run.chunk * (uint64_t) chunk + (uint64_t) run.skipped, ==, frame);
        g_assert_cmpint(run.skipped + run.count, ==, chunk);
        g_assert_cmpint(run.first, ==, frames - recomputed + first);
        g_assert_cmpint(window.chunk, ==, run.count);
        g_assert_cmpint(window.slots.shape[0], ==, run.first + run.count);
        g_assert_cmpint(rope.time.shape[0], ==, run.count);
        for (int i = 0; i < run.count; i++) /* the first pair is rotated by the frame's number */
            g_assert_cmpfloat(fabs(lf_f32(lf_tensor_at(rope.time, i))[0] - cos((double) frame + i)),
                              <, 1e-6);
        first += run.count;
        frame += (uint64_t) run.count;
    }
    g_assert_cmpuint(frame, ==, index * (uint64_t) chunk);
}

static void test_runs(void)
{
    static const struct {
        int chunk, window, sink;
    } cases[] = {{3, 12, 1}, {3, 7, 1}, {3, 8, 0}, {2, 9, 3}, {1, 4, 3}, {3, 3, 0}, {3, 0, 2}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        int chunk = cases[i].chunk, window = cases[i].window, sink = cases[i].sink;
        LfKvCacheConfig config = {.geometry = lf_geometry(32, 16, chunk),
                                  .layers = 2,
                                  .heads = 1,
                                  .head_dim = 12,
                                  .window = window,
                                  .sink = sink,
                                  .relative = true,
                                  .key_block = 1};
        LfKvCache *cache = open_cache(&config);
        for (int index = 0; index < 8; index++) {
            int past = index * chunk;
            int recomputed = window == 0 || past <= window ? past : window - sink;
            for (int again = 0; index > 0 && again < 2; again++) {
                GError *error = NULL;
                g_assert_true(lf_kv_cache_begin_past(cache, (uint64_t) index, &error));
                check_runs(cache, (uint64_t) index, recomputed);
                begin(cache, (uint64_t) index);
            }
            begin(cache, (uint64_t) index);
            lf_kv_cache_commit(cache);
        }
        lf_kv_cache_free(cache);
    }
}

static void test_plan(void)
{
    LfKvCacheConfig config = {.geometry = lf_geometry(832, 480, 3),
                              .layers = 30,
                              .heads = 12,
                              .head_dim = 128,
                              .window = 21,
                              .sink = 1,
                              .relative = true,
                              .key_block = 64};
    GError *error = NULL;
    for (int window = 0; window <= 21; window += 21) {
        config.window = window;
        LfKvCache *cache = lf_kv_cache_new(lf_backend_plan(NULL), &config, &error);
        g_assert_no_error(error);
        g_assert_true(lf_kv_cache_begin(cache, 100, &error));
        lf_kv_cache_commit(cache);
        LfWindow w = lf_kv_cache_window(cache, 29);
        g_assert_null(w.k.data);
        g_assert_cmpint(w.slots.shape[0], ==, window ? window : 303);
        g_assert_cmpint(w.k_pool.shape[2], ==, 25);
        lf_kv_cache_free(cache);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    GError *error = NULL;
    be = lf_backend_open_cpu(0, &error);
    g_assert_no_error(error);
    g_test_add_func("/kv-cache/rolls", test_rolls);
    g_test_add_func("/kv-cache/grows", test_grows);
    g_test_add_func("/kv-cache/growth-without-memory", test_growth_without_memory);
    g_test_add_func("/kv-cache/new-without-memory", test_new_without_memory);
    g_test_add_data_func("/kv-cache/positions/absolute", NULL, test_positions);
    g_test_add_data_func("/kv-cache/positions/relative", "relative", test_positions);
    g_test_add_func("/kv-cache/positions/demo", test_positions_of_demo);
    g_test_add_func("/kv-cache/positions/table", test_table);
    g_test_add_data_func("/kv-cache/positions/long-stream", "relative", test_long_stream);
    g_test_add_data_func("/kv-cache/positions/long-stream/absolute", NULL, test_long_stream);
    g_test_add_func("/kv-cache/refused", test_refused);
    g_test_add_func("/kv-cache/runs", test_runs);
    g_test_add_func("/kv-cache/plan", test_plan);
    int status = g_test_run();
    lf_backend_close(be);
    return status;
}
