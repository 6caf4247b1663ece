/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "both.h"

#include <math.h>

gboolean both_have_device(LfPrecision precision)
{
    g_autoptr(GError) error = NULL;
    LfBackend *be = lf_backend_open("cuda", 0, precision, NULL, &error);
    if (!be)
        g_test_skip(error->message);
    lf_backend_close(be);
    return be != NULL;
}

LfModel *both_model(const char *preset, const char *backend, LfPrecision precision)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *demo = lf_model_default_location();
    LfModelOptions options = {.backend = backend, .precision = precision};
    LfModel *model = preset ? lf_model_new_random(preset, 3, &options, &error)
                            : lf_model_open(demo, &options, &error);
    g_assert_no_error(error);
    return model;
}

Both both_open(const char *preset, LfPrecision precision)
{
    return (Both){.cpu = both_model(preset, "cpu", LF_PRECISION_AUTO),
                  .device = both_model(preset, "cuda", precision)};
}

void both_close(Both *both)
{
    lf_model_unref(both->cpu);
    lf_model_unref(both->device);
}

/* ---- a stream of two chunks, or three -------------------------------------------------------- */

typedef struct {
    const LfModel *model;
    LfBackend *be;
    LfGeometry geometry;
    LfArena state, scratch;
    LfKvCache *cache;
    LfPast past;
    LfTextState text;
    LfModulation modulation, clean;
    LfTensor x, velocity, context;
    gboolean sparse, recached;
    int n_chunks;
} Stream;

static void take_state(Stream *s, LfArena *arena)
{
    const LfTransformer *t = s->model->transformer;
    const LfTransformerConfig *c = lf_transformer_config(t);
    const LfGeometry *g = &s->geometry;
    s->text = lf_text_state(t, arena);
    s->modulation = lf_modulation(t, arena);
    s->clean = lf_modulation(t, arena);
    s->x = lf_arena_tensor(arena, LF_F32, g->chunk, c->channels, g->latent_height, g->latent_width);
    s->velocity = lf_arena_alloc(arena, LF_F32, s->x.shape);
    s->context = lf_arena_tensor(arena, s->be->activation_type, c->text_len / 2, c->text_dim);
}

static LfLightForcing scheme_of(const Stream *s, int index)
{
    const LfModelConfig *c = s->model->config;
    int blocks = lf_frame_blocks(s->geometry.frame_tokens, c->sparse.key_block);
    LfLightForcing scheme = lf_light_forcing(&(LfSchemeConfig){
        .query_block = c->sparse.query_block,
        .selection = {c->sparse.keep_frames, c->sparse.keep_sink, c->sparse.keep_near}});
    scheme.budget = s->sparse && index > 0 ? (blocks * 2 * s->geometry.chunk + 1) / 2 : 0;
    return scheme;
}

static void recache(Stream *s, LfBackend *be, LfArena *scratch, LfKvCache *cache, int index)
{
    lf_transformer_modulate(s->model->transformer, be, scratch, &s->clean, 0);
    g_assert_true(lf_kv_cache_begin_past(cache, (uint64_t) index, NULL));
    LfPass pass = {
        .be = be, .scratch = scratch, .modulation = &s->clean, .text = &s->text, .cache = cache};
    g_assert_true(lf_transformer_recache(s->model->transformer, &pass, &s->past));
    lf_kv_cache_commit_past(cache);
}

static void run(Stream *s, LfBackend *be, LfArena *scratch, LfKvCache *cache, int index)
{
    LfLightForcing scheme = scheme_of(s, index);
    LfPass pass = {.be = be,
                   .scratch = scratch,
                   .modulation = &s->modulation,
                   .text = &s->text,
                   .cache = cache,
                   .scheme = &scheme.base};
    lf_transformer_text(s->model->transformer, be, scratch, &s->text, s->context);
    if (s->recached && index == s->n_chunks - 1)
        recache(s, be, scratch, cache, index);
    g_assert_true(lf_kv_cache_begin(cache, (uint64_t) index, NULL));
    lf_transformer_modulate(s->model->transformer, be, scratch, &s->modulation, 833.3333f);
    lf_transformer_bound_values(s->model->transformer, be, &s->modulation, 1);
    lf_transformer_forward(s->model->transformer, &pass, s->velocity, s->x);
    lf_kv_cache_commit(cache);
}

