/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A model as one folder of our own. Everything is written into a folder of another name beside it,
 * which is renamed when it is complete.
 */
#include "files/export.h"
#include "files/tokenizer_file.h"
#include "folder.h"
#include "model_files.h"
#include "model_parts.h"

#include <errno.h>

static const char *const file_names[LF_N_MODEL_FILES] = {
    "text_encoder.safetensors", "transformer.safetensors", "decoder.safetensors"};
static const char tokenizer_name[] = "spiece.model";
static const char config_name[] = "model.json";

/* All files that such a folder may have. */
static const char *const known_files[] = {"text_encoder.safetensors",
                                          "transformer.safetensors",
                                          "decoder.safetensors",
                                          tokenizer_name,
                                          config_name,
                                          NULL};

typedef struct {
    const char *location;
    const LfModelOptions *options;
    LfModelConfig *config;
    LfPrecision precision;
    LfModelFiles files;
    LfExport *exports[LF_N_MODEL_FILES]; /* NULL: no such part */
    GBytes *tokenizer;                   /* NULL: none */
    LfModelFile part;                    /* being written */
    uint64_t done, total;                /* bytes */
} Conversion;

/* ---- reading --------------------------------------------------------------------------------- */

static bool find_precision(Conversion *c, GError **error)
{
    const LfModelOptions *o = c->options;
    c->precision = o->precision;
    if (o->precision != LF_PRECISION_AUTO)
        return true;
    LfBackend *be =
        lf_backend_open(o->backend ? o->backend : "auto", 1, LF_PRECISION_AUTO, &o->log, error);
    if (be)
        c->precision = be->precision;
    lf_backend_close(be);
    return be != NULL;
}

/* A text encoder on the CPU has the CPU's types. */
static LfPrecision precision_of(const Conversion *c, LfModelFile part)
{
    bool beside =
        part == LF_MODEL_TEXT_ENCODER && c->options->text_encoder_device == LF_TEXT_ENCODER_CPU;
    return beside ? LF_PRECISION_FP32 : c->precision;
}

static bool read_tokenizer(Conversion *c, GError **error)
{
    const char *format;
    if (!c->config->files.tokenizer)
        return true;
    g_autofree char *path = lf_model_config_path(c->config, c->config->files.tokenizer);
    LfTokenizer *tokenizer = lf_model_parts_tokenizer(c->config, error); /* checks it */
    if (!tokenizer)
        return false;
    lf_tokenizer_free(tokenizer);
    c->tokenizer = lf_tokenizer_file_read(path, &format, error);
    return c->tokenizer != NULL;
}

/* Opens everything and notes what a model binds. */
static bool read_model(Conversion *c, GError **error)
{
    c->config = lf_model_parts(c->location, c->options, error);
    if (!c->config)
        return false;
    if (!c->config->files.transformer)
        return lf_fail(error, LF_ERROR_CONFIG, "%s: there is no transformer to convert",
                       c->location);
    if (!lf_model_files_open(&c->files, c->config, c->options, error) || !read_tokenizer(c, error))
        return false;
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES; part++)
        if (c->files.sources[part])
            c->exports[part] = lf_export_new(c->files.sources[part], precision_of(c, part));
    if (!lf_model_files_check(&c->files, c->config, error))
        return false;
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES; part++)
        c->total += c->exports[part] ? lf_export_size(c->exports[part]) : 0;
    return true;
}

static void clear(Conversion *c)
{
    for (LfModelFile part = 0; part < LF_N_MODEL_FILES; part++) {
        lf_export_free(c->exports[part]);
        lf_weight_source_free(c->files.sources[part]);
    }
    lf_model_files_clear(&c->files);
    lf_model_config_free(c->config);
    g_clear_pointer(&c->tokenizer, g_bytes_unref);
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool on_written(size_t size, gpointer conversion, GError **error)
{
    Conversion *c = conversion;
    LfProgress progress = c->options->progress;
    c->done += size;
    double share = c->total > 0 ? (double) c->done / (double) c->total : 1;
    if (!progress || progress(lf_model_file_name(c->part), share, c->options->progress_data))
        return true;
    return lf_fail(error, LF_ERROR_CANCELLED, "converting %s was cancelled", c->location);
}

static bool write_bytes(const char *folder, const char *name, const void *bytes, gsize size,
                        GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *path = g_build_filename(folder, name, NULL);
    if (g_file_set_contents_full(path, bytes, (gssize) size, G_FILE_SET_CONTENTS_DURABLE, 0666,
                                 &problem))
        return true;
    return lf_fail(error, LF_ERROR_WRITE, "cannot write %s: %s", path, problem->message);
}

static void set_file(char **file, const char *name)
{
    g_free(*file);
    *file = g_strdup(name);
}

/* The configuration of the new folder. */
static bool write_config(Conversion *c, const char *folder, GError **error)
{
    LfModelConfig *config = c->config;
    set_file(&config->files.transformer, file_names[LF_MODEL_TRANSFORMER]);
    set_file(&config->files.text_encoder,
             c->exports[LF_MODEL_TEXT_ENCODER] ? file_names[LF_MODEL_TEXT_ENCODER] : NULL);
    set_file(&config->files.decoder,
             c->exports[LF_MODEL_DECODER] ? file_names[LF_MODEL_DECODER] : NULL);
    set_file(&config->files.tokenizer, c->tokenizer ? tokenizer_name : NULL);
    g_clear_pointer(&config->copy, g_free);   /* there is one */
    for (int i = 0; i < config->n_loras; i++) /* they are in the weights */
        g_free(config->loras[i].file);
    config->n_loras = 0;
    g_autofree char *text = lf_model_config_text(config);
    return write_bytes(folder, config_name, text, strlen(text), error);
}

static bool write_all(Conversion *c, const char *folder, GError **error)
{
    for (c->part = 0; c->part < LF_N_MODEL_FILES; c->part++) {
        g_autofree char *path = g_build_filename(folder, file_names[c->part], NULL);
        if (c->exports[c->part] &&
            !lf_export_write(c->exports[c->part], path, on_written, c, error))
            return false;
    }
    gsize size = 0;
    const void *bytes = c->tokenizer ? g_bytes_get_data(c->tokenizer, &size) : NULL;
    return (!bytes || write_bytes(folder, tokenizer_name, bytes, size, error)) &&
           write_config(c, folder, error);
}

static bool convert(Conversion *c, const char *folder, bool replace, GError **error)
{
    enum { SMALL = 32 << 20 /* headers, tokenizer, model.json */ };
    if (!lf_folder_check(folder, replace, known_files, error) || !find_precision(c, error) ||
        !read_model(c, error) || !lf_folder_check_space(folder, c->total + SMALL, error))
        return false;
    g_autofree char *temporary = lf_folder_make_temporary(folder, error);
    if (!temporary)
        return false;
    if (write_all(c, temporary, error) && lf_folder_rename(temporary, folder, known_files, error))
        return true;
    lf_folder_remove(temporary, known_files);
    return false;
}

gboolean lf_model_convert(const char *location, const char *folder, gboolean replace,
                          const LfModelOptions *options, GError **error)
{
    static const LfModelOptions defaults;
    Conversion c = {.location = location, .options = options ? options : &defaults};
    bool converted = convert(&c, folder, replace, error);
    clear(&c);
    return converted;
}
