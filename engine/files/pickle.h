/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An unpickler that builds plain values and can do nothing else: numbers, strings, tuples, lists,
 * dictionaries. Nothing that a pickle names is ever looked up or called: the caller's hooks say what
 * globals, calls and persistent ids stand for, and a call of what they do not know makes another
 * value without use.
 */
#ifndef LF_FILES_PICKLE_H
#define LF_FILES_PICKLE_H

#include "kernels/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    LF_PICKLE_NONE,
    LF_PICKLE_OTHER, /* a value without use: floats, bytes, sets, integers of more than 64 bits */
    LF_PICKLE_INT,   /* booleans too */
    LF_PICKLE_TEXT,
    LF_PICKLE_TUPLE,
    LF_PICKLE_LIST,
    LF_PICKLE_DICT,   /* items alternate between key and value, in the order they were set */
    LF_PICKLE_OBJECT, /* of the caller's hooks; with items as a dictionary's when some were set */
} LfPickleKind;

typedef struct {
    LfPickleKind kind;
    GPtrArray *items; /* LfPickleValue *; NULL: none */
    union {
        int64_t number;
        struct {
            const char *text; /* in the pickle, not NUL-terminated */
            size_t length;
        };
        const void *object;
    };
} LfPickleValue;

typedef struct LfPickle LfPickle;

/* Each returns a value of lf_pickle_value, or NULL after lf_pickle_fail. */
typedef struct {
    LfPickleValue *(*global)(LfPickle *pickle, const char *module, const char *name);
    LfPickleValue *(*persistent)(LfPickle *pickle, const LfPickleValue *id);
    LfPickleValue *(*call)(LfPickle *pickle, const LfPickleValue *callable,
                           const LfPickleValue *arguments); /* a tuple */
    void *data;
} LfPickleHooks;

/* Runs the pickle to its end, which may be before that of `bytes`. Both `bytes` and `hooks` outlive
 * the result. Limits: 32 million operations, half a million values to keep, eight million uses of
 * values. */
LfPickle *lf_pickle_read(const void *bytes, size_t size, const LfPickleHooks *hooks,
                         GError **error);
void lf_pickle_free(LfPickle *pickle); /* NULL is fine */

/* The value that the pickle builds. A value may occur in several places, and contain itself. */
const LfPickleValue *lf_pickle_root(const LfPickle *pickle);

/* Bytes of the pickle, for what follows it. */
size_t lf_pickle_size(const LfPickle *pickle);

/* For hooks. */
void *lf_pickle_data(const LfPickle *pickle);
LfPickleValue *lf_pickle_value(LfPickle *pickle, LfPickleKind kind);
void *lf_pickle_fail(LfPickle *pickle, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Items of a tuple, list, dictionary or object. */
static inline guint lf_pickle_count(const LfPickleValue *value)
{
    return value->items ? value->items->len : 0;
}

static inline const LfPickleValue *lf_pickle_item(const LfPickleValue *value, guint index)
{
    return (const LfPickleValue *) g_ptr_array_index(value->items, index);
}

bool lf_pickle_is_text(const LfPickleValue *value, const char *text);

#endif
