/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bump allocation in one block of a backend's memory. An arena without memory (a plan) returns
 * tensors without data and counts bytes. To learn how large an arena must be, run the calls that
 * use it on a plan and on the backend of lf_backend_plan, and read `peak`.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LF_KERNELS_ARENA_H
#define LF_KERNELS_ARENA_H

#include "backend.h"
#include "tensor.h"

#define LF_ARENA_ALIGNMENT 256

struct LfArena {
    LfBackend *backend; /* NULL in a plan */
    uint8_t *base;      /* NULL in a plan */
    size_t size;        /* capacity in bytes; SIZE_MAX in a plan */
    size_t used;        /* bytes in use */
    size_t peak;        /* the largest `used` so far */
};

/* An arena that only counts bytes. Nothing to free. */
LfArena lf_arena_plan(void);

/* Allocates `size` bytes of the backend's memory; on the plan backend the arena is a plan. False
 * and LF_ERROR_MEMORY when the backend has not enough; the message names the size. */
bool lf_arena_init(LfArena *arena, LfBackend *backend, size_t size, GError **error);
void lf_arena_clear(LfArena *arena);

/* Allocates a tensor, aligned to LF_ARENA_ALIGNMENT, contents undefined. Never fails in a plan. To
 * ask a real arena for more than its size is a bug of the caller: the tensor has no data then,
 * after a g_critical. Dimensions end at the first 0. */
#define lf_arena_tensor(arena, type, ...)                                                          \
    lf_arena_alloc((arena), (type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})
LfTensor lf_arena_alloc(LfArena *arena, LfType type, const int64_t *shape);

/* Activations [rows, width] for a linear layer, of the type lf_weight_input. Those of F8_E4M3 have
 * `scales` F32 [2, rows]: for each row the factor to multiply its numbers by, then for each row its
 * Euclidean norm with that factor, before or after rounding. */
LfTensor lf_arena_rows(LfArena *arena, LfType type, int64_t rows, int64_t width);

/* Frees everything that was allocated since the caller read `mark` = arena->used. */
void lf_arena_release(LfArena *arena, size_t mark);

#endif
