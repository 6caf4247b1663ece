/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What happened since the stream's start, counted; the element's `stats` property.
 */
#ifndef GST_LIGHT_FORCING_STATS_H
#define GST_LIGHT_FORCING_STATS_H

#include "engine/lightforcing.h"

#include <gst/gst.h>

G_BEGIN_DECLS

/* Times in nanoseconds. All-zero: nothing happened. The owner locks. */
typedef struct {
    guint64 n_frames; /* that left, repeated ones among them */
    guint64 n_repeated;
    guint64 n_underruns; /* times that a live stream ran dry */
    GstClockTime shifted_time;

    guint64 n_chunks, n_generated_frames;
    gint chunk_frames; /* of the last chunk */
    double sparsity;   /* of the last chunk */
    gint64 generate_time, generate_time_max, decode_time, encode_time_last;
    /* After the first chunk, which begins cold: what the rate is taken of, if there is more. */
    guint64 n_steady_frames;
    gint64 steady_time;

    guint64 n_prompts;
    GstClockTime prompt_latency_last, prompt_latency_max;
    GstClockTime load_time;
    gint64 seed;
    double qos_proportion;
    char model[64], device[96];
} GstLightForcingStats;

void gst_light_forcing_stats_add_chunk(GstLightForcingStats *stats, const LfChunkInfo *info);

/* `latency`: 0 for the first prompt, which waited for the model. */
void gst_light_forcing_stats_add_prompt(GstLightForcingStats *stats, GstClockTime latency);

/* Frames that are generated in a second; 0 before the first chunk. */
double gst_light_forcing_stats_rate(const GstLightForcingStats *stats);

/* Transfer full. `level`: chunks in the queue. */
GstStructure *gst_light_forcing_stats_to_structure(const GstLightForcingStats *stats, guint level);

G_END_DECLS

#endif
