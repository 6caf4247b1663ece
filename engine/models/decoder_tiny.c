/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * TAEHV's decoder of any widths. Its state is one input frame of each of the nine memory blocks, at
 * the resolution of that block.
 *
 * Each layer runs over all frames of the chunk. A stage's frames lie in a buffer of 1 + n frames
 * whose first one is the past of the current memory block. Frames 1 … n beside frames 0 … n − 1 are
 * then what the published code concatenates, and neither is copied.
 *
 * The layer that makes several frames of one is a 1×1 convolution for each of these frames. It
 * stands directly before a 3×3 convolution and commutes with the doubling in size. So the two
 * become one 3×3 convolution for each frame when the weights are loaded, and more frames cost
 * nothing extra.
 *
 * LightTAE is the same network, trained on latents that are not normalised.
 */
#include "decoder.h"

#include "engine/cancel.h"

#include <stdarg.h>
#include <string.h>

enum { N_STAGES = 3, BLOCKS_OF_STAGE = 3, N_BLOCKS = N_STAGES * BLOCKS_OF_STAGE };

typedef struct {
    LfWeight *conv[3];
    LfTensor bias[3];
} MemoryBlock;

/* The step from a stage to the next: makes `rate` frames of twice the size out of one. */
typedef struct {
    LfWeight *up[2]; /* to the earlier and to the later frame; one if rate is 1 */
} Step;

/* 2 convolutions with bias at the ends, 3 in each block. */
enum { N_BINDINGS = 2 * (2 + 3 * N_BLOCKS), MAX_NAME = 32 };

typedef struct {
    LfDecoder base;
    LfBackend *backend; /* it prepared the weights and frees them */
    int widths[N_STAGES + 1];
    int channels;
    LfWeight *first, *last;
    LfTensor first_bias, last_bias;
    LfTensor mean, deviation; /* for raw latents; else LF_NONE */
    MemoryBlock blocks[N_BLOCKS];
    Step steps[N_STAGES];
    LfArena vectors;
    LfBinding bindings[N_BINDINGS];
    char names[N_BINDINGS][MAX_NAME];
    size_t n_bindings;
} Tiny;

static const int rates[N_STAGES] = {1, 2, 2};
static const char prefix[] = "decoder.";

/* ---- weights --------------------------------------------------------------------------------- */

