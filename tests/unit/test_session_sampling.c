/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whole streams against a reference in double: schedules with another list for the first chunk,
 * shifted or not, chunks of one to three latent frames, dense and sparse attention, with a cut or a
 * recache under way. The reference has its own formulas of the steps, the growth and the budget.
 */
#include "engine/lightforcing.h"
#include "plain_transformer.h"
#include "tests/common/tiny_model.h"

#include <math.h>
#include <string.h>

enum { CHUNKS = 9, BLOCK = 4, HORIZON = 11, KEEP_SINK = 1, KEEP_NEAR = 1 };

#define TARGET 0.55
#define BASE   0.7

/* ---- what is drawn --------------------------------------------------------------------------- */

typedef struct {
    LfTransformerConfig config;
    PlainModel *plain;
    PlainStream stream; /* of the scene */
    LfSteps steps, first;
    bool warp, sparse, by_options;
    double shift;
    int change_at; /* the chunk at which the text changes; CHUNKS: never */
    LfTransition transition;
    float *context, *new_context;
    int context_rows, new_context_rows;
} Case;

static LfTransformerConfig draw_config(void)
{
    int heads = g_test_rand_int_range(1, 3);
    return (LfTransformerConfig){.heads = heads,
                                 .dim = heads * 2 * g_test_rand_int_range(3, 9),
                                 .ffn = g_test_rand_int_range(5, 40),
                                 .layers = g_test_rand_int_range(1, 3),
                                 .freq_dim = 2 * g_test_rand_int_range(2, 20),
                                 .text_dim = g_test_rand_int_range(3, 20),
                                 .text_len = g_test_rand_int_range(2, 10),
                                 .channels = g_test_rand_int_range(1, 6)};
}

static LfSteps draw_steps(int most)
{
    LfSteps steps = {.n = g_test_rand_int_range(1, most + 1)};
    double t = g_test_rand_bit() ? 1000 : g_test_rand_double_range(600, 1000);
    for (int i = 0; i < steps.n; i++) {
        steps.at[i] = t;
        t *= g_test_rand_double_range(0.4, 0.95);
    }
    return steps;
}

static float *draw_floats(int64_t n)
{
    float *values = g_new(float, n);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float) g_test_rand_double_range(-1.7, 1.7);
    return values;
}

static Case draw_case(int chunk, bool sparse, LfTransition transition)
{
    Case c = {.config = draw_config(),
              .steps = draw_steps(3),
              .warp = g_test_rand_bit(),
              .sparse = sparse,
              .by_options = g_test_rand_bit(),
              .shift = g_test_rand_double_range(0.5, 9),
              .change_at = g_test_rand_int_range(1, CHUNKS),
              .transition = transition};
    if (g_test_rand_bit())
        c.first = draw_steps(5);
    PlainStream *s = &c.stream;
    s->geometry =
        lf_geometry(16 * g_test_rand_int_range(2, 5), 16 * g_test_rand_int_range(2, 4), chunk);
    s->relative = g_test_rand_bit();
    s->sink = g_test_rand_int_range(0, 3);
    if (g_test_rand_int_range(0, 4) > 0)
        s->window = chunk + s->sink + g_test_rand_int_range(0, 2 * chunk + 3);
    s->query_block = s->key_block = BLOCK;
    s->keep_sink = KEEP_SINK;
    s->keep_near = KEEP_NEAR;
    s->keep_frames = g_test_rand_int_range(2, 5);
    c.plain = plain_model_draw(&c.config, LF_F32);
    c.context_rows = g_test_rand_int_range(1, c.config.text_len + 1);
    c.new_context_rows = g_test_rand_int_range(1, c.config.text_len + 1);
    c.context = draw_floats(c.context_rows * c.config.text_dim);
    c.new_context = draw_floats(c.new_context_rows * c.config.text_dim);
    return c;
}

