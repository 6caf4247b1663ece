/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/files/recognise.h"
#include "engine/files/weights.h"
#include "tests/common/hostile.h"

#include <glib/gstdio.h>
#include <string.h>

/* ---- files that PyTorch wrote ---------------------------------------------------------------- */

static char *data_path(const char *name)
{
    return g_build_filename(LF_TEST_DATA, name, NULL);
}

static LfTensorFile *open_data(const char *name)
{
    GError *error = NULL;
    g_autofree char *path = data_path(name);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lf_tensor_file_format(file), ==, "PyTorch");
    return file;
}

static GByteArray *load_data(const char *name)
{
    g_autofree char *path = data_path(name);
    char *bytes;
    gsize size;
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    return g_byte_array_new_take((guint8 *) bytes, size);
}

static double element(const LfFileTensor *t, size_t index)
{
    const char *at = (const char *) t->data + index * lf_type_size(t->type);
    float real;
    int64_t i64;
    int32_t i32;
    int16_t i16;
    if (lf_to_float(&real, at, t->type, 1))
        return real;
    switch (t->type) {
    case LF_I64:
        memcpy(&i64, at, 8);
        return (double) i64;
    case LF_I32:
        memcpy(&i32, at, 4);
        return i32;
    case LF_I16:
        memcpy(&i16, at, 2);
        return i16;
    default:
        return *at;
    }
}

/* The tensor `name` is of this type and shape (ends at the first 0) and holds these numbers. */
static void assert_tensor(LfTensorFile *file, const char *name, LfType type, const int64_t *shape,
                          const double *values, size_t n_values)
{
    const LfFileTensor *t = lf_tensor_file_find(file, name);
    if (!t)
        g_error("%s is missing", name);
    g_assert_cmpint(t->type, ==, type);
    for (int i = 0; i < t->n_dims; i++)
        g_assert_cmpint(t->shape[i], ==, shape[i]);
    g_assert_true(t->n_dims == LF_FILE_MAX_DIMS || shape[t->n_dims] == 0);
    g_assert_cmpuint(t->size, ==, n_values * lf_type_size(type));
    for (size_t i = 0; i < n_values; i++)
        g_assert_cmpfloat(element(t, i), ==, values[i]);
}

#define SHAPE(...) ((const int64_t[LF_FILE_MAX_DIMS + 1]){__VA_ARGS__})
#define VALUES(...)                                                                                \
    (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double)

static void test_plain(gconstpointer name)
{
    static const struct {
        const char *name;
        LfType type;
    } types[] = {
        {"float16", LF_F16}, {"bfloat16", LF_BF16}, {"float64", LF_F64}, {"int64", LF_I64},
        {"int32", LF_I32},   {"int16", LF_I16},     {"int8", LF_I8},     {"uint8", LF_U8},
    };
    LfTensorFile *file = open_data(name);
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        assert_tensor(file, types[i].name, types[i].type, SHAPE(4), VALUES(1, 2, 3, 4));
    assert_tensor(file, "layer.weight", LF_F32, SHAPE(2, 3), VALUES(0, 1, 2, 3, 4, 5));
    assert_tensor(file, "bool", LF_BOOL, SHAPE(3), VALUES(1, 0, 1));
    assert_tensor(file, "scalar", LF_F32, SHAPE(0), VALUES(2.5));
    assert_tensor(file, "parameter", LF_F32, SHAPE(3), VALUES(5, 6, 7));
    const LfFileTensor *empty = lf_tensor_file_find(file, "empty");
    g_assert_nonnull(empty);
    g_assert_cmpint(empty->n_dims, ==, 3);
    g_assert_cmpuint(empty->size, ==, 0);
    g_assert_cmpuint(lf_tensor_file_count(file), ==, G_N_ELEMENTS(types) + 5);
    lf_tensor_file_unref(file);
}

static void test_views(gconstpointer name)
{
    LfTensorFile *file = open_data(name);
    const LfFileTensor *base = lf_tensor_file_find(file, "base");
    const LfFileTensor *part = lf_tensor_file_find(file, "part");
    assert_tensor(file, "part", LF_F32, SHAPE(2, 3), VALUES(6, 7, 8, 9, 10, 11));
    g_assert_true((const float *) part->data == (const float *) base->data + 6);
    assert_tensor(file, "transposed", LF_F32, SHAPE(6, 4),
                  VALUES(0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20, 3, 9, 15, 21, 4, 10, 16, 22, 5,
                         11, 17, 23));
    assert_tensor(file, "column", LF_F32, SHAPE(2, 3), VALUES(1, 5, 9, 13, 17, 21));
    assert_tensor(file, "repeated", LF_F32, SHAPE(2, 3), VALUES(0, 1, 2, 0, 1, 2));
    assert_tensor(file, "thin", LF_F32, SHAPE(1), VALUES(0));
    lf_tensor_file_unref(file);
}

static void test_checkpoint(gconstpointer name)
{
    LfTensorFile *file = open_data(name);
    assert_tensor(file, "generator.model.a.weight", LF_F32, SHAPE(2), VALUES(10, 11));
    assert_tensor(file, "critic.model.a.weight", LF_F32, SHAPE(2), VALUES(30, 31));
    assert_tensor(file, "optimizer.state.0.average", LF_F32, SHAPE(2), VALUES(0, 1));
    g_assert_cmpuint(lf_tensor_file_count(file), ==, 4);
    assert_tensor(file, "generator_ema.model._fsdp_wrapped_module.a.weight", LF_F32, SHAPE(2),
                  VALUES(20, 21));
    lf_tensor_file_unref(file);
}

