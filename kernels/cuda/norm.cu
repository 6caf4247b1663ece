/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Norms over the last dimension: y = (x − mean) / sqrt(variance + eps) ⊙ (one + a [D]) + b [D],
 * where the RMS norm has neither mean nor b. x BF16 [N, D]; y BF16, or F8_E4M3 with each row's
 * factor max|y|/448 and Euclidean norm, so that quantising costs no pass of its own.
 *
 * Bound by bytes: a warp holds rows in registers; they are read once and written once, 16 bytes per
 * lane. Rows that are too wide or unaligned take the plain version: a block for each row, which is
 * read again for each sum, from the L1 cache.
 */
#include "e4m3.cuh"

#include <type_traits>

namespace {

struct Norm {
    const bf16 *x;
    void *out;
    float *scales;      /* [2, rows] of an F8_E4M3 output */
    const float *a, *b; /* b: NULL for none */
    int64_t n_rows;
    int width;
    float one, eps;
    bool centre;
};

/* ---- rows in the registers of a warp ----
 *
 * As they came, two numbers a register: few enough for all of the transformer's rows to be in
 * flight at the same time. A warp takes two, so that a and b are read once for both. */

enum { WARPS = 2, COLUMNS = 8 };

/* Words, because the compiler would give each sixteen-bit number a register of its own. */
struct alignas(16) Piece {
    uint32_t words[COLUMNS / 2];

    __device__ float at(int i) const
    {
        return __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
    }
};

/* Piece p of a lane is columns 8·(32·p + lane) and the next seven. WHOLE: all lanes have all. */
template <int ROWS, int PIECES, bool WHOLE> struct Rows {
    Piece pieces[ROWS][PIECES];
    float mean[ROWS], factor[ROWS];
    int lane, width;

    __device__ int column(int p) const
    {
        return COLUMNS * (32 * p + lane);
    }
    __device__ bool holds(int p) const
    {
        return WHOLE || column(p) < width;
    }

    /* Between passes: keeps the compiler from holding the numbers as floats, in twice the
     * registers. */
    __device__ void forget_floats()
    {
#pragma unroll
        for (int row = 0; row < ROWS; row++)
#pragma unroll
            for (int p = 0; p < PIECES; p++)
#pragma unroll
                for (int i = 0; i < COLUMNS / 2; i++)
                    asm volatile("" : "+r"(pieces[row][p].words[i]));
    }
};

/* Two passes for the variance: with a large mean, the difference of two large sums would lose
 * digits. */
template <int ROWS, int PIECES, bool WHOLE>
__device__ inline void find_moments(Rows<ROWS, PIECES, WHOLE> &x, const Norm &n)
{
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float sum = 0.0f;
#pragma unroll
        for (int p = 0; p < PIECES && n.centre; p++)
#pragma unroll
            for (int i = 0; i < COLUMNS; i++)
                sum += x.pieces[row][p].at(i);
        x.mean[row] = n.centre ? warp_sum(sum) / (float) n.width : 0.0f;
    }
    x.forget_floats();
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float squares = 0.0f;
#pragma unroll
        for (int p = 0; p < PIECES; p++)
            if (x.holds(p))
#pragma unroll
                for (int i = 0; i < COLUMNS; i++) {
                    float apart = x.pieces[row][p].at(i) - x.mean[row];
                    squares += apart * apart;
                }
        x.factor[row] = 1.0f / sqrtf(warp_sum(squares) / (float) n.width + n.eps);
    }
    x.forget_floats();
}

__device__ inline void load_eight(float *to, const float *from)
{
    const float4 *at = reinterpret_cast<const float4 *>(from);
    float4 low = at[0], high = at[1];
    to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
    to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}

/* The result for piece p of the rows. */
template <int ROWS, int PIECES, bool WHOLE>
__device__ inline void normed(float y[ROWS][COLUMNS], const Rows<ROWS, PIECES, WHOLE> &x, int p,
                              const Norm &n)
{
    float a[COLUMNS], b[COLUMNS] = {};
    load_eight(a, n.a + x.column(p));
    if (n.b)
        load_eight(b, n.b + x.column(p));
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
        float gain = n.one + a[i];
#pragma unroll
        for (int row = 0; row < ROWS; row++)
            y[row][i] =
                (x.pieces[row][p].at(i) * x.factor[row] - x.mean[row] * x.factor[row]) * gain +
                b[i];
    }
}

