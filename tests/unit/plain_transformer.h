/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A reference of the causal transformer, in double and as plain as possible: no cache, no folded
 * weights, no tables. All chunks of a stream go through it at once. A list of frames, which is
 * rolled, says which frames a chunk attends to and at which positions.
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
/* The weights as a file, without the tensor `without` (or NULL). */
LfTensorFile *plain_model_file(const PlainModel *model, const char *without);
void plain_model_write(const PlainModel *model, const char *path, const char *without);

typedef struct {
    LfGeometry geometry;
    int window, sink; /* window 0: all frames */
    bool relative;
    int query_block, key_block, keep_frames, keep_sink, keep_near;

    int n_chunks;
    int budget[PLAIN_MAX_CHUNKS];           /* key blocks; 0: dense */
    double timestep[PLAIN_MAX_CHUNKS];      /* of each chunk */
    const float *latents[PLAIN_MAX_CHUNKS]; /* of each chunk, [c, C, h, w] */
    const float *context;                   /* [rows, E] */
    int context_rows;

    /* 0, or the first chunk with another context. Before it, the keys and values of its past frames
     * are recomputed: a second pass over each past chunk, at timestep 0 and with the new context,
     * in which every frame attends to the whole window of the chunk before. If frames had left that
     * window, the sink keeps the keys and values of the first pass. */
    int recache_at;
    const float *new_context;
    int new_context_rows;
} PlainStream;

/* velocity [c, C, h, w] of the last chunk. Returns the smallest margin of all selections, relative
 * to the scores; infinity when nothing was selected. */
double plain_forward(const PlainModel *model, const PlainStream *stream, double *velocity);

/* The number of frames in a chunk's window. */
int plain_window_frames(const PlainStream *stream, int chunk);

#endif
