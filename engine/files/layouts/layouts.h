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

typedef struct {
    const char *name; /* for people */
    const char *sign; /* a tensor that files of this layout alone have; NULL: any other file */
    const LfLayoutName *names; /* ends with a row whose `theirs` is NULL; what has no row has its
                                  canonical name */
} LfLayout;

/* The order in which they are tried; the last one has no sign. */
#define LF_LAYOUTS(ROW)                                                                            \
    ROW(diffusers)                                                                                 \
    ROW(wan)

#define LF_LAYOUT_DECLARE(NAME) extern const LfLayout lf_layout_##NAME;
LF_LAYOUTS(LF_LAYOUT_DECLARE)
#undef LF_LAYOUT_DECLARE

extern const LfLayout *const lf_layouts[]; /* ends with NULL */

/* The name without what training frameworks put around it: prefixes ("model.", "transformer.") in
 * any order and number, and wrappers inside ("_fsdp_wrapped_module."). Transfer full. */
char *lf_layout_unwrap(const char *name);

/* `name`, whose beginning matches the pattern `from`, with that beginning as `to` has it; NULL when
 * it does not match. Transfer full. */
char *lf_layout_rename(const char *name, const char *from, const char *to);

/* Whether `name` begins as the pattern. */
bool lf_layout_matches(const char *name, const char *pattern);

#endif
