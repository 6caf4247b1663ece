/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The chunk loop on numbers from a file: whatever another implementation drew and computed goes in,
 * and what comes out can be held against it.
 */
#include "cli.h"

#include "engine/geometry.h"
#include "engine/model.h"

#include <inttypes.h>
#include <string.h>

#define SUMMARY                                                                                    \
    "Runs the chunk loop on given numbers.\n\n"                                                    \
    "Input tensors (safetensors or PyTorch):\n"                                                    \
    "  context  F32 [rows, text_dim]  the text encoder's output, or\n"                             \
    "  ids      I64 [n]               tokens for the model's text encoder\n"                       \
    "  noise    F32 [chunks, steps, frames, channels, h, w]  of step 0 the initial noise, of "     \
    "the\n"                                                                                        \
    "                                 others what is drawn for re-noising; gives the size\n"       \
    "Output tensors:\n"                                                                            \
    "  latents  F32 [chunks·frames, channels, h, w]\n"                                            \
    "  sparsity F32 [chunks]          planned shares of skipped key blocks\n"                      \
    "  text     F32 [n, text_dim]     what the text encoder gave, for ids\n"                       \
    "  frames   U8 [n, H, W, 3]       with --decode"

typedef struct {
    char *model, *input, *output, *backend, *precision, *attention;
    int threads;
    gboolean decode;
} Options;

typedef struct {
    const Options *options;
    LfAttention attention;
    LfModel *model;
    LfSession *session;
    LfTensorFile *input;
    const LfFileTensor *context, *ids, *noise;
    int64_t chunks, steps, chunk_values; /* numbers of one chunk's latents */
    int width, height;                   /* pixels */
    int64_t n_frames, frame_size;        /* of --decode */
    float *latents, *sparsity, *text;
    uint8_t *frames;
} Replay;

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, LF_ERROR, LF_ERROR_SHAPE, message);
    return FALSE;
}

/* ---- input ----------------------------------------------------------------------------------- */

static gboolean find_tensors(Replay *r, GError **error)
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
            return refuse(error, "%s: input takes context, ids and noise only", t->name);
    }
    if (!r->noise)
        return refuse(error, "noise: missing in %s", r->options->input);
    if (!r->context == !r->ids)
        return refuse(error, "either context or ids wanted, %s has %s", r->options->input,
                      r->ids ? "both" : "neither");
    return TRUE;
}

static gboolean check_tensor(const LfFileTensor *t, LfType type, int n_dims, GError **error)
{
    if (t->type == type && t->n_dims == n_dims)
        return TRUE;
    g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
    return refuse(error, "%s: %s of %d dimensions wanted, file has %s %s", t->name,
                  lf_type_name(type), n_dims, lf_type_name(t->type), shape);
}

static gboolean check_noise(Replay *r, GError **error)
{
    const LfModelConfig *c = r->model->config;
    const int64_t *shape = r->noise->shape;
    const int64_t wanted[] = {c->schedule.n_steps, c->video.chunk, c->transformer.channels};
    if (!check_tensor(r->noise, LF_F32, 6, error))
        return FALSE;
    if (memcmp(shape + 1, wanted, sizeof wanted) != 0 || shape[0] < 1) {
        g_autofree char *found = lf_shape_text(6, shape);
        return refuse(error, "noise: [chunks, %d, %d, %d, h, w] wanted, file has %s",
                      c->schedule.n_steps, c->video.chunk, c->transformer.channels, found);
    }
    if (shape[4] < 1 || shape[4] > INT16_MAX || shape[5] < 1 || shape[5] > INT16_MAX)
        return refuse(error, "noise: %" PRId64 "×%" PRId64 " latents make no picture", shape[5],
                      shape[4]);
    r->chunks = shape[0];
    r->steps = shape[1];
    r->chunk_values = shape[2] * shape[3] * shape[4] * shape[5];
    r->height = (int) shape[4] * LF_PIXELS_PER_LATENT;
    r->width = (int) shape[5] * LF_PIXELS_PER_LATENT;
    return TRUE;
}

static void give_noise(float *out, int64_t count, uint64_t chunk, int step, gpointer replay)
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
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY, "no %.1f MB of memory: replay fewer chunks",
                    (double) count * (double) size / 1e6);
    return memory;
}

static gboolean read_ids(const Replay *r, int32_t *ids, GError **error)
{
    for (int64_t i = 0; i < r->ids->shape[0]; i++) {
        int64_t id;
        memcpy(&id, (const uint8_t *) r->ids->data + 8 * i, sizeof id);
        if (id < 0 || id > INT32_MAX)
            return refuse(error, "ids: %" PRId64 " at %" PRId64 " is no token", id, i);
        ids[i] = (int32_t) id;
    }
    return TRUE;
}

static gboolean encode_ids(Replay *r, GError **error)
{
    if (!check_tensor(r->ids, LF_I64, 1, error))
        return FALSE;
    int64_t n = r->ids->shape[0];
    int text_dim = lf_model_text_dim(r->model), text_len = lf_model_text_len(r->model);
    if (n < 1 || n > text_len)
        return refuse(error, "ids: 1 to %d wanted, file has %" PRId64, text_len, n);
    g_autofree int32_t *ids = allocate(n, sizeof *ids, error);
    r->text = allocate(n * text_dim, sizeof *r->text, error);
    return ids && r->text && read_ids(r, ids, error) &&
           lf_model_encode(r->model, ids, (int) n, r->text, error) &&
           lf_session_set_context(r->session, r->text, (int) n, text_dim, error);
}

