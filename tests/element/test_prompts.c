/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The demo model shows what the prompt says: on the element's own frames, the colour of the object
 * and the background are right for at least nine prompts of ten.
 *
 * What backgrounds and objects look like is known from the renderer that the model learned from.
 * The background is the one of all fourteen that is nearest to the frame; the object's colour is
 * that of most of the pixels that differ from this background. Neither looks at the prompt.
 */
#include "source.h"

#include <math.h>
#include <string.h>

#define WIDTH     256
#define HEIGHT    160
#define N_PROMPTS 40
#define WANTED    36

typedef struct {
    double c[3]; /* red, green, blue, 0…1 */
} Colour;

/* ---- the world that the model knows ---------------------------------------------------------- */

static const char *const colours[] = {"red",  "orange", "yellow", "green",
                                      "blue", "purple", "pink",   "white"};
static const Colour colour_values[] = {{{.90, .13, .16}}, {{.98, .53, .08}}, {{.98, .86, .14}},
                                       {{.16, .70, .27}}, {{.14, .40, .95}}, {{.54, .22, .84}},
                                       {{.98, .44, .70}}, {{.95, .95, .96}}};
static const char *const shapes[] = {"ball", "square", "triangle", "star", "ring", "heart"};

typedef enum {
    BLACK,
    WHITE,
    GRAY,
    NAVY,
    SKY,
    CREAM,
    FOREST,
    MAROON,
    SUNSET,
    OCEAN,
    DAWN,
    NIGHT,
    MEADOW,
    CHECKER,
    N_BACKGROUNDS
} Background;

/* From top to bottom. Plain ones darken by 7 % on the way, and towards the corners. */
static const struct {
    const char *name, *phrase;
    Colour top, bottom;
    gboolean plain;
} backgrounds[N_BACKGROUNDS] = {
    [BLACK] = {"black", "on a black background", {{.05, .05, .06}}, {{0}}, TRUE},
    [WHITE] = {"white", "on a white background", {{.96, .96, .96}}, {{0}}, TRUE},
    [GRAY] = {"gray", "on a gray background", {{.52, .53, .55}}, {{0}}, TRUE},
    [NAVY] = {"navy", "against a dark blue background", {{.07, .10, .34}}, {{0}}, TRUE},
    [SKY] = {"light blue", "on a light blue background", {{.62, .82, .97}}, {{0}}, TRUE},
    [CREAM] = {"cream", "on a beige background", {{.95, .89, .74}}, {{0}}, TRUE},
    [FOREST] = {"dark green", "on a dark green background", {{.05, .27, .14}}, {{0}}, TRUE},
    [MAROON] = {"dark red", "over dark red", {{.36, .05, .09}}, {{0}}, TRUE},
    [SUNSET] = {"sunset", "at sunset", {{.36, .16, .46}}, {{.99, .60, .25}}, FALSE},
    [OCEAN] = {"ocean", "in the ocean", {{.20, .72, .74}}, {{.02, .16, .38}}, FALSE},
    [DAWN] = {"dawn", "at dawn", {{.60, .74, .96}}, {{.99, .74, .78}}, FALSE},
    [NIGHT] = {"night", "under a starry night sky", {{.02, .03, .12}}, {{.13, .09, .28}}, FALSE},
    [MEADOW] = {"meadow", "over a green meadow", {{.36, .66, .96}}, {{.86, .95, .99}}, FALSE},
    [CHECKER] = {"checkerboard", "on a checkerboard", {{.80, .80, .84}}, {{.33, .34, .42}}, FALSE},
};

/* Colours that people could not tell apart either. */
static gboolean too_alike(int colour, Background background)
{
    static const struct {
        const char *colour;
        Background background;
    } pairs[] = {{"white", WHITE},  {"white", CREAM},   {"yellow", CREAM},  {"green", FOREST},
                 {"green", MEADOW}, {"blue", NAVY},     {"blue", OCEAN},    {"blue", NIGHT},
                 {"red", MAROON},   {"orange", SUNSET}, {"purple", SUNSET}, {"pink", DAWN},
                 {"white", DAWN},   {"white", CHECKER}, {"blue", SKY},      {"white", SKY},
                 {"green", OCEAN},  {"purple", NIGHT}};
    for (guint i = 0; i < G_N_ELEMENTS(pairs); i++)
        if (pairs[i].background == background && strcmp(pairs[i].colour, colours[colour]) == 0)
            return TRUE;
    return FALSE;
}

