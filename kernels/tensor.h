/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A tensor: a pointer, an element type and a shape. Contiguous, the last dimension fastest. It does
 * not own its memory; an arena, a mapped file or a weight owns it and outlives the tensor. Passed
 * by value. The all-zero tensor, LF_NONE, is an absent argument.
 */
#ifndef LF_KERNELS_TENSOR_H
#define LF_KERNELS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LF_MAX_DIMS 5

typedef enum {
    LF_F32, /* 0, so that a zeroed tensor is a float tensor of rank 0 */
    LF_BF16,
    LF_F16,
    LF_F64,
    LF_F8_E4M3,
    LF_F8_E5M2,
    LF_I64,
    LF_I32,
    LF_I16,
    LF_I8,
    LF_U8,
    LF_BOOL,
    LF_N_TYPES
} LfType;

typedef struct {
    void *data;
    LfType type;
    int n_dims;
    int64_t shape[LF_MAX_DIMS];
    float *scales; /* F32 [2, rows] of activations [rows, width] in F8_E4M3, see lf_arena_rows; F32
                    * [rows] of a weight's source, see lf_weight_new; else NULL. A tensor with scales
                    * can be neither sliced nor reshaped: the scales would not follow the rows. */
} LfTensor;

#define LF_NONE ((LfTensor){0})

/* Bytes of one element; the name as safetensors spells it ("F32", "BF16", …). */
size_t lf_type_size(LfType type);
const char *lf_type_name(LfType type);

/* A view of `data`, which may be NULL in a plan. The dimensions end at the first 0:
 * lf_tensor(p, LF_F32, 3, 5) is [3, 5]. */
#define lf_tensor(data, type, ...)                                                                 \
    lf_tensor_view((data), (type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})
LfTensor lf_tensor_view(void *data, LfType type, const int64_t *shape);

/* Elements and bytes in all. */
int64_t lf_tensor_count(LfTensor t);
size_t lf_tensor_size(LfTensor t);

/* True for anything but LF_NONE (a plan's tensors have shapes but no data). */
static inline bool lf_is_set(LfTensor t)
{
    return t.n_dims > 0;
}

/* Entries [first, first + count) of the first dimension. LF_NONE after a g_critical when `t` has
 * fewer entries, or scales. */
LfTensor lf_tensor_slice(LfTensor t, int64_t first, int64_t count);

/* Entry `index` of the first dimension, with that dimension dropped. As lf_tensor_slice. */
LfTensor lf_tensor_at(LfTensor t, int64_t index);

/* The same memory under another shape of as many elements (dimensions end at the first 0). LF_NONE
 * after a g_critical when the number differs, or when `t` has scales. */
#define lf_tensor_reshape(t, ...)                                                                  \
    lf_tensor_reshape_view((t), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})
LfTensor lf_tensor_reshape_view(LfTensor t, const int64_t *shape);

static inline float *lf_f32(LfTensor t)
{
    return (float *) t.data;
}

static inline int32_t *lf_i32(LfTensor t)
{
    return (int32_t *) t.data;
}

static inline uint8_t *lf_u8(LfTensor t)
{
    return (uint8_t *) t.data;
}

/* Converts one value between a 16-bit format and float, rounded to nearest even. */
float lf_bf16_to_float(uint16_t bits);
uint16_t lf_float_to_bf16(float value);
float lf_f16_to_float(uint16_t bits);
uint16_t lf_float_to_f16(float value);

/* n values of a floating-point type (F32, BF16, F16, F64, F8_*) to float. False for another type;
 * `dst` is then untouched. `src` may be unaligned. */
bool lf_to_float(float *dst, const void *src, LfType type, int64_t n);

/* Floats to F32, BF16 or F16, rounded to nearest even. False for another type; `dst` is then
 * untouched. */
bool lf_from_float(void *dst, LfType type, const float *src, int64_t n);

/* A row of n numbers in F8_E4M3, as a backend of precision FP8 makes it of a weight's: value = code ·
 * scale, scale = max|row| / 448, codes rounded to nearest even. `codes` may be NULL. */
void lf_quantise_row(uint8_t *codes, float *scale, const float *row, int64_t n);

#endif
