/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "growth.h"

#include <glib.h>
#include <math.h>

static double frames_attended(const LfGrowth *g, double frames)
{
    return g->window > 0 ? MIN(frames, g->window) : frames;
}

double lf_growth_beta(const LfGrowth *g)
{
    double cost = 0, weight = 0;
    for (int frames = 2 * g->chunk; frames <= g->horizon; frames += g->chunk) {
        double attended = frames_attended(g, frames);
        cost += ((1 - g->target) - (1 - g->base)) * attended;
        weight += attended / sqrt(frames);
    }
    return weight > 0 ? cost / weight : 0;
}

double lf_growth_sparsity(const LfGrowth *g, uint64_t index)
{
    uint64_t planned = (uint64_t) (g->horizon / g->chunk);
    if (index == 0 || planned < 2)
        return 0;
    double frames = (double) (MIN(index + 1, planned) * (uint64_t) g->chunk);
    double s = g->base - lf_growth_beta(g) / sqrt(frames);
    return CLAMP(s, 0.0, nextafter(1.0, 0.0));
}

int lf_block_budget(double sparsity, int window_blocks, int candidates)
{
    return CLAMP((int) ((1 - sparsity) * window_blocks), 1, candidates);
}
