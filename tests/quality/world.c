/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "world.h"

#include <math.h>

static const double width = WORLD_WIDTH, height = WORLD_HEIGHT;

const Rgb world_colours[N_COLOURS] = {
    [RED] = {{.90f, .13f, .16f}},    [ORANGE] = {{.98f, .53f, .08f}},
    [YELLOW] = {{.98f, .86f, .14f}}, [GREEN] = {{.16f, .70f, .27f}},
    [BLUE] = {{.14f, .40f, .95f}},   [PURPLE] = {{.54f, .22f, .84f}},
    [PINK] = {{.98f, .44f, .70f}},   [WHITE] = {{.95f, .95f, .96f}}};

double world_wrap(double x, double size)
{
    return x - size * floor(x / size);
}

double world_offset(double a, double b, double size)
{
    return world_wrap(b - a + size / 2, size) - size / 2;
}

/* ---- pixels ---------------------------------------------------------------------------------- */

static void mix(Rgb *c, Rgb with, double share)
{
    for (int i = 0; i < 3; i++)
        c->c[i] += (float) ((with.c[i] - c->c[i]) * CLAMP(share, 0, 1));
}

static void light_up(Rgb *c, Rgb by, double share)
{
    for (int i = 0; i < 3; i++)
        c->c[i] += (float) (by.c[i] * share);
}

static Rgb scaled(Rgb c, double by)
{
    return (Rgb){{c.c[0] * (float) by, c.c[1] * (float) by, c.c[2] * (float) by}};
}

static void limit(Rgb *c)
{
    for (int i = 0; i < 3; i++)
        c->c[i] = CLAMP(c->c[i], 0.f, 1.f);
}

void world_to_bytes(const Image *image, uint8_t *rgb)
{
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            for (int i = 0; i < 3; i++)
                *rgb++ = (uint8_t) lrintf(255 * image->at[y][x].c[i]);
}

void world_from_bytes(Image *image, const uint8_t *rgb)
{
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            for (int i = 0; i < 3; i++)
                image->at[y][x].c[i] = *rgb++ / 255.f;
}

/* ---- backgrounds ----------------------------------------------------------------------------- */

/* From top to bottom; the plain ones end 7 % darker than they begin. */
static const struct {
    Rgb top, bottom;
} gradients[N_BACKGROUNDS] = {
    [ON_BLACK] = {{{.05f, .05f, .06f}}, {{0}}},
    [ON_WHITE] = {{{.96f, .96f, .96f}}, {{0}}},
    [ON_GRAY] = {{{.52f, .53f, .55f}}, {{0}}},
    [ON_NAVY] = {{{.07f, .10f, .34f}}, {{0}}},
    [ON_SKY] = {{{.62f, .82f, .97f}}, {{0}}},
    [ON_CREAM] = {{{.95f, .89f, .74f}}, {{0}}},
    [ON_FOREST] = {{{.05f, .27f, .14f}}, {{0}}},
    [ON_MAROON] = {{{.36f, .05f, .09f}}, {{0}}},
    [SUNSET] = {{{.36f, .16f, .46f}}, {{.99f, .60f, .25f}}},
    [OCEAN] = {{{.20f, .72f, .74f}}, {{.02f, .16f, .38f}}},
    [DAWN] = {{{.60f, .74f, .96f}}, {{.99f, .74f, .78f}}},
    [NIGHT] = {{{.02f, .03f, .12f}}, {{.13f, .09f, .28f}}},
    [MEADOW] = {{{.36f, .66f, .96f}}, {{.86f, .95f, .99f}}},
    [CHECKER] = {{{.80f, .80f, .84f}}, {{.33f, .34f, .42f}}},
};

static void draw_gradient(Image *image, int b)
{
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++) {
            Rgb c = gradients[b].top;
            double u = (x + .5) / width - .5, v = (y + .5) / height - .5;
            double vignette = 1 - .32 * (u * u + v * v);
            if (b <= ON_MAROON)
                c = scaled(c, (1 - .07 * (v + .5)) * vignette);
            else if (b == CHECKER)
                c = scaled((x / 32 + y / 32) % 2 ? c : gradients[b].bottom, vignette);
            else
                mix(&c, gradients[b].bottom, v + .5);
            image->at[y][x] = c;
        }
}

/* A sun or moon, and its glow. */
static void draw_disc(Image *image, double cx, double cy, Rgb fill, double glow, double strength)
{
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++) {
            double d = hypot(x + .5 - cx, y + .5 - cy);
            light_up(&image->at[y][x], (Rgb){{1, 1, 1}}, strength * exp(-d * d / (glow * glow)));
            mix(&image->at[y][x], fill, 13.5 - d);
        }
}

/* As Python's random.random draws: the generator is the same, the bits are taken so. */
static double uniform(GRand *rng, double low, double high)
{
    double a = g_rand_int(rng) >> 5, b = g_rand_int(rng) >> 6;
    return low + (high - low) * (a * 67108864. + b) / 9007199254740992.;
}

