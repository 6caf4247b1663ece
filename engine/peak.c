/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The most FLOP/s that a model's device reaches. On a GPU: a matrix product that is large enough to
 * fill it, of random values, because zeros run faster than real ones.
 */
#include "kernels/cpu/peak.h"
#include "model.h"

enum { SIZE = 8192, ROUNDS = 12 };

typedef struct {
    LfWeight *weight;
    LfArena arena;
    LfTensor x, out;
    LfEvent *begin, *end;
} Product;

static uint16_t *random_bf16(gsize n)
{
    uint16_t *values = g_new(uint16_t, n);
    for (gsize i = 0; i < n; i++) /* ±0.5 … ±2 */
        values[i] = (uint16_t) ((g_random_int() & 0x80ff) | 0x3f00);
    return values;
}

static bool product_init(Product *p, LfBackend *be)
{
    LfArena plan = lf_arena_plan();
    lf_arena_tensor(&plan, LF_BF16, SIZE, SIZE);
    lf_arena_tensor(&plan, LF_BF16, SIZE, SIZE);
    if (!lf_arena_init(&p->arena, be, plan.peak, NULL))
        return false;
    g_autofree uint16_t *values = random_bf16((gsize) SIZE * SIZE);
    p->x = lf_arena_tensor(&p->arena, LF_BF16, SIZE, SIZE);
    p->out = lf_arena_tensor(&p->arena, LF_BF16, SIZE, SIZE);
    lf_upload(be, p->x, values);
    p->weight = lf_weight_new(be, LF_WEIGHT_LINEAR, lf_tensor(values, LF_BF16, SIZE, SIZE), NULL);
    p->begin = be->event_new(be);
    p->end = be->event_new(be);
    return p->weight && p->begin && p->end;
}

static void product_clear(Product *p, LfBackend *be)
{
    be->event_free(be, p->begin);
    be->event_free(be, p->end);
    lf_weight_free(be, p->weight);
    lf_arena_clear(&p->arena);
}

static int64_t best_time(Product *p, LfBackend *be)
{
    int64_t best = G_MAXINT64;
    for (int i = 0; i < ROUNDS; i++) {
        be->event_record(be, p->begin);
        lf_linear(be, p->out, p->x, p->weight, LF_NONE, LF_ACT_NONE);
        be->event_record(be, p->end);
        if (!be->sync(be, NULL))
            return 0;
        best = MIN(best, be->event_elapsed(be, p->begin, p->end));
    }
    return best;
}

/* On a backend of its own: the model's may be in use by another thread. */
static double product_flops(const LfModel *model)
{
    Product p = {0};
    LfBackend *be = lf_model_backend(model, NULL);
    if (!be)
        return 0;
    int64_t time = product_init(&p, be) ? best_time(&p, be) : 0;
    product_clear(&p, be);
    lf_backend_close(be);
    return time > 0 ? 2.0 * SIZE * SIZE * SIZE / (1e-9 * (double) time) : 0;
}

double lf_model_peak_flops(const LfModel *model)
{
    return model->backend->asynchronous ? product_flops(model)
                                        : lf_cpu_peak_flops(model->backend->n_threads);
}
