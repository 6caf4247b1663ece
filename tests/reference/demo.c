/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The demo model as it ships: prompt to tokens, to text, to latents, to frames, against the public
 * classes with the same weights and the same noise. Chunks 0, 1 and 4, in which the window of
 * twelve frames has rolled past its sink.
 */
#include "engine/lightforcing.h"
#include "fixture.h"

#define PROMPT       "a big red circle moving left on a green meadow"
#define TEXT_BOUND   1e-5
#define LATENT_BOUND 1e-4

enum { CHUNKS = 5, IDS = 14, TEXT_DIM = 192, WIDTH = 256, HEIGHT = 160 };
enum { LATENT_WIDTH = WIDTH / 8, LATENT_HEIGHT = HEIGHT / 8 };
enum { CHUNK = REF_CHUNK * REF_CHANNELS * LATENT_WIDTH * LATENT_HEIGHT };

/* The recorded chunks; the frames of the stream that are recorded, by chunk. */
static const int recorded_chunks[] = {0, 1, 4};
static const struct {
    int chunk, frame;
} recorded_frames[] = {{0, 8}, {1, 11}};

/* The results belong to these weights. */
static const struct {
    const char *file, *sha256;
} weights[] = {
    {"decoder.safetensors", "ae8008ad1fbbe2d08be4a86ddca8da6ddc7a78709cf07c0ccd99d3f935ce4a4e"},
    {"text_encoder.safetensors",
     "3a69ab8819799dc4fe09183fa0c5a358b4100367efee446a497a5e2c5b7704c3"},
    {"transformer.safetensors", "f886e719dd36dc6016045cee51ab2fb8d568334178a38fb4409955187948082e"},
};

typedef struct {
    LfTensorFile *results;
    RefNoise noise;
    LfModel *model;
} Demo;

static gboolean has_weights(const char *directory)
{
    gboolean same = TRUE;
    for (size_t i = 0; i < G_N_ELEMENTS(weights); i++) {
        GError *error = NULL;
        char *path = g_build_filename(directory, weights[i].file, NULL);
        GMappedFile *file = g_mapped_file_new(path, FALSE, &error);
        g_assert_no_error(error);
        GBytes *bytes = g_mapped_file_get_bytes(file);
        char *sum = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, bytes);
        same = same && g_str_equal(sum, weights[i].sha256);
        g_free(sum);
        g_bytes_unref(bytes);
        g_mapped_file_unref(file);
        g_free(path);
    }
    return same;
}

static void demo_open(Demo *demo)
{
    GError *error = NULL;
    const char *directory = g_getenv("LF_DEMO_MODEL");
    LfModelOptions options = {.backend = "cpu", .n_threads = 1};
    demo->model = lf_model_open(directory, &options, &error);
    g_assert_no_error(error);
    demo->results = ref_open("demo");
    demo->noise = ref_noise("demo.noise", CHUNKS, CHUNK);
}

