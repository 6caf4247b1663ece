/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which files a model is made of, and its configuration: from a model.json, or found in a folder of
 * a published layout or around a checkpoint; and what the options put in place of them.
 */
#ifndef LF_ENGINE_MODEL_PARTS_H
#define LF_ENGINE_MODEL_PARTS_H

#include "files/locate.h"
#include "files/model_config.h"
#include "files/tokenizer.h"
#include "lightforcing.h"

/* `options` may be NULL. Opens no file longer than it takes to recognise it. */
LfModelConfig *lf_model_parts(const char *location, const LfModelOptions *options, GError **error);

/* That a part has no file, and where it is published; NULL when it has one. Transfer full. */
char *lf_model_part_missing(const LfModelConfig *config, LfPart part);

/* The same of all parts that streams from text to pixels need beside the transformer. */
char *lf_model_parts_missing(const LfModelConfig *config);

/* Opens the tokenizer that the configuration names, and checks that the text encoder knows all of
 * its pieces, if the size of its vocabulary is known (not 0). */
LfTokenizer *lf_model_parts_tokenizer(const LfModelConfig *config, GError **error);

#endif
