/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is kept of a stream's frames, however long it is: its first chunks, its last two seconds,
 * and how much changes from frame to frame.
 */
#ifndef LF_QUALITY_FOOTAGE_H
#define LF_QUALITY_FOOTAGE_H

#include "view.h"

enum { KEPT_CHUNKS = 8, KEPT_FRAMES = 96, LATE_FRAMES = 32 };

typedef struct {
    int n_chunks;
    int n_frames;
    int starts[KEPT_CHUNKS + 1]; /* first frames of the first chunks */
    uint8_t *first;              /* KEPT_FRAMES frames */
    uint8_t *last;               /* LATE_FRAMES frames, a ring */
    Change seams, insides;       /* sums over the changes at chunk borders, and over all others */
    int n_seams, n_insides;
} Footage;

Footage *footage_new(void);
void footage_free(Footage *footage); /* NULL is fine */
void footage_clear(Footage *footage);

/* Memory for the next frame; call footage_added when it is written. */
uint8_t *footage_next(Footage *footage);
void footage_added(Footage *footage, gboolean begins_chunk);

/* NULL where it is not kept any more. */
const uint8_t *footage_frame(const Footage *footage, int index);

/* `n` frames from `first` on, which must be kept. */
void footage_view(const Footage *footage, int first, int n, View *view);

/* Decibels between two streams' frames of one of the first chunks, at most 60; NAN where one has
 * none. */
double footage_agreement(const Footage *a, const Footage *b, int chunk);

#endif
