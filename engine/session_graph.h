/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Capture and replay of a chunk's work. In steady state every chunk does the same work on the same
 * memory, and a backend that can capture it launches a few thousand kernels as one graph. While the
 * window grows, or when the prompt changes, chunks differ. So work is captured only when two chunks
 * in a row have the same key.
 *
 * A graph freezes every pointer and every scalar of the calls in it. LfGraphKey is enough to tell
 * whether it still fits because everything else that those calls read is one of three:
 *   - constant for the session: weights, geometry, both schedules, addresses of state, cache and
 *     scratch;
 *   - data behind a constant address, written before the launch: latents, noise, the window's slots
 *     and RoPE angles, the text's keys and values, the amax of values;
 *   - a value in the key: the numbers of frames and rows, which schedule it is, and the key of the
 *     attention scheme.
 * A value that is passed to an operation and can change between chunks has to be in the key.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LF_ENGINE_SESSION_GRAPH_H
#define LF_ENGINE_SESSION_GRAPH_H

#include "kernels/backend.h"

typedef struct {
    int frames;       /* of the window */
    int text_rows;    /* see LfTextState */
    float last_logit; /* likewise */
    bool first;       /* the schedule of a scene's first chunk, where that is another one */
    uint64_t scheme;  /* LfSchemeClass.graph_key */
} LfGraphKey;

enum { LF_N_GRAPHS = 2 };

typedef struct {
    LfBackend *be;
    LfGraphKey key; /* of the graphs; before any is captured, of the last chunk */
    bool usable;    /* the chunk has the key of the one before */
    LfGraph *graphs[LF_N_GRAPHS];
} LfGraphs;

/* Work that can be captured; false when it was cancelled. */
typedef bool (*LfGraphWork)(gpointer data);

/* A chunk begins, with this key. Drops the graphs when it differs from the last one's. */
void lf_graphs_begin(LfGraphs *graphs, const LfGraphKey *key);

/* Launches graph `index` (below LF_N_GRAPHS), which it captures from `work` the first time. Calls
 * `work` without a graph when the key is new, when the backend has no graphs, and when a capture
 * was invalidated. `cancelled` is read before a launch. False when cancelled. */
bool lf_graphs_run(LfGraphs *graphs, int index, LfGraphWork work, gpointer data,
                   const int *cancelled);

/* Frees all graphs. */
void lf_graphs_clear(LfGraphs *graphs);

#endif
