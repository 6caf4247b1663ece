/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions on Hopper's tensor cores (wgmma), transposed: 64 output channels × 256 pixels.
 * Weights are the small operand. Pixels are the large one, because every tap reads the same rows of
 * pixels, shifted.
 *
 * The pixels of a tile, 8 wide and up to 32 high, are copied with a margin of one by bulk copies
 * (TMA), which write zeros beyond the picture's edges. A pixel is a row of 64 channels in shared
 * memory. The pixels of a tap are groups of 8 rows, 10 rows apart, starting at the tap's offset;
 * the swizzle depends on the address only, so any row can be the first. A pixel is read from the L2
 * cache 1.3 times instead of nine.
 *
 * A block is a producer warp and two consumer warpgroups. If the number of filters × groups of 64
 * channels is even, the consumers compute two of these for one tile; else one for two tiles. Pixels
 * and weights have separate rings. A residual is one more tap, with the identity as its weight.
 *
 * H100, TAEHV's layers at 512×768: 3×3 of 64 channels and more 407 to 655 TFLOP/s (51 to 82 % of
 * the 800 that bf16 GEMMs reach), after nearest×2 318 to 454. The rest is lost at the end of each
 * tile, when both consumers write and neither multiplies.
 */
#include "conv.h"
#include "hopper.cuh"

namespace {

enum {
    WIDE = 8,       /* of a tile */
    ROW = WIDE + 2, /* with margins */
    CHANNELS = LF_CONV_CHUNK,
    CONSUMERS = 2,
    WARPS = 4, /* of a consumer */
    GROUP = WARPS * 32,
    THREADS = CONSUMERS * GROUP + 32,
    PIXEL_BYTES = CHANNELS * 2,
    PIXEL_SLOTS = 3,
    WEIGHT_SLOT = CHANNELS * CHANNELS * 2
};

/* A tile of HIGH rows, and the layout of shared memory. */
template <int HIGH> struct Sizes {
    enum {
        BOX_BYTES = ROW * (HIGH + 2) * PIXEL_BYTES,
        PIXEL_SLOT = (BOX_BYTES + 1023) / 1024 * 1024,
        STRIP = HIGH % 8 ? HIGH / 2 : 8, /* rows that are written at once */
        STRIP_BYTES = STRIP * WIDE * PIXEL_BYTES,
        STRIPS = HIGH == 32 ? 2 : HIGH / STRIP, /* of a consumer */
        WEIGHT_SLOTS = 8,
        WEIGHTS_AT = PIXEL_SLOTS * PIXEL_SLOT,
        STRIPS_AT = WEIGHTS_AT + WEIGHT_SLOTS * WEIGHT_SLOT,
        BARRIERS_AT = STRIPS_AT + CONSUMERS * STRIPS * STRIP_BYTES,
        SHARED = BARRIERS_AT + 2 * (PIXEL_SLOTS + WEIGHT_SLOTS) * 8 + 1024 /* to align the first */
    };
};

/* A call's plan: tensor maps of [f, h, w, channels], one for each filter of out, and the tiling. */
typedef struct {
    CUtensorMap x, past, residual, out[4];
    int n_pairs;  /* of filters and groups of channels, for one tile; 0: consumers share weights */
    int n_groups; /* of 64 output channels */
    int n_items;  /* what blocks take one after the other */
    int columns, rows; /* of tiles */
} Plan;

/* ---- instructions ---------------------------------------------------------------------------- */

__device__ void group_barrier(int group)
{
    asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "r"((int) GROUP) : "memory");
}

__device__ void store_matrices(uint32_t to, const uint32_t m[4])
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
                 "r"(m[0]), "r"(m[1]), "r"(m[2]), "r"(m[3])
                 : "memory");
}

/* ---- shared memory --------------------------------------------------------------------------- */

/* Shared memory, as addresses. */
template <int HIGH> struct Memory {
    typedef Sizes<HIGH> Size;
    uint32_t base;

    __device__ uint32_t pixels(int slot) const
    {
        return base + slot * Size::PIXEL_SLOT;
    }
    __device__ uint32_t weights(int slot) const
    {
        return base + Size::WEIGHTS_AT + slot * WEIGHT_SLOT;
    }
    __device__ uint32_t strip(int group, int i) const
    {
        return base + Size::STRIPS_AT + (group * Size::STRIPS + i) * Size::STRIP_BYTES;
    }
    __device__ uint32_t pixels_full(int slot) const
    {
        return base + Size::BARRIERS_AT + slot * 16;
    }
    __device__ uint32_t pixels_empty(int slot) const
    {
        return pixels_full(slot) + 8;
    }
    __device__ uint32_t weights_full(int slot) const
    {
        return pixels_full(PIXEL_SLOTS + slot);
    }
    __device__ uint32_t weights_empty(int slot) const
    {
        return weights_full(slot) + 8;
    }
};

