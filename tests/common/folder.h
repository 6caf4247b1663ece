/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Temporary folders with trees of small files. A failure to make one ends the test.
 */
#ifndef LF_TESTS_FOLDER_H
#define LF_TESTS_FOLDER_H

/* A fresh folder below the system's temporary one. Transfer full. */
char *folder_new(void);

/* Make a file at `path` below `root`, with the folders above it: with this text, or a symbolic link
 * to `target`. */
void folder_text(const char *root, const char *path, const char *text);
void folder_link(const char *root, const char *path, const char *target);

/* Deletes the folder with all in it, and frees `root`. Links are deleted, not followed. */
void folder_remove(char *root);

#endif
