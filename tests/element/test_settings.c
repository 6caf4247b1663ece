/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the engine is asked for with the values of the properties.
 */
#include "gst/settings.h"

/* ---- an object with these properties --------------------------------------------------------- */

typedef struct {
    GObject parent;
    GstLightForcingSettings settings;
} Holder;

typedef struct {
    GObjectClass parent;
} HolderClass;

static GType holder_get_type(void);
G_DEFINE_TYPE(Holder, holder, G_TYPE_OBJECT)

static void holder_set(GObject *object, guint id, const GValue *value, GParamSpec *spec)
{
    g_assert_nonnull(
        gst_light_forcing_settings_set(&((Holder *) (gpointer) object)->settings, id, value));
}

static void holder_get(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    g_assert_true(
        gst_light_forcing_settings_get(&((Holder *) (gpointer) object)->settings, id, value));
}

static void holder_finalize(GObject *object)
{
    gst_light_forcing_settings_clear(&((Holder *) (gpointer) object)->settings);
    G_OBJECT_CLASS(holder_parent_class)->finalize(object);
}

static void holder_class_init(HolderClass *class)
{
    G_OBJECT_CLASS(class)->set_property = holder_set;
    G_OBJECT_CLASS(class)->get_property = holder_get;
    G_OBJECT_CLASS(class)->finalize = holder_finalize;
    gst_light_forcing_settings_install(G_OBJECT_CLASS(class));
}

static void holder_init(Holder *holder)
{
    gst_light_forcing_settings_init(&holder->settings);
}

/* Each property is the field of its name: the values all differ. */
static void test_fields(void)
{
    Holder *holder = g_object_new(
        holder_get_type(), "prompt", "a", "prompt-location", "b", "model-location", "c",
        "text-encoder-location", "d", "tokenizer-location", "e", "decoder-location", "f",
        "model-family", "g", "model-copy", "h", "lora", "i", "steps", "j", "first-steps", "k",
        "seed", G_GINT64_CONSTANT(1) << 40, "backend", 1, "cuda-device-id", 2, "precision", 3,
        "text-encoder-device", 2, "attention", 1, "sparsity", 0.5, "sparsity-growth", FALSE,
        "attention-window", 11, "attention-sink", 12, "chunk-size", 13, "shift", 14.5,
        "prompt-transition", 2, "keyframe-requests", 0, "is-live", TRUE, "on-underrun", 1,
        "prefetch", 15, "timestamp-offset", G_GINT64_CONSTANT(1) << 41, "messages", 2,
        "send-prompt-tags", FALSE, "prompt-cache", FALSE, NULL);
    const GstLightForcingSettings *s = &holder->settings;
    g_assert_cmpstr(s->prompt, ==, "a");
    g_assert_cmpstr(s->prompt_location, ==, "b");
    g_assert_cmpstr(s->model_location, ==, "c");
    g_assert_cmpstr(s->text_encoder_location, ==, "d");
    g_assert_cmpstr(s->tokenizer_location, ==, "e");
    g_assert_cmpstr(s->decoder_location, ==, "f");
    g_assert_cmpstr(s->model_family, ==, "g");
    g_assert_cmpstr(s->model_copy, ==, "h");
    g_assert_cmpstr(s->lora, ==, "i");
    g_assert_cmpstr(s->steps, ==, "j");
    g_assert_cmpstr(s->first_steps, ==, "k");
    g_assert_cmpint(s->seed, ==, G_GINT64_CONSTANT(1) << 40);
    g_assert_cmpint(s->backend, ==, 1);
    g_assert_cmpint(s->cuda_device_id, ==, 2);
    g_assert_cmpint(s->precision, ==, 3);
    g_assert_cmpint(s->text_encoder_device, ==, 2);
    g_assert_cmpint(s->attention, ==, 1);
    g_assert_cmpfloat(s->sparsity, ==, 0.5);
    g_assert_false(s->sparsity_growth);
    g_assert_cmpint(s->attention_window, ==, 11);
    g_assert_cmpint(s->attention_sink, ==, 12);
    g_assert_cmpint(s->chunk_size, ==, 13);
    g_assert_cmpfloat(s->shift, ==, 14.5);
    g_assert_cmpint(s->prompt_transition, ==, 2);
    g_assert_cmpint(s->keyframe_requests, ==, 0);
    g_assert_true(s->is_live);
    g_assert_cmpint(s->on_underrun, ==, 1);
    g_assert_cmpuint(s->prefetch, ==, 15);
    g_assert_cmpint(s->timestamp_offset, ==, G_GINT64_CONSTANT(1) << 41);
    g_assert_cmpuint(s->messages, ==, 2);
    g_assert_false(s->send_prompt_tags);
    g_assert_false(s->prompt_cache);
    g_object_set(holder, "send-prompt-tags", TRUE, "prompt-cache", TRUE, "sparsity-growth", TRUE,
                 "is-live", FALSE, NULL);
    g_assert_true(s->send_prompt_tags);
    g_assert_true(s->prompt_cache);
    g_assert_true(s->sparsity_growth);
    g_assert_false(s->is_live);
    g_object_unref(holder);
}

/* The empty text is a prompt, and elsewhere the same as none. */
static void test_empty_texts(void)
{
    guint n;
    Holder *holder = g_object_new(holder_get_type(), NULL);
    GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(holder), &n);
    for (guint i = 0; i < n; i++)
        if (G_IS_PARAM_SPEC_STRING(specs[i]))
            g_object_set(holder, specs[i]->name, "x", specs[i]->name, "", NULL);
    g_free(specs);
    const GstLightForcingSettings *s = &holder->settings;
    const char *const empty[] = {s->prompt_location,
                                 s->model_location,
                                 s->text_encoder_location,
                                 s->tokenizer_location,
                                 s->decoder_location,
                                 s->model_family,
                                 s->model_copy,
                                 s->lora,
                                 s->steps,
                                 s->first_steps};
    for (gsize i = 0; i < G_N_ELEMENTS(empty); i++)
        g_assert_null(empty[i]);
    g_assert_cmpstr(s->prompt, ==, "");
    g_object_set(holder, "prompt", NULL, NULL);
    g_assert_null(s->prompt);
    g_object_unref(holder);
}

/* ---- for the engine -------------------------------------------------------------------------- */

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

static void test_model(void)
{
    GstLightForcingSettings s = {.model_location = (char *) "a",
                                 .text_encoder_location = (char *) "b",
                                 .tokenizer_location = (char *) "c",
                                 .decoder_location = (char *) "d",
                                 .model_family = (char *) "e",
                                 .model_copy = (char *) "f",
                                 .lora = (char *) "g"};
    LfModelOptions options = gst_light_forcing_settings_model(&s);
    g_assert_cmpstr(options.text_encoder_location, ==, "b");
    g_assert_cmpstr(options.tokenizer_location, ==, "c");
    g_assert_cmpstr(options.decoder_location, ==, "d");
    g_assert_cmpstr(options.family, ==, "e");
    g_assert_cmpstr(options.copy, ==, "f");
    g_assert_cmpint(options.n_loras, ==, 0);
    g_assert_null(options.progress);
    g_assert_null(options.planned);
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
    g_test_add_func("/settings/fields", test_fields);
    g_test_add_func("/settings/empty-texts", test_empty_texts);
    g_test_add_func("/settings/model", test_model);
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
