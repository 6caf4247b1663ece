/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The layout of the weights of convolutions.
 */
#include "pack.h"
#include "kernels/conv_up2.h"
#include "simd/dense.h"

#include <string.h>

/* One or four filters, each of n_rows × n_columns taps with n_in inputs and n_out channels. */
typedef struct {
    int n_filters, n_rows, n_columns, lanes;
    int64_t n_in, n_out;
} Layout;

bool lf_cpu_conv_narrow(int64_t n_out, LfCpuIsa isa)
{
    return isa != LF_CPU_C && 3 * n_out <= 16;
}

/* Height and width of the filter in the source. */
static int side_of(const LfWeight *w)
{
    return w->kind == LF_WEIGHT_CONV3D ? w->side : 3;
}

static Layout layout_of(const LfWeight *w, LfCpuIsa isa)
{
    int lanes = isa == LF_CPU_AVX512 ? 16 : isa == LF_CPU_AVX2 ? 8 : 1, side = side_of(w);
    int n_rows = w->kind == LF_WEIGHT_CONV3D ? w->times * side : side;
    if (w->kind == LF_WEIGHT_CONV_UP2)
        return (Layout){4, 2, 2, lanes, w->in, w->out};
    if (side == 3 && lf_cpu_conv_narrow(w->out, isa))
        return (Layout){1, n_rows, 1, lanes, w->in, 3 * w->out};
    return (Layout){1, n_rows, side, lanes, w->in, w->out};
}

/* Floats of one filter. */
static int64_t filter_size(const Layout *l)
{
    int64_t padded = (l->n_out + l->lanes - 1) / l->lanes * l->lanes;
    return l->n_rows * l->n_columns * l->n_in * padded;
}

size_t lf_cpu_conv_size(const LfWeight *weight, LfCpuIsa isa)
{
    Layout l = layout_of(weight, isa);
    return (size_t) (l.n_filters * filter_size(&l)) * sizeof(float);
}

/* The first channel and the width of the group that `out` is in. Plain C has one group. */
static int64_t group_of(const Layout *l, int64_t out, int64_t *width)
{
    int64_t first = 0, n_vec = (l->n_out + l->lanes - 1) / l->lanes;
    *width = l->n_out;
    while (l->lanes > 1) {
        int group = lf_conv_group(l->lanes, n_vec);
        *width = group * l->lanes;
        if (out < first + *width)
            break;
        first += *width;
        n_vec -= group;
    }
    return first;
}

static int64_t place(const Layout *l, int filter, int row, int column, int64_t in, int64_t out)
{
    int64_t width, first = group_of(l, out, &width);
    int64_t input = (row * l->n_columns + column) * l->n_in + in;
    int64_t n_inputs = l->n_rows * l->n_columns * l->n_in;
    return filter * filter_size(l) + first * n_inputs + input * width + out - first;
}

/* Adds one tap of a 3×3 filter to the four 2×2 ones. */
static void add_up2(float *dst, const Layout *l, int ky, int kx, int64_t in, int64_t out, float w)
{
    for (int py = 0; py < 2; py++)
        for (int px = 0; px < 2; px++) {
            int row = lf_conv_up2_row(py, ky), column = lf_conv_up2_row(px, kx);
            dst[place(l, 2 * py + px, row, column, in, out)] += w;
        }
}

void lf_cpu_pack_conv(float *dst, const float *src, const LfWeight *weight, LfCpuIsa isa)
{
    Layout l = layout_of(weight, isa);
    int side = side_of(weight), n_taps = side * side * MAX(weight->times, 1);
    memset(dst, 0, lf_cpu_conv_size(weight, isa));
    for (int64_t i = 0; i < weight->out * weight->in * n_taps; i++) {
        int64_t out = i / n_taps / weight->in, in = i / n_taps % weight->in;
        int row = (int) (i % n_taps / side), column = (int) (i % side);
        if (weight->kind == LF_WEIGHT_CONV_UP2)
            add_up2(dst, &l, row, column, in, out, src[i]);
        else if (l.n_columns < side)
            dst[place(&l, 0, row, 0, in, column * weight->out + out)] = src[i];
        else
            dst[place(&l, 0, row, column, in, out)] = src[i];
    }
}
