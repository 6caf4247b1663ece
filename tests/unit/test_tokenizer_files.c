/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One vocabulary in every kind of file gives the same ids. It is the demo model's, with its
 * character map, and random pieces of many scripts.
 */
#include "engine/files/json_scan.h"
#include "engine/files/protobuf.h"
#include "engine/files/tensor_file.h"
#include "engine/files/tokenizer.h"
#include "engine/files/vocabulary.h"
#include "tests/common/gguf_file.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, BYTE = 6 };

typedef struct {
    char *text;
    float score;
    int type;
} Piece;

typedef struct {
    GArray *pieces; /* of Piece */
    GByteArray *charsmap;
    gboolean bytes; /* has pieces for bytes */
} Contents;

/* ---- the vocabulary -------------------------------------------------------------------------- */

static GByteArray *read_demo(void)
{
    g_autofree char *path = g_build_filename(g_getenv("LIGHTFORCING_MODEL"), "spiece.model", NULL);
    char *bytes;
    gsize size;
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    return g_byte_array_new_take((guint8 *) bytes, size);
}

static void add_piece(Contents *c, char *text, float score, int type)
{
    for (guint i = 0; i < c->pieces->len; i++)
        if (strcmp(g_array_index(c->pieces, Piece, i).text, text) == 0) {
            g_free(text);
            return;
        }
    Piece piece = {text, score, type};
    g_array_append_val(c->pieces, piece);
}

static Piece piece_of(LfSpan span)
{
    Piece piece = {.type = NORMAL};
    LfWireField field;
    while (span.size > 0) {
        g_assert_true(lf_wire_take(&span, &field));
        if (field.number == 1)
            piece.text = g_strndup((const char *) field.content.data, field.content.size);
        else if (field.number == 2)
            memcpy(&piece.score, field.whole.data + 1, 4);
        else if (field.number == 3)
            piece.type = field.whole.data[1];
    }
    return piece;
}

static void read_contents(Contents *c, const GByteArray *model)
{
    LfSpan rest = {model->data, model->len};
    LfWireField field, inner;
    while (rest.size > 0) {
        g_assert_true(lf_wire_take(&rest, &field));
        if (field.number == 1) {
            Piece piece = piece_of(field.content);
            g_array_append_val(c->pieces, piece);
        }
        while (field.number == 3 && field.content.size > 0) {
            g_assert_true(lf_wire_take(&field.content, &inner));
            if (inner.number == 2)
                g_byte_array_append(c->charsmap, inner.content.data, (guint) inner.content.size);
        }
    }
}

/* Letters of Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, kana, CJK, Hangul, full
 * width, compatibility forms, emoji. */
static gunichar random_character(void)
{
    static const gunichar ranges[][2] = {
        {'a', 'z'},       {'A', 'Z'},       {'!', '~'},       {0xa0, 0x17f},     {0x391, 0x3c9},
        {0x410, 0x44f},   {0x5d0, 0x5ea},   {0x621, 0x64a},   {0x905, 0x939},    {0xe01, 0xe2e},
        {0x3041, 0x30f6}, {0x4e00, 0x4e40}, {0xac00, 0xac40}, {0xff01, 0xff5e},  {0x2150, 0x217f},
        {0xfb00, 0xfb06}, {0x300, 0x30f},   {0xfdfa, 0xfdfb}, {0x1f300, 0x1f340}};
    int i = g_test_rand_int_range(0, G_N_ELEMENTS(ranges));
    return (gunichar) g_test_rand_int_range((gint32) ranges[i][0], (gint32) ranges[i][1] + 1);
}

static char *random_text(int n)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < n; i++)
        g_string_append_unichar(text, random_character());
    return g_string_free(text, FALSE);
}

static Contents *make_contents(gboolean bytes)
{
    Contents *c = g_new0(Contents, 1);
    g_autoptr(GByteArray) demo = read_demo();
    c->pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    c->charsmap = g_byte_array_new();
    c->bytes = bytes;
    read_contents(c, demo);
    for (int i = 0; bytes && i < 256; i++)
        add_piece(c, g_strdup_printf("<0x%02X>", i), 0, BYTE);
    for (int i = 0; i < 400; i++) {
        char *text = random_text(g_test_rand_int_range(1, 4));
        char *marked = g_strconcat(i % 2 ? "\u2581" : "", text, NULL);
        add_piece(c, marked, (float) g_test_rand_double_range(-12, -2), NORMAL);
        g_free(text);
    }
    add_piece(c, g_strdup("\u2581quote\"back\\slash\u2581"), -5, NORMAL);
    add_piece(c, g_strdup("<extra_id_0>"), 0, CONTROL);
    return c;
}

static void free_contents(Contents *c)
{
    for (guint i = 0; i < c->pieces->len; i++)
        g_free(g_array_index(c->pieces, Piece, i).text);
    g_array_unref(c->pieces);
    g_byte_array_unref(c->charsmap);
    g_free(c);
}

