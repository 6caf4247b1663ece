/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where a model's text encoder computes: what LF_TEXT_ENCODER_AUTO means on a device.
 */
#ifndef LF_ENGINE_TEXT_DEVICE_H
#define LF_ENGINE_TEXT_DEVICE_H

#include "model.h"

/* Bytes of a device. */
typedef struct {
    size_t unused;   /* that no program has */
    size_t rest;     /* that everything but the text encoder will need */
    size_t resident; /* that the text encoder needs as a whole … */
    size_t streamed; /* … and layer by layer */
} LfTextDemand;

/* The device or the stream if they fit, else the CPU; always the device for a small encoder. */
LfTextEncoderDevice lf_text_device_fitting(const LfTextDemand *demand);

/* What is wanted, and for AUTO what fits; tells the log. The model's configuration is complete and no
 * weight is loaded yet; `decoder` may be NULL. */
LfTextEncoderDevice lf_text_device_choose(const LfModel *model, LfTextEncoderDevice wanted,
                                          const LfWeightSource *transformer,
                                          const LfWeightSource *decoder);

#endif
