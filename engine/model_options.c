/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lightforcing.h"

#include "kernels/error.h"

#include <math.h>
#include <stdbool.h>

void lf_model_options_copy(LfModelOptions *to, const LfModelOptions *from)
{
    *to = *from;
    to->backend = g_strdup(from->backend);
    to->text_encoder_location = g_strdup(from->text_encoder_location);
    to->tokenizer_location = g_strdup(from->tokenizer_location);
    to->decoder_location = g_strdup(from->decoder_location);
    to->family = g_strdup(from->family);
    to->copy = g_strdup(from->copy);
    LfLora *loras = g_new(LfLora, from->n_loras);
    for (int i = 0; i < from->n_loras; i++)
        loras[i] = (LfLora){g_strdup(from->loras[i].file), from->loras[i].strength};
    to->loras = loras;
    to->planned = NULL;
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
           a->text_encoder_device == b->text_encoder_device && a->n_threads == b->n_threads &&
           g_strcmp0(a->text_encoder_location, b->text_encoder_location) == 0 &&
           g_strcmp0(a->tokenizer_location, b->tokenizer_location) == 0 &&
           g_strcmp0(a->decoder_location, b->decoder_location) == 0 &&
           g_strcmp0(a->family, b->family) == 0 && g_strcmp0(a->copy, b->copy) == 0 &&
           same_loras(a, b);
}

void lf_model_options_clear(LfModelOptions *options)
{
    for (int i = 0; i < options->n_loras; i++)
        g_free((char *) options->loras[i].file);
    g_free((LfLora *) options->loras);
    g_free((char *) options->backend);
    g_free((char *) options->text_encoder_location);
    g_free((char *) options->tokenizer_location);
    g_free((char *) options->decoder_location);
    g_free((char *) options->family);
    g_free((char *) options->copy);
    *options = (LfModelOptions){0};
}

/* ---- a list of LoRAs ------------------------------------------------------------------------- */

/* The text of an entry up to a comma that has no backslash in front, without backslashes. `colon` is
 * the offset behind its last colon without one, or −1; `more`: a comma ended it. */
static GString *read_entry(const char **list, gssize *colon, bool *more)
{
    GString *entry = g_string_new(NULL);
    const char *c = *list;
    *colon = -1;
    for (; *c && *c != ','; c++) {
        bool escaped = *c == '\\' && c[1];
        c += escaped;
        g_string_append_c(entry, *c);
        if (*c == ':' && !escaped)
            *colon = (gssize) entry->len;
    }
    *more = *c == ',';
    *list = c + *more;
    return entry;
}

/* Cuts ":0.8" off the entry. A colon that no number follows is part of the name. */
static double read_strength(GString *entry, gssize colon)
{
    if (colon < 0)
        return 1;
    char *end;
    double strength = g_ascii_strtod(entry->str + colon, &end);
    if (*end || end == entry->str + colon)
        return 1;
    g_string_truncate(entry, (gsize) colon - 1);
    return strength;
}

gboolean lf_model_options_add_loras(LfModelOptions *options, const char *list, GError **error)
{
    g_autoptr(GArray) loras = g_array_new(FALSE, FALSE, sizeof(LfLora));
    const char *rest = list;
    bool fits = true;
    for (bool more = true; fits && more;) {
        gssize colon;
        GString *entry = read_entry(&rest, &colon, &more);
        LfLora lora = {.strength = read_strength(entry, colon)};
        fits = entry->len > 0 && fabs(lora.strength) <= 100;
        lora.file = g_string_free(entry, FALSE);
        g_array_append_val(loras, lora);
    }
    if (!fits) {
        for (guint i = 0; i < loras->len; i++)
            g_free((char *) g_array_index(loras, LfLora, i).file);
        return lf_fail(error, LF_ERROR_CONFIG,
                       "\"%s\" is no list FILE[:STRENGTH],FILE[:STRENGTH]… with strengths from "
                       "-100 to 100",
                       list);
    }
    g_array_prepend_vals(loras, options->loras, (guint) options->n_loras);
    g_free((LfLora *) options->loras);
    options->n_loras = (int) loras->len;
    options->loras = (LfLora *) (gpointer) g_array_free(g_steal_pointer(&loras), FALSE);
    return true;
}
