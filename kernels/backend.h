/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backend: a machine that runs the operations of ops.h, with memory of its own.
 *
 * One backend is one stream of work. A model opens one to prepare its weights; every session opens
 * its own and may read the weights of the model's (weights are immutable once prepared).
 *
 * Thread-safety: one thread at a time for each backend, lf_pixels() excepted.
 */
#ifndef LF_KERNELS_BACKEND_H
#define LF_KERNELS_BACKEND_H

#include "error.h"
#include "tensor.h"

typedef struct LfBackend LfBackend;
typedef struct LfOps LfOps;

struct LfBackend {
    const LfOps *ops;      /* every entry callable; see ops.h */
    const char *name;      /* "cpu", "plan" */
    char description[128]; /* for people: "AMD EPYC, 2 threads, AVX-512" */
    int n_threads;         /* threads that one operation may use; 1 for a device */

    /* Memory that the operations can reach, aligned to 256 bytes. NULL when there is not as much.
     */
    void *(*alloc)(LfBackend *be, size_t size);
    void (*free)(LfBackend *be, void *memory);
    /* Host to backend, backend to host, within the backend. In order with the operations;
     * download has finished when it returns. */
    void (*upload)(LfBackend *be, void *dst, const void *src, size_t size);
    void (*download)(LfBackend *be, void *dst, const void *src, size_t size);
    void (*copy)(LfBackend *be, void *dst, const void *src, size_t size);
    /* Waits for everything; false and an error when any operation since the last call failed. */
    bool (*sync)(LfBackend *be, GError **error);
    void (*close)(LfBackend *be);
};

/* The CPU. n_threads 0: one for each core that this process may run on. Plain C operations first,
 * then the fastest versions that this machine has (AVX2, AVX-512). `LF_CPU=c|avx2|avx512` in the
 * environment limits that, for tests and bug reports. */
LfBackend *lf_backend_open_cpu(int n_threads, GError **error);

/* A backend whose operations do nothing and whose memory is none: checks shapes, sizes arenas. */
LfBackend *lf_backend_plan(void);

/* By name: "auto" or "cpu". LF_ERROR_UNSUPPORTED for any other. */
LfBackend *lf_backend_open(const char *name, int n_threads, GError **error);

void lf_backend_close(LfBackend *be); /* NULL is fine */

#endif
