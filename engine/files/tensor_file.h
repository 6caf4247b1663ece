/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file of named tensors, mapped into memory: safetensors (one file, or the index of a sharded
 * set) and PyTorch's zip format (.pt, .pth). Files are not trusted: lengths, offsets,
 * overlaps, counts and nesting are checked, and nothing in a pickle is ever executed. A mapped file
 * must not be truncated while it is open: replace it by renaming.
 *
 * Thread-safety: immutable after opening.
 */
#ifndef LF_FILES_TENSOR_FILE_H
#define LF_FILES_TENSOR_FILE_H

#include "kernels/error.h"
#include "kernels/tensor.h"

#include <glib.h>

typedef struct LfTensorFile LfTensorFile;

#define LF_FILE_MAX_DIMS 8

/* One tensor of a file. Contiguous. `data` points into the mapping, at any alignment. */
typedef struct {
    const char *name; /* in the file */
    LfType type;
    int n_dims;
    int64_t shape[LF_FILE_MAX_DIMS];
    const void *data;
    size_t size; /* bytes */
} LfFileTensor;

/* Opens `path`. The first bytes tell the format: safetensors, *.index.json of a sharded set (the
 * shards are in the same folder), or a PyTorch zip. */
LfTensorFile *lf_tensor_file_open(const char *path, GError **error);
LfTensorFile *lf_tensor_file_ref(LfTensorFile *file);
void lf_tensor_file_unref(LfTensorFile *file);

const char *lf_tensor_file_path(const LfTensorFile *file);
const char *lf_tensor_file_format(const LfTensorFile *file); /* "safetensors", "PyTorch" */

/* Tensors in the order of their names. */
size_t lf_tensor_file_count(const LfTensorFile *file);
const LfFileTensor *lf_tensor_file_nth(const LfTensorFile *file, size_t index);
const LfFileTensor *lf_tensor_file_find(const LfTensorFile *file, const char *name); /* or NULL */

/* A text that the file tells about itself: a member of safetensors' "__metadata__". NULL when it has
 * none of this name. Of a sharded set, the first shard's that has one. */
const char *lf_tensor_file_metadata(const LfTensorFile *file, const char *key);

/* Writes tensors as one safetensors file, through a temporary one that is renamed at the end. */
bool lf_safetensors_write(const char *path, const LfFileTensor *tensors, size_t n_tensors,
                          GError **error);

/* "[1536, 8960]", for messages. Transfer full. */
char *lf_shape_text(int n_dims, const int64_t *shape);

#endif
