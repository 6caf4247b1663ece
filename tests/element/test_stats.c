/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The statistics, from chunks of known times.
 */
#include "gst/stats.h"

#define MS INT64_C(1000000)

static guint64 field(const GstLightForcingStats *stats, const char *name)
{
    guint64 value = G_MAXUINT64;
    GstStructure *structure = gst_light_forcing_stats_to_structure(stats, 3);
    g_assert_true(gst_structure_get_uint64(structure, name, &value));
    gst_structure_free(structure);
    return value;
}

static const LfChunkInfo first = {.n_frames = 9,
                                  .encode_time = 70 * MS,
                                  .text_time = 40 * MS,
                                  .denoise_time = 500 * MS,
                                  .clean_time = 100 * MS,
                                  .decode_time = 60 * MS};
static const LfChunkInfo second = {.n_frames = 12,
                                   .recache_time = 30 * MS,
                                   .denoise_time = 200 * MS,
                                   .clean_time = 50 * MS,
                                   .decode_time = 20 * MS,
                                   .sparsity = 0.5};

static void test_chunks(void)
{
    GstLightForcingStats stats = {0};
    gst_light_forcing_stats_add_chunk(&stats, &first);
    gst_light_forcing_stats_add_chunk(&stats, &second);
    g_assert_cmpuint(field(&stats, "chunks"), ==, 2);
    g_assert_cmpuint(field(&stats, "generate-time-avg"), ==, (640 + 280) / 2 * MS);
    g_assert_cmpuint(field(&stats, "generate-time-max"), ==, 640 * MS);
    g_assert_cmpuint(field(&stats, "decode-time-avg"), ==, 40 * MS);
    g_assert_cmpuint(field(&stats, "text-encode-time"), ==, 70 * MS); /* of the last prompt */
    g_assert_cmpint(stats.chunk_frames, ==, 12);
    g_assert_cmpfloat(stats.sparsity, ==, 0.5);
}

/* The first chunk, which warms up, counts only while there is no other. */
static void test_rate(void)
{
    GstLightForcingStats stats = {0};
    g_assert_cmpfloat(gst_light_forcing_stats_rate(&stats), ==, 0);
    gst_light_forcing_stats_add_chunk(&stats, &first);
    g_assert_cmpfloat_with_epsilon(gst_light_forcing_stats_rate(&stats), 9 / 0.7, 1e-9);
    gst_light_forcing_stats_add_chunk(&stats, &second);
    g_assert_cmpfloat_with_epsilon(gst_light_forcing_stats_rate(&stats), 12 / 0.3, 1e-9);
    gst_light_forcing_stats_add_chunk(&stats, &first);
    g_assert_cmpfloat_with_epsilon(gst_light_forcing_stats_rate(&stats), 21 / 1.0, 1e-9);
}

static void test_prompts(void)
{
    GstLightForcingStats stats = {0};
    gst_light_forcing_stats_add_prompt(&stats, 0);
    gst_light_forcing_stats_add_prompt(&stats, 900 * MS);
    gst_light_forcing_stats_add_prompt(&stats, 700 * MS);
    g_assert_cmpuint(field(&stats, "prompts"), ==, 3);
    g_assert_cmpuint(field(&stats, "prompt-latency-last"), ==, 700 * MS);
    g_assert_cmpuint(field(&stats, "prompt-latency-max"), ==, 900 * MS);
}

