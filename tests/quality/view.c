/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "view.h"

#include "fit.h"
#include "motion.h"

#include <math.h>

enum {
    EVERY = 2, /* frames from one look to the next */
    CALM = 12, /* what a pixel at rest changes less than, its channels together */
    N_BYTES = WORLD_WIDTH * WORLD_HEIGHT * 3
};

Change view_change(const uint8_t *a, const uint8_t *b)
{
    int64_t all = 0, calm = 0, n_calm = 0;
    for (int i = 0; i < N_BYTES; i += 3) {
        int change = 0;
        for (int c = 0; c < 3; c++)
            change += abs(a[i + c] - b[i + c]);
        all += change;
        if (change < CALM) {
            calm += change;
            n_calm++;
        }
    }
    return (Change){(double) all / N_BYTES, (double) calm / (3. * (double) MAX(n_calm, 1))};
}

/* ---- edges ----------------------------------------------------------------------------------- */

static double light_at(const Image *image, int x, int y)
{
    const Rgb *c = &image->at[(y + WORLD_HEIGHT) % WORLD_HEIGHT][(x + WORLD_WIDTH) % WORLD_WIDTH];
    return .3 * c->c[0] + .59 * c->c[1] + .11 * c->c[2];
}

/* Mean square of the luminance's slope around an object. */
static double slope_around(const Image *image, const Pose *p)
{
    double sum = 0;
    int reach = (int) (1.25 * p->radius + 3), n = 0;
    for (int dy = -reach; dy <= reach; dy++)
        for (int dx = -reach; dx <= reach; dx++, n++) {
            int x = (int) world_wrap(p->x + dx, WORLD_WIDTH);
            int y = (int) world_wrap(p->y + dy, WORLD_HEIGHT);
            double h = light_at(image, x + 1, y) - light_at(image, x - 1, y);
            double v = light_at(image, x, y + 1) - light_at(image, x, y - 1);
            sum += h * h + v * v;
        }
    return sum / n;
}

/* 1: as steep as where the world's own renderer puts the same object. */
static double sharpness_of(const Image *image, const Look *look, const Fit *fit)
{
    const Pose *pose = &fit->pose[fit->shape];
    int colour = look->regions[0].colour;
    Image *drawn = g_new(Image, 1);
    *drawn = *world_background(look->background);
    world_draw_object(drawn, fit->shape, &world_colours[MAX(colour, 0)], pose);
    double wanted = slope_around(drawn, pose), seen = slope_around(image, pose);
    g_free(drawn);
    return sqrt(seen / wanted);
}

/* ---- frames together ------------------------------------------------------------------------- */

/* Counts over the frames of a view, and the track under each shape that the object might be. */
typedef struct {
    int n;
    int at_least[MAX_REGIONS + 1], colours[N_COLOURS], shapes[N_SHAPES], n_sharp;
    double sharpness;
    Rgb tint;
    Track track;
    Pose poses[N_SHAPES][MAX_TRACK]; /* followed over the torus and the shape's period */
} Votes;

static int most(const int *votes, int n)
{
    int best = -1, least = 0;
    for (int i = 0; i < n; i++)
        if (votes[i] > least) {
            least = votes[i];
            best = i;
        }
    return best;
}

static int background_of(Image *image, const uint8_t *const *frames, int n)
{
    int votes[N_BACKGROUNDS] = {0};
    for (int i = 0; i < n; i += MAX(n / 5, 1)) {
        world_from_bytes(image, frames[i]);
        votes[look_background(image)]++;
    }
    return most(votes, N_BACKGROUNDS);
}

/* `pose` as the continuation of the one before it. */
static Pose continued(Pose before, Pose pose, double period)
{
    pose.x = before.x + world_offset(before.x, pose.x, WORLD_WIDTH);
    pose.y = before.y + world_offset(before.y, pose.y, WORLD_HEIGHT);
    pose.angle = period > 0 ? before.angle + world_offset(before.angle, pose.angle, period) : 0;
    return pose;
}

static void follow(Votes *v, const Look *look, const Fit *fit, int frame)
{
    int n = v->track.n++;
    v->track.frame[n] = frame;
    v->track.size[n] = sqrt(look->regions[0].area);
    for (int s = 0; s < N_SHAPES; s++) {
        Pose pose = fit_middle(fit, s);
        v->poses[s][n] = continued(n ? v->poses[s][n - 1] : pose, pose, fit_period(s));
    }
}

static void vote(Votes *v, const Image *image, const Look *look, int frame)
{
    Fit fit;
    v->n++;
    for (int i = 0; i < 3; i++)
        v->tint.c[i] += look->tint.c[i];
    for (int i = 1; i <= look->n_regions; i++)
        v->at_least[i]++;
    for (int i = 0; i < MIN(look->n_regions, MAX_OBJECTS); i++)
        if (look->regions[i].colour >= 0)
            v->colours[look->regions[i].colour]++;
    if (look->n_regions == 0 || v->track.n == MAX_TRACK)
        return;
    fit_region(look, 0, &fit);
    v->shapes[fit.shape]++;
    v->sharpness += sharpness_of(image, look, &fit);
    v->n_sharp++;
    follow(v, look, &fit, frame);
}

static void count(Votes *v, View *view)
{
    for (int i = 1; i <= MAX_REGIONS; i++)
        if (5 * v->at_least[i] >= 2 * v->n)
            view->n_objects = i;
    for (int i = 0; i < MAX_OBJECTS; i++) {
        view->colours[i] = most(v->colours, N_COLOURS);
        if (view->colours[i] >= 0)
            v->colours[view->colours[i]] = 0;
    }
    view->shape = most(v->shapes, N_SHAPES);
    for (int i = 0; i < v->track.n; i++) {
        v->track.x[i] = v->poses[view->shape][i].x;
        v->track.y[i] = v->poses[view->shape][i].y;
        v->track.angle[i] = v->poses[view->shape][i].angle;
    }
    view->motion = motion_of(&v->track);
    view->sharpness = v->n_sharp ? v->sharpness / v->n_sharp : 0;
    for (int i = 0; i < 3; i++)
        view->tint.c[i] = v->tint.c[i] / (float) MAX(v->n, 1);
}

void view_frames(const uint8_t *const *frames, int n, View *view)
{
    Image *image = g_new(Image, 1);
    Look *look = g_new(Look, 1);
    Votes *votes = g_new0(Votes, 1);
    *view = (View){.background = background_of(image, frames, n)};
    for (int i = 0; i < n; i += EVERY) {
        world_from_bytes(image, frames[i]);
        look_at(image, view->background, look);
        vote(votes, image, look, i);
    }
    for (int i = 1; i < n; i++)
        view->activity += view_change(frames[i - 1], frames[i]).all / (n - 1);
    count(votes, view);
    g_free(votes);
    g_free(look);
    g_free(image);
}