/* Everything that is no tensor is left out: what Python's pickler writes for it, in all protocols, is
 * no reason to refuse the file. Classes derived from a dictionary or from a tensor are read. */
static void test_beside(gconstpointer name)
{
    LfTensorFile *file = open_data(name);
    assert_tensor(file, "generator.a.weight", LF_F32, SHAPE(2, 2), VALUES(1, 2, 3, 4));
    assert_tensor(file, "generator.b", LF_F32, SHAPE(2), VALUES(0, 1));
    assert_tensor(file, "settings.weight", LF_F32, SHAPE(2), VALUES(3, 4));
    assert_tensor(file, "default.weight", LF_F32, SHAPE(2), VALUES(7, 8));
    assert_tensor(file, "marked", LF_F32, SHAPE(3), VALUES(4, 5, 6));
    g_assert_cmpuint(lf_tensor_file_count(file), ==, 5);
    lf_tensor_file_unref(file);
}

/* Tensors that cannot be read keep their names and say what they are. */
static void test_unreadable(void)
{
    static const struct {
        const char *name, *what;
    } unreadable[] = {
        {"complex", "complex numbers"}, {"freqs", "complex numbers"}, {"meta", "without its data"},
        {"quantised", "dequantize()"},  {"sparse", "to_dense()"},     {"sparse_rows", "to_dense()"},
    };
    LfTensorFile *file = open_data("unreadable.pt");
    g_assert_cmpuint(lf_tensor_file_count(file), ==, G_N_ELEMENTS(unreadable) + 1);
    g_assert_null(lf_tensor_file_unreadable(file, "head.modulation"));
    assert_tensor(file, "head.modulation", LF_F32, SHAPE(2), VALUES(0, 1));
    for (gsize i = 0; i < G_N_ELEMENTS(unreadable); i++) {
        const char *what = lf_tensor_file_unreadable(file, unreadable[i].name);
        const LfFileTensor *t = lf_tensor_file_find(file, unreadable[i].name);
        g_assert_cmpuint(t->size, ==, 0);
        g_assert_nonnull(what);
        g_assert_nonnull(strstr(what, unreadable[i].what));
    }
    lf_tensor_file_unref(file);
}

/* A part that needs one of them is refused by its name; "freqs" is of no use to it. */
static void test_needed(void)
{
    LfTensorFile *file = open_data("unreadable.pt");
    g_autoptr(LfRecognised) r = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
    g_assert_cmpint(r->kind, ==, LF_FILE_TRANSFORMER);
    g_assert_nonnull(strstr(r->problem, "complex cannot be read"));
    lf_tensor_file_unref(file);
    file = open_data("freqs.pt");
    g_autoptr(LfRecognised) other = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
    g_assert_cmpint(other->kind, ==, LF_FILE_TRANSFORMER);
    g_assert_cmpstr(other->problem, ==, NULL);
    lf_tensor_file_unref(file);
}

/* A command is never run: what it would return is left out. */
static void test_command(void)
{
    LfTensorFile *file = open_data("command.pt");
    assert_tensor(file, "a", LF_F32, SHAPE(2), VALUES(0, 1));
    g_assert_cmpuint(lf_tensor_file_count(file), ==, 1);
    lf_tensor_file_unref(file);
    g_assert_false(g_file_test("executed", G_FILE_TEST_EXISTS));
}

