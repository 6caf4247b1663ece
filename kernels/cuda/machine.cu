/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A CUDA device as a backend: its memory, stream, events, graphs and features. Only this file deals
 * with contexts. Work runs in the device's primary context, which the whole process shares.
 */
#include "versions.h"

extern "C" {
#include "module.h"
}

#include <string.h>

/* ---- failures -------------------------------------------------------------------------------- */

/* Whether another thread's call has invalidated the capture under way. Every call fails then, and
 * the caller runs the work without a graph. */
static bool is_invalidated(LfCuda *cuda)
{
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cuda->capturing && cudaStreamIsCapturing(cuda->stream, &status) == cudaSuccess &&
           status == cudaStreamCaptureStatusInvalidated;
}

static void latch(LfCuda *cuda, LfError kind, const char *operation, const char *reason)
{
    if (is_invalidated(cuda))
        return;
    g_mutex_lock(&cuda->lock);
    if (!cuda->failure[0]) {
        cuda->kind = kind;
        g_snprintf(cuda->failure, sizeof cuda->failure, "%s: %s", operation, reason);
    }
    g_mutex_unlock(&cuda->lock);
}

void lf_cuda_fail(LfCuda *cuda, const char *operation, const char *reason)
{
    latch(cuda, LF_ERROR_DEVICE, operation, reason);
}

static LfError kind_of(cudaError_t status)
{
    return status == cudaErrorMemoryAllocation ? LF_ERROR_MEMORY : LF_ERROR_DEVICE;
}

bool lf_cuda_check(LfCuda *cuda, cudaError_t status, const char *operation)
{
    if (status == cudaSuccess)
        return true;
    cudaGetLastError(); /* or the next call would be blamed for it */
    latch(cuda, kind_of(status), operation, cudaGetErrorString(status));
    return false;
}

/* A failure as an error that names the cure. */
static void set_failure(const LfCuda *cuda, LfError kind, const char *failure, GError **error)
{
    if (kind == LF_ERROR_MEMORY)
        g_set_error(error, LF_ERROR, kind,
                    "%s on %s: close other programs on it, or choose a smaller size, window or "
                    "model",
                    failure, cuda->base.description);
    else
        g_set_error(error, LF_ERROR, kind,
                    "%s on %s: try again; if it fails again, restart the program, or use the "
                    "backend \"cpu\"",
                    failure, cuda->base.description);
}

bool lf_cuda_try(LfCuda *cuda, cudaError_t status, const char *operation, GError **error)
{
    if (status == cudaSuccess)
        return true;
    cudaGetLastError(); /* or the next call would be blamed for it */
    g_autofree char *failure = g_strdup_printf("%s: %s", operation, cudaGetErrorString(status));
    set_failure(cuda, kind_of(status), failure, error);
    return false;
}

/* ---- the current device ---------------------------------------------------------------------- */

/* The application may have made another device or context current on this thread. */
LfCuda *lf_cuda(LfBackend *be)
{
    LfCuda *cuda = (LfCuda *) be;
    cudaSetDevice(cuda->device);
    return cuda;
}

/* Looks up a function of the driver, which this module does not link to; NULL when there is
 * none. */
static void *driver_function(const char *name)
{
    void *function = NULL;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &found) !=
            cudaSuccess ||
        found != cudaDriverEntryPointSuccess)
        return NULL;
    return function;
}

typedef CUresult (*GetContext)(CUcontext *);
typedef CUresult (*SetContext)(CUcontext);

LfCudaScope::LfCudaScope(int device)
{
    static const GetContext get = (GetContext) driver_function("cuCtxGetCurrent");
    known = get && get(&before) == CUDA_SUCCESS;
    cudaSetDevice(device);
}

