/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The files of a folder that can be a part of a model, and what each of them is.
 */
#ifndef LF_FILES_CANDIDATES_H
#define LF_FILES_CANDIDATES_H

#include "locate.h"

/* One file. */
typedef struct {
    char *path;
    LfPart part;     /* LF_N_PARTS: none that is known */
    char *problem;   /* why it cannot be used, with the cure; NULL: it can */
    bool teacher;    /* a transformer that is known not to be autoregressive */
    bool has_tokens; /* a text encoder with a tokenizer inside */
    bool slow;       /* a decoder that takes many times as long as TAEHV */
} LfCandidate;

typedef struct {
    GPtrArray *found; /* LfCandidate * */
    int n_files;      /* looked at so far, in this and earlier folders */
} LfCandidates;

/* Empty. lf_candidates_clear frees. */
LfCandidates lf_candidates_new(void);
void lf_candidates_clear(LfCandidates *candidates);

/* What one file is. Transfer full. */
LfCandidate *lf_candidate_new(const char *path);
void lf_candidate_free(LfCandidate *candidate);

/* Adds the files of `folder` and of its folders, `depth` levels deep. Hidden ones are skipped, and so
 * are the shards of a set that has an index there. */
void lf_candidates_add_folder(LfCandidates *candidates, const char *folder, int depth);

/* Adds the files of those folders in `folder` whose names are those that parts of a model usually
 * have, three levels deep. */
void lf_candidates_add_neighbours(LfCandidates *candidates, const char *folder);

#endif
