/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The character map of SentencePiece's normaliser: a trie of what is replaced, and the strings that
 * replace it. The library follows its offsets without bounds checks, so that a damaged file would
 * make it read outside its memory; and a short text may become any number of times longer.
 */
#ifndef LF_FILES_CHARSMAP_H
#define LF_FILES_CHARSMAP_H

#include "protobuf.h"

G_BEGIN_DECLS

/* Published maps have 0.25 MB. The limit bounds the time and the memory of the check. */
#define LF_CHARSMAP_MAX_SIZE (1 << 20)

/* True when all offsets of the map are in bounds, for texts of any bytes, NUL included; also when
 * it is empty. */
bool lf_charsmap_check(LfSpan map);

/* At most how many bytes `text` has after a checked map, with each space as the three bytes of
 * SentencePiece's mark for it; at least `limit` + 1 when it has more than `limit`. Takes time in
 * proportion to the text and to `limit`. */
size_t lf_charsmap_reach(LfSpan map, const char *text, size_t limit);

G_END_DECLS

#endif
