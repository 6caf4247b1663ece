/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Attention of up to some dozens of queries, which are the lanes of the vectors, so that nothing is
 * ever reduced across a register and keys and values are read as they lie:
 *
 *   S [key, query] = Σ_c K [key, c] · Q [c, query]       K broadcast, Q transposed once
 *   P = 2^(S − max), down the keys                       scale · log2 e sits in Q
 *   O [c, query] += Σ_key V [key, c] · P [key, query]    V broadcast
 *
 * with the running maximum and sum of online softmax from one run of keys to the next. Bound: the
 * two products, on vector FMA units; registers hold rows × n_vec sums, enough to hide the FMA's
 * latency, with fewer loads than FMAs (but for blocks of 16 queries, one vector: there the loads
 * bound it). Share of a Zen 5 core's peak with AVX-512: dense 86 to 88 %, sparse with blocks of 64
 * and 128 tokens 85 to 87 %, of 32 with 6 blocks kept 82 %, of 16 64 %.
 */
#include "scores.h"
#include "simd.h"

#include <string.h>

#define LOG2E 1.44269504f
#define RUN   128 /* keys whose scores are held at once */

/* One tile of queries. Rows of q, p and o are n_vec vectors wide. */
typedef struct {
    const LfAttend *a;
    float *q; /* [d], scaled */
    float *p; /* [RUN]: scores, then weights */
    float *o; /* [d] */
    Vec largest[MAX_VECS], sum[MAX_VECS], fade[MAX_VECS];
    LfKeys part[RUN]; /* of the run being gathered */
    int n_parts, n, done;
    int first, n_queries; /* of the tile */
} Tile;

/* ---- P = 2^(S − max) ------------------------------------------------------------------------- */

static void add_bias(Tile *tile, int n_vec)
{
    const LfAttend *a = tile->a;
    const float *bias = a->bias + tile->first * a->bias_stride + tile->done;
    Vec columns[LANES];
    for (int v = 0; v < n_vec; v++)
        for (int j = 0; j < tile->n; j += LANES) {
            int width = tile->n - j < LANES ? tile->n - j : LANES;
            load_columns(columns, bias + v * LANES * a->bias_stride + j, a->bias_stride,
                         tile->n_queries - v * LANES, width, vec_set1(LOG2E));
            for (int i = 0; i < width; i++) {
                float *p = tile->p + ((j + i) * n_vec + v) * LANES;
                vec_store(p, vec_load(p) + columns[i]);
            }
        }
}

static void add_last_logit(Tile *tile, int n_vec)
{
    Vec logit = vec_set1(tile->a->last_logit * LOG2E);
    float *p = tile->p + (tile->n - 1) * n_vec * LANES;
    for (int v = 0; v < n_vec; v++)
        vec_store(p + v * LANES, vec_load(p + v * LANES) + logit);
}

