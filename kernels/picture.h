/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The destination of one decoded frame: memory, in host or device, and pixel format of the caller.
 */
#ifndef LF_KERNELS_PICTURE_H
#define LF_KERNELS_PICTURE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    LF_PIXELS_RGB, /* packed, 3 bytes per pixel */
    LF_PIXELS_BGR,
    LF_PIXELS_RGBX, /* packed, 4 bytes per pixel; the fourth byte (X or alpha) is written as 255 */
    LF_PIXELS_BGRX,
    LF_PIXELS_I420, /* planes Y, U, V; chroma halved in both directions */
    LF_PIXELS_NV12  /* planes Y, UV interleaved */
} LfPixelFormat;

/* Y'CbCr matrix. Limited range (Y 16…235, C 16…240). Chroma siting is MPEG-2's for both matrices:
 * horizontally on the left luma sample, vertically between two lines. */
typedef enum { LF_MATRIX_BT601, LF_MATRIX_BT709 } LfMatrix;

/* Where the planes lie. DEVICE is memory of the device that the model runs on, so that an encoder
 * there reads the picture without a copy to the host; on the CPU both are the same. */
typedef enum { LF_MEMORY_HOST, LF_MEMORY_DEVICE } LfPictureMemory;

typedef struct {
    LfPixelFormat format;
    LfMatrix matrix; /* read for I420 and NV12 only */
    int width, height;
    uint8_t *planes[3];
    int strides[3];         /* bytes from a line to the next */
    LfPictureMemory memory; /* of the planes */
} LfPicture;

#endif
