/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A device behind the tests, which are written for numbers in the host's memory: a mirror whose
 * operations take host tensors of F32 as the CPU's do, bring them to the device in the types that
 * it wants, run its operation there, and bring the outputs back.
 *
 * On the device tensors have margins of poison around them, inputs have to stay what they were, and
 * now and then the operation is recorded and replayed. Inputs must already be numbers that the
 * device's type can hold (see hold() in checkops.h): errors are the operation's own then.
 */
#ifndef LF_TESTS_DEVICE_H
#define LF_TESTS_DEVICE_H

#include "kernels/ops.h"

/* The mirror of CUDA device 0 with its kernels limited to `level` (LIGHTFORCING_CUDA).
 * Opened once for each level and precision and kept: NULL and an error where there is none. */
LfBackend *mirror_open(const char *level, LfPrecision precision, GError **error);

/* The device behind a mirror; NULL for any other backend. */
LfBackend *device_of(LfBackend *be);

void mirrors_close(void);

#endif
