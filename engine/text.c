/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text.h"

LfText *lf_text_new(LfType type, int rows, int dim)
{
    LfText *text = g_new0(LfText, 1);
    g_atomic_ref_count_init(&text->refs);
    if (rows == 0)
        return text;
    text->rows = lf_tensor(NULL, type, rows, dim);
    text->rows.data = g_try_malloc(lf_tensor_size(text->rows));
    if (!text->rows.data)
        g_clear_pointer(&text, g_free);
    return text;
}

LfText *lf_text_ref(LfText *text)
{
    g_atomic_ref_count_inc(&text->refs);
    return text;
}

void lf_text_unref(LfText *text)
{
    if (!text || !g_atomic_ref_count_dec(&text->refs))
        return;
    g_free(text->rows.data);
    g_free(text);
}
