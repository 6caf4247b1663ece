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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    gst_init(&argc, &argv);
    g_test_add_func("/stats/chunks", test_chunks);
    g_test_add_func("/stats/rate", test_rate);
    g_test_add_func("/stats/prompts", test_prompts);
    return g_test_run();
}
