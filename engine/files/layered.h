/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The weights of a stack of equal layers, named "blocks.0.", "blocks.1." …, and those around them:
 * two structs, each with its table of bindings, the second one once for each layer.
 */
#ifndef LF_FILES_LAYERED_H
#define LF_FILES_LAYERED_H

#include "weights.h"

typedef struct {
    const LfBinding *outer, *layer;
    size_t n_outer, n_layer;       /* rows of the tables */
    size_t outer_size, layer_size; /* bytes of the structs that they fill */
    int n_layers;
} LfLayeredTables;

typedef struct {
    void *outer;  /* the struct that `tables.outer` fills */
    void *layers; /* n_layers structs that `tables.layer` fills */
    LfBackend *be;
    LfLayeredTables tables; /* copies; the names stay the caller's */
    LfArena vectors;        /* for exactly the vectors of all */
} LfLayered;

/* Binds all weights, or returns NULL and an error. Uploads may still be queued: call be->sync
 * before another backend reads the weights. The names in the tables, the backend and the source
 * outlive the result. */
LfLayered *lf_layered_new(LfBackend *be, LfWeightSource *source, const LfLayeredTables *tables,
                          GError **error);
void lf_layered_free(LfLayered *weights); /* NULL is fine */

/* Bytes that the weights hold themselves, vectors included. */
size_t lf_layered_memory(const LfLayered *weights);

#endif
