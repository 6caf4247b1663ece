/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"
#include "progress.h"

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
    fprintf(stderr, "lightforcing %s: %s\nSee lightforcing %s --help.\n", command, message,
            command);
    return CLI_USAGE;
}

/* ---- common options -------------------------------------------------------------------------- */

static void add_common(GOptionContext *context, const CliHelp *help, CliOptions *o)
{
    const GOptionEntry entries[] = {
        {"model", 'm', 0, G_OPTION_ARG_FILENAME, &o->model,
         "Model directory (default: $LIGHTFORCING_MODEL, else the demo model)", "DIR"},
        {"random", 'r', 0, G_OPTION_ARG_STRING, &o->random,
         "Random weights in the size of demo, wan-1.3b, wan-1.3b-vae or wan-1.3b-lightvae",
         "PRESET"},
        {"backend", 'b', 0, G_OPTION_ARG_STRING, &o->backend, "auto (default), cpu, cuda or cuda:1",
         "NAME"},
        {"precision", 0, 0, G_OPTION_ARG_STRING, &o->precision, "auto (default), fp32, bf16 or fp8",
         "NAME"},
        {"text-encoder-device", 0, 0, G_OPTION_ARG_STRING, &o->text_encoder_device,
         "auto (default), device, stream or cpu", "NAME"},
        {"threads", 't', 0, G_OPTION_ARG_INT, &o->threads,
         "CPU threads (default: 0 = one per core)", "N"},
        {"attention", 'a', 0, G_OPTION_ARG_STRING, &o->attention, help->attention, "KIND"},
        {"sparsity", 's', 0, G_OPTION_ARG_DOUBLE, &o->sparsity,
         "Target fraction of KV blocks that are skipped (-1 = model default, 0 = dense)",
         "FRACTION"},
        {"uniform", 'u', 0, G_OPTION_ARG_NONE, &o->uniform,
         "The same sparsity for all chunks: no Chunk-Aware Growth", NULL},
        {"window", 'w', 0, G_OPTION_ARG_INT, &o->window,
         "Attention window in latent frames (-1 = model default, 0 = unlimited)", "N"},
        {"sink", 0, 0, G_OPTION_ARG_INT, &o->sink,
         "Attention sink in latent frames (-1 = model default, 0 = none)", "N"},
        {"chunk", 0, 0, G_OPTION_ARG_INT, &o->chunk,
         "Latent frames of a chunk (default: 0 = model default)", "N"},
        {"steps", 0, 0, G_OPTION_ARG_STRING, &o->steps,
         "Denoising steps, such as 1000,750,500,250 (default: the model's)", "LIST"},
        {"first-steps", 0, 0, G_OPTION_ARG_STRING, &o->first_steps,
         "Denoising steps of the first chunk (default: the model's, else --steps)", "LIST"},
        {"shift", 0, 0, G_OPTION_ARG_DOUBLE, &o->shift,
         "Shift of the steps (default: 0 = model default)", "NUMBER"},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &o->verbose, "Print the log of the engine on stderr",
         NULL},
        {NULL}};
    g_option_context_add_main_entries(context, entries, NULL);
}

static bool check_steps(const char *option, const char *text, const char *command, int *status)
{
    g_autoptr(GError) error = NULL;
    LfSteps steps;
    if (lf_steps_parse(text, &steps, &error))
        return true;
    *status = cli_misused(command, "%s %s: %s", option, text, error->message);
    return false;
}

static bool check_sampling(const CliOptions *o, const char *command, int *status)
{
    if (o->chunk < 0 || o->chunk > LF_MAX_CHUNK)
        *status = cli_misused(command, "--chunk %d: use 0 (model default) or 1 to %d latent frames",
                              o->chunk, LF_MAX_CHUNK);
    else if (o->shift != 0 && !(o->shift >= LF_MIN_SHIFT && o->shift <= LF_MAX_SHIFT))
        *status = cli_misused(command, "--shift %g: use 0 (model default) or %g to %g", o->shift,
                              LF_MIN_SHIFT, LF_MAX_SHIFT);
    else
        return check_steps("--steps", o->steps, command, status) &&
               check_steps("--first-steps", o->first_steps, command, status);
    return false;
}

bool cli_check(const CliOptions *o, const char *command, int *status)
{
    LfPrecision precision;
    LfTextEncoderDevice device;
    if (o->model && o->random)
        *status = cli_misused(command, "--model and --random cannot be combined");
    else if (o->threads < 0 || o->threads > 1024)
        *status = cli_misused(command, "--threads %d: use 0 (one per core) to 1024", o->threads);
    else if (o->precision && !lf_precision_from_name(o->precision, &precision))
        *status = cli_misused(command, "--precision %s: use auto, fp32, bf16 or fp8", o->precision);
    else if (o->text_encoder_device &&
             !lf_text_encoder_device_from_name(o->text_encoder_device, &device))
        *status = cli_misused(command, "--text-encoder-device %s: use auto, device, stream or cpu",
                              o->text_encoder_device);
    else if (o->sparsity != -1 && !(o->sparsity >= 0 && o->sparsity < 1))
        *status = cli_misused(command,
                              "--sparsity %g: use -1 (model default), 0 (dense) or a fraction "
                              "below 1",
                              o->sparsity);
    else if (o->window < -1)
        *status = cli_misused(command,
                              "--window %d: use -1 (model default), 0 (unlimited) or a number of "
                              "latent frames",
                              o->window);
    else if (o->sink < -1)
        *status = cli_misused(command,
                              "--sink %d: use -1 (model default), 0 (none) or a number of latent "
                              "frames",
                              o->sink);
    else
        return check_sampling(o, command, status);
    return false;
}

