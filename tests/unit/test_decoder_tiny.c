/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * TAEHV's decoder against a reference in double: the published order of layers, channels first, all
 * frames of the clip at once.
 */
#include "engine/models/decoder.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

enum { CHANNELS = 4, MAX_TENSORS = 70 };

/* ---- a file of random weights ---------------------------------------------------------------- */

typedef struct {
    int widths[4];
    int grown[3]; /* rows of the file's weights that grow in time, as multiples of the width */
    LfFileTensor tensors[MAX_TENSORS];
    size_t n;
    char *path;
} Weights;

static const int block_places[9] = {3, 4, 5, 9, 10, 11, 15, 16, 17};
static const int rates[3] = {1, 2, 2};

static void add(Weights *w, char *name, int n_dims, const int64_t *shape, double size)
{
    int64_t count = 1;
    for (int i = 0; i < n_dims; i++)
        count *= shape[i];
    float *data = g_new(float, count);
    for (int64_t i = 0; i < count; i++)
        data[i] = (float) (g_test_rand_double_range(-1, 1) * size);
    LfFileTensor *t = &w->tensors[w->n++];
    g_assert_cmpuint(w->n, <=, MAX_TENSORS);
    *t = (LfFileTensor){.name = name, .type = LF_F32, .n_dims = n_dims, .data = data};
    t->size = (size_t) count * sizeof *data;
    memcpy(t->shape, shape, (size_t) n_dims * sizeof *shape);
}

static void add_conv(Weights *w, const char *name, int64_t out, int64_t in, int64_t k,
                     gboolean bias)
{
    int64_t shape[] = {out, in, k, k};
    add(w, g_strdup_printf("decoder.%s.weight", name), 4, shape, sqrt(4.0 / (double) (in * k * k)));
    if (bias)
        add(w, g_strdup_printf("decoder.%s.bias", name), 1, shape, 0.2);
}

static Weights *weights_new(const int widths[4], const int grown[3])
{
    Weights *w = g_new0(Weights, 1);
    char name[32];
    memcpy(w->widths, widths, sizeof w->widths);
    memcpy(w->grown, grown, sizeof w->grown);
    add_conv(w, "1", widths[0], CHANNELS, 3, TRUE);
    for (int i = 0; i < 9; i++)
        for (int j = 0; j < 3; j++) {
            g_snprintf(name, sizeof name, "%d.conv.%d", block_places[i], 2 * j);
            add_conv(w, name, widths[i / 3], (j == 0 ? 2 : 1) * widths[i / 3], 3, TRUE);
        }
    for (int i = 0; i < 3; i++) {
        g_snprintf(name, sizeof name, "%d.conv", 7 + 6 * i);
        add_conv(w, name, grown[i] * widths[i], widths[i], 1, FALSE);
        g_snprintf(name, sizeof name, "%d", 8 + 6 * i);
        add_conv(w, name, widths[i + 1], widths[i], 3, FALSE);
    }
    add_conv(w, "22", 3, widths[3], 3, TRUE);
    return w;
}

static void weights_free(Weights *w)
{
    if (w->path)
        g_remove(w->path);
    for (size_t i = 0; i < w->n; i++) {
        g_free((char *) w->tensors[i].name);
        g_free((void *) w->tensors[i].data);
    }
    g_free(w->path);
    g_free(w);
}

static const LfFileTensor *find(const Weights *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (g_str_has_prefix(w->tensors[i].name, "decoder.") &&
            !strcmp(w->tensors[i].name + strlen("decoder."), name))
            return &w->tensors[i];
    return NULL;
}

/* The source outlives the decoder. */
static LfDecoder *decoder_new(Weights *w, LfBackend *be, LfWeightSource **source, GError **error)
{
    g_autoptr(GError) failure = NULL;
    LfDecoderConfig config = {.channels = CHANNELS};
    memcpy(config.widths, w->widths, sizeof w->widths);
    int fd = g_file_open_tmp("decoder-XXXXXX.safetensors", &w->path, &failure);
    g_assert_no_error(failure);
    g_close(fd, NULL);
    lf_safetensors_write(w->path, w->tensors, w->n, &failure);
    g_assert_no_error(failure);
    LfTensorFile *file = lf_tensor_file_open(w->path, &failure);
    g_assert_no_error(failure);
    *source = lf_weight_source_file(file, NULL, NULL);
    lf_tensor_file_unref(file);
    return lf_decoder_tiny.create(be, &config, *source, error);
}

