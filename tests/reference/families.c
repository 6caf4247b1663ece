/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Small checkpoints of the published families, in files of the published names and layouts, with
 * nothing said about how they are sampled: the family does. Streams over several chunks from the same
 * noise as the public implementations, by the public API.
 */
#include "checkpoint.h"
#include "engine/lightforcing.h"
#include "fixture.h"

#include <string.h>

#define BOUND 3e-6 /* measured 5e-7 */

enum { MOST_CHANGES = 3, LORA_RANK = 4 };

typedef struct {
    const char *name; /* of the result */
    const char *file; /* as it is published */
    const char *key;  /* the dictionary of the file that has the weights, or NULL */
    const char *prefix;
    LfType type;
    gboolean lora;
    const char *settings;      /* further sections of model.json, or "" */
    int chunk, first, chunks;  /* frames of a chunk; the chunks from `first` on are compared */
    int changes[MOST_CHANGES]; /* the chunks that begin with another text; 0: no more */
    const char *noise;         /* its name */
    int latent_width, latent_height;
} Case;

/* The second half of each row: the pictures and the noise that were made for these tests, and those
 * of rollout.c. */
#define SMALL(frames)                                                                              \
    .chunk = (frames), .noise = "families.noise." #frames, .latent_width = 6, .latent_height = 4
#define LARGE                                                                                      \
    .chunk = 3, .noise = "noise", .latent_width = REF_LATENT_WIDTH,                                \
    .latent_height = REF_LATENT_HEIGHT, .chunks = 6

#define RCM "Causal_rCM_Wan2.1_T2V_1.3B_480p_TF-dCM-init_SF-DMD_"

static const Case cases[] = {
    {"longlive", "longlive_base.pt", "generator", "model.", LF_F32, .lora = TRUE, .settings = "",
     SMALL(3), .chunks = 9, .changes = {2, 4, 7}},
    {"longlive.relative", "longlive_base.pt", "generator", "model.", LF_F32, .lora = TRUE,
     .settings = ", \"cache\": {\"positions\": \"relative\"}", SMALL(3), .chunks = 9,
     .changes = {2, 4, 7}},
    {"causal-forcing.4", "causal_forcing-framewise.pt", "generator_ema", "model.", LF_F32,
     .settings = "", SMALL(1), .chunks = 8},
    {"causal-forcing.2", "framewise-2step.pt", "generator_ema", "model.", LF_F32, .settings = "",
     SMALL(1), .chunks = 8},
    {"causal-forcing.2.late", "framewise-2step.pt", "generator_ema", "model._fsdp_wrapped_module.",
     LF_F32, .settings = "", SMALL(1), .first = 20, .chunks = 24},
    {"causal-forcing.1", "framewise-1step.pt", "generator_ema", "model.", LF_F32, .settings = "",
     SMALL(1), .chunks = 8},
    {"rcm.3.4", RCM "c3-3_step4.pt", NULL, "net.", LF_BF16, .settings = "", SMALL(3), .chunks = 5},
    {"rcm.3.2", RCM "c3-3_step2.pt", NULL, "net.", LF_BF16, .settings = "", SMALL(3), .chunks = 5},
    {"rcm.1.4", RCM "c1-1_step4.pt", NULL, "net.", LF_BF16, .settings = "", SMALL(1), .chunks = 8},
    {"rcm.1.2", RCM "c1-1_step2.pt", NULL, "net.", LF_BF16, .settings = "", SMALL(1), .chunks = 8},
    {"rcm.1.1", RCM "c1-1_step1.pt", NULL, "net.", LF_BF16, .settings = "", SMALL(1), .chunks = 8},
    {"light-forcing-long", "long_video_gen.pt", "generator_ema", "model.", LF_F32, .settings = "",
     SMALL(3), .first = 6, .chunks = 9},
    {"absolute.0.0", "self_forcing_dmd.pt", "generator_ema", "model.", LF_F32, .settings = "",
     LARGE},
    {"absolute.0.0", "short_video_gen.pt", "generator_ema", "model.", LF_F32, .settings = "",
     LARGE},
    {"sparse.absolute.0.0", "short_video_gen.pt", "generator_ema", "model.", LF_F32,
     .settings = ", \"sparse\": {\"target\": 0.7, \"base\": 0.85, \"query_block\": 8, "
                 "\"key_block\": 4, \"keep_frames\": 4, \"keep_sink\": 1, \"keep_near\": 2, "
                 "\"horizon\": 18}",
     LARGE},
};

/* ---- files ----------------------------------------------------------------------------------- */

/* rCM's patch embedding is a linear layer: the same numbers, in two dimensions. */
static void flatten_patches(GArray *tensors)
{
    for (guint i = 0; i < tensors->len; i++) {
        LfFileTensor *t = &g_array_index(tensors, LfFileTensor, i);
        if (strcmp(t->name, "patch_embedding.weight") == 0) {
            t->n_dims = 2;
            t->shape[1] = 4 * REF_CHANNELS;
        }
    }
}

static void add_matrix(GArray *tensors, const LfFileTensor *of, const char *which, int64_t rows,
                       int64_t columns)
{
    const int64_t shape[] = {rows, columns};
    g_autofree char *module = g_strndup(of->name, strlen(of->name) - strlen(".weight"));
    char *name = g_strdup_printf("base_model.model.%s.%s.weight", module, which);
    LfFileTensor t = {.name = name,
                      .type = LF_F32,
                      .n_dims = 2,
                      .shape = {rows, columns},
                      .data = ref_weight(name, 2, shape, FALSE),
                      .size = (size_t) (rows * columns) * sizeof(float)};
    g_array_append_val(tensors, t);
}