static void test_refused(void)
{
    static const struct {
        const char *name, *told;
    } refused[] = {
        {"module.pt", "torch.nn.modules.linear.Linear"},
        {"list.pt", "no dictionary"},
        {"compressed.pt", "compressed"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = data_path(refused[i].name);
        g_assert_null(lf_tensor_file_open(path, &error));
        g_test_message("%s", error->message);
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_assert_nonnull(strstr(error->message, refused[i].told));
        g_assert_nonnull(strstr(error->message, refused[i].name));
    }
}

/* ---- files made here ------------------------------------------------------------------------- */

/* A little-endian number, of more bytes than eight where a record has so many zeros. */
static void put(GByteArray *to, guint64 value, int n_bytes)
{
    for (; n_bytes > 0; n_bytes--, value >>= 8)
        g_byte_array_append(to, (const guint8[]){(guint8) value}, 1);
}

static void put_text(GByteArray *to, const char *text)
{
    g_byte_array_append(to, (const guint8 *) text, (guint) strlen(text));
}

typedef struct {
    const char *name;
    const void *data;
    gsize size;
} Entry;

/* Values of a directory's record that a test falsifies. 64: sizes and offsets are in extra
 * fields. */
typedef struct {
    gboolean wide;
    guint16 flags;
    guint64 shift; /* added to the places of the entries */
    int more;      /* added to the number of entries */
    guint64 directory_shift;
} Lie;

static void put_record(GByteArray *to, const Entry *entry, guint64 place, const Lie *lie)
{
    put_text(to, "PK\1\2");
    put(to, 0, 4);
    put(to, lie->flags, 2);
    put(to, 0, 10); /* method, time, date, checksum */
    put(to, lie->wide ? G_MAXUINT32 : entry->size, 4);
    put(to, lie->wide ? G_MAXUINT32 : entry->size, 4);
    put(to, strlen(entry->name), 2);
    put(to, lie->wide ? 6 + 4 + 24 : 0, 2);
    put(to, 0, 10);
    put(to, lie->wide ? G_MAXUINT32 : place + lie->shift, 4);
    put_text(to, entry->name);
    if (lie->wide) { /* behind an extra field of another kind */
        put(to, 0x4242, 2);
        put(to, 2, 2);
        put(to, 7, 2);
        put(to, 1, 2);
        put(to, 24, 2);
        put(to, entry->size, 8);
        put(to, entry->size, 8);
        put(to, place + lie->shift, 8);
    }
}

static void put_end(GByteArray *to, guint64 start, guint64 n, const Lie *lie)
{
    guint64 size = to->len - start, end64 = to->len;
    n += (guint64) lie->more;
    start += lie->directory_shift;
    if (lie->wide) {
        put_text(to, "PK\6\6");
        put(to, 44, 8);
        put(to, 0, 4);
        put(to, 0, 8);
        put(to, n, 8);
        put(to, n, 8);
        put(to, size, 8);
        put(to, start, 8);
        put_text(to, "PK\6\7");
        put(to, 0, 4);
        put(to, end64, 8);
        put(to, 1, 4);
    }
    put_text(to, "PK\5\6");
    put(to, 0, 4);
    put(to, lie->wide ? 0xffff : n, 2);
    put(to, lie->wide ? 0xffff : n, 2);
    put(to, lie->wide ? G_MAXUINT32 : size, 4);
    put(to, lie->wide ? G_MAXUINT32 : start, 4);
    put(to, 0, 2);
}

static GByteArray *zip_of(const Entry *entries, int n, const Lie *lie)
{
    static const Lie truth;
    GByteArray *to = g_byte_array_new();
    guint64 places[8];
    for (int i = 0; i < n; i++) {
        places[i] = to->len;
        put_text(to, "PK\3\4");
        put(to, 0, 8);
        put(to, 0, 8);
        put(to, 0, 6);
        put(to, strlen(entries[i].name), 2);
        put(to, 0, 2);
        put_text(to, entries[i].name);
        g_byte_array_append(to, entries[i].data, (guint) entries[i].size);
    }
    guint64 start = to->len;
    for (int i = 0; i < n; i++)
        put_record(to, &entries[i], places[i], lie ? lie : &truth);
    put_end(to, start, (guint64) n, lie ? lie : &truth);
    return to;
}

static const float floats[6] = {1, 2, 3, 4, 5, 6};

/* An archive of this pickle and one storage "0" of 24 bytes. */
static GByteArray *archive(const void *pickle, gsize size, const Lie *lie)
{
    const Entry entries[] = {
        {"any/data.pkl", pickle, size},
        {"any/data/0", floats, sizeof floats},
        {"any/byteorder", "little", 6},
    };
    return zip_of(entries, 3, lie);
}

static GError *open_pickle(const void *pickle, gsize size)
{
    GByteArray *bytes = archive(pickle, size, NULL);
    GError *error = lf_hostile_open(".pt", bytes->data, bytes->len);
    g_byte_array_unref(bytes);
    return error;
}

#define TEXT(letter, text) "X" letter "\0\0\0" text
#define STORAGE(type, count)                                                                       \
    "(" TEXT("\7", "storage") "c" type "\n" TEXT("\1", "0") TEXT("\3", "cpu") "K" count "tQ"
#define HOOKS                                                                                      \
    "\x89"                                                                                         \
    "ccollections\nOrderedDict\n)R"
/* A tensor of storage "0": offset, then shape and strides, each a pickled tuple. */
#define TENSOR(count, offset, shape, strides)                                                      \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("torch\nFloatStorage",                          \
                                                   count) "K" offset shape strides HOOKS "tR"
#define DICT(value) "\x80\2}" TEXT("\1", "a") value "s."

#define PICKLE(text) text, sizeof(text) - 1

static LfTensorFile *open_bytes(GByteArray *bytes, char **path)
{
    GError *error = NULL;
    int fd = g_file_open_tmp("lightforcing-XXXXXX.pt", path, &error);
    g_assert_no_error(error);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(*path, (const char *) bytes->data, bytes->len, NULL));
    LfTensorFile *file = lf_tensor_file_open(*path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_remove(*path), ==, 0);
    return file;
}

static void test_made(gconstpointer wide)
{
    const Lie lie = {.wide = GPOINTER_TO_INT(wide)};
    g_autofree char *path = NULL;
    GByteArray *bytes = archive(PICKLE(DICT(TENSOR("\6", "\1", "K\2K\2\x86", "K\3K\1\x86"))), &lie);
    LfTensorFile *file = open_bytes(bytes, &path);
    assert_tensor(file, "a", LF_F32, SHAPE(2, 2), VALUES(2, 3, 5, 6));
    lf_tensor_file_unref(file);
    g_byte_array_unref(bytes);
}

/* FP8 tensors are views of bytes, with their type as a seventh argument. */
static void test_fp8(void)
{
    static const char pickle[] = DICT("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE(
        "torch.storage\nUntypedStorage", "\x18") "K\0K\3\x85K\1\x85" HOOKS
                                                 "ctorch\nfloat8_e4m3fn\ntR");
    static const guint8 storage[24] = {0x38, 0x3c, 0xc0};
    const Entry entries[] = {
        {"x/data.pkl", pickle, sizeof pickle - 1},
        {"x/data/0", storage, sizeof storage},
    };
    g_autofree char *path = NULL;
    GByteArray *bytes = zip_of(entries, 2, NULL);
    LfTensorFile *file = open_bytes(bytes, &path);
    assert_tensor(file, "a", LF_F8_E4M3, SHAPE(3), VALUES(1, 1.5, -2));
    lf_tensor_file_unref(file);
    g_byte_array_unref(bytes);
}

