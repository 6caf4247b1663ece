/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report.h"

#include <json-glib/json-glib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one number for each setting ------------------------------------------------------------- */

typedef double (*Value)(const Score *score, int of);

static double early(const Score *s, int mark)
{
    return score_share(&s->early, mark);
}

static double late(const Score *s, int mark)
{
    return score_share(&s->late, mark);
}

static double pairs(const Score *s, int mark)
{
    return score_share(&s->pairs, mark);
}

static double onset(const Score *s, int mark)
{
    return score_share(&s->onset, mark);
}

static double changes(const Score *s, int mark)
{
    return score_share(&s->changes, mark);
}

static double sharp_early(const Score *s, int of)
{
    return s->sharp_early / s->n_streams;
}

static double sharp_late(const Score *s, int of)
{
    return s->sharp_late / s->n_streams;
}

static double drift(const Score *s, int of)
{
    return s->drift / s->n_streams;
}

static double frozen(const Score *s, int of)
{
    return (double) s->n_frozen / s->n_streams;
}

static double seams(const Score *s, int calm)
{
    return score_seam_ratio(s, calm);
}

static double agreement(const Score *s, int i)
{
    return s->agreement[i] / s->n_compared[i];
}

static double generate(const Score *s, int of)
{
    return s->generate_ms / s->n_generated;
}

static double sparsity(const Score *s, int of)
{
    return s->n_generated ? s->sparsity : NAN;
}

static const struct {
    const char *group, *name, *unit; /* name NULL: that of the mark */
    Value value;
    int of;
} rows[] = {
    {"early", NULL, "right, 2 s after the first chunk", early, COUNT_RIGHT},
    {"early", NULL, "", early, COLOUR_RIGHT},
    {"early", NULL, "", early, BACKGROUND_RIGHT},
    {"early", NULL, "", early, SHAPE_RIGHT},
    {"early", NULL, "", early, MOTION_RIGHT},
    {"early", "all", "", early, N_MARKS},
    {"late", NULL, "right, the last 2 s", late, COUNT_RIGHT},
    {"late", NULL, "", late, COLOUR_RIGHT},
    {"late", NULL, "", late, BACKGROUND_RIGHT},
    {"late", NULL, "", late, SHAPE_RIGHT},
    {"late", NULL, "", late, MOTION_RIGHT},
    {"late", "all", "", late, N_MARKS},
    {"pairs", NULL, "right, early, of two objects", pairs, COUNT_RIGHT},
    {"pairs", NULL, "both", pairs, COLOUR_RIGHT},
    {"pairs", NULL, "", pairs, BACKGROUND_RIGHT},
    {"onset", NULL, "right, in the first chunk of a new prompt", onset, COUNT_RIGHT},
    {"onset", NULL, "", onset, COLOUR_RIGHT},
    {"onset", NULL, "", onset, BACKGROUND_RIGHT},
    {"onset", NULL, "", onset, SHAPE_RIGHT},
    {"changes", NULL, "right, 2 chunks after the prompt changed", changes, COUNT_RIGHT},
    {"changes", NULL, "", changes, COLOUR_RIGHT},
    {"changes", NULL, "", changes, BACKGROUND_RIGHT},
    {"changes", NULL, "", changes, SHAPE_RIGHT},
    {"changes", NULL, "", changes, MOTION_RIGHT},
    {"changes", "all", "", changes, N_MARKS},
    {"sharpness", "early", "slope of edges / drawn ones", sharp_early, 0},
    {"sharpness", "late", "", sharp_late, 0},
    {"stability", "drift", "background, early to late, of 255", drift, 0},
    {"stability", "frozen", "share of streams", frozen, 0},
    {"stability", "seam", "change at seams / inside chunks", seams, FALSE},
    {"stability", "seam, calm", "the same of pixels at rest", seams, TRUE},
    {"agreement", "chunk 1", "dB, with the first setting", agreement, 0},
    {"agreement", "chunk 2", "dB", agreement, 1},
    {"agreement", "chunk 4", "dB", agreement, 2},
    {"agreement", "chunk 6", "dB", agreement, 3},
    {"speed", "chunk", "ms, mean of all but the first", generate, 0},
    {"speed", "sparsity", "of the last chunk", sparsity, 0},
};

static const char *row_name(guint i)
{
    return rows[i].name ? rows[i].name : score_mark_names[rows[i].of];
}

/* ---- for people ------------------------------------------------------------------------------ */

