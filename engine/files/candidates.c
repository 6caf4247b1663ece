/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "candidates.h"

#include "recognise.h"
#include "tokenizer_file.h"

#include <string.h>

/* Somebody may name a folder that holds a whole disk. */
enum { MAX_FILES = 2000, NEIGHBOUR_DEPTH = 3 };

/* Names of folders, in lower case, in which parts of a model are found beside other things. */
static const char *const neighbours[] = {
    "autoencoders", "clip",        "decoder*", "encoders",      "google",     "models",
    "models--*",    "split_files", "taehv*",   "text_encoder*", "tokenizer*", "umt5*",
    "vae*",         "wan2.1*",     "wan_2.1*", "wanvideo*",     "wan-ai*",
};

static const char *const endings[] = {".safetensors", ".pt",   ".pth",       ".bin",
                                      ".ckpt",        ".gguf", ".index.json"};

/* A checkpoint that several processes wrote is a folder of such files, of which the first stands for
 * all. */
static const char distributed[] = ".distcp", first_distributed[] = "__0_0.distcp";

LfCandidates lf_candidates_new(void)
{
    return (LfCandidates){g_ptr_array_new_with_free_func((GDestroyNotify) lf_candidate_free), 0};
}

void lf_candidates_clear(LfCandidates *candidates)
{
    g_clear_pointer(&candidates->found, g_ptr_array_unref);
}

void lf_candidate_free(LfCandidate *candidate)
{
    g_free(candidate->path);
    g_free(candidate->problem);
    g_free(candidate);
}

/* ---- one file -------------------------------------------------------------------------------- */

static bool is_tokenizer(const char *name)
{
    return g_str_equal(name, "tokenizer.json") || g_str_equal(name, "spiece.model");
}

static bool has_ending(const char *name)
{
    g_autofree char *lower = g_ascii_strdown(name, -1);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++)
        if (g_str_has_suffix(lower, endings[i]))
            return true;
    return false;
}

static void recognise(LfCandidate *candidate, LfTensorFile *file)
{
    static const LfPart parts[LF_N_FILE_KINDS] = {
        [LF_FILE_UNKNOWN] = LF_N_PARTS,
        [LF_FILE_TRANSFORMER] = LF_PART_TRANSFORMER,
        [LF_FILE_TEXT_ENCODER] = LF_PART_TEXT_ENCODER,
        [LF_FILE_DECODER] = LF_PART_DECODER,
        [LF_FILE_LORA] = LF_N_PARTS,
    };
    g_autoptr(LfRecognised) r = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
    candidate->part = parts[r->kind];
    candidate->teacher = r->teacher;
    candidate->has_tokens = r->kind == LF_FILE_TEXT_ENCODER && lf_tokenizer_is_inside(file);
    candidate->slow = r->kind == LF_FILE_DECODER && r->layout != &lf_layout_taehv;
    if (r->problem)
        candidate->problem = g_strdup_printf("%s: %s", candidate->path, r->problem);
}

LfCandidate *lf_candidate_new(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_path_get_basename(path);
    LfCandidate *candidate = g_new0(LfCandidate, 1);
    candidate->path = g_canonicalize_filename(path, NULL);
    candidate->part = LF_N_PARTS;
    if (is_tokenizer(name)) {
        candidate->part = LF_PART_TOKENIZER;
        return candidate;
    }
    if (g_str_has_suffix(name, distributed)) {
        candidate->problem =
            g_strdup_printf("%s: it is a part of a distributed checkpoint: make one file of the "
                            "folder with python3 "
                            "-m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE",
                            candidate->path);
        return candidate;
    }
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    if (file)
        recognise(candidate, file);
    else
        candidate->problem = g_strdup(error->message);
    lf_tensor_file_unref(file);
    return candidate;
}

/* ---- folders --------------------------------------------------------------------------------- */

static bool is_neighbour(const char *name)
{
    g_autofree char *lower = g_ascii_strdown(name, -1);
    for (gsize i = 0; i < G_N_ELEMENTS(neighbours); i++)
        if (g_pattern_match_simple(neighbours[i], lower))
            return true;
    return false;
}

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The names in a folder, sorted, so that the same folder gives the same messages everywhere. */
static GPtrArray *names_in(const char *folder)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir && names->len < MAX_FILES && (name = g_dir_read_name(dir)))
        if (*name != '.')
            g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_text);
    return names;
}

/* "model-00001-of-00005.safetensors" */
static bool is_shard(const char *name)
{
    return g_regex_match_simple("-[0-9]{5}-of-[0-9]{5}\\.", name, 0, 0);
}

static bool has_index(const GPtrArray *names)
{
    for (guint i = 0; i < names->len; i++)
        if (g_str_has_suffix(names->pdata[i], ".index.json"))
            return true;
    return false;
}

/* A repository in the hub's cache has a folder for each revision that was fetched, and a file that
 * says which of them is the newest. NULL when `folder` is none. */
static char *newest_snapshot(const char *folder)
{
    g_autofree char *ref = g_build_filename(folder, "refs", "main", NULL);
    g_autofree char *revision = NULL;
    gsize size;
    if (!g_file_get_contents(ref, &revision, &size, NULL) || size > 128)
        return NULL;
    char *snapshot = g_build_filename(folder, "snapshots", g_strstrip(revision), NULL);
    if (strchr(revision, '/') || !g_file_test(snapshot, G_FILE_TEST_IS_DIR))
        g_clear_pointer(&snapshot, g_free);
    return snapshot;
}

void lf_candidates_add_folder(LfCandidates *candidates, const char *folder, int depth)
{
    g_autofree char *snapshot = newest_snapshot(folder);
    if (snapshot) {
        lf_candidates_add_folder(candidates, snapshot, NEIGHBOUR_DEPTH);
        return;
    }
    g_autoptr(GPtrArray) names = names_in(folder);
    bool indexed = has_index(names);
    for (guint i = 0; i < names->len && candidates->n_files < MAX_FILES; i++) {
        const char *name = names->pdata[i];
        g_autofree char *path = g_build_filename(folder, name, NULL);
        candidates->n_files++;
        if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
            if (depth > 0)
                lf_candidates_add_folder(candidates, path, depth - 1);
        } else if (is_tokenizer(name) || g_str_equal(name, first_distributed) ||
                   (has_ending(name) && !(indexed && is_shard(name)))) {
            g_ptr_array_add(candidates->found, lf_candidate_new(path));
        }
    }
}

void lf_candidates_add_neighbours(LfCandidates *candidates, const char *folder)
{
    g_autoptr(GPtrArray) names = names_in(folder);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *path = g_build_filename(folder, names->pdata[i], NULL);
        if (is_neighbour(names->pdata[i]) && g_file_test(path, G_FILE_TEST_IS_DIR))
            lf_candidates_add_folder(candidates, path, NEIGHBOUR_DEPTH);
    }
}
