/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which of the six shapes a region is: each is laid over it, turned, moved and sized until it
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

/* The point around which its turns by the period leave the shape the same. */
Pose fit_middle(const Fit *fit, int shape);

/* Radians after which the shape is the same; 0: any turn. */
double fit_period(int shape);

#endif
