/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text_device.h"

#include "geometry.h"

/* An encoder of this size is no burden: its frames shall not depend on how much memory is free. */
#define SMALL ((size_t) 256 << 20)
/* Scratch of the passes, workspaces of the backends, pictures, the driver's own. */
#define OTHER ((size_t) 2 << 30)
/* What an unbounded window is expected to grow to, in latent frames. */
#define USUAL_WINDOW 21

LfTextEncoderDevice lf_text_device_fitting(const LfTextDemand *d)
{
    if (d->resident <= SMALL || d->unused >= d->rest + d->resident)
        return LF_TEXT_ENCODER_DEVICE;
    return d->unused >= d->rest + d->streamed ? LF_TEXT_ENCODER_STREAM : LF_TEXT_ENCODER_CPU;
}

/* Keys and values of the window at the model's own size: most of a session's state. */
static size_t state_size(const LfModel *m)
{
    const LfModelConfig *c = m->config;
    LfGeometry g = lf_geometry(c->video.width, c->video.height, c->video.chunk);
    size_t frames = (size_t) (c->cache.window > 0 ? c->cache.window : USUAL_WINDOW);
    return 2 * (size_t) c->transformer.layers * frames * (size_t) g.frame_tokens *
           (size_t) c->transformer.dim * lf_type_size(m->backend->activation_type);
}

static size_t encoder_count(const LfTextEncoderConfig *c)
{
    size_t dim = (size_t) c->dim;
    return dim * ((size_t) c->vocab +
                  (size_t) c->layers * (4 * (size_t) c->attention_dim + 3 * (size_t) c->ffn));
}

static LfTextDemand demand(const LfModel *m, const LfWeightSource *transformer,
                           const LfWeightSource *decoder)
{
    size_t element = lf_type_size(m->backend->activation_type);
    size_t rest = transformer ? lf_weight_source_count(transformer) : 0;
    rest += decoder ? lf_weight_source_count(decoder) : 0;
    return (LfTextDemand){.rest = element * rest + state_size(m) + state_size(m) / 8 + OTHER,
                          .resident = element * encoder_count(&m->config->text_encoder),
                          .streamed = lf_text_encoder_streamed_memory(&m->config->text_encoder,
                                                                      m->backend->activation_type)};
}

static double gigabytes(size_t size)
{
    return 1e-9 * (double) size;
}

/* By the memory of the device, if it tells. */
static LfTextEncoderDevice choose_fitting(const LfModel *m, LfTextDemand d)
{
    LfBackend *be = m->backend;
    size_t total;
    if (!be->memory || !be->memory(be, &d.unused, &total))
        return LF_TEXT_ENCODER_DEVICE;
    LfTextEncoderDevice chosen = lf_text_device_fitting(&d);
    lf_log(&m->log, LF_LOG_INFO,
           "text encoder: %.1f of %.1f GB of the device are free, everything else needs about "
           "%.1f, the text encoder %.1f, or %.1f layer by layer",
           gigabytes(d.unused), gigabytes(total), gigabytes(d.rest), gigabytes(d.resident),
           gigabytes(d.streamed));
    return chosen;
}

LfTextEncoderDevice lf_text_device_choose(const LfModel *m, LfTextEncoderDevice wanted,
                                          const LfWeightSource *transformer,
                                          const LfWeightSource *decoder)
{
    static const char *const words[] = {"", "resident on", "layer by layer through",
                                        "on the CPU, beside"};
    if (!m->backend->asynchronous)
        return LF_TEXT_ENCODER_CPU;
    if (wanted == LF_TEXT_ENCODER_AUTO)
        wanted = choose_fitting(m, demand(m, transformer, decoder));
    lf_log(&m->log, LF_LOG_INFO, "text encoder: %s %s", words[wanted], m->backend->description);
    return wanted;
}
