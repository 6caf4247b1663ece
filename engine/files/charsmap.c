/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A map is: u32 size of the trie, the trie, replacement strings that end with NUL. The trie is a
 * double array of u32 units (darts-clone): bits 0–7 and 31 of a unit are its label, bit 8 says that
 * a key ends there, bits 9–30 give the offset to its children; the value of a key is bits 0–30 of
 * the unit at the children's base.
 */
#include "charsmap.h"

#include <string.h>

/* SentencePiece keeps this many matches of one position and does not check that there are no more.
 * */
#define MAX_MATCHES 32

typedef struct {
    const uint8_t *units;
    uint32_t n_units;
    const char *strings;
    size_t n_strings; /* bytes, the last NUL excluded */
} Trie;

typedef struct {
    uint32_t base;   /* of the children */
    uint8_t matches; /* keys that end on the way here */
} Node;

static bool split(LfSpan map, Trie *trie)
{
    uint32_t size = 0;
    if (map.size < 5 || map.size > LF_CHARSMAP_MAX_SIZE || map.data[map.size - 1] != 0)
        return false;
    memcpy(&size, map.data, 4);
    size = GUINT32_FROM_LE(size);
    if (size > map.size - 5 || size < 4 * 256)
        return false;
    *trie = (Trie){map.data + 4, size / 4, (const char *) map.data + 4 + size, map.size - 5 - size};
    return true;
}

static uint32_t unit_at(const Trie *trie, uint32_t index)
{
    uint32_t unit;
    memcpy(&unit, trie->units + 4 * (size_t) index, 4);
    return GUINT32_FROM_LE(unit);
}

static uint32_t base_of(uint32_t unit, uint32_t index)
{
    return index ^ ((unit >> 10) << ((unit & 0x200) >> 6));
}

static bool ends_key(uint32_t unit)
{
    return unit >> 8 & 1;
}

/* Units that hold a value have bit 31 and are no one's child. */
static bool is_child(uint32_t unit, uint32_t label)
{
    return (unit & 0x800000ff) == label;
}

static uint32_t value_at(const Trie *trie, uint32_t base)
{
    return unit_at(trie, base) & 0x7fffffff;
}

/* ---- bounds ---------------------------------------------------------------------------------- */

/* The node of unit `index`, the child of a node with `matches`; false when it is out of bounds. */
static bool enter(const Trie *trie, uint32_t index, uint8_t matches, Node *node)
{
    uint32_t unit = unit_at(trie, index);
    node->base = base_of(unit, index);
    node->matches = matches + (ends_key(unit) ? 1 : 0);
    if ((node->base | 0xff) >= trie->n_units || node->matches > MAX_MATCHES)
        return false;
    return !ends_key(unit) || value_at(trie, node->base) <= trie->n_strings;
}

/* `seen` has for each unit the most matches it was entered with, and 1. Paths join, so a unit is
 * visited again only when it is reached with more matches than before. A cycle without a match is
 * harmless, because the text ends; a cycle with one exceeds the limit. */
static bool walk(const Trie *trie, uint8_t *seen, GArray *stack)
{
    Node node;
    if (!enter(trie, 0, 0, &node))
        return false;
    g_array_append_val(stack, node);
    while (stack->len > 0) {
        Node parent = g_array_index(stack, Node, stack->len - 1);
        g_array_set_size(stack, stack->len - 1);
        for (uint32_t label = 0; label < 256; label++) {
            uint32_t child = parent.base ^ label;
            if (!is_child(unit_at(trie, child), label) || seen[child] > parent.matches)
                continue;
            seen[child] = parent.matches + 1;
            if (!enter(trie, child, parent.matches, &node))
                return false;
            g_array_append_val(stack, node);
        }
    }
    return true;
}

bool lf_charsmap_check(LfSpan map)
{
    Trie trie;
    if (map.size == 0)
        return true;
    if (!split(map, &trie))
        return false;
    g_autofree uint8_t *seen = g_malloc0(trie.n_units);
    GArray *stack = g_array_new(false, false, sizeof(Node));
    bool good = walk(&trie, seen, stack);
    g_array_unref(stack);
    return good;
}

/* ---- length ---------------------------------------------------------------------------------- */

/* Of the longest key that `text` begins with; NULL when there is none. */
static const char *replacement(const Trie *trie, const char *text)
{
    const char *found = NULL;
    uint32_t base = base_of(unit_at(trie, 0), 0);
    for (const uint8_t *label = (const uint8_t *) text; *label; label++) {
        uint32_t child = base ^ *label, unit = unit_at(trie, child);
        if (!is_child(unit, *label))
            break;
        base = base_of(unit, child);
        if (ends_key(unit))
            found = trie->strings + value_at(trie, base);
    }
    return found;
}

static size_t size_of(const char *text, size_t n, size_t limit)
{
    size_t size = 0;
    for (size_t i = 0; i < n && text[i] && size <= limit; i++)
        size += text[i] == ' ' ? 3 : 1;
    return size;
}

/* Where a key begins depends on those before it, so every character counts as if one began there;
 * and at least as itself, because user-defined pieces go before keys. */
size_t lf_charsmap_reach(LfSpan map, const char *text, size_t limit)
{
    Trie trie;
    bool mapped = map.size > 0 && split(map, &trie);
    size_t total = 3; /* the mark in front */
    for (; *text && total <= limit; text = g_utf8_next_char(text)) {
        size_t own = size_of(text, (size_t) (g_utf8_next_char(text) - text), limit);
        const char *other = mapped ? replacement(&trie, text) : NULL;
        total += other ? MAX(own, size_of(other, SIZE_MAX, limit - total)) : own;
    }
    return total;
}
