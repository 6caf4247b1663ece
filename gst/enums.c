/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "enums.h"

GType gst_light_forcing_backend_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_BACKEND_AUTO, "First usable NVIDIA GPU, otherwise CPU", "auto"},
        {GST_LIGHT_FORCING_BACKEND_CPU, "CPU", "cpu"},
        {GST_LIGHT_FORCING_BACKEND_CUDA, "NVIDIA GPU", "cuda"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingBackend", values));
    return type;
}

GType gst_light_forcing_precision_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_PRECISION_AUTO, "fp32 on CPU, bf16 on GPU", "auto"},
        {GST_LIGHT_FORCING_PRECISION_FP32, "32-bit float", "fp32"},
        {GST_LIGHT_FORCING_PRECISION_BF16, "bfloat16", "bf16"},
        {GST_LIGHT_FORCING_PRECISION_FP8, "8-bit float (E4M3) with scales", "fp8"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingPrecision", values));
    return type;
}

GType gst_light_forcing_text_encoder_device_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_TEXT_ENCODER_AUTO, "By the device's free memory", "auto"},
        {GST_LIGHT_FORCING_TEXT_ENCODER_DEVICE, "Resident on the transformer's device", "device"},
        {GST_LIGHT_FORCING_TEXT_ENCODER_STREAM,
         "Layer by layer from the file through the device; leaves nothing there", "stream"},
        {GST_LIGHT_FORCING_TEXT_ENCODER_CPU, "On the CPU", "cpu"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type,
                          g_enum_register_static("GstLightForcingTextEncoderDevice", values));
    return type;
}

GType gst_light_forcing_attention_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_ATTENTION_AUTO,
         "Sparse if the model is configured for it, otherwise dense", "auto"},
        {GST_LIGHT_FORCING_ATTENTION_DENSE, "Dense attention", "dense"},
        {GST_LIGHT_FORCING_ATTENTION_SPARSE, "Light Forcing sparse attention", "sparse"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingAttention", values));
    return type;
}

GType gst_light_forcing_transition_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_TRANSITION_CONTINUE, "Keep the cache; only the cross attention changes",
         "continue"},
        {GST_LIGHT_FORCING_TRANSITION_RECACHE,
         "Recompute the cache under the new prompt (models trained for it)", "recache"},
        {GST_LIGHT_FORCING_TRANSITION_CUT, "Clear the cache and start a new scene", "cut"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingTransition", values));
    return type;
}

GType gst_light_forcing_underrun_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_UNDERRUN_SHIFT, "Shift timestamps; the stream falls behind the clock",
         "shift"},
        {GST_LIGHT_FORCING_UNDERRUN_REPEAT, "Repeat the last frame; constant frame rate", "repeat"},
        {GST_LIGHT_FORCING_UNDERRUN_NONE, "Keep the timestamps; frames arrive late", "none"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingUnderrun", values));
    return type;
}

GType gst_light_forcing_keyframes_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_KEYFRAMES_NONE, "No requests", "none"},
        {GST_LIGHT_FORCING_KEYFRAMES_CUT, "At the first frame of a new scene", "cut"},
        {GST_LIGHT_FORCING_KEYFRAMES_PROMPT,
         "At the first frame of a new scene and of every prompt", "prompt"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingKeyframes", values));
    return type;
}

GType gst_light_forcing_messages_get_type(void)
{
    static const GFlagsValue values[] = {
        {GST_LIGHT_FORCING_MESSAGES_NONE, "No messages", "none"},
        {GST_LIGHT_FORCING_MESSAGES_PROMPT,
         "lightforcing-prompt, at the first frame of each prompt", "prompt"},
        {GST_LIGHT_FORCING_MESSAGES_CHUNK, "lightforcing-chunk, for each generated chunk", "chunk"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_flags_register_static("GstLightForcingMessages", values));
    return type;
}
