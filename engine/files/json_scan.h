/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads JSON from untrusted files value by value, without a tree: for files of hundreds of
 * thousands of values, of which a tree would take many times the file's memory.
 *
 *   if (lf_json_enter(scan, '{'))
 *       while (lf_json_next(scan))
 *           if (lf_json_has_key(scan, "wanted"))
 *               lf_json_take_number(scan, &value);
 *           else
 *               lf_json_skip(scan);
 *   if (scan->fault) …
 *
 * The first fault stays; all functions then return false and take nothing. Every one that takes a
 * value of a certain kind makes a fault of a value of another kind.
 */
#ifndef LF_FILES_JSON_SCAN_H
#define LF_FILES_JSON_SCAN_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define LF_JSON_SCAN_DEPTH 32

typedef struct {
    const char *at, *end;
    const char *fault; /* what is wrong, NULL while nothing is */
    GString *key;      /* of the member that lf_json_next has come to */
    GString *string;   /* that was taken last; may hold NUL */
    int depth;
    char closing[LF_JSON_SCAN_DEPTH]; /* brackets of the open lists and objects */
    bool begun[LF_JSON_SCAN_DEPTH];   /* they had a value already */
} LfJsonScan;

/* The text must outlive the scan. */
void lf_json_scan_init(LfJsonScan *scan, const char *text, gsize size);
void lf_json_scan_clear(LfJsonScan *scan);

/* The first character of the next value, '"' for a string; 0 at the end of the text. */
char lf_json_peek(LfJsonScan *scan);

/* Into the list ('[') or the object ('{') that comes next. */
bool lf_json_enter(LfJsonScan *scan, char bracket);
/* Before each of its values, of which exactly one has to be taken. False at the end, which leads
 * out of it. */
bool lf_json_next(LfJsonScan *scan);
bool lf_json_has_key(const LfJsonScan *scan, const char *key);

bool lf_json_take_string(LfJsonScan *scan); /* into `string` */
bool lf_json_take_number(LfJsonScan *scan, double *value);
bool lf_json_take_int(LfJsonScan *scan, int *value);       /* a whole number ≥ 0 */
bool lf_json_take_int64(LfJsonScan *scan, int64_t *value); /* the same */
bool lf_json_take_bool(LfJsonScan *scan, bool *value);
bool lf_json_take_null(LfJsonScan *scan); /* if there is one: no fault if not */
bool lf_json_skip(LfJsonScan *scan);      /* any value, without a copy of it */

/* A fault if anything follows. */
bool lf_json_end(LfJsonScan *scan);

#endif