void cli_options_clear(CliOptions *o)
{
    g_free(o->model);
    g_free(o->random);
    g_free(o->backend);
    g_free(o->precision);
    g_free(o->text_encoder_device);
    g_free(o->attention);
    g_free(o->steps);
    g_free(o->first_steps);
}

bool cli_parse(const CliHelp *help, const GOptionEntry *entries, CliOptions *common, int *argc,
               char ***argv, int *status)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(help->operands);
    const char *command = (*argv)[0];
    gboolean help_wanted = FALSE;
    const GOptionEntry more[] = {
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help_wanted, "Show this help", NULL}, {NULL}};
    g_option_context_set_help_enabled(context, FALSE); /* GLib's own would end the program */
    g_option_context_set_summary(context, help->summary);
    g_option_context_set_description(context, help->description);
    g_option_context_add_main_entries(context, entries, NULL);
    if (common)
        add_common(context, help, common);
    g_option_context_add_main_entries(context, more, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        *status = cli_misused(command, "%s", error->message);
        return false;
    }
    if (help_wanted) {
        g_autofree char *text = g_option_context_get_help(context, TRUE, NULL);
        fputs(text, stdout);
        *status = CLI_DONE;
        return false;
    }
    if (*argc > 1 + help->max_operands) {
        *status =
            cli_misused(command, "unexpected argument \"%s\"", (*argv)[1 + help->max_operands]);
        return false;
    }
    return !common || cli_check(common, command, status);
}

/* ---- from options to the engine -------------------------------------------------------------- */

static void print_log(LfLogLevel level, const char *message, gpointer data)
{
    cli_progress_end();
    fprintf(stderr, "%s\n", message);
}

char *cli_model_location(const CliOptions *o, GError **error)
{
    char *location = o->model ? g_strdup(o->model) : lf_model_default_location();
    if (!location)
        lf_fail(error, LF_ERROR_NOT_FOUND,
                "no model found: name one with --model, or in LIGHTFORCING_MODEL");
    return location;
}

LfModelOptions cli_model_options(const CliOptions *o)
{
    LfModelOptions options = {.backend = o->backend, .n_threads = o->threads};
    lf_precision_from_name(o->precision, &options.precision);
    lf_text_encoder_device_from_name(o->text_encoder_device, &options.text_encoder_device);
    if (o->verbose)
        options.log = (LfLog){.write = print_log, .level = LF_LOG_DEBUG};
    return options;
}

static gboolean show_loading(const char *part, double done, gpointer data)
{
    cli_progress("loading", part, done);
    return TRUE;
}

LfModel *cli_open_model(const CliOptions *o, const LfSessionOptions *planned, GError **error)
{
    LfModelOptions options = cli_model_options(o);
    options.planned = planned;
    options.progress = show_loading;
    g_autofree char *location = o->random ? NULL : cli_model_location(o, error);
    LfModel *model = o->random  ? lf_model_new_random(o->random, 1, &options, error)
                     : location ? lf_model_open(location, &options, error)
                                : NULL;
    cli_progress_end();
    return model;
}

LfSessionOptions cli_session_options(const CliOptions *o)
{
    LfSessionOptions options = {.sparsity = o->sparsity == -1 ? 0 : o->sparsity,
                                .uniform = o->uniform,
                                .window = o->window == -1  ? 0
                                          : o->window == 0 ? -1
                                                           : o->window,
                                .sink = o->sink == -1  ? 0
                                        : o->sink == 0 ? -1
                                                       : o->sink,
                                .chunk = o->chunk,
                                .shift = o->shift,
                                .prompt_cache = ""}; /* what is measured is computed */
    lf_steps_parse(o->steps, &options.steps, NULL);
    lf_steps_parse(o->first_steps, &options.first_steps, NULL);
    lf_attention_from_name(o->attention, &options.attention);
    if (o->sparsity == 0)
        options.attention = LF_ATTENTION_DENSE;
    return options;
}

LfModelInfo cli_stream_info(const CliOptions *o, const LfModel *model)
{
    LfModelInfo info = *lf_model_info(model);
    LfSessionOptions options = cli_session_options(o);
    if (options.chunk > 0)
        info.chunk = options.chunk;
    if (options.steps.n > 0)
        info.steps = options.steps;
    if (options.first_steps.n > 0)
        info.first_steps = options.first_steps;
    if (options.shift > 0)
        info.shift = options.shift;
    return info;
}
