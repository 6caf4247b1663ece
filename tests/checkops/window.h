/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Windows of any geometry, for the tests of self attention.
 */
#ifndef LF_TESTS_WINDOW_H
#define LF_TESTS_WINDOW_H

#include "checkops.h"

typedef struct {
    int heads, head_dim;
    int rows, cols;  /* tokens of a frame */
    int past, chunk; /* frames of the window */
    int query_block, key_block;
} Geometry;

static inline int tokens_of(const Geometry *g)
{
    return g->rows * g->cols;
}

static inline int frames_of(const Geometry *g)
{
    return g->past + g->chunk;
}

static inline int rows_of(const Geometry *g)
{
    return g->chunk * tokens_of(g);
}

static inline int blocks_of(const Geometry *g, int block)
{
    return (tokens_of(g) + block - 1) / block;
}

/* Blocks of queries of the chunk, blocks of keys of the window. */
static inline int query_blocks_of(const Geometry *g)
{
    return g->chunk * blocks_of(g, g->query_block);
}

static inline int key_blocks_of(const Geometry *g)
{
    return frames_of(g) * blocks_of(g, g->key_block);
}

/* The demo model's chunk in its full window, with blocks of 32 and of 16 tokens; the frames of
 * 512×768 and of 480×832, cut into 64 and 128, with few heads, channels and frames. */
extern const Geometry demo_geometries[2], real_geometries[4];

/* With the heads of Wan 1.3B: for a device, whose fast kernels want these; the CPU would take too
 * long. */
extern const Geometry device_geometries[3];

/* Small random sizes: odd frames, blocks larger than a frame, other blocks for queries than for
 * keys. */
Geometry random_geometry(void);

/* A cache with a few slots more than the window has frames, in random order. Keys, values and means
 * are random; slots outside of the window are NaN. */
LfWindow random_window(LfBackend *be, const Geometry *g);

/* One row of a cache tensor [S, H, rows, d], for one frame of the window and one head. */
float *cache_row(const LfWindow *window, LfTensor cache, int frame, int head, int row);

/* The block of queries, counted over the chunk, that row n of the chunk belongs to. */
int query_block_of(const Geometry *g, int n);

#endif
