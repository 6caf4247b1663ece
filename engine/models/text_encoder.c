/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text_encoder.h"

#include "engine/cancel.h"
#include "engine/files/layer_stream.h"

#include <math.h>
#include <string.h>

#define EPSILON 1e-6f

/* ---- weights: D model width, A attention width, F feed-forward width, H heads ---------------- */

/* Query, key and value are separate weights, and so are gate and up, so that the bf16 matrices of a
 * file can be used in place: 11 GB in umT5-xxl. */
typedef struct {
    LfTensor attention_norm, ffn_norm; /* [D] */
    LfTensor position;                 /* [buckets, H] */
    LfWeight *q, *k, *v, *o;           /* [A, D], …, [D, A] */
    LfWeight *gate, *up, *down;        /* [F, D], [F, D], [D, F] */
} Layer;

typedef struct {
    LfWeight *embedding; /* [vocab, D] */
    LfTensor norm;       /* [D] */
} Outer;

/* Of a streamed encoder: what the CPU has of it, and where its layers are. */
typedef struct {
    LfBackend *host;
    LfLayered *weights; /* without layers, on `host` */
    LfWeightSource *source;
    GMutex lock; /* of the source */
} Streamed;

struct LfTextEncoder {
    LfTextEncoderConfig config;
    LfLayered *weights; /* owns the two below; of a streamed encoder their shapes alone */
    const Outer *outer;
    const Layer *layers; /* [config.layers] */
    Streamed *streamed;  /* NULL: resident */
};

enum { N_OUTER = 2, N_LAYER = 10 };

static void bind_outer(const LfTextEncoderConfig *c, LfBinding bindings[N_OUTER])
{
#define ROW(NAME, FIELD, KIND, ...)                                                                \
    {                                                                                              \
        NAME, offsetof(Outer, FIELD), LF_BIND_##KIND, {__VA_ARGS__}, 0, 0                          \
    }
    const LfBinding table[N_OUTER] = {
        ROW("token_embedding.weight", embedding, EMBEDDING, c->vocab, c->dim),
        ROW("norm.weight", norm, VECTOR, c->dim),
    };
#undef ROW
    memcpy(bindings, table, sizeof table);
}

static void bind_layer(const LfTextEncoderConfig *c, LfBinding bindings[N_LAYER])
{
    int64_t d = c->dim, a = c->attention_dim, f = c->ffn;
#define ROW(NAME, FIELD, KIND, ...)                                                                \
    {                                                                                              \
        NAME ".weight", offsetof(Layer, FIELD), LF_BIND_##KIND, {__VA_ARGS__}, 0, 0                \
    }
    const LfBinding table[N_LAYER] = {
        ROW("norm1", attention_norm, VECTOR, d),
        ROW("attn.q", q, LINEAR, a, d),
        ROW("attn.k", k, LINEAR, a, d),
        ROW("attn.v", v, LINEAR, a, d),
        ROW("attn.o", o, LINEAR, d, a),
        ROW("pos_embedding.embedding", position, VECTOR, c->buckets, c->heads),
        ROW("norm2", ffn_norm, VECTOR, d),
        ROW("ffn.gate.0", gate, LINEAR, f, d),
        ROW("ffn.fc1", up, LINEAR, f, d),
        ROW("ffn.fc2", down, LINEAR, d, f),
    };
#undef ROW
    memcpy(bindings, table, sizeof table);
}

static bool check_config(const LfTextEncoderConfig *c, GError **error)
{
    if (c->heads < 1 || c->attention_dim < 1 || c->attention_dim % c->heads != 0) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "text encoder: attention_dim %d is not divisible by heads %d", c->attention_dim,
                    c->heads);
        return false;
    }
    if (c->buckets < 4 || c->buckets % 4 != 0 || c->max_distance <= c->buckets / 4) {
        g_set_error(
            error, LF_ERROR, LF_ERROR_CONFIG,
            "text encoder: buckets %d must be a multiple of 4, and max_distance %d more than "
            "a quarter of that",
            c->buckets, c->max_distance);
        return false;
    }
    if (c->vocab > 0 && c->dim > 0 && c->ffn > 0 && c->layers >= 0)
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "text encoder: vocab %d, dim %d and ffn %d must be above 0, layers %d not below 0",
                c->vocab, c->dim, c->ffn, c->layers);
    return false;
}

