/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where the parts that families share are published, for messages that say what is missing.
 */
#ifndef LF_FILES_PUBLISHED_H
#define LF_FILES_PUBLISHED_H

#include "locate.h"

typedef struct {
    LfPart part;
    const char *repository, *file; /* on Hugging Face */
    double megabytes;
    const char *licence;
    const char *note; /* what it is, a few words */
} LfPublished;

/* The best known first; ends with a row whose file is NULL. */
extern const LfPublished lf_published[];

/* "models_t5_umt5-xxl-enc-bf16.pth (11.4 GB, Apache-2.0) of Wan-AI/Wan2.1-T2V-1.3B", the files that
 * are a part, for a message that says what to get. Transfer full. */
char *lf_published_sources(LfPart part);

#endif
