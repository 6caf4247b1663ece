/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Random weights, fast: a billion values per second and core.
 */
#ifndef LF_FILES_RANDOM_WEIGHTS_H
#define LF_FILES_RANDOM_WEIGHTS_H

#include <stdint.h>

/* Fills `out` with `count` BF16 values for the tensor `name` of n_dims dimensions, whose rows have
 * `fan_in` values each. The same for any number of threads. */
void lf_random_weights(uint16_t *out, int64_t count, uint64_t seed, const char *name, int n_dims,
                       int64_t fan_in);

#endif