/* Every field, from values that all differ. The averages are over 4 chunks, and over none. */
static void test_structure(void)
{
    static const struct {
        guint64 chunks;
        const char *averages;
    } cases[] = {{4, "generate-time-avg=(guint64)1000, decode-time-avg=(guint64)200"},
                 {0, "generate-time-avg=(guint64)4001, decode-time-avg=(guint64)803"}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const GstLightForcingStats stats = {.n_frames = 1,
                                            .n_repeated = 2,
                                            .n_underruns = 3,
                                            .shifted_time = 5,
                                            .n_chunks = cases[i].chunks,
                                            .n_generated_frames = 6,
                                            .chunk_frames = 7,
                                            .sparsity = 0.25,
                                            .generate_time = 4001,
                                            .generate_time_max = 3000,
                                            .decode_time = 803,
                                            .encode_time_last = 8,
                                            .n_steady_frames = 9,
                                            .steady_time = GST_SECOND / 2,
                                            .n_prompts = 10,
                                            .prompt_latency_last = 11,
                                            .prompt_latency_max = 12,
                                            .load_time = 13,
                                            .seed = 14,
                                            .qos_proportion = 0.5,
                                            .model = "a model",
                                            .device = "a device",
                                            .text_encoder_device = "another"};
        g_autofree char *wanted = g_strdup_printf(
            "lightforcing-stats, frames=(guint64)1, chunks=(guint64)%u, chunk-frames=(int)7, %s, "
            "generate-time-max=(guint64)3000, text-encode-time=(guint64)8, "
            "fps-potential=(double)18, queue-level=(uint)15, underruns=(guint64)3, "
            "repeated=(guint64)2, shifted-time=(guint64)5, prompts=(guint64)10, "
            "prompt-latency-last=(guint64)11, prompt-latency-max=(guint64)12, seed=(gint64)14, "
            "model=(string)\"a model\", device-name=(string)\"a device\", "
            "text-encoder-device=(string)another, "
            "sparsity-effective=(double)0.25, load-time=(guint64)13, qos-proportion=(double)0.5",
            (guint) cases[i].chunks, cases[i].averages);
        GstStructure *structure = gst_light_forcing_stats_to_structure(&stats, 15);
        GstStructure *expected = gst_structure_from_string(wanted, NULL);
        g_autofree char *text = gst_structure_to_string(structure);
        g_test_message("%s", text);
        g_assert_true(gst_structure_is_equal(structure, expected));
        gst_structure_free(structure);
        gst_structure_free(expected);
    }
}

/* Each sum has its own part of a chunk; what is of the last chunk or prompt stays where the next one
 * has none. */
static void test_sums(void)
{
    const LfChunkInfo chunk = {.n_frames = 5,
                               .encode_time = 600000,
                               .text_time = 1,
                               .recache_time = 20,
                               .denoise_time = 300,
                               .clean_time = 4000,
                               .decode_time = 50000,
                               .sparsity = 0.5},
                      quick = {.n_frames = 6, .denoise_time = 1};
    GstLightForcingStats stats = {0};
    gst_light_forcing_stats_add_chunk(&stats, &chunk);
    g_assert_cmpuint(stats.n_generated_frames, ==, 5);
    g_assert_cmpuint(stats.n_steady_frames, ==, 0);
    g_assert_cmpint(stats.steady_time, ==, 0);
    g_assert_cmpint(stats.generate_time, ==, 4321);
    g_assert_cmpint(stats.decode_time, ==, 50000);
    gst_light_forcing_stats_add_chunk(&stats, &chunk);
    gst_light_forcing_stats_add_chunk(&stats, &quick);
    g_assert_cmpuint(stats.n_chunks, ==, 3);
    g_assert_cmpuint(stats.n_generated_frames, ==, 16);
    g_assert_cmpuint(stats.n_steady_frames, ==, 11);
    g_assert_cmpint(stats.steady_time, ==, 54322);
    g_assert_cmpint(stats.generate_time, ==, 2 * 4321 + 1);
    g_assert_cmpint(stats.generate_time_max, ==, 4321);
    g_assert_cmpint(stats.decode_time, ==, 100000);
    g_assert_cmpint(stats.encode_time_last, ==, 600000);
    g_assert_cmpint(stats.chunk_frames, ==, 6);
    g_assert_cmpfloat(stats.sparsity, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    gst_init(&argc, &argv);
    g_test_add_func("/stats/chunks", test_chunks);
    g_test_add_func("/stats/structure", test_structure);
    g_test_add_func("/stats/sums", test_sums);
    g_test_add_func("/stats/rate", test_rate);
    g_test_add_func("/stats/prompts", test_prompts);
    return g_test_run();
}
