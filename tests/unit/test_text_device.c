/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where the text encoder computes: on the device, layer by layer through it, or on the CPU beside it.
 */
#include "stream.h"

#include "engine/encoder.h"
#include "engine/session.h"
#include "engine/text_device.h"

#include <stdlib.h>

static LfModel *model_with(LfTextEncoderDevice device)
{
    g_autoptr(GError) error = NULL;
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModel *model = lf_model_open(
        dir, &(LfModelOptions){.backend = stream_backend(), .text_encoder_device = device}, &error);
    g_assert_no_error(error);
    lf_tiny_model_remove(dir);
    return model;
}

static LfTextEncoderDevice expected(LfTextEncoderDevice device)
{
    return g_str_equal(stream_backend(), "cpu") ? LF_TEXT_ENCODER_CPU : device;
}

static GByteArray *frames(LfModel *model, LfTextEncoding encoding)
{
    const LfSessionOptions options = {.seed = 5, .text_encoding = encoding};
    LfSession *s = stream_session(model, &options, "a red ball bounces on green grass");
    GByteArray *all = stream_run(s, 2);
    g_assert_true(lf_session_set_prompt(s, "a blue star on yellow sand", NULL));
    LfPrompts *p = &s->prompts;
    g_mutex_lock(&p->lock);
    while (p->wanted || p->busy)
        g_cond_wait(&p->changed, &p->lock);
    bool streamed = lf_model_text_encoder_device(model) == LF_TEXT_ENCODER_STREAM;
    g_assert_true((p->encoder.be == NULL) == streamed); /* nothing stays on the device */
    g_assert_true((p->encoder.scratch.base == NULL) == streamed);
    g_mutex_unlock(&p->lock);
    g_autoptr(GByteArray) then = stream_run(s, 2);
    g_byte_array_append(all, then->data, then->len);
    lf_session_free(s);
    return all;
}

/* The frames are the same wherever the encoder computes: the types of the stand-in are the CPU's. */
static void test_frames(void)
{
    LfModel *cpu = stream_model_on(NULL, "cpu");
    g_autoptr(GByteArray) wanted = frames(cpu, LF_TEXT_WAIT);
    g_assert_cmpint((int) lf_model_text_encoder_device(cpu), ==, LF_TEXT_ENCODER_CPU);
    lf_model_unref(cpu);
    for (LfTextEncoderDevice device = LF_TEXT_ENCODER_DEVICE; device <= LF_TEXT_ENCODER_CPU;
         device++) {
        LfModel *model = model_with(device);
        g_assert_cmpint((int) lf_model_text_encoder_device(model), ==, (int) expected(device));
        for (LfTextEncoding encoding = LF_TEXT_WAIT; encoding <= LF_TEXT_BESIDE; encoding++) {
            g_autoptr(GByteArray) got = frames(model, encoding);
            stream_assert_same(wanted, got);
        }
        lf_model_unref(model);
    }
}

static gpointer encode_often(gpointer model)
{
    g_autoptr(GError) error = NULL;
    const int32_t ids[] = {5, 7, 300, 1};
    float *out = g_new(float, 4 * LF_TINY_TEXT_DIM);
    for (int i = 0; i < 20; i++) {
        g_assert_true(lf_model_encode(model, ids, 4, out, &error));
        g_assert_no_error(error);
    }
    return out;
}

/* Several threads stream the layers of one file at once. */
static void test_at_once(void)
{
    LfModel *model = model_with(LF_TEXT_ENCODER_STREAM),
            *sound = model_with(LF_TEXT_ENCODER_DEVICE);
    g_autofree float *wanted = encode_often(sound);
    GThread *threads[3];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("encoder", encode_often, model);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_autofree float *got = g_thread_join(threads[i]);
        g_assert_cmpmem(got, 4 * LF_TINY_TEXT_DIM * sizeof *got, wanted,
                        4 * LF_TINY_TEXT_DIM * sizeof *wanted);
    }
    lf_model_unref(model);
    lf_model_unref(sound);
}

/* On the stand-in: without memory for a prompt, or when a call fails, the chunk has the error. The next
 * one tries again, and nothing is left behind. */
static void test_streamed_failures(void)
{
    static const char *const faults[] = {"alloc:1",  "alloc:2",    "event_new:1", "position_bias:1",
                                         "upload:1", "rms_norm:3", "download:1",  "gelu_gate:1"};
    if (g_str_equal(stream_backend(), "cpu")) {
        g_test_skip("no call of the CPU fails");
        return;
    }
    LfModel *model = model_with(LF_TEXT_ENCODER_STREAM), *cpu = stream_model_on(NULL, "cpu");
    g_autoptr(GByteArray) wanted = frames(cpu, LF_TEXT_WAIT);
    for (gsize i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_autoptr(GError) error = NULL;
        LfSession *s = stream_session(model, &(LfSessionOptions){.seed = 5}, "");
        setenv("LF_STANDIN_FAIL", faults[i], 1);
        g_assert_true(lf_session_set_prompt(s, "a red ball bounces on green grass", &error));
        g_assert_null(lf_session_next(s, &error));
        g_test_message("%s: %s", faults[i], error->message);
        g_assert_true(g_error_matches(error, LF_ERROR, LF_ERROR_MEMORY) ||
                      g_error_matches(error, LF_ERROR, LF_ERROR_DEVICE));
        unsetenv("LF_STANDIN_FAIL");
        g_autoptr(GByteArray) got = stream_run(s, 2);
        g_assert_cmpmem(got->data, got->len, wanted->data, got->len);
        lf_session_free(s);
    }
    lf_model_unref(model);
    lf_model_unref(cpu);
}

