/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "folder.h"

#include <glib/gstdio.h>
#include <unistd.h>

char *folder_new(void)
{
    g_autoptr(GError) error = NULL;
    char *root = g_dir_make_tmp("lightforcing-XXXXXX", &error);
    g_assert_no_error(error);
    return root;
}

/* The whole path, below which all folders are there. Transfer full. */
static char *path_below(const char *root, const char *path)
{
    char *whole = g_build_filename(root, path, NULL);
    g_autofree char *folder = g_path_get_dirname(whole);
    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    return whole;
}

void folder_text(const char *root, const char *path, const char *text)
{
    g_autofree char *whole = path_below(root, path);
    g_assert_true(g_file_set_contents(whole, text, -1, NULL));
}

void folder_link(const char *root, const char *path, const char *target)
{
    g_autofree char *whole = path_below(root, path);
    g_assert_cmpint(symlink(target, whole), ==, 0);
}

static void empty(const char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;
    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        gboolean link = g_file_test(path, G_FILE_TEST_IS_SYMLINK);
        if (!link && g_file_test(path, G_FILE_TEST_IS_DIR))
            empty(path);
        else
            g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_dir_close(dir);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

void folder_remove(char *root)
{
    empty(root);
    g_free(root);
}
