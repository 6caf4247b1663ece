/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Streams of the tiny model, for tests of sessions.
 */
#ifndef LF_TESTS_STREAM_H
#define LF_TESTS_STREAM_H

#include "engine/lightforcing.h"
#include "tests/common/tiny_model.h"

/* The backend of the tests: $LF_TEST_BACKEND, or "cpu". */
const char *stream_backend(void);

/* The tiny model on that backend, or on the one in `options`. Its files are already deleted; only
 * the mapping remains. */
LfModel *stream_model(const LfTinyModel *options);
LfModel *stream_model_on(const LfTinyModel *options, const char *backend);

/* A session with a prompt ("" for none) whose chunks keep their latents. */
LfSession *stream_session(LfModel *model, const LfSessionOptions *options, const char *prompt);

/* The next chunk; an error ends the test. */
LfChunk *stream_next(LfSession *session);

/* Generates n chunks, waits for each and drops it. */
void stream_drop(LfSession *session, int n_chunks);

/* All pictures of a chunk, RGB. */
GByteArray *stream_pictures(const LfChunk *chunk);

/* The pictures of the next n chunks. */
GByteArray *stream_run(LfSession *session, int n_chunks);

void stream_assert_same(const GByteArray *a, const GByteArray *b);
gboolean stream_same(const GByteArray *a, const GByteArray *b);

/* Counts what the session's backends allocate from here on. One session at a time. */
gint *stream_count_allocations(LfSession *session);

/* Bytes by which the heap of a session at rest may differ. Where its calls run on another thread,
 * malloc keeps what that thread has freed. */
gsize stream_heap_noise(const LfSession *session);

/* Asserts that `error` has this code and a message with `word`; frees it. */
void stream_assert_error(GError **error, LfError code, const char *word);

#endif
