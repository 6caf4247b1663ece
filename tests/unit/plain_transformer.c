/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plain_transformer.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* ---- weights --------------------------------------------------------------------------------- */

typedef struct {
    LfFileTensor file; /* its data too */
    double *values;
    int64_t count;
} Named;

struct PlainModel {
    LfTransformerConfig config;
    LfType type;
    GHashTable *tensors; /* name → Named */
};

static void named_free(gpointer data)
{
    Named *named = data;
    g_free((char *) named->file.name);
    g_free((void *) named->file.data);
    g_free(named->values);
    g_free(named);
}

/* Uniform numbers around `centre`, and exactly those that the file's type can hold. */
static void draw(PlainModel *m, char *name, double centre, double width, const int64_t *shape)
{
    Named *n = g_new0(Named, 1);
    n->count = 1;
    for (n->file.n_dims = 0; shape[n->file.n_dims]; n->file.n_dims++)
        n->count *= n->file.shape[n->file.n_dims] = shape[n->file.n_dims];
    n->values = g_new(double, n->count);
    n->file.name = name;
    n->file.type = m->type;
    n->file.size = (size_t) n->count * lf_type_size(m->type);
    uint8_t *data = g_malloc(n->file.size);
    n->file.data = data;
    for (int64_t i = 0; i < n->count; i++) {
        float value = (float) (centre + width * g_test_rand_double_range(-1, 1));
        if (m->type == LF_BF16) {
            uint16_t half = lf_float_to_bf16(value);
            memcpy(data + 2 * i, &half, 2);
            value = lf_bf16_to_float(half);
        } else
            memcpy(data + 4 * i, &value, 4);
        n->values[i] = value;
    }
    g_hash_table_insert(m->tensors, name, n);
}

#define SHAPE(...) ((const int64_t[6]){__VA_ARGS__})

static void draw_vector(PlainModel *m, const char *prefix, const char *name, int64_t n)
{
    bool norm = strstr(name, "norm") && g_str_has_suffix(name, "weight");
    draw(m, g_strconcat(prefix, name, NULL), norm, norm ? 0.5 : 0.3, SHAPE(n));
}

static void draw_linear(PlainModel *m, const char *prefix, const char *name, int64_t out,
                        int64_t in)
{
    char *bias = g_strconcat(name, ".bias", NULL);
    draw(m, g_strconcat(prefix, name, ".weight", NULL), 0, sqrt(3.0 / (double) in), SHAPE(out, in));
    draw_vector(m, prefix, bias, out);
    g_free(bias);
}

static void draw_layer(PlainModel *m, int layer)
{
    static const char *const attentions[] = {"self_attn.", "cross_attn."};
    static const char *const products[] = {"q", "k", "v", "o"};
    int64_t d = m->config.dim, f = m->config.ffn;
    char *prefix = g_strdup_printf("blocks.%d.", layer);
    for (int a = 0; a < 2; a++) {
        char *inner = g_strconcat(prefix, attentions[a], NULL);
        for (int i = 0; i < 4; i++)
            draw_linear(m, inner, products[i], d, d);
        draw_vector(m, inner, "norm_q.weight", d);
        draw_vector(m, inner, "norm_k.weight", d);
        g_free(inner);
    }
    draw(m, g_strconcat(prefix, "modulation", NULL), 0, 0.5, SHAPE(1, 6, d));
    draw_vector(m, prefix, "norm3.weight", d);
    draw_vector(m, prefix, "norm3.bias", d);
    draw_linear(m, prefix, "ffn.0", f, d);
    draw_linear(m, prefix, "ffn.2", d, f);
    g_free(prefix);
}

