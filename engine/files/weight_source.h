/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of an LfWeightSource: for weight_source.c, lora.c, weights.c,
 * weight_parts.c and export.c only.
 */
#ifndef LF_FILES_WEIGHT_SOURCE_H
#define LF_FILES_WEIGHT_SOURCE_H

#include "layouts/layouts.h"
#include "weights.h"

struct LfWeightParts; /* weight_parts.h */

/* Called with the parts of every binding, once it is bound. `floats`: they were read as float. */
typedef void (*LfWeightObserver)(const struct LfWeightParts *parts, bool floats, gpointer data);

/* A tensor under its canonical name. */
typedef struct {
    LfFileTensor tensor;
    bool used;
} LfNamedTensor;

struct LfWeightSource {
    LfTensorFile *file;     /* NULL: random */
    LfFileKind kind;        /* of the model, as far as it is known */
    const LfLayout *layout; /* of the file, or NULL: its names are canonical */
    char *copy, *notice;    /* see weights.h */
    GHashTable *names;      /* canonical name → LfNamedTensor *, which it owns */
    GPtrArray *loras;       /* LfTensorFile *, where the data of `updates` is */
    GHashTable *updates;    /* canonical name → GArray of LfUpdate, see lora.h */
    uint64_t seed;          /* of random ones */
    GPtrArray *kept;        /* memory that bound weights use in place */
    size_t kept_size;
    LfWeightProgress progress; /* or NULL */
    gpointer progress_data;
    LfWeightObserver observer; /* or NULL */
    gpointer observer_data;
};

/* Range `share` of `n_shares` equal ranges of the rows of a tensor; all of one that has a single
 * row or does not divide, as whole blocks of its coding. */
LfFileTensor lf_file_tensor_share(const LfFileTensor *tensor, int share, int n_shares);

/* Memory for numbers of a weight, aligned for vector instructions; NULL and LF_ERROR_MEMORY. */
void *lf_weight_memory_new(const char *name, size_t size, GError **error);

/* The source owns `memory`, from lf_weight_memory_new, from now on. */
void lf_weight_source_keep(LfWeightSource *source, void *memory, size_t size);

#endif
