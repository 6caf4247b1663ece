/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the source pad offers: formats, sizes and colours of the frames.
 */
#ifndef GST_LIGHT_FORCING_CAPS_H
#define GST_LIGHT_FORCING_CAPS_H

#include "engine/lightforcing.h"

#include <gst/video/video.h>

G_BEGIN_DECLS

/* A size that is not known yet: 0 each. */
typedef struct {
    gint width, height;
    gint fps_n, fps_d;
} GstLightForcingVideo;

/* I420 stands first: an encoder that is offered RGB alone makes 4:4:4 streams of it, which browsers
 * and phones do not play. Sizes are in steps of 16 (latent pixels are 8 wide and the transformer
 * takes them by twos); the colours of RGB formats are sRGB and not spelt out. */
#define GST_LIGHT_FORCING_CAPS                                                                     \
    "video/x-raw, format = (string) { I420, NV12 }, " GST_LIGHT_FORCING_GEOMETRY                   \
    ", colorimetry = (string) { bt601, bt709 }, chroma-site = (string) mpeg2; "                    \
    "video/x-raw, format = (string) { RGBA, RGBx, BGRx, BGRA, RGB, BGR "                           \
    "}, " GST_LIGHT_FORCING_GEOMETRY
#define GST_LIGHT_FORCING_GEOMETRY                                                                 \
    "width = (int) [ 16, 8192, 16 ], height = (int) [ 16, 8192, 16 ], "                            \
    "framerate = (fraction) [ 1/1, 240/1 ], pixel-aspect-ratio = (fraction) 1/1, "                 \
    "interlace-mode = (string) progressive"

/* `template` with what is known of `video` in it. Transfer full. */
GstCaps *gst_light_forcing_caps_restrict(const GstCaps *template,
                                         const GstLightForcingVideo *video);

/* The first structure, nearest to `video`. Takes and returns caps like GstBaseSrcClass.fixate. */
GstCaps *gst_light_forcing_caps_fixate(GstCaps *caps, const GstLightForcingVideo *video);

/* Points `picture` at the mapped `frame`. */
void gst_light_forcing_picture_from_frame(LfPicture *picture, const GstVideoFrame *frame);

G_END_DECLS

#endif
