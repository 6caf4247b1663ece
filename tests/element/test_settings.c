/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the engine is asked for with the values of the properties.
 */
#include "gst/settings.h"

static LfSessionOptions session_options(const GstLightForcingSettings *settings)
{
    LfSessionOptions options;
    GError *error = NULL;
    g_assert_true(gst_light_forcing_settings_session(settings, 7, &options, &error));
    g_assert_no_error(error);
    return options;
}

static void test_defaults(void)
{
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    LfModelOptions model = gst_light_forcing_settings_model(&s);
    g_assert_cmpstr(model.backend, ==, "auto");
    g_assert_cmpint((int) model.precision, ==, LF_PRECISION_AUTO);
    LfSessionOptions options = session_options(&s);
    g_assert_cmpuint(options.seed, ==, 7);
    g_assert_cmpint((int) options.attention, ==, LF_ATTENTION_AUTO);
    g_assert_cmpint((int) options.transition, ==, LF_TRANSITION_CONTINUE);
    g_assert_cmpfloat(options.sparsity, ==, 0); /* the model's */
    g_assert_cmpint(options.window, ==, 0);
    g_assert_cmpint(options.sink, ==, 0);
    g_assert_false(options.uniform);
    g_assert_cmpint(options.chunk, ==, 0);
    g_assert_cmpint(options.steps.n, ==, 0);
    g_assert_cmpint(options.first_steps.n, ==, 0);
    g_assert_cmpfloat(options.shift, ==, 0);
    gst_light_forcing_settings_clear(&s);
}

/* The properties' -1, 0 and n are the engine's 0, -1 and n. */
static void test_window_and_sink(void)
{
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    for (gint n = -1; n < 30; n++) {
        int wanted = n == -1 ? 0 : n == 0 ? -1 : n;
        s.attention_window = n;
        s.attention_sink = 3;
        g_assert_cmpint(session_options(&s).window, ==, wanted);
        g_assert_cmpint(session_options(&s).sink, ==, 3);
        s.attention_window = 3;
        s.attention_sink = n;
        g_assert_cmpint(session_options(&s).window, ==, 3);
        g_assert_cmpint(session_options(&s).sink, ==, wanted);
    }
}

static void test_sparsity(void)
{
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    s.attention = GST_LIGHT_FORCING_ATTENTION_SPARSE;
    s.sparsity = 0.75;
    g_assert_cmpint((int) session_options(&s).attention, ==, LF_ATTENTION_SPARSE);
    g_assert_cmpfloat(session_options(&s).sparsity, ==, 0.75);
    s.sparsity = 0;
    g_assert_cmpint((int) session_options(&s).attention, ==, LF_ATTENTION_DENSE);
    s.sparsity = -0.5;
    g_assert_cmpint((int) session_options(&s).attention, ==, LF_ATTENTION_SPARSE);
    g_assert_cmpfloat(session_options(&s).sparsity, ==, 0);
    s.attention = GST_LIGHT_FORCING_ATTENTION_DENSE;
    g_assert_cmpint((int) session_options(&s).attention, ==, LF_ATTENTION_DENSE);
    s.sparsity_growth = FALSE;
    g_assert_true(session_options(&s).uniform);
}

