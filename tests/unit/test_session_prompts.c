/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Prompts that are encoded while chunks are generated. The encoder is held in the middle of its work
 * for as long as a test wants, so that nothing here depends on how long anything takes.
 */
#include "stream.h"

#include "engine/session.h"
#include "kernels/cpu/cpu.h"

static const char *const prompts[] = {"a red ball bounces on green grass",
                                      "a blue star on yellow sand", "a ring in the night sky",
                                      "two hearts"};

static const LfSessionOptions wait = {.seed = 5, .keep_latents = TRUE};
static const LfSessionOptions beside = {
    .seed = 5, .keep_latents = TRUE, .text_encoding = LF_TEXT_BESIDE};

/* ---- an encoder that is held ----------------------------------------------------------------- */

static struct {
    LfOps own, ops; /* the encoder's operations, and those that hold it */
    GMutex lock;
    GCond changed;
    gboolean closed, inside;   /* guarded by lock, as what follows */
    int n_encodings, n_layers; /* that have begun */
    int n_fail;                /* the next so many encodings fail */
    LfPrompts *of;             /* whose thread it is */
} gate;

/* Goes on when the gate opens, or when the prompt is outdated, as a layer ends before long. */
static void hold(LfBackend *be, LfTensor out, const LfWeight *table, LfTensor ids)
{
    gate.own.embedding(be, out, table, ids);
    g_mutex_lock(&gate.lock);
    gate.n_encodings++;
    gate.inside = TRUE;
    g_cond_broadcast(&gate.changed);
    while (gate.closed && !g_atomic_int_get(&gate.of->outdated))
        g_cond_wait_until(&gate.changed, &gate.lock, g_get_monotonic_time() + 2000);
    gate.inside = FALSE;
    if (gate.n_fail > 0) {
        gate.n_fail--;
        lf_cpu_lacks(be, 34000000);
    }
    g_mutex_unlock(&gate.lock);
}

static void count_layer(LfBackend *be, LfTensor out, LfTensor table, LfTensor buckets)
{
    gate.own.position_bias(be, out, table, buckets);
    g_mutex_lock(&gate.lock);
    gate.n_layers++;
    g_mutex_unlock(&gate.lock);
}

static void set_gate(gboolean closed)
{
    g_mutex_lock(&gate.lock);
    gate.closed = closed;
    g_cond_broadcast(&gate.changed);
    g_mutex_unlock(&gate.lock);
}

static void wait_until_inside(void)
{
    g_mutex_lock(&gate.lock);
    while (!gate.inside)
        g_cond_wait(&gate.changed, &gate.lock);
    g_mutex_unlock(&gate.lock);
}

/* Until the encoder has nothing to do. */
static void wait_until_idle(LfSession *s)
{
    LfPrompts *p = &s->prompts;
    g_mutex_lock(&p->lock);
    while (p->wanted || p->busy)
        g_cond_wait(&p->changed, &p->lock);
    g_mutex_unlock(&p->lock);
}

static uint64_t set(LfSession *s, int i)
{
    g_autoptr(GError) error = NULL;
    uint64_t id = lf_session_set_prompt(s, prompts[i], &error);
    g_assert_no_error(error);
    g_assert_cmpuint(id, >, 0);
    return id;
}

/* The prompt that the next chunk shows; its pictures are appended to `all`, or dropped for NULL. */
static uint64_t shown(LfSession *s, GByteArray *all)
{
    LfChunk *chunk = stream_next(s);
    uint64_t id = lf_chunk_info(chunk)->prompt_id;
    g_autoptr(GByteArray) pictures = stream_pictures(chunk);
    if (all)
        g_byte_array_append(all, pictures->data, pictures->len);
    lf_chunk_unref(chunk);
    return id;
}

