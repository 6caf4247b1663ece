/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Random weights, fast: a billion numbers a second and core.
 */
#ifndef LF_FILES_RANDOM_WEIGHTS_H
#define LF_FILES_RANDOM_WEIGHTS_H

#include <stdint.h>

/* `count` BF16 numbers of the tensor `name` of rank n_dims, whose rows have `fan_in` numbers each.
 * A pure function of all but the number of threads. */
void lf_random_weights(uint16_t *out, int64_t count, uint64_t seed, const char *name, int n_dims,
                       int64_t fan_in);

#endif
