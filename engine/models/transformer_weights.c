/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The transformer's list of weights, by their canonical names.
 */
#include "transformer_weights.h"

#include "engine/geometry.h"

#include <string.h>

enum { N_OUTER = 15, N_LAYER = 23 };

#define VECTOR(NAME, FIELD, ...)                                                                   \
    {                                                                                              \
        .name = NAME, .offset = AT(FIELD), .kind = LF_BIND_VECTOR, .shape = { __VA_ARGS__ }        \
    }
#define MATRIX(NAME, FIELD, KIND, OUT, IN)                                                         \
    {                                                                                              \
        .name = NAME, .offset = AT(FIELD), .kind = LF_BIND_##KIND, .shape = { OUT, IN }            \
    }
/* Weight and bias. */
#define LINEAR(NAME, FIELD, OUT, IN)                                                               \
    MATRIX(NAME ".weight", FIELD, LINEAR, OUT, IN), VECTOR(NAME ".bias", FIELD##_bias, OUT)
#define LINEAR_FP8(NAME, FIELD, OUT, IN)                                                           \
    MATRIX(NAME ".weight", FIELD, LINEAR_FP8, OUT, IN), VECTOR(NAME ".bias", FIELD##_bias, OUT)

static void bind_outer(const LfTransformerConfig *c, LfBinding bindings[N_OUTER])
{
    int64_t d = c->dim, patch = LF_PATCH_LATENTS * (int64_t) c->channels;
#define AT(FIELD) offsetof(LfTransformerOuter, FIELD)
    const LfBinding table[N_OUTER] = {
        LINEAR("patch_embedding", patch, d, patch),
        LINEAR("text_embedding.0", text_in, d, c->text_dim),
        LINEAR("text_embedding.2", text_out, d, d),
        LINEAR("time_embedding.0", time_in, d, c->freq_dim),
        LINEAR("time_embedding.2", time_out, d, d),
        LINEAR("time_projection.1", time_projection, 6 * d, d),
        LINEAR("head.head", head, patch, d),
        VECTOR("head.modulation", head_modulation, 2, d),
    };
#undef AT
    memcpy(bindings, table, sizeof table);
}

/* All ten matrices of a block are in FP8 if that is the backend's precision; q, k and v of self
 * attention are one matrix. */
static void bind_layer(const LfTransformerConfig *c, LfBinding bindings[N_LAYER])
{
    int64_t d = c->dim, f = c->ffn;
#define AT(FIELD) offsetof(LfTransformerLayer, FIELD)
    const LfBinding table[N_LAYER] = {
        VECTOR("modulation", modulation, 6, d),
        MATRIX("self_attn.q.weight|self_attn.k.weight|self_attn.v.weight", self.qkv, LINEAR_FP8,
               3 * d, d),
        VECTOR("self_attn.q.bias|self_attn.k.bias|self_attn.v.bias", self.qkv_bias, 3 * d),
        VECTOR("self_attn.norm_q.weight", self.norm_q, d),
        VECTOR("self_attn.norm_k.weight", self.norm_k, d),
        LINEAR_FP8("self_attn.o", self.o, d, d),
        VECTOR("norm3.weight", cross.norm, d),
        VECTOR("norm3.bias", cross.norm_bias, d),
        LINEAR_FP8("cross_attn.q", cross.q, d, d),
        LINEAR_FP8("cross_attn.k", cross.k, d, d),
        LINEAR_FP8("cross_attn.v", cross.v, d, d),
        VECTOR("cross_attn.norm_q.weight", cross.norm_q, d),
        VECTOR("cross_attn.norm_k.weight", cross.norm_k, d),
        LINEAR_FP8("cross_attn.o", cross.o, d, d),
        LINEAR_FP8("ffn.0", ffn.up, f, d),
        LINEAR_FP8("ffn.2", ffn.down, d, f),
    };
#undef AT
    memcpy(bindings, table, sizeof table);
}

static bool check_config(const LfTransformerConfig *c, GError **error)
{
    int head = c->heads > 0 && c->dim > 0 && c->dim % c->heads == 0 ? c->dim / c->heads : 0;
    if (head < 6 || head % 2 != 0) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "transformer: dim %d is not divisible by heads %d into an even head size of at "
                    "least 6",
                    c->dim, c->heads);
        return false;
    }
    if (c->ffn > 0 && c->layers > 0 && c->freq_dim > 0 && c->freq_dim % 2 == 0 && c->text_dim > 0 &&
        c->text_len > 0 && c->channels > 0)
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "transformer: layers %d, ffn %d, freq_dim %d, text_dim %d, text_len %d and "
                "channels %d must be above 0, and freq_dim even",
                c->layers, c->ffn, c->freq_dim, c->text_dim, c->text_len, c->channels);
    return false;
}

LfTransformer *lf_transformer_new(LfBackend *be, const LfTransformerConfig *config,
                                  LfWeightSource *source, GError **error)
{
    LfBinding outer[N_OUTER], layer[N_LAYER];
    if (!check_config(config, error))
        return NULL;
    bind_outer(config, outer);
    bind_layer(config, layer);
    LfLayered *weights = lf_layered_new(be, source,
                                        &(LfLayeredTables){.outer = outer,
                                                           .layer = layer,
                                                           .n_outer = N_OUTER,
                                                           .n_layer = N_LAYER,
                                                           .outer_size = sizeof(LfTransformerOuter),
                                                           .layer_size = sizeof(LfTransformerLayer),
                                                           .n_layers = config->layers},
                                        error);
    if (!weights)
        return NULL;
    LfTransformer *t = g_new0(LfTransformer, 1);
    *t = (LfTransformer){be, *config, weights, weights->outer, weights->layers};
    return t;
}

void lf_transformer_free(LfTransformer *t)
{
    if (t)
        lf_layered_free(t->weights);
    g_free(t);
}

size_t lf_transformer_memory(const LfTransformer *t)
{
    return lf_layered_memory(t->weights);
}

const LfTransformerConfig *lf_transformer_config(const LfTransformer *t)
{
    return &t->config;
}
