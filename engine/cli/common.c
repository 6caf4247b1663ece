/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <stdio.h>

int cli_failed(const char *command, GError *error)
{
    fprintf(stderr, "lightforcing %s: %s\n", command, error->message);
    g_error_free(error);
    return CLI_FAILED;
}

int cli_misused(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    fprintf(stderr, "lightforcing %s: %s\nlightforcing %s --help tells more.\n", command, message,
            command);
    return CLI_USAGE;
}

gboolean cli_parse(const GOptionEntry *entries, const char *operands, const char *summary,
                   int n_operands, int *argc, char ***argv, int *status)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(operands);
    const char *command = (*argv)[0];
    gboolean help = FALSE;
    const GOptionEntry more[] = {
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Show this help and end", NULL}, {NULL}};
    g_option_context_set_help_enabled(context, FALSE); /* GLib's own would end the program */
    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, more, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        *status = cli_misused(command, "%s", error->message);
        return FALSE;
    }
    if (help) {
        g_autofree char *text = g_option_context_get_help(context, TRUE, NULL);
        fputs(text, stdout);
        *status = CLI_DONE;
        return FALSE;
    }
    if (*argc > 1 + n_operands) {
        *status = cli_misused(command, "\"%s\" is one argument too many", (*argv)[1 + n_operands]);
        return FALSE;
    }
    return TRUE;
}

/* The place of `word` in a list that ends with NULL; −1: it is not there. */
static int place_of(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (g_str_equal(word, words[i]))
            return i;
    return -1;
}

gboolean cli_attention(const char *word, LfAttention *attention)
{
    static const char *const words[] = {"auto", "dense", "sparse", NULL};
    int place = place_of(word, words);
    *attention = place < 0 ? LF_ATTENTION_AUTO : (LfAttention) place;
    return place >= 0;
}

static const char *const precisions[] = {"auto", "fp32", "bf16", "fp8", NULL};

gboolean cli_precision(const char *word, LfPrecision *precision)
{
    int place = place_of(word, precisions);
    *precision = place < 0 ? LF_PRECISION_AUTO : (LfPrecision) place;
    return place >= 0;
}

const char *cli_precision_name(LfPrecision precision)
{
    return precisions[precision];
}

LfModel *cli_open_model(const char *location, const LfModelOptions *options, GError **error)
{
    g_autofree char *found = location ? g_strdup(location) : lf_model_default_location();
    if (found)
        return lf_model_open(found, options, error);
    g_set_error(error, LF_ERROR, LF_ERROR_NOT_FOUND,
                "no model: name one with --model, or in LIGHTFORCING_MODEL");
    return NULL;
}
