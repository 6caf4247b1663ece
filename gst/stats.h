/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Statistics since stream start: the element's property `stats`.
 */
#ifndef GST_LIGHT_FORCING_STATS_H
#define GST_LIGHT_FORCING_STATS_H

#include "engine/lightforcing.h"

#include <gst/gst.h>

G_BEGIN_DECLS

/* Times in nanoseconds. All-zero is the state at stream start. The owner locks. */
typedef struct {
    guint64 n_frames;    /* pushed, including repeated frames */
    guint64 n_repeated;  /* frames */
    guint64 n_underruns; /* of a live stream; several late frames in a row are one */
    GstClockTime shifted_time;

    guint64 n_chunks, n_generated_frames;
    gint chunk_frames; /* of the last chunk */
    double sparsity;   /* of the last chunk */
    gint64 generate_time, generate_time_max, decode_time, encode_time_last;
    /* Without the first chunk, which warms up: the rate is computed from these when it can be. */
    guint64 n_steady_frames;
    gint64 steady_time;

    guint64 n_prompts;
    GstClockTime prompt_latency_last, prompt_latency_max;
    GstClockTime load_time;
    gint64 seed;
    double qos_proportion;
    char model[64], device[96];
    const char *text_encoder_device; /* static; NULL while no model is loaded */
} GstLightForcingStats;

void gst_light_forcing_stats_add_chunk(GstLightForcingStats *stats, const LfChunkInfo *info);

/* `latency`: from setting the prompt to its first frame; 0 for the first prompt, which waited for
 * the model. */
void gst_light_forcing_stats_add_prompt(GstLightForcingStats *stats, GstClockTime latency);

/* Frames per second that can be generated; 0 before the first chunk. */
double gst_light_forcing_stats_rate(const GstLightForcingStats *stats);

/* Transfer full. `level`: chunks in the queue. */
GstStructure *gst_light_forcing_stats_to_structure(const GstLightForcingStats *stats, guint level);

G_END_DECLS

#endif
