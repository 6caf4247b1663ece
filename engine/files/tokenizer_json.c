/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hugging Face's tokenizer.json: a pipeline of a normalizer, a pre-tokenizer, a model and a
 * post-processor, each of a type. SentencePiece is one such pipeline: a character map, spaces that
 * become marks, a Unigram model, an end mark. What is another one is refused by its name.
 */
#include "json_scan.h"
#include "spiece.h"
#include "vocabulary.h"
#include "charsmap.h"

#include <string.h>

#define MARK "\xe2\x96\x81" /* U+2581, in place of a space */

typedef struct {
    int id;
    char *text; /* interned in the vocabulary's chunk */
    gsize size;
    bool special, bounded; /* bounded: found only beside other characters than it says */
} Added;

typedef struct {
    LfJsonScan scan;
    LfVocabulary *vocabulary;
    GArray *added; /* of Added */
    char *refused; /* the first thing that SentencePiece cannot do; NULL: nothing */
    GString *end;  /* the end mark's text */
    int unknown;   /* id, −1: none */
    bool has_vocabulary, byte_fallback, has_error;
    bool has_metaspace, always_prefixed, splits_at_spaces, joins_spaces;
} Reading;

/* A name of the file goes into a message: short, and without characters that a terminal obeys. */
static void refuse(Reading *r, const char *what, const GString *name)
{
    g_autofree char *begin = g_strndup(name->str, 40), *plain = g_strescape(begin, NULL);
    if (!r->refused)
        r->refused = g_strdup_printf("%s %s", what, plain);
}

static bool fault(Reading *r, const char *what)
{
    if (!r->scan.fault)
        r->scan.fault = what;
    return false;
}

static bool string_is(const Reading *r, const char *text)
{
    return strcmp(r->scan.string->str, text) == 0;
}

/* ---- normalizer ------------------------------------------------------------------------------ */

/* g_base64_decode passes over what is no base64. */
static bool is_base64(const GString *text)
{
    gsize n = text->len;
    if (n % 4 != 0)
        return false;
    n -= n > 0 && text->str[n - 1] == '=';
    n -= n > 0 && n < text->len && text->str[n - 1] == '=';
    for (gsize i = 0; i < n; i++)
        if (!g_ascii_isalnum(text->str[i]) && text->str[i] != '+' && text->str[i] != '/')
            return false;
    return true;
}

static bool read_charsmap(Reading *r)
{
    GByteArray *map = r->vocabulary->charsmap;
    gsize size;
    if (lf_json_take_null(&r->scan))
        return true;
    if (!lf_json_take_string(&r->scan))
        return false;
    if (map->len > 0)
        return fault(r, "it has two character maps");
    if (!is_base64(r->scan.string))
        return fault(r, "its character map is not base64");
    if (r->scan.string->len / 4 * 3 > LF_CHARSMAP_MAX_SIZE + 2)
        return fault(r, "its character map is larger than 1 MiB");
    g_autofree guchar *bytes = g_base64_decode(r->scan.string->str, &size);
    g_byte_array_append(map, bytes, (guint) size);
    return true;
}

/* {"Regex": …} or {"String": …}: what it is replaced in. */
typedef enum { OTHER, ONE_SPACE, RUN_OF_SPACES } Pattern;

static Pattern read_pattern(Reading *r)
{
    Pattern pattern = OTHER;
    if (lf_json_enter(&r->scan, '{'))
        while (lf_json_next(&r->scan)) {
            bool regex = lf_json_has_key(&r->scan, "Regex");
            if (lf_json_take_string(&r->scan))
                pattern = regex && string_is(r, " {2,}") ? RUN_OF_SPACES
                          : string_is(r, " ")            ? ONE_SPACE
                                                         : OTHER;
        }
    return pattern;
}

static void judge_normalizer(Reading *r, const GString *type, Pattern pattern, bool to_space)
{
    if (strcmp(type->str, "Replace") == 0 && pattern != OTHER && to_space)
        r->joins_spaces |= pattern == RUN_OF_SPACES;
    else if (strcmp(type->str, "Sequence") != 0 && strcmp(type->str, "Precompiled") != 0 &&
             strcmp(type->str, "Strip") != 0) /* prompts are stripped already */
        refuse(r, "the normalizer", type);
}

