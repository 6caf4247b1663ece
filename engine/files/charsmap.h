/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The normaliser's tables inside a SentencePiece model. The library follows their offsets without
 * looking where they lead, so a damaged file would read outside its memory: this looks first.
 */
#ifndef LF_FILES_CHARSMAP_H
#define LF_FILES_CHARSMAP_H

#include <glib.h>
#include <stdbool.h>

G_BEGIN_DECLS

/* True when every character map in the serialised model is safe to follow, also when there is none.
 * False for bytes that are no protocol buffer. */
bool lf_charsmap_check(const char *model, size_t size);

G_END_DECLS

#endif
