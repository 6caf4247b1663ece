/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The causal transformer, stage by stage, against Self-Forcing's: time and text embeddings, every
 * layer's keys and values (which tell what entered the layer), models of one, two and three layers,
 * models in which only one part of a block speaks, and prompts of every length.
 *
 * Two forwards at t = 937.5: chunk 0, and, after a clean pass over chunk 0, chunk 1.
 */
#include "engine/models/transformer.h"
#include "fixture.h"

#include <string.h>

#define TIMESTEP 937.5f
/* Below an error that matters: a norm with an epsilon of 1e-5 instead of 1e-6 has a distance of
 * 1e-5. */
#define BOUND        3e-6
#define SELF_OUT     "blocks.0.self_attn.o."
#define CROSS_OUT    "blocks.0.cross_attn.o."
#define FFN_OUT      "blocks.0.ffn.2."
#define SCRATCH_SIZE ((size_t) 32 << 20)

enum { TOKENS = REF_LATENT_WIDTH * REF_LATENT_HEIGHT / 4, ROWS = REF_CHUNK * TOKENS };
enum { HEAD_DIM = REF_DIM / REF_HEADS };
enum { VELOCITY = REF_CHUNK * REF_CHANNELS * REF_LATENT_WIDTH * REF_LATENT_HEIGHT };

typedef struct {
    char *directory;
    LfTensorFile *results;
    LfBackend *be;
    LfArena state, scratch;
    LfTransformer *transformer;
    LfKvCache *cache;
    LfTextState text;
    LfModulation noisy, clean;
} Engine;

static LfTransformer *load(Engine *e, int layers, const char *silent)
{
    GError *error = NULL;
    char *path = g_build_filename(e->directory, "transformer.safetensors", NULL);
    ref_write_transformer(path, layers, silent);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    LfTransformerConfig config = {.dim = REF_DIM,
                                  .heads = REF_HEADS,
                                  .ffn = REF_FFN,
                                  .layers = layers,
                                  .freq_dim = REF_FREQ_DIM,
                                  .text_dim = REF_TEXT_DIM,
                                  .text_len = REF_TEXT_LEN,
                                  .channels = REF_CHANNELS};
    LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
    LfTransformer *transformer = lf_transformer_new(e->be, &config, source, &error);
    g_assert_no_error(error);
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
    g_free(path);
    return transformer;
}

static LfTensor take_numbers(LfArena *arena, LfTensor t, const char *name)
{
    float *values = ref_numbers(name, lf_tensor_count(t), 1, 0);
    lf_upload(arena->backend, t, values);
    g_free(values);
    return t;
}

static void set_text(Engine *e, int rows)
{
    LfTensor context = lf_arena_tensor(&e->state, LF_F32, rows, REF_TEXT_DIM);
    take_numbers(&e->state, context, "context");
    e->text = lf_text_state(e->transformer, &e->state);
    lf_transformer_text(e->transformer, e->be, &e->scratch, &e->text, context);
}

static LfModulation modulation(Engine *e, float timestep)
{
    LfModulation m = lf_modulation(e->transformer, &e->state);
    lf_transformer_modulate(e->transformer, e->be, &e->scratch, &m, timestep);
    return m;
}

static void engine_open(Engine *e, int layers, const char *silent, int text_rows)
{
    GError *error = NULL;
    *e = (Engine){.directory = ref_directory(), .results = ref_open("transformer")};
    e->be = lf_backend_open_cpu(1, &error);
    g_assert_no_error(error);
    lf_arena_init(&e->state, e->be, SCRATCH_SIZE, &error);
    g_assert_no_error(error);
    lf_arena_init(&e->scratch, e->be, SCRATCH_SIZE, &error);
    g_assert_no_error(error);
    e->transformer = load(e, layers, silent);
    LfKvCacheConfig config = {
        .geometry = lf_geometry(REF_LATENT_WIDTH * 8, REF_LATENT_HEIGHT * 8, REF_CHUNK),
        .layers = layers,
        .heads = REF_HEADS,
        .head_dim = HEAD_DIM,
        .window = 2 * REF_CHUNK,
        .key_block = TOKENS};
    e->cache = lf_kv_cache_new(e->be, &config, &error);
    g_assert_no_error(error);
    set_text(e, text_rows);
    e->noisy = modulation(e, TIMESTEP);
    e->clean = modulation(e, 0);
}

