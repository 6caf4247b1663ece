/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One model on the CPU and on a GPU.
 */
#ifndef LF_TESTS_BOTH_H
#define LF_TESTS_BOTH_H

#include "engine/model.h"
#include "tests/unit/stream.h"

typedef struct {
    LfModel *cpu, *device;
} Both;

/* Whether there is a GPU that computes at this precision; where there is none, says so and marks
 * the test as skipped. */
gboolean both_have_device(LfPrecision precision);

/* The demo model, or random weights of a preset. */
LfModel *both_model(const char *preset, const char *backend, LfPrecision precision);
Both both_open(const char *preset, LfPrecision precision);
void both_close(Both *both);

/* The velocity (float) of the second chunk of a stream whose latents and text are numbers drawn
 * from a fixed seed: it attends to itself, to the first chunk's keys and values, and to the text.
 * `recached`: of the third chunk, before which the text changes and the keys and values of the
 * first two are recomputed. `chunk`: latent frames; 0: the model's. */
GArray *both_velocity(LfModel *model, int width, int height, int chunk, gboolean sparse,
                      gboolean recached);

typedef struct {
    double relative; /* ‖a − b‖ / ‖a‖ */
    double cosine;
} Likeness;

Likeness both_compare(const GArray *a, const GArray *b);

#endif
