/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What torch.save writes, whatever contains it: a pickle of nested dictionaries, whose tensors are
 * views (offset, shape, strides) of storages. Names of nested dictionaries are joined with '.'. Values
 * that are not tensors are left out; a tensor that cannot be read is left out of what can be used,
 * but keeps its name (LfFileTensor's `unreadable`). For pytorch.c and torch_*.c only.
 */
#ifndef LF_FILES_TORCH_H
#define LF_FILES_TORCH_H

#include "pickle.h"
#include "tensor_list.h"

/* What a global, or the result of calling it, is used for. */
typedef enum {
    LF_TORCH_UNKNOWN, /* of which nothing is known, and what a call of such makes: never used */
    LF_TORCH_NOTHING, /* harmless and without use: torch.device */
    LF_TORCH_DICTIONARY,
    LF_TORCH_TYPE,
    LF_TORCH_STORAGE_TYPE,
    LF_TORCH_REBUILD, /* (storage, offset, shape, strides, …) */
    LF_TORCH_REBUILD_3, /* (storage of bytes, offset, shape, strides, requires_grad, hooks, type, …) */
    LF_TORCH_SUBCLASS,  /* (function, class, its arguments, …) */
    LF_TORCH_PARAMETER, /* (tensor, …) */
    LF_TORCH_MAKER,     /* makes tensors that cannot be read */
    LF_TORCH_STORAGE,
    LF_TORCH_TENSOR
} LfTorchRole;

/* The bytes of a storage; `data` is NULL until they are found. */
typedef struct {
    const uint8_t *data;
    size_t size;
} LfTorchBytes;

typedef struct {
    LfTorchRole role;
    LfType type;
    size_t element;            /* bytes of an element of a storage's type; 0: not known */
    const char *what;          /* UNKNOWN: its name. Otherwise why it cannot be read, or NULL */
    const LfTorchBytes *bytes; /* of a storage or tensor */
    size_t start, size;        /* of a storage, or a tensor's first element, within them */
    int n_dims;
    int64_t shape[LF_FILE_MAX_DIMS], stride[LF_FILE_MAX_DIMS]; /* of a tensor, in elements */
} LfTorchObject;

/* The object of a global, or NULL for one that is not known. */
const LfTorchObject *lf_torch_global(const char *module, const char *name);

/* What a class of this name makes cannot be read for the reason returned; NULL: not known. */
const char *lf_torch_problem_of_class(const char *name);

/* A file that is being read. */
typedef struct LfTorch LfTorch;
struct LfTorch {
    LfTensorFile *file;
    size_t copy_limit; /* bytes of tensors that may be made contiguous */

    /* Sets `bytes` and `start` of a storage, whose `size` and `element` are set. False after
     * lf_pickle_fail. */
    bool (*find)(LfTorch *torch, LfPickle *pickle, const char *key, const LfPickleValue *id,
                 LfTorchObject *storage);
    void *container; /* for `find` */

    LfPickleHooks hooks;
    GPtrArray *objects; /* what they made, to be freed */
    size_t copied;
    guint visits;
    char *left_out; /* the first value that is of an unknown class, for a message; or NULL */
};

void lf_torch_init(LfTorch *torch, LfTensorFile *file, size_t size);
void lf_torch_clear(LfTorch *torch);

/* Memory that lives as long as `torch`. */
LfTorchBytes *lf_torch_bytes_new(LfTorch *torch);

/* Reads the pickle of the object. Both arguments outlive the result. */
LfPickle *lf_torch_unpickle(LfTorch *torch, const void *bytes, size_t size, GError **error);

/* Adds its tensors to the file; the bytes of storages are found by now. */
bool lf_torch_add_tensors(LfTorch *torch, const LfPickle *pickle, GError **error);

#endif
