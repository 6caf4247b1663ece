/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * lightforcing convert, run as its users do, and the line of progress on a terminal.
 */
#include "engine/files/tensor_file.h"
#include "tests/common/folder.h"
#include "tests/common/tiny_model.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *root, *model;

static char *in_root(const char *name)
{
    return g_build_filename(root, name, NULL);
}

/* ---- running --------------------------------------------------------------------------------- */

static char **arguments(const char *const *rest)
{
    GPtrArray *argv = g_ptr_array_new();
    g_ptr_array_add(argv, g_strdup(g_getenv("LIGHTFORCING_PROGRAM")));
    for (; *rest; rest++)
        g_ptr_array_add(argv, g_strdup(*rest));
    g_ptr_array_add(argv, NULL);
    return (char **) g_ptr_array_free(argv, FALSE);
}

/* The status, and what was said on stdout and stderr, one behind the other. */
static void expect(int status, const char *word, const char *const *rest)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) argv = arguments(rest);
    g_autofree char *out = NULL, *err = NULL;
    int got;
    g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, &got, &error);
    g_assert_no_error(error);
    g_autofree char *said = g_strconcat(out, err, NULL);
    if (!WIFEXITED(got) || WEXITSTATUS(got) != status || !strstr(said, word))
        g_error("status %d wanted with \"%s\", got %x with:\n%s", status, word, (guint) got, said);
    g_assert_null(strchr(err, '\033')); /* no terminal, no line of progress */
}

#define EXPECT(status, word, ...) expect(status, word, (const char *const[]){__VA_ARGS__, NULL})

static void remove_all(const char *path)
{
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        folder_remove(g_strdup(path));
}

