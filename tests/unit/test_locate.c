/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Finding the parts of a model in folders of published layouts and around a checkpoint. The files
 * are links to the demo model's: what a file is, is told by its tensors.
 */
#include "stream.h"

#include "engine/files/locate.h"
#include "engine/files/tensor_file.h"
#include "tests/common/folder.h"
#include "tests/common/gguf_file.h"

#include <glib/gstdio.h>
#include <string.h>

enum { ALL = (1 << LF_N_PARTS) - 1 };

static const char *const demo_files[LF_N_PARTS] = {
    "transformer.safetensors", "text_encoder.safetensors", "spiece.model", "decoder.safetensors"};

/* A file at `path` below `root` that is this part. */
static void put(const char *root, LfPart part, const char *path)
{
    g_autofree char *demo = g_canonicalize_filename(g_getenv("LIGHTFORCING_MODEL"), NULL);
    g_autofree char *target = g_build_filename(demo, demo_files[part], NULL);
    folder_link(root, path, target);
}

typedef struct {
    const char *title;
    const char *location;
    const char *others[4];         /* text files with nothing of use */
    const char *files[LF_N_PARTS]; /* expected; they are made */
    const char *also[LF_N_PARTS];  /* made, too, and not to be chosen */
} Layout;

static const Layout layouts[] = {
    {"Wan-AI",
     "Wan2.1-T2V-1.3B",
     {"Wan2.1-T2V-1.3B/config.json", "Wan2.1-T2V-1.3B/README.md"},
     {"Wan2.1-T2V-1.3B/any.safetensors", "Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth",
      "Wan2.1-T2V-1.3B/google/umt5-xxl/spiece.model", "Wan2.1-T2V-1.3B/taew2_1.pth"},
     {NULL, NULL, "Wan2.1-T2V-1.3B/google/umt5-xxl/tokenizer.json", NULL}},
    {"diffusers",
     "repo",
     {"repo/model_index.json", "repo/transformer/config.json"},
     {"repo/transformer/diffusion_pytorch_model.safetensors", "repo/text_encoder/model.safetensors",
      "repo/tokenizer/spiece.model", "repo/vae/diffusion_pytorch_model.safetensors"},
     {NULL, NULL, "repo/tokenizer/tokenizer.json", NULL}},
    {"ComfyUI",
     "ComfyUI/models",
     {"ComfyUI/models/checkpoints/put_checkpoints_here"},
     {"ComfyUI/models/diffusion_models/causal.safetensors",
      "ComfyUI/models/text_encoders/umt5_xxl_fp16.safetensors",
      "ComfyUI/models/text_encoders/spiece.model", "ComfyUI/models/vae_approx/taew2_1.safetensors"},
     {NULL}},
    {"a checkpoint in a ComfyUI folder",
     "ComfyUI/models/diffusion_models/b.safetensors",
     {NULL},
     {"ComfyUI/models/diffusion_models/b.safetensors", "ComfyUI/models/clip/umt5.safetensors",
      "ComfyUI/models/clip/spiece.model", "ComfyUI/models/vae/tae.safetensors"},
     {"ComfyUI/models/diffusion_models/a.safetensors"}},
    {"a checkpoint beside a base folder",
     "checkpoints/self_forcing_dmd.pt",
     {NULL},
     {"checkpoints/self_forcing_dmd.pt", "Wan2.1-T2V-1.3B/models_t5.pth",
      "Wan2.1-T2V-1.3B/google/umt5-xxl/spiece.model", "Autoencoders/taew2_1.safetensors"},
     {"Wan2.1-T2V-1.3B/diffusion_pytorch_model.safetensors"}},
    {"the nearest",
     "a/b",
     {NULL},
     {"a/b/t.pt", "a/b/e.pt", "a/b/c/d/spiece.model", "a/vae/d.pt"},
     {NULL, "a/text_encoders/e.pt", "a/tokenizer/spiece.model", "vae/d.pt"}},
    {"two formats of one file",
     "m",
     {NULL},
     {"m/t.safetensors", "m/e.safetensors", "m/spiece.model", "m/d.safetensors"},
     {"m/t.pt", "m/e.pth", NULL, "m/d.pth"}},
    {"two formats under the hub's names",
     "m",
     {NULL},
     {"m/t.safetensors", "m/e/model.safetensors", "m/spiece.model", "m/d.safetensors"},
     {NULL, "m/e/pytorch_model.bin", NULL, NULL}},
    {"a file beside", "t.pt", {NULL}, {"t.pt", "e.pt", "spiece.model", "d.pt"}, {NULL}},
    {"other endings", "m", {NULL}, {"m/t.ckpt", "m/e.bin", "m/spiece.model", "m/d.gguf"}, {NULL}},
    {"hidden folders are not looked at",
     "m",
     {NULL},
     {"m/t.pt", "m/e.pt", "m/spiece.model", "m/d.pt"},
     {"m/.cache/t.pt", ".old/e.pt", NULL, "m/.d.pt"}},
    {"the newest of a cache's revisions",
     "hub/models--x--y",
     {NULL},
     {"hub/models--x--y/snapshots/new/t.pt", "hub/models--Wan-AI--Wan/snapshots/new/e.pth",
      "hub/models--Wan-AI--Wan/snapshots/new/google/umt5-xxl/spiece.model",
      "hub/models--x--y/snapshots/new/d.pt"},
     {"hub/models--x--y/snapshots/old/t.pt", "hub/models--Wan-AI--Wan/snapshots/old/e.pth", NULL,
      "hub/models--x--y/snapshots/old/d.pt"}},
};

