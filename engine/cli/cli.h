/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The commands of the program `lightforcing`. Each takes its own arguments, its name first, and
 * returns the exit status.
 */
#ifndef LF_CLI_CLI_H
#define LF_CLI_CLI_H

#include "engine/lightforcing.h"

#include <stdbool.h>

int cli_info(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_convert(int argc, char **argv);
int cli_families(int argc, char **argv);
int cli_replay(int argc, char **argv);
int cli_decode(int argc, char **argv);

enum {
    CLI_DONE = 0,
    CLI_FAILED = 1, /* the cause is on stderr */
    CLI_USAGE = 2   /* wrong arguments */
};

/* Options that several commands have, each with one letter and one meaning in all of them. */
typedef struct {
    char *model, *random, *backend, *precision; /* as given; NULL: not given */
    char *text_encoder_device;                  /* likewise */
    int threads;                                /* 0: one per core */
    char *attention;
    double sparsity;  /* −1: the model's; 0: dense */
    int window, sink; /* latent frames; −1: the model's; window 0: unlimited, sink 0: none */
    char *steps, *first_steps; /* lists, as given */
    double shift;              /* 0: the model's */
    int chunk;                 /* latent frames; 0: the model's */
    gboolean uniform, verbose;
} CliOptions;

#define CLI_OPTIONS_INIT                                                                           \
    {                                                                                              \
        .sparsity = -1, .window = -1, .sink = -1                                                   \
    }
void cli_options_clear(CliOptions *options);

/* What --help prints around the options. */
typedef struct {
    const char *operands; /* "DIR|FILE", or NULL */
    int max_operands;
    const char *summary, *description;
    const char *attention; /* what --attention may be; for commands with the common options */
} CliHelp;

/* Reads the options of a command and, unless `common` is NULL, the common ones. False and the
 * status when the command ends here: after --help, or when an option is unknown or a common one
 * out of range. */
bool cli_parse(const CliHelp *help, const GOptionEntry *entries, CliOptions *common, int *argc,
               char ***argv, int *status);

/* "lightforcing bench: …" on stderr; return CLI_FAILED and CLI_USAGE. cli_failed frees the
 * error. */
int cli_failed(const char *command, GError *error);
int cli_misused(const char *command, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Whether the common options are in their ranges; else the status, after a message. */
bool cli_check(const CliOptions *options, const char *command, int *status);

/* The location of the model that the options name, else of the default one. Transfer full. */
char *cli_model_location(const CliOptions *options, GError **error);

/* What the options say about a model, without a location. Valid while the options are. */
LfModelOptions cli_model_options(const CliOptions *options);

/* The model that the options name, else the default one. `planned` as in LfModelOptions, or NULL. */
LfModel *cli_open_model(const CliOptions *options, const LfSessionOptions *planned, GError **error);

/* What the common options say about a session. The only place that turns their sentinels, which
 * are those of the element's properties, into the engine's. */
LfSessionOptions cli_session_options(const CliOptions *options);

/* What the model's sampling becomes with the common options: chunk, steps, first_steps and shift of
 * the result. The rest is the model's. */
LfModelInfo cli_stream_info(const CliOptions *options, const LfModel *model);

#endif
