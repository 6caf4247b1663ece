/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkops.h"

#include <math.h>
#include <string.h>

static const struct {
    LfPixelFormat format;
    int n_planes;
    int red, green, blue, step; /* of packed ones */
    const char *name;
} formats[] = {
    {LF_PIXELS_RGB, 1, 0, 1, 2, 3, "RGB"},   {LF_PIXELS_BGR, 1, 2, 1, 0, 3, "BGR"},
    {LF_PIXELS_RGBX, 1, 0, 1, 2, 4, "RGBx"}, {LF_PIXELS_BGRX, 1, 2, 1, 0, 4, "BGRx"},
    {LF_PIXELS_I420, 3, 0, 0, 0, 0, "I420"}, {LF_PIXELS_NV12, 2, 0, 0, 0, 0, "NV12"},
};

static bool is_packed(LfPixelFormat format)
{
    return format != LF_PIXELS_I420 && format != LF_PIXELS_NV12;
}

/* Kr, Kb of the two recommendations. */
static const double luma_red[] = {0.299, 0.2126}, luma_blue[] = {0.114, 0.0722};

static double luma(LfMatrix m, const double *rgb)
{
    return luma_red[m] * rgb[0] + (1.0 - luma_red[m] - luma_blue[m]) * rgb[1] +
           luma_blue[m] * rgb[2];
}

/* Wanted Y, U, V (0, 1, 2) before rounding, of the sample at (y, x) of its own plane. */
static double wanted(const LfPicture *p, const uint8_t *rgb, int plane, int y, int x)
{
    double mean[3] = {0};
    static const double across[] = {0.25, 0.5, 0.25};
    for (int dy = 0; dy < 2; dy++)
        for (int dx = -1; dx < 2; dx++) {
            int row = plane ? 2 * y + dy : y, column = plane ? MAX(2 * x + dx, 0) : x;
            for (int c = 0; c < 3; c++)
                mean[c] += 0.5 * across[dx + 1] * rgb[3 * (row * p->width + column) + c] / 255.0;
        }
    double l = luma(p->matrix, mean);
    if (plane == 0)
        return 16.0 + 219.0 * l;
    if (plane == 1)
        return 128.0 + 224.0 * (mean[2] - l) / (2.0 * (1.0 - luma_blue[p->matrix]));
    return 128.0 + 224.0 * (mean[0] - l) / (2.0 * (1.0 - luma_red[p->matrix]));
}

/* Rounded to nearest; either neighbour when the value is half-way between them. */
static void expect_rounded(uint8_t value, double want)
{
    g_assert_cmpfloat(fabs(value - want), <=, 0.5 + 1e-9);
}

static void expect_planar(const LfPicture *p, const uint8_t *rgb)
{
    bool nv12 = p->format == LF_PIXELS_NV12;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++)
            expect_rounded(p->planes[0][y * p->strides[0] + x], wanted(p, rgb, 0, y, x));
    for (int y = 0; y < p->height / 2; y++)
        for (int x = 0; x < p->width / 2; x++)
            for (int plane = 1; plane < 3; plane++) {
                const uint8_t *at = nv12 ? p->planes[1] + y * p->strides[1] + 2 * x + plane - 1
                                         : p->planes[plane] + y * p->strides[plane] + x;
                expect_rounded(*at, wanted(p, rgb, plane, y, x));
            }
}

static void expect_packed(const LfPicture *p, const uint8_t *rgb, int kind)
{
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++, rgb += 3) {
            const uint8_t *at = p->planes[0] + y * p->strides[0] + formats[kind].step * x;
            g_assert_cmpint(at[formats[kind].red], ==, rgb[0]);
            g_assert_cmpint(at[formats[kind].green], ==, rgb[1]);
            g_assert_cmpint(at[formats[kind].blue], ==, rgb[2]);
            if (formats[kind].step == 4)
                g_assert_cmpint(at[3], ==, 255);
        }
}

/* Bytes of a line that belong to the picture, and its lines. */
static int line_size(const LfPicture *p, int kind, int plane)
{
    if (is_packed(p->format))
        return p->width * formats[kind].step;
    return plane == 0 || p->format == LF_PIXELS_NV12 ? p->width : p->width / 2;
}

static int n_lines(const LfPicture *p, int plane)
{
    return plane ? p->height / 2 : p->height;
}

/* The bytes between lines keep the poison, 0xff. */
static void expect_padding(const LfPicture *p, int kind)
{
    for (int plane = 0; plane < formats[kind].n_planes; plane++)
        for (int y = 0; y < n_lines(p, plane); y++)
            for (int x = line_size(p, kind, plane); x < p->strides[plane]; x++)
                g_assert_cmpint(p->planes[plane][y * p->strides[plane] + x], ==, 0xff);
}

static void pixels_case(LfBackend *be, int kind, LfMatrix matrix, int width, int height)
{
    LfPicture p = {
        .format = formats[kind].format, .matrix = matrix, .width = width, .height = height};
    LfTensor rgb = input(LF_U8, height, width, 3);
    let_change(rgb);
    bool extreme = random_size(3) == 1;
    for (int64_t i = 0; i < lf_tensor_count(rgb); i++)
        lf_u8(rgb)[i] = (uint8_t) (extreme ? 255 * (random_size(2) - 1) : random_size(256) - 1);
    for (int plane = 0; plane < formats[kind].n_planes; plane++) {
        p.strides[plane] = line_size(&p, kind, plane) + (int) random_size(40) - 1;
        p.planes[plane] = lf_u8(output(LF_U8, n_lines(&p, plane), p.strides[plane]));
    }
    GError *error = NULL;
    bool done = lf_pixels(be, &p, rgb, &error);
    g_assert_no_error(error);
    g_assert_true(done);
    if (is_packed(p.format))
        expect_packed(&p, lf_u8(rgb), kind);
    else
        expect_planar(&p, lf_u8(rgb));
    expect_padding(&p, kind);
    settle(be);
}

static void check_pixels(LfBackend *be)
{
    for (int kind = 0; kind < (int) G_N_ELEMENTS(formats); kind++)
        for (LfMatrix matrix = LF_MATRIX_BT601; matrix <= LF_MATRIX_BT709; matrix++) {
            pixels_case(be, kind, matrix, 2, 2);
            for (int i = 0; i < 6; i++)
                pixels_case(be, kind, matrix, 2 * (int) random_odd(45), 2 * (int) random_odd(9));
            pixels_case(be, kind, matrix, 256, 160);
        }
}

static void bench_pixels(LfBackend *be)
{
    LfTensor rgb = input(LF_U8, 480, 832, 3), out = output(LF_U8, 480 * 832 * 4);
    for (int kind = 0; kind < (int) G_N_ELEMENTS(formats); kind++) {
        LfPicture p = {
            .format = formats[kind].format, .matrix = LF_MATRIX_BT709, .width = 832, .height = 480};
        double size = 3.0 * 480 * 832;
        for (int plane = 0; plane < formats[kind].n_planes; plane++) {
            p.strides[plane] = line_size(&p, kind, plane);
            p.planes[plane] = lf_u8(out) + 480 * 832 * plane;
            size += (double) p.strides[plane] * n_lines(&p, plane);
        }
        BENCH(be, formats[kind].name, 0, size)
        lf_pixels(be, &p, rgb, NULL);
    }
    settle(be);
}

const CheckOp pixels_ops[] = {CHECK_OP(pixels), {0}};
