/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include <json-glib/json-glib.h>
#include <stdio.h>

/* ---- for people ------------------------------------------------------------------------------ */

static void print_head(const Bench *b)
{
    g_autofree char *steps = lf_steps_text(&b->info.steps);
    g_autofree char *first = lf_steps_text(&b->info.first_steps);
    printf("model    %s: %s\n", lf_model_name(b->model), lf_model_description(b->model));
    printf("device   %s; peak %.0f GFLOP/s (%s)\n", lf_model_device(b->model), b->peak_gflops,
           lf_model_is_asynchronous(b->model) ? "a large matrix product" : "FMA");
    if (lf_model_fallback(b->model))
        printf("no GPU   %s\n", lf_model_fallback(b->model));
    printf("stream   %d×%d, %s, chunk %d, window %d%s, sink %d latent frames\n", b->width,
           b->height, lf_precision_name(lf_model_precision(b->model)), b->info.chunk, b->window,
           b->window ? "" : " (unlimited)", b->sink);
    printf("steps    %s%s%s", steps, *first ? "; first chunk " : "", first);
    if (b->info.warp)
        printf("; shift %g", b->info.shift);
    printf("\n");
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
    printf("\nmemory   weights %.1f MB; for each stream %.1f MB of state and %.1f MB of scratch; "
           "peak RSS of the process %.0f MB\n",
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
    ROW("sparsity", "fraction of KV blocks skipped in the last chunk", sparsity);
    ROW("encode", "ms per prompt", times.encode);
    ROW("denoise", "ms per chunk", times.denoise);
    ROW("clean pass", "ms per chunk", times.clean);
    ROW("decode", "ms per chunk", times.decode);
    ROW("read", "ms per chunk: conversion to I420 and transfer to the host", times.read);
    ROW("chunk", "ms from one chunk to the next", times.chunk);
    ROW("open", "ms to open a stream on a loaded model", open_ms);
    ROW("first chunk", "ms, encoding of the prompt included", first_ms);
    ROW("clip", "ms from the start to the last frame", clip_ms);
    ROW("reaction", "ms from setting a prompt to its first frame in host memory", reaction_ms);
    ROW("steady", "frames/s in steady state", fps_steady);
    ROW("clip", "frames/s from start to end", fps_clip);
    ROW("transformer", "GFLOP per chunk", gflop_transformer);
    ROW("decoder", "GFLOP per chunk", gflop_decoder);
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
    add_number(json, "read", r->times.read);
    add_number(json, "chunk", r->times.chunk);
    add_number(json, "open", r->open_ms);
    add_number(json, "first_chunk", r->first_ms);
    add_number(json, "clip", r->clip_ms);
    add_number(json, "reaction", r->reaction_ms);
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
    const LfModelInfo *info = &b->info;
    g_autofree char *steps = lf_steps_text(&info->steps);
    g_autofree char *first = lf_steps_text(info->first_steps.n ? &info->first_steps : &info->steps);
    add_text(json, "model", lf_model_name(b->model));
    add_text(json, "description", lf_model_description(b->model));
    add_text(json, "device", lf_model_device(b->model));
    add_text(json, "fallback", lf_model_fallback(b->model)); /* null: none */
    add_text(json, "precision", lf_precision_name(lf_model_precision(b->model)));
    add_int(json, "threads", b->n_threads);
    add_int(json, "width", b->width);
    add_int(json, "height", b->height);
    add_int(json, "chunk", info->chunk);
    add_int(json, "window", b->window);
    add_int(json, "sink", b->sink);
    add_int(json, "steps", info->steps.n);
    add_text(json, "timesteps", steps);
    add_text(json, "first_timesteps", first);
    add_number(json, "shift", info->warp ? info->shift : 1);
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
