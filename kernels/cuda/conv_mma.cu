/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions as implicit GEMMs on the tensor cores of sm_80 and later (mma.sync m16n8k16, F16
 * inputs, F32 sums).
 *
 * A block computes 16×16 pixels × 64 channels. Its pixels, with a margin of one, are in shared
 * memory, 32 channels at a time, for all taps: a tap reads the same rows, shifted, so that a pixel
 * is read from the L2 cache 1.3 times instead of nine. All copies are cp.async: each tap starts
 * those of the weights of the tap after the next, and of a slice of the next channels' pixels.
 *
 * Narrow convolutions (the last one, to three colours) multiply each pixel with all nine taps at
 * once, [pixels, in]·[in, 9·out]; the nine partial results are then added to the pixels'
 * neighbours. Bound by bytes.
 *
 * H100, TAEHV's layers at 512×768: 123 to 224 TFLOP/s, 15 to 28 % of the peak with wgmma; the
 * narrow one 45 µs per picture.
 */
#include "conv.h"
#include "mma.cuh"

namespace {

enum {
    SIDE = 16,         /* of a block's square of pixels */
    MARGIN = SIDE + 2, /* with its margin */
    PIXELS = MARGIN * MARGIN,
    CHUNK = 32,         /* channels at a time */
    PIECES = CHUNK / 8, /* of 16 bytes */
    OUTS = 64,
    THREADS = 128,
    STAGES = 3, /* of weights */
    PIXEL_BYTES = CHUNK * 2,
    TILE_BYTES = PIXELS * PIXEL_BYTES,
    WEIGHT_BYTES = OUTS * CHUNK * 2,
    SHARED = 2 * TILE_BYTES + STAGES * WEIGHT_BYTES
};

/* ---- instructions ---------------------------------------------------------------------------- */

/* 16 bytes, or zeros where not `inside`. */
__device__ void copy_async(uint32_t to, const void *from, bool inside)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(inside ? 16 : 0)
                 : "memory");
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* The position of a piece in its row of shared memory: eight consecutive rows cover all banks. */
__device__ int swizzled(int row, int piece)
{
    return piece ^ (row >> 1 & 3);
}

/* A block's pixels: of one frame, the margin's corner at (top, left). */
typedef struct {
    int frame, top, left;
} Place;

/* The first input of a chunk. A time has as many chunks as its channels fill. */
__device__ int first_of(const LfConvLayout &l, int chunk)
{
    int of_time = (l.n_in + CHUNK - 1) / CHUNK;
    return chunk / of_time * lf_conv_span(l) + chunk % of_time * CHUNK;
}

__device__ int chunks_of(const LfConvLayout &l)
{
    return l.n_times * ((l.n_in + CHUNK - 1) / CHUNK);
}

/* Steps of 16 channels that a chunk has. */
__device__ int steps_of(const LfConvLayout &l, int first)
{
    return (l.n_in - first % lf_conv_span(l) + 15) / 16;
}

/* Piece `index` of the pixels with their margins, inputs [first, first + CHUNK): x's of a time, then
 * past's. */
__device__ void copy_piece(uint32_t tile, const LfConvolution &c, const Place &at, int first,
                           int index)
{
    int pixel = index / PIECES, piece = index % PIECES, span = lf_conv_span(c.layout);
    int time = first / span, channel = first % span + piece * 8;
    int y = at.top + pixel / MARGIN, x = at.left + pixel % MARGIN;
    bool inside = y >= 0 && y < c.h && x >= 0 && x < c.w && channel < c.layout.n_in;
    const __half *from = c.x;
    if (inside) {
        int64_t position = (int64_t) y * c.w + x, area = (int64_t) c.h * c.w;
        from = channel < c.n_x ? lf_conv_pixels(c, at.frame, time) + position * c.n_x + channel
                               : c.past + (at.frame * area + position) * c.n_past + channel - c.n_x;
    }
    copy_async(tile + pixel * PIXEL_BYTES + swizzled(pixel, piece) * 16, from, inside);
}

/* Slice `slice` of the pixels: `per_thread` pieces for each thread. */
__device__ void copy_slice(uint32_t tile, const LfConvolution &c, const Place &at, int first,
                           int slice, int per_thread)
{
    for (int i = 0; i < per_thread; i++) {
        int index = (slice * per_thread + i) * THREADS + threadIdx.x;
        if (index < PIXELS * PIECES)
            copy_piece(tile, c, at, first, index);
    }
}

