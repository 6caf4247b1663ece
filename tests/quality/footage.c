/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "footage.h"

#include <math.h>
#include <string.h>

enum { FRAME_SIZE = WORLD_WIDTH * WORLD_HEIGHT * 3 };

Footage *footage_new(void)
{
    Footage *f = g_new0(Footage, 1);
    f->first = g_malloc((size_t) KEPT_FRAMES * FRAME_SIZE);
    f->last = g_malloc((size_t) LATE_FRAMES * FRAME_SIZE);
    return f;
}

void footage_free(Footage *f)
{
    if (!f)
        return;
    g_free(f->first);
    g_free(f->last);
    g_free(f);
}

void footage_clear(Footage *f)
{
    *f = (Footage){.first = f->first, .last = f->last};
}

static uint8_t *slot(const Footage *f, int index)
{
    return f->last + (size_t) (index % LATE_FRAMES) * FRAME_SIZE;
}

uint8_t *footage_next(Footage *f)
{
    return slot(f, f->n_frames);
}

static void add_change(Footage *f, const Change *change, gboolean seam)
{
    Change *sum = seam ? &f->seams : &f->insides;
    sum->all += change->all;
    sum->calm += change->calm;
    *(seam ? &f->n_seams : &f->n_insides) += 1;
}

void footage_added(Footage *f, gboolean begins_chunk)
{
    int index = f->n_frames++;
    const uint8_t *frame = slot(f, index);
    if (begins_chunk) {
        if (f->n_chunks <= KEPT_CHUNKS)
            f->starts[f->n_chunks] = index;
        f->n_chunks++;
    }
    if (index < KEPT_FRAMES)
        memcpy(f->first + (size_t) index * FRAME_SIZE, frame, FRAME_SIZE);
    if (index > 0) {
        Change change = view_change(slot(f, index - 1), frame);
        add_change(f, &change, begins_chunk);
    }
}

const uint8_t *footage_frame(const Footage *f, int index)
{
    if (index < 0 || index >= f->n_frames)
        return NULL;
    if (index < KEPT_FRAMES)
        return f->first + (size_t) index * FRAME_SIZE;
    return index >= f->n_frames - LATE_FRAMES ? slot(f, index) : NULL;
}

void footage_view(const Footage *f, int first, int n, View *view)
{
    const uint8_t *frames[KEPT_FRAMES];
    for (int i = 0; i < n; i++)
        frames[i] = footage_frame(f, first + i);
    view_frames(frames, n, view);
}

double footage_agreement(const Footage *a, const Footage *b, int chunk)
{
    double sum = 0;
    int first = a->starts[chunk];
    int end = chunk + 1 < a->n_chunks ? a->starts[chunk + 1] : a->n_frames;
    if (chunk >= MIN(a->n_chunks, b->n_chunks) || end > KEPT_FRAMES || end > b->n_frames)
        return NAN;
    const uint8_t *x = footage_frame(a, first), *y = footage_frame(b, first);
    size_t n = (size_t) (end - first) * FRAME_SIZE;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - y[i]) * (x[i] - y[i]);
    return MIN(10 * log10(255. * 255 * (double) n / MAX(sum, 1)), 60);
}
