/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of a session: a stream, which plans chunks, and a worker, which computes them.
 *
 *   session_open.c      options become the two halves
 *   session.c           the chunk loop
 *   session_requests.c  what other threads ask for
 */
#ifndef LF_ENGINE_SESSION_H
#define LF_ENGINE_SESSION_H

#include "chunk.h"
#include "prompts.h"
#include "stream.h"
#include "worker.h"

struct LfSession {
    LfModel *model;
    LfChunkPool *pool; /* owns worker.decoder_be */
    LfStream stream;
    LfWorker worker;
    LfPrompts prompts;

    GMutex lock;
    LfRequest request; /* guarded by lock; without a prompt, which is one of `prompts` */
};

/* session_open.c: what the options are for this model; LF_ERROR_CONFIG, LF_ERROR_UNSUPPORTED. */
bool lf_session_config(const LfModel *model, const LfSessionOptions *options,
                       LfWorkerConfig *config, GError **error);

/* session.c: makes the worker's scratch large enough for every chunk of a scene; with an unbounded
 * window, for the first one. */
bool lf_session_reserve(LfSession *session, GError **error);

/* The sizes that lf_session_reserve makes room for. The worker may be one on the plan backend. */
bool lf_worker_measure(const LfWorker *worker, LfScratchSize *size, GError **error);

#endif