/* ---- the second decoder ---------------------------------------------------------------------- */

typedef struct {
    int n, c, h, w;
    double *data;
} Clip;

static Clip clip_new(int n, int c, int h, int w)
{
    return (Clip){n, c, h, w, g_new0(double, (gsize) n *(gsize) c *(gsize) h *(gsize) w)};
}

static double *at(const Clip *x, int n, int c, int y, int col)
{
    return &x->data[(((gsize) n * x->c + c) * x->h + y) * x->w + col];
}

static double value(const Clip *x, int n, int c, int y, int col)
{
    return n < 0 || y < 0 || col < 0 || y >= x->h || col >= x->w ? 0 : *at(x, n, c, y, col);
}

/* `past`: the channels of the frame before are appended to those of each frame. */
static Clip conv(const Weights *w, const char *name, const Clip *x, gboolean past)
{
    char full[40];
    g_snprintf(full, sizeof full, "%s.weight", name);
    const LfFileTensor *weight = find(w, full);
    g_snprintf(full, sizeof full, "%s.bias", name);
    const LfFileTensor *bias = find(w, full);
    const float *k = weight->data;
    int in = (int) weight->shape[1], size = (int) weight->shape[2];
    g_assert_cmpint(in, ==, (past ? 2 : 1) * x->c);
    Clip out = clip_new(x->n, (int) weight->shape[0], x->h, x->w);
    for (int n = 0; n < out.n; n++)
        for (int o = 0; o < out.c; o++)
            for (int y = 0; y < out.h; y++)
                for (int col = 0; col < out.w; col++) {
                    double sum = bias ? ((const float *) bias->data)[o] : 0;
                    for (int i = 0; i < in; i++)
                        for (int t = 0; t < size * size; t++)
                            sum += k[((gsize) o * in + i) * size * size + t] *
                                   value(x, i < x->c ? n : n - 1, i % x->c, y + t / size - size / 2,
                                         col + t % size - size / 2);
                    *at(&out, n, o, y, col) = sum;
                }
    return out;
}

static gsize count(const Clip *x)
{
    return (gsize) x->n * x->c * x->h * x->w;
}

static Clip relu_of(Clip x)
{
    for (gsize i = 0; i < count(&x); i++)
        x.data[i] = MAX(x.data[i], 0);
    return x;
}

static void replace(Clip *x, Clip by)
{
    g_free(x->data);
    *x = by;
}

static void memory_block(const Weights *w, int place, Clip *x)
{
    char name[32];
    Clip y = *x;
    for (int j = 0; j < 3; j++) {
        g_snprintf(name, sizeof name, "%d.conv.%d", place, 2 * j);
        Clip next = conv(w, name, &y, j == 0);
        if (j > 0)
            g_free(y.data);
        y = j < 2 ? relu_of(next) : next;
    }
    for (gsize i = 0; i < count(x); i++)
        y.data[i] = MAX(y.data[i] + x->data[i], 0);
    replace(x, y);
}

static Clip doubled(const Clip *x)
{
    Clip out = clip_new(x->n, x->c, 2 * x->h, 2 * x->w);
    for (int n = 0; n < out.n; n++)
        for (int c = 0; c < out.c; c++)
            for (int y = 0; y < out.h; y++)
                for (int col = 0; col < out.w; col++)
                    *at(&out, n, c, y, col) = *at(x, n, c, y / 2, col / 2);
    return out;
}

/* Frames out of channels: the last `rate` groups of them. */
static Clip unfolded(const Clip *x, int c, int rate)
{
    Clip out = clip_new(x->n * rate, c, x->h, x->w);
    int first = x->c - rate * c;
    for (int n = 0; n < out.n; n++)
        for (int i = 0; i < c; i++)
            memcpy(at(&out, n, i, 0, 0), at(x, n / rate, first + n % rate * c + i, 0, 0),
                   (gsize) x->h * x->w * sizeof(double));
    return out;
}

