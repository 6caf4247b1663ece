/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json_scan.h"

#include <string.h>

static bool fail(LfJsonScan *scan, const char *fault)
{
    if (!scan->fault)
        scan->fault = fault;
    return false;
}

void lf_json_scan_init(LfJsonScan *scan, const char *text, gsize size)
{
    *scan = (LfJsonScan){.at = text, .end = text + size};
    scan->key = g_string_new(NULL);
    scan->string = g_string_new(NULL);
    if (!g_utf8_validate_len(text, size, NULL))
        fail(scan, "it is not UTF-8");
}

void lf_json_scan_clear(LfJsonScan *scan)
{
    g_string_free(scan->key, true);
    g_string_free(scan->string, true);
}

char lf_json_peek(LfJsonScan *scan)
{
    while (scan->at < scan->end && strchr(" \t\r\n", *scan->at) && *scan->at)
        scan->at++;
    return scan->at < scan->end && !scan->fault ? *scan->at : 0;
}

static bool take(LfJsonScan *scan, char c, const char *fault)
{
    if (lf_json_peek(scan) != c)
        return fail(scan, fault);
    scan->at++;
    return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

static bool take_unit(LfJsonScan *scan, gunichar *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        if (scan->at >= scan->end || !g_ascii_isxdigit(*scan->at))
            return fail(scan, "an escape that is no character");
        *unit = 16 * *unit + (gunichar) g_ascii_xdigit_value(*scan->at++);
    }
    return true;
}

