/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A flag that cancels work: read between layers while another thread may set it. NULL: never set.
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