static void make(const char *root, const Layout *layout)
{
    for (gsize i = 0; i < G_N_ELEMENTS(layout->others) && layout->others[i]; i++)
        folder_text(root, layout->others[i], "{}");
    for (LfPart part = 0; part < LF_N_PARTS; part++) {
        put(root, part, layout->files[part]);
        if (layout->also[part])
            put(root, part, layout->also[part]);
    }
    if (g_str_has_prefix(layout->location, "hub/")) {
        folder_text(root, "hub/models--x--y/refs/main", "new");
        folder_text(root, "hub/models--Wan-AI--Wan/refs/main", "new\n");
    }
}

static void test_layouts(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(layouts); i++) {
        g_autoptr(GError) error = NULL;
        LfLocated located = {0};
        char *root = folder_new();
        make(root, &layouts[i]);
        g_autofree char *location = g_build_filename(root, layouts[i].location, NULL);
        g_test_message("%s", layouts[i].title);
        lf_locate(location, ALL, &located, &error);
        g_assert_no_error(error);
        for (LfPart part = 0; part < LF_N_PARTS; part++) {
            g_autofree char *expected = g_build_filename(root, layouts[i].files[part], NULL);
            g_assert_cmpstr(located.files[part], ==, expected);
        }
        lf_located_clear(&located);
        folder_remove(root);
    }
}

/* Every name of a folder that is looked into beside a model, whatever its case; no other one. */
static void test_neighbours(void)
{
    static const char *const names[] = {
        "autoencoders", "CLIP",         "decoders",    "encoders",      "Google",
        "models",       "models--a--b", "split_files", "taehv_2",       "text_encoder",
        "tokenizer_2",  "umt5-xxl",     "VAE_approx",  "Wan2.1-T2V-1B", "Wan_2.1_other",
        "WanVideo",     "Wan-AI",       "others",      "myvae",         "wan2.2"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        LfLocated located = {0};
        char *root = folder_new();
        bool known = i < G_N_ELEMENTS(names) - 3;
        g_autofree char *decoder = g_build_filename(names[i], "a", "d.pt", NULL);
        g_autofree char *full = g_build_filename(root, decoder, NULL);
        g_autofree char *location = g_build_filename(root, "m", NULL);
        put(root, LF_PART_TRANSFORMER, "m/t.pt");
        put(root, LF_PART_DECODER, decoder);
        g_assert_true(lf_locate(location, ALL, &located, NULL));
        g_assert_cmpstr(located.files[LF_PART_DECODER], ==, known ? full : NULL);
        lf_located_clear(&located);
        folder_remove(root);
    }
}

