/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of the CUDA backend, host side. Only machine.cu deals with devices, contexts, streams
 * and memory. Every other .cu launches kernels on lf_cuda(be)->stream and fills its entries of the
 * table: a plain version for any shape, and faster versions for some shapes and chips (versions.h).
 */
#ifndef LF_KERNELS_CUDA_MACHINE_H
#define LF_KERNELS_CUDA_MACHINE_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#include "kernels/ops.h"
#include "kernels/weight.h"
}

#include <cublasLt.h>
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

typedef __nv_bfloat16 bf16;
typedef __nv_fp8_e4m3 fp8;

/* Features of a chip that versions of operations need (versions.h); machine.cu lists the chips.
 * LIGHTFORCING_CUDA=plain|sm80|sm90 in the environment leaves features out, for tests and bug
 * reports: all of them, or those that not every chip from compute capability 8.0 on has. */
enum {
    LF_CUDA_WIDE = 1,          /* loads and stores of 16 bytes */
    LF_CUDA_BLAS = 2,          /* cuBLASLt */
    LF_CUDA_ASYNC_COPY = 4,    /* cp.async, to shared memory in the background */
    LF_CUDA_MMA = 8,           /* mma.sync and ldmatrix, BF16 and F16 */
    LF_CUDA_BULK_COPY = 16,    /* tensor maps, cp.async.bulk, mbarrier */
    LF_CUDA_WGMMA = 32,        /* wgmma, and clusters of thread blocks */
    LF_CUDA_FP8_MMA = 64,      /* E4M3 matrix products (cuBLASLt, wgmma): precision fp8 */
    LF_CUDA_EARLY_LAUNCH = 128 /* a kernel begins while the one before it ends (launch_early) */
};

enum {
    LF_CUDA_WORKSPACE = 32 << 20 /* bytes of LfCuda.workspace */
};

typedef struct {
    LfBackend base;
    LfOps ops;
    int device;
    unsigned features; /* LF_CUDA_… */
    int n_multiprocessors;
    cudaStream_t stream;
    cudaEvent_t idle;                /* for sync, whose thread sleeps and does not spin */
    cublasLtHandle_t blas;           /* shared by all backends of the device */
    void *workspace;                 /* of one operation at a time, contents undefined */
    struct LfCudaProducts *products; /* linear.cu's plans of products, found once for each shape */
    struct LfCudaPixels *pixels;     /* pixels.cu's staging memory */
    GHashTable *logged;              /* lines that were logged, each once; NULL: none yet */
    bool capturing;
    GMutex lock;
    char failure[256]; /* guarded by lock: the first since the last sync; "": none */
    LfError kind;      /* of that failure */
} LfCuda;

/* Returns the backend and makes its device current on the calling thread. Every function of the
 * table begins with it. */
LfCuda *lf_cuda(LfBackend *be);

/* For functions that any thread may call: the device is current while this lives, and afterwards
 * the context that was current before. */
struct LfCudaScope {
    explicit LfCudaScope(int device);
    ~LfCudaScope();

  private:
    CUcontext before;
    bool known;
};

/* Latches a failed call, or a failed launch of `operation`, for the next sync. True when all is
 * well. Any thread. */
bool lf_cuda_check(LfCuda *cuda, cudaError_t status, const char *operation);
static inline bool lf_cuda_launched(LfCuda *cuda, const char *operation)
{
    return lf_cuda_check(cuda, cudaGetLastError(), operation);
}
void lf_cuda_fail(LfCuda *cuda, const char *operation, const char *reason);

/* As lf_cuda_check, for calls that report their own failure: an error instead of the latch. */
bool lf_cuda_try(LfCuda *cuda, cudaError_t status, const char *operation, GError **error);

/* Makes a tensor map over `data` for bulk copies (TMA): rank dimensions, fastest first; strides in
 * bytes of all but the fastest; boxes of `box` elements, swizzled by 128 bytes, zeros beyond the
 * edges. False when the driver refuses; another version of the operation then serves the call. */
