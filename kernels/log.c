/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

void lf_log(const LfLog *log, LfLogLevel level, const char *format, ...)
{
    if (!log || !log->write || level > log->level)
        return;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    log->write(level, message, log->data);
}
