/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kv_cache.h"

#include "positions.h"

/* One layer's frames. Each layer has memory of its own, so that growing needs a second copy of one
 * layer only. */
typedef struct {
    LfArena memory;
    LfTensor k, v;   /* [slots, H, T, d] */
    LfTensor k_pool; /* [slots, H, nk, d] */
} Frames;

typedef struct {
    LfTensor k;      /* [sink, H, T, d], as the clean pass wrote them */
    LfTensor k_pool; /* [sink, H, nk, d] */
} Sink;

struct LfKvCache {
    LfBackend *be;
    LfKvCacheConfig config;
    LfPairs pairs;
    int key_blocks; /* of a frame */

    LfArena memory; /* of the tensors that do not grow */
    LfRope rope;    /* `time` is the slice of `times` for the chunk */
    LfTensor order; /* I32 [T], or LF_NONE in raster order */
    LfTensor shift; /* [n_time, 2]: angles from the sink's numbers to those below the window's */
    Sink *sinks;    /* of each layer; NULL when the sink is never rotated */

    int slots;
    Frames *layers;
    LfArena list_memory;
    LfTensor list;  /* I32 [slots]; the first `frames` are the window's slots, oldest first */
    LfTensor times; /* F32 [slots, n_time, 2]: time angles of the frames that are written */

    bool begun, committed;
    uint64_t chunk; /* the one begun */
    int frames;     /* of its window */
};

static bool planned(const LfKvCache *cache)
{
    return lf_backend_is_plan(cache->be);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static Frames alloc_frames(const LfKvCache *cache, LfArena *arena, int slots)
{
    const LfKvCacheConfig *c = &cache->config;
    int tokens = c->geometry.frame_tokens;
    LfType type = cache->be->activation_type;
    return (Frames){
        .k = lf_arena_tensor(arena, type, slots, c->heads, tokens, c->head_dim),
        .v = lf_arena_tensor(arena, type, slots, c->heads, tokens, c->head_dim),
        .k_pool = lf_arena_tensor(arena, LF_F32, slots, c->heads, cache->key_blocks, c->head_dim),
    };
}

static bool grow_layer(LfKvCache *cache, Frames *layer, int slots, GError **error)
{
    const LfKvCacheConfig *c = &cache->config;
    LfArena plan = lf_arena_plan(), memory;
    double tokens = (double) slots * c->geometry.frame_tokens;
    if (tokens > G_MAXINT) { /* counts of tokens would wrap */
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY,
                    "attention window too large: it would need %.3f TB of memory for each layer; "
                    "set a smaller window",
                    3 * tokens * c->heads * c->head_dim * sizeof(float) / 1e12);
        return false;
    }
    alloc_frames(cache, &plan, slots);
    if (!lf_arena_init(&memory, cache->be, plan.peak, error))
        return false;
    Frames larger = alloc_frames(cache, &memory, slots);
    larger.memory = memory;
    if (lf_is_set(layer->k)) {
        LfBackend *be = cache->be;
        int64_t kept = layer->k.shape[0];
        lf_copy(be, lf_tensor_slice(larger.k, 0, kept), layer->k);
        lf_copy(be, lf_tensor_slice(larger.v, 0, kept), layer->v);
        lf_copy(be, lf_tensor_slice(larger.k_pool, 0, kept), layer->k_pool);
        if (!be->sync(be, error)) {
            lf_arena_clear(&memory);
            return false;
        }
        lf_arena_clear(&layer->memory);
    }
    *layer = larger;
    return true;
}

static void alloc_list(LfKvCache *cache, LfArena *arena, int slots)
{
    cache->list = lf_arena_tensor(arena, LF_I32, slots);
    cache->times = lf_arena_tensor(arena, LF_F32, slots, cache->pairs.time, 2);
}

/* Does not copy: slots and times are written again when a chunk begins. */
static bool grow_list(LfKvCache *cache, int slots, GError **error)
{
    LfKvCache planned = *cache;
    LfArena plan = lf_arena_plan(), memory;
    alloc_list(&planned, &plan, slots);
    if (!lf_arena_init(&memory, cache->be, plan.peak, error))
        return false;
    lf_arena_clear(&cache->list_memory);
    alloc_list(cache, &memory, slots);
    cache->list_memory = memory;
    return true;
}