/* One over the factors of the rows from `first` on; writes these and the rows' norms. */
template <int ROWS, int PIECES, bool WHOLE>
__device__ inline void find_scales(float inverse[ROWS], Rows<ROWS, PIECES, WHOLE> &x, const Norm &n,
                                   int64_t first)
{
    float largest[ROWS] = {}, squares[ROWS] = {};
#pragma unroll
    for (int p = 0; p < PIECES; p++)
        if (x.holds(p)) {
            float y[ROWS][COLUMNS];
            normed(y, x, p, n);
#pragma unroll
            for (int row = 0; row < ROWS; row++)
#pragma unroll
                for (int i = 0; i < COLUMNS; i++) {
                    largest[row] = fmaxf(largest[row], fabsf(y[row][i]));
                    squares[row] += y[row][i] * y[row][i];
                }
        }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float norm = sqrtf(warp_sum(squares[row]));
        float scale = e4m3_scale(warp_max(largest[row]));
        inverse[row] = 1.0f / scale;
        if (x.lane == 0 && first + row < n.n_rows) {
            n.scales[first + row] = scale;
            n.scales[n.n_rows + first + row] = norm;
        }
    }
    x.forget_floats();
}

/* Pairs as words, so that all go out at once. */
__device__ inline void store(bf16 *out, const float *y, float)
{
    Piece piece;
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(y[2 * i], y[2 * i + 1]);
        piece.words[i] = *reinterpret_cast<uint32_t *>(&pair);
    }
    *reinterpret_cast<uint4 *>(out) =
        make_uint4(piece.words[0], piece.words[1], piece.words[2], piece.words[3]);
}

__device__ inline void store(fp8 *out, const float *y, float inverse)
{
    Pack<__nv_fp8x2_storage_t, COLUMNS / 2> pack;
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++)
        pack.at[i] = __nv_cvt_float2_to_fp8x2(
            make_float2(y[2 * i] * inverse, y[2 * i + 1] * inverse), __NV_SATFINITE, __NV_E4M3);
    *reinterpret_cast<Pack<__nv_fp8x2_storage_t, COLUMNS / 2> *>(out) = pack;
}

template <typename Out, int ROWS, int PIECES, bool WHOLE>
__global__ void __launch_bounds__(32 * WARPS, PIECES <= 6 ? 9 : 8) norm_rows(const Norm n)
{
    int64_t first = ROWS * ((int64_t) blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
    let_next_begin();
    wait_for_earlier();
    if (first >= n.n_rows)
        return;
    Rows<ROWS, PIECES, WHOLE> x = {};
    x.lane = (int) threadIdx.x % 32;
    x.width = n.width;
#pragma unroll
    for (int row = 0; row < ROWS; row++)
#pragma unroll
        for (int p = 0; p < PIECES; p++)
            if (x.holds(p) && first + row < n.n_rows)
                x.pieces[row][p] =
                    *reinterpret_cast<const Piece *>(n.x + (first + row) * n.width + x.column(p));
    find_moments(x, n);
    float inverse[ROWS];
    if (std::is_same<Out, fp8>::value)
        find_scales(inverse, x, n, first);
#pragma unroll
    for (int p = 0; p < PIECES; p++)
        if (x.holds(p)) {
            float y[ROWS][COLUMNS];
            normed(y, x, p, n);
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                Out *out = (Out *) n.out + (first + row) * n.width + x.column(p);
                if (first + row < n.n_rows)
                    store(out, y[row], std::is_same<Out, fp8>::value ? inverse[row] : 1.0f);
            }
        }
}

/* ---- any row --------------------------------------------------------------------------------- */

enum { THREADS = 256 };

/* The sum, or the largest, over the block, for all its threads. */
template <bool LARGEST> __device__ float over_block(float x)
{
    __shared__ float parts[THREADS / 32];
    x = LARGEST ? warp_max(x) : warp_sum(x);
    __syncthreads(); /* the call before this one has been read */
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = x;
    __syncthreads();
    float all = parts[0];
    for (int i = 1; i < THREADS / 32; i++)
        all = LARGEST ? fmaxf(all, parts[i]) : all + parts[i];
    return all;
}

__device__ inline float normed_at(const Norm &n, const bf16 *x, int i, float mean, float factor)
{
    return (to_float(x[i]) - mean) * factor * (n.one + n.a[i]) + (n.b ? n.b[i] : 0.0f);
}

