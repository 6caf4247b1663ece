/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pixels ↔ latent frames ↔ tokens ↔ blocks. No other file multiplies these.
 */
#ifndef LF_ENGINE_GEOMETRY_H
#define LF_ENGINE_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LF_PIXELS_PER_LATENT = 8,               /* in each direction */
    LF_PATCH = 2,                           /* latents of a token, in each direction … */
    LF_PATCH_LATENTS = LF_PATCH * LF_PATCH, /* … and of each channel */
    LF_FRAMES_PER_LATENT = 4,               /* pixel frames, all but … */
    LF_FRAMES_TRIMMED = 3, /* … the first of the stream, whose decoding starts from nothing */
    LF_SIZE_STEP = LF_PIXELS_PER_LATENT * LF_PATCH, /* widths and heights are multiples of this */
    LF_MAX_BLOCK = 4096                             /* tokens of an attention block */
};

typedef struct {
    int width, height;               /* pixels */
    int latent_width, latent_height; /* latents */
    int cols, rows;                  /* tokens */
    int tile_rows, tile_cols;        /* tokens; 0: no tiles, see lf_token_at */
    int frame_tokens;                /* T */
    int chunk;                       /* c, latent frames */
    int chunk_tokens;                /* N = c·T */
} LfGeometry;

static inline LfGeometry lf_geometry(int width, int height, int chunk)
{
    LfGeometry g = {.width = width, .height = height, .chunk = chunk};
    g.latent_width = width / LF_PIXELS_PER_LATENT;
    g.latent_height = height / LF_PIXELS_PER_LATENT;
    g.cols = g.latent_width / LF_PATCH;
    g.rows = g.latent_height / LF_PATCH;
    g.frame_tokens = g.cols * g.rows;
    g.chunk_tokens = g.chunk * g.frame_tokens;
    return g;
}

/* Tokens have the order of their rows (raster), or, where there are tiles, that of the tiles: these
 * row by row, and in each its tokens row by row. A block of tokens is then compact. */
static inline bool lf_tiles_fit(const LfGeometry *g)
{
    return g->tile_rows == 0 || (g->rows % g->tile_rows == 0 && g->cols % g->tile_cols == 0);
}

static inline int lf_token_at(const LfGeometry *g, int row, int col)
{
    if (g->tile_rows == 0)
        return row * g->cols + col;
    int tile = row / g->tile_rows * (g->cols / g->tile_cols) + col / g->tile_cols;
    int in_tile = row % g->tile_rows * g->tile_cols + col % g->tile_cols;
    return tile * g->tile_rows * g->tile_cols + in_tile;
}

/* Blocks of a frame; the last may be partial. */
static inline int lf_frame_blocks(int frame_tokens, int block)
{
    return (frame_tokens + block - 1) / block;
}

/* Pixel frames of chunk `index`, and of all chunks before it. */
static inline int lf_chunk_frames(int chunk, uint64_t index)
{
    return LF_FRAMES_PER_LATENT * chunk - (index == 0 ? LF_FRAMES_TRIMMED : 0);
}

static inline uint64_t lf_frames_before_chunk(int chunk, uint64_t index)
{
    return index == 0 ? 0 : index * LF_FRAMES_PER_LATENT * (uint64_t) chunk - LF_FRAMES_TRIMMED;
}

#endif
