/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cleaning of prompts. The expected values are what the published pipelines' own cleaning makes of
 * the same text, but for the case in `kept`.
 */
#include "engine/files/tokenizer.h"

#include <string.h>

static const char *const cases[][2] = {
    {"", ""},
    {" \t\n ", ""},
    {"a  red\tball \n\n on   grass ", "a red ball on grass"},
    {"one\r\ntwo\rthree\u2028four\u2029five", "one two three four five"},
    {"one\u00a0two\u3000three\u2003four\u1680five", "one two three four five"},
    {"“Hello” it’s ‘fine’", "\"Hello\" it's 'fine'"},
    {"ﬁsh ﬂag oﬀice Ĳssel ǅ", "fish flag office IJssel Dž"},
    {"ＦＵＬＬ　ｗｉｄｔｈ ｶﾞﾗｽ", "FULL width ガラス"},
    {"\033[31mred\033[0m ball\007\033[1;32m!", "red ball!"},
    {"a\001b\177c\013d\ufeffe\ufffcf", "abcdef"},
    {"cafe\u0301 A\u030a", "café Å"},
    {"東京 мир 😀 👩\u200d👧", "東京 мир 😀 👩\u200d👧"},
    {"\302\205 yes \302\223no\302\224", "… yes \"no\""},
    /* HTML: named, numbered, cut short, nested, unknown; with a tag the first unescaping waits */
    {"&lt;b&gt; &amp; &quot;q&quot; &#39;x&#39; &nbsp; &hellip;", "<b> & \"q\" 'x' …"},
    {"&#233; &#xe9; &#XE9 &#233", "é é é é"},
    {"&eacute; &EACUTE; &Eacute; &AMP; &bogus; & &;", "é É É & &bogus; & &;"},
    {"&copy 2024 &notit; &notin; &noti", "© 2024 ¬it; ∉ ¬i"},
    {"&#128; &#0; &#xD800; &#99999999999999;", "€ \ufffd \ufffd \ufffd"},
    {"&#4294967361; &#x100000041;", "\ufffd \ufffd"}, /* 2³² + 65 */
    {"a&#160;b &#127;c &#128; &#159; &#161;", "a b c € Ÿ ¡"},
    {"&CounterClockwiseContourIntegral; y", "∳ y"},
    {"&amp;lt; &amp;amp;lt; &amp;amp;amp;amp;lt;", "< < <"},
    {"<i> &amp;amp;lt; &amp;amp;amp;lt;", "<i> &lt; &amp;lt;"},
    {"<b>\n&amp;amp;amp;lt;", "<b> &amp;lt;"},
    {"&amp;amp;amp;lt;\n<b>", "< <b>"},
    {"100% <tag> $5", "100% <tag> $5"},
    /* UTF-8 that was read as Windows-1252 or Latin-1, once and twice, and text that only looks
     * so */
    {"cafÃ© naÃ¯ve", "café naïve"},
    {"itâ€™s â€œquotedâ€\302\235 â€” ok", "it's \"quoted\" — ok"},
    {"ðŸ˜€ smile", "😀 smile"},
    {"Ã–sterreich StraÃŸe", "Österreich Straße"},
    {"Ð¼Ð¸Ñ€", "мир"},
    {"caf\303\203\302\251 \303\245\302\214\302\227", "café 北"},
    {"rÃƒÂ©sumÃƒÂ©", "résumé"},
    {"“CAFÉ” KŘÍŽ «voilà» Â Ã", "\"CAFÉ\" KŘÍŽ «voilà» Â Ã"},
};

