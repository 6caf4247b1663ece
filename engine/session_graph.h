/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Capture and replay of a chunk's work. In steady state every chunk does the same work on the same
 * memory, and a backend that can capture it launches a few thousand kernels as one graph. While a
 * stream grows, or its prompt changes, chunks differ; so only what was the same twice in a row is
 * captured.
 *
 * A graph freezes every pointer and every scalar of the calls in it. LfGraphKey is enough to tell
 * whether it still fits because everything else that those calls read is one of three:
 *   - constant for the session: weights, geometry, steps, addresses of state, cache and scratch;
 *   - data behind a constant address, written before the launch: latents, noise, the window's slots
 *     and RoPE angles, the text's keys and values, the amax of values;
 *   - a number in the key: how many frames and rows there are, and what the attention scheme says.
 * What is passed to an operation by value and can change between chunks has to be in the key.
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
    uint64_t scheme;  /* LfSchemeClass.graph_key */
} LfGraphKey;

enum { LF_N_GRAPHS = 2 };

typedef struct {
    LfBackend *be;
    LfGraphKey key; /* of the graphs; before there are any, of the last chunk */
    bool usable;    /* the chunk at hand has the key of the one before */
    LfGraph *graphs[LF_N_GRAPHS];
} LfGraphs;

/* Work that can be captured; false when it was cancelled. */
typedef bool (*LfGraphWork)(gpointer data);

/* A chunk begins, with this key. Drops the graphs when it differs from the last one's. */
void lf_graphs_begin(LfGraphs *graphs, const LfGraphKey *key);

/* Graph `index` (below LF_N_GRAPHS): launches it, after capturing it from `work` when there is none
 * yet. Runs `work` itself where the key is new, where the backend captures nothing, and where a
 * capture was invalidated. `cancelled` is read before a launch. False when cancelled. */
bool lf_graphs_run(LfGraphs *graphs, int index, LfGraphWork work, gpointer data,
                   const int *cancelled);

/* Frees all graphs. */
void lf_graphs_clear(LfGraphs *graphs);

#endif
