/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "torch.h"

#include <string.h>

#define QUANTISED "a quantised tensor of PyTorch: call dequantize() on it and save it again"
#define SPARSE    "a sparse tensor: call to_dense() on it and save it again"
#define COMPLEX   "a tensor of complex numbers, which no weight is"
#define SHARDED                                                                                    \
    "one process's part of a sharded tensor (DTensor): gather the checkpoint (full_tensor()) and " \
    "save it again"
#define NO_DATA "a tensor that was saved without its data (device meta)"

#define STORAGE(name, type_)                                                                       \
    {                                                                                              \
        "torch", name "Storage",                                                                   \
        {                                                                                          \
            .role = LF_TORCH_STORAGE_TYPE, .type = type_                                           \
        }                                                                                          \
    }
#define OTHER_STORAGE(name, bytes, problem)                                                        \
    {                                                                                              \
        "torch", name "Storage",                                                                   \
        {                                                                                          \
            .role = LF_TORCH_STORAGE_TYPE, .type = LF_U8, .element = bytes, .what = problem        \
        }                                                                                          \
    }
#define TYPE(name, type_)                                                                          \
    {                                                                                              \
        "torch", name,                                                                             \
        {                                                                                          \
            .role = LF_TORCH_TYPE, .type = type_                                                   \
        }                                                                                          \
    }
#define FUNCTION(name, role_)                                                                      \
    {                                                                                              \
        "torch._utils", name,                                                                      \
        {                                                                                          \
            .role = role_                                                                          \
        }                                                                                          \
    }
#define MAKER(name, problem)                                                                       \
    {                                                                                              \
        "torch._utils", name,                                                                      \
        {                                                                                          \
            .role = LF_TORCH_MAKER, .what = problem                                                \
        }                                                                                          \
    }

static const struct {
    const char *module, *name;
    LfTorchObject object;
} globals[] = {
    {"collections", "OrderedDict", {.role = LF_TORCH_DICTIONARY}},
    {"torch", "Size", {.role = LF_TORCH_NOTHING}},
    {"torch", "device", {.role = LF_TORCH_NOTHING}},
    FUNCTION("_rebuild_tensor", LF_TORCH_REBUILD),
    FUNCTION("_rebuild_tensor_v2", LF_TORCH_REBUILD),
    FUNCTION("_rebuild_tensor_v3", LF_TORCH_REBUILD_3),
    FUNCTION("_rebuild_parameter", LF_TORCH_PARAMETER),
    FUNCTION("_rebuild_parameter_with_state", LF_TORCH_PARAMETER),
    FUNCTION("_rebuild_device_tensor_from_cpu_tensor", LF_TORCH_PARAMETER),
    {"torch._tensor", "_rebuild_from_type", {.role = LF_TORCH_SUBCLASS}},
    {"torch._tensor", "_rebuild_from_type_v2", {.role = LF_TORCH_SUBCLASS}},
    MAKER("_rebuild_qtensor", QUANTISED),
    MAKER("_rebuild_sparse_tensor", SPARSE),
    MAKER("_rebuild_sparse_csr_tensor", SPARSE),
    MAKER("_rebuild_nested_tensor", "a nested tensor: save its parts"),
    MAKER("_rebuild_meta_tensor_no_storage", NO_DATA),
    MAKER("_rebuild_wrapper_subclass", "a tensor of a class of its own: save plain tensors"),
    MAKER("_rebuild_device_tensor_from_numpy",
          "a tensor of another device: move it to the CPU and save it again"),
    STORAGE("Float", LF_F32),
    STORAGE("Half", LF_F16),
    STORAGE("BFloat16", LF_BF16),
    STORAGE("Double", LF_F64),
    STORAGE("Long", LF_I64),
    STORAGE("Int", LF_I32),
    STORAGE("Short", LF_I16),
    STORAGE("Char", LF_I8),
    STORAGE("Byte", LF_U8),
    STORAGE("Bool", LF_BOOL),
    OTHER_STORAGE("ComplexFloat", 8, COMPLEX),
    OTHER_STORAGE("ComplexDouble", 16, COMPLEX),
    OTHER_STORAGE("QInt8", 1, QUANTISED),
    OTHER_STORAGE("QUInt8", 1, QUANTISED),
    OTHER_STORAGE("QInt32", 4, QUANTISED),
    OTHER_STORAGE("QUInt4x2", 1, QUANTISED),
    OTHER_STORAGE("QUInt2x4", 1, QUANTISED),
    {"torch", "UntypedStorage", {.role = LF_TORCH_STORAGE_TYPE, .type = LF_U8}},
    {"torch.storage", "UntypedStorage", {.role = LF_TORCH_STORAGE_TYPE, .type = LF_U8}},
    TYPE("float32", LF_F32),
    TYPE("float16", LF_F16),
    TYPE("bfloat16", LF_BF16),
    TYPE("float64", LF_F64),
    TYPE("float8_e4m3fn", LF_F8_E4M3),
    TYPE("float8_e5m2", LF_F8_E5M2),
    TYPE("int64", LF_I64),
    TYPE("int32", LF_I32),
    TYPE("int16", LF_I16),
    TYPE("int8", LF_I8),
    TYPE("uint8", LF_U8),
    TYPE("bool", LF_BOOL),
};

const LfTorchObject *lf_torch_global(const char *module, const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(globals); i++)
        if (strcmp(globals[i].module, module) == 0 && strcmp(globals[i].name, name) == 0)
            return &globals[i].object;
    return NULL;
}

/* Classes have moved from module to module, so that their own names tell them. */
const char *lf_torch_problem_of_class(const char *name)
{
    static const char *const sharded[] = {"DTensor", "ShardedTensor"};
    const char *dot = strrchr(name, '.');
    for (gsize i = 0; i < G_N_ELEMENTS(sharded); i++)
        if (strcmp(dot ? dot + 1 : name, sharded[i]) == 0)
            return SHARDED;
    return NULL;
}
