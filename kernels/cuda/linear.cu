/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Weights of linear layers and embeddings, and the products with linear weights:
 *   linear           out = act(x [N, I] · W [O, I]ᵀ + bias)
 *   linear_residual  x += gate ⊙ (y [N, I] · W [O, I]ᵀ + bias)
 *
 * Three versions. On Hopper, shapes that bulk copies can address go to linear_sm90.cu, where the
 * epilogue is fused into the product. Otherwise cuBLASLt multiplies if rows are aligned to 16
 * bytes, else a plain kernel. Both write raw sums in F32, for some rows at a time so that the sums
 * stay in the L2 cache, and a second kernel applies scales, bias, activation, gate, residual and
 * quantisation. Bound: 2·N·I·O FLOP.
 */
#include "e4m3.cuh"
#include "versions.h"
#include "weights.h"

#include <omp.h>
#include <string.h>

namespace {

enum {
    STAGE_SIZE = 8 << 20, /* bytes of one piece of a weight on its way to the device */
    N_STAGES = 2,         /* one is filled while the other travels */
    STAGE_THREADS = 4,    /* fill it: one alone reads a mapped file at a tenth of the bus's speed */
    STAGE_PART = 1 << 19, /* elements that a thread fills at a time */
    BLAS_WORKSPACE = 8 << 20, /* at the end of LfCuda.workspace; before it are the sums */
    SUMS_SIZE = LF_CUDA_WORKSPACE - BLAS_WORKSPACE
};

/* ---- what lasts from call to call ------------------------------------------------------------ */

/* One shape of product and how cuBLASLt computes it best. */
typedef struct {
    LfType in_type, out_type;
    int64_t n_rows, n_in, n_out;
} Shape;

typedef struct {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t weight, x, out;
    cublasLtMatmulAlgo_t algorithm;
    bool usable; /* false: cuBLASLt has nothing for this shape */
} Plan;

} // namespace

struct LfCudaProducts {
    GHashTable *plans;        /* Shape → Plan */
    uint8_t *stage[N_STAGES]; /* pinned; made with the first weight */
    cudaEvent_t travelled[N_STAGES];
};

namespace {

guint shape_hash(gconstpointer key)
{
    const Shape *s = (const Shape *) key;
    int64_t mixed = ((s->n_rows * 31 + s->n_in) * 31 + s->n_out) * 31 + s->in_type;
    return (guint) (mixed * 31 + s->out_type);
}

gboolean shape_equal(gconstpointer left, gconstpointer right)
{
    const Shape *a = (const Shape *) left, *b = (const Shape *) right;
    return a->in_type == b->in_type && a->out_type == b->out_type && a->n_rows == b->n_rows &&
           a->n_in == b->n_in && a->n_out == b->n_out;
}

void plan_free(gpointer data)
{
    Plan *plan = (Plan *) data;
    if (plan->operation)
        cublasLtMatmulDescDestroy(plan->operation);
    if (plan->weight)
        cublasLtMatrixLayoutDestroy(plan->weight);
    if (plan->x)
        cublasLtMatrixLayoutDestroy(plan->x);
    if (plan->out)
        cublasLtMatrixLayoutDestroy(plan->out);
    g_free(plan);
}

struct LfCudaProducts *products_of(LfCuda *cuda)
{
    if (!cuda->products) {
        cuda->products = g_new0(struct LfCudaProducts, 1);
        cuda->products->plans = g_hash_table_new_full(shape_hash, shape_equal, g_free, plan_free);
    }
    return cuda->products;
}

void stages_free(struct LfCudaProducts *p)
{
    for (int i = 0; i < N_STAGES; i++) {
        if (p->travelled[i])
            cudaEventDestroy(p->travelled[i]);
        if (p->stage[i])
            cudaFreeHost(p->stage[i]);
        p->travelled[i] = NULL;
        p->stage[i] = NULL;
    }
}

} // namespace

void lf_cuda_linear_close(LfCuda *cuda)
{
    if (!cuda->products)
        return;
    stages_free(cuda->products);
    g_hash_table_destroy(cuda->products->plans);
    g_free(cuda->products);
    cuda->products = NULL;
}