static void mix(Colour *c, const Colour *with, double share)
{
    for (int i = 0; i < 3; i++)
        c->c[i] += (with->c[i] - c->c[i]) * CLAMP(share, 0, 1);
}

static void light_up(Colour *c, const Colour *by, double share)
{
    for (int i = 0; i < 3; i++)
        c->c[i] = MIN(c->c[i] + by->c[i] * share, 1);
}

static double distance_to(double x, double y, double cx, double cy)
{
    return sqrt((x - cx) * (x - cx) + (y - cy) * (y - cy));
}

static void draw_meadow(Colour *c, double x, double y)
{
    static const struct {
        double top, wave, length, phase;
        Colour colour;
    } hills[] = {{104, 9, 43, 1, {{.45, .76, .36}}}, {122, 7, 61, 3, {{.26, .60, .24}}}};
    double d = distance_to(x, y, 40, 30);
    light_up(c, &(Colour){{1, 1, 1}}, .25 * exp(-d * d / 900));
    mix(c, &(Colour){{1, .93, .55}}, 13.5 - d);
    for (int i = 0; i < 2; i++) {
        Colour shaded = hills[i].colour;
        double shade = 1 - .3 * MAX((y - hills[i].top) / (HEIGHT - hills[i].top), 0);
        for (int k = 0; k < 3; k++)
            shaded.c[k] *= shade;
        mix(c, &shaded,
            y - (hills[i].top + hills[i].wave * sin(x / hills[i].length + hills[i].phase)));
    }
}

static Colour background_at(Background b, double x, double y)
{
    Colour c = backgrounds[b].top;
    double u = x / WIDTH - .5, v = y / HEIGHT - .5, vignette = 1 - .32 * (u * u + v * v);
    double gain = backgrounds[b].plain ? (1 - .07 * y / HEIGHT) * vignette : 1;
    if (b == CHECKER) {
        c = ((int) x / 32 + (int) y / 32) % 2 ? backgrounds[b].top : backgrounds[b].bottom;
        gain = vignette;
    } else if (!backgrounds[b].plain) {
        mix(&c, &backgrounds[b].bottom, y / HEIGHT);
    }
    for (int i = 0; i < 3; i++)
        c.c[i] *= gain;
    double d = distance_to(x, y, 128, 150);
    if (b == SUNSET)
        light_up(&c, &(Colour){{1, .8, .4}}, .35 * exp(-d * d / 2116));
    else if (b == NIGHT)
        mix(&c, &(Colour){{.96, .94, .82}}, 13.5 - distance_to(x, y, 214, 30));
    else if (b == MEADOW)
        draw_meadow(&c, x, y);
    return c;
}

/* ---- what a frame shows ---------------------------------------------------------------------- */

typedef Colour Image[HEIGHT][WIDTH];

static double difference(const Colour *a, const Colour *b)
{
    double sum = 0;
    for (int i = 0; i < 3; i++)
        sum += (a->c[i] - b->c[i]) * (a->c[i] - b->c[i]);
    return sqrt(sum);
}

/* The mean difference, where no pixel counts for more than 0.3: objects cover a part of it. */
static double difference_from(const Image *image, Background b)
{
    double sum = 0;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            Colour c = background_at(b, x + .5, y + .5);
            sum += MIN(difference(&(*image)[y][x], &c), .3);
        }
    return sum / (WIDTH * HEIGHT);
}

static Background find_background(const Image *image)
{
    Background best = BLACK;
    double least = 1;
    for (Background b = 0; b < N_BACKGROUNDS; b++) {
        double d = difference_from(image, b);
        if (d < least) {
            least = d;
            best = b;
        }
    }
    return best;
}

