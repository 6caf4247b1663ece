/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * JSON from untrusted files.
 */
#ifndef LF_FILES_JSON_H
#define LF_FILES_JSON_H

#include "kernels/error.h"

#include <json-glib/json-glib.h>

/* Parses `text`, which must be an object; `what` names it in messages. json-glib parses by
 * recursion and accepts more than JSON (comments, single quotes), so text that is not UTF-8, nests
 * deeply, has too many values (32768, or 2048 in one object) or other characters outside of strings
 * is refused before json-glib sees it. For large files there is json_scan.h. Transfer full. */
JsonNode *lf_json_parse(const char *text, gsize size, const char *what, GError **error);

#endif
