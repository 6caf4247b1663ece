/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lightforcing.h"

#include <stdbool.h>

void lf_model_options_copy(LfModelOptions *to, const LfModelOptions *from)
{
    *to = *from;
    to->backend = g_strdup(from->backend);
    to->text_encoder_location = g_strdup(from->text_encoder_location);
    to->decoder_location = g_strdup(from->decoder_location);
    LfLora *loras = g_new(LfLora, from->n_loras);
    for (int i = 0; i < from->n_loras; i++)
        loras[i] = (LfLora){g_strdup(from->loras[i].file), from->loras[i].strength};
    to->loras = loras;
}

static bool same_loras(const LfModelOptions *a, const LfModelOptions *b)
{
    bool same = a->n_loras == b->n_loras;
    for (int i = 0; same && i < a->n_loras; i++)
        same = g_strcmp0(a->loras[i].file, b->loras[i].file) == 0 &&
               a->loras[i].strength == b->loras[i].strength;
    return same;
}

gboolean lf_model_options_equal(const LfModelOptions *a, const LfModelOptions *b)
{
    return g_strcmp0(a->backend, b->backend) == 0 && a->precision == b->precision &&
           a->n_threads == b->n_threads &&
           g_strcmp0(a->text_encoder_location, b->text_encoder_location) == 0 &&
           g_strcmp0(a->decoder_location, b->decoder_location) == 0 && same_loras(a, b);
}

void lf_model_options_clear(LfModelOptions *options)
{
    for (int i = 0; i < options->n_loras; i++)
        g_free((char *) options->loras[i].file);
    g_free((LfLora *) options->loras);
    g_free((char *) options->backend);
    g_free((char *) options->text_encoder_location);
    g_free((char *) options->decoder_location);
    *options = (LfModelOptions){0};
}
