/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream.h"

#include <string.h>

enum { FIRST_CHUNK = 9, CHUNK = 12 }; /* frames, as the demo model has them */

struct Stream {
    gboolean drawn;
    LfSession *session;
};

/* ---- settings -------------------------------------------------------------------------------- */

/* "name=N" with N from 1 on; `to` stays as it is when the word is another. */
static gboolean take_number(const char *word, const char *name, int *to)
{
    const char *at = g_str_has_prefix(word, name) ? word + strlen(name) : "";
    char *end;
    gint64 number = g_ascii_strtoll(at + (*at == '='), &end, 10);
    if (*at != '=' || end == at + 1 || *end || number < 1 || number > G_MAXINT)
        return FALSE;
    *to = (int) number;
    return TRUE;
}

/* "tile=HxW" */
static gboolean take_tile(const char *word, LfSessionOptions *o)
{
    g_auto(GStrv) sides = g_strsplit(word, "x", -1);
    g_autofree char *width = NULL;
    if (!g_str_has_prefix(word, "tile=") || g_strv_length(sides) != 2)
        return FALSE;
    width = g_strconcat("tile=", sides[1], NULL);
    return take_number(sides[0], "tile", &o->tile_rows) &&
           take_number(width, "tile", &o->tile_cols);
}

static gboolean take_word(Setting *s, const char *word)
{
    LfSessionOptions *o = &s->options;
    char *end;
    double number = g_ascii_strtod(word, &end);
    if (g_str_equal(word, "drawn"))
        s->drawn = TRUE;
    else if (g_str_equal(word, "dense"))
        o->attention = LF_ATTENTION_DENSE;
    else if (g_str_equal(word, "sparse"))
        o->attention = LF_ATTENTION_SPARSE;
    else if (g_str_equal(word, "uniform"))
        o->uniform = TRUE;
    else if (g_str_equal(word, "all-frames"))
        o->keep_frames = -1;
    else if (g_str_equal(word, "recache"))
        o->transition = LF_TRANSITION_RECACHE;
    else if (g_str_equal(word, "cut"))
        o->transition = LF_TRANSITION_CUT;
    else if (g_str_equal(word, "one-map"))
        o->one_map = TRUE;
    else if (take_number(word, "block", &o->key_block))
        o->query_block = o->key_block;
    else if (take_number(word, "window", &o->window) ||
             take_number(word, "keep", &o->keep_frames) ||
             take_number(word, "key-block", &o->key_block) ||
             take_number(word, "query-block", &o->query_block) || take_tile(word, o))
        return TRUE;
    else if (end > word && *end == 0 && number > 0 && number < 1)
        o->sparsity = number;
    else
        return FALSE;
    return TRUE;
}

gboolean setting_parse(const char *text, Setting *s, GError **error)
{
    g_auto(GStrv) words = g_strsplit(*text ? text : "+", "+", -1);
    *s = (Setting){.name = g_strdup(text)};
    for (char **word = words; *word; word++)
        if (!take_word(s, *word)) {
            g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                        "setting \"%s\": \"%s\" is none of drawn, dense, sparse, uniform, "
                        "all-frames, keep=N, window=N, block=N, query-block=N, key-block=N, "
                        "tile=HxW, one-map, recache, cut, or a sparsity below 1",
                        text, *word);
            return FALSE;
        }
    return TRUE;
}

void setting_clear(Setting *s)
{
    g_free(s->name);
}

/* ---- streams --------------------------------------------------------------------------------- */

static gboolean fits(LfModel *model, GError **error)
{
    const LfModelInfo *info = lf_model_info(model);
    if (info->width == WORLD_WIDTH && info->height == WORLD_HEIGHT && info->chunk == 3)
        return TRUE;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "the model makes chunks of %d latent frames, %d×%d: what is judged here is a model "
                "of %d×%d and 3",
                info->chunk, info->width, info->height, WORLD_WIDTH, WORLD_HEIGHT);
    return FALSE;
}

Stream *stream_new(LfModel *model, const Setting *setting, GError **error)
{
    LfSession *session = NULL;
    if (!setting->drawn) {
        if (!fits(model, error))
            return NULL;
        session = lf_session_new(model, &setting->options, error);
        if (!session)
            return NULL;
    }
    Stream *s = g_new0(Stream, 1);
    s->drawn = setting->drawn;
    s->session = session;
    return s;
}

void stream_free(Stream *s)
{
    if (s)
        lf_session_free(s->session);
    g_free(s);
}

static void draw_chunk(const World *world, int chunk, int frame, Footage *footage)
{
    Image *image = g_new(Image, 1);
    for (int i = 0; i < (chunk == 0 ? FIRST_CHUNK : CHUNK); i++) {
        world_draw(world, frame + i, image);
        world_to_bytes(image, footage_next(footage));
        footage_added(footage, i == 0);
    }
    g_free(image);
}

/* After a change the motion starts again. */
static void draw(const Script *script, Footage *footage)
{
    GRand *rng = g_rand_new_with_seed(script->seed);
    World worlds[2] = {world_new(rng, &script->scenes[0]), world_new(rng, &script->scenes[1])};
    int start = 0;
    for (int chunk = 0; chunk < script->n_chunks; chunk++) {
        gboolean changed = script->change > 0 && chunk >= script->change;
        if (chunk == script->change)
            start = footage->n_frames;
        draw_chunk(&worlds[changed], chunk, footage->n_frames - start, footage);
    }
    g_rand_free(rng);
}

static gboolean take_chunk(LfSession *session, Footage *footage, Score *score, GError **error)
{
    gint64 start = g_get_monotonic_time();
    LfChunk *chunk = lf_session_next(session, error);
    if (!chunk)
        return FALSE;
    const LfChunkInfo *info = lf_chunk_info(chunk);
    gboolean well = TRUE;
    score->sparsity = info->sparsity;
    if (info->index > 0) {
        score->generate_ms += (double) (g_get_monotonic_time() - start) / 1000;
        score->n_generated++;
    }
    for (int i = 0; well && i < info->n_frames; i++) {
        LfPicture picture = {.format = LF_PIXELS_RGB,
                             .width = WORLD_WIDTH,
                             .height = WORLD_HEIGHT,
                             .planes = {footage_next(footage)},
                             .strides = {3 * WORLD_WIDTH}};
        well = lf_chunk_read(chunk, i, &picture, error);
        if (well)
            footage_added(footage, i == 0);
    }
    lf_chunk_unref(chunk);
    return well;
}

gboolean stream_run(Stream *s, const Script *script, Footage *footage, Score *score, GError **error)
{
    footage_clear(footage);
    if (s->drawn) {
        draw(script, footage);
        return TRUE;
    }
    lf_session_restart(s->session, script->seed);
    for (int i = 0; i < script->n_chunks; i++) {
        if (i == 0 && !lf_session_set_prompt(s->session, script->captions[0], error))
            return FALSE;
        if (i > 0 && i == script->change &&
            !lf_session_set_prompt(s->session, script->captions[1], error))
            return FALSE;
        if (!take_chunk(s->session, footage, score, error))
            return FALSE;
    }
    return TRUE;
}
