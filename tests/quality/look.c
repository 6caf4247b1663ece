/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "look.h"

#include <math.h>
#include <string.h>

enum {
    N_PIXELS = WORLD_WIDTH * WORLD_HEIGHT,
    SMALLEST = 90 /* pixels; the smallest object there is, at its smallest, has 300 */
};

static float distance(const Rgb *a, const Rgb *b)
{
    float x = a->c[0] - b->c[0], y = a->c[1] - b->c[1], z = a->c[2] - b->c[2];
    return sqrtf(x * x + y * y + z * z);
}

/* ---- background ------------------------------------------------------------------------------ */

/* The mean difference, where no pixel counts for more than 0.3: objects cover a part of it. */
static double difference(const Image *image, const Image *behind)
{
    double sum = 0;
    for (int y = 0; y < WORLD_HEIGHT; y += 2)
        for (int x = 0; x < WORLD_WIDTH; x += 2)
            sum += MIN(distance(&image->at[y][x], &behind->at[y][x]), .3f);
    return sum;
}

int look_background(const Image *image)
{
    int best = 0;
    double least = INFINITY;
    for (int b = 0; b < N_BACKGROUNDS; b++) {
        double d = difference(image, world_background(b));
        if (d < least) {
            least = d;
            best = b;
        }
    }
    return best;
}

/* The median over all pixels, in each channel: objects cover less than half of the frame. */
static Rgb find_tint(const Image *image, const Image *behind)
{
    enum { BINS = 256 };
    Rgb tint;
    for (int i = 0; i < 3; i++) {
        int histogram[BINS] = {0}, bin = 0, n = 0;
        for (int y = 0; y < WORLD_HEIGHT; y++)
            for (int x = 0; x < WORLD_WIDTH; x++) {
                float d = image->at[y][x].c[i] - behind->at[y][x].c[i];
                histogram[CLAMP((int) lrintf(d * 1000) + BINS / 2, 0, BINS - 1)]++;
            }
        while (n + histogram[bin] < N_PIXELS / 2)
            n += histogram[bin++];
        tint.c[i] = CLAMP((float) (bin - BINS / 2) / 1000, -.08f, .08f);
    }
    return tint;
}

/* How far a pixel is from a colour and all darker shades of it, as shadows have them. */
static float residual(const Rgb *pixel, Rgb behind, const Rgb *tint)
{
    float dot = 0, square = 1e-6f;
    for (int i = 0; i < 3; i++) {
        behind.c[i] = MAX(behind.c[i] + tint->c[i], 0.f);
        dot += pixel->c[i] * behind.c[i];
        square += behind.c[i] * behind.c[i];
    }
    float k = CLAMP(dot / square, .62f, 1.04f);
    Rgb shaded = {{behind.c[0] * k, behind.c[1] * k, behind.c[2] * k}};
    return distance(pixel, &shaded);
}

/* Edges of the background may stand a pixel away from where they are drawn. */
static gboolean stands_out(const Rgb *pixel, const Image *behind, int x, int y, const Rgb *tint)
{
    const float enough = .10f;
    if (residual(pixel, behind->at[y][x], tint) < enough)
        return FALSE;
    for (int v = MAX(y - 1, 0); v <= MIN(y + 1, WORLD_HEIGHT - 1); v++)
        for (int u = MAX(x - 1, 0); u <= MIN(x + 1, WORLD_WIDTH - 1); u++)
            if (residual(pixel, behind->at[v][u], tint) < enough)
                return FALSE;
    return TRUE;
}

/* ---- regions --------------------------------------------------------------------------------- */

enum { OUTSIDE = 0, UNSEEN = 255, DROPPED = 254 };

/* Pixels of one part, in the order found, unrolled from the torus. */
typedef struct {
    int n;
    short x[N_PIXELS], y[N_PIXELS];
} Part;

/* All that can be reached over gaps of at most one pixel. */
static void flood(Look *look, int x, int y, Part *part)
{
    part->n = 0;
    part->x[part->n] = (short) x;
    part->y[part->n++] = (short) y;
    look->label[y][x] = DROPPED;
    for (int i = 0; i < part->n; i++)
        for (int dy = -2; dy <= 2; dy++)
            for (int dx = -2; dx <= 2; dx++) {
                int u = part->x[i] + dx, v = part->y[i] + dy;
                uint8_t *l = &look->label[(v + 8 * WORLD_HEIGHT) % WORLD_HEIGHT]
                                         [(u + 8 * WORLD_WIDTH) % WORLD_WIDTH];
                if (*l != UNSEEN || abs(u) > 4 * WORLD_WIDTH || abs(v) > 4 * WORLD_HEIGHT)
                    continue;
                *l = DROPPED;
                part->x[part->n] = (short) u;
                part->y[part->n++] = (short) v;
            }
}

