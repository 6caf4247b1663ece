/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The engine's transformer and its cache, against a reference in double without a cache. For each
 * chunk of a stream the engine runs one forward pass; the reference runs one over all chunks so
 * far.
 */
#include "engine/models/transformer.h"
#include "plain_transformer.h"

#include <math.h>
#include <string.h>

static LfBackend *be;

/* ---- a stream in the engine ------------------------------------------------------------------ */

typedef struct {
    LfWeightSource *source;
    LfTransformer *transformer;
    LfKvCache *cache;
    LfArena state, scratch;
    LfTextState text;
    LfModulation noisy, clean;
    LfTensor context, new_context, x, velocity;
    LfPast past;
} Engine;

static LfLightForcing scheme_of(const PlainStream *s, int chunk)
{
    LfLightForcing scheme = lf_light_forcing(&(LfSchemeConfig){
        .query_block = s->query_block, .selection = {s->keep_frames, s->keep_sink, s->keep_near}});
    scheme.budget = s->budget[chunk];
    return scheme;
}

static void take_state(Engine *e, const PlainStream *s, LfArena *arena)
{
    const LfTransformerConfig *c = lf_transformer_config(e->transformer);
    const LfGeometry *g = &s->geometry;
    e->text = lf_text_state(e->transformer, arena);
    e->noisy = lf_modulation(e->transformer, arena);
    e->clean = lf_modulation(e->transformer, arena);
    e->x = lf_arena_tensor(arena, LF_F32, g->chunk, c->channels, g->latent_height, g->latent_width);
    e->velocity =
        lf_arena_tensor(arena, LF_F32, g->chunk, c->channels, g->latent_height, g->latent_width);
    e->context = e->new_context = LF_NONE;
    if (s->context_rows > 0)
        e->context = lf_arena_tensor(arena, LF_F32, s->context_rows, c->text_dim);
    if (s->new_context_rows > 0)
        e->new_context = lf_arena_tensor(arena, LF_F32, s->new_context_rows, c->text_dim);
}

static void prepare(Engine *e, LfBackend *on, LfArena *scratch, float timestep)
{
    lf_transformer_text(e->transformer, on, scratch, &e->text, e->context);
    lf_transformer_modulate(e->transformer, on, scratch, &e->noisy, timestep);
    lf_transformer_modulate(e->transformer, on, scratch, &e->clean, 0);
}

static LfPass pass_of(Engine *e, LfBackend *on, LfArena *scratch, LfKvCache *cache, bool clean,
                      LfScheme *scheme, const int *cancelled)
{
    return (LfPass){.be = on,
                    .scratch = scratch,
                    .modulation = clean ? &e->clean : &e->noisy,
                    .text = &e->text,
                    .cache = cache,
                    .scheme = scheme,
                    .cancelled = cancelled};
}

static bool forward(Engine *e, LfBackend *on, LfArena *scratch, LfKvCache *cache, bool clean,
                    LfLightForcing *scheme, const int *cancelled)
{
    LfPass pass = pass_of(e, on, scratch, cache, clean, &scheme->base, cancelled);
    return lf_transformer_forward(e->transformer, &pass, clean ? LF_NONE : e->velocity, e->x);
}

/* Recomputes the past of chunk `index` under the current text. */
static bool recache(Engine *e, LfBackend *on, LfArena *scratch, LfKvCache *cache, int index,
                    const int *cancelled)
{
    GError *error = NULL;
    LfPass pass = pass_of(e, on, scratch, cache, true, NULL, cancelled);
    lf_kv_cache_begin_past(cache, (uint64_t) index, &error);
    g_assert_no_error(error);
    bool done = lf_transformer_recache(e->transformer, &pass, &e->past);
    if (done)
        lf_kv_cache_commit_past(cache);
    return done;
}

