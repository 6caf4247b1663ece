/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A folder of a few known files that appears as a whole, or not at all.
 */
#ifndef LF_ENGINE_FOLDER_H
#define LF_ENGINE_FOLDER_H

#include "kernels/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Names of files end with NULL. */

/* Whether a folder may be written as `path`: its parent is a folder, and it does not exist itself, or,
 * with `replace`, it is a folder with nothing but these files. LF_ERROR_WRITE says why not. */
bool lf_folder_check(const char *path, bool replace, const char *const *files, GError **error);

/* LF_ERROR_WRITE when the disk of `path` has less room. */
bool lf_folder_check_space(const char *path, uint64_t size, GError **error);

/* An empty folder beside `path`. Transfer full. */
char *lf_folder_make_temporary(const char *path, GError **error);

/* Gives the complete folder `temporary` the name `path`, in place of the folder there, which is
 * removed, if it still has nothing but these files. */
bool lf_folder_rename(const char *temporary, const char *path, const char *const *files,
                      GError **error);

/* Removes these files, the rests of their writing, and the folder if nothing else is in it. */
void lf_folder_remove(const char *path, const char *const *files);

#endif