static LfBinding *add(Tiny *d, LfBindKind kind, const void *field, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
static LfBinding *add(Tiny *d, LfBindKind kind, const void *field, const char *format, ...)
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

static void add_conv(Tiny *d, const char *name, LfWeight **weight, LfTensor *bias, int64_t out,
                     int64_t in)
{
    LfBinding *row = add(d, LF_BIND_CONV3X3, weight, "%s.weight", name);
    const int64_t shape[] = {out, in, 3, 3};
    memcpy(row->shape, shape, sizeof shape);
    add(d, LF_BIND_VECTOR, bias, "%s.bias", name)->shape[0] = out;
}

static void add_block(Tiny *d, int block)
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

static void list_weights(Tiny *d)
{
    add_conv(d, "1", &d->first, &d->first_bias, d->widths[0], d->channels);
    for (int i = 0; i < N_BLOCKS; i++)
        add_block(d, i);
    add_conv(d, "22", &d->last, &d->last_bias, 3, d->widths[N_STAGES]);
}

/* ---- growing and doubling in one ------------------------------------------------------------- */

/* Rows of the file's weight that makes frames. A random source has no shapes; then the rows are
 * those that are needed. */
static int64_t grown_rows(LfWeightSource *source, const char *name, int64_t needed)
{
    g_autofree char *full = g_strconcat(prefix, name, NULL);
    const LfFileTensor *tensor = lf_weight_source_find(source, full, NULL);
    return tensor && tensor->n_dims > 0 ? MAX(tensor->shape[0], needed) : needed;
}

/* composed [out, in, 9] = Σ_m up [out, middle, 9] · grow [middle, in] */
static void compose(float *composed, const float *up, const float *grow, int64_t n_out,
                    int64_t n_middle, int64_t n_in)
{
    g_autofree double *sums = g_new(double, n_in);
    for (int64_t filter = 0; filter < n_out * 9; filter++) {
        int64_t out = filter / 9, tap = filter % 9;
        memset(sums, 0, (size_t) n_in * sizeof *sums);
        for (int64_t middle = 0; middle < n_middle; middle++) {
            double factor = up[(out * n_middle + middle) * 9 + tap];
            for (int64_t in = 0; in < n_in; in++)
                sums[in] += factor * grow[middle * n_in + in];
        }
        for (int64_t in = 0; in < n_in; in++)
            composed[(out * n_in + in) * 9 + tap] = (float) sums[in];
    }
}

/* up [out, c, 3, 3] after grow [c, c]. A plan's weight has no numbers. */
static LfWeight *composed_weight(LfBackend *be, const float *up, const float *grow, int64_t n_out,
                                 int64_t c, GError **error)
{
    g_autofree float *composed = NULL;
    if (!lf_backend_is_plan(be)) {
        composed = g_new(float, n_out *c * 9);
        compose(composed, up, grow, n_out, c, c);
    }
    return lf_weight_new(be, LF_WEIGHT_CONV_UP2, lf_tensor(composed, LF_F32, n_out, c, 3, 3),
                         error);
}

/* A decoder made for a higher rate has more rows than are needed; the last ones count. */
static bool load_step(Tiny *d, int stage, LfWeightSource *source, GError **error)
{
    char up_name[MAX_NAME], grow_name[MAX_NAME];
    int place = 6 * stage + 7, rate = rates[stage];
    int64_t c = d->widths[stage], n_out = d->widths[stage + 1];
    g_snprintf(up_name, sizeof up_name, "%d.weight", place + 1);
    g_snprintf(grow_name, sizeof grow_name, "%d.conv.weight", place);
    int64_t rows = grown_rows(source, grow_name, rate * c);
    LfBinding binding = {.name = up_name, .kind = LF_BIND_CONV_UP2, .shape = {n_out, c, 3, 3}};
    g_autofree float *up = lf_weights_read(source, prefix, &binding, error);
    LfWeight **field = d->steps[stage].up;
    bool done = up != NULL;
    for (int i = 0; i < rate && done; i++) {
        binding = (LfBinding){.name = grow_name, .kind = LF_BIND_LINEAR, .shape = {c, c}};
        binding.first = rows - (rate - i) * c;
        binding.rows = rows;
        g_autofree float *grow = lf_weights_read(source, prefix, &binding, error);
        field[i] = grow ? composed_weight(d->backend, up, grow, n_out, c, error) : NULL;
        done = field[i] != NULL;
    }
    return done;
}

static bool load_steps(Tiny *d, LfWeightSource *source, GError **error)
{
    for (int stage = 0; stage < N_STAGES; stage++)
        if (!load_step(d, stage, source, error))
            return false;
    return true;
}

/* ---- the configuration ----------------------------------------------------------------------- */

static const char of_taehv[] = "normalised", of_lighttae[] = "raw";

/* No tensor tells LightTAE from TAEHV. */
static bool is_light(const LfWeightSource *source)
{
    if (!source->file)
        return false;
    g_autofree char *name = g_path_get_basename(lf_tensor_file_path(source->file));
    g_autofree char *lower = g_ascii_strdown(name, -1);
    return strstr(lower, "lighttae") != NULL;
}

static bool check(const LfDecoderConfig *c, GError **error)
{
    if (*c->latents && !g_str_equal(c->latents, of_taehv) && !g_str_equal(c->latents, of_lighttae))
        return lf_fail(
            error, LF_ERROR_CONFIG,
            "decoder.latents is \"%s\": use \"normalised\" (TAEHV) or \"raw\" (LightTAE)",
            c->latents);
    if (g_str_equal(c->latents, of_lighttae) && c->channels != LF_WAN21_CHANNELS)
        return lf_fail(error, LF_ERROR_CONFIG,
                       "decoder.latents is \"raw\", but latents of %d channels are not Wan 2.1's",
                       c->channels);
    return true;
}

static bool complete(LfDecoderConfig *config, LfWeightSource *source, GError **error)
{
    static const struct {
        const char *key, *name;
        size_t offset;
        int axis;
    } numbers[] = {
        {"channels", "decoder.1.weight", offsetof(LfDecoderConfig, channels), 1},
        {"widths[0]", "decoder.1.weight", offsetof(LfDecoderConfig, widths[0]), 0},
        {"widths[1]", "decoder.8.weight", offsetof(LfDecoderConfig, widths[1]), 0},
        {"widths[2]", "decoder.14.weight", offsetof(LfDecoderConfig, widths[2]), 0},
        {"widths[3]", "decoder.20.weight", offsetof(LfDecoderConfig, widths[3]), 0},
    };
    bool done = true;
    if (!*config->latents)
        g_strlcpy(config->latents, is_light(source) ? of_lighttae : of_taehv,
                  sizeof config->latents);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers) && done; i++)
        done = lf_config_dimension(source, "decoder", numbers[i].key,
                                   (int *) ((char *) config + numbers[i].offset), numbers[i].name,
                                   4, numbers[i].axis, error);
    return done;
}

