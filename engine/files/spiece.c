/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "spiece.h"
#include "charsmap.h"

/* Fields of ModelProto. */
enum { PIECE = 1, TRAINER = 2, NORMALIZER = 3, SELF_TEST = 4, DENORMALIZER = 5 };
/* Of SentencePiece, and of NormalizerSpec. */
enum { TEXT = 1, CHARSMAP = 2 };

static const char *const not_whole = "it is not a whole SentencePiece model; copy it again";

static const char *check_piece(LfSpan piece)
{
    LfWireField field;
    size_t size = 0;
    while (piece.size > 0) {
        if (!lf_wire_take(&piece, &field))
            return not_whole;
        if (field.number == TEXT)
            size = field.content.size;
    }
    return size < 1 || size > LF_SPIECE_MAX_TEXT
               ? "it has a piece that is empty or longer than 1024 bytes"
               : NULL;
}

/* The map of the normaliser is what texts are measured by, so there may be one alone. */
static const char *check_normalizer(LfSpan spec, LfSpan *map)
{
    LfWireField field;
    while (spec.size > 0) {
        if (!lf_wire_take(&spec, &field))
            return not_whole;
        if (field.number != CHARSMAP)
            continue;
        if (map->data)
            return "it has two character maps";
        *map = field.content;
        if (!lf_charsmap_check(*map))
            return "its character map is damaged, or larger than 1 MiB; copy it again";
    }
    return NULL;
}

static const char *check_field(const LfWireField *field, LfSpan *map, guint *n_pieces)
{
    LfSpan other = {0};
    LfWireField inner;
    switch (field->number) {
    case PIECE:
        if (++*n_pieces > LF_SPIECE_MAX_PIECES)
            return "it has more than 524288 pieces";
        return check_piece(field->content);
    case NORMALIZER:
        return check_normalizer(field->content, map);
    case DENORMALIZER:
        return check_normalizer(field->content, &other);
    default:
        for (LfSpan rest = field->content; rest.size > 0;)
            if (!lf_wire_take(&rest, &inner))
                return not_whole;
        return NULL;
    }
}

const char *lf_spiece_check(LfSpan model, GByteArray **checked, LfSpan *charsmap)
{
    g_autoptr(GByteArray) copy = g_byte_array_sized_new((guint) model.size);
    LfWireField field;
    guint n_pieces = 0;
    *charsmap = (LfSpan){0};
    while (model.size > 0) {
        if (!lf_wire_take(&model, &field))
            return not_whole;
        if (field.number == SELF_TEST || field.number > DENORMALIZER)
            continue;
        const char *problem = check_field(&field, charsmap, &n_pieces);
        if (problem)
            return problem;
        g_byte_array_append(copy, field.whole.data, (guint) field.whole.size);
    }
    if (n_pieces == 0)
        return not_whole;
    *checked = g_steal_pointer(&copy);
    return NULL;
}
