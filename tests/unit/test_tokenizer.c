/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The tokenizer on the demo model's file; the ids wanted are SentencePiece's own, from Python.
 */
#include "engine/files/charsmap.h"
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
        int n = lf_tokenizer_encode(tokenizer, cases[i].text, ids, 16, NULL), wanted = 0;
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
        int n = lf_tokenizer_encode(tokenizer, c->text, ids, capacity, NULL);
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
    g_assert_cmpint(lf_tokenizer_encode(tokenizer, "a \377", ids, 4, &error), ==, -1);
    g_assert_error(error, LF_ERROR, LF_ERROR_TEXT);
    g_clear_error(&error);
    g_assert_cmpint(lf_tokenizer_encode(tokenizer, "a", ids, 0, &error), ==, -1);
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
    int n = lf_tokenizer_encode(tokenizer, text, ids, 32, NULL);
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

/* ---- the character map's check --------------------------------------------------------------- */

/* A model that is only a normaliser's map of one block of units. */
static gboolean is_safe(const uint32_t units[256], const char *text, gsize n_text)
{
    GByteArray *bytes = g_byte_array_new();
    gsize map = 4 + 1024 + n_text, spec = map + 3;
    const guint8 head[] = {3 << 3 | 2, (spec & 0x7f) | 0x80, (guint8) (spec >> 7),
                           2 << 3 | 2, (map & 0x7f) | 0x80,  (guint8) (map >> 7)};
    uint32_t size = GUINT32_TO_LE(1024);
    g_byte_array_append(bytes, head, sizeof(head));
    g_byte_array_append(bytes, (const guint8 *) &size, 4);
    for (int i = 0; i < 256; i++) {
        uint32_t unit = GUINT32_TO_LE(units[i]);
        g_byte_array_append(bytes, (const guint8 *) &unit, 4);
    }
    g_byte_array_append(bytes, (const guint8 *) text, (guint) n_text);
    gboolean safe = lf_charsmap_check((const char *) bytes->data, bytes->len);
    g_byte_array_unref(bytes);
    return safe;
}

/* A unit at `index` whose children's base is `base`. */
static uint32_t unit(uint32_t index, uint32_t base, int label, gboolean ends)
{
    return (index ^ base) << 10 | (ends ? 0x100 : 0) | (uint32_t) label;
}

static void test_charsmap(void)
{
    uint32_t units[256] = {0};
    units[0] = unit(0, 2, 0, FALSE);
    units[2 ^ 'a'] = unit(2 ^ 'a', 5, 'a', TRUE);
    units[5] = 0x80000000u | 3; /* value 3: the text's last NUL */
    g_assert_true(is_safe(units, "abc", 4));
    g_assert_false(is_safe(units, "ab", 3));   /* the value leads behind the text */
    g_assert_false(is_safe(units, "abcd", 4)); /* no NUL at the end */
    units[2 ^ 'a'] = unit(2 ^ 'a', 256, 'a', FALSE);
    g_assert_false(is_safe(units, "abc", 4)); /* the children lie behind the units */
    units[2 ^ 'a'] = unit(2 ^ 'a', 2, 'a', FALSE);
    g_assert_true(is_safe(units, "abc", 4)); /* a cycle without a match */
    units[2 ^ 'a'] = unit(2 ^ 'a', 2, 'a', TRUE);
    g_assert_false(is_safe(units, "abc", 4)); /* a match without end */
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
    return g_test_run();
}