namespace {

/* ---- weights --------------------------------------------------------------------------------- */

bool stages_ready(LfCuda *cuda)
{
    struct LfCudaProducts *p = products_of(cuda);
    for (int i = 0; i < N_STAGES; i++) {
        if (p->stage[i])
            continue;
        void *memory = NULL;
        if (cudaMallocHost(&memory, STAGE_SIZE) != cudaSuccess)
            return false;
        p->stage[i] = (uint8_t *) memory;
        if (cudaEventCreateWithFlags(&p->travelled[i], cudaEventDisableTiming) != cudaSuccess)
            return false;
    }
    return true;
}

int stage_threads(void)
{
    return CLAMP(omp_get_num_procs() / 2, 1, STAGE_THREADS);
}

/* The type in which a source is uploaded: types that the device cannot read become float first. */
LfType travel_type(LfType source)
{
    return source == LF_BF16 || source == LF_F16 ? source : LF_F32;
}

/* Elements [first, first + count) of the source as `type`: its own, or F32. */
void stage_part(uint8_t *dst, LfType type, LfTensor source, int64_t first, int64_t count)
{
    const uint8_t *src = (const uint8_t *) source.data + first * lf_type_size(source.type);
    float *values = (float *) dst;
    if (type == source.type) {
        memcpy(dst, src, (size_t) count * lf_type_size(type));
        return;
    }
    lf_to_float(values, src, source.type, count);
    for (int64_t i = 0; source.scales && i < count; i++)
        values[i] *= source.scales[(first + i) / source.shape[1]];
}

/* Uploads elements [first, first + count) of the source to `dst` as `type`: its own, or F32. */
void send(LfCuda *cuda, void *dst, LfType type, LfTensor source, int64_t first, int64_t count,
          int stage)
{
    struct LfCudaProducts *p = cuda->products;
    size_t element = lf_type_size(type), size = (size_t) count * element;
    int64_t n_parts = (count + STAGE_PART - 1) / STAGE_PART;
    int n_threads = (int) MIN(n_parts, (int64_t) stage_threads());
    lf_cuda_check(cuda, cudaEventSynchronize(p->travelled[stage]), "weight_new");
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1)
    for (int64_t part = 0; part < n_parts; part++) {
        int64_t at = part * STAGE_PART, n = MIN(STAGE_PART, count - at);
        stage_part(p->stage[stage] + at * element, type, source, first + at, n);
    }
    lf_cuda_check(cuda,
                  cudaMemcpyAsync(dst, p->stage[stage], size, cudaMemcpyHostToDevice, cuda->stream),
                  "weight_new");
    lf_cuda_check(cuda, cudaEventRecord(p->travelled[stage], cuda->stream), "weight_new");
}

template <typename T> __global__ void to_bf16(bf16 *dst, const T *src, int64_t count)
{
    int64_t stride = (int64_t) gridDim.x * blockDim.x;
    for (int64_t i = blockIdx.x * (int64_t) blockDim.x + threadIdx.x; i < count; i += stride)
        dst[i] = from_float<bf16>(to_float(src[i]));
}

/* The sum or maximum of one number of each thread of a block of 256, known to all of them. */
__device__ float block_reduce(float x, bool largest)
{
    __shared__ float of_warp[8];
    x = largest ? warp_max(x) : warp_sum(x);
    __syncthreads(); /* the last call's numbers have been read */
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    float all = of_warp[0];
    for (int i = 1; i < 8; i++)
        all = largest ? fmaxf(all, of_warp[i]) : all + of_warp[i];
    return all;
}

/* One block for each row: dst [rows, n_in] = src / scale, scale = max|row| / 448. The largest norm
 * of a row, as its bits, which order as it does, is collected in *norm. */
template <typename T>
__global__ void quantise_weight(fp8 *dst, float *scales, unsigned *norm, const T *src, int64_t n_in)
{
    int64_t row = blockIdx.x;
    float largest = 0.0f, squares = 0.0f;
    for (int64_t i = threadIdx.x; i < n_in; i += blockDim.x)
        largest = fmaxf(largest, fabsf(to_float(src[row * n_in + i])));
    float scale = e4m3_scale(block_reduce(largest, true));
    for (int64_t i = threadIdx.x; i < n_in; i += blockDim.x) {
        fp8 small = from_float<fp8>(to_float(src[row * n_in + i]) / scale);
        float value = (float) small;
        dst[row * n_in + i] = small;
        squares += value * value;
    }
    squares = block_reduce(squares, false);
    if (threadIdx.x == 0) {
        scales[row] = scale;
        atomicMax(norm, __float_as_uint(sqrtf(squares) * scale * 1.001f)); /* 1.001: rounding */
    }
}

