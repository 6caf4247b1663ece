/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The tokenizer on the demo model's file; the ids wanted are SentencePiece's own, from Python.
 */
#include "engine/files/charsmap.h"
#include "engine/files/spiece.h"
#include "engine/files/tokenizer.h"

#include <glib/gstdio.h>
#include <string.h>

static char *model_path(void)
{
    return g_build_filename(g_getenv("LIGHTFORCING_MODEL"), "spiece.model", NULL);
}

static LfTokenizer *open_demo(void)
{
    GError *error = NULL;
    g_autofree char *path = model_path();
    LfTokenizer *tokenizer = lf_tokenizer_open(path, &error);
    g_assert_no_error(error);
    return tokenizer;
}

/* ---- ids ------------------------------------------------------------------------------------- */

typedef struct {
    const char *text;
    int32_t ids[16]; /* ends with the end mark, 1 */
} Case;

static const Case cases[] = {
    {"", {1}},
    {"a", {4, 1}},
    {"a red ball bouncing on green grass", {4, 61, 141, 109, 5, 7, 33, 168, 1}},
    {"A Red BALL, bouncing!", {4, 61, 141, 11, 109, 229, 1}},
    {"a blue star and a yellow heart, at night",
     {4, 22, 21, 4, 59, 4, 5, 9, 121, 122, 26, 11, 4, 6, 157, 1}},
    {"  two   squares  ", {20, 227, 18, 113, 13, 1}},
    /* unknown characters that follow each other are one unknown piece */
    {"日本 ball 日", {5, 3, 141, 5, 3, 1}},
    {"\ufb01 É 100%", {5, 140, 89, 5, 3, 5, 232, 231, 231, 3, 1}},
    /* a special piece's name is text */
    {"</s>", {5, 3, 13, 3, 1}},
};

static void test_ids(void)
{
    LfTokenizer *tokenizer = open_demo();
    int32_t ids[16];
    g_assert_cmpint(lf_tokenizer_size(tokenizer), ==, 257);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int n = lf_tokenizer_encode(tokenizer, cases[i].text, ids, 16, NULL, NULL), wanted = 0;
        while (cases[i].ids[wanted++] != 1)
            ;
        g_assert_cmpmem(ids, sizeof(int32_t) * (size_t) n, cases[i].ids,
                        sizeof(int32_t) * (size_t) wanted);
    }
    lf_tokenizer_free(tokenizer);
}

/* A text that is too long is cut before its end token. */
static void test_capacity(void)
{
    LfTokenizer *tokenizer = open_demo();
    const Case *c = &cases[2];
    int32_t ids[16];
    for (int capacity = 1; capacity <= 10; capacity++) {
        memset(ids, 0xff, sizeof(ids));
        int n = lf_tokenizer_encode(tokenizer, c->text, ids, capacity, NULL, NULL);
        g_assert_cmpint(n, ==, MIN(capacity, 9));
        g_assert_cmpmem(ids, 4 * (size_t) (n - 1), c->ids, 4 * (size_t) (n - 1));
        g_assert_cmpint(ids[n - 1], ==, 1);
        g_assert_cmpint(ids[n], ==, -1);
    }
    lf_tokenizer_free(tokenizer);
}

