/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cancelling from another thread at every stage of a chunk: the running call ends within a layer,
 * later calls end at once, and after resuming the stream has the frames that it would have had.
 */
#include "stream.h"

#include "engine/session.h"

#include <string.h>

static const char *const prompt = "a red ball bounces on green grass";
static const char *const next_prompt = "a blue star on yellow sand";

/* ---- a stage is known by an operation that it alone calls ------------------------------------ */

typedef enum { ENCODE, TEXT, STEP_1, STEP_2, CLEAN, DECODE, N_STAGES, RECACHE = N_STAGES } Stage;

static struct {
    LfOps ops; /* the backend's own */
    Stage stage;
    int n_runs;            /* runs of frames that a recache recomputes; 0: no recache */
    int patchify_calls;    /* of the chunk: one per run, one per step, one of the clean pass */
    int operations_after;  /* products, convolutions and attentions since the cancellation */
    gboolean armed, asked; /* waiting for the stage; the other thread was asked to cancel */
    GMutex lock;
    GCond changed;
    gboolean wanted, done; /* guarded by lock */
    gboolean waiting;      /* likewise: a thread is in ask, which may be the encoder's */
} hook;

/* Cancels the session on another thread and waits until that is done. */
static void ask(Stage stage)
{
    if (!hook.armed || hook.stage != stage)
        return;
    hook.armed = FALSE;
    hook.asked = TRUE;
    g_mutex_lock(&hook.lock);
    hook.wanted = hook.waiting = TRUE;
    g_cond_broadcast(&hook.changed);
    while (!hook.done)
        g_cond_wait(&hook.changed, &hook.lock);
    hook.waiting = FALSE;
    g_cond_broadcast(&hook.changed);
    g_mutex_unlock(&hook.lock);
}

static gpointer canceller(gpointer session)
{
    g_mutex_lock(&hook.lock);
    while (!hook.wanted)
        g_cond_wait(&hook.changed, &hook.lock);
    lf_session_cancel(session);
    hook.done = TRUE;
    g_cond_broadcast(&hook.changed);
    g_mutex_unlock(&hook.lock);
    return NULL;
}

static void hook_embedding(LfBackend *be, LfTensor out, const LfWeight *table, LfTensor ids)
{
    hook.ops.embedding(be, out, table, ids);
    ask(ENCODE);
}

static void hook_rms_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, float eps)
{
    hook.ops.rms_norm(be, out, x, weight, eps);
    if (x.shape[1] == LF_TINY_DIM && hook.patchify_calls == 0)
        ask(TEXT);
}

static void hook_patchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order)
{
    hook.ops.patchify(be, out, x, order);
    int call = hook.patchify_calls++ - hook.n_runs;
    ask(call < 0 ? RECACHE : STEP_1 + (Stage) call);
}

static void hook_take_latents(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale,
                              LfTensor shift, bool tanh_clamp)
{
    hook.ops.take_latents(be, out, x, scale, shift, tanh_clamp);
    ask(DECODE);
}

static void hook_linear(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight,
                        LfTensor bias, LfActivation activation)
{
    hook.operations_after += hook.asked;
    hook.ops.linear(be, out, x, weight, bias, activation);
}

static void hook_conv3x3(LfBackend *be, LfTensor out, LfTensor x, LfTensor past,
                         const LfWeight *weight, LfTensor bias, LfTensor residual, bool relu)
{
    hook.operations_after += hook.asked;
    hook.ops.conv3x3(be, out, x, past, weight, bias, residual, relu);
}

/* The encoder goes on after the cancellation: the next attempt takes what it makes. */
static LfOps hooked_encoder(const LfOps *ops)
{
    LfOps h = *ops;
    h.embedding = hook_embedding;
    return h;
}

static LfOps hooked(const LfOps *ops)
{
    LfOps h = hook.ops = *ops;
    h.rms_norm = hook_rms_norm;
    h.patchify = hook_patchify;
    h.take_latents = hook_take_latents;
    h.linear = hook_linear;
    h.conv3x3 = hook_conv3x3;
    return h;
}

static void arm(Stage stage)
{
    g_mutex_lock(&hook.lock);
    while (hook.waiting)
        g_cond_wait(&hook.changed, &hook.lock);
    g_mutex_unlock(&hook.lock);
    hook.stage = stage;
    hook.patchify_calls = hook.operations_after = 0;
    hook.armed = TRUE;
    hook.asked = hook.wanted = hook.done = FALSE;
}