PlainModel *plain_model_draw(const LfTransformerConfig *config, LfType type)
{
    PlainModel *m = g_new0(PlainModel, 1);
    int64_t d = config->dim, channels = config->channels;
    m->config = *config;
    m->type = type;
    m->tensors = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, named_free);
    draw(m, g_strdup("patch_embedding.weight"), 0, sqrt(0.75 / (double) channels),
         SHAPE(d, channels, 1, 2, 2));
    draw_vector(m, "", "patch_embedding.bias", d);
    draw_linear(m, "", "text_embedding.0", d, config->text_dim);
    draw_linear(m, "", "text_embedding.2", d, d);
    draw_linear(m, "", "time_embedding.0", d, config->freq_dim);
    draw_linear(m, "", "time_embedding.2", d, d);
    draw_linear(m, "", "time_projection.1", 6 * d, d);
    draw_linear(m, "", "head.head", 4 * channels, d);
    draw(m, g_strdup("head.modulation"), 0, 0.5, SHAPE(1, 2, d));
    for (int i = 0; i < config->layers; i++)
        draw_layer(m, i);
    return m;
}

void plain_model_free(PlainModel *m)
{
    g_hash_table_unref(m->tensors);
    g_free(m);
}

void plain_model_write(const PlainModel *m, const char *path, const char *without)
{
    GError *error = NULL;
    GArray *list = g_array_new(FALSE, FALSE, sizeof(LfFileTensor));
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, m->tensors);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (g_strcmp0(((Named *) value)->file.name, without) != 0)
            g_array_append_val(list, ((Named *) value)->file);
    lf_safetensors_write(path, (LfFileTensor *) list->data, list->len, &error);
    g_assert_no_error(error);
    g_array_unref(list);
}

LfTensorFile *plain_model_file(const PlainModel *m, const char *without)
{
    GError *error = NULL;
    char *path;
    close(g_file_open_tmp("lf-test-XXXXXX.safetensors", &path, &error));
    g_assert_no_error(error);
    plain_model_write(m, path, without);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_unlink(path); /* stays mapped */
    g_free(path);
    return file;
}

/* ---- a run: N = all frames' tokens, D channels ---------------------------------------------- *
 *
 * Passes are one for each chunk, then the second passes over recomputed chunks; frames and rows are
 * those of all passes. */

typedef struct {
    const PlainModel *m;
    const PlainStream *s;
    GPtrArray *memory;
    double margin;
    int d, heads, head, tokens; /* D, H, d, T */
    int n_passes, n;            /* N */
} Run;

/* The chunk of a pass. */
static int chunk_of(const Run *r, int pass)
{
    return pass < r->s->n_chunks ? pass : pass - r->s->n_chunks;
}

static bool is_second(const Run *r, int pass)
{
    return pass >= r->s->n_chunks;
}

static bool has_new_text(const Run *r, int pass)
{
    return is_second(r, pass) || (r->s->recache_at > 0 && pass >= r->s->recache_at);
}

static double *take(Run *r, int64_t count)
{
    double *values = g_new0(double, count);
    g_ptr_array_add(r->memory, values);
    return values;
}

static const Named *find(const Run *r, int layer, const char *name, const char *suffix)
{
    char *full = layer < 0 ? g_strconcat(name, suffix, NULL)
                           : g_strdup_printf("blocks.%d.%s%s", layer, name, suffix);
    const Named *named = g_hash_table_lookup(r->m->tensors, full);
    g_assert_nonnull(named);
    g_free(full);
    return named;
}

/* [n, out] = x [n, in]·Wᵀ + b */
static double *linear(Run *r, int layer, const char *name, const double *x, int64_t n)
{
    const Named *weight = find(r, layer, name, ".weight"), *bias = find(r, layer, name, ".bias");
    int64_t out = bias->count, in = weight->count / out;
    double *y = take(r, n * out);
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < out; o++) {
            double sum = bias->values[o];
            for (int64_t k = 0; k < in; k++)
                sum += weight->values[o * in + k] * x[i * in + k];
            y[i * out + o] = sum;
        }
    return y;
}

static void gelu(double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= 0.5 * (1 + tanh(sqrt(2 / G_PI) * (x[i] + 0.044715 * x[i] * x[i] * x[i])));
}

static double *silu(Run *r, const double *x, int64_t n)
{
    double *y = take(r, n);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] / (1 + exp(-x[i]));
    return y;
}

