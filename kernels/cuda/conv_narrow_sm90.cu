/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions to very few channels (the decoder's last one, to three colours) on Hopper: every
 * pixel is multiplied with all nine taps at once, [pixels, in]·[in, 9·out], and the nine partial
 * results are then added to the pixel's neighbours. Bound by bytes: each pixel is read once, and
 * again by neighbouring tiles for their margins.
 *
 * A producer warp keeps three tiles of 16×16 pixels with their margins in flight (bulk copies).
 * Eight warps multiply 21 blocks of 16 pixels (mma.sync suffices), leave the partial results in
 * shared memory, and then compute one pixel per thread.
 *
 * H100: 26.5 µs for 512×768 pixels of 64 channels, 2.0 TB/s, two thirds of what copies reach.
 */
#include "conv.h"
#include "hopper.cuh"
#include "mma.cuh"

namespace {

enum {
    SIDE = 16,
    MARGIN = SIDE + 2,
    BLOCKS = (MARGIN * MARGIN + 15) / 16, /* of 16 pixels, in the order of the tile with margins */
    WARPS = 8,
    ROUNDS = (BLOCKS + WARPS - 1) / WARPS,
    THREADS = WARPS * 32, /* = SIDE·SIDE; and one warp to produce */
    CHANNELS = LF_CONV_CHUNK,
    PIXEL_BYTES = CHANNELS * 2,
    BOX_BYTES = MARGIN * MARGIN * PIXEL_BYTES,
    SLOT = BLOCKS * 16 * PIXEL_BYTES, /* the box, and rows that are multiplied for nothing */
    SLOTS = 3,
    N_PARTS = 32,
    PART = BLOCKS * 16 + 4, /* pixels: so that a warp's parts meet all banks */
    PARTS = 27 * PART * 4,  /* bytes of those that are kept */
    MAX_CHUNKS = 6,
    PARTS_AT = SLOTS * SLOT,
    WEIGHTS_AT = PARTS_AT + 2 * PARTS,
    BARRIERS_AT = WEIGHTS_AT + MAX_CHUNKS * N_PARTS * PIXEL_BYTES,
    SHARED = BARRIERS_AT + SLOTS * 16 + 1024 /* to align the first */
};

typedef struct {
    CUtensorMap x, earlier;
    int columns, rows, n_tiles;
} Plan;

/* ---- instructions ---------------------------------------------------------------------------- */

__device__ void consumers_barrier()
{
    asm volatile("bar.sync 1, %0;" ::"r"((int) THREADS) : "memory");
}

/* The offset of a piece of 8 channels in a row of pixels or weights. */
__device__ uint32_t piece_at(uint32_t rows, int row, int piece)
{
    return rows + row * PIXEL_BYTES + (piece ^ (row & 7)) * 16;
}

/* ---- the work -------------------------------------------------------------------------------- */

/* sums of this warp's blocks += pixels · weights */
__device__ void add_chunk(float sums[ROUNDS][4][4], uint32_t pixels, uint32_t weights)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int k = 0; k < CHANNELS / 16; k++) {
        uint32_t b[2][4];
#pragma unroll
        for (int n = 0; n < 2; n++)
            load_matrices(
                b[n], piece_at(weights, n * 16 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < ROUNDS; i++) {
            int block = min(warp + i * WARPS, BLOCKS - 1); /* twice the last rather than none */
            uint32_t a[4];
            load_matrices(a, piece_at(pixels, block * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
            for (int n = 0; n < 4; n++)
                multiply_f16(sums[i][n], a, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
    }
}

/* parts [9·out, pixels] */
__device__ void keep_parts(float *parts, const float sums[ROUNDS][4][4], int n_parts)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        int pixel = (warp + i * WARPS) * 16 + lane / 4;
        if (warp + i * WARPS >= BLOCKS)
            break;
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int part = n * 8 + lane % 4 * 2 + j % 2;
                if (part < n_parts)
                    parts[part * PART + pixel + j / 2 * 8] = sums[i][n][j];
            }
    }
}

/* One pixel: the sum of the contributions of its nine neighbours. */
__device__ void write_pixel(const LfConvolution &c, const float *parts, int frame, int y, int x)
{
    int row = threadIdx.x / SIDE, column = threadIdx.x % SIDE, n_out = c.layout.n_out;
    if (y + row >= c.h || x + column >= c.w)
        return;
    int64_t index = (((int64_t) frame * c.h + y + row) * c.w + x + column) * n_out;
    parts += row * MARGIN + column;
    for (int channel = 0; channel < n_out; channel++) {
        float sum = 0.0f;
#pragma unroll
        for (int tap = 0; tap < 9; tap++)
            sum += parts[(tap * n_out + channel) * PART + tap / 3 * MARGIN + tap % 3];
        lf_conv_write(c, index + channel, channel, sum);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

__device__ void produce(const LfConvolution &c, const Plan &p, uint32_t base)
{
    Ring<SLOTS> ring;
    int of_time = c.layout.n_chunks / c.layout.n_times;
    for (int tile = blockIdx.x; tile < p.n_tiles; tile += gridDim.x) {
        int frame = tile / (p.columns * p.rows);
        int y = tile / p.columns % p.rows * SIDE - 1, x = tile % p.columns * SIDE - 1;
        for (int chunk = 0; chunk < c.layout.n_chunks; chunk++) {
            uint32_t full = base + BARRIERS_AT + ring.slot * 16;
            barrier_wait(full + 8, ring.phase ^ 1);
            barrier_expect(full, BOX_BYTES);
            int at = lf_conv_frame(c.layout, frame, chunk / of_time);
            copy_box(base + ring.slot * SLOT, at < 0 ? &p.earlier : &p.x, full,
                     chunk % of_time * CHANNELS, x, y, at < 0 ? at + c.layout.n_times - 1 : at);
            ring.advance();
        }
    }
}

/* `shared`: where `base` is. */
__device__ void consume(const LfConvolution &c, const Plan &p, uint32_t base, uint8_t *shared)
{
    Ring<SLOTS> ring;
    int turn = 0;
    for (int tile = blockIdx.x; tile < p.n_tiles; tile += gridDim.x, turn ^= 1) {
        float sums[ROUNDS][4][4] = {};
        for (int chunk = 0; chunk < c.layout.n_chunks; chunk++) {
            uint32_t full = base + BARRIERS_AT + ring.slot * 16;
            barrier_wait(full, ring.phase);
            add_chunk(sums, base + ring.slot * SLOT,
                      base + WEIGHTS_AT + chunk * N_PARTS * PIXEL_BYTES);
            __syncwarp();
            if (threadIdx.x % 32 == 0)
                barrier_arrive(full + 8);
            ring.advance();
        }
        /* The parts of the tile before were read before the barrier of this one, by all. */
        float *parts = (float *) (shared + PARTS_AT + turn * PARTS);
        keep_parts(parts, sums, 9 * c.layout.n_out);
        consumers_barrier();
        write_pixel(c, parts, tile / (p.columns * p.rows), tile / p.columns % p.rows * SIDE,
                    tile % p.columns * SIDE);
    }
}

__global__ void __launch_bounds__(THREADS + 32, 1)
    conv_narrow_hopper(const __grid_constant__ LfConvolution c, const __grid_constant__ Plan p)
{
    extern __shared__ uint8_t shared[];
    uint32_t start = shared_address(shared), base = (start + 1023) & ~1023u;
    uint8_t *aligned = shared + (base - start);
    if (threadIdx.x == 0) {
        for (int i = 0; i < SLOTS; i++) {
            barrier_init(base + BARRIERS_AT + i * 16, 1);
            barrier_init(base + BARRIERS_AT + i * 16 + 8, WARPS);
        }
        barriers_ready();
    }
    int n_pieces = c.layout.n_chunks * N_PARTS * PIXEL_BYTES / 16;
    for (int i = threadIdx.x; i < n_pieces; i += THREADS + 32)
        ((uint4 *) (aligned + WEIGHTS_AT))[i] = ((const uint4 *) c.weights)[i];
    __syncthreads();
    if (threadIdx.x < THREADS)
        consume(c, p, base, aligned);
    else if (threadIdx.x == THREADS)
        produce(c, p, base);
}

} // namespace

/* ---- launching ------------------------------------------------------------------------------- */

const char *lf_cuda_conv_narrow_sm90_refuses(const LfConvolution *c)
{
    if (c->past)
        return "narrow, with a past";
    return c->layout.n_chunks > MAX_CHUNKS ? "narrow, with too many input channels" : NULL;
}

const char *lf_cuda_conv_narrow_sm90(LfCuda *cuda, const LfConvolution *c)
{
    Plan p = {};
    if (!lf_cuda_conv_map(cuda, &p.x, c->x, c->n_x, c->frames, c->h, c->w, 1, MARGIN, MARGIN))
        return "the driver refuses a tensor map";
    if (c->earlier && !lf_cuda_conv_map(cuda, &p.earlier, c->earlier, c->n_x, c->layout.n_times - 1,
                                        c->h, c->w, 1, MARGIN, MARGIN))
        return "the driver refuses a tensor map";
    p.columns = (c->w + SIDE - 1) / SIDE;
    p.rows = (c->h + SIDE - 1) / SIDE;
    p.n_tiles = p.columns * p.rows * c->frames;
    cudaError_t allowed = cudaFuncSetAttribute(conv_narrow_hopper,
                                               cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED);
    if (lf_cuda_check(cuda, allowed, "conv_narrow_sm90"))
        conv_narrow_hopper<<<MIN(p.n_tiles, cuda->n_multiprocessors), THREADS + 32, SHARED,
                             cuda->stream>>>(*c, p);
    return NULL;
}
