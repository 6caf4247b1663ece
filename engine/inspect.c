/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inspection of a model directory or a file of tensors. Every part is loaded on the plan backend,
 * which checks the names and shapes of its tensors and reads no weight.
 */
#include "files/family.h"
#include "files/recognise.h"
#include "model.h"
#include "model_parts.h"
#include "part_check.h"

typedef enum { TRANSFORMER, TEXT_ENCODER, DECODER, N_PARTS } Part;

static const char *const part_names[N_PARTS] = {"transformer", "text encoder", "decoder"};
static const LfFileKind kinds[N_PARTS] = {LF_FILE_TRANSFORMER, LF_FILE_TEXT_ENCODER,
                                          LF_FILE_DECODER};

typedef struct {
    LfFound found;
    gpointer data;
} Inspection;

static void tell(const Inspection *i, const char *subject, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
static void tell(const Inspection *i, const char *subject, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    i->found(&(LfFinding){.subject = subject, .description = text}, i->data);
}

static void tell_problem(const Inspection *i, const char *subject, const char *problem)
{
    i->found(&(LfFinding){.subject = subject, .problem = problem}, i->data);
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Each completes the part's dimensions and appends its description to `text`. False and an error when
 * a tensor that tells one is missing or does not fit. */

static bool inspect_transformer(LfModelConfig *config, LfWeightSource *source, GString *text,
                                GError **error)
{
    LfTransformerConfig *c = &config->transformer;
    /* No shape tells the heads: a file by itself may leave them to whatever model.json names it. */
    bool heads_known = c->heads > 0 || config->directory;
    c->heads = heads_known ? c->heads : 1;
    if (!lf_transformer_config_complete(c, source, error))
        return false;
    g_string_append_printf(text, "causal Wan, %d layers of %d, ", c->layers, c->dim);
    if (heads_known)
        g_string_append_printf(text, "%d heads of %d, ", c->heads, c->dim / c->heads);
    g_string_append_printf(text, "ffn %d, text of %d × %d, latents of %d channels, layout %s",
                           c->ffn, c->text_len, c->text_dim, c->channels,
                           lf_weight_source_layout(source));
    const char *copy = lf_weight_source_copy(source);
    if (*copy)
        g_string_append_printf(text, ", copy %s", copy);
    return true;
}

static bool inspect_text_encoder(LfTextEncoderConfig *c, LfWeightSource *source, GString *text,
                                 GError **error)
{
    if (!lf_text_encoder_config_complete(c, source, error))
        return false;
    g_string_append_printf(text, "umT5, %d layers of %d, %d heads, ffn %d, vocabulary of %d",
                           c->layers, c->dim, c->heads, c->ffn, c->vocab);
    return true;
}

static bool inspect_decoder(LfDecoderConfig *c, LfWeightSource *source, GString *text,
                            GError **error)
{
    const LfDecoderClass *class = lf_decoder_class(c->type, source, error);
    if (!class || !class->complete(c, source, error))
        return false;
    g_autofree char *widths = class->describe(c);
    g_string_append_printf(text, "%s, %s, latents of %d channels", class->title, widths,
                           c->channels);
    return true;
}

static bool inspect_source(LfModelConfig *c, Part part, LfWeightSource *source, GString *text,
                           GError **error)
{
    switch (part) {
    case TRANSFORMER:
        return inspect_transformer(c, source, text, error);
    case TEXT_ENCODER:
        return inspect_text_encoder(&c->text_encoder, source, text, error);
    default:
        return inspect_decoder(&c->decoder, source, text, error);
    }
}

static void inspect_part(const Inspection *i, Part part, LfModelConfig *c, LfTensorFile *file)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    const LfSourceOptions options = {.kind = kinds[part],
                                     .copy = part == TRANSFORMER ? c->copy : NULL};
    LfWeightSource *source = lf_weight_source_file(file, &options, &error);
    bool complete = source && inspect_source(c, part, source, text, &error) &&
                    lf_part_check(kinds[part], c, source, &error);
    if (source && lf_weight_source_notice(source))
        g_string_append_printf(text, "; %s", lf_weight_source_notice(source));
    const LfFinding finding = {.subject = part_names[part],
                               .tensors = lf_tensor_file_path(file),
                               .description = text->len > 0 ? text->str : NULL,
                               .problem = complete ? NULL : error->message};
    i->found(&finding, i->data);
    lf_weight_source_free(source);
}

gboolean lf_inspect_file(const char *path, LfFound found, gpointer data, GError **error)
{
    const Inspection i = {found, data};
    LfModelConfig config = {.text_encoder = {.buckets = 32, .max_distance = 128}};
    LfTensorFile *file = lf_tensor_file_open(path, error);
    if (!file)
        return FALSE;
    g_autoptr(LfRecognised) recognised = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
    bool inspected = false;
    for (Part part = 0; part < N_PARTS; part++) {
        g_autoptr(LfRecognised) own = lf_recognise(file, kinds[part], NULL);
        if (own->kind == kinds[part]) {
            inspect_part(&i, part, &config, file);
            inspected = true;
        }
    }
    if (!inspected && recognised->kind == LF_FILE_LORA)
        tell(&i, "LoRA", "matrices that are added to a transformer's");
    else if (!inspected)
        tell_problem(&i, "part", recognised->problem);
    lf_tensor_file_unref(file);
    return TRUE;
}

/* ---- a model --------------------------------------------------------------------------------- */

static void tell_missing(const Inspection *i, const LfModelConfig *c, LfPart part)
{
    g_autofree char *missing = lf_model_part_missing(c, part);
    tell_problem(i, lf_part_name(part), missing);
}

/* Adds the LoRA to another source of the same file: the transformer is checked without LoRAs, so
 * that no weight is read. */
static void inspect_lora(const Inspection *i, const LfModelConfig *c, const char *name,
                         double strength, LfTensorFile *transformer)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = lf_model_config_path(c, name);
    g_autofree char *notice = NULL;
    const LfSourceOptions options = {.kind = LF_FILE_TRANSFORMER, .copy = c->copy};
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    LfWeightSource *source = file ? lf_weight_source_file(transformer, &options, &error) : NULL;
    bool fits = source && lf_weight_source_add_lora(source, file, strength, &notice, &error);
    g_autofree char *text = g_strdup_printf("added to the transformer with strength %g%s%s",
                                            strength, notice ? "; " : "", notice ? notice : "");
    const LfFinding finding = {.subject = "LoRA",
                               .tensors = file ? path : NULL,
                               .description = file ? text : NULL,
                               .problem = fits ? NULL : error->message};
    i->found(&finding, i->data);
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
}