static void next_stage(const Weights *w, int stage, Clip *x)
{
    char name[32];
    replace(x, doubled(x));
    g_snprintf(name, sizeof name, "%d.conv", 7 + 6 * stage);
    replace(x, conv(w, name, x, FALSE));
    replace(x, unfolded(x, w->widths[stage], rates[stage]));
    g_snprintf(name, sizeof name, "%d", 8 + 6 * stage);
    replace(x, conv(w, name, x, FALSE));
}

/* Colours [4·n, 3, 8h, 8w]; `inputs` receives what went into the memory blocks. */
static Clip decode(const Weights *w, const float *latents, int n, int h, int width, Clip inputs[9])
{
    Clip x = clip_new(n, CHANNELS, h, width);
    for (gsize i = 0; i < count(&x); i++)
        x.data[i] = 3 * tanh(latents[i] / 3.0);
    replace(&x, relu_of(conv(w, "1", &x, FALSE)));
    for (int i = 0; i < 9; i++) {
        inputs[i] = x;
        inputs[i].data = g_memdup2(x.data, count(&x) * sizeof(double));
        memory_block(w, block_places[i], &x);
        if (i % 3 == 2)
            next_stage(w, i / 3, &x);
    }
    relu_of(x);
    replace(&x, conv(w, "22", &x, FALSE));
    return x;
}

/* ---- the engine's ---------------------------------------------------------------------------- */

typedef struct {
    LfBackend *be;
    Weights *weights;
    LfWeightSource *source;
    LfDecoder *decoder;
    LfGeometry geometry;
    LfArena memory, scratch;
    LfDecoderState state;
    LfTensor latents, rgb;
} Stream;

static size_t scratch_size(const Stream *s, int n)
{
    LfArena plan = lf_arena_plan();
    const LfGeometry *g = &s->geometry;
    LfDecoderState state = lf_decoder_tiny.state(s->decoder, g, &plan);
    LfTensor z = lf_arena_tensor(&plan, LF_F32, n, CHANNELS, g->latent_height, g->latent_width);
    LfTensor rgb = lf_arena_tensor(&plan, LF_U8, 4 * n, g->height, g->width, 3);
    size_t before = plan.used;
    lf_decoder_tiny.forward(s->decoder, lf_backend_plan(NULL), &plan, rgb, z, &state, NULL);
    g_assert_cmpuint(plan.used, ==, before);
    return plan.peak - before;
}

