/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The error domain of engine and kernels. A message names what failed and what to do.
 */
#ifndef LF_KERNELS_ERROR_H
#define LF_KERNELS_ERROR_H

#include <glib.h>
#include <stdbool.h>

G_BEGIN_DECLS

typedef enum {
    LF_ERROR_NOT_FOUND,   /* a file or directory does not exist */
    LF_ERROR_READ,        /* it exists and cannot be read: permission, short read */
    LF_ERROR_WRITE,       /* it cannot be written: permission, no space */
    LF_ERROR_FORMAT,      /* a file's contents are invalid: header, pickle, JSON */
    LF_ERROR_SHAPE,       /* a tensor is missing, or its shape or type is wrong */
    LF_ERROR_CONFIG,      /* settings that contradict each other or are out of range */
    LF_ERROR_UNSUPPORTED, /* valid, but this build or backend cannot do it */
    LF_ERROR_MEMORY,      /* no host or device memory; the message names the size */
    LF_ERROR_DEVICE,      /* driver or device missing, too old, or a launch failed */
    LF_ERROR_TEXT,        /* a prompt that cannot be used: invalid UTF-8, too long */
    LF_ERROR_CANCELLED    /* the caller asked to stop */
} LfError;

#define LF_ERROR (lf_error_quark())
GQuark lf_error_quark(void);

/* Sets `error` of the domain LF_ERROR, as g_set_error does, and returns false, so that a function
 * can end with `return lf_fail(error, …)`. `error` may be NULL. */
bool lf_fail(GError **error, LfError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

G_END_DECLS

#endif
