/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The stream, which plans chunks: no model, no backend.
 */
#include "engine/stream.h"

static LfStream stream(void)
{
    return (LfStream){.config = {.geometry = lf_geometry(64, 48, 3),
                                 .window = 21,
                                 .sparse = true,
                                 .target = 0.88,
                                 .base = 0.98,
                                 .horizon = 63},
                      .seed = 5};
}

static void test_frames(void)
{
    LfStream s = stream();
    LfRequest request = {.prompt_id = 1};
    uint64_t frames = 0;
    for (uint64_t i = 0; i < 10; i++) {
        LfChunkPlan plan = lf_stream_plan(&s, &request);
        g_assert_cmpuint(plan.index, ==, i);
        g_assert_cmpuint(plan.scene_index, ==, i);
        g_assert_cmpuint(plan.first_frame, ==, frames);
        g_assert_cmpint(plan.n_frames, ==, i == 0 ? 9 : 12);
        g_assert_cmpuint(plan.seed, ==, 5);
        frames += (uint64_t) plan.n_frames;
        lf_stream_commit(&s, &plan);
    }
}

/* Planning twice without a commit gives the same chunk. */
static void test_again(void)
{
    LfStream s = stream();
    LfRequest request = {.prompt_id = 1};
    LfChunkPlan first = lf_stream_plan(&s, &request), again = lf_stream_plan(&s, &request);
    g_assert_cmpuint(first.index, ==, again.index);
    g_assert_cmpuint(first.first_frame, ==, again.first_frame);
    g_assert_cmpint(first.n_frames, ==, again.n_frames);
    g_assert_cmpint(first.transition, ==, again.transition);
}

static void test_sparsity(void)
{
    LfStream s = stream();
    LfRequest request = {.prompt_id = 1};
    g_assert_cmpfloat(lf_stream_sparsity(&s, &request, 0), ==, 0);
    s.config.horizon = 21; /* the check values of docs/light-forcing.md */
    g_assert_cmpfloat_with_epsilon(lf_stream_sparsity(&s, &request, 1), 0.8270, 5e-5);
    g_assert_cmpfloat_with_epsilon(lf_stream_sparsity(&s, &request, 6), 0.8982, 5e-5);
    s.config.horizon = 63;
    request.sparsity = 0.5; /* the base moves with the target */
    LfStream moved = stream();
    moved.config.target = 0.5;
    moved.config.base = 0.6;
    LfRequest own = {.prompt_id = 1};
    for (uint64_t i = 0; i < 25; i++)
        g_assert_cmpfloat_with_epsilon(lf_stream_sparsity(&s, &request, i),
                                       lf_stream_sparsity(&moved, &own, i), 1e-12);
    request.sparsity = 0.95; /* nor beyond what attention can skip */
    moved.config.target = 0.95;
    moved.config.base = LF_MAX_SPARSITY;
    g_assert_cmpfloat_with_epsilon(lf_stream_sparsity(&s, &request, 25),
                                   lf_stream_sparsity(&moved, &own, 25), 1e-12);
    request.sparsity = 0.5;
    s.config.uniform = true;
    g_assert_cmpfloat(lf_stream_sparsity(&s, &request, 1), ==, 0.5);
    request.attention = LF_ATTENTION_DENSE;
    g_assert_cmpfloat(lf_stream_sparsity(&s, &request, 1), ==, 0);
    s.config.sparse = false;
    request.attention = LF_ATTENTION_AUTO;
    g_assert_cmpfloat(lf_stream_sparsity(&s, &request, 1), ==, 0);
    request.attention = LF_ATTENTION_SPARSE;
    g_assert_cmpfloat(lf_stream_sparsity(&s, &request, 1), ==, 0.5);
}

static LfChunkPlan next(LfStream *s, const LfRequest *request)
{
    LfChunkPlan plan = lf_stream_plan(s, request);
    lf_stream_commit(s, &plan);
    return plan;
}

