/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transformer_weights.h"

#include "engine/cancel.h"

#include <math.h>

#define EPSILON 1e-6f

/* ---- once a prompt --------------------------------------------------------------------------- */

LfTextState lf_text_state(const LfTransformer *t, LfArena *arena)
{
    const LfTransformerConfig *c = &t->config;
    return (LfTextState){
        .k = lf_arena_tensor(arena, t->be->activation_type, c->layers, c->text_len, c->dim),
        .v = lf_arena_tensor(arena, t->be->activation_type, c->layers, c->text_len, c->dim),
        .v_amax = lf_value_amax(t, arena),
    };
}

/* [rows, E]: the context, and below it a row of zeros when there is padding. */
static LfTensor padded_context(const LfTransformer *t, LfBackend *be, LfArena *scratch,
                               LfTensor context, int rows)
{
    int64_t width = t->config.text_dim, real = lf_is_set(context) ? context.shape[0] : 0;
    LfTensor padded = lf_arena_tensor(scratch, be->activation_type, rows, width);
    if (real > 0)
        lf_copy(be, lf_tensor_slice(padded, 0, real), context);
    if (real < rows) {
        LfTensor last = lf_tensor_slice(padded, real, 1);
        lf_clear(be, last);
    }
    return padded;
}

void lf_transformer_text(const LfTransformer *t, LfBackend *be, LfArena *scratch,
                         LfTextState *state, LfTensor context)
{
    const LfTransformerOuter *w = t->outer;
    size_t mark = scratch->used;
    int d = t->config.dim, real = lf_is_set(context) ? (int) context.shape[0] : 0;
    int padding = t->config.text_len - real, rows = real + (padding > 0);
    LfType reads = lf_weight_input(t->layers[0].cross.k);                     /* of v's too */
    LfTensor x = padded_context(t, be, scratch, context, rows);               /* [rows, E] */
    LfTensor hidden = lf_arena_tensor(scratch, be->activation_type, rows, d); /* [rows, D] */
    LfTensor text = lf_arena_rows(scratch, reads, rows, d);                   /* [rows, D] */
    lf_linear(be, hidden, x, w->text_in, w->text_in_bias, LF_ACT_GELU_TANH);
    lf_linear(be, text, hidden, w->text_out, w->text_out_bias, LF_ACT_NONE);
    for (int i = 0; i < t->config.layers; i++) {
        const LfTransformerLayer *l = &t->layers[i];
        LfTensor k = lf_tensor_slice(lf_tensor_at(state->k, i), 0, rows); /* [rows, D] */
        LfTensor v = lf_tensor_slice(lf_tensor_at(state->v, i), 0, rows); /* [rows, D] */
        lf_linear(be, k, text, l->cross.k, l->cross.k_bias, LF_ACT_NONE);
        lf_rms_norm(be, k, k, l->cross.norm_k, EPSILON);
        lf_linear(be, v, text, l->cross.v, l->cross.v_bias, LF_ACT_NONE);
        if (lf_is_set(state->v_amax))
            lf_amax(be, lf_tensor_slice(state->v_amax, i, 1), v);
    }
    state->rows = rows;
    state->last_logit = padding > 0 ? logf((float) padding) : 0;
    lf_arena_release(scratch, mark);
}

/* ---- once a timestep ------------------------------------------------------------------------- */

LfModulation lf_modulation(const LfTransformer *t, LfArena *arena)
{
    return (LfModulation){
        .blocks = lf_arena_tensor(arena, LF_F32, t->config.layers, 6, t->config.dim),
        .head = lf_arena_tensor(arena, LF_F32, 2, t->config.dim),
        .v_amax = lf_value_amax(t, arena),
    };
}

