/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fit.h"

#include <math.h>

enum { MAX_POINTS = 4096 };

/* A grid over the region and its surroundings; x, y from its centroid. */
typedef struct {
    int n, n_inside;
    float x[MAX_POINTS], y[MAX_POINTS];
    uint8_t inside[MAX_POINTS];
} Points;

double fit_period(int shape)
{
    static const double parts[N_SHAPES] = {[SQUARE] = 4, [TRIANGLE] = 3, [STAR] = 5, [HEART] = 1};
    return parts[shape] > 0 ? 2 * G_PI / parts[shape] : 0;
}

/* Only the triangle's is not where its distance field has its origin. */
Pose fit_middle(const Fit *fit, int shape)
{
    Pose p = fit->pose[shape];
    double v = shape == TRIANGLE ? -.12 * p.radius : 0;
    p.x -= sin(p.angle) * v;
    p.y += cos(p.angle) * v;
    return p;
}

static void sample(const Look *look, int region, Points *points)
{
    const Region *r = &look->regions[region];
    double reach_x = MIN(r->reach_x * 1.3 + 3, WORLD_WIDTH / 2.);
    double reach_y = MIN(r->reach_y * 1.3 + 3, WORLD_HEIGHT / 2.);
    double step = MAX(sqrt(4 * reach_x * reach_y / 1200), 1);
    points->n = points->n_inside = 0;
    for (double y = -reach_y; y <= reach_y; y += step)
        for (double x = -reach_x; x <= reach_x && points->n < MAX_POINTS; x += step) {
            int u = (int) world_wrap(r->x + x, WORLD_WIDTH) % WORLD_WIDTH;
            int v = (int) world_wrap(r->y + y, WORLD_HEIGHT) % WORLD_HEIGHT;
            uint8_t inside = look->label[v][u] == region + 1;
            points->x[points->n] = (float) x;
            points->y[points->n] = (float) y;
            points->inside[points->n++] = inside;
            points->n_inside += inside;
        }
}

static double overlap(const Points *points, int shape, const Pose *p)
{
    double co = cos(p->angle) / p->radius, si = sin(p->angle) / p->radius;
    int both = 0, covered = 0;
    for (int i = 0; i < points->n; i++) {
        double x = points->x[i] - p->x, y = points->y[i] - p->y;
        if (world_distance(shape, co * x + si * y, co * y - si * x) < 0) {
            covered++;
            both += points->inside[i];
        }
    }
    return (double) both / (points->n_inside + covered - both);
}

/* Area and centroid of the shapes of radius 1; all are symmetric to the left and right. */
typedef struct {
    double area, y;
} Measure;

static Measure measured(int shape)
{
    Measure m = {0};
    const double step = .01;
    for (double v = -1.6; v < 1.6; v += step)
        for (double u = -1.6; u < 1.6; u += step)
            if (world_distance(shape, u, v) < 0) {
                m.area += step * step;
                m.y += v * step * step;
            }
    m.y /= m.area;
    return m;
}

/* Area and centroid of the shapes of radius 1; all are symmetric to the left and right. */
static const Measure *measure(int shape)
{
    static Measure all[N_SHAPES];
    if (all[shape].area == 0)
        all[shape] = measured(shape);
    return &all[shape];
}

/* The pose in which the shape, turned by `angle`, has the region's area and centroid. */
static Pose pose_at(const Region *r, int shape, double angle)
{
    double radius = sqrt(r->area / measure(shape)->area), y = measure(shape)->y * radius;
    return (Pose){.x = sin(angle) * y, .y = -cos(angle) * y, .radius = radius, .angle = angle};
}

/* Small steps in each direction, as long as they help. */
static double refine(const Points *points, int shape, Pose *pose, double best)
{
    for (double step = 1; step > .2; step /= 2)
        for (int i = 0; i < 8; i++) {
            Pose p = *pose;
            double way = i % 2 ? step : -step;
            p.x += i / 2 == 0 ? way : 0;
            p.y += i / 2 == 1 ? way : 0;
            p.radius *= i / 2 == 2 ? 1 + .04 * way : 1;
            p.angle += i / 2 == 3 ? .1 * way : 0;
            double o = overlap(points, shape, &p);
            if (o > best) {
                best = o;
                *pose = p;
            }
        }
    return best;
}

static void fit_shape(const Points *points, const Region *r, int shape, Fit *fit)
{
    double period = fit_period(shape), best = -1;
    int n = period > 0 ? (int) ceil(period / .16) : 1;
    for (int i = 0; i < n; i++) {
        Pose pose = pose_at(r, shape, i * period / n);
        double o = overlap(points, shape, &pose);
        if (o > best) {
            best = o;
            fit->pose[shape] = pose;
        }
    }
    fit->overlap[shape] = refine(points, shape, &fit->pose[shape], best);
    fit->pose[shape].x += r->x;
    fit->pose[shape].y += r->y;
}

void fit_region(const Look *look, int region, Fit *fit)
{
    Points *points = g_new(Points, 1);
    sample(look, region, points);
    fit->shape = 0;
    for (int shape = 0; shape < N_SHAPES; shape++) {
        fit_shape(points, &look->regions[region], shape, fit);
        if (fit->overlap[shape] > fit->overlap[fit->shape])
            fit->shape = shape;
    }
    g_free(points);
}
