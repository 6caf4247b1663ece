/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Keeps libgomp's threads from spinning while they wait for each other.
 *
 * At the end of a parallel region those that are done wait for the others: libgomp has them spin
 * 300,000 times, for milliseconds, before they sleep. Where another program or another element of
 * the pipeline wants a core too, the thread that is waited for is often the one without, while the
 * one that waits burns the core that it has. There is no call to change that, and the environment
 * is read before any code of ours runs. But they spin 1,000 times only while there are more OpenMP
 * threads than cores (libgomp's manual, GOMP_SPINCOUNT). So a thread of ours keeps one more in
 * being, asleep, while a backend has as many as there are cores.
 *
 * A chunk of the demo model on two cores: alone 0.13 s becomes 0.16 s, beside eight other busy
 * threads 2.2 to 3.9 s become 0.7 s.
 */
#include "cpu.h"

static struct {
    GMutex lock;
    GCond changed;
    int users;
    unsigned round; /* of users: the thread of one leaves when the round ends */
    GThread *thread;
} keeper;

static gpointer keep_threads(gpointer data)
{
    int started = 0;
#pragma omp parallel num_threads(2)
    g_atomic_int_inc(&started); /* an empty region would be left out */
    g_mutex_lock(&keeper.lock);
    while (keeper.round == GPOINTER_TO_UINT(data))
        g_cond_wait(&keeper.changed, &keeper.lock);
    g_mutex_unlock(&keeper.lock);
    return NULL;
}

/* Who sets one of these has decided. */
static bool decided_outside(void)
{
    return g_getenv("OMP_WAIT_POLICY") || g_getenv("GOMP_SPINCOUNT");
}

void lf_cpu_spin_begin(void)
{
    g_mutex_lock(&keeper.lock);
    if (keeper.users++ == 0 && !decided_outside())
        keeper.thread =
            g_thread_try_new("lf-spin-guard", keep_threads, GUINT_TO_POINTER(keeper.round), NULL);
    g_mutex_unlock(&keeper.lock);
}

void lf_cpu_spin_end(void)
{
    GThread *leaving = NULL;
    g_mutex_lock(&keeper.lock);
    if (--keeper.users == 0) {
        leaving = g_steal_pointer(&keeper.thread);
        keeper.round++;
        g_cond_broadcast(&keeper.changed);
    }
    g_mutex_unlock(&keeper.lock);
    if (leaving)
        g_thread_join(leaving);
}
