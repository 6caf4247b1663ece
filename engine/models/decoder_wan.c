/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoder of Wan 2.1's VAE, of any widths: LightVAE is the same at a quarter of the width.
 *
 * Every convolution over time reads two frames before its own, at its own frame rate: they are the
 * state. Frames are batched in time, because nothing in the network looks ahead. The first latent of
 * a scene is one frame, which does not pass the two convolutions that double the frames; their
 * history begins, empty, with the second latent.
 *
 * The two stages of the largest frames run for one latent's frames at a time: the memory does not
 * grow with the chunk.
 */
#include "decoder.h"

#include "engine/cancel.h"

#include <string.h>

enum {
    CHANNELS = LF_WAN21_CHANNELS,
    N_STAGES = 4,
    N_DOUBLINGS = 2, /* of the frames, behind the first two stages */
    BLOCKS_OF_STAGE = 3,
    N_MIDDLE = 2,
    HISTORY = 2, /* frames that a convolution over time keeps */
    MAX_SLOTS = 1 + 2 * (N_MIDDLE + N_STAGES * BLOCKS_OF_STAGE) + N_DOUBLINGS + 1,
    MAX_BINDINGS = 160,
    MAX_NAME = 48
};

G_STATIC_ASSERT((int) MAX_SLOTS <= (int) LF_MAX_DECODER_STATE);

typedef struct {
    LfWeight *weight;
    LfTensor bias;
} Conv;

/* A convolution over time, and where its history is. */
typedef struct {
    Conv conv[2]; /* the second one of a doubling: the later frame's */
    int slot;
} Causal;

typedef struct {
    LfTensor norms[2];
    Causal convs[2];
    Conv shortcut; /* only where the widths differ */
    int64_t out;
} Block;

typedef struct {
    LfTensor norm;
    Conv qkv, proj;
} Attention;

/* The end of a stage but the last. */
typedef struct {
    Causal time; /* in the first two */
    Conv resample;
    int64_t out;
} Upsample;

typedef struct {
    LfDecoder base;
    LfBackend *backend; /* it prepared the weights and frees them */
    LfTensor mean, deviation;
    Conv conv2;
    Causal conv1;
    Block middle[N_MIDDLE];
    Attention attention;
    Block blocks[N_STAGES][BLOCKS_OF_STAGE];
    Upsample upsamples[N_STAGES - 1];
    LfTensor head_norm;
    Causal head;
    LfArena vectors;
    struct {
        int64_t channels;
        int doublings; /* of height and width */
    } slots[MAX_SLOTS];
    int n_slots;
    LfBinding bindings[MAX_BINDINGS];
    char names[MAX_BINDINGS][MAX_NAME];
    size_t n_bindings;
} Wan;

/* ---- weights --------------------------------------------------------------------------------- */

static LfBinding *add(Wan *d, LfBindKind kind, const void *field, const char *module,
                      const char *ending)
{
    LfBinding *row = &d->bindings[d->n_bindings];
    char *name = d->names[d->n_bindings++];
    g_snprintf(name, MAX_NAME, "%s.%s", module, ending);
    *row = (LfBinding){.name = name, .kind = kind};
    row->offset = (size_t) ((const char *) field - (const char *) d);
    return row;
}

static void add_norm(Wan *d, LfTensor *gamma, const char *module, int64_t channels)
{
    add(d, LF_BIND_VECTOR, gamma, module, "gamma")->shape[0] = channels;
}

/* Rows [first, first + out) of `rows`; 0: all. */
static void add_conv(Wan *d, Conv *conv, const char *module, int64_t out, int64_t in, int times,
                     int side, int64_t first, int64_t rows)
{
    LfBinding *weight = add(d, LF_BIND_CONV3D, &conv->weight, module, "weight");
    LfBinding *bias = add(d, LF_BIND_VECTOR, &conv->bias, module, "bias");
    const int64_t shape[] = {out, in, times, side, side};
    memcpy(weight->shape, shape, sizeof shape);
    bias->shape[0] = out;
    weight->first = bias->first = first;
    weight->rows = bias->rows = rows;
}