static void case_clear(Case *c)
{
    plain_model_free(c->plain);
    g_free(c->context);
    g_free(c->new_context);
}

/* Numbers that (chunk, step, place) alone decide. */
static void noise(float *out, int64_t count, uint64_t chunk, int step, gpointer data)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (float) (1.6 * sin((double) i * 1.7 + (double) chunk * 7.3 + step * 2.9));
}

/* ---- the engine's stream --------------------------------------------------------------------- */

static char *numbers(const LfSteps *steps)
{
    GString *text = g_string_new("[");
    for (int i = 0; i < steps->n; i++)
        g_string_append_printf(text, "%s%.17g", i ? ", " : "", steps->at[i]);
    return g_string_free(g_string_append(text, "]"), FALSE);
}

/* By options: model.json has another chunk, other steps and another shift, which they replace. */
static char *config_text(const Case *c)
{
    const PlainStream *s = &c->stream;
    LfSteps other = {2, {990, 17.5}};
    g_autofree char *steps = numbers(c->by_options ? &other : &c->steps);
    g_autofree char *first = numbers(c->by_options ? &other : &c->first);
    g_autofree char *first_key = g_strdup_printf("\"first_steps\": %s,", first);
    g_autofree char *sparse = g_strdup_printf(
        ", \"sparse\": {\"target\": %g, \"base\": %g, \"query_block\": %d, \"key_block\": %d, "
        "\"keep_frames\": %d, \"keep_sink\": %d, \"keep_near\": %d, \"horizon\": %d}",
        TARGET, BASE, BLOCK, BLOCK, s->keep_frames, s->keep_sink, s->keep_near, HORIZON);
    return g_strdup_printf(
        "{\"transformer\": {\"file\": \"t.safetensors\", \"heads\": %d, \"text_len\": %d},"
        " \"video\": {\"width\": %d, \"height\": %d, \"chunk\": %d},"
        " \"schedule\": {\"steps\": %s, %s \"warp\": %s, \"shift\": %.17g},"
        " \"cache\": {\"window\": %d, \"sink\": %d, \"positions\": \"%s\"}%s}",
        c->config.heads, c->config.text_len, s->geometry.width, s->geometry.height,
        c->by_options ? 1 + s->geometry.chunk % 2 : s->geometry.chunk, steps,
        c->first.n > 0 ? first_key : "", c->warp ? "true" : "false",
        c->by_options ? 4.25 : c->shift,
        s->window > 0 && c->by_options ? MAX(s->window, s->sink + 2) : s->window, s->sink,
        s->relative ? "relative" : "absolute", c->sparse ? sparse : "");
}

static LfModel *open_model(const Case *c)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("lightforcing-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *weights = g_build_filename(dir, "t.safetensors", NULL);
    g_autofree char *config = g_build_filename(dir, "model.json", NULL);
    g_autofree char *text = config_text(c);
    plain_model_write(c->plain, weights, NULL);
    g_file_set_contents(config, text, -1, &error);
    g_assert_no_error(error);
    LfModel *model = lf_model_open(dir, &(LfModelOptions){.backend = "cpu"}, &error);
    g_assert_no_error(error);
    lf_tiny_model_remove(dir);
    return model;
}

static LfSession *open_session(const Case *c, LfModel *model)
{
    GError *error = NULL;
    LfSessionOptions options = {.no_decoder = TRUE,
                                .no_text = TRUE,
                                .keep_latents = TRUE,
                                .transition = c->transition,
                                .window = c->stream.window};
    if (c->by_options) {
        options.chunk = c->stream.geometry.chunk;
        options.steps = c->steps;
        options.first_steps = c->first;
        options.shift = c->warp ? c->shift : 0;
    }
    LfSession *session = lf_session_new(model, &options, &error);
    g_assert_no_error(error);
    lf_session_set_noise(session, noise, NULL);
    lf_session_set_context(session, c->context, c->context_rows, c->config.text_dim, &error);
    g_assert_no_error(error);
    return session;
}

