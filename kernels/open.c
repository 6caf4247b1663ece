/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Opening a backend by name. CUDA is a module: neither the engine nor the plugin links to it, so
 * that both load, and run on the CPU, where there is no driver.
 */
#include "backend.h"
#include "cuda/module.h"

#include <gmodule.h>
#include <stdlib.h>
#include <string.h>

#define MODULE_NAME "lightforcing-cuda." G_MODULE_SUFFIX

/* ---- the module ------------------------------------------------------------------------------ */

/* Of the build folder (`meson devenv`), else of the installation. */
static char *module_path(void)
{
    const char *directory = g_getenv("LIGHTFORCING_MODULE_PATH");
    return g_build_filename(directory && *directory ? directory : LF_MODULE_DIR, MODULE_NAME, NULL);
}

/* Looked for first, for a message that says what is missing. */
static bool has_driver(GError **error)
{
    GModule *driver = g_module_open("libcuda.so.1", G_MODULE_BIND_LAZY);
    if (!driver)
        g_set_error(error, LF_ERROR, LF_ERROR_DEVICE,
                    "no NVIDIA driver (libcuda.so.1), which CUDA needs: install one, or use the "
                    "backend \"cpu\"");
    else
        g_module_close(driver);
    return driver != NULL;
}

/* Opened once and kept: the CUDA runtime inside does not survive being unloaded. */
static const LfCudaModule *cuda_module(GError **error)
{
    static const LfCudaModule *opened;
    static GMutex lock;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    if (opened || !has_driver(error))
        return opened;
    g_autofree char *path = module_path();
    GModule *module = g_module_open(path, G_MODULE_BIND_LOCAL);
    gpointer symbol = NULL;
    if (!module || !g_module_symbol(module, LF_CUDA_MODULE_SYMBOL, &symbol)) {
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "no CUDA backend: %s; build with nvcc, or use the backend \"cpu\"",
                    g_module_error());
        return NULL;
    }
    g_module_make_resident(module);
    return opened = symbol;
}

LfBackend *lf_backend_open_cuda(int device, LfPrecision precision, GError **error)
{
    const LfCudaModule *module = cuda_module(error);
    return module ? module->open(device, precision, error) : NULL;
}

/* ---- by name --------------------------------------------------------------------------------- */

/* The number in "cuda" or "cuda:1"; −1 when the name is neither. */
static int cuda_device(const char *name)
{
    char *end;
    if (!g_str_has_prefix(name, "cuda"))
        return -1;
    if (!name[4])
        return 0;
    if (name[4] != ':' || !g_ascii_isdigit(name[5]))
        return -1;
    long device = strtol(name + 5, &end, 10);
    return *end || device > 1024 ? -1 : (int) device;
}

static LfBackend *open_cpu(int n_threads, LfPrecision precision, GError **error)
{
    if (precision == LF_PRECISION_AUTO || precision == LF_PRECISION_FP32)
        return lf_backend_open_cpu(n_threads, error);
    g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                "the CPU computes in fp32 alone: leave precision at auto, or use a GPU");
    return NULL;
}

LfBackend *lf_backend_open(const char *name, int n_threads, LfPrecision precision, GError **error)
{
    int device = cuda_device(name);
    if (device >= 0)
        return lf_backend_open_cuda(device, precision, error);
    if (g_str_equal(name, "cpu"))
        return open_cpu(n_threads, precision, error);
    if (!g_str_equal(name, "auto")) {
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "no backend \"%s\": use \"auto\", \"cpu\", \"cuda\" or \"cuda:1\"", name);
        return NULL;
    }
    g_autoptr(GError) why_not = NULL;
    LfBackend *be =
        precision == LF_PRECISION_FP32 ? NULL : lf_backend_open_cuda(0, precision, &why_not);
    if (be)
        return be;
    if (precision > LF_PRECISION_FP32) { /* the CPU's own message would hide what is missing */
        g_propagate_error(error, g_steal_pointer(&why_not));
        return NULL;
    }
    be = lf_backend_open_cpu(n_threads, error);
    if (be)
        g_strlcpy(be->fallback,
                  why_not ? why_not->message : "precision fp32 is available on the CPU only",
                  sizeof be->fallback);
    return be;
}
