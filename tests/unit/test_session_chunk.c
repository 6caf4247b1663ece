/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Chunks of one latent frame, as frame-wise models have them: the first chunk of a scene is one
 * picture. And the lists of steps, of which the first chunk may have its own.
 */
#include "stream.h"

#include "engine/session.h"
#include "kernels/ops.h"

#include <malloc.h>
#include <string.h>

static const char *const prompt = "a red ball bounces on green grass";
static const char *const next_prompt = "a blue star on yellow sand";

/* The chunk of the model and the chunk of an option are the same. */
static void test_model_and_option(void)
{
    LfModel *three = stream_model(NULL), *one = stream_model(&(LfTinyModel){.chunk = 1});
    g_assert_cmpint(lf_model_info(one)->chunk, ==, 1);
    LfSession *a = stream_session(one, NULL, prompt);
    LfSession *b = stream_session(three, &(LfSessionOptions){.chunk = 1}, prompt);
    LfSession *c = stream_session(one, &(LfSessionOptions){.chunk = 3}, prompt);
    LfSession *d = stream_session(three, NULL, prompt);
    uint64_t frames = 0;
    for (uint64_t i = 0; i < 14; i++) {
        LfChunk *x = stream_next(a), *y = stream_next(b);
        const LfChunkInfo *info = lf_chunk_info(x);
        g_assert_cmpint(info->n_latent_frames, ==, 1);
        g_assert_cmpint(info->n_frames, ==, i == 0 ? 1 : 4);
        g_assert_cmpuint(info->first_frame, ==, frames);
        frames += (uint64_t) info->n_frames;
        g_autoptr(GByteArray) p = stream_pictures(x), q = stream_pictures(y);
        stream_assert_same(p, q);
        lf_chunk_unref(x);
        lf_chunk_unref(y);
    }
    g_autoptr(GByteArray) p = stream_run(c, 4), q = stream_run(d, 4);
    stream_assert_same(p, q);
    lf_session_free(a);
    lf_session_free(b);
    lf_session_free(c);
    lf_session_free(d);
    lf_model_unref(three);
    lf_model_unref(one);
}

/* After a restart the stream is the same; another seed has others. */
static void test_restart(void)
{
    LfModel *model = stream_model(&(LfTinyModel){.chunk = 1});
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 3}, prompt);
    g_autoptr(GByteArray) wanted = stream_run(s, 12);
    lf_session_restart(s, 4);
    g_autoptr(GByteArray) other = stream_run(s, 5);
    lf_session_restart(s, 3);
    g_autoptr(GByteArray) again = stream_run(s, 12);
    stream_assert_same(wanted, again);
    g_assert_cmpint(memcmp(wanted->data, other->data, other->len), !=, 0);
    lf_session_free(s);
    lf_model_unref(model);
}

/* ---- the decoder's seams --------------------------------------------------------------------- */

/* All pictures of latents [n, C, h, w], decoded at once. */
static GByteArray *decode_at_once(const LfSession *s, const GByteArray *latents, int n)
{
    g_autoptr(GError) error = NULL;
    const LfWorker *w = &s->worker;
    LfBackend *be = lf_model_backend(s->model, &error);
    g_assert_no_error(error);
    const LfDecoder *decoder = s->model->decoder;
    LfGeometry g = w->config.geometry;
    g.chunk = n;
    LfArena plan = lf_arena_plan(), memory;
    for (int pass = 0; pass < 2; pass++) {
        LfArena *arena = pass ? &memory : &plan;
        LfDecoderState state = decoder->class->state(decoder, &g, arena);
        LfTensor x =
            lf_arena_tensor(arena, LF_F32, n, LF_TINY_CHANNELS, g.latent_height, g.latent_width);
        LfTensor rgb = lf_arena_tensor(arena, LF_U8, lf_decoded_frames(&g), g.height, g.width, 3);
        if (pass) {
            lf_upload(be, x, latents->data);
            lf_decoder_state_reset(be, &state);
        }
        g_assert_true(decoder->class->forward(decoder, pass ? be : lf_backend_plan(be), arena, rgb,
                                              x, &state, NULL));
        if (!pass) {
            g_assert_true(lf_arena_init(&memory, be, plan.peak, &error));
            continue;
        }
        gsize trimmed = 3 * (gsize) g.format.trimmed * (gsize) g.height * (gsize) g.width;
        g_autofree guint8 *bytes = g_malloc(lf_tensor_size(rgb));
        lf_download(be, bytes, rgb);
        g_assert_true(be->sync(be, &error));
        GByteArray *pictures = g_byte_array_new();
        g_byte_array_append(pictures, bytes + trimmed, (guint) (lf_tensor_size(rgb) - trimmed));
        lf_arena_clear(&memory);
        lf_backend_close(be);
        return pictures;
    }
    return NULL;
}

