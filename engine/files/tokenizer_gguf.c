/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The tokenizer in a GGUF file's metadata, which llama.cpp's tools fill from the pieces of a
 * SentencePiece model.
 */
#include "spiece.h"
#include "vocabulary.h"

#include <string.h>

static const char *fault_of(const LfGgufVocabulary *gguf)
{
    if (gguf->n_tokens > LF_SPIECE_MAX_PIECES)
        return "it has more than 524288 pieces";
    if (gguf->n_tokens == 0 || gguf->n_scores != gguf->n_tokens || gguf->n_types != gguf->n_tokens)
        return "its lists of tokens, scores and types are not of one length";
    return NULL;
}

static bool add_piece(LfVocabulary *v, const LfGgufVocabulary *gguf, size_t i)
{
    uint32_t bits, type;
    float score;
    memcpy(&bits, (const char *) gguf->scores + 4 * i, 4);
    memcpy(&type, (const char *) gguf->types + 4 * i, 4);
    bits = GUINT32_FROM_LE(bits);
    type = GUINT32_FROM_LE(type);
    memcpy(&score, &bits, 4);
    lf_vocabulary_add(v, (const char *) gguf->tokens[i].data, gguf->tokens[i].size, score,
                      (LfPieceType) type);
    return type >= LF_PIECE_NORMAL && type <= LF_PIECE_BYTE;
}

static bool has_unknown(const LfVocabulary *v)
{
    for (guint i = 0; i < v->pieces->len; i++)
        if (g_array_index(v->pieces, LfPiece, i).type == LF_PIECE_UNKNOWN)
            return true;
    return false;
}

static const char *fill(LfVocabulary *v, const LfGgufVocabulary *gguf)
{
    const char *fault = fault_of(gguf);
    for (size_t i = 0; i < gguf->n_tokens && !fault; i++)
        if (!add_piece(v, gguf, i))
            fault = "a token is of a type that there is not";
    if (fault)
        return fault;
    LfPiece *unknown = lf_vocabulary_nth(v, gguf->unknown);
    if (unknown && !has_unknown(v))
        unknown->type = LF_PIECE_UNKNOWN;
    lf_vocabulary_set_end(v, gguf->end >= 0 ? gguf->end : lf_vocabulary_find(v, "</s>", 4));
    g_byte_array_append(v->charsmap, gguf->charsmap.data, (guint) gguf->charsmap.size);
    v->add_space_prefix = gguf->add_space_prefix;
    v->remove_extra_spaces = gguf->remove_extra_spaces;
    return NULL;
}

bool lf_tokenizer_gguf_read(const char *path, const LfGgufVocabulary *gguf, LfVocabulary *v,
                            GError **error)
{
    if (!gguf->model)
        return lf_fail(
            error, LF_ERROR_FORMAT,
            "%s has no tokenizer inside (tokenizer.ggml.model): take a spiece.model or a "
            "tokenizer.json",
            path);
    if (strcmp(gguf->model, "t5") != 0) {
        g_autofree char *begin = g_strndup(gguf->model, 40), *plain = g_strescape(begin, NULL);
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "%s: a tokenizer \"%s\" inside; only \"t5\" is supported: take the "
                       "spiece.model of the text encoder",
                       path, plain);
    }
    const char *fault = fill(v, gguf);
    return !fault || lf_fail(error, LF_ERROR_FORMAT, "%s: the tokenizer inside: %s", path, fault);
}