static int add_slot(Wan *d, int64_t channels, int doublings)
{
    d->slots[d->n_slots].channels = channels;
    d->slots[d->n_slots].doublings = doublings;
    return d->n_slots++;
}

static void add_causal(Wan *d, Causal *causal, const char *module, int64_t out, int64_t in,
                       int doublings)
{
    add_conv(d, &causal->conv[0], module, out, in, 3, 3, 0, 0);
    causal->slot = add_slot(d, in, doublings);
}

static void add_block(Wan *d, Block *block, const char *module, int64_t out, int64_t in,
                      int doublings)
{
    char name[MAX_NAME];
    block->out = out;
    for (int i = 0; i < 2; i++) {
        g_snprintf(name, sizeof name, "%s.residual.%d", module, 3 * i);
        add_norm(d, &block->norms[i], name, i ? out : in);
        g_snprintf(name, sizeof name, "%s.residual.%d", module, i ? 6 : 2);
        add_causal(d, &block->convs[i], name, out, i ? out : in, doublings);
    }
    g_snprintf(name, sizeof name, "%s.shortcut", module);
    if (in != out)
        add_conv(d, &block->shortcut, name, out, in, 1, 1, 0, 0);
}

static void add_attention(Wan *d, const char *module, int64_t channels)
{
    char name[MAX_NAME];
    g_snprintf(name, sizeof name, "%s.norm", module);
    add_norm(d, &d->attention.norm, name, channels);
    g_snprintf(name, sizeof name, "%s.to_qkv", module);
    add_conv(d, &d->attention.qkv, name, 3 * channels, channels, 1, 1, 0, 0);
    g_snprintf(name, sizeof name, "%s.proj", module);
    add_conv(d, &d->attention.proj, name, channels, channels, 1, 1, 0, 0);
}

/* Doubles height and width, and halves the channels; behind the first stages after doubling the
 * frames: its convolution has the earlier frame's channels, then the later one's. */
static void add_upsample(Wan *d, int stage, const char *module, int64_t in)
{
    char name[MAX_NAME];
    Upsample *up = &d->upsamples[stage];
    up->out = in / 2;
    g_snprintf(name, sizeof name, "%s.time_conv", module);
    for (int i = 0; i < 2 && stage < N_DOUBLINGS; i++)
        add_conv(d, &up->time.conv[i], name, in, in, 3, 1, i * in, 2 * in);
    if (stage < N_DOUBLINGS)
        up->time.slot = add_slot(d, in, stage);
    g_snprintf(name, sizeof name, "%s.resample.1", module);
    LfBinding *weight = add(d, LF_BIND_CONV_UP2, &up->resample.weight, name, "weight");
    const int64_t shape[] = {up->out, in, 3, 3};
    memcpy(weight->shape, shape, sizeof shape);
    add(d, LF_BIND_VECTOR, &up->resample.bias, name, "bias")->shape[0] = up->out;
}

/* The order of the network, and of its histories. */
static void list_weights(Wan *d, const int *widths)
{
    char name[MAX_NAME];
    int64_t in = widths[0];
    int place = 0;
    add_conv(d, &d->conv2, "conv2", CHANNELS, CHANNELS, 1, 1, 0, 0);
    add_causal(d, &d->conv1, "decoder.conv1", in, CHANNELS, 0);
    add_block(d, &d->middle[0], "decoder.middle.0", in, in, 0);
    add_attention(d, "decoder.middle.1", in);
    add_block(d, &d->middle[1], "decoder.middle.2", in, in, 0);
    for (int stage = 0; stage < N_STAGES; stage++) {
        for (int i = 0; i < BLOCKS_OF_STAGE; i++, in = widths[stage + 1]) {
            g_snprintf(name, sizeof name, "decoder.upsamples.%d", place++);
            add_block(d, &d->blocks[stage][i], name, widths[stage + 1], in, stage);
        }
        g_snprintf(name, sizeof name, "decoder.upsamples.%d", place++);
        if (stage + 1 < N_STAGES)
            add_upsample(d, stage, name, in);
        in = in / 2;
    }
    add_norm(d, &d->head_norm, "decoder.head.0", widths[N_STAGES]);
    d->head.slot = add_slot(d, widths[N_STAGES], N_STAGES - 1);
}

