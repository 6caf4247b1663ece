/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stats.h"

void gst_light_forcing_stats_add_chunk(GstLightForcingStats *stats, const LfChunkInfo *info)
{
    gint64 generate = info->text_time + info->recache_time + info->denoise_time + info->clean_time;
    gint64 total = generate + info->decode_time;
    if (stats->n_chunks++ > 0) {
        stats->n_steady_frames += (guint64) info->n_frames;
        stats->steady_time += total;
    }
    stats->n_generated_frames += (guint64) info->n_frames;
    stats->chunk_frames = info->n_frames;
    stats->sparsity = info->sparsity;
    stats->generate_time += generate;
    stats->generate_time_max = MAX(stats->generate_time_max, generate);
    stats->decode_time += info->decode_time;
    if (info->encode_time)
        stats->encode_time_last = info->encode_time;
}

void gst_light_forcing_stats_add_prompt(GstLightForcingStats *stats, GstClockTime latency)
{
    stats->n_prompts++;
    stats->prompt_latency_last = latency;
    stats->prompt_latency_max = MAX(stats->prompt_latency_max, latency);
}

double gst_light_forcing_stats_rate(const GstLightForcingStats *stats)
{
    guint64 n_frames = stats->n_steady_frames ? stats->n_steady_frames : stats->n_generated_frames;
    gint64 time =
        stats->n_steady_frames ? stats->steady_time : stats->generate_time + stats->decode_time;
    return time > 0 ? (double) n_frames * GST_SECOND / (double) time : 0;
}

GstStructure *gst_light_forcing_stats_to_structure(const GstLightForcingStats *stats, guint level)
{
    gint64 n_chunks = MAX((gint64) stats->n_chunks, 1);
    return gst_structure_new(
        "lightforcing-stats", "frames", G_TYPE_UINT64, stats->n_frames, "chunks", G_TYPE_UINT64,
        stats->n_chunks, "chunk-frames", G_TYPE_INT, stats->chunk_frames, "generate-time-avg",
        G_TYPE_UINT64, (guint64) (stats->generate_time / n_chunks), "generate-time-max",
        G_TYPE_UINT64, (guint64) stats->generate_time_max, "decode-time-avg", G_TYPE_UINT64,
        (guint64) (stats->decode_time / n_chunks), "text-encode-time", G_TYPE_UINT64,
        (guint64) stats->encode_time_last, "fps-potential", G_TYPE_DOUBLE,
        gst_light_forcing_stats_rate(stats), "queue-level", G_TYPE_UINT, level, "underruns",
        G_TYPE_UINT64, stats->n_underruns, "repeated", G_TYPE_UINT64, stats->n_repeated,
        "shifted-time", G_TYPE_UINT64, stats->shifted_time, "prompts", G_TYPE_UINT64,
        stats->n_prompts, "prompt-latency-last", G_TYPE_UINT64, stats->prompt_latency_last,
        "prompt-latency-max", G_TYPE_UINT64, stats->prompt_latency_max, "seed", G_TYPE_INT64,
        stats->seed, "model", G_TYPE_STRING, stats->model, "device-name", G_TYPE_STRING,
        stats->device, "text-encoder-device", G_TYPE_STRING, stats->text_encoder_device,
        "sparsity-effective", G_TYPE_DOUBLE, stats->sparsity, "load-time", G_TYPE_UINT64,
        stats->load_time, "qos-proportion", G_TYPE_DOUBLE, stats->qos_proportion, NULL);
}
