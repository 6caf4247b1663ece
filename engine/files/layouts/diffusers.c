/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The transformer as the diffusers library names it (WanTransformer3DModel). Its norm2 is the one
 * in front of cross attention, norm3 in Wan; its own norm1 and norm3 have no weights.
 */
#include "layouts.h"

#define ATTENTION(THEIRS, OURS)                                                                    \
    {"blocks.*." THEIRS ".to_q", "blocks.*." OURS ".q", 0, 0},                                     \
        {"blocks.*." THEIRS ".to_k", "blocks.*." OURS ".k", 0, 0},                                 \
        {"blocks.*." THEIRS ".to_v", "blocks.*." OURS ".v", 0, 0},                                 \
        {"blocks.*." THEIRS ".to_out.0", "blocks.*." OURS ".o", 0, 0},                             \
        {"blocks.*." THEIRS ".norm_q", "blocks.*." OURS ".norm_q", 0, 0},                          \
    {                                                                                              \
        "blocks.*." THEIRS ".norm_k", "blocks.*." OURS ".norm_k", 0, 0                             \
    }

/* Also as one matrix, which the library's fuse_projections makes. */
#define FUSED(THEIRS, OURS, SHARE, N)                                                              \
    {                                                                                              \
        "blocks.*." THEIRS, "blocks.*." OURS, SHARE, N                                             \
    }

static const LfLayoutName names[] = {
    {"condition_embedder.time_embedder.linear_1", "time_embedding.0", 0, 0},
    {"condition_embedder.time_embedder.linear_2", "time_embedding.2", 0, 0},
    {"condition_embedder.text_embedder.linear_1", "text_embedding.0", 0, 0},
    {"condition_embedder.text_embedder.linear_2", "text_embedding.2", 0, 0},
    {"condition_embedder.time_proj", "time_projection.1", 0, 0},
    ATTENTION("attn1", "self_attn"),
    ATTENTION("attn2", "cross_attn"),
    FUSED("attn1.to_qkv", "self_attn.q", 0, 3),
    FUSED("attn1.to_qkv", "self_attn.k", 1, 3),
    FUSED("attn1.to_qkv", "self_attn.v", 2, 3),
    FUSED("attn2.to_kv", "cross_attn.k", 0, 2),
    FUSED("attn2.to_kv", "cross_attn.v", 1, 2),
    {"blocks.*.norm1", NULL, 0, 0},
    {"blocks.*.norm2", "blocks.*.norm3", 0, 0},
    {"blocks.*.norm3", NULL, 0, 0},
    {"blocks.*.ffn.net.0.proj", "blocks.*.ffn.0", 0, 0},
    {"blocks.*.ffn.net.2", "blocks.*.ffn.2", 0, 0},
    {"blocks.*.scale_shift_table", "blocks.*.modulation", 0, 0},
    {"proj_out", "head.head", 0, 0},
    {"scale_shift_table", "head.modulation", 0, 0},
    {0},
};

const LfLayout lf_layout_diffusers = {
    "diffusers",
    LF_FILE_TRANSFORMER,
    {{"condition_embedder.time_proj.weight", 0}, {"blocks.0.attn1.to_q.weight", 0}},
    names};