static void read_normalizer(Reading *r)
{
    Pattern pattern = OTHER;
    bool to_space = false;
    if (lf_json_take_null(&r->scan) || !lf_json_enter(&r->scan, '{'))
        return;
    GString *type = g_string_new(NULL);
    while (lf_json_next(&r->scan)) {
        if (lf_json_has_key(&r->scan, "type")) {
            if (lf_json_take_string(&r->scan))
                g_string_assign(type, r->scan.string->str);
        } else if (lf_json_has_key(&r->scan, "normalizers")) {
            if (lf_json_enter(&r->scan, '['))
                while (lf_json_next(&r->scan))
                    read_normalizer(r);
        } else if (lf_json_has_key(&r->scan, "precompiled_charsmap")) {
            read_charsmap(r);
        } else if (lf_json_has_key(&r->scan, "pattern")) {
            pattern = read_pattern(r);
        } else if (lf_json_has_key(&r->scan, "content")) {
            lf_json_take_string(&r->scan);
            to_space = string_is(r, " ") || string_is(r, MARK);
        } else {
            lf_json_skip(&r->scan);
        }
    }
    judge_normalizer(r, type, pattern, to_space);
    g_string_free(type, true);
}

/* ---- pre-tokenizer --------------------------------------------------------------------------- */

static void judge_pre_tokenizer(Reading *r, const GString *type, const char *scheme, bool marked)
{
    if (strcmp(type->str, "Metaspace") == 0 && marked) {
        r->has_metaspace = true;
        r->vocabulary->add_space_prefix = strcmp(scheme, "never") != 0;
        r->always_prefixed = strcmp(scheme, "always") == 0;
    } else if (strcmp(type->str, "WhitespaceSplit") == 0) {
        r->splits_at_spaces = true;
    } else if (strcmp(type->str, "Sequence") != 0) {
        refuse(r, "the pre-tokenizer", type);
    }
}

/* Older files have add_prefix_space, newer ones prepend_scheme, some both. */
static void read_pre_tokenizer(Reading *r)
{
    bool marked = true, prefixed = true;
    if (lf_json_take_null(&r->scan) || !lf_json_enter(&r->scan, '{'))
        return;
    GString *type = g_string_new(NULL), *scheme = g_string_new(NULL);
    while (lf_json_next(&r->scan)) {
        if (lf_json_has_key(&r->scan, "type")) {
            if (lf_json_take_string(&r->scan))
                g_string_assign(type, r->scan.string->str);
        } else if (lf_json_has_key(&r->scan, "pretokenizers")) {
            if (lf_json_enter(&r->scan, '['))
                while (lf_json_next(&r->scan))
                    read_pre_tokenizer(r);
        } else if (lf_json_has_key(&r->scan, "replacement")) {
            lf_json_take_string(&r->scan);
            marked = string_is(r, MARK);
        } else if (lf_json_has_key(&r->scan, "prepend_scheme")) {
            if (lf_json_take_string(&r->scan))
                g_string_assign(scheme, r->scan.string->str);
        } else if (lf_json_has_key(&r->scan, "add_prefix_space")) {
            lf_json_take_bool(&r->scan, &prefixed);
        } else {
            lf_json_skip(&r->scan);
        }
    }
    if (scheme->len == 0)
        g_string_assign(scheme, prefixed ? "always" : "never");
    judge_pre_tokenizer(r, type, scheme->str, marked);
    g_string_free(scheme, true);
    g_string_free(type, true);
}

/* ---- post-processor -------------------------------------------------------------------------- */

/* {"id": …}: of a special token it becomes the end mark's text. */
static void read_id(Reading *r, bool special)
{
    if (!lf_json_enter(&r->scan, '{'))
        return;
    while (lf_json_next(&r->scan)) {
        if (!lf_json_has_key(&r->scan, "id"))
            lf_json_skip(&r->scan);
        else if (lf_json_take_string(&r->scan) && special)
            g_string_assign(r->end, r->scan.string->str);
    }
}

/* One item of a template: {"Sequence": {"id": …}} or {"SpecialToken": {"id": …}}. */
static bool read_item(Reading *r)
{
    bool special = false;
    if (!lf_json_enter(&r->scan, '{'))
        return false;
    while (lf_json_next(&r->scan)) {
        special = lf_json_has_key(&r->scan, "SpecialToken");
        read_id(r, special);
    }
    return special;
}

/* The text, then the end mark. */
static bool read_template(Reading *r)
{
    int n = 0;
    bool usual = true;
    if (lf_json_enter(&r->scan, '['))
        for (; lf_json_next(&r->scan); n++)
            usual &= read_item(r) == (n == 1);
    return usual && n == 2;
}