static void cancel_once(LfSession *s, Stage stage, const char *text)
{
    GError *error = NULL;
    arm(stage);
    g_assert_true(lf_session_set_prompt(s, text, &error));
    GThread *thread = g_thread_new("canceller", canceller, s);
    g_assert_null(lf_session_next(s, &error));
    stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
    g_thread_join(thread);
    g_assert_true(hook.asked);
    g_assert_cmpint(hook.operations_after, <=, 2 * LF_TINY_LAYERS + 4);
    hook.asked = FALSE;
    int before = hook.patchify_calls;
    g_assert_null(lf_session_next(s, &error)); /* still cancelled */
    stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
    g_assert_cmpint(hook.patchify_calls, ==, before);
    lf_session_resume(s);
}

/* Cancels chunk 0, and chunk 2, which has a new prompt to encode, at `stage`. */
static void test_stage(gconstpointer data)
{
    Stage stage = (Stage) GPOINTER_TO_INT(data);
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 4}, prompt);
    LfOps ops = hooked(s->worker.be->ops), of_encoder = hooked_encoder(&hook.ops);
    g_autoptr(GByteArray) wanted = stream_run(s, 2);
    g_assert_true(lf_session_set_prompt(s, next_prompt, NULL));
    g_autoptr(GByteArray) wanted_then = stream_run(s, 1);

    lf_session_restart(s, 4);
    s->worker.be->ops = s->worker.decoder_be->ops = &ops;
    s->prompts.encoder.be->ops = &of_encoder;
    cancel_once(s, stage, prompt);
    cancel_once(s, stage, prompt);
    g_autoptr(GByteArray) same = stream_run(s, 2);
    stream_assert_same(wanted, same);
    cancel_once(s, stage, next_prompt);
    g_autoptr(GByteArray) same_then = stream_run(s, 1);
    stream_assert_same(wanted_then, same_then);
    lf_session_free(s);
    lf_model_unref(model);
}

/* Cancels the first chunk of a prompt with this transition twice at `stage`. A transition that is
 * requested in between comes too late, once the chunk has begun: it begins when its prompt is encoded.
 * Then a full window follows. */
static void check_transition(LfTransition transition, Stage stage)
{
    enum { BEFORE = 4, AFTER = 4, RUNS = 3 }; /* eight frames: a window without its sink */
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 4}, prompt);
    LfOps ops = hooked(s->worker.be->ops), of_encoder = hooked_encoder(&hook.ops);
    g_autoptr(GByteArray) wanted = stream_run(s, BEFORE);
    lf_session_set_transition(s, transition);
    g_assert_true(lf_session_set_prompt(s, next_prompt, NULL));
    g_autoptr(GByteArray) wanted_then = stream_run(s, AFTER);

    lf_session_restart(s, 4);
    g_assert_true(lf_session_set_prompt(s, prompt, NULL));
    g_autoptr(GByteArray) same = stream_run(s, BEFORE);
    stream_assert_same(wanted, same);
    s->worker.be->ops = s->worker.decoder_be->ops = &ops;
    s->prompts.encoder.be->ops = &of_encoder;
    hook.n_runs = transition == LF_TRANSITION_RECACHE ? RUNS : 0;
    cancel_once(s, stage, next_prompt);
    if (stage != ENCODE)
        lf_session_set_transition(s, LF_TRANSITION_CONTINUE);
    cancel_once(s, stage, next_prompt);
    hook.n_runs = 0;
    LfChunk *chunk = stream_next(s);
    g_assert_cmpint(lf_chunk_info(chunk)->transition, ==, transition);
    g_autoptr(GByteArray) same_then = stream_pictures(chunk);
    lf_chunk_unref(chunk);
    g_autoptr(GByteArray) rest = stream_run(s, AFTER - 1);
    g_byte_array_append(same_then, rest->data, rest->len);
    stream_assert_same(wanted_then, same_then);
    lf_session_free(s);
    lf_model_unref(model);
}

static void test_recache(void)
{
    for (Stage stage = ENCODE; stage <= RECACHE; stage++)
        check_transition(LF_TRANSITION_RECACHE, stage);
}

static void test_cut(void)
{
    for (Stage stage = ENCODE; stage < N_STAGES; stage++)
        check_transition(LF_TRANSITION_CUT, stage);
}