/* One block for each row: its norm, by the same sums as a row that was quantised here. */
__global__ void collect_norms(unsigned *norm, const fp8 *codes, const float *scales, int64_t n_in)
{
    int64_t row = blockIdx.x;
    float squares = 0.0f;
    for (int64_t i = threadIdx.x; i < n_in; i += blockDim.x) {
        float value = (float) codes[row * n_in + i];
        squares += value * value;
    }
    squares = block_reduce(squares, false);
    if (threadIdx.x == 0)
        atomicMax(norm, __float_as_uint(sqrtf(squares) * fabsf(scales[row]) * 1.001f));
}

/* ‖W‖'s place while a weight is made: the end of the workspace. */
unsigned *norm_slot(LfCuda *cuda)
{
    return (unsigned *) ((uint8_t *) cuda->workspace + LF_CUDA_WORKSPACE - 256);
}

/* Rows [first, first + n_rows), which have arrived at `raw` as travel_type, into the weight. */
void convert(LfCuda *cuda, LfCudaWeight *w, const void *raw, LfType type, int64_t first,
             int64_t n_rows)
{
    int64_t n_in = w->base.in, count = n_rows * n_in;
    unsigned blocks = (unsigned) MIN(blocks_for(count, 256), 4096u);
    if (w->type == LF_F8_E4M3) {
        fp8 *dst = (fp8 *) w->data + first * n_in;
        float *scales = w->scales + first;
        unsigned *norm = norm_slot(cuda);
        if (type == LF_F32)
            quantise_weight<<<(unsigned) n_rows, 256, 0, cuda->stream>>>(dst, scales, norm,
                                                                         (const float *) raw, n_in);
        else if (type == LF_BF16)
            quantise_weight<<<(unsigned) n_rows, 256, 0, cuda->stream>>>(dst, scales, norm,
                                                                         (const bf16 *) raw, n_in);
        else
            quantise_weight<<<(unsigned) n_rows, 256, 0, cuda->stream>>>(
                dst, scales, norm, (const __half *) raw, n_in);
    } else if (type == LF_F32) {
        to_bf16<<<blocks, 256, 0, cuda->stream>>>((bf16 *) w->data + first * n_in,
                                                  (const float *) raw, count);
    } else {
        to_bf16<<<blocks, 256, 0, cuda->stream>>>((bf16 *) w->data + first * n_in,
                                                  (const __half *) raw, count);
    }
    lf_cuda_launched(cuda, "weight_new");
}

/* The source's elements, in pieces, in the type that the device holds: their own, or F32. */
void fill_as_is(LfCuda *cuda, LfCudaWeight *w, LfTensor source)
{
    size_t element = lf_type_size(w->type);
    int64_t count = lf_tensor_count(source), piece = STAGE_SIZE / (int64_t) element;
    int stage = 0;
    for (int64_t first = 0; first < count; first += piece, stage = (stage + 1) % N_STAGES)
        send(cuda, (uint8_t *) w->data + first * element, w->type, source, first,
             MIN(piece, count - first), stage);
}

void begin_norm(LfCuda *cuda)
{
    lf_cuda_check(cuda, cudaMemsetAsync(norm_slot(cuda), 0, sizeof(unsigned), cuda->stream),
                  "weight_new");
}

/* Known after a sync. */
void end_norm(LfCuda *cuda, LfCudaWeight *w)
{
    lf_cuda_check(cuda,
                  cudaMemcpyAsync(&w->base.norm, norm_slot(cuda), sizeof w->base.norm,
                                  cudaMemcpyDeviceToHost, cuda->stream),
                  "weight_new");
}

/* Rows in E4M3, code by code, with their scales or 1. */
void fill_codes(LfCuda *cuda, LfCudaWeight *w, LfTensor source)
{
    size_t n_rows = (size_t) w->base.out;
    g_autofree float *ones = source.scales ? NULL : g_new(float, n_rows);
    for (size_t row = 0; ones && row < n_rows; row++)
        ones[row] = 1.0f;
    fill_as_is(cuda, w, source);
    /* From pageable memory: it has been read when the call returns. */
    lf_cuda_check(cuda,
                  cudaMemcpyAsync(w->scales, ones ? ones : source.scales, n_rows * sizeof(float),
                                  cudaMemcpyHostToDevice, cuda->stream),
                  "weight_new");
    begin_norm(cuda);
    collect_norms<<<(unsigned) n_rows, 256, 0, cuda->stream>>>(
        norm_slot(cuda), (const fp8 *) w->data, w->scales, w->base.in);
    lf_cuda_launched(cuda, "weight_new");
    end_norm(cuda, w);
}