static char *describe(const LfDecoderConfig *c)
{
    return g_strdup_printf("%d/%d/%d/%d channels%s", c->widths[0], c->widths[1], c->widths[2],
                           c->widths[3],
                           g_str_equal(c->latents, of_lighttae) ? ", raw latents (LightTAE)" : "");
}

/* ---- the object ------------------------------------------------------------------------------ */

static void destroy(LfDecoder *decoder)
{
    Tiny *d = (Tiny *) decoder;
    lf_weights_unbind(d->backend, d->bindings, d->n_bindings, d);
    for (int stage = 0; stage < N_STAGES; stage++)
        for (int i = 0; i < rates[stage]; i++)
            lf_weight_free(d->backend, d->steps[stage].up[i]);
    lf_arena_clear(&d->vectors);
    g_free(d);
}

static LfTensor statistics(Tiny *d, const float *values)
{
    LfTensor t = lf_arena_tensor(&d->vectors, LF_F32, LF_WAN21_CHANNELS);
    if (t.data) /* no plan */
        lf_upload(d->backend, t, values);
    return t;
}

static LfDecoder *create(LfBackend *be, const LfDecoderConfig *config, LfWeightSource *source,
                         GError **error)
{
    if (!check(config, error))
        return NULL;
    Tiny *d = g_new0(Tiny, 1);
    d->base.class = &lf_decoder_tiny;
    d->backend = be;
    d->channels = config->channels;
    memcpy(d->widths, config->widths, sizeof d->widths);
    list_weights(d);
    size_t vectors = lf_weights_vector_size(d->bindings, d->n_bindings);
    vectors += 2 * LF_ARENA_ALIGNMENT; /* statistics */
    if (lf_arena_init(&d->vectors, be, vectors, error) &&
        lf_weights_bind(be, source, prefix, d->bindings, d->n_bindings, &d->vectors, d, error) &&
        load_steps(d, source, error)) {
        if (g_str_equal(config->latents, of_lighttae)) {
            d->mean = statistics(d, lf_wan21_means);
            d->deviation = statistics(d, lf_wan21_deviations);
        }
        return &d->base;
    }
    destroy(&d->base);
    return NULL;
}

static size_t memory(const LfDecoder *decoder)
{
    const Tiny *d = (const Tiny *) decoder;
    size_t size = sizeof *d + d->vectors.peak + lf_weights_memory(d->bindings, d->n_bindings, d);
    for (int stage = 0; stage < N_STAGES; stage++)
        for (int i = 0; i < rates[stage]; i++)
            size += lf_weight_memory(d->steps[stage].up[i]);
    return size;
}

