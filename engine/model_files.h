/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The files of tensors that a model is made of, open, recognised and checked, before any weight is
 * read.
 */
#ifndef LF_ENGINE_MODEL_FILES_H
#define LF_ENGINE_MODEL_FILES_H

#include "files/model_config.h"
#include "lightforcing.h"

/* In the order in which they are loaded. */
typedef enum {
    LF_MODEL_TEXT_ENCODER,
    LF_MODEL_TRANSFORMER,
    LF_MODEL_DECODER,
    LF_N_MODEL_FILES
} LfModelFile;

typedef struct {
    LfTensorFile *files[LF_N_MODEL_FILES];     /* NULL: not there, or random */
    LfWeightSource *sources[LF_N_MODEL_FILES]; /* NULL: not there */
} LfModelFiles;

const char *lf_model_file_name(LfModelFile file); /* "text encoder", "transformer", "decoder" */

/* Opens the files that the configuration names, adds its LoRAs and those of the options, completes the
 * configuration from the shapes, and checks it. The files are for lf_model_files_clear, also after a
 * failure; the sources are the caller's, who keeps them while weights that were bound from them live.
 * `files` is all-zero before. */
bool lf_model_files_open(LfModelFiles *files, LfModelConfig *config, const LfModelOptions *options,
                         GError **error);

/* Checks that every part has all of its tensors, and no others. */
bool lf_model_files_check(LfModelFiles *files, const LfModelConfig *config, GError **error);

/* Closes the files, not the sources. */
void lf_model_files_clear(LfModelFiles *files);

#endif