/* Grows every layer to `slots` frames. After a failure some layers may have grown already; they
 * stay so, and the next attempt skips them. */
static bool grow(LfKvCache *cache, int slots, GError **error)
{
    for (int i = 0; i < cache->config.layers; i++)
        if (cache->layers[i].k.shape[0] < slots)
            if (!grow_layer(cache, &cache->layers[i], slots, error))
                return false;
    if (!grow_list(cache, slots, error))
        return false;
    cache->slots = slots;
    return true;
}

static bool sink_rotates(const LfKvCacheConfig *c)
{
    return c->relative && c->window > 0 && c->sink > 0;
}

static void alloc_fixed(LfKvCache *cache, LfArena *arena)
{
    const LfKvCacheConfig *c = &cache->config;
    const LfGeometry *g = &c->geometry;
    LfPairs pairs = cache->pairs;
    if (g->tile_rows > 0) {
        cache->rope.row = lf_arena_tensor(arena, LF_F32, g->frame_tokens, pairs.row + pairs.col, 2);
        cache->order = lf_arena_tensor(arena, LF_I32, g->frame_tokens);
    } else {
        cache->rope.row = lf_arena_tensor(arena, LF_F32, g->rows, pairs.row, 2);
        cache->rope.col = lf_arena_tensor(arena, LF_F32, g->cols, pairs.col, 2);
    }
    cache->shift = lf_arena_tensor(arena, LF_F32, pairs.time, 2);
    for (int i = 0; cache->sinks && i < c->layers; i++) {
        cache->sinks[i].k = lf_arena_tensor(arena, cache->be->activation_type, c->sink, c->heads,
                                            g->frame_tokens, c->head_dim);
        cache->sinks[i].k_pool =
            lf_arena_tensor(arena, LF_F32, c->sink, c->heads, cache->key_blocks, c->head_dim);
    }
}

/* ---- positions ------------------------------------------------------------------------------- */

/* `table` [n, pairs, 2], or [pairs, 2] for one position. */
static void write_positions(LfKvCache *cache, LfTensor table, uint64_t first)
{
    int count = table.n_dims > 2 ? (int) table.shape[0] : 1;
    int pairs = (int) table.shape[table.n_dims - 2];
    if (planned(cache))
        return;
    float *values = g_new(float, lf_tensor_count(table));
    lf_position_table(values, pairs, first, count);
    lf_upload(cache->be, table, values);
    g_free(values);
}

/* For tokens in tiles: the row and column angles of each token, and the token of each patch. */
static void write_tiles(LfKvCache *cache)
{
    const LfGeometry *g = &cache->config.geometry;
    LfPairs pairs = cache->pairs;
    if (planned(cache))
        return;
    g_autofree float *angles = g_new(float, lf_tensor_count(cache->rope.row));
    g_autofree int32_t *order = g_new(int32_t, g->frame_tokens);
    for (int row = 0; row < g->rows; row++)
        for (int col = 0; col < g->cols; col++) {
            int token = lf_token_at(g, row, col);
            float *at = angles + 2 * token * (pairs.row + pairs.col);
            lf_position_table(at, pairs.row, (uint64_t) row, 1);
            lf_position_table(at + 2 * pairs.row, pairs.col, (uint64_t) col, 1);
            order[row * g->cols + col] = token;
        }
    lf_upload(cache->be, cache->rope.row, angles);
    lf_upload(cache->be, cache->order, order);
}

static void write_grid(LfKvCache *cache)
{
    if (cache->config.geometry.tile_rows > 0) {
        write_tiles(cache);
        return;
    }
    write_positions(cache, cache->rope.row, 0);
    write_positions(cache, cache->rope.col, 0);
}

static uint64_t end_of_chunk(const LfKvCache *cache)
{
    return (cache->chunk + 1) * (uint64_t) cache->config.geometry.chunk;
}