/* A recache that was cancelled half-way is completed under whatever prompt is set next. */
static void test_recache_then_another(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 4}, prompt);
    LfSession *sound = stream_session(model, &(LfSessionOptions){.seed = 4}, prompt);
    LfOps ops = hooked(s->worker.be->ops), of_encoder = hooked_encoder(&hook.ops);
    g_byte_array_unref(stream_run(s, 4));
    g_byte_array_unref(stream_run(sound, 4));
    lf_session_set_transition(sound, LF_TRANSITION_RECACHE);
    g_assert_true(lf_session_set_prompt(sound, "a third", NULL));
    s->worker.be->ops = s->worker.decoder_be->ops = &ops;
    s->prompts.encoder.be->ops = &of_encoder;
    hook.n_runs = 3;
    lf_session_set_transition(s, LF_TRANSITION_RECACHE);
    cancel_once(s, STEP_1, next_prompt);
    hook.n_runs = 0;
    lf_session_set_transition(s, LF_TRANSITION_CONTINUE);
    g_assert_true(lf_session_set_prompt(s, "a third", NULL));
    g_autoptr(GByteArray) wanted = stream_run(sound, 3), got = stream_run(s, 3);
    stream_assert_same(wanted, got);
    lf_session_free(s);
    lf_session_free(sound);
    lf_model_unref(model);
}

/* A restart drops the transition that a cancelled chunk had begun. */
static void test_restart_in_recache(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 4}, prompt);
    LfOps ops = hooked(s->worker.be->ops), of_encoder = hooked_encoder(&hook.ops);
    g_byte_array_unref(stream_run(s, 4));
    s->worker.be->ops = s->worker.decoder_be->ops = &ops;
    s->prompts.encoder.be->ops = &of_encoder;
    hook.n_runs = 3;
    lf_session_set_transition(s, LF_TRANSITION_RECACHE);
    cancel_once(s, RECACHE, next_prompt);
    hook.n_runs = 0;
    lf_session_restart(s, 4);
    LfSession *fresh = stream_session(model, &(LfSessionOptions){.seed = 4}, next_prompt);
    for (int i = 0; i < 3; i++) {
        LfChunk *chunk = stream_next(s);
        g_assert_cmpint(lf_chunk_info(chunk)->transition, ==, LF_TRANSITION_CONTINUE);
        g_autoptr(GByteArray) got = stream_pictures(chunk), wanted = stream_run(fresh, 1);
        stream_assert_same(wanted, got);
        lf_chunk_unref(chunk);
    }
    lf_session_free(s);
    lf_session_free(fresh);
    lf_model_unref(model);
}

/* ---- at no stage in particular --------------------------------------------------------------- */

static gpointer cancel_soon(gpointer session)
{
    g_usleep((gulong) g_random_int_range(0, 20000));
    lf_session_cancel(session);
    return NULL;
}

static void test_any_time(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 9}, prompt);
    g_autoptr(GByteArray) wanted = stream_run(s, 3);
    g_autoptr(GByteArray) got = g_byte_array_new();
    lf_session_restart(s, 9);
    for (int tries = 0, chunks = 0; chunks < 3; tries++) {
        GError *error = NULL;
        GThread *thread = tries < 12 ? g_thread_new("canceller", cancel_soon, s) : NULL;
        LfChunk *chunk = lf_session_next(s, &error);
        if (thread)
            g_thread_join(thread);
        lf_session_resume(s);
        if (!chunk) {
            stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
            continue;
        }
        g_autoptr(GByteArray) bytes = stream_pictures(chunk);
        g_byte_array_append(got, bytes->data, bytes->len);
        lf_chunk_unref(chunk);
        chunks++;
    }
    stream_assert_same(wanted, got);
    lf_session_free(s);
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    static const char *const names[N_STAGES] = {"encode",      "text",  "first-step",
                                                "second-step", "clean", "decode"};
    g_test_init(&argc, &argv, NULL);
    for (int stage = 0; stage < N_STAGES; stage++) {
        g_autofree char *path = g_strconcat("/session/cancel/", names[stage], NULL);
        g_test_add_data_func(path, GINT_TO_POINTER(stage), test_stage);
    }
    g_test_add_func("/session/cancel/recache", test_recache);
    g_test_add_func("/session/cancel/recache/then-another", test_recache_then_another);
    g_test_add_func("/session/cancel/recache/restart", test_restart_in_recache);
    g_test_add_func("/session/cancel/cut", test_cut);
    g_test_add_func("/session/cancel/any-time", test_any_time);
    return g_test_run();
}
