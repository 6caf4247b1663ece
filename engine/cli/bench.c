/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Times a stream. On the CPU dense and sparse attention take turns chunk by chunk, so that whatever
 * else the machine does meets both.
 */
#include "bench.h"

#include "cli.h"
#include "kernels/cpu/peak.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

#define SUMMARY                                                                                    \
    "Times a stream: milliseconds a chunk for each stage (medians over the chunks in steady\n"     \
    "state, from where the window is full), frames a second in steady state and for the clip,\n"   \
    "memory, floating-point work and its share of the machine's measured peak."

typedef struct {
    char *model, *random, *backend, *precision, *attention, *prompt;
    int threads, width, height, window, sink, chunks;
    double sparsity;
    gboolean uniform, json;
} Options;

/* What is known of a chunk when its pictures are on the host. */
typedef struct {
    LfChunkInfo info;
    double read, wall; /* ms; wall: since the chunk before was on the host */
} Timed;

typedef struct {
    LfAttention attention;
    LfSession *session;
    Timed *chunks;
    LfChunk *pending; /* generated, its pictures not read yet */
    double open_ms, clip_ms;
    guint8 *picture; /* I420 */
} Run;

static double now_ms(void)
{
    return 1e-3 * (double) g_get_monotonic_time();
}

/* ---- from chunks to a result ----------------------------------------------------------------- */