static void engine_close(Engine *e)
{
    lf_kv_cache_free(e->cache);
    lf_transformer_free(e->transformer);
    lf_arena_clear(&e->scratch);
    lf_arena_clear(&e->state);
    lf_backend_close(e->be);
    lf_tensor_file_unref(e->results);
    ref_remove(e->directory);
}

static void run(Engine *e, LfTensor velocity, LfTensor x, const LfModulation *m)
{
    LfScheme dense = lf_dense(TOKENS);
    LfPass pass = {.be = e->be,
                   .scratch = &e->scratch,
                   .modulation = m,
                   .text = &e->text,
                   .cache = e->cache,
                   .scheme = &dense};
    size_t mark = e->scratch.used;
    g_assert_true(lf_transformer_forward(e->transformer, &pass, velocity, x));
    lf_arena_release(&e->scratch, mark);
}

static LfTensor latents(LfArena *arena)
{
    return lf_arena_tensor(arena, LF_F32, REF_CHUNK, REF_CHANNELS, REF_LATENT_HEIGHT,
                           REF_LATENT_WIDTH);
}

/* The forward pass of the noisy chunk `index`. */
static LfTensor forward_chunk(Engine *e, int index)
{
    GError *error = NULL;
    char *name = g_strdup_printf("x.%d", index);
    LfTensor x = take_numbers(&e->state, latents(&e->state), name);
    LfTensor velocity = latents(&e->state);
    g_assert_true(lf_kv_cache_begin(e->cache, (uint64_t) index, &error));
    g_assert_no_error(error);
    run(e, velocity, x, &e->noisy);
    g_free(name);
    return velocity;
}

/* The clean pass of chunk 0, which later chunks attend to. */
static void clean_chunk(Engine *e)
{
    LfTensor x = take_numbers(&e->state, latents(&e->state), "x.0");
    run(e, LF_NONE, x, &e->clean);
    lf_kv_cache_commit(e->cache);
}

static void compare(Engine *e, const char *name, LfTensor ours)
{
    int64_t count = lf_tensor_count(ours);
    float *values = g_new(float, count);
    lf_download(e->be, values, ours);
    ref_compare(name, values, ref_f32(e->results, name, count), count, BOUND);
    g_free(values);
}

/* ---- stages ---------------------------------------------------------------------------------- */

/* Compares the timestep embedding: the modulation without the weights of this name. */
static void compare_without(Engine *e, const char *name, LfTensor ours, const char *weight)
{
    int64_t count = lf_tensor_count(ours);
    float *values = g_new(float, count);
    float *own = ref_weight(weight, 1, &count, FALSE);
    lf_download(e->be, values, ours);
    for (int64_t i = 0; i < count; i++)
        values[i] -= own[i];
    ref_compare(weight, values, ref_f32(e->results, name, count), count, BOUND);
    g_free(own);
    g_free(values);
}

static void compare_time(Engine *e)
{
    for (int layer = 0; layer < REF_LAYERS; layer++) {
        char *weight = g_strdup_printf("blocks.%d.modulation", layer);
        compare_without(e, "stage.e0", lf_tensor_at(e->noisy.blocks, layer), weight);
        g_free(weight);
    }
    /* Shift and scale of the head both add the same time vector. */
    float *own = ref_weight("head.modulation", 1, (const int64_t[]){2 * REF_DIM}, FALSE);
    const float *time = ref_f32(e->results, "stage.e", REF_DIM);
    float wanted[2 * REF_DIM], ours[2 * REF_DIM];
    lf_download(e->be, ours, e->noisy.head);
    for (int i = 0; i < 2 * REF_DIM; i++)
        wanted[i] = own[i] + time[i % REF_DIM];
    ref_compare("head.modulation", ours, wanted, 2 * REF_DIM, BOUND);
    g_free(own);
}

/* Compares the rows of tokens one by one, and our single padding row with each of theirs. */
static void compare_text(Engine *e, const char *name, LfTensor ours)
{
    const float *theirs = ref_f32(e->results, name, (int64_t) REF_LAYERS * REF_TEXT_LEN * REF_DIM);
    enum { SIZE = REF_TEXT_LEN * REF_DIM };
    float rows[SIZE];
    for (int layer = 0; layer < REF_LAYERS; layer++) {
        size_t size = (size_t) e->text.rows * REF_DIM * sizeof(float);
        e->be->download(e->be, rows, lf_tensor_at(ours, layer).data, size);
        for (int row = e->text.rows; row < REF_TEXT_LEN; row++)
            memcpy(rows + row * REF_DIM, rows + (e->text.rows - 1) * REF_DIM,
                   REF_DIM * sizeof(float));
        ref_compare(name, rows, theirs + layer * SIZE, SIZE, BOUND);
    }
}