/* ---- items ----------------------------------------------------------------------------------- */

/* The task of one consumer: channels [64·group, …) of one filter for one tile. */
typedef struct {
    int filter, group;
    int frame, y, x; /* of the tile's first pixel; a frame too many for a tile that is none */
} Task;

template <int HIGH>
__device__ Task task_of(const LfConvolution &c, const Plan &p, int item, int consumer)
{
    int n_variants = c.layout.n_filters * p.n_groups;
    int tile, variant;
    if (p.n_pairs) {
        tile = item / p.n_pairs;
        variant = item % p.n_pairs * 2 + consumer;
    } else {
        tile = item / n_variants * 2 + consumer;
        variant = item % n_variants;
    }
    Task t;
    t.filter = variant / p.n_groups;
    t.group = variant % p.n_groups;
    t.frame = tile / (p.columns * p.rows);
    t.y = tile / p.columns % p.rows * HIGH;
    t.x = tile % p.columns * WIDE;
    return t;
}

/* ---- the producer: one thread ---------------------------------------------------------------- */

template <int HIGH> struct Producer {
    const LfConvolution &c;
    const Plan &p;
    Memory<HIGH> memory;
    Ring<PIXEL_SLOTS> pixels;
    Ring<Sizes<HIGH>::WEIGHT_SLOTS> weights;

    __device__ void give_pixels(const CUtensorMap *map, const Task &t, int frame, int channel)
    {
        barrier_wait(memory.pixels_empty(pixels.slot), pixels.phase ^ 1);
        uint32_t full = memory.pixels_full(pixels.slot);
        barrier_expect(full, Sizes<HIGH>::BOX_BYTES);
        copy_box(memory.pixels(pixels.slot), map, full, channel, t.x - 1, t.y - 1, frame);
        pixels.advance();
    }

    __device__ void give_weights(const __half *tile)
    {
        barrier_wait(memory.weights_empty(weights.slot), weights.phase ^ 1);
        uint32_t full = memory.weights_full(weights.slot);
        barrier_expect(full, WEIGHT_SLOT);
        copy_bytes(memory.weights(weights.slot), tile, WEIGHT_SLOT, full);
        weights.advance();
    }

    /* Channels of x, then of the past; or of x at one time after the other, where frames before x
     * are the past. */
    __device__ void give_chunk(const Task &t, int chunk)
    {
        int n_times = c.layout.n_times, x_chunks = (c.n_x + CHANNELS - 1) / CHANNELS;
        int channel = chunk % x_chunks * CHANNELS;
        int frame = lf_conv_frame(c.layout, t.frame, n_times > 1 ? chunk / x_chunks : 0);
        if (n_times > 1 && frame < 0)
            give_pixels(&p.past, t, frame + n_times - 1, channel);
        else if (n_times > 1 || chunk < x_chunks)
            give_pixels(&p.x, t, frame, channel);
        else
            give_pixels(&p.past, t, t.frame, (chunk - x_chunks) * CHANNELS);
    }

    __device__ void give(const Task t[CONSUMERS])
    {
        const LfConvLayout &l = c.layout;
        int n_taps = lf_conv_taps(l);
        int n_weights = p.n_pairs ? CONSUMERS : 1, n_tiles = p.n_pairs ? 1 : CONSUMERS;
        for (int chunk = 0; chunk < l.n_chunks; chunk++) {
            for (int i = 0; i < n_tiles; i++)
                give_chunk(t[i], chunk);
            for (int tap = 0; tap < n_taps; tap++)
                for (int i = 0; i < n_weights; i++)
                    give_weights(c.weights + t[i].filter * lf_conv_filter(l) +
                                 (chunk * n_taps + tap) * lf_conv_tile(l) +
                                 t[i].group * CHANNELS * CHANNELS);
        }
        if (!c.residual)
            return;
        for (int i = 0; i < CONSUMERS; i++)
            give_pixels(&p.residual, t[i], t[i].frame, t[i].group * CHANNELS);
        for (int i = 0; i < n_weights; i++)
            give_weights(c.weights + l.n_filters * lf_conv_filter(l));
    }
};