/* Words of pieces and of random characters, some of them known, and spaces. */
static char *random_prompt(const Contents *c)
{
    GString *prompt = g_string_new(NULL);
    for (int n = g_test_rand_int_range(0, 30); n > 0; n--) {
        const Piece *piece =
            &g_array_index(c->pieces, Piece, g_test_rand_int_range(0, (gint32) c->pieces->len));
        g_autofree char *random = random_text(g_test_rand_int_range(1, 6));
        const char *part = g_test_rand_bit() ? piece->text : random;
        for (; *part; part = g_utf8_next_char(part))
            g_string_append_unichar(prompt,
                                    g_utf8_get_char(part) == 0x2581 ? ' ' : g_utf8_get_char(part));
    }
    char *text = lf_prompt_clean(prompt->str, NULL);
    g_string_free(prompt, TRUE);
    return text;
}

/* ---- its files ------------------------------------------------------------------------------- */

static GByteArray *as_model(const Contents *c)
{
    GByteArray *model = g_byte_array_new();
    g_autoptr(GByteArray) part = g_byte_array_new();
    for (guint i = 0; i < c->pieces->len; i++) {
        const Piece *piece = &g_array_index(c->pieces, Piece, i);
        g_byte_array_set_size(part, 0);
        lf_wire_put_bytes(part, 1, piece->text, strlen(piece->text));
        lf_wire_put_float(part, 2, piece->score);
        lf_wire_put_varint(part, 3, (guint64) piece->type);
        lf_wire_put_bytes(model, 1, part->data, part->len);
    }
    g_byte_array_set_size(part, 0);
    lf_wire_put_varint(part, 3, 1);
    lf_wire_put_varint(part, 35, c->bytes ? 1 : 0);
    lf_wire_put_bytes(model, 2, part->data, part->len);
    g_byte_array_set_size(part, 0);
    lf_wire_put_bytes(part, 2, c->charsmap->data, c->charsmap->len);
    lf_wire_put_bytes(model, 3, part->data, part->len);
    return model;
}

/* Half of the strings with every character as an escape. */
static void put_string(GString *json, const char *text)
{
    gboolean escape = g_test_rand_bit();
    g_string_append_c(json, '"');
    for (; *text; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);
        if (!escape && c != '"' && c != '\\' && c >= ' ')
            g_string_append_unichar(json, c);
        else if (c < 0x10000)
            g_string_append_printf(json, "\\u%04x", c);
        else
            g_string_append_printf(json, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10),
                                   0xdc00 + (c & 0x3ff));
    }
    g_string_append_c(json, '"');
}

static void put_vocabulary(GString *json, const Contents *c)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    int unknown = -1;
    g_string_append(json, "\"vocab\": [");
    for (guint i = 0; i < c->pieces->len; i++) {
        const Piece *piece = &g_array_index(c->pieces, Piece, i);
        g_string_append(json, i ? ",\n[" : "\n[");
        put_string(json, piece->text);
        g_ascii_dtostr(number, sizeof number, piece->score);
        g_string_append_printf(json, ", %s]", number);
        unknown = piece->type == UNKNOWN ? (int) i : unknown;
    }
    g_string_append_printf(json, "], \"byte_fallback\": %s, \"unk_id\": %d",
                           c->bytes ? "true" : "false", unknown);
}

static void put_added(GString *json, const Contents *c)
{
    const char *separator = "";
    for (guint i = c->pieces->len; i-- > 0;) {
        const Piece *piece = &g_array_index(c->pieces, Piece, i);
        if (piece->type != CONTROL && piece->type != UNKNOWN)
            continue;
        g_string_append_printf(json, "%s{\"id\": %u, \"lstrip\": true, \"content\": ", separator,
                               i);
        put_string(json, piece->text);
        g_string_append(json, ", \"special\": true}");
        separator = ", ";
    }
}

/* As published tokenizers of this family have it. */
static const char usual_normalizer[] =
    "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Precompiled\", "
    "\"precompiled_charsmap\": \"%s\"}, {\"type\": \"Strip\", \"strip_left\": false, "
    "\"strip_right\": true}, {\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, "
    "\"content\": \"\u2581\"}]}";
static const char usual_splitter[] =
    "{\"type\": \"Metaspace\", \"replacement\": \"\u2581\", \"prepend_scheme\": \"always\"}";
static const char older_splitter[] =
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, "
    "{\"type\": \"Metaspace\", \"replacement\": \"\u2581\", \"add_prefix_space\": true}]}";
static const char usual_end[] =
    "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": "
    "0}}, {\"SpecialToken\": {\"id\": \"</s>\", \"type_id\": 0}}], \"pair\": [], "
    "\"special_tokens\": {\"</s>\": {\"id\": \"</s>\", \"ids\": [1], \"tokens\": [\"</s>\"]}}}";

