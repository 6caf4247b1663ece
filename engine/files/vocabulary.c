/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vocabulary.h"

#include <string.h>

/* Fields of ModelProto, SentencePiece, TrainerSpec and NormalizerSpec. */
enum { PIECE = 1, TRAINER = 2, NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_TYPE = 3, TRAINER_BYTES = 35, TRAINER_UNKNOWN = 45, TRAINER_END = 47 };
enum { NORMALIZER_MAP = 2, NORMALIZER_PREFIX = 3, NORMALIZER_EXTRA = 4, NORMALIZER_ESCAPE = 5 };
enum { UNIGRAM = 1 };

void lf_vocabulary_init(LfVocabulary *v)
{
    *v = (LfVocabulary){.texts = g_string_chunk_new(64 * 1024),
                        .pieces = g_array_new(false, false, sizeof(LfPiece)),
                        .charsmap = g_byte_array_new(),
                        .end = -1,
                        .add_space_prefix = true,
                        .remove_extra_spaces = true};
}

void lf_vocabulary_clear(LfVocabulary *v)
{
    g_string_chunk_free(v->texts);
    g_array_unref(v->pieces);
    g_byte_array_unref(v->charsmap);
}

void lf_vocabulary_add(LfVocabulary *v, const char *text, size_t size, float score,
                       LfPieceType type)
{
    LfPiece piece = {g_string_chunk_insert_len(v->texts, text, (gssize) size), size, score, type};
    g_array_append_val(v->pieces, piece);
}

LfPiece *lf_vocabulary_nth(const LfVocabulary *v, int id)
{
    return id >= 0 && (guint) id < v->pieces->len ? &g_array_index(v->pieces, LfPiece, id) : NULL;
}

int lf_vocabulary_find(const LfVocabulary *v, const char *text, size_t size)
{
    for (guint i = 0; i < v->pieces->len; i++) {
        const LfPiece *piece = &g_array_index(v->pieces, LfPiece, i);
        if (piece->size == size && memcmp(piece->text, text, size) == 0)
            return (int) i;
    }
    return -1;
}

void lf_vocabulary_set_end(LfVocabulary *v, int id)
{
    LfPiece *end = lf_vocabulary_nth(v, id);
    if (!end || end->type == LF_PIECE_UNKNOWN)
        return;
    end->type = LF_PIECE_CONTROL;
    v->end = id;
}

static void put_piece(GByteArray *model, const LfPiece *piece, GByteArray *scratch)
{
    g_byte_array_set_size(scratch, 0);
    lf_wire_put_bytes(scratch, PIECE_TEXT, piece->text, piece->size);
    lf_wire_put_float(scratch, PIECE_SCORE, piece->score);
    lf_wire_put_varint(scratch, PIECE_TYPE, piece->type);
    lf_wire_put_bytes(model, PIECE, scratch->data, scratch->len);
}

/* The library finds both marks by their texts. */
static void put_trainer(GByteArray *model, const LfPiece *unknown, const LfPiece *end, bool bytes,
                        GByteArray *scratch)
{
    g_byte_array_set_size(scratch, 0);
    lf_wire_put_varint(scratch, TRAINER_TYPE, UNIGRAM);
    lf_wire_put_varint(scratch, TRAINER_BYTES, bytes);
    lf_wire_put_bytes(scratch, TRAINER_UNKNOWN, unknown->text, unknown->size);
    lf_wire_put_bytes(scratch, TRAINER_END, end->text, end->size);
    lf_wire_put_bytes(model, TRAINER, scratch->data, scratch->len);
}

static void put_normalizer(GByteArray *model, const LfVocabulary *v, GByteArray *scratch)
{
    g_byte_array_set_size(scratch, 0);
    lf_wire_put_bytes(scratch, NORMALIZER_MAP, v->charsmap->data, v->charsmap->len);
    lf_wire_put_varint(scratch, NORMALIZER_PREFIX, v->add_space_prefix);
    lf_wire_put_varint(scratch, NORMALIZER_EXTRA, v->remove_extra_spaces);
    lf_wire_put_varint(scratch, NORMALIZER_ESCAPE, true);
    lf_wire_put_bytes(model, NORMALIZER, scratch->data, scratch->len);
}

static const LfPiece *only_unknown(const LfVocabulary *v)
{
    const LfPiece *found = NULL;
    for (guint i = 0; i < v->pieces->len; i++) {
        const LfPiece *piece = &g_array_index(v->pieces, LfPiece, i);
        if (piece->type == LF_PIECE_UNKNOWN && found)
            return NULL;
        if (piece->type == LF_PIECE_UNKNOWN)
            found = piece;
    }
    return found;
}

GByteArray *lf_vocabulary_serialize(const LfVocabulary *v, const char *path, GError **error)
{
    const LfPiece *unknown = only_unknown(v), *end = lf_vocabulary_nth(v, v->end);
    if (!unknown || !end) {
        lf_fail(error, LF_ERROR_FORMAT, "%s: not a usable tokenizer: %s", path,
                unknown ? "its end mark is no piece of its own"
                        : "it must have one piece for what is unknown");
        return NULL;
    }
    bool bytes = false;
    GByteArray *model = g_byte_array_new();
    g_autoptr(GByteArray) scratch = g_byte_array_new();
    for (guint i = 0; i < v->pieces->len; i++) {
        const LfPiece *piece = &g_array_index(v->pieces, LfPiece, i);
        bytes |= piece->type == LF_PIECE_BYTE;
        put_piece(model, piece, scratch);
    }
    put_trainer(model, unknown, end, bytes, scratch);
    put_normalizer(model, v, scratch);
    return model;
}
