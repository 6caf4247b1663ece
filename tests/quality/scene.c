/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"

#include <string.h>

enum { MAX_WORDS = 12, MAX_CARDS = 16 };

typedef struct {
    const char *name;
    const char *words[MAX_WORDS];
} Entry;

/* ---- vocabulary ------------------------------------------------------------------------------ */

static const Entry shapes[N_SHAPES] = {
    [CIRCLE] = {"circle", {"circle", "ball", "disc", "sphere", "orb"}},
    [SQUARE] = {"square", {"square", "box", "cube", "block"}},
    [TRIANGLE] = {"triangle", {"triangle", "pyramid"}},
    [STAR] = {"star", {"star"}},
    [RING] = {"ring", {"ring", "donut", "hoop"}},
    [HEART] = {"heart", {"heart"}},
};

static const Entry colours[N_COLOURS] = {
    [RED] = {"red", {"red", "crimson", "scarlet"}},
    [ORANGE] = {"orange", {"orange", "tangerine"}},
    [YELLOW] = {"yellow", {"yellow", "golden", "lemon"}},
    [GREEN] = {"green", {"green", "emerald", "lime"}},
    [BLUE] = {"blue", {"blue", "azure", "cobalt"}},
    [PURPLE] = {"purple", {"purple", "violet"}},
    [PINK] = {"pink", {"pink", "rose", "magenta"}},
    [WHITE] = {"white", {"white", "ivory", "snowy"}},
};

static const Entry sizes[N_SIZES] = {
    [SMALL] = {"small", {"small", "tiny", "little"}},
    [MEDIUM] = {"medium", {"", "medium", "medium-sized"}},
    [LARGE] = {"large", {"large", "big", "huge", "giant"}},
};

static const Entry speeds[N_SPEEDS] = {
    [SLOW] = {"slow", {"slowly", "gently"}},
    [NORMAL] = {"normal", {""}},
    [FAST] = {"fast", {"quickly", "fast", "rapidly"}},
};

/* In turns: a finite form, its -ing form. */
static const Entry motions[N_MOTIONS] = {
    [LEFT] = {"left",
              {"moves left", "moving left", "drifts left", "drifting left", "slides to the left",
               "sliding left", "travels from right to left", "going left"}},
    [RIGHT] = {"right",
               {"moves right", "moving right", "drifts right", "drifting right",
                "slides to the right", "sliding right", "travels from left to right",
                "going right"}},
    [UP] = {"up",
            {"rises", "rising", "moves up", "moving up", "floats upward", "floating upwards",
             "climbs up", "going up"}},
    [DOWN] = {"down",
              {"falls", "falling", "moves down", "moving down", "drops down", "dropping", "sinks",
               "sinking"}},
    [BOUNCE] = {"bounce",
                {"bounces around", "bouncing around", "bounces", "bouncing",
                 "bounces off the walls", "bouncing off the walls"}},
    [ORBIT] = {"orbit",
               {"moves in a circle", "moving in circles", "circles around", "circling",
                "orbits the center", "orbiting the center"}},
    [SPIN] = {"spin",
              {"spins", "spinning", "rotates", "rotating", "spins in place", "spinning in place"}},
    [PULSE] = {"pulse",
               {"pulses", "pulsing", "grows and shrinks", "growing and shrinking", "throbs",
                "throbbing"}},
    [STILL] = {"still",
               {"stays still", "standing still", "rests", "resting", "does not move",
                "motionless"}},
};

static const Entry backgrounds[N_BACKGROUNDS] = {
    [ON_BLACK] = {"black", {"on a black background", "against a black background"}},
    [ON_WHITE] = {"white", {"on a white background", "on white"}},
    [ON_GRAY] = {"gray", {"on a gray background", "on a grey background"}},
    [ON_NAVY] = {"navy", {"on a dark blue background", "against a navy background"}},
    [ON_SKY] = {"sky", {"on a light blue background", "in front of a pale blue backdrop"}},
    [ON_CREAM] = {"cream", {"on a beige background", "against a cream background"}},
    [ON_FOREST] = {"forest", {"on a dark green background", "on a forest green background"}},
    [ON_MAROON] = {"maroon", {"on a dark red background", "against a maroon background"}},
    [SUNSET] = {"sunset", {"at sunset", "in front of a sunset", "over a purple and orange sunset"}},
    [OCEAN] = {"ocean", {"in the ocean", "under water", "in the blue sea"}},
    [DAWN] = {"dawn", {"at dawn", "on a pastel background", "over a pink and blue dawn"}},
    [NIGHT] = {"night", {"in the night sky", "under a starry night sky", "in space"}},
    [MEADOW] = {"meadow", {"over a green meadow", "above the grass", "on a sunny day"}},
    [CHECKER] = {"checker", {"on a checkerboard", "over a chessboard"}},
};

static const Entry openings = {
    "opening", {"", "", "", "there is ", "a video of ", "we see ", "show me ", "imagine "}};

static const char *name_of(const Entry *entries, int n, int value)
{
    return value >= 0 && value < n ? entries[value].name : "none";
}

const char *scene_shape_name(int shape)
{
    return name_of(shapes, N_SHAPES, shape);
}

const char *scene_colour_name(int colour)
{
    return name_of(colours, N_COLOURS, colour);
}

const char *scene_motion_name(int motion)
{
    return name_of(motions, N_MOTIONS, motion);
}

const char *scene_background_name(int background)
{
    return name_of(backgrounds, N_BACKGROUNDS, background);
}

/* ---- scenes ---------------------------------------------------------------------------------- */