LfCudaScope::~LfCudaScope()
{
    static const SetContext set = (SetContext) driver_function("cuCtxSetCurrent");
    if (known && set)
        set(before);
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *lf_cuda_alloc(LfCuda *cuda, size_t size)
{
    void *memory = NULL;
    if (cudaMalloc(&memory, MAX(size, 1)) == cudaSuccess)
        return memory;
    cudaGetLastError();
    return NULL;
}

void lf_cuda_free(LfCuda *cuda, void *memory)
{
    cudaFree(memory);
}

static void *machine_alloc(LfBackend *be, size_t size)
{
    return lf_cuda_alloc(lf_cuda(be), size);
}

static void machine_free(LfBackend *be, void *memory)
{
    LfCuda *cuda = (LfCuda *) be;
    LfCudaScope scope(cuda->device);
    lf_cuda_free(cuda, memory);
}

static bool device_memory(LfBackend *be, size_t *unused, size_t *total)
{
    LfCuda *cuda = (LfCuda *) be;
    LfCudaScope scope(cuda->device);
    bool told = cudaMemGetInfo(unused, total) == cudaSuccess;
    if (!told)
        cudaGetLastError(); /* or the next call would be blamed for it */
    return told;
}

static void move(LfBackend *be, void *dst, const void *src, size_t size, cudaMemcpyKind kind,
                 const char *what)
{
    LfCuda *cuda = lf_cuda(be);
    lf_cuda_check(cuda, cudaMemcpyAsync(dst, src, size, kind, cuda->stream), what);
}

/* From pageable memory: the call returns when the numbers are in the driver's own buffers. */
static void upload(LfBackend *be, void *dst, const void *src, size_t size)
{
    move(be, dst, src, size, cudaMemcpyHostToDevice, "upload");
}

static void download(LfBackend *be, void *dst, const void *src, size_t size)
{
    move(be, dst, src, size, cudaMemcpyDeviceToHost, "download");
    lf_cuda_check((LfCuda *) be, cudaStreamSynchronize(((LfCuda *) be)->stream), "download");
}

static void copy(LfBackend *be, void *dst, const void *src, size_t size)
{
    move(be, dst, src, size, cudaMemcpyDeviceToDevice, "copy");
}

static void clear(LfBackend *be, void *dst, size_t size)
{
    LfCuda *cuda = lf_cuda(be);
    lf_cuda_check(cuda, cudaMemsetAsync(dst, 0, size, cuda->stream), "clear");
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* False and an error when a failure is latched. */
static bool report_latched(LfCuda *cuda, bool clear, GError **error)
{
    g_mutex_lock(&cuda->lock);
    bool well = !cuda->failure[0];
    if (!well)
        set_failure(cuda, cuda->kind, cuda->failure, error);
    if (clear)
        cuda->failure[0] = 0;
    g_mutex_unlock(&cuda->lock);
    return well;
}

static bool synchronise(LfBackend *be, GError **error)
{
    LfCuda *cuda = lf_cuda(be);
    if (lf_cuda_check(cuda, cudaEventRecord(cuda->idle, cuda->stream), "wait"))
        lf_cuda_check(cuda, cudaEventSynchronize(cuda->idle), "work");
    return report_latched(cuda, true, error);
}

struct LfEvent {
    cudaEvent_t event;
};

static LfEvent *event_new(LfBackend *be)
{
    lf_cuda(be);
    LfEvent *e = g_new0(LfEvent, 1);
    if (cudaEventCreateWithFlags(&e->event, cudaEventBlockingSync) == cudaSuccess)
        return e;
    cudaGetLastError();
    g_free(e);
    return NULL;
}

static void event_free(LfBackend *be, LfEvent *e)
{
    LfCudaScope scope(((LfCuda *) be)->device);
    if (e)
        cudaEventDestroy(e->event);
    g_free(e);
}

static void event_record(LfBackend *be, LfEvent *e)
{
    LfCuda *cuda = lf_cuda(be);
    lf_cuda_check(cuda, cudaEventRecord(e->event, cuda->stream), "event");
}

static bool event_sync(LfBackend *be, LfEvent *e, GError **error)
{
    LfCuda *cuda = (LfCuda *) be;
    LfCudaScope scope(cuda->device);
    lf_cuda_check(cuda, cudaEventSynchronize(e->event), "work");
    return report_latched(cuda, false, error);
}

static void wait_event(LfBackend *be, LfEvent *e)
{
    LfCuda *cuda = lf_cuda(be);
    lf_cuda_check(cuda, cudaStreamWaitEvent(cuda->stream, e->event, 0), "event");
}

static int64_t event_elapsed(LfBackend *be, LfEvent *from, LfEvent *to)
{
    float ms = 0;
    LfCuda *cuda = (LfCuda *) be;
    LfCudaScope scope(cuda->device);
    lf_cuda_check(cuda, cudaEventElapsedTime(&ms, from->event, to->event), "event");
    return (int64_t) (1e6 * (double) ms);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

struct LfGraph {
    cudaGraphExec_t exec;
};

/* Calls of other threads, a decoder's for example, do not touch the capture, except for a
 * synchronisation of the whole device, which invalidates it. */
static void capture_begin(LfBackend *be)
{
    LfCuda *cuda = lf_cuda(be);
    cuda->capturing = lf_cuda_check(
        cuda, cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal), "capture");
}

static LfGraph *capture_end(LfBackend *be)
{
    LfCuda *cuda = lf_cuda(be);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    bool lost = is_invalidated(cuda);
    cudaError_t ended = cudaStreamEndCapture(cuda->stream, &graph);
    cuda->capturing = false;
    cudaError_t status = lost ? cudaErrorStreamCaptureInvalidated : ended;
    if (status == cudaSuccess)
        status = cudaGraphInstantiate(&exec, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    if (status != cudaSuccess) {
        cudaGetLastError(); /* or the next call would be blamed for it */
        lf_log(&cuda->base.log, LF_LOG_INFO, "no graph of this work: %s",
               cudaGetErrorString(status));
        return NULL;
    }
    LfGraph *g = g_new(LfGraph, 1);
    g->exec = exec;
    return g;
}

static void graph_launch(LfBackend *be, LfGraph *graph)
{
    LfCuda *cuda = lf_cuda(be);
    lf_cuda_check(cuda, cudaGraphLaunch(graph->exec, cuda->stream), "replay");
}

static void graph_free(LfBackend *be, LfGraph *graph)
{
    lf_cuda(be);
    if (graph)
        cudaGraphExecDestroy(graph->exec);
    g_free(graph);
}

/* ---- tensor maps ----------------------------------------------------------------------------- */

typedef CUresult (*EncodeTensorMap)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                    const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                    const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                    CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

bool lf_cuda_tensor_map(LfCuda *cuda, CUtensorMap *map, CUtensorMapDataType type, void *data,
                        int rank, const uint64_t *shape, const uint64_t *strides,
                        const uint32_t *box)
{
    static const EncodeTensorMap encode =
        (EncodeTensorMap) driver_function("cuTensorMapEncodeTiled");
    static const cuuint32_t side_by_side[5] = {1, 1, 1, 1, 1};
    CUresult status =
        encode ? encode(map, type, (cuuint32_t) rank, data, (const cuuint64_t *) shape,
                        (const cuuint64_t *) strides, box, side_by_side,
                        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
               : CUDA_ERROR_NOT_FOUND;
    return status == CUDA_SUCCESS;
}

/* ---- cuBLASLt -------------------------------------------------------------------------------- */

/* One handle for each device, kept until the process ends: to destroy one waits for the whole
 * device, which would invalidate other threads' captures. Any number of threads may use it. */
static cublasStatus_t blas_of(int device, cublasLtHandle_t *handle)
{
    static GMutex lock;
    static GHashTable *handles;
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    g_mutex_lock(&lock);
    if (!handles)
        handles = g_hash_table_new(NULL, NULL);
    *handle = (cublasLtHandle_t) g_hash_table_lookup(handles, GINT_TO_POINTER(device));
    if (!*handle) {
        status = cublasLtCreate(handle);
        if (status == CUBLAS_STATUS_SUCCESS)
            g_hash_table_insert(handles, GINT_TO_POINTER(device), *handle);
    }
    g_mutex_unlock(&lock);
    return status;
}

/* ---- the log of versions --------------------------------------------------------------------- */

bool lf_cuda_logs_shapes(const LfCuda *cuda)
{
    return cuda->base.log.write && cuda->base.log.level >= LF_LOG_DEBUG;
}

/* Logs `line` unless it was logged before. Transfer full. */
static void log_once(LfCuda *cuda, LfLogLevel level, char *line)
{
    if (!cuda->logged)
        cuda->logged = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (g_hash_table_contains(cuda->logged, line)) {
        g_free(line);
        return;
    }
    g_hash_table_add(cuda->logged, line);
    lf_log(&cuda->base.log, level, "%s", line);
}

void lf_cuda_log_version(LfCuda *cuda, const char *operation, const char *version,
                         const char *shape)
{
    log_once(cuda, LF_LOG_DEBUG, g_strdup_printf("%s: %s by %s", operation, shape, version));
}

void lf_cuda_log_refusal(LfCuda *cuda, const char *operation, const char *version,
                         const char *reason)
{
    if (cuda->base.log.write && cuda->base.log.level >= LF_LOG_INFO)
        log_once(cuda, LF_LOG_INFO,
                 g_strdup_printf("%s: not by %s: %s", operation, version, reason));
}

/* ---- open and close -------------------------------------------------------------------------- */

enum {
    EVERY_CHIP = LF_CUDA_WIDE | LF_CUDA_BLAS | LF_CUDA_ASYNC_COPY | LF_CUDA_MMA,
    HOPPER = EVERY_CHIP | LF_CUDA_BULK_COPY | LF_CUDA_WGMMA | LF_CUDA_FP8_MMA | LF_CUDA_EARLY_LAUNCH
};

/* Chips with more features than every chip from compute capability 8.0 on has. */
static const struct {
    int major, minor;
    unsigned features;
} chips[] = {{9, 0, HOPPER}};

static unsigned features_of(const cudaDeviceProp *properties)
{
    for (size_t i = 0; i < G_N_ELEMENTS(chips); i++)
        if (properties->major == chips[i].major && properties->minor == chips[i].minor)
            return chips[i].features;
    return EVERY_CHIP;
}

/* Removes the features that LIGHTFORCING_CUDA leaves out. False and an error for an unknown
 * word. */
static bool limit_features(unsigned *features, GError **error)
{
    static const struct {
        const char *word;
        unsigned features;
    } limits[] = {{"plain", 0}, {"sm80", EVERY_CHIP}, {"sm90", HOPPER}};
    const char *word = g_getenv("LIGHTFORCING_CUDA");
    if (!word || !*word)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++)
        if (g_str_equal(word, limits[i].word)) {
            *features &= limits[i].features;
            return true;
        }
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "LIGHTFORCING_CUDA=%s in the environment: use plain, sm80 or sm90", word);
    return false;
}

static bool failed_to_open(cudaError_t status, int device, GError **error)
{
    cudaGetLastError();
    g_set_error(
        error, LF_ERROR, LF_ERROR_DEVICE, "CUDA device %d cannot be used: %s%s", device,
        cudaGetErrorString(status),
        status == cudaErrorInsufficientDriver
            ? ": this build needs driver 580 or newer; update it, or use the backend \"cpu\""
            : ": see nvidia-smi, or use the backend \"cpu\"");
    return false;
}

/* An example of the kernels that are built for every compute capability. */
static __global__ void probe(void)
{
}

/* Whether the driver can run this build's kernels on the current device. Those that it compiles
 * from PTX for compute_80 cannot be launched early: they do not wait for the kernel before them. */
static bool has_kernels(unsigned *features, const cudaDeviceProp *properties, GError **error)
{
    cudaFuncAttributes image;
    cudaError_t status = cudaFuncGetAttributes(&image, probe);
    if (status == cudaSuccess && image.ptxVersion == 80)
        *features &= ~(unsigned) LF_CUDA_EARLY_LAUNCH;
    if (status == cudaSuccess)
        return true;
    cudaGetLastError();
    g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                "%s has compute capability %d.%d, for which this build has no kernels (%s): build "
                "with -Dcuda-archs=%d%d, or use the backend \"cpu\"",
                properties->name, properties->major, properties->minor, cudaGetErrorString(status),
                properties->major, properties->minor);
    return false;
}

/* Checks that the device exists and is new enough. */
static bool look_at(int device, cudaDeviceProp *properties, GError **error)
{
    int count = 0;
    cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess)
        return failed_to_open(status, device, error);
    if (device >= count) {
        g_set_error(error, LF_ERROR, LF_ERROR_DEVICE,
                    "no CUDA device %d: there %s %d, numbered from 0", device,
                    count == 1 ? "is" : "are", count);
        return false;
    }
    status = cudaGetDeviceProperties(properties, device);
    if (status != cudaSuccess)
        return failed_to_open(status, device, error);
    if (properties->major < 8) {
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "%s has compute capability %d.%d, 8.0 or newer is needed: use the backend "
                    "\"cpu\"",
                    properties->name, properties->major, properties->minor);
        return false;
    }
    return true;
}

