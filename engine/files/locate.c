/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Levels of nearness: the location itself, then its neighbours, then those of each parent. A part is
 * the one file of its kind on the nearest level that has any.
 */
#include "candidates.h"

#include <string.h>

enum { FOLDER_DEPTH = 3, PARENTS = 5, MAX_LISTED = 8 };

/* The property or option by which a user chooses a part. */
static const struct {
    const char *name, *option;
} parts[LF_N_PARTS] = {{"transformer", "model-location"},
                       {"text encoder", "text-encoder-location"},
                       {"tokenizer", "tokenizer-location"},
                       {"decoder", "decoder-location"}};

const char *lf_part_name(LfPart part)
{
    return parts[part].name;
}

const char *lf_part_option(LfPart part)
{
    return parts[part].option;
}

void lf_located_clear(LfLocated *located)
{
    for (LfPart part = 0; part < LF_N_PARTS; part++) {
        g_free(located->files[part]);
        g_free(located->problems[part]);
    }
    *located = (LfLocated){0};
}

/* ---- a choice among the files of one level --------------------------------------------------- */

/* The path without what tells the format, and whether that is safetensors. Transfer full. */
static char *stem_of(const char *path, bool *safetensors)
{
    static const char index[] = ".index.json", older[] = "pytorch_model";
    gsize length = strlen(path);
    if (g_str_has_suffix(path, index))
        length -= strlen(index);
    g_autofree char *whole = g_strndup(path, length);
    char *dot = strrchr(whole, '.');
    *safetensors = g_str_has_suffix(whole, ".safetensors");
    if (dot)
        *dot = '\0';
    g_autofree char *name = g_path_get_basename(whole);
    g_autofree char *folder = g_path_get_dirname(whole);
    return g_build_filename(folder, g_str_equal(name, older) ? "model" : name, NULL);
}

/* Whether `a` is the same file as `b` and safetensors, as hubs offer it in two formats:
 * "taew2_1.pth" and "taew2_1.safetensors", "pytorch_model.bin" and "model.safetensors". */
static bool is_newer_format(const char *a, const char *b)
{
    bool newer, other;
    g_autofree char *stem_a = stem_of(a, &newer), *stem_b = stem_of(b, &other);
    return newer && !other && g_str_equal(stem_a, stem_b);
}

/* Whether `a` is to be taken and `b` need not be asked about. */
static bool is_better(const LfCandidate *a, const LfCandidate *b)
{
    if (a->teacher != b->teacher)
        return b->teacher;
    if (a->slow != b->slow)
        return b->slow;
    if (a->part == LF_PART_TOKENIZER) /* they are all umT5's, and this is the original's format */
        return !g_str_has_suffix(b->path, ".model") || g_str_has_suffix(a->path, ".model");
    return is_newer_format(a->path, b->path);
}

/* The candidates of a part that no other one is better than. They belong to `level`. */
static GPtrArray *best_of(const GPtrArray *level, LfPart part)
{
    GPtrArray *best = g_ptr_array_new();
    for (guint i = 0; i < level->len; i++) {
        LfCandidate *candidate = level->pdata[i];
        bool beaten = candidate->part != part || candidate->problem;
        for (guint k = 0; k < best->len && !beaten; k++)
            beaten = is_better(best->pdata[k], candidate);
        for (guint k = best->len; k-- > 0 && !beaten;)
            if (is_better(candidate, best->pdata[k]))
                g_ptr_array_remove_index(best, k);
        if (!beaten)
            g_ptr_array_add(best, candidate);
    }
    return best;
}

static bool refuse_several(const char *location, LfPart part, const GPtrArray *several,
                           GError **error)
{
    g_autoptr(GString) list = g_string_new(NULL);
    for (guint i = 0; i < several->len && i < MAX_LISTED; i++)
        g_string_append_printf(list, "%s%s", i ? ", " : "",
                               ((const LfCandidate *) several->pdata[i])->path);
    if (several->len > MAX_LISTED)
        g_string_append(list, " …");
    return lf_fail(error, LF_ERROR_CONFIG, "%s: %u files are a %s: set %s to one of them: %s",
                   location, several->len, parts[part].name, parts[part].option, list->str);
}

/* What keeps a file of this part from being used, for a message. */
static void note_problem(LfLocated *located, const GPtrArray *level, LfPart part)
{
    for (guint i = 0; i < level->len && !located->problems[part]; i++) {
        const LfCandidate *candidate = level->pdata[i];
        if (candidate->part == part && candidate->problem)
            located->problems[part] = g_strdup(candidate->problem);
    }
}

static bool choose(const char *location, LfPart part, const GPtrArray *level, LfLocated *located,
                   GError **error)
{
    g_autoptr(GPtrArray) best = best_of(level, part);
    if (best->len > 1)
        return refuse_several(location, part, best, error);
    if (best->len == 1)
        located->files[part] = g_strdup(((const LfCandidate *) best->pdata[0])->path);
    else
        note_problem(located, level, part);
    return true;
}