static LfDecoderState new_state(const LfDecoder *decoder, const LfGeometry *g, LfArena *arena)
{
    const Tiny *d = (const Tiny *) decoder;
    LfDecoderState state = {.n = N_BLOCKS};
    for (int i = 0; i < N_BLOCKS; i++) {
        int stage = i / BLOCKS_OF_STAGE;
        state.past[i] = lf_arena_tensor(arena, d->backend->decoder_type, g->latent_height << stage,
                                        g->latent_width << stage, d->widths[stage]);
    }
    return state;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The arguments that all functions of a call share. */
typedef struct {
    const Tiny *d;
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

/* x [1 + n, h, w, C], in place: y = relu(c4(relu(c2(relu(c0([x, past]))))) + x). a, b [n, h, w, C]
 * are scratch. */
static bool memory_block(Run *run, int index, LfTensor x, LfTensor a, LfTensor b)
{
    const MemoryBlock *m = &run->d->blocks[index];
    int64_t n = x.shape[0] - 1;
    LfTensor now = lf_tensor_slice(x, 1, n), before = lf_tensor_slice(x, 0, n);
    lf_copy(run->be, lf_tensor_at(x, 0), run->past->past[index]);
    lf_copy(run->be, run->next.past[index], lf_tensor_at(x, n));
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
        lf_arena_tensor(run->scratch, x.type, x.shape[0] - 1, x.shape[1], x.shape[2], x.shape[3]);
    LfTensor b =
        lf_arena_tensor(run->scratch, x.type, x.shape[0] - 1, x.shape[1], x.shape[2], x.shape[3]);
    for (int i = 0; i < BLOCKS_OF_STAGE && done; i++)
        done = memory_block(run, stage * BLOCKS_OF_STAGE + i, x, a, b);
    lf_arena_release(run->scratch, mark);
    return done;
}

/* The frames of the next stage, with room for its past before them. */
static bool next_stage(Run *run, int stage, LfTensor *x)
{
    const Step *step = &run->d->steps[stage];
    int rate = rates[stage];
    int64_t n = x->shape[0] - 1;
    LfTensor out = lf_arena_tensor(run->scratch, x->type, 1 + n * rate, 2 * x->shape[1],
                                   2 * x->shape[2], run->d->widths[stage + 1]);
    int64_t at_once = rate == 1 ? n : 1; /* else the outputs of two frames alternate */
    for (int64_t i = 0; i < n * rate; i += at_once) {
        if (stopped(run))
            return false;
        lf_conv3x3_up2(run->be, lf_tensor_slice(out, 1 + i, at_once),
                       lf_tensor_slice(*x, 1 + i / rate, at_once), step->up[i % rate], LF_NONE,
                       false);
    }
    *x = out;
    return true;
}

/* The decoder keeps no state at full size, so it can make the pictures one by one. That is faster:
 * the channels of a frame are the largest buffer of all, and twelve frames fit in no CPU cache. */
static bool pictures(Run *run, LfTensor rgb, LfTensor x)
{
    const Tiny *d = run->d;
    const Step *step = &d->steps[N_STAGES - 1];
    int rate = rates[N_STAGES - 1];
    int64_t height = rgb.shape[1], width = rgb.shape[2];
    size_t mark = run->scratch->used;
    LfTensor full = lf_arena_tensor(run->scratch, x.type, 1, height, width, d->widths[N_STAGES]);
    LfTensor raw = lf_arena_tensor(run->scratch, x.type, 1, height, width, 3);
    bool done = true;
    for (int64_t i = 0; i < rgb.shape[0] && (done = !stopped(run)); i++) {
        lf_conv3x3_up2(run->be, full, lf_tensor_slice(x, 1 + i / rate, 1), step->up[i % rate],
                       LF_NONE, true);
        LfTensor frame = lf_tensor_slice(rgb, i, 1);
        LfTensor colours = rgb.type == LF_F32 ? frame : raw;
        lf_conv3x3(run->be, colours, full, LF_NONE, d->last, d->last_bias, LF_NONE, false);
        if (rgb.type != LF_F32)
            lf_rgb8(run->be, frame, colours);
    }
    lf_arena_release(run->scratch, mark);
    return done;
}

/* x [1 + n, h, w, C] = relu(conv(tanh_clamp(latents))) after room for the past. */
static LfTensor enter(Run *run, LfTensor latents)
{
    const Tiny *d = run->d;
    int64_t n = latents.shape[0], h = latents.shape[2], w = latents.shape[3];
    LfType type = run->be->decoder_type;
    LfTensor x = lf_arena_tensor(run->scratch, type, 1 + n, h, w, d->widths[0]);
    size_t mark = run->scratch->used;
    LfTensor z = lf_arena_tensor(run->scratch, type, n, h, w, d->channels);
    lf_take_latents(run->be, z, latents, d->deviation, d->mean, true);
    lf_conv3x3(run->be, lf_tensor_slice(x, 1, n), z, LF_NONE, d->first, d->first_bias, LF_NONE,
               true);
    lf_arena_release(run->scratch, mark);
    return x;
}

static LfDecoderState next_state(const LfDecoderState *state, LfArena *scratch)
{
    LfDecoderState next = {.n = N_BLOCKS};
    for (int i = 0; i < N_BLOCKS; i++)
        next.past[i] = lf_arena_alloc(scratch, state->past[i].type, state->past[i].shape);
    return next;
}

static bool forward(const LfDecoder *decoder, LfBackend *be, LfArena *scratch, LfTensor rgb,
                    LfTensor latents, LfDecoderState *state, const int *cancelled)
{
    size_t mark = scratch->used;
    Run run = {(const Tiny *) decoder, be, scratch, state, next_state(state, scratch), cancelled};
    bool done = !stopped(&run);
    if (done) {
        LfTensor x = enter(&run, latents);
        for (int stage = 0; stage < N_STAGES && done; stage++)
            done = memory_blocks(&run, stage, x) &&
                   (stage + 1 == N_STAGES ? pictures(&run, rgb, x) : next_stage(&run, stage, &x));
    }
    for (int i = 0; i < N_BLOCKS && done; i++)
        lf_copy(be, state->past[i], run.next.past[i]);
    lf_arena_release(scratch, mark);
    return done;
}

const LfDecoderClass lf_decoder_tiny = {
    .type = "tiny",
    .title = "tiny decoder (TAEHV)",
    .sign = "decoder.1.weight",
    .format = {.pixels = 8, .frames = 4, .trimmed = 3}, /* LF_WAN21_FORMAT */
    .complete = complete,
    .describe = describe,
    .create = create,
    .destroy = destroy,
    .memory = memory,
    .state = new_state,
    .forward = forward,
};
