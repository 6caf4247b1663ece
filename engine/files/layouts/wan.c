/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The transformer's canonical names: Wan's own, which Self-Forcing and its descendants have.
 */
#include "layouts.h"

static const LfLayoutName names[] = {{0}};

const LfLayout lf_layout_wan = {"Wan",
                                LF_FILE_TRANSFORMER,
                                {{"head.modulation", 0}, {"blocks.0.self_attn.q.weight", 0}},
                                names};
