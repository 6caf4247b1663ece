/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Encoded prompts on disk: a known prompt needs no encoder, and nothing that is wrong with the files
 * changes a frame.
 */
#include "stream.h"

#include "engine/files/tensor_file.h"
#include "engine/prompt_cache.h"
#include "engine/session.h"
#include "tests/common/folder.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <utime.h>

static const char *const prompts[] = {"a red ball bounces on green grass",
                                      "a blue star on yellow sand", "a ring in the night sky"};

/* The first frames of a prompt, and whether it was encoded. */
static GByteArray *play(LfModel *model, const char *folder, const char *prompt, bool *encoded)
{
    const LfSessionOptions options = {.seed = 5, .prompt_cache = folder};
    LfSession *s = stream_session(model, &options, prompt);
    LfChunk *chunk = stream_next(s);
    GByteArray *pictures = stream_pictures(chunk);
    g_assert_cmpint(lf_chunk_info(chunk)->encode_time, >, 0);
    lf_chunk_unref(chunk);
    g_mutex_lock(&s->prompts.lock);
    *encoded = s->prompts.memory > 0;
    g_mutex_unlock(&s->prompts.lock);
    lf_session_free(s); /* its thread ends after the text is kept */
    return pictures;
}

static void expect(LfModel *model, const char *folder, const char *prompt, const GByteArray *wanted,
                   bool wanted_encoded)
{
    bool encoded;
    g_autoptr(GByteArray) got = play(model, folder, prompt, &encoded);
    stream_assert_same(wanted, got);
    g_assert_true(encoded == wanted_encoded);
}

static int n_files(const char *folder)
{
    int n = 0;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    while (dir && g_dir_read_name(dir))
        n++;
    return n;
}

static void test_hit(void)
{
    bool encoded;
    char *top = folder_new();
    g_autofree char *folder = g_build_filename(top, "not", "there", NULL);
    LfModel *model = stream_model(NULL), *other = stream_model(&(LfTinyModel){.seed = 99});
    g_autoptr(GByteArray) first = play(model, "", prompts[0], &encoded);
    g_autoptr(GByteArray) second = play(model, "", prompts[1], &encoded);
    g_autoptr(GByteArray) third = play(other, "", prompts[0], &encoded);
    g_assert_true(encoded);
    expect(model, folder, prompts[0], first, true);
    expect(model, folder, prompts[1], second, true);
    g_assert_cmpint(n_files(folder), ==, 2);
    for (int i = 0; i < 2; i++) {
        expect(model, folder, prompts[0], first, false);
        expect(model, folder, prompts[1], second, false);
    }
    expect(other, folder, prompts[0], third, true); /* another encoder */
    g_assert_cmpint(n_files(folder), ==, 3);
    folder_remove(top);
    lf_model_unref(model);
    lf_model_unref(other);
}

/* The path of a prompt's file. */
static char *path_of(const LfPromptCache *cache, const char *prompt)
{
    int32_t ids[LF_TINY_TEXT_LEN];
    int n = lf_model_tokenize(cache->model, prompt, ids, LF_TINY_TEXT_LEN, NULL);
    g_assert_cmpint(n, >, 0);
    return lf_prompt_cache_path(cache, ids, n);
}

static void write_bytes(const char *path, const char *bytes, gsize size)
{
    g_autoptr(GError) error = NULL;
    g_file_set_contents(path, bytes, (gssize) size, &error);
    g_assert_no_error(error);
}

/* A file that is cut, changed in any byte, or something else is encoded again and replaced. */
static void test_corrupt(void)
{
    bool encoded;
    gsize size;
    char *folder = folder_new();
    g_autofree char *bytes = NULL;
    LfModel *model = stream_model(NULL);
    LfPromptCache *cache = lf_prompt_cache_new(folder, model, &(LfLog){0});
    g_autofree char *path = path_of(cache, prompts[0]);
    g_autoptr(GByteArray) wanted = play(model, folder, prompts[0], &encoded);
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    for (int round = 0; round < 12; round++) {
        g_autofree char *broken = g_memdup2(bytes, size);
        gsize length = size;
        if (round < 3)
            length = round == 0 ? 0 : (gsize) g_random_int_range(1, (gint32) size);
        else
            broken[round == 3 ? size - 1 : (gsize) g_random_int_range(0, (gint32) size)] ^=
                (char) (1 << g_random_int_range(0, 8));
        write_bytes(path, broken, length);
        g_autoptr(GByteArray) got = play(model, folder, prompts[0], &encoded);
        stream_assert_same(wanted, got); /* a blank of the header may have become another one */
        write_bytes(path, broken, round < 4 ? length : 0);
        expect(model, folder, prompts[0], wanted, true);
        expect(model, folder, prompts[0], wanted, false);
    }
    g_unlink(path);
    g_assert_cmpint(g_mkdir(path, 0777), ==, 0); /* cannot be replaced */
    expect(model, folder, prompts[0], wanted, true);
    expect(model, folder, prompts[0], wanted, true);
    lf_prompt_cache_free(cache);
    folder_remove(folder);
    lf_model_unref(model);
}

