/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "steps.h"

#include <string.h>

static bool refuse(GError **error)
{
    return lf_fail(error, LF_ERROR_CONFIG,
                   "expected 1 to %d numbers in (0, 1000], each below the one before, such as "
                   "1000,750,500,250",
                   LF_MAX_STEPS);
}

bool lf_steps_check(const LfSteps *steps, GError **error)
{
    double before = 1000;
    if (steps->n < 1 || steps->n > LF_MAX_STEPS)
        return refuse(error);
    for (int i = 0; i < steps->n; i++) { /* a NaN fails, too */
        double t = steps->at[i];
        if (!(t > 0 && (i == 0 ? t <= before : t < before)))
            return refuse(error);
        before = t;
    }
    return true;
}

bool lf_steps_equal(const LfSteps *a, const LfSteps *b)
{
    return a->n == b->n && memcmp(a->at, b->at, (size_t) a->n * sizeof *a->at) == 0;
}

static const char *skip_blanks(const char *text)
{
    while (g_ascii_isspace(*text))
        text++;
    return text;
}

gboolean lf_steps_parse(const char *text, LfSteps *steps, GError **error)
{
    LfSteps read = {0};
    const char *at = text ? skip_blanks(text) : "";
    bool more = *at != '\0';
    while (more) {
        char *end;
        double t = g_ascii_strtod(at, &end);
        if (end == at || read.n == LF_MAX_STEPS)
            return refuse(error);
        read.at[read.n++] = t;
        at = skip_blanks(end);
        more = *at == ',';
        at += more;
    }
    if (*at)
        return refuse(error);
    if (read.n > 0 && !lf_steps_check(&read, error))
        return FALSE;
    *steps = read;
    return TRUE;
}

char *lf_steps_text(const LfSteps *steps)
{
    GString *text = g_string_new(NULL);
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    for (int i = 0; i < steps->n; i++) {
        g_ascii_formatd(number, sizeof number, "%.6g", steps->at[i]);
        g_string_append_printf(text, "%s%s", i > 0 ? "," : "", number);
    }
    return g_string_free(text, FALSE);
}
