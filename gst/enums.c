/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "enums.h"

GType gst_light_forcing_backend_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_BACKEND_AUTO, "The best one of this machine", "auto"},
        {GST_LIGHT_FORCING_BACKEND_CPU, "The processor", "cpu"},
        {GST_LIGHT_FORCING_BACKEND_CUDA, "An NVIDIA GPU", "cuda"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingBackend", values));
    return type;
}

GType gst_light_forcing_precision_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_PRECISION_AUTO, "fp32 on the processor, bf16 on a GPU", "auto"},
        {GST_LIGHT_FORCING_PRECISION_FP32, "32-bit float", "fp32"},
        {GST_LIGHT_FORCING_PRECISION_BF16, "bfloat16", "bf16"},
        {GST_LIGHT_FORCING_PRECISION_FP8, "8-bit float with scales, on Hopper", "fp8"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingPrecision", values));
    return type;
}

GType gst_light_forcing_attention_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_ATTENTION_AUTO, "Sparse if the model has numbers for it", "auto"},
        {GST_LIGHT_FORCING_ATTENTION_DENSE, "Every key block", "dense"},
        {GST_LIGHT_FORCING_ATTENTION_SPARSE, "The key blocks that matter", "sparse"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingAttention", values));
    return type;
}

GType gst_light_forcing_transition_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_TRANSITION_CONTINUE, "The past stays as it is", "continue"},
        {GST_LIGHT_FORCING_TRANSITION_RECACHE, "The past is remembered under the new prompt",
         "recache"},
        {GST_LIGHT_FORCING_TRANSITION_CUT, "The past is forgotten: a new scene", "cut"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingTransition", values));
    return type;
}

GType gst_light_forcing_underrun_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_UNDERRUN_SHIFT, "Later timestamps from the late frame on", "shift"},
        {GST_LIGHT_FORCING_UNDERRUN_REPEAT, "The last frame again, at a constant rate", "repeat"},
        {GST_LIGHT_FORCING_UNDERRUN_NONE, "Late frames keep their timestamps", "none"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingUnderrun", values));
    return type;
}

GType gst_light_forcing_key_unit_get_type(void)
{
    static const GEnumValue values[] = {
        {GST_LIGHT_FORCING_KEY_UNIT_NEVER, "Never", "never"},
        {GST_LIGHT_FORCING_KEY_UNIT_CUT, "At the first frame of a new scene", "cut"},
        {GST_LIGHT_FORCING_KEY_UNIT_PROMPT, "There and at every new prompt", "prompt"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static("GstLightForcingKeyUnit", values));
    return type;
}

GType gst_light_forcing_messages_get_type(void)
{
    static const GFlagsValue values[] = {
        {GST_LIGHT_FORCING_MESSAGES_NONE, "Nothing", "none"},
        {GST_LIGHT_FORCING_MESSAGES_PROMPT, "When the first frame of a prompt leaves", "prompt"},
        {GST_LIGHT_FORCING_MESSAGES_CHUNK, "When a chunk was generated", "chunk"},
        {0, NULL, NULL}};
    static gsize type = 0;
    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_flags_register_static("GstLightForcingMessages", values));
    return type;
}