static bool choose_precision(LfPrecision *precision, const cudaDeviceProp *properties,
                             GError **error)
{
    bool fp8 = features_of(properties) & LF_CUDA_FP8_MMA;
    if (*precision == LF_PRECISION_AUTO)
        *precision = LF_PRECISION_BF16;
    if (*precision == LF_PRECISION_BF16 || (*precision == LF_PRECISION_FP8 && fp8))
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED, "%s does not support precision %s: use bf16",
                properties->name, *precision == LF_PRECISION_FP8 ? "fp8" : "fp32");
    return false;
}

static void fill_table(LfCuda *cuda)
{
    lf_cuda_linear_init(cuda);
    lf_cuda_norm_init(cuda);
    lf_cuda_rope_init(cuda);
    lf_cuda_select_init(cuda);
    lf_cuda_attention_init(cuda);
    lf_cuda_text_init(cuda);
    lf_cuda_frame_attention_init(cuda);
    lf_cuda_conv_init(cuda);
    lf_cuda_pointwise_init(cuda);
    lf_cuda_noise_init(cuda);
    lf_cuda_pixels_init(cuda);
}

static void close(LfBackend *be)
{
    LfCuda *cuda = (LfCuda *) be;
    LfCudaScope scope(cuda->device);
    if (cuda->stream)
        cudaStreamSynchronize(cuda->stream);
    lf_cuda_linear_close(cuda);
    lf_cuda_pixels_close(cuda);
    lf_cuda_free(cuda, cuda->workspace);
    if (cuda->logged)
        g_hash_table_unref(cuda->logged);
    if (cuda->idle)
        cudaEventDestroy(cuda->idle);
    if (cuda->stream)
        cudaStreamDestroy(cuda->stream);
    g_mutex_clear(&cuda->lock);
    g_free(cuda);
}

