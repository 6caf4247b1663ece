/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "past.h"

static bool allocate(LfPast *past, const int64_t chunk[4], int64_t chunks, GError **error)
{
    LfArena plan = lf_arena_plan();
    lf_arena_tensor(&plan, LF_F32, chunks, chunk[0], chunk[1], chunk[2], chunk[3]);
    if (!lf_arena_init(&past->memory, past->be, plan.peak, error))
        return false;
    past->latents =
        lf_arena_tensor(&past->memory, LF_F32, chunks, chunk[0], chunk[1], chunk[2], chunk[3]);
    return true;
}

bool lf_past_init(LfPast *past, LfBackend *be, const LfGeometry *g, int channels, int window,
                  GError **error)
{
    const int64_t chunk[4] = {g->chunk, channels, g->latent_height, g->latent_width};
    int64_t chunks = ((int64_t) window + g->chunk - 1) / g->chunk + 1;
    *past = (LfPast){.be = be};
    return allocate(past, chunk, MAX(chunks, 1), error);
}

void lf_past_clear(LfPast *past)
{
    lf_arena_clear(&past->memory);
}

bool lf_past_reserve(LfPast *past, uint64_t chunks, GError **error)
{
    LfPast larger = {.be = past->be};
    uint64_t room = (uint64_t) past->latents.shape[0];
    if (chunks <= room)
        return true;
    while (room < chunks)
        room *= 2;
    if (!allocate(&larger, past->latents.shape + 1, (int64_t) room, error))
        return false;
    lf_copy(past->be, lf_tensor_slice(larger.latents, 0, past->latents.shape[0]), past->latents);
    if (!past->be->sync(past->be, error)) {
        lf_past_clear(&larger);
        return false;
    }
    lf_past_clear(past);
    *past = larger;
    return true;
}

LfTensor lf_past_chunk(const LfPast *past, uint64_t index)
{
    return lf_tensor_at(past->latents, (int64_t) (index % (uint64_t) past->latents.shape[0]));
}

void lf_past_keep(LfPast *past, uint64_t index, LfTensor x)
{
    lf_copy(past->be, lf_past_chunk(past, index), x);
}