/* A file of other tokens, or of another encoder, under the name of this prompt is not taken. */
static void test_collision(void)
{
    bool encoded;
    gsize size;
    char *folder = folder_new();
    g_autofree char *bytes = NULL, *foreign_bytes = NULL;
    LfModel *model = stream_model(NULL), *other = stream_model(&(LfTinyModel){.seed = 99});
    LfPromptCache *cache = lf_prompt_cache_new(folder, model, &(LfLog){0});
    LfPromptCache *foreign = lf_prompt_cache_new(folder, other, &(LfLog){0});
    g_autofree char *a = path_of(cache, prompts[0]), *b = path_of(cache, prompts[1]);
    g_autofree char *of_other = path_of(foreign, prompts[1]);
    g_assert_cmpstr(b, !=, of_other);
    g_byte_array_unref(play(model, folder, prompts[0], &encoded));
    g_byte_array_unref(play(other, folder, prompts[1], &encoded));
    g_autoptr(GByteArray) wanted = play(model, "", prompts[1], &encoded);
    g_assert_true(g_file_get_contents(a, &bytes, &size, NULL));
    write_bytes(b, bytes, size);
    expect(model, folder, prompts[1], wanted, true);
    expect(model, folder, prompts[1], wanted, false);
    g_assert_true(g_file_get_contents(of_other, &foreign_bytes, &size, NULL));
    write_bytes(b, foreign_bytes, size);
    expect(model, folder, prompts[1], wanted, true);
    lf_prompt_cache_free(cache);
    lf_prompt_cache_free(foreign);
    folder_remove(folder);
    lf_model_unref(model);
    lf_model_unref(other);
}

static LfText *random_text(const LfModel *model, int n)
{
    LfText *text = lf_text_new(model->backend->activation_type, n, LF_TINY_TEXT_DIM);
    uint8_t *bytes = text->rows.data;
    for (gsize i = 0; i < lf_tensor_size(text->rows); i++)
        bytes[i] = (uint8_t) g_random_int();
    return text;
}

static void set_time(const char *path, time_t time)
{
    g_assert_cmpint(g_utime(path, &(struct utimbuf){time, time}), ==, 0);
}

/* Files beyond the limit are deleted, those first that were not used for the longest time; files of
 * others stay. */
