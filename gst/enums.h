/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The element's choices, as GObject types with short names for gst-launch.
 */
#ifndef GST_LIGHT_FORCING_ENUMS_H
#define GST_LIGHT_FORCING_ENUMS_H

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstLightForcingBackend:
 * @GST_LIGHT_FORCING_BACKEND_AUTO: the best one of this machine
 * @GST_LIGHT_FORCING_BACKEND_CPU: the processor
 * @GST_LIGHT_FORCING_BACKEND_CUDA: an NVIDIA GPU
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_BACKEND_AUTO,
    GST_LIGHT_FORCING_BACKEND_CPU,
    GST_LIGHT_FORCING_BACKEND_CUDA
} GstLightForcingBackend;

/**
 * GstLightForcingPrecision:
 * @GST_LIGHT_FORCING_PRECISION_AUTO: fp32 on the processor, bf16 on a GPU
 * @GST_LIGHT_FORCING_PRECISION_FP32: 32-bit float
 * @GST_LIGHT_FORCING_PRECISION_BF16: bfloat16, sums in 32 bits
 * @GST_LIGHT_FORCING_PRECISION_FP8: 8-bit float (e4m3) with scales, sums in 32 bits
 *
 * What the products of the transformer's blocks are computed in.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_PRECISION_AUTO,
    GST_LIGHT_FORCING_PRECISION_FP32,
    GST_LIGHT_FORCING_PRECISION_BF16,
    GST_LIGHT_FORCING_PRECISION_FP8
} GstLightForcingPrecision;

/**
 * GstLightForcingAttention:
 * @GST_LIGHT_FORCING_ATTENTION_AUTO: sparse where the model has numbers for it, else dense
 * @GST_LIGHT_FORCING_ATTENTION_DENSE: every key block
 * @GST_LIGHT_FORCING_ATTENTION_SPARSE: the key blocks that matter
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_ATTENTION_AUTO,
    GST_LIGHT_FORCING_ATTENTION_DENSE,
    GST_LIGHT_FORCING_ATTENTION_SPARSE
} GstLightForcingAttention;

/**
 * GstLightForcingTransition:
 * @GST_LIGHT_FORCING_TRANSITION_CONTINUE: the past stays as it is, and the scene turns into the
 *   new one
 * @GST_LIGHT_FORCING_TRANSITION_RECACHE: what is remembered of the past is made anew under the new
 *   prompt
 * @GST_LIGHT_FORCING_TRANSITION_CUT: the past is forgotten, and a new scene begins
 *
 * How a new prompt comes in.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_TRANSITION_CONTINUE,
    GST_LIGHT_FORCING_TRANSITION_RECACHE,
    GST_LIGHT_FORCING_TRANSITION_CUT
} GstLightForcingTransition;

/**
 * GstLightForcingUnderrun:
 * @GST_LIGHT_FORCING_UNDERRUN_SHIFT: the late frame and all after it get later timestamps
 * @GST_LIGHT_FORCING_UNDERRUN_REPEAT: the last frame is shown again, at the model's frame rate
 * @GST_LIGHT_FORCING_UNDERRUN_NONE: timestamps stay as they were, frames come late
 *
 * What a live stream does when the next frame is not ready in time.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_UNDERRUN_SHIFT,
    GST_LIGHT_FORCING_UNDERRUN_REPEAT,
    GST_LIGHT_FORCING_UNDERRUN_NONE
} GstLightForcingUnderrun;

/**
 * GstLightForcingKeyUnit:
 * @GST_LIGHT_FORCING_KEY_UNIT_NEVER: not asked for
 * @GST_LIGHT_FORCING_KEY_UNIT_CUT: at the first frame of a new scene
 * @GST_LIGHT_FORCING_KEY_UNIT_PROMPT: there and at the first frame of every prompt
 *
 * When encoders downstream are asked for a key frame.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_KEY_UNIT_NEVER,
    GST_LIGHT_FORCING_KEY_UNIT_CUT,
    GST_LIGHT_FORCING_KEY_UNIT_PROMPT
} GstLightForcingKeyUnit;

/**
 * GstLightForcingMessages:
 * @GST_LIGHT_FORCING_MESSAGES_NONE: nothing
 * @GST_LIGHT_FORCING_MESSAGES_PROMPT: `lightforcing-prompt`, with the first frame of a prompt
 * @GST_LIGHT_FORCING_MESSAGES_CHUNK: `lightforcing-chunk`, with every generated chunk
 *
 * Element messages that are posted on the bus.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_MESSAGES_NONE = 0,
    GST_LIGHT_FORCING_MESSAGES_PROMPT = 1 << 0,
    GST_LIGHT_FORCING_MESSAGES_CHUNK = 1 << 1
} GstLightForcingMessages;

#define GST_TYPE_LIGHT_FORCING_BACKEND    (gst_light_forcing_backend_get_type())
#define GST_TYPE_LIGHT_FORCING_PRECISION  (gst_light_forcing_precision_get_type())
#define GST_TYPE_LIGHT_FORCING_ATTENTION  (gst_light_forcing_attention_get_type())
#define GST_TYPE_LIGHT_FORCING_TRANSITION (gst_light_forcing_transition_get_type())
#define GST_TYPE_LIGHT_FORCING_UNDERRUN   (gst_light_forcing_underrun_get_type())
#define GST_TYPE_LIGHT_FORCING_KEY_UNIT   (gst_light_forcing_key_unit_get_type())
#define GST_TYPE_LIGHT_FORCING_MESSAGES   (gst_light_forcing_messages_get_type())

GType gst_light_forcing_backend_get_type(void);
GType gst_light_forcing_precision_get_type(void);
GType gst_light_forcing_attention_get_type(void);
GType gst_light_forcing_transition_get_type(void);
GType gst_light_forcing_underrun_get_type(void);
GType gst_light_forcing_key_unit_get_type(void);
GType gst_light_forcing_messages_get_type(void);

G_END_DECLS

#endif
