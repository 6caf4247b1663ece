/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "prompts.h"

#include "cancel.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How much less of a core that others want, too, the thread gets beside chunks: about a tenth of
 * what they get. OpenMP's threads inherit it. */
#define NICENESS 10

void lf_prompts_init(LfPrompts *p, const LfModel *model, LfTextEncoding encoding, const char *cache,
                     const LfLog *log)
{
    g_mutex_init(&p->lock);
    g_cond_init(&p->changed);
    p->encoding = encoding;
    p->encoder = lf_encoder(model, log);
    p->cache = lf_prompt_cache_new(cache, model, log);
    p->ids = g_new0(int32_t, lf_model_text_len(model));
}

void lf_prompts_clear(LfPrompts *p)
{
    g_mutex_lock(&p->lock);
    p->stopping = true;
    g_atomic_int_set(&p->outdated, 1);
    g_cond_broadcast(&p->changed);
    g_mutex_unlock(&p->lock);
    if (p->thread)
        g_thread_join(p->thread);
    lf_text_unref(p->text);
    g_clear_error(&p->failure);
    lf_prompt_cache_free(p->cache);
    g_free(p->ids);
    g_mutex_clear(&p->lock);
    g_cond_clear(&p->changed);
}

/* ---- the encoder thread ---------------------------------------------------------------------- */

/* In Linux a priority belongs to a thread. */
static void be_gentle(void)
{
    id_t thread = (id_t) syscall(SYS_gettid);
    setpriority(PRIO_PROCESS, thread, MIN(19, getpriority(PRIO_PROCESS, thread) + NICENESS));
}

/* Under the lock. Takes over what has become of prompt `number`, unless another was set since. */
static void conclude(LfPrompts *p, uint64_t number, LfText *text, GError *failure)
{
    p->busy = false;
    p->memory = p->encoder.scratch.size;
    if (text && number == p->newest) {
        lf_text_unref(p->text);
        p->text = lf_text_ref(text);
        p->number = number;
    }
    if (failure && number == p->newest && failure->code != LF_ERROR_CANCELLED)
        p->failure = g_error_copy(failure);
    g_cond_broadcast(&p->changed);
}

static void log_prompt(const LfPrompts *p, uint64_t number, int n, bool known, const LfText *text,
                       const GError *failure)
{
    if (text)
        lf_log(&p->encoder.log, LF_LOG_DEBUG,
               "prompt %" G_GUINT64_FORMAT ": %d tokens %s in %.1f ms", number, n,
               known ? "found in the prompt cache" : "encoded", 1e-6 * (double) text->time);
    else
        lf_log(&p->encoder.log, LF_LOG_DEBUG, "prompt %" G_GUINT64_FORMAT ": not encoded: %s",
               number, failure->message);
}

/* Under the lock, which is open while the newest prompt is encoded, and while its text is kept for
 * another time. */
static void encode(LfPrompts *p, int32_t *ids)
{
    g_autoptr(GError) failure = NULL;
    uint64_t number = p->newest;
    int n = p->n_ids;
    bool beside = p->encoding == LF_TEXT_BESIDE && p->text;
    memcpy(ids, p->ids, (size_t) n * sizeof *ids);
    p->wanted = false;
    p->busy = true;
    g_atomic_int_set(&p->outdated, 0);
    g_mutex_unlock(&p->lock);
    LfText *text = lf_prompt_cache_load(p->cache, ids, n);
    bool known = text != NULL;
    if (!known)
        text = lf_encoder_run(&p->encoder, ids, n, beside, &p->outdated, &failure);
    log_prompt(p, number, n, known, text, failure);
    g_mutex_lock(&p->lock);
    conclude(p, number, text, failure);
    if (text && !known && p->cache) {
        g_mutex_unlock(&p->lock);
        lf_prompt_cache_store(p->cache, ids, n, text);
        g_mutex_lock(&p->lock);
    }
    lf_text_unref(text);
}