static void test_steps(void)
{
    GstLightForcingSettings s;
    GError *error = NULL;
    LfSessionOptions options;
    gst_light_forcing_settings_init(&s);
    s.chunk_size = 1;
    s.shift = 8;
    s.steps = g_strdup("1000,500");
    s.first_steps = g_strdup("999.375, 937.5, 625");
    g_assert_cmpint(session_options(&s).chunk, ==, 1);
    g_assert_cmpfloat(session_options(&s).shift, ==, 8);
    g_assert_cmpint(session_options(&s).steps.n, ==, 2);
    g_assert_cmpint(session_options(&s).first_steps.n, ==, 3);
    g_assert_cmpfloat(session_options(&s).first_steps.at[0], ==, 999.375);
    g_free(s.first_steps);
    s.first_steps = g_strdup("500,1000");
    g_assert_false(gst_light_forcing_settings_session(&s, 7, &options, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_true(g_str_has_prefix(error->message, "first-steps=\"500,1000\": expected"));
    g_error_free(error);
    gst_light_forcing_settings_clear(&s);
}

static void test_transitions(void)
{
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    s.prompt_transition = GST_LIGHT_FORCING_TRANSITION_RECACHE;
    g_assert_cmpint((int) session_options(&s).transition, ==, LF_TRANSITION_RECACHE);
    s.prompt_transition = GST_LIGHT_FORCING_TRANSITION_CUT;
    g_assert_cmpint((int) session_options(&s).transition, ==, LF_TRANSITION_CUT);
}

/* A live stream goes on while a prompt is encoded; another one has the same frames every time. */
static void test_text_encoding(void)
{
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    g_assert_cmpint((int) session_options(&s).text_encoding, ==, LF_TEXT_WAIT);
    s.is_live = TRUE;
    g_assert_cmpint((int) session_options(&s).text_encoding, ==, LF_TEXT_BESIDE);
}

static void test_prompt_cache(void)
{
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    g_assert_null(session_options(&s).prompt_cache); /* the engine's default */
    s.prompt_cache = FALSE;
    g_assert_cmpstr(session_options(&s).prompt_cache, ==, "");
}

static void test_backends(void)
{
    static const struct {
        GstLightForcingBackend backend;
        gint device;
        const char *name;
    } cases[] = {{GST_LIGHT_FORCING_BACKEND_AUTO, -1, "auto"},
                 {GST_LIGHT_FORCING_BACKEND_AUTO, 0, "auto:0"},
                 {GST_LIGHT_FORCING_BACKEND_AUTO, 3, "auto:3"},
                 {GST_LIGHT_FORCING_BACKEND_CUDA, -1, "cuda"},
                 {GST_LIGHT_FORCING_BACKEND_CUDA, 0, "cuda:0"},
                 {GST_LIGHT_FORCING_BACKEND_CUDA, 12, "cuda:12"},
                 {GST_LIGHT_FORCING_BACKEND_CPU, -1, "cpu"},
                 {GST_LIGHT_FORCING_BACKEND_CPU, 1, "cpu"}};
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        s.backend = cases[i].backend;
        s.cuda_device_id = cases[i].device;
        g_assert_cmpstr(gst_light_forcing_settings_model(&s).backend, ==, cases[i].name);
    }
}

static void test_precisions(void)
{
    static const LfPrecision wanted[] = {LF_PRECISION_AUTO, LF_PRECISION_FP32, LF_PRECISION_BF16,
                                         LF_PRECISION_FP8};
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    for (gint i = 0; i < (gint) G_N_ELEMENTS(wanted); i++) {
        s.precision = i;
        g_assert_cmpint((int) gst_light_forcing_settings_model(&s).precision, ==, (int) wanted[i]);
    }
}

static void test_text_encoder_devices(void)
{
    static const LfTextEncoderDevice wanted[] = {LF_TEXT_ENCODER_AUTO, LF_TEXT_ENCODER_DEVICE,
                                                 LF_TEXT_ENCODER_STREAM, LF_TEXT_ENCODER_CPU};
    GstLightForcingSettings s;
    gst_light_forcing_settings_init(&s);
    for (gint i = 0; i < (gint) G_N_ELEMENTS(wanted); i++) {
        s.text_encoder_device = i;
        g_assert_cmpint((int) gst_light_forcing_settings_model(&s).text_encoder_device, ==,
                        (int) wanted[i]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    gst_init(&argc, &argv);
    g_test_add_func("/settings/defaults", test_defaults);
    g_test_add_func("/settings/window-and-sink", test_window_and_sink);
    g_test_add_func("/settings/sparsity", test_sparsity);
    g_test_add_func("/settings/steps", test_steps);
    g_test_add_func("/settings/transitions", test_transitions);
    g_test_add_func("/settings/text-encoding", test_text_encoding);
    g_test_add_func("/settings/prompt-cache", test_prompt_cache);
    g_test_add_func("/settings/backends", test_backends);
    g_test_add_func("/settings/precisions", test_precisions);
    g_test_add_func("/settings/text-encoder-devices", test_text_encoder_devices);
    return g_test_run();
}
