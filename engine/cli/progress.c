/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"

#include <glib.h>
#include <stdio.h>
#include <unistd.h>

#define PERIOD (G_USEC_PER_SEC / 10)

static bool shown;

void cli_progress(const char *work, const char *part, double done)
{
    static gint64 last;
    gint64 now = g_get_monotonic_time();
    if (!isatty(STDERR_FILENO) || (shown && done < 1 && now - last < PERIOD))
        return;
    last = now;
    shown = true;
    fprintf(stderr, "\r\033[K%s %s %3.0f %%", work, part, 100 * CLAMP(done, 0, 1));
    fflush(stderr);
}

void cli_progress_end(void)
{
    if (shown)
        fputs("\r\033[K", stderr);
    shown = false;
}
