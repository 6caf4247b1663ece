/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Text → ids, as the published pipelines do it: cleaning (whitespace mode), then SentencePiece with
 * the model's own normaliser. Thread-safety: immutable after opening.
 */
#ifndef LF_FILES_TOKENIZER_H
#define LF_FILES_TOKENIZER_H

#include "kernels/error.h"

#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct LfTokenizer LfTokenizer;

/* Opens a file of any kind that tokenizer_file.h names. LF_ERROR_NOT_FOUND, _READ, _FORMAT, or
 * _UNSUPPORTED for a tokenizer of another kind, which the message names. */
LfTokenizer *lf_tokenizer_open(const char *path, GError **error);
void lf_tokenizer_free(LfTokenizer *tokenizer);
int lf_tokenizer_size(const LfTokenizer *tokenizer);           /* pieces */
const char *lf_tokenizer_format(const LfTokenizer *tokenizer); /* "SentencePiece", for people */

typedef struct {
    int total;   /* tokens of the whole text, with the end mark */
    int unknown; /* of those that are kept; unknown characters side by side are one token */
} LfTokenCount;

/* Ids of a cleaned prompt with the end mark, at most `capacity` including it; a longer text is
 * truncated before the mark. Returns how many, ≥ 1, or −1 and LF_ERROR_TEXT: it is not UTF-8, or
 * the tokenizer's character map can make more than 256 KiB of it. `count` may be NULL. */
int lf_tokenizer_encode(const LfTokenizer *tokenizer, const char *text, int32_t *ids, int capacity,
                        LfTokenCount *count, GError **error);

/* The cleaning alone: curly quotes, Latin ligatures and full-width forms made plain, C0 controls
 * and terminal escapes removed, UTF-8 that was read as Windows-1252 or Latin-1 ("cafÃ©") repaired,
 * HTML entities unescaped, NFC, runs of Unicode whitespace to one space, stripped. Text that was
 * misread by another code page, or is incomplete, stays as it is. Transfer full; NULL
 * and LF_ERROR_TEXT when it is not UTF-8 or longer than 64 KiB. */
char *lf_prompt_clean(const char *text, GError **error);

G_END_DECLS

#endif
