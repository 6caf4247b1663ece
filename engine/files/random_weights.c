/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Values are drawn with replacement from a table of 4096 normal values, by the bits of a hashed
 * counter: five for each hash. A real generator would take longer than preparing the weights.
 */
#include "random_weights.h"

#include "kernels/tensor.h"

#include <glib.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { TABLE_BITS = 12, TABLE = 1 << TABLE_BITS, PER_HASH = 64 / TABLE_BITS };

static const float bias_deviation = 0.02f;

/* splitmix64 (Steele, Lea and Flood 2014) at position `counter`. */
static inline uint64_t hash(uint64_t counter)
{
    uint64_t x = counter * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t hash_text(const char *text, uint64_t seed)
{
    uint64_t h = hash(seed + 1);
    for (; *text; text++)
        h = hash(h ^ (uint8_t) *text);
    return h;
}

/* Box–Muller. The values come in pairs of opposite sign and are scaled, so that the table has mean
 * 0 and deviation 1 exactly. */
static const float *normal_table(void)
{
    static float table[TABLE];
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        double squares = 0;
        for (int i = 0; i < TABLE; i += 2) {
            double u = ((double) (hash(i + 1) >> 11) + 0.5) * 0x1p-53;
            double v = (double) (hash(i + 2) >> 11) * 0x1p-53;
            table[i] = (float) (sqrt(-2 * log(u)) * cos(2 * G_PI * v));
            squares += 2 * (double) table[i] * table[i];
        }
        float scale = (float) sqrt(TABLE / squares);
        for (int i = 0; i < TABLE; i += 2)
            table[i + 1] = -(table[i] *= scale);
        g_once_init_leave(&ready, 1);
    }
    return table;
}

/* "blocks.0.self_attn.norm_q.weight" and "decoder.head.0.gamma" → true, "blocks.0.ffn.0.weight" →
 * false. */
static bool is_norm_weight(const char *name)
{
    if (g_str_has_suffix(name, ".gamma"))
        return true;
    const char *end = g_strrstr(name, ".weight");
    if (!end || strcmp(end, ".weight") != 0)
        return false;
    const char *start = end;
    while (start > name && start[-1] != '.')
        start--;
    return g_str_has_prefix(start, "norm");
}

static void fill_with(uint16_t *out, int64_t count, uint16_t value)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = value;
}

void lf_random_weights(uint16_t *out, int64_t count, uint64_t seed, const char *name, int n_dims,
                       int64_t fan_in)
{
    if (is_norm_weight(name)) {
        fill_with(out, count, lf_float_to_bf16(1.0f));
        return;
    }
    float deviation = n_dims < 2 ? bias_deviation : 1.0f / sqrtf((float) fan_in);
    const float *normal = normal_table();
    uint64_t key = hash_text(name, seed);
    uint16_t table[TABLE];
    for (int i = 0; i < TABLE; i++)
        table[i] = lf_float_to_bf16(normal[i] * deviation);
    int64_t groups = count / PER_HASH;
#pragma omp parallel for if (groups > 1 << 14)
    for (int64_t g = 0; g < groups; g++) {
        uint64_t bits = hash(key + (uint64_t) g);
        for (int i = 0; i < PER_HASH; i++, bits >>= TABLE_BITS)
            out[g * PER_HASH + i] = table[bits & (TABLE - 1)];
    }
    uint64_t bits = hash(key + (uint64_t) groups);
    for (int64_t i = groups * PER_HASH; i < count; i++, bits >>= TABLE_BITS)
        out[i] = table[bits & (TABLE - 1)];
}
