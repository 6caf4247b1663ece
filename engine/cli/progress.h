/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One line on stderr that tells how far a long work has come, where stderr is a terminal.
 */
#ifndef LF_CLI_PROGRESS_H
#define LF_CLI_PROGRESS_H

#include <stdbool.h>

/* Shows "WORK PART 42 %" in place of the line before; at most ten times a second, but always the end. */
void cli_progress(const char *work, const char *part, double done);

/* Clears the line: before anything else is printed. */
void cli_progress_end(void);

#endif