/* Frames that were evicted, all between the sink and the next frame of the window. */
static uint64_t evicted(const LfKvCache *cache)
{
    return end_of_chunk(cache) - (uint64_t) cache->frames;
}

static void write_slots(LfKvCache *cache)
{
    const LfKvCacheConfig *c = &cache->config;
    if (planned(cache))
        return;
    int32_t *slots = g_new(int32_t, cache->frames);
    for (int i = 0; i < cache->frames; i++) {
        uint64_t frame = (uint64_t) i + (i < c->sink ? 0 : evicted(cache));
        uint64_t sink = (uint64_t) c->sink, ring = (uint64_t) (c->window - c->sink);
        if (c->window > 0 && frame >= sink)
            frame = sink + (frame - sink) % ring;
        slots[i] = (int32_t) frame;
    }
    lf_upload(cache->be, lf_tensor_slice(cache->list, 0, cache->frames), slots);
    g_free(slots);
}

/* The last `count` frames of the window are about to be written: sets their time angles. */
static void write_times(LfKvCache *cache, int count)
{
    int first = cache->frames - count;
    LfTensor times = lf_tensor_slice(cache->times, first, count);
    write_positions(cache, times, evicted(cache) + (uint64_t) first);
}

static void shift_frames(LfKvCache *cache, LfTensor out, LfTensor x)
{
    for (int64_t i = 0; i < x.shape[0]; i++)
        lf_rope_shift(cache->be, lf_tensor_at(out, i), lf_tensor_at(x, i), cache->shift);
}

static void rotate_sink(LfKvCache *cache)
{
    write_positions(cache, cache->shift, evicted(cache));
    for (int i = 0; i < cache->config.layers; i++) {
        shift_frames(cache, cache->layers[i].k, cache->sinks[i].k);
        shift_frames(cache, cache->layers[i].k_pool, cache->sinks[i].k_pool);
    }
}

/* ---- the chunk ------------------------------------------------------------------------------- */

/* Of frames first … first + written − 1, copies those of the sink, while their keys are rotated by
 * their own numbers. */
static void keep_sink(LfKvCache *cache, uint64_t first, int written)
{
    LfBackend *be = cache->be;
    int sink = cache->config.sink;
    if (first >= (uint64_t) sink)
        return;
    int64_t from = (int64_t) first, count = MIN(sink - from, written);
    for (int i = 0; i < cache->config.layers; i++) {
        LfTensor k = lf_tensor_slice(cache->layers[i].k, from, count);
        LfTensor k_pool = lf_tensor_slice(cache->layers[i].k_pool, from, count);
        lf_copy(be, lf_tensor_slice(cache->sinks[i].k, from, count), k);
        lf_copy(be, lf_tensor_slice(cache->sinks[i].k_pool, from, count), k_pool);
    }
}

void lf_kv_cache_commit(LfKvCache *cache)
{
    int chunk = cache->config.geometry.chunk;
    if (cache->sinks && !cache->committed)
        keep_sink(cache, cache->chunk * (uint64_t) chunk, chunk);
    cache->committed = true;
}

/* Doubles an unbounded cache until `frames` fit. */
static bool make_room(LfKvCache *cache, uint64_t frames, GError **error)
{
    int slots = cache->slots;
    while ((uint64_t) slots < frames && slots <= INT_MAX / 2)
        slots *= 2;
    if ((uint64_t) slots < frames) {
        g_set_error(error, LF_ERROR, LF_ERROR_MEMORY,
                    "an unbounded window cannot hold %" G_GUINT64_FORMAT
                    " latent frames: set a window",
                    frames);
        return false;
    }
    if (slots == cache->slots || grow(cache, slots, error))
        return true;
    g_prefix_error(error, "an unbounded window of %" G_GUINT64_FORMAT " latent frames: ", frames);
    return false;
}

