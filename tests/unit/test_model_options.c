/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Options of a model, copied and compared, and the names of enum values.
 */
#include "engine/lightforcing.h"

static gboolean on_progress(const char *part, double done, gpointer data)
{
    return part && done >= 0 && !data;
}

static void on_log(LfLogLevel level, const char *message, gpointer data)
{
    g_assert_true(level != LF_LOG_NONE && message && !data);
}

/* The copy owns its strings. */
static void test_copy(void)
{
    char backend[] = "cpu", encoder[] = "encoder", decoder[] = "decoder";
    char tokenizer[] = "tokenizer", family[] = "family", dictionary[] = "generator";
    char style[] = "style";
    const LfLora loras[] = {{style, 0.5}, {style, -1}};
    LfModelOptions copy;
    const LfModelOptions options = {.backend = backend,
                                    .precision = LF_PRECISION_FP32,
                                    .n_threads = 3,
                                    .progress = on_progress,
                                    .text_encoder_location = encoder,
                                    .tokenizer_location = tokenizer,
                                    .decoder_location = decoder,
                                    .family = family,
                                    .copy = dictionary,
                                    .loras = loras,
                                    .n_loras = G_N_ELEMENTS(loras),
                                    .log = {on_log, NULL, LF_LOG_INFO}};
    lf_model_options_copy(&copy, &options);
    g_assert_true(lf_model_options_equal(&copy, &options));
    g_assert_true(copy.progress == on_progress && copy.log.write == on_log);
    g_assert_cmpint(copy.log.level, ==, LF_LOG_INFO);
    backend[0] = encoder[0] = decoder[0] = style[0] = '?';
    tokenizer[0] = family[0] = dictionary[0] = '?';
    g_assert_false(lf_model_options_equal(&copy, &options));
    g_assert_cmpstr(copy.backend, ==, "cpu");
    g_assert_cmpstr(copy.text_encoder_location, ==, "encoder");
    g_assert_cmpstr(copy.decoder_location, ==, "decoder");
    g_assert_cmpstr(copy.tokenizer_location, ==, "tokenizer");
    g_assert_cmpstr(copy.family, ==, "family");
    g_assert_cmpstr(copy.copy, ==, "generator");
    g_assert_cmpstr(copy.loras[1].file, ==, "style");
    g_assert_cmpfloat(copy.loras[1].strength, ==, -1);
    lf_model_options_clear(&copy);
    g_assert_true(lf_model_options_equal(&copy, &(LfModelOptions){0}));
    lf_model_options_clear(&copy);
}

/* Each field that decides what is loaded, alone. */
static void test_equal(void)
{
    static const LfLora loras[] = {{"a", 0.5}, {"b", 0.5}, {"a", 1}};
    static const LfModelOptions different[] = {
        {.loras = &loras[0], .n_loras = 1},
        {.loras = &loras[1], .n_loras = 1},
        {.loras = &loras[2], .n_loras = 1},
        {.loras = loras, .n_loras = 2},
        {.backend = "cpu"},
        {.precision = LF_PRECISION_BF16},
        {.text_encoder_device = LF_TEXT_ENCODER_STREAM},
        {.text_encoder_device = LF_TEXT_ENCODER_CPU},
        {.n_threads = 1},
        {.text_encoder_location = "a"},
        {.text_encoder_location = "b"},
        {.decoder_location = "a"},
        {.tokenizer_location = "a"},
        {.family = "a"},
        {.copy = "a"},
    };
    const LfModelOptions none = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(different); i++) {
        g_assert_false(lf_model_options_equal(&none, &different[i]));
        for (gsize k = 0; k < G_N_ELEMENTS(different); k++)
            g_assert_true(lf_model_options_equal(&different[k], &different[i]) == (i == k));
    }
    g_assert_true(lf_model_options_equal(
        &none, &(LfModelOptions){.progress = on_progress, .log = {on_log, NULL, LF_LOG_TRACE}}));
}

static void assert_lora(const LfLora *lora, const char *file, double strength)
{
    g_assert_cmpstr(lora->file, ==, file);
    g_assert_cmpfloat(lora->strength, ==, strength);
}