/* Some rows at a time, through the workspace. */
void fill_converted(LfCuda *cuda, LfCudaWeight *w, LfTensor source)
{
    LfType type = travel_type(source.type);
    int64_t row = w->base.in * (int64_t) lf_type_size(type), piece = STAGE_SIZE / row;
    int stage = 0;
    begin_norm(cuda);
    for (int64_t first = 0; first < w->base.out; first += piece, stage = (stage + 1) % N_STAGES) {
        int64_t n_rows = MIN(piece, w->base.out - first);
        uint8_t *raw = (uint8_t *) cuda->workspace + (size_t) stage * STAGE_SIZE;
        send(cuda, raw, type, source, first * w->base.in, n_rows * w->base.in, stage);
        convert(cuda, w, raw, type, first, n_rows);
    }
    if (w->type == LF_F8_E4M3)
        end_norm(cuda, w);
}

void fill(LfCuda *cuda, LfCudaWeight *w, LfTensor source)
{
    if (w->type == LF_F8_E4M3 && source.type == LF_F8_E4M3)
        fill_codes(cuda, w, source);
    else if (w->type == travel_type(source.type))
        fill_as_is(cuda, w, source);
    else
        fill_converted(cuda, w, source);
}

void weight_free(LfBackend *be, LfWeight *weight)
{
    LfCuda *cuda = lf_cuda(be);
    LfCudaWeight *w = (LfCudaWeight *) weight;
    if (w->data && !w->base.placed)
        lf_cuda_free(cuda, w->data);
    if (w->scales && !w->base.placed)
        lf_cuda_free(cuda, w->scales);
    g_free(w);
}

/* The type that a weight of this kind has on the device. */
LfType stored_type(LfCuda *cuda, LfWeightKind kind, LfType source)
{
    if (kind == LF_WEIGHT_EMBEDDING)
        return travel_type(source);
    bool quantised = kind == LF_WEIGHT_LINEAR_FP8 && cuda->base.precision == LF_PRECISION_FP8;
    return quantised ? LF_F8_E4M3 : LF_BF16;
}

/* Memory of the weight's arena; NULL when that is full. */
void *take(LfArena *place, size_t size)
{
    size_t padded = (size + LF_ARENA_ALIGNMENT - 1) / LF_ARENA_ALIGNMENT * LF_ARENA_ALIGNMENT;
    uint8_t *memory = place->base + place->used;
    if (padded > place->size - place->used)
        return NULL;
    place->used += padded;
    place->peak = MAX(place->peak, place->used);
    return memory;
}

/* Device memory for the weight, all of it or false. */
bool allocate(LfCuda *cuda, LfCudaWeight *w)
{
    LfArena *place = cuda->base.place;
    size_t size = (size_t) (w->base.out * w->base.in) * lf_type_size(w->type);
    size_t scales_size = w->type == LF_F8_E4M3 ? (size_t) w->base.out * sizeof(float) : 0;
    w->base.memory = size + scales_size;
    w->base.placed = place != NULL;
    w->data = place ? take(place, size) : lf_cuda_alloc(cuda, size);
    if (scales_size)
        w->scales = (float *) (place ? take(place, scales_size) : lf_cuda_alloc(cuda, scales_size));
    return w->data && (w->scales || !scales_size) && stages_ready(cuda);
}

