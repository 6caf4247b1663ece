/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Selection for LANES queries at once. Scores become integers of the same order; the bound above
 * which the wanted number of them lies is found bit by bit, from the highest, in every lane at the
 * same time. Most queries are settled after some ten bits.
 */
#include "scores.h"
#include "simd.h"

#include <limits.h>
#include <string.h>

typedef struct {
    const LfSelect *s;
    float *q;     /* [d, LANES] */
    Ints *keys;   /* [frames·blocks]: scores, then their order */
    Ints *frames; /* [frames]: order of the past frames that compete, then: does it stay (−1)? */
    Ints lanes;   /* −1 where there is a query */
} Work;

INLINE Ints ints_set1(int32_t x)
{
    return (Ints){0} + x;
}

INLINE Ints ints_choose(Ints where, Ints yes, Ints no)
{
    return (where & yes) | (~where & no);
}

/* Integers that compare as the floats do; −0 is first made +0, for the two are equal. INT_MIN is
 * left free: it stands for what may not be chosen. */
INLINE Ints order_of(Vec x)
{
    Ints bits = (Ints) (x + vec_set1(0));
    Ints order = bits ^ ((bits >> 31) & INT_MAX);
    return ints_choose(order == INT_MIN, order + 1, order);
}

/* Of keys [n] those that reach `limit` are the n_keep best and `surplus` more, equal to it. */
typedef struct {
    Ints limit, surplus;
} Best;

static Best find_best(const Work *work, const Ints *keys, int n, int n_keep)
{
    Ints wanted = ints_choose(work->lanes, ints_set1(n_keep), ints_set1(n));
    Ints limit = ints_set1(INT_MIN), reached = ints_set1(n);
    for (int bit = 31; bit >= 0 && ints_mask(reached != wanted); bit--) {
        Ints trial = limit ^ (int32_t) (1u << bit), count = {0};
        for (int i = 0; i < n; i++)
            count -= keys[i] >= trial;
        Ints enough = count >= wanted;
        limit = ints_choose(enough, trial, limit);
        reached = ints_choose(enough, count, reached);
    }
    return (Best){limit, reached - wanted};
}

/* Whether `key` is one of the best. Keys must be asked for from the last to the first: of equal
 * ones the last are those too many. */
INLINE Ints is_best(Best *best, Ints key)
{
    Ints drop = (key == best->limit) & (best->surplus > 0);
    best->surplus += drop;
    return (key >= best->limit) & ~drop;
}

static void score_blocks(const Work *work)
{
    const LfSelect *s = work->s;
    load_queries(work->q, s->q, s->head_dim, s->n_queries, s->head_dim, 1, 1);
    for (int f = 0; f < s->frames; f++) {
        KeyRows keys = {.k = s->k[f], .stride = s->head_dim, .n = s->blocks, .d = s->head_dim};
        keys.next = f + 1 < s->frames ? s->k[f + 1] : NULL;
        score_keys((float *) (work->keys + f * s->blocks), work->q, &keys, 8, 1);
    }
}

static void select_frames(const Work *work)
{
    const LfSelect *s = work->s;
    for (int f = 0; f < s->frames; f++)
        work->frames[f] = ints_set1(-1);
    Ints *compete = work->frames + s->first_free;
    for (int f = 0; f < s->n_free; f++) {
        const Ints *scores = work->keys + (s->first_free + f) * s->blocks;
        Vec sum = vec_set1(0);
        for (int b = 0; b < s->blocks; b++)
            sum += (Vec) scores[b];
        compete[f] = order_of(sum);
    }
    Best best = find_best(work, compete, s->n_free, s->n_keep);
    for (int f = s->n_free - 1; f >= 0; f--)
        compete[f] = is_best(&best, compete[f]);
}

static void select_blocks(const Work *work)
{
    const LfSelect *s = work->s;
    int n = s->frames * s->blocks, left[LANES];
    for (int i = 0; i < n; i++)
        work->keys[i] = ints_choose(work->frames[i / s->blocks], order_of((Vec) work->keys[i]),
                                    ints_set1(INT_MIN));
    Best best = find_best(work, work->keys, n, s->budget);
    for (int lane = 0; lane < LANES; lane++)
        left[lane] = s->budget;
    for (int i = n - 1; i >= 0; i--) {
        unsigned chosen = ints_mask(is_best(&best, work->keys[i]) & work->lanes);
        for (; chosen; chosen &= chosen - 1) {
            int lane = __builtin_ctz(chosen);
            s->table[lane * s->budget + --left[lane]] = i;
        }
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static size_t select_scratch(const LfSelect *s)
{
    return ((size_t) s->head_dim + (size_t) s->frames * (s->blocks + 1)) * sizeof(Vec);
}

static void select_group(const LfSelect *s, void *scratch)
{
    Work work = {.s = s, .q = scratch};
    work.keys = (Ints *) (work.q + s->head_dim * LANES);
    work.frames = work.keys + s->frames * s->blocks;
    for (int lane = 0; lane < LANES; lane++)
        work.lanes[lane] = lane < s->n_queries ? -1 : 0;
    score_blocks(&work);
    select_frames(&work);
    select_blocks(&work);
}

const LfSelectKernel LF_SIMD(lf_select) = {LANES, select_scratch, select_group};
