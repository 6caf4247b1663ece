/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Families of published checkpoints. The tensors of Self-Forcing's descendants are alike, so a
 * checkpoint does not tell how it is sampled. A family is a row of sampling defaults. It is found by
 * the end of a path, and decides nothing else: model.json and properties override all of it.
 *
 * Thread-safety: the table is constant.
 */
#ifndef LF_FILES_FAMILY_H
#define LF_FILES_FAMILY_H

#include "model_config.h"

typedef struct LfFamily {
    const char *name;  /* in model.json and on a command line: "causal-forcing-framewise" */
    const char *title; /* for people: "Causal Forcing, frame-wise" */
    /* Patterns of the end of a path, in lower case, with '*' and '?', separated by '|'. Each begins
     * at a component of the path. */
    const char *paths;
    int chunk;                  /* latent frames */
    LfSteps steps, first_steps; /* n 0: the first chunk is as the others */
    bool no_warp;               /* the steps are after the shift */
    double shift;
    int window, sink; /* latent frames; window 0: unbounded */
    const char
        *copy;   /* "generator": what to read of a file with an average, too; NULL: the average */
    bool sparse; /* trained with Light Forcing's attention */
    /* What its authors' sampler does and this engine does not, one line; NULL: nothing. */
    const char *differs;
    const char *repository, *file; /* on Hugging Face */
    const char *licence;
} LfFamily;

/* In the order in which paths are tried; ends with a row whose name is NULL. */
extern const LfFamily lf_families[];

/* The family named `name`, or NULL. */
const LfFamily *lf_family_named(const char *name);

/* Sets LF_ERROR_CONFIG, that there is no family `name`, and which there are; returns false. */
bool lf_family_refuse(const char *name, GError **error);

/* The family of the checkpoint at `path`; NULL when its path fits none. Symbolic links are followed
 * only if the path itself fits none, because a cache of the hub links to names of hashes. */
const LfFamily *lf_family_of_path(const char *path);

/* Sets the sampling defaults of `config` to those of the family. */
void lf_family_apply(const LfFamily *family, LfModelConfig *config);

#endif