/* A scene that was decoded chunk by chunk has the pictures of the whole clip: no seams. */
static void test_seams(gconstpointer chunk_size)
{
    int chunk = GPOINTER_TO_INT(chunk_size), n_chunks = 12 / chunk;
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 5, .chunk = chunk}, prompt);
    for (int scene = 0; scene < 2; scene++) {
        g_autoptr(GByteArray) pictures = g_byte_array_new(), latents = g_byte_array_new();
        for (int i = 0; i < n_chunks; i++) {
            int channels, height, width;
            LfChunk *made = stream_next(s);
            g_autoptr(GByteArray) bytes = stream_pictures(made);
            const float *x = lf_chunk_latents(made, &channels, &height, &width);
            g_byte_array_append(pictures, bytes->data, bytes->len);
            g_byte_array_append(latents, (const guint8 *) x,
                                (guint) (chunk * channels * height * width) * sizeof *x);
            lf_chunk_unref(made);
        }
        g_autoptr(GByteArray) whole = decode_at_once(s, latents, n_chunks * chunk);
        guint different = 0;
        g_assert_cmpuint(whole->len, ==, pictures->len);
        for (guint i = 0; i < whole->len; i++) {
            g_assert_cmpint(ABS(whole->data[i] - pictures->data[i]), <=, 1); /* order of sums */
            different += whole->data[i] != pictures->data[i];
        }
        g_assert_cmpuint(different, <=, whole->len / 1000);
        lf_session_set_transition(s, LF_TRANSITION_CUT);
        g_assert_true(lf_session_set_prompt(s, next_prompt, NULL));
    }
    lf_session_free(s);
    lf_model_unref(model);
}

/* ---- lists of steps -------------------------------------------------------------------------- */

/* Counts the passes of the transformer, by what only its head does. */
static struct {
    LfOps ops;
    const LfOps *own;
    int passes;
} spy;

static void spy_unpatchify(LfBackend *be, LfTensor out, LfTensor patches, LfTensor order)
{
    spy.passes++;
    spy.own->unpatchify(be, out, patches, order);
}

static int passes_of_next(LfSession *s)
{
    LfBackend *be = s->worker.be;
    spy.own = be->ops;
    spy.ops = *be->ops;
    spy.ops.unpatchify = spy_unpatchify;
    spy.passes = 0;
    be->ops = &spy.ops;
    lf_chunk_unref(stream_next(s));
    be->ops = spy.own;
    return spy.passes;
}

/* The first chunk of the stream and of every scene has its own number of steps. */
static void test_first_steps(void)
{
    LfModel *model =
        stream_model_on(&(LfTinyModel){.schedule = "{\"steps\": [1000, 500], "
                                                   "\"first_steps\": [1000, 750, 500, 250]}"},
                        "cpu");
    const struct {
        LfSteps steps, first;
        int wanted_first, wanted;
    } cases[] = {{{0}, {0}, 4, 2},
                 {{1, {1000}}, {0}, 4, 1},
                 {{0}, {3, {1000, 600, 2}}, 3, 2},
                 {{2, {1000, 500}}, {2, {1000, 500}}, 2, 2},
                 {{3, {999, 50, 0.5}}, {1, {1000}}, 1, 3}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfSessionOptions o = {.steps = cases[i].steps, .first_steps = cases[i].first};
        LfSession *s = stream_session(model, &o, prompt);
        for (int k = 0; k < 9; k++) {
            if (k == 3) {
                lf_session_set_transition(s, LF_TRANSITION_CUT);
                g_assert_true(lf_session_set_prompt(s, next_prompt, NULL));
            }
            if (k == 6)
                lf_session_restart(s, 9);
            g_assert_cmpint(passes_of_next(s), ==,
                            k % 3 == 0 ? cases[i].wanted_first : cases[i].wanted);
        }
        lf_session_free(s);
    }
    lf_model_unref(model);
}

/* The same chunk from the same noise, whatever list the other chunks have; and lists that are equal
 * change nothing. */
