/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The layers of a stack, one after the other through two buffers of a device: while one layer
 * computes, the next one travels into the other buffer. What a device cannot hold as a whole can run
 * on it so, at the speed at which weights reach it.
 */
#ifndef LF_FILES_LAYER_STREAM_H
#define LF_FILES_LAYER_STREAM_H

#include "layered.h"

typedef struct LfLayerStream LfLayerStream;

typedef struct {
    LfWeightSource *source;
    GMutex *lock; /* of the source, which other threads may read, too; held while a layer is read */
    const LfBinding *layer;
    size_t n_layer;    /* rows of the table */
    size_t layer_size; /* bytes of the struct that it fills */
    int n_layers;
} LfLayerStreamConfig;

/* Device memory for two layers. The layers compute on `be` and travel on `copier`, another backend
 * of the same device, or `be`. The backends outlive the result. NULL and LF_ERROR_MEMORY. */
LfLayerStream *lf_layer_stream_new(LfBackend *be, LfBackend *copier,
                                   const LfLayerStreamConfig *config, GError **error);

/* The next layer, from the first one on: valid for calls that are queued on `be` until the next call
 * of this function. NULL and an error when its weights cannot be made. */
const void *lf_layer_stream_next(LfLayerStream *stream, GError **error);

/* Waits for both backends. NULL is fine. */
void lf_layer_stream_free(LfLayerStream *stream);

/* Bytes of a device that lf_layer_stream_new takes for weights of this type. */
size_t lf_layer_stream_memory(const LfLayerStreamConfig *config, LfType type);

#endif
