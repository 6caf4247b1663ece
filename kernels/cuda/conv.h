/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Shared by the versions of the decoder's convolutions: the layout of weights, and the arguments of
 * a call.
 */
#ifndef LF_KERNELS_CUDA_CONV_H
#define LF_KERNELS_CUDA_CONV_H

#include "machine.h"

/* Weights lie as F16 in tiles of `rows` output channels × 64 input channels, the order in which the
 * tensor cores take them: [filter][time][64 of the input channels][tap][row][input channel], zeros
 * beyond the last row and channel. Within a row, pieces of 8 channels are permuted so that the same piece
 * of eight consecutive rows covers all banks of shared memory: Hopper's swizzle of 128 bytes.
 *
 * A 3×3 convolution is one filter of nine taps. One after nearest×2 is four filters of 2×2, one for
 * each parity of row and column. A narrow one (9·out ≤ 32) is one filter of one tap whose rows are
 * tap·out + channel: every pixel contributes to each of its nine neighbours. A filter of nine taps
 * is followed by the identity, one tile of 64 × 64: a residual is one more tap with this weight.
 *
 * A convolution over time reads the frames of its `n_times` taps in time one after the other, as if
 * each were the next n_in of the input channels, filled up to whole chunks. */
enum { LF_CONV_CHUNK = 64 };

typedef struct {
    int n_filters, side, rows;
    int n_times, n_chunks; /* n_chunks: of all times */
    int n_in, n_out;       /* n_in: of one time */
    bool narrow;
} LfConvLayout;

static inline __host__ __device__ int lf_conv_taps(const LfConvLayout &l)
{
    return l.side * l.side;
}

/* Input channels of one time, filled up. The channel `in` of a time is input time·span + in. */
static inline __host__ __device__ int lf_conv_span(const LfConvLayout &l)
{
    return (l.n_in + LF_CONV_CHUNK - 1) / LF_CONV_CHUNK * LF_CONV_CHUNK;
}

/* The number of weights in one tile; in one filter. */
static inline __host__ __device__ int64_t lf_conv_tile(const LfConvLayout &l)
{
    return (int64_t) l.rows * LF_CONV_CHUNK;
}
static inline __host__ __device__ int64_t lf_conv_filter(const LfConvLayout &l)
{
    return lf_conv_tile(l) * lf_conv_taps(l) * l.n_chunks;
}

/* The number of weights of all filters. */
static inline __host__ __device__ int64_t lf_conv_count(const LfConvLayout &l)
{
    return l.n_filters * lf_conv_filter(l) + (l.side == 3 ? LF_CONV_CHUNK * LF_CONV_CHUNK : 0);
}

/* The index of one weight. `tap` counts over the filter's side×side taps, or over all nine of a
 * narrow convolution. */
static inline __host__ __device__ int64_t lf_conv_place(const LfConvLayout &l, int filter, int tap,
                                                        int out, int in)
{
    int row = l.narrow ? tap * l.n_out + out : out;
    int tile = in / LF_CONV_CHUNK * lf_conv_taps(l) + (l.narrow ? 0 : tap);
    int piece = in % LF_CONV_CHUNK / 8 ^ (row & 7);
    return filter * lf_conv_filter(l) + tile * lf_conv_tile(l) + (int64_t) row * LF_CONV_CHUNK +
           piece * 8 + in % 8;
}

/* One call. `out` is [f, h, w, n_out], or [f, 2h, 2w, n_out] where there are four filters. */
typedef struct {
    const __half *x, *past, *weights; /* past or NULL */
    const __half *earlier;            /* the n_times − 1 frames before x */
    const float *bias;                /* or NULL */
    const void *residual;             /* or NULL; of out's type */
    void *out;
    LfConvLayout layout;
    int frames, h, w; /* of x */
    int n_x, n_past;  /* channels */
    bool relu;
    bool f32; /* type of out: F32, else F16 */
} LfConvolution;

/* The frame that output frame `frame` reads at tap `time`: of x if it is not negative, else that
 * many frames before x. */
static inline __host__ __device__ int lf_conv_frame(const LfConvLayout &l, int frame, int time)
{
    return frame + time - l.n_times + 1;
}

static __device__ inline const __half *lf_conv_pixels(const LfConvolution &c, int frame, int time)
{
    int64_t size = (int64_t) c.h * c.w * c.n_x;
    int at = lf_conv_frame(c.layout, frame, time);
    return at < 0 ? c.earlier + (at + c.layout.n_times - 1) * size : c.x + at * size;
}

/* Number `index` of out, of output channel `channel`, from its sum over the inputs. */
static __device__ inline void lf_conv_write(const LfConvolution &c, int64_t index, int channel,
                                            float sum)
{
    sum += c.bias ? c.bias[channel] : 0.0f;
    if (c.residual)
        sum += c.f32 ? ((const float *) c.residual)[index]
                     : __half2float(((const __half *) c.residual)[index]);
    sum = c.relu ? fmaxf(sum, 0.0f) : sum;
    if (c.f32)
        ((float *) c.out)[index] = sum;
    else
        ((__half *) c.out)[index] = __float2half_rn(sum);
}

/* Whether everything can be read and written in pieces of 16 bytes. */
static inline bool lf_cuda_conv_in_pieces(const LfConvolution *c)
{
    uintptr_t addresses = (uintptr_t) c->x | (uintptr_t) c->past | (uintptr_t) c->earlier |
                          (uintptr_t) c->bias | (uintptr_t) c->residual | (uintptr_t) c->out;
    return c->n_x % 8 == 0 && c->n_past % 8 == 0 && addresses % 16 == 0;
}

/* Versions as in versions.h: conv_mma.cu, on the tensor cores of sm_80 and later; conv_sm90.cu, on
 * Hopper's. */
const char *lf_cuda_conv_mma_refuses(const LfCuda *cuda, const LfConvolution *c);
const char *lf_cuda_conv_mma(LfCuda *cuda, const LfConvolution *c);
const char *lf_cuda_conv_sm90_refuses(const LfCuda *cuda, const LfConvolution *c);
const char *lf_cuda_conv_sm90(LfCuda *cuda, const LfConvolution *c);

/* conv_narrow_sm90.cu: conv_sm90.cu's narrow convolutions. */
const char *lf_cuda_conv_narrow_sm90_refuses(const LfConvolution *c);
const char *lf_cuda_conv_narrow_sm90(LfCuda *cuda, const LfConvolution *c);

/* A map of [f, h, w, n] in F16 for boxes of 64 channels. `step` 2: of every second pixel of every
 * second line of a picture twice as large. */
static inline bool lf_cuda_conv_map(LfCuda *cuda, CUtensorMap *map, const void *data, int n,
                                    int frames, int h, int w, int step, int box_columns,
                                    int box_rows)
{
    uint64_t pixel = (uint64_t) n * sizeof(__half), line = pixel * w * step;
    const uint64_t shape[] = {(uint64_t) n, (uint64_t) w, (uint64_t) h, (uint64_t) frames};
    const uint64_t strides[] = {pixel * step, line * step, line * step * h};
    const uint32_t box[] = {LF_CONV_CHUNK, (uint32_t) box_columns, (uint32_t) box_rows, 1};
    return lf_cuda_tensor_map(cuda, map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, (void *) data, 4, shape,
                              strides, box);
}

/* picture.cu: the decoder's other entries, take_latents and rgb8. lf_cuda_conv_init calls it. */
void lf_cuda_picture_init(LfCuda *cuda);

#endif