static GByteArray *as_json(const Contents *c, const char *splitter)
{
    g_autofree char *map = g_base64_encode(c->charsmap->data, c->charsmap->len);
    GString *json =
        g_string_new("{\"version\": \"1.0\", \"truncation\": null, \"added_tokens\": [");
    put_added(json, c);
    g_string_append(json, "], \"normalizer\": ");
    char **parts = g_strsplit(usual_normalizer, "%s", 2);
    g_string_append_printf(json, "%s%s%s", parts[0], map, parts[1]);
    g_strfreev(parts);
    g_string_append_printf(json, ", \"pre_tokenizer\": %s, \"post_processor\": %s, \"model\": {",
                           splitter, usual_end);
    g_string_append(json, g_test_rand_bit() ? "\"type\": \"Unigram\", " : "");
    put_vocabulary(json, c);
    g_string_append(json, "}}\n");
    gsize size = json->len;
    return g_byte_array_new_take((guint8 *) g_string_free(json, FALSE), size);
}

static char *temporary(const char *ending)
{
    char *path = NULL;
    g_autofree char *pattern = g_strconcat("lf-XXXXXX", ending, NULL);
    int fd = g_file_open_tmp(pattern, &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    return path;
}

static LfTokenizer *open_path(char *path, GError **error)
{
    LfTokenizer *tokenizer = lf_tokenizer_open(path, error);
    g_unlink(path);
    g_free(path);
    return tokenizer;
}

static LfTokenizer *open_bytes(const void *bytes, gsize size, GError **error)
{
    char *path = temporary(".file");
    g_assert_true(g_file_set_contents(path, bytes, (gssize) size, NULL));
    return open_path(path, error);
}

static LfTokenizer *open_array(GByteArray *bytes)
{
    g_autoptr(GError) error = NULL;
    LfTokenizer *tokenizer = open_bytes(bytes->data, bytes->len, &error);
    g_assert_no_error(error);
    g_byte_array_unref(bytes);
    return tokenizer;
}

/* The lists of a GGUF file's metadata. */
typedef struct {
    LfGgufVocabulary of;
    LfSpan *tokens;
    GByteArray *scores, *types;
} Lists;

static Lists as_lists(const Contents *c)
{
    Lists lists = {.tokens = g_new(LfSpan, c->pieces->len),
                   .scores = g_byte_array_new(),
                   .types = g_byte_array_new()};
    for (guint i = 0; i < c->pieces->len; i++) {
        const Piece *piece = &g_array_index(c->pieces, Piece, i);
        guint32 score, type = GUINT32_TO_LE((guint32) piece->type);
        memcpy(&score, &piece->score, 4);
        score = GUINT32_TO_LE(score);
        lists.tokens[i] = (LfSpan){(const guint8 *) piece->text, strlen(piece->text)};
        g_byte_array_append(lists.scores, (const guint8 *) &score, 4);
        g_byte_array_append(lists.types, (const guint8 *) &type, 4);
    }
    lists.of = (LfGgufVocabulary){.model = "t5",
                                  .tokens = lists.tokens,
                                  .scores = lists.scores->data,
                                  .types = lists.types->data,
                                  .n_tokens = c->pieces->len,
                                  .n_scores = c->pieces->len,
                                  .n_types = c->pieces->len,
                                  .charsmap = {c->charsmap->data, c->charsmap->len},
                                  .end = 1,
                                  .unknown = -1,
                                  .add_space_prefix = TRUE,
                                  .remove_extra_spaces = TRUE};
    return lists;
}

static void free_lists(Lists *lists)
{
    g_free(lists->tokens);
    g_byte_array_unref(lists->scores);
    g_byte_array_unref(lists->types);
}

static GByteArray *model_of_lists(const LfGgufVocabulary *gguf, GError **error)
{
    LfVocabulary vocabulary;
    GByteArray *model = NULL;
    lf_vocabulary_init(&vocabulary);
    if (lf_tokenizer_gguf_read("x.gguf", gguf, &vocabulary, error))
        model = lf_vocabulary_serialize(&vocabulary, "x.gguf", error);
    lf_vocabulary_clear(&vocabulary);
    return model;
}

/* The lists in a file: of two types that do, either. */
static GgufFile *as_gguf(const LfGgufVocabulary *of)
{
    GgufFile *file = gguf_file_new();
    g_autoptr(GByteArray) tokens = g_byte_array_new();
    guint8 prefix = of->add_space_prefix, extra = of->remove_extra_spaces;
    for (size_t i = 0; i < of->n_tokens; i++)
        gguf_put_text(tokens, of->tokens[i].data, of->tokens[i].size);
    if (of->model)
        gguf_file_text(file, "tokenizer.ggml.model", of->model);
    gguf_file_array(file, "tokenizer.ggml.tokens", GGUF_TEXT, of->n_tokens, tokens->data,
                    tokens->len);
    gguf_file_array(file, "tokenizer.ggml.scores", GGUF_F32, of->n_scores, of->scores,
                    4 * of->n_scores);
    gguf_file_array(file, "tokenizer.ggml.token_type", g_test_rand_bit() ? GGUF_I32 : GGUF_U32,
                    of->n_types, of->types, 4 * of->n_types);
    gguf_file_array(file, "tokenizer.ggml.precompiled_charsmap",
                    g_test_rand_bit() ? GGUF_I8 : GGUF_U8, of->charsmap.size, of->charsmap.data,
                    of->charsmap.size);
    if (of->end >= 0)
        gguf_file_u32(file, "tokenizer.ggml.eos_token_id", (guint32) of->end);
    if (of->unknown >= 0)
        gguf_file_u32(file, "tokenizer.ggml.unknown_token_id", (guint32) of->unknown);
    if (!prefix || g_test_rand_bit())
        gguf_file_value(file, "tokenizer.ggml.add_space_prefix", GGUF_BOOL, &prefix, 1);
    if (!extra || g_test_rand_bit())
        gguf_file_value(file, "tokenizer.ggml.remove_extra_whitespaces", GGUF_BOOL, &extra, 1);
    return file;
}

static LfTokenizer *open_gguf(GgufFile *file, GError **error)
{
    char *path = temporary(".gguf");
    gguf_file_save(file, path);
    gguf_file_free(file);
    return open_path(path, error);
}

static char *write_tensors(const char *name, LfType type, const void *bytes, gsize size)
{
    float weight = 1;
    char *path = temporary(".safetensors");
    LfFileTensor tensors[] = {
        {"shared.weight", LF_F32, 1, {1}, &weight, sizeof weight, NULL},
        {name, type, 1, {(int64_t) (size / lf_type_size(type))}, bytes, size, NULL}};
    g_assert_true(lf_safetensors_write(path, tensors, 2, NULL));
    return path;
}

static LfTokenizer *open_tensor(GByteArray *model)
{
    g_autoptr(GError) error = NULL;
    LfTokenizer *tokenizer =
        open_path(write_tensors("spiece_model", LF_U8, model->data, model->len), &error);
    g_assert_no_error(error);
    g_byte_array_unref(model);
    return tokenizer;
}

/* ---- ids ------------------------------------------------------------------------------------- */

static void compare(const Contents *c, const LfTokenizer *one, const LfTokenizer *other)
{
    enum { N = 4096 };
    g_autofree char *prompt = random_prompt(c);
    g_autofree int32_t *a = g_new(int32_t, N), *b = g_new(int32_t, N);
    LfTokenCount counts[2];
    int n = lf_tokenizer_encode(one, prompt, a, N, &counts[0], NULL);
    g_assert_cmpint(n, >, 0);
    g_assert_cmpint(lf_tokenizer_encode(other, prompt, b, N, &counts[1], NULL), ==, n);
    g_assert_cmpmem(a, (gsize) n * 4, b, (gsize) n * 4);
    g_assert_cmpint(counts[0].unknown, ==, counts[1].unknown);
    g_assert_true(!c->bytes || counts[0].unknown == 0);
}

static void test_same_ids(void)
{
    for (int i = 0; i < 4; i++) {
        Contents *c = make_contents(i & 1);
        Lists lists = as_lists(c);
        g_autoptr(GError) error = NULL;
        LfTokenizer *gguf = open_gguf(as_gguf(&lists.of), &error);
        g_assert_no_error(error);
        g_assert_cmpstr(lf_tokenizer_format(gguf), ==, "GGUF's list of pieces");
        LfTokenizer *model = open_array(as_model(c)), *tensor = open_tensor(as_model(c)),
                    *json = open_array(as_json(c, i & 2 ? older_splitter : usual_splitter));
        g_assert_cmpint(lf_tokenizer_size(model), ==, (int) c->pieces->len);
        g_assert_cmpint(lf_tokenizer_size(json), ==, (int) c->pieces->len);
        g_assert_cmpstr(lf_tokenizer_format(model), ==, "SentencePiece");
        g_assert_cmpstr(lf_tokenizer_format(json), ==, "tokenizer.json");
        for (int k = 0; k < 100; k++) {
            compare(c, model, json);
            compare(c, model, tensor);
            compare(c, model, gguf);
        }
        lf_tokenizer_free(gguf);
        free_lists(&lists);
        lf_tokenizer_free(json);
        lf_tokenizer_free(tensor);
        lf_tokenizer_free(model);
        free_contents(c);
    }
}

/* ---- counts ---------------------------------------------------------------------------------- */

static void test_counts(void)
{
    g_autoptr(GByteArray) demo = read_demo();
    LfTokenizer *tokenizer = open_array(g_steal_pointer(&demo));
    int32_t ids[16];
    LfTokenCount count;
    g_assert_cmpint(lf_tokenizer_encode(tokenizer, "", ids, 16, &count, NULL), ==, 1);
    g_assert_cmpint(count.total, ==, 1);
    g_assert_cmpint(count.unknown, ==, 0);
    /* ▁ <unk> ▁ball ▁ <unk> </s> */
    for (int capacity = 1; capacity < 9; capacity++) {
        lf_tokenizer_encode(tokenizer, "日本 ball 日", ids, capacity, &count, NULL);
        g_assert_cmpint(count.total, ==, 6);
        g_assert_cmpint(count.unknown, ==, (capacity > 2) + (capacity > 5));
    }
    lf_tokenizer_free(tokenizer);
}

/* ---- lists of GGUF files --------------------------------------------------------------------- */

static void refuse_lists(const LfGgufVocabulary *gguf, LfError code, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(model_of_lists(gguf, &error));
    g_assert_error(error, LF_ERROR, (gint) code);
    g_assert_nonnull(strstr(error->message, "x.gguf"));
    g_assert_nonnull(strstr(error->message, message));
}

static void set_type(const Lists *lists, guint i, guint8 type)
{
    memset(lists->types->data + 4 * i, 0, 4);
    lists->types->data[4 * i] = type;
}

static void test_gguf_lists(void)
{
    enum { END = 1, UNKNOWN_ID = 3 };
    Contents *c = make_contents(FALSE);
    Lists lists = as_lists(c);
    LfGgufVocabulary gguf = lists.of;
    gguf.model = NULL;
    refuse_lists(&gguf, LF_ERROR_FORMAT, "no tokenizer inside");
    gguf.model = "gpt2\033[1m";
    refuse_lists(&gguf, LF_ERROR_UNSUPPORTED, "\"gpt2\\033[1m\"");
    gguf = lists.of;
    gguf.n_scores--;
    refuse_lists(&gguf, LF_ERROR_FORMAT, "not of one length");
    gguf = lists.of;
    gguf.n_types = 0;
    refuse_lists(&gguf, LF_ERROR_FORMAT, "not of one length");
    gguf = lists.of;
    gguf.n_tokens = gguf.n_scores = gguf.n_types = 0;
    refuse_lists(&gguf, LF_ERROR_FORMAT, "not of one length");
    gguf.n_tokens = gguf.n_scores = gguf.n_types = 512 * 1024 + 1;
    refuse_lists(&gguf, LF_ERROR_FORMAT, "524288 pieces");
    gguf = lists.of;
    gguf.end = (int) gguf.n_tokens;
    refuse_lists(&gguf, LF_ERROR_FORMAT, "end mark");
    gguf.end = UNKNOWN_ID;
    refuse_lists(&gguf, LF_ERROR_FORMAT, "end mark");
    gguf = lists.of;
    for (guint8 type = 0; type < 9; type += 7) {
        set_type(&lists, 9, type);
        refuse_lists(&gguf, LF_ERROR_FORMAT, "type");
    }
    set_type(&lists, 9, NORMAL);

    /* Ids of the marks that are not told, or whose types are not. */
    set_type(&lists, UNKNOWN_ID, NORMAL);
    set_type(&lists, END, NORMAL);
    refuse_lists(&gguf, LF_ERROR_FORMAT, "one piece for what is unknown");
    gguf.unknown = UNKNOWN_ID;
    gguf.end = -1;
    LfTokenizer *model = open_array(as_model(c)), *other = open_array(model_of_lists(&gguf, NULL));
    for (int k = 0; k < 30; k++)
        compare(c, model, other);
    lf_tokenizer_free(other);
    lf_tokenizer_free(model);
    free_lists(&lists);
    free_contents(c);
}

/* What the file says of spaces and marks is what the lists do. */
static void test_gguf_file(void)
{
    enum { END = 1, UNKNOWN_ID = 3 };
    Contents *c = make_contents(FALSE);
    Lists lists = as_lists(c);
    LfGgufVocabulary gguf = lists.of;
    set_type(&lists, UNKNOWN_ID, NORMAL);
    set_type(&lists, END, NORMAL);
    gguf.unknown = UNKNOWN_ID;
    for (int i = 0; i < 4; i++) {
        g_autoptr(GError) error = NULL;
        gguf.add_space_prefix = i & 1;
        gguf.remove_extra_spaces = i & 2;
        LfTokenizer *file = open_gguf(as_gguf(&gguf), &error);
        g_assert_no_error(error);
        LfTokenizer *direct = open_array(model_of_lists(&gguf, NULL));
        for (int k = 0; k < 30; k++)
            compare(c, file, direct);
        int32_t ids[16], others[16];
        int n = lf_tokenizer_encode(file, "a", ids, 16, NULL, NULL);
        g_assert_cmpint(lf_tokenizer_encode(direct, "a", others, 16, NULL, NULL), ==, n);
        g_assert_cmpmem(ids, (gsize) n * 4, others, (gsize) n * 4);
        lf_tokenizer_free(direct);
        lf_tokenizer_free(file);
    }
    free_lists(&lists);
    free_contents(c);
}

static void test_gguf_file_refused(void)
{
    g_autoptr(GError) none = NULL, other = NULL, many = NULL, cut = NULL;
    GgufFile *file = gguf_file_new();
    g_assert_null(open_gguf(file, &none));
    g_assert_error(none, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(none->message, "no tokenizer inside"));
    file = gguf_file_new();
    gguf_file_text(file, "tokenizer.ggml.model", "llama");
    g_assert_null(open_gguf(file, &other));
    g_assert_error(other, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(other->message, "\"llama\""));
    g_autofree guint8 *empty = g_malloc0(8 * ((512 << 10) + 1));
    file = gguf_file_new();
    gguf_file_text(file, "tokenizer.ggml.model", "t5");
    gguf_file_array(file, "tokenizer.ggml.tokens", GGUF_TEXT, (512 << 10) + 1, empty,
                    8 * ((512 << 10) + 1));
    g_assert_null(open_gguf(file, &many));
    g_assert_error(many, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(many->message, "524288 pieces"));
    file = gguf_file_new();
    file->n_values = 1;
    g_assert_null(open_gguf(file, &cut));
    g_assert_error(cut, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(cut->message, "cut off"));
}

/* ---- small tokenizer.json files -------------------------------------------------------------- */

#define VOCABULARY                                                                                 \
    "[[\"<unk>\", 0], [\"</s>\", 0], [\"\u2581a\", -1], [\"\u2581\", -2], [\"b\", -3.5e0]]"

/* Replaces `what` by `with` in a good file. */
static char *edit(const char *what, const char *with)
{
    static const char good[] =
        "{\"added_tokens\": [{\"id\": 5, \"content\": \"<new>\", \"special\": true}, {\"id\": 1, "
        "\"content\": \"</s>\", \"special\": true}], \"normalizer\": null, \"pre_tokenizer\": "
        "{\"type\": \"Metaspace\"}, \"post_processor\": null, \"model\": {\"type\": \"Unigram\", "
        "\"unk_id\": 0, \"vocab\": " VOCABULARY "}}";
    if (!what)
        return g_strdup(good);
    g_assert_nonnull(strstr(good, what));
    char **parts = g_strsplit(good, what, 2);
    char *text = g_strjoinv(with, parts);
    g_strfreev(parts);
    return text;
}

static void check_ids(const char *what, const char *with, const char *prompt, const char *wanted)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = edit(what, with);
    int32_t ids[16];
    LfTokenizer *tokenizer = open_bytes(text, strlen(text), &error);
    g_assert_no_error(error);
    GString *found = g_string_new(NULL);
    int n = lf_tokenizer_encode(tokenizer, prompt, ids, 16, NULL, NULL);
    for (int i = 0; i < n; i++)
        g_string_append_printf(found, "%s%d", i ? " " : "", ids[i]);
    g_assert_cmpstr(found->str, ==, wanted);
    g_string_free(found, TRUE);
    lf_tokenizer_free(tokenizer);
}

