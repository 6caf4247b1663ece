/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Runs the sampler on the noise and the text embedding of a file, which another implementation has
 * recorded, and writes the results for comparison.
 */
#include "cli.h"

#include "engine/files/tensor_file.h"

#include <inttypes.h>
#include <string.h>

static const CliHelp help = {
    .summary =
        "Runs the sampler on recorded noise and text embeddings, for comparison with other\n"
        "implementations.\n\n"
        "Input tensors (safetensors or PyTorch):\n"
        "  context  F32 [rows, text_dim]  output of the text encoder, or\n"
        "  ids      I64 [n]               tokens for the model's text encoder\n"
        "  noise    F32 [chunks, steps, frames, channels, h, w]  initial noise (step 0) and the\n"
        "                                 noise that is added after each step; its shape gives\n"
        "                                 the number of chunks and the size. Where the first "
        "chunk\n"
        "                                 has other steps: as many as the longer list, and chunks\n"
        "                                 of the shorter one leave the rest\n"
        "Output tensors (safetensors):\n"
        "  latents  F32 [chunks·frames, channels, h, w]\n"
        "  sparsity F32 [chunks]          planned fraction of skipped KV blocks\n"
        "  text     F32 [n, text_dim]     output of the text encoder, with ids\n"
        "  frames   U8 [n, H, W, 3]       RGB, with --decode",
    .description =
        "Examples:\n"
        "  lightforcing replay --input in.safetensors --output out.safetensors --decode\n"
        "  lightforcing replay -m DIR -i in.pt -o out.safetensors -a dense -b cpu\n\n"
        "Exit status: 0 success, 1 failure (the cause is on stderr), 2 wrong arguments.\n",
    .attention = "dense, sparse, or auto (default) = sparse if the model has a sparse section"};

typedef struct {
    CliOptions common;
    char *input, *output;
    gboolean decode;
} Options;

typedef struct {
    const Options *options;
    LfModel *model;
    LfSession *session;
    LfTensorFile *input;
    const LfFileTensor *context, *ids, *noise;
    int64_t chunks, steps, chunk_values; /* chunk_values: of the latents of a chunk */
    int width, height;                   /* pixels */
    int64_t n_frames, frame_size;        /* with --decode: frames so far, bytes of each */
    float *latents, *sparsity, *text;
    uint8_t *frames;
} Replay;

static bool out_of_memory(GError **error, double size)
{
    return lf_fail(error, LF_ERROR_MEMORY,
                   "out of memory: could not allocate %.1f MB; replay fewer chunks", size / 1e6);
}

/* ---- input ----------------------------------------------------------------------------------- */

static bool find_tensors(Replay *r, GError **error)
{
    for (size_t i = 0; i < lf_tensor_file_count(r->input); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(r->input, i);
        if (g_str_equal(t->name, "context"))
            r->context = t;
        else if (g_str_equal(t->name, "ids"))
            r->ids = t;
        else if (g_str_equal(t->name, "noise"))
            r->noise = t;
        else
            return lf_fail(error, LF_ERROR_SHAPE,
                           "unexpected tensor %s: the input has context or ids, and noise",
                           t->name);
    }
    if (!r->noise)
        return lf_fail(error, LF_ERROR_SHAPE, "noise: missing in %s", r->options->input);
    if (!r->context == !r->ids)
        return lf_fail(error, LF_ERROR_SHAPE, "either context or ids expected, %s has %s",
                       r->options->input, r->ids ? "both" : "neither");
    return true;
}

static bool check_tensor(const LfFileTensor *t, LfType type, int n_dims, GError **error)
{
    if (t->type == type && t->n_dims == n_dims)
        return true;
    g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
    return lf_fail(error, LF_ERROR_SHAPE, "%s: %s of %d dimensions expected, file has %s %s",
                   t->name, lf_type_name(type), n_dims, lf_type_name(t->type), shape);
}

static bool check_noise(Replay *r, GError **error)
{
    const LfModelInfo info = cli_stream_info(&r->options->common, r->model);
    const int64_t *shape = r->noise->shape;
    int channels = lf_model_channels(r->model), scale = lf_model_latent_scale(r->model);
    int steps = MAX(info.steps.n, info.first_steps.n);
    const int64_t expected[] = {steps, info.chunk, channels};
    if (!check_tensor(r->noise, LF_F32, 6, error))
        return false;
    if (memcmp(shape + 1, expected, sizeof expected) != 0 || shape[0] < 1) {
        g_autofree char *found = lf_shape_text(6, shape);
        return lf_fail(error, LF_ERROR_SHAPE,
                       "noise: [chunks, %d, %d, %d, h, w] expected, file has %s", steps, info.chunk,
                       channels, found);
    }
    if (shape[4] < 1 || shape[4] > INT16_MAX || shape[5] < 1 || shape[5] > INT16_MAX)
        return lf_fail(error, LF_ERROR_SHAPE,
                       "noise: a size of %" PRId64 "×%" PRId64 " latents is not supported",
                       shape[5], shape[4]);
    r->chunks = shape[0];
    r->steps = shape[1];
    r->chunk_values = shape[2] * shape[3] * shape[4] * shape[5];
    r->height = (int) shape[4] * scale;
    r->width = (int) shape[5] * scale;
    return true;
}

