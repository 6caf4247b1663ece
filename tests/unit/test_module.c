/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The module of the CUDA backend: one of another build is refused before anything in it is called,
 * and the reason for a fall back to the CPU reaches the caller's log.
 */
#include "kernels/backend.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static char *directory; /* with one link, lightforcing-cuda.so */

/* Makes the test's module `name` the one that is looked for; NULL: there is none. */
static void use_module(const char *name)
{
    g_autofree char *link = g_build_filename(directory, "lightforcing-cuda.so", NULL);
    g_remove(link);
    if (!name)
        return;
    g_autofree char *file = g_strconcat(name, ".so", NULL);
    g_autofree char *target = g_build_filename(g_getenv("LIGHTFORCING_TEST_MODULES"), file, NULL);
    g_assert_cmpint(symlink(target, link), ==, 0);
}

static void expect_refused(const char *name, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(lf_backend_open("cuda", 0, LF_PRECISION_AUTO, NULL, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_test_message("%s: %s", name ? name : "no module", error->message);
    g_assert_nonnull(strstr(error->message, "lightforcing-cuda.so"));
    g_assert_nonnull(strstr(error->message, word));
}

static void test_other_builds(void)
{
    static const char *const modules[] = {"magic", "backend", "ops", "version"};
    use_module(NULL);
    expect_refused(NULL, "cannot load");
    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++) {
        use_module(modules[i]);
        expect_refused(modules[i], "another build");
    }
    use_module("version");
    expect_refused("version", "0.0.7");
}

/* ---- falling back to the CPU ----------------------------------------------------------------- */

static void count_warning(LfLogLevel level, const char *message, gpointer data)
{
    g_test_message("log: %s", message);
    if (level == LF_LOG_WARNING && strstr(message, "lightforcing-cuda.so"))
        ++*(int *) data;
}

static void test_fall_back(void)
{
    g_autoptr(GError) error = NULL;
    int n_warnings = 0;
    LfLog log = {count_warning, &n_warnings, LF_LOG_TRACE};
    use_module("ops");
    LfBackend *be = lf_backend_open("auto", 1, LF_PRECISION_AUTO, &log, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(be->name, ==, "cpu");
    g_assert_cmpint(n_warnings, ==, 1);
    g_assert_nonnull(strstr(be->fallback, "lightforcing-cuda.so"));
    g_assert_true(be->log.write == log.write && be->log.data == log.data);
    lf_backend_close(be);
    /* Nobody listens. */
    be = lf_backend_open("auto:3", 1, LF_PRECISION_AUTO, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(be->name, ==, "cpu");
    lf_backend_close(be);
    /* No fall back where the CPU does not have what is asked for. */
    g_assert_null(lf_backend_open("auto", 1, LF_PRECISION_FP8, &log, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
    g_assert_cmpint(n_warnings, ==, 1);
}

/* ---- this build's ---------------------------------------------------------------------------- */

/* The last test: a module that has been opened stays. */
static void test_same_build(void)
{
    static const struct {
        const char *name, *word;
    } cases[] = {{"cuda", "GPU 0"}, {"cuda:2", "GPU 2"}, {"auto", "GPU 0"}, {"auto:7", "GPU 7"}};
    use_module("same");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(lf_backend_open(cases[i].name, 1, LF_PRECISION_FP8, NULL, &error));
        g_assert_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED);
        g_assert_nonnull(strstr(error->message, cases[i].word));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    directory = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_setenv("LIGHTFORCING_MODULE_PATH", directory, TRUE);
    g_test_add_func("/module/other-builds", test_other_builds);
    g_test_add_func("/module/fall-back", test_fall_back);
    g_test_add_func("/module/same-build", test_same_build);
    int failed = g_test_run();
    use_module(NULL);
    g_rmdir(directory);
    g_free(directory);
    return failed;
}