template <typename Out> __global__ void __launch_bounds__(THREADS) norm_rows_plain(const Norm n)
{
    int64_t index = blockIdx.x;
    const bf16 *x = n.x + index * n.width;
    Out *out = (Out *) n.out + index * n.width;
    float mean = 0.0f, squares = 0.0f, scale = 1.0f;
    for (int i = threadIdx.x; i < n.width && n.centre; i += THREADS)
        mean += to_float(x[i]);
    mean = over_block<false>(mean) / (float) n.width;
    for (int i = threadIdx.x; i < n.width; i += THREADS) {
        float difference = to_float(x[i]) - mean;
        squares += difference * difference;
    }
    float factor = 1.0f / sqrtf(over_block<false>(squares) / (float) n.width + n.eps);
    if (std::is_same<Out, fp8>::value) {
        float largest = 0.0f, length = 0.0f;
        for (int i = threadIdx.x; i < n.width; i += THREADS) {
            float y = normed_at(n, x, i, mean, factor);
            largest = fmaxf(largest, fabsf(y));
            length += y * y;
        }
        scale = e4m3_scale(over_block<true>(largest));
        length = sqrtf(over_block<false>(length));
        if (threadIdx.x == 0) {
            n.scales[index] = scale;
            n.scales[n.n_rows + index] = length;
        }
    }
    for (int i = threadIdx.x; i < n.width; i += THREADS)
        out[i] = from_float<Out>(normed_at(n, x, i, mean, factor) / scale);
}

/* ---- launching ------------------------------------------------------------------------------- */

template <typename Out, int ROWS, int PIECES> void launch_rows(LfCuda *cuda, const Norm &n)
{
    int warps = n.n_rows > 4 * ROWS * cuda->n_multiprocessors ? WARPS : 1;
    auto kernel = n.width == 32 * COLUMNS * PIECES ? norm_rows<Out, ROWS, PIECES, true>
                                                   : norm_rows<Out, ROWS, PIECES, false>;
    launch_early(cuda, kernel, blocks_for(n.n_rows, ROWS * warps), 32 * warps, 0, n);
}

template <typename Out> void launch(LfCuda *cuda, const Norm &n)
{
    bool whole = n.width % COLUMNS == 0 && n.width <= 4096 && lf_cuda_is_aligned(n.x) &&
                 lf_cuda_is_aligned(n.out) && lf_cuda_is_aligned(n.a) && lf_cuda_is_aligned(n.b);
    if (!whole)
        norm_rows_plain<Out><<<(unsigned) n.n_rows, THREADS, 0, cuda->stream>>>(n);
    else if (n.width <= 256)
        launch_rows<Out, 2, 1>(cuda, n);
    else if (n.width <= 1536)
        launch_rows<Out, 2, 6>(cuda, n);
    else
        launch_rows<Out, 1, 16>(cuda, n);
}

void run(LfCuda *cuda, LfTensor out, LfTensor x, Norm n, const char *operation)
{
    n.x = (const bf16 *) x.data;
    n.out = out.data;
    n.scales = out.scales;
    n.n_rows = x.shape[0];
    n.width = (int) x.shape[1];
    if (out.type == LF_F8_E4M3)
        launch<fp8>(cuda, n);
    else
        launch<bf16>(cuda, n);
    lf_cuda_launched(cuda, operation);
}

void layer_norm_modulate(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, LfTensor shift,
                         float eps)
{
    LfCuda *cuda = lf_cuda(be);
    Norm n = {};
    n.a = lf_f32(scale), n.b = lf_f32(shift), n.one = 1.0f, n.eps = eps, n.centre = true;
    run(cuda, out, x, n, "layer_norm_modulate");
}

void layer_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, LfTensor bias, float eps)
{
    LfCuda *cuda = lf_cuda(be);
    Norm n = {};
    n.a = lf_f32(weight), n.b = lf_f32(bias), n.eps = eps, n.centre = true;
    run(cuda, out, x, n, "layer_norm");
}

void rms_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, float eps)
{
    LfCuda *cuda = lf_cuda(be);
    Norm n = {};
    n.a = lf_f32(weight), n.eps = eps;
    run(cuda, out, x, n, "rms_norm");
}

/* ---- over the channels of pixels -------------------------------------------------------------
 *
 * A few lanes take a pixel, each one piece of 8 channels or two. */

