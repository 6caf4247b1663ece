/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pointwise operations and changes of layout. All are bound by bytes.
 */
#include "cpu.h"
#include "simd/dense.h"

#include <math.h>
#include <string.h>

/* Each row of a head is the row above it, moved by one key. */
static void position_bias(LfBackend *be, LfTensor out, LfTensor table, LfTensor buckets)
{
    int64_t heads = out.shape[0], n = out.shape[1];
    const int32_t *bucket = lf_i32(buckets) + n - 1; /* of offset 0 */
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t head = 0; head < heads; head++) {
        const float *value = lf_f32(table) + head;
        float *row = lf_f32(out) + head * n * n;
        for (int64_t key = 0; key < n; key++)
            row[key] = value[bucket[key] * heads];
        for (int64_t query = 1; query < n; query++) {
            row += n;
            row[0] = value[bucket[-query] * heads];
            memcpy(row + 1, row - n, (size_t) (n - 1) * sizeof *row);
        }
    }
}

static void embedding(LfBackend *be, LfTensor out, const LfWeight *table, LfTensor ids)
{
    const LfCpuWeight *w = (const LfCpuWeight *) table;
    size_t row_size = (size_t) table->in * lf_type_size(w->type);
    for (int64_t n = 0; n < ids.shape[0]; n++) {
        int32_t id = lf_i32(ids)[n];
        float *row = lf_f32(out) + n * table->in;
        if (id >= 0 && id < table->out)
            lf_to_float(row, (const uint8_t *) w->data + (size_t) id * row_size, w->type,
                        table->in);
        else
            memset(row, 0, (size_t) table->in * sizeof *row);
    }
}

/* Numbers that a thread works on at a time: few enough for the L1 cache. */
#define PIECE 4096

static void lf_gelu_gate_c(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float x = gate[i];
        float t = tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x));
        gate[i] = 0.5f * x * (1.0f + t) * up[i];
    }
}

static void gelu_gate(LfBackend *be, LfGeluGate *kernel, LfTensor gate, LfTensor up)
{
    int64_t n = lf_tensor_count(gate);
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t i = 0; i < n; i += PIECE)
        kernel(lf_f32(gate) + i, lf_f32(up) + i, MIN(PIECE, n - i));
}

static void amax(LfBackend *be, LfTensor out, LfTensor x)
{
    float largest = 0.0f;
    for (int64_t i = 0; i < lf_tensor_count(x); i++)
        largest = fmaxf(largest, fabsf(lf_f32(x)[i]));
    lf_f32(out)[0] = largest;
}

/* ---- patches --------------------------------------------------------------------------------- */

/* The patches that one line of one channel of a frame crosses. */
typedef struct {
    int64_t first, n, stride; /* index of the first patch in the frame; how many; row length */
    const int32_t *order;     /* the token of each patch of the frame; NULL: its index */
} Line;

static Line line_of(LfTensor x, LfTensor order, int64_t y)
{
    int64_t n = x.shape[3] / 2;
    return (Line){y / 2 * n, n, 4 * x.shape[1], lf_i32(order)};
}

/* `rows` are those of the frame, at the column of the line. The case without an order has a loop of
 * its own because it is faster. */
static void split_line(float *restrict rows, const float *restrict pixels, Line line)
{
    float *to = rows + line.first * line.stride;
    if (line.order)
        for (int64_t i = 0; i < line.n; i++) {
            to = rows + line.order[line.first + i] * line.stride;
            to[0] = pixels[2 * i];
            to[1] = pixels[2 * i + 1];
        }
    else
        for (int64_t i = 0; i < line.n; i++, to += line.stride) {
            to[0] = pixels[2 * i];
            to[1] = pixels[2 * i + 1];
        }
}

static void join_line(float *restrict pixels, const float *restrict rows, Line line,
                      int64_t n_channels)
{
    const float *from = rows + line.first * line.stride;
    if (line.order)
        for (int64_t i = 0; i < line.n; i++) {
            from = rows + line.order[line.first + i] * line.stride;
            pixels[2 * i] = from[0];
            pixels[2 * i + 1] = from[n_channels];
        }
    else
        for (int64_t i = 0; i < line.n; i++, from += line.stride) {
            pixels[2 * i] = from[0];
            pixels[2 * i + 1] = from[n_channels];
        }
}

/* Each row of pixels of x [c, C, h, w], and where it goes: the patches of its row in `out`, at the
 * column of its channel. */
static void patchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
    int64_t n_channels = x.shape[1], h = x.shape[2], w = x.shape[3];
#pragma omp parallel for num_threads(be->n_threads) collapse(2)
    for (int64_t frame = 0; frame < x.shape[0]; frame++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t c = 0; c < n_channels; c++) {
                const float *from = lf_f32(x) + ((frame * n_channels + c) * h + y) * w;
                float *rows = lf_f32(out) + frame * h * w * n_channels;
                split_line(rows + c * 4 + y % 2 * 2, from, line_of(x, order, y));
            }
}

