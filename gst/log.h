/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The debug category of the element. Engine and kernels write into it, too.
 */
#ifndef GST_LIGHT_FORCING_LOG_H
#define GST_LIGHT_FORCING_LOG_H

#include "engine/lightforcing.h"

#include <gst/gst.h>

G_BEGIN_DECLS

GST_DEBUG_CATEGORY_EXTERN(gst_light_forcing_debug);

void gst_light_forcing_log_init(void);

/* A log that writes into the category, with the threshold that the category has now. Valid for as
 * long as the program runs. */
LfLog gst_light_forcing_log(void);

G_END_DECLS

#endif
