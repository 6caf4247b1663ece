/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lightforcing.h"

void lf_model_options_copy(LfModelOptions *to, const LfModelOptions *from)
{
    *to = *from;
    to->backend = g_strdup(from->backend);
    to->text_encoder_location = g_strdup(from->text_encoder_location);
    to->decoder_location = g_strdup(from->decoder_location);
}

gboolean lf_model_options_equal(const LfModelOptions *a, const LfModelOptions *b)
{
    return g_strcmp0(a->backend, b->backend) == 0 && a->precision == b->precision &&
           a->n_threads == b->n_threads &&
           g_strcmp0(a->text_encoder_location, b->text_encoder_location) == 0 &&
           g_strcmp0(a->decoder_location, b->decoder_location) == 0;
}

void lf_model_options_clear(LfModelOptions *options)
{
    g_free((char *) options->backend);
    g_free((char *) options->text_encoder_location);
    g_free((char *) options->decoder_location);
    *options = (LfModelOptions){0};
}
