/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Versions of an operation. Each operation has a list, fastest first; a call goes to the first
 * version whose features the chip has and that serves it. The last version needs nothing and serves
 * every call that the operation's contract allows. A new card is a row of features in machine.cu,
 * and rows here where it can do better.
 */
#ifndef LF_KERNELS_CUDA_VERSIONS_H
#define LF_KERNELS_CUDA_VERSIONS_H

#include "machine.h"

/* Call: what one call of the operation is. Reasons are string literals, parts of a sentence: "key
 * blocks are not of 64 keys". */
template <typename Call> struct LfCudaVersion {
    const char *name;
    unsigned needs; /* LF_CUDA_… */
    /* NULL when the version serves the call, else why not; NULL: it serves every call. */
    const char *(*refuses)(const LfCuda *cuda, const Call *call);
    /* Launches it, latching failures. NULL, or why the driver does not let it: the next version is
     * tried. */
    const char *(*run)(LfCuda *cuda, const Call *call);
};

/* The shape of a call, for the log. */
template <typename Call> using LfCudaDescribe = void(char *text, size_t size, const Call *call);

/* The log: once for each operation and shape (debug), once for each reason (info). */
bool lf_cuda_logs_shapes(const LfCuda *cuda);
void lf_cuda_log_version(LfCuda *cuda, const char *operation, const char *version,
                         const char *shape);
void lf_cuda_log_refusal(LfCuda *cuda, const char *operation, const char *version,
                         const char *reason);

template <typename Call, size_t N>
static void lf_cuda_run(LfCuda *cuda, const char *operation,
                        const LfCudaVersion<Call> (&versions)[N], LfCudaDescribe<Call> *describe,
                        const Call *call)
{
    for (const LfCudaVersion<Call> &v : versions) {
        if ((cuda->features & v.needs) != v.needs)
            continue;
        const char *reason = v.refuses ? v.refuses(cuda, call) : NULL;
        if (!reason)
            reason = v.run(cuda, call);
        if (reason) {
            lf_cuda_log_refusal(cuda, operation, v.name, reason);
            continue;
        }
        if (lf_cuda_logs_shapes(cuda)) {
            char shape[128];
            describe(shape, sizeof shape, call);
            lf_cuda_log_version(cuda, operation, v.name, shape);
        }
        return;
    }
}

#endif
