/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every prompt through every setting, with the same seeds.
 */
#ifndef LF_QUALITY_RUN_H
#define LF_QUALITY_RUN_H

#include "stream.h"

typedef struct {
    int n_prompts; /* of one object */
    int n_pairs;   /* prompts of two */
    int n_changes; /* streams of CHANGE_CHUNKS whose prompt changes in the middle */
    int n_chunks;  /* of a stream, at least MIN_CHUNKS */
    guint32 seed;
    int n_jobs; /* streams at the same time; 0: one */
} Plan;
enum { MIN_CHUNKS = 4, CHANGE_CHUNKS = 8 };

/* Hears of each stream when it is judged, one at a time: `wanted` is what its end should show. May
 * be NULL. */
typedef void (*RunTold)(const Setting *setting, const Script *script, const Scene *wanted,
                        const Verdict *verdict, gpointer data);

/* Fills one score for each setting. Where the first is the engine's, the others are compared with
 * its frames. */
gboolean run_plan(LfModel *model, const Setting *settings, int n_settings, const Plan *plan,
                  Score *scores, RunTold told, gpointer data, GError **error);

#endif