/* [rows, freq_dim], all rows alike: cos(t·ω_i), then sin(t·ω_i), ω_i = 10000^(−i/n). */
static LfTensor sinusoids(LfBackend *be, LfArena *scratch, int rows, int freq_dim, double timestep)
{
    LfTensor out = lf_arena_tensor(scratch, be->activation_type, rows, freq_dim);
    g_autofree float *values = g_new(float, lf_tensor_count(out));
    int n = freq_dim / 2;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            double angle = timestep * pow(10000, -(double) i / n);
            values[r * freq_dim + i] = (float) cos(angle);
            values[r * freq_dim + n + i] = (float) sin(angle);
        }
    lf_upload_floats(be, out, values);
    return out;
}

/* The timestep embedding is repeated in one row per layer, and in at least two for the two rows of
 * the head, so that lf_linear_residual can add its projection to the learned modulations in
 * place. */
void lf_transformer_modulate(const LfTransformer *t, LfBackend *be, LfArena *scratch,
                             LfModulation *m, double timestep)
{
    const LfTransformerOuter *w = t->outer;
    size_t mark = scratch->used;
    int layers = t->config.layers, d = t->config.dim, rows = MAX(layers, 2);
    LfTensor x = sinusoids(be, scratch, rows, t->config.freq_dim, timestep);
    LfTensor hidden = lf_arena_tensor(scratch, be->activation_type, rows, d); /* [rows, D] */
    LfTensor time =
        lf_arena_tensor(scratch, be->activation_type, rows, d); /* [rows, D] = silu(e) */
    lf_linear(be, hidden, x, w->time_in, w->time_in_bias, LF_ACT_SILU);
    lf_linear(be, time, hidden, w->time_out, w->time_out_bias, LF_ACT_SILU);

    for (int i = 0; i < layers; i++) {
        LfTensor learned = t->layers[i].modulation;
        lf_copy(be, lf_tensor_at(m->blocks, i), learned);
    }
    lf_copy(be, m->head, w->head_modulation);
    lf_linear_residual(be, lf_tensor_reshape(m->blocks, layers, 6 * d),
                       lf_tensor_slice(time, 0, layers), w->time_projection,
                       w->time_projection_bias, LF_NONE);
    lf_linear_residual(be, m->head, lf_tensor_slice(hidden, 0, 2), w->time_out, w->time_out_bias,
                       LF_NONE);
    lf_arena_release(scratch, mark);
}

/* ---- a chunk: N = c·T rows ------------------------------------------------------------------- */

/* The arguments that all functions of a forward pass share. */
typedef struct {
    const LfTransformer *t;
    LfBackend *be;
    LfArena *scratch;
    const LfModulation *modulation;
    const LfTextState *text;
    LfKvCache *cache;
    LfScheme *scheme;
    LfShare share; /* rows of x, heads of the cache */
    LfTensor x;    /* [N, D], the residual stream */
} Forward;

static Forward forward_of(const LfTransformer *t, const LfPass *p, int rows)
{
    return (Forward){.t = t,
                     .be = p->be,
                     .scratch = p->scratch,
                     .modulation = p->modulation,
                     .text = p->text,
                     .cache = p->cache,
                     .scheme = p->scheme,
                     .share = lf_share(p->rank, p->n_ranks, rows, t->config.heads)};
}

/* [N, width] in the backend's type. */
static LfTensor rows(const Forward *f, int64_t width)
{
    return lf_arena_tensor(f->scratch, f->be->activation_type, f->x.shape[0], width);
}

/* [N, columns of `reader`] in the type that it reads. */
static LfTensor rows_for(const Forward *f, const LfWeight *reader)
{
    return lf_arena_rows(f->scratch, lf_weight_input(reader), f->x.shape[0], lf_weight_in(reader));
}

/* The amax of a layer; LF_NONE when there are none. */
static LfTensor amax_of(LfTensor amax, int layer)
{
    return lf_is_set(amax) ? lf_tensor_slice(amax, layer, 1) : LF_NONE;
}

