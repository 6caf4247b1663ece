/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arena.h"

LfArena lf_arena_plan(void)
{
    return (LfArena){.size = SIZE_MAX};
}

bool lf_arena_init(LfArena *arena, LfBackend *backend, size_t size, GError **error)
{
    *arena = lf_arena_plan();
    if (lf_backend_is_plan(backend))
        return true;
    *arena = (LfArena){.backend = backend, .size = size};
    arena->base = backend->alloc(backend, MAX(size, 1));
    if (!arena->base)
        return lf_fail(error, LF_ERROR_MEMORY,
                       "out of memory on %s: could not allocate %.1f MB; reduce width, height or "
                       "attention window, or use a smaller model",
                       backend->description, (double) size / 1e6);
    return true;
}

void lf_arena_clear(LfArena *arena)
{
    if (arena->base)
        arena->backend->free(arena->backend, arena->base);
    *arena = (LfArena){0};
}

LfTensor lf_arena_alloc(LfArena *arena, LfType type, const int64_t *shape)
{
    LfTensor t = lf_tensor_view(NULL, type, shape);
    size_t size = (lf_tensor_size(t) + LF_ARENA_ALIGNMENT - 1) / LF_ARENA_ALIGNMENT;
    size *= LF_ARENA_ALIGNMENT;
    if (size > arena->size - arena->used) {
        g_critical("arena of %zu bytes: %zu more asked for after %zu", arena->size, size,
                   arena->used);
        return t;
    }
    if (arena->base)
        t.data = arena->base + arena->used;
    arena->used += size;
    arena->peak = MAX(arena->peak, arena->used);
    return t;
}

LfTensor lf_arena_rows(LfArena *arena, LfType type, int64_t rows, int64_t width)
{
    LfTensor t = lf_arena_tensor(arena, type, rows, width);
    if (type == LF_F8_E4M3)
        t.scales = lf_f32(lf_arena_tensor(arena, LF_F32, 2, rows));
    return t;
}

void lf_arena_release(LfArena *arena, size_t mark)
{
    arena->used = mark;
}
