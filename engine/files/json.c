/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"

#include <string.h>

enum { MAX_DEPTH = 16 }; /* a tensor's entry nests three deep, model.json three */

static gboolean outside_of_strings(char c)
{
    return g_ascii_isalnum(c) || (c && strchr("{}[]:,+-. \t\r\n", c));
}

/* Depth is counted as json-glib will count it: the two agree on where a string ends, and only
 * strings could hide a bracket once comments are out. */
static const char *fault_of(const char *text, gsize size)
{
    int depth = 0;
    gboolean string = FALSE;
    for (gsize i = 0; i < size; i++) {
        char c = text[i];
        if (c == '"')
            string = !string;
        else if (string && c == '\\')
            i++;
        else if (string)
            continue;
        else if (!outside_of_strings(c))
            return "a character that JSON does not have";
        else if ((c == '{' || c == '[') && ++depth > MAX_DEPTH)
            return "it nests too deeply";
        else if (c == '}' || c == ']')
            depth--;
    }
    return string ? "a string without an end" : depth != 0 ? "brackets that do not match" : NULL;
}

JsonNode *lf_json_parse(const char *text, gsize size, const char *what, GError **error)
{
    const char *fault = "it is no UTF-8";
    if (size == 0)
        fault = "it is empty";
    else if (g_utf8_validate_len(text, size, NULL))
        fault = fault_of(text, size);
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) parse = NULL;
    if (!fault && !json_parser_load_from_data(parser, text, (gssize) size, &parse))
        fault = parse->message;
    JsonNode *root = fault ? NULL : json_parser_get_root(parser);
    if (!fault && (!root || !JSON_NODE_HOLDS_OBJECT(root)))
        fault = "it is no object";
    if (fault) {
        g_set_error(error, LF_ERROR, LF_ERROR_FORMAT, "%s is no JSON that can be read: %s", what,
                    fault);
        return NULL;
    }
    return json_node_ref(root);
}