static void draw_night(Image *image)
{
    const guint32 seed = 7;
    GRand *rng = g_rand_new_with_seed_array(&seed, 1);
    for (int i = 0; i < 46; i++) {
        double sx = uniform(rng, 4, width - 4), sy = uniform(rng, 4, height - 4);
        double light = uniform(rng, .35, .95), size = uniform(rng, 1.0, 1.6);
        for (int y = MAX((int) sy - 8, 0); y < MIN((int) sy + 9, WORLD_HEIGHT); y++)
            for (int x = MAX((int) sx - 8, 0); x < MIN((int) sx + 9, WORLD_WIDTH); x++) {
                double dx = x + .5 - sx, dy = y + .5 - sy;
                light_up(&image->at[y][x], (Rgb){{1, 1, 1}},
                         light * exp(-(dx * dx + dy * dy) / (size * size)));
            }
    }
    g_rand_free(rng);
    draw_disc(image, 214, 30, (Rgb){{.96f, .94f, .82f}}, 26, .16);
}

static void draw_sunset(Image *image)
{
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++) {
            double d = hypot(x + .5 - 128, y + .5 - 150);
            light_up(&image->at[y][x], (Rgb){{1, .8f, .4f}}, .35 * exp(-d * d / (46. * 46)));
        }
}

static void draw_meadow(Image *image)
{
    static const struct {
        double top, wave, length, phase;
        Rgb green;
    } hills[] = {{104, 9, 43, 1, {{.45f, .76f, .36f}}}, {122, 7, 61, 3, {{.26f, .60f, .24f}}}};
    draw_disc(image, 40, 30, (Rgb){{1, .93f, .55f}}, 30, .25);
    for (int i = 0; i < 2; i++)
        for (int y = 0; y < WORLD_HEIGHT; y++)
            for (int x = 0; x < WORLD_WIDTH; x++) {
                double deep = (y + .5 - hills[i].top) / (height - hills[i].top);
                double edge =
                    hills[i].top + hills[i].wave * sin((x + .5) / hills[i].length + hills[i].phase);
                mix(&image->at[y][x], scaled(hills[i].green, 1 - .3 * MAX(deep, 0)), y + .5 - edge);
            }
}

static void draw_background(Image *image, int b)
{
    draw_gradient(image, b);
    if (b == SUNSET)
        draw_sunset(image);
    else if (b == NIGHT)
        draw_night(image);
    else if (b == MEADOW)
        draw_meadow(image);
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            limit(&image->at[y][x]);
}

