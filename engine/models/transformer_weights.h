/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of an LfTransformer: its weights. D model width, F feed-forward width, C latent
 * channels, E width of the text encoder's output.
 */
#ifndef LF_MODELS_TRANSFORMER_WEIGHTS_H
#define LF_MODELS_TRANSFORMER_WEIGHTS_H

#include "engine/files/layered.h"
#include "transformer.h"

typedef struct {
    LfTensor modulation; /* [6, D] */
    struct {
        LfWeight *qkv, *o;                         /* [3·D, D], [D, D] */
        LfTensor qkv_bias, o_bias, norm_q, norm_k; /* [3·D], [D], [D], [D] */
    } self;
    struct {
        LfTensor norm, norm_bias;                                /* [D] */
        LfWeight *q, *k, *v, *o;                                 /* [D, D] */
        LfTensor q_bias, k_bias, v_bias, o_bias, norm_q, norm_k; /* [D] */
    } cross;
    struct {
        LfWeight *up, *down;         /* [F, D], [D, F] */
        LfTensor up_bias, down_bias; /* [F], [D] */
    } ffn;
} LfTransformerLayer;

typedef struct {
    LfWeight *patch, *text_in, *text_out, *time_in, *time_out, *time_projection, *head;
    LfTensor patch_bias, text_in_bias, text_out_bias, time_in_bias, time_out_bias,
        time_projection_bias, head_bias;
    LfTensor head_modulation; /* [2, D] */
} LfTransformerOuter;

struct LfTransformer {
    LfBackend *be;
    LfTransformerConfig config;
    LfLayered *weights; /* owns the two below */
    const LfTransformerOuter *outer;
    const LfTransformerLayer *layers; /* [config.layers] */
};

/* value_amax.c: F32 [layers] for an upper bound of |v|, which bounds the outputs of attention, too;
 * LF_NONE unless these are in FP8. */
LfTensor lf_value_amax(const LfTransformer *t, LfArena *arena);

#endif