/* Computes query, key and value of the window's tail; key and value go to the cache. */
static void project(const Forward *f, const LfTransformerLayer *l, LfTensor m,
                    const LfWindow *window, const LfRope *rope, LfTensor q, LfTensor q_pool)
{
    size_t mark = f->scratch->used;
    LfTensor norm = rows_for(f, l->self.qkv);
    LfTensor qkv = rows(f, lf_weight_out(l->self.qkv)); /* [N, 3·D] */
    lf_layer_norm_modulate(f->be, norm, f->x, lf_tensor_at(m, 1), lf_tensor_at(m, 0), EPSILON);
    lf_linear(f->be, qkv, norm, l->self.qkv, l->self.qkv_bias, LF_ACT_NONE);
    lf_qkv_norm_rope(f->be, q, q_pool, window, qkv, l->self.norm_q, l->self.norm_k, rope,
                     f->scheme->query_block, EPSILON);
    lf_arena_release(f->scratch, mark);
}

/* x += gate ⊙ o(attention of q over the window, or over its blocks in `table`); m [6, D] */
static void attend(const Forward *f, int layer, LfTensor m, LfWindow window, LfTensor q,
                   LfTensor table)
{
    const LfTransformerLayer *l = &f->t->layers[layer];
    size_t mark = f->scratch->used;
    LfTensor y = rows_for(f, l->self.o); /* [N, D] */
    window.v_amax = amax_of(f->modulation->v_amax, layer);
    lf_attention(f->be, y, q, &window, table, f->scheme->query_block);
    lf_linear_residual(f->be, f->x, y, l->self.o, l->self.o_bias, lf_tensor_at(m, 2));
    lf_arena_release(f->scratch, mark);
}

/* Self attention of the chunk over its window. With `only_keys` it writes keys and values to the
 * cache and leaves x as it is. */
static void self_attention(const Forward *f, int layer, LfTensor m, bool only_keys)
{
    const LfTransformerLayer *l = &f->t->layers[layer];
    const LfSchemeClass *scheme = f->scheme->class;
    LfWindow window = lf_kv_cache_window(f->cache, layer);
    size_t mark = f->scratch->used;
    LfTensor q = lf_arena_tensor(f->scratch, f->be->activation_type, f->share.n_heads,
                                 f->x.shape[0], lf_kv_cache_config(f->cache)->head_dim);
    LfTensor means = only_keys ? LF_NONE : scheme->query_means(f->scheme, f->cache, f->scratch);
    project(f, l, m, &window, lf_kv_cache_rope(f->cache), q, means);
    if (!only_keys) {
        LfTensor table =
            scheme->select(f->scheme, f->cache, f->be, f->scratch, layer, means, &window);
        attend(f, layer, m, window, q, table);
    }
    lf_arena_release(f->scratch, mark);
}

/* x += o(attention over the text) */
static void cross_attention(const Forward *f, int layer)
{
    const LfTransformerLayer *l = &f->t->layers[layer];
    size_t mark = f->scratch->used;
    LfTensor k = lf_tensor_slice(lf_tensor_at(f->text->k, layer), 0, f->text->rows); /* [rows, D] */
    LfTensor v = lf_tensor_slice(lf_tensor_at(f->text->v, layer), 0, f->text->rows); /* [rows, D] */
    LfTensor norm = rows_for(f, l->cross.q);
    LfTensor q = rows(f, lf_weight_out(l->cross.q)); /* [N, D] */
    LfTensor y = rows_for(f, l->cross.o);            /* [N, D] */
    lf_layer_norm(f->be, norm, f->x, l->cross.norm, l->cross.norm_bias, EPSILON);
    lf_linear(f->be, q, norm, l->cross.q, l->cross.q_bias, LF_ACT_NONE);
    lf_rms_norm(f->be, q, q, l->cross.norm_q, EPSILON);
    lf_cross_attention(f->be, y, q, k, v, amax_of(f->text->v_amax, layer), f->t->config.heads,
                       f->text->last_logit);
    lf_linear_residual(f->be, f->x, y, l->cross.o, l->cross.o_bias, LF_NONE);
    lf_arena_release(f->scratch, mark);
}

