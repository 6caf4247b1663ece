/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * model.json: the files of a model directory, and the parameters that the model was trained with.
 * An unknown key, a value out of range and a contradiction are errors that name it. Dimensions that
 * the tensors' shapes tell may be absent (0 here) and are filled by the functions *_complete.
 */
#ifndef LF_FILES_MODEL_CONFIG_H
#define LF_FILES_MODEL_CONFIG_H

#include "engine/lightforcing.h"
#include "tensor_file.h"
#include "weight_source.h"

typedef struct {
    int dim, heads, ffn, layers, freq_dim, text_dim, text_len, channels;
} LfTransformerConfig;

typedef struct {
    int vocab, dim, attention_dim, heads, ffn, layers;
    int buckets, max_distance; /* of the relative position bias; 32, 128 */
} LfTextEncoderConfig;

typedef struct {
    char type[16]; /* of a class in models/decoder.h; "": recognised by its tensors */
    int widths[5]; /* channels of the stages, as many as the type has; from the shapes */
    int channels;  /* of the latents */
    char latents
        [16]; /* that a TAEHV was trained on: "normalised" or "raw"; "": by the file's name */
} LfDecoderConfig;

typedef struct {
    LfTransformerConfig transformer;
    LfTextEncoderConfig text_encoder;
    LfDecoderConfig decoder;
    char *copy; /* of the transformer, in a file with several; NULL: see lf_recognise */
    struct LfLoraFile {
        char *file; /* absolute or relative to the directory */
        double strength;
    } * loras; /* of the transformer, in the order in which they are added */
    int n_loras;
    struct { /* absolute or relative to the directory; NULL: not part of the model */
        char *transformer, *text_encoder, *tokenizer, *decoder;
    } files;
    struct { /* why a file that was found is not used as that part; NULL: none was found */
        char *text_encoder, *decoder;
    } problems;
    const struct LfFamily *family; /* that the sampling defaults come from; NULL: from none */
    struct {
        int width, height, fps_n, fps_d, chunk; /* defaults 832, 480, 16/1, 3 */
    } video;
    struct {
        LfSteps steps;       /* 1000, 750, 500, 250 */
        LfSteps first_steps; /* of the first chunk of a scene; n 0: `steps` */
        double shift;        /* 5 */
        bool warp;           /* the lists are shifted (scheduler.h); default true */
    } schedule;
    struct {
        int window;    /* latent frames; 0: unbounded; default 21 */
        int sink;      /* default 0 */
        bool relative; /* positions "relative" to the window; default "absolute" */
    } cache;
    struct {
        bool given; /* model.json has a "sparse" section */
        double target, base;
        int query_block, key_block, keep_frames, keep_sink, keep_near, horizon;
        int tile_rows, tile_cols; /* token_order "4x8": tiles of so many tokens; 0: "raster" */
    } sparse;                     /* defaults 0.88, 0.98, 64, 64, 6, 1, 2, 63, raster */
    char *directory;
} LfModelConfig;

/* Without files, all values the defaults. */
LfModelConfig *lf_model_config_new(void);

/* `location`: a directory with a model.json, or that file, of at most 1 MiB. */
LfModelConfig *lf_model_config_read(const char *location, GError **error);
void lf_model_config_free(LfModelConfig *config);

/* As the text of a model.json that reads as this configuration, whatever its path. Transfer full. */
char *lf_model_config_text(const LfModelConfig *config);

/* Refuses values that contradict each other, also those of different sections. Values of 0 are not
 * known yet and pass: check again after completing. */
bool lf_model_config_check(const LfModelConfig *config, GError **error);

/* The path of a file that the configuration names. Transfer full. */
char *lf_model_config_path(const LfModelConfig *config, const char *file);

/* Fills absent dimensions from the tensors' shapes. A dimension that contradicts its tensor is an
 * error that names both. No shape tells the transformer's heads and text_len: unless they are in
 * model.json, heads are 128 wide, as in all of Wan's models, and text_len is 512. */
bool lf_transformer_config_complete(LfTransformerConfig *config, LfWeightSource *source,
                                    GError **error);
bool lf_text_encoder_config_complete(LfTextEncoderConfig *config, LfWeightSource *source,
                                     GError **error);

/* For one number of a part, as the functions above: sets `value` to dimension `axis` of the tensor
 * `name`, which has n_dims dimensions, or, if it is not 0, checks that it is that. */
bool lf_config_dimension(LfWeightSource *source, const char *part, const char *key, int *value,
                         const char *name, int n_dims, int axis, GError **error);

/* "demo", "wan-1.3b", and this with the VAE ("wan-1.3b-vae") or LightVAE ("wan-1.3b-lightvae") in place
 * of TAEHV; without files: for random weights. NULL when there is no such preset. */
LfModelConfig *lf_model_config_preset(const char *name);

/* The names of all presets, for messages. Transfer full. */
char *lf_model_config_presets(void);

#endif