static gboolean give_context(Replay *r, GError **error)
{
    if (!check_tensor(r->context, LF_F32, 2, error))
        return FALSE;
    const int64_t *shape = r->context->shape;
    int text_dim = lf_model_text_dim(r->model), text_len = lf_model_text_len(r->model);
    if (shape[0] > text_len || shape[1] != text_dim) {
        g_autofree char *found = lf_shape_text(2, shape);
        return refuse(error, "context: at most [%d, %d] wanted, file has %s", text_len, text_dim,
                      found);
    }
    g_autofree float *context = allocate(shape[0] * shape[1], sizeof *context, error);
    if (!context)
        return FALSE;
    memcpy(context, r->context->data, r->context->size); /* the file's need not be aligned */
    return lf_session_set_context(r->session, context, (int) shape[0], text_dim, error);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static gboolean read_frames(Replay *r, const LfChunk *chunk, GError **error)
{
    const LfChunkInfo *info = lf_chunk_info(chunk);
    for (int i = 0; i < info->n_frames; i++) {
        int64_t frame = (int64_t) info->first_frame + i;
        LfPicture picture = {.format = LF_PIXELS_RGB,
                             .width = r->width,
                             .height = r->height,
                             .planes = {r->frames + frame * r->frame_size},
                             .strides = {3 * r->width}};
        if (!lf_chunk_read(chunk, i, &picture, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean run_chunk(Replay *r, int64_t index, GError **error)
{
    int channels, height, width;
    LfChunk *chunk = lf_session_next(r->session, error);
    if (!chunk)
        return FALSE;
    memcpy(r->latents + index * r->chunk_values,
           lf_chunk_latents(chunk, &channels, &height, &width),
           (size_t) r->chunk_values * sizeof *r->latents);
    r->sparsity[index] = (float) lf_chunk_info(chunk)->sparsity;
    gboolean done = !r->frames || read_frames(r, chunk, error);
    lf_chunk_unref(chunk);
    return done;
}

static gboolean open_session(Replay *r, GError **error)
{
    LfSessionOptions options = {.width = r->width,
                                .height = r->height,
                                .attention = r->attention,
                                .no_text = TRUE,
                                .no_decoder = !r->options->decode};
    r->session = lf_session_new(r->model, &options, error);
    if (!r->session)
        return FALSE;
    lf_session_set_noise(r->session, give_noise, r);
    return r->ids ? encode_ids(r, error) : give_context(r, error);
}

static gboolean allocate_output(Replay *r, GError **error)
{
    int chunk = r->model->config->video.chunk;
    r->n_frames = (int64_t) lf_frames_before_chunk(chunk, (uint64_t) r->chunks);
    r->frame_size = 3 * (int64_t) r->width * r->height;
    r->latents = allocate(r->chunks * r->chunk_values, sizeof *r->latents, error);
    if (!r->latents)
        return FALSE;
    r->sparsity = allocate(r->chunks, sizeof *r->sparsity, error);
    if (r->sparsity && r->options->decode)
        r->frames = allocate(r->n_frames * r->frame_size, 1, error);
    return r->sparsity && (r->frames || !r->options->decode);
}

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

static gboolean write_output(const Replay *r, GError **error)
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

static gboolean replay(Replay *r, GError **error)
{
    LfModelOptions options = {.backend = r->options->backend, .n_threads = r->options->threads};
    const char *precision = r->options->precision ? r->options->precision : "auto";
    cli_precision(precision, &options.precision);
    r->input = lf_tensor_file_open(r->options->input, error);
    if (!r->input || !find_tensors(r, error))
        return FALSE;
    r->model = cli_open_model(r->options->model, &options, error);
    if (!r->model || !check_noise(r, error) || !open_session(r, error) ||
        !allocate_output(r, error))
        return FALSE;
    for (int64_t i = 0; i < r->chunks; i++)
        if (!run_chunk(r, i, error))
            return FALSE;
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
    if (!o->input || !o->output)
        return cli_misused("replay", "--input and --output are needed");
    if (o->attention && !cli_attention(o->attention, &r.attention))
        return cli_misused("replay", "--attention %s: use auto, dense or sparse", o->attention);
    LfPrecision precision;
    if (o->precision && !cli_precision(o->precision, &precision))
        return cli_misused("replay", "--precision %s: use auto, fp32, bf16 or fp8", o->precision);
    gboolean done = replay(&r, &error);
    replay_clear(&r);
    return done ? CLI_DONE : cli_failed("replay", error);
}

int cli_replay(int argc, char **argv)
{
    Options o = {0};
    int status;
    const GOptionEntry entries[] = {
        {"model", 'm', 0, G_OPTION_ARG_FILENAME, &o.model, "Model directory", "DIR"},
        {"input", 'i', 0, G_OPTION_ARG_FILENAME, &o.input, "Numbers to run on", "FILE"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &o.output, "Where results go (safetensors)",
         "FILE"},
        {"backend", 'b', 0, G_OPTION_ARG_STRING, &o.backend, "auto (default), cpu, cuda or cuda:1",
         "NAME"},
        {"threads", 't', 0, G_OPTION_ARG_INT, &o.threads, "CPU threads; 0: one a core", "N"},
        {"precision", 'p', 0, G_OPTION_ARG_STRING, &o.precision,
         "auto (default), fp32, bf16 or fp8", "NAME"},
        {"attention", 'a', 0, G_OPTION_ARG_STRING, &o.attention,
         "auto (default: sparse where the model has numbers for it), dense or sparse", "KIND"},
        {"decode", 'd', 0, G_OPTION_ARG_NONE, &o.decode, "Decode to pictures too", NULL},
        {NULL}};
    if (cli_parse(entries, NULL, SUMMARY, 0, &argc, &argv, &status))
        status = run(&o);
    g_free(o.model);
    g_free(o.input);
    g_free(o.output);
    g_free(o.backend);
    g_free(o.precision);
    g_free(o.attention);
    return status;
}
