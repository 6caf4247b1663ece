/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"

#include <string.h>

/* model.json nests three deep. json-glib keeps a node of some hundred bytes for each value, and
 * takes a time that grows as the square of an object's members if their names were chosen for it. */
enum { MAX_DEPTH = 16, MAX_MEMBERS = 2048, MAX_VALUES = 32768 };

static bool outside_of_strings(char c)
{
    return g_ascii_isalnum(c) || (c && strchr("{}[]:,+-. \t\r\n", c));
}

/* The code unit of the escape \uXXXX at text[i]; -1 when there is no such escape. */
static int code_unit(const char *text, gsize size, gsize i)
{
    int unit = 0;
    if (size < 6 || i > size - 6 || text[i] != '\\' || text[i + 1] != 'u')
        return -1;
    for (gsize k = i + 2; k < i + 6; k++) {
        if (!g_ascii_isxdigit(text[k]))
            return -1;
        unit = 16 * unit + g_ascii_xdigit_value(text[k]);
    }
    return unit;
}

/* Bytes of the escape at text[i]; 0 for an escape that JSON does not have and for a number that is
 * no character. json-glib would turn half a surrogate pair, or an octal number, into a string that
 * is not UTF-8. */
static gsize escape_size(const char *text, gsize size, gsize i)
{
    int unit = code_unit(text, size, i);
    if (unit < 0)
        return i + 1 < size && text[i + 1] && strchr("\"\\/bfnrt", text[i + 1]) ? 2 : 0;
    if (unit < 0xd800 || unit > 0xdfff)
        return 6;
    int low = code_unit(text, size, i + 6);
    return unit < 0xdc00 && low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

/* Counts depth as json-glib does: both agree on where a string ends, and once comments are refused
 * only a string can hide a bracket. */
static const char *fault_of(const char *text, gsize size)
{
    int depth = 0, values = 0, members[MAX_DEPTH + 1] = {0};
    bool string = false;
    for (gsize i = 0; i < size; i++) {
        char c = text[i];
        if (c == '"')
            string = !string;
        else if (string && c == '\\') {
            gsize escape = escape_size(text, size, i);
            if (escape == 0)
                return "an escape that is no character";
            i += escape - 1;
        } else if (string)
            continue;
        else if (!outside_of_strings(c))
            return "a character that JSON does not have";
        else if (strchr("{[,", c) && ++values > MAX_VALUES)
            return "it has too many values";
        else if (c == ':' && depth > 0 && ++members[depth] > MAX_MEMBERS)
            return "it has an object of too many members";
        else if ((c == '{' || c == '[') && ++depth > MAX_DEPTH)
            return "it nests too deeply";
        else if (c == '{' || c == '[')
            members[depth] = 0;
        else if ((c == '}' || c == ']') && --depth < 0)
            return "brackets that do not match";
    }
    return string ? "a string without an end" : depth != 0 ? "brackets that do not match" : NULL;
}

JsonNode *lf_json_parse(const char *text, gsize size, const char *what, GError **error)
{
    const char *fault = "it is not UTF-8";
    if (size == 0)
        fault = "it is empty";
    else if (g_utf8_validate_len(text, size, NULL))
        fault = fault_of(text, size);
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) parse = NULL;
    g_autofree char *problem = NULL;
    if (!fault && !json_parser_load_from_data(parser, text, (gssize) size, &parse))
        fault = problem = g_utf8_make_valid(parse->message, -1);
    JsonNode *root = fault ? NULL : json_parser_get_root(parser);
    if (!fault && (!root || !JSON_NODE_HOLDS_OBJECT(root)))
        fault = "it is not an object";
    if (fault) {
        lf_fail(error, LF_ERROR_FORMAT, "%s is not valid JSON: %s", what, fault);
        return NULL;
    }
    return json_node_ref(root);
}
