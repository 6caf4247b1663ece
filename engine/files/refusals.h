/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Files that are like a usable one, and are something else: for recognise.c only.
 */
#ifndef LF_FILES_REFUSALS_H
#define LF_FILES_REFUSALS_H

#include "recognise.h"

typedef struct {
    const LfRecognised *recognised; /* kind, layout and prefix are set */
    const LfTensorFile *file;
    const char *const *names; /* of the file's tensors, without wrappers */
} LfRefusalInput;

/* Why the file cannot be used: "it is an image-to-video model …: use …". NULL when nothing speaks
 * against it. Transfer full. */
char *lf_refusal(const LfRefusalInput *input);

#endif
