/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Published files of Wan 2.1 itself. Its tensors are those of the causal models that are distilled
 * from it, so that only names and sizes of files tell them apart.
 */
#ifndef LF_FILES_BASE_MODELS_H
#define LF_FILES_BASE_MODELS_H

#include <stdbool.h>

/* Whether the file at `path`, with Wan's own names, is known to be the transformer of Wan 2.1. */
bool lf_is_base_model(const char *path);

extern const char lf_base_model_notice[];

#endif
