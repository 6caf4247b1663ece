/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Makes GGUF files. Nothing is checked, so that wrong ones can be made, too.
 */
#ifndef LF_TESTS_GGUF_FILE_H
#define LF_TESTS_GGUF_FILE_H

#include "engine/files/gguf_blocks.h"

#include <glib.h>
#include <stdint.h>

/* Numbers of value types in metadata, and of tensors' types. */
enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_TEXT,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

typedef struct {
    uint32_t version; /* 3 */
    gsize alignment;  /* 32; gguf_file_u32 "general.alignment" tells another one to readers */
    uint64_t n_values, n_tensors;
    GByteArray *values, *tensors, *data;
} GgufFile;

GgufFile *gguf_file_new(void);

/* Append to any part. */
void gguf_put_u32(GByteArray *bytes, uint32_t value);
void gguf_put_u64(GByteArray *bytes, uint64_t value);
void gguf_put_text(GByteArray *bytes, const void *text, gsize size);

/* A value of any type: what stands behind the type. */
void gguf_file_value(GgufFile *file, const char *key, uint32_t type, const void *bytes, gsize size);
void gguf_file_u32(GgufFile *file, const char *key, uint32_t value);
void gguf_file_text(GgufFile *file, const char *key, const char *text);

/* An array of `count` elements of a type. */
void gguf_file_array(GgufFile *file, const char *key, uint32_t type, uint64_t count,
                     const void *bytes, gsize size);

/* A tensor: `shape` with the slowest dimension first. Its data begin at the next multiple of the
 * alignment. */
void gguf_file_tensor(GgufFile *file, const char *name, uint32_t type, int n_dims,
                      const int64_t *shape, const void *data, gsize size);

/* Random blocks of a quantised type, whose scales have the size of those of weights. Transfer full. */
guint8 *gguf_random_blocks(const LfCoding *coding, gsize n_blocks);

/* The metadata that llama.cpp's tools make of a serialised SentencePiece model. */
void gguf_file_tokenizer(GgufFile *file, const void *model, gsize size);

/* The whole file, which ends with the last tensor's data. Transfer full. */
GByteArray *gguf_file_bytes(const GgufFile *file);
void gguf_file_save(const GgufFile *file, const char *path);
void gguf_file_free(GgufFile *file);

#endif
