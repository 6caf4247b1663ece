/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hierarchical selection of key blocks, frames first: see lf_select_blocks in ops.h, and
 * docs/light-forcing.md.
 */
#include "attend.h"
#include "window.h"

#include <string.h>

/* ---- plain ----------------------------------------------------------------------------------- */

static float dot(const float *a, const float *b, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* stays [n] = whether an entry competes and is one of the n_keep best of those that do. The rank of
 * an entry is the number of competitors that are larger, or equal with a lower index. */
static void keep_best(uint8_t *stays, const uint8_t *competes, const float *scores, int n,
                      int n_keep)
{
    for (int i = 0; i < n; i++) {
        int rank = 0;
        for (int j = 0; j < n; j++)
            rank += competes[j] && (scores[j] > scores[i] || (scores[j] == scores[i] && j < i));
        stays[i] = competes[i] && rank < n_keep;
    }
}

/* Scratch of one query. */
typedef struct {
    float *scores, *frame_scores;       /* [frames·blocks], [frames] */
    uint8_t *competes, *stays, *frames; /* [frames·blocks] twice, [frames] */
} Work;

static size_t select_scratch_c(const LfSelect *s)
{
    size_t n = (size_t) s->frames * s->blocks, f = (size_t) s->frames;
    return (n + f) * sizeof(float) + 2 * n + 2 * f;
}

static void select_frames(const LfSelect *s, const Work *work)
{
    for (int f = 0; f < s->frames; f++) {
        work->frame_scores[f] = 0;
        for (int b = 0; b < s->blocks; b++)
            work->frame_scores[f] += work->scores[f * s->blocks + b];
    }
    uint8_t *all = work->frames + s->frames;
    memset(all, 1, (size_t) s->frames);
    memset(work->frames, 1, (size_t) s->frames);
    keep_best(work->frames + s->first_free, all, work->frame_scores + s->first_free, s->n_free,
              s->n_keep);
}

static void select_one(const LfSelect *s, const Work *work, const float *q, int32_t *table)
{
    int n = s->frames * s->blocks;
    for (int i = 0; i < n; i++)
        work->scores[i] = dot(q, s->k[i / s->blocks] + i % s->blocks * s->head_dim, s->head_dim);
    select_frames(s, work);
    for (int i = 0; i < n; i++)
        work->competes[i] = work->frames[i / s->blocks];
    keep_best(work->stays, work->competes, work->scores, n, s->budget);
    for (int i = 0; i < n; i++)
        if (work->stays[i])
            *table++ = i;
}

static void select_c(const LfSelect *s, void *scratch)
{
    int n = s->frames * s->blocks;
    Work work = {.scores = scratch};
    work.frame_scores = work.scores + n;
    work.competes = (uint8_t *) (work.frame_scores + s->frames);
    work.stays = work.competes + n;
    work.frames = work.stays + n;
    for (int i = 0; i < s->n_queries; i++)
        select_one(s, &work, s->q + i * s->head_dim, s->table + i * s->budget);
}

static const LfSelectKernel lf_select_c = {1, select_scratch_c, select_c};

/* ---- the operation --------------------------------------------------------------------------- */

/* The past frames that compete: those between the sink and the near frames, unless all stay. */
static void set_frames(LfSelect *s, const LfWindow *window, const LfSelection *selection)
{
    s->frames = lf_window_frames(window);
    s->blocks = lf_window_blocks(window);
    int past = lf_window_past(window);
    if (past > selection->keep_frames) {
        s->first_free = selection->keep_sink;
        s->n_free = past - selection->keep_sink - selection->keep_near;
        s->n_keep = selection->keep_frames - selection->keep_sink - selection->keep_near;
    }
}

static void select_blocks(LfBackend *be, LfTensor table, LfTensor q_pool, const LfWindow *window,
                          const LfSelection *selection, const LfSelectKernel *kernel)
{
    int heads = (int) q_pool.shape[0], n = (int) q_pool.shape[1], d = (int) q_pool.shape[2];
    int groups = (n + kernel->group - 1) / kernel->group;
    LfSelect shape = {.head_dim = d, .budget = (int) table.shape[2]};
    set_frames(&shape, window, selection);
    size_t frames = lf_cpu_aligned((size_t) shape.frames * sizeof(float *));

#pragma omp parallel for num_threads(be->n_threads) schedule(dynamic)
    for (int task = 0; task < heads * groups; task++) {
        int head = task / groups, first = task % groups * kernel->group;
        LfSelect s = shape;
        s.n_queries = n - first < kernel->group ? n - first : kernel->group;
        uint8_t *scratch = lf_cpu_scratch(be, lf_cpu_thread(), frames + kernel->scratch(&s));
        if (!scratch)
            continue;
        const float **k = (const float **) scratch;
        for (int f = 0; f < s.frames; f++)
            k[f] = lf_window_rows(window, window->k_pool, f, head);
        s.k = k;
        s.q = lf_f32(q_pool) + ((int64_t) head * n + first) * d;
        s.table = lf_i32(table) + ((int64_t) head * n + first) * s.budget;
        kernel->run(&s, scratch + frames);
    }
}

#define SELECT_BLOCKS(isa)                                                                         \
    static void select_blocks_##isa(LfBackend *be, LfTensor table, LfTensor q_pool,                \
                                    const LfWindow *window, const LfSelection *selection)          \
    {                                                                                              \
        select_blocks(be, table, q_pool, window, selection, &lf_select_##isa);                     \
    }

SELECT_BLOCKS(c)
LF_ON_X86(SELECT_BLOCKS(avx2) SELECT_BLOCKS(avx512))

void lf_cpu_select_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->select_blocks, select_blocks, isa);
}