static LfLayered *bind(LfBackend *be, const LfTextEncoderConfig *config, int n_layers,
                       LfWeightSource *source, GError **error)
{
    LfBinding outer[N_OUTER], layer[N_LAYER];
    bind_outer(config, outer);
    bind_layer(config, layer);
    return lf_layered_new(be, source,
                          &(LfLayeredTables){.outer = outer,
                                             .layer = layer,
                                             .n_outer = N_OUTER,
                                             .n_layer = N_LAYER,
                                             .outer_size = sizeof(Outer),
                                             .layer_size = sizeof(Layer),
                                             .n_layers = n_layers},
                          error);
}

LfTextEncoder *lf_text_encoder_new(LfBackend *be, const LfTextEncoderConfig *config,
                                   LfWeightSource *source, GError **error)
{
    LfLayered *weights =
        check_config(config, error) ? bind(be, config, config->layers, source, error) : NULL;
    if (!weights)
        return NULL;
    LfTextEncoder *t = g_new0(LfTextEncoder, 1);
    *t = (LfTextEncoder){*config, weights, weights->outer, weights->layers, NULL};
    return t;
}

static void streamed_free(Streamed *s)
{
    if (!s)
        return;
    lf_layered_free(s->weights);
    lf_backend_close(s->host);
    g_mutex_clear(&s->lock);
    g_free(s);
}

static Streamed *streamed_new(const LfTextEncoderConfig *config, LfWeightSource *source,
                              GError **error)
{
    Streamed *s = g_new0(Streamed, 1);
    g_mutex_init(&s->lock);
    s->source = source;
    s->host = lf_backend_open_cpu(1, error);
    if (s->host && (s->weights = bind(s->host, config, 0, source, error)))
        return s;
    streamed_free(s);
    return NULL;
}

LfTextEncoder *lf_text_encoder_new_streamed(const LfTextEncoderConfig *config,
                                            LfWeightSource *source, GError **error)
{
    LfTextEncoder *t = lf_text_encoder_new(lf_backend_plan(NULL), config, source, error);
    if (t && !(t->streamed = streamed_new(config, source, error)))
        g_clear_pointer(&t, lf_text_encoder_free);
    return t;
}

bool lf_text_encoder_is_streamed(const LfTextEncoder *t)
{
    return t->streamed != NULL;
}

void lf_text_encoder_free(LfTextEncoder *t)
{
    if (!t)
        return;
    streamed_free(t->streamed);
    lf_layered_free(t->weights);
    g_free(t);
}

size_t lf_text_encoder_memory(const LfTextEncoder *t)
{
    return lf_layered_memory(t->streamed ? t->streamed->weights : t->weights);
}

/* ---- positions ------------------------------------------------------------------------------- */

/* Half of the buckets are for keys after the query, half for the other keys. In each half, the
 * first half of the buckets has one distance each; the others grow with the logarithm of the
 * distance, up to `max_distance`. */
int lf_position_bucket(int r, int n_buckets, int max_distance)
{
    int half = n_buckets / 2, exact = half / 2, distance = abs(r), base = r > 0 ? half : 0;
    if (distance < exact)
        return base + distance;
    double share = log((double) distance / exact) / log((double) max_distance / exact);
    return base + MIN(half - 1, exact + (int) (share * (half - exact)));
}