LfWeight *weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    LfCuda *cuda = lf_cuda(be);
    if (kind == LF_WEIGHT_CONV3X3 || kind == LF_WEIGHT_CONV_UP2 || kind == LF_WEIGHT_CONV3D)
        return lf_cuda_conv_weight_new(cuda, kind, source, error);
    if (source.shape[1] * sizeof(float) > STAGE_SIZE) {
        g_set_error(error, LF_ERROR, LF_ERROR_SHAPE,
                    "a weight of %" G_GINT64_FORMAT " columns is wider than CUDA's %d",
                    source.shape[1], (int) (STAGE_SIZE / sizeof(float)));
        return NULL;
    }
    LfCudaWeight *w = g_new0(LfCudaWeight, 1);
    w->type = stored_type(cuda, kind, source.type);
    lf_weight_describe(&w->base, kind, source);
    w->base.input = w->type;
    if (!allocate(cuda, w)) {
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY, "no memory for a weight of %.1f MB",
                    (double) w->base.memory / 1e6);
        cudaGetLastError(); /* reported here, not by the next operation */
        weight_free(be, &w->base);
        return NULL;
    }
    fill(cuda, w, source);
    /* Other backends may read it from now on. */
    cudaError_t status = cudaStreamSynchronize(cuda->stream);
    if (lf_cuda_check(cuda, status, "weight_new"))
        return &w->base;
    g_set_error(error, LF_ERROR, LF_ERROR_DEVICE, "a weight cannot be copied to the device: %s",
                cudaGetErrorString(status));
    weight_free(be, &w->base);
    return NULL;
}

/* ---- raw products: sums [rows, O], F32 or BF16, without the scales of E4M3 ------------------- */

void layout(LfCuda *cuda, cublasLtMatrixLayout_t *made, LfType type, int64_t rows, int64_t columns)
{
    cudaDataType_t of = type == LF_F32    ? CUDA_R_32F
                        : type == LF_BF16 ? CUDA_R_16BF
                                          : CUDA_R_8F_E4M3;
    if (cublasLtMatrixLayoutCreate(made, of, (uint64_t) rows, (uint64_t) columns, rows))
        lf_cuda_fail(cuda, "linear", "cuBLASLt refuses a layout");
}

/* cuBLASLt's matrices are column-major: it computes outᵀ [O, N] = (Wᵀ)ᵀ·xᵀ. */
Plan *plan_new(LfCuda *cuda, const Shape *s)
{
    Plan *plan = g_new0(Plan, 1);
    cublasOperation_t transposed = CUBLAS_OP_T;
    uint64_t workspace = BLAS_WORKSPACE;
    layout(cuda, &plan->weight, s->in_type, s->n_in, s->n_out);
    layout(cuda, &plan->x, s->in_type, s->n_in, s->n_rows);
    layout(cuda, &plan->out, s->out_type, s->n_out, s->n_rows);
    if (cublasLtMatmulDescCreate(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) ||
        cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof transposed))
        return plan;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t best;
    int n_found = 0;
    if (cublasLtMatmulPreferenceCreate(&preference))
        return plan;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &workspace, sizeof workspace);
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(cuda->blas, plan->operation, plan->weight, plan->x,
                                       plan->out, plan->out, preference, 1, &best, &n_found);
    cublasLtMatmulPreferenceDestroy(preference);
    plan->usable = status == CUBLAS_STATUS_SUCCESS && n_found == 1;
    if (plan->usable)
        plan->algorithm = best.algo;
    return plan;
}

Plan *plan_for(LfCuda *cuda, const Shape *shape)
{
    GHashTable *plans = products_of(cuda)->plans;
    Plan *plan = (Plan *) g_hash_table_lookup(plans, shape);
    if (!plan) {
        Shape *key = g_new(Shape, 1);
        *key = *shape;
        plan = plan_new(cuda, shape);
        g_hash_table_insert(plans, key, plan);
    }
    return plan;
}

/* sums = x·Wᵀ, or sums += x·Wᵀ if `add`. */
typedef struct {
    void *sums;
    const void *x, *weight;
    Shape shape;
    bool add;
} RawProduct;

const char *blas_refuses(const LfCuda *cuda, const RawProduct *p)
{
    const Shape *s = &p->shape;
    size_t in = lf_type_size(s->in_type), out = lf_type_size(s->out_type);
    bool rows_aligned = s->n_in * in % 16 == 0 && s->n_out * out % 16 == 0;
    bool fp8_aligned = s->in_type != LF_F8_E4M3 || s->n_out % 16 == 0;
    bool all_aligned = rows_aligned && fp8_aligned && lf_cuda_is_aligned(p->sums) &&
                       lf_cuda_is_aligned(p->x) && lf_cuda_is_aligned(p->weight);
    return all_aligned ? NULL : "rows are not aligned to 16 bytes";
}

