/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "map.h"

#include <errno.h>
#include <glib/gstdio.h>

GMappedFile *lf_map_file(const char *path, GError **error)
{
    GStatBuf info;
    g_autoptr(GError) reason = NULL;
    if (g_stat(path, &info) != 0) {
        int code = errno == ENOENT || errno == ENOTDIR ? LF_ERROR_NOT_FOUND : LF_ERROR_READ;
        lf_fail(error, code, "%s: %s", path, g_strerror(errno));
        return NULL;
    }
    if (!S_ISREG(info.st_mode)) {
        lf_fail(error, LF_ERROR_READ, "%s is no regular file", path);
        return NULL;
    }
    GMappedFile *map = g_mapped_file_new(path, false, &reason);
    if (!map)
        lf_fail(error, LF_ERROR_READ, "%s", reason->message);
    return map;
}