static void assert_exists(const char *path, gboolean wanted)
{
    g_assert_cmpint(g_file_test(path, G_FILE_TEST_EXISTS), ==, wanted);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static void test_arguments(void)
{
    g_autofree char *out = in_root("never");
    EXPECT(0, "Exit status: 0 ", "convert", "--help");
    EXPECT(2, "name a model", "convert");
    EXPECT(2, "name the folder", "convert", model);
    EXPECT(2, "name the folder", "convert", model, "-o", "");
    EXPECT(2, "unexpected argument", "convert", model, "b", "-o", out);
    EXPECT(2, "--precision fp7", "convert", model, "-o", out, "--precision", "fp7");
    EXPECT(2, "gpu", "convert", model, "-o", out, "--text-encoder-device", "gpu");
    EXPECT(1, "/nowhere", "convert", "/nowhere", "-o", out);
    EXPECT(1, "no family", "convert", model, "-o", out, "--family", "royal");
    EXPECT(1, "is no list", "convert", model, "-o", out, "--lora", "a:101");
    EXPECT(1, "absent.safetensors", "convert", model, "-o", out, "--lora", "absent.safetensors");
    EXPECT(1, "/nowhere", "convert", model, "-o", out, "--decoder", "/nowhere");
    EXPECT(1, "no backend", "convert", model, "-o", out, "--backend", "abacus");
    EXPECT(1, "there is no folder", "convert", model, "-o", "/nowhere/out");
    assert_exists(out, FALSE);
}

/* Two LoRAs, one of them with a strength; the folder is complete, and is replaced by force alone. */
static void test_convert(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *out = in_root("out"), *lora = in_root("lora.safetensors");
    g_autofree char *half = g_strconcat(lora, ":0.5", NULL);
    const float ones[LF_TINY_DIM] = {1, 1};
    const LfFileTensor tensor = {
        "blocks.0.norm3.diff_b", LF_F32, 1, {LF_TINY_DIM}, ones, sizeof ones, NULL};
    lf_safetensors_write(lora, &tensor, 1, &error);
    g_assert_no_error(error);
    EXPECT(0, "is written\n", "convert", model, "-o", out, "--precision", "fp8", "--lora", lora,
           "--lora", half);
    EXPECT(0, "F8_E4M3", "info", out);
    EXPECT(0, "missing       nothing", "info", out);
    EXPECT(1, "exists", "convert", model, "-o", out);
    EXPECT(0, "is written", "convert", model, "-o", out, "--force", "--precision", "fp32");
    EXPECT(0, "2 layers of 48", "info", out, "--width", "128", "--window", "6");
    remove_all(out);
    g_remove(lora);
}

/* A model with fewer parts is written, and it is said what is missing. */
static void test_parts(void)
{
    g_autofree char *bare = in_root("bare"), *out = in_root("out"), *notes = in_root("out/notes");
    g_free(lf_tiny_model_make(bare, &(LfTinyModel){.without = "decoder"}));
    EXPECT(0, "it has not all parts: decoder", "convert", bare, "-o", out);
    g_assert_true(g_file_set_contents(notes, "mine", -1, NULL));
    EXPECT(1, "it holds notes", "convert", bare, "-o", out, "-f");
    assert_exists(notes, TRUE);
    g_remove(notes);
    EXPECT(0, "is written\n", "convert", bare, "-o", out, "-f", "--decoder", model);
    remove_all(out);
    remove_all(bare);
}

/* ---- interruption ---------------------------------------------------------------------------- */

/* Whenever the signal comes, the folder is complete or there is none, and nothing else is left. */
static void test_interrupted(void)
{
    g_autofree char *out = in_root("out");
    g_autofree char *demo = g_strdup(g_getenv("LIGHTFORCING_MODEL"));
    int n_cancelled = 0;
    for (int i = 0; i < 12; i++) {
        g_autoptr(GError) error = NULL;
        const char *const rest[] = {"convert", demo, "-o", out, "--precision", "fp8", NULL};
        g_auto(GStrv) argv = arguments(rest);
        GPid pid;
        int status;
        g_spawn_async(NULL, argv, NULL,
                      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL |
                          G_SPAWN_STDOUT_TO_DEV_NULL,
                      NULL, NULL, &pid, &error);
        g_assert_no_error(error);
        g_usleep((gulong) (i * 15000 + g_test_rand_int_range(0, 15000)));
        kill(pid, i % 2 ? SIGTERM : SIGINT);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        bool written = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        n_cancelled += WIFEXITED(status) && WEXITSTATUS(status) == 1;
        if (written)
            EXPECT(0, "missing       nothing", "info", out);
        else
            assert_exists(out, FALSE);
        remove_all(out);
        g_autoptr(GDir) folder = g_dir_open(root, 0, NULL);
        const char *name;
        while ((name = g_dir_read_name(folder)))
            g_assert_cmpstr(name, ==, "model");
    }
    g_test_message("%d of 12 were interrupted while they wrote", n_cancelled);
}

/* ---- progress on a terminal ------------------------------------------------------------------ */

static void child_setup(gpointer terminal)
{
    dup2(*(int *) terminal, STDERR_FILENO);
}

/* What the program writes on stderr, a terminal. */
static char *on_terminal(const char *const *rest)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) argv = arguments(rest);
    GString *said = g_string_new(NULL);
    char piece[4096];
    GPid pid;
    int status, terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(grantpt(terminal) + unlockpt(terminal), ==, 0);
    int line = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(line, >=, 0);
    g_spawn_async(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL,
                  child_setup, &line, &pid, &error);
    g_assert_no_error(error);
    close(line);
    for (ssize_t n; (n = read(terminal, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR);)
        g_string_append_len(said, piece, MAX(n, 0));
    close(terminal);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return g_string_free(said, FALSE);
}

static void test_progress(void)
{
    g_autofree char *out = in_root("out");
    const char *const convert[] = {"convert", model, "-o", out, NULL};
    const char *const bench[] = {"bench", "-m", model, "-n", "2", NULL};
    g_autofree char *converting = on_terminal(convert), *measuring = on_terminal(bench);
    g_assert_nonnull(strstr(converting, "\r\033[Kconverting text encoder "));
    g_assert_nonnull(strstr(converting, "converting decoder 100 %"));
    g_assert_nonnull(strstr(measuring, "\r\033[Kloading text encoder   0 %"));
    g_assert_nonnull(strstr(measuring, "loading decoder 100 %"));
    g_assert_nonnull(strstr(measuring, "\r\033[Kmeasuring dense   0 %"));
    g_assert_true(g_str_has_suffix(converting, "\r\033[K"));
    g_assert_true(g_str_has_suffix(measuring, "\r\033[K"));
    remove_all(out);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    root = folder_new();
    model = in_root("model");
    g_free(lf_tiny_model_make(model, NULL));
    g_test_add_func("/cli/convert/arguments", test_arguments);
    g_test_add_func("/cli/convert/convert", test_convert);
    g_test_add_func("/cli/convert/parts", test_parts);
    g_test_add_func("/cli/convert/interrupted", test_interrupted);
    g_test_add_func("/cli/convert/progress", test_progress);
    int status = g_test_run();
    folder_remove(root);
    g_free(model);
    return status;
}
