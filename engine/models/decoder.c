/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "decoder.h"

#include "kernels/ops.h"

#define ROW(type) &lf_decoder_##type,
static const LfDecoderClass *const classes[] = {LF_DECODERS(ROW)};
#undef ROW

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
            source ? lf_weight_source_layout(source) : "", types);
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
