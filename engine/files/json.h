/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * JSON from files that nobody vouches for.
 */
#ifndef LF_FILES_JSON_H
#define LF_FILES_JSON_H

#include "kernels/error.h"

#include <json-glib/json-glib.h>

/* The object that `text` holds; `what` names it in messages. json-glib parses by recursion and
 * takes more than JSON (comments, single quotes), so text that is no UTF-8, nests deeply or has
 * foreign characters outside of its strings is refused before json-glib sees it. Transfer full. */
JsonNode *lf_json_parse(const char *text, gsize size, const char *what, GError **error);

#endif