static gboolean known(const Report *r, guint row)
{
    for (int i = 0; i < r->n_settings; i++)
        if (isfinite(rows[row].value(&r->scores[i], rows[row].of)))
            return TRUE;
    return FALSE;
}

static int width_of(const Setting *setting)
{
    return MAX(10, (int) strlen(setting->name) + 2);
}

static void print_value(double value, int width)
{
    if (!isfinite(value))
        printf("%*s", width + 2, "–"); /* three bytes */
    else
        printf("%*.*f", width, value < 10 ? 3 : 1, value);
}

void report_print(const Report *r)
{
    const char *group = "";
    if (r->model)
        printf("model    %s\n", r->model);
    printf("prompts  %d of one object, %d of two, %d that change; %d chunks; seed %u\n\n",
           r->plan.n_prompts, r->plan.n_pairs, r->plan.n_changes, r->plan.n_chunks, r->plan.seed);
    printf("%-22s", "");
    for (int i = 0; i < r->n_settings; i++)
        printf("%*s", width_of(&r->settings[i]), r->settings[i].name);
    printf("\n");
    for (guint row = 0; row < G_N_ELEMENTS(rows); row++) {
        if (!known(r, row))
            continue;
        printf("%-11s%-11s", rows[row].group == group ? "" : rows[row].group, row_name(row));
        group = rows[row].group;
        for (int i = 0; i < r->n_settings; i++)
            print_value(rows[row].value(&r->scores[i], rows[row].of), width_of(&r->settings[i]));
        printf("  %s\n", rows[row].unit);
    }
}

void report_wrong(const Setting *setting, const Script *script, const Scene *wanted,
                  const Verdict *v, gpointer nothing)
{
    const Object *o = &wanted->objects[0];
    const View *const views[] = {script->change > 0 ? NULL : &v->early, &v->late};
    const Marks *const marks[] = {&v->early_marks, &v->late_marks};
    for (int i = 0; i < 2; i++)
        if (views[i] && !marks[i]->all)
            fprintf(stderr, "%s, %s, seed %u, \"%s\" (%s %s %s, %s): %d × %s %s %s, %s\n",
                    setting->name, i ? "late" : "early", script->seed,
                    script->captions[script->change > 0], scene_colour_name(o->colour),
                    scene_shape_name(o->shape), scene_motion_name(o->motion),
                    scene_background_name(wanted->background), views[i]->n_objects,
                    scene_colour_name(views[i]->colours[0]), scene_shape_name(views[i]->shape),
                    scene_motion_name(views[i]->motion),
                    scene_background_name(views[i]->background));
}

/* ---- for programs ---------------------------------------------------------------------------- */

static void add_int(JsonBuilder *json, const char *name, gint64 value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_int_value(json, value);
}

static void add_text(JsonBuilder *json, const char *name, const char *value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_string_value(json, value);
}

/* A group is an object of its rows; what is not known is left out. */
static void add_setting(JsonBuilder *json, const Setting *setting, const Score *score)
{
    json_builder_begin_object(json);
    add_text(json, "setting", setting->name);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        double value = rows[i].value(score, rows[i].of);
        if (i == 0 || rows[i].group != rows[i - 1].group) {
            json_builder_set_member_name(json, rows[i].group);
            json_builder_begin_object(json);
        }
        if (isfinite(value)) {
            json_builder_set_member_name(json, row_name(i));
            json_builder_add_double_value(json, value);
        }
        if (i + 1 == G_N_ELEMENTS(rows) || rows[i].group != rows[i + 1].group)
            json_builder_end_object(json);
    }
    json_builder_end_object(json);
}

char *report_json(const Report *r)
{
    g_autoptr(JsonBuilder) json = json_builder_new();
    json_builder_begin_object(json);
    if (r->model)
        add_text(json, "model", r->model);
    add_int(json, "prompts", r->plan.n_prompts);
    add_int(json, "pairs", r->plan.n_pairs);
    add_int(json, "changes", r->plan.n_changes);
    add_int(json, "chunks", r->plan.n_chunks);
    add_int(json, "seed", r->plan.seed);
    json_builder_set_member_name(json, "settings");
    json_builder_begin_array(json);
    for (int i = 0; i < r->n_settings; i++)
        add_setting(json, &r->settings[i], &r->scores[i]);
    json_builder_end_array(json);
    json_builder_end_object(json);
    JsonNode *root = json_builder_get_root(json);
    char *text = json_to_string(root, TRUE);
    json_node_unref(root);
    return text;
}