static void test_same_first(void)
{
    LfModel *model = stream_model(NULL);
    const LfSteps four = {4, {1000, 750, 500, 250}}, two = {2, {1000, 500}}, none = {0};
    const LfSessionOptions options[] = {{.seed = 3, .steps = four},
                                        {.seed = 3, .first_steps = four, .steps = two},
                                        {.seed = 3, .first_steps = two},
                                        {.seed = 3, .steps = none}};
    GByteArray *first[4], *second[4];
    for (guint i = 0; i < 4; i++) {
        LfSession *s = stream_session(model, &options[i], prompt);
        first[i] = stream_run(s, 1);
        second[i] = stream_run(s, 1);
        lf_session_free(s);
    }
    stream_assert_same(first[0], first[1]);
    g_assert_false(stream_same(second[0], second[1]));
    g_assert_false(stream_same(first[1], first[2]));
    stream_assert_same(first[2], first[3]);
    stream_assert_same(second[2], second[3]);
    for (guint i = 0; i < 4; i++) {
        g_byte_array_unref(first[i]);
        g_byte_array_unref(second[i]);
    }
    lf_model_unref(model);
}

/* FLOPs are those of a chunk in steady state: the first chunk's list does not count. */
static void test_flops(void)
{
    LfModel *model = stream_model(NULL);
    const LfSessionOptions options[] = {
        {.chunk = 1, .steps = {1, {1000}}},
        {.chunk = 1, .steps = {2, {1000, 500}}},
        {.chunk = 1, .steps = {3, {1000, 500, 20}}},
        {.chunk = 1, .steps = {2, {1000, 500}}, .first_steps = {4, {1000, 750, 500, 250}}}};
    double flops[4];
    for (guint i = 0; i < 4; i++) {
        LfSession *s = stream_session(model, &options[i], prompt);
        flops[i] = lf_session_flops(s).transformer;
        lf_session_free(s);
    }
    g_assert_cmpfloat(flops[0], >, 0);
    g_assert_cmpfloat(flops[2] - flops[1], ==, flops[1] - flops[0]);
    g_assert_cmpfloat(flops[3], ==, flops[1]);
    lf_model_unref(model);
}

/* With an unbounded window they are those of the next chunk, which may be the first. */
static void test_flops_of_next(void)
{
    LfModel *model = stream_model_on(NULL, "cpu");
    const LfSteps four = {4, {1000, 750, 500, 250}}, two = {2, {1000, 500}};
    const LfSessionOptions options[] = {{.window = -1, .steps = four},
                                        {.window = -1, .steps = two, .first_steps = four},
                                        {.window = -1, .steps = two}};
    double first[3], second[3];
    for (guint i = 0; i < 3; i++) {
        LfSession *s = stream_session(model, &options[i], prompt);
        first[i] = lf_session_flops(s).transformer;
        stream_drop(s, 1);
        second[i] = lf_session_flops(s).transformer;
        lf_session_free(s);
    }
    g_assert_cmpfloat(first[1], ==, first[0]);
    g_assert_cmpfloat(first[2], <, first[0]);
    g_assert_cmpfloat(second[1], ==, second[2]);
    g_assert_cmpfloat(second[2], <, second[0]);
    lf_model_unref(model);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Nothing is allocated after the first chunk, also where the later chunks have more steps. */
static void test_no_allocation(void)
{
    LfModel *model = stream_model(&(LfTinyModel){.chunk = 1});
    const LfSessionOptions options[] = {
        {.steps = {3, {1000, 500, 250}}, .first_steps = {1, {1000}}, .one_map = TRUE},
        {.steps = {1, {1000}}, .first_steps = {4, {1000, 750, 500, 250}}, .one_map = TRUE}};
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        LfSession *s = stream_session(model, &options[i], prompt);
        gint *n_allocations = stream_count_allocations(s);
        stream_drop(s, 25);
        size_t before = mallinfo2().uordblks;
        stream_drop(s, 12);
        g_assert_cmpint(*n_allocations, ==, 1); /* the chunk's own pictures */
        g_assert_cmpuint(mallinfo2().uordblks, <=, before + stream_heap_noise(s));
        lf_session_free(s);
    }
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chunk/model-and-option", test_model_and_option);
    g_test_add_func("/chunk/restart", test_restart);
    g_test_add_data_func("/chunk/seams/one", GINT_TO_POINTER(1), test_seams);
    g_test_add_data_func("/chunk/seams/two", GINT_TO_POINTER(2), test_seams);
    g_test_add_data_func("/chunk/seams/three", GINT_TO_POINTER(3), test_seams);
    g_test_add_func("/steps/first", test_first_steps);
    g_test_add_func("/steps/same-first", test_same_first);
    g_test_add_func("/steps/flops", test_flops);
    g_test_add_func("/steps/flops/next", test_flops_of_next);
    g_test_add_func("/chunk/no-allocation", test_no_allocation);
    return g_test_run();
}
