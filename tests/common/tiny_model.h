/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A whole model directory with random weights, made in milliseconds: every part, every tensor, the
 * smallest sizes that still have all the cases (two layers, two heads, sink, sparse attention,
 * frames of several blocks). Its pictures are noise.
 */
#ifndef LF_TESTS_TINY_MODEL_H
#define LF_TESTS_TINY_MODEL_H

#include <glib.h>
#include <stdint.h>

enum {
    LF_TINY_DIM = 48,
    LF_TINY_HEADS = 2,
    LF_TINY_LAYERS = 2,
    LF_TINY_TEXT_DIM = 32,
    LF_TINY_TEXT_LEN = 24,
    LF_TINY_CHANNELS = 4,
    LF_TINY_WIDTH = 64, /* and height; 16 tokens a frame, two blocks */
    LF_TINY_CHUNK = 3,
    LF_TINY_WINDOW = 9,
    LF_TINY_SINK = 1, /* positions relative */
    LF_TINY_STEPS = 2
};

typedef struct {
    uint64_t seed;           /* of the weights */
    const char *without;     /* a part of model.json that is left out, with its file; or NULL */
    int window;              /* latent frames; 0: LF_TINY_WINDOW, −1: unbounded */
    gboolean absolute;       /* positions absolute and no sink */
    const char *token_order; /* "2x2"; NULL: raster */
    int chunk;               /* latent frames; 0: LF_TINY_CHUNK */
    const char *schedule;    /* the section of model.json; NULL: LF_TINY_STEPS steps, shift 5 */
} LfTinyModel;

/* Writes a model into the directory `dir`, which is made when it is not there, or into a fresh
 * temporary one for NULL. `options` may be NULL. Returns the directory, transfer full; failure to
 * write ends the test. */
char *lf_tiny_model_make(const char *dir, const LfTinyModel *options);

/* Deletes the files of a directory, and it; frees `dir`. */
void lf_tiny_model_remove(char *dir);

#endif