static void test_archives(void)
{
    static const Lie lies[] = {
        {.flags = 1},
        {.shift = 1},
        {.shift = 1 << 20},
        {.wide = TRUE, .shift = G_MAXUINT64 - 40},
        {.more = 1},
        {.more = -1},
        {.directory_shift = 4},
        {.wide = TRUE, .directory_shift = 1ull << 63},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(lies); i++) {
        GByteArray *bytes = archive(PICKLE("\x80\2}."), &lies[i]);
        g_autoptr(GError) error = lf_hostile_open(".pt", bytes->data, bytes->len);
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_byte_array_unref(bytes);
    }
    const Entry none[] = {{"data.pkl", "\x80\2}.", 4}};
    const Entry big[] = {{"a/data.pkl", "\x80\2}.", 4}, {"a/byteorder", "big", 3}};
    GByteArray *bytes = zip_of(none, 1, NULL);
    g_autoptr(GError) no_root = lf_hostile_open(".pt", bytes->data, bytes->len);
    g_assert_error(no_root, LF_ERROR, LF_ERROR_FORMAT);
    g_byte_array_unref(bytes);
    bytes = zip_of(big, 2, NULL);
    g_autoptr(GError) order = lf_hostile_open(".pt", bytes->data, bytes->len);
    g_assert_error(order, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_byte_array_unref(bytes);
}

/* An archive of this many entries without data, which all lie at one place. */
static GError *open_entries(guint n, guint n_names)
{
    static const Lie lie = {.wide = TRUE};
    GByteArray *to = g_byte_array_new();
    put_text(to, "PK\3\4");
    put(to, 0, 8);
    put(to, 0, 8);
    put(to, 0, 10);
    guint64 start = to->len;
    for (guint i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("%u", i % n_names);
        put_record(to, &(Entry){name, "", 0}, 0, &lie);
    }
    put_end(to, start, n, &lie);
    GError *error = lf_hostile_open(".pt", to->data, to->len);
    g_byte_array_unref(to);
    return error;
}

static void test_entries(void)
{
    g_autoptr(GError) many = open_entries(100000, 100000), more = open_entries(100001, 100001);
    g_autoptr(GError) twice = open_entries(11, 10);
    g_assert_nonnull(strstr(many->message, "without data.pkl"));
    g_assert_nonnull(strstr(more->message, "too many entries"));
    g_assert_nonnull(strstr(twice->message, "two entries of one name"));
}

/* ---- pickles that lie ------------------------------------------------------------------------ */

#define BAD(told, text)                                                                            \
    {                                                                                              \
        text, sizeof(text) - 1, told                                                               \
    }

static const struct {
    const char *pickle;
    gsize size;
    const char *told;
} bad[] = {
    BAD("object of os.system", "\x80\2cos\nsystem\n" TEXT("\2", "ls") "\x85R."),
    BAD("object of builtins.eval", "\x80\4\x8c\x08"
                                   "builtins\x8c\4eval\x93" TEXT("\1", "1") "\x85R."),
    BAD("object of torch.load", "\x80\2ctorch\nload\n."),
    BAD("object of torch._utils.FloatStorage", "\x80\2ctorch._utils\nFloatStorage\n."),
    BAD("object of os.system", "\x80\2(" TEXT("\2", "ls") "ios\nsystem\n."),
    BAD("object of os.system", "\x80\2(cos\nsystem\n" TEXT("\2", "ls") "o."),
    BAD("object of os.system", "\x80\4cos\nsystem\n)}\x92."),
    BAD("no tensors: a is an object of os.system", DICT("cos\nsystem\n)R")),
    BAD("no dictionary", "\x80\2K\1."),
    BAD("operation 0x50", "\x80\2P1\n."), /* ids as text, extensions, buffers outside */
    BAD("operation 0x82", "\x80\2\x82\1."),
    BAD("operation 0x97", "\x80\5\x97."),
    BAD("operation 0xff", "\x80\2\xff."),
    BAD("cannot be called", "\x80\2(}o."),
    BAD("stack is empty", "\x80\2(o."),
    BAD("mark is missing", "\x80\2o."),
    BAD("mark is missing", "\x80\2}1."),
    BAD("mark is missing", "\x80\4\x91."),
    BAD("stack is empty", "\x80\4)\x92."),
    BAD("stack is empty", "\x80\2(2."),
    BAD("no dictionary", "\x80\2I01\n."),
    BAD("line without an end", "\x80\2I01"),
    BAD("ends too early", "\x80\3B\5\0\0\0abc."),
    BAD("ends too early", "\x80\4\x8e\xff\xff\xff\xff\xff\xff\xff\xff."),
    BAD("ends too early", "\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\x7f."),
    BAD("ends too early", "\x80\2\x8b\xff\xff\xff\xff."),
    BAD("key without a value", "\x80\2(K\1d."),
    BAD("unknown protocol", "\x80\x09}."),
    BAD("ends too early", "\x80\2}"),
    BAD("ends too early", "\x80\2X\xff\xff\xff\xff"
                          "a."),
    BAD("ends too early", "\x80\2\x8a\x08\1\2"),
    BAD("stack is empty", "\x80\2R."),
    BAD("stack is empty", "\x80\2K\1\x87."),
    BAD("stack is empty", "\x80\2K\1s."),
    BAD("stack is empty", "\x80\2}(K\1s."),
    BAD("stack is empty", "\x80\2}(0."),
    BAD("stack is empty", "\x80\2q\1."),
    BAD("stack is empty", "\x80\2b."),
    BAD("mark is missing", "\x80\2}K\1K\2u."),
    BAD("mark is missing", "\x80\2t."),
    BAD("more than one value", "\x80\2}}."),
    BAD("more than one value", "\x80\2."),
    BAD("more than one value", "\x80\2}(."),
    BAD("no list or dictionary", "\x80\2](K\1K\2u."),
    BAD("no list or dictionary", "\x80\2}(K\1u."),
    BAD("no list or dictionary", "\x80\2}K\1a."),
    BAD("never stored", "\x80\2h\5."),
    BAD("never stored", "\x80\2j\xff\xff\xff\xff."),
    BAD("values", "\x80\2}r\xff\xff\xff\xff."),
    BAD("cannot be called", "\x80\2K\1)R."),
    BAD("cannot be called", "\x80\2ctorch\nSize\nK\1R."),
    BAD("no dictionary", "\x80\2ctorch\nfloat32\n)R."),
    BAD("parameter without a tensor", "\x80\2ctorch._utils\n_rebuild_parameter\n)R."),
    BAD("parameter without a tensor", "\x80\2ctorch._utils\n_rebuild_parameter\nK\1\x85R."),
    BAD("without a function", "\x80\2ctorch._tensor\n_rebuild_from_type_v2\n)R."),
    BAD("no dictionary", "\x80\2ccollections\nOrderedDict\n]\x85R."),
    BAD("is no object", "\x80\2K\1}b."),
    BAD("names no storage", "\x80\2}Q."),
    BAD("names no storage", "\x80\2" TEXT("\7", "storage") "K\1K\1K\1\x87Q."),
    BAD("line without an end", "\x80\2ctorch\nSize"),
    BAD("global without a name", "\x80\2c\xff\nSize\n."),
    BAD("global without a name", "\x80\4K\1K\1\x93."),
    BAD("storage any/data/0 is missing or too short",
        DICT(TENSOR("\x07", "\0", "K\1\x85", "K\1\x85"))),
    BAD("storage any/data/../data.pkl is missing",
        DICT("(" TEXT("\7", "storage") "ctorch\nFloatStorage\n" TEXT("\x0b", "../data.pkl")
                 TEXT("\3", "cpu") "K\1tQ")),
    BAD("larger than its storage", DICT(TENSOR("\6", "\0", "K\7\x85", "K\1\x85"))),
    BAD("larger than its storage", DICT(TENSOR("\6", "\1", "K\6\x85", "K\1\x85"))),
    BAD("larger than its storage", DICT(TENSOR("\6", "\7", "K\0\x85", "K\1\x85"))),
    BAD("larger than its storage", DICT(TENSOR("\6", "\0", "K\2\x85", "K\6\x85"))),
    BAD("larger than its storage", DICT(TENSOR("\6", "\2", "K\2\x85", "J\xff\xff\xff\xff\x85"))),
    BAD("larger than its storage", DICT(TENSOR("\6", "\0", "J\xff\xff\xff\xff\x85", "K\1\x85"))),
    BAD("larger than its storage",
        DICT(TENSOR("\6", "\0", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7fK\2\x87", "K\0K\0K\0\x87"))),
    BAD("larger than its storage",
        DICT(TENSOR("\6", "\0", "K\3\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"))),
    BAD("dimensions", DICT(TENSOR("\6", "\0", "K\1\x85", "K\1K\1\x86"))),
    BAD("dimensions", DICT(TENSOR("\6", "\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "K\1\x85"))),
    BAD("dimensions", DICT(TENSOR("\6", "\0", "K\1", "K\1\x85"))),
    BAD("dimensions", DICT(TENSOR("\6", "\0", "N\x85", "K\1\x85"))),
    BAD("without a storage", DICT("ctorch._utils\n_rebuild_tensor_v2\n(K\1K\1K\1K\1tR")),
    BAD("without a storage", DICT("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE(
                                 "torch.storage\nUntypedStorage", "\6") "K\0K\1\x85K\1\x85tR")),
    BAD("two tensors named a", "\x80\2}(" TEXT("\1", "a") TENSOR("\6", "\0", "K\1\x85", "K\1\x85")
                                   TEXT("\1", "a") TENSOR("\6", "\0", "K\1\x85", "K\1\x85") "u."),
};

static void test_lies(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = open_pickle(bad[i].pickle, bad[i].size);
        g_test_message("%s → %s", bad[i].told, error ? error->message : "taken");
        g_assert_error(error, LF_ERROR, LF_ERROR_FORMAT);
        g_assert_nonnull(strstr(error->message, bad[i].told));
    }
}

/* Harmless oddities are no reason to refuse a file. */
static void test_oddities(void)
{
    g_assert_no_error(open_pickle(PICKLE("\x80\2}.")));
    g_assert_no_error(open_pickle(PICKLE("\x80\2}(N}K\1}" TEXT("\2", "\xff\xfe") "}u.")));
    g_assert_no_error(open_pickle(PICKLE(DICT(TENSOR("\6", "\6", "K\0\x85", "K\1\x85")))));
    g_assert_no_error(open_pickle(PICKLE(
        DICT(TENSOR("\6", "\5", "K\1\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85")))));
}

/* A parameter with an attribute: PyTorch adds the attributes as a dictionary. */
static void test_parameter_with_state(void)
{
    g_autofree char *path = NULL;
    static const char pickle[] = DICT("ctorch._utils\n_rebuild_parameter_with_state\n(" TENSOR(
        "\6", "\1", "K\2\x85", "K\1\x85") HOOKS "}" TEXT("\1", "x") "K\1stR");
    GByteArray *bytes = archive(pickle, sizeof pickle - 1, NULL);
    LfTensorFile *file = open_bytes(bytes, &path);
    const LfFileTensor *t = lf_tensor_file_find(file, "a");
    g_assert_nonnull(t);
    g_assert_cmpmem(t->data, t->size, floats + 1, 2 * sizeof *floats);
    lf_tensor_file_unref(file);
    g_byte_array_unref(bytes);
}

/* Functions of torch that its version here does not write yet. */
static void test_newer(void)
{
#define FROM_TYPE(function, class, arguments)                                                      \
    "ctorch._tensor\n_rebuild_from_type_v2\n(" function class arguments "}tR"
#define SUBCLASS(class)                                                                            \
    FROM_TYPE("ctorch._utils\n_rebuild_tensor_v2\n", class,                                        \
              "(" STORAGE("torch\nFloatStorage", "\6") "K\1K\2\x85K\1\x85" HOOKS "t")
    static const struct {
        const char *pickle;
        gsize size;
        const char *what; /* NULL: it is read */
    } made[] = {
        {PICKLE(DICT(SUBCLASS("ctorch._tensor\nTensor\n"))), NULL},
        {PICKLE(DICT(SUBCLASS("cmine\nTensor\n"))), NULL},
        {PICKLE(DICT(SUBCLASS("ctorch.distributed.tensor\nDTensor\n"))), "gather"},
        {PICKLE(DICT(SUBCLASS("ctorch.distributed._tensor.api\nDTensor\n"))), "gather"},
        {PICKLE(DICT("cany\nShardedTensor\n)\x81}b")), "gather"},
        {PICKLE(DICT(FROM_TYPE("ctorch._utils\n_rebuild_wrapper_subclass\n", "cmine\nT\n", ")"))),
         "class of its own"},
        {PICKLE(DICT("ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n(" TENSOR(
             "\6", "\1", "K\2\x85", "K\1\x85") "NNtR")),
         NULL},
        {PICKLE(DICT("cmine\nmake\n" TENSOR("\6", "\1", "K\2\x85", "K\1\x85") "\x85R")),
         "mine.make"},
        {PICKLE(DICT("cmine\nmake\n(" STORAGE("torch\nFloatStorage", "\6") "K\1tR")), "mine.make"},
        {PICKLE(DICT("ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE(
             "torch\nStrangeStorage", "\6") "K\1K\2\x85K\1\x85" HOOKS "tR")),
         "torch.StrangeStorage"},
        {PICKLE(DICT("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE(
             "torch.storage\nUntypedStorage", "\x18") "K\0K\3\x85K\1\x85" HOOKS
                                                      "ctorch\nfloat8_e8m0fnu\ntR")),
         "torch.float8_e8m0fnu"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(made); i++) {
        g_autofree char *path = NULL;
        GByteArray *bytes = archive(made[i].pickle, made[i].size, NULL);
        LfTensorFile *file = open_bytes(bytes, &path);
        const char *what = lf_tensor_file_unreadable(file, "a");
        g_test_message("%s", what ? what : "read");
        if (made[i].what) {
            g_assert_nonnull(what);
            g_assert_nonnull(strstr(what, made[i].what));
        } else {
            g_assert_null(what);
            assert_tensor(file, "a", LF_F32, SHAPE(2), VALUES(2, 3));
        }
        lf_tensor_file_unref(file);
        g_byte_array_unref(bytes);
    }
}

/* A complex tensor in the decoder's half of umT5, which is not used, and one in the encoder's. */
static void test_halves(void)
{
#define COMPLEX                                                                                    \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("torch\nComplexFloatStorage",                   \
                                                   "\3") "K\0K\3\x85K\1\x85" HOOKS "tR"
#define T5(name)                                                                                   \
    "\x80\2}(" TEXT("\x1f", "encoder.final_layer_norm.weight")                                     \
        TENSOR("\6", "\1", "K\2\x85", "K\1\x85") TEXT("\x0c", name) COMPLEX "u."
    static const struct {
        const char *pickle;
        gsize size;
        bool refused;
    } files[] = {{PICKLE(T5("decoder.any1")), false}, {PICKLE(T5("encoder.any1")), true}};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = NULL;
        GByteArray *bytes = archive(files[i].pickle, files[i].size, NULL);
        LfTensorFile *file = open_bytes(bytes, &path);
        g_autoptr(LfRecognised) r = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
        g_assert_cmpint(r->kind, ==, LF_FILE_TEXT_ENCODER);
        g_assert_true(files[i].refused ==
                      (r->problem && strstr(r->problem, "any1 cannot be read")));
        lf_tensor_file_unref(file);
        g_byte_array_unref(bytes);
    }
}

/* ---- streams of before PyTorch 1.6 ----------------------------------------------------------- */

#define MAGIC                                                                                      \
    "\x80\2\x8a\nl\xfc\x9c"                                                                        \
    "F\xf9 j\xa8P\x19."
#define VERSION "\x80\2M\xe9\3."
#define FACTS   "\x80\2}" TEXT("\x0d", "little_endian") "\x88s."
#define KEYS    "\x80\2]" TEXT("\1", "0") "a."
#define HEAD    MAGIC VERSION FACTS

/* A storage "0" of `count` floats, of which the tensor sees a view of storage "1". */
#define VIEW(first, count)                                                                         \
    "(" TEXT("\7", "storage") "ctorch\nFloatStorage\n" TEXT("\1", "0")                             \
        TEXT("\3", "cpu") "K\6(" TEXT("\1", "1") "K" first "K" count "ttQ"
#define VIEW_TENSOR(first, count)                                                                  \
    "ctorch._utils\n_rebuild_tensor_v2\n(" VIEW(first, count) "K\1K\2\x85K\1\x85" HOOKS "tR"
#define PLAIN_TENSOR TENSOR("\6", "\2", "K\2\x85", "K\1\x85")

/* A stream with this many floats behind it, of which `claimed` are told. */
static GByteArray *stream_of(const char *pickles, gsize size, guint64 claimed)
{
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *) pickles, (guint) size);
    put(bytes, claimed, 8);
    g_byte_array_append(bytes, (const guint8 *) floats, sizeof floats);
    return bytes;
}