static LfKvCache *new_cache(const Stream *s, LfBackend *be)
{
    const LfTransformerConfig *t = lf_transformer_config(s->model->transformer);
    LfKvCacheConfig config = {.geometry = s->geometry,
                              .layers = t->layers,
                              .heads = t->heads,
                              .head_dim = t->dim / t->heads,
                              .window = 3 * s->geometry.chunk,
                              .key_block = s->model->config->sparse.key_block};
    LfKvCache *cache = lf_kv_cache_new(be, &config, NULL);
    g_assert_nonnull(cache);
    return cache;
}

static void open_stream(Stream *s)
{
    LfBackend *plan = lf_backend_plan(s->be);
    LfArena state = lf_arena_plan(), scratch = lf_arena_plan();
    LfKvCache *cache = new_cache(s, plan);
    take_state(s, &state);
    g_assert_true(lf_past_init(&s->past, s->be, &s->geometry,
                               s->model->config->transformer.channels,
                               lf_kv_cache_config(cache)->window, NULL));
    for (int i = 0; i < s->n_chunks; i++)
        run(s, plan, &scratch, cache, i);
    lf_kv_cache_free(cache);
    g_assert_true(lf_arena_init(&s->state, s->be, state.peak, NULL));
    g_assert_true(lf_arena_init(&s->scratch, s->be, scratch.peak, NULL));
    take_state(s, &s->state);
    s->cache = new_cache(s, s->be);
}

/* The same for every backend. */
static void upload_random(LfBackend *be, LfTensor t, GRand *rand)
{
    int64_t n = lf_tensor_count(t);
    g_autofree float *values = g_new(float, n);
    for (int64_t i = 0; i < n; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++)
            sum += g_rand_double(rand);
        values[i] = (float) sum;
    }
    lf_upload_floats(be, t, values);
}

GArray *both_velocity(LfModel *model, int width, int height, int chunk, gboolean sparse,
                      gboolean recached)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    Stream s = {
        .model = model, .sparse = sparse, .recached = recached, .n_chunks = recached ? 3 : 2};
    s.be = lf_model_backend(model, &error);
    g_assert_no_error(error);
    s.geometry = lf_geometry(width, height, chunk > 0 ? chunk : model->config->video.chunk);
    open_stream(&s);
    upload_random(s.be, s.context, rand);
    for (int i = 0; i < s.n_chunks; i++) {
        if (recached && i == s.n_chunks - 1)
            upload_random(s.be, s.context, rand);
        upload_random(s.be, s.x, rand);
        run(&s, s.be, &s.scratch, s.cache, i);
        lf_past_keep(&s.past, (uint64_t) i, s.x);
    }
    GArray *velocity = g_array_new(FALSE, FALSE, sizeof(float));
    g_array_set_size(velocity, (guint) lf_tensor_count(s.velocity));
    lf_download_floats(s.be, (float *) (void *) velocity->data, s.velocity);
    s.be->sync(s.be, &error);
    g_assert_no_error(error);
    lf_kv_cache_free(s.cache);
    lf_past_clear(&s.past);
    lf_arena_clear(&s.state);
    lf_arena_clear(&s.scratch);
    lf_backend_close(s.be);
    return velocity;
}

Likeness both_compare(const GArray *a, const GArray *b)
{
    double difference = 0, aa = 0, bb = 0, ab = 0;
    g_assert_cmpuint(a->len, ==, b->len);
    for (guint i = 0; i < a->len; i++) {
        double x = g_array_index(a, float, i), y = g_array_index(b, float, i);
        difference += (x - y) * (x - y);
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    return (Likeness){.relative = sqrt(difference / aa), .cosine = ab / sqrt(aa * bb)};
}
