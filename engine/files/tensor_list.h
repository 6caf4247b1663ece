/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of an LfTensorFile, which the readers of the formats fill: for the
 * readers and tensor_file.c only.
 */
#ifndef LF_FILES_TENSOR_LIST_H
#define LF_FILES_TENSOR_LIST_H

#include "tensor_file.h"

struct LfTensorFile {
    gatomicrefcount refs;
    char *path;
    const char *format;
    GPtrArray *maps;     /* GMappedFile * */
    GPtrArray *shards;   /* LfTensorFile *, whose data `tensors` have */
    GPtrArray *copies;   /* memory of tensors that were made contiguous */
    GStringChunk *names; /* of `tensors` */
    GArray *tensors;     /* LfFileTensor; sorted by name once the reader is done */
    gsize head_size;     /* bytes that were read to know the tensors */
    GTree *unreadable;   /* name → what it is, both in `names` */
    GTree *metadata; /* name → text; a tree, because names that a file chooses could make a hash
                            table slow */
};

/* Maps `path` and keeps the map while the file lives. */
GMappedFile *lf_tensor_file_map(LfTensorFile *file, const char *path, GError **error);

/* Appends `tensor`; its name is copied, its data stays where it is. */
void lf_tensor_file_add(LfTensorFile *file, const LfFileTensor *tensor);

/* Appends a tensor that cannot be read, under its name; both are copied. See
 * lf_tensor_file_unreadable. */
void lf_tensor_file_add_unreadable(LfTensorFile *file, const char *name, const char *what);

/* Adds a text about the file, unless there is one of this name; both are copied. */
void lf_tensor_file_add_metadata(LfTensorFile *file, const char *key, const char *text);

/* Bytes of a shape in `type`. False when a dimension is negative or the
 * numbers do not fit. */
bool lf_shape_size(LfType type, int n_dims, const int64_t *shape, size_t *size);

/* Sorts LfFileTensors by where their data are. False when those of two are at the same bytes. */
bool lf_tensors_check_overlap(const char *path, GArray *tensors, GError **error);

/* As lf_tensor_file_open, but for an index. */
LfTensorFile *lf_tensor_file_open_shard(const char *path, GError **error);

/* Readers: fill `file`, whose path is set, from `map`. */
bool lf_safetensors_read(LfTensorFile *file, GMappedFile *map, GError **error);
bool lf_sharded_read(LfTensorFile *file, GMappedFile *map, GError **error);
bool lf_gguf_read(LfTensorFile *file, GMappedFile *map, GError **error);
bool lf_pytorch_read(LfTensorFile *file, GMappedFile *map, GError **error);
bool lf_torch_stream_read(LfTensorFile *file, GMappedFile *map, GError **error);

/* Whether a file is what lf_torch_stream_read reads. */
bool lf_torch_stream_begins(const char *bytes, gsize size);

#endif
