/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A model's text encoder at work: token ids to text embeddings, on backends of its own.
 *
 * Thread-safety: one thread at a time; any number of encoders of one model at once.
 */
#ifndef LF_ENGINE_ENCODER_H
#define LF_ENGINE_ENCODER_H

#include "model.h"
#include "text.h"

typedef struct {
    const LfModel *model;
    LfLog log;
    LfBackend *be;     /* opened by the first prompt; NULL before */
    LfBackend *gentle; /* a CPU backend of one thread, for prompts beside chunks; NULL before */
    LfArena scratch;   /* of `be` or `gentle`, whichever the last prompt ran on */
} LfEncoder;

/* Opens nothing yet. `log` may write nothing. */
LfEncoder lf_encoder(const LfModel *model, const LfLog *log);
void lf_encoder_clear(LfEncoder *encoder);

/* The embeddings of 1 ≤ n ≤ text_len ids. `beside`: chunks are generated meanwhile. Where these are
 * computed by the CPU, the prompt then has one thread: the threads of a chunk's operation wait for
 * each other, so that a chunk would lose as much on all cores as on the one core that it has to
 * share. `cancelled`, or NULL, is read before every layer: LF_ERROR_CANCELLED. The numbers are the
 * same in all cases. Transfer full. */
LfText *lf_encoder_run(LfEncoder *encoder, const int32_t *ids, int n, bool beside,
                       const int *cancelled, GError **error);

#endif