static void test_refused_text(void)
{
    LfTokenizer *tokenizer = open_demo();
    GError *error = NULL;
    int32_t ids[4];
    g_assert_cmpint(lf_tokenizer_encode(tokenizer, "a \377", ids, 4, NULL, &error), ==, -1);
    g_assert_error(error, LF_ERROR, LF_ERROR_TEXT);
    g_clear_error(&error);
    g_assert_cmpint(lf_tokenizer_encode(tokenizer, "a", ids, 0, NULL, &error), ==, -1);
    g_assert_error(error, LF_ERROR, LF_ERROR_TEXT);
    g_clear_error(&error);
    lf_tokenizer_free(tokenizer);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Opens a file with these bytes; frees what opens and tells whether it did. */
static gboolean opens(const char *bytes, gsize size, const char *text)
{
    g_autofree char *path = NULL;
    GError *error = NULL;
    int fd = g_file_open_tmp("lf-XXXXXX.model", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(path, bytes, (gssize) size, NULL));
    LfTokenizer *tokenizer = lf_tokenizer_open(path, &error);
    g_unlink(path);
    if (!tokenizer) {
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_assert_nonnull(strstr(error->message, path));
        g_error_free(error);
        return FALSE;
    }
    int32_t ids[32];
    int n = lf_tokenizer_encode(tokenizer, text, ids, 32, NULL, NULL);
    for (int i = 0; i < n; i++)
        g_assert_true(ids[i] >= 0 && ids[i] < lf_tokenizer_size(tokenizer));
    lf_tokenizer_free(tokenizer);
    return TRUE;
}

static void test_bad_files(void)
{
    GError *error = NULL;
    g_assert_null(lf_tokenizer_open("/nonexistent/spiece.model", &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_null(lf_tokenizer_open(g_get_tmp_dir(), &error));
    g_assert_nonnull(error);
    g_clear_error(&error);

    g_autofree char *path = model_path(), *bytes = NULL;
    gsize size;
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    g_assert_false(opens("", 0, ""));
    g_assert_false(opens("not a model", 11, ""));
    g_assert_false(opens(bytes, size / 2, "")); /* cut */
    g_assert_false(opens(bytes, size - 1, ""));
    g_assert_false(opens(bytes, 200, ""));
    g_assert_true(opens(bytes, size, "a red ball"));
}

/* A damaged file is refused, or read without harm. */
static void test_damaged_files(void)
{
    g_autofree char *path = model_path(), *bytes = NULL;
    gsize size;
    int refused = 0;
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    for (int i = 0; i < 60; i++) {
        g_autofree char *damaged = g_memdup2(bytes, size);
        for (int n = g_test_rand_int_range(1, 40); n > 0; n--)
            damaged[g_test_rand_int_range(0, (gint32) size)] ^= 1 << g_test_rand_int_range(0, 8);
        refused += !opens(damaged, size, "ﬁ é ½ ㎏ Ⅷ 日本 a red ball");
    }
    g_assert_cmpint(refused, >, 0);
}

/* ---- models that are made of the demo's ------------------------------------------------------ */

static GByteArray *read_demo(void)
{
    g_autofree char *path = model_path();
    char *bytes;
    gsize size;
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    return g_byte_array_new_take((guint8 *) bytes, size);
}

enum { PIECE = 1, NORMALIZER = 3, SELF_TEST = 4 };

/* All of the demo's fields but those of this number. */
static GByteArray *demo_without(guint32 number)
{
    g_autoptr(GByteArray) demo = read_demo();
    GByteArray *model = g_byte_array_new();
    LfSpan rest = {demo->data, demo->len};
    LfWireField field;
    while (rest.size > 0) {
        g_assert_true(lf_wire_take(&rest, &field));
        if (field.number != number)
            g_byte_array_append(model, field.whole.data, (guint) field.whole.size);
    }
    return model;
}

static gboolean model_opens(const GByteArray *model, const char *text)
{
    return opens((const char *) model->data, model->len, text);
}

/* ---- the character map ----------------------------------------------------------------------- */

/* A map of one block of units. */
static GByteArray *map_of(const uint32_t units[256], const char *strings, gsize n_strings)
{
    GByteArray *map = g_byte_array_new();
    uint32_t size = GUINT32_TO_LE(1024);
    g_byte_array_append(map, (const guint8 *) &size, 4);
    for (int i = 0; i < 256; i++) {
        uint32_t unit = GUINT32_TO_LE(units[i]);
        g_byte_array_append(map, (const guint8 *) &unit, 4);
    }
    g_byte_array_append(map, (const guint8 *) strings, (guint) n_strings);
    return map;
}

static gboolean is_safe(const uint32_t units[256], const char *strings, gsize n_strings)
{
    g_autoptr(GByteArray) map = map_of(units, strings, n_strings);
    return lf_charsmap_check((LfSpan){map->data, map->len});
}

/* A unit at `index` whose children's base is `base`. */
static uint32_t unit(uint32_t index, uint32_t base, int label, gboolean ends)
{
    return (index ^ base) << 10 | (ends ? 0x100 : 0) | (uint32_t) label;
}

/* "a" becomes what the strings have at `value`. */
static void replace_a(uint32_t units[256], uint32_t value)
{
    memset(units, 0, 256 * sizeof units[0]);
    units[0] = unit(0, 2, 0, FALSE);
    units[2 ^ 'a'] = unit(2 ^ 'a', 5, 'a', TRUE);
    units[5] = 0x80000000u | value;
}

static void test_charsmap(void)
{
    uint32_t units[256];
    replace_a(units, 3);
    g_assert_true(is_safe(units, "abc", 4));   /* the value is the last NUL */
    g_assert_false(is_safe(units, "ab", 3));   /* it leads behind the text */
    g_assert_false(is_safe(units, "abcd", 4)); /* no NUL at the end */
    units[2 ^ 'a'] = unit(2 ^ 'a', 256, 'a', FALSE);
    g_assert_false(is_safe(units, "abc", 4)); /* the children lie behind the units */
    units[2 ^ 'a'] = unit(2 ^ 'a', 2, 'a', FALSE);
    g_assert_true(is_safe(units, "abc", 4)); /* a cycle without a match */
    units[2 ^ 'a'] = unit(2 ^ 'a', 2, 'a', TRUE);
    g_assert_false(is_safe(units, "abc", 4)); /* a match without end */
    replace_a(units, 3);
    units[2] = unit(2, 256, 0, FALSE);
    g_assert_false(is_safe(units, "abc", 4)); /* behind the units after a NUL */

    g_autofree char *large = g_malloc0(LF_CHARSMAP_MAX_SIZE);
    replace_a(units, 3);
    g_assert_true(is_safe(units, large, LF_CHARSMAP_MAX_SIZE - 1028));
    g_assert_false(is_safe(units, large, LF_CHARSMAP_MAX_SIZE - 1027));
}

static void test_charsmap_reach(void)
{
    uint32_t units[256];
    replace_a(units, 1);
    g_autoptr(GByteArray) map = map_of(units, "\0x y z", 7);
    LfSpan span = {map->data, map->len}, none = {NULL, 0};
    g_assert_cmpuint(lf_charsmap_reach(span, "", 100), ==, 3);
    g_assert_cmpuint(lf_charsmap_reach(span, "bb", 100), ==, 5);
    g_assert_cmpuint(lf_charsmap_reach(span, "ba b", 100), ==, 3 + 1 + 9 + 3 + 1);
    replace_a(units, 0); /* by nothing */
    g_autoptr(GByteArray) empty = map_of(units, "", 1);
    g_assert_cmpuint(lf_charsmap_reach((LfSpan){empty->data, empty->len}, "aba", 100), ==, 6);
    g_assert_cmpuint(lf_charsmap_reach(none, "ba b", 100), ==, 3 + 1 + 1 + 3 + 1);
    g_assert_cmpuint(lf_charsmap_reach(span, "日a", 100), ==, 3 + 3 + 9);
    g_assert_cmpuint(lf_charsmap_reach(span, "aaaaaaaaaaa", 101), ==, 102);
    g_assert_cmpuint(lf_charsmap_reach(span, "aaaaaaaaaaa", 20), >, 20);
}

/* With a normaliser of this tag and this map. */
static GByteArray *demo_with_map(const char *tag, const char *map_tag, const GByteArray *map)
{
    g_autoptr(GByteArray) spec = g_byte_array_new(), size = g_byte_array_new();
    GByteArray *model = demo_without(NORMALIZER);
    g_byte_array_append(spec, (const guint8 *) map_tag, (guint) strlen(map_tag));
    lf_wire_put_bytes(size, 1, map->data, map->len);
    g_byte_array_append(spec, size->data + 1, size->len - 1);
    g_byte_array_set_size(size, 0);
    lf_wire_put_bytes(size, 1, spec->data, spec->len);
    g_byte_array_append(model, (const guint8 *) tag, (guint) strlen(tag));
    g_byte_array_append(model, size->data + 1, size->len - 1);
    return model;
}

/* The library keeps 32 bits of a tag, so these are the tags of a normaliser and of its map to it,
 * whatever the bits above say. */
static void test_long_tags(void)
{
    static const char *const tags[] = {"\x1a", "\x9a\x80\x80\x80\x10"}, *const map_tags[] = {
                                                                            "\x12",
                                                                            "\x92\x80\x80\x80\x10"};
    uint32_t units[256];
    for (int i = 0; i < 8; i++) {
        gboolean wild = i & 1, long_tag = i & 2, long_map_tag = i & 4;
        replace_a(units, 0);
        if (wild)
            units[2 ^ 'a'] = 0x1fffffu << 10 | 0x200 | 'a';
        g_autoptr(GByteArray) map = map_of(units, "b", 2);
        g_autoptr(GByteArray) model =
            demo_with_map(tags[long_tag ? 1 : 0], map_tags[long_map_tag ? 1 : 0], map);
        g_assert_true(model_opens(model, "aa red ball") == (i == 0));
    }
}

/* A text that the map can make longer than 256 KiB is refused, before it is. */
static void test_expansion(void)
{
    enum { N = 100 * 1024 };
    uint32_t units[256];
    replace_a(units, 0);
    g_autofree char *strings = g_strnfill(N, 'q'), *path = NULL;
    g_autoptr(GByteArray) map = map_of(units, strings, N + 1);
    g_autoptr(GByteArray) model = demo_with_map("\x1a", "\x12", map);
    g_autoptr(GError) error = NULL;
    int32_t ids[8];
    int fd = g_file_open_tmp("lf-XXXXXX.model", &path, NULL);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(path, (char *) model->data, model->len, NULL));
    LfTokenizer *tokenizer = lf_tokenizer_open(path, NULL);
    g_unlink(path);
    g_assert_cmpint(lf_tokenizer_encode(tokenizer, "a red a", ids, 8, NULL, NULL), ==, 8);
    g_assert_cmpint(lf_tokenizer_encode(tokenizer, "a red aa", ids, 8, NULL, &error), ==, -1);
    g_assert_error(error, LF_ERROR, LF_ERROR_TEXT);
    g_assert_nonnull(strstr(error->message, "256 KiB"));
    lf_tokenizer_free(tokenizer);
}

/* ---- what a model may cost ------------------------------------------------------------------- */

/* The library refuses a model whose self-test fails; it is not to run one. */
static void test_self_test(void)
{
    g_autoptr(GByteArray) model = read_demo(), sample = g_byte_array_new(),
                          data = g_byte_array_new();
    lf_wire_put_bytes(sample, 1, "a\0red ball", 10);
    lf_wire_put_bytes(sample, 2, "else", 4);
    lf_wire_put_bytes(data, 1, sample->data, sample->len);
    lf_wire_put_bytes(model, SELF_TEST, data->data, data->len);
    g_assert_true(model_opens(model, "a red ball"));
}

static void put_piece(GByteArray *model, const char *text, gsize size)
{
    g_autoptr(GByteArray) piece = g_byte_array_new();
    lf_wire_put_bytes(piece, 1, text, size);
    lf_wire_put_float(piece, 2, -9);
    lf_wire_put_bytes(model, PIECE, piece->data, piece->len);
}

static void test_piece_limits(void)
{
    g_autofree char *text = g_strnfill(1025, 'q');
    for (gsize size = 1023; size < 1026; size++) {
        g_autoptr(GByteArray) model = read_demo();
        put_piece(model, text, size);
        g_assert_true(model_opens(model, text) == (size <= 1024));
    }
    g_autoptr(GByteArray) empty = read_demo(), many = read_demo(), none = demo_without(PIECE);
    put_piece(empty, "", 0);
    g_assert_false(model_opens(empty, ""));
    g_assert_false(model_opens(none, ""));
    for (int i = 0; i < 512 * 1024; i++)
        lf_wire_put_bytes(many, PIECE, "\n\1q", 3);
    GByteArray *checked;
    LfSpan charsmap;
    g_assert_nonnull(strstr(lf_spiece_check((LfSpan){many->data, many->len}, &checked, &charsmap),
                            "524288 pieces"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tokenizer/ids", test_ids);
    g_test_add_func("/tokenizer/capacity", test_capacity);
    g_test_add_func("/tokenizer/refused-text", test_refused_text);
    g_test_add_func("/tokenizer/bad-files", test_bad_files);
    g_test_add_func("/tokenizer/damaged-files", test_damaged_files);
    g_test_add_func("/tokenizer/charsmap", test_charsmap);
    g_test_add_func("/tokenizer/charsmap-reach", test_charsmap_reach);
    g_test_add_func("/tokenizer/long-tags", test_long_tags);
    g_test_add_func("/tokenizer/expansion", test_expansion);
    g_test_add_func("/tokenizer/self-test", test_self_test);
    g_test_add_func("/tokenizer/piece-limits", test_piece_limits);
    return g_test_run();
}
