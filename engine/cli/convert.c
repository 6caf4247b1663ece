/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Writes a model as one folder.
 */
#include "cli.h"
#include "progress.h"

#include <signal.h>
#include <stdio.h>

static const CliHelp help = {
    .operands = "MODEL",
    .max_operands = 1,
    .summary =
        "Writes a model (a folder of any published layout, or a checkpoint with what is around "
        "it)\n"
        "as one folder: model.json, transformer, text encoder, decoder and tokenizer. LoRAs are\n"
        "merged, and weights have the types and the order of the device, so that the folder opens\n"
        "at the speed of the disk. Its frames are those of MODEL with the same options.",
    .description =
        "Examples:\n"
        "  lightforcing convert self_forcing_dmd.pt -o self-forcing\n"
        "  lightforcing convert wan14b.safetensors -o wan14b-fp8 --precision fp8\n"
        "  lightforcing convert longlive_base.pt --lora lora.pt -o longlive\n\n"
        "The folder appears when it is complete; when this program is interrupted, nothing is "
        "left.\n"
        "Exit status: 0 success, 1 failure (the cause is on stderr), 2 wrong arguments.\n"};

typedef struct {
    CliOptions common; /* precision, backend, text_encoder_device */
    char *output, *family, *copy, *text_encoder, *tokenizer, *decoder;
    char **loras;
    gboolean force;
} Options;

/* ---- interruption ---------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    interrupted = signal;
}

static void catch_signals(void)
{
    const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = interrupt};
    sigemptyset(&action.sa_mask);
    for (gsize i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &action, NULL);
}

static gboolean on_progress(const char *part, double done, gpointer data)
{
    cli_progress("converting", part, done);
    return !interrupted;
}

/* ---- the command ----------------------------------------------------------------------------- */

static bool model_options(const Options *o, LfModelOptions *owned, GError **error)
{
    LfModelOptions options = cli_model_options(&o->common);
    options.family = o->family;
    options.copy = o->copy;
    options.text_encoder_location = o->text_encoder;
    options.tokenizer_location = o->tokenizer;
    options.decoder_location = o->decoder;
    options.progress = on_progress;
    lf_model_options_copy(owned, &options);
    for (char **lora = o->loras; lora && *lora; lora++)
        if (!lf_model_options_add_loras(owned, *lora, error))
            return false;
    return true;
}

static int convert(const Options *o, const char *location)
{
    GError *error = NULL;
    LfModelOptions options;
    catch_signals();
    bool done = model_options(o, &options, &error) &&
                lf_model_convert(location, o->output, o->force, &options, &error);
    lf_model_options_clear(&options);
    cli_progress_end();
    if (!done)
        return cli_failed("convert", error);
    g_autofree char *missing = lf_model_missing(o->output, NULL);
    printf("%s is written%s%s\n", o->output, missing ? "; it has not all parts: " : "",
           missing ? missing : "");
    return CLI_DONE;
}

static void clear(Options *o)
{
    cli_options_clear(&o->common);
    g_free(o->output);
    g_free(o->family);
    g_free(o->copy);
    g_free(o->text_encoder);
    g_free(o->tokenizer);
    g_free(o->decoder);
    g_strfreev(o->loras);
}

static int run(const Options *o, int argc, char **argv)
{
    if (argc < 2)
        return cli_misused("convert", "name a model to convert");
    if (!o->output || !*o->output)
        return cli_misused("convert", "name the folder to write: --output DIR");
    return convert(o, argv[1]);
}

int cli_convert(int argc, char **argv)
{
    Options o = {.common = CLI_OPTIONS_INIT};
    int status;
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &o.output, "The folder to write", "DIR"},
        {"force", 'f', 0, G_OPTION_ARG_NONE, &o.force,
         "Replace a folder that this command has written", NULL},
        {"precision", 0, 0, G_OPTION_ARG_STRING, &o.common.precision,
         "What the folder is for: fp32 (a CPU), bf16, fp8, or auto (default: this machine's)",
         "NAME"},
        {"lora", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o.loras,
         "A LoRA to merge, FILE[:STRENGTH]; may be given several times", "FILE"},
        {"family", 0, 0, G_OPTION_ARG_STRING, &o.family,
         "Family whose sampling is written (see lightforcing families)", "NAME"},
        {"copy", 0, 0, G_OPTION_ARG_STRING, &o.copy,
         "Which copy of the transformer is read: generator, generator_ema …", "NAME"},
        {"text-encoder", 0, 0, G_OPTION_ARG_FILENAME, &o.text_encoder,
         "Take the text encoder from there", "PATH"},
        {"tokenizer", 0, 0, G_OPTION_ARG_FILENAME, &o.tokenizer, "Take the tokenizer from there",
         "PATH"},
        {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &o.decoder, "Take the decoder from there", "PATH"},
        {"text-encoder-device", 0, 0, G_OPTION_ARG_STRING, &o.common.text_encoder_device,
         "cpu: the text encoder will run on the CPU beside a GPU", "NAME"},
        {"backend", 'b', 0, G_OPTION_ARG_STRING, &o.common.backend,
         "Whose precision auto is: auto (default), cpu, cuda", "NAME"},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &o.common.verbose,
         "Print the log of the engine on stderr", NULL},
        {NULL}};
    if (cli_parse(&help, entries, NULL, &argc, &argv, &status) &&
        cli_check(&o.common, "convert", &status))
        status = run(&o, argc, argv);
    clear(&o);
    return status;
}
