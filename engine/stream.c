/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream.h"

#include "growth.h"

/* The model's growth, with target and base moved so that the target is the requested one. */
double lf_stream_sparsity(const LfStream *s, const LfRequest *request, uint64_t scene_index)
{
    const LfStreamConfig *c = &s->config;
    bool sparse = request->attention == LF_ATTENTION_SPARSE ||
                  (request->attention == LF_ATTENTION_AUTO && c->sparse);
    if (!sparse || scene_index == 0)
        return 0;
    double target = request->sparsity > 0 ? request->sparsity : c->target;
    LfGrowth growth = {.target = target,
                       .base = CLAMP(c->base + target - c->target, 0, LF_MAX_SPARSITY),
                       .chunk = c->geometry.chunk,
                       .window = c->window,
                       .horizon = c->horizon};
    return c->uniform ? target : lf_growth_sparsity(&growth, scene_index);
}

/* The stronger of the transition already begun and the one requested: cut > recache > continue.
 * The first chunk of a scene has an empty cache, so there is nothing to treat. */
static void begin_transition(LfStream *s, const LfRequest *request)
{
    if (s->index == s->scene)
        return;
    if (s->prompt_id != request->prompt_id)
        s->transition = MAX(s->transition, request->transition);
    if (s->transition == LF_TRANSITION_CUT)
        s->scene = s->index;
}

LfChunkPlan lf_stream_plan(LfStream *s, const LfRequest *request)
{
    begin_transition(s, request);
    uint64_t scene_index = s->index - s->scene;
    return (LfChunkPlan){.seed = s->seed,
                         .index = s->index,
                         .scene_index = scene_index,
                         .first_frame = s->n_frames,
                         .n_frames = lf_chunk_frames(&s->config.geometry, scene_index),
                         .prompt_id = request->prompt_id,
                         .transition = s->transition,
                         .sparsity = lf_stream_sparsity(s, request, scene_index)};
}

void lf_stream_commit(LfStream *s, const LfChunkPlan *plan)
{
    s->transition = LF_TRANSITION_CONTINUE;
    s->prompt_id = plan->prompt_id;
    s->n_frames += (uint64_t) plan->n_frames;
    s->index++;
}

void lf_stream_restart(LfStream *s, uint64_t seed)
{
    s->transition = LF_TRANSITION_CONTINUE;
    s->seed = seed;
    s->index = s->scene = s->n_frames = 0;
}

uint64_t lf_stream_steady_index(const LfStream *s)
{
    int frames = MAX(s->config.window, s->config.horizon);
    return s->config.window > 0 ? (uint64_t) (frames / s->config.geometry.chunk + 1)
                                : s->index - s->scene;
}
