/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For hash tables whose keys come out of files. g_str_hash gives names that were chosen for it one
 * and the same value, and the table becomes a list.
 */
#ifndef LF_FILES_NAME_HASH_H
#define LF_FILES_NAME_HASH_H

#include <glib.h>

/* SipHash-1-3 of a string under a key that is drawn once in each process. Thread-safe. */
guint lf_name_hash(gconstpointer name);

#endif
