/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The one symbol that the module lightforcing-cuda exports.
 */
#ifndef LF_KERNELS_CUDA_MODULE_H
#define LF_KERNELS_CUDA_MODULE_H

#include "kernels/backend.h"
#include "kernels/ops.h"

#define LF_CUDA_MODULE_SYMBOL "lf_cuda_module"

/* Identifies the build of a module. Module and engine share structures whose layout may differ in
 * another build, so kernels/open.c compares the stamps before it uses anything else. `magic` comes
 * first and changes with the layout of the stamp itself. */
typedef struct {
    uint32_t magic;
    uint32_t backend_size, ops_size; /* of LfBackend, of LfOps */
    char version[32];                /* of the project */
} LfModuleStamp;

enum { LF_MODULE_MAGIC = 0x4c464d31 };

/* The stamp of the build that compiles this line. */
#define LF_MODULE_STAMP                                                                            \
    {                                                                                              \
        LF_MODULE_MAGIC, sizeof(LfBackend), sizeof(LfOps), LF_VERSION                              \
    }

typedef struct {
    LfModuleStamp stamp;
    /* As lf_backend_open_cuda. */
    LfBackend *(*open)(int device, LfPrecision precision, GError **error);
} LfCudaModule;

#endif