static void test_stream_views(void)
{
    static const char pickles[] = HEAD "\x80\2}(" TEXT("\1", "a") VIEW_TENSOR("\2", "\3")
        TEXT("\1", "b") PLAIN_TENSOR "u." KEYS;
    g_autofree char *path = NULL;
    GByteArray *bytes = stream_of(PICKLE(pickles), 6);
    LfTensorFile *file = open_bytes(bytes, &path);
    assert_tensor(file, "a", LF_F32, SHAPE(2), VALUES(4, 5));
    assert_tensor(file, "b", LF_F32, SHAPE(2), VALUES(3, 4));
    lf_tensor_file_unref(file);
    g_byte_array_unref(bytes);
}

/* Modules were written with the source of their classes: ("module", class, file, source). */
static void test_stream_module(void)
{
    static const char pickles[] = HEAD "\x80\2}(" TEXT("\1", "a")
        PLAIN_TENSOR TEXT("\1", "m") "(" TEXT("\6", "module") "cmine\nNet\n" TEXT("\1", "f")
            TEXT("\1", "s") "tQ)\x81}bu." KEYS;
    g_autofree char *path = NULL;
    GByteArray *bytes = stream_of(PICKLE(pickles), 6);
    LfTensorFile *file = open_bytes(bytes, &path);
    assert_tensor(file, "a", LF_F32, SHAPE(2), VALUES(3, 4));
    g_assert_cmpuint(lf_tensor_file_count(file), ==, 1);
    lf_tensor_file_unref(file);
    g_byte_array_unref(bytes);
}

