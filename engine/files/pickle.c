/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The opcodes of protocols 1 to 5, but for registered extensions and buffers outside of the pickle,
 * which no file has. Every operation reads at least a byte and makes and pushes at most one value,
 * and nothing recurses, so the limits on their numbers bound time and memory.
 */
#include "pickle.h"

#include <string.h>

enum {
    MAX_OPERATIONS = 32000000,
    MAX_VALUES = 500000, /* that are kept one by one: all but those without use */
    MAX_USES = 8000000,  /* of values, each of which takes a place somewhere */
    MAX_MARKS = 10000,
    MAX_LINE = 65536, /* characters of a number or a text of protocols 0 and 1 */
    MAX_GLOBAL = 256  /* characters of a module's or a global's name */
};

struct LfPickle {
    const uint8_t *bytes;
    size_t size, at;
    const LfPickleHooks *hooks;
    GPtrArray *values; /* all of them, to be freed, but for these two */
    LfPickleValue none, other;
    GPtrArray *stack, *memo;
    GArray *marks; /* guint: heights of the stack */
    guint uses;
    bool stopped;
    GError *error;
};

static void value_free(gpointer data)
{
    LfPickleValue *value = data;
    if (value->items)
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
    if (kind == LF_PICKLE_NONE || kind == LF_PICKLE_OTHER)
        return kind == LF_PICKLE_NONE ? &pickle->none : &pickle->other;
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

/* A line, without its end; NULL when there is none. */
static const char *take_line(LfPickle *pickle, size_t *length)
{
    const uint8_t *start = pickle->bytes + pickle->at;
    const uint8_t *end = memchr(start, '\n', MIN(pickle->size - pickle->at, (size_t) MAX_LINE));
    if (!end)
        return lf_pickle_fail(pickle, "corrupt PyTorch file: a line without an end");
    *length = (size_t) (end - start);
    pickle->at += *length + 1;
    return (const char *) start;
}

/* ---- stack ----------------------------------------------------------------------------------- */

static void push(LfPickle *pickle, LfPickleValue *value)
{
    if (value && ++pickle->uses > MAX_USES)
        lf_pickle_fail(pickle, "more than %d uses of values", MAX_USES);
    else if (value)
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

/* Two's complement of any length; more than 64 bits become a value without use. */
static void push_long(LfPickle *pickle, int length_bytes)
{
    uint64_t n = take_number(pickle, length_bytes);
    const uint8_t *bytes = take(pickle, n);
    if (n > 8) {
        push(pickle, &pickle->other);
        return;
    }
    uint64_t number = bytes && n && bytes[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (int i = (int) n - 1; bytes && i >= 0; i--)
        number = number << 8 | bytes[i];
    push_number(pickle, (int64_t) number);
}

/* A number as text, "12", or "12L" of a long one. "01" is true. */
static void push_number_line(LfPickle *pickle)
{
    char digits[24];
    gint64 number;
    size_t length;
    const char *line = take_line(pickle, &length);
    if (!line)
        return;
    if (length > 0 && line[length - 1] == 'L')
        length--;
    g_snprintf(digits, sizeof digits, "%.*s", (int) MIN(length, sizeof digits), line);
    if (length < sizeof digits &&
        g_ascii_string_to_signed(digits, 10, G_MININT64, G_MAXINT64, &number, NULL))
        push_number(pickle, number);
    else
        push(pickle, &pickle->other);
}

static void push_characters(LfPickle *pickle, const char *text, size_t length)
{
    LfPickleValue *value = text ? lf_pickle_value(pickle, LF_PICKLE_TEXT) : NULL;
    if (value) {
        value->text = text;
        value->length = length;
    }
    push(pickle, value);
}

static void push_text(LfPickle *pickle, int length_bytes)
{
    uint64_t length = take_number(pickle, length_bytes);
    push_characters(pickle, (const char *) take(pickle, length), (size_t) length);
}

static void push_bytes(LfPickle *pickle, int length_bytes)
{
    if (take(pickle, take_number(pickle, length_bytes)))
        push(pickle, &pickle->other);
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

/* A list or dictionary of the values above the mark. */
static void push_marked(LfPickle *pickle, LfPickleKind kind)
{
    guint height;
    if (!pop_mark(pickle, &height))
        return;
    LfPickleValue *value = lf_pickle_value(pickle, kind);
    if (value && kind == LF_PICKLE_DICT && (pickle->stack->len - height) % 2 != 0)
        value = lf_pickle_fail(pickle, "corrupt PyTorch file: a key without a value");
    if (value)
        move_items(pickle, value, height);
    push(pickle, value);
}

static void drop_marked(LfPickle *pickle)
{
    guint height;
    if (pop_mark(pickle, &height))
        g_ptr_array_set_size(pickle->stack, (gint) height);
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

/* The values from `height` on go into the list, dictionary or set below them. What is of no use has
 * no items. An object keeps those of a dictionary, because it may be of a class derived from one. */
static void extend(LfPickle *pickle, LfPickleKind kind, guint height)
{
    guint n = pickle->stack->len - height;
    if (height <= floor_of(pickle)) {
        lf_pickle_fail(pickle, "corrupt PyTorch file: the stack is empty");
        return;
    }
    LfPickleValue *to = g_ptr_array_index(pickle->stack, height - 1);
    bool kept = to->kind == kind || (kind == LF_PICKLE_DICT && to->kind == LF_PICKLE_OBJECT);
    bool dropped = to->kind == LF_PICKLE_OTHER || to->kind == LF_PICKLE_OBJECT;
    if ((!kept && !dropped) || (kind == LF_PICKLE_DICT && n % 2 != 0))
        lf_pickle_fail(pickle,
                       "corrupt PyTorch file: items for a value that is no list or dictionary");
    else if (kept)
        move_items(pickle, to, height);
    else
        g_ptr_array_set_size(pickle->stack, (gint) height);
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

/* The name of a module or of something in it, into `name` of MAX_GLOBAL + 1 characters. */
static bool copy_name(LfPickle *pickle, char *name, const char *text, size_t length)
{
    if (!text || length > MAX_GLOBAL || !g_utf8_validate_len(text, length, NULL)) {
        lf_pickle_fail(pickle, "a global without a name");
        return false;
    }
    memcpy(name, text, length);
    name[length] = 0;
    return true;
}

static LfPickleValue *take_global(LfPickle *pickle)
{
    char module[MAX_GLOBAL + 1], name[MAX_GLOBAL + 1];
    size_t length;
    const char *line = take_line(pickle, &length);
    if (!copy_name(pickle, module, line, length))
        return NULL;
    line = take_line(pickle, &length);
    return copy_name(pickle, name, line, length) ? pickle->hooks->global(pickle, module, name)
                                                 : NULL;
}

static void push_stack_global(LfPickle *pickle)
{
    char module_text[MAX_GLOBAL + 1], name_text[MAX_GLOBAL + 1];
    const LfPickleValue *name = pop(pickle), *module = name ? pop(pickle) : NULL;
    if (!module)
        return;
    if (name->kind != LF_PICKLE_TEXT || module->kind != LF_PICKLE_TEXT)
        lf_pickle_fail(pickle, "a global without a name");
    else if (copy_name(pickle, module_text, module->text, module->length) &&
             copy_name(pickle, name_text, name->text, name->length))
        push(pickle, pickle->hooks->global(pickle, module_text, name_text));
}

static void push_persistent(LfPickle *pickle)
{
    const LfPickleValue *id = pop(pickle);
    if (id)
        push(pickle, pickle->hooks->persistent(pickle, id));
}

static void call(LfPickle *pickle, const LfPickleValue *callable, const LfPickleValue *arguments)
{
    if (!callable || !arguments)
        return;
    if (arguments->kind != LF_PICKLE_TUPLE || callable->kind != LF_PICKLE_OBJECT)
        lf_pickle_fail(pickle, "corrupt PyTorch file: a call of a value that cannot be called");
    else
        push(pickle, pickle->hooks->call(pickle, callable, arguments));
}

/* The callable and its arguments are on the stack, `n_named` dictionaries of named ones above. */
static void push_call(LfPickle *pickle, int n_named)
{
    for (; n_named > 0 && !pickle->error; n_named--)
        pop(pickle);
    const LfPickleValue *arguments = pickle->error ? NULL : pop(pickle);
    call(pickle, arguments ? pop(pickle) : NULL, arguments);
}

/* OBJ: a mark, the class, its arguments. INST: a mark, the arguments; the class is in the pickle. */
static void push_marked_call(LfPickle *pickle, const LfPickleValue *class)
{
    push_marked_tuple(pickle);
    LfPickleValue *arguments = pickle->error ? NULL : pop(pickle);
    if (arguments && !class && lf_pickle_count(arguments) > 0)
        class = g_ptr_array_steal_index(arguments->items, 0);
    else if (arguments && !class)
        lf_pickle_fail(pickle, "corrupt PyTorch file: the stack is empty");
    call(pickle, class, arguments);
}

/* BUILD sets further state of an object: "_metadata" of a dictionary, which has no use here. */
static void build(LfPickle *pickle)
{
    LfPickleValue *object = pop(pickle) ? top(pickle) : NULL;
    if (object && object->kind != LF_PICKLE_DICT && object->kind != LF_PICKLE_OBJECT &&
        object->kind != LF_PICKLE_OTHER)
        lf_pickle_fail(pickle, "corrupt PyTorch file: state for a value that is no object");
}

static void stop(LfPickle *pickle)
{
    if (pickle->marks->len != 0 || pickle->stack->len != 1)
        lf_pickle_fail(pickle, "it ends with more than one value");
    pickle->stopped = true;
}

static void step_number(LfPickle *pickle, uint8_t opcode)
{
    switch (opcode) {
    case 'J': /* BININT */
        push_number(pickle, (int32_t) take_number(pickle, 4));
        break;
    case 'K': /* BININT1 */
        push_number(pickle, (int64_t) take_number(pickle, 1));
        break;
    case 'M': /* BININT2 */
        push_number(pickle, (int64_t) take_number(pickle, 2));
        break;
    case 'I': /* INT */
    case 'L': /* LONG */
        push_number_line(pickle);
        break;
    case 0x8a: /* LONG1 */
        push_long(pickle, 1);
        break;
    case 0x8b: /* LONG4 */
        push_long(pickle, 4);
        break;
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        push_number(pickle, opcode == 0x88);
        break;
    case 'G': /* BINFLOAT */
        if (take(pickle, 8))
            push(pickle, &pickle->other);
        break;
    case 'F': /* FLOAT */
        if (take_line(pickle, &(size_t){0}))
            push(pickle, &pickle->other);
        break;
    case 'N':
        push(pickle, &pickle->none);
        break;
    default:
        lf_pickle_fail(pickle, "corrupt PyTorch file, or not a state_dict: operation 0x%02x",
                       opcode);
    }
}

static void step_text(LfPickle *pickle, uint8_t opcode)
{
    switch (opcode) {
    case 'X': /* BINUNICODE */
    case 'T': /* BINSTRING */
        push_text(pickle, 4);
        break;
    case 0x8c: /* SHORT_BINUNICODE */
    case 'U':  /* SHORT_BINSTRING */
        push_text(pickle, 1);
        break;
    case 0x8d: /* BINUNICODE8 */
        push_text(pickle, 8);
        break;
    case 'C': /* SHORT_BINBYTES */
        push_bytes(pickle, 1);
        break;
    case 'B': /* BINBYTES */
        push_bytes(pickle, 4);
        break;
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        push_bytes(pickle, 8);
        break;
    default:
        step_number(pickle, opcode);
    }
}

static void step_collection(LfPickle *pickle, uint8_t opcode)
{
    switch (opcode) {
    case '}':
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_DICT));
        break;
    case ']':
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_LIST));
        break;
    case ')':
        push(pickle, lf_pickle_value(pickle, LF_PICKLE_TUPLE));
        break;
    case 0x8f: /* EMPTY_SET */
        push(pickle, &pickle->other);
        break;
    case 't':
        push_marked_tuple(pickle);
        break;
    case 0x85: /* TUPLE1 … TUPLE3 */
    case 0x86:
    case 0x87:
        push_tuple(pickle, opcode - 0x84u);
        break;
    case 'l': /* LIST */
        push_marked(pickle, LF_PICKLE_LIST);
        break;
    case 'd': /* DICT */
        push_marked(pickle, LF_PICKLE_DICT);
        break;
    case 0x91: /* FROZENSET */
        drop_marked(pickle);
        push(pickle, &pickle->other);
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
    case 'e':  /* APPENDS */
    case 0x90: /* ADDITEMS */
        extend_marked(pickle, LF_PICKLE_LIST);
        break;
    default:
        step_text(pickle, opcode);
    }
}

static void step_object(LfPickle *pickle, uint8_t opcode)
{
    switch (opcode) {
    case 'c': /* GLOBAL */
        push(pickle, take_global(pickle));
        break;
    case 0x93: /* STACK_GLOBAL */
        push_stack_global(pickle);
        break;
    case 'Q': /* BINPERSID */
        push_persistent(pickle);
        break;
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        push_call(pickle, 0);
        break;
    case 0x92: /* NEWOBJ_EX */
        push_call(pickle, 1);
        break;
    case 'i': /* INST */
        push_marked_call(pickle, take_global(pickle));
        break;
    case 'o': /* OBJ */
        push_marked_call(pickle, NULL);
        break;
    case 'b': /* BUILD */
        build(pickle);
        break;
    default:
        step_collection(pickle, opcode);
    }
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
    case '0':
        pop(pickle);
        break;
    case '1': /* POP_MARK */
        drop_marked(pickle);
        break;
    case '2': /* DUP */
        push(pickle, top(pickle));
        break;
    case '.':
        stop(pickle);
        break;
    default:
        step_object(pickle, opcode);
    }
}

LfPickle *lf_pickle_read(const void *bytes, size_t size, const LfPickleHooks *hooks, GError **error)
{
    LfPickle *pickle = g_new0(LfPickle, 1);
    pickle->bytes = bytes;
    pickle->size = size;
    pickle->hooks = hooks;
    pickle->none.kind = LF_PICKLE_NONE;
    pickle->other.kind = LF_PICKLE_OTHER;
    pickle->values = g_ptr_array_new_with_free_func(value_free);
    pickle->stack = g_ptr_array_new();
    pickle->memo = g_ptr_array_new();
    pickle->marks = g_array_new(false, false, sizeof(guint));
    for (int n = 0; !pickle->error && !pickle->stopped; n++) {
        const uint8_t *opcode = take(pickle, 1);
        if (n == MAX_OPERATIONS)
            lf_pickle_fail(pickle, "more than %d operations", MAX_OPERATIONS);
        else if (opcode)
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

size_t lf_pickle_size(const LfPickle *pickle)
{
    return pickle->at;
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