/* [slots][heads][tokens][d] → [frames·tokens][heads][d], the frames of the chunk begun. */
static float *chunk_rows(Engine *e, const LfWindow *window, LfTensor from)
{
    float *out = g_new(float, ROWS *REF_DIM);
    enum { FRAME = REF_HEADS * TOKENS * HEAD_DIM };
    float frame[FRAME];
    int first = (int) window->slots.shape[0] - REF_CHUNK;
    for (int f = 0; f < REF_CHUNK; f++) {
        int slot = lf_i32(window->slots)[first + f];
        lf_download(e->be, frame, lf_tensor_at(from, slot));
        for (int i = 0; i < FRAME; i++) {
            int head = i / (TOKENS * HEAD_DIM), token = i / HEAD_DIM % TOKENS;
            out[((f * TOKENS + token) * REF_HEADS + head) * HEAD_DIM + i % HEAD_DIM] = frame[i];
        }
    }
    return out;
}

static void compare_rows(Engine *e, const char *kind, int layer, const char *chunk, LfTensor from)
{
    LfWindow window = lf_kv_cache_window(e->cache, layer);
    char *name = g_strdup_printf("stage.%s.%d%s", kind, layer, chunk);
    float *ours = chunk_rows(e, &window, from);
    ref_compare(name, ours, ref_f32(e->results, name, ROWS * REF_DIM), ROWS * REF_DIM, BOUND);
    g_free(ours);
    g_free(name);
}

static void compare_cache(Engine *e, const char *chunk)
{
    for (int layer = 0; layer < REF_LAYERS; layer++) {
        LfWindow window = lf_kv_cache_window(e->cache, layer);
        compare_rows(e, "k", layer, chunk, window.k);
        compare_rows(e, "v", layer, chunk, window.v);
    }
}

static void test_stages(void)
{
    Engine e;
    engine_open(&e, REF_LAYERS, NULL, REF_TEXT_ROWS);
    compare_time(&e);
    compare_text(&e, "stage.text_k", e.text.k);
    compare_text(&e, "stage.text_v", e.text.v);
    compare(&e, "layers.3.velocity.0", forward_chunk(&e, 0));
    compare_cache(&e, "");
    clean_chunk(&e);
    compare(&e, "layers.3.velocity.1", forward_chunk(&e, 1));
    compare_cache(&e, ".1");
    engine_close(&e);
}

/* ---- fewer layers, fewer parts --------------------------------------------------------------- */

typedef struct {
    const char *name;
    int layers;
    const char *silent;
} Variant;

static const Variant variants[] = {
    {"layers.1", 1, NULL},
    {"layers.2", 2, NULL},
    {"parts.none", 1, SELF_OUT "|" CROSS_OUT "|" FFN_OUT},
    {"parts.self", 1, CROSS_OUT "|" FFN_OUT},
    {"parts.cross", 1, SELF_OUT "|" FFN_OUT},
    {"parts.ffn", 1, SELF_OUT "|" CROSS_OUT},
};

static void test_variant(gconstpointer data)
{
    const Variant *v = data;
    Engine e;
    engine_open(&e, v->layers, v->silent, REF_TEXT_ROWS);
    for (int chunk = 0; chunk < 2; chunk++) {
        char *name = g_strdup_printf("%s.velocity.%d", v->name, chunk);
        compare(&e, name, forward_chunk(&e, chunk));
        g_free(name);
        if (chunk == 0)
            clean_chunk(&e);
    }
    engine_close(&e);
}

/* A prompt that fills every row, and one that is nearly all padding. */
static void test_text_rows(gconstpointer data)
{
    int rows = GPOINTER_TO_INT(data);
    Engine e;
    engine_open(&e, REF_LAYERS, NULL, rows);
    char *name = g_strdup_printf("text.%d.velocity", rows);
    compare(&e, name, forward_chunk(&e, 0));
    g_free(name);
    engine_close(&e);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reference/transformer/stages", test_stages);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        char *path = g_strconcat("/reference/transformer/", variants[i].name, NULL);
        g_test_add_data_func(path, &variants[i], test_variant);
        g_free(path);
    }
    g_test_add_data_func("/reference/transformer/text.16", GINT_TO_POINTER(16), test_text_rows);
    g_test_add_data_func("/reference/transformer/text.1", GINT_TO_POINTER(1), test_text_rows);
    return g_test_run();
}
