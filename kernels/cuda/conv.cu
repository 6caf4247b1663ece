/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions of the decoder, channels last: their weights, the list of versions, and the plain
 * kernel, which takes any number of channels and is slow.
 */
#include "conv.h"
#include "device.cuh"
#include "versions.h"
#include "kernels/conv_up2.h"
#include "weights.h"

#include <string.h>

namespace {

/* ---- weights --------------------------------------------------------------------------------- */

LfConvLayout layout_of(const LfWeight *w)
{
    LfConvLayout l = {.n_filters = 1, .side = w->kind == LF_WEIGHT_CONV3D ? w->side : 3};
    l.n_in = (int) w->in;
    l.n_out = (int) w->out;
    l.n_times = MAX(w->times, 1);
    l.n_chunks = l.n_times * lf_conv_span(l) / LF_CONV_CHUNK;
    l.rows = (l.n_out + 63) / 64 * 64;
    if (w->kind == LF_WEIGHT_CONV_UP2) {
        l.n_filters = 4;
        l.side = 2;
    } else if (l.side == 3 && 9 * l.n_out <= 32) {
        l.narrow = true;
        l.side = 1;
        l.rows = 32;
    }
    return l;
}

/* Adds one tap of a 3×3 filter to the four 2×2 ones. */
void add_up2(float *dst, const LfConvLayout *l, int ky, int kx, int out, int in, float w)
{
    for (int py = 0; py < 2; py++)
        for (int px = 0; px < 2; px++) {
            int row = lf_conv_up2_row(py, ky), column = lf_conv_up2_row(px, kx);
            dst[lf_conv_place(*l, 2 * py + px, 2 * row + column, out, in)] += w;
        }
}

/* src [out, in, times, taps] into the order of the layout; dst is zero. */
void pack(float *dst, const float *src, const LfConvLayout *l)
{
    int n_taps = l->side == 1 && !l->narrow ? 1 : 9, span = lf_conv_span(*l);
    for (int out = 0; out < l->n_out; out++)
        for (int in = 0; in < l->n_in; in++)
            for (int i = 0; i < l->n_times * n_taps; i++, src++) {
                int time = i / n_taps, tap = i % n_taps;
                if (l->n_filters == 4)
                    add_up2(dst, l, tap / 3, tap % 3, out, in, *src);
                else
                    dst[lf_conv_place(*l, 0, tap, out, time * span + in)] = *src;
            }
    float *identity = dst + l->n_filters * lf_conv_filter(*l);
    for (int i = 0; i < LF_CONV_CHUNK && l->side == 3; i++)
        identity[i * LF_CONV_CHUNK + (i / 8 ^ (i & 7)) * 8 + i % 8] = 1.0f;
}

/* The source as F16 in the order of the layout; NULL when there is no memory. Free with free(). */
__half *packed(LfTensor source, const LfConvLayout *l)
{
    size_t n_source = (size_t) lf_tensor_count(source);
    size_t n = (size_t) lf_conv_count(*l);
    float *plain = (float *) malloc(n_source * sizeof(float));
    float *sums = (float *) calloc(n, sizeof(float));
    __half *halves = (__half *) malloc(n * sizeof(__half));
    if (plain && sums && halves) {
        lf_to_float(plain, source.data, source.type, (int64_t) n_source);
        pack(sums, plain, l);
        for (size_t i = 0; i < n; i++)
            halves[i] = __float2half_rn(sums[i]);
    } else {
        free(halves);
        halves = NULL;
    }
    free(plain);
    free(sums);
    return halves;
}

} // namespace

LfWeight *lf_cuda_conv_weight_new(LfCuda *cuda, LfWeightKind kind, LfTensor source, GError **error)
{
    LfCudaWeight *w = g_new0(LfCudaWeight, 1);
    lf_weight_describe(&w->base, kind, source);
    LfConvLayout l = layout_of(&w->base);
    w->base.memory = (size_t) lf_conv_count(l) * sizeof(__half);
    w->base.input = LF_F16;
    w->data = lf_cuda_alloc(cuda, w->base.memory);
    __half *halves = w->data ? packed(source, &l) : NULL;
    cudaError_t status =
        halves ? cudaMemcpy(w->data, halves, w->base.memory, cudaMemcpyHostToDevice) : cudaSuccess;
    free(halves);
    if (halves && status == cudaSuccess)
        return &w->base;
    if (status == cudaSuccess)
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY, "no memory for a weight of %.1f MB",
                    (double) w->base.memory / 1e6);
    else
        g_set_error(error, LF_ERROR, LF_ERROR_DEVICE, "a weight could not be copied: %s",
                    cudaGetErrorString(status));
    lf_cuda_free(cuda, w->data);
    g_free(w);
    return NULL;
}

namespace {

/* ---- plain ----------------------------------------------------------------------------------- */

enum { PLAIN_THREADS = 128 };

/* The contribution of one tap to one output: x or past at one pixel · the tap's weights. */
__device__ float tap_sum(const __half *pixel, int n, const LfConvolution &c, int filter, int tap,
                         int out, int first)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++)
        sum += __half2float(pixel[i]) *
               __half2float(c.weights[lf_conv_place(c.layout, filter, tap, out, first + i)]);
    return sum;
}

