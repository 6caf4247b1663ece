/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Finds the files of a model where people have them: in a folder of any of the published layouts
 * (Wan-AI, diffusers, ComfyUI, a cache of the Hugging Face hub), or around one checkpoint. A file
 * is recognised by its tensors. Its name decides nothing but the order of equals.
 */
#ifndef LF_FILES_LOCATE_H
#define LF_FILES_LOCATE_H

#include "kernels/error.h"

typedef enum {
    LF_PART_TRANSFORMER,
    LF_PART_TEXT_ENCODER,
    LF_PART_TOKENIZER,
    LF_PART_DECODER,
    LF_N_PARTS
} LfPart;

/* "transformer", "text encoder", "tokenizer", "decoder". */
const char *lf_part_name(LfPart part);

/* The element's property that says where the part is: "model-location" and so on. */
const char *lf_part_option(LfPart part);

/* The files of a model. All-zero: none. lf_located_clear frees. */
typedef struct {
    char *files[LF_N_PARTS];    /* absolute paths; NULL: not there */
    char *problems[LF_N_PARTS]; /* of a file that would be this part, but cannot be used; or NULL */
} LfLocated;

/* Looks for every part that has no file yet and whose bit, 1 << part, is in `wanted`.
 *
 * `location`: a folder, in which the files are looked for three folders deep; or a file, which is
 * the part that its tensors say. What is not there is looked for around it: in folders of well-known
 * names ("text_encoders", "vae_approx", "Wan2.1-T2V-1.3B" …) beside it and beside its parents, five
 * levels up, the nearest first. At most some thousand files are looked at.
 *
 * LF_ERROR_CONFIG when several files are equally near: the message lists them and says how to
 * choose. LF_ERROR_NOT_FOUND when a wanted transformer is not there: with a list of what was found
 * in place of it. The caller clears `located` after a failure, too. */
bool lf_locate(const char *location, unsigned wanted, LfLocated *located, GError **error);
void lf_located_clear(LfLocated *located);

#endif