static void copy_noise(float *out, int64_t count, uint64_t chunk, int step, gpointer replay)
{
    const Replay *r = replay;
    size_t size = (size_t) count * sizeof *out;
    size_t place = (size_t) chunk * (size_t) r->steps + (size_t) step;
    memcpy(out, (const uint8_t *) r->noise->data + place * size, size);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void *allocate(int64_t count, size_t size, GError **error)
{
    void *memory = g_try_malloc0_n((gsize) MAX(count, 1), size);
    if (!memory)
        out_of_memory(error, (double) count * (double) size);
    return memory;
}

static bool read_ids(const Replay *r, int32_t *ids, GError **error)
{
    for (int64_t i = 0; i < r->ids->shape[0]; i++) {
        int64_t id;
        memcpy(&id, (const uint8_t *) r->ids->data + 8 * i, sizeof id);
        if (id < 0 || id > INT32_MAX)
            return lf_fail(error, LF_ERROR_SHAPE,
                           "ids: %" PRId64 " at position %" PRId64 " is not a token id", id, i);
        ids[i] = (int32_t) id;
    }
    return true;
}

static bool encode_ids(Replay *r, GError **error)
{
    if (!check_tensor(r->ids, LF_I64, 1, error))
        return false;
    int64_t n = r->ids->shape[0];
    int text_dim = lf_model_text_dim(r->model), text_len = lf_model_text_len(r->model);
    if (n < 1 || n > text_len)
        return lf_fail(error, LF_ERROR_SHAPE, "ids: 1 to %d expected, file has %" PRId64, text_len,
                       n);
    g_autofree int32_t *ids = allocate(n, sizeof *ids, error);
    r->text = allocate(n * text_dim, sizeof *r->text, error);
    return ids && r->text && read_ids(r, ids, error) &&
           lf_model_encode(r->model, ids, (int) n, r->text, error) &&
           lf_session_set_context(r->session, r->text, (int) n, text_dim, error);
}

static bool set_context(Replay *r, GError **error)
{
    if (!check_tensor(r->context, LF_F32, 2, error))
        return false;
    const int64_t *shape = r->context->shape;
    int text_dim = lf_model_text_dim(r->model), text_len = lf_model_text_len(r->model);
    if (shape[0] > text_len || shape[1] != text_dim) {
        g_autofree char *found = lf_shape_text(2, shape);
        return lf_fail(error, LF_ERROR_SHAPE, "context: at most [%d, %d] expected, file has %s",
                       text_len, text_dim, found);
    }
    g_autofree float *context = allocate(shape[0] * shape[1], sizeof *context, error);
    if (!context)
        return false;
    memcpy(context, r->context->data, r->context->size); /* the file's data may be unaligned */
    return lf_session_set_context(r->session, context, (int) shape[0], text_dim, error);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool read_frames(Replay *r, const LfChunk *chunk, GError **error)
{
    const LfChunkInfo *info = lf_chunk_info(chunk);
    int64_t n_frames = r->n_frames + info->n_frames;
    uint8_t *frames = g_try_realloc_n(r->frames, (gsize) n_frames, (gsize) r->frame_size);
    if (!frames)
        return out_of_memory(error, (double) n_frames * (double) r->frame_size);
    r->frames = frames;
    for (int i = 0; i < info->n_frames; i++) {
        LfPicture picture = {.format = LF_PIXELS_RGB,
                             .width = r->width,
                             .height = r->height,
                             .planes = {r->frames + (r->n_frames + i) * r->frame_size},
                             .strides = {3 * r->width}};
        if (!lf_chunk_read(chunk, i, &picture, error))
            return false;
    }
    r->n_frames = n_frames;
    return true;
}

static bool run_chunk(Replay *r, int64_t index, GError **error)
{
    int channels, height, width;
    LfChunk *chunk = lf_session_next(r->session, error);
    if (!chunk)
        return false;
    memcpy(r->latents + index * r->chunk_values,
           lf_chunk_latents(chunk, &channels, &height, &width),
           (size_t) r->chunk_values * sizeof *r->latents);
    r->sparsity[index] = (float) lf_chunk_info(chunk)->sparsity;
    bool done = !r->options->decode || read_frames(r, chunk, error);
    lf_chunk_unref(chunk);
    return done;
}

static bool open_session(Replay *r, GError **error)
{
    LfSessionOptions options = cli_session_options(&r->options->common);
    options.width = r->width;
    options.height = r->height;
    options.no_text = TRUE;
    options.keep_latents = TRUE;
    options.no_decoder = !r->options->decode;
    r->session = lf_session_new(r->model, &options, error);
    if (!r->session)
        return false;
    lf_session_set_noise(r->session, copy_noise, r);
    return r->ids ? encode_ids(r, error) : set_context(r, error);
}

static bool allocate_output(Replay *r, GError **error)
{
    r->frame_size = 3 * (int64_t) r->width * r->height;
    r->latents = allocate(r->chunks * r->chunk_values, sizeof *r->latents, error);
    if (r->latents)
        r->sparsity = allocate(r->chunks, sizeof *r->sparsity, error);
    return r->sparsity != NULL;
}

/* Appends a tensor to a list of `n`; nothing without data. */
static void add(LfFileTensor *list, size_t *n, const char *name, LfType type, const void *data,
                int n_dims, const int64_t *shape)
{
    if (!data)
        return;
    LfFileTensor *t = &list[(*n)++];
    *t = (LfFileTensor){.name = name, .type = type, .n_dims = n_dims, .data = data};
    t->size = lf_type_size(type);
    for (int i = 0; i < n_dims; i++) {
        t->shape[i] = shape[i];
        t->size *= (size_t) shape[i];
    }
}

static bool write_output(const Replay *r, GError **error)
{
    LfFileTensor list[4];
    size_t n = 0;
    const int64_t *noise = r->noise->shape;
    add(list, &n, "latents", LF_F32, r->latents, 4,
        (int64_t[]){r->chunks * noise[2], noise[3], noise[4], noise[5]});
    add(list, &n, "sparsity", LF_F32, r->sparsity, 1, &r->chunks);
    add(list, &n, "text", LF_F32, r->text, 2,
        (int64_t[]){r->ids ? r->ids->shape[0] : 0, lf_model_text_dim(r->model)});
    add(list, &n, "frames", LF_U8, r->frames, 4, (int64_t[]){r->n_frames, r->height, r->width, 3});
    return lf_safetensors_write(r->options->output, list, n, error);
}

static bool replay(Replay *r, GError **error)
{
    r->input = lf_tensor_file_open(r->options->input, error);
    if (!r->input || !find_tensors(r, error))
        return false;
    r->model = cli_open_model(&r->options->common, NULL, error);
    if (!r->model || !check_noise(r, error) || !open_session(r, error) ||
        !allocate_output(r, error))
        return false;
    for (int64_t i = 0; i < r->chunks; i++)
        if (!run_chunk(r, i, error))
            return false;
    return write_output(r, error);
}

static void replay_clear(Replay *r)
{
    lf_session_free(r->session);
    lf_model_unref(r->model);
    lf_tensor_file_unref(r->input);
    g_free(r->latents);
    g_free(r->sparsity);
    g_free(r->text);
    g_free(r->frames);
}

/* ---- options --------------------------------------------------------------------------------- */

static int run(const Options *o)
{
    GError *error = NULL;
    Replay r = {.options = o};
    LfAttention attention;
    if (!o->input || !o->output)
        return cli_misused("replay", "--input and --output are needed");
    if (o->common.attention && !lf_attention_from_name(o->common.attention, &attention))
        return cli_misused("replay", "--attention %s: use auto, dense or sparse",
                           o->common.attention);
    bool done = replay(&r, &error);
    replay_clear(&r);
    return done ? CLI_DONE : cli_failed("replay", error);
}

int cli_replay(int argc, char **argv)
{
    Options o = {.common = CLI_OPTIONS_INIT};
    int status;
    const GOptionEntry entries[] = {
        {"input", 'i', 0, G_OPTION_ARG_FILENAME, &o.input, "File with the input tensors", "FILE"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &o.output, "File to write the results to",
         "FILE"},
        {"decode", 'd', 0, G_OPTION_ARG_NONE, &o.decode, "Also decode the latents to frames", NULL},
        {NULL}};
    if (cli_parse(&help, entries, &o.common, &argc, &argv, &status))
        status = run(&o);
    cli_options_clear(&o.common);
    g_free(o.input);
    g_free(o.output);
    return status;
}