static void read_post_processor(Reading *r)
{
    bool usual = false;
    if (lf_json_take_null(&r->scan) || !lf_json_enter(&r->scan, '{'))
        return;
    GString *type = g_string_new(NULL);
    while (lf_json_next(&r->scan)) {
        if (lf_json_has_key(&r->scan, "type")) {
            if (lf_json_take_string(&r->scan))
                g_string_assign(type, r->scan.string->str);
        } else if (lf_json_has_key(&r->scan, "single")) {
            usual =
                lf_json_peek(&r->scan) == '[' ? read_template(r) : lf_json_skip(&r->scan) && false;
        } else {
            lf_json_skip(&r->scan);
        }
    }
    if (!usual)
        refuse(r, "the post-processor", type);
    g_string_free(type, true);
}

/* ---- model ----------------------------------------------------------------------------------- */

static void read_pair(Reading *r)
{
    double score = 0;
    LfVocabulary *v = r->vocabulary;
    if (v->pieces->len >= LF_SPIECE_MAX_PIECES) {
        fault(r, "it has more than 524288 pieces");
        return;
    }
    if (!lf_json_enter(&r->scan, '[') || !lf_json_next(&r->scan) ||
        !lf_json_take_string(&r->scan) || !lf_json_next(&r->scan) ||
        !lf_json_take_number(&r->scan, &score) || lf_json_next(&r->scan))
        fault(r, "a piece is no list of a text and a number");
    else
        lf_vocabulary_add(v, r->scan.string->str, r->scan.string->len, (float) score,
                          LF_PIECE_NORMAL);
}

static void read_vocabulary(Reading *r)
{
    if (lf_json_peek(&r->scan) != '[') { /* of another kind of model */
        lf_json_skip(&r->scan);
        return;
    }
    r->has_vocabulary = true;
    if (lf_json_enter(&r->scan, '['))
        while (lf_json_next(&r->scan))
            read_pair(r);
}

