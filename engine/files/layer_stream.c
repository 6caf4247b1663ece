/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layer_stream.h"

#include <string.h>

typedef struct {
    LfArena memory;
    void *layer;    /* the struct that is bound */
    LfEvent *there; /* on `copier`: the weights have arrived */
    LfEvent *done;  /* on `be`: the layer has computed */
} Buffer;

struct LfLayerStream {
    LfBackend *be, *copier;
    LfLayerStreamConfig config;
    Buffer buffers[2];
    int next; /* layer */
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* A matrix that the layer multiplies by is converted to the type of the activations. */
static size_t buffer_size(const LfLayerStreamConfig *c, LfType type)
{
    LfArena plan = lf_arena_plan();
    for (size_t i = 0; i < c->n_layer; i++) {
        int64_t shape[LF_MAX_DIMS + 1] = {0};
        memcpy(shape, c->layer[i].shape, sizeof c->layer[i].shape);
        lf_arena_alloc(&plan, c->layer[i].kind == LF_BIND_VECTOR ? LF_F32 : type, shape);
    }
    return plan.used;
}

size_t lf_layer_stream_memory(const LfLayerStreamConfig *config, LfType type)
{
    return 2 * buffer_size(config, type);
}

static bool buffer_init(LfLayerStream *s, Buffer *b, GError **error)
{
    b->layer = g_malloc0(s->config.layer_size);
    if (!lf_arena_init(&b->memory, s->copier, buffer_size(&s->config, s->be->activation_type),
                       error))
        return false;
    b->there = s->copier->event_new(s->copier);
    b->done = s->be->event_new(s->be);
    return (b->there && b->done) ||
           lf_fail(error, LF_ERROR_MEMORY, "out of memory on %s: no event could be created",
                   s->be->description);
}

static void buffer_clear(LfLayerStream *s, Buffer *b)
{
    if (b->layer)
        lf_weights_unbind(s->copier, s->config.layer, s->config.n_layer, b->layer);
    lf_arena_clear(&b->memory);
    s->copier->event_free(s->copier, b->there);
    s->be->event_free(s->be, b->done);
    g_free(b->layer);
}

LfLayerStream *lf_layer_stream_new(LfBackend *be, LfBackend *copier,
                                   const LfLayerStreamConfig *config, GError **error)
{
    LfLayerStream *s = g_new0(LfLayerStream, 1);
    *s = (LfLayerStream){.be = be, .copier = copier, .config = *config};
    if (buffer_init(s, &s->buffers[0], error) && buffer_init(s, &s->buffers[1], error))
        return s;
    lf_layer_stream_free(s);
    return NULL;
}

void lf_layer_stream_free(LfLayerStream *s)
{
    if (!s)
        return;
    s->be->sync(s->be, NULL);
    s->copier->sync(s->copier, NULL);
    for (int i = 0; i < 2; i++)
        buffer_clear(s, &s->buffers[i]);
    g_free(s);
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* Makes the weights of a layer in its buffer, as the backend's `place`. */
static bool fill(LfLayerStream *s, Buffer *b, GError **error)
{
    const LfLayerStreamConfig *c = &s->config;
    char prefix[32];
    g_snprintf(prefix, sizeof prefix, "blocks.%d.", s->next);
    lf_weights_unbind(s->copier, c->layer, c->n_layer, b->layer);
    lf_arena_release(&b->memory, 0);
    s->copier->place = &b->memory;
    g_mutex_lock(c->lock);
    bool bound = lf_weights_bind(s->copier, c->source, prefix, c->layer, c->n_layer, &b->memory,
                                 b->layer, error);
    g_mutex_unlock(c->lock);
    s->copier->place = NULL;
    return bound;
}

/* What was queued since the last call is the layer before, which computes while this one travels. */
const void *lf_layer_stream_next(LfLayerStream *s, GError **error)
{
    Buffer *b = &s->buffers[s->next % 2];
    if (s->next > 0)
        s->be->event_record(s->be, s->buffers[(s->next + 1) % 2].done);
    if (s->next > 1 && !s->be->event_sync(s->be, b->done, error))
        return NULL;
    if (!fill(s, b, error))
        return NULL;
    s->copier->event_record(s->copier, b->there);
    s->be->wait_event(s->be, b->there);
    s->next++;
    return b->layer;
}
