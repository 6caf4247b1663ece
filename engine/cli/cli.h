/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The commands of the program `lightforcing`. Each takes its own arguments, its name first, and
 * returns the exit status: 0, 1 when something failed (said on stderr), 2 for wrong arguments.
 */
#ifndef LF_CLI_CLI_H
#define LF_CLI_CLI_H

#include "engine/lightforcing.h"

int cli_info(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_replay(int argc, char **argv);

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* Reads the options. FALSE and the status when the command ends here: wrong ones, or --help. At
 * most `n_operands` arguments may remain in argv; `operands` names them in the help. */
gboolean cli_parse(const GOptionEntry *entries, const char *operands, const char *summary,
                   int n_operands, int *argc, char ***argv, int *status);

/* "lightforcing bench: …" on stderr; returns CLI_FAILED or CLI_USAGE. Frees the error. */
int cli_failed(const char *command, GError *error);
int cli_misused(const char *command, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* "dense", "sparse", "auto". FALSE: none of these. */
gboolean cli_attention(const char *word, LfAttention *attention);

/* "auto", "fp32", "bf16", "fp8"; and the other way. */
gboolean cli_precision(const char *word, LfPrecision *precision);
const char *cli_precision_name(LfPrecision precision);

/* The model at `location`, or the default one for NULL. */
LfModel *cli_open_model(const char *location, const LfModelOptions *options, GError **error);

#endif
