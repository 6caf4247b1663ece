/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Damages a good file in many ways and opens each as tensors: every one is either refused with an
 * error, or all of its data can be read.
 */
#ifndef LF_TESTS_HOSTILE_H
#define LF_TESTS_HOSTILE_H

#include "engine/files/tensor_file.h"

/* Opens these bytes as a file of `suffix` and reads all data of all tensors. The error when they
 * are refused, else NULL. */
GError *lf_hostile_open(const char *suffix, const void *bytes, gsize size);

/* Cut off at every length up to `size`; each must be refused. */
void lf_hostile_truncate(const char *suffix, const void *bytes, gsize size);

/* `rounds` times with one to eight random bytes changed in the ranges that hold no data, [0, head)
 * and [tail, size), by the test's printed seed. Tells how many were refused. */
void lf_hostile_flip(const char *suffix, const void *bytes, gsize size, gsize head, gsize tail,
                     int rounds);

#endif