/* The buckets of the offsets −(n − 1) … n − 1. */
static LfTensor offset_buckets(const LfTextEncoder *t, LfBackend *be, LfArena *scratch, int n)
{
    LfTensor out = lf_arena_tensor(scratch, LF_I32, 2 * n - 1);
    int32_t *buckets = g_new(int32_t, 2 * n - 1);
    for (int i = 0; i < 2 * n - 1; i++)
        buckets[i] = lf_position_bucket(i - (n - 1), t->config.buckets, t->config.max_distance);
    lf_upload(be, out, buckets);
    g_free(buckets);
    return out;
}

/* ---- a prompt of n tokens -------------------------------------------------------------------- */

typedef struct {
    LfBackend *be;
    LfArena *scratch;
    LfTensor x;             /* [n, D], the residual stream */
    LfTensor norm;          /* [n, D], x after a norm */
    LfTensor buckets, bias; /* [2·n − 1], [H, n, n] */
} Forward;

static void attend(const Forward *f, const Layer *l)
{
    LfBackend *be = f->be;
    size_t mark = f->scratch->used;
    int64_t n = f->x.shape[0], a = lf_weight_out(l->q);
    LfTensor q = lf_arena_tensor(f->scratch, be->activation_type, n, a); /* [n, A] */
    LfTensor k = lf_arena_tensor(f->scratch, be->activation_type, n, a); /* [n, A] */
    LfTensor v = lf_arena_tensor(f->scratch, be->activation_type, n, a); /* [n, A] */
    LfTensor y = lf_arena_tensor(f->scratch, be->activation_type, n, a); /* [n, A] */
    lf_rms_norm(be, f->norm, f->x, l->attention_norm, EPSILON);
    lf_linear(be, q, f->norm, l->q, LF_NONE, LF_ACT_NONE);
    lf_linear(be, k, f->norm, l->k, LF_NONE, LF_ACT_NONE);
    lf_linear(be, v, f->norm, l->v, LF_NONE, LF_ACT_NONE);
    lf_position_bias(be, f->bias, l->position, f->buckets);
    lf_text_attention(be, y, q, k, v, f->bias);
    lf_linear_residual(be, f->x, y, l->o, LF_NONE, LF_NONE);
    lf_arena_release(f->scratch, mark);
}

static void feed_forward(const Forward *f, const Layer *l)
{
    LfBackend *be = f->be;
    size_t mark = f->scratch->used;
    int64_t n = f->x.shape[0], width = lf_weight_out(l->gate);
    LfTensor gate = lf_arena_tensor(f->scratch, be->activation_type, n, width); /* [n, F] */
    LfTensor up = lf_arena_tensor(f->scratch, be->activation_type, n, width);   /* [n, F] */
    lf_rms_norm(be, f->norm, f->x, l->ffn_norm, EPSILON);
    lf_linear(be, gate, f->norm, l->gate, LF_NONE, LF_ACT_NONE);
    lf_linear(be, up, f->norm, l->up, LF_NONE, LF_ACT_NONE);
    lf_gelu_gate(be, gate, up);
    lf_linear_residual(be, f->x, gate, l->down, LF_NONE, LF_NONE);
    lf_arena_release(f->scratch, mark);
}

static Forward forward(const LfTextEncoder *t, LfBackend *be, LfArena *scratch, LfTensor out)
{
    int n = (int) out.shape[0];
    return (Forward){
        .be = be,
        .scratch = scratch,
        .x = out,
        .norm = lf_arena_tensor(scratch, be->activation_type, n, t->config.dim),
        .buckets = offset_buckets(t, be, scratch, n),
        .bias = lf_arena_tensor(scratch, LF_F32, t->config.heads, n, n),
    };
}

bool lf_text_encoder_forward(const LfTextEncoder *t, LfBackend *be, LfArena *scratch, LfTensor out,
                             LfTensor ids, const int *cancelled)
{
    size_t mark = scratch->used;
    Forward f = forward(t, be, scratch, out);
    lf_embedding(be, f.x, t->outer->embedding, ids);
    int layer = 0;
    for (; layer < t->config.layers && !lf_is_cancelled(cancelled); layer++) {
        attend(&f, &t->layers[layer]);
        feed_forward(&f, &t->layers[layer]);
    }
    if (layer == t->config.layers)
        lf_rms_norm(be, out, f.x, t->outer->norm, EPSILON);
    lf_arena_release(scratch, mark);
    return layer == t->config.layers;
}

