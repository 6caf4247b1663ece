/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lightforcing.h"

static const char *const attentions[] = {"auto", "dense", "sparse", NULL};
static const char *const transitions[] = {"continue", "recache", "cut", NULL};
static const char *const precisions[] = {"auto", "fp32", "bf16", "fp8", NULL};
static const char *const encoder_devices[] = {"auto", "device", "stream", "cpu", NULL};

/* The index of `name` in a list that ends with NULL; −1 when the list does not have it. */
static int find(const char *const *names, const char *name)
{
    for (int i = 0; name && names[i]; i++)
        if (g_str_equal(names[i], name))
            return i;
    return -1;
}

const char *lf_attention_name(LfAttention attention)
{
    g_return_val_if_fail(attention < G_N_ELEMENTS(attentions) - 1, NULL);
    return attentions[attention];
}

gboolean lf_attention_from_name(const char *name, LfAttention *attention)
{
    int i = find(attentions, name);
    if (i >= 0)
        *attention = (LfAttention) i;
    return i >= 0;
}

const char *lf_transition_name(LfTransition transition)
{
    g_return_val_if_fail(transition < G_N_ELEMENTS(transitions) - 1, NULL);
    return transitions[transition];
}

gboolean lf_transition_from_name(const char *name, LfTransition *transition)
{
    int i = find(transitions, name);
    if (i >= 0)
        *transition = (LfTransition) i;
    return i >= 0;
}

const char *lf_precision_name(LfPrecision precision)
{
    g_return_val_if_fail(precision < G_N_ELEMENTS(precisions) - 1, NULL);
    return precisions[precision];
}

gboolean lf_precision_from_name(const char *name, LfPrecision *precision)
{
    int i = find(precisions, name);
    if (i >= 0)
        *precision = (LfPrecision) i;
    return i >= 0;
}

const char *lf_text_encoder_device_name(LfTextEncoderDevice device)
{
    g_return_val_if_fail(device < G_N_ELEMENTS(encoder_devices) - 1, NULL);
    return encoder_devices[device];
}

gboolean lf_text_encoder_device_from_name(const char *name, LfTextEncoderDevice *device)
{
    int i = find(encoder_devices, name);
    if (i >= 0)
        *device = (LfTextEncoderDevice) i;
    return i >= 0;
}