static void test_json_variants(void)
{
    check_ids(NULL, NULL, "a ab", "2 2 4 1");
    check_ids(NULL, NULL, "ac </s> <new>", "2 0 3 0 3 0 1");
    check_ids("{\"type\": \"Metaspace\"}",
              "{\"type\": \"Metaspace\", \"prepend_scheme\": \"never\"}", "b ab", "4 2 4 1");
    check_ids("{\"type\": \"Metaspace\"}", "{\"add_prefix_space\": false, \"type\": \"Metaspace\"}",
              "b ab", "4 2 4 1");
    check_ids("{\"type\": \"Metaspace\"}",
              "{\"type\": \"Metaspace\", \"prepend_scheme\": \"first\"}", "b ab", "3 4 2 4 1");
    check_ids(NULL, NULL, "a  a", "2 3 2 1");
    check_ids("\"normalizer\": null",
              "\"normalizer\": {\"type\": \"Replace\", \"content\": \" \", \"pattern\": "
              "{\"Regex\": \" {2,}\"}}",
              "a  a", "2 2 1");
    check_ids("\"special\": true}, ", "\"special\": false}, ", "a <new>b", "2 3 5 4 1");
    /* another end mark */
    check_ids("\"post_processor\": null",
              "\"post_processor\": {\"single\": [{\"Sequence\": {\"id\": \"A\"}}, "
              "{\"SpecialToken\": {\"id\": \"<new>\"}}], \"type\": \"TemplateProcessing\"}",
              "ab", "2 4 5");
}