static void test_stream_lies(void)
{
    static const struct {
        const char *pickles;
        gsize size;
        guint64 claimed;
        const char *told;
    } lies[] = {
        {PICKLE(MAGIC "\x80\2M\xe8\3." FACTS DICT(PLAIN_TENSOR) KEYS), 6, "version"},
        {PICKLE(MAGIC VERSION "\x80\2}" TEXT("\x0d", "little_endian") "\x89s." DICT(PLAIN_TENSOR)
                    KEYS),
         6, "big-endian"},
        {PICKLE(MAGIC VERSION "\x80\2cos\nsystem\n)R." DICT(PLAIN_TENSOR) KEYS), 6, "os.system"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) "\x80\2}."), 6, "list of storages"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) "\x80\2]."), 6, "storage 0 is missing"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) "\x80\2]K\1a."), 6, "without a name"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) "\x80\2]" TEXT("\1", "9") "a."), 6, "no tensor has"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) "\x80\2](" TEXT("\1", "0") TEXT("\1", "0") "e."), 6,
         "no tensor has"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) KEYS), 5, "larger than its storage"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) KEYS), 7, "ends too early"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) KEYS), G_MAXUINT64, "ends too early"},
        {PICKLE(HEAD DICT(PLAIN_TENSOR) KEYS), 1ull << 62, "ends too early"},
        {PICKLE(HEAD DICT(VIEW_TENSOR("\4", "\3")) KEYS), 6, "outside of its storage"},
        {PICKLE(HEAD DICT(VIEW_TENSOR("\4", "\2")) KEYS), 6, "larger than its storage"},
        {PICKLE(HEAD DICT("ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE(
             "torch\nStrangeStorage", "\6") "K\1K\2\x85K\1\x85" HOOKS "tR") KEYS),
         6, "type that is not known"},
        {PICKLE(HEAD "\x80\2](" TEXT("\1", "0") "e." KEYS), 6, "no tensor has"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(lies); i++) {
        GByteArray *bytes = stream_of(lies[i].pickles, lies[i].size, lies[i].claimed);
        g_autoptr(GError) error = lf_hostile_open(".pt", bytes->data, bytes->len);
        g_test_message("%s → %s", lies[i].told, error ? error->message : "taken");
        g_assert_true(error && error->domain == LF_ERROR);
        g_assert_nonnull(strstr(error->message, lies[i].told));
        g_byte_array_unref(bytes);
    }
}