/* Allocates exactly the memory that the plan counted. */
static void open_memory(Engine *e, const PlainStream *s, const LfKvCacheConfig *config)
{
    GError *error = NULL;
    LfBackend *plan = lf_backend_plan(NULL);
    LfArena state = lf_arena_plan(), scratch = lf_arena_plan();
    LfKvCache *cache = lf_kv_cache_new(plan, config, &error);
    g_assert_no_error(error);
    take_state(e, s, &state);
    prepare(e, plan, &scratch, 0);
    for (int i = 0; i < s->n_chunks; i++) {
        LfLightForcing scheme = scheme_of(s, i);
        if (s->recache_at > 0 && i == s->recache_at) {
            lf_transformer_text(e->transformer, plan, &scratch, &e->text, e->new_context);
            g_assert_true(recache(e, plan, &scratch, cache, i, NULL));
        }
        lf_kv_cache_begin(cache, (uint64_t) i, &error);
        g_assert_no_error(error);
        g_assert_true(forward(e, plan, &scratch, cache, false, &scheme, NULL));
    }
    lf_kv_cache_free(cache);
    g_assert_cmpuint(scratch.used, ==, 0);
    lf_arena_init(&e->state, be, state.peak, &error);
    g_assert_no_error(error);
    lf_arena_init(&e->scratch, be, scratch.peak, &error);
    g_assert_no_error(error);
    take_state(e, s, &e->state);
}

static LfKvCacheConfig cache_config(const LfTransformerConfig *c, const PlainStream *s)
{
    return (LfKvCacheConfig){.geometry = s->geometry,
                             .layers = c->layers,
                             .heads = c->heads,
                             .head_dim = c->dim / c->heads,
                             .window = s->window,
                             .sink = s->sink,
                             .relative = s->relative,
                             .key_block = s->key_block};
}

static LfTransformer *open_transformer(const LfTransformerConfig *config, LfWeightSource **source,
                                       const PlainModel *model, const char *without, GError **error)
{
    LfTensorFile *file = plain_model_file(model, without);
    *source = lf_weight_source_file(file, NULL, NULL);
    lf_tensor_file_unref(file);
    return lf_transformer_new(be, config, *source, error);
}

static void engine_open(Engine *e, const LfTransformerConfig *config, const PlainModel *model,
                        const PlainStream *s, float timestep)
{
    GError *error = NULL;
    LfKvCacheConfig cache = cache_config(config, s);
    e->transformer = open_transformer(config, &e->source, model, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(lf_transformer_memory(e->transformer), >, 0);
    e->cache = lf_kv_cache_new(be, &cache, &error);
    g_assert_no_error(error);
    lf_past_init(&e->past, be, &s->geometry, config->channels, s->window, &error);
    g_assert_no_error(error);
    open_memory(e, s, &cache);
    if (s->context_rows > 0)
        memcpy(e->context.data, s->context, lf_tensor_size(e->context));
    if (s->new_context_rows > 0)
        memcpy(e->new_context.data, s->new_context, lf_tensor_size(e->new_context));
    prepare(e, be, &e->scratch, timestep);
}

static void engine_close(Engine *e)
{
    lf_kv_cache_free(e->cache);
    lf_past_clear(&e->past);
    lf_arena_clear(&e->scratch);
    lf_arena_clear(&e->state);
    lf_transformer_free(e->transformer);
    lf_weight_source_free(e->source);
}

/* ---- what is drawn --------------------------------------------------------------------------- */

static float *draw_floats(int64_t n)
{
    float *values = g_new(float, n);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float) g_test_rand_double_range(-1.7, 1.7);
    return values;
}

static LfTransformerConfig draw_config(void)
{
    int heads = g_test_rand_int_range(1, 4);
    return (LfTransformerConfig){.heads = heads,
                                 .dim = heads * 2 * g_test_rand_int_range(3, 13),
                                 .ffn = g_test_rand_int_range(5, 60),
                                 .layers = g_test_rand_int_range(1, 4),
                                 .freq_dim = 2 * g_test_rand_int_range(2, 20),
                                 .text_dim = g_test_rand_int_range(3, 20),
                                 .text_len = g_test_rand_int_range(1, 12),
                                 .channels = g_test_rand_int_range(1, 6)};
}

