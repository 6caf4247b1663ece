/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include "cli.h"

#include <json-glib/json-glib.h>
#include <stdio.h>

static char *decoder_text(const LfModelConfig *c)
{
    return c->decoder.widths[0]
               ? g_strdup_printf("tiny %d/%d/%d/%d", c->decoder.widths[0], c->decoder.widths[1],
                                 c->decoder.widths[2], c->decoder.widths[3])
               : g_strdup("none");
}

static const char *precision_of(const Bench *b)
{
    return cli_precision_name(b->model->backend->precision);
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_head(const Bench *b)
{
    const LfModelConfig *c = b->model->config;
    g_autofree char *decoder = decoder_text(c);
    printf("model    %s: %s\n", b->model->name, b->model->description);
    printf("device   %s; peak %.0f GFLOP/s (%s)\n", b->model->backend->description, b->peak_gflops,
           b->model->backend->asynchronous ? "a large bf16 product" : "FMA");
    printf("stream   %d×%d, chunks of %d latent frames, window %d%s, sink %d, %d steps, %s, "
           "decoder %s\n",
           b->width, b->height, c->video.chunk, b->window, b->window ? "" : " (unbounded)", b->sink,
           c->schedule.n_steps, precision_of(b), decoder);
    printf("measured %d chunks; steady state is the median of chunks %d to %d\n\n", b->n_chunks,
           b->first_steady, b->n_chunks - 1);
}

static void print_row(const Bench *b, const char *label, const char *unit, size_t offset)
{
    printf("%-12s", label);
    for (int i = 0; i < b->n_results; i++)
        printf("%12.2f", *(const double *) (const void *) ((const char *) &b->results[i] + offset));
    printf("  %s\n", unit);
}

static void print_memory(const Bench *b)
{
    const LfMemory *m = &b->results[b->n_results - 1].memory;
    printf("\nmemory   %.1f MB of weights, %.1f MB of state and %.1f MB of scratch a stream; the "
           "process had %.0f MB resident at most\n",
           (double) m->weights / 1e6, (double) m->state / 1e6, (double) m->scratch / 1e6,
           b->peak_rss_mb);
}

void bench_print(const Bench *b)
{
#define ROW(LABEL, UNIT, FIELD) print_row(b, LABEL, UNIT, offsetof(BenchResult, FIELD))
    print_head(b);
    printf("%-12s", "attention");
    for (int i = 0; i < b->n_results; i++)
        printf("%12s", b->results[i].attention);
    printf("\n");
    ROW("sparsity", "share of key blocks skipped at the end", sparsity);
    ROW("encode", "ms a prompt", times.encode);
    ROW("denoise", "ms a chunk", times.denoise);
    ROW("clean pass", "ms", times.clean);
    ROW("decode", "ms", times.decode);
    ROW("transfer", "ms", times.transfer);
    ROW("read", "ms, its pictures as I420 on the host", times.read);
    ROW("chunk", "ms from one to the next", times.chunk);
    ROW("open", "ms, a stream on an open model", open_ms);
    ROW("first chunk", "ms, prompt included", first_ms);
    ROW("clip", "ms from the first noise to the last pixel", clip_ms);
    ROW("steady", "frames a second", fps_steady);
    ROW("clip", "frames a second", fps_clip);
    ROW("transformer", "GFLOP a chunk", gflop_transformer);
    ROW("decoder", "GFLOP a chunk", gflop_decoder);
    ROW("rate", "GFLOP/s", gflops);
    printf("%-12s", "of peak");
    for (int i = 0; i < b->n_results; i++)
        printf("%11.1f%%", 100 * b->results[i].gflops / b->peak_gflops);
    printf("\n");
    print_memory(b);
#undef ROW
}

/* ---- for programs ---------------------------------------------------------------------------- */

static void add_text(JsonBuilder *json, const char *name, const char *value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_string_value(json, value);
}

static void add_int(JsonBuilder *json, const char *name, gint64 value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_int_value(json, value);
}

static void add_number(JsonBuilder *json, const char *name, double value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_double_value(json, value);
}

static void begin(JsonBuilder *json, const char *name)
{
    json_builder_set_member_name(json, name);
    json_builder_begin_object(json);
}

static void add_result(JsonBuilder *json, const Bench *b, const BenchResult *r)
{
    json_builder_begin_object(json);
    add_text(json, "attention", r->attention);
    add_number(json, "sparsity", r->sparsity);
    begin(json, "ms");
    add_number(json, "encode", r->times.encode);
    add_number(json, "denoise", r->times.denoise);
    add_number(json, "clean", r->times.clean);
    add_number(json, "decode", r->times.decode);
    add_number(json, "transfer", r->times.transfer);
    add_number(json, "read", r->times.read);
    add_number(json, "chunk", r->times.chunk);
    add_number(json, "open", r->open_ms);
    add_number(json, "first_chunk", r->first_ms);
    add_number(json, "clip", r->clip_ms);
    json_builder_end_object(json);
    begin(json, "fps");
    add_number(json, "steady", r->fps_steady);
    add_number(json, "clip", r->fps_clip);
    json_builder_end_object(json);
    begin(json, "gflop_a_chunk");
    add_number(json, "transformer", r->gflop_transformer);
    add_number(json, "decoder", r->gflop_decoder);
    json_builder_end_object(json);
    add_number(json, "gflops", r->gflops);
    add_number(json, "share_of_peak", r->gflops / b->peak_gflops);
    begin(json, "memory_mb");
    add_number(json, "weights", (double) r->memory.weights / 1e6);
    add_number(json, "state", (double) r->memory.state / 1e6);
    add_number(json, "scratch", (double) r->memory.scratch / 1e6);
    json_builder_end_object(json);
    json_builder_end_object(json);
}

static void add_stream(JsonBuilder *json, const Bench *b)
{
    const LfModelConfig *c = b->model->config;
    g_autofree char *decoder = decoder_text(c);
    add_text(json, "model", b->model->name);
    add_text(json, "description", b->model->description);
    add_text(json, "device", b->model->backend->description);
    add_text(json, "backend", b->model->backend->name);
    add_text(json, "precision", precision_of(b));
    add_text(json, "decoder", decoder);
    add_int(json, "threads", b->n_threads);
    add_int(json, "width", b->width);
    add_int(json, "height", b->height);
    add_int(json, "chunk", c->video.chunk);
    add_int(json, "window", b->window);
    add_int(json, "sink", b->sink);
    add_int(json, "steps", c->schedule.n_steps);
    add_int(json, "chunks", b->n_chunks);
    add_int(json, "first_steady_chunk", b->first_steady);
    add_number(json, "peak_gflops", b->peak_gflops);
    add_number(json, "peak_rss_mb", b->peak_rss_mb);
}

void bench_print_json(const Bench *b)
{
    g_autoptr(JsonBuilder) json = json_builder_new();
    json_builder_begin_object(json);
    add_stream(json, b);
    json_builder_set_member_name(json, "results");
    json_builder_begin_array(json);
    for (int i = 0; i < b->n_results; i++)
        add_result(json, b, &b->results[i]);
    json_builder_end_array(json);
    json_builder_end_object(json);
    JsonNode *root = json_builder_get_root(json);
    g_autofree char *text = json_to_string(root, TRUE);
    json_node_unref(root);
    puts(text);
}
