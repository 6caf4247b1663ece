/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Checks of lists of denoising steps (LfSteps in lightforcing.h). Thread-safety: any thread.
 */
#ifndef LF_ENGINE_STEPS_H
#define LF_ENGINE_STEPS_H

#include "lightforcing.h"

#include <stdbool.h>

/* LF_ERROR_CONFIG, which tells what a list must be, unless there are 1 to LF_MAX_STEPS falling
 * numbers in (0, 1000]. */
bool lf_steps_check(const LfSteps *steps, GError **error);

bool lf_steps_equal(const LfSteps *a, const LfSteps *b);

#endif