/* A session after one chunk of prompt 1 whose encoder passes the gate, which is open. */
static LfSession *gated(LfModel *model, const LfSessionOptions *options, GByteArray *all)
{
    LfSession *s = stream_session(model, options, prompts[0]);
    LfPrompts *p = &s->prompts;
    wait_until_idle(s);
    if (options->text_encoding == LF_TEXT_BESIDE) { /* the CPU has a second backend for these */
        g_assert_cmpuint(set(s, 1), ==, 2);
        wait_until_idle(s);
        g_assert_cmpuint(set(s, 0), ==, 3);
        wait_until_idle(s);
        g_assert_true((p->encoder.gentle != NULL) == !p->encoder.be->asynchronous);
    }
    gate.own = gate.ops = *p->encoder.be->ops;
    gate.ops.embedding = hold;
    gate.ops.position_bias = count_layer;
    gate.of = p;
    gate.n_encodings = gate.n_layers = 0;
    p->encoder.be->ops = &gate.ops;
    if (p->encoder.gentle)
        p->encoder.gentle->ops = &gate.ops;
    shown(s, all);
    return s;
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Chunks go on with the prompt before while a prompt is encoded; the first chunk that begins afterwards
 * shows it. The frames are those of a stream that waits for prompts set before these chunks. */
static void test_beside(void)
{
    LfModel *model = stream_model(NULL);
    g_autoptr(GByteArray) got = g_byte_array_new(), wanted = g_byte_array_new();
    LfSession *s = gated(model, &beside, got);
    LfSession *sound = stream_session(model, &wait, prompts[0]);
    shown(sound, wanted);
    for (int change = 1; change < 4; change++) {
        int held = g_random_int_range(1, 4);
        set_gate(TRUE);
        uint64_t id = set(s, change);
        wait_until_inside();
        for (int i = 0; i < held; i++) {
            g_assert_cmpuint(shown(s, got), ==, id - 1);
            shown(sound, wanted);
        }
        set_gate(FALSE);
        wait_until_idle(s);
        set(sound, change);
        LfChunk *chunk = stream_next(s);
        g_assert_cmpuint(lf_chunk_info(chunk)->prompt_id, ==, id);
        g_assert_cmpint(lf_chunk_info(chunk)->encode_time, >, 0);
        g_assert_cmpint(lf_chunk_info(chunk)->text_time, >, 0);
        g_autoptr(GByteArray) pictures = stream_pictures(chunk);
        g_byte_array_append(got, pictures->data, pictures->len);
        lf_chunk_unref(chunk);
        shown(sound, wanted);
    }
    stream_assert_same(wanted, got);
    g_assert_null(lf_session_prompt_failure(s, &(uint64_t){0}));
    lf_session_free(s);
    lf_session_free(sound);
    lf_model_unref(model);
}

/* Of prompts that are set while another is encoded the last alone is encoded, and the encoding under
 * way ends before its next layer. */
static void test_newest_wins(gconstpointer options)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = gated(model, options, NULL);
    set_gate(TRUE);
    set(s, 1);
    wait_until_inside();
    set(s, 2);
    uint64_t last = set(s, 3);
    set_gate(FALSE);
    wait_until_idle(s);
    g_assert_cmpuint(shown(s, NULL), ==, last);
    g_assert_cmpint(gate.n_encodings, <=, 3);
    g_assert_cmpint(gate.n_layers, <=, 2);
    g_assert_cmpint(gate.n_layers, >=, 1);
    lf_session_free(s);
    lf_model_unref(model);
}

static gpointer set_another(gpointer session)
{
    wait_until_inside();
    set(session, 2);
    set_gate(FALSE);
    return NULL;
}

/* A chunk that waits for a prompt takes the one that replaces it. */
static void test_replaced_while_waiting(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = gated(model, &wait, NULL);
    set_gate(TRUE);
    set(s, 1);
    GThread *thread = g_thread_new("setter", set_another, s);
    g_assert_cmpuint(shown(s, NULL), ==, 3);
    g_thread_join(thread);
    lf_session_free(s);
    lf_model_unref(model);
}

/* On the encoder's thread, between an encoding and what becomes of it. */
static void replace_at_the_end(LfLogLevel level, const char *message, gpointer session)
{
    LfSession *s = *(LfSession **) session;
    uint64_t number = 0;
    if (g_str_has_prefix(message, "prompt 2:")) {
        set(s, 2);
    } else if (g_str_has_prefix(message, "prompt 3:")) {
        lf_text_unref(lf_prompts_take(&s->prompts, NULL, &number, NULL));
        g_assert_cmpuint(number, ==, 1);
    }
}

/* A prompt that is replaced after its last layer is never shown. */
static void test_replaced_at_the_end(void)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = NULL;
    LfSessionOptions options = beside;
    options.log = (LfLog){replace_at_the_end, &s, LF_LOG_DEBUG};
    s = stream_session(model, &options, prompts[0]);
    g_assert_cmpuint(shown(s, NULL), ==, 1);
    set(s, 1);
    wait_until_idle(s);
    g_assert_cmpuint(shown(s, NULL), ==, 3);
    lf_session_free(s);
    lf_model_unref(model);
}

/* Embeddings that are set need no encoder, and outdate the prompt that it is at. */
static void test_context_while_encoding(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model(NULL);
    LfSession *s = gated(model, &beside, NULL);
    set_gate(TRUE);
    uint64_t id = set(s, 1);
    wait_until_inside();
    g_assert_true(lf_session_set_context(s, NULL, 0, LF_TINY_TEXT_DIM, &error));
    g_assert_cmpuint(shown(s, NULL), ==, id + 1);
    set_gate(FALSE);
    wait_until_idle(s);
    g_assert_cmpuint(shown(s, NULL), ==, id + 1);
    lf_session_free(s);
    lf_model_unref(model);
}

static gpointer cancel(gpointer session)
{
    wait_until_inside();
    lf_session_cancel(session);
    return NULL;
}