/* x += gate ⊙ down(gelu(up(norm(x)))); m [6, D] */
static void feed_forward(const Forward *f, int layer, LfTensor m)
{
    const LfTransformerLayer *l = &f->t->layers[layer];
    size_t mark = f->scratch->used;
    LfTensor norm = rows_for(f, l->ffn.up);
    LfTensor hidden = rows_for(f, l->ffn.down); /* [N, F] */
    lf_layer_norm_modulate(f->be, norm, f->x, lf_tensor_at(m, 4), lf_tensor_at(m, 3), EPSILON);
    lf_linear(f->be, hidden, norm, l->ffn.up, l->ffn.up_bias, LF_ACT_GELU_TANH);
    lf_linear_residual(f->be, f->x, hidden, l->ffn.down, l->ffn.down_bias, lf_tensor_at(m, 5));
    lf_arena_release(f->scratch, mark);
}

/* x [N, D] from latents [c, C, h, w], whose tokens are those of all ranks */
static void embed(const Forward *f, LfTensor latents)
{
    const LfTransformerOuter *w = f->t->outer;
    size_t mark = f->scratch->used;
    int64_t tokens = lf_tensor_count(latents) / (LF_PATCH_LATENTS * f->t->config.channels);
    LfTensor patches = lf_arena_tensor(f->scratch, f->be->activation_type, tokens,
                                       LF_PATCH_LATENTS * f->t->config.channels);
    lf_patchify(f->be, patches, latents, lf_kv_cache_order(f->cache));
    lf_linear(f->be, f->x, lf_tensor_slice(patches, f->share.first_row, f->x.shape[0]), w->patch,
              w->patch_bias, LF_ACT_NONE);
    lf_arena_release(f->scratch, mark);
}

/* velocity [c, C, h, w] from x [N, D]; m [2, D] */
static void head(const Forward *f, LfTensor velocity, LfTensor m)
{
    const LfTransformerOuter *w = f->t->outer;
    size_t mark = f->scratch->used;
    LfTensor norm = rows_for(f, w->head);
    LfTensor patches = rows(f, LF_PATCH_LATENTS * f->t->config.channels);
    lf_layer_norm_modulate(f->be, norm, f->x, lf_tensor_at(m, 1), lf_tensor_at(m, 0), EPSILON);
    lf_linear(f->be, patches, norm, w->head, w->head_bias, LF_ACT_NONE);
    lf_unpatchify(f->be, velocity, patches, lf_kv_cache_order(f->cache));
    lf_arena_release(f->scratch, mark);
}

bool lf_transformer_forward(const LfTransformer *t, const LfPass *pass, LfTensor velocity,
                            LfTensor x)
{
    size_t mark = pass->scratch->used;
    Forward f = forward_of(t, pass, lf_kv_cache_config(pass->cache)->geometry.chunk_tokens);
    f.x = lf_arena_tensor(f.scratch, f.be->activation_type, f.share.n_rows, t->config.dim);
    embed(&f, x);
    int layer = 0;
    for (; layer < t->config.layers && !lf_is_cancelled(pass->cancelled); layer++) {
        LfTensor m = lf_tensor_at(f.modulation->blocks, layer); /* [6, D] */
        /* Without an output nothing reads what follows the last layer's keys and values. */
        bool only_keys = layer == t->config.layers - 1 && !lf_is_set(velocity);
        self_attention(&f, layer, m, only_keys);
        if (!only_keys) {
            cross_attention(&f, layer);
            feed_forward(&f, layer, m);
        }
    }
    if (layer == t->config.layers && lf_is_set(velocity))
        head(&f, velocity, f.modulation->head);
    lf_arena_release(f.scratch, mark);
    return layer == t->config.layers;
}

/* ---- recache: the frames of the window, one chunk's after the other's ------------------------ */

