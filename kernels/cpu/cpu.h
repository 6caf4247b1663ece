/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Private to the CPU backend: its instruction set, its scratch memory, and the functions that fill
 * the table of operations.
 */
#ifndef LF_KERNELS_CPU_CPU_H
#define LF_KERNELS_CPU_CPU_H

#include "kernels/ops.h"
#include "kernels/weight.h"

typedef enum { LF_CPU_C, LF_CPU_AVX2, LF_CPU_AVX512 } LfCpuIsa; /* each includes those before */

typedef struct {
    LfBackend base;
    LfOps ops;
    LfCpuIsa isa;
    /* Scratch of each thread, as large as the largest request so far. */
    struct {
        void *memory;
        size_t size;
    } * scratch;
    size_t missing;   /* bytes of a request that failed since the last sync; 0: none failed */
    bool guards_spin; /* see spin.c */
} LfCpu;

/* At least `size` bytes for thread `thread` of the running operation, aligned to 64, contents
 * undefined. NULL (and the failure is latched) when there is no memory. */
void *lf_cpu_scratch(LfBackend *be, int thread, size_t size);

/* Latches that `size` bytes could not be allocated, so that the next sync fails. Any thread. */
void lf_cpu_lacks(LfBackend *be, size_t size);

/* The calling thread's number within the running parallel region. */
int lf_cpu_thread(void);

/* Between these calls OpenMP threads that wait for others sleep soon, see spin.c. Any thread. */
void lf_cpu_spin_begin(void);
void lf_cpu_spin_end(void);

/* A weight of the CPU: `data` is packed by kind, see linear.c and conv.c. */
typedef struct {
    LfWeight base;
    LfType type; /* of data */
    void *data;  /* owned, or the source's when base.memory is 0 */
} LfCpuWeight;

/* entry = function_c, _avx2 or _avx512. Code between LF_ON_X86's parentheses is for x86 only. */
#if defined __x86_64__
#define LF_ON_X86(...) __VA_ARGS__
#define LF_SET_VERSIONS(entry, function, isa)                                                      \
    ((entry) = (isa) >= LF_CPU_AVX512 ? function##_avx512                                          \
               : (isa) >= LF_CPU_AVX2 ? function##_avx2                                            \
                                      : function##_c)
#else
#define LF_ON_X86(...)
#define LF_SET_VERSIONS(entry, function, isa) ((entry) = function##_c)
#endif

/* Each sets the operations of one file to their best versions for `isa`. */
void lf_cpu_linear_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_norm_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_rope_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_attention_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_select_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_text_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_frame_attention_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_conv_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_pointwise_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_noise_init(LfOps *ops, LfCpuIsa isa);
void lf_cpu_pixels_init(LfOps *ops, LfCpuIsa isa);

#endif
