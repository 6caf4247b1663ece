/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An attention scheme: which blocks of keys every block of queries attends to. It plans their
 * number for each chunk, selects them in each layer, and has a key of the values that a captured
 * graph of its work depends on. The transformer and the chunk loop know no scheme by name.
 *
 * A new scheme is a file with a class and a row in LF_SCHEMES. It selects a table as lf_attention
 * reads it. Operations that it needs are declared in kernels/ops.h.
 *
 * Thread-safety: one session's.
 */
#ifndef LF_MODELS_SCHEME_H
#define LF_MODELS_SCHEME_H

#include "kv_cache.h"

/* The class is lf_scheme_<word>. */
#define LF_SCHEMES(X) X(light_forcing)

typedef struct LfScheme LfScheme;
typedef struct LfSchemeClass LfSchemeClass;

/* Every scheme's object begins with this. */
struct LfScheme {
    const LfSchemeClass *class;
    int query_block; /* tokens */
};

typedef struct {
    const char *name;      /* of the class */
    int query_block;       /* tokens */
    LfSelection selection; /* of frames */
    bool one_map;          /* a chunk's later steps use the tables of its first one */
} LfSchemeConfig;

/* A pass of the transformer: the number of a denoising step, from 0, or this. */
enum { LF_CLEAN_PASS = -1 };

/* Tables are I32 [H, c·nq, budget] (see lf_select_blocks), or LF_NONE for dense attention. */
struct LfSchemeClass {
    const char *name;
    LfScheme *(*create)(const LfSchemeConfig *config);
    void (*destroy)(LfScheme *scheme);

    /* Before the passes of a chunk, which `cache` has begun: the share of the window's key blocks
     * that they skip, 0 for dense attention. */
    void (*plan)(LfScheme *scheme, const LfKvCache *cache, double sparsity);

    /* Before the steps: allocates what they share. The caller releases the arena after the last
     * step. */
    void (*begin_steps)(LfScheme *scheme, const LfKvCache *cache, LfArena *scratch);

    /* Before each pass. */
    void (*begin_pass)(LfScheme *scheme, int step);

    /* In each layer, in this order. query_means allocates F32 [H, c·nq, d] for the means of the
     * queries, which `select` reads; LF_NONE when this pass selects nothing. select returns the
     * layer's table. */
    LfTensor (*query_means)(const LfScheme *scheme, const LfKvCache *cache, LfArena *scratch);
    LfTensor (*select)(const LfScheme *scheme, const LfKvCache *cache, LfBackend *be,
                       LfArena *scratch, int layer, LfTensor query_means, const LfWindow *window);

    /* Chunks with equal keys and equally many frames in their windows do the same work. */
    uint64_t (*graph_key)(const LfScheme *scheme);
};

/* Of the class that config->name names; NULL when there is none of that name. */
LfScheme *lf_scheme_new(const LfSchemeConfig *config);
void lf_scheme_free(LfScheme *scheme); /* NULL is fine */

/* ---- the schemes ----------------------------------------------------------------------------- */

#define LF_DECLARE_SCHEME(word) extern const LfSchemeClass lf_scheme_##word;
LF_SCHEMES(LF_DECLARE_SCHEME)
#undef LF_DECLARE_SCHEME
extern const LfSchemeClass lf_scheme_dense;

/* Attention over the whole window. */
static inline LfScheme lf_dense(int query_block)
{
    return (LfScheme){.class = &lf_scheme_dense, .query_block = query_block};
}

/* Light Forcing's Hierarchical Sparse Attention; dense when the budget is 0. */
typedef struct {
    LfScheme base;
    LfSelection selection;
    bool one_map;
    int budget;   /* key blocks for each head and query block */
    LfTensor map; /* I32 [layers, H, c·nq, budget]: every layer's table of a chunk's first step;
                     LF_NONE: every step selects for itself */
    int step;     /* of the pass that runs */
} LfLightForcing;

LfLightForcing lf_light_forcing(const LfSchemeConfig *config);

#endif
