/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The header of a GGUF file, version 2 or 3 in little-endian order: what the file tells about itself
 * (metadata), and behind it the list of its tensors.
 */
#ifndef LF_FILES_GGUF_H
#define LF_FILES_GGUF_H

#include "kernels/error.h"
#include "protobuf.h"
#include "vocabulary.h"

/* The format's numbers. */
typedef enum {
    LF_GGUF_U8 = 0,
    LF_GGUF_I8 = 1,
    LF_GGUF_U16 = 2,
    LF_GGUF_I16 = 3,
    LF_GGUF_U32 = 4,
    LF_GGUF_I32 = 5,
    LF_GGUF_F32 = 6,
    LF_GGUF_BOOL = 7,
    LF_GGUF_TEXT = 8,
    LF_GGUF_ARRAY = 9,
    LF_GGUF_U64 = 10,
    LF_GGUF_I64 = 11,
    LF_GGUF_F64 = 12,
    LF_GGUF_N_TYPES
} LfGgufType;

typedef struct {
    LfGgufType type; /* of an array: that of its elements */
    bool is_array;
    uint64_t count; /* elements of an array; else 1 */
    LfSpan content; /* in the file, at any alignment; each text begins with its length (U64) */
} LfGgufValue;

typedef struct {
    const char *path;
    LfSpan file;
    size_t position; /* where lf_gguf_take goes on */
    GTree *values;   /* key → LfGgufValue *, which it owns */
    uint64_t n_tensors;
} LfGguf;

/* Reads the header of `file`, the contents of `path`, up to the list of tensors. Both outlive `gguf`.
 * The contents of all values are within the file; keys are printable texts, none is there twice. At
 * most 64 MiB are read. LF_ERROR_FORMAT for a file that is cut off or damaged, LF_ERROR_UNSUPPORTED
 * for another version or byte order and for a part of a file that was split. lf_gguf_clear frees,
 * also after an error. */
bool lf_gguf_open(LfGguf *gguf, const char *path, LfSpan file, GError **error);
void lf_gguf_clear(LfGguf *gguf);

/* The next `size` bytes of the header, or NULL and an error that says that the file is cut off. */
const uint8_t *lf_gguf_take(LfGguf *gguf, uint64_t size, GError **error);
bool lf_gguf_take_u32(LfGguf *gguf, uint32_t *value, GError **error);
bool lf_gguf_take_u64(LfGguf *gguf, uint64_t *value, GError **error);

/* The next text, as a name that messages can show: UTF-8, no control characters, not empty, at most
 * 1024 bytes. Transfer full; NULL and an error. */
char *lf_gguf_take_name(LfGguf *gguf, GError **error);

/* A value that is a text. False when there is none of this key. */
bool lf_gguf_text(const LfGguf *gguf, const char *key, LfSpan *text);

/* A single integer of any type; `absent` when there is none of this key that fits into I64. */
int64_t lf_gguf_integer(const LfGguf *gguf, const char *key, int64_t absent);
bool lf_gguf_flag(const LfGguf *gguf, const char *key, bool absent);

/* An array with elements of `type`, or NULL. */
const LfGgufValue *lf_gguf_array(const LfGguf *gguf, const char *key, LfGgufType type);

/* Integer `index` of an array of I32, U32, I64 or U64; −1 where it is negative or too large. */
int64_t lf_gguf_array_integer(const LfGgufValue *array, size_t index);

/* The tokenizer that the metadata holds, as lf_tokenizer_gguf_read takes it. `vocabulary->tokens` and
 * `vocabulary->model` are the caller's, to be freed with g_free. */
void lf_gguf_vocabulary(const LfGguf *gguf, LfGgufVocabulary *vocabulary);

#endif
