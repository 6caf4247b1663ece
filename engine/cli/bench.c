/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Measures a stream. On the CPU dense and sparse attention take turns chunk by chunk, so that
 * other load on the machine slows both of them.
 */
#include "bench.h"

#include "cli.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const CliHelp help = {
    .summary =
        "Measures how fast a model runs on this machine: milliseconds per chunk for each stage\n"
        "(medians over the chunks in steady state, when the window is full), frames per second,\n"
        "memory, floating-point work and its share of the measured peak of the device.\n\n"
        "Without options: the demo model with dense and with sparse attention, which takes about\n"
        "ten seconds on two CPU cores.",
    .description =
        "Examples:\n"
        "  lightforcing bench --attention sparse\n"
        "  lightforcing bench -r wan-1.3b --width 768 --height 512 --precision fp8 -n 9\n\n"
        "Exit status: 0 success, 1 failure (the cause is on stderr), 2 wrong arguments.\n",
    .attention =
        "dense, sparse, both (default), or auto = sparse if the model has a sparse section"};

typedef struct {
    CliOptions common;
    char *prompt;
    int width, height; /* −1: the model's */
    int chunks;        /* 0: six more than the window has */
    gboolean json;
} Options;

/* A chunk whose frames were read. */
typedef struct {
    LfChunkInfo info;
    double read, wall; /* ms; wall: since the chunk before was read */
} Timed;

typedef struct {
    LfAttention attention;
    LfSession *session;
    Timed *chunks;
    LfChunk *pending; /* generated, its frames not read yet */
    double open_ms, clip_ms, reaction_ms;
    guint8 *frame; /* I420 */
} Run;

/* The default of --attention. */
static bool wants_both(const CliOptions *o)
{
    return !o->attention || g_str_equal(o->attention, "both");
}

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
static double read_ms(const Timed *t)
{
    return t->read;
}
static double wall_ms(const Timed *t)
{
    return t->wall;
}

/* Over the chunks first … n − 1. */
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
        .encode = 1e-6 * (double) c[0].info.text_time,
        .denoise = median(c, first, n, denoise_ms),
        .clean = median(c, first, n, clean_ms),
        .decode = median(c, first, n, decode_ms),
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
    *result = (BenchResult){.attention = lf_attention_name(run->attention),
                            .sparsity = c[n - 1].info.sparsity,
                            .times = times_of(c, b->first_steady, n),
                            .open_ms = run->open_ms,
                            .first_ms = c[0].wall,
                            .clip_ms = run->clip_ms,
                            .reaction_ms = run->reaction_ms,
                            .fps_clip = 1e3 * frames / run->clip_ms,
                            .gflop_transformer = 1e-9 * flops.transformer,
                            .gflop_decoder = 1e-9 * flops.decoder,
                            .memory = lf_session_memory(run->session)};
    result->fps_steady = 1e3 * c[n - 1].info.n_frames / result->times.chunk;
    result->gflops =
        1e3 * (result->gflop_transformer + result->gflop_decoder) / result->times.chunk;
}

/* ---- running --------------------------------------------------------------------------------- */

/* A model without a text encoder gets an embedding of full length, without a meaning; the prompt
 * tells which one. */
static bool set_text(LfSession *session, const LfModel *model, const char *prompt, GError **error)
{
    if (lf_model_info(model)->can_encode)
        return lf_session_set_prompt(session, prompt, error) != 0;
    int rows = lf_model_text_len(model), dim = lf_model_text_dim(model);
    float phase = (float) strlen(prompt);
    g_autofree float *context = g_new(float, (gsize) (rows * dim));
    for (int i = 0; i < rows * dim; i++)
        context[i] = sinf((float) i + phase);
    return lf_session_set_context(session, context, rows, dim, error);
}

static const char default_prompt[] = "a large red circle moves left on a green meadow";

static bool open_run(Run *run, LfModel *model, const Options *o, const Bench *b, GError **error)
{
    double start = now_ms();
    const LfModelInfo *info = lf_model_info(model);
    LfSessionOptions options = cli_session_options(&o->common);
    options.seed = 1;
    options.width = b->width;
    options.height = b->height;
    options.attention = run->attention;
    options.no_text = !info->can_encode;
    options.no_decoder = !info->can_decode;
    run->chunks = g_new0(Timed, b->n_chunks);
    run->frame = g_malloc((gsize) b->width * (gsize) b->height * 3 / 2);
    run->session = lf_session_new(model, &options, error);
    run->open_ms = now_ms() - start;
    return run->session &&
           set_text(run->session, model, o->prompt ? o->prompt : default_prompt, error);
}