/* Cancelling ends the wait for a prompt, a restart and the end of the session do not wait for it. */
static void test_cancel_and_destroy(gconstpointer options)
{
    g_autoptr(GError) error = NULL;
    const LfSessionOptions *o = options;
    LfModel *model = stream_model(NULL);
    LfSession *s = gated(model, o, NULL);
    set_gate(TRUE);
    uint64_t id = set(s, 1);
    if (o->text_encoding == LF_TEXT_WAIT) {
        GThread *thread = g_thread_new("canceller", cancel, s);
        g_assert_null(lf_session_next(s, &error));
        stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
        g_thread_join(thread);
        lf_session_resume(s);
    } else {
        wait_until_inside();
        lf_session_restart(s, 6);
        g_assert_cmpuint(shown(s, NULL), ==, id - 1);
        lf_session_cancel(s);
        g_assert_null(lf_session_next(s, &error));
        stream_assert_error(&error, LF_ERROR_CANCELLED, "cancelled");
        lf_session_resume(s);
    }
    if (g_random_boolean()) {
        set_gate(FALSE);
        wait_until_idle(s);
        g_assert_cmpuint(shown(s, NULL), ==, id);
    }
    lf_session_free(s);
    set_gate(FALSE);
    lf_model_unref(model);
}

/* A stream that waits has the error, and the next chunk tries again. */
static void test_failure_waiting(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSession *s = gated(model, &wait, NULL);
    LfSession *sound = stream_session(model, &wait, prompts[0]);
    shown(sound, NULL);
    gate.n_fail = 2;
    set(s, 1);
    set(sound, 1);
    for (int i = 0; i < 2; i++) {
        g_assert_null(lf_session_next(s, &error));
        stream_assert_error(&error, LF_ERROR_MEMORY, "34.0 MB");
        g_assert_null(lf_session_prompt_failure(s, &(uint64_t){0}));
    }
    g_autoptr(GByteArray) wanted = stream_run(sound, 2), got = stream_run(s, 2);
    stream_assert_same(wanted, got);
    lf_session_free(s);
    lf_session_free(sound);
    lf_model_unref(model);
}

/* A stream that does not wait goes on with the prompt before, and tells the failure once. */
static void test_failure_beside(void)
{
    uint64_t id = 0;
    LfModel *model = stream_model_on(NULL, "cpu");
    LfSession *s = gated(model, &beside, NULL);
    gate.n_fail = 1;
    uint64_t failed = set(s, 1);
    wait_until_idle(s);
    g_assert_cmpuint(shown(s, NULL), ==, failed - 1);
    g_autoptr(GError) failure = lf_session_prompt_failure(s, &id);
    stream_assert_error(&failure, LF_ERROR_MEMORY, "34.0 MB");
    g_assert_cmpuint(id, ==, failed);
    g_assert_null(lf_session_prompt_failure(s, &id));
    g_assert_cmpuint(shown(s, NULL), ==, failed - 1);
    uint64_t next = set(s, 2);
    wait_until_idle(s);
    g_assert_cmpuint(shown(s, NULL), ==, next);
    lf_session_free(s);
    lf_model_unref(model);
}

static gpointer set_many(gpointer session)
{
    for (int i = 0; i < 200; i++) {
        set(session, g_random_int_range(0, 4));
        g_usleep((gulong) g_random_int_range(0, 300));
    }
    return NULL;
}

/* Prompts from two threads at any time: numbers that chunks show never fall, and the last one shows. */
static void test_many(gconstpointer options)
{
    LfModel *model = stream_model(NULL);
    LfSession *s = stream_session(model, options, prompts[0]);
    GThread *threads[2];
    uint64_t last = 0;
    for (int i = 0; i < 2; i++)
        threads[i] = g_thread_new("setter", set_many, s);
    for (int i = 0; i < 8; i++) {
        uint64_t id = shown(s, NULL);
        g_assert_cmpuint(id, >=, last);
        last = id;
    }
    for (int i = 0; i < 2; i++)
        g_thread_join(threads[i]);
    wait_until_idle(s);
    g_assert_cmpuint(shown(s, NULL), ==, 401);
    lf_session_free(s);
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/session/prompts/beside", test_beside);
    g_test_add_data_func("/session/prompts/newest-wins/wait", &wait, test_newest_wins);
    g_test_add_data_func("/session/prompts/newest-wins/beside", &beside, test_newest_wins);
    g_test_add_func("/session/prompts/replaced-while-waiting", test_replaced_while_waiting);
    g_test_add_func("/session/prompts/replaced-at-the-end", test_replaced_at_the_end);
    g_test_add_func("/session/prompts/context-while-encoding", test_context_while_encoding);
    g_test_add_data_func("/session/prompts/cancel-and-destroy/wait", &wait,
                         test_cancel_and_destroy);
    g_test_add_data_func("/session/prompts/cancel-and-destroy/beside", &beside,
                         test_cancel_and_destroy);
    g_test_add_func("/session/prompts/failure/wait", test_failure_waiting);
    g_test_add_func("/session/prompts/failure/beside", test_failure_beside);
    g_test_add_data_func("/session/prompts/many/wait", &wait, test_many);
    g_test_add_data_func("/session/prompts/many/beside", &beside, test_many);
    return g_test_run();
}
