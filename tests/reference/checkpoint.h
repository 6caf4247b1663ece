/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Writes checkpoints as torch.save does: a zip archive of a pickle and of one entry for each tensor.
 */
#ifndef LF_TESTS_REFERENCE_CHECKPOINT_H
#define LF_TESTS_REFERENCE_CHECKPOINT_H

#include "engine/files/tensor_file.h"

/* Writes a dictionary of the F32 `tensors` (of LfFileTensor), each under `prefix` and its name and as
 * `type` (F32 or BF16), to `path`. `key`: the dictionary is the value of this key of another one;
 * NULL: it is itself the file's. */
void ref_write_checkpoint(const char *path, const char *key, const char *prefix,
                          const GArray *tensors, LfType type);

#endif
