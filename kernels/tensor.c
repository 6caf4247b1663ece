/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tensor.h"

#include <glib.h>
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[LF_N_TYPES] = {
    [LF_F32] = {"F32", 4}, [LF_BF16] = {"BF16", 2},       [LF_F16] = {"F16", 2},
    [LF_F64] = {"F64", 8}, [LF_F8_E4M3] = {"F8_E4M3", 1}, [LF_F8_E5M2] = {"F8_E5M2", 1},
    [LF_I64] = {"I64", 8}, [LF_I32] = {"I32", 4},         [LF_I16] = {"I16", 2},
    [LF_I8] = {"I8", 1},   [LF_U8] = {"U8", 1},           [LF_BOOL] = {"BOOL", 1},
};

size_t lf_type_size(LfType type)
{
    return types[type].size;
}

const char *lf_type_name(LfType type)
{
    return types[type].name;
}

LfTensor lf_tensor_view(void *data, LfType type, const int64_t *shape)
{
    LfTensor t = {.data = data, .type = type};
    while (t.n_dims < LF_MAX_DIMS && shape[t.n_dims] > 0) {
        t.shape[t.n_dims] = shape[t.n_dims];
        t.n_dims++;
    }
    return t;
}

int64_t lf_tensor_count(LfTensor t)
{
    int64_t n = t.n_dims > 0;
    for (int i = 0; i < t.n_dims; i++)
        n *= t.shape[i];
    return n;
}

size_t lf_tensor_size(LfTensor t)
{
    return (size_t) lf_tensor_count(t) * lf_type_size(t.type);
}

/* `t` with its data advanced by `count` elements; the tensor of a plan has none. */
static LfTensor advanced(LfTensor t, int64_t count)
{
    if (t.data)
        t.data = (uint8_t *) t.data + (size_t) count * lf_type_size(t.type);
    return t;
}

LfTensor lf_tensor_slice(LfTensor t, int64_t first, int64_t count)
{
    g_return_val_if_fail(first >= 0 && count > 0 && first + count <= t.shape[0], LF_NONE);
    g_return_val_if_fail(!t.scales, LF_NONE); /* the scales would not follow the rows */
    LfTensor slice = advanced(t, first * (lf_tensor_count(t) / t.shape[0]));
    slice.shape[0] = count;
    return slice;
}

LfTensor lf_tensor_at(LfTensor t, int64_t index)
{
    g_return_val_if_fail(t.n_dims > 1, LF_NONE);
    LfTensor entry = lf_tensor_slice(t, index, 1);
    if (!lf_is_set(entry))
        return LF_NONE;
    entry.n_dims--;
    memmove(entry.shape, entry.shape + 1, sizeof entry.shape - sizeof *entry.shape);
    entry.shape[entry.n_dims] = 0;
    return entry;
}

LfTensor lf_tensor_reshape_view(LfTensor t, const int64_t *shape)
{
    LfTensor view = lf_tensor_view(t.data, t.type, shape);
    g_return_val_if_fail(lf_tensor_count(view) == lf_tensor_count(t), LF_NONE);
    g_return_val_if_fail(!t.scales, LF_NONE);
    return view;
}

static float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float lf_bf16_to_float(uint16_t bits)
{
    return float_from_bits((uint32_t) bits << 16);
}

