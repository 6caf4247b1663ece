/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The passes of a chunk. In steady state every chunk's are the same work on the same memory: a
 * backend that can record it replays a few thousand launches as one. While a stream grows, or its
 * prompt changes, every chunk differs; so only what was the same twice in a row is recorded.
 */
#include "session.h"

#include "cancel.h"

/* One pass of the transformer over the chunk; writes its keys and values too. */
static bool forward(LfSession *s, LfTensor velocity, int step, const LfAttend *attend)
{
    return lf_transformer_forward(s->model->transformer, s->be, &s->scratch, velocity, s->x,
                                  &s->modulations[step], &s->text, s->cache, attend, &s->cancelled);
}

/* At each step x0 = x − σ·v(x), then, but for the last, x = (1 − σ')·x0 + σ'·noise. The map, where
 * there is one, lies below what the passes take of the scratch. */
static bool denoise(LfSession *s)
{
    LfAttend attend = s->attend;
    size_t mark = s->scratch.used;
    bool done = true;
    attend.map = lf_session_map(s, &s->scratch, &attend);
    for (int step = 0; step < s->n_steps && (done = forward(s, s->velocity, step, &attend));
         step++) {
        attend.mapped = lf_is_set(attend.map);
        lf_denoise(s->be, s->x, s->x, s->velocity, s->steps[step].sigma);
        if (step + 1 < s->n_steps)
            lf_renoise(s->be, s->x, s->x, lf_tensor_at(s->noise, step + 1),
                       s->steps[step + 1].sigma);
    }
    lf_arena_release(&s->scratch, mark);
    return done;
}

/* Until here the cache holds keys and values of the noisy chunk. This pass always selects for
 * itself: a map made of noise would go into everything that later chunks inherit, to save one
 * selection of five. */
static bool clean(LfSession *s)
{
    return forward(s, LF_NONE, s->n_steps, &s->attend);
}

/* ---- recording ------------------------------------------------------------------------------- */

static LfGraphKey key_of(const LfSession *s)
{
    return (LfGraphKey){.frames = lf_kv_cache_frames(s->cache),
                        .budget = s->attend.budget,
                        .text_rows = s->text.rows,
                        .last_logit = s->text.last_logit};
}

static bool same_key(const LfGraphKey *a, const LfGraphKey *b)
{
    return a->frames == b->frames && a->budget == b->budget && a->text_rows == b->text_rows &&
           a->last_logit == b->last_logit;
}

static LfGraph *record(LfSession *s, bool (*passes)(LfSession *))
{
    s->be->capture_begin(s->be);
    bool done = passes(s);
    LfGraph *graph = s->be->capture_end(s->be);
    if (done)
        return graph;
    s->be->graph_free(s->be, graph);
    return NULL;
}

static bool replay(LfSession *s, LfGraph **graph, bool (*passes)(LfSession *))
{
    if (lf_is_cancelled(&s->cancelled))
        return false;
    if (!*graph && !(*graph = record(s, passes)))
        return passes(s);
    s->be->graph_launch(s->be, *graph);
    return true;
}

void lf_session_forget_graphs(LfSession *s)
{
    LfSessionGraphs *g = &s->graphs;
    if (s->be && s->be->capture_begin) {
        s->be->graph_free(s->be, g->denoise);
        s->be->graph_free(s->be, g->clean);
    }
    *g = (LfSessionGraphs){0};
}

/* An unbounded window moves its memory as it grows, and has no two chunks alike. */
static bool can_replay(LfSession *s)
{
    LfGraphKey key = key_of(s);
    if (!s->be->capture_begin || s->window == 0)
        return false;
    if (same_key(&key, &s->graphs.key))
        return true;
    lf_session_forget_graphs(s);
    s->graphs.key = key;
    return false;
}

bool lf_session_denoise(LfSession *s)
{
    return can_replay(s) ? replay(s, &s->graphs.denoise, denoise) : denoise(s);
}

/* After lf_session_denoise, which has decided: the first chunk with its key has no graph. */
bool lf_session_clean(LfSession *s)
{
    return s->graphs.denoise ? replay(s, &s->graphs.clean, clean) : clean(s);
}
