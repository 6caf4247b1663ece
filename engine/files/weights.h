/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Binds named tensors to the fields of a struct: one table of names lists all weights of a model.
 * A tensor that is missing or has another shape is an error that names it:
 * "blocks.3.ffn.0.weight: [1536, 8960] expected, file has [1536, 8192]".
 */
#ifndef LF_FILES_WEIGHTS_H
#define LF_FILES_WEIGHTS_H

#include "kernels/arena.h"
#include "kernels/log.h"
#include "kernels/ops.h"
#include "layouts/layouts.h"
#include "tensor_file.h"

/* Where tensors come from: a file of any layout that layouts/ knows, or a generator of random
 * numbers. Names are canonical, whatever the file calls its tensors. A weight may be used where it
 * is, in the file's map or in the source: the source outlives everything that was bound from it.
 * Thread-safety: one thread at a time. */
typedef struct LfWeightSource LfWeightSource;

/* How a file is read. All-zero is fine. */
typedef struct {
    LfFileKind kind;  /* what the file has to be; LF_FILE_UNKNOWN: anything, also tensors of which
                         nothing is known, whose names are canonical then */
    const char *copy; /* which copy, where there are several, as lf_recognise takes it; or NULL */
    const LfLog *log; /* what the user should know of the choice; or NULL */
} LfSourceOptions;

/* Takes a reference. `options` may be NULL. LF_ERROR_SHAPE for a file of another part,
 * LF_ERROR_UNSUPPORTED for one that cannot be used: the message says what it is and what to use. */
LfWeightSource *lf_weight_source_file(LfTensorFile *file, const LfSourceOptions *options,
                                      GError **error);

/* Tensors of any name and shape, BF16, a pure function of seed, name and shape: normal numbers with
 * deviation 1/√fan_in for matrices, 1 for the weights of norms ("norm_q.weight", "norm1.weight" …),
 * small normal numbers for biases. */
LfWeightSource *lf_weight_source_random(uint64_t seed);
void lf_weight_source_free(LfWeightSource *source); /* NULL is fine */

/* Adds a LoRA, before anything is bound: strength · (alpha / rank) · (up · down), and plain
 * differences, are added to the weights in float when these are bound; such weights are not used in
 * place. Several add up. The source keeps a reference to `file`. LF_ERROR_FORMAT or
 * LF_ERROR_UNSUPPORTED for a file that is no such LoRA, LF_ERROR_SHAPE for one of another model:
 * modules that the weights lack, or other shapes. The source is of no use after an error. Modules for
 * the picture that image-to-video models begin with are left out, and *notice says so; else it is
 * NULL. Transfer full. */
bool lf_weight_source_add_lora(LfWeightSource *source, LfTensorFile *file, double strength,
                               char **notice, GError **error);

int lf_weight_source_lora_count(const LfWeightSource *source);

/* The name of the file's layout, "Wan", "diffusers"; "unknown", "random". */
const char *lf_weight_source_layout(const LfWeightSource *source);

/* The name of the copy that is read ("generator_ema"), "" where the names have no prefix; and what the
 * user has to know of the file, or NULL. */
const char *lf_weight_source_copy(const LfWeightSource *source);
const char *lf_weight_source_notice(const LfWeightSource *source);

/* The tensor of a canonical name, or NULL and LF_ERROR_SHAPE; without what a LoRA adds to it.
 * Random ones have the shape that they are asked for: for them it is LF_ERROR_UNSUPPORTED, and
 * lf_weight_source_has is true. */
const LfFileTensor *lf_weight_source_find(LfWeightSource *source, const char *name, GError **error);
bool lf_weight_source_has(LfWeightSource *source, const char *name);

/* Once a part is bound: tensors that nothing was bound from are layers that the engine does not run,
 * so that the pictures would be wrong. LF_ERROR_SHAPE names them. Tensors that are known to be of no
 * use (lf_layout_ignores) are not among them. */
bool lf_weight_source_check_unused(const LfWeightSource *source, GError **error);

/* Called after every tensor that was bound from the source, with its bytes in the file; false and
 * an error stop the binding. */
typedef bool (*LfWeightProgress)(size_t size, gpointer data, GError **error);
void lf_weight_source_set_progress(LfWeightSource *source, LfWeightProgress progress,
                                   gpointer data);

/* Bytes of all tensors under canonical names; 0 for a random source. */
size_t lf_weight_source_size(const LfWeightSource *source);

/* Numbers of all tensors under canonical names; 0 for a random source. */
size_t lf_weight_source_count(const LfWeightSource *source);

/* Bytes that the source holds itself for weights that are used in place: stacked, aligned, merged
 * or random ones, not those in the file's map. */
size_t lf_weight_source_memory(const LfWeightSource *source);

typedef enum {
    LF_BIND_LINEAR,     /* field LfWeight *, shape [out, in] (further dimensions of the file are
                           flattened into `in`) */
    LF_BIND_LINEAR_FP8, /* the same, of a transformer's block: FP8 where the precision is */
    LF_BIND_CONV3X3,    /* field LfWeight *, [out, in, 3, 3] */
    LF_BIND_CONV_UP2,   /* field LfWeight *, [out, in, 3, 3] */
    LF_BIND_CONV3D,    /* field LfWeight *, [out, in, t, k, k]; the file may lack ones at the end */
    LF_BIND_EMBEDDING, /* field LfWeight *, [rows, width] */
    LF_BIND_VECTOR /* field LfTensor, converted to F32 in the arena, shape as given (ones before and
                      behind it in the file's are ignored) */
} LfBindKind;

/* One row of a table. `name` is appended to the prefix. Several names joined with '|' are stacked
 * along the first dimension, in order, each with an equal share of shape[0]
 * ("q.weight|k.weight|v.weight"). Rows [first, first + shape[0]) of the file's tensor are taken
 * where `rows` (the file's rows) is not 0. */
typedef struct {
    const char *name;
    size_t offset; /* of the field in the struct */
    LfBindKind kind;
    int64_t shape[5];    /* ends at the first 0 */
    int64_t first, rows; /* see above; usually 0, 0 */
} LfBinding;

/* Fills the fields of `object` (zeroed before). On failure the fields bound so far stay, for
 * lf_weights_unbind, which frees them all and is fine with a half-bound object. Vectors are taken
 * from `arena`; lf_weights_vector_size tells how many bytes of it. FP8 tensors become BF16, each
 * row times its entry of "….weight_scale" or "….scale_weight" where the file has one, which may also
 * be a single number; those in E4M3 keep their codes and scales where a backend holds such rows. A
 * scale under another name is an error. Parts that are stacked in this order in the file are used
 * there, as a single tensor is. */
bool lf_weights_bind(LfBackend *be, LfWeightSource *source, const char *prefix,
                     const LfBinding *bindings, size_t n_bindings, LfArena *arena, void *object,
                     GError **error);
void lf_weights_unbind(LfBackend *be, const LfBinding *bindings, size_t n_bindings, void *object);

/* The numbers of one binding, in its shape, for a weight that is computed from several tensors.
 * Free with g_free. */
float *lf_weights_read(LfWeightSource *source, const char *prefix, const LfBinding *binding,
                       GError **error);

size_t lf_weights_vector_size(const LfBinding *bindings, size_t n_bindings);

/* Bytes of the weights that the bound fields hold themselves. */
size_t lf_weights_memory(const LfBinding *bindings, size_t n_bindings, const void *object);

#endif
