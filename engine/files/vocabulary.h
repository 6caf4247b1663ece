/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The contents of a Unigram tokenizer, from whatever file, and the SentencePiece model that they
 * make.
 */
#ifndef LF_FILES_VOCABULARY_H
#define LF_FILES_VOCABULARY_H

#include "kernels/error.h"
#include "protobuf.h"

G_BEGIN_DECLS

/* SentencePiece's numbers, which GGUF files use, too. */
typedef enum {
    LF_PIECE_NORMAL = 1,
    LF_PIECE_UNKNOWN = 2,
    LF_PIECE_CONTROL = 3,
    LF_PIECE_USER_DEFINED = 4, /* found in the text as it is, before all others */
    LF_PIECE_UNUSED = 5,
    LF_PIECE_BYTE = 6
} LfPieceType;

typedef struct {
    const char *text; /* need not end with NUL */
    size_t size;      /* bytes */
    float score;
    LfPieceType type;
} LfPiece;

typedef struct {
    GStringChunk *texts; /* owns those of `pieces` */
    GArray *pieces;      /* of LfPiece; a piece's index is its id */
    GByteArray *charsmap;
    int end; /* id of the end mark, −1: unknown */
    bool add_space_prefix, remove_extra_spaces;
} LfVocabulary;

/* The flags are true, as in SentencePiece. */
void lf_vocabulary_init(LfVocabulary *vocabulary);
void lf_vocabulary_clear(LfVocabulary *vocabulary);

/* The id of the first piece of this text; −1 when there is none. */
int lf_vocabulary_find(const LfVocabulary *vocabulary, const char *text, size_t size);

/* Makes piece `id` the end mark; nothing happens when there is none, or it is the unknown one. */
void lf_vocabulary_set_end(LfVocabulary *vocabulary, int id);

/* Adds a piece with the next id. The text is copied. */
void lf_vocabulary_add(LfVocabulary *vocabulary, const char *text, size_t size, float score,
                       LfPieceType type);
LfPiece *lf_vocabulary_nth(const LfVocabulary *vocabulary, int id); /* NULL out of range */

/* The serialised model: characters that no piece has become bytes if there are pieces for bytes.
 * NULL, and LF_ERROR_FORMAT that names `path`, when it has no end mark or not exactly one piece for
 * the unknown. What lf_spiece_check refuses is not checked here. Transfer full. */
GByteArray *lf_vocabulary_serialize(const LfVocabulary *vocabulary, const char *path,
                                    GError **error);

/* Reads Hugging Face's tokenizer.json, which `path` names in messages. What SentencePiece cannot do
 * the same way is LF_ERROR_UNSUPPORTED, by name. */
bool lf_tokenizer_json_read(const char *path, const char *text, size_t size,
                            LfVocabulary *vocabulary, GError **error);

/* What a GGUF file's metadata says about its tokenizer (tokenizer.ggml.…). Numbers are little-endian
 * at any alignment, as in the file. */
typedef struct {
    const char *model;    /* "t5"; NULL: there is no tokenizer */
    const LfSpan *tokens; /* n_tokens texts */
    const void *scores;   /* n_scores floats */
    const void *types;    /* n_types I32, of LfPieceType */
    size_t n_tokens, n_scores, n_types;
    LfSpan charsmap;          /* .precompiled_charsmap; empty: absent */
    int end, unknown;         /* .eos_token_id, .unknown_token_id; −1: absent */
    bool add_space_prefix;    /* true if absent */
    bool remove_extra_spaces; /* .remove_extra_whitespaces; true if absent */
} LfGgufVocabulary;

/* LF_ERROR_UNSUPPORTED for a tokenizer of another kind, LF_ERROR_FORMAT when there is none or its
 * lists do not fit together. */
bool lf_tokenizer_gguf_read(const char *path, const LfGgufVocabulary *gguf,
                            LfVocabulary *vocabulary, GError **error);

G_END_DECLS

#endif