static void test_cut(void)
{
    LfStream s = stream();
    LfRequest request = {.prompt_id = 1, .transition = LF_TRANSITION_CUT};
    for (int i = 0; i < 4; i++) /* the first prompt of a stream is no change */
        g_assert_cmpint(next(&s, &request).transition, ==, LF_TRANSITION_CONTINUE);
    request.prompt_id = 2;
    LfChunkPlan cut = next(&s, &request), after = next(&s, &request);
    g_assert_cmpint(cut.transition, ==, LF_TRANSITION_CUT);
    g_assert_cmpuint(cut.index, ==, 4);
    g_assert_cmpuint(cut.scene_index, ==, 0);
    g_assert_cmpint(cut.n_frames, ==, 9);
    g_assert_cmpfloat(cut.sparsity, ==, 0);
    g_assert_cmpint(after.transition, ==, LF_TRANSITION_CONTINUE);
    g_assert_cmpuint(after.scene_index, ==, 1);
    g_assert_cmpuint(after.first_frame, ==, 9 + 3 * 12 + 9);
}

/* A transition that a cancelled attempt has begun is kept or becomes a stronger one. */
static void test_begun(void)
{
    LfStream s = stream();
    LfRequest request = {.prompt_id = 1};
    next(&s, &request);
    request = (LfRequest){.prompt_id = 2, .transition = LF_TRANSITION_RECACHE};
    g_assert_cmpint(lf_stream_plan(&s, &request).transition, ==, LF_TRANSITION_RECACHE);
    request = (LfRequest){.prompt_id = 3, .transition = LF_TRANSITION_CONTINUE};
    g_assert_cmpint(lf_stream_plan(&s, &request).transition, ==, LF_TRANSITION_RECACHE);
    request = (LfRequest){.prompt_id = 4, .transition = LF_TRANSITION_CUT};
    g_assert_cmpint(next(&s, &request).transition, ==, LF_TRANSITION_CUT);
    g_assert_cmpint(next(&s, &request).transition, ==, LF_TRANSITION_CONTINUE);
}

static void test_restart(void)
{
    LfStream s = stream();
    LfRequest request = {.prompt_id = 1};
    next(&s, &request);
    request = (LfRequest){.prompt_id = 2, .transition = LF_TRANSITION_RECACHE};
    lf_stream_plan(&s, &request);
    lf_stream_restart(&s, 9);
    LfChunkPlan plan = next(&s, &request);
    g_assert_cmpint(plan.transition, ==, LF_TRANSITION_CONTINUE);
    g_assert_cmpuint(plan.index, ==, 0);
    g_assert_cmpuint(plan.first_frame, ==, 0);
    g_assert_cmpuint(plan.seed, ==, 9);
    g_assert_cmpint(next(&s, &request).transition, ==, LF_TRANSITION_CONTINUE);
}

static void test_steady(void)
{
    LfStream s = stream();
    g_assert_cmpuint(lf_stream_steady_index(&s), ==, 22);
    LfRequest request = {.prompt_id = 1};
    g_assert_cmpfloat(lf_stream_sparsity(&s, &request, 22), ==,
                      lf_stream_sparsity(&s, &request, 1000));
    s.config.window = 90; /* the growth has ended before the window is full */
    g_assert_cmpuint(lf_stream_steady_index(&s), ==, 31);
    s.config.window = 0;
    next(&s, &request);
    g_assert_cmpuint(lf_stream_steady_index(&s), ==, 1);
    request = (LfRequest){.prompt_id = 2, .transition = LF_TRANSITION_CUT};
    next(&s, &request);
    next(&s, &request);
    g_assert_cmpuint(lf_stream_steady_index(&s), ==, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stream/frames", test_frames);
    g_test_add_func("/stream/again", test_again);
    g_test_add_func("/stream/sparsity", test_sparsity);
    g_test_add_func("/stream/cut", test_cut);
    g_test_add_func("/stream/begun", test_begun);
    g_test_add_func("/stream/restart", test_restart);
    g_test_add_func("/stream/steady", test_steady);
    return g_test_run();
}
