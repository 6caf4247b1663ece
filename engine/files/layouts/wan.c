/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The canonical names: Wan's own, which Self-Forcing and its descendants, umT5 as Wan publishes it
 * and TAEHV have.
 */
#include "layouts.h"

static const LfLayoutName names[] = {
    {"scaled_fp8", NULL, 0, 0}, /* a mark of files whose matrices are FP8 */
    {"freqs", NULL, 0, 0},      /* a table of RoPE angles */
    {0},
};

const LfLayout lf_layout_wan = {"Wan", NULL, names};