static bool read_frame(const Run *run, const LfChunk *chunk, int index, GError **error)
{
    const LfChunkInfo *info = lf_chunk_info(chunk);
    int width = info->width, half = width / 2;
    guint8 *u = run->frame + (gsize) width * (gsize) info->height;
    const LfPicture picture = {
        .format = LF_PIXELS_I420,
        .width = width,
        .height = info->height,
        .planes = {run->frame, u, u + (gsize) half * (gsize) info->height / 2},
        .strides = {width, half, half}};
    return lf_chunk_read(chunk, index, &picture, error);
}

/* Reads all frames of the chunk that was generated last, as a video encoder would. */
static bool read_pending(Run *run, GError **error)
{
    LfChunk *chunk = g_steal_pointer(&run->pending);
    if (!chunk)
        return true;
    const LfChunkInfo *info = lf_chunk_info(chunk);
    Timed *timed = &run->chunks[info->index];
    bool read = lf_chunk_wait(chunk, error);
    double start = now_ms();
    for (int i = 0; i < info->n_frames && read; i++)
        read = read_frame(run, chunk, i, error);
    timed->info = *info;
    timed->read = now_ms() - start;
    lf_chunk_unref(chunk);
    return read;
}

/* Generates a chunk, then reads the one before, so that a decoder that runs concurrently with the
 * next chunk has had the time of that chunk. The first chunk is read at once. */
static bool run_chunk(Run *run, int index, GError **error)
{
    double start = now_ms();
    LfChunk *chunk = lf_session_next(run->session, error);
    bool done = chunk && read_pending(run, error);
    run->pending = chunk;
    if (done && index == 0)
        done = read_pending(run, error);
    run->chunks[index].wall = now_ms() - start;
    run->clip_ms += run->chunks[index].wall;
    return done;
}

static bool end_run(Run *run, GError **error)
{
    double start = now_ms();
    bool read = read_pending(run, error);
    run->clip_ms += now_ms() - start;
    return read;
}

/* From setting a prompt to having its first frame. The prompt comes when no chunk is under way: in a
 * live stream the rest of the chunk at work and the frames in the queue come on top. */
static bool react(const Run *run, const LfModel *model, const char *prompt, double *ms,
                  GError **error)
{
    double start = now_ms();
    LfChunk *chunk =
        set_text(run->session, model, prompt, error) ? lf_session_next(run->session, error) : NULL;
    bool has_frame = lf_model_info(model)->can_decode;
    bool done = chunk && (!has_frame || read_frame(run, chunk, 0, error));
    *ms = now_ms() - start;
    done = done && (!has_frame || lf_chunk_wait(chunk, error));
    lf_chunk_unref(chunk);
    return done;
}

static bool measure_reaction(Run *run, const LfModel *model, GError **error)
{
    static const char *const prompts[] = {"a blue star spins at night", "a pink heart",
                                          default_prompt};
    double ms[G_N_ELEMENTS(prompts)];
    for (guint i = 0; i < G_N_ELEMENTS(prompts); i++)
        if (!react(run, model, prompts[i], &ms[i], error))
            return false;
    qsort(ms, G_N_ELEMENTS(ms), sizeof *ms, by_size);
    run->reaction_ms = ms[G_N_ELEMENTS(ms) / 2];
    return true;
}

/* Steady state begins where the window is full; in a clip that is too short for that, or without a
 * window, with its second half. */
static void plan(Bench *b, const Options *o)
{
    b->info = cli_stream_info(&o->common, b->model);
    const LfModelInfo *info = &b->info;
    b->width = o->width > 0 ? o->width : info->width;
    b->height = o->height > 0 ? o->height : info->height;
    b->window = o->common.window >= 0 ? o->common.window : info->window;
    b->sink = o->common.sink >= 0 ? o->common.sink : info->sink;
    int full = (b->window + info->chunk - 1) / info->chunk;
    b->n_chunks = o->chunks ? o->chunks : full + 6;
    b->first_steady = full > 0 && full < b->n_chunks ? full : b->n_chunks / 2;
}

/* Dense, sparse, or one run for each. */
static int plan_runs(const Bench *b, const Options *o, Run *runs)
{
    LfAttention attention = cli_session_options(&o->common).attention;
    if (attention == LF_ATTENTION_AUTO)
        attention = lf_model_info(b->model)->sparse ? LF_ATTENTION_SPARSE : LF_ATTENTION_DENSE;
    bool both = o->common.sparsity != 0 && wants_both(&o->common);
    runs[0].attention = both ? LF_ATTENTION_DENSE : attention;
    runs[1].attention = LF_ATTENTION_SPARSE;
    return both ? 2 : 1;
}

/* How many of all chunks were generated. */
static void show(const Bench *b, const Run *run, int n_done)
{
    cli_progress("measuring", lf_attention_name(run->attention),
                 (double) n_done / (double) (b->n_results * b->n_chunks));
}

