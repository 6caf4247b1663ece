/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which of the six shapes a region is: each is laid over it, and rotated, moved and scaled until it
 * covers it best.
 */
#ifndef LF_QUALITY_FIT_H
#define LF_QUALITY_FIT_H

#include "look.h"

typedef struct {
    int shape;                /* the one that covers best */
    double overlap[N_SHAPES]; /* intersection over union */
    Pose pose[N_SHAPES];
} Fit;

void fit_region(const Look *look, int region, Fit *fit);

/* The centre of the shape's rotational symmetry. */
Pose fit_middle(const Fit *fit, int shape);

/* The angle of the shape's rotational symmetry, in radians; 0: any angle. */
double fit_period(int shape);

#endif
