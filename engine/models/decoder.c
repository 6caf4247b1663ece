/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "decoder.h"

#include "kernels/ops.h"

#define ROW(type) &lf_decoder_##type,
static const LfDecoderClass *const classes[] = {LF_DECODERS(ROW)};
#undef ROW

const float lf_wan21_means[LF_WAN21_CHANNELS] = {
    -0.7571f, -0.7089f, -0.9113f, 0.1075f,  -0.1745f, 0.9653f,  -0.1517f, 1.5508f,
    0.4134f,  -0.0715f, 0.5517f,  -0.3632f, -0.1922f, -0.9497f, 0.2503f,  -0.2921f};

const float lf_wan21_deviations[LF_WAN21_CHANNELS] = {
    2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f, 2.6052f, 2.0743f,
    3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f, 1.9160f};

static char *known_types(void)
{
    GString *list = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++)
        g_string_append_printf(list, "%s\"%s\"", i > 0 ? ", " : "", classes[i]->type);
    return g_string_free(list, FALSE);
}

const LfDecoderClass *lf_decoder_class(const char *type, LfWeightSource *source, GError **error)
{
    if (!*type && !source)
        return classes[0];
    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++)
        if (*type ? g_str_equal(type, classes[i]->type)
                  : lf_weight_source_has(source, classes[i]->sign))
            return classes[i];
    g_autofree char *types = known_types();
    if (*type)
        lf_fail(error, LF_ERROR_CONFIG, "decoder: unknown type \"%s\"; known are %s", type, types);
    else
        lf_fail(
            error, LF_ERROR_SHAPE,
            "decoder: the file's tensors (layout \"%s\") match none of the types %s: use TAEHV, "
            "such as taew2_1.safetensors, or the VAE of Wan 2.1",
            lf_weight_source_layout(source), types);
    return NULL;
}

void lf_decoder_free(LfDecoder *decoder)
{
    if (decoder)
        decoder->class->destroy(decoder);
}

void lf_decoder_state_reset(LfBackend *be, LfDecoderState *state)
{
    for (int i = 0; i < state->n; i++)
        lf_clear(be, state->past[i]);
    state->begun = false;
}