static LfTensor vector(Wan *d, int64_t n, const float *values)
{
    LfTensor t = lf_arena_tensor(&d->vectors, LF_F32, n);
    if (t.data) /* no plan */
        lf_upload(d->backend, t, values);
    return t;
}

/* The last convolution makes colours from −1 to 1. Half of its weights, and a half more, make them
 * from 0 to 1, as the other decoders do. */
static bool load_head(Wan *d, int64_t channels, LfWeightSource *source, GError **error)
{
    const LfBinding weight = {
        .name = "decoder.head.2.weight", .kind = LF_BIND_CONV3D, .shape = {3, channels, 3, 3, 3}};
    const LfBinding bias = {.name = "decoder.head.2.bias", .kind = LF_BIND_VECTOR, .shape = {3}};
    g_autofree float *weights = lf_weights_read(source, "", &weight, error);
    g_autofree float *biases = weights ? lf_weights_read(source, "", &bias, error) : NULL;
    if (!biases)
        return false;
    for (int64_t i = 0; i < 3 * channels * 27; i++)
        weights[i] *= 0.5f;
    for (int i = 0; i < 3; i++)
        biases[i] = 0.5f * biases[i] + 0.5f;
    Conv *conv = &d->head.conv[0];
    conv->bias = vector(d, 3, biases);
    conv->weight = lf_weight_new(d->backend, LF_WEIGHT_CONV3D,
                                 lf_tensor(weights, LF_F32, 3, channels, 3, 3, 3), error);
    return conv->weight != NULL;
}

/* ---- the configuration ----------------------------------------------------------------------- */

static bool complete(LfDecoderConfig *config, LfWeightSource *source, GError **error)
{
    static const char *const ends[] = {"2", "6", "10", "14"}; /* the last block of each stage */
    bool done = lf_config_dimension(source, "decoder", "channels", &config->channels,
                                    "decoder.conv1.weight", 5, 1, error) &&
                lf_config_dimension(source, "decoder", "widths[0]", &config->widths[0],
                                    "decoder.conv1.weight", 5, 0, error);
    for (int i = 0; i < N_STAGES && done; i++) {
        g_autofree char *key = g_strdup_printf("widths[%d]", i + 1);
        g_autofree char *name = g_strdup_printf("decoder.upsamples.%s.residual.6.weight", ends[i]);
        done =
            lf_config_dimension(source, "decoder", key, &config->widths[i + 1], name, 5, 0, error);
    }
    return done;
}

static bool is_light(const int *widths)
{
    static const int light[] = {96, 96, 96, 48, 24};
    return memcmp(widths, light, sizeof light) == 0;
}

static char *describe(const LfDecoderConfig *c)
{
    const int *w = c->widths;
    return g_strdup_printf("%d/%d/%d/%d/%d channels%s", w[0], w[1], w[2], w[3], w[4],
                           is_light(w) ? " (LightVAE)" : "");
}

static bool check(const LfDecoderConfig *c, GError **error)
{
    if (c->channels != CHANNELS)
        return lf_fail(error, LF_ERROR_SHAPE,
                       "decoder: latents of %d channels, but Wan 2.1's have %d", c->channels,
                       CHANNELS);
    if (*c->latents && !g_str_equal(c->latents, "normalised"))
        return lf_fail(error, LF_ERROR_CONFIG,
                       "decoder.latents is \"%s\", but a VAE takes \"normalised\" ones",
                       c->latents);
    for (int i = 0; i <= N_STAGES; i++)
        if (c->widths[i] < 2)
            return lf_fail(error, LF_ERROR_SHAPE,
                           "decoder.widths[%d] is %d, but the next stage has half as many channels",
                           i, c->widths[i]);
    return true;
}

/* ---- the object ------------------------------------------------------------------------------ */

