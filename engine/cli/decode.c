/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Decodes latents of a file with any decoder, as a stream does it: a few latent frames at a time.
 */
#include "cli.h"
#include "progress.h"

#include "engine/files/locate.h"
#include "engine/models/decoder.h"
#include "kernels/arena.h"

#include <inttypes.h>
#include <string.h>

static const CliHelp help = {
    .summary = "Decodes latents to frames with a decoder alone (TAEHV, the VAE of Wan 2.1, "
               "LightVAE), as a\n"
               "stream does it: some latent frames at a time. No frame is decoded twice.\n\n"
               "Input tensor (safetensors or PyTorch; others are left out):\n"
               "  latents  F32 [n, 16, h, w]        normalised, as the transformer makes them\n"
               "Output tensor (safetensors):\n"
               "  frames   F32 [4·n − 3, 3, H, W]   RGB from -1 to 1",
    .description =
        "Examples:\n"
        "  lightforcing decode --decoder Wan2.1_VAE.pth -i latents.safetensors -o "
        "frames.safetensors\n"
        "  lightforcing decode --decoder DIR -i in.pt -o out.safetensors --chunk 1 -b cpu\n\n"
        "Exit status: 0 success, 1 failure (the cause is on stderr), 2 wrong arguments.\n"};

typedef struct {
    CliOptions common; /* backend, precision, threads, chunk, verbose */
    char *decoder, *input, *output;
} Options;

typedef struct {
    const Options *options;
    LfTensorFile *input;
    const LfFileTensor *latents;
    LfBackend *be;
    LfWeightSource *source;
    LfDecoderConfig config;
    LfDecoder *decoder;
    LfGeometry geometry;
    LfArena memory, scratch;
    LfDecoderState state;
    LfTensor z, rgb; /* of one chunk */
    float *pixels;   /* those of rgb, on the host */
    float *frames;
    int64_t n_frames;
} Decoding;

/* ---- files ----------------------------------------------------------------------------------- */

static bool read_latents(Decoding *d, GError **error)
{
    enum { MAX_SIDE = 1024 }; /* latents */
    d->input = lf_tensor_file_open(d->options->input, error);
    if (!d->input)
        return false;
    d->latents = lf_tensor_file_find(d->input, "latents");
    if (!d->latents)
        return lf_fail(error, LF_ERROR_SHAPE, "latents: missing in %s", d->options->input);
    const LfFileTensor *t = d->latents;
    if (t->type != LF_F32 || t->coding || t->n_dims != 4 || t->shape[0] < 1 || t->shape[2] < 1 ||
        t->shape[3] < 1 || t->shape[2] > MAX_SIDE || t->shape[3] > MAX_SIDE) {
        g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
        return lf_fail(
            error, LF_ERROR_SHAPE,
            "latents: F32 [n, channels, h, w] expected, h and w at most %d, %s has %s %s", MAX_SIDE,
            d->options->input, lf_file_tensor_type_name(t), shape);
    }
    return true;
}

/* The file, or the one decoder of a folder. Transfer full. */
static char *find_decoder(const char *location, GError **error)
{
    LfLocated located = {0};
    if (!g_file_test(location, G_FILE_TEST_IS_DIR))
        return g_strdup(location);
    char *found = NULL;
    if (lf_locate(location, 1U << LF_PART_DECODER, &located, error)) {
        found = g_steal_pointer(&located.files[LF_PART_DECODER]);
        if (!found && located.problems[LF_PART_DECODER])
            lf_fail(error, LF_ERROR_SHAPE, "%s", located.problems[LF_PART_DECODER]);
        else if (!found)
            lf_fail(error, LF_ERROR_NOT_FOUND, "%s: no decoder in this folder", location);
    }
    lf_located_clear(&located);
    return found;
}

