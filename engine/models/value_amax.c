/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An upper bound of the values v of self attention. An output of attention is a weighted mean of
 * values, so the bound holds for outputs, too, and all their rows can have one scale in FP8. The
 * amax of each row would take another pass over the outputs, because a row is spread over the
 * heads. A bound that is many times too large costs a floating-point type only range, and E4M3 has
 * 2¹⁵ to spare.
 */
#include "transformer_weights.h"

#include <math.h>

/* The largest factor that rounding adds: a row of the norm is rounded to E4M3 (2⁻⁴ of each number),
 * sums and v to BF16. */
#define ROUNDING 1.08

LfTensor lf_value_amax(const LfTransformer *t, LfArena *arena)
{
    bool fp8 = lf_weight_input(t->layers[0].self.o) == LF_F8_E4M3;
    return fp8 ? lf_arena_tensor(arena, LF_F32, t->config.layers) : LF_NONE;
}

/* The largest norm of LN(x) ⊙ (1 + scale) + shift, whatever x is: that of LN(x) is √D. */
static double largest_norm(const float *shift, const float *scale, int d)
{
    double most = 0, squares = 0;
    for (int i = 0; i < d; i++) {
        most = fmax(most, fabs(1 + (double) scale[i]));
        squares += (double) shift[i] * shift[i];
    }
    return most * sqrt(d) + sqrt(squares);
}

/* The largest |bias| of a layer's values, which are the last third of q·k·v. */
static double largest_bias(const LfTransformerLayer *l, LfBackend *be, float *numbers, int d)
{
    double most = 0;
    lf_download_floats(be, numbers, lf_tensor_slice(l->self.qkv_bias, 2 * d, d));
    for (int i = 0; i < d; i++)
        most = fmax(most, fabs((double) numbers[i]));
    return most;
}

/* By the Cauchy–Schwarz inequality |x·w + b| ≤ ‖x‖·‖w‖ + |b|. */
void lf_transformer_bound_values(const LfTransformer *t, LfBackend *be, LfModulation *modulations,
                                 int n)
{
    int layers = t->config.layers, d = t->config.dim;
    if (!lf_is_set(modulations[0].v_amax))
        return;
    g_autofree float *numbers = g_new0(float, 2 * (size_t) d);
    g_autofree float *peaks = g_new0(float, layers);
    for (int layer = 0; layer < layers; layer++) {
        const LfTransformerLayer *l = &t->layers[layer];
        double norm = 0;
        for (int i = 0; i < n; i++) {
            LfTensor m = lf_tensor_at(modulations[i].blocks, layer); /* [6, D] */
            lf_download_floats(be, numbers, lf_tensor_slice(m, 0, 2));
            norm = fmax(norm, largest_norm(numbers, numbers + d, d));
        }
        double bias = largest_bias(l, be, numbers, d);
        peaks[layer] = (float) (ROUNDING * (norm * (double) lf_weight_norm(l->self.qkv) + bias));
    }
    for (int i = 0; i < n; i++)
        lf_upload_floats(be, modulations[i].v_amax, peaks);
}