/* A text encoder may bring its tokenizer along. A file for the tokenizer alone that is as near goes
 * before it: the lists of a GGUF file may lack the character map. */
static void choose_inner_tokenizer(unsigned wanted, bool has_tokens, LfLocated *located)
{
    if (has_tokens && wanted & 1U << LF_PART_TOKENIZER && !located->files[LF_PART_TOKENIZER])
        located->files[LF_PART_TOKENIZER] = g_strdup(located->files[LF_PART_TEXT_ENCODER]);
}

/* Whether the text encoder is of this level and has a tokenizer inside. */
static bool finds_tokens(const GPtrArray *level, const LfLocated *located)
{
    for (guint i = 0; i < level->len; i++) {
        const LfCandidate *candidate = level->pdata[i];
        if (candidate->has_tokens &&
            g_strcmp0(candidate->path, located->files[LF_PART_TEXT_ENCODER]) == 0)
            return true;
    }
    return false;
}

static bool choose_all(const char *location, unsigned wanted, const GPtrArray *level,
                       LfLocated *located, GError **error)
{
    for (LfPart part = 0; part < LF_N_PARTS; part++)
        if (wanted & 1U << part && !located->files[part] &&
            !choose(location, part, level, located, error))
            return false;
    return true;
}

/* ---- levels ---------------------------------------------------------------------------------- */

static bool is_complete(const LfLocated *located, unsigned wanted)
{
    for (LfPart part = 0; part < LF_N_PARTS; part++)
        if (wanted & 1U << part && !located->files[part])
            return false;
    return true;
}

static bool refuse_none(const char *location, const GPtrArray *level, GError **error)
{
    g_autoptr(GString) list = g_string_new(NULL);
    for (guint i = 0; i < level->len && i < MAX_LISTED; i++) {
        const LfCandidate *c = level->pdata[i];
        g_autofree char *name = g_path_get_basename(c->path);
        if (c->problem)
            g_string_append_printf(list, "; %s", c->problem);
        else
            g_string_append_printf(list, "; %s: %s", name,
                                   c->part < LF_N_PARTS ? parts[c->part].name : "nothing known");
    }
    return lf_fail(error, LF_ERROR_NOT_FOUND,
                   "%s: no model.json, and no transformer among %u files of weights%s", location,
                   level->len, list->str);
}

/* The location itself: a file, or a folder with all below it. */
static bool look_at(const char *location, unsigned wanted, LfCandidates *level, LfLocated *located,
                    GError **error)
{
    bool folder = g_file_test(location, G_FILE_TEST_IS_DIR);
    if (folder)
        lf_candidates_add_folder(level, location, FOLDER_DEPTH);
    else
        g_ptr_array_add(level->found, lf_candidate_new(location));
    if (!choose_all(location, wanted, level->found, located, error))
        return false;
    bool lost = wanted & 1U << LF_PART_TRANSFORMER && !located->files[LF_PART_TRANSFORMER];
    const LfCandidate *only = !folder ? level->found->pdata[0] : NULL;
    if (lost && only && only->problem)
        return lf_fail(error, LF_ERROR_FORMAT, "%s", only->problem);
    return !lost || refuse_none(location, level->found, error);
}

/* Nobody keeps parts of a model beside a root folder or a home. */
static bool is_end(const char *folder)
{
    return g_str_equal(folder, G_DIR_SEPARATOR_S) || g_str_equal(folder, g_get_home_dir());
}

bool lf_locate(const char *location, unsigned wanted, LfLocated *located, GError **error)
{
    g_autofree char *path = g_canonicalize_filename(location, NULL);
    bool folder = g_file_test(path, G_FILE_TEST_IS_DIR);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return lf_fail(error, LF_ERROR_NOT_FOUND, "%s: no such file or folder", location);
    LfCandidates level = lf_candidates_new();
    bool done = look_at(path, wanted, &level, located, error);
    bool tokens = done && finds_tokens(level.found, located);
    choose_inner_tokenizer(wanted, tokens && folder, located); /* beside a file is as near */
    for (int up = 0; done && up < PARENTS && !is_complete(located, wanted); up++) {
        g_autofree char *parent = g_path_get_dirname(path);
        if (is_end(parent))
            break;
        g_ptr_array_set_size(level.found, 0);
        if (up == 0 && !folder)
            lf_candidates_add_folder(&level, parent, 0);
        lf_candidates_add_neighbours(&level, parent);
        done = choose_all(location, wanted & ~(1U << LF_PART_TRANSFORMER), level.found, located,
                          error);
        tokens |= done && finds_tokens(level.found, located);
        choose_inner_tokenizer(wanted, tokens, located);
        g_free(path);
        path = g_steal_pointer(&parent);
    }
    choose_inner_tokenizer(wanted, tokens, located);
    lf_candidates_clear(&level);
    return done;
}
