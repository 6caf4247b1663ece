/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Dimensions that model.json leaves open, from the shapes of a few tensors. All shapes are checked
 * when the tensors are bound.
 */
#include "model_config.h"
#include "weights.h"

/* Products of a few dimensions must not overflow; an empty tensor can claim any dimension. */
enum { MAX_NUMBER = 1 << 24 };

/* Channels of a head, in every model of Wan's. */
enum { HEAD_DIM = 128 };

typedef struct {
    LfWeightSource *source;
    const char *part; /* for messages */
    GError **error;
} Shapes;

/* Sets `value` to dimension `axis` of a tensor of n_dims dimensions, or, if it is not 0, checks
 * that it is that. */
static bool read_dimension(Shapes *in, const char *key, int *value, const char *name, int n_dims,
                           int axis)
{
    const LfFileTensor *t = lf_weight_source_find(in->source, name, in->error);
    if (!t)
        return false;
    int64_t found = t->n_dims == n_dims && t->size > 0 ? t->shape[axis] : 0;
    if (found < 1 || found > MAX_NUMBER || (*value && *value != found)) {
        g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
        if (t->n_dims != n_dims)
            return lf_fail(in->error, LF_ERROR_SHAPE,
                           "%s: unexpected shape of %s: %s, %d dimensions expected", in->part, name,
                           shape, n_dims);
        if (found < 1 || found > MAX_NUMBER)
            return lf_fail(in->error, LF_ERROR_SHAPE, "%s: unexpected shape of %s: %s", in->part,
                           name, shape);
        return lf_fail(in->error, LF_ERROR_SHAPE, "%s.%s is %d, but %s is %s", in->part, key,
                       *value, name, shape);
    }
    *value = (int) found;
    return true;
}

/* Blocks are numbered from 0 without a gap; `name` is a tensor of each. */
static bool count_layers(Shapes *in, int *layers, const char *name)
{
    int n = 0;
    for (;; n++) {
        g_autofree char *full = g_strdup_printf("blocks.%d.%s", n, name);
        if (!lf_weight_source_has(in->source, full))
            break;
    }
    if (n == 0)
        return lf_fail(in->error, LF_ERROR_SHAPE, "%s: the file has no blocks.0.%s", in->part,
                       name);
    if (*layers && *layers != n)
        return lf_fail(in->error, LF_ERROR_SHAPE, "%s.layers is %d, but the file has %d blocks",
                       in->part, *layers, n);
    *layers = n;
    return true;
}

bool lf_transformer_config_complete(LfTransformerConfig *config, LfWeightSource *source,
                                    GError **error)
{
    Shapes in = {source, "transformer", error};
    bool complete =
        read_dimension(&in, "dim", &config->dim, "patch_embedding.weight", 5, 0) &&
        read_dimension(&in, "channels", &config->channels, "patch_embedding.weight", 5, 1) &&
        read_dimension(&in, "freq_dim", &config->freq_dim, "time_embedding.0.weight", 2, 1) &&
        read_dimension(&in, "text_dim", &config->text_dim, "text_embedding.0.weight", 2, 1) &&
        read_dimension(&in, "ffn", &config->ffn, "blocks.0.ffn.0.weight", 2, 0) &&
        count_layers(&in, &config->layers, "self_attn.q.weight");
    if (complete && !config->heads && config->dim % HEAD_DIM == 0)
        config->heads = config->dim / HEAD_DIM;
    if (complete && !config->heads) {
        lf_fail(error, LF_ERROR_CONFIG,
                "transformer.heads: missing in model.json; no tensor's shape has it, and dim %d is "
                "no multiple of %d",
                config->dim, HEAD_DIM);
        complete = false;
    }
    if (complete && !config->text_len)
        config->text_len = 512;
    return complete;
}

bool lf_text_encoder_config_complete(LfTextEncoderConfig *config, LfWeightSource *source,
                                     GError **error)
{
    static const char table[] = "blocks.0.pos_embedding.embedding.weight";
    Shapes in = {source, "text_encoder", error};
    bool complete = read_dimension(&in, "vocab", &config->vocab, "token_embedding.weight", 2, 0) &&
                    read_dimension(&in, "dim", &config->dim, "token_embedding.weight", 2, 1) &&
                    read_dimension(&in, "attention_dim", &config->attention_dim,
                                   "blocks.0.attn.q.weight", 2, 0) &&
                    read_dimension(&in, "ffn", &config->ffn, "blocks.0.ffn.fc1.weight", 2, 0) &&
                    read_dimension(&in, "buckets", &config->buckets, table, 2, 0) &&
                    read_dimension(&in, "heads", &config->heads, table, 2, 1) &&
                    count_layers(&in, &config->layers, "attn.q.weight");
    if (complete && !config->max_distance)
        config->max_distance = 128;
    return complete;
}

bool lf_config_dimension(LfWeightSource *source, const char *part, const char *key, int *value,
                         const char *name, int n_dims, int axis, GError **error)
{
    Shapes in = {source, part, error};
    return read_dimension(&in, key, value, name, n_dims, axis);
}
