/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoder's ends: take_latents, latents [f, C, h, w] into [f, h, w, C], scaled or clamped by
 * 3·tanh(x/3), and rgb8, trunc(255·clamp(x, 0, 1)). Both are bound by bytes.
 */
#include "conv.h"
#include "device.cuh"

namespace {

enum { THREADS = 256, RUN = 8 /* colours of a thread */ };

struct Latents {
    __half *out;
    const float *x, *scale, *shift; /* scale and shift or NULL */
    int n_channels;
    int64_t area, count;
    bool tanh_clamp;
};

/* A thread takes one latent, in the order of x. */
__global__ void __launch_bounds__(THREADS) take_kernel(const Latents l)
{
    int64_t index = (int64_t) blockIdx.x * THREADS + threadIdx.x;
    if (index >= l.count)
        return;
    int64_t pixel = index % l.area, plane = index / l.area;
    int64_t frame = plane / l.n_channels, channel = plane % l.n_channels;
    float value = l.x[index];
    if (l.scale)
        value = value * l.scale[channel] + l.shift[channel];
    if (l.tanh_clamp)
        value = 3.0f * tanhf(value / 3.0f);
    l.out[(frame * l.area + pixel) * l.n_channels + channel] = __float2half_rn(value);
}

void take_latents(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, LfTensor shift,
                  bool tanh_clamp)
{
    LfCuda *cuda = lf_cuda(be);
    Latents l = {(__half *) out.data, lf_f32(x),        lf_f32(scale),
                 lf_f32(shift),       (int) x.shape[1], x.shape[2] * x.shape[3],
                 lf_tensor_count(x),  tanh_clamp};
    take_kernel<<<blocks_for(l.count, THREADS), THREADS, 0, cuda->stream>>>(l);
    lf_cuda_launched(cuda, "take_latents");
}

/* NaN becomes 0. */
__device__ uint8_t byte_of(__half x)
{
    return (uint8_t) (255.0f * fminf(fmaxf(__half2float(x), 0.0f), 1.0f));
}

__global__ void __launch_bounds__(THREADS)
    colours_to_bytes(uint8_t *out, const __half *x, int64_t count, bool aligned)
{
    int64_t first = ((int64_t) blockIdx.x * THREADS + threadIdx.x) * RUN;
    if (aligned && first + RUN <= count) {
        Pack<__half, RUN> from = *(const Pack<__half, RUN> *) (x + first);
        Pack<uint8_t, RUN> to;
#pragma unroll
        for (int i = 0; i < RUN; i++)
            to.at[i] = byte_of(from.at[i]);
        *(Pack<uint8_t, RUN> *) (out + first) = to;
        return;
    }
    for (int64_t i = first; i < min(first + RUN, count); i++)
        out[i] = byte_of(x[i]);
}

void rgb8(LfBackend *be, LfTensor out, LfTensor x)
{
    LfCuda *cuda = lf_cuda(be);
    int64_t count = lf_tensor_count(x);
    bool aligned = (uintptr_t) x.data % sizeof(Pack<__half, RUN>) == 0 &&
                   (uintptr_t) out.data % sizeof(Pack<uint8_t, RUN>) == 0;
    colours_to_bytes<<<blocks_for(count, THREADS * RUN), THREADS, 0, cuda->stream>>>(
        (uint8_t *) out.data, (const __half *) x.data, count, aligned);
    lf_cuda_launched(cuda, "rgb8");
}

} // namespace

void lf_cuda_picture_init(LfCuda *cuda)
{
    cuda->ops.take_latents = take_latents;
    cuda->ops.rgb8 = rgb8;
}
