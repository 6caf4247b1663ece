/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tensors of a test: filled with random numbers or poison, guarded, compared.
 */
#include "checkops.h"
#include "device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 256
#define CANARY 0xA5
#define MOST   64

typedef struct {
    uint8_t *block; /* margin, data, margin */
    uint8_t *data;
    size_t block_size, size;
    uint8_t *original; /* of an input */
    LfType held;       /* type on a device; LF_N_TYPES: not set */
} Buffer;

static Buffer buffers[MOST];
static int n_buffers;
static double *doubles[MOST];
static int n_doubles;

/* ---- random numbers -------------------------------------------------------------------------- */

/* SplitMix64, seeded by the test program's seed: filling tensors through GRand would take most of
 * the time of a test. */
static uint64_t next_random(void)
{
    static uint64_t state;
    if (!state)
        state = (uint64_t) (g_test_initialized() ? g_test_rand_int() : 1) << 32 | 1;
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

double random_uniform(double low, double high)
{
    return low + (high - low) * (double) (next_random() >> 11) * 0x1p-53;
}

int64_t random_size(int64_t most)
{
    return 1 + (int64_t) (next_random() % (uint64_t) most);
}

int64_t random_odd(int64_t most)
{
    return random_size((most + 1) / 2) * 2 - 1;
}

/* The sum of twelve uniform numbers has variance 1 and is normal enough here. */
double random_normal(void)
{
    double sum = -6.0;
    for (int i = 0; i < 3; i++) {
        uint64_t bits = next_random();
        for (int part = 0; part < 4; part++, bits >>= 16)
            sum += ((double) (bits & 0xffff) + 0.5) * 0x1p-16;
    }
    return sum;
}

/* ---- buffers --------------------------------------------------------------------------------- */

/* In tests a tensor has any address that the type allows, like a slice of an arena's tensor; in
 * benchmarks it has the alignment of an arena. */
static LfTensor new_buffer(LfType type, const int64_t *shape)
{
    LfTensor t = lf_tensor_view(NULL, type, shape);
    size_t item = lf_type_size(type), size = lf_tensor_size(t);
    size_t offset = MARGIN;
    if (g_test_initialized())
        offset += item * (size_t) (random_size(16) - 1);
    g_assert_cmpint(n_buffers, <, MOST);
    Buffer *b = &buffers[n_buffers++];
    *b = (Buffer){.block_size = offset + size + MARGIN, .size = size, .held = LF_N_TYPES};
    b->block = aligned_alloc(MARGIN, (b->block_size + MARGIN - 1) / MARGIN * MARGIN);
    g_assert_nonnull(b->block);
    memset(b->block, CANARY, b->block_size);
    t.data = b->data = b->block + offset;
    return t;
}

LfTensor input_tensor(LfType type, const int64_t *shape)
{
    LfTensor t = new_buffer(type, shape);
    for (int64_t i = 0; i < lf_tensor_count(t); i++) {
        if (type == LF_F32)
            lf_f32(t)[i] = (float) random_normal();
        else if (type == LF_BF16)
            ((uint16_t *) t.data)[i] = lf_float_to_bf16((float) random_normal());
        else if (type == LF_F8_E4M3)
            lf_u8(t)[i] = float_to_e4m3(100.0f * (float) random_normal());
        else
            memset((uint8_t *) t.data + (size_t) i * lf_type_size(type),
                   (int) (next_random() & 0x7f), lf_type_size(type));
    }
    buffers[n_buffers - 1].original = g_memdup2(t.data, lf_tensor_size(t));
    return t;
}

LfTensor output_tensor(LfType type, const int64_t *shape)
{
    LfTensor t = new_buffer(type, shape);
    memset(t.data, 0xff, lf_tensor_size(t));
    return t;
}

/* The buffer that `t` is in. */
static Buffer *buffer_of(LfTensor t)
{
    const uint8_t *data = t.data;
    for (int i = 0; i < n_buffers; i++)
        if (data >= buffers[i].data && data < buffers[i].data + buffers[i].size)
            return &buffers[i];
    g_error("a tensor that is none of the test's");
}

void let_change(LfTensor t)
{
    g_clear_pointer(&buffer_of(t)->original, g_free);
}

/* ---- on a device ----------------------------------------------------------------------------- */

enum { CHUNK = 1 << 14 }; /* numbers that a thread converts at once */

void narrow(void *dst, LfType type, const float *src, int64_t n)
{
    size_t item = lf_type_size(type);
#pragma omp parallel for if (n > CHUNK)
    for (int64_t i = 0; i < n; i += CHUNK)
        g_assert_true(
            lf_from_float((uint8_t *) dst + (size_t) i * item, type, src + i, MIN(CHUNK, n - i)));
}

void widen(float *dst, const void *src, LfType type, int64_t n)
{
    size_t item = lf_type_size(type);
#pragma omp parallel for if (n > CHUNK)
    for (int64_t i = 0; i < n; i += CHUNK)
        g_assert_true(lf_to_float(dst + i, (const uint8_t *) src + (size_t) i * item, type,
                                  MIN(CHUNK, n - i)));
}

LfType activation_of(LfBackend *be)
{
    return device_of(be) ? device_of(be)->activation_type : LF_F32;
}

LfType picture_of(LfBackend *be)
{
    return device_of(be) ? device_of(be)->decoder_type : LF_F32;
}

bool is_fp8(LfBackend *be)
{
    return be->precision == LF_PRECISION_FP8;
}

/* The test has changed an input before the operation runs. */
static void note_change(const Buffer *b)
{
    if (b->original)
        memcpy(b->original, b->data, b->size);
}

LfTensor hold(LfTensor t, LfType type)
{
    Buffer *b = buffer_of(t);
    int64_t n = lf_tensor_count(t);
    b->held = type;
    if (type == LF_F32)
        return t;
    g_assert_cmpint(t.type, ==, LF_F32);
    g_autofree void *converted = g_malloc((size_t) n * lf_type_size(type));
    narrow(converted, type, lf_f32(t), n);
    widen(lf_f32(t), converted, type, n);
    note_change(b);
    return t;
}

LfType held_as(LfTensor t, LfType usual)
{
    Buffer *b = buffer_of(t);
    if (b->held == LF_N_TYPES)
        b->held = usual;
    return b->held;
}

/* Sets the factor and the norm of a row, and rounds its numbers to F8_E4M3 times the factor. */
static void quantise_row(float *row, int64_t n, float *factor, float *norm)
{
    float largest = 0.0f;
    double squares = 0.0;
    for (int64_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(row[i]));
    *factor = fmaxf(largest / 448.0f, 1e-8f);
    for (int64_t i = 0; i < n; i++) {
        row[i] = *factor * round_to_e4m3(row[i] / *factor);
        squares += (double) row[i] * row[i];
    }
    *norm = (float) sqrt(squares);
}

LfTensor hold_rows(LfTensor t)
{
    int64_t n = t.shape[0], width = t.shape[1];
    Buffer *b = buffer_of(t);
    LfTensor scales = output(LF_F32, 2, n);
    bool poison = isnan(lf_f32(t)[0]);
#pragma omp parallel for if (n * width > CHUNK)
    for (int64_t row = 0; row < (poison ? 0 : n); row++)
        quantise_row(lf_f32(t) + row * width, width, lf_f32(scales) + row,
                     lf_f32(scales) + n + row);
    b->held = LF_F8_E4M3;
    note_change(b);
    t.scales = lf_f32(scales);
    return t;
}

LfTensor amax_over(LfTensor t)
{
    LfTensor peak = input(LF_F32, 1);
    float largest = 0.0f;
    for (int64_t i = 0; i < lf_tensor_count(t); i++)
        if (isfinite(lf_f32(t)[i]))
            largest = fmaxf(largest, fabsf(lf_f32(t)[i]));
    lf_f32(peak)[0] = largest * (float) random_size(8);
    note_change(buffer_of(peak));
    return peak;
}

/* The error of rounding to a device's output type: at most 2⁻⁸, 2⁻¹¹ or 2⁻⁴ of a number (BF16, F16,
 * E4M3), half of that in the mean, and as much again for the probabilities of an attention. With
 * few numbers the mean may be as large as the maximum. A copy is exact in any type. */
double allowed(LfTensor t, double tolerance)
{
    static const double least[LF_N_TYPES + 1] = {
        [LF_BF16] = 4e-3, [LF_F16] = 1e-3, [LF_F8_E4M3] = 4e-2};
    double rounding = least[buffer_of(t)->held] * (lf_tensor_count(t) < 256 ? 2.0 : 1.0);
    return tolerance > 0.0 ? fmax(tolerance, rounding) : 0.0;
}

static bool canaries_live(const Buffer *b)
{
    const uint8_t *end = b->data + b->size;
    for (const uint8_t *p = b->block; p < b->data; p++)
        if (*p != CANARY)
            return false;
    for (const uint8_t *p = end; p < b->block + b->block_size; p++)
        if (*p != CANARY)
            return false;
    return true;
}

void settle(LfBackend *be)
{
    g_assert_true(be->sync(be, NULL));
    for (int i = 0; i < n_buffers; i++) {
        Buffer *b = &buffers[i];
        g_assert_true(canaries_live(b));
        if (b->original)
            g_assert_true(memcmp(b->original, b->data, b->size) == 0);
        g_free(b->original);
        free(b->block);
    }
    for (int i = 0; i < n_doubles; i++)
        g_free(doubles[i]);
    n_buffers = n_doubles = 0;
}

/* ---- references ------------------------------------------------------------------------------ */

double *reference(int64_t n)
{
    g_assert_cmpint(n_doubles, <, MOST);
    return doubles[n_doubles++] = g_new0(double, n);
}

double *as_double(LfTensor t)
{
    int64_t n = lf_tensor_count(t);
    double *wide = reference(n);
    g_autofree float *numbers = g_new(float, n);
    widen(numbers, t.data, t.type, n);
    for (int64_t i = 0; i < n; i++)
        wide[i] = (double) numbers[i];
    return wide;
}

void expect_near(LfTensor out, const double *want, double tolerance, double typical)
{
    int64_t n = lf_tensor_count(out);
    double error = 0.0, norm = 0.0, most = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double difference = (double) lf_f32(out)[i] - want[i];
        error += difference * difference;
        norm += want[i] * want[i];
        most = fmax(most, fabs(difference));
    }
    double relative = sqrt(error / fmax(norm, (double) n * typical * typical + 1e-30));
    g_test_message("%d numbers: rel-L2 %.2g, largest difference %.2g", (int) n, relative, most);
    g_assert_true(relative <= allowed(out, tolerance)); /* false for NaN, too */
}

