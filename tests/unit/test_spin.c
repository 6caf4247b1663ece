/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The threads that keep libgomp from spinning: they exist while a backend uses all cores.
 */
#include "kernels/backend.h"

#include <stdbool.h>
#include <string.h>

static int cores;

/* Threads of this process by the name of the one that keeps the others. */
static int count_keepers(void)
{
    int n = 0;
    GDir *tasks = g_dir_open("/proc/self/task", 0, NULL);
    g_assert_nonnull(tasks);
    for (const char *task; (task = g_dir_read_name(tasks));) {
        char *path = g_build_filename("/proc/self/task", task, "comm", NULL), *name = NULL;
        if (g_file_get_contents(path, &name, NULL, NULL))
            n += strcmp(g_strchomp(name), "lf-spin-guard") == 0;
        g_free(name);
        g_free(path);
    }
    g_dir_close(tasks);
    return n;
}

/* A thread has its name, and ends, a little later than it is asked to. A team's other threads have
 * the name of the one that made them. */
static bool becomes(int n)
{
    for (int i = 0; i < 500 && count_keepers() != n; i++)
        g_usleep(10000);
    return count_keepers() == n;
}

static LfBackend *open_backend(int n_threads)
{
    GError *error = NULL;
    LfBackend *be = lf_backend_open_cpu(n_threads, &error);
    g_assert_no_error(error);
    return be;
}

static void test_kept(void)
{
    for (int i = 0; i < 3; i++) {
        LfBackend *first = open_backend(0), *second = open_backend(0);
        g_assert_true(becomes(cores > 1 ? 2 : 0));
        lf_backend_close(first);
        g_assert_true(becomes(cores > 1 ? 2 : 0));
        lf_backend_close(second);
        g_assert_true(becomes(0));
    }
}

static void test_not_needed(void)
{
    LfBackend *one = open_backend(1), *many = open_backend(cores + 1);
    g_usleep(50000);
    g_assert_cmpint(count_keepers(), ==, 0);
    lf_backend_close(many);
    lf_backend_close(one);
}

static void test_decided_outside(void)
{
    g_setenv("OMP_WAIT_POLICY", "passive", TRUE);
    LfBackend *be = open_backend(0);
    g_usleep(50000);
    g_assert_cmpint(count_keepers(), ==, 0);
    lf_backend_close(be);
    g_unsetenv("OMP_WAIT_POLICY");
}

/* Rounds that overlap: the last to leave one may meet the first of the next. */
static gpointer open_and_close(gpointer data)
{
    for (int i = 0; i < 100; i++)
        lf_backend_close(open_backend(0));
    return NULL;
}

static void test_at_once(void)
{
    GThread *threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = g_thread_new("opener", open_and_close, NULL);
    for (int i = 0; i < 4; i++)
        g_thread_join(threads[i]);
    g_assert_true(becomes(0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_unsetenv("OMP_WAIT_POLICY");
    g_unsetenv("GOMP_SPINCOUNT");
    LfBackend *be = open_backend(0);
    cores = be->n_threads;
    lf_backend_close(be);
    g_test_add_func("/spin/kept", test_kept);
    g_test_add_func("/spin/not-needed", test_not_needed);
    g_test_add_func("/spin/decided-outside", test_decided_outside);
    g_test_add_func("/spin/at-once", test_at_once);
    return g_test_run();
}
