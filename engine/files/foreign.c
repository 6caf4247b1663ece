/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "foreign.h"

#include "json_scan.h"

#include <string.h>

#define WEIGHTS "give " LF_WANTED_WEIGHTS
#define PICKLE                                                                                     \
    "it is a Python pickle that torch.save did not write",                                         \
        "save its tensors with torch.save, or as safetensors"
#define COMPRESSED(name)                                                                           \
    "it is compressed (" name ")", "unpack it, and give the file that was in it"
#define GGML "it is a file of llama.cpp of before GGUF", NULL

/* Places that are not counted from the beginning. */
enum { AT_TEXT = -1, AT_END = -2 }; /* the first character that is no space; the last bytes */

typedef struct {
    int at;
    const char *bytes;
    gsize size;
    const char *what;
    const char *cure; /* NULL: give what is wanted */
} Sign;

#define BYTES(text) text, sizeof(text) - 1

/* The first row that fits is meant. */
static const Sign signs[] = {
    {0, BYTES("version https://git"), "it is a pointer of Git LFS, not the file itself",
     "fetch it with git lfs pull"},
    {0, BYTES("# xet version"), "it is a pointer of Xet, not the file itself", "download it"},
    {AT_TEXT, BYTES("<"), "it is a web page, not the file itself",
     "take the link that downloads (on a hub .../resolve/..., not .../blob/...)"},
    {0, BYTES("sys_info\0"), "it is PyTorch's format of before 0.2",
     "load it with PyTorch, and save it again with torch.save"},
    {257, BYTES("ustar"), "it is a tar archive", "unpack it with tar xf, and give what was in it"},
    {0, BYTES("\x1f\x8b"), COMPRESSED("gzip")},
    {0, BYTES("BZh"), COMPRESSED("bzip2")},
    {0, BYTES("\xfd\x37zXZ\0"), COMPRESSED("xz")},
    {0, BYTES("\x28\xb5\x2f\xfd"), COMPRESSED("zstd")},
    {0, BYTES("\x04\x22\x4d\x18"), COMPRESSED("lz4")},
    {0, BYTES("7z\xbc\xaf\x27\x1c"), COMPRESSED("7z")},
    {0, BYTES("Rar!\x1a\x07"), COMPRESSED("rar")},
    {0, BYTES("\x89HDF\r\n\x1a\n"), "it is HDF5, as Keras and h5py write it", NULL},
    {4, BYTES("TFL3"), "it is a model of TensorFlow Lite", NULL},
    {0, BYTES("\x08\1\x12"), "it is a SavedModel of TensorFlow", NULL},
    {0, BYTES("model_checkpoint_path"), "it is a checkpoint of TensorFlow", NULL},
    {AT_END, BYTES("\x57\xfb\x80\x8b\x24\x75\x47\xdb"), "it is a checkpoint of TensorFlow", NULL},
    {0, BYTES("\x93NUMPY"), "it is an array of NumPy", NULL},
    {0, BYTES("lmgg"), GGML},
    {0, BYTES("fmgg"), GGML},
    {0, BYTES("tjgg"), GGML},
    {0, BYTES("\x80\2"), PICKLE},
    {0, BYTES("\x80\3"), PICKLE},
    {0, BYTES("\x80\4"), PICKLE},
    {0, BYTES("\x80\5"), PICKLE},
    {0, BYTES("\x89PNG"), "it is a picture", NULL},
    {0, BYTES("\xff\xd8\xff"), "it is a picture", NULL},
    {0, BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
     "it begins with zeros, so that its download was not finished", "download it again"},
};

static gsize skip_spaces(const char *bytes, gsize size)
{
    gsize at = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && g_ascii_isspace(bytes[at]))
        at++;
    return at;
}

static bool fits(const Sign *sign, const char *bytes, gsize size)
{
    gsize at = sign->at == AT_TEXT  ? skip_spaces(bytes, size)
               : sign->at == AT_END ? size - MIN(size, sign->size)
                                    : (gsize) sign->at;
    return at <= size && sign->size <= size - at &&
           memcmp(bytes + at, sign->bytes, sign->size) == 0;
}

/* A protocol buffer whose first fields are a version of ONNX and the name of a producer. */
static bool is_onnx(const char *bytes, gsize size)
{
    enum { OLDEST = 3, NEWEST = 32 };
    return size > 4 && bytes[0] == 8 && bytes[1] >= OLDEST && bytes[1] <= NEWEST &&
           bytes[2] == 0x12;
}