static void inspect_named(const Inspection *i, LfModelConfig *c, Part part, const char *name)
{
    static const LfPart missing[N_PARTS] = {LF_PART_TRANSFORMER, LF_PART_TEXT_ENCODER,
                                            LF_PART_DECODER};
    g_autoptr(GError) error = NULL;
    if (!name) {
        tell_missing(i, c, missing[part]);
        return;
    }
    g_autofree char *path = lf_model_config_path(c, name);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    if (file)
        inspect_part(i, part, c, file);
    else
        tell_problem(i, part_names[part], error->message);
    for (int l = 0; file && part == TRANSFORMER && l < c->n_loras; l++)
        inspect_lora(i, c, c->loras[l].file, c->loras[l].strength, file);
    lf_tensor_file_unref(file);
}

static void inspect_tokenizer(const Inspection *i, const LfModelConfig *c)
{
    g_autoptr(GError) error = NULL;
    if (!c->files.tokenizer) {
        tell_missing(i, c, LF_PART_TOKENIZER);
        return;
    }
    LfTokenizer *tokenizer = lf_model_parts_tokenizer(c, &error);
    if (!tokenizer) {
        tell_problem(i, "tokenizer", error->message);
        return;
    }
    tell(i, "tokenizer", "%s: %s, %d pieces", c->files.tokenizer, lf_tokenizer_format(tokenizer),
         lf_tokenizer_size(tokenizer));
    lf_tokenizer_free(tokenizer);
}

static void inspect_family(const Inspection *i, const LfModelConfig *c)
{
    const LfFamily *f = c->family;
    if (f)
        tell(i, "family", "%s (%s of %s, %s)%s%s", f->title, f->file, f->repository, f->licence,
             f->differs ? ". Note: " : "", f->differs ? f->differs : "");
    else
        tell(i, "family", "none that the path tells: the defaults are Self-Forcing's");
}

static void inspect_numbers(const Inspection *i, const LfModelConfig *c)
{
    g_autofree char *steps = lf_steps_text(&c->schedule.steps);
    g_autofree char *first = lf_steps_text(&c->schedule.first_steps);
    g_autofree char *shift = g_strdup_printf("shift %g", c->schedule.shift);
    tell(i, "video", "%d×%d, %d/%d frames a second, chunks of %d latent frames", c->video.width,
         c->video.height, c->video.fps_n, c->video.fps_d, c->video.chunk);
    tell(i, "schedule", "steps %s%s%s, %s", steps, *first ? "; first chunk " : "", first,
         c->schedule.warp ? shift : "as they are (no warp)");
    tell(i, "cache", "window %d%s, sink %d, positions %s", c->cache.window,
         c->cache.window ? "" : " (unlimited)", c->cache.sink,
         c->cache.relative ? "relative" : "absolute");
    if (c->sparse.tile_rows > 0)
        tell(i, "tokens", "in tiles of %dx%d", c->sparse.tile_rows, c->sparse.tile_cols);
    if (c->sparse.given)
        tell(i, "sparse",
             "target %g, base %g, blocks of %d queries and %d keys, %d frames kept (first "
             "%d, last %d), horizon %d",
             c->sparse.target, c->sparse.base, c->sparse.query_block, c->sparse.key_block,
             c->sparse.keep_frames, c->sparse.keep_sink, c->sparse.keep_near, c->sparse.horizon);
    else
        tell(i, "sparse", "none: attention is dense unless asked for");
}

gboolean lf_inspect_model(const char *location, LfFound found, gpointer data, GError **error)
{
    const Inspection i = {found, data};
    g_autoptr(GError) contradiction = NULL;
    LfModelConfig *c = lf_model_parts(location, NULL, error);
    if (!c)
        return FALSE;
    tell(&i, "model", "%s", c->directory);
    inspect_family(&i, c);
    inspect_named(&i, c, TRANSFORMER, c->files.transformer);
    inspect_named(&i, c, TEXT_ENCODER, c->files.text_encoder);
    inspect_tokenizer(&i, c);
    inspect_named(&i, c, DECODER, c->files.decoder);
    inspect_numbers(&i, c);
    if (!lf_model_config_check(c, &contradiction))
        tell_problem(&i, "model.json", contradiction->message);
    lf_model_config_free(c);
    return TRUE;
}