/* A clip of n latent frames of h × w. */
static Stream *stream_new(const int widths[4], const int grown[3], int n, int h, int w)
{
    g_autoptr(GError) error = NULL;
    Stream *s = g_new0(Stream, 1);
    s->be = lf_backend_open_cpu(2, &error);
    g_assert_no_error(error);
    s->weights = weights_new(widths, grown);
    s->decoder = decoder_new(s->weights, s->be, &s->source, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(lf_decoder_tiny.memory(s->decoder), >, 0);
    s->geometry =
        (LfGeometry){.width = 8 * w, .height = 8 * h, .latent_width = w, .latent_height = h};
    g_assert_true(lf_arena_init(&s->memory, s->be, 64 << 20, &error));
    g_assert_true(lf_arena_init(&s->scratch, s->be, scratch_size(s, n), &error));
    s->state = lf_decoder_tiny.state(s->decoder, &s->geometry, &s->memory);
    s->latents = lf_arena_tensor(&s->memory, LF_F32, n, CHANNELS, h, w);
    s->rgb = lf_arena_tensor(&s->memory, LF_U8, 4 * n, 8 * h, 8 * w, 3);
    lf_decoder_state_reset(s->be, &s->state);
    for (int64_t i = 0; i < lf_tensor_count(s->latents); i++)
        lf_f32(s->latents)[i] = (float) g_test_rand_double_range(-4, 4);
    return s;
}

static void stream_free(Stream *s)
{
    lf_decoder_free(s->decoder);
    lf_weight_source_free(s->source);
    lf_arena_clear(&s->memory);
    lf_arena_clear(&s->scratch);
    weights_free(s->weights);
    lf_backend_close(s->be);
    g_free(s);
}

/* Latent frames [first, first + n) of the clip. */
static bool run(Stream *s, int first, int n, const int *cancelled)
{
    g_autoptr(GError) error = NULL;
    bool done = lf_decoder_tiny.forward(
        s->decoder, s->be, &s->scratch, lf_tensor_slice(s->rgb, 4 * first, 4 * n),
        lf_tensor_slice(s->latents, first, n), &s->state, cancelled);
    g_assert_true(s->be->sync(s->be, &error));
    g_assert_cmpuint(s->scratch.used, ==, 0);
    return done;
}

/* The largest absolute value: the error of sums in float grows with it. */
static double peak_of(const Clip *clip)
{
    double peak = 0;
    for (gsize i = 0; i < count(clip); i++)
        peak = MAX(peak, fabs(clip->data[i]));
    return peak;
}

/* Bytes may differ by one where the colour stands on the border between two. */
static void assert_pictures(const Stream *s, const Clip *wanted)
{
    double margin = 1e-3 * MAX(1, peak_of(wanted));
    const uint8_t *p = lf_u8(s->rgb);
    gsize n_pixels = (gsize) wanted->h * wanted->w, different = 0;
    for (int n = 0; n < wanted->n; n++)
        for (gsize i = 0; i < n_pixels; i++)
            for (int c = 0; c < 3; c++) {
                double v = 255 * CLAMP(wanted->data[((gsize) n * 3 + c) * n_pixels + i], 0, 1);
                int byte = p[((gsize) n * n_pixels + i) * 3 + c];
                different += byte != (int) v;
                g_assert_cmpfloat(fabs(v - byte - 0.5), <=, 0.5 + margin);
            }
    g_assert_cmpuint(different, <, count(wanted) / 100 + 1);
}

static void assert_past(const LfTensor past, const Clip *inputs)
{
    int last = inputs->n - 1;
    double error = 0, size = 0;
    for (int y = 0; y < inputs->h; y++)
        for (int x = 0; x < inputs->w; x++)
            for (int c = 0; c < inputs->c; c++) {
                double v = *at(inputs, last, c, y, x);
                double d = v - lf_f32(past)[((gsize) y * inputs->w + x) * inputs->c + c];
                error += d * d;
                size += v * v;
            }
    g_assert_cmpfloat(sqrt(error), <=, 1e-5 * sqrt(size));
}

static void test_reference(gconstpointer data)
{
    const int *grown = data;
    Stream *s = stream_new((int[]){5, 7, 3, 6}, grown, 3, 3, 5);
    Clip inputs[9];
    Clip wanted = decode(s->weights, lf_f32(s->latents), 3, 3, 5, inputs);
    g_assert_true(run(s, 0, 3, NULL));
    assert_pictures(s, &wanted);
    for (int i = 0; i < 9; i++) {
        assert_past(s->state.past[i], &inputs[i]);
        g_free(inputs[i].data);
    }
    g_free(wanted.data);
    stream_free(s);
}

static void *copy_of(LfTensor t)
{
    return g_memdup2(t.data, lf_tensor_size(t));
}

static void assert_same_floats(const float *a, LfTensor b)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < lf_tensor_count(b); i++) {
        error += pow(a[i] - lf_f32(b)[i], 2);
        size += pow(a[i], 2);
    }
    g_assert_cmpfloat(sqrt(error), <=, 1e-6 * sqrt(size));
}

/* Frame by frame, in chunks, and all at once: the frames are the same. */
static void test_streaming(void)
{
    Stream *s = stream_new((int[]){16, 12, 8, 8}, rates, 6, 4, 6);
    void *past[9];
    g_assert_true(run(s, 0, 6, NULL));
    g_autofree uint8_t *whole = copy_of(s->rgb);
    for (int i = 0; i < 9; i++)
        past[i] = copy_of(s->state.past[i]);
    lf_decoder_state_reset(s->be, &s->state);
    memset(s->rgb.data, 99, lf_tensor_size(s->rgb));
    g_assert_true(run(s, 0, 1, NULL) && run(s, 1, 3, NULL) && run(s, 4, 2, NULL));
    size_t size = lf_tensor_size(s->rgb), different = 0;
    for (size_t i = 0; i < size; i++) {
        different += whole[i] != lf_u8(s->rgb)[i];
        g_assert_cmpint(ABS(whole[i] - lf_u8(s->rgb)[i]), <=, 1);
    }
    g_assert_cmpuint(different, <, size / 1000 + 1);
    for (int i = 0; i < 9; i++) {
        assert_same_floats(past[i], s->state.past[i]);
        g_free(past[i]);
    }
    stream_free(s);
}

