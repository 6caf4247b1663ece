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

/* The path of the module: in the build folder (`meson devenv`), else of the installation. */
static char *module_path(void)
{
    const char *directory = g_getenv("LIGHTFORCING_MODULE_PATH");
    return g_build_filename(directory && *directory ? directory : LF_MODULE_DIR, MODULE_NAME, NULL);
}

/* Whether there is a driver. Tried before the module, so that the error names the driver. */
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

static bool check_stamp(const LfModuleStamp *stamp, const char *path, GError **error)
{
    static const LfModuleStamp wanted = LF_MODULE_STAMP;
    bool known = stamp->magic == wanted.magic;
    if (known && stamp->backend_size == wanted.backend_size && stamp->ops_size == wanted.ops_size &&
        strncmp(stamp->version, wanted.version, sizeof wanted.version) == 0)
        return true;
    g_set_error(
        error, LF_ERROR, LF_ERROR_UNSUPPORTED,
        "%s is of another build of lightforcing (version %.*s, this is %s): install program "
        "and module from one build, or set LIGHTFORCING_MODULE_PATH to the folder of this "
        "build's module",
        path, (int) sizeof stamp->version, known ? stamp->version : "unknown", wanted.version);
    return false;
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
                    "cannot load the CUDA module: %s; if libcublasLt.so is missing, install the "
                    "libraries of CUDA 13; if the module is missing, build with nvcc 13; or use "
                    "the backend \"cpu\"",
                    g_module_error());
        return NULL;
    }
    if (!check_stamp(symbol, path, error)) {
        g_module_close(module);
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

/* The device number in a name such as `kind` or `kind`:1; −1 for another name. */
static int device_number(const char *name, const char *kind)
{
    char *end;
    size_t length = strlen(kind);
    if (strncmp(name, kind, length) != 0)
        return -1;
    if (!name[length])
        return 0;
    if (name[length] != ':' || !g_ascii_isdigit(name[length + 1]))
        return -1;
    long device = strtol(name + length + 1, &end, 10);
    return *end || device > 1024 ? -1 : (int) device;
}

static LfBackend *open_cpu(int n_threads, LfPrecision precision, GError **error)
{
    if (precision == LF_PRECISION_AUTO || precision == LF_PRECISION_FP32)
        return lf_backend_open_cpu(n_threads, error);
    g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                "this precision is not available on the CPU: use auto or fp32, or a GPU");
    return NULL;
}

/* Opens the GPU, or else the CPU with the reason in `fallback`. */
static LfBackend *open_best(int device, int n_threads, LfPrecision precision, const LfLog *log,
                            GError **error)
{
    g_autoptr(GError) why_not = NULL;
    LfBackend *be =
        precision == LF_PRECISION_FP32 ? NULL : lf_backend_open_cuda(device, precision, &why_not);
    if (be)
        return be;
    if (precision > LF_PRECISION_FP32) { /* the CPU's own message would hide the reason */
        g_propagate_error(error, g_steal_pointer(&why_not));
        return NULL;
    }
    be = lf_backend_open_cpu(n_threads, error);
    if (be) {
        g_strlcpy(be->fallback,
                  why_not ? why_not->message : "precision fp32 is available on the CPU only",
                  sizeof be->fallback);
        lf_log(log, why_not ? LF_LOG_WARNING : LF_LOG_INFO, "running on the CPU: %s", be->fallback);
    }
    return be;
}

LfBackend *lf_backend_open(const char *name, int n_threads, LfPrecision precision, const LfLog *log,
                           GError **error)
{
    LfBackend *be = NULL;
    int gpu = device_number(name, "cuda"), preferred = device_number(name, "auto");
    if (gpu >= 0)
        be = lf_backend_open_cuda(gpu, precision, error);
    else if (preferred >= 0)
        be = open_best(preferred, n_threads, precision, log, error);
    else if (g_str_equal(name, "cpu"))
        be = open_cpu(n_threads, precision, error);
    else
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "no backend \"%s\": use \"auto\", \"auto:1\", \"cpu\", \"cuda\" or "
                    "\"cuda:1\"",
                    name);
    if (be && log)
        be->log = *log;
    return be;
}
