/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "window.h"

#include <math.h>

const Geometry demo_geometries[2] = {
    {4, 64, 10, 16, 9, 3, 32, 32},
    {4, 64, 10, 16, 9, 3, 16, 16},
};

const Geometry real_geometries[4] = {
    {2, 16, 32, 48, 1, 1, 64, 64},
    {1, 24, 32, 48, 1, 1, 128, 128},
    {1, 40, 30, 52, 1, 1, 64, 64},
    {2, 12, 30, 52, 1, 1, 128, 128},
};

const Geometry device_geometries[3] = {
    {2, 128, 32, 48, 1, 1, 128, 64},
    {1, 128, 30, 52, 2, 1, 128, 64},
    {1, 128, 32, 48, 1, 3, 128, 64},
};

Geometry random_geometry(void)
{
    static const int head_dims[] = {8, 12, 20, 64, 96, 128};
    Geometry g = {
        .heads = (int) random_size(4),
        .head_dim = head_dims[random_size(G_N_ELEMENTS(head_dims)) - 1],
        .rows = (int) random_size(7),
        .cols = (int) random_size(9),
        .past = (int) random_size(6) - 1,
        .chunk = (int) random_size(3),
    };
    g.query_block = (int) random_size(tokens_of(&g) + 3);
    g.key_block = (int) random_size(tokens_of(&g) + 3);
    return g;
}

float *cache_row(const LfWindow *window, LfTensor cache, int frame, int head, int row)
{
    const int64_t *s = cache.shape;
    int64_t slot = lf_i32(window->slots)[frame];
    return lf_f32(cache) + ((slot * s[1] + head) * s[2] + row) * s[3];
}

int query_block_of(const Geometry *g, int n)
{
    int tokens = tokens_of(g);
    return n / tokens * blocks_of(g, g->query_block) + n % tokens / g->query_block;
}

static LfTensor random_slots(int slots, int frames)
{
    LfTensor all = input(LF_I32, slots);
    let_change(all);
    int32_t *slot = lf_i32(all);
    for (int i = 0; i < slots; i++) {
        int other = (int) random_size(i + 1) - 1;
        slot[i] = slot[other];
        slot[other] = i;
    }
    return lf_tensor_slice(all, 0, frames);
}

static LfTensor random_cache(const Geometry *g, LfTensor slots, int n_slots, int rows, LfType type)
{
    LfTensor cache = input(LF_F32, n_slots, g->heads, rows, g->head_dim);
    let_change(cache);
    for (int slot = 0; slot < n_slots; slot++) {
        bool used = false;
        for (int i = 0; i < frames_of(g); i++)
            used |= lf_i32(slots)[i] == slot;
        LfTensor at = lf_tensor_at(cache, slot);
        for (int64_t i = 0; !used && i < lf_tensor_count(at); i++)
            lf_f32(at)[i] = NAN;
    }
    return hold(cache, type);
}

LfWindow random_window(LfBackend *be, const Geometry *g)
{
    LfType type = activation_of(be);
    int n_slots = frames_of(g) + (int) random_size(3) - 1;
    LfTensor slots = random_slots(n_slots, frames_of(g));
    return (LfWindow){
        .k = random_cache(g, slots, n_slots, tokens_of(g), type),
        .v = random_cache(g, slots, n_slots, tokens_of(g), type),
        .k_pool = random_cache(g, slots, n_slots, blocks_of(g, g->key_block), LF_F32),
        .slots = slots,
        .chunk = g->chunk,
        .key_block = g->key_block,
    };
}