/* One thread computes one number of out. */
__global__ void __launch_bounds__(PLAIN_THREADS) conv_plain(LfConvolution c, int64_t count)
{
    int64_t index = (int64_t) blockIdx.x * PLAIN_THREADS + threadIdx.x;
    if (index >= count)
        return;
    int scale = c.layout.n_filters == 4 ? 2 : 1, n_out = c.layout.n_out;
    int out = (int) (index % n_out), column = (int) (index / n_out % (scale * c.w));
    int64_t line = index / n_out / (scale * c.w), frame = line / (scale * c.h);
    int row = (int) (line % (scale * c.h));
    int side = c.layout.narrow ? 3 : c.layout.side,
        filter = scale == 2 ? row % 2 * 2 + column % 2 : 0;
    int top = scale == 2 ? row / 2 - 1 + row % 2 : row - side / 2;
    int left = scale == 2 ? column / 2 - 1 + column % 2 : column - side / 2;
    float sum = c.bias ? c.bias[out] : 0.0f;
    for (int tap = 0; tap < side * side; tap++) {
        int y = top + tap / side, x = left + tap % side;
        if (y < 0 || y >= c.h || x < 0 || x >= c.w)
            continue;
        int64_t pixel = (int64_t) y * c.w + x;
        for (int time = 0; time < c.layout.n_times; time++)
            sum += tap_sum(lf_conv_pixels(c, (int) frame, time) + pixel * c.n_x, c.n_x, c, filter,
                           tap, out, time * lf_conv_span(c.layout));
        if (c.past)
            sum += tap_sum(c.past + (frame * c.h * c.w + pixel) * c.n_past, c.n_past, c, filter,
                           tap, out, c.n_x);
    }
    if (c.residual)
        sum += c.f32 ? ((const float *) c.residual)[index]
                     : __half2float(((const __half *) c.residual)[index]);
    if (c.relu)
        sum = fmaxf(sum, 0.0f);
    if (c.f32)
        ((float *) c.out)[index] = sum;
    else
        ((__half *) c.out)[index] = __float2half_rn(sum);
}

/* ---- the table ------------------------------------------------------------------------------- */

const char *run_plain(LfCuda *cuda, const LfConvolution *c)
{
    int64_t count = (int64_t) c->frames * c->h * c->w * c->layout.n_filters * c->layout.n_out;
    conv_plain<<<blocks_for(count, PLAIN_THREADS), PLAIN_THREADS, 0, cuda->stream>>>(*c, count);
    return NULL;
}

const LfCudaVersion<LfConvolution> versions[] = {
    {"wgmma", LF_CUDA_BULK_COPY | LF_CUDA_WGMMA, lf_cuda_conv_sm90_refuses, lf_cuda_conv_sm90},
    {"mma", LF_CUDA_MMA | LF_CUDA_ASYNC_COPY, lf_cuda_conv_mma_refuses, lf_cuda_conv_mma},
    {"plain", 0, NULL, run_plain},
};

void describe(char *text, size_t size, const LfConvolution *c)
{
    const LfConvLayout *l = &c->layout;
    g_snprintf(text, size, "%d×%d×%d, %d and %d to %d channels%s%s%s", c->frames, c->h, c->w,
               c->n_x, c->n_past, l->n_out, l->n_times > 1 ? ", over time" : "",
               c->residual ? ", residual" : "", c->f32 ? ", F32" : "");
}

LfConvolution call_of(LfTensor out, LfTensor x, const LfWeight *weight, bool relu)
{
    LfConvolution c = {};
    c.x = (const __half *) x.data;
    c.weights = (const __half *) ((const LfCudaWeight *) weight)->data;
    c.out = out.data;
    c.layout = layout_of(weight);
    c.frames = (int) x.shape[0];
    c.h = (int) x.shape[1];
    c.w = (int) x.shape[2];
    c.n_x = (int) x.shape[3];
    c.relu = relu;
    c.f32 = out.type == LF_F32;
    return c;
}

void conv3x3(LfBackend *be, LfTensor out, LfTensor x, LfTensor past, const LfWeight *weight,
             LfTensor bias, LfTensor residual, bool relu)
{
    LfCuda *cuda = lf_cuda(be);
    LfConvolution c = call_of(out, x, weight, relu);
    c.past = (const __half *) past.data;
    c.n_past = (int) past.shape[3];
    c.bias = (const float *) bias.data;
    c.residual = residual.data;
    lf_cuda_run(cuda, "conv3x3", versions, describe, &c);
    lf_cuda_launched(cuda, "conv3x3");
}

void conv3x3_up2(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight, LfTensor bias,
                 bool relu)
{
    LfCuda *cuda = lf_cuda(be);
    LfConvolution c = call_of(out, x, weight, relu);
    c.bias = (const float *) bias.data;
    lf_cuda_run(cuda, "conv3x3_up2", versions, describe, &c);
    lf_cuda_launched(cuda, "conv3x3_up2");
}

void conv3d(LfBackend *be, LfTensor out, LfTensor x, LfTensor past, const LfWeight *weight,
            LfTensor bias, LfTensor residual)
{
    LfCuda *cuda = lf_cuda(be);
    LfConvolution c = call_of(out, x, weight, false);
    c.earlier = (const __half *) past.data;
    c.bias = (const float *) bias.data;
    c.residual = residual.data;
    lf_cuda_run(cuda, "conv3d", versions, describe, &c);
    lf_cuda_launched(cuda, "conv3d");
}

} // namespace

void lf_cuda_conv_init(LfCuda *cuda)
{
    cuda->ops.conv3x3 = conv3x3;
    cuda->ops.conv3x3_up2 = conv3x3_up2;
    cuda->ops.conv3d = conv3d;
    lf_cuda_picture_init(cuda);
}
