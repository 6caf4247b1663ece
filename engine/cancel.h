/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A wish to stop, read between layers while another thread may set it. NULL: nobody can ask.
 */
#ifndef LF_ENGINE_CANCEL_H
#define LF_ENGINE_CANCEL_H

#include <glib.h>
#include <stdbool.h>

static inline bool lf_is_cancelled(const int *cancelled)
{
    return cancelled && g_atomic_int_get(cancelled);
}

#endif
