/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Layer by layer over all frames of the chunk. A stage's frames lie in a buffer of 1 + n frames
 * whose first is the past of the memory block at hand: frames 1 … n beside frames 0 … n − 1 are
 * then what the published code concatenates, without a copy of either.
 *
 * Growing in time (1×1) stands before doubling in size here; the published order is the other way
 * round. They commute, and this way it costs a quarter.
 */
#include "decoder_tiny.h"

#include "engine/cancel.h"

#include <stdarg.h>
#include <string.h>

enum { N_STAGES = 3, BLOCKS_OF_STAGE = 3, N_BLOCKS = N_STAGES * BLOCKS_OF_STAGE };

typedef struct {
    LfWeight *conv[3];
    LfTensor bias[3];
} MemoryBlock;

/* What leads from a stage to the next: `rate` frames out of one, then twice the size. */
typedef struct {
    LfWeight *grow[2]; /* of the earlier and of the later frame; one alone where rate is 1 */
    LfWeight *up;
} Step;

/* 2 convolutions with bias at the ends, 3 in each block; 3 steps that make 5 frames. */
enum { N_BINDINGS = 2 * (2 + 3 * N_BLOCKS) + N_STAGES + 5, MAX_NAME = 32 };

struct LfDecoderTiny {
    LfBackend *backend; /* that prepared the weights, for freeing them */
    int widths[N_STAGES + 1];
    int channels;
    LfWeight *first, *last;
    LfTensor first_bias, last_bias;
    MemoryBlock blocks[N_BLOCKS];
    Step steps[N_STAGES];
    LfArena vectors;
    LfBinding bindings[N_BINDINGS];
    char names[N_BINDINGS][MAX_NAME];
    size_t n_bindings;
};

static const int rates[N_STAGES] = {1, 2, 2};

/* ---- weights ------------------------------------------------------------------------------ */