const char *multiply_blas(LfCuda *cuda, const RawProduct *p)
{
    Plan *plan = plan_for(cuda, &p->shape);
    if (!plan->usable)
        return "cuBLASLt has no algorithm for the shape";
    float one = 1.0f, beta = p->add ? 1.0f : 0.0f;
    uint8_t *scratch = (uint8_t *) cuda->workspace + SUMS_SIZE;
    cublasStatus_t status = cublasLtMatmul(
        cuda->blas, plan->operation, &one, p->weight, plan->weight, p->x, plan->x, &beta, p->sums,
        plan->out, p->sums, plan->out, &plan->algorithm, scratch, BLAS_WORKSPACE, cuda->stream);
    if (status != CUBLAS_STATUS_SUCCESS)
        lf_cuda_fail(cuda, "linear", cublasLtGetStatusString(status));
    return NULL;
}

enum {
    TILE = 64, /* rows and columns of sums of a block of 256 threads, 4×4 of each thread */
    STEP = 16  /* of the inner dimension */
};

__device__ float number(const bf16 *x, int64_t i)
{
    return to_float(x[i]);
}
__device__ float number(const fp8 *x, int64_t i)
{
    return (float) x[i];
}

/* dst [STEP][TILE] = columns [at, at + STEP) of rows [first, first + TILE); zeros beyond. */
template <typename T>
__device__ void load_tile(float (*dst)[TILE + 4], const T *src, int64_t first, int64_t n_rows,
                          int64_t at, int64_t n_in)
{
    for (int i = threadIdx.x; i < TILE * STEP; i += blockDim.x) {
        int64_t row = first + i / STEP, column = at + i % STEP;
        bool inside = row < n_rows && column < n_in;
        dst[i % STEP][i / STEP] = inside ? number(src, row * n_in + column) : 0.0f;
    }
}