/* ---- layer by layer from the file ------------------------------------------------------------ */

static LfLayerStreamConfig stream_config(const LfTextEncoderConfig *c,
                                         const LfBinding layer[N_LAYER])
{
    return (LfLayerStreamConfig){
        .layer = layer, .n_layer = N_LAYER, .layer_size = sizeof(Layer), .n_layers = c->layers};
}

size_t lf_text_encoder_streamed_memory(const LfTextEncoderConfig *config, LfType type)
{
    LfBinding layer[N_LAYER];
    bind_layer(config, layer);
    LfLayerStreamConfig stream = stream_config(config, layer);
    return lf_layer_stream_memory(&stream, type);
}

/* x = the embeddings of the ids, looked up on the CPU: the table stays in the file. */
static bool embed(const LfTextEncoder *t, LfBackend *be, LfTensor x, const int32_t *ids,
                  GError **error)
{
    LfBackend *host = lf_backend_open_cpu(1, error);
    if (!host)
        return false;
    const Outer *outer = t->streamed->weights->outer;
    int64_t n = x.shape[0], dim = x.shape[1];
    g_autofree float *rows = g_new(float, n *dim);
    lf_embedding(host, lf_tensor(rows, LF_F32, n, dim), outer->embedding,
                 lf_tensor((void *) ids, LF_I32, n));
    lf_upload_floats(be, x, rows);
    lf_backend_close(host);
    return true;
}

static bool run_layers(const LfTextEncoder *t, const Forward *f, LfLayerStream *layers,
                       const int *cancelled, GError **error)
{
    for (int i = 0; i < t->config.layers; i++) {
        if (lf_is_cancelled(cancelled))
            return lf_fail(error, LF_ERROR_CANCELLED, "the encoding of the prompt was cancelled");
        const Layer *layer = lf_layer_stream_next(layers, error);
        if (!layer)
            return false;
        attend(f, layer);
        feed_forward(f, layer);
    }
    return true;
}

/* The norm after the last layer, whose weight the CPU has. */
static bool finish(const LfTextEncoder *t, const Forward *f, GError **error)
{
    const Outer *outer = t->streamed->weights->outer;
    LfArena arena;
    if (!lf_arena_init(&arena, f->be, lf_tensor_size(outer->norm) + LF_ARENA_ALIGNMENT, error))
        return false;
    LfTensor norm = lf_arena_tensor(&arena, LF_F32, t->config.dim);
    lf_upload(f->be, norm, outer->norm.data);
    lf_rms_norm(f->be, f->x, f->x, norm, EPSILON);
    bool done = f->be->sync(f->be, error);
    lf_arena_clear(&arena);
    return done;
}

bool lf_text_encoder_stream(const LfTextEncoder *t, LfBackend *be, LfBackend *copier,
                            LfArena *scratch, LfTensor out, const int32_t *ids,
                            const int *cancelled, GError **error)
{
    LfBinding layer[N_LAYER];
    bind_layer(&t->config, layer);
    LfLayerStreamConfig config = stream_config(&t->config, layer);
    config.source = t->streamed->source;
    config.lock = &t->streamed->lock;
    LfLayerStream *layers = lf_layer_stream_new(be, copier, &config, error);
    if (!layers)
        return false;
    size_t mark = scratch->used;
    Forward f = forward(t, be, scratch, out);
    bool done = embed(t, be, out, ids, error) && run_layers(t, &f, layers, cancelled, error) &&
                copier->sync(copier, error) && finish(t, &f, error);
    lf_arena_release(scratch, mark);
    lf_layer_stream_free(layers);
    return done;
}
