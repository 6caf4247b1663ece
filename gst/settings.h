/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The element's properties and their values. A property is a field of GstLightForcingSettings and a
 * row of the table in settings.c, which has its documentation, too.
 */
#ifndef GST_LIGHT_FORCING_SETTINGS_H
#define GST_LIGHT_FORCING_SETTINGS_H

#include "engine/lightforcing.h"
#include "enums.h"

G_BEGIN_DECLS

/* The owner locks. */
typedef struct {
    char *prompt;
    /* These are never "". */
    char *prompt_location, *model_location;
    char *text_encoder_location, *tokenizer_location, *decoder_location;
    char *model_family, *model_copy, *lora;
    gint64 seed;
    gint backend; /* enums are gint here, as in a GValue: GstLightForcingBackend */
    gint cuda_device_id;
    gint precision;           /* GstLightForcingPrecision */
    gint text_encoder_device; /* GstLightForcingTextEncoderDevice */
    gint attention;           /* GstLightForcingAttention */
    gdouble sparsity;
    gboolean sparsity_growth;
    gint attention_window, attention_sink;
    gint chunk_size;
    char *steps, *first_steps; /* never "" */
    gdouble shift;
    gint prompt_transition; /* GstLightForcingTransition */
    gint keyframe_requests; /* GstLightForcingKeyframes */
    gboolean is_live;
    gint on_underrun; /* GstLightForcingUnderrun */
    guint prefetch;
    gint64 timestamp_offset;
    guint messages; /* GstLightForcingMessages */
    gboolean send_prompt_tags;
    gboolean prompt_cache;
} GstLightForcingSettings;

/* Property ids are the rows' numbers, counted from 1. The id of `stats`, which has no field, is
 * GST_LIGHT_FORCING_PROP_STATS. */
#define GST_LIGHT_FORCING_PROP_STATS 1000

void gst_light_forcing_settings_install(GObjectClass *klass);

void gst_light_forcing_settings_init(GstLightForcingSettings *settings);
void gst_light_forcing_settings_clear(GstLightForcingSettings *settings);

/* Returns the address of the field that was set; NULL when there is no such setting. */
gconstpointer gst_light_forcing_settings_set(GstLightForcingSettings *settings, guint id,
                                             const GValue *value);
/* FALSE when there is no such setting. */
gboolean gst_light_forcing_settings_get(const GstLightForcingSettings *settings, guint id,
                                        GValue *value);

/* The model options for the engine, without LoRAs. Strings of the result belong to the settings. */
LfModelOptions gst_light_forcing_settings_model(const GstLightForcingSettings *settings);
/* FALSE and an error that names the property when a list of steps is none. */
gboolean gst_light_forcing_settings_session(const GstLightForcingSettings *settings, guint64 seed,
                                            LfSessionOptions *options, GError **error);
/* Sets attention, sparsity and transition, which every chunk reads. */
void gst_light_forcing_settings_chunk(const GstLightForcingSettings *settings,
                                      LfSessionOptions *options);

G_END_DECLS

#endif
