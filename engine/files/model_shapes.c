/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the tensors' shapes tell of a model's numbers. Shapes of every tensor are checked when they
 * are bound; here a few of them fill what model.json leaves open.
 */
#include "model_config.h"
#include "weights.h"

/* Small enough that no product of a few of them is too large: an empty tensor can claim
 * anything. */
enum { MAX_NUMBER = 1 << 24 };

typedef struct {
    LfWeightSource *source;
    const char *part; /* for messages */
    GError **error;
} Shapes;

/* Dimension `axis` of a tensor of rank n_dims into `value`, or the same number already there. */
static gboolean take(Shapes *in, const char *key, int *value, const char *name, int n_dims,
                     int axis)
{
    const LfFileTensor *t = lf_weight_source_find(in->source, name, in->error);
    if (!t)
        return FALSE;
    int64_t found = t->n_dims == n_dims && t->size > 0 ? t->shape[axis] : 0;
    if (found < 1 || found > MAX_NUMBER || (*value && *value != found)) {
        g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
        g_autofree char *wanted = g_strdup_printf("%s.%s is %d", in->part, key, *value);
        g_set_error(in->error, LF_ERROR, LF_ERROR_SHAPE, "%s, but %s is %s",
                    *value ? wanted : in->part, name, shape);
        return FALSE;
    }
    *value = (int) found;
    return TRUE;
}

/* Blocks are numbered from 0 without a gap; `name` is a tensor that each has. */
static gboolean take_layers(Shapes *in, int *layers, const char *name)
{
    int n = 0;
    for (;; n++) {
        g_autofree char *full = g_strdup_printf("blocks.%d.%s", n, name);
        if (!lf_weight_source_has(in->source, full))
            break;
    }
    if (n == 0 || (*layers && *layers != n)) {
        g_set_error(in->error, LF_ERROR, LF_ERROR_SHAPE,
                    "%s.layers: %d wanted, the file has %d blocks", in->part, *layers, n);
        return FALSE;
    }
    *layers = n;
    return TRUE;
}

gboolean lf_transformer_config_complete(LfTransformerConfig *config, LfTensorFile *file,
                                        GError **error)
{
    Shapes in = {lf_weight_source_file(file), "transformer", error};
    gboolean complete = take(&in, "dim", &config->dim, "patch_embedding.weight", 5, 0) &&
                        take(&in, "channels", &config->channels, "patch_embedding.weight", 5, 1) &&
                        take(&in, "freq_dim", &config->freq_dim, "time_embedding.0.weight", 2, 1) &&
                        take(&in, "text_dim", &config->text_dim, "text_embedding.0.weight", 2, 1) &&
                        take(&in, "ffn", &config->ffn, "blocks.0.ffn.0.weight", 2, 0) &&
                        take_layers(&in, &config->layers, "self_attn.q.weight");
    if (complete && !config->heads) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "transformer.heads: missing in model.json, and no tensor tells it");
        complete = FALSE;
    }
    if (complete && !config->text_len)
        config->text_len = 512;
    lf_weight_source_free(in.source);
    return complete;
}

gboolean lf_text_encoder_config_complete(LfTextEncoderConfig *config, LfTensorFile *file,
                                         GError **error)
{
    static const char table[] = "blocks.0.pos_embedding.embedding.weight";
    Shapes in = {lf_weight_source_file(file), "text_encoder", error};
    gboolean complete =
        take(&in, "vocab", &config->vocab, "token_embedding.weight", 2, 0) &&
        take(&in, "dim", &config->dim, "token_embedding.weight", 2, 1) &&
        take(&in, "attention_dim", &config->attention_dim, "blocks.0.attn.q.weight", 2, 0) &&
        take(&in, "ffn", &config->ffn, "blocks.0.ffn.fc1.weight", 2, 0) &&
        take(&in, "buckets", &config->buckets, table, 2, 0) &&
        take(&in, "heads", &config->heads, table, 2, 1) &&
        take_layers(&in, &config->layers, "attn.q.weight");
    if (complete && !config->max_distance)
        config->max_distance = 128;
    lf_weight_source_free(in.source);
    return complete;
}

gboolean lf_decoder_config_complete(LfDecoderConfig *config, LfTensorFile *file, GError **error)
{
    Shapes in = {lf_weight_source_file(file), "decoder", error};
    gboolean complete = take(&in, "channels", &config->channels, "decoder.1.weight", 4, 1) &&
                        take(&in, "widths[0]", &config->widths[0], "decoder.1.weight", 4, 0) &&
                        take(&in, "widths[1]", &config->widths[1], "decoder.8.weight", 4, 0) &&
                        take(&in, "widths[2]", &config->widths[2], "decoder.14.weight", 4, 0) &&
                        take(&in, "widths[3]", &config->widths[3], "decoder.20.weight", 4, 0);
    lf_weight_source_free(in.source);
    return complete;
}
