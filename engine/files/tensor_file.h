/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file of named tensors, mapped into memory: safetensors (one file, or the index of a sharded
 * set), PyTorch's formats (.pt, .pth, .bin) and GGUF. Files are not trusted: lengths, offsets,
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

#define LF_CODING_MAX_BLOCK 256

/* Numbers in blocks that are decoded together: `block` numbers are `size` bytes. A tensor
 * in a file is whole blocks. */
typedef struct {
    const char *name; /* "Q4_K" */
    int block;        /* at most LF_CODING_MAX_BLOCK */
    size_t size;
    void (*decode)(float *out, const void *in, size_t n_blocks); /* `in` at any alignment */
} LfCoding;

/* One tensor of a file. Contiguous. `data` points into the mapping, at any alignment. */
typedef struct {
    const char *name; /* in the file */
    LfType type;      /* LF_U8 with a coding, whose bytes are no numbers */
    int n_dims;
    int64_t shape[LF_FILE_MAX_DIMS]; /* in numbers */
    const void *data;
    size_t size;            /* bytes */
    const LfCoding *coding; /* NULL: plain numbers of `type` */
} LfFileTensor;

/* Opens `path`. The first bytes tell the format: safetensors, *.index.json of a sharded set (the
 * shards are in the same folder), GGUF, or what torch.save wrote. */
LfTensorFile *lf_tensor_file_open(const char *path, GError **error);
LfTensorFile *lf_tensor_file_ref(LfTensorFile *file);
void lf_tensor_file_unref(LfTensorFile *file);

const char *lf_tensor_file_path(const LfTensorFile *file);
const char *lf_tensor_file_format(const LfTensorFile *file); /* "safetensors", "PyTorch" … */

/* Tensors in the order of their names. */
size_t lf_tensor_file_count(const LfTensorFile *file);
const LfFileTensor *lf_tensor_file_nth(const LfTensorFile *file, size_t index);
const LfFileTensor *lf_tensor_file_find(const LfTensorFile *file, const char *name); /* or NULL */

/* What the tensor of this name is when it cannot be read: "a sparse tensor: …", with the cure. It has
 * type U8, shape [0] and no bytes then; lf_recognise refuses files where a part needs it. NULL for
 * all others. */
const char *lf_tensor_file_unreadable(const LfTensorFile *file, const char *name);

/* A text that the file tells about itself: a member of safetensors' "__metadata__", or a text in
 * GGUF's metadata. NULL when it has none of this name. Of a sharded set, the first shard's that has one. */
const char *lf_tensor_file_metadata(const LfTensorFile *file, const char *key);

/* "BF16 151, F32 60": how many tensors there are of each type; "BF16" where all are of one. Transfer
 * full. */
char *lf_tensor_file_types(const LfTensorFile *file);

/* Numbers of a tensor, the product of its shape. */
int64_t lf_file_tensor_count(const LfFileTensor *tensor);

/* "BF16", "Q4_K". */
const char *lf_file_tensor_type_name(const LfFileTensor *tensor);

/* Whether its numbers are real ones, which lf_file_tensor_read reads. */
bool lf_file_tensor_is_real(const LfFileTensor *tensor);

/* Numbers [first, first + count) of a real tensor, in the order of the file; the range may begin
 * and end inside of blocks. */
void lf_file_tensor_read(const LfFileTensor *tensor, int64_t first, int64_t count, float *out);

/* Where the bytes of tensors come from while they are written. */
typedef struct {
    /* The bytes of tensor `index`, valid until the next call; NULL and an error stop the writing. */
    const void *(*bytes)(size_t index, gpointer data, GError **error);
    /* After every piece of some megabytes, with its size; or NULL. False and an error stop it. */
    bool (*written)(size_t size, gpointer data, GError **error);
    gpointer data;
} LfTensorWriter;

/* Writes tensors (without codings) as one safetensors file, through a temporary one that is renamed
 * at the end. Those of equal element sizes stand in the file in this order, side by side. */
bool lf_safetensors_write(const char *path, const LfFileTensor *tensors, size_t n_tensors,
                          GError **error);

/* The same with bytes that are made one tensor after the other, in the order of the file; the tensors'
 * `data` is not read. */
bool lf_safetensors_write_from(const char *path, const LfFileTensor *tensors, size_t n_tensors,
                               const LfTensorWriter *writer, GError **error);

/* "[1536, 8960]", for messages. Transfer full. */
char *lf_shape_text(int n_dims, const int64_t *shape);

#endif
