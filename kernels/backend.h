/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backend: a CPU or a GPU that runs the operations of ops.h, and its memory.
 *
 * One backend is one queue of work, as a CUDA stream is. A model opens a backend to prepare its
 * weights. Every session opens its own, which may read the model's weights: weights are immutable.
 *
 * Thread-safety: one thread at a time for each backend, except for lf_pixels, free, event_free,
 * event_sync, event_elapsed and close, which chunks call on any thread.
 */
#ifndef LF_KERNELS_BACKEND_H
#define LF_KERNELS_BACKEND_H

#include "error.h"
#include "log.h"
#include "precision.h"
#include "tensor.h"

typedef struct LfBackend LfBackend;
typedef struct LfOps LfOps;
typedef struct LfGraph LfGraph; /* captured operations, see capture_begin */
typedef struct LfEvent LfEvent;
typedef struct LfArena LfArena; /* see arena.h */

struct LfBackend {
    const LfOps *ops;       /* see ops.h */
    const char *name;       /* "cpu", "cuda", "plan" */
    char description[128];  /* for people: "AMD EPYC, 2 threads, AVX-512" */
    char fallback[256];     /* why "auto" has opened the CPU; "" where it was asked for */
    int n_threads;          /* threads that one operation may use; 1 for a device */
    LfPrecision precision;  /* never AUTO */
    LfType activation_type; /* of the transformers' activations, keys and values: F32, BF16 */
    LfType decoder_type;    /* of the decoder's activations: F32, F16 */
    bool asynchronous;      /* operations may return before they have ended */
    LfLog log;              /* of whoever opened it; set before the first operation */
    /* Where linear weights get their memory while it is set, on a device; NULL: each its own. They give
     * none back when they are freed: the owner of the arena does. The CPU ignores it. */
    LfArena *place;

    /* Memory for the operations, aligned to 256 bytes. NULL when there is not enough. */
    void *(*alloc)(LfBackend *be, size_t size);
    void (*free)(LfBackend *be, void *memory);
    /* Bytes of the device's memory that no program uses, and of all of it. False when the device
     * does not tell. NULL on the CPU. */
    bool (*memory)(LfBackend *be, size_t *free, size_t *total);
    /* Copies from host to backend, from backend to host, and within the backend, in order with the
     * operations. `src` of an upload may be changed when upload returns; `dst` of a download is
     * complete when download returns. Whole tensors: lf_upload and the others below. */
    void (*upload)(LfBackend *be, void *dst, const void *src, size_t size);
    void (*download)(LfBackend *be, void *dst, const void *src, size_t size);
    void (*copy)(LfBackend *be, void *dst, const void *src, size_t size);
    void (*clear)(LfBackend *be, void *dst, size_t size); /* zero bytes */
    /* Waits for everything that was queued. False and an error when any operation since the last
     * call failed. */
    bool (*sync)(LfBackend *be, GError **error);

    /* An event, as in CUDA: it completes when everything that was queued on a backend before
     * event_record has completed. Any backend of the same device may use it.
     *   event_new      NULL when there is no memory.
     *   event_sync     Blocks the caller until `event` has completed. False and an error when any
     *                  operation of `be` has failed since the last sync. The failure stays
     *                  latched for the next sync: it is not known which events' work has failed,
     *                  so event_sync fails for every event until then. Any thread.
     *   wait_event     Work queued on `be` afterwards waits for `event`; the caller does not.
     *   event_elapsed  Nanoseconds from one completed event to another. Any thread.
     * event_free may be called from any thread, too. */
    LfEvent *(*event_new)(LfBackend *be);
    void (*event_free)(LfBackend *be, LfEvent *event); /* NULL is fine */
    void (*event_record)(LfBackend *be, LfEvent *event);
    bool (*event_sync)(LfBackend *be, LfEvent *event, GError **error);
    void (*wait_event)(LfBackend *be, LfEvent *event);
    int64_t (*event_elapsed)(LfBackend *be, LfEvent *from, LfEvent *to);

    /* Between capture_begin and capture_end operations are captured into a graph instead of run.
     * graph_launch runs the graph at a fraction of the cost of the calls. Kernel arguments,
     * pointers and scalars, are frozen at capture. No upload, download, sync or event in between.
     * capture_end returns NULL, and latches no failure, when something else in the process has
     * invalidated the capture or there was no memory for the graph. The caller then calls the
     * operations without capture. All four are NULL on a backend without graphs. */
    void (*capture_begin)(LfBackend *be);
    LfGraph *(*capture_end)(LfBackend *be);
    void (*graph_launch)(LfBackend *be, LfGraph *graph);
    void (*graph_free)(LfBackend *be, LfGraph *graph); /* NULL is fine */

    void (*close)(LfBackend *be);
};

/* The CPU. n_threads 0: one for each core that this process may run on. Every operation has a
 * version in plain C; those that have faster ones use the best that the machine supports (AVX2,
 * AVX-512). `LIGHTFORCING_CPU=c|avx2|avx512` in the environment limits the choice, for tests and
 * bug reports; LF_ERROR_CONFIG for another word. */
LfBackend *lf_backend_open_cpu(int n_threads, GError **error);

/* CUDA device number `device`. The backend is a module of its own (kernels/cuda), which is loaded
 * at the first call. LF_ERROR_DEVICE when there is no driver, an old one, or no such device;
 * LF_ERROR_UNSUPPORTED without the module, with one of another build, for a device that no kernel
 * was built for, or for a precision that the device does not have. */
LfBackend *lf_backend_open_cuda(int device, LfPrecision precision, GError **error);

/* A backend without memory whose operations check their arguments and return: for checking shapes
 * and sizing arenas. Its types and precision are those of `like`, or F32 for NULL. Its weights tell
 * (lf_weight_memory) about as many bytes as they would have there. */
LfBackend *lf_backend_plan(const LfBackend *like);
bool lf_backend_is_plan(const LfBackend *be);

/* By name: "cpu", "cuda", "cuda:1" …, or "auto", "auto:1" …: that GPU if it can be used, else the
 * CPU, and the reason as a warning in `log`. LF_ERROR_UNSUPPORTED for any other name, and for a
 * precision that the backend does not have. `log` may be NULL; it is copied into the backend. */
LfBackend *lf_backend_open(const char *name, int n_threads, LfPrecision precision, const LfLog *log,
                           GError **error);

void lf_backend_close(LfBackend *be); /* NULL is fine */

/* The backend's copy, clear, upload and download for whole tensors (views from lf_tensor_slice
 * included). The tensors of a copy have one type and one shape. A tensor without memory, and rows
 * of F8_E4M3 with their scales, are refused by g_critical. `host` holds lf_tensor_size bytes. */
void lf_copy(LfBackend *be, LfTensor dst, LfTensor src);
void lf_clear(LfBackend *be, LfTensor t);
void lf_upload(LfBackend *be, LfTensor dst, const void *host);
void lf_download(LfBackend *be, void *host, LfTensor src);

/* As lf_upload and lf_download, for floats on the host and a tensor of F32, BF16 or F16. */
void lf_upload_floats(LfBackend *be, LfTensor dst, const float *values);
void lf_download_floats(LfBackend *be, float *values, LfTensor src);

#endif
