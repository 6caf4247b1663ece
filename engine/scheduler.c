/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scheduler.h"

LfStep lf_step(int d, double shift)
{
    float s = (float) (d / 1000.0);
    float k = (float) shift;
    float sigma = k * s / (1 + (k - 1) * s);
    return (LfStep){.sigma = sigma, .timestep = sigma * 1000};
}