static void destroy(LfDecoder *decoder)
{
    Wan *d = (Wan *) decoder;
    lf_weights_unbind(d->backend, d->bindings, d->n_bindings, d);
    lf_weight_free(d->backend, d->head.conv[0].weight);
    lf_arena_clear(&d->vectors);
    g_free(d);
}

static LfDecoder *create(LfBackend *be, const LfDecoderConfig *config, LfWeightSource *source,
                         GError **error)
{
    if (!check(config, error))
        return NULL;
    Wan *d = g_new0(Wan, 1);
    d->base.class = &lf_decoder_wan;
    d->backend = be;
    list_weights(d, config->widths);
    size_t vectors = lf_weights_vector_size(d->bindings, d->n_bindings);
    vectors += 3 * LF_ARENA_ALIGNMENT; /* statistics, and the bias of the head */
    if (lf_arena_init(&d->vectors, be, vectors, error) &&
        lf_weights_bind(be, source, "", d->bindings, d->n_bindings, &d->vectors, d, error) &&
        load_head(d, config->widths[N_STAGES], source, error)) {
        d->mean = vector(d, CHANNELS, lf_wan21_means);
        d->deviation = vector(d, CHANNELS, lf_wan21_deviations);
        return &d->base;
    }
    destroy(&d->base);
    return NULL;
}

static size_t memory(const LfDecoder *decoder)
{
    const Wan *d = (const Wan *) decoder;
    return sizeof *d + d->vectors.size + lf_weights_memory(d->bindings, d->n_bindings, d) +
           lf_weight_memory(d->head.conv[0].weight);
}

static LfDecoderState new_state(const LfDecoder *decoder, const LfGeometry *g, LfArena *arena)
{
    const Wan *d = (const Wan *) decoder;
    LfDecoderState state = {.n = d->n_slots};
    for (int i = 0; i < d->n_slots; i++)
        state.past[i] = lf_arena_tensor(
            arena, d->backend->decoder_type, HISTORY, g->latent_height << d->slots[i].doublings,
            g->latent_width << d->slots[i].doublings, d->slots[i].channels);
    return state;
}

/* ---- forward: x [frames, h, w, channels] ----------------------------------------------------- */

/* The arguments that all functions of a call share. */
typedef struct {
    const Wan *d;
    LfBackend *be;
    LfArena *scratch;
    const LfTensor *before; /* what convolutions read: the state, then what this call has left */
    LfTensor *next;         /* becomes the state at the very end */
    bool first;             /* the first latent is a scene's first one */
    const int *cancelled;
    bool stopped;
} Run;

/* Whether the next layer runs. After a cancellation none does. */
static bool goes_on(Run *run)
{
    run->stopped = run->stopped || lf_is_cancelled(run->cancelled);
    return !run->stopped;
}

static LfTensor new_frames(Run *run, int64_t n, int64_t h, int64_t w, int64_t channels)
{
    return lf_arena_tensor(run->scratch, run->be->decoder_type, n, h, w, channels);
}

static LfTensor frame_at(LfTensor x, int64_t i)
{
    return lf_tensor_slice(x, i, 1);
}

static void convolve(Run *run, LfTensor out, LfTensor x, const Conv *conv, LfTensor residual)
{
    if (goes_on(run))
        lf_conv3d(run->be, out, x, LF_NONE, conv->weight, conv->bias, residual);
}

/* Keeps the last two frames that a convolution over time has read. */
static void remember(Run *run, int slot, LfTensor x)
{
    int64_t n = x.shape[0];
    LfTensor next = run->next[slot], before = run->before[slot];
    if (n >= HISTORY) {
        lf_copy(run->be, next, lf_tensor_slice(x, n - HISTORY, HISTORY));
    } else {
        lf_copy(run->be, frame_at(next, 0), frame_at(before, 1));
        lf_copy(run->be, frame_at(next, 1), x);
    }
}

static void convolve_causal(Run *run, LfTensor out, LfTensor x, const Causal *c, LfTensor residual)
{
    if (!goes_on(run))
        return;
    lf_conv3d(run->be, out, x, run->before[c->slot], c->conv[0].weight, c->conv[0].bias, residual);
    remember(run, c->slot, x);
}