static void layer_norm(double *y, const double *x, int d)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < d; i++)
        mean += x[i] / d;
    for (int i = 0; i < d; i++)
        variance += (x[i] - mean) * (x[i] - mean) / d;
    for (int i = 0; i < d; i++)
        y[i] = (x[i] - mean) / sqrt(variance + 1e-6);
}

static void rms_norm(Run *r, int layer, const char *name, double *x, int64_t n)
{
    const double *weight = find(r, layer, name, ".weight")->values;
    for (int64_t row = 0; row < n; row++, x += r->d) {
        double square = 0;
        for (int i = 0; i < r->d; i++)
            square += x[i] * x[i] / r->d;
        for (int i = 0; i < r->d; i++)
            x[i] = x[i] / sqrt(square + 1e-6) * weight[i];
    }
}

static int pass_of_row(const Run *r, int row)
{
    return row / r->s->geometry.chunk_tokens;
}

/* LN(x)·(1 + m[scale]) + m[shift]; m [passes, n_m, D] */
static double *modulated(Run *r, const double *x, const double *m, int n_m, int scale, int shift)
{
    double *y = take(r, (int64_t) r->n * r->d);
    for (int row = 0; row < r->n; row++) {
        const double *own = m + (int64_t) pass_of_row(r, row) * n_m * r->d;
        double *out = y + (int64_t) row * r->d;
        layer_norm(out, x + (int64_t) row * r->d, r->d);
        for (int i = 0; i < r->d; i++)
            out[i] = out[i] * (1 + own[scale * r->d + i]) + own[shift * r->d + i];
    }
    return y;
}

static void add_gated(const Run *r, double *x, const double *y, const double *m, int gate)
{
    for (int row = 0; row < r->n; row++)
        for (int i = 0; i < r->d; i++) {
            int64_t at = (int64_t) row * r->d + i;
            x[at] += y[at] * m[((int64_t) pass_of_row(r, row) * 6 + gate) * r->d + i];
        }
}

/* ---- the window ------------------------------------------------------------------------------ */

static GArray *window_frames(const PlainStream *s, int chunk)
{
    GArray *frames = g_array_new(FALSE, FALSE, sizeof(int));
    for (int c = 0; c <= chunk; c++) {
        for (int i = 0; i < s->geometry.chunk; i++) {
            int frame = c * s->geometry.chunk + i;
            g_array_append_val(frames, frame);
        }
        while (s->window > 0 && (int) frames->len > s->window)
            g_array_remove_index(frames, (guint) s->sink);
    }
    return frames;
}

int plain_window_frames(const PlainStream *stream, int chunk)
{
    GArray *frames = window_frames(stream, chunk);
    int n = (int) frames->len;
    g_array_unref(frames);
    return n;
}

/* Tokens are numbered tile by tile, and within a tile row by row. */
static void place_of(const LfGeometry *g, int token, int *row, int *col)
{
    int height = g->tile_rows ? g->tile_rows : 1, width = g->tile_rows ? g->tile_cols : g->cols;
    int n = 0;
    for (int top = 0; top < g->rows; top += height)
        for (int left = 0; left < g->cols; left += width)
            for (*row = top; *row < top + height; ++*row)
                for (*col = left; *col < left + width; ++*col)
                    if (n++ == token)
                        return;
    g_assert_not_reached();
}

/* The frame, of those of all passes, whose keys and values `pass` reads for the stream's
 * `frame`. */
static int seen_as(const Run *r, int pass, int frame)
{
    const PlainStream *s = r->s;
    int past = s->recache_at * s->geometry.chunk;
    bool kept = frame < s->sink && s->window > 0 && past > s->window;
    if (!has_new_text(r, pass) || frame >= past || kept)
        return frame;
    return frame + s->n_chunks * s->geometry.chunk;
}

