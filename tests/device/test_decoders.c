/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Decoders on a GPU beside the CPU, on random weights: the same pictures to rounding, whatever the
 * chunks. Skipped where there is no GPU.
 */
#include "engine/models/decoder.h"

#include <math.h>

enum { LATENTS = 4, RATE = 4, TRIMMED = 3 };

typedef struct {
    const char *name, *type;
    int widths[5];
    int h, w; /* latents */
} Case;

/* `odd`: channels that only the plain kernels take. */
static const Case cases[] = {{"tiny", "tiny", {256, 128, 64, 64}, 7, 10},
                             {"vae", "wan", {384, 384, 384, 192, 96}, 6, 9},
                             {"lightvae", "wan", {96, 96, 96, 48, 24}, 15, 26},
                             {"odd", "wan", {20, 12, 18, 10, 6}, 5, 7}};

/* All frames, float, [H, W, 3]. */
static float *pictures(const Case *c, LfBackend *be, const float *latents, const int *chunks)
{
    g_autoptr(GError) error = NULL;
    LfDecoderConfig config = {.channels = LF_WAN21_CHANNELS};
    memcpy(config.widths, c->widths, sizeof config.widths);
    LfWeightSource *source = lf_weight_source_random(7);
    const LfDecoderClass *class = lf_decoder_class(c->type, NULL, &error);
    LfDecoder *decoder = class->create(be, &config, source, &error);
    g_assert_no_error(error);
    LfGeometry g = lf_geometry_of(class->format, 8 * c->w, 8 * c->h, LATENTS);
    g.latent_width = c->w;
    g.latent_height = c->h;
    LfArena plan = lf_arena_plan(), arena = {0};
    LfTensor z = LF_NONE, rgb = LF_NONE;
    LfDecoderState state;
    for (int pass = 0; pass < 2; pass++) { /* first only the sizes */
        LfArena *from = pass ? &arena : &plan;
        if (pass && !lf_arena_init(&arena, be, plan.peak, &error))
            g_error("%s", error->message);
        state = class->state(decoder, &g, from);
        z = lf_arena_tensor(from, LF_F32, LATENTS, LF_WAN21_CHANNELS, c->h, c->w);
        rgb = lf_arena_tensor(from, LF_F32, RATE * LATENTS, 8 * c->h, 8 * c->w, 3);
        state.begun = true;
        if (!pass)
            class->forward(decoder, lf_backend_plan(be), from, rgb, z, &state, NULL);
    }
    lf_decoder_state_reset(be, &state);
    lf_upload(be, z, latents);
    for (int first = 0; first < LATENTS; first += *chunks++)
        g_assert_true(class->forward(decoder, be, &arena,
                                     lf_tensor_slice(rgb, RATE * first, RATE * *chunks),
                                     lf_tensor_slice(z, first, *chunks), &state, NULL));
    float *frames = g_malloc(lf_tensor_size(rgb));
    lf_download(be, frames, rgb);
    g_assert_true(be->sync(be, &error));
    lf_decoder_free(decoder);
    lf_weight_source_free(source);
    lf_arena_clear(&arena);
    return frames;
}

static double distance(const Case *c, const float *a, const float *b)
{
    double error = 0, size = 0;
    int64_t frame = 64 * 3 * (int64_t) c->h * c->w;
    for (int64_t i = TRIMMED * frame; i < RATE * LATENTS * frame; i++) {
        g_assert_true(isfinite(a[i]));
        error += pow((double) a[i] - (double) b[i], 2);
        size += pow((double) b[i], 2);
    }
    return sqrt(error / size);
}

static void test_decoder(gconstpointer data)
{
    static const int whole[] = {LATENTS}, uneven[] = {1, 3};
    const Case *c = data;
    g_autoptr(GError) error = NULL;
    LfBackend *device = lf_backend_open("cuda", 0, LF_PRECISION_AUTO, NULL, &error);
    if (!device) {
        g_test_skip(error->message);
        return;
    }
    LfBackend *cpu = lf_backend_open_cpu(0, NULL);
    int64_t n = LATENTS * LF_WAN21_CHANNELS * (int64_t) c->h * c->w;
    g_autofree float *latents = g_new(float, n);
    for (int64_t i = 0; i < n; i++)
        latents[i] = (float) g_test_rand_double_range(-1.7, 1.7);
    g_autofree float *wanted = pictures(c, cpu, latents, whole);
    g_autofree float *all = pictures(c, device, latents, whole);
    g_autofree float *some = pictures(c, device, latents, uneven);
    g_test_message("%s: rel-L2 %.2e to the CPU, %.2e between chunks", c->name,
                   distance(c, all, wanted), distance(c, some, all));
    g_assert_cmpfloat(distance(c, all, wanted), <, 1e-2);
    g_assert_cmpfloat(distance(c, some, all), <, 2e-3);
    lf_backend_close(cpu);
    lf_backend_close(device);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/device/decoder/", cases[i].name, NULL);
        g_test_add_data_func(path, &cases[i], test_decoder);
    }
    return g_test_run();
}
