/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The quantised types of GGUF files. A block is 32 or 256 numbers that have their scales in common;
 * halves and words in it are little-endian.
 */
#ifndef LF_FILES_GGUF_BLOCKS_H
#define LF_FILES_GGUF_BLOCKS_H

#include "tensor_file.h"

/* Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K by these names; NULL for any other. Each number is the
 * real one that the format defines, rounded once to float. */
const LfCoding *lf_gguf_coding(const char *name);

#endif
