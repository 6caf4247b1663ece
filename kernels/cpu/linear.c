/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Weights of every kind, and the products with linear ones.
 */
#include "cpu.h"
#include "pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- weights ---- */

/* `count` rows of a linear or embedding weight, from row `first`, as float. */
static void rows_to_float(float *dst, const LfCpuWeight *w, int64_t first, int64_t count)
{
    size_t row = (size_t) w->base.in * lf_type_size(w->type);
    lf_to_float(dst, (const uint8_t *) w->data + (size_t) first * row, w->type, count * w->base.in);
}

/* The source as float, in the order of its kind; NULL without memory. */
static float *packed(LfBackend *be, LfWeightKind kind, LfTensor source, size_t *size)
{
    size_t n = (size_t) lf_tensor_count(source);
    float *plain = be->alloc(be, n * sizeof(float));
    *size = n * sizeof(float);
    if (plain)
        lf_to_float(plain, source.data, source.type, (int64_t) n);
    if (!plain || kind == LF_WEIGHT_LINEAR)
        return plain;
    if (kind == LF_WEIGHT_CONV_UP2)
        *size = *size / 9 * 16;
    float *ordered = be->alloc(be, *size);
    if (ordered)
        lf_cpu_pack_conv(ordered, plain, source.shape[0], source.shape[1], kind);
    be->free(be, plain);
    return ordered;
}

static bool stays_in_place(LfWeightKind kind, LfType type)
{
    return kind == LF_WEIGHT_EMBEDDING || (kind == LF_WEIGHT_LINEAR && type == LF_BF16);
}

static void weight_free(LfBackend *be, LfWeight *weight)
{
    LfCpuWeight *w = (LfCpuWeight *) weight;
    if (w->base.memory)
        be->free(be, w->data);
    g_free(w);
}

static LfWeight *weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    LfCpuWeight *w = g_new0(LfCpuWeight, 1);
    w->base = (LfWeight){.kind = kind, .out = source.shape[0], .in = source.shape[1]};
    if (stays_in_place(kind, source.type)) {
        w->type = source.type;
        w->data = source.data;
        return &w->base;
    }
    w->type = LF_F32;
    w->data = packed(be, kind, source, &w->base.memory);
    if (!w->data) {
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY, "no memory for a weight of %.1f MB",
                    (double) w->base.memory / 1e6);
        g_free(w);
        return NULL;
    }
    return &w->base;
}

/* ---- plain C ---- */

/* What becomes of a product: bias and activation, or gate and sum; all but the first optional. */
typedef struct {
    const float *bias, *gate;
    LfActivation activation;
    bool accumulate;
} Finish;

static float activated(float x, LfActivation activation)
{
    if (activation == LF_ACT_GELU_TANH)
        return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    return activation == LF_ACT_SILU ? x / (1.0f + expf(-x)) : x;
}

static void finish_value(float *out, float product, int64_t column, const Finish *f)
{
    float value = activated(product + (f->bias ? f->bias[column] : 0.0f), f->activation);
    if (f->accumulate)
        *out += f->gate ? f->gate[column] * value : value;
    else
        *out = value;
}

/* Eight sums side by side: a compiler may then use vectors, and rounding errors stay small. */
static float dot(const float *a, const float *b, int64_t n)
{
    float sums[8] = {0}, sum = 0.0f;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (int lane = 0; lane < 8; lane++)
        sum += sums[lane];
    return sum;
}

/* Columns [first, first + count) of out, count ≤ PANEL. */
#define PANEL 16
static void plain_panel(LfBackend *be, LfTensor out, LfTensor x, const LfCpuWeight *w,
                        int64_t first, int thread, const Finish *f)
{
    int64_t n_in = w->base.in, n_out = w->base.out, count = MIN(PANEL, n_out - first);
    float *panel = lf_cpu_scratch(be, thread, PANEL * (size_t) n_in * sizeof(float));
    if (!panel)
        return;
    rows_to_float(panel, w, first, count);
    for (int64_t n = 0; n < x.shape[0]; n++)
        for (int64_t o = 0; o < count; o++)
            finish_value(lf_f32(out) + n * n_out + first + o,
                         dot(lf_f32(x) + n * n_in, panel + o * n_in, n_in), first + o, f);
}

static void plain_product(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                          const Finish *f)
{
    const LfCpuWeight *w = (const LfCpuWeight *) weight;
#pragma omp parallel for num_threads(be->n_threads)
    for (int64_t first = 0; first < w->base.out; first += PANEL)
        plain_panel(be, out, x, w, first, lf_cpu_thread(), f);
}

static void plain_linear(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                         LfTensor bias, LfActivation activation)
{
    plain_product(be, out, x, weight, &(Finish){.bias = lf_f32(bias), .activation = activation});
}

static void plain_linear_residual(LfBackend *be, LfTensor x, LfTensor y, const LfWeight *weight,
                                  LfTensor bias, LfTensor gate)
{
    plain_product(be, x, y, weight,
                  &(Finish){.bias = lf_f32(bias), .gate = lf_f32(gate), .accumulate = true});
}

void lf_cpu_linear_init(LfOps *ops, LfCpuLevel level)
{
    ops->weight_new = weight_new;
    ops->weight_free = weight_free;
    ops->linear = plain_linear;
    ops->linear_residual = plain_linear_residual;
}
