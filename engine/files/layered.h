/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The weights of a stack of equal layers, named "blocks.0.", "blocks.1." …, and those around them:
 * two tables of bindings, one of them once for each layer.
 */
#ifndef LF_FILES_LAYERED_H
#define LF_FILES_LAYERED_H

#include "weights.h"

typedef struct {
    const LfBinding *outer, *layer;
    size_t n_outer, n_layer; /* rows of the tables */
    void *object;            /* the struct that `outer` fills */
    void *layers;            /* n_layers structs of `layer_size` bytes, that `layer` fills */
    size_t layer_size;
    int n_layers;
    LfArena *vectors; /* made by lf_layered_bind, for exactly the vectors of all */
} LfLayered;

/* All or LF_ERROR; what was bound by then stays, for lf_layered_unbind, which is fine with that. */
gboolean lf_layered_bind(LfBackend *be, LfWeightSource *source, const LfLayered *weights,
                         GError **error);
void lf_layered_unbind(LfBackend *be, const LfLayered *weights);

/* Bytes that the weights hold themselves, vectors included. */
size_t lf_layered_memory(const LfLayered *weights);

#endif