/* The embeddings are rounded once, to the type of the transformer's activations, which need not be the
 * encoder's: the CPU encodes for a device of bf16, too. */
static void test_types(void)
{
    g_autoptr(GError) error = NULL;
    const int32_t ids[] = {5, 7, 300, 2, 1};
    LfModel *model = stream_model_on(NULL, "cpu");
    float exact[5 * LF_TINY_TEXT_DIM];
    uint16_t rounded[5 * LF_TINY_TEXT_DIM];
    g_assert_true(lf_model_encode(model, ids, 5, exact, &error));
    g_assert_no_error(error);
    lf_from_float(rounded, LF_BF16, exact, G_N_ELEMENTS(exact));
    LfType own = model->backend->activation_type;
    model->backend->activation_type = LF_BF16;
    LfEncoder encoder = lf_encoder(model, &(LfLog){0});
    LfText *text = lf_encoder_run(&encoder, ids, 5, false, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint((int) text->rows.type, ==, LF_BF16);
    g_assert_cmpmem(text->rows.data, lf_tensor_size(text->rows), rounded, sizeof rounded);
    lf_text_unref(text);
    lf_encoder_clear(&encoder);
    model->backend->activation_type = own;
    lf_model_unref(model);
}

static LfTextEncoderDevice fitting(double unused, double rest, double resident, double streamed)
{
    LfTextDemand demand = {(size_t) (1e9 * unused), (size_t) (1e9 * rest),
                           (size_t) (1e9 * resident), (size_t) (1e9 * streamed)};
    return lf_text_device_fitting(&demand);
}

static void test_fitting(void)
{
    g_assert_cmpint((int) fitting(80, 12, 11.4, 0.8), ==, LF_TEXT_ENCODER_DEVICE);
    g_assert_cmpint((int) fitting(23.4, 12, 11.4, 0.8), ==, LF_TEXT_ENCODER_DEVICE);
    g_assert_cmpint((int) fitting(23.3, 12, 11.4, 0.8), ==, LF_TEXT_ENCODER_STREAM);
    g_assert_cmpint((int) fitting(12.8, 12, 11.4, 0.8), ==, LF_TEXT_ENCODER_STREAM);
    g_assert_cmpint((int) fitting(12.7, 12, 11.4, 0.8), ==, LF_TEXT_ENCODER_CPU);
    g_assert_cmpint((int) fitting(0, 12, 11.4, 0.8), ==, LF_TEXT_ENCODER_CPU);
    g_assert_cmpint((int) fitting(0, 12, 0.02, 0.01), ==, LF_TEXT_ENCODER_DEVICE);
}

static void find_line(LfLogLevel level, const char *message, gpointer data)
{
    if (g_str_has_prefix(message, "text encoder: 9.4 of 85.9 GB"))
        ++*(int *) data;
}

/* With auto, the device is asked how much memory is free, and the log has the answer. */
static void test_auto(void)
{
    g_autoptr(GError) error = NULL;
    int n_lines = 0;
    bool device = !g_str_equal(stream_backend(), "cpu");
    char *dir = lf_tiny_model_make(NULL, NULL);
    LfModelOptions options = {.backend = stream_backend(),
                              .log = {find_line, &n_lines, LF_LOG_INFO}};
    setenv("LF_STANDIN_MEMORY", "9000", 1);
    LfModel *model = lf_model_open(dir, &options, &error);
    unsetenv("LF_STANDIN_MEMORY");
    g_assert_no_error(error);
    g_assert_cmpint(n_lines, ==, device);
    g_assert_cmpint((int) lf_model_text_encoder_device(model), ==,
                    (int) expected(LF_TEXT_ENCODER_DEVICE));
    lf_model_unref(model);
    model = lf_model_open(dir, &options, &error); /* the device does not tell */
    g_assert_no_error(error);
    g_assert_cmpint((int) lf_model_text_encoder_device(model), ==,
                    (int) expected(LF_TEXT_ENCODER_DEVICE));
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

/* What an encoder of umT5-xxl's size takes. */
static void test_xxl(void)
{
    const LfTextEncoderConfig xxl = {.vocab = 256384,
                                     .dim = 4096,
                                     .attention_dim = 4096,
                                     .heads = 64,
                                     .ffn = 10240,
                                     .layers = 24,
                                     .buckets = 32,
                                     .max_distance = 128};
    size_t streamed = lf_text_encoder_streamed_memory(&xxl, LF_BF16);
    size_t layer = 2 * (4 * (size_t) 4096 * 4096 + 3 * (size_t) 4096 * 10240);
    g_assert_cmpuint(streamed, >=, 2 * layer);
    g_assert_cmpuint(streamed, <=, 2 * (layer + 65536));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/text-device/frames", test_frames);
    g_test_add_func("/text-device/at-once", test_at_once);
    g_test_add_func("/text-device/streamed-failures", test_streamed_failures);
    g_test_add_func("/text-device/types", test_types);
    g_test_add_func("/text-device/fitting", test_fitting);
    g_test_add_func("/text-device/auto", test_auto);
    g_test_add_func("/text-device/xxl", test_xxl);
    return g_test_run();
}