bool lf_cuda_tensor_map(LfCuda *cuda, CUtensorMap *map, CUtensorMapDataType type, void *data,
                        int rank, const uint64_t *shape, const uint64_t *strides,
                        const uint32_t *box);

/* Whether the address is a multiple of 16 bytes, for loads and stores of 16. NULL is. */
static inline bool lf_cuda_is_aligned(const void *memory)
{
    return (uintptr_t) memory % 16 == 0;
}

/* Allocates device memory outside of arenas (weights, tables). NULL when there is not enough. */
void *lf_cuda_alloc(LfCuda *cuda, size_t size);
void lf_cuda_free(LfCuda *cuda, void *memory);

/* One for each other .cu file; each sets its entries of the table. */
void lf_cuda_linear_init(LfCuda *cuda);
void lf_cuda_norm_init(LfCuda *cuda);
void lf_cuda_rope_init(LfCuda *cuda);
void lf_cuda_select_init(LfCuda *cuda);
void lf_cuda_attention_init(LfCuda *cuda);
void lf_cuda_text_init(LfCuda *cuda);
void lf_cuda_frame_attention_init(LfCuda *cuda);
void lf_cuda_conv_init(LfCuda *cuda);
void lf_cuda_pointwise_init(LfCuda *cuda);
void lf_cuda_noise_init(LfCuda *cuda);
void lf_cuda_pixels_init(LfCuda *cuda);

/* Free the state of these files; called at close. NULL is fine. */
void lf_cuda_linear_close(LfCuda *cuda);
void lf_cuda_pixels_close(LfCuda *cuda);

/* ---- attention, shared by its versions ------------------------------------------------------- */

/* One softmax(q·kᵀ·scale)·v for all heads; strides are in elements.
 * Keys come in `n_frames` frames of `frame_keys` rows; frame i lies at slot slots[i] (device), or
 * at i itself where slots is NULL. Queries come in frames of `frame_queries` rows, `n_queries` in
 * all. */
typedef struct {
    const bf16 *q, *k, *v;
    bf16 *out;     /* or NULL: */
    fp8 *fp8_out;  /* E4M3; all rows have the scale of `amax` (device), an upper bound of |v| */
    float *scales; /* [2, n_queries] of fp8_out: factors, norms */
    const float *amax;
    int heads, head_dim;
    int n_queries, frame_queries;
    int n_frames, frame_keys, n_slots;
    int64_t q_row, q_head;              /* strides of q */
    int64_t k_row, k_head, k_frame;     /* strides of k and v */
    int64_t out_row;                    /* stride of out; head h begins at column h·head_dim */
    const int32_t *slots;               /* [n_frames] or NULL */
    const int32_t *table;               /* [heads, query blocks, budget] or NULL: all keys */
    int budget, query_block, key_block; /* of the table */
    float scale;
    float last_logit; /* added to the scaled score of the very last key */
} LfCudaAttention;

/* attention_sm90.cu, a version as in versions.h. */
const char *lf_cuda_attention_sm90_refuses(const LfCuda *cuda, const LfCudaAttention *a);
const char *lf_cuda_attention_sm90(LfCuda *cuda, const LfCudaAttention *a);

/* A matrix product with its epilogue:
 * out = act(x·Wᵀ·scales + bias), or out += gate ⊙ (x·Wᵀ·scales + bias) where `residual`. */
typedef struct {
    LfTensor out, x;            /* [N, O], [N, I]; BF16 or F8_E4M3 with scales; out may be F32 */
    const void *weight;         /* [O, I], BF16 or E4M3 as x is */
    const float *weight_scales; /* [O] for E4M3, else NULL */
    float weight_norm;          /* largest Euclidean norm of a row of the weight */
    int64_t n_out, n_in;
    const float *bias, *gate; /* [O] or NULL */
    LfActivation activation;
    bool residual;
} LfCudaProduct;

/* linear_sm90.cu, a version as in versions.h: one kernel on Hopper's tensor cores. */
const char *lf_cuda_product_sm90_refuses(const LfCuda *cuda, const LfCudaProduct *p);
const char *lf_cuda_product_sm90(LfCuda *cuda, const LfCudaProduct *p);

#endif
