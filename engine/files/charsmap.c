/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A model is a protocol buffer; fields 3 and 5 are specifications of a normaliser, whose field 2 is
 * the map: u32 size of the trie, the trie, replacement strings that end with NUL. The trie is a
 * double array of u32 units (darts-clone): bits 0–7 and 31 of a unit are its label, bit 8 says that
 * a key ends there, bits 9–30 give the offset to its children; the value of a key is bits 0–30 of
 * the unit at the children's base.
 */
#include "charsmap.h"

#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *data;
    size_t size;
} Bytes;

/* ---- protocol buffer ------------------------------------------------------------------------- */

static bool take_varint(Bytes *bytes, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && bytes->size > 0; shift += 7) {
        uint8_t byte = *bytes->data++;
        bytes->size--;
        *value |= (uint64_t) (byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* One field; `content` is empty unless it is a string of bytes (wire type 2). */
static bool take_field(Bytes *bytes, uint64_t *number, Bytes *content)
{
    uint64_t tag, size;
    if (!take_varint(bytes, &tag))
        return false;
    *number = tag >> 3;
    *content = (Bytes){0};
    if ((tag & 7) == 0)
        return take_varint(bytes, &size);
    if ((tag & 7) == 1)
        size = 8;
    else if ((tag & 7) == 5)
        size = 4;
    else if ((tag & 7) != 2 || !take_varint(bytes, &size))
        return false;
    if (size > bytes->size)
        return false;
    if ((tag & 7) == 2)
        *content = (Bytes){bytes->data, size};
    bytes->data += size;
    bytes->size -= size;
    return true;
}

/* ---- the trie -------------------------------------------------------------------------------- */

/* SentencePiece keeps this many matches of one position and does not check that there are no more.
 * */
#define MAX_MATCHES 32

typedef struct {
    const uint8_t *units;
    uint32_t n_units;
    size_t n_text; /* bytes of the replacement strings, the last NUL excluded */
    uint8_t *seen; /* of each unit: the most matches it was entered with, and 1 */
} Trie;

typedef struct {
    uint32_t base;   /* of the children */
    uint8_t matches; /* keys that end on the way here */
} Node;

static uint32_t unit_at(const Trie *trie, uint32_t index)
{
    uint32_t unit;
    memcpy(&unit, trie->units + 4 * (size_t) index, 4);
    return GUINT32_FROM_LE(unit);
}

/* The node of unit `index`, the child of a node with `matches`; false when it is out of bounds. */
static bool enter(const Trie *trie, uint32_t index, uint8_t matches, Node *node)
{
    uint32_t unit = unit_at(trie, index);
    bool ends = unit >> 8 & 1;
    node->base = index ^ ((unit >> 10) << ((unit & 0x200) >> 6));
    node->matches = matches + (ends ? 1 : 0);
    if ((node->base | 0xff) >= trie->n_units || node->matches > MAX_MATCHES)
        return false;
    return !ends || (unit_at(trie, node->base) & 0x7fffffff) <= trie->n_text;
}

/* Paths join, so a unit is visited again only when it is reached with more matches than before. A
 * cycle without a match is harmless, because the prompt ends; a cycle with one exceeds the limit.
 * */
static bool walk(const Trie *trie, GArray *stack)
{
    Node node;
    if (!enter(trie, 0, 0, &node))
        return false;
    g_array_append_val(stack, node);
    while (stack->len > 0) {
        Node parent = g_array_index(stack, Node, stack->len - 1);
        g_array_set_size(stack, stack->len - 1);
        for (uint32_t label = 1; label < 256; label++) {
            uint32_t child = parent.base ^ label;
            if ((unit_at(trie, child) & 0x800000ff) != label || trie->seen[child] > parent.matches)
                continue;
            trie->seen[child] = parent.matches + 1;
            if (!enter(trie, child, parent.matches, &node))
                return false;
            g_array_append_val(stack, node);
        }
    }
    return true;
}

static bool check_map(Bytes map)
{
    if (map.size == 0)
        return true;
    uint32_t size = 0;
    if (map.size < 5 || map.data[map.size - 1] != 0)
        return false;
    memcpy(&size, map.data, 4);
    size = GUINT32_FROM_LE(size);
    if (size > map.size - 5 || size < 4 * 256)
        return false;
    Trie trie = {map.data + 4, size / 4, map.size - 5 - size, g_malloc0(size / 4)};
    GArray *stack = g_array_new(false, false, sizeof(Node));
    bool good = walk(&trie, stack);
    g_array_unref(stack);
    g_free(trie.seen);
    return good;
}

bool lf_charsmap_check(const char *model, size_t size)
{
    Bytes bytes = {(const uint8_t *) model, size}, field, map;
    uint64_t number;
    while (bytes.size > 0) {
        if (!take_field(&bytes, &number, &field))
            return false;
        bool normalizer = number == 3 || number == 5;
        while (normalizer && field.size > 0)
            if (!take_field(&field, &number, &map) || (number == 2 && !check_map(map)))
                return false;
    }
    return true;
}