/* ---- the reference's ------------------------------------------------------------------------- */

static double flow_time(const Case *c, double t)
{
    double u = t / 1000;
    return c->warp ? c->shift * u / (1 + (c->shift - 1) * u) : u;
}

/* Key blocks of chunk `index` of a scene. */
static int budget_of(const Case *c, int index)
{
    const PlainStream *s = &c->stream;
    int chunk = s->geometry.chunk, planned = HORIZON / chunk;
    double cost = 0, weight = 0;
    if (!c->sparse || index == 0 || planned < 2)
        return 0;
    for (int i = 2; i <= planned; i++) {
        double frames = i * chunk, attended = s->window > 0 ? MIN(frames, s->window) : frames;
        cost += (BASE - TARGET) * attended;
        weight += attended / sqrt(frames);
    }
    double sparsity = BASE - cost / weight / sqrt(MIN(index + 1, planned) * chunk);
    int frames = plain_window_frames(s, index), past = frames - chunk;
    int blocks = (s->geometry.frame_tokens + BLOCK - 1) / BLOCK;
    int kept = blocks * (chunk + MIN(past, s->keep_frames));
    return sparsity > 0 ? CLAMP((int) ((1 - sparsity) * frames * blocks), 1, kept) : 0;
}

/* Denoises chunk `index` of the scene, whose noise is that of chunk `drawn` of the stream. Returns
 * the smallest margin of all selections. */
static double reference_chunk(Case *c, float *const *clean, int index, int drawn, int64_t count)
{
    PlainStream s = c->stream;
    const LfSteps *steps = index == 0 && c->first.n > 0 ? &c->first : &c->steps;
    g_autofree double *velocity = g_new(double, count), *x = g_new(double, count);
    g_autofree float *rounded = g_new(float, count), *drawn_noise = g_new(float, count);
    double margin = INFINITY;
    s.n_chunks = index + 1;
    for (int i = 0; i < index; i++) {
        s.latents[i] = clean[i];
        s.timestep[i] = 0;
    }
    for (int i = 0; i <= index; i++)
        s.budget[i] = budget_of(c, i);
    s.latents[index] = rounded;
    noise(drawn_noise, count, (uint64_t) drawn, 0, NULL);
    for (int64_t i = 0; i < count; i++)
        x[i] = drawn_noise[i] * (c->warp ? 1 : flow_time(c, steps->at[0]));
    for (int step = 0; step < steps->n; step++) {
        double sigma = flow_time(c, steps->at[step]);
        s.timestep[index] = 1000 * sigma;
        for (int64_t i = 0; i < count; i++)
            rounded[i] = (float) x[i];
        margin = MIN(margin, plain_forward(c->plain, &s, velocity));
        for (int64_t i = 0; i < count; i++)
            x[i] -= sigma * velocity[i];
        if (step + 1 == steps->n)
            break;
        double next = flow_time(c, steps->at[step + 1]);
        noise(drawn_noise, count, (uint64_t) drawn, step + 1, NULL);
        for (int64_t i = 0; i < count; i++)
            x[i] = (1 - next) * x[i] + next * drawn_noise[i];
    }
    for (int64_t i = 0; i < count; i++)
        clean[index][i] = (float) x[i];
    return margin;
}

/* ---- the comparison -------------------------------------------------------------------------- */

/* With a smaller margin a selection in float may differ: the stream ends there. */
#define DOUBTFUL 1e-4

static double worst;

static double relative_error(const float *values, const float *expected, int64_t n)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += pow((double) values[i] - (double) expected[i], 2);
        size += pow((double) expected[i], 2);
    }
    return sqrt(error / size);
}

