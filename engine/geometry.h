/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pixels ↔ latent frames ↔ tokens ↔ blocks. No other file multiplies these.
 */
#ifndef LF_ENGINE_GEOMETRY_H
#define LF_ENGINE_GEOMETRY_H

#include <stdint.h>

enum {
    LF_PIXELS_PER_LATENT = 8, /* in each direction */
    LF_PATCH = 2,             /* latents of a token, in each direction */
    LF_FRAMES_PER_LATENT = 4, /* pixel frames, all but … */
    LF_FRAMES_TRIMMED = 3,    /* … the first of the stream, whose decoding starts from nothing */
    LF_SIZE_STEP = LF_PIXELS_PER_LATENT * LF_PATCH /* widths and heights are multiples of this */
};

typedef struct {
    int width, height;               /* pixels */
    int latent_width, latent_height; /* latents */
    int cols, rows;                  /* tokens */
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
