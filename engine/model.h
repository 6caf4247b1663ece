/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A loaded model, as sessions see it. Thread-safety: immutable once open.
 */
#ifndef LF_ENGINE_MODEL_H
#define LF_ENGINE_MODEL_H

#include "lightforcing.h"
#include "files/model_config.h"
#include "files/tokenizer.h"
#include "models/decoder.h"
#include "models/text_encoder.h"
#include "models/transformer.h"

enum { LF_IDENTITY_SIZE = 32 /* bytes of a SHA-256 */ };

struct LfModel {
    gatomicrefcount refs;
    LfModelConfig *config;
    LfModelInfo info;
    char *name, *description;
    char *backend_name; /* of the backends that sessions open */
    int n_threads;
    LfPrecision precision;
    LfLog log;          /* from the options; of the backends, too */
    LfBackend *backend; /* prepares the weights and frees them */
    GPtrArray *sources; /* LfWeightSource *; some weights are used in place */
    LfTransformer *transformer;
    LfTextEncoder *text_encoder;     /* NULL where !info.can_encode */
    LfTextEncoderDevice text_device; /* never AUTO where there is one */
    LfBackend
        *text_backend; /* has prepared its weights, if it is the CPU beside a device; else NULL */
    size_t text_size;  /* bytes of its weights in the file */
    uint8_t text_identity[LF_IDENTITY_SIZE]; /* equal ones make equal texts of equal ids */
    LfTokenizer *tokenizer;                  /* NULL where !info.can_encode */
    LfDecoder *decoder;                      /* NULL where !info.can_decode */
};

/* A backend like the model's, for one thread of work. */
LfBackend *lf_model_backend(const LfModel *model, GError **error);

/* A backend for the text encoder, for one thread of work. */
LfBackend *lf_model_text_backend(const LfModel *model, GError **error);

/* Fills `info` from model.json alone. */
void lf_model_fill_info(const LfModelConfig *config, LfModelInfo *info);

size_t lf_model_memory(const LfModel *model);

/* The format of the decoder's latents; Wan 2.1's when the model has no decoder. */
LfLatentFormat lf_model_format(const LfModel *model);

#endif