const Image *world_background(int b)
{
    static Image *drawn[N_BACKGROUNDS];
    if (!drawn[b]) {
        drawn[b] = g_new0(Image, 1);
        draw_background(drawn[b], b);
    }
    return drawn[b];
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* hypot takes care of numbers that do not occur here, and of most of the time then. */
static double length_of(double x, double y)
{
    return sqrt(x * x + y * y);
}

static double square_distance(double au, double av)
{
    double x = au - .72, y = av - .72;
    return length_of(MAX(x, 0), MAX(y, 0)) + MIN(MAX(x, y), 0) - .10;
}

/* One of ten half points, in polar coordinates: the line from its tip to the inner corner. */
static double star_distance(double u, double v)
{
    const double fifth = 2 * G_PI / 5, tip = 1.12;
    const double inner_x = .5 * .80901699, inner_y = .5 * .58778525; /* at 36° */
    double normal_x = inner_y, normal_y = tip - inner_x, norm = length_of(normal_x, normal_y);
    double length = length_of(u, v), angle = world_offset(0, atan2(u, -v), fifth);
    return ((length * cos(angle) - tip) * normal_x + length * fabs(sin(angle)) * normal_y) / norm;
}

/* Two quarter circles above a corner. */
static double heart_distance(double au, double v)
{
    double x = au * .62, y = .53 - v * .62;
    if (x + y > 1)
        return (length_of(x - .25, y - .75) - .35355) / .62;
    double m = .5 * MAX(x + y, 0), d = MIN(length_of(x, y - 1), length_of(x - m, y - m));
    return (x > y ? d : -d) / .62;
}

double world_distance(int shape, double u, double v)
{
    double au = fabs(u), av = fabs(v), low = v + .12;
    switch (shape) {
    case CIRCLE:
        return length_of(u, v) - 1;
    case SQUARE:
        return square_distance(au, av);
    case TRIANGLE:
        return MAX(low, .866 * au - .5 * low) - .58;
    case STAR:
        return star_distance(u, v);
    case RING:
        return fabs(length_of(u, v) - .72) - .27;
    default:
        return heart_distance(au, v);
    }
}

/* ---- objects --------------------------------------------------------------------------------- */

/* dx, dy: from the object's centre. */
static void draw_object_at(Rgb *pixel, const Rgb *colour, double r, double d, double dx, double dy)
{
    double sx = dx - .14 * r - 3, sy = dy - .2 * r - 4, s = (sx * sx + sy * sy) / (r * r * .95 + 9);
    double cover = CLAMP(.5 - d, 0, 1), inner = CLAMP(.5 - d - MAX(.10 * r, 1.6), 0, 1);
    *pixel = scaled(*pixel, 1 - .34 * exp(-s * s));
    if (cover == 0)
        return;
    double hx = dx / r + .35, hy = dy / r + .42;
    double light = .38 * exp(-(hx * hx + hy * hy) / .16);
    Rgb fill = scaled(*colour, .5), inside;
    for (int i = 0; i < 3; i++)
        inside.c[i] =
            (float) (colour->c[i] * (1.06 - .20 * dy / r) + light * (1.05 - colour->c[i] * .4));
    limit(&inside);
    mix(&fill, inside, inner);
    mix(pixel, fill, cover);
}

void world_draw_object(Image *image, int shape, const Rgb *colour, const Pose *p)
{
    double r = p->radius, co = cos(p->angle) / r, si = sin(p->angle) / r;
    int reach_x = MIN((int) (2.2 * r) + 16, WORLD_WIDTH / 2);
    int reach_y = MIN((int) (2.2 * r) + 16, WORLD_HEIGHT / 2);
    for (int v = -reach_y; v < reach_y; v++)
        for (int u = -reach_x; u < reach_x; u++) {
            int x = (int) world_wrap(floor(p->x) + u, width);
            int y = (int) world_wrap(floor(p->y) + v, height);
            double dx = floor(p->x) + u + .5 - p->x, dy = floor(p->y) + v + .5 - p->y;
            double d = r * world_distance(shape, co * dx + si * dy, co * dy - si * dx);
            draw_object_at(&image->at[y][x], colour, r, d, dx, dy);
        }
}

/* There and back between low and high. */
static double bounced(double x, double low, double high)
{
    double span = MAX(high - low, 1), u = world_wrap(x - low, 2 * span);
    return low + (u > span ? 2 * span - u : u);
}

Pose world_pose(const Actor *a, double frame)
{
    double step = a->speed * frame, edge = a->radius + 2, turn = a->phase + step / a->orbit;
    Pose p = {a->x, a->y, a->radius, a->angle};
    int motion = a->what.motion;
    if (motion == LEFT || motion == RIGHT) {
        p.x += motion == LEFT ? -step : step;
    } else if (motion == UP || motion == DOWN) {
        p.y += motion == UP ? -step : step;
    } else if (motion == BOUNCE) {
        p.x = bounced(a->x + 1.1 * step, edge, width - edge);
        p.y = bounced(a->y + a->slope * step, edge, height - edge);
    } else if (motion == ORBIT) {
        p.x += a->orbit * (cos(turn) - cos(a->phase));
        p.y += .8 * a->orbit * (sin(turn) - sin(a->phase));
    } else if (motion == SPIN) {
        p.angle += .035 * step;
    } else if (motion == PULSE) {
        p.radius *= 1 + .3 * sin(a->phase + .09 * step);
    }
    return p;
}

static Actor new_actor(GRand *rng, const Object *what, double side)
{
    static const double radii[] = {21, 28.5, 38};
    static const double speeds[] = {1.2, 2.2, 3.6}, small_speeds[] = {1.2, 2.0, 2.8};
    Actor a = {.what = *what};
    a.x = width * (.5 + (side == 0 ? uniform(rng, -.05, .05) : side * uniform(rng, .19, .24)));
    a.y = height * (.5 + uniform(rng, -.05, .05));
    a.phase = uniform(rng, -.25, .25);
    a.orbit = uniform(rng, 33, 39);
    if (what->motion == ORBIT) {
        a.x += a.orbit * cos(a.phase);
        a.y += .8 * a.orbit * sin(a.phase);
    }
    a.speed = (what->size == SMALL ? small_speeds : speeds)[what->speed] * uniform(rng, .96, 1.04);
    a.radius = radii[what->size] * uniform(rng, .96, 1.04);
    a.slope = uniform(rng, .75, .85);
    a.angle = uniform(rng, -.05, .05);
    a.gain = uniform(rng, .95, 1.04);
    return a;
}

World world_new(GRand *rng, const Scene *scene)
{
    World w = {.n_actors = scene->n_objects, .background = scene->background};
    w.gain = uniform(rng, .95, 1.03);
    for (int i = 0; i < w.n_actors; i++)
        w.actors[i] = new_actor(rng, &scene->objects[i], w.n_actors == 1 ? 0 : 2 * i - 1);
    return w;
}

void world_draw(const World *w, double frame, Image *image)
{
    const Image *behind = world_background(w->background);
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            image->at[y][x] = scaled(behind->at[y][x], w->gain);
    for (int i = 0; i < w->n_actors; i++) {
        Pose pose = world_pose(&w->actors[i], frame);
        Rgb colour = scaled(world_colours[w->actors[i].what.colour], w->actors[i].gain);
        world_draw_object(image, w->actors[i].what.shape, &colour, &pose);
    }
    for (int y = 0; y < WORLD_HEIGHT; y++)
        for (int x = 0; x < WORLD_WIDTH; x++)
            limit(&image->at[y][x]);
}