static bool may_begin(const LfKvCache *cache, uint64_t index, GError **error)
{
    uint64_t next = cache->begun ? cache->chunk + cache->committed : 0;
    if (index == next || (cache->begun && index == cache->chunk) || planned(cache))
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "chunk %" G_GUINT64_FORMAT
                " of the cache cannot be begun: it is at chunk %" G_GUINT64_FORMAT,
                index, next);
    return false;
}

/* The window becomes that of chunk `index`. */
static void enter(LfKvCache *cache, uint64_t index)
{
    const LfKvCacheConfig *c = &cache->config;
    cache->chunk = index;
    cache->begun = true;
    uint64_t end = end_of_chunk(cache);
    cache->frames = (int) (c->window > 0 ? MIN(end, (uint64_t) c->window) : end);
    cache->rope.time =
        lf_tensor_slice(cache->times, cache->frames - c->geometry.chunk, c->geometry.chunk);
    write_slots(cache);
    if (cache->sinks && evicted(cache) > 0)
        rotate_sink(cache);
}

bool lf_kv_cache_begin(LfKvCache *cache, uint64_t index, GError **error)
{
    const LfKvCacheConfig *c = &cache->config;
    if (!may_begin(cache, index, error))
        return false;
    if (cache->begun && index == cache->chunk) {
        cache->committed = false;
        return true;
    }
    uint64_t end = (index + 1) * (uint64_t) c->geometry.chunk;
    if (c->window == 0 && !make_room(cache, end, error))
        return false;
    enter(cache, index);
    write_times(cache, c->geometry.chunk);
    cache->committed = false;
    return true;
}

/* ---- recache --------------------------------------------------------------------------------- */

int lf_kv_cache_recomputed(const LfKvCache *cache)
{
    return cache->frames - (evicted(cache) > 0 ? cache->config.sink : 0);
}

bool lf_kv_cache_begin_past(LfKvCache *cache, uint64_t index, GError **error)
{
    uint64_t next = cache->begun ? cache->chunk + cache->committed : 0;
    bool reachable = index == next || (cache->begun && index == cache->chunk);
    if (index == 0 || !(reachable || planned(cache))) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "no recache before chunk %" G_GUINT64_FORMAT
                    ": the cache is at chunk %" G_GUINT64_FORMAT,
                    index, next);
        return false;
    }
    enter(cache, index - 1);
    write_times(cache, lf_kv_cache_recomputed(cache));
    cache->committed = true;
    return true;
}

void lf_kv_cache_commit_past(LfKvCache *cache)
{
    if (cache->sinks && evicted(cache) == 0)
        keep_sink(cache, 0, cache->frames);
}

LfKvRun lf_kv_cache_run(const LfKvCache *cache, int first)
{
    uint64_t chunk = (uint64_t) cache->config.geometry.chunk;
    LfKvRun run = {.first = cache->frames - lf_kv_cache_recomputed(cache) + first};
    uint64_t frame = evicted(cache) + (uint64_t) run.first;
    run.chunk = frame / chunk;
    run.skipped = (int) (frame % chunk);
    run.count = (int) chunk - run.skipped;
    return run;
}

LfWindow lf_kv_cache_run_window(const LfKvCache *cache, int layer, const LfKvRun *run)
{
    LfWindow window = lf_kv_cache_window(cache, layer);
    window.slots = lf_tensor_slice(window.slots, 0, run->first + run->count);
    window.chunk = run->count;
    return window;
}

LfRope lf_kv_cache_run_rope(const LfKvCache *cache, const LfKvRun *run)
{
    LfRope rope = cache->rope;
    rope.time = lf_tensor_slice(cache->times, run->first, run->count);
    return rope;
}

void lf_kv_cache_reset(LfKvCache *cache)
{
    cache->begun = cache->committed = false;
    cache->chunk = 0;
    cache->frames = 0;
}

/* ---- queries --------------------------------------------------------------------------------- */

LfWindow lf_kv_cache_window(const LfKvCache *cache, int layer)
{
    const Frames *frames = &cache->layers[layer];
    return (LfWindow){.k = frames->k,
                      .v = frames->v,
                      .k_pool = frames->k_pool,
                      .slots = lf_tensor_slice(cache->list, 0, cache->frames),
                      .chunk = cache->config.geometry.chunk,
                      .key_block = cache->config.key_block};
}

