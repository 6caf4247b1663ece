/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layered.h"

static void *layer_at(const LfLayered *w, int index)
{
    return (char *) w->layers + (size_t) index * w->layer_size;
}

gboolean lf_layered_bind(LfBackend *be, LfWeightSource *source, const LfLayered *w, GError **error)
{
    size_t size = lf_weights_vector_size(w->outer, w->n_outer) +
                  (size_t) w->n_layers * lf_weights_vector_size(w->layer, w->n_layer);
    if (!lf_arena_init(w->vectors, be, size, error) ||
        !lf_weights_bind(be, source, "", w->outer, w->n_outer, w->vectors, w->object, error))
        return FALSE;
    for (int i = 0; i < w->n_layers; i++) {
        char prefix[32];
        g_snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        if (!lf_weights_bind(be, source, prefix, w->layer, w->n_layer, w->vectors, layer_at(w, i),
                             error))
            return FALSE;
    }
    return be->sync(be, error);
}

void lf_layered_unbind(LfBackend *be, const LfLayered *w)
{
    lf_weights_unbind(be, w->outer, w->n_outer, w->object);
    for (int i = 0; i < w->n_layers; i++)
        lf_weights_unbind(be, w->layer, w->n_layer, layer_at(w, i));
    lf_arena_clear(w->vectors);
}

size_t lf_layered_memory(const LfLayered *w)
{
    size_t size = w->vectors->peak + lf_weights_memory(w->outer, w->n_outer, w->object);
    for (int i = 0; i < w->n_layers; i++)
        size += lf_weights_memory(w->layer, w->n_layer, layer_at(w, i));
    return size;
}
