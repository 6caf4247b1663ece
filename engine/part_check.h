/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether the tensors of a file are exactly those of a part: the one check of loading and of
 * inspection.
 */
#ifndef LF_ENGINE_PART_CHECK_H
#define LF_ENGINE_PART_CHECK_H

#include "files/model_config.h"

/* Names, shapes and types of all tensors that the part, whose dimensions are complete in `config`,
 * has, and that the file has no others. Reads no weight: takes milliseconds for gigabytes. */
bool lf_part_check(LfFileKind kind, const LfModelConfig *config, LfWeightSource *source,
                   GError **error);

#endif
