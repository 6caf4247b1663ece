/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The element's enumerations and flags, as GObject types with short names for gst-launch.
 */
#ifndef GST_LIGHT_FORCING_ENUMS_H
#define GST_LIGHT_FORCING_ENUMS_H

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstLightForcingBackend:
 * @GST_LIGHT_FORCING_BACKEND_AUTO: the first usable NVIDIA GPU, otherwise the CPU
 * @GST_LIGHT_FORCING_BACKEND_CPU: the CPU
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
 * @GST_LIGHT_FORCING_PRECISION_AUTO: fp32 on the CPU, bf16 on a GPU
 * @GST_LIGHT_FORCING_PRECISION_FP32: 32-bit float
 * @GST_LIGHT_FORCING_PRECISION_BF16: bfloat16, accumulated in 32 bits
 * @GST_LIGHT_FORCING_PRECISION_FP8: 8-bit float (E4M3) with scales, accumulated in 32 bits
 *
 * Compute precision of the transformer's matrix products.
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
 * GstLightForcingTextEncoderDevice:
 * @GST_LIGHT_FORCING_TEXT_ENCODER_AUTO: the device if its memory suffices, otherwise layer by layer
 * through it, otherwise the CPU
 * @GST_LIGHT_FORCING_TEXT_ENCODER_DEVICE: resident on the transformer's device
 * @GST_LIGHT_FORCING_TEXT_ENCODER_STREAM: layer by layer from the file through the device
 * @GST_LIGHT_FORCING_TEXT_ENCODER_CPU: on the CPU
 *
 * Where the text encoder has its weights, and computes.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_TEXT_ENCODER_AUTO,
    GST_LIGHT_FORCING_TEXT_ENCODER_DEVICE,
    GST_LIGHT_FORCING_TEXT_ENCODER_STREAM,
    GST_LIGHT_FORCING_TEXT_ENCODER_CPU
} GstLightForcingTextEncoderDevice;

/**
 * GstLightForcingAttention:
 * @GST_LIGHT_FORCING_ATTENTION_AUTO: sparse if the model is configured for it, otherwise dense
 * @GST_LIGHT_FORCING_ATTENTION_DENSE: dense attention, every KV block
 * @GST_LIGHT_FORCING_ATTENTION_SPARSE: Light Forcing sparse attention, a selection of KV blocks
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
 * @GST_LIGHT_FORCING_TRANSITION_CONTINUE: keep the cache; the scene turns into the new one
 * @GST_LIGHT_FORCING_TRANSITION_RECACHE: recompute the cache under the new prompt
 * @GST_LIGHT_FORCING_TRANSITION_CUT: clear the cache and start a new scene
 *
 * How the KV cache is treated when the prompt changes.
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
 * @GST_LIGHT_FORCING_UNDERRUN_SHIFT: the late frame and all later frames get later timestamps
 * @GST_LIGHT_FORCING_UNDERRUN_REPEAT: repeat the last frame, at the model's frame rate
 * @GST_LIGHT_FORCING_UNDERRUN_NONE: keep the timestamps; frames arrive late
 *
 * Behaviour in live mode when a frame is not ready in time.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_UNDERRUN_SHIFT,
    GST_LIGHT_FORCING_UNDERRUN_REPEAT,
    GST_LIGHT_FORCING_UNDERRUN_NONE
} GstLightForcingUnderrun;

/**
 * GstLightForcingKeyframes:
 * @GST_LIGHT_FORCING_KEYFRAMES_NONE: no requests
 * @GST_LIGHT_FORCING_KEYFRAMES_CUT: at the first frame of a new scene
 * @GST_LIGHT_FORCING_KEYFRAMES_PROMPT: at the first frame of a new scene and of every prompt
 *
 * When to send a force-key-unit event downstream.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_KEYFRAMES_NONE,
    GST_LIGHT_FORCING_KEYFRAMES_CUT,
    GST_LIGHT_FORCING_KEYFRAMES_PROMPT
} GstLightForcingKeyframes;

/**
 * GstLightForcingMessages:
 * @GST_LIGHT_FORCING_MESSAGES_NONE: no messages
 * @GST_LIGHT_FORCING_MESSAGES_PROMPT: `lightforcing-prompt`, at the first frame of each prompt
 * @GST_LIGHT_FORCING_MESSAGES_CHUNK: `lightforcing-chunk`, for each generated chunk
 *
 * Which element messages to post on the bus.
 *
 * Since: 0.1
 */
typedef enum {
    GST_LIGHT_FORCING_MESSAGES_NONE = 0,
    GST_LIGHT_FORCING_MESSAGES_PROMPT = 1 << 0,
    GST_LIGHT_FORCING_MESSAGES_CHUNK = 1 << 1
} GstLightForcingMessages;

#define GST_TYPE_LIGHT_FORCING_BACKEND   (gst_light_forcing_backend_get_type())
#define GST_TYPE_LIGHT_FORCING_PRECISION (gst_light_forcing_precision_get_type())
#define GST_TYPE_LIGHT_FORCING_TEXT_ENCODER_DEVICE                                                 \
    (gst_light_forcing_text_encoder_device_get_type())
#define GST_TYPE_LIGHT_FORCING_ATTENTION  (gst_light_forcing_attention_get_type())
#define GST_TYPE_LIGHT_FORCING_TRANSITION (gst_light_forcing_transition_get_type())
#define GST_TYPE_LIGHT_FORCING_UNDERRUN   (gst_light_forcing_underrun_get_type())
#define GST_TYPE_LIGHT_FORCING_KEYFRAMES  (gst_light_forcing_keyframes_get_type())
#define GST_TYPE_LIGHT_FORCING_MESSAGES   (gst_light_forcing_messages_get_type())

GType gst_light_forcing_backend_get_type(void);
GType gst_light_forcing_precision_get_type(void);
GType gst_light_forcing_text_encoder_device_get_type(void);
GType gst_light_forcing_attention_get_type(void);
GType gst_light_forcing_transition_get_type(void);
GType gst_light_forcing_underrun_get_type(void);
GType gst_light_forcing_keyframes_get_type(void);
GType gst_light_forcing_messages_get_type(void);

G_END_DECLS

#endif
