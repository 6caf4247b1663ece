/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"

#include <math.h>
#include <string.h>

/* Philox 4×32-10, one round after another as the paper's figure 2 has it. */
static void philox(uint32_t c[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t left = (uint64_t) 0xD2511F53u * c[0], right = (uint64_t) 0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t) (right >> 32) ^ c[1] ^ key0, (uint32_t) right,
                            (uint32_t) (left >> 32) ^ c[3] ^ key1, (uint32_t) left};
        memcpy(c, next, sizeof next);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* The known answers that come with the authors' Random123 library (kat_vectors). */
static void check_philox(void)
{
    uint32_t zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
    uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
    static const uint32_t want_zero[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t want_ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    static const uint32_t want_pi[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    philox(zero, 0, 0);
    philox(ones, ~0u, ~0u);
    philox(pi, 0xa4093822, 0x299f31d0);
    g_assert_cmpmem(zero, 16, want_zero, 16);
    g_assert_cmpmem(ones, 16, want_ones, 16);
    g_assert_cmpmem(pi, 16, want_pi, 16);
}

static double *normals(int64_t n, uint64_t seed, uint32_t chunk, uint32_t step)
{
    double *out = reference(n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t c[4] = {(uint32_t) (i / 4), step, chunk, 0};
        philox(c, (uint32_t) seed, (uint32_t) (seed >> 32));
        const uint32_t *pair = c + (i % 4 / 2) * 2;
        double radius = sqrt(-2.0 * log((pair[0] + 0.5) / 4294967296.0));
        double angle = 2.0 * G_PI * (pair[1] + 0.5) / 4294967296.0;
        out[i] = radius * (i % 2 ? sin(angle) : cos(angle));
    }
    return out;
}

static void noise_case(LfBackend *be, int64_t n)
{
    LfTensor out = output(LF_F32, n);
    uint64_t seed = (uint64_t) (random_uniform(0.0, 1.0) * 0x1p53) * 2049;
    uint32_t chunk = (uint32_t) random_size(1 << 30), step = (uint32_t) random_size(8) - 1;
    lf_noise(be, out, seed, chunk, step);
    expect_close(out, normals(n, seed, chunk, step), 2e-7);
    settle(be);
}

static void check_noise(LfBackend *be)
{
    check_philox();
    for (int64_t n = 1; n <= 9; n++)
        noise_case(be, n);
    for (int i = 0; i < 5; i++)
        noise_case(be, random_size(3000));
    noise_case(be, 3 * 16 * 20 * 32);
}

static void bench_noise(LfBackend *be)
{
    LfTensor out = output(LF_F32, 3, 16, 20, 32);
    BENCH(be, "demo 3x16x20x32", 0, (double) lf_tensor_size(out))
    lf_noise(be, out, 1, 2, 3);
    settle(be);
}

const CheckOp noise_ops[] = {CHECK_OP(noise), {0}};
