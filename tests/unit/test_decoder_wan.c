/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoder of Wan 2.1's VAE on random weights, as a stream: chunks of any size give the frames of
 * the whole clip, scenes begin with one frame, and a call that was cancelled has left no trace.
 * tests/reference compares its numbers with those of the published code.
 */
#include "engine/models/decoder.h"
#include "kernels/ops.h"

#include <math.h>
#include <string.h>

enum { CHANNELS = 16, H = 3, W = 5, LATENTS = 6, RATE = 4, TRIMMED = 3 };

static const LfDecoderClass *const class = &lf_decoder_wan;

typedef struct {
    LfBackend *be;
    LfWeightSource *source;
    LfDecoder *decoder;
    LfArena memory, scratch;
    LfDecoderState state;
    LfTensor latents, rgb;
} Stream;

static LfDecoderConfig config_of(int a, int b, int c, int d, int e)
{
    return (LfDecoderConfig){.type = "wan", .widths = {a, b, c, d, e}, .channels = CHANNELS};
}

static size_t scratch_of(const Stream *s, int n, bool begun, LfType type)
{
    LfArena plan = lf_arena_plan();
    LfGeometry g = {.latent_width = W, .latent_height = H};
    LfDecoderState state = class->state(s->decoder, &g, &plan);
    LfTensor z = lf_arena_tensor(&plan, LF_F32, n, CHANNELS, H, W);
    LfTensor rgb = lf_arena_tensor(&plan, type, RATE * n, 8 * H, 8 * W, 3);
    size_t before = plan.used;
    state.begun = begun;
    g_assert_true(class->forward(s->decoder, lf_backend_plan(NULL), &plan, rgb, z, &state, NULL));
    g_assert_cmpuint(plan.used, ==, before);
    return plan.peak - before;
}

static Stream *stream_new(LfDecoderConfig config, LfType type)
{
    g_autoptr(GError) error = NULL;
    Stream *s = g_new0(Stream, 1);
    LfGeometry g = {.latent_width = W, .latent_height = H};
    s->be = lf_backend_open_cpu(2, &error);
    g_assert_no_error(error);
    s->source = lf_weight_source_random((uint64_t) g_test_rand_int());
    s->decoder = class->create(s->be, &config, s->source, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(class->memory(s->decoder), >, 0);
    g_assert_true(lf_arena_init(&s->memory, s->be, 32 << 20, &error));
    g_assert_true(lf_arena_init(&s->scratch, s->be, scratch_of(s, LATENTS, true, type), &error));
    s->state = class->state(s->decoder, &g, &s->memory);
    s->latents = lf_arena_tensor(&s->memory, LF_F32, LATENTS, CHANNELS, H, W);
    s->rgb = lf_arena_tensor(&s->memory, type, RATE * LATENTS, 8 * H, 8 * W, 3);
    lf_decoder_state_reset(s->be, &s->state);
    for (int64_t i = 0; i < lf_tensor_count(s->latents); i++)
        lf_f32(s->latents)[i] = (float) g_test_rand_double_range(-2, 2);
    return s;
}

static void stream_free(Stream *s)
{
    lf_decoder_free(s->decoder);
    lf_weight_source_free(s->source);
    lf_arena_clear(&s->memory);
    lf_arena_clear(&s->scratch);
    lf_backend_close(s->be);
    g_free(s);
}

static bool run(Stream *s, int first, int n, const int *cancelled)
{
    g_autoptr(GError) error = NULL;
    bool done = class->forward(s->decoder, s->be, &s->scratch,
                               lf_tensor_slice(s->rgb, RATE * first, RATE * n),
                               lf_tensor_slice(s->latents, first, n), &s->state, cancelled);
    g_assert_true(s->be->sync(s->be, &error));
    g_assert_cmpuint(s->scratch.used, ==, 0);
    return done;
}

static void *copy_of(LfTensor t)
{
    return g_memdup2(t.data, lf_tensor_size(t));
}

static void assert_near(const float *wanted, LfTensor t)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < lf_tensor_count(t); i++) {
        g_assert_true(isfinite(lf_f32(t)[i]));
        error += pow((double) wanted[i] - (double) lf_f32(t)[i], 2);
        size += pow((double) wanted[i], 2);
    }
    g_assert_cmpfloat(sqrt(error), <=, 1e-6 * sqrt(size));
}

static void run_in_chunks(Stream *s, const int *chunks)
{
    lf_decoder_state_reset(s->be, &s->state);
    memset(s->rgb.data, 0xff, lf_tensor_size(s->rgb));
    for (int first = 0; first < LATENTS; first += *chunks++)
        g_assert_true(run(s, first, *chunks, NULL));
}