/* After "\u". Characters beyond U+FFFF are a pair of surrogates. */
static bool take_character(LfJsonScan *scan, GString *out)
{
    gunichar unit, low;
    if (!take_unit(scan, &unit))
        return false;
    if (unit >= 0xd800 && unit < 0xdc00) {
        if (scan->end - scan->at < 2 || scan->at[0] != '\\' || scan->at[1] != 'u')
            return fail(scan, "an escape that is no character");
        scan->at += 2;
        if (!take_unit(scan, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(scan, "an escape that is no character");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    } else if (unit >= 0xdc00 && unit < 0xe000) {
        return fail(scan, "an escape that is no character");
    }
    if (out)
        g_string_append_unichar(out, unit);
    return true;
}

static bool take_escape(LfJsonScan *scan, GString *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = scan->at < scan->end ? *scan->at++ : 0;
    if (c == 'u')
        return take_character(scan, out);
    const char *name = c ? strchr(names, c) : NULL;
    if (!name)
        return fail(scan, "an escape that is no character");
    if (out)
        g_string_append_c(out, values[name - names]);
    return true;
}

/* `out` may be NULL. */
static bool take_text(LfJsonScan *scan, GString *out)
{
    if (out)
        g_string_truncate(out, 0);
    if (!take(scan, '"', "it has another value where a string is expected"))
        return false;
    while (scan->at < scan->end && *scan->at != '"') {
        const char *begin = scan->at;
        while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\\' &&
               (guchar) *scan->at >= ' ')
            scan->at++;
        if (out)
            g_string_append_len(out, begin, scan->at - begin);
        if (scan->at < scan->end && (guchar) *scan->at < ' ')
            return fail(scan, "a control character in a string");
        if (scan->at < scan->end && *scan->at == '\\') {
            scan->at++;
            if (!take_escape(scan, out))
                return false;
        }
    }
    return take(scan, '"', "a string without an end");
}

bool lf_json_take_string(LfJsonScan *scan)
{
    return take_text(scan, scan->string);
}

/* ---- numbers and words ----------------------------------------------------------------------- */

static void skip_digits(const char **at, const char *end)
{
    while (*at < end && g_ascii_isdigit(**at))
        (*at)++;
}

/* The end of the number at `at`; `at` itself when there is none. */
static const char *number_end(const char *at, const char *end)
{
    const char *p = at + (at < end && *at == '-'), *digits = p;
    skip_digits(&p, end);
    if (p == digits || (*digits == '0' && p - digits > 1))
        return at;
    if (p < end && *p == '.') {
        digits = ++p;
        skip_digits(&p, end);
        if (p == digits)
            return at;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        digits = p;
        skip_digits(&p, end);
        if (p == digits)
            return at;
    }
    return p;
}

/* The text need not end with NUL, so the number is copied; no double needs more digits. */
bool lf_json_take_number(LfJsonScan *scan, double *value)
{
    char digits[64];
    lf_json_peek(scan);
    if (scan->fault)
        return false;
    const char *end = number_end(scan->at, scan->end);
    gsize size = (gsize) (end - scan->at);
    if (size == 0 || size >= sizeof digits)
        return fail(scan, "it has another value where a number is expected");
    memcpy(digits, scan->at, size);
    digits[size] = 0;
    *value = g_ascii_strtod(digits, NULL);
    scan->at = end;
    return true;
}

bool lf_json_take_int(LfJsonScan *scan, int *value)
{
    double number;
    if (!lf_json_take_number(scan, &number))
        return false;
    if (!(number >= 0 && number <= G_MAXINT && number == (int) number))
        return fail(scan, "it has another value where a whole number is expected");
    *value = (int) number;
    return true;
}

/* Digits alone, because a double would round them. */
bool lf_json_take_int64(LfJsonScan *scan, int64_t *value)
{
    lf_json_peek(scan);
    const char *begin = scan->at, *end = scan->fault ? begin : number_end(begin, scan->end);
    bool whole = end > begin;
    *value = 0;
    for (const char *at = begin; at < end && whole; at++)
        whole = g_ascii_isdigit(*at) && !__builtin_mul_overflow(*value, 10, value) &&
                !__builtin_add_overflow(*value, *at - '0', value);
    if (!whole)
        return fail(scan, "it has another value where a whole number is expected");
    scan->at = end;
    return true;
}

static bool take_word(LfJsonScan *scan, const char *word)
{
    gsize size = strlen(word);
    lf_json_peek(scan);
    if (scan->fault || (gsize) (scan->end - scan->at) < size || memcmp(scan->at, word, size) != 0)
        return false;
    scan->at += size;
    return true;
}

bool lf_json_take_bool(LfJsonScan *scan, bool *value)
{
    *value = take_word(scan, "true");
    return *value || take_word(scan, "false") ||
           fail(scan, "it has another value where true or false is expected");
}

bool lf_json_take_null(LfJsonScan *scan)
{
    return take_word(scan, "null");
}

/* ---- lists and objects ----------------------------------------------------------------------- */

bool lf_json_enter(LfJsonScan *scan, char bracket)
{
    if (!take(scan, bracket,
              bracket == '{' ? "it has another value where an object is expected"
                             : "it has another value where a list is expected"))
        return false;
    if (scan->depth == LF_JSON_SCAN_DEPTH)
        return fail(scan, "it nests too deeply");
    scan->closing[scan->depth] = bracket == '{' ? '}' : ']';
    scan->begun[scan->depth++] = false;
    return true;
}

bool lf_json_next(LfJsonScan *scan)
{
    if (scan->fault || scan->depth == 0)
        return false;
    bool *begun = &scan->begun[scan->depth - 1];
    char closing = scan->closing[scan->depth - 1];
    if (lf_json_peek(scan) == closing) {
        scan->at++;
        scan->depth--;
        return false;
    }
    if (*begun && !take(scan, ',', "a list or an object without an end"))
        return false;
    *begun = true;
    return closing == ']' ||
           (take_text(scan, scan->key) && take(scan, ':', "a key without a value"));
}

bool lf_json_has_key(const LfJsonScan *scan, const char *key)
{
    return strcmp(scan->key->str, key) == 0;
}

static bool skip_plain(LfJsonScan *scan)
{
    double number;
    char c = lf_json_peek(scan);
    if (c == '"')
        return take_text(scan, NULL);
    return take_word(scan, "true") || take_word(scan, "false") || take_word(scan, "null") ||
           lf_json_take_number(scan, &number);
}

bool lf_json_skip(LfJsonScan *scan)
{
    int outside = scan->depth;
    do {
        char c = lf_json_peek(scan);
        if (c == '{' || c == '[')
            lf_json_enter(scan, c);
        else
            skip_plain(scan);
        while (scan->depth > outside && !scan->fault && !lf_json_next(scan))
            ;
    } while (scan->depth > outside && !scan->fault);
    return !scan->fault;
}

bool lf_json_end(LfJsonScan *scan)
{
    lf_json_peek(scan);
    return !scan->fault && (scan->at == scan->end || fail(scan, "text follows its end"));
}
