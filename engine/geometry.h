/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pixels ↔ latent frames ↔ tokens ↔ blocks. No other file multiplies these.
 */
#ifndef LF_ENGINE_GEOMETRY_H
#define LF_ENGINE_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LF_PATCH = 2,                           /* width and height of a token, in latents */
    LF_PATCH_LATENTS = LF_PATCH * LF_PATCH, /* latents of a token, in each channel */
    LF_SIZE_STEP = 8 * LF_PATCH, /* widths and heights are multiples of this many pixels */
    LF_MAX_BLOCK = 4096          /* tokens of an attention block */
};

/* How an autoencoder's latents relate to pixels. A decoder class names its own. */
typedef struct {
    int pixels;  /* pixels of a latent, in each direction */
    int frames;  /* pixel frames of a latent frame */
    int trimmed; /* pixel frames that are dropped from the first latent frame of a scene, which
                    stands for frames − trimmed of them: the decoder still emits `frames`, but the
                    first ones come from its empty state */
} LfLatentFormat;

/* Wan 2.1, and every decoder of its latents. */
#define LF_WAN21_FORMAT ((LfLatentFormat){.pixels = 8, .frames = 4, .trimmed = 3})

typedef struct {
    LfLatentFormat format;
    int width, height;               /* pixels */
    int latent_width, latent_height; /* latents */
    int cols, rows;                  /* tokens */
    int tile_rows, tile_cols;        /* tokens; 0: no tiles, see lf_token_at */
    int frame_tokens;                /* T */
    int chunk;                       /* c, latent frames */
    int chunk_tokens;                /* N = c·T */
} LfGeometry;

static inline LfGeometry lf_geometry_of(LfLatentFormat format, int width, int height, int chunk)
{
    LfGeometry g = {.format = format, .width = width, .height = height, .chunk = chunk};
    g.latent_width = width / format.pixels;
    g.latent_height = height / format.pixels;
    g.cols = g.latent_width / LF_PATCH;
    g.rows = g.latent_height / LF_PATCH;
    g.frame_tokens = g.cols * g.rows;
    g.chunk_tokens = g.chunk * g.frame_tokens;
    return g;
}

static inline LfGeometry lf_geometry(int width, int height, int chunk)
{
    return lf_geometry_of(LF_WAN21_FORMAT, width, height, chunk);
}

/* Tokens are numbered row by row (raster). With tiles they are numbered tile by tile, the tiles row
 * by row and the tokens of a tile row by row, so that a block of tokens is compact. */
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

/* Blocks of a frame; the last one may be partial. */
static inline int lf_frame_blocks(int frame_tokens, int block)
{
    return (frame_tokens + block - 1) / block;
}

/* Pixel frames that a decoder emits for a chunk, and those that chunk `index` of a scene has. */
static inline int lf_decoded_frames(const LfGeometry *g)
{
    return g->format.frames * g->chunk;
}

static inline int lf_chunk_frames(const LfGeometry *g, uint64_t index)
{
    return lf_decoded_frames(g) - (index == 0 ? g->format.trimmed : 0);
}

#endif
