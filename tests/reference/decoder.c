/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * TAEHV's decoder over three chunks, streaming, against the published one: frames at its own widths
 * and at narrow ones, and for these every memory block's last input after each chunk, which is the
 * output of the layer before it.
 */
#include "engine/models/decoder.h"
#include "fixture.h"

#define BOUND 5e-6

enum { CHUNKS = 3, WIDTH = 4, HEIGHT = 3, FRAMES = 4 * REF_CHUNK * CHUNKS, BLOCKS = 9 };
enum { PIXELS = 64 * WIDTH * HEIGHT * 3, TRIMMED = 3 };

typedef struct {
    const char *name;
    int widths[4];
    gboolean has_past;
} Case;

static const Case cases[] = {{"published", {256, 128, 64, 64}, FALSE},
                             {"narrow", {24, 20, 12, 8}, TRUE}};

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
    char *path = g_build_filename(directory, "decoder.safetensors", NULL);
    ref_write_decoder(path, s->c->widths);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    LfDecoderConfig config = {0};
    LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
    g_assert_true(lf_decoder_tiny.complete(&config, source, &error));
    g_assert_no_error(error);
    LfDecoder *decoder = lf_decoder_tiny.create(s->be, &config, source, &error);
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
    *s = (Stream){.c = c, .results = ref_open("decoder")};
    s->be = lf_backend_open_cpu(1, &error);
    g_assert_no_error(error);
    lf_arena_init(&s->arena, s->be, (size_t) 64 << 20, &error);
    g_assert_no_error(error);
    s->decoder = load(s);
    LfGeometry geometry = lf_geometry(8 * WIDTH, 8 * HEIGHT, REF_CHUNK);
    s->state = lf_decoder_tiny.state(s->decoder, &geometry, &s->arena);
    lf_decoder_state_reset(s->be, &s->state);
}

static void stream_close(Stream *s)
{
    lf_decoder_free(s->decoder);
    lf_arena_clear(&s->arena);
    lf_backend_close(s->be);
    lf_tensor_file_unref(s->results);
}

static void compare_past(Stream *s, int chunk)
{
    for (int block = 0; block < BLOCKS; block++) {
        int64_t count = lf_tensor_count(s->state.past[block]);
        float *ours = g_new(float, count);
        lf_download(s->be, ours, s->state.past[block]);
        char *name = g_strdup_printf("%s.past.%d.%d", s->c->name, chunk, block);
        ref_compare(name, ours, ref_f32(s->results, name, count), count, BOUND);
        g_free(name);
        g_free(ours);
    }
}

static void decode_chunk(Stream *s, int chunk, float *frames)
{
    GError *error = NULL;
    enum { LATENTS = REF_CHUNK * REF_CHANNELS * WIDTH * HEIGHT };
    size_t mark = s->arena.used;
    float *latents = ref_numbers("latents", (int64_t) CHUNKS * LATENTS, 1.5, 0);
    LfTensor z = lf_arena_tensor(&s->arena, LF_F32, REF_CHUNK, REF_CHANNELS, HEIGHT, WIDTH);
    LfTensor rgb = lf_arena_tensor(&s->arena, LF_F32, FRAMES / CHUNKS, 8 * HEIGHT, 8 * WIDTH, 3);
    lf_upload(s->be, z, latents + chunk * LATENTS);
    g_assert_true(lf_decoder_tiny.forward(s->decoder, s->be, &s->arena, rgb, z, &s->state, NULL));
    lf_download(s->be, frames, rgb);
    s->be->sync(s->be, &error);
    g_assert_no_error(error);
    lf_arena_release(&s->arena, mark);
    g_free(latents);
}

static void test_stream(gconstpointer data)
{
    Stream s;
    stream_open(&s, data);
    float *frames = g_new(float, (int64_t) FRAMES *PIXELS);
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        decode_chunk(&s, chunk, frames + (int64_t) chunk * (FRAMES / CHUNKS) * PIXELS);
        if (s.c->has_past)
            compare_past(&s, chunk);
    }
    for (int64_t i = 0; i < (int64_t) FRAMES * PIXELS; i++)
        frames[i] = CLAMP(frames[i], 0, 1);
    int64_t count = (int64_t) (FRAMES - TRIMMED) * PIXELS;
    char *name = g_strconcat(s.c->name, ".frames", NULL);
    ref_compare(name, frames + TRIMMED * PIXELS, ref_f32(s.results, name, count), count, BOUND);
    g_free(name);
    g_free(frames);
    stream_close(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *path = g_strconcat("/reference/decoder/", cases[i].name, NULL);
        g_test_add_data_func(path, &cases[i], test_stream);
        g_free(path);
    }
    return g_test_run();
}
