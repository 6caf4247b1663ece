/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * LoRA files as overlays of a weight source: strength · s · (up · down), with s = alpha / rank or
 * 1, is added to a weight W in float when W is bound, before anything is quantised or packed. For
 * weight_source.c and weights.c only; the function to add one is in weights.h.
 */
#ifndef LF_FILES_LORA_H
#define LF_FILES_LORA_H

#include "weight_source.h"

/* The update of one tensor by one LoRA. */
typedef struct {
    LfFileTensor down, up; /* [rank, …] and [rows, rank, …]; of a plain difference `up` alone */
    int64_t rank;          /* 0: `up` is the difference, in the tensor's shape */
    float scale;
} LfUpdate;

/* Whether a tensor of this name belongs to a LoRA, of any dialect that is known. */
bool lf_lora_is_name(const char *name);

/* The updates (LfUpdate) of a tensor, or NULL. */
const GArray *lf_lora_updates(const LfWeightSource *source, const char *name);

/* Adds them to rows [first, first + n_rows) of a tensor, each of `columns` numbers. */
void lf_lora_apply(const GArray *updates, float *values, int64_t first, int64_t n_rows,
                   int64_t columns);

#endif