/* Of every linear layer of the blocks, as LongLive's. */
static void write_lora(const char *path, const GArray *base)
{
    g_autoptr(GArray) tensors = ref_tensors_new();
    for (guint i = 0; i < base->len; i++) {
        const LfFileTensor *t = &g_array_index(base, LfFileTensor, i);
        if (t->n_dims != 2 || !g_str_has_prefix(t->name, "blocks."))
            continue;
        add_matrix(tensors, t, "lora_A", LORA_RANK, t->shape[1]);
        add_matrix(tensors, t, "lora_B", t->shape[0], LORA_RANK);
    }
    ref_write_checkpoint(path, "generator_lora", "", tensors, LF_F32);
}

/* A folder with the checkpoint, with lora.pt, and with a model.json of what the shapes of so small a
 * model do not tell. */
static char *new_model(const Case *c)
{
    GError *error = NULL;
    char *folder = ref_directory();
    g_autofree char *checkpoint = g_build_filename(folder, c->file, NULL);
    g_autofree char *lora = g_build_filename(folder, "lora.pt", NULL);
    g_autofree char *config = g_build_filename(folder, "model.json", NULL);
    g_autofree char *json = g_strdup_printf(
        "{\"transformer\": {\"file\": \"%s\", \"heads\": %d, \"text_len\": %d}, "
        "\"video\": {\"width\": %d, \"height\": %d}%s}",
        c->file, REF_HEADS, REF_TEXT_LEN, 8 * c->latent_width, 8 * c->latent_height, c->settings);
    g_autoptr(GArray) tensors = ref_transformer(REF_LAYERS, NULL);
    if (c->lora)
        write_lora(lora, tensors);
    if (g_str_has_prefix(c->name, "rcm"))
        flatten_patches(tensors);
    ref_write_checkpoint(checkpoint, c->key, c->prefix, tensors, c->type);
    g_file_set_contents(config, json, -1, &error);
    g_assert_no_error(error);
    return folder;
}

static LfModel *open_model(const Case *c, const char *folder)
{
    GError *error = NULL;
    g_autofree char *file = g_build_filename(folder, "lora.pt", NULL);
    const LfLora lora = {file, 1};
    LfModelOptions options = {
        .backend = "cpu", .n_threads = 1, .loras = &lora, .n_loras = c->lora ? 1 : 0};
    LfModel *model = lf_model_open(folder, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lf_model_info(model)->chunk, ==, c->chunk);
    return model;
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* The text of the stream, from `number` 0 on. */
static void set_text(LfSession *session, int number)
{
    static const int rows[MOST_CHANGES + 1] = {REF_TEXT_ROWS, 7, REF_TEXT_LEN, 3};
    g_autofree char *name = number ? g_strdup_printf("context.%d", number) : g_strdup("context");
    g_autofree float *context = ref_numbers(name, (int64_t) rows[number] * REF_TEXT_DIM, 1, 0);
    g_assert_true(lf_session_set_context(session, context, rows[number], REF_TEXT_DIM, NULL));
}

static LfSession *new_session(LfModel *model, const Case *c, RefNoise *noise)
{
    GError *error = NULL;
    LfSessionOptions options = {.no_decoder = TRUE,
                                .no_text = TRUE,
                                .keep_latents = TRUE,
                                .transition = LF_TRANSITION_RECACHE};
    if (!strstr(c->settings, "sparse"))
        options.attention = LF_ATTENTION_DENSE;
    LfSession *session = lf_session_new(model, &options, &error);
    g_assert_no_error(error);
    lf_session_set_noise(session, ref_give_noise, noise);
    set_text(session, 0);
    return session;
}

static void compare_chunk(LfSession *session, const Case *c, int index, const float *theirs,
                          int64_t count)
{
    GError *error = NULL;
    int channels, height, width;
    LfChunk *chunk = lf_session_next(session, &error);
    g_assert_no_error(error);
    const float *ours = lf_chunk_latents(chunk, &channels, &height, &width);
    g_autofree char *what = g_strdup_printf("%s, %s, chunk %d", c->file, c->name, index);
    g_assert_cmpint(lf_chunk_info(chunk)->n_latent_frames, ==, c->chunk);
    g_assert_cmpint(count, ==, (int64_t) c->chunk * channels * height * width);
    if (index >= c->first)
        ref_compare(what, ours, theirs + (index - c->first) * count, count, BOUND);
    lf_chunk_unref(chunk);
}

static void test_family(gconstpointer data)
{
    const Case *c = data;
    int64_t count = (int64_t) c->chunk * REF_CHANNELS * c->latent_width * c->latent_height;
    LfTensorFile *results = ref_open(strcmp(c->noise, "noise") == 0 ? "rollout" : "families");
    const float *theirs = ref_f32(results, c->name, (c->chunks - c->first) * count);
    RefNoise noise = ref_noise(c->noise, c->chunks, count);
    char *folder = new_model(c);
    LfModel *model = open_model(c, folder);
    LfSession *session = new_session(model, c, &noise);
    for (int index = 0, text = 0; index < c->chunks; index++) {
        if (index > 0 && text < MOST_CHANGES && c->changes[text] == index)
            set_text(session, ++text);
        compare_chunk(session, c, index, theirs, count);
    }
    lf_session_free(session);
    lf_model_unref(model);
    lf_tensor_file_unref(results);
    g_free(noise.values);
    ref_remove(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strconcat("/reference/families/", cases[i].file, "/", cases[i].name, NULL);
        g_test_add_data_func(path, &cases[i], test_family);
    }
    return g_test_run();
}