/* x + conv(silu(norm(conv(silu(norm(x)))))), in place unless the block changes the width. */
static LfTensor residual_block(Run *run, const Block *block, LfTensor x)
{
    int64_t n = x.shape[0], h = x.shape[1], w = x.shape[2];
    LfTensor out = x;
    if (block->shortcut.weight) {
        out = new_frames(run, n, h, w, block->out);
        convolve(run, out, x, &block->shortcut, LF_NONE);
    }
    size_t mark = run->scratch->used;
    LfTensor a = new_frames(run, n, h, w, x.shape[3]), b = new_frames(run, n, h, w, block->out);
    if (goes_on(run))
        lf_pixel_norm(run->be, a, x, block->norms[0], true);
    convolve_causal(run, b, a, &block->convs[0], LF_NONE);
    if (goes_on(run))
        lf_pixel_norm(run->be, b, b, block->norms[1], true);
    convolve_causal(run, out, b, &block->convs[1], out);
    lf_arena_release(run->scratch, mark);
    return out;
}

/* x + proj(attention(qkv(norm(x)))) within each frame, in place. */
static void attention_block(Run *run, const Attention *attention, LfTensor x)
{
    int64_t n = x.shape[0], h = x.shape[1], w = x.shape[2], c = x.shape[3];
    size_t mark = run->scratch->used;
    LfTensor a = new_frames(run, n, h, w, c), qkv = new_frames(run, n, h, w, 3 * c);
    if (goes_on(run))
        lf_pixel_norm(run->be, a, x, attention->norm, false);
    convolve(run, qkv, a, &attention->qkv, LF_NONE);
    if (goes_on(run))
        lf_frame_attention(run->be, lf_tensor_reshape(a, n, h * w, c),
                           lf_tensor_reshape(qkv, n, h * w, 3 * c));
    convolve(run, x, a, &attention->proj, x);
    lf_arena_release(run->scratch, mark);
}

static LfTensor residual_blocks(Run *run, int stage, LfTensor x)
{
    for (int i = 0; i < BLOCKS_OF_STAGE; i++)
        x = residual_block(run, &run->d->blocks[stage][i], x);
    return x;
}

/* Doubles height and width. */
static void resample(Run *run, const Upsample *up, LfTensor out, LfTensor x)
{
    if (goes_on(run))
        lf_conv3x3_up2(run->be, out, x, up->resample.weight, up->resample.bias, false);
}

/* Makes an earlier and a later frame of each, but for a scene's first one, and doubles height and
 * width. */
static LfTensor upsample_3d(Run *run, const Upsample *up, LfTensor x)
{
    int64_t once = run->first ? 1 : 0, n = x.shape[0] - once, h = x.shape[1], w = x.shape[2];
    LfTensor out = new_frames(run, once + 2 * n, 2 * h, 2 * w, up->out);
    if (once)
        resample(run, up, frame_at(out, 0), frame_at(x, 0));
    if (n == 0) { /* the history stays as empty as it is */
        lf_copy(run->be, run->next[up->time.slot], run->before[up->time.slot]);
        return out;
    }
    size_t mark = run->scratch->used;
    LfTensor rest = lf_tensor_slice(x, once, n), frames = new_frames(run, n, h, w, x.shape[3]);
    for (int later = 0; later < 2; later++) {
        const Conv *conv = &up->time.conv[later];
        if (goes_on(run))
            lf_conv3d(run->be, frames, rest, run->before[up->time.slot], conv->weight, conv->bias,
                      LF_NONE);
        for (int64_t i = 0; i < n; i++)
            resample(run, up, frame_at(out, once + 2 * i + later), frame_at(frames, i));
    }
    if (goes_on(run))
        remember(run, up->time.slot, rest);
    lf_arena_release(run->scratch, mark);
    return out;
}

