/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The memory that is planned is the memory that is taken, and what does not fit is refused before
 * anything is. On the stand-in LF_STANDIN_MEMORY is the number of megabytes that are free.
 */
#include "stream.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static LfMemoryPlan plan_of(const char *dir, const LfSessionOptions *session)
{
    GError *error = NULL;
    LfMemoryPlan plan;
    LfModelOptions options = {.backend = stream_backend()};
    lf_memory_plan(dir, &options, session, &plan, &error);
    g_assert_no_error(error);
    return plan;
}

static uint64_t weights_of(const LfMemoryPlan *plan)
{
    return plan->bytes[LF_NEEDS_TRANSFORMER] + plan->bytes[LF_NEEDS_DECODER];
}

static void assert_plan(const LfTinyModel *tiny, const LfSessionOptions *options)
{
    char *dir = lf_tiny_model_make(NULL, tiny);
    LfMemoryPlan plan = plan_of(dir, options);
    LfModel *model = stream_model(tiny);
    LfSession *session = stream_session(model, options, "");
    LfMemory memory = lf_session_memory(session);
    uint64_t sum = 0;
    for (int i = 0; i < LF_N_NEEDS; i++)
        sum += plan.bytes[i];
    g_assert_cmpuint(plan.needed, ==, sum);
    g_assert_cmpuint(plan.bytes[LF_NEEDS_SCRATCH], ==, memory.scratch);
    if (plan.window > 0)
        g_assert_cmpuint(plan.bytes[LF_NEEDS_CACHE] + plan.bytes[LF_NEEDS_STATE], ==, memory.state);
    /* The scratch of the text encoder comes with the first prompt. The CPU pads convolutions. */
    LfSession *prompted = stream_session(model, options, "a blue star");
    stream_drop(prompted, 1);
    uint64_t text = lf_session_memory(prompted).scratch;
    if (plan.window > 0)
        text -= memory.scratch;
    uint64_t all = weights_of(&plan) + plan.bytes[LF_NEEDS_TEXT_ENCODER] - text;
    if (plan.window > 0) {
        g_assert_cmpuint(all, <=, memory.weights + memory.weights / 4);
        g_assert_cmpuint(all, >=, memory.weights - memory.weights / 4);
    }
    lf_session_free(prompted);
    lf_session_free(session);
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

static void test_sizes(void)
{
    assert_plan(NULL, &(LfSessionOptions){0});
    assert_plan(NULL, &(LfSessionOptions){.width = 80, .height = 32, .window = 5});
    assert_plan(&(LfTinyModel){.absolute = TRUE}, &(LfSessionOptions){.chunk = 2});
    assert_plan(&(LfTinyModel){.token_order = "2x2"}, &(LfSessionOptions){.window = 12});
    assert_plan(NULL, &(LfSessionOptions){.window = -1});
}

/* A session without prompts needs no scratch of the text encoder. */
static void test_no_text(void)
{
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfMemoryPlan with = plan_of(dir, &(LfSessionOptions){0});
    LfMemoryPlan without = plan_of(dir, &(LfSessionOptions){.no_text = TRUE});
    g_assert_cmpuint(without.bytes[LF_NEEDS_TEXT_ENCODER], <, with.bytes[LF_NEEDS_TEXT_ENCODER]);
    g_assert_cmpuint(without.bytes[LF_NEEDS_CACHE], ==, with.bytes[LF_NEEDS_CACHE]);
    lf_tiny_model_remove(dir);
}

static void test_table(void)
{
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfMemoryPlan plan = plan_of(dir, &(LfSessionOptions){.window = 6});
    g_autofree char *text = lf_memory_plan_text(&plan);
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, "64×64, window 6, chunk 3"));
    g_assert_nonnull(strstr(text, "\n  KV cache"));
    g_assert_null(strstr(text, "\n  free"));
    plan.unused = 12345678901;
    plan.total = 80000000000;
    plan.bytes[LF_NEEDS_TEXT_ENCODER] = 11400000000;
    g_autofree char *told = lf_memory_plan_text(&plan);
    g_assert_nonnull(strstr(told, "text encoder     11.4 GB\n"));
    g_assert_nonnull(strstr(told, "free             12.3 GB of 80.0 GB"));
    lf_tiny_model_remove(dir);
}

