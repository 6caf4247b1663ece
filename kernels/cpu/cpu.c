/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The CPU as a backend: instruction set, memory, events, opening and closing.
 */
#include "cpu.h"

#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#if defined __x86_64__
#include <cpuid.h>
#endif

#define ALIGNMENT 256

static const char *const isa_names[] = {"plain C", "AVX2", "AVX-512"};

/* ---- the machine ----------------------------------------------------------------------------- */

static LfCpuIsa machine_isa(void)
{
#if defined __x86_64__
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return LF_CPU_AVX512;
    if (avx2)
        return LF_CPU_AVX2;
#endif
    return LF_CPU_C;
}

/* The machine's instruction set, or a smaller one that LIGHTFORCING_CPU names. False and an error
 * when that names none. */
static bool chosen_isa(LfCpuIsa *isa, GError **error)
{
    static const char *const words[] = {"c", "avx2", "avx512"};
    const char *word = g_getenv("LIGHTFORCING_CPU");
    *isa = machine_isa();
    if (!word || !*word)
        return true;
    for (int i = 0; i < (int) G_N_ELEMENTS(words); i++) {
        if (g_str_equal(word, words[i])) {
            *isa = MIN(*isa, (LfCpuIsa) i);
            return true;
        }
    }
    return lf_fail(error, LF_ERROR_CONFIG,
                   "LIGHTFORCING_CPU=%s in the environment: use c, avx2 or avx512", word);
}

static int usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return MAX(1, CPU_COUNT(&set));
    return (int) g_get_num_processors();
}

/* "AMD EPYC 9575F 64-Core Processor" from the brand string of CPUID, or "CPU". */
static void machine_name(char name[49])
{
    strcpy(name, "CPU");
#if defined __x86_64__
    unsigned words[12];
    for (unsigned leaf = 0; leaf < 3; leaf++) {
        unsigned *w = words + 4 * leaf;
        if (!__get_cpuid(0x80000002u + leaf, w, w + 1, w + 2, w + 3))
            return;
    }
    memcpy(name, words, 48);
    name[48] = 0;
    g_strstrip(name);
#endif
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void *cpu_alloc(LfBackend *be, size_t size)
{
    void *memory = NULL;
    return posix_memalign(&memory, ALIGNMENT, MAX(size, 1)) == 0 ? memory : NULL;
}

static void cpu_free(LfBackend *be, void *memory)
{
    free(memory);
}

static void cpu_move(LfBackend *be, void *dst, const void *src, size_t size)
{
    memmove(dst, src, size);
}

static void cpu_clear(LfBackend *be, void *dst, size_t size)
{
    memset(dst, 0, size);
}

/* Operations have ended when they return, so an event is complete as soon as it is recorded. */
struct LfEvent {
    gint64 time; /* ns */
};

static LfEvent *cpu_event_new(LfBackend *be)
{
    return g_new0(LfEvent, 1);
}

static void cpu_event_free(LfBackend *be, LfEvent *event)
{
    g_free(event);
}

static void cpu_event_record(LfBackend *be, LfEvent *event)
{
    event->time = 1000 * g_get_monotonic_time();
}

static bool cpu_event_sync(LfBackend *be, LfEvent *event, GError **error)
{
    return true;
}

static void cpu_wait_event(LfBackend *be, LfEvent *event)
{
}

static int64_t cpu_event_elapsed(LfBackend *be, LfEvent *from, LfEvent *to)
{
    return to->time - from->time;
}

void lf_cpu_lacks(LfBackend *be, size_t size)
{
    __atomic_store_n(&((LfCpu *) be)->missing, size, __ATOMIC_RELAXED);
}

void *lf_cpu_scratch(LfBackend *be, int thread, size_t size)
{
    LfCpu *cpu = (LfCpu *) be;
    if (size > cpu->scratch[thread].size) {
        free(cpu->scratch[thread].memory);
        cpu->scratch[thread].memory = cpu_alloc(be, size);
        cpu->scratch[thread].size = cpu->scratch[thread].memory ? size : 0;
        if (!cpu->scratch[thread].memory)
            lf_cpu_lacks(be, size);
    }
    return cpu->scratch[thread].memory;
}

int lf_cpu_thread(void)
{
    return omp_get_thread_num();
}

static bool cpu_sync(LfBackend *be, GError **error)
{
    size_t missing = __atomic_exchange_n(&((LfCpu *) be)->missing, 0, __ATOMIC_RELAXED);
    if (missing)
        lf_fail(error, LF_ERROR_MEMORY,
                "out of memory on %s: could not allocate %.1f MB of scratch; reduce width, height "
                "or attention window, or close other programs",
                be->description, (double) missing / 1e6);
    return missing == 0;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void fill_table(LfOps *ops, LfCpuIsa isa)
{
    lf_cpu_linear_init(ops, isa);
    lf_cpu_norm_init(ops, isa);
    lf_cpu_rope_init(ops, isa);
    lf_cpu_select_init(ops, isa);
    lf_cpu_attention_init(ops, isa);
    lf_cpu_text_init(ops, isa);
    lf_cpu_frame_attention_init(ops, isa);
    lf_cpu_conv_init(ops, isa);
    lf_cpu_pointwise_init(ops, isa);
    lf_cpu_noise_init(ops, isa);
    lf_cpu_pixels_init(ops, isa);
}

static void cpu_close(LfBackend *be)
{
    LfCpu *cpu = (LfCpu *) be;
    if (cpu->guards_spin)
        lf_cpu_spin_end();
    for (int i = 0; i < be->n_threads; i++)
        free(cpu->scratch[i].memory);
    g_free(cpu->scratch);
    g_free(cpu);
}

LfBackend *lf_backend_open_cpu(int n_threads, GError **error)
{
    LfCpuIsa isa;
    if (!chosen_isa(&isa, error))
        return NULL;
    LfCpu *cpu = g_new0(LfCpu, 1);
    cpu->isa = isa;
    cpu->base = (LfBackend){
        .ops = &cpu->ops,
        .name = "cpu",
        .n_threads = n_threads > 0 ? n_threads : usable_cores(),
        .precision = LF_PRECISION_FP32,
        .activation_type = LF_F32,
        .decoder_type = LF_F32,
        .alloc = cpu_alloc,
        .free = cpu_free,
        .upload = cpu_move,
        .download = cpu_move,
        .copy = cpu_move,
        .clear = cpu_clear,
        .sync = cpu_sync,
        .event_new = cpu_event_new,
        .event_free = cpu_event_free,
        .event_record = cpu_event_record,
        .event_sync = cpu_event_sync,
        .wait_event = cpu_wait_event,
        .event_elapsed = cpu_event_elapsed,
        .close = cpu_close,
    };
    char name[49];
    machine_name(name);
    g_snprintf(cpu->base.description, sizeof cpu->base.description, "%s, %d thread%s, %s", name,
               cpu->base.n_threads, cpu->base.n_threads == 1 ? "" : "s", isa_names[isa]);
    cpu->scratch = g_malloc0_n((gsize) cpu->base.n_threads, sizeof *cpu->scratch);
    fill_table(&cpu->ops, isa);
    cpu->guards_spin = cpu->base.n_threads > 1 && cpu->base.n_threads == usable_cores();
    if (cpu->guards_spin)
        lf_cpu_spin_begin();
    return &cpu->base;
}