enum { RELATIVE = 1, SPARSE = 2, BOUNDED = 4, RECACHE = 8, TILED = 16 };

static void draw_budgets(PlainStream *s)
{
    int nk = lf_frame_blocks(s->geometry.frame_tokens, s->key_block), chunk = s->geometry.chunk;
    s->keep_sink = g_test_rand_int_range(0, 3);
    s->keep_near = g_test_rand_int_range(0, 3);
    s->keep_frames = s->keep_sink + s->keep_near + g_test_rand_int_range(0, 3);
    for (int i = 1; i < s->n_chunks; i++) {
        int past = plain_window_frames(s, i) - chunk;
        s->budget[i] = g_test_rand_int_range(1, nk * (chunk + MIN(past, s->keep_frames)) + 1);
    }
}

static PlainStream draw_stream(const LfTransformerConfig *c, int flags)
{
    PlainStream s = {.relative = (flags & RELATIVE) != 0, .n_chunks = 6};
    int chunk = g_test_rand_int_range(1, 4);
    s.geometry =
        lf_geometry(16 * g_test_rand_int_range(2, 5), 16 * g_test_rand_int_range(2, 4), chunk);
    if (flags & TILED) {
        int tiles = g_test_rand_int_range(2, 4);
        s.geometry = lf_geometry(32 * tiles, 64, chunk);
        s.geometry.tile_rows = 2;
        s.geometry.tile_cols = g_test_rand_bit() ? 2 : tiles;
    }
    s.sink = g_test_rand_int_range(0, 4);
    if (flags & BOUNDED)
        s.window = chunk + s.sink + g_test_rand_int_range(0, 2 * chunk + 2);
    s.query_block = g_test_rand_int_range(2, 6);
    s.key_block = g_test_rand_int_range(2, 6);
    s.context_rows = g_test_rand_int_range(0, c->text_len + 1);
    if (flags & RECACHE) {
        s.recache_at = g_test_rand_int_range(1, s.n_chunks);
        s.new_context_rows = g_test_rand_int_range(1, c->text_len + 1);
    }
    if (flags & SPARSE)
        draw_budgets(&s);
    return s;
}

/* ---- the comparison -------------------------------------------------------------------------- */

