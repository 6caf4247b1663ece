/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Serialised SentencePiece models, before the library reads them.
 */
#ifndef LF_FILES_SPIECE_H
#define LF_FILES_SPIECE_H

#include "protobuf.h"

G_BEGIN_DECLS

/* The largest published vocabularies that an encoder of this kind has are of 256,300 pieces of up
 * to 64 bytes. The library's time and memory grow with both. */
#define LF_SPIECE_MAX_PIECES (512 * 1024)
#define LF_SPIECE_MAX_TEXT   1024

/* Checks a model: it is a whole protocol buffer; it has 1 to 512 Ki pieces of 1 to 1024 bytes; its
 * character maps are in bounds. NULL and, for the library, a copy without the self-test, a list of
 * texts that the library would tokenise as it opens the model; `charsmap` is the normaliser's map,
 * in `model`, or empty. Else why the model is refused. */
const char *lf_spiece_check(LfSpan model, GByteArray **checked, LfSpan *charsmap);

G_END_DECLS

#endif
