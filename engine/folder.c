/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Without the slashes at its end, which the names of "a/b/" and "a/b" differ in. */
static char *plain(const char *path)
{
    return g_canonicalize_filename(path, NULL);
}

static char *parent_of(const char *path)
{
    g_autofree char *full = plain(path);
    return g_path_get_dirname(full);
}

static bool is_known(const char *name, const char *const *files)
{
    return g_strv_contains(files, name);
}

/* The name of something in the folder that is none of the files; NULL when there is none. Transfer
 * full. */
static char *stranger_in(const char *path, const char *const *files)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;
    while (folder && (name = g_dir_read_name(folder))) {
        g_autofree char *full = g_build_filename(path, name, NULL);
        GStatBuf info;
        if (!is_known(name, files) || g_lstat(full, &info) != 0 || !S_ISREG(info.st_mode))
            return g_strdup(name);
    }
    return NULL;
}

static bool check_replaceable(const char *path, const char *const *files, GError **error)
{
    g_autofree char *stranger = stranger_in(path, files);
    g_autofree char *config = g_build_filename(path, "model.json", NULL);
    if (stranger)
        return lf_fail(error, LF_ERROR_WRITE,
                       "%s is not replaced: it holds %s, so it is no folder that was written here; "
                       "choose another name",
                       path, stranger);
    if (!g_file_test(config, G_FILE_TEST_IS_REGULAR))
        return lf_fail(error, LF_ERROR_WRITE,
                       "%s is not replaced: it has no model.json; choose another name", path);
    return true;
}

bool lf_folder_check(const char *path, bool replace, const char *const *files, GError **error)
{
    if (!*path)
        return lf_fail(error, LF_ERROR_WRITE, "name a folder to write");
    g_autofree char *full = plain(path), *parent = parent_of(path);
    GStatBuf info;
    if (!g_file_test(parent, G_FILE_TEST_IS_DIR))
        return lf_fail(error, LF_ERROR_WRITE, "%s: there is no folder %s to write it in", path,
                       parent);
    if (g_lstat(full, &info) != 0)
        return errno == ENOENT || lf_fail(error, LF_ERROR_WRITE, "%s: %s", path, g_strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return lf_fail(error, LF_ERROR_WRITE, "%s exists and is no folder", path);
    if (!replace)
        return lf_fail(error, LF_ERROR_WRITE, "%s exists: name another folder, or force it", path);
    return check_replaceable(full, files, error);
}

bool lf_folder_check_space(const char *path, uint64_t size, GError **error)
{
    g_autofree char *parent = parent_of(path);
    struct statvfs disk;
    if (statvfs(parent, &disk) != 0)
        return true; /* writing will tell */
    uint64_t room = (uint64_t) disk.f_bavail * (uint64_t) disk.f_frsize;
    return room >= size ||
           lf_fail(error, LF_ERROR_WRITE, "%s: %.1f GB are needed, %.1f GB are free on that disk",
                   path, 1e-9 * (double) size, 1e-9 * (double) room);
}

char *lf_folder_make_temporary(const char *path, GError **error)
{
    g_autofree char *full = plain(path), *parent = parent_of(path);
    g_autofree char *name = g_path_get_basename(full);
    g_autofree char *hidden = g_strdup_printf(".%s.XXXXXX", name);
    char *temporary = g_build_filename(parent, hidden, NULL);
    if (g_mkdtemp_full(temporary, 0777))
        return temporary;
    lf_fail(error, LF_ERROR_WRITE, "cannot make a folder in %s: %s", parent, g_strerror(errno));
    g_free(temporary);
    return NULL;
}

/* The names of the folder reach the disk with it. */
static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Exchanges two folders; where the file system cannot do that at once, in three steps. */
static bool exchange(const char *a, const char *b)
{
    if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    g_autofree char *aside = g_strconcat(a, ".old", NULL);
    return g_rename(b, aside) == 0 && g_rename(a, b) == 0 && g_rename(aside, a) == 0;
}

bool lf_folder_rename(const char *temporary, const char *path, const char *const *files,
                      GError **error)
{
    g_autofree char *full = plain(path), *parent = parent_of(path);
    sync_folder(temporary);
    if (!g_file_test(full, G_FILE_TEST_EXISTS)) { /* no folder with files is replaced here */
        if (g_rename(temporary, full) != 0)
            return lf_fail(error, LF_ERROR_WRITE, "cannot rename %s to %s: %s", temporary, path,
                           g_strerror(errno));
        sync_folder(parent);
        return true;
    }
    if (!check_replaceable(full, files, error))
        return false;
    if (!exchange(temporary, full))
        return lf_fail(error, LF_ERROR_WRITE, "cannot replace %s: %s", path, g_strerror(errno));
    sync_folder(parent);
    lf_folder_remove(temporary, files); /* what was there */
    return true;
}

/* "model.json.AB12CD" is what a writer leaves that was interrupted. */
static bool is_rest(const char *name, const char *const *files)
{
    for (; *files; files++)
        if (g_str_has_prefix(name, *files) && name[strlen(*files)] == '.')
            return true;
    return false;
}

void lf_folder_remove(const char *path, const char *const *files)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;
    while (folder && (name = g_dir_read_name(folder)))
        if (is_known(name, files) || is_rest(name, files))
            g_ptr_array_add(names, g_build_filename(path, name, NULL));
    for (guint i = 0; i < names->len; i++)
        g_unlink(names->pdata[i]);
    g_rmdir(path);
}