static bool acquire(LfCuda *cuda, GError **error)
{
    cudaError_t status = cudaSetDevice(cuda->device); /* is current; says what is wrong with it */
    if (status == cudaSuccess)
        status = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
    if (status == cudaSuccess)
        status =
            cudaEventCreateWithFlags(&cuda->idle, cudaEventBlockingSync | cudaEventDisableTiming);
    if (status == cudaSuccess)
        status = cudaMalloc(&cuda->workspace, LF_CUDA_WORKSPACE);
    if (status != cudaSuccess)
        return failed_to_open(status, cuda->device, error);
    cublasStatus_t refused = blas_of(cuda->device, &cuda->blas);
    if (refused == CUBLAS_STATUS_SUCCESS)
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_DEVICE, "cublasLtCreate failed on %s: %s; see nvidia-smi",
                cuda->base.description, cublasLtGetStatusString(refused));
    return false;
}

static LfCuda *new_backend(int device, LfPrecision precision, const cudaDeviceProp *properties)
{
    LfCuda *cuda = g_new0(LfCuda, 1);
    LfBackend *be = &cuda->base;
    g_mutex_init(&cuda->lock);
    cuda->device = device;
    cuda->features = features_of(properties);
    cuda->n_multiprocessors = properties->multiProcessorCount;
    be->ops = &cuda->ops;
    be->name = "cuda";
    be->n_threads = 1;
    be->precision = precision;
    be->activation_type = LF_BF16;
    be->decoder_type = LF_F16;
    be->asynchronous = true;
    be->alloc = machine_alloc;
    be->free = machine_free;
    be->memory = device_memory;
    be->upload = upload;
    be->download = download;
    be->copy = copy;
    be->clear = clear;
    be->sync = synchronise;
    be->event_new = event_new;
    be->event_free = event_free;
    be->event_record = event_record;
    be->event_sync = event_sync;
    be->wait_event = wait_event;
    be->event_elapsed = event_elapsed;
    be->capture_begin = capture_begin;
    be->capture_end = capture_end;
    be->graph_launch = graph_launch;
    be->graph_free = graph_free;
    be->close = close;
    g_snprintf(be->description, sizeof be->description, "%s, %s", properties->name,
               precision == LF_PRECISION_FP8 ? "fp8" : "bf16");
    return cuda;
}

static LfBackend *open_device(int device, LfPrecision precision, GError **error)
{
    cudaDeviceProp properties;
    if (!look_at(device, &properties, error) || !choose_precision(&precision, &properties, error))
        return NULL;
    LfCudaScope scope(device);
    LfCuda *cuda = new_backend(device, precision, &properties);
    if (!limit_features(&cuda->features, error) || !acquire(cuda, error) ||
        !has_kernels(&cuda->features, &properties, error)) {
        close(&cuda->base);
        return NULL;
    }
    fill_table(cuda);
    return &cuda->base;
}

extern "C" {
extern const LfCudaModule lf_cuda_module;
__attribute__((visibility("default")))
const LfCudaModule lf_cuda_module = {LF_MODULE_STAMP, open_device};
}