/* How deep a folder and its neighbours are looked into, and how far up. */
static void test_depths(void)
{
    static const struct {
        const char *location, *transformer, *decoder;
        bool found, found_decoder;
    } cases[] = {
        {"m", "m/1/2/3/t.pt", "m/1/2/3/d.pt", true, true},
        {"m", "m/1/2/3/4/t.pt", "x/d.pt", false, false},
        {"m", "m/t.pt", "m/1/2/3/4/d.pt", true, false},
        {"m", "m/t.pt", "vae/1/2/3/d.pt", true, true},
        {"m", "m/t.pt", "vae/1/2/3/4/d.pt", true, false},
        {"1/2/3/4/m", "1/2/3/4/m/t.pt", "vae/d.pt", true, true},
        {"1/2/3/4/5/m", "1/2/3/4/5/m/t.pt", "vae/d.pt", true, false},
        {"m/t.pt", "m/t.pt", "m/a/d.pt", true, false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfLocated located = {0};
        char *root = folder_new();
        g_autofree char *location = g_build_filename(root, cases[i].location, NULL);
        put(root, LF_PART_TRANSFORMER, cases[i].transformer);
        put(root, LF_PART_DECODER, cases[i].decoder);
        g_assert_true(lf_locate(location, ALL, &located, NULL) == cases[i].found);
        g_assert_true((located.files[LF_PART_DECODER] != NULL) == cases[i].found_decoder);
        lf_located_clear(&located);
        folder_remove(root);
    }
}

/* A file that names the newest revision may name a folder of the snapshots alone. */
static void test_revisions(void)
{
    g_autofree char *longest = g_strnfill(128, 'a'), *longer = g_strnfill(129, 'a');
    const struct {
        const char *ref;
        bool followed;
    } cases[] = {{"new", true},     {" new\n", true}, {"gone", false},
                 {"../new", false}, {longest, true},  {longer, false}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LfLocated located = {0};
        char *root = folder_new();
        g_autofree char *name = g_strstrip(g_strdup(cases[i].ref));
        g_autofree char *named = g_build_filename("hub/snapshots", name, "t.pt", NULL);
        g_autofree char *empty = g_build_filename("hub/snapshots", name, "any", NULL);
        const char *usual = "hub/other/t.pt";
        g_autofree char *hub = g_build_filename(root, "hub", NULL);
        g_autofree char *wanted = g_build_filename(root, cases[i].followed ? named : usual, NULL);
        put(root, LF_PART_TRANSFORMER, usual);
        folder_text(root, "hub/snapshots/any", "");
        if (cases[i].followed)
            put(root, LF_PART_TRANSFORMER, named);
        else if (!g_str_equal(name, "gone"))
            folder_text(root, empty, "");
        folder_text(root, "hub/refs/main", cases[i].ref);
        g_assert_true(lf_locate(hub, 1U << LF_PART_TRANSFORMER, &located, NULL));
        g_assert_cmpstr(located.files[LF_PART_TRANSFORMER], ==, wanted);
        lf_located_clear(&located);
        folder_remove(root);
    }
}

/* Of many files of one part eight are named. */
static void test_many(void)
{
    for (int n = 8; n <= 9; n++) {
        g_autoptr(GError) error = NULL;
        LfLocated located = {0};
        char *root = folder_new();
        for (int i = 0; i < n; i++) {
            g_autofree char *name = g_strdup_printf("d%d.pt", i);
            put(root, LF_PART_DECODER, name);
        }
        g_autofree char *count = g_strdup_printf("%d files are a decoder", n);
        g_assert_false(lf_locate(root, 1U << LF_PART_DECODER, &located, &error));
        g_assert_nonnull(strstr(error->message, count));
        g_assert_nonnull(strstr(error->message, "/d7.pt"));
        g_assert_null(strstr(error->message, "/d8.pt"));
        g_assert_true((strstr(error->message, " …") != NULL) == (n > 8));
        lf_located_clear(&located);
        folder_remove(root);
    }
}

static void put_vae(const char *root, const char *name)
{
    static const float number = 1;
    static const LfFileTensor sign = {
        "decoder.middle.0.residual.0.gamma", LF_F32, 1, {1}, &number, sizeof number, NULL};
    g_autofree char *vae = g_build_filename(root, name, NULL);
    g_assert_true(lf_safetensors_write(vae, &sign, 1, NULL));
}

/* The VAE is a decoder, but one that runs many times faster goes before it; of two that are as fast
 * the user chooses. */
static void test_vae(void)
{
    g_autoptr(GError) error = NULL;
    LfLocated located = {0};
    char *root = folder_new();
    put_vae(root, "Wan2.1_VAE.safetensors");
    lf_locate(root, 1U << LF_PART_DECODER, &located, &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_suffix(located.files[LF_PART_DECODER], "Wan2.1_VAE.safetensors"));
    lf_located_clear(&located);
    put_vae(root, "lightvaew2_1.safetensors");
    g_assert_false(lf_locate(root, 1U << LF_PART_DECODER, &located, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_nonnull(strstr(error->message, "set decoder-location to one of them"));
    g_assert_nonnull(strstr(error->message, "lightvaew2_1.safetensors"));
    g_clear_error(&error);
    lf_located_clear(&located);
    put(root, LF_PART_DECODER, "tae.safetensors");
    lf_locate(root, 1U << LF_PART_DECODER, &located, &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_suffix(located.files[LF_PART_DECODER], "tae.safetensors"));
    lf_located_clear(&located);
    folder_remove(root);
}

/* ---- tokenizers inside of text encoders ------------------------------------------------------ */

typedef enum { NO_TOKENS, GGUF_TOKENS, TENSOR_TOKENS } Inside;

/* A file that is a text encoder by its names, with a tokenizer inside. */
static void put_encoder(const char *root, const char *path, Inside inside)
{
    static const float numbers[32];
    static const int64_t shape[] = {1, 32};
    g_autofree char *full = g_build_filename(root, path, NULL);
    g_autofree char *model = NULL;
    gsize size;
    g_assert_true(g_file_get_contents(LF_TEST_TOKENIZER, &model, &size, NULL));
    folder_text(root, path, "");
    if (inside == TENSOR_TOKENS) {
        const LfFileTensor tensors[] = {
            {"encoder.block.0.layer.0.SelfAttention.q.weight",
             LF_F32,
             2,
             {1, 32},
             numbers,
             sizeof numbers,
             NULL},
            {"spiece_model", LF_U8, 1, {(int64_t) size}, model, size, NULL}};
        g_assert_true(lf_safetensors_write(full, tensors, 2, NULL));
        return;
    }
    GgufFile *file = gguf_file_new();
    gguf_file_tensor(file, "enc.blk.0.attn_q.weight", 0, 2, shape, numbers, sizeof numbers);
    if (inside == GGUF_TOKENS)
        gguf_file_tokenizer(file, model, size);
    gguf_file_save(file, full);
    gguf_file_free(file);
}

static const struct {
    const char *title, *location, *encoder;
    Inside inside;
    const char *other; /* a tokenizer's file, or NULL */
    const char *expected;
} inner[] = {
    {"a folder", "m", "m/e.gguf", GGUF_TOKENS, NULL, "m/e.gguf"},
    {"a tensor", "m", "m/e.safetensors", TENSOR_TOKENS, NULL, "m/e.safetensors"},
    {"the file itself", "m/e.gguf", "m/e.gguf", GGUF_TOKENS, NULL, "m/e.gguf"},
    {"a neighbour", "d/t.pt", "text_encoders/e.gguf", GGUF_TOKENS, NULL, "text_encoders/e.gguf"},
    {"none inside", "m", "m/e.gguf", NO_TOKENS, NULL, NULL},
    {"one in the folder", "m", "m/e.gguf", GGUF_TOKENS, "m/a/tokenizer.json", "m/a/tokenizer.json"},
    {"one beside", "m/e.gguf", "m/e.gguf", GGUF_TOKENS, "m/spiece.model", "m/spiece.model"},
    {"one in a neighbour of the file", "m/e.gguf", "m/e.gguf", GGUF_TOKENS,
     "m/tokenizer/spiece.model", "m/tokenizer/spiece.model"},
    {"one farther away", "a/m", "a/m/e.gguf", GGUF_TOKENS, "a/tokenizer/spiece.model",
     "a/m/e.gguf"},
    {"one beside one without", "m/e.gguf", "m/e.gguf", NO_TOKENS, "tokenizer/spiece.model",
     "tokenizer/spiece.model"},
};

static void test_inner_tokenizer(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(inner); i++) {
        g_autoptr(GError) error = NULL;
        char *root = folder_new();
        unsigned wanted = 1U << LF_PART_TEXT_ENCODER | 1U << LF_PART_TOKENIZER;
        LfLocated located = {0}, alone = {0};
        g_test_message("%s", inner[i].title);
        put_encoder(root, inner[i].encoder, inner[i].inside);
        if (!g_str_equal(inner[i].location, inner[i].encoder) &&
            g_str_has_suffix(inner[i].location, ".pt"))
            put(root, LF_PART_TRANSFORMER, inner[i].location);
        if (inner[i].other)
            put(root, LF_PART_TOKENIZER, inner[i].other);
        g_autofree char *location = g_build_filename(root, inner[i].location, NULL);
        g_autofree char *encoder = g_build_filename(root, inner[i].encoder, NULL);
        g_autofree char *expected =
            inner[i].expected ? g_build_filename(root, inner[i].expected, NULL) : NULL;
        lf_locate(location, wanted, &located, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(located.files[LF_PART_TEXT_ENCODER], ==, encoder);
        g_assert_cmpstr(located.files[LF_PART_TOKENIZER], ==, expected);
        lf_locate(location, 1U << LF_PART_TEXT_ENCODER, &alone, &error);
        g_assert_no_error(error);
        g_assert_null(alone.files[LF_PART_TOKENIZER]);
        lf_located_clear(&alone);
        lf_located_clear(&located);
        folder_remove(root);
    }
}

/* Only what is wanted is looked for, and what is known is kept. */
static void test_wanted(void)
{
    g_autoptr(GError) error = NULL;
    char *root = folder_new();
    LfLocated located = {.files = {[LF_PART_DECODER] = g_strdup("mine")}};
    put(root, LF_PART_TRANSFORMER, "a.pt");
    put(root, LF_PART_TRANSFORMER, "b.pt"); /* two, and nobody asks for one */
    put(root, LF_PART_TEXT_ENCODER, "e.pt");
    put(root, LF_PART_DECODER, "d.pt");
    put(root, LF_PART_TOKENIZER, "spiece.model");
    g_assert_true(
        lf_locate(root, 1U << LF_PART_TEXT_ENCODER | 1U << LF_PART_DECODER, &located, &error));
    g_assert_no_error(error);
    g_assert_null(located.files[LF_PART_TRANSFORMER]);
    g_assert_null(located.files[LF_PART_TOKENIZER]);
    g_assert_cmpstr(located.files[LF_PART_DECODER], ==, "mine");
    g_assert_true(g_str_has_suffix(located.files[LF_PART_TEXT_ENCODER], "/e.pt"));
    lf_located_clear(&located);
    folder_remove(root);
}

static void assert_refused(const char *location, LfError code, const char *first,
                           const char *second)
{
    g_autoptr(GError) error = NULL;
    LfLocated located = {0};
    g_assert_false(lf_locate(location, ALL, &located, &error));
    g_assert_error(error, LF_ERROR, (gint) code);
    g_assert_nonnull(strstr(error->message, first));
    g_assert_nonnull(strstr(error->message, second));
    lf_located_clear(&located);
}

static void test_several(void)
{
    static const char *const options[LF_N_PARTS] = {"model-location", "text-encoder-location", NULL,
                                                    "decoder-location"};
    g_assert_cmpstr(lf_part_option(LF_PART_TOKENIZER), ==, "tokenizer-location");
    g_assert_cmpstr(lf_part_name(LF_PART_TOKENIZER), ==, "tokenizer");
    g_assert_cmpstr(lf_part_name(LF_PART_TEXT_ENCODER), ==, "text encoder");
    for (LfPart part = 0; part < LF_N_PARTS; part++) {
        if (!options[part])
            continue;
        char *root = folder_new();
        for (LfPart other = 0; other < LF_N_PARTS; other++)
            put(root, other, demo_files[other]);
        put(root, part, "second.safetensors");
        assert_refused(root, LF_ERROR_CONFIG, options[part], "/second.safetensors");
        folder_remove(root);
    }
}

/* The demo's text encoder as a set of shards, all of its tensors in the first. */
static void put_sharded(const char *root)
{
    GError *error = NULL;
    g_autofree char *encoder =
        g_build_filename(g_getenv("LIGHTFORCING_MODEL"), demo_files[LF_PART_TEXT_ENCODER], NULL);
    g_autoptr(GString) index = g_string_new("{\"weight_map\": {");
    LfTensorFile *file = lf_tensor_file_open(encoder, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++)
        g_string_append_printf(index, "%s\"%s\": \"pytorch_model-00001-of-00002.bin\"",
                               i ? ", " : "", lf_tensor_file_nth(file, i)->name);
    g_string_append(index, "}}");
    lf_tensor_file_unref(file);
    put(root, LF_PART_TEXT_ENCODER, "e/pytorch_model-00001-of-00002.bin");
    folder_text(root, "e/pytorch_model.bin.index.json", index->str);
}

/* The index stands for its shards; without it, and alone, a shard is no part. */
static void test_shards(void)
{
    g_autoptr(GError) error = NULL;
    LfLocated located = {0};
    char *root = folder_new();
    g_autofree char *index = g_build_filename(root, "e/pytorch_model.bin.index.json", NULL);
    g_autofree char *shard = g_build_filename(root, "e/pytorch_model-00001-of-00002.bin", NULL);
    put_sharded(root);
    lf_locate(root, 1U << LF_PART_TEXT_ENCODER, &located, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(located.files[LF_PART_TEXT_ENCODER], ==, index);
    lf_located_clear(&located);
    g_assert_cmpint(g_remove(index), ==, 0);
    lf_locate(root, 1U << LF_PART_TEXT_ENCODER, &located, &error);
    g_assert_no_error(error);
    g_assert_null(located.files[LF_PART_TEXT_ENCODER]);
    g_assert_nonnull(strstr(located.problems[LF_PART_TEXT_ENCODER], "one of 2 shards"));
    lf_located_clear(&located);
    assert_refused(shard, LF_ERROR_FORMAT, "one of 2 shards", "pytorch_model.bin.index.json");
    folder_remove(root);
}

/* A checkpoint that several processes wrote, as a folder and by one of its files. */
static void test_distributed(void)
{
    char *root = folder_new();
    folder_text(root, "c/.metadata", "");
    folder_text(root, "c/__0_0.distcp", "PK\3\4");
    folder_text(root, "c/__1_0.distcp", "PK\3\4");
    g_autofree char *part = g_build_filename(root, "c/__1_0.distcp", NULL);
    assert_refused(root, LF_ERROR_NOT_FOUND, "__0_0.distcp", "dcp_to_torch");
    assert_refused(part, LF_ERROR_FORMAT, "__1_0.distcp", "dcp_to_torch");
    folder_remove(root);
}

static void test_none(void)
{
    char *root = folder_new();
    assert_refused(root, LF_ERROR_NOT_FOUND, root, "no transformer");
    put(root, LF_PART_DECODER, "d.pt");
    folder_text(root, "broken.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    assert_refused(root, LF_ERROR_NOT_FOUND, "d.pt", "broken.safetensors");
    g_autofree char *broken = g_build_filename(root, "broken.safetensors", NULL);
    assert_refused(broken, LF_ERROR_FORMAT, broken, "LFS");
    g_autofree char *absent = g_build_filename(root, "absent.pt", NULL);
    assert_refused(absent, LF_ERROR_NOT_FOUND, absent, "no such file");
    folder_remove(root);
}

/* ---- whole models ---------------------------------------------------------------------------- */

static GByteArray *play(const char *location, const LfModelOptions *options)
{
    g_autoptr(GError) error = NULL;
    LfModel *model = lf_model_open(location, options, &error);
    g_assert_no_error(error);
    const LfSessionOptions small = {.width = 64, .height = 64, .seed = 9};
    LfSession *session = stream_session(model, &small, "a red ball");
    GByteArray *pictures = stream_run(session, 2);
    lf_session_free(session);
    lf_model_unref(model);
    return pictures;
}

/* A folder without a model.json plays as one whose model.json says the same as the family and the
 * shapes. */
static void test_play(void)
{
    static const char json[] =
        "{\"transformer\": {\"file\": \"copy.pt\", \"heads\": 2},"
        " \"text_encoder\": {\"file\": \"e.pt\"}, \"tokenizer\": {\"file\": \"spiece.model\"},"
        " \"decoder\": {\"file\": \"d.pt\"}, \"video\": {\"chunk\": 1},"
        " \"schedule\": {\"steps\": [1000, 500], \"first_steps\": [1000, 750, 500, 250]}}";
    char *root = folder_new();
    put(root, LF_PART_TRANSFORMER, "x/framewise-2step.pt");
    put(root, LF_PART_TEXT_ENCODER, "e.pt");
    put(root, LF_PART_TOKENIZER, "spiece.model");
    put(root, LF_PART_DECODER, "d.pt");
    g_autofree char *checkpoint = g_build_filename(root, "x/framewise-2step.pt", NULL);
    g_autofree char *encoder = g_build_filename(root, "e.pt", NULL);
    g_autofree char *tokenizer = g_build_filename(root, "spiece.model", NULL);
    g_autofree char *decoder = g_build_filename(root, "d.pt", NULL);
    g_autoptr(GByteArray) found = play(root, NULL);
    g_autoptr(GByteArray) given =
        play(checkpoint, &(LfModelOptions){.text_encoder_location = encoder,
                                           .tokenizer_location = tokenizer,
                                           .decoder_location = decoder});
    g_autoptr(GByteArray) other = play(root, &(LfModelOptions){.family = "one-forcing"});
    put(root, LF_PART_TRANSFORMER, "copy.pt");
    folder_text(root, "model.json", json);
    g_autoptr(GByteArray) named = play(root, NULL);
    stream_assert_same(found, named);
    stream_assert_same(given, named);
    g_assert_false(stream_same(other, named));
    folder_remove(root);
}

static void test_missing(void)
{
    char *root = folder_new();
    put(root, LF_PART_TRANSFORMER, "self_forcing_dmd.pt");
    g_autofree char *missing = lf_model_missing(root, NULL);
    g_assert_nonnull(strstr(missing, "text encoder: none found"));
    g_assert_nonnull(strstr(missing, "models_t5_umt5-xxl-enc-bf16.pth"));
    g_assert_nonnull(strstr(missing, "tokenizer: none found"));
    g_assert_nonnull(strstr(missing, "decoder: none found"));
    g_assert_nonnull(strstr(missing, "decoder-location"));
    put(root, LF_PART_TEXT_ENCODER, "e.pt");
    put(root, LF_PART_TOKENIZER, "spiece.model");
    put(root, LF_PART_DECODER, "d.pt");
    g_assert_null(lf_model_missing(root, NULL));
    folder_remove(root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/locate/layouts", test_layouts);
    g_test_add_func("/locate/neighbours", test_neighbours);
    g_test_add_func("/locate/depths", test_depths);
    g_test_add_func("/locate/revisions", test_revisions);
    g_test_add_func("/locate/many", test_many);
    g_test_add_func("/locate/vae", test_vae);
    g_test_add_func("/locate/inner-tokenizer", test_inner_tokenizer);
    g_test_add_func("/locate/wanted", test_wanted);
    g_test_add_func("/locate/several", test_several);
    g_test_add_func("/locate/shards", test_shards);
    g_test_add_func("/locate/distributed", test_distributed);
    g_test_add_func("/locate/none", test_none);
    g_test_add_func("/locate/play", test_play);
    g_test_add_func("/locate/missing", test_missing);
    return g_test_run();
}