static void test_limit(void)
{
    enum { N = 6 };
    char *folder = folder_new();
    LfModel *model = stream_model(NULL);
    LfPromptCache *cache = lf_prompt_cache_new(folder, model, &(LfLog){0});
    LfText *text = random_text(model, 3);
    int32_t ids[3] = {0, 7, 1};
    char *paths[N];
    GStatBuf status;
    g_autofree char *note = g_build_filename(folder, "note.safetensors", NULL);
    write_bytes(note, "mine", 4);
    for (int i = 0; i < N; i++) {
        ids[0] = i;
        lf_prompt_cache_store(cache, ids, 3, text);
        paths[i] = lf_prompt_cache_path(cache, ids, 3);
        g_assert_cmpint(g_stat(paths[i], &status), ==, 0);
        set_time(paths[i], 1000000 + 10 * i);
    }
    g_autofree char *left = g_strconcat(paths[0], ".aB3xY9", NULL);
    g_autofree char *fresh = g_strconcat(paths[0], ".aB3xY8", NULL);
    write_bytes(left, "half", 4);
    set_time(left, 1000000);
    write_bytes(fresh, "half", 4);
    ids[0] = 1; /* is used, so that 0 and 2 are the oldest */
    LfText *known = lf_prompt_cache_load(cache, ids, 3);
    g_assert_cmpmem(known->rows.data, lf_tensor_size(known->rows), text->rows.data,
                    lf_tensor_size(text->rows));
    lf_text_unref(known);
    cache->limit = (uint64_t) (N - 1) * (uint64_t) status.st_size;
    ids[0] = N;
    lf_prompt_cache_store(cache, ids, 3, text);
    for (int i = 0; i < N; i++)
        g_assert_true(g_file_test(paths[i], G_FILE_TEST_EXISTS) == (i != 0 && i != 2));
    g_assert_true(g_file_test(note, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(fresh, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
    for (int i = 0; i < N; i++)
        g_free(paths[i]);
    lf_text_unref(text);
    lf_prompt_cache_free(cache);
    folder_remove(folder);
    lf_model_unref(model);
}

/* No folder, none that can be made, none wanted: prompts are encoded. */
static void test_no_folder(void)
{
    bool encoded;
    char *top = folder_new();
    g_autofree char *file = g_build_filename(top, "file", NULL);
    g_autofree char *below = g_build_filename(file, "below", NULL);
    LfModel *model = stream_model(NULL);
    write_bytes(file, "x", 1);
    g_autoptr(GByteArray) wanted = play(model, "", prompts[2], &encoded);
    g_assert_true(encoded);
    for (int i = 0; i < 2; i++)
        expect(model, below, prompts[2], wanted, true);
    g_assert_cmpint(n_files(top), ==, 1);
    folder_remove(top);
    lf_model_unref(model);
}

static void assert_identity(LfModel *model, const LfTensorFile *file, const uint8_t *wanted,
                            bool same)
{
    lf_prompt_cache_identify(model, file);
    g_assert_true((memcmp(model->text_identity, wanted, LF_IDENTITY_SIZE) == 0) == same);
}

/* Whatever decides the numbers of a text makes another identity: each number of the configuration,
 * the precision and the kind of the device on which it is encoded, the time of the file. */
static void test_identity(void)
{
    g_autoptr(GError) error = NULL;
    uint8_t own[LF_IDENTITY_SIZE];
    char *dir = lf_tiny_model_make(NULL, NULL);
    g_autofree char *path = g_build_filename(dir, "text_encoder.safetensors", NULL);
    LfModel *model = lf_model_open(dir, &(LfModelOptions){.backend = "cpu"}, &error);
    g_assert_no_error(error);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    LfTextEncoderConfig *c = &model->config->text_encoder;
    int *const numbers[] = {&c->vocab, &c->dim,    &c->attention_dim, &c->heads,
                            &c->ffn,   &c->layers, &c->buckets,       &c->max_distance};
    memcpy(own, model->text_identity, sizeof own);
    assert_identity(model, file, own, true);
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        ++*numbers[i];
        assert_identity(model, file, own, false);
        --*numbers[i];
    }
    LfBackend *be = model->backend;
    LfType type = be->activation_type;
    const char *name = be->name;
    be->activation_type = LF_BF16;
    assert_identity(model, file, own, false);
    be->activation_type = type;
    be->name = "other";
    model->text_device = LF_TEXT_ENCODER_DEVICE;
    assert_identity(model, file, own, false);
    model->text_device = LF_TEXT_ENCODER_CPU; /* beside that device */
    assert_identity(model, file, own, true);
    be->name = name;
    set_time(path, 1000000);
    assert_identity(model, file, own, false);
    lf_tensor_file_unref(file);
    lf_model_unref(model);
    lf_tiny_model_remove(dir);
}

/* By default the texts of a small encoder are not kept; those of a large one are, in the user's cache
 * directory. */
static void test_default(void)
{
    LfModel *model = stream_model(NULL);
    g_assert_null(lf_prompt_cache_new(NULL, model, &(LfLog){0}));
    g_assert_null(lf_prompt_cache_new("", model, &(LfLog){0}));
    size_t size = model->text_size;
    model->text_size = (size_t) 256 << 20;
    g_assert_null(lf_prompt_cache_new("", model, &(LfLog){0}));
    LfPromptCache *cache = lf_prompt_cache_new(NULL, model, &(LfLog){0});
    g_autofree char *wanted =
        g_build_filename(g_get_user_cache_dir(), "lightforcing", "prompts", NULL);
    g_assert_cmpstr(cache->folder, ==, wanted);
    g_assert_cmpuint(cache->limit, ==, (uint64_t) 256 << 20);
    lf_prompt_cache_free(cache);
    model->text_size = size;
    lf_model_unref(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prompt-cache/hit", test_hit);
    g_test_add_func("/prompt-cache/corrupt", test_corrupt);
    g_test_add_func("/prompt-cache/collision", test_collision);
    g_test_add_func("/prompt-cache/limit", test_limit);
    g_test_add_func("/prompt-cache/no-folder", test_no_folder);
    g_test_add_func("/prompt-cache/identity", test_identity);
    g_test_add_func("/prompt-cache/default", test_default);
    return g_test_run();
}