/* Cancels after a number of copies within the backend: the memory blocks make two each. */
static struct {
    void (*copy)(LfBackend *be, void *dst, const void *src, size_t size);
    int copies_left, cancelled;
} cancelling;

static void copy_and_cancel(LfBackend *be, void *dst, const void *src, size_t size)
{
    cancelling.copy(be, dst, src, size);
    if (--cancelling.copies_left == 0)
        cancelling.cancelled = 1;
}

static void test_cancelled(void)
{
    Stream *s = stream_new((int[]){4, 4, 4, 4}, rates, 4, 2, 3);
    g_assert_true(run(s, 0, 2, NULL));
    void *past[9];
    for (int i = 0; i < 9; i++)
        past[i] = copy_of(s->state.past[i]);
    cancelling.copy = s->be->copy;
    s->be->copy = copy_and_cancel;
    for (int copies = 1; copies <= 18; copies++) {
        cancelling.copies_left = copies;
        cancelling.cancelled = 0;
        g_assert_false(run(s, 2, 2, &cancelling.cancelled));
        for (int i = 0; i < 9; i++)
            g_assert_cmpmem(past[i], lf_tensor_size(s->state.past[i]), s->state.past[i].data,
                            lf_tensor_size(s->state.past[i]));
    }
    s->be->copy = cancelling.copy;
    cancelling.cancelled = 0;
    g_assert_true(run(s, 2, 2, &cancelling.cancelled));
    g_assert_cmpint(memcmp(past[8], s->state.past[8].data, lf_tensor_size(s->state.past[8])), !=,
                    0);
    for (int i = 0; i < 9; i++)
        g_free(past[i]);
    stream_free(s);
}

/* LightTAE takes the latents that TAEHV takes, times their deviations, plus their means. */
static void test_raw_latents(void)
{
    enum { H = 2, W = 3, N = 2, COUNT = LF_WAN21_CHANNELS * H * W };
    g_autoptr(GError) error = NULL;
    LfBackend *be = lf_backend_open_cpu(2, NULL);
    LfWeightSource *source = lf_weight_source_random((uint64_t) g_test_rand_int());
    const LfGeometry g = {.latent_width = W, .latent_height = H};
    LfArena arena = {0};
    float *pictures[2];
    g_assert_true(lf_arena_init(&arena, be, 8 << 20, &error));
    LfTensor z = lf_arena_tensor(&arena, LF_F32, N, LF_WAN21_CHANNELS, H, W);
    for (int i = 0; i < N * COUNT; i++)
        lf_f32(z)[i] = (float) g_test_rand_double_range(-1, 1);
    for (int raw = 0; raw < 2; raw++) {
        LfDecoderConfig config = {.widths = {8, 8, 8, 8}, .channels = LF_WAN21_CHANNELS};
        g_strlcpy(config.latents, raw ? "raw" : "normalised", sizeof config.latents);
        LfDecoder *decoder = lf_decoder_tiny.create(be, &config, source, &error);
        g_assert_no_error(error);
        size_t mark = arena.used;
        LfDecoderState state = lf_decoder_tiny.state(decoder, &g, &arena);
        LfTensor rgb = lf_arena_tensor(&arena, LF_F32, 4 * N, 8 * H, 8 * W, 3);
        lf_decoder_state_reset(be, &state);
        g_assert_true(lf_decoder_tiny.forward(decoder, be, &arena, rgb, z, &state, NULL));
        pictures[raw] = g_memdup2(rgb.data, lf_tensor_size(rgb));
        lf_arena_release(&arena, mark);
        lf_decoder_free(decoder);
        for (int i = 0; i < N * COUNT; i++) { /* what gives the same pictures as raw ones */
            int c = i / (H * W) % LF_WAN21_CHANNELS;
            lf_f32(z)[i] = (lf_f32(z)[i] - lf_wan21_means[c]) / lf_wan21_deviations[c];
        }
    }
    double wrong = 0, size = 0;
    for (int i = 0; i < 4 * N * 64 * H * W * 3; i++) {
        wrong += pow((double) pictures[0][i] - (double) pictures[1][i], 2);
        size += pow((double) pictures[0][i], 2);
    }
    g_assert_cmpfloat(size, >, 0);
    g_assert_cmpfloat(sqrt(wrong), <=, 1e-5 * sqrt(size));
    g_free(pictures[0]);
    g_free(pictures[1]);
    lf_arena_clear(&arena);
    lf_weight_source_free(source);
    lf_backend_close(be);
}

