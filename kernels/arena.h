/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bump allocation in one block of a backend's memory. An arena without memory (a plan) hands out
 * tensors without data and only adds up, so running the real calls against it, on the backend
 * that does nothing (lf_backend_plan), tells how large the real arena must be.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LF_KERNELS_ARENA_H
#define LF_KERNELS_ARENA_H

#include "backend.h"
#include "tensor.h"

#define LF_ARENA_ALIGNMENT 256

typedef struct {
    LfBackend *backend; /* NULL in a plan */
    uint8_t *base;      /* NULL in a plan */
    size_t size;        /* capacity in bytes; SIZE_MAX in a plan */
    size_t used;        /* bytes handed out now */
    size_t peak;        /* the most that was ever handed out at once */
} LfArena;

/* An arena that only adds up. Nothing to free. */
LfArena lf_arena_plan(void);

/* `size` bytes of the backend's memory; on the plan backend the arena is a plan. False and an error
 * (LF_ERROR_MEMORY, names the size) when there is not as much. */
bool lf_arena_init(LfArena *arena, LfBackend *backend, size_t size, GError **error);
void lf_arena_clear(LfArena *arena);

/* The next tensor, aligned to LF_ARENA_ALIGNMENT, contents undefined. Never fails in a plan; asking
 * a real arena for more than was planned is a mistake of ours and returns a tensor without data
 * after a g_critical. Dimensions end at the first 0. */
#define lf_arena_tensor(arena, type, ...)                                                          \
    lf_arena_alloc((arena), (type), (const int64_t[LF_MAX_DIMS + 1]){__VA_ARGS__})
LfTensor lf_arena_alloc(LfArena *arena, LfType type, const int64_t *shape);

/* An activation [rows, width] of a type that a linear may want (lf_weight_input). F8_E4M3 has
 * `scales` F32 [2, rows]: for each row the factor that its numbers are to be multiplied by, and the
 * row's Euclidean norm, factor included, before or after rounding. */
LfTensor lf_arena_rows(LfArena *arena, LfType type, int64_t rows, int64_t width);

/* Gives back everything that was taken since `mark` = arena->used was read. */
void lf_arena_release(LfArena *arena, size_t mark);

#endif
