/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Latents to rows of the transformer and back, denoising and adding noise. Each moves a few
 * megabytes: bound by bytes, and in practice by the launch.
 */
#include "device.cuh"

namespace {

enum { THREADS = 256 };

/* ---- patches: x [c, C, 2·rows, 2·cols], the token's row of 4·C ------------------------------- */

struct Patches {
    int64_t n_tokens; /* c·rows·cols */
    int n_channels, rows, cols;
    const int32_t *order; /* [rows·cols]: the token of each patch of a frame; NULL: its number */
};

/* The first of the patch's four numbers in a channel of x; the others are one right, and a line
 * (2·cols) down. */
__device__ inline int64_t patch_at(const Patches &p, int64_t patch, int channel)
{
    int64_t frame = patch / (p.rows * p.cols);
    int row = (int) (patch / p.cols % p.rows), col = (int) (patch % p.cols);
    return ((frame * p.n_channels + channel) * 2 * p.rows + 2 * row) * 2 * p.cols + 2 * col;
}

__device__ inline int64_t token_of(const Patches &p, int64_t patch)
{
    if (!p.order)
        return patch;
    int in_frame = (int) (patch % (p.rows * p.cols));
    return patch - in_frame + p.order[in_frame];
}

/* A thread takes a channel of a patch: channels lie side by side in the rows. */
__global__ void __launch_bounds__(THREADS)
    patchify_kernel(bf16 *out, const float *x, const Patches p)
{
    int64_t i = (int64_t) blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.n_tokens * p.n_channels)
        return;
    int64_t n = i / p.n_channels;
    int channel = (int) (i % p.n_channels);
    const float *from = x + patch_at(p, n, channel);
    Pack<bf16, 4> patch;
    for (int part = 0; part < 4; part++)
        patch.at[part] = from_float<bf16>(from[part / 2 * 2 * p.cols + part % 2]);
    reinterpret_cast<Pack<bf16, 4> *>(out)[token_of(p, n) * p.n_channels + channel] = patch;
}

/* A thread takes a patch of a channel, patches side by side, as in memory. */
__global__ void __launch_bounds__(THREADS)
    unpatchify_kernel(float *out, const bf16 *x, const Patches p)
{
    int64_t i = (int64_t) blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.n_tokens * p.n_channels)
        return;
    int64_t n = i % p.n_tokens, token = token_of(p, n);
    int channel = (int) (i / p.n_tokens);
    float *to = out + patch_at(p, n, channel);
    for (int part = 0; part < 4; part++)
        to[part / 2 * 2 * p.cols + part % 2] =
            to_float(x[(token * 4 + part) * p.n_channels + channel]);
}

Patches patches_of(LfTensor x, LfTensor order)
{
    const int64_t *s = x.shape;
    return {s[0] * (s[2] / 2) * (s[3] / 2), (int) s[1], (int) s[2] / 2, (int) s[3] / 2,
            lf_i32(order)};
}

void patchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
    LfCuda *cuda = lf_cuda(be);
    Patches p = patches_of(x, order);
    patchify_kernel<<<blocks_for(p.n_tokens * p.n_channels, THREADS), THREADS, 0, cuda->stream>>>(
        (bf16 *) out.data, lf_f32(x), p);
    lf_cuda_launched(cuda, "patchify");
}

void unpatchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
    LfCuda *cuda = lf_cuda(be);
    Patches p = patches_of(out, order);
    unpatchify_kernel<<<blocks_for(p.n_tokens * p.n_channels, THREADS), THREADS, 0, cuda->stream>>>(
        lf_f32(out), (const bf16 *) x.data, p);
    lf_cuda_launched(cuda, "unpatchify");
}

/* ---- the largest ----------------------------------------------------------------------------- */

/* The maximum of the bits: for numbers ≥ 0 they have the same order. */
__global__ void __launch_bounds__(THREADS) amax_kernel(unsigned *out, const bf16 *x, int64_t n)
{
    float largest = 0.0f;
    for (int64_t i = (int64_t) blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (int64_t) gridDim.x * THREADS)
        largest = fmaxf(largest, fabsf(to_float(x[i])));
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0)
        atomicMax(out, __float_as_uint(largest));
}

void amax(LfBackend *be, LfTensor out, LfTensor x)
{
    LfCuda *cuda = lf_cuda(be);
    int64_t n = lf_tensor_count(x);
    unsigned n_blocks = blocks_for(n, THREADS);
    lf_cuda_check(cuda, cudaMemsetAsync(out.data, 0, sizeof(float), cuda->stream), "amax");
    amax_kernel<<<MIN(n_blocks, 512), THREADS, 0, cuda->stream>>>((unsigned *) out.data,
                                                                  (const bf16 *) x.data, n);
    lf_cuda_launched(cuda, "amax");
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* out = a·x + b·y; out may be either. */
__global__ void __launch_bounds__(THREADS)
    mix_kernel(float *out, const float *x, float a, const float *y, float b, int64_t n)
{
    int64_t i = (int64_t) blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        out[i] = a * x[i] + b * y[i];
}

void mix(LfCuda *cuda, LfTensor out, LfTensor x, float a, LfTensor y, float b,
         const char *operation)
{
    int64_t n = lf_tensor_count(out);
    mix_kernel<<<blocks_for(n, THREADS), THREADS, 0, cuda->stream>>>(lf_f32(out), lf_f32(x), a,
                                                                     lf_f32(y), b, n);
    lf_cuda_launched(cuda, operation);
}

void denoise(LfBackend *be, LfTensor out, LfTensor x, LfTensor v, float sigma)
{
    mix(lf_cuda(be), out, x, 1.0f, v, -sigma, "denoise");
}

void renoise(LfBackend *be, LfTensor out, LfTensor x0, LfTensor noise, float sigma)
{
    mix(lf_cuda(be), out, x0, 1.0f - sigma, noise, sigma, "renoise");
}

} // namespace

void lf_cuda_pointwise_init(LfCuda *cuda)
{
    cuda->ops.patchify = patchify;
    cuda->ops.unpatchify = unpatchify;
    cuda->ops.amax = amax;
    cuda->ops.denoise = denoise;
    cuda->ops.renoise = renoise;
}
