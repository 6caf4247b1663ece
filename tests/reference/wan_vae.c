/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoder of Wan 2.1's VAE against the published one: at a small width, with the histories of
 * all convolutions at the end, which are the inputs of each; and at LightVAE's widths. Each clip is
 * decoded at once, latent by latent, and in uneven chunks.
 */
#include "engine/models/decoder.h"
#include "fixture.h"

#define BOUND 5e-6

enum { LATENTS = 5, WIDTH = 3, HEIGHT = 2, LATENT = REF_CHANNELS * WIDTH * HEIGHT };
enum { PIXELS = 64 * WIDTH * HEIGHT * 3, RATE = 4, TRIMMED = 3 };

typedef struct {
    const char *name;
    int widths[5];
    int latents;
    gboolean has_past;
} Case;

static const Case cases[] = {{"narrow", {32, 32, 32, 16, 8}, 5, TRUE},
                             {"light", {96, 96, 96, 48, 24}, 2, FALSE}};

typedef struct {
    const Case *c;
    LfTensorFile *results;
    LfBackend *be;
    LfArena arena;
    LfDecoder *decoder;
    LfDecoderState state;
} Stream;

static LfDecoder *load(Stream *s)
{
    GError *error = NULL;
    char *directory = ref_directory();
    char *path = g_build_filename(directory, "vae.safetensors", NULL);
    ref_write_wan_vae(path, s->c->widths);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    LfDecoderConfig config = {0};
    LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
    const LfDecoderClass *class = lf_decoder_class("", source, &error);
    g_assert_no_error(error);
    g_assert_true(class == &lf_decoder_wan);
    g_assert_true(class->complete(&config, source, &error));
    g_assert_cmpmem(config.widths, sizeof config.widths, s->c->widths, sizeof config.widths);
    LfDecoder *decoder = class->create(s->be, &config, source, &error);
    g_assert_no_error(error);
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
    g_free(path);
    ref_remove(directory);
    return decoder;
}

static void stream_open(Stream *s, const Case *c)
{
    GError *error = NULL;
    *s = (Stream){.c = c, .results = ref_open("wan_vae")};
    s->be = lf_backend_open_cpu(1, &error);
    g_assert_no_error(error);
    lf_arena_init(&s->arena, s->be, (size_t) 64 << 20, &error);
    g_assert_no_error(error);
    s->decoder = load(s);
    LfGeometry geometry = lf_geometry(8 * WIDTH, 8 * HEIGHT, 1);
    geometry.latent_width = WIDTH; /* odd ones, which have no tokens */
    geometry.latent_height = HEIGHT;
    s->state = lf_decoder_wan.state(s->decoder, &geometry, &s->arena);
    lf_decoder_state_reset(s->be, &s->state);
}

static void stream_close(Stream *s)
{
    lf_decoder_free(s->decoder);
    lf_arena_clear(&s->arena);
    lf_backend_close(s->be);
    lf_tensor_file_unref(s->results);
}

static void compare_past(Stream *s)
{
    for (int slot = 0; slot < s->state.n; slot++) {
        int64_t count = lf_tensor_count(s->state.past[slot]);
        float *ours = g_new(float, count);
        lf_download(s->be, ours, s->state.past[slot]);
        char *name = g_strdup_printf("%s.past.%d", s->c->name, slot);
        ref_compare(name, ours, ref_f32(s->results, name, count), count, BOUND);
        g_free(name);
        g_free(ours);
    }
}

/* Latents [first, first + n), whose frames go to frames [4·first, 4·(first + n)). */
static void decode(Stream *s, int first, int n, float *frames)
{
    GError *error = NULL;
    size_t mark = s->arena.used;
    float *latents = ref_numbers("wan_vae.latents", LATENTS * LATENT, 1, 0);
    LfTensor z = lf_arena_tensor(&s->arena, LF_F32, n, REF_CHANNELS, HEIGHT, WIDTH);
    LfTensor rgb = lf_arena_tensor(&s->arena, LF_F32, RATE * n, 8 * HEIGHT, 8 * WIDTH, 3);
    lf_upload(s->be, z, latents + first * LATENT);
    g_assert_true(lf_decoder_wan.forward(s->decoder, s->be, &s->arena, rgb, z, &s->state, NULL));
    lf_download(s->be, frames + (int64_t) RATE * first * PIXELS, rgb);
    s->be->sync(s->be, &error);
    g_assert_no_error(error);
    lf_arena_release(&s->arena, mark);
    g_free(latents);
}

static void compare_frames(Stream *s, float *frames)
{
    int64_t count = (int64_t) (RATE * s->c->latents - TRIMMED) * PIXELS;
    char *name = g_strconcat(s->c->name, ".frames", NULL);
    for (int64_t i = 0; i < RATE * s->c->latents * PIXELS; i++)
        frames[i] = CLAMP(2 * frames[i] - 1, -1, 1);
    ref_compare(name, frames + TRIMMED * PIXELS, ref_f32(s->results, name, count), count, BOUND);
    g_free(name);
}

static void test_stream(gconstpointer data)
{
    static const int chunks[][LATENTS] = {{5}, {1, 1, 1, 1, 1}, {2, 3}, {1, 3, 1}};
    Stream s;
    stream_open(&s, data);
    for (size_t i = 0; i < G_N_ELEMENTS(chunks); i++) {
        float *frames = g_new(float, RATE *LATENTS *PIXELS);
        lf_decoder_state_reset(s.be, &s.state);
        for (int j = 0, first = 0; j < LATENTS && first < s.c->latents; first += chunks[i][j++])
            decode(&s, first, MIN(chunks[i][j], s.c->latents - first), frames);
        compare_frames(&s, frames);
        if (s.c->has_past)
            compare_past(&s);
        g_free(frames);
    }
    stream_close(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *path = g_strconcat("/reference/wan-vae/", cases[i].name, NULL);
        g_test_add_data_func(path, &cases[i], test_stream);
        g_free(path);
    }
    return g_test_run();
}