static bool load(Decoding *d, GError **error)
{
    const LfSourceOptions kind = {.kind = LF_FILE_DECODER};
    g_autofree char *path = find_decoder(d->options->decoder, error);
    LfTensorFile *file = path ? lf_tensor_file_open(path, error) : NULL;
    d->source = file ? lf_weight_source_file(file, &kind, error) : NULL;
    lf_tensor_file_unref(file);
    const LfDecoderClass *class = d->source ? lf_decoder_class("", d->source, error) : NULL;
    if (!class || !class->complete(&d->config, d->source, error))
        return false;
    if (d->latents->shape[1] != d->config.channels)
        return lf_fail(error, LF_ERROR_SHAPE,
                       "latents of %d channels expected by the decoder, %s has %" PRId64,
                       d->config.channels, d->options->input, d->latents->shape[1]);
    LfModelOptions options = cli_model_options(&d->options->common);
    d->be = lf_backend_open(options.backend ? options.backend : "auto", options.n_threads,
                            options.precision, &options.log, error);
    d->decoder = d->be ? class->create(d->be, &d->config, d->source, error) : NULL;
    return d->decoder && lf_weight_source_check_unused(d->source, error);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* What one chunk of `n` latents needs, from the calls that it makes. */
static void plan(const Decoding *d, int64_t n, size_t *memory, size_t *scratch)
{
    const LfDecoderClass *class = d->decoder->class;
    const LfGeometry *g = &d->geometry;
    LfArena state = lf_arena_plan(), calls = lf_arena_plan();
    LfDecoderState past = class->state(d->decoder, g, &state);
    LfTensor z =
        lf_arena_tensor(&state, LF_F32, n, d->config.channels, g->latent_height, g->latent_width);
    LfTensor rgb = lf_arena_tensor(&state, LF_F32, g->format.frames * n, g->height, g->width, 3);
    past.begun = true; /* later chunks have more frames than the first */
    class->forward(d->decoder, lf_backend_plan(d->be), &calls, rgb, z, &past, NULL);
    *memory = state.peak;
    *scratch = calls.peak;
}

static bool reserve(Decoding *d, GError **error)
{
    size_t memory, scratch;
    int64_t n = MIN(d->geometry.chunk, d->latents->shape[0]);
    const LfGeometry *g = &d->geometry;
    int64_t all = g->format.frames * d->latents->shape[0], pixels = (int64_t) g->height * g->width;
    plan(d, n, &memory, &scratch);
    if (!lf_arena_init(&d->memory, d->be, memory, error) ||
        !lf_arena_init(&d->scratch, d->be, scratch, error))
        return false;
    d->state = d->decoder->class->state(d->decoder, g, &d->memory);
    d->z = lf_arena_tensor(&d->memory, LF_F32, n, d->config.channels, g->latent_height,
                           g->latent_width);
    d->rgb = lf_arena_tensor(&d->memory, LF_F32, g->format.frames * n, g->height, g->width, 3);
    lf_decoder_state_reset(d->be, &d->state);
    d->pixels = g_try_malloc(lf_tensor_size(d->rgb));
    d->frames = g_try_malloc_n((gsize) all, (gsize) (3 * pixels) * sizeof(float));
    return (d->pixels && d->frames) ||
           lf_fail(error, LF_ERROR_MEMORY,
                   "out of memory: could not allocate %.1f MB for %" PRId64
                   " frames; decode fewer latents",
                   12e-6 * (double) all * (double) pixels, all);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Frame `index` of the chunk's to the end of all frames: planes, from −1 to 1. */
static void keep_frame(Decoding *d, int64_t index)
{
    int64_t pixels = (int64_t) d->geometry.height * d->geometry.width;
    const float *from = d->pixels + index * pixels * 3;
    float *to = d->frames + d->n_frames++ * pixels * 3;
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++)
            to[c * pixels + i] = CLAMP(2 * from[3 * i + c] - 1, -1, 1);
}

static bool decode_chunk(Decoding *d, int64_t first, int64_t n, GError **error)
{
    const LfLatentFormat *format = &d->geometry.format;
    LfTensor z = lf_tensor_slice(d->z, 0, n), rgb = lf_tensor_slice(d->rgb, 0, format->frames * n);
    size_t size = lf_tensor_size(z), latent = size / (size_t) n;
    g_autofree float *latents = g_malloc(size); /* the file's data may be unaligned */
    memcpy(latents, (const uint8_t *) d->latents->data + (size_t) first * latent, size);
    lf_upload(d->be, z, latents);
    d->decoder->class->forward(d->decoder, d->be, &d->scratch, rgb, z, &d->state, NULL);
    lf_download(d->be, d->pixels, rgb);
    if (!d->be->sync(d->be, error))
        return false;
    for (int64_t i = first == 0 ? format->trimmed : 0; i < rgb.shape[0]; i++)
        keep_frame(d, i);
    return true;
}

static bool decode_all(Decoding *d, GError **error)
{
    int64_t all = d->latents->shape[0], n;
    bool done = true;
    for (int64_t first = 0; first < all && done; first += n) {
        n = MIN(d->z.shape[0], all - first);
        done = decode_chunk(d, first, n, error);
        cli_progress("decoding", "latents", (double) (first + n) / (double) all);
    }
    cli_progress_end();
    return done;
}

static bool decode(Decoding *d, GError **error)
{
    if (!read_latents(d, error) || !load(d, error))
        return false;
    const LfLatentFormat format = d->decoder->class->format;
    int chunk = d->options->common.chunk;
    d->geometry = lf_geometry_of(format, (int) d->latents->shape[3] * format.pixels,
                                 (int) d->latents->shape[2] * format.pixels, chunk ? chunk : 3);
    if (!reserve(d, error) || !decode_all(d, error))
        return false;
    const LfFileTensor frames = {
        .name = "frames",
        .type = LF_F32,
        .n_dims = 4,
        .shape = {d->n_frames, 3, d->geometry.height, d->geometry.width},
        .data = d->frames,
        .size = (size_t) d->n_frames * 3 * (size_t) d->geometry.height *
                (size_t) d->geometry.width * sizeof(float),
    };
    return lf_safetensors_write(d->options->output, &frames, 1, error);
}

static void decoding_clear(Decoding *d)
{
    lf_decoder_free(d->decoder);
    lf_weight_source_free(d->source);
    lf_arena_clear(&d->memory);
    lf_arena_clear(&d->scratch);
    lf_backend_close(d->be);
    lf_tensor_file_unref(d->input);
    g_free(d->pixels);
    g_free(d->frames);
}

/* ---- options --------------------------------------------------------------------------------- */

static int run(const Options *o)
{
    GError *error = NULL;
    Decoding d = {.options = o};
    if (!o->decoder || !o->input || !o->output)
        return cli_misused("decode", "--decoder, --input and --output are needed");
    bool done = decode(&d, &error);
    decoding_clear(&d);
    return done ? CLI_DONE : cli_failed("decode", error);
}

int cli_decode(int argc, char **argv)
{
    Options o = {.common = CLI_OPTIONS_INIT};
    int status;
    const GOptionEntry entries[] = {
        {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &o.decoder,
         "File of the decoder, or a folder with one", "PATH"},
        {"input", 'i', 0, G_OPTION_ARG_FILENAME, &o.input, "File with the latents", "FILE"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &o.output, "File to write the frames to", "FILE"},
        {"chunk", 0, 0, G_OPTION_ARG_INT, &o.common.chunk,
         "Latent frames that are decoded at a time (default: 3); the frames are the same", "N"},
        {"backend", 'b', 0, G_OPTION_ARG_STRING, &o.common.backend,
         "auto (default), cpu, cuda or cuda:1", "NAME"},
        {"precision", 0, 0, G_OPTION_ARG_STRING, &o.common.precision,
         "auto (default), fp32, bf16 or fp8", "NAME"},
        {"threads", 't', 0, G_OPTION_ARG_INT, &o.common.threads,
         "CPU threads (default: 0 = one per core)", "N"},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &o.common.verbose,
         "Print the log of the engine on stderr", NULL},
        {NULL}};
    if (cli_parse(&help, entries, NULL, &argc, &argv, &status) &&
        cli_check(&o.common, "decode", &status))
        status = run(&o);
    cli_options_clear(&o.common);
    g_free(o.decoder);
    g_free(o.input);
    g_free(o.output);
    return status;
}
