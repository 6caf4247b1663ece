/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The encoder of umT5: under Wan's names, which are the canonical ones, under those of Hugging Face's
 * library and under those of llama.cpp.
 */
#include "layouts.h"

static const LfLayoutName wan_names[] = {{0}};

static const LfLayoutName hf_names[] = {
    {"shared", "token_embedding", 0, 0},
    {"encoder.embed_tokens", NULL, 0, 0}, /* the same matrix again */
    {"encoder.block.*.layer.0.layer_norm", "blocks.*.norm1", 0, 0},
    {"encoder.block.*.layer.0.SelfAttention.q", "blocks.*.attn.q", 0, 0},
    {"encoder.block.*.layer.0.SelfAttention.k", "blocks.*.attn.k", 0, 0},
    {"encoder.block.*.layer.0.SelfAttention.v", "blocks.*.attn.v", 0, 0},
    {"encoder.block.*.layer.0.SelfAttention.o", "blocks.*.attn.o", 0, 0},
    {"encoder.block.*.layer.0.SelfAttention.relative_attention_bias",
     "blocks.*.pos_embedding.embedding", 0, 0},
    {"encoder.block.*.layer.1.layer_norm", "blocks.*.norm2", 0, 0},
    {"encoder.block.*.layer.1.DenseReluDense.wi_0", "blocks.*.ffn.gate.0", 0, 0},
    {"encoder.block.*.layer.1.DenseReluDense.wi_1", "blocks.*.ffn.fc1", 0, 0},
    {"encoder.block.*.layer.1.DenseReluDense.wo", "blocks.*.ffn.fc2", 0, 0},
    {"encoder.final_layer_norm", "norm", 0, 0},
    {"decoder", NULL, 0, 0},
    {"lm_head", NULL, 0, 0},
    {0},
};

static const LfLayoutName gguf_names[] = {
    {"token_embd", "token_embedding", 0, 0},
    {"enc.blk.*.attn_norm", "blocks.*.norm1", 0, 0},
    {"enc.blk.*.attn_q", "blocks.*.attn.q", 0, 0},
    {"enc.blk.*.attn_k", "blocks.*.attn.k", 0, 0},
    {"enc.blk.*.attn_v", "blocks.*.attn.v", 0, 0},
    {"enc.blk.*.attn_o", "blocks.*.attn.o", 0, 0},
    {"enc.blk.*.attn_rel_b", "blocks.*.pos_embedding.embedding", 0, 0},
    {"enc.blk.*.ffn_norm", "blocks.*.norm2", 0, 0},
    {"enc.blk.*.ffn_gate", "blocks.*.ffn.gate.0", 0, 0},
    {"enc.blk.*.ffn_up", "blocks.*.ffn.fc1", 0, 0},
    {"enc.blk.*.ffn_down", "blocks.*.ffn.fc2", 0, 0},
    {"enc.output_norm", "norm", 0, 0},
    {"dec", NULL, 0, 0},
    {"output", NULL, 0, 0},
    {0},
};

const LfLayout lf_layout_umt5 = {
    "Wan",
    LF_FILE_TEXT_ENCODER,
    {{"blocks.0.pos_embedding.embedding.weight", 0}, {"blocks.0.ffn.gate.0.weight", 0}},
    wan_names};

const LfLayout lf_layout_umt5_hf = {
    "Hugging Face",
    LF_FILE_TEXT_ENCODER,
    {{"encoder.block.0.layer.0.SelfAttention.q.weight", 0}, {"encoder.final_layer_norm.weight", 0}},
    hf_names};

const LfLayout lf_layout_umt5_gguf = {
    "llama.cpp",
    LF_FILE_TEXT_ENCODER,
    {{"enc.blk.0.attn_q.weight", 0}, {"enc.output_norm.weight", 0}},
    gguf_names};