/* The name of the file tells LightTAE, unless model.json does; other words are refused. */
static void test_latents_of(void)
{
    static const struct {
        const char *file, *given, *wanted;
    } cases[] = {{"taew2_1.safetensors", "", "normalised"},
                 {"LightTAEw2_1.safetensors", "", "raw"},
                 {"lighttaew2_1.safetensors", "normalised", "normalised"},
                 {"tae.safetensors", "raw", "raw"}};
    Weights *w = weights_new((int[]){4, 4, 4, 4}, rates);
    g_autofree char *dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_build_filename(dir, cases[i].file, NULL);
        LfDecoderConfig config = {0};
        g_assert_true(lf_safetensors_write(path, w->tensors, w->n, NULL));
        LfTensorFile *file = lf_tensor_file_open(path, NULL);
        LfWeightSource *source = lf_weight_source_file(file, NULL, NULL);
        g_strlcpy(config.latents, cases[i].given, sizeof config.latents);
        g_assert_true(lf_decoder_tiny.complete(&config, source, NULL));
        g_assert_cmpstr(config.latents, ==, cases[i].wanted);
        g_autofree char *text = lf_decoder_tiny.describe(&config);
        g_assert_cmpint(strstr(text, "LightTAE") != NULL, ==, g_str_equal(cases[i].wanted, "raw"));
        lf_weight_source_free(source);
        lf_tensor_file_unref(file);
        g_remove(path);
    }
    g_rmdir(dir);
    weights_free(w);
}

static void test_latents_refused(void)
{
    g_autoptr(GError) word = NULL, channels = NULL;
    LfWeightSource *source = lf_weight_source_random(1);
    LfDecoderConfig config = {
        .widths = {4, 4, 4, 4}, .channels = LF_WAN21_CHANNELS, .latents = "cooked"};
    g_assert_null(lf_decoder_tiny.create(lf_backend_plan(NULL), &config, source, &word));
    g_assert_error(word, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_nonnull(strstr(word->message, "\"cooked\""));
    config = (LfDecoderConfig){.widths = {4, 4, 4, 4}, .channels = 5, .latents = "raw"};
    g_assert_null(lf_decoder_tiny.create(lf_backend_plan(NULL), &config, source, &channels));
    g_assert_error(channels, LF_ERROR, LF_ERROR_CONFIG);
    g_assert_nonnull(strstr(channels->message, "5 channels"));
    lf_weight_source_free(source);
}

static void test_missing(void)
{
    g_autoptr(GError) error = NULL;
    LfWeightSource *source = NULL;
    LfBackend *be = lf_backend_open_cpu(1, NULL);
    Weights *w = weights_new((int[]){4, 4, 4, 4}, rates);
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->tensors[i].name, "decoder.13.conv.weight"))
            strcpy((char *) w->tensors[i].name, "decoder.13.cone.weight");
    g_assert_null(decoder_new(w, be, &source, &error));
    g_assert_error(error, LF_ERROR, LF_ERROR_SHAPE);
    g_assert_nonnull(strstr(error->message, "decoder.13.conv.weight"));
    lf_weight_source_free(source);
    weights_free(w);
    lf_backend_close(be);
}

int main(int argc, char **argv)
{
    static const int needed[3] = {1, 2, 2}, more[3] = {2, 3, 4};
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/decoder/tiny/reference", needed, test_reference);
    g_test_add_data_func("/decoder/tiny/more-rows", more, test_reference);
    g_test_add_func("/decoder/tiny/streaming", test_streaming);
    g_test_add_func("/decoder/tiny/cancelled", test_cancelled);
    g_test_add_func("/decoder/tiny/missing", test_missing);
    g_test_add_func("/decoder/tiny/raw-latents", test_raw_latents);
    g_test_add_func("/decoder/tiny/latents-of", test_latents_of);
    g_test_add_func("/decoder/tiny/latents-refused", test_latents_refused);
    return g_test_run();
}
