/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Memory-mapped files.
 */
#ifndef LF_FILES_MAP_H
#define LF_FILES_MAP_H

#include "kernels/error.h"

G_BEGIN_DECLS

/* Maps a file for reading. Regular files only: a pipe would block, a device never end.
 * LF_ERROR_NOT_FOUND or LF_ERROR_READ. Transfer full. */
GMappedFile *lf_map_file(const char *path, GError **error);

G_END_DECLS

#endif