/* The first line of a text, for a message; NULL when it is none. */
static char *first_line(const char *bytes, gsize size)
{
    enum { LONGEST = 80, LARGEST = 65536 };
    gsize start = skip_spaces(bytes, MIN(size, (gsize) LARGEST)), end = start;
    while (end < size && end - start < LONGEST && (guchar) bytes[end] >= ' ')
        end++;
    bool ended = end == size || bytes[end] == '\n' || bytes[end] == '\r' || end - start == LONGEST;
    if (size >= LARGEST || end == start || !ended)
        return NULL;
    const char *valid;
    if (!g_utf8_validate_len(bytes + start, end - start, &valid))
        end = (gsize) (valid - bytes) >= end - 3 ? (gsize) (valid - bytes) : start;
    return end > start ? g_strndup(bytes + start, end - start) : NULL;
}

static char *with_cure(const char *what, const char *cure, const char *wanted)
{
    return g_strdup_printf("%s: %s%s", what, cure ? cure : "give ", cure ? "" : wanted);
}

char *lf_foreign_file(const char *bytes, gsize size, const char *wanted)
{
    if (size == 0)
        return g_strdup("it is empty: download it again");
    for (gsize i = 0; i < G_N_ELEMENTS(signs); i++)
        if (fits(&signs[i], bytes, size))
            return with_cure(signs[i].what, signs[i].cure, wanted);
    if (is_onnx(bytes, size))
        return with_cure("it is a model of ONNX", NULL, wanted);
    g_autofree char *line = first_line(bytes, size);
    return line ? g_strdup_printf("it is a text, perhaps a server's message (\"%s\"): download the "
                                  "file again",
                                  line)
                : NULL;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

typedef struct {
    const char *key;
    const char *what; /* NULL: a server's message */
} Member;

static const Member members[] = {
    {"error", NULL},
    {"errors", NULL},
    {"message", NULL},
    {"detail", NULL},
    {"_class_name", "it is a model's configuration, not its weights: " WEIGHTS},
    {"architectures", "it is a model's configuration, not its weights: " WEIGHTS},
    {"model_type", "it is a model's configuration, not its weights: " WEIGHTS},
    {"tokenizer_class", "it is a tokenizer's configuration, not the tokenizer: give tokenizer.json "
                        "or spiece.model"},
    {"added_tokens", "it is a tokenizer, not weights: " WEIGHTS},
    {"last_node_id", "it is a workflow of ComfyUI: " WEIGHTS},
};

static char *describe(LfJsonScan *scan, const Member *member)
{
    enum { LONGEST = 80 };
    if (member->what)
        return g_strdup(member->what);
    bool text = lf_json_peek(scan) == '"' && lf_json_take_string(scan);
    g_autofree char *line = text ? first_line(scan->string->str, scan->string->len) : NULL;
    return g_strdup_printf("it is a server's message%s%s%s, not the file: download it again, with "
                           "the access that it needs",
                           line ? " (\"" : "", line ? line : "", line ? "\")" : "");
}

char *lf_foreign_json(const char *text, gsize size)
{
    LfJsonScan scan;
    char *what = NULL;
    lf_json_scan_init(&scan, text, size);
    lf_json_enter(&scan, '{');
    while (!what && lf_json_next(&scan)) {
        for (gsize i = 0; i < G_N_ELEMENTS(members) && !what; i++)
            if (lf_json_has_key(&scan, members[i].key))
                what = describe(&scan, &members[i]);
        if (!what)
            lf_json_skip(&scan);
    }
    lf_json_scan_clear(&scan);
    return what;
}

/* ---- zip ------------------------------------------------------------------------------------- */

const char *lf_foreign_zip(const char *name)
{
    static const struct {
        const char *ending, *what;
    } rows[] = {
        {"/constants.pkl", "it is a program of TorchScript (torch.jit.save): save the module's "
                           "state_dict() with torch.save"},
        {"/archive_format", "it is a program of torch.export: save the module's state_dict() with "
                            "torch.save"},
        {".npy", "it is an archive of NumPy (.npz): " WEIGHTS},
        {"model.weights.h5", "it is a model of Keras: " WEIGHTS},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        if (g_str_has_suffix(name, rows[i].ending))
            return rows[i].what;
    return NULL;
}
