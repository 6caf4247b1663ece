/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The transformer's list of weights, by their published names.
 */
#include "transformer_weights.h"

#include <string.h>

enum { N_OUTER = 15, N_LAYER = 23 };

#define VECTOR(NAME, FIELD, ...)                                                                   \
    {                                                                                              \
        .name = NAME, .offset = AT(FIELD), .kind = LF_BIND_VECTOR, .shape = { __VA_ARGS__ }        \
    }
#define MATRIX(NAME, FIELD, OUT, IN)                                                               \
    {                                                                                              \
        .name = NAME, .offset = AT(FIELD), .kind = LF_BIND_LINEAR, .shape = { OUT, IN }            \
    }
/* Weight and bias. */
#define LINEAR(NAME, FIELD, OUT, IN)                                                               \
    MATRIX(NAME ".weight", FIELD, OUT, IN), VECTOR(NAME ".bias", FIELD##_bias, OUT)

static void bind_outer(const LfTransformerConfig *c, LfBinding bindings[N_OUTER])
{
    int64_t d = c->dim, patch = 4 * (int64_t) c->channels;
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

static void bind_layer(const LfTransformerConfig *c, LfBinding bindings[N_LAYER])
{
    int64_t d = c->dim, f = c->ffn;
#define AT(FIELD) offsetof(LfTransformerLayer, FIELD)
    const LfBinding table[N_LAYER] = {
        VECTOR("modulation", modulation, 6, d),
        MATRIX("self_attn.q.weight|self_attn.k.weight|self_attn.v.weight", self.qkv, 3 * d, d),
        VECTOR("self_attn.q.bias|self_attn.k.bias|self_attn.v.bias", self.qkv_bias, 3 * d),
        VECTOR("self_attn.norm_q.weight", self.norm_q, d),
        VECTOR("self_attn.norm_k.weight", self.norm_k, d),
        LINEAR("self_attn.o", self.o, d, d),
        VECTOR("norm3.weight", cross.norm, d),
        VECTOR("norm3.bias", cross.norm_bias, d),
        LINEAR("cross_attn.q", cross.q, d, d),
        LINEAR("cross_attn.k", cross.k, d, d),
        LINEAR("cross_attn.v", cross.v, d, d),
        VECTOR("cross_attn.norm_q.weight", cross.norm_q, d),
        VECTOR("cross_attn.norm_k.weight", cross.norm_k, d),
        LINEAR("cross_attn.o", cross.o, d, d),
        LINEAR("ffn.0", ffn.up, f, d),
        LINEAR("ffn.2", ffn.down, d, f),
    };
#undef AT
    memcpy(bindings, table, sizeof table);
}

static bool bind_all(LfTransformer *t, LfWeightSource *source, GError **error)
{
    LfBinding outer[N_OUTER], layer[N_LAYER];
    bind_outer(&t->config, outer);
    bind_layer(&t->config, layer);
    size_t size = lf_weights_vector_size(outer, N_OUTER) +
                  (size_t) t->config.layers * lf_weights_vector_size(layer, N_LAYER);
    if (!lf_arena_init(&t->vectors, t->be, size, error) ||
        !lf_weights_bind(t->be, source, "", outer, N_OUTER, &t->vectors, &t->outer, error))
        return false;
    for (int i = 0; i < t->config.layers; i++) {
        char prefix[32];
        g_snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        if (!lf_weights_bind(t->be, source, prefix, layer, N_LAYER, &t->vectors, &t->layers[i],
                             error))
            return false;
    }
    return t->be->sync(t->be, error);
}

static bool check_config(const LfTransformerConfig *c, GError **error)
{
    if (c->dim > 0 && c->heads > 0 && c->dim % c->heads == 0 && c->dim / c->heads >= 6 &&
        c->dim / c->heads % 2 == 0 && c->ffn > 0 && c->layers > 0 && c->freq_dim > 0 &&
        c->freq_dim % 2 == 0 && c->text_dim > 0 && c->text_len > 0 && c->channels > 0)
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "transformer: %d layers of width %d with %d heads, ffn %d, freq_dim %d, text %d × "
                "%d, %d channels cannot be: the width must be heads of an even number of channels, "
                "6 or more, freq_dim even, and all above 0",
                c->layers, c->dim, c->heads, c->ffn, c->freq_dim, c->text_len, c->text_dim,
                c->channels);
    return false;
}

LfTransformer *lf_transformer_new(LfBackend *be, const LfTransformerConfig *config,
                                  LfWeightSource *source, GError **error)
{
    if (!check_config(config, error))
        return NULL;
    LfTransformer *t = g_new0(LfTransformer, 1);
    t->be = be;
    t->config = *config;
    t->config.file = NULL;
    t->layers = g_new0(LfTransformerLayer, config->layers);
    if (!bind_all(t, source, error))
        goto fail;
    return t;
fail:
    lf_transformer_free(t);
    return NULL;
}

void lf_transformer_free(LfTransformer *t)
{
    if (!t)
        return;
    LfBinding outer[N_OUTER], layer[N_LAYER];
    bind_outer(&t->config, outer);
    bind_layer(&t->config, layer);
    lf_weights_unbind(t->be, outer, N_OUTER, &t->outer);
    for (int i = 0; i < t->config.layers; i++)
        lf_weights_unbind(t->be, layer, N_LAYER, &t->layers[i]);
    lf_arena_clear(&t->vectors);
    g_free(t->layers);
    g_free(t);
}

size_t lf_transformer_memory(const LfTransformer *t)
{
    LfBinding outer[N_OUTER], layer[N_LAYER];
    bind_outer(&t->config, outer);
    bind_layer(&t->config, layer);
    size_t size = t->vectors.peak + lf_weights_memory(outer, N_OUTER, &t->outer);
    for (int i = 0; i < t->config.layers; i++)
        size += lf_weights_memory(layer, N_LAYER, &t->layers[i]);
    return size;
}

const LfTransformerConfig *lf_transformer_config(const LfTransformer *t)
{
    return &t->config;
}
