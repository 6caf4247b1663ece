/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "score.h"

#include <math.h>

enum { CHANGED_CHUNKS = 4, CHANGE_FRAMES = 24 };

const char *const score_mark_names[N_MARKS] = {[COUNT_RIGHT] = "count",
                                               [COLOUR_RIGHT] = "colour",
                                               [BACKGROUND_RIGHT] = "background",
                                               [SHAPE_RIGHT] = "shape",
                                               [MOTION_RIGHT] = "motion"};
const int score_compared[N_COMPARED] = {1, 2, 4, 6};

static gboolean colours_right(const View *view, const Scene *scene)
{
    const Object *o = scene->objects;
    if (scene->n_objects == 1)
        return view->colours[0] == o[0].colour;
    return (view->colours[0] == o[0].colour && view->colours[1] == o[1].colour) ||
           (view->colours[0] == o[1].colour && view->colours[1] == o[0].colour);
}

Marks score_marks(const View *view, const Scene *scene)
{
    gboolean single = scene->n_objects == 1;
    Marks m = {.all = TRUE};
    m.right[COUNT_RIGHT] = view->n_objects == scene->n_objects;
    m.right[COLOUR_RIGHT] = colours_right(view, scene);
    m.right[BACKGROUND_RIGHT] = view->background == scene->background;
    m.right[SHAPE_RIGHT] = !single || view->shape == scene->objects[0].shape;
    m.right[MOTION_RIGHT] = !single || view->motion == scene->objects[0].motion;
    for (int i = 0; i < N_MARKS; i++)
        m.all &= m.right[i];
    return m;
}

void score_count(Tally *tally, const Marks *marks)
{
    tally->n++;
    tally->all += marks->all;
    for (int i = 0; i < N_MARKS; i++)
        tally->right[i] += marks->right[i];
}

double score_share(const Tally *t, int mark)
{
    return t->n == 0 ? NAN : (double) (mark == N_MARKS ? t->all : t->right[mark]) / t->n;
}

static double drift_between(const View *early, const View *late)
{
    double most = 0;
    for (int i = 0; i < 3; i++)
        most = MAX(most, 255 * fabsf(late->tint.c[i] - early->tint.c[i]));
    return most;
}

static void add_changes(Score *s, const Footage *f)
{
    s->seams.all += f->seams.all;
    s->seams.calm += f->seams.calm;
    s->insides.all += f->insides.all;
    s->insides.calm += f->insides.calm;
    s->n_seams += f->n_seams;
    s->n_insides += f->n_insides;
}

Verdict score_stream(Score *s, const Footage *f, const Scene *scene)
{
    Verdict v;
    footage_view(f, f->starts[1], LATE_FRAMES, &v.early);
    footage_view(f, f->n_frames - LATE_FRAMES, LATE_FRAMES, &v.late);
    v.early_marks = score_marks(&v.early, scene);
    v.late_marks = score_marks(&v.late, scene);
    v.drift = drift_between(&v.early, &v.late);
    v.frozen = scene->objects[0].motion != STILL && v.late.activity < .15 * v.early.activity;
    if (scene->n_objects == 1) {
        score_count(&s->early, &v.early_marks);
        score_count(&s->late, &v.late_marks);
    } else {
        score_count(&s->pairs, &v.early_marks);
    }
    s->n_streams++;
    s->n_frozen += v.frozen;
    s->drift += v.drift;
    s->sharp_early += v.early.sharpness;
    s->sharp_late += v.late.sharpness;
    add_changes(s, f);
    return v;
}

Verdict score_change(Score *s, const Footage *f, const Scene *scene)
{
    Verdict v = {.drift = 0};
    int start = f->n_chunks - CHANGED_CHUNKS, first = f->starts[start];
    footage_view(f, first, f->starts[start + 1] - first, &v.early);
    v.early_marks = score_marks(&v.early, scene);
    score_count(&s->onset, &v.early_marks);
    footage_view(f, f->n_frames - CHANGE_FRAMES, CHANGE_FRAMES, &v.late);
    v.late_marks = score_marks(&v.late, scene);
    score_count(&s->changes, &v.late_marks);
    return v;
}

static void tally_add(Tally *sum, const Tally *tally)
{
    sum->n += tally->n;
    sum->all += tally->all;
    for (int i = 0; i < N_MARKS; i++)
        sum->right[i] += tally->right[i];
}

static void change_add(Change *sum, const Change *change)
{
    sum->all += change->all;
    sum->calm += change->calm;
}

void score_add(Score *sum, const Score *s)
{
    tally_add(&sum->early, &s->early);
    tally_add(&sum->late, &s->late);
    tally_add(&sum->pairs, &s->pairs);
    tally_add(&sum->onset, &s->onset);
    tally_add(&sum->changes, &s->changes);
    sum->n_streams += s->n_streams;
    sum->n_frozen += s->n_frozen;
    sum->sharp_early += s->sharp_early;
    sum->sharp_late += s->sharp_late;
    sum->drift += s->drift;
    change_add(&sum->seams, &s->seams);
    change_add(&sum->insides, &s->insides);
    sum->n_seams += s->n_seams;
    sum->n_insides += s->n_insides;
    for (int i = 0; i < N_COMPARED; i++) {
        sum->agreement[i] += s->agreement[i];
        sum->n_compared[i] += s->n_compared[i];
    }
    if (s->n_generated > 0)
        sum->sparsity = s->sparsity;
    sum->generate_ms += s->generate_ms;
    sum->n_generated += s->n_generated;
}

void score_agreement(Score *s, const Footage *f, const Footage *reference)
{
    for (int i = 0; i < N_COMPARED; i++) {
        double db = footage_agreement(f, reference, score_compared[i]);
        if (isnan(db))
            continue;
        s->agreement[i] += db;
        s->n_compared[i]++;
    }
}

double score_seam_ratio(const Score *s, gboolean calm)
{
    double seam = (calm ? s->seams.calm : s->seams.all) / s->n_seams;
    double inside = (calm ? s->insides.calm : s->insides.all) / s->n_insides;
    return seam / inside;
}
