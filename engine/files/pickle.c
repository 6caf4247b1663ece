/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The opcodes that a state dictionary needs (protocol 2, and those of protocol 4 that newer writers
 * use instead); any other is refused. Every operation reads at least a byte and makes and pushes at
 * most one value, and nothing recurses, so the size of the pickle bounds time and memory.
 */
#include "pickle.h"

#include <string.h>

enum {
    MAX_SIZE = 32 << 20,
    MAX_VALUES = 500000,
    MAX_MARKS = 10000,
    MAX_GLOBAL = 256 /* characters of a module's or a global's name */
};

struct LfPickle {
    const uint8_t *bytes;
    size_t size, at;
    const LfPickleHooks *hooks;
    GPtrArray *values; /* all of them, to be freed */
    GPtrArray *stack, *memo;
    GArray *marks; /* guint: heights of the stack */
    bool stopped;
    GError *error;
};

static void value_free(gpointer data)
{
    LfPickleValue *value = data;
    if (value->kind >= LF_PICKLE_TUPLE && value->kind <= LF_PICKLE_DICT && value->items)
        g_ptr_array_unref(value->items);
    g_free(value);
}

void *lf_pickle_fail(LfPickle *pickle, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (!pickle->error)
        lf_fail(&pickle->error, LF_ERROR_FORMAT, "%s at byte %zu of the pickle", text, pickle->at);
    return NULL;
}

