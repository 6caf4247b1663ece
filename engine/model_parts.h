/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which files a model is made of, and its configuration: from a model.json, or found in a folder of
 * a published layout or around a checkpoint; and what the options put in place of them.
 */
#ifndef LF_ENGINE_MODEL_PARTS_H
#define LF_ENGINE_MODEL_PARTS_H

#include "files/model_config.h"
#include "lightforcing.h"

/* `options` may be NULL. Opens no file longer than it takes to recognise it. */
LfModelConfig *lf_model_parts(const char *location, const LfModelOptions *options, GError **error);

/* What of a model is missing for streams from text to pixels, and where it is published; NULL when
 * nothing is. Transfer full. */
char *lf_model_parts_missing(const LfModelConfig *config);

#endif
