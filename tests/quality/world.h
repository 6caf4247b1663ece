/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Draws scenes as models/demo/train/render.py does: the same backgrounds, signed distances, shading
 * and motions. The scorer knows the world from this file alone, and is tested on clips that this
 * file draws.
 */
#ifndef LF_QUALITY_WORLD_H
#define LF_QUALITY_WORLD_H

#include "scene.h"

#include <stdint.h>

enum { WORLD_WIDTH = 256, WORLD_HEIGHT = 160 };

typedef struct {
    float c[3]; /* red, green, blue, 0…1 */
} Rgb;

typedef struct {
    Rgb at[WORLD_HEIGHT][WORLD_WIDTH];
} Image;

extern const Rgb world_colours[N_COLOURS];

typedef struct {
    double x, y; /* pixels, on the torus */
    double radius, angle;
} Pose;

/* An object with all that chance decides about it. */
typedef struct {
    Object what;
    double radius, speed, x, y, phase, slope, orbit, angle, gain;
} Actor;

typedef struct {
    int n_actors, background;
    Actor actors[MAX_OBJECTS];
    double gain;
} World;

World world_new(GRand *rng, const Scene *scene);
Pose world_pose(const Actor *actor, double frame);
void world_draw(const World *world, double frame, Image *image);
void world_draw_object(Image *image, int shape, const Rgb *colour, const Pose *pose);

/* Drawn once; lives for ever. */
const Image *world_background(int background);

/* Signed distance to the shape of radius 1 around the origin, v downwards. */
double world_distance(int shape, double u, double v);

/* From a to b the short way round; the sign says which. */
double world_offset(double a, double b, double size);

/* x in 0 … size. */
double world_wrap(double x, double size);

void world_to_bytes(const Image *image, uint8_t *rgb);
void world_from_bytes(Image *image, const uint8_t *rgb);

#endif