/* Weights of `n_rows` channels, of CHUNK inputs from `first` on. `filter`: the rows' first tile. */
__device__ void copy_weights(uint32_t stage, const __half *filter, const LfConvLayout &l, int first,
                             int tap, int n_rows)
{
    const __half *tile = filter + (first / LF_CONV_CHUNK * lf_conv_taps(l) + tap) * lf_conv_tile(l);
    for (int i = threadIdx.x; i < n_rows * PIECES; i += blockDim.x) {
        int row = i / PIECES, piece = i % PIECES;
        int from = first % LF_CONV_CHUNK / 8 + piece ^ (row & 7);
        copy_async(stage + row * PIXEL_BYTES + swizzled(row, piece) * 16,
                   tile + row * LF_CONV_CHUNK + from * 8, true);
    }
}

/* ---- the product ----------------------------------------------------------------------------- */

/* sums of 4 rows of 16 pixels × 64 channels += the pixels under one tap · its weights. `pixel`:
 * this lane's of the first row. */
__device__ void add_tap(float sums[4][8][4], uint32_t tile, uint32_t weights, int pixel,
                        int n_steps)
{
    int lane = threadIdx.x % 32, row = lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int k = 0; k < CHUNK / 16; k++) {
        if (k >= n_steps)
            break;
        uint32_t b[4][4];
#pragma unroll
        for (int n = 0; n < 4; n++)
            load_matrices(b[n], weights + (n * 16 + row) * PIXEL_BYTES +
                                    swizzled(row, 2 * k + lane / 8 % 2) * 16);
#pragma unroll
        for (int m = 0; m < 4; m++) {
            uint32_t a[4];
            int at = pixel + m * MARGIN;
            load_matrices(a, tile + at * PIXEL_BYTES + swizzled(at, 2 * k + lane / 16) * 16);
#pragma unroll
            for (int n = 0; n < 8; n++)
                multiply_f16(sums[m][n], a, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The pixel of out that a pixel of the block is written to, or −1 outside. */
__device__ int64_t out_pixel(const LfConvolution &c, const Place &at, int filter, int row,
                             int column)
{
    int y = at.top + 1 + row, x = at.left + 1 + column;
    if (y >= c.h || x >= c.w)
        return -1;
    if (c.layout.n_filters == 1)
        return ((int64_t) at.frame * c.h + y) * c.w + x;
    return ((int64_t) at.frame * 2 * c.h + 2 * y + filter / 2) * 2 * c.w + 2 * x + filter % 2;
}

/* One number, whatever the types. */
__device__ void write_number(const LfConvolution &c, int64_t pixel, int channel, float sum)
{
    if (pixel < 0 || channel >= c.layout.n_out)
        return;
    lf_conv_write(c, pixel * c.layout.n_out + channel, channel, sum);
}

__device__ void write_numbers(const LfConvolution &c, const float sums[4][8][4], const Place &at,
                              int filter, int first)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int64_t pixel = out_pixel(c, at, filter, warp * 4 + m, lane / 4 + half * 8);
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    write_number(c, pixel, first + n * 8 + lane % 4 * 2 + i,
                                 sums[m][n][half * 2 + i]);
        }
}

/* Writes F16 in pieces of 8 channels. The sums pass through shared memory, where the numbers of a
 * pixel are gathered and the residual, read in pieces too, is added in F32. Each warp has its own
 * region [64 pixels, 64 channels]. */
__device__ void write_pieces(const LfConvolution &c, const float sums[4][8][4], const Place &at,
                             int filter, int first, uint4 *shared)
{
    enum { ROW = OUTS / 8 }; /* pieces of a pixel */
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint4 *region = shared + warp * 64 * ROW;
    const uint4 *residual = (const uint4 *) c.residual;
    int n_pieces = min(ROW, c.layout.n_out / 8 - first / 8), out_row = c.layout.n_out / 8;
    for (int i = 0; i < 64 * ROW / 32 && residual; i++) {
        int pixel = i * 4 + lane / ROW, piece = lane % ROW;
        int64_t to = out_pixel(c, at, filter, warp * 4 + pixel / 16, pixel % 16);
        if (to >= 0 && piece < n_pieces)
            region[pixel * ROW + (piece ^ (pixel & 7))] =
                residual[to * out_row + first / 8 + piece];
    }
    __syncwarp();
#pragma unroll
    for (int n = 0; n < 8; n++) {
        int channel = first + n * 8 + lane % 4 * 2;
        bool exists = n < n_pieces;
        float2 bias = c.bias && exists ? *(const float2 *) (c.bias + channel) : make_float2(0, 0);
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int pixel = m * 16 + half * 8 + lane / 4;
                __half2 *cell = (__half2 *) (region + pixel * ROW + (n ^ (pixel & 7))) + lane % 4;
                float a = sums[m][n][half * 2] + bias.x, b = sums[m][n][half * 2 + 1] + bias.y;
                if (residual && exists) {
                    float2 before = __half22float2(*cell);
                    a += before.x;
                    b += before.y;
                }
                *cell = c.relu ? __floats2half2_rn(fmaxf(a, 0.0f), fmaxf(b, 0.0f))
                               : __floats2half2_rn(a, b);
            }
    }
    __syncwarp();
    for (int i = 0; i < 64 * ROW / 32; i++) {
        int pixel = i * 4 + lane / ROW, piece = lane % ROW;
        int64_t to = out_pixel(c, at, filter, warp * 4 + pixel / 16, pixel % 16);
        if (to >= 0 && piece < n_pieces)
            ((uint4 *) c.out)[to * out_row + first / 8 + piece] =
                region[pixel * ROW + (piece ^ (pixel & 7))];
    }
}