static void unpatchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
    int64_t n_channels = out.shape[1], h = out.shape[2], w = out.shape[3];
#pragma omp parallel for num_threads(be->n_threads) collapse(2)
    for (int64_t frame = 0; frame < out.shape[0]; frame++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t c = 0; c < n_channels; c++) {
                float *to = lf_f32(out) + ((frame * n_channels + c) * h + y) * w;
                const float *rows = lf_f32(x) + frame * h * w * n_channels;
                rows += y % 2 * 2 * n_channels + c;
                join_line(to, rows, line_of(out, order, y), n_channels);
            }
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* out = a·x + b·y */
static void mix(LfTensor out, LfTensor x, float a, LfTensor y, float b)
{
    int64_t n = lf_tensor_count(out);
    float *to = lf_f32(out);
    const float *from_x = lf_f32(x), *from_y = lf_f32(y);
    for (int64_t i = 0; i < n; i++)
        to[i] = a * from_x[i] + b * from_y[i];
}

static void denoise(LfBackend *be, LfTensor out, LfTensor x, LfTensor v, float sigma)
{
    mix(out, x, 1.0f, v, -sigma);
}

static void renoise(LfBackend *be, LfTensor out, LfTensor x0, LfTensor noise, float sigma)
{
    mix(out, x0, 1.0f - sigma, noise, sigma);
}

/* ---- decoder --------------------------------------------------------------------------------- */

static void lf_take_pixels_c(float *out, const float *x, const LfTakePixels *t)
{
    for (int64_t p = 0; p < t->n_pixels; p++)
        for (int64_t c = 0; c < t->n_channels; c++) {
            float value = x[c * t->stride + p];
            if (t->scale)
                value = value * t->scale[c] + t->shift[c];
            *out++ = t->tanh_clamp ? 3.0f * tanhf(value / 3.0f) : value;
        }
}

/* Line by line. */
static void take_latents(LfBackend *be, LfTakeLatents *kernel, LfTensor out, LfTensor x,
                         LfTensor scale, LfTensor shift, bool tanh_clamp)
{
    int64_t n_channels = x.shape[1], h = x.shape[2], w = x.shape[3];
    LfTakePixels line = {lf_f32(scale), lf_f32(shift), h * w, n_channels, w, tanh_clamp};
#pragma omp parallel for num_threads(be->n_threads) collapse(2)
    for (int64_t frame = 0; frame < x.shape[0]; frame++)
        for (int64_t y = 0; y < h; y++)
            kernel(lf_f32(out) + (frame * h + y) * w * n_channels,
                   lf_f32(x) + (frame * n_channels * h + y) * w, &line);
}

static void lf_bytes_c(uint8_t *out, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float value = x[i] > 0.0f ? x[i] : 0.0f; /* NaN becomes 0 */
        out[i] = (uint8_t) (255.0f * (value < 1.0f ? value : 1.0f));
    }
}

static void rgb8(LfBackend *be, LfBytes *kernel, LfTensor out, LfTensor x)
{
    int64_t n = lf_tensor_count(x);
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t i = 0; i < n; i += PIECE)
        kernel(lf_u8(out) + i, lf_f32(x) + i, MIN(PIECE, n - i));
}

/* ---- the table ------------------------------------------------------------------------------- */

#define OPERATIONS(isa)                                                                            \
    static void gelu_gate_##isa(LfBackend *be, LfTensor gate, LfTensor up)                         \
    {                                                                                              \
        gelu_gate(be, lf_gelu_gate_##isa, gate, up);                                               \
    }                                                                                              \
    static void take_latents_##isa(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale,        \
                                   LfTensor shift, bool tanh_clamp)                                \
    {                                                                                              \
        take_latents(be, lf_take_pixels_##isa, out, x, scale, shift, tanh_clamp);                  \
    }                                                                                              \
    static void rgb8_##isa(LfBackend *be, LfTensor out, LfTensor x)                                \
    {                                                                                              \
        rgb8(be, lf_bytes_##isa, out, x);                                                          \
    }

OPERATIONS(c)
LF_ON_X86(OPERATIONS(avx2) OPERATIONS(avx512))

void lf_cpu_pointwise_init(LfOps *ops, LfCpuIsa isa)
{
    ops->embedding = embedding;
    ops->position_bias = position_bias;
    ops->amax = amax;
    ops->patchify = patchify;
    ops->unpatchify = unpatchify;
    ops->denoise = denoise;
    ops->renoise = renoise;
    LF_SET_VERSIONS(ops->gelu_gate, gelu_gate, isa);
    LF_SET_VERSIONS(ops->take_latents, take_latents, isa);
    LF_SET_VERSIONS(ops->rgb8, rgb8, isa);
}
