/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which key blocks Light Forcing keeps, from q, k and v as the linear layer gives them: norm and
 * rotation, means, frames, blocks. Compared with an independent, plain implementation of the method
 * in float64.
 */
#include "fixture.h"
#include "kernels/arena.h"
#include "kernels/ops.h"

#include <math.h>
#include <string.h>

enum { HEADS = 2, HEAD_DIM = 32, DIM = HEADS * HEAD_DIM, CHUNK = 3, CHUNKS = 4 };
enum { FRAMES = CHUNK * CHUNKS };

typedef struct {
    const char *name;
    int rows, cols, block, budget;
    LfSelection selection;
} Case;

static const Case cases[] = {
    {"1536.64", 32, 48, 64, 34, {.keep_frames = 6, .keep_sink = 1, .keep_near = 2}},
    {"1536.128", 32, 48, 128, 28, {.keep_frames = 3, .keep_sink = 1, .keep_near = 1}},
    {"1560.64", 30, 52, 64, 36, {.keep_frames = 6, .keep_sink = 1, .keep_near = 2}},
    {"160.32", 10, 16, 32, 9, {.keep_frames = 3, .keep_sink = 1, .keep_near = 1}},
};

/* (cos, sin) of positions first … first + n − 1 for `pairs` pairs. */
static LfTensor rotation(LfArena *arena, int first, int n, int pairs)
{
    LfTensor table = lf_arena_tensor(arena, LF_F32, n, pairs, 2);
    for (int i = 0; i < n; i++)
        for (int p = 0; p < pairs; p++) {
            double angle = (first + i) * pow(10000, -(double) p / pairs);
            lf_f32(table)[(i * pairs + p) * 2] = (float) cos(angle);
            lf_f32(table)[(i * pairs + p) * 2 + 1] = (float) sin(angle);
        }
    return table;
}

static LfTensor numbers(LfArena *arena, LfTensor t, const char *name, double scale, double mean)
{
    float *values = ref_numbers(name, lf_tensor_count(t), scale, mean);
    lf_upload(arena->backend, t, values);
    g_free(values);
    return t;
}

/* Slots in no particular order, as a ring leaves them. */
static int slot_of(int frame)
{
    return (frame * 5 + 3) % FRAMES;
}

static LfWindow new_window(LfArena *arena, const Case *c)
{
    int tokens = c->rows * c->cols, blocks = (tokens + c->block - 1) / c->block;
    LfWindow w = {.chunk = CHUNK, .key_block = c->block};
    w.k = lf_arena_tensor(arena, LF_F32, FRAMES, HEADS, tokens, HEAD_DIM);
    w.v = lf_arena_tensor(arena, LF_F32, FRAMES, HEADS, tokens, HEAD_DIM);
    w.k_pool = lf_arena_tensor(arena, LF_F32, FRAMES, HEADS, blocks, HEAD_DIM);
    w.slots = lf_arena_tensor(arena, LF_I32, FRAMES);
    for (int frame = 0; frame < FRAMES; frame++)
        lf_i32(w.slots)[frame] = slot_of(frame);
    return w;
}

/* One chunk's q, k and v into the window; its pooled queries. */
static LfTensor put_chunk(LfArena *arena, LfWindow window, const Case *c, int chunk)
{
    LfBackend *be = arena->backend;
    int tokens = c->rows * c->cols, n = CHUNK * tokens;
    int blocks = (tokens + c->block - 1) / c->block;
    LfRope rope = {rotation(arena, CHUNK * chunk, CHUNK, 6), rotation(arena, 0, c->rows, 5),
                   rotation(arena, 0, c->cols, 5)};
    LfTensor q_weight = lf_arena_tensor(arena, LF_F32, DIM);
    LfTensor k_weight = lf_arena_tensor(arena, LF_F32, DIM);
    numbers(arena, q_weight, "select.q_weight", 0.25, 1.25);
    numbers(arena, k_weight, "select.k_weight", 0.25, 1.25);
    LfTensor q = lf_arena_tensor(arena, LF_F32, HEADS, n, HEAD_DIM);
    LfTensor pool = lf_arena_tensor(arena, LF_F32, HEADS, CHUNK * blocks, HEAD_DIM);
    char *name = g_strdup_printf("qkv.%s.%d", c->name, chunk);
    LfTensor qkv = numbers(arena, lf_arena_tensor(arena, LF_F32, n, 3 * DIM), name, 1, 0);
    g_free(name);
    window.slots = lf_tensor_slice(window.slots, 0, CHUNK * (chunk + 1));
    lf_qkv_norm_rope(be, q, pool, &window, qkv, q_weight, k_weight, &rope, c->block, 1e-6f);
    return pool;
}

static LfTensor select_table(LfArena *arena, const Case *c)
{
    LfWindow window = new_window(arena, c);
    LfTensor pool = LF_NONE;
    for (int chunk = 0; chunk < CHUNKS; chunk++)
        pool = put_chunk(arena, window, c, chunk);
    LfTensor table = lf_arena_tensor(arena, LF_I32, HEADS, pool.shape[1], c->budget);
    lf_select_blocks(arena->backend, table, pool, &window, &c->selection);
    return table;
}

static void test_selection(gconstpointer data)
{
    const Case *c = data;
    GError *error = NULL;
    LfArena arena;
    LfBackend *be = lf_backend_open_cpu(1, &error);
    g_assert_no_error(error);
    lf_arena_init(&arena, be, (size_t) 96 << 20, &error);
    g_assert_no_error(error);

    LfTensor table = select_table(&arena, c);
    be->sync(be, &error);
    g_assert_no_error(error);
    LfTensorFile *file = ref_open("selection");
    char *name = g_strconcat("kept.", c->name, NULL);
    const LfFileTensor *kept = lf_tensor_file_find(file, name);
    g_assert_nonnull(kept);
    g_assert_cmpint(kept->type, ==, LF_I16);
    g_assert_cmpint(kept->shape[2], ==, c->budget);
    g_assert_cmpuint(kept->size, ==, (size_t) lf_tensor_count(table) * 2);
    int64_t different = 0;
    for (int64_t i = 0; i < lf_tensor_count(table); i++)
        different += ((const int16_t *) kept->data)[i] != lf_i32(table)[i];
    g_test_message("%s: %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " kept blocks differ", name,
                   different, lf_tensor_count(table));
    g_assert_cmpint(different, ==, 0);

    g_free(name);
    lf_tensor_file_unref(file);
    lf_arena_clear(&arena);
    lf_backend_close(be);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *path = g_strconcat("/reference/selection/", cases[i].name, NULL);
        g_test_add_data_func(path, &cases[i], test_selection);
        g_free(path);
    }
    return g_test_run();
}