int lf_kv_cache_frames(const LfKvCache *cache)
{
    return cache->frames;
}

int lf_kv_cache_past(const LfKvCache *cache)
{
    return cache->frames - cache->config.geometry.chunk;
}

const LfRope *lf_kv_cache_rope(const LfKvCache *cache)
{
    return &cache->rope;
}

LfTensor lf_kv_cache_order(const LfKvCache *cache)
{
    return cache->order;
}

const LfKvCacheConfig *lf_kv_cache_config(const LfKvCache *cache)
{
    return &cache->config;
}

size_t lf_kv_cache_memory(const LfKvCache *cache)
{
    size_t size = cache->memory.peak + cache->list_memory.peak;
    for (int i = 0; i < cache->config.layers; i++)
        size += cache->layers[i].memory.peak;
    return size;
}

/* ---- creation -------------------------------------------------------------------------------- */

/* Fails with an error that names the number when it is below `least`. */
static bool check_least(const char *name, int value, int least, GError **error)
{
    if (value >= least)
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                "invalid KV cache configuration: %s is %d, must be at least %d", name, value,
                least);
    return false;
}

static bool check_config(const LfKvCacheConfig *c, GError **error)
{
    const LfGeometry *g = &c->geometry;
    if (!check_least("layers", c->layers, 1, error) || !check_least("heads", c->heads, 1, error) ||
        !check_least("head size", c->head_dim, 6, error) ||
        !check_least("chunk", g->chunk, 1, error) ||
        !check_least("tokens of a frame", g->frame_tokens, 1, error) ||
        !check_least("sink", c->sink, 0, error) || !check_least("window", c->window, 0, error) ||
        !check_least("key block", c->key_block, 1, error))
        return false;
    if (c->head_dim % 2) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "invalid KV cache configuration: head size is %d, must be even", c->head_dim);
        return false;
    }
    if (c->window > 0 && (int64_t) c->window < (int64_t) g->chunk + c->sink) {
        g_set_error(error, LF_ERROR, LF_ERROR_CONFIG,
                    "a window of %d latent frames has no room for a chunk of %d and a sink of %d: "
                    "set at least %" G_GINT64_FORMAT,
                    c->window, g->chunk, c->sink, (int64_t) g->chunk + c->sink);
        return false;
    }
    return true;
}

static bool allocate(LfKvCache *cache, GError **error)
{
    const LfKvCacheConfig *c = &cache->config;
    LfArena plan = lf_arena_plan();
    if (!grow(cache, c->window > 0 ? c->window : c->geometry.chunk, error))
        return false;
    if (sink_rotates(c))
        cache->sinks = g_new0(Sink, c->layers);
    alloc_fixed(cache, &plan);
    if (!lf_arena_init(&cache->memory, cache->be, plan.peak, error))
        return false;
    alloc_fixed(cache, &cache->memory);
    return true;
}

LfKvCache *lf_kv_cache_new(LfBackend *be, const LfKvCacheConfig *config, GError **error)
{
    if (!check_config(config, error))
        return NULL;
    LfKvCache *cache = g_new0(LfKvCache, 1);
    cache->be = be;
    cache->config = *config;
    cache->pairs = lf_position_pairs(config->head_dim);
    cache->key_blocks = lf_frame_blocks(config->geometry.frame_tokens, config->key_block);
    cache->layers = g_new0(Frames, config->layers);
    if (!allocate(cache, error))
        goto fail;
    write_grid(cache);
    return cache;
fail:
    lf_kv_cache_free(cache);
    return NULL;
}

void lf_kv_cache_free(LfKvCache *cache)
{
    if (!cache)
        return;
    for (int i = 0; i < cache->config.layers; i++)
        lf_arena_clear(&cache->layers[i].memory);
    lf_arena_clear(&cache->list_memory);
    lf_arena_clear(&cache->memory);
    g_free(cache->sinks);
    g_free(cache->layers);
    g_free(cache);
}
