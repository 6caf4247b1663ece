/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The tensors of one binding: found and checked, and their numbers, in one piece. For weights.c, which
 * binds them, and export.c, which writes them.
 */
#ifndef LF_FILES_WEIGHT_PARTS_H
#define LF_FILES_WEIGHT_PARTS_H

#include "weight_source.h"

enum { LF_WEIGHT_PARTS = 8 };

/* One of the names of a binding, and the rows of it that the binding has. */
typedef struct {
    char *name;
    const LfFileTensor *tensor; /* NULL: random */
    const LfFileTensor *scale;  /* of an FP8 tensor's rows, or NULL */
    const GArray *updates;      /* of LoRAs, or NULL */
    int64_t first;              /* of the tensor's numbers: the binding's first one */
} LfWeightPart;

typedef struct LfWeightParts {
    const LfBinding *binding;
    int n_dims;
    int64_t rows, columns; /* of each part in the binding: its first dimension, and the others */
    int n_parts;
    LfWeightPart parts[LF_WEIGHT_PARTS];
} LfWeightParts;

/* Fills `parts`, which lf_weight_parts_clear clears, also after a failure: LF_ERROR_SHAPE. */
bool lf_weight_parts_find(LfWeightSource *source, const char *prefix, const LfBinding *binding,
                          LfWeightParts *parts, GError **error);
void lf_weight_parts_clear(LfWeightParts *parts);

/* Whether a device of this precision holds the parts as the file does: rows in E4M3, each with a
 * scale. */
bool lf_weight_parts_keep_codes(const LfWeightParts *parts, LfPrecision precision);

/* The type of the parts' numbers once they are gathered: F32 where a LoRA adds to one. */
LfType lf_weight_parts_type(const LfWeightParts *parts);

/* The type in which the numbers are read as float: the same, but for coded tensors F32. */
LfType lf_weight_parts_float_type(const LfWeightParts *parts);

/* The numbers of all parts as `type`, one after the other; of E4M3 without their scales. */
void lf_weight_parts_gather(LfWeightSource *source, const LfWeightParts *parts, LfType type,
                            uint8_t *out);

/* The numbers where they are, if they can be used there: of `type`, as the file has them, each part
 * behind the one before it, each element at an address that it can be read at. Else NULL. */
const void *lf_weight_parts_in_place(const LfWeightParts *parts, LfType type);

/* The scales of all rows, one after the other. Free with g_free. */
float *lf_weight_parts_scales(const LfWeightParts *parts);

#endif
