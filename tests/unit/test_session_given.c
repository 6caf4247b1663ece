/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Chunks from given latents in place of denoising.
 */
#include "stream.h"

static const char prompt[] = "a big red star";

static gsize latents_size(const LfChunk *chunk)
{
    int channels, height, width;
    lf_chunk_latents(chunk, &channels, &height, &width);
    return sizeof(float) * (gsize) (channels * height * width) *
           (gsize) lf_chunk_info(chunk)->n_latent_frames;
}

/* A stream whose first chunks are made from another stream's latents equals that stream, byte for
 * byte, in these chunks and in the later ones, which attend to them. With one map for all steps,
 * the clean pass of the chunks that were denoised must not see anything of that map: the given ones
 * have none. */
static void test_continues(gconstpointer one_map)
{
    static const LfSessionOptions all_options[] = {
        {.seed = 7},
        {.seed = 7, .sparsity = 0.5, .uniform = TRUE, .key_block = 4, .one_map = TRUE}};
    const LfSessionOptions *options = &all_options[GPOINTER_TO_INT(one_map)];
    LfModel *model = stream_model(NULL);
    for (int n_given = 1; n_given <= 6; n_given++) {
        LfSession *a = stream_session(model, options, prompt);
        LfSession *b = stream_session(model, options, prompt);
        for (int i = 0; i < n_given + 3; i++) {
            g_autoptr(GError) error = NULL;
            LfChunk *x = stream_next(a), *y;
            int channels, height, width;
            const float *latents = lf_chunk_latents(x, &channels, &height, &width);
            y = i < n_given ? lf_session_next_given(b, latents, &error) : stream_next(b);
            g_assert_no_error(error);
            g_assert_cmpmem(lf_chunk_latents(y, &channels, &height, &width), latents_size(y),
                            latents, latents_size(x));
            GByteArray *p = stream_pictures(x), *q = stream_pictures(y);
            stream_assert_same(p, q);
            g_byte_array_unref(p);
            g_byte_array_unref(q);
            lf_chunk_unref(x);
            lf_chunk_unref(y);
        }
        lf_session_free(a);
        lf_session_free(b);
    }
    lf_model_unref(model);
}

/* Other latents change the later chunks. */
static void test_matters(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model(NULL);
    LfSession *a = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    LfSession *b = stream_session(model, &(LfSessionOptions){.seed = 7}, prompt);
    LfChunk *first = stream_next(a);
    g_autofree float *zeros = g_malloc0(latents_size(first));
    lf_chunk_unref(first);
    LfChunk *given = lf_session_next_given(b, zeros, &error);
    g_assert_no_error(error);
    lf_chunk_unref(given);
    GByteArray *p = stream_run(a, 1), *q = stream_run(b, 1);
    g_assert_false(stream_same(p, q));
    g_byte_array_unref(p);
    g_byte_array_unref(q);
    lf_session_free(a);
    lf_session_free(b);
    lf_model_unref(model);
}

/* Without keep_latents nothing is kept. */
static void test_not_kept(void)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = stream_model(NULL);
    LfSession *s = lf_session_new(model, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(lf_session_set_prompt(s, prompt, &error), ==, 1);
    g_assert_cmpuint(lf_session_set_prompt(s, prompt, &error), ==, 2);
    LfChunk *chunk = stream_next(s);
    int channels, height, width;
    g_assert_null(lf_chunk_latents(chunk, &channels, &height, &width));
    g_assert_cmpuint(lf_chunk_info(chunk)->prompt_id, ==, 2);
    lf_chunk_unref(chunk);
    lf_session_free(s);
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/session-given/continues", GINT_TO_POINTER(FALSE), test_continues);
    g_test_add_data_func("/session-given/continues/one-map", GINT_TO_POINTER(TRUE), test_continues);
    g_test_add_func("/session-given/matters", test_matters);
    g_test_add_func("/session-given/not-kept", test_not_kept);
    return g_test_run();
}
