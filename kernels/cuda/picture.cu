/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoder's ends: tanh_clamp, 3·tanh(x/3) of latents [f, C, h, w] into [f, h, w, C], and rgb8,
 * trunc(255·clamp(x, 0, 1)). Both are bound by bytes.
 */
#include "conv.h"
#include "device.cuh"

namespace {

enum { THREADS = 256, RUN = 8 /* colours of a thread */ };

/* A thread takes one latent, in the order of x. */
__global__ void __launch_bounds__(THREADS)
    tanh_clamp_latents(__half *out, const float *x, int n_channels, int64_t area, int64_t count)
{
    int64_t index = (int64_t) blockIdx.x * THREADS + threadIdx.x;
    if (index >= count)
        return;
    int64_t pixel = index % area, plane = index / area;
    int64_t frame = plane / n_channels, channel = plane % n_channels;
    out[(frame * area + pixel) * n_channels + channel] =
        __float2half_rn(3.0f * tanhf(x[index] / 3.0f));
}

void tanh_clamp(LfBackend *be, LfTensor out, LfTensor x)
{
    LfCuda *cuda = lf_cuda(be);
    int64_t count = lf_tensor_count(x);
    tanh_clamp_latents<<<blocks_for(count, THREADS), THREADS, 0, cuda->stream>>>(
        (__half *) out.data, (const float *) x.data, (int) x.shape[1], x.shape[2] * x.shape[3],
        count);
    lf_cuda_launched(cuda, "tanh_clamp");
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
    cuda->ops.tanh_clamp = tanh_clamp;
    cuda->ops.rgb8 = rgb8;
}