static void test_loras(void)
{
    static const char *const wrong[] = {"",   ",",     "a,",     ",a",   "a,,b",
                                        ":1", "a:101", "a:-1e9", "a:nan"};
    const LfLora first = {"first", 2};
    LfModelOptions options;
    g_autoptr(GError) error = NULL;
    lf_model_options_copy(&options, &(LfModelOptions){.loras = &first, .n_loras = 1});
    g_assert_true(lf_model_options_add_loras(
        &options, "a.safetensors:0.25,/b c/d.pt,C:\\x,e\\,f:-1,g\\:2,h:i:100,j\\", &error));
    g_assert_no_error(error);
    g_assert_cmpint(options.n_loras, ==, 8);
    assert_lora(&options.loras[0], "first", 2);
    assert_lora(&options.loras[1], "a.safetensors", 0.25);
    assert_lora(&options.loras[2], "/b c/d.pt", 1);
    assert_lora(&options.loras[3], "C:x", 1);
    assert_lora(&options.loras[4], "e,f", -1);
    assert_lora(&options.loras[5], "g:2", 1);
    assert_lora(&options.loras[6], "h:i", 100);
    assert_lora(&options.loras[7], "j\\", 1);
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_assert_false(lf_model_options_add_loras(&options, wrong[i], &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
        g_assert_cmpint(options.n_loras, ==, 8);
        g_clear_error(&error);
    }
    lf_model_options_clear(&options);
}

static void test_words(void)
{
    static const char *const words[] = {"auto", "dense",  "sparse",   "fp32",    "bf16",
                                        "fp8",  "cut",    "continue", "recache", "",
                                        "AUTO", "device", "cpu",      "stream",  NULL};
    int attentions = 0, transitions = 0, precisions = 0, devices = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        LfAttention attention = LF_ATTENTION_SPARSE;
        LfTransition transition = LF_TRANSITION_CUT;
        LfPrecision precision = LF_PRECISION_FP8;
        LfTextEncoderDevice device = LF_TEXT_ENCODER_STREAM;
        if (lf_text_encoder_device_from_name(words[i], &device)) {
            g_assert_cmpstr(lf_text_encoder_device_name(device), ==, words[i]);
            devices++;
        } else {
            g_assert_cmpint((int) device, ==, LF_TEXT_ENCODER_STREAM);
        }
        if (lf_attention_from_name(words[i], &attention)) {
            g_assert_cmpstr(lf_attention_name(attention), ==, words[i]);
            attentions++;
        } else {
            g_assert_cmpint(attention, ==, LF_ATTENTION_SPARSE);
        }
        if (lf_transition_from_name(words[i], &transition)) {
            g_assert_cmpstr(lf_transition_name(transition), ==, words[i]);
            transitions++;
        } else {
            g_assert_cmpint(transition, ==, LF_TRANSITION_CUT);
        }
        if (lf_precision_from_name(words[i], &precision)) {
            g_assert_cmpstr(lf_precision_name(precision), ==, words[i]);
            precisions++;
        } else {
            g_assert_cmpint(precision, ==, LF_PRECISION_FP8);
        }
    }
    g_assert_cmpint(attentions, ==, 3);
    g_assert_cmpint(transitions, ==, 3);
    g_assert_cmpint(precisions, ==, 4);
    g_assert_cmpint(devices, ==, 4);
    g_assert_cmpstr(lf_text_encoder_device_name(LF_TEXT_ENCODER_CPU), ==, "cpu");
    g_assert_cmpstr(lf_attention_name(LF_ATTENTION_DENSE), ==, "dense");
    g_assert_cmpstr(lf_transition_name(LF_TRANSITION_RECACHE), ==, "recache");
    g_assert_cmpstr(lf_precision_name(LF_PRECISION_BF16), ==, "bf16");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model-options/copy", test_copy);
    g_test_add_func("/model-options/equal", test_equal);
    g_test_add_func("/model-options/loras", test_loras);
    g_test_add_func("/model-options/words", test_words);
    return g_test_run();
}