typedef struct {
    Forward f;
    LfTensor x, q; /* [R·T, D], R recomputed frames: the residual stream; a layer's queries */
} Recache;

/* The rows of one run of frames; `first` recomputed frames come before it. */
static LfTensor run_rows(const Recache *r, LfTensor all, int first, const LfKvRun *run)
{
    int64_t tokens = lf_kv_cache_config(r->f.cache)->geometry.frame_tokens;
    return lf_tensor_slice(all, first * tokens, run->count * tokens);
}

static Forward run_forward(const Recache *r, int first, const LfKvRun *run)
{
    Forward f = r->f;
    f.x = run_rows(r, r->x, first, run);
    return f;
}

/* [H, n·T, d] */
static LfTensor run_queries(const Recache *r, int first, const LfKvRun *run)
{
    const LfKvCacheConfig *c = lf_kv_cache_config(r->f.cache);
    LfTensor q = run_rows(r, r->q, first, run);
    return lf_tensor_reshape(q, c->heads, q.shape[0], c->head_dim);
}

static void embed_past(const Recache *r, const LfPast *past)
{
    LfKvRun run;
    for (int first = 0; first < lf_kv_cache_recomputed(r->f.cache); first += run.count) {
        run = lf_kv_cache_run(r->f.cache, first);
        Forward f = run_forward(r, first, &run);
        embed(&f, lf_tensor_slice(lf_past_chunk(past, run.chunk), run.skipped, run.count));
    }
}

static void project_past(const Recache *r, int layer, LfTensor m)
{
    LfKvRun run;
    for (int first = 0; first < lf_kv_cache_recomputed(r->f.cache); first += run.count) {
        run = lf_kv_cache_run(r->f.cache, first);
        Forward f = run_forward(r, first, &run);
        LfWindow window = lf_kv_cache_run_window(f.cache, layer, &run);
        LfRope rope = lf_kv_cache_run_rope(f.cache, &run);
        project(&f, &f.t->layers[layer], m, &window, &rope, run_queries(r, first, &run), LF_NONE);
    }
}

/* The rest of a layer, once the keys and values of all frames are there. */
static void attend_past(const Recache *r, int layer, LfTensor m)
{
    LfKvRun run;
    for (int first = 0; first < lf_kv_cache_recomputed(r->f.cache); first += run.count) {
        run = lf_kv_cache_run(r->f.cache, first);
        Forward f = run_forward(r, first, &run);
        LfWindow window = lf_kv_cache_window(f.cache, layer);
        window.chunk = run.count; /* the frames of the queries */
        attend(&f, layer, m, window, run_queries(r, first, &run), LF_NONE);
        cross_attention(&f, layer);
        feed_forward(&f, layer, m);
    }
}

bool lf_transformer_recache(const LfTransformer *t, const LfPass *pass, const LfPast *past)
{
    const LfKvCacheConfig *c = lf_kv_cache_config(pass->cache);
    LfScheme dense = lf_dense(c->key_block);
    size_t mark = pass->scratch->used;
    int rows = lf_kv_cache_recomputed(pass->cache) * c->geometry.frame_tokens;
    Recache r = {.f = forward_of(t, pass, rows)};
    r.f.scheme = &dense;
    r.x = lf_arena_tensor(pass->scratch, pass->be->activation_type, rows, t->config.dim);
    r.q = lf_arena_tensor(pass->scratch, pass->be->activation_type, rows, t->config.dim);
    embed_past(&r, past);
    int layer = 0;
    for (; layer < t->config.layers && !lf_is_cancelled(pass->cancelled); layer++) {
        LfTensor m = lf_tensor_at(pass->modulation->blocks, layer); /* [6, D] */
        project_past(&r, layer, m);
        if (layer < t->config.layers - 1) /* nothing reads what the last layer makes of x */
            attend_past(&r, layer, m);
    }
    lf_arena_release(pass->scratch, mark);
    return layer == t->config.layers;
}
