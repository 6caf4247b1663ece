/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Versions of an operation. Each operation has a list, fastest first. A call goes to the first
 * version whose features the chip has and which does not refuse the call. The last version needs no
 * feature and refuses no call. A new card is a row of features in machine.cu, and rows in the lists
 * of the operations that it can run faster.
 */
#ifndef LF_KERNELS_CUDA_VERSIONS_H
#define LF_KERNELS_CUDA_VERSIONS_H

#include "machine.h"

/* Call: the arguments of one call. Reasons are string literals, parts of a sentence: "key blocks
 * are not of 64 keys". */
template <typename Call> struct LfCudaVersion {
    const char *name;
    unsigned needs; /* LF_CUDA_… */
    /* Returns NULL when the version serves the call, else the reason. A NULL function: every call
     * is served. */
    const char *(*refuses)(const LfCuda *cuda, const Call *call);
    /* Launches the kernels and latches failures. Returns NULL, or the reason when the driver
     * refuses something that the version needs; the next version is then tried. */
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
