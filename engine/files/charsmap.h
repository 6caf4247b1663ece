/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Checks the normaliser's tables inside a SentencePiece model. The library follows their offsets
 * without bounds checks, so that a damaged file would make it read outside its memory.
 */
#ifndef LF_FILES_CHARSMAP_H
#define LF_FILES_CHARSMAP_H

#include <glib.h>
#include <stdbool.h>

G_BEGIN_DECLS

/* True when all offsets of every character map in the serialised model are in bounds, also when
 * there is no map. False for bytes that are not a protocol buffer. */
bool lf_charsmap_check(const char *model, size_t size);

G_END_DECLS

#endif
