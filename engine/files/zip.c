/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "zip.h"

#include <stdlib.h>
#include <string.h>

/* Sizes of the fixed parts of the records. */
enum { LOCAL = 30, CENTRAL = 46, END = 22, END64 = 56, LOCATOR64 = 20, MAX_COMMENT = 65535 };

enum { MAX_ENTRIES = 100000 };

struct LfZip {
    const uint8_t *bytes;
    size_t size;
    GPtrArray *list; /* LfZipEntry *, sorted by name once all are read */
};

/* The central directory: where and how long. */
typedef struct {
    uint64_t offset, size, count;
} Directory;

static uint64_t number(const uint8_t *bytes, int n_bytes)
{
    uint64_t value = 0;
    for (int i = n_bytes - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static bool within(uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset <= limit && size <= limit - offset;
}

static bool fail(GError **error, const char *what)
{
    return lf_fail(error, LF_ERROR_FORMAT, "invalid zip archive: %s", what);
}

/* The end record is last, but for a comment whose length it has. */
static const uint8_t *find_end(const LfZip *zip)
{
    for (size_t back = END; back <= zip->size && back <= END + MAX_COMMENT; back++) {
        const uint8_t *end = zip->bytes + zip->size - back;
        if (memcmp(end, "PK\5\6", 4) == 0 && number(end + 20, 2) == back - END)
            return end;
    }
    return NULL;
}

/* The 64-bit end record, when there is one, is found through a locator before the other one. */
static bool find_directory(const LfZip *zip, Directory *directory, GError **error)
{
    const uint8_t *end = find_end(zip);
    if (!end)
        return fail(error, "its directory is missing; the file may be cut off");
    size_t place = (size_t) (end - zip->bytes);
    *directory = (Directory){number(end + 16, 4), number(end + 12, 4), number(end + 10, 2)};
    if (place >= LOCATOR64 && memcmp(end - LOCATOR64, "PK\6\7", 4) == 0) {
        uint64_t offset = number(end - LOCATOR64 + 8, 8);
        if (!within(offset, END64, place) || memcmp(zip->bytes + offset, "PK\6\6", 4) != 0)
            return fail(error, "its 64-bit end record is missing");
        const uint8_t *end64 = zip->bytes + offset;
        *directory =
            (Directory){number(end64 + 48, 8), number(end64 + 40, 8), number(end64 + 32, 8)};
    }
    if (!within(directory->offset, directory->size, place))
        return fail(error, "its directory is outside of it");
    return true;
}

/* Values that do not fit into 32 bits are in extra field 1, in this order, each only if needed. */
static bool widen(const uint8_t *extra, size_t size, uint64_t *values, int n_values)
{
    while (size >= 4) {
        uint64_t id = number(extra, 2), length = number(extra + 2, 2);
        extra += 4;
        size -= 4;
        if (length > size)
            return false;
        for (int i = 0; id == 1 && i < n_values; i++) {
            if (values[i] != UINT32_MAX)
                continue;
            if (length < 8)
                return false;
            values[i] = number(extra, 8);
            extra += 8;
            size -= 8;
            length -= 8;
        }
        extra += length;
        size -= length;
    }
    return true;
}

/* Why the bytes of an entry are not those that were stored, by its record. */
static const char *problem_of(const uint8_t *record, const uint64_t *sizes)
{
    if (number(record + 8, 2) & 1)
        return "its entries are encrypted";
    if (number(record + 10, 2) != 0 || sizes[0] != sizes[1])
        return "its entries are compressed; save it again with torch.save";
    return NULL;
}

/* One record of the directory, of at least CENTRAL bytes; `size` becomes its length. */
static bool read_entry(LfZip *zip, const uint8_t *record, uint64_t *size, GError **error)
{
    uint64_t name_size = number(record + 28, 2), extra_size = number(record + 30, 2);
    uint64_t whole = CENTRAL + name_size + extra_size + number(record + 32, 2);
    uint64_t values[3] = {number(record + 24, 4), number(record + 20, 4), number(record + 42, 4)};
    const uint8_t *name = record + CENTRAL;
    if (memcmp(record, "PK\1\2", 4) != 0 || whole > *size)
        return fail(error, "a damaged directory");
    *size = whole;
    if (!g_utf8_validate_len((const char *) name, name_size, NULL))
        return fail(error, "a name that is not UTF-8");
    if (!widen(name + name_size, extra_size, values, 3))
        return fail(error, "a damaged directory");
    if (!within(values[2], LOCAL, zip->size) || memcmp(zip->bytes + values[2], "PK\3\4", 4) != 0)
        return fail(error, "an entry is outside of it");
    const uint8_t *local = zip->bytes + values[2];
    uint64_t data = values[2] + LOCAL + number(local + 26, 2) + number(local + 28, 2);
    if (!within(data, values[1], zip->size))
        return fail(error, "an entry is outside of it; the file may be cut off");
    LfZipEntry *entry = g_new(LfZipEntry, 1);
    *entry = (LfZipEntry){g_strndup((const char *) name, name_size), zip->bytes + data,
                          (size_t) values[1], problem_of(record, values)};
    g_ptr_array_add(zip->list, entry);
    return true;
}

static bool read_directory(LfZip *zip, GError **error)
{
    Directory directory = {0};
    if (!find_directory(zip, &directory, error))
        return false;
    const uint8_t *record = zip->bytes + directory.offset;
    for (uint64_t left = directory.size; left > 0 || directory.count > 0; directory.count--) {
        uint64_t size = left;
        if (zip->list->len == MAX_ENTRIES)
            return fail(error, "it has too many entries");
        if (left < CENTRAL || directory.count == 0)
            return fail(error, "its directory and its number of entries differ");
        if (!read_entry(zip, record, &size, error))
            return false;
        record += size;
        left -= size;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(LfZipEntry *const *) a)->name, (*(LfZipEntry *const *) b)->name);
}

static bool sort(LfZip *zip, GError **error)
{
    g_ptr_array_sort(zip->list, by_name);
    for (guint i = 1; i < zip->list->len; i++)
        if (by_name(&zip->list->pdata[i - 1], &zip->list->pdata[i]) == 0)
            return fail(error, "it has two entries of one name");
    return true;
}

static void entry_free(gpointer data)
{
    LfZipEntry *entry = data;
    g_free((char *) entry->name);
    g_free(entry);
}

LfZip *lf_zip_open(const void *bytes, size_t size, GError **error)
{
    LfZip *zip = g_new0(LfZip, 1);
    zip->bytes = bytes;
    zip->size = size;
    zip->list = g_ptr_array_new_with_free_func(entry_free);
    if (!read_directory(zip, error) || !sort(zip, error)) {
        lf_zip_free(zip);
        return NULL;
    }
    return zip;
}

void lf_zip_free(LfZip *zip)
{
    if (!zip)
        return;
    g_ptr_array_unref(zip->list);
    g_free(zip);
}

size_t lf_zip_count(const LfZip *zip)
{
    return zip->list->len;
}

const LfZipEntry *lf_zip_nth(const LfZip *zip, size_t index)
{
    return g_ptr_array_index(zip->list, index);
}

const LfZipEntry *lf_zip_find(const LfZip *zip, const char *name)
{
    const LfZipEntry wanted = {.name = name}, *key = &wanted;
    LfZipEntry **found = bsearch(&key, zip->list->pdata, zip->list->len, sizeof(gpointer), by_name);
    return found ? *found : NULL;
}
