/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "caps.h"

/* Players take video of up to this height for BT.601 when nothing says otherwise. */
#define BT601_LINES 576

GstCaps *gst_light_forcing_caps_restrict(const GstCaps *template, const GstLightForcingVideo *video)
{
    GstCaps *caps = gst_caps_copy(template);
    if (video->fps_n)
        gst_caps_set_simple(caps, "framerate", GST_TYPE_FRACTION, video->fps_n, video->fps_d, NULL);
    if (video->width)
        gst_caps_set_simple(caps, "width", G_TYPE_INT, video->width, "height", G_TYPE_INT,
                            video->height, NULL);
    return caps;
}

static void fixate_colorimetry(GstStructure *structure)
{
    gint height = 0;
    if (!gst_structure_has_field(structure, "colorimetry"))
        return;
    gst_structure_get_int(structure, "height", &height);
    gst_structure_fixate_field_string(structure, "colorimetry",
                                      height <= BT601_LINES ? GST_VIDEO_COLORIMETRY_BT601
                                                            : GST_VIDEO_COLORIMETRY_BT709);
}

GstCaps *gst_light_forcing_caps_fixate(GstCaps *caps, const GstLightForcingVideo *video)
{
    caps = gst_caps_truncate(gst_caps_make_writable(caps));
    GstStructure *structure = gst_caps_get_structure(caps, 0);
    gst_structure_fixate_field_nearest_int(structure, "width", video->width);
    gst_structure_fixate_field_nearest_int(structure, "height", video->height);
    gst_structure_fixate_field_nearest_fraction(structure, "framerate", video->fps_n, video->fps_d);
    fixate_colorimetry(structure);
    return gst_caps_fixate(caps);
}

static LfPixelFormat pixel_format(GstVideoFormat format)
{
    switch (format) {
    case GST_VIDEO_FORMAT_I420:
        return LF_PIXELS_I420;
    case GST_VIDEO_FORMAT_NV12:
        return LF_PIXELS_NV12;
    case GST_VIDEO_FORMAT_RGBA:
    case GST_VIDEO_FORMAT_RGBx:
        return LF_PIXELS_RGBX;
    case GST_VIDEO_FORMAT_BGRA:
    case GST_VIDEO_FORMAT_BGRx:
        return LF_PIXELS_BGRX;
    case GST_VIDEO_FORMAT_BGR:
        return LF_PIXELS_BGR;
    default: /* the only other one in the template */
        return LF_PIXELS_RGB;
    }
}

void gst_light_forcing_picture_from_frame(LfPicture *picture, const GstVideoFrame *frame)
{
    *picture = (LfPicture){.format = pixel_format(GST_VIDEO_FRAME_FORMAT(frame)),
                           .matrix = frame->info.colorimetry.matrix == GST_VIDEO_COLOR_MATRIX_BT709
                                         ? LF_MATRIX_BT709
                                         : LF_MATRIX_BT601,
                           .width = GST_VIDEO_FRAME_WIDTH(frame),
                           .height = GST_VIDEO_FRAME_HEIGHT(frame)};
    for (guint i = 0; i < GST_VIDEO_FRAME_N_PLANES(frame); i++) {
        picture->planes[i] = GST_VIDEO_FRAME_PLANE_DATA(frame, i);
        picture->strides[i] = GST_VIDEO_FRAME_PLANE_STRIDE(frame, i);
    }
}
