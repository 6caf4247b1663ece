/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scheduler.h"

LfStep lf_warped_step(double d, double shift)
{
    float s = (float) (d / 1000.0);
    float k = (float) shift;
    float sigma = k * s / (1 + (k - 1) * s);
    return (LfStep){.sigma = sigma, .timestep = sigma * 1000};
}

LfSchedule lf_schedule(const LfSteps *steps, bool warp, double shift)
{
    LfSchedule schedule = {.n = steps->n};
    for (int i = 0; i < steps->n; i++) {
        double t = steps->at[i];
        schedule.steps[i] =
            warp ? lf_warped_step(t, shift) : (LfStep){.sigma = (float) (t / 1000), .timestep = t};
    }
    schedule.start = warp ? 1 : schedule.steps[0].sigma;
    return schedule;
}
