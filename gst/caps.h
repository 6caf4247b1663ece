/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Caps of the source pad: formats, sizes and colours of the frames.
 */
#ifndef GST_LIGHT_FORCING_CAPS_H
#define GST_LIGHT_FORCING_CAPS_H

#include "engine/lightforcing.h"

#include <gst/video/video.h>

G_BEGIN_DECLS

/* Size and frame rate; 0 where they are not known. */
typedef struct {
    gint width, height;
    gint fps_n, fps_d;
} GstLightForcingVideo;

/* I420 is first: an encoder that is offered only RGB makes 4:4:4 streams, which browsers and phones
 * do not play. Sizes are multiples of 16: a latent pixel is 8 pixels wide, a patch of the
 * transformer 2 latent pixels. RGB formats are sRGB, and have no colorimetry field. */
#define GST_LIGHT_FORCING_CAPS                                                                     \
    "video/x-raw, format = (string) { I420, NV12 }, " GST_LIGHT_FORCING_GEOMETRY                   \
    ", colorimetry = (string) { bt601, bt709 }, chroma-site = (string) mpeg2; "                    \
    "video/x-raw, format = (string) { RGBA, RGBx, BGRx, BGRA, RGB, BGR "                           \
    "}, " GST_LIGHT_FORCING_GEOMETRY
#define GST_LIGHT_FORCING_SIZES "(int) [ 16, " G_STRINGIFY(LF_MAX_SIZE) ", 16 ]"
#define GST_LIGHT_FORCING_GEOMETRY                                                                 \
    "width = " GST_LIGHT_FORCING_SIZES ", height = " GST_LIGHT_FORCING_SIZES ", "                  \
    "framerate = (fraction) [ 1/1, 240/1 ], pixel-aspect-ratio = (fraction) 1/1, "                 \
    "interlace-mode = (string) progressive"

/* A copy of `template` with the known fields of `video` set. Transfer full. */
GstCaps *gst_light_forcing_caps_restrict(const GstCaps *template,
                                         const GstLightForcingVideo *video);

/* Fixates the first structure, as near to `video` as it can be. Takes the caps and returns a
 * reference, like GstBaseSrcClass.fixate. */
GstCaps *gst_light_forcing_caps_fixate(GstCaps *caps, const GstLightForcingVideo *video);

/* Points `picture` at the mapped `frame`. */
void gst_light_forcing_picture_from_frame(LfPicture *picture, const GstVideoFrame *frame);

G_END_DECLS

#endif