/* The text changes. Returns the chunk with which the scene begins. */
static int change(Case *c, LfSession *session, int index)
{
    PlainStream *s = &c->stream;
    g_assert_true(lf_session_set_context(session, c->new_context, c->new_context_rows,
                                         c->config.text_dim, NULL));
    if (c->transition == LF_TRANSITION_CUT) {
        s->context = c->new_context;
        s->context_rows = c->new_context_rows;
        return index;
    }
    s->recache_at = index;
    s->new_context = c->new_context;
    s->new_context_rows = c->new_context_rows;
    return 0;
}

/* Chunks that were compared. */
static int run_stream(int chunk, bool sparse, LfTransition transition)
{
    Case c = draw_case(chunk, sparse, transition);
    const LfGeometry *g = &c.stream.geometry;
    int64_t count = (int64_t) chunk * c.config.channels * g->latent_height * g->latent_width;
    LfModel *model = open_model(&c);
    LfSession *session = open_session(&c, model);
    float *clean[CHUNKS];
    int scene = 0, index = 0;
    c.stream.context = c.context;
    c.stream.context_rows = c.context_rows;
    for (int i = 0; i < CHUNKS; i++)
        clean[i] = g_new(float, count);
    for (; index < CHUNKS; index++) {
        int channels, height, width;
        if (index == c.change_at && transition != LF_TRANSITION_CONTINUE)
            scene = change(&c, session, index);
        double margin = reference_chunk(&c, clean, index - scene, index, count);
        LfChunk *made = lf_session_next(session, NULL);
        const LfChunkInfo *info = lf_chunk_info(made);
        g_assert_cmpint(info->n_latent_frames, ==, chunk);
        g_assert_cmpint(info->n_frames, ==, 4 * chunk - (index == scene ? 3 : 0));
        g_assert_true((info->sparsity > 0) == (budget_of(&c, index - scene) > 0));
        double error = relative_error(lf_chunk_latents(made, &channels, &height, &width),
                                      clean[index - scene], count);
        lf_chunk_unref(made);
        if (margin < DOUBTFUL)
            break;
        worst = MAX(worst, error);
        /* Shifted steps are those of the published tables in float, others are in double. */
        g_assert_cmpfloat(error, <, c.warp ? 3e-5 : 4e-6);
    }
    for (int i = 0; i < CHUNKS; i++)
        g_free(clean[i]);
    lf_session_free(session);
    lf_model_unref(model);
    case_clear(&c);
    return index;
}

typedef struct {
    const char *path;
    int chunk;
    bool sparse;
    LfTransition transition;
} Test;

/* Three streams, and more until enough chunks were compared: how many are doubtful is chance. */
static void test_stream(gconstpointer data)
{
    enum { STREAMS = 3, MOST = 40 };
    const Test *t = data;
    int streams = 0, compared = 0;
    worst = 0;
    for (; streams < STREAMS || (compared <= 4 * STREAMS && streams < MOST); streams++)
        compared += run_stream(t->chunk, t->sparse, t->transition);
    g_test_message("%d chunks of %d streams compared, relative error at most %.1e", compared,
                   streams, worst);
    g_assert_cmpint(compared, >, 4 * STREAMS);
}

static const Test tests[] = {
    {"/sampling/one/dense", 1, false, LF_TRANSITION_CONTINUE},
    {"/sampling/one/sparse", 1, true, LF_TRANSITION_CONTINUE},
    {"/sampling/one/dense/cut", 1, false, LF_TRANSITION_CUT},
    {"/sampling/one/sparse/cut", 1, true, LF_TRANSITION_CUT},
    {"/sampling/one/dense/recache", 1, false, LF_TRANSITION_RECACHE},
    {"/sampling/one/sparse/recache", 1, true, LF_TRANSITION_RECACHE},
    {"/sampling/two/sparse/cut", 2, true, LF_TRANSITION_CUT},
    {"/sampling/three/dense", 3, false, LF_TRANSITION_CONTINUE},
    {"/sampling/three/sparse/recache", 3, true, LF_TRANSITION_RECACHE},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add_data_func(tests[i].path, &tests[i], test_stream);
    return g_test_run();
}