/* The running values stay in registers: a store to p might change those in the tile. */
INLINE void weigh(Tile *tile, const int n_vec)
{
    float *p = tile->p;
    Vec largest[MAX_VECS], sum[MAX_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < n_vec; v++)
        largest[v] = tile->largest[v];
    for (int j = 0; j < tile->n; j++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            largest[v] = vec_max(largest[v], vec_load(p + (j * n_vec + v) * LANES));
#pragma GCC unroll 4
    for (int v = 0; v < n_vec; v++) {
        tile->fade[v] = vec_exp2(tile->largest[v] - largest[v]);
        tile->largest[v] = largest[v];
        sum[v] = tile->sum[v] * tile->fade[v];
    }
    for (int j = 0, n = tile->n; j < n; j++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++) {
            float *pv = p + (j * n_vec + v) * LANES;
            Vec weight = vec_exp2(vec_load(pv) - largest[v]);
            vec_store(pv, weight);
            sum[v] += weight;
        }
#pragma GCC unroll 4
    for (int v = 0; v < n_vec; v++)
        tile->sum[v] = sum[v];
}

/* ---- O += V·P -------------------------------------------------------------------------------- */

INLINE void sum_channels(Tile *tile, int c, const int rows, const int n_vec)
{
    int64_t stride = tile->a->key_stride;
    float *o = tile->o + c * n_vec * LANES;
    const float *p = tile->p;
    Vec s[8][MAX_VECS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            s[r][v] = vec_load(o + (r * n_vec + v) * LANES) * tile->fade[v];
    for (int i = 0; i < tile->n_parts; i++) {
        const float *y = tile->part[i].v + c;
        for (int j = 0; j < tile->part[i].n; j++, y += stride, p += n_vec * LANES) {
            Vec x[MAX_VECS];
#pragma GCC unroll 4
            for (int v = 0; v < n_vec; v++)
                x[v] = vec_load(p + v * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
                for (int v = 0; v < n_vec; v++)
                    s[r][v] = vec_fma(vec_set1(y[r]), x[v], s[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vec; v++)
            vec_store(o + (r * n_vec + v) * LANES, s[r][v]);
}

/* ---- one run of keys ------------------------------------------------------------------------- */

INLINE void attend_run_of(Tile *tile, const int rows, const int n_vec)
{
    const LfAttend *a = tile->a;
    float *p = tile->p;
    for (int i = 0; i < tile->n_parts; i++) {
        const LfKeys *part = &tile->part[i];
        KeyRows keys = {.k = part->k, .v = part->v, .n = part->n};
        keys.next = i + 1 < tile->n_parts ? part[1].k : tile->part[0].v;
        keys.stride = a->key_stride;
        keys.d = a->head_dim;
        score_keys(p, tile->q, &keys, rows, n_vec);
        p += part->n * n_vec * LANES;
    }
    if (a->bias)
        add_bias(tile, n_vec);
    if (a->last_logit != 0 && tile->done + tile->n == a->total)
        add_last_logit(tile, n_vec);
    weigh(tile, n_vec);
    int c = 0;
    for (; c + rows <= a->head_dim; c += rows)
        sum_channels(tile, c, rows, n_vec);
    for (; c < a->head_dim; c++)
        sum_channels(tile, c, 1, n_vec);
}

static void attend_run(Tile *tile, int n_vec)
{
    switch (n_vec) {
    case 1:
        attend_run_of(tile, 8, 1);
        break;
#if MAX_VECS == 2
    case 2:
        attend_run_of(tile, 4, 2);
        break;
#else
    case 2:
        attend_run_of(tile, 8, 2);
        break;
    case 3:
        attend_run_of(tile, 8, 3);
        break;
    case 4:
        attend_run_of(tile, 4, 4);
        break;
#endif
    }
    tile->done += tile->n;
    tile->n = tile->n_parts = 0;
}

/* ---- a tile of queries ----------------------------------------------------------------------- */

static void store_outputs(Tile *tile, int n_vec)
{
    const LfAttend *a = tile->a;
    Vec block[LANES];
    for (int v = 0; v < n_vec; v++) {
        Vec share = vec_set1(1) / tile->sum[v];
        for (int c = 0; c < a->head_dim; c += LANES) {
            int width = a->head_dim - c < LANES ? a->head_dim - c : LANES;
            for (int i = 0; i < LANES; i++)
                block[i] = vec_set1(0);
            for (int i = 0; i < width; i++)
                block[i] = vec_load(tile->o + ((c + i) * n_vec + v) * LANES) * share;
            vec_transpose(block);
            for (int i = 0; i < LANES && v * LANES + i < tile->n_queries; i++)
                vec_store_n(a->out + (tile->first + v * LANES + i) * a->out_stride + c, block[i],
                            width);
        }
    }
}

static void attend_tile(Tile *tile)
{
    const LfAttend *a = tile->a;
    int n_vec = (tile->n_queries + LANES - 1) / LANES;
    load_queries(tile->q, a->q + tile->first * a->q_stride, a->q_stride, tile->n_queries,
                 a->head_dim, n_vec, a->scale * LOG2E);
    memset(tile->o, 0, (size_t) a->head_dim * n_vec * sizeof(Vec));
    for (int v = 0; v < n_vec; v++) {
        tile->largest[v] = vec_set1(-1e30f); /* finite: the difference to it must be a number */
        tile->sum[v] = vec_set1(0);
    }
    for (int i = 0; i < a->n_keys; i++) {
        for (int j = 0; j < a->keys[i].n;) {
            int left = a->keys[i].n - j, room = RUN - tile->n, n = left < room ? left : room;
            tile->part[tile->n_parts++] =
                (LfKeys){a->keys[i].k + j * a->key_stride, a->keys[i].v + j * a->key_stride, n};
            tile->n += n;
            j += n;
            if (tile->n == RUN)
                attend_run(tile, n_vec);
        }
    }
    if (tile->n)
        attend_run(tile, n_vec);
    store_outputs(tile, n_vec);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static size_t attend_scratch(const LfAttend *a)
{
    return sizeof(Tile) + (size_t) (2 * a->head_dim + RUN) * MAX_VECS * sizeof(Vec);
}

static void attend(const LfAttend *a, void *scratch)
{
    Tile *tile = scratch;
    tile->a = a;
    tile->q = (float *) (tile + 1);
    tile->o = tile->q + (size_t) a->head_dim * MAX_VECS * LANES;
    tile->p = tile->o + (size_t) a->head_dim * MAX_VECS * LANES;
    for (int i = 0; i < a->n_queries; i += MAX_VECS * LANES) {
        int left = a->n_queries - i;
        tile->first = i;
        tile->n_queries = left < MAX_VECS * LANES ? left : MAX_VECS * LANES;
        tile->n = tile->n_parts = tile->done = 0;
        attend_tile(tile);
    }
}

const LfAttendKernel LF_SIMD(lf_attend) = {MAX_VECS * LANES, attend_scratch, attend};