/* ---- bombs: short files that ask for depth, time or memory ----------------------------------- */

static void assert_bomb(GByteArray *pickle, const char *told)
{
    g_autoptr(GError) error = open_pickle(pickle->data, pickle->len);
    g_assert_true(error && error->domain == LF_ERROR);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, told));
    g_byte_array_unref(pickle);
}

static GByteArray *repeated(const char *start, const char *middle, int n, const char *end)
{
    GByteArray *pickle = g_byte_array_new();
    put(pickle, 0x0280, 2);
    put_text(pickle, start);
    for (int i = 0; i < n; i++)
        put_text(pickle, middle);
    put_text(pickle, end);
    return pickle;
}

static void test_bombs(void)
{
    assert_bomb(repeated("", "(", 1000000, "."), "open marks");
    assert_bomb(repeated("", "}", 1000000, "."), "values");
    assert_bomb(repeated("}", "\x85", 400000, "."), "no dictionary"); /* deep, but only built */
    assert_bomb(repeated("}q\1X\1", "", 1, ""), "too early");
    assert_bomb(repeated("}", "\x80\2", 33 << 20, "."), "operations");
    assert_bomb(repeated("}q\1]", "h\1h\1h\1h\1h\1h\1h\1h\1", 1 << 20, "."), "uses of values");
    assert_bomb(repeated("", "cos\nsystem\n)R0", 300000, "."), "values");
}

