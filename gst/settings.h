/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The element's properties: their values, how they are described and read and written.
 */
#ifndef GST_LIGHT_FORCING_SETTINGS_H
#define GST_LIGHT_FORCING_SETTINGS_H

#include "engine/lightforcing.h"
#include "enums.h"

G_BEGIN_DECLS

typedef enum {
    GST_LIGHT_FORCING_PROP_PROMPT = 1,
    GST_LIGHT_FORCING_PROP_PROMPT_FILE,
    GST_LIGHT_FORCING_PROP_SEED,
    GST_LIGHT_FORCING_PROP_MODEL_LOCATION,
    GST_LIGHT_FORCING_PROP_TEXT_ENCODER_LOCATION,
    GST_LIGHT_FORCING_PROP_DECODER_LOCATION,
    GST_LIGHT_FORCING_PROP_BACKEND,
    GST_LIGHT_FORCING_PROP_CUDA_DEVICE_ID,
    GST_LIGHT_FORCING_PROP_PRECISION,
    GST_LIGHT_FORCING_PROP_ATTENTION,
    GST_LIGHT_FORCING_PROP_SPARSITY,
    GST_LIGHT_FORCING_PROP_SPARSITY_GROWTH,
    GST_LIGHT_FORCING_PROP_WINDOW_FRAMES,
    GST_LIGHT_FORCING_PROP_SINK_FRAMES,
    GST_LIGHT_FORCING_PROP_PROMPT_TRANSITION,
    GST_LIGHT_FORCING_PROP_FORCE_KEY_UNIT,
    GST_LIGHT_FORCING_PROP_IS_LIVE,
    GST_LIGHT_FORCING_PROP_ON_UNDERRUN,
    GST_LIGHT_FORCING_PROP_PREFETCH,
    GST_LIGHT_FORCING_PROP_TIMESTAMP_OFFSET,
    GST_LIGHT_FORCING_PROP_POST_MESSAGES,
    GST_LIGHT_FORCING_PROP_TAG_PROMPT,
    GST_LIGHT_FORCING_PROP_STATS /* the element's own: it is no setting */
} GstLightForcingProp;

typedef struct {
    char *prompt, *prompt_file;
    gint64 seed;
    char *model_location, *text_encoder_location, *decoder_location; /* never "" */
    GstLightForcingBackend backend;
    gint cuda_device_id;
    GstLightForcingPrecision precision;
    GstLightForcingAttention attention;
    gdouble sparsity;
    gboolean sparsity_growth;
    gint window_frames, sink_frames;
    GstLightForcingTransition prompt_transition;
    GstLightForcingKeyUnit force_key_unit;
    gboolean is_live;
    GstLightForcingUnderrun on_underrun;
    guint prefetch;
    gint64 timestamp_offset;
    GstLightForcingMessages post_messages;
    gboolean tag_prompt;
} GstLightForcingSettings;

void gst_light_forcing_settings_install(GObjectClass *klass);

void gst_light_forcing_settings_init(GstLightForcingSettings *settings);
void gst_light_forcing_settings_clear(GstLightForcingSettings *settings);

/* The owner locks. FALSE: there is no such setting. */
gboolean gst_light_forcing_settings_set(GstLightForcingSettings *settings, guint id,
                                        const GValue *value);
gboolean gst_light_forcing_settings_get(const GstLightForcingSettings *settings, guint id,
                                        GValue *value);

/* The same in the engine's terms. */
/* Strings are the settings' own. */
LfModelOptions gst_light_forcing_settings_model(const GstLightForcingSettings *settings);
/* Those that every chunk asks for anew. */
void gst_light_forcing_settings_chunk(const GstLightForcingSettings *settings,
                                      LfSessionOptions *options);
LfSessionOptions gst_light_forcing_settings_session(const GstLightForcingSettings *settings,
                                                    guint64 seed);

G_END_DECLS

#endif
