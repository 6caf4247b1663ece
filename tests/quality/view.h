/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a second or two of frames show: the looks at its frames taken together, and the track of
 * what is largest in them.
 */
#ifndef LF_QUALITY_VIEW_H
#define LF_QUALITY_VIEW_H

#include "world.h"

typedef struct {
    int n_objects;            /* the most that two frames of five show: they may hide one another */
    int colours[MAX_OBJECTS]; /* the most frequent ones, −1: none */
    int background, shape, motion;
    Rgb tint;         /* of the background, against the drawn one */
    double sharpness; /* slope of the edges around the object, against those of one drawn there */
    double activity;  /* mean change of a pixel from frame to frame, 0…255 */
} View;

/* `frames` are RGB, WORLD_WIDTH × WORLD_HEIGHT, one after the other in time. */
void view_frames(const uint8_t *const *frames, int n, View *view);

/* Mean change of a pixel's channel, 0…255; and of those pixels alone that change so little
 * that it is noise, not motion. */
typedef struct {
    double all, calm;
} Change;
Change view_change(const uint8_t *a, const uint8_t *b);

#endif
