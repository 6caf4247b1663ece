/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whole models from GGUF files. They are the demo model's parts: each tensor either as it is, or with
 * random blocks of a quantised type in place of its numbers. The pictures have to be those of
 * safetensors with the same numbers, bit for bit.
 */
#include "names.h"
#include "stream.h"

#include "engine/files/weights.h"
#include "tests/common/folder.h"
#include "tests/common/gguf_file.h"

#include <glib/gstdio.h>
#include <string.h>

enum { T_F32 = 0, T_BF16 = 30 };

static const struct {
    const char *name;
    uint32_t type;
} codings[] = {{"Q4_0", 2},  {"Q4_1", 3},  {"Q5_0", 6},  {"Q5_1", 7},  {"Q8_0", 8},
               {"Q2_K", 10}, {"Q3_K", 11}, {"Q4_K", 12}, {"Q5_K", 13}, {"Q6_K", 14}};

static char *demo_file(const char *name)
{
    return g_build_filename(g_getenv("LIGHTFORCING_MODEL"), name, NULL);
}

/* ---- two files of one part ------------------------------------------------------------------- */

typedef struct {
    GgufFile *gguf;
    GArray *tensors; /* LfFileTensor, of the safetensors file */
    GPtrArray *memory;
    char *(*rename)(const char *wan);
    gboolean quantise;
    int n_quantised;
} Twins;

static void *kept(Twins *twins, void *memory)
{
    g_ptr_array_add(twins->memory, memory);
    return memory;
}

/* The numbers of a tensor in BF16, and as F32 in the GGUF file: what converters do with vectors. */
static void add_plain(Twins *twins, const char *name, const LfFileTensor *t)
{
    int64_t count = lf_file_tensor_count(t);
    bool wide = t->n_dims == 1 || g_test_rand_bit();
    g_autofree float *values = g_new(float, count);
    lf_file_tensor_read(t, 0, count, values);
    if (wide)
        gguf_file_tensor(twins->gguf, name, T_F32, t->n_dims, t->shape, values, (gsize) count * 4);
    else
        gguf_file_tensor(twins->gguf, name, T_BF16, t->n_dims, t->shape, t->data, t->size);
    g_array_append_val(twins->tensors, *t);
}

/* Random blocks, and their numbers rounded to BF16. */
static void add_coded(Twins *twins, const char *name, const LfFileTensor *t)
{
    const LfCoding *coding;
    gsize row;
    do
        coding = lf_gguf_coding(
            codings[row = (gsize) g_test_rand_int_range(0, G_N_ELEMENTS(codings))].name);
    while (t->shape[1] % coding->block != 0);
    int64_t count = lf_file_tensor_count(t);
    gsize n_blocks = (gsize) (count / coding->block);
    g_autofree guint8 *blocks = gguf_random_blocks(coding, n_blocks);
    g_autofree float *values = g_new(float, count);
    uint16_t *rounded = kept(twins, g_new(uint16_t, count));
    LfFileTensor twin = *t;
    coding->decode(values, blocks, n_blocks);
    lf_from_float(rounded, LF_BF16, values, count);
    twin.type = LF_BF16;
    twin.data = rounded;
    twin.size = (gsize) count * 2;
    gguf_file_tensor(twins->gguf, name, codings[row].type, t->n_dims, t->shape, blocks,
                     n_blocks * coding->size);
    g_array_append_val(twins->tensors, twin);
    twins->n_quantised++;
}

static bool is_matrix(const LfFileTensor *t)
{
    return t->n_dims == 2 && t->shape[1] % 32 == 0 && !strstr(t->name, "pos_embedding") &&
           (g_str_has_prefix(t->name, "blocks.") || g_str_has_prefix(t->name, "token_embedding"));
}