struct PixelNorm {
    const __half *x;
    __half *out;
    const float *weight;
    int64_t n_pixels;
    int n, lanes; /* channels; lanes of a pixel */
    bool silu;
};

enum { MOST_PIECES = 2, PIXEL_THREADS = 256 };

__device__ inline float pixel_value(const PixelNorm &p, float x, float factor, int channel)
{
    float y = x * factor * p.weight[channel];
    return p.silu ? silu(y) : y;
}

__device__ inline float pixel_factor(float squares, int n)
{
    return sqrtf((float) n) / fmaxf(sqrtf(squares), 1e-12f);
}

__global__ void __launch_bounds__(PIXEL_THREADS) norm_pixels(const PixelNorm p)
{
    int64_t thread = (int64_t) blockIdx.x * PIXEL_THREADS + threadIdx.x;
    int64_t pixel = thread / p.lanes;
    int lane = (int) (thread % p.lanes);
    bool exists = pixel < p.n_pixels;
    float values[MOST_PIECES][COLUMNS] = {}, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < MOST_PIECES; i++) {
        int first = (i * p.lanes + lane) * COLUMNS;
        if (!exists || first >= p.n)
            continue;
        auto piece = *(const Pack<__half, COLUMNS> *) (p.x + pixel * p.n + first);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            values[i][j] = to_float(piece.at[j]);
            squares += values[i][j] * values[i][j];
        }
    }
    for (int lanes = p.lanes / 2; lanes; lanes /= 2)
        squares += __shfl_xor_sync(0xffffffffu, squares, lanes);
    float factor = pixel_factor(squares, p.n);
#pragma unroll
    for (int i = 0; i < MOST_PIECES; i++) {
        int first = (i * p.lanes + lane) * COLUMNS;
        if (!exists || first >= p.n)
            continue;
        Pack<__half, COLUMNS> piece;
#pragma unroll
        for (int j = 0; j < COLUMNS; j++)
            piece.at[j] = from_float<__half>(pixel_value(p, values[i][j], factor, first + j));
        *(Pack<__half, COLUMNS> *) (p.out + pixel * p.n + first) = piece;
    }
}

/* A warp takes a pixel of any number of channels. */
__global__ void __launch_bounds__(PIXEL_THREADS) norm_pixels_plain(const PixelNorm p)
{
    int64_t pixel = ((int64_t) blockIdx.x * PIXEL_THREADS + threadIdx.x) / 32;
    if (pixel >= p.n_pixels)
        return;
    const __half *x = p.x + pixel * p.n;
    __half *out = p.out + pixel * p.n;
    float squares = 0.0f;
    for (int i = threadIdx.x % 32; i < p.n; i += 32)
        squares += to_float(x[i]) * to_float(x[i]);
    float factor = pixel_factor(warp_sum(squares), p.n);
    for (int i = threadIdx.x % 32; i < p.n; i += 32)
        out[i] = from_float<__half>(pixel_value(p, to_float(x[i]), factor, i));
}

void pixel_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, bool silu)
{
    LfCuda *cuda = lf_cuda(be);
    int64_t n = weight.shape[0];
    PixelNorm p = {(const __half *) x.data, (__half *) out.data, lf_f32(weight)};
    p.n_pixels = lf_tensor_count(x) / n;
    p.n = (int) n;
    p.silu = silu;
    int pieces = p.n / COLUMNS;
    for (p.lanes = 1; p.lanes < 32 && p.lanes < pieces;)
        p.lanes *= 2;
    if (p.n % COLUMNS == 0 && pieces <= 32 * MOST_PIECES && lf_cuda_is_aligned(p.x) &&
        lf_cuda_is_aligned(p.out))
        norm_pixels<<<blocks_for(p.n_pixels * p.lanes, PIXEL_THREADS), PIXEL_THREADS, 0,
                      cuda->stream>>>(p);
    else
        norm_pixels_plain<<<blocks_for(p.n_pixels * 32, PIXEL_THREADS), PIXEL_THREADS, 0,
                            cuda->stream>>>(p);
    lf_cuda_launched(cuda, "pixel_norm");
}

} // namespace

void lf_cuda_norm_init(LfCuda *cuda)
{
    cuda->ops.layer_norm_modulate = layer_norm_modulate;
    cuda->ops.layer_norm = layer_norm;
    cuda->ops.rms_norm = rms_norm;
    cuda->ops.pixel_norm = pixel_norm;
}
