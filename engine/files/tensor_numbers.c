/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The numbers of a tensor, whatever its bytes are.
 */
#include "tensor_file.h"

#include <stdlib.h>
#include <string.h>

int64_t lf_file_tensor_count(const LfFileTensor *tensor)
{
    return tensor->coding ? (int64_t) (tensor->size / tensor->coding->size) * tensor->coding->block
                          : (int64_t) (tensor->size / lf_type_size(tensor->type));
}

const char *lf_file_tensor_type_name(const LfFileTensor *tensor)
{
    return tensor->coding ? tensor->coding->name : lf_type_name(tensor->type);
}

bool lf_file_tensor_is_real(const LfFileTensor *tensor)
{
    return tensor->coding || tensor->type <= LF_F8_E5M2;
}

/* Whole blocks go where they belong; the first and the last one may be wanted in part. */
static void read_blocks(const LfFileTensor *tensor, int64_t first, int64_t count, float *out)
{
    const LfCoding *coding = tensor->coding;
    const uint8_t *in = (const uint8_t *) tensor->data + first / coding->block * coding->size;
    int64_t inside = first % coding->block;
    while (count > 0) {
        int64_t n = count / coding->block;
        if (inside == 0 && n > 0) {
            coding->decode(out, in, (size_t) n);
            in += (size_t) n * coding->size;
            n *= coding->block;
        } else {
            float block[LF_CODING_MAX_BLOCK];
            n = MIN(count, coding->block - inside);
            coding->decode(block, in, 1);
            memcpy(out, block + inside, (size_t) n * sizeof *out);
            in += coding->size;
            inside = 0;
        }
        out += n;
        count -= n;
    }
}

void lf_file_tensor_read(const LfFileTensor *tensor, int64_t first, int64_t count, float *out)
{
    g_return_if_fail(lf_file_tensor_is_real(tensor) && first >= 0 && count >= 0 &&
                     first + count <= lf_file_tensor_count(tensor));
    if (tensor->coding)
        read_blocks(tensor, first, count, out);
    else
        lf_to_float(out,
                    (const uint8_t *) tensor->data + (size_t) first * lf_type_size(tensor->type),
                    tensor->type, count);
}

static int by_type_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

char *lf_tensor_file_types(const LfTensorFile *file)
{
    size_t n = lf_tensor_file_count(file);
    g_autofree const char **names = g_new(const char *, n + 1);
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < n; i++)
        names[i] = lf_file_tensor_type_name(lf_tensor_file_nth(file, i));
    qsort(names, n, sizeof *names, by_type_name);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i; next < n && strcmp(names[next], names[i]) == 0; next++)
            ;
        g_string_append_printf(text, "%s%s", text->len ? ", " : "", names[i]);
        if (next - i < n)
            g_string_append_printf(text, " %zu", next - i);
    }
    return g_string_free(text, false);
}