static double relative_error(const float *values, const double *expected, int64_t n)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (values[i] - expected[i]) * (values[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    return sqrt(error / size);
}

/* One denoising pass, compared with the reference, then the clean pass. Returns the margin of the
 * reference's selections. */
static double run_chunk(Engine *e, const PlainModel *model, const PlainStream *s, int index,
                        float *const *noisy, float *const *clean, float timestep, double *error)
{
    GError *failure = NULL;
    int64_t n = lf_tensor_count(e->x);
    LfLightForcing scheme = scheme_of(s, index);
    double *expected = g_new(double, n);
    PlainStream all = *s;
    all.n_chunks = index + 1;
    for (int i = 0; i < index; i++) {
        all.latents[i] = clean[i];
        all.timestep[i] = 0;
    }
    all.latents[index] = noisy[index];
    all.timestep[index] = timestep;
    if (index < s->recache_at) /* not yet */
        all.recache_at = 0;
    double margin = plain_forward(model, &all, expected);

    if (s->recache_at > 0 && index == s->recache_at) {
        lf_transformer_text(e->transformer, be, &e->scratch, &e->text, e->new_context);
        g_assert_true(recache(e, be, &e->scratch, e->cache, index, NULL));
    }
    lf_kv_cache_begin(e->cache, (uint64_t) index, &failure);
    g_assert_no_error(failure);
    memcpy(e->x.data, noisy[index], lf_tensor_size(e->x));
    g_assert_true(forward(e, be, &e->scratch, e->cache, false, &scheme, NULL));
    *error = relative_error(lf_f32(e->velocity), expected, n);
    memcpy(e->x.data, clean[index], lf_tensor_size(e->x));
    g_assert_true(forward(e, be, &e->scratch, e->cache, true, &scheme, NULL));
    lf_kv_cache_commit(e->cache);
    if (s->window == 0)
        g_assert_true(lf_past_reserve(&e->past, (uint64_t) index + 1, &failure));
    lf_past_keep(&e->past, (uint64_t) index, e->x);
    g_assert_true(be->sync(be, &failure));
    g_free(expected);
    return margin;
}

/* With a smaller margin a selection in float may differ: the stream ends there. */
#define DOUBTFUL 2e-5

static double worst; /* error of any chunk */

/* Chunks that were compared. */
static int run_stream(int flags)
{
    LfTransformerConfig config = draw_config();
    PlainModel *model = plain_model_draw(&config, g_test_rand_bit() ? LF_BF16 : LF_F32);
    PlainStream s = draw_stream(&config, flags);
    float timestep = (float) g_test_rand_double_range(1, 1000), *context, *new_context;
    float *noisy[PLAIN_MAX_CHUNKS], *clean[PLAIN_MAX_CHUNKS];
    Engine e;
    s.context = context = draw_floats(MAX(1, s.context_rows * config.text_dim));
    s.new_context = new_context = draw_floats(MAX(1, s.new_context_rows * config.text_dim));
    engine_open(&e, &config, model, &s, timestep);
    for (int i = 0; i < s.n_chunks; i++) {
        noisy[i] = draw_floats(lf_tensor_count(e.x));
        clean[i] = draw_floats(lf_tensor_count(e.x));
    }
    int compared = 0;
    for (; compared < s.n_chunks; compared++) {
        double error, margin = run_chunk(&e, model, &s, compared, noisy, clean, timestep, &error);
        if (margin < DOUBTFUL)
            break;
        worst = MAX(worst, error);
        g_assert_cmpfloat(error, <, 3e-6);
    }
    for (int i = 0; i < s.n_chunks; i++) {
        g_free(noisy[i]);
        g_free(clean[i]);
    }
    g_free(context);
    g_free(new_context);
    engine_close(&e);
    plain_model_free(model);
    return compared;
}

/* Five streams, and more until enough chunks were compared: how many are doubtful is chance. */
static void test_stream(gconstpointer flags)
{
    enum { STREAMS = 5, MOST = 50 };
    int streams = 0, compared = 0;
    for (; streams < STREAMS || (compared <= 3 * STREAMS && streams < MOST); streams++)
        compared += run_stream(GPOINTER_TO_INT(flags));
    g_test_message("%d chunks of %d streams compared, relative error at most %.1e", compared,
                   streams, worst);
    g_assert_cmpint(compared, >, 3 * STREAMS);
}

/* ---- cancelling, and what the clean pass leaves out ------------------------------------------ */

static struct {
    LfOps ops;
    const LfOps *own;
    int attentions, texts, linears;
    int *cancel_after_text; /* set by the first cross attention */
} spy;

static void spy_linear(LfBackend *on, LfTensor out, LfTensor x, const LfWeight *weight,
                       LfTensor bias, LfActivation activation)
{
    spy.linears++;
    spy.own->linear(on, out, x, weight, bias, activation);
}

static void spy_attention(LfBackend *on, LfTensor out, LfTensor q, const LfWindow *window,
                          LfTensor table, int query_block)
{
    spy.attentions++;
    spy.own->attention(on, out, q, window, table, query_block);
}

static void spy_text(LfBackend *on, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                     LfTensor v_amax, int heads, float last_logit)
{
    spy.texts++;
    if (spy.cancel_after_text)
        g_atomic_int_set(spy.cancel_after_text, 1);
    spy.own->cross_attention(on, out, q, k, v, v_amax, heads, last_logit);
}

static void spy_begin(int *cancel_after_text)
{
    memset(&spy, 0, sizeof spy);
    spy.own = be->ops;
    spy.ops = *be->ops;
    spy.ops.linear = spy_linear;
    spy.ops.attention = spy_attention;
    spy.ops.cross_attention = spy_text;
    spy.cancel_after_text = cancel_after_text;
    be->ops = &spy.ops;
}

static void spy_end(void)
{
    be->ops = spy.own;
}

typedef struct {
    Engine e;
    PlainModel *model;
    PlainStream s;
    float *context;
} Small;

static void small_make(Small *small, int flags)
{
    LfTransformerConfig config = draw_config();
    config.layers = 3;
    small->model = plain_model_draw(&config, LF_BF16);
    small->s = draw_stream(&config, flags);
    small->s.context = small->context = draw_floats(MAX(1, config.text_len * config.text_dim));
    small->s.new_context = small->context;
    engine_open(&small->e, &config, small->model, &small->s, 500);
}

/* Returns the chunk that begins another text with a recache. */
static int small_open_recache(Small *small)
{
    small_make(small, RELATIVE | BOUNDED | RECACHE);
    return small->s.recache_at;
}

static void small_open(Small *small)
{
    GError *error = NULL;
    small_make(small, RELATIVE | BOUNDED);
    lf_kv_cache_begin(small->e.cache, 0, &error);
    g_assert_no_error(error);
    lf_noise(be, small->e.x, g_test_rand_int(), 0, 0);
}

static void small_close(Small *small)
{
    engine_close(&small->e);
    plain_model_free(small->model);
    g_free(small->context);
}

static void test_cancelled(void)
{
    Small small;
    Engine *e = &small.e;
    int cancelled = 0;
    GError *error = NULL;
    small_open(&small);
    LfLightForcing scheme = scheme_of(&small.s, 0);
    g_assert_true(forward(e, be, &e->scratch, e->cache, false, &scheme, &cancelled));
    float *first = g_memdup2(e->velocity.data, lf_tensor_size(e->velocity));

    cancelled = 1;
    spy_begin(NULL);
    g_assert_false(forward(e, be, &e->scratch, e->cache, false, &scheme, &cancelled));
    spy_end();
    g_assert_cmpint(spy.texts, ==, 0);
    cancelled = 0;
    spy_begin(&cancelled); /* in the first of three layers */
    g_assert_false(forward(e, be, &e->scratch, e->cache, false, &scheme, &cancelled));
    spy_end();
    g_assert_cmpint(spy.texts, ==, 1);
    g_assert_cmpuint(e->scratch.used, ==, 0);

    cancelled = 0;
    lf_kv_cache_begin(e->cache, 0, &error);
    g_assert_no_error(error);
    g_assert_true(forward(e, be, &e->scratch, e->cache, false, &scheme, &cancelled));
    g_assert_cmpmem(first, lf_tensor_size(e->velocity), e->velocity.data,
                    lf_tensor_size(e->velocity));
    g_free(first);
    small_close(&small);
}

static void noisy_chunk(Engine *e, int index, const float *x, LfLightForcing *scheme)
{
    GError *error = NULL;
    lf_kv_cache_begin(e->cache, (uint64_t) index, &error);
    g_assert_no_error(error);
    memcpy(e->x.data, x, lf_tensor_size(e->x));
    g_assert_true(forward(e, be, &e->scratch, e->cache, false, scheme, NULL));
}

/* A recache gives the same result a second time: when the cache has the noisy chunk's keys, and
 * after an attempt that was cancelled in the first layer. */
static void test_recache_again(void)
{
    Small small;
    Engine *e = &small.e;
    int last = small_open_recache(&small), cancelled = 0;
    float *noise = draw_floats(lf_tensor_count(e->x));
    LfLightForcing dense = lf_light_forcing(&(LfSchemeConfig){.query_block = 2});
    for (int i = 0; i < last; i++) {
        lf_noise(be, e->x, 5, (uint32_t) i, 0);
        float *x = g_memdup2(e->x.data, lf_tensor_size(e->x));
        noisy_chunk(e, i, x, &dense);
        g_assert_true(forward(e, be, &e->scratch, e->cache, true, &dense, NULL));
        lf_kv_cache_commit(e->cache);
        lf_past_keep(&e->past, (uint64_t) i, e->x);
        g_free(x);
    }
    lf_transformer_text(e->transformer, be, &e->scratch, &e->text, e->new_context);
    g_assert_true(recache(e, be, &e->scratch, e->cache, last, NULL));
    noisy_chunk(e, last, noise, &dense);
    float *first = g_memdup2(e->velocity.data, lf_tensor_size(e->velocity));

    spy_begin(&cancelled);
    g_assert_false(recache(e, be, &e->scratch, e->cache, last, &cancelled));
    spy_end();
    g_assert_cmpint(spy.texts, >, 0);
    g_assert_cmpuint(e->scratch.used, ==, 0);
    g_assert_true(recache(e, be, &e->scratch, e->cache, last, NULL));
    noisy_chunk(e, last, noise, &dense);
    g_assert_cmpmem(first, lf_tensor_size(e->velocity), e->velocity.data,
                    lf_tensor_size(e->velocity));
    g_free(first);
    g_free(noise);
    small_close(&small);
}

static void test_clean_pass(void)
{
    Small small;
    Engine *e = &small.e;
    small_open(&small);
    LfLightForcing scheme = scheme_of(&small.s, 0);
    spy_begin(NULL);
    g_assert_true(forward(e, be, &e->scratch, e->cache, true, &scheme, NULL));
    spy_end();
    g_assert_cmpint(spy.attentions, ==, 2); /* of three layers */
    g_assert_cmpint(spy.texts, ==, 2);
    g_assert_cmpint(spy.linears, ==, 1 + 3 * 3 - 2); /* patches; qkv, cross q, ffn up */
    small_close(&small);
}

/* ---- timesteps ------------------------------------------------------------------------------- */

/* A timestep that is no float, such as the first one of rCM, is not rounded to one: its sinusoids
 * are computed from the double. */
static void test_timestep(void)
{
    const double t = 1600e3 / 1601;
    Small small;
    Engine *e = &small.e;
    small_open(&small);
    lf_transformer_modulate(e->transformer, be, &e->scratch, &e->noisy, t);
    lf_transformer_modulate(e->transformer, be, &e->scratch, &e->clean, (float) t);
    const float *exact = lf_f32(e->noisy.head), *rounded = lf_f32(e->clean.head);
    double difference = 0;
    for (int64_t i = 0; i < lf_tensor_count(e->noisy.head); i++)
        difference = fmax(difference, fabs((double) exact[i] - (double) rounded[i]));
    g_assert_cmpfloat(difference, >, 0);
    g_assert_cmpfloat(difference, <, 1e-3);
    small_close(&small);
}

/* ---- what cannot be loaded ------------------------------------------------------------------- */

static void test_missing(void)
{
    static const char *const names[] = {"patch_embedding.bias", "blocks.1.self_attn.v.weight",
                                        "blocks.0.modulation", "head.head.weight",
                                        "blocks.1.ffn.2.bias"};
    LfTransformerConfig config = draw_config();
    config.layers = 2;
    PlainModel *model = plain_model_draw(&config, LF_BF16);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        GError *error = NULL;
        LfWeightSource *source;
        g_assert_null(open_transformer(&config, &source, model, names[i], &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
        g_assert_nonnull(strstr(error->message, names[i]));
        g_clear_error(&error);
        lf_weight_source_free(source);
    }
    plain_model_free(model);
}

static void assert_refused(LfTransformerConfig config, const PlainModel *model, int code,
                           const char *word)
{
    GError *error = NULL;
    LfWeightSource *source;
    g_assert_null(open_transformer(&config, &source, model, NULL, &error));
    g_assert_error(error, LF_ERROR, code);
    g_assert_nonnull(strstr(error->message, word));
    g_clear_error(&error);
    lf_weight_source_free(source);
}

static void test_contradicted(void)
{
    LfTransformerConfig config = draw_config(), other = config;
    PlainModel *model = plain_model_draw(&config, LF_F32);
    other.ffn++;
    assert_refused(other, model, LF_ERROR_SHAPE, "ffn.0");
    other = config;
    other.layers++;
    g_autofree char *beyond = g_strdup_printf("blocks.%d.", config.layers);
    assert_refused(other, model, LF_ERROR_SHAPE, beyond);
    plain_model_free(model);
}

/* Each number alone is out of its range. What the heads would be is said, too. */
static void test_impossible(void)
{
    static const struct {
        gsize field;
        int value;
        const char *word;
    } cases[] = {
#define OUT_OF_RANGE(field, value, word) {offsetof(LfTransformerConfig, field), value, word}
        OUT_OF_RANGE(layers, 0, "layers 0,"),
        OUT_OF_RANGE(ffn, -1, "ffn -1,"),
        OUT_OF_RANGE(freq_dim, 0, "freq_dim 0,"),
        OUT_OF_RANGE(freq_dim, 7, "freq_dim 7,"),
        OUT_OF_RANGE(text_dim, 0, "text_dim 0,"),
        OUT_OF_RANGE(text_len, 0, "text_len 0 and"),
        OUT_OF_RANGE(channels, 0, "channels 0 must"),
        OUT_OF_RANGE(dim, 0, "dim 0 is not divisible by heads 2"),
        OUT_OF_RANGE(dim, 49, "dim 49 is not"),
        OUT_OF_RANGE(dim, 2 * 7, "dim 14 is not divisible by heads 2 into an even head size"),
        OUT_OF_RANGE(dim, 2 * 4, "dim 8 is not"),
        OUT_OF_RANGE(heads, 0, "heads 0"),
        OUT_OF_RANGE(heads, 48, "heads 48"),
#undef OUT_OF_RANGE
    };
    LfTransformerConfig config = draw_config();
    config.heads = 2;
    config.dim = 48;
    PlainModel *model = plain_model_draw(&config, LF_F32);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfTransformerConfig other = config;
        G_STRUCT_MEMBER(int, &other, cases[i].field) = cases[i].value;
        assert_refused(other, model, LF_ERROR_CONFIG, cases[i].word);
    }
    plain_model_free(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    GError *error = NULL;
    be = lf_backend_open_cpu(0, &error);
    g_assert_no_error(error);
    static const struct {
        const char *name;
        int flags;
    } streams[] = {
        {"/transformer/absolute/unbounded", 0},
        {"/transformer/absolute/window", BOUNDED},
        {"/transformer/absolute/sparse", BOUNDED | SPARSE},
        {"/transformer/relative/unbounded-sparse", RELATIVE | SPARSE},
        {"/transformer/relative/window", RELATIVE | BOUNDED},
        {"/transformer/relative/sparse", RELATIVE | BOUNDED | SPARSE},
        {"/transformer/tiles/window", RELATIVE | BOUNDED | TILED},
        {"/transformer/tiles/sparse", RELATIVE | BOUNDED | SPARSE | TILED},
        {"/transformer/recache/absolute/unbounded", RECACHE},
        {"/transformer/recache/absolute/window", BOUNDED | RECACHE},
        {"/transformer/recache/relative/unbounded", RELATIVE | RECACHE},
        {"/transformer/recache/relative/window", RELATIVE | BOUNDED | RECACHE},
        {"/transformer/recache/relative/sparse", RELATIVE | BOUNDED | SPARSE | RECACHE},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(streams); i++)
        g_test_add_data_func(streams[i].name, GINT_TO_POINTER(streams[i].flags), test_stream);
    g_test_add_func("/transformer/cancelled", test_cancelled);
    g_test_add_func("/transformer/recache/again", test_recache_again);
    g_test_add_func("/transformer/clean-pass", test_clean_pass);
    g_test_add_func("/transformer/timestep", test_timestep);
    g_test_add_func("/transformer/missing", test_missing);
    g_test_add_func("/transformer/contradicted", test_contradicted);
    g_test_add_func("/transformer/impossible", test_impossible);
    int status = g_test_run();
    lf_backend_close(be);
    return status;
}
