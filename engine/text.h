/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Text embeddings of a prompt, in host memory: what the text encoder makes and the transformer's
 * cross attention reads. Reference-counted, immutable once it is shared.
 */
#ifndef LF_ENGINE_TEXT_H
#define LF_ENGINE_TEXT_H

#include "kernels/tensor.h"

#include <glib.h>

typedef struct {
    gatomicrefcount refs;
    LfTensor rows; /* [n, text_dim] of the transformer's activations; LF_NONE for no rows */
    int64_t time;  /* ns that the encoder took; 0 when there was nothing to encode */
} LfText;

/* `rows` rows of undefined numbers, or no rows for 0. NULL when there is no memory. */
LfText *lf_text_new(LfType type, int rows, int dim);

LfText *lf_text_ref(LfText *text);
void lf_text_unref(LfText *text); /* NULL is fine */

#endif
