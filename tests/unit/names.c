/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "names.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

/* The first row whose first text is in the name tells what takes its place. */
static char *replaced(const char *name, const char *const (*rows)[2], gsize n)
{
    for (gsize i = 0; i < n; i++) {
        const char *at = strstr(name, rows[i][0]);
        if (at)
            return g_strdup_printf("%.*s%s%s", (int) (at - name), name, rows[i][1],
                                   at + strlen(rows[i][0]));
    }
    return g_strdup(name);
}

char *names_same(const char *wan)
{
    return g_strdup(wan);
}

char *names_diffusers(const char *wan)
{
    static const char *const rows[][2] = {
        {"time_embedding.0", "condition_embedder.time_embedder.linear_1"},
        {"time_embedding.2", "condition_embedder.time_embedder.linear_2"},
        {"text_embedding.0", "condition_embedder.text_embedder.linear_1"},
        {"text_embedding.2", "condition_embedder.text_embedder.linear_2"},
        {"time_projection.1", "condition_embedder.time_proj"},
        {"self_attn.norm", "attn1.norm"},
        {"cross_attn.norm", "attn2.norm"},
        {"self_attn.o.", "attn1.to_out.0."},
        {"cross_attn.o.", "attn2.to_out.0."},
        {"self_attn.", "attn1.to_"},
        {"cross_attn.", "attn2.to_"},
        {"norm3", "norm2"},
        {"ffn.0", "ffn.net.0.proj"},
        {"ffn.2", "ffn.net.2"},
        {"head.head", "proj_out"},
        {"head.modulation", "scale_shift_table"},
        {"modulation", "scale_shift_table"},
    };
    return replaced(wan, rows, G_N_ELEMENTS(rows));
}

/* In front of a layer's names stands something else, too. */
static char *with_layers(char *name, const char *before)
{
    char *full = g_str_has_prefix(name, "blocks.")
                     ? g_strconcat(before, name + strlen("blocks."), NULL)
                     : g_strdup(name);
    g_free(name);
    return full;
}

char *names_hugging_face(const char *wan)
{
    static const char *const rows[][2] = {
        {"token_embedding", "shared"},
        {"norm1", "layer.0.layer_norm"},
        {"norm2", "layer.1.layer_norm"},
        {"pos_embedding.embedding", "layer.0.SelfAttention.relative_attention_bias"},
        {"attn", "layer.0.SelfAttention"},
        {"ffn.gate.0", "layer.1.DenseReluDense.wi_0"},
        {"ffn.fc1", "layer.1.DenseReluDense.wi_1"},
        {"ffn.fc2", "layer.1.DenseReluDense.wo"},
        {"norm.", "encoder.final_layer_norm."},
    };
    return with_layers(replaced(wan, rows, G_N_ELEMENTS(rows)), "encoder.block.");
}

char *names_llama_cpp(const char *wan)
{
    static const char *const rows[][2] = {
        {"token_embedding", "token_embd"},
        {"norm1", "attn_norm"},
        {"norm2", "ffn_norm"},
        {"pos_embedding.embedding", "attn_rel_b"},
        {"attn.", "attn_"},
        {"ffn.gate.0", "ffn_gate"},
        {"ffn.fc1", "ffn_up"},
        {"ffn.fc2", "ffn_down"},
        {"norm.", "enc.output_norm."},
    };
    return with_layers(replaced(wan, rows, G_N_ELEMENTS(rows)), "enc.blk.");
}

char *names_diffusers_vae(const char *wan)
{
    static const char *const rows[][2] = {
        {"residual.0", "norm1"},
        {"residual.2", "conv1"},
        {"residual.3", "norm2"},
        {"residual.6", "conv2"},
        {"shortcut", "conv_shortcut"},
        {"conv2.", "post_quant_conv."},
        {"decoder.conv1", "decoder.conv_in"},
        {"head.0", "norm_out"},
        {"head.2", "conv_out"},
    };
    int n, length = 0;
    g_autofree char *name = replaced(wan, rows, G_N_ELEMENTS(rows));
    if (sscanf(name, "decoder.upsamples.%d.%n", &n, &length) == 1 && length > 0)
        return n % 4 == 3
                   ? g_strdup_printf("decoder.up_blocks.%d.upsamplers.0.%s", n / 4, name + length)
                   : g_strdup_printf("decoder.up_blocks.%d.resnets.%d.%s", n / 4, n % 4,
                                     name + length);
    if (sscanf(name, "decoder.middle.%d.%n", &n, &length) == 1 && length > 0)
        return n == 1 ? g_strdup_printf("decoder.mid_block.attentions.0.%s", name + length)
                      : g_strdup_printf("decoder.mid_block.resnets.%d.%s", n / 2, name + length);
    return g_strdup(name);
}