/* Objects are shaded: their colour counts at any brightness near its own. */
static int nearest_colour(const Rgb *pixel)
{
    int best = -1;
    float least = .25f;
    for (int i = 0; i < N_COLOURS; i++)
        for (float shade = .85f; shade < 1.3f; shade += .1f) {
            Rgb c = world_colours[i];
            for (int k = 0; k < 3; k++)
                c.c[k] = MIN(c.c[k] * shade, 1.f);
            float d = distance(pixel, &c);
            if (d < least) {
                least = d;
                best = i;
            }
        }
    return best;
}

/* That of most of its pixels; highlights and outlines are few. */
static int colour_of(const Image *image, const Part *part)
{
    int votes[N_COLOURS] = {0}, best = -1, most = part->n / 8;
    for (int i = 0; i < part->n; i++) {
        int x = (part->x[i] + 8 * WORLD_WIDTH) % WORLD_WIDTH;
        int y = (part->y[i] + 8 * WORLD_HEIGHT) % WORLD_HEIGHT;
        int colour = nearest_colour(&image->at[y][x]);
        if (colour >= 0)
            votes[colour]++;
    }
    for (int i = 0; i < N_COLOURS; i++)
        if (votes[i] > most) {
            most = votes[i];
            best = i;
        }
    return best;
}

static Region region_of(const Image *image, const Part *part)
{
    Region r = {.area = part->n, .colour = colour_of(image, part)};
    double x = 0, y = 0;
    for (int i = 0; i < part->n; i++) {
        x += part->x[i] + .5;
        y += part->y[i] + .5;
    }
    x /= part->n;
    y /= part->n;
    for (int i = 0; i < part->n; i++) {
        r.reach_x = MAX(r.reach_x, fabs(part->x[i] + .5 - x));
        r.reach_y = MAX(r.reach_y, fabs(part->y[i] + .5 - y));
    }
    r.x = world_wrap(x, WORLD_WIDTH);
    r.y = world_wrap(y, WORLD_HEIGHT);
    return r;
}

static void relabel(Look *look, uint8_t from, uint8_t to)
{
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            if (look->label[y][x] == from)
                look->label[y][x] = to;
}

/* Into its place by size; the smallest leaves when there is no room. */
static void add_region(Look *look, const Region *region, const Part *part)
{
    int i = look->n_regions;
    if (i == MAX_REGIONS) {
        if (region->area <= look->regions[i - 1].area)
            return;
        relabel(look, (uint8_t) i--, DROPPED);
    } else {
        look->n_regions++;
    }
    for (; i > 0 && look->regions[i - 1].area < region->area; i--) {
        look->regions[i] = look->regions[i - 1];
        relabel(look, (uint8_t) i, (uint8_t) (i + 1));
    }
    look->regions[i] = *region;
    for (int k = 0; k < part->n; k++)
        look->label[(part->y[k] + 8 * WORLD_HEIGHT) % WORLD_HEIGHT]
                   [(part->x[k] + 8 * WORLD_WIDTH) % WORLD_WIDTH] = (uint8_t) (i + 1);
}

static void find_regions(const Image *image, Look *look)
{
    Part *part = g_new(Part, 1);
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            if (look->label[y][x] == UNSEEN) {
                flood(look, x, y, part);
                Region region = region_of(image, part);
                if (part->n >= SMALLEST)
                    add_region(look, &region, part);
            }
    g_free(part);
    while (look->n_regions > 1 &&
           look->regions[look->n_regions - 1].area < .15 * look->regions[0].area)
        relabel(look, (uint8_t) look->n_regions--, DROPPED);
    relabel(look, DROPPED, OUTSIDE);
}

void look_at(const Image *image, int background, Look *look)
{
    const Image *behind = world_background(background);
    memset(look, 0, sizeof *look);
    look->background = background;
    look->tint = find_tint(image, behind);
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            look->label[y][x] =
                stands_out(&image->at[y][x], behind, x, y, &look->tint) ? UNSEEN : OUTSIDE;
    find_regions(image, look);
}
