/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Files that are something else than what is asked for: pages of servers, archives, weights of other
 * programs.
 *
 * Thread-safety: functions of their arguments.
 */
#ifndef LF_FILES_FOREIGN_H
#define LF_FILES_FOREIGN_H

#include <glib.h>

/* What is asked for, in place of another thing. */
#define LF_WANTED_WEIGHTS   "the model's weights as safetensors, as GGUF or as torch.save writes them"
#define LF_WANTED_TOKENIZER "a spiece.model or a tokenizer.json"

/* What a file is that no reader takes, with the cure, for a message: "it is a web page …: download
 * …", "it is HDF5 …: give " and `wanted`. NULL when nothing is known of it. Transfer full. */
char *lf_foreign_file(const char *bytes, gsize size, const char *wanted);

/* The same for JSON that is no index of weights. */
char *lf_foreign_json(const char *text, gsize size);

/* The same for a zip archive that torch.save did not write, by the name of one of its entries. NULL
 * when the name tells nothing. */
const char *lf_foreign_zip(const char *name);

#endif
