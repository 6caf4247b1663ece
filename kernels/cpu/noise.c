/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Normal numbers from counters: Philox 4×32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random
 * numbers: as easy as 1, 2, 3", 2011) and Box–Muller.
 */
#include "cpu.h"

#include <math.h>

/* Ten rounds: multiply two words, exchange halves, add the round's key. Constants of the paper. */
static void philox(uint32_t word[4], uint64_t seed)
{
    uint32_t key0 = (uint32_t) seed, key1 = (uint32_t) (seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t) word[0] * 0xD2511F53u, b = (uint64_t) word[2] * 0xCD9E8D57u;
        uint32_t next0 = (uint32_t) (b >> 32) ^ word[1] ^ key0;
        uint32_t next2 = (uint32_t) (a >> 32) ^ word[3] ^ key1;
        word[0] = next0;
        word[1] = (uint32_t) b;
        word[2] = next2;
        word[3] = (uint32_t) a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* Double precision, so that every machine rounds to the same float but for the last bit. */
static void box_muller(float pair[2], uint32_t word0, uint32_t word1)
{
    double radius = sqrt(-2.0 * log((word0 + 0.5) * 0x1p-32));
    double angle = 2.0 * M_PI * ((word1 + 0.5) * 0x1p-32);
    pair[0] = (float) (radius * cos(angle));
    pair[1] = (float) (radius * sin(angle));
}

static void plain_noise(LfBackend *be, LfTensor out, uint64_t seed, uint32_t chunk, uint32_t step)
{
    int64_t n = lf_tensor_count(out);
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t first = 0; first < n; first += 4) {
        uint32_t words[4] = {(uint32_t) (first / 4), step, chunk, 0};
        float values[4];
        philox(words, seed);
        box_muller(values, words[0], words[1]);
        box_muller(values + 2, words[2], words[3]);
        for (int64_t i = 0; i < MIN(4, n - first); i++)
            lf_f32(out)[first + i] = values[i];
    }
}

void lf_cpu_noise_init(LfOps *ops, LfCpuIsa isa)
{
    ops->noise = plain_noise;
}
