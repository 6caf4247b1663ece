/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The log of engine and kernels. Lines go to a function of the caller; the element's writes them to
 * its GStreamer debug category. No log is process-wide: the options of a model or a session have
 * one, and a backend has one.
 */
#ifndef LF_KERNELS_LOG_H
#define LF_KERNELS_LOG_H

#include <glib.h>

G_BEGIN_DECLS

/* As GStreamer's own elements use its levels. */
typedef enum {
    LF_LOG_NONE,
    LF_LOG_ERROR,   /* something failed; a GError reports it, too */
    LF_LOG_WARNING, /* work continues, but slower or with less than was requested */
    LF_LOG_INFO,    /* once in a stream: model, device, scene */
    LF_LOG_DEBUG,   /* once in a chunk, or once for each shape of an operation */
    LF_LOG_TRACE    /* more often, or what the caller is told anyway */
} LfLogLevel;

/* All-zero is a log that writes nothing. `write` may be called on any thread and must not call back
 * into the engine. `message` is one line of UTF-8 without a line break. */
typedef struct {
    void (*write)(LfLogLevel level, const char *message, gpointer data);
    gpointer data;    /* has to live as long as the object whose options had the log */
    LfLogLevel level; /* the most detailed level that is written */
} LfLog;

/* Formats and writes a line, when the log wants this level. `log` may be NULL. */
void lf_log(const LfLog *log, LfLogLevel level, const char *format, ...) G_GNUC_PRINTF(3, 4);

G_END_DECLS

#endif