static void assert_clean(const char *prompt, const char *wanted)
{
    GError *error = NULL;
    char *clean = lf_prompt_clean(prompt, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(clean, ==, wanted);
    g_free(clean);
}

static void test_cases(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_clean(cases[i][0], cases[i][1]);
}

/* The published cleaning reads the Ã and the quote that closes here as misread UTF-8. */
static void test_kept(void)
{
    assert_clean("“MAÇÃ”…", "\"MAÇÃ\"…");
}

/* Any text comes out as UTF-8 without a space too many, and clean text stays. */
static void test_random(void)
{
    static const gunichar some[] = {'&', '#', 'x', ';',    'a',    ' ',    '\n', 0x1b,   '[',
                                    'm', '<', 'p', 0xc3,   0xa9,   0xe2,   0x80, 0x20ac, 0x2122,
                                    '1', '9', 't', 0xff21, 0xfb01, 0x2028, 'A',  0x301,  'l'};
    for (int i = 0; i < 3000; i++) {
        GString *text = g_string_new(NULL);
        for (int n = g_test_rand_int_range(0, 30); n > 0; n--)
            g_string_append_unichar(text, some[g_test_rand_int_range(0, G_N_ELEMENTS(some))]);
        char *clean = lf_prompt_clean(text->str, NULL);
        g_assert_nonnull(clean);
        g_assert_true(g_utf8_validate(clean, -1, NULL));
        g_assert_null(strstr(clean, "  "));
        g_assert_null(strpbrk(clean, "\n\t\033"));
        g_assert_false(g_str_has_prefix(clean, " ") || g_str_has_suffix(clean, " "));
        g_free(clean);
        g_string_free(text, TRUE);
    }
}

/* Letters, marks of several classes, parts of Hangul syllables, kana, Indic vowel signs: as the
 * whole text composes, so do its parts. */
static void test_composed(void)
{
    static const gunichar ranges[][2] = {
        {'a', 'z'},       {0x300, 0x345},   {0x391, 0x3c9},     {0x1100, 0x1112},  {0x1161, 0x1175},
        {0x11a8, 0x11c2}, {0xac00, 0xac1c}, {0x3041, 0x309a},   {0x915, 0x93c},    {0x958, 0x95f},
        {0x9c7, 0x9d7},   {0xdd9, 0xddf},   {0x1112f, 0x11134}, {0x1d15e, 0x1d164}};
    for (int i = 0; i < 300; i++) {
        g_autoptr(GString) text = g_string_new("a");
        for (int n = g_test_rand_int_range(0, 500); n > 0; n--) {
            int range = g_test_rand_int_range(0, G_N_ELEMENTS(ranges));
            for (int run = g_test_rand_int_range(1, 6); run > 0; run--)
                g_string_append_unichar(
                    text, (gunichar) g_test_rand_int_range((gint32) ranges[range][0],
                                                           (gint32) ranges[range][1] + 1));
        }
        g_autofree char *clean = lf_prompt_clean(text->str, NULL),
                        *wanted = g_utf8_normalize(text->str, -1, G_NORMALIZE_NFC);
        g_assert_cmpstr(clean, ==, wanted);
    }
}

static void assert_refused(const char *prompt, const char *told)
{
    GError *error = NULL;
    g_assert_null(lf_prompt_clean(prompt, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_TEXT);
    g_assert_nonnull(strstr(error->message, told));
    g_error_free(error);
}

static void test_refused(void)
{
    assert_refused("a \377 b", "byte 2");
    assert_refused("\355\240\200", "UTF-8"); /* a surrogate */
    assert_refused("cut \342\202", "byte 4");
    char *huge = g_strnfill(64 * 1024 + 1, 'a');
    assert_refused(huge, "64 KiB");
    huge[64 * 1024] = '\0';
    assert_clean(huge, huge);
    g_free(huge);
}

/* The worst that 64 KiB can ask for, also where it nests. If anything here grew with the square of
 * the length, this would take longer than the test's time limit. */
static void test_hostile(void)
{
    static const char *const parts[] = {"&amp;",  "&amp;amp", "&",      "&a",
                                        "Ã",      "Ãƒ",       "\n",     "\033[",
                                        "\u01d5", "\u0390",   "\u0929", "\u0301\u0323"};
    for (size_t i = 0; i < 2 * G_N_ELEMENTS(parts); i++) {
        /* The nesting makes for the largest number of rounds. */
        GString *text = g_string_new(i % 2 ? "" : "&amp;amp;amp;amp;amp;amp;amp;amp;amp;amp;amp;x");
        while (text->len + strlen(parts[i / 2]) <= 64 * 1024)
            g_string_append(text, parts[i / 2]);
        char *clean = lf_prompt_clean(text->str, NULL);
        g_assert_nonnull(clean);
        g_free(clean);
        g_string_free(text, TRUE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prompt_clean/cases", test_cases);
    g_test_add_func("/prompt_clean/kept", test_kept);
    g_test_add_func("/prompt_clean/random", test_random);
    g_test_add_func("/prompt_clean/composed", test_composed);
    g_test_add_func("/prompt_clean/refused", test_refused);
    g_test_add_func("/prompt_clean/hostile", test_hostile);
    return g_test_run();
}