static int by_size(gconstpointer a, gconstpointer b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

/* Times of a chunk in ms. */
static double denoise_ms(const Timed *t)
{
    return 1e-6 * (double) t->info.denoise_time;
}
static double clean_ms(const Timed *t)
{
    return 1e-6 * (double) t->info.clean_time;
}
static double decode_ms(const Timed *t)
{
    return 1e-6 * (double) t->info.decode_time;
}
static double transfer_ms(const Timed *t)
{
    return 1e-6 * (double) t->info.transfer_time;
}
static double read_ms(const Timed *t)
{
    return t->read;
}
static double wall_ms(const Timed *t)
{
    return t->wall;
}

/* Of the chunks [first, n). */
static double median(const Timed *chunks, int first, int n, double (*time)(const Timed *))
{
    g_autofree double *values = g_new(double, n - first);
    for (int i = first; i < n; i++)
        values[i - first] = time(&chunks[i]);
    qsort(values, (size_t) (n - first), sizeof *values, by_size);
    return (values[(n - first) / 2] + values[(n - first - 1) / 2]) / 2;
}

static BenchTimes times_of(const Timed *c, int first, int n)
{
    return (BenchTimes){
        .encode = 1e-6 * (double) c[0].info.encode_time,
        .denoise = median(c, first, n, denoise_ms),
        .clean = median(c, first, n, clean_ms),
        .decode = median(c, first, n, decode_ms),
        .transfer = median(c, first, n, transfer_ms),
        .read = median(c, first, n, read_ms),
        .chunk = median(c, first, n, wall_ms),
    };
}

static void conclude(const Bench *b, const Run *run, BenchResult *result)
{
    const Timed *c = run->chunks;
    int n = b->n_chunks;
    double frames = 0;
    for (int i = 0; i < n; i++)
        frames += c[i].info.n_frames;
    LfFlops flops = lf_session_flops(run->session);
    *result = (BenchResult){.attention = run->attention == LF_ATTENTION_DENSE ? "dense" : "sparse",
                            .sparsity = c[n - 1].info.sparsity,
                            .times = times_of(c, b->first_steady, n),
                            .open_ms = run->open_ms,
                            .first_ms = c[0].wall,
                            .clip_ms = run->clip_ms,
                            .fps_clip = 1e3 * frames / run->clip_ms,
                            .gflop_transformer = 1e-9 * flops.transformer,
                            .gflop_decoder = 1e-9 * flops.decoder,
                            .memory = lf_session_memory(run->session)};
    result->fps_steady = 1e3 * c[n - 1].info.n_frames / result->times.chunk;
    result->gflops =
        1e3 * (result->gflop_transformer + result->gflop_decoder) / result->times.chunk;
}

/* ---- running --------------------------------------------------------------------------------- */

/* A model without an encoder gets as much text as it takes, of no meaning. */
static gboolean give_text(LfSession *session, LfModel *model, const char *prompt, GError **error)
{
    if (lf_model_info(model)->can_encode)
        return lf_session_set_prompt(session, prompt, error);
    int rows = lf_model_text_len(model), dim = lf_model_text_dim(model);
    g_autofree float *context = g_new(float, (gsize) rows *(gsize) dim);
    for (gsize i = 0; i < (gsize) rows * (gsize) dim; i++)
        context[i] = sinf((float) i);
    return lf_session_set_context(session, context, rows, dim, error);
}

static gboolean open_run(Run *run, LfModel *model, const Options *o, const Bench *b, GError **error)
{
    double start = now_ms();
    const LfModelInfo *info = lf_model_info(model);
    LfSessionOptions options = {.seed = 1,
                                .width = o->width,
                                .height = o->height,
                                .attention = run->attention,
                                .sparsity = o->sparsity,
                                .uniform = o->uniform,
                                .window = o->window,
                                .sink = o->sink,
                                .no_text = !info->can_encode,
                                .no_decoder = !info->can_decode};
    run->chunks = g_new0(Timed, b->n_chunks);
    run->picture = g_malloc((gsize) b->width * (gsize) b->height * 3 / 2);
    run->session = lf_session_new(model, &options, error);
    run->open_ms = now_ms() - start;
    return run->session &&
           give_text(run->session, model,
                     o->prompt ? o->prompt : "a large red circle moves left on a green meadow",
                     error);
}

/* Every picture of the chunk that was generated last, as a video encoder would want it. */
static gboolean read_pending(Run *run, GError **error)
{
    LfChunk *chunk = g_steal_pointer(&run->pending);
    if (!chunk)
        return TRUE;
    const LfChunkInfo *info = lf_chunk_info(chunk);
    Timed *timed = &run->chunks[info->index];
    int width = info->width, half = width / 2;
    guint8 *u = run->picture + (gsize) width * (gsize) info->height;
    const LfPicture picture = {
        .format = LF_PIXELS_I420,
        .width = width,
        .height = info->height,
        .planes = {run->picture, u, u + (gsize) half * (gsize) info->height / 2},
        .strides = {width, half, half}};
    gboolean read = lf_chunk_wait(chunk, error);
    double start = now_ms();
    for (int i = 0; i < info->n_frames && read; i++)
        read = lf_chunk_read(chunk, i, &picture, error);
    timed->info = *info;
    timed->read = now_ms() - start;
    lf_chunk_unref(chunk);
    return read;
}

/* Generates a chunk, and reads the one before, as a pipeline would do side by side: where the
 * decoder works beside the next chunk it has had that chunk's time. The first is read at once. */
static gboolean run_chunk(Run *run, int index, GError **error)
{
    double start = now_ms();
    LfChunk *chunk = lf_session_next(run->session, error);
    gboolean done = chunk && read_pending(run, error);
    run->pending = chunk;
    if (done && index == 0)
        done = read_pending(run, error);
    run->chunks[index].wall = now_ms() - start;
    run->clip_ms += run->chunks[index].wall;
    return done;
}

static gboolean end_run(Run *run, GError **error)
{
    double start = now_ms();
    gboolean read = read_pending(run, error);
    run->clip_ms += now_ms() - start;
    return read;
}

/* The stream, in numbers. Steady state is where the window is full; of a clip that is too short for
 * that, or has no window, its second half. */
static void plan(Bench *b, const Options *o)
{
    const LfModelInfo *info = lf_model_info(b->model);
    b->width = o->width ? o->width : info->width;
    b->height = o->height ? o->height : info->height;
    b->window = o->window > 0 ? o->window : o->window == 0 ? info->window : 0;
    b->sink = o->sink > 0 ? o->sink : o->sink == 0 ? info->sink : 0;
    int full = (b->window + info->chunk - 1) / info->chunk;
    b->n_chunks = o->chunks ? o->chunks : full + 6;
    b->first_steady = full > 0 && full < b->n_chunks ? full : b->n_chunks / 2;
}

/* One stream after the other: on a device the decoder of one would meet the other's next chunk. */
static gboolean run_apart(Bench *b, Run *runs, GError **error)
{
    for (int i = 0; i < b->n_results; i++) {
        for (int index = 0; index < b->n_chunks; index++)
            if (!run_chunk(&runs[i], index, error))
                return FALSE;
        if (!end_run(&runs[i], error))
            return FALSE;
    }
    return TRUE;
}

static gboolean run_in_turns(Bench *b, Run *runs, GError **error)
{
    for (int index = 0; index < b->n_chunks; index++)
        for (int i = 0; i < b->n_results; i++)
            if (!run_chunk(&runs[i], index, error))
                return FALSE;
    for (int i = 0; i < b->n_results; i++)
        if (!end_run(&runs[i], error))
            return FALSE;
    return TRUE;
}

static gboolean run_all(Bench *b, LfModel *model, const Options *o, Run *runs, GError **error)
{
    struct rusage usage;
    for (int i = 0; i < b->n_results; i++)
        if (!open_run(&runs[i], model, o, b, error))
            return FALSE;
    if (!(model->backend->asynchronous ? run_apart : run_in_turns)(b, runs, error))
        return FALSE;
    for (int i = 0; i < b->n_results; i++)
        conclude(b, &runs[i], &b->results[i]);
    getrusage(RUSAGE_SELF, &usage);
    b->peak_rss_mb = (double) usage.ru_maxrss * 1024 / 1e6;
    return TRUE;
}

static LfModel *open_model(const Options *o, GError **error)
{
    LfModelOptions options = {.backend = o->backend, .n_threads = o->threads};
    cli_precision(o->precision ? o->precision : "auto", &options.precision);
    return o->random ? lf_model_new_random(o->random, 1, &options, error)
                     : cli_open_model(o->model, &options, error);
}

static int bench(const Options *o, Run *runs, int n_runs)
{
    GError *error = NULL;
    Bench b = {.n_results = n_runs};
    b.n_threads = o->threads > 0 ? o->threads : (int) g_get_num_processors();
    /* Before a backend is open: see kernels/cpu/spin.c. */
    b.peak_gflops = 1e-9 * lf_cpu_peak_flops(b.n_threads);
    LfModel *model = open_model(o, &error);
    if (!model)
        return cli_failed("bench", error);
    b.model = model;
    if (model->backend->asynchronous)
        b.peak_gflops = bench_peak_gflops(model->backend);
    plan(&b, o);
    gboolean done = run_all(&b, model, o, runs, &error);
    if (done && o->json)
        bench_print_json(&b);
    else if (done)
        bench_print(&b);
    for (int i = 0; i < n_runs; i++) {
        lf_chunk_unref(runs[i].pending);
        lf_session_free(runs[i].session);
        g_free(runs[i].chunks);
        g_free(runs[i].picture);
    }
    lf_model_unref(model);
    return done ? CLI_DONE : cli_failed("bench", error);
}

/* ---- options --------------------------------------------------------------------------------- */

static int run(const Options *o)
{
    Run runs[2] = {{.attention = LF_ATTENTION_DENSE}, {.attention = LF_ATTENTION_SPARSE}};
    if (o->model && o->random)
        return cli_misused("bench", "either --model or --random");
    if (o->chunks < 0 || o->chunks > 100000)
        return cli_misused("bench", "--chunks %d: 1 to 100000", o->chunks);
    if (o->threads < 0 || o->threads > 1024)
        return cli_misused("bench", "--threads %d: 0 to 1024", o->threads);
    LfPrecision precision;
    if (o->precision && !cli_precision(o->precision, &precision))
        return cli_misused("bench", "--precision %s: use auto, fp32, bf16 or fp8", o->precision);
    if (!o->attention || g_str_equal(o->attention, "both"))
        return bench(o, runs, 2);
    if (g_str_equal(o->attention, "dense"))
        return bench(o, runs, 1);
    if (g_str_equal(o->attention, "sparse"))
        return bench(o, runs + 1, 1);
    return cli_misused("bench", "--attention %s: use dense, sparse or both", o->attention);
}

int cli_bench(int argc, char **argv)
{
    Options o = {0};
    int status;
    const GOptionEntry entries[] = {
        {"model", 'm', 0, G_OPTION_ARG_FILENAME, &o.model, "Model directory", "DIR"},
        {"random", 'r', 0, G_OPTION_ARG_STRING, &o.random,
         "Random weights of the size of: demo, wan-1.3b", "PRESET"},
        {"backend", 'b', 0, G_OPTION_ARG_STRING, &o.backend, "auto (default), cpu, cuda or cuda:1",
         "NAME"},
        {"precision", 0, 0, G_OPTION_ARG_STRING, &o.precision, "auto (default), fp32, bf16 or fp8",
         "NAME"},
        {"threads", 't', 0, G_OPTION_ARG_INT, &o.threads, "CPU threads; 0: one a core", "N"},
        {"width", 0, 0, G_OPTION_ARG_INT, &o.width, "Pixels; 0: the model's", "N"},
        {"height", 0, 0, G_OPTION_ARG_INT, &o.height, "Pixels; 0: the model's", "N"},
        {"attention", 'a', 0, G_OPTION_ARG_STRING, &o.attention,
         "dense, sparse, or both (default) in turns", "KIND"},
        {"sparsity", 's', 0, G_OPTION_ARG_DOUBLE, &o.sparsity,
         "Target share of skipped key blocks; 0: the model's", "SHARE"},
        {"uniform", 0, 0, G_OPTION_ARG_NONE, &o.uniform, "No Chunk-Aware Growth", NULL},
        {"window", 'w', 0, G_OPTION_ARG_INT, &o.window,
         "Latent frames attended to; 0: the model's, -1: all", "N"},
        {"sink", 0, 0, G_OPTION_ARG_INT, &o.sink,
         "First latent frames that stay; 0: the model's, -1: none", "N"},
        {"chunks", 'n', 0, G_OPTION_ARG_INT, &o.chunks,
         "Chunks to make; 0: six after the window is full", "N"},
        {"prompt", 'p', 0, G_OPTION_ARG_STRING, &o.prompt, "What to show", "TEXT"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &o.json, "Print JSON", NULL},
        {NULL}};
    if (cli_parse(entries, NULL, SUMMARY, 0, &argc, &argv, &status))
        status = run(&o);
    g_free(o.model);
    g_free(o.random);
    g_free(o.backend);
    g_free(o.precision);
    g_free(o.attention);
    g_free(o.prompt);
    return status;
}