/* Any shape. Neighbouring threads have neighbouring columns. */
template <typename T, typename Out>
__global__ void __launch_bounds__(256)
    multiply_any(Out *sums, const T *x, const T *weight, int64_t n_rows, int64_t n_in,
                 int64_t n_out, bool add)
{
    __shared__ float a[STEP][TILE + 4], b[STEP][TILE + 4];
    int64_t row = (int64_t) blockIdx.y * TILE, column = (int64_t) blockIdx.x * TILE;
    int down = threadIdx.x / 16, across = threadIdx.x % 16;
    float sum[4][4] = {};
    for (int64_t at = 0; at < n_in; at += STEP) {
        load_tile(a, x, row, n_rows, at, n_in);
        load_tile(b, weight, column, n_out, at, n_in);
        __syncthreads();
        for (int k = 0; k < STEP; k++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    sum[i][j] += a[k][down + 16 * i] * b[k][across + 16 * j];
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int64_t m = row + down + 16 * i, n = column + across + 16 * j;
            if (m >= n_rows || n >= n_out)
                continue;
            Out *at = sums + m * n_out + n;
            *at = from_float<Out>(sum[i][j] + (add ? to_float(*at) : 0.0f));
        }
}

template <typename T> void multiply_plain_as(LfCuda *cuda, const RawProduct *p)
{
    const Shape *s = &p->shape;
    const T *x = (const T *) p->x, *weight = (const T *) p->weight;
    dim3 grid(blocks_for(s->n_out, TILE), blocks_for(s->n_rows, TILE));
    if (s->out_type == LF_F32)
        multiply_any<T, float><<<grid, 256, 0, cuda->stream>>>(
            (float *) p->sums, x, weight, s->n_rows, s->n_in, s->n_out, p->add);
    else
        multiply_any<T, bf16><<<grid, 256, 0, cuda->stream>>>((bf16 *) p->sums, x, weight,
                                                              s->n_rows, s->n_in, s->n_out, p->add);
    lf_cuda_launched(cuda, "linear");
}

const char *multiply_plain(LfCuda *cuda, const RawProduct *p)
{
    if (p->shape.in_type == LF_F8_E4M3)
        multiply_plain_as<fp8>(cuda, p);
    else
        multiply_plain_as<bf16>(cuda, p);
    return NULL;
}

const LfCudaVersion<RawProduct> raw_versions[] = {
    {"cuBLASLt", LF_CUDA_BLAS, blas_refuses, multiply_blas},
    {"plain", 0, NULL, multiply_plain},
};

void describe_raw(char *text, size_t size, const RawProduct *p)
{
    const Shape *s = &p->shape;
    g_snprintf(text, size, "[%d, %d]·[%d, %d]ᵀ, %s to %s", (int) s->n_rows, (int) s->n_in,
               (int) s->n_out, (int) s->n_in, lf_type_name(s->in_type), lf_type_name(s->out_type));
}

void multiply(LfCuda *cuda, void *sums, LfType type, LfTensor x, const LfCudaProduct *p, bool add)
{
    RawProduct raw = {sums, x.data, p->weight, {x.type, type, x.shape[0], p->n_in, p->n_out}, add};
    lf_cuda_run(cuda, "product", raw_versions, describe_raw, &raw);
}

/* ---- what comes after the sums --------------------------------------------------------------- */

typedef struct {
    const float *sums;          /* [rows, O] */
    const float *row_scales;    /* [rows] of E4M3, else NULL */
    const float *column_scales; /* [O] of E4M3, else NULL */
    const float *bias, *gate;   /* [O] or NULL */
    LfActivation activation;
    int64_t n_rows, n_out;
} Finish;

__device__ float finished(const Finish &f, int64_t row, int64_t column)
{
    float value = f.sums[row * f.n_out + column];
    if (f.row_scales)
        value *= f.row_scales[row] * f.column_scales[column];
    if (f.bias)
        value += f.bias[column];
    if (f.activation == LF_ACT_GELU_TANH)
        value = gelu_tanh(value);
    else if (f.activation == LF_ACT_SILU)
        value = silu(value);
    return f.gate ? f.gate[column] * value : value;
}

/* V numbers of a row for each thread; V divides O. */
template <typename Out, int V> __global__ void finish_rows(Out *out, Finish f, bool add)
{
    int64_t column = (blockIdx.x * (int64_t) blockDim.x + threadIdx.x) * V;
    if (column >= f.n_out)
        return;
    for (int64_t row = blockIdx.y; row < f.n_rows; row += gridDim.y) {
        Pack<Out, V> *at = (Pack<Out, V> *) (out + row * f.n_out + column);
        Pack<Out, V> pack;
        if (add)
            pack = *at;
        for (int j = 0; j < V; j++) {
            float value = finished(f, row, column + j);
            pack.at[j] = from_float<Out>(add ? to_float(pack.at[j]) + value : value);
        }
        *at = pack;
    }
}

/* One block for each row: out = E4M3 of the row by its own scale; scales F32 [2, all rows]. */
__global__ void __launch_bounds__(256) finish_fp8(fp8 *out, float *scales, float *norms, Finish f)
{
    int64_t row = blockIdx.x;
    float largest = 0.0f, squares = 0.0f;
    for (int64_t i = threadIdx.x; i < f.n_out; i += blockDim.x)
        largest = fmaxf(largest, fabsf(finished(f, row, i)));
    float scale = e4m3_scale(block_reduce(largest, true));
    for (int64_t i = threadIdx.x; i < f.n_out; i += blockDim.x) {
        fp8 small = from_float<fp8>(finished(f, row, i) / scale);
        float value = (float) small;
        out[row * f.n_out + i] = small;
        squares += value * value;
    }
    squares = block_reduce(squares, false);
    if (threadIdx.x == 0) {
        scales[row] = scale;
        norms[row] = sqrtf(squares) * scale;
    }
}

template <typename Out> void finish(LfCuda *cuda, Out *out, const Finish *f, bool add)
{
    bool by_four = f->n_out % 4 == 0 && (uintptr_t) out % (4 * sizeof(Out)) == 0;
    dim3 grid(blocks_for(f->n_out, by_four ? 4 * 128 : 128), (unsigned) MIN(f->n_rows, 32768));
    if (by_four)
        finish_rows<Out, 4><<<grid, 128, 0, cuda->stream>>>(out, *f, add);
    else
        finish_rows<Out, 1><<<grid, 128, 0, cuda->stream>>>(out, *f, add);
    lf_cuda_launched(cuda, "linear");
}

/* ---- the operations -------------------------------------------------------------------------- */

/* The number of rows whose sums are computed at once: equal parts, if possible multiples of 128. */
int64_t rows_at_once(int64_t n_rows, int64_t n_out)
{
    int64_t most = SUMS_SIZE / (n_out * (int64_t) sizeof(float));
    if (most >= n_rows)
        return n_rows;
    if (most < 128)
        return MAX(most, 1);
    int64_t tiles = most / 128, all = (n_rows + 127) / 128, pieces = (all + tiles - 1) / tiles;
    return (all + pieces - 1) / pieces * 128;
}

void finish_into(LfCuda *cuda, LfTensor out, int64_t first, const Finish *f, bool add)
{
    int64_t at = first * f->n_out;
    if (out.type == LF_F8_E4M3) {
        finish_fp8<<<(unsigned) f->n_rows, 256, 0, cuda->stream>>>(
            (fp8 *) out.data + at, out.scales + first, out.scales + out.shape[0] + first, *f);
        lf_cuda_launched(cuda, "linear");
    } else if (out.type == LF_BF16) {
        finish(cuda, (bf16 *) out.data + at, f, add);
    } else {
        finish(cuda, (float *) out.data + at, f, add);
    }
}

/* Raw sums, then the epilogue, for any shape. */
const char *product_in_two(LfCuda *cuda, const LfCudaProduct *p)
{
    LfTensor x = p->x;
    bool bare = x.type == LF_BF16 && p->out.type != LF_F8_E4M3 && !p->bias && !p->gate &&
                p->activation == LF_ACT_NONE;
    if (bare) {
        multiply(cuda, p->out.data, p->out.type, x, p, p->residual);
        return NULL;
    }
    int64_t n_rows = x.shape[0], piece = rows_at_once(n_rows, p->n_out);
    for (int64_t first = 0; first < n_rows; first += piece) {
        int64_t n = MIN(piece, n_rows - first);
        LfTensor rows = x;
        rows.data = (uint8_t *) x.data + first * p->n_in * lf_type_size(x.type);
        rows.shape[0] = n;
        multiply(cuda, cuda->workspace, LF_F32, rows, p, false);
        Finish f = {};
        f.sums = (const float *) cuda->workspace;
        f.row_scales = x.type == LF_F8_E4M3 ? x.scales + first : NULL;
        f.column_scales = p->weight_scales;
        f.bias = p->bias;
        f.gate = p->gate;
        f.activation = p->activation;
        f.n_rows = n;
        f.n_out = p->n_out;
        finish_into(cuda, p->out, first, &f, p->residual);
    }
    return NULL;
}

const LfCudaVersion<LfCudaProduct> versions[] = {
    {"wgmma", LF_CUDA_BULK_COPY | LF_CUDA_WGMMA, lf_cuda_product_sm90_refuses,
     lf_cuda_product_sm90},
    {"product and a pass over its sums", 0, NULL, product_in_two},
};

void describe(char *text, size_t size, const LfCudaProduct *p)
{
    g_snprintf(text, size, "[%d, %d]·[%d, %d]ᵀ, %s to %s%s%s", (int) p->x.shape[0], (int) p->n_in,
               (int) p->n_out, (int) p->n_in, lf_type_name(p->x.type), lf_type_name(p->out.type),
               p->activation == LF_ACT_NONE ? "" : ", activation", p->residual ? ", residual" : "");
}

LfCudaProduct product_of(LfTensor out, LfTensor x, const LfWeight *weight, LfTensor bias)
{
    const LfCudaWeight *w = (const LfCudaWeight *) weight;
    LfCudaProduct p = {};
    p.out = out;
    p.x = x;
    p.weight = w->data;
    p.weight_scales = w->scales;
    p.weight_norm = w->base.norm;
    p.n_out = w->base.out;
    p.n_in = w->base.in;
    p.bias = lf_f32(bias);
    return p;
}

void linear(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight, LfTensor bias,
            LfActivation activation)
{
    LfCuda *cuda = lf_cuda(be);
    LfCudaProduct p = product_of(out, x, weight, bias);
    p.activation = activation;
    lf_cuda_run(cuda, "linear", versions, describe, &p);
}

void linear_residual(LfBackend *be, LfTensor x, LfTensor y, const LfWeight *weight, LfTensor bias,
                     LfTensor gate)
{
    LfCuda *cuda = lf_cuda(be);
    LfCudaProduct p = product_of(x, y, weight, bias);
    p.gate = lf_f32(gate);
    p.residual = true;
    lf_cuda_run(cuda, "linear_residual", versions, describe, &p);
}

} // namespace

void lf_cuda_linear_init(LfCuda *cuda)
{
    cuda->ops.weight_new = weight_new;
    cuda->ops.weight_free = weight_free;
    cuda->ops.linear = linear;
    cuda->ops.linear_residual = linear_residual;
}