void expect_close(LfTensor out, const double *want, double tolerance)
{
    expect_near(out, want, tolerance, 0.0);
}

void expect_quantised(LfTensor out, const double *want, double error)
{
    int64_t n = out.shape[0], width = out.shape[1];
    for (int64_t row = 0; row < n; row++) {
        double squares = 0.0;
        for (int64_t i = row * width; i < (row + 1) * width; i++) {
            double number = (double) lf_f32(out)[i];
            double half_step = fmax(fabs(want[i]) / 16.0, (double) out.scales[row] * 0x1p-10);
            g_assert_cmpfloat(fabs(number - want[i]), <=, (1.0 + 1e-5) * half_step + error);
            squares += number * number;
        }
        g_assert_cmpfloat(sqrt(squares), <=, (1.0 + 0x1p-4) * (double) out.scales[n + row]);
    }
}

void expect_quantised_share(LfTensor out, const double *want, double share)
{
    int64_t n = lf_tensor_count(out);
    double squares = 0.0;
    for (int64_t i = 0; i < n; i++)
        squares += want[i] * want[i];
    expect_quantised(out, want, share * sqrt(squares / (double) n));
}

void expect_equal(LfTensor out, const void *want)
{
    g_assert_cmpmem(out.data, lf_tensor_size(out), want, lf_tensor_size(out));
}
