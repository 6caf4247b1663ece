/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * checkops                        tests every operation (g_test's options: --seed, -p, …)
 * checkops --bench [operation [threads]]
 *                                 times them, each at its fastest level; "" is any operation, and
 *                                 with one thread other programs disturb the figures least
 */
#include "checkops.h"

#include "kernels/cpu/peak.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const CheckOp *const stems[] = {linear_ops,    norm_ops,  rope_ops, select_ops,
                                       attention_ops, text_ops,  conv_ops, pointwise_ops,
                                       noise_ops,     pixels_ops};

static const char *const levels[] = {"c", "avx2", "avx512"};

/* The backend at one level, which is a lower one on a lesser machine. */
static LfBackend *open_level(const char *level, int n_threads)
{
    GError *error = NULL;
    g_setenv("LF_CPU", level, TRUE);
    LfBackend *be = lf_backend_open_cpu(n_threads, &error);
    g_assert_no_error(error);
    return be;
}

static const void *entry_of(LfBackend *be, const CheckOp *op)
{
    return *(const void *const *) ((const char *) be->ops + op->entry);
}

/* ---- tests ---- */

typedef struct {
    const CheckOp *op;
    const char *level;
} Case;

/* Threads: one, as many as cores, more than cores. */
static void run_case(const void *data)
{
    const Case *c = data;
    LfBackend *be = open_level(c->level, (int) random_size(3));
    g_test_message("%s", be->description);
    c->op->check(be);
    GError *error = NULL;
    be->sync(be, &error);
    g_assert_no_error(error);
    lf_backend_close(be);
}

static void add_case(const CheckOp *op, const char *level)
{
    Case *c = g_new(Case, 1);
    *c = (Case){op, level};
    char *path = g_strdup_printf("/checkops/%s/%s", op->name, level);
    g_test_add_data_func_full(path, c, run_case, g_free);
    g_free(path);
}

static void add_cases(const CheckOp *op)
{
    const void *before = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(levels); i++) {
        LfBackend *be = open_level(levels[i], 1);
        g_assert_nonnull(entry_of(be, op));
        if (entry_of(be, op) != before)
            add_case(op, levels[i]);
        before = entry_of(be, op);
        lf_backend_close(be);
    }
}

/* ---- benchmarks ---- */

static void bench_all(const char *name, int n_threads)
{
    LfBackend *be = open_level("avx512", n_threads);
    printf("%s; peak %.0f GFLOP/s (FMA), %.1f GB/s (copy, read and written)\n", be->description,
           lf_cpu_peak_flops(be->n_threads) / 1e9, peak_bytes(be->n_threads) / 1e9);
    for (size_t i = 0; i < G_N_ELEMENTS(stems); i++)
        for (const CheckOp *op = stems[i]; op->name; op++) {
            if (!op->bench || !g_str_has_prefix(op->name, name))
                continue;
            printf("%s\n", op->name);
            op->bench(be);
        }
    lf_backend_close(be);
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    if (argc > 1 && g_str_equal(argv[1], "--bench")) {
        bench_all(argc > 2 ? argv[2] : "", argc > 3 ? atoi(argv[3]) : 0);
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(stems); i++)
        for (const CheckOp *op = stems[i]; op->name; op++)
            add_cases(op);
    return g_test_run();
}
