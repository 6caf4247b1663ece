/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The metadata of a GGUF file that make up its tokenizer: "tokenizer.ggml." and a name.
 */
#include "gguf.h"
#include "spiece.h"

#include <string.h>

#define KEY(NAME) "tokenizer.ggml." NAME

static int id_of(const LfGguf *gguf, const char *key)
{
    int64_t id = lf_gguf_integer(gguf, key, -1);
    return id >= 0 && id <= G_MAXINT ? (int) id : -1;
}

/* The texts of an array, each behind its length. Of more than a tokenizer can have, none. */
static LfSpan *texts_of(const LfGgufValue *array)
{
    LfSpan *texts = g_new(LfSpan, array->count);
    const uint8_t *at = array->content.data;
    for (uint64_t i = 0; i < array->count; i++) {
        uint64_t size;
        memcpy(&size, at, sizeof size);
        size = GUINT64_FROM_LE(size);
        texts[i] = (LfSpan){at + 8, size};
        at += 8 + size;
    }
    return texts;
}

void lf_gguf_vocabulary(const LfGguf *gguf, LfGgufVocabulary *v)
{
    const LfGgufValue *tokens = lf_gguf_array(gguf, KEY("tokens"), LF_GGUF_TEXT);
    const LfGgufValue *scores = lf_gguf_array(gguf, KEY("scores"), LF_GGUF_F32);
    const LfGgufValue *types = lf_gguf_array(gguf, KEY("token_type"), LF_GGUF_I32);
    const LfGgufValue *map = lf_gguf_array(gguf, KEY("precompiled_charsmap"), LF_GGUF_U8);
    LfSpan model;
    if (!types)
        types = lf_gguf_array(gguf, KEY("token_type"), LF_GGUF_U32);
    if (!map)
        map = lf_gguf_array(gguf, KEY("precompiled_charsmap"), LF_GGUF_I8);
    *v = (LfGgufVocabulary){.end = id_of(gguf, KEY("eos_token_id")),
                            .unknown = id_of(gguf, KEY("unknown_token_id")),
                            .add_space_prefix = lf_gguf_flag(gguf, KEY("add_space_prefix"), true),
                            .remove_extra_spaces =
                                lf_gguf_flag(gguf, KEY("remove_extra_whitespaces"), true)};
    if (lf_gguf_text(gguf, KEY("model"), &model))
        v->model = g_strndup((const char *) model.data, model.size);
    if (tokens) {
        v->n_tokens = tokens->count;
        v->tokens = tokens->count <= LF_SPIECE_MAX_PIECES ? texts_of(tokens) : NULL;
    }
    if (scores) {
        v->scores = scores->content.data;
        v->n_scores = scores->count;
    }
    if (types) {
        v->types = types->content.data;
        v->n_types = types->count;
    }
    if (map)
        v->charsmap = map->content;
}
