/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What can happen in the demo model's world, and English sentences for it. The vocabulary is that
 * of models/demo/train/scenes.py; the sentences are drawn here, from seeds of our own, so the model
 * has not been trained on them but by chance.
 */
#ifndef LF_QUALITY_SCENE_H
#define LF_QUALITY_SCENE_H

#include <glib.h>

typedef enum { CIRCLE, SQUARE, TRIANGLE, STAR, RING, HEART, N_SHAPES } Shape;
typedef enum { RED, ORANGE, YELLOW, GREEN, BLUE, PURPLE, PINK, WHITE, N_COLOURS } Colour;
typedef enum { SMALL, MEDIUM, LARGE, N_SIZES } Size;
typedef enum { LEFT, RIGHT, UP, DOWN, BOUNCE, ORBIT, SPIN, PULSE, STILL, N_MOTIONS } Motion;
typedef enum { SLOW, NORMAL, FAST, N_SPEEDS } Speed;
typedef enum {
    ON_BLACK,
    ON_WHITE,
    ON_GRAY,
    ON_NAVY,
    ON_SKY,
    ON_CREAM,
    ON_FOREST,
    ON_MAROON,
    SUNSET,
    OCEAN,
    DAWN,
    NIGHT,
    MEADOW,
    CHECKER,
    N_BACKGROUNDS
} Background;

enum { MAX_OBJECTS = 2 };

/* Values of the enumerations above. */
typedef struct {
    int shape, colour, size, motion, speed;
} Object;

typedef struct {
    int n_objects;
    Object objects[MAX_OBJECTS];
    int background;
} Scene;

/* "none" for −1, which stands for what could not be told. */
const char *scene_shape_name(int shape);
const char *scene_colour_name(int colour);
const char *scene_motion_name(int motion);
const char *scene_background_name(int background);

/* Deals scenes so that every value of every attribute comes about equally often. */
typedef struct SceneDealer SceneDealer;
SceneDealer *scene_dealer_new(guint32 seed);
void scene_dealer_free(SceneDealer *dealer);
Scene scene_deal(SceneDealer *dealer, int n_objects);

/* One attribute of a scene with one object is another; half of the time, all are. */
Scene scene_changed(SceneDealer *dealer, const Scene *scene);

/* One sentence that says all of the scene. Transfer full. */
char *scene_caption(SceneDealer *dealer, const Scene *scene);

#endif
