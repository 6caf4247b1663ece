/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Decoders: TAEHV, whose names are canonical, and the VAE of Wan under its own and under diffusers'
 * names. Their files may hold an encoder, too.
 */
#include "layouts.h"

static const LfLayoutName taehv_names[] = {{"encoder", NULL, 0, 0}, {0}};

static const LfLayoutName vae_names[] = {
    {"encoder", NULL, 0, 0},
    {"conv1", NULL, 0, 0}, /* behind the encoder */
    {0},
};

#define RESNET(THEIRS, OURS)                                                                       \
    {THEIRS ".norm1", OURS ".residual.0", 0, 0}, {THEIRS ".conv1", OURS ".residual.2", 0, 0},      \
        {THEIRS ".norm2", OURS ".residual.3", 0, 0}, {THEIRS ".conv2", OURS ".residual.6", 0, 0},  \
    {                                                                                              \
        THEIRS ".conv_shortcut", OURS ".shortcut", 0, 0                                            \
    }

/* Diffusers counts the stages and their parts, Wan counts all in a row: four a stage. */
#define UP(STAGE, FIRST, SECOND, THIRD, FOURTH)                                                    \
    RESNET("decoder.up_blocks." STAGE ".resnets.0", "decoder.upsamples." FIRST),                   \
        RESNET("decoder.up_blocks." STAGE ".resnets.1", "decoder.upsamples." SECOND),              \
        RESNET("decoder.up_blocks." STAGE ".resnets.2", "decoder.upsamples." THIRD),               \
    {                                                                                              \
        "decoder.up_blocks." STAGE ".upsamplers.0", "decoder.upsamples." FOURTH, 0, 0              \
    }

static const LfLayoutName vae_diffusers_names[] = {
    {"encoder", NULL, 0, 0},
    {"quant_conv", NULL, 0, 0},
    {"post_quant_conv", "conv2", 0, 0},
    {"decoder.conv_in", "decoder.conv1", 0, 0},
    {"decoder.norm_out", "decoder.head.0", 0, 0},
    {"decoder.conv_out", "decoder.head.2", 0, 0},
    RESNET("decoder.mid_block.resnets.0", "decoder.middle.0"),
    {"decoder.mid_block.attentions.0", "decoder.middle.1", 0, 0},
    RESNET("decoder.mid_block.resnets.1", "decoder.middle.2"),
    UP("0", "0", "1", "2", "3"),
    UP("1", "4", "5", "6", "7"),
    UP("2", "8", "9", "10", "11"),
    UP("3", "12", "13", "14", "15"),
    {0},
};

const LfLayout lf_layout_taehv = {
    "TAEHV", LF_FILE_DECODER, {{"decoder.1.weight", 4}, {"decoder.22.weight", 4}}, taehv_names};

const LfLayout lf_layout_wan_vae = {
    "Wan VAE",
    LF_FILE_DECODER,
    {{"decoder.middle.0.residual.0.gamma", 0}, {"decoder.head.0.gamma", 0}},
    vae_names};

const LfLayout lf_layout_wan_vae_diffusers = {"diffusers VAE",
                                              LF_FILE_DECODER,
                                              {{"decoder.mid_block.resnets.0.norm1.gamma", 0}},
                                              vae_diffusers_names};
