/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * checkops                        tests every operation (g_test's options: --seed, -p, …)
 * checkops --bench [operation [threads]] [--backend cuda]
 *                                 times them on the fastest instruction set; "" is any operation;
 *                                 one thread is disturbed least by other programs
 */
#include "checkops.h"
#include "device.h"

#include "kernels/cpu/peak.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const CheckOp *const stems[] = {
    linear_ops,          norm_ops, rope_ops,      select_ops, attention_ops, text_ops,
    frame_attention_ops, conv_ops, pointwise_ops, noise_ops,  pixels_ops};

static const char *const isas[] = {"c", "avx2", "avx512"};
static const char *const device_levels[] = {"plain", "sm80", "sm90"};

/* The CPU limited to `isa`, or to a smaller instruction set on a machine that lacks it. */
static LfBackend *open_isa(const char *isa, int n_threads)
{
    GError *error = NULL;
    g_setenv("LIGHTFORCING_CPU", isa, TRUE);
    LfBackend *be = lf_backend_open_cpu(n_threads, &error);
    g_assert_no_error(error);
    return be;
}

static const void *entry_of(LfBackend *be, const CheckOp *op)
{
    return *(const void *const *) ((const char *) be->ops + op->entry);
}

/* ---- tests ----------------------------------------------------------------------------------- */

typedef struct {
    const CheckOp *op;
    const char *level;
    LfPrecision precision;
} Case;

/* With one to three threads. */
static void run_case(const void *data)
{
    const Case *c = data;
    LfBackend *be = open_isa(c->level, (int) random_size(3));
    g_test_message("%s", be->description);
    c->op->check(be);
    GError *error = NULL;
    be->sync(be, &error);
    g_assert_no_error(error);
    lf_backend_close(be);
}

static void add_case(const CheckOp *op, const char *level, LfPrecision precision, GTestDataFunc run)
{
    Case *c = g_new(Case, 1);
    *c = (Case){op, level, precision};
    bool on_device = run != run_case, fp8 = precision == LF_PRECISION_FP8;
    char *path = g_strdup_printf("/checkops/%s/%s%s%s", op->name, on_device ? "cuda-" : "", level,
                                 fp8 ? "-fp8" : "");
    g_test_add_data_func_full(path, c, run, g_free);
    g_free(path);
}

static void add_cases(const CheckOp *op)
{
    const void *before = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(isas); i++) {
        LfBackend *be = open_isa(isas[i], 1);
        g_assert_nonnull(entry_of(be, op));
        if (entry_of(be, op) != before)
            add_case(op, isas[i], LF_PRECISION_FP32, run_case);
        before = entry_of(be, op);
        lf_backend_close(be);
    }
}

/* ---- tests on a device ----------------------------------------------------------------------- */

static void run_device_case(const void *data)
{
    const Case *c = data;
    LfBackend *be = mirror_open(c->level, c->precision, NULL);
    g_assert_nonnull(be);
    g_test_message("%s, %s", be->description, c->level);
    c->op->check(be);
}

static void skip_case(const void *data)
{
    GError *error = NULL;
    const Case *c = data;
    g_assert_null(mirror_open(c->level, c->precision, &error));
    g_test_skip(error->message);
    g_error_free(error);
}

static void add_device_cases(const CheckOp *op, LfPrecision precision)
{
    const void *before = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(device_levels); i++) {
        LfBackend *be = mirror_open(device_levels[i], precision, NULL);
        if (!be) {
            add_case(op, device_levels[i], precision, skip_case);
            return;
        }
        const void *entry = entry_of(device_of(be), op);
        g_assert_nonnull(entry);
        if (op->by_shape || entry != before)
            add_case(op, device_levels[i], precision, run_device_case);
        before = entry;
    }
}

/* ---- nothing left out ------------------------------------------------------------------------ */

static bool has_test(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stems); i++)
        for (const CheckOp *op = stems[i]; op->name; op++)
            if (g_str_equal(op->name, name))
                return true;
    return false;
}

/* Each instruction set's table is complete, and each operation of ops.h has a test here. Weights
 * are tested with the operations that read them. */
static void check_complete(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(isas); i++) {
        LfBackend *be = open_isa(isas[i], 1);
        g_assert_cmpstr(lf_ops_missing(be->ops), ==, NULL);
        lf_backend_close(be);
    }
#define HAS_TEST(name)                                                                             \
    if (!g_str_has_prefix(#name, "weight_") && !has_test(#name))                                   \
        g_error("checkops has no test of lf_" #name);
    LF_OPERATIONS(HAS_TEST)
#undef HAS_TEST
}

static void add_all_cases(const CheckOp *op)
{
    add_cases(op);
    add_device_cases(op, LF_PRECISION_BF16);
    if (op->fp8)
        add_device_cases(op, LF_PRECISION_FP8);
}

/* ---- benchmarks ------------------------------------------------------------------------------ */

static void bench_all(const char *name, int n_threads)
{
    LfBackend *be = open_isa("avx512", n_threads);
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

/* [operation [threads]] [--backend name] */
static int bench(int argc, char **argv)
{
    bool on_device = argc >= 2 && g_str_equal(argv[argc - 2], "--backend") &&
                     !g_str_equal(argv[argc - 1], "cpu");
    if (argc >= 2 && g_str_equal(argv[argc - 2], "--backend"))
        argc -= 2;
    if (on_device)
        return bench_device(argc > 0 ? argv[0] : "");
    bench_all(argc > 0 ? argv[0] : "", argc > 1 ? atoi(argv[1]) : 0);
    return 0;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    if (argc > 1 && g_str_equal(argv[1], "--bench"))
        return bench(argc - 2, argv + 2);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/checkops/complete", check_complete);
    for (size_t i = 0; i < G_N_ELEMENTS(stems); i++)
        for (const CheckOp *op = stems[i]; op->name; op++)
            add_all_cases(op);
    int status = g_test_run();
    mirrors_close();
    return status;
}