/* Objects are shaded: their colour counts at any brightness near its own. */
static int nearest_colour(const Colour *c)
{
    int best = -1;
    double least = .25;
    for (int i = 0; i < (int) G_N_ELEMENTS(colours); i++)
        for (double shade = .8; shade <= 1.2; shade += .1) {
            Colour shaded = colour_values[i];
            for (int k = 0; k < 3; k++)
                shaded.c[k] = MIN(shaded.c[k] * shade, 1);
            double d = difference(c, &shaded);
            if (d < least) {
                least = d;
                best = i;
            }
        }
    return best;
}

/* −1: nothing to be seen. */
static int find_colour(const Image *image, Background b)
{
    int votes[G_N_ELEMENTS(colours)] = {0}, best = -1, most = 60;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            Colour behind = background_at(b, x + .5, y + .5);
            if (difference(&(*image)[y][x], &behind) < .25)
                continue;
            int colour = nearest_colour(&(*image)[y][x]);
            if (colour >= 0 && ++votes[colour] > most) {
                most = votes[colour];
                best = colour;
            }
        }
    return best;
}

/* ---- the prompts ----------------------------------------------------------------------------- */

typedef struct {
    char *text;
    int colour;
    Background background;
} Scene;

/* Every colour five times, every background two or three times, all shapes. */
static Scene scene_of(int i)
{
    static const char *const sizes[] = {"big", "large", ""};
    static const char *const motions[] = {"moving right slowly", "bouncing", "standing still",
                                          "moving left", "circling around"};
    int colour = i % 8;
    Background background = (Background) ((i * 3 + i / 8) % N_BACKGROUNDS);
    while (too_alike(colour, background))
        background = (background + 1) % N_BACKGROUNDS;
    char *words =
        g_strdup_printf("a %s %s %s %s %s", sizes[i % 3], colours[colour], shapes[(i + i / 8) % 6],
                        motions[i % 5], backgrounds[background].phrase);
    char **parts = g_strsplit(words, "  ", -1);
    Scene scene = {g_strjoinv(" ", parts), colour, background};
    g_strfreev(parts);
    g_free(words);
    return scene;
}

static void read_image(Source *source, Image *image)
{
    source_skip(source, FIRST_CHUNK - 1);
    GBytes *bytes = source_pull_bytes(source);
    const guint8 *pixels = g_bytes_get_data(bytes, NULL);
    g_assert_cmpuint(g_bytes_get_size(bytes), ==, WIDTH * HEIGHT * 3);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int k = 0; k < 3; k++)
                (*image)[y][x].c[k] = *pixels++ / 255.0;
    g_bytes_unref(bytes);
}

/* The last frame of a stream's first chunk. The weights stay loaded from one to the next. */
static void show(Source *source, const char *prompt, gint64 seed, Image *image)
{
    g_object_set(source->element, "prompt", prompt, "seed", seed, NULL);
    source_set_state(source, GST_STATE_PLAYING);
    read_image(source, image);
    source_set_state(source, GST_STATE_READY);
}

static const char *name_of(int colour)
{
    return colour < 0 ? "nothing" : colours[colour];
}

static void test_prompts(void)
{
    Image *image = g_new(Image, 1);
    int n_right = 0;
    Source *source = source_new("model-location", demo_model(), "num-buffers", FIRST_CHUNK, NULL);
    gst_harness_set_sink_caps_str(source->harness, "video/x-raw,format=RGB");
    for (int i = 0; i < N_PROMPTS; i++) {
        Scene scene = scene_of(i);
        show(source, scene.text, i + 1, image);
        Background background = find_background(image);
        int colour = find_colour(image, background);
        gboolean right = colour == scene.colour && background == scene.background;
        n_right += right;
        if (!right)
            g_test_message("seed %d, \"%s\": shows %s on %s", i + 1, scene.text, name_of(colour),
                           backgrounds[background].name);
        g_free(scene.text);
    }
    g_test_message("%d of %d right", n_right, N_PROMPTS);
    g_assert_cmpint(n_right, >=, WANTED);
    source_free(source);
    g_free(image);
}

int main(int argc, char **argv)
{
    tests_init(&argc, &argv);
    g_test_add_func("/prompts/colour-and-background", test_prompts);
    return tests_run();
}