/* ---- 64 channels and more -------------------------------------------------------------------- */

/* Blocks: for each square of pixels of each frame, all filters and groups of channels. */
__global__ void __launch_bounds__(THREADS, 2) conv_wide(LfConvolution c)
{
    extern __shared__ uint4 shared[];
    const LfConvLayout &l = c.layout;
    int n_groups = l.rows / OUTS, columns = (c.w + SIDE - 1) / SIDE, rows = (c.h + SIDE - 1) / SIDE;
    int variant = (int) (blockIdx.x % (n_groups * l.n_filters));
    int square = (int) (blockIdx.x / (n_groups * l.n_filters));
    int first = variant % n_groups * OUTS, filter = variant / n_groups;
    Place at = {square / columns / rows, square / columns % rows * SIDE - 1,
                square % columns * SIDE - 1};
    int n_taps = lf_conv_taps(l), n_chunks = chunks_of(l);
    int n_steps = n_chunks * n_taps;
    /* So that taps − 1 slices are all, or the only one. */
    int per_thread = n_taps == 9 ? 2 : n_taps == 4 ? 4 : (PIXELS * PIECES + THREADS - 1) / THREADS;
    int shift = l.side == 2 ? filter / 2 * MARGIN + filter % 2 : l.side == 1 ? MARGIN + 1 : 0;
    const __half *weights =
        c.weights + filter * lf_conv_filter(l) + (int64_t) first * LF_CONV_CHUNK;
    uint32_t tiles = shared_address(shared), stages = tiles + 2 * TILE_BYTES;

    copy_slice(tiles, c, at, 0, 0, (PIXELS * PIECES + THREADS - 1) / THREADS);
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < n_steps)
            copy_weights(stages + step * WEIGHT_BYTES, weights, l, first_of(l, step / n_taps),
                         step % n_taps, OUTS);
        copies_commit();
    }

    float sums[4][8][4] = {};
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int origin = warp * 4 * MARGIN + lane % 16 + shift;
    int tap = 0, chunk = 0;
    for (int step = 0; step < n_steps; step++) {
        if (n_taps == 1) /* its pixels began to travel in the step before */
            copies_wait<0>();
        else
            copies_wait<STAGES - 2>();
        __syncthreads(); /* this step's copies have arrived; the step before has read its stage */
        int ahead = step + STAGES - 1;
        if (ahead < n_steps)
            copy_weights(stages + ahead % STAGES * WEIGHT_BYTES, weights, l,
                         first_of(l, ahead / n_taps), ahead % n_taps, OUTS);
        if (chunk + 1 < n_chunks && (tap < n_taps - 1 || n_taps == 1))
            copy_slice(tiles + (chunk + 1) % 2 * TILE_BYTES, c, at, first_of(l, chunk + 1), tap,
                       per_thread);
        copies_commit();
        add_tap(sums, tiles + chunk % 2 * TILE_BYTES, stages + step % STAGES * WEIGHT_BYTES,
                origin + tap / l.side * MARGIN + tap % l.side, steps_of(l, first_of(l, chunk)));
        if (++tap == n_taps) {
            tap = 0;
            chunk++;
        }
    }
    copies_wait<0>();
    __syncthreads();
    if (!c.f32 && l.n_out % 8 == 0)
        write_pieces(c, sums, at, filter, first, shared);
    else
        write_numbers(c, sums, at, filter, first);
}

/* ---- narrow ---------------------------------------------------------------------------------- */

enum {
    NARROW_WARPS = 7, /* × 3 × 16 pixels: all with their margins, and 12 more */
    NARROW_THREADS = NARROW_WARPS * 32,
    NARROW_PIXELS = NARROW_WARPS * 48,
    NARROW_ROWS = 32,
    PARTS_ROW = NARROW_ROWS + 1, /* floats of a pixel's parts, apart by one bank more */
    NARROW_STAGE = (NARROW_PIXELS + NARROW_ROWS) * PIXEL_BYTES,
    NARROW_SHARED = 2 * NARROW_STAGE /* the parts after them are fewer */
};

/* Pixels, then weights, of channels [first, first + CHUNK). */
__device__ void copy_narrow(uint32_t stage, const LfConvolution &c, const Place &at, int first)
{
    for (int i = threadIdx.x; i < PIXELS * PIECES; i += NARROW_THREADS)
        copy_piece(stage, c, at, first, i);
    copy_weights(stage + NARROW_PIXELS * PIXEL_BYTES, c.weights, c.layout, first, 0, NARROW_ROWS);
}