/* "NAME.gguf" in one folder and "NAME.safetensors" in another one. */
static void make_twins(const char *ggufs, const char *safetensors, const char *part,
                       char *(*rename)(const char *wan), gboolean quantise, gboolean tokens)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strconcat(part, ".safetensors", NULL);
    g_autofree char *gguf_name = g_strconcat(part, ".gguf", NULL);
    g_autofree char *source = demo_file(name);
    g_autofree char *gguf = g_build_filename(ggufs, gguf_name, NULL);
    g_autofree char *other = g_build_filename(safetensors, name, NULL);
    Twins twins = {gguf_file_new(),
                   g_array_new(FALSE, FALSE, sizeof(LfFileTensor)),
                   g_ptr_array_new_with_free_func(g_free),
                   rename,
                   quantise,
                   0};
    LfTensorFile *file = lf_tensor_file_open(source, &error);
    g_assert_no_error(error);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        g_autofree char *theirs = rename(t->name);
        if (quantise && is_matrix(t))
            add_coded(&twins, theirs, t);
        else
            add_plain(&twins, theirs, t);
    }
    if (tokens) {
        g_autofree char *model = NULL;
        gsize size;
        g_assert_true(g_file_get_contents(LF_TEST_TOKENIZER, &model, &size, NULL));
        gguf_file_tokenizer(twins.gguf, model, size);
    }
    g_assert_true(!quantise || twins.n_quantised > 5);
    gguf_file_save(twins.gguf, gguf);
    lf_safetensors_write(other, (const LfFileTensor *) (void *) twins.tensors->data,
                         twins.tensors->len, &error);
    g_assert_no_error(error);
    lf_tensor_file_unref(file);
    gguf_file_free(twins.gguf);
    g_array_unref(twins.tensors);
    g_ptr_array_unref(twins.memory);
}

/* ---- playing --------------------------------------------------------------------------------- */

static GByteArray *play(const char *location)
{
    g_autoptr(GError) error = NULL;
    const LfModelOptions options = {.backend = stream_backend()};
    LfModel *model = lf_model_open(location, &options, &error);
    g_assert_no_error(error);
    const LfSessionOptions small = {.width = 64, .height = 64, .seed = 9};
    LfSession *session = stream_session(model, &small, "a red ball");
    GByteArray *pictures = stream_run(session, 2);
    lf_session_free(session);
    lf_model_unref(model);
    return pictures;
}

/* Neither folder has a model.json, and that of GGUF files has no tokenizer of its own. */
static void test_pictures(gconstpointer quantise)
{
    char *ggufs = folder_new(), *safetensors = folder_new();
    gboolean quantised = GPOINTER_TO_INT(quantise);
    make_twins(ggufs, safetensors, "transformer", names_same, quantised, FALSE);
    make_twins(ggufs, safetensors, "text_encoder", names_llama_cpp, quantised, TRUE);
    make_twins(ggufs, safetensors, "decoder", names_same, FALSE, FALSE);
    folder_link(safetensors, "spiece.model", LF_TEST_TOKENIZER);
    g_autoptr(GByteArray) one = play(ggufs);
    g_autoptr(GByteArray) other = play(safetensors);
    stream_assert_same(one, other);
    g_assert_cmpint(memcmp(one->data, one->data + 1, one->len - 1), !=, 0);
    folder_remove(ggufs);
    folder_remove(safetensors);
}

/* ---- LoRA ------------------------------------------------------------------------------------ */