/* ---- a consumer: four warps ------------------------------------------------------------------ */

template <int HIGH> struct Consumer {
    const LfConvolution &c;
    const Plan &p;
    Memory<HIGH> memory;
    int index;
    bool leader;     /* the one thread of the four warps that writes */
    bool first_lane; /* of a warp: each has read for itself, and releases for itself */
    Ring<PIXEL_SLOTS> pixels;
    Ring<Sizes<HIGH>::WEIGHT_SLOTS> weights;
    uint32_t read_weights = 0; /* of the tap before: to be released once its products are done */

    __device__ void release(uint32_t empty)
    {
        if (first_lane && empty)
            barrier_arrive(empty);
    }

    /* Skips slots that are filled for the other consumer. */
    __device__ int take_pixels(bool both)
    {
        if (both && index == 1)
            pixels.advance();
        barrier_wait(memory.pixels_full(pixels.slot), pixels.phase);
        int slot = pixels.slot;
        pixels.advance();
        if (both && index == 0)
            pixels.advance();
        return slot;
    }

    __device__ int take_weights()
    {
        bool both = p.n_pairs;
        if (both && index == 1)
            weights.advance();
        barrier_wait(memory.weights_full(weights.slot), weights.phase);
        int slot = weights.slot;
        weights.advance();
        if (both && index == 0)
            weights.advance();
        return slot;
    }

    /* Issues the products of one tap, at (row, column) of the filter. Returns the slot of its
     * weights. */
    __device__ int begin_tap(float (&sums)[4 * HIGH], int pixel_slot, int row, int column,
                             bool first)
    {
        int slot = take_weights();
        products_begin();
        uint64_t a = matrix_descriptor(memory.weights(slot), 1024);
        uint64_t b = matrix_descriptor(
            memory.pixels(pixel_slot) + (row * ROW + column) * PIXEL_BYTES, ROW * PIXEL_BYTES);
#pragma unroll
        for (int k = 0; k < CHANNELS / 16; k++)
            wgmma<__half>(sums, a + k * 2, b + k * 2, !first || k > 0);
        products_commit();
        return slot;
    }

    /* The last tap of a slot of pixels releases it at once: the producer may be waiting for that
     * slot before it fetches further weights. */
    __device__ void last_tap(float (&sums)[4 * HIGH], int pixel_slot, int row, int column)
    {
        int slot = begin_tap(sums, pixel_slot, row, column, false);
        products_wait<0>();
        release(read_weights);
        release(memory.weights_empty(slot));
        release(memory.pixels_empty(pixel_slot));
        read_weights = 0;
    }

    __device__ void add_all(float (&sums)[4 * HIGH], const Task &t)
    {
        const LfConvLayout &l = c.layout;
        int n_taps = lf_conv_taps(l);
        int top = l.side == 2 ? t.filter / 2 : 0, left = l.side == 2 ? t.filter % 2 : 0;
        for (int chunk = 0; chunk < l.n_chunks; chunk++) {
            int pixel_slot = take_pixels(!p.n_pairs), row = top, column = left;
            for (int tap = 0; tap < n_taps - 1; tap++) {
                int slot = begin_tap(sums, pixel_slot, row, column, chunk == 0 && tap == 0);
                products_wait<1>(); /* the tap before */
                release(read_weights);
                read_weights = memory.weights_empty(slot);
                if (++column == left + l.side) {
                    column = left;
                    row++;
                }
            }
            last_tap(sums, pixel_slot, row, column);
        }
        if (c.residual)
            add_residual(sums);
    }

    /* Here each consumer has pixels of its own. In paired mode every slot of pixels counts the
     * arrivals of both consumers, so each must also release the slot that it does not read. */
    __device__ void add_residual(float (&sums)[4 * HIGH])
    {
        if (p.n_pairs) {
            Ring<PIXEL_SLOTS> other = pixels;
            if (index == 0)
                other.advance();
            barrier_wait(memory.pixels_full(other.slot), other.phase);
            release(memory.pixels_empty(other.slot));
        }
        last_tap(sums, take_pixels(true), 1, 1);
    }

    /* Writes some rows at a time to out, through shared memory, where they are transposed from
     * [channel, pixel] to [pixel, channel]. */
    __device__ void write(const float (&sums)[4 * HIGH], const Task &t)
    {
        enum { STRIP = Sizes<HIGH>::STRIP, STRIPS = Sizes<HIGH>::STRIPS };
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % WARPS;
        int channel = t.group * CHANNELS + warp * 16 + lane / 4;
        float above = c.bias && channel < c.layout.n_out ? c.bias[channel] : 0.0f;
        float below = c.bias && channel + 8 < c.layout.n_out ? c.bias[channel + 8] : 0.0f;
        /* This lane's row of the four matrices that are stored at once: two of pixels by two of
         * channels. */
        int pixel = lane / 16 * 8 + lane % 8, piece = warp * 2 + lane / 8 % 2;
        uint32_t offset = pixel * PIXEL_BYTES + (piece ^ (pixel & 7)) * 16;
#pragma unroll
        for (int strip = 0; strip < HIGH / STRIP; strip++) {
            if (leader)
                await_reads<STRIPS - 1>();
            group_barrier(index);
            uint32_t to = memory.strip(index, strip % STRIPS);
#pragma unroll
            for (int pair = 0; pair < STRIP / 2; pair++) {
                const float *s = sums + strip * (STRIP * 4) + pair * 8;
                uint32_t m[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float bias = i % 2 ? below : above;
                    float u = s[i * 2] + bias, v = s[i * 2 + 1] + bias;
                    __half2 both = c.relu ? __floats2half2_rn(fmaxf(u, 0.0f), fmaxf(v, 0.0f))
                                          : __floats2half2_rn(u, v);
                    m[i] = *(uint32_t *) &both;
                }
                store_matrices(to + pair * 16 * PIXEL_BYTES + offset, m);
            }
            asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
            group_barrier(index);
            if (leader)
                write_box(&p.out[t.filter], to, t.group * CHANNELS, t.x, t.y + strip * STRIP,
                          t.frame);
        }
    }
};

