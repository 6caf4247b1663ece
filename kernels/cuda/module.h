/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the module lightforcing-cuda exports: one table, under one name.
 */
#ifndef LF_KERNELS_CUDA_MODULE_H
#define LF_KERNELS_CUDA_MODULE_H

#include "kernels/backend.h"

#define LF_CUDA_MODULE_SYMBOL "lf_cuda_module"

typedef struct {
    /* As lf_backend_open_cuda. */
    LfBackend *(*open)(int device, LfPrecision precision, GError **error);
} LfCudaModule;

#endif
