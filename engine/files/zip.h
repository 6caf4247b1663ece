/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The directory of a zip archive in memory (APPNOTE 6.3.9, zip64 included), for archives that store
 * their entries as they are: PyTorch's do, so that they can be mapped.
 */
#ifndef LF_FILES_ZIP_H
#define LF_FILES_ZIP_H

#include "kernels/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct LfZip LfZip;

typedef struct {
    const char *name;
    const uint8_t *data; /* in the archive */
    size_t size;
    const char *problem; /* why its data is not what was stored: it is compressed …; or NULL */
} LfZipEntry;

/* `bytes` outlive the result. An archive with an entry that is out of bounds, with two of one name,
 * or with more than 100000, is refused. */
LfZip *lf_zip_open(const void *bytes, size_t size, GError **error);
void lf_zip_free(LfZip *zip); /* NULL is fine */

/* Entries in the order of their names. */
size_t lf_zip_count(const LfZip *zip);
const LfZipEntry *lf_zip_nth(const LfZip *zip, size_t index);
const LfZipEntry *lf_zip_find(const LfZip *zip, const char *name); /* or NULL */

#endif
