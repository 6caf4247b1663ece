/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Keeps libgomp's threads from spinning while they wait for each other.
 *
 * At the end of a parallel region libgomp's threads spin 300,000 times, for milliseconds, before
 * they sleep. When another program or element wants a core too, the thread that the others wait for
 * often has none, while a waiting thread occupies the core that it has. libgomp has no call to
 * change this, and it reads its environment before any code of this project runs. But its threads
 * spin 1,000 times only while there are more OpenMP threads than cores (libgomp's manual,
 * GOMP_SPINCOUNT). So, while a backend has as many threads as there are cores, this file keeps one
 * extra OpenMP thread alive and asleep.
 *
 * A chunk of the demo model on two cores: alone 0.13 s becomes 0.16 s, beside eight other busy
 * threads 2.2 to 3.9 s become 0.7 s.
 */
#include "cpu.h"

static struct {
    GMutex lock;
    GCond changed;
    int users;
    unsigned round; /* counts times without users: a thread ends when its round does */
    GThread *thread;
} keeper;

static gpointer keep_threads(gpointer data)
{
    int started = 0;
#pragma omp parallel num_threads(2)
    g_atomic_int_inc(&started); /* the compiler would drop an empty region */
    g_mutex_lock(&keeper.lock);
    while (keeper.round == GPOINTER_TO_UINT(data))
        g_cond_wait(&keeper.changed, &keeper.lock);
    g_mutex_unlock(&keeper.lock);
    return NULL;
}

/* Whether the user has set how long threads spin. */
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
