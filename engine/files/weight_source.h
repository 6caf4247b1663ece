/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inside of an LfWeightSource: for weight_source.c and weights.c only.
 */
#ifndef LF_FILES_WEIGHT_SOURCE_H
#define LF_FILES_WEIGHT_SOURCE_H

#include "weights.h"

struct LfWeightSource {
    LfTensorFile *file; /* NULL: random */
    GHashTable *names;  /* published name → const LfFileTensor * */
    uint64_t seed;      /* of random ones */
    GPtrArray *kept;    /* memory that bound weights use in place */
    size_t kept_size;
    LfWeightProgress progress; /* or NULL */
    gpointer progress_data;
};

/* Memory for numbers of a weight, aligned for vector instructions; NULL and LF_ERROR_MEMORY. */
void *lf_weight_memory_new(const char *name, size_t size, GError **error);

/* The source owns `memory`, from lf_weight_memory_new, from now on. */
void lf_weight_source_keep(LfWeightSource *source, void *memory, size_t size);

#endif