/* Rotates one head's channels of token `token` in a frame at position `time`. */
static void rotate(const Run *r, double *out, const double *x, double time, int token)
{
    int pairs = r->head / 2, side = pairs / 3, n_time = pairs - 2 * side;
    int row, col;
    place_of(&r->s->geometry, token, &row, &col);
    for (int p = 0; p < pairs; p++) {
        double angle = time * pow(10000, -2.0 * p / (2 * n_time));
        if (p >= n_time + side)
            angle = col * pow(10000, -2.0 * (p - n_time - side) / (2 * side));
        else if (p >= n_time)
            angle = row * pow(10000, -2.0 * (p - n_time) / (2 * side));
        out[2 * p] = x[2 * p] * cos(angle) - x[2 * p + 1] * sin(angle);
        out[2 * p + 1] = x[2 * p] * sin(angle) + x[2 * p + 1] * cos(angle);
    }
}

/* One head and pass: keys [frames, T, d] and queries [c, T, d], rotated; values; and which key
 * blocks each query block attends to. */
typedef struct {
    const Run *r;
    int pass, frames, past; /* past: frames before the chunk's */
    double *q, *k, *v;
    int nq, nk;
    double *q_mean, *k_mean; /* [c, nq, d], [frames, nk, d] */
} Head;

