/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Normal numbers from counters, the same as the CPU's but for the last bit: Philox 4×32-10 (Salmon,
 * Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011) and Box–Muller in double
 * precision. Four numbers per thread. Bound by the double-precision functions: a chunk's noise
 * takes some ten microseconds on a chip with few double-precision units.
 */
#include "device.cuh"

namespace {

enum { THREADS = 128 };

/* Ten rounds: multiply two words, exchange halves, add the round's key. Constants of the paper. */
__device__ inline uint4 philox(uint4 word, uint64_t seed)
{
    uint32_t key0 = (uint32_t) seed, key1 = (uint32_t) (seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t) word.x * 0xD2511F53u, b = (uint64_t) word.z * 0xCD9E8D57u;
        word = make_uint4((uint32_t) (b >> 32) ^ word.y ^ key0, (uint32_t) b,
                          (uint32_t) (a >> 32) ^ word.w ^ key1, (uint32_t) a);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return word;
}

__device__ inline void box_muller(float *pair, uint32_t word0, uint32_t word1)
{
    const double unit = 1.0 / 4294967296.0, turn = 6.283185307179586;
    double radius = sqrt(-2.0 * log((word0 + 0.5) * unit)), sine, cosine;
    sincos(turn * ((word1 + 0.5) * unit), &sine, &cosine);
    pair[0] = (float) (radius * cosine);
    pair[1] = (float) (radius * sine);
}

__global__ void __launch_bounds__(THREADS)
    draw(float *out, int64_t n, uint64_t seed, uint32_t chunk, uint32_t step)
{
    int64_t four = (int64_t) blockIdx.x * THREADS + threadIdx.x;
    if (4 * four >= n)
        return;
    uint4 words = philox(make_uint4((uint32_t) four, step, chunk, 0), seed);
    float values[4];
    box_muller(values, words.x, words.y);
    box_muller(values + 2, words.z, words.w);
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (4 * four + i < n)
            out[4 * four + i] = values[i];
}

void noise(LfBackend *be, LfTensor out, uint64_t seed, uint32_t chunk, uint32_t step)
{
    LfCuda *cuda = lf_cuda(be);
    int64_t n = lf_tensor_count(out);
    draw<<<blocks_for(n, 4 * THREADS), THREADS, 0, cuda->stream>>>(lf_f32(out), n, seed, chunk,
                                                                   step);
    lf_cuda_launched(cuda, "noise");
}

} // namespace

void lf_cuda_noise_init(LfCuda *cuda)
{
    cuda->ops.noise = noise;
}