static void read_model(Reading *r)
{
    if (!lf_json_enter(&r->scan, '{'))
        return;
    while (lf_json_next(&r->scan)) {
        if (lf_json_has_key(&r->scan, "type")) {
            if (lf_json_take_string(&r->scan) && strcmp(r->scan.string->str, "Unigram") != 0) {
                g_clear_pointer(&r->refused, g_free); /* what else is different follows from it */
                refuse(r, "the model", r->scan.string);
            }
        } else if (lf_json_has_key(&r->scan, "unk_id")) {
            if (!lf_json_take_null(&r->scan))
                lf_json_take_int(&r->scan, &r->unknown);
        } else if (lf_json_has_key(&r->scan, "byte_fallback")) {
            lf_json_take_bool(&r->scan, &r->byte_fallback);
        } else if (lf_json_has_key(&r->scan, "vocab")) {
            read_vocabulary(r);
        } else {
            lf_json_skip(&r->scan);
        }
    }
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static void read_added_token(Reading *r)
{
    Added added = {.id = -1};
    bool flag;
    if (r->added->len >= LF_SPIECE_MAX_PIECES)
        fault(r, "it has more than 524288 pieces");
    if (!lf_json_enter(&r->scan, '{'))
        return;
    while (lf_json_next(&r->scan)) {
        if (lf_json_has_key(&r->scan, "id")) {
            lf_json_take_int(&r->scan, &added.id);
        } else if (lf_json_has_key(&r->scan, "content")) {
            if (lf_json_take_string(&r->scan)) {
                added.size = r->scan.string->len;
                added.text = g_string_chunk_insert_len(r->vocabulary->texts, r->scan.string->str,
                                                       (gssize) added.size);
            }
        } else if (lf_json_has_key(&r->scan, "special")) {
            lf_json_take_bool(&r->scan, &added.special);
        } else if (lf_json_has_key(&r->scan, "single_word") ||
                   lf_json_has_key(&r->scan, "lstrip") || lf_json_has_key(&r->scan, "rstrip")) {
            added.bounded |= lf_json_take_bool(&r->scan, &flag) && flag;
        } else {
            lf_json_skip(&r->scan);
        }
    }
    if (added.id < 0 || !added.text)
        fault(r, "an added token has no id or no content");
    else
        g_array_append_val(r->added, added);
}

static int by_id(const void *a, const void *b)
{
    int one = ((const Added *) a)->id, other = ((const Added *) b)->id;
    return (one > other) - (one < other);
}

/* Special tokens of a text stay text, so they are found nowhere; others are, as they are. */
static void add(Reading *r, const Added *added)
{
    LfPieceType type = added->special ? LF_PIECE_CONTROL : LF_PIECE_USER_DEFINED;
    LfVocabulary *v = r->vocabulary;
    LfPiece *piece = lf_vocabulary_nth(v, added->id);
    if (!added->special && added->bounded) {
        g_autoptr(GString) name = g_string_new(added->text);
        refuse(r, "the added token", name);
    }
    if (!piece && (guint) added->id == v->pieces->len)
        lf_vocabulary_add(v, added->text, added->size, 0, type);
    else if (!piece || piece->size != added->size ||
             memcmp(piece->text, added->text, added->size) != 0)
        fault(r, "an added token does not fit its id");
    else if (added->id != r->unknown)
        piece->type = type;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void read_member(Reading *r)
{
    if (lf_json_has_key(&r->scan, "normalizer"))
        read_normalizer(r);
    else if (lf_json_has_key(&r->scan, "pre_tokenizer"))
        read_pre_tokenizer(r);
    else if (lf_json_has_key(&r->scan, "post_processor"))
        read_post_processor(r);
    else if (lf_json_has_key(&r->scan, "model") && lf_json_peek(&r->scan) == '{')
        read_model(r);
    else if (lf_json_has_key(&r->scan, "added_tokens")) {
        if (lf_json_enter(&r->scan, '['))
            while (lf_json_next(&r->scan))
                read_added_token(r);
    } else {
        r->has_error |= lf_json_has_key(&r->scan, "error");
        lf_json_skip(&r->scan);
    }
}

static bool is_byte(const LfPiece *piece)
{
    return piece->size == 6 && memcmp(piece->text, "<0x", 3) == 0 && piece->text[5] == '>' &&
           g_ascii_isxdigit(piece->text[3]) && g_ascii_isxdigit(piece->text[4]);
}

static void set_types(Reading *r)
{
    LfVocabulary *v = r->vocabulary;
    LfPiece *unknown = lf_vocabulary_nth(v, r->unknown);
    if (unknown)
        unknown->type = LF_PIECE_UNKNOWN;
    g_array_sort(r->added, by_id);
    for (guint i = 0; i < r->added->len; i++)
        add(r, &g_array_index(r->added, Added, i));
    for (guint i = 0; i < v->pieces->len; i++) {
        LfPiece *piece = &g_array_index(v->pieces, LfPiece, i);
        if (r->byte_fallback && is_byte(piece))
            piece->type = LF_PIECE_BYTE;
    }
    lf_vocabulary_set_end(v, lf_vocabulary_find(v, r->end->str, r->end->len));
    v->remove_extra_spaces = r->joins_spaces || r->splits_at_spaces;
}

static void judge_splitting(Reading *r)
{
    g_autoptr(GString) none = g_string_new("null"),
                       words = g_string_new("WhitespaceSplit without a prefix for each word");
    if (!r->has_metaspace)
        refuse(r, "the pre-tokenizer", none);
    else if (r->splits_at_spaces && !r->always_prefixed)
        refuse(r, "the pre-tokenizer", words);
}

static bool finish(Reading *r, const char *path, GError **error)
{
    if (r->has_error && !r->has_vocabulary && !r->refused)
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: it is a server's message of an error, no tokenizer; download the file "
                       "again",
                       path);
    if (!r->scan.fault && !r->has_vocabulary && !r->refused)
        r->scan.fault = "it has no list model.vocab: a tokenizer.json or a spiece.model is wanted";
    if (!r->scan.fault && r->has_vocabulary) {
        judge_splitting(r);
        set_types(r);
    }
    if (r->scan.fault)
        return lf_fail(error, LF_ERROR_FORMAT, "%s is no usable tokenizer.json: %s", path,
                       r->scan.fault);
    if (r->refused)
        return lf_fail(error, LF_ERROR_UNSUPPORTED,
                       "%s: %s is not supported, only what a Unigram model of SentencePiece does: "
                       "take the spiece.model of the text encoder",
                       path, r->refused);
    return true;
}

bool lf_tokenizer_json_read(const char *path, const char *text, size_t size,
                            LfVocabulary *vocabulary, GError **error)
{
    Reading r = {.vocabulary = vocabulary, .unknown = -1};
    lf_json_scan_init(&r.scan, text, size);
    r.added = g_array_new(false, false, sizeof(Added));
    r.end = g_string_new("</s>");
    if (lf_json_enter(&r.scan, '{'))
        while (lf_json_next(&r.scan))
            read_member(&r);
    lf_json_end(&r.scan);
    bool done = finish(&r, path, error);
    g_string_free(r.end, true);
    g_array_unref(r.added);
    g_free(r.refused);
    lf_json_scan_clear(&r.scan);
    return done;
}
