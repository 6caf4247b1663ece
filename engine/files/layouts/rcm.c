/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * rCM writes Wan's names, but its patch embedding is a linear layer: [dim, channels · 2 · 2], in the
 * order of Wan's [dim, channels, 1, 2, 2].
 */
#include "layouts.h"

static const LfLayoutName names[] = {{0}};

const LfLayout lf_layout_rcm = {"rCM", LF_FILE_TRANSFORMER, {{"patch_embedding.weight", 2}}, names};
