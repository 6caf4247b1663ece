/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What one frame shows, from its pixels alone: which background, the objects before it, their
 * colour. Nothing here looks at the prompt.
 */
#ifndef LF_QUALITY_LOOK_H
#define LF_QUALITY_LOOK_H

#include "world.h"

enum { MAX_REGIONS = 6 };

/* Connected pixels, on the torus, that the background and shadows on it do not explain. */
typedef struct {
    int area;                /* pixels */
    double x, y;             /* centroid */
    double reach_x, reach_y; /* farthest pixel from it, in each direction */
    int colour;              /* −1: none of the eight */
} Region;

typedef struct {
    int background;
    Rgb tint; /* how its pixels differ from the drawn background: the median */
    int n_regions;
    Region regions[MAX_REGIONS];              /* the largest first */
    uint8_t label[WORLD_HEIGHT][WORLD_WIDTH]; /* 1 + region; 0: background */
} Look;

/* The background that is nearest to the frame. */
int look_background(const Image *image);

/* The rest of `look`, when the background is known. */
void look_at(const Image *image, int background, Look *look);

#endif
