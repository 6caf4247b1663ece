/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A module like kernels/cuda's that opens nothing, with the stamp of this build or, where the
 * compiler is told which, one that differs in one member.
 */
#include "kernels/cuda/module.h"

#include <gmodule.h>

#ifndef MAGIC
#define MAGIC LF_MODULE_MAGIC
#endif
#ifndef BACKEND_SIZE
#define BACKEND_SIZE sizeof(LfBackend)
#endif
#ifndef OPS_SIZE
#define OPS_SIZE sizeof(LfOps)
#endif
#ifndef VERSION
#define VERSION LF_VERSION
#endif

static LfBackend *open_nothing(int device, LfPrecision precision, GError **error)
{
    g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED, "the test's module was asked for GPU %d",
                device);
    return NULL;
}

extern G_MODULE_EXPORT const LfCudaModule lf_cuda_module;
const LfCudaModule lf_cuda_module = {{MAGIC, BACKEND_SIZE, OPS_SIZE, VERSION}, open_nothing};
