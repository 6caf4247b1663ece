/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The prompts of a session, from tokens to text embeddings, on a thread of their own: a text encoder
 * may take seconds, and no chunk has to wait for it. The newest prompt wins: an encoding under way
 * is abandoned at its next layer when another prompt is set.
 *
 * Thread-safety: every function may be called on any thread.
 */
#ifndef LF_ENGINE_PROMPTS_H
#define LF_ENGINE_PROMPTS_H

#include "encoder.h"
#include "prompt_cache.h"

typedef struct {
    LfTextEncoding encoding;
    LfEncoder encoder;    /* the thread's own */
    LfPromptCache *cache; /* or NULL */
    int outdated;         /* atomic: the encoding under way is of no use any more */

    GMutex lock; /* guards all that follows */
    GCond changed;
    GThread *thread; /* NULL before the first prompt */
    uint64_t newest; /* number of the prompt that was set last; 0: none was */
    int32_t *ids;    /* [text_len], its tokens … */
    int n_ids;       /* … and how many they are; 0: embeddings were set */
    bool wanted;     /* `newest` waits for the thread */
    bool busy;       /* the thread encodes `newest`, or an outdated prompt */
    LfText *text;    /* the last that was encoded or set; NULL: none yet */
    uint64_t number; /* of its prompt */
    GError *failure; /* why `newest` was not encoded; told once */
    size_t memory;   /* bytes of the encoder's scratch */
    bool stopping;
} LfPrompts;

/* `cache`: as in LfSessionOptions.prompt_cache. */
void lf_prompts_init(LfPrompts *prompts, const LfModel *model, LfTextEncoding encoding,
                     const char *cache, const LfLog *log);

/* Abandons the encoding under way and waits for the thread. No other call may be under way. */
void lf_prompts_clear(LfPrompts *prompts);

/* A new prompt of 1 ≤ n ≤ text_len tokens, or of embeddings that need no encoder (transfer none).
 * Returns its number, counted from 1; 0 and an error when no thread can be created. */
uint64_t lf_prompts_set(LfPrompts *prompts, const int32_t *ids, int n, GError **error);
uint64_t lf_prompts_set_text(LfPrompts *prompts, LfText *text);

/* The text of a chunk that begins, and the number of its prompt. With LF_TEXT_WAIT it waits for the
 * newest prompt; with LF_TEXT_BESIDE for the first one alone, and takes the newest that is ready.
 * NULL and the error of the encoding, once: the next call has the prompt encoded again; or
 * LF_ERROR_CANCELLED when *cancelled is set, which lf_prompts_wake tells a waiting call. Transfer
 * full. */
LfText *lf_prompts_take(LfPrompts *prompts, const int *cancelled, uint64_t *number, GError **error);
void lf_prompts_wake(LfPrompts *prompts);

/* Why the newest prompt could not be encoded, while chunks go on with the one before; NULL: nothing
 * failed, or it was told before. Transfer full. */
GError *lf_prompts_failure(LfPrompts *prompts, uint64_t *number);

size_t lf_prompts_memory(LfPrompts *prompts);

#endif