/* rgb [n, H, W, 3] of n frames before the third stage. */
static void pictures(Run *run, LfTensor rgb, LfTensor x)
{
    const Wan *d = run->d;
    int64_t n = x.shape[0], height = rgb.shape[1], width = rgb.shape[2];
    size_t mark = run->scratch->used;
    x = residual_blocks(run, N_STAGES - 2, x);
    const Upsample *up = &d->upsamples[N_STAGES - 2];
    LfTensor y = new_frames(run, n, height, width, up->out);
    resample(run, up, y, x);
    y = residual_blocks(run, N_STAGES - 1, y);
    if (goes_on(run))
        lf_pixel_norm(run->be, y, y, d->head_norm, true);
    LfTensor colours = rgb.type == LF_F32 ? rgb : new_frames(run, n, height, width, 3);
    convolve_causal(run, colours, y, &d->head, LF_NONE);
    if (goes_on(run) && rgb.type != LF_F32)
        lf_rgb8(run->be, rgb, colours);
    lf_arena_release(run->scratch, mark);
}

/* The network up to the frames of the third stage: of n latents 4·n, or 4·n − 3 in a new scene. */
static LfTensor frames_of(Run *run, LfTensor latents)
{
    const Wan *d = run->d;
    int64_t n = latents.shape[0], h = latents.shape[2], w = latents.shape[3];
    LfTensor x = new_frames(run, n, h, w, d->middle[0].out);
    size_t mark = run->scratch->used;
    LfTensor raw = new_frames(run, n, h, w, CHANNELS), z = new_frames(run, n, h, w, CHANNELS);
    if (goes_on(run))
        lf_take_latents(run->be, raw, latents, d->deviation, d->mean, false);
    convolve(run, z, raw, &d->conv2, LF_NONE);
    convolve_causal(run, x, z, &d->conv1, LF_NONE);
    lf_arena_release(run->scratch, mark);
    x = residual_block(run, &d->middle[0], x);
    attention_block(run, &d->attention, x);
    x = residual_block(run, &d->middle[1], x);
    for (int stage = 0; stage < N_DOUBLINGS; stage++) {
        x = residual_blocks(run, stage, x);
        x = upsample_3d(run, &d->upsamples[stage], x);
    }
    return x;
}

/* One latent's frames at a time; from the second time on histories are those of the time before. */
static void all_pictures(Run *run, LfTensor rgb, LfTensor x)
{
    int64_t each = lf_decoder_wan.format.frames, trimmed = run->first ? each - 1 : 0;
    if (trimmed && goes_on(run))
        lf_clear(run->be, lf_tensor_slice(rgb, 0, trimmed));
    for (int64_t i = 0, n = each - trimmed; i < x.shape[0]; i += n, n = each) {
        pictures(run, lf_tensor_slice(rgb, trimmed + i, n), lf_tensor_slice(x, i, n));
        run->before = run->next;
    }
}

static bool forward(const LfDecoder *decoder, LfBackend *be, LfArena *scratch, LfTensor rgb,
                    LfTensor latents, LfDecoderState *state, const int *cancelled)
{
    LfTensor next[LF_MAX_DECODER_STATE];
    size_t mark = scratch->used;
    Run run = {.d = (const Wan *) decoder,
               .be = be,
               .scratch = scratch,
               .before = state->past,
               .next = next,
               .first = !state->begun,
               .cancelled = cancelled};
    for (int i = 0; i < state->n; i++)
        next[i] = lf_arena_alloc(scratch, state->past[i].type, state->past[i].shape);
    all_pictures(&run, rgb, frames_of(&run, latents));
    bool done = goes_on(&run);
    for (int i = 0; i < state->n && done; i++)
        lf_copy(be, state->past[i], next[i]);
    state->begun = state->begun || done;
    lf_arena_release(scratch, mark);
    return done;
}

const LfDecoderClass lf_decoder_wan = {
    .type = "wan",
    .title = "Wan 2.1 VAE",
    .sign = "decoder.middle.0.residual.0.gamma",
    .format = {.pixels = 8, .frames = 4, .trimmed = 3}, /* LF_WAN21_FORMAT */
    .complete = complete,
    .describe = describe,
    .create = create,
    .destroy = destroy,
    .memory = memory,
    .state = new_state,
    .forward = forward,
};
