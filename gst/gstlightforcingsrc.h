/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GST_LIGHT_FORCING_SRC_H
#define GST_LIGHT_FORCING_SRC_H

#include <gst/base/gstpushsrc.h>

G_BEGIN_DECLS

#define GST_TYPE_LIGHT_FORCING_SRC (gst_light_forcing_src_get_type())
G_DECLARE_FINAL_TYPE(GstLightForcingSrc, gst_light_forcing_src, GST, LIGHT_FORCING_SRC, GstPushSrc)

GST_ELEMENT_REGISTER_DECLARE(lightforcingsrc)

G_END_DECLS

#endif