LfPickleValue *lf_pickle_value(LfPickle *pickle, LfPickleKind kind)
{
    if (pickle->values->len >= MAX_VALUES)
        return lf_pickle_fail(pickle, "more than %d values", MAX_VALUES);
    LfPickleValue *value = g_new0(LfPickleValue, 1);
    value->kind = kind;
    g_ptr_array_add(pickle->values, value);
    return value;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The next n bytes of the pickle, or NULL at its end. */
static const uint8_t *take(LfPickle *pickle, uint64_t n)
{
    if (n > pickle->size - pickle->at)
        return lf_pickle_fail(pickle, "corrupt PyTorch file: it ends too early");
    const uint8_t *bytes = pickle->bytes + pickle->at;
    pickle->at += n;
    return bytes;
}

/* A little-endian unsigned number; 0 after a failure, which ends the unpickling. */
static uint64_t take_number(LfPickle *pickle, int n_bytes)
{
    const uint8_t *bytes = take(pickle, (uint64_t) n_bytes);
    uint64_t value = 0;
    for (int i = n_bytes - 1; bytes && i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

/* A line of a GLOBAL, into `line` of MAX_GLOBAL + 1 characters. */
static bool take_line(LfPickle *pickle, char *line)
{
    const uint8_t *start = pickle->bytes + pickle->at;
    size_t left = MIN(pickle->size - pickle->at, (size_t) MAX_GLOBAL + 1);
    const uint8_t *end = memchr(start, '\n', left);
    if (!end || !g_utf8_validate_len((const char *) start, (gsize) (end - start), NULL)) {
        lf_pickle_fail(pickle, "a global without a name");
        return false;
    }
    memcpy(line, start, (size_t) (end - start));
    line[end - start] = 0;
    pickle->at += (size_t) (end - start) + 1;
    return true;
}

/* ---- stack ----------------------------------------------------------------------------------- */

static void push(LfPickle *pickle, LfPickleValue *value)
{
    if (value)
        g_ptr_array_add(pickle->stack, value);
}

/* Values below the last mark are out of reach. */
static guint floor_of(const LfPickle *pickle)
{
    return pickle->marks->len ? g_array_index(pickle->marks, guint, pickle->marks->len - 1) : 0;
}

static LfPickleValue *top(LfPickle *pickle)
{
    if (pickle->stack->len <= floor_of(pickle))
        return lf_pickle_fail(pickle, "corrupt PyTorch file: the stack is empty");
    return g_ptr_array_index(pickle->stack, pickle->stack->len - 1);
}

static LfPickleValue *pop(LfPickle *pickle)
{
    LfPickleValue *value = top(pickle);
    if (value)
        g_ptr_array_set_size(pickle->stack, (gint) pickle->stack->len - 1);
    return value;
}

/* Removes the last mark and returns the height of the stack at it. */
static bool pop_mark(LfPickle *pickle, guint *height)
{
    if (pickle->marks->len == 0) {
        lf_pickle_fail(pickle, "corrupt PyTorch file: a mark is missing");
        return false;
    }
    *height = floor_of(pickle);
    g_array_set_size(pickle->marks, pickle->marks->len - 1);
    return true;
}

/* Moves the values from `height` on to the end of a tuple, list or dictionary. */
static void move_items(LfPickle *pickle, LfPickleValue *to, guint height)
{
    if (pickle->stack->len > height && !to->items)
        to->items = g_ptr_array_sized_new(pickle->stack->len - height);
    for (guint i = height; i < pickle->stack->len; i++)
        g_ptr_array_add(to->items, g_ptr_array_index(pickle->stack, i));
    g_ptr_array_set_size(pickle->stack, (gint) height);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void push_number(LfPickle *pickle, int64_t number)
{
    LfPickleValue *value = lf_pickle_value(pickle, LF_PICKLE_INT);
    if (value)
        value->number = number;
    push(pickle, value);
}

/* LONG1: two's complement of any length; more than 64 bits become a value without use. */
static void push_long(LfPickle *pickle)
{
    int n = (int) take_number(pickle, 1);
    const uint8_t *bytes = take(pickle, (uint64_t) n);
    if (n > 8) {
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_OTHER));
        return;
    }
    uint64_t number = bytes && n && bytes[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (int i = n - 1; bytes && i >= 0; i--)
        number = number << 8 | bytes[i];
    push_number(pickle, (int64_t) number);
}

static void push_text(LfPickle *pickle, int length_bytes)
{
    uint64_t length = take_number(pickle, length_bytes);
    const uint8_t *text = take(pickle, length);
    LfPickleValue *value = text ? lf_pickle_value(pickle, LF_PICKLE_TEXT) : NULL;
    if (value) {
        value->text = (const char *) text;
        value->length = (size_t) length;
    }
    push(pickle, value);
}

static void push_tuple(LfPickle *pickle, guint n)
{
    if (pickle->stack->len - floor_of(pickle) < n) {
        lf_pickle_fail(pickle, "corrupt PyTorch file: the stack is empty");
        return;
    }
    LfPickleValue *tuple = lf_pickle_value(pickle, LF_PICKLE_TUPLE);
    if (tuple)
        move_items(pickle, tuple, pickle->stack->len - n);
    push(pickle, tuple);
}

static void push_marked_tuple(LfPickle *pickle)
{
    guint height;
    if (pop_mark(pickle, &height))
        push_tuple(pickle, pickle->stack->len - height);
}

static void push_mark(LfPickle *pickle)
{
    if (pickle->marks->len >= MAX_MARKS)
        lf_pickle_fail(pickle, "more than %d open marks", MAX_MARKS);
    else
        g_array_append_val(pickle->marks, pickle->stack->len);
}

static void remember(LfPickle *pickle, uint64_t index)
{
    LfPickleValue *value = top(pickle);
    if (value && index >= MAX_VALUES) {
        lf_pickle_fail(pickle, "more than %d values", MAX_VALUES);
    } else if (value) {
        if (index >= pickle->memo->len)
            g_ptr_array_set_size(pickle->memo, (gint) index + 1);
        g_ptr_array_index(pickle->memo, index) = value;
    }
}

static void recall(LfPickle *pickle, uint64_t index)
{
    LfPickleValue *value =
        index < pickle->memo->len ? g_ptr_array_index(pickle->memo, index) : NULL;
    if (!value)
        lf_pickle_fail(pickle, "corrupt PyTorch file: a value that was never stored");
    push(pickle, value);
}

/* The values from `height` on go into the list or dictionary below them. */
static void extend(LfPickle *pickle, LfPickleKind kind, guint height)
{
    guint n = pickle->stack->len - height;
    if (height <= floor_of(pickle)) {
        lf_pickle_fail(pickle, "corrupt PyTorch file: the stack is empty");
        return;
    }
    LfPickleValue *to = g_ptr_array_index(pickle->stack, height - 1);
    if (to->kind != kind || (kind == LF_PICKLE_DICT && n % 2 != 0))
        lf_pickle_fail(pickle,
                       "corrupt PyTorch file: items for a value that is no list or dictionary");
    else
        move_items(pickle, to, height);
}

static void extend_marked(LfPickle *pickle, LfPickleKind kind)
{
    guint height;
    if (pop_mark(pickle, &height))
        extend(pickle, kind, height);
}

static void extend_by(LfPickle *pickle, LfPickleKind kind, guint n)
{
    guint height = pickle->stack->len;
    extend(pickle, kind, height >= n ? height - n : 0);
}

static void push_global(LfPickle *pickle)
{
    char module[MAX_GLOBAL + 1], name[MAX_GLOBAL + 1];
    if (take_line(pickle, module) && take_line(pickle, name))
        push(pickle, pickle->hooks->global(pickle, module, name));
}

static void push_stack_global(LfPickle *pickle)
{
    const LfPickleValue *name = pop(pickle), *module = name ? pop(pickle) : NULL;
    if (!module)
        return;
    if (name->kind != LF_PICKLE_TEXT || module->kind != LF_PICKLE_TEXT ||
        name->length > MAX_GLOBAL || module->length > MAX_GLOBAL ||
        !g_utf8_validate_len(name->text, name->length, NULL) ||
        !g_utf8_validate_len(module->text, module->length, NULL)) {
        lf_pickle_fail(pickle, "a global without a name");
        return;
    }
    g_autofree char *module_text = g_strndup(module->text, module->length);
    g_autofree char *name_text = g_strndup(name->text, name->length);
    push(pickle, pickle->hooks->global(pickle, module_text, name_text));
}

static void push_persistent(LfPickle *pickle)
{
    const LfPickleValue *id = pop(pickle);
    if (id)
        push(pickle, pickle->hooks->persistent(pickle, id));
}

static void push_call(LfPickle *pickle)
{
    const LfPickleValue *arguments = pop(pickle), *callable = arguments ? pop(pickle) : NULL;
    if (!callable)
        return;
    if (arguments->kind != LF_PICKLE_TUPLE || callable->kind != LF_PICKLE_OBJECT)
        lf_pickle_fail(pickle, "corrupt PyTorch file: a call of a value that cannot be called");
    else
        push(pickle, pickle->hooks->call(pickle, callable, arguments));
}

/* BUILD sets further state of an object: "_metadata" of a dictionary, which has no use here. */
static void build(LfPickle *pickle)
{
    LfPickleValue *object = pop(pickle) ? top(pickle) : NULL;
    if (object && object->kind != LF_PICKLE_DICT && object->kind != LF_PICKLE_OBJECT)
        lf_pickle_fail(pickle, "corrupt PyTorch file: state for a value that is no object");
}

static void stop(LfPickle *pickle)
{
    if (pickle->marks->len != 0 || pickle->stack->len != 1)
        lf_pickle_fail(pickle, "it ends with more than one value");
    pickle->stopped = true;
}

static void step(LfPickle *pickle, uint8_t opcode)
{
    switch (opcode) {
    case 0x80: /* PROTO */
        if (take_number(pickle, 1) > 5)
            lf_pickle_fail(pickle, "an unknown protocol");
        break;
    case 0x95: /* FRAME: a length that only stream readers need */
        take(pickle, 8);
        break;
    case '}':
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_DICT));
        break;
    case ']':
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_LIST));
        break;
    case ')':
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_TUPLE));
        break;
    case '(':
        push_mark(pickle);
        break;
    case 'q': /* BINPUT */
        remember(pickle, take_number(pickle, 1));
        break;
    case 'r': /* LONG_BINPUT */
        remember(pickle, take_number(pickle, 4));
        break;
    case 0x94: /* MEMOIZE */
        remember(pickle, pickle->memo->len);
        break;
    case 'h': /* BINGET */
        recall(pickle, take_number(pickle, 1));
        break;
    case 'j': /* LONG_BINGET */
        recall(pickle, take_number(pickle, 4));
        break;
    case 'c':
        push_global(pickle);
        break;
    case 0x93:
        push_stack_global(pickle);
        break;
    case 'X': /* BINUNICODE */
        push_text(pickle, 4);
        break;
    case 0x8c: /* SHORT_BINUNICODE */
    case 'U':  /* SHORT_BINSTRING */
        push_text(pickle, 1);
        break;
    case 'J': /* BININT */
        push_number(pickle, (int32_t) take_number(pickle, 4));
        break;
    case 'K': /* BININT1 */
        push_number(pickle, (int64_t) take_number(pickle, 1));
        break;
    case 'M': /* BININT2 */
        push_number(pickle, (int64_t) take_number(pickle, 2));
        break;
    case 0x8a:
        push_long(pickle);
        break;
    case 'G': /* BINFLOAT */
        take(pickle, 8);
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_OTHER));
        break;
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        push_number(pickle, opcode == 0x88);
        break;
    case 'N':
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_NONE));
        break;
    case 't':
        push_marked_tuple(pickle);
        break;
    case 0x85: /* TUPLE1 … TUPLE3 */
    case 0x86:
    case 0x87:
        push_tuple(pickle, opcode - 0x84u);
        break;
    case 'Q':
        push_persistent(pickle);
        break;
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        push_call(pickle);
        break;
    case 'b':
        build(pickle);
        break;
    case 's': /* SETITEM */
        extend_by(pickle, LF_PICKLE_DICT, 2);
        break;
    case 'u': /* SETITEMS */
        extend_marked(pickle, LF_PICKLE_DICT);
        break;
    case 'a': /* APPEND */
        extend_by(pickle, LF_PICKLE_LIST, 1);
        break;
    case 'e': /* APPENDS */
        extend_marked(pickle, LF_PICKLE_LIST);
        break;
    case '0':
        pop(pickle);
        break;
    case '.':
        stop(pickle);
        break;
    default:
        lf_pickle_fail(pickle, "corrupt PyTorch file, or not a state_dict: operation 0x%02x",
                       opcode);
    }
}