static gpointer run(gpointer prompts)
{
    LfPrompts *p = prompts;
    g_autofree int32_t *ids = g_new(int32_t, lf_model_text_len(p->encoder.model));
    if (p->encoding == LF_TEXT_BESIDE)
        be_gentle();
    g_mutex_lock(&p->lock);
    while (!p->stopping) {
        if (p->wanted)
            encode(p, ids);
        else
            g_cond_wait(&p->changed, &p->lock);
    }
    g_mutex_unlock(&p->lock);
    lf_encoder_clear(&p->encoder);
    return NULL;
}

/* Under the lock. */
static bool start(LfPrompts *p, GError **error)
{
    g_autoptr(GError) refusal = NULL;
    if (!p->thread)
        p->thread = g_thread_try_new("lf-text-encoder", run, p, &refusal);
    return p->thread || lf_fail(error, LF_ERROR_MEMORY,
                                "cannot start a thread for the text encoder: %s; close other "
                                "programs",
                                refusal->message);
}

/* ---- new prompts ----------------------------------------------------------------------------- */

/* Under the lock. */
static uint64_t count_prompt(LfPrompts *p, bool wanted)
{
    g_clear_error(&p->failure);
    p->wanted = wanted;
    g_atomic_int_set(&p->outdated, 1);
    g_cond_broadcast(&p->changed);
    return ++p->newest;
}

uint64_t lf_prompts_set(LfPrompts *p, const int32_t *ids, int n, GError **error)
{
    uint64_t number = 0;
    g_mutex_lock(&p->lock);
    if (start(p, error)) {
        memcpy(p->ids, ids, (size_t) n * sizeof *ids);
        p->n_ids = n;
        number = count_prompt(p, true);
    }
    g_mutex_unlock(&p->lock);
    return number;
}

uint64_t lf_prompts_set_text(LfPrompts *p, LfText *text)
{
    g_mutex_lock(&p->lock);
    p->n_ids = 0;
    lf_text_unref(p->text);
    p->text = lf_text_ref(text);
    uint64_t number = p->number = count_prompt(p, false);
    g_mutex_unlock(&p->lock);
    return number;
}

/* ---- the text of a chunk --------------------------------------------------------------------- */

/* Under the lock. */
static bool is_ready(const LfPrompts *p)
{
    return p->text && (p->number == p->newest || p->encoding == LF_TEXT_BESIDE);
}

/* Under the lock. True when the wait has ended. */
static bool has_ended(LfPrompts *p, const int *cancelled, GError **error)
{
    if (lf_is_cancelled(cancelled))
        lf_fail(error, LF_ERROR_CANCELLED, "the chunk was cancelled");
    else if (p->newest == 0)
        lf_fail(error, LF_ERROR_CONFIG,
                "no prompt: call lf_session_set_prompt before the first chunk");
    else if (p->failure && !is_ready(p))
        g_propagate_error(error, g_steal_pointer(&p->failure));
    else
        return is_ready(p);
    return true;
}

LfText *lf_prompts_take(LfPrompts *p, const int *cancelled, uint64_t *number, GError **error)
{
    LfText *text = NULL;
    GError *failure = NULL;
    g_mutex_lock(&p->lock);
    while (!has_ended(p, cancelled, &failure)) {
        if (!p->wanted && !p->busy) { /* it failed, which was told */
            p->wanted = true;
            g_cond_broadcast(&p->changed);
        }
        g_cond_wait(&p->changed, &p->lock);
    }
    if (failure) {
        g_propagate_error(error, failure);
    } else {
        text = lf_text_ref(p->text);
        *number = p->number;
    }
    g_mutex_unlock(&p->lock);
    return text;
}

void lf_prompts_wake(LfPrompts *p)
{
    g_mutex_lock(&p->lock);
    g_cond_broadcast(&p->changed);
    g_mutex_unlock(&p->lock);
}

GError *lf_prompts_failure(LfPrompts *p, uint64_t *number)
{
    g_mutex_lock(&p->lock);
    GError *failure = is_ready(p) ? g_steal_pointer(&p->failure) : NULL;
    *number = p->newest;
    g_mutex_unlock(&p->lock);
    return failure;
}

size_t lf_prompts_memory(LfPrompts *p)
{
    g_mutex_lock(&p->lock);
    size_t memory = p->memory;
    g_mutex_unlock(&p->lock);
    return memory;
}