/* A difference is added to the numbers that were decoded, in float. */
static void test_lora(void)
{
    enum { ROWS = 6, COLUMNS = 512, COUNT = ROWS * COLUMNS };
    static const int64_t shape[] = {ROWS, COLUMNS};
    g_autoptr(GError) error = NULL;
    const LfCoding *coding = lf_gguf_coding("Q5_K");
    g_autofree guint8 *blocks = gguf_random_blocks(coding, COUNT / 256);
    g_autofree float *decoded = g_new(float, COUNT);
    g_autofree float *added = g_new(float, COUNT);
    g_autofree char *notice = NULL;
    char *folder = folder_new();
    g_autofree char *base = g_build_filename(folder, "base.gguf", NULL);
    g_autofree char *lora = g_build_filename(folder, "lora.safetensors", NULL);
    GgufFile *made = gguf_file_new();
    gguf_file_tensor(made, "blocks.0.self_attn.q.weight", 13, 2, shape, blocks,
                     COUNT / 256 * coding->size);
    for (int i = 0; i < COUNT; i++)
        added[i] = (float) g_test_rand_double_range(-1, 1);
    gguf_file_tensor(made, "patch_embedding.weight", T_F32, 5, (const int64_t[]){1, 4, 1, 2, 2},
                     added, 64);
    gguf_file_save(made, base);
    gguf_file_free(made);
    const LfFileTensor difference = {
        "blocks.0.self_attn.q.diff", LF_F32, 2, {ROWS, COLUMNS}, added, COUNT * 4, NULL};
    g_assert_true(lf_safetensors_write(lora, &difference, 1, NULL));
    LfTensorFile *file = lf_tensor_file_open(base, &error);
    g_assert_no_error(error);
    LfWeightSource *source = lf_weight_source_file(file, NULL, &error);
    g_assert_no_error(error);
    LfTensorFile *update = lf_tensor_file_open(lora, &error);
    g_assert_no_error(error);
    lf_weight_source_add_lora(source, update, 0.5, &notice, &error);
    g_assert_no_error(error);
    const LfBinding rows = {.name = "blocks.0.self_attn.q.weight",
                            .kind = LF_BIND_LINEAR,
                            .shape = {2, COLUMNS},
                            .first = 3,
                            .rows = ROWS};
    g_autofree float *values = lf_weights_read(source, "", &rows, &error);
    g_assert_no_error(error);
    coding->decode(decoded, blocks, COUNT / 256);
    for (int i = 0; i < 2 * COLUMNS; i++)
        g_assert_cmpfloat(values[i], ==, decoded[3 * COLUMNS + i] + 0.5f * added[3 * COLUMNS + i]);
    lf_weight_source_free(source);
    lf_tensor_file_unref(update);
    lf_tensor_file_unref(file);
    folder_remove(folder);
}

/* ---- transformers that are refused ----------------------------------------------------------- */

static void assert_refused(GgufFile *made, const char *word)
{
    g_autoptr(GError) error = NULL;
    char *folder = folder_new();
    g_autofree char *path = g_build_filename(folder, "x.gguf", NULL);
    gguf_file_save(made, path);
    gguf_file_free(made);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_assert_null(lf_weight_source_file(file, NULL, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, word));
    lf_tensor_file_unref(file);
    folder_remove(folder);
}

static const float zeros[2 * 36 * 4];

static GgufFile *begun(void)
{
    GgufFile *made = gguf_file_new();
    gguf_file_tensor(made, "head.modulation", T_F32, 3, (const int64_t[]){1, 2, 2}, zeros, 16);
    return made;
}

static void test_unfinished(void)
{
    assert_refused(begun(), "patch_embedding.weight is missing");
}

/* What a model takes is told by its patch embedding where that is folded, too. */
static void test_folded(void)
{
    GgufFile *made = begun();
    gguf_file_tensor(made, "head.head.weight", T_F32, 2, (const int64_t[]){64, 2}, zeros, 512);
    gguf_file_tensor(made, "patch_embedding.bias", T_F32, 1, (const int64_t[]){2}, zeros, 8);
    gguf_file_tensor(made, "patch_embedding.weight", T_F32, 4, (const int64_t[]){2 * 36, 1, 2, 2},
                     zeros, sizeof zeros);
    assert_refused(made, "it takes latents of 36 channels and makes 16");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/gguf-model/plain", GINT_TO_POINTER(FALSE), test_pictures);
    g_test_add_data_func("/gguf-model/quantised", GINT_TO_POINTER(TRUE), test_pictures);
    g_test_add_func("/gguf-model/lora", test_lora);
    g_test_add_func("/gguf-model/unfinished", test_unfinished);
    g_test_add_func("/gguf-model/folded", test_folded);
    return g_test_run();
}