LfPickle *lf_pickle_read(const void *bytes, size_t size, const LfPickleHooks *hooks, GError **error)
{
    LfPickle *pickle = g_new0(LfPickle, 1);
    pickle->bytes = bytes;
    pickle->size = size;
    pickle->hooks = hooks;
    pickle->values = g_ptr_array_new_with_free_func(value_free);
    pickle->stack = g_ptr_array_new();
    pickle->memo = g_ptr_array_new();
    pickle->marks = g_array_new(false, false, sizeof(guint));
    if (size > MAX_SIZE)
        lf_pickle_fail(pickle, "it is larger than %d MiB", MAX_SIZE >> 20);
    while (!pickle->error && !pickle->stopped) {
        const uint8_t *opcode = take(pickle, 1);
        if (opcode)
            step(pickle, *opcode);
    }
    if (!pickle->error)
        return pickle;
    g_propagate_error(error, g_steal_pointer(&pickle->error));
    lf_pickle_free(pickle);
    return NULL;
}

void lf_pickle_free(LfPickle *pickle)
{
    if (!pickle)
        return;
    g_ptr_array_unref(pickle->stack);
    g_ptr_array_unref(pickle->memo);
    g_array_unref(pickle->marks);
    g_ptr_array_unref(pickle->values);
    g_free(pickle);
}

const LfPickleValue *lf_pickle_root(const LfPickle *pickle)
{
    return g_ptr_array_index(pickle->stack, 0);
}

void *lf_pickle_data(const LfPickle *pickle)
{
    return pickle->hooks->data;
}

bool lf_pickle_is_text(const LfPickleValue *value, const char *text)
{
    return value->kind == LF_PICKLE_TEXT && value->length == strlen(text) &&
           memcmp(value->text, text, value->length) == 0;
}