/* Values are drawn without putting them back until all have come once. */
typedef struct {
    int n_values, n_left;
    int left[MAX_CARDS];
} Deck;

struct SceneDealer {
    GRand *rng;
    Deck shape, colour, size, motion, speed, background;
};

SceneDealer *scene_dealer_new(guint32 seed)
{
    SceneDealer *d = g_new0(SceneDealer, 1);
    d->rng = g_rand_new_with_seed(seed);
    d->shape.n_values = N_SHAPES;
    d->colour.n_values = N_COLOURS;
    d->size.n_values = N_SIZES;
    d->motion.n_values = N_MOTIONS;
    d->speed.n_values = N_SPEEDS;
    d->background.n_values = N_BACKGROUNDS;
    return d;
}

void scene_dealer_free(SceneDealer *d)
{
    g_rand_free(d->rng);
    g_free(d);
}

static int draw(SceneDealer *d, Deck *deck)
{
    if (deck->n_left == 0)
        for (; deck->n_left < deck->n_values; deck->n_left++)
            deck->left[deck->n_left] = deck->n_left;
    int i = g_rand_int_range(d->rng, 0, deck->n_left);
    int value = deck->left[i];
    deck->left[i] = deck->left[--deck->n_left];
    return value;
}

/* White on white, and spins that nobody sees: the world has neither. */
static gboolean clashes(const Object *o, int background)
{
    return (o->colour == WHITE && (background == ON_WHITE || background == ON_CREAM)) ||
           (o->motion == SPIN && (o->shape == CIRCLE || o->shape == RING));
}

static gboolean possible(const Scene *s)
{
    for (int i = 0; i < s->n_objects; i++)
        if (clashes(&s->objects[i], s->background))
            return FALSE;
    return s->n_objects < 2 || s->objects[0].colour != s->objects[1].colour;
}

/* Two objects are never large: there is no room for them. */
Scene scene_deal(SceneDealer *d, int n_objects)
{
    Scene s;
    do {
        s = (Scene){.n_objects = n_objects, .background = draw(d, &d->background)};
        for (int i = 0; i < n_objects; i++)
            s.objects[i] =
                (Object){draw(d, &d->shape), draw(d, &d->colour),
                         n_objects > 1 ? g_rand_int_range(d->rng, 0, LARGE) : draw(d, &d->size),
                         draw(d, &d->motion), draw(d, &d->speed)};
    } while (!possible(&s));
    return s;
}

Scene scene_changed(SceneDealer *d, const Scene *scene)
{
    Scene s;
    do {
        s = scene_deal(d, scene->n_objects);
        if (g_rand_boolean(d->rng)) {
            Scene all = s;
            int what = g_rand_int_range(d->rng, 0, 4);
            s = *scene;
            s.objects[0].shape = (what == 0 ? &all : scene)->objects[0].shape;
            s.objects[0].colour = (what == 1 ? &all : scene)->objects[0].colour;
            s.objects[0].motion = (what == 2 ? &all : scene)->objects[0].motion;
            s.background = (what == 3 ? &all : scene)->background;
        }
    } while (!possible(&s) || memcmp(&s, scene, sizeof s) == 0);
    return s;
}

/* ---- sentences ------------------------------------------------------------------------------- */

static int n_words(const Entry *entry)
{
    int n = 0;
    while (n < MAX_WORDS && entry->words[n])
        n++;
    return n;
}

static const char *one_of(SceneDealer *d, const Entry *entry)
{
    return entry->words[g_rand_int_range(d->rng, 0, n_words(entry))];
}

static void add(GString *text, const char *word)
{
    if (text->len > 0 && word[0])
        g_string_append_c(text, ' ');
    g_string_append(text, word);
}

static char *object_words(SceneDealer *d, const Object *o)
{
    GString *text = g_string_new(NULL);
    add(text, one_of(d, &sizes[o->size]));
    add(text, one_of(d, &colours[o->colour]));
    add(text, one_of(d, &shapes[o->shape]));
    g_string_prepend(text, strchr("aeiou", text->str[0]) ? "an " : "a ");
    return g_string_free(text, FALSE);
}

static char *motion_words(SceneDealer *d, const Object *o, int form)
{
    const Entry *entry = &motions[o->motion];
    GString *text = g_string_new(NULL);
    const char *words = entry->words[2 * g_rand_int_range(d->rng, 0, n_words(entry) / 2) + form];
    const char *speed = o->motion == STILL ? "" : one_of(d, &speeds[o->speed]);
    gboolean speed_first = g_rand_boolean(d->rng);
    add(text, speed_first ? speed : words);
    add(text, speed_first ? words : speed);
    return g_string_free(text, FALSE);
}

char *scene_caption(SceneDealer *d, const Scene *s)
{
    GString *text = g_string_new(NULL);
    int form = g_rand_int_range(d->rng, 0, 2);
    for (int i = 0; i < s->n_objects; i++) {
        g_autofree char *object = object_words(d, &s->objects[i]);
        g_autofree char *motion = motion_words(d, &s->objects[i], form);
        if (i > 0)
            add(text, "and");
        add(text, object);
        add(text, motion);
    }
    const char *where = one_of(d, &backgrounds[s->background]);
    if (g_rand_int_range(d->rng, 0, 4) == 0) {
        g_string_prepend(text, ", ");
        g_string_prepend(text, where);
    } else {
        g_string_prepend(text, one_of(d, &openings));
        add(text, where);
    }
    if (g_rand_int_range(d->rng, 0, 4) == 0)
        g_string_append_c(text, '.');
    return g_string_free(text, FALSE);
}