/* Each dictionary holds the one before twenty times: 20^10 of them, and one that holds itself. */
static void test_nested_bombs(void)
{
    GByteArray *shared = g_byte_array_new();
    put(shared, 0x0280, 2);
    put_text(shared, "}q");
    put(shared, 0, 1);
    for (guint level = 1; level <= 10; level++) {
        put_text(shared, "}(");
        for (guint key = 0; key < 20; key++) {
            put(shared, 'K', 1);
            put(shared, key, 1);
            put(shared, 'h', 1);
            put(shared, level - 1, 1);
        }
        put_text(shared, "uq");
        put(shared, level, 1);
    }
    put_text(shared, "q\xff");
    for (guint level = 0; level <= 10; level++)
        put_text(shared, "0");
    put_text(shared, "h\xff.");
    assert_bomb(shared, "nest too deeply");
    assert_bomb(repeated("}q\1K\1h\1s.", "", 0, ""), "nest too deeply");
}

/* Strides of 0 repeat elements: six floats would become eight terabytes. */
static void test_stride_bomb(void)
{
    g_autoptr(GError) error =
        open_pickle(PICKLE(DICT(TENSOR("\6", "\0", "J\0\0\0\x40K\x40K\x20\x87", "K\0K\0K\0\x87"))));
    g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "a is not contiguous"));
}

/* ---- damage ---------------------------------------------------------------------------------- */

static void test_truncated(void)
{
    GByteArray *file = load_data("views_stream.pt");
    lf_hostile_truncate(".pt", file->data, file->len);
    g_byte_array_unref(file);
    file = load_data("views.pt");
    lf_hostile_truncate(".pt", file->data, file->len);
    g_byte_array_unref(file);
    const Lie wide = {.wide = TRUE};
    file = archive(PICKLE(DICT(TENSOR("\6", "\0", "K\1\x85", "K\1\x85"))), &wide);
    lf_hostile_truncate(".pt", file->data, file->len);
    g_byte_array_unref(file);
}

static void test_damaged(gconstpointer name)
{
    GByteArray *file = load_data(name);
    lf_hostile_flip(".pt", file->data, file->len, file->len, file->len, 5000);
    g_byte_array_unref(file);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/pytorch/plain", "plain.pt", test_plain);
    g_test_add_data_func("/pytorch/protocol-4", "protocol4.pt", test_plain);
    g_test_add_data_func("/pytorch/plain-stream", "plain_stream.pt", test_plain);
    g_test_add_data_func("/pytorch/views", "views.pt", test_views);
    g_test_add_data_func("/pytorch/views-stream", "views_stream.pt", test_views);
    g_test_add_data_func("/pytorch/checkpoint", "checkpoint.pt", test_checkpoint);
    g_test_add_data_func("/pytorch/checkpoint-stream", "checkpoint_stream.pt", test_checkpoint);
    g_test_add_data_func("/pytorch/beside-2", "beside2.pt", test_beside);
    g_test_add_data_func("/pytorch/beside-3", "beside3.pt", test_beside);
    g_test_add_data_func("/pytorch/beside-4", "beside4.pt", test_beside);
    g_test_add_data_func("/pytorch/beside-5", "beside5.pt", test_beside);
    g_test_add_data_func("/pytorch/beside-stream", "beside_stream.pt", test_beside);
    g_test_add_func("/pytorch/unreadable", test_unreadable);
    g_test_add_func("/pytorch/needed", test_needed);
    g_test_add_func("/pytorch/command", test_command);
    g_test_add_func("/pytorch/refused", test_refused);
    g_test_add_data_func("/pytorch/made", GINT_TO_POINTER(FALSE), test_made);
    g_test_add_data_func("/pytorch/made-64", GINT_TO_POINTER(TRUE), test_made);
    g_test_add_func("/pytorch/fp8", test_fp8);
    g_test_add_func("/pytorch/archives", test_archives);
    g_test_add_func("/pytorch/entries", test_entries);
    g_test_add_func("/pytorch/lies", test_lies);
    g_test_add_func("/pytorch/oddities", test_oddities);
    g_test_add_func("/pytorch/parameter-with-state", test_parameter_with_state);
    g_test_add_func("/pytorch/newer", test_newer);
    g_test_add_func("/pytorch/halves", test_halves);
    g_test_add_func("/pytorch/stream-views", test_stream_views);
    g_test_add_func("/pytorch/stream-module", test_stream_module);
    g_test_add_func("/pytorch/stream-lies", test_stream_lies);
    g_test_add_func("/pytorch/bombs", test_bombs);
    g_test_add_func("/pytorch/nested-bombs", test_nested_bombs);
    g_test_add_func("/pytorch/stride-bomb", test_stride_bomb);
    g_test_add_func("/pytorch/truncated", test_truncated);
    g_test_add_data_func("/pytorch/damaged-views", "views.pt", test_damaged);
    g_test_add_data_func("/pytorch/damaged-checkpoint", "checkpoint.pt", test_damaged);
    g_test_add_data_func("/pytorch/damaged-protocol-4", "protocol4.pt", test_damaged);
    g_test_add_data_func("/pytorch/damaged-stream", "checkpoint_stream.pt", test_damaged);
    g_test_add_data_func("/pytorch/damaged-beside", "beside5.pt", test_damaged);
    return g_test_run();
}