static void demo_close(Demo *demo)
{
    g_free(demo->noise.values);
    lf_tensor_file_unref(demo->results);
    lf_model_unref(demo->model);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_text(void)
{
    Demo demo;
    GError *error = NULL;
    demo_open(&demo);
    int32_t ids[64];
    int n = lf_model_tokenize(demo.model, PROMPT, ids, G_N_ELEMENTS(ids), &error);
    g_assert_no_error(error);
    g_assert_cmpint(n, ==, IDS);
    const int64_t *theirs = lf_tensor_file_find(demo.results, "ids")->data;
    for (int i = 0; i < IDS; i++)
        g_assert_cmpint(ids[i], ==, theirs[i]);
    float text[IDS * TEXT_DIM];
    lf_model_encode(demo.model, ids, IDS, text, &error);
    g_assert_no_error(error);
    ref_compare("text", text, ref_f32(demo.results, "text", IDS * TEXT_DIM), IDS * TEXT_DIM,
                TEXT_BOUND);
    demo_close(&demo);
}

/* ---- a stream -------------------------------------------------------------------------------- */

static LfSession *new_session(Demo *demo)
{
    GError *error = NULL;
    LfSessionOptions options = {.attention = LF_ATTENTION_DENSE, .keep_latents = TRUE};
    LfSession *session = lf_session_new(demo->model, &options, &error);
    g_assert_no_error(error);
    lf_session_set_prompt(session, PROMPT, &error);
    g_assert_no_error(error);
    lf_session_set_noise(session, ref_give_noise, &demo->noise);
    return session;
}

static void compare_latents(Demo *demo, int chunk, const float *ours)
{
    for (size_t i = 0; i < G_N_ELEMENTS(recorded_chunks); i++) {
        if (recorded_chunks[i] != chunk)
            continue;
        int64_t count = (int64_t) G_N_ELEMENTS(recorded_chunks) * CHUNK;
        const float *theirs = ref_f32(demo->results, "latents", count) + (int64_t) i * CHUNK;
        char *what = g_strdup_printf("latents of chunk %d", chunk);
        ref_compare(what, ours, theirs, CHUNK, LATENT_BOUND);
        g_free(what);
    }
}

/* Bytes are truncated, so a value close to an integer may become either of two. */
static void compare_bytes(const char *what, const uint8_t *ours, const uint8_t *theirs)
{
    int most = 0, different = 0, count = WIDTH * HEIGHT * 3;
    for (int i = 0; i < count; i++) {
        int difference = ABS(ours[i] - theirs[i]);
        most = MAX(most, difference);
        different += difference > 0;
    }
    g_test_message("%s: %d of %d bytes differ, by at most %d", what, different, count, most);
    g_assert_cmpint(most, <=, 1);
    g_assert_cmpint(different, <=, count / 1000);
}

static const uint8_t *recorded_frame(Demo *demo, size_t index)
{
    const LfFileTensor *frames = lf_tensor_file_find(demo->results, "frames");
    g_assert_nonnull(frames);
    g_assert_cmpint(frames->type, ==, LF_U8);
    g_assert_cmpuint(frames->size, ==, G_N_ELEMENTS(recorded_frames) * WIDTH * HEIGHT * 3);
    return (const uint8_t *) frames->data + index * WIDTH * HEIGHT * 3;
}

static void compare_frames(Demo *demo, int index, const LfChunk *chunk)
{
    for (size_t i = 0; i < G_N_ELEMENTS(recorded_frames); i++) {
        if (recorded_frames[i].chunk != index)
            continue;
        GError *error = NULL;
        uint8_t *pixels = g_malloc(WIDTH * HEIGHT * 3);
        LfPicture picture = {.format = LF_PIXELS_RGB,
                             .width = WIDTH,
                             .height = HEIGHT,
                             .planes = {pixels},
                             .strides = {3 * WIDTH}};
        lf_chunk_read(chunk, recorded_frames[i].frame, &picture, &error);
        g_assert_no_error(error);
        char *what = g_strdup_printf("frame %d of chunk %d", recorded_frames[i].frame, index);
        compare_bytes(what, pixels, recorded_frame(demo, i));
        g_free(what);
        g_free(pixels);
    }
}

static void test_stream(void)
{
    Demo demo;
    demo_open(&demo);
    LfSession *session = new_session(&demo);
    for (int index = 0; index < CHUNKS; index++) {
        GError *error = NULL;
        LfChunk *chunk = lf_session_next(session, &error);
        g_assert_no_error(error);
        int channels, height, width;
        const float *latents = lf_chunk_latents(chunk, &channels, &height, &width);
        g_assert_cmpint(channels * height * width * REF_CHUNK, ==, CHUNK);
        compare_latents(&demo, index, latents);
        compare_frames(&demo, index, chunk);
        lf_chunk_unref(chunk);
    }
    lf_session_free(session);
    demo_close(&demo);
}

/* ---- by `lightforcing replay`, from ids ------------------------------------------------------ */

enum { REPLAYED = 2, REPLAYED_FRAMES = 4 * REF_CHUNK * REPLAYED - 3 };

static void write_input(Demo *demo, const char *path)
{
    GError *error = NULL;
    LfFileTensor ids = *lf_tensor_file_find(demo->results, "ids");
    LfFileTensor noise = {
        .name = "noise",
        .type = LF_F32,
        .n_dims = 6,
        .shape = {REPLAYED, REF_STEPS, REF_CHUNK, REF_CHANNELS, LATENT_HEIGHT, LATENT_WIDTH},
        .data = demo->noise.values,
        .size = (size_t) REPLAYED * REF_STEPS * CHUNK * sizeof(float)};
    LfFileTensor tensors[] = {ids, noise};
    lf_safetensors_write(path, tensors, G_N_ELEMENTS(tensors), &error);
    g_assert_no_error(error);
}

static void compare_replayed(Demo *demo, const char *path)
{
    GError *error = NULL;
    LfTensorFile *out = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    ref_compare("text", ref_f32(out, "text", IDS * TEXT_DIM),
                ref_f32(demo->results, "text", IDS * TEXT_DIM), IDS * TEXT_DIM, TEXT_BOUND);
    const float *latents = ref_f32(out, "latents", REPLAYED * CHUNK);
    for (int chunk = 0; chunk < REPLAYED; chunk++)
        compare_latents(demo, chunk, latents + (int64_t) chunk * CHUNK);
    const LfFileTensor *frames = lf_tensor_file_find(out, "frames");
    g_assert_nonnull(frames);
    g_assert_cmpuint(frames->size, ==, REPLAYED_FRAMES * WIDTH * HEIGHT * 3);
    for (size_t i = 0; i < G_N_ELEMENTS(recorded_frames); i++) {
        int first = recorded_frames[i].chunk == 0 ? 0 : 4 * REF_CHUNK - 3;
        size_t offset = (size_t) (first + recorded_frames[i].frame) * WIDTH * HEIGHT * 3;
        compare_bytes("replayed frame", (const uint8_t *) frames->data + offset,
                      recorded_frame(demo, i));
    }
    lf_tensor_file_unref(out);
}

static void test_replay(void)
{
    Demo demo;
    demo_open(&demo);
    char *directory = ref_directory();
    char *input = g_build_filename(directory, "in.safetensors", NULL);
    char *output = g_build_filename(directory, "out.safetensors", NULL);
    write_input(&demo, input);
    ref_replay(g_getenv("LF_DEMO_MODEL"), input, output, FALSE, TRUE);
    compare_replayed(&demo, output);
    g_free(output);
    g_free(input);
    ref_remove(directory);
    demo_close(&demo);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_nonnull(g_getenv("LF_DEMO_MODEL"));
    if (!has_weights(g_getenv("LF_DEMO_MODEL"))) {
        /* 77: skipped, to meson. */
        g_printerr("data/demo.safetensors is of another demo model: make it again, with the sums "
                   "in demo.c (tests/reference/README.md)\n");
        return 77;
    }
    g_test_add_func("/reference/demo/text", test_text);
    g_test_add_func("/reference/demo/stream", test_stream);
    g_test_add_func("/reference/demo/replay", test_replay);
    return g_test_run();
}