/* One stream after the other: on a GPU the decoder of one stream would share the device with the
 * next chunk of the other. */
static bool run_one_by_one(Bench *b, Run *runs, GError **error)
{
    for (int i = 0; i < b->n_results; i++) {
        for (int index = 0; index < b->n_chunks; index++) {
            show(b, &runs[i], i * b->n_chunks + index);
            if (!run_chunk(&runs[i], index, error))
                return false;
        }
        if (!end_run(&runs[i], error))
            return false;
    }
    return true;
}

static bool run_in_turns(Bench *b, Run *runs, GError **error)
{
    for (int index = 0; index < b->n_chunks; index++)
        for (int i = 0; i < b->n_results; i++) {
            show(b, &runs[i], index * b->n_results + i);
            if (!run_chunk(&runs[i], index, error))
                return false;
        }
    for (int i = 0; i < b->n_results; i++)
        if (!end_run(&runs[i], error))
            return false;
    return true;
}

static bool run_all(Bench *b, LfModel *model, const Options *o, Run *runs, GError **error)
{
    struct rusage usage;
    for (int i = 0; i < b->n_results; i++)
        if (!open_run(&runs[i], model, o, b, error))
            return false;
    if (!(lf_model_is_asynchronous(model) ? run_one_by_one : run_in_turns)(b, runs, error))
        return false;
    for (int i = 0; i < b->n_results; i++)
        if (!measure_reaction(&runs[i], model, error))
            return false;
    for (int i = 0; i < b->n_results; i++)
        conclude(b, &runs[i], &b->results[i]);
    getrusage(RUSAGE_SELF, &usage);
    b->peak_rss_mb = (double) usage.ru_maxrss * 1024 / 1e6;
    return true;
}

static int bench(const Options *o)
{
    GError *error = NULL;
    Run runs[2] = {0};
    Bench b = {.n_threads =
                   o->common.threads > 0 ? o->common.threads : (int) g_get_num_processors()};
    LfSessionOptions planned = cli_session_options(&o->common);
    planned.width = MAX(o->width, 0);
    planned.height = MAX(o->height, 0);
    LfModel *model = cli_open_model(&o->common, &planned, &error);
    if (!model)
        return cli_failed("bench", error);
    b.model = model;
    b.peak_gflops = 1e-9 * lf_model_peak_flops(model);
    plan(&b, o);
    b.n_results = plan_runs(&b, o, runs);
    bool done = run_all(&b, model, o, runs, &error);
    cli_progress_end();
    if (done && o->json)
        bench_print_json(&b);
    else if (done)
        bench_print(&b);
    for (int i = 0; i < b.n_results; i++) {
        lf_chunk_unref(runs[i].pending);
        lf_session_free(runs[i].session);
        g_free(runs[i].chunks);
        g_free(runs[i].frame);
    }
    lf_model_unref(model);
    return done ? CLI_DONE : cli_failed("bench", error);
}

/* ---- options --------------------------------------------------------------------------------- */

static int check(const Options *o)
{
    LfAttention attention;
    if (o->chunks < 0 || o->chunks > 100000)
        return cli_misused("bench", "--chunks %d: use 0 (the default) to 100000", o->chunks);
    if (o->width == 0 || o->width < -1)
        return cli_misused("bench", "--width %d: use -1 (model default) or pixels", o->width);
    if (o->height == 0 || o->height < -1)
        return cli_misused("bench", "--height %d: use -1 (model default) or pixels", o->height);
    if (!wants_both(&o->common) && !lf_attention_from_name(o->common.attention, &attention))
        return cli_misused("bench", "--attention %s: use auto, dense, sparse or both",
                           o->common.attention);
    return CLI_DONE;
}

int cli_bench(int argc, char **argv)
{
    Options o = {.common = CLI_OPTIONS_INIT, .width = -1, .height = -1};
    int status;
    const GOptionEntry entries[] = {
        {"width", 0, 0, G_OPTION_ARG_INT, &o.width, "Pixels (-1 = model default)", "N"},
        {"height", 0, 0, G_OPTION_ARG_INT, &o.height, "Pixels (-1 = model default)", "N"},
        {"chunks", 'n', 0, G_OPTION_ARG_INT, &o.chunks,
         "Chunks to generate (default: 0 = six more than fill the window)", "N"},
        {"prompt", 'p', 0, G_OPTION_ARG_STRING, &o.prompt, "Text prompt", "TEXT"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &o.json, "Print JSON", NULL},
        {NULL}};
    if (cli_parse(&help, entries, &o.common, &argc, &argv, &status)) {
        status = check(&o);
        if (status == CLI_DONE)
            status = bench(&o);
    }
    cli_options_clear(&o.common);
    g_free(o.prompt);
    return status;
}