/* ---- the kernel ------------------------------------------------------------------------------ */

template <int HIGH>
__global__ void __launch_bounds__(THREADS, 1)
    conv_hopper(const __grid_constant__ LfConvolution c, const __grid_constant__ Plan p)
{
    extern __shared__ uint8_t shared[];
    Memory<HIGH> memory = {(shared_address(shared) + 1023) & ~1023u};
    int warp = threadIdx.x / 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < PIXEL_SLOTS; i++) {
            barrier_init(memory.pixels_full(i), 1);
            barrier_init(memory.pixels_empty(i), WARPS * (p.n_pairs ? CONSUMERS : 1));
        }
        for (int i = 0; i < Sizes<HIGH>::WEIGHT_SLOTS; i++) {
            barrier_init(memory.weights_full(i), 1);
            barrier_init(memory.weights_empty(i), WARPS * (p.n_pairs ? 1 : CONSUMERS));
        }
        barriers_ready();
    }
    __syncthreads();
    if (warp == CONSUMERS * WARPS) {
        if (threadIdx.x % 32 != 0)
            return;
        Producer<HIGH> producer = {c, p, memory};
        for (int item = blockIdx.x; item < p.n_items; item += gridDim.x) {
            Task tasks[CONSUMERS] = {task_of<HIGH>(c, p, item, 0), task_of<HIGH>(c, p, item, 1)};
            producer.give(tasks);
        }
    } else {
        Consumer<HIGH> consumer = {
            c, p, memory, warp / WARPS, threadIdx.x % GROUP == 0, threadIdx.x % 32 == 0};
        for (int item = blockIdx.x; item < p.n_items; item += gridDim.x) {
            Task task = task_of<HIGH>(c, p, item, consumer.index);
            float sums[4 * HIGH];
            consumer.add_all(sums, task);
            consumer.write(sums, task);
        }
        if (consumer.leader)
            await_reads<0>();
    }
}

/* ---- launching ------------------------------------------------------------------------------- */