/* ---- what does not fit ----------------------------------------------------------------------- */

static bool is_device(void)
{
    if (!g_str_equal(stream_backend(), "cpu"))
        return true;
    g_test_skip("the CPU does not tell its memory");
    return false;
}

static void set_free(double bytes)
{
    g_autofree char *megabytes = g_strdup_printf("%.6f", bytes / 1048576);
    setenv("LF_STANDIN_MEMORY", megabytes, 1);
}

static LfModel *open_with(const char *dir, const LfSessionOptions *planned, GError **error)
{
    LfModelOptions options = {.backend = stream_backend(),
                              .text_encoder_device = LF_TEXT_ENCODER_DEVICE,
                              .planned = planned};
    return lf_model_open(dir, &options, error);
}

static void assert_refused(GError **error, const char *words[])
{
    g_assert_error(*error, LF_ERROR, LF_ERROR_MEMORY);
    g_test_message("%s", (*error)->message);
    for (; *words; words++)
        g_assert_nonnull(strstr((*error)->message, *words));
    g_clear_error(error);
}

/* Nothing is allocated before the refusal: the first allocation would fail with another message. */
static void test_session_refused(void)
{
    GError *error = NULL;
    if (!is_device())
        return;
    const LfSessionOptions options = {.width = 256, .height = 256, .window = 30};
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfMemoryPlan plan = plan_of(dir, &options);
    double needed = (double) (plan.needed - weights_of(&plan));
    LfModel *model = open_with(dir, NULL, &error);
    g_assert_no_error(error);
    set_free(needed * 0.7);
    setenv("LF_STANDIN_FAIL", "alloc:1", 1);
    g_assert_null(lf_session_new(model, &options, &error));
    assert_refused(&error, (const char *[]){"more are needed", "KV cache", "attention-window=",
                                            "are free", " saves ", "(enough)", NULL});
    unsetenv("LF_STANDIN_FAIL");
    set_free(needed + 1);
    LfSession *session = lf_session_new(model, &options, &error);
    g_assert_no_error(error);
    lf_session_free(session);
    unsetenv("LF_STANDIN_MEMORY");
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

/* The number behind `name` in the message. */
static int number_after(const char *message, const char *name)
{
    const char *at = strstr(message, name);
    g_assert_nonnull(at);
    return atoi(at + strlen(name));
}

/* Settings that are said to be enough are. */
static void test_cure(void)
{
    GError *error = NULL;
    if (!is_device())
        return;
    LfSessionOptions options = {.width = 256, .height = 256, .window = 30};
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfMemoryPlan plan = plan_of(dir, &options);
    LfModel *model = open_with(dir, NULL, &error);
    g_assert_no_error(error);
    set_free((double) (plan.needed - weights_of(&plan)) * g_test_rand_double_range(0.85, 0.97));
    g_assert_null(lf_session_new(model, &options, &error));
    g_test_message("%s", error->message);
    int window = number_after(error->message, "attention-window=");
    g_assert_cmpint(window, <, 30);
    g_clear_error(&error);
    options.window = window;
    LfSession *session = lf_session_new(model, &options, &error);
    g_assert_no_error(error);
    lf_session_free(session);
    unsetenv("LF_STANDIN_MEMORY");
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

/* With a planned session the model is refused before its weights are read; without one it is opened
 * if they alone fit. */
static void test_model_refused(void)
{
    GError *error = NULL;
    if (!is_device())
        return;
    const LfSessionOptions options = {.width = 256, .height = 256};
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfMemoryPlan plan = plan_of(dir, &options);
    set_free((double) plan.needed * 0.9);
    setenv("LF_STANDIN_FAIL", "alloc:1", 1);
    g_assert_null(open_with(dir, &options, &error));
    assert_refused(&error, (const char *[]){"in all", "transformer", "are free", NULL});
    set_free((double) plan.bytes[LF_NEEDS_TRANSFORMER] * 0.5);
    g_assert_null(open_with(dir, NULL, &error));
    assert_refused(&error, (const char *[]){"in all", "transformer", "are free", NULL});
    unsetenv("LF_STANDIN_FAIL");
    set_free((double) plan.needed * 0.9);
    LfModel *model = open_with(dir, NULL, &error);
    g_assert_no_error(error);
    lf_model_unref(model);
    unsetenv("LF_STANDIN_MEMORY");
    lf_tiny_model_remove(dir);
}

/* Left to itself, the text encoder leaves the device to a planned session that needs its memory. */
static void test_text_encoder_moves(void)
{
    GError *error = NULL;
    if (!is_device())
        return;
    const LfSessionOptions options = {.width = 256, .height = 256};
    LfModelOptions automatic = {.backend = stream_backend(), .planned = &options};
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfMemoryPlan plan = plan_of(dir, &options);
    g_assert_cmpint((int) plan.text_encoder_device, ==, LF_TEXT_ENCODER_DEVICE);
    g_assert_cmpuint(plan.bytes[LF_NEEDS_TEXT_ENCODER], >, 100);
    set_free((double) plan.needed - 50);
    LfModel *model = lf_model_open(dir, &automatic, &error);
    g_assert_no_error(error);
    g_assert_cmpint((int) lf_model_text_encoder_device(model), !=, LF_TEXT_ENCODER_DEVICE);
    LfSession *session = lf_session_new(model, &options, &error);
    g_assert_no_error(error);
    lf_session_free(session);
    lf_model_unref(model);
    g_assert_null(open_with(dir, &options, &error)); /* that asks for the device */
    g_assert_error(error, LF_ERROR, LF_ERROR_MEMORY);
    g_clear_error(&error);
    set_free((double) (plan.needed - plan.bytes[LF_NEEDS_TEXT_ENCODER]) - 50);
    g_assert_null(lf_model_open(dir, &automatic, &error)); /* it is not enough either */
    g_assert_error(error, LF_ERROR, LF_ERROR_MEMORY);
    g_clear_error(&error);
    unsetenv("LF_STANDIN_MEMORY");
    lf_tiny_model_remove(dir);
}

/* A session that cannot be is told when it is opened, not while the model loads. */
static void test_impossible_session(void)
{
    GError *error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfMemoryPlan plan;
    LfSessionOptions options = {.width = 17};
    LfModelOptions model_options = {.backend = stream_backend(), .planned = &options};
    g_assert_false(lf_memory_plan(dir, &model_options, &options, &plan, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_clear_error(&error);
    LfModel *model = lf_model_open(dir, &model_options, &error);
    g_assert_no_error(error);
    g_assert_false(lf_memory_plan("/nowhere", NULL, NULL, &plan, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

/* The options keep no pointer to a session that was planned. */
static void test_copied_options(void)
{
    const LfSessionOptions session = {0};
    LfModelOptions copy;
    lf_model_options_copy(&copy, &(LfModelOptions){.planned = &session});
    g_assert_null(copy.planned);
    lf_model_options_clear(&copy);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory-plan/sizes", test_sizes);
    g_test_add_func("/memory-plan/no-text", test_no_text);
    g_test_add_func("/memory-plan/table", test_table);
    g_test_add_func("/memory-plan/session-refused", test_session_refused);
    g_test_add_func("/memory-plan/cure", test_cure);
    g_test_add_func("/memory-plan/model-refused", test_model_refused);
    g_test_add_func("/memory-plan/text-encoder-moves", test_text_encoder_moves);
    g_test_add_func("/memory-plan/impossible-session", test_impossible_session);
    g_test_add_func("/memory-plan/copied-options", test_copied_options);
    return g_test_run();
}
