/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a file is, decided by the names and shapes of its tensors and never by its own name.
 *
 * A file may hold several copies of a model, each under a prefix of its own, such as
 * "generator.model." and "generator_ema.model.". A prefix is whatever stands before a tensor that
 * tells the layout (layouts/layouts.h), so that the names of trainers and their dictionaries need
 * not be known. Copies of critics and teachers are never taken.
 *
 * Thread-safety: functions of their arguments.
 */
#ifndef LF_FILES_RECOGNISE_H
#define LF_FILES_RECOGNISE_H

#include "layouts/layouts.h"
#include "tensor_file.h"

typedef struct {
    LfFileKind kind;        /* what the file is; LF_FILE_UNKNOWN: nothing that is known */
    const LfLayout *layout; /* of the copy that is taken; NULL for LoRAs and for nothing known */
    char *copy;    /* name of the copy that is taken: "generator_ema", "model"; "" has no prefix */
    char *prefix;  /* of its names, once wrappers are removed: "generator_ema.model." */
    char **copies; /* names of all copies, that one first; ends with NULL */
    char **others; /* prefixes of all other copies and parts in the file; ends with NULL */
    char *problem; /* why the file cannot be used, and what to use instead: "it is …"; or NULL */
    bool teacher;  /* it is known not to be causal; `notice` says so */
    char *notice;  /* what the user has to know although it can be used; or NULL */
} LfRecognised;

/* Recognises what is of `kind` in `file`; LF_FILE_UNKNOWN: the first that is there of transformer,
 * text encoder, decoder and LoRA. A file that holds nothing of `kind` is recognised as what it is:
 * compare `kind` of the result. `copy` says which copy to take where there are several: NULL or
 * "generator_ema" the average, "generator" the other, or any name of a dictionary, which has to be
 * there. Where that one of the two is missing or lacks tensors of the other, the other is taken, and
 * `notice` says so. */
LfRecognised *lf_recognise(const LfTensorFile *file, LfFileKind kind, const char *copy);
void lf_recognised_free(LfRecognised *recognised); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LfRecognised, lf_recognised_free)

/* The name within the copy of a tensor whose name without wrappers is `name`: the end of `name`. NULL
 * for a tensor of something else in the file. */
const char *lf_recognised_name(const LfRecognised *recognised, const char *name);

/* Whether a dictionary in the name, which has no wrappers, holds what never makes pictures: a critic,
 * a teacher, an optimiser's state. */
bool lf_recognise_never(const char *name);

/* "transformer", "text encoder", "decoder", "LoRA". */
const char *lf_file_kind_name(LfFileKind kind);

#endif
