/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The scorer is right: on clips that the world's own renderer has drawn it finds what was drawn. A
 * score below 1 here is an error of the scorer, which is in every figure about a model, too.
 */
#include "run.h"

#include <string.h>

enum { N_PROMPTS = 34, N_PAIRS = 6, N_CHANGES = 8 };

static void tell(const Setting *setting, const Script *script, const Scene *wanted,
                 const Verdict *v, gpointer nothing)
{
    if (!v->late_marks.all)
        g_test_message("wrong at the end: \"%s\"", script->captions[script->change > 0]);
}

static void assert_shares(const char *name, const Tally *tally, double least)
{
    for (int i = 0; i < N_MARKS; i++) {
        g_test_message("%s: %s %.3f", name, score_mark_names[i], score_share(tally, i));
        g_assert_cmpfloat(score_share(tally, i), >=, least);
    }
}

static void test_drawn(void)
{
    Score score;
    Setting drawn = {.name = (char *) "drawn", .drawn = TRUE};
    Plan plan = {N_PROMPTS, N_PAIRS, N_CHANGES, MIN_CHUNKS, 5, 0};
    g_assert_true(run_plan(NULL, &drawn, 1, &plan, &score, tell, NULL, NULL));
    assert_shares("early", &score.early, .97);
    assert_shares("late", &score.late, .97);
    assert_shares("pairs", &score.pairs, .97);
    assert_shares("changes", &score.changes, .97);
    for (int i = 0; i < MOTION_RIGHT; i++) /* the first chunk is too short for that */
        g_assert_cmpfloat(score_share(&score.onset, i), >=, .97);
    g_assert_cmpint(score.n_frozen, ==, 0);
    g_assert_cmpfloat_with_epsilon(score.sharp_early / score.n_streams, 1, .1);
    g_assert_cmpfloat_with_epsilon(score_seam_ratio(&score, FALSE), 1, .1);
    g_assert_cmpfloat_with_epsilon(score_seam_ratio(&score, TRUE), 1, .2);
    g_assert_cmpfloat(score.drift / score.n_streams, <, 1);
}

/* ---- what is wrong is found ------------------------------------------------------------------ */

typedef struct {
    Footage *footage;
    Image image;
} Film;

static Film *film_new(void)
{
    Film *film = g_new(Film, 1);
    film->footage = footage_new();
    return film;
}

static void film_add(Film *film, int in_chunk)
{
    world_to_bytes(&film->image, footage_next(film->footage));
    footage_added(film->footage, in_chunk == 0);
}

static void film_free(Film *film)
{
    footage_free(film->footage);
    g_free(film);
}

static const Scene scene = {1, {{HEART, RED, MEDIUM, RIGHT, NORMAL}}, OCEAN};

static World world_of(const Scene *s)
{
    GRand *rng = g_rand_new_with_seed(3);
    World world = world_new(rng, s);
    g_rand_free(rng);
    return world;
}

/* Stops half-way, brightens by 12 of 255, flashes at every seam. */
static void test_faults(void)
{
    Film *film = film_new();
    Score score = {.n_streams = 0};
    World world = world_of(&scene);
    for (int t = 0; t < 93; t++) {
        int in_chunk = (t + 3) % 12;
        float flash = in_chunk == 0 ? 2.f / 255 : 0, later = t > 46 ? 12.f / 255 : 0;
        world_draw(&world, MIN(t, 46), &film->image);
        for (int y = 0; y < WORLD_HEIGHT; y++)
            for (int x = 0; x < WORLD_WIDTH; x++)
                film->image.at[y][x].c[1] = MIN(film->image.at[y][x].c[1] + flash + later, 1.f);
        film_add(film, t == 0 ? 0 : in_chunk);
    }
    Verdict v = score_stream(&score, film->footage, &scene);
    g_assert_true(v.early_marks.all);
    g_assert_false(v.late_marks.right[MOTION_RIGHT]);
    g_assert_true(v.late_marks.right[SHAPE_RIGHT]);
    g_assert_true(v.frozen);
    g_assert_cmpfloat_with_epsilon(v.drift, 12, 2);
    g_assert_cmpfloat(score_seam_ratio(&score, TRUE), >, 2);
    film_free(film);
}

static void soften(Image *image)
{
    Image *from = g_memdup2(image, sizeof *image);
    for (int y = 2; y < WORLD_HEIGHT - 2; y++)
        for (int x = 2; x < WORLD_WIDTH - 2; x++)
            for (int i = 0; i < 3; i++) {
                float sum = 0;
                for (int k = 0; k < 25; k++)
                    sum += from->at[y + k / 5 - 2][x + k % 5 - 2].c[i];
                image->at[y][x].c[i] = sum / 25;
            }
    g_free(from);
}

/* Another scene than the prompt's is wrong in everything, and softened edges are less steep. */
static void test_other(void)
{
    static const Scene other = {
        2, {{STAR, BLUE, SMALL, UP, NORMAL}, {RING, PINK, SMALL, STILL, NORMAL}}, ON_CREAM};
    Film *film = film_new();
    Score score = {.n_streams = 0};
    World world = world_of(&other);
    for (int t = 0; t < 57; t++) {
        world_draw(&world, t, &film->image);
        soften(&film->image);
        film_add(film, t == 0 ? 0 : (t + 3) % 12);
    }
    Verdict v = score_stream(&score, film->footage, &scene);
    g_assert_cmpint(v.late.n_objects, ==, 2);
    g_assert_false(v.late_marks.right[COUNT_RIGHT] || v.late_marks.right[COLOUR_RIGHT] ||
                   v.late_marks.right[BACKGROUND_RIGHT] || v.late_marks.right[SHAPE_RIGHT] ||
                   v.late_marks.right[MOTION_RIGHT]);
    g_assert_cmpfloat(v.late.sharpness, <, .85);
    g_assert_true(score_marks(&v.late, &other).all);
    film_free(film);
}

/* Sentences are the same for the same seed, and others for another. */
static void test_sentences(void)
{
    SceneDealer *a = scene_dealer_new(1), *b = scene_dealer_new(1), *c = scene_dealer_new(2);
    int different = 0;
    for (int i = 0; i < 30; i++) {
        Scene s = scene_deal(a, 1), t = scene_deal(b, 1), u = scene_deal(c, 1);
        g_autofree char *x = scene_caption(a, &s), *y = scene_caption(b, &t);
        g_autofree char *z = scene_caption(c, &u);
        g_assert_cmpmem(&s, sizeof s, &t, sizeof t);
        g_assert_cmpstr(x, ==, y);
        g_assert_null(strstr(x, "  "));
        different += !g_str_equal(x, z);
    }
    g_assert_cmpint(different, >, 25);
    scene_dealer_free(a);
    scene_dealer_free(b);
    scene_dealer_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/quality/drawn", test_drawn);
    g_test_add_func("/quality/faults", test_faults);
    g_test_add_func("/quality/other", test_other);
    g_test_add_func("/quality/sentences", test_sentences);
    return g_test_run();
}
