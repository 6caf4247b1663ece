/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "error.h"

G_DEFINE_QUARK(lf - error - quark, lf_error)

bool lf_fail(GError **error, LfError code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_propagate_error(error, g_error_new_valist(LF_ERROR, code, format, arguments));
    va_end(arguments);
    return false;
}
