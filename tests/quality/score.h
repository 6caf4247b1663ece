/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Compares what streams show with their prompts, and adds up the results.
 */
#ifndef LF_QUALITY_SCORE_H
#define LF_QUALITY_SCORE_H

#include "footage.h"

typedef enum {
    COUNT_RIGHT,
    COLOUR_RIGHT,
    BACKGROUND_RIGHT,
    SHAPE_RIGHT,
    MOTION_RIGHT,
    N_MARKS
} Mark;
extern const char *const score_mark_names[N_MARKS];

/* Shape and motion are those of a single object: with two they are not judged, and count as
 * right. */
typedef struct {
    gboolean right[N_MARKS];
    gboolean all;
} Marks;
Marks score_marks(const View *view, const Scene *scene);

/* How many of n were right. */
typedef struct {
    int n, right[N_MARKS], all;
} Tally;
void score_count(Tally *tally, const Marks *marks);
double score_share(const Tally *tally, int mark); /* 0…1; N_MARKS: of all together; NAN: of none */

enum { N_COMPARED = 4 };
extern const int score_compared[N_COMPARED]; /* chunks */

/* Everything about one setting. */
typedef struct {
    Tally early, late; /* single objects */
    Tally pairs;       /* two objects, early: later they hide one another more often */
    Tally onset;       /* single objects, in the first chunk of a new prompt; no motion */
    Tally changes;     /* single objects, after the prompt changed */
    int n_streams, n_frozen;
    double sharp_early, sharp_late; /* sums over the streams */
    double drift;                   /* sum */
    Change seams, insides;          /* sums */
    int n_seams, n_insides;
    double agreement[N_COMPARED]; /* sums over n_compared */
    int n_compared[N_COMPARED];
    double sparsity;    /* of the last chunk made */
    double generate_ms; /* sum over n_generated chunks, but for the first of each stream */
    int n_generated;
} Score;

/* A finished stream of one prompt; or of two, where `early` is the first chunk of the second. */
typedef struct {
    View early, late;
    Marks early_marks, late_marks;
    double drift; /* 0…255, of the background, in the channel where it is largest */
    gboolean frozen;
} Verdict;
Verdict score_stream(Score *score, const Footage *footage, const Scene *scene);

/* A stream whose prompt became that of `scene` four chunks before its end. */
Verdict score_change(Score *score, const Footage *footage, const Scene *scene);

void score_add(Score *sum, const Score *score);

void score_agreement(Score *score, const Footage *footage, const Footage *reference);

double score_seam_ratio(const Score *score, gboolean calm); /* change at seams / elsewhere */

#endif