uint16_t lf_float_to_bf16(float value)
{
    uint32_t bits = bits_of_float(value);
    if (isnan(value))
        return (uint16_t) (bits >> 16 | 0x40);
    return (uint16_t) ((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* A float of one sign bit, `exponent` and `mantissa` bits. With `ieee` the highest exponent is
 * reserved for infinities and NaN; without, it is an exponent like the others. */
static float small_float(unsigned bits, int exponent, int mantissa, bool ieee)
{
    unsigned sign = bits >> (exponent + mantissa) & 1;
    int e = (int) (bits >> mantissa & ((1u << exponent) - 1));
    unsigned m = bits & ((1u << mantissa) - 1);
    int bias = (1 << (exponent - 1)) - 1;
    float value;
    if (ieee && e == (1 << exponent) - 1)
        value = m ? NAN : INFINITY;
    else if (e == 0)
        value = ldexpf((float) m, 1 - bias - mantissa);
    else
        value = ldexpf((float) (m | 1u << mantissa), e - bias - mantissa);
    return sign ? -value : value;
}

float lf_f16_to_float(uint16_t bits)
{
    uint32_t sign = (uint32_t) (bits & 0x8000) << 16, mantissa = bits & 0x3ff;
    unsigned exponent = bits >> 10 & 31;
    float subnormal = (float) mantissa * 0x1p-24f;
    if (exponent == 0)
        return sign ? -subnormal : subnormal;
    return float_from_bits(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13);
}

uint16_t lf_float_to_f16(float value)
{
    uint32_t bits = bits_of_float(value);
    uint16_t sign = (uint16_t) (bits >> 16 & 0x8000);
    if (isnan(value))
        return sign | 0x7e00;
    float size = fabsf(value);
    if (size >= 65520.0f)
        return sign | 0x7c00;
    if (size < 0x1p-14f)
        return sign | (uint16_t) lrintf(size * 0x1p24f);
    uint32_t m = bits & 0x7fffffff;
    return sign | (uint16_t) ((m - (112u << 23) + 0xfff + (m >> 13 & 1)) >> 13);
}

static float e4m3_to_float(unsigned bits)
{
    return (bits & 0x7f) == 0x7f ? NAN : small_float(bits, 4, 3, false);
}

static float e5m2_to_float(unsigned bits)
{
    return small_float(bits, 5, 2, true);
}

/* Numbers in a file may be at any address. */
static uint16_t half_at(const uint8_t *bytes, int64_t i)
{
    uint16_t half;
    memcpy(&half, bytes + 2 * i, sizeof half);
    return half;
}

static double double_at(const uint8_t *bytes, int64_t i)
{
    double wide;
    memcpy(&wide, bytes + 8 * i, sizeof wide);
    return wide;
}

/* The values of all bytes: a checkpoint has billions. */
typedef struct {
    gsize made;
    float of[256];
} ByteTable;

static void convert_bytes(ByteTable *table, float (*value)(unsigned), float *dst,
                          const uint8_t *bytes, int64_t n)
{
    if (g_once_init_enter(&table->made)) {
        for (unsigned i = 0; i < 256; i++)
            table->of[i] = value(i);
        g_once_init_leave(&table->made, 1);
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = table->of[bytes[i]];
}

bool lf_to_float(float *dst, const void *src, LfType type, int64_t n)
{
    static ByteTable e4m3, e5m2;
    const uint8_t *bytes = src;
    switch (type) {
    case LF_F32:
        memcpy(dst, src, (size_t) n * sizeof *dst);
        return true;
    case LF_BF16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = lf_bf16_to_float(half_at(bytes, i));
        return true;
    case LF_F16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = lf_f16_to_float(half_at(bytes, i));
        return true;
    case LF_F64:
        for (int64_t i = 0; i < n; i++)
            dst[i] = (float) double_at(bytes, i);
        return true;
    case LF_F8_E4M3:
        convert_bytes(&e4m3, e4m3_to_float, dst, bytes, n);
        return true;
    case LF_F8_E5M2:
        convert_bytes(&e5m2, e5m2_to_float, dst, bytes, n);
        return true;
    default:
        return false;
    }
}

bool lf_from_float(void *dst, LfType type, const float *src, int64_t n)
{
    if (type == LF_F32)
        memcpy(dst, src, (size_t) n * sizeof *src);
    for (int64_t i = 0; i < n && type == LF_BF16; i++)
        ((uint16_t *) dst)[i] = lf_float_to_bf16(src[i]);
    for (int64_t i = 0; i < n && type == LF_F16; i++)
        ((uint16_t *) dst)[i] = lf_float_to_f16(src[i]);
    return type == LF_F32 || type == LF_BF16 || type == LF_F16;
}

/* Rounds to nearest even; saturates at ±448. */
static uint8_t e4m3_from_float(float value)
{
    uint32_t bits = bits_of_float(value), size = bits & 0x7fffffff;
    uint8_t sign = (uint8_t) (bits >> 24 & 0x80);
    if (isnan(value))
        return 0x7f;
    if (fabsf(value) >= 448.0f)
        return sign | 0x7e;
    if (fabsf(value) < 0x1p-6f) /* subnormal: multiples of 2⁻⁹ */
        return sign | (uint8_t) lrintf(fabsf(value) * 0x1p9f);
    return sign | (uint8_t) ((size - (120u << 23) + 0x7ffff + (size >> 20 & 1)) >> 20);
}

void lf_quantise_row(uint8_t *codes, float *scale, const float *row, int64_t n)
{
    float largest = 0.0f;
    for (int64_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(row[i]));
    *scale = fmaxf(largest / 448.0f, 1e-8f);
    for (int64_t i = 0; codes && i < n; i++)
        codes[i] = e4m3_from_float(row[i] / *scale);
}
