/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The causal transformer once more, in double and as straightforwardly as it can be said: no cache,
 * no folding, no tables. All chunks of a stream go through it at once; which frames a chunk may
 * see, and as which positions, is a list that is rolled. For holding the engine against.
 */
#ifndef LF_TESTS_PLAIN_TRANSFORMER_H
#define LF_TESTS_PLAIN_TRANSFORMER_H

#include "engine/files/model_config.h"
#include "engine/geometry.h"

#include <stdbool.h>

#define PLAIN_MAX_CHUNKS 16

/* Random weights under the published names. */
typedef struct PlainModel PlainModel;

PlainModel *plain_model_draw(const LfTransformerConfig *config, LfType type);
void plain_model_free(PlainModel *model);
/* The weights as a file, but for the tensor named `without` (or NULL). */
LfTensorFile *plain_model_file(const PlainModel *model, const char *without);

typedef struct {
    LfGeometry geometry;
    int window, sink; /* window 0: all frames */
    bool relative;
    int query_block, key_block, keep_frames, keep_sink, keep_near;

    int n_chunks;
    int budget[PLAIN_MAX_CHUNKS];           /* key blocks; 0: dense */
    float timestep[PLAIN_MAX_CHUNKS];       /* of each chunk */
    const float *latents[PLAIN_MAX_CHUNKS]; /* of each chunk, [c, C, h, w] */
    const float *context;                   /* [rows, E] */
    int context_rows;

    /* 0, or the chunk from which on there is another context, and before which the keys and values
     * of its past are made anew: a second pass over each of its past chunks, at timestep 0 and with
     * the new context, in which every frame attends to the whole window that the chunk before had.
     * Once frames had left that window the sink is still the first pass's. */
    int anew;
    const float *new_context;
    int new_context_rows;
} PlainStream;

/* velocity [c, C, h, w] of the last chunk. Returns how far the closest decision of all selections
 * was from falling otherwise, relative to the scores; infinity when there was none. */
double plain_forward(const PlainModel *model, const PlainStream *stream, double *velocity);

/* Frames of a chunk's window, by the list. */
int plain_window_frames(const PlainStream *stream, int chunk);

#endif
