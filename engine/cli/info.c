/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a model or a file holds. Whether anything is missing is found by loading every part on the
 * backend that does nothing: names and shapes are checked, and no weight is read.
 */
#include "cli.h"

#include "engine/model.h"

#include <stdio.h>
#include <string.h>

typedef enum { TRANSFORMER, TEXT_ENCODER, DECODER, N_PARTS } Part;

static const struct {
    const char *name;
    const char *sign; /* a tensor that no other part has */
} parts[N_PARTS] = {{"transformer", "patch_embedding.weight"},
                    {"text encoder", "token_embedding.weight"},
                    {"decoder", "decoder.1.weight"}};

typedef struct {
    gboolean list;      /* every tensor */
    GPtrArray *missing; /* messages */
} Info;

/* ---- one file -------------------------------------------------------------------------------- */

static void print_tensors(const LfTensorFile *file)
{
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
        printf("  %-60s %-7s %-24s %10.3f MB\n", t->name, lf_type_name(t->type), shape,
               (double) t->size / 1e6);
    }
}

/* "transformer.safetensors: safetensors, 209 tensors, 8.06 M numbers, 16.1 MB (BF16)" */
static void print_file(const char *label, const LfTensorFile *file)
{
    double size = 0, numbers = 0;
    gboolean types[LF_N_TYPES] = {FALSE};
    g_autofree char *name = g_path_get_basename(lf_tensor_file_path(file));
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        size += (double) t->size;
        numbers += (double) t->size / (double) lf_type_size(t->type);
        types[t->type] = TRUE;
    }
    printf("%-13s %s: %s, %zu tensors, %.4g M numbers, %.1f MB (", label, name,
           lf_tensor_file_format(file), lf_tensor_file_count(file), numbers / 1e6, size / 1e6);
    const char *separator = "";
    for (int type = 0; type < LF_N_TYPES; type++)
        if (types[type]) {
            printf("%s%s", separator, lf_type_name((LfType) type));
            separator = ", ";
        }
    printf(")\n");
}

static void miss(Info *info, const char *part, const char *message)
{
    g_ptr_array_add(info->missing, g_strdup_printf("%s: %s", part, message));
}

/* ---- what is in it --------------------------------------------------------------------------- */

static gboolean check_transformer(LfTransformerConfig *c, LfTensorFile *file,
                                  LfWeightSource *source, GError **error)
{
    gboolean heads = c->heads > 0; /* no shape tells them, and none depends on them */
    c->heads = heads ? c->heads : 1;
    if (!lf_transformer_config_complete(c, file, error))
        return FALSE;
    printf("%13s causal Wan, %d layers of %d, ", "", c->layers, c->dim);
    if (heads)
        printf("%d heads of %d, ", c->heads, c->dim / c->heads);
    printf("ffn %d, text of %d × %d, latents of %d channels\n", c->ffn, c->text_len, c->text_dim,
           c->channels);
    LfTransformer *t = lf_transformer_new(lf_backend_plan(NULL), c, source, error);
    lf_transformer_free(t);
    return t != NULL;
}

static gboolean check_text_encoder(LfTextEncoderConfig *c, LfTensorFile *file,
                                   LfWeightSource *source, GError **error)
{
    if (!lf_text_encoder_config_complete(c, file, error))
        return FALSE;
    printf("%13s umT5, %d layers of %d, %d heads, ffn %d, vocabulary of %d\n", "", c->layers,
           c->dim, c->heads, c->ffn, c->vocab);
    LfTextEncoder *t = lf_text_encoder_new(lf_backend_plan(NULL), c, source, error);
    lf_text_encoder_free(t);
    return t != NULL;
}

static gboolean check_decoder(LfDecoderConfig *c, LfTensorFile *file, LfWeightSource *source,
                              GError **error)
{
    if (!lf_decoder_config_complete(c, file, error))
        return FALSE;
    printf("%13s TAEHV, %d/%d/%d/%d channels, latents of %d\n", "", c->widths[0], c->widths[1],
           c->widths[2], c->widths[3], c->channels);
    LfDecoderTiny *t = lf_decoder_tiny_new(lf_backend_plan(NULL), c, source, error);
    lf_decoder_tiny_free(t);
    return t != NULL;
}

static void check_part(Info *info, Part part, LfModelConfig *c, LfTensorFile *file)
{
    g_autoptr(GError) error = NULL;
    LfWeightSource *source = lf_weight_source_file(file);
    gboolean whole = part == TRANSFORMER ? check_transformer(&c->transformer, file, source, &error)
                     : part == TEXT_ENCODER
                         ? check_text_encoder(&c->text_encoder, file, source, &error)
                         : check_decoder(&c->decoder, file, source, &error);
    if (!whole)
        miss(info, parts[part].name, error->message);
    lf_weight_source_free(source);
}

/* ---- a file alone ---------------------------------------------------------------------------- */

static gboolean print_lone_file(Info *info, const char *path, GError **error)
{
    LfModelConfig config = {.text_encoder = {.buckets = 32, .max_distance = 128}};
    LfTensorFile *file = lf_tensor_file_open(path, error);
    if (!file)
        return FALSE;
    LfWeightSource *source = lf_weight_source_file(file);
    print_file("file", file);
    for (Part part = 0; part < N_PARTS; part++)
        if (lf_weight_source_has(source, parts[part].sign)) {
            printf("%-13s as a model's %s:\n", "", parts[part].name);
            check_part(info, part, &config, file);
        }
    print_tensors(file);
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
    return TRUE;
}

