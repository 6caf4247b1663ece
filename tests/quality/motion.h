/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which of the nine motions a track is: those that stay in place are told
 * apart by size and angle, the others by the path that fits the places best.
 */
#ifndef LF_QUALITY_MOTION_H
#define LF_QUALITY_MOTION_H

#include "scene.h"

enum { MAX_TRACK = 64, MIN_TRACK = 8 };

/* Where an object was seen. Frames where it was not are left out. */
typedef struct {
    int n;
    double frame[MAX_TRACK];
    double x[MAX_TRACK], y[MAX_TRACK]; /* pixels, followed over the borders of the torus */
    double size[MAX_TRACK];            /* √area */
    double angle[MAX_TRACK]; /* followed over the shape's period; all 0 where it has none */
} Track;

/* −1: none of the motions, or the object was seen in too few frames. */
int motion_of(const Track *track);

#endif
