/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "motion.h"

#include <math.h>
#include <string.h>

typedef struct {
    double offset, slope, rms;
} Line;

/* Least squares: value = offset + slope·t. */
static Line fit_line(const double *t, const double *value, int n)
{
    double st = 0, sv = 0, stt = 0, stv = 0, svv = 0;
    for (int i = 0; i < n; i++) {
        st += t[i] / n;
        sv += value[i] / n;
    }
    for (int i = 0; i < n; i++) {
        stt += (t[i] - st) * (t[i] - st);
        stv += (t[i] - st) * (value[i] - sv);
        svv += (value[i] - sv) * (value[i] - sv);
    }
    double slope = stt > 0 ? stv / stt : 0;
    return (Line){sv - slope * st, slope, sqrt(MAX(svv - slope * stv, 0) / n)};
}

static double spread(const double *value, int n)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++)
        mean += value[i] / n;
    for (int i = 0; i < n; i++)
        square += (value[i] - mean) * (value[i] - mean) / n;
    return sqrt(square);
}

/* ---- there and back -------------------------------------------------------------------------- */

/* Time that runs backwards between two moments. */
static double zigzag(double t, double turn, double back)
{
    return t < turn ? t : t < back ? 2 * turn - t : t - 2 * (back - turn);
}

/* The best line over a time that turns at most twice, as often as a wall can be met. */
static Line fit_zigzag(const double *t, const double *value, int n)
{
    double s[MAX_TRACK], end = t[n - 1] + 1;
    Line best = {.rms = INFINITY};
    for (double turn = t[0] + 1; turn <= end; turn++)
        for (double back = turn + 8; back <= end + 8; back++) {
            for (int i = 0; i < n; i++)
                s[i] = zigzag(t[i], turn, back);
            Line line = fit_line(s, value, n);
            if (line.rms < best.rms)
                best = line;
        }
    return best;
}

/* ---- round ----------------------------------------------------------------------------------- */

/* Four equations, their right sides in the last column, where the solution is then. */
static gboolean solve(double m[4][5])
{
    for (int i = 0; i < 4; i++) {
        int pivot = i;
        for (int k = i + 1; k < 4; k++)
            if (fabs(m[k][i]) > fabs(m[pivot][i]))
                pivot = k;
        if (fabs(m[pivot][i]) < 1e-9)
            return FALSE;
        for (int c = 0; c < 5; c++) {
            double swapped = m[i][c];
            m[i][c] = m[pivot][c];
            m[pivot][c] = swapped;
        }
        for (int k = 0; k < 4; k++)
            for (int c = 4; k != i && c >= i; c--)
                m[k][c] -= m[i][c] * m[k][i] / m[i][i];
    }
    for (int i = 0; i < 4; i++)
        m[i][4] /= m[i][i];
    return TRUE;
}

static void add_equation(double m[4][5], const double row[5])
{
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 5; k++)
            m[i][k] += row[i] * row[k];
}

/* x = cx + p·cos wt − q·sin wt, y = cy + 0.8·(p·sin wt + q·cos wt); the root mean square of what is
 * left. The world's circles have radii of 33 to 39. */
static double fit_round(const Track *track, double w)
{
    double m[4][5] = {{0}}, left = 0;
    for (int i = 0; i < track->n; i++) {
        double c = cos(w * track->frame[i]), s = sin(w * track->frame[i]);
        add_equation(m, (double[]){1, 0, c, -s, track->x[i]});
        add_equation(m, (double[]){0, 1, .8 * s, .8 * c, track->y[i]});
    }
    if (!solve(m))
        return INFINITY;
    double radius = hypot(m[2][4], m[3][4]);
    for (int i = 0; i < track->n; i++) {
        double c = cos(w * track->frame[i]), s = sin(w * track->frame[i]);
        double x = m[0][4] + c * m[2][4] - s * m[3][4] - track->x[i];
        double y = m[1][4] + .8 * (s * m[2][4] + c * m[3][4]) - track->y[i];
        left += (x * x + y * y) / track->n;
    }
    return radius < 20 || radius > 52 ? INFINITY : sqrt(left);
}

static double fit_orbit(const Track *track)
{
    double best = INFINITY;
    for (double w = .02; w < .16; w += .003)
        best = MIN(best, MIN(fit_round(track, w), fit_round(track, -w)));
    return best;
}

/* ---- which one ------------------------------------------------------------------------------- */

static int smaller_first(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

/* From the second smallest to the second largest: one bad look is none. */
static double range(const double *value, int n)
{
    double sorted[MAX_TRACK];
    memcpy(sorted, value, (size_t) n * sizeof *value);
    qsort(sorted, (size_t) n, sizeof *sorted, smaller_first);
    return (sorted[n - 2] - sorted[1]) / sorted[n / 2];
}

static int motion_in_place(const Track *track)
{
    Line angle = fit_line(track->frame, track->angle, track->n);
    if (range(track->size, track->n) > .16)
        return PULSE;
    if (fabs(angle.slope) > .02 && angle.rms < .25)
        return SPIN;
    return STILL;
}

/* Straight paths are plain where others fit no better, so the others start with a handicap. */
static int motion_along_path(const Track *track)
{
    const double handicap = .2, worst = 6;
    Line x = fit_line(track->frame, track->x, track->n);
    Line y = fit_line(track->frame, track->y, track->n);
    double along = fabs(x.slope), across = fabs(y.slope);
    double straight = hypot(x.rms, y.rms), orbit = fit_orbit(track) + handicap;
    double bounce = hypot(fit_zigzag(track->frame, track->x, track->n).rms,
                          fit_zigzag(track->frame, track->y, track->n).rms) +
                    handicap;
    if (MIN(along, across) > .45 * MAX(along, across))
        straight = INFINITY;
    else if (bounce > .4 * straight)
        bounce = INFINITY;
    if (straight <= MIN(orbit, bounce))
        return straight > worst ? -1
               : along > across ? (x.slope < 0 ? LEFT : RIGHT)
                                : (y.slope < 0 ? UP : DOWN);
    return MIN(orbit, bounce) > worst ? -1 : orbit < bounce ? ORBIT : BOUNCE;
}

int motion_of(const Track *track)
{
    const double stays = 6; /* slow objects have 8 in 24 frames, triangles that spin have 5 */
    if (track->n < MIN_TRACK)
        return -1;
    if (hypot(spread(track->x, track->n), spread(track->y, track->n)) < stays)
        return motion_in_place(track);
    return motion_along_path(track);
}
