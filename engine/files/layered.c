/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layered.h"

static void *layer_at(const LfLayered *w, int index)
{
    return (char *) w->layers + (size_t) index * w->tables.layer_size;
}

static bool bind(LfLayered *w, LfWeightSource *source, GError **error)
{
    const LfLayeredTables *t = &w->tables;
    size_t size = lf_weights_vector_size(t->outer, t->n_outer) +
                  (size_t) t->n_layers * lf_weights_vector_size(t->layer, t->n_layer);
    if (!lf_arena_init(&w->vectors, w->be, size, error) ||
        !lf_weights_bind(w->be, source, "", t->outer, t->n_outer, &w->vectors, w->outer, error))
        return false;
    for (int i = 0; i < t->n_layers; i++) {
        char prefix[32];
        g_snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        if (!lf_weights_bind(w->be, source, prefix, t->layer, t->n_layer, &w->vectors,
                             layer_at(w, i), error))
            return false;
    }
    return true;
}

LfLayered *lf_layered_new(LfBackend *be, LfWeightSource *source, const LfLayeredTables *tables,
                          GError **error)
{
    LfLayered *w = g_new0(LfLayered, 1);
    w->be = be;
    w->tables = *tables;
    w->tables.outer = g_memdup2(tables->outer, tables->n_outer * sizeof *tables->outer);
    w->tables.layer = g_memdup2(tables->layer, tables->n_layer * sizeof *tables->layer);
    w->outer = g_malloc0(tables->outer_size);
    w->layers = g_malloc0_n((gsize) tables->n_layers, tables->layer_size);
    if (!bind(w, source, error))
        g_clear_pointer(&w, lf_layered_free);
    return w;
}

void lf_layered_free(LfLayered *w)
{
    if (!w)
        return;
    lf_weights_unbind(w->be, w->tables.outer, w->tables.n_outer, w->outer);
    for (int i = 0; i < w->tables.n_layers; i++)
        lf_weights_unbind(w->be, w->tables.layer, w->tables.n_layer, layer_at(w, i));
    lf_arena_clear(&w->vectors);
    g_free((void *) w->tables.outer);
    g_free((void *) w->tables.layer);
    g_free(w->outer);
    g_free(w->layers);
    g_free(w);
}

size_t lf_layered_memory(const LfLayered *w)
{
    size_t size = w->vectors.peak + lf_weights_memory(w->tables.outer, w->tables.n_outer, w->outer);
    for (int i = 0; i < w->tables.n_layers; i++)
        size += lf_weights_memory(w->tables.layer, w->tables.n_layer, layer_at(w, i));
    return size;
}
