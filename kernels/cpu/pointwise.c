/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Operations on each number by itself, and moves of numbers from one order to another. All are
 * bound by bytes.
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

/* A row is the row before, one key further. */
static void plain_position_bias(LfBackend *be, LfTensor out, LfTensor table, LfTensor buckets)
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

static void plain_embedding(LfBackend *be, LfTensor out, const LfWeight *table, LfTensor ids)
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

static void plain_gelu_gate(LfBackend *be, LfTensor gate, LfTensor up)
{
    float *g = lf_f32(gate);
    const float *u = lf_f32(up);
    int64_t n = lf_tensor_count(gate);
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t i = 0; i < n; i++) {
        float x = g[i];
        float t = tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x));
        g[i] = 0.5f * x * (1.0f + t) * u[i];
    }
}

/* Where pixel (row, column) of channel 0 of a [channels, h, w] frame stands in the [N, 4·channels]
 * rows of its patches, but for the order within a row. */
static int64_t patch_row(LfTensor frames, int64_t frame, int64_t row, int64_t column)
{
    int64_t h = frames.shape[2] / 2, w = frames.shape[3] / 2;
    return (frame * h + row / 2) * w + column / 2;
}

/* For each pixel of `frames` [c, C, h, w]: its patch's row, and its column there by `order`. */
typedef int64_t PatchOrder(int64_t channel, int64_t n_channels, int64_t in_patch);

static int64_t channels_first(int64_t channel, int64_t n_channels, int64_t in_patch)
{
    return channel * 4 + in_patch;
}

static int64_t channels_fast(int64_t channel, int64_t n_channels, int64_t in_patch)
{
    return in_patch * n_channels + channel;
}

static int64_t patch_index(LfTensor frames, int64_t pixel, PatchOrder *order)
{
    const int64_t *s = frames.shape;
    int64_t column = pixel % s[3], row = pixel / s[3] % s[2];
    int64_t channel = pixel / (s[3] * s[2]) % s[1], frame = pixel / (s[3] * s[2] * s[1]);
    return patch_row(frames, frame, row, column) * 4 * s[1] +
           order(channel, s[1], row % 2 * 2 + column % 2);
}

static void plain_patchify(LfBackend *be, LfTensor out, LfTensor x)
{
    for (int64_t i = 0; i < lf_tensor_count(x); i++)
        lf_f32(out)[patch_index(x, i, channels_first)] = lf_f32(x)[i];
}

static void plain_unpatchify(LfBackend *be, LfTensor out, LfTensor x)
{
    for (int64_t i = 0; i < lf_tensor_count(out); i++)
        lf_f32(out)[i] = lf_f32(x)[patch_index(out, i, channels_fast)];
}

/* out = a·x + b·y */
static void mix(LfTensor out, LfTensor x, float a, LfTensor y, float b)
{
    int64_t n = lf_tensor_count(out);
    float *to = lf_f32(out);
    const float *from_x = lf_f32(x), *from_y = lf_f32(y);
    for (int64_t i = 0; i < n; i++)
        to[i] = a * from_x[i] + b * from_y[i];
}

static void plain_denoise(LfBackend *be, LfTensor out, LfTensor x, LfTensor v, float sigma)
{
    mix(out, x, 1.0f, v, -sigma);
}

static void plain_renoise(LfBackend *be, LfTensor out, LfTensor x0, LfTensor noise, float sigma)
{
    mix(out, x0, 1.0f - sigma, noise, sigma);
}

static void plain_squash(LfBackend *be, LfTensor out, LfTensor x)
{
    int64_t n_channels = x.shape[1], area = x.shape[2] * x.shape[3];
    for (int64_t f = 0; f < x.shape[0]; f++)
        for (int64_t c = 0; c < n_channels; c++)
            for (int64_t i = 0; i < area; i++)
                lf_f32(out)[(f * area + i) * n_channels + c] =
                    3.0f * tanhf(lf_f32(x)[(f * n_channels + c) * area + i] / 3.0f);
}

static void plain_rgb8(LfBackend *be, LfTensor out, LfTensor x)
{
    int64_t n = lf_tensor_count(x);
    const float *from = lf_f32(x);
    uint8_t *to = lf_u8(out);
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t i = 0; i < n; i++) {
        float value = from[i] > 0.0f ? from[i] : 0.0f; /* NaN becomes 0 */
        to[i] = (uint8_t) (255.0f * (value < 1.0f ? value : 1.0f));
    }
}

void lf_cpu_pointwise_init(LfOps *ops, LfCpuLevel level)
{
    ops->position_bias = plain_position_bias;
    ops->embedding = plain_embedding;
    ops->gelu_gate = plain_gelu_gate;
    ops->patchify = plain_patchify;
    ops->unpatchify = plain_unpatchify;
    ops->denoise = plain_denoise;
    ops->renoise = plain_renoise;
    ops->squash = plain_squash;
    ops->rgb8 = plain_rgb8;
}
