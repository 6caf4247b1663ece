/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Runs the tests, which are written for host memory, on a device. A mirror is a backend whose
 * operations take host tensors of F32, like the CPU's. It uploads them in the device's types, runs
 * the device's operation, and downloads the outputs.
 *
 * On the device tensors have margins of poison, inputs must not change, and some calls are captured
 * and replayed. Inputs must be numbers that the device's type can hold (see hold() in checkops.h),
 * so that all errors are the operation's.
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
