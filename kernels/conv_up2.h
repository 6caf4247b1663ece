/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A 3×3 convolution of a picture that was doubled by nearest neighbours, as four 2×2 convolutions
 * of the small picture, one for each parity of output row and column; for the backends' packing.
 *
 * With X the doubled picture, X[2y + parity + k − 1] is x[y − 1 + parity + row], row 0 or 1. So for
 * parity 0 the weights of rows 0 and 1 are w₀ and w₁ + w₂, for parity 1 they are w₀ + w₁ and w₂.
 * The same holds for columns.
 */
#ifndef LF_KERNELS_CONV_UP2_H
#define LF_KERNELS_CONV_UP2_H

/* The row (or column) of the 2×2 filter of `parity` that weight k (0, 1, 2) is added to. */
static inline int lf_conv_up2_row(int parity, int k)
{
    return (parity + k + 1) / 2 - parity;
}

#endif
