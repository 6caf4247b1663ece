/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a file says of how its matrices are quantised: a record of JSON for each layer, as ComfyUI
 * writes it, in a tensor of bytes beside the matrix ("x.comfy_quant") or in the file's metadata. For
 * refusals.c only.
 */
#ifndef LF_FILES_QUANTISED_H
#define LF_FILES_QUANTISED_H

#include "refusals.h"

/* Why a layer cannot be read: "it is quantised to nvfp4 …". NULL: all can. Transfer full. */
char *lf_quantised_problem(const LfRefusalInput *input);

#endif
