/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Streams of the tiny model, for tests of sessions.
 */
#ifndef LF_TESTS_STREAM_H
#define LF_TESTS_STREAM_H

#include "engine/lightforcing.h"
#include "tests/common/tiny_model.h"

/* The tiny model, opened; its files are gone by then but for the map. */
LfModel *stream_model(const LfTinyModel *options);

/* A session with a prompt ("" for none). */
LfSession *stream_session(LfModel *model, const LfSessionOptions *options, const char *prompt);

/* The next chunk; an error ends the test. */
LfChunk *stream_next(LfSession *session);

/* All pictures of a chunk, RGB. */
GByteArray *stream_pictures(const LfChunk *chunk);

/* The pictures of the next n chunks. */
GByteArray *stream_run(LfSession *session, int n_chunks);

void stream_assert_same(const GByteArray *a, const GByteArray *b);
gboolean stream_same(const GByteArray *a, const GByteArray *b);

/* That `error` has this code and its message holds `word`; frees it. */
void stream_assert_error(GError **error, LfError code, const char *word);

#endif