static void check_refused(const char *what, const char *with, LfError code, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = edit(what, with);
    g_assert_null(open_bytes(text, strlen(text), &error));
    g_assert_error(error, LF_ERROR, (gint) code);
    g_assert_nonnull(strstr(error->message, message));
    g_assert_true(g_utf8_validate(error->message, -1, NULL));
}

static const struct {
    const char *what, *with;
    LfError code;
    const char *message;
} refused[] = {
    {"Unigram", "BPE", LF_ERROR_UNSUPPORTED, "the model BPE is not supported"},
    {"\"type\": \"Unigram\"", "\"vocab\": {\"a\": 1}, \"type\": \"WordPiece\"",
     LF_ERROR_UNSUPPORTED, "the model WordPiece"},
    {"Metaspace", "ByteLevel", LF_ERROR_UNSUPPORTED, "the pre-tokenizer ByteLevel"},
    {"{\"type\": \"Metaspace\"}", "null", LF_ERROR_UNSUPPORTED, "the pre-tokenizer null"},
    {"{\"type\": \"Metaspace\"}", "{\"type\": \"Metaspace\", \"replacement\": \"_\"}",
     LF_ERROR_UNSUPPORTED, "the pre-tokenizer Metaspace"},
    {"{\"type\": \"Metaspace\"}",
     "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, {\"type\": "
     "\"Metaspace\", \"prepend_scheme\": \"first\"}]}",
     LF_ERROR_UNSUPPORTED, "the pre-tokenizer WhitespaceSplit without"},
    {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFKC\"}", LF_ERROR_UNSUPPORTED,
     "the normalizer NFKC"},
    {"\"normalizer\": null", "\"normalizer\": {\"type\": \"\\u001b[31m\\u0001é\"}",
     LF_ERROR_UNSUPPORTED, "the normalizer \\033[31m\\001"},
    {"\"normalizer\": null",
     "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]}",
     LF_ERROR_UNSUPPORTED, "the normalizer Lowercase"},
    {"\"normalizer\": null",
     "\"normalizer\": {\"type\": \"Replace\", \"content\": \" \", \"pattern\": {\"String\": "
     "\"a\"}}",
     LF_ERROR_UNSUPPORTED, "the normalizer Replace"},
    {"\"post_processor\": null", "\"post_processor\": {\"type\": \"RobertaProcessing\"}",
     LF_ERROR_UNSUPPORTED, "the post-processor RobertaProcessing"},
    {"\"post_processor\": null",
     "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
     "{\"id\": \"</s>\"}}, {\"Sequence\": {\"id\": \"A\"}}]}",
     LF_ERROR_UNSUPPORTED, "the post-processor TemplateProcessing"},
    {"\"special\": true}, ", "\"lstrip\": true}, ", LF_ERROR_UNSUPPORTED, "the added token <new>"},
    {"\"id\": 5", "\"id\": 6", LF_ERROR_FORMAT, "an added token does not fit"},
    {"\"id\": 1", "\"id\": 2", LF_ERROR_FORMAT, "an added token does not fit"},
    {"\"id\": 5, ", "", LF_ERROR_FORMAT, "an added token has no id"},
    {"\"id\": 5", "\"id\": -5", LF_ERROR_FORMAT, "whole number"},
    {"\"id\": 5", "\"id\": 1e30", LF_ERROR_FORMAT, "whole number"},
    {"\"unk_id\": 0", "\"unk_id\": null", LF_ERROR_FORMAT, "one piece for what is unknown"},
    {"\"unk_id\": 0", "\"unk_id\": 77", LF_ERROR_FORMAT, "one piece for what is unknown"},
    {"\"unk_id\": 0", "\"unk_id\": 1", LF_ERROR_FORMAT, "its end mark"},
    {"\"post_processor\": null",
     "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "
     "{\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": \"none\"}}]}",
     LF_ERROR_FORMAT, "its end mark"},
    {"\"normalizer\": null",
     "\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAA*\"}",
     LF_ERROR_FORMAT, "not base64"},
    {"\"normalizer\": null",
     "\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAAA\"}",
     LF_ERROR_FORMAT, "not base64"},
    {"\"normalizer\": null",
     "\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AA==AAAA\"}",
     LF_ERROR_FORMAT, "not base64"},
    {"\"normalizer\": null",
     "\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAAAAAA\"}",
     LF_ERROR_FORMAT, "character map is damaged"},
    {"\"vocab\": ", "\"other\": ", LF_ERROR_FORMAT, "no list model.vocab"},
    {"[\"b\", -3.5e0]", "[\"b\"]", LF_ERROR_FORMAT, "a number"},
    {"[\"b\", -3.5e0]", "[\"b\", 1, 2]", LF_ERROR_FORMAT, "a number"},
    {"[\"b\", -3.5e0]", "[\"\", 1]", LF_ERROR_FORMAT, "a piece that is empty"},
    {"[\"b\", -3.5e0]", "[\"\u2581\", 1]", LF_ERROR_FORMAT, "not a usable SentencePiece model"},
};