static double *means(Run *r, const double *x, int frames, int block, int blocks)
{
    double *mean = take(r, (int64_t) frames * blocks * r->head);
    for (int f = 0; f < frames; f++)
        for (int t = 0; t < r->tokens; t++) {
            int first = t / block * block, n = MIN(block, r->tokens - first);
            for (int i = 0; i < r->head; i++)
                mean[(f * blocks + t / block) * r->head + i] +=
                    x[(f * r->tokens + t) * r->head + i] / n;
        }
    return mean;
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Sets chosen[i] for the `n` best of the allowed scores, and notes how close it was. */
static void choose(Run *r, bool *chosen, const double *score, const bool *allowed, int count, int n)
{
    double largest = 0, last = 0, next = -INFINITY;
    memset(chosen, 0, (size_t) count);
    for (int k = 0; k < n; k++) {
        int best = -1;
        for (int i = 0; i < count; i++)
            if (allowed[i] && !chosen[i] && (best < 0 || score[i] > score[best]))
                best = i;
        g_assert_cmpint(best, >=, 0);
        chosen[best] = true;
        last = score[best];
    }
    for (int i = 0; i < count; i++) {
        largest = MAX(largest, fabs(score[i]));
        if (allowed[i] && !chosen[i])
            next = MAX(next, score[i]);
    }
    if (n > 0 && isfinite(next))
        r->margin = MIN(r->margin, (last - next) / MAX(largest, 1e-9));
}

/* Which past frames stay candidates of one query block. */
static void choose_frames(Run *r, const Head *h, const double *q, bool *kept)
{
    const PlainStream *s = r->s;
    int wanted = s->keep_frames - s->keep_sink - s->keep_near;
    double *score = g_new0(double, h->frames);
    bool *allowed = g_new0(bool, h->frames);
    for (int f = 0; f < h->past; f++) {
        allowed[f] = f >= s->keep_sink && f < h->past - s->keep_near;
        for (int b = 0; b < h->nk; b++)
            score[f] += dot(q, h->k_mean + (f * h->nk + b) * r->head, r->head) / h->nk;
    }
    choose(r, kept, score, allowed, h->past, wanted);
    for (int f = 0; f < h->past; f++)
        kept[f] |= !allowed[f];
    g_free(allowed);
    g_free(score);
}

static void choose_blocks(Run *r, const Head *h, int query, int budget, bool *chosen)
{
    const double *q = h->q_mean + query * r->head;
    int count = h->frames * h->nk;
    double *score = g_new(double, count);
    bool *allowed = g_new(bool, count), *kept = g_new(bool, h->frames);
    memset(kept, 1, (size_t) h->frames);
    if (h->past > r->s->keep_frames)
        choose_frames(r, h, q, kept);
    for (int i = 0; i < count; i++) {
        allowed[i] = kept[i / h->nk];
        score[i] = dot(q, h->k_mean + i * r->head, r->head);
    }
    choose(r, chosen, score, allowed, count, budget);
    g_free(kept);
    g_free(allowed);
    g_free(score);
}

/* out [d] of query token `row` of the chunk over the tokens of the chosen key blocks. */
static void attend(const Head *h, const bool *chosen, int row, double *out)
{
    int d = h->r->head, tokens = h->r->tokens, count = h->frames * tokens;
    double *weight = g_new0(double, count), sum = 0, largest = -INFINITY;
    for (int i = 0; i < count; i++) {
        weight[i] = dot(h->q + row * d, h->k + i * d, d) / sqrt(d);
        if (chosen[i / tokens * h->nk + i % tokens / h->r->s->key_block])
            largest = MAX(largest, weight[i]);
    }
    memset(out, 0, (size_t) d * sizeof *out);
    for (int i = 0; i < count; i++)
        if (chosen[i / tokens * h->nk + i % tokens / h->r->s->key_block]) {
            double p = exp(weight[i] - largest);
            sum += p;
            for (int k = 0; k < d; k++)
                out[k] += p * h->v[i * d + k];
        }
    for (int k = 0; k < d; k++)
        out[k] /= sum;
    g_free(weight);
}

static void rotate_head(Run *r, Head *h, const GArray *frames, int head, const double *q,
                        const double *k, const double *v)
{
    for (int n = 0; n < h->frames; n++)
        for (int t = 0; t < r->tokens; t++) {
            int frame = g_array_index(frames, int, n), time = r->s->relative ? n : frame;
            int seen = seen_as(r, h->pass, frame);
            int own = seen - h->pass * r->s->geometry.chunk; /* of the pass's frames, or none */
            int64_t from = ((int64_t) seen * r->tokens + t) * r->d + head * r->head;
            int64_t to = ((int64_t) n * r->tokens + t) * r->head;
            rotate(r, h->k + to, k + from, time, t);
            memcpy(h->v + to, v + from, (size_t) r->head * sizeof *v);
            if (own >= 0 && own < r->s->geometry.chunk)
                rotate(r, h->q + ((int64_t) own * r->tokens + t) * r->head, q + from, time, t);
        }
}

/* Nothing reads the output of a second pass for frames that have left the window. */
static void attend_pass(Run *r, int pass, int head, const double *q, const double *k,
                        const double *v, double *out)
{
    const PlainStream *s = r->s;
    GArray *frames = window_frames(s, is_second(r, pass) ? s->recache_at - 1 : pass);
    int c = s->geometry.chunk, n = (int) frames->len, tokens = r->tokens, d = r->head;
    int budget = is_second(r, pass) ? 0 : s->budget[pass];
    Head h = {.r = r, .pass = pass, .frames = n, .past = n - c};
    h.q = take(r, (int64_t) c * tokens * d);
    h.k = take(r, (int64_t) n * tokens * d);
    h.v = take(r, (int64_t) n * tokens * d);
    h.nq = (tokens + s->query_block - 1) / s->query_block;
    h.nk = (tokens + s->key_block - 1) / s->key_block;
    rotate_head(r, &h, frames, head, q, k, v);
    h.q_mean = means(r, h.q, c, s->query_block, h.nq);
    h.k_mean = means(r, h.k, n, s->key_block, h.nk);
    bool *chosen = g_new(bool, n *h.nk);
    for (int row = 0; row < c * tokens; row++) {
        int t = row % tokens;
        memset(chosen, 1, (size_t) (n * h.nk));
        if (budget > 0)
            choose_blocks(r, &h, row / tokens * h.nq + t / s->query_block, budget, chosen);
        attend(&h, chosen, row, out + ((int64_t) pass * c * tokens + row) * r->d + head * d);
    }
    g_free(chosen);
    g_array_unref(frames);
}

static double *self_attention(Run *r, int layer, const double *x)
{
    double *q = linear(r, layer, "self_attn.q", x, r->n);
    double *k = linear(r, layer, "self_attn.k", x, r->n);
    double *v = linear(r, layer, "self_attn.v", x, r->n);
    double *y = take(r, (int64_t) r->n * r->d);
    rms_norm(r, layer, "self_attn.norm_q", q, r->n);
    rms_norm(r, layer, "self_attn.norm_k", k, r->n);
    for (int pass = 0; pass < r->n_passes; pass++)
        for (int head = 0; head < r->heads; head++)
            attend_pass(r, pass, head, q, k, v, y);
    return linear(r, layer, "self_attn.o", y, r->n);
}

/* ---- text and time --------------------------------------------------------------------------- */

/* Over all rows of the text, padding included. text [2, rows, D]: the first text and the new
 * one. */
static double *cross_attention(Run *r, int layer, const double *x, const double *text)
{
    int d = r->d, head = r->head, rows = r->m->config.text_len;
    const double *w = find(r, layer, "norm3", ".weight")->values;
    const double *b = find(r, layer, "norm3", ".bias")->values;
    double *a = take(r, (int64_t) r->n * d), *y = take(r, (int64_t) r->n * d);
    for (int row = 0; row < r->n; row++) {
        layer_norm(a + row * d, x + row * d, d);
        for (int i = 0; i < d; i++)
            a[row * d + i] = a[row * d + i] * w[i] + b[i];
    }
    double *q = linear(r, layer, "cross_attn.q", a, r->n);
    double *k = linear(r, layer, "cross_attn.k", text, 2 * rows);
    double *v = linear(r, layer, "cross_attn.v", text, 2 * rows);
    rms_norm(r, layer, "cross_attn.norm_q", q, r->n);
    rms_norm(r, layer, "cross_attn.norm_k", k, 2 * rows);
    for (int row = 0; row < r->n; row++)
        for (int h = 0; h < r->heads; h++) {
            int first = has_new_text(r, pass_of_row(r, row)) ? rows : 0;
            double sum = 0, *out = y + row * d + h * head;
            for (int i = first; i < first + rows; i++) {
                double logit = dot(q + row * d + h * head, k + i * d + h * head, head);
                double p = exp(logit / sqrt(head));
                sum += p;
                for (int c = 0; c < head; c++)
                    out[c] += p * v[i * d + h * head + c];
            }
            for (int c = 0; c < head; c++)
                out[c] /= sum;
        }
    return linear(r, layer, "cross_attn.o", y, r->n);
}

static double *embed_text(Run *r)
{
    const LfTransformerConfig *c = &r->m->config;
    int64_t rows = 2 * (int64_t) c->text_len;
    double *x = take(r, rows * c->text_dim);
    for (int i = 0; i < r->s->context_rows * c->text_dim; i++)
        x[i] = r->s->context[i];
    for (int i = 0; i < r->s->new_context_rows * c->text_dim; i++)
        x[c->text_len * c->text_dim + i] = r->s->new_context[i];
    double *hidden = linear(r, -1, "text_embedding.0", x, rows);
    gelu(hidden, rows * c->dim);
    return linear(r, -1, "text_embedding.2", hidden, rows);
}

/* e [passes, D] */
static double *embed_time(Run *r)
{
    int passes = r->n_passes, width = r->m->config.freq_dim, n = width / 2;
    double *x = take(r, (int64_t) passes * width);
    for (int c = 0; c < passes; c++)
        for (int i = 0; i < n; i++) {
            double timestep = is_second(r, c) ? 0 : r->s->timestep[c];
            double angle = timestep * pow(10000, -(double) i / n);
            x[c * width + i] = cos(angle);
            x[c * width + n + i] = sin(angle);
        }
    double *hidden = linear(r, -1, "time_embedding.0", x, passes);
    return linear(r, -1, "time_embedding.2", silu(r, hidden, (int64_t) passes * r->d), passes);
}

/* [passes, n_m, D] = learned [n_m, D] + e [passes, n_m or 1, D] */
static double *modulation(Run *r, int layer, const char *name, const double *e, int n_m, int n_e)
{
    const double *learned = find(r, layer, name, "")->values;
    double *m = take(r, (int64_t) r->n_passes * n_m * r->d);
    for (int c = 0; c < r->n_passes; c++)
        for (int i = 0; i < n_m; i++)
            for (int k = 0; k < r->d; k++)
                m[(c * n_m + i) * r->d + k] =
                    learned[i * r->d + k] + e[(c * n_e + (n_e == 1 ? 0 : i)) * r->d + k];
    return m;
}

/* ---- in and out ------------------------------------------------------------------------------ */

/* Latent (channel, y, x) of a frame; token n of it covers a patch of 2 × 2. */
static int64_t latent_at(const Run *r, int frame, int channel, int token, int p, int q)
{
    const LfGeometry *g = &r->s->geometry;
    int row, col;
    place_of(g, token, &row, &col);
    int y = 2 * row + p, x = 2 * col + q;
    int64_t plane = (int64_t) frame * r->m->config.channels + channel;
    return (plane * g->latent_height + y) * g->latent_width + x;
}

static double *embed_patches(Run *r)
{
    int channels = r->m->config.channels, c = r->s->geometry.chunk;
    double *patches = take(r, (int64_t) r->n * 4 * channels);
    for (int row = 0; row < r->n; row++)
        for (int i = 0; i < 4 * channels; i++) {
            int frame = row / r->tokens;
            patches[row * 4 * channels + i] =
                r->s->latents[chunk_of(r, frame / c)]
                             [latent_at(r, frame % c, i / 4, row % r->tokens, i / 2 % 2, i % 2)];
        }
    return linear(r, -1, "patch_embedding", patches, r->n);
}

static void write_velocity(Run *r, const double *x, const double *e, double *velocity)
{
    int channels = r->m->config.channels, c = r->s->geometry.chunk;
    double *m = modulation(r, -1, "head.modulation", e, 2, 1);
    double *o = linear(r, -1, "head.head", modulated(r, x, m, 2, 1, 0), r->n);
    int end = r->s->n_chunks * c * r->tokens;
    for (int row = end - c * r->tokens; row < end; row++)
        for (int i = 0; i < 4 * channels; i++) {
            int patch = i / channels, frame = row / r->tokens % c;
            velocity[latent_at(r, frame, i % channels, row % r->tokens, patch / 2, patch % 2)] =
                o[row * 4 * channels + i];
        }
}

double plain_forward(const PlainModel *m, const PlainStream *s, double *velocity)
{
    const LfTransformerConfig *c = &m->config;
    int n_passes = s->n_chunks + s->recache_at, tokens = s->geometry.frame_tokens;
    Run run = {m,
               s,
               g_ptr_array_new_with_free_func(g_free),
               INFINITY,
               c->dim,
               c->heads,
               c->dim / c->heads,
               tokens,
               n_passes,
               n_passes * s->geometry.chunk * tokens};
    Run *r = &run;
    double *x = embed_patches(r), *e = embed_time(r), *text = embed_text(r);
    double *e0 =
        linear(r, -1, "time_projection.1", silu(r, e, (int64_t) n_passes * c->dim), n_passes);
    for (int i = 0; i < c->layers; i++) {
        double *own = modulation(r, i, "modulation", e0, 6, 6);
        add_gated(r, x, self_attention(r, i, modulated(r, x, own, 6, 1, 0)), own, 2);
        double *y = cross_attention(r, i, x, text);
        for (int64_t k = 0; k < (int64_t) r->n * r->d; k++)
            x[k] += y[k];
        double *hidden = linear(r, i, "ffn.0", modulated(r, x, own, 6, 4, 3), r->n);
        gelu(hidden, (int64_t) r->n * c->ffn);
        add_gated(r, x, linear(r, i, "ffn.2", hidden, r->n), own, 5);
    }
    write_velocity(r, x, e, velocity);
    g_ptr_array_unref(run.memory);
    return run.margin;
}