/* sums of 3 × 16 pixels × 32 parts += pixels · weights */
__device__ void add_narrow(float sums[3][4][4], uint32_t tile, uint32_t weights, int n_steps)
{
    int lane = threadIdx.x % 32, row = lane / 16 * 8 + lane % 8;
    int pixel = threadIdx.x / 32 * 48 + lane % 16;
#pragma unroll
    for (int k = 0; k < CHUNK / 16; k++) {
        if (k >= n_steps)
            break;
        uint32_t b[2][4];
#pragma unroll
        for (int n = 0; n < 2; n++)
            load_matrices(b[n], weights + (n * 16 + row) * PIXEL_BYTES +
                                    swizzled(row, 2 * k + lane / 8 % 2) * 16);
#pragma unroll
        for (int m = 0; m < 3; m++) {
            uint32_t a[4];
            int at = pixel + m * 16;
            load_matrices(a, tile + at * PIXEL_BYTES + swizzled(at, 2 * k + lane / 16) * 16);
#pragma unroll
            for (int n = 0; n < 4; n++)
                multiply_f16(sums[m][n], a, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
    }
}

/* Each output is the sum of the contributions of its nine neighbours. */
__device__ void add_up_parts(const LfConvolution &c, const Place &at, const float *parts)
{
    int n_out = c.layout.n_out;
    for (int i = threadIdx.x; i < SIDE * SIDE * n_out; i += NARROW_THREADS) {
        int channel = i % n_out, row = i / n_out / SIDE, column = i / n_out % SIDE;
        float sum = 0.0f;
        for (int tap = 0; tap < 9; tap++)
            sum += parts[((row + tap / 3) * MARGIN + column + tap % 3) * PARTS_ROW + tap * n_out +
                         channel];
        write_number(c, out_pixel(c, at, 0, row, column), channel, sum);
    }
}

__global__ void __launch_bounds__(NARROW_THREADS) conv_narrow(LfConvolution c)
{
    extern __shared__ uint4 shared[];
    int columns = (c.w + SIDE - 1) / SIDE, rows = (c.h + SIDE - 1) / SIDE, square = blockIdx.x;
    Place at = {square / columns / rows, square / columns % rows * SIDE - 1,
                square % columns * SIDE - 1};
    uint32_t stages = shared_address(shared);
    float sums[3][4][4] = {};
    int n_chunks = chunks_of(c.layout);
    copy_narrow(stages, c, at, 0);
    copies_commit();
    for (int chunk = 0; chunk < n_chunks; chunk++) {
        uint32_t stage = stages + chunk % 2 * NARROW_STAGE;
        if (chunk + 1 < n_chunks)
            copy_narrow(stages + (chunk + 1) % 2 * NARROW_STAGE, c, at,
                        first_of(c.layout, chunk + 1));
        copies_commit();
        copies_wait<1>();
        __syncthreads();
        add_narrow(sums, stage, stage + NARROW_PIXELS * PIXEL_BYTES,
                   steps_of(c.layout, first_of(c.layout, chunk)));
        __syncthreads();
    }
    float *parts = (float *) shared;
    int lane = threadIdx.x % 32, pixel = threadIdx.x / 32 * 48 + lane / 4;
#pragma unroll
    for (int m = 0; m < 3; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                parts[(pixel + m * 16 + i / 2 * 8) * PARTS_ROW + n * 8 + lane % 4 * 2 + i % 2] =
                    sums[m][n][i];
    __syncthreads();
    add_up_parts(c, at, parts);
}

} // namespace

/* ---- launching ------------------------------------------------------------------------------- */

const char *lf_cuda_conv_mma_refuses(const LfCuda *cuda, const LfConvolution *c)
{
    return lf_cuda_conv_in_pieces(c) ? NULL : "pixels are not aligned to 16 bytes";
}

const char *lf_cuda_conv_mma(LfCuda *cuda, const LfConvolution *c)
{
    const LfConvLayout *l = &c->layout;
    int64_t squares = (int64_t) c->frames * blocks_for(c->h, SIDE) * blocks_for(c->w, SIDE);
    if (l->narrow) {
        conv_narrow<<<(unsigned) squares, NARROW_THREADS, NARROW_SHARED, cuda->stream>>>(*c);
        return NULL;
    }
    cudaError_t allowed =
        cudaFuncSetAttribute(conv_wide, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED);
    if (lf_cuda_check(cuda, allowed, "conv_mma"))
        conv_wide<<<(unsigned) (squares * l->n_filters * (l->rows / OUTS)), THREADS, SHARED,
                    cuda->stream>>>(*c);
    return NULL;
}