/* ---- a model --------------------------------------------------------------------------------- */

static void print_part(Info *info, LfModelConfig *c, Part part, const char *name)
{
    g_autoptr(GError) error = NULL;
    if (!name) {
        miss(info, parts[part].name, "model.json names none");
        return;
    }
    g_autofree char *path = lf_model_config_path(c, name);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    if (!file) {
        miss(info, parts[part].name, error->message);
        return;
    }
    print_file(parts[part].name, file);
    check_part(info, part, c, file);
    if (info->list)
        print_tensors(file);
    lf_tensor_file_unref(file);
}

static void print_tokenizer(Info *info, const LfModelConfig *c)
{
    g_autoptr(GError) error = NULL;
    if (!c->files.tokenizer) {
        miss(info, "tokenizer", "model.json names none");
        return;
    }
    g_autofree char *path = lf_model_config_path(c, c->files.tokenizer);
    LfTokenizer *tokenizer = lf_tokenizer_open(path, &error);
    if (!tokenizer) {
        miss(info, "tokenizer", error->message);
        return;
    }
    printf("%-13s %s: SentencePiece, %d pieces\n", "tokenizer", c->files.tokenizer,
           lf_tokenizer_size(tokenizer));
    lf_tokenizer_free(tokenizer);
}

static void print_numbers(const LfModelConfig *c)
{
    printf("%-13s %d×%d, %d/%d frames a second, chunks of %d latent frames\n", "video",
           c->video.width, c->video.height, c->video.fps_n, c->video.fps_d, c->video.chunk);
    printf("%-13s", "schedule");
    for (int i = 0; i < c->schedule.n_steps; i++)
        printf(" %d", c->schedule.steps[i]);
    printf(", shift %g\n", c->schedule.shift);
    printf("%-13s window %d%s, sink %d, positions %s\n", "cache", c->cache.window,
           c->cache.window ? "" : " (unbounded)", c->cache.sink,
           c->cache.relative ? "relative" : "absolute");
    if (c->sparse.tile_rows > 0)
        printf("%-13s in tiles of %dx%d\n", "tokens", c->sparse.tile_rows, c->sparse.tile_cols);
    if (c->sparse.given)
        printf("%-13s target %g, base %g, blocks of %d queries and %d keys, %d frames kept (first "
               "%d, last %d), horizon %d\n",
               "sparse", c->sparse.target, c->sparse.base, c->sparse.query_block,
               c->sparse.key_block, c->sparse.keep_frames, c->sparse.keep_sink, c->sparse.keep_near,
               c->sparse.horizon);
    else
        printf("%-13s none: attention is dense unless asked for\n", "sparse");
}

static gboolean print_model(Info *info, const char *location, GError **error)
{
    g_autoptr(GError) contradiction = NULL;
    LfModelConfig *c = lf_model_config_read(location, error);
    if (!c)
        return FALSE;
    printf("%-13s %s\n", "model", c->directory);
    print_part(info, c, TRANSFORMER, c->files.transformer);
    print_part(info, c, TEXT_ENCODER, c->files.text_encoder);
    print_tokenizer(info, c);
    print_part(info, c, DECODER, c->files.decoder);
    print_numbers(c);
    if (!lf_model_config_check(c, &contradiction))
        miss(info, "model.json", contradiction->message);
    lf_model_config_free(c);
    return TRUE;
}

/* A model without a text encoder or decoder serves some; it is told, and the status says so too. */
static int print_missing(const Info *info)
{
    for (guint i = 0; i < info->missing->len; i++)
        printf("%-13s %s\n", i == 0 ? "missing" : "", (char *) info->missing->pdata[i]);
    if (info->missing->len == 0)
        printf("%-13s nothing\n", "missing");
    return info->missing->len == 0 ? CLI_DONE : CLI_FAILED;
}

static gboolean is_model(const char *location)
{
    g_autofree char *name = g_path_get_basename(location);
    return g_file_test(location, G_FILE_TEST_IS_DIR) || g_str_equal(name, "model.json");
}

static int run(Info *info, const char *location)
{
    GError *error = NULL;
    gboolean shown = is_model(location) ? print_model(info, location, &error)
                                        : print_lone_file(info, location, &error);
    return shown ? print_missing(info) : cli_failed("info", error);
}

int cli_info(int argc, char **argv)
{
    Info info = {0};
    int status;
    const GOptionEntry entries[] = {{"tensors", 't', 0, G_OPTION_ARG_NONE, &info.list,
                                     "List every tensor of a model's files too", NULL},
                                    {NULL}};
    if (!cli_parse(entries, "DIR|FILE",
                   "What a model directory or a file of tensors holds, and what is missing.", 1,
                   &argc, &argv, &status))
        return status;
    if (argc < 2)
        return cli_misused("info", "name a model directory or a file of tensors");
    info.missing = g_ptr_array_new_with_free_func(g_free);
    status = run(&info, argv[1]);
    g_ptr_array_unref(info.missing);
    return status;
}
