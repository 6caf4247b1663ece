/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The files that a tokenizer comes in.
 */
#ifndef LF_FILES_TOKENIZER_FILE_H
#define LF_FILES_TOKENIZER_FILE_H

#include "tensor_file.h"

G_BEGIN_DECLS

/* The serialised SentencePiece model of a file, which its contents tell apart: such a model itself
 * (at most 16 MiB), Hugging Face's tokenizer.json (at most 64 MiB), a file of tensors with one named
 * spiece_model that holds the model's bytes, or a GGUF file whose metadata hold its pieces. `format`
 * becomes a word for it. The model is not checked. LF_ERROR_FORMAT for anything else, with what it
 * seems to be. Transfer full. */
GBytes *lf_tokenizer_file_read(const char *path, const char **format, GError **error);

/* Whether lf_tokenizer_file_read finds a tokenizer in the file of these tensors. */
bool lf_tokenizer_is_inside(const LfTensorFile *tensors);

G_END_DECLS

#endif
