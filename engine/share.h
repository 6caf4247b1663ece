/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The share of a chunk that one of several ranks computes: some rows (tokens) of all operations
 * outside attention, and some heads of attention. A single rank has all rows and heads.
 */
#ifndef LF_ENGINE_SHARE_H
#define LF_ENGINE_SHARE_H

typedef struct {
    int rank, size; /* 0 ≤ rank < size */
    int first_row, n_rows;
    int first_head, n_heads;
} LfShare;

/* Divides rows and heads as evenly as whole numbers allow. A size of 0 or 1 is one rank, which has
 * all of both. */
static inline LfShare lf_share(int rank, int size, int rows, int heads)
{
    size = size > 1 ? size : 1;
    int first_row = (int) ((long long) rows * rank / size);
    int first_head = heads * rank / size;
    return (LfShare){.rank = rank,
                     .size = size,
                     .first_row = first_row,
                     .n_rows = (int) ((long long) rows * (rank + 1) / size) - first_row,
                     .first_head = first_head,
                     .n_heads = heads * (rank + 1) / size - first_head};
}

#endif
