/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How published checkpoints name their tensors. Everything above a weight source asks by canonical
 * names, which are those of Wan's own code; a layout says what a file calls them. A layout is one
 * table in a file of its own and one row of LF_LAYOUTS.
 */
#ifndef LF_FILES_LAYOUTS_H
#define LF_FILES_LAYOUTS_H

#include <glib.h>
#include <stdbool.h>

/* What the tensors of a file are. */
typedef enum {
    LF_FILE_UNKNOWN, /* nothing that is known */
    LF_FILE_TRANSFORMER,
    LF_FILE_TEXT_ENCODER,
    LF_FILE_DECODER,
    LF_FILE_LORA,
    LF_N_FILE_KINDS
} LfFileKind;

/* One module or tensor. Both names are beginnings of full names, up to a '.' or the end; what
 * follows ("weight", "bias", "weight_scale") is the same in both. '*' stands for a run of
 * characters without a '.', such as a layer's number, and is the same in both, too. */
typedef struct {
    const char *theirs;
    const char *ours; /* NULL: no weight, ignored */
    /* Where a file stacks several modules along their rows, as q, k and v: `ours` is number `share`
     * of `n_shares` equal ranges of rows, and there is a row of the table for each of them.
     * n_shares 0: `ours` is all of it. */
    int share, n_shares;
} LfLayoutName;

/* A tensor that tells a layout. What stands before this name in the file is the prefix of all names
 * of one copy of the model. */
typedef struct {
    const char *name; /* the layout's */
    int n_dims;       /* 0: any number of dimensions */
} LfLayoutSign;

enum { LF_LAYOUT_MAX_SIGNS = 3 };

typedef struct {
    const char *name; /* for people */
    LfFileKind kind;
    LfLayoutSign signs[LF_LAYOUT_MAX_SIGNS]; /* any of them suffices; ends with a NULL name */
    const LfLayoutName *names; /* ends with a row whose `theirs` is NULL; what has no row has its
                                  canonical name */
} LfLayout;

/* The order in which they are tried: where two layouts have the same prefix, the first is meant. */
#define LF_LAYOUTS(ROW)                                                                            \
    ROW(diffusers)                                                                                 \
    ROW(rcm)                                                                                       \
    ROW(wan)                                                                                       \
    ROW(umt5)                                                                                      \
    ROW(umt5_hf)                                                                                   \
    ROW(umt5_gguf)                                                                                 \
    ROW(taehv)                                                                                     \
    ROW(wan_vae)                                                                                   \
    ROW(wan_vae_diffusers)

#define LF_LAYOUT_DECLARE(NAME) extern const LfLayout lf_layout_##NAME;
LF_LAYOUTS(LF_LAYOUT_DECLARE)
#undef LF_LAYOUT_DECLARE

extern const LfLayout *const lf_layouts[]; /* ends with NULL */

/* The name without what training frameworks put inside of names, such as "_fsdp_wrapped_module.".
 * Transfer full. */
char *lf_layout_unwrap(const char *name);

/* What stands before a sign of the layout in a name without wrappers: "model." of
 * "model.head.modulation", "" of the sign itself. Returns its length, or −1 when the name does not
 * end with a sign. */
int lf_layout_prefix(const LfLayout *layout, const char *name, int n_dims);

/* Whether a tensor of any layout is of no use: counters, caches, marks, states of optimisers. */
bool lf_layout_ignores(const char *name);

/* Whether it belongs to a second set of weights ("memory_weight"), which is not used either. */
bool lf_layout_is_second_set(const char *name);

/* `name`, whose beginning matches the pattern `from`, with that beginning as `to` has it; NULL when
 * it does not match. Transfer full. */
char *lf_layout_rename(const char *name, const char *from, const char *to);

/* Whether `name` begins as the pattern. */
bool lf_layout_matches(const char *name, const char *pattern);

#endif
