/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * RGB to the pixel formats of video, exactly rounded to nearest: the coefficients of the matrices
 * are ratios of integers, and no sum exceeds 32 bits.
 */
#include "cpu.h"
#include "simd/dense.h"

#include <string.h>

/* BT.601-7 section 2.5.1, BT.709-6 section 3.2. */
static const LfLuma matrices[] = {
    [LF_MATRIX_BT601] = {299, 587, 114, 1000},
    [LF_MATRIX_BT709] = {2126, 7152, 722, 10000},
};

/* 16 + 219·Y/255 */
static uint8_t luma(const LfLuma *m, const uint8_t *rgb)
{
    int32_t y = 219 * (m->red * rgb[0] + m->green * rgb[1] + m->blue * rgb[2]);
    int32_t unit = 255 * m->one;
    return (uint8_t) (16 + (y + unit / 2) / unit);
}

/* 128 + 112·(c − Y)/(one − weight of c)/255 for one colour c. `same` is the sum of c over the eight
 * weights of a chroma sample, y that of Y. */
static uint8_t chroma(const LfLuma *m, int32_t weight, int32_t same, int32_t y)
{
    int32_t unit = 255 * (m->one - weight);
    return (uint8_t) ((128 * unit + 14 * (m->one * same - y) + unit / 2) / unit);
}

static void luma_line(const LfLuma *m, uint8_t *dst, const uint8_t *rgb, int width)
{
    for (int x = 0; x < width; x++)
        dst[x] = luma(m, rgb + 3 * x);
}

static void chroma_line(const LfLuma *m, uint8_t *u, uint8_t *v, int step, const uint8_t *top,
                        const uint8_t *bottom, int width)
{
    for (int x = 0; x + 1 < width; x += 2, u += step, v += step) {
        int left = 3 * MAX(x - 1, 0), here = 3 * x, right = here + 3;
        int32_t sum[3];
        for (int c = 0; c < 3; c++)
            sum[c] = top[left + c] + 2 * top[here + c] + top[right + c] + bottom[left + c] +
                     2 * bottom[here + c] + bottom[right + c];
        int32_t y = m->red * sum[0] + m->green * sum[1] + m->blue * sum[2];
        *u = chroma(m, m->blue, sum[2], y);
        *v = chroma(m, m->red, sum[0], y);
    }
}

static const LfYuvLines yuv_lines_c = {luma_line, chroma_line};

static void planar(const LfYuvLines *lines, const LfPicture *p, const uint8_t *rgb)
{
    const LfLuma *m = &matrices[p->matrix];
    bool nv12 = p->format == LF_PIXELS_NV12;
    uint8_t *u = p->planes[1], *v = nv12 ? p->planes[1] + 1 : p->planes[2];
    int v_stride = nv12 ? p->strides[1] : p->strides[2];
    size_t line = 3 * (size_t) p->width;
    for (int y = 0; y < p->height; y++)
        lines->luma(m, p->planes[0] + (ptrdiff_t) y * p->strides[0], rgb + (size_t) y * line,
                    p->width);
    for (int y = 0; y + 1 < p->height; y += 2)
        lines->chroma(m, u + (ptrdiff_t) (y / 2) * p->strides[1],
                      v + (ptrdiff_t) (y / 2) * v_stride, nv12 ? 2 : 1, rgb + (size_t) y * line,
                      rgb + (size_t) (y + 1) * line, p->width);
}

static void packed_line(uint8_t *dst, const uint8_t *rgb, int width, int red, int step)
{
    for (int x = 0; x < width; x++, dst += step, rgb += 3) {
        dst[red] = rgb[0];
        dst[1] = rgb[1];
        dst[2 - red] = rgb[2];
        if (step == 4)
            dst[3] = 255;
    }
}

static void packed(const LfPicture *p, const uint8_t *rgb)
{
    int red = p->format == LF_PIXELS_BGR || p->format == LF_PIXELS_BGRX ? 2 : 0;
    int step = p->format == LF_PIXELS_RGBX || p->format == LF_PIXELS_BGRX ? 4 : 3;
    size_t line = 3 * (size_t) p->width;
    for (int y = 0; y < p->height; y++) {
        uint8_t *dst = p->planes[0] + (ptrdiff_t) y * p->strides[0];
        if (p->format == LF_PIXELS_RGB)
            memcpy(dst, rgb + (size_t) y * line, line);
        else
            packed_line(dst, rgb + (size_t) y * line, p->width, red, step);
    }
}

static void convert(const LfYuvLines *lines, const LfPicture *picture, LfTensor rgb)
{
    if (picture->format == LF_PIXELS_I420 || picture->format == LF_PIXELS_NV12)
        planar(lines, picture, lf_u8(rgb));
    else
        packed(picture, lf_u8(rgb));
}

/* ---- the table ------------------------------------------------------------------------------- */

#define OPERATIONS(isa, lines)                                                                     \
    static bool pixels_##isa(LfBackend *be, const LfPicture *picture, LfTensor rgb,                \
                             GError **error)                                                       \
    {                                                                                              \
        convert(&lines, picture, rgb);                                                             \
        return true;                                                                               \
    }

OPERATIONS(c, yuv_lines_c)
LF_ON_X86(OPERATIONS(avx2, lf_yuv_lines_avx2) OPERATIONS(avx512, lf_yuv_lines_avx512))

void lf_cpu_pixels_init(LfOps *ops, LfCpuIsa isa)
{
    LF_SET_VERSIONS(ops->pixels, pixels, isa);
}