static void test_streaming(void)
{
    static const int chunks[][LATENTS] = {{1, 1, 1, 1, 1, 1}, {3, 3}, {1, 3, 2}, {2, 4}};
    Stream *s = stream_new(config_of(12, 20, 16, 10, 6), LF_F32);
    void *past[LF_MAX_DECODER_STATE];
    g_assert_true(run(s, 0, LATENTS, NULL));
    g_autofree float *whole = copy_of(s->rgb);
    for (int i = 0; i < s->state.n; i++)
        past[i] = copy_of(s->state.past[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(chunks); i++) {
        run_in_chunks(s, chunks[i]);
        assert_near(whole, s->rgb);
        for (int j = 0; j < s->state.n; j++)
            assert_near(past[j], s->state.past[j]);
    }
    for (int i = 0; i < s->state.n; i++)
        g_free(past[i]);
    stream_free(s);
}

/* A scene's first latent is one frame; those in front of it are black. The same latents later in the
 * scene are four. */
static void test_first(void)
{
    Stream *s = stream_new(config_of(8, 8, 8, 8, 8), LF_U8);
    size_t frame = lf_tensor_size(s->rgb) / (RATE * LATENTS);
    memset(s->rgb.data, 77, lf_tensor_size(s->rgb));
    g_assert_true(run(s, 0, 1, NULL));
    for (size_t i = 0; i < TRIMMED * frame; i++)
        g_assert_cmpint(lf_u8(s->rgb)[i], ==, 0);
    g_autofree uint8_t *first = copy_of(lf_tensor_slice(s->rgb, 0, RATE));
    g_assert_true(run(s, 0, 1, NULL));
    g_assert_cmpint(memcmp(first, s->rgb.data, frame), !=, 0);
    lf_decoder_state_reset(s->be, &s->state);
    g_assert_true(run(s, 0, 1, NULL));
    g_assert_cmpmem(first, RATE * frame, s->rgb.data, RATE * frame);
    stream_free(s);
}

/* Cancels after a number of convolutions, the last one included. */
static struct {
    LfOps ops;
    int left, cancelled;
} hook;

static void conv3d_and_cancel(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,
                              const LfWeight *weight, LfTensor bias, LfTensor residual)
{
    hook.ops.conv3d(be, out, x, past, weight, bias, residual);
    if (--hook.left == 0)
        hook.cancelled = 1;
}

static void test_cancelled(void)
{
    Stream *s = stream_new(config_of(4, 4, 4, 4, 4), LF_F32);
    void *past[LF_MAX_DECODER_STATE];
    g_assert_true(run(s, 0, 2, NULL));
    for (int i = 0; i < s->state.n; i++)
        past[i] = copy_of(s->state.past[i]);
    hook.ops = *s->be->ops;
    LfOps ops = hook.ops;
    const LfOps *before = s->be->ops;
    ops.conv3d = conv3d_and_cancel;
    s->be->ops = &ops;
    int n_cancelled = 0;
    for (bool done = false; !done; n_cancelled += !done) {
        hook.left = n_cancelled + 1;
        hook.cancelled = 0;
        done = run(s, 2, 2, &hook.cancelled);
        for (int i = 0; i < s->state.n && !done; i++)
            g_assert_cmpmem(past[i], lf_tensor_size(s->state.past[i]), s->state.past[i].data,
                            lf_tensor_size(s->state.past[i]));
    }
    g_assert_cmpint(n_cancelled, >, 32);
    s->be->ops = before;
    for (int i = 0; i < s->state.n; i++)
        g_free(past[i]);
    stream_free(s);
}

/* A scene that was cancelled in its first chunk begins again with one frame. */
static void test_cancelled_first(void)
{
    Stream *s = stream_new(config_of(4, 4, 4, 4, 4), LF_F32);
    int cancelled = 1;
    g_assert_false(run(s, 0, 3, &cancelled));
    g_assert_false(s->state.begun);
    g_assert_true(run(s, 0, 3, NULL));
    g_autofree float *wanted = copy_of(s->rgb);
    lf_decoder_state_reset(s->be, &s->state);
    g_assert_true(run(s, 0, 3, NULL));
    g_assert_cmpmem(wanted, lf_tensor_size(s->rgb), s->rgb.data, lf_tensor_size(s->rgb));
    stream_free(s);
}

/* The largest buffers are those of one latent's frames, however many there are. */
static void test_scratch(void)
{
    Stream *s = stream_new(config_of(16, 16, 16, 32, 32), LF_U8);
    size_t one = scratch_of(s, 1, true, LF_U8), six = scratch_of(s, 6, true, LF_U8);
    g_assert_cmpuint(six, <, 2 * one);
    g_assert_cmpuint(scratch_of(s, 6, false, LF_U8), <=, six);
    stream_free(s);
}

static void test_refused(void)
{
    static const struct {
        LfDecoderConfig config;
        const char *word;
    } wrong[] = {
        {{.widths = {8, 8, 8, 8, 8}, .channels = 15}, "15 channels"},
        {{.widths = {8, 8, 1, 8, 8}, .channels = CHANNELS}, "widths[2] is 1"},
        {{.widths = {8, 8, 8, 8, 0}, .channels = CHANNELS}, "widths[4] is 0"},
    };
    LfWeightSource *source = lf_weight_source_random(1);
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(class->create(lf_backend_plan(NULL), &wrong[i].config, source, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
        g_assert_nonnull(strstr(error->message, wrong[i].word));
    }
    lf_weight_source_free(source);
}

static void test_described(void)
{
    const LfDecoderConfig full = config_of(384, 384, 384, 192, 96);
    const LfDecoderConfig light = config_of(96, 96, 96, 48, 24);
    g_autofree char *a = class->describe(&full), *b = class->describe(&light);
    g_assert_cmpstr(a, ==, "384/384/384/192/96 channels");
    g_assert_cmpstr(b, ==, "96/96/96/48/24 channels (LightVAE)");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/decoder/wan/streaming", test_streaming);
    g_test_add_func("/decoder/wan/first", test_first);
    g_test_add_func("/decoder/wan/cancelled", test_cancelled);
    g_test_add_func("/decoder/wan/cancelled-first", test_cancelled_first);
    g_test_add_func("/decoder/wan/scratch", test_scratch);
    g_test_add_func("/decoder/wan/refused", test_refused);
    g_test_add_func("/decoder/wan/described", test_described);
    return g_test_run();
}
