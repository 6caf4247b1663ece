/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Limits of JSON trees, and numbers of the reader without a tree. Both are used on files that
 * somebody may have made to cost time or memory.
 */
#include "engine/files/json.h"
#include "engine/files/json_scan.h"

#include <string.h>

/* {"a": [item, item …]}, or an object of the keys k0, k1 … where `item` is a member's value. */
static GString *many(const char *item, int n, bool members)
{
    GString *text = g_string_new(members ? "{" : "{\"a\":[");
    for (int i = 0; i < n; i++) {
        g_string_append(text, i ? "," : "");
        if (members)
            g_string_append_printf(text, "\"k%d\":", i);
        g_string_append(text, item);
    }
    return g_string_append(text, members ? "}" : "]}");
}

static void assert_parsed(GString *text, const char *problem)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = lf_json_parse(text->str, text->len, "it", &error);
    if (problem) {
        g_assert_null(node);
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_assert_nonnull(strstr(error->message, problem));
    } else {
        g_assert_no_error(error);
    }
    g_string_free(text, TRUE);
}

static void test_limits(void)
{
    assert_parsed(many("{}", 10000, false), NULL);
    assert_parsed(many("{}", 20000, false), "too many values");
    assert_parsed(many("1", 32000, false), NULL);
    assert_parsed(many("1", 33000, false), "too many values");
    assert_parsed(many("\",:,:,:,\"", 2048, true), NULL);
    assert_parsed(many("1", 2049, true), "too many members");
    assert_parsed(many("{\"b\":1,\"c\":2}", 2048, true), NULL);
    assert_parsed(g_string_new("{\"a\":1}}{"), "brackets");
}

/* What json-glib says of a token is cut after so many bytes, also within a character. */
static void test_message(void)
{
    for (int n = 1; n < 60; n++) {
        GString *text = g_string_new("{\"");
        for (int i = 0; i < n; i++)
            g_string_append(text, "é");
        g_string_append(text, "\" 1}");
        g_autoptr(GError) error = NULL;
        g_assert_null(lf_json_parse(text->str, text->len, "it", &error));
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        g_string_free(text, TRUE);
    }
}

static void test_int64(void)
{
    static const struct {
        const char *text;
        int64_t value; /* −1: none */
    } numbers[] = {
        {"0", 0},    {" 17 ", 17},  {"9007199254740993", 9007199254740993},
        {"-1", -1},  {"1.0", -1},   {"9223372036854775807", INT64_MAX},
        {"1e3", -1}, {"\"1\"", -1}, {"9223372036854775808", -1},
        {"", -1},    {"01", -1},    {"99999999999999999999", -1},
        {"[1]", -1},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        LfJsonScan scan;
        int64_t value;
        lf_json_scan_init(&scan, numbers[i].text, strlen(numbers[i].text));
        bool taken = lf_json_take_int64(&scan, &value);
        g_assert_true(taken == (numbers[i].value >= 0));
        g_assert_true(taken == (scan.fault == NULL));
        if (taken)
            g_assert_cmpint(value, ==, numbers[i].value);
        lf_json_scan_clear(&scan);
    }
}

/* What is skipped is checked as what is taken, and leaves the string that was taken last. */
static void test_skip(void)
{
    static const char text[] =
        "[\"kept\", \"left \\u00e9 \\n out\", {\"a\": [\"x\"]}, \"\\ud800\"]";
    LfJsonScan scan;
    lf_json_scan_init(&scan, text, sizeof text - 1);
    g_assert_true(lf_json_enter(&scan, '['));
    g_assert_true(lf_json_next(&scan) && lf_json_take_string(&scan));
    g_assert_true(lf_json_next(&scan) && lf_json_skip(&scan));
    g_assert_true(lf_json_next(&scan) && lf_json_skip(&scan));
    g_assert_cmpstr(scan.string->str, ==, "kept");
    g_assert_true(lf_json_next(&scan));
    g_assert_false(lf_json_skip(&scan));
    g_assert_nonnull(strstr(scan.fault, "escape"));
    lf_json_scan_clear(&scan);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/limits", test_limits);
    g_test_add_func("/json/message", test_message);
    g_test_add_func("/json/int64", test_int64);
    g_test_add_func("/json/skip", test_skip);
    return g_test_run();
}