template <int HIGH> bool maps_of(LfCuda *cuda, Plan *p, const LfConvolution *c)
{
    const LfConvLayout *l = &c->layout;
    int f = c->frames, h = c->h, w = c->w, step = l->n_filters == 4 ? 2 : 1;
    bool made = lf_cuda_conv_map(cuda, &p->x, c->x, c->n_x, f, h, w, 1, ROW, HIGH + 2);
    if (c->past)
        made &= lf_cuda_conv_map(cuda, &p->past, c->past, c->n_past, f, h, w, 1, ROW, HIGH + 2);
    if (c->earlier)
        made &= lf_cuda_conv_map(cuda, &p->past, c->earlier, c->n_x, l->n_times - 1, h, w, 1, ROW,
                                 HIGH + 2);
    if (c->residual)
        made &=
            lf_cuda_conv_map(cuda, &p->residual, c->residual, l->n_out, f, h, w, 1, ROW, HIGH + 2);
    for (int i = 0; i < l->n_filters; i++) {
        int64_t first = ((int64_t) (i / 2) * step * w + i % 2) * l->n_out;
        made &= lf_cuda_conv_map(cuda, &p->out[i], (const __half *) c->out + first, l->n_out, f, h,
                                 w, step, WIDE, Sizes<HIGH>::STRIP);
    }
    return made;
}

/* The rest of the plan for tiles of `high` rows. */
void divide(Plan *p, const LfConvolution *c, int high)
{
    int n_variants = c->layout.rows / CHANNELS * c->layout.n_filters;
    p->n_groups = c->layout.rows / CHANNELS;
    p->n_pairs = n_variants % 2 ? 0 : n_variants / 2;
    p->columns = (c->w + WIDE - 1) / WIDE;
    p->rows = (c->h + high - 1) / high;
    int n_tiles = p->columns * p->rows * c->frames;
    p->n_items = p->n_pairs ? n_tiles * p->n_pairs : (n_tiles + 1) / 2 * n_variants;
}

template <int HIGH> const char *launch(LfCuda *cuda, const LfConvolution *c)
{
    enum { SHARED = Sizes<HIGH>::SHARED };
    Plan p = {};
    if (!maps_of<HIGH>(cuda, &p, c))
        return "the driver refuses a tensor map";
    divide(&p, c, HIGH);
    cudaError_t allowed = cudaFuncSetAttribute(conv_hopper<HIGH>,
                                               cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED);
    int n_blocks = MIN(p.n_items, cuda->n_multiprocessors);
    if (lf_cuda_check(cuda, allowed, "conv_sm90"))
        conv_hopper<HIGH><<<n_blocks, THREADS, SHARED, cuda->stream>>>(*c, p);
    return NULL;
}

} // namespace

const char *lf_cuda_conv_sm90_refuses(const LfCuda *cuda, const LfConvolution *c)
{
    if (!lf_cuda_conv_in_pieces(c))
        return "pixels are not aligned to 16 bytes";
    if (c->layout.narrow)
        return lf_cuda_conv_narrow_sm90_refuses(c);
    if (c->past && c->n_x % CHANNELS)
        return "64 input channels would be both of x and of the past";
    if (c->layout.side == 1)
        return "the filter is one pixel";
    if (c->f32 || c->layout.n_out % 8)
        return "the result is F32, or its channels are no multiple of 8";
    return NULL;
}

namespace {

/* Tiles whose last round over all multiprocessors is not nearly empty; high ones read less. */
int best_height(const LfCuda *cuda, const LfConvolution *c)
{
    static const int heights[] = {32, 24, 20, 16};
    enum { OVERHEAD = 8 }; /* of a tile, in rows */
    int best = 0, least = 0;
    for (int i = 0; i < (int) G_N_ELEMENTS(heights); i++) {
        Plan p;
        divide(&p, c, heights[i]);
        int rounds = (p.n_items + cuda->n_multiprocessors - 1) / cuda->n_multiprocessors;
        int time = rounds * (heights[i] + OVERHEAD);
        if (!best || time < least) {
            best = heights[i];
            least = time;
        }
    }
    return best;
}

} // namespace

const char *lf_cuda_conv_sm90(LfCuda *cuda, const LfConvolution *c)
{
    if (c->layout.narrow)
        return lf_cuda_conv_narrow_sm90(cuda, c);
    switch (best_height(cuda, c)) {
    case 32:
        return launch<32>(cuda, c);
    case 24:
        return launch<24>(cuda, c);
    case 20:
        return launch<20>(cuda, c);
    default:
        return launch<16>(cuda, c);
    }
}
