/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session_graph.h"

#include "cancel.h"

static bool same_key(const LfGraphKey *a, const LfGraphKey *b)
{
    return a->frames == b->frames && a->text_rows == b->text_rows &&
           a->last_logit == b->last_logit && a->first == b->first && a->scheme == b->scheme;
}

void lf_graphs_clear(LfGraphs *g)
{
    for (int i = 0; g->be && g->be->capture_begin && i < LF_N_GRAPHS; i++)
        g->be->graph_free(g->be, g->graphs[i]);
    *g = (LfGraphs){.be = g->be};
}

void lf_graphs_begin(LfGraphs *g, const LfGraphKey *key)
{
    bool same = same_key(key, &g->key);
    if (!same)
        lf_graphs_clear(g);
    g->key = *key;
    g->usable = same && g->be->capture_begin;
}

static LfGraph *capture(LfGraphs *g, LfGraphWork work, gpointer data)
{
    g->be->capture_begin(g->be);
    bool done = work(data);
    LfGraph *graph = g->be->capture_end(g->be);
    if (!done) {
        g->be->graph_free(g->be, graph);
        return NULL;
    }
    if (graph)
        lf_log(&g->be->log, LF_LOG_DEBUG, "captured a graph of a chunk's work");
    else
        lf_log(&g->be->log, LF_LOG_WARNING,
               "the capture of a graph was invalidated: kernels are launched one by one");
    return graph;
}

bool lf_graphs_run(LfGraphs *g, int index, LfGraphWork work, gpointer data, const int *cancelled)
{
    if (!g->usable)
        return work(data);
    if (lf_is_cancelled(cancelled))
        return false;
    if (!g->graphs[index] && !(g->graphs[index] = capture(g, work, data)))
        return work(data);
    g->be->graph_launch(g->be, g->graphs[index]);
    return true;
}
