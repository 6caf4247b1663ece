/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The weights of a part as one file, in the types in which a device holds them and in the order in
 * which it reads them: matrices that are stacked stand side by side, LoRAs are in the numbers. Bound
 * with the same settings, the file gives the same weights, bit for bit.
 */
#ifndef LF_FILES_EXPORT_H
#define LF_FILES_EXPORT_H

#include "weights.h"

typedef struct LfExport LfExport;

/* From now on notes what is bound from the source, once for each tensor. Bind the part on the plan
 * backend, then write it. `precision`, never AUTO, is that of the device. The source outlives the
 * result. */
LfExport *lf_export_new(LfWeightSource *source, LfPrecision precision);
void lf_export_free(LfExport *export); /* NULL is fine */

/* Bytes of the tensors that were noted, as they are written. */
uint64_t lf_export_size(const LfExport *export);

/* Writes them as a safetensors file under their canonical names, one tensor at a time. `written` is
 * called with the bytes of each piece; false and an error stop it, and leave no file. */
bool lf_export_write(LfExport *export, const char *path,
                     bool (*written)(size_t size, gpointer data, GError **error), gpointer data,
                     GError **error);

#endif
