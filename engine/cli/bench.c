/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Times a stream. Dense and sparse attention take turns chunk by chunk, so that whatever else the
 * machine does meets both.
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
    char *model, *random, *backend, *attention, *prompt;
    int threads, width, height, window, sink, chunks;
    double sparsity;
    gboolean uniform, json;
} Options;

typedef struct {
    LfAttention attention;
    LfSession *session;
    LfChunkInfo *chunks;
} Run;

/* ---- from chunks to a result ------------------------------------------------------------------
 */

static int by_size(gconstpointer a, gconstpointer b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

/* Of one time of the chunks [first, n), found at `offset`; all of a chunk's for 0. */
static double median_ms(const LfChunkInfo *chunks, int first, int n, size_t offset)
{
    g_autofree double *values = g_new(double, n - first);
    for (int i = first; i < n; i++)
        values[i - first] =
            1e-6 * (double) *(const int64_t *) (const void *) ((const char *) &chunks[i] + offset);
    qsort(values, (size_t) (n - first), sizeof *values, by_size);
    return (values[(n - first) / 2] + values[(n - first - 1) / 2]) / 2;
}

/* Everything but the encoding of a prompt. */
static int64_t chunk_time(const LfChunkInfo *c)
{
    return c->denoise_time + c->clean_time + c->decode_time + c->transfer_time;
}

static double median_chunk_ms(const LfChunkInfo *chunks, int first, int n)
{
    g_autofree LfChunkInfo *sums = g_new0(LfChunkInfo, n);
    for (int i = first; i < n; i++)
        sums[i].denoise_time = chunk_time(&chunks[i]);
    return median_ms(sums, first, n, offsetof(LfChunkInfo, denoise_time));
}

static BenchTimes times_of(const LfChunkInfo *c, int first, int n)
{
    return (BenchTimes){
        .encode = 1e-6 * (double) c[0].encode_time,
        .denoise = median_ms(c, first, n, offsetof(LfChunkInfo, denoise_time)),
        .clean = median_ms(c, first, n, offsetof(LfChunkInfo, clean_time)),
        .decode = median_ms(c, first, n, offsetof(LfChunkInfo, decode_time)),
        .transfer = median_ms(c, first, n, offsetof(LfChunkInfo, transfer_time)),
        .chunk = median_chunk_ms(c, first, n),
    };
}

static void conclude(const Bench *b, const Run *run, BenchResult *result)
{
    const LfChunkInfo *c = run->chunks;
    int n = b->n_chunks;
    int64_t time = c[0].encode_time;
    double frames = 0;
    for (int i = 0; i < n; i++) {
        time += chunk_time(&c[i]);
        frames += c[i].n_frames;
    }
    LfFlops flops = lf_session_flops(run->session);
    *result = (BenchResult){.attention = run->attention == LF_ATTENTION_DENSE ? "dense" : "sparse",
                            .sparsity = c[n - 1].sparsity,
                            .times = times_of(c, b->first_steady, n),
                            .first_ms = 1e-6 * (double) (c[0].encode_time + chunk_time(&c[0])),
                            .fps_clip = 1e9 * frames / (double) time,
                            .gflop_transformer = 1e-9 * flops.transformer,
                            .gflop_decoder = 1e-9 * flops.decoder,
                            .memory = lf_session_memory(run->session)};
    result->fps_steady = 1e3 * c[n - 1].n_frames / result->times.chunk;
    result->gflops =
        1e3 * (result->gflop_transformer + result->gflop_decoder) / result->times.chunk;
}

/* ---- running ----------------------------------------------------------------------------------
 */

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

static gboolean open_run(Run *run, LfModel *model, const Options *o, int n_chunks, GError **error)
{
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
    run->chunks = g_new0(LfChunkInfo, n_chunks);
    run->session = lf_session_new(model, &options, error);
    return run->session &&
           give_text(run->session, model,
                     o->prompt ? o->prompt : "a large red circle moves left on a green meadow",
                     error);
}

static gboolean run_chunk(Run *run, int index, GError **error)
{
    LfChunk *chunk = lf_session_next(run->session, error);
    if (!chunk)
        return FALSE;
    run->chunks[index] = *lf_chunk_info(chunk);
    lf_chunk_unref(chunk);
    return TRUE;
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

static gboolean run_all(Bench *b, LfModel *model, const Options *o, Run *runs, GError **error)
{
    struct rusage usage;
    for (int i = 0; i < b->n_results; i++)
        if (!open_run(&runs[i], model, o, b->n_chunks, error))
            return FALSE;
    for (int index = 0; index < b->n_chunks; index++)
        for (int i = 0; i < b->n_results; i++)
            if (!run_chunk(&runs[i], index, error))
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
    return o->random ? lf_model_new_random(o->random, 1, &options, error)
                     : cli_open_model(o->model, &options, error);
}

static int bench(const Options *o, Run *runs, int n_runs)
{
    GError *error = NULL;
    Bench b = {.n_results = n_runs};
    b.n_threads = o->threads > 0 ? o->threads : (int) g_get_num_processors();
    /* Before a backend is open: see kernels/cpu/patience.c. */
    b.peak_gflops = 1e-9 * lf_cpu_peak_flops(b.n_threads);
    LfModel *model = open_model(o, &error);
    if (!model)
        return cli_failed("bench", error);
    b.model = model;
    plan(&b, o);
    gboolean done = run_all(&b, model, o, runs, &error);
    if (done && o->json)
        bench_print_json(&b);
    else if (done)
        bench_print(&b);
    for (int i = 0; i < n_runs; i++) {
        lf_session_free(runs[i].session);
        g_free(runs[i].chunks);
    }
    lf_model_unref(model);
    return done ? CLI_DONE : cli_failed("bench", error);
}

/* ---- options ----------------------------------------------------------------------------------
 */

static int run(const Options *o)
{
    Run runs[2] = {{.attention = LF_ATTENTION_DENSE}, {.attention = LF_ATTENTION_SPARSE}};
    if (o->model && o->random)
        return cli_misused("bench", "either --model or --random");
    if (o->chunks < 0 || o->chunks > 100000)
        return cli_misused("bench", "--chunks %d: 1 to 100000", o->chunks);
    if (o->threads < 0 || o->threads > 1024)
        return cli_misused("bench", "--threads %d: 0 to 1024", o->threads);
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
        {"backend", 'b', 0, G_OPTION_ARG_STRING, &o.backend, "auto (default) or cpu", "NAME"},
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
    g_free(o.attention);
    g_free(o.prompt);
    return status;
}