static void test_json_refused(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++)
        check_refused(refused[i].what, refused[i].with, refused[i].code, refused[i].message);
    g_autofree char *large = g_strnfill(1400000, 'A'),
                    *normalizer = g_strdup_printf("\"normalizer\": {\"type\": \"Precompiled\", "
                                                  "\"precompiled_charsmap\": \"%s\"}",
                                                  large);
    check_refused("\"normalizer\": null", normalizer, LF_ERROR_FORMAT, "larger than 1 MiB");
    GString *many = g_string_new("\"vocab\": [");
    for (int i = 0; i <= 512 * 1024; i++)
        g_string_append(many, "[\"\",0],");
    check_refused("\"vocab\": [", many->str, LF_ERROR_FORMAT, "524288 pieces");
    g_string_free(many, TRUE);
}

/* Cut at any place, or with a byte changed: refused, or read without harm. */
static void test_json_damaged(void)
{
    g_autofree char *text = edit(NULL, NULL);
    gsize size = strlen(text);
    int32_t ids[16];
    for (gsize i = 0; i < size; i++) {
        g_autofree char *damaged = g_strdup(text);
        g_assert_null(open_bytes(text, i, NULL));
        damaged[i] = (char) g_test_rand_int_range(0, 256);
        LfTokenizer *tokenizer = open_bytes(damaged, size, NULL);
        if (tokenizer)
            g_assert_cmpint(lf_tokenizer_encode(tokenizer, "a b", ids, 16, NULL, NULL), >, 0);
        lf_tokenizer_free(tokenizer);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static gboolean is_json(const char *text, gsize size)
{
    LfJsonScan scan;
    lf_json_scan_init(&scan, text, size);
    lf_json_skip(&scan);
    gboolean good = lf_json_end(&scan);
    g_assert_true(good == !scan.fault);
    lf_json_scan_clear(&scan);
    return good;
}

static void test_json_scan(void)
{
    static const char *const good[] = {"{}",
                                       " [ ] ",
                                       "0",
                                       "-0.5e-7",
                                       "\"\"",
                                       "null",
                                       "[1,[2,{\"a\":[true,false]}],\"\\u00e9\"]",
                                       "{\"a\":{\"b\":{}},\"c\":[[],[]]}",
                                       "\"\\ud83d\\ude00\\n\\/\"",
                                       "1E+2"};
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "[,1]",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "[1 2]",
                                      "01",
                                      "-",
                                      "1.",
                                      ".5",
                                      "1e",
                                      "+1",
                                      "nul",
                                      "nulls",
                                      "'a'",
                                      "\"a",
                                      "\"\\x\"",
                                      "\"\\u12g4\"",
                                      "\"\\ud800\"",
                                      "\"\\udc00\"",
                                      "\"\\ud800\\u0041\"",
                                      "\"\n\"",
                                      "[]]",
                                      "{]",
                                      "[}",
                                      "{} {}",
                                      "// c\n1",
                                      "\"\\",
                                      "\"\\u1",
                                      "NaN",
                                      "{1:2}",
                                      "\"\377\"",
                                      "[1}",
                                      "tru"};
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(is_json(good[i], strlen(good[i])));
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(is_json(bad[i], strlen(bad[i])));
    g_assert_false(is_json("1\0", 2));
    for (gsize depth = 31; depth < 35; depth++) {
        g_autofree char *open = g_strnfill(depth, '['), *close = g_strnfill(depth, ']'),
                        *text = g_strconcat(open, close, NULL);
        g_assert_true(is_json(text, 2 * depth) == (depth <= LF_JSON_SCAN_DEPTH));
    }
    static const char escapes[] = "\"\\u0000\\u00e9\\ud83d\\ude00\\t\"";
    LfJsonScan scan;
    lf_json_scan_init(&scan, escapes, strlen(escapes));
    g_assert_true(lf_json_take_string(&scan) && lf_json_end(&scan));
    g_assert_cmpmem(scan.string->str, scan.string->len, "\0é😀\t", 8);
    lf_json_scan_clear(&scan);
}

/* ---- other files ----------------------------------------------------------------------------- */

static void check_message(const void *bytes, gsize size, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(open_bytes(bytes, size, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, message));
}

static void test_other_files(void)
{
    static const char *const files[][2] = {
        {"", "empty"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4548313\n", "git lfs"},
        {"<!doctype html><html></html>", "web page"},
        {"\n\n <html></html>", "web page"},
        {"\n<html></html>", "web page"},
        {"Entry not found", "download the file again"},
        {"{\"error\": \"Invalid credentials\"}", "a server's message"},
        {"{\"weight_map\": {}}", "no list model.vocab"},
        {"\001\002\003\004\005\006\007\010\011\012", "nothing that is known: give a spiece.model"}};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
        check_message(files[i][0], strlen(files[i][0]), files[i][1]);

    g_autoptr(GError) error = NULL;
    g_assert_null(open_path(write_tensors("other", LF_U8, "abc", 3), &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "no tokenizer inside"));
    g_clear_error(&error);
    g_assert_null(open_path(write_tensors("spiece_model", LF_F32, "abcd", 4), &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "bytes (U8)"));
    g_clear_error(&error);
    g_assert_null(open_path(write_tensors("spiece_model", LF_U8, "abcd", 4), &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
}

/* A hole in the file is enough. */
static void check_limit(const char *begin, goffset limit)
{
    for (int over = 0; over < 2; over++) {
        g_autoptr(GError) error = NULL;
        char *path = temporary(".file");
        g_assert_true(g_file_set_contents(path, begin, -1, NULL));
        g_assert_cmpint(truncate(path, limit + over), ==, 0);
        g_assert_null(open_path(path, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_assert_true(!over == !strstr(error->message, "bytes are no tokenizer"));
    }
}

static void test_sizes(void)
{
    check_limit("\n\3\n\1a", 16 << 20);
    check_limit("{", 64 << 20);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tokenizer-files/same-ids", test_same_ids);
    g_test_add_func("/tokenizer-files/counts", test_counts);
    g_test_add_func("/tokenizer-files/gguf-lists", test_gguf_lists);
    g_test_add_func("/tokenizer-files/gguf-file", test_gguf_file);
    g_test_add_func("/tokenizer-files/gguf-file-refused", test_gguf_file_refused);
    g_test_add_func("/tokenizer-files/json-variants", test_json_variants);
    g_test_add_func("/tokenizer-files/json-refused", test_json_refused);
    g_test_add_func("/tokenizer-files/json-damaged", test_json_damaged);
    g_test_add_func("/tokenizer-files/json-scan", test_json_scan);
    g_test_add_func("/tokenizer-files/other-files", test_other_files);
    g_test_add_func("/tokenizer-files/sizes", test_sizes);
    return g_test_run();
}
