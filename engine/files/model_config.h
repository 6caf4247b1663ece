/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * model.json: what a model directory holds, and the numbers that it was trained with.
 * What is unknown, out of range or contradictory is an error that names it. Numbers that the
 * tensors' shapes tell may be absent (0 here) and are filled by the functions *_complete.
 */
#ifndef LF_FILES_MODEL_CONFIG_H
#define LF_FILES_MODEL_CONFIG_H

#include "tensor_file.h"

#define LF_MAX_STEPS 16

typedef struct {
    int dim, heads, ffn, layers, freq_dim, text_dim, text_len, channels;
} LfTransformerConfig;

typedef struct {
    int vocab, dim, attention_dim, heads, ffn, layers;
    int buckets, max_distance; /* of the relative position bias; 32, 128 */
} LfTextEncoderConfig;

typedef struct {
    int widths[4]; /* channels of the four stages; from the shapes */
    int channels;  /* of the latents */
} LfDecoderConfig;

typedef struct {
    LfTransformerConfig transformer;
    LfTextEncoderConfig text_encoder;
    LfDecoderConfig decoder; /* type "tiny" */
    struct { /* absolute or relative to the directory; NULL: not part of the model */
        char *transformer, *text_encoder, *tokenizer, *decoder;
    } files;
    struct {
        int width, height, fps_n, fps_d, chunk; /* defaults 832, 480, 16/1, 3 */
    } video;
    struct {
        int steps[LF_MAX_STEPS]; /* of the 1000-step grid, falling; 1000, 750, 500, 250 */
        int n_steps;
        double shift; /* 5 */
    } schedule;
    struct {
        int window;        /* latent frames; 0: unbounded; default 21 */
        int sink;          /* default 0 */
        gboolean relative; /* positions "relative" to the window; default "absolute" */
    } cache;
    struct {
        gboolean given; /* the model has a "sparse" part */
        double target, base;
        int query_block, key_block, keep_frames, keep_sink, keep_near, horizon;
        int tile_rows, tile_cols; /* token_order "4x8": tiles of so many tokens; 0: "raster" */
    } sparse;                     /* defaults 0.88, 0.98, 64, 64, 6, 1, 2, 63, raster */
    char *directory;
} LfModelConfig;

/* `location`: a directory with a model.json, or that file. Nesting is limited, the file at most 1
 * MiB. */
LfModelConfig *lf_model_config_read(const char *location, GError **error);
void lf_model_config_free(LfModelConfig *config);

/* Refuses numbers that contradict each other, also those of different parts: once more after
 * completing. What is 0 is not known yet and passes. */
gboolean lf_model_config_check(const LfModelConfig *config, GError **error);

/* The path of a part's file. Transfer full. */
char *lf_model_config_path(const LfModelConfig *config, const char *file);

/* Fills the numbers that were absent from the tensors' shapes and refuses those that contradict
 * them, naming both. The transformer's heads and text_len are in no shape: heads must be given,
 * text_len is 512 unless it is. */
gboolean lf_transformer_config_complete(LfTransformerConfig *config, LfTensorFile *file,
                                        GError **error);
gboolean lf_text_encoder_config_complete(LfTextEncoderConfig *config, LfTensorFile *file,
                                         GError **error);
gboolean lf_decoder_config_complete(LfDecoderConfig *config, LfTensorFile *file, GError **error);

/* "demo" or "wan-1.3b" without files: for random weights. NULL when there is no such preset. */
LfModelConfig *lf_model_config_preset(const char *name);

#endif
