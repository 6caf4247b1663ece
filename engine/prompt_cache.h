/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Encoded prompts on disk: a known prompt needs no encoder. One safetensors file for each, whose name is
 * a hash of the encoder and the tokens. Whatever is wrong with a file or the folder is no error: the
 * prompt is encoded, and the file is written again if that is possible.
 *
 * Thread-safety: immutable; any number of threads and processes share a folder.
 */
#ifndef LF_ENGINE_PROMPT_CACHE_H
#define LF_ENGINE_PROMPT_CACHE_H

#include "model.h"
#include "text.h"

typedef struct {
    char *folder;
    const LfModel *model; /* whose encoder makes the texts */
    LfLog log;
    uint64_t limit; /* bytes of all files; the oldest used ones beyond are deleted */
} LfPromptCache;

/* `folder` as in LfSessionOptions.prompt_cache. NULL when no texts are to be kept. */
LfPromptCache *lf_prompt_cache_new(const char *folder, const LfModel *model, const LfLog *log);
void lf_prompt_cache_free(LfPromptCache *cache); /* NULL is fine */

/* The text of these ids, or NULL. Transfer full. `cache` may be NULL. */
LfText *lf_prompt_cache_load(const LfPromptCache *cache, const int32_t *ids, int n);

/* Keeps the text of these ids. `cache` may be NULL. */
void lf_prompt_cache_store(const LfPromptCache *cache, const int32_t *ids, int n,
                           const LfText *text);

/* The path of the file of these ids. Transfer full. */
char *lf_prompt_cache_path(const LfPromptCache *cache, const int32_t *ids, int n);

/* Computes model->text_identity from the file of the text encoder. */
void lf_prompt_cache_identify(LfModel *model, const LfTensorFile *file);

#endif
