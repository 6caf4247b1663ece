/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The contents of a Unigram tokenizer, from whatever file, and the SentencePiece model that they
 * make.
 */
#ifndef LF_FILES_VOCABULARY_H
#define LF_FILES_VOCABULARY_H

#include "kernels/error.h"

#include <stdint.h>

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

G_END_DECLS

#endif
