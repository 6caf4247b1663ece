/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of an LfTensorFile, which the readers of the formats fill: for safetensors.c,
 * pytorch.c and tensor_file.c only.
 */
#ifndef LF_FILES_TENSOR_LIST_H
#define LF_FILES_TENSOR_LIST_H

#include "tensor_file.h"

struct LfTensorFile {
    gatomicrefcount refs;
    char *path;
    const char *format;
    GPtrArray *maps;     /* GMappedFile * */
    GPtrArray *copies;   /* memory of tensors that were made contiguous */
    GStringChunk *names; /* of `tensors` */
    GArray *tensors;     /* LfFileTensor; sorted by name once the reader is done */
};

/* Maps `path` and keeps the map while the file lives. */
GMappedFile *lf_tensor_file_map(LfTensorFile *file, const char *path, GError **error);

/* Appends `tensor`; its name is copied, its data stays where it is. */
void lf_tensor_file_add(LfTensorFile *file, const LfFileTensor *tensor);

/* Bytes of a shape in `type`. False when a dimension is negative or the
 * numbers do not fit. */
bool lf_shape_size(LfType type, int n_dims, const int64_t *shape, size_t *size);

/* Readers: fill `file`, whose path is set, from `map`. */
bool lf_safetensors_read(LfTensorFile *file, GMappedFile *map, GError **error);
bool lf_safetensors_read_index(LfTensorFile *file, GMappedFile *map, GError **error);
bool lf_pytorch_read(LfTensorFile *file, GMappedFile *map, GError **error);

#endif