static LfBinding *add(LfDecoderTiny *d, LfBindKind kind, const void *field, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
static LfBinding *add(LfDecoderTiny *d, LfBindKind kind, const void *field, const char *format, ...)
{
    LfBinding *row = &d->bindings[d->n_bindings];
    char *name = d->names[d->n_bindings++];
    va_list arguments;
    va_start(arguments, format);
    g_vsnprintf(name, MAX_NAME, format, arguments);
    va_end(arguments);
    *row = (LfBinding){.name = name, .kind = kind};
    row->offset = (size_t) ((const char *) field - (const char *) d);
    return row;
}

static void add_conv(LfDecoderTiny *d, const char *name, LfWeight **weight, LfTensor *bias,
                     int64_t out, int64_t in)
{
    LfBinding *row = add(d, bias ? LF_BIND_CONV3X3 : LF_BIND_CONV_UP2, weight, "%s.weight", name);
    memcpy(row->shape, (int64_t[]){out, in, 3, 3}, sizeof row->shape);
    if (bias)
        add(d, LF_BIND_VECTOR, bias, "%s.bias", name)->shape[0] = out;
}

static void add_block(LfDecoderTiny *d, int block)
{
    char name[MAX_NAME];
    int stage = block / BLOCKS_OF_STAGE;
    int place = 6 * stage + 3 + block % BLOCKS_OF_STAGE;
    int64_t c = d->widths[stage];
    for (int i = 0; i < 3; i++) {
        g_snprintf(name, sizeof name, "%d.conv.%d", place, 2 * i);
        add_conv(d, name, &d->blocks[block].conv[i], &d->blocks[block].bias[i], c,
                 i == 0 ? 2 * c : c);
    }
}

/* Rows that the file has for growing in time. A random source has no shapes of its own: there it
 * is what is needed. */
static int64_t grown_rows(LfWeightSource *source, int place, int64_t needed)
{
    g_autofree char *name = g_strdup_printf("decoder.%d.conv.weight", place);
    const LfFileTensor *tensor = lf_weight_source_find(source, name, NULL);
    return tensor && tensor->n_dims > 0 ? MAX(tensor->shape[0], needed) : needed;
}

/* A decoder made for a higher rate has more rows than are needed; the last ones count. */
static void add_step(LfDecoderTiny *d, int stage, LfWeightSource *source)
{
    char name[MAX_NAME];
    int place = 6 * stage + 7, rate = rates[stage];
    int64_t c = d->widths[stage], rows = grown_rows(source, place, rate * c);
    g_snprintf(name, sizeof name, "%d", place + 1);
    add_conv(d, name, &d->steps[stage].up, NULL, d->widths[stage + 1], c);
    for (int i = 0; i < rate; i++) {
        LfBinding *row = add(d, LF_BIND_LINEAR, &d->steps[stage].grow[i], "%d.conv.weight", place);
        row->shape[0] = row->shape[1] = c;
        row->first = rows - (rate - i) * c;
        row->rows = rows;
    }
}

static void list_weights(LfDecoderTiny *d, LfWeightSource *source)
{
    add_conv(d, "1", &d->first, &d->first_bias, d->widths[0], d->channels);
    for (int i = 0; i < N_BLOCKS; i++)
        add_block(d, i);
    for (int i = 0; i < N_STAGES; i++)
        add_step(d, i, source);
    add_conv(d, "22", &d->last, &d->last_bias, 3, d->widths[N_STAGES]);
}

LfDecoderTiny *lf_decoder_tiny_new(LfBackend *be, const LfDecoderConfig *config,
                                   LfWeightSource *source, GError **error)
{
    LfDecoderTiny *d = g_new0(LfDecoderTiny, 1);
    d->backend = be;
    d->channels = config->channels;
    memcpy(d->widths, config->widths, sizeof d->widths);
    list_weights(d, source);
    size_t vectors = lf_weights_vector_size(d->bindings, d->n_bindings);
    if (lf_arena_init(&d->vectors, be, vectors, error) &&
        lf_weights_bind(be, source, "decoder.", d->bindings, d->n_bindings, &d->vectors, d, error))
        return d;
    lf_decoder_tiny_free(d);
    return NULL;
}

void lf_decoder_tiny_free(LfDecoderTiny *d)
{
    if (!d)
        return;
    lf_weights_unbind(d->backend, d->bindings, d->n_bindings, d);
    lf_arena_clear(&d->vectors);
    g_free(d);
}

size_t lf_decoder_tiny_memory(const LfDecoderTiny *d)
{
    return sizeof *d + d->vectors.size + lf_weights_memory(d->bindings, d->n_bindings, d);
}

/* ---- state -------------------------------------------------------------------------------- */

LfDecoderState lf_decoder_state(const LfDecoderTiny *d, const LfGeometry *geometry, LfArena *arena)
{
    LfDecoderState state;
    for (int i = 0; i < N_BLOCKS; i++) {
        int stage = i / BLOCKS_OF_STAGE;
        state.past[i] = lf_arena_tensor(arena, LF_F32, geometry->latent_height << stage,
                                        geometry->latent_width << stage, d->widths[stage]);
    }
    return state;
}

/* There is no operation that only writes zeros, and a reset is rare: they are uploaded. */
void lf_decoder_state_reset(LfBackend *be, LfDecoderState *state)
{
    size_t size = 0;
    for (int i = 0; i < N_BLOCKS; i++)
        size = MAX(size, lf_tensor_size(state->past[i]));
    g_autofree void *zeros = g_malloc0(size);
    for (int i = 0; i < N_BLOCKS; i++)
        be->upload(be, state->past[i].data, zeros, lf_tensor_size(state->past[i]));
}

/* ---- forward ------------------------------------------------------------------------------ */

/* What one decoding needs everywhere. */
typedef struct {
    const LfDecoderTiny *d;
    LfBackend *be;
    LfArena *scratch;
    const LfDecoderState *past;
    LfDecoderState next; /* becomes the stream's at the very end */
    const int *cancelled;
} Run;

static bool stopped(const Run *run)
{
    return lf_is_cancelled(run->cancelled);
}

static void copy(LfBackend *be, LfTensor to, LfTensor from)
{
    be->copy(be, to.data, from.data, lf_tensor_size(to));
}

/* x [1 + n, h, w, C], in place: y = relu(c4(relu(c2(relu(c0([x, past]))))) + x). a, b [n, h, w, C]
 * are scratch. */
static bool memory_block(Run *run, int index, LfTensor x, LfTensor a, LfTensor b)
{
    const MemoryBlock *m = &run->d->blocks[index];
    int64_t n = x.shape[0] - 1;
    LfTensor now = lf_tensor_slice(x, 1, n), before = lf_tensor_slice(x, 0, n);
    copy(run->be, lf_tensor_at(x, 0), run->past->past[index]);
    copy(run->be, run->next.past[index], lf_tensor_at(x, n));
    if (stopped(run))
        return false;
    lf_conv3x3(run->be, a, now, before, m->conv[0], m->bias[0], LF_NONE, true);
    if (stopped(run))
        return false;
    lf_conv3x3(run->be, b, a, LF_NONE, m->conv[1], m->bias[1], LF_NONE, true);
    if (stopped(run))
        return false;
    lf_conv3x3(run->be, now, b, LF_NONE, m->conv[2], m->bias[2], now, true);
    return true;
}

static bool memory_blocks(Run *run, int stage, LfTensor x)
{
    size_t mark = run->scratch->used;
    bool done = true;
    LfTensor a =
        lf_arena_tensor(run->scratch, LF_F32, x.shape[0] - 1, x.shape[1], x.shape[2], x.shape[3]);
    LfTensor b =
        lf_arena_tensor(run->scratch, LF_F32, x.shape[0] - 1, x.shape[1], x.shape[2], x.shape[3]);
    for (int i = 0; i < BLOCKS_OF_STAGE && done; i++)
        done = memory_block(run, stage * BLOCKS_OF_STAGE + i, x, a, b);
    lf_arena_release(run->scratch, mark);
    return done;
}

/* out [1, 2h, 2w, C'] = frame `half` of those that grow out of x [1, h, w, C]. */
static void grow(Run *run, int stage, int half, LfTensor out, LfTensor x, bool relu)
{
    const Step *step = &run->d->steps[stage];
    int64_t h = x.shape[1], w = x.shape[2], c = x.shape[3];
    size_t mark = run->scratch->used;
    LfTensor grown = lf_arena_tensor(run->scratch, LF_F32, 1, h, w, c);
    lf_linear(run->be, lf_tensor_reshape(grown, h * w, c), lf_tensor_reshape(x, h * w, c),
              step->grow[half], LF_NONE, LF_ACT_NONE);
    lf_conv3x3_up2(run->be, out, grown, step->up, relu);
    lf_arena_release(run->scratch, mark);
}

/* The frames of the next stage, with room for its past before them. */
static bool next_stage(Run *run, int stage, LfTensor *x)
{
    int64_t n = (x->shape[0] - 1) * rates[stage];
    LfTensor out = lf_arena_tensor(run->scratch, LF_F32, 1 + n, 2 * x->shape[1], 2 * x->shape[2],
                                   run->d->widths[stage + 1]);
    for (int64_t i = 0; i < n; i++) {
        if (stopped(run))
            return false;
        grow(run, stage, (int) (i % rates[stage]), lf_tensor_slice(out, 1 + i, 1),
             lf_tensor_slice(*x, 1 + i / rates[stage], 1), false);
    }
    *x = out;
    return true;
}

/* Nothing is remembered at full size, so the pictures are made one by one: a frame's channels are
 * the largest buffer of all, and twelve of them would leave every cache. */
static bool pictures(Run *run, LfTensor rgb, LfTensor x)
{
    const LfDecoderTiny *d = run->d;
    int stage = N_STAGES - 1;
    int64_t height = rgb.shape[1], width = rgb.shape[2];
    size_t mark = run->scratch->used;
    LfTensor full = lf_arena_tensor(run->scratch, LF_F32, 1, height, width, d->widths[N_STAGES]);
    LfTensor raw = lf_arena_tensor(run->scratch, LF_F32, 1, height, width, 3);
    bool done = true;
    for (int64_t i = 0; i < rgb.shape[0] && (done = !stopped(run)); i++) {
        grow(run, stage, (int) (i % rates[stage]), full,
             lf_tensor_slice(x, 1 + i / rates[stage], 1), true);
        LfTensor frame = lf_tensor_slice(rgb, i, 1);
        LfTensor colours = rgb.type == LF_F32 ? frame : raw;
        lf_conv3x3(run->be, colours, full, LF_NONE, d->last, d->last_bias, LF_NONE, false);
        if (rgb.type != LF_F32)
            lf_rgb8(run->be, frame, colours);
    }
    lf_arena_release(run->scratch, mark);
    return done;
}

/* x [1 + n, h, w, C] = relu(conv(squash(latents))) after room for the past. */
static LfTensor enter(Run *run, LfTensor latents)
{
    const LfDecoderTiny *d = run->d;
    int64_t n = latents.shape[0], h = latents.shape[2], w = latents.shape[3];
    LfTensor x = lf_arena_tensor(run->scratch, LF_F32, 1 + n, h, w, d->widths[0]);
    size_t mark = run->scratch->used;
    LfTensor z = lf_arena_tensor(run->scratch, LF_F32, n, h, w, d->channels);
    lf_squash(run->be, z, latents);
    lf_conv3x3(run->be, lf_tensor_slice(x, 1, n), z, LF_NONE, d->first, d->first_bias, LF_NONE,
               true);
    lf_arena_release(run->scratch, mark);
    return x;
}

static LfDecoderState next_state(const LfDecoderState *state, LfArena *scratch)
{
    LfDecoderState next;
    for (int i = 0; i < N_BLOCKS; i++)
        next.past[i] = lf_arena_take(scratch, LF_F32, state->past[i].shape);
    return next;
}

bool lf_decoder_tiny_forward(const LfDecoderTiny *d, LfBackend *be, LfArena *scratch, LfTensor rgb,
                             LfTensor latents, LfDecoderState *state, const int *cancelled)
{
    size_t mark = scratch->used;
    Run run = {d, be, scratch, state, next_state(state, scratch), cancelled};
    bool done = !stopped(&run);
    if (done) {
        LfTensor x = enter(&run, latents);
        for (int stage = 0; stage < N_STAGES && done; stage++)
            done = memory_blocks(&run, stage, x) &&
                   (stage + 1 == N_STAGES ? pictures(&run, rgb, x) : next_stage(&run, stage, &x));
    }
    for (int i = 0; i < N_BLOCKS && done; i++)
        copy(be, state->past[i], run.next.past[i]);
    lf_arena_release(scratch, mark);
    return done;
}
